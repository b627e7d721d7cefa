"""Permutation p values against exact enumeration in whole numbers, and scipy."""

import time
from fractions import Fraction
from itertools import permutations, product

import numpy as np
import pytest
from scipy import stats
from statsmodels.regression.linear_model import OLS

from handhold import permutation
from handhold.permutation import flip_signs, permute_correlations, permute_residuals

NAN = float("nan")
INFINITE = Fraction(10**9)  # beyond any t squared of these small whole numbers


def draw_whole_numbers(seed, n_subjects, n_tests, n_missing):
    """Draw small whole numbers, so that ties are common, with gaps."""
    rng = np.random.default_rng(seed)
    values = rng.integers(-3, 5, size=(n_subjects, n_tests)).astype(float)
    gaps = rng.choice(values.size, size=n_missing, replace=False)
    values.flat[gaps] = NAN
    return values


def judge_exactly(statistics):
    """Turn rows of statistics, the observed first, into p and family-wise p."""
    observed = statistics[0]
    p = [
        sum(row[test] >= observed[test] for row in statistics) / len(statistics)
        for test in range(len(observed))
    ]
    p_fwe = [
        sum(max(row) >= size for row in statistics) / len(statistics)
        for size in observed
    ]
    return p, p_fwe


def exact_t_squared(flip, values):
    """Return t squared of each column in exact arithmetic."""
    squares = []
    for column in values.T:
        pairs = [(s, int(v)) for s, v in zip(flip, column, strict=True) if v == v]
        n, total = len(pairs), sum(s * v for s, v in pairs)
        spread = n * sum(v * v for _, v in pairs) - total**2
        square = Fraction((n - 1) * total**2, spread) if spread else INFINITE
        squares.append(square)
    return squares


def exact_r_squared(y, x):
    """Return r squared of each column with y in exact arithmetic; 0 if undefined."""
    squares = []
    for column in x.T:
        pairs = [(int(a), int(b)) for a, b in zip(column, y, strict=True) if a == a]
        n = len(pairs)
        sum_x, sum_y = (sum(part) for part in zip(*pairs, strict=True))
        covariance = n * sum(a * b for a, b in pairs) - sum_x * sum_y
        spread_x = n * sum(a * a for a, _ in pairs) - sum_x**2
        spread_y = n * sum(b * b for _, b in pairs) - sum_y**2
        spread = spread_x * spread_y
        squares.append(Fraction(covariance**2, spread) if spread else Fraction(0))
    return squares


@pytest.mark.parametrize("n_missing", [0, 4])
@pytest.mark.parametrize("seed", range(8))
def test_enumerated_flips_equal_exact_arithmetic(seed, n_missing, rng):
    values = draw_whole_numbers(seed, n_subjects=7, n_tests=4, n_missing=n_missing)
    flips = product([1, -1], repeat=7)
    p, p_fwe = judge_exactly([exact_t_squared(flip, values) for flip in flips])

    result = flip_signs(values, n_permutations=128, rng=rng)

    assert result.exact
    assert result.n_permutations == 128
    assert result.p.tolist() == p
    assert result.p_fwe.tolist() == p_fwe


@pytest.mark.parametrize("n_missing", [0, 4])
@pytest.mark.parametrize("seed", range(8))
def test_enumerated_permutations_equal_exact_arithmetic(seed, n_missing, rng):
    x = draw_whole_numbers(seed, n_subjects=6, n_tests=4, n_missing=n_missing)
    # Ties in y, so that some permutations leave it constant where x has gaps.
    y = [0, 0, 0, 0, 2, 5]
    p, p_fwe = judge_exactly([exact_r_squared(order, x) for order in permutations(y)])

    result = permute_correlations(x, np.array(y), n_permutations=720, rng=rng)

    assert result.exact
    assert result.n_permutations == 720
    assert result.p.tolist() == p
    assert result.p_fwe.tolist() == p_fwe


def test_a_permutation_without_spread_counts_as_no_correlation(rng):
    x = np.array([[1, 2], [2, 1], [4, 3], [NAN, 5]])
    y = np.array([1.0, 0, 0, 0])
    # y is not 0 on one of the four subjects at a time, equally often. In the first
    # column r**2 is 16/28 (observed), 1/28 and 25/28, and in the fourth case nothing:
    # 2 in 4 are as large. In the second column it is 9, 49, 1 and 81 of 105: 3 in 4.
    result = permute_correlations(x, y, 24, rng)
    assert result.p.tolist() == [2 / 4, 3 / 4]


