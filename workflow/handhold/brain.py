"""The volumes of the interactive brain: those of the results, voxel for voxel.

Where they would make the page too heavy, whole planes of voxels are left out: no value is
changed, and none is interpolated.
"""

import gzip
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from handhold.errors import StudyError
from handhold.group import bind_voxels
from handhold.images import Grid, Volume, image_bytes, read_volume
from handhold.regions import Cloud, weigh
from handhold.registration import read_template
from handhold.viewer import View

# Bytes that attenuation and receptor maps may take in the page, before base64 adds a third:
# with niivue and the template the section stays under 3 MB.
BUDGET = 1_300_000
TEMPLATE_MM = 2
# What of it is kept around the brain, so that the brain fills the picture.
MARGIN_MM = 4
# Of a study whose images have no common grid: the receptor map's is finer than the eye needs.
COARSE_MM = 4
# A scale up to the largest value would show that voxel and nothing else.
SHARE = 99
COPYRIGHT = (
    "MNI152 template (ICBM 2009a nonlinear symmetric, from nilearn), copyright 1993-2004 Louis "
    "Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill University; "
    "use, copying, change and distribution are permitted where this notice appears."
)


def gather(
    images: Mapping[str, str],
    receptor: Mapping,
    rois: Cloud,
    names: Mapping[str, str],
    *,
    words: Mapping[str, str],
    min_coverage: float,
    low_coverage: str,
) -> View:
    """Gather the volumes of the interactive brain.

    Parameters
    ----------
    images : mapping of str to path
        Mean attenuation by contrast, on one grid. Files that are not there are left out, and
        said to be.
    receptor : mapping
        The row of the target map.
    rois : Cloud
        All ROIs, as define_regions wrote them.
    names : mapping of str to str
        The ROIs to show: name in `rois` to name for the reader.
    words : mapping
        unit (of attenuation), act (what is to lower the response), definition (of the ROIs).
    min_coverage, low_coverage
        As for the correlation over voxels, whose binding the receptor map shows.

    Returns
    -------
    View

    Raises
    ------
    StudyError
        If an image cannot be read.
    """
    means, missing = _read_means(images)
    grid = next(iter(means.values())).grid if means else None
    backdrop, _, shown = read_template(TEMPLATE_MM, MARGIN_MM)
    background = Volume(backdrop.astype(float), shown)
    if grid is None:
        grid, seen = _coarse(background)
    else:
        seen = np.logical_or.reduce([np.isfinite(m.values) for m in means.values()])
    # eyes and vessels, where images have them, are shown, but set no scale
    brain = seen & _inside(grid, background)
    step, packed = _pack(means, grid)
    chosen = np.flatnonzero(_thin(seen, step))
    places = np.arange(seen.size).reshape(seen.shape)
    voxel = _thin(places, step).ravel()[chosen]
    binding = np.full(_thin(places, step).shape, np.nan)
    binding.flat[chosen] = bind_voxels(
        voxel, grid, dict(receptor), min_coverage, low_coverage
    )
    labels, told, homes = label_rois(rois, names, background.grid)
    files = {
        "template.nii.gz": _compress(backdrop, background.grid),
        **{Path(images[name]).name: own for name, own in packed.items()},
        "receptor.nii.gz": _compress(
            binding.astype(np.float32), _thin_grid(grid, step)
        ),
        "rois.nii.gz": _compress(labels, background.grid),
    }
    facts = {
        "template": {"file": "template.nii.gz", "licence": COPYRIGHT},
        "attenuation": {
            "unit": words["unit"],
            "limit": _round_up(
                max((_extent(m.values[brain]) for m in means.values()), default=1.0)
            ),
            "lowered": f"{words['act']} lowered the response",
            "raised": f"{words['act']} raised the response",
            "maps": [
                {"contrast": name, "file": Path(images[name]).name} for name in means
            ],
            "missing": missing,
        },
        "receptor": {
            "file": "receptor.nii.gz",
            "label": str(receptor["label"]),
            "unit": str(receptor["unit"]),
            "limit": _round_up(_extent(binding)),
        },
        "rois": {
            "file": "rois.nii.gz",
            "definition": words["definition"],
            "names": list(names.values()),
            "labels": told,
            "places": homes,
        },
        "grid": {
            "size_mm": np.linalg.norm(grid.affine[:3, :3], axis=0).round(4).tolist(),
            "step": step,
        },
    }
    return View(facts, files)


