"""What a cohort plants, averaged over regions as the line averages what it finds."""

from dataclasses import replace

import numpy as np
import pandas as pd

import line
from handhold import simulate
from handhold.images import read_volume
from handhold.regions import average

# A study in which effects stand out: responses three times as strong as by default and a fifth
# of the noise, so that four standard errors are less than what an event a second too late does.
QUIET = 0.2
LOUD = simulate.Noise()
NOISE = replace(
    LOUD,
    **{
        name: QUIET * getattr(LOUD, name)
        for name in ("thermal_sd", "smooth_sd", "drift_sd", "physio_sd", "motion_percent")
    },
)
CLEAR = simulate.Cohort(
    n_subjects=6,
    voxel_size_mm=8,
    threat_response=2.0,
    receptor_slope=0.5,
    spread=0.4,
    protocol=simulate.Protocol(n_trials=6),
    noise=NOISE,
)


def measured(manifest: pd.DataFrame, subject: str) -> np.ndarray:
    """Return the voxels that a subject's images hold."""
    path = manifest.loc[manifest["subject"] == subject, "image"].iloc[0]
    return np.isfinite(read_volume(path, None, subject).values)


def over_regions(
    values, template: simulate.Template, inside, study: line.Line, kind: str
) -> pd.Series:
    """Average a planted map (n_voxels,) over regions, through what was measured."""
    volume = np.full(template.mask.shape, np.nan)
    volume[template.mask] = values
    volume[~inside] = np.nan
    cloud = study.regions.clouds[kind]
    weights = line.weigh_once(cloud, template.affine, template.mask.shape)
    means = average(weights, volume, zero_is_missing=False).mean
    return pd.Series(means, [name.rpartition("/")[2] for name in cloud.names])


def compare(
    study: line.Line, manifest: pd.DataFrame, attenuated: dict[str, pd.DataFrame]
) -> pd.DataFrame:
    """Put planted beside recovered attenuation of the hypothesised ROIs.

    Returns columns subject, region, contrast, planted, attenuation, error.
    """
    template, rows = study.template, []
    for index, subject in enumerate(study.subjects):
        inside = measured(manifest, subject)
        maps = simulate.planted_attenuation(study.cohort, index, template)
        for contrast, values in maps.items():
            means = over_regions(values, template, inside, study, "rois")
            rows += [(subject, name, contrast, mean) for name, mean in means.items()]
    planted = pd.DataFrame(rows, columns=["subject", "region", "contrast", "planted"])
    rois = attenuated["rois"]
    both = rois[rois["role"] == "hypothesised"].merge(planted, validate="one_to_one")
    return both.assign(error=both["attenuation"] - both["planted"])


def compare_slopes(
    study: line.Line, manifest: pd.DataFrame, attenuated: dict[str, pd.DataFrame]
) -> pd.DataFrame:
    """Put planted beside recovered receptor slopes, in % signal change per BP_ND.

    What is planted in a parcel is the mean of tissue * gain * (base + slope * binding): two
    regressors, tissue and tissue * binding, and no constant.

    Returns columns subject, contrast, planted, slope, error.
    """
    template, rows = study.template, []
    truth = simulate.truth(study.cohort)
    table = attenuated["parcels"].set_index(["subject", "contrast", "region"])
    for subject in study.subjects:
        inside = measured(manifest, subject)
        tissue, bound = (
            over_regions(values, template, inside, study, "parcels")
            for values in (template.tissue, template.tissue * template.binding)
        )
        regressors = pd.DataFrame({"base": tissue, "slope": bound})
        for contrast in ("partner", "stranger"):
            own = table.loc[(subject, contrast), "attenuation"].dropna()
            fitted, *_ = np.linalg.lstsq(
                regressors.loc[own.index].to_numpy(), own.to_numpy()
            )
            planted = truth["contrasts"][contrast]["slope"]
            planted *= truth["gain"][f"sub-{subject}"]
            rows.append((subject, contrast, planted, fitted[1]))
    found = pd.DataFrame(rows, columns=["subject", "contrast", "planted", "slope"])
    return found.assign(error=found["slope"] - found["planted"])
