"""Sizes that nobody has: refused before they take memory or time, each within the limits of a case.

Files are small, or hold nothing; what they claim, or unpack to, is large.
"""

import gzip
import json
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import yaml
from targets import (
    BIDS,
    CONFOUNDS,
    EVENTS,
    REFUSED,
    SHAPE,
    SIDECAR,
    TRIALS,
    attempt,
    laughs,
    nifti,
    put,
)

from handhold import atlases, bids, bold, design, events, images, spec, study
from handhold import io as tables

VOXELS = np.ones(SHAPE, "u1")
MILLION = 10**6


def refused(call, *said: str) -> None:
    assert attempt(call, *said) is REFUSED, "it was not refused"


def zeros(n_bytes: int) -> bytes:
    """Return gzip members that unpack to about so many zeros, a thousandth of their size."""
    member = gzip.compress(bytes(1 << 26), 1, mtime=0)
    return member * (n_bytes >> 26)


def every_reader(path: Path) -> None:
    refused(
        lambda: images.read_volume(path, "radiological", "sub-01"), "sub-01", str(path)
    )
    refused(lambda: images.read_labels(path, "atlas x"), "atlas x")
    refused(lambda: images.read_probabilities(path, [0], "atlas x"), "atlas x")
    refused(lambda: images.require_whole(path, "there"), "there")
    refused(lambda: bold.read_bold(path, path, "sub-01"), "sub-01")


def claims(folder: Path) -> None:
    """A header that claims 2^31 voxels, and 2^40 of them, in every format."""
    first = bytearray(nifti(VOXELS, nib.Nifti1Image))
    first[40:56] = struct.pack("<8h", 4, 2048, 1024, 1024, 2, 1, 1, 1)
    second = bytearray(nifti(VOXELS, nib.Nifti2Image))
    second[16:80] = struct.pack("<8q", 4, 2**20, 2**10, 2**10, 2**20, 1, 1, 1)
    three = bytearray(first)
    three[40:48] = struct.pack("<4h", 3, 2048, 1024, 1024)
    for content in (first, second, three):
        every_reader(put(folder, "a.nii", bytes(content)))
        every_reader(put(folder, "a.nii.gz", gzip.compress(bytes(content), mtime=0)))
    put(folder, "p.img", b"")
    header = nib.Spm2AnalyzeImage(np.ones(SHAPE, "f4"), None).header
    header.set_data_shape((2048, 1024, 1024))
    header.set_zooms([2.0] * 3)
    header["origin"][:3] = 500
    with (folder / "p.hdr").open("wb") as file:
        header.write_to(file)
    every_reader(folder / "p.img")


def begins_late(folder: Path) -> None:
    """Voxels that begin behind four gigabytes, which a packed file of 19 MB holds."""
    content = bytearray(nifti(VOXELS, nib.Nifti1Image))
    content[108:112] = struct.pack("<f", 2.0**32)
    packed = gzip.compress(bytes(content), mtime=0) + zeros(1 << 32)
    every_reader(put(folder, "a.nii.gz", packed))


def goes_on(folder: Path) -> None:
    """A run behind whose last volume four more gigabytes follow."""
    content = nifti(np.ones((*SHAPE, 2), "u1"), nib.Nifti1Image)
    path = put(folder, "a.nii.gz", gzip.compress(content, mtime=0) + zeros(1 << 32))
    mask = put(folder, "m.nii", nifti(VOXELS, nib.Nifti1Image))
    refused(lambda: bold.read_bold(path, mask, "sub-01"), "more follows")
    refused(lambda: images.require_whole(path, "there"), "more than")


def unpacks(folder: Path) -> None:
    """A volume of 80 million voxels, most that is read, in a third of a megabyte."""
    content = bytearray(nifti(VOXELS, nib.Nifti1Image)[:352])
    content[40:56] = struct.pack("<8h", 3, 1000, 400, 200, 1, 1, 1, 1)
    content[280:328] = struct.pack(
        "<12f", *(0.5, 0, 0, -250), *(0, 1, 0, -200), *(0, 0, 1, -90)
    )
    packed = gzip.compress(bytes(content), mtime=0) + zeros(1 << 27)
    path = put(folder, "a.nii.gz", packed)
    refused(lambda: images.read_volume(path, None, "sub-01"), "constant")
    content[40:56] = struct.pack("<8h", 3, 1001, 400, 200, 1, 1, 1, 1)
    path = put(
        folder, "a.nii.gz", gzip.compress(bytes(content), mtime=0) + zeros(1 << 27)
    )
    refused(lambda: images.read_volume(path, None, "sub-01"), "80000000")


