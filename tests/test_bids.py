import json
import os
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from handhold.bids import index_runs, list_events, read_events, repetition_time
from handhold.errors import StudyError
from handhold.events import name_run, run_keys, tidy_events

SPACE = "MNI152NLin2009cAsym"
TABLE = "onset\tduration\ttrial_type\n1\t2\tthreat\n9\t2\tsafe\n"
ANNEXED = "/annex/objects/MD5E-s1234--0123456789abcdef.nii.gz\n"


def section(root, **changes):
    """Return a section bids with its defaults; a change to None removes the key."""
    bids = {
        "dataset": str(root),
        "derivatives": str(root / "derivatives" / "fmriprep"),
        "task": "hands",
        "space": SPACE,
        "participant_label": [],
        "exclude": {},
        "incomplete_runs": "refuse",
        **changes,
    }
    return {key: value for key, value in bids.items() if value is not None}


def write(path, content=b""):
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict):
        content = json.dumps(content)
    if isinstance(content, str):
        content = content.encode()
    path.write_bytes(content)
    return path


def folder(root, entities):
    """Return the folder func of a run, given its entities sub-.. and ses-.. in any order."""
    parts = dict(pair.split("-", 1) for pair in entities.split("_"))
    inner = root / f"sub-{parts['sub']}"
    return (inner / f"ses-{parts['ses']}" if "ses" in parts else inner) / "func"


def write_raw(root, entities, table=TABLE, tr=2.0):
    own = folder(root, entities)
    if table is not None:
        write(own / f"{entities}_events.tsv", table)
    if tr is not None:
        write(own / f"{entities}_bold.json", {"RepetitionTime": tr})
    write(own / f"{entities}_bold.nii.gz")


def write_derivative(root, entities, *, res="", confounds="timeseries", tr=None):
    own = folder(root / "derivatives" / "fmriprep", entities)
    stem = f"{entities}_space-{SPACE}{res}"
    write(own / f"{stem}_desc-preproc_bold.nii.gz")
    write(own / f"{stem}_desc-brain_mask.nii.gz")
    write(own / f"{entities}_desc-confounds_{confounds}.tsv")
    if tr is not None:
        write(own / f"{stem}_desc-preproc_bold.json", {"RepetitionTime": tr})
    return own


def write_study(root, runs=("run-1", "run-2"), subjects=("01", "02", "03"), **options):
    for subject in subjects:
        for run in runs:
            entities = f"sub-{subject}_task-hands" + (f"_{run}" if run else "")
            write_raw(root, entities)
            write_derivative(root, entities, **options)
    return root


def refusal(bids):
    with pytest.raises(StudyError) as caught:
        index_runs(bids)
    return str(caught.value)


def lines(text):
    return [line[4:] for line in text.splitlines() if line.startswith("  - ")]


# --- What stands in a tree ---------------------------------------------------------------


def test_a_study_is_listed_run_by_run(tmp_path):
    root = write_study(tmp_path)
    index = index_runs(section(root))
    columns = [
        "subject",
        "session",
        "run",
        "bold",
        "mask",
        "confounds",
        "events",
        "sidecar",
    ]
    assert list(index.runs) == columns
    assert index.subjects == ["01", "02", "03"]
    assert index.runs["run"].tolist() == ["1", "2"] * 3
    assert index.runs["session"].isna().all()
    assert index.excluded.empty
    assert list(index.excluded) == ["subject", "what", "n", "reason"]
    row = index.runs.iloc[3]
    derived = root / "derivatives/fmriprep/sub-02/func"
    stem = f"sub-02_task-hands_run-2_space-{SPACE}"
    assert row["bold"] == str(derived / f"{stem}_desc-preproc_bold.nii.gz")
    assert row["mask"] == str(derived / f"{stem}_desc-brain_mask.nii.gz")
    assert row["confounds"].endswith("_run-2_desc-confounds_timeseries.tsv")
    assert row["events"] == str(root / "sub-02/func/sub-02_task-hands_run-2_events.tsv")
    assert row["sidecar"] == str(root / "sub-02/func/sub-02_task-hands_run-2_bold.json")
    assert repetition_time(row) == 2.0


def test_entities_stand_in_any_order(tmp_path):
    write_study(tmp_path, subjects=["01", "02"])
    pieces = ["task-hands", "run-3", f"space-{SPACE}", "res-2", "dir-AP"]
    shuffle = random.Random(1).sample
    own = tmp_path / "derivatives/fmriprep/sub-01/func"
    for end in ("desc-preproc_bold", "desc-brain_mask"):
        write(own / f"{'_'.join(['sub-01', *shuffle(pieces, 5)])}_{end}.nii.gz")
    short = [piece for piece in pieces if piece[:3] not in ("spa", "res")]
    write(own / f"desc-confounds_{'_'.join([*short[::-1], 'sub-01'])}_timeseries.tsv")
    write_raw(tmp_path, "sub-01_dir-AP_run-3_task-hands")
    runs = index_runs(section(tmp_path)).runs
    added = runs[runs["run"] == "3"]
    assert len(added) == 1
    assert added.notna().drop(columns="session").all(axis=None)
    assert len(runs) == 5


def test_runs_are_sorted_as_numbers_and_sessions_come_first(tmp_path):
    for session in ("b", "a"):
        for run in ("10", "9", "x"):
            entities = f"sub-01_ses-{session}_task-hands_run-{run}"
            write_raw(tmp_path, entities)
            write_derivative(tmp_path, entities)
    runs = index_runs(section(tmp_path)).runs
    assert run_keys(runs) == [("01", s, r) for s in "ab" for r in ("9", "10", "x")]
    one = index_runs(section(tmp_path, session="ses-b")).runs
    assert run_keys(one) == run_keys(runs)[3:]
    text = refusal(section(tmp_path, session="c"))
    assert (
        "ses-c (bids.session; known here: a, b). Files by ses-: a (3), b (3)." in text
    )


