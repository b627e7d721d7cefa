"""Q5 with other maps held constant: partial correlations, and all receptor maps in one model.

A partial correlation asks whether attenuation follows the part of the target that other maps do
not have: the front-to-back axis, grey-matter density, or other receptors. All maps are centred
within structures first, as in `handhold.correspondence`, and are taken as they are, not ranked:
a linear model holds constant what is linear in a map, and the rank of a sum of maps is no
sum of their ranks. With ten maps that make 90 % of both, partial correlations of ranks
rejected .71 to .93 of pairs that had nothing else in common.

There are two ways to draw the nulls, and each fails where the other holds. Surrogates of *what
the other maps leave* of the target, with the fit to them added back [1]_, lose some of their own
smooth patterns when the other maps are taken from them once more: too narrow a null, the
more so the more maps there are. Surrogates of the *whole* target have the smoothness of the
whole, and are too rough where what is left of it is smoother. The null whose correlations
spread wider is taken.
Measured by Moran, singleton procedure (tests/reference/partials_calibration.tsv; rejections at
.05, standard error under .01, where covariates are all that both maps share): .03 to .07 with one
covariate, .02 to .09 with ten that make 90 % of the target. Either null alone: up to .14 and
.44. Nothing held constant: .36 to 1. One family of nulls only, the one that decides: how much
wider or narrower the others are stands beside the plain correlations.

The subject null is that of Q2, over each person's own partial correlation.

References
----------
.. [1] Freedman & Lane (1983), J. Bus. Econ. Stat. 1(4), 292-298, whose scheme this is, with
   surrogates in place of permutations.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from handhold.correspondence import span, standardise, within_r
from handhold.joint import (
    Regression,
    analyse_dominance,
    null_r_squared,
    regress_group,
)
from handhold.nulls import two_sided_p
from handhold.parcels import (
    arrange_subjects,
    draw_nulls,
    judge_parcels,
    name_deciding,
    panel_parcels,
)
from handhold.specificity import COLLINEAR, judge_family

Y_AXIS, GREY_MATTER, ALL_OTHERS = "y axis", "grey matter", "all other maps"
# A share of the target above which what is left of it is mostly error: the VIF of 10 at which
# the design of a run is refused.
MOSTLY_SHARED = 0.9
# Columns of the table of partial correlations.
PARTIAL = [
    *("contrast", "receptor", "given", "n_parcels", "n", "unadjusted", "effect"),
    *("null_low", "null_high", "null_sd", "p_map", "mean_r", "mean_r_low"),
    *("mean_r_high", "statistic", "p_subject", "p", "bf10", "r_squared", "warnings"),
]


def assess_partials(
    attenuation: pd.DataFrame,
    parcels: pd.DataFrame,
    receptors: pd.DataFrame,
    grey_matter: pd.DataFrame,
    maps: pd.DataFrame,
    *,
    tests: dict,
    nulls: dict,
    null_seed: int,
    rng: np.random.Generator,
    distances: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Correlate attenuation with the target, other maps held constant, by both nulls.

    Parameters
    ----------
    attenuation : DataFrame
        Columns subject, region, contrast, attenuation.
    parcels : DataFrame
        As `handhold.parcels.select_parcels` returns it.
    receptors : DataFrame
        Columns receptor, region, binding.
    grey_matter : DataFrame
        Columns region, grey_matter (density, 0 to 1).
    maps : DataFrame
        Columns receptor, label; the target first.
    tests, nulls : dict
        Those sections of the configuration.
    null_seed : int
        Seed of the surrogates; the same for every row.
    rng : numpy.random.Generator
        Source of the sign flips.
    distances : DataFrame, optional
        As for `handhold.parcels.assess_correspondence`.

    Returns
    -------
    DataFrame
        One row per contrast and set of maps held constant, over the parcels that every receptor
        map covers; `r_squared` is the share of the target that the set explains.

    Raises
    ------
    StudyError
        As `handhold.parcels.assess_specificity`.
    """
    density = grey_matter.set_index("region")["grey_matter"]
    deciding = nulls["families"][0]
    rows = []
    for contrast, own, bindings in panel_parcels(parcels, receptors, maps, nulls):
        of_subjects = arrange_subjects(attenuation, contrast, own["region"])
        structure, group = own["structure"].to_numpy(), own["group"].to_numpy()
        target, others = bindings[0], bindings[1:]
        held = [
            (Y_AXIS, own[["y"]].to_numpy().T),
            (GREY_MATTER, density[own["region"]].to_numpy()[np.newaxis]),
            *zip(maps["label"][1:], others[:, np.newaxis], strict=True),
            (ALL_OTHERS, others),
        ]
        draw = _draw_over(own, nulls, null_seed, distances)
        for name, given in held if len(others) > 1 else held[:-1]:
            shared = shared_with(target, given, structure)
            row = {
                "contrast": contrast,
                "given": name,
                "n_parcels": len(own),
                "unadjusted": float(within_r(group, target, structure)),
                "r_squared": shared,
                "warnings": _mostly_shared(shared),
            }
            if shared < 1 - COLLINEAR:
                row |= judge_parcels(
                    of_subjects,
                    target,
                    structure,
                    {deciding: draw_given(target, given, group, structure, draw)},
                    nulls_of_attenuation=None,
                    tests=tests,
                    ranked=False,
                    rng=rng,
                    given=given,
                )
            rows.append(row)
    table = pd.DataFrame(rows).reindex(columns=PARTIAL)
    return _label(table, nulls, distances).assign(receptor=maps["receptor"].iloc[0])


