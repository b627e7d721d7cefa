import re

import numpy as np
import pandas as pd
import pytest

from handhold import spec
from handhold.verdicts import (
    COMBINATION,
    FACTS,
    QUESTIONS,
    Evidence,
    answer,
    answer_correspondence,
    answer_coupling,
    answer_regions,
    answer_specificity,
    judge,
    judge_correspondence,
    judge_rows,
    judge_tracking,
)

NAN = float("nan")
KEYS = spec.schema()["properties"]["verdicts"]["properties"]
RULES = KEYS["rules"]["default"]
THRESHOLDS = {
    **{
        "alpha": 0.05,
        "bf_for": 3,
        "bf_against": 1 / 3,
        "widest_null": 0.3,
        "power": 0.8,
    },
    "rules": RULES,
}
ABOVE, BELOW = np.nextafter(0.05, 1), np.nextafter(0.05, 0)
THIRD_ABOVE = np.nextafter(1 / 3, 1)
WIDER = np.nextafter(0.3, 1)
FOR, AGAINST, OPEN = "supported", "evidence against", "inconclusive"


# --- The rule table, at its edges ------------------------------------------------------


@pytest.mark.parametrize(
    ("effect", "p", "p_tost", "bf10", "expected"),
    [
        # alpha itself passes, and the next number does not
        (0.4, 0.05, 0.9, 5.0, FOR),
        (0.4, BELOW, 0.9, 5.0, FOR),
        (0.4, ABOVE, 0.9, 5.0, OPEN),
        (-0.4, 0.05, 0.9, 5.0, AGAINST),
        (-0.4, ABOVE, 0.9, 5.0, OPEN),
        # the bound of the Bayes factor itself counts as evidence against
        (0.4, 0.5, 0.9, 1 / 3, AGAINST),
        (0.4, 0.5, 0.9, THIRD_ABOVE, OPEN),
        (0.4, 0.5, 0.9, 0.0, AGAINST),
        # p and Bayes factor that disagree leave it open, whatever the sign
        (0.4, 0.05, 0.9, 1 / 3, OPEN),
        (-0.4, 0.01, 0.9, 0.1, OPEN),
        (0.4, 0.05, 0.9, THIRD_ABOVE, FOR),
        # equivalence
        (0.1, 0.5, 0.05, 1.0, AGAINST),
        (0.1, 0.5, ABOVE, 1.0, OPEN),
        # small, but there: the effect is shown, and equivalence does not take it back
        (0.1, 0.01, 0.01, 5.0, FOR),
        # an effect of exactly zero has no direction
        (0.0, 0.01, 0.9, 5.0, OPEN),
        # what is not known decides nothing
        (NAN, 0.01, 0.01, 0.1, OPEN),
        (0.4, NAN, 0.01, 0.1, OPEN),
        (np.inf, 0.01, 0.9, 5.0, OPEN),
        (0.4, 0.01, NAN, NAN, FOR),
        (-0.4, 0.01, NAN, NAN, AGAINST),
        (0.4, 0.5, NAN, NAN, OPEN),
        (0.4, 0.5, NAN, 0.1, AGAINST),
        (0.4, 0.5, 0.01, NAN, AGAINST),
        (0.4, 0.5, 0.9, np.inf, OPEN),
    ],
)
def test_the_rule_at_its_edges(effect, p, p_tost, bf10, expected):
    verdict, reason = judge(Evidence(effect, p, p_tost, bf10), THRESHOLDS)
    assert verdict == expected
    assert reason in {rule["reason"] for rule in RULES}


def test_missing_numbers_are_called_too_few_values():
    for evidence in (Evidence(NAN, 0.01), Evidence(0.4, NAN), Evidence(NAN, NAN)):
        assert judge(evidence, THRESHOLDS) == (OPEN, "too few values to test")


