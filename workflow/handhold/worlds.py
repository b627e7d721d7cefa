"""Worlds of known truth in which a study is repeated, at the level of its region values.

A cohort of a world has the study's people, parcels, ROIs, gaps and noise; what differs is what
is true of the attenuation `a` of person s in parcel p:

    a[s, p] = spread * (attenuation_dz + map_dz * pattern[p]) + sd[p] * e[s, p]

- `nothing`: no attenuation on average (both sizes are 0), relief goes with nothing;
- `elsewhere`: `pattern` is a smooth map drawn afresh for every cohort, unrelated to any receptor
  and as smooth as the receptor map; relief goes with nothing;
- `follows`: `pattern` correlates with the receptor map by `map_r`, the rest being a map as in
  `elsewhere`; relief goes with attenuation and with coupling;
- `axis`: `pattern` runs from the back of the brain to the front;
- `baselines`: as `elsewhere`, but the response and the score at baseline go together over people
  as the study's own do, by what they have apart from attenuation and relief (a trait, say).
  Attenuation and relief are independent, and yet go together at equal baselines, where Q3 and Q4
  look: a baseline tells of the change from it by its error of measurement alone, and with both
  held constant one change tells of the other (Lord, 1967, Psychol Bull 68:304). Only of studies in
  which baselines are known.

Patterns have mean 0 and variance 1 within structures, so that worlds differ in where the
attenuation lies and not in how much there is. In a hypothesised ROI the standardised mean is
`attenuation_dz` in every world but `nothing`. `sd` is the study's own spread between people,
parcel by parcel, `spread` its root mean square.

The noise `e` is that of `handhold.replica`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from handhold.correspondence import standardise, within_r
from handhold.replica import LARGEST_R, Design
from handhold.variogram import root

WORLDS = ("nothing", "elsewhere", "follows", "axis", "baselines")
# Of relief's variance that planted correlations may explain: with correlations that exclude
# each other the rest would be negative.
MOST_EXPLAINED = 0.95


@dataclass(frozen=True)
class Cohort:
    """One cohort of a world.

    `parcels` (n_subjects, P) and `rois` (n_subjects, n_contrasts, R): attenuation, nan where the
    study lacks it; `relief` (n_subjects,), nan of people who were not rated; `baselines`
    (n_subjects, 2, R), score and response at baseline, or None; `coupling_baselines`
    (n_subjects, 2), score and coupling of the response at baseline, or None.
    """

    parcels: NDArray
    rois: NDArray
    relief: NDArray
    baselines: NDArray | None
    coupling_baselines: NDArray | None


class World:
    """One world of a study, ready to draw cohorts from.

    Parameters
    ----------
    name : str
        One of `WORLDS`.
    design : Design
    sizes : dict
        attenuation_dz, map_dz, map_r, tracking_r, coupling_r of the section `calibrate`.

    Attributes
    ----------
    attenuation_dz, map_dz : float
        As planted, 0 in the world `nothing`.
    map_r : float
        Correlation of the true map with the receptor map, within structures; 0 on average in
        the world `elsewhere`.
    tracking_r, coupling_r : float
        What is planted of measures as reliable as the study's, at equal baselines where they
        are known. Where the two exclude each other, both are less than asked for.
    baseline_r, coupling_baseline_r : float
        Correlation of the score at baseline with the response at baseline, and with that
        response's coupling; 0 in every world but `baselines`, where it is the study's own, or as
        much of it as attenuation and relief leave of the baselines.

    Raises
    ------
    ValueError
        If there is no such world.
    """

    def __init__(self, name: str, design: Design, sizes: dict):
        if name not in WORLDS:
            raise ValueError(f"world is {name!r}; it must be one of {WORLDS}")
        self.name, self.design = name, design
        present = name != "nothing"
        self.attenuation_dz = present * sizes["attenuation_dz"]
        self.map_dz = present * sizes["map_dz"]
        self.map_r = self._map_r(sizes["map_r"])
        rows = design.noise_root[len(design.binding) :]
        self._roi_root = root(rows @ rows.T)
        self._coupling = _coupling_direction(design)
        self._weights, self._rest = np.zeros(len(design.regions) + 1), 1.0
        self.tracking_r = self.coupling_r = 0.0
        self._bond, self.baseline_r = self._bind(
            design.adjusted, design.baseline_r, design.response_r
        )
        self._coupling_bond, self.coupling_baseline_r = self._bind(
            design.coupling_adjusted,
            design.coupling_baseline_r,
            design.coupling_response_r,
        )
        if name == "follows":
            self._plant_relief(
                sizes["tracking_r"] * design.tracking_ceiling,
                sizes["coupling_r"] * design.coupling_ceiling,
            )

    def pattern(self, rng: np.random.Generator) -> NDArray:
        """Draw where attenuation lies, (P,), mean 0 and variance 1 within structures."""
        design = self.design
        if self.name == "nothing":
            return np.zeros(len(design.binding))
        if self.name == "axis":
            return z_within(design.coordinates[:, 1], design.structure)
        white = rng.standard_normal(len(design.binding))
        smooth = z_within(design.signal_root @ white, design.structure)
        if self.name in ("elsewhere", "baselines"):
            return smooth
        binding = z_within(design.binding, design.structure)
        own = z_within(_without(smooth, binding, design.structure), design.structure)
        return self.map_r * binding + np.sqrt(1 - self.map_r**2) * own

    def _map_r(self, planted: float) -> float:
        design = self.design
        if self.map_dz == 0 or self.name in ("nothing", "elsewhere", "baselines"):
            return 0.0
        if self.name == "follows":
            return planted
        y = design.coordinates[:, 1]
        return float(within_r(y, design.binding, design.structure, design.ranked))

    def draw(self, n_subjects: int, rng: np.random.Generator) -> Cohort:
        """Draw a cohort.

        With more people than the study has, their gaps are repeated in turn; a parcel or ROI
        that none of fewer people has counts as had by all.
        """
        design = self.design
        n_parcels = len(design.binding)
        white = rng.standard_normal((n_subjects, len(design.noise_root)))
        noise = white @ design.noise_root.T
        of_parcels, of_rois = noise[:, :n_parcels], noise[:, n_parcels:]
        spread = np.sqrt((design.sd**2).mean())
        mean = spread * (self.attenuation_dz + self.map_dz * self.pattern(rng))
        parcels = mean + design.sd * of_parcels
        rois = self._rois(of_rois, rng)
        relief, baselines, coupling_baselines = self._relief(of_rois, of_parcels, rng)

        people = np.arange(n_subjects) % design.n_subjects
        return Cohort(
            np.where(_had(design.has_parcel[people]), parcels, np.nan),
            np.where(_had(design.has_roi[people]), rois, np.nan),
            np.where(design.rated[people], relief, np.nan),
            baselines,
            coupling_baselines,
        )

    def _rois(self, noise: NDArray, rng: np.random.Generator) -> NDArray:
        """Attenuation in ROIs, (n_subjects, n_contrasts, R), from the noise of the primary."""
        design = self.design
        shape = (len(noise), len(design.contrast_share) - 1, noise.shape[1])
        others = rng.standard_normal(shape) @ self._roi_root.T
        fields = np.concatenate([noise[:, np.newaxis], others], axis=1)
        joint = np.einsum("kj,sjr->skr", design.contrast_root, fields)
        mean = self.attenuation_dz * np.outer(design.contrast_share, design.roi_sd[0])
        return mean + design.roi_sd * joint

    def _relief(
        self, of_rois: NDArray, of_parcels: NDArray, rng: np.random.Generator
    ) -> tuple[NDArray, NDArray | None, NDArray | None]:
        """Draw relief and baselines: relief = score_r * score + what attenuation explains + rest.

        Attenuation = response_r * response + own; relief goes with `own`, so that what is
        planted is the correlation at equal baselines. So it is with coupling. Score and
        responses are independent: their bond is what the model holds constant.

        In the world `baselines` they are bound by what they have apart from relief and
        attenuation: response = response_r * attenuation + fresh, score = score_r * relief +
        apart, fresh = bond * apart + rest.
        """
        design, n_subjects = self.design, len(of_rois)
        own, coupled = of_rois, of_parcels @ self._coupling
        apart = rng.standard_normal(n_subjects)
        if design.adjusted:
            fresh = rng.standard_normal(of_rois.shape) @ self._roi_root.T
            fresh = _mix(apart[:, np.newaxis], fresh, self._bond)
            response, own = _split(of_rois, design.response_r, fresh)
        if design.coupling_adjusted:
            fresh = _mix(apart, rng.standard_normal(n_subjects), self._coupling_bond)
            of_response, coupled = _split(coupled, design.coupling_response_r, fresh)
        score_r = design.score_r if self._knows_score else 0.0
        latent = np.column_stack([own, coupled]) @ self._weights
        latent = latent + np.sqrt(self._rest) * rng.standard_normal(n_subjects)
        if self.name == "baselines":
            score, relief = _mix(latent, apart, score_r), latent
        else:
            score, relief = apart, _mix(apart, latent, score_r)
        baselines = coupling_baselines = None
        if design.adjusted:
            scores = np.repeat(score[:, np.newaxis], of_rois.shape[1], axis=1)
            baselines = np.stack([scores, response], axis=1)
        if design.coupling_adjusted:
            coupling_baselines = np.column_stack([score, of_response])
        return relief, baselines, coupling_baselines

    def _bind(
        self, is_known: bool, wanted: float, response_r: float
    ) -> tuple[float, float]:
        """Return the bond of what the baselines have apart, and how they correlate by it.

        A bond beyond `LARGEST_R`, which no baselines with these bonds to attenuation and relief
        have, is cut there.
        """
        if self.name != "baselines" or not is_known:
            return 0.0, 0.0
        room = np.sqrt((1 - response_r**2) * (1 - self.design.score_r**2))
        bond = float(np.clip(wanted / room, -LARGEST_R, LARGEST_R))
        return bond, bond * room

    @property
    def _knows_score(self) -> bool:
        return self.design.adjusted or self.design.coupling_adjusted

    def _plant_relief(self, tracking_r: float, coupling_r: float) -> None:
        """Find the weights of ROIs and coupling in relief that give these correlations."""
        design = self.design
        n_parcels, n_rois = len(design.binding), len(design.regions)
        rows = design.noise_root[n_parcels:]
        b = design.response_r if design.adjusted else 0.0
        c = design.coupling_response_r if design.coupling_adjusted else 0.0
        coupled = self._coupling @ design.noise_root[:n_parcels]
        between = np.eye(n_rois + 1)
        between[:n_rois, :n_rois] = rows @ rows.T
        between[:n_rois, -1] = np.sqrt((1 - b**2) * (1 - c**2)) * (rows @ coupled)
        between[-1] = between[:, -1]
        # of a correlation that holds no score constant, the score's share of relief is noise
        lost = np.sqrt(1 - design.score_r**2) if self._knows_score else 1.0
        wanted = np.full(
            n_rois + 1, tracking_r if design.adjusted else tracking_r / lost
        )
        wanted[-1] = coupling_r if design.coupling_adjusted else coupling_r / lost
        weights = np.linalg.lstsq(between, wanted, rcond=None)[0]
        explained = wanted @ weights
        scale = min(1.0, np.sqrt(MOST_EXPLAINED / max(explained, MOST_EXPLAINED)))
        self._weights = scale * weights
        self._rest = 1 - scale**2 * explained
        self.tracking_r, self.coupling_r = scale * tracking_r, scale * coupling_r


def _mix(one: NDArray, other: NDArray, r: float) -> NDArray:
    """Mix values of variance 1 that are independent: variance 1, correlated with `one` by r."""
    return r * one + np.sqrt(1 - r**2) * other


def _split(values: NDArray, r: float, fresh: NDArray) -> tuple[NDArray, NDArray]:
    """Split values of variance 1 into a baseline that correlates with them by r, and the rest.

    `fresh` is independent of them and of the same shape; both results have variance 1, and
    values = r * baseline + sqrt(1 - r**2) * rest.
    """
    baseline = _mix(values, fresh, r)
    return baseline, (values - r * baseline) / np.sqrt(1 - r**2)


def z_within(values: ArrayLike, structure: ArrayLike) -> NDArray:
    """Centre a map (n_parcels,) within structures and give it variance 1 in each.

    Examples
    --------
    >>> print(z_within([1.0, 3.0, 10.0, 30.0], ["a", "a", "b", "b"]))
    [-1.  1. -1.  1.]
    """
    found, structure = np.array(values, float), np.asarray(structure)
    for name in np.unique(structure):
        own = found[structure == name]
        found[structure == name] = (own - own.mean()) / own.std()
    return found


def _coupling_direction(design: Design) -> NDArray:
    """Weights (P,) that turn a person's noise into their coupling, in its standard deviations.

    Coupling is a correlation; this is its linear part, the projection on the receptor map.
    """
    binding = standardise(design.binding, design.structure, design.ranked)
    direction = binding * design.sd
    rows = design.noise_root[: len(direction)]
    return direction / np.linalg.norm(direction @ rows)


def _without(values: NDArray, other: NDArray, structure: NDArray) -> NDArray:
    """Take another map, centred within structures, out of a map, structure by structure."""
    left = values.copy()
    for name in np.unique(structure):
        own = structure == name
        left[own] -= (left[own] @ other[own]) / (other[own] @ other[own]) * other[own]
    return left


def _had(has: NDArray) -> NDArray:
    """Let everyone have what nobody has."""
    return has | ~has.any(axis=0)
