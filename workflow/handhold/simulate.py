"""Simulate a `maps` study of hand-holding whose truth is known.

Every subject has one image per cell, in percent signal change, and one rating
per condition. Holding lowers the threat response in proportion to receptor
binding, by an amount that differs between people, and people in whom it lowers
the response more report more relief:

    gain[s]           ~ normal(1, spread)
    followed[v]       = base_attenuation + receptor_slope * binding[v]
    attenuation[s, v] = share * (gain[s] * followed[v] + regional[v])
    relief[s]         = share * (mean_relief + relief_sd * tracking_r * z(gain[s]))
                        + relief_sd * sqrt(1 - tracking_r**2) * normal(0, 1)

`share` is 1 for the partner and `stranger_fraction` for the stranger. `Cohort`
names, bounds and explains every parameter; `truth` says what they plant.

Subject i depends on the seed and on i alone, so a larger cohort begins with
the same people as a smaller one.
"""

import gzip
import json
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist

from handhold.errors import StudyError

CONDITIONS = ("alone", "stranger", "partner")
CUES = ("threat", "safe")

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

# Safe cells hold this share of the threat response: a cue is seen in both.
SAFE_SHARE = 0.3
# Between people, standard deviation of the size of the response alone, as a share.
RESPONSE_SPREAD = 0.25
# Ratings alone, mean and standard deviation between people (points of 0-100):
# far enough from both ends that relief does not run into them.
ALONE_MEAN, ALONE_SD = 65.0, 8.0
SCALE = (0.0, 100.0)
# Ratings may reach the ends of the scale only this many standard deviations out.
# Past them they are clipped, and clipping many would bend the planted tracking.
CLIP_SD = 3.0

# Where the smoothing kernel ends, in its standard deviations.
TRUNCATE = 4.0
SD_PER_FWHM = 1 / np.sqrt(8 * np.log(2))

# Decoy maps are as smooth as PET maps, and the same in every cohort.
DECOY_SMOOTHNESS_MM = 30.0
DECOY_SEEDS = (1, 2)

# One random stream per purpose; a key holds the subject where there is one.
_REGIONAL, _TRAIT, _NOISE, _RELIEF = range(4)


