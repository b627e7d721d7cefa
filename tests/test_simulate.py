"""The simulator plants what its truth says, and the same of it every time."""

import copy
from collections import Counter
from dataclasses import fields
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from handhold import phantom, simulate, spec
from handhold.errors import StudyError
from handhold.simulate import Cohort, Noise, Protocol

# Nothing between the truth of a person and base + slope * binding.
CHANCELESS = {"spread": 0, "regional_sd": 0, "idiosyncratic_sd": 0}


def box(cohort, shape=(5, 5, 5), voxel_size_mm=8):
    """Return the template of a box of grey matter from the striatum upwards."""
    affine = np.diag([voxel_size_mm] * 3 + [1.0])
    affine[:3, 3] = [-30, -20, -15]
    return simulate.plan(cohort, np.ones(shape, dtype=bool), affine)


def draw_responses(cohort, template):
    """Return the true response (threat - safe) by condition, (n_subjects, n_voxels)."""
    effects = [
        simulate.simulate_effects(cohort, index, template)
        for index in range(cohort.n_subjects)
    ]
    return {
        name: np.array([e[name, "threat"] - e[name, "safe"] for e in effects])
        for name in simulate.CONDITIONS
    }


def draw_relief(cohort):
    """Return relief by contrast, subjects in the order of the cohort."""
    table = simulate.simulate_ratings(cohort)
    ratings = table["unpleasantness"].to_numpy().reshape(cohort.n_subjects, 3).T
    rating = dict(zip(table["condition"][:3], ratings, strict=True))
    return {
        "partner": rating["alone"] - rating["partner"],
        "stranger": rating["alone"] - rating["stranger"],
        "partner_over_stranger": rating["stranger"] - rating["partner"],
    }


def every_event(cohort):
    return {
        (index, run): simulate.simulate_events(cohort, index, run)
        for index in range(cohort.n_subjects)
        for run in (1, 2, 3)
    }


# What is planted


def test_without_chance_attenuation_is_base_plus_slope_times_binding():
    cohort = Cohort(
        n_subjects=2,
        receptor_slope=0.3,
        base_attenuation=-0.2,
        stranger_fraction=0.25,
        **CHANCELESS,
    )
    template = box(cohort)
    binding = phantom.demo_receptor(template.points)
    response = draw_responses(cohort, template)
    partner = response["alone"] - response["partner"]
    stranger = response["alone"] - response["stranger"]
    np.testing.assert_allclose(partner, [-0.2 + 0.3 * binding] * 2, atol=1e-12)
    np.testing.assert_allclose(stranger, partner / 4, atol=1e-12)
    # Where binding is high, holding lowers the response, the partner more.
    high = binding > 1.2
    assert high.sum() > 10
    assert (partner[:, high] > stranger[:, high]).all()
    assert (stranger[:, high] > 0).all()


def test_planted_attenuation_is_the_difference_of_the_planted_effects():
    cohort = Cohort(n_subjects=3)
    template = box(cohort)
    response = draw_responses(cohort, template)
    for index in range(3):
        planted = simulate.planted_attenuation(cohort, index, template)
        for held, values in planted.items():
            difference = response["alone"][index] - response[held][index]
            np.testing.assert_allclose(values, difference, atol=1e-12)


def test_planted_slope_and_base_are_recovered_from_the_group_map():
    cohort = Cohort(n_subjects=60, regional_sd=0.3, idiosyncratic_sd=0.05)
    template = box(cohort, (10, 10, 10), 6)
    binding = template.binding
    response = draw_responses(cohort, template)
    truth = simulate.truth(cohort)
    gain = np.mean(list(truth["gain"].values()))
    for contrast, first, last in [
        ("partner", "alone", "partner"),
        ("stranger", "alone", "stranger"),
        ("partner_over_stranger", "stranger", "partner"),
    ]:
        planted = truth["contrasts"][contrast]
        slopes, bases = [], []
        for person in response[first] - response[last]:
            slope, base = np.polyfit(binding, person, 1)
            slopes.append(slope)
            bases.append(base)
        # People's own maps alone are in the way: the regional map is unrelated to binding.
        error = np.std(slopes - planted["slope"] * np.array([*truth["gain"].values()]))
        error /= np.sqrt(60)
        assert abs(np.mean(slopes) - gain * planted["slope"]) < 4 * error
        assert 4 * error < gain * planted["slope"]
        spread = np.std(bases) / np.sqrt(60)
        assert abs(np.mean(bases) - gain * planted["base"]) < 4 * spread


