"""How large an effect is, how sure that is, and how small an effect could be seen."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln


@dataclass(frozen=True)
class OneSample:
    """The mean of one sample and its standardised size.

    `mean`, `sd`, `low` and `high` (interval of the mean) are in the unit of the
    values; `dz` = mean / sd and `hedges_g`, the same without its small-sample
    bias, have no unit. `t`, `df` and two-sided `p_t` test the mean against zero;
    `p_tost` tests that the standardised mean is smaller than the smallest of
    interest: small values are evidence for a negligible effect.
    """

    n: int
    mean: float
    sd: float
    low: float
    high: float
    t: float
    df: int
    p_t: float
    dz: float
    dz_low: float
    dz_high: float
    hedges_g: float
    g_low: float
    g_high: float
    p_tost: float


def one_sample(values: NDArray, *, level: float, smallest_dz: float) -> OneSample:
    """Estimate the mean of one sample, its standardised size, and their intervals.

    Parameters
    ----------
    values : array, shape (n_subjects,)
        One number per subject in any unit (attenuation, say); none missing.
    level : float
        Level of the intervals, between 0 and 1.
    smallest_dz : float
        Smallest standardised mean of interest, positive.

    Returns
    -------
    OneSample
        `mean`, `t`, `dz` and `hedges_g` carry the sign of the values.

    Raises
    ------
    ValueError
        If a value is missing or infinite, there are fewer than two, they do not
        vary, `level` is not between 0 and 1, or `smallest_dz` is not positive.

    Notes
    -----
    The interval of dz is exact for normal values: it holds the population sizes
    under which the observed t is in neither tail, by the noncentral t [1]_.
    Hedges g and its interval are dz times the exact factor J [2]_.

    The equivalence bounds are `smallest_dz` standard deviations *of the sample*,
    as is usual [3]_; `p_tost` is the larger of the two one-sided p values.

    References
    ----------
    .. [1] Steiger & Fouladi (1997), in Harlow, Mulaik & Steiger (eds.), What if
       there were no significance tests?, 221-257.
    .. [2] Hedges (1981), J. Educ. Stat. 6(2), 107-128.
    .. [3] Lakens (2017), Soc. Psychol. Personal. Sci. 8(4), 355-362.

    Examples
    --------
    >>> result = one_sample(np.array([1.0, 2, 3, 4]), level=0.95, smallest_dz=0.3)
    >>> f"dz = {result.dz:.2f} [{result.dz_low:.2f}, {result.dz_high:.2f}]"
    'dz = 1.94 [0.15, 3.67]'
    """
    values = _require_sample(values)
    _require_fraction(level=level)
    if not smallest_dz > 0:
        raise ValueError(f"smallest_dz is {smallest_dz}; it must be positive")
    n, mean, sd = len(values), values.mean(), values.std(ddof=1)
    df, error = n - 1, sd / np.sqrt(n)
    dz, t = mean / sd, mean / error
    margin = scipy.stats.t.ppf((1 + level) / 2, df) * error
    dz_low, dz_high = (ncp / np.sqrt(n) for ncp in _noncentrality(t, df, level))
    unbias = _unbias(df)
    numbers = {
        "mean": mean,
        "sd": sd,
        "low": mean - margin,
        "high": mean + margin,
        "t": t,
        "p_t": 2 * scipy.stats.t.sf(abs(t), df),
        "dz": dz,
        "dz_low": dz_low,
        "dz_high": dz_high,
        "hedges_g": unbias * dz,
        "g_low": unbias * dz_low,
        "g_high": unbias * dz_high,
        "p_tost": equivalence_p(t, n, smallest_dz),
    }
    return OneSample(n=n, df=df, **{key: float(x) for key, x in numbers.items()})


def equivalence_p(t: ArrayLike, n: ArrayLike, smallest_dz: ArrayLike) -> NDArray:
    """Return p of the claim that a standardised mean is smaller than the smallest of interest.

    Parameters
    ----------
    t : float or array
        One-sample t.
    n : int or array
        Number of subjects, 2 or more.
    smallest_dz : float or array
        Smallest standardised mean of interest, positive, in sample standard deviations.

    Returns
    -------
    array
        The larger of the two one-sided p values (TOST); nan where t is.

    Examples
    --------
    >>> f"{equivalence_p(0.2, 100, 0.3):.4f}"
    '0.0031'
    """
    # On the side of zero where the mean is, the nearer bound decides.
    return scipy.stats.t.cdf(np.abs(t) - smallest_dz * np.sqrt(n), np.subtract(n, 1))


def detectable_dz(n: int, *, power: float, alpha: float) -> float:
    """Return the smallest true dz that a two-sided one-sample t-test would find.

    Parameters
    ----------
    n : int
        Number of subjects, 2 or more.
    power : float
        Probability of finding it, above `alpha` and below 1.
    alpha : float
        Two-sided significance level.

    Returns
    -------
    float
        True mean / standard deviation, positive.

    Raises
    ------
    ValueError
        If `n` is less than 2, or not 0 < alpha < power < 1.

    Examples
    --------
    >>> f"{detectable_dz(16, power=0.8, alpha=0.05):.2f}"
    '0.75'
    """
    _require_power(n, 2, power, alpha)
    df = n - 1
    critical = scipy.stats.t.isf(alpha / 2, df)

    def excess(ncp: float) -> float:
        wrong_sign = scipy.stats.nct.cdf(-critical, df, ncp)
        # scipy returns nan for some probabilities below 1e-10.
        return scipy.stats.nct.sf(critical, df, ncp) + np.nan_to_num(wrong_sign) - power

    return float(_increasing_root(excess, start=0.0, step=1.0) / np.sqrt(n))


def detectable_r(n: int, *, power: float, alpha: float) -> float:
    """Return the smallest true correlation that a two-sided test would find.

    Parameters, result (a Pearson r) and errors are those of `detectable_dz`; `n` is 4
    or more.

    Notes
    -----
    By the normal distribution of Fisher's z, standard error 1 / sqrt(n - 3). A
    significant result of the wrong sign does not count.

    Examples
    --------
    >>> f"{detectable_r(16, power=0.8, alpha=0.05):.2f}"
    '0.65'
    """
    _require_power(n, 4, power, alpha)
    z = scipy.stats.norm.isf(alpha / 2) + scipy.stats.norm.ppf(power)
    return float(np.tanh(z / np.sqrt(n - 3)))


def _require_sample(values: NDArray) -> NDArray:
    """Return `values` as float if a mean and a spread can be had from them."""
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"expected 2 or more values; got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(
            f"{(~np.isfinite(values)).sum()} of {len(values)} values are missing or "
            "infinite; leave these subjects out first"
        )
    if np.ptp(values) == 0:
        raise ValueError(f"all {len(values)} values are {values[0]}: no spread")
    return values


def _require_fraction(**fractions: float) -> None:
    """Refuse a level or probability that is not between 0 and 1."""
    for name, fraction in fractions.items():
        if not 0 < fraction < 1:
            raise ValueError(f"{name} is {fraction}; it must be between 0 and 1")


def _require_power(n: int, minimum: int, power: float, alpha: float) -> None:
    """Refuse a question of power that has no answer."""
    _require_fraction(power=power, alpha=alpha)
    if n < minimum:
        raise ValueError(f"n is {n}; at least {minimum} subjects are needed")
    if power <= alpha:
        raise ValueError(f"power {power} is had without an effect at alpha {alpha}")


def _unbias(df: int) -> float:
    """Return Hedges's J: dz times J has no bias (exact, not 1 - 3 / (4 df - 1))."""
    return np.exp(gammaln(df / 2) - gammaln((df - 1) / 2)) / np.sqrt(df / 2)


def _noncentrality(t: float, df: int, level: float) -> tuple[float, float]:
    """Return the noncentralities under which t is in neither tail."""
    if t < 0:  # scipy returns nan for some negative t in very few subjects
        low, high = _noncentrality(-t, df, level)
        return -high, -low
    tail = (1 - level) / 2
    # Width of t's distribution around a large noncentrality.
    step = np.sqrt(1 + t**2 / (2 * df))
    low = _increasing_root(lambda ncp: scipy.stats.nct.sf(t, df, ncp) - tail, t, step)
    high = _increasing_root(lambda ncp: tail - scipy.stats.nct.cdf(t, df, ncp), t, step)
    return low, high


def _increasing_root(
    function: Callable[[float], float], start: float, step: float
) -> float:
    """Solve for zero of an increasing function, walking from `start` to enclose it."""
    low = high = start
    while function(low) > 0:
        low, step = low - step, 2 * step
    while function(high) < 0:
        high, step = high + step, 2 * step
    return (
        scipy.optimize.brentq(function, low, high, xtol=1e-12) if low < high else start
    )
