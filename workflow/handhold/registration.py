"""Where each person's image lies on the template: three planes, and three numbers.

A brain that was registered badly, cut off, or flipped upside down shows in its outline before
it shows in any mean.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from handhold.images import Grid, read_volume

# Fine enough for an outline as wide as a thumb, and for volumes to per mille.
STEP_MM = 2
# What is seen around the template's brain.
MARGIN_MM = 12
# Planes (MNI mm) through vACC and striatum, and through the insula on both sides.
PLANES_MM = {"x": 2.0, "y": 10.0, "z": 0.0}


def check_registration(
    manifest: pd.DataFrame, *, analyze_orientation: str | None, zero_is_missing: bool
) -> tuple[pd.DataFrame, dict[str, NDArray]]:
    """Compare what each person's images cover with the brain of the template.

    Parameters
    ----------
    manifest : DataFrame
        Columns subject and image; a subject's mask is what all of its images measured.
    analyze_orientation, zero_is_missing
        Keys of the section `maps` of the configuration.

    Returns
    -------
    table : DataFrame
        One row per subject: subject, n_images, mask_volume (mm^3), dice_template, and as
        shares of 0 to 1 template_covered (of the template's brain) and mask_outside (of the
        mask, outside of that brain). NaN where nothing was measured.
    planes : dict of str to array
        mask_x, mask_y, mask_z (bool, shape (n_subjects, n_a, n_b)): the masks in the planes of
        `PLANES_MM`; template_x and so on (uint8, shape (n_a, n_b)): the template there, 0
        outside of its brain; extent_x and so on: first and last MNI coordinate (mm) of both
        axes.

    Raises
    ------
    StudyError
        If an image cannot be read, or is not a single volume in MNI space.

    Notes
    -----
    The template is the ICBM 2009a symmetric one that nilearn carries. It is not the release
    that fMRIPrep writes to (2009c); look for gross errors, not for millimetres.
    """
    picture, brain, grid = read_template(STEP_MM, MARGIN_MM)
    rows, masks = [], []
    known, places = None, np.empty(0, int)
    for subject, images in manifest.groupby("subject", sort=False)["image"]:
        paths = list(dict.fromkeys(images))
        mask = np.ones(grid.shape, dtype=bool)
        for path in paths:
            volume = read_volume(path, analyze_orientation, f"sub-{subject}, image")
            measured = np.isfinite(volume.values)
            if zero_is_missing:
                measured &= volume.values != 0
            key = (volume.grid.affine.tobytes(), volume.grid.shape)
            if key != known:  # of grids that differ by person only one is held
                known, places = key, look_up(grid, volume.grid)
            # the last place stands for all that lies outside of the image
            mask &= np.append(measured.ravel(), False)[places]
        rows.append({"subject": subject, "n_images": len(paths)})
        rows[-1] |= overlap(mask, brain, grid.voxel_volume)
        masks.append(cut(mask, grid))
    planes = {f"template_{axis}": plane for axis, plane in cut(picture, grid).items()}
    for axis in PLANES_MM:
        planes[f"mask_{axis}"] = np.stack([mask[axis] for mask in masks])
        planes[f"extent_{axis}"] = _extent(axis, grid)
    return pd.DataFrame(rows), planes


def look_up(grid: Grid, image: Grid) -> NDArray:
    """Find the voxel of an image nearest to each voxel centre of a grid.

    Returns
    -------
    array of int, shape `grid.shape`
        Places in the flattened image (C order); -1 outside of it.

    Examples
    --------
    >>> fine = Grid(np.diag([2.0, 2, 2, 1]), (5, 1, 1))
    >>> look_up(fine, Grid(np.diag([4.0, 4, 4, 1]), (2, 1, 1))).ravel().tolist()
    [0, 0, 1, -1, -1]
    """
    step = np.linalg.inv(image.affine) @ grid.affine
    places = np.indices(grid.shape, dtype=float).reshape(3, -1)
    # to a millionth of a voxel: halves are rounded alike on every machine
    voxel = np.rint(np.round(step[:3, :3] @ places + step[:3, 3:], 6)).astype(int)
    inside = np.all((voxel >= 0) & (voxel < np.array(image.shape)[:, None]), axis=0)
    found = np.full(inside.size, -1)
    found[inside] = np.ravel_multi_index(tuple(voxel[:, inside]), image.shape)
    return found.reshape(grid.shape)


def overlap(mask: NDArray, brain: NDArray, voxel_volume: float) -> dict[str, float]:
    """Say how two masks overlap, in the columns of `check_registration`.

    Examples
    --------
    >>> found = overlap(np.array([1, 1, 1, 0]) > 0, np.array([0, 1, 1, 1]) > 0, 8.0)
    >>> [round(value, 3) for value in found.values()]
    [24.0, 0.667, 0.667, 0.333]
    """
    own, whole, both = (int(m.sum()) for m in (mask, brain, mask & brain))
    return {
        "mask_volume": own * voxel_volume,
        "dice_template": 2 * both / (own + whole),
        "template_covered": both / whole,
        "mask_outside": 1 - both / own if own else float("nan"),
    }


def cut(values: NDArray, grid: Grid) -> dict[str, NDArray]:
    """Take the planes of `PLANES_MM` from an array on a grid along the axes."""
    planes = {}
    for i, (axis, at) in enumerate(PLANES_MM.items()):
        index = round((at - grid.affine[i, 3]) / grid.affine[i, i])
        planes[axis] = values.take(index, axis=i)
    return planes


def _extent(axis: str, grid: Grid) -> NDArray:
    """Return the MNI coordinates of the first and last voxel along the axes of a plane."""
    i = "xyz".index(axis)
    first = grid.affine[:3, 3]
    last = first + (np.array(grid.shape) - 1) * STEP_MM
    return np.delete(np.stack([first, last]), i, axis=1).T


def read_template(step_mm: int, margin_mm: int) -> tuple[NDArray, NDArray, Grid]:
    """Read the template that nilearn carries, cut to its brain and a margin around it.

    Returns
    -------
    picture : array of uint8 (x, y, z)
        1 to 255 in the brain, 0 outside.
    brain : array of bool (x, y, z)
    grid : Grid
    """
    # nilearn costs seconds to import, and few jobs need it
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_template

    image = load_mni152_template(resolution=step_mm)
    brain = np.asarray(load_mni152_brain_mask(resolution=step_mm).dataobj) > 0
    picture = np.asarray(image.dataobj, dtype=float)
    # a few bright voxels would leave the rest dark
    picture /= np.percentile(picture[brain], 99.8)
    picture = np.where(brain, np.clip(picture, 1 / 255, 1), 0)
    within = np.argwhere(brain)
    margin = margin_mm // step_mm
    low = np.maximum(within.min(axis=0) - margin, 0)
    high = np.minimum(within.max(axis=0) + margin + 1, brain.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ low
    grid = Grid(affine, brain[box].shape)
    return np.rint(255 * picture[box]).astype(np.uint8), brain[box], grid
