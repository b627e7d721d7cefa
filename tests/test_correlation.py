"""Correlations and their intervals against R, boot, scipy and pingouin."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from handhold import correlation
from handhold.correlation import (
    bca_interval,
    fisher_interval,
    leave_one_out_range,
    pearson,
    percentage_bend,
    skipped,
    spearman,
)

REFERENCE = Path(__file__).parent / "reference"


@pytest.fixture(scope="module")
def sample():
    """Load 25 subjects of a skewed x, and y with two outliers."""
    return np.loadtxt(REFERENCE / "correlation_sample.tsv", skiprows=1).T


def test_pearson_and_spearman_are_those_of_scipy(rng):
    x, y = rng.integers(0, 6, size=(2, 7, 20))
    for i in range(7):
        assert pearson(x, y)[i] == pytest.approx(stats.pearsonr(x[i], y[i])[0])
        assert spearman(x, y)[i] == pytest.approx(stats.spearmanr(x[i], y[i])[0])
        assert spearman(x[i], y)[i] == pytest.approx(stats.spearmanr(x[i], y[i])[0])


def test_rounding_does_not_carry_r_beyond_one(rng):
    x = rng.normal(size=(500, 7))
    assert np.abs(pearson(x, -3 * x)).max() <= 1


def test_a_constant_has_no_correlation(rng):
    x = rng.normal(size=(2, 9))
    x[0] = 0.1
    assert np.isnan(pearson(x, x[1])).tolist() == [True, False]
    assert np.isnan(spearman(x, x[1])).tolist() == [True, False]
    assert np.isnan(leave_one_out_range(x[0], x[1])).all()
    interval = bca_interval(x[0], x[1], pearson, n_bootstrap=100, level=0.9, rng=rng)
    assert np.isnan(interval).all()


def test_fisher_interval_is_that_of_r(sample):
    # cor.test(x, y)$conf.int, R 4.2.2
    low, high = fisher_interval(pearson(*sample), 25, 0.95)
    assert (low, high) == pytest.approx((0.129846714635577, 0.747080640490837))
    assert fisher_interval(1.0, 25, 0.95) == (1, 1)
    assert np.isnan(fisher_interval(np.nan, 25, 0.95)).all()


def test_bca_interval_is_that_of_boot(sample):
    table = np.genfromtxt(
        REFERENCE / "correlation_bca.tsv", names=True, dtype=None, encoding="utf-8"
    )
    n_runs, n_bootstrap, n_reference = 10, 20_000, 100_000
    for row in table[
        (table["method"] == "pearson") & (table["influence"] != "default")
    ]:
        runs = np.array(
            [
                bca_interval(
                    *sample,
                    pearson,
                    n_bootstrap=n_bootstrap,
                    level=row["level"],
                    rng=np.random.default_rng(seed),
                )
                for seed in range(n_runs)
            ]
        )
        # Monte Carlo error of one run, seen in the runs; of our mean and R's one run.
        error = runs.std(axis=0, ddof=1) * np.sqrt(
            1 / n_runs + n_bootstrap / n_reference
        )
        difference = np.abs(runs.mean(axis=0) - [row["low"], row["high"]])
        assert np.all(difference < 4 * error)


@pytest.mark.parametrize(
    # In eight subjects many resamples have the ranks of the sample itself.
    ("statistic", "n_subjects"),
    [(pearson, 25), (spearman, 25), (spearman, 8)],
)
def test_bca_interval_is_that_of_scipy(sample, statistic, n_subjects):
    sample = sample[:, -n_subjects:]

    # scipy draws the same resamples from the same seed, so that only the rule for
    # quantiles differs: by one place in the order, about 1 / (20,000 * density).
    def along_axis(x, y, axis):
        return statistic(np.moveaxis(x, axis, -1), np.moveaxis(y, axis, -1))

    expected = stats.bootstrap(
        sample,
        along_axis,
        n_resamples=20_000,
        paired=True,
        vectorized=True,
        confidence_level=0.95,
        method="BCa",
        rng=np.random.default_rng(8),
    ).confidence_interval
    ours = bca_interval(
        *sample,
        statistic,
        n_bootstrap=20_000,
        level=0.95,
        rng=np.random.default_rng(8),
    )
    assert ours == pytest.approx((expected.low, expected.high), abs=1e-3)


def test_resamples_without_a_correlation_are_left_out(rng):
    # Two of nine subjects differ: one resample in ten is constant, all others give 1.
    x = np.array([1.0, 2, 0, 0, 0, 0, 0, 0, 0])
    interval = bca_interval(x, 3 * x, pearson, n_bootstrap=999, level=0.95, rng=rng)
    assert interval == pytest.approx((1, 1))


def test_a_perfect_correlation_is_its_own_interval(rng):
    x = np.arange(8.0)
    for statistic in (pearson, spearman):
        interval = bca_interval(
            x, 3 * x, statistic, n_bootstrap=200, level=0.9, rng=rng
        )
        assert interval == pytest.approx((1, 1))


@pytest.mark.parametrize("seed", range(3))
def test_skipped_is_that_of_pingouin(seed):
    table = np.loadtxt(REFERENCE / "correlation_skipped.tsv")
    for number in range(4):
        x, y, outlier, r = table[table[:, 0] == number, 1:].T
        result = skipped(x, y, np.random.default_rng(seed))
        assert result.outliers.tolist() == outlier.astype(bool).tolist()
        assert result.n_outliers == outlier.sum()
        assert result.r == pytest.approx(r[0], abs=1e-12)


@pytest.mark.parametrize("n", [4, 5, 12, 31])
def test_ideal_fourths_lie_where_they_are_defined(n, rng):
    # Place n / 4 + 5 / 12 from either end (Frigge et al., 1989), interpolated.
    low, high = correlation._ideal_fourths(rng.permutation(np.arange(1.0, n + 1))[None])
    assert (low[0], high[0]) == pytest.approx((n / 4 + 5 / 12, 3 * n / 4 + 7 / 12))


def test_skipped_finds_planted_outliers_and_no_others(rng):
    x = rng.uniform(-1, 1, size=30)
    y = x + rng.uniform(-1, 1, size=30)
    clean = pearson(x, y)
    x[:3], y[:3] = 5, [-6, -7, -8]
    result = skipped(x, y, rng)
    assert np.flatnonzero(result.outliers).tolist() == [0, 1, 2]
    assert pearson(x, y) < 0 < clean
    assert result.r == pytest.approx(pearson(x[3:], y[3:]))


def test_skipped_does_not_depend_on_units(sample):
    x, y = sample
    ours = skipped(x, y, np.random.default_rng(1))
    scaled = skipped(1000 * x - 7, -y / 50, np.random.default_rng(1))
    assert scaled.outliers.tolist() == ours.outliers.tolist()
    assert scaled.r == pytest.approx(-ours.r)


def test_skipped_takes_ratings_that_mostly_agree(rng):
    # Most people report no relief: median deviation zero, a singular centre.
    attenuation = rng.normal(size=12)
    relief = np.array([0.0] * 7 + [1, 1, 2, 2, 3])
    assert -1 <= skipped(relief, attenuation, rng).r <= 1
    # When one does, that one stands out, and the others have nothing to correlate.
    relief = np.array([0.0] * 11 + [5])
    result = skipped(relief, attenuation, rng)
    assert result.outliers[11]
    assert np.isnan(result.r)
    # Most people alike in both: no spread to stand out from.
    with pytest.raises(ValueError, match="equal to 0"):
        skipped(relief, 2 * relief, rng)
    # All on one line: the centre's own search warns (and warnings are errors here).
    assert skipped(np.arange(9), 2 * np.arange(9), rng).r == pytest.approx(1)


# The documentation of pingouin.corr draws these 30 (numpy.random.seed(123), a bivariate normal)
# and two outliers, and prints r = 0.389 for percbend; here rounded to three places.
PINGOUIN_X = """
4.442 4.508 3.675 12 3.337 4.635 3.028 4.602 0.996 2.937 2.616 4.223 5.405 3.929 4.552
5.621 5.884 3.284 3.653 4.62 5.561 4.052 3.713 1.722 2.033 5.64 2.889 3.44 2.351 2.17
"""
PINGOUIN_Y = """
7.439 5.002 7.327 7.887 4.47 -8 4.389 6.167 5.183 5.324 6.107 7.398 6.767 4.5 5.69
4.822 7.184 5.11 6.342 6.904 5.834 6.625 5.701 4.135 6.271 6.601 4.091 6.509 6.106 5.239
"""


def test_percentage_bend_of_a_published_example():
    x, y = (np.array(text.split(), dtype=float) for text in (PINGOUIN_X, PINGOUIN_Y))
    assert percentage_bend(x, y) == pytest.approx(0.389, abs=5e-4)


def test_percentage_bend_is_that_of_pingouin():
    samples = np.loadtxt(REFERENCE / "correlation_skipped.tsv")
    for number, bend, r in np.loadtxt(REFERENCE / "correlation_bend.tsv"):
        x, y = samples[samples[:, 0] == number, 1:3].T
        assert percentage_bend(x, y, bend) == pytest.approx(r, abs=1e-12)
        many = percentage_bend(np.stack([x, -x]), y, bend)
        assert many == pytest.approx([r, -r], abs=1e-12)


def test_percentage_bend_is_held_by_no_single_value(sample):
    x, y = sample
    far, farther = (percentage_bend(x, np.append(y[:-1], last)) for last in (1e3, 1e6))
    assert far == pytest.approx(farther, abs=1e-9)
    assert np.isnan(percentage_bend([0.0, 0, 0, 0, 0, 1], [1.0, 2, 3, 4, 5, 6]))
    with pytest.raises(ValueError, match=r"bend is 0\.5"):
        percentage_bend(x, y, 0.5)


def test_leave_one_out_is_the_slow_way(sample):
    x, y = sample
    r = [stats.pearsonr(np.delete(x, i), np.delete(y, i))[0] for i in range(25)]
    assert leave_one_out_range(x, y) == pytest.approx((min(r), max(r)))


def test_no_result_depends_on_how_many_resamples_are_held_at_once(sample, monkeypatch):
    x, y = sample

    def found():
        rng = np.random.default_rng(1)
        low, high = bca_interval(x, y, pearson, n_bootstrap=501, level=0.9, rng=rng)
        # what is drawn next is the same too
        return low, high, *leave_one_out_range(x, y), rng.random()

    at_once = found()
    monkeypatch.setattr(correlation, "BLOCK", 7 * len(x))
    assert found() == at_once


def call_all(x, y):
    rng = np.random.default_rng(1)
    yield lambda: pearson(x, y)
    yield lambda: spearman(x, y)
    yield lambda: skipped(x, y, rng)
    yield lambda: leave_one_out_range(x, y)
    yield lambda: bca_interval(x, y, pearson, n_bootstrap=200, level=0.9, rng=rng)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1, 2, 3], [1, 2, 4], "3 subjects"),
        ([1, 2, 3, 4, np.nan], [1, 2, 4, 5, 6], "1 of 5 values of x"),
        ([1, 2, 3, 4, 5], [np.inf, 2, 4, 5, np.nan], "2 of 5 values of y"),
        ([1, 2, 3, 4, 5], [1, 2, 4, 5], "pair up"),
    ],
)
def test_what_cannot_be_correlated_is_refused(x, y, message):
    for call in call_all(np.array(x), np.array(y)):
        with pytest.raises(ValueError, match=message):
            call()


def test_choices_without_an_answer_are_refused(rng):
    x = np.arange(6.0)
    for message, call in (
        ("level is 95", lambda: fisher_interval(0.5, 10, 95)),
        ("n is 3", lambda: fisher_interval(0.5, 3, 0.95)),
        ("r is 1.5", lambda: fisher_interval(1.5, 10, 0.95)),
        (
            "n_bootstrap is 9",
            lambda: bca_interval(x, x, pearson, n_bootstrap=9, level=0.9, rng=rng),
        ),
        ("no correlation", lambda: skipped(x, np.ones(6), rng)),
        ("one sample", lambda: skipped(np.stack([x, x]), x, rng)),
    ):
        with pytest.raises(ValueError, match=message):
            call()
