"""Brain images at the edge: any MNI grid, orientation, voxel size and number type."""

import gzip
import math
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from zlib import error as ZlibError

import nibabel as nib
import numpy as np
from isal import igzip, isal_zlib
from numpy.typing import NDArray

from handhold.errors import StudyError
from handhold.io import is_file, remedy, replacing

# No study's voxels leave these bounds; outside them the header is in another unit (metres,
# micrometres) or the image is not a whole-brain one.
VOXEL_MM = (0.4, 12.0)
# An MNI brain spans x -73..73, y -107..75, z -73..83 mm. Every group image that covers the
# regions of interest holds these two points: the anterior commissure, and 10 mm above it.
LANDMARKS_MM = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 10.0]])
# Units of length by the code in a NIfTI header (nifti1.h); an unknown one is taken as mm.
UNITS = {0: "unknown", 1: "metres", 2: "mm", 3: "micron"}
# Seconds by the code of a unit of time; other codes do not say what the fourth step is.
SECONDS = {8: 1.0, 16: 1e-3, 24: 1e-6}
# Cosine below which two axes are perpendicular: over 200 voxels the far end moves by 0.2 of one.
TILT = 1e-3
# Noise hardly compresses: higher levels take longer and make no smaller file.
COMPRESSION = 1
# What a packed byte stands for at most. Deflated: 258 bytes in two bits (RFC 1951). Of bzip2: a
# block, which may stand for 46 MB of one value, has 32 bytes at least.
DENSEST = {".gz": 1032, ".bz2": 1_500_000}
# Some writers pad a file; more than a block behind the last voxel is something else.
LONGEST_TAIL = 4096
# An atlas of 100 volumes in steps of 1 mm is smaller; what unpacks to more is not read for nothing.
LARGEST = 2**31
# Voxels of a volume: the MNI template at half a millimetre has 69 million; as float64 this many
# take 0.64 GB, of which reading needs two.
MOST_VOXELS = 80_000_000
# Bytes of header and extensions before the first voxel, if the file is packed; fMRIPrep's and
# CIFTI's extensions have less than a tenth of it.
LONGEST_HEADER = 50_000_000
# What nibabel is asked to read; by other suffixes it would try other formats.
SUFFIXES = (".nii", ".hdr", ".img")
PACKED = (".gz", ".bz2")
# Farthest that the corner of a grid may lie from the origin: no field of view is larger.
FARTHEST_MM = 400.0


# Of a label image; float32 counts no farther.
LARGEST_CODE = 2**24
# What readers of files raise that are cut off or corrupt.
UNREADABLE = (OSError, EOFError, ZlibError, isal_zlib.error)


@dataclass(frozen=True)
class Grid:
    """Where the voxels of an image lie: `affine` (voxel to MNI mm) and `shape` (three axes)."""

    affine: NDArray
    shape: tuple[int, int, int]

    @property
    def voxel_volume(self) -> float:
        """Volume of one voxel, mm^3."""
        # not np.linalg.det, which goes through logarithms: 2 x 2 x 2 must be 8
        x, y, z = self.affine[:3, :3].T
        return float(abs(np.dot(x, np.cross(y, z))))


@dataclass(frozen=True)
class Volume:
    """One image: `values`, shape `grid.shape`, scaled by the header, float64, with its grid."""

    values: NDArray
    grid: Grid


@dataclass(frozen=True)
class Layout:
    """How a series of volumes lies in its file.

    `n_volumes` of `grid` follow each other from byte `offset`, as numbers of `dtype` in
    Fortran order; a value is the number times `slope` plus `intercept`. `tr_s` is the step
    between volumes in seconds, NaN where the header names no unit of time or no step.
    """

    grid: Grid
    n_volumes: int
    tr_s: float
    dtype: np.dtype
    offset: int
    slope: float
    intercept: float


def read_grid(path: str | Path, analyze_orientation: str | None, where: str) -> Grid:
    """Read the grid of an image from its header alone.

    Parameters
    ----------
    path : path
        NIfTI-1, NIfTI-2 or an Analyze 7.5 pair, gzip or not.
    analyze_orientation : {'radiological', 'neurological', None}
        Order of voxels along x in Analyze images, which the format does not say.
    where : str
        Subject and configuration key, for the error.

    Raises
    ------
    StudyError
        If the file is missing or no image, is not one volume, has no orientation, or is
        not in MNI space.
    """
    return _grid(_load(path, where), path, analyze_orientation, where)


