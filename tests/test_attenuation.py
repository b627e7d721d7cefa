from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from handhold.attenuation import (
    assess_attenuation,
    assess_interaction,
    attenuate,
    attenuate_repeats,
    attenuation,
    combine_runs,
    response,
)
from handhold.verdicts import judge_rows
from rules import THRESHOLDS

PARTNER = {"name": "partner", "baseline": "alone", "held": "partner"}
STRANGER = {"name": "stranger", "baseline": "alone", "held": "stranger"}
OVER = {"name": "partner_over_stranger", "baseline": "stranger", "held": "partner"}
IMAGE = {"name": "ready", "image": "diff", "direction": "baseline_minus_held"}

# effects of one region, % signal change
PLANTED = {
    ("alone", "threat"): 1.0,
    ("alone", "safe"): 0.2,
    ("partner", "threat"): 0.5,
    ("partner", "safe"): 0.3,
    ("stranger", "threat"): 0.9,
    ("stranger", "safe"): 0.25,
}
TRUTH = (1.0 - 0.2) - (0.5 - 0.3)
TESTS = {"n_permutations": 4096, "level": 0.95, "smallest_dz": 0.3, "bayes_scale": 0.7}
TESTS |= {"sensitivity_scales": [0.7, 1.0]}


def table_of(rows):
    """Return a long table of effects with every column that a row leaves out."""
    blank = {
        "subject": "01",
        "region": "vACC",
        "condition": None,
        "cue": None,
        "contrast": None,
        "run": None,
        "variance": np.nan,
        "excluded": False,
    }
    return pd.DataFrame([{**blank, **row} for row in rows])


def cells(planted=PLANTED, **same):
    return table_of(
        [
            {"condition": condition, "cue": cue, "effect": effect, **same}
            for (condition, cue), effect in planted.items()
        ]
    )


def attenuate_one(effects, *contrasts):
    found = attenuate(effects, list(contrasts) or [PARTNER], ["region"])
    return dict(zip(found["contrast"], found["attenuation"], strict=True))


# --- The definition and its sign ------------------------------------------------------


def test_attenuation_is_the_difference_of_differences():
    assert attenuate_one(cells()) == {"partner": pytest.approx(TRUTH, abs=1e-15)}
    # a turned sign gives -0.6, dropped safe cells give 0.5, a sum of responses 1.0
    wrong = [-TRUTH, 1.0 - 0.5, (1.0 - 0.2) + (0.5 - 0.3)]
    assert all(abs(other - TRUTH) > 0.05 for other in wrong)


def test_positive_means_that_holding_lowered_the_response():
    assert attenuation(np.array([0.8]), np.array([0.2]))[0] == pytest.approx(0.6)
    assert response(np.array([1.0]), np.array([0.2]))[0] == pytest.approx(0.8)


def test_every_cell_enters_with_its_own_sign():
    signs = {("alone", "threat"): 1, ("alone", "safe"): -1}
    signs |= {("partner", "threat"): -1, ("partner", "safe"): 1}
    for cell in PLANTED:
        moved = attenuate_one(cells({**PLANTED, cell: PLANTED[cell] + 1}))["partner"]
        assert moved == pytest.approx(TRUTH + signs.get(cell, 0), abs=1e-12)


def test_partner_over_stranger_has_the_sign_of_the_others():
    found = attenuate_one(cells(), PARTNER, STRANGER, OVER)
    assert found["stranger"] == pytest.approx((1.0 - 0.2) - (0.9 - 0.25))
    assert found["partner_over_stranger"] == pytest.approx((0.9 - 0.25) - (0.5 - 0.3))
    # the partner's hand does as much more as the two attenuations differ
    assert found["partner_over_stranger"] == pytest.approx(
        found["partner"] - found["stranger"]
    )


