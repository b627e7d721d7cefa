"""What a cohort plants, averaged over regions as the line averages what it finds."""

from dataclasses import replace

import line
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from handhold import scanner, simulate
from handhold.images import read_volume
from handhold.regions import Cloud, average

# A study in which effects stand out: responses three times as strong as by default and a fifth
# of the noise, so that four standard errors are less than what an event a second too late does.
QUIET = 0.2
LOUD = simulate.Noise()
NOISE = replace(
    LOUD,
    **{
        name: QUIET * getattr(LOUD, name)
        for name in (
            "thermal_sd",
            "smooth_sd",
            "drift_sd",
            "physio_sd",
            "motion_percent",
        )
    },
)
CLEAR = simulate.Cohort(
    n_subjects=6,
    voxel_size_mm=8,
    threat_response=2.0,
    receptor_slope=0.5,
    spread=0.4,
    protocol=simulate.Protocol(n_trials=10),
    noise=NOISE,
)


def compare_all(
    study: line.Line, manifest: pd.DataFrame, cells: dict[str, pd.DataFrame]
) -> pd.DataFrame:
    """Put all that is planted beside what was found in `cells`, person by person.

    Returns columns measure (an ROI, or slope), contrast, planted, error.
    """
    common = (study.cohort, study.template)
    clouds, attenuated = study.regions.clouds, study.attenuate(cells)
    rois = (*common, clouds["rois"], manifest)
    found = [
        compare_cells(*rois, cells["rois"]).rename(columns={"region": "measure"}),
        compare(*rois, attenuated["rois"]).rename(columns={"region": "measure"}),
        compare_slopes(
            *common, clouds["parcels"], manifest, attenuated["parcels"]
        ).assign(measure="slope"),
    ]
    return pd.concat(found)[["measure", "contrast", "planted", "error"]]


def measured(manifest: pd.DataFrame, subject: str) -> NDArray:
    """Return the voxels that a subject's images hold."""
    path = manifest.loc[manifest["subject"] == subject, "image"].iloc[0]
    return np.isfinite(read_volume(path, None, subject).values)


def over_regions(
    values: NDArray, template: simulate.Template, inside: NDArray, cloud: Cloud
) -> pd.Series:
    """Average a planted map (n_voxels,) over regions, through what was measured."""
    volume = np.full(template.mask.shape, np.nan)
    volume[template.mask] = values
    volume[~inside] = np.nan
    weights = line.weigh_once(cloud, template.affine, template.mask.shape)
    means = average(weights, volume, zero_is_missing=False).mean
    return pd.Series(means, [name.removeprefix("aal3/") for name in cloud.names])


def compare(
    cohort: simulate.Cohort,
    template: simulate.Template,
    rois: Cloud,
    manifest: pd.DataFrame,
    attenuated: pd.DataFrame,
) -> pd.DataFrame:
    """Put planted beside recovered attenuation of the hypothesised ROIs.

    Returns columns subject, region, contrast, planted, attenuation, error.
    """
    rows = []
    for index, subject in enumerate(simulate.subjects(cohort.n_subjects)):
        inside = measured(manifest, subject)
        maps = simulate.planted_attenuation(cohort, index, template)
        for contrast, values in maps.items():
            means = over_regions(values, template, inside, rois)
            rows += [(subject, name, contrast, mean) for name, mean in means.items()]
    planted = pd.DataFrame(rows, columns=["subject", "region", "contrast", "planted"])
    own = attenuated[attenuated["role"] == "hypothesised"]
    both = own.merge(
        planted, on=["subject", "region", "contrast"], validate="one_to_one"
    )
    return both.assign(error=both["attenuation"] - both["planted"])


def compare_cells(
    cohort: simulate.Cohort,
    template: simulate.Template,
    rois: Cloud,
    manifest: pd.DataFrame,
    cells: pd.DataFrame,
) -> pd.DataFrame:
    """Put planted beside recovered effects, alone, of the hypothesised ROIs.

    The line's percent is of the mean over time, the simulator's of the signal at rest.

    Returns columns subject, region, contrast (the cell), planted, effect, error.
    """
    rows = []
    for index, subject in enumerate(simulate.subjects(cohort.n_subjects)):
        inside = measured(manifest, subject)
        effects = simulate.simulate_effects(cohort, index, template)
        mean = 1 + mean_response(cohort, index, "alone", effects, template) / 100
        for cue in simulate.CUES:
            means = over_regions(effects["alone", cue] / mean, template, inside, rois)
            rows += [(subject, name, cue, value) for name, value in means.items()]
    planted = pd.DataFrame(rows, columns=["subject", "region", "cue", "planted"])
    own = cells[(cells["role"] == "hypothesised") & (cells["condition"] == "alone")]
    own = own[~own["excluded"]].drop(columns="contrast")
    both = own.merge(planted, on=["subject", "region", "cue"], validate="one_to_one")
    return both.assign(
        contrast="alone " + both["cue"], error=both["effect"] - both["planted"]
    )


def mean_response(
    cohort: simulate.Cohort,
    index: int,
    condition: str,
    effects: dict[tuple[str, str], NDArray],
    template: simulate.Template,
) -> NDArray:
    """Return the mean over time of all that a run evokes (n_voxels,), %."""
    run = simulate.block_order(index).index(condition) + 1
    events = simulate.simulate_events(cohort, index, run)
    times = scanner.volume_times(cohort.n_volumes, cohort.protocol.tr_s)
    evoked = {cue: effects[condition, cue] for cue in simulate.CUES}
    evoked |= {
        name: share * template.tissue * template.response
        for name, share in simulate.OTHER_SHARES.items()
    }
    total = np.zeros(len(template.binding))
    for name, effect in evoked.items():
        own = events[events["trial_type"] == name]
        course = scanner.respond(
            own["onset"].to_numpy(), own["duration"].to_numpy(), times
        )
        total += effect * course.mean() / scanner.peak_response()
    return total


def compare_slopes(
    cohort: simulate.Cohort,
    template: simulate.Template,
    parcels: Cloud,
    manifest: pd.DataFrame,
    attenuated: pd.DataFrame,
) -> pd.DataFrame:
    """Put planted beside recovered receptor slopes, in % signal change per BP_ND.

    What is planted in a parcel is the mean of tissue * gain * (base + slope * binding): two
    regressors, tissue and tissue * binding, and no constant.

    Returns columns subject, contrast, planted, slope, error.
    """
    rows, truth = [], simulate.truth(cohort)
    table = attenuated.dropna(subset=["attenuation"])
    for subject in simulate.subjects(cohort.n_subjects):
        inside = measured(manifest, subject)
        tissue, bound = (
            over_regions(values, template, inside, parcels)
            for values in (template.tissue, template.tissue * template.binding)
        )
        regressors = pd.DataFrame({"base": tissue, "slope": bound})
        for contrast in ("partner", "stranger"):
            own = table[(table["subject"] == subject) & (table["contrast"] == contrast)]
            fitted, *_ = np.linalg.lstsq(
                regressors.loc[own["region"]].to_numpy(), own["attenuation"].to_numpy()
            )
            planted = truth["contrasts"][contrast]["slope"]
            planted *= truth["gain"][f"sub-{subject}"]
            rows.append((subject, contrast, planted, fitted[1]))
    found = pd.DataFrame(rows, columns=["subject", "contrast", "planted", "slope"])
    return found.assign(error=found["slope"] - found["planted"])