def test_nothing_planted_is_nothing():
    nothing = Cohort(
        n_subjects=3,
        receptor_slope=0,
        base_attenuation=0,
        regional_sd=0,
        idiosyncratic_sd=0,
        tracking_r=0,
    )
    response = draw_responses(nothing, box(nothing))
    for held in ("stranger", "partner"):
        np.testing.assert_allclose(response["alone"], response[held], atol=1e-12)
    for planted in simulate.truth(nothing)["contrasts"].values():
        assert planted["slope"] == planted["base"] == planted["rated_relief_r"] == 0


def test_regional_map_is_standardised_and_unrelated_to_binding():
    template = box(Cohort(regional_sd=0.2), (8, 8, 8), 4)
    assert template.regional.mean() == pytest.approx(0, abs=1e-12)
    assert template.regional.std() == pytest.approx(0.2, rel=1e-9)
    r = np.corrcoef(template.regional, template.binding)[0, 1]
    assert r == pytest.approx(0, abs=1e-9)


def test_the_regional_map_is_everyones():
    cohort = Cohort(
        n_subjects=3, receptor_slope=0, base_attenuation=0, idiosyncratic_sd=0
    )
    template = box(cohort)
    for index in range(3):
        planted = simulate.planted_attenuation(cohort, index, template)["partner"]
        np.testing.assert_allclose(planted, template.regional, atol=1e-12)


def test_people_have_maps_of_their_own():
    cohort = Cohort(
        n_subjects=300, idiosyncratic_sd=0.4, receptor_slope=0, regional_sd=0
    )
    template = box(cohort, (2, 2, 2), 30)
    own = np.array(
        [
            simulate.planted_attenuation(cohort, i, template)["partner"]
            for i in range(300)
        ]
    )
    gain = np.array(list(simulate.truth(cohort)["gain"].values()))
    own -= cohort.base_attenuation * gain[:, None]
    # 30 mm apart, the voxels are independent: 2400 draws of standard deviation .4
    assert abs(own.std() - 0.4) < 4 * 0.4 / np.sqrt(2 * 2400)
    assert abs(np.corrcoef(own[:, 0], gain)[0, 1]) < 4 / np.sqrt(300)


def test_deep_white_matter_and_fluid_show_nothing():
    cohort = Cohort()
    mask, affine = np.ones((1, 1, 3), dtype=bool), np.diag([4.0, 4, 4, 1])
    template = simulate.plan(
        cohort,
        mask,
        affine,
        white=np.array([0.0, 1.0, 0.0]),
        fluid=np.array([0.0, 0.0, 1.0]),
    )
    for effect in simulate.simulate_effects(cohort, 0, template).values():
        assert effect[0] != 0
        assert (effect[1:] == 0).all()


def test_response_alone_is_the_planted_pattern():
    cohort = Cohort(n_subjects=200)
    template = box(cohort, (2, 2, 2), 12)
    alone = draw_responses(cohort, template)["alone"][:, 0]
    expected = 0.7 * phantom.response_pattern(template.points)[0]
    sd = simulate.RESPONSE_SPREAD * expected
    assert abs(alone.mean() - expected) < 4 * sd / np.sqrt(200)
    assert abs(alone.std() - sd) < 4 * sd / np.sqrt(2 * 200)


def test_gains_and_dropout_vary_as_planted():
    noise, n = Noise(dropout=0.5, dropout_sd=0.1), 1000
    truth = simulate.truth(Cohort(n_subjects=n, spread=0.5, noise=noise))
    for values, mean, sd in (
        (truth["gain"].values(), 1.0, 0.5),
        (truth["dropout"].values(), 0.5, 0.1),
    ):
        values = np.array(list(values))
        assert abs(values.mean() - mean) < 4 * sd / np.sqrt(n)
        assert abs(values.std() - sd) < 4 * sd / np.sqrt(2 * n)


