"""Bayes factors against BayesFactor (R), quadrature and theorems."""

from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import gammaln

from handhold import bayes
from handhold.bayes import bf10_range, correlation_bf10, ttest_bf10

REFERENCE = Path(__file__).parent / "reference"


def test_t_against_bayesfactor():
    table = np.genfromtxt(REFERENCE / "bayes_ttest.tsv", names=True)
    for t, n, scale, log_bf10 in table:
        # The tolerance to which R's integrate works; the next test is sharper.
        assert np.log(ttest_bf10(t, n, scale)) == pytest.approx(log_bf10, abs=1.2e-4)
    # Where R's quadrature has no trouble, it agrees closely.
    usual = table[(np.abs(table["t"]) <= 5) & (table["n"] >= 16)]
    ours = [ttest_bf10(t, n, scale) for t, n, scale, _ in usual]
    assert np.log(ours) == pytest.approx(usual["log_bf10"], abs=1e-7)


def test_examples_of_another_program():
    """Examples of pingouin's documentation: bayesfactor_ttest, bayesfactor_pearson (kappa 1)."""
    assert ttest_bf10(3.5, 20) == pytest.approx(17.185, abs=5e-4)
    assert correlation_bf10(0.6, 20, 1.0) == pytest.approx(10.634, abs=5e-4)


@pytest.mark.parametrize(
    ("t", "n", "scale"),
    [
        (0, 3, 0.7),
        (2, 2, 0.7),
        (10, 2, 1.4),
        (3, 16, 0.3),
        (40, 16, 1),
        (30, 1000, 0.7),
    ],
)
def test_t_against_quadrature(t, n, scale):
    def log_integrand(log_g):
        """Equation 1 of Rouder et al. (2009), over log g."""
        g, df = np.exp(log_g), n - 1
        width = 1 + n * g * scale**2
        likelihood = -np.log(width) / 2 - n / 2 * np.log1p(t**2 / (width * df))
        null = -n / 2 * np.log1p(t**2 / df)
        prior = -np.log(2 * np.pi) / 2 - 1.5 * log_g - 1 / (2 * g)
        return likelihood - null + prior + log_g

    grid = np.linspace(-5, 40, 2000)
    peak = grid[np.argmax(log_integrand(grid))]
    top = log_integrand(peak)
    parts = [
        quad(lambda s: np.exp(log_integrand(s) - top), *ends, epsabs=0, epsrel=1e-10)[0]
        for ends in ((-6, peak), (peak, peak + 5), (peak + 5, 90))
    ]
    expected = np.log(sum(parts)) + top
    assert np.log(ttest_bf10(t, n, scale)) == pytest.approx(expected, abs=1e-9)


def test_correlation_against_bayesfactor():
    table = np.genfromtxt(REFERENCE / "bayes_correlation.tsv", names=True)
    ours = [correlation_bf10(r, n, kappa) for r, n, kappa, _ in table]
    assert np.log(ours) == pytest.approx(table["log_bf10"], rel=1e-9, abs=1e-9)


def test_the_series_at_one_is_gausss():
    a, c = np.array([0.5, 1.0, 2.0, 3.0]), np.array([4.5, 4.5, 5.5, 7.0])
    expected = gammaln(c) + gammaln(c - 2 * a) - 2 * gammaln(c - a)
    assert bayes._log_2f1(a, c, np.ones(4)) == pytest.approx(expected, abs=1e-12)


def test_both_forms_of_the_series_meet():
    # 2 (1 / kappa + 1) subjects: to one side of them each form is used.
    below, at, above = correlation_bf10(0.6, [8 - 1e-9, 8, 8 + 1e-9])
    assert below == pytest.approx(at, rel=1e-8)
    assert above == pytest.approx(at, rel=1e-8)


def test_extreme_evidence_does_not_overflow():
    # Warnings are errors here. scipy's 2F1 is nan in the second and third.
    r = np.array([0.9, 0.95, 0.999, 1.0, 1.0])
    bf10 = correlation_bf10(r, np.array([500, 200, 3000, 20, 4]))
    assert np.isinf(bf10).tolist() == [False, False, True, True, False]
    assert np.isinf(ttest_bf10(100, 2000))
    assert 1e20 < ttest_bf10(1e12, 4) < np.inf  # grows as t**(n - 2)
    assert ttest_bf10(0, 10**6) < 0.01


def test_evidence_grows_with_the_effect_and_ignores_its_sign():
    r, t = np.linspace(0, 0.999, 60), np.linspace(0, 30, 60)
    for n in (4, 8, 9, 60):
        assert np.all(np.diff(correlation_bf10(r, n)) > 0)
        assert np.all(np.diff(ttest_bf10(t, n)) > 0)
        assert correlation_bf10(-r, n).tolist() == correlation_bf10(r, n).tolist()
        assert ttest_bf10(-t, n).tolist() == ttest_bf10(t, n).tolist()


def test_missing_stays_missing():
    for bf10 in (ttest_bf10, correlation_bf10):
        assert np.isnan(bf10([np.nan, 0.5], [10, 10])).tolist() == [True, False]
        assert np.isnan(bf10(0.5, np.nan))
        assert isinstance(bf10(0.5, 10), float)


@pytest.mark.parametrize("r", [1.01, -2])
def test_an_impossible_correlation_is_refused(r):
    with pytest.raises(ValueError, match="within -1 to 1"):
        correlation_bf10(r, 10)


def test_too_few_subjects_and_empty_priors_are_refused():
    for call in (
        lambda: ttest_bf10(1.0, 1),
        lambda: ttest_bf10(1.0, 10, scale=0),
        lambda: correlation_bf10(0.1, 2),
        lambda: correlation_bf10(0.1, 10, kappa=-1),
    ):
        with pytest.raises(ValueError, match="are needed"):
            call()


def test_the_range_is_that_of_the_widths():
    widths = [0.3, np.sqrt(2) / 2, 1.0, np.sqrt(2)]
    each = [ttest_bf10(2.2, 18, width) for width in widths]
    assert bf10_range(ttest_bf10, 2.2, 18, widths) == (min(each), max(each))
    one = correlation_bf10(0.3, 30, 0.5)
    assert bf10_range(correlation_bf10, 0.3, 30, [0.5]) == (one, one)
    assert np.isnan(bf10_range(ttest_bf10, np.nan, 18, widths)).all()
    with pytest.raises(ValueError, match="at least 1"):
        bf10_range(ttest_bf10, 2.2, 18, [])
