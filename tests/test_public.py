"""Datasets in a bucket (moto's S3, and listings no honest server gives), and studies of them."""

import gzip
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import servers
import yaml
from servers import files_below, status, whole

from handhold import openneuro, public, spec
from handhold.errors import StudyError
from handhold.openneuro import Tree, fetch_tree
from handhold.public import NotFetchedError
from handhold.study import open_study
from handhold.transfer import Manner

ROOT = Path(__file__).parents[1]
QUICK = Manner(retries=1, backoff_s=0.01, timeout_s=5, connections=3)
SPACE = "MNI152NLin2009cAsym"
BIDS = {
    "task": "hands",
    "space": SPACE,
    "participant_label": [],
    "exclude": {},
    "incomplete_runs": "refuse",
}
DESCRIPTION = {
    "Name": "Hands",
    "BIDSVersion": "1.8.0",
    "License": "CC0",
    "Authors": ["A. One", "B. Two"],
    "DatasetDOI": "doi:10.18112/openneuro.ds000001.v1.0.2",
}
EVENTS = "onset\tduration\ttrial_type\thand\n" + "".join(
    f"{10 * i}\t4\t{cue}\t{hand}\n"
    for i, (cue, hand) in enumerate(
        (cue, hand) for cue in ("threat", "safe") for hand in ("alone", "partner")
    )
)


def image(rng, *shape):
    """A small image in MNI space, as its file."""
    affine = np.diag([8.0, 8.0, 8.0, 1.0])
    affine[:3, 3] = [-80, -112, -72]
    made = nib.Nifti1Image(rng.integers(0, 9, shape).astype("i2"), affine)
    made.header.set_xyzt_units("mm", "sec")
    return gzip.compress(made.to_bytes(), mtime=0)


def raw_files(rng):
    """A dataset of three people, two tasks; key below the dataset and contents."""
    files = {
        "dataset_description.json": json.dumps(DESCRIPTION),
        "README": "Hands",
        "CHANGES": "1.0.2 2020-01-01",
        "participants.tsv": "participant_id\nsub-01\nsub-02\nsub-03\n",
        "task-hands_bold.json": '{"RepetitionTime": 2.0}',
        "task-rest_bold.json": '{"RepetitionTime": 2.0}',
        "phenotype/mood +50%20ü.tsv": "participant_id\tmood\nsub-01\t1\n",
        "code/run.sh": "rm -rf /",
        "derivatives/mriqc/group.tsv": "x",
        "sourcedata/sub-01/notes.tsv": "x",
    }
    for label in ("01", "02", "03"):
        func = f"sub-{label}/func/sub-{label}"
        files |= {
            f"sub-{label}/anat/sub-{label}_T1w.nii.gz": image(rng, 4, 4, 4),
            f"sub-{label}/anat/sub-{label}_T1w.json": "{}",
            f"sub-{label}/dwi/sub-{label}_dwi.nii.gz": image(rng, 4, 4, 4),
            f"{func}_task-hands_bold.nii.gz": image(rng, 4, 4, 4, 3),
            f"{func}_task-hands_events.tsv": EVENTS,
            f"{func}_task-rest_bold.nii.gz": image(rng, 4, 4, 4, 3),
            f"{func}_task-rest_events.tsv": EVENTS,
        }
    return files


def derived_files(rng, labels=("01", "02", "03")):
    files = {
        "dataset_description.json": json.dumps({"Name": "fMRIPrep", "License": "CC0"})
    }
    for label in labels:
        func = f"sub-{label}/func/sub-{label}"
        for task in ("hands", "rest"):
            stem = f"{func}_task-{task}"
            files |= {
                f"{stem}_desc-confounds_timeseries.tsv": "trans_x\n0\n",
                f"{stem}_desc-confounds_timeseries.json": "{}",
            }
            for space in (SPACE, "T1w"):
                files |= {
                    f"{stem}_space-{space}_desc-preproc_bold.nii.gz": image(
                        rng, 20, 24, 20, 3
                    ),
                    f"{stem}_space-{space}_desc-preproc_bold.json": "{}",
                    f"{stem}_space-{space}_desc-brain_mask.nii.gz": image(
                        rng, 20, 24, 20
                    ),
                }
            files[f"{func}_task-{task}_hemi-L_space-fsaverage_bold.func.gii"] = "x"
        files[f"sub-{label}/anat/sub-{label}_desc-preproc_T1w.nii.gz"] = image(
            rng, 4, 4, 4
        )
        files[f"sub-{label}/figures/sub-{label}_x.svg"] = "x"
    return files


RAW = raw_files(np.random.default_rng(1))
DERIVED = derived_files(np.random.default_rng(2))
ROOT_FILES = {
    *("dataset_description.json", "README", "CHANGES", "participants.tsv"),
    *("task-hands_bold.json", "phenotype/mood +50%20ü.tsv"),
}
EVENT_FILES = {f"sub-0{n}/func/sub-0{n}_task-hands_events.tsv" for n in (1, 2, 3)}


