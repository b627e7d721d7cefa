"""A linear mixed model with small-sample degrees of freedom.

statsmodels judges its fixed effects as if people were endless (z); with twenty of them
that is wrong by more than a rounding.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

# Step of numerical derivatives, and eigenvalues below which a variance sits at its bound; both of
# columns of mean square 1 and residuals near it.
STEP, FLAT = 1e-3, 1e-6
# Where the search for the relative standard deviations begins. The criterion is symmetric about 0,
# so that a search that steps on 0 stays there, whatever is lower: the lowest of several counts.
STARTS = (0.05, 0.3, 3.0)


@dataclass(frozen=True)
class MixedModel:
    """Fixed effects of a linear mixed model, with Satterthwaite's degrees of freedom.

    `estimate`, `error`, `df`, `t` and `p` (two-sided) have shape (n_fixed,); `spread` is the
    covariance of the random effects and `residual` the variance of the rest.
    """

    estimate: NDArray
    error: NDArray
    df: NDArray
    t: NDArray
    p: NDArray
    spread: NDArray
    residual: float

    def interval(self, term: int, level: float) -> tuple[float, float]:
        """Return the interval of one fixed effect."""
        margin = scipy.stats.t.ppf((1 + level) / 2, self.df[term]) * self.error[term]
        return (
            float(self.estimate[term] - margin),
            float(self.estimate[term] + margin),
        )


def fit_mixed(
    y: NDArray, fixed: NDArray, random: NDArray, subjects: NDArray
) -> MixedModel:
    """Fit a linear mixed model by REML.

    Parameters
    ----------
    y : array, shape (n_trials,)
        Outcome.
    fixed, random : array, shape (n_trials, n_terms)
        Design of the fixed effects, and of those that vary over people (with any
        covariance); with their constants.
    subjects : array, shape (n_trials,)
        Whose each trial is.

    Returns
    -------
    MixedModel

    Raises
    ------
    ValueError
        If the shapes do not match, a value is missing or infinite, the fixed terms repeat
        each other, or there are no more trials than terms.

    Notes
    -----
    The criterion and the degrees of freedom are those of lme4 [1]_ and lmerTest [2]_: REML
    profiled over the Cholesky factor of the relative covariance, then Satterthwaite's
    method with derivatives taken numerically. A z test would count a few people as many.
    Where a variance is estimated as zero, directions in which the criterion is flat are left
    out, as lmerTest does. All is computed in units of the columns' own root mean square, so
    that the units of the numbers do not matter.

    References
    ----------
    .. [1] Bates, Maechler, Bolker & Walker (2015), J. Stat. Softw. 67(1).
    .. [2] Kuznetsova, Brockhoff & Christensen (2017), J. Stat. Softw. 82(13).
    """
    y, x, z = (np.asarray(part, dtype=float) for part in (y, fixed, random))
    _require_fit(y, x, z, np.asarray(subjects))
    x_size, z_size = _size(x), _size(z)
    x, z = x / x_size, z / z_size
    start = np.linalg.lstsq(x, y, rcond=None)[0]
    rest = y - x @ start
    y_size = _size(rest)
    sums = _Sums.of(rest / y_size, x, z, subjects)
    factor = _lowest(sums)
    estimate, inverse, rest, _ = sums.solve(factor)
    variance = rest / sums.df
    parameters = np.append(factor, np.sqrt(variance))

    def covariance(at: NDArray) -> NDArray:
        return at[-1] ** 2 * sums.solve(at[:-1])[1]

    values, vectors = np.linalg.eigh(_hessian(sums.deviance, parameters))
    steep = values > FLAT
    spread = 2 * (vectors[:, steep] / values[steep]) @ vectors[:, steep].T
    gradient = _gradient(lambda at: np.diag(covariance(at)), parameters)
    own = variance * np.diag(inverse)
    df = 2 * own**2 / np.einsum("pk,kl,pl->p", gradient, spread, gradient)
    estimate = (start + y_size * estimate) / x_size
    error = y_size / x_size * np.sqrt(own)
    t = estimate / error
    factor = y_size * sums.lower(factor) / z_size[:, np.newaxis]
    return MixedModel(
        *(estimate, error, df, t, 2 * scipy.stats.t.sf(np.abs(t), df)),
        spread=variance * factor @ factor.T,
        residual=float(y_size**2 * variance),
    )


def _lowest(sums: "_Sums") -> NDArray:
    """Return the Cholesky factor at which the criterion is lowest, searched from all starts."""
    found = [
        scipy.optimize.minimize(
            sums.profiled,
            start * np.eye(sums.n_random)[np.tril_indices(sums.n_random)],
            method="L-BFGS-B",
            jac="3-point",
            options={"ftol": 1e-14, "gtol": 1e-7},
        )
        for start in STARTS
    ]
    return min(found, key=lambda each: each.fun).x


def _size(values: NDArray) -> NDArray:
    """Return the root mean square of each column; 1 where there is nothing but zeros."""
    size = np.sqrt((values**2).mean(axis=0))
    return np.where(size > 0, size, 1.0)


def _require_fit(y: NDArray, x: NDArray, z: NDArray, subjects: NDArray) -> None:
    """Refuse what cannot be fitted."""
    if (
        y.ndim != 1
        or x.shape[:1] != y.shape
        or z.shape[:1] != y.shape
        or subjects.shape != y.shape
        or x.ndim != 2
        or z.ndim != 2
    ):
        raise ValueError(
            f"trials pair up; got shapes {y.shape}, {x.shape}, {z.shape} and "
            f"{subjects.shape}"
        )
    if not all(np.isfinite(part).all() for part in (y, x, z)):
        raise ValueError("values are missing or infinite; leave these trials out")
    size = np.linalg.norm(x, axis=0)
    if (
        len(y) <= x.shape[1]
        or (size == 0).any()
        or np.linalg.matrix_rank(x / size, tol=1e-7) < x.shape[1]
    ):
        raise ValueError(
            f"{len(y)} trials do not tell {x.shape[1]} fixed terms apart: some "
            "repeat each other"
        )


@dataclass(frozen=True)
class _Sums:
    """Sums of products of each person's trials: all that the likelihood needs.

    z: random design, x: fixed design, y: outcome; shapes begin with n_subjects.
    """

    zz: NDArray
    zx: NDArray
    zy: NDArray
    xx: NDArray
    xy: NDArray
    yy: float
    df: int

    @classmethod
    def of(cls, y: NDArray, x: NDArray, z: NDArray, subjects: NDArray) -> "_Sums":
        """Sum over each person's trials."""
        _, own = np.unique(subjects, return_inverse=True)
        n = own.max() + 1

        def summed(left: NDArray, right: NDArray) -> NDArray:
            sums = np.zeros((n, *left.shape[1:], *right.shape[1:]))
            np.add.at(sums, own, np.einsum("ti,t...->ti...", left, right))
            return sums

        return cls(
            *(summed(z, z), summed(z, x), summed(z, y), x.T @ x, x.T @ y),
            yy=float(y @ y),
            df=len(y) - x.shape[1],
        )

    @property
    def n_random(self) -> int:
        return self.zz.shape[-1]

    def lower(self, factor: NDArray) -> NDArray:
        """Return the Cholesky factor from its entries, row by row."""
        matrix = np.zeros((self.n_random, self.n_random))
        matrix[np.tril_indices(self.n_random)] = factor
        return matrix

    def solve(self, factor: NDArray) -> tuple[NDArray, NDArray, float, float]:
        """Return estimates, inverse of X'V^-1 X, weighted residual sum and log |V|."""
        factor = self.lower(factor)
        inner = np.eye(self.n_random) + factor.T @ self.zz @ factor
        zx, zy = factor.T @ self.zx, self.zy @ factor
        weighted = np.linalg.solve(inner, np.concatenate([zx, zy[..., None]], axis=-1))
        wx, wy = weighted[..., :-1], weighted[..., -1]
        xvx = self.xx - np.einsum("nqp,nqr->pr", zx, wx)
        xvy = self.xy - np.einsum("nqp,nq->p", zx, wy)
        yvy = self.yy - (zy * wy).sum()
        inverse = np.linalg.inv(xvx)
        estimate = inverse @ xvy
        rest = float(yvy - xvy @ estimate)
        log_size = np.linalg.slogdet(inner)[1].sum() - np.linalg.slogdet(inverse)[1]
        return estimate, inverse, rest, float(log_size)

    def profiled(self, factor: NDArray) -> float:
        """Return -2 log REML at the best residual variance, but for a constant."""
        *_, rest, log_size = self.solve(factor)
        return log_size + self.df * np.log(max(rest, np.finfo(float).tiny))

    def deviance(self, parameters: NDArray) -> float:
        """Return -2 log REML at a factor and a residual standard deviation."""
        *_, rest, log_size = self.solve(parameters[:-1])
        variance = parameters[-1] ** 2
        return log_size + self.df * np.log(variance) + rest / variance


def _gradient(function: Callable[[NDArray], NDArray], at: NDArray) -> NDArray:
    """Return central differences, the parameters along the last axis."""
    steps = STEP * np.maximum(np.abs(at), 1)
    sides = [
        (function(at + step) - function(at - step)) / (2 * size)
        for step, size in zip(np.diag(steps), steps, strict=True)
    ]
    return np.stack(sides, axis=-1)


def _hessian(function: Callable[[NDArray], float], at: NDArray) -> NDArray:
    """Return central differences of central differences, made symmetric."""
    slopes = _gradient(
        lambda here: _gradient(lambda x: np.array(function(x)), here), at
    )
    return (slopes + slopes.T) / 2
