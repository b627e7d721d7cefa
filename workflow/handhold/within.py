"""Trials within people: does a calmer trial feel better, and does calm carry the hand's effect?

People and trials answer different questions: that calm people rate lower says nothing of
whether a person's calmer trials do. Effects are split into what varies between people and what
varies within one, and people, not trials, are the sample: degrees of freedom, permutations and
resamples count them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import minimize

from handhold.correlation import resample_people
from handhold.errors import StudyError
from handhold.permutation import flip_signs

MINIMUM_SUBJECTS = 6
# Step of numerical derivatives, and eigenvalues below which a variance sits at its bound.
STEP, FLAT = 1e-3, 1e-6
NOT_CAUSAL = (
    "An association over trials, not a cause: neither the response nor the rating was "
    "assigned, and whatever moves both looks the same."
)


@dataclass(frozen=True)
class MixedModel:
    """Fixed effects of a linear mixed model, with Satterthwaite's degrees of freedom.

    `estimate`, `error`, `df`, `t` and `p` (two-sided) have shape (n_fixed,); `spread` is the
    covariance of the random effects and `residual` the variance of the rest.
    """

    estimate: NDArray
    error: NDArray
    df: NDArray
    t: NDArray
    p: NDArray
    spread: NDArray
    residual: float

    def interval(self, term: int, level: float) -> tuple[float, float]:
        """Return the interval of one fixed effect."""
        margin = stats.t.ppf((1 + level) / 2, self.df[term]) * self.error[term]
        return (
            float(self.estimate[term] - margin),
            float(self.estimate[term] + margin),
        )


@dataclass(frozen=True)
class WithinPerson:
    """How ratings go with effects over trials, within people and between them.

    `slope` is in points of rating per unit of effect: positive, a calmer trial of the same
    person is rated less unpleasant. `p` is by Satterthwaite, `p_permutation` by flipping the
    signs of the people's own slopes. `between` is the slope over people's means.
    """

    n_subjects: int
    n_trials: int
    slope: float
    low: float
    high: float
    t: float
    df: float
    p: float
    p_permutation: float
    between: float
    between_low: float
    between_high: float
    between_df: float
    between_p: float


@dataclass(frozen=True)
class Mediation:
    """Average paths over people, each with its interval by resampling people.

    `a`: held on effect; `b`: effect on rating at equal condition; `direct`: held on rating at
    equal effect; `total` = `direct` + `indirect`; `indirect`: mean over people of a times b;
    each as (estimate, low, high). `covariance` of a and b over people is the part of
    `indirect` that the product of the means leaves out. `caution` belongs beside every number.
    """

    n_subjects: int
    n_trials: int
    a: tuple[float, float, float]
    b: tuple[float, float, float]
    direct: tuple[float, float, float]
    total: tuple[float, float, float]
    indirect: tuple[float, float, float]
    covariance: float
    caution: str = NOT_CAUSAL


def split_within(values: NDArray, subjects: NDArray) -> tuple[NDArray, NDArray]:
    """Split values into what varies within a person and between people.

    Parameters
    ----------
    values : array, shape (n_trials,)
        In any unit.
    subjects : array, shape (n_trials,)
        Whose each is.

    Returns
    -------
    within, between : array, shape (n_trials,)
        Deviation from the person's own mean; that mean less the mean of the people's means.

    Examples
    --------
    >>> within, between = split_within([1.0, 3.0, 5.0, 9.0], ["a", "a", "b", "b"])
    >>> within.tolist(), between.tolist()
    ([-1.0, 1.0, -2.0, 2.0], [-2.5, -2.5, 2.5, 2.5])
    """
    values = np.asarray(values, dtype=float)
    _, own = np.unique(np.asarray(subjects), return_inverse=True)
    means = np.bincount(own, values) / np.bincount(own)
    return values - means[own], (means - means.mean())[own]


def fit_mixed(
    y: NDArray, fixed: NDArray, random: NDArray, subjects: NDArray
) -> MixedModel:
    """Fit a linear mixed model by REML.

    Parameters
    ----------
    y : array, shape (n_trials,)
        Outcome.
    fixed, random : array, shape (n_trials, n_terms)
        Design of the fixed effects, and of those that vary over people (with any
        covariance); with their constants.
    subjects : array, shape (n_trials,)
        Whose each trial is.

    Returns
    -------
    MixedModel

    Raises
    ------
    ValueError
        If the shapes do not match, a value is missing or infinite, the fixed terms repeat
        each other, or there are no more trials than terms.

    Notes
    -----
    The criterion and the degrees of freedom are those of lme4 [1]_ and lmerTest [2]_: REML
    profiled over the Cholesky factor of the relative covariance, then Satterthwaite's
    method with derivatives taken numerically. A z test would count a few people as many.
    Where a variance is estimated as zero, directions in which the criterion is flat are left
    out, as lmerTest does.

    References
    ----------
    .. [1] Bates, Maechler, Bolker & Walker (2015), J. Stat. Softw. 67(1).
    .. [2] Kuznetsova, Brockhoff & Christensen (2017), J. Stat. Softw. 82(13).
    """
    sums = _Sums.of(y, fixed, random, subjects)
    factor = minimize(
        sums.profiled,
        np.eye(sums.n_random)[np.tril_indices(sums.n_random)],
        method="L-BFGS-B",
        options={"ftol": 1e-14, "gtol": 1e-7},
    ).x
    estimate, inverse, rest, _ = sums.solve(factor)
    variance = rest / sums.df
    parameters = np.append(factor, np.sqrt(variance))

    def covariance(at: NDArray) -> NDArray:
        return at[-1] ** 2 * sums.solve(at[:-1])[1]

    values, vectors = np.linalg.eigh(_hessian(sums.deviance, parameters))
    steep = values > FLAT
    spread = 2 * (vectors[:, steep] / values[steep]) @ vectors[:, steep].T
    gradient = _gradient(lambda at: np.diag(covariance(at)), parameters)
    own = variance * np.diag(inverse)
    df = 2 * own**2 / np.einsum("pk,kl,pl->p", gradient, spread, gradient)
    error = np.sqrt(own)
    t = estimate / error
    factor = sums.lower(factor)
    return MixedModel(
        *(estimate, error, df, t, 2 * stats.t.sf(np.abs(t), df)),
        spread=variance * factor @ factor.T,
        residual=float(variance),
    )


def track_within(
    trials: pd.DataFrame,
    *,
    level: float,
    n_permutations: int,
    rng: np.random.Generator,
    at_equal_conditions: bool = False,
) -> WithinPerson:
    """Ask whether a person's trials of lower effect are rated less unpleasant.

    Parameters
    ----------
    trials : DataFrame
        One row per trial: subject, effect, rating (higher: more unpleasant) and, for
        `at_equal_conditions`, condition.
    level : float
        Level of the intervals.
    n_permutations : int
        Sign flips of the people's own slopes.
    rng : numpy.random.Generator
        Source of the flips.
    at_equal_conditions : bool
        Whether to hold the condition constant: then what the hand does to both effect
        and rating does not count, only what goes along with it trial by trial.

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
    rating = constant + within + between [+ conditions], with a constant and a slope of
    `within` for each person [1]_.

    References
    ----------
    .. [1] Enders & Tofighi (2007), Psychol. Methods 12(2), 121-138.
    """
    columns = ["effect", "rating"]
    trials = _require_trials(trials, columns, at_equal_conditions)
    subjects = trials["subject"].to_numpy()
    within, between = split_within(trials["effect"], subjects)
    rating = trials["rating"].to_numpy(dtype=float)
    held = _dummies(trials["condition"]) if at_equal_conditions else None
    held = np.empty((len(trials), 0)) if held is None else held
    slopes = _each(
        trials,
        lambda own: _slopes(np.column_stack([within[own], held[own]]), rating[own])[0],
        "effects that differ beyond the conditions"
        if held.size
        else "effects that differ",
    )
    one = np.ones(len(trials))
    model = fit_mixed(
        rating,
        np.column_stack([one, within, between, held]),
        np.column_stack([one, within]),
        subjects,
    )
    low, high = model.interval(1, level)
    between_low, between_high = model.interval(2, level)
    flips = flip_signs(slopes[:, np.newaxis], n_permutations, rng)
    return WithinPerson(
        n_subjects=len(slopes),
        n_trials=len(trials),
        slope=float(model.estimate[1]),
        low=low,
        high=high,
        t=float(model.t[1]),
        df=float(model.df[1]),
        p=float(model.p[1]),
        p_permutation=float(flips.p[0]),
        between=float(model.estimate[2]),
        between_low=between_low,
        between_high=between_high,
        between_df=float(model.df[2]),
        between_p=float(model.p[2]),
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
        One row per trial of the baseline and the held condition: subject, condition,
        effect, rating.
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
        Paths in the units of effect and rating, held minus baseline: a hand that calms and
        relieves has negative `a` and `total`, positive `b` and negative `indirect`.

    Raises
    ------
    StudyError
        As `track_within`, and if someone has trials of one condition only.

    Notes
    -----
    Lower-level mediation with every path free to vary over people (1-1-1). Each person's
    paths are least squares over her trials, so that total = direct + a b holds person by
    person; as b is estimated at equal condition, its error is independent of that of a, and
    the mean of a b is an unbiased estimate of the average indirect effect, which is the
    product of the mean paths *plus* their covariance over people [1]_, [2]_. Intervals are
    BCa over people. It describes, and does not show a cause.

    References
    ----------
    .. [1] Kenny, Korchmaros & Bolger (2003), Psychol. Methods 8(2), 115-128.
    .. [2] Bauer, Preacher & Gil (2006), Psychol. Methods 11(2), 142-163.
    """
    trials = _require_trials(trials, ["effect", "rating"], needs_condition=True)
    x = (trials["condition"] == held).to_numpy(dtype=float)
    effect, rating = (trials[name].to_numpy(float) for name in ("effect", "rating"))

    def paths(own: NDArray) -> NDArray:
        (a,) = _slopes(x[own, np.newaxis], effect[own])
        (total,) = _slopes(x[own, np.newaxis], rating[own])
        b, direct = _slopes(np.column_stack([effect[own], x[own]]), rating[own])
        return np.array([a, b, direct, total, a * b])

    what = f"trials with and without {held}, and effects that differ within them"
    people = _each(trials, paths, what)
    found = []
    for path in people.T:
        low, high = resample_people(
            lambda rows, path=path: path[rows].mean(axis=-1),
            len(path),
            n_bootstrap=n_bootstrap,
            level=level,
            rng=rng,
        )
        found.append((float(path.mean()), low, high))
    covariance = float(np.cov(people[:, 0], people[:, 1])[0, 1])
    return Mediation(len(people), len(trials), *found, covariance)


