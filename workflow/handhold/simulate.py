"""Simulate a study of hand-holding whose truth is known: who takes part, and what is planted.

Every subject awaits shocks in three blocks (runs), alone, holding a stranger's hand and
holding the partner's. Holding lowers the threat response in proportion to receptor binding,
by an amount that differs between people, and people in whom it lowers the response more
report more relief:

    gain[s]           ~ normal(1, spread)
    followed[v]       = base_attenuation + receptor_slope * binding[v]
    attenuation[s, v] = share * tissue[v] * (gain[s] * followed[v] + regional[v] + own[s, v])
    relief[s]         = share * (mean_relief + relief_sd * tracking_r * z(gain[s]))
                        + relief_sd * sqrt(1 - tracking_r**2) * normal(0, 1) + error

`share` is 1 for the partner and `stranger_fraction` for the stranger; `tissue` is 1 but in
deep white matter and fluid; `own` is a smooth map of each person. `Cohort` names, bounds and
explains every parameter; `truth` says what they plant. `scanner` makes the BOLD series of it,
`simulate_bids` the files.

Subject i depends on the seed and on i alone, so a larger cohort begins with
the same people as a smaller one.
"""

from dataclasses import asdict, dataclass, field, fields

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from handhold import phantom
from handhold.errors import StudyError

CONDITIONS = ("alone", "stranger", "partner")
CUES = ("threat", "safe")
# All six orders of the blocks, arranged so that each three subjects form a Latin square.
ORDERS = (
    ("alone", "stranger", "partner"),
    ("stranger", "partner", "alone"),
    ("partner", "alone", "stranger"),
    ("alone", "partner", "stranger"),
    ("partner", "stranger", "alone"),
    ("stranger", "alone", "partner"),
)

# Safe cells hold this share of the threat response: a cue is seen in both.
SAFE_SHARE = 0.3
# Between people, standard deviation of the size of the response alone, as a share.
RESPONSE_SPREAD = 0.25
# What the other events of a trial evoke, as a share of the threat response.
OTHER_SHARES = {"cue": 0.4, "shock": 1.5, "rating": 0.5}
# Ratings alone, mean and standard deviation between people (points of 0-100):
# far enough from both ends that relief does not run into them.
ALONE_MEAN, ALONE_SD = 65.0, 8.0
SCALE = (0.0, 100.0)
# Ratings may reach the ends of the scale only this many standard deviations out.
# Past them they are clipped, and clipping many would bend the planted tracking.
CLIP_SD = 3.0
# Nobody loses more of the signal than this where it drops out most.
DEEPEST_DROPOUT = 0.95
# Cues are shuffled within so many trials, so that neither clusters at one end of a block.
SHUFFLED_TOGETHER = 4

# One random stream per purpose; a key holds the subject and the run where there is one.
_REGIONAL, _TRAIT, _RESPONSE, _RELIEF, _OWN, _DROPOUT, _ERROR, _EVENTS, _TRIAL = range(
    9
)