def label_rois(
    rois: Cloud, names: Mapping[str, str], grid: Grid
) -> tuple[NDArray, list[dict], list[dict]]:
    """Label the voxels of a grid that ROIs fill by more than half.

    Parameters
    ----------
    rois : Cloud
    names : mapping of str to str
        The ROIs to label: name in `rois` to name for the reader.
    grid : Grid

    Returns
    -------
    labels : array of uint8, or of float32 where there are many, shape `grid.shape`
        0 outside; ROIs may overlap, so that each set of ROIs has a label of its own.
    told : list of dict
        label and rois (list of names for the reader).
    homes : list of dict
        name, and x, y, z (mm): for each side of an ROI the voxel nearest to its centre.
    """
    # each point counts by the space it stands for, not by its probability
    whole = replace(rois, weight=np.full(len(rois.points), rois.spacing.prod()))
    filled = weigh(whole, grid.affine, grid.shape).matrix
    volume = grid.voxel_volume
    held = np.zeros((len(names), int(np.prod(grid.shape))), bool)
    for row, name in enumerate(names):
        own = filled[[rois.names.index(name)]].toarray().ravel()
        held[row] = own > volume / 2
        if not held[row].any():  # too small for that: the voxel that holds most of it
            held[row] = (own == own.max()) & (own > 0)
    sets, labels = np.unique(held, axis=1, return_inverse=True)
    first_is_empty = not sets[:, 0].any()
    shown = list(names.values())
    told = [
        {
            "label": i + (not first_is_empty),
            "rois": [shown[row] for row in np.flatnonzero(sets[:, i])],
        }
        for i in range(int(first_is_empty), sets.shape[1])
    ]
    # a byte names 255 sets
    kind = np.uint8 if sets.shape[1] < 256 else np.float32
    labels = (labels.ravel() + (not first_is_empty)).astype(kind)
    homes = [
        home
        for row, name in enumerate(shown)
        for home in _homes(np.flatnonzero(held[row]), name, grid)
    ]
    return labels.reshape(grid.shape), told, homes


def glass_maps(view: View) -> tuple[list[tuple[str, NDArray]], NDArray, NDArray]:
    """Unpack what the glass brains show, on the grid of the template.

    Returns
    -------
    maps : list of (name, values (x, y, z))
        Attenuation by contrast, and last binding, without a name: for each voxel of the template
        the value of the voxel that holds its centre. Outside the brain NaN: eyes would hide
        what lies behind them.
    brain : array of bool, shape (x, y, z)
    x_mm : array, shape (x,)
        Where each plane of voxels lies.
    """
    template = _unpack(view.files[view.facts["template"]["file"]])
    brain = template.values > 0
    points = _points(np.argwhere(brain), template.grid.affine)
    maps = []
    for name, file in (
        *((own["contrast"], own["file"]) for own in view.facts["attenuation"]["maps"]),
        ("", view.facts["receptor"]["file"]),
    ):
        values = np.full(brain.shape, np.nan)
        values[brain] = _values_at(_unpack(view.files[file]), points)
        maps.append((name, values))
    affine = template.grid.affine
    return maps, brain, affine[0, 0] * np.arange(brain.shape[0]) + affine[0, 3]


def _read_means(images: Mapping[str, str]) -> tuple[dict[str, Volume], list[dict]]:
    means, missing = {}, []
    for name, path in images.items():
        if not Path(path).is_file():
            reason = "the images of the subjects lie on different grids"
            missing.append({"contrast": name, "reason": reason})
            continue
        try:
            means[name] = read_volume(path, None, f"mean attenuation, contrast {name}")
        except StudyError:
            # written by this pipeline: readable, so that it is empty
            reason = "too few subjects have any voxel"
            missing.append({"contrast": name, "reason": reason})
    return means, missing


