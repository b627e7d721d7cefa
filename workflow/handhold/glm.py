"""The linear model of one run, voxel by voxel, in blocks that stay in the processor's cache.

The algorithm and the numbers are those of nilearn's first-level model: ordinary least squares,
the lag-1 autocorrelation of its residuals, cut to two decimals, and a fit prewhitened by it.
What differs is the order of work. With orthonormal regressors Q and ordinary residuals E,
everything the prewhitened fit needs from a voxel is Q(t-1)'E + Q(t+1)'E, the last volume, and
the sum of squares and of lagged products of E; the inverse of p x p is one per coefficient.
Working on residuals keeps float32 enough: no large sums are subtracted from each other.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

# Voxels of a block: 300 volumes of float32 are 4.9 MB.
BLOCK = 4096
# Autocorrelations are cut (towards zero) to multiples of 1 / BINS, as nilearn does.
BINS = 100
# Residuals below this share of the signal are the rounding of float32, not noise: a constant
# voxel, or one that the design fits without remainder.
ROUNDING = 4 * float(np.finfo(np.float32).eps)
# Share of a trial's regressor that has to remain beside all others; less cannot be estimated.
LEAST_OWN = 1e-6
# Smallest variance that counts in nilearn's fixed effects.
TINY = 1e-16


@dataclass(frozen=True)
class Fit:
    """Estimates of one run.

    `effect` and `variance`, shape (n_contrasts, n_voxels), in the unit of the images (and its
    square); `rho` (n_voxels,), the autocorrelation that was whitened, 0 under `ols`; `mean`
    (n_voxels,) over the volumes kept; `tsnr` (n_voxels,), mean over standard deviation of the
    ordinary residuals; `df`, volumes minus regressors. All but `mean` are NaN where a
    voxel is constant or fitted without remainder, and all where a value is not finite.
    """

    effect: NDArray
    variance: NDArray
    rho: NDArray
    mean: NDArray
    tsnr: NDArray
    df: int


def fit_run(
    block_of: Callable[[slice], NDArray],
    n_voxels: int,
    design: NDArray,
    contrasts: NDArray,
    *,
    noise_model: str,
) -> Fit:
    """Fit a linear model to every voxel of a run.

    Parameters
    ----------
    block_of : function of a slice of voxels
        Gives their series, shape (n_kept, n), float32; it may be changed in place.
    n_voxels : int
    design : array, shape (n_kept, p)
        Regressors of full column rank, a constant among them or in their span. Censored
        volumes are left out of both; their neighbours then count as neighbours in time,
        as in nilearn.
    contrasts : array, shape (n_contrasts, p)
        Weights of the regressors.
    noise_model : {'ar1', 'ols'}

    Returns
    -------
    Fit
        Equal to nilearn's to the rounding of float32. A voxel whose autocorrelation lies on the
        edge of a bin may fall on its other side.

    Raises
    ------
    ValueError
        If the noise model is unknown, the design is not of full rank, has no constant or leaves
        no degree of freedom, or if shapes differ.

    Notes
    -----
    With W = I - rho L, L the shift by one volume [1]_, W'W = I - rho (L + L') + rho^2 L'L,
    and L'L is I without its last entry.

    References
    ----------
    .. [1] Worsley et al. (2002), NeuroImage 15(1), 1-15; `nilearn.glm.regression.ARModel`.

    Examples
    --------
    >>> design = np.array([[0.0, 1], [1, 1], [0, 1], [1, 1]])
    >>> series = np.array([[10.0], [12], [11], [13]], dtype=np.float32)
    >>> fit = fit_run(
    ...     lambda voxels: series[:, voxels], 1, design, [[1, 0]], noise_model="ols"
    ... )
    >>> f"{fit.effect.item():.2f} {fit.variance.item():.2f} {fit.df}"
    '2.00 0.50 2'
    """
    if noise_model not in ("ar1", "ols"):
        raise ValueError(f"noise_model is {noise_model!r}, not 'ar1' or 'ols'")
    model = _Model.of(design, contrasts)
    contrast = np.full((n_voxels, len(model.contrasts)), np.nan)
    variance = np.full_like(contrast, np.nan)
    rho, mean, tsnr = np.full((3, n_voxels), np.nan)
    with np.errstate(invalid="ignore", over="ignore"):
        for start in range(0, n_voxels, BLOCK):
            voxels = slice(start, min(start + BLOCK, n_voxels))
            part = model.fit(block_of(voxels), whiten=noise_model == "ar1")
            contrast[voxels], variance[voxels], rho[voxels], mean[voxels] = part[:4]
            tsnr[voxels] = part[4]
    return Fit(contrast.T, variance.T, rho, mean, tsnr, model.df)


def percent_signal_change(fit: Fit, peak: float) -> Fit:
    """Scale a fit to percent signal change at the peak of the response to one event.

    Parameters
    ----------
    fit : Fit
    peak : float
        Height of the regressor of one isolated event of the reference duration.

    Returns
    -------
    Fit
        `effect` times 100 peak / mean, `variance` times the square of that; both NaN where the
        mean is not above 0, which leaves no baseline to be a percentage of.

    Raises
    ------
    ValueError
        If the peak is not above 0.
    """
    if not peak > 0:
        raise ValueError(f"the peak of the response is {peak}; it has to be above 0")
    factor = np.full_like(fit.mean, np.nan)
    np.divide(100 * peak, fit.mean, out=factor, where=fit.mean > 0)
    return replace(fit, effect=fit.effect * factor, variance=fit.variance * factor**2)


def find_measured(mean: NDArray, min_signal: float) -> NDArray:
    """Tell the voxels with signal: mean (n_voxels,) at least `min_signal` of the median.

    The median is over voxels whose mean is finite; without signal are also those whose mean is
    not above 0.
    """
    finite = np.isfinite(mean)
    median = np.median(mean[finite]) if finite.any() else np.nan
    return finite & (mean > 0) & (mean >= min_signal * median)


def combine_runs(effects: NDArray, variances: NDArray) -> tuple[NDArray, NDArray]:
    """Combine runs by precision, voxel by voxel.

    Parameters
    ----------
    effects, variances : array, shape (n_runs, n_voxels)
        A run in which either is not finite, or the variance is not above 0, was not measured
        there and is left out of that voxel.

    Returns
    -------
    effect, variance : array, shape (n_voxels,)
        Mean weighted by 1 / variance, and 1 / sum of the weights; NaN where no run is left.
        Equal to nilearn's `compute_fixed_effects` with `precision_weighted=True`.
    """
    effects, variances = np.asarray(effects, float), np.asarray(variances, float)
    # an infinite variance leaves a weight of 0
    held = np.isfinite(effects) & (variances > 0)
    weight = np.zeros_like(variances)
    np.divide(1.0, np.maximum(variances, TINY), out=weight, where=held)
    total = weight.sum(axis=0)
    variance = np.full_like(total, np.nan)
    np.divide(1.0, total, out=variance, where=total > 0)
    return (weight * np.where(held, effects, 0.0)).sum(axis=0) * variance, variance


def single_trials(
    series: NDArray, trials: NDArray, kind: NDArray, others: NDArray
) -> NDArray:
    """Estimate the response to every trial by a model of its own (least squares, separate).

    Parameters
    ----------
    series : array, shape (n_kept, n_regions)
        Region means over time. A region with a value that is not finite has no estimates.
    trials : array, shape (n_kept, n_trials)
        Regressor of each trial.
    kind : array of int, shape (n_trials,)
        Kind of each trial: within a model, all other trials of one kind share a column.
    others : array, shape (n_kept, q)
        Every other regressor: nuisance, drifts, constant.

    Returns
    -------
    array, shape (n_trials, n_regions)
        Ordinary least squares; NaN for a trial that the other regressors explain (its volumes
        were censored, or it ended with the run).

    References
    ----------
    .. [1] Mumford et al. (2012), NeuroImage 59(3), 2636-2643.
    """
    basis = _span(others)
    series = np.asarray(series, float) - basis @ (basis.T @ series)
    own = trials - basis @ (basis.T @ trials)
    kinds = np.unique(kind)
    sums = np.stack([own[:, kind == each].sum(axis=1) for each in kinds], axis=1)
    length = np.linalg.norm(trials, axis=0)
    estimates = np.full((trials.shape[1], series.shape[1]), np.nan)
    for trial, column in enumerate(own.T):
        rest = _span(sums - np.outer(column, kinds == kind[trial]))
        alone = column - rest @ (rest.T @ column)
        if np.linalg.norm(alone) > LEAST_OWN * length[trial]:
            estimates[trial] = alone @ series / (alone @ alone)
    return estimates


def _span(columns: NDArray) -> NDArray:
    """Return an orthonormal basis of the space that columns span."""
    length = np.linalg.norm(columns, axis=0)
    columns = columns[:, length > 0] / length[length > 0]
    left, size, _ = np.linalg.svd(columns, full_matrices=False)
    floor = size.max(initial=0.0) * max(columns.shape) * np.finfo(float).eps
    return left[:, size > floor]


@dataclass(frozen=True)
class _Model:
    """A design in orthonormal regressors `q` (n_kept, p), and contrasts of these (k, p).

    `neighbours` is Q(t-1) + Q(t+1), zero beyond the run; `constant` (p,) gives the constant
    in terms of Q. By bin of autocorrelation, from -1 upwards: `factor` (n_bins, p + k, p),
    the inverse Cholesky factor of Q'W'WQ over contrasts times its inverse, and `spread`
    (n_bins, k), the variance of the contrasts for a noise of variance 1.
    """

    q: NDArray
    neighbours: NDArray
    contrasts: NDArray
    constant: NDArray
    factor: NDArray
    spread: NDArray
    reach: int

    @property
    def df(self) -> int:
        n_kept, p = self.q.shape
        return n_kept - p

    @classmethod
    def of(cls, design: NDArray, contrasts: NDArray) -> "_Model":
        design = np.asarray(design, float)
        contrasts = np.atleast_2d(np.asarray(contrasts, float))
        _require_estimable(design, contrasts)
        n_kept, p = design.shape
        q, r = np.linalg.qr(design)
        constant = q.sum(axis=0)
        if abs(constant @ constant - n_kept) > 1e-6 * n_kept:
            raise ValueError("the design has no constant in its span")
        contrasts = np.linalg.solve(r.T, contrasts.T).T
        neighbours = np.zeros_like(q)
        neighbours[1:] += q[:-1]
        neighbours[:-1] += q[1:]
        # the largest estimate there can be, n / (n - 1), lies in the last bin
        reach = int(np.ceil(BINS * n_kept / (n_kept - 1)))
        rho = np.arange(-reach, reach + 1)[:, np.newaxis, np.newaxis] / BINS
        gram = np.eye(p) - rho * (q.T @ neighbours)
        gram += rho**2 * (np.eye(p) - np.outer(q[-1], q[-1]))
        root = np.linalg.inv(np.linalg.cholesky(gram))
        by_root = contrasts @ root.transpose(0, 2, 1)
        return cls(
            q.astype(np.float32),
            neighbours.astype(np.float32),
            contrasts,
            constant,
            np.concatenate([root, by_root @ root], axis=1).astype(np.float32),
            (by_root**2).sum(axis=2),
            reach,
        )

    def fit(self, series: NDArray, *, whiten: bool) -> tuple:
        """Fit one block: contrast, variance (n, k), rho, mean, tSNR (n,)."""
        n_kept = len(series)
        # float32 loses the signal under its mean; the constant gets it back below
        level = np.full(n_kept, 1 / n_kept, np.float32) @ series
        noise = series - level
        loading = self.q.T @ noise
        noise -= self.q @ loading
        square = np.einsum("tv,tv->v", noise, noise).astype(float)
        lagged = np.einsum("tv,tv->v", noise[1:], noise[:-1]).astype(float)
        signal = np.einsum("pv,pv->v", loading, loading) + n_kept * level**2
        square[~(square > ROUNDING**2 * signal)] = np.nan

        contrast = loading.T @ self.contrasts.T
        contrast += np.outer(level, self.contrasts @ self.constant)
        tsnr = level / np.sqrt(square / self.df)
        if whiten:
            rho = lagged / square * (n_kept / (n_kept - 1))
            rho = np.trunc(rho * BINS) / BINS
            change, spread, square = self._whiten(noise, rho, square, lagged)
            contrast += change
        else:
            rho = np.where(np.isnan(square), np.nan, 0.0)
            spread = self.spread[self.reach]
        variance = spread * (square / self.df)[:, np.newaxis]
        contrast[np.isnan(square)] = np.nan
        return contrast, variance, rho, level, tsnr

    def _whiten(
        self, noise: NDArray, rho: NDArray, square: NDArray, lagged: NDArray
    ) -> tuple[NDArray, NDArray, NDArray]:
        """Return what whitening adds to the contrasts, their spread, and the sum of squares."""
        last = noise[-1]
        square = square - 2 * rho * lagged + rho**2 * (square - last**2)
        bins = np.where(np.isnan(rho), 0, np.rint(rho * BINS)).astype(int) + self.reach
        # Q'W'WE, of which Q'E is 0
        loading = (noise.T @ self.neighbours) * -rho[:, np.newaxis].astype(np.float32)
        loading -= np.outer(rho**2 * last, self.q[-1]).astype(np.float32)
        p = loading.shape[1]
        order = np.argsort(bins, kind="stable")
        found, starts = np.unique(bins[order], return_index=True)
        change = np.empty((len(rho), len(self.contrasts)))
        for each, voxels in zip(found, np.split(order, starts[1:]), strict=True):
            rotated = loading[voxels] @ self.factor[each].T
            change[voxels] = rotated[:, p:]
            square[voxels] -= np.einsum("vp,vp->v", rotated[:, :p], rotated[:, :p])
        return change, self.spread[bins], square


def _require_estimable(design: NDArray, contrasts: NDArray) -> None:
    n_kept, p = design.shape
    if contrasts.shape[1] != p:
        raise ValueError(f"contrasts weigh {contrasts.shape[1]} regressors of {p}")
    length = np.linalg.norm(design, axis=0)
    rank = np.linalg.matrix_rank(design / np.where(length > 0, length, 1))
    if rank < p:
        raise ValueError(
            f"the design has rank {rank} with {p} regressors: some repeat others"
        )
    if n_kept <= p:
        raise ValueError(f"{n_kept} volumes leave nothing beside {p} regressors")