def derived_of(*labels):
    """What an analysis of some people reads of the derivatives."""
    wanted = {"dataset_description.json"}
    for label in labels:
        stem = f"sub-{label}/func/sub-{label}_task-hands"
        wanted |= {
            f"{stem}_desc-confounds_timeseries.tsv",
            f"{stem}_desc-confounds_timeseries.json",
            f"{stem}_space-{SPACE}_desc-preproc_bold.nii.gz",
            f"{stem}_space-{SPACE}_desc-preproc_bold.json",
            f"{stem}_space-{SPACE}_desc-brain_mask.nii.gz",
        }
    return wanted


@pytest.fixture(scope="module")
def bucket():
    started = servers.Bucket("openneuro.org")
    for path, body in RAW.items():
        started.put(f"ds000001/{path}", body)
    for path, body in DERIVED.items():
        started.put(f"fmriprep/ds000001-fmriprep/{path}", body)
    started.put("ds000001/sub-01/", "")  # what some tools write for a folder
    started.put("ds0000012/README", "the neighbour, whose name begins alike")
    yield started
    started.stop()


@pytest.fixture
def server():
    started = servers.Server()
    yield started
    started.stop()


def raw_tree(bucket, folder, **changes):
    own = {key: changes.pop(key) for key in ("version", "raw_images") if key in changes}
    section = {**BIDS, **changes}
    return Tree(f"{bucket.url}/ds000001", folder, section, preprocessed=False, **own)


def derived_tree(bucket, folder, **changes):
    address = f"{bucket.url}/fmriprep/ds000001-fmriprep"
    return Tree(address, folder, {**BIDS, **changes}, preprocessed=True)


def fetched(tree):
    """Return what lies in the folder of a tree, without what fetching keeps."""
    return {
        name for name in files_below(tree.folder) if not name.startswith(".fetched/")
    }


def refusal(function, *arguments):
    with pytest.raises(StudyError) as caught:
        function(*arguments)
    return str(caught.value)


# --- Datasets ---------------------------------------------------------------------------------


def test_only_what_the_analysis_reads_comes(bucket, tmp_path):
    tree = raw_tree(bucket, tmp_path / "ds")
    assert tree.missing() == [str(tmp_path / "ds")]
    old = tmp_path / "ds/.fetched/partial/of a file that has changed.nii.gz"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"begun")
    fetch_tree(tree, QUICK)
    assert fetched(tree) == ROOT_FILES | EVENT_FILES
    for name in fetched(tree):
        wanted = RAW[name]
        assert (tree.folder / name).read_bytes() == (
            wanted if isinstance(wanted, bytes) else wanted.encode()
        )
    assert tree.missing() == []
    assert files_below(tree.folder / ".fetched") == ["listing.json"]
    derived = derived_tree(bucket, tmp_path / "ds" / "derivatives")
    fetch_tree(derived, QUICK)
    assert fetched(derived) == derived_of("01", "02", "03")


def test_people_who_are_not_analysed_come_without_images(bucket, tmp_path):
    choice = {"participant_label": ["sub-01", "02"], "exclude": {"02": "asleep"}}
    derived = derived_tree(bucket, tmp_path / "derived", **choice)
    fetch_tree(derived, QUICK)
    assert fetched(derived) == derived_of("01")
    raw = raw_tree(bucket, tmp_path / "raw", **choice)
    fetch_tree(raw, QUICK)
    # their events count who was left out
    assert fetched(raw) == ROOT_FILES | EVENT_FILES


def test_another_choice_says_what_is_missing_and_brings_only_that(bucket, tmp_path):
    fetch_tree(derived_tree(bucket, tmp_path, participant_label=["01"]), QUICK)
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in derived_of("01")}
    more = derived_tree(bucket, tmp_path, participant_label=["01", "03"])
    new = derived_of("03") - derived_of("01")
    assert set(more.missing()) == {str(tmp_path / name) for name in new}
    fetch_tree(more, QUICK)
    assert fetched(more) == derived_of("01", "03")
    assert before == {name: (tmp_path / name).stat().st_mtime_ns for name in before}


def test_raw_images_are_what_fmriprep_reads(bucket, tmp_path):
    tree = raw_tree(bucket, tmp_path, raw_images=True, participant_label=["02"])
    fetch_tree(tree, QUICK)
    images = {"anat/sub-02_T1w.nii.gz", "func/sub-02_task-hands_bold.nii.gz"}
    assert fetched(tree) - ROOT_FILES - EVENT_FILES == {
        *(f"sub-02/{name}" for name in images),
        "sub-02/anat/sub-02_T1w.json",
    }


