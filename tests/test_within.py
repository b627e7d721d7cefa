"""Trials within people against lmerTest, exact equivalents, published numbers and planted truth."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from handhold.errors import StudyError
from handhold.within import NOT_CAUSAL, fit_mixed, mediate, split_within, track_within

REFERENCE = Path(__file__).parent / "reference"
WITHIN = {"level": 0.95, "n_permutations": 199}
MEDIATION = {"held": "partner", "level": 0.95, "n_bootstrap": 999}


@pytest.fixture(scope="module")
def sample():
    return pd.read_csv(
        REFERENCE / "within_trials.tsv", sep="\t", dtype={"subject": str}
    )


def draw(rng, n_people=30, n_trials=12, slope=2.0, spread=1.0, between=-3.0, held=0.0):
    """Draw trials whose slope within people differs from that between them."""
    rows = []
    for person in range(n_people):
        trait, own = rng.normal(), slope + spread * rng.normal()
        for trial in range(n_trials):
            hand = trial % 2
            deviation = rng.normal() - held * hand
            rating = 50 + between * trait + own * deviation + 2 * rng.normal()
            condition = "partner" if hand else "alone"
            rows.append((f"{person:02}", condition, trait + deviation, rating))
    return pd.DataFrame(rows, columns=["subject", "condition", "effect", "rating"])


# --- The mixed model -------------------------------------------------------------------


def design(sample, name):
    within, between = split_within(sample["effect"], sample["subject"])
    one = np.ones(len(sample))
    held = (sample["condition"] == "partner").to_numpy(float)
    fixed = {"held": [one, within, between, held]}.get(name, [one, within, between])
    random = [one] if name == "constants" else [one, within]
    return np.column_stack(fixed), np.column_stack(random)


@pytest.mark.parametrize("name", ["slopes", "constants", "held"])
def test_fixed_effects_are_those_of_lmertest(sample, name):
    table = pd.read_csv(REFERENCE / "within_mixed.tsv", sep="\t")
    table = table[table["model"] == name]
    model = fit_mixed(sample["rating"], *design(sample, name), sample["subject"])
    # Both optimisers stop where -2 log REML is flat to 1e-9 or so, hence parameters to its
    # root; lmerTest's derivatives are numerical too.
    for column, ours in (
        ("estimate", model.estimate),
        ("error", model.error),
        ("df", model.df),
        ("t", model.t),
    ):
        assert ours == pytest.approx(table[column].to_numpy(), rel=1e-4), column
    assert np.log(model.p) == pytest.approx(np.log(table["p"].to_numpy()), rel=1e-3)
    assert np.sqrt(model.residual) == pytest.approx(table["sigma"].iloc[0], rel=1e-4)


def test_a_balanced_mixed_model_is_the_paired_t_test(rng):
    """Same trials for all, slope free over people: the exact equivalent is a t of means."""
    held = np.tile([0.0, 1.0], 60)
    subjects = np.repeat(np.arange(12), 10)
    own = 5 + 3 * rng.normal(size=(12, 2)) * [3, 1]
    rating = own[subjects, 0] + own[subjects, 1] * held + rng.normal(size=120)
    x = np.column_stack([np.ones(120), held])
    model = fit_mixed(rating, x, x, subjects)
    means = pd.Series(rating).groupby([subjects, held]).mean().unstack()
    test = stats.ttest_rel(means[1.0], means[0.0])
    assert model.t[1] == pytest.approx(test.statistic, rel=1e-4)
    assert model.df[1] == pytest.approx(11, rel=1e-3)
    assert model.p[1] == pytest.approx(test.pvalue, rel=1e-3)
    interval = test.confidence_interval(0.9)
    assert model.interval(1, 0.9) == pytest.approx(
        (interval.low, interval.high), rel=1e-3
    )


def test_a_spread_of_nothing_leaves_plain_regression(rng):
    x = np.column_stack([np.ones(60), rng.normal(size=60)])
    subjects = np.repeat(np.arange(10), 6)
    y = x @ [1.0, 2.0] + rng.normal(size=60)
    y -= (pd.Series(y - x @ [1.0, 2.0]).groupby(subjects).transform("mean")).to_numpy()
    model = fit_mixed(y, x, x[:, :1], subjects)
    assert model.spread[0, 0] < 1e-6
    assert model.estimate == pytest.approx(np.linalg.lstsq(x, y, rcond=None)[0])
    assert model.df == pytest.approx([58, 58], rel=0.02)


def test_published_relief_over_trials(shared_data):
    path = shared_data / "handholding_ratings" / "lopezsola2019_events.csv"
    if not path.is_file():
        pytest.skip(f"no {path.name}")
    trials = pd.read_csv(path)
    x = np.column_stack([np.ones(len(trials)), trials["handholding"]])
    model = fit_mixed(trials["rating"], x, x, trials["subject"])
    # Lopez-Sola et al. (2019): reduction 2.95, t(29) = 2.17, p = .038, in 30 x 16 trials.
    assert -model.estimate[1] == pytest.approx(2.95, abs=5e-3)
    assert -model.t[1] == pytest.approx(2.17, abs=5e-3)
    assert model.df[1] == pytest.approx(29, abs=0.05)
    assert model.p[1] == pytest.approx(0.038, abs=5e-4)


def test_what_cannot_be_fitted_is_refused(sample):
    fixed, random = design(sample, "slopes")
    rating, subjects = sample["rating"].to_numpy(), sample["subject"]
    for arguments, message in (
        ((rating[1:], fixed, random, subjects), "trials pair up"),
        ((rating * np.nan, fixed, random, subjects), "missing or infinite"),
        ((rating, np.hstack([fixed, fixed]), random, subjects), "repeat each other"),
        ((rating[:3], fixed[:3], random[:3], subjects[:3]), "3 trials do not tell 3"),
    ):
        with pytest.raises(ValueError, match=message):
            fit_mixed(*arguments)


# --- Within and between ----------------------------------------------------------------


def test_within_and_between_are_told_apart(rng):
    trials = draw(rng, n_people=40)
    found = track_within(trials, rng=rng, **WITHIN)
    assert (found.n_subjects, found.n_trials) == (40, 480)
    # Four standard errors by theory: people's slopes differ by 1, trials add 2 / sqrt(11).
    error = np.sqrt((1 + 4 / 11) / 40)
    assert abs(found.slope - 2) < 4 * error
    assert abs(found.between + 3) < 4 * np.sqrt((4 / 12 + (9 + 1) / 12) / 37)
    assert found.low < found.slope < found.high
    assert found.p < 1e-6
    assert found.p_permutation == 1 / 200
    assert 30 < found.df < 48
    # one regression over all trials would mix the two
    pooled = np.polyfit(trials["effect"], trials["rating"], 1)[0]
    assert abs(pooled - 2) > 4 * error


def test_a_bond_that_the_hand_makes_is_gone_at_equal_conditions(rng):
    trials = draw(rng, slope=0.0, spread=0.3, held=1.5)
    trials["rating"] -= 4.0 * (trials["condition"] == "partner")
    found = track_within(trials, rng=rng, **WITHIN)
    assert found.p < 0.001
    equal = track_within(trials, rng=rng, at_equal_conditions=True, **WITHIN)
    assert abs(equal.slope) < 4 * np.sqrt((0.09 + 4 / 10) / 30)


def test_trials_of_few_people_do_not_count_as_many(rng):
    """Slopes that differ over people but average zero: wrong as often as it says."""
    n_cohorts, wrong, flipped, pooled = 30, 0, 0, 0
    for _ in range(n_cohorts):
        trials = draw(rng, n_people=7, n_trials=8, slope=0.0, spread=4.0)
        found = track_within(trials, rng=rng, level=0.95, n_permutations=128)
        wrong += found.p <= 0.05
        flipped += found.p_permutation <= 0.05
        within, _ = split_within(trials["effect"], trials["subject"])
        pooled += stats.pearsonr(within, trials["rating"]).pvalue <= 0.05
    high = stats.binom.ppf(1 - 1e-4, n_cohorts, 0.05)
    assert wrong <= high
    assert flipped <= high
    assert pooled > high  # as if trials were people


def test_order_of_rows_does_not_matter(rng):
    trials = draw(rng, n_people=8)
    shuffled = trials.sample(frac=1, random_state=1)
    first, again = (
        track_within(table, rng=np.random.default_rng(1), **WITHIN)
        for table in (trials, shuffled)
    )
    assert again.slope == pytest.approx(first.slope, rel=1e-5)
    assert again.df == pytest.approx(first.df, rel=1e-3)


# --- Mediation -------------------------------------------------------------------------


def draw_mediation(rng, n_people, n_trials=20, bound=0.9):
    """Draw 1-1-1 mediation with mean paths .6, .6 and .2, and a and b that go together."""
    rows = []
    for person in range(n_people):
        z, other = rng.normal(size=2)
        a = 0.6 + 0.4 * z
        b = 0.6 + 0.4 * (bound * z + np.sqrt(1 - bound**2) * other)
        direct = 0.2 + 0.2 * rng.normal()
        trait = rng.normal(size=2)
        for trial in range(n_trials):
            hand = trial % 2
            effect = trait[0] + a * hand + 0.5 * rng.normal()
            rating = trait[1] + b * effect + direct * hand + 0.5 * rng.normal()
            rows.append((f"{person}", ["alone", "partner"][hand], effect, rating))
    return pd.DataFrame(rows, columns=["subject", "condition", "effect", "rating"])


def test_planted_paths_are_recovered_with_their_covariance(rng):
    found = mediate(draw_mediation(rng, 400), rng=rng, **MEDIATION)
    # Bauer et al. (2006), equation 7: the average indirect effect is a b + cov(a, b).
    covariance = 0.9 * 0.16
    truth = {"a": 0.6, "b": 0.6, "direct": 0.2, "indirect": 0.36 + covariance}
    truth["total"] = truth["direct"] + truth["indirect"]
    for name, value in truth.items():
        estimate, low, high = getattr(found, name)
        # the interval is about four standard errors wide
        assert abs(estimate - value) < high - low, name
    estimate, low, high = found.indirect
    assert high - low < covariance  # a b alone, .36, could not pass for it
    assert low > 0.36
    assert estimate == pytest.approx(
        found.a[0] * found.b[0] + found.covariance * 399 / 400
    )
    assert found.total[0] == pytest.approx(found.direct[0] + estimate)
    assert found.caution == NOT_CAUSAL
    assert "not a cause" in NOT_CAUSAL


def test_paths_of_each_person_are_least_squares(rng):
    trials = draw_mediation(rng, 8)
    found = mediate(trials, rng=rng, **MEDIATION)
    a, b = [], []
    for _, own in trials.groupby("subject"):
        hand = (own["condition"] == "partner").to_numpy(float)
        a.append(stats.linregress(hand, own["effect"]).slope)
        both = np.column_stack([np.ones(20), own["effect"], hand])
        b.append(np.linalg.lstsq(both, own["rating"], rcond=None)[0][1])
    assert found.a[0] == pytest.approx(np.mean(a))
    assert found.b[0] == pytest.approx(np.mean(b))
    assert found.indirect[0] == pytest.approx(np.mean(np.multiply(a, b)))


def test_without_mediation_the_interval_holds_zero_as_often_as_it_says(rng):
    n_cohorts, missed = 60, 0
    for _ in range(n_cohorts):
        trials = draw_mediation(rng, 20, n_trials=8)
        trials["effect"] = rng.normal(size=len(trials))  # neither a nor b
        _, low, high = mediate(trials, rng=rng, **{**MEDIATION, "n_bootstrap": 199}).b
        missed += not low <= 0 <= high
    # BCa in 20 people misses up to 8 % of the time rather than 5 (Efron 1987, table 5).
    assert missed <= stats.binom.ppf(1 - 1e-4, n_cohorts, 0.08)


# --- Refusals ----------------------------------------------------------------------------


def test_what_trials_do_not_allow_is_said_with_names(rng):
    trials = draw(rng, n_people=6, n_trials=4)
    one_sided = trials.copy()
    one_sided.loc[one_sided["subject"] == "03", "condition"] = "alone"
    with pytest.raises(
        StudyError, match=r"1 of 6 people .* with and without partner.*sub-03"
    ):
        mediate(one_sided, rng=rng, **MEDIATION)
    flat = trials.copy()
    flat.loc[flat["subject"] == "02", "effect"] = 1.0
    with pytest.raises(
        StudyError, match=r"1 of 6 people .* effects that differ: sub-02"
    ):
        track_within(flat, rng=rng, **WITHIN)
    gap = trials.copy()
    gap.loc[[0, 5], "rating"] = np.nan
    with pytest.raises(StudyError, match=r"2 of 24 trials .*\(sub-00, sub-01\)"):
        track_within(gap, rng=rng, **WITHIN)
    with pytest.raises(StudyError, match="no column rating"):
        track_within(trials.drop(columns="rating"), rng=rng, **WITHIN)
    few = trials[trials["subject"] < "05"]
    with pytest.raises(StudyError, match="5 people; at least 6"):
        track_within(few, rng=rng, **WITHIN)
