"""BOLD runs: whatever the file, the same numbers; a broken file is an error that names the run."""

import gzip
import zlib

import nibabel as nib
import numpy as np
import pytest
from brains import AFFINE, SHAPE, patch, write

from handhold import bold as module
from handhold.bold import (
    read_bold,
    read_grid_4d,
    read_region_series,
    region_series,
)
from handhold.errors import StudyError
from handhold.images import read_labels
from handhold.regions import label_cloud, weigh

WHERE = "sub-07 run-2"
N_VOLUMES = 7
# Three regions: one plain, one over two labels, one outside the mask.
MEMBERS = {"a": [1], "b": [2, 3], "outside": [9]}


@pytest.fixture
def series(rng):
    return rng.normal(600, 30, size=(*SHAPE, N_VOLUMES)).round()


@pytest.fixture
def mask(rng):
    return rng.random(SHAPE) < 0.3


@pytest.fixture
def labels(rng, mask):
    return np.where(mask, rng.integers(0, 6, SHAPE), 9)


@pytest.fixture
def weights(labels):
    return weigh(label_cloud(labels, AFFINE, MEMBERS), AFFINE, SHAPE)


def write_run(folder, values, mask, name="bold.nii", dtype="<i2", scaling=None):
    """Write a run, as numbers of `dtype` with slope and intercept, and its mask."""
    header = nib.Nifti1Header(endianness=dtype[0])
    header.set_data_dtype(dtype)
    slope, intercept = scaling or (1, 0)
    numbers = (values - intercept) / slope
    if np.dtype(dtype).kind in "iu":
        numbers = numbers.round()
    plain = folder / "plain.nii"
    nib.save(nib.Nifti1Image(numbers.astype(dtype), AFFINE, header), plain)
    if scaling:
        patch_scaling(plain, slope, intercept)
    content = plain.read_bytes()
    packed = gzip.compress(content, 1) if name.endswith(".gz") else content
    (folder / name).write_bytes(packed)
    write(folder / "mask.nii.gz", mask.astype(np.uint8))
    return folder / name, folder / "mask.nii.gz"


def patch_scaling(path, slope, intercept):
    with path.open("rb") as file:
        header = nib.Nifti1Header.from_fileobj(file)
    header["scl_slope"], header["scl_inter"] = slope, intercept
    content = path.read_bytes()
    path.write_bytes(header.binaryblock + content[348:])


def message(function, *arguments, **options):
    with pytest.raises(StudyError) as caught:
        function(*arguments, **options)
    return str(caught.value)


# --- what can be read ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bold.nii", "bold.nii.gz"])
@pytest.mark.parametrize(
    "dtype", ["<i2", ">i2", "<u2", ">u2", "<i4", ">f4", "<f4", "<f8", ">f8", "<u1"]
)
@pytest.mark.parametrize("scaling", [None, (0.25, -100.0), (4.0, 0.0)])
def test_every_file_gives_the_numbers_of_nibabel(
    name, dtype, scaling, series, mask, tmp_path
):
    values = series / 4 if dtype == "<u1" else series
    path, mask_path = write_run(tmp_path, values, mask, name, dtype, scaling)
    reference = nib.load(path).get_fdata()
    assert np.ptp(reference) > 10
    run = read_bold(path, mask_path, WHERE)
    assert run.n_volumes == N_VOLUMES
    assert run.n_voxels == mask.sum()
    assert run.values.itemsize <= 4
    assert run.values.dtype.isnative
    found = run.block(slice(None))
    assert found.dtype == np.float32
    # numbers that float32 holds exactly; voxels in C order of the mask, as numpy gives them
    np.testing.assert_allclose(found, reference[mask].T, rtol=1e-6)
    assert (run.grid.affine == AFFINE).all()


def test_integers_stay_as_they_are(series, mask, tmp_path):
    run = read_bold(*write_run(tmp_path, series, mask, dtype=">i2"), WHERE)
    assert run.values.dtype == np.int16
    assert np.array_equal(run.values, series[mask].T)