@dataclass(frozen=True)
class _Sums:
    """Sums of products of each person's trials: all that the likelihood needs.

    z: random design, x: fixed design, y: outcome; shapes begin with n_subjects.
    """

    zz: NDArray
    zx: NDArray
    zy: NDArray
    xx: NDArray
    xy: NDArray
    yy: float
    df: int

    @classmethod
    def of(
        cls, y: NDArray, fixed: NDArray, random: NDArray, subjects: NDArray
    ) -> "_Sums":
        """Sum over each person's trials, or refuse what cannot be fitted."""
        y, x, z = (np.asarray(part, dtype=float) for part in (y, fixed, random))
        subjects = np.asarray(subjects)
        if (
            y.ndim != 1
            or x.shape[:1] != y.shape
            or z.shape[:1] != y.shape
            or subjects.shape != y.shape
            or x.ndim != 2
            or z.ndim != 2
        ):
            raise ValueError(
                f"trials pair up; got shapes {y.shape}, {x.shape}, {z.shape} and "
                f"{subjects.shape}"
            )
        if not all(np.isfinite(part).all() for part in (y, x, z)):
            raise ValueError("values are missing or infinite; leave these trials out")
        size = np.linalg.norm(x, axis=0)
        if (
            len(y) <= x.shape[1]
            or (size == 0).any()
            or np.linalg.matrix_rank(x / size, tol=1e-7) < x.shape[1]
        ):
            raise ValueError(
                f"{len(y)} trials do not tell {x.shape[1]} fixed terms apart: some "
                "repeat each other"
            )
        _, own = np.unique(subjects, return_inverse=True)
        n = own.max() + 1

        def summed(left: NDArray, right: NDArray) -> NDArray:
            sums = np.zeros((n, *left.shape[1:], *right.shape[1:]))
            np.add.at(sums, own, np.einsum("ti,t...->ti...", left, right))
            return sums

        return cls(
            *(summed(z, z), summed(z, x), summed(z, y), x.T @ x, x.T @ y),
            yy=float(y @ y),
            df=len(y) - x.shape[1],
        )

    @property
    def n_random(self) -> int:
        return self.zz.shape[-1]

    def lower(self, factor: NDArray) -> NDArray:
        """Return the Cholesky factor from its entries, row by row."""
        matrix = np.zeros((self.n_random, self.n_random))
        matrix[np.tril_indices(self.n_random)] = factor
        return matrix

    def solve(self, factor: NDArray) -> tuple[NDArray, NDArray, float, float]:
        """Return estimates, inverse of X'V^-1 X, weighted residual sum and log |V|."""
        factor = self.lower(factor)
        inner = np.eye(self.n_random) + factor.T @ self.zz @ factor
        zx, zy = factor.T @ self.zx, self.zy @ factor
        weighted = np.linalg.solve(inner, np.concatenate([zx, zy[..., None]], axis=-1))
        wx, wy = weighted[..., :-1], weighted[..., -1]
        xvx = self.xx - np.einsum("nqp,nqr->pr", zx, wx)
        xvy = self.xy - np.einsum("nqp,nq->p", zx, wy)
        yvy = self.yy - (zy * wy).sum()
        inverse = np.linalg.inv(xvx)
        estimate = inverse @ xvy
        rest = float(yvy - xvy @ estimate)
        log_size = np.linalg.slogdet(inner)[1].sum() - np.linalg.slogdet(inverse)[1]
        return estimate, inverse, rest, float(log_size)

    def profiled(self, factor: NDArray) -> float:
        """Return -2 log REML at the best residual variance, but for a constant."""
        *_, rest, log_size = self.solve(factor)
        return log_size + self.df * np.log(max(rest, np.finfo(float).tiny))

    def deviance(self, parameters: NDArray) -> float:
        """Return -2 log REML at a factor and a residual standard deviation."""
        *_, rest, log_size = self.solve(parameters[:-1])
        variance = parameters[-1] ** 2
        return log_size + self.df * np.log(variance) + rest / variance


