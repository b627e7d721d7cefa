"""The group's mean attenuation, voxel by voxel, where all images lie on one grid.

Images are read once, subject by subject: memory holds the images of one subject and two volumes
per contrast, however many subjects there are.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from handhold.attenuation import attenuate_maps
from handhold.extract import bind, read_receptor
from handhold.images import Grid, read_grid, read_volume, write_image
from handhold.io import opened_arrays, write_arrays, write_json
from handhold.regions import Cloud, weigh
from handhold.voxels import (
    Voxels,
    couple_voxels,
    grey_matter_voxels,
    voxel_cloud,
)

# Grids whose voxels differ in place by less than this are one: headers round.
SAME_MM = 1e-2
COLUMNS = ["subject", "contrast", "r", "r_spearman", "n_voxels"]


@dataclass(frozen=True)
class Group:
    """Mean attenuation over subjects.

    `means`, by contrast, (x, y, z) on `grid`, NaN where too few subjects have the voxel;
    `n_subjects`, by contrast, how many have each; `voxels`, those of grey matter; `subjects`,
    the table of correlations person by person. Without a common grid there is nothing but
    the reason in `voxels`.
    """

    grid: Grid | None
    means: dict[str, NDArray]
    n_subjects: dict[str, NDArray]
    voxels: Voxels
    subjects: pd.DataFrame


def average_images(
    images: pd.DataFrame,
    contrasts: list[dict],
    parcels: Cloud,
    definitions: pd.DataFrame,
    receptor: dict,
    *,
    analyze_orientation: str | None,
    zero_is_missing: bool,
    min_subjects: float,
    min_coverage: float,
    low_coverage: str,
) -> Group:
    """Average attenuation over subjects, and correlate each subject's with binding.

    Parameters
    ----------
    images : DataFrame
        The manifest: subject, condition, cue, contrast, run, image, variance.
    contrasts : list of dict
        That section of the configuration.
    parcels : Cloud
        What is grey matter.
    definitions : DataFrame
        Columns kind, region and structure of the parcels.
    receptor : dict
        The row of the target map.
    analyze_orientation, zero_is_missing
        Keys of the section `maps` of the configuration.
    min_subjects : float
        Least share of the subjects that have a voxel.
    min_coverage, low_coverage
        Keys of the sections `regions` and `receptors`, as for parcels.

    Raises
    ------
    StudyError
        If an image cannot be read.
    """
    grids = [
        (subject, read_grid(path, analyze_orientation, f"sub-{subject}, image"))
        for subject, path in zip(images["subject"], images["image"], strict=True)
    ]
    grid = grids[0][1]
    others = [subject for subject, own in grids if not _same(own, grid)]
    if others:
        listed = ", ".join(f"sub-{subject}" for subject in dict.fromkeys(others))
        reason = (
            f"{listed}: the images lie on another grid than those of sub-{grids[0][0]}, and "
            "images of people are not resampled"
        )
        return _without(contrasts, reason)
    weights = weigh(parcels, grid.affine, grid.shape)
    known = definitions[definitions["kind"] == "parcel"].set_index("region")
    of_parcels = known.loc[list(parcels.names), "structure"].to_numpy()
    voxel, of_voxels = grey_matter_voxels(weights, of_parcels, grid.voxel_volume)
    binding = bind_voxels(voxel, grid, receptor, min_coverage, low_coverage)

    sums = {c["name"]: np.zeros(grid.shape) for c in contrasts}
    counts = {c["name"]: np.zeros(grid.shape, np.int32) for c in contrasts}
    coupled = []
    for subject, rows in images.groupby("subject", sort=False):
        cells = _read_cells(rows, analyze_orientation, zero_is_missing)
        for contrast in contrasts:
            name, values = contrast["name"], attenuate_maps(cells, contrast)
            measured = np.isfinite(values)
            sums[name][measured] += values[measured]
            counts[name] += measured
            found = couple_voxels(values.ravel()[voxel], binding, of_voxels)
            coupled.append((subject, name, *found))
    n_people = images["subject"].nunique()
    # a quotient, as for parcels
    means = {
        name: np.where(
            counts[name] / n_people >= min_subjects,
            total / np.maximum(counts[name], 1),
            np.nan,
        )
        for name, total in sums.items()
    }
    voxels = Voxels(
        {name: values.ravel()[voxel] for name, values in means.items()},
        binding,
        of_voxels,
        np.stack(np.unravel_index(voxel, grid.shape), axis=1),
        np.linalg.norm(grid.affine[:3, :3], axis=0),
    )
    return Group(grid, means, counts, voxels, pd.DataFrame(coupled, columns=COLUMNS))


def bind_voxels(
    voxel: NDArray, grid: Grid, receptor: dict, min_coverage: float, low_coverage: str
) -> NDArray:
    """Average a receptor map over voxels of a grid (their places in C order), shape (n_voxels,).

    `receptor` is the row of the map; NaN where it covers less than `min_coverage` of a voxel.
    """
    volume, masked = read_receptor(receptor)
    cloud = voxel_cloud(voxel, grid.affine, grid.shape)
    weights = weigh(cloud, volume.grid.affine, volume.grid.shape)
    return bind(weights, volume.values, masked, min_coverage, low_coverage)[0]


def write_group(group: Group, folder: str, names: dict[str, str], facts: dict) -> None:
    """Write the mean of each contrast (by `names`) with its sidecar; none without a grid."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, values in group.means.items():
        path = names[name]
        write_image(path, values, group.grid)
        sidecar = {
            "Description": f"Mean attenuation over subjects, contrast {name}; above 0: the "
            "response is lower when held. NaN where too few subjects have the voxel.",
            "ContrastName": name,
            "NumberOfSubjects": int(group.n_subjects[name].max()),
            **facts,
        }
        write_json(sidecar, path.replace(".nii.gz", ".json"))


