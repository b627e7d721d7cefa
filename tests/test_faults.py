"""What may break a run: nothing is lost, nothing wrong, nothing half-written."""

import errno
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from handhold import errors, io
from handhold.errors import StudyError
from handhold.images import Grid, read_volume, write_image
from handhold.written import Written, made_by, require_past, tell_changed

AFFINE = np.array([[8.0, 0, 0, -76], [0, 8, 0, -108], [0, 0, 8, -76], [0, 0, 0, 1]])
GRID = Grid(AFFINE, (20, 24, 21))
AGAIN = "The same command makes it again."


# --- The record of what was written ------------------------------------------------------


@pytest.fixture
def results(tmp_path):
    """Three files and a folder of results, all of them recorded."""
    folder = tmp_path / "results" / "s"
    for name in ("a.tsv", "b.npz", "c.json", "group/one.nii.gz"):
        io.write_text(f"the content of {name}\n", folder / name)
    io.write_text("", folder / "group" / ".snakemake_timestamp")
    outputs = [folder / name for name in ("a.tsv", "b.npz", "c.json", "group")]
    Written(folder).add(map(str, outputs))
    return folder


def changes(folder, **options):
    found = Written(folder).look(**options)
    return {str(Path(path).relative_to(folder)): how for path, how in found.items()}


def alter(path, *, keep_time):
    """Flip one bit of a file."""
    found = path.stat()
    content = bytearray(path.read_bytes())
    content[3] ^= 4
    path.write_bytes(content)
    if keep_time:
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    else:
        os.utime(path, ns=(0, found.st_mtime_ns - 10**9))


def test_what_is_as_it_was_written_is_trusted(results):
    assert changes(results) == {}
    assert changes(results, verify=True) == {}
    assert Written(results.with_name("no record")).look() == {}


def test_each_kind_of_change_is_told(results):
    os.truncate(results / "a.tsv", 5)
    alter(results / "b.npz", keep_time=False)
    (results / "c.json").unlink()
    (results / "group" / "one.nii.gz").write_text("")
    assert changes(results) == {
        "a.tsv": "5 of 21 bytes",
        "b.npz": "other content",
        "c.json": "missing",
        "group/one.nii.gz": "0 of 32 bytes",
    }


def test_a_flipped_bit_that_kept_its_time_is_found_when_asked_for(results):
    alter(results / "b.npz", keep_time=True)
    assert changes(results) == {}
    assert changes(results, verify=True) == {"b.npz": "other content"}


def test_a_copy_with_new_times_is_the_same_and_hashed_once(results, monkeypatch):
    hashed = []
    monkeypatch.setattr(
        "handhold.written.checksum", lambda p: hashed.append(p) or io.checksum(p)
    )
    for path in results.rglob("*"):
        os.utime(path, (1, 1))
    written = Written(results)
    assert written.look() == {}
    assert len(hashed) == 4
    written.settle()
    assert changes(results) == {}
    assert len(hashed) == 4


@pytest.mark.parametrize(
    ("hours", "n_bytes", "found"),
    [
        (0, 5, False),
        (0, 6, True),  # another file of the same time
        (-2, 5, True),
        (1, 5, True),  # brought since, and made between input and result
        (1, 6, True),
        (9, 6, False),  # Snakemake's
    ],
)
def test_an_input_replaced_by_a_file_older_than_the_result_is_found(
    tmp_path, hours, n_bytes, found
):
    folder, given = tmp_path / "results", tmp_path / "image.nii"
    given.write_text("12345")
    os.utime(given, (1e9, 1e9))
    for name in ("a.tsv", "a.json", "b.tsv"):
        io.write_text(name, folder / name)
        os.utime(folder / name, (1e9 + 5 * 3600,) * 2)
    written = Written(folder)
    written.add([f"{folder}/a.tsv", f"{folder}/a.json"], [str(given)])
    written.add([f"{folder}/b.tsv"])
    given.write_text("54321x"[:n_bytes])
    os.utime(given, (1e9 + hours * 3600,) * 2)
    expected = {"a.tsv": f"{given} has been replaced"} if found else {}
    assert changes(folder) == expected
    written.settle()
    assert changes(folder) == expected
    # another result of it, made since, does not answer for the first
    written.add([f"{folder}/b.tsv"], [str(given)])
    assert changes(folder) == expected
    written.add([f"{folder}/a.tsv"], [str(given)])
    assert changes(folder) == {}
    # a link to a file of times in steps of two seconds
    found = given.stat()
    given.rename(tmp_path / "moved.nii")
    given.symlink_to(tmp_path / "moved.nii")
    os.utime(given, ns=(0, found.st_mtime_ns - 10**9))
    assert changes(folder) == {}
    given.unlink()
    assert changes(folder) == {}