def test_a_block_is_a_copy_of_some_voxels_and_volumes(series, mask, tmp_path):
    run = read_bold(*write_run(tmp_path, series, mask, dtype="<f4"), WHERE)
    keep = np.array([1, 0, 1, 1, 0, 1, 1], dtype=bool)
    block = run.block(slice(10, 30), keep)
    assert np.array_equal(block, series[mask].T[keep, 10:30])
    block[:] = 0
    for other in (run.block(slice(10, 30)), run.block(slice(10, 30), ~keep | keep)):
        assert np.array_equal(other, series[mask].T[:, 10:30])
        other[:] = 0


def test_values_go_back_to_their_place(series, mask, tmp_path):
    run = read_bold(*write_run(tmp_path, series, mask), WHERE)
    volume = run.spread(run.values[3].astype(float))
    assert np.array_equal(volume[mask], series[mask][:, 3])
    assert np.isnan(volume[~mask]).all()


@pytest.mark.parametrize(
    ("unit", "step", "seconds"),
    [(8, 2.5, 2.5), (16, 2500, 2.5), (24, 2.5e6, 2.5), (0, 2.5, None), (8, 0, None)],
)
def test_the_header_gives_the_step_or_nothing(
    unit, step, seconds, series, mask, tmp_path
):
    path, _ = write_run(tmp_path, series, mask)
    pixdim = nib.load(path).header["pixdim"].copy()
    pixdim[4] = step
    patch(path, xyzt_units=2 + unit, pixdim=pixdim)
    grid, n_volumes, tr_s = read_grid_4d(path, WHERE)
    assert grid.shape == SHAPE
    assert n_volumes == N_VOLUMES
    assert tr_s == pytest.approx(seconds or np.nan, nan_ok=True)


# --- smoothing -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["<i2", "<f4"])
@pytest.mark.parametrize("fwhm", [5.0, 24.0])
def test_smoothing_is_that_of_nilearn(dtype, fwhm, series, mask, tmp_path):
    from nilearn.image import smooth_img

    # unequal voxels, turned axes, and a mask that leaves out the ends of the grid
    affine = np.array([[0, 0, -8.0, 80], [-6, 0, 0, 60], [0, 8, 0, -72], [0, 0, 0, 1]])
    mask[:3], mask[:, -4:] = False, False
    image = nib.Nifti1Image(series.astype(dtype), affine)
    nib.save(image, tmp_path / "bold.nii.gz")
    write(tmp_path / "mask.nii.gz", mask.astype(np.uint8), affine)
    run = read_bold(
        tmp_path / "bold.nii.gz", tmp_path / "mask.nii.gz", WHERE, smoothing_mm=fwhm
    )
    reference = smooth_img(image, fwhm).get_fdata()[mask].T
    # float32 of numbers around 600
    np.testing.assert_allclose(run.block(slice(None)), reference, rtol=2e-6)
    assert run.values.dtype == np.float32


def test_smoothing_comes_after_scaling_and_keeps_gaps(series, mask, tmp_path):
    from nilearn.image import smooth_img

    gap = np.argwhere(mask)[5]
    series[tuple(gap)][2] = np.nan
    path, mask_path = write_run(
        tmp_path, series, mask, dtype="<f4", scaling=(2.0, 50.0)
    )
    run = read_bold(path, mask_path, WHERE, smoothing_mm=12.0)
    reference = smooth_img(nib.load(path), 12.0).get_fdata()[mask].T
    missing = np.zeros(reference.shape, dtype=bool)
    missing[2, 5] = True
    found = run.block(slice(None))
    assert np.array_equal(np.isnan(found), missing)
    np.testing.assert_allclose(found[~missing], reference[~missing], rtol=2e-6)


# --- the whole line, file to t ---------------------------------------------------------------


