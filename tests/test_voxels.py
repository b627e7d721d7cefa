"""Voxels: which are grey matter, the statistic against scipy, planted worlds, and memory."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage, stats

from handhold import voxels as voxels_module
from handhold.correspondence import within_r
from handhold.estimate import one_sample
from handhold.regions import label_cloud, weigh
from handhold.voxels import (
    Voxels,
    couple_voxels,
    grey_matter_voxels,
    judge_voxels,
    voxel_cloud,
)

ROUNDING = 1e-6
TESTS = {"level": 0.95, "n_permutations": 999, "bayes_scale": 0.7}
AFFINE = np.diag([3.0, 3, 3, 1])


def draw_world(seed, edge=14, smooth=2.0):
    """Draw a cube of voxels, the lower quarter of it subcortex, and two smooth maps."""
    rng = np.random.default_rng(seed)
    places = np.argwhere(np.ones((edge, edge, edge), bool))
    structure = np.where(places[:, 2] < edge // 4, "subcortex", "cortex")

    def field():
        # wider than the cube, so that its opposite faces have nothing in common
        noise = rng.normal(size=(edge + 12,) * 3)
        drawn = ndimage.gaussian_filter(noise, smooth)[6:-6, 6:-6, 6:-6]
        return drawn.ravel() / drawn.std()

    return rng, places, structure, field


def subjects_of(groups, binding, structure, rng, n=8, noise=1.0):
    rows = []
    for name, group in groups.items():
        for i in range(n):
            own = group + noise * rng.normal(size=group.size)
            rows.append((f"{i:02}", name, *couple_voxels(own, binding, structure)))
    return pd.DataFrame(
        rows, columns=["subject", "contrast", "r", "r_spearman", "n_voxels"]
    )


def judge(voxels, subjects, method="spearman", n_nulls=99, seed=1):
    return judge_voxels(
        voxels,
        subjects,
        n_nulls=n_nulls,
        method=method,
        tests=TESTS,
        null_seed=seed,
        rng=np.random.default_rng(seed),
    ).set_index("contrast")


# Which voxels ---------------------------------------------------------------------------


def test_a_voxel_is_of_what_fills_half_of_it():
    """Cells of 1 mm in voxels of 3 mm: 14 of 27 are half, 13 are not."""
    labels = np.zeros((9, 3, 3), int)
    labels[:3].flat[:14] = 1
    labels[3:6].flat[:13] = 1
    labels[6:].flat[:10] = 1
    labels[6:].flat[10:] = 2
    one_mm = np.eye(4)
    one_mm[:3, 3] = -1
    cloud = label_cloud(labels, one_mm, {"a": [1], "b": [2]})
    weights = weigh(cloud, AFFINE, (3, 1, 1))
    voxel, structure = grey_matter_voxels(weights, ["cortex", "subcortex"], 27.0)
    assert voxel.tolist() == [0, 2]
    assert structure.tolist() == ["cortex", "subcortex"]


def test_voxels_of_another_grid_are_averaged_over_what_they_hold():
    fine = np.arange(6.0**3).reshape(6, 6, 6)
    half = np.diag([1.5, 1.5, 1.5, 1])
    half[:3, 3] = -0.75
    voxel = np.array([0, 13, 26])
    cloud = voxel_cloud(voxel, AFFINE, (3, 3, 3))
    weights = weigh(cloud, half, fine.shape)
    found = (weights.matrix @ fine.ravel()) / weights.total
    blocks = [
        fine[2 * i : 2 * i + 2, 2 * i : 2 * i + 2, 2 * i : 2 * i + 2] for i in range(3)
    ]
    assert found == pytest.approx([block.mean() for block in blocks])


def test_a_subject_is_correlated_over_its_own_voxels(rng):
    attenuation, binding = rng.normal(size=(2, 60))
    structure = np.repeat("cortex", 60)
    attenuation[:7], binding[5:12] = np.nan, np.nan
    r, r_spearman, n = couple_voxels(attenuation, binding, structure)
    sides = attenuation[12:], binding[12:]
    assert r == pytest.approx(stats.pearsonr(*sides).statistic)
    assert r_spearman == pytest.approx(stats.spearmanr(*sides).statistic)
    assert n == 48
    few = couple_voxels(attenuation[:20], binding[:20], structure[:20])
    assert np.isnan(few[:2]).all()
    assert few[2] == 8


# The test -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["spearman", "pearson"])
def test_each_contrast_is_correlated_within_structures(method):
    rng, places, structure, field = draw_world(1)
    binding = field() + 3 * (structure == "subcortex")
    groups = {"partner": binding + field(), "stranger": field()}
    groups["stranger"][:5] = np.nan
    binding = binding.copy()
    binding[5:9] = np.nan
    subjects = subjects_of(groups, binding, structure, rng)
    size = np.full(3, 3.0)
    found = judge(Voxels(groups, binding, structure, places, size), subjects, method)
    assert set(found["n_voxels"]) == {len(binding) - 9}
    for name, group in groups.items():
        expected = within_r(group[9:], binding[9:], structure[9:], method == "spearman")
        row = found.loc[name]
        assert row["effect"] == pytest.approx(float(expected), abs=ROUNDING)
        r = subjects.loc[
            subjects["contrast"] == name, "r" if method == "pearson" else "r_spearman"
        ]
        mean = one_sample(np.arctanh(r.to_numpy()), level=0.95, smallest_dz=1.0)
        assert row["mean_r"] == pytest.approx(np.tanh(mean.mean))
        assert row["mean_r_low"] == pytest.approx(np.tanh(mean.low))
        assert row["p"] == max(row["p_map"], row["p_subject"])
        assert row["n"] == 8
        assert f"9 of {len(binding)} grey-matter voxels left out" in row["reason"]
    assert "verdict" not in found


def test_a_planted_correspondence_is_seen_and_turned_when_it_turns():
    rng, places, structure, field = draw_world(2)
    binding = field()
    groups = {"follows": 2 * binding + field(), "opposes": -2 * binding + field()}
    subjects = subjects_of(groups, binding, structure, rng)
    found = judge(
        Voxels(groups, binding, structure, places, np.full(3, 3.0)),
        subjects,
        n_nulls=199,
    )
    assert (found["p"] <= 0.05).all()
    assert found["effect"].gt(0).tolist() == [True, False]
    assert found["mean_r"].gt(0).tolist() == [True, False]


def test_unrelated_maps_pass_about_as_often_as_the_level_says():
    """Forty group maps against the nulls of one receptor map, in each of eight worlds."""
    rejected = []
    for seed in range(8):
        _, places, structure, field = draw_world(seed, edge=11, smooth=1.0)
        structure[:] = "cortex"  # one field has no border
        binding, groups = field(), {str(i): field() for i in range(40)}
        people = [(f"{i}", name, i / 10, i / 10) for name in groups for i in range(4)]
        subjects = pd.DataFrame(
            people, columns=["subject", "contrast", "r", "r_spearman"]
        )
        voxels = Voxels(groups, binding, structure, places, np.full(3, 3.0))
        found = judge(voxels, subjects, "pearson", n_nulls=199)
        rejected.append((found["p_map"] <= 0.05).mean())
    # maps of one world share its receptor map: four standard errors over worlds
    error = np.std(rejected, ddof=1) / np.sqrt(len(rejected))
    assert error < 0.025
    assert abs(np.mean(rejected) - 0.05) < 4 * error


def test_a_structure_of_nine_voxels_is_left_out():
    rng, places, structure, field = draw_world(3)
    structure = np.where(np.arange(len(places)) < 9, "subcortex", "cortex")
    binding, groups = field(), {"partner": field()}
    subjects = subjects_of(groups, binding, structure, rng)
    row = judge(Voxels(groups, binding, structure, places, np.full(3, 3.0)), subjects)
    assert row["n_voxels"].item() == len(places) - 9


def test_without_voxels_the_reason_stands_in_the_row():
    none = np.empty(0)
    reason = "sub-02: the images lie on another grid"
    voxels = Voxels(
        {"partner": none}, none, none.astype(str), np.empty((0, 3), int), none, reason
    )
    subjects = pd.DataFrame(columns=["subject", "contrast", "r", "r_spearman"])
    row = judge(voxels, subjects).loc["partner"]
    assert np.isnan(row["effect"])
    assert row["n_voxels"] == 0
    assert row["reason"] == f"not run: {reason}"


def test_memory_does_not_grow_with_the_nulls(monkeypatch):
    """1 GB is promised for 40,000 voxels and 1,000 nulls; there is never more than a block."""
    rng, places, structure, field = draw_world(4, edge=14)
    block = 200 * len(places)
    monkeypatch.setattr(voxels_module, "BLOCK", block)
    binding, groups = field(), {"partner": field()}
    voxels = Voxels(groups, binding, structure, places, np.full(3, 3.0))
    subjects = subjects_of(groups, binding, structure, rng, n=3)

    def peak(n_nulls):
        tracemalloc.start()
        judge(voxels, subjects, n_nulls=n_nulls)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(400) < 1.1 * peak(200) < 1.1 * 10 * 8 * block
