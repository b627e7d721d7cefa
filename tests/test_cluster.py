"""What jobs ask of a cluster, and the profiles and containers that come with handhold."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from test_dependencies import rules
from test_study import SMALL, Checkout

from handhold.resources import PLANNING, STARTING, memory, minutes

ROOT = Path(__file__).parents[1]
PROFILES = ROOT / "workflow" / "profiles"
ENVS = ROOT / "workflow" / "envs"
CLUSTERS = ("slurm", "lsf", "sge", "cluster-generic")
IMAGE = "python:3.11-slim"


# --- What a job asks for ---------------------------------------------------------------


def inputs(**named):
    """Inputs as Snakemake gives them: a list, parts of which have a name."""
    given = type("Inputs", (list,), {})(path for own in named.values() for path in own)
    vars(given).update(named)
    return given


def test_memory_grows_with_inputs_people_and_attempts(tmp_path):
    for name, size in (("bold", 3), ("mask", 1)):
        (tmp_path / name).write_bytes(b"0" * size * 2**20)
    given = inputs(images=[tmp_path / "bold"], others=[tmp_path / "mask"])
    of_all, of_images = memory(100, 10, people=50), memory(100, 10, "images")
    started = STARTING + 50 * PLANNING
    assert of_all(None, given, 1) == started + 100 + 10 * 4
    assert of_all(None, given, 3) == 3 * (started + 100 + 10 * 4)
    assert of_images(None, given, 1) == STARTING + 100 + 10 * 3
    assert minutes(5, 2)(None, given, 2) == 2 * (5 + 2 * 4)


def test_what_has_no_slope_asks_for_no_file():
    assert minutes(5)(None, inputs(images=["is not there yet"]), 1) == 5


@pytest.mark.parametrize("rule", sorted(rules()))
def test_a_rule_runs_where_snakemake_does_or_says_what_it_needs(rule):
    text = rules()[rule]
    local = "localrule: True" in text
    asked = {name for name in ("mem_mb", "runtime") if re.search(rf"\b{name}=", text)}
    assert asked == (set() if local else {"mem_mb", "runtime"})
    # Snakemake submits a rule of a group, whatever else is said
    assert not (local and "group:" in text)


# --- Profiles --------------------------------------------------------------------------


def profile(name):
    return yaml.safe_load((PROFILES / name / "config.yaml").read_text("utf-8"))


def test_the_profiles_differ_in_their_scheduler_alone():
    def common(name):
        said = profile(name)
        own = ("executor", "slurm-", "cluster-generic-")
        return {key: said[key] for key in said if not key.startswith(own)}

    assert {profile(name)["executor"] for name in CLUSTERS} == set(CLUSTERS)
    assert [common(name) for name in CLUSTERS] == [common("slurm")] * len(CLUSTERS)
    # a rule that is submitted says all that it needs, so that a user can give the defaults
    assert "default-resources" not in common("slurm")


def test_the_pod_has_the_cpus_that_the_profile_uses():
    job = yaml.safe_load((PROFILES / "kubernetes" / "job.yaml").read_text("utf-8"))
    (pod,) = job["spec"]["template"]["spec"]["containers"]
    assert int(pod["resources"]["limits"]["cpu"]) == profile("kubernetes")["cores"]
    assert "workflow/profiles/kubernetes" in pod["args"]
    mounted = {mount["mountPath"] for mount in pod["volumeMounts"]}
    assert {"/handhold/results", "/handhold/.snakemake"} <= mounted


def dry_run(name):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "snakemake",
            "-n",
            "--workflow-profile",
            PROFILES / name,
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "workflow")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CLUSTERS, "kubernetes"])
def test_a_profile_plans_the_default_study(name):
    assert "write_report" in dry_run(name)


@pytest.mark.slow
def test_a_person_is_a_group_and_no_group_has_siblings():
    """Siblings would ask a node for the CPUs of all, and a group of two people hide both names."""
    groups = {}
    for text in re.split(r"\n(?=\[)", dry_run("slurm")):
        name = re.match(r"\[.*\] Group job (\S+)", text)
        blocks = re.split(r"\n\s+rule ", text)[1:] if name else []
        for block in blocks:
            paths = {
                kind: set(re.search(rf"\n\s+{kind}: (.*)", block)[1].split(", "))
                for kind in ("input", "output")
            }
            groups.setdefault(name[1], []).append(paths)
    people = {name for name in groups if name.startswith("sub-")}
    assert len(people) == 20
    for name, jobs in groups.items():
        if name == "simulated":  # take turns: they need nothing of one another
            continue
        after = {
            i: {j for j, other in enumerate(jobs) if job["input"] & other["output"]}
            for i, job in enumerate(jobs)
        }
        # in a chain, each job needs one more than the one before it
        assert len(jobs) > 1
        depths = sorted(_depth(i, after) for i in after)
        assert depths == list(range(len(jobs))), name


def _depth(job, after):
    return max((1 + _depth(before, after) for before in after[job]), default=0)


STATES = {
    "job_state = F\n    Exit_status = 0\n": "success",
    "job_state = F\n    Exit_status = 271\n": "failed",
    "job_state = R\n": "running",
    "job_state = Q\n": "running",
}


@pytest.mark.parametrize("said", STATES)
def test_the_status_of_a_pbs_job_is_read(said, tmp_path):
    assert (
        status(tmp_path, f"printf 'Job Id: 7.pbs\n    {said}    comment = x\n'")
        == STATES[said]
    )


def test_a_pbs_server_that_does_not_answer_is_no_failure(tmp_path):
    assert status(tmp_path, "echo 'cannot connect to server' >&2; exit 1") == "running"


def test_a_pbs_job_that_the_server_does_not_know_is_not_waited_for(tmp_path):
    said = "echo 'qstat: Unknown Job Id 7.pbs' >&2; exit 153"
    assert status(tmp_path, said) == "failed"


def status(folder, qstat):
    program = folder / "qstat"
    program.write_text(f"#!/bin/sh\n{qstat}\n", encoding="utf-8")
    program.chmod(0o755)
    done = subprocess.run(
        ["sh", PROFILES / "cluster-generic" / "status.sh", "7.pbs"],
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


# A PBS of one machine: a job is a process, and its end a file.
QSUB = """#!/bin/sh
for script; do :; done
id=$$
(sh "$script" > "$PBS_FOLDER/$id.log" 2>&1; echo $? > "$PBS_FOLDER/$id.end") > /dev/null 2>&1 &
echo "$*" >> "$PBS_FOLDER/asked.txt"
echo $id
"""
QSTAT = """#!/bin/sh
for id; do :; done
if [ -f "$PBS_FOLDER/$id.end" ]; then
  printf 'Job Id: %s\\n    job_state = F\\n    Exit_status = %s\\n' $id $(cat "$PBS_FOLDER/$id.end")
