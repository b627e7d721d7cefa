"""Correspondence: does the attenuation map follow the receptor map?

The statistic is the correlation *within structures*: both maps are centred
within the cortex and within the subcortex, then correlated over all parcels.
The subcortex binds more than the cortex; this step is one degree of freedom,
which no spatial null can judge, so it does not count as correspondence.

Two tests with two hypotheses of no correspondence, and both are needed:

- *Map null*: the receptor map is one among the maps that are equally smooth (its
  nulls). Takes the group map as fixed: says nothing about other subjects.
- *Subject null*: a subject's correlation is as often negative as positive. Takes
  the receptor map as fixed: where attenuation is real, all subjects share its
  map, and its chance correlation with any smooth map whatever differs
  from zero. This test alone rejected in 37 to 70 % of simulated unrelated maps.

The headline p is the larger of the two. This intersection-union test rejects
too often under neither hypothesis [1]_; it does not itself compare directions,
so a verdict should ask that `r` and `mean_z` have one sign.

Assumptions: the map null inherits those of `handhold.nulls` (stationarity above
all); the subject null needs independent subjects whose z is symmetric about zero
if there is no correspondence.

Spearman is Pearson on ranks within structures, of the map *and* of each null: raw
correlations of nulls are no yardstick for a correlation of ranks. Nor are nulls of
a skewed map, ranked afterwards: a few sharp peaks make the map rougher than its
ranks, hence the nulls too rough and p too small (in simulation 12 % rejections at
.05 with lognormal maps, where nulls of the ranks gave 8 %, as they did with
Gaussian maps). For Spearman, make the nulls from `rank_within` of the map.

With maps held constant (`given`) every correlation is a partial one: both sides are taken as
what a linear model of those maps leaves of them, within structures. `handhold.partials` says
which nulls go with that.

References
----------
.. [1] Berger (1982), Technometrics 24(4), 295-300.
"""

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainc

from handhold.bayes import ttest_bf10
from handhold.estimate import one_sample
from handhold.nulls import two_sided_p
from handhold.permutation import MINIMUM_SUBJECTS, flip_signs

# A map whose spread is less than this fraction of its largest value is constant
# up to rounding, and its correlation would be noise.
CONSTANT = 1e-12

# Maps of unit length count as mixtures of each other where a direction among them is shorter.
MIXTURE = 1e-6

# Fewest parcels behind the correlation of one subject; its Fisher z then has a
# standard error of at most 1 / sqrt(7).
MIN_PARCELS = 10

# Fisher's z of a perfect correlation is infinite; z stops at 14.2 instead.
LARGEST_R = 1 - 1e-12


@dataclass(frozen=True)
class Centred:
    """Maps that are ranked (for Spearman) and centred within structures already.

    `values` has shape (n_maps, n_parcels). Surrogates of which several correlations are asked
    are centred once by `centre_within`.
    """

    values: NDArray

    @property
    def shape(self) -> tuple[int, ...]:
        """That of `values`."""
        return self.values.shape

    def take(self, inside: NDArray) -> "Centred":
        """Return the maps over whole structures, marked by `inside`, shape (n_parcels,)."""
        return self if inside.all() else Centred(self.values[:, inside])


@dataclass(frozen=True)
class Coupling:
    """How closely the attenuation of each subject follows the receptor map.

    `r` (within structures), `z` (arctanh of r) and `n_parcels` have shape
    (n_subjects,). r and z are positive where the subject attenuates more in
    parcels with more binding, and nan with too few parcels.
    """

    r: NDArray
    z: NDArray
    n_parcels: NDArray


