import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from handhold.errors import StudyError
from handhold.events import (
    check_span,
    complete_runs,
    count_repeats,
    drop_incomplete,
    list_trials,
    name_run,
    rating_grain,
    run_keys,
    tidy_events,
    tidy_runs,
    trial_ratings,
    unused_conditions,
)

PARTNER = [{"name": "partner", "baseline": "alone", "held": "partner"}]
TYPES = ["threat", "safe"]
CELLS = [{"trial_type": cue, "cue": cue} for cue in TYPES]
# Trial types that name their condition.
NAMED = [
    {"trial_type": f"{condition}{cue}", "cue": cue, "condition": condition}
    for condition in ("alone", "partner")
    for cue in TYPES
]


def section(**changes):
    """Return a section events with its defaults; a change to None removes the key."""
    events = {
        "type_column": "trial_type",
        "cells": CELLS,
        "condition": {"column": "hand"},
        "rename": {},
        "others": ["shock"],
        "ignore": [],
        **changes,
    }
    return {key: value for key, value in events.items() if value is not None}


def table(*rows, columns="onset duration trial_type hand", first=2):
    """Return events as text, n/a missing, on the lines of their file."""
    frame = pd.DataFrame(rows, columns=columns.split(), dtype=object)
    frame.index += first
    return frame.astype(str).mask(frame.isin(["n/a"]))


ROWS = [
    ("1.5", "4", "threat", "alone"),
    ("6", "0.5", "shock", "n/a"),
    ("10", "4", "safe", "alone"),
    ("20", "4", "threat", "partner"),
    ("30", "4", "safe", "partner"),
]


def tidy(rows, events=None, run="1", columns="onset duration trial_type hand"):
    return tidy_events(
        table(*rows, columns=columns), events or section(), run=run, where="sub-01"
    )


def faults(rows, events=None, run="1", columns="onset duration trial_type hand"):
    with pytest.raises(StudyError) as caught:
        tidy(rows, events, run, columns)
    text = str(caught.value)
    found = [line[4:] for line in text.splitlines() if line.startswith("  - ")]
    number = "1 fault:" if len(found) == 1 else f"{len(found)} faults:"
    assert text.startswith(f"the events of sub-01 have {number}")
    assert "bids.exclude" in text.splitlines()[-1]
    return [fault.removeprefix("sub-01: ") for fault in found]


# --- From rows to cells ------------------------------------------------------------------


def test_rows_become_trials_of_cells():
    events, ignored = tidy(ROWS)
    assert ignored.empty
    assert list(ignored) == ["trial_type", "n"]
    expected = pd.DataFrame(
        {
            "onset": [1.5, 6, 10, 20, 30],
            "duration": [4, 0.5, 4, 4, 4],
            "trial_type": ["threat", "shock", "safe", "threat", "safe"],
            "regressor": [
                "alone_threat",
                "shock",
                "alone_safe",
                "partner_threat",
                "partner_safe",
            ],
            "condition": ["alone", np.nan, "alone", "partner", "partner"],
            "cue": ["threat", np.nan, "safe", "threat", "safe"],
            "rating": [np.nan] * 5,
        }
    )
    pd.testing.assert_frame_equal(events, expected, check_dtype=False)
    assert events.dtypes[["onset", "duration", "rating"]].eq(float).all()


def test_the_table_is_not_changed():
    own, events = table(*ROWS[::-1]), section(rename={"alone": "a"})
    before = own.copy()
    tidy_events(own, events, run="1", where="sub-01")
    pd.testing.assert_frame_equal(own, before)
    assert events == section(rename={"alone": "a"})


def test_trial_types_may_name_the_condition():
    rows = [("1", "1", "alonesafe"), ("0", "1", "partnerthreat"), ("2", "1", "shock")]
    events = section(cells=NAMED, condition=None)
    found, _ = tidy(rows, events, columns="onset duration trial_type")
    assert found["regressor"].tolist() == ["partner_threat", "alone_safe", "shock"]


def test_several_trial_types_may_make_a_cell():
    cells = [*CELLS, {"trial_type": "threat_catch", "cue": "threat"}]
    rows = [*ROWS, ("40", "4", "threat_catch", "alone")]
    events, _ = tidy(rows, section(cells=cells))
    assert events["regressor"].tolist().count("alone_threat") == 2


@pytest.mark.parametrize("run", ["2", "02", "002"])
@pytest.mark.parametrize("label", ["2", "02", 2])
def test_the_run_may_name_the_condition(run, label):
    rule = {"run": {"1": "alone", label: "partner"}}
    events, _ = tidy(ROWS, section(condition=rule), run=run)
    assert set(events["condition"].dropna()) == {"partner"}


