"""The analyses of public datasets: complete, and able to read what the datasets hold.

Two are dry-run from the datasets' own text files. Of the others, small trees are written here with
the names, columns and trial types of the releases; what is in them is invented.
"""

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from handhold import spec
from handhold.bids import choose_files, list_events, plain_labels
from handhold.errors import StudyError
from handhold.events import run_keys, tidy_runs, trial_ratings
from handhold.study import open_study, rated_cue, read_runs, relief_of

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "config" / "openneuro"
CONFIGS = {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}
READY = {"ds000108", "ds002320", "ds004746"}
# What the others need in their events before they can be read.
PREPARED = {"ds000140", "ds005266", "ds005883"}


def read(name):
    return yaml.safe_load(CONFIGS[name].read_text(encoding="utf-8"))


def test_the_datasets_are_those_that_the_project_promises():
    assert set(CONFIGS) == READY | PREPARED


@pytest.mark.parametrize("name", CONFIGS)
def test_an_analysis_is_complete(name):
    resolved = spec.resolve(read(name))
    assert resolved["study"] == name
    assert resolved["source"] == "bids"
    assert resolved["bids"]["dataset"] == name
    assert resolved["bids"]["derivatives"].startswith(f"{name}/")
    assert resolved["fmriprep"]["run"] is False
    with (ROOT / "atlases" / "receptors.tsv").open(encoding="utf-8") as file:
        known = {row["receptor"] for row in csv.DictReader(file, delimiter="\t")}
    receptors = resolved["receptors"]
    assert {receptors["target"], *receptors["panel"]} <= known


@pytest.mark.parametrize("name", CONFIGS)
def test_an_analysis_says_what_it_can_and_cannot_answer(name):
    lines = CONFIGS[name].read_text(encoding="utf-8").splitlines()
    text = " ".join(line.removeprefix("#").strip() for line in lines if line[:1] == "#")
    for part in ("Events (", "Mapping:", "Ratings:", "Answers:", "Preprocessing:"):
        assert part in text, part
    assert re.search(r"Cannot answer:|Cannot\s+answer", text)
    assert f"OpenNeuro {name}" in text
    assert re.search(r"\b(CC0|PDDL)\b|Licence: not read", text)
    # events that are not ready are refused until somebody has looked at them
    assert ("DO before use" in text) == (name in PREPARED)
    # ratings are promised where they are read, and nowhere else
    assert ("Q3 and Q4 are not run" in re.sub(r"\s+", " ", text)) == (
        "ratings" not in read(name)
    )


# --- Trees --------------------------------------------------------------------------------


# What else fMRIPrep 21.0.2 wrote of each run of ds000108, by the names in OpenNeuroDerivatives.
BESIDE = (
    "AROMAnoiseICs.csv",
    "boldref.nii.gz",
    "desc-MELODIC_mixing.tsv",
    "desc-brain_mask.nii.gz",
    "desc-confounds_timeseries.json",
    "desc-preproc_bold.nii.gz",
    "from-T1w_to-scanner_mode-image_xfm.txt",
    "hemi-L_space-fsaverage5_bold.func.gii",
    "space-MNI152NLin2009cAsym_res-2_boldref.nii.gz",
    "space-MNI152NLin6Asym_desc-smoothAROMAnonaggr_bold.nii.gz",
    "space-T1w_boldref.nii.gz",
    "space-T1w_desc-aseg_dseg.nii.gz",
    "space-T1w_desc-brain_mask.json",
    "space-T1w_desc-preproc_bold.nii.gz",
    "space-fsLR_den-91k_bold.dtseries.nii",
)


def derivative(root, subject, stem, space="MNI152NLin2009cAsym"):
    """Write the names of one preprocessed run; nothing opens them before a job does."""
    session = re.search(r"_(ses-\w+?)_", stem)
    parts = [f"sub-{subject}", *([session[1]] if session else []), "func"]
    folder = root.joinpath(*parts)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (
        f"{stem}_space-{space}_res-2_desc-preproc_bold.nii.gz",
        f"{stem}_space-{space}_res-2_desc-preproc_bold.json",
        f"{stem}_space-{space}_res-2_desc-brain_mask.nii.gz",
        f"{stem}_desc-confounds_timeseries.tsv",
    ):
        text = '{"RepetitionTime": 2}' if name.endswith("_bold.json") else ""
        (folder / name).write_text(text)
    for name in BESIDE:
        (folder / f"{stem}_{name}").touch()


