"""Permutation tests of one-sample t and of correlation, many regions at a time.

Every flip or permutation of the subjects is applied to all tests at once, so
that the largest statistic of each gives p values corrected for the family.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice, permutations
from math import factorial

import numpy as np
from numpy.typing import NDArray

# Both statistics are judged as a number between -1 and 1 (a cosine), so this
# tolerance is relative to the largest value that the data could give. Rounding
# moves a cosine of 1,000 subjects by about 1e-14; a real difference between two
# flips of measured values is far larger.
TIE = 1e-12

# Cells of the largest array made at a time: 4 MB of float64, which the cache likes.
BLOCK_CELLS = 500_000

# A test with fewer subjects has no spread to be judged against.
MINIMUM_SUBJECTS = 3


@dataclass(frozen=True)
class SignFlips:
    """One-sample t of each test, judged by flipping the sign of subjects.

    `t`, `p` (two-sided) and `p_fwe` (max-|t| over the tests) have shape
    (n_tests,) and are nan where a test could not be done. `n_permutations`
    counts the flips behind the p values; `exact` says that these were all.
    """

    t: NDArray
    p: NDArray
    p_fwe: NDArray
    n_permutations: int
    exact: bool


@dataclass(frozen=True)
class CorrelationPermutations:
    """Pearson r of each test, judged by permuting subjects.

    `r`, `p` (two-sided) and `p_fwe` (max-|r| over the tests) have shape
    (n_tests,) and are nan where a test could not be done. `n_permutations`
    counts the permutations behind the p values; `exact` says that these were all.
    """

    r: NDArray
    p: NDArray
    p_fwe: NDArray
    n_permutations: int
    exact: bool


def flip_signs(
    values: NDArray, n_permutations: int, rng: np.random.Generator
) -> SignFlips:
    """Test each column's mean against zero by flipping the sign of subjects.

    Parameters
    ----------
    values : array, shape (n_subjects, n_tests)
        One number per subject and test, in any unit (attenuation, say). NaN is
        a subject who is missing from that one test.
    n_permutations : int
        Number of random flips. With 2**n_subjects flips or fewer in existence,
        all are enumerated instead and p is exact.
    rng : numpy.random.Generator
        Source of the random flips; not used when p is exact.

    Returns
    -------
    SignFlips
        `t` is positive where the mean is. A test with fewer than three subjects
        or without variance is nan throughout and left out of the maximum.

    Raises
    ------
    ValueError
        If `values` is not two-dimensional, is empty or holds an infinite value, or
        `n_permutations` is less than one.

    Notes
    -----
    Exact if, without an effect, each subject's row of values is as likely as its
    negative; nothing is assumed about the correlation between tests [1]_. The
    same flips meet every test. A random p counts the observed data once, so the
    smallest is 1 / (n_permutations + 1) [2]_.

    References
    ----------
    .. [1] Nichols & Holmes (2002), Hum. Brain Mapp. 15(1), 1-25.
    .. [2] Phipson & Smyth (2010), Stat. Appl. Genet. Mol. Biol. 9(1), 39.

    Examples
    --------
    >>> values = np.array([[1.0], [2.0], [3.0]])
    >>> result = flip_signs(values, 1000, np.random.default_rng(1))
    >>> f"t = {result.t[0]:.2f}, p = {result.p[0]}, exact: {result.exact}"
    't = 3.46, p = 0.25, exact: True'
    """
    values = _require_table(values, n_permutations)
    n_subjects, n = len(values), (~np.isnan(values)).sum(axis=0)
    directions = _mean_directions(values)
    cosine = np.abs(directions.sum(axis=0))
    valid = (n >= MINIMUM_SUBJECTS) & (cosine < 1 - TIE)  # nan is not less

    exact = 2**n_subjects <= n_permutations
    n_flips = 2**n_subjects if exact else n_permutations
    n_rows = _block_rows(values.shape)
    flips = _flips(n_subjects, n_flips, n_rows, None if exact else rng)
    nulls = (np.abs(block @ directions[:, valid]) for block in flips)

    t = _one_sample_t(values[:, valid])
    to_t = partial(_t_from_cosine, n=n[valid])
    p, p_fwe = _p_values(cosine[valid], nulls, exact, to_t)
    return SignFlips(*(_scatter(part, valid) for part in (t, p, p_fwe)), n_flips, exact)


def permute_correlations(
    x: NDArray, y: NDArray, n_permutations: int, rng: np.random.Generator
) -> CorrelationPermutations:
    """Test each column's correlation with `y` by permuting subjects.

    Parameters
    ----------
    x : array, shape (n_subjects, n_tests)
        One number per subject and test, in any unit (attenuation, say). NaN is
        a subject who is missing from that one test. Ranks give Spearman.
    y : array, shape (n_subjects,)
        One number per subject (relief, say); none may be missing.
    n_permutations : int
        Number of random permutations. With n_subjects! permutations or fewer in
        existence, all are enumerated instead and p is exact.
    rng : numpy.random.Generator
        Source of the random permutations; not used when p is exact.

    Returns
    -------
    CorrelationPermutations
        `r` is positive where `x` rises with `y`, over the subjects whom the column
        has. A test with fewer than three subjects, or in which `x` or `y` does not
        vary, is nan throughout and left out of the maximum.

    Raises
    ------
    ValueError
        If the shapes do not match, `y` holds NaN, anything is infinite, or
        `n_permutations` is less than one.

    Notes
    -----
    `y` is permuted over all subjects and each column keeps its own gaps, so
    the number of subjects behind r stays the same. The test is exact if `y` is
    exchangeable given `x` *and its gaps*: p remains valid with missing values
    unless being missing itself goes with `y`. A permutation that leaves `y`
    constant over the subjects of a column counts as r = 0. Columns with fewer
    subjects have a wider null and so weigh more in the maximum.

    References
    ----------
    .. [1] Nichols & Holmes (2002), Hum. Brain Mapp. 15(1), 1-25.
    .. [2] Phipson & Smyth (2010), Stat. Appl. Genet. Mol. Biol. 9(1), 39.

    Examples
    --------
    >>> x, y = np.array([[1.0], [2.0], [4.0]]), np.array([1.0, 2.0, 3.0])
    >>> result = permute_correlations(x, y, 1000, np.random.default_rng(1))
    >>> f"r = {result.r[0]:.2f}, p = {result.p[0]:.2f}, exact: {result.exact}"
    'r = 0.98, p = 0.33, exact: True'
    """
    x = _require_table(x, n_permutations)
    y = _require_outcome(y, len(x))
    y = _deviation_directions(y[:, np.newaxis])[:, 0]
    directions, present = _deviation_directions(x), ~np.isnan(x)
    r = _correlate(y[np.newaxis], directions, present)[0]
    valid = (present.sum(axis=0) >= MINIMUM_SUBJECTS) & ~np.isnan(r)
    directions, present, r = directions[:, valid], present[:, valid], r[valid]

    exact = factorial(len(y)) <= n_permutations
    n_orders = factorial(len(y)) if exact else n_permutations
    orders = _permutations(y, n_orders, _block_rows(x.shape), None if exact else rng)
    # A permutation without a correlation counts as zero.
    nulls = (
        np.nan_to_num(np.abs(_correlate(block, directions, present)))
        for block in orders
    )
    p, p_fwe = _p_values(np.abs(r), nulls, exact)
    scattered = (_scatter(part, valid) for part in (r, p, p_fwe))
    return CorrelationPermutations(*scattered, n_orders, exact)


def _require_table(values: NDArray, n_permutations: int) -> NDArray:
    """Return `values` as float, or refuse what no permutation could judge."""
    values = np.asarray(values, dtype=float)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(
            f"expected subjects x tests, at least 1 x 1; got shape {values.shape}"
        )
    if np.isinf(values).any():
        raise ValueError(f"{np.isinf(values).sum()} values are infinite")
    if n_permutations < 1:
        raise ValueError(f"n_permutations is {n_permutations}; at least 1 is needed")
    return values


def _require_outcome(y: NDArray, n_subjects: int) -> NDArray:
    """Return `y` as float if it has one finite value for each subject."""
    y = np.asarray(y, dtype=float)
    if y.shape != (n_subjects,):
        raise ValueError(f"y has shape {y.shape}; x has {n_subjects} subjects")
    if not np.isfinite(y).all():
        raise ValueError(
            f"y is missing or infinite for {(~np.isfinite(y)).sum()} of {n_subjects} "
            "subjects; leave these subjects out of x and y first"
        )
    return y


def _fill(values: NDArray) -> tuple[NDArray, NDArray]:
    """Put zero where a value is missing; count the present ones per column."""
    present = ~np.isnan(values)
    return np.where(present, values, 0.0), present.sum(axis=0)


def _divide(numerator: NDArray, denominator: NDArray) -> NDArray:
    """Divide, with nan (and no warning) where the denominator is zero."""
    return numerator / np.where(denominator > 0, denominator, np.nan)


# --- sign flips


def _mean_directions(values: NDArray) -> NDArray:
    """Scale each column so that its flipped sum is the cosine with a constant.

    The sum of squares does not change under flips, so |t| grows with the |cosine|,
    and a matrix product gives the cosines of many flips at once.
    """
    filled, n = _fill(values)
    return _divide(filled, np.sqrt(n * (filled**2).sum(axis=0)))


def _t_from_cosine(cosine: NDArray, n: NDArray) -> NDArray:
    """Return t; infinite where a flip makes all values of a column the same."""
    with np.errstate(divide="ignore"):
        return cosine * np.sqrt((n - 1) / np.clip(1 - cosine**2, 0, None))


def _one_sample_t(values: NDArray) -> NDArray:
    """Return mean / standard error of each column without missing values.

    From deviations rather than from the cosine, which loses digits near 1.
    """
    filled, n = _fill(values)
    mean = filled.sum(axis=0) / n
    deviations = np.where(np.isnan(values), 0.0, values - mean)
    return mean / np.sqrt((deviations**2).sum(axis=0) / (n * (n - 1)))


def _flips(
    n_subjects: int, n_flips: int, n_rows: int, rng: np.random.Generator | None
) -> Iterator[NDArray]:
    """Yield blocks of +1 and -1, shape (<= n_rows, n_subjects).

    Without an `rng` these are all flips, counted out in binary.
    """
    bits = np.arange(n_subjects)
    for start in range(0, n_flips, n_rows):
        rows = np.arange(start, min(start + n_rows, n_flips))
        if rng is None:
            negative = (rows[:, np.newaxis] >> bits) & 1 == 1
        else:
            # One draw a sign, so that the answer does not depend on the blocks.
            negative = rng.random((len(rows), n_subjects)) < 0.5
        yield np.where(negative, -1.0, 1.0)


# --- correlations


def _deviation_directions(x: NDArray) -> NDArray:
    """Centre each column over its own subjects and scale it to length one.

    Zero where a value is missing; nan where a column does not vary.
    """
    filled, n = _fill(x)
    mean = _divide(filled.sum(axis=0), n)
    deviations = np.where(np.isnan(x), 0.0, x - mean)
    length = np.linalg.norm(deviations, axis=0)
    constant = length <= TIE * np.linalg.norm(filled, axis=0)
    return deviations / np.where(constant, np.nan, length)


def _correlate(y: NDArray, directions: NDArray, present: NDArray) -> NDArray:
    """Correlate rows of `y`, (n_rows, n_subjects), with columns over their subjects.

    `y` is centred and of length one over all subjects. The columns' deviations
    sum to zero, so that of `y` only the spread over the same subjects is needed.
    """
    mask = present.astype(float)
    spread = (y**2) @ mask - _divide((y @ mask) ** 2, mask.sum(axis=0))
    return (y @ directions) / np.sqrt(np.where(spread > TIE, spread, np.nan))


def _permutations(
    y: NDArray, n_permutations: int, n_rows: int, rng: np.random.Generator | None
) -> Iterator[NDArray]:
    """Yield blocks of permuted `y`, shape (<= n_rows, n_subjects).

    Without an `rng` these are all permutations.
    """
    orders = permutations(y)
    for start in range(0, n_permutations, n_rows):
        n = min(n_rows, n_permutations - start)
        if rng is None:
            yield np.array(list(islice(orders, n)))
        else:
            yield rng.permuted(np.tile(y, (n, 1)), axis=1)


# --- counting


def _block_rows(shape: tuple[int, int]) -> int:
    """Return how many flips or permutations to hold in memory at a time."""
    return max(1, BLOCK_CELLS // max(shape))


def _p_values(
    observed: NDArray,
    nulls: Iterator[NDArray],
    exact: bool,
    to_family: Callable[[NDArray], NDArray] = np.asarray,
) -> tuple[NDArray, NDArray]:
    """Count how often a null is as large as what was observed.

    Parameters
    ----------
    observed : array, shape (n_tests,)
        Size of each test's statistic as a cosine, from 0 to 1.
    nulls : iterator of arrays, shape (n_rows, n_tests)
        The same under flips or permutations.
    exact : bool
        Whether these are all that exist, with the observed data among them.
    to_family : callable
        Turns cosines into the statistic whose largest value judges the family;
        it must not decrease.

    Returns
    -------
    p, p_fwe : array, shape (n_tests,)
    """
    if observed.size == 0:
        return observed, observed
    threshold = np.clip(observed - TIE, 0, None)
    family_threshold = to_family(threshold)
    n = own = family = 0 if exact else 1
    for null in nulls:
        largest = to_family(null).max(axis=1, keepdims=True)
        n += len(null)
        own = own + (null >= threshold).sum(axis=0)
        family = family + (largest >= family_threshold).sum(axis=0)
    return own / n, family / n


def _scatter(values: NDArray, where: NDArray) -> NDArray:
    """Put `values` where the mask is true and nan elsewhere."""
    scattered = np.full(where.shape, np.nan)
    scattered[where] = values
    return scattered