def test_a_single_run_has_no_label(tmp_path):
    write_study(tmp_path, runs=[""])
    runs = index_runs(section(tmp_path)).runs
    assert runs["run"].isna().all()
    assert run_keys(runs) == [(subject, None, None) for subject in ("01", "02", "03")]


def test_other_files_are_no_runs(tmp_path):
    root = write_study(tmp_path)
    own = root / "derivatives/fmriprep/sub-01/func"
    stem = "sub-01_task-hands_run-1"
    for name in (
        f"{stem}_echo-1_space-{SPACE}_desc-preproc_bold.nii.gz",
        f"{stem}_space-T1w_desc-preproc_bold.nii.gz",
        f"{stem}_space-{SPACE}_desc-smoothAROMAnonaggr_bold.nii.gz",
        f"{stem}_space-{SPACE}_boldref.nii.gz",
        f"{stem}_space-{SPACE}_desc-aparcaseg_dseg.nii.gz",
        f"{stem}_space-{SPACE}_desc-ribbon_mask.nii.gz",
        f"{stem}_hemi-L_space-fsaverage_bold.func.gii",
        f"{stem}_desc-brain_mask.nii.gz",
        f"{stem}_space-T1w_desc-brain_mask.nii.gz",
        f"sub-01_task-rest_space-{SPACE}_desc-preproc_bold.nii.gz",
        "sub-01_task-rest_desc-confounds_timeseries.tsv",
    ):
        write(own / name)
    anat = root / "derivatives/fmriprep/sub-01/anat"
    write(anat / f"{stem}_space-{SPACE}_desc-brain_mask.nii.gz")
    write(root / "sub-01/func/sub-01_task-rest_events.tsv", TABLE)
    write(root / "sub-01/func" / f"{stem}_sbref.nii.gz")
    write(root / "sub-01/func" / f"{stem}_recording-cardiac_physio.tsv.gz")
    write(root / "sub-01/func/sub-01_task-hands_run-9_mask.nii.gz")
    write(own / f"{stem}_space-T1w_desc-preproc_bold.json", "not JSON")
    write(root / "derivatives/fmriprep/sub-01.html", "")
    write(root / "derivatives/fmriprep/logs/CITATION.md", "")
    assert len(index_runs(section(root)).runs) == 6
    text = refusal(section(root, task="hand"))
    assert "task-hand (bids.task; did you mean hands?)" in text
    assert "Files by task-: hands (7), rest (1)." in text


def test_the_older_name_of_the_confounds_is_known(tmp_path):
    runs = index_runs(section(write_study(tmp_path, confounds="regressors"))).runs
    assert runs["confounds"].str.endswith("_desc-confounds_regressors.tsv").all()
    own = tmp_path / "derivatives/fmriprep/sub-01/func"
    write(own / "sub-01_task-hands_run-1_desc-confounds_timeseries.tsv")
    (fault,) = lines(refusal(section(tmp_path)))
    assert fault.startswith("sub-01 run-1 has 2 confounds tables (")
    assert "_regressors.tsv" in fault
    assert "_timeseries.tsv" in fault


def test_images_without_gzip_are_taken(tmp_path):
    write_study(tmp_path)
    for path in tmp_path.rglob("*_desc-*.nii.gz"):
        path.rename(path.with_suffix(""))
    assert index_runs(section(tmp_path)).runs["mask"].str.endswith(".nii").all()


# --- Spaces and resolutions --------------------------------------------------------------


def test_the_configuration_picks_the_space_and_the_resolution(tmp_path):
    root = write_study(tmp_path)
    own = root / "derivatives/fmriprep/sub-01/func"
    for res in ("2", "1"):
        write_derivative(root, "sub-01_task-hands_run-1", res=f"_res-{res}")
    text = refusal(section(root))
    (fault,) = lines(text)
    assert fault.startswith("sub-01 run-1 has 3 candidates (sub-01_task-hands_run-1_")
    for name in ("preproc_bold.nii.gz", "res-1_desc", "res-2_desc"):
        assert name in fault
    assert fault.endswith("choose one with bids.resolution: 1 or 2 or native")

    chosen = section(root, resolution="2", incomplete_runs="drop_run")
    index = index_runs(chosen)
    stem = f"sub-01_task-hands_run-1_space-{SPACE}_res-2"
    (bold,) = index.runs["bold"]
    assert bold == str(own / f"{stem}_desc-preproc_bold.nii.gz")
    assert index.runs["mask"].item() == str(own / f"{stem}_desc-brain_mask.nii.gz")
    assert index_runs({**chosen, "resolution": "res-2"}).runs.equals(index.runs)
    native = index_runs(section(root, resolution="native")).runs
    assert not native["bold"].str.contains("_res-").any()
    assert not native["mask"].str.contains("_res-").any()
    text = refusal(section(root, resolution="3"))
    assert "res-3 (bids.resolution; " in text
    assert "Files by res-: 1 (1), 2 (1), without res- (6)." in text


def test_a_mask_without_resolution_serves_its_run(tmp_path):
    root = write_study(tmp_path, res="_res-2")
    for path in (root / "derivatives").rglob("*_mask.nii.gz"):
        path.rename(path.with_name(path.name.replace("_res-2", "")))
    masks = index_runs(section(root)).runs["mask"]
    assert not masks.str.contains("res-").any()
    # a mask of another resolution is none of this image
    for path in (root / "derivatives").rglob("*_mask.nii.gz"):
        path.rename(path.with_name(path.name.replace("_desc", "_res-1_desc")))
    assert len(lines(refusal(section(root)))) == 6