def _inside(grid: Grid, template: Volume) -> NDArray:
    """Tell which voxels of a grid have their centre in the brain of the template."""
    points = _points(np.argwhere(np.ones(grid.shape, bool)), grid.affine)
    return (_values_at(template, points) > 0).reshape(grid.shape)


def _points(voxel: NDArray, affine: NDArray) -> NDArray:
    return voxel @ affine[:3, :3].T + affine[:3, 3]


def _values_at(volume: Volume, points: NDArray) -> NDArray:
    """Return the value of the voxel that holds each point (n_points, 3), NaN outside."""
    inverse = np.linalg.inv(volume.grid.affine)
    voxel = np.floor(_points(points, inverse) + 0.5).astype(int)
    held = np.all((voxel >= 0) & (voxel < volume.grid.shape), axis=1)
    values = np.full(len(points), np.nan)
    values[held] = volume.values[tuple(voxel[held].T)]
    return values


def _coarse(template: Volume) -> tuple[Grid, NDArray]:
    """Return a coarse grid over the template, and which of its voxels are brain."""
    step = COARSE_MM // TEMPLATE_MM
    return _thin_grid(template.grid, step), _thin(template.values, step) > 0


def _pack(means: Mapping[str, Volume], grid: Grid) -> tuple[int, dict[str, bytes]]:
    """Compress the maps, every `step`-th voxel along each axis, the finest that fits."""
    step = 0
    while True:
        step += 1
        packed = {
            name: _compress(
                _thin(mean.values, step).astype(np.float32), _thin_grid(grid, step)
            )
            for name, mean in means.items()
        }
        # the receptor map, on the same voxels, takes about as much as one of them
        total = sum(map(len, packed.values())) + max(
            map(len, packed.values()), default=0
        )
        if total <= BUDGET:
            return step, packed


def _thin(values: NDArray, step: int) -> NDArray:
    return values[::step, ::step, ::step]


def _thin_grid(grid: Grid, step: int) -> Grid:
    affine = grid.affine @ np.diag([step, step, step, 1.0])
    return Grid(affine, tuple(-(-length // step) for length in grid.shape))


def _compress(values: NDArray, grid: Grid) -> bytes:
    return gzip.compress(image_bytes(values, grid), 9, mtime=0)


def _unpack(content: bytes) -> Volume:
    image = nib.Nifti1Image.from_bytes(gzip.decompress(content))
    values = np.asarray(image.dataobj, float)
    return Volume(values, Grid(image.affine, values.shape))


def _homes(voxel: NDArray, name: str, grid: Grid) -> list[dict]:
    """Find for each side of an ROI the voxel that lies nearest to the centre of that side."""
    points = _points(np.stack(np.unravel_index(voxel, grid.shape), axis=1), grid.affine)
    homes = []
    for side, own in (
        ("left", points[points[:, 0] < 0]),
        ("right", points[points[:, 0] > 0]),
    ):
        if len(own):
            far = np.linalg.norm(own - own.mean(axis=0), axis=1)
            x, y, z = own[far.argmin()].tolist()
            homes.append({"name": f"{name}, {side}", "x": x, "y": y, "z": z})
    return homes


def _extent(values: NDArray) -> float:
    """Return what 99 % of the finite values but 0 stay within, either side of 0; 1 without any.

    Examples
    --------
    >>> _extent(np.array([0.0] * 999 + [2.0])), _extent(np.array([0.0, np.nan]))
    (2.0, 1.0)
    """
    finite = np.abs(values[np.isfinite(values) & (values != 0)])
    return float(np.percentile(finite, SHARE)) if len(finite) else 1.0


def _round_up(number: float) -> float:
    """Round a number away from 0 to two digits.

    Examples
    --------
    >>> _round_up(0.6123), _round_up(43.0), _round_up(0.0)
    (0.62, 43.0, 0.0)
    """
    if number == 0:
        return 0.0
    digit = 10.0 ** (np.floor(np.log10(abs(number))) - 1)
    return float(f"{np.sign(number) * np.ceil(abs(number) / digit - 1e-9) * digit:.6g}")