@dataclass(frozen=True)
class Correspondence:
    """Correlation of attenuation with binding, judged by two nulls.

    r : correlation of the group map with the receptor map, within structures;
        positive where attenuation is larger in parcels with more binding.
    r_overall : the same without centring within structures; descriptive.
    n_parcels : parcels behind r.
    p_naive : p of r as if parcels were independent; descriptive, and far too small.
    p_map : two-sided p of r among the nulls of the receptor map.
    null_sd, null_low, null_high : spread and central interval of those nulls.
    p_map_of_attenuation : two-sided p among the nulls of the attenuation map, nan
        if none were given. Under "singleton" and Pearson this is p_map again, up
        to the draw of signs (see `handhold.nulls`).
    mean_z, z_low, z_high : mean over subjects of Fisher's z, with its t interval.
    t_subject, p_subject : t of the mean z, and its two-sided sign-flip p.
    p : the larger of p_map and p_subject, which decides.
    n_subjects : subjects behind z and the group map.
    bf10 : JZS Bayes factor of the mean z against zero.
    p_tost : p of the claim that the mean z lies within +- arctanh(smallest_r).
    """

    r: float
    r_overall: float
    n_parcels: int
    p_naive: float
    p_map: float
    null_sd: float
    null_low: float
    null_high: float
    p_map_of_attenuation: float
    mean_z: float
    z_low: float
    z_high: float
    t_subject: float
    p_subject: float
    p: float
    n_subjects: int
    bf10: float
    p_tost: float


def within_r(
    maps: ArrayLike | Centred,
    binding: ArrayLike,
    structure: ArrayLike,
    ranked: bool = False,
    given: ArrayLike | None = None,
) -> NDArray:
    """Correlate maps with binding over parcels, within structures.

    Parameters
    ----------
    maps : array, shape (..., n_parcels), or Centred
        One or more maps, in any unit; or what `centre_within` made of them.
    binding : array, shape (n_parcels,)
        Receptor availability, or whatever else to correlate the maps with.
    structure : array of str, shape (n_parcels,)
        Which structure each parcel belongs to.
    ranked : bool
        Spearman instead of Pearson: ranks within each structure (`rank_within`),
        divided by its number of parcels, so that ranks of a structure with more
        parcels do not spread wider than those of one with fewer.
    given : array, shape (n_given, n_parcels), optional
        Maps to hold constant, ranked as the others are.

    Returns
    -------
    array, shape (...)
        With Pearson the partial correlation given the structure (and `given`); with a
        single structure plain Pearson or Spearman.

    Raises
    ------
    ValueError
        If a value is missing, shapes do not fit, or a map is constant within
        every structure, or nothing but a mixture of `given`.

    Examples
    --------
    The step between the structures is no correspondence:

    >>> maps, binding = [1.0, 2, 3, 11, 12, 13], [3.0, 2, 1, 13, 12, 11]
    >>> structure = np.repeat(["cortex", "subcortex"], 3)
    >>> print(within_r(maps, binding, structure).round(3))
    -1.0
    """
    if not isinstance(maps, Centred):
        maps = np.asarray(maps, float)
    binding, structure = np.asarray(binding, float), np.asarray(structure)
    n_parcels = maps.shape[-1]
    if not binding.shape == structure.shape == (n_parcels,):
        raise ValueError(
            f"{n_parcels} parcels in the maps, but binding has shape {binding.shape} "
            f"and structure {structure.shape}"
        )
    basis = None if given is None else span(given, structure, ranked)
    directions = standardise(maps, structure, ranked, basis)
    r = directions @ standardise(binding, structure, ranked, basis)
    return np.clip(r, -1, 1)  # rounding alone can exceed them


def centre_within(maps: ArrayLike, structure: ArrayLike, ranked: bool) -> Centred:
    """Rank (if `ranked`) and centre maps within structures, for several calls of `within_r`.

    Parameters, and what is raised where a value is missing, are those of `within_r`.
    """
    maps, structure = np.asarray(maps, float), np.asarray(structure)
    _require_values(maps)
    return Centred(_centre(rank_within(maps, structure) if ranked else maps, structure))


def span(given: ArrayLike, structure: ArrayLike, ranked: bool = False) -> NDArray:
    """Return directions over parcels that span maps within structures.

    Parameters
    ----------
    given : array, shape (n_given, n_parcels)
        Maps in any unit; mixtures of each other add nothing, nor do maps that are constant
        within every structure.
    structure : array of str, shape (n_parcels,)
        Which structure each parcel belongs to.
    ranked : bool
        Whether to rank them first.

    Returns
    -------
    array, shape (rank, n_parcels)
        Orthonormal rows, each with mean zero within every structure.

    Raises
    ------
    ValueError
        If a value is missing.
    """
    given = np.atleast_2d(np.asarray(given, float))
    _require_values(given)
    given = rank_within(given, structure) if ranked else given
    maps = _centre(given, np.asarray(structure))
    length = np.linalg.norm(maps, axis=1)
    varies = length > _rounding(given)
    _, spread, directions = np.linalg.svd(
        maps[varies] / length[varies, np.newaxis], full_matrices=False
    )
    return directions[spread > MIXTURE]