@pytest.mark.parametrize(
    ("direction", "expected"),
    [("baseline_minus_held", 0.4), ("held_minus_baseline", -0.4)],
)
def test_an_image_of_the_contrast_is_turned_if_it_holds_the_opposite(
    direction, expected
):
    effects = table_of([{"contrast": "diff", "effect": 0.4}])
    found = attenuate_one(effects, {**IMAGE, "direction": direction})
    assert found == {"ready": expected}


def test_cells_and_contrast_images_can_stand_in_one_table():
    effects = pd.concat(
        [cells(), table_of([{"contrast": "diff", "effect": -0.4}])], ignore_index=True
    )
    found = attenuate_one(effects, PARTNER, IMAGE)
    assert found == {"partner": pytest.approx(TRUTH), "ready": -0.4}


def test_the_response_that_was_lowered_stands_beside_it():
    effects = pd.concat([cells(), table_of([{"contrast": "diff", "effect": 0.4}])])
    found = attenuate(effects, [PARTNER, OVER, IMAGE], ["region"])
    expected = [1.0 - 0.2, 0.9 - 0.25, np.nan]
    assert found["response_baseline"].tolist() == pytest.approx(expected, nan_ok=True)


def test_each_run_is_a_repeat_and_more_runs_are_dealt_in_turn(rng):
    """Two runs of each cell are two repeats; a cell with four gives the mean of 1 and 3."""
    first = {cell: rng.normal() for cell in PLANTED}
    second = {cell: rng.normal() for cell in PLANTED}
    effects = pd.concat([cells(second, run="2"), cells(first, run="1")])
    found = attenuate_repeats(effects, [PARTNER], ["region"])
    assert found["repeat"].tolist() == [1, 2]
    for row, planted in zip(found.to_dict("records"), (first, second), strict=True):
        a, b, c, d = list(planted.values())[:4]
        assert row["attenuation"] == pytest.approx((a - b) - (c - d))
    extra = table_of(
        [
            {"condition": "alone", "cue": "threat", "run": run, "effect": effect}
            for run, effect in (("3", 10.0), ("4", 20.0))
        ]
    )
    more = attenuate_repeats(pd.concat([effects, extra]), [PARTNER], ["region"])
    alone = [planted["alone", "threat"] for planted in (first, second)]
    moved = [(10.0 - alone[0]) / 2, (20.0 - alone[1]) / 2]
    before = found["attenuation"].to_numpy()
    assert more["attenuation"].to_numpy() - before == pytest.approx(moved)
    assert attenuate_repeats(cells(), [PARTNER], ["region"])["repeat"].tolist() == [1]


# --- Joined by name, missing where a cell is -------------------------------------------


def test_each_subject_and_region_gets_its_own(rng):
    pieces, truth = [], {}
    for subject, region in product(["02", "01", "10"], ["vACC", "insula"]):
        planted = {cell: rng.normal() for cell in PLANTED}
        pieces.append(cells(planted, subject=subject, region=region))
        a, b, c, d = list(planted.values())[:4]
        truth[subject, region] = (a - b) - (c - d)
    effects = pd.concat(pieces, ignore_index=True)
    found = attenuate(effects, [PARTNER], ["region"])
    assert list(found) == [
        "subject",
        "region",
        "contrast",
        "attenuation",
        "response_baseline",
    ]
    assert list(zip(found["subject"], found["region"], strict=True)) == list(truth)
    assert found["attenuation"].tolist() == pytest.approx(list(truth.values()))
    shuffled = effects.sample(frac=1, random_state=1)
    again = attenuate(shuffled, [PARTNER], ["region"])
    keys = ["subject", "region"]
    assert again.set_index(keys)["attenuation"].to_dict() == pytest.approx(truth)


@pytest.mark.parametrize("cell", list(PLANTED)[:4])
def test_an_excluded_cell_is_missing_and_not_zero(cell):
    effects = cells()
    hit = (effects["condition"] == cell[0]) & (effects["cue"] == cell[1])
    effects["excluded"] = hit
    found = attenuate_one(effects, PARTNER, OVER)
    assert np.isnan(found["partner"])
    assert np.isnan(found["partner_over_stranger"]) == (cell[0] == "partner")


