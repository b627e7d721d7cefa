"""Any image of an MNI brain gives the same numbers; whatever is none gives one clear error."""

import gzip

import nibabel as nib
import numpy as np
import pytest
from brains import (
    AFFINE,
    ORIENTATIONS,
    SHAPE,
    centres,
    draw,
    patch,
    reorient,
    write,
    write_analyze,
)

from handhold.errors import StudyError
from handhold.images import read_grid, read_labels, read_probabilities, read_volume

WHERE = "sub-07, image (maps.table)"
ATLAS = "atlas mine (regions.atlases)"


@pytest.fixture
def values(rng):
    return draw(rng)


def read_by_place(path, orientation=None):
    """Read an image as a dict of values by place in mm, which no order of axes changes."""
    volume = read_volume(path, orientation, WHERE)
    points = np.round(centres(volume.grid.affine, volume.grid.shape), 6).tolist()
    return dict(zip(map(tuple, points), volume.values.ravel().tolist(), strict=True))


def by_place(values, affine=AFFINE):
    points = np.round(centres(affine, values.shape[:3]), 6).tolist()
    return dict(zip(map(tuple, points), values.ravel().tolist(), strict=True))


def message(function, *arguments):
    with pytest.raises(StudyError) as caught:
        function(*arguments)
    return str(caught.value)


# --- what can be read -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (nib.Nifti1Image, "a.nii"),
        (nib.Nifti1Image, "a.nii.gz"),
        (nib.Nifti2Image, "a.nii"),
        (nib.Nifti2Image, "a.nii.gz"),
        (nib.Nifti1Pair, "a.img"),
        (nib.Nifti2Pair, "a.img"),
    ],
)
def test_every_format_gives_the_same_values(kind, name, values, tmp_path):
    path = write(tmp_path / name, values, kind=kind)
    assert read_by_place(path) == by_place(values)


def test_a_mask_that_bzip2_packs_far_denser_than_gzip_can_is_read(tmp_path):
    mask = np.zeros((160, 192, 160), np.uint8)
    mask[70:90, 90:110, 70:90] = 1
    path = tmp_path / "mask.nii.bz2"
    affine = np.diag([1.0, 1, 1, 1])
    affine[:3, 3] = -80, -110, -70
    nib.Nifti1Image(mask, affine).to_filename(path)
    assert mask.nbytes > 2000 * path.stat().st_size
    assert read_volume(path, None, WHERE).values.sum() == 8000


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_order_of_axes_gives_the_same_values(orientation, values, tmp_path):
    turned, affine = reorient(values, AFFINE, orientation)
    path = write(tmp_path / "a.nii", turned, affine)
    assert read_by_place(path) == by_place(values)