def test_a_run_without_condition_is_refused():
    rule = section(condition={"run": {"1": "alone", "2": "partner"}})
    (fault,) = faults(ROWS, rule, run="3")
    assert fault == "events.condition.run names no condition for run 3; it names 1, 2"
    (fault,) = faults(ROWS, rule, run=None)
    assert "for a run without label" in fault
    # without trials nothing needs a condition
    tidy([ROWS[1]], rule, run="3")


def test_words_of_the_study_become_ours():
    rows = [("1", "1", "threat", "spouse"), ("2", "1", "safe", "alone")]
    events, _ = tidy(rows, section(rename={"spouse": "partner", "safe": "x"}))
    assert events["regressor"].tolist() == ["partner_threat", "alone_safe"]


def test_a_trial_without_condition_is_refused():
    rows = [*ROWS, ("40", "4", "threat", "n/a"), ("50", "4", "safe", "n/a")]
    (fault,) = faults(rows)
    assert fault == (
        "2 trials have no hand (events.condition.column), the first in line 7"
    )


def test_a_trial_type_may_stand_in_another_column():
    columns = "onset duration event hand"
    events, _ = tidy(ROWS, section(type_column="event"), columns=columns)
    assert len(events) == 5
    (fault,) = faults(ROWS, columns=columns)
    assert fault.startswith("there is no column trial_type (events.type_column); ")


def test_every_missing_column_is_named():
    events = section(rating={"column": "score"})
    found = faults([("1", "2")], events, columns="Onset trial_type")
    assert [fault.split(";")[0] for fault in found] == [
        "there is no column onset (BIDS)",
        "there is no column duration (BIDS)",
        "there is no column hand (events.condition.column)",
        "there is no column score (events.rating.column)",
    ]
    assert "did you mean Onset?" in found[0]


def test_a_table_without_rows_has_no_events():
    for columns in ("onset duration trial_type hand", "onset duration"):
        events, ignored = tidy([], columns=columns)
        assert len(events) == len(ignored) == 0
        assert list(events) == [
            *("onset", "duration", "trial_type", "regressor"),
            *("condition", "cue", "rating"),
        ]
        assert events["onset"].dtype == float


# --- Trial types that are named nowhere --------------------------------------------------


def test_unknown_trial_types_are_refused_with_their_number_and_the_nearest():
    rows = [*ROWS, *[(str(40 + n), "4", "thraet", "alone") for n in range(3)]]
    rows += [("60", "1", "n/a", "alone")]
    found = faults(rows)
    assert len(found) == 2
    assert found[0].startswith(
        "the trial type n/a (1 events) is in none of events.cells"
    )
    assert found[1].startswith("the trial type thraet (3 events) is in none of events.")
    assert found[1].endswith("did you mean threat?")


def test_what_is_ignored_is_counted():
    rows = [*ROWS, ("x", "n/a", "pulse", "n/a"), ("50", "1", "n/a", "n/a")]
    rows += [("51", "1", "pulse", "n/a")]
    events, ignored = tidy(rows, section(ignore=["pulse", "n/a", "never"]))
    assert len(events) == 5
    assert ignored.to_numpy().tolist() == [["n/a", 1], ["pulse", 2]]


def test_a_study_lists_the_unknown_of_all_runs_once():
    odd = table(*ROWS, ("40", "1", "sok", "n/a"))
    tables = {("01", None, "1"): odd, ("02", None, "1"): odd}
    with pytest.raises(StudyError) as caught:
        tidy_runs(tables, section())
    text = str(caught.value)
    assert text.startswith("the events of 2 runs have 1 fault:")
    assert "the trial type sok (2 events)" in text


def test_a_study_without_a_trial_type_that_it_names_is_refused():
    tables = {("01", None, "1"): table(*ROWS), ("02", None, "1"): table(ROWS[0])}
    trials = tidy_runs(tables, section())
    assert list(trials.runs) == list(tables)
    assert len(trials.runs["01", None, "1"]) == 5
    with pytest.raises(StudyError) as caught:
        tidy_runs(tables, section(others=["shock", "shocks"], ignore=["saef"]))
    text = str(caught.value)
    assert "have 2 faults" in text
    assert (
        "no run has the trial type shocks (events.others); did you mean shock?" in text
    )
    assert "no run has the trial type saef (events.ignore); did you mean safe?" in text


def test_a_study_without_a_run_that_it_names_is_refused():
    tables = {("01", None, run): table(*ROWS) for run in ("01", "02")}
    rule = {"run": {"1": "alone", "2": "partner"}}
    trials = tidy_runs(tables, section(condition=rule))
    conditions = [set(own["condition"].dropna()) for own in trials.runs.values()]
    assert conditions == [{"alone"}, {"partner"}]
    rule["run"]["3"] = "stranger"
    with pytest.raises(StudyError, match=r"no subject has the run 3 .*runs here: 1, 2"):
        tidy_runs(tables, section(condition=rule))


