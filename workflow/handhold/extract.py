"""Region means of images, each image read once: subjects and receptor maps by the same code."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from handhold.images import Grid, Volume, read_volume
from handhold.receptor import mask_background
from handhold.regions import Cloud, Means, Weights, average, weigh
from handhold.registries import require_registered
from handhold.sources import FILES

CELL = ["condition", "cue", "contrast", "run"]


class Reader:
    """Averages images over clouds of regions.

    Weights are worked out once per grid; an image that several rows name, such as the tSNR of
    a subject, is read once.
    """

    def __init__(self, clouds: dict[str, Cloud]):
        self.clouds = clouds
        self._weights: dict[tuple, dict[str, Weights]] = {}

    def weights(self, grid: Grid) -> dict[str, Weights]:
        """Return the weights of every cloud on a grid."""
        key = (grid.affine.tobytes(), grid.shape)
        if key not in self._weights:
            self._weights[key] = {
                kind: weigh(cloud, grid.affine, grid.shape)
                for kind, cloud in self.clouds.items()
            }
        return self._weights[key]

    def read(
        self,
        path: str,
        where: str,
        *,
        analyze_orientation: str | None,
        zero_is_missing: bool,
    ) -> dict[str, Means]:
        """Read one image and average it over every cloud."""
        volume = read_volume(path, analyze_orientation, where)
        return {
            kind: average(weights, volume.values, zero_is_missing=zero_is_missing)
            for kind, weights in self.weights(volume.grid).items()
        }


def extract(
    rows: pd.DataFrame,
    clouds: dict[str, Cloud],
    *,
    analyze_orientation: str | None,
    zero_is_missing: bool,
) -> dict[str, pd.DataFrame]:
    """Average the images of one subject over ROIs and parcels.

    Parameters
    ----------
    rows : DataFrame
        The subject's rows of the manifest.
    clouds : dict of str to Cloud
        By kind of region.
    analyze_orientation, zero_is_missing
        Keys of the section `maps` of the configuration.

    Returns
    -------
    dict of str to DataFrame
        By kind, long: subject, condition, cue, contrast, run, region, effect, variance,
        tsnr, coverage, n_voxels. Coverage is that of the effect image.

    Raises
    ------
    StudyError
        If an image cannot be read, or is not a single volume in MNI space.
    """
    reader = Reader(clouds)
    pieces: dict[str, list[pd.DataFrame]] = {kind: [] for kind in clouds}
    # several rows may name one image: the tSNR of a subject
    means: dict[str, dict[str, Means]] = {}
    for row in rows.to_dict("records"):
        given = [name for name in FILES if isinstance(row[name], str)]
        for name in given:
            if row[name] not in means:
                means[row[name]] = reader.read(
                    row[name],
                    f"sub-{row['subject']}, {name}",
                    analyze_orientation=analyze_orientation,
                    zero_is_missing=zero_is_missing,
                )
        found = {name: means[row[name]] for name in given}
        for kind, cloud in clouds.items():
            effect = found["image"][kind]
            pieces[kind].append(
                pd.DataFrame(
                    {
                        "subject": row["subject"],
                        **{name: row[name] for name in CELL},
                        "region": cloud.names,
                        "effect": effect.mean,
                        **{
                            name: found[name][kind].mean
                            if name in found
                            else float("nan")
                            for name in ("variance", "tsnr")
                        },
                        "coverage": effect.coverage,
                        "n_voxels": effect.n_voxels,
                    }
                )
            )
    return {
        kind: pd.concat(tables, ignore_index=True) for kind, tables in pieces.items()
    }


def extract_receptors(
    maps: pd.DataFrame,
    clouds: dict[str, Cloud],
    definitions: pd.DataFrame,
    min_coverage: float,
    low_coverage: str,
) -> dict[str, pd.DataFrame]:
    """Average receptor maps over ROIs and parcels, outside-brain voxels left out.

    Parameters
    ----------
    maps : DataFrame
        Columns receptor, path, background, negative, checksum.
    clouds : dict of str to Cloud
        `rois` and `parcels`.
    definitions : DataFrame
        Columns region, structure of the parcels.
    min_coverage : float
        Least share of a region that a map has to cover.
    low_coverage : {'floor', 'missing'}
        Below that, the background counts as binding, or the region gets none.

    Returns
    -------
    dict of str to DataFrame
        `rois` (receptor, definition, region, binding, coverage, floored) and `parcels`
        (receptor, region, structure, binding, coverage, floored).

    Raises
    ------
    StudyError
        If a file is not the registered one, has an undeclared background or negative values.
    """
    reader = Reader(clouds)
    pieces: dict[str, list[pd.DataFrame]] = {kind: [] for kind in clouds}
    for row in maps.to_dict("records"):
        volume, values = read_receptor(row)
        for kind, weights in reader.weights(volume.grid).items():
            binding, coverage, floored = bind(
                weights, volume.values, values, min_coverage, low_coverage
            )
            table = pd.DataFrame(
                {
                    "receptor": row["receptor"],
                    "region": clouds[kind].names,
                    "binding": binding,
                    "coverage": coverage,
                    "floored": floored,
                }
            )
            pieces[kind].append(table)
    tables = {
        kind: pd.concat(listed, ignore_index=True) for kind, listed in pieces.items()
    }
    names = tables["rois"]["region"].str.split("/", n=1, expand=True)
    tables["rois"] = tables["rois"].assign(definition=names[0], region=names[1])
    of_parcels = definitions.loc[
        definitions["kind"] == "parcel", ["region", "structure"]
    ]
    tables["parcels"] = tables["parcels"].merge(of_parcels, on="region")
    return tables


def measure_grey_matter(parcels: Cloud) -> pd.DataFrame:
    """Average the density of grey matter over parcels.

    Density is that of the MNI152 template (ICBM 2009a, 1 mm) that nilearn carries, 0 to 1; the
    template knows nothing of the study's own people.

    Returns
    -------
    DataFrame
        Columns region, grey_matter, coverage (share of the parcel inside the template's image).
    """
    from nilearn.datasets import load_mni152_gm_template

    template = load_mni152_gm_template(resolution=1)
    density = np.asarray(template.dataobj, float)
    found = average(
        weigh(parcels, template.affine, density.shape), density, zero_is_missing=False
    )
    return pd.DataFrame(
        {
            "region": parcels.names,
            "grey_matter": found.mean,
            "coverage": found.coverage,
        }
    )


def read_receptor(row: dict) -> tuple[Volume, NDArray]:
    """Read a receptor map: as it is, and NaN outside the brain.

    `row` has receptor, path, background, negative and checksum; raises as `extract_receptors`.
    """
    where = f"receptor map {row['receptor']} (receptors.table)"
    require_registered(row["path"], row["checksum"], where)
    volume = read_volume(row["path"], None, where)
    return volume, mask_background(
        volume.values, row["background"], row["negative"], f"{where}: {row['path']}"
    )


def bind(
    weights: Weights,
    values: NDArray,
    masked: NDArray,
    min_coverage: float,
    low_coverage: str,
) -> tuple[NDArray, NDArray, NDArray]:
    """Average a receptor map: binding, coverage, and whether the background counted in.

    `values` are those of the map (x, y, z), `masked` the same with NaN outside the brain; the
    other arguments are those of `extract_receptors`. Returns arrays of shape (n_regions,).

    Publishers clip low binding to the value that also fills the outside of the brain, so that a
    region of low binding (visual cortex, for mu-opioid) looks uncovered. Left out, such regions
    would be missing because of the very value that is asked for.
    """
    measured = average(weights, masked, zero_is_missing=False)
    whole = average(weights, values, zero_is_missing=False)
    enough = measured.coverage >= min_coverage
    floored = ~enough & (whole.coverage >= min_coverage) & (low_coverage == "floor")
    binding = np.where(enough, measured.mean, np.where(floored, whole.mean, np.nan))
    return binding, measured.coverage, floored