# Ratings


@pytest.mark.parametrize(
    ("ratings", "n", "tracking_r", "reliability"),
    [
        ("block", 800, 0.7, 1.0),
        ("block", 800, 0.7, 0.5),
        ("block", 800, -0.4, 0.8),
        ("trial", 400, 0.7, 0.5),
    ],
)
def test_planted_tracking_is_recovered_in_a_large_cohort(
    ratings, n, tracking_r, reliability
):
    cohort = Cohort(
        n_subjects=n,
        tracking_r=tracking_r,
        rating_reliability=reliability,
        relief_sd=8,
        ratings=ratings,
    )
    truth = simulate.truth(cohort)
    gain = np.array(list(truth["gain"].values()))
    for contrast, relief in draw_relief(cohort).items():
        planted = truth["contrasts"][contrast]
        r = stats.pearsonr(gain, relief).statistic
        expected = planted["rated_relief_r"]
        assert abs(np.arctanh(r) - np.arctanh(expected)) < 4 / np.sqrt(n - 3)
        assert abs(relief.mean() - planted["mean_relief"]) < 4 * relief.std() / n**0.5
    # By definition of reliability: r of the ratings is r of the truth times its root.
    partner = truth["contrasts"]["partner"]
    assert partner["trait_relief_r"] == pytest.approx(tracking_r)
    root = np.sqrt(reliability)
    assert partner["rated_relief_r"] == pytest.approx(tracking_r * root)


def test_rated_relief_is_as_reliable_as_planted():
    cohort = Cohort(n_subjects=1000, rating_reliability=0.6, relief_sd=7)
    variance = draw_relief(cohort)["partner"].var()
    # True variance 49 of 49 / .6, and 2 * .1^2 / 12 of rounding.
    assert abs(variance - 49 / 0.6) < 4 * (49 / 0.6) * np.sqrt(2 / 1000)


def test_tracking_of_the_other_contrasts_by_hand():
    planted = simulate.truth(Cohort(tracking_r=0.7))["contrasts"]
    # .4 * .7 / sqrt(.4^2 .7^2 + 1 - .7^2)
    assert planted["stranger"]["trait_relief_r"] == pytest.approx(0.36502, abs=1e-5)
    # .6 * .7 / sqrt(.6^2 .7^2 + 2 (1 - .7^2)): two ratings, two untracked parts.
    difference = planted["partner_over_stranger"]
    assert difference["trait_relief_r"] == pytest.approx(0.38398, abs=1e-5)


def test_ratings_are_complete_and_on_the_scale():
    # The mean relief nearest to the end of the scale that is not refused.
    table = simulate.simulate_ratings(Cohort(n_subjects=3000, mean_relief=25))
    assert not table.duplicated(["participant_id", "condition"]).any()
    assert len(table) == 3 * 3000
    assert table["unpleasantness"].between(0, 100).all()
    # The end is reached, by about 1 in 700 of the partner's ratings and no more.
    assert 1 <= (table["unpleasantness"] == 0).sum() <= 15


def test_a_trial_rating_stands_in_the_row_of_its_threat_trial():
    cohort = Cohort(n_subjects=3, ratings="trial")
    means = simulate.simulate_ratings(cohort).set_index(["participant_id", "condition"])
    for (index, run), events in every_event(cohort).items():
        rated = events[events["rating"].notna()]
        assert (rated["trial_type"] == "threat").all()
        assert len(rated) == cohort.protocol.n_trials
        assert (events["trial_type"] == "rating").sum() == cohort.protocol.n_trials
        hand = simulate.block_order(index)[run - 1]
        expected = means.loc[(f"sub-{index + 1:02d}", hand), "unpleasantness"]
        assert rated["rating"].mean() == pytest.approx(expected)
        assert rated["rating"].std() > 0


# The protocol