def maps(root, config):
    """Write files with the names of the receptor maps."""
    with (ROOT / "atlases" / "receptors.tsv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row["receptor"] in (
                config["receptors"]["target"],
                *config["receptors"]["panel"],
            ):
                path = root / row["file"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()


def tree(root, name, events, *, runs, people=("01", "02", "03")):
    """Write a dataset of a release's names, and its derivatives; returns the configuration.

    `events` maps the stem of a run, without subject, to the text of its events.
    """
    config = read(name)
    for subject in people:
        for stem in runs:
            whole = f"sub-{subject}_{stem}"
            session = re.search(r"(ses-\w+?)_", stem)
            folder = root.joinpath(
                name, f"sub-{subject}", *([session[1]] if session else []), "func"
            )
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{whole}_events.tsv").write_text(events(stem))
            (folder / f"{whole}_bold.json").write_text('{"RepetitionTime": 2}')
            derivative(root / config["bids"]["derivatives"], subject, whole)
    maps(root, config)
    return {**config, "data_root": str(root)}


def table(header, rows):
    cells = [header.split(), *([str(cell) for cell in row] for row in rows)]
    return "\n".join("\t".join(row) for row in cells) + "\n"


# --- From the datasets' own text files -------------------------------------------------------


TASKS = {"ds000108": "Emotionregulation", "ds002320": "circles"}
# From the README of the dataset: events, but no BOLD.
UNSCANNED = {("24", "05"), ("28", "06"), ("29", "06"), ("34", "06")}


def label(name, run):
    """Return a run's label in the derivatives: of ds000108, raw run-01 is run-1 there."""
    return int(run) if name == "ds000108" else run


@pytest.fixture(params=sorted(TASKS))
def real(request, shared_data, tmp_path):
    """A real dataset's text files, with the names of derivatives of what was scanned."""
    name = request.param
    dataset = shared_data / "bids" / name
    (tmp_path / name).symlink_to(dataset)
    config = {**read(name), "data_root": str(tmp_path)}
    # the dataset is not ours to write into
    config["bids"] = {**config["bids"], "derivatives": "derivatives"}
    for subject, _, run in run_keys(list_events(dataset, TASKS[name])):
        if name != "ds000108" or (subject, run) not in UNSCANNED:
            stem = f"sub-{subject}_task-{TASKS[name]}_run-{label(name, run)}"
            derivative(tmp_path / "derivatives", subject, stem)
    if name == "ds002320":
        for path in (tmp_path / "derivatives").rglob("*_bold.json"):
            path.write_text('{"RepetitionTime": 1}')
    maps(tmp_path, config)
    return name, config


def jobs(config, folder):
    """Return the rules that a dry run would run, with how often."""
    for name in ("atlases", "workflow"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "study.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--nocolor"]
    command += ["--configfile", "study.yaml", "--snakefile", str(ROOT / "Snakefile")]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False
    )
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    stats = re.search(
        r"^job +count\n-+ +-+\n(.*?)\ntotal", text, re.DOTALL | re.MULTILINE
    )
    rows = [line.split() for line in stats[1].splitlines()]
    return {rule: int(count) for rule, count in rows}


# People, runs, left-out people and runs: counted in the files, with `ls` and `grep -L`.
EXPECTED = {
    "ds000108": {"people": 34, "runs": 200, "excluded": {"run": 4}},
    "ds002320": {"people": 7, "runs": 41, "excluded": {"subject": 1}},
}


