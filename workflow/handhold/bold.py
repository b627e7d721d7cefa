"""BOLD runs at the edge: each file read once, volume by volume, into the voxels of a mask."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from isal import igzip
from numpy.typing import NDArray

from handhold.errors import StudyError
from handhold.images import (
    LONGEST_TAIL,
    UNREADABLE,
    Grid,
    Layout,
    read_labels,
    read_layout,
)
from handhold.io import remedy
from handhold.regions import Weights

GZIP = b"\x1f\x8b"
# Number types of up to 4 bytes are kept as stored; larger ones become float32, since a
# run of 300 volumes at 2 mm would otherwise take 560 MB.
KEPT_BYTES = 4
# Farthest (mm) that a mask's voxels may lie from those of its run: rounding of headers.
APART_MM = 0.05
FWHM_PER_SIGMA = float(np.sqrt(8 * np.log(2)))
# Voxels whose series are averaged at a time: 300 volumes of float64 are 20 MB.
CHUNK = 8192


@dataclass(frozen=True)
class Bold:
    """One run within a mask.

    `values`, shape (n_volumes, n_voxels), over the voxels of `mask` (x, y, z) in C order, in
    the number type of the file, or float32 where that has more than 4 bytes or was smoothed;
    the signal is `values * slope + intercept`. `grid` is that of the run.
    """

    values: NDArray
    slope: float
    intercept: float
    mask: NDArray
    grid: Grid

    @property
    def n_volumes(self) -> int:
        """Number of volumes."""
        return len(self.values)

    @property
    def n_voxels(self) -> int:
        """Number of voxels within the mask."""
        return self.values.shape[1]

    def block(self, voxels: slice, keep: NDArray | None = None) -> NDArray:
        """Return the signal of some voxels, float32, shape (n_kept, n): a copy.

        `keep` (n_volumes,) tells the volumes that are not censored; None: all.
        """
        numbers = self.values[:, voxels]
        if keep is not None and not np.all(keep):
            numbers = numbers[np.asarray(keep, dtype=bool)]
        signal = numbers.astype(np.float32)
        if self.slope != 1:
            signal *= np.float32(self.slope)
        if self.intercept != 0:
            signal += np.float32(self.intercept)
        return signal

    def spread(self, values: NDArray) -> NDArray:
        """Put values (n_voxels,) back in place, shape (x, y, z); NaN outside the mask."""
        volume = np.full(self.mask.shape, np.nan, dtype=np.result_type(values, "f4"))
        volume[self.mask] = values
        return volume


def read_grid_4d(path: str | Path, where: str) -> tuple[Grid, int, float]:
    """Read grid, number of volumes and step (s, NaN where not stated) from a run's header.

    Raises
    ------
    StudyError
        As `images.read_layout`.
    """
    layout = read_layout(path, where)
    return layout.grid, layout.n_volumes, layout.tr_s


def read_bold(
    path: str | Path, mask_path: str | Path, where: str, *, smoothing_mm: float = 0.0
) -> Bold:
    """Read a run within its brain mask, in one pass over the file.

    Parameters
    ----------
    path : path
        Preprocessed BOLD, .nii or .nii.gz, any byte order, number type and scaling.
    mask_path : path
        Brain mask on the same grid; above 0 is brain.
    where : str
        Subject and run, for errors.
    smoothing_mm : float
        FWHM of a Gaussian kernel, equal to nilearn's `smooth_img`: values that are not
        finite count as 0 for their neighbours, edges are reflected, the kernel ends at 4
        standard deviations. Voxels that are not finite stay so.

    Raises
    ------
    StudyError
        If a file is missing, truncated or corrupt (its checksum is verified), if the run is not
        a series in MNI space, or if the mask is empty or on another grid.
    """
    layout = read_layout(path, where)
    mask = _read_mask(mask_path, path, layout.grid, where)
    index = _places(mask)
    keep_numbers = smoothing_mm == 0 and layout.dtype.itemsize <= KEPT_BYTES
    dtype = layout.dtype.newbyteorder("=") if keep_numbers else np.dtype(np.float32)
    try:
        values = np.empty((layout.n_volumes, len(index)), dtype)
    except MemoryError as error:
        raise StudyError(
            f"{where}: {layout.n_volumes} volumes of {len(index)} voxels of {path} do not fit the "
            "memory of the job. Give it more (mem_mb), or BOLD of a coarser grid."
        ) from error
    if smoothing_mm > 0:
        smooth = _smoother(mask, layout.grid, smoothing_mm)
        for volume, row in zip(_volumes(path, layout, where), values, strict=True):
            smooth(_scale(volume, layout), row)
    elif keep_numbers:
        for volume, row in zip(_volumes(path, layout, where), values, strict=True):
            volume.take(index, out=row, mode="clip")
    else:
        for volume, row in zip(_volumes(path, layout, where), values, strict=True):
            row[:] = _scale(volume.take(index), layout)
    scaling = (layout.slope, layout.intercept) if keep_numbers else (1.0, 0.0)
    return Bold(values, *scaling, mask, layout.grid)


def region_series(
    bold: Bold, weights: Weights, measured: NDArray | None = None
) -> NDArray:
    """Average a run over regions, volume by volume.

    Parameters
    ----------
    bold : Bold
    weights : Weights
        Of n_regions on the run's grid.
    measured : array of bool, shape (n_voxels,), optional
        Voxels of the mask to use; None: all. Whatever it says, voxels that are constant or not
        finite in some volume are left out, as they are of a fit.

    Returns
    -------
    array, shape (n_volumes, n_regions)
        Weighted means; NaN for a region without a voxel.
    """
    from scipy import sparse

    region, voxel, weight = _held_weights(weights, bold.mask)
    shape = (len(weights.total), bold.n_voxels)
    matrix = sparse.csc_array((weight, (region, voxel)), shape=shape)
    sums = np.zeros((bold.n_volumes, shape[0]))
    covered = np.zeros(shape[0])
    used = np.unique(voxel)
    if measured is not None:
        used = used[measured[used]]
    for start in range(0, len(used), CHUNK):
        some = used[start : start + CHUNK]
        numbers = bold.values[:, some].astype(float)
        held = np.isfinite(numbers).all(axis=0) & (numbers != numbers[0]).any(axis=0)
        part = matrix[:, some[held]]
        sums += (part @ numbers[:, held].T).T
        covered += part.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return sums / covered * bold.slope + bold.intercept


def read_region_series(
    path: str | Path, mask_path: str | Path, weights: Weights, where: str
) -> NDArray:
    """Average a run over regions without holding it in memory.

    Parameters and errors as `read_bold`, result as `region_series`. The file is read once;
    again only if a voxel of a region turns out to be constant (not at 0) or to lack a number
    in some of the volumes.
    """
    layout = read_layout(path, where)
    mask = _read_mask(mask_path, path, layout.grid, where)
    region, voxel, weight = _held_weights(weights, mask)
    entries = _Entries.of(region, _places(mask)[voxel], weight, len(weights.total))
    means, held, counted = _average_entries(path, layout, where, entries)
    if (counted & ~held).any():
        means, _, _ = _average_entries(path, layout, where, entries.take(held))
    return means * layout.slope + layout.intercept


def _held_weights(weights: Weights, mask: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Return region, voxel (counted within the mask) and weight of each entry in the mask."""
    entries = weights.matrix.tocoo()
    number = np.where(mask, np.cumsum(mask, dtype=np.int32).reshape(mask.shape), 0) - 1
    voxel = number.ravel()[entries.col]
    inside = voxel >= 0
    return entries.row[inside], voxel[inside], entries.data[inside]