@pytest.mark.parametrize("dtype", [">f4", "<f4", ">i2", "<i2", ">i4", "f8", "u2"])
def test_every_number_type_gives_the_same_values(dtype, values, tmp_path):
    header = nib.Nifti1Header(endianness=">" if dtype[0] == ">" else "<")
    header.set_data_dtype(dtype)
    image = nib.Nifti1Image(values.astype(dtype), AFFINE, header)
    nib.save(image, tmp_path / "a.nii")
    with (tmp_path / "a.nii").open("rb") as file:
        found = nib.Nifti1Header.from_fileobj(file).endianness
    assert found == (">" if dtype[0] == ">" else "<")
    assert read_by_place(tmp_path / "a.nii") == by_place(values)


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_scaled_integers_are_read_in_their_unit(byte_order, rng, tmp_path):
    raw = rng.integers(-3000, 3000, size=SHAPE).astype(byte_order + "i2")
    header = nib.Nifti1Header(endianness=byte_order)
    header.set_data_dtype("i2")
    nib.save(nib.Nifti1Image(raw, AFFINE, header), tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    # scl_slope and scl_inter lie at bytes 112 and 116 (nifti1.h)
    content[112:120] = np.array([0.25, -3.5], byte_order + "f4").tobytes()
    (tmp_path / "a.nii").write_bytes(content)
    # a quarter and a half are exact in binary, so that equality is
    assert read_by_place(tmp_path / "a.nii") == by_place(0.25 * raw - 3.5)


def test_a_singleton_fourth_axis_is_no_series(values, tmp_path):
    path = write(tmp_path / "a.nii", values[..., np.newaxis])
    assert read_volume(path, None, WHERE).values.shape == SHAPE
    assert read_by_place(path) == by_place(values)


@pytest.mark.parametrize("sizes", [(2.0, 2.0, 2.0), (3.4375, 3.4375, 4.5), (1, 9, 12)])
def test_any_voxel_size_of_a_group_study_is_taken(sizes, rng, tmp_path):
    affine = np.diag([*sizes, 1.0])
    shape = tuple(int(np.ceil(160 / size)) for size in sizes)
    affine[:3, 3] = [-80, -112, -72]
    small = draw(rng, shape)
    path = write(tmp_path / "a.nii.gz", small, affine)
    grid = read_grid(path, None, WHERE)
    np.testing.assert_array_equal(grid.affine, affine)
    assert grid.shape == shape
    assert grid.voxel_volume == np.prod(sizes)


def test_the_grid_is_that_of_the_volume(values, tmp_path):
    path = write(tmp_path / "a.nii", values)
    grid, volume = read_grid(path, None, WHERE), read_volume(path, None, WHERE)
    np.testing.assert_array_equal(grid.affine, volume.grid.affine)
    assert grid.shape == volume.grid.shape == SHAPE
    assert volume.values.dtype == np.float64


def test_an_image_may_lack_some_voxels(values, tmp_path):
    values[:5] = np.nan
    values[5, 0, 0] = np.inf
    path = write(tmp_path / "a.nii", values)
    np.testing.assert_array_equal(read_volume(path, None, WHERE).values, values)


# --- Analyze ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [nib.Spm99AnalyzeImage, nib.Spm2AnalyzeImage])
def test_analyze_is_placed_by_its_origin_counted_from_one(kind, values, tmp_path):
    path = write_analyze(tmp_path / "a.img", values, (11, 15, 10), kind=kind)
    found = read_by_place(path, "neurological")
    # voxel (10, 14, 9) counted from 0 is the origin
    assert found[0.0, 0.0, 0.0] == values[10, 14, 9]
    assert found[8.0, 0.0, 0.0] == values[11, 14, 9]
    assert found == by_place(values)


def test_the_two_orientations_of_analyze_are_mirror_images(values, tmp_path):
    path = write_analyze(tmp_path / "a.img", values)
    radiological = read_by_place(path, "radiological")
    neurological = read_by_place(path, "neurological")
    assert radiological == {(-x, y, z): v for (x, y, z), v in neurological.items()}
    # radiological: the first voxels are on the right, x > 0
    assert radiological[80.0, -112.0, -72.0] == values[0, 0, 0]


def test_analyze_without_a_stated_orientation_is_explained(values, tmp_path):
    path = write_analyze(tmp_path / "a.img", values)
    text = message(read_volume, path, None, WHERE)
    for part in (WHERE, "a.img", "maps.analyze_orientation", "radiological", "left"):
        assert part in text


@pytest.mark.parametrize("kind", [nib.Spm2AnalyzeImage, nib.AnalyzeImage])
def test_analyze_without_an_origin_is_refused(kind, values, tmp_path):
    path = write_analyze(tmp_path / "a.img", values, (0, 0, 0), kind=kind)
    text = message(read_volume, path, "radiological", WHERE)
    for part in (WHERE, "a.img", "origin", "Convert it to NIfTI"):
        assert part in text


def test_the_stated_orientation_is_not_for_nifti(values, tmp_path):
    path = write(tmp_path / "a.nii", values)
    assert read_by_place(path, "radiological") == by_place(values)


# --- what cannot be read ----------------------------------------------------------------------


def missing(path, values):
    pass


def folder(path, values):
    path.mkdir()


def link_to_nothing(path, values):
    path.symlink_to(path.with_name("gone.nii"))


def text_file(path, values):
    path.write_text("participant_id\timage\n")


def empty_file(path, values):
    path.touch()


def truncated(path, values):
    write(path, values)
    path.write_bytes(path.read_bytes()[:-1000])


def header_alone(path, values):
    write(path, values)
    path.write_bytes(path.read_bytes()[:352])


def half_a_header(path, values):
    write(path, values)
    path.write_bytes(path.read_bytes()[:200])


def truncated_gzip(path, values):
    content = gzip.compress(write(path, values).read_bytes())
    path.unlink()
    path.with_suffix(".nii.gz").write_bytes(content[: len(content) // 2])


def not_gzip(path, values):
    write(path, values).rename(path.with_suffix(".nii.gz"))


def unknown_type(path, values):
    patch(write(path, values), datatype=999)


def endless_intercept(path, values):
    patch(write(path, values), scl_slope=1, scl_inter=np.inf)


def img_alone(path, values):
    write(path.with_suffix(".img"), values, kind=nib.Nifti1Pair)
    path.with_suffix(".hdr").unlink()


def freesurfer(path, values):
    nib.save(nib.MGHImage(values, AFFINE), path.with_suffix(".mgz"))


def complex_numbers(path, values):
    write(path, (values + 1j * values).astype(np.complex64))


def colours(path, values):
    write(path, np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")]))


def series(path, values):
    write(path, np.stack([values, values], axis=-1))


def one_slice(path, values):
    write(path, values[..., 0])


UNREADABLE = [
    (missing, "does not exist", "Mend the path"),
    (folder, "does not exist", "Mend the path"),
    (link_to_nothing, "is a link to nothing", "Mend the path"),
    (text_file, "cannot be read", "Copy it again"),
    (empty_file, "cannot be read", "Copy it again"),
    (truncated, "truncated", "Copy it again"),
    (header_alone, "truncated", "Copy it again"),
    (half_a_header, "cannot be read", "Copy it again"),
    (truncated_gzip, "truncated", "Copy it again"),
    (not_gzip, "cannot be read", "Copy it again"),
    (unknown_type, "cannot be read", "Copy it again"),
    (endless_intercept, "cannot be read", "Copy it again"),
    (img_alone, "cannot be read", "needs its .hdr"),
    (freesurfer, "neither NIfTI nor Analyze", "Convert it"),
    (complex_numbers, "complex64", "Write the image again"),
    (colours, "not real numbers", "Write the image again"),
    (series, "(20, 24, 20, 2)", "one image per row"),
    (one_slice, "(20, 24)", "one volume (x, y, z)"),
]


def make(fault, values, folder_):
    """Write the faulty image, and return whatever path it was given."""
    path = folder_ / "a.nii"
    fault(path, values)
    others = [p for p in folder_.iterdir() if p.suffix != ".hdr"]
    return others[0] if others else path


@pytest.mark.parametrize(("fault", "what", "step"), UNREADABLE)
def test_an_unreadable_image_is_one_clear_error(fault, what, step, values, tmp_path):
    path = make(fault, values, tmp_path)
    text = message(read_volume, path, None, WHERE)
    for part in (WHERE, str(path), what, step):
        assert part in text


@pytest.mark.parametrize(("fault", "what", "step"), UNREADABLE)
def test_an_unreadable_label_image_is_one_too(fault, what, step, values, tmp_path):
    path = make(fault, values, tmp_path)
    text = message(read_labels, path, ATLAS)
    for part in (ATLAS, str(path), what, step):
        assert part in text


@pytest.mark.parametrize("n_bytes", [*range(0, 400, 37), 400, 5000, 20000])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_no_truncation_passes(n_bytes, suffix, values, tmp_path):
    path = write(tmp_path / f"a{suffix}", values)
    path.write_bytes(path.read_bytes()[:n_bytes])
    assert str(path) in message(read_volume, path, None, WHERE)


def all_nan(values):
    return np.full_like(values, np.nan)


def all_one(values):
    return np.full_like(values, 3.25)


def one_number_and_nan(values):
    return np.where(values > 500, np.float32(3.25), np.float32(np.nan))


def one_number_and_infinity(values):
    return np.where(values > 500, np.float32(3.25), np.float32(np.inf))


@pytest.mark.parametrize(
    ("empty", "what"),
    [
        (all_nan, "no finite value in 9600 voxels"),
        (all_one, "constant (3.25 in all 9600 finite voxels)"),
        (one_number_and_nan, "constant (3.25 in all"),
        (one_number_and_infinity, "constant (3.25 in all"),
    ],
)
def test_an_image_without_content_is_refused(empty, what, values, tmp_path):
    path = write(tmp_path / "a.nii", empty(values))
    text = message(read_volume, path, None, WHERE)
    for part in (WHERE, str(path), what, "exclude the subject"):
        assert part in text


# --- what is not in MNI space -----------------------------------------------------------------


def shifted(by):
    affine = AFFINE.copy()
    affine[:3, 3] += by
    return affine


def scaled(by):
    affine = AFFINE.copy()
    affine[:3] *= by
    return affine


OUTSIDE = [
    (shifted([100, 0, 0]), "x 20..172 mm"),
    (shifted([0, 150, 0]), "y 38..222 mm"),
    # the commissure lies in the last slice but what is 10 mm above it does not
    (shifted([0, 0, -80]), "z -152..0 mm"),
    (scaled(0.001), "0.008 x 0.008 x 0.008 mm"),
    (scaled(1000.0), "8000 x 8000 x 8000 mm"),
    (scaled(2.0), "16 x 16 x 16 mm, outside 0.4 to 12"),
]


@pytest.mark.parametrize(("affine", "what"), OUTSIDE)
def test_an_image_elsewhere_is_refused(affine, what, values, tmp_path):
    path = write(tmp_path / "a.nii", values, affine)
    for read in (read_volume, read_grid):
        text = message(read, path, None, WHERE)
        for part in (WHERE, str(path), "not in MNI space", what, "Normalise"):
            assert part in text


def test_a_field_of_view_larger_than_a_head_is_refused(tmp_path):
    values = np.arange(40.0 * 40 * 70, dtype=np.float32).reshape(40, 40, 70)
    affine = AFFINE.copy()
    affine[:3, 3] = [-80, -112, -72]
    path = write(tmp_path / "a.nii", values, affine)
    text = message(read_volume, path, None, WHERE)
    assert "z -72..480 mm, more than a head" in text


HEADERS = [
    ({"srow_x": 0}, "determinant 0", "mend its header"),
    # the first two axes are one
    ({"srow_x": [8, 8, 0, -80], "srow_y": [8, 8, 0, -112]}, "determinant 0", "header"),
    ({"srow_x": np.nan}, "determinant 0", "mend its header"),
    ({"srow_z": np.inf}, "determinant 0", "mend its header"),
    ({"xyzt_units": 1}, "lengths in metres", "xyzt_units"),
    ({"xyzt_units": 3}, "lengths in micron", "xyzt_units"),
    ({"xyzt_units": 5}, "unknown unit (code 5)", "xyzt_units"),
    ({"sform_code": 0, "qform_code": 0}, "no orientation", "MNI affine"),
]


@pytest.mark.parametrize(("fields", "what", "step"), HEADERS)
def test_a_header_that_cannot_be_is_refused(fields, what, step, values, tmp_path):
    path = patch(write(tmp_path / "a.nii", values), **fields)
    text = message(read_volume, path, None, WHERE)
    for part in (WHERE, str(path), what, step):
        assert part in text
    # an atlas is refused for the same reasons
    text = message(read_labels, path, ATLAS)
    for part in (ATLAS, str(path), what):
        assert part in text


@pytest.mark.parametrize(
    "fields", [{"xyzt_units": 0}, {"xyzt_units": 10}, {"sform_code": 4}]
)
def test_headers_of_real_software_pass(fields, values, tmp_path):
    path = patch(write(tmp_path / "a.nii", values), **fields)
    assert read_by_place(path) == by_place(values)


def test_an_orientation_by_the_qform_alone_is_enough(values, tmp_path):
    image = nib.Nifti1Image(values, AFFINE)
    image.set_qform(AFFINE, code=4)
    image.set_sform(None, code=0)
    nib.save(image, tmp_path / "a.nii")
    assert read_by_place(tmp_path / "a.nii") == by_place(values)


# --- atlases ----------------------------------------------------------------------------------


def test_labels_are_whole_numbers_in_their_place(rng, tmp_path):
    labels = rng.integers(0, 9171, size=SHAPE).astype(np.float32)
    volume = read_labels(write(tmp_path / "a.nii.gz", labels), ATLAS)
    np.testing.assert_array_equal(volume.values, labels)
    np.testing.assert_array_equal(volume.grid.affine, AFFINE)
    assert np.issubdtype(volume.values.dtype, np.integer)


@pytest.mark.parametrize("odd", [0.5, np.nan])
def test_fractions_are_no_labels(odd, tmp_path):
    labels = np.ones(SHAPE, np.float32)
    labels[3, 3, 3] = odd
    text = message(read_labels, write(tmp_path / "a.nii", labels), ATLAS)
    for part in (ATLAS, "a.nii", "fractions", "probabilistic"):
        assert part in text


def test_a_constant_or_cropped_mask_is_a_mask(tmp_path):
    # 24 mm around a point 40 mm from the commissure: no landmark is inside
    affine = shifted([120, 112, 72])
    path = write(tmp_path / "a.nii", np.ones((3, 3, 3), np.uint8), affine)
    assert read_labels(path, ATLAS).values.sum() == 27


def test_a_tilted_atlas_is_refused(tmp_path):
    tilt = np.eye(4)
    tilt[:2, :2] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
    labels = np.ones(SHAPE, np.uint8)
    path = write(tmp_path / "a.nii", labels, tilt @ AFFINE)
    text = message(read_labels, path, ATLAS)
    for part in (ATLAS, "a.nii", "tilted", "Resample"):
        assert part in text
    path = write(tmp_path / "b.nii", np.stack([labels, labels], -1), tilt @ AFFINE)
    assert "tilted" in message(read_probabilities, path, [0], ATLAS)


def test_an_analyze_atlas_is_not_placed_by_guess(values, tmp_path):
    path = write_analyze(tmp_path / "a.img", values)
    text = message(read_labels, path, ATLAS)
    assert "which side is left" in text
    assert "converted to NIfTI" in text


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_chosen_volumes_of_a_probabilistic_atlas_are_read(suffix, rng, tmp_path):
    percent = rng.integers(0, 101, size=(*SHAPE, 5)).astype(np.uint8)
    path = write(tmp_path / f"a{suffix}", percent)
    volumes, grid = read_probabilities(path, [4, 0, 2], ATLAS)
    assert sorted(volumes) == [0, 2, 4]
    for index, volume in volumes.items():
        np.testing.assert_array_equal(volume, percent[..., index])
    np.testing.assert_array_equal(grid.affine, AFFINE)
    assert grid.shape == SHAPE


def test_a_volume_that_is_not_there_is_named(values, tmp_path):
    flat = write(tmp_path / "a.nii", values)
    deep = write(tmp_path / "b.nii", np.stack([values, values], -1))
    for path, shape in ((flat, "(20, 24, 20)"), (deep, "(20, 24, 20, 2)")):
        text = message(read_probabilities, path, [2], ATLAS)
        for part in (ATLAS, path.name, shape, "no volume 2", "regions.atlases"):
            assert part in text


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_truncated_or_missing_probabilistic_atlas_is_refused(
    suffix, values, tmp_path
):
    path = write(tmp_path / f"a{suffix}", np.stack([values, values], -1))
    path.write_bytes(path.read_bytes()[:20000])
    text = message(read_probabilities, path, [1], ATLAS)
    assert ATLAS in text
    assert "truncated" in text
    path.unlink()
    assert "does not exist" in message(read_probabilities, path, [1], ATLAS)


# --- the real files ---------------------------------------------------------------------------


def test_the_wager_images_are_placed_as_spm_placed_them(shared_data):
    path = min((shared_data / "wager2008").rglob("con_*.img"))
    volume = read_volume(path, "radiological", WHERE)
    # nibabel's own reading of SPM2 Analyze, whose default is radiological
    image = nib.load(path)
    assert image.header.endianness == ">"
    np.testing.assert_allclose(volume.grid.affine, image.affine, atol=1e-12)
    np.testing.assert_array_equal(volume.values, image.get_fdata()[..., 0])