# FirstLevelModel hands the images to its masker beside the mask, and warns of it itself
@pytest.mark.filterwarnings("ignore:.*Generation of a mask:RuntimeWarning")
@pytest.mark.parametrize("noise_model", ["ar1", "ols"])
@pytest.mark.parametrize("smoothing_mm", [0, 10])
def test_a_run_gives_the_maps_of_nilearn(noise_model, smoothing_mm, rng, tmp_path):
    import pandas as pd
    from nilearn.glm.first_level import FirstLevelModel

    from handhold.glm import fit_run

    shape = (12, 14, 12)
    affine = np.diag([12.0, 12, 12, 1])
    affine[:3, 3] = [-70, -105, -60]
    noise = rng.normal(size=(*shape, 60)).cumsum(axis=-1) + 3 * rng.normal(
        size=(*shape, 60)
    )
    run_path = write(
        tmp_path / "bold.nii.gz", (900 + 5 * noise).astype(np.int16), affine
    )
    mask = rng.random(shape) < 0.5
    mask_path = write(tmp_path / "mask.nii.gz", mask.astype(np.uint8), affine)
    design = pd.DataFrame(rng.normal(size=(60, 4)), columns=list("abcd")).assign(one=1)
    keep = np.delete(np.arange(60), [0, 20, 21, 45])
    model = FirstLevelModel(
        mask_img=mask_path,
        noise_model=noise_model,
        signal_scaling=False,
        smoothing_fwhm=smoothing_mm or None,
        minimize_memory=True,
    )
    model.fit(run_path, design_matrices=design, sample_masks=keep)
    reference = model.compute_contrast("a - b", output_type="stat").get_fdata()[mask]

    run = read_bold(run_path, mask_path, WHERE, smoothing_mm=smoothing_mm)
    kept = np.isin(np.arange(60), keep)
    found = fit_run(
        lambda voxels: run.block(voxels, kept),
        run.n_voxels,
        design.to_numpy()[kept],
        [[1, -1, 0, 0, 0]],
        noise_model=noise_model,
    )
    apart = np.abs(found.effect[0] / np.sqrt(found.variance[0]) - reference)
    assert np.median(apart) < 1e-5
    # of 1,000 voxels one may lie on the edge of a bin; nilearn smooths in float32 too
    assert np.quantile(apart, 0.995) < 1e-4


# --- region means ----------------------------------------------------------------------------


def by_hand(values, held, labels):
    """Average over labels the voxels that are held, volume by volume."""
    means = [
        values[held & np.isin(labels, codes)].mean(axis=0) for codes in ([1], [2, 3])
    ]
    return np.column_stack([*means, np.full(values.shape[-1], np.nan)])


@pytest.mark.parametrize("dtype", ["<i2", ">i4", "<f4", "<f8"])
@pytest.mark.parametrize("scaling", [None, (0.5, 20.0)])
def test_region_means_are_those_of_the_voxels(
    dtype, scaling, series, mask, labels, weights, tmp_path
):
    path, mask_path = write_run(
        tmp_path, series, mask, "bold.nii.gz", dtype, scaling=scaling
    )
    expected = by_hand(series, mask, labels)
    whole = region_series(read_bold(path, mask_path, WHERE), weights)
    read = read_region_series(path, mask_path, weights, WHERE)
    np.testing.assert_allclose(whole, expected, rtol=1e-12)
    np.testing.assert_allclose(read, expected, rtol=1e-12)
    assert read.dtype == whole.dtype == np.float64


def break_voxels(series, where):
    """Make the first six voxels of a region constant, or empty in some volumes or in all."""
    broken = series.copy()
    places = [tuple(place) for place in np.argwhere(where)[:6]]
    for place, constant in zip(places[:2], (0, 900), strict=True):
        broken[place] = constant
    broken[places[2]][[0, 3]] = np.nan
    broken[places[3]][4] = np.inf
    broken[places[4]] = np.nan
    broken[places[5]][1:] = np.nan
    held = np.ones(SHAPE, dtype=bool)
    for place in places:
        held[place] = False
    return broken, held