def test_what_a_folder_no_longer_holds_is_not_missed(results):
    (results / "group" / "one.nii.gz").unlink()
    assert changes(results) == {"group/one.nii.gz": "missing"}
    io.write_text("another contrast", results / "group" / "two.nii.gz")
    Written(results).add([str(results / "group")])
    assert changes(results) == {}
    Written(results).settle()
    (results / "group" / "two.nii.gz").unlink()
    assert changes(results) == {"group/two.nii.gz": "missing"}


def test_an_input_that_a_job_no_longer_reads_is_not_looked_at(results):
    image = results.parents[1] / "image.nii"
    image.write_text("12345")
    Written(results).add([str(results / "group")], [str(image)])
    image.write_text("another")
    os.utime(image, (1, 1))
    replaced = {"group/one.nii.gz": f"{image} has been replaced"}
    assert changes(results) == replaced
    Written(results).settle()
    assert changes(results) == replaced
    # its person has been excluded
    Written(results).add([str(results / "group")])
    assert changes(results) == {}
    Written(results).settle()
    assert changes(results) == {}


def test_times_to_come_are_mended_in_results_and_refused_in_inputs(results):
    ahead = time.time() + 86400
    for path in results.rglob("*"):
        os.utime(path, (ahead, ahead))
    with pytest.raises(
        StudyError, match=r"1 of the files .+ time to come \(.+a\.tsv: 2"
    ):
        require_past([str(results / "a.tsv"), str(results / "not there")])
    written = Written(results)
    assert written.look() == {}
    written.settle()
    require_past([str(results / name) for name in ("a.tsv", "group/one.nii.gz")])
    assert changes(results) == {}


def test_looking_writes_nothing(results):
    before = (results / io.RECORD).read_bytes()
    os.utime(results / "a.tsv", (1, 1))
    os.truncate(results / "b.npz", 3)
    Written(results).look(verify=True)
    assert (results / io.RECORD).read_bytes() == before


def test_the_last_entry_of_a_file_counts_and_a_half_line_does_not(results):
    record = results / io.RECORD
    (results / "a.tsv").write_text("made again\n")
    assert changes(results) == {"a.tsv": "11 of 21 bytes"}
    Written(results).add([str(results / "a.tsv")])
    assert changes(results) == {}
    os.truncate(record, record.stat().st_size - 2)
    # what is known of it is the line before
    assert changes(results) == {"a.tsv": "11 of 21 bytes"}
    with record.open("ab") as file:
        file.write(b"\xff\x00\tno\tline\n\n")
    Written(results).settle()
    first, *lines = record.read_text().splitlines()
    assert first.startswith("path\tbytes")
    assert len(lines) == 4
    Written(results).add([str(results / "a.tsv")])
    assert changes(results) == {}


def test_a_disk_that_refuses_the_record_ends_no_run(results):
    record = results / io.RECORD
    record.unlink()
    record.mkdir()
    written = Written(results)
    assert written.look() == {}
    written.add([str(results / "a.tsv")])
    written.settle()


def test_a_name_that_is_no_text_ends_no_run(results):
    given = os.fsdecode(os.fsencode(results / "given") + b"\xff.nii")
    Path(given).write_text("")
    Written(results).add([str(results / "a.tsv")], [given])
    assert changes(results) == {}