def test_a_real_dataset_opens_as_the_analysis_reads_it(real):
    name, config = real
    study = open_study(config)
    expected = EXPECTED[name]
    assert len(study.manifest.subjects) == expected["people"]
    assert len(study.runs) == expected["runs"]
    excluded = study.manifest.excluded
    left = excluded[excluded["what"].isin(["subject", "run"])]["what"].value_counts()
    assert left.to_dict() == expected["excluded"]
    # every event has a place: no trial type is left to the baseline
    assert "events" not in set(excluded["what"])
    assert len(study.manifest.images) == expected["people"] * 4
    assert study.rated == ()
    space = "space-MNI152NLin2009cAsym_res-2_desc"
    for row in study.runs.to_dict("records"):
        stem = f"sub-{row['subject']}_task-{TASKS[name]}_run-"
        assert re.fullmatch(
            rf"{stem}0*{row['run']}_events.tsv", Path(row["events"]).name
        )
        made = f"{stem}{label(name, row['run'])}"
        assert Path(row["bold"]).name == f"{made}_{space}-preproc_bold.nii.gz"
        assert Path(row["mask"]).name == f"{made}_{space}-brain_mask.nii.gz"
        assert Path(row["confounds"]).name == f"{made}_desc-confounds_timeseries.tsv"


def test_fetching_takes_what_is_read_and_leaves_the_rest(tmp_path):
    config = spec.resolve(read("ds000108"))
    stem = "sub-01_task-Emotionregulation_run-2"
    derivative(tmp_path, "01", stem)
    listed = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")]
    chosen = choose_files(listed, plain_labels(config["bids"]), preprocessed=True)
    space = "space-MNI152NLin2009cAsym_res-2_desc"
    assert sorted(Path(path).name for path in chosen) == [
        f"{stem}_desc-confounds_timeseries.json",
        f"{stem}_desc-confounds_timeseries.tsv",
        f"{stem}_{space}-brain_mask.nii.gz",
        f"{stem}_{space}-preproc_bold.json",
        f"{stem}_{space}-preproc_bold.nii.gz",
    ]


def test_a_real_dataset_is_planned_from_bold_to_report(real, tmp_path):
    _, config = real
    # three people, because the plan of 34 takes a while and is eleven times the same
    config["bids"]["participant_label"] = ["01", "02", "03"]
    planned = jobs(config, tmp_path)
    assert planned["fit_subject"] == planned["read_subject"] == 3
    assert planned["write_report"] == planned["test_correspondence"] == 1
    # without ratings, relief is not asked about
    assert not {"test_tracking", "test_coupling", "relieve"} & set(planned)
    assert not [rule for rule in planned if "fmriprep" in rule]


# --- In the layout of the others -------------------------------------------------------------


def paingen(stem):
    """Two heat trials and one of pressure, each rated in its own row and on screens."""
    run = int(stem[-1])
    unpleasant = {1: 0.5, 2: 0.3, 3: 0.2, 4: 0.6}[run]
    rows, onset = [], 3.0
    for kind, rating in (("heat", unpleasant), ("press", 0.9), ("heat", unpleasant)):
        rows += [
            (onset, 1.0, "warning_cue", "n/a", "n/a"),
            (onset + 3, 13.0, kind, 0.1, rating),
            (onset + 22, 3.0, "int_rating", 0.1, "n/a"),
            (onset + 26, 2.0, "unp_rating", "n/a", rating),
        ]
        onset += 40
    return table("onset duration trial_type int_rating unp_rating", rows)


def test_placebo_runs_are_the_middle_ones_and_their_relief_is_positive(tmp_path):
    runs = [f"ses-1_task-paingen_dir-pa_run-0{n}" for n in range(1, 5)]
    study = open_study(tree(tmp_path, "ds004746", paingen, runs=runs))
    assert study.rated == ("placebo",)
    assert len(study.runs) == 12
    assert [*dict.fromkeys(study.manifest.images["condition"])] == [
        "control",
        "placebo",
    ]
    trials = tidy_runs(read_runs(study.runs), study.config["events"])
    cue = rated_cue(study.config["ratings"])
    means, _ = trial_ratings(trials.runs, cue=cue)
    given = means.assign(rating=means["rating"].map(str))
    relief = relief_of(study.config, given, study.manifest)["relief"]
    # (.5 + .6) / 2 with the control cream, (.3 + .2) / 2 with the other; pressure does not count
    assert relief.tolist() == pytest.approx([0.3] * 3)