def test_every_line_of_the_rule_can_be_reached_and_the_last_takes_all():
    grid = [
        Evidence(effect, p, p_tost, bf10)
        for effect in (-0.4, 0.0, 0.4, NAN)
        for p in (0.01, 0.5)
        for p_tost in (0.01, 0.9, NAN)
        for bf10 in (0.1, 5.0, NAN)
    ]
    found = {judge(evidence, THRESHOLDS) for evidence in grid}
    assert found == {(rule["verdict"], rule["reason"]) for rule in RULES}


def test_nothing_is_supported_against_the_hypothesis_or_without_p(rng):
    for effect, p, p_tost, bf10 in rng.uniform(-1, 1, size=(2000, 4)):
        evidence = Evidence(effect, abs(p), abs(p_tost), abs(bf10) * 5)
        if judge(evidence, THRESHOLDS)[0] == FOR:
            assert effect > 0
            assert abs(p) <= 0.05


def test_the_thresholds_are_those_of_the_configuration():
    evidence = Evidence(0.4, 0.04, 0.9, 0.25)
    assert judge(evidence, {**THRESHOLDS, "alpha": 0.01, "bf_against": 0.2})[0] == OPEN
    assert judge(evidence, {**THRESHOLDS, "bf_against": 0.2})[0] == FOR
    assert judge(evidence, {**THRESHOLDS, "alpha": 0.01})[0] == AGAINST
    assert {name: key["default"] for name, key in KEYS.items()} == THRESHOLDS


def test_the_rule_table_is_that_of_the_configuration():
    strict = [
        {"if": ["p_passes", "positive", "bf_for"], "verdict": FOR, "reason": "both"},
        {"if": ["equivalent"], "verdict": AGAINST, "reason": "small"},
        {"if": [], "verdict": OPEN, "reason": "open"},
    ]
    own = {**THRESHOLDS, "rules": strict}
    assert judge(Evidence(0.4, 0.05, 0.9, 3.0), own) == (FOR, "both")
    for evidence in (
        Evidence(0.4, 0.05, 0.9, np.nextafter(3, 0)),
        Evidence(0.4, ABOVE, 0.9, 30.0),
        Evidence(0.0, 0.01, 0.9, 30.0),
        Evidence(0.4, 0.01, 0.9, NAN),
    ):
        assert judge(evidence, own) == (OPEN, "open")
        assert judge(evidence, {**own, "rules": strict[2:]}) == (OPEN, "open")
    assert judge(Evidence(-0.4, 0.01, 0.05, 0.1), own) == (AGAINST, "small")
    # the first line that holds, not the last
    turned = {**own, "rules": [strict[1], strict[0], strict[2]]}
    assert judge(Evidence(0.4, 0.01, 0.01, 30.0), own) == (FOR, "both")
    assert judge(Evidence(0.4, 0.01, 0.01, 30.0), turned) == (AGAINST, "small")
    bar = {**own, "bf_for": 30.5}
    assert judge(Evidence(0.4, 0.01, 0.9, 30.0), bar) == (OPEN, "open")


def test_the_configuration_knows_every_fact_and_no_other():
    assert {*KEYS["rules"]["items"]["properties"]["if"]["items"]["enum"]} == {*FACTS}
    described = KEYS["rules"]["items"]["properties"]["if"]["description"]
    assert all(fact in described for fact in FACTS)


def test_rows_are_judged_by_the_p_that_is_named():
    table = pd.DataFrame({"effect": [0.4, 0.4], "p": [0.01, 0.01], "p_fwe": [0.2, NAN]})
    assert judge_rows(table, "p", THRESHOLDS)["verdict"].tolist() == [FOR, FOR]
    judged = judge_rows(table, "p_fwe", THRESHOLDS)
    assert judged["verdict"].tolist() == [OPEN, OPEN]
    assert judged["reason"].iloc[1] == "too few values to test"


def test_a_verdict_that_another_prior_width_overturns_says_so():
    row = {"effect": 0.1, "p": 0.5, "bf10": 0.3, "bf10_low": 0.2, "bf10_high": 0.5}
    judged = judge_rows(
        pd.DataFrame([row, {**row, "bf10_high": 0.32}]), "p", THRESHOLDS
    )
    assert judged["verdict"].tolist() == [AGAINST, AGAINST]
    torn = judged["reason"].str.endswith(
        "another width of the prior gives inconclusive"
    )
    assert torn.tolist() == [True, False]