@dataclass(frozen=True)
class Cohort:
    """What is planted in a simulated study, and how much noise hides it.

    Attributes
    ----------
    n_subjects : int
        Number of subjects, at least 1.
    voxel_size_mm : int
        Edge of the cubic voxels of the MNI grid (mm).
    seed : int
        Seed of everything drawn; not negative.
    threat_response : float
        Response (threat - safe) alone, typical of the hypothesised regions
        (% signal change).
    receptor_slope : float
        Attenuation by a partner's hand per unit of binding (% signal change per
        BP_ND); 0 plants no attenuation that follows the receptors.
    base_attenuation : float
        Attenuation by a partner's hand where binding is 0 (% signal change). With
        a slope of 0 it plants attenuation everywhere that no receptor explains.
    spread : float
        Standard deviation between people of their gain, which multiplies both of
        the above and has mean 1.
    stranger_fraction : float
        Attenuation and mean relief by a stranger's hand, as a share of the
        partner's.
    regional_sd : float
        Standard deviation over voxels of a smooth group map of attenuation that
        is uncorrelated with binding (% signal change).
    noise_sd : float
        Standard deviation of the noise of each image in each voxel (% signal
        change); attenuation, from four images, has twice that.
    smoothness_mm : float
        Full width at half maximum of the noise and the regional map (mm).
    tracking_r : float
        Correlation between people's gain and their relief by a partner's hand,
        before the noise of the images weakens it; between -1 and 1.
    mean_relief : float
        Mean relief by a partner's hand (points of 0-100).
    relief_sd : float
        Standard deviation between people of that relief (points of 0-100).

    Raises
    ------
    StudyError
        If a parameter is out of range, or if more than about one rating in 700
        would leave the scale: clipping them would change what is planted.
    """

    n_subjects: int = 24
    voxel_size_mm: int = 4
    seed: int = 2006
    threat_response: float = 0.6
    receptor_slope: float = 0.2
    base_attenuation: float = 0.03
    spread: float = 0.8
    stranger_fraction: float = 0.4
    regional_sd: float = 0.12
    noise_sd: float = 0.3
    smoothness_mm: float = 10.0
    tracking_r: float = 0.7
    mean_relief: float = 20.0
    relief_sd: float = 10.0

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated, all of it at once."""
        problems = [
            f"{name} is {getattr(self, name)}; it must be {wanted}"
            for name, good, wanted in self._conditions()
            if not good
        ]
        if problems:
            raise StudyError(
                "The simulated cohort cannot be drawn: " + "; ".join(problems) + "."
            )
        self._require_ratings_on_scale()

    def _conditions(self) -> list[tuple[str, bool, str]]:
        """Return what must hold: name of a parameter, whether it does, in words."""
        not_negative = ["seed", "spread", "regional_sd", "noise_sd"]
        not_negative += ["smoothness_mm", "relief_sd"]
        return [
            ("n_subjects", self.n_subjects >= 1, "at least 1"),
            ("voxel_size_mm", self.voxel_size_mm >= 1, "at least 1 mm"),
            ("tracking_r", abs(self.tracking_r) <= 1, "between -1 and 1"),
            *((name, getattr(self, name) >= 0, "0 or more") for name in not_negative),
        ]

    def _require_ratings_on_scale(self) -> None:
        for condition, share in self.shares().items():
            mean = ALONE_MEAN - share * self.mean_relief
            tracked = share * self.tracking_r * self.relief_sd
            sd = np.sqrt(ALONE_SD**2 + tracked**2 + self._untracked_sd() ** 2)
            low, high = mean - CLIP_SD * sd, mean + CLIP_SD * sd
            if low < SCALE[0] or high > SCALE[1]:
                raise StudyError(
                    f"Ratings of the simulated cohort, condition {condition}, would "
                    f"run from {low:.0f} to {high:.0f} (mean -/+ {CLIP_SD:g} standard "
                    "deviations) on a scale of 0 to 100; clipped, they would lose the "
                    f"planted tracking. Lower relief_sd ({self.relief_sd:g}) or bring "
                    f"mean_relief ({self.mean_relief:g}) nearer to 20."
                )

    def _untracked_sd(self) -> float:
        """Return the standard deviation of relief that gain does not explain."""
        return self.relief_sd * np.sqrt(1 - self.tracking_r**2)

    def shares(self) -> dict[str, float]:
        """Return each holding condition's share of the partner's effect."""
        return {"stranger": self.stranger_fraction, "partner": 1.0}


@dataclass(frozen=True)
class Template:
    """What all subjects of a cohort have in common, voxel by voxel.

    Attributes
    ----------
    mask : array of bool, shape (nx, ny, nz)
        The brain. Its `n_voxels` true elements, in C order, are the voxels.
    binding : array, shape (n_voxels,)
        Receptor availability (BP_ND).
    response : array, shape (n_voxels,)
        Mean response (threat - safe) alone (% signal change).
    regional : array, shape (n_voxels,)
        Group attenuation that is uncorrelated with binding (% signal change).
    """

    mask: NDArray
    binding: NDArray
    response: NDArray
    regional: NDArray


def subjects(n_subjects: int) -> list[str]:
    """Return subject labels, without `sub-`.

    Examples
    --------
    >>> subjects(2)
    ['01', '02']
    """
    return [f"{index + 1:02d}" for index in range(n_subjects)]


def cells() -> list[tuple[str, str]]:
    """Return every (condition, cue), the order of a study's rows.

    Examples
    --------
    >>> cells()[:3]
    [('alone', 'threat'), ('alone', 'safe'), ('stranger', 'threat')]
    """
    return [(condition, cue) for condition in CONDITIONS for cue in CUES]


def study_table(n_subjects: int) -> pd.DataFrame:
    """Return the table of images that `write_study` writes, before it has.

    Returns columns participant_id, condition, cue and image; the last is a path
    relative to the folder of the table.

    Examples
    --------
    >>> study_table(1)["image"][0]
    'images/sub-01_condition-alone_cue-threat.nii.gz'
    """
    rows = [
        (f"sub-{subject}", condition, cue, _image_path(subject, condition, cue))
        for subject in subjects(n_subjects)
        for condition, cue in cells()
    ]
    return pd.DataFrame(rows, columns=["participant_id", "condition", "cue", "image"])


def _image_path(subject: str, condition: str, cue: str) -> str:
    return f"images/sub-{subject}_condition-{condition}_cue-{cue}.nii.gz"


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

    Returns arrays of shape (n_voxels,), all positive, by the file stems of `RECEPTORS`: two
    gradients of the brain, and two smooth fields (the same for every cohort).
    """
    points = voxel_points(mask, affine)
    span = np.ptp(points, axis=0)
    low = points.min(axis=0)
    sigma = DECOY_SMOOTHNESS_MM * SD_PER_FWHM / abs(affine[0, 0])
    fields = [
        _smooth_noise(mask, sigma, np.random.default_rng(seed)) for seed in DECOY_SEEDS
    ]
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