def test_a_file_that_was_cut_is_missing_and_comes_again(bucket, tmp_path):
    tree = raw_tree(bucket, tmp_path)
    fetch_tree(tree, QUICK)
    cut = tmp_path / "participants.tsv"
    cut.write_text("participant_id\n", encoding="utf-8")
    assert tree.missing() == [str(cut)]
    fetch_tree(tree, QUICK)
    assert cut.read_text(encoding="utf-8") == RAW["participants.tsv"]


def test_a_dataset_that_has_changed_is_not_mixed(bucket, tmp_path):
    files = {
        "dataset_description.json": "{}",
        "participants.tsv": "participant_id\n01\n",
        "sub-01/func/sub-01_task-hands_events.tsv": EVENTS,
    }
    for path, body in files.items():
        bucket.put(f"moving/{path}", body)
    tree = Tree(f"{bucket.url}/moving", tmp_path, BIDS, preprocessed=False)
    fetch_tree(tree, QUICK)
    bucket.put("moving/sub-02/func/sub-02_task-hands_events.tsv", EVENTS)
    fetch_tree(tree, QUICK)  # what is new is no change
    assert len(fetched(tree)) == 4
    # of the same size
    bucket.put("moving/participants.tsv", "participant_id\n02\n")
    bucket.put("moving/sub-03/func/sub-03_task-hands_events.tsv", EVENTS)
    text = refusal(fetch_tree, tree, QUICK)
    assert "1 files of" in text
    assert "have changed since they were fetched" in text
    assert text.endswith("  - participants.tsv")
    assert len(fetched(tree)) == 4


def test_a_file_in_several_parts_is_taken_by_size_and_content(bucket, tmp_path):
    name = f"sub-09/func/sub-09_task-hands_space-{SPACE}_desc-preproc_bold.nii.gz"
    body = image(np.random.default_rng(3), 20, 24, 20, 9)
    prefix = "parted/ds-fmriprep"
    bucket.put(f"{prefix}/dataset_description.json", "{}")
    bucket.put_in_parts(f"{prefix}/{name}", body[:9000], body[9000:])
    tree = Tree(f"{bucket.url}/{prefix}", tmp_path, BIDS, preprocessed=True)
    (entry,) = [e for e in openneuro.list_files(tree, QUICK) if e.path == name]
    assert entry.etag.endswith("-2")
    fetch_tree(tree, QUICK)
    assert (tmp_path / name).read_bytes() == body


def test_licence_and_citation_are_shown_and_kept(bucket, tmp_path, capsys):
    tree = raw_tree(bucket, tmp_path, version="1.0.2")
    fetch_tree(tree, QUICK)
    said = capsys.readouterr().err
    cited = (
        "A. One, B. Two: Hands; OpenNeuro ds000001, version 1.0.2; "
        "doi:10.18112/openneuro.ds000001.v1.0.2"
    )
    assert f"fetch: dataset ds000001: licence: CC0; cite: {cited}" in said
    size = sum(len(RAW[n].encode()) for n in ROOT_FILES | EVENT_FILES)
    assert f"9 of 9 files, {size} B, into {tmp_path}" in said
    told = tree.listing()
    assert (told["licence"], told["citation"], told["version"]) == (
        "CC0",
        cited,
        "1.0.2",
    )


def test_another_version_is_refused(bucket, tmp_path):
    text = refusal(fetch_tree, raw_tree(bucket, tmp_path, version="1.0.0"), QUICK)
    assert "serves version 1.0.2" in text
    assert "asks for 1.0.0" in text
    assert fetched(raw_tree(bucket, tmp_path)) == set()


def test_a_folder_of_another_dataset_is_left_alone(bucket, tmp_path):
    fetch_tree(raw_tree(bucket, tmp_path), QUICK)
    before = fetched(raw_tree(bucket, tmp_path))
    assert "holds what was fetched from" in refusal(
        fetch_tree, derived_tree(bucket, tmp_path), QUICK
    )
    assert fetched(raw_tree(bucket, tmp_path)) == before


def test_a_folder_brought_by_hand_is_taken_as_it_is(bucket, tmp_path, capsys):
    (tmp_path / "sub-01").mkdir()
    tree = raw_tree(bucket, tmp_path)
    assert tree.missing() == []
    fetch_tree(tree, QUICK)
    assert "taken as it is" in capsys.readouterr().err
    assert fetched(tree) == set()


@pytest.mark.parametrize(
    ("changes", "held"),
    [
        ({"space": "MNI152NLin6Asym"}, f"space: {SPACE}, T1w"),
        ({"task": "feet"}, "task: hands, rest"),
        ({"resolution": "2"}, "12 such files"),
        ({"participant_label": ["77"]}, "12 such files"),
    ],
)
def test_derivatives_without_what_is_asked_for_say_what_they_hold(
    bucket, tmp_path, changes, held
):
    text = refusal(fetch_tree, derived_tree(bucket, tmp_path, **changes), QUICK)
    assert "holds no _desc-preproc_bold.nii that the section bids asks for" in text
    assert held in text


