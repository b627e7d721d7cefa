"""Permutation tests of one-sample t, of correlation and of partial correlation.

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

# What is left of a variable of length one when others explain it, but for rounding.
COLLINEAR = 1e-7

# Cells of the largest array made at a time: under 1 MB of float64, which the cache holds.
BLOCK_CELLS = 100_000

# A test with fewer subjects has no spread to be judged against.
MINIMUM_SUBJECTS = 3


@dataclass(frozen=True)
class Judged:
    """What permutations say of each test.

    `p` (two-sided) and `p_fwe` (largest statistic over the tests) have shape (n_tests,)
    and are nan where a test could not be done. `n_permutations` counts the flips or
    permutations behind the p values; `exact` says that these were all.
    """

    p: NDArray
    p_fwe: NDArray
    n_permutations: int
    exact: bool


@dataclass(frozen=True)
class SignFlips(Judged):
    """One-sample `t` of each test, shape (n_tests,), judged by flipping signs."""

    t: NDArray


@dataclass(frozen=True)
class CorrelationPermutations(Judged):
    """Correlation `r` of each test, shape (n_tests,), judged by permuting subjects.

    Given covariates it is the partial correlation.
    """

    r: NDArray


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
        or without variance (a standard deviation below a millionth of the mean) is
        nan throughout and left out of the maximum.

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
    t, p, p_fwe = (_scatter(part, valid) for part in (t, p, p_fwe))
    return SignFlips(p, p_fwe, n_flips, exact, t)


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
    orders = _orders(len(y), n_orders, _block_rows(x.shape), None if exact else rng)
    # A permutation without a correlation counts as zero.
    nulls = (
        np.nan_to_num(np.abs(_correlate(y[block], directions, present)))
        for block in orders
    )
    p, p_fwe = _p_values(np.abs(r), nulls, exact)
    r, p, p_fwe = (_scatter(part, valid) for part in (r, p, p_fwe))
    return CorrelationPermutations(p, p_fwe, n_orders, exact, r)


def permute_residuals(
    x: NDArray,
    y: NDArray,
    covariates: NDArray,
    n_permutations: int,
    rng: np.random.Generator,
) -> CorrelationPermutations:
    """Test each column's partial correlation with `y` as Freedman and Lane do.

    Parameters
    ----------
    x : array, shape (n_subjects, n_tests)
        One number per subject and test, in any unit (attenuation, say). NaN is
        a subject who is missing from that one test.
    y : array, shape (n_subjects,)
        One number per subject (relief, say); none may be missing.
    covariates : array, shape (n_subjects, n_covariates) or (..., n_tests)
        What is held constant, for all tests or test by test (the third axis). A
        constant is added. NaN leaves the subject out of that test.
    n_permutations : int
        Number of random permutations. With n_subjects! permutations or fewer in
        existence, all are enumerated instead.
    rng : numpy.random.Generator
        Source of the random permutations; not used when all are enumerated.

    Returns
    -------
    CorrelationPermutations
        `r` is the partial correlation, positive where `x` rises with `y` at equal
        covariates. A test with fewer than two subjects more than coefficients, with
        covariates that repeat each other, or in which `x` or `y` does not vary beyond
        its covariates, is nan throughout and left out of the maximum.

    Raises
    ------
    ValueError
        If the shapes do not match, `y` holds NaN, anything is infinite, or
        `n_permutations` is less than one.

    Notes
    -----
    What the covariates leave of `y` is permuted, the fit put back, and both `x` and
    the covariates regressed again [1]_; the same permutations meet every test. Not
    exact, since residuals are estimates, but the closest to it of the known ways
    [2]_. The statistic is |t| of the coefficient of `x`, which allows for tests that
    differ in their number of subjects. Over the subjects of one test a permutation
    of all is the order in which it lists them, so that each is as likely as another.

    References
    ----------
    .. [1] Freedman & Lane (1983), J. Bus. Econ. Stat. 1(4), 292-298.
    .. [2] Winkler, Ridgway, Webster, Smith & Nichols (2014), NeuroImage 92, 381-397.

    Examples
    --------
    >>> covariate = np.array([[1.0], [2.0], [3.0], [4.0], [5.0]])
    >>> x = np.array([[2.0], [1.0], [4.0], [3.0], [6.0]])
    >>> y = np.array([1.0, 2.0, 5.0, 4.0, 8.0])
    >>> result = permute_residuals(x, y, covariate, 120, np.random.default_rng(1))
    >>> f"r = {result.r[0]:.2f}, p = {result.p[0]:.2f}, exact: {result.exact}"
    'r = 0.87, p = 0.17, exact: True'
    """
    x = _require_table(x, n_permutations)
    y = _require_outcome(y, len(x))
    covariates = _require_covariates(covariates, x)
    families = _families(x, y, covariates)
    r, df = np.full(x.shape[1], np.nan), np.ones(x.shape[1])
    for family in families:
        r[family.tests], df[family.tests] = family.r, family.df
    valid = ~np.isnan(r)

    exact = factorial(len(y)) <= n_permutations
    n_orders = factorial(len(y)) if exact else n_permutations
    orders = _orders(len(y), n_orders, _block_rows(x.shape), None if exact else rng)
    nulls = (_partial_nulls(block, families, x.shape[1])[:, valid] for block in orders)
    to_t = partial(_t_from_r, df=df[valid])
    p, p_fwe = _p_values(np.abs(r[valid]), nulls, exact, to_t)
    p, p_fwe = (_scatter(part, valid) for part in (p, p_fwe))
    return CorrelationPermutations(p, p_fwe, n_orders, exact, r)


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


def _require_covariates(covariates: NDArray, x: NDArray) -> NDArray:
    """Return `covariates` as float, (n_subjects, n_covariates, n_tests)."""
    covariates = np.asarray(covariates, dtype=float)
    n_subjects, n_tests = x.shape
    if covariates.ndim == 2:
        covariates = np.repeat(covariates[..., np.newaxis], n_tests, axis=2)
    if covariates.shape[::2] != x.shape or covariates.ndim != 3:
        raise ValueError(
            f"covariates have shape {covariates.shape}; expected {n_subjects} subjects x "
            f"covariates, or these x {n_tests} tests"
        )
    if np.isinf(covariates).any():
        raise ValueError(f"{np.isinf(covariates).sum()} covariates are infinite")
    return covariates


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
    if present.all():
        return y @ directions
    mask = present.astype(float)
    spread = (y**2) @ mask - _divide((y @ mask) ** 2, mask.sum(axis=0))
    return (y @ directions) / np.sqrt(np.where(spread > TIE, spread, np.nan))


def _orders(
    n_subjects: int, n_orders: int, n_rows: int, rng: np.random.Generator | None
) -> Iterator[NDArray]:
    """Yield blocks of orders of the subjects, shape (<= n_rows, n_subjects).

    Without an `rng` these are all orders.
    """
    everything = permutations(range(n_subjects))
    for start in range(0, n_orders, n_rows):
        n = min(n_rows, n_orders - start)
        if rng is None:
            yield np.array(list(islice(everything, n)))
        else:
            # The order of one draw a place: half the time of shuffling row by row.
            yield rng.random((n, n_subjects)).argsort(axis=1)


# --- partial correlations


@dataclass(frozen=True)
class _Family:
    """Tests over the same subjects with the same covariates, ready to be permuted.

    `axes` is what the covariates leave of each x, of length one, (n_present, n_tests);
    `residuals` what they leave of y, of length one; `basis` spans the covariates and
    the constant. The mask `present` marks their subjects among all.
    """

    tests: NDArray
    r: NDArray
    df: int
    axes: NDArray
    residuals: NDArray
    basis: NDArray
    present: NDArray

    def null(self, orders: NDArray) -> NDArray:
        """Return |partial r| under permutations of all subjects, (n_rows, n_tests)."""
        if not self.present.all():
            place = np.cumsum(self.present) - 1
            orders = place[orders[self.present[orders]].reshape(len(orders), -1)]
        # One product gives the share along each x, and what the covariates now explain.
        along = self.residuals[orders] @ np.hstack([self.axes, self.basis])
        n_tests = self.axes.shape[1]
        left = 1 - (along[:, n_tests:] ** 2).sum(axis=1, keepdims=True)
        # Where the covariates explain all of the permuted residuals, there is no r.
        scale = np.where(left > TIE, 1 / np.sqrt(np.maximum(left, TIE)), 0.0)
        return np.abs(along[:, :n_tests]) * scale


def _families(x: NDArray, y: NDArray, covariates: NDArray) -> list[_Family]:
    """Gather the tests that share subjects and covariates, and take these out."""
    present = ~(np.isnan(x) | np.isnan(covariates).any(axis=1))
    members: dict[bytes, list[int]] = {}
    for test in range(x.shape[1]):
        own = np.where(present[:, test, np.newaxis], covariates[..., test], 0.0)
        key = present[:, test].tobytes() + own.tobytes()
        members.setdefault(key, []).append(test)
    found = [
        _family(
            np.array(tests),
            x[:, tests],
            y,
            covariates[..., tests[0]],
            present[:, tests[0]],
        )
        for tests in members.values()
    ]
    return [family for family in found if family is not None]


def _family(
    tests: NDArray, x: NDArray, y: NDArray, covariates: NDArray, present: NDArray
) -> _Family | None:
    """Take the covariates, (n_subjects, n_covariates), out of `x` and `y`, if they can be."""
    x, y, covariates = x[present], y[present], covariates[present]
    df = len(y) - covariates.shape[1] - 2
    scaled = _deviation_directions(covariates) if df > 0 else np.full((1, 1), np.nan)
    if np.isnan(scaled).any() or _repeat_each_other(scaled):
        return None
    constant = np.full((len(y), 1), 1 / np.sqrt(len(y)))
    basis = np.hstack([constant, np.linalg.qr(scaled)[0]])
    axes, residuals = (
        _deviation_directions(_left_by(basis, _deviation_directions(values)))
        for values in (x, y[:, np.newaxis])
    )
    r = np.clip(residuals[:, 0] @ axes, -1, 1)
    axes = np.nan_to_num(axes)  # a test without r: its null is not looked at
    return (
        None
        if np.isnan(r).all()
        else _Family(tests, r, df, axes, residuals[:, 0], basis, present)
    )


def _repeat_each_other(directions: NDArray) -> bool:
    """Tell whether a column is, but for rounding, a sum of the others."""
    return np.linalg.matrix_rank(directions, tol=COLLINEAR) < directions.shape[1]


def _left_by(basis: NDArray, directions: NDArray) -> NDArray:
    """Return what `basis` leaves of columns of length one; nan where it is rounding."""
    left = directions - basis @ (basis.T @ directions)
    return np.where(np.linalg.norm(left, axis=0) > COLLINEAR, left, np.nan)


def _partial_nulls(orders: NDArray, families: list[_Family], n_tests: int) -> NDArray:
    """Return |partial r| of every test under one block of permutations."""
    nulls = np.zeros((len(orders), n_tests))
    for family in families:
        nulls[:, family.tests] = family.null(orders)
    return nulls


def _t_from_r(r: NDArray, df: NDArray) -> NDArray:
    """Return |t| of a partial correlation; infinite where r is 1."""
    with np.errstate(divide="ignore"):
        return r * np.sqrt(df / np.clip(1 - r**2, 0, None))


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
    threshold = observed - TIE
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
