"""The families of nulls behind one call: structures apart, missing parcels masked.

How wide a null is depends on the method more than on anything else, so at least two are reported
and the configuration says which decides. What each keeps of a map:

- *moran* (`handhold.nulls`): mean, variance, and the share of each spatial pattern, exactly;
  not the values.
- *variogram* (`handhold.variogram`): the values, exactly; the variogram at short distances,
  nearly.
- *gaussian* (`handhold.fields`): mean exactly, variance and range on average; not the values.

All draw cortex and subcortex apart and put them together: the step between them is one number that
no spatial null can judge. Rejections at .05 over independent smooth maps, family by family, are in
`tests/reference/nulls_calibration.tsv`.
"""

from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from handhold.fields import gaussian_field
from handhold.nulls import by_structure, euclidean, moran
from handhold.variogram import match_variogram


def draw_surrogates(
    family: str,
    values: ArrayLike,
    coordinates: ArrayLike,
    structure: ArrayLike,
    n_nulls: int,
    rng: np.random.Generator,
    *,
    procedure: str = "singleton",
    distance: ArrayLike | None = None,
) -> NDArray:
    """Draw surrogates of one or more maps by one family of nulls.

    Parameters
    ----------
    family : {"moran", "variogram", "gaussian"}
        How.
    values : array, shape (n_parcels,) or (n_maps, n_parcels)
        The maps, in any unit; nan where a map has no parcel. Maps drawn together must lack the
        same parcels, since they share the draws.
    coordinates : array, shape (n_parcels, 3)
        Centres of the parcels in mm.
    structure : array of str, shape (n_parcels,)
        Which structure each parcel belongs to.
    n_nulls : int
        How many surrogates.
    rng : numpy.random.Generator
        Source of all draws.
    procedure : {"singleton", "pair"}
        Of Moran alone.
    distance : array, shape (n_parcels, n_parcels), optional
        Distances in mm instead of those between the centres.

    Returns
    -------
    array, shape (n_nulls, n_parcels) or (n_nulls, n_maps, n_parcels)
        Surrogates; nan in the parcels that the map lacks, which nothing stands in for.

    Raises
    ------
    ValueError
        If the family is unknown, the maps lack different parcels, or as the family.
    """
    draws = {
        "moran": partial(_moran, procedure=procedure),
        "variogram": partial(match_variogram, keep_values=True),
        "gaussian": gaussian_field,
    }
    if family not in draws:
        raise ValueError(f"family is {family!r}; it must be one of {[*draws]}")
    values, structure = np.asarray(values, float), np.asarray(structure)
    distance = euclidean(coordinates) if distance is None else np.asarray(distance)
    missing = np.isnan(np.atleast_2d(values))
    if (missing != missing[0]).any():
        raise ValueError(
            f"{len(missing)} maps lack different parcels "
            f"({', '.join(str(n) for n in missing.sum(axis=1))}); draw them one by one"
        )
    has = np.flatnonzero(~missing[0])

    def draw(own: NDArray, between: NDArray) -> NDArray:
        return draws[family](own, between, n_nulls, rng)

    drawn = by_structure(
        draw, values[..., has], distance[np.ix_(has, has)], structure[has]
    )
    if has.size == values.shape[-1]:
        return drawn
    nulls = np.full((n_nulls, *values.shape), np.nan)
    nulls[..., has] = drawn
    return nulls


def _moran(
    values: NDArray,
    distance: NDArray,
    n_nulls: int,
    rng: np.random.Generator,
    procedure: str,
) -> NDArray:
    return moran(values, None, n_nulls, rng, procedure, distance)