def _gradient(function: Callable[[NDArray], NDArray], at: NDArray) -> NDArray:
    """Return central differences, the parameters along the last axis."""
    steps = STEP * np.maximum(np.abs(at), 1)
    sides = [
        (function(at + step) - function(at - step)) / (2 * size)
        for step, size in zip(np.diag(steps), steps, strict=True)
    ]
    return np.stack(sides, axis=-1)


def _hessian(function: Callable[[NDArray], float], at: NDArray) -> NDArray:
    """Return central differences of central differences, made symmetric."""
    slopes = _gradient(
        lambda here: _gradient(lambda x: np.array(function(x)), here), at
    )
    return (slopes + slopes.T) / 2


def _slopes(x: NDArray, y: NDArray) -> NDArray:
    """Return least-squares slopes at a free constant; nan where they are not defined."""
    x, y = x - x.mean(axis=0), y - y.mean()
    size = np.linalg.norm(x, axis=0)
    undone = (
        len(y) <= x.shape[1] + 1
        or (size == 0).any()
        or np.linalg.matrix_rank(x / size, tol=1e-7) < x.shape[1]
    )
    if undone:
        return np.full(x.shape[1], np.nan)
    return np.linalg.lstsq(x, y, rcond=None)[0]


def _dummies(condition: pd.Series) -> NDArray:
    return pd.get_dummies(condition, drop_first=True, dtype=float).to_numpy()