@dataclass(frozen=True)
class Protocol:
    """What happens in a block, which is one run.

    A trial is a cue, then anticipation, then rest, which begins with the shock where there
    is one. Lengths of anticipation and of rest are evenly spaced between their bounds and
    come in random order, so that every run is as long as every other.

    Attributes
    ----------
    n_trials : int
        Trials of each cue in a block.
    shock_share : float
        Share of the threat trials that end in a shock.
    cue_s, shock_s, rating_s : float
        How long the cue, the shock and a rating screen last (s).
    anticipation_min_s, anticipation_max_s : float
        Shortest and longest anticipation (s).
    rest_min_s, rest_max_s : float
        Shortest and longest rest after a trial (s).
    lead_in_s, lead_out_s : float
        Rest before the first trial, and after the last rating (s).
    tr_s : float
        Repetition time (s).
    """

    n_trials: int = 10
    shock_share: float = 0.2
    cue_s: float = 1.0
    anticipation_min_s: float = 4.0
    anticipation_max_s: float = 10.0
    shock_s: float = 0.5
    rest_min_s: float = 3.0
    rest_max_s: float = 8.0
    rating_s: float = 6.0
    lead_in_s: float = 6.0
    lead_out_s: float = 14.0
    tr_s: float = 2.0

    def faults(self) -> list[str]:
        """List what cannot be simulated, in words."""
        positive = ["cue_s", "anticipation_min_s", "shock_s", "rest_min_s", "rating_s"]
        positive += ["tr_s"]
        return _violated(
            self,
            [
                ("n_trials", self.n_trials >= 2, "at least 2"),
                ("shock_share", 0 <= self.shock_share <= 1, "between 0 and 1"),
                *((name, getattr(self, name) > 0, "more than 0") for name in positive),
                *(
                    (name, getattr(self, name) >= 0, "0 or more")
                    for name in ("lead_in_s", "lead_out_s")
                ),
                (
                    "anticipation_max_s",
                    self.anticipation_max_s >= self.anticipation_min_s,
                    f"at least anticipation_min_s ({self.anticipation_min_s:g})",
                ),
                (
                    "rest_max_s",
                    self.rest_max_s >= self.rest_min_s,
                    f"at least rest_min_s ({self.rest_min_s:g})",
                ),
                (
                    "shock_s",
                    self.shock_s <= self.rest_min_s,
                    f"at most rest_min_s ({self.rest_min_s:g}), which it begins",
                ),
            ],
        )

    @property
    def n_shocks(self) -> int:
        """Shocks in a block."""
        return round(self.shock_share * self.n_trials)