def test_orders_are_counterbalanced():
    orders = [simulate.block_order(index) for index in range(6)]
    assert len(set(orders)) == 6
    for first in (0, 3):  # each three people form a Latin square
        for run in range(3):
            held = [order[run] for order in orders[first : first + 3]]
            assert sorted(held) == sorted(simulate.CONDITIONS)
    # each condition follows each other one twice
    pairs = Counter(pair for order in orders for pair in pairwise(order))
    assert set(pairs.values()) == {2}
    truth = simulate.truth(Cohort(n_subjects=7))
    assert truth["order"]["sub-07"] == truth["order"]["sub-01"] == list(orders[0])


def test_a_stronger_trial_is_rated_more_unpleasant():
    quiet = {"n_subjects": 40, "ratings": "trial", "rating_reliability": 1.0}
    plain, bound = Cohort(**quiet), Cohort(**quiet, trial_sd=0.5, trial_bond=3.0)
    for index in range(40):
        for run in (1, 2, 3):
            one, other = (
                simulate.simulate_events(cohort, index, run)["rating"].dropna()
                for cohort in (plain, bound)
            )
            sizes = simulate.trial_sizes(bound, index, run)
            inside = (other > 0) & (other < 100)
            moved = (other - one)[inside].to_numpy()
            # both are rounded to a tenth
            assert moved == pytest.approx(3.0 * sizes[inside.to_numpy()], abs=0.101)
    drawn = [simulate.trial_sizes(bound, i, run) for i in range(40) for run in (1, 2)]
    assert abs(np.mean(drawn)) < 4 / np.sqrt(800)
    assert abs(np.std(drawn) - 1) < 4 / np.sqrt(2 * 800)
    with pytest.raises(StudyError, match=r"trial_bond is 3.0; it must be 0 where"):
        Cohort(trial_bond=3.0)


@pytest.mark.parametrize("ratings", ["block", "trial"])
def test_a_block_is_as_the_protocol_says(ratings):
    protocol = Protocol(n_trials=5, shock_share=0.4, rest_min_s=2, lead_in_s=3)
    cohort = Cohort(n_subjects=4, ratings=ratings, protocol=protocol)
    for (index, run), events in every_event(cohort).items():
        assert set(events["hand"]) == {simulate.block_order(index)[run - 1]}
        assert (np.diff(events["onset"]) > 0).all()
        ends = events["onset"] + events["duration"]
        assert (events["onset"][1:].to_numpy() >= ends[:-1] - 1e-3).all()
        kinds = events["trial_type"]
        n_ratings = 5 if ratings == "trial" else 1
        assert kinds.value_counts().to_dict() == {
            "cue": 10,
            "threat": 5,
            "safe": 5,
            "shock": 2,
            "rating": n_ratings,
        }
        assert events["onset"].iloc[0] == 3
        # from cue to anticipation, and from threat to shock, without a gap
        for before, after in (("cue", ("threat", "safe")), ("threat", ("shock",))):
            for row in np.flatnonzero(kinds.isin(after)):
                if after == ("shock",) or kinds[row] in after:
                    assert kinds[row - 1] == before
                    assert ends[row - 1] == pytest.approx(events["onset"][row])
        for cue in simulate.CUES:
            lengths = sorted(events.loc[kinds == cue, "duration"])
            assert lengths == pytest.approx([4, 5.5, 7, 8.5, 10])
        # every run is as long as every other: what follows the last rating is the lead-out
        n, tr_s = cohort.n_volumes, protocol.tr_s
        assert (n - 1) * tr_s < ends.max() + 14 + trailing_rest(events, ratings)
        assert ends.max() + 14 <= n * tr_s + 1e-3


def trailing_rest(events, ratings):
    """Return an upper bound of the rest after the last event (s)."""
    return 0 if events["trial_type"].iloc[-1] == "rating" else Protocol().rest_max_s


def test_cues_do_not_cluster():
    for events in every_event(Cohort(n_subjects=4)).values():
        threat = events.loc[events["trial_type"].isin(simulate.CUES), "trial_type"]
        n_threat = (threat.to_numpy().reshape(-1, 4) == "threat").sum(axis=1)
        assert (n_threat == 2).all()


