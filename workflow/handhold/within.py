"""Trials within people: does a calmer trial feel better, and does calm carry the hand's effect?

People and trials answer different questions: that calm people rate lower says nothing of
whether a person's calmer trials do. Effects are split into what varies between people and what
varies within one, and people, not trials, are the sample: degrees of freedom, permutations and
resamples count them. What a run does to both (its condition, its place in the session, how far it
has gone on) is taken out person by person: else whoever is both calmed and relieved by the hand,
or tires and adapts at once, would look as if single trials went together.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy
from numpy.typing import NDArray

from handhold.errors import StudyError
from handhold.events import rating_grain
from handhold.mixed import fit_mixed
from handhold.permutation import flip_signs

MINIMUM_SUBJECTS = 6
# Degrees of freedom that a person's trials must leave for a slope: one for it, two beside it.
LEAST_LEFT = 3
# Share of a variable's length below which its blocks and its trend explain all of it.
NOTHING = 1e-7
REGION = ["definition", "region", "hemisphere", "role"]
PATHS = ("a", "b", "direct", "total", "indirect")
# Columns of the tables, and where their numbers stand.
OF_WITHIN = {
    **{"effect": "slope", "low": "low", "high": "high", "statistic": "t", "df": "df"},
    **{"p_t": "p", "between": "between", "between_low": "between_low"},
    **{"between_high": "between_high", "p_between": "between_p"},
    **{"icc_effect": "icc_effect", "icc_rating": "icc_rating"},
}
OF_MEDIATION = [f"{path}{bound}" for path in PATHS for bound in ("", "_low", "_high")]
COLUMNS = {
    "within": [*OF_WITHIN],
    "mediation": [*OF_MEDIATION, "covariance", "caution"],
}
COUNTS = ["n", "n_trials", "n_left_out", "n_trials_left_out", "refused"]
NOT_CAUSAL = (
    "An association over trials, not a cause: neither the response nor the rating was "
    "assigned, and whatever moves both looks the same."
)


@dataclass(frozen=True)
class WithinPerson:
    """How ratings go with effects over trials, within people and between them.

    `slope` is in points of unpleasantness per unit of effect: positive, a calmer trial of the
    same person is rated less unpleasant; `p` is by Satterthwaite's `df`. `slopes` are those of
    each of `people`. `between` is the slope over people's means. `icc_effect` and `icc_rating`
    are the share of the variance over trials that lies between people, at equal condition.
    """

    people: tuple[str, ...]
    n_trials: int
    slopes: NDArray
    slope: float
    low: float
    high: float
    t: float
    df: float
    p: float
    between: float
    between_low: float
    between_high: float
    between_p: float
    icc_effect: float
    icc_rating: float


@dataclass(frozen=True)
class Mediation:
    """Average paths over people, each with its interval by resampling people.

    `a`: by how much the hand lowers the effect; `b`: effect on rating at equal block;
    `total`: by how much the hand lowers the rating, which is `direct` (at equal effect) plus
    `indirect` (mean over people of a times b); each as (estimate, low, high). `products` are
    the a times b of each of `people`; `covariance` of a and b over people is the part of
    `indirect` that the product of the means leaves out. `caution` belongs beside every number.
    """

    people: tuple[str, ...]
    n_trials: int
    products: NDArray
    a: tuple[float, float, float]
    b: tuple[float, float, float]
    direct: tuple[float, float, float]
    total: tuple[float, float, float]
    indirect: tuple[float, float, float]
    covariance: float
    caution: str = NOT_CAUSAL


def track_within(trials: pd.DataFrame, *, level: float) -> WithinPerson:
    """Ask whether a person's trials of lower effect are rated less unpleasant.

    Parameters
    ----------
    trials : DataFrame
        One row per trial: subject, condition, block (the run, say; one under two conditions
        counts as two), time (within the block, any unit), effect, rating (higher: more
        unpleasant).
    level : float
        Level of the intervals.

    Returns
    -------
    WithinPerson

    Raises
    ------
    StudyError
        If a column or value is missing, there are fewer than six people, or some have
        too few trials or none that differ: they are named.

    Notes
    -----
    From effect and rating of each person, her blocks and a common linear trend over the time
    in a block are projected out, which leaves fewer values with independent errors; then
    rating = slope * effect, with a slope of her own for each person, by REML. That is the
    within-person slope of the within/between split [1]_ with the trials centred at their block,
    not at the person: centred at the person, people in whom the hand changes both would
    carry the slope without any bond between trials. `between` regresses the means over
    people, blocks weighing the same (least squares). Trials count as independent beyond that;
    autocorrelation adds to how far people's slopes differ, by which the mean is judged. Over 20
    people, with trials independent or autocorrelated by .4, Satterthwaite's p rejects 3 to 6 %
    of cohorts without a bond, and sign flips of `slopes` 2 to 5 %, 500 cohorts a world
    (tests/reference/within_calibration.tsv).

    References
    ----------
    .. [1] Enders & Tofighi (2007), Psychol. Methods 12(2), 121-138.
    """
    trials = _require_trials(trials)
    swept = _each(trials, _sweep, "trials beyond their blocks, and effects that differ")
    x, y = np.hstack([own.T for own in swept.values()])
    owners = np.repeat(np.arange(len(swept)), [len(own) for own in swept.values()])
    model = fit_mixed(y, x[:, np.newaxis], x[:, np.newaxis], owners)
    low, high = model.interval(0, level)
    between, between_low, between_high, between_p = _between(trials, level)
    return WithinPerson(
        people=tuple(swept),
        n_trials=len(trials),
        slopes=np.array([_slope(own) for own in swept.values()]),
        slope=float(model.estimate[0]),
        low=low,
        high=high,
        t=float(model.t[0]),
        df=float(model.df[0]),
        p=float(model.p[0]),
        between=between,
        between_low=between_low,
        between_high=between_high,
        between_p=between_p,
        icc_effect=_share_between(trials, "effect"),
        icc_rating=_share_between(trials, "rating"),
    )


def mediate(
    trials: pd.DataFrame,
    *,
    held: str,
    level: float,
    n_bootstrap: int,
    rng: np.random.Generator,
) -> Mediation:
    """Split what holding does to the rating into a part along the effect and the rest.

    Parameters
    ----------
    trials : DataFrame
        As `track_within`, of the baseline and the held condition.
    held : str
        The held condition; every other row is baseline.
    level : float
        Level of the intervals.
    n_bootstrap : int
        Resamples of people, 100 or more.
    rng : numpy.random.Generator
        Source of the resamples.

    Returns
    -------
    Mediation
        Paths in the units of effect and rating, signs as of attenuation and relief: a hand
        that calms and relieves has positive `a` and `total`, and positive `indirect` where
        calmer trials are rated less unpleasant (positive `b`).

    Raises
    ------
    StudyError
        As `track_within`, and if someone has trials of one condition only.

    Notes
    -----
    Lower-level mediation with every path free to vary over people (1-1-1). Each person's paths
    are least squares over her trials at equal time in the block and with contrasts of the blocks
    of a condition: total = direct + a b holds person by person, blocks of a condition weigh the
    same, and a drift from run to run makes no b. What a condition's place in the session does to
    a and total stays in them; balance the order. As b is estimated at equal condition, its error
    is independent of that of a, and the mean of a b is an unbiased estimate of the average
    indirect effect, which is the product of the mean paths *plus* their covariance over people
    [1]_, [2]_. Intervals resample people, and percentiles are expanded for few of them [3]_. Over
    20 people without one or both of the paths, that of `indirect` misses 0 in 5 to 7 % of cohorts
    rather than 5, and sign flips of `products` in 4 to 7 %: products have long tails
    (tests/reference/within_calibration.tsv). It describes, and does not show a cause.

    References
    ----------
    .. [1] Kenny, Korchmaros & Bolger (2003), Psychol. Methods 8(2), 115-128.
    .. [2] Bauer, Preacher & Gil (2006), Psychol. Methods 11(2), 142-163.
    .. [3] Hesterberg (2015), Am. Stat. 69(4), 371-386.
    """
    trials = _require_trials(trials)
    people = _each(
        trials,
        lambda own: _paths(own, held),
        f"trials with and without {held}, and effects that differ within them",
    )
    paths = np.array(list(people.values()))
    found = _expanded_percentiles(paths, level, n_bootstrap, rng)
    covariance = float(np.cov(paths[:, 0], paths[:, 1])[0, 1])
    return Mediation(tuple(people), len(trials), paths[:, 4], *found, covariance)


def fit_for_both(trials: pd.DataFrame, held: str) -> list[str]:
    """List the people whose trials allow both models: the others are left out, and counted."""
    return [
        subject
        for subject, own in _people(trials).items()
        if np.isfinite(_sweep(own)).all() and np.isfinite(_paths(own, held)).all()
    ]


def assess_within(
    trials: pd.DataFrame,
    definitions: pd.DataFrame,
    contrasts: list[dict],
    *,
    cue: str,
    higher_is: str,
    tests: dict,
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fit both models, ROI by ROI and contrast by contrast (Q3, within people).

    Parameters
    ----------
    trials : DataFrame
        Single trials of everyone: subject, session, run, onset, condition, cue, rating (may be
        missing), region (definition/region), effect (may be missing) and excluded.
    definitions : DataFrame
        Columns definition, region, hemisphere and role of the ROIs.
    contrasts : list of dict
        The section `contrasts` of the configuration.
    cue : {'threat', 'safe', 'both'}
        Whose ratings count; of `both` the threat trials are taken, whose response the hand is
        to lower.
    higher_is : {'more_unpleasant', 'more_relief'}
        What a higher rating means; either way the table speaks of unpleasantness.
    tests : dict
        That section of the configuration.
    rng : numpy.random.Generator

    Returns
    -------
    within, mediation : DataFrame
        A row per ROI and contrast each. `p` flips the signs of the people's own slopes (of
        their a times b), `p_fwe` is over the ROIs of one definition, role and contrast.
        `n_left_out` people had too few trials or too little coverage in the ROI, and
        `n_trials_left_out` trials no rating or no estimate. Where no model can be fitted,
        `refused` says why.
    """
    trials = trials[trials["cue"] == ("threat" if cue == "both" else cue)]
    sign = 1.0 if higher_is == "more_unpleasant" else -1.0
    run = trials["session"].fillna("") + "/" + trials["run"].fillna("")
    trials = trials.assign(
        rating=sign * trials["rating"],
        block=run + "/" + trials["condition"],
        time=trials["onset"],
    )
    one = trials[trials["region"] == trials["region"].iloc[0]]
    fault = rating_grain(one).fault
    rois = definitions.loc[definitions["role"].notna(), REGION]
    found: dict[str, list[pd.DataFrame]] = {name: [] for name in COLUMNS}
    for (definition, _), family in rois.groupby(["definition", "role"], sort=False):
        for contrast in contrasts:
            rows = [
                _fit_both(
                    trials[trials["region"] == f"{definition}/{region}"],
                    contrast,
                    fault,
                    tests,
                    rng,
                )
                for region in family["region"]
            ]
            keys = family.reset_index(drop=True).assign(contrast=contrast["name"])
            for name, tables in found.items():
                own = [row[name] for row in rows]
                tables.append(_judge_family(keys, own, COLUMNS[name], tests, rng))
    return tuple(
        pd.concat(tables, ignore_index=True).assign(question="Q3")
        for tables in found.values()
    )