def test_a_study_counts_what_it_ignores_and_lists_every_run():
    tables = {("01", "a", "1"): table(*ROWS), ("02", "a", "1"): table(*ROWS)}
    trials = tidy_runs(tables, section(others=[], ignore=["shock"]))
    assert trials.ignored.to_numpy().tolist() == [["shock", 2]]
    tables = {key: table(("x", "1", "threat", "alone")) for key in tables}
    tables["03", "a", "1"] = table(*ROWS)
    with pytest.raises(StudyError) as caught:
        tidy_runs(tables, section())
    for name in ("sub-01 ses-a run-1: onset is 'x'", "sub-02 ses-a run-1: onset is"):
        assert name in str(caught.value)


def test_a_table_that_cannot_be_read_hides_no_trial_type():
    good = table(("1", "1", "threat", "alone"))
    bad = table(*ROWS).drop(columns="hand")
    with pytest.raises(StudyError, match="have 1 fault") as caught:
        tidy_runs({("01", None, None): good, ("02", None, None): bad}, section())
    assert "sub-02: there is no column hand" in str(caught.value)


# --- Numbers -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("onset", "fault"),
    [
        ("x", "onset is 'x' in line 7 (1 of 6 events); give seconds"),
        ("n/a", "onset is missing in line 7"),
        (
            "1,5",
            "onset is '1,5' in line 7 (1 of 6 events); write decimals with a point",
        ),
        ("-12,25", "write decimals with a point"),
        ("inf", "onset is 'inf'"),
        ("1_0", "onset is '1_0'"),
        ("nan", "onset is 'nan'"),
    ],
)
def test_an_onset_that_is_no_number_is_refused(onset, fault):
    (found,) = faults([*ROWS, (onset, "4", "threat", "alone")])
    assert found.startswith(fault) or found.endswith(fault)


@pytest.mark.parametrize(
    ("duration", "fault"),
    [
        ("n/a", "duration is missing in line 7"),
        ("-1", "duration is '-1' in line 7 (1 of 6 events); give seconds, 0 or more"),
        ("long", "duration is 'long'"),
    ],
)
def test_a_duration_that_is_none_is_refused(duration, fault):
    (found,) = faults([*ROWS, ("40", duration, "threat", "alone")])
    assert found.startswith(fault)
    assert "events.ignore" in found


def test_all_wrong_numbers_are_counted():
    rows = [("a", "x", "threat", "alone"), ("b", "0", "safe", "alone"), ROWS[1]]
    found = faults(rows)
    assert "(2 of 3 events)" in found[0]
    assert "(1 of 3 events)" in found[1]


def test_onsets_before_the_scan_and_instants_are_taken():
    rows = [("-3", "0", "threat", "alone"), ("1e1", "2.", "safe", "alone")]
    events, _ = tidy(rows)
    assert events["onset"].tolist() == [-3, 10]
    assert events["duration"].tolist() == [0, 2]


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(range(5)))
def test_the_order_of_rows_does_not_matter(order):
    expected, _ = tidy(ROWS)
    found, _ = tidy([ROWS[place] for place in order])
    pd.testing.assert_frame_equal(found, expected)


# --- Twice -------------------------------------------------------------------------------


def test_rows_listed_twice_are_refused():
    rows = [*ROWS, ROWS[0], ROWS[0], ROWS[1]]
    (fault,) = faults(rows)
    assert fault == (
        "alone_threat at 1.5 s is listed 3 times (lines 2, 7, 8; 3 events too many in the run)"
    )
    # as text they differ; in time they do not
    (fault,) = faults([*ROWS, ("1.50", "3", "threat", "alone")])
    assert "listed 2 times (lines 2, 7; 1 events too many" in fault


def test_events_of_two_kinds_may_begin_together():
    events, _ = tidy([*ROWS, ("1.5", "1", "shock", "alone")])
    assert len(events) == 6


def test_what_is_ignored_may_be_there_twice():
    rows = [*ROWS[2:], *[("1", "1", "pulse", "n/a")] * 2]
    events, ignored = tidy(rows, section(others=[], ignore=["pulse"]))
    assert len(events) == 3
    assert ignored["n"].item() == 2


@pytest.mark.parametrize("name", ["onset", "duration", "trial_type", "hand"])
def test_a_column_that_is_there_twice_must_say_the_same(name):
    own = table(*ROWS)
    own[f"{name}.1"] = own[name]
    own["note"], own["note.1"] = "a", "b"
    events, _ = tidy_events(own, section(), run="1", where="sub-01")
    pd.testing.assert_frame_equal(events, tidy(ROWS)[0])
    own.loc[4, f"{name}.1"] = "7"
    with pytest.raises(StudyError, match=rf"the column {name} is there twice") as error:
        tidy_events(own, section(), run="1", where="sub-01")
    assert f"({name}.1)" in str(error.value)