def test_the_spaces_that_there_are_are_listed(tmp_path):
    root = write_study(tmp_path)
    own = root / "derivatives/fmriprep/sub-01/func"
    write(own / "sub-01_task-hands_run-1_space-T1w_desc-preproc_bold.nii.gz")
    write(own / "sub-01_task-hands_run-1_desc-preproc_bold.nii.gz")
    text = refusal(section(root, space="MNI152NLin6Asym"))
    assert text.startswith(
        f"no file has space-MNI152NLin6Asym (bids.space; did you mean {SPACE}?)"
    )
    assert f"{SPACE} (6), T1w (1), without space- (1)" in text


def test_a_space_of_one_person_is_refused(tmp_path):
    root = write_study(tmp_path)
    for path in (root / "derivatives").rglob("*run-1_space-*"):
        path.rename(path.with_name(path.name.replace(SPACE, "T1w")))
    text = refusal(section(root, space="T1w"))
    assert text.startswith("bids.space is T1w, and atlases and receptor maps are in ")
    assert f"BOLD in MNI space here: {SPACE} (others: T1w)" in text


@pytest.mark.parametrize("tree", ["", "derivatives/fmriprep"])
def test_a_folder_that_is_no_name_of_a_subject_is_refused(tmp_path, tree):
    root = write_study(tmp_path)
    (root / tree / "sub-04.1").mkdir()
    (root / tree / "sub-01.html").write_text("")
    (fault,) = lines(refusal(section(root)))
    assert fault == f"{root / tree / 'sub-04.1'} is no name of a subject"


def write_directions(root):
    for subject in ("01", "02"):
        for way in ("AP", "PA"):
            write_raw(root, f"sub-{subject}_task-hands_dir-{way}")
            write_derivative(root, f"sub-{subject}_task-hands_dir-{way}")
    return root


def test_runs_of_two_directions_are_chosen(tmp_path):
    root = write_directions(tmp_path)
    found = lines(refusal(section(root)))
    assert len(found) == 2
    assert found[0].endswith(
        "choose with bids.entities: {dir: AP}; or, if they are runs of their own, {dir: [AP, PA]}"
    )
    one = index_runs(section(root, entities={"dir": "PA"}))
    assert run_keys(one.runs) == [("01", None, None), ("02", None, None)]
    assert one.excluded.empty
    for path in one.runs[["bold", "mask", "confounds", "events"]].to_numpy().ravel():
        assert "dir-PA" in path
    both = {"dir": ["AP", "PA"]}
    index = index_runs(section(root, entities=both))
    assert run_keys(index.runs) == [
        (subject, None, f"dir-{way}")
        for subject in ("01", "02")
        for way in ("AP", "PA")
    ]
    assert index.runs["events"].str.contains("dir-AP").tolist() == [True, False] * 2
    index = index_runs(section(root, entities=both, exclude={"01_run-dir-AP": "alarm"}))
    assert index.excluded["reason"].item() == "run-dir-AP: alarm (bids.exclude)"
    text = refusal(section(root, entities={"dir": "LR"}))
    assert "dir-LR (bids.entities.dir; known here: AP, PA)" in text


@pytest.mark.parametrize("entity", ["acq-x", "ce-x", "rec-x", "dir-x"])
def test_a_raw_run_that_differs_in_one_entity_is_not_overlooked(tmp_path, entity):
    root = tmp_path
    name, _ = entity.split("-")
    for subject in ("01", "02"):
        write_raw(root, f"sub-{subject}_task-hands_{name}-y")
        write_derivative(root, f"sub-{subject}_task-hands_{name}-y")
    write_raw(root, f"sub-02_task-hands_{entity}")
    (fault,) = lines(refusal(section(root)))
    assert fault == f"sub-02: no preprocessed BOLD in space-{SPACE}"
    index = index_runs(section(root, entities={name: "y"}))
    assert len(index.runs) == 2
    assert index.excluded.empty


def test_events_without_an_entity_are_no_run_of_their_own(tmp_path):
    root = write_directions(tmp_path)
    for path in root.rglob("*_events.tsv"):
        path.unlink()
    for subject in ("01", "02"):
        func = root / f"sub-{subject}/func"
        write(func / f"sub-{subject}_task-hands_events.tsv", TABLE)
    for choice in ("AP", ["AP", "PA"]):
        runs = index_runs(section(root, entities={"dir": choice})).runs
        assert len(runs) == 2 * (1 + (choice != "AP"))
        assert runs["events"].str.endswith("_task-hands_events.tsv").all()
    assert len(list_events(root, "hands")) == 4


NOT_FIRST = {"02": "not now", "03": "not now"}


def test_what_no_key_decides_is_said(tmp_path):
    root = write_study(tmp_path)
    write_derivative(root, "sub-01_acq-fast_task-hands_run-1")
    write_raw(root, "sub-01_acq-fast_task-hands_run-1")
    (fault,) = lines(refusal(section(root)))
    assert "2 candidates" in fault
    assert fault.endswith("; choose with bids.entities: {acq: fast}")
    (bold,) = index_runs(
        section(root, entities={"acq": "fast"}, exclude=NOT_FIRST)
    ).runs["bold"]
    assert "acq-fast" in bold
    for path in root.rglob("*acq-fast*"):
        path.unlink()
    write_derivative(root, "sub-01_task-hands_run-01")
    (fault,) = lines(refusal(section(root)))
    assert "they differ in padding or extension" in fault


# --- Who is in ---------------------------------------------------------------------------


