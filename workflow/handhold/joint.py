"""All receptor maps at once: what each adds to the others, and how they share what they explain.

Multiple regression of the group map on all receptor maps, all standardised within structures, so
that a weight is in standard deviations of the group map per standard deviation of the receptor
map. A weight speaks of what is left of its map once the others are held constant; of a map
with variance inflation V that is 1 / V of its variance, and with V above 10 next to nothing.

Dominance analysis [1]_ [2]_ asks instead what a map adds to R2 on average over all models that
can be made of the others. These averages (general dominance) sum to R2. Of the two maps
that a model cannot tell apart both get half of what they share: dominance describes how
well maps predict, and says nothing of which of them is at work.

Nulls of a weight are those of the partial correlation given all other maps (`handhold.partials`):
the weight is that correlation times the ratio of what is left of the group map to what is left
of the receptor map. Nulls of R2 are surrogates of the group map.

References
----------
.. [1] Budescu (1993), Psychol. Bull. 114(3), 542-551, doi 10.1037/0033-2909.114.3.542.
.. [2] Azen & Budescu (2003), Psychol. Methods 8(2), 129-148, doi 10.1037/1082-989X.8.2.129.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from handhold.correspondence import span, standardise
from handhold.permutation import TIE
from handhold.specificity import COLLINEAR, explain_target

# 4,096 regressions take a few milliseconds; each further map doubles them, and adds a map
# whose share nobody can tell from that of the others.
MOST_MAPS = 12


@dataclass(frozen=True)
class Regression:
    """Regression of the group map on all receptor maps, within structures.

    weight : (n_maps,), standardised; positive where attenuation is larger in parcels with
        more binding, all other maps held constant. nan where a map is a mixture of the others.
    vif : (n_maps,), variance inflation of each map given the others, 1 where it is on its own.
    reach : (n_maps,), weight by which a partial correlation of 1 would show.
    r_squared : share of the group map's variance that all maps explain.
    """

    weight: NDArray
    vif: NDArray
    reach: NDArray
    r_squared: float


@dataclass(frozen=True)
class Dominance:
    """What each map adds to R2.

    conditional : (n_maps, n_maps), mean gain in R2 by the map (row) in models that already
        hold 0, 1, ... n_maps - 1 others (column). general : (n_maps,), their mean; sums to
        `r_squared`, that of all maps. complete : (n_maps, n_maps), whether the map (row) adds more
        than another (column) to every model that holds neither.
    """

    conditional: NDArray
    general: NDArray
    complete: NDArray
    r_squared: float


def regress_group(
    group: ArrayLike, bindings: ArrayLike, structure: ArrayLike
) -> Regression:
    """Regress the group map on all receptor maps, within structures.

    Parameters
    ----------
    group : array, shape (n_parcels,)
        Group attenuation, percent signal change.
    bindings : array, shape (n_maps, n_parcels)
        Receptor maps, each in any unit.
    structure : array of str, shape (n_parcels,)
        Which structure each parcel belongs to.

    Raises
    ------
    ValueError
        If a value is missing, a map is constant, or there are not more parcels than maps.
    """
    maps = standardise(bindings, structure)
    vif = explain_target(maps).vif
    own = np.isfinite(vif)
    outcome = standardise(group, structure)
    weight = np.where(own, np.linalg.lstsq(maps.T, outcome)[0], np.nan)
    left = [
        _left(outcome, np.delete(maps, i, axis=0), structure) for i in range(len(maps))
    ]
    reach = np.where(own, np.sqrt(left * np.where(own, vif, 1)), np.nan)
    r_squared = 1 - _left(outcome, maps, structure)
    return Regression(weight, vif, reach, float(r_squared))


def null_r_squared(
    nulls: ArrayLike, bindings: ArrayLike, structure: ArrayLike
) -> NDArray:
    """Return R2 of surrogates of the group map (n_nulls, n_parcels), shape (n_nulls,).

    Takes the other arguments of `regress_group`.
    """
    basis = span(bindings, structure)
    return ((standardise(nulls, structure) @ basis.T) ** 2).sum(axis=-1)


def analyse_dominance(correlations: ArrayLike, with_outcome: ArrayLike) -> Dominance:
    """Analyse dominance over all models that can be made of up to `MOST_MAPS` predictors.

    Parameters
    ----------
    correlations : array, shape (n_maps, n_maps)
        Correlations between the predictors.
    with_outcome : array, shape (n_maps,)
        Their correlations with the outcome.

    Raises
    ------
    ValueError
        If there are more predictors than `MOST_MAPS`, or shapes do not fit.

    Examples
    --------
    Two that do not correlate keep what each explains; two that are one share it:

    >>> print(analyse_dominance([[1, 0], [0, 1]], [0.6, 0.3]).general.round(2))
    [0.36 0.09]
    >>> print(analyse_dominance([[1, 1], [1, 1]], [0.6, 0.6]).general.round(2))
    [0.18 0.18]
    """
    with_outcome = np.asarray(with_outcome, float)
    n_maps = len(with_outcome)
    if np.shape(correlations) != (n_maps, n_maps) or n_maps > MOST_MAPS:
        raise ValueError(
            f"correlations of shape {np.shape(correlations)} and {n_maps} with the outcome; "
            f"expected a square of as many predictors, at most {MOST_MAPS}"
        )
    r_squared = subset_r_squared(correlations, with_outcome)
    models = np.arange(2**n_maps)
    holds = models[:, np.newaxis] >> np.arange(n_maps) & 1 == 1
    size = holds.sum(axis=1)
    conditional = np.empty((n_maps, n_maps))
    complete = np.zeros((n_maps, n_maps), bool)
    for i in range(n_maps):
        without = models[~holds[:, i]]
        gain = r_squared[without | 1 << i] - r_squared[without]
        # every model that lacks the map, by the number of the others in it
        sums = np.bincount(size[without], gain, n_maps)
        conditional[i] = sums / np.bincount(size[without], minlength=n_maps)
        for j in set(range(n_maps)) - {i}:
            neither = without[~holds[without, j]]
            more = r_squared[neither | 1 << i] - r_squared[neither | 1 << j]
            complete[i, j] = (more > TIE).all()
    return Dominance(
        conditional, conditional.mean(axis=1), complete, float(r_squared[-1])
    )


def subset_r_squared(correlations: ArrayLike, with_outcome: ArrayLike) -> NDArray:
    """Return R2 of every model, shape (2 ** n_maps,); model i holds map j if bit j of i is set.

    Each step sweeps one predictor out of the covariances that half of the models still have:
    all models together cost about as much as a hundred regressions. A predictor of which the
    others leave nothing adds nothing.
    """
    outcome = np.asarray(with_outcome, float)[:, np.newaxis]
    left = np.block([[np.asarray(correlations, float), outcome], [outcome.T, 1.0]])
    left = left[np.newaxis]
    for _ in range(len(outcome)):
        own, shared, rest = left[:, 0, 0], left[:, 0, 1:], left[:, 1:, 1:]
        slope = np.divide(
            shared,
            own[:, np.newaxis],
            out=np.zeros_like(shared),
            where=own[:, np.newaxis] > COLLINEAR,
        )
        swept = rest - slope[:, :, np.newaxis] * shared[:, np.newaxis]
        left = np.concatenate([rest, swept])
    return 1 - left[:, 0, 0]


def _left(outcome: NDArray, maps: NDArray, structure: ArrayLike) -> float:
    """Share of the outcome's variance (of unit length) that the maps leave."""
    basis = span(maps, structure)
    return float(1 - ((outcome @ basis.T) ** 2).sum())