def standardise(
    values: ArrayLike | Centred,
    structure: ArrayLike,
    ranked: bool = False,
    basis: NDArray | None = None,
) -> NDArray:
    """Centre maps within structures, less what `basis` spans, and give them unit length.

    Parameters
    ----------
    values : array, shape (..., n_parcels), or Centred
        Maps in any unit; or what `centre_within` made of them.
    structure : array of str, shape (n_parcels,)
        Which structure each parcel belongs to.
    ranked : bool
        Whether to rank them within structures first.
    basis : array, shape (rank, n_parcels), optional
        Directions to take from them (`span`).

    Returns
    -------
    array, shape (..., n_parcels)
        Maps whose products are correlations (`within_r`).

    Raises
    ------
    ValueError
        If a value is missing, or nothing is left of a map.
    """
    if isinstance(values, Centred):
        values = left = values.values
    else:
        values, structure = np.asarray(values, float), np.asarray(structure)
        _require_values(values)
        if ranked:
            values = rank_within(values, structure)
        left = _centre(values, structure)
    if basis is not None:
        left = left - (left @ basis.T) @ basis
    length = np.linalg.norm(left, axis=-1)
    constant = length <= _rounding(values)
    if constant.any():
        mixed = "" if basis is None else " or mixtures of the maps held constant"
        raise ValueError(
            f"{constant.sum()} of {constant.size} maps are constant within every "
            f"structure{mixed}; a correlation with them is not defined"
        )
    return left / length[..., np.newaxis]


def rank_within(maps: ArrayLike, structure: ArrayLike) -> NDArray:
    """Rank maps within structures, as `within_r` does for Spearman.

    Parameters
    ----------
    maps : array, shape (..., n_parcels)
        One or more complete maps.
    structure : array of str, shape (n_parcels,)
        Which structure each parcel belongs to.

    Returns
    -------
    array, shape (..., n_parcels)
        Ranks divided by the number of parcels in the structure, ties averaged.

    Examples
    --------
    >>> structure = ["cortex", "cortex", "cortex", "cortex", "subcortex", "subcortex"]
    >>> print(rank_within([2.0, 9, 2, 1, 8, 7], structure))
    [0.625 1.    0.625 0.25  1.    0.5  ]
    """
    maps, structure = np.asarray(maps, float), np.asarray(structure)
    ranks = np.empty_like(maps)
    for name in np.unique(structure):
        inside = structure == name
        ranks[..., inside] = _rank(maps[..., inside]) / inside.sum()
    return ranks


def average_subjects(attenuation: ArrayLike) -> NDArray:
    """Average each parcel over the subjects that have it.

    Parameters
    ----------
    attenuation : array, shape (n_subjects, n_parcels)
        Percent signal change; NaN where the subject lacks the parcel.

    Returns
    -------
    array, shape (n_parcels,)
        The group map.

    Raises
    ------
    ValueError
        If no subject has some parcel, or a value is infinite.
    """
    attenuation = _require_subjects(attenuation)
    n_subjects = (~np.isnan(attenuation)).sum(axis=0)
    if not n_subjects.all():
        raise ValueError(
            f"{(n_subjects == 0).sum()} of {n_subjects.size} parcels have no subject; "
            "drop them before"
        )
    return np.nansum(attenuation, axis=0) / n_subjects