def plan(cohort: Cohort, mask: NDArray, affine: NDArray, binding: NDArray) -> Template:
    """Lay out what all subjects share on a grid.

    Parameters
    ----------
    cohort : Cohort
    mask : array of bool, shape (nx, ny, nz)
    affine : array, shape (4, 4)
        From voxel indices to MNI mm.
    binding : array, shape (n_voxels,)
        Receptor availability (BP_ND) in the voxels of the mask.
    """
    rng = _stream(cohort, _REGIONAL)
    field = _smooth_noise(mask, _sigma_in_voxels(cohort), rng)
    return Template(
        mask=mask,
        binding=binding,
        response=cohort.threat_response * response_pattern(voxel_points(mask, affine)),
        regional=cohort.regional_sd * _standardise_beside(field, binding),
    )


def _standardise_beside(field: NDArray, binding: NDArray) -> NDArray:
    """Take out what a field shares with binding; return mean 0, variance 1.

    Left in, a chance correlation would shift the planted receptor slope.
    """
    centred = binding - binding.mean()
    field = field - field.mean()
    field = field - centred * (centred @ field) / (centred @ centred)
    return field / field.std()


def simulate_subject(
    cohort: Cohort, index: int, template: Template
) -> dict[tuple[str, str], NDArray]:
    """Draw one subject's effects.

    Parameters
    ----------
    cohort : Cohort
    index : int
        Position of the subject, from 0. The draw depends on it and on the
        cohort's seed, not on the number of subjects.
    template : Template
        From `plan`, with the same cohort.

    Returns
    -------
    dict
        For each (condition, cue) the effect (% signal change), shape (n_voxels,).
    """
    rng = _stream(cohort, _NOISE, index)
    sigma = _sigma_in_voxels(cohort)
    response = template.response * (1 + RESPONSE_SPREAD * rng.standard_normal())
    planted = _attenuation(cohort, index, template)
    effects = {}
    for condition, cue in cells():
        mean = SAFE_SHARE * template.response
        if cue == "threat":
            mean = mean + response - planted[condition]
        noise = _smooth_noise(template.mask, sigma, rng)
        effects[condition, cue] = mean + cohort.noise_sd * noise
    return effects


def _attenuation(cohort: Cohort, index: int, template: Template) -> dict[str, NDArray]:
    """Return one subject's true attenuation by condition (% signal change)."""
    followed = cohort.base_attenuation + cohort.receptor_slope * template.binding
    attenuation = _gain(cohort, index) * followed + template.regional
    shares = {"alone": 0.0} | cohort.shares()
    return {name: share * attenuation for name, share in shares.items()}


def _gain(cohort: Cohort, index: int) -> float:
    """Return the factor by which holding works in a subject; 1 on average."""
    return 1 + cohort.spread * _trait(cohort, index)


def _trait(cohort: Cohort, index: int) -> float:
    """Return how strongly a subject responds to holding, standard normal."""
    return _stream(cohort, _TRAIT, index).standard_normal()


def simulate_ratings(cohort: Cohort) -> pd.DataFrame:
    """Draw each subject's unpleasantness in each condition.

    Returns columns participant_id, condition and unpleasantness (0 to 100,
    higher is more unpleasant, one decimal). Relief, alone minus held, is
    positive where holding helped.
    """
    rows = [
        (f"sub-{subject}", condition, rating)
        for index, subject in enumerate(subjects(cohort.n_subjects))
        for condition, rating in _rate(cohort, index).items()
    ]
    return pd.DataFrame(rows, columns=["participant_id", "condition", "unpleasantness"])


def _rate(cohort: Cohort, index: int) -> dict[str, float]:
    """Return one subject's unpleasantness by condition (points of 0-100)."""
    rng = _stream(cohort, _RELIEF, index)
    alone = ALONE_MEAN + ALONE_SD * rng.standard_normal()
    tracked = cohort.relief_sd * cohort.tracking_r * _trait(cohort, index)
    ratings = {"alone": alone}
    for condition, share in cohort.shares().items():
        untracked = cohort._untracked_sd() * rng.standard_normal()
        ratings[condition] = alone - share * (cohort.mean_relief + tracked) - untracked
    return {name: round(float(np.clip(v, *SCALE)), 1) for name, v in ratings.items()}