def test_t_and_r_are_those_of_scipy(rng):
    x, y = rng.normal(0.3, size=(20, 6)), rng.normal(size=20)
    x[rng.random(x.shape) < 0.2] = NAN
    x[:, 5] = 1e3 + 1e-2 * rng.normal(size=20)  # a mean that dwarfs its spread

    t = flip_signs(x, 99, rng).t
    r = permute_correlations(x, y, 99, rng).r

    expected = stats.ttest_1samp(x, 0, nan_policy="omit").statistic
    assert t == pytest.approx(np.asarray(expected), rel=1e-9)
    for test, column in enumerate(x.T):
        has = ~np.isnan(column)
        assert r[test] == pytest.approx(stats.pearsonr(column[has], y[has])[0])


def test_random_p_is_near_the_exact_one(rng):
    values, y = rng.normal(0.5, size=(7, 5)), rng.normal(size=7)
    n = 5000
    for judge, n_exact in (
        (lambda k: permute_correlations(values, y, k, rng), 5040),
        (lambda k: flip_signs(np.vstack([values, -values[:5]]), k, rng), 4096),
    ):
        exact, random = judge(n_exact), judge(min(n, n_exact - 1))
        assert exact.exact
        assert not random.exact
        for name in ("p", "p_fwe"):
            truth = getattr(exact, name)
            error = np.sqrt(truth * (1 - truth) / random.n_permutations)
            assert np.all(np.abs(getattr(random, name) - truth) <= 4 * error + 1 / n)


def test_smallest_random_p_counts_the_observed_data(rng):
    effect = 10 + rng.normal(size=(40, 1))
    assert flip_signs(effect, 999, rng).p == 1 / 1000
    assert permute_correlations(effect, effect[:, 0], 999, rng).p_fwe == 1 / 1000


def in_chance(n_found, n, probability):
    """Tell whether a count is one that a true probability gives, but for 1 in 5,000."""
    low, high = stats.binom.ppf([1e-4, 1 - 1e-4], n, probability)
    return low <= n_found <= high


def test_flips_are_wrong_as_often_as_they_say(rng):
    # Heavy tails, where a t-test is wrong less often than it says.
    values = rng.standard_t(2, size=(8, 4000))
    p = flip_signs(values, 256, rng).p
    assert in_chance((p <= 0.05).sum(), 4000, 12 / 256)


def test_permutations_are_wrong_as_often_as_they_say(rng):
    x, y = rng.exponential(size=(6, 4000)), rng.exponential(size=6)
    p = permute_correlations(x, y, 720, rng).p
    assert in_chance((p <= 0.05).sum(), 4000, 36 / 720)


@pytest.mark.parametrize("judge", ["flips", "permutations"])
def test_the_family_is_wrong_as_often_as_it_says(judge, rng):
    n_cohorts, n_subjects, n_tests = 1000, 20, 8
    n_found = 0
    for _ in range(n_cohorts):
        shared = rng.normal(size=(n_subjects, 1))
        values = shared + rng.normal(size=(n_subjects, n_tests))
        values[rng.random(values.shape) < 0.1] = NAN
        if judge == "flips":
            result = flip_signs(values, 199, rng)
        else:
            y = rng.exponential(size=n_subjects)
            result = permute_correlations(values, y, 199, rng)
        n_found += result.p_fwe.min() <= 0.05
    assert in_chance(n_found, n_cohorts, 0.05)


@pytest.mark.parametrize("n_subjects", [6, 15])  # all of them, and a random choice
@pytest.mark.parametrize("judge", ["flips", "permutations"])
def test_blocks_do_not_matter(judge, n_subjects, rng, monkeypatch):
    values, y = rng.normal(size=(n_subjects, 3)), rng.normal(size=n_subjects)

    def result():
        again = np.random.default_rng(5)
        if judge == "flips":
            return flip_signs(values, 720, again)
        return permute_correlations(values, y, 720, again)

    whole = result()
    assert whole.exact == (n_subjects == 6)
    monkeypatch.setattr(permutation, "BLOCK_CELLS", n_subjects * 7)
    blocks = result()
    assert blocks.p.tolist() == whole.p.tolist()
    assert blocks.p_fwe.tolist() == whole.p_fwe.tolist()


