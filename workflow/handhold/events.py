"""Events become trials of cells; runs and people that lack a cell are counted."""

import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from handhold.errors import StudyError
from handhold.runs import RUN, name_run
from handhold.sources import CUES, MIN_SUBJECTS
from handhold.spec import advise

TIDY = [
    "onset",
    "duration",
    "trial_type",
    "regressor",
    "condition",
    "cue",
    "rating",
]
EXCLUDED = ["subject", "what", "n", "reason"]
BLOCK = [*RUN, "condition"]
RATINGS = ["subject", "condition", "rating", "n_rated", "n_missing", "n_uncounted"]
# Events before this are left out of nilearn's designs: responses are over after 24 s.
MIN_ONSET_S = -24.0
# What a row without a trial type is called in the configuration, as in BIDS tables.
NO_TYPE = "n/a"
# Scans are stopped early, and screens outlast them; where more than this share of the events begin
# after the run's end, they are another run's, or in another unit.
MOSTLY = 0.5
# Two ratings closer than this are one: finer steps than any scale has.
SAME_RATING = 1e-9
# Lines that a message lists one by one.
SHOWN = 10


@dataclass(frozen=True)
class Trials:
    """The events of a study, run by run.

    `runs`: tidy events by (subject, session, run), None where a run has no such label; `ignored`:
    trial_type and n of what is not modelled.
    """

    runs: dict[tuple, pd.DataFrame]
    ignored: pd.DataFrame


@dataclass(frozen=True)
class Grain:
    """How finely ratings were given.

    `kind` is trial, block (one value for the trials of a cell in a run) or none; `n_subjects` were
    rated, in `n_varying` of them ratings of a cell differ between the trials of a run; `fault` says
    why a model within persons cannot be had, and is None where it can.
    """

    kind: str
    n_subjects: int
    n_varying: int
    fault: str | None


# --- One table ---------------------------------------------------------------------------