def test_the_order_of_trials_differs_between_people_and_runs():
    onsets = {
        tuple(events.loc[events["trial_type"] == "threat", "onset"])
        for events in every_event(Cohort(n_subjects=5)).values()
    }
    assert len(onsets) == 15


def test_subjects_do_not_depend_on_how_many_there_are():
    few, many = Cohort(n_subjects=2), Cohort(n_subjects=5)
    template = box(few)
    for index in range(2):
        one, other = (
            simulate.simulate_effects(cohort, index, template) for cohort in (few, many)
        )
        assert all(np.array_equal(one[cell], other[cell]) for cell in one)
        for run in (1, 2, 3):
            pd.testing.assert_frame_equal(
                simulate.simulate_events(few, index, run),
                simulate.simulate_events(many, index, run),
            )
    table = simulate.simulate_ratings(many)
    pd.testing.assert_frame_equal(simulate.simulate_ratings(few), table[:6])


def test_another_seed_changes_everything_drawn():
    one, other = Cohort(n_subjects=2), Cohort(n_subjects=2, seed=7)
    maps = [box(cohort).regional for cohort in (one, other)]
    assert not np.isclose(*maps).any()
    first, second = (
        simulate.planted_attenuation(c, 0, box(one))["partner"] for c in (one, other)
    )
    assert not np.isclose(first, second).any()
    ratings = [simulate.simulate_ratings(c)["unpleasantness"] for c in (one, other)]
    assert (ratings[0] != ratings[1]).all()
    events = [simulate.simulate_events(c, 0, 1)["onset"] for c in (one, other)]
    assert not np.array_equal(*events)


# What is refused


def test_impossible_parameters_are_refused_together():
    with pytest.raises(StudyError) as caught:
        Cohort(
            n_subjects=0,
            tracking_r=2,
            rating_reliability=0,
            ratings="daily",
            idiosyncratic_sd=-1,
            protocol=Protocol(n_trials=1, rest_min_s=9, shock_share=1.1, tr_s=0),
            noise=Noise(ar1=1, dropout=1.5, thermal_sd=-0.1),
        )
    for fault in (
        "n_subjects is 0; it must be at least 1",
        "tracking_r is 2;",
        "rating_reliability is 0;",
        "ratings is daily; it must be block or trial",
        "idiosyncratic_sd is -1;",
        "protocol.n_trials is 1;",
        "protocol.rest_max_s is 8.0; it must be at least rest_min_s (9)",
        "protocol.shock_share is 1.1;",
        "protocol.tr_s is 0;",
        "noise.ar1 is 1; it must be 0 to below 1",
        "noise.dropout is 1.5;",
        "noise.thermal_sd is -0.1;",
    ):
        assert fault in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"relief_sd": 30}, r"stranger, would run from -.*relief_sd \(30"),
        ({"mean_relief": 60}, r"mean_relief \(60\)"),
        ({"rating_reliability": 0.05}, r"rating_reliability \(0.05\)"),
    ],
)
def test_ratings_that_would_leave_the_scale_are_refused(changes, message):
    with pytest.raises(StudyError, match=message):
        Cohort(**changes)


def test_the_configuration_has_the_parameters_and_their_defaults():
    section = spec.schema()["properties"]["simulate"]["properties"]
    for owner, entries in (
        (Cohort(), section),
        (Protocol(), section["protocol"]["properties"]),
        (Noise(), section["noise"]["properties"]),
    ):
        names = {f.name for f in fields(owner)}
        assert names - {"seed"} == set(entries)  # the seed is the study's
        for name, entry in entries.items():
            if "properties" not in entry:
                assert getattr(owner, name) == entry["default"], name


def test_a_cohort_is_made_of_its_section():
    section = {"n_subjects": 5, "protocol": {"n_trials": 4}, "noise": {"ar1": 0.1}}
    before = copy.deepcopy(section)
    assert simulate.cohort_of(section, 3) == Cohort(
        n_subjects=5, seed=3, protocol=Protocol(n_trials=4), noise=Noise(ar1=0.1)
    )
    assert section == before