@dataclass(frozen=True)
class _Entries:
    """Weights of voxels in regions, entry by entry, sorted by `region` (n_entries,).

    `place` (n_entries,), where the voxel lies in a volume as stored; `weight` (n_entries,),
    mm^3; `starts`, the first entry of each region that has any; `n_regions`.
    """

    region: NDArray
    place: NDArray
    weight: NDArray
    starts: NDArray
    n_regions: int

    @classmethod
    def of(
        cls, region: NDArray, place: NDArray, weight: NDArray, n_regions: int
    ) -> "_Entries":
        """Sort entries by region, and in each as the file runs: memory is read forwards."""
        order = np.lexsort((place, region))
        region = region[order]
        starts = np.flatnonzero(np.diff(region, prepend=-1))
        return cls(region, place[order], weight[order], starts, n_regions)

    def sum(self, numbers: NDArray) -> NDArray:
        """Sum numbers (n_entries,) by weight, shape (n_regions,)."""
        sums = np.zeros(self.n_regions)
        if len(self.starts):
            weighted = np.multiply(numbers, self.weight, dtype=float)
            # infinities of both signs meet in one region: it is not finite, and shows it
            with np.errstate(invalid="ignore"):
                sums[self.region[self.starts]] = np.add.reduceat(weighted, self.starts)
        return sums

    def take(self, held: NDArray) -> "_Entries":
        """Return the entries that are held (n_entries,)."""
        parts = (self.region[held], self.place[held], self.weight[held])
        return _Entries.of(*parts, self.n_regions)


