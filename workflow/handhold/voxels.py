"""Correspondence voxel by voxel, over the grey matter that the parcels hold.

Beside the parcels, which decide: voxels are no more independent than parcels are, only more, and
what they add is that no parcellation stands between the images and the answer. The statistic is
that of `handhold.correspondence`, structures apart. Its map null is a Gaussian field with
the covariance of the receptor map (`handhold.fields`), the only family that can be drawn for tens
of thousands of voxels; the subject null flips the signs of the subjects' Fisher z.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from handhold.bayes import ttest_bf10
from handhold.correspondence import (
    LARGEST_R,
    MIN_PARCELS,
    rank_within,
    standardise,
    within_r,
)
from handhold.estimate import one_sample
from handhold.families import FAMILIES
from handhold.fields import gaussian_voxels
from handhold.nulls import two_sided_p
from handhold.permutation import MINIMUM_SUBJECTS, flip_signs
from handhold.regions import Cloud, Weights

# Values of surrogates at a time: 100 of 40,000 voxels, 32 MB of float64, of which ranking makes
# copies. The fit of the covariance comes once a block.
BLOCK = 4_000_000
DESCRIPTIVE = "descriptive: beside the parcels, which decide"


@dataclass(frozen=True)
class Voxels:
    """Grey-matter voxels of the group.

    groups : group attenuation by contrast, each (n_voxels,); nan where too few subjects have
        the voxel.
    binding : (n_voxels,), nan where the receptor map does not cover the voxel.
    structure : (n_voxels,), which structure each belongs to.
    places : (n_voxels, 3), where they stand on their grid.
    size_mm : (3,), edges of a voxel in mm.
    reason : why there are none, or empty.
    """

    groups: dict[str, NDArray]
    binding: NDArray
    structure: NDArray
    places: NDArray
    size_mm: NDArray
    reason: str = ""


def grey_matter_voxels(
    weights: Weights, structure: ArrayLike, voxel_volume: float
) -> tuple[NDArray, NDArray]:
    """Find the voxels that parcels fill by half or more.

    Parameters
    ----------
    weights : Weights
        Of the parcels on the grid of the images.
    structure : array of str, shape (n_parcels,)
        Which structure each parcel belongs to.
    voxel_volume : float
        mm^3.

    Returns
    -------
    voxel : array of int, shape (n_voxels,)
        Their places in C order, ascending.
    structure : array of str, shape (n_voxels,)
        The structure that fills most of each.
    """
    structure = np.asarray(structure, str)
    names = np.unique(structure)
    indicator = (names[:, np.newaxis] == structure).astype(float)
    filled = np.stack([weights.matrix.T @ own for own in indicator])
    voxel = np.flatnonzero(filled.sum(axis=0) >= voxel_volume / 2)
    return voxel, names[filled[:, voxel].argmax(axis=0)]


def voxel_cloud(voxel: NDArray, affine: NDArray, shape: tuple[int, int, int]) -> Cloud:
    """Make each voxel (its place in C order) a region of its own, for maps on another grid."""
    points = np.stack(np.unravel_index(voxel, shape), axis=1) @ affine[:3, :3].T
    return Cloud(
        points + affine[:3, 3],
        np.arange(len(voxel)),
        np.full(len(voxel), abs(np.linalg.det(affine[:3, :3]))),
        tuple(map(str, voxel)),
        np.abs(affine[:3, :3]).sum(axis=1),
    )


def couple_voxels(
    attenuation: NDArray, binding: NDArray, structure: NDArray
) -> tuple[float, float, int]:
    """Correlate one subject's attenuation with binding, over the voxels that both have.

    Parameters
    ----------
    attenuation, binding : array, shape (n_voxels,)
        NaN where not measured.
    structure : array of str, shape (n_voxels,)
        Which structure each voxel belongs to.

    Returns
    -------
    r, r_spearman : float
        Within structures; nan where the subject has fewer than `MIN_PARCELS` voxels.
    n_voxels : int
    """
    own = np.isfinite(attenuation) & np.isfinite(binding)
    if own.sum() < MIN_PARCELS:
        return np.nan, np.nan, int(own.sum())
    sides = attenuation[own], binding[own], structure[own]
    pearson, spearman = (float(within_r(*sides, ranked)) for ranked in (False, True))
    return pearson, spearman, int(own.sum())


def judge_voxels(
    voxels: Voxels,
    subjects: pd.DataFrame,
    *,
    n_nulls: int,
    method: str,
    tests: dict,
    null_seed: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Judge the correspondence over voxels by both nulls.

    Parameters
    ----------
    voxels : Voxels
        Group attenuation and binding.
    subjects : DataFrame
        Columns subject, contrast, r and r_spearman (`couple_voxels`).
    n_nulls : int
        Surrogates of the receptor map, shared by all contrasts.
    method : {"spearman", "pearson"}
    tests : dict
        That section of the configuration.
    null_seed : int
        Seed of the surrogates.
    rng : numpy.random.Generator
        Source of the sign flips.

    Returns
    -------
    DataFrame
        One row per contrast, over the voxels that the map and every contrast have; the columns
        are those of tests/correspondence.tsv. Without a verdict: the parcels have it.
    """
    contrasts = [*voxels.groups]
    table = pd.DataFrame({"contrast": contrasts}).assign(
        scope="voxels", method=method, reason=DESCRIPTIVE
    )
    common = _common(voxels)
    if not common.any():
        why = voxels.reason or "no grey-matter voxel has both attenuation and binding"
        return table.assign(effect=np.nan, n_voxels=0, reason=f"not run: {why}")
    lost = (~common).sum()
    if lost:
        table["reason"] += (
            f"; {lost} of {common.size} grey-matter voxels left out (no binding, too few "
            "subjects, or too small a structure)"
        )
    structure, ranked = voxels.structure[common], method == "spearman"
    groups = np.stack([group[common] for group in voxels.groups.values()])
    outcomes = standardise(groups, structure, ranked)
    binding = voxels.binding[common]
    r = outcomes @ standardise(binding, structure, ranked)
    null_r = _null_r(
        rank_within(binding, structure) if ranked else binding,
        outcomes,
        structure,
        voxels.places[common],
        voxels.size_mm,
        n_nulls,
        ranked,
        np.random.default_rng(null_seed),
    )
    tails = [(1 - tests["level"]) / 2, (1 + tests["level"]) / 2]
    low, high = np.quantile(null_r, tails, axis=0)
    people = [_of_subjects(subjects, name, method, tests, rng) for name in contrasts]
    table = table.join(pd.DataFrame(people)).assign(
        effect=r,
        n_voxels=int(common.sum()),
        p_map=two_sided_p(r, null_r),
        null_sd=null_r.std(axis=0, ddof=1),
        null_low=low,
        null_high=high,
        n_nulls=n_nulls,
        null_method=FAMILIES["gaussian"],
    )
    return table.assign(p=table[["p_map", "p_subject"]].max(axis=1, skipna=False))