else
  printf 'Job Id: %s\\n    job_state = R\\n' $id
fi
"""


@pytest.mark.slow
def test_a_study_runs_by_a_schedulers_own_commands(tmp_path):
    made = Checkout(tmp_path / "study")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("qsub", QSUB), ("qstat", QSTAT)):
        (programs / name).write_text(text, encoding="utf-8")
        (programs / name).chmod(0o755)
    made.environment |= {
        "PATH": f"{programs}:{made.environment['PATH']}",
        "PBS_FOLDER": str(tmp_path),
    }
    done = made.snakemake(
        SMALL,
        *("--workflow-profile", "workflow/profiles/cluster-generic", "--jobs", "2"),
        *("--seconds-between-status-checks", "1"),
        *("--until", "join_regions"),
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert (made.results() / "regions" / "rois.tsv").is_file()
    asked = (tmp_path / "asked.txt").read_text(encoding="utf-8")
    for person in range(1, 7):
        assert (
            len(re.findall(rf"-N sub-0{person}_fit_subject_read_subject ", asked)) == 1
        )
    assert re.search(r"ncpus=1:mem=\d+mb -l walltime=00:\d+:00 ", asked)


# --- Containers ------------------------------------------------------------------------


def dockerfile():
    """Return the instructions of the Dockerfile, their continued lines joined."""
    text = (ENVS / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def definition():
    """Return the sections of the Apptainer definition by name; its head is the section ''."""
    text = (ENVS / "apptainer.def").read_text("utf-8")
    parts = re.split(r"^%(\w+)\n", text, flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def installed(text):
    return re.findall(r"python -m pip install ([^\n&]*?)(?= *(?:&&|\n|$))", text)


def test_both_containers_install_the_same_by_the_lock():
    docker = installed("\n".join(rest for word, rest in dockerfile() if word == "RUN"))
    apptainer = installed(definition()["post"])
    assert docker == apptainer
    assert "--require-hashes -r workflow/envs/requirements.txt" in docker[0]
    assert "--no-deps --no-build-isolation -e ." in docker[1]


def test_both_containers_start_from_what_the_workflow_names():
    assert ("FROM", IMAGE) in dockerfile()
    assert f"\nFrom: {IMAGE}\n" in definition()[""]
    assert f'container: "docker://{IMAGE}"' in (ROOT / "Snakefile").read_text("utf-8")


def in_image():
    """List what stands at the top of the image, by the Dockerfile's and Apptainer's word."""
    ignore = (ENVS / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    assert ignore[0] == "*"
    docker = [line[1:] for line in ignore if line.startswith("!")]
    pairs = [
        line.split() for line in definition()["files"].splitlines() if line.strip()
    ]
    assert all(f"/handhold/{source}" == target for source, target in pairs)
    return sorted(docker), sorted(source for source, _ in pairs)


@pytest.mark.slow
def test_an_image_holds_all_that_a_study_needs(tmp_path):
    docker, apptainer = in_image()
    assert docker == apptainer
    for name in docker:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "--quiet"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "workflow")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