def assess_joint(
    parcels: pd.DataFrame,
    receptors: pd.DataFrame,
    maps: pd.DataFrame,
    *,
    dominance: list[str],
    level: float,
    nulls: dict,
    null_seed: int,
    distances: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Explain the group map by all receptor maps at once.

    Takes what `assess_partials` takes, and

    Parameters
    ----------
    dominance : list of str
        The maps of the dominance analysis (column receptor), at most
        `handhold.joint.MOST_MAPS`; the others have none.
    level : float
        Of the central interval of the nulls.

    Returns
    -------
    DataFrame
        One row per contrast and map. `weight`, with the interval of its nulls, is of the model of
        all maps, which explains `model_r_squared` (its p: that of surrogates of the group map);
        `dominance`, `dominance_share` and the gains are of the model of the maps in `dominance`.

    Raises
    ------
    StudyError
        As `handhold.parcels.assess_specificity`.
    """
    pieces = []
    for contrast, own, bindings in panel_parcels(parcels, receptors, maps, nulls):
        structure, group = own["structure"].to_numpy(), own["group"].to_numpy()
        fit = regress_group(group, bindings, structure)
        draw = _draw_over(own, nulls, null_seed, distances)
        null = null_r_squared(draw(standardise(group, structure)), bindings, structure)
        pieces.append(
            maps[["receptor", "label"]].assign(
                contrast=contrast,
                target=[True] + [False] * (len(maps) - 1),
                n_parcels=len(own),
                weight=fit.weight,
                **_judge_weights(fit, group, bindings, structure, draw, level),
                vif=fit.vif,
                model_r_squared=fit.r_squared,
                null_r_squared=float(np.median(null)),
                p_model=float(two_sided_p(fit.r_squared, null)),
                **_dominance(group, bindings, structure, maps, dominance),
                warnings=[_mostly_shared(1 - 1 / vif) for vif in fit.vif],
            )
        )
    return _label(pd.concat(pieces, ignore_index=True), nulls, distances)


def shared_with(target: NDArray, given: NDArray, structure: NDArray) -> float:
    """Return the share of a map's variance that other maps explain, within structures.

    Parameters
    ----------
    target : array, shape (n_parcels,)
    given : array, shape (n_given, n_parcels)
    structure : array of str, shape (n_parcels,)
    """
    whole = standardise(target, structure)
    return float(((span(given, structure) @ whole) ** 2).sum())


def draw_given(
    target: NDArray,
    given: NDArray,
    group: NDArray,
    structure: NDArray,
    draw: Callable[[NDArray], NDArray],
) -> NDArray:
    """Draw surrogates of a map for its partial correlation with the group map.

    Parameters
    ----------
    target : array, shape (n_parcels,)
        The map.
    given : array, shape (n_given, n_parcels)
        The maps held constant.
    group : array, shape (n_parcels,)
        Group attenuation.
    structure : array of str, shape (n_parcels,)
        Which structure each parcel belongs to.
    draw : callable
        Takes a map (n_parcels,) and returns its surrogates (n_nulls, n_parcels).

    Returns
    -------
    array, shape (n_nulls, n_parcels)
        The wider of two nulls (see the module): of what the others leave of the map, their fit
        added back, or of the whole map.
    """
    whole, basis = standardise(target, structure), span(given, structure)
    fitted = (basis @ whole) @ basis
    both = [fitted + draw(whole - fitted), draw(whole)]
    return max(both, key=lambda one: within_r(one, group, structure, given=given).std())


def _draw_over(
    own: pd.DataFrame, nulls: dict, seed: int, distances: pd.DataFrame | None
) -> Callable[[NDArray], NDArray]:
    """Return what draws surrogates of a map over the parcels `own`, by the family that decides."""
    return partial(
        draw_nulls,
        own=own,
        family=nulls["families"][0],
        nulls=nulls,
        seed=seed,
        distances=distances,
    )


def _judge_weights(
    fit: Regression,
    group: NDArray,
    bindings: NDArray,
    structure: NDArray,
    draw: Callable[[NDArray], NDArray],
    level: float,
) -> dict[str, NDArray]:
    """Judge every weight of the joint model by nulls of its map given the others."""
    known = np.flatnonzero(np.isfinite(fit.weight))
    found = {
        name: np.full(len(bindings), np.nan)
        for name in ("null_low", "null_high", "p", "p_fwe")
    }
    null_r = []
    for index in known:
        others = np.delete(bindings, index, axis=0)
        drawn = draw_given(bindings[index], others, group, structure, draw)
        null_r.append(within_r(drawn, group, structure, given=others))
    if null_r:
        null_r = np.stack(null_r, axis=-1)
        bounds = np.quantile(null_r, [(1 - level) / 2, (1 + level) / 2], axis=0)
        found["null_low"][known], found["null_high"][known] = bounds * fit.reach[known]
        found["p"][known], found["p_fwe"][known] = judge_family(
            fit.weight[known] / fit.reach[known], null_r
        )
    return found


def _dominance(
    group: NDArray,
    bindings: NDArray,
    structure: NDArray,
    maps: pd.DataFrame,
    chosen: list[str],
) -> dict[str, NDArray]:
    """Share R2 among the chosen maps; nothing for the others."""
    inside = np.flatnonzero(maps["receptor"].isin(chosen))
    own = standardise(bindings[inside], structure)
    found = analyse_dominance(own @ own.T, own @ standardise(group, structure))
    labels = maps["label"].to_numpy()[inside]
    columns = {
        "dominance": found.general,
        "dominance_share": found.general / found.r_squared,
        "gain_alone": found.conditional[:, 0],
        "gain_last": found.conditional[:, -1],
    }
    laid = {name: np.full(len(maps), np.nan) for name in columns}
    for name, values in columns.items():
        laid[name][inside] = values
    dominated = [", ".join(labels[row]) or None for row in found.complete]
    return {**laid, "dominates": pd.Series(dominated, inside).reindex(maps.index)}


def _mostly_shared(share: float) -> str | None:
    """Say plainly where what is left of a map is next to nothing."""
    if share < MOSTLY_SHARED:
        return None
    return (
        f"the others explain {share:.3f} of this map: the data cannot tell it from them"
    )


def _label(
    table: pd.DataFrame, nulls: dict, distances: pd.DataFrame | None
) -> pd.DataFrame:
    return table.assign(
        question="Q5",
        method="pearson",
        n_nulls=nulls["n"],
        null_method=name_deciding(nulls, distances),
    )
