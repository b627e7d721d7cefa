"""Regions as clouds of points in MNI space, and their means on any image grid.

A region is the set of centres of the atlas voxels that belong to it. The atlas comes to the
image: each point falls into one image voxel, so that a voxel weighs as many points as it holds.
The image itself is never resampled, and points outside its field of view stay in the total that
coverage is measured against.
"""

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy import sparse

AXES = {"x": 0, "y": 1, "z": 2}
CLAUSE = re.compile(r"^([xyz])\s*(>=|<=|>|<)\s*(-?\d+(?:\.\d+)?)$")
# A point halfway between two voxels goes to the one with the larger coordinate in mm, so that an
# image gives the same means whichever way its axes run.
TIE_MM = 1e-4
COMPARE = {
    ">=": np.greater_equal,
    "<=": np.less_equal,
    ">": np.greater,
    "<": np.less,
}


@dataclass(frozen=True)
class Cloud:
    """Points of one or more regions.

    `points` (n_points, 3) MNI mm; `region` (n_points,) index into `names`; `weight`
    (n_points,), mm^3 that the point stands for (times its probability, where regions are
    weighted by it); `spacing` (3,) mm between neighbouring points.
    """

    points: NDArray
    region: NDArray
    weight: NDArray
    names: tuple[str, ...]
    spacing: NDArray

    @property
    def volume(self) -> NDArray:
        """Volume of each region, mm^3, shape (n_regions,)."""
        return np.bincount(self.region, self.weight, minlength=len(self.names))

    @property
    def centroid(self) -> NDArray:
        """Weighted centre of each region, MNI mm, shape (n_regions, 3)."""
        sums = [
            np.bincount(self.region, self.weight * axis, minlength=len(self.names))
            for axis in self.points.T
        ]
        with np.errstate(invalid="ignore"):
            return np.stack(sums, axis=1) / self.volume[:, np.newaxis]


@dataclass(frozen=True)
class Weights:
    """Weights of image voxels in regions, on one grid.

    `matrix` sparse (n_regions, n_voxels), mm^3; `total` (n_regions,), the volume of each region
    including what lies outside the grid.
    """

    matrix: "sparse.csr_array"
    total: NDArray


@dataclass(frozen=True)
class Means:
    """Means of one image over regions, arrays of shape (n_regions,).

    `mean` is weighted, NaN where nothing was measured; `coverage` is measured volume / volume
    of the region, 0 to 1; `n_voxels` counts measured voxels that hold a part of the region.
    """

    mean: NDArray
    coverage: NDArray
    n_voxels: NDArray


def label_cloud(
    labels: NDArray, affine: NDArray, members: dict[str, list[int]]
) -> Cloud:
    """Turn a label image into a cloud.

    Parameters
    ----------
    labels : array of int, shape (x, y, z)
    affine : array, shape (4, 4)
        Voxel to MNI mm.
    members : dict of str to list of int
        The labels of each region. A label belongs to at most one of them.

    Raises
    ------
    ValueError
        If a label is in two regions.
    """
    codes = [code for listed in members.values() for code in listed]
    if len(codes) != len(set(codes)):
        raise ValueError("a label belongs to two regions")
    lookup = np.full(max(labels.max(), *codes) + 1, -1, dtype=np.int32)
    for region, listed in enumerate(members.values()):
        lookup[listed] = region
    inside = np.argwhere((labels >= 0) & (lookup[np.maximum(labels, 0)] >= 0))
    region = lookup[labels[tuple(inside.T)]]
    return _cloud(inside, region, np.ones(len(inside)), affine, tuple(members))


def weighted_cloud(probability: NDArray, affine: NDArray, name: str) -> Cloud:
    """Turn one probability map (0 to 1, already cut at a threshold) into the cloud of a region."""
    inside = np.argwhere(probability > 0)
    weight = probability[tuple(inside.T)].astype(float)
    return _cloud(
        inside, np.zeros(len(inside), dtype=np.int32), weight, affine, (name,)
    )


def sphere_cloud(centre: NDArray, radius: float, name: str) -> Cloud:
    """Fill a sphere (MNI mm) with points 1 mm apart."""
    reach = np.arange(-np.ceil(radius), np.ceil(radius) + 1)
    offsets = np.stack(
        np.meshgrid(reach, reach, reach, indexing="ij"), axis=-1
    ).reshape(-1, 3)
    points = offsets[(offsets**2).sum(axis=1) <= radius**2] + np.asarray(centre)
    n_points = len(points)
    return Cloud(
        points, np.zeros(n_points, int), np.ones(n_points), (name,), np.ones(3)
    )


