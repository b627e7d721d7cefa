"""Rates of rejection with their Monte Carlo intervals, and the number of people needed."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv

from handhold.verdicts import AGAINST, INCONCLUSIVE, SUPPORTED

# What a rejection (or a verdict) is, given what is true in its world.
ERROR, RIGHT, CONFOUNDED, NEITHER = "error", "right", "confounded", "neither"
# The worlds in which the hypothesis of a question is true.
TRUE_IN = {
    "Q1": {"elsewhere", "follows", "axis", "baselines"},
    "Q2": {"follows"},
    "Q3": {"follows"},
    "Q4": {"follows"},
    "Q5": {"follows"},
}
# Rejections by these are what a question is judged by; the others stand beside them.
DECIDING = {
    ("Q1", "family-wise p in any ROI"),
    ("Q2", "both nulls"),
    ("Q3", "family-wise p in any ROI"),
    ("Q4", "permutation p"),
    *((question, SUPPORTED) for question in TRUE_IN),
}
# What rejects in the hypothesised direction alone: its tests are two-sided at alpha, so that
# half of alpha is what it may err by.
ONE_SIDED = {SUPPORTED, "target ahead of every map"}


def meaning_of(
    world: str, question: str, test: str, planted: float, smallest_r: float
) -> str:
    """Say what it means that a test rejects, or a verdict is given, in a world.

    Parameters
    ----------
    world, question, test : str
        As in calibration.tsv.
    planted : float
        What is true of the question in this world, 0 if nothing (`calibrate.planted_in`).
    smallest_r : float
        Smallest correlation of interest: where the axis goes with the receptor map more than
        that, rejections of Q2 in the world `axis` are `confounded`. Attenuation does
        correspond with the map there, but not because of the receptor.

    Returns
    -------
    str
        error, right, confounded, or neither (inconclusive is no claim).

    Examples
    --------
    >>> meaning_of("elsewhere", "Q1", "supported", 0.5, 0.1)
    'right'
    >>> meaning_of("elsewhere", "Q2", "supported", 0.0, 0.1)
    'error'
    >>> meaning_of("axis", "Q2", "supported", 0.6, 0.1)
    'confounded'
    """
    if test == INCONCLUSIVE:
        return NEITHER
    about_map = question == "Q2" or (question, test) == ("Q5", "target, family-wise p")
    if world == "axis" and about_map and abs(planted) >= smallest_r:
        return NEITHER if test == AGAINST else CONFOUNDED
    is_true = world in TRUE_IN[question] and planted != 0
    return RIGHT if is_true != (test == AGAINST) else ERROR


def rate(
    counts: pd.DataFrame, *, level: float, alpha: float, smallest_r: float
) -> pd.DataFrame:
    """Turn counts of rejections into rates, and say which of them are errors.

    Parameters
    ----------
    counts : DataFrame
        Tables of `calibrate.count_rejections`, below each other; batches of one world and
        number of people are added up.
    level : float
        Level of the intervals.
    alpha : float
        Level of the tests.
    smallest_r : float
        As for `meaning_of`.

    Returns
    -------
    DataFrame
        One row per world, n_subjects, question and test: n_replicates, n_rejected, rate, low,
        high (Clopper and Pearson), planted, meaning, is_error, decides, and holds: whether the
        rate of an error is at most its nominal one and two Monte Carlo standard errors (yes or
        no; missing where rejecting is no error). Nominal is alpha of a p, and half of alpha of
        what is one-sided, the verdict supported among it.

    Notes
    -----
    A p is two-sided wherever it is counted, so that where the hypothesis is true the rate of a
    test holds rejections of the wrong sign, too: of a normal statistic 5 in 1,000 cohorts at a
    rate of .1, and fewer than 1 in 10,000 from .5 on. `supported`, by which power is told and
    people needed are found, is of the right sign alone.
    """
    keys = ["world", "n_subjects", "question", "test", "planted"]
    table = counts.groupby(keys, sort=False, as_index=False)[
        ["n_replicates", "n_rejected"]
    ].sum()
    n, k = table["n_replicates"], table["n_rejected"]
    low, high = binomial_interval(k, n, level)
    meaning = [
        meaning_of(row.world, row.question, row.test, row.planted, smallest_r)
        for row in table.itertuples()
    ]
    table = table.assign(rate=k / n, low=low, high=high, meaning=meaning)
    table["is_error"] = table["meaning"] == ERROR
    table["decides"] = [
        pair in DECIDING for pair in zip(table["question"], table["test"], strict=True)
    ]
    nominal = np.where(table["test"].isin(ONE_SIDED), alpha / 2, alpha)
    limit = nominal + 2 * np.sqrt(nominal * (1 - nominal) / n)
    held = np.where(table["rate"] <= limit, "yes", "no")
    return table.assign(holds=np.where(table["is_error"], held, None))


def binomial_interval(
    k: ArrayLike, n: ArrayLike, level: float
) -> tuple[NDArray, NDArray]:
    """Return the interval of a proportion after Clopper and Pearson (1934).

    Parameters
    ----------
    k, n : int or array
        Successes among trials.
    level : float
        Level of the interval, which holds the true proportion at least that often.

    Examples
    --------
    >>> low, high = binomial_interval(5, 100, 0.95)
    >>> f"{low:.4f} to {high:.4f}"
    '0.0164 to 0.1128'
    """
    k, n = np.asarray(k, float), np.asarray(n, float)
    tail = (1 - level) / 2
    low = np.where(k > 0, betaincinv(np.maximum(k, 1), n - k + 1, tail), 0.0)
    high = np.where(k < n, betaincinv(k + 1, np.maximum(n - k, 1), 1 - tail), 1.0)
    return low, high


def needed_subjects(table: pd.DataFrame, power: float) -> pd.DataFrame:
    """Find how many people each question needs to be supported with this power.

    Parameters
    ----------
    table : DataFrame
        As `rate` returns it, over several numbers of people of the world `follows`.
    power : float
        Such as .8.

    Returns
    -------
    DataFrame
        One row per question: question, planted, power, n_subjects (interpolated between the
        numbers tried), low and high (where the bounds of the rates reach the power) and note,
        which says so in words where it is beyond the numbers that were tried.
    """
    chosen = table[
        (table["world"] == "follows")
        & (table["test"] == SUPPORTED)
        & (table["meaning"] == RIGHT)
    ]
    rows = []
    for question, own in chosen.groupby("question", sort=False):
        own = own.sort_values("n_subjects")
        n, weight = own["n_subjects"].to_numpy(float), own["n_replicates"].to_numpy()
        found = {
            name: reach(n, rising(own[curve].to_numpy(), weight), power)
            for name, curve in (
                ("n_subjects", "rate"),
                ("low", "high"),
                ("high", "low"),
            )
        }
        rows.append(
            {
                "question": question,
                "planted": own["planted"].iloc[0],
                "power": power,
                **found,
                "note": _in_words(found["n_subjects"], n),
            }
        )
    columns = ["question", "planted", "power", "n_subjects", "low", "high", "note"]
    return pd.DataFrame(rows, columns=columns)


def rising(curve: ArrayLike, weight: ArrayLike) -> NDArray:
    """Make a curve rise, by pooling neighbours that fall (isotonic least squares).

    Examples
    --------
    >>> print(rising([0.1, 0.5, 0.3, 0.9], [1, 1, 1, 1]))
    [0.1 0.4 0.4 0.9]
    """
    blocks: list[list[float]] = []
    for value, of_value in zip(curve, weight, strict=True):
        blocks.append([float(value), float(of_value), 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            last, before = blocks.pop(), blocks.pop()
            total = last[1] + before[1]
            mean = (last[0] * last[1] + before[0] * before[1]) / total
            blocks.append([mean, total, last[2] + before[2]])
    return np.repeat(
        [block[0] for block in blocks], [int(block[2]) for block in blocks]
    )


def reach(n: NDArray, curve: NDArray, power: float) -> float:
    """Return where a rising curve over `n` first reaches a power, between its points.

    nan where it does not; the first of `n` where it is there already.

    Examples
    --------
    >>> n, curve = np.array([10.0, 20, 30]), np.array([0.2, 0.6, 1.0])
    >>> reach(n, curve, 0.8), reach(n, curve, 0.1), reach(n, curve[:2], 0.8)
    (25.0, 10.0, nan)
    """
    there = np.flatnonzero(curve >= power)
    if not there.size:
        return float("nan")
    i = there[0]
    if i == 0:
        return float(n[0])
    share = (power - curve[i - 1]) / (curve[i] - curve[i - 1])
    return float(n[i - 1] + share * (n[i] - n[i - 1]))


def _in_words(needed: float, n: NDArray) -> str:
    if np.isnan(needed):
        return f"more than {n[-1]:.0f}"
    return f"{n[0]:.0f} or fewer" if needed <= n[0] else f"{np.ceil(needed):.0f}"