def _each(
    trials: pd.DataFrame, compute: Callable[[NDArray], NDArray], what: str
) -> NDArray:
    """Compute person by person, or name those whose trials do not allow it."""
    places = trials.reset_index(drop=True).groupby("subject", sort=False).indices
    found = {subject: compute(own) for subject, own in places.items()}
    undone = [name for name, value in found.items() if not np.isfinite(value).all()]
    if undone:
        raise StudyError(
            f"{len(undone)} of {len(found)} people do not have enough {what}: "
            f"{', '.join(f'sub-{name}' for name in undone)}. Exclude them from the table of "
            "trials, with the reason, or ask this of condition means instead (Q3)."
        )
    return np.array(list(found.values()))


def _require_trials(
    trials: pd.DataFrame, values: list[str], needs_condition: bool
) -> pd.DataFrame:
    """Return the table of trials if every value that is needed is there."""
    needed = ["subject", *values, *(["condition"] if needs_condition else [])]
    absent = [name for name in needed if name not in trials]
    if absent:
        raise StudyError(
            f"the table of trials has no column {', '.join(absent)}; it has "
            f"{', '.join(map(str, trials.columns))}. One row per trial is needed."
        )
    numbers = trials[values].to_numpy(dtype=float)
    missing = trials[needed].isna().any(axis=1) | ~np.isfinite(numbers).all(axis=1)
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
