"""Public files against real servers on loopback: whole and verified, or a sentence and nothing."""

import dataclasses
import gzip
import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import servers
from isal import igzip
from servers import after, breaking, dripping, files_below, status, whole

from handhold import atlases, fetch, images, transfer
from handhold.errors import StudyError
from handhold.fetch import Item, fetch_file
from handhold.transfer import Manner

ROOT = Path(__file__).parents[1]
# Faults of a test pass within a fraction of a second.
QUICK = Manner(retries=2, backoff_s=0.01, timeout_s=5, command="snakemake fetch ME")
BODY = np.random.default_rng(1).bytes(300_000)


@pytest.fixture
def server():
    started = servers.Server()
    yield started
    started.stop()


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def internet(monkeypatch):
    """Have a local server stand for every host; its routes begin with the host's name."""
    from requests.adapters import HTTPAdapter

    plain = transfer._session

    def stand_in(server):
        class Wires(HTTPAdapter):
            def send(self, request, **options):
                request.url = server.url(request.url.replace("https:/", ""))
                return super().send(request, **options)

        def session():
            made = plain()
            made.mount("https://", Wires())
            return made

        monkeypatch.setattr(transfer, "_session", session)

    return stand_in


def sha(body):
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def item(server, body=BODY, name="map.bin", path="/map", **changes):
    return Item(name, server.url(path), **{"checksum": sha(body), **changes})


def refusal(*arguments, **options):
    with pytest.raises(StudyError) as caught:
        fetch_file(*arguments, **{"manner": QUICK, **options})
    return str(caught.value)


def image():
    noise = np.random.default_rng(2).normal(size=(10, 10, 10)).astype("f4")
    return nib.Nifti1Image(noise, np.eye(4)).to_bytes()


# --- A file as it should be -------------------------------------------------------------------


def test_a_file_comes_whole_once(server, cache):
    server.routes["/map"] = whole(BODY)
    path = fetch_file(item(server), cache, manner=QUICK)
    assert path.name == "map.bin"
    assert path.read_bytes() == BODY
    assert fetch_file(item(server), cache, manner=QUICK) == path
    assert server.count("/map") == 1
    assert len(files_below(cache)) == 2  # and the record
    assert "offline" not in refusal(item(server, b"other"), cache)


def test_without_a_checksum_the_size_and_the_record_tell(server, cache):
    server.routes["/map"] = whole(BODY)
    bare = item(server, checksum=None)
    path = fetch_file(bare, cache, manner=QUICK)
    assert fetch_file(bare, cache, manner=QUICK) == path
    assert server.count("/map") == 1


def test_an_empty_file_is_a_file(server, cache):
    server.routes["/map"] = whole(b"")
    assert fetch_file(item(server, b""), cache, manner=QUICK).read_bytes() == b""


def test_offline_asks_nobody_and_names_the_command(server, cache):
    offline = Manner(offline=True, command="snakemake fetch --configfile x.yaml")
    text = refusal(item(server), cache, manner=offline)
    assert text.endswith(": snakemake fetch --configfile x.yaml")
    assert "fetch.offline forbids the network" in text
    assert server.requests == []
    server.routes["/map"] = whole(BODY)
    path = fetch_file(item(server), cache, manner=QUICK)
    assert fetch_file(item(server), cache, manner=offline) == path


def test_a_size_that_is_not_registered_is_told_before_it_comes(server, cache, capsys):
    server.routes["/map"] = whole(BODY)
    fetch_file(item(server), cache, manner=QUICK)
    first, last = capsys.readouterr().err.splitlines()
    assert first == "fetch: map.bin: 300.0 kB"
    assert last.startswith("fetch: map.bin: 300.0 kB of 300.0 kB (100%), ")


def test_progress_tells_bytes_and_rate(server, cache, capsys, monkeypatch):
    monkeypatch.setattr(transfer, "REPORT_EVERY_S", 0)
    server.routes["/map"] = whole(BODY)
    fetch_file(item(server, n_bytes=len(BODY)), cache, manner=QUICK)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("fetch: map.bin: 300.0 kB of 300.0 kB (100%), ")
    assert lines[-1].endswith("B/s")
    assert len(lines) > 2


# --- Connections that break -------------------------------------------------------------------


@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_broken_connection_is_gone_on_from(server, cache, how):
    server.routes["/map"] = breaking(BODY, at=100_000, how=how)
    assert fetch_file(item(server), cache, manner=QUICK).read_bytes() == BODY
    assert len(files_below(cache)) == 2
    (_, first), (_, second) = server.requests
    assert "Range" not in first
    assert second["If-Range"] == '"v1"'
    begun = int(second["Range"].removeprefix("bytes=").removesuffix("-"))
    # a reset may take with it what was on the way
    assert 0 < begun <= 100_000
    assert how == "reset" or begun == 100_000


def test_a_body_that_is_always_too_short_is_never_taken_for_the_file(server, cache):
    server.routes["/map"] = breaking(BODY, 100_000, "close", times=99, ranges=False)
    text = refusal(item(server), cache)
    assert server.count("/map") == QUICK.retries + 1
    assert "100000 bytes read, 200000 more expected" in text
    assert "in 3 tries" in text
    assert not list(cache.glob("files/*/map.bin"))
    # what came is under another name, and said to be kept
    assert "The 100.0 kB that came are kept." in text
    assert all(name.startswith("partial/") for name in files_below(cache))