# constant at 0, at 900, empty in some volumes, infinite in one, empty in all, in all but one
@pytest.mark.parametrize(
    ("only", "n_reads"), [(None, 2), (0, 1), (1, 2), (2, 2), (3, 2), (4, 1), (5, 2)]
)
def test_what_was_not_measured_is_left_out(
    only, n_reads, series, mask, labels, weights, tmp_path, monkeypatch
):
    broken, held = break_voxels(series, mask & (labels == 1))
    if only is not None:
        lost = np.argwhere(~held)[only]
        alone = series.copy()
        alone[tuple(lost)] = broken[tuple(lost)]
        held[:] = True
        held[tuple(lost)] = False
        broken = alone
    path, mask_path = write_run(tmp_path, broken, mask, dtype="<f4")
    expected = by_hand(broken, mask & held, labels)
    whole = region_series(read_bold(path, mask_path, WHERE), weights)
    np.testing.assert_allclose(whole, expected, rtol=1e-12)
    reads = []
    volumes = module._volumes
    monkeypatch.setattr(
        module, "_volumes", lambda *given: reads.append(1) or volumes(*given)
    )
    read = read_region_series(path, mask_path, weights, WHERE)
    np.testing.assert_allclose(read, expected, rtol=1e-12)
    # again only where something has to be taken out of the sums
    assert len(reads) == n_reads


def test_infinities_of_both_signs_are_left_out(series, mask, labels, weights, tmp_path):
    first, second = np.argwhere(mask & (labels == 1))[:2]
    series[tuple(first)][4], series[tuple(second)][4] = np.inf, -np.inf
    held = np.isfinite(series).all(axis=-1) & mask
    path, mask_path = write_run(tmp_path, series, mask, dtype="<f8")
    expected = by_hand(series, held, labels)
    whole = region_series(read_bold(path, mask_path, WHERE), weights)
    np.testing.assert_allclose(whole, expected, rtol=1e-12)
    read = read_region_series(path, mask_path, weights, WHERE)
    np.testing.assert_allclose(read, expected, rtol=1e-12)


def test_region_means_of_chosen_voxels(series, mask, labels, weights, rng, tmp_path):
    path, mask_path = write_run(tmp_path, series, mask)
    chosen = rng.random(mask.sum()) < 0.5
    held = mask.copy()
    held[mask] = chosen
    found = region_series(read_bold(path, mask_path, WHERE), weights, chosen)
    np.testing.assert_allclose(found, by_hand(series, held, labels), rtol=1e-12)


def test_chunks_do_not_show(series, mask, weights, tmp_path, monkeypatch):
    run = read_bold(*write_run(tmp_path, series, mask), WHERE)
    whole = region_series(run, weights)
    monkeypatch.setattr(module, "CHUNK", 100)
    np.testing.assert_allclose(region_series(run, weights), whole, rtol=1e-12)


# --- what is refused -------------------------------------------------------------------------


def truncate(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def spoil_checksum(path):
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)


def spoil_stream(path):
    """After half of the numbers, begin a block of the type that deflate reserves."""
    content = gzip.decompress(path.read_bytes())
    packer = zlib.compressobj(1, wbits=31)
    half = packer.compress(content[: len(content) // 2])
    path.write_bytes(half + packer.flush(zlib.Z_FULL_FLUSH) + bytes([255] * 100))


def spoil_checksum_behind_more(path):
    """As `spoil_checksum`, with more behind the volumes than they need."""
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content + bytes(10 * len(content)), 1))
    spoil_checksum(path)