def test_people_are_chosen_with_or_without_sub(tmp_path):
    root = write_study(tmp_path)
    for labels in (["03", "01"], ["sub-03", "sub-01"]):
        index = index_runs(section(root, participant_label=labels))
        assert index.subjects == ["01", "03"]
        assert index.excluded.to_dict("records") == [
            {
                "subject": "02",
                "what": "subject",
                "n": 2,
                "reason": "not in bids.participant_label",
            }
        ]
    text = refusal(section(root, participant_label=["1", "sub-02", "04"]))
    found = lines(text)
    assert len(found) == 2
    assert found[0].startswith("sub-1 (bids.participant_label) is not in ")
    assert found[0].endswith("did you mean 01?")
    assert "Quote labels: YAML reads 01 as the number 1." in text


def test_people_are_excluded_with_their_reason(tmp_path):
    root = write_study(tmp_path)
    # what is wrong with someone excluded is nobody's concern
    (root / "sub-02/func/sub-02_task-hands_run-1_events.tsv").unlink()
    index = index_runs(section(root, exclude={"sub-02": "fell asleep"}))
    assert index.subjects == ["01", "03"]
    assert index.excluded.iloc[0].tolist() == [
        *("02", "subject", 2, "fell asleep (bids.exclude)")
    ]
    (fault,) = lines(refusal(section(root, exclude={"2": "asleep"})))
    assert fault.startswith("sub-2 (bids.exclude) is not in ")
    text = refusal(section(root, exclude={s: "asleep" for s in ("01", "02", "03")}))
    assert text.startswith("no run of task-hands is left to analyse")
    assert "sub-01: asleep (bids.exclude)" in text


def test_one_run_is_excluded_with_its_reason(tmp_path):
    root = write_study(tmp_path)
    # what is wrong with a run that is left out is nobody's concern
    (root / "sub-02/func/sub-02_task-hands_run-1_events.tsv").unlink()
    for label in ("02_run-1", "sub-02_run-01"):
        index = index_runs(section(root, exclude={label: "alarm"}))
        assert len(index.runs) == 5
        assert index.excluded.to_numpy().tolist() == [
            ["02", "run", 1, "run-1: alarm (bids.exclude)"]
        ]
    both = {"02_run-1": "alarm", "sub-02_run-2": "cough", "03": "slept"}
    index = index_runs(section(root, exclude=both))
    assert index.excluded.to_numpy().tolist() == [
        ["03", "subject", 2, "slept (bids.exclude)"],
        [
            *("02", "subject", 2),
            "run-1: alarm (bids.exclude); run-2: cough (bids.exclude)",
        ],
    ]
    strange = {"01_run-3": "a", "04_run-1": "b", "03_run-1": "c", "03": "d"}
    assert lines(refusal(section(root, exclude=strange))) == [
        "01_run-3 (bids.exclude) is no run of task-hands; did you mean sub-01_run-2?",
        "04_run-1 (bids.exclude) is a run of nobody who is analysed; people here: 01, 02",
        "03_run-1 (bids.exclude) is a run of nobody who is analysed; people here: 01, 02",
    ]


def test_one_run_of_a_session_is_excluded(tmp_path):
    for session in "ab":
        for run in "12":
            entities = f"sub-01_ses-{session}_task-hands_run-{run}"
            write_raw(tmp_path, entities)
            write_derivative(tmp_path, entities)
    index = index_runs(section(tmp_path, exclude={"01_ses-b_run-2": "alarm"}))
    assert run_keys(index.runs)[2:] == [("01", "b", "1")]
    assert index.excluded["reason"].item() == "ses-b run-2: alarm (bids.exclude)"
    write_raw(tmp_path, "sub-02_ses-a_task-hands")
    index = index_runs(section(tmp_path, exclude={"02_ses-a": "alarm"}))
    assert index.excluded.to_numpy().tolist() == [
        ["02", "subject", 1, "ses-a: alarm (bids.exclude)"]
    ]


def test_who_has_no_run_of_the_task_is_refused_or_counted(tmp_path):
    root = write_study(tmp_path)
    write_raw(root, "sub-04_task-rest")
    (root / "sub-05/anat").mkdir(parents=True)
    text = refusal(section(root))
    assert text.startswith("2 subjects have no run of task-hands, raw or preprocessed")
    assert lines(text) == ["sub-04", "sub-05"]
    index = index_runs(section(root, exclude={"04": "a", "05": "b"}))
    assert len(index.runs) == 6
    excluded = index_runs(section(root, incomplete_runs="drop_run")).excluded
    assert excluded.to_numpy().tolist() == [
        ["04", "subject", 0, "no run of task-hands"],
        ["05", "subject", 0, "no run of task-hands"],
    ]


# --- What is missing ---------------------------------------------------------------------


def breakages(root):
    """Take something from four runs, and add one that was never preprocessed."""
    func = root / "sub-01/func"
    (func / "sub-01_task-hands_run-1_events.tsv").unlink()
    derived = root / "derivatives/fmriprep"
    stem = "func/sub-02_task-hands_run"
    (derived / f"sub-02/{stem}-1_desc-confounds_timeseries.tsv").unlink()
    (derived / f"sub-02/{stem}-2_space-{SPACE}_desc-brain_mask.nii.gz").unlink()
    (root / "sub-03/func/sub-03_task-hands_run-2_bold.json").unlink()
    write_raw(root, "sub-04_task-hands_run-1")
    write(root / "sub-05/func/sub-05_task-hands_run-1_events.tsv", TABLE)
    return {
        "sub-01 run-1": "no events file",
        "sub-02 run-1": "no confounds table",
        "sub-02 run-2": "no brain mask in the space of its BOLD",
        "sub-03 run-2": "no RepetitionTime in a sidecar",
        "sub-04 run-1": f"no preprocessed BOLD in space-{SPACE}",
        "sub-05 run-1": f"no preprocessed BOLD in space-{SPACE}",
    }


