"""Which runs a BIDS dataset and its fMRIPrep derivatives hold, each folder walked once."""

import json
import math
import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from handhold.errors import StudyError
from handhold.events import EXCLUDED, drop_incomplete, run_keys, same_label
from handhold.io import MISSING, is_file, require_small
from handhold.runs import RUN, name_run
from handhold.sources import plain_subject
from handhold.spec import advise

FILES = ["bold", "mask", "confounds", "events", "sidecar"]
IMAGES = (".nii.gz", ".nii")
CONFOUNDS = ("timeseries", "regressors")  # the second until fMRIPrep 20.1
SUFFIXES = frozenset({"bold", "mask", "events", *CONFOUNDS})
# What says in which form an image or table is, and not of which run it is.
FORM = frozenset({"space", "cohort", "res", "den", "desc"})
# Ends of the files at the root of a tree and of a person's folder that are text.
LIGHT = (".tsv", ".json", ".md", ".txt", ".rst", "README", "CHANGES", "LICENSE")
# What raw files of one run differ in: a run of several echoes has one events file.
PIECES = frozenset({"echo", "part"})
# What tells runs apart beside run-, and bids.entities chooses between.
APART = ("acq", "ce", "rec", "dir")
# Label of bids.resolution for images without res-, as fMRIPrep calls the grid they are on.
NATIVE = "native"
# Label of a space in which atlases and receptor maps are, as it begins.
STANDARD = "MNI"
# git-annex keeps its pointers shorter than this, and they begin so.
POINTER_BYTES = 32768
POINTER = "/annex/objects/"
# Repetition times further apart would shift the end of a run of 500 volumes by half a second.
SAME_TR_S = 1e-3
# No volume takes longer; larger numbers are in milliseconds.
LONGEST_TR_S = 30.0
# Files that a message names one by one.
SHOWN = 10
# A folder of a person: nothing that a command would take for an option, nor half a character.
SUBJECT = re.compile(r"sub-(?!-)[^._\x00-\x1f\x7f\ud800-\udfff]+")


@dataclass(frozen=True)
class Index:
    """The runs of a study.

    `runs`: one row per run, text: subject, session, run (labels, missing where none), bold, mask,
    confounds, events, sidecar (paths; the sidecar gives RepetitionTime). `excluded`: subject, what
    (subject, or run where others of the subject stay), n (runs), reason.
    """

    runs: pd.DataFrame
    excluded: pd.DataFrame

    @property
    def subjects(self) -> list[str]:
        """Subjects in the order of the table."""
        return list(dict.fromkeys(self.runs["subject"]))


def index_runs(bids: dict) -> Index:
    """List the runs of a study; no image is opened.

    Parameters
    ----------
    bids : dict
        The section `bids` of the configuration, with full paths.

    Returns
    -------
    Index
        Runs by subject, session and run; and whoever is left out, with the reason.

    Raises
    ------
    StudyError
        If a folder, task, session, space, resolution or subject is not there (and what is); if
        several files fit a run; if repetition times disagree; if runs are incomplete and
        `bids.incomplete_runs` refuses them; if files were not downloaded; if no run is left.
    """
    raw = _walk(bids["dataset"], "bids.dataset")
    derivative = _walk(bids["derivatives"], "bids.derivatives", _explain_derivatives)
    _require_preprocessed(derivative, bids)
    wanted = [_of_task(tree.files, bids) for tree in (raw, derivative)]
    chosen, excluded = _choose_people(raw, derivative, [*wanted[0], *wanted[1]], bids)
    people = set(chosen)
    original, preprocessed = ([f for f in own if f.subject in people] for own in wanted)
    bold = _choose_bold(preprocessed, bids)
    table = _join(raw, derivative, bold, _started(original, bold), bids)
    scanned = set(table["subject"])
    idle = [subject for subject in chosen if subject not in scanned]
    _require_runs(idle, bids)
    excluded += [
        (subject, "subject", 0, f"no run of {_name(bids)}") for subject in idle
    ]
    table, left = _leave_out(table, chosen, bids)
    excluded += left
    runs = table[[*RUN, *FILES]]
    kept, dropped = drop_incomplete(runs, table["lacks"], bids["incomplete_runs"])
    excluded += dropped.itertuples(index=False, name=None)
    if kept.empty:
        reasons = "; ".join(f"sub-{row[0]}: {row[3]}" for row in excluded[:SHOWN])
        raise StudyError(
            f"no run of {_name(bids)} is left to analyse in {derivative.root} (bids.derivatives). "
            f"Left out: {reasons}."
        )
    require_content([path for name in FILES for path in kept[name]])
    return Index(kept.reset_index(drop=True), pd.DataFrame(excluded, columns=EXCLUDED))