@dataclass(frozen=True)
class Noise:
    """What hides the effects in the BOLD series.

    Standard deviations are over time, in percent of the intensity that a voxel would have
    if no signal dropped out: dropout takes signal and leaves noise.

    Attributes
    ----------
    thermal_sd : float
        White noise, independent between voxels (%).
    smooth_sd : float
        Noise that neighbours share (%).
    smoothness_mm : float
        Full width at half maximum of the kernel that makes the latter smooth (mm).
    ar1 : float
        Its correlation from one volume to the next; 0 to below 1.
    drift_sd : float
        Drift slower than 128 s, as smooth in space (%).
    physio_sd : float
        Breathing, pulse and slow vessel tone, stronger in fluid (%).
    motion_mm : float
        Step of a head's wandering along each axis between volumes (mm).
    n_spikes : float
        Jerks of the head in a run, on average; they last one volume.
    spike_mm : float
        How far a jerk moves the head, on average (mm).
    motion_percent : float
        Change of the signal for each mm moved (% per mm), a smooth map that differs
        between people and directions.
    dropout : float
        Share of the signal that is lost where most is (orbital and subgenual cortex), on
        average; 0 to 1.
    dropout_sd : float
        Standard deviation between people of that share.
    """

    thermal_sd: float = 0.7
    smooth_sd: float = 0.8
    smoothness_mm: float = 10.0
    ar1: float = 0.6
    drift_sd: float = 0.5
    physio_sd: float = 0.4
    motion_mm: float = 0.02
    n_spikes: float = 2.0
    spike_mm: float = 0.8
    motion_percent: float = 0.5
    dropout: float = 0.6
    dropout_sd: float = 0.2

    def faults(self) -> list[str]:
        """List what cannot be simulated, in words."""
        bounded = [
            ("ar1", 0 <= self.ar1 < 1, "0 to below 1"),
            ("dropout", 0 <= self.dropout <= 1, "between 0 and 1"),
        ]
        others = {f.name for f in fields(self)} - {name for name, _, _ in bounded}
        bounded += [(name, getattr(self, name) >= 0, "0 or more") for name in others]
        return _violated(self, sorted(bounded))


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
    idiosyncratic_sd : float
        Standard deviation over voxels of a smooth map of attenuation that each person has
        for themself (% signal change).
    smoothness_mm : float
        Full width at half maximum of these two maps (mm).
    tracking_r : float
        Correlation between people's gain and their true relief by a partner's hand;
        between -1 and 1.
    mean_relief : float
        Mean relief by a partner's hand (points of 0-100).
    relief_sd : float
        Standard deviation between people of their true relief (points of 0-100).
    rating_reliability : float
        Share of the variance between people of rated partner relief that is true relief;
        above 0, at most 1. Rated relief correlates with gain
        `tracking_r` * sqrt(`rating_reliability`).
    ratings : {'block', 'trial'}
        One rating at the end of each block, or one after each threat trial; the mean of the
        latter is as reliable as the former.
    trial_sd : float
        Standard deviation over the threat trials of a block of the size of the response, as a
        share of the typical response alone.
    trial_bond : float
        Points by which a trial is rated more unpleasant per standard deviation of that size.
    protocol : Protocol
    noise : Noise

    Raises
    ------
    StudyError
        If parameters are out of range, or if more than about one rating in 700
        would leave the scale: clipping them would change what is planted.
    """

    n_subjects: int = 20
    voxel_size_mm: int = 4
    seed: int = 2006
    threat_response: float = 0.7
    receptor_slope: float = 0.2
    base_attenuation: float = 0.03
    spread: float = 0.8
    stranger_fraction: float = 0.4
    regional_sd: float = 0.12
    idiosyncratic_sd: float = 0.2
    smoothness_mm: float = 10.0
    tracking_r: float = 0.8
    mean_relief: float = 20.0
    relief_sd: float = 10.0
    rating_reliability: float = 0.9
    ratings: str = "block"
    trial_sd: float = 0.0
    trial_bond: float = 0.0
    protocol: Protocol = field(default_factory=Protocol)
    noise: Noise = field(default_factory=Noise)

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated, all of it at once."""
        problems = _violated(self, self._conditions())
        problems += [f"protocol.{fault}" for fault in self.protocol.faults()]
        problems += [f"noise.{fault}" for fault in self.noise.faults()]
        if problems:
            raise StudyError(
                "The simulated cohort cannot be drawn: " + "; ".join(problems) + "."
            )
        self._require_ratings_on_scale()

    def _conditions(self) -> list[tuple[str, bool, str]]:
        """Return what must hold: name of a parameter, whether it does, in words."""
        not_negative = ["seed", "spread", "regional_sd", "idiosyncratic_sd"]
        not_negative += ["smoothness_mm", "relief_sd", "trial_sd", "trial_bond"]
        return [
            ("n_subjects", self.n_subjects >= 1, "at least 1"),
            ("voxel_size_mm", self.voxel_size_mm >= 1, "at least 1 mm"),
            ("tracking_r", abs(self.tracking_r) <= 1, "between -1 and 1"),
            (
                "rating_reliability",
                0 < self.rating_reliability <= 1,
                "above 0 and at most 1",
            ),
            ("ratings", self.ratings in ("block", "trial"), "block or trial"),
            (
                "trial_bond",
                self.trial_bond == 0 or self.ratings == "trial",
                "0 where ratings are per block",
            ),
            *((name, getattr(self, name) >= 0, "0 or more") for name in not_negative),
        ]

    def _require_ratings_on_scale(self) -> None:
        for condition, share in self.shares().items():
            mean = ALONE_MEAN - share * self.mean_relief
            tracked = share * self.tracking_r * self.relief_sd
            sd = np.hypot(ALONE_SD, np.hypot(tracked, self._untracked_sd()))
            sd = np.hypot(sd, self.rating_error_sd())
            low, high = mean - CLIP_SD * sd, mean + CLIP_SD * sd
            if low < SCALE[0] or high > SCALE[1]:
                raise StudyError(
                    f"Ratings of the simulated cohort, condition {condition}, would "
                    f"run from {low:.0f} to {high:.0f} (mean -/+ {CLIP_SD:g} standard "
                    "deviations) on a scale of 0 to 100; clipped, they would lose the "
                    f"planted tracking. Lower relief_sd ({self.relief_sd:g}), raise "
                    f"rating_reliability ({self.rating_reliability:g}) or bring "
                    f"mean_relief ({self.mean_relief:g}) nearer to 20."
                )

    def _untracked_sd(self) -> float:
        """Return the standard deviation of true relief that gain does not explain."""
        return self.relief_sd * np.sqrt(1 - self.tracking_r**2)

    def rating_error_sd(self) -> float:
        """Return the standard deviation of the error of a block's rating (points).

        Relief is the difference of two ratings, so that twice this variance is its error.
        """
        share = (1 - self.rating_reliability) / self.rating_reliability
        return self.relief_sd * np.sqrt(share / 2)

    def shares(self) -> dict[str, float]:
        """Return each holding condition's share of the partner's effect."""
        return {"stranger": self.stranger_fraction, "partner": 1.0}

    @property
    def n_volumes(self) -> int:
        """Volumes in a run: every run of a cohort has as many."""
        plan, n = self.protocol, 2 * self.protocol.n_trials
        anticipation = (plan.anticipation_min_s + plan.anticipation_max_s) / 2
        rest = (plan.rest_min_s + plan.rest_max_s) / 2
        n_ratings = plan.n_trials if self.ratings == "trial" else 1
        seconds = plan.lead_in_s + n * (plan.cue_s + anticipation + rest)
        seconds += n_ratings * plan.rating_s + plan.lead_out_s
        return int(np.ceil(seconds / plan.tr_s - 1e-9))