def test_an_excluded_contrast_image_is_missing():
    effects = table_of([{"contrast": "diff", "effect": 0.4, "excluded": True}])
    assert np.isnan(attenuate_one(effects, IMAGE)["ready"])


def test_the_effects_are_not_changed():
    effects = cells().assign(excluded=[True] + [False] * 5)
    before = effects.copy()
    attenuate(effects, [PARTNER], ["region"])
    pd.testing.assert_frame_equal(effects, before)


# --- Runs ---------------------------------------------------------------------------------


def runs(effects, variances, excluded=(False, False)):
    return table_of(
        [
            {"condition": "alone", "cue": "threat", "run": f"{i}", "effect": effect}
            | {"variance": variance, "excluded": out}
            for i, (effect, variance, out) in enumerate(
                zip(effects, variances, excluded, strict=True)
            )
        ]
    )


@pytest.mark.parametrize(
    ("effects", "variances", "excluded", "expected"),
    [
        # (1/1 + 4/3) / (1/1 + 1/3) = 1.75
        ([1.0, 4.0], [1.0, 3.0], [False, False], 1.75),
        ([1.0, 4.0], [1.0, np.nan], [False, False], 2.5),
        ([1.0, 4.0], [np.nan, np.nan], [False, False], 2.5),
        ([1.0, 4.0], [1.0, 0.0], [False, False], 2.5),
        ([1.0, 4.0], [1.0, 3.0], [True, False], 4.0),
        ([1.0, 4.0], [np.nan, 3.0], [True, False], 4.0),
        ([1.0, 4.0], [np.nan, np.nan], [True, False], 4.0),
        ([np.nan, 4.0], [np.nan, 3.0], [False, False], 4.0),
        ([1.0, 4.0], [1.0, 3.0], [True, True], np.nan),
    ],
    ids=[
        "by precision",
        "one has no variance",
        "none has a variance",
        "a variance of zero",
        "one excluded",
        "excluded without variance",
        "one excluded and none has a variance",
        "one missing",
        "all excluded",
    ],
)
def test_runs_are_combined_by_precision_or_else_by_mean(
    effects, variances, excluded, expected
):
    found = combine_runs(runs(effects, variances, excluded), ["condition", "cue"])
    assert found["effect"].tolist() == [pytest.approx(expected, nan_ok=True)]


def test_cells_with_and_without_variance_do_not_mix_their_rules():
    weighed = runs([1.0, 4.0], [1.0, 3.0])
    plain = runs([1.0, 4.0], [1.0, np.nan]).assign(cue="safe")
    single = plain.iloc[:1].assign(condition="partner")
    found = combine_runs(
        pd.concat([weighed, plain, single], ignore_index=True), ["condition", "cue"]
    )
    assert found["effect"].tolist() == pytest.approx([1.75, 2.5, 1.0])


def test_attenuation_of_runs_is_that_of_the_combined_cells():
    first, second = cells(run="1", variance=1.0), cells(run="2", variance=3.0)
    second["effect"] = 2 * second["effect"]
    # every cell: (e / 1 + 2 e / 3) / (4 / 3) = 1.25 e
    effects = pd.concat([first, second], ignore_index=True)
    assert attenuate_one(effects)["partner"] == pytest.approx(1.25 * TRUTH)


# --- Q1 --------------------------------------------------------------------------------

ROIS = [
    ("aal3", "vACC", "both", "hypothesised"),
    ("aal3", "ins", "both", "hypothesised"),
]
THREE = [*ROIS, ("aal3", "striatum", "both", "hypothesised")]
DETAIL = ("aal3", "vACC_left", "left", "detail")
SECOND = ("other", "vACC", "both", "hypothesised")