def _require_runs(idle: list[str], bids: dict) -> None:
    """Refuse people without a run of the task, where incomplete runs are refused."""
    if idle and bids["incomplete_runs"] == "refuse":
        listed = "\n".join(f"  - sub-{subject}" for subject in idle)
        raise StudyError(
            f"{len(idle)} subjects have no run of {_name(bids)}, raw or preprocessed:\n{listed}\n"
            "Complete them, exclude them with the reason in bids.exclude, or have them counted "
            "as excluded with bids.incomplete_runs: drop_run or drop_subject."
        )


def list_people(bids: dict) -> dict[str, list[str]]:
    """List whom a study wants that has raw BOLD of the task, with the paths of the images.

    Parameters
    ----------
    bids : dict
        The section `bids` of the configuration, with full paths; the derivatives need not be
        there.

    Raises
    ------
    StudyError
        If the dataset, the task or a person of the configuration is not there.
    """
    raw = _walk(bids["dataset"], "bids.dataset")
    _require_label("bids.task", bids["task"], raw.files, "task")
    wanted = _of_task(raw.files, bids)
    none = _Tree(Path(bids["derivatives"]), [], {None: []})
    chosen, _ = _choose_people(raw, none, wanted, bids)
    images: dict[str, list[str]] = {}
    for file in wanted:
        if file.suffix == "bold" and file.extension in IMAGES:
            images.setdefault(file.subject, []).append(file.path)
    return {subject: images[subject] for subject in chosen if subject in images}


def list_events(dataset: str, task: str, *, session: str | None = None) -> pd.DataFrame:
    """List the runs of a task in a raw tree, preprocessed or not.

    A run is there if an events file, an image or a sidecar of its own is.

    Returns
    -------
    DataFrame
        Columns subject, session, run, events, sidecar (that gives RepetitionTime); paths
        are missing where no file applies.

    Raises
    ------
    StudyError
        If the folder holds no subject, or several files fit a run.
    """
    bids = {"task": task, "session": session}
    raw = _walk(dataset, "bids.dataset")
    times, faults = _repetition_times(raw.files)
    rows = []
    _require_label("bids.task", task, raw.files, "task")
    for file in _started(_of_task(raw.files, bids), {}).values():
        nearby = raw.near(file.subject)
        sidecar, _ = _sidecar(nearby, file.entities, times, faults)
        events = _one(_events(nearby, file.entities), "events files", file, faults)
        rows.append({**_labels(file), "events": events, "sidecar": sidecar})
    _refuse(faults, f"{dataset} (bids.dataset)")
    return _sorted(rows, ["events", "sidecar"])


def plain_labels(section: dict) -> dict:
    """Return the section bids with labels as file names have them, without `ses-` or `res-`."""
    entities = {
        "session": "ses-",
        "resolution": "res-",
        "space": "space-",
        "task": "task-",
    }
    labels = {
        key: section[key].removeprefix(prefix)
        for key, prefix in entities.items()
        if key in section
    }
    return {**section, **labels}


def choose_files(paths: list[str], bids: dict, *, preprocessed: bool) -> list[str]:
    """Choose, from paths that start at the root of a tree, the files that `index_runs` reads.

    `bids` is the section of the configuration, with plain labels.

    Of a raw tree: its tables, descriptions and sidecars, and the events of everyone, so that
    people who are left out are counted. Of derivatives: BOLD of the space and resolution, masks
    and confounds of the people who are analysed. With several resolutions all are chosen.
    """
    chosen = []
    for path in paths:
        *folders, name = path.split("/")
        file = _parse(name, path, 3 if folders[-1:] == ["func"] else len(folders))
        if file is None or file.depth < 3:
            other_task = (
                file and file.entities.get("task", bids["task"]) != bids["task"]
            )
            about = folders == ["phenotype"] or all(
                folder.startswith(("sub-", "ses-")) for folder in folders
            )
            if about and name.endswith(LIGHT) and not other_task:
                chosen.append(path)
        elif _of_task([file], bids) and (
            _is_read(file, bids) and is_analysed(file.subject, bids)
            if preprocessed
            else file.extension in (".tsv", ".json")
        ):
            chosen.append(path)
    return chosen


def is_analysed(subject: str, bids: dict) -> bool:
    """Tell whether the section bids leaves a person in."""
    labels = {plain_subject(str(label)) for label in bids["participant_label"]}
    excluded = {plain_subject(str(x)) for x in bids["exclude"] if not _is_run(x)}
    return subject not in excluded and (not labels or subject in labels)


def _is_read(file: "_File", bids: dict) -> bool:
    """Tell the derivatives of a run that the analysis reads."""
    if file.suffix in CONFOUNDS:
        return True
    kinds = {"bold": "preproc", "mask": "brain"}
    return (
        file.suffix in kinds
        and file.entities.get("desc") == kinds[file.suffix]
        and "echo" not in file.entities
        and file.entities.get("space") == bids["space"]
        and bids.get("resolution") in (None, file.entities.get("res", NATIVE))
    )