def test_a_regressor_has_one_meaning():
    rows = [*ROWS, ("40", "1", "alone_threat", "n/a")]
    (fault,) = faults(rows, section(others=["shock", "alone_threat"]))
    assert fault.startswith(
        "alone_threat is a trial type of events.others and the name"
    )


# --- Ratings within events ---------------------------------------------------------------

RATED = "onset duration trial_type hand rating"
OWN = section(rating={"column": "rating"})
SCREEN = section(
    others=["shock", "screen"], rating={"column": "rating", "trial_type": "screen"}
)


def test_a_rating_stands_in_the_row_of_its_trial():
    rows = [(*row, rating) for row, rating in zip(ROWS, "5n3n2", strict=True)]
    rows = [(*row[:4], "n/a" if row[4] == "n" else row[4]) for row in rows]
    events, _ = tidy(rows, OWN, columns=RATED)
    ratings = dict(zip(events["onset"], events["rating"], strict=True))
    assert ratings == pytest.approx(
        {1.5: 5, 6: np.nan, 10: 3, 20: np.nan, 30: 2}, nan_ok=True
    )


def screened(*screens):
    trials = [(*row, "n/a") for row in ROWS]
    return [
        *trials,
        *((onset, "3", "screen", "n/a", score) for onset, score in screens),
    ]


@pytest.mark.parametrize("place", ["others", "ignore"])
def test_a_rating_on_its_own_row_belongs_to_the_trial_before(place):
    rows = screened(("15", "3"), ("7", "50"), ("35", "n/a"), ("29.9", "80.5"))
    if place == "ignore":  # how long the screen stood matters to its regressor only
        rows = [
            (row[0], "n/a", *row[2:]) if row[2] == "screen" else row for row in rows
        ]
    events = {**SCREEN, "others": ["shock"], place: ["screen"]}
    if place == "others":
        events["others"] = ["shock", "screen"]
    found, _ = tidy(rows, events, columns=RATED)
    trials = found[found["cue"].notna()]
    # the shock at 6 s is no trial: the screen at 7 s is about the one at 1.5 s
    expected = {1.5: 50, 10: 3, 20: 80.5, 30: np.nan}
    ratings = dict(zip(trials["onset"], trials["rating"], strict=True))
    assert ratings == pytest.approx(expected, nan_ok=True)
    assert found.loc[found["cue"].isna(), "rating"].isna().all()
    assert (found["trial_type"] == "screen").sum() == 4 * (place == "others")


def test_a_rating_row_may_begin_with_its_trial():
    found, _ = tidy(screened(("10", "7")), SCREEN, columns=RATED)
    assert found.loc[found["onset"] == 10, "rating"].dropna().tolist() == [7]
    assert found.dropna(subset=["rating"])["trial_type"].item() == "safe"


@pytest.mark.parametrize(
    ("screens", "fault"),
    [
        ([("7", "50"), ("8", "60")], "the trial in line 2 is followed by 2 ratings"),
        ([("1", "50")], "the rating in line 7 comes before the first trial (1 such)"),
        ([("7", "much")], "the rating 'much' in line 7 is not a number (1 such)"),
        ([("x", "5")], "onset is 'x' in line 7 (1 of 6 events)"),
    ],
)
def test_a_rating_that_belongs_to_no_trial_is_refused(screens, fault):
    found = faults(screened(*screens), SCREEN, columns=RATED)
    assert found[0].startswith(fault)


def test_a_rating_in_a_run_without_trials_is_refused():
    (fault,) = faults([("7", "1", "screen", "n/a", "5")], SCREEN, columns=RATED)
    assert fault.startswith("the rating in line 2 comes before the first trial")


def test_missing_ratings_on_rows_of_their_own_are_no_fault():
    rows = screened(("1", "n/a"), ("7", "n/a"), ("8", "4"))
    found, _ = tidy(rows, SCREEN, columns=RATED)
    assert found["rating"].dropna().tolist() == [4]


def test_ratings_on_rows_of_their_own_are_not_overlooked():
    rows = screened(("7", "50"), ("12", "60"))
    events = {**SCREEN, "rating": {"column": "rating"}}
    (fault,) = faults(rows, events, columns=RATED)
    assert fault == (
        "no trial has a rating, and 2 rows of screen have: name that trial type in "
        "events.rating.trial_type"
    )
    # a run in which nobody rated is another matter
    tidy(screened(("7", "n/a")), events, columns=RATED)


def test_a_rating_of_a_trial_that_is_no_number_is_refused():
    rows = [(*ROWS[0], "3,5"), (*ROWS[2], "missed"), (*ROWS[3], "4")]
    (fault,) = faults(rows, OWN, columns=RATED)
    assert fault.startswith("the rating '3,5' in line 2 is not a number (2 such)")


# --- The length of a run -----------------------------------------------------------------


