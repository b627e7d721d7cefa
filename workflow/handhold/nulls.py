"""Surrogate maps: what does an unrelated map that is just as smooth look like?

Neighbouring parcels resemble each other, so two unrelated brain maps correlate
far more often than the p value of a correlation believes. A null is a surrogate
of one map that keeps its spatial autocorrelation and forgets where its peaks
are; the correlation with many nulls is the yardstick for the one observed.

Moran spectral randomisation [1]_ writes a map as a sum of the eigenvectors of
the doubly centred matrix of spatial weights (here 1 / distance in mm): from
patterns that span the brain to patterns that alternate between neighbours. A
null keeps how much of the map each pattern explains and draws the signs anew.

What it assumes, and when it fails:

- *Stationarity.* The same smoothness everywhere. A map with one sharp peak (a
  receptor confined to the striatum) gives nulls with the roughness of the peak
  all over the brain.
- *The values themselves are not kept.* Mean and variance are, the histogram is
  not: nulls of a skewed map are closer to Gaussian. Where ranks are to be
  correlated, null the ranks of the map, and rank the nulls as well.
- *Few dominant patterns.* Under "singleton" the correlation of a null with
  another map is the sum of the products of their loadings with random signs, so
  its variance is the sum of the squared products. When one or two patterns carry
  both maps, the null is wide and has two humps: signs alone cannot say more about
  such maps. "pair" draws angles and fills the gap between the humps; over smooth
  maps it rejects as often as "singleton" to within a standard error or two, with
  and without a planted correlation.
- *Straight lines.* Distance is Euclidean, which ignores the folds of the cortex,
  unless other distances are given.
- *No step between structures.* The offset between cortex and subcortex is one
  number that no spatial null can judge: structures are nulled apart. This also
  keeps each structure's variance, but takes the two for unrelated, and where both
  maps run on from one into the other the null is too narrow.

Measured (`tests/reference/nulls_calibration.tsv`; 401 parcels, ranks, 2,400 pairs of
unrelated maps a world, standard error .005 to .007), rejections at .05 of maps as
smooth as images smoothed by 15, 30 and 60 mm: "singleton" .06, .06 and .07 where
fields stop at the border of the structures, .06, .07 and .11 where they run on. Nulls
from the covariance that made the maps give .05 to .06, p values of independent
parcels .70 at 60 mm. The null's SD says where a study stands: .06, .12 and .22 in these
worlds. Nulls drawn across the border were tried (patterns of the whole brain without the
means of structures): at 60 mm .07 where fields run on, but .08 where they stop. One
error for the other, so structures stay apart.

Under "singleton" a null of the attenuation map correlates with the receptor map
exactly as the null of the receptor map under the same signs correlates with the
attenuation map (the loadings are multiplied either way). Nulling one map or the
other is therefore one test, up to the draw of signs; agreement between the two
is no evidence beyond either. With ranks this holds approximately.

References
----------
.. [1] Wagner & Dray (2015), Methods Ecol. Evol. 6(10), 1169-1178,
   doi 10.1111/2041-210X.12407.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from handhold.permutation import TIE

# Below this a structure has too few patterns to draw signs for: 9 signs give
# 256 different absolute correlations, and p values of some .01 at best.
MIN_PARCELS = 10

# Surrogates made at a time: the loadings of one block (512 x 14 maps x 400
# parcels in float64) take 23 MB beside the nulls themselves.
BLOCK = 512


def moran(
    values: ArrayLike,
    coordinates: ArrayLike,
    n_nulls: int,
    rng: np.random.Generator,
    procedure: str = "singleton",
    distance: ArrayLike | None = None,
) -> NDArray:
    """Draw surrogates of one or more maps by Moran spectral randomisation.

    Parameters
    ----------
    values : array, shape (n_parcels,) or (n_maps, n_parcels)
        The maps, in any unit.
    coordinates : array, shape (n_parcels, 3)
        Centres of the parcels in mm.
    n_nulls : int
        How many surrogates.
    rng : numpy.random.Generator
        Source of the signs (or angles); they are shared by all maps.
    procedure : {"singleton", "pair"}
        "singleton" draws one sign per eigenvector and keeps Moran's I exactly.
        "pair" turns each pair of neighbours in the spectrum by a random angle:
        more distinct surrogates, and Moran's I only nearly kept.
    distance : array, shape (n_parcels, n_parcels), optional
        Distances in mm (along the cortex, say) instead of those between the centres.

    Returns
    -------
    array, shape (n_nulls, n_parcels) or (n_nulls, n_maps, n_parcels)
        Surrogates with the mean and the variance of their map and, as the
        draws are shared, with the correlations between the maps.

    Raises
    ------
    ValueError
        If a value or coordinate is missing, two parcels have one place, the
        shapes do not fit or `procedure` is unknown.

    Notes
    -----
    The order of the parcels does not matter, nor do the units, as long as no two
    eigenvalues are equal; they are equal only in layouts with exact symmetries
    of order three or more, such as square grids.

    Pairs are made of consecutive eigenvectors, as in the authors' own adespatial.
    BrainSpace pairs at random, which moves power between scales, so that its
    surrogates by pairs lose much of the autocorrelation.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> coordinates = rng.uniform(-60, 60, size=(30, 3))
    >>> nulls = moran(coordinates[:, 1], coordinates, n_nulls=5, rng=rng)
    >>> nulls.shape
    (5, 30)
    >>> bool(np.allclose(nulls.std(axis=1), coordinates[:, 1].std()))
    True
    """
    values = np.asarray(values, float)
    distance = _distance(values, coordinates, distance)
    draw = _procedure(procedure)
    maps = np.atleast_2d(values)
    _, vectors = spectrum(distance)
    mean = maps.mean(axis=-1, keepdims=True)
    loadings = (maps - mean) @ vectors

    nulls = np.empty((n_nulls, *maps.shape))
    for start in range(0, n_nulls, BLOCK):
        block = nulls[start : start + BLOCK]
        drawn = draw(loadings, len(block), rng)
        # One flat product: left to broadcast, matmul would make one per null.
        flat = drawn.reshape(-1, loadings.shape[-1]) @ vectors.T
        block[:] = flat.reshape(block.shape) + mean
    return nulls.reshape(n_nulls, *values.shape)


def moran_by_structure(
    values: ArrayLike,
    coordinates: ArrayLike,
    structure: ArrayLike,
    n_nulls: int,
    rng: np.random.Generator,
    procedure: str = "singleton",
    distance: ArrayLike | None = None,
) -> NDArray:
    """Draw Moran surrogates within each structure and put them together.

    Cortex and subcortex differ in binding by a step, which a null across both
    would spread over the brain; here each keeps its own mean, variance and
    smoothness, and the draws of one say nothing about the other.

    Parameters
    ----------
    values, coordinates, n_nulls, rng, procedure, distance
        As for `moran`.
    structure : array of str, shape (n_parcels,)
        Which structure each parcel belongs to, "cortex" or "subcortex".

    Returns
    -------
    array, shape (n_nulls, n_parcels) or (n_nulls, n_maps, n_parcels)
        Surrogates, parcels in the order given.

    Raises
    ------
    ValueError
        As `moran`, or if a structure has fewer than `MIN_PARCELS` parcels.
    """
    values = np.asarray(values, float)
    distance = _distance(values, coordinates, distance)

    def draw(own: NDArray, between: NDArray) -> NDArray:
        return moran(own, None, n_nulls, rng, procedure, between)

    return by_structure(draw, values, distance, structure)


def by_structure(
    draw: Callable, values: NDArray, distance: NDArray, structure: ArrayLike
) -> NDArray:
    """Draw surrogates of each structure by any method, and put them together.

    Parameters
    ----------
    draw : callable
        Takes maps (..., n_own) and distances (n_own, n_own) of one structure's parcels and
        returns their surrogates, shape (n_nulls, ..., n_own).
    values : array, shape (n_parcels,) or (n_maps, n_parcels)
        The maps.
    distance : array, shape (n_parcels, n_parcels)
        Distances in mm; those between structures are not used.
    structure : array of str, shape (n_parcels,)
        Which structure each parcel belongs to.

    Returns
    -------
    array, shape (n_nulls, n_parcels) or (n_nulls, n_maps, n_parcels)
        Surrogates, parcels in the order given.

    Raises
    ------
    ValueError
        If a structure has fewer than `MIN_PARCELS` parcels, or shapes do not fit.
    """
    structure = np.asarray(structure)
    _require_parcels(structure, values.shape[-1])
    drawn = {}
    for name in np.unique(structure):
        inside = np.flatnonzero(structure == name)
        drawn[name] = draw(values[..., inside], distance[np.ix_(inside, inside)])
    n_nulls = len(next(iter(drawn.values())))
    nulls = np.empty((n_nulls, *values.shape))
    for name, own in drawn.items():
        nulls[..., structure == name] = own
    return nulls


def euclidean(coordinates: ArrayLike) -> NDArray:
    """Return the distances between places, shape (n_parcels, n_parcels), in their unit.

    Parameters
    ----------
    coordinates : array, shape (n_parcels, 3)
        Centres of the parcels in mm.
    """
    coordinates = np.asarray(coordinates, float)
    return np.linalg.norm(coordinates[:, np.newaxis] - coordinates, axis=-1)


def eigenvectors(coordinates: NDArray) -> tuple[NDArray, NDArray]:
    """Decompose the doubly centred inverse-distance weights.

    Parameters
    ----------
    coordinates : array, shape (n_parcels, 3)
        Centres of the parcels in mm, all different.

    Returns
    -------
    eigenvalues : array, shape (n_parcels - 1,)
        Descending, in 1/mm; proportional to Moran's I of the eigenvector.
    vectors : array, shape (n_parcels, n_parcels - 1)
        Orthonormal columns, each with mean zero.

    Notes
    -----
    The constant, whose eigenvalue is zero, is left out; every other pattern
    stays, even one whose eigenvalue happens to be zero, because a surrogate
    without it would lose variance.
    """
    return spectrum(euclidean(coordinates))


def spectrum(distance: NDArray) -> tuple[NDArray, NDArray]:
    """Decompose the weights 1 / distance, as `eigenvectors` does."""
    n_parcels = len(distance)
    distance = distance.copy()
    np.fill_diagonal(distance, np.inf)  # no parcel is its own neighbour
    weights = 1 / distance
    mean = weights.mean(axis=0)
    centred = weights - mean - mean[:, np.newaxis] + mean.mean()

    # Give the constant an eigenvalue above all others (no eigenvalue exceeds the
    # largest row sum), so that it comes last and mixes with no other pattern.
    above = 2 * np.abs(centred).sum(axis=1).max()
    eigenvalues, vectors = np.linalg.eigh(centred + above / n_parcels)
    return eigenvalues[-2::-1], _orient(vectors[:, -2::-1])


def two_sided_p(observed: ArrayLike, nulls: ArrayLike) -> NDArray:
    """Return (1 + nulls at least as far from zero) / (1 + n_nulls).

    Parameters
    ----------
    observed : array, shape (...)
        Correlations, or differences of correlations.
    nulls : array, shape (n_nulls, ...)
        The same of the surrogates, centred on zero.

    Returns
    -------
    array, shape (...)
        Never zero: the observed map counts as one of the draws [1]_.

    References
    ----------
    .. [1] Phipson & Smyth (2010), Stat. Appl. Genet. Mol. Biol. 9(1), 39.

    Examples
    --------
    >>> print(two_sided_p(0.5, [0.1, -0.6, 0.5]))
    0.75
    """
    nulls = np.abs(nulls)
    as_extreme = nulls >= np.abs(observed) - TIE
    return (1 + as_extreme.sum(axis=0)) / (1 + len(nulls))


def _procedure(name: str) -> Callable:
    procedures = {"singleton": _flip_loadings, "pair": _turn_loadings}
    if name not in procedures:
        raise ValueError(f"procedure is {name!r}; it must be one of {[*procedures]}")
    return procedures[name]


def _flip_loadings(
    loadings: NDArray, n_nulls: int, rng: np.random.Generator
) -> NDArray:
    """Give each loading a random sign, the same for all maps."""
    signs = rng.integers(0, 2, size=(n_nulls, 1, loadings.shape[-1]), dtype=np.int8)
    return (2.0 * signs - 1) * loadings


def _turn_loadings(
    loadings: NDArray, n_nulls: int, rng: np.random.Generator
) -> NDArray:
    """Turn pairs of consecutive loadings by random angles, the same for all maps.

    Of an odd number, one at random is left out and gets a random sign.
    """
    n_loadings = loadings.shape[-1]
    odd = n_loadings % 2
    order = np.tile(np.arange(n_loadings), (n_nulls, 1))
    if odd:
        single = rng.integers(n_loadings, size=(n_nulls, 1))
        order = np.where(order < n_loadings - 1, order + (order >= single), single)

    ordered = loadings[:, order].swapaxes(0, 1)  # (n_nulls, n_maps, n_loadings)
    first, second = (ordered[..., side : n_loadings - odd : 2] for side in (0, 1))
    angle = rng.uniform(0, 2 * np.pi, size=(n_nulls, 1, n_loadings // 2))
    cosine, sine = np.cos(angle), np.sin(angle)
    turned = np.empty_like(ordered)
    turned[..., 0 : n_loadings - odd : 2] = cosine * first - sine * second
    turned[..., 1::2] = sine * first + cosine * second
    if odd:
        signs = 2.0 * rng.integers(0, 2, size=(n_nulls, 1)) - 1
        turned[..., -1] = signs * ordered[..., -1]

    drawn = np.empty_like(turned)
    np.put_along_axis(drawn, order[:, np.newaxis], turned, axis=-1)
    return drawn


def _orient(vectors: NDArray) -> NDArray:
    """Make the largest entry of each column positive.

    An eigenvector is known up to its sign, and libraries differ in the one they
    return; an angle drawn for a pair of them means something only after this.
    """
    largest = np.abs(vectors).argmax(axis=0)
    return vectors * np.sign(vectors[largest, np.arange(vectors.shape[1])])


def require_maps(values: NDArray, distance: NDArray) -> None:
    """Refuse maps that are not complete, or distances that are none.

    Parameters
    ----------
    values : array, shape (n_parcels,) or (n_maps, n_parcels)
        The maps.
    distance : array, shape (n_parcels, n_parcels)
        Distances in mm.

    Raises
    ------
    ValueError
        If shapes do not fit, a value or distance is missing, or the distances are not
        symmetric and positive between different parcels.
    """
    n_parcels = values.shape[-1]
    if values.ndim not in (1, 2) or distance.shape != (n_parcels, n_parcels):
        raise ValueError(
            f"maps of shape {values.shape} do not fit distances of shape "
            f"{distance.shape}; expected (n_maps, n_parcels) and (n_parcels, n_parcels)"
        )
    missing = values.size - np.isfinite(values).sum()
    missing += distance.size - np.isfinite(distance).sum()
    if missing:
        raise ValueError(
            f"{missing} values or distances are missing; a null needs every "
            "parcel, so drop the parcels before"
        )
    if not np.allclose(distance, distance.T):
        raise ValueError("the distance from one parcel to another is not that back")
    if n_parcels > 1 and not (distance[~np.eye(n_parcels, dtype=bool)] > 0).all():
        raise ValueError("two parcels have a distance of 0; drop one or merge them")


def _distance(
    values: NDArray, coordinates: ArrayLike | None, distance: ArrayLike | None
) -> NDArray:
    """Take the distances given, or those between the centres; refuse unfit ones."""
    if distance is None:
        coordinates = np.asarray(coordinates, float)
        _require_places(coordinates, values.shape)
        distance = euclidean(coordinates)
    distance = np.asarray(distance, float)
    require_maps(values, distance)
    return distance


def _require_places(coordinates: NDArray, shape: tuple[int, ...]) -> None:
    n_parcels = shape[-1]
    if coordinates.shape != (n_parcels, 3):
        raise ValueError(
            f"maps of shape {shape} do not fit coordinates of shape "
            f"{coordinates.shape}; expected (n_maps, n_parcels) and (n_parcels, 3)"
        )
    n_places = len(np.unique(coordinates, axis=0))
    if n_places < n_parcels:
        raise ValueError(
            f"{n_parcels} parcels have only {n_places} different places; the "
            "inverse of their distance does not exist"
        )


def _require_parcels(structure: NDArray, n_parcels: int) -> None:
    if structure.shape != (n_parcels,):
        raise ValueError(
            f"structure has shape {structure.shape}; the maps have {n_parcels} parcels"
        )
    for name, count in zip(*np.unique(structure, return_counts=True), strict=True):
        if count < MIN_PARCELS:
            raise ValueError(
                f"{name} has {count} parcels; a null within it needs at least "
                f"{MIN_PARCELS}. Leave {name} out or use a finer parcellation"
            )