def read_events(path: str | Path, where: str) -> pd.DataFrame:
    """Read an events file as text.

    Parameters
    ----------
    path : path
        Tabs between cells; line ends of any system, with or without byte order mark.
    where : str
        Subject and run, for the error.

    Returns
    -------
    DataFrame
        The index is the line of the file; blanks and n/a are missing; of a column that is there
        twice the second is called `name.1`. No row where the file has a header only.

    Raises
    ------
    StudyError
        If the file is missing, empty, not UTF-8 text or not separated by tabs, or a row has more
        cells than the header.
    """
    path = Path(path)
    text = _read_text(path, where)
    lines = [
        (number, [_cell(cell) for cell in line.split("\t")])
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip()
    ]
    if not lines:
        raise StudyError(
            f"{where}: {path} is empty, without a header even. Restore it, or remove it and say "
            "with bids.incomplete_runs what becomes of runs without events."
        )
    header = _distinct(lines[0][1])
    if "onset" not in header:
        found = ", ".join(header)
        raise StudyError(
            f"{where}: {path} has no column onset in its header ({found}). An events file is "
            "separated by tabs and begins with onset and duration (BIDS)."
        )
    width = len(header)
    wide = [number for number, cells in lines if any(cells[width:])]
    if wide:
        raise StudyError(
            f"{where}: {path} has more cells than the header's {len(header)} in "
            f"{len(wide)} lines (first: {wide[0]}), so that columns cannot be told apart. Mend the "
            "tabs of these lines."
        )
    rows = [
        [math.nan if cell in MISSING else cell for cell in cells[:width]]
        + [math.nan] * (width - len(cells))
        for _, cells in lines[1:]
    ]
    numbers = [number for number, _ in lines[1:]]
    return pd.DataFrame(rows, columns=header, index=numbers, dtype=object)


def repetition_time(run: pd.Series | dict) -> float:
    """Return the repetition time of a run in seconds, as its sidecar gives it.

    Parameters
    ----------
    run : Series or dict
        A row of `Index.runs`.

    Raises
    ------
    StudyError
        If the sidecar is not JSON, or gives none, or not in seconds.
    """
    path = run["sidecar"]
    seconds, fault = _read_time(path)
    if seconds is None:
        where = name_run(run["subject"], run["session"], run["run"])
        raise StudyError(
            f"{where}: {fault or f'{path} has no RepetitionTime'}. Give RepetitionTime, in "
            "seconds, in the sidecar of the BOLD."
        )
    return seconds


# --- Files and their names ---------------------------------------------------------------


class _File(NamedTuple):
    """A file: `depth` is 0 at the root of the tree, 1 to 3 down to func; runs without padding."""

    path: str
    depth: int
    entities: dict[str, str]
    run: str | None
    suffix: str
    extension: str

    @property
    def subject(self) -> str | None:
        return self.entities.get("sub")


@dataclass(frozen=True)
class _Tree:
    root: Path
    people: list[str]
    by_person: dict[str | None, list[_File]]

    @property
    def files(self) -> list[_File]:
        return [file for files in self.by_person.values() for file in files]

    def near(self, subject: str) -> list[_File]:
        """Return the files of a subject and those at the root, which may apply to it."""
        return [*self.by_person.get(subject, []), *self.by_person[None]]


def _walk(
    root: str | Path, key: str, explain: Callable[[Path], str] | None = None
) -> _Tree:
    """List the functional files of every subject, in one walk over root, sub-*, ses-* and func."""
    root = Path(root)
    advice = explain(root) if explain else "Mend the path; it starts from data_root."
    if not _is_folder(root):
        raise StudyError(f"the folder {root} ({key}) does not exist. {advice}")
    files, folders = _scan(root, 0)
    people = sorted(name for name in folders if name.startswith("sub-"))
    if not people:
        raise StudyError(
            f"the folder {root} ({key}) holds no folder sub-*. {advice} If it is a DataLad "
            f"subdataset that was not installed: datalad get -n {root}"
        )
    strange = [name for name in people if not SUBJECT.fullmatch(name)]
    _refuse(
        [f"{root / name} is no name of a subject" for name in strange],
        key,
        "BIDS labels hold letters and digits only: rename folder and files, or move them away.",
    )
    by_person: dict[str | None, list[_File]] = {None: files}
    for name in people:
        by_person[name.removeprefix("sub-")] = _scan_person(root, name)
    strays = [
        file.path
        for subject, own in by_person.items()
        for file in own
        if subject is not None and file.subject != subject
    ]
    _refuse([f"{path} lies in another subject's folder" for path in strays], f"{key}")
    return _Tree(root, [name.removeprefix("sub-") for name in people], by_person)


def _scan_person(root: Path, name: str) -> list[_File]:
    found, folders = _scan(root / name, 1)
    if "func" in folders:
        found += _scan(root / name / "func", 3)[0]
    for session in folders:
        if session.startswith("ses-"):
            files, inner = _scan(root / name / session, 2)
            found += files
            if "func" in inner:
                found += _scan(root / name / session / "func", 3)[0]
    return found


