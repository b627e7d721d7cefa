"""Q1 and Q3 at another coverage: what does not change is the same, and what does is named."""

import numpy as np
import pandas as pd
import pytest

from handhold import spec
from handhold.attenuation import assess_attenuation, attenuate
from handhold.coverage import gate
from handhold.sensitivity import KEYS, REGION, assess_sensitivity
from handhold.tracking import assess_tracking
from handhold.verdicts import decided_by, judge_rows, judge_tracking
from rules import THRESHOLDS

CONTRASTS = [{"name": "partner", "baseline": "alone", "held": "partner"}]
TESTS = {
    **{"n_permutations": 999, "n_bootstrap": 199, "level": 0.95, "smallest_dz": 0.3},
    **{"bayes_scale": 0.7, "sensitivity_scales": [0.7], "bayes_kappa": 1 / 3},
    "sensitivity_kappas": [1 / 3],
}
N, LOW = 20, 8


def cells(rng):
    """Two ROIs; in the second, eight people of large attenuation are covered to .6."""
    rows = []
    for region in ("vACC", "insula"):
        for person in range(N):
            weak = region == "insula" and person < LOW
            attenuation = rng.normal(1.5 if weak else 0.2, 0.3)
            for condition, cue, effect in (
                ("alone", "threat", 2.0 + rng.normal(0, 0.1)),
                ("alone", "safe", 0.5),
                ("partner", "threat", 2.0 - attenuation),
                ("partner", "safe", 0.5),
            ):
                row = ("aal3", region, "both", "hypothesised", condition, cue, effect)
                rows.append((f"{person:02}", *row, 0.6 if weak else 0.9))
    columns = ["subject", *REGION, "condition", "cue", "effect", "coverage"]
    return pd.DataFrame(rows, columns=columns).assign(
        contrast=None, run=None, variance=np.nan
    )


def streams():
    names = {"Q1": "test_attenuation", "Q3": "test_tracking"}
    return {question: spec.random_stream(7, rule) for question, rule in names.items()}


def primary(effects, relief, least):
    """Return what the rules of Q1 and Q3 write."""
    table = attenuate(gate(effects, least), CONTRASTS, REGION)
    rngs = streams()
    q1 = judge_rows(
        assess_attenuation(table, TESTS, THRESHOLDS, rngs["Q1"]), "p_fwe", THRESHOLDS
    )
    found = assess_tracking(table, relief, TESTS, THRESHOLDS, rngs["Q3"])
    return {"Q1": q1, "Q3": judge_tracking(found, THRESHOLDS)}


@pytest.fixture
def study(rng):
    effects = cells(rng)
    relief = pd.DataFrame(
        {
            "subject": [f"{person:02}" for person in range(N)],
            "contrast": "partner",
            "relief": rng.normal(1, 1, N),
            "baseline": rng.normal(5, 1, N),
        }
    )
    return effects, relief


def assess(study, least, before=0.8):
    effects, relief = study
    given = (CONTRASTS, least, primary(effects, relief, before), TESTS, THRESHOLDS)
    return assess_sensitivity(effects, relief, *given, streams())


def test_people_of_low_coverage_come_back(study):
    found = assess(study, 0.5).set_index(["question", "region"])
    assert found["n"].to_dict() == {
        (question, region): N
        for question in ("Q1", "Q3")
        for region in ("vACC", "insula")
    }
    effects, _ = study
    own = effects[effects["region"] == "insula"]
    wide = own.pivot(index="subject", columns=["condition", "cue"], values="effect")
    values = wide["alone", "threat"] - wide["partner", "threat"]
    assert found.loc[("Q1", "insula"), "effect"] == pytest.approx(values.mean())
    assert found.loc[("Q1", "insula"), "verdict"] == "supported"
    assert (found["min_coverage"] == 0.5).all()


def test_the_same_coverage_gives_the_same_numbers(study):
    effects, relief = study
    before = primary(effects, relief, 0.8)
    found = assess(study, 0.8)
    assert not found["verdict_changes"].any()
    for question, table in before.items():
        own = found[found["question"] == question]
        own = own.merge(
            decided_by(table) if question == "Q3" else table,
            on=KEYS,
            suffixes=("", "_"),
        )
        assert len(own) == 2
        for column in ("n", "effect", "p_fwe", "bf10"):
            assert own[column].to_numpy() == pytest.approx(own[f"{column}_"].to_numpy())


def test_a_verdict_that_turns_is_marked(study, rng):
    """Of the insula only people with weak attenuation were covered enough."""
    effects, relief = study
    rest = (effects["region"] == "insula") & (effects["coverage"] > 0.8)
    held = (effects["condition"] == "partner") & (effects["cue"] == "threat")
    effects.loc[rest & held, "effect"] = 2.0 + rng.normal(0, 0.5, (rest & held).sum())
    found = assess((effects, relief), 0.5)
    turned = found[found["verdict_changes"]].set_index(["question", "region"])
    assert ("Q1", "insula") in turned.index
    row = turned.loc[("Q1", "insula")]
    assert (row["verdict_before"], row["verdict"]) == ("inconclusive", "supported")
    assert ("Q1", "vACC") not in turned.index


def test_without_ratings_q1_alone_is_asked(study):
    effects, relief = study
    before = {"Q1": primary(effects, relief, 0.8)["Q1"]}
    found = assess_sensitivity(
        effects, None, CONTRASTS, 0.5, before, TESTS, THRESHOLDS, streams()
    )
    assert set(found["question"]) == {"Q1"}