def write_voxels(voxels: Voxels, path: str | Path) -> None:
    """Write grey-matter voxels."""
    arrays = {name: np.asarray(own) for name, own in vars(voxels).items()}
    del arrays["groups"]
    groups = {f"group {name}": own for name, own in voxels.groups.items()}
    write_arrays({**arrays, **groups}, path)


def read_voxels(path: str | Path, contrasts: list[str]) -> Voxels:
    """Read grey-matter voxels of the contrasts that they were written with."""
    with opened_arrays(path) as arrays:
        names = ("binding", "structure", "places", "size_mm")
        groups = {name: arrays[f"group {name}"] for name in contrasts}
        return Voxels(groups, *(arrays[n] for n in names), str(arrays["reason"]))


def _without(contrasts: list[dict], reason: str) -> Group:
    none = np.empty(0)
    groups = {contrast["name"]: none for contrast in contrasts}
    voxels = Voxels(groups, none, none.astype(str), np.empty((0, 3), int), none, reason)
    return Group(None, {}, {}, voxels, pd.DataFrame(columns=COLUMNS))


def _same(one: Grid, other: Grid) -> bool:
    if one.shape != other.shape:
        return False
    corners = np.array([[0, 0, 0, 1], [*one.shape, 1]])
    apart = corners @ (one.affine - other.affine).T
    return bool(np.abs(apart).max() <= SAME_MM)


def _read_cells(
    rows: pd.DataFrame, analyze_orientation: str | None, zero_is_missing: bool
) -> dict[str | tuple[str, str], NDArray]:
    """Read the images of one subject by cell; runs by precision where each has a variance."""

    def read(path: str, what: str) -> NDArray:
        where = f"sub-{rows['subject'].iloc[0]}, {what}"
        values = read_volume(path, analyze_orientation, where).values
        return np.where(zero_is_missing & (values == 0), np.nan, values)

    cells = {}
    keys = ["condition", "cue", "contrast"]
    for (condition, cue, contrast), runs in rows.groupby(keys, dropna=False):
        key = contrast if isinstance(contrast, str) else (condition, cue)
        by_precision = len(runs) > 1 and runs["variance"].notna().all()
        total, weight = 0.0, 0.0
        for run in runs.itertuples():
            effect = read(run.image, "image")
            own = np.isfinite(effect).astype(float)
            if by_precision:
                variance = read(run.variance, "variance")
                own = np.where(
                    variance > 0, own / np.where(variance > 0, variance, 1), 0
                )
            total = total + own * np.where(own > 0, effect, 0)
            weight = weight + own
        cells[key] = np.divide(
            total, weight, out=np.full(weight.shape, np.nan), where=weight > 0
        )
    return cells