def _scan(folder: Path, depth: int) -> tuple[list[_File], list[str]]:
    files, folders = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if (file := _parse(entry.name, entry.path, depth)) is not None:
                files.append(file)
            elif depth < 3 and _may_be_folder(entry.name) and entry.is_dir():
                folders.append(entry.name)
    return sorted(files), sorted(folders)


def _may_be_folder(name: str) -> bool:
    """Spare files the question whether they are folders; a subject's name may be odd."""
    return name.startswith("sub-") or "." not in name


def _parse(name: str, path: str, depth: int) -> _File | None:
    """Read the entities of a file's name, in whatever order they stand."""
    stem, _, extension = name.partition(".")
    head, _, suffix = stem.rpartition("_")
    if suffix not in SUFFIXES:
        return None
    entities = {
        key: value
        for key, _, value in (pair.partition("-") for pair in head.split("_"))
    }
    run = entities.get("run")
    if run is not None:
        entities["run"] = same_label(run)
    return _File(path, depth, entities, run, suffix, f".{extension}")


# --- What the configuration chooses ------------------------------------------------------


def _name(bids: dict) -> str:
    session = bids.get("session")
    return f"task-{bids['task']}" + (f" in ses-{_plain(session)}" if session else "")


def _plain(label: str) -> str:
    return label.removeprefix("ses-").removeprefix("res-")


def _explain_derivatives(root: Path) -> str:
    """Say what to do where a folder of derivatives is missing or holds nothing."""
    deeper = [
        str(child) for child in _folders(root) if any(_subject_folders(Path(child)))
    ]
    if deeper:
        return f"Did you mean {' or '.join(deeper)}?"
    return (
        "handhold starts from preprocessed BOLD, and there are three ways to it: (1) if you have "
        "fMRIPrep derivatives, give the folder that holds their sub-* folders in bids.derivatives; "
        "(2) have fMRIPrep run: put fmriprep.run to true, give fmriprep.license_file, and run "
        "`snakemake fmriprep` (hours per person, in a container; bids.space is among its "
        "--output-spaces); (3) fetch derivatives that others made of the same dataset, in "
        "bids.space, where they are published: give their address in bids.openneuro.derivatives "
        "(OpenNeuroDerivatives holds some of OpenNeuro's), and run `snakemake fetch`."
    )


def _is_folder(root: Path) -> bool:
    try:
        return root.is_dir()
    except OSError:  # a name that no file system takes
        return False


def _folders(root: Path) -> list[str]:
    if not _is_folder(root):
        return []
    return sorted(entry.path for entry in os.scandir(root) if entry.is_dir())


def _subject_folders(root: Path) -> list[str]:
    return [path for path in _folders(root) if Path(path).name.startswith("sub-")]


def _is_bold(file: _File) -> bool:
    """Tell preprocessed BOLD, of all echoes together, in a volume."""
    return (
        file.suffix == "bold"
        and file.extension in IMAGES
        and file.entities.get("desc") == "preproc"
        and "echo" not in file.entities
    )


def _require_preprocessed(derivative: _Tree, bids: dict) -> None:
    """Refuse derivatives without the task and session, and say what they hold."""
    images = [file for file in derivative.files if _is_bold(file)]
    if not images:
        raw = sum(
            f.suffix == "bold" and f.extension in IMAGES for f in derivative.files
        )
        raise StudyError(
            f"{derivative.root} (bids.derivatives) holds {len(derivative.people)} subjects and no "
            f"*_desc-preproc_bold image ({raw} other BOLD images: "
            f"{'a raw dataset?' if raw else 'surfaces only, or another pipeline?'}). "
            f"{_explain_derivatives(derivative.root)}"
        )
    _require_label("bids.task", bids["task"], images, "task")
    own = [file for file in images if file.entities.get("task") == bids["task"]]
    if bids.get("session") is not None:
        _require_label("bids.session", _plain(bids["session"]), own, "ses")
    for name, labels in _entities(bids).items():
        for label in labels:
            _require_label(f"bids.entities.{name}", label, own, name)


def _of_task(files: list[_File], bids: dict) -> list[_File]:
    """Return the files of single runs of the task, session and entities.

    Runs of an entity with several labels have it in the label of the run.
    """
    session, choices, listed = bids.get("session"), _entities(bids), _listed(bids)
    return [
        file._replace(run=_run_label(file, listed))
        for file in files
        if file.depth == 3
        and file.entities.get("task") == bids["task"]
        and (session is None or file.entities.get("ses") == _plain(session))
        and all(file.entities.get(name) in labels for name, labels in choices.items())
    ]


def _entities(bids: dict) -> dict[str, list[str]]:
    """Return the labels that bids.entities chooses, each entity with a list."""
    given = bids.get("entities", {})
    return {
        name: [labels] if isinstance(labels, str) else labels
        for name, labels in given.items()
    }