def test_more_than_allowed_is_refused_before_anything_comes(bucket, tmp_path):
    small = Manner(max_bytes=1000)
    text = refusal(fetch_tree, derived_tree(bucket, tmp_path), small)
    assert "more than fetch.max_download_gb (1e-06) allows" in text
    assert fetched(derived_tree(bucket, tmp_path)) == set()


def test_what_is_not_there_is_said(bucket, tmp_path):
    tree = Tree(f"{bucket.url}/ds999999", tmp_path, BIDS, preprocessed=False)
    assert "lists no file" in refusal(fetch_tree, tree, QUICK)
    other = Tree(
        bucket.url.replace("openneuro.org", "nobucket/x"), tmp_path, BIDS, False
    )
    assert "status 404" in refusal(fetch_tree, other, QUICK)


def test_files_that_cannot_come_are_listed_and_the_others_are_there(bucket, tmp_path):
    good, bad = "sub-01_task-hands_events.tsv", "sub-02_task-hands_events.tsv"
    files = {"dataset_description.json": "{}"}
    for name in (good, bad):
        files[f"{name[:6]}/func/{name}"] = EVENTS
    for path, body in files.items():
        bucket.put(f"torn/{path}", body)
    tree = Tree(f"{bucket.url}/torn", tmp_path, BIDS, preprocessed=False)
    listed = openneuro.list_files(tree, QUICK)
    bucket.delete(f"torn/sub-02/func/{bad}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openneuro, "list_files", lambda *_: listed)
        text = refusal(fetch_tree, tree, QUICK)
    assert "1 of 3 files of" in text
    assert bad in text
    assert fetched(tree) == {"dataset_description.json", f"sub-01/func/{good}"}
    assert tree.missing() == [str(tmp_path / "sub-02/func" / bad)]


def test_a_link_that_leads_out_of_the_folder_is_not_followed(bucket, tmp_path):
    outside, folder = tmp_path / "outside", tmp_path / "ds"
    outside.mkdir()
    folder.mkdir()
    (folder / ".fetched").mkdir()
    (folder / "sub-01").symlink_to(outside)
    listing = {"address": f"{bucket.url}/ds000001", "files": []}
    (folder / ".fetched/listing.json").write_text(json.dumps(listing), encoding="utf-8")
    text = refusal(fetch_tree, raw_tree(bucket, folder), QUICK)
    assert f"{folder / 'sub-01/func'} is {outside / 'func'}" in text
    assert files_below(outside) == []


def served_tree(server, folder, n_files, n_bytes):
    """List some files of a dataset on a server that a test may stop."""
    names = [f"sub-{n:02}_task-hands_events.tsv" for n in range(n_files)]
    keys = [f"ds/{name[:6]}/func/{name}" for name in names]
    server.routes["/b"] = whole(
        listing("ds/dataset_description.json", size=2).replace(
            b"</ListBucketResult>", b""
        )
        + listing(*keys, size=n_bytes).partition(b'2006-03-01/">')[2]
    )
    server.routes["/b/ds/dataset_description.json"] = whole(b"{}")
    return Tree(server.url("/b/ds"), folder, BIDS, preprocessed=False), keys


def test_a_host_that_is_lost_is_not_asked_for_every_file(server, tmp_path):
    tree, keys = served_tree(server, tmp_path, 40, len(EVENTS))
    silent = Manner(retries=0, timeout_s=0.3, connections=2)
    for key in keys:
        server.routes[f"/b/{key}"] = lambda reply, n: time.sleep(1)
    text = refusal(fetch_tree, tree, silent)
    assert sum(server.count(f"/b/{key}") for key in keys) <= 4
    assert text.index("no answer") < text.index("not tried")
    assert "40 of 41 files" in text
    # a server that answers is asked for all, whatever it says
    for key in keys:
        server.routes[f"/b/{key}"] = status(503)
    server.requests.clear()
    refusal(fetch_tree, tree, silent)
    assert all(server.count(f"/b/{key}") == 1 for key in keys)


INTERRUPTED = """
import sys
from pathlib import Path
from handhold.openneuro import Tree, fetch_tree
from handhold.transfer import Manner
bids = {"task": "hands", "participant_label": [], "exclude": {}}
tree = Tree(sys.argv[1], Path(sys.argv[2]), bids, preprocessed=False)
fetch_tree(tree, Manner(connections=2))
"""


def test_ctrl_c_ends_a_fetch_at_once_and_keeps_what_came(server, tmp_path):
    tree, keys = served_tree(server, tmp_path, 9, 200_000)
    for key in keys:  # hours each
        drip = servers.dripping(bytes(200_000), pause=0.1, start=100_000)
        server.routes[f"/b/{key}"] = drip
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, tree.address, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "workflow")},
        stderr=subprocess.DEVNULL,
    )
    parts = tmp_path / ".fetched/partial"

    def asked():
        return sum(server.count(f"/b/{key}") for key in keys)

    limit = time.monotonic() + 20
    # both connections busy, however slow the machine
    while asked() < 2 or not any(
        p.stat().st_size >= 90_000 for p in parts.glob("*.tsv")
    ):
        assert time.monotonic() < limit, process.kill()
        time.sleep(0.05)
    begun = time.monotonic()
    with process:
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(20) != 0
        finally:
            process.kill()
    assert time.monotonic() - begun < 10
    assert any(part.stat().st_size >= 100_000 for part in parts.glob("*.tsv"))
    assert asked() == 2
    assert not [name for name in fetched(tree) if name.endswith("events.tsv")]