def test_incomplete_runs_are_refused_all_at_once(tmp_path):
    lacks = breakages(write_study(tmp_path))
    text = refusal(section(tmp_path))
    assert text.startswith("6 of 8 runs are incomplete:")
    assert lines(text) == [f"{run}: {what}" for run, what in lacks.items()]
    assert "bids.incomplete_runs: drop_run or drop_subject" in text


def test_incomplete_runs_are_dropped_and_counted(tmp_path):
    lacks = breakages(write_study(tmp_path))
    index = index_runs(section(tmp_path, incomplete_runs="drop_run"))
    assert run_keys(index.runs) == [("01", None, "2"), ("03", None, "1")]
    policy = " (bids.incomplete_runs: drop_run)"
    bold = lacks["sub-04 run-1"]
    assert index.excluded.to_numpy().tolist() == [
        ["01", "run", 1, f"run-1: no events file{policy}"],
        [
            *("02", "subject", 2),
            "run-1: no confounds table; run-2: no brain mask in the space of its BOLD"
            + policy,
        ],
        ["03", "run", 1, f"run-2: no RepetitionTime in a sidecar{policy}"],
        ["04", "subject", 1, f"run-1: {bold}{policy}"],
        ["05", "subject", 1, f"run-1: {bold}{policy}"],
    ]


def test_people_with_incomplete_runs_are_dropped_and_counted(tmp_path):
    breakages(write_study(tmp_path, subjects=["01", "02", "03", "06"]))
    index = index_runs(section(tmp_path, incomplete_runs="drop_subject"))
    assert index.subjects == ["06"]
    assert index.excluded["what"].tolist() == ["subject"] * 5
    assert index.excluded["n"].tolist() == [2, 2, 2, 1, 1]


def test_a_run_may_lack_several_things(tmp_path):
    write_study(tmp_path, subjects=["01"], runs=["run-1"])
    for name in ("_events.tsv", "timeseries.tsv"):
        next(tmp_path.rglob(f"*{name}")).unlink()
    (fault,) = lines(refusal(section(tmp_path)))
    assert fault == "sub-01 run-1: no confounds table, no events file"


# --- Events beside the derivatives -------------------------------------------------------


@pytest.mark.parametrize(("derived", "raw"), [("1", "01"), ("01", "1"), ("010", "10")])
def test_padding_of_run_does_not_matter(tmp_path, derived, raw):
    for subject in ("01", "02"):
        write_derivative(tmp_path, f"sub-{subject}_task-hands_run-{derived}")
        write_raw(tmp_path, f"sub-{subject}_task-hands_run-{raw}")
    runs = index_runs(section(tmp_path)).runs
    assert runs["run"].tolist() == [derived] * 2
    assert runs["events"].str.endswith(f"_run-{raw}_events.tsv").all()


def test_padding_that_leaves_a_choice_is_refused(tmp_path):
    root = write_study(tmp_path)
    write_raw(root, "sub-01_task-hands_run-01")
    (fault,) = lines(refusal(section(root)))
    assert fault.startswith("sub-01 run-1 has 2 events files (")
    assert "run-01_events.tsv" in fault


def test_events_are_of_their_own_session_and_run(tmp_path):
    for session in ("a", "b"):
        for run in ("1", "2"):
            entities = f"sub-01_ses-{session}_task-hands_run-{run}"
            write_raw(tmp_path, entities)
            write_derivative(tmp_path, entities)
    for row in index_runs(section(tmp_path)).runs.itertuples():
        for path in (row.bold, row.mask, row.confounds, row.events, row.sidecar):
            assert f"ses-{row.session}_task-hands_run-{row.run}_" in Path(path).name


def test_events_are_inherited(tmp_path):
    root = write_study(tmp_path)
    for path in root.rglob("*_events.tsv"):
        path.unlink()
    everyone = write(root / "task-hands_events.tsv", TABLE)
    write(root / "task-rest_events.tsv", TABLE)
    second = write(root / "sub-02/sub-02_task-hands_events.tsv", TABLE)
    third = write(root / "sub-03/func/sub-03_task-hands_run-2_events.tsv", TABLE)
    events = index_runs(section(root)).runs["events"].tolist()
    paths = [everyone, everyone, second, second, everyone, third]
    assert events == [str(path) for path in paths]


def test_echoes_of_a_run_share_its_events(tmp_path):
    write_derivative(tmp_path, "sub-01_task-hands_run-1")
    func = tmp_path / "sub-01/func"
    for echo in "123":
        write(func / f"sub-01_task-hands_run-1_echo-{echo}_bold.nii.gz")
        sidecar = {"RepetitionTime": 1.5, "EchoTime": 0.01 * int(echo)}
        write(func / f"sub-01_task-hands_run-1_echo-{echo}_bold.json", sidecar)
    write(func / "sub-01_task-hands_run-1_events.tsv", TABLE)
    (row,) = index_runs(section(tmp_path)).runs.to_dict("records")
    assert repetition_time(row) == 1.5
    write(func / "sub-01_task-hands_run-1_echo-2_bold.json", {"RepetitionTime": 3})
    (fault,) = lines(refusal(section(tmp_path)))
    assert "RepetitionTime is 1.5 s in " in fault
    assert "3 s in " in fault


# --- Repetition times --------------------------------------------------------------------


def sidecars_removed(root):
    for path in root.rglob("*_bold.json"):
        path.unlink()
    return root


