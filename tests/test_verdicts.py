import re

import numpy as np
import pandas as pd
import pytest

from handhold import spec
from handhold.verdicts import (
    QUESTIONS,
    RULES,
    Evidence,
    answer,
    answer_correspondence,
    answer_coupling,
    answer_regions,
    answer_specificity,
    judge,
    judge_correspondence,
    judge_rows,
)

NAN = float("nan")
THRESHOLDS = {"alpha": 0.05, "bf_against": 1 / 3, "power": 0.8}
ABOVE, BELOW = np.nextafter(0.05, 1), np.nextafter(0.05, 0)
THIRD_ABOVE = np.nextafter(1 / 3, 1)
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
    assert reason in {rule.reason for rule in RULES}


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
    assert found == {(rule.verdict, rule.reason) for rule in RULES}


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
    keys = spec.schema()["properties"]["verdicts"]["properties"]
    assert set(keys) == set(THRESHOLDS)


def test_rows_are_judged_by_the_p_that_is_named():
    table = pd.DataFrame({"effect": [0.4, 0.4], "p": [0.01, 0.01], "p_fwe": [0.2, NAN]})
    assert judge_rows(table, "p", THRESHOLDS)["verdict"].tolist() == [FOR, FOR]
    judged = judge_rows(table, "p_fwe", THRESHOLDS)
    assert judged["verdict"].tolist() == [OPEN, OPEN]
    assert judged["reason"].iloc[1] == "too few values to test"


# --- Q2 --------------------------------------------------------------------------------


def correspondence(**changes):
    row = {
        "question": "Q2",
        "scope": "all",
        "method": "spearman",
        "contrast": "partner",
        "effect": 0.4,
        "mean_r": 0.2,
        "p_map": 0.01,
        "p_subject": 0.02,
        "p": 0.02,
        "p_tost": 0.9,
        "bf10": 5.0,
    }
    return judge_correspondence(pd.DataFrame([{**row, **changes}]), THRESHOLDS)


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
        r"map null gives p = 0?\.01.*subject null p = 0?\.02", found["reason"]
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
    named = [n for n, v in zip(("vACC", "insula", "striatum"), verdicts, strict=True)
             if v == expected]  # fmt: skip
    if expected == AGAINST:
        assert "in any of the regions" in found["sentence"]
    else:
        assert found["sentence"].endswith(", ".join(named) + ".")


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
    row |= {"reason": "because", "n": 16, "detectable_r": 0.64}
    other = {**row, "contrast": "stranger", "verdict": FOR}
    found = answer_coupling(pd.DataFrame([other, row]), "partner", "MOR")
    assert found["verdict"] == verdict
    assert found["reason"].startswith("because")
    assert ("n = 16" in found["reason"]) == (verdict == OPEN)
    assert len(found["inputs"]) == 1


# --- Q5 --------------------------------------------------------------------------------


def panel(*others):
    """Return a table of Q5; each other map is (difference, family-wise p of it)."""
    rows = [{"label": "MOR", "target": True, "difference": 0, "p_difference_fwe": NAN}]
    rows += [
        {"label": f"map{i}", "target": False, "difference": d, "p_difference_fwe": p}
        for i, (d, p) in enumerate(others)
    ]
    table = pd.DataFrame(rows).assign(contrast="partner", r_squared=NAN, r_with_y=0.78)
    table["effect"] = 0.4 - table["difference"]
    table.loc[0, "r_squared"] = 0.92
    return table


def test_a_map_that_attenuation_does_not_follow_is_not_ahead():
    table = panel((-0.3, 0.001))
    table["effect"] -= 0.8  # target -.4, the other map -.1: neither is followed
    found = answer_specificity(table, "partner", {"verdict": OPEN}, THRESHOLDS)
    assert found["verdict"] == OPEN


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
    assert re.search(r"R2 = 0?\.92 .* r = 0?\.78", found["reason"])


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
    assert [rule["verdict"] for rule in found["rules"]] == [r.verdict for r in RULES]
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
