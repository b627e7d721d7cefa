"""Region means are those of the points of the atlas, whatever the image looks like."""

from itertools import product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from brains import AFFINE, ORIENTATIONS, SHAPE, centres, draw, reorient, write
from hypothesis import given
from hypothesis import strategies as st

from handhold import regions
from handhold.images import read_labels, read_volume
from handhold.regions import (
    average,
    dice,
    label_cloud,
    pick,
    place_tiny,
    relabel,
    restrict,
    sphere_cloud,
    stack,
    unite,
    weigh,
    weighted_cloud,
)

seeds = st.integers(0, 2**32 - 1)
# 2 mm, x -39..39, y -49..49, z -39..39
ATLAS_SHAPE = (40, 50, 40)
ATLAS_AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
ATLAS_AFFINE[:3, 3] = [-39, -49, -39]


def draw_atlas(rng, n_labels=4):
    """Draw blocks of labels; a label is no convex thing in a real atlas either."""
    return np.kron(
        rng.integers(0, n_labels + 1, size=(8, 10, 8)), np.ones((5, 5, 5), int)
    )


def draw_cloud(rng, affine=ATLAS_AFFINE, labels=None):
    labels = draw_atlas(rng) if labels is None else labels
    members = {"one": [1], "two": [2, 3], "four": [4]}
    return label_cloud(labels, affine, members)


def box(low, high, size, name="box"):
    """Fill a box (mm, from `low` to `high`) with voxels of `size`, as an atlas would."""
    shape = np.round((np.array(high) - low) / size).astype(int)
    affine = np.diag([size, size, size, 1.0])
    affine[:3, 3] = np.array(low) + size / 2
    return label_cloud(np.ones(shape, int), affine, {name: [1]})


def average_by_hand(cloud, values, affine, *, zero_is_missing=False):
    """Average point by point: every point takes the voxel whose centre is nearest."""
    sites = centres(affine, values.shape)
    half = np.abs(affine[:3, :3]).sum(axis=1) / 2
    flat = values.ravel()
    total = np.zeros(len(cloud.names))
    measured, weighted = total.copy(), total.copy()
    voxels = [set() for _ in cloud.names]
    for point, region, weight in zip(
        cloud.points, cloud.region, cloud.weight, strict=True
    ):
        total[region] += weight
        nearest = np.abs(sites - point).sum(axis=1).argmin()
        inside = (np.abs(sites[nearest] - point) <= half).all()
        value = flat[nearest]
        if inside and np.isfinite(value) and not (zero_is_missing and value == 0):
            measured[region] += weight
            weighted[region] += weight * value
            voxels[region].add(int(nearest))
    with np.errstate(invalid="ignore"):
        mean = weighted / measured
    return mean, measured / total, [len(found) for found in voxels]


# --- means against a loop and against planted truth ---------------------------------------------