def test_what_killed_jobs_left_is_swept_and_nothing_else(results):
    for name in (".123-a.tsv", "group/.7-one.nii.gz"):
        (results / name).write_text("half")
    (results / ".bidsignore").write_text("")
    before = {path for path in results.rglob("*") if path.is_file()}
    Written(results).sweep()
    left = {path for path in results.rglob("*") if path.is_file()}
    assert {path.name for path in before - left} == {".123-a.tsv", ".7-one.nii.gz"}
    with io.replacing(results / "a.tsv") as temporary:
        assert io.TEMPORARY.match(temporary.name)
        temporary.write_text("")


def test_files_are_named_only_where_a_job_makes_them():
    changed = {f"out/{name}": "missing" for name in ("a", "group/b", "gone")}
    assert made_by(["out/group/b"]) == {"out/group/b", "out/group", "out", "."}
    said = tell_changed(changed, ["out/a", "out/group"])
    assert "2 results are" in said
    assert "out/a (missing), out/group/b (missing)." in said
    assert tell_changed(changed, ["out/other"]) == ""
    many = {f"out/{n}": "missing" for n in range(1200)}
    assert "and 1,195 more." in tell_changed(many, many)
    told = tell_changed(changed, ["out/a"], verified=True)
    assert told == (
        "handhold: 1 result is not as it was written, and is made again: out/a (missing); but for "
        "2 that this run does not make: out/gone (missing), out/group/b (missing).\n"
    )
    told = tell_changed({"out/gone": "missing"}, ["out/a"], verified=True)
    assert told.startswith("handhold: the results are as they were written; but for 1")
    told = tell_changed({}, ["out/a"], verified=True)
    assert told == "handhold: the results are as they were written.\n"


# --- A damaged file is one sentence, and made again ---------------------------------------


def recorded(path):
    """Record a file as the results of a study."""
    Written(path.parents[1]).add([str(path)])
    return path


def flips(path, n, first=0):
    """Yield `n` copies of a file's content with one bit flipped, spread over the file."""
    content = path.read_bytes()
    for place in np.linspace(first, len(content) - 1, n).astype(int):
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        yield int(place), bytes(damaged)


def test_a_flipped_bit_in_an_image_is_no_other_number(tmp_path, rng):
    path = tmp_path / "s" / "effects" / "image.nii.gz"
    values = rng.standard_normal(GRID.shape)
    write_image(path, values, GRID)
    recorded(path)
    truth = read_volume(path, None, "sub-01").values
    refused = 0
    for place, damaged in flips(path, 150):
        path.write_bytes(damaged)
        try:
            found = read_volume(path, None, "sub-01").values
        except StudyError as error:
            refused += f"{path} cannot be read: it is truncated" in str(error)
        else:  # a flag or the time in the head of the gzip file
            assert place < 10
            assert np.array_equal(found, truth)
    assert refused >= 149


def test_an_image_that_was_cut_short_is_made_again(tmp_path, rng):
    path = tmp_path / "s" / "effects" / "image.nii.gz"
    write_image(path, rng.standard_normal(GRID.shape), GRID)
    recorded(path)
    for cut in (1, 4, 8, 1000):
        os.truncate(path, path.stat().st_size - cut)
        with pytest.raises(StudyError, match="truncated or corrupt") as caught:
            read_volume(path, None, "sub-01")
        assert AGAIN in str(caught.value)
    # a file of the user's
    other = tmp_path / "image.nii.gz"
    other.write_bytes(path.read_bytes())
    with pytest.raises(StudyError, match="Copy it again from its source"):
        read_volume(other, None, "sub-01")


def test_a_flipped_bit_in_arrays_is_no_other_number(tmp_path, rng):
    path = tmp_path / "s" / "regions" / "rois.npz"
    arrays = {"r": rng.standard_normal(300), "names": np.array(["insula", "vACC"])}
    io.write_arrays(arrays, path)
    recorded(path)
    with zipfile.ZipFile(path) as file:
        share = sum(i.file_size for i in file.infolist()) / path.stat().st_size
    refused = 0
    for place, damaged in flips(path, 1000):
        path.write_bytes(damaged)
        try:
            found = io.read_arrays(path)
        except StudyError as error:
            refused += str(error).startswith(f"{path} is damaged") and AGAIN in str(
                error
            )
        else:  # a time or a flag in the directory of the archive
            for name in set(found) & set(arrays):
                assert np.array_equal(found[name], arrays[name]), place
    assert refused >= 1000 * share