def _listed(bids: dict) -> list[str]:
    """Return the entities of which several labels are analysed, each a run."""
    choices = _entities(bids)
    return [name for name in APART if len(choices.get(name, ())) > 1]


def _run_label(file: _File, listed: list[str]) -> str | None:
    parts = [file.run] if file.run else []
    parts += [f"{name}-{file.entities[name]}" for name in listed]
    return "-".join(parts) or None


def _require_label(key: str, label: str, files: list[_File], entity: str) -> None:
    """Refuse a label that no file has, with what there is."""
    counts = Counter(file.entities.get(entity) for file in files)
    if label in counts:
        return
    known = sorted(name for name in counts if name is not None)
    listed = [f"{name} ({counts[name]})" for name in known]
    listed += [f"without {entity}- ({counts[None]})"] if counts[None] else []
    near = advise(label, known) if known else f"none has {entity}-"
    raise StudyError(
        f"no file has {entity}-{label} ({key}; {near}). Files by {entity}-: {', '.join(listed)}."
    )


def _choose_people(
    raw: _Tree, derivative: _Tree, wanted: list[_File], bids: dict
) -> tuple[list[str], list[tuple]]:
    """Return who is analysed, and the rows of who is left out by the configuration."""
    people = sorted({*raw.people, *derivative.people})
    labels = [plain_subject(str(label)) for label in bids["participant_label"]]
    reasons = {
        plain_subject(str(label)): reason
        for label, reason in bids["exclude"].items()
        if not _is_run(label)
    }
    faults = [
        f"sub-{label} ({key}) is not in {raw.root} or {derivative.root}; {advise(label, people)}"
        for key, given in (
            ("bids.participant_label", labels),
            ("bids.exclude", reasons),
        )
        for label in given
        if label not in people
    ]
    _refuse(faults, "bids", "Quote labels: YAML reads 01 as the number 1.")
    runs: dict[str, set] = {subject: set() for subject in people}
    for file in wanted:
        runs[file.subject].add(_key(file))
    left_out = {
        **{
            subject: "not in bids.participant_label"
            for subject in people
            if labels and subject not in labels
        },
        **{subject: f"{reason} (bids.exclude)" for subject, reason in reasons.items()},
    }
    chosen = [subject for subject in people if subject not in left_out]
    rows = [
        (subject, "subject", len(runs[subject]), left_out[subject])
        for subject in people
        if subject in left_out
    ]
    return chosen, rows


def _is_run(label: str) -> bool:
    """Tell the label of a run (01_run-2) in bids.exclude from that of a person."""
    return "_ses-" in str(label) or "_run-" in str(label)


def _leave_out(
    table: pd.DataFrame, chosen: list[str], bids: dict
) -> tuple[pd.DataFrame, list[tuple]]:
    """Leave out the runs that bids.exclude names, and return how they are counted.

    A label without ses- or run- stands for runs that have none.
    """
    keys = dict(zip(table.index, run_keys(table), strict=True))
    names = {index: "_".join(name_run(*key).split(" ")) for index, key in keys.items()}
    plain = {_plain_run(name): index for index, name in names.items()}
    reasons, faults = {}, []
    for label, reason in bids["exclude"].items():
        if not _is_run(label):
            continue
        own = _plain_run(str(label))
        if own in plain:
            reasons[plain[own]] = f"{reason} (bids.exclude)"
        elif own.split("_")[0] not in chosen:
            faults.append(
                f"{label} (bids.exclude) is a run of nobody who is analysed; people here: "
                f"{', '.join(chosen[:SHOWN])}"
            )
        else:
            person = [
                n
                for n in names.values()
                if _plain_run(n).split("_")[0] == own.split("_")[0]
            ]
            faults.append(
                f"{label} (bids.exclude) is no run of {_name(bids)}; {advise(str(label), person)}"
            )
    _refuse(faults, "bids")
    rows = []
    for subject, mine in table.groupby("subject", sort=False):
        own = [index for index in mine.index if index in reasons]
        if len(own) == len(mine):
            text = "; ".join(f"{_words(names[i])}: {reasons[i]}" for i in own)
            rows.append((subject, "subject", len(own), text))
        else:
            rows += [
                (subject, "run", 1, f"{_words(names[i])}: {reasons[i]}") for i in own
            ]
    return table.drop(index=list(reasons)), rows


def _words(name: str) -> str:
    """Return the name of a run without its subject."""
    return name.partition("_")[2].replace("_", " ")


def _plain_run(label: str) -> str:
    """Return the name of a run without sub- and padding, which may differ between trees."""
    pairs = (pair.partition("-") for pair in plain_subject(label).split("_"))
    return "_".join(
        f"{key}-{same_label(value)}" if key == "run" else key + mid + value
        for key, mid, value in pairs
    )


