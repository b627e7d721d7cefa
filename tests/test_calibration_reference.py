"""The calibration beside an independent simulation, and theory (tests/reference/calibration.py)."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

REFERENCE = Path(__file__).parent / "reference"
TABLE = pd.read_csv(REFERENCE / "calibration.tsv", sep="\t")


@pytest.fixture(scope="module")
def script():
    path = REFERENCE / "calibration.py"
    found = importlib.util.spec_from_file_location("calibration_reference", path)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_one_size_of_the_true_map_gives_the_three_rates_of_the_subject_test(script):
    for n, independent in ((16, 0.37), (30, 0.49), (110, 0.70)):
        # the figures were given to two digits
        assert script.theory(n) == pytest.approx(independent, abs=0.01)


def test_the_committed_rates_are_those_of_theory():
    own = TABLE[TABLE["test"] == "subject null"]
    # theory takes z as normal and the mean map's own noise as small: .03 beside three errors
    assert (np.abs(own["rate"] - own["theory"]) < 0.03 + 3 * own["error"]).all()
    naive = TABLE[TABLE["test"] == "naive p"]
    assert (np.abs(naive["rate"] - naive["theory"]) < 0.03 + 3 * naive["error"]).all()


def test_the_committed_nulls_agree_with_the_independent_simulation():
    own = TABLE[TABLE["test"].isin(["map null", "both nulls"])]
    # the independent figures stand for some hundred to thousand cohorts: .01 of their own
    difference = np.abs(own["rate"] - own["independent"])
    assert (difference < 3 * np.hypot(own["error"], 0.01)).all()
    # both nulls together reject a tenth as often as the subject test alone
    subject = TABLE[TABLE["test"] == "subject null"].set_index("n_subjects")["rate"]
    both = TABLE[TABLE["test"] == "both nulls"].set_index("n_subjects")["rate"]
    assert (both < subject / 5).all()


def test_a_small_version_gives_these_rates(script):
    centres = script.cortical_centres()
    assert centres.shape == (98, 3)
    n_maps, n_cohorts = 8, 16
    rates = script.run(centres, 30, 16, n_maps, n_cohorts).mean()
    expected = TABLE[(TABLE["smoothness_mm"] == 30) & (TABLE["n_subjects"] == 16)]
    expected = expected.set_index("test")["rate"]
    for test in ("subject null", "map null", "both nulls"):
        p = expected[test]
        # rates vary between maps about as much again as binomial counts do
        error = np.sqrt(2 * p * (1 - p) / (n_maps * n_cohorts))
        assert rates[test] == pytest.approx(p, abs=4 * error)
    assert rates["both nulls"] <= rates["map null"] < rates["subject null"] / 2
