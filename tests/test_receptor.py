"""Whatever surrounds the brain in a receptor map stays out of every mean, or is an error."""

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handhold.errors import StudyError
from handhold.receptor import SHARE, mask_background

WHERE = "receptor map MOR (receptors.table): mor.nii"
REGISTRY = Path(__file__).parents[1] / "atlases" / "receptors.tsv"
SHAPE = (10, 12, 10)


def surround(rng, background):
    """Draw binding of 1 to 2 in a brain of 480 voxels, with a background around it."""
    values = np.full(SHAPE, background, dtype=float)
    values[1:9, 1:11, 2:8] = rng.uniform(1, 2, size=(8, 10, 6))
    return values


def brain():
    inside = np.zeros(SHAPE, dtype=bool)
    inside[1:9, 1:11, 2:8] = True
    return inside


def message(*arguments):
    with pytest.raises(StudyError) as caught:
        mask_background(*arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    ("background", "declared"),
    [
        (0.0, "constant"),
        (0.256, "constant"),
        (-0.009, "constant"),
        (np.nan, "constant"),
        (np.nan, "nan"),
        (np.inf, "nan"),
        (np.nan, "0"),
        (0.0, "0"),
        (-0.0, "0.0"),
        (0.256, "0.256"),
        (-1024.0, "-1024"),
        (1e-3, "1e-3"),
    ],
)
def test_a_declared_background_is_masked_and_nothing_else(background, declared, rng):
    values = surround(rng, background)
    before = values.copy()
    masked = mask_background(values, declared, "", WHERE)
    np.testing.assert_array_equal(np.isnan(masked), ~brain())
    np.testing.assert_array_equal(masked[brain()], before[brain()])
    np.testing.assert_array_equal(values, before)
    assert not np.shares_memory(masked, values)


@pytest.mark.parametrize("declared", ["0.256", "-0.009", "0.0012345", "-1024"])
def test_a_background_is_declared_as_people_write_it(declared, rng):
    # a file of float32, or of integers with a slope, has only the nearest number
    values = surround(rng, float(np.float32(declared)))
    masked = mask_background(values, declared, "", WHERE)
    np.testing.assert_array_equal(np.isnan(masked), ~brain())


@pytest.mark.parametrize(
    ("background", "declared"),
    [(0.256, "0"), (0.256, "nan"), (0.0, "nan"), (0.256, "0.25"), (0.0, "0.256")],
)
def test_another_background_than_declared_is_an_error(background, declared, rng):
    text = message(surround(rng, background), declared, "", WHERE)
    # 720 of 1200 voxels
    for part in (WHERE, f"{background:g}", "60%", declared, "column background"):
        assert part in text


def test_a_background_of_two_values_is_an_error(rng):
    values = surround(rng, 0.0)
    values[:, :, 0] = values[:, :, 9] = values[:, :, 8] = 0.256
    text = message(values, "constant", "", WHERE)
    assert "the value" in text
    assert "fills" in text


def test_the_share_of_a_background_is_counted_over_the_whole_map(rng):
    values = rng.uniform(1, 2, size=(10, 10, 10))
    values.flat[: int(SHARE * 1000)] = 7
    assert mask_background(values, "nan", "", WHERE).max() == 7
    values.flat[int(SHARE * 1000)] = 7
    assert "the value 7 fills 5%" in message(values, "nan", "", WHERE)
    # what is missing belongs to the map as well
    values.flat[0] = 1.5
    values.flat[500:] = np.nan
    assert mask_background(values, "nan", "", WHERE).size == 1000


@pytest.mark.parametrize("first", [7.0, np.nan])
def test_a_corner_whose_value_fills_too_little_is_no_background(first, rng):
    values = rng.uniform(1, 2, size=SHAPE)
    n = round(SHARE * values.size)
    values.flat[:n] = first
    assert np.isnan(mask_background(values, "constant", "", WHERE)).sum() == n
    values.flat[n - 1] = 1.5
    text = message(values, "constant", "", WHERE)
    for part in (
        WHERE,
        f"value {first:g} fills 4.9%",
        "5% or more",
        "column background",
    ):
        assert part in text


def test_brain_in_the_corner_is_no_background(rng):
    # a map cut to the brain: nothing of it but one voxel would be masked
    text = message(rng.uniform(1, 2, size=SHAPE), "constant", "", WHERE)
    assert "the corner is brain or noise" in text


@pytest.mark.parametrize("declared", ["nan", "0"])
def test_a_tenth_of_the_map_is_a_background_already(declared, rng):
    values = rng.uniform(1, 2, size=SHAPE)
    values[0] = 0.256
    assert "0.256 fills 10%" in message(values, declared, "", WHERE)


def test_negative_binding_is_an_error_until_it_is_declared(rng):
    values = surround(rng, 0.0)
    values[4, 4, 4], values[5, 5, 5] = -0.5, -0.25
    for negative in ("", "refuse"):
        text = message(values, "0", negative, WHERE)
        for part in (
            WHERE,
            "2 of 480 voxels are negative",
            "lowest -0.5",
            "column background",
            "keep",
        ):
            assert part in text
    kept = mask_background(values, "0", "keep", WHERE)
    assert (kept < 0).sum() == 2
    assert kept[4, 4, 4] == -0.5


def test_a_negative_background_is_not_negative_binding(rng):
    values = surround(rng, -0.009)
    assert np.nanmin(mask_background(values, "constant", "refuse", WHERE)) >= 1


@pytest.mark.parametrize("declared", ["zero", "", "0,0", "none"])
def test_a_background_that_is_no_number_is_refused(declared, rng):
    text = message(surround(rng, 0.0), declared, "", WHERE)
    for part in (WHERE, repr(declared), "constant", "column background"):
        assert part in text


def test_a_map_that_is_all_background_is_refused():
    text = message(np.zeros(SHAPE), "constant", "", WHERE)
    for part in (WHERE, "nothing is left", "column background"):
        assert part in text


@given(seed=st.integers(0, 2**32 - 1), background=st.floats(-5, 0.5))
def test_the_mask_does_not_depend_on_the_value_of_the_background(seed, background):
    values = surround(np.random.default_rng(seed), background)
    masked = mask_background(values, "constant", "", WHERE)
    np.testing.assert_array_equal(np.isnan(masked), ~brain())


def registered():
    with REGISTRY.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        # the size of a file stands in the table where the file was read
        return [row for row in rows if row["bytes"] != "n/a"]


@pytest.mark.parametrize("row", registered(), ids=lambda row: row["receptor"])
def test_the_real_maps_pass_as_registered(row, shared_data):
    values = nib.load(shared_data / row["file"]).get_fdata()
    masked = mask_background(values, row["background"], row["negative"], WHERE)
    inside = np.isfinite(masked)
    np.testing.assert_array_equal(inside, values != values[0, 0, 0])
    # a brain of 1.2 to 2.6 litres with cerebellum, brain stem and some margin; 3 mm
    assert 1.0e6 < 27 * inside.sum() < 2.9e6
    assert np.nanmin(masked) >= 0


def test_the_mu_opioid_map_is_refused_with_a_background_of_0(shared_data):
    values = nib.load(shared_data / "pet" / "MU_carfentanil_hc204_kantonen.nii")
    text = message(values.get_fdata(), "0", "refuse", WHERE)
    assert "-0.009 fills" in text