def _choose_bold(files: list[_File], bids: dict) -> dict[tuple, _File]:
    """Return the preprocessed BOLD of each run in the chosen space and resolution."""
    own = [file for file in files if _is_bold(file)]
    if own:
        _require_label("bids.space", bids["space"], own, "space")
        _require_standard(bids["space"], own)
    own = [file for file in own if file.entities.get("space") == bids["space"]]
    if bids.get("resolution") is not None:
        label = _plain(bids["resolution"])
        bare = label == NATIVE and any("res" not in file.entities for file in own)
        if own and not bare:
            _require_label("bids.resolution", label, own, "res")
        labels = {label, None} if bare else {label}
        own = [file for file in own if file.entities.get("res") in labels]
    runs: dict[tuple, list[_File]] = {}
    for file in own:
        apart = [file.entities[name] for name in _listed(bids)]
        runs.setdefault((*_key(file)[:3], *apart), []).append(file)
    several = [_word_several(found) for found in runs.values() if len(found) > 1]
    _refuse(several, "the preprocessed BOLD (bids.derivatives)")
    return {_key(file): file for (file,) in runs.values()}


def _require_standard(space: str, files: list[_File]) -> None:
    """Refuse spaces of single people, in which atlases and receptor maps are not."""
    if not space.startswith(STANDARD):
        known = sorted({file.entities.get("space", "none") for file in files})
        standard = [name for name in known if name.startswith(STANDARD)]
        raise StudyError(
            f"bids.space is {space}, and atlases and receptor maps are in MNI space. BOLD in MNI "
            f"space here: {', '.join(standard) or 'none'} (others: "
            f"{', '.join(name for name in known if name not in standard)}). Choose one, or run "
            "fMRIPrep with an MNI space among its --output-spaces."
        )


def _word_several(files: list[_File]) -> str:
    """Name the files that fit one run, and the key that would decide between them."""
    names = sorted({name for file in files for name in file.entities})
    apart = [name for name in names if len({f.entities.get(name) for f in files}) > 1]
    if apart == ["res"]:
        labels = sorted({file.entities.get("res", NATIVE) for file in files})
        advice = f"choose one with bids.resolution: {' or '.join(labels)}"
    elif apart and set(apart) <= {*APART}:
        labels = {
            name: sorted({f.entities[name] for f in files if name in f.entities})
            for name in apart
        }
        one = ", ".join(f"{name}: {found[0]}" for name, found in labels.items())
        every = ", ".join(
            f"{name}: [{', '.join(found)}]" for name, found in labels.items()
        )
        advice = f"choose with bids.entities: {{{one}}}"
        if all(len(found) > 1 for found in labels.values()):
            advice += f"; or, if they are runs of their own, {{{every}}}"
    else:
        what = " and ".join(f"{name}-" for name in apart) or "padding or extension"
        advice = (
            f"they differ in {what}, between which no key of the configuration chooses: keep one "
            "of them in the folder"
        )
    listed = ", ".join(Path(file.path).name for file in files)
    where = name_run(*_labels(files[0]).values())
    return f"{where} has {len(files)} candidates ({listed}); {advice}"


# --- The files of a run ------------------------------------------------------------------


def _key(file: _File) -> tuple:
    entities = file.entities
    names = ("sub", "ses", "run", *APART)
    return tuple(entities.get(name) for name in names)


def _labels(file: _File) -> dict[str, str | None]:
    labels = (file.subject, file.entities.get("ses"), file.run)
    return dict(zip(RUN, labels, strict=True))


def _started(original: list[_File], bold: dict[tuple, _File]) -> dict[tuple, _File]:
    """Return the runs that are preprocessed, and one file of each other run of the raw tree."""
    runs = dict(bold)
    known: dict[tuple, list[tuple]] = {}
    for key in bold:
        known.setdefault(key[:3], []).append(key[3:])
    # events may serve runs that differ in more entities than their name has
    for file in sorted(original, key=lambda file: file.suffix == "events"):
        key = _key(file)
        others = known.setdefault(key[:3], [])
        if file.suffix in ("bold", "events") and not any(
            _alike(key[3:], other) for other in others
        ):
            runs[key] = file
            others.append(key[3:])
    return runs


def _alike(one: tuple, other: tuple) -> bool:
    """Tell whether two runs differ in no entity that both have."""
    return all(a == b or None in (a, b) for a, b in zip(one, other, strict=True))


def _join(
    raw: _Tree,
    derivative: _Tree,
    bold: dict[tuple, _File],
    started: dict[tuple, _File],
    bids: dict,
) -> pd.DataFrame:
    """Find the files of each run, and say in the column lacks what is not there."""
    people = {key[0] for key in started}
    sidecars = [
        file
        for tree in (raw, derivative)
        for subject, files in tree.by_person.items()
        if subject in people or subject is None
        for file in files
        if file.entities.get("task", bids["task"]) == bids["task"]
        and file.entities.get("space", bids["space"]) == bids["space"]
    ]
    times, faults = _repetition_times(sidecars)
    rows = []
    for key, file in started.items():
        if key in bold:
            row = _row(raw, derivative, file, times, faults)
        else:
            row = {"lacks": f"no preprocessed BOLD in {_grid(bids)}"}
        rows.append({**_labels(file), **row})
    _refuse(faults, "the dataset (bids.dataset, bids.derivatives)")
    return _sorted(rows, [*FILES, "lacks"])