def test_a_try_that_brings_much_does_not_count(server, cache, monkeypatch):
    monkeypatch.setattr(transfer, "PROGRESS", 50_000)
    server.routes["/map"] = breaking(BODY, 60_000, "close", times=4)
    assert fetch_file(item(server), cache, manner=QUICK).read_bytes() == BODY
    assert server.count("/map") == 5 > QUICK.retries + 1


def test_a_drip_is_given_up(server, cache):
    server.routes["/map"] = dripping(BODY, pause=0.05)
    begun = time.monotonic()
    slow = Manner(retries=1, backoff_s=0.01, timeout_s=0.4)
    text = refusal(item(server), cache, manner=slow)
    assert "bytes came in 0 s" in text
    assert server.count("/map") == 2
    assert time.monotonic() - begun < 4


def test_a_server_that_says_nothing_is_given_up(server, cache):
    server.routes["/map"] = lambda reply, n: time.sleep(1)
    silent = Manner(retries=0, timeout_s=0.3)
    assert "no answer: timed out" in refusal(item(server), cache, manner=silent)


def test_nobody_there_is_said_with_the_command(server, cache):
    server.stop()
    text = refusal(item(server), cache)
    assert "Connection refused" in text
    assert text.endswith("snakemake fetch ME")
    server.stop = lambda: None


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_what_passes_is_tried_again(server, cache, code):
    server.routes["/map"] = after(2, status(code), whole(BODY))
    assert fetch_file(item(server), cache, manner=QUICK).read_bytes() == BODY
    assert server.count("/map") == 3


def test_what_does_not_pass_is_given_up_in_the_end(server, cache):
    server.routes["/map"] = status(503)
    assert "status 503" in refusal(item(server), cache)
    assert server.count("/map") == 3
    assert files_below(cache) == []


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 451])
def test_what_stays_is_not_tried_again(server, cache, code):
    server.routes["/map"] = status(code)
    assert f"(status {code})" in refusal(item(server), cache)
    assert server.count("/map") == 1
    assert files_below(cache) == []


def test_too_many_requests_are_waited_for_as_long_as_the_server_says(server, cache):
    wait = status(429, Retry_After="1")
    server.routes["/map"] = after(1, wait, whole(BODY))
    begun = time.monotonic()
    fetch_file(item(server), cache, manner=QUICK)
    assert 1 <= time.monotonic() - begun < 3
    server.routes["/b"] = status(429, Retry_After="86400")
    text = refusal(item(server, path="/b", checksum=None), cache)
    assert "asks to wait 86400 s" in text
    assert server.count("/b") == 1


def test_a_date_to_retry_after_is_seconds_from_now():
    then = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 30))
    assert 28 < transfer._seconds(then) < 31
    assert transfer._seconds("soon") == transfer._seconds(None) == 0


# --- Going on from an earlier process ---------------------------------------------------------

CHILD = """
import sys
from pathlib import Path
from handhold.fetch import Item, fetch_file
from handhold.transfer import Manner
name, url, checksum, cache = sys.argv[1:]
fetch_file(Item(name, url, checksum), Path(cache), manner=Manner())
"""


