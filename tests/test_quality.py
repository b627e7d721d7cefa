"""The tables of quality count what the runs say; small tables counted by hand."""

import numpy as np
import pandas as pd
import pytest

from handhold.quality import count_exclusions, review_runs, summarise_runs

NAN = np.nan
LABELS = ["subject", "session", "run"]
# The same label of run in two sessions, and a subject without sessions.
RUNS = pd.DataFrame(
    [
        ("01", "a", "1", 100, 10, 0.1, 0.2, 60, NAN),
        ("01", "b", "1", 100, 0, 0.0, 0.1, 70, NAN),
        ("02", NAN, "1", 300, 60, 0.2, NAN, 210, "rank 3 of 4 columns"),
    ],
    columns=[
        *LABELS,
        *("n_volumes", "n_censored", "censored", "mean_fd", "df", "warnings"),
    ],
)
REGRESSORS = pd.DataFrame(
    [
        ("01", "a", "1", "alone_threat", 1.5, -0.6, 0.2, "goes with rot_x (r = -0.60)"),
        ("01", "a", "1", "alone_safe", 6.0, 0.5, NAN, "VIF 6.0 > 5; 1 of 9 events late"),
        ("01", "b", "1", "alone_threat", 2.0, NAN, 0.1, NAN),
        ("02", NAN, "1", "alone_threat", np.inf, 0.1, 0.3, "VIF inf > 5"),
    ],
    columns=[
        *LABELS,
        *("regressor", "vif", "r_motion", "high_pass_loss", "warnings"),
    ],
)  # fmt: skip


def test_the_worst_cell_stands_beside_its_run():
    # Neither in the order of its labels: a join by position would mix up the runs.
    review = review_runs(RUNS.iloc[[2, 0, 1]], REGRESSORS.iloc[[3, 1, 2, 0]])
    assert review["subject"].tolist() == ["02", "01", "01"]
    assert review["largest_vif"].tolist() == [np.inf, 6.0, 2.0]
    assert review["largest_r_motion"].tolist() == pytest.approx(
        [0.1, 0.6, NAN], nan_ok=True
    )
    assert review["largest_high_pass_loss"].tolist() == [0.3, 0.2, 0.1]
    assert list(RUNS) == [c for c in review if not c.startswith("largest")]


def test_every_warning_is_told_with_its_cell():
    review = review_runs(RUNS, REGRESSORS)
    assert review["warnings"].tolist() == [
        "alone_threat: goes with rot_x (r = -0.60). "
        "alone_safe: VIF 6.0 > 5; 1 of 9 events late",
        None,
        "rank 3 of 4 columns. alone_threat: VIF inf > 5",
    ]


def test_the_summary_counts_volumes_not_shares():
    row = summarise_runs(review_runs(RUNS, REGRESSORS)).iloc[0].to_dict()
    assert row == pytest.approx(
        {
            "n_subjects": 2,
            "n_runs": 3,
            "total_volumes": 500,
            "total_censored": 70,
            "share_censored": 70 / 500,
            "highest_censored": 0.2,
            "average_fd": 0.15,
            "df_low": 60,
            "df_high": 210,
            "n_warned": 2,
        }
    )


def test_a_study_without_a_warning_has_none():
    quiet = REGRESSORS.assign(warnings=np.full(4, NAN))
    review = review_runs(RUNS.assign(warnings=np.full(3, NAN)), quiet)
    assert review["warnings"].isna().all()
    assert summarise_runs(review)["n_warned"].item() == 0


EXCLUSIONS = pd.DataFrame(
    [
        ("manifest", "subject", "07", NAN, NAN, 3),
        ("manifest", "run", "08", NAN, NAN, 1),
        ("coverage", "ROI cell", "01", "aal3", NAN, 6),
        ("coverage", "ROI cell", "01", "aal3", NAN, 2),
        ("coverage", "ROI cell", "02", "aal3", NAN, 6),
        ("coverage", "ROI cell", "02", "sphere", NAN, 6),
        ("correspondence", "parcel", NAN, NAN, "partner", 1),
        ("correspondence", "parcel", NAN, NAN, "partner", 1),
        ("correspondence", "parcel", NAN, NAN, "stranger", 1),
    ],
    columns=["stage", "what", "subject", "definition", "contrast", "n"],
)


def test_exclusions_are_counted_by_stage():
    counted = count_exclusions(EXCLUSIONS)
    # fmt: off
    assert counted.astype(object).where(counted.notna(), None).to_numpy().tolist() == [
        ["manifest", "subject", None, None, 1, 3],
        ["manifest", "run", None, None, 1, 1],
        ["coverage", "ROI cell", "aal3", None, 2, 14],
        ["coverage", "ROI cell", "sphere", None, 1, 6],
        ["correspondence", "parcel", None, "partner", None, 2],
        ["correspondence", "parcel", None, "stranger", None, 1],
    ]
    # fmt: on
    assert counted["n"].sum() == EXCLUSIONS["n"].sum()
    assert counted["n_subjects"].to_csv(index=False).split()[1:3] == ["1", "1"]


def test_nothing_excluded_is_a_table_of_no_rows():
    counted = count_exclusions(EXCLUSIONS.iloc[:0])
    assert counted.empty
    keys = ["stage", "what", "definition", "contrast"]
    assert list(counted) == [*keys, "n_subjects", "n"]