def truth(cohort: Cohort) -> dict:
    """Return what is planted in a cohort.

    Per contrast: `slope` (% signal change per BP_ND) and `base`, so that the
    expected attenuation of a region is base + slope * its binding; `mean_relief`
    (points) and `trait_relief_r`, the correlation over people of gain and relief:
    the tracking that images without noise would show. Per subject: `gain`.
    """
    labels = subjects(cohort.n_subjects)
    fraction = cohort.stranger_fraction
    return {
        "meaning": "Simulated. Attenuation > 0: holding lowered the threat response "
        "(% signal change); relief > 0: holding lowered unpleasantness (0-100). "
        "Expected attenuation of a region = base + slope * binding, plus a regional "
        "map uncorrelated with binding over the brain. A subject's gain multiplies "
        "base and slope.",
        "cohort": asdict(cohort),
        "contrasts": {
            "partner": _planted(cohort, 1.0, n_held=1),
            "stranger": _planted(cohort, fraction, n_held=1),
            "partner_over_stranger": _planted(cohort, 1 - fraction, n_held=2),
        },
        "gain": {f"sub-{s}": _gain(cohort, index) for index, s in enumerate(labels)},
    }


def _planted(cohort: Cohort, share: float, n_held: int) -> dict[str, float]:
    """Describe a contrast with a share of the partner's effect.

    Its relief holds the untracked part of `n_held` ratings.
    """
    tracked = share * cohort.tracking_r * cohort.relief_sd
    total = np.hypot(tracked, np.sqrt(n_held) * cohort._untracked_sd())
    return {
        "slope": share * cohort.receptor_slope,
        "base": share * cohort.base_attenuation,
        "mean_relief": share * cohort.mean_relief,
        "trait_relief_r": float(tracked / total) if total else 0.0,
    }


def _stream(cohort: Cohort, *key: int) -> np.random.Generator:
    """Return the generator of one purpose and subject, independent of all others."""
    sequence = np.random.SeedSequence(cohort.seed, spawn_key=key)
    return np.random.default_rng(sequence)


def _sigma_in_voxels(cohort: Cohort) -> float:
    return cohort.smoothness_mm * SD_PER_FWHM / cohort.voxel_size_mm


def _smooth_noise(mask: NDArray, sigma: float, rng: np.random.Generator) -> NDArray:
    """Draw smooth Gaussian noise of unit variance in the voxels of a mask.

    `sigma` is the standard deviation of the kernel in voxels. The noise is drawn
    on a grid wider by the kernel: at the edge of the mask's own grid it would
    lose variance.
    """
    margin = int(TRUNCATE * sigma + 0.5)
    white = rng.standard_normal(np.array(mask.shape) + 2 * margin)
    smooth = gaussian_filter(white, sigma, mode="constant", truncate=TRUNCATE)
    inner = smooth[tuple(slice(margin, margin + n) for n in mask.shape)]
    return inner[mask] / _kernel_norm(sigma, margin)


def _kernel_norm(sigma: float, margin: int) -> float:
    """Return the standard deviation of smoothed white noise of unit variance."""
    impulse = np.zeros(2 * margin + 1)
    impulse[margin] = 1
    line = gaussian_filter(impulse, sigma, mode="constant", truncate=TRUNCATE)
    return np.sqrt((line**2).sum()) ** 3


def write_study(cohort: Cohort, folder: str | Path) -> None:
    """Write a cohort as a `maps` study.

    Into `folder` go images.tsv and images/ (% signal change, NaN outside the
    brain), ratings.tsv, receptor.nii.gz (modelled BP_ND, 0 outside the brain),
    a JSON sidecar for each of the three, and truth.json. The same cohort
    gives the same bytes.
    """
    folder = Path(folder)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    mask, affine = standard_brain(cohort.voxel_size_mm)
    binding = demo_receptor(voxel_points(mask, affine))
    template = plan(cohort, mask, affine, binding)
    for index, subject in enumerate(subjects(cohort.n_subjects)):
        for cell, effect in simulate_subject(cohort, index, template).items():
            path = folder / _image_path(subject, *cell)
            _write_image(path, effect, mask, affine, background=np.nan)
    path = folder / "receptor.nii.gz"
    _write_image(path, binding, mask, affine, background=0)
    for name, values in decoy_maps(mask, affine).items():
        _write_image(folder / f"{name}.nii.gz", values, mask, affine, background=0)
    _write_table(folder / "images.tsv", study_table(cohort.n_subjects))
    _write_table(folder / "ratings.tsv", simulate_ratings(cohort))
    _write_json(folder / "truth.json", truth(cohort))
    for name, sidecar in SIDECARS.items():
        _write_json(folder / name, sidecar)