def _grid(bids: dict) -> str:
    resolution = bids.get("resolution")
    return f"space-{bids['space']}" + (
        f" res-{_plain(resolution)}" if resolution else ""
    )


def _row(
    raw: _Tree,
    derivative: _Tree,
    bold: _File,
    times: dict[str, float],
    faults: list[str],
) -> dict[str, str | None]:
    preprocessed, original = derivative.near(bold.subject), raw.near(bold.subject)
    own, seconds = _sidecar(preprocessed, bold.entities, times, faults)
    other, raw_seconds = _sidecar(original, bold.entities, times, faults)
    if seconds and raw_seconds and abs(seconds - raw_seconds) > SAME_TR_S:
        faults.append(
            f"{name_run(*_labels(bold).values())}: RepetitionTime is {seconds:g} s in {own} and "
            f"{raw_seconds:g} s in {other}; mend the one that is wrong"
        )
    row = {
        "bold": bold.path,
        "mask": _one(_masks(preprocessed, bold), "brain masks", bold, faults),
        "confounds": _one(
            _confounds(preprocessed, bold), "confounds tables", bold, faults
        ),
        "events": _one(_events(original, bold.entities), "events files", bold, faults),
        "sidecar": own or other,
    }
    words = {
        "mask": "brain mask in the space of its BOLD",
        "confounds": "confounds table",
        "events": "events file",
        "sidecar": "RepetitionTime in a sidecar",
    }
    lacks = [f"no {words[name]}" for name in words if row[name] is None]
    return {**row, "lacks": ", ".join(lacks) or None}


def _one(files: list[_File], what: str, run: _File, faults: list[str]) -> str | None:
    if len(files) > 1:
        where = name_run(*_labels(run).values())
        listed = ", ".join(file.path for file in files)
        faults.append(f"{where} has {len(files)} {what} ({listed}); keep one of them")
    return files[0].path if files else None


def _core(file: _File) -> dict[str, str]:
    return {key: value for key, value in file.entities.items() if key not in FORM}


def _masks(files: list[_File], bold: _File) -> list[_File]:
    """Return the masks of a run in its space: of its resolution, else without one."""
    places = ("space", "cohort")
    found = [
        file
        for file in files
        if file.suffix == "mask"
        and file.extension in IMAGES
        and file.entities.get("desc") == "brain"
        and all(file.entities.get(p) == bold.entities.get(p) for p in places)
        and _core(file) == _core(bold)
    ]
    same = [f for f in found if f.entities.get("res") == bold.entities.get("res")]
    bare = [
        f for f in found if None in (f.entities.get("res"), bold.entities.get("res"))
    ]
    return same or bare


def _confounds(files: list[_File], bold: _File) -> list[_File]:
    return [
        file
        for file in files
        if file.suffix in CONFOUNDS
        and file.extension == ".tsv"
        and file.entities.get("desc") == "confounds"
        and _core(file) == _core(bold)
    ]


def _events(files: list[_File], entities: dict) -> list[_File]:
    found = _applying(files, "events", ".tsv", entities)
    return [file for file in found if _distance(file) == _distance(found[0])]


def _applying(
    files: list[_File], suffix: str, extension: str, entities: dict
) -> list[_File]:
    """Return the files that apply to a run by the inheritance principle of BIDS, nearest first.

    A file applies if it contradicts no entity of the run and has none that the run has not.
    """
    found = [
        file
        for file in files
        if file.suffix == suffix
        and file.extension == extension
        and all(
            entities.get(key) == value
            for key, value in file.entities.items()
            if key not in PIECES
        )
    ]
    return sorted(found, key=_distance)


def _distance(file: _File) -> tuple[int, int]:
    return (-file.depth, -len(file.entities))


def _sidecar(
    files: list[_File],
    entities: dict,
    times: dict[str, float],
    faults: list[str],
) -> tuple[str | None, float | None]:
    """Return the nearest sidecar that gives RepetitionTime, and its value in s.

    A nearer file overrides one further up (BIDS); the echoes of a run are equally near.
    """
    found = [f for f in _applying(files, "bold", ".json", entities) if f.path in times]
    if not found:
        return None, None
    nearest = [f for f in found if _distance(f) == _distance(found[0])]
    values = [times[file.path] for file in nearest]
    if max(values) - min(values) > SAME_TR_S:
        listed = ", ".join(f"{times[file.path]:g} s in {file.path}" for file in nearest)
        where = name_run(*_labels(nearest[0]).values())
        faults.append(
            f"{where}: RepetitionTime is {listed}; mend the one that is wrong"
        )
    return nearest[0].path, values[0]


