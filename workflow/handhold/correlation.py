"""Correlation over subjects: plain, by ranks, without outliers, and how sure.

`pearson`, `spearman` and `percentage_bend` correlate along the last axis, so that one
call serves a whole bootstrap. They return nan where a variable is constant: there is no
correlation to speak of, and 0 would claim one.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

# With three subjects, r is within rounding of 1 or -1 too often to mean anything.
MINIMUM_SUBJECTS = 4

# Correlations nearer than this differ by rounding only.
TIE = 1e-12
# Places of people in a block of resamples: with their values it stays in a core's cache.
BLOCK = 2**15


@dataclass(frozen=True)
class Skipped:
    """Pearson `r` without outliers, how many these are, and which, (n_subjects,)."""

    r: float
    n_outliers: int
    outliers: NDArray


def pearson(x: NDArray, y: NDArray) -> NDArray | float:
    """Return Pearson's r along the last axis.

    Parameters
    ----------
    x, y : array, shape (..., n_subjects)
        Complete, in any unit; leading axes are broadcast.

    Returns
    -------
    float or array, shape (...)
        From -1 to 1; nan where `x` or `y` is constant.

    Raises
    ------
    ValueError
        If a value is missing or infinite, there are fewer than four subjects, or
        the numbers of subjects differ.

    Examples
    --------
    >>> f"{pearson([1, 2, 3, 4], [1, 3, 2, 4]):.1f}"
    '0.8'
    """
    return _pearson(*_require_pairs(x, y))


def spearman(x: NDArray, y: NDArray) -> NDArray | float:
    """Return Spearman's rank correlation along the last axis.

    Parameters, result and errors are those of `pearson`; ties get their average
    rank.

    Examples
    --------
    >>> f"{spearman([1, 2, 3, 4], [1, 3, 2, 100]):.1f}"
    '0.8'
    """
    x, y = _require_pairs(x, y)
    return _pearson(scipy.stats.rankdata(x, axis=-1), scipy.stats.rankdata(y, axis=-1))


def skipped(x: NDArray, y: NDArray, rng: np.random.Generator) -> Skipped:
    """Correlate without the subjects who stand out from the cloud.

    Parameters
    ----------
    x, y : array, shape (n_subjects,)
        Complete, in any unit.
    rng : numpy.random.Generator
        Seeds the search for the centre of the cloud.

    Returns
    -------
    Skipped
        `r` is nan if what is left is constant or fewer than three subjects.

    Raises
    ------
    ValueError
        As `pearson`, and if `x` or `y` is constant or more than half of all subjects
        share one and the same pair of values.

    Notes
    -----
    The centre is that of the minimum covariance determinant. All subjects are
    projected on the line from it through each subject in turn; whoever is, on any
    line, further out than median + sqrt(chi2(.975, 2)) interquartile ranges (by
    the ideal fourths) is an outlier: the adjusted box-plot rule of [1]_, sections 6.4
    and 9.4.3 of [2]_. Both variables are divided by their median absolute deviation
    first, as in [2]_ but not in [1]_, because the lines depend on the unit otherwise.

    There is no p value here: one from the subjects left alone is too small.

    References
    ----------
    .. [1] Pernet, Wilcox & Rousselet (2013), Front. Psychol. 3, 606.
    .. [2] Wilcox (2017), Introduction to robust estimation and hypothesis testing,
       4th ed.
    """
    x, y = _require_pairs(x, y)
    if x.ndim != 1 or y.ndim != 1:
        raise ValueError(f"expected one sample; got shapes {x.shape}, {y.shape}")
    points = np.stack([_standardise(x), _standardise(y)], axis=1)
    outliers = _stand_out(points - _robust_centre(points, rng))
    left = ~outliers
    r = _pearson(x[left], y[left]) if left.sum() >= 3 else np.nan
    return Skipped(float(r), int(outliers.sum()), outliers)


def percentage_bend(x: NDArray, y: NDArray, bend: float = 0.2) -> NDArray | float:
    """Return the percentage-bend correlation along the last axis.

    Parameters
    ----------
    x, y : array, shape (..., n_subjects)
        Complete, in any unit; leading axes are broadcast.
    bend : float
        Share of each variable that is pulled in, from 0 to under 0.5.

    Returns
    -------
    float or array, shape (...)
        From -1 to 1; nan where more than 1 - `bend` of a variable is one value.

    Raises
    ------
    ValueError
        As `pearson`, and if `bend` is out of its range.

    Notes
    -----
    Each variable by itself is bent to lie within one spread of its centre [1]_: an
    outlier of one variable counts less, one of both together is for `skipped`.

    References
    ----------
    .. [1] Wilcox (1994), Psychometrika 59(4), 601-616.

    Examples
    --------
    >>> f"{percentage_bend([1, 2, 3, 4, 5, 90], [2, 1, 3, 5, 4, 6]):.2f}"
    '0.89'
    """
    x, y = _require_pairs(x, y)
    if not 0 <= bend < 0.5:
        raise ValueError(f"bend is {bend}; it must be from 0 to under 0.5")
    x, y = _bend(x, bend), _bend(y, bend)
    length = np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1)
    return np.clip((x * y).sum(axis=-1) / length, -1, 1)


def fisher_interval(r: float, n: int, level: float) -> tuple[float, float]:
    """Return the interval of a Pearson r by Fisher's z, standard error 1/sqrt(n - 3).

    Parameters
    ----------
    r : float
        Sample correlation, from -1 to 1; nan gives nan.
    n : int
        Number of subjects, 4 or more.
    level : float
        Level of the interval, between 0 and 1.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> low, high = fisher_interval(0.5, 28, 0.95)
    >>> f"{low:.3f} to {high:.3f}"
    '0.156 to 0.736'
    """
    _require_level(level)
    if n < MINIMUM_SUBJECTS or abs(r) > 1:
        raise ValueError(f"n is {n} and r is {r}; n >= 4 and -1 <= r <= 1 are needed")
    margin = ndtri((1 + level) / 2) / np.sqrt(n - 3)
    with np.errstate(divide="ignore"):  # r = 1 is its own interval
        z = np.arctanh(r)
    return float(np.tanh(z - margin)), float(np.tanh(z + margin))


def bca_interval(
    x: NDArray,
    y: NDArray,
    statistic: Callable[[NDArray, NDArray], NDArray],
    *,
    n_bootstrap: int,
    level: float,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Return the bias-corrected and accelerated bootstrap interval of a correlation.

    Parameters
    ----------
    x, y : array, shape (n_subjects,)
        Complete, five subjects or more: the acceleration leaves each one out.
    statistic : callable
        `pearson` or `spearman`, or what else correlates along the last axis.
    n_bootstrap : int
        Number of resamples of subjects (pairs), 100 or more; 9,999 is usual.
    level : float
        Level of the interval, between 0 and 1.
    rng : numpy.random.Generator
        Source of the resamples.

    Returns
    -------
    low, high : float
        nan where the correlation itself, or that of the sample without one of its
        subjects, is not defined.

    Raises
    ------
    ValueError
        If a value is missing or infinite, or an argument out of its range.

    Notes
    -----
    A resample in which a variable is constant has no correlation and is left out, so
    that the interval is that of the resamples which have one.
    Resamples that equal the sample's value count half as below it, which matters
    for ranks in small samples only; in the rest this is `boot.ci(type = "bca")`
    with jackknife influence values.

    References
    ----------
    .. [1] Efron (1987), J. Am. Stat. Assoc. 82(397), 171-185.
    """
    x, y = _require_pairs(x, y, minimum=MINIMUM_SUBJECTS + 1)
    return resample_people(
        lambda rows: statistic(x[rows], y[rows]),
        len(x),
        n_bootstrap=n_bootstrap,
        level=level,
        rng=rng,
    )


