"""A study whose run is killed, starved, raced and disturbed: the bytes are the same in the end."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml
from scipy.ndimage import gaussian_filter

from handhold.images import Grid, write_image
from handhold.io import RECORD
from handhold.written import Written

ROOT = Path(__file__).parents[1]
AFFINE = np.array([[8.0, 0, 0, -76], [0, 8, 0, -108], [0, 0, 8, -76], [0, 0, 0, 1]])
GRID = Grid(AFFINE, (20, 24, 21))
LABELS = [f"{n:02d}" for n in range(1, 7)]
RECEPTOR_COLUMNS = (
    "receptor label unit file background negative checksum citation doi licence"
)
CONFIG = {
    "study": "s",
    "title": "Six people, images of 8 mm",
    "source": "maps",
    "seed": 3,
    "unit": "% signal change",
    "maps": {
        "table": "images.tsv",
        "columns": {
            "subject": "participant_id",
            **{name: name for name in ("condition", "cue", "image")},
        },
    },
    "ratings": {
        "table": "ratings.tsv",
        "subject": "participant_id",
        "wide": {"alone": "alone", "partner": "partner"},
        "higher_is": "more_unpleasant",
    },
    "contrasts": [{"name": "partner", "baseline": "alone", "held": "partner"}],
    "receptors": {"table": "receptors.tsv", "target": "MOR_drawn"},
    "regions": {"min_parcel_voxels": 1},
    "tests": {"n_permutations": 999, "n_bootstrap": 999},
    "nulls": {"n": 999, "families": ["moran", "gaussian"]},
}


def write_inputs(folder):
    """Write a study of drawn images, with ratings and a receptor map."""
    rng = np.random.default_rng(5)
    drawn = gaussian_filter(rng.standard_normal(GRID.shape), 2) * 10
    receptor = drawn - drawn.min() + 1
    write_image(folder / "data" / "receptor.nii.gz", receptor, GRID)
    images = ["participant_id\tcondition\tcue\timage"]
    ratings = ["participant_id\talone\tpartner"]
    for label in LABELS:
        ratings.append(f"{label}\t{6 + rng.normal():.3f}\t{4 + rng.normal():.3f}")
        for condition in ("alone", "partner"):
            for cue in ("threat", "safe"):
                name = f"data/sub-{label}_{condition}_{cue}.nii.gz"
                values = gaussian_filter(rng.standard_normal(GRID.shape), 1.5)
                if cue == "threat":
                    values += 1 + 0.5 * (condition == "alone") * receptor
                write_image(folder / name, values, GRID)
                images.append(f"{label}\t{condition}\t{cue}\t{name}")
    header = "\t".join(RECEPTOR_COLUMNS.split())
    row = "MOR_drawn\tMOR\tBP\tdata/receptor.nii.gz\t0\t\t\tnone\tnone\tnone"
    for name, lines in {
        "images.tsv": images,
        "ratings.tsv": ratings,
        "receptors.tsv": [header, row],
        "study.yaml": [yaml.safe_dump(CONFIG)],
    }.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


class Study:
    """The study in a folder from which Snakemake is started."""

    def __init__(self, folder, **environment):
        self.folder = folder
        folder.mkdir()
        for name in ("workflow", "atlases", "config", "Snakefile"):
            (folder / name).symlink_to(ROOT / name)
        write_inputs(folder)
        self.results = folder / "results" / "s"
        self.log = folder / "snakemake.txt"
        path = os.pathsep.join([str(ROOT / "workflow"), *environment.pop("path", [])])
        self.environment = {**os.environ, "PYTHONPATH": path, **environment}

    def start(self, *arguments, prefix=()):
        """Start Snakemake as the leader of a group of processes; its words go to `log`."""
        command = [*prefix, sys.executable, "-m", "snakemake", "--cores", "2"]
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [*command, "--configfile", "study.yaml", *arguments],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self, *arguments, fails=False, **options):
        """Run Snakemake to its end and return what it said."""
        code = self.start(*arguments, **options).wait()
        said = self.log.read_text("utf-8", errors="replace")
        assert (code != 0) == fails, said[-4000:]
        return said

    def planned(self, *arguments):
        """Return what a dry run says, and the rules that it would run."""
        said = self.run("--dry-run", *arguments)
        return said, set(re.findall(r"^ *(?:local)?rule (\w+):$", said, re.MULTILINE))

    def page(self):
        """Return the page without what it says of its run."""
        page = (self.results / "report.html").read_bytes()
        left, n = PARTS_OF_THE_RUN.subn(b"", page)
        assert n == 2
        return left

    @property
    def locks(self):
        return list((self.folder / ".snakemake" / "locks").glob("*"))

    def content(self):
        """Return the bytes of every result; the record and the logs are of the run."""
        return {
            str(path.relative_to(self.results)): path.read_bytes()
            for path in self.results.rglob("*")
            if path.is_file()
            and "logs" not in path.relative_to(self.results).parts
            and path.name != ".snakemake_timestamp"
            and str(path.relative_to(self.results)) not in OF_THE_RUN
        }


# What was typed, which steps ran, and the page, which shows both in these parts.
OF_THE_RUN = {
    str(RECORD),
    "provenance/command.txt",
    "provenance/steps.tsv",
    "report.html",
}
PARTS_OF_THE_RUN = re.compile(
    rb"<h3>(?:The command|Steps)</h3>.*?(?=<p>|<h3>)", re.DOTALL
)


# --- A result that is not what was written -------------------------------------------------


def test_a_changed_result_is_named_and_made_again(tmp_path):
    study = Study(tmp_path / "study")
    study.run("--until", "write_manifest")
    before, record = study.content(), (study.results / RECORD).read_bytes()
    os.truncate(study.results / "manifest.tsv", 700)
    (study.results / "runs.json").unlink()
    # a bit that flips by itself leaves the time as it is
    flipped = study.results / "excluded.json"
    time_of = flipped.stat().st_mtime_ns
    flipped.write_bytes(before["excluded.json"].replace(b"a", b"A", 1))
    os.utime(flipped, ns=(time_of, time_of))
    every = ("--until", "write_manifest", "--config", "verify=true")
    said, planned = study.planned(*every)
    n_bytes = len(before["manifest.tsv"])
    assert (
        "handhold: 3 results are not as they were written, and are made again: "
        f"results/s/manifest.tsv (700 of {n_bytes:,} bytes), results/s/runs.json (missing), "
        "results/s/excluded.json (other content).\n"
    ) in said
    assert "write_manifest" in planned
    assert (study.results / RECORD).read_bytes() == record
    said = study.run(*every)
    assert "are made again: results/s/manifest.tsv" in said
    assert study.content() == before
    said, planned = study.planned(*every)
    assert "handhold: the results are as they were written.\n" in said
    assert planned == set()
    # what is made without a word is recorded too
    record = (study.results / RECORD).read_bytes()
    study.run("--until", "write_manifest", "--forcerun", "write_manifest", "--quiet")
    assert (study.results / RECORD).read_bytes() != record
    assert not Written(study.results).look()
    assert not Written(study.results).moved


# --- Another machine -------------------------------------------------------------------------

# As a host does that takes the locale of its user; and what each job took.
SITE = """
import atexit, locale, os, sys, time
locale.setlocale(locale.LC_ALL, "")
began = time.monotonic()
if any(".snakemake/scripts/" in word for word in sys.orig_argv):
    @atexit.register
    def tell():
        import json, threadpoolctl
        pools = [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]
        told = {
            "threads": max(pools, default=0),
            "cpu": time.process_time(),
            "wall": time.monotonic() - began,
            "point": locale.localeconv()["decimal_point"],
            "zone": time.tzname[0],
        }
        with open(os.environ["TOLD"], "a") as file:
            file.write(json.dumps(told) + "\\n")
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """The whole study, undisturbed, on a machine as unlike the tests' as one can be.

    Decimal commas, the earliest time zone, no UTF-8 mode, warnings as errors, a user who wants
    eight threads, a path with spaces and letters that are not ASCII, inputs that are links to
    files nobody may write.
    """
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(SITE, encoding="utf-8")
    comma = make_locale(folder)
    study = Study(
        folder / "Ærø & Ünï côde 結果",
        path=[str(folder / "site")],
        TZ="Pacific/Kiritimati",
        PYTHONUTF8="0",
        PYTHONWARNINGS="error",
        TOLD=str(folder / "told.txt"),
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "8"),
        **comma,
    )
    (study.folder / "data").rename(folder / "given")
    (study.folder / "data").mkdir()
    for path in (folder / "given").iterdir():
        path.chmod(0o444)
        (study.folder / "data" / path.name).symlink_to(path)
    study.run()
    told = (folder / "told.txt").read_text("utf-8").splitlines()
    study.told = [json.loads(line) for line in told]
    return study