def _violated(owner: object, conditions: list[tuple[str, bool, str]]) -> list[str]:
    return [
        f"{name} is {getattr(owner, name)}; it must be {wanted}"
        for name, good, wanted in conditions
        if not good
    ]


def cohort_of(section: dict, seed: int) -> Cohort:
    """Make a cohort of the section `simulate` of a configuration and the study's seed.

    Raises
    ------
    StudyError
        As `Cohort`.
    """
    parts = {
        **section,
        "protocol": Protocol(**section.get("protocol", {})),
        "noise": Noise(**section.get("noise", {})),
    }
    return Cohort(**parts, seed=seed)


@dataclass(frozen=True)
class Template:
    """What all subjects of a cohort have in common, voxel by voxel.

    Attributes
    ----------
    mask : array of bool, shape (nx, ny, nz)
        The brain. Its `n_voxels` true elements, in C order, are the voxels.
    affine : array, shape (4, 4)
        From voxel indices to MNI mm, along the axes of MNI space.
    binding : array, shape (n_voxels,)
        Receptor availability (BP_ND).
    white, fluid : arrays, shape (n_voxels,)
        Share of white matter and of cerebrospinal fluid.
    response : array, shape (n_voxels,)
        Mean response (threat - safe) alone (% signal change).
    regional : array, shape (n_voxels,)
        Group attenuation that is uncorrelated with binding (% signal change).
    """

    mask: NDArray
    affine: NDArray
    binding: NDArray
    white: NDArray
    fluid: NDArray
    response: NDArray
    regional: NDArray

    @property
    def points(self) -> NDArray:
        """Coordinates of the voxels (mm, MNI), shape (n_voxels, 3)."""
        return phantom.voxel_points(self.mask, self.affine)

    @property
    def tissue(self) -> NDArray:
        """Share of an effect that each voxel shows; 0 in deep white matter and fluid."""
        return phantom.responsive(self.white, self.fluid)

    def field(self, fwhm_mm: float) -> phantom.SmoothField:
        """Return the smooth noise of this brain."""
        return phantom.smooth_field(self.mask, self.affine, fwhm_mm)


def subjects(n_subjects: int) -> list[str]:
    """Return subject labels, without `sub-`.

    Examples
    --------
    >>> subjects(2)
    ['01', '02']
    """
    return [f"{index + 1:02d}" for index in range(n_subjects)]


def cells() -> list[tuple[str, str]]:
    """Return every (condition, cue).

    Examples
    --------
    >>> cells()[:3]
    [('alone', 'threat'), ('alone', 'safe'), ('stranger', 'threat')]
    """
    return [(condition, cue) for condition in CONDITIONS for cue in CUES]


def block_order(index: int) -> tuple[str, str, str]:
    """Return the conditions of a subject's runs 1 to 3.

    Six subjects go through all six orders, and each three of them form a Latin square.

    Examples
    --------
    >>> [block_order(index)[0] for index in range(3)]
    ['alone', 'stranger', 'partner']
    """
    return ORDERS[index % len(ORDERS)]