def measured(values, rois, contrasts=("partner",)):
    """Return a long table from values, shape (n_subjects, n_rois, n_contrasts)."""
    keys = ["definition", "region", "hemisphere", "role"]
    return pd.DataFrame(
        [
            {
                "subject": f"{i:02}",
                **dict(zip(keys, roi, strict=True)),
                "contrast": contrast,
                "attenuation": values[i, j, k],
            }
            for (j, roi), (k, contrast) in product(
                enumerate(rois), enumerate(contrasts)
            )
            for i in range(len(values))
        ]
    )


def max_t_by_brute_force(columns):
    """Return p and p_fwe over all sign flips of columns (n_subjects, n_tests)."""
    flips = np.array(list(product([1, -1], repeat=len(columns))))
    t = np.array(
        [np.abs(stats.ttest_1samp(f[:, None] * columns, 0).statistic) for f in flips]
    )
    observed = np.abs(stats.ttest_1samp(columns, 0).statistic)
    p = (t >= observed - 1e-9).mean(axis=0)
    return p, (t.max(axis=1)[:, None] >= observed - 1e-9).mean(axis=0)


def test_the_numbers_of_q1_are_those_of_scipy_and_brute_force(rng):
    values = rng.normal(0.3, 1, size=(7, 4, 2))
    rois = [*ROIS, DETAIL, SECOND]
    table = measured(values, rois, ("partner", "stranger"))
    found = assess_attenuation(table, TESTS, THRESHOLDS, rng)
    assert len(found) == 8
    assert set(found["question"]) == {"Q1"}
    assert found["exact"].all()
    assert set(found["n_permutations"]) == {2**7}
    rows = found.set_index(["definition", "region", "contrast"])

    # one family: hypothesised ROIs and contrasts of one definition; details and others apart
    for family in ([0, 1], [2], [3]):
        p, p_fwe = max_t_by_brute_force(values[:, family, :].reshape(7, -1))
        for at, (j, k) in enumerate(product(family, range(2))):
            row = rows.loc[(*rois[j][:2], ("partner", "stranger")[k])]
            t = stats.ttest_1samp(values[:, j, k], 0)
            low, high = t.confidence_interval(0.95)
            expected = {
                "n": 7,
                "df": 6,
                "effect": values[:, j, k].mean(),
                "sd": values[:, j, k].std(ddof=1),
                "statistic": t.statistic,
                "p_t": t.pvalue,
                "low": low,
                "high": high,
                "dz": t.statistic / np.sqrt(7),
                "p": p[at],
                "p_fwe": p_fwe[at],
            }
            assert row[list(expected)].to_dict() == pytest.approx(expected, abs=1e-9)
            assert row["p_fwe"] >= row["p"]


def test_a_missing_value_leaves_its_own_test_only(rng):
    values = rng.normal(0.3, 1, size=(8, 2, 1))
    values[2, 0, 0] = np.nan
    found = assess_attenuation(measured(values, ROIS), TESTS, THRESHOLDS, rng)
    assert found["n"].tolist() == [7, 8]
    kept = np.delete(values[:, 0, 0], 2)
    assert found["effect"].iloc[0] == pytest.approx(kept.mean())
    assert found["p"].iloc[0] == pytest.approx(
        max_t_by_brute_force(kept[:, None])[0][0]
    )


def test_equal_seeds_give_equal_tables_beyond_exact_enumeration():
    values = np.random.default_rng(5).normal(0.3, 1, size=(20, 2, 1))
    runs = [
        assess_attenuation(
            measured(values, ROIS), TESTS, THRESHOLDS, np.random.default_rng(seed)
        )
        for seed in (1, 1, 2)
    ]
    pd.testing.assert_frame_equal(runs[0], runs[1])
    assert not runs[0]["exact"].any()
    assert (runs[0]["p"] != runs[2]["p"]).any()