def drop_end(path):
    path.write_bytes(path.read_bytes()[:-8])


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("bold.nii", truncate),
        ("bold.nii.gz", truncate),
        ("bold.nii.gz", spoil_checksum),
        ("bold.nii.gz", spoil_stream),
        ("bold.nii.gz", spoil_checksum_behind_more),
        ("bold.nii.gz", drop_end),
    ],
)
@pytest.mark.parametrize("way", ["plain", "smoothed", "regions"])
def test_a_broken_file_names_the_run(name, fault, way, series, mask, weights, tmp_path):
    path, mask_path = write_run(tmp_path, series, mask, name)
    fault(path)
    text = {
        "plain": lambda: message(read_bold, path, mask_path, WHERE),
        "smoothed": lambda: message(read_bold, path, mask_path, WHERE, smoothing_mm=6),
        "regions": lambda: message(read_region_series, path, mask_path, weights, WHERE),
    }[way]()
    assert text.startswith(f"{WHERE}: {path} is truncated or corrupt (")
    if fault is truncate and name == "bold.nii":
        # before anything is read: a file that is not packed tells by its size
        assert f"and the file has {path.stat().st_size})" in text


def test_a_single_volume_is_no_run(series, mask, tmp_path):
    for values in (series[..., 0], series[..., :1]):
        path, mask_path = write_run(tmp_path, values, mask)
        assert str(values.shape) in message(read_bold, path, mask_path, WHERE)
        assert message(read_grid_4d, path, WHERE).startswith(f"{WHERE}: {path}")


def test_a_run_in_another_format_is_refused(series, mask, tmp_path):
    _, mask_path = write_run(tmp_path, series, mask)
    path = write(tmp_path / "bold.img", series, kind=nib.Nifti1Pair)
    assert "not a .nii or .nii.gz" in message(read_bold, path, mask_path, WHERE)


def test_a_run_that_is_missing_is_refused(series, mask, tmp_path):
    path, mask_path = write_run(tmp_path, series, mask)
    path.unlink()
    assert "does not exist" in message(read_bold, path, mask_path, WHERE)


def test_a_run_without_orientation_or_elsewhere_is_refused(series, mask, tmp_path):
    path, mask_path = write_run(tmp_path, series, mask)
    patch(path, sform_code=0, qform_code=0)
    assert "no orientation" in message(read_bold, path, mask_path, WHERE)
    patch(path, sform_code=4, srow_x=[8, 0, 0, 60])
    assert "not in MNI space" in message(read_bold, path, mask_path, WHERE)


@pytest.mark.parametrize("shift", [4.0, -0.2])
def test_a_mask_on_another_grid_is_refused(shift, series, mask, tmp_path):
    path, mask_path = write_run(tmp_path, series, mask)
    elsewhere = AFFINE.copy()
    elsewhere[0, 3] += shift
    write(mask_path, mask.astype(np.uint8), elsewhere)
    text = message(read_bold, path, mask_path, WHERE)
    assert "lies on another grid (20 x 24 x 20 voxels of 8 x 8 x 8 mm" in text
    assert f"from {-80 + shift:g}, -112, -72 mm" in text
    assert "bids.resolution" in text


def test_a_mask_of_another_shape_is_refused(series, mask, tmp_path):
    path, mask_path = write_run(tmp_path, series, mask)
    write(mask_path, mask[:-1].astype(np.uint8))
    assert "19 x 24 x 20" in message(read_bold, path, mask_path, WHERE)


def test_rounding_in_a_header_is_the_same_grid(series, mask, tmp_path):
    path, mask_path = write_run(tmp_path, series, mask)
    rounded = AFFINE.copy()
    rounded[:3] += 1e-4
    write(mask_path, mask.astype(np.uint8), rounded)
    assert read_bold(path, mask_path, WHERE).n_voxels == mask.sum()


def test_an_empty_mask_is_refused(series, mask, tmp_path):
    path, mask_path = write_run(tmp_path, series, mask & False)
    assert "is empty" in message(read_bold, path, mask_path, WHERE)


def test_a_mask_may_be_of_floats(series, mask, tmp_path):
    path, mask_path = write_run(tmp_path, series, mask)
    write(mask_path, mask.astype(np.float32))
    assert np.array_equal(read_labels(mask_path, WHERE).values > 0, mask)
    assert read_bold(path, mask_path, WHERE).n_voxels == mask.sum()