def test_a_p_that_other_draws_could_carry_over_alpha_says_so():
    error = np.sqrt(0.05 * 0.95 / 9999)
    same = {"effect": 0.4, "bf10": 5.0, "n_permutations": 9999, "exact": False}
    near = [0.05 - 1.9 * error, 0.05 + 1.9 * error]
    far = [0.05 - 2.1 * error, 0.05 + 2.1 * error, NAN]
    judged = judge_rows(
        pd.DataFrame([{**same, "p": p} for p in near + far]), "p", THRESHOLDS
    )
    noted = judged["reason"].str.contains("Monte Carlo error")
    assert noted.tolist() == [True, True, False, False, False]
    exact = judge_rows(
        pd.DataFrame([{**same, "p": 0.05, "exact": True}]), "p", THRESHOLDS
    )
    assert "Monte Carlo" not in exact["reason"].item()


# --- Q2 --------------------------------------------------------------------------------


def correspondence(**changes):
    row = {
        "question": "Q2",
        "scope": "all",
        "method": "spearman",
        "contrast": "partner",
        "effect": 0.4,
        "mean_r": 0.2,
        "null_low": -0.2,
        "null_high": 0.2,
        "null_method": "Moran singleton",
        "p_map": 0.01,
        "p_moran": 0.01,
        "p_variogram": 0.03,
        "p_gaussian": 0.0004,
        "p_subject": 0.02,
        "p": 0.02,
        "p_tost": 0.9,
        "bf10": 5.0,
    }
    return judge_correspondence(pd.DataFrame([{**row, **changes}]), THRESHOLDS)


def test_a_bayes_factor_against_keeps_two_passing_nulls_from_supporting():
    row = correspondence(bf10=0.1).iloc[0]
    assert row["verdict"] == OPEN
    assert "disagree" in row["reason"]


def test_no_absence_where_the_null_is_not_known():
    changes = {"p_map": 0.5, "p": 0.5, "bf10": 0.1, "null_low": NAN, "null_high": NAN}
    assert correspondence(**changes)["verdict"].item() == OPEN


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, FOR),
        ({"effect": -0.4, "mean_r": -0.2}, AGAINST),
        ({"effect": -0.4}, OPEN),
        ({"mean_r": -0.2}, OPEN),
        ({"mean_r": 0.0}, OPEN),
        ({"mean_r": NAN}, OPEN),
        ({"effect": NAN}, OPEN),
        ({"p_map": 0.35, "p": 0.35}, OPEN),
        ({"p_subject": 0.35, "p": 0.35}, OPEN),
    ],
)
def test_both_nulls_have_to_pass_with_one_sign(changes, expected):
    judged = correspondence(**changes)
    assert judged["verdict"].item() == expected
    assert judged["p"].item() == {**{"p": 0.02}, **changes}["p"]


@pytest.mark.parametrize("absence", [{"bf10": 0.1}, {"p_tost": 0.01}])
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, AGAINST),
        # the widest null itself is narrow enough, and the next number is not, on either side
        ({"null_low": -0.3, "null_high": 0.3}, AGAINST),
        ({"null_high": WIDER}, OPEN),
        ({"null_low": -WIDER}, OPEN),
        # alpha itself is a map that does correspond
        ({"p_map": ABOVE}, AGAINST),
        ({"p_map": 0.05}, OPEN),
        ({"p_map": 0.05, "null_high": WIDER}, OPEN),
        # absence has no sign
        ({"mean_r": -0.2}, AGAINST),
        ({"mean_r": -0.2, "null_high": WIDER}, OPEN),
    ],
)
def test_absence_needs_a_map_null_that_agrees_and_is_narrow(changes, expected, absence):
    row = {"p_map": 0.6, "p_subject": 0.5, "p": 0.6, **absence, **changes}
    judged = correspondence(**row)
    assert judged["verdict"].item() == expected
    for (
        column,
        value,
    ) in row.items():  # what was left out of the verdict stays in the table
        assert judged[column].item() == value


