"""Small images in MNI space, written by nibabel, for tests to read back."""

from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (20, 24, 20)
# 8 mm, x -80..72, y -112..72, z -72..80: holds an MNI brain and the points of LANDMARKS_MM.
AFFINE = np.diag([8.0, 8.0, 8.0, 1.0])
AFFINE[:3, 3] = [-80, -112, -72]
# Every way in which three axes can be ordered and directed.
ORIENTATIONS = [
    np.array(list(zip(order, signs, strict=True)))
    for order in permutations(range(3))
    for signs in product([1, -1], repeat=3)
]


def draw(rng, shape=SHAPE):
    """Draw an image of small whole numbers, none of them 0: sums over it are exact."""
    return rng.integers(1, 1000, size=shape).astype(np.float32)


def centres(affine=AFFINE, shape=SHAPE):
    """Return the centre of every voxel in mm, shape (n_voxels, 3), in C order."""
    return nib.affines.apply_affine(affine, np.argwhere(np.ones(shape)))


def reorient(values, affine, orientation):
    """Turn the axes of an image; its voxels stay where they are in mm."""
    image = nib.Nifti1Image(values, affine).as_reoriented(orientation)
    return np.asarray(image.dataobj), image.affine


def write(path, values, affine=AFFINE, kind=nib.Nifti1Image, **options):
    """Write an image and return its path."""
    nib.save(kind(values, affine, **options), path)
    return path


def patch(path, **fields):
    """Set fields of the header of an uncompressed NIfTI-1 file, as no library would."""
    path = Path(path)
    content = path.read_bytes()
    with path.open("rb") as file:
        header = nib.Nifti1Header.from_fileobj(file)
    for name, value in fields.items():
        header.structarr[name] = value
    path.write_bytes(header.structarr.tobytes() + content[header.sizeof_hdr :])
    return path


def write_analyze(path, values, origin=(11, 15, 10), size=8.0, kind=None):
    """Write an Analyze pair as SPM99 did: voxel sizes and origin, no orientation."""
    kind = kind or nib.Spm2AnalyzeImage
    image = kind(values, None)
    image.header.set_zooms([size] * 3)
    if "origin" in image.header:
        image.header["origin"][:3] = origin
    # header and data by hand: nibabel would add a .mat file with an affine of its own
    with Path(path).with_suffix(".hdr").open("wb") as file:
        image.header.write_to(file)
    Path(path).write_bytes(values.astype("<f4").tobytes(order="F"))
    return path