def test_the_sidecar_beside_the_bold_comes_first(tmp_path):
    root = write_study(tmp_path, tr=2.0)
    for row in index_runs(section(root)).runs.to_dict("records"):
        assert row["sidecar"] == row["bold"].replace(".nii.gz", ".json")
        assert repetition_time(row) == 2.0


def test_sidecars_are_inherited_and_the_nearer_one_counts(tmp_path):
    root = sidecars_removed(write_study(tmp_path))
    top = write(root / "task-hands_bold.json", {"RepetitionTime": 2})
    run = write(root / "task-hands_run-2_bold.json", {"RepetitionTime": 3})
    write(root / "task-rest_bold.json", {"RepetitionTime": 1})
    write(root / "sub-01/func/sub-01_task-hands_run-1_bold.json", {"EchoTime": 0.03})
    second = {"RepetitionTime": 2.5}
    near = write(root / "sub-02/sub-02_task-hands_bold.json", second)
    runs = index_runs(section(root)).runs
    paths = [top, run, near, near, top, run]
    assert runs["sidecar"].tolist() == [str(path) for path in paths]
    times = [repetition_time(row) for _, row in runs.iterrows()]
    assert times == [2, 3, 2.5, 2.5, 2, 3]


def test_repetition_times_that_disagree_are_refused(tmp_path):
    root = write_study(tmp_path, subjects=["02", "03"], tr=2.0)
    write_raw(root, "sub-01_task-hands_run-1", tr=2.0)
    write_derivative(root, "sub-01_task-hands_run-1", tr=2.0005)
    assert len(index_runs(section(root)).runs) == 5
    write_derivative(root, "sub-01_task-hands_run-1", tr=2.2)
    (fault,) = lines(refusal(section(root)))
    assert fault.startswith("sub-01 run-1: RepetitionTime is 2.2 s in ")
    assert " and 2 s in " in fault


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ({"RepetitionTime": 2000}, "RepetitionTime 2000; it is in seconds"),
        ({"RepetitionTime": "2.0"}, "RepetitionTime '2.0'; it is in seconds"),
        ({"RepetitionTime": 0}, "RepetitionTime 0; it is in seconds, above 0"),
        ({"RepetitionTime": -2.0}, "RepetitionTime -2.0"),
        ({"RepetitionTime": True}, "RepetitionTime True"),
        ('{"RepetitionTime": NaN}', "RepetitionTime nan"),
        ("{", "is not JSON ("),
        (b"\xff\xfe\x00", "is not JSON ("),
    ],
)
def test_a_sidecar_that_cannot_be_read_is_refused(tmp_path, content, fault):
    root = write_study(tmp_path)
    path = write(root / "sub-01/func/sub-01_task-hands_run-1_bold.json", content)
    (found,) = lines(refusal(section(root)))
    assert found.startswith(f"{path} ")
    assert fault in found
    row = {"subject": "01", "session": np.nan, "run": "1", "sidecar": str(path)}
    with pytest.raises(StudyError, match=r"^sub-01 run-1: ") as caught:
        repetition_time(row)
    assert fault in str(caught.value)


def test_a_sidecar_without_repetition_time_is_named(tmp_path):
    path = write(tmp_path / "x.json", {"VolumeTiming": [0, 2]})
    row = {"subject": "01", "session": None, "run": None, "sidecar": str(path)}
    with pytest.raises(StudyError, match=r"sub-01: .*x\.json has no RepetitionTime"):
        repetition_time(row)


# --- Folders that are not what they should be --------------------------------------------


def test_a_raw_dataset_alone_is_explained(tmp_path):
    write_raw(tmp_path, "sub-01_task-hands_run-1")
    text = refusal(section(tmp_path))
    assert "(bids.derivatives) does not exist" in text
    for way in (
        "(1) if you have fMRIPrep derivatives",
        "(2) have fMRIPrep run",
        "(3) fetch",
    ):
        assert way in text
    text = refusal(section(tmp_path, derivatives=str(tmp_path)))
    assert "holds 1 subjects and no *_desc-preproc_bold image (1 other" in text
    assert "a raw dataset?" in text
    assert "have fMRIPrep run" in text


def test_the_folder_above_or_an_empty_one_is_explained(tmp_path):
    write_study(tmp_path)
    above = tmp_path / "derivatives"
    text = refusal(section(tmp_path, derivatives=str(above)))
    assert f"Did you mean {above / 'fmriprep'}?" in text
    empty = tmp_path / "derivatives/empty"
    empty.mkdir()
    text = refusal(section(tmp_path, derivatives=str(empty)))
    assert f"datalad get -n {empty}" in text
    text = refusal(section(tmp_path, dataset=str(tmp_path / "none")))
    assert text.startswith(f"the folder {tmp_path / 'none'} (bids.dataset) does not")


def test_a_file_in_anothers_folder_is_refused(tmp_path):
    root = write_study(tmp_path)
    stray = write(root / "sub-01/func/sub-02_task-hands_run-1_events.tsv", TABLE)
    (fault,) = lines(refusal(section(root)))
    assert fault == f"{stray} lies in another subject's folder"


# --- What was not downloaded -------------------------------------------------------------


def annex(path, how):
    """Put in a file's place what git-annex leaves of one that was not downloaded."""
    path.unlink()
    if how == "pointer":
        path.write_text(ANNEXED)
    else:
        path.symlink_to(f"../../.git/annex/objects/Xx/Yy/MD5E-s1--0/{path.name}")
    return str(path)