def test_a_folder_may_have_any_name_and_be_a_link(bucket, tmp_path):
    (tmp_path / "große Daten (2)").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "große Daten (2)")
    tree = raw_tree(bucket, tmp_path / "link" / "ds 1")
    fetch_tree(tree, QUICK)
    assert fetched(tree) == ROOT_FILES | EVENT_FILES
    assert tree.missing() == []


def test_a_listing_that_cannot_be_written_is_said(bucket, tmp_path):
    (tmp_path / ".fetched/listing.json").mkdir(parents=True)
    text = refusal(fetch_tree, raw_tree(bucket, tmp_path), QUICK)
    assert "listing.json cannot be written (Is a directory)" in text


def test_two_fetches_of_a_folder_bring_each_file_once(server, tmp_path):
    tree, keys = served_tree(server, tmp_path, 12, len(EVENTS))
    for key in keys:
        slow = whole(EVENTS.encode())
        server.routes[f"/b/{key}"] = lambda reply, n, slow=slow: (
            time.sleep(0.05),
            slow(reply, n),
        )
    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(fetch_tree, tree, QUICK) for _ in range(3)]:
            done.result()
    assert {server.count(f"/b/{key}") for key in keys} == {1}
    assert len(fetched(tree)) == 13


# --- Listings that no honest server gives -----------------------------------------------------


def listing(*keys, size=1, more="", encoding=""):
    rows = "".join(
        f"<Contents><Key>{key}</Key><Size>{size}</Size><ETag>&quot;x&quot;</ETag></Contents>"
        for key in keys
    )
    return (
        '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"{encoding}{more}{rows}</ListBucketResult>"
    ).encode()


def tree_of(server, body, folder):
    """Serve one answer to every listing."""
    server.routes["/b"] = whole(body) if isinstance(body, bytes) else body
    return Tree(server.url("/b/ds"), folder, BIDS, preprocessed=False)


