"""Estimates against R, MBESS, scipy, statsmodels and published tables."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW, ttost_paired

from handhold.estimate import detectable_dz, detectable_r, one_sample

REFERENCE = Path(__file__).parent / "reference"


def sample_with(t, n, seed=3):
    """Draw a sample whose one-sample t is exactly `t`."""
    values = np.random.default_rng(seed).normal(size=n)
    values = (values - values.mean()) / values.std(ddof=1)
    return 4 * (values + t / np.sqrt(n))


@pytest.fixture
def attenuation(rng):
    return rng.normal(0.2, 0.5, size=18)


def test_mean_and_t_are_those_of_scipy(attenuation):
    result = one_sample(attenuation, level=0.9, smallest_dz=0.3)
    test = stats.ttest_1samp(attenuation, 0)
    interval = test.confidence_interval(0.9)
    expected = (test.statistic, test.df, test.pvalue, interval.low, interval.high)
    ours = (result.t, result.df, result.p_t, result.low, result.high)
    assert ours == pytest.approx(expected, rel=1e-12)
    assert (result.n, result.mean) == (18, pytest.approx(attenuation.mean()))
    assert result.dz == pytest.approx(attenuation.mean() / attenuation.std(ddof=1))
    assert result.sd == pytest.approx(attenuation.std(ddof=1))


def test_interval_of_dz_against_r():
    for t, n, level, low, high in np.loadtxt(REFERENCE / "estimate_dz.tsv", skiprows=1):
        result = one_sample(sample_with(t, int(n)), level=level, smallest_dz=0.3)
        # uniroot stopped at 1e-10 and pt is good to 1e-12 or so.
        expected = np.array([low, high]) / np.sqrt(n)
        assert (result.dz_low, result.dz_high) == pytest.approx(expected, abs=1e-8)


def test_interval_of_dz_against_mbess():
    # conf.limits.nct(1.5, 98, .95) of the R package MBESS, as statsmodels quotes it; by
    # R's pt the second is 2e-6 too small.
    result = one_sample(sample_with(1.5, 99), level=0.95, smallest_dz=0.3)
    ours = np.array([result.dz_low, result.dz_high]) * np.sqrt(99)
    assert ours == pytest.approx([-0.474934, 3.467371], abs=3e-6)


@pytest.mark.parametrize("n", [3, 4, 6, 16, 300])
def test_g_is_dz_without_its_bias(n):
    # A true dz of 1 has the noncentrality sqrt(n); the mean of dz over samples is that
    # of the noncentral t over sqrt(n), and g must bring it back to 1.
    mean_dz = stats.nct.mean(n - 1, np.sqrt(n)) / np.sqrt(n)
    result = one_sample(sample_with(2.0, n), level=0.95, smallest_dz=0.3)
    g = np.array([result.hedges_g, result.g_low, result.g_high])
    dz = np.array([result.dz, result.dz_low, result.dz_high])
    assert g / dz * mean_dz == pytest.approx(np.ones(3), rel=1e-10)


@pytest.mark.parametrize("shift", [-0.3, 0.0, 0.05, 1.0])
def test_equivalence_is_that_of_statsmodels(attenuation, shift):
    values = attenuation - attenuation.mean() + shift
    bound = 0.4 * values.std(ddof=1)
    ours = one_sample(values, level=0.95, smallest_dz=0.4).p_tost
    assert ours == pytest.approx(DescrStatsW(values).ttost_mean(-bound, bound)[0])
    paired = ttost_paired(values, np.zeros(18), -bound, bound)[0]
    assert ours == pytest.approx(paired)


def test_everything_turns_with_the_sign(attenuation):
    ours, turned = (
        one_sample(sign * attenuation, level=0.95, smallest_dz=0.3) for sign in (1, -1)
    )
    for name in ("mean", "t", "dz", "hedges_g"):
        assert getattr(turned, name) == pytest.approx(-getattr(ours, name))
    for low, high in (("low", "high"), ("dz_low", "dz_high"), ("g_low", "g_high")):
        assert getattr(turned, low) == pytest.approx(-getattr(ours, high))
    for name in ("sd", "p_t", "p_tost"):
        assert getattr(turned, name) == pytest.approx(getattr(ours, name))


def test_very_large_effects_have_an_interval():
    # scipy's noncentral t is nan for some of these with a negative sign.
    for t, n in ((-20, 2), (-20, 3), (300, 4), (1000, 16)):
        result = one_sample(sample_with(t, n), level=0.999, smallest_dz=0.3)
        assert result.dz_low < result.dz < result.dz_high


def test_detectable_dz_against_r():
    table = np.loadtxt(REFERENCE / "estimate_power.tsv", skiprows=1)
    for n, power, alpha, dz in table:
        ours = detectable_dz(int(n), power=power, alpha=alpha)
        assert ours == pytest.approx(dz, abs=1e-8)


def test_detectable_effects_of_the_textbooks():
    # 34 subjects for dz = .5 (Faul et al., 2007) and 85 for r = .3 (Hulley et al.,
    # Designing clinical research, table 6C), at 80 % power and alpha .05.
    usual = {"power": 0.8, "alpha": 0.05}
    assert detectable_dz(34, **usual) <= 0.5 < detectable_dz(33, **usual)
    assert detectable_r(85, **usual) <= 0.3 < detectable_r(84, **usual)


def test_detectable_r_is_detected(rng):
    n, n_cohorts = 25, 4000
    r = detectable_r(n, power=0.8, alpha=0.05)
    x, noise = rng.normal(size=(2, n_cohorts, n))
    y = r * x + np.sqrt(1 - r**2) * noise
    p = stats.pearsonr(x, y, axis=1).pvalue
    # Four binomial errors, and one part in a hundred for Fisher's approximation.
    assert abs((p < 0.05).mean() - 0.8) < 4 * np.sqrt(0.16 / n_cohorts) + 0.01


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, np.nan, np.nan], "2 of 3 values are missing"),
        ([1.0], "2 or more"),
        ([[1.0, 2.0]], "2 or more"),
        ([0.5, 0.5, 0.5], "all 3 values are 0.5"),
    ],
)
def test_a_sample_without_an_answer_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        one_sample(values, level=0.95, smallest_dz=0.3)


def test_choices_without_an_answer_are_refused():
    values = [1.0, 2.0, 3.0]
    for message, call in (
        ("level is 95", lambda: one_sample(values, level=95, smallest_dz=0.3)),
        ("smallest_dz is 0", lambda: one_sample(values, level=0.95, smallest_dz=0)),
        ("n is 3", lambda: detectable_r(3, power=0.8, alpha=0.05)),
        ("n is 1", lambda: detectable_dz(1, power=0.8, alpha=0.05)),
        ("power is 80", lambda: detectable_dz(9, power=80, alpha=0.05)),
        ("without an effect", lambda: detectable_r(9, power=0.05, alpha=0.05)),
    ):
        with pytest.raises(ValueError, match=message):
            call()