def read_volume(
    path: str | Path, analyze_orientation: str | None, where: str
) -> Volume:
    """Read one image, scaled by its header; parameters and errors as `read_grid`.

    Raises
    ------
    StudyError
        Also if the file is truncated or corrupt, holds no finite value, or one value only.
    """
    image = _load_whole(path, where)
    grid = _grid(image, path, analyze_orientation, where)
    _require_room(image, path, where)
    with _reading(path, where):
        values = np.asarray(image.dataobj, dtype=np.float64).reshape(grid.shape)
    finite = np.isfinite(values)
    if not finite.any():
        raise StudyError(
            f"{where}: {path} holds no finite value in {values.size} voxels. "
            "The estimation that wrote it failed; estimate it again or exclude the subject."
        )
    # not values[finite], which would take the room of another image
    lowest = values.min(where=finite, initial=np.inf)
    if lowest == values.max(where=finite, initial=-np.inf):
        raise StudyError(
            f"{where}: {path} is constant ({lowest:g} in all {finite.sum()} finite voxels). "
            "The estimation that wrote it failed; estimate it again or exclude the subject."
        )
    return Volume(values, grid)


def write_image(path: str | Path, values: NDArray, grid: Grid) -> None:
    """Write one volume as gzipped float32 NIfTI in MNI space, whole or not at all.

    The same values give the same bytes: no time and no name stand in the file.
    """
    with replacing(path) as temporary:
        # Not by isal: of 500 of its files, two had other bytes for the same content.
        content = image_bytes(values.astype(np.float32), grid)
        temporary.write_bytes(gzip.compress(content, COMPRESSION, mtime=0))


def image_bytes(values: NDArray, grid: Grid) -> bytes:
    """Return one volume as a NIfTI-1 file in MNI space, numbers stored in the type they have."""
    image = nib.Nifti1Image(values, grid.affine)
    image.set_sform(grid.affine, code="mni")
    image.set_qform(grid.affine, code="mni")
    image.header.set_xyzt_units("mm")
    return image.to_bytes()


def read_labels(path: str | Path, where: str) -> Volume:
    """Read a label image or mask; a constant one is allowed, fractions are not.

    Raises
    ------
    StudyError
        If the file is missing, no image, truncated, not one volume, or holds fractions, or
        if its orientation is not stated or its axes are not those of MNI space.
    """
    image = _load_whole(path, where)
    grid = Grid(_atlas_affine(image, path, where), _one_volume(image, path, where))
    _require_room(image, path, where)
    with _reading(path, where):
        values = np.asarray(image.dataobj).reshape(grid.shape)
    if not np.array_equal(values, np.round(values)):
        raise StudyError(
            f"{where}: {path} holds fractions, so that it is no label image. "
            "A probabilistic atlas is declared as kind probabilistic in regions.atlases."
        )
    if values.min() < -LARGEST_CODE or values.max() > LARGEST_CODE:
        raise StudyError(
            f"{where}: {path} holds values that are no labels: {values.min():g} to "
            f"{values.max():g}, beyond {LARGEST_CODE}. Give an image of label codes."
        )
    return Volume(values.astype(np.int32), grid)


def read_probabilities(
    path: str | Path,
    indices: list[int],
    where: str,
    *,
    named: list[int] | None = None,
) -> tuple[dict, Grid]:
    """Read chosen volumes of a 4D probabilistic atlas in one pass over the file.

    `named` are the codes of its whole label table, one for each volume, from 0: a table that
    counts from 1 would give every volume the name of its neighbour.

    Returns
    -------
    volumes : dict of int to array (x, y, z)
        In the atlas's own unit (mostly percent).
    grid : Grid

    Raises
    ------
    StudyError
        As `read_labels`, or if the file holds no such volume, or others than are named.
    """
    # A gzip file can only be read forwards: kept open, with indices in rising order,
    # it is decompressed once instead of once for each volume.
    image = _load_whole(path, where, keep_file_open=True)
    if len(image.shape) != 4 or max(indices) >= image.shape[3]:
        raise StudyError(
            f"{where}: {path} has the shape {image.shape}, which holds no volume "
            f"{max(indices)}. Compare the image with its label table (regions.atlases)."
        )
    if named is not None and sorted(named) != list(range(image.shape[3])):
        raise StudyError(
            f"{where}: {path} has {image.shape[3]} volumes, and its label table {len(named)} "
            f"labels with the codes {min(named)} to {max(named)}; there has to be one for each "
            "volume, from 0, or regions get the names of others. Mend the table (column labels of "
            "regions.atlases)."
        )
    grid = Grid(_atlas_affine(image, path, where), image.shape[:3])
    _require_room(image, path, where)
    with _reading(path, where):
        volumes = {
            index: np.asarray(image.dataobj[..., index]) for index in sorted(indices)
        }
    return volumes, grid