ENCODED = "<EncodingType>url</EncodingType>"


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        ("ds/../evil.tsv", "leads out"),
        ("ds/sub-01/../../evil.tsv", "leads out"),
        ("ds//etc/passwd", "leads out"),
        ("ds/./x.tsv", "leads out"),
        ("ds/sub-01//x.tsv", "leads out"),
        ("ds/..", "leads out"),
        ("ds/../", "leads out"),
        ("/etc/passwd", "outside ds/"),
        ("other/x.tsv", "outside ds/"),
        ("../x.tsv", "outside ds/"),
        ("ds", "outside ds/"),
        ("ds/..\\..\\evil.tsv", "has a character"),
        ("ds/C:evil.tsv", "has a character"),
        ("ds/a&#10;b.tsv", "has a character"),
        ("ds/" + "ä" * 126 + ".tsv", "more than 255 bytes"),
    ],
)
def test_a_key_that_would_leave_the_folder_is_refused(server, tmp_path, key, fault):
    tree = tree_of(server, listing("ds/README", key), tmp_path / "ds")
    text = refusal(fetch_tree, tree, QUICK)
    assert "lists keys that are no paths of a dataset" in text
    assert fault in text
    assert files_below(tmp_path) == []


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        ("ds/%2E%2E/evil.tsv", "leads out"),
        ("ds/%2e%2e%2fevil.tsv", "leads out"),
        ("ds%2F..%2Fevil.tsv", "leads out"),
        ("ds/a%00b.tsv", "has a character"),
        ("ds/a%FFb.tsv", "has a character"),
    ],
)
def test_an_encoded_key_is_looked_at_decoded(server, tmp_path, key, fault):
    tree = tree_of(server, listing(key, encoding=ENCODED), tmp_path)
    assert fault in refusal(openneuro.list_files, tree, QUICK)
    # what is encoded twice is a strange, but harmless name
    twice = listing(key.replace("%", "%25"), encoding=ENCODED)
    server.routes["/b"] = whole(twice)
    if "ds%" not in key:
        names = {entry.path for entry in openneuro.list_files(tree, QUICK)}
        assert names == {key.removeprefix("ds/")}


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        (("README", "readme.md", "Readme.md"), "'Readme.md' and 'readme.md'"),
        (("sub-01/func/{e}", "SUB-01/func/{e}"), "'SUB-01' and 'sub-01'"),
        (("mu\u0308.tsv", "m\u00fc.tsv"), "fall together"),
        (("phenotype/A.tsv", "phenotype/a.tsv"), "fall together"),
    ],
)
def test_names_that_fall_together_are_refused(server, tmp_path, keys, fault):
    events = "sub-01/func/sub-01_task-hands_events.tsv"
    keys = [key.format(e="sub-01_task-hands_bold.json") for key in keys]
    body = listing(
        *(f"ds/{key}" for key in [*keys, events, "dataset_description.json"]), size=2
    )
    tree = tree_of(server, body, tmp_path)
    entries = openneuro.list_files(tree, QUICK)
    chosen = tree.choose(entries)
    assert fault in refusal(openneuro._refuse_collisions, tree, chosen)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"<html><title>Log in</title></html>", "begins with 'html'"),
        (b"<!DOCTYPE html><html>", "document type"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><ListBucketResult/>', "document type"),
        (b"<Error><Code>AccessDenied</Code></Error>", "begins with 'Error'"),
        (b"", "no element found"),
        (listing("ds/x", size="much"), "the size 'much'"),
        (listing("ds/x", size=-1), "the size '-1'"),
        (listing("ds/x", more="<IsTruncated>true</IsTruncated>"), "goes in a circle"),
        (
            listing(
                "ds/x",
                more="<IsTruncated>true</IsTruncated>"
                "<NextContinuationToken>t</NextContinuationToken>",
            ),
            "goes in a circle",
        ),
        (bytes(openneuro.LARGEST_PAGE + 1), "sends more than"),
    ],
)
def test_an_answer_that_is_no_listing_is_refused(server, tmp_path, body, fault):
    tree = tree_of(server, body, tmp_path)
    assert fault in refusal(openneuro.list_files, tree, QUICK)


def test_a_file_that_is_listed_twice_is_one(server, tmp_path):
    # every listing of this server is the same: those of the root, of sub- and of phenotype/
    tree = tree_of(server, listing("ds/sub-01_x.json", "ds/README"), tmp_path)
    names = [entry.path for entry in openneuro.list_files(tree, QUICK)]
    assert names == ["README", "sub-01_x.json"]
    assert server.count("/b") == 3


def test_a_listing_that_breaks_off_is_asked_for_again(server, tmp_path):
    body = listing("ds/README")
    tree = tree_of(server, servers.breaking(body, 100, "close", ranges=False), tmp_path)
    assert {entry.path for entry in openneuro.list_files(tree, QUICK)} == {"README"}


@pytest.mark.parametrize(
    "body",
    [b"not json", b"[]", b"\xff", b'{"Authors": 3, "Name": ["a"], "License": null}'],
)
def test_a_description_may_say_nonsense(server, tmp_path, body):
    tree = tree_of(
        server, listing("ds/dataset_description.json", size=len(body)), tmp_path
    )
    server.routes["/b/ds/dataset_description.json"] = whole(body)
    entries = openneuro.list_files(tree, QUICK)
    if body[:1] in (b"n", b"\xff"):
        assert "is no JSON" in refusal(openneuro.describe, tree, entries, QUICK)
    else:
        assert openneuro.describe(tree, entries, QUICK)["version"] == ""


# --- Studies ----------------------------------------------------------------------------------


def study_of(bucket, tmp_path, server):
    """Return a study that is in the bucket, but for a map that is on the server."""
    body = image(np.random.default_rng(4), 20, 24, 20)
    server.routes["/mor"] = whole(body)
    columns = "receptor label unit file background negative sha256 citation doi licence"
    row = ["MOR", "mu-opioid", "a.u.", "pet/mor.nii.gz", "constant", "refuse"]
    row += [hashlib.sha256(body).hexdigest(), "One (2020)", "10.1/1", "CC BY"]
    row += [server.url("/mor"), f"sha256:{row[6]}", str(len(body))]
    table = tmp_path / "receptors.tsv"
    header = "\t".join([*columns.split(), "url", "checksum", "bytes"])
    table.write_text(f"{header}\n{chr(9).join(row)}\n", encoding="utf-8")
    return {
        "study": "hands",
        "title": "Hands",
        "source": "bids",
        "seed": 1,
        "data_root": str(tmp_path / "data"),
        "bids": {
            "dataset": "ds000001",
            "derivatives": "ds000001/derivatives/fmriprep",
            "task": "hands",
            "space": f"space-{SPACE}",
            "openneuro": {
                "dataset": "ds000001",
                "derivatives": f"{bucket.url}/fmriprep/ds000001-fmriprep",
                "address": bucket.url,
            },
        },
        "events": {
            "cells": [{"trial_type": cue, "cue": cue} for cue in ("threat", "safe")],
            "condition": {"column": "hand"},
        },
        "contrasts": [{"name": "partner", "baseline": "alone", "held": "partner"}],
        "receptors": {"target": "MOR", "table": str(table)},
        "fetch": {"cache": str(tmp_path / "cache"), "timeout_s": 5, "retries": 0},
    }