def _repetition_times(files: list[_File]) -> tuple[dict[str, float], list[str]]:
    """Read RepetitionTime (s) from every sidecar that has one; NaN where it was not downloaded."""
    times, faults = {}, []
    for file in files:
        if file.suffix == "bold" and file.extension == ".json":
            seconds, fault = _read_time(file.path)
            if seconds is not None:
                times[file.path] = seconds
            faults += [fault] if fault else []
    return times, faults


def _read_time(path: str) -> tuple[float | None, str | None]:
    """Return RepetitionTime, missing where the file gives none, and what is wrong with it."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        if text.startswith(POINTER):
            return math.nan, None
        content = json.loads(text)
    except FileNotFoundError:
        return math.nan, None
    except (OSError, ValueError, RecursionError) as error:
        return None, f"{path} is not JSON ({error})"
    seconds = content.get("RepetitionTime") if isinstance(content, dict) else None
    if seconds is None:
        return None, None
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not number or not 0 < seconds <= LONGEST_TR_S:
        return None, (
            f"{path} gives RepetitionTime {seconds!r}; it is in seconds, above 0 and at most "
            f"{LONGEST_TR_S:g}"
        )
    return float(seconds), None


def _sorted(rows: list[dict], columns: list[str]) -> pd.DataFrame:
    """Make a table by subject, session and run; runs that are numbers by number."""

    def place(row: dict) -> tuple:
        run = row["run"] or ""
        number = int(run) if run.isdecimal() else math.inf
        return (row["subject"], row["session"] or "", number, run)

    ordered = sorted(rows, key=place)
    table = pd.DataFrame(ordered, columns=[*RUN, *columns], dtype=object)
    return table.where(table.notna())


# --- What was not downloaded -------------------------------------------------------------


def require_content(paths: list[str]) -> None:
    """Refuse files that are links or pointers of git-annex without content."""
    states = {path: _absence(path) for path in paths}
    annexed = [path for path, state in states.items() if state == "annex"]
    broken = [path for path, state in states.items() if state == "broken"]
    if annexed:
        shown = annexed[:SHOWN]
        more = f"and {len(annexed) - SHOWN} more" if len(annexed) > SHOWN else ""
        listed = "\n".join(
            f"  - {line}" for line in [*shown, *([more] if more else [])]
        )
        raise StudyError(
            f"{len(annexed)} of {len(states)} files of the study were not downloaded (git-annex "
            f"has their names, not their content):\n{listed}\n"
            f"Get them, in the dataset's folder: datalad get {' '.join(shown)} {more}; or the same "
            "with git annex get."
        )
    _refuse(
        [f"{path} is a link to nothing" for path in broken],
        "the dataset (bids.dataset, bids.derivatives)",
    )


def _absence(path: str) -> str | None:
    """Say whether the content of a file is missing: in the annex, broken, or not at all."""
    file = Path(path)
    try:
        size = file.stat().st_size
    except FileNotFoundError:
        target = file.readlink().as_posix() if file.is_symlink() else ""
        return "annex" if "annex/objects/" in target else "broken"
    if size > POINTER_BYTES:
        return None
    with file.open("rb") as text:
        return "annex" if text.read(len(POINTER)) == POINTER.encode() else None


def _refuse(faults: list[str], where: str, advice: str = "") -> None:
    if faults:
        listed = "\n".join(f"  - {fault}" for fault in dict.fromkeys(faults))
        raise StudyError(
            f"{where} has {len(faults)} "
            f"{'fault' if len(faults) == 1 else 'faults'}:\n{listed}"
            + (f"\n{advice}" if advice else "")
        )


# --- The text of an events file ----------------------------------------------------------


def _read_text(path: Path, where: str) -> str:
    if not is_file(path):
        raise StudyError(
            f"{where}: the events file {path} does not exist, or is a link to nothing. If it was "
            f"not downloaded: datalad get {path}"
        )
    try:
        require_small(path, f"{where}: {path}")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise StudyError(
            f"{where}: the events file {path} cannot be read ({error.strerror}). Allow reading it."
        ) from error
    except UnicodeDecodeError as error:
        raise StudyError(
            f"{where}: {path} is not UTF-8 text ({error}). Save it again as UTF-8."
        ) from error
    if "\0" in text:
        raise StudyError(
            f"{where}: {path} is not UTF-8 text: it holds null characters, as UTF-16 does. Save it "
            "again as UTF-8."
        )
    if text.startswith(POINTER):
        raise StudyError(
            f"{where}: {path} was not downloaded (a pointer of git-annex stands in its place). "
            f"Get it: datalad get {path}, or git annex get {path}"
        )
    return text


def _cell(text: str) -> str:
    """Return the text of a cell without the blanks and quotes around it."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1].replace('""', '"').strip()
    return text


def _distinct(header: list[str]) -> list[str]:
    """Name the second column of a name name.1, as pandas does."""
    seen: Counter = Counter()
    named = []
    for name in header:
        named.append(f"{name}.{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return named
