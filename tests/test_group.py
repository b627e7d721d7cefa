"""The group's mean attenuation, voxel by voxel, against plain numpy; one grid, or none."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from handhold.derivatives import group_names
from handhold.errors import StudyError
from handhold.group import average_images, read_voxels, write_group, write_voxels
from handhold.images import Grid, write_image
from handhold.regions import label_cloud

AFFINE = np.diag([8.0, 8, 8, 1])
AFFINE[:3, 3] = [-72, -104, -64]
GRID = Grid(AFFINE, (19, 23, 18))
CONTRASTS = [
    {"name": "partner", "baseline": "alone", "held": "partner"},
    {"name": "over_stranger", "baseline": "stranger", "held": "partner"},
]
CELLS = [
    (condition, cue)
    for condition in ("alone", "stranger", "partner")
    for cue in ("threat", "safe")
]
CHOICES = {
    "analyze_orientation": None,
    "zero_is_missing": True,
    "min_subjects": 0.75,
    "min_coverage": 0.8,
    "low_coverage": "missing",
}


@pytest.fixture
def atlas(rng):
    """One box of cortex and one of subcortex."""
    labels = np.zeros(GRID.shape, int)
    labels[4:15, 5:18, 8:15] = 1
    labels[4:15, 5:18, 5:8] = 2
    cloud = label_cloud(labels, AFFINE, {"a": [1], "b": [2]})
    definitions = pd.DataFrame(
        {"kind": "parcel", "region": ["a", "b"], "structure": ["cortex", "subcortex"]}
    )
    return labels, cloud, definitions


@pytest.fixture
def receptor(tmp_path, rng):
    """A map on the same grid, 0 outside the brain: its row, and its values with NaN there."""
    values = rng.uniform(1, 2, GRID.shape)
    values[:, :, 16:] = np.nan
    values[0, 0, 0] = np.nan  # what `constant` looks at
    path = tmp_path / "mu.nii.gz"
    write_image(path, np.nan_to_num(values), GRID)
    row = {"receptor": "mu", "path": str(path), "background": "constant"}
    return {**row, "negative": "", "checksum": ""}, values


def draw_cells(rng, n_subjects=4):
    return {
        (f"{i:02}", *cell): rng.normal(1, 1, GRID.shape).astype(np.float32)
        for i in range(n_subjects)
        for cell in CELLS
    }


def write_cells(folder, cells, grid=GRID):
    rows = []
    for (subject, condition, cue), values in cells.items():
        path = folder / f"{subject}_{condition}_{cue}.nii.gz"
        write_image(path, values, grid)
        rows.append((subject, condition, cue, str(path)))
    columns = ["subject", "condition", "cue", "image"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(contrast=np.nan, run=np.nan, variance=np.nan).astype(object)


def plain(cells, contrast):
    """Attenuation by hand, (n_subjects, x, y, z); alone - held of threat - safe."""
    subjects = sorted({key[0] for key in cells})
    signs = {
        (contrast["baseline"], "threat"): 1,
        (contrast["baseline"], "safe"): -1,
        (contrast["held"], "threat"): -1,
        (contrast["held"], "safe"): 1,
    }
    return np.stack(
        [
            sum(
                sign * cells[subject, *cell].astype(float)
                for cell, sign in signs.items()
            )
            for subject in subjects
        ]
    )


def test_means_are_those_of_plain_numpy(tmp_path, rng, atlas, receptor):
    _, cloud, definitions = atlas
    cells = draw_cells(rng)
    # two of four people lack one voxel, one lacks another; zeros and NaN are not measured
    for subject, hole in (("00", np.nan), ("01", 0)):
        cells[subject, "alone", "threat"][9, 9, 9] = hole
    cells["02", "partner", "safe"][9, 9, 10] = np.nan
    found = average_images(
        write_cells(tmp_path, cells),
        CONTRASTS,
        cloud,
        definitions,
        receptor[0],
        **CHOICES,
    )
    for contrast in CONTRASTS:
        by_hand, name = plain(cells, contrast), contrast["name"]
        expected = by_hand.mean(axis=0)
        if name == "partner":
            assert np.isnan(found.means[name][9, 9, 9])
            assert found.n_subjects[name][9, 9, 9] == 2
            expected[9, 9, 9] = np.nan
        expected[9, 9, 10] = by_hand[[0, 1, 3], 9, 9, 10].mean()
        np.testing.assert_allclose(found.means[name], expected, atol=1e-6)


def test_grey_matter_has_the_binding_and_the_structure_of_its_place(
    tmp_path, rng, atlas, receptor
):
    labels, cloud, definitions = atlas
    cells = draw_cells(rng)
    images = write_cells(tmp_path, cells)
    found = average_images(
        images, CONTRASTS, cloud, definitions, receptor[0], **CHOICES
    )
    voxels = found.voxels
    assert len(voxels.places) == (labels > 0).sum()
    code = labels[tuple(voxels.places.T)]
    assert (np.array(["", "cortex", "subcortex"])[code] == voxels.structure).all()
    binding = receptor[1][tuple(voxels.places.T)]
    np.testing.assert_allclose(voxels.binding, binding, rtol=1e-6)
    assert voxels.size_mm.tolist() == [8, 8, 8]
    # each person's correlation is that of the voxels, means of structures taken
    own = plain(cells, CONTRASTS[0])[1][tuple(voxels.places.T)]
    sides = [own.copy(), binding.copy()]
    for side in sides:
        for inside in (code == 1, code == 2):
            side[inside] -= side[inside].mean()
    table = found.subjects.set_index(["subject", "contrast"])
    expected = stats.pearsonr(*sides).statistic
    assert table.loc[("01", "partner"), "r"] == pytest.approx(expected, abs=1e-6)
    write_voxels(voxels, tmp_path / "voxels.npz")
    read = read_voxels(tmp_path / "voxels.npz", ["partner", "over_stranger"])
    assert (read.groups["partner"] == voxels.groups["partner"]).all()
    assert read.structure.tolist() == voxels.structure.tolist()
    assert read.reason == ""


def test_images_of_contrasts_are_turned_as_they_say(tmp_path, rng, atlas, receptor):
    _, cloud, definitions = atlas
    cells = draw_cells(rng)
    images = write_cells(tmp_path, cells)
    images = images[(images["condition"] == "alone") & (images["cue"] == "threat")]
    images = images.assign(condition=np.nan, cue=np.nan, contrast="held_more")
    turned = {"image": "held_more", "direction": "held_minus_baseline"}
    kept = {"image": "held_more", "direction": "baseline_minus_held"}
    found = average_images(
        images,
        [{"name": "turned", **turned}, {"name": "kept", **kept}],
        cloud,
        definitions,
        receptor[0],
        **CHOICES,
    )
    mean = np.mean([cells[f"{i:02}", "alone", "threat"] for i in range(4)], axis=0)
    np.testing.assert_allclose(found.means["kept"], mean, atol=1e-6)
    np.testing.assert_allclose(found.means["turned"], -mean, atol=1e-6)


def test_runs_are_combined_by_precision(tmp_path, rng, atlas, receptor):
    _, cloud, definitions = atlas
    first, second = draw_cells(rng), draw_cells(rng)
    for name in ("one", "two", "variance"):
        (tmp_path / name).mkdir()
    tables = [
        write_cells(tmp_path / name, cells).assign(run=name)
        for name, cells in (("one", first), ("two", second))
    ]
    for table, size in zip(tables, (1.0, 3.0), strict=True):
        path = tmp_path / "variance" / f"{size}.nii.gz"
        values = np.full(GRID.shape, size)
        values[0, 0, 0] = 0.5  # a constant image is refused
        write_image(path, values, GRID)
        table["variance"] = str(path)
    both = pd.concat(tables, ignore_index=True)
    rest = (cloud, definitions, receptor[0])
    found = average_images(both, CONTRASTS, *rest, **CHOICES).means["partner"]
    expected = [plain(cells, CONTRASTS[0]).mean(axis=0) for cells in (first, second)]
    weighted = (3 * expected[0] + expected[1]) / 4
    np.testing.assert_allclose(found[1:], weighted[1:], atol=1e-5)
    bare = both.assign(variance=np.nan)
    found = average_images(bare, CONTRASTS, *rest, **CHOICES).means["partner"]
    np.testing.assert_allclose(found, np.mean(expected, axis=0), atol=1e-5)


def test_images_on_two_grids_are_not_averaged(tmp_path, rng, atlas, receptor):
    _, cloud, definitions = atlas
    images = write_cells(tmp_path, draw_cells(rng))
    moved = AFFINE.copy()
    moved[0, 3] += 4
    (tmp_path / "moved").mkdir()
    other = write_cells(tmp_path / "moved", draw_cells(rng), Grid(moved, GRID.shape))
    mixed = pd.concat(
        [images[images["subject"] != "03"], other[other["subject"] == "03"]]
    )
    found = average_images(mixed, CONTRASTS, cloud, definitions, receptor[0], **CHOICES)
    assert found.means == {}
    assert "sub-03: the images lie on another grid" in found.voxels.reason
    write_voxels(found.voxels, tmp_path / "voxels.npz")
    read = read_voxels(tmp_path / "voxels.npz", ["partner"])
    assert read.reason == found.voxels.reason
    write_group(found, str(tmp_path / "group"), {}, {})
    assert [*(tmp_path / "group").iterdir()] == []


def test_images_are_written_with_their_meaning(tmp_path, rng, atlas, receptor):
    _, cloud, definitions = atlas
    images = write_cells(tmp_path, draw_cells(rng))
    found = average_images(
        images, CONTRASTS, cloud, definitions, receptor[0], **CHOICES
    )
    names = group_names(str(tmp_path), CONTRASTS)
    write_group(found, str(tmp_path / "group"), names, {"Units": "a.u."})
    assert names["over_stranger"].endswith(
        "group/contrast-overStranger_stat-effect_statmap.nii.gz"
    )
    image = nib.load(names["partner"])
    np.testing.assert_allclose(image.get_fdata(), found.means["partner"], atol=1e-6)
    assert (image.affine == AFFINE).all()
    sidecar = json.loads((tmp_path / "group").joinpath(
        "contrast-partner_stat-effect_statmap.json").read_text(encoding="utf-8"))  # fmt: skip
    assert sidecar["NumberOfSubjects"] == 4
    assert sidecar["Units"] == "a.u."


def test_contrasts_of_one_file_name_are_refused():
    with pytest.raises(StudyError, match="Rename them in contrasts"):
        group_names("out", [{"name": "a_b"}, {"name": "aB"}])
