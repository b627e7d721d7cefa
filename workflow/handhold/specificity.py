"""Specificity: is it this receptor, or would another map do as well?

Receptor maps resemble each other and the front-to-back axis of the brain. That
one of them corresponds and another does not proves nothing; what counts is the
difference of the two correlations, and whether the maps can be told apart at
all: how much of the target is a linear mixture of the others (R2), how far each
map's weight would be blurred in a joint model (VIF), how closely it follows an axis.

All maps are nulled under the same draws, so the nulls of two maps resemble each
other as the maps do. A difference of correlations is the correlation of the
group map with a difference of (standardised) maps, up to its length; its nulls
are those of the difference map. The test asks whether the group map goes with
*that* map more than with equally smooth ones, and stays valid when it goes with what
the two maps share. Family-wise p values compare each p with the smallest p of each
draw over all maps (min-p [1]_).

References
----------
.. [1] Westfall & Young (1993), Resampling-Based Multiple Testing, Wiley.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from handhold.correspondence import within_r
from handhold.nulls import TIE, two_sided_p

# A map whose variance is less than this fraction unexplained by the others is a
# mixture of them, up to rounding.
COLLINEAR = 1e-12


@dataclass(frozen=True)
class Panel:
    """Correlations of the group map with each receptor map, target first.

    Arrays of shape (n_maps,). `r` within structures, positive where attenuation is
    larger in parcels with more binding; `p` two-sided among the map's own nulls,
    `p_fwe` among the smallest p of each draw over all maps; `null_low` and
    `null_high` the central interval of the nulls. `difference` is r of the target
    minus r of the map, positive where the target corresponds more closely, with
    `p_difference` and `p_difference_fwe` (smallest p of a difference of each draw); for
    the target itself the difference is 0 and its p values are nan.
    """

    r: NDArray
    p: NDArray
    p_fwe: NDArray
    difference: NDArray
    p_difference: NDArray
    p_difference_fwe: NDArray
    null_low: NDArray
    null_high: NDArray


@dataclass(frozen=True)
class Explanation:
    """How far the receptor maps are mixtures of each other.

    `r_squared` : share of the target's variance over parcels that a linear model
    of all other maps explains. `vif`, shape (n_maps,): variance inflation 1 / (1 -
    R2) of each map given the others, infinite for an exact mixture.
    """

    r_squared: float
    vif: NDArray


def compare_receptors(
    group: ArrayLike,
    bindings: ArrayLike,
    structure: ArrayLike,
    nulls: ArrayLike,
    ranked: bool,
    level: float = 0.95,
) -> Panel:
    """Correlate the group map with every receptor map and with their differences.

    Parameters
    ----------
    group : array, shape (n_parcels,)
        Group attenuation, percent signal change.
    bindings : array, shape (n_maps, n_parcels)
        Receptor maps, the target first, each in any unit.
    structure : array of str, shape (n_parcels,)
        Which structure each parcel belongs to.
    nulls : array, shape (n_nulls, n_maps, n_parcels)
        Surrogates of `bindings`, all maps under the same draws.
    ranked : bool
        Spearman instead of Pearson, of maps and nulls.
    level : float
        Of the central interval of the nulls.

    Returns
    -------
    Panel
        One entry per map, in the order given.

    Raises
    ------
    ValueError
        If shapes do not fit, or as `handhold.correspondence.within_r`.
    """
    bindings, nulls = np.asarray(bindings, float), np.asarray(nulls, float)
    if bindings.ndim != 2 or nulls.shape[1:] != bindings.shape:
        raise ValueError(
            f"nulls of shape {nulls.shape} do not fit bindings of shape "
            f"{bindings.shape}; expected (n_nulls, n_maps, n_parcels)"
        )
    r = within_r(bindings, group, structure, ranked)
    # Map by map: ranks of all nulls at once would triple the memory.
    null_r = [
        within_r(of_map, group, structure, ranked) for of_map in nulls.swapaxes(0, 1)
    ]
    null_r = np.stack(null_r, axis=-1)
    low, high = np.quantile(null_r, [(1 - level) / 2, (1 + level) / 2], axis=0)

    difference = r[0] - r
    p_difference = np.full((2, len(r)), np.nan)
    if len(r) > 1:
        null_difference = null_r[:, :1] - null_r[:, 1:]
        p_difference[:, 1:] = judge_family(difference[1:], null_difference)
    return Panel(r, *judge_family(r, null_r), difference, *p_difference, low, high)


def judge_family(observed: NDArray, nulls: NDArray) -> tuple[NDArray, NDArray]:
    """Return p of each correlation, and p of each among the smallest p of each draw.

    The least p over maps, not the largest correlation: a wide null would decide for all maps,
    and in units of its SD a null of two humps (Moran's, of a map that one gradient makes)
    reaches less far than any other, so that not even a perfect correlation would pass.

    Parameters
    ----------
    observed : array, shape (n_maps,)
        Correlations, or differences of correlations.
    nulls : array, shape (n_nulls, n_maps)
        The same of the surrogates, all maps under the same draws.
    """
    p = two_sided_p(observed, nulls)
    smallest = np.ones(len(nulls))
    for column, own in zip(np.abs(nulls).T, np.abs(observed), strict=True):
        order = column.argsort()
        sizes = column[order]
        least = sizes - TIE
        # among all draws and the observed one, as p itself
        beyond = len(sizes) - np.searchsorted(sizes, least) + (own >= least)
        smallest[order] = np.minimum(smallest[order], beyond / (1 + len(sizes)))
    as_small = smallest[:, np.newaxis] <= p + TIE
    return p, (1 + as_small.sum(axis=0)) / (1 + len(nulls))


def explain_target(bindings: ArrayLike) -> Explanation:
    """Regress each receptor map on all others, over parcels.

    Parameters
    ----------
    bindings : array, shape (n_maps, n_parcels)
        Receptor maps, the target first, each in any unit.

    Returns
    -------
    Explanation
        R2 of the target, and the VIF of each map.

    Raises
    ------
    ValueError
        If a value is missing, a map is constant, or there are not more
        parcels than maps (any map would be explained).

    Examples
    --------
    >>> shared, own = np.array([1.0, 1, -1, -1]), np.array([1.0, -1, 1, -1])
    >>> explanation = explain_target([shared + own, shared])
    >>> print(round(explanation.r_squared, 3), explanation.vif.round(3))
    0.5 [2. 2.]
    """
    bindings = np.asarray(bindings, float)
    if bindings.ndim != 2 or bindings.shape[1] <= bindings.shape[0]:
        raise ValueError(
            f"bindings have shape {bindings.shape}; expected (n_maps, n_parcels) with "
            "more parcels than maps"
        )
    maps = bindings - bindings.mean(axis=1, keepdims=True)
    length = np.linalg.norm(maps, axis=1, keepdims=True)
    if not (length > COLLINEAR * np.abs(bindings).max(axis=1, keepdims=True)).all():
        raise ValueError("a receptor map is constant or has missing values")
    maps /= length
    left = np.array([_unexplained(maps, i) for i in range(len(maps))])
    vif = np.divide(1, left, out=np.full(len(left), np.inf), where=left > COLLINEAR)
    return Explanation(float(1 - left[0]), vif)


def correlate_axis(binding: ArrayLike, coordinates: ArrayLike) -> NDArray:
    """Correlate receptor maps with the posterior-to-anterior axis, over all parcels.

    Parameters
    ----------
    binding : array, shape (..., n_parcels)
        One or more receptor maps.
    coordinates : array, shape (n_parcels, 3)
        Centres of the parcels in MNI mm; y grows towards the front.

    Returns
    -------
    array, shape (...)
        Pearson r with y, positive where binding is larger in front. Structures
        are not told apart: this describes a map.
    """
    y = np.asarray(coordinates, float)[:, 1]
    return within_r(binding, y, np.full(y.shape, "all"))


def _unexplained(maps: NDArray, index: int) -> float:
    """Share of one map's variance that the other maps leave over."""
    others = np.delete(maps, index, axis=0).T
    weights = np.linalg.lstsq(others, maps[index])[0]
    return float(((maps[index] - others @ weights) ** 2).sum())