def test_the_width_of_the_null_is_that_of_the_configuration():
    row = {"p_map": 0.6, "p": 0.6, "bf10": 0.1, "null_high": 0.25}
    table = correspondence(**row)
    for widest, expected in ((0.25, AGAINST), (0.24, OPEN)):
        judged = judge_correspondence(table, {**THRESHOLDS, "widest_null": widest})
        assert judged["verdict"].item() == expected


def test_a_wide_null_takes_no_support_away():
    assert correspondence(null_high=0.9)["verdict"].item() == FOR
    opposite = correspondence(null_high=0.9, effect=-0.4, mean_r=-0.2)
    assert opposite["verdict"].item() == AGAINST


def test_signs_that_differ_are_named_as_the_reason():
    judged = correspondence(mean_r=-0.2)
    assert "differ in sign" in judged["reason"].item()
    assert "differ in sign" not in correspondence(p=0.5)["reason"].item()
    assert "differ in sign" not in correspondence(mean_r=-0.2, p=0.5)["reason"].item()


def test_q2_is_answered_by_its_headline_row_alone():
    table = pd.concat(
        [
            correspondence(p=0.5),
            correspondence(scope="cortex"),
            correspondence(method="pearson"),
            correspondence(contrast="stranger"),
        ],
        ignore_index=True,
    )
    found = answer_correspondence(table, "spearman", "partner", "MOR")
    assert found["verdict"] == OPEN
    assert found["sentence"].endswith("is open.")
    assert re.search(
        r"map null \(Moran singleton, which decides\) gives p = \.010, "
        r"the subject null p = \.020",
        found["reason"],
    )
    assert found["reason"].endswith(
        "Beside it, other map nulls: variogram matching p = .030, Gaussian field p < .001"
    )
    assert len(found["inputs"]) == 1
    assert answer_correspondence(table, "pearson", "partner", "MOR")["verdict"] == FOR


# --- Q1 and Q3 ------------------------------------------------------------------------


def regions(verdicts, question="Q1", definition="aal3", **same):
    names = ["vACC", "insula", "striatum"]
    return pd.DataFrame(
        [
            {
                "question": question,
                "definition": definition,
                "region": name,
                "role": "hypothesised",
                "contrast": "partner",
                "verdict": verdict,
                "n": 16,
                "detectable_dz": 0.75,
                "detectable_r": 0.64,
                "reason": "",
                "model": "change",
                "ceiling": NAN,
                "reliability_attenuation": NAN,
                "reliability_relief": NAN,
                **same,
            }
            for name, verdict in zip(names, verdicts, strict=False)
        ]
    )


@pytest.mark.parametrize("question", ["Q1", "Q3"])
@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([FOR, OPEN, AGAINST], FOR),
        ([FOR, FOR, FOR], FOR),
        ([AGAINST, AGAINST, AGAINST], AGAINST),
        ([AGAINST, AGAINST, OPEN], OPEN),
        ([OPEN, OPEN, OPEN], OPEN),
    ],
)
def test_one_region_supports_and_all_speak_against(question, verdicts, expected):
    found = answer_regions(regions(verdicts, question), "aal3", "partner")
    assert found["verdict"] == expected
    assert found["question"] == question
    for verdict in (FOR, OPEN, AGAINST):
        assert (f"{verdict} in " in found["reason"]) == (verdict in verdicts)
    assert "Depends on" not in found["reason"]
    detects = {"Q1": r"standardised mean of 0?\.75", "Q3": r"correlation of 0?\.64"}
    stated = re.search(f"n = 16, .* {detects[question]}", found["reason"])
    assert bool(stated) == (expected == OPEN)
    names = ("vACC", "insula", "striatum")
    under = {
        verdict: [n for n, v in zip(names, verdicts, strict=True) if v == verdict]
        for verdict in verdicts
    }
    assert under == said(found["sentence"])
    if verdicts[0] == FOR:
        starts = {"Q1": "The response falls", "Q3": "Attenuation goes with relief"}
        assert found["sentence"].startswith(f"{starts[question]} (partner) in vACC")