def wide(folder: Path) -> None:
    """A table of a million columns: of a user, of events, of confounds."""
    row = "\t".join(f"c{i}" for i in range(MILLION))
    every_table(put(folder, "t.tsv", f"{row}\n{row}\n"), "20000 columns")


def long(folder: Path) -> None:
    """A line of 100 MB, as header and as row."""
    line = "x" * (100 * MILLION)
    every_table(put(folder, "t.tsv", line), "bytes")
    path = put(folder, "t.tsv", f"onset\tduration\n{line}\t1\n")
    attempt(lambda: tables.read_table(path, "maps.table"))
    attempt(lambda: bids.read_events(path, "sub-01"))


def large(folder: Path) -> None:
    """A table of 300 GB, of which the disk holds nothing."""
    path = folder / "t.tsv"
    with path.open("wb") as file:
        file.truncate(300 * 10**9)
    every_table(path, "300000000000 bytes")


def every_table(path: Path, *said: str) -> None:
    refused(
        lambda: tables.read_table(path, "maps.table"), "maps.table", str(path), *said
    )
    refused(lambda: bids.read_events(path, "sub-01"), "sub-01", str(path), *said)
    refused(lambda: design.load_confounds(path, CONFOUNDS, "sub-01"), "sub-01", *said)
    atlas = atlases.Atlas("mine", "labels", path, path, "names", "cortex", "x")
    refused(lambda: atlases.read_label_names(atlas), "mine")


def many_events(folder: Path) -> None:
    """Thirty thousand events of one run."""
    rows = [TRIALS[0], *([str(i), *TRIALS[1][1:]] for i in range(30_000))]
    path = put(folder, "e.tsv", "\n".join("\t".join(row) for row in rows))
    table = bids.read_events(path, "sub-01")
    tidy, _ = events.tidy_events(table, EVENTS, run=None, where="sub-01")
    assert len(tidy) == 30_000


def laughing(folder: Path) -> None:
    """Twenty lines of YAML that stand for 9^20 words, and text that holds itself."""
    text = "study: x\nseed: 1\n" + laughs(20)
    refused(lambda: spec.resolve(yaml.safe_load(text)), "500000 values")
    circle: list = []
    circle.append(circle)
    refused(lambda: spec.resolve({"study": "x", "title": circle}), "levels deep")
    refused(
        lambda: spec.resolve({f"key{i}": i for i in range(MILLION)}), "500000 values"
    )
    deep = put(folder, "c.yaml", "a: " + "[" * 100_000)
    refused(lambda: spec.require_readable([deep]), str(deep))


def many_people(folder: Path) -> None:
    """A simulated study of a billion people."""
    config = yaml.safe_load(
        Path(spec.SCHEMA.parents[2], "config/config.yaml").read_text("utf-8")
    )
    config["simulate"] = {"n_subjects": 10**9}
    refused(lambda: study.open_study(config), "n_subjects")


def nested(folder: Path) -> None:
    """A sidecar of a million brackets, and one of 30 MB."""
    for content in ("[" * MILLION, json.dumps({**SIDECAR, "x": "y" * 30 * MILLION})):
        path = put(folder, "sub-01_bold.json", content)
        run = {"subject": "01", "session": None, "run": None, "sidecar": str(path)}
        attempt(lambda run=run: bids.repetition_time(run), "sub-01")


def names(folder: Path) -> None:
    """Paths that no file system takes."""
    for name in ("x" * 300, "a/" * 3000, "a\0b", "\ud800"):
        path = folder / f"{name}.tsv"
        refused(lambda path=path: tables.read_table(path, "maps.table"), "maps.table")
        refused(lambda path=path: bids.read_events(path, "sub-01"), "sub-01")
        refused(
            lambda path=path: images.read_grid(f"{path}.nii", None, "sub-01"), "sub-01"
        )
        asked = {**BIDS, "dataset": str(path), "derivatives": str(path)}
        refused(lambda asked=asked: bids.index_runs(asked), "bids.dataset")


CASES = {
    each.__name__: each
    for each in (
        *(claims, begins_late, goes_on, unpacks, wide, long, large),
        *(many_events, laughing, many_people, nested, names),
    )
}