def _average_entries(
    path, layout: Layout, where: str, entries: _Entries
) -> tuple[NDArray, NDArray, NDArray]:
    """Average stored numbers; tell the entries with a signal, and those that count without one.

    Numbers that are not finite, or constant at 0, add nothing to a sum and are left out of its
    weight.
    """
    means = np.empty((layout.n_volumes, entries.n_regions))
    finite = np.ones(len(entries.place), dtype=bool)
    # entries that have not changed so far: few after the second volume
    still = np.arange(len(entries.place))
    first = None
    for volume, row in zip(_volumes(path, layout, where), means, strict=True):
        numbers = volume.take(entries.place)
        row[:] = entries.sum(numbers)
        if not np.isfinite(row).all():
            valid = np.isfinite(numbers)
            finite &= valid
            numbers = np.where(valid, numbers, 0)
            row[:] = entries.sum(numbers)
        first = numbers if first is None else first
        still = still[numbers[still] == first[still]]
    changed = np.ones(len(finite), dtype=bool)
    changed[still] = False
    held = finite & changed
    with np.errstate(invalid="ignore"):
        means /= entries.sum(held)
    return means, held, changed | (first != 0)


def _read_mask(path: str | Path, bold: str | Path, grid: Grid, where: str) -> NDArray:
    labels = read_labels(path, f"{where}, brain mask")
    if labels.grid.shape != grid.shape or _apart(labels.grid, grid) > APART_MM:
        raise StudyError(
            f"{where}: the brain mask {path} lies on another grid "
            f"({_describe(labels.grid)}) than the run {bold} ({_describe(grid)}). "
            "Take run and mask of the same space and resolution (bids.space, bids.resolution)."
        )
    mask = labels.values > 0
    if not mask.any():
        raise StudyError(
            f"{where}: the brain mask {path} is empty: none of its {mask.size} voxels is above "
            "0. Make the mask again, or exclude the run."
        )
    return mask


def _apart(first: Grid, second: Grid) -> float:
    """Return how far (mm) the corners of two grids of one shape lie apart at most."""
    ends = [(0, length - 1) for length in first.shape]
    corners = np.stack([*np.meshgrid(*ends), np.ones((2, 2, 2))]).reshape(4, -1)
    return float(np.abs((first.affine - second.affine) @ corners).max())