def test_an_effect_in_the_other_direction_is_no_absence():
    table = regions([AGAINST, AGAINST]).assign(effect=[-0.4, 0.1], p_fwe=[0.01, 0.6])
    found = answer_regions(table, "aal3", "partner", verdicts=THRESHOLDS)
    assert found["sentence"] == (
        "The response rises (partner) in vACC; there is evidence against it that the response "
        "falls (partner) in insula."
    )
    adjusted = {"model": "baseline-adjusted", "partial_r": [0.4, -0.4], "bf10": 1.0}
    adjusted |= dict.fromkeys(("p_partial_fwe", "bf10_partial"), 0.01)
    bounds = ("bf10_partial_low", "bf10_partial_high", "bf10_low", "bf10_high")
    adjusted |= dict.fromkeys(bounds, 0.01)
    table = regions([AGAINST, AGAINST], "Q3", effect=0.4, p_fwe=0.6).assign(**adjusted)
    found = answer_regions(table, "aal3", "partner", verdicts=THRESHOLDS)
    assert "Attenuation goes with less relief (partner) in insula;" in found["sentence"]


def test_the_adjusted_model_counts_with_the_sign_of_the_bare_changes_only():
    row = {
        **{"model": "baseline-adjusted", "effect": 0.2, "p_fwe": 0.5, "bf10": 1.0},
        **{"partial_r": 0.6, "p_partial_fwe": 0.01, "bf10_partial": 9.0},
        **dict.fromkeys(
            [f"bf10{m}_{b}" for m in ("", "_partial") for b in ("low", "high")], NAN
        ),
    }
    table = pd.DataFrame(
        [
            row,
            {**row, "effect": -0.2},
            {**row, "partial_r": -0.6},
            {**row, "effect": -0.2, "partial_r": -0.6},
            {**row, "effect": -0.2, "model": "change", "p_fwe": 0.01},
        ]
    )
    judged = judge_tracking(table, THRESHOLDS)
    assert judged["verdict"].tolist() == [FOR, OPEN, OPEN, AGAINST, AGAINST]
    torn = judged["reason"].str.contains("the bare changes have the other sign")
    assert torn.tolist() == [False, True, True, False, False]


def test_q3_says_which_model_decides_and_how_large_r_could_be():
    same = {"effect": 0.3, "partial_r": 0.2}
    table = regions([FOR, OPEN], "Q3", **same)
    bare = answer_regions(table, "aal3", "partner")["reason"]
    assert "Decided by the correlation of the two changes" in bare
    assert (
        "attenuation (no repeats that everyone has: runs of every cell, or single trials) "
        "and relief (one rating" in bare
    )
    known = {
        "model": "baseline-adjusted",
        "reliability_attenuation": 0.5,
        "ceiling": 0.6,
    }
    found = answer_regions(table.assign(**known), "aal3", "partner")["reason"]
    assert "Decided at equal measured baselines" in found
    assert "other sign" not in found
    assert (
        "largest observable r of the two changes is .60; the reliability of relief (one rating"
        in found
    )
    turned = table.assign(**known, reliability_relief=0.72)
    turned.loc[1, "partial_r"] = -0.2
    found = answer_regions(turned, "aal3", "partner")["reason"]
    assert "the bare changes have the other sign in insula" in found
    assert "is not known" not in found


def said(sentence):
    """Read back from a sentence of Q1 or Q3 which regions stand under which verdict."""
    assert sentence[0].isupper()
    assert sentence[-1] == "."
    under = {}
    for part in sentence[:-1].split("; "):
        words, _, regions_named = part.rpartition(" in ")
        against = words.lower().startswith("there is evidence against it that ")
        open_ = words.lower().startswith("whether ") and words.endswith(" is open")
        verdict = AGAINST if against else OPEN if open_ else FOR
        assert verdict not in under
        under[verdict] = regions_named.split(", ")
    return under