def make_locale(folder):
    """Make a locale with a decimal comma where the machine can; return what chooses it."""
    name = "de_DE.UTF-8"
    command = ["localedef", "-i", "de_DE", "-f", "UTF-8", str(folder / name)]
    if not shutil.which("localedef") or subprocess.run(command, check=False).returncode:
        return {"LC_ALL": "C"}
    return {"LOCPATH": str(folder), "LC_ALL": name}


@pytest.mark.slow
def test_jobs_take_the_threads_they_are_given(elsewhere):
    """Two jobs on two cores, and none takes more than its own, whatever its user set."""
    assert len(elsewhere.told) > 30
    assert {told["threads"] for told in elsewhere.told} <= {0, 1}
    assert max(told["cpu"] / told["wall"] for told in elsewhere.told) < 1.1
    assert {told["point"] for told in elsewhere.told} == {
        "," if "LOCPATH" in elsewhere.environment else "."
    }
    assert {told["zone"] for told in elsewhere.told} == {"+14"}


# --- Killed, again and again -------------------------------------------------------------------

# Tables, arrays and images; more would add nothing but time.
TARGETS = ("attenuate", "average_images")
KILLS = {"job": 12, "snakemake": 4, "all": 4}


def jobs_of(process):
    """Return the running jobs of a Snakemake."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
        return [
            own
            for own in children
            if ".snakemake/scripts/" in " ".join(own.cmdline()) and own.name() != "bash"
        ]
    except psutil.Error:
        return []


def wait_for(condition, process, limit=60.0):
    """Wait until something is true; False if the process ends before."""
    end = time.monotonic() + limit
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def assert_same(study, other):
    """Every result of a study has the bytes of the other's."""
    found, expected = study.content(), other.content()
    made = {"regions/rois.npz", "attenuation/rois.tsv", "correspondence/voxels.npz"}
    assert made <= set(found)
    assert {name for name in found if found[name] != expected[name]} == set()


