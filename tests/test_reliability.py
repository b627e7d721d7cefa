"""Reliability against a published table, theorems and planted truth."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from handhold.reliability import (
    REGION,
    assess_reliability,
    ceiling,
    consistency,
    disattenuate,
    halve_ratings,
    halve_trials,
    repeat_attenuation,
    repeat_runs,
)

# Table 2 of Shrout & Fleiss (1979): six targets by four judges.
SHROUT = [
    [9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]
]  # fmt: skip


def test_the_published_example():
    found = consistency(np.array(SHROUT), 0.95)
    # Their table 4: ICC(3,1) = .71, ICC(3,4) = .91.
    assert (round(found.icc, 2), round(found.reliability, 2)) == (0.71, 0.91)
    assert (found.n, found.n_repeats) == (6, 4)
    # Their F is 11.02 with 5 and 15 df; McGraw & Wong (1996), table 7: 1 - 1 / (F / F').
    between, error = 11.24, 1.02
    assert found.reliability == pytest.approx(1 - error / between, abs=2e-3)
    f = 1 / (1 - found.reliability)
    assert found.low == pytest.approx(1 - stats.f.isf(0.025, 5, 15) / f)
    assert found.high == pytest.approx(1 - stats.f.isf(0.025, 15, 5) ** -1 / f)


def test_two_repeats_of_one_spread_are_spearman_and_brown(rng):
    repeats = rng.normal(size=(20, 1)) + rng.normal(size=(20, 2))
    repeats = (repeats - repeats.mean(axis=0)) / repeats.std(axis=0)
    r = np.corrcoef(repeats.T)[0, 1]
    found = consistency(repeats, 0.95)
    assert found.icc == pytest.approx(r)
    assert found.reliability == pytest.approx(2 * r / (1 + r))


def test_drift_that_all_share_does_not_count_and_gaps_leave_a_person_out(rng):
    repeats = rng.normal(size=(15, 1)) + rng.normal(size=(15, 3))
    found = consistency(repeats, 0.95)
    moved = consistency(5 * repeats + [0, 10, -3], 0.95)
    assert vars(moved) == pytest.approx(vars(found))
    with_gap = np.vstack([repeats, [1.0, np.nan, 2.0]])
    assert consistency(with_gap, 0.95) == found


def test_planted_reliability_is_in_the_interval_as_often_as_it_says(rng):
    truth, k, n_cohorts, held = 0.6, 4, 400, 0
    share = truth / (k - truth * (k - 1))  # of the variance of one repeat
    for _ in range(n_cohorts):
        people = np.sqrt(share) * rng.normal(size=(24, 1))
        found = consistency(people + np.sqrt(1 - share) * rng.normal(size=(24, k)), 0.9)
        held += found.low <= truth <= found.high
    low, high = stats.binom.ppf([1e-4, 1 - 1e-4], n_cohorts, 0.9)
    assert low <= held <= high


def test_the_ceiling_is_where_a_perfect_bond_ends_up(rng):
    n, reliable = 40_000, (0.5, 0.7)
    person = rng.normal(size=n)
    seen = [
        np.sqrt(share) * person + np.sqrt(1 - share) * rng.normal(size=n)
        for share in reliable
    ]
    r = stats.pearsonr(*seen).statistic
    error = (1 - 0.35) / np.sqrt(n)
    assert abs(r - ceiling(*reliable)) < 4 * error
    assert abs(disattenuate(r, *reliable) - 1) < 4 * error / ceiling(*reliable)


def test_the_ceiling_without_one_of_the_two_is_that_of_the_other():
    assert ceiling(0.49, np.nan) == pytest.approx(0.7)
    assert ceiling(np.nan, 0.49) == pytest.approx(0.7)
    assert np.isnan(ceiling(np.nan, np.nan))
    assert ceiling(-0.2, 0.9) == 0
    assert np.isnan(disattenuate(0.3, -0.2, 0.9))
    assert np.isnan(disattenuate(0.3, np.nan, 0.9))


@pytest.mark.parametrize(
    "repeats", [np.zeros((10, 3)), np.ones((10, 1)), np.arange(10.0).reshape(5, 2)]
)
def test_what_says_nothing_of_reliability_is_missing(repeats):
    found = consistency(repeats, 0.95)
    assert np.isnan([found.icc, found.reliability, found.low, found.high]).all()
    assert (found.n, found.n_repeats) == repeats.shape


def test_repeats_without_an_answer_are_refused():
    for repeats, level, message in (
        (np.ones(5), 0.95, "subjects x repeats"),
        (np.full((8, 2), np.inf), 0.95, "16 infinite"),
        (np.ones((8, 2)), 95, "level is 95"),
    ):
        with pytest.raises(ValueError, match=message):
            consistency(repeats, level)


def test_the_table_has_a_row_per_measure_joined_by_person(rng):
    people = [f"{i:02}" for i in range(8)]
    values = rng.normal(size=(8, 2))
    rows = [
        {"subject": subject, "repeat": repeat + 1, "value": values[i, repeat]}
        for repeat in range(2)
        for i, subject in enumerate(people)
    ]
    long = pd.DataFrame(rows).sample(frac=1, random_state=1)
    roi = dict(definition="aal3", region="vACC", hemisphere="both", role="hypothesised")
    attenuation = long.rename(columns={"value": "attenuation"}).assign(
        **roi, contrast="partner"
    )
    relief = long.rename(columns={"value": "relief"}).assign(contrast="partner")
    found = assess_reliability(attenuation, relief[relief["repeat"] == 1], 0.95)
    assert found["measure"].tolist() == ["attenuation", "relief"]
    assert found["n_repeats"].tolist() == [2, 1]
    expected = consistency(values, 0.95)
    assert found["reliability"].iloc[0] == pytest.approx(expected.reliability)
    assert np.isnan(found["reliability"].iloc[1])
    assert found["region"].isna().tolist() == [False, True]
    alone = assess_reliability(attenuation, None, 0.95)
    assert alone["measure"].tolist() == ["attenuation"]


# --- What is repeated -------------------------------------------------------------------

CONTRASTS = [{"name": "partner", "baseline": "alone", "held": "partner"}]
DEFINITIONS = pd.DataFrame(
    [
        ("aal3", "insula", "both", "hypothesised"),
        (np.nan, "L_V1", "left", np.nan),  # a parcel
    ],
    columns=REGION,
)
CELLS = [(hand, cue) for hand in ("alone", "partner") for cue in ("threat", "safe")]


def single_trials(rng, n_people=10, n_trials=6, person=1.0, noise=1.0):
    """Draw trials of people who differ in attenuation by `person`; noise on each trial."""
    rows = []
    for subject in range(n_people):
        own = person * rng.normal()
        for (hand, cue), trial in product(CELLS, range(n_trials)):
            effect = -own * (hand == "partner") * (cue == "threat")
            rating = 60 - 10 * (hand == "partner") + rng.normal()
            rating = rating if cue == "threat" else np.nan
            row = (hand, 10.0 * trial, hand, cue, rating)
            rows.append((f"{subject:02}", *row, effect + noise * rng.normal()))
    columns = ["subject", "run", "onset", "condition", "cue", "rating", "effect"]
    return pd.DataFrame(rows, columns=columns).assign(
        session=np.nan, region="aal3/insula", excluded=False
    )


def attenuation_of(means):
    threat, safe = (means.xs(cue, level="cue") for cue in ("threat", "safe"))
    response = threat - safe
    return response.xs("alone", level="condition") - response.xs(
        "partner", level="condition"
    )


def test_halves_are_the_odd_and_the_even_trials(rng):
    trials = single_trials(rng)
    found = halve_trials(trials.sample(frac=1, random_state=1), DEFINITIONS, CONTRASTS)
    odd = (trials["onset"] / 10) % 2 == 0
    for repeat, own in ((1, trials[odd]), (2, trials[~odd])):
        means = own.groupby(["subject", "condition", "cue"])["effect"].mean()
        half = found[found["repeat"] == repeat].set_index("subject")["attenuation"]
        assert half.to_numpy() == pytest.approx(
            attenuation_of(means).loc[half.index].to_numpy()
        )
    relief = halve_ratings(trials, CONTRASTS, cue="threat", higher_is="more_unpleasant")
    means = trials[odd & trials["rating"].notna()]
    means = means.groupby(["subject", "condition"])["rating"].mean().unstack()
    one = relief[relief["repeat"] == 1].set_index("subject")["relief"]
    expected = (means["alone"] - means["partner"]).loc[one.index]
    assert one.to_numpy() == pytest.approx(expected.to_numpy())


def test_reliability_of_halves_is_that_of_all_trials(rng):
    """Both halves together are all trials: true variance over true and error variance."""
    n_people, n_trials, noise = 400, 6, 1.5
    trials = single_trials(rng, n_people, n_trials, noise=noise)
    basis = {"attenuation": "trials", "relief": "trials"}
    found = assess_reliability(
        repeat_attenuation(trials, DEFINITIONS, CONTRASTS, "trials", 0.8),
        halve_ratings(trials, CONTRASTS, cue="threat", higher_is="more_unpleasant"),
        0.999,
        basis,
    ).set_index("measure")
    error = 4 * noise**2 / n_trials
    low, high = found.loc["attenuation", ["low", "high"]]
    assert low < 1 / (1 + error) < high
    assert found["basis"].tolist() == ["trials", "trials"]
    assert found["n_repeats"].tolist() == [2, 2]
    # nobody differs in relief
    low, high = found.loc["relief", ["low", "high"]]
    assert low < 0 < high


def test_each_run_is_attenuated_by_itself(rng):
    rows = [
        (f"{subject:02}", session, run, hand, cue, rng.normal())
        for subject in range(7)
        for session, run in (("a", "1"), ("a", "2"), ("b", "1"))
        for hand, cue in CELLS
    ]
    columns = ["subject", "session", "run", "condition", "cue", "effect"]
    runs = pd.DataFrame(rows, columns=columns).assign(
        region="aal3/insula", variance=1.0, excluded=False, coverage=0.9
    )
    found = repeat_runs(runs, DEFINITIONS, CONTRASTS)
    again = repeat_attenuation(runs, DEFINITIONS, CONTRASTS, "runs", 0.8)
    assert again.equals(found)
    order = {("a", "1"): 1, ("a", "2"): 2, ("b", "1"): 3}
    for key, own in runs.groupby(["session", "run"]):
        means = own.set_index(["subject", "condition", "cue"])["effect"]
        repeat = found[found["repeat"] == order[key]].set_index("subject")
        assert repeat["attenuation"].to_numpy() == pytest.approx(
            attenuation_of(means).loc[repeat.index].to_numpy()
        )
    low = repeat_attenuation(runs, DEFINITIONS, CONTRASTS, "runs", 0.95)
    assert low["attenuation"].isna().all()


def test_what_was_not_repeated_has_no_basis(rng):
    trials = single_trials(rng, n_trials=1)
    one = halve_trials(trials, DEFINITIONS, CONTRASTS)
    found = assess_reliability(one, None, 0.95, {"attenuation": "trials"})
    assert found["basis"].isna().all()
    assert found["reliability"].isna().all()