def test_a_sentence_names_every_region_under_its_verdict():
    found = answer_regions(regions([FOR, OPEN, AGAINST]), "aal3", "partner")
    assert found["sentence"] == (
        "The response falls (partner) in vACC; there is evidence against it that the "
        "response falls (partner) in striatum; whether the response falls (partner) is "
        "open in insula."
    )
    found = answer_regions(regions([OPEN, AGAINST], "Q3"), "aal3", "partner")
    assert found["sentence"] == (
        "There is evidence against it that attenuation goes with relief (partner) in "
        "insula; whether attenuation goes with relief (partner) is open in vACC."
    )


def test_details_other_contrasts_and_other_definitions_do_not_answer():
    table = pd.concat(
        [
            regions([OPEN]),
            regions([FOR], role="detail").assign(region="vACC_left"),
            regions([FOR], contrast="stranger"),
            regions([OPEN, FOR], definition="other"),
        ]
    )
    found = answer_regions(table, "aal3", "partner")
    assert found["verdict"] == OPEN
    assert len(found["inputs"]) == 1
    assert "Depends on" not in found["reason"]


def test_a_region_that_depends_on_the_definition_is_named():
    table = pd.concat(
        [regions([FOR, OPEN, OPEN]), regions([OPEN, OPEN, AGAINST], definition="other")]
    )
    reason = answer_regions(table, "aal3", "partner")["reason"]
    assert (
        "Depends on the ROI definition: vACC is inconclusive under other, "
        "striatum is evidence against under other" in reason
    )
    assert "insula is" not in reason


def test_power_is_that_of_the_tests_that_were_done():
    table = regions([OPEN, OPEN])
    table.loc[0, ["n", "detectable_dz"]] = [2, NAN]
    reason = answer_regions(table, "aal3", "partner")["reason"]
    assert re.search(r"With n = 16, .* standardised mean of 0?\.75", reason)
    nothing = regions([OPEN, OPEN], n=2, detectable_dz=NAN)
    reason = answer_regions(nothing, "aal3", "partner")["reason"]
    assert "With n = 2 at most, nothing could be tested" in reason
    assert "nan" not in reason


# --- Q4 --------------------------------------------------------------------------------


@pytest.mark.parametrize("verdict", [FOR, AGAINST, OPEN])
def test_q4_is_answered_by_the_primary_contrast(verdict):
    row = {"question": "Q4", "contrast": "partner", "verdict": verdict}
    row |= {"reason": "because", "n": 16, "detectable_r": 0.64, "model": "change"}
    other = {**row, "contrast": "stranger", "verdict": FOR}
    found = answer_coupling(pd.DataFrame([other, row]), "partner", "MOR")
    assert found["verdict"] == verdict
    assert found["reason"].startswith("because")
    assert ("n = 16" in found["reason"]) == (verdict == OPEN)
    assert "since coupling of the alone response and alone score" in found["reason"]
    assert len(found["inputs"]) == 1
    held = {**row, "model": "baseline-adjusted", "effect": 0.3, "partial_r": -0.2}
    reason = answer_coupling(pd.DataFrame([held]), "partner", "MOR")["reason"]
    assert (
        "at equal measured baselines (coupling of the alone response and alone sc"
        in reason
    )
    assert "the bare changes have the other sign" in reason


# --- Q5 --------------------------------------------------------------------------------


def panel(*others):
    """Return a table of Q5; each other map is (difference, family-wise p of it)."""
    rows = [{"label": "MOR", "target": True, "difference": 0, "p_difference_fwe": NAN}]
    rows += [
        {"label": f"map{i}", "target": False, "difference": d, "p_difference_fwe": p}
        for i, (d, p) in enumerate(others)
    ]
    table = pd.DataFrame(rows).assign(contrast="partner", r_squared=NAN, r_with_y=0.78)
    table = table.assign(null_method="Moran singleton", p_fwe_moran=0.01)
    table["effect"] = 0.4 - table["difference"]
    table["p_fwe"], table["n_parcels"] = 0.01, 394
    table.loc[0, "r_squared"] = 0.92
    return table