def _common(voxels: Voxels) -> NDArray:
    """Tell the voxels that the map and every contrast have, of structures with enough of them."""
    common = np.isfinite(voxels.binding)
    for group in voxels.groups.values():
        common &= np.isfinite(group)
    for name in np.unique(voxels.structure):
        own = voxels.structure == name
        if (common & own).sum() < MIN_PARCELS:
            common &= ~own
    return common


def _null_r(
    of_map: NDArray,
    outcomes: NDArray,
    structure: NDArray,
    places: NDArray,
    size_mm: NDArray,
    n_nulls: int,
    ranked: bool,
    rng: np.random.Generator,
) -> NDArray:
    """Correlate surrogates of a map with group maps, block by block, (n_nulls, n_contrasts)."""
    found, at_once = [], max(1, BLOCK // len(of_map))
    for start in range(0, n_nulls, at_once):
        nulls = np.empty((min(at_once, n_nulls - start), len(of_map)))
        for name in np.unique(structure):
            own = structure == name
            nulls[:, own] = gaussian_voxels(
                of_map[own], places[own], size_mm, len(nulls), rng
            )
        found.append(standardise(nulls, structure, ranked) @ outcomes.T)
    return np.concatenate(found)


def _of_subjects(
    subjects: pd.DataFrame,
    contrast: str,
    method: str,
    tests: dict,
    rng: np.random.Generator,
) -> dict:
    """Test the mean of the subjects' Fisher z; nothing where there are too few."""
    own = subjects[subjects["contrast"] == contrast]
    r = own["r_spearman" if method == "spearman" else "r"].dropna().to_numpy()
    if len(r) < MINIMUM_SUBJECTS:
        return {"n": len(r), "p_subject": np.nan}
    z = np.arctanh(np.clip(r, -LARGEST_R, LARGEST_R))
    mean = one_sample(z, level=tests["level"], smallest_dz=1.0)
    return {
        "n": len(z),
        "mean_r": np.tanh(mean.mean),
        "mean_r_low": np.tanh(mean.low),
        "mean_r_high": np.tanh(mean.high),
        "statistic": mean.t,
        "p_subject": float(
            flip_signs(z[:, np.newaxis], tests["n_permutations"], rng).p[0]
        ),
        "bf10": float(ttest_bf10(mean.t, len(z), scale=tests["bayes_scale"])),
    }
