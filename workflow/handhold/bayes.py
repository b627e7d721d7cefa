"""Bayes factors with the default priors of the field, for t and for r.

Above 1 they favour an effect, below 1 its absence. Both are one-dimensional
integrals, solved for whole arrays at once and in logs, so that extreme evidence
neither overflows nor warns: a factor too large for a float is infinity.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, logsumexp, xlog1py

# Both integrals run over a log scale, from 0 to infinity: the integrand is then smooth,
# at least about 0.5 wide whatever the data, and dies off exponentially at both ends, so
# that the error of a plain sum falls as exp(-4.9 / STEP): below rounding at 0.1.
STEP = 0.1

# Log of a standard normal's size; the left end is good for |t| up to 1e15.
LOG_SIZE = np.arange(-60, 4, STEP)

# Log odds of a beta variable; the right end is good for 1 - |r| down to 1e-16.
LOG_ODDS = np.arange(-70, 90, STEP)


def ttest_bf10(
    t: ArrayLike, n: ArrayLike, scale: float = np.sqrt(2) / 2
) -> NDArray | float:
    """Return the JZS Bayes factor of a one-sample t against no effect.

    Parameters
    ----------
    t : float or array
        One-sample (or paired) t; its sign does not matter.
    n : int or array
        Number of subjects (or pairs), 2 or more; broadcast against `t`.
    scale : float
        Scale of the Cauchy prior on the standardised mean; half of the prior
        lies between -scale and scale.

    Returns
    -------
    float or array
        BF10, evidence for an effect relative to none. nan where `t` or `n` is nan.

    Raises
    ------
    ValueError
        If an `n` is less than 2 or `scale` is not positive.

    Notes
    -----
    The prior is a normal whose variance g is inverse gamma; here 1 / g = z**2 /
    scale**2 with z standard normal, and the sum runs over log z.

    References
    ----------
    .. [1] Rouder, Speckman, Sun, Morey & Iverson (2009), Psychon. Bull. Rev.
       16(2), 225-237.

    Examples
    --------
    >>> f"{ttest_bf10(t=2.5, n=20):.2f}"
    '2.70'
    """
    t, n = np.broadcast_arrays(np.asarray(t, dtype=float), np.asarray(n, dtype=float))
    if (n < 2).any() or not scale > 0:
        raise ValueError(
            f"smallest n is {n.min()}, scale {scale}; n >= 2 and scale > 0 are needed"
        )
    square, df = t[..., np.newaxis] ** 2, n[..., np.newaxis] - 1
    z2 = np.exp(2 * LOG_SIZE)
    # How much the prior widens the distribution of t: variance of t under it.
    log_width = np.log1p((df + 1) * scale**2 / z2)
    log_likelihood_ratio = -log_width / 2 + (df + 1) / 2 * (
        np.log1p(square / df) - np.log1p(square / df * np.exp(-log_width))
    )
    # Density of the size of a standard normal, times dz = z dlog(z).
    log_prior = np.log(2 * STEP / np.sqrt(2 * np.pi)) - z2 / 2 + LOG_SIZE
    return _exp(logsumexp(log_likelihood_ratio + log_prior, axis=-1))


def correlation_bf10(
    r: ArrayLike, n: ArrayLike, kappa: float = 1 / 3
) -> NDArray | float:
    """Return the Bayes factor of a Pearson correlation against none.

    Parameters
    ----------
    r : float or array
        Pearson r of the sample, from -1 to 1.
    n : int or array
        Number of subjects, 3 or more; broadcast against `r`.
    kappa : float
        Width of the prior, a beta distribution stretched to (-1, 1) with both
        parameters 1 / kappa: 1 is uniform, 1/3 what BayesFactor calls medium.

    Returns
    -------
    float or array
        BF10, evidence for a correlation relative to none. nan where `r` or `n` is
        nan; infinite where r = 1 or -1 in more than a handful of subjects.

    Raises
    ------
    ValueError
        If an `r` is outside -1 to 1, an `n` less than 3 or `kappa` not positive.

    Notes
    -----
    The exact expression holds 2F1(a, a; c; r**2), a = (n - 1) / 2, c = 1 / kappa +
    n / 2, which overflows at a few hundred subjects. Euler's transformation then
    takes the large factor out as a power of 1 - r**2 and leaves a 2F1 of order one.

    References
    ----------
    .. [1] Ly, Verhagen & Wagenmakers (2016), J. Math. Psychol. 72, 19-32.

    Examples
    --------
    >>> f"{correlation_bf10(r=0.5, n=20):.2f}"
    '3.43'
    """
    r, n = np.broadcast_arrays(np.asarray(r, dtype=float), np.asarray(n, dtype=float))
    if (np.abs(r) > 1).any() or (n < 3).any() or not kappa > 0:
        raise ValueError(
            f"r from {r.min()} to {r.max()}, smallest n {n.min()}, kappa {kappa}; "
            "r within -1 to 1, n >= 3 and kappa > 0 are needed"
        )
    shape = 1 / kappa
    log_beta = 2 * gammaln(shape) - gammaln(2 * shape)
    log_constant = (
        (1 - 2 * shape) * np.log(2)
        + np.log(np.pi) / 2
        - log_beta
        + gammaln(shape + (n - 1) / 2)
        - gammaln(shape + n / 2)
    )
    # Of the two forms, the one whose 2F1 stays finite as r goes to 1.
    power = np.minimum(shape + 1 - n / 2, 0)
    a = np.minimum((n - 1) / 2, shape + 0.5)
    log_bf10 = log_constant + xlog1py(power, -(r**2)) + _log_2f1(a, shape + n / 2, r**2)
    unbounded = (np.abs(r) == 1) & (n / 2 >= shape + 1)
    return np.where(unbounded, np.inf, _exp(log_bf10))[()]


def bf10_range(
    bf10: Callable[[ArrayLike, ArrayLike, float], NDArray | float],
    statistic: float,
    n: int,
    widths: Sequence[float],
) -> tuple[float, float]:
    """Return the smallest and largest Bayes factor over prior widths.

    Parameters
    ----------
    bf10 : callable
        `ttest_bf10` or `correlation_bf10`.
    statistic, n : float, int
        What `bf10` takes: t or r, and the number of subjects.
    widths : sequence of float
        Widths of the prior, one or more.

    Returns
    -------
    low, high : float
        nan where `statistic` is.

    Raises
    ------
    ValueError
        As `bf10`, and if there is no width.

    Examples
    --------
    >>> low, high = bf10_range(ttest_bf10, 2.5, 20, [0.5, 1.0])
    >>> f"{low:.2f} to {high:.2f}"
    '2.31 to 2.94'
    """
    if not len(widths):
        raise ValueError("no prior width is given; at least 1 is needed")
    found = [float(bf10(statistic, n, width)) for width in widths]
    return min(found), max(found)


def _log_2f1(a: NDArray, c: NDArray, x: NDArray) -> NDArray:
    """Return log 2F1(a, a; c; x) for 0 < 2a <= c and 0 <= x <= 1.

    By Euler's integral over a beta(a, c - a) variable. scipy's hyp2f1 gives nan from
    n = 200 and r = .95.
    """
    log_constant = gammaln(c) - gammaln(a) - gammaln(c - a)
    a, c, x = a[..., np.newaxis], c[..., np.newaxis], x[..., np.newaxis]
    log_in, log_out = -np.logaddexp(0, -LOG_ODDS), -np.logaddexp(0, LOG_ODDS)
    log_rest = np.log(np.exp(log_out) + (1 - x) * np.exp(log_in))  # log(1 - x beta)
    integrand = a * (log_in - log_rest) + (c - a) * log_out
    return log_constant + np.log(STEP) + logsumexp(integrand, axis=-1)


def _exp(log_bf10: NDArray) -> NDArray | float:
    """Leave the logs; a factor beyond the largest float is infinite, on purpose."""
    with np.errstate(over="ignore"):
        return np.exp(log_bf10)[()]