def couple(
    attenuation: ArrayLike,
    binding: ArrayLike,
    structure: ArrayLike,
    min_parcels: int = MIN_PARCELS,
    ranked: bool = False,
    given: ArrayLike | None = None,
) -> Coupling:
    """Correlate each subject's attenuation with binding, over its own parcels.

    Parameters
    ----------
    attenuation : array, shape (n_subjects, n_parcels)
        Percent signal change, positive where holding lowered the response; NaN
        where the subject lacks the parcel.
    binding : array, shape (n_parcels,)
        Receptor availability; complete.
    structure : array of str, shape (n_parcels,)
        Which structure each parcel belongs to.
    min_parcels : int
        A subject with fewer parcels gets r = z = nan.
    ranked : bool
        Spearman instead of Pearson; ranks are those among the subject's parcels.
    given : array, shape (n_given, n_parcels), optional
        Maps to hold constant, over the subject's parcels.

    Returns
    -------
    Coupling
        One r, z and number of parcels per subject, in the order given.

    Raises
    ------
    ValueError
        As `within_r`; the message names the row of the subject.
    """
    attenuation = _require_subjects(attenuation)
    binding, structure = np.asarray(binding, float), np.asarray(structure)
    present = ~np.isnan(attenuation)
    n_parcels = present.sum(axis=1)
    r = np.full(len(attenuation), np.nan)
    # subjects with the same parcels together: most have all
    alike: dict[bytes, list[int]] = {}
    for row in np.flatnonzero(n_parcels >= min_parcels):
        alike.setdefault(present[row].tobytes(), []).append(row)
    for rows in alike.values():
        own = present[rows[0]]
        try:
            r[rows] = within_r(
                attenuation[rows][:, own],
                binding[own],
                structure[own],
                ranked,
                None if given is None else np.asarray(given, float)[..., own],
            )
        except ValueError as error:
            listed = ", ".join(map(str, rows))
            raise ValueError(f"subject in row {listed}: {error}") from error
    return Coupling(r, np.arctanh(np.clip(r, -LARGEST_R, LARGEST_R)), n_parcels)


def correspond(
    attenuation: ArrayLike,
    binding: ArrayLike,
    structure: ArrayLike,
    nulls: ArrayLike | Centred,
    *,
    nulls_of_attenuation: ArrayLike | Centred | None,
    n_permutations: int,
    level: float,
    smallest_r: float,
    bayes_scale: float,
    ranked: bool,
    rng: np.random.Generator,
    min_parcels: int = MIN_PARCELS,
    given: ArrayLike | None = None,
) -> Correspondence:
    """Judge the correspondence of attenuation and binding by both nulls.

    Parameters
    ----------
    attenuation : array, shape (n_subjects, n_parcels)
        Percent signal change, positive where holding lowered the response; NaN
        where the subject lacks the parcel.
    binding : array, shape (n_parcels,)
        Receptor availability; complete, parcels in the same order.
    structure : array of str, shape (n_parcels,)
        Which structure each parcel belongs to.
    nulls : array, shape (n_nulls, n_parcels)
        Surrogates of `binding`, structures nulled apart; if `ranked`, better of
        `rank_within(binding, structure)`. They are ranked here in either case, unless
        `centre_within` has done so.
    nulls_of_attenuation : array, shape (n_nulls, n_parcels), or None
        Surrogates of `average_subjects(attenuation)` (or its ranks), for the same
        test from the other side.
    n_permutations : int
        Sign flips over subjects; all, where there are no more than these.
    level : float
        Of the interval of z and the central interval of the nulls, such as .95.
    smallest_r : float
        Smallest correlation of interest, for the equivalence test.
    bayes_scale : float
        Width of the prior of the Bayes factor, as `handhold.bayes.ttest_bf10`.
    ranked : bool
        Spearman instead of Pearson.
    rng : numpy.random.Generator
        Source of the sign flips.
    min_parcels : int
        Fewest parcels that a subject may have.
    given : array, shape (n_given, n_parcels), optional
        Maps to hold constant: every correlation is then a partial one.

    Returns
    -------
    Correspondence
        Estimates and p values; see there.

    Raises
    ------
    ValueError
        If a subject has fewer than `min_parcels` parcels (the caller leaves it
        out, in the open), there are fewer than 3 subjects or all have the same
        z, `smallest_r` is not between 0 and 1, or as `within_r`.
    """
    if not 0 < smallest_r < 1:
        raise ValueError(f"smallest_r is {smallest_r}; it must lie between 0 and 1")
    group = average_subjects(attenuation)
    z = couple(attenuation, binding, structure, min_parcels, ranked, given).z
    _require_coupled(z, min_parcels)

    r = float(within_r(group, binding, structure, ranked, given))
    null_r = within_r(nulls, group, structure, ranked, given)
    null_low, null_high = np.quantile(null_r, [(1 - level) / 2, (1 + level) / 2])
    p_map = float(two_sided_p(r, null_r))
    if nulls_of_attenuation is None:
        p_map_of_attenuation = np.nan
    else:
        other_r = within_r(nulls_of_attenuation, binding, structure, ranked, given)
        p_map_of_attenuation = float(two_sided_p(r, other_r))

    # The bounds of one_sample are in units of the SD, those of z are not.
    smallest_dz = np.arctanh(smallest_r) / z.std(ddof=1)
    mean = one_sample(z, level=level, smallest_dz=smallest_dz)
    p_subject = float(flip_signs(z[:, np.newaxis], n_permutations, rng).p[0])
    everywhere = np.full(group.size, "all")
    n_given = 0 if given is None else len(span(given, structure, ranked))
    return Correspondence(
        r=r,
        r_overall=float(within_r(group, binding, everywhere, ranked, given)),
        n_parcels=group.size,
        p_naive=naive_p(r, group.size, len(np.unique(structure)) + n_given),
        p_map=p_map,
        null_sd=float(null_r.std(ddof=1)),
        null_low=float(null_low),
        null_high=float(null_high),
        p_map_of_attenuation=p_map_of_attenuation,
        mean_z=float(mean.mean),
        z_low=float(mean.low),
        z_high=float(mean.high),
        t_subject=float(mean.t),
        p_subject=p_subject,
        p=max(p_map, p_subject),
        n_subjects=len(z),
        bf10=float(ttest_bf10(mean.t, len(z), scale=bayes_scale)),
        p_tost=float(mean.p_tost),
    )