def plan(
    cohort: Cohort,
    mask: NDArray,
    affine: NDArray,
    *,
    white: NDArray | None = None,
    fluid: NDArray | None = None,
) -> Template:
    """Lay out what all subjects share on a grid.

    Parameters
    ----------
    cohort : Cohort
    mask : array of bool, shape (nx, ny, nz)
    affine : array, shape (4, 4)
        From voxel indices to MNI mm, along the axes of MNI space.
    white, fluid : arrays, shape (n_voxels,), optional
        Share of white matter and of fluid in the voxels of the mask; without them all of
        it is grey matter.
    """
    points = phantom.voxel_points(mask, affine)
    nothing = np.zeros(len(points))
    binding = phantom.demo_receptor(points)
    smooth = phantom.smooth_field(mask, affine, cohort.smoothness_mm)
    regional = smooth.draw(stream(cohort, _REGIONAL), 1)[0].astype(np.float64)
    return Template(
        mask=mask,
        affine=affine,
        binding=binding,
        white=nothing if white is None else white,
        fluid=nothing if fluid is None else fluid,
        response=cohort.threat_response * phantom.response_pattern(points),
        regional=cohort.regional_sd * phantom.standardise_beside(regional, binding),
    )


def simulate_effects(
    cohort: Cohort, index: int, template: Template
) -> dict[tuple[str, str], NDArray]:
    """Draw one subject's true effects.

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
        For each (condition, cue) the effect (% signal change at the peak of the response to
        an anticipation of 6 s), shape (n_voxels,).
    """
    rng = stream(cohort, _RESPONSE, index)
    response = template.response * (1 + RESPONSE_SPREAD * rng.standard_normal())
    planted = {"alone": 0.0} | planted_attenuation(cohort, index, template)
    effects = {}
    for condition, cue in cells():
        effect = template.tissue * SAFE_SHARE * template.response
        if cue == "threat":
            effect = effect + template.tissue * response - planted[condition]
        effects[condition, cue] = effect
    return effects


def planted_attenuation(
    cohort: Cohort, index: int, template: Template
) -> dict[str, NDArray]:
    """Return one subject's true attenuation by the stranger's and the partner's hand.

    Response alone minus held (% signal change), shape (n_voxels,); positive where holding
    lowered it. Parameters as `simulate_effects`.
    """
    followed = cohort.base_attenuation + cohort.receptor_slope * template.binding
    smooth = template.field(cohort.smoothness_mm)
    own = cohort.idiosyncratic_sd * smooth.draw(stream(cohort, _OWN, index), 1)[0]
    attenuation = _gain(cohort, index) * followed + template.regional + own
    attenuation = template.tissue * attenuation
    return {name: share * attenuation for name, share in cohort.shares().items()}


def dropout_depth(cohort: Cohort, index: int) -> float:
    """Return the share of the signal that a subject loses where most drops out."""
    noise = cohort.noise
    depth = noise.dropout + noise.dropout_sd * _standard(cohort, _DROPOUT, index)
    return float(np.clip(depth, 0, DEEPEST_DROPOUT))


def _gain(cohort: Cohort, index: int) -> float:
    """Return the factor by which holding works in a subject; 1 on average."""
    return 1 + cohort.spread * _trait(cohort, index)


def _trait(cohort: Cohort, index: int) -> float:
    """Return how strongly a subject responds to holding, standard normal."""
    return _standard(cohort, _TRAIT, index)


def _standard(cohort: Cohort, *key: int) -> float:
    return float(stream(cohort, *key).standard_normal())