def read_layout(path: str | Path, where: str) -> Layout:
    """Read from its header how a series (x, y, z, volumes) lies in its file.

    Raises
    ------
    StudyError
        If the file is missing, is no NIfTI file (.nii or .nii.gz), is not a series of at
        least two volumes, has no orientation, or is not in MNI space.
    """
    if not str(path).endswith((".nii", ".nii.gz")):
        raise StudyError(
            f"{where}: {path} is not a .nii or .nii.gz file, as a series of volumes has to be. "
            "Convert it to NIfTI."
        )
    image = _load(path, where)
    shape = image.shape
    if len(shape) != 4 or shape[3] < 2 or 0 in shape:
        raise StudyError(
            f"{where}: {path} has the shape {shape}; a series (x, y, z, volumes) is needed. "
            "Name the preprocessed BOLD run, not a mean or reference volume."
        )
    grid = Grid(_affine(image, path, None, where), shape[:3])
    _require_mni(grid.affine, grid.shape, path, where)
    _require_room(image, path, where)
    stored = image.dataobj
    unit = SECONDS.get(int(image.header["xyzt_units"]) & 0x38, np.nan)
    step = float(image.header["pixdim"][4]) * unit
    return Layout(
        grid=grid,
        n_volumes=shape[3],
        tr_s=step if step > 0 else np.nan,
        dtype=stored.dtype,
        offset=stored.offset,
        slope=float(stored.slope),
        intercept=float(stored.inter),
    )


def require_whole(path: str | Path, where: str) -> None:
    """Refuse an image file that is cut off or corrupt; a compressed one is read to its end.

    Unlike the readers, it takes an image of any space and number of volumes.

    Raises
    ------
    StudyError
        If the header is none of NIfTI or Analyze, or claims more values than the file can hold;
        if the file is shorter or (unpacked) longer than the header says, or its CRC is wrong.
    """
    image = _load(path, where)
    stored = image.dataobj
    expected = stored.offset + math.prod(image.shape) * stored.dtype.itemsize
    path, size = Path(path), Path(path).stat().st_size
    packed = path.suffix == ".gz"
    _require_room(image, path, where)
    with _reading(path, where):
        found = _unpacked_length(path, expected + LONGEST_TAIL) if packed else size
    if not expected <= found <= expected + LONGEST_TAIL:
        raise StudyError(
            f"{where}: the image holds {'more than ' if found > expected else ''}"
            f"{min(found, expected + LONGEST_TAIL)} bytes{' once unpacked' if packed else ''}, and "
            f"its header says {expected}. It is cut off or corrupt: fetch or copy it again."
        )


def _unpacked_length(path: Path, most: int) -> int:
    """Count the bytes of a gzip file, and no more than a little beyond `most`; checks its CRC."""
    length = 0
    with igzip.open(path) as file:
        while length <= most and (chunk := file.read(1 << 20)):
            length += len(chunk)
    return length


def _load_whole(
    path: str | Path, where: str, **options
) -> nib.spatialimages.SpatialImage:
    """Load an image after its checksum: nibabel stops at the last voxel, and it stands behind."""
    if str(path).endswith(".gz") and Path(path).is_file():
        with _reading(path, where):
            _unpacked_length(Path(path), LARGEST)
    return _load(path, where, **options)


