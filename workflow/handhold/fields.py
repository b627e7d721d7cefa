"""Gaussian fields with the covariance of a map, over parcels or over voxels.

A null is a draw from a Gaussian field whose covariance falls off with distance as that of the
map does. The covariance is fitted to the map's variogram:

    variogram(d) = nugget + sill * (1 - exp(-(d / range) ** shape))

with shape 0.5, 1, 1.5 or 2 (from rough to smooth), by least squares over lags up to half of the
largest distance, weighted by the number of pairs [1]_. The nugget is what neighbours do not
share at all. Over parcels a draw is the symmetric root of the covariance times white noise;
over voxels the covariance is embedded in that of a torus, whose root the fast Fourier transform
takes [2]_.

What it assumes, and when it fails:

- *Stationarity and isotropy*: one range everywhere and in all directions.
- *A Gaussian map.* Neither values nor their histogram are kept, only mean, variance and range on
  average. Where ranks are correlated, null the ranks of the map.
- *Ranges within the brain.* The variogram of one map says little about a range that comes near
  the size of the brain; such maps get nulls that vary in width by luck.
- *Distances that are not Euclidean* (geodesic) can make the fitted function no covariance:
  negative eigenvalues are taken as zero and the variances restored.

Measured as in `handhold.nulls` (rejections at .05 of unrelated maps): .05 at 15, 30 and 60 mm
where fields stop at the border of cortex and subcortex, .06, .07 and .09 where they run on.

References
----------
.. [1] Cressie (1993), Statistics for Spatial Data, Wiley, chapter 2.
.. [2] Dietrich & Newsam (1997), SIAM J. Sci. Comput. 18(4), 1088-1107,
   doi 10.1137/S1064827592240555.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from handhold.nulls import require_maps
from handhold.variogram import correlate, root

SHAPES = np.array([0.5, 1.0, 1.5, 2.0])
# Ranges tried, from a fifth of the shortest lag to twice the longest, in steps of about 12 %.
N_RANGES = 40
N_LAGS = 20
# Beyond half of the largest distance few pairs are left, all of them from the rim.
LONGEST = 0.5
# Voxels of the torus beyond the brain reach until the correlation has fallen to this, at most
# until the torus is twice the brain.
FORGOTTEN = 0.02


@dataclass(frozen=True)
class Covariance:
    """Covariance of a field: `sill` exp(-(d / `range_mm`) ** `shape`), and `nugget` at d = 0.

    nugget, sill : squares of the map's unit.
    range_mm : distance at which the smooth part has fallen to 1 / e.
    """

    nugget: float
    sill: float
    range_mm: float
    shape: float

    @property
    def variance(self) -> float:
        """Variance at a place."""
        return self.nugget + self.sill

    def correlation(self, distance: ArrayLike) -> NDArray:
        """Correlation of the *smooth part* at distances in mm; the nugget is not in it."""
        return np.exp(-((np.asarray(distance) / self.range_mm) ** self.shape))


def gaussian_field(
    values: ArrayLike, distance: ArrayLike, n_nulls: int, rng: np.random.Generator
) -> NDArray:
    """Draw Gaussian surrogates of one or more maps over parcels.

    Parameters
    ----------
    values : array, shape (n_parcels,) or (n_maps, n_parcels)
        The maps, in any unit.
    distance : array, shape (n_parcels, n_parcels)
        Distances between the parcels in mm.
    n_nulls : int
        How many surrogates.
    rng : numpy.random.Generator
        Source of the white noise. That of two maps is correlated so that their surrogates are
        on average, at one place, as the maps themselves are.

    Returns
    -------
    array, shape (n_nulls, n_parcels) or (n_nulls, n_maps, n_parcels)
        Surrogates with the mean of their map, and its variance on average.

    Raises
    ------
    ValueError
        If a value or distance is missing, two parcels have one place, or shapes do not fit.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> places = rng.uniform(-60, 60, size=(30, 3))
    >>> distance = np.linalg.norm(places[:, None] - places, axis=-1)
    >>> nulls = gaussian_field(places[:, 1], distance, 5, rng)
    >>> nulls.shape, bool(np.allclose(nulls.mean(axis=1), places[:, 1].mean()))
    ((5, 30), True)
    """
    values, distance = np.asarray(values, float), np.asarray(distance, float)
    require_maps(values, distance)
    maps = np.atleast_2d(values)
    mean, n_parcels = maps.mean(axis=1, keepdims=True), maps.shape[1]
    roots = []
    for covariance in fit_parcels(maps, distance):
        roots.append(root(_of_unit(covariance, distance)))

    mixing = root(_noise_correlations(correlate(maps), roots))
    noise = mixing @ rng.standard_normal((n_nulls, len(maps), n_parcels))
    nulls = np.empty_like(noise)
    for i, of_map in enumerate(roots):
        # what centring takes from the variance of a draw, on average
        lost = (of_map.sum(axis=0) ** 2).sum() / n_parcels**2
        scale = maps[i].std() / np.sqrt(1 - lost)
        nulls[:, i] = scale * noise[:, i] @ of_map.T
    nulls += mean - nulls.mean(axis=-1, keepdims=True)
    return nulls.reshape(n_nulls, *values.shape)


def gaussian_voxels(
    values: ArrayLike,
    voxels: ArrayLike,
    size_mm: ArrayLike,
    n_nulls: int,
    rng: np.random.Generator,
) -> NDArray:
    """Draw Gaussian surrogates of a map over voxels, by circulant embedding.

    Parameters
    ----------
    values : array, shape (n_voxels,)
        The map, in any unit.
    voxels : array of int, shape (n_voxels, 3)
        Where the voxels stand on their grid, each once.
    size_mm : array, shape (3,), or float
        Edges of a voxel in mm.
    n_nulls : int
        How many surrogates.
    rng : numpy.random.Generator
        Source of the white noise.

    Returns
    -------
    array of float32, shape (n_nulls, n_voxels)
        Surrogates with the mean of the map, and its variance on average.

    Raises
    ------
    ValueError
        If a value is missing, a voxel is given twice, or shapes do not fit.

    Notes
    -----
    The variogram is that of all pairs of voxels, which the Fourier transform of map and mask
    gives at once. A draw of white noise costs one transform, cut down to the brain axis by
    axis, and makes two surrogates (its real and its imaginary part, which are independent).
    Where the covariance of the torus has negative eigenvalues they are taken as zero: with
    ranges near the size of the brain, correlations then come out lower by some hundredths.
    """
    values, voxels = np.asarray(values, float), np.asarray(voxels)
    _require_voxels(values, voxels)
    voxels = voxels - voxels.min(axis=0)
    span = voxels.max(axis=0) + 1
    size_mm = np.broadcast_to(np.asarray(size_mm, float), 3)

    apart, n_pairs, squares = _pair_voxels(values, voxels, span, size_mm)
    lag = np.ceil(apart / size_mm.max()).astype(int)
    near = (apart > 0) & (n_pairs > 0)
    near &= apart <= LONGEST * apart[n_pairs > 0].max()
    sums = (
        np.bincount(lag[near], weights[near])
        for weights in (n_pairs * apart, squares, n_pairs)
    )
    covariance = fit_covariance(*sums)
    lost = (n_pairs * _of_unit(covariance, apart)).sum() / len(values) ** 2
    scale = values.std() / np.sqrt(1 - lost)

    spectrum = _torus_root(covariance, span, size_mm)
    nulls = np.empty((n_nulls, len(values)), np.float32)
    for start in range(0, n_nulls, 2):
        noise = np.empty(spectrum.shape, np.complex64)
        parts = noise.view(np.float32).reshape(-1)
        rng.standard_normal(out=parts, dtype=np.float32)
        noise *= spectrum
        for axis in range(3):
            noise = fft.fft(noise, axis=axis, overwrite_x=True)
            noise = noise[(slice(None),) * axis + (slice(span[axis]),)]
        drawn = noise[tuple(voxels.T)]
        for null, part in zip(nulls[start:], (drawn.real, drawn.imag), strict=False):
            null[:] = values.mean() + scale * (part - part.mean(dtype=float))
    return nulls


def fit_parcels(maps: NDArray, distance: NDArray) -> list[Covariance]:
    """Fit a covariance to each of the maps (n_maps, n_parcels), over pairs of parcels."""
    first, second, apart, lag = _near_pairs(distance)
    n_pairs = np.bincount(lag, minlength=N_LAGS)
    mm = np.bincount(lag, apart, N_LAGS)
    found = []
    for of_map in maps:
        squares = (of_map[first] - of_map[second]) ** 2 / 2
        sums = np.bincount(lag, squares, N_LAGS)
        found.append(fit_covariance(mm, sums, n_pairs))
    return found


def fit_together(maps: NDArray, distance: NDArray) -> Covariance:
    """Fit one covariance to all of the maps (n_maps, n_parcels), draws of one field.

    NaN is a parcel that a map lacks; its pairs do not count.
    """
    first, second, apart, lag = _near_pairs(distance)
    n_pairs, mm, squares = np.zeros((3, N_LAGS))
    for of_map in maps:
        halved = (of_map[first] - of_map[second]) ** 2 / 2
        has = np.isfinite(halved)
        n_pairs += np.bincount(lag[has], minlength=N_LAGS)
        mm += np.bincount(lag[has], apart[has], N_LAGS)
        squares += np.bincount(lag[has], halved[has], N_LAGS)
    return fit_covariance(mm, squares, n_pairs)


def fit_covariance(mm: NDArray, squares: NDArray, n_pairs: NDArray) -> Covariance:
    """Fit nugget, sill, range and shape to a binned variogram.

    Parameters
    ----------
    mm, squares, n_pairs : array, shape (n_lags,)
        Per lag, sums over its pairs of distance and of half the squared difference, and the
        number of pairs; a lag without pairs does not count.

    Returns
    -------
    Covariance
        The least-squares fit over a grid of ranges and shapes, neither nugget nor sill
        negative.
    """
    has = n_pairs > 0
    weight = n_pairs[has] / n_pairs.sum()
    mm, y = mm[has] / n_pairs[has], squares[has] / n_pairs[has]
    shape, reach = np.meshgrid(
        SHAPES, np.geomspace(mm[0] / 5, 2 * mm[-1], N_RANGES), indexing="ij"
    )
    shape, reach = shape.ravel(), reach.ravel()
    x = 1 - np.exp(-((mm / reach[:, np.newaxis]) ** shape[:, np.newaxis]))

    x_mean, y_mean = x @ weight, y @ weight
    x_squared, x_y = x**2 @ weight, x @ (weight * y)
    spread = np.maximum(x_squared - x_mean**2, np.finfo(float).tiny)
    sill = (x_y - x_mean * y_mean) / spread
    # a line below zero at d = 0 or falling: the nearest that is neither
    falls, below = sill < 0, y_mean - sill * x_mean < 0
    sill = np.where(falls, 0, np.where(below, x_y / x_squared, sill))
    nugget = np.where(falls | ~below, y_mean - sill * x_mean, 0)
    misfit = (nugget[:, np.newaxis] + sill[:, np.newaxis] * x - y) ** 2 @ weight
    best = misfit.argmin()
    return Covariance(
        float(nugget[best]), float(sill[best]), float(reach[best]), float(shape[best])
    )


def _pair_voxels(
    values: NDArray, voxels: NDArray, span: NDArray, size_mm: NDArray
) -> tuple[NDArray, NDArray, NDArray]:
    """Count the pairs of voxels at every offset, and sum half their squared differences.

    Returns distance (mm), number of pairs (each pair twice, once per direction) and sum, each
    flat over the offsets of a box of twice the brain.
    """
    box = [fft.next_fast_len(int(2 * n - 1), real=True) for n in span]

    def transform(weights: NDArray) -> NDArray:
        grid = np.zeros(box)
        grid[tuple(voxels.T)] = weights
        return fft.rfftn(grid)

    centred = values - values.mean()
    mask = transform(np.ones(len(values)))
    n_pairs = np.rint(fft.irfftn(np.abs(mask) ** 2, box))
    # sum (x - y)^2 / 2 = sum (x^2 + y^2) / 2 - sum x y
    crossed = np.conj(mask) * transform(centred**2)
    squares = fft.irfftn(crossed.real - np.abs(transform(centred)) ** 2, box)
    apart = _torus_distance(box, size_mm)
    return apart.ravel(), n_pairs.ravel(), squares.ravel()


def _torus_distance(box: list[int], size_mm: NDArray) -> NDArray:
    """Distance (mm) from the first voxel of a box to each, the short way round."""
    steps = [
        np.minimum(np.arange(n), n - np.arange(n)) * mm
        for n, mm in zip(box, size_mm, strict=True)
    ]
    x, y, z = np.meshgrid(*steps, indexing="ij", sparse=True)
    return np.sqrt(x**2 + y**2 + z**2)


def _of_unit(covariance: Covariance, distance: NDArray) -> NDArray:
    """Correlation at distances in mm, with the nugget at 0."""
    # of a constant map neither part is left, and its draws are scaled by 0
    share = covariance.sill / covariance.variance if covariance.variance else 0.0
    found = share * covariance.correlation(distance)
    return np.where(distance == 0, 1.0, found)


def _torus_root(covariance: Covariance, span: NDArray, size_mm: NDArray) -> NDArray:
    """Root of the eigenvalues of a correlation on a torus, for noise that `fft` transforms."""
    forgotten = covariance.range_mm * (-np.log(FORGOTTEN)) ** (1 / covariance.shape)
    box = [
        fft.next_fast_len(int(min(n + np.ceil(forgotten / mm), 2 * n)))
        for n, mm in zip(span, size_mm, strict=True)
    ]
    eigenvalues = fft.fftn(_of_unit(covariance, _torus_distance(box, size_mm))).real
    eigenvalues = np.maximum(eigenvalues, 0)
    return np.sqrt(eigenvalues / eigenvalues.sum()).astype(np.float32)


def _require_voxels(values: NDArray, voxels: NDArray) -> None:
    if values.ndim != 1 or voxels.shape != (len(values), 3):
        raise ValueError(
            f"a map of shape {values.shape} does not fit voxels of shape {voxels.shape}; "
            "expected (n_voxels,) and (n_voxels, 3)"
        )
    if not np.isfinite(values).all():
        raise ValueError(
            f"{(~np.isfinite(values)).sum()} of {len(values)} values are missing; a null "
            "needs every voxel, so drop the voxels before"
        )
    n_places = len(np.unique(voxels, axis=0))
    if n_places < len(voxels):
        raise ValueError(f"{len(voxels)} voxels stand on only {n_places} places")


def _near_pairs(distance: NDArray) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """List pairs of parcels up to the longest lag: first, second, distance (mm), lag."""
    first, second = np.triu_indices(len(distance), 1)
    apart = distance[first, second]
    near = apart <= LONGEST * apart.max()
    first, second, apart = first[near], second[near], apart[near]
    return first, second, apart, _lag_of(apart)


def _lag_of(apart: NDArray) -> NDArray:
    """Return the lag, 0 to N_LAGS - 1, of distances up to the largest of them."""
    lag = (apart / apart.max() * N_LAGS).astype(int)
    return np.minimum(lag, N_LAGS - 1)


def _noise_correlations(wanted: NDArray, roots: list[NDArray]) -> NDArray:
    """Correlations of white noises whose fields correlate as wanted, at one place on average.

    Two fields of one white noise correlate less than perfectly if their ranges differ.
    """
    shared = np.array([[(a * b).sum(axis=1).mean() for b in roots] for a in roots])
    return np.clip(wanted / np.maximum(shared, 0.1), -1, 1)