def simulate_events(cohort: Cohort, index: int, run: int) -> pd.DataFrame:
    """Draw the events of one run.

    Parameters
    ----------
    cohort : Cohort
    index : int
        Position of the subject, from 0.
    run : int
        1, 2 or 3.

    Returns
    -------
    DataFrame
        Columns onset and duration (s), trial_type (cue, threat, safe, shock, rating), hand
        (the condition) and, where ratings are per trial, rating (0 to 100, in the rows of
        threat trials, NaN elsewhere). `threat` and `safe` are the anticipation.
    """
    protocol, rng = cohort.protocol, stream(cohort, _EVENTS, index, run)
    cues = _shuffled_cues(protocol.n_trials, rng)
    trials = pd.DataFrame({"cue": cues, "rest": _spaced(protocol, "rest", cues, rng)})
    trials["anticipation"] = _spaced(protocol, "anticipation", cues, rng)
    threats = np.flatnonzero(trials["cue"] == "threat")
    shocked = set(rng.choice(threats, protocol.n_shocks, replace=False).tolist())
    ratings = dict(zip(threats, _trial_ratings(cohort, index, run), strict=True))
    rows: list[tuple[float, float, str, float]] = []
    now = protocol.lead_in_s
    for number, trial in enumerate(trials.itertuples()):
        rating = ratings.get(number, np.nan)
        rows.append((now, protocol.cue_s, "cue", np.nan))
        now += protocol.cue_s
        rows.append((now, trial.anticipation, trial.cue, rating))
        now += trial.anticipation
        if number in shocked:
            rows.append((now, protocol.shock_s, "shock", np.nan))
        now += trial.rest
        if cohort.ratings == "trial" and trial.cue == "threat":
            rows.append((now, protocol.rating_s, "rating", np.nan))
            now += protocol.rating_s
    if cohort.ratings == "block":
        rows.append((now, protocol.rating_s, "rating", np.nan))
    events = pd.DataFrame(rows, columns=["onset", "duration", "trial_type", "rating"])
    events = events.round({"onset": 3, "duration": 3})
    events.insert(3, "hand", block_order(index)[run - 1])
    return events if cohort.ratings == "trial" else events.drop(columns="rating")


def _shuffled_cues(n: int, rng: np.random.Generator) -> list[str]:
    cues = np.array(CUES * n, dtype=object)
    for start in range(0, len(cues), SHUFFLED_TOGETHER):
        rng.shuffle(cues[start : start + SHUFFLED_TOGETHER])
    return cues.tolist()


def _spaced(
    protocol: Protocol, what: str, cues: list[str], rng: np.random.Generator
) -> NDArray:
    """Return a length for each trial, the same ones for both cues, in random order (s)."""
    low, high = (getattr(protocol, f"{what}_{end}_s") for end in ("min", "max"))
    lengths = np.empty(len(cues))
    for cue in CUES:
        lengths[np.array(cues) == cue] = rng.permutation(
            np.linspace(low, high, protocol.n_trials)
        )
    return lengths


def simulate_ratings(cohort: Cohort) -> pd.DataFrame:
    """Draw each subject's unpleasantness in each condition.

    Returns columns participant_id, condition and unpleasantness (0 to 100,
    higher is more unpleasant, one decimal). Relief, alone minus held, is
    positive where holding helped. Where ratings are per trial, these are the means over a
    block's threat trials.
    """
    rows = [
        (f"sub-{subject}", condition, rating)
        for index, subject in enumerate(subjects(cohort.n_subjects))
        for condition, rating in _rate(cohort, index).items()
    ]
    return pd.DataFrame(rows, columns=["participant_id", "condition", "unpleasantness"])


def _rate(cohort: Cohort, index: int) -> dict[str, float]:
    """Return one subject's rated unpleasantness by condition (points of 0-100)."""
    if cohort.ratings == "trial":
        order = block_order(index)
        return {
            name: float(_trial_ratings(cohort, index, order.index(name) + 1).mean())
            for name in CONDITIONS
        }
    errors = stream(cohort, _ERROR, index).standard_normal(len(CONDITIONS))
    return {
        name: _on_scale(true + cohort.rating_error_sd() * error)
        for (name, true), error in zip(
            _feel(cohort, index).items(), errors, strict=True
        )
    }


def _trial_ratings(cohort: Cohort, index: int, run: int) -> NDArray:
    """Return a subject's ratings of the threat trials of a run; NaN where none are given.

    Their mean has the error of a block's rating.
    """
    n = cohort.protocol.n_trials
    if cohort.ratings != "trial":
        return np.full(n, np.nan)
    true = _feel(cohort, index)[block_order(index)[run - 1]]
    errors = stream(cohort, _ERROR, index, run).standard_normal(n)
    moved = cohort.rating_error_sd() * np.sqrt(n) * errors
    moved += cohort.trial_bond * trial_sizes(cohort, index, run)
    return np.array([_on_scale(true + each) for each in moved])