def restrict(cloud: Cloud, where: str) -> Cloud:
    """Keep the points on one side of planes, such as `y >= 0` or `x < 0 and z < 10` (MNI mm).

    Raises
    ------
    ValueError
        If the text is not comparisons of x, y or z with numbers, joined by `and`.
    """
    keep = np.ones(len(cloud.points), dtype=bool)
    for clause in where.split(" and "):
        match = CLAUSE.match(clause.strip())
        if match is None:
            raise ValueError(f"{clause.strip()!r} is not of the form 'y >= 0'")
        axis, sign, bound = match.groups()
        keep &= COMPARE[sign](cloud.points[:, AXES[axis]], float(bound))
    return _select(cloud, keep)


def unite(clouds: list[Cloud], name: str) -> Cloud:
    """Join clouds into one region; a place that several hold is counted once, by the first."""
    clouds = _refine(clouds)
    kept: list[Cloud] = []
    for cloud in clouds:
        held = np.zeros(len(cloud.points), dtype=bool)
        for earlier in kept:
            held |= _holds(earlier, cloud.points)
        kept.append(_select(cloud, ~held))
    joined = stack(kept)
    return replace(joined, region=np.zeros_like(joined.region), names=(name,))


def stack(clouds: list[Cloud]) -> Cloud:
    """Put regions side by side in one cloud; they may overlap."""
    clouds = _refine(clouds)
    offsets = np.cumsum([0] + [len(cloud.names) for cloud in clouds])
    return Cloud(
        np.concatenate([cloud.points for cloud in clouds]),
        np.concatenate(
            [c.region + o for c, o in zip(clouds, offsets[:-1], strict=True)]
        ),
        np.concatenate([cloud.weight for cloud in clouds]),
        tuple(name for cloud in clouds for name in cloud.names),
        np.max([cloud.spacing for cloud in clouds], axis=0),
    )


def relabel(cloud: Cloud, target: NDArray, names: tuple[str, ...]) -> Cloud:
    """Give each region a new index (n_regions,), -1 to leave it out: parcels dropped or merged."""
    region = np.asarray(target)[cloud.region]
    keep = region >= 0
    return Cloud(
        cloud.points[keep], region[keep], cloud.weight[keep], names, cloud.spacing
    )


def weigh(cloud: Cloud, affine: NDArray, shape: tuple[int, int, int]) -> Weights:
    """Weigh the voxels of an image grid by the points of each region that they hold.

    Parameters
    ----------
    cloud : Cloud
    affine : array, shape (4, 4)
        Image voxel to MNI mm.
    shape : tuple of int
        Image shape (x, y, z).

    Returns
    -------
    Weights
        Over voxels in C order.
    """
    cloud = _densify(cloud, affine)
    voxel = _nearest(cloud.points, affine)
    inside = np.all((voxel >= 0) & (voxel < shape), axis=1)
    flat = np.ravel_multi_index(tuple(voxel[inside].T), shape)
    from scipy import sparse

    matrix = sparse.coo_array(
        (cloud.weight[inside], (cloud.region[inside], flat)),
        shape=(len(cloud.names), int(np.prod(shape))),
    ).tocsr()
    return Weights(matrix, cloud.volume)


def average(weights: Weights, values: NDArray, *, zero_is_missing: bool) -> Means:
    """Average an image over regions, through what it covers.

    Parameters
    ----------
    weights : Weights
        Of n_regions on the grid of the image.
    values : array, shape (x, y, z)
        Image; not changed. What is not finite was not measured.
    zero_is_missing : bool
        Whether exact zeros were not measured either.

    Returns
    -------
    Means
        Over measured voxels.
    """
    flat = values.ravel()
    measured = np.isfinite(flat)
    if zero_is_missing:
        measured &= flat != 0
    covered = weights.matrix @ measured.astype(float)
    with np.errstate(invalid="ignore"):
        mean = (weights.matrix @ np.where(measured, flat, 0.0)) / covered
        # a sum of weights in another order can miss the total by rounding
        coverage = np.minimum(covered / weights.total, 1.0)
    holds = weights.matrix.copy()
    holds.data = np.ones_like(holds.data)
    return Means(mean, coverage, (holds @ measured).astype(int))