def test_a_map_that_no_address_brings_says_where_it_is(tmp_path):
    runs = [f"ses-1_task-paingen_dir-pa_run-0{n}" for n in range(1, 5)]
    config = tree(tmp_path, "ds004746", paingen, runs=runs)
    config["receptors"] = {**config["receptors"], "panel": ["OXTR_quintana2019"]}
    del config["bids"]["openneuro"]
    with pytest.raises(
        StudyError, match=r"1 receptor maps do not.*\n.*OXTR_quint"
    ) as c:
        open_study(config)
    assert "Download it from the OSF project" in str(c.value)


def test_the_other_phase_encoding_direction_is_no_run_of_placebo(tmp_path):
    runs = ["ses-1_task-paingen_dir-ap_run-01"]
    with pytest.raises(StudyError, match=r"dir-pa.*bids\.entities\.dir"):
        open_study(tree(tmp_path, "ds004746", paingen, runs=runs))


def cospine(stem, prepared=True):
    rows = []
    for i in range(15):
        half = ["first" if i < 7 else "second"] * prepared
        rows += [
            (10 + 39 * i, 4, "pain", 8 - i // 3, 5, *half),
            (27 + 39 * i, 11, "rating", "", "", *half),
        ]
    return table("onset duration trial_type UpR PR" + " half" * prepared, rows)


def heat(stem, prepared=True):
    """Eleven stimuli of a run; run 3 was regulated down, run 7 up."""
    word = {"03": "down", "07": "up"}.get(stem[-2:], "passive")
    rows = []
    for i in range(11):
        kind = "heat_high" if i % 2 else "heat_low"
        own = [kind, word, 100 + i] * prepared
        rows += [(28 + 35 * i, 12.5, 44.3, "n/a", *own)]
        screen = ["rating", word, "n/a"] * prepared
        rows += [(46 + 35 * i, 11, "n/a", 100 + i, *screen)]
    header = "onset duration temperature ratings"
    return table(header + " trial_type regulation pain" * prepared, rows)


def escape(stem, prepared=True):
    rows = []
    for i in range(12):
        code = 1 + i % 4
        threat = "countdown_unpleasant" if code % 2 else "countdown_mild"
        control = "controllable" if code > 2 else "uncontrollable"
        for onset, duration, kind in ((0, 17.5, "countdown"), (17.5, 1.0, "go_cue")):
            own = [threat if kind == "countdown" else "go_cue", control] * prepared
            rows.append((20 + 36 * i + onset, duration, kind, code, *own))
    return table(
        "onset duration trial_type condition_code" + " threat control" * prepared, rows
    )


LAYOUTS = {
    "ds005883": (cospine, ["task-pain"], ("habituation",)),
    "ds000140": (
        heat,
        [f"task-heatpainwithregulationandratings_run-0{n}" for n in (2, 3, 7)],
        ("down", "up"),
    ),
    "ds005266": (escape, [f"task-activeescape_run-0{n}" for n in range(1, 8)], ()),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_prepared_events_are_read(name, tmp_path):
    write, runs, rated = LAYOUTS[name]
    study = open_study(tree(tmp_path, name, write, runs=runs))
    assert len(study.manifest.subjects) == 3
    assert len(study.runs) == 3 * len(runs)
    assert study.rated == rated
    # each cell of the contrasts has an image
    n_conditions = len({c for c, _ in study.cells})
    assert len(study.manifest.images) == 3 * 2 * n_conditions


@pytest.mark.parametrize("name", LAYOUTS)
def test_events_as_released_are_refused_with_the_column_that_is_missing(name, tmp_path):
    write, runs, _ = LAYOUTS[name]
    config = tree(tmp_path, name, lambda stem: write(stem, prepared=False), runs=runs)
    with pytest.raises(StudyError, match="there is no column") as caught:
        open_study(config)
    wanted = {"ds005883": "half", "ds000140": "regulation", "ds005266": "control"}[name]
    assert f"there is no column {wanted}" in str(caught.value)