def _fit_both(
    own: pd.DataFrame,
    contrast: dict,
    fault: str | None,
    tests: dict,
    rng: np.random.Generator,
) -> dict[str, dict]:
    """Fit both models to the trials of one ROI and contrast; say what was left out."""
    own = own[own["condition"].isin([contrast["baseline"], contrast["held"]])]
    usable = own["rating"].notna() & own["effect"].notna() & ~own["excluded"]
    people = own["subject"].nunique()
    kept = [] if fault else fit_for_both(own[usable], contrast["held"])
    used = own[usable & own["subject"].isin(kept)]
    counts = {
        "n": len(kept),
        "n_trials": len(used),
        "n_left_out": people - len(kept),
        "n_trials_left_out": len(own) - len(used),
    }
    if fault is None and len(kept) < MINIMUM_SUBJECTS:
        fault = (
            f"{len(kept)} of {people} people have enough trials with rating and estimate in both "
            f"conditions; at least {MINIMUM_SUBJECTS} are needed"
        )
    if fault:
        return {name: {**counts, "refused": fault} for name in COLUMNS}
    slope = track_within(used, level=tests["level"])
    paths = mediate(
        used,
        held=contrast["held"],
        level=tests["level"],
        n_bootstrap=tests["n_bootstrap"],
        rng=rng,
    )
    within = {
        **counts,
        **{column: getattr(slope, name) for column, name in OF_WITHIN.items()},
        "of_people": pd.Series(slope.slopes, slope.people),
    }
    mediation = {
        **counts,
        **{
            f"{path}{bound}": value
            for path in PATHS
            for bound, value in zip(
                ("", "_low", "_high"), getattr(paths, path), strict=True
            )
        },
        "covariance": paths.covariance,
        "caution": paths.caution,
        "of_people": pd.Series(paths.products, paths.people),
    }
    return {"within": within, "mediation": mediation}