def naive_p(r: float, n_parcels: int, n_lost: int) -> float:
    """Two-sided p of a correlation as if the parcels were independent.

    Exact for Gaussian maps without autocorrelation, of which there are none;
    given for contrast with the map null. Each structure costs one mean and each map held
    constant one slope: `n_lost` in all.
    """
    half = (n_parcels - 1 - n_lost) / 2
    # (1 + r) / 2 follows the beta distribution with both parameters `half`.
    return float(2 * betainc(half, half, (1 - abs(r)) / 2))


def _rank(values: NDArray) -> NDArray:
    """Rank along the last axis, ties averaged: scipy's `rankdata`, in a third of its time.

    Surrogates hardly ever hold ties; where they do, or lack a number, scipy ranks them.
    """
    order = values.argsort(axis=-1)
    places = np.broadcast_to(np.arange(1.0, values.shape[-1] + 1), order.shape)
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, places, axis=-1)
    rising = np.take_along_axis(values, order, axis=-1)
    plain = (rising[..., 1:] > rising[..., :-1]).all(axis=-1)
    if not plain.all():
        ranks[~plain] = scipy.stats.rankdata(values[~plain], axis=-1)
    return ranks


def _centre(values: NDArray, structure: NDArray) -> NDArray:
    centred = np.empty_like(values)
    for name in np.unique(structure):
        part = values[..., structure == name]
        centred[..., structure == name] = part - part.mean(axis=-1, keepdims=True)
    return centred


def _rounding(values: NDArray) -> NDArray:
    """Return the length (...) up to which maps (..., n_parcels) are constant but for rounding."""
    return CONSTANT * np.abs(values).max(axis=-1) * np.sqrt(values.shape[-1])


def _require_values(values: NDArray) -> None:
    if not np.isfinite(values).all():
        raise ValueError(
            f"{(~np.isfinite(values)).sum()} values are missing in maps of shape "
            f"{values.shape}; drop the parcels before"
        )


def _require_subjects(attenuation: ArrayLike) -> NDArray:
    attenuation = np.asarray(attenuation, float)
    if attenuation.ndim != 2 or np.isinf(attenuation).any():
        raise ValueError(
            f"attenuation of shape {attenuation.shape} with "
            f"{np.isinf(attenuation).sum()} infinite values; expected finite values "
            "or NaN of shape (n_subjects, n_parcels)"
        )
    return attenuation


def _require_coupled(z: NDArray, min_parcels: int) -> None:
    rows = np.flatnonzero(np.isnan(z))
    if rows.size:
        raise ValueError(
            f"{rows.size} of {z.size} subjects have fewer than {min_parcels} parcels "
            f"(rows {', '.join(map(str, rows))}); leave them out before"
        )
    if z.size < MINIMUM_SUBJECTS or np.ptp(z) <= CONSTANT:
        raise ValueError(
            f"{z.size} subjects with z from {z.min()} to {z.max()}; the subject null "
            f"needs at least {MINIMUM_SUBJECTS}, who differ"
        )