def test_a_map_that_attenuation_does_not_follow_is_not_ahead():
    table = panel((-0.3, 0.001))
    table["effect"] -= 0.8  # target -.4, the other map -.1: neither is followed
    found = answer_specificity(table, "partner", {"verdict": OPEN}, THRESHOLDS)
    assert found["verdict"] == OPEN


@pytest.mark.parametrize(
    ("effect", "p_fwe", "expected"),
    [
        (0.6, 0.05, AGAINST),
        (0.6, ABOVE, OPEN),
        (0.6, NAN, OPEN),
        (0.0, 0.01, OPEN),
        (-0.1, 0.01, OPEN),
        (NAN, 0.01, OPEN),
    ],
)
def test_a_map_is_ahead_only_by_its_own_family_wise_p(effect, p_fwe, expected):
    table = panel((-0.2, 0.01), (0.3, 0.01))
    table.loc[1, ["effect", "p_fwe"]] = [effect, p_fwe]
    for q2 in (FOR, OPEN):
        found = answer_specificity(table, "partner", {"verdict": q2}, THRESHOLDS)
        assert found["verdict"] == expected
        # nor does it count as beaten
        assert ("map0" in found["reason"]) == (expected == AGAINST or q2 == FOR)


def test_the_p_of_the_target_puts_no_map_ahead():
    table = panel((-0.2, 0.01))
    table["p_fwe"] = [0.01, 0.5]
    found = answer_specificity(table, "partner", {"verdict": FOR}, THRESHOLDS)
    assert found["verdict"] == OPEN
    table["p_fwe"] = [0.5, 0.01]
    found = answer_specificity(table, "partner", {"verdict": FOR}, THRESHOLDS)
    assert found["verdict"] == AGAINST


@pytest.mark.parametrize(
    ("others", "q2", "expected"),
    [
        ([(0.3, 0.05), (0.2, 0.01)], FOR, FOR),
        ([(0.3, 0.05), (0.2, 0.01)], OPEN, OPEN),
        ([(0.3, 0.05), (0.2, 0.01)], AGAINST, OPEN),
        ([(0.3, 0.05), (0.2, 0.01)], "not run", OPEN),
        ([(0.3, 0.05), (0.2, ABOVE)], FOR, OPEN),
        ([(0.3, 0.05), (0.2, NAN)], FOR, OPEN),
        ([(0.3, 0.05), (-0.2, 0.05)], FOR, AGAINST),
        ([(0.3, 0.05), (-0.2, 0.05)], OPEN, AGAINST),
        ([(0.3, 0.05), (-0.2, ABOVE)], FOR, OPEN),
        ([(0.0, 0.01)], FOR, OPEN),
    ],
)
def test_the_target_has_to_beat_every_other_map(others, q2, expected):
    found = answer_specificity(panel(*others), "partner", {"verdict": q2}, THRESHOLDS)
    assert found["verdict"] == expected
    assert re.search(r"Over 394 parcels, .* R2 = 0?\.92 .* r = 0?\.78", found["reason"])


def test_q5_names_the_maps_that_it_cannot_tell_apart():
    found = answer_specificity(
        panel((0.3, 0.01), (0.1, 0.4), (-0.1, 0.4)), "partner", {"verdict": FOR}, THRESHOLDS
    )  # fmt: skip
    assert "cannot tell the target from map1, map2" in found["reason"]
    ahead = answer_specificity(
        panel((0.3, 0.01), (-0.5, 0.01)), "partner", {"verdict": FOR}, THRESHOLDS
    )
    assert "more than the target: map1" in ahead["reason"]


# --- All of it --------------------------------------------------------------------------

OPTIONS = {
    "study": "s",
    "contrast": "partner",
    "definition": "aal3",
    "method": "spearman",
    "label": "MOR",
    "act": "reappraising",
    "verdicts": THRESHOLDS,
}