def spanned(*onsets, duration=4.0):
    rows = [(str(onset), str(duration), "threat", "alone") for onset in onsets]
    return tidy(rows)[0]


def test_events_within_the_run_are_taken():
    check_span(spanned(-23, 0, 5, 99.9), 100, "sub-01", min_onset_s=-24)
    check_span(spanned(), 100, "sub-01")


def test_a_scan_that_was_stopped_early_is_left_to_the_design_to_count():
    check_span(spanned(5, 50, 100, 400), 100, "sub-01")


@pytest.mark.parametrize(
    ("onsets", "duration", "fault"),
    [
        (
            (5, 100, 101),
            4,
            "2 of 3 events begin after the run's end (100 s), the last at 101",
        ),
        ((1500, 20000, 60000), 4000, "seem to be in milliseconds"),
        ((500, 20000, 990000), 4000, "compare the events with the run"),
        (
            (-25, 5),
            4,
            "1 events begin before -24 s (glm.min_onset_s), the first at -25",
        ),
        ((5, 6), 2000, "2 events last longer than the run (100 s), up to 2000"),
    ],
)
def test_events_outside_the_run_are_refused(onsets, duration, fault):
    with pytest.raises(
        StudyError, match="the events of sub-01 run-1 have 1 fault"
    ) as e:
        check_span(spanned(*onsets, duration=duration), 100, "sub-01 run-1")
    assert fault in str(e.value)


# --- Runs and people that lack something -------------------------------------------------


def runs_of(*keys):
    runs = pd.DataFrame(keys, columns=["subject", "session", "run"], dtype=object)
    return runs.assign(bold=[f"bold{n}" for n in range(len(runs))])


def run_of(*cells):
    """Tidy events with one trial of each cell, named condition_cue."""
    rows = [
        (str(10 * n), "4", cell.split("_")[1], cell.split("_")[0])
        for n, cell in enumerate(cells)
    ]
    return tidy(rows)[0]


ALONE = ("alone_threat", "alone_safe")
HELD = ("partner_threat", "partner_safe")


def study(**people):
    """Tidy events by run from lists of cells, one list per run."""
    return {
        (subject, None, str(number)): run_of(*cells)
        for subject, runs in people.items()
        for number, cells in enumerate(runs, start=1)
    }


def complete(tidied, policy, events=None, contrasts=PARTNER):
    runs = runs_of(*tidied)
    return complete_runs(tidied, runs, events or section(), contrasts, policy)


SOUND = {name: [ALONE, HELD] for name in ("a", "b", "c")}


@pytest.mark.parametrize("policy", ["refuse", "drop_run", "drop_subject"])
def test_complete_runs_stay(policy):
    kept, excluded = complete(study(**SOUND), policy)
    assert kept["bold"].tolist() == [f"bold{n}" for n in range(6)]
    assert excluded.empty
    assert list(excluded) == ["subject", "what", "n", "reason"]


def test_incomplete_runs_and_people_are_refused_with_what_they_lack():
    tidied = study(**SOUND, d=[ALONE, HELD[:1], ()], e=[[*ALONE, "partner_safe"]])
    with pytest.raises(StudyError) as caught:
        complete(tidied, "refuse")
    text = str(caught.value)
    assert text.startswith("3 of 10 runs are incomplete:")
    for line in (
        "sub-d run-2: no trial of partner safe",
        "sub-d run-3: no trial of any cell",
        "sub-e run-1: no trial of partner threat",
    ):
        assert f"  - {line}\n" in text
    with pytest.raises(StudyError) as caught:
        complete(study(**SOUND, d=[ALONE, ALONE]), "refuse")
    assert "  - sub-d (2 runs): no trial of partner safe, partner threat\n" in str(
        caught.value
    )


def test_incomplete_runs_are_dropped_and_who_then_lacks_a_cell():
    people = {
        "d": [ALONE, HELD, HELD[:1]],  # stays with two runs
        "e": [ALONE, HELD[1:]],  # has nothing of partner left
        "f": [ALONE[:1], HELD[:1]],  # has no run left
    }
    tidied = study(**SOUND, **people)
    kept, excluded = complete(tidied, "drop_run")
    assert run_keys(kept)[6:] == [("d", None, "1"), ("d", None, "2")]
    policy = " (bids.incomplete_runs: drop_run)"
    assert excluded.to_numpy().tolist() == [
        ["d", "run", 1, f"run-3: no trial of partner safe{policy}"],
        ["e", "run", 1, f"run-2: no trial of partner threat{policy}"],
        [
            *("f", "subject", 2),
            f"run-1: no trial of alone safe; run-2: no trial of partner safe{policy}",
        ],
        ["e", "subject", 1, "no trial of partner safe, partner threat"],
    ]
    assert len(kept) + excluded["n"].sum() == len(tidied)