def _describe(grid: Grid) -> str:
    sizes = np.sqrt((grid.affine[:3, :3] ** 2).sum(axis=0))
    shape, size, corner = (
        " x ".join(f"{number:g}" for number in numbers)
        for numbers in (grid.shape, sizes, grid.affine[:3, 3])
    )
    return f"{shape} voxels of {size} mm from {corner.replace(' x ', ', ')} mm"


def _places(mask: NDArray) -> NDArray:
    """Return where the voxels of a mask, in C order, lie in a volume as stored."""
    return np.ravel_multi_index(np.nonzero(mask), mask.shape, order="F")


def _volumes(path: str | Path, layout: Layout, where: str) -> Iterator[NDArray]:
    """Yield every volume as stored (flat, native byte order) in one buffer, overwritten."""
    stored = np.empty(math.prod(layout.grid.shape), layout.dtype)
    native = stored.view(layout.dtype.newbyteorder("="))
    as_bytes = memoryview(stored.view(np.uint8))
    with _reading(path, where), _stream(path) as file:
        file.seek(layout.offset)
        for n_read in range(layout.n_volumes):
            if file.readinto(as_bytes) < len(as_bytes):
                raise EOFError(f"it ends after {n_read} of {layout.n_volumes} volumes")
            if not layout.dtype.isnative:
                stored.byteswap(inplace=True)
            yield native
        # a gzip file keeps its checksum at the end, and it is verified on the way there
        tail = 0
        while n_bytes := file.readinto(as_bytes):
            tail += n_bytes
            if tail > LONGEST_TAIL:
                raise EOFError(f"more follows its {layout.n_volumes} volumes")


@contextmanager
def _reading(path: str | Path, where: str):
    try:
        yield
    except UNREADABLE as error:
        way_out = remedy(path, "Copy it again from its source, or exclude the run.")
        raise StudyError(
            f"{where}: {path} is truncated or corrupt ({error}). {way_out}"
        ) from error


def _stream(path: str | Path):
    """Open a file for reading through; the gzip of Intel's ISA-L is the fastest there is."""
    with Path(path).open("rb") as file:
        packed = file.read(2) == GZIP
    return igzip.open(path) if packed else Path(path).open("rb")


def _scale(numbers: NDArray, layout: Layout) -> NDArray:
    """Scale stored numbers by the header, as float32."""
    wide = numbers.astype(np.result_type(numbers.dtype, np.float32))
    # beyond float32 is infinite, and so not measured
    with np.errstate(over="ignore"):
        return (wide * layout.slope + layout.intercept).astype(np.float32)


def _smoother(mask: NDArray, grid: Grid, fwhm: float) -> Callable:
    """Return a function that smooths a stored volume (float32) into a row of masked voxels.

    A Gaussian kernel is a banded matrix along each axis, and three matrix products are
    faster than filtering. Only what the mask's bounding box needs is worked out.
    """
    from scipy.ndimage import gaussian_filter1d

    sizes = np.sqrt((grid.affine[:3, :3] ** 2).sum(axis=0))
    sigmas = fwhm / (FWHM_PER_SIGMA * sizes)
    boxes = [slice(axis.min(), axis.max() + 1) for axis in np.nonzero(mask)]
    x, y, z = (
        gaussian_filter1d(np.eye(length), sigma, axis=0)[box].astype(np.float32)
        for length, sigma, box in zip(mask.shape, sigmas, boxes, strict=True)
    )
    inside, everywhere = _places(mask[tuple(boxes)]), _places(mask)

    def smooth(volume: NDArray, row: NDArray) -> None:
        invalid = ~np.isfinite(volume)
        # stored in Fortran order: the first axis of the array is z
        stack = np.where(invalid, 0, volume).reshape(mask.shape[::-1])
        stack = y @ (stack @ x.T)
        stack = z @ stack.reshape(len(stack), -1)
        stack.ravel().take(inside, out=row, mode="clip")
        row[invalid.take(everywhere)] = np.nan

    return smooth