def _judge_family(
    keys: pd.DataFrame,
    rows: list[dict],
    columns: list[str],
    tests: dict,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Flip the signs of the people's own numbers, the same flips for all ROIs of a family."""
    of_people = [row.get("of_people", pd.Series(dtype=float)) for row in rows]
    wide = pd.concat(of_people, axis=1).to_numpy(dtype=float)
    table = keys.join(pd.DataFrame(rows, columns=[*COUNTS, *columns]))
    if not wide.size:
        return table.assign(p=np.nan, p_fwe=np.nan, n_permutations=np.nan, exact=False)
    flips = flip_signs(wide, tests["n_permutations"], rng)
    return table.assign(
        p=flips.p,
        p_fwe=flips.p_fwe,
        n_permutations=flips.n_permutations,
        exact=flips.exact,
    )


@dataclass(frozen=True)
class _Own:
    """The trials of one person, arrays of shape (n_trials,); `block` counts from 0.

    Trials of one block under two conditions are two blocks.
    `trend`, (n_trials, 0 or 1), is the time in the block, centred there, if it varies.
    """

    condition: NDArray
    block: NDArray
    trend: NDArray
    effect: NDArray
    rating: NDArray


def _people(trials: pd.DataFrame) -> dict[str, _Own]:
    """Return the trials of each person."""
    condition, effect, rating = (
        trials[name].to_numpy() for name in ("condition", "effect", "rating")
    )
    time = trials["time"].to_numpy(float)
    block = trials.groupby(["block", "condition"]).ngroup().to_numpy()
    people = {}
    for subject, rows in trials.groupby("subject", sort=False).indices.items():
        _, own = np.unique(block[rows], return_inverse=True)
        centred = time[rows] - (np.bincount(own, time[rows]) / np.bincount(own))[own]
        varies = np.linalg.norm(centred) > NOTHING * np.linalg.norm(time[rows])
        people[subject] = _Own(
            condition[rows],
            own,
            centred[:, np.newaxis][:, : int(varies)],
            effect[rows].astype(float),
            rating[rows].astype(float),
        )
    return people


def _sweep(own: _Own) -> NDArray:
    """Return effect and rating of a person beyond her blocks and trend, (n_left, 2).

    A single nan where they leave too little. The rows of an orthonormal basis of what the
    blocks and the trend do not span keep independent errors independent.
    """
    blocks = np.eye(own.block.max() + 1)[own.block]
    rest = scipy.linalg.null_space(np.column_stack([blocks, own.trend]).T)
    left = rest.T @ np.column_stack([own.effect, own.rating])
    size = np.linalg.norm(own.effect)
    if len(left) < LEAST_LEFT or not np.linalg.norm(left[:, 0]) > NOTHING * size:
        return np.full((1, 2), np.nan)
    return left


def _slope(swept: NDArray) -> float:
    return float(swept[:, 0] @ swept[:, 1] / (swept[:, 0] @ swept[:, 0]))


def _paths(own: _Own, held: str) -> NDArray:
    """Return a, b, direct, total and a b of one person; nan where they are not defined."""
    without = own.condition != held
    contrasts = [_contrast_blocks(own, rows) for rows in (without, ~without)]
    x = np.column_stack([without, own.trend, *contrasts]).astype(float)
    a, total = _slopes(x, np.column_stack([own.effect, own.rating]))[0]
    b, direct = _slopes(np.column_stack([own.effect, x]), own.rating)[:2]
    return np.array([a, b, direct, total, a * b])


def _contrast_blocks(own: _Own, rows: NDArray) -> NDArray:
    """Return contrasts of the blocks that these rows are of, (n_trials, n_blocks - 1).

    Each adds up to nothing over blocks, so that the mean beside them weighs blocks the same.
    """
    of_block = (own.block[:, np.newaxis] == np.unique(own.block[rows])).astype(float)
    return of_block[:, :-1] - of_block[:, -1:]


def _expanded_percentiles(
    paths: NDArray, level: float, n_bootstrap: int, rng: np.random.Generator
) -> list[tuple[float, float, float]]:
    """Return mean and interval of each column over people, people resampled.

    Percentiles at the levels that make them as wide as Student's t where values are normal
    (Hesterberg 2015, Am. Stat. 69(4), 371-386): plain ones are too narrow over few people.
    """
    n = len(paths)
    rows = rng.integers(n, size=(n_bootstrap, n))
    offsets = n * np.arange(n_bootstrap)[:, np.newaxis]
    counts = np.bincount((rows + offsets).ravel(), minlength=n * n_bootstrap)
    means = counts.reshape(n_bootstrap, n) @ paths / n
    tail = scipy.stats.norm.cdf(
        np.sqrt(n / (n - 1)) * scipy.stats.t.ppf((1 - level) / 2, n - 1)
    )
    low, high = np.quantile(means, [tail, 1 - tail], axis=0, method="weibull")
    return [
        (float(mean), float(below), float(above))
        for mean, below, above in zip(paths.mean(axis=0), low, high, strict=True)
    ]


def _between(trials: pd.DataFrame, level: float) -> tuple[float, float, float, float]:
    """Regress the people's mean ratings on their mean effects: slope, low, high, p."""
    blocks = trials.groupby(["subject", "block"], sort=False)[["effect", "rating"]]
    means = blocks.mean().groupby("subject", sort=False).mean()
    if np.ptp(means["effect"]) == 0:
        return (np.nan,) * 4
    line = scipy.stats.linregress(means["effect"], means["rating"])
    margin = scipy.stats.t.ppf((1 + level) / 2, len(means) - 2) * line.stderr
    return (
        float(line.slope),
        float(line.slope - margin),
        float(line.slope + margin),
        float(line.pvalue),
    )


def _share_between(trials: pd.DataFrame, values: str) -> float:
    """Return the share of the variance over trials that lies between people (ICC(1))."""
    own = trials[values] - trials.groupby("condition")[values].transform("mean")
    people = own.groupby(trials["subject"])
    n, n_people = len(own), people.ngroups
    between = (people.size() * people.mean() ** 2).sum() / (n_people - 1)
    rest = ((own - people.transform("mean")) ** 2).sum() / (n - n_people)
    # Trials of a person, as unequal numbers count in the expected mean square.
    n_each = (n - (people.size() ** 2).sum() / n) / (n_people - 1)
    return float((between - rest) / (between + (n_each - 1) * rest))


def _slopes(x: NDArray, y: NDArray) -> NDArray:
    """Return least-squares slopes at a free constant; nan where they are not defined."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    size = np.linalg.norm(x, axis=0)
    undone = (
        len(y) <= x.shape[1] + 1
        or (size == 0).any()
        or np.linalg.matrix_rank(x / size, tol=1e-7) < x.shape[1]
    )
    if undone:
        return np.full((x.shape[1], *y.shape[1:]), np.nan)
    return np.linalg.lstsq(x, y, rcond=None)[0]


def _each(
    trials: pd.DataFrame, compute: Callable[[_Own], NDArray], what: str
) -> dict[str, NDArray]:
    """Compute person by person, or name those whose trials do not allow it."""
    found = {subject: compute(own) for subject, own in _people(trials).items()}
    undone = [name for name, value in found.items() if not np.isfinite(value).all()]
    if undone:
        raise StudyError(
            f"{len(undone)} of {len(found)} people do not have enough {what}: "
            f"{', '.join(f'sub-{name}' for name in undone)}. Exclude them from the table of "
            "trials, with the reason, or ask this of condition means instead (Q3)."
        )
    return found


def _require_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the table of trials if every value that is needed is there."""
    numbers, names = ["time", "effect", "rating"], ["subject", "condition", "block"]
    needed = [*names, *numbers]
    absent = [name for name in needed if name not in trials]
    if absent:
        raise StudyError(
            f"the table of trials has no column {', '.join(absent)}; it has "
            f"{', '.join(map(str, trials.columns))}. One row per trial is needed."
        )
    finite = np.isfinite(trials[numbers].to_numpy(dtype=float)).all(axis=1)
    missing = trials[needed].isna().any(axis=1) | ~finite
    if missing.any():
        people = ", ".join(
            f"sub-{name}" for name in dict.fromkeys(trials.loc[missing, "subject"])
        )
        raise StudyError(
            f"{missing.sum()} of {len(trials)} trials have a missing or infinite value "
            f"({people}); remove these rows, and count them in the exclusions."
        )
    n = trials["subject"].nunique()
    if n < MINIMUM_SUBJECTS:
        raise StudyError(
            f"the trials are of {n} people; at least {MINIMUM_SUBJECTS} are needed, since "
            "people are the sample, however many trials they have."
        )
    return trials.reset_index(drop=True)