def test_a_test_that_cannot_be_done_leaves_the_others_alone(rng):
    good, y = rng.normal(0.4, size=(10, 2)), rng.normal(size=10)
    bad = np.full((10, 3), NAN)
    bad[:2, 1] = 1, 2  # two subjects
    bad[:, 2] = 0.1  # no spread
    values = np.column_stack([bad[:, 0], good[:, 0], bad[:, 1:], good[:, 1]])
    done = [False, True, False, False, True]
    for judge in (
        lambda v: flip_signs(v, 1024, rng),
        lambda v: permute_correlations(v, y, 300, np.random.default_rng(1)),
    ):
        result, alone = judge(values), judge(good)
        for name in ("p", "p_fwe"):
            assert np.isnan(getattr(result, name)).tolist() == [not d for d in done]
            expected = getattr(alone, name).tolist()
            assert getattr(result, name)[done].tolist() == expected


def test_nothing_to_test_is_nan_and_not_an_error(rng):
    x = np.full((5, 2), 3.0)
    assert np.isnan(flip_signs(x, 99, rng).p_fwe).all()
    assert np.isnan(permute_correlations(x, np.arange(5), 99, rng).r).all()
    y_constant = permute_correlations(rng.normal(size=(5, 2)), np.full(5, 0.1), 99, rng)
    assert np.isnan(y_constant.p).all()


def test_the_input_is_left_as_it_was(rng):
    x, y = rng.normal(size=(6, 3)), rng.normal(size=6)
    x[0, 0] = NAN
    x_before, y_before = x.copy(), y.copy()
    flip_signs(x, 20, rng)
    permute_correlations(x, y, 20, rng)
    assert np.array_equal(x, x_before, equal_nan=True)
    assert np.array_equal(y, y_before)


@pytest.mark.parametrize(
    ("values", "n", "message"),
    [
        (np.zeros(5), 99, "subjects x tests"),
        (np.zeros((0, 2)), 99, "subjects x tests"),
        (np.array([[1.0], [np.inf]]), 99, "1 values are infinite"),
        (np.ones((5, 1)), 0, "n_permutations is 0"),
    ],
)
def test_what_cannot_be_permuted_is_refused(values, n, message, rng):
    with pytest.raises(ValueError, match=message):
        flip_signs(values, n, rng)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros(4), "5 subjects"),
        (np.array([1, 2, 3, NAN, NAN]), "for 2 of 5"),
    ],
)
def test_a_missing_outcome_is_refused(y, message, rng):
    with pytest.raises(ValueError, match=message):
        permute_correlations(np.ones((5, 1)), y, 99, rng)


# --- Freedman and Lane


def partial_t(y, x, covariates):
    """Return |t| of x, with the covariates in the model, by least squares as it stands."""
    design = np.column_stack([x, np.ones(len(y)), covariates])
    fit, *_ = np.linalg.lstsq(design, y, rcond=None)
    residuals = y - design @ fit
    variance = residuals @ residuals / (len(y) - design.shape[1])
    error = np.sqrt(variance * np.linalg.inv(design.T @ design)[0, 0])
    return abs(fit[0]) / error


def freedman_lane(y, columns, covariates):
    """Return |t| of each test under every order: permute, put the fit back, fit again."""
    rows = []
    for order in permutations(range(len(y))):
        row = []
        for x, own in zip(columns.T, np.moveaxis(covariates, 2, 0), strict=True):
            has = ~(np.isnan(x) | np.isnan(own).any(axis=1))
            kept = [subject for subject in order if has[subject]]
            design = np.column_stack([np.ones(has.sum()), own[has]])
            fitted = design @ np.linalg.lstsq(design, y[has], rcond=None)[0]
            left = np.full(len(y), NAN)
            left[has] = y[has] - fitted
            row.append(partial_t(fitted + left[kept], x[has], own[has]))
        rows.append(row)
    return np.array(rows)  # the order as it is comes first