def place_tiny(
    volume: NDArray,
    centroid: NDArray,
    group: NDArray,
    *,
    least_volume: float,
    merge: bool,
) -> NDArray:
    """Decide what becomes of each parcel: the index of the parcel that it joins, or -1.

    Parameters
    ----------
    volume : array, shape (n_parcels,)
        mm^3.
    centroid : array, shape (n_parcels, 3)
        MNI mm.
    group : array of str, shape (n_parcels,)
        Structure and hemisphere; parcels merge only within a group.
    least_volume : float
        Parcels below this (mm^3) are tiny.
    merge : bool
        Merge a tiny parcel into the nearest one that is not tiny (distance of centroids);
        otherwise, or where its group has none, it is left out.

    Returns
    -------
    array of int, shape (n_parcels,)
        Own index for parcels that stay.
    """
    kept = volume >= least_volume
    target = np.where(kept, np.arange(len(volume)), -1)
    if merge:
        for parcel in np.flatnonzero(~kept):
            candidates = np.flatnonzero(kept & (group == group[parcel]))
            if candidates.size:
                distance = np.linalg.norm(
                    centroid[candidates] - centroid[parcel], axis=1
                )
                target[parcel] = candidates[distance.argmin()]
    return target


def dice(first: Cloud, second: Cloud) -> float:
    """Return the Dice overlap (0 to 1) of two single regions, over cells of 1 mm."""
    cells = [
        set(map(tuple, _cells(_densify(cloud, np.eye(4)).points, np.ones(3)).tolist()))
        for cloud in (first, second)
    ]
    return 2 * len(cells[0] & cells[1]) / (len(cells[0]) + len(cells[1]))


def pick(cloud: Cloud, name: str) -> Cloud:
    """Return one region of a cloud."""
    index = cloud.names.index(name)
    keep = cloud.region == index
    n_points = int(keep.sum())
    return Cloud(
        cloud.points[keep],
        np.zeros(n_points, int),
        cloud.weight[keep],
        (name,),
        cloud.spacing,
    )


def _cloud(
    inside: NDArray,
    region: NDArray,
    weight: NDArray,
    affine: NDArray,
    names: tuple[str, ...],
) -> Cloud:
    points = inside @ affine[:3, :3].T + affine[:3, 3]
    # along x, y and z in mm, whichever axis of the atlas runs there
    spacing = np.abs(affine[:3, :3]).sum(axis=1)
    return Cloud(points, region, weight * spacing.prod(), names, spacing)


def _cells(points: NDArray, size: NDArray) -> NDArray:
    # floor(x + 1/2): numpy's round to even would put 1.5 and 2.5 into the same cell
    return np.floor(points / size + 0.5).astype(np.int64)


def _select(cloud: Cloud, keep: NDArray) -> Cloud:
    return replace(
        cloud,
        points=cloud.points[keep],
        region=cloud.region[keep],
        weight=cloud.weight[keep],
    )


def _holds(cloud: Cloud, points: NDArray) -> NDArray:
    """Tell which points (n_points, 3) lie in a voxel of the cloud."""
    if not len(cloud.points):
        return np.zeros(len(points), dtype=bool)
    both = np.concatenate([cloud.points, points]) - cloud.points[0]
    _, voxel = np.unique(_cells(both, cloud.spacing), axis=0, return_inverse=True)
    return np.isin(voxel[len(cloud.points) :], voxel[: len(cloud.points)])


def _nearest(points: NDArray, affine: NDArray) -> NDArray:
    inverse = np.linalg.inv(affine)
    voxel = (points + TIE_MM) @ inverse[:3, :3].T + inverse[:3, 3]
    return np.floor(voxel + 0.5).astype(np.int64)


def _refine(clouds: list[Cloud]) -> list[Cloud]:
    """Split clouds to the finest spacing among them.

    One cloud has one spacing: under a coarse one, points of a fine atlas would be smeared over
    the voxels around them; under a fine one, points of a coarse atlas would leave holes.
    """
    finest = np.min([cloud.spacing for cloud in clouds], axis=0)
    return [_split(cloud, finest) for cloud in clouds]


def _densify(cloud: Cloud, affine: NDArray) -> Cloud:
    """Split points that lie farther apart than image voxels, so that no voxel is jumped over."""
    voxel = np.sqrt((affine[:3, :3] ** 2).sum(axis=0)).min()
    return _split(cloud, np.full(3, voxel))


def _split(cloud: Cloud, longest: NDArray) -> Cloud:
    """Split points evenly until they lie at most `longest` (3,) mm apart along x, y and z."""
    pieces = np.ceil(cloud.spacing / longest - 1e-6).astype(int)
    if (pieces == 1).all():
        return cloud
    steps = [
        (np.arange(n) - (n - 1) / 2) * size / n
        for n, size in zip(pieces, cloud.spacing, strict=True)
    ]
    offsets = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 3)
    return Cloud(
        (cloud.points[:, np.newaxis] + offsets).reshape(-1, 3),
        np.repeat(cloud.region, len(offsets)),
        np.repeat(cloud.weight / len(offsets), len(offsets)),
        cloud.names,
        cloud.spacing / pieces,
    )