@pytest.fixture
def checkout(tmp_path):
    for name in ("Snakefile", "workflow", "atlases"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def snakemake(folder, config, *arguments):
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", *arguments]
    done = subprocess.run(
        [*command, "--configfile", str(path)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "workflow")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_a_public_study_is_fetched_and_then_planned_without_a_network(
    bucket, server, checkout
):
    config = study_of(bucket, checkout, server)
    offline = ("--config", "offline=true")
    code, said = snakemake(checkout, config, "--dry-run", *offline)
    assert code != 0
    assert "3 files or folders" in said
    command = f"snakemake fetch --cores 1 --configfile {checkout / 'study.yaml'}\n"
    assert f"sees the same folders: {command}" in said
    code, said = snakemake(checkout, config, "fetch", "--cores", "1")
    assert code == 0, said
    assert "receptor map MOR: licence: CC BY; cite: One (2020)" in said
    # it has no page, nor ran what a page of before tells of
    assert re.fullmatch(r"handhold: done in \d+ s\.", said.strip().splitlines()[-1])
    assert not list(checkout.glob("results/*/provenance"))
    asked = len(server.requests)
    code, said = snakemake(checkout, config, "--dry-run", *offline)
    assert code == 0, said
    assert "fit_subject" in said
    assert len(server.requests) == asked == 1
    assert (checkout / "data/pet/mor.nii.gz").stat().st_nlink == 1


def test_a_study_says_what_it_takes_and_what_is_missing(
    bucket, server, tmp_path, monkeypatch
):
    monkeypatch.chdir(ROOT)
    config = study_of(bucket, tmp_path, server)
    with pytest.raises(NotFetchedError, match="3 files or folders") as caught:
        open_study(config)
    assert str(tmp_path / "data/pet/mor.nii.gz") in str(caught.value)
    resolved = spec.resolve(config)
    offline = {**resolved, "fetch": {**resolved["fetch"], "offline": True}}
    text = refusal(public.fetch_study, offline, "snakemake fetch ME")
    assert text.endswith("sees the same folders: snakemake fetch ME")
    assert not (tmp_path / "data").exists()
    assert server.requests == []
    public.fetch_study(resolved, "snakemake fetch")
    public.fetch_study(offline, "snakemake fetch")  # which has nothing to ask for
    study = open_study(config)
    assert study.manifest.subjects == ["01", "02", "03"]
    sources = study.public.sources()
    assert sources["item"].tolist() == [
        "receptor map MOR",
        "dataset ds000001",
        "dataset ds000001-fmriprep",
    ]
    assert sources["licence"].tolist() == ["CC BY", "CC0", "CC0"]
    assert sources["version"].tolist()[1] == "1.0.2"
    cited = study.public.dataset_citations()
    assert [one["what"] for one in cited] == sources["item"].tolist()[1:]
    # of one person, an image is gone: nobody is silently left out
    bold = next(tmp_path.glob(f"data/**/sub-02_task-hands_space-{SPACE}*_bold.nii.gz"))
    bold.unlink()
    lenient = {**config, "bids": {**config["bids"], "incomplete_runs": "drop_subject"}}
    with pytest.raises(NotFetchedError, match=bold.name):
        open_study(lenient)
    server.routes["/mor"] = status(404)
    (tmp_path / "data/pet/mor.nii.gz").unlink()
    for path in (tmp_path / "cache").glob("files/*/*"):
        path.unlink()
    text = refusal(public.fetch_study, resolved, "snakemake fetch")
    assert "not all could be fetched:\n  - http" in text
    assert bold.is_file()  # the others were, all the same


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda body: body[:-9], "bytes, not the"),
        (lambda body: body[:-1] + b"x", "whose sha256 is"),
    ],
)
def test_a_file_that_is_there_and_is_another_is_named_and_kept(
    bucket, server, tmp_path, monkeypatch, damage, fault
):
    monkeypatch.chdir(ROOT)
    config = spec.resolve(study_of(bucket, tmp_path, server))
    public.fetch_study(config, "snakemake fetch")
    path = tmp_path / "data/pet/mor.nii.gz"
    good = path.read_bytes()
    path.write_bytes(damage(good))
    (tmp_path / "data/ds000001/participants.tsv").unlink()
    text = refusal(public.fetch_study, config, "snakemake fetch")
    assert f"{path} is there, but is a file " in text
    assert fault in text
    # it may be someone's own; what is missing comes all the same
    assert path.read_bytes() == damage(good)
    assert (tmp_path / "data/ds000001/participants.tsv").is_file()
    path.unlink()
    public.fetch_study(config, "snakemake fetch")
    assert path.read_bytes() == good


