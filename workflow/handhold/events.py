"""Events become trials of cells; runs and people that lack a cell are counted."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from handhold.errors import StudyError
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
RUN = ["subject", "session", "run"]
EXCLUDED = ["subject", "what", "n", "reason"]
RATINGS = ["subject", "condition", "rating", "n_rated", "n_missing"]
# Events before this are left out of nilearn's designs: responses are over after 24 s.
MIN_ONSET_S = -24.0
# What a row without a trial type is called in the configuration, as in BIDS tables.
NO_TYPE = "n/a"
# Two ratings closer than this are one: finer steps than any scale has.
SAME_RATING = 1e-9


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
        Volumes times repetition time, s. An event may outlast the run, not begin after it.
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
    if late.any():
        text = (
            f"{late.sum()} of {len(onsets)} events begin after the run's end ({length_s:g} s), "
            f"the last at {onsets.max():g}"
        )
        if late.sum() > len(onsets) / 2 and onsets.max() / 1000 < length_s:
            text += (
                "; onsets seem to be in milliseconds: divide onset and duration by 1000"
            )
        else:
            text += (
                "; remove these rows if the scan was stopped early, or exclude the run"
            )
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


def name_run(subject: str, session: object, run: object) -> str:
    """Return how messages name a run.

    Examples
    --------
    >>> name_run("01", None, "2")
    'sub-01 run-2'
    """
    parts = [f"sub-{subject}"]
    parts += [f"ses-{session}"] if isinstance(session, str) else []
    parts += [f"run-{run}"] if isinstance(run, str) else []
    return " ".join(parts)


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
    return str(int(label)) if re.fullmatch(r"[0-9]+", label) else label


@dataclass(frozen=True)
class _Reading:
    events: pd.DataFrame
    ignored: Counter
    unknown: Counter
    seen: Counter
    faults: list[str]


def _read(table: pd.DataFrame, events: dict, run: object, where: str) -> _Reading:
    """Read one table, faults and all: those of a study are listed together."""
    faults = [*_absent_columns(table, events), *_twin_columns(table, events)]
    if faults:
        faults = [f"{where}: {fault}" for fault in faults]
        return _Reading(_no_events(), Counter(), Counter(), Counter(), faults)
    types = table[events["type_column"]].fillna(NO_TYPE)
    seen = Counter(types)
    cells = {cell["trial_type"]: cell for cell in events["cells"]}
    known = {*cells, *events["others"], *events["ignore"]}
    unknown = Counter({name: n for name, n in seen.items() if name not in known})
    ignored = Counter({name: seen[name] for name in events["ignore"] if seen[name]})
    rated = events.get("rating", {}).get("trial_type")
    # a rating has to be placed in time even where its screen is not modelled
    needed = types.isin([*cells, *events["others"], *([rated] if rated else [])])
    table, types = table[needed], types[needed]
    modelled = ~types.isin(events["ignore"])
    is_cell = types.isin(list(cells))
    found: list[str] = []
    trials = pd.DataFrame(
        {
            "onset": _numbers(table["onset"], "onset", found),
            "duration": _numbers(table["duration"][modelled], "duration", found, 0.0),
            "trial_type": types,
        },
        index=table.index,
    )
    trials["condition"] = _conditions(table[is_cell], types, events, run, found)
    trials["cue"] = types.map({name: cell["cue"] for name, cell in cells.items()})
    trials["regressor"] = trials["trial_type"].where(
        ~is_cell, trials["condition"].astype(object) + "_" + trials["cue"]
    )
    trials["rating"] = _ratings(table, trials, events, found)
    trials = trials[modelled]
    found += [*_repeated(trials), *_name_clashes(trials, is_cell)]
    trials = trials.sort_values("onset", kind="stable")[TIDY].reset_index(drop=True)
    faults = [f"{where}: {fault}" for fault in found]
    return _Reading(trials, ignored, unknown, seen, faults)


def _no_events() -> pd.DataFrame:
    empty = pd.DataFrame(columns=TIDY, dtype=object)
    return empty.astype({"onset": float, "duration": float, "rating": float})


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
    return [
        f"the column {name} is there twice with other content ({twin}); which one is meant "
        "cannot be known"
        for name in _used_columns(events)
        for twin in table.columns
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


def _numbers(
    text: pd.Series, name: str, found: list[str], least: float = -np.inf
) -> pd.Series:
    numbers = pd.to_numeric(text, errors="coerce").astype(float)
    bad = ~np.isfinite(numbers) | (numbers < least)
    if bad.any():
        strange = text[bad]
        first = strange.iloc[0]
        shown = "is missing" if pd.isna(first) else f"is {first!r}"
        advice = "give a number of seconds"
        if strange.dropna().str.fullmatch(r"-?[0-9]+,[0-9]+").any():
            advice = "write decimals with a point"
        elif (numbers < least).any():
            advice = f"it must be at least {least:g}"
        found.append(
            f"{name} {shown} in line {strange.index[0]} ({len(strange)} of {len(text)} events); "
            f"{advice}, or put trial types that need none into events.ignore"
        )
    return numbers


def _conditions(
    table: pd.DataFrame, types: pd.Series, events: dict, run: object, found: list[str]
) -> pd.Series:
    """Return the condition of each event of a cell, in our words."""
    rule = events.get("condition", {})
    if table.empty:
        return pd.Series(index=types.index, dtype=object)
    if "column" in rule:
        words = table[rule["column"]]
        if words.isna().any():
            found.append(
                f"{words.isna().sum()} trials have no {rule['column']} "
                f"(events.condition.column), the first in line {words.index[words.isna()][0]}"
            )
        own = words.map(lambda w: events["rename"].get(w, w), na_action="ignore")
    elif "run" in rule:
        by_run = {same_label(str(label)): word for label, word in rule["run"].items()}
        word = by_run.get(same_label(run)) if isinstance(run, str) else None
        if word is None:
            found.append(
                f"events.condition.run names no condition for {_label(run)}; it names "
                f"{', '.join(map(str, rule['run']))}"
            )
        own = pd.Series(word, index=table.index, dtype=object)
    else:
        words = {cell["trial_type"]: cell["condition"] for cell in events["cells"]}
        own = types[table.index].map(words)
    return own.astype(object).reindex(types.index)


def _label(run: object) -> str:
    return f"run {run}" if isinstance(run, str) else "a run without label"


def _ratings(
    table: pd.DataFrame, trials: pd.DataFrame, events: dict, found: list[str]
) -> pd.Series:
    """Return the rating of each trial, from its own row or from the row that follows it."""
    ratings = pd.Series(np.nan, index=trials.index)
    if "rating" not in events:
        return ratings
    column, own_type = events["rating"]["column"], events["rating"].get("trial_type")
    text = table[column]
    numbers = pd.to_numeric(text, errors="coerce").astype(float)
    rows = trials["cue"].notna()
    rated = rows if own_type is None else trials["trial_type"] == own_type
    strange = text[rated & text.notna() & ~np.isfinite(numbers)]
    if len(strange):
        found.append(
            f"the rating {strange.iloc[0]!r} in line {strange.index[0]} is not a number "
            f"({len(strange)} such); write n/a where there is none"
        )
    if own_type is None:
        elsewhere = trials["trial_type"][~rows & np.isfinite(numbers)]
        if len(elsewhere) and not np.isfinite(numbers[rows]).any():
            found.append(
                f"no trial has a {column}, and {len(elsewhere)} rows of "
                f"{', '.join(sorted(set(elsewhere)))} have: name that trial type in "
                "events.rating.trial_type"
            )
        return numbers.where(rows)
    given = trials.loc[rated & np.isfinite(numbers), "onset"]
    starts = trials.loc[rows, "onset"].sort_values(kind="stable")
    place = np.searchsorted(starts.to_numpy(), given.to_numpy(), side="right") - 1
    if (place < 0).any():
        found.append(
            f"the rating in line {given.index[place < 0][0]} comes before the first trial "
            f"({(place < 0).sum()} such)"
        )
    owners = starts.index[place[place >= 0]]
    if owners.has_duplicates:
        line = owners[owners.duplicated()][0]
        found.append(
            f"the trial in line {line} is followed by {(owners == line).sum()} ratings; one is "
            f"needed ({owners.duplicated().sum()} too many in the run)"
        )
        return ratings
    ratings[owners] = numbers[given.index[place >= 0]].to_numpy()
    return ratings


def _repeated(trials: pd.DataFrame) -> list[str]:
    repeated = trials[trials.duplicated(["onset", "regressor"], keep=False)]
    repeated = repeated[repeated["onset"].notna()]
    if repeated.empty:
        return []
    first = repeated.iloc[0]
    lines = repeated.index[
        (repeated["onset"] == first["onset"])
        & (repeated["regressor"] == first["regressor"])
    ]
    n = repeated.duplicated(["onset", "regressor"]).sum()
    return [
        f"{first['trial_type']} at {first['onset']:g} s is listed {len(lines)} times "
        f"(lines {', '.join(map(str, lines))}; {n} events too many in the run)"
    ]


def _name_clashes(trials: pd.DataFrame, is_cell: pd.Series) -> list[str]:
    is_cell = is_cell.reindex(trials.index)
    both = set(trials["regressor"][is_cell]) & set(trials["regressor"][~is_cell])
    return [
        f"{name} is a trial type of events.others and the name of a cell; rename the condition "
        "with events.rename"
        for name in sorted(both, key=str)
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
            "Complete them, exclude a subject with its reason in bids.exclude, or choose what "
            "becomes of such runs with bids.incomplete_runs: drop_run or drop_subject."
        )
    people = runs["subject"]
    gone = people[lacking.index]
    if policy == "drop_run":
        gone = gone[~gone.isin(people.drop(lacking.index))]
    rows = []
    for subject, own in people.groupby(people, sort=False):
        faults = lacking.reindex(own.index).dropna()
        reasons = [
            f"{names[i].partition(' ')[2]}: {text}".removeprefix(": ")
            for i, text in faults.items()
        ]
        tail = f" (bids.incomplete_runs: {policy})"
        if subject in set(gone):
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
    lacks = pd.Series(
        [_lacking(cells, events) for cells in held], index=runs.index, dtype=object
    )
    kept, excluded = drop_incomplete(runs, lacks, policy)
    cells = pd.Series(held, index=runs.index, dtype=object)
    needed = _needed_cells(contrasts)
    rows = []
    for subject, own in kept.groupby("subject", sort=False):
        absent = needed - set().union(*cells[own.index])
        if absent:
            listed = ", ".join(" ".join(cell) for cell in sorted(absent))
            rows.append((subject, "subject", len(own), f"no trial of {listed}"))
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
    if kept["subject"].nunique() < MIN_SUBJECTS:
        raise StudyError(
            f"bids.incomplete_runs ({policy}) leaves {kept['subject'].nunique()} of "
            f"{runs['subject'].nunique()} subjects with every cell of the contrasts; tests over "
            f"subjects need at least {MIN_SUBJECTS}."
        )
    added = pd.DataFrame(rows, columns=EXCLUDED)
    return kept, _stack([excluded, added])


def unused_conditions(
    tidy: dict[tuple, pd.DataFrame], contrasts: list[dict]
) -> pd.DataFrame:
    """Count the trials of conditions that are modelled, but enter no contrast: condition, n."""
    used = {contrast[side] for contrast in contrasts for side in ("baseline", "held")}
    counts = Counter(
        condition
        for events in tidy.values()
        for condition in events["condition"].dropna()
        if condition not in used
    )
    rows = sorted(counts.items())
    return pd.DataFrame(rows, columns=["condition", "n"]).astype({"n": int})


def _cells(events: pd.DataFrame | None) -> set[tuple]:
    if events is None:
        return set()
    pairs = events[["condition", "cue"]].dropna()
    return set(pairs.itertuples(index=False, name=None))


def _lacking(cells: set[tuple], events: dict) -> str | None:
    if not cells:
        return "no trial of any cell"
    absent = [
        f"{condition} {cue}"
        for condition in sorted({condition for condition, _ in cells})
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


def trial_ratings(
    tidy: dict[tuple, pd.DataFrame], *, cue: str | None = "threat"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Take the ratings of trials out of the events.

    Parameters
    ----------
    tidy : dict
        Tidy events of each (subject, session, run) that is analysed.
    cue : {'threat', 'safe', None}
        The trials whose ratings count; None: all.

    Returns
    -------
    means : DataFrame
        Columns subject, condition, rating (mean over a subject's rated trials, runs together),
        n_rated, n_missing (trials); rating is missing where no trial was rated.
    trials : DataFrame
        As `list_trials` gives it, all cues.
    """
    trials = list_trials(tidy)
    counted = trials if cue is None else trials[trials["cue"] == cue]
    groups = counted.groupby(["subject", "condition"], sort=False)["rating"]
    means = pd.DataFrame({"rating": groups.mean(), "n_rated": groups.count()})
    means["n_missing"] = groups.size() - means["n_rated"]
    return means.reset_index()[RATINGS], trials


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