@pytest.mark.parametrize("n_values", [0, 2])
def test_regions_that_hardly_anybody_covers_are_inconclusive(rng, n_values):
    values = np.full((5, 2, 1), np.nan)
    values[:n_values] = 1 + rng.random((n_values, 2, 1))
    found = assess_attenuation(measured(values, ROIS), TESTS, THRESHOLDS, rng)
    assert found["n"].tolist() == [n_values] * 2
    judged = judge_rows(found, "p_fwe", THRESHOLDS)
    assert judged["effect"].isna().all()
    assert set(judged["verdict"]) == {"inconclusive"}
    assert set(judged["reason"]) == {"too few values to test"}


@pytest.mark.parametrize("noise", [0, 1e-16, 1e-9])
def test_values_that_do_not_vary_are_not_tested(rng, noise):
    values = 0.3 + noise * rng.normal(size=(6, 2, 1))
    values[:, 1] = rng.normal(size=(6, 1))
    found = assess_attenuation(measured(values, ROIS), TESTS, THRESHOLDS, rng)
    assert np.isnan(found["p"].iloc[0])
    assert judge_rows(found, "p_fwe", THRESHOLDS)["verdict"].iloc[0] == "inconclusive"
    assert found["p"].iloc[1] <= 1


# --- Here but not there -----------------------------------------------------------------


def test_differences_between_rois_are_paired_tests(rng):
    """Scipy's paired t of the same people; the family by brute force over all flips."""
    values = rng.normal(0.3, 1, (8, 3))
    # of a detail, beside the hypothesised ROIs, no difference is tested
    four = [*THREE, DETAIL]
    table = measured(np.column_stack([values, values[:, 0] + 5])[..., np.newaxis], four)
    found = assess_interaction(table, TESTS, rng)
    names = [roi[1] for roi in THREE]
    pairs = [(0, 1), (0, 2), (1, 2)]
    assert found[["region", "other_region"]].to_numpy().tolist() == [
        [names[i], names[j]] for i, j in pairs
    ]
    for (i, j), row in zip(pairs, found.to_dict("records"), strict=True):
        test = stats.ttest_rel(values[:, i], values[:, j])
        interval = test.confidence_interval(0.95)
        assert row["effect"] == pytest.approx((values[:, i] - values[:, j]).mean())
        assert (row["statistic"], row["p_t"]) == pytest.approx(
            (test.statistic, test.pvalue)
        )
        assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    differences = np.stack([values[:, i] - values[:, j] for i, j in pairs], axis=1)
    p, p_fwe = max_t_by_brute_force(differences)
    assert found["p"].to_numpy() == pytest.approx(p)
    assert found["p_fwe"].to_numpy() == pytest.approx(p_fwe)


def test_a_difference_needs_both_regions_in_a_person(rng):
    values = rng.normal(size=(9, 2))
    values[4, 1] = np.nan
    found = assess_interaction(measured(values[..., np.newaxis], THREE[:2]), TESTS, rng)
    assert found["n"].tolist() == [8]
    alone = assess_interaction(
        measured(values[:, :1, np.newaxis], THREE[:1]), TESTS, rng
    )
    assert alone.empty
    assert {"definition", "other_region", "p_fwe", "question"} <= {*alone}


def test_one_supported_and_one_not_need_not_differ(rng):
    """The counterexample of Nieuwenhuis et al. (2011): p of .01 and of .2, difference p of .3."""
    common = rng.normal(size=400)
    common = (common - common.mean()) / common.std(ddof=1)
    own = rng.normal(size=400)
    own -= own.mean() + common * (own @ common) / (common @ common)
    own /= own.std(ddof=1)
    here, there = common + 2.6 / 20, own + 1.3 / 20  # t of 2.6 and 1.3, independent
    table = measured(np.stack([here, there], axis=1)[..., np.newaxis], THREE[:2])
    tested = assess_attenuation(table, TESTS, THRESHOLDS, rng)
    assert (tested["p"] <= 0.05).tolist() == [True, False]
    found = assess_interaction(table, TESTS, rng)
    assert found["p_fwe"].item() == pytest.approx(
        2 * stats.norm.sf(1.3 / np.sqrt(2)), abs=0.03
    )