TABLE = pd.DataFrame(
    {
        "subject": ["01", "02", "03"],
        "effect": [0.125, -2.5, np.nan],
        "used": [True, False, True],
    }
)


@pytest.mark.parametrize("read", [io.read_results, io.read_text])
def test_a_table_that_was_cut_short_is_no_shorter_table(tmp_path, read):
    path = tmp_path / "s" / "tests" / "t.tsv"
    io.write_results(TABLE, path)
    recorded(path)
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        if content[:size].endswith(b"\n"):
            # whole rows: what the next start sees, by the size
            assert "bytes" in Written(tmp_path / "s").look()[str(path)]
            continue
        with pytest.raises(StudyError, match="is damaged") as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert AGAIN in str(caught.value)


def test_a_damaged_file_gets_a_time_that_the_next_start_looks_into(tmp_path):
    path = tmp_path / "s" / "tests" / "t.tsv"
    io.write_results(TABLE, path)
    recorded(path)
    alter(path, keep_time=True)
    found = path.stat()
    path.write_bytes(path.read_bytes()[:-3] + b"\t\t\t")
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert Written(tmp_path / "s").look() == {}
    with pytest.raises(StudyError, match=AGAIN):
        io.read_results(path)
    assert Written(tmp_path / "s").look() == {str(path): "other content"}


def test_a_damaged_file_without_a_record_is_to_be_deleted(tmp_path):
    path = tmp_path / "t.json"
    path.write_text('{"a": ')
    with pytest.raises(StudyError, match="copy it again from its source"):
        io.read_json(path)
    (tmp_path / "t.npz").write_bytes(b"PK")
    with pytest.raises(StudyError, match="Delete it, and the same command"):
        io.read_arrays(tmp_path / "t.npz")


# --- What a disk refuses -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permissions"),
        (errno.EFBIG, "ulimit"),
    ],
)
def test_what_a_disk_refuses_is_one_sentence(tmp_path, number, said, monkeypatch):
    path = tmp_path / "t.tsv"
    path.write_text("before")

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(pd.DataFrame, "to_csv", refuse)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        io.write_results(TABLE, path)
    plain = errors.in_words(caught.value)
    assert plain.startswith(f"{path} cannot be written")
    assert said in plain
    assert "\n" not in plain
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    # a fault of the program keeps its traceback
    assert errors.in_words(OSError(errno.EINVAL, "Invalid")) == ""


# --- A job does not outlive its Snakemake --------------------------------------------------

JOB = """
import os, subprocess, sys
from handhold.errors import speak_plainly
speak_plainly(sys.argv[1])
child = subprocess.Popen(["sleep", "60"])
print(os.getpid(), child.pid, flush=True)
child.wait()
"""
# As Snakemake does it: a shell between itself and the job.
PARENT = """
import os, subprocess, sys
os.environ["HANDHOLD_RUN"] = str(os.getpid() if sys.argv[1] == "own" else 1)
subprocess.run(["bash", "-c", "set -e; " + sys.argv[2] + "; true"])
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")
@pytest.mark.parametrize("run", ["own", "init"])
def test_a_job_ends_when_its_snakemake_is_killed(tmp_path, run):
    (tmp_path / "job.py").write_text(JOB)
    job = f"{sys.executable} '{tmp_path}/job.py' '{tmp_path}/log.txt'"
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, run, job], stdout=subprocess.PIPE, text=True
    )
    processes = parent.stdout.readline().split()
    parent.kill()
    parent.wait()
    # the pipe is closed by the last who has it: the job, or what it has started
    if run == "own":
        assert parent.communicate(timeout=10)[0] == ""
    else:  # an ancestor that is still there
        with pytest.raises(subprocess.TimeoutExpired):
            parent.communicate(timeout=3)
        for process in processes:
            os.kill(int(process), signal.SIGKILL)
        parent.communicate()
