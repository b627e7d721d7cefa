"""The calibration beside an independent simulation, and theory (tests/reference/calibration.py)."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from handhold import calibrate

ROOT = Path(__file__).parents[1]
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


def test_every_cell_has_every_test(script):
    cells = [(test, *cell) for test in script.TESTS for cell in script.CELLS]
    found = zip(TABLE["test"], TABLE["smoothness_mm"], TABLE["n_subjects"], strict=True)
    assert sorted(found) == sorted(cells)
    n = script.N_MAPS * script.N_COHORTS
    assert (TABLE["n_replicates"] == n).all()


def test_the_committed_rates_are_those_of_theory():
    own = TABLE[(TABLE["test"] == "subject null") & (TABLE["smoothness_mm"] < 60)]
    # theory takes z as normal and the mean map's own noise as small: .03 beside three errors
    assert (np.abs(own["rate"] - own["theory"]) < 0.03 + 3 * own["error"]).all()
    naive = TABLE[TABLE["test"] == "naive p"]
    assert (np.abs(naive["rate"] - naive["theory"]) < 0.03 + 3 * naive["error"]).all()
    # few patches: correlations spread wider than normal ones
    (wide,) = TABLE[(TABLE["test"] == "subject null") & (TABLE["smoothness_mm"] == 60)][
        ["rate", "theory"]
    ].to_numpy()
    assert wide[0] > wide[1]


def test_the_committed_nulls_agree_with_the_independent_simulation():
    own = TABLE[TABLE["test"].isin(["map null", "both nulls"])]
    own = own[own["independent"].notna()]
    assert len(own) == 6
    # the independent figures stand for some hundred to thousand cohorts: .01 of their own
    difference = np.abs(own["rate"] - own["independent"])
    assert (difference < 3 * np.hypot(own["error"], 0.01)).all()
    # both nulls together reject a fifth as often as the subject test alone, and less
    keys = ["smoothness_mm", "n_subjects"]
    subject, both = (
        TABLE[TABLE["test"] == test].set_index(keys)["rate"]
        for test in ("subject null", "both nulls")
    )
    assert (both < subject / 5).all()


def test_the_table_says_what_does_not_hold():
    n = TABLE["n_replicates"]
    nominal = np.where(TABLE["test"] == "supported", 0.025, 0.05)
    limit = nominal + 2 * np.sqrt(nominal * (1 - nominal) / n)
    assert (TABLE["holds"] == np.where(TABLE["rate"] <= limit, "yes", "no")).all()
    # the deciding null is liberal for smooth maps, and the smoother the more
    both = TABLE[(TABLE["test"] == "both nulls") & (TABLE["n_subjects"] == 30)]
    both = both.set_index("smoothness_mm")
    assert list(both["holds"].loc[[15, 30, 60]]) == ["yes", "no", "no"]
    assert both["rate"].is_monotonic_increasing
    alone = TABLE[TABLE["test"].isin(["naive p", "subject null"])]
    assert (alone["holds"] == "no").all()


def test_what_is_written_of_smooth_maps_is_what_the_table_says():
    own = TABLE[TABLE["n_subjects"] == 30].set_index(["test", "smoothness_mm"])
    shown = own["rate"].map(lambda rate: f"{rate + 1e-9:.3f}"[1:])
    both, supported = (list(shown[test]) for test in ("both nulls", "supported"))
    told = " ".join(calibrate.__doc__.split())
    assert f"reject {both[0]} at s = 15 mm, {both[1]} at 30 mm and {both[2]}" in told
    assert f"supported in {supported[0]}, {supported[1]} and {supported[2]}" in told
    error = own.loc[("both nulls", 60), "error"]
    assert f"(standard error {error:.3f})".replace("0.", ".") in told
    assert list(shown["map null"]) == both
    share = own.loc[("both nulls", 60), "rate"]
    readme = " ".join((ROOT / "README.md").read_text("utf-8").split())
    assert f"{100 * share:.1f} % at 60 mm" in readme


def test_a_small_version_gives_these_rates(script):
    centres = script.cortical_centres()
    assert centres.shape == (98, 3)
    n_maps, n_cohorts = 8, 16
    rates = script.run(centres, 30, 16, n_maps, n_cohorts).mean() / n_cohorts
    expected = TABLE[(TABLE["smoothness_mm"] == 30) & (TABLE["n_subjects"] == 16)]
    expected = expected.set_index("test")["rate"]
    for test in ("subject null", "map null", "both nulls"):
        p = expected[test]
        # rates vary between maps about as much again as binomial counts do
        error = np.sqrt(2 * p * (1 - p) / (n_maps * n_cohorts))
        assert rates[test] == pytest.approx(p, abs=4 * error)
    assert rates["both nulls"] <= rates["map null"] < rates["subject null"] / 2