def child(asked, cache):
    """Fetch in a process of its own."""
    arguments = [asked.name, asked.url, asked.checksum, str(cache)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow")}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = [sys.executable, "-c", CHILD, *arguments]
    return subprocess.Popen(command, env=environment, **quiet)


def wait_for(condition, seconds=20):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_a_killed_fetch_leaves_nothing_that_looks_whole_and_is_gone_on_from(
    server, cache
):
    server.routes["/map"] = dripping(BODY, pause=0.2, start=150_000)
    killed = child(item(server), cache)
    parts = cache / "partial"
    wait_for(lambda: any(p.stat().st_size >= 150_000 for p in parts.glob("*.bin")))
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not list(cache.glob("files/*/*"))
    server.routes["/map"] = whole(BODY)
    # the lock of the killed process is free
    assert fetch_file(item(server), cache, manner=QUICK).read_bytes() == BODY
    begun = int(
        server.requests[-1][1]["Range"].removeprefix("bytes=").removesuffix("-")
    )
    assert begun >= 150_000
    assert not list(parts.iterdir())


def leave_part(server, cache, asked, etag='"v1"'):
    """Leave half of a file, as a fetch that broke off does."""
    server.routes["/map"] = breaking(BODY, 150_000, "close", times=99, etag=etag)
    refusal(asked, cache, manner=Manner(retries=0))
    server.requests.clear()
    (part,) = cache.glob("partial/*.bin")
    assert part.stat().st_size == 150_000
    return part


NEW = BODY[::-1]


@pytest.mark.parametrize("honest", [True, False])
def test_a_file_that_has_changed_is_not_spliced(server, cache, honest):
    asked = item(server, checksum=None)
    leave_part(server, cache, asked)
    changed = whole(NEW, etag='"v2"')

    def splice(reply, n):  # a server that minds Range, but not If-Range
        if "Range" not in reply.headers:
            changed(reply, n)
            return
        span = f"bytes 150000-299999/{len(NEW)}"
        reply.begin(206, 150_000, ETag='"v2"', Content_Range=span)
        reply.wfile.write(NEW[150_000:])

    server.routes["/map"] = changed if honest else splice
    assert fetch_file(asked, cache, manner=QUICK).read_bytes() == NEW
    assert server.requests[0][1]["If-Range"] == '"v1"'


@pytest.mark.parametrize("etag", [None, 'W/"v1"'])
def test_without_a_name_for_the_version_it_begins_anew(server, cache, etag):
    leave_part(server, cache, item(server), etag=etag)
    server.routes["/map"] = whole(BODY, etag=etag)
    assert fetch_file(item(server), cache, manner=QUICK).read_bytes() == BODY
    assert "Range" not in server.requests[0][1]


def test_a_server_that_ignores_range_sends_it_all(server, cache):
    leave_part(server, cache, item(server))
    server.routes["/map"] = whole(BODY, ranges=False)
    assert fetch_file(item(server), cache, manner=QUICK).read_bytes() == BODY
    assert "Range" in server.requests[0][1]


@pytest.mark.parametrize(
    "span", ["bytes 0-299999/300000", "bytes 150000-299999/400000", "", "lines 1-2/3"]
)
def test_a_range_that_was_not_asked_for_is_not_taken(server, cache, span):
    asked = item(server, checksum=None)  # which would tell
    leave_part(server, cache, asked)

    def other(reply, n):
        if "Range" in reply.headers:
            reply.begin(206, 150_000, ETag='"v1"', Content_Range=span)
            reply.wfile.write(BODY[:150_000])
        else:
            whole(BODY)(reply, n)

    server.routes["/map"] = other
    assert fetch_file(asked, cache, manner=QUICK).read_bytes() == BODY


def test_a_range_that_cannot_be_given_begins_anew(server, cache):
    leave_part(server, cache, item(server))
    server.routes["/map"] = after(1, status(416), whole(BODY))
    assert fetch_file(item(server), cache, manner=QUICK).read_bytes() == BODY


def test_a_part_that_was_spoilt_is_fetched_anew(server, cache):
    part = leave_part(server, cache, item(server))
    part.write_bytes(bytes(150_000))
    server.routes["/map"] = whole(BODY)
    assert fetch_file(item(server), cache, manner=QUICK).read_bytes() == BODY
    assert ["Range" in headers for _, headers in server.requests] == [True, False]


def test_a_part_that_is_complete_needs_no_request(server, cache):
    part = leave_part(server, cache, item(server))
    part.write_bytes(BODY)
    assert fetch_file(item(server), cache, manner=QUICK).read_bytes() == BODY
    assert server.requests == []


# --- Ten at once ------------------------------------------------------------------------------

TEN = """
import os, sys
from pathlib import Path
import filelock, requests
from handhold.fetch import Item, fetch_file
from handhold.transfer import Manner
name, url, checksum, cache = sys.argv[1:]
children = []
for _ in range(10):
    child = os.fork()
    if child == 0:
        path = fetch_file(Item(name, url, checksum), Path(cache), manner=Manner())
        os._exit(path.stat().st_size != 300_000)
    children.append(child)
sys.exit(sum(os.waitpid(child, 0)[1] != 0 for child in children))
"""


def test_ten_processes_fetch_one_file_once(server, cache):
    def slow(reply, n):
        time.sleep(0.5)
        whole(BODY)(reply, n)

    server.routes["/map"] = slow
    asked = item(server)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow")}
    arguments = [asked.name, asked.url, asked.checksum, str(cache)]
    done = subprocess.run(
        [sys.executable, "-c", TEN, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert server.count("/map") == 1
    assert len(files_below(cache)) == 2


# --- What is not the file ---------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_a_wrong_checksum_leaves_nothing(server, cache, algorithm):
    server.routes["/map"] = whole(BODY)
    right = hashlib.new(algorithm, BODY).hexdigest()
    wrong = f"{algorithm}:{'0' * len(right)}"
    text = refusal(item(server, checksum=wrong), cache)
    assert f"{algorithm} is {right}, not {'0' * len(right)}" in text
    assert files_below(cache) == []
    assert server.count("/map") == 1
    fetch_file(
        item(server, checksum=f"{algorithm}:{right.upper()}"), cache, manner=QUICK
    )


def test_a_size_other_than_registered_is_refused_before_it_comes(server, cache):
    server.routes["/map"] = whole(BODY)
    text = refusal(item(server, n_bytes=299_999), cache)
    assert "is 300000 bytes at the server and 299999 in the registry" in text
    assert files_below(cache) == []


def test_a_file_that_comes_packed_is_refused_unless_it_is_packed_itself(server, cache):
    packed = gzip.compress(BODY)
    server.routes["/map"] = whole(packed, Content_Encoding="gzip")
    asked = item(server, checksum=None)
    assert "comes packed (gzip)" in refusal(asked, cache)
    # some servers call the format of a .gz file its encoding
    server.routes["/map.gz"] = whole(packed, Content_Encoding="x-gzip")
    asked = item(server, packed, "map.gz", "/map.gz")
    assert fetch_file(asked, cache, manner=QUICK).read_bytes() == packed
    assert {headers["Accept-Encoding"] for _, headers in server.requests} == {
        "identity"
    }


PAGE = b"\xef\xbb\xbf\n<!-- portal -->\n<!DOCTYPE html><title>\nPlease  log in</title><p>hello"


@pytest.mark.parametrize("name", ["map.nii.gz", "map.nii", "participants.tsv", "a.zip"])
@pytest.mark.parametrize("page", [PAGE, b"<HTML><HEAD>", b"<html lang='en'>"])
def test_a_login_page_is_not_taken_for_a_file(server, cache, name, page):
    server.routes["/map"] = whole(page, Content_Type="text/html")
    text = refusal(item(server, name=name, checksum=None), cache)
    assert (
        f"gave a web page ({'Please log in' if page is PAGE else 'no title'!r})" in text
        or ("no title" in text and page is not PAGE)
    )
    assert files_below(cache) == []


def test_a_page_that_should_be_a_page_is_one(server, cache):
    server.routes["/map"] = whole(PAGE)
    fetch_file(item(server, PAGE, name="citation.html"), cache, manner=QUICK)


def bomb(n):
    """A gzip file of a small image, and of n megabytes of zeros behind it."""
    return gzip.compress(image()) + gzip.compress(bytes(1_000_000)) * n


IMAGES = {
    "cut off": (gzip.compress(image())[:-20], "truncated or corrupt"),
    "cut off before compression": (gzip.compress(image()[:-200]), "cut off or corrupt"),
    "cut off, not compressed": (image()[:-8], "header says 4352"),
    "wrong CRC": (gzip.compress(image())[:-8] + bytes(8), "truncated or corrupt"),
    "no gzip": (image(), "cannot be read"),
    "no image": (gzip.compress(b"no image" * 99), "cannot be read"),
    "empty": (b"", "cannot be read"),
    "bomb": (bomb(300), "holds more than 8448 bytes once unpacked"),
}


@pytest.mark.parametrize("fault", IMAGES)
def test_an_image_that_is_not_whole_leaves_nothing(server, cache, fault):
    body, text = IMAGES[fault]
    name = "map.nii" if fault == "cut off, not compressed" else "map.nii.gz"
    server.routes["/map"] = whole(body)
    assert text in refusal(item(server, body, name=name), cache)
    assert files_below(cache) == []


def test_a_bomb_is_not_unpacked(server, cache, monkeypatch):
    n_read = 0

    class Counting(igzip.IGzipFile):
        def read(self, size):
            nonlocal n_read
            chunk = super().read(size)
            n_read += len(chunk)
            return chunk

    monkeypatch.setattr(images.igzip, "open", Counting)
    body, _ = IMAGES["bomb"]
    server.routes["/map"] = whole(body)
    refusal(item(server, body, name="map.nii.gz"), cache)
    assert 4352 < n_read < 3_000_000 < 300_000_000


def test_a_header_that_claims_the_impossible_is_refused_unread(server, cache):
    header = nib.Nifti1Header()
    header.set_data_shape((30_000, 30_000, 30_000))
    body = gzip.compress(header.structarr.tobytes() + bytes(10_000))
    server.routes["/map"] = whole(body)
    text = refusal(item(server, body, name="map.nii.gz"), cache)
    assert "says 108000000000000 bytes (shape (30000, 30000, 30000))" in text


@pytest.mark.parametrize("padding", [0, 100])
@pytest.mark.parametrize("name", ["map.nii", "map.nii.gz"])
def test_a_whole_image_is_taken(server, cache, name, padding):
    body = image() + bytes(padding)
    body = gzip.compress(body) if name.endswith("gz") else body
    server.routes["/map"] = whole(body)
    path = fetch_file(item(server, body, name=name), cache, manner=QUICK)
    assert nib.load(path).shape == (10, 10, 10)


@pytest.mark.parametrize("name", ["a.zip", "a.tgz"])
def test_an_archive_that_is_none_is_refused(server, cache, name):
    server.routes["/map"] = whole(BODY)
    assert "gave no whole archive" in refusal(item(server, name=name), cache)


def archive(kind, *members):
    """An archive with an honest file, and members with the names given."""
    made = io.BytesIO()
    names = ["in/map.nii", *members]
    if kind == "zip":
        with zipfile.ZipFile(made, "w") as opened:
            for name in names:
                opened.writestr(name, image())
    else:
        with tarfile.open(fileobj=made, mode="w:gz") as opened:
            for name in names:
                entry = tarfile.TarInfo(name)
                entry.size = len(image())
                opened.addfile(entry, io.BytesIO(image()))
    return made.getvalue()


@pytest.mark.parametrize("kind", ["zip", "tgz"])
def test_one_member_of_an_archive_is_a_file(server, cache, kind):
    server.routes[f"/a.{kind}"] = whole(archive(kind, "../../evil", "/evil"))
    asked = item(server, image(), "map.nii", path=f"/a.{kind}#in/map.nii")
    path = fetch_file(asked, cache, manner=QUICK)
    assert path.read_bytes() == image()
    # both with their records, and nothing from the other members
    names = {name.rpartition("/")[2] for name in files_below(cache.parent)}
    assert names == {f"a.{kind}", "map.nii", "record.json"}
    before = files_below(cache)
    absent = item(server, name="x.nii", path=f"/a.{kind}#map.nii", checksum=None)
    assert "holds 0 files 'map.nii' among 3" in refusal(absent, cache)
    path = f"/a.{kind}#in/map.nii"
    short = item(server, image(), "y.nii", path, checksum=None, n_bytes=9)
    assert "unpacks to more" in refusal(short, cache)
    assert files_below(cache) == before
    assert server.count(f"/a.{kind}") == 1


def test_the_harvard_oxford_atlas_is_what_nilearn_brings(server, cache, monkeypatch):
    """Out of an archive as nilearn unpacks it, but only the two files, and whole."""
    from nilearn.datasets import atlas

    rng = np.random.default_rng(3)
    values = rng.integers(0, 99, (4, 5, 6, 2)).astype("u1")
    folder = "./data/atlases"
    files = {
        f"{folder}/HarvardOxford/HarvardOxford-cortl-prob-2mm.nii.gz": gzip.compress(
            nib.Nifti1Image(values, np.diag([2, 2, 2, 1])).to_bytes()
        ),
        f"{folder}/HarvardOxford-Cortical-Lateralized.xml": b"<atlas><data>"
        b'<label index="0">Left Frontal Pole</label>'
        b'<label index="1">Right Frontal Pole</label></data></atlas>',
        f"{folder}/other.xml": b"<atlas/>",
    }
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as opened:
        for name, body in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            opened.addfile(entry, io.BytesIO(body))
    server.routes["/HarvardOxford.tgz"] = whole(made.getvalue())
    fetch_files, address = atlas.fetch_files, server.url("/HarvardOxford.tgz")
    monkeypatch.setattr(
        atlas,
        "fetch_files",
        lambda folder, files, **options: fetch_files(
            folder, [(file, address, how) for file, _, how in files], **options
        ),
    )
    theirs = atlas.fetch_atlas_harvard_oxford(
        "cortl-prob-2mm", data_dir=cache.parent / "nilearn", verbose=0
    )
    registry = pd.read_csv(ROOT / "atlases/atlases.tsv", sep="\t", index_col="name")
    row = registry.loc["harvard_oxford_cortical"]
    ours = [
        fetch_file(
            Item(Path(row[file]).name, f"{address}#{row[url].partition('#')[2]}"),
            cache,
            manner=QUICK,
        )
        for file, url in (("image", "url"), ("labels", "labels_url"))
    ]
    assert ours[0].read_bytes() == Path(theirs.filename).read_bytes()
    known = atlases.read_atlases(ROOT / "atlases/atlases.tsv", "")
    read = dataclasses.replace(known["harvard_oxford_cortical"], labels=ours[1])
    named = [name.replace("_", " ") for name in atlases.read_label_names(read).values()]
    assert named == theirs.labels[1:]  # without the background
    assert server.count("/HarvardOxford.tgz") == 2  # each once


def spoil(body, at):
    """Change one byte."""
    return body[:at] + bytes([body[at] ^ 16]) + body[at + 1 :]


@pytest.mark.parametrize("kind", ["zip", "tgz"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda body: body[: len(body) // 2],
        lambda body: spoil(body, len(body) // 2),
        lambda body: spoil(body, 3000),
    ],
)
def test_an_archive_that_is_not_whole_is_not_kept(server, cache, kind, damage):
    server.routes[f"/a.{kind}"] = whole(damage(archive(kind, "other.nii")))
    asked = item(server, name="map.nii", path=f"/a.{kind}#in/map.nii", checksum=None)
    assert "gave no whole archive" in refusal(asked, cache)
    assert files_below(cache) == []
    server.routes[f"/a.{kind}"] = whole(archive(kind, "other.nii"))
    assert fetch_file(asked, cache, manner=QUICK).read_bytes() == image()


# --- Where bytes may come from ----------------------------------------------------------------


def redirect(to):
    return status(302, Location=to)


def test_a_redirect_to_an_allowed_host_is_followed(server, cache):
    server.routes["/map"] = redirect(server.url("/there", "localhost"))
    server.routes["/there"] = redirect("relative")
    server.routes["/relative"] = whole(BODY)
    allowed = (f"localhost:{server.server_port}",)
    asked = item(server, allowed_hosts=allowed)
    assert fetch_file(asked, cache, manner=QUICK).read_bytes() == BODY


@pytest.mark.parametrize(
    "to",
    [
        "http://localhost:{port}/there",
        "//localhost:{port}/there",
        "http://127.0.0.1:{port}@localhost:{port}/there",
        "http://127.0.0.1:1/there",
        "https://127.0.0.1:{port}.example.org/there",
        "ftp://127.0.0.1:{port}/there",
        "file:///etc/hostname",
        "http://[::1/there",
    ],
)
def test_a_redirect_elsewhere_is_not_followed(server, cache, to):
    server.routes["/map"] = redirect(to.format(port=server.server_port))
    server.routes["/there"] = whole(BODY)
    assert " leads to " in refusal(item(server), cache)
    assert server.count("/there") == 0
    assert files_below(cache) == []


def test_nothing_leads_from_https_down_to_http():
    first = "https://example.org/map"
    allowed = transfer._allowed(transfer.Remote(first, ("cdn.example.org",)))
    for good in (first, "https://cdn.example.org/x", "https://EXAMPLE.org:443/x"):
        transfer._require_allowed(good, first, allowed)
    for bad in ("http://example.org/map", "https://example.org:8443/", "https://x.org"):
        with pytest.raises(StudyError, match="leads to"):
            transfer._require_allowed(bad, first, allowed)


OSF = "v1/resources/4mw3a/providers/osfstorage/6196ca9a1088a703e9bce6b5"


@pytest.mark.parametrize(
    "chain",
    [
        # as maintainers, and clients that follow them step by step, write them down
        (
            f"https://files.osf.io/{OSF}",
            "https://storage.googleapis.com/cos-osf-prod-files-us-east1/0?Expires=1",
        ),
        (
            "https://osf.io/w8zq2/download",
            "https://osf.io/download/w8zq2/",
            f"https://files.de-1.osf.io/{OSF}?action=download&direct&version=1",
            "https://storage.googleapis.com/cos-osf-prod-files-de-1/0?Expires=1",
        ),
        (
            "https://github.com/a/b/raw/main/x.nii",
            "https://media.githubusercontent.com/media/a/b/main/x.nii",
        ),
        (
            "https://ndownloader.figshare.com/files/5534024",
            "https://s3-eu-west-1.amazonaws.com/pfigshare-u-files/5534024/x.nii",
        ),
    ],
)
def test_an_archive_may_lead_to_its_own_store(chain):
    allowed = transfer._allowed(transfer.Remote(chain[0]))
    for step in chain:
        transfer._require_allowed(step, chain[0], allowed)
    other = transfer._allowed(transfer.Remote("https://example.org/x"))
    with pytest.raises(StudyError, match="leads to"):
        transfer._require_allowed(chain[-1], "https://example.org/x", other)


def test_a_proxy_of_the_environment_is_asked(server, cache, monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", server.url(""))
    address = "http://example.org/map"
    server.routes[address] = whole(BODY)  # a proxy is asked for whole addresses
    asked = Item("map.bin", address, checksum=sha(BODY))
    assert fetch_file(asked, cache, manner=QUICK).read_bytes() == BODY


def test_a_circle_of_redirects_ends(server, cache):
    server.routes["/map"] = redirect("/map")
    assert "redirects more than 5 times" in refusal(item(server), cache)
    assert server.count("/map") == 6


def test_a_redirect_to_nowhere_names_the_region(server, cache):
    server.routes["/map"] = status(301, x_amz_bucket_region="eu-west-1")
    assert "the bucket is in the region eu-west-1" in refusal(item(server), cache)


S3 = "https://s3.amazonaws.com/openneuro-derivatives/fmriprep/x"


@pytest.mark.parametrize("known_to", ["the bucket", "nobody"])
def test_a_bucket_is_followed_to_its_region(server, cache, internet, known_to):
    """As S3 answers where the address has the bucket in its path: 301, and no Location."""
    internet(server)
    here = "/s3.amazonaws.com/openneuro-derivatives/fmriprep/x"
    region = "us-west-2" if known_to == "the bucket" else "x.example.org/"
    server.routes[here] = status(301, x_amz_bucket_region=region)
    server.routes[here.replace("s3", "s3.us-west-2")] = whole(BODY)
    asked = Item("map.bin", S3, checksum=sha(BODY))
    if known_to == "nobody":
        assert "does not say where" in refusal(asked, cache)
        assert len(server.requests) == 1
    else:
        assert fetch_file(asked, cache, manner=QUICK).read_bytes() == BODY


@pytest.mark.parametrize("location", ["", "?own=1", None])
def test_a_listing_is_asked_for_whole_in_the_region(server, internet, location):
    internet(server)
    there = "s3.us-west-2.amazonaws.com/openneuro-derivatives"
    known = {"x_amz_bucket_region": "us-west-2"}
    if location is not None:
        known["Location"] = f"https://{there}{location}"
    asked = []

    def listing(reply, _):
        asked.append(reply.query)
        whole(b"<x/>")(reply, _)

    server.routes["/s3.amazonaws.com/openneuro-derivatives"] = status(301, **known)
    server.routes[f"/{there}"] = listing
    bucket = transfer.Remote("https://s3.amazonaws.com/openneuro-derivatives")
    assert transfer.read(bucket, QUICK, 99, prefix="a b/") == b"<x/>"
    assert asked == ["own=1" if location else "prefix=a+b%2F"]


@pytest.mark.parametrize(
    ("to", "safe"),
    [
        ("https://openneuro-derivatives.s3.us-west-2.amazonaws.com/fmriprep/x", True),
        ("https://openneuro-derivatives.s3-us-west-2.amazonaws.com/fmriprep/x", True),
        ("https://openneuro-derivatives.s3.amazonaws.com/fmriprep/x", True),
        ("https://s3.us-west-2.amazonaws.com/openneuro-derivatives/fmriprep/x", True),
        ("http://openneuro-derivatives.s3.us-west-2.amazonaws.com/x", False),
        ("https://other.s3.us-west-2.amazonaws.com/openneuro-derivatives/x", False),
        ("https://s3.us-west-2.amazonaws.com/other/openneuro-derivatives/x", False),
        ("https://openneuro-derivatives.s3.amazonaws.com.example.org/x", False),
        ("https://openneuro-derivatives.ec2.us-west-2.amazonaws.com/x", False),
        ("https://s3.us-west-2.amazonaws.com", False),
    ],
)
def test_a_bucket_has_several_addresses_and_leads_to_no_other_bucket(to, safe):
    allowed = transfer._allowed(transfer.Remote(S3))
    if safe:
        transfer._require_allowed(to, S3, allowed)
    else:
        with pytest.raises(StudyError, match="leads to"):
            transfer._require_allowed(to, S3, allowed)


def test_a_file_of_osf_comes_by_its_whole_chain(server, cache, internet):
    internet(server)
    chain = [
        "https://osf.io/w8zq2/download",
        f"https://files.ca-1.osf.io/{OSF}",
        "https://storage.googleapis.com/cos-osf-prod-files-ca-1/0",
    ]
    routes = [step.replace("https:/", "") for step in chain]
    for here, there in zip(routes, chain[1:], strict=False):
        server.routes[here] = redirect(there)
    server.routes[routes[-1]] = breaking(BODY, 100_000, "close")
    asked = Item("map.bin", chain[0], checksum=sha(BODY))
    assert fetch_file(asked, cache, manner=QUICK).read_bytes() == BODY
    # what was signed for the first try may be no good for the second
    assert [server.count(route) for route in routes] == [2, 2, 2]
    assert "Range" in server.requests[-1][1]


# --- Room -------------------------------------------------------------------------------------


def endless(reply, _):
    """Claim a petabyte."""
    reply.begin(200, 10**15)
    reply.wfile.write(BODY)


def test_more_than_allowed_is_refused_before_it_comes(server, cache):
    server.routes["/map"] = endless
    text = refusal(item(server), cache, manner=Manner(max_bytes=10**9))
    assert "is 1000000.0 GB, more than fetch.max_download_gb (1) allows" in text
    text = refusal(item(server), cache, manner=Manner(max_bytes=10**16))
    assert "has room for" in text
    assert files_below(cache) == []


def test_a_body_longer_than_it_should_be_is_cut(server, cache):
    def unmeasured(reply, _):
        reply.begin(200)
        reply.wfile.write(BODY)
        reply.close()

    server.routes["/map"] = unmeasured
    text = refusal(item(server, n_bytes=1000), cache)
    assert "sends more than the 1000 bytes" in text
    assert not list(cache.glob("files/*/*"))
    text = refusal(item(server, checksum=None), cache)
    assert "does not say how large the file is" in text
    # a checksum tells as well, and some servers never say
    assert fetch_file(item(server), cache, manner=QUICK).read_bytes() == BODY
    small = Manner(max_bytes=len(BODY) - 1)
    text = refusal(item(server, b"other"), cache, manner=small)
    assert "sends more than the 299999 bytes" in text
    other = item(server, b"another")
    assert "was changed at its source or on the way" in refusal(other, cache)
    shutil.rmtree(cache)
    exact = item(server, n_bytes=len(BODY))
    assert fetch_file(exact, cache, manner=QUICK).read_bytes() == BODY


def test_a_disk_that_fills_leaves_nothing(server, tmp_path, monkeypatch):
    """On a file system of half a megabyte, or (without the right to mount) within a quota."""
    disk = tmp_path / "disk"
    disk.mkdir()
    body = BODY * 4
    server.routes["/map"] = whole(body)
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    mounted = shutil.which("mount") and subprocess.run(
        mount, check=False, capture_output=True
    )
    if mounted and mounted.returncode == 0:
        try:
            assert "has room for" in refusal(item(server, body), disk)
            assert files_below(disk) == []
            # a quota does not show in the free space
            huge = shutil._ntuple_diskusage(10**12, 0, 10**12)
            monkeypatch.setattr(shutil, "disk_usage", lambda _: huge)
            text = refusal(item(server, body), disk)
            assert files_below(disk) == []
        finally:
            subprocess.run(["umount", str(disk)], check=True)
        assert "(No space left on device), and what had come was removed" in text
    quota = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))"
    )
    asked = item(server, body)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            quota + CHILD,
            asked.name,
            asked.url,
            asked.checksum,
            str(disk),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT / "workflow")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "cannot be written below" in done.stderr
    assert "(File too large), and what had come was removed" in done.stderr
    assert files_below(disk) == []


# --- The cache --------------------------------------------------------------------------------


@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("damage", [b"", BODY[:-1], BODY[:-1] + b"x"])
def test_a_damaged_file_of_the_cache_is_fetched_again(
    server, cache, damage, checked, capsys
):
    server.routes["/map"] = whole(BODY)
    asked = item(server) if checked else item(server, checksum=None)
    path = fetch_file(asked, cache, manner=QUICK)
    path.write_bytes(damage)
    assert fetch_file(asked, cache, manner=QUICK).read_bytes() == BODY
    assert "is not what was fetched" in capsys.readouterr().err


def test_a_link_in_the_cache_is_not_followed(server, cache, tmp_path):
    server.routes["/map"] = whole(BODY)
    path = fetch_file(item(server), cache, manner=QUICK)
    outside = tmp_path / "outside"
    outside.write_bytes(BODY)
    path.unlink()
    path.symlink_to(outside)
    assert not fetch_file(item(server), cache, manner=QUICK).is_symlink()
    assert outside.read_bytes() == BODY
    assert server.count("/map") == 2


def test_a_link_in_place_of_a_part_is_not_written_through(server, cache, tmp_path):
    asked = item(server, checksum=None)
    part = leave_part(server, cache, asked)
    outside = tmp_path / "outside"
    outside.write_bytes(b"x" * 150_000)
    part.unlink()
    part.symlink_to(outside)
    server.routes["/map"] = whole(BODY)
    assert fetch_file(asked, cache, manner=QUICK).read_bytes() == BODY
    assert outside.read_bytes() == b"x" * 150_000


def test_a_cache_that_may_only_be_read_is_used(server, cache, monkeypatch):
    server.routes["/map"] = whole(BODY)
    path = fetch_file(item(server), cache, manner=QUICK)
    # root may write anywhere: that no lock is asked for is what can be seen
    monkeypatch.setattr(fetch, "locked", None)
    assert fetch_file(item(server), cache, manner=QUICK) == path


def test_a_record_that_cannot_be_written_is_said(server, cache):
    server.routes["/map"] = whole(BODY)
    asked = item(server)
    (cache / "files" / asked.key / "record.json").mkdir(parents=True)
    assert "record.json cannot be written (Is a directory)" in refusal(asked, cache)


def test_who_shares_the_cache_may_hold_its_locks(server, cache):
    before = os.umask(0o077)
    try:
        refusal(item(server), cache)
    finally:
        os.umask(before)
    (lock,) = cache.glob("locks/*.lock")
    assert lock.stat().st_mode & 0o777 == 0o666


def test_the_section_fetch_says_how():
    keys = ("offline", "retries", "timeout_s", "max_download_gb", "connections")
    section = dict(zip(keys, (True, 1, 2.0, 0.5, 3), strict=True))
    wanted = Manner(True, 1, 1.0, 2.0, 500_000_000, 3, "snakemake fetch")
    assert fetch.manner_of(section, "snakemake fetch") == wanted


def test_the_cache_is_where_key_and_environment_say(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("HANDHOLD_CACHE", raising=False)
    assert fetch.cache_folder({}) == tmp_path / "handhold"
    monkeypatch.setenv("HANDHOLD_CACHE", "/a")
    assert fetch.cache_folder({}) == Path("/a")
    assert fetch.cache_folder({"cache": "/b"}) == Path("/b")


def test_a_copy_takes_its_place_whole_or_not_at_all(tmp_path):
    source, target = tmp_path / "a", tmp_path / "deep" / "b"
    source.write_bytes(BODY)
    fetch.place(source, target)
    assert target.read_bytes() == BODY
    with pytest.raises(StudyError, match="cannot be written"):
        fetch.place(source, source / "c")
    assert files_below(tmp_path) == ["a", "deep/b"]


# --- What an item may be ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"name": ""}, "no name of a file"),
        ({"name": ".."}, "no name of a file"),
        ({"name": "../x"}, "no name of a file"),
        ({"name": "a\\b"}, "no name of a file"),
        ({"name": "a\0b"}, "no name of a file"),
        ({"name": "ä" * 128}, "more than 255 bytes"),
        ({"checksum": "0" * 32}, "is not md5:<32 digits>"),
        ({"checksum": "md5:" + "0" * 64}, "is not md5:<32 digits>"),
        ({"checksum": "sha1:" + "0" * 40}, "is not md5:<32 digits>"),
        ({"url": "file:///etc/passwd"}, "is not https://"),
        ({"url": "ftp://example.org/x"}, "is not https://"),
        ({"url": "https:///x"}, "is not https://"),
        ({"url": "https://[x"}, "is none"),
        ({"url": "http://example.org/x"}, "no checksum would tell"),
    ],
)
def test_an_item_that_cannot_be_fetched_safely_is_refused(changes, fault):
    with pytest.raises(StudyError, match=fault):
        Item(**{"name": "x.nii", "url": "https://example.org/x", **changes})


def test_a_row_of_a_registry_is_an_item():
    row = {
        "file": "pet/MU.nii.gz",
        "url": "http://example.org/MU?version=1",
        "checksum": "md5:" + "0" * 32,
        "bytes": "123",
        "licence": "CC0",
        "citation": "n/a",
    }
    made = fetch.item_of(row)
    assert (made.name, made.kind, made.n_bytes) == ("MU.nii.gz", "nifti", 123)
    assert (made.licence, made.citation) == ("CC0", "not stated")
    with pytest.raises(StudyError, match="column bytes"):
        fetch.item_of({**row, "bytes": "1 MB"})