def test_people_with_an_incomplete_run_are_dropped():
    tidied = study(**SOUND, d=[ALONE, HELD, HELD[:1]], e=[ALONE, ALONE])
    kept, excluded = complete(tidied, "drop_subject")
    assert set(kept["subject"]) == set("abc")
    assert excluded[["subject", "what", "n"]].to_numpy().tolist() == [
        ["d", "subject", 3],
        ["e", "subject", 2],
    ]
    assert len(kept) + excluded["n"].sum() == len(tidied)


def test_a_run_without_events_lacks_every_cell():
    tidied = study(**SOUND, d=[ALONE, HELD])
    tidied["d", None, "3"] = None
    kept, excluded = complete(tidied, "drop_run")
    assert len(kept) == 8
    assert excluded["reason"].item().startswith("run-3: no trial of any cell")


def test_a_condition_needs_only_the_cues_that_it_has():
    events = section(
        cells=[*NAMED, {**NAMED[0], "trial_type": "x", "condition": "rest"}]
    )
    tidied = study(**{name: [ALONE, HELD, ["rest_threat"]] for name in "abc"})
    contrasts = [*PARTNER, {"name": "r", "baseline": "rest", "held": "partner"}]
    with pytest.raises(StudyError, match="3 subjects lack a cell"):
        complete(tidied, "refuse", events, contrasts)
    with pytest.raises(StudyError, match="run-3: no trial of rest safe"):
        complete(tidied, "refuse", contrasts=contrasts)


def test_a_condition_of_no_contrast_may_lack_a_cue():
    tidied = study(**{name: [ALONE, [*HELD, "rest_threat"]] for name in "abc"})
    kept, excluded = complete(tidied, "refuse")
    assert len(kept) == 6
    assert excluded.empty
    assert unused_conditions(tidied, PARTNER).to_numpy().tolist() == [["rest", 3]]


def test_who_leaves_too_few_is_named():
    left = {name: [ALONE, HELD[:1]] for name in "defghijklmn"}
    tidied = study(a=[ALONE, HELD], b=[HELD[:1]], **left)
    with pytest.raises(StudyError, match="leaves 1 of 13 subjects") as caught:
        complete(tidied, "drop_run")
    *_, head, first, second = str(caught.value).splitlines()[:3]
    assert head.endswith("need at least 3. Left out:")
    assert first.startswith("  - sub-b (1 runs): run-1: no trial of partner safe")
    assert second == "  - sub-d (1 runs): no trial of partner safe, partner threat"
    assert str(caught.value).endswith("\n  - and 2 more")


def test_every_contrast_needs_its_cells():
    contrasts = [*PARTNER, {"name": "s", "baseline": "stranger", "held": "partner"}]
    stranger = ("stranger_threat", "stranger_safe")
    tidied = study(a=[ALONE, HELD, stranger], **{n: [ALONE, HELD] for n in "bcd"})
    with pytest.raises(StudyError, match="3 subjects lack a cell") as caught:
        complete(tidied, "refuse", contrasts=contrasts)
    assert "sub-b (2 runs): no trial of stranger safe, stranger threat" in str(
        caught.value
    )
    with pytest.raises(StudyError, match="leaves 1 of 4 subjects") as caught:
        complete(tidied, "drop_run", contrasts=contrasts)
    assert "bids.incomplete_runs (drop_run)" in str(caught.value)


def test_a_condition_that_no_run_has_is_refused():
    contrasts = [{"name": "p", "baseline": "alone", "held": "patrner"}]
    with pytest.raises(StudyError, match=r"patrner \(did you mean partner\?\)"):
        complete(study(**SOUND), "drop_run", contrasts=contrasts)


def test_conditions_of_no_contrast_are_counted():
    tidied = study(a=[ALONE, HELD, ["stranger_threat", "stranger_safe"]], b=[ALONE])
    found = unused_conditions(tidied, PARTNER)
    assert found.to_numpy().tolist() == [["stranger", 2]]
    assert unused_conditions(study(**SOUND), PARTNER).empty


def test_runs_without_labels_are_found():
    tidied = {(name, None, None): run_of(*ALONE, *HELD) for name in "abc"}
    runs = runs_of(*[(name, np.nan, np.nan) for name in "abc"])
    kept, excluded = complete_runs(tidied, runs, section(), PARTNER, "refuse")
    assert len(kept) == 3
    assert excluded.empty
    lacks = pd.Series(["no x", None, None], dtype=object)
    assert drop_incomplete(runs, lacks, "drop_run")[1]["reason"].item() == (
        "no x (bids.incomplete_runs: drop_run)"
    )


# --- Ratings over trials -----------------------------------------------------------------


