"""A study on SLURM is the study on this machine, byte by byte, whatever happens to its jobs."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cluster
import pytest
import yaml
from test_study import SMALL, Checkout

ROOT = Path(__file__).parents[1]
MODULE = "workflow/handhold/study.py"
# Where a finished default study lies, so that it is not run again to be compared with.
LOCAL = os.environ.get("HANDHOLD_LOCAL_STUDY")
# This SLURM keeps no accounts, and its jobs end soon after they begin.
OPTIONS = [
    *("--workflow-profile", "workflow/profiles/slurm"),
    *("--slurm-status-command", "squeue", "--slurm-no-account"),
    *("--slurm-init-seconds-before-status-checks", "2"),
]
# Few of the jobs that take longest: how they are run is the same.
QUICK = {
    **SMALL,
    "receptors": {"target": "MOR_modelled"},
    "nulls": {"n": 999, "n_voxel": 0, "families": ["moran", "gaussian"]},
}
# What a run says of itself, which differs from run to run.
OWN = re.compile(r"logs/|provenance/(command|steps|written)\b")
COMMAND = re.compile(rb"<h3>The command</h3>\s*<pre[^>]*>[^<]+</pre>")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(cluster.why_not()), reason=cluster.why_not()),
]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with cluster.Slurm(tmp_path_factory.mktemp("slurm", numbered=True) / "s") as made:
        yield made


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The small study as it is on this machine."""
    made = Checkout(tmp_path_factory.mktemp("local"))
    made.run(QUICK)
    return contents(made.results())


def contents(results):
    """Read every file of the results that is of the study and not of one run."""
    files = {
        path.relative_to(results).as_posix(): path
        for path in sorted(results.rglob("*"))
        if path.is_file()
    }
    found = {n: path.read_bytes() for n, path in files.items() if not OWN.match(n)}
    page, n = COMMAND.subn(b"", found["report.html"])
    assert n == 1
    found["report.html"] = page
    return found


def require_same(results, local):
    found = contents(results)
    assert sorted(found) == sorted(local)
    assert [name for name in local if found[name] != local[name]] == []


class Run:
    """A study on SLURM that goes on while a test does something to its jobs."""

    def __init__(self, checkout, config, *arguments):
        text = config if isinstance(config, str) else yaml.safe_dump(config)
        (checkout.folder / "study.yaml").write_text(text, encoding="utf-8")
        self.log = checkout.folder / "run.log"
        command = [sys.executable, "-m", "snakemake", "--configfile", "study.yaml"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, *OPTIONS, *arguments],
                cwd=checkout.folder,
                env=checkout.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def said(self):
        return self.log.read_text(encoding="utf-8")

    def end(self, seconds=1200):
        """Wait for the end, which has to be a good one."""
        assert self.process.wait(seconds) == 0, self.said[-4000:]

    def running(self, slurm, what, node=""):
        """Wait until a job whose comment holds `what` runs, and return it."""

        def find():
            assert self.process.poll() is None, self.said[-4000:]
            return [
                job
                for job in slurm.jobs("-t", "RUNNING")
                if what in job["comment"] and job["node"].startswith(node)
            ]

        return slurm.until(find, f"a job of {what} runs", 300)[0]


def submitted(said, what):
    """List the SLURM ids of the jobs whose log's name holds `what`."""
    return re.findall(rf"SLURM jobid (\d+) \(log: \S*{what}\S*\)", said)


def ends(slurm, job):
    """List how a job ended, each time that it did."""
    said = (slurm.folder / "ended.txt").read_text("utf-8")
    return re.findall(rf"^JobId={job} .*?JobState=(\w+)", said, re.MULTILINE)


def test_a_cancelled_job_and_one_without_memory_are_tried_again(tmp_path, slurm, small):
    checkout = Checkout(tmp_path / "study")
    # 200 MB do not hold the two Snakemakes that start a job on a node, let alone the job
    short = "test_correspondence:mem_mb=200*attempt**3"
    run = Run(checkout, QUICK, "--set-resources", short)
    cancelled = run.running(slurm, "fit_subject")
    subprocess.run(["scancel", cancelled["id"]], check=True)
    run.end()
    require_same(checkout.results(), small)
    # the person's steps were submitted again, under the person's name
    (person,) = re.findall(r"sub-\w+?(?=_)", cancelled["comment"])
    assert len(submitted(run.said, f"group_{person}_")) == 2
    assert len(submitted(run.said, "rule_test_correspondence")) == 2
    assert ends(slurm, cancelled["id"]) == ["CANCELLED"]
    first, second = submitted(run.said, "rule_test_correspondence")
    assert ends(slurm, first) == ["FAILED"]
    assert ends(slurm, second) == ["COMPLETED"]


def test_a_lost_node_and_a_restarted_controller_change_nothing(tmp_path, slurm, small):
    checkout = Checkout(tmp_path / "study")
    run = Run(checkout, QUICK)
    on_it = run.running(slurm, "fit_subject", node="n2")
    slurm.kill_node("n2")
    slurm.until(
        lambda: on_it["id"] not in {job["id"] for job in slurm.jobs("-t", "RUNNING")},
        "SLURM notices that the node is gone",
        120,
    )
    slurm.start_node("n2")
    slurm.wait_for(2)
    assert run.process.poll() is None
    slurm.stop_controller()
    time.sleep(5)
    slurm.start_controller()
    slurm.wait_for(2)
    assert run.process.poll() is None
    run.end()
    require_same(checkout.results(), small)
    # by SLURM, which queued it again, and not by another submission
    assert ends(slurm, on_it["id"]) == ["NODE_FAIL", "COMPLETED"]


@pytest.mark.skipif(
    not LOCAL, reason="HANDHOLD_LOCAL_STUDY names no finished default study"
)
def test_the_default_study_is_the_same_on_slurm(tmp_path, slurm):
    checkout = Checkout(tmp_path / "study")
    shutil.copy(
        ROOT / MODULE, checkout.folder / MODULE
    )  # with batches of the usual size
    # as it stands: the order of the keys is part of what provenance shows
    run = Run(checkout, (ROOT / "config" / "config.yaml").read_text("utf-8"))
    run.end(1800)
    results = Path(LOCAL)
    require_same(checkout.results(results.name), contents(results))