def tidy_events(
    table: pd.DataFrame, events: dict, *, run: str | None, where: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Turn the events of one run into trials of cells and regressors of no interest.

    Parameters
    ----------
    table : DataFrame
        As text, a missing cell NaN; the index is the line of the file (`bids.read_events`).
    events : dict
        The section `events` of the configuration.
    run : str or None
        Label of the run; with `events.condition.run` it gives the condition.
    where : str
        Subject and run, for the error.

    Returns
    -------
    events : DataFrame
        By onset: columns onset and duration (s), trial_type, regressor (`<condition>_<cue>` of a
        cell, else the trial type), condition and cue (missing where no cell), rating (missing where
        none).
    ignored : DataFrame
        Columns trial_type, n: what `events.ignore` leaves out.

    Raises
    ------
    StudyError
        With all faults at once: a column that is missing, or there twice with other content; trial
        types that the configuration does not name; onsets, durations and ratings that are no
        numbers; events listed twice; a cell without condition; a rating without its trial.
    """
    reading = _read(table, events, run, where)
    _raise([*_unknown_types(reading.unknown, events), *reading.faults], where)
    return reading.events, _count_types(reading.ignored)


def tidy_runs(tables: dict[tuple, pd.DataFrame], events: dict) -> Trials:
    """Turn the events of every run into trials; parameters as `tidy_events`.

    `tables` holds the table of each (subject, session, run), None where a run has no such label.

    Raises
    ------
    StudyError
        With the faults of all runs at once; also if a trial type or a run of the configuration
        occurs nowhere.
    """
    readings = {
        key: _read(table, events, key[2], name_run(*key))
        for key, table in tables.items()
    }
    unknown = sum((reading.unknown for reading in readings.values()), Counter())
    seen = sum((reading.seen for reading in readings.values()), Counter())
    unread = any(reading.faults and not reading.seen for reading in readings.values())
    faults = [
        *_unknown_types(unknown, events),
        *([] if unread else _absent_types(seen, events)),
        *_absent_runs(list(tables), events),
        *(fault for reading in readings.values() for fault in reading.faults),
    ]
    _raise(faults, f"{len(tables)} runs")
    ignored = sum((reading.ignored for reading in readings.values()), Counter())
    runs = {key: reading.events for key, reading in readings.items()}
    return Trials(runs, _count_types(ignored))


def check_span(
    events: pd.DataFrame,
    length_s: float,
    where: str,
    *,
    min_onset_s: float = MIN_ONSET_S,
) -> None:
    """Refuse events that cannot belong to a run of this length.

    Parameters
    ----------
    events : DataFrame
        Tidy events.
    length_s : float
        Volumes times repetition time, s. Where a scan was stopped early some events begin after
        it (the design counts them, `n_late_events`), but not most of them.
    where : str
        Subject, run and file, for the error.
    min_onset_s : float
        The key `glm.min_onset_s`: an event may begin before the scan, not before this.

    Raises
    ------
    StudyError
        With the number of such events; it says so where onsets look like milliseconds.
    """
    onsets, durations = events["onset"].to_numpy(), events["duration"].to_numpy()
    late, early = onsets >= length_s, onsets < min_onset_s
    faults = []
    if late.sum() > MOSTLY * len(onsets):
        text = (
            f"{late.sum()} of {len(onsets)} events begin after the run's end ({length_s:g} s), "
            f"the last at {onsets.max():g}"
        )
        if onsets.max() / 1000 < length_s:
            text += (
                "; onsets seem to be in milliseconds: divide onset and duration by 1000"
            )
        else:
            text += "; compare the events with the run that they are joined to"
        faults.append(text)
    if early.any():
        faults.append(
            f"{early.sum()} events begin before {min_onset_s:g} s (glm.min_onset_s), the first at "
            f"{onsets.min():g}: onsets count from the first volume that the BOLD file holds"
        )
    endless = (durations > length_s) & ~late
    if endless.any():
        faults.append(
            f"{endless.sum()} events last longer than the run ({length_s:g} s), up to "
            f"{durations.max():g}: durations are in seconds"
        )
    _raise(faults, where)


def run_keys(runs: pd.DataFrame) -> list[tuple]:
    """Return (subject, session, run) of every row, None for a missing label."""
    labels = runs[RUN].astype(object)
    return list(labels.where(labels.notna(), None).itertuples(index=False, name=None))


def same_label(label: str) -> str:
    """Return a run's label without padding, so that 01 is 1.

    Examples
    --------
    >>> same_label("01"), same_label("10"), same_label("late")
    ('1', '10', 'late')
    """
    return label.lstrip("0") or "0" if re.fullmatch(r"[0-9]+", label) else label


@dataclass(frozen=True)
class _Event:
    """A row of an events file that is modelled, or rates a trial."""

    line: object
    trial_type: str
    onset: float
    duration: float
    condition: str | None
    cue: str | None

    @property
    def regressor(self) -> str:
        return f"{self.condition}_{self.cue}" if self.cue else self.trial_type


@dataclass(frozen=True)
class _Reading:
    events: pd.DataFrame
    ignored: Counter
    unknown: Counter
    seen: Counter
    faults: list[str]


def _read(table: pd.DataFrame, events: dict, run: object, where: str) -> _Reading:
    """Read one table, faults and all: those of a study are listed together.

    Row by row in plain Python, which takes a fifth of the time that columns of 60 rows take pandas.
    """
    faults = [*_absent_columns(table, events), *_twin_columns(table, events)]
    if table.empty or faults:
        faults = [f"{where}: {fault}" for fault in faults if len(table)]
        return _Reading(_tidy([], {}), Counter(), Counter(), Counter(), faults)
    columns = dict(zip(table.columns, table.to_numpy().T.tolist(), strict=True))
    used = {name: columns[name] for name in _used_columns(events)}
    rows = [
        dict(zip(used, row, strict=True)) for row in zip(*used.values(), strict=True)
    ]
    types = [_text(row[events["type_column"]]) or NO_TYPE for row in rows]
    seen, named = Counter(types), _types(events)
    unknown = Counter({name: n for name, n in seen.items() if name not in named})
    ignored = Counter({name: seen[name] for name in events["ignore"] if seen[name]})
    modelled = {name for name in named if name not in events["ignore"]}
    # a rating has to be placed in time even where its screen is not modelled
    needed = {*modelled, events.get("rating", {}).get("trial_type")}
    own = [
        (line, name, row)
        for line, name, row in zip(table.index, types, rows, strict=True)
        if name in needed
    ]
    found = [
        *_strange_numbers(own, "onset", -math.inf),
        *_strange_numbers(
            [event for event in own if event[1] in modelled], "duration", 0
        ),
    ]
    conditions, strange = _conditions(own, events, run)
    cues = {cell["trial_type"]: cell["cue"] for cell in events["cells"]}
    listed = [
        _Event(
            line,
            name,
            _number(row["onset"]),
            _number(row["duration"]),
            conditions.get(line),
            cues.get(name),
        )
        for line, name, row in own
    ]
    listed.sort(key=lambda event: event.onset)
    ratings, unplaced = _ratings(listed, table, events)
    trials = [event for event in listed if event.trial_type in modelled]
    found += [*strange, *unplaced, *_repeated(trials), *_name_clashes(trials)]
    faults = [f"{where}: {fault}" for fault in found]
    return _Reading(_tidy(trials, ratings), ignored, unknown, seen, faults)


def _tidy(trials: list[_Event], ratings: dict) -> pd.DataFrame:
    columns = {
        "onset": np.array([event.onset for event in trials], dtype=float),
        "duration": np.array([event.duration for event in trials], dtype=float),
        **{
            name: np.array([getattr(event, name) for event in trials], dtype=object)
            for name in ("trial_type", "regressor", "condition", "cue")
        },
        "rating": np.array(
            [ratings.get(event.line, np.nan) for event in trials], float
        ),
    }
    for name in ("condition", "cue"):
        columns[name][columns[name] == None] = np.nan  # noqa: E711
    return pd.DataFrame(columns)


def _raise(faults: list[str], where: str) -> None:
    if faults:
        listed = "\n".join(f"  - {fault}" for fault in faults)
        raise StudyError(
            f"the events of {where} have {len(faults)} "
            f"{'fault' if len(faults) == 1 else 'faults'}:\n{listed}\n"
            "Mend the tables or the section events, or exclude a subject with its reason in "
            "bids.exclude."
        )


def _used_columns(events: dict) -> dict[str, str]:
    used = {"onset": "BIDS", "duration": "BIDS"}
    used[events["type_column"]] = "events.type_column"
    for key in ("condition", "rating"):
        if "column" in events.get(key, {}):
            used[events[key]["column"]] = f"events.{key}.column"
    return used


def _absent_columns(table: pd.DataFrame, events: dict) -> list[str]:
    columns = list(table.columns)
    return [
        f"there is no column {name} ({key}); {advise(name, columns)}"
        for name, key in _used_columns(events).items()
        if name not in columns
    ]


def _twin_columns(table: pd.DataFrame, events: dict) -> list[str]:
    """List columns that are there twice (pandas calls the second name.1) and differ."""
    numbered = [name for name in table.columns if name[-1:].isdigit()]
    return [
        f"the column {name} is there twice with other content ({twin}); which one is meant "
        "cannot be known"
        for name in _used_columns(events)
        for twin in numbered
        if re.fullmatch(rf"{re.escape(name)}\.[0-9]+", twin)
        and name in table
        and not table[name].equals(table[twin].rename(name))
    ]


def _unknown_types(unknown: Counter, events: dict) -> list[str]:
    named = [*_types(events)]
    return [
        f"the trial type {name} ({n} events) is in none of events.cells, events.others and "
        f"events.ignore; {advise(name, named)}"
        for name, n in sorted(unknown.items())
    ]


def _types(events: dict) -> dict[str, str]:
    """Return the trial types that the configuration names, each with its key."""
    cells = {cell["trial_type"]: "events.cells" for cell in events["cells"]}
    others = dict.fromkeys(events["others"], "events.others")
    return {**dict.fromkeys(events["ignore"], "events.ignore"), **others, **cells}


def _absent_types(seen: Counter, events: dict) -> list[str]:
    return [
        f"no run has the trial type {name} ({key}); {advise(name, sorted(seen))}"
        for name, key in _types(events).items()
        if seen and not seen[name]
    ]


def _absent_runs(keys: list[tuple], events: dict) -> list[str]:
    labels = {same_label(run) for _, _, run in keys if isinstance(run, str)}
    return [
        f"no subject has the run {run} (events.condition.run); runs here: "
        f"{', '.join(sorted(labels)) or 'without a label'}"
        for run in events.get("condition", {}).get("run", {})
        if same_label(str(run)) not in labels
    ]


def _text(cell: object) -> str | None:
    return None if cell is None or cell != cell else str(cell)


def _number(cell: object) -> float:
    """Return a cell as a finite number, NaN where it is none."""
    text = _text(cell)
    try:
        # Python takes 1_000 for a number, and inf
        number = math.nan if text is None or "_" in text else float(text)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def _strange_numbers(own: list[tuple], name: str, least: float) -> list[str]:
    """Word what is wrong with the onsets or durations (s) of a run, its first case shown."""
    strange = [
        (line, _text(row[name]))
        for line, _, row in own
        if not _number(row[name]) >= least
    ]
    if not strange:
        return []
    line, first = strange[0]
    if any(text and re.fullmatch(r"-?[0-9]+,[0-9]+", text) for _, text in strange):
        advice = "write decimals with a point"
    else:
        bound = "" if least == -math.inf else f", {least:g} or more"
        advice = (
            f"give seconds{bound}, or put trial types without them into events.ignore"
        )
    return [
        f"{name} {'is missing' if first is None else f'is {first!r}'} in line {line} "
        f"({len(strange)} of {len(own)} events); {advice}"
    ]


def _conditions(
    own: list[tuple], events: dict, run: object
) -> tuple[dict[object, str], list[str]]:
    """Return the condition of each trial by its line, in our words, and what is wrong."""
    rule = events.get("condition", {})
    cells = {cell["trial_type"]: cell for cell in events["cells"]}
    trials = [(line, name, row) for line, name, row in own if name in cells]
    if not trials:
        return {}, []
    if "column" in rule:
        words = {line: _text(row[rule["column"]]) for line, _, row in trials}
        blank = [line for line, word in words.items() if word is None]
        fault = (
            f"{len(blank)} trials have no {rule['column']} (events.condition.column), the first in "
            f"line {blank[0] if blank else ''}"
        )
        own_words = {
            line: events["rename"].get(word, word) for line, word in words.items()
        }
        return own_words, [fault] if blank else []
    if "run" in rule:
        by_run = {same_label(str(label)): word for label, word in rule["run"].items()}
        word = by_run.get(same_label(run)) if isinstance(run, str) else None
        fault = (
            f"events.condition.run names no condition for "
            f"{f'run {run}' if isinstance(run, str) else 'a run without label'}; it names "
            f"{', '.join(map(str, rule['run']))}"
        )
        return {line: word for line, _, _ in trials}, [] if word else [fault]
    return {line: cells[name]["condition"] for line, name, _ in trials}, []


def _ratings(
    listed: list[_Event], table: pd.DataFrame, events: dict
) -> tuple[dict[object, float], list[str]]:
    """Return the rating of each trial by its line, and what is wrong.

    It stands in the trial's own row, or in the row of a rating screen that follows it.
    """
    if "rating" not in events:
        return {}, []
    column, screen = events["rating"]["column"], events["rating"].get("trial_type")
    texts = {line: _text(cell) for line, cell in table[column].items()}
    given = [event for event in listed if texts[event.line] is not None]
    rated = [
        event
        for event in given
        if (event.cue is not None if screen is None else event.trial_type == screen)
    ]
    numbers = {event.line: _number(texts[event.line]) for event in rated}
    strange = [line for line, number in numbers.items() if math.isnan(number)]
    if strange:
        return {}, [
            f"the rating {texts[strange[0]]!r} in line {strange[0]} is not a number "
            f"({len(strange)} such); write n/a where there is none"
        ]
    if screen is None:
        elsewhere = sorted({event.trial_type for event in given})
        if rated or not elsewhere:
            return numbers, []
        return {}, [
            f"no trial has a {column}, and {len(given)} rows of {', '.join(elsewhere)} have: name "
            "that trial type in events.rating.trial_type"
        ]
    return _place_ratings(rated, [event for event in listed if event.cue], numbers)


def _place_ratings(
    rated: list[_Event], trials: list[_Event], numbers: dict[object, float]
) -> tuple[dict[object, float], list[str]]:
    """Give each rating on a row of its own to the last trial before it."""
    starts = [trial.onset for trial in trials]
    owners = [bisect_right(starts, event.onset) - 1 for event in rated]
    faults = []
    early = [event for event, owner in zip(rated, owners, strict=True) if owner < 0]
    if early:
        faults.append(
            f"the rating in line {early[0].line} comes before the first trial ({len(early)} such)"
        )
    repeated = [owner for owner, n in Counter(owners).items() if n > 1 and owner >= 0]
    if repeated:
        faults.append(
            f"the trial in line {trials[repeated[0]].line} is followed by "
            f"{owners.count(repeated[0])} ratings "
            f"({len(repeated)} such); one is needed"
        )
    placed = {
        trials[owner].line: numbers[event.line]
        for event, owner in zip(rated, owners, strict=True)
        if owner >= 0
    }
    return placed, faults


def _repeated(trials: list[_Event]) -> list[str]:
    groups: dict[tuple, list[_Event]] = {}
    for event in trials:
        if not math.isnan(event.onset):
            groups.setdefault((event.onset, event.regressor), []).append(event)
    repeated = [group for group in groups.values() if len(group) > 1]
    if not repeated:
        return []
    first = repeated[0]
    lines = ", ".join(str(event.line) for event in first)
    many = sum(len(group) - 1 for group in repeated)
    return [
        f"{first[0].regressor} at {first[0].onset:g} s is listed {len(first)} times (lines "
        f"{lines}; {many} events too many in the run)"
    ]


def _name_clashes(trials: list[_Event]) -> list[str]:
    cells = {event.regressor for event in trials if event.cue}
    others = {event.trial_type for event in trials if not event.cue}
    return [
        f"{name} is a trial type of events.others and the name of a cell; rename the condition "
        "with events.rename"
        for name in sorted(cells & others)
    ]


def _count_types(counts: Counter) -> pd.DataFrame:
    rows = sorted(counts.items())
    return pd.DataFrame(rows, columns=["trial_type", "n"]).astype({"n": int})


# --- Runs and people that lack something -------------------------------------------------


def drop_incomplete(
    runs: pd.DataFrame, lacks: pd.Series, policy: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Apply `bids.incomplete_runs` to runs that lack something.

    Parameters
    ----------
    runs : DataFrame
        One row per run: subject, session, run and whatever else.
    lacks : Series
        What each run lacks, in words, on the index of `runs`; missing where nothing.
    policy : {'refuse', 'drop_run', 'drop_subject'}
        The key `bids.incomplete_runs`.

    Returns
    -------
    kept : DataFrame
        The rows of `runs` that stay.
    excluded : DataFrame
        Columns subject, what (run, or subject where none of its runs stays), n (runs), reason.

    Raises
    ------
    StudyError
        If the policy is to refuse, with every incomplete run.
    """
    lacking = lacks.dropna()
    names = {
        index: name_run(*key)
        for index, key in zip(runs.index, run_keys(runs), strict=True)
    }
    if len(lacking) and policy == "refuse":
        listed = "\n".join(f"  - {names[i]}: {text}" for i, text in lacking.items())
        raise StudyError(
            f"{len(lacking)} of {len(runs)} runs are incomplete:\n{listed}\n"
            "Complete them, exclude a subject or a run with its reason in bids.exclude, or choose "
            "what becomes of such runs with bids.incomplete_runs: drop_run or drop_subject."
        )
    people = runs["subject"]
    gone = people[lacking.index]
    incomplete = people[people.isin(gone)]
    if policy == "drop_run":
        gone = gone[~gone.isin(people.drop(lacking.index))]
    rows, without = [], set(gone)
    for subject, own in incomplete.groupby(incomplete, sort=False):
        faults = lacking.reindex(own.index).dropna()
        reasons = [
            f"{names[i].partition(' ')[2]}: {text}".removeprefix(": ")
            for i, text in faults.items()
        ]
        tail = f" (bids.incomplete_runs: {policy})"
        if subject in without:
            reason = "; ".join(reasons) + tail
            rows.append((subject, "subject", len(own), reason))
        else:
            rows += [(subject, "run", 1, reason + tail) for reason in reasons]
    stays = ~people.isin(gone) & ~people.index.isin(lacking.index)
    return runs[stays], pd.DataFrame(rows, columns=EXCLUDED)


def complete_runs(
    tidy: dict[tuple, pd.DataFrame | None],
    runs: pd.DataFrame,
    events: dict,
    contrasts: list[dict],
    policy: str,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Keep the runs that have both cues of each of their conditions, and whoever has all cells.

    Conditions of no contrast may lack a cue; `unused_conditions` counts them.

    Parameters
    ----------
    tidy : dict
        Tidy events of each (subject, session, run), as `run_keys` gives them.
    runs : DataFrame
        One row per run.
    events : dict
        The section `events`, which says what cues a condition has.
    contrasts : list of dict
        The section `contrasts`: what cells every subject needs.
    policy : {'refuse', 'drop_run', 'drop_subject'}
        The key `bids.incomplete_runs`.

    Returns
    -------
    kept : DataFrame
        The rows of `runs` that stay.
    excluded : DataFrame
        As `drop_incomplete` gives it; also subjects whose runs lack a cell of a contrast.

    Raises
    ------
    StudyError
        If the policy is to refuse and something lacks; if a condition of a contrast occurs nowhere;
        if fewer than three subjects stay.
    """
    held = [_cells(tidy.get(key)) for key in run_keys(runs)]
    _require_conditions(held, contrasts)
    used = {condition for condition, _ in _needed_cells(contrasts)}
    lacks = pd.Series(
        [_lacking(cells, used, events) for cells in held],
        index=runs.index,
        dtype=object,
    )
    kept, excluded = drop_incomplete(runs, lacks, policy)
    cells = pd.Series(held, index=runs.index, dtype=object)
    needed = _needed_cells(contrasts)
    own: dict[str, list[set]] = {}
    for subject, of_run in zip(kept["subject"], cells[kept.index], strict=True):
        own.setdefault(subject, []).append(of_run)
    rows = []
    for subject, of_runs in own.items():
        absent = needed - set().union(*of_runs)
        if absent:
            listed = ", ".join(" ".join(cell) for cell in sorted(absent))
            rows.append((subject, "subject", len(of_runs), f"no trial of {listed}"))
    if rows and policy == "refuse":
        listed = "\n".join(
            f"  - sub-{subject} ({n} runs): {reason}" for subject, _, n, reason in rows
        )
        raise StudyError(
            f"{len(rows)} subjects lack a cell that contrasts need:\n{listed}\n"
            "Exclude them with the reason in bids.exclude, or have them excluded and counted with "
            "bids.incomplete_runs: drop_run or drop_subject."
        )
    kept = kept[~kept["subject"].isin([row[0] for row in rows])]
    excluded = _stack([excluded, pd.DataFrame(rows, columns=EXCLUDED)])
    if kept["subject"].nunique() < MIN_SUBJECTS:
        gone = excluded[excluded["what"] == "subject"]
        listed = _list_first(
            f"sub-{row.subject} ({row.n} runs): {row.reason}"
            for row in gone.itertuples()
        )
        raise StudyError(
            f"bids.incomplete_runs ({policy}) leaves {kept['subject'].nunique()} of "
            f"{runs['subject'].nunique()} subjects with every cell of the contrasts; tests over "
            f"subjects need at least {MIN_SUBJECTS}. Left out:\n{listed}"
        )
    return kept, excluded


def unused_conditions(
    tidy: dict[tuple, pd.DataFrame], contrasts: list[dict]
) -> pd.DataFrame:
    """Count the trials of conditions that are modelled, but enter no contrast: condition, n."""
    used = {contrast[side] for contrast in contrasts for side in ("baseline", "held")}
    counts = Counter(
        condition
        for events in tidy.values()
        for condition in events["condition"].tolist()
        if isinstance(condition, str) and condition not in used
    )
    rows = sorted(counts.items())
    return pd.DataFrame(rows, columns=["condition", "n"]).astype({"n": int})


def _cells(events: pd.DataFrame | None) -> set[tuple]:
    if events is None:
        return set()
    pairs = zip(events["condition"].tolist(), events["cue"].tolist(), strict=True)
    return {pair for pair in pairs if all(isinstance(label, str) for label in pair)}


def _lacking(cells: set[tuple], used: set[str], events: dict) -> str | None:
    if not cells:
        return "no trial of any cell"
    absent = [
        f"{condition} {cue}"
        for condition in sorted({condition for condition, _ in cells} & used)
        for cue in _cues(condition, events)
        if (condition, cue) not in cells
    ]
    return f"no trial of {', '.join(absent)}" if absent else None


def _cues(condition: str, events: dict) -> list[str]:
    """Return the cues that the configuration gives a condition, threat first."""
    given = {
        cell["cue"]
        for cell in events["cells"]
        if cell.get("condition", condition) == condition
    }
    return [cue for cue in CUES if cue in given]


def _needed_cells(contrasts: list[dict]) -> set[tuple]:
    return {
        (contrast[side], cue)
        for contrast in contrasts
        for side in ("baseline", "held")
        for cue in CUES
    }


def _require_conditions(held: Iterable[set[tuple]], contrasts: list[dict]) -> None:
    present = sorted({condition for cells in held for condition, _ in cells})
    absent = sorted(
        {condition for condition, _ in _needed_cells(contrasts)} - {*present}
    )
    if absent and present:
        listed = "; ".join(f"{name} ({advise(name, present)})" for name in absent)
        raise StudyError(
            f"no run has a trial of the condition {listed}, which contrasts name. Map the words of "
            "the events with events.rename, events.condition.run or the condition of a cell."
        )


def _stack(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Put tables below each other; pandas minds empty ones."""
    filled = [table for table in tables if len(table)] or tables[:1]
    return pd.concat(filled, ignore_index=True)


# --- Ratings within the events -----------------------------------------------------------


def list_trials(tidy: dict[tuple, pd.DataFrame]) -> pd.DataFrame:
    """List every trial of a cell: subject, session, run, trial, onset, condition, cue, rating.

    `trial` counts the trials of a run from 1; onset is in s; rating may be missing.
    """
    pieces = []
    for (subject, session, run), events in tidy.items():
        own = events.loc[events["cue"].notna(), ["onset", "condition", "cue", "rating"]]
        own.insert(0, "trial", np.arange(1, len(own) + 1))
        for name, label in (("run", run), ("session", session), ("subject", subject)):
            own.insert(0, name, pd.Series(label, index=own.index, dtype=object))
        pieces.append(own)
    return _stack(pieces)


def count_repeats(tidy: dict[tuple, pd.DataFrame], cells: list[tuple[str, str]]) -> int:
    """Count the runs in which everyone has every cell: that of whoever has the fewest.

    `tidy` holds the tidy events of each (subject, session, run), `cells` are (condition, cue).
    """
    counts: Counter = Counter()
    for (subject, _, _), events in tidy.items():
        held = _cells(events)
        counts.update((subject, *cell) for cell in cells if cell in held)
    subjects = {subject for subject, _, _ in tidy}
    return min(
        (counts[subject, *cell] for subject in subjects for cell in cells), default=0
    )


def trial_ratings(
    tidy: dict[tuple, pd.DataFrame], *, cue: str | None = "threat"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Take the ratings of trials, or of blocks, out of the events.

    A block is a condition in a run. Where no block of the study has more than one rating, it is
    the block's, whatever the cue of the trial before it; where the trials of a cell in a run have
    the same rating, it is the block's too, and counts once. Else every trial has its own.

    Parameters
    ----------
    tidy : dict
        Tidy events of each (subject, session, run) that is analysed.
    cue : {'threat', 'safe', None}
        The trials whose ratings count; None: all. A rating of a block counts if it has such trials.

    Returns
    -------
    means : DataFrame
        Columns subject, condition, rating (mean over a subject's rated trials or blocks, runs
        together), n_rated, n_missing (trials, or blocks), n_uncounted (ratings of trials of the
        other cue); rating is missing where nothing was rated.
    trials : DataFrame
        As `list_trials` gives it, all cues.

    Raises
    ------
    StudyError
        If blocks have several ratings, most of the uncounted ones of a subject after trials that
        count and have none: whether they are of blocks or of trials cannot be known.
    """
    trials = list_trials(tidy)
    given = trials["rating"].notna()
    counts = (
        pd.Series(True, index=trials.index) if cue is None else trials["cue"] == cue
    )
    blocks = [trials[name] for name in BLOCK]
    if given.groupby(blocks, dropna=False).sum().max() > 1:
        rated = counts
        _require_owners(trials, counts)
    else:
        rated = counts.groupby(blocks, dropna=False).transform("any")
    units = trials[rated]
    if rating_grain(trials).kind == "block":
        groups = units.groupby(BLOCK, sort=False, dropna=False)
        units = groups["rating"].mean().reset_index()
    person = ["subject", "condition"]
    scores = units.groupby(person, sort=False)["rating"]
    means = pd.DataFrame({"rating": scores.mean(), "n_rated": scores.count()})
    means["n_missing"] = scores.size() - means["n_rated"]
    left = (given & ~rated).groupby([trials[name] for name in person], sort=False).sum()
    means = means.reindex(left.index).assign(n_uncounted=left)
    numbers = ["n_rated", "n_missing", "n_uncounted"]
    means[numbers] = means[numbers].fillna(0).astype(int)
    return means.reset_index()[RATINGS], trials


def _require_owners(trials: pd.DataFrame, counts: pd.Series) -> None:
    """Refuse ratings that may be of their trial, or of all trials since the rating before."""
    given = trials["rating"].notna()
    blocks = [trials[name] for name in BLOCK]
    before = given.groupby(blocks, dropna=False).cumsum() - given
    passed = counts.groupby([*blocks, before], dropna=False).transform("any")
    left = given & ~counts
    people = pd.DataFrame({"left": left, "doubtful": left & passed})
    people = people.groupby(trials["subject"], sort=False).sum()
    people = people[2 * people["doubtful"] > people["left"]]
    if len(people):
        cues = sorted(trials.loc[left, "cue"].unique())
        counted = sorted(trials.loc[counts, "cue"].unique())
        listed = _list_first(
            f"sub-{row.Index}: {row.doubtful} of {row.left}"
            for row in people.itertuples()
        )
        raise StudyError(
            f"in {len(people)} subjects ratings follow {' '.join(cues)} trials, with "
            f"{' '.join(counted)} trials before them that have none:\n{listed}\n"
            "Runs have several ratings of a condition, so that these may be of their trial, which "
            "ratings.events.cue does not count, or of all trials since the rating before. Count "
            "all with ratings.events.cue: both, give the ratings of conditions in ratings.table, "
            "or exclude a subject with its reason in bids.exclude."
        )


def _list_first(lines: Iterable[str]) -> str:
    """Return lines as a list of ten, and how many more there are."""
    lines = list(lines)
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\n".join(f"  - {line}" for line in [*lines[:SHOWN], *more])


def rating_grain(trials: pd.DataFrame) -> Grain:
    """Tell ratings of single trials from ratings of blocks.

    Parameters
    ----------
    trials : DataFrame
        As `list_trials` gives it; the caller chooses the cue.

    Returns
    -------
    Grain
        A rating copied to every trial of a block varies between runs at most; as if rated by trial,
        its copies would count as evidence that nobody gave.
    """
    rated = trials.dropna(subset=["rating"])
    n = rated["subject"].nunique()
    if not n:
        return Grain("none", 0, 0, "no trial has a rating")
    block = ["subject", "session", "run", "condition", "cue"]
    spread = rated.groupby(block, dropna=False)["rating"].agg(np.ptp)
    varying = spread[spread > SAME_RATING].index.get_level_values("subject").nunique()
    if not varying:
        return Grain(
            "block",
            n,
            0,
            f"the ratings of all {n} subjects are the same for every trial of a cell in a run: "
            "they were given by block, so that nothing varies between trials",
        )
    fault = None
    if varying < MIN_SUBJECTS:
        fault = (
            f"ratings differ between the trials of a cell in {varying} of {n} subjects; a model "
            f"within persons needs {MIN_SUBJECTS}"
        )
    return Grain("trial", n, varying, fault)