def rated_study(ratings, cue="threat"):
    """Tidy events of one run per subject and session: condition and rating of each trial."""
    found = {}
    for (subject, session, run), own in ratings.items():
        rows = [
            (str(10 * n), "4", cue, condition, "n/a" if score is None else str(score))
            for n, (condition, score) in enumerate(own)
        ]
        rows.append(("995", "4", "safe", "alone", "1000"))
        rows.append(("3", "1", "shock", "n/a", "n/a"))
        found[subject, session, run] = tidy(rows, OWN, columns=RATED)[0]
    return found


def test_ratings_are_averaged_over_the_trials_of_a_condition():
    tidied = rated_study(
        {
            ("01", None, "1"): [("alone", 10), ("alone", 20), ("partner", 5)],
            ("01", None, "2"): [("alone", 60), ("partner", None)],
            ("02", None, "1"): [("alone", 1), ("partner", None)],
        }
    )
    means, trials = trial_ratings(tidied)
    names = ["rating", "n_rated", "n_missing", "n_uncounted"]
    assert list(means) == ["subject", "condition", *names]
    rows = means.set_index(["subject", "condition"])
    assert rows.loc[("01", "alone")].tolist() == [30, 3, 0, 2]
    assert rows.loc[("01", "partner")].tolist() == [5, 1, 1, 0]
    assert rows.loc[("02", "alone")].tolist() == [1, 1, 0, 1]
    assert np.isnan(rows.loc[("02", "partner"), "rating"])
    assert rows.loc[("02", "partner"), "n_missing"] == 1
    assert list(trials) == [
        *("subject", "session", "run", "trial"),
        *("onset", "condition", "cue", "rating"),
    ]
    assert len(trials) == 10
    assert trials["trial"].tolist() == [1, 2, 3, 4, 1, 2, 3, 1, 2, 3]
    assert trials["session"].isna().all()
    safe, _ = trial_ratings(tidied, cue="safe")
    assert safe["rating"].dropna().tolist() == [1000, 1000]
    assert safe[names[1:]].to_numpy().tolist() == [
        [2, 0, 3],
        [0, 0, 1],
        [1, 0, 1],
        [0, 0, 0],
    ]
    every, _ = trial_ratings(tidied, cue=None)
    assert every.loc[0, "rating"] == (90 + 2000) / 5


def screened_study(**runs):
    """Tidy events by run of words: t and s are trials, a number is a screen, ? one without."""
    found = {}
    for name, text in runs.items():
        subject, run = name.rsplit("_", 1)
        kinds = {"t": "threat", "s": "safe"}
        rows = [
            (str(10 * n), "4", kinds[word], "alone", "n/a")
            if word in kinds
            else (str(10 * n), "4", "screen", "n/a", word.replace("?", "n/a"))
            for n, word in enumerate(text.split())
        ]
        found[subject, None, run] = tidy(rows, SCREEN, run, columns=RATED)[0]
    return found


def test_a_rating_of_a_block_counts_whatever_the_cue_before_it():
    tidied = screened_study(
        a_1="s t s t 80", a_2="t s t s 20", b_1="t s 1", b_2="t s ?", c_1="t s s 7 s"
    )
    for cue in ("threat", "safe", None):
        means, _ = trial_ratings(tidied, cue=cue)
        assert means.to_numpy().tolist() == [
            ["a", "alone", 50, 2, 0, 0],
            ["b", "alone", 1, 1, 1, 0],
            ["c", "alone", 7, 1, 0, 0],
        ]
    # a run without a trial that counts says nothing about it
    tidied |= screened_study(a_3="s s 1000")
    means, _ = trial_ratings(tidied)
    assert means.iloc[0].tolist() == ["a", "alone", 50, 2, 0, 1]


def test_a_rating_copied_to_the_trials_of_a_block_counts_once():
    runs = {("01", None, "1"): [80], ("01", None, "2"): [20, 20, 20]}
    tidied = rated_study(
        {key: [("alone", score) for score in own] for key, own in runs.items()}
    )
    means, _ = trial_ratings(tidied)
    assert means.to_numpy().tolist() == [["01", "alone", 50, 2, 0, 2]]


def test_ratings_of_trials_that_do_not_count_are_counted():
    tidied = screened_study(a_1="t 10 s 1 t ? s 2 t 30 s 3", b_1="t 5 s t 7 s")
    means, _ = trial_ratings(tidied)
    assert means.to_numpy().tolist() == [
        ["a", "alone", 20, 2, 1, 3],
        ["b", "alone", 6, 2, 0, 0],
    ]
    means, _ = trial_ratings(tidied, cue=None)
    assert means["rating"].tolist() == [46 / 5, 6]


