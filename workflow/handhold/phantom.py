"""The brain of the simulated study: a modelled receptor map, decoys, smooth fields.

Everything here is geometry and published numbers; nothing depends on who is in the study.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Region: (binding, strength, anchors). Binding is the published regional mean of
# the N = 39 [11C]carfentanil map (BP_ND) over Neuromorphometrics labels, Turtonen
# et al. 2021; occipital cortex is its reference region. Strength, the share of
# `Cohort.threat_response` which the region shows, is this simulator's invention.
# Anchors (mm, MNI, right side, mirrored to the left) are the voxels of the AAL3
# region of that name nearest to the centroids of a k-means split of it, with k
# by size; the insula is cut at y = 0.
REGIONS = {
    "accumbens": (2.26, 0.9, [(9, 12, -8)]),
    "putamen": (1.59, 1.0, [(30, -9, 1), (26, 4, 7), (23, 11, -4)]),
    "thalamus": (1.52, 1.2, [(15, -24, 3), (10, -12, 6)]),
    "anterior cingulate": (1.43, 1.2, [(5, 18, 25), (7, 35, 20), (7, 43, 5)]),
    "ventromedial prefrontal": (1.38, 0.8, [(7, 40, -11), (7, 59, -8)]),
    "anterior insula": (1.34, 1.3, [(38, 12, -10), (35, 15, 6)]),
    "amygdala": (1.30, 1.1, [(25, -2, -19)]),
    "caudate": (1.29, 1.0, [(17, -8, 20), (14, 8, 14), (13, 18, 3)]),
    "subcallosal": (1.21, 0.9, [(5, 31, -6)]),
    "mid cingulate": (1.11, 1.2, [(7, -35, 40), (6, -11, 39), (7, 17, 35)]),
    "posterior insula": (1.07, 1.2, [(36, -16, 14), (41, -7, 0)]),
    "hippocampus": (0.54, 0.6, [(23, -36, 0), (31, -25, -12), (26, -11, -19)]),
    "occipital": (
        0.0,
        0.8,
        [
            (11, -92, 11),
            (14, -92, -10),
            (11, -86, 30),
            (23, -77, 35),
            (13, -73, -3),
            (12, -68, 15),
            (18, -52, -2),
        ],
    ),
}

# Between its anchors the map passes from one value to the next over about this
# distance. Wider, the accumbens (smallest, highest) melts into the putamen.
BLEND_MM = 10.0
# A Gaussian of that width vanishes far from all anchors and leaves 0 / 0; this
# power law has the same shape near an anchor and goes on averaging anywhere.
BLEND_POWER = 5

# Decoy maps are as smooth as PET maps, and the same in every cohort.
DECOY_SMOOTHNESS_MM = 30.0
DECOY_SEEDS = (1, 2)

# A smooth field is white noise on nodes this many kernel standard deviations apart, seen
# through Gaussian kernels: its correlation strays from the Gaussian by 2 exp(-(pi / 1.25)^2),
# 0.4 %, and a node stands for several voxels.
NODE_SPACING = 1.25
# Where the kernel ends, in its standard deviations; the nodes reach so far past the brain.
TRUNCATE = 3.75
SD_PER_FWHM = 1 / np.sqrt(8 * np.log(2))

# Where a tissue class reaches the first share the response begins to fade, and at the second
# it is gone: white matter and fluid have hardly any, which is why their signals are confounds.
FADE = (0.7, 0.9)
# Brightness of tissues in a T2*-weighted image, as a share of grey matter's.
WHITE_BRIGHTNESS, FLUID_BRIGHTNESS = 0.8, 1.25
# The signal drops out around the air of the sphenoid sinus: centre and standard deviations of
# a Gaussian (mm, MNI) that covers the orbital and subgenual cortex.
DROPOUT_CENTRE, DROPOUT_SD = (0.0, 34.0, -20.0), (22.0, 18.0, 14.0)


def demo_receptor(points: NDArray) -> NDArray:
    """Model mu-opioid binding at points from published regional means.

    This is a model and no image of anyone. Kernel regression through anchors:
    each region of `REGIONS` holds its published mean, and between them values
    pass smoothly from one to the next, also where no mean was published.

    Parameters
    ----------
    points : array, shape (n_points, 3)
        MNI coordinates (mm).

    Returns
    -------
    array, shape (n_points,)
        Modelled BP_ND, between 0 (never reached) and 2.26; left and right alike.

    References
    ----------
    .. [1] Turtonen et al. (2021): regional means of [11C]carfentanil BP_ND, N = 39.

    Examples
    --------
    >>> demo_receptor(np.array([[9.0, 12, -8], [14, -92, -10]])).round(2)
    array([2.25, 0.  ])
    """
    return _blend_regions(points, column=0)


def decoy_maps(mask: NDArray, affine: NDArray) -> dict[str, NDArray]:
    """Invent maps that attenuation does not follow, for the specificity question.

    Returns arrays of shape (n_voxels,), all positive, by file stem: two
    gradients of the brain, and two smooth fields (the same for every cohort).
    """
    points = voxel_points(mask, affine)
    span = np.ptp(points, axis=0)
    low = points.min(axis=0)
    field = smooth_field(mask, affine, DECOY_SMOOTHNESS_MM)
    fields = [field.draw(np.random.default_rng(seed), 1)[0] for seed in DECOY_SEEDS]
    return {
        "decoy_front": 1 + (points[:, 1] - low[1]) / span[1],
        "decoy_dorsal": 1 + (points[:, 2] - low[2]) / span[2],
        **{
            f"decoy_patches_{i}": 1 + f - f.min() for i, f in enumerate(fields, start=1)
        },
    }


def response_pattern(points: NDArray) -> NDArray:
    """Return the share of the threat response which each point shows.

    `points` has shape (n_points, 3), MNI mm. Invented; about 1 in the
    hypothesised regions.
    """
    return _blend_regions(points, column=1)


def _blend_regions(points: NDArray, column: int) -> NDArray:
    """Average a column of `REGIONS` over anchors, near ones weighing most."""
    from scipy.spatial.distance import cdist

    anchors, values = [], []
    for region in REGIONS.values():
        for x, y, z in region[2]:
            anchors += [(x, y, z), (-x, y, z)]
            values += [region[column]] * 2
    squared = cdist(points, np.array(anchors, dtype=float), "sqeuclidean")
    weights = (1 + squared / BLEND_MM**2) ** -BLEND_POWER
    return weights @ np.array(values) / weights.sum(axis=1)


def voxel_points(mask: NDArray, affine: NDArray) -> NDArray:
    """Return the coordinates (mm) of the voxels of a mask, shape (n_voxels, 3)."""
    return np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]


def standardise_beside(field: NDArray, binding: NDArray) -> NDArray:
    """Take out what a field shares with binding; return mean 0, variance 1.

    Left in, a chance correlation would shift the planted receptor slope.
    """
    centred = binding - binding.mean()
    field = field - field.mean()
    field = field - centred * (centred @ field) / (centred @ centred)
    return field / field.std()


@dataclass(frozen=True)
class SmoothField:
    """Smooth Gaussian noise of unit variance in the voxels of a mask.

    White noise on a lattice of nodes, multiplied along each axis by a matrix of Gaussian
    kernels. The rows of the matrices have length 1, which makes the variance 1 in every
    voxel, up to the edge of the brain.

    Attributes
    ----------
    kernels : three arrays, shapes (nx, mx), (ny, my), (nz, mz), float32
        From m nodes to n voxels of the box around the mask, along x, y and z.
    inside : array of int, shape (n_voxels,)
        Position of each voxel in that box, C order.
    """

    kernels: tuple[NDArray, NDArray, NDArray]
    inside: NDArray

    @property
    def nodes(self) -> tuple[int, int, int]:
        """Shape of the lattice."""
        x, y, z = (kernel.shape[1] for kernel in self.kernels)
        return x, y, z

    def draw(self, rng: np.random.Generator, n: int) -> NDArray:
        """Draw `n` independent fields, shape (n, n_voxels), float32."""
        return self.see(rng.standard_normal((n, *self.nodes), dtype=np.float32))

    def see(self, nodes: NDArray) -> NDArray:
        """Carry fields from the nodes, shape (n, mx, my, mz), to the voxels, (n, n_voxels)."""
        x, y, z = self.kernels
        n, mx = len(nodes), x.shape[1]
        box = y @ (nodes @ z.T)
        box = x @ box.reshape(n, mx, -1)
        return box.reshape(n, -1)[:, self.inside]


def smooth_field(mask: NDArray, affine: NDArray, fwhm_mm: float) -> SmoothField:
    """Lay the nodes of a smooth field around a mask.

    Parameters
    ----------
    mask : array of bool, shape (nx, ny, nz)
    affine : array, shape (4, 4)
        Along the axes of MNI space.
    fwhm_mm : float
        Full width at half maximum of the kernel that white noise is smoothed with; values a
        distance d apart correlate exp(-d^2 / (4 sigma^2)), sigma = `fwhm_mm` / 2.355. 0 gives
        white noise.
    """
    voxels = np.argwhere(mask)
    low, high = voxels.min(axis=0), voxels.max(axis=0)
    sizes = np.abs(np.diag(affine)[:3])
    kernels = tuple(
        _kernel(n, size, fwhm_mm * SD_PER_FWHM)
        for n, size in zip(high - low + 1, sizes, strict=True)
    )
    inside = np.ravel_multi_index(tuple((voxels - low).T), tuple(high - low + 1))
    return SmoothField(kernels, inside)


def _kernel(n: int, size: float, sigma: float) -> NDArray:
    """Return the kernels of one axis, (n voxels of `size` mm, nodes), rows of length 1."""
    spacing = max(NODE_SPACING * sigma, size)
    margin = int(np.ceil(TRUNCATE * sigma / spacing))
    places = np.arange(n) * size
    nodes = np.arange(-margin, int(np.ceil(places[-1] / spacing)) + margin + 1)
    distance = places[:, None] - nodes * spacing
    # without a kernel, each voxel is its own node
    distance = np.abs(distance) / max(sigma, size / 20)
    # cut off, because products with numbers near the smallest float are slow
    kernel = np.where(distance <= TRUNCATE, np.exp(-0.5 * distance**2), 0)
    return (kernel / np.linalg.norm(kernel, axis=1, keepdims=True)).astype(np.float32)


def responsive(white: NDArray, fluid: NDArray) -> NDArray:
    """Return the share of a response that tissue shows.

    1 in grey matter, 0 in deep white matter and in fluid.

    `white` and `fluid` are the shares of these tissues in each voxel, shape (n_voxels,).
    """
    return _fade(white) * _fade(fluid)


def brightness(white: NDArray, fluid: NDArray) -> NDArray:
    """Return the intensity of each voxel as a share of grey matter's, shape (n_voxels,)."""
    return 1 + (WHITE_BRIGHTNESS - 1) * white + (FLUID_BRIGHTNESS - 1) * fluid


def dropout_pattern(points: NDArray) -> NDArray:
    """Return how much of the signal drops out, 1 at the centre over the sphenoid sinus.

    `points` has shape (n_points, 3), MNI mm.
    """
    away = (points - DROPOUT_CENTRE) / DROPOUT_SD
    return np.exp(-0.5 * (away**2).sum(axis=1))


def _fade(share: NDArray) -> NDArray:
    low, high = FADE
    return np.clip((high - share) / (high - low), 0, 1)