def trial_sizes(cohort: Cohort, index: int, run: int) -> NDArray:
    """Return how strongly a subject responds to each threat trial of a run.

    Shape (n_trials,), in their order, standard normal: the mean response and rating of a
    block vary with the mean of its trials.
    """
    return stream(cohort, _TRIAL, index, run).standard_normal(cohort.protocol.n_trials)


def _feel(cohort: Cohort, index: int) -> dict[str, float]:
    """Return one subject's true unpleasantness by condition."""
    rng = stream(cohort, _RELIEF, index)
    alone = ALONE_MEAN + ALONE_SD * rng.standard_normal()
    tracked = cohort.relief_sd * cohort.tracking_r * _trait(cohort, index)
    felt = {"alone": alone}
    for condition, share in cohort.shares().items():
        untracked = cohort._untracked_sd() * rng.standard_normal()
        felt[condition] = alone - share * (cohort.mean_relief + tracked) - untracked
    return felt


def _on_scale(rating: float) -> float:
    return round(float(np.clip(rating, *SCALE)), 1)


def truth(cohort: Cohort) -> dict:
    """Return what is planted in a cohort.

    Per contrast: `slope` (% signal change per BP_ND) and `base`, so that the
    expected attenuation of a region of grey matter is base + slope * its binding;
    `mean_relief` (points); `trait_relief_r`, the correlation over people of gain and true
    relief; `rated_relief_r`, the same with relief as it is rated: the tracking that images
    without noise would show. Per subject: `gain`, `order` of the conditions, `dropout`.
    `planted_attenuation` gives each subject's attenuation voxel by voxel.
    """
    labels = [f"sub-{subject}" for subject in subjects(cohort.n_subjects)]
    fraction = cohort.stranger_fraction
    return {
        "meaning": "Simulated. Attenuation > 0: holding lowered the threat response "
        "(% signal change at the peak of the response to an anticipation of 6 s); relief > 0: "
        "holding lowered unpleasantness (0-100). Expected attenuation of a region = "
        "base + slope * binding, plus a regional map uncorrelated with binding over the brain, "
        "in grey matter; nothing in deep white matter and fluid. A subject's gain multiplies "
        "base and slope. handhold.simulate.planted_attenuation recomputes the attenuation of "
        "each subject in each voxel.",
        "cohort": asdict(cohort),
        "contrasts": {
            "partner": _planted(cohort, 1.0, n_held=1),
            "stranger": _planted(cohort, fraction, n_held=1),
            "partner_over_stranger": _planted(cohort, 1 - fraction, n_held=2),
        },
        "gain": {s: _gain(cohort, index) for index, s in enumerate(labels)},
        "order": {s: list(block_order(index)) for index, s in enumerate(labels)},
        "dropout": {s: dropout_depth(cohort, index) for index, s in enumerate(labels)},
    }


def _planted(cohort: Cohort, share: float, n_held: int) -> dict[str, float]:
    """Describe a contrast with a share of the partner's effect.

    Its relief holds the untracked part of `n_held` ratings, and the errors of two.
    """
    tracked = share * cohort.tracking_r * cohort.relief_sd
    true = np.hypot(tracked, np.sqrt(n_held) * cohort._untracked_sd())
    rated = np.hypot(true, np.sqrt(2) * cohort.rating_error_sd())
    return {
        "slope": share * cohort.receptor_slope,
        "base": share * cohort.base_attenuation,
        "mean_relief": share * cohort.mean_relief,
        "trait_relief_r": float(tracked / true) if true else 0.0,
        "rated_relief_r": float(tracked / rated) if rated else 0.0,
    }


def stream(cohort: Cohort, *key: int) -> np.random.Generator:
    """Return the generator of one purpose and subject, independent of all others."""
    sequence = np.random.SeedSequence(cohort.seed, spawn_key=key)
    return np.random.default_rng(sequence)