def _load(path: str | Path, where: str, **options) -> nib.spatialimages.SpatialImage:
    path = Path(path)
    if not is_file(path):
        kind = "is a link to nothing" if _is_link(path) else "does not exist"
        raise StudyError(
            f"{where}: the image {path} {kind}. Mend the path in the table, or fetch the file."
        )
    try:
        _require_header(path)
        # the sizes of a header that nobody meant overflow, and are refused here
        with np.errstate(all="ignore"):
            image = nib.load(path, **options)
            image.get_data_dtype()
    # a header may hold anything, and nibabel raises what comes of it, whatever that is
    except Exception as error:
        raise StudyError(
            f"{where}: {path} cannot be read as NIfTI or Analyze ({error}). "
            "Copy it again from its source; an .img needs its .hdr beside it."
        ) from error
    # NIfTI-1 and -2 are kinds of Analyze to nibabel; FreeSurfer and MINC images are not
    if not isinstance(image, nib.AnalyzeImage):
        raise StudyError(
            f"{where}: {path} is neither NIfTI nor Analyze, but {type(image).__name__}. "
            "Convert it to NIfTI."
        )
    if image.get_data_dtype().kind not in "iuf":
        raise StudyError(
            f"{where}: {path} holds {image.get_data_dtype()}, not real numbers. Write the image "
            "again as integers or floats."
        )
    return image


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except OSError:
        return False


def _require_header(path: Path) -> None:
    """Refuse a header that says that more stands before the voxels than does in any image.

    nibabel reads it all, and a packed file of a megabyte can hold a gigabyte of it.

    Raises
    ------
    ValueError
    """
    try:
        with igzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(nib.Nifti2Header.template_dtype.itemsize)
    except UNREADABLE:
        return  # cut off: whoever reads on says so
    for kind in (nib.Nifti1Header, nib.Nifti2Header):
        for order in "<>":
            form = kind.template_dtype.newbyteorder(order)
            if len(head) < form.itemsize:
                continue
            fields = np.frombuffer(head[: form.itemsize], form)[0]
            offset = float(fields["vox_offset"])
            if fields["sizeof_hdr"] == form.itemsize and not (
                0 <= offset <= LONGEST_HEADER
            ):
                raise ValueError(f"its voxels would begin at byte {offset:g}")


def _require_room(image, path: str | Path, where: str) -> None:
    """Refuse a header that claims more than the file holds, or than a volume of a brain has.

    Nothing has been allocated yet: a header is a few numbers, of which each can be anything.
    """
    # of a pair, the file of the voxels
    stored, path = image.dataobj, Path(image.file_map["image"].filename)
    n_bytes = stored.offset + math.prod(image.shape) * stored.dtype.itemsize
    size, packed = path.stat().st_size, path.suffix in PACKED
    if (
        min(image.shape, default=0) < 1
        or n_bytes > size * DENSEST.get(path.suffix, 1) + LONGEST_TAIL
    ):
        raise StudyError(
            f"{where}: {path} is truncated or corrupt (its header says {n_bytes} bytes (shape "
            f"{image.shape}), and the file has {size}{' compressed' if packed else ''}). Copy it "
            "again from its source, or exclude the run or person."
        )
    if math.prod(image.shape[:3]) > MOST_VOXELS:
        raise StudyError(
            f"{where}: {path} has volumes of the shape {image.shape[:3]}, and at most "
            f"{MOST_VOXELS} voxels are read. Resample it to an MNI template."
        )


@contextmanager
def _reading(path: str | Path, where: str):
    try:
        yield
    except (*UNREADABLE, ValueError, OverflowError, MemoryError) as error:
        way_out = remedy(path, "Copy it again from its source.")
        raise StudyError(
            f"{where}: {path} cannot be read: it is truncated or corrupt ({error}). {way_out}"
        ) from error


def _grid(image, path: str | Path, analyze_orientation: str | None, where: str) -> Grid:
    shape = _one_volume(image, path, where)
    affine = _affine(image, path, analyze_orientation, where)
    _require_mni(affine, shape, path, where)
    return Grid(affine, shape)


def _one_volume(image, path: str | Path, where: str) -> tuple[int, int, int]:
    shape = image.shape
    if len(shape) < 3 or any(length != 1 for length in shape[3:]):
        raise StudyError(
            f"{where}: {path} has the shape {shape}; one volume (x, y, z) is needed. "
            "Split a series into one image per row of the table."
        )
    return shape[:3]