def test_every_question_has_an_answer_in_the_words_of_the_study():
    coupling = {"question": "Q4", "contrast": "partner", "verdict": FOR, "reason": "r"}
    coupling["model"] = "change"
    tests = {
        "Q1": regions([FOR, OPEN]),
        "Q2": correspondence(),
        "Q3": regions([OPEN], "Q3"),
        "Q4": pd.DataFrame([coupling]),
        "Q5": panel((0.3, 0.01)),
    }
    found = answer(tests, **OPTIONS)
    assert found["study"] == "s"
    assert found["rule"] == THRESHOLDS
    assert found["rule"]["rules"] == RULES
    assert found["combination"] == COMBINATION
    assert {*COMBINATION} == {*QUESTIONS}
    questions = {item["question"]: item for item in found["questions"]}
    assert {name: item["verdict"] for name, item in questions.items()} == {
        "Q1": FOR,
        "Q2": FOR,
        "Q3": OPEN,
        "Q4": FOR,
        "Q5": FOR,
    }
    assert "reappraising" in questions["Q1"]["title"]
    for item in questions.values():
        assert "{" not in item["title"] + item["sentence"] + item["reason"]
        assert item["inputs"]


def test_q5_follows_the_q2_of_the_same_answer():
    tests = {"Q2": correspondence(p=0.5), "Q5": panel((0.3, 0.01))}
    found = {item["question"]: item for item in answer(tests, **OPTIONS)["questions"]}
    assert found["Q5"]["verdict"] == OPEN
    assert "nothing to be specific about" in found["Q5"]["reason"]


def test_a_question_that_was_not_asked_says_why():
    found = answer({"Q3": regions([FOR], "Q3", contrast="other")}, **OPTIONS)
    answers = {item["question"]: item for item in found["questions"]}
    assert set(answers) == set(QUESTIONS)
    assert {item["verdict"] for item in answers.values()} == {"not run"}
    assert answers["Q3"]["reason"] == "the primary contrast partner has no ratings"
    assert "ratings" in answers["Q4"]["reason"]
    assert "receptors.panel" in answers["Q5"]["reason"]
    assert not any(item["inputs"] for item in answers.values())


# --- Beside the verdicts of Q1 and Q3 ---------------------------------------------------


def test_where_some_are_supported_it_is_said_whether_they_differ():
    table = regions([FOR, OPEN, AGAINST])
    pairs = pd.DataFrame(
        [
            ("aal3", "partner", "vACC", "insula", 0.2, 0.4),
            ("aal3", "partner", "striatum", "vACC", -0.3, 0.01),
            ("aal3", "partner", "insula", "striatum", 0.3, 0.001),
            ("other", "partner", "vACC", "insula", 0.3, 0.001),
            ("aal3", "stranger", "vACC", "insula", 0.3, 0.001),
        ],
        columns=[
            *("definition", "contrast", "region", "other_region", "effect", "p_fwe"),
        ],
    )
    chosen = {"interaction": pairs, "verdicts": THRESHOLDS}
    reason = answer_regions(table, "aal3", "partner", **chosen)["reason"]
    assert "The difference between vACC and striatum (p = .010) is shown" in reason
    assert "The difference between vACC and insula (p = .400) is not shown" in reason
    turned = pairs.assign(effect=-pairs["effect"])
    reason = answer_regions(
        table, "aal3", "partner", interaction=turned, verdicts=THRESHOLDS
    )["reason"]
    assert " is shown" not in reason  # significant, but the other way round
    nobody = regions([OPEN, OPEN, OPEN])
    assert (
        "difference"
        not in answer_regions(nobody, "aal3", "partner", **chosen)["reason"]
    )


def test_a_verdict_that_depends_on_coverage_says_so():
    table = regions([FOR, OPEN, OPEN])
    again = table.assign(
        verdict=[OPEN, OPEN, FOR],
        verdict_changes=[True, False, True],
        n=[20, 16, 21],
        min_coverage=0.5,
    )
    for question, expected in (("Q1", True), ("Q3", False)):
        reason = answer_regions(
            table, "aal3", "partner", sensitivity=again.assign(question=question)
        )["reason"]
        said = "with cells kept from .50 up, vACC is inconclusive (n = 20), striatum is"
        assert (said in reason) == expected
