"""fMRIPrep is planned, its command is written, and a fake container runs it."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from handhold import fmriprep, spec
from handhold.errors import StudyError
from handhold.public import NotFetchedError
from handhold.study import open_study, plan_preprocessing

ROOT = Path(__file__).parents[1]
# What a shell would read as something else than a name.
ODD = "a $(touch hacked) 'b' \"c\"; & d"
# Apptainer, as far as fMRIPrep is concerned: records its arguments and writes what it would.
FAKE = f"""#!{sys.executable}
import json, os, sys
from pathlib import Path

given = sys.argv[1:]
with Path(os.environ["RECORD"]).open("a") as file:
    file.write(json.dumps(given) + "\\n")
if given[0] == "pull":
    Path(given[1]).write_text("image")
else:
    bound = [given[i + 1] for i, part in enumerate(given) if part == "--bind"]
    (out,) = [bind[: -len(":/out")] for bind in bound if bind.endswith(":/out")]
    label = given[given.index("--participant-label") + 1]
    # the page is written whether or not all went well, as by the real one
    Path(out, f"sub-{{label}}.html").write_text("page")
    if label == "04":
        sys.exit("Preprocessing did not finish: no T1w image of 04")
"""


@pytest.fixture
def raw(tmp_path):
    """Write a raw dataset: three people with the task, one with another."""
    for label, task in (
        ("01", "hands"),
        ("02", "hands"),
        ("03", "other"),
        ("04", "hands"),
    ):
        folder = tmp_path / ODD / "ds" / f"sub-{label}" / "func"
        folder.mkdir(parents=True)
        for name in ("events.tsv", "bold.json", "bold.nii.gz"):
            (folder / f"sub-{label}_task-{task}_{name}").touch()
    (tmp_path / "license.txt").touch()
    # the analysis has its map, so that images are all it lacks
    (tmp_path / "pet").mkdir()
    (tmp_path / "pet/MU_carfentanil_hc204_kantonen.nii").touch()
    return tmp_path


def study(root, **chosen):
    of_bids = {
        "dataset": f"{ODD}/ds",
        "derivatives": f"{ODD}/out",
        "task": "hands",
        "resolution": "2",
        "exclude": {"04": "no T1w image"},
    }
    return {
        "study": "raw",
        "title": "Raw",
        "source": "bids",
        "data_root": str(root),
        "seed": 1,
        "bids": of_bids,
        "events": {
            "cells": [
                {"trial_type": "threat", "cue": "threat"},
                {"trial_type": "safe", "cue": "safe"},
            ],
            "condition": {"run": {"1": "alone", "2": "partner"}},
        },
        "contrasts": [{"name": "partner", "baseline": "alone", "held": "partner"}],
        "receptors": {"target": "MOR_kantonen2020"},
        "fmriprep": {"run": True, "license_file": "license.txt", **chosen},
    }


# --- Who waits ----------------------------------------------------------------------------


def test_people_wait_until_they_are_done(raw):
    config = study(raw)
    plan = fmriprep.plan(config)
    assert plan.waiting == ("01", "02")
    done = Path(plan.receipt("01"))
    done.parent.mkdir(parents=True)
    (done.parents[1] / "sub-02.html").touch()  # of an attempt that failed
    done.touch()
    assert fmriprep.plan(config).waiting == ("02",)
    refusal = fmriprep.plan(config).refusal("snakemake fmriprep")
    assert "1 of 2 people wait for fMRIPrep (sub-02). Run first: snakemake" in refusal
    config["bids"]["participant_label"] = ["01"]
    assert fmriprep.plan(config).waiting == ()


def test_nothing_is_planned_that_was_not_asked_for(raw):
    config = study(raw)
    assert fmriprep.plan({**config, "fmriprep": {"run": False}}) is None
    del config["fmriprep"]
    assert fmriprep.plan(config) is None
    assert spec.resolve(config)["fmriprep"]["run"] is False


@pytest.mark.parametrize("source", ["simulated", "maps"])
def test_only_raw_data_are_preprocessed(raw, source):
    with pytest.raises(StudyError, match="so that fmriprep has no effect"):
        fmriprep.plan({**study(raw), "source": source})


def test_what_fmriprep_cannot_do_without_is_asked_for(raw):
    with pytest.raises(StudyError, match=r"fmriprep\.run needs fmriprep\.license_file"):
        spec.resolve({**study(raw), "fmriprep": {"run": True}})
    (raw / "license.txt").unlink()
    with pytest.raises(StudyError, match=r"licence of FreeSurfer.*does not exist"):
        fmriprep.plan(study(raw))


def test_an_image_that_is_not_there_is_refused(raw):
    with pytest.raises(StudyError, match=r"f\.sif \(fmriprep\.image\) does not exist"):
        fmriprep.plan(study(raw, image="f.sif"))
    (raw / "f.sif").touch()
    assert fmriprep.plan(study(raw, image="f.sif")).image == str(raw / "f.sif")


def test_a_path_that_would_be_read_as_two_is_refused(raw):
    with pytest.raises(StudyError, match=r"colon or comma.*a:b \(fmriprep\.work\)"):
        fmriprep.plan(study(raw, work="a:b"))


def test_a_task_that_nobody_has_is_refused(raw):
    config = study(raw)
    config["bids"]["task"] = "hand"
    with pytest.raises(StudyError, match="did you mean hands"):
        fmriprep.plan(config)


# --- The command --------------------------------------------------------------------------


def test_the_command_of_a_person(raw):
    config = study(raw, n_cpus=12, mem_mb=20000, extra=["--ignore", "slicetiming"])
    command = fmriprep.plan(config).command("01")
    at = raw / ODD
    assert command == [
        *("apptainer", "run", "--cleanenv"),
        *("--bind", f"{at}/ds:/data:ro"),
        *("--bind", f"{at}/out:/out"),
        *("--bind", f"{raw}/work/fmriprep:/scratch"),
        *("--bind", f"{raw}/license.txt:/license.txt:ro"),
        f"{raw}/work/fmriprep/fmriprep-25.2.5.sif",
        *("/data", "/out", "participant", "--participant-label", "01"),
        *("--task-id", "hands", "--output-spaces", "MNI152NLin2009cAsym:res-2"),
        *("--nprocs", "12", "--omp-nthreads", "8", "--mem", "20000"),
        *("--work-dir", "/scratch/sub-01", "--fs-license-file", "/license.txt"),
        *("--stop-on-first-crash", "--notrack", "--ignore", "slicetiming"),
    ]


def test_docker_writes_files_of_its_user(raw):
    command = fmriprep.plan(study(raw, engine="docker")).command("01")
    assert command[:5] == [
        *("docker", "run", "--rm", "--user"),
        f"{os.getuid()}:{os.getgid()}",
    ]
    assert command.count("--volume") == 4
    assert command[command.index("/data") - 1] == "nipreps/fmriprep:25.2.5"
    own = study(raw, engine="docker", image="mirror/fmriprep:25.2.3")
    assert "mirror/fmriprep:25.2.3" in fmriprep.plan(own).command("01")


@pytest.mark.parametrize(
    ("given", "space"),
    [
        ({}, "MNI152NLin2009cAsym"),
        ({"resolution": "native"}, "MNI152NLin2009cAsym"),
        ({"resolution": "2"}, "MNI152NLin2009cAsym:res-2"),
        ({"resolution": "res-2", "space": "MNI152NLin6Asym"}, "MNI152NLin6Asym:res-2"),
    ],
)
def test_images_are_asked_for_where_the_analysis_looks_for_them(given, space):
    chosen = {"space": "MNI152NLin2009cAsym", **given}
    assert fmriprep.output_space(chosen) == space


# --- The container ------------------------------------------------------------------------


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """Put a fake apptainer first on the path; returns what it was called with."""
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "apptainer"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    record = tmp_path / "record.txt"
    monkeypatch.setenv("RECORD", str(record))
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
    return lambda: [json.loads(line) for line in record.read_text().splitlines()]


def test_a_container_that_fails_shows_its_last_lines(raw, engine):
    config = study(raw)
    config["bids"]["exclude"] = {}
    plan = fmriprep.plan(config)
    folders, log = [plan.bids["derivatives"]], str(raw / "log.txt")
    with pytest.raises(StudyError, match="ended with the error 1") as caught:
        fmriprep.preprocess(plan.command("04"), folders, plan.receipt("04"), log)
    assert "04" in fmriprep.plan(config).waiting
    assert "no T1w image of 04" in str(caught.value)
    assert str(raw / "log.txt") in str(caught.value)


def test_an_engine_that_is_not_installed_is_named(raw, monkeypatch):
    monkeypatch.setenv("PATH", str(raw))
    with pytest.raises(
        StudyError, match=r"apptainer is not installed \(fmriprep.engine"
    ):
        fmriprep.run(fmriprep.plan(study(raw)).command("01"), str(raw / "log.txt"))


def test_a_container_that_was_not_fetched_leaves_nothing(raw, monkeypatch):
    monkeypatch.setenv("PATH", str(raw))
    plan = fmriprep.plan(study(raw))
    with pytest.raises(StudyError):
        fmriprep.pull(plan.chosen, plan.image, str(raw / "log.txt"))
    assert not list((raw / "work" / "fmriprep").iterdir())


def snakemake(raw, *arguments, config=None):
    """Run the workflow in a folder of its own."""
    path = raw / "study.yaml"
    path.write_text(yaml.safe_dump(config or study(raw)), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", *arguments, "--configfile", str(path)]
    command += ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(raw)]
    command += ["--cores", "2", "--nocolor"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_target_preprocesses_everyone_who_waits_and_then_lets_go(raw, engine):
    code, text = snakemake(raw)
    assert code
    assert "2 of 2 people wait for fMRIPrep (sub-01, sub-02)" in text
    # as it has to be typed: without --cores, Snakemake runs nothing
    command = "snakemake fmriprep --cores all --keep-going --configfile"
    assert f"Run first: {command} {raw}/study.yaml" in text

    code, text = snakemake(raw, "fmriprep")
    assert code == 0, text
    calls = engine()
    assert [call[0] for call in calls] == ["pull", "run", "run"]
    assert calls[0][2] == "docker://nipreps/fmriprep:25.2.5"
    ran = [["apptainer", *call] for call in calls[1:]]
    labels = {call[call.index("--participant-label") + 1] for call in calls[1:]}
    assert labels == {"01", "02"}
    # the odd name of the folder reached the container as it is, and ran nowhere
    assert all(f"{raw}/{ODD}/ds:/data:ro" in call for call in calls[1:])
    assert not [*raw.rglob("hacked")]

    # who is done is not asked for again; the analysis is what is planned now
    assert fmriprep.plan(study(raw)).waiting == ()
    written = Path(fmriprep.plan(study(raw)).receipt("01")).read_text(encoding="utf-8")
    assert shlex.split(written) == next(call for call in ran if "01" in call)
    with pytest.raises(StudyError, match="three ways"):
        open_study(study(raw))  # the fake has written pages, but no images


@pytest.mark.slow
def test_one_who_fails_holds_up_nobody_and_is_asked_for_again(raw, engine):
    config = study(raw)
    config["bids"]["exclude"] = {}  # 04 is the one whom the fake cannot preprocess
    code, text = snakemake(raw, "fmriprep", "--keep-going", config=config)
    assert code
    assert "no T1w image of 04" in text
    plan = fmriprep.plan(config)
    assert plan.waiting == ("04",)
    assert plan.n_people == 3
    # what it had written so far is there to go on from, and it alone is run again
    assert (raw / ODD / "out" / "sub-04.html").is_file()
    n_before = len(engine())
    code, text = snakemake(raw, "fmriprep", "--keep-going", config=config)
    assert code
    again = engine()[n_before:]
    assert [call[call.index("--participant-label") + 1] for call in again] == ["04"]
    work = again[0][again[0].index("--work-dir") + 1]
    assert work == "/scratch/sub-04"


def test_raw_data_that_have_yet_to_be_fetched_come_before_people(raw):
    config = study(raw)
    config["bids"] |= {"dataset": "elsewhere", "openneuro": {"dataset": "ds000108"}}
    with pytest.raises(NotFetchedError, match="fetch"):
        plan_preprocessing(config)
    # where nobody waits for fMRIPrep, maps and datasets are missed at once
    assert plan_preprocessing({**config, "fmriprep": {"run": False}}) is None
    # what there is waits for no map
    (raw / "pet/MU_carfentanil_hc204_kantonen.nii").unlink()
    assert plan_preprocessing(study(raw)).waiting == ("01", "02")


def test_text_files_alone_are_nothing_to_preprocess(raw):
    for image in raw.rglob("*_task-hands_bold.nii.gz"):
        image.unlink()  # the sidecars and events stay, as without bids.openneuro.raw_images
    # not a fault that would keep `snakemake fetch` from bringing them
    with pytest.raises(NotFetchedError, match=r"no BOLD image.*raw_images: true"):
        plan_preprocessing(study(raw))


def test_images_that_a_clone_only_names_are_not_preprocessed(raw):
    image = raw / ODD / "ds/sub-02/func/sub-02_task-hands_bold.nii.gz"
    image.unlink()
    image.symlink_to("../../.git/annex/objects/xx/yy/MD5E-s1--0.nii.gz")
    with pytest.raises(
        StudyError, match=r"1 of 2 files.*\n.*sub-02_task.*\n.*datalad get"
    ):
        fmriprep.plan(study(raw))
    # once somebody is done, their images may go
    done = Path(raw / ODD / "out/logs/handhold_sub-02.txt")
    done.parent.mkdir(parents=True)
    done.touch()
    assert fmriprep.plan(study(raw)).waiting == ("01",)


@pytest.mark.slow
def test_what_else_a_study_lacks_keeps_nobody_from_fetching(raw):
    """Raw text came first; now its images are to come, before there are derivatives."""
    (raw / "atlases").symlink_to(ROOT / "atlases")
    config = study(raw)
    del config["fmriprep"]
    config["bids"]["openneuro"] = {"dataset": "ds000108", "raw_images": True}
    code, text = snakemake(raw, "fetch", "--dry-run", config=config)
    assert code == 0, text
    assert "fetch_files" in text
    code, text = snakemake(raw, "--dry-run", config=config)
    assert code
    assert "three ways" in text


def test_two_preprocessings_do_not_meet_in_one_folder(raw):
    config = study(raw)
    config["bids"]["openneuro"] = {
        "dataset": "ds000108",
        "derivatives": "s3://openneuro-derivatives/fmriprep/ds000108-fmriprep",
    }
    with pytest.raises(StudyError, match=r"two versions in one"):
        spec.resolve(config)
    assert spec.resolve({**config, "fmriprep": {}})


def test_the_target_does_not_pretend_to_have_preprocessed(raw):
    """Nothing to wait for, and nothing that could be done, look the same to Snakemake."""
    (raw / "atlases").symlink_to(ROOT / "atlases")
    config = study(raw)
    config["bids"] |= {"dataset": "elsewhere", "openneuro": {"dataset": "ds000108"}}
    code, text = snakemake(raw, "fmriprep", config=config)
    assert code
    assert "fetch them" in text
    code, text = snakemake(raw, "fmriprep", config={**config, "fmriprep": {}})
    assert code
    assert "put fmriprep.run to true" in text


def test_a_study_without_derivatives_learns_the_three_ways(raw):
    config = study(raw)
    del config["fmriprep"]
    with pytest.raises(StudyError) as caught:
        open_study(config)
    for part in ("three ways", "fmriprep.run", "openneuro.derivatives"):
        assert part in str(caught.value)