def test_ctrl_c_is_told_in_a_sentence(bucket, server, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = study_of(bucket, tmp_path, server)

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(public, "fetch_file", stop)
    text = refusal(public.fetch_study, spec.resolve(config), "snakemake fetch ME")
    assert text.startswith("stopped. What came is kept")
    assert text.endswith("snakemake fetch ME")


def test_a_cache_that_cannot_be_made_is_said(bucket, server, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = study_of(bucket, tmp_path, server)
    (tmp_path / "cache").write_text("a file", encoding="utf-8")
    config["fetch"]["cache"] = str(tmp_path / "cache/below")
    text = refusal(public.fetch_study, spec.resolve(config), "snakemake fetch")
    assert f"{tmp_path / 'cache/below'} cannot be written (Not a directory)" in text


def test_without_a_network_each_host_is_tried_once(
    bucket, server, tmp_path, monkeypatch
):
    monkeypatch.chdir(ROOT)
    config = study_of(bucket, tmp_path, server)
    config["bids"]["openneuro"]["address"] = server.url("")
    table = tmp_path / "receptors.tsv"
    header, row = table.read_text(encoding="utf-8").splitlines()
    more = [row.replace("MOR", name).replace("mor.nii", f"{name}.nii") for name in "AB"]
    table.write_text("\n".join([header, row, *more]) + "\n", encoding="utf-8")
    config["receptors"]["panel"] = ["A", "B"]
    server.stop()
    text = refusal(public.fetch_study, spec.resolve(config), "snakemake fetch ME")
    server.stop = lambda: None
    assert text.count("Connection refused") == 1
    host = server.url("").removeprefix("http://")
    assert f"3 more from {host}, which does not answer: not tried" in text


@pytest.mark.parametrize(
    ("given", "address"),
    [
        (
            "s3://openneuro-derivatives/fmriprep/ds000001-fmriprep/",
            "https://s3.amazonaws.com/openneuro-derivatives/fmriprep/ds000001-fmriprep",
        ),
        (
            "derivatives/fmriprep",
            "https://s3.amazonaws.com/openneuro.org/ds000001/derivatives/fmriprep",
        ),
        ("https://example.org/b/x", "https://example.org/b/x"),
        (None, None),
    ],
)
def test_a_dataset_and_its_derivatives_have_addresses(
    bucket, server, tmp_path, monkeypatch, given, address
):
    monkeypatch.chdir(ROOT)
    config = study_of(bucket, tmp_path, server)
    asked = {"dataset": "ds000001", "derivatives": given}
    config["bids"]["openneuro"] = {k: v for k, v in asked.items() if v}
    trees = public.plan(spec.resolve(config)).trees
    found = [(f"{tree.bucket}/{tree.prefix}", str(tree.folder)) for tree in trees]
    root = f"{tmp_path}/data/ds000001"
    wanted = [("https://s3.amazonaws.com/openneuro.org/ds000001/", root)]
    wanted += [(f"{address}/", f"{root}/derivatives/fmriprep")] if address else []
    assert found == wanted


def test_a_plain_address_elsewhere_is_refused(tmp_path):
    tree = Tree("http://example.org/b/ds", tmp_path, BIDS, preprocessed=False)
    assert "is not https" in refusal(fetch_tree, tree, QUICK)


def test_a_map_is_not_fetched_to_outside_the_data(
    bucket, server, tmp_path, monkeypatch
):
    monkeypatch.chdir(ROOT)
    config = study_of(bucket, tmp_path, server)
    table = tmp_path / "receptors.tsv"
    good = table.read_text(encoding="utf-8")
    for path in ("../mor.nii.gz", "/mor.nii.gz", "pet/../../mor.nii.gz"):
        table.write_text(good.replace("pet/mor.nii.gz", path), encoding="utf-8")
        assert "outside data_root" in refusal(open_study, config)


def test_only_fetch_uses_the_network():
    """The rules' scripts, but for one, reach no module that opens a connection."""
    from handhold.study import list_code

    scripts = {path.stem for path in (ROOT / "workflow/scripts").glob("*.py")}
    reach = {
        s for s in scripts if any(p.endswith("/transfer.py") for p in list_code(s))
    }
    assert reach == {"fetch_files"}