@pytest.mark.slow
def test_twenty_kills_change_no_byte(tmp_path, elsewhere):
    """A job, Snakemake, or all of them at once, at random times; then the same command."""
    rng = np.random.default_rng(20)
    study = Study(tmp_path / "killed")
    left = dict(KILLS)
    while any(left.values()):
        kind = max(left, key=left.get)
        # a job that was killed is tried again, so that one start is enough for many
        process = study.start("--until", *TARGETS, "--retries", str(KILLS["job"]))
        # from the first job on: before, nothing is written
        while left[kind] and wait_for(lambda p=process: jobs_of(p), process):
            time.sleep(rng.uniform(0, 2.0))
            if kind == "job":
                for job in jobs_of(process)[:1]:
                    with suppress(psutil.NoSuchProcess):
                        job.kill()
                        left[kind] -= 1
            elif process.poll() is None:
                kill = os.kill if kind == "snakemake" else os.killpg
                kill(process.pid, signal.SIGKILL)
                left[kind] -= 1
                break
        if process.wait() == 0:  # a study that is done is begun anew
            assert_same(study, elsewhere)
            shutil.rmtree(study.results)
        elif kind == "snakemake" and left[kind] == KILLS[kind] - 1:
            assert "--unlock" in study.run("--until", *TARGETS, fails=True)
            study.run("--unlock")
        # as --unlock does, in less time
        for lock in study.locks:
            lock.unlink()
    # to the end, page and all: what the kills left shows nowhere
    study.run()
    assert_same(study, elsewhere)
    assert study.page() == elsewhere.page()
    assert not list(study.results.rglob(".[0-9]*"))
    assert "handhold:" not in study.planned("--until", *TARGETS)[0]