@pytest.mark.parametrize("zero_is_missing", [True, False])
def test_means_are_those_of_a_loop_over_points(zero_is_missing, rng):
    labels = np.zeros((6, 7, 5), int)
    labels[:] = rng.integers(0, 5, size=labels.shape)
    # off the ties: no point lies halfway between two voxels
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = [-6.3, -5.1, -3.9]
    cloud = draw_cloud(rng, affine, labels)
    values = draw(rng, (5, 6, 4)).astype(float)
    values[rng.random(values.shape) < 0.2] = np.nan
    values[rng.random(values.shape) < 0.2] = 0
    values[0, 0, 0] = np.inf
    grid = np.diag([-3.0, 3.0, 3.5, 1.0])
    # a part of the atlas lies outside
    grid[:3, 3] = [7, -4, -3]
    weights = weigh(cloud, grid, values.shape)
    found = average(weights, values, zero_is_missing=zero_is_missing)
    mean, coverage, n_voxels = average_by_hand(
        cloud, values, grid, zero_is_missing=zero_is_missing
    )
    assert (coverage < 1).all()
    assert (coverage > 0).all()
    np.testing.assert_allclose(found.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(found.coverage, coverage, rtol=1e-12)
    np.testing.assert_array_equal(found.n_voxels, n_voxels)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_means_do_not_depend_on_the_order_of_axes(orientation, rng):
    # points of the atlas fall halfway between voxels of this grid along every axis
    affine = AFFINE.copy()
    affine[:3, 3] = [-83, -113, -75]
    cloud = draw_cloud(rng)
    values = draw(rng)
    values[rng.random(SHAPE) < 0.1] = np.nan
    values[rng.random(SHAPE) < 0.1] = 0
    expected = average(weigh(cloud, affine, SHAPE), values, zero_is_missing=True)
    turned, turned_affine = reorient(values, affine, orientation)
    weights = weigh(cloud, turned_affine, turned.shape)
    found = average(weights, turned, zero_is_missing=True)
    # equal to the last bit: sums of whole numbers are exact in any order
    np.testing.assert_array_equal(found.mean, expected.mean)
    np.testing.assert_array_equal(found.coverage, expected.coverage)
    np.testing.assert_array_equal(found.n_voxels, expected.n_voxels)


def test_means_do_not_depend_on_the_file_format(rng, tmp_path):
    cloud, values = draw_cloud(rng), draw(rng)
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    las = np.array([[0, -1], [1, 1], [2, 1]])
    mirrored, las_affine = reorient(values, AFFINE, las)
    transposed, zxy_affine = reorient(values, AFFINE, ORIENTATIONS[-1])
    paths = [
        write(tmp_path / "a.nii", values),
        write(tmp_path / "b.nii.gz", mirrored, las_affine),
        write(tmp_path / "c.nii", transposed[..., np.newaxis], zxy_affine),
        write(tmp_path / "d.img", values, kind=nib.Nifti1Pair),
        write(tmp_path / "e.nii", values, kind=nib.Nifti2Image),
        write(tmp_path / "f.nii", values.astype(">i2"), header=header),
    ]
    means = []
    for path in paths:
        volume = read_volume(path, None, "sub-01")
        weights = weigh(cloud, volume.grid.affine, volume.grid.shape)
        means.append(average(weights, volume.values, zero_is_missing=True).mean)
    np.testing.assert_array_equal(means, [means[0]] * len(paths))
    assert len(set(means[0])) == 3


@pytest.mark.parametrize(
    ("sizes", "exact"),
    [
        ((2, 2, 2), True),
        ((1, 2, 1), True),
        ((3, 3.4375, 4.5), False),
        ((8,) * 3, False),
    ],
)
def test_a_linear_field_is_recovered_at_the_centroid(sizes, exact, rng):
    gradient = np.array([3.0, -1.0, 0.5])
    cloud = draw_cloud(rng)
    shape = tuple(int(np.ceil(104 / size)) for size in sizes)
    affine = np.diag([*sizes, 1.0])
    # voxel edges at -52 mm: those of 2 mm and 1 mm lie on the voxels of the atlas
    affine[:3, 3] = np.array(sizes) / 2 - 52
    field = (centres(affine, shape) @ gradient + 7).reshape(shape)
    found = average(weigh(cloud, affine, shape), field, zero_is_missing=False)
    planted = cloud.centroid @ gradient + 7
    # no point lies farther from the centre of its voxel than half a voxel along each axis
    bound = 1e-9 if exact else np.abs(gradient) @ np.array(sizes) / 2
    assert np.ptp(planted) > 1
    assert (np.abs(found.mean - planted) < bound).all()
    np.testing.assert_allclose(found.coverage, 1)


def test_centroid_and_volume_are_those_of_the_voxels(rng):
    labels = draw_atlas(rng)
    cloud = draw_cloud(rng, labels=labels)
    where = centres(ATLAS_AFFINE, ATLAS_SHAPE)
    for region, codes in enumerate([[1], [2, 3], [4]]):
        inside = np.isin(labels.ravel(), codes)
        assert cloud.volume[region] == 8 * inside.sum()
        np.testing.assert_allclose(cloud.centroid[region], where[inside].mean(axis=0))


# --- coverage -----------------------------------------------------------------------------------


def test_half_outside_the_field_of_view_is_half_covered(rng):
    cloud = box([-16, -16, -16], [16, 16, 16], 2)
    # the grid begins at x = 0
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = [2, -30, -30]
    values = draw(rng, (10, 16, 16))
    found = average(weigh(cloud, affine, values.shape), values, zero_is_missing=False)
    assert found.coverage[0] == 0.5
    inside = (np.abs(centres(affine, values.shape)) < 16).all(axis=1)
    assert found.mean[0] == values.ravel()[inside].mean(dtype=float)
    assert found.n_voxels[0] == inside.sum() == 4 * 8 * 8


def test_a_region_outside_the_field_of_view_has_no_mean(rng):
    cloud = stack([box([200, 0, 0], [210, 10, 10], 2, "far"), box([0] * 3, [8] * 3, 2)])
    found = average(weigh(cloud, AFFINE, SHAPE), draw(rng), zero_is_missing=False)
    assert np.isnan(found.mean[0])
    assert found.coverage[0] == 0
    assert found.n_voxels[0] == 0
    assert found.coverage[1] == 1


def test_missing_voxels_are_out_of_mean_and_coverage():
    # eight voxels, one point each; worked by hand
    cloud = box([0, 0, 0], [2, 2, 2], 1)
    affine = np.eye(4)
    affine[:3, 3] = 0.5
    values = np.array([1.0, 2, 3, 6, 0, 0, np.nan, np.inf]).reshape(2, 2, 2)
    before = values.copy()
    weights = weigh(cloud, affine, (2, 2, 2))
    counted = average(weights, values, zero_is_missing=False)
    assert (counted.mean[0], counted.coverage[0], counted.n_voxels[0]) == (2, 0.75, 6)
    missing = average(weights, values, zero_is_missing=True)
    assert (missing.mean[0], missing.coverage[0], missing.n_voxels[0]) == (3, 0.5, 4)
    np.testing.assert_array_equal(values, before)


def test_a_read_only_image_can_be_averaged(rng):
    values = draw(rng)
    values.setflags(write=False)
    average(weigh(draw_cloud(rng), AFFINE, SHAPE), values, zero_is_missing=True)


@given(seed=seeds, gain=st.floats(-50, 50).filter(lambda g: abs(g) > 1e-3))
def test_means_follow_the_unit_of_the_image(seed, gain):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, size=(4, 4, 4))
    cloud = draw_cloud(rng, np.diag([7.0, 7, 7, 1]), labels)
    values = rng.normal(size=(5, 4, 3))
    values[rng.random(values.shape) < 0.3] = np.nan
    weights = weigh(cloud, np.diag([5.0, 8, 6, 1]), values.shape)
    one = average(weights, values, zero_is_missing=False)
    other = average(weights, gain * values + 3, zero_is_missing=False)
    np.testing.assert_allclose(other.mean, gain * one.mean + 3, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(other.coverage, one.coverage)
    assert ((one.coverage >= 0) & (one.coverage <= 1)).all()
    np.testing.assert_array_equal(np.isnan(one.mean), one.n_voxels == 0)


# --- atlases coarser than the image -------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_coarse_atlas_leaves_no_holes(size):
    # edges of the 8 mm voxels lie on edges of the image's voxels
    cloud = box([-16, -16, -16], [16, 16, 16], 8)
    affine = np.diag([size, size, size, 1.0])
    affine[:3, 3] = size / 2 - 24
    shape = (48 // size,) * 3
    weights = weigh(cloud, affine, shape)
    held = weights.matrix.toarray().reshape(shape)
    inside = (np.abs(centres(affine, shape)) < 16).all(axis=1).reshape(shape)
    np.testing.assert_allclose(held, np.where(inside, size**3, 0), rtol=1e-12)
    np.testing.assert_allclose(weights.total, 32**3)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_an_atlas_may_have_any_order_of_axes(orientation, rng, tmp_path):
    # long voxels: split along the wrong axis they would overlap and leave holes
    affine = np.diag([2.0, 4.0, 8.0, 1.0])
    affine[:3, 3] = [-31, -30, -28]
    labels = rng.integers(1, 5, size=(32, 16, 8)).astype(np.int16)
    turned, turned_affine = reorient(labels, affine, orientation)
    path = write(tmp_path / "a.nii", turned, turned_affine)
    volume = read_labels(path, "atlas")
    cloud = draw_cloud(rng, volume.grid.affine, volume.values)
    grid = np.diag([2.0, 2, 2, 1])
    grid[:3, 3] = -31
    held = weigh(cloud, grid, (32, 32, 32)).matrix.toarray().reshape(3, 32, 32, 32)
    fine = np.repeat(np.repeat(labels, 2, axis=1), 4, axis=2)
    expected = np.stack([np.isin(fine, codes) for codes in ([1], [2, 3], [4])])
    np.testing.assert_allclose(held, 8.0 * expected, rtol=1e-12)


@given(seed=seeds, size=st.floats(0.5, 12), spacing=st.floats(0.5, 12))
def test_weights_conserve_volume(seed, size, spacing):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, size=(3, 3, 3))
    labels[0, 0] = [1, 2, 4]
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = rng.uniform(-5, 5, size=3)
    cloud = draw_cloud(rng, affine, labels)
    grid = np.diag([size, size, size, 1.0])
    n_voxels = int(100 // size) + 1
    grid[:3, 3] = -50
    weights = weigh(cloud, grid, (n_voxels,) * 3)
    counts = [np.isin(labels, codes).sum() for codes in ([1], [2, 3], [4])]
    np.testing.assert_allclose(weights.total, np.array(counts) * spacing**3)
    np.testing.assert_allclose(weights.matrix.sum(axis=1), weights.total)


# --- pieces of regions --------------------------------------------------------------------------


def test_a_label_in_two_regions_is_refused():
    labels = np.arange(8).reshape(2, 2, 2)
    with pytest.raises(ValueError, match="two regions"):
        label_cloud(labels, np.eye(4), {"a": [1, 2], "b": [2]})


def test_labels_that_nobody_asked_for_stay_out():
    labels = np.array([[[0, -1, 9170, 2, 5]]])
    cloud = label_cloud(labels, np.eye(4), {"a": [9170], "b": [2, 7]})
    np.testing.assert_array_equal(cloud.points, [[0, 0, 2], [0, 0, 3]])
    np.testing.assert_array_equal(cloud.region, [0, 1])


CLAUSES = {
    "y >= 0": lambda x, y, z: y >= 0,
    "y < 0": lambda x, y, z: y < 0,
    "x<=-3": lambda x, y, z: x <= -3,
    "z > 4.5 and x < 0": lambda x, y, z: (z > 4.5) & (x < 0),
    " x >= -10 and x <= 10 and z<0 ": lambda x, y, z: (x >= -10) & (x <= 10) & (z < 0),
}


@pytest.mark.parametrize("clause", CLAUSES)
def test_clauses_keep_the_points_on_their_side(clause, rng):
    affine = ATLAS_AFFINE.copy()
    # points lie on the planes 0 and -3 too
    affine[:3, 3] = [-39, -50, -39.5]
    cloud = draw_cloud(rng, affine)
    keep = CLAUSES[clause](*cloud.points.T)
    assert 0 < keep.sum() < len(keep)
    found = restrict(cloud, clause)
    np.testing.assert_array_equal(found.points, cloud.points[keep])
    np.testing.assert_array_equal(found.region, cloud.region[keep])
    np.testing.assert_array_equal(found.weight, cloud.weight[keep])


@pytest.mark.parametrize(
    "clause",
    [
        "",
        "y",
        "y >=",
        "y = 0",
        "y == 0",
        "Y >= 0",
        "w >= 0",
        "y >= 1e3",
        "y >= 0 or x < 1",
        "y >= 0 and",
        "y >= 0and x < 1",
        "not y >= 0",
        "-5 < y < 5",
        "y >= 0; x < 1",
        "y >= z",
        "y >= (0)",
        "open('made', 'w')",
        "y >= 0 and open('made', 'w')",
        "__import__('pathlib').Path('made').touch()",
    ],
)
def test_nothing_but_comparisons_is_a_clause(clause, rng, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="is not of the form 'y >= 0'"):
        restrict(box([0, 0, 0], [4, 4, 4], 1), clause)
    assert not Path("made").exists()


@given(seed=seeds)
def test_the_union_counts_every_place_once(seed):
    rng = np.random.default_rng(seed)
    masks = rng.random((3, 5, 4, 6)) < 0.4
    masks[:, 0, 0, 0] = True
    clouds = [
        weighted_cloud(mask.astype(float), ATLAS_AFFINE, "part") for mask in masks
    ]
    union = unite(clouds, "whole")
    assert union.names == ("whole",)
    assert union.volume[0] == 8 * masks.any(axis=0).sum()
    expected = centres(ATLAS_AFFINE, masks.shape[1:])[masks.any(axis=0).ravel()]
    assert set(map(tuple, union.points)) == set(map(tuple, expected))


@pytest.mark.parametrize(("one", "two"), [(2, 1), (1, 2), (4, 1), (3, 2), (2, 3)])
def test_the_union_of_two_resolutions_counts_every_place_once(one, two):
    # boxes of 24 mm and of 12 mm inside it, as voxels of either size
    outer = box([-12, -12, -12], [12, 12, 12], one)
    inner = box([0, 0, 0], [12, 12, 12], two)
    for clouds in ([outer, inner], [inner, outer]):
        union = unite(clouds, "whole")
        assert union.volume[0] == pytest.approx(24**3, rel=1e-12)
        assert (np.abs(union.points) < 12).all()


@given(seed=seeds)
def test_the_union_of_one_is_itself(seed):
    rng = np.random.default_rng(seed)
    labels = (rng.random((4, 5, 6)) < 0.5).astype(int)
    labels[0, 0, 0] = 1
    affine = np.diag([*rng.choice([0.7, 1.1, 1.2, 3.4375], size=3), 1.0])
    # centres half a voxel from the origin are where rounding could go either way
    affine[:3, 3] = affine.diagonal()[:3] * (rng.integers(-9, 9, size=3) + 0.5)
    cloud = label_cloud(labels, affine, {"a": [1]})
    union = unite([cloud], "b")
    np.testing.assert_array_equal(union.points, cloud.points)
    np.testing.assert_array_equal(union.weight, cloud.weight)


@pytest.mark.parametrize("coarse", [2, 4])
def test_half_a_coarse_voxel_can_be_held_by_a_fine_atlas(coarse):
    outer, inner = box([-12] * 3, [12] * 3, coarse), box([-1] * 3, [10] * 3, 1)
    for clouds in ([outer, inner], [inner, outer]):
        assert unite(clouds, "whole").volume[0] == pytest.approx(24**3, rel=1e-12)


def test_a_region_is_the_same_alone_and_beside_a_coarse_one(rng):
    fine, coarse = box([-3, 1, 2], [5, 9, 8], 1, "fine"), box([0] * 3, [12] * 3, 4)
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = -20
    values = draw(rng, (20, 20, 20))
    found = {}
    for key, cloud in (("alone", fine), ("beside", stack([coarse, fine]))):
        means = average(
            weigh(cloud, affine, values.shape), values, zero_is_missing=True
        )
        found[key] = means.mean[-1], means.coverage[-1], means.n_voxels[-1]
    assert found["alone"] == found["beside"]


def test_stacked_regions_may_overlap_and_can_be_picked(rng):
    one, two = box([0] * 3, [8] * 3, 2, "one"), box([4] * 3, [14] * 3, 2, "two")
    both = stack([one, two])
    assert both.names == ("one", "two")
    np.testing.assert_array_equal(both.volume, [8**3, 10**3])
    for cloud in (one, two):
        picked = pick(both, cloud.names[0])
        assert picked.names == cloud.names
        np.testing.assert_array_equal(picked.points, cloud.points)
        np.testing.assert_array_equal(picked.region, 0)
        np.testing.assert_array_equal(picked.weight, cloud.weight)


@pytest.mark.parametrize(
    ("one", "two", "overlap"),
    [
        # 8 of 8: the same box; as 2 mm and 1 mm voxels; shifted by half; apart
        (box([0] * 3, [8] * 3, 1), box([0] * 3, [8] * 3, 1), 1),
        (box([0] * 3, [8] * 3, 2), box([0] * 3, [8] * 3, 1), 1),
        (box([0] * 3, [8] * 3, 1), box([4, 0, 0], [12, 8, 8], 1), 0.5),
        (box([0] * 3, [8] * 3, 1), box([8, 0, 0], [12, 8, 8], 1), 0),
        # a quarter of the larger: 2 * 128 / (512 + 128)
        (box([0] * 3, [8] * 3, 2), box([0] * 3, [8, 8, 2], 2), 0.4),
    ],
)
def test_dice_is_that_of_hand(one, two, overlap):
    assert dice(one, two) == pytest.approx(overlap, abs=1e-12)
    assert dice(two, one) == pytest.approx(overlap, abs=1e-12)


def test_a_sphere_has_its_centre_and_volume():
    centre = np.array([4.5, 32.0, -8.25])
    for radius, tolerance in ((4, 0.05), (6, 0.05), (10, 0.01)):
        cloud = sphere_cloud(centre, radius, "s")
        np.testing.assert_allclose(cloud.centroid[0], centre, atol=1e-12)
        distance = np.linalg.norm(cloud.points - centre, axis=1)
        assert distance.max() <= radius + 1e-12
        # Gauss's sphere problem: lattice points in a ball of these radii: 257, 925, 4169
        assert cloud.volume[0] == {4: 257, 6: 925, 10: 4169}[radius]
        ball = 4 / 3 * np.pi * radius**3
        assert cloud.volume[0] == pytest.approx(ball, rel=tolerance)


def test_probabilities_weigh_the_points(rng):
    probability = np.array([[[0.0, 0.25, 1.0]]])
    cloud = weighted_cloud(probability, np.diag([2.0, 2, 2, 1]), "p")
    np.testing.assert_array_equal(cloud.weight, [2, 8])
    # voxels of value 10 and 20: (0.25 * 10 + 1 * 20) / 1.25
    weights = weigh(cloud, np.diag([2.0, 2, 2, 1]), (1, 1, 3))
    values = np.array([[[5.0, 10.0, 20.0]]])
    assert average(weights, values, zero_is_missing=False).mean[0] == 18


# --- tiny parcels -------------------------------------------------------------------------------

VOLUME = np.array([100.0, 5.0, 80.0, 3.0, 2.0, 50.0])
GROUP = np.array(["cortexL", "cortexL", "cortexL", "cortexR", "subcortexL", "cortexR"])
PLACE = np.array(
    [[0, 0, 0], [9, 0, 0], [10, 0, 0], [1, 0, 0], [0, 0, 0], [0, 80, 0]], float
)


def test_tiny_parcels_are_left_out_or_merged_as_by_hand():
    rule = {"volume": VOLUME, "centroid": PLACE, "group": GROUP}
    dropped = place_tiny(**rule, least_volume=50, merge=False)
    np.testing.assert_array_equal(dropped, [0, -1, 2, -1, -1, 5])
    # 1 joins 2, its nearest; 3 joins 5, far off but the only one of its hemisphere;
    # 4 has nobody of its structure to join
    merged = place_tiny(**rule, least_volume=50, merge=True)
    np.testing.assert_array_equal(merged, [0, 2, 2, 5, -1, 5])
    # the one below the bound is tiny, the one on it is not
    merged = place_tiny(**rule, least_volume=50.001, merge=True)
    np.testing.assert_array_equal(merged, [0, 2, 2, -1, -1, -1])
    untouched = place_tiny(**rule, least_volume=0, merge=True)
    np.testing.assert_array_equal(untouched, range(6))


def test_merged_regions_hold_all_their_points():
    clouds = [
        box([x, 0, 0], [x + 4, 4, 4], 2, name) for x, name in ((0, "a"), (9, "b"))
    ]
    cloud = stack([*clouds, box([30, 0, 0], [32, 2, 2], 2, "c")])
    merged = relabel(cloud, np.array([0, -1, 0]), ("a",))
    assert merged.names == ("a",)
    np.testing.assert_array_equal(merged.volume, [64 + 8])
    # (64 * 2 + 8 * 31) / 72
    assert merged.centroid[0, 0] == pytest.approx(376 / 72)
    assert set(map(tuple, merged.points)) == {
        *product([1.0, 3.0], repeat=3),
        (31.0, 1.0, 1.0),
    }


def test_the_module_reads_no_file_and_runs_no_text():
    source = Path(regions.__file__).read_text(encoding="utf-8")
    assert "eval(" not in source
    assert "exec(" not in source