@pytest.mark.parametrize("n_missing", [0, 1])
@pytest.mark.parametrize("per_test", [False, True])
def test_freedman_lane_is_the_slow_way(rng, per_test, n_missing):
    n = 5 + n_missing
    x, y = rng.normal(size=(n, 3)), rng.normal(size=n)
    covariates = rng.normal(size=(n, 1, 3)) if per_test else rng.normal(size=(n, 1))
    if n_missing:
        x[2, 0] = NAN
        covariates[2, 0] = NAN
    full = covariates if per_test else np.repeat(covariates[..., None], 3, axis=2)
    t = freedman_lane(y, x, full)
    large = t >= t[0] * (1 - 1e-9)
    family = t.max(axis=1)[:, None] >= t[0] * (1 - 1e-9)

    result = permute_residuals(x, y, covariates, 720, rng)

    assert result.exact
    assert result.p == pytest.approx(large.mean(axis=0), abs=1e-12)
    assert result.p_fwe == pytest.approx(family.mean(axis=0), abs=1e-12)


def test_the_partial_r_is_that_of_statsmodels(rng):
    covariates = rng.normal(size=(20, 2))
    x = rng.normal(size=(20, 1)) + covariates[:, :1]
    y = 0.5 * x[:, 0] - covariates @ [1, 2] + rng.normal(size=20)
    fit = OLS(y, np.column_stack([np.ones(20), x, covariates])).fit()
    t, df = fit.tvalues[1], fit.df_resid
    found = permute_residuals(x, y, covariates, 99, rng).r[0]
    assert found == pytest.approx(t / np.sqrt(t**2 + df))


def test_what_is_held_constant_may_be_in_any_unit_and_mixture(rng):
    x, y, covariates = (
        rng.normal(size=(9, 2)),
        rng.normal(size=9),
        rng.normal(size=(9, 2)),
    )
    mixed = covariates @ [[1e6, 2.0], [3e6, -1.0]] + [5e6, 0]
    shifted = x + covariates[:, :1] * 7, 3 * y - 2 * covariates[:, 1] + 100
    before = permute_residuals(x, y, covariates, 199, np.random.default_rng(1))
    after = permute_residuals(*shifted, mixed, 199, np.random.default_rng(1))
    assert after.r == pytest.approx(before.r, abs=1e-8)
    assert after.p.tolist() == before.p.tolist()


def test_what_the_covariates_explain_is_not_tested(rng):
    covariates, y = rng.normal(size=(9, 2)), rng.normal(size=9)
    x = np.column_stack([rng.normal(size=9), covariates @ [2.0, 1.0], np.full(9, 0.1)])
    result = permute_residuals(x, y, covariates, 99, rng)
    assert np.isnan(result.p).tolist() == [False, True, True]
    assert np.isnan(result.p_fwe).tolist() == [False, True, True]
    for repeated in (np.column_stack([covariates, covariates[:, 0] * 2 + 1]), x):
        assert np.isnan(permute_residuals(x, y, repeated, 99, rng).r).all()
    explained = permute_residuals(x, covariates[:, 0] * 2, covariates, 99, rng)
    assert np.isnan(explained.r).all()
    few = permute_residuals(x[:4], y[:4], covariates[:4], 99, rng)  # no df left
    assert np.isnan(few.p).all()


def test_freedman_lane_is_wrong_as_often_as_it_says(rng):
    # Covariates that matter in both, skewed errors: shuffling y as it is would be wrong.
    n_found, n_naive, n_cohorts = 0, 0, 300
    for _ in range(n_cohorts):
        z = rng.normal(size=(20, 2))
        x = z[:, :1] + rng.normal(size=(20, 1))
        y = z @ [1.5, 1.0] + rng.exponential(size=20)
        n_found += permute_residuals(x, y, z, 199, rng).p[0] <= 0.05
        n_naive += permute_correlations(x, y, 199, rng).p[0] <= 0.05
    assert in_chance(n_found, n_cohorts, 0.05)
    assert n_naive > 0.4 * n_cohorts


@pytest.mark.parametrize(
    ("covariates", "message"),
    [
        (np.zeros((4, 1)), "expected 5 subjects"),
        (np.zeros(5), "expected 5 subjects"),
        (np.zeros((5, 1, 2)), "these x 1 tests"),
        (np.array([[1.0], [2], [3], [4], [np.inf]]), "1 covariates are infinite"),
    ],
)
def test_covariates_that_do_not_fit_are_refused(covariates, message, rng):
    with pytest.raises(ValueError, match=message):
        permute_residuals(np.ones((5, 1)), np.arange(5), covariates, 99, rng)


def test_a_whole_brain_takes_less_than_two_seconds(rng):
    values = rng.normal(size=(100, 500))
    start = time.process_time()
    flip_signs(values, 10_000, rng)
    assert time.process_time() - start < 2