@pytest.mark.parametrize("how", ["link", "pointer"])
@pytest.mark.parametrize(
    "end",
    ["preproc_bold.nii.gz", "mask.nii.gz", "series.tsv", "events.tsv", "bold.json"],
)
def test_files_of_the_annex_are_named_with_the_way_to_get_them(tmp_path, how, end):
    root = write_study(tmp_path, tr=2.0)
    paths = sorted(path for path in root.rglob(f"*{end}") if "preproc" in str(path))
    paths = paths or sorted(root.rglob(f"*{end}"))
    gone = [annex(path, how) for path in paths[:2]]
    text = refusal(section(root))
    assert text.startswith("2 of 30 files of the study were not downloaded")
    assert lines(text) == gone
    assert f"datalad get {' '.join(gone)}" in text
    assert "git annex get" in text


def test_many_files_of_the_annex_are_counted(tmp_path):
    root = write_study(tmp_path)
    for path in sorted(root.rglob("*_desc-*.nii.gz")):
        annex(path, "link")
    text = refusal(section(root))
    assert text.startswith("12 of 30 files")
    assert lines(text)[-1] == "and 2 more"
    # of whoever is left out nothing needs to be there
    kept = section(root, participant_label=["01"])
    assert refusal(kept).startswith("4 of 10 files")


def test_a_file_that_is_no_pointer_is_content(tmp_path):
    root = write_study(tmp_path)
    for number, path in enumerate(sorted(root.rglob("*_desc-*.nii.gz"))):
        write(path, "n" * number + ANNEXED if number else b"\0" * 40000)
    assert len(index_runs(section(root)).runs) == 6


def test_a_link_to_content_is_content(tmp_path):
    root = write_study(tmp_path)
    for number, path in enumerate(sorted(root.rglob("*_desc-*.nii.gz"))):
        store = root / ".git/annex/objects" / str(number)
        store.parent.mkdir(parents=True, exist_ok=True)
        path.rename(store)
        path.symlink_to(os.path.relpath(store, path.parent))
    assert len(index_runs(section(root)).runs) == 6


def test_a_link_to_nothing_is_no_annex(tmp_path):
    root = write_study(tmp_path)
    path = next(root.rglob("sub-01*run-1*preproc_bold.nii.gz"))
    path.unlink()
    path.symlink_to(tmp_path / "gone.nii.gz")
    assert lines(refusal(section(root))) == [f"{path} is a link to nothing"]


# --- Events files as they are ------------------------------------------------------------


def read(tmp_path, content):
    return read_events(write(tmp_path / "events.tsv", content), "sub-01 run-1")


def read_fault(tmp_path, content):
    with pytest.raises(StudyError) as caught:
        read(tmp_path, content)
    assert str(caught.value).startswith("sub-01 run-1: ")
    return str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: "\ufeff" + text,
        lambda text: text.rstrip("\n"),
        lambda text: text.replace("\n", "\t\n"),
        lambda text: text.replace("threat\n", "threat\t\t\n"),
        lambda text: text.replace("threat", ' "threat" ').replace("onset", '"onset"'),
        lambda text: text + "\n\n \n",
    ],
    ids=[
        "plain",
        "crlf",
        "cr",
        "bom",
        "no_end",
        "trailing_tab",
        "trailing_tabs_of_a_row",
        "quotes",
        "blank_lines",
    ],
)
def test_the_same_table_in_other_bytes_is_the_same(tmp_path, change):
    table = read(tmp_path, change(TABLE))
    expected = pd.DataFrame(
        [["1", "2", "threat"], ["9", "2", "safe"]],
        columns=["onset", "duration", "trial_type"],
        index=[2, 3],
        dtype=object,
    )
    if "" in table:  # a tab at the end of each line makes a column without name
        assert table.pop("").isna().all()
    pd.testing.assert_frame_equal(table, expected)


def test_blanks_and_their_words_are_missing(tmp_path):
    words = ["", "n/a", "N/A", "NaN", "  ", "null"]
    body = "".join(f"{n}\t{word}\tx\n" for n, word in enumerate(words))
    table = read(tmp_path, "onset\tduration\ttrial_type\n" + body + "9\t1\n")
    assert table["duration"].isna().tolist() == [True] * 6 + [False]
    assert table["trial_type"].isna().tolist() == [False] * 6 + [True]


def test_lines_keep_their_number(tmp_path):
    table = read(tmp_path, "onset\tduration\n\n1\t2\n\n\n3\t4\n")
    assert table.index.tolist() == [3, 6]


def test_a_header_alone_is_a_table_without_rows(tmp_path):
    table = read(tmp_path, "onset\tduration\ttrial_type\n")
    assert len(table) == 0
    assert list(table) == ["onset", "duration", "trial_type"]


def test_a_repeated_column_is_named_as_pandas_does(tmp_path):
    table = read(tmp_path, "onset\tduration\tonset\tonset\n1\t2\t3\t4\n")
    assert list(table) == ["onset", "duration", "onset.1", "onset.2"]
    assert table.loc[2, "onset.1"] == "3"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "is empty, without a header even"),
        ("\n \n", "is empty"),
        ("onset,duration\n1,2\n", "no column onset in its header (onset,duration)"),
        ("1\t2\tthreat\n", "no column onset in its header (1, 2, threat)"),
        (TABLE + "1\t2\tx\ty\n1\t2\tx\ty\n", "the header's 3 in 2 lines (first: 4)"),
        (TABLE.encode("utf-16"), "is not UTF-8 text"),
        (TABLE.encode("utf-16-le"), "it holds null characters"),
        (b"onset\tduration\n1\t2 \xb5s\n", "is not UTF-8 text"),
        (ANNEXED, "was not downloaded (a pointer of git-annex"),
    ],
)
def test_what_is_no_table_of_events_is_refused(tmp_path, content, fault):
    assert fault in read_fault(tmp_path, content)


