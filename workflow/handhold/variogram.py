"""Surrogates that match a variogram: permute, smooth until as rough as the map, add noise.

The variogram is half the mean squared difference of two parcels, by their distance: small
where neighbours resemble each other. A surrogate starts as a random permutation of the map,
without any autocorrelation, and is smoothed over the nearest tenth, two tenths, ... nine tenths
of the parcels; of the nine the one is kept whose variogram, times a factor and plus white noise
(a least-squares line), comes closest to that of the map [1]_ [2]_.

What it assumes, and when it fails:

- *Stationarity*, as in `handhold.nulls`.
- *Near pairs decide.* Only pairs nearer than a quarter of all distances are matched; how far
  apart regions go together is left to the smoothing. Maps smoother than the widest smoothing
  over a permutation can be are matched by a line with a large factor, so that few patterns
  remain and the null is wide.
- *The values are not kept* unless asked for (`keep_values`), and then the variogram is matched
  less closely. Without, the variance is about 1.3 times that of the map (it is not what is
  matched), which no correlation notices.

Measured as in `handhold.nulls` (rejections at .05 of unrelated maps): .05 at 15 mm, .04 and .05
at 30 mm, .08 at 60 mm, and .12 where fields of 60 mm run on from cortex into subcortex; .03 to
.04 for maps that are rough at short distances, at the price of power.

The algorithm is that of Burt et al.; the code is ours. Smoothing, variogram and regression are
matrix products over a block of surrogates, some hundred times faster than one by one.

References
----------
.. [1] Burt et al. (2018), Nat. Neurosci. 21(9), 1251-1259, doi 10.1038/s41593-018-0195-0.
.. [2] Burt et al. (2020), NeuroImage 220, 117038, doi 10.1016/j.neuroimage.2020.117038.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from handhold.nulls import require_maps

# The choices of Burt et al. (2020): shares of the parcels to smooth over, the percentile of the
# distances up to which variograms are matched, the number of lags, the width of a lag in
# spacings, and the factor that makes this width about an interquartile range of a Gaussian.
SHARES = np.linspace(0.1, 0.9, 9)
PERCENTILE, N_LAGS, WIDTH, QUARTILES = 25, 25, 3.0, 2.68

# Surrogates made at a time: nine smoothed copies of 32 maps of 400 parcels are 0.9 MB of
# float64, which the cache likes.
BLOCK = 32


class Lags:
    """Smoothed variograms of many maps at once.

    Parameters
    ----------
    distance : array, shape (n_parcels, n_parcels)
        Distances in mm.
    """

    def __init__(self, distance: NDArray):
        first, second = np.triu_indices(len(distance), 1)
        apart = distance[first, second]
        near = apart < np.percentile(apart, PERCENTILE)
        if not near.any() or np.ptp(apart[near]) == 0:
            raise ValueError(
                f"a quarter of the {apart.size} distances are the same, so that a variogram has "
                "no lags; parcels on a lattice need another family of nulls"
            )
        first, second, apart = first[near], second[near], apart[near]
        self.mm = np.linspace(apart.min(), apart.max(), N_LAGS)
        width = WIDTH * (self.mm[1] - self.mm[0])
        scaled = QUARTILES * (apart - self.mm[:, np.newaxis]) / width
        weights = np.exp(-(scaled**2) / 2)
        weights /= weights.sum(axis=1, keepdims=True)
        # sum w (x - y)^2 / 2 = sum w (x^2 + y^2) / 2 - sum w x y, and the last sum runs parcel
        # by parcel over its partners: a tenth of the work of taking all differences.
        self._squares = np.zeros((len(distance), N_LAGS))
        np.add.at(self._squares, first, weights.T / 2)
        np.add.at(self._squares, second, weights.T / 2)
        self._partners = [
            (parcel, second[first == parcel], weights[:, first == parcel].copy())
            for parcel in np.unique(first)
        ]

    def variogram(self, maps: NDArray) -> NDArray:
        """Return the variograms, shape (N_LAGS, n_maps), of maps (n_parcels, n_maps)."""
        found = self._squares.T @ maps**2
        for parcel, partners, weights in self._partners:
            product = weights @ maps[partners]
            product *= maps[parcel]
            found -= product
        return found


def match_variogram(
    values: ArrayLike,
    distance: ArrayLike,
    n_nulls: int,
    rng: np.random.Generator,
    keep_values: bool = False,
) -> NDArray:
    """Draw surrogates of one or more maps that match their variograms.

    Parameters
    ----------
    values : array, shape (n_parcels,) or (n_maps, n_parcels)
        The maps, in any unit.
    distance : array, shape (n_parcels, n_parcels)
        Distances between the parcels in mm, Euclidean or geodesic.
    n_nulls : int
        How many surrogates.
    rng : numpy.random.Generator
        Source of permutations and noise. All maps share the permutations, and their noise
        has the correlations of the maps; as each map is smoothed by the share that fits it,
        surrogates of two maps resemble each other somewhat less than the maps do (.65 where
        the maps had .8), and a difference of two correlations is judged too severely.
    keep_values : bool
        Whether each surrogate gets the map's own values, by rank.

    Returns
    -------
    array, shape (n_nulls, n_parcels) or (n_nulls, n_maps, n_parcels)
        Surrogates with the mean of their map and about its variogram at short distances.

    Raises
    ------
    ValueError
        If a value or distance is missing, two parcels have one place, or shapes do not fit.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> places = rng.uniform(-60, 60, size=(30, 3))
    >>> distance = np.linalg.norm(places[:, None] - places, axis=-1)
    >>> nulls = match_variogram(places[:, 1], distance, 5, rng, keep_values=True)
    >>> bool((np.sort(nulls) == np.sort(places[:, 1])).all())
    True
    """
    values, distance = np.asarray(values, float), np.asarray(distance, float)
    require_maps(values, distance)
    maps = np.atleast_2d(values)
    mean = maps.mean(axis=1, keepdims=True)
    lags, smoothers = Lags(distance), _smoothers(distance)
    targets = lags.variogram((maps - mean).T)
    mixing = root(correlate(maps))

    nulls = np.empty((n_nulls, *maps.shape))
    for start in range(0, n_nulls, BLOCK):
        block = nulls[start : start + BLOCK]
        orders = np.tile(np.arange(maps.shape[1]), (len(block), 1))
        orders = rng.permuted(orders, axis=1)
        noise = mixing @ rng.standard_normal(block.shape)
        for i, centred in enumerate(maps - mean):
            matched = _match(centred[orders].T, targets[:, i], smoothers, lags)
            block[:, i] = _combine(*matched, noise[:, i].T).T
    if keep_values:
        for i, of_map in enumerate(maps):
            order = np.argsort(nulls[:, i], axis=1)
            np.put_along_axis(nulls[:, i], order, np.sort(of_map)[np.newaxis], axis=1)
    else:
        nulls += mean - nulls.mean(axis=-1, keepdims=True)
    return nulls.reshape(n_nulls, *values.shape)


def correlate(maps: NDArray) -> NDArray:
    """Correlate maps (n_maps, n_parcels) with each other; a constant one with none."""
    centred = maps - maps.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    centred = np.divide(centred, length, out=np.zeros_like(centred), where=length > 0)
    found = centred @ centred.T
    np.fill_diagonal(found, 1)
    return found


def root(correlations: NDArray) -> NDArray:
    """Return the symmetric root of a correlation matrix, negative eigenvalues taken as 0.

    Rows are scaled back to length 1, so that the variances stay exact where the matrix was
    not one of correlations: where it was estimated entry by entry, say, or a function of
    distances that are not Euclidean.
    """
    eigenvalues, vectors = np.linalg.eigh(correlations)
    found = (vectors * np.sqrt(np.maximum(eigenvalues, 0))) @ vectors.T
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def _smoothers(distance: NDArray) -> NDArray:
    """Stack the smoothings, shape (n_shares, n_parcels, n_parcels): means over neighbours.

    Weights fall off exponentially, to 1 / e at the farthest neighbour; a parcel itself is left
    out.
    """
    n_parcels = len(distance)
    nearest = np.argsort(distance, axis=1, kind="stable")[:, 1:]
    found = np.zeros((len(SHARES), n_parcels, n_parcels))
    for smoother, share in zip(found, SHARES, strict=True):
        neighbours = nearest[:, : int(share * n_parcels)]
        apart = np.take_along_axis(distance, neighbours, axis=1)
        weights = np.exp(-apart / apart.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        np.put_along_axis(smoother, neighbours, weights, axis=1)
    return found


def _match(
    permuted: NDArray, target: NDArray, smoothers: NDArray, lags: Lags
) -> tuple[NDArray, NDArray, NDArray]:
    """Smooth permuted maps (n_parcels, n_nulls) by the share that fits each best.

    Returns the smoothed maps, and intercept and slope of the line from their variograms to
    `target`, each (n_nulls,).
    """
    n_parcels, n_nulls = permuted.shape
    smoothed = (smoothers.reshape(-1, n_parcels) @ permuted).reshape(
        -1, n_parcels, n_nulls
    )
    flat = smoothed.swapaxes(0, 1).reshape(n_parcels, -1)
    x = lags.variogram(flat).reshape(N_LAGS, -1, n_nulls)
    x_centred, y_centred = x - x.mean(axis=0), target - target.mean()
    spread = (x_centred**2).sum(axis=0)
    # a constant map has constant surrogates
    slope = np.tensordot(y_centred, x_centred, 1) / np.where(spread > 0, spread, 1)
    misfit = ((y_centred[:, np.newaxis, np.newaxis] - slope * x_centred) ** 2).sum(
        axis=0
    )
    best = misfit.argmin(axis=0), np.arange(n_nulls)
    slope = slope[best]
    intercept = target.mean() - slope * x.mean(axis=0)[best]
    return smoothed.swapaxes(1, 2)[best].T, intercept, slope


def _combine(
    smoothed: NDArray, intercept: NDArray, slope: NDArray, noise: NDArray
) -> NDArray:
    """Add noise (n_parcels, n_nulls), both parts with the variance that the line gives them."""
    return np.sqrt(np.abs(slope)) * smoothed + np.sqrt(np.abs(intercept)) * noise