def resample_people(
    statistic: Callable[[NDArray], NDArray],
    n_subjects: int,
    *,
    n_bootstrap: int,
    level: float,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Return the BCa interval of any number that a sample of people gives.

    Parameters
    ----------
    statistic : callable
        Takes rows of subjects' places, shape (n_rows, n), a block of them at a time, and
        returns one number for each row; nan where it has none.
    n_subjects : int
        Number of subjects.
    n_bootstrap, level, rng
        As `bca_interval`, and so are result, errors and notes.
    """
    _require_level(level)
    if n_bootstrap < 100:
        raise ValueError(f"n_bootstrap is {n_bootstrap}; at least 100 are needed")
    observed = statistic(np.arange(n_subjects)[np.newaxis])[0]
    # drawn block by block, the resamples are those that one call would draw
    bootstrap = np.concatenate(
        [
            statistic(rng.integers(n_subjects, size=(len(block), n_subjects)))
            for block in _blocks(n_bootstrap, n_subjects)
        ]
    )
    bootstrap = bootstrap[~np.isnan(bootstrap)]
    acceleration = _accelerate(_without_each(statistic, n_subjects))
    if np.isnan(observed) or np.isnan(acceleration):
        return np.nan, np.nan

    below = (bootstrap < observed - TIE).mean() + (
        (np.abs(bootstrap - observed) <= TIE).mean() / 2
    )
    half = 1 / (2 * len(bootstrap))  # with all resamples on one side: still finite
    bias = ndtri(np.clip(below, half, 1 - half))
    z = bias + ndtri(np.array([1 - level, 1 + level]) / 2)
    low, high = np.quantile(
        bootstrap, ndtr(bias + z / (1 - acceleration * z)), method="weibull"
    )
    return float(low), float(high)


def leave_one_out_range(x: NDArray, y: NDArray) -> tuple[float, float]:
    """Return the smallest and largest Pearson r with one subject left out.

    Parameters
    ----------
    x, y : array, shape (n_subjects,)
        Complete, in any unit.

    Returns
    -------
    low, high : float
        A range that crosses zero says that one subject decides the sign. nan if
        leaving a subject out leaves a constant.

    Raises
    ------
    ValueError
        As `pearson`.

    Examples
    --------
    >>> low, high = leave_one_out_range([1, 2, 3, 4, 10], [1, 2, 1, 2, 10])
    >>> f"{low:.2f} to {high:.2f}"
    '0.45 to 0.97'
    """
    x, y = _require_pairs(x, y)
    r = _without_each(lambda rows: _pearson(x[rows], y[rows]), len(x))
    return float(r.min()), float(r.max())


def _require_pairs(
    x: NDArray, y: NDArray, minimum: int = MINIMUM_SUBJECTS
) -> tuple[NDArray, NDArray]:
    """Return both as float, or refuse what cannot be correlated."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if x.ndim == 0 or x.shape[-1:] != y.shape[-1:]:
        raise ValueError(f"x and y pair up subjects; got shapes {x.shape}, {y.shape}")
    if x.shape[-1] < minimum:
        raise ValueError(f"{x.shape[-1]} subjects; at least {minimum} are needed")
    for name, values in (("x", x), ("y", y)):
        n_missing = values.size - np.isfinite(values).sum()
        if n_missing:
            raise ValueError(
                f"{n_missing} of {values.size} values of {name} are missing or "
                "infinite; leave these subjects out of both first"
            )
    return x, y


def _require_level(level: float) -> None:
    """Refuse a level of confidence that is not between 0 and 1."""
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must be between 0 and 1")


def _pearson(x: NDArray, y: NDArray) -> NDArray | float:
    """Return the cosine of the deviations along the last axis."""
    x, y = _unit_deviations(x), _unit_deviations(y)
    return np.clip((x * y).sum(axis=-1), -1, 1)


def _unit_deviations(values: NDArray) -> NDArray:
    """Centre and scale to length one; nan where there is no spread beyond rounding."""
    deviations = values - values.mean(axis=-1, keepdims=True)
    length = np.linalg.norm(deviations, axis=-1, keepdims=True)
    constant = length <= TIE * np.linalg.norm(values, axis=-1, keepdims=True)
    return deviations / np.where(constant, np.nan, length)


def _blocks(n_rows: int, n_subjects: int) -> list[range]:
    """Split rows of `n_subjects` places, all of which at once would fill the memory."""
    size = max(1, BLOCK // n_subjects)
    return [range(start, min(start + size, n_rows)) for start in range(0, n_rows, size)]


def _without_each(statistic: Callable[[NDArray], NDArray], n_subjects: int) -> NDArray:
    """Return the statistic, as of `resample_people`, of all but each subject in turn."""
    others = np.arange(n_subjects - 1)
    return np.concatenate(
        [
            statistic(others + (others >= np.array(block)[:, np.newaxis]))
            for block in _blocks(n_subjects, n_subjects)
        ]
    )


def _accelerate(left_out: NDArray) -> float:
    """Return the acceleration from the statistics with each subject left out."""
    influence = left_out.mean() - left_out
    if np.ptp(influence) <= TIE:  # a perfect correlation, whoever is left out
        return 0.0
    return (influence**3).sum() / (6 * (influence**2).sum() ** 1.5)


def _standardise(values: NDArray) -> NDArray:
    """Divide deviations from the median by their median size.

    Where more than half of the values are the same, that is zero and the standard
    deviation takes its place.
    """
    deviations = values - np.median(values)
    spread = np.median(np.abs(deviations)) or values.std()
    if spread == 0:
        raise ValueError(f"all {len(values)} values are {values[0]}: no correlation")
    return deviations / spread


def _bend(values: NDArray, bend: float) -> NDArray:
    """Return deviations from a robust centre in robust spreads, held to -1 and 1."""
    n = values.shape[-1]
    deviations = values - np.median(values, axis=-1, keepdims=True)
    # Wilcox's text adds a half before rounding down; his programs, and so others', do not.
    place = int((1 - bend) * n) - 1
    spread = np.sort(np.abs(deviations), axis=-1)[..., place, np.newaxis]
    spread = np.where(spread > 0, spread, np.nan)
    scaled = deviations / spread
    inside = np.abs(scaled) <= 1
    # One step from the median towards the mean of what lies inside.
    tilt = (scaled > 1).sum(axis=-1) - (scaled < -1).sum(axis=-1)
    total = np.where(inside, scaled, 0.0).sum(axis=-1) + tilt
    step = total / np.maximum(inside.sum(axis=-1), 1)
    return np.clip(scaled - step[..., np.newaxis], -1, 1)


def _robust_centre(points: NDArray, rng: np.random.Generator) -> NDArray:
    """Return the centre of the half of the points, (n, 2), that lies closest."""
    from sklearn import config_context  # 1 s to import
    from sklearn.covariance import MinCovDet

    seed = int(rng.integers(2**31))
    # it would look for missing values in each of its hundreds of steps
    with warnings.catch_warnings(), config_context(assume_finite=True):
        # Tied ratings can put half of the points on a line: the covariance is then
        # singular, of which sklearn warns, but its centre is as good.
        warnings.simplefilter("ignore")
        return MinCovDet(random_state=seed).fit(points).location_


def _stand_out(points: NDArray) -> NDArray:
    """Find the outliers of centred points, (n, 2), on any line through the centre."""
    distance = np.linalg.norm(points, axis=1)
    lines = points[distance > 0] / distance[distance > 0, np.newaxis]
    far = np.sqrt(scipy.stats.chi2.ppf(0.975, 2))
    found = np.zeros(len(points), dtype=bool)
    for block in _blocks(len(lines), len(points)):
        projected = np.abs(lines[block.start : block.stop] @ points.T)
        low, high = _ideal_fourths(projected)
        limit = np.median(projected, axis=1) + far * (high - low)
        found |= (projected > limit[:, np.newaxis]).any(axis=0)
    return found


def _ideal_fourths(values: NDArray) -> tuple[NDArray, NDArray]:
    """Return the quartiles of each row by the ideal fourths (Frigge et al. 1989)."""
    values, n = np.sort(values, axis=1), values.shape[1]
    whole, part = divmod(n / 4 + 5 / 12, 1)
    j = int(whole)
    low = (1 - part) * values[:, j - 1] + part * values[:, j]
    high = (1 - part) * values[:, n - j] + part * values[:, n - j - 1]
    return low, high
