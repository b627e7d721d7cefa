"""The registries say where every region and every receptor map comes from."""

import csv
import hashlib
import re
from importlib.resources import files
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

ATLASES = Path(__file__).parents[1] / "atlases"
DOI = re.compile(r"10\.\d{4,9}/\S+")
# Columns that may be empty, because most regions have neither.
OPTIONAL = {"where", "threshold"}


def read(name):
    with (ATLASES / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


RECEPTORS, PARCELLATIONS, ROIS = map(read, ("receptors.tsv", "atlases.tsv", "rois.tsv"))
BY_NAME = {row["name"]: row for row in PARCELLATIONS}


def locate(path, data_root):
    """Turn a registry's path into a real one."""
    if path.startswith("package:"):
        package, _, inside = path.removeprefix("package:").partition("/")
        return Path(str(files(package))) / inside
    return data_root / path


def read_labels(atlas, data_root):
    """Read an atlas table by hand: identifier to name."""
    lines = locate(atlas["labels"], data_root).read_text().splitlines()
    if atlas["labels_format"] == "id_name":
        return {int(line.split()[0]): line.split()[1] for line in lines if line}
    if atlas["labels_format"] == "csv":
        return {int(row["index"]): row["name"] for row in csv.DictReader(lines)}
    if atlas["labels_format"] == "lut_pairs":
        identifiers = [int(line.split()[0]) for line in lines[1::2]]
        return dict(zip(identifiers, lines[0::2], strict=True))
    return dict(enumerate(lines, start=1))


@pytest.mark.parametrize("name", ["receptors.tsv", "atlases.tsv", "rois.tsv"])
def test_every_row_is_complete(name):
    rows = read(name)
    assert rows
    for row in rows:
        # DictReader files surplus cells under None and missing ones as None.
        assert None not in row
        assert None not in row.values(), row
        empty = {column for column, cell in row.items() if not cell.strip()}
        assert empty <= OPTIONAL, (row, empty)
        assert all(cell == cell.strip() for cell in row.values()), row


@pytest.mark.parametrize(
    ("rows", "key"),
    [
        (RECEPTORS, ("receptor",)),
        (RECEPTORS, ("file",)),
        (RECEPTORS, ("sha256",)),
        (PARCELLATIONS, ("name",)),
        (ROIS, ("definition", "region")),
        (ROIS, ("definition", "labels", "where")),
    ],
)
def test_keys_are_unique(rows, key):
    keys = [tuple(row[column] for column in key) for row in rows]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("row", RECEPTORS + PARCELLATIONS)
def test_a_map_or_atlas_names_its_paper(row):
    assert re.search(r"\(\d{4}\)", row["citation"])
    assert all(DOI.fullmatch(doi) for doi in row["doi"].split("; "))


@pytest.mark.parametrize("row", RECEPTORS, ids=lambda row: row["receptor"])
def test_a_receptor_key_is_safe_in_a_file_name(row):
    assert re.fullmatch(r"\w+", row["receptor"], flags=re.ASCII)
    assert int(row["n"]) > 0
    assert re.fullmatch(r"[0-9a-f]{64}", row["sha256"])
    number = re.fullmatch(r"-?\d+(\.\d+)?", row["background"])
    assert number or row["background"] in ("constant", "nan")
    assert row["negative"] in ("refuse", "keep")


@pytest.mark.parametrize("row", RECEPTORS, ids=lambda row: row["receptor"])
def test_a_receptor_file_is_the_one_that_was_registered(row, shared_data):
    path = shared_data / row["file"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == row["sha256"]


@pytest.mark.parametrize("row", RECEPTORS, ids=lambda row: row["receptor"])
def test_the_stated_background_and_unit_hold_in_the_file(row, shared_data):
    values = np.asarray(nib.load(shared_data / row["file"]).dataobj, dtype=float)
    outside = values.flat[0]
    assert row["background"] == "constant"
    unique, counts = np.unique(values, return_counts=True)
    assert unique[counts.argmax()] == outside
    # A brain fills a fifth to a third of these boxes.
    assert 0.66 < np.mean(values == outside) < 0.86
    # "Rescaled to maximum 100": the peaks of two maps were smoothed off by at most
    # 2 % when the collection resampled them.
    assert 98 < values.max() < 100.001
    brain = values[values != outside]
    assert brain.min() >= 0
    shifted = outside < -1
    assert ("minimum 0" in row["unit"]) == shifted


def test_every_registered_map_is_in_the_folder_and_back(shared_data):
    there = {f"pet/{path.name}" for path in (shared_data / "pet").glob("*.nii*")}
    assert there == {row["file"] for row in RECEPTORS}


# Counts from the papers: cortex and subcortex areas of each parcellation.
PARCELS = {
    "hcpex": (360, 66),
    "schaefer100_tian_s2_nlin6asym": (100, 32),
    "schaefer100_tian_s2_nlin2009casym": (100, 32),
    "schaefer400_tian_s2_nlin2009casym": (400, 32),
    "schaefer200": (200, 0),
    "tian_s2_nlin6asym": (0, 32),
    "tian_s2_nlin2009casym": (0, 32),
}


def count_structures(rule, labels):
    structure, _, pattern = rule.partition("=")
    interval = re.fullmatch(r"(\d+)-(\d+)", pattern)
    if interval:
        low, high = map(int, interval.groups())
        named = sum(low <= identifier <= high for identifier in labels)
    else:  # without a pattern the rule holds for every label
        named = sum(bool(re.search(pattern, name)) for name in labels.values())
    rest = len(labels) - named
    return (named, rest) if structure == "cortex" else (rest, named)


def test_every_atlas_with_a_structure_rule_has_a_known_count():
    ruled = {row["name"] for row in PARCELLATIONS if row["structure_rule"] != "n/a"}
    assert ruled == set(PARCELS)


@pytest.mark.parametrize("name", PARCELS)
def test_the_structure_rule_tells_cortex_from_subcortex(name, request):
    atlas = BY_NAME[name]
    packaged = atlas["labels"].startswith("package:")
    root = None if packaged else request.getfixturevalue("shared_data")
    labels = read_labels(atlas, root)
    labels.pop(0, None)
    assert count_structures(atlas["structure_rule"], labels) == PARCELS[name]


# Labels that AAL3's table keeps for compatibility, though its image gave their
# voxels to the new subdivisions; a region built on one would be empty.
RETIRED = {35, 36, 81, 82}


@pytest.mark.parametrize("name", BY_NAME)
def test_an_atlas_image_agrees_with_its_table(name, request):
    atlas = BY_NAME[name]
    assert atlas["kind"] in ("labels", "probabilistic", "mask")
    packaged = atlas["image"].startswith("package:")
    root = None if packaged else request.getfixturevalue("shared_data")
    image = nib.load(locate(atlas["image"], root))
    labels = read_labels(atlas, root)
    if atlas["kind"] == "probabilistic":
        assert sorted(labels) == list(range(image.shape[3]))
        return
    values = set(np.unique(np.asarray(image.dataobj)).astype(int).tolist())
    assert values - {0} == set(labels) - {0} - (RETIRED if name == "aal3" else set())


@pytest.mark.parametrize("definition", sorted({row["definition"] for row in ROIS}))
def test_every_label_of_a_region_is_in_its_atlas(definition, request):
    rows = [row for row in ROIS if row["definition"] == definition]
    for row in rows:
        atlas = BY_NAME[row["atlas"]]
        packaged = atlas["labels"].startswith("package:")
        root = None if packaged else request.getfixturevalue("shared_data")
        table = read_labels(atlas, root)
        names = {table[key] for key in table if key not in RETIRED or not packaged}
        assert set(row["labels"].split("|")) <= names, row["region"]
        assert bool(row["threshold"]) == (atlas["kind"] == "probabilistic")


@pytest.mark.parametrize("definition", sorted({row["definition"] for row in ROIS}))
def test_left_and_right_make_both(definition):
    rows = {row["region"]: row for row in ROIS if row["definition"] == definition}
    bilateral = [name for name, row in rows.items() if row["hemisphere"] == "both"]
    for name in bilateral:
        sides = [rows[f"{name}_L"], rows[f"{name}_R"]]
        assert [side["hemisphere"] for side in sides] == ["left", "right"]
        left, right = (set(side["labels"].split("|")) for side in sides)
        assert left | right == set(rows[name]["labels"].split("|"))
        assert all(re.search(r"^Left_|_L$", label) for label in left)
        assert all(re.search(r"^Right_|_R$", label) for label in right)
        assert {side["where"] for side in sides} == {rows[name]["where"]}
    assert len(rows) == 3 * len(bilateral)


@pytest.mark.parametrize("definition", sorted({row["definition"] for row in ROIS}))
def test_the_hypothesis_is_four_bilateral_regions(definition):
    rows = [row for row in ROIS if row["definition"] == definition]
    hypothesised = {row["region"] for row in rows if row["role"] == "hypothesised"}
    assert hypothesised == {"vACC", "vPFC", "striatum", "insula"}
    assert {row["role"] for row in rows} == {"hypothesised", "detail"}
    for row in rows:
        assert DOI.search(row["source"])
        cites_hypothesis = "10.1111/j.1467-9280.2006.01832.x" in row["source"]
        assert cites_hypothesis == (row["role"] == "hypothesised")


@pytest.mark.parametrize("row", ROIS, ids=lambda row: row["region"])
def test_a_plane_is_written_in_the_one_form_there_is(row):
    assert re.fullmatch(r"([xyz] (<|<=|>|>=) -?\d+(\.\d+)?)?", row["where"])