def standard_brain(voxel_size_mm: int) -> tuple[NDArray, NDArray]:
    """Return nilearn's MNI152 brain mask and its affine at a voxel size (mm)."""
    from nilearn.datasets import load_mni152_brain_mask

    image = load_mni152_brain_mask(resolution=voxel_size_mm)
    return np.asarray(image.dataobj) > 0, image.affine


# The registry of this study's maps, as atlases/receptors.tsv is that of real ones.
RECEPTORS = [
    {
        "receptor": name,
        "label": label,
        "unit": unit,
        "file": file,
        "background": "0",
        "citation": citation,
        "doi": "n/a",
        "licence": "BSD-3-Clause (made by handhold)",
    }
    for name, label, unit, file, citation in (
        (
            "MOR_modelled",
            "modelled mu-opioid (MOR)",
            "BP_ND, modelled",
            "receptor.nii.gz",
            "modelled from regional means of Turtonen et al. (2021); not an image of anyone",
        ),
        *(
            (
                name,
                label,
                "arbitrary",
                f"{name}.nii.gz",
                "invented by handhold.simulate",
            )
            for name, label in (
                ("decoy_front", "decoy: towards the front"),
                ("decoy_dorsal", "decoy: towards the top"),
                ("decoy_patches_1", "decoy: smooth patches 1"),
                ("decoy_patches_2", "decoy: smooth patches 2"),
            )
        ),
    )
]


SIDECARS = {
    "images.json": {
        "participant_id": "Simulated subject.",
        "condition": "Who holds the hand: alone (nobody), stranger, partner.",
        "cue": "What the subject awaits: threat (of shock) or safe.",
        "image": "Effect of this condition and cue (% signal change), MNI space, NaN "
        "outside the brain; path relative to this table.",
    },
    "ratings.json": {
        "participant_id": "Simulated subject.",
        "condition": "Who holds the hand: alone (nobody), stranger, partner.",
        "unpleasantness": "Rating from 0 to 100; higher is more unpleasant.",
    },
    "receptor.json": {
        "Description": "MODELLED, not an image of anyone: published regional means of "
        "mu-opioid receptor availability, joined smoothly by kernel regression over "
        "anchors in AAL3 regions. For demonstrations and tests only.",
        "Modelled": True,
        "Units": "BP_ND (no unit), modelled",
        "Background": 0,
        "Tracer": "[11C]carfentanil, of the published means",
        "RegionalMeans": {name: region[0] for name, region in REGIONS.items()},
        "Sources": [
            "Turtonen et al. (2021): regional means of a map of N = 39.",
            "Rolls et al. (2020): AAL3, NeuroImage 206, 116189: places of the anchors.",
        ],
    },
}


def _write_image(
    path: Path, values: NDArray, mask: NDArray, affine: NDArray, background: float
) -> None:
    """Write float32 values in a mask as gzipped NIfTI in MNI space."""
    import nibabel as nib

    volume = np.full(mask.shape, background, dtype=np.float32)
    volume[mask] = values
    image = nib.Nifti1Image(volume, affine)
    image.set_sform(affine, code="mni")
    image.set_qform(affine, code="mni")
    image.header.set_xyzt_units("mm")
    path.write_bytes(_compress(image.to_bytes()))


def _compress(raw: bytes) -> bytes:
    """Gzip without a time or a file name, which would differ from run to run."""
    buffer = BytesIO()
    # Noise hardly compresses: the lowest level costs 3 % in size and saves time.
    with gzip.GzipFile("", "wb", compresslevel=1, fileobj=buffer, mtime=0) as file:
        file.write(raw)
    return buffer.getvalue()


def _write_table(path: Path, table: pd.DataFrame) -> None:
    table.to_csv(path, sep="\t", index=False, lineterminator="\n")


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
