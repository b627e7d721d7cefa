"""CPU seconds to index 200 subjects x 4 runs with derivatives: `python tests/bench/bids.py`.

Fifteen files a run, as fMRIPrep writes them for two volumetric spaces and one surface. Also the
seconds to read and tidy all events, which a study does once.
"""

import json
import tempfile
import time
from pathlib import Path

from handhold.bids import index_runs, read_events
from handhold.events import run_keys, tidy_runs

SPACE = "MNI152NLin2009cAsym"
BIDS = {"task": "handholding", "space": SPACE, "participant_label": [], "exclude": {}}
EVENTS = {
    "type_column": "trial_type",
    "cells": [{"trial_type": cue, "cue": cue} for cue in ("threat", "safe")],
    "condition": {"run": {"1": "alone", "2": "stranger", "3": "partner", "4": "alone"}},
    "rename": {},
    "others": ["shock"],
    "ignore": [],
}
# More than a pointer of git-annex has, as images and confounds are.
LARGE = b"0" * 40000
DERIVED = [
    *("_desc-confounds_timeseries.tsv", "_space-MNI_boldref.nii.gz", "_boldref.nii.gz"),
    *("_desc-brain_mask.nii.gz", "_hemi-L_space-fsaverage_bold.func.gii"),
    *("_hemi-R_space-fsaverage_bold.func.gii", "_space-T1w_desc-preproc_bold.nii.gz"),
    *("_space-T1w_desc-brain_mask.nii.gz", f"_space-{SPACE}_desc-preproc_bold.nii.gz"),
    *(f"_space-{SPACE}_desc-brain_mask.nii.gz", f"_space-{SPACE}_boldref.nii.gz"),
    "_from-boldref_to-T1w_mode-image_xfm.txt",
]
SIDECARS = ["_desc-confounds_timeseries.json", "_space-T1w_desc-preproc_bold.json"]
SIDECARS += [f"_space-{SPACE}_desc-preproc_bold.json"]


def write_tree(root: Path, n_subjects: int = 200, n_runs: int = 4) -> int:
    """Write the files of a study, and return how many there are."""
    trials = [
        f"{10 * trial}\t5\t{('threat', 'safe', 'shock')[trial % 3]}"
        for trial in range(60)
    ]
    events = "\n".join(["onset\tduration\ttrial_type", *trials, ""])
    sidecar = json.dumps({"RepetitionTime": 2.0, "SliceTiming": [0.1] * 60})
    for number in range(1, n_subjects + 1):
        raw = root / f"sub-{number:03}" / "func"
        derived = root / "derivatives/fmriprep" / f"sub-{number:03}" / "func"
        raw.mkdir(parents=True)
        derived.mkdir(parents=True)
        for run in range(1, n_runs + 1):
            name = f"sub-{number:03}_task-handholding_run-{run}"
            (raw / f"{name}_events.tsv").write_text(events)
            (raw / f"{name}_bold.json").write_text(sidecar)
            (raw / f"{name}_bold.nii.gz").touch()
            for end in DERIVED:
                (derived / f"{name}{end}").write_bytes(LARGE)
            for end in SIDECARS:
                (derived / f"{name}{end}").write_text(sidecar)
    return sum(path.is_file() for path in root.rglob("*"))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        n_files = write_tree(Path(folder))
        bids = {
            **BIDS,
            "dataset": folder,
            "derivatives": f"{folder}/derivatives/fmriprep",
            "incomplete_runs": "refuse",
        }
        times = []
        for _ in range(3):
            start = time.process_time()
            runs = index_runs(bids).runs
            times.append(time.process_time() - start)
        print(f"index of {len(runs)} runs among {n_files} files: {min(times):.2f} s")
        start = time.process_time()
        tables = {
            key: read_events(path, str(key))
            for key, path in zip(run_keys(runs), runs["events"], strict=True)
        }
        middle = time.process_time()
        tidy_runs(tables, EVENTS)
        end = time.process_time()
        print(f"their events: read {middle - start:.2f} s, tidied {end - middle:.2f} s")
