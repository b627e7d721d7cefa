"""Trials within people against lmerTest, exact equivalents, published numbers and planted truth."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from handhold.errors import StudyError
from handhold.mixed import fit_mixed
from handhold.verdicts import judge_within
from handhold.within import NOT_CAUSAL, assess_within, mediate, track_within
from rules import THRESHOLDS

REFERENCE = Path(__file__).parent / "reference"
MEDIATION = {"held": "partner", "level": 0.95, "n_bootstrap": 999}


@pytest.fixture(scope="module")
def sample():
    return pd.read_csv(
        REFERENCE / "within_trials.tsv", sep="\t", dtype={"subject": str}
    )


def draw(rng, n_people=30, n_trials=6, slope=2.0, spread=1.0, between=-3.0, moved=0.0):
    """Draw trials whose slope within people differs from that between them.

    With `moved` the hand lowers effect and rating, in some people more than in others.
    """
    rows = []
    for person in range(n_people):
        trait, own, touched = rng.normal(), slope + spread * rng.normal(), rng.normal()
        for hand, condition in enumerate(("alone", "partner")):
            lowered = moved * hand * (1 + touched)
            for trial in range(n_trials):
                deviation = rng.normal()
                rating = 50 + between * trait + own * deviation + 2 * rng.normal()
                effect = trait + deviation - lowered
                row = (condition, condition, float(trial), effect, rating - lowered)
                rows.append((f"{person:02}", *row))
    columns = ["subject", "condition", "block", "time", "effect", "rating"]
    return pd.DataFrame(rows, columns=columns)


# --- The mixed model -------------------------------------------------------------------


def design(sample, name):
    means = sample.groupby("subject")["effect"].transform("mean")
    within = sample["effect"] - means
    between = means - sample.groupby("subject")["effect"].mean().mean()
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


def draw_slopes(rng, spread, n_people=15, n_trials=24):
    """Draw trials whose slopes vary over people about 0, with as much of x in each person."""
    x = rng.normal(size=(n_people, n_trials))
    x /= np.sqrt((x**2).mean(axis=1, keepdims=True))
    y = spread * rng.normal(size=(n_people, 1)) * x + rng.normal(size=x.shape)
    return x, y, np.repeat(np.arange(n_people), n_trials)


@pytest.mark.parametrize(
    ("spread", "expected"),
    [(0.0, {True, False}), (0.15, {True, False}), (0.3, {True}), (3.0, {True})],
)
def test_slopes_that_vary_are_judged_over_people(rng, spread, expected):
    """At as much of x in each person the exact answer is an analysis of variance of slopes."""
    kinds = set()
    for _ in range(8):
        x, y, subjects = draw_slopes(rng, spread)
        slopes = (x * y).sum(axis=1) / 24
        between = 24 * slopes.var(ddof=1)
        within = ((y - slopes[:, np.newaxis] * x) ** 2).sum()
        vary = between > within / (15 * 24 - 15)
        # Slopes less alike than chance makes them: t over people; else all trials are pooled.
        square, df = (between, 14) if vary else ((within + 14 * between) / 359, 359)
        column = x.reshape(-1, 1)
        model = fit_mixed(y.ravel(), column, column, subjects)
        assert model.estimate[0] == pytest.approx(slopes.mean())
        # The criterion is found flat to 1e-12 or so, hence the ratio of variances to its root.
        assert model.error[0] == pytest.approx(np.sqrt(square / 360), rel=1e-5)
        # Derivatives are numerical, with steps of 1e-3.
        assert model.df[0] == pytest.approx(df, rel=1e-2)
        kinds.add(bool(vary))
    assert kinds == expected  # so that both answers were asked for


@pytest.mark.parametrize("spread", [0.15, 0.3])
def test_slopes_that_vary_are_those_of_statsmodels(rng, spread):
    for _ in range(3):
        x, y, subjects = draw_slopes(rng, spread)
        x = (x * np.linspace(0.5, 1.5, 15)[:, np.newaxis]).reshape(-1, 1)
        with warnings.catch_warnings():
            # It warns of a variance of zero, which is an answer.
            warnings.simplefilter("ignore", ConvergenceWarning)
            expected = MixedLM(y.ravel(), x, subjects, exog_re=x).fit(
                reml=True, method="powell", ftol=1e-14
            )
        # Its own errors count the variances' too; lme4's take them as known.
        alike = (subjects[:, np.newaxis] == subjects) * expected.cov_re[0, 0]
        covariance = alike * (x @ x.T) + expected.scale * np.eye(len(x))
        error = 1 / np.sqrt(x[:, 0] @ np.linalg.solve(covariance, x[:, 0]))
        model = fit_mixed(y.ravel(), x, x, subjects)
        # Both stop where the criterion is flat to 1e-9 or so, hence variances to its root.
        assert model.error[0] == pytest.approx(error, rel=1e-4)
        assert abs(model.estimate[0] - expected.params[0]) < 1e-4 * error


@pytest.mark.parametrize(("of_x", "of_y"), [(1e-3, 1.0), (1e3, 1e-4), (1.0, 1e5)])
def test_units_do_not_matter(rng, sample, of_x, of_y):
    x, y, subjects = draw_slopes(rng, 0.3)
    column = x.reshape(-1, 1)
    fixed, random = design(sample, "slopes")
    units, random_units = np.array([1, of_x, of_x]), np.array([1, of_x])
    for model, scaled, size, random_size in (
        (
            fit_mixed(y.ravel(), column, column, subjects),
            fit_mixed(y.ravel() * of_y, column * of_x, column * of_x, subjects),
            *(np.array([of_x]), np.array([of_x])),
        ),
        (
            fit_mixed(sample["rating"], fixed, random, sample["subject"]),
            fit_mixed(
                sample["rating"] * of_y,
                fixed * units,
                random * random_units,
                sample["subject"],
            ),
            *(units, random_units),
        ),
    ):
        # Rounding alone differs, and makes a search stop at other digits that do not count.
        assert scaled.estimate == pytest.approx(of_y * model.estimate / size, rel=1e-6)
        assert scaled.error == pytest.approx(of_y * model.error / size, rel=1e-6)
        assert scaled.df == pytest.approx(model.df, rel=1e-5)
        assert scaled.p == pytest.approx(model.p, rel=1e-5)
        assert scaled.residual == pytest.approx(of_y**2 * model.residual, rel=1e-5)
        spread = of_y**2 * model.spread / np.outer(random_size, random_size)
        assert scaled.spread == pytest.approx(spread, rel=1e-4)


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
    found = track_within(trials, level=0.95)
    assert (len(found.people), found.n_trials) == (40, 480)
    # Four standard errors by theory: people's slopes differ by 1; trials add 2 over the root of
    # the nine that two blocks and a trend leave.
    error = np.sqrt((1 + 4 / 9) / 40)
    assert abs(found.slope - 2) < 4 * error
    # A person's mean effect is a trait and noise of 1 / 12; so that the slope is less steep.
    expected = (-3 + 2 / 12) / (1 + 1 / 12)
    residual = (9 * (1 / 12) + 4 / 12 + 5 / 12) / (1 + 1 / 12)
    assert abs(found.between - expected) < 4 * np.sqrt(residual / 37)
    assert found.low < found.slope < found.high
    assert found.p < 1e-6
    assert 30 < found.df < 48
    # one regression over all trials would mix the two
    pooled = np.polyfit(trials["effect"], trials["rating"], 1)[0]
    assert abs(pooled - 2) > 4 * error


def test_slopes_of_people_are_least_squares(rng):
    trials = draw(rng, n_people=7)
    found = track_within(trials, level=0.95)
    for slope, (_, own) in zip(found.slopes, trials.groupby("subject"), strict=True):
        hand = (own["condition"] == "partner").to_numpy(float)
        others = [np.ones(12), hand, own["time"]]
        x = np.column_stack([own["effect"], *others])
        expected = np.linalg.lstsq(x, own["rating"], rcond=None)[0][0]
        assert slope == pytest.approx(expected)


def test_slope_is_that_of_statsmodels_with_every_block_as_a_term(rng):
    """REML with a constant per run and a trend per person, neither of them projected out."""
    trials = draw(rng, n_people=10, spread=1.5)
    trials = trials.drop(index=[3, 40, 41, 77])  # people need not be balanced
    blocks = pd.get_dummies(trials["subject"] + trials["block"], dtype=float)
    means = trials.groupby(["subject", "block"])["time"].transform("mean")
    trends = pd.get_dummies(trials["subject"], dtype=float).mul(
        trials["time"] - means, axis=0
    )
    x = trials[["effect"]].to_numpy()
    model = MixedLM(
        trials["rating"].to_numpy(),
        np.column_stack([x, blocks, trends]),
        trials["subject"].to_numpy(),
        exog_re=x,
    ).fit(reml=True)
    found = track_within(trials, level=0.95)
    assert found.slope == pytest.approx(model.params[0], rel=1e-3)
    assert found.slope / found.t == pytest.approx(model.bse[0], rel=1e-2)


def test_a_bond_that_the_hand_makes_is_none_between_trials(rng):
    trials = draw(rng, n_people=60, slope=0.0, spread=0.3, moved=1.5)
    people = trials["subject"]
    x, y = (
        trials[name] - trials.groupby(people)[name].transform("mean")
        for name in ("effect", "rating")
    )
    assert np.polyfit(x, y, 1)[0] > 0.3  # centred at the person: tracking, not trials
    found = track_within(trials, level=0.95)
    assert abs(found.slope) < 4 * np.sqrt((0.09 + 4 / 9) / 60)


def test_a_trend_over_the_run_is_none_between_trials(rng):
    trials = draw(rng, n_people=40, n_trials=12, slope=0.0, spread=0.0)
    trials["effect"] -= 0.5 * trials["time"]
    trials["rating"] -= 2.0 * trials["time"]
    found = track_within(trials, level=0.95)
    assert abs(found.slope) < 4 * np.sqrt(4 / 21 / 40)


def test_the_share_between_people_is_what_was_planted(rng):
    trials = draw(rng, n_people=400, slope=0.0, spread=0.0)
    found = track_within(trials, level=0.95)
    # Fisher's standard error of an intraclass correlation of 12 trials
    for share, icc in ((1 / 2, found.icc_effect), (9 / 13, found.icc_rating)):
        error = (1 - share) * (1 + 11 * share) / np.sqrt(12 * 11 / 2 * 400)
        assert abs(icc - share) < 4 * error


NULLS = ("independent", "quiet", "tracking", "trend", "slopes", "slight slopes", "runs")


def calibration():
    """Return rejection rates by world and test, and what .05 and .07 seldom exceed (1 in 1,000).

    How cohorts were drawn is in within_calibration.py.
    """
    table = pd.read_csv(REFERENCE / "within_calibration.tsv", sep="\t")
    table = table.set_index(["world", "test"])
    assert table["n_cohorts"].xs("slope, sign flips", level="test").min() >= 500
    high, wide = (
        stats.binom.ppf(1 - 1e-3, table["n_cohorts"], p) / table["n_cohorts"]
        for p in (0.05, 0.07)
    )
    return table["rate"], high, wide


def test_rejections_without_a_bond_are_as_many_as_said():
    rate, high, _ = calibration()
    for world in NULLS:
        for test in ("slope, sign flips", "slope, Satterthwaite"):
            assert rate[world, test] <= high[world, test], (world, test)
    # What the table is for: the usual ways would not do.
    assert rate["tracking", "centred at the person"] > 0.3
    assert rate["trend", "pooled"] > 0.3


def test_order_of_rows_does_not_matter(rng):
    trials = draw(rng, n_people=8)
    first, again = (
        track_within(table, level=0.95)
        for table in (trials, trials.sample(frac=1, random_state=1))
    )
    assert again.slope == pytest.approx(first.slope, rel=1e-5)
    assert again.df == pytest.approx(first.df, rel=1e-3)


# --- Mediation -------------------------------------------------------------------------


def draw_mediation(rng, n_people, n_trials=10, bound=0.9):
    """Draw 1-1-1 mediation with mean paths .6, .6 and .2, and a and b that go together."""
    rows = []
    for person in range(n_people):
        z, other = rng.normal(size=2)
        a = 0.6 + 0.4 * z
        b = 0.6 + 0.4 * (bound * z + np.sqrt(1 - bound**2) * other)
        direct = 0.2 + 0.2 * rng.normal()
        trait = rng.normal(size=2)
        for hand, condition in enumerate(("alone", "partner")):
            for trial in range(n_trials):
                effect = trait[0] - a * hand + 0.5 * rng.normal()
                rating = trait[1] + b * effect - direct * hand + 0.5 * rng.normal()
                row = (condition, condition, float(trial), effect, rating)
                rows.append((f"{person}", *row))
    columns = ["subject", "condition", "block", "time", "effect", "rating"]
    return pd.DataFrame(rows, columns=columns)


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
    assert estimate == pytest.approx(found.products.mean())
    assert found.caution == NOT_CAUSAL
    assert "not a cause" in NOT_CAUSAL


def test_paths_of_each_person_are_least_squares(rng):
    trials = draw_mediation(rng, 8)
    found = mediate(trials, rng=rng, **MEDIATION)
    a, b = [], []
    for _, own in trials.groupby("subject"):
        alone = (own["condition"] == "alone").to_numpy(float)
        others = [np.ones(20), alone, own["time"]]
        a.append(np.linalg.lstsq(np.column_stack(others), own["effect"])[0][1])
        both = np.column_stack([own["effect"], *others])
        b.append(np.linalg.lstsq(both, own["rating"], rcond=None)[0][0])
    assert found.a[0] == pytest.approx(np.mean(a))
    assert found.b[0] == pytest.approx(np.mean(b))
    assert found.indirect[0] == pytest.approx(np.mean(np.multiply(a, b)))


def draw_runs(rng, n_people):
    """Draw two runs a condition of unequal length, both lower in the second, by 1 SD."""
    rows = []
    for person in range(n_people):
        for hand, condition in enumerate(("alone", "partner")):
            for run, n_trials in enumerate((14, 10)):
                effect, rating = rng.normal(size=(2, n_trials)) - run - 0.7 * hand
                for trial in range(n_trials):
                    row = (run, float(trial), effect[trial], rating[trial])
                    rows.append((f"{person:02}", condition, *row))
    columns = ["subject", "condition", "block", "time", "effect", "rating"]
    return pd.DataFrame(rows, columns=columns)


def test_a_drift_over_runs_is_no_mediation(rng):
    found = mediate(draw_runs(rng, 40), rng=rng, **MEDIATION)
    # Four standard errors: a person's 48 trials leave 42 beside b, four runs, a trend.
    assert abs(found.b[0]) < 4 * np.sqrt(1 / 42 / 40)
    # of a run's mean at 14 or 10 trials, and a's spread over people is that alone
    error = np.sqrt((1 / 14 + 1 / 10) / 2 / 40)
    assert abs(found.a[0] - 0.7) < 4 * error
    assert abs(found.total[0] - 0.7) < 4 * error
    assert found.total[0] == pytest.approx(found.direct[0] + found.indirect[0])


def test_paths_beside_runs_are_least_squares(rng):
    """Paths at a free constant per run; a and total are differences of means over runs."""
    trials = draw_runs(rng, 8)
    found = mediate(trials, rng=rng, **MEDIATION)
    paths = []
    for _, own in trials.groupby("subject"):
        runs = pd.get_dummies(own["condition"] + own["block"].astype(str), dtype=float)
        own_time = own["time"] - own.groupby(["condition", "block"])["time"].transform(
            "mean"
        )
        x = np.column_stack([runs, own_time])
        lower = np.array([0.5, 0.5, -0.5, -0.5, 0])  # two runs alone, two with partner
        a, total = lower @ np.linalg.lstsq(x, own[["effect", "rating"]], rcond=None)[0]
        both = np.linalg.lstsq(
            np.column_stack([x, own["effect"]]), own["rating"], rcond=None
        )[0]
        paths.append((a, both[-1], lower @ both[:-1], total, a * both[-1]))
    expected = np.mean(paths, axis=0)
    for name, value in zip(
        ("a", "b", "direct", "total", "indirect"), expected, strict=True
    ):
        assert getattr(found, name)[0] == pytest.approx(value), name
    apart = trials.assign(block=trials["condition"] + trials["block"].astype(str))
    slopes = track_within(trials, level=0.95).slopes
    assert slopes == pytest.approx(track_within(apart, level=0.95).slopes)
    assert slopes.mean() == pytest.approx(found.b[0])


def test_intervals_of_a_mean_are_those_of_student(rng):
    """What expanded percentiles are for: values that are normal, and few people."""
    trials = draw_mediation(rng, 12)
    found = mediate(trials, rng=rng, **{**MEDIATION, "n_bootstrap": 20_000})
    interval = stats.t.interval(
        0.95, 11, found.products.mean(), stats.sem(found.products)
    )
    # the bootstrap keeps the skewness of twelve products, which moves both ends one way
    width = found.indirect[2] - found.indirect[1]
    assert width == pytest.approx(interval[1] - interval[0], rel=0.1)


def test_a_path_that_is_not_there_is_found_as_often_as_said():
    rate, high, wide = calibration()
    for world in NULLS:
        assert rate[world, "b, interval"] <= high[world, "b, interval"], world
    for world in (*NULLS, "b only"):
        for test, bound in (
            ("indirect, sign flips", high),
            ("indirect, interval", wide),
        ):
            assert rate[world, test] <= bound[world, test], (world, test)


# --- From the tables of trials ---------------------------------------------------------


TESTS = {"level": 0.95, "n_permutations": 999, "n_bootstrap": 199}
CONTRASTS = [{"name": "partner", "baseline": "alone", "held": "partner"}]
DEFINITIONS = pd.DataFrame(
    {
        "definition": "aal3",
        "region": ["insula", "striatum"],
        "hemisphere": "both",
        "role": "hypothesised",
    }
)


def as_estimated(trials, bonds=(1.0, 0.0), rng=None):
    """Lay out trials as `estimate_trials` does: two ROIs, of which one goes with the rating."""
    base = trials.assign(
        session=np.nan,
        run=trials["condition"],
        onset=trials["time"],
        cue="threat",
        excluded=False,
    ).drop(columns=["block", "time"])
    pieces = []
    for region, bond in zip(DEFINITIONS["region"], bonds, strict=True):
        noise = rng.normal(size=len(base))
        effect = bond * base["effect"] + (1 - bond) * noise
        pieces.append(base.assign(region=f"aal3/{region}", effect=effect))
    safe = pieces[0].assign(cue="safe", rating=np.nan, effect=1e6)
    return pd.concat([*pieces, safe], ignore_index=True).astype({"session": object})


def assess(table, rng, **changed):
    chosen = {"cue": "threat", "higher_is": "more_unpleasant", "tests": TESTS}
    return assess_within(
        table, DEFINITIONS, CONTRASTS, **{**chosen, **changed}, rng=rng
    )


def test_each_roi_has_its_row(rng):
    trials = draw(rng, n_people=12)
    within, mediation = assess(as_estimated(trials, rng=rng), rng)
    alone = track_within(trials, level=0.95)
    insula, striatum = within.to_dict("records")
    assert insula["effect"] == pytest.approx(alone.slope)
    assert insula["p_t"] == pytest.approx(alone.p)
    assert (insula["n"], insula["n_trials"], insula["n_left_out"]) == (12, 144, 0)
    # all twelve slopes are positive: of the 999 flips, one in 2,048 does as well
    assert insula["p"] <= 5 / 1000
    assert insula["p_fwe"] >= insula["p"]
    assert striatum["p_fwe"] >= striatum["p"] > 0.01
    judged = judge_within(within, THRESHOLDS)
    assert judged["verdict"].tolist() == ["supported", "inconclusive"]
    row = mediation.iloc[0]
    assert row["total"] == pytest.approx(row["direct"] + row["indirect"])
    assert row["caution"] == NOT_CAUSAL
    turned, _ = assess(
        as_estimated(trials, rng=rng).assign(rating=lambda t: -t["rating"]),
        rng,
        higher_is="more_relief",
    )
    assert turned["effect"].iloc[0] == pytest.approx(insula["effect"])


def test_what_is_left_out_is_counted(rng):
    table = as_estimated(draw(rng, n_people=9), rng=rng)
    of_insula = (table["region"] == "aal3/insula") & (table["cue"] == "threat")
    table.loc[of_insula & (table["subject"] == "03"), "excluded"] = True
    alone = (table["subject"] == "05") & (table["condition"] == "alone")
    table.loc[alone, "rating"] = np.nan
    table.loc[of_insula.idxmax(), "effect"] = np.nan
    within, _ = assess(table, rng)
    assert within["n"].tolist() == [7, 8]
    assert within["n_left_out"].tolist() == [2, 1]
    assert within["n_trials_left_out"].tolist() == [25, 12]
    assert within["n_trials"].tolist() == [83, 96]


def test_ratings_of_blocks_are_refused_with_the_reason(rng):
    table = as_estimated(draw(rng, n_people=8), rng=rng)
    copied = table.groupby(["subject", "run", "cue"])["rating"].transform("mean")
    for name in assess(table.assign(rating=copied), rng):
        assert name["effect" if "effect" in name else "indirect"].isna().all()
        assert name["refused"].str.contains("given by block").all()
    within, _ = assess(table.assign(rating=copied), rng)
    judged = judge_within(within, THRESHOLDS)
    assert (judged["verdict"] == "inconclusive").all()
    assert judged["reason"].str.contains("given by block").all()
    few = table[table["subject"] < "05"]
    assert assess(few, rng)[0]["refused"].str.contains("at least 6 are needed").all()


# --- Refusals ----------------------------------------------------------------------------


def test_what_trials_do_not_allow_is_said_with_names(rng):
    trials = draw(rng, n_people=6, n_trials=3)
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
        track_within(flat, level=0.95)
    gap = trials.copy()
    gap.loc[[0, 8], "rating"] = np.nan
    with pytest.raises(StudyError, match=r"2 of 36 trials .*\(sub-00, sub-01\)"):
        track_within(gap, level=0.95)
    with pytest.raises(StudyError, match="no column rating"):
        track_within(trials.drop(columns="rating"), level=0.95)
    few = trials[trials["subject"] < "05"]
    with pytest.raises(StudyError, match="5 people; at least 6"):
        track_within(few, level=0.95)