def test_events_that_are_not_there_are_named(tmp_path):
    link = tmp_path / "events.tsv"
    link.symlink_to(".git/annex/objects/x")
    with pytest.raises(StudyError, match="datalad get"):
        read_events(link, "sub-01")


# --- Real trees --------------------------------------------------------------------------

REGULATION = {
    "type_column": "trial_type",
    "cells": [
        {"trial_type": "Look_Neg_Stim", "cue": "threat", "condition": "look"},
        {"trial_type": "Look_Neutral_Stim", "cue": "safe", "condition": "look"},
        {"trial_type": "Reapp_Neg_Stim", "cue": "threat", "condition": "reappraise"},
    ],
    "rename": {},
    "others": [
        f"{what}_{when}"
        for what in ("Look_Neg", "Look_Neutral", "Reapp_Neg")
        for when in ("Cue", "Ant", "Rating")
    ],
    "ignore": [],
}
SHOCKS = {
    "type_column": "trial_type",
    "cells": [
        {"trial_type": "trial_onset", "cue": "threat", "condition": "alone"},
        {"trial_type": "fixation", "cue": "safe", "condition": "alone"},
    ],
    "rename": {},
    "others": ["shock"],
    "ignore": [],
}


def tidied(runs, events):
    """Return the tidy events of every run that has a file."""
    return {
        key: tidy_events(
            read_events(path, name_run(*key)), events, run=key[2], where=name_run(*key)
        )[0]
        for key, path in zip(run_keys(runs), runs["events"], strict=True)
        if isinstance(path, str)
    }


def test_ds000108_parses(shared_data):
    runs = list_events(shared_data / "bids/ds000108", "Emotionregulation")
    # 34 subjects x 6 runs; the sidecar at the root serves all
    assert len(runs) == 204
    assert runs["subject"].nunique() == 34
    assert runs["events"].nunique() == 204
    assert runs["sidecar"].nunique() == 1
    first = runs.iloc[0]
    assert (first["run"], repetition_time(first)) == ("01", 2.0)
    tidy = tidied(runs, REGULATION)
    cells = pd.concat(tidy.values())["regressor"].value_counts()
    # grep -c over all files
    assert cells["look_threat"] == 815
    assert cells["look_safe"] == 814
    assert cells["reappraise_threat"] == 814
    assert cells.sum() == 12216
    assert len(cells) == 12


def test_ds002320_parses(shared_data):
    runs = list_events(shared_data / "bids/ds002320", "circles")
    # sub-16 has five runs and no events; everyone's sidecars are their own
    assert len(runs) == 46
    assert set(runs.loc[runs["events"].isna(), "subject"]) == {"16"}
    assert runs["events"].isna().sum() == 5
    assert runs["sidecar"].nunique() == 46
    assert {repetition_time(row) for _, row in runs.iterrows()} == {1.0}
    tidy = tidied(runs, SHOCKS)
    assert len(tidy) == 41
    cells = pd.concat(tidy.values())["regressor"].value_counts()
    assert cells.to_dict() == {"shock": 314, "alone_threat": 246, "alone_safe": 246}


def preprocess(root, runs):
    """Write the names of derivatives of runs, and return their folder."""
    for subject, session, run in run_keys(runs):
        assert session is None
        write_derivative(root, f"sub-{subject}_task-hands_run-{run}")
    for path in [*root.rglob("*task-hands*")]:
        path.rename(path.with_name(path.name.replace("hands", TASKS[root.name])))
    return str(root / "derivatives/fmriprep")


TASKS = {"ds000108": "Emotionregulation", "ds002320": "circles"}
# From the README of the dataset: events, but no BOLD.
UNSCANNED = ["24 05", "28 06", "29 06", "34 06"]


def test_ds000108_has_four_runs_without_bold(shared_data, tmp_path):
    dataset = shared_data / "bids/ds000108"
    runs = list_events(dataset, TASKS["ds000108"])
    scanned = ~(runs["subject"] + " " + runs["run"]).isin(UNSCANNED)
    bids = section(
        dataset,
        task=TASKS["ds000108"],
        derivatives=preprocess(tmp_path / "ds000108", runs[scanned]),
    )
    found = lines(refusal(bids))
    assert found == [
        f"sub-{run[:2]} run-{run[3:]}: no preprocessed BOLD in space-{SPACE}"
        for run in UNSCANNED
    ]
    index = index_runs({**bids, "incomplete_runs": "drop_run"})
    assert len(index.runs) == 200
    assert len(index.subjects) == 34
    assert index.excluded["what"].tolist() == ["run"] * 4
    index = index_runs({**bids, "incomplete_runs": "drop_subject"})
    assert len(index.runs) == 30 * 6
    assert index.excluded["n"].tolist() == [6] * 4


def test_ds002320_has_a_subject_without_events(shared_data, tmp_path):
    dataset = shared_data / "bids/ds002320"
    runs = list_events(dataset, "circles")
    derivatives = preprocess(tmp_path / "ds002320", runs)
    bids = section(dataset, task="circles", derivatives=derivatives)
    found = lines(refusal(bids))
    assert found == [f"sub-16 run-0{n}: no events file" for n in range(1, 6)]
    index = index_runs({**bids, "incomplete_runs": "drop_run"})
    assert len(index.runs) == 41
    assert index.excluded[["subject", "what", "n"]].to_numpy().tolist() == [
        ["16", "subject", 5]
    ]


@pytest.mark.parametrize("dataset", ["ds000108", "ds002320"])
def test_real_trees_without_derivatives_are_explained(shared_data, dataset):
    root = shared_data / "bids" / dataset
    text = refusal(section(root, task="circles"))
    assert "does not exist. handhold starts from preprocessed BOLD" in text