@pytest.mark.slow
def test_ctrl_c_leaves_what_the_same_command_goes_on_from(tmp_path):
    study = Study(tmp_path / "stopped")
    until = ("--until", "attenuate")
    process = study.start(*until)
    assert wait_for(lambda: jobs_of(process), process)
    # another Snakemake finds the study locked, and changes nothing
    log, study.log = study.log, tmp_path / "second.txt"
    assert "cannot be locked" in study.run(*until, fails=True)
    study.log = log
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait() != 0
    said = study.log.read_text("utf-8")
    assert re.search(
        r"^handhold: stopped by you after .+: the same command goes on",
        said,
        re.MULTILINE,
    )
    assert not study.locks
    kept = study.content()
    study.run(*until)
    before = study.content()
    assert {name: before[name] for name in kept} == kept
    # The clock was a day ahead, and is right again; then one image is replaced by an older one.
    for path in study.results.rglob("*"):
        os.utime(path, (time.time() + 86400,) * 2)
    image = study.folder / "data" / "sub-03_alone_threat.nii.gz"
    shutil.copy(image.with_name("sub-04_alone_threat.nii.gz"), image)
    os.utime(image, (1e9, 1e9))
    said, planned = study.planned(*until)
    assert f"(data/{image.name} has been replaced)" in said
    assert planned == {"read_subject", "join_regions", "attenuate"}
    assert set(re.findall(r"label=(\w+)", said)) == {"03"}
    study.run(*until)
    after = study.content()
    changed = {name for name in before if after[name] != before[name]}
    assert {name for name in changed if name.startswith("regions/subjects/")} == {
        *("regions/subjects/03_rois.tsv", "regions/subjects/03_parcels.tsv")
    }
    assert "attenuation/rois.tsv" in changed
    # a time to come is refused before any job
    os.utime(image, (time.time() + 86400,) * 2)
    said = study.run(*until, "--forcerun", "read_subject", fails=True)
    assert f"have a time to come (data/{image.name}: " in said
    assert "Traceback" not in said
    assert study.content() == after


# --- Disks ---------------------------------------------------------------------------------------


@pytest.fixture
def mounting():
    """Give the words that run a command where what it mounts is seen by nobody else."""
    for words in (["unshare", "-m"], ["unshare", "-r", "-m"]):
        try:
            probe = [*words, "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
            if not subprocess.run(probe, capture_output=True, check=False).returncode:
                return words
        except FileNotFoundError:
            break
    pytest.skip(
        "nothing may be mounted here: needs unshare and a kernel that allows it"
    )


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_gone_on_from(tmp_path, mounting):
    study = Study(tmp_path / "full")
    (study.folder / "results").mkdir()
    until = "--until write_manifest define_regions"
    script = f"""
        mount -t tmpfs -o size=20m tmpfs results
        "$@" {until} > full.txt 2>&1 && exit 3
        ls -A results/s/regions > left.txt
        dd if=/dev/zero of=results/other bs=1k
        "$@" {until} > again.txt 2>&1 && exit 4
        rm results/other; mount -o remount,size=200m results
        "$@" {until} && cp -r results/s/regions regions
    """
    said = study.run(prefix=[*mounting, "sh", "-c", script, "sh"])
    full = (study.folder / "full.txt").read_text("utf-8")
    assert re.search(
        r"^results/s/regions/\w+\.npz cannot be written", full, re.MULTILINE
    )
    assert "the disk is full" in full
    assert "Traceback" not in full
    assert (study.folder / "left.txt").read_text() == ""
    again = (study.folder / "again.txt").read_text("utf-8")
    assert "results/s cannot be written or read: the disk is full" in again
    assert "Traceback" not in again
    assert "handhold: done" in said
    assert (study.folder / "regions" / "parcels.npz").stat().st_size > 30e6


@pytest.mark.slow
def test_results_that_may_not_be_written_are_one_sentence(tmp_path, mounting):
    study = Study(tmp_path / "readonly")
    study.run("--until", "write_manifest")
    before = study.content()
    script = """
        mount --bind results results && mount -o remount,ro,bind results && exec "$@"
    """
    readonly = {"prefix": [*mounting, "sh", "-c", script, "sh"], "fails": True}
    said = study.run("--until", "define_regions", **readonly)
    assert "results/s cannot be written or read: this file system is read-only" in said
    assert "Traceback" not in said
    again = ("--until", "write_manifest", "--forcerun", "write_manifest")
    said = study.run(*again, **readonly)
    assert "Write-protected output files" in said
    assert "results/s/manifest.tsv" in said
    assert study.content() == before
