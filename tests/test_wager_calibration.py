"""README's figures of the calibration of the reanalysis are those of the committed table."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from handhold import rates
from handhold.worlds import WORLDS

ROOT = Path(__file__).parents[1]
TABLE, NEEDED = (
    pd.read_csv(ROOT / f"tests/reference/wager2008_{name}.tsv", sep="\t")
    for name in ("calibration", "sample_size")
)


def test_readme_says_what_the_table_says():
    readme = " ".join((ROOT / "README.md").read_text("utf-8").split())
    (told,) = re.findall(
        r"naive p rejects (\S+) %, the subject null alone (\S+) %, "
        r"the map null alone (\S+) %, both (\S+) % "
        r"\(`tests/reference/wager2008_calibration\.tsv`\)",
        readme,
    )
    own = TABLE[(TABLE["world"] == "elsewhere") & (TABLE["question"] == "Q2")]
    tests = ["naive p", "subject null", "map null (Moran singleton)", "both nulls"]
    for test, shown in zip(tests, told, strict=True):
        (found,) = own.loc[own["test"] == test, "rate"]
        digits = len(shown.partition(".")[2])
        assert f"{100 * found:.{digits}f}" == shown


def test_the_table_is_of_1000_cohorts_of_every_world_but_that_of_the_baselines():
    own = TABLE[TABLE["n_subjects"] == 30]
    assert set(own["world"]) == {*WORLDS} - {"baselines"}
    assert (own["n_replicates"] == 1000).all()
    assert set(own["question"]) == {"Q1", "Q2", "Q3", "Q4", "Q5"}
    # power does not fall with people, beyond the chance of 400 cohorts
    curve = TABLE[(TABLE["world"] == "follows") & (TABLE["test"] == "supported")]
    for _, one in curve.groupby("question"):
        power = one.sort_values("n_subjects")["rate"].to_numpy()
        assert (np.diff(power) > -4 * np.sqrt(2 * 0.25 / 400)).all()


def test_rates_and_people_needed_follow_from_the_counts():
    again = rates.rate(TABLE, level=0.95, alpha=0.05, smallest_r=0.1)
    again = again.replace({None: np.nan})[TABLE.columns]
    pd.testing.assert_frame_equal(again, TABLE, check_dtype=False, atol=1e-4, rtol=0)
    found = rates.needed_subjects(again, NEEDED["power"].iloc[0])
    found = found.set_index("question").loc[NEEDED["question"]].reset_index()
    pd.testing.assert_frame_equal(found, NEEDED, check_dtype=False, atol=1e-4, rtol=0)


def test_what_decides_errs_no_more_often_than_it_may():
    """Of the real people, noise and map: the deciding errors, each held to its nominal rate."""
    errors = TABLE[TABLE["is_error"] & TABLE["decides"] & (TABLE["n_subjects"] == 30)]
    assert len(errors) > 15
    assert (errors["holds"] == "yes").all()