def test_ratings_that_may_be_of_trials_or_of_blocks_are_refused():
    # two blocks of one condition in a run; the second person rated trial by trial
    tidied = screened_study(a_1="t t s 80 s t s 20", b_1="t 5 s 1 t 6 s 2")
    with pytest.raises(StudyError) as caught:
        trial_ratings(tidied)
    text = str(caught.value)
    assert text.startswith(
        "in 1 subjects ratings follow safe trials, with threat trials before them that have "
        "none:\n  - sub-a: 2 of 2\n"
    )
    assert "ratings.events.cue: both" in text
    assert "bids.exclude" in text
    means, _ = trial_ratings(tidied, cue=None)
    assert means["rating"].tolist() == [50, 3.5]
    # trials before another rating of the same condition and run are not passed over
    for sound in ("t 80 s 1 s t 70", "t s 1 t 70 s 1 t 2 s 3", "s s 1 t 5"):
        trial_ratings(screened_study(a_1=sound))
    many = {f"p{n}_1": "t s 80 t s 20" for n in range(12)}
    with pytest.raises(StudyError, match=r"  - sub-p9: 2 of 2\n  - and 2 more\n"):
        trial_ratings(screened_study(**many))


def grain(ratings):
    trials = list_trials(rated_study(ratings))
    return rating_grain(trials[trials["cue"] == "threat"])


def test_ratings_of_trials_and_of_blocks_are_told_apart():
    by_trial = {(s, None, "1"): [("alone", 1), ("alone", 2)] for s in "abc"}
    assert grain(by_trial) == grain(by_trial)
    found = grain(by_trial)
    assert (found.kind, found.n_subjects, found.n_varying) == ("trial", 3, 3)
    assert found.fault is None
    # two runs of a condition, each rated once and copied to its trials
    by_block = {
        (s, None, run): [("alone", score), ("alone", score), ("partner", 9)]
        for s in "abc"
        for run, score in (("1", 3), ("2", 7))
    }
    found = grain(by_block)
    assert (found.kind, found.n_varying) == ("block", 0)
    assert "given by block" in found.fault
    assert "all 3 subjects" in found.fault
    nobody = grain({("a", None, "1"): [("alone", None)]})
    assert (nobody.kind, nobody.fault) == ("none", "no trial has a rating")


def test_ratings_of_a_few_carry_no_model_within_persons():
    ratings = {(s, None, "1"): [("alone", 1), ("alone", 1)] for s in "abcd"}
    ratings["a", None, "1"] = ratings["b", None, "1"] = [("alone", 1), ("alone", 2)]
    found = grain(ratings)
    assert (found.kind, found.n_subjects, found.n_varying) == ("trial", 4, 2)
    assert found.fault.startswith(
        "ratings differ between the trials of a cell in 2 of 4"
    )
    ratings["c", None, "1"] = [("alone", 1), ("alone", None), ("alone", 4)]
    assert grain(ratings).fault is None


def test_published_relief_by_a_partners_hand(shared_data):
    # Lopez-Sola et al. (2019): 30 women, 16 trials of heat pain, mean reduction 2.95,
    # t(29) = 2.17, p = .038, as the authors' table gives them
    source = pd.read_csv(shared_data / "handholding_ratings/lopezsola2019_events.csv")
    tidied = {}
    hand = {"column": "handholding"}
    words = {"0.0": "alone", "1.0": "partner"}
    events = section(condition=hand, rename=words, rating={"column": "rating"})
    for (subject, run), own in source.groupby(["subject", "runN"], sort=False):
        text = pd.DataFrame(
            {
                "onset": (60 * own["siteN"]).astype(str),
                "duration": "11",
                "trial_type": "threat",
                "handholding": own["handholding"].astype(str),
                "rating": own["rating"].map(
                    lambda x: np.nan if np.isnan(x) else str(x)
                ),
            },
            dtype=object,
        )
        key = (subject, None, str(run))
        tidied[key], _ = tidy_events(text, events, run=str(run), where=name_run(*key))
    means, trials = trial_ratings(tidied)
    assert len(trials) == len(source)
    wide = means.pivot(index="subject", columns="condition", values="rating")
    drop = wide["alone"] - wide["partner"]
    test = stats.ttest_1samp(drop, 0)
    assert len(drop) == 30
    assert round(drop.mean(), 2) == 2.95
    assert round(test.statistic, 2) == 2.17
    assert round(test.pvalue, 3) == 0.038
    found = rating_grain(trials)
    assert (found.kind, found.n_varying, found.fault) == ("trial", 30, None)


def test_repeats_are_those_of_whoever_has_the_fewest():
    both = pd.DataFrame(
        {"condition": ["alone", "partner"], "cue": ["threat", "threat"]}
    )
    alone = both[:1]
    cells = [("alone", "threat"), ("partner", "threat")]
    runs = {("01", None, "1"): both, ("01", None, "2"): both, ("02", None, "1"): both}
    assert count_repeats(runs, cells) == 1
    more = {**runs, ("02", None, "2"): alone}
    assert count_repeats(more, cells) == 1
    assert count_repeats(more, cells[:1]) == 2
    assert count_repeats({("01", None, "1"): alone}, cells) == 0