def _atlas_affine(image, path: str | Path, where: str) -> NDArray:
    """Return the affine of an atlas, which may be cropped, but runs along the MNI axes."""
    affine = _affine(image, path, None, where)
    fault = _voxel_fault(affine)
    if fault is None:
        sizes = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
        along = np.abs(affine[:3, :3]) > TILT * sizes
        if (along.sum(axis=0) != 1).any():
            fault = "its axes are tilted against x, y and z"
    if fault:
        raise StudyError(
            f"{where}: {path} is not in MNI space: {fault}. Resample it to an MNI template "
            "without interpolating between labels."
        )
    return affine


def _affine(
    image, path: str | Path, analyze_orientation: str | None, where: str
) -> NDArray:
    if not isinstance(image, nib.Nifti1Pair):
        return _analyze_affine(image, path, analyze_orientation, where)
    header = image.header
    if header["sform_code"] == 0 and header["qform_code"] == 0:
        raise StudyError(
            f"{where}: the header of {path} gives no orientation (sform and qform codes are 0), "
            "so that left and right cannot be told. Write the image again with its MNI affine."
        )
    code = int(header["xyzt_units"]) % 8
    units = UNITS.get(code, f"an unknown unit (code {code})")
    if units not in ("mm", "unknown"):
        raise StudyError(
            f"{where}: the header of {path} gives lengths in {units}; MNI images are in mm. "
            "Mend xyzt_units if the header is wrong, or resample the image to MNI space."
        )
    return image.affine


def _analyze_affine(
    image, path, analyze_orientation: str | None, where: str
) -> NDArray:
    if analyze_orientation is None:
        raise StudyError(
            f"{where}: {path} is an Analyze 7.5 image, and that format does not record which "
            "side is left. State it in maps.analyze_orientation: radiological (voxels run "
            "from right to left, the default of SPM99 and SPM2) or neurological (left to "
            "right). The software that wrote the images knows; a wrong answer swaps the "
            "hemispheres of every result. An atlas or a receptor map in this format has to be "
            "converted to NIfTI."
        )
    origin = image.header["origin"][:3] if "origin" in image.header else np.zeros(3)
    if not np.any(origin):
        raise StudyError(
            f"{where}: {path} is an Analyze 7.5 image without an origin, so that its place in "
            "MNI space is unknown. Convert it to NIfTI with the affine of the study's template."
        )
    sizes = np.asarray(image.header.get_zooms()[:3], dtype=float)
    sizes[0] *= -1 if analyze_orientation == "radiological" else 1
    affine = np.diag([*sizes, 1.0])
    # SPM counts the voxel of the origin from 1
    affine[:3, 3] = -sizes * (origin - 1)
    return affine


def _require_mni(affine: NDArray, shape: tuple, path: str | Path, where: str) -> None:
    """Refuse an affine that cannot be an MNI one, whatever its code says."""
    fault = _voxel_fault(affine)
    if fault is None:
        last = np.array(shape) - 1
        voxels = nib.affines.apply_affine(np.linalg.inv(affine), LANDMARKS_MM)
        corners = nib.affines.apply_affine(affine, np.array([[0, 0, 0], last]))
        if (voxels < -0.5).any() or (voxels > last + 0.5).any():
            fault = (
                "the anterior commissure (0, 0, 0 mm) lies outside its field of view, which "
                f"spans {_span(corners)}"
            )
        elif np.abs(corners).max() > FARTHEST_MM:
            fault = f"its field of view spans {_span(corners)}, more than a head"
    if fault:
        raise StudyError(
            f"{where}: {path} is not in MNI space: {fault}. Normalise the image to MNI space, "
            "or mend its header."
        )


def _voxel_fault(affine: NDArray) -> str | None:
    sizes = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    # The determinant against the product of the sizes: metres make it small, not zero
    if not np.isfinite(affine).all() or (
        abs(np.linalg.det(affine[:3, :3])) <= 1e-6 * sizes.prod()
    ):
        return "its affine cannot be inverted (determinant 0)"
    if sizes.min() < VOXEL_MM[0] or sizes.max() > VOXEL_MM[1]:
        lengths = " x ".join(f"{size:g}" for size in sizes)
        return f"its voxels measure {lengths} mm, outside {VOXEL_MM[0]} to {VOXEL_MM[1]} mm"
    return None


def _span(corners: NDArray) -> str:
    low, high = corners.min(axis=0), corners.max(axis=0)
    return ", ".join(
        f"{axis} {first:.0f}..{last:.0f} mm"
        for axis, first, last in zip("xyz", low, high, strict=True)
    )
