"""How reliable a difference score is, and the largest correlation that this allows.

A correlation of two measures cannot exceed, in the long run, the root of the product of their
reliabilities: with .5 and .6 not even a perfect bond shows more than .55. A difference between
two conditions is less reliable than either, so that this has to stand beside every r.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy
from numpy.typing import NDArray

from handhold.attenuation import attenuate_repeats
from handhold.coverage import gate
from handhold.ratings import relief

# Fewer people give an interval that says nothing.
MINIMUM_SUBJECTS = 6
REGION = ["definition", "region", "hemisphere", "role"]
COLUMNS = ["n", "n_repeats", "icc", "reliability", "low", "high"]


@dataclass(frozen=True)
class Reliability:
    """How much of the variance between people is theirs and not the occasion's.

    `icc` is of a single repeat, `reliability` of the mean over all `n_repeats`, with the
    interval `low` to `high`. Both can be below zero, where people differ less than their
    repeats do: then nothing reliable was measured.
    """

    n: int
    n_repeats: int
    icc: float
    reliability: float
    low: float
    high: float


def consistency(repeats: NDArray, level: float) -> Reliability:
    """Estimate the reliability of a measure from its repeats.

    Parameters
    ----------
    repeats : array, shape (n_subjects, n_repeats)
        The same measure several times in each person, in any unit; people with a
        missing value (NaN) are left out and `n` counts the others.
    level : float
        Level of the interval, between 0 and 1.

    Returns
    -------
    Reliability
        All nan with fewer than six people or two repeats, or without any spread.

    Raises
    ------
    ValueError
        If `repeats` is not two-dimensional, holds an infinite value, or `level` is not
        between 0 and 1.

    Notes
    -----
    ICC(3,1) and ICC(3,k) of [1]_, consistency with fixed repeats: a mean that drifts over
    the runs is the same for all and does not count. ICC(3,k) is Cronbach's alpha and, with
    two repeats, the split-half correlation with its correction for length, but for unequal
    variances. The interval is exact for normal values.

    References
    ----------
    .. [1] Shrout & Fleiss (1979), Psychol. Bull. 86(2), 420-428.

    Examples
    --------
    >>> ratings = np.array(
    ...     [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    ... )
    >>> found = consistency(ratings, 0.95)
    >>> f"{found.icc:.2f}, {found.reliability:.2f}"
    '0.71, 0.91'
    """
    repeats = np.asarray(repeats, dtype=float)
    if repeats.ndim != 2 or np.isinf(repeats).any():
        raise ValueError(
            f"expected finite subjects x repeats; got shape {repeats.shape} with "
            f"{np.isinf(repeats).sum()} infinite values"
        )
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must be between 0 and 1")
    repeats = repeats[~np.isnan(repeats).any(axis=1)]
    n, k = repeats.shape
    if n < MINIMUM_SUBJECTS or k < 2:
        return Reliability(n, k, *[np.nan] * 4)
    centred = repeats - repeats.mean(axis=0)
    people = centred.mean(axis=1)
    between = k * (people**2).sum() / (n - 1)
    df = (n - 1) * (k - 1)
    within = ((centred - people[:, np.newaxis]) ** 2).sum() / df
    if between <= 0:
        return Reliability(n, k, *[np.nan] * 4)
    share = within / between
    tail = (1 - level) / 2
    return Reliability(
        n,
        k,
        icc=float((1 - share) / (1 + (k - 1) * share)),
        reliability=float(1 - share),
        low=float(1 - share * scipy.stats.f.isf(tail, n - 1, df)),
        high=float(1 - share * scipy.stats.f.ppf(tail, n - 1, df)),
    )


def ceiling(*reliabilities: float) -> float:
    """Return the largest correlation that can be expected of measures this reliable.

    Parameters
    ----------
    *reliabilities : float
        Of each measure; nan where it is not known. Below zero counts as zero.

    Returns
    -------
    float
        Root of the product over those that are known, hence an upper bound where one is
        not; nan where none is.

    References
    ----------
    .. [1] Spearman (1904), Am. J. Psychol. 15(1), 72-101.

    Examples
    --------
    >>> f"{ceiling(0.5, 0.72):.2f}, {ceiling(0.5, np.nan):.2f}"
    '0.60, 0.71'
    """
    known = [np.clip(value, 0, 1) for value in reliabilities if not np.isnan(value)]
    return float(np.sqrt(np.prod(known))) if known else np.nan


def disattenuate(r: float, *reliabilities: float) -> float:
    """Return the correlation of the measures without their error (Spearman 1904).

    `r` over the ceiling; beyond 1 where the sample's r exceeds it, nan where a
    reliability is not known or not above zero.

    Examples
    --------
    >>> f"{disattenuate(0.3, 0.5, 0.72):.2f}"
    '0.50'
    """
    if not all(value > 0 for value in reliabilities):
        return np.nan
    return r / ceiling(*reliabilities)


def name_rois(table: pd.DataFrame, definitions: pd.DataFrame) -> pd.DataFrame:
    """Replace region (definition/region) by the columns that name a ROI."""
    names = table["region"].str.split("/", n=1, expand=True)
    table = table.assign(definition=names[0], region=names[1])
    return table.merge(definitions[REGION].dropna(), on=REGION[:2])


def repeat_attenuation(
    effects: pd.DataFrame,
    definitions: pd.DataFrame,
    contrasts: list[dict],
    basis: str,
    min_coverage: float,
) -> pd.DataFrame:
    """Attenuate as often as `basis` allows: images (regions/rois.tsv), runs or trials.

    `min_coverage` gates runs; images and trials are gated already.
    """
    if basis == "runs":
        return repeat_runs(gate(effects, min_coverage), definitions, contrasts)
    if basis == "trials":
        return halve_trials(effects, definitions, contrasts)
    return attenuate_repeats(effects, contrasts, REGION)


def repeat_runs(
    effects: pd.DataFrame, definitions: pd.DataFrame, contrasts: list[dict]
) -> pd.DataFrame:
    """Attenuate the runs by themselves (`trials.estimate_runs`, with column excluded)."""
    own = name_rois(effects, definitions)
    order = own["session"].fillna("") + "/" + own["run"].fillna("")
    own = own.assign(run=order, contrast=None)
    return attenuate_repeats(own, contrasts, REGION)


def halve_trials(
    trials: pd.DataFrame, definitions: pd.DataFrame, contrasts: list[dict]
) -> pd.DataFrame:
    """Attenuate the odd and the even trials of each cell by themselves.

    `trials` are those of `trials.estimate_trials`, with column excluded; trials without an
    estimate are passed over. Halves of one run share its noise, so that their reliability is
    that within an occasion, and too high for one over occasions.
    """
    own = name_rois(_alternate(trials.dropna(subset=["effect"])), definitions)
    keys = ["subject", *REGION, "condition", "cue", "half"]
    halves = own.groupby(keys, sort=False).agg(
        effect=("effect", "mean"), excluded=("excluded", "any")
    )
    halves = halves.reset_index().rename(columns={"half": "run"})
    halves = halves.assign(contrast=None, variance=np.nan)
    return attenuate_repeats(halves, contrasts, REGION)


def halve_ratings(
    trials: pd.DataFrame, contrasts: list[dict], *, cue: str, higher_is: str
) -> pd.DataFrame:
    """Return relief by the odd and by the even rated trials: subject, contrast, repeat, relief.

    `trials` as for `halve_trials`, `cue` and `higher_is` as in the section `ratings`.
    """
    one = trials[trials["region"] == trials["region"].iloc[0]]
    one = one if cue == "both" else one[one["cue"] == cue]
    own = _alternate(one.dropna(subset=["rating"]))
    wide = (
        own.groupby(["subject", "half", "condition"], sort=False)["rating"]
        .mean()
        .unstack("condition")
    )
    pieces = [
        relief(wide[contrast["baseline"]], wide[contrast["held"]], higher_is)
        .rename("relief")
        .reset_index()
        .rename(columns={"half": "repeat"})
        .assign(contrast=contrast["name"])
        for contrast in contrasts
    ]
    return pd.concat(pieces, ignore_index=True)


def _alternate(trials: pd.DataFrame) -> pd.DataFrame:
    """Deal the trials of each person, region and cell to halves 1, 2, 1, 2, ... in their order."""
    ordered = trials.sort_values(["session", "run", "onset"], kind="stable")
    cells = ordered.groupby(["subject", "region", "condition", "cue"])
    return ordered.assign(half=cells.cumcount() % 2 + 1)


def assess_reliability(
    attenuation: pd.DataFrame,
    relief: pd.DataFrame | None,
    level: float,
    basis: dict[str, str] | None = None,
) -> pd.DataFrame:
    """Estimate the reliability of attenuation, ROI by ROI, and of relief.

    Parameters
    ----------
    attenuation : DataFrame
        Columns subject, definition, region, hemisphere, role, contrast, repeat and
        attenuation.
    relief : DataFrame or None
        Columns subject, contrast, repeat and relief; None in a study without ratings.
    level : float
        Level of the intervals.
    basis : dict of str to str, optional
        What the repeats of each measure are: images, runs, trials (odd and even) or ratings.

    Returns
    -------
    DataFrame
        One row per ROI and contrast, measure attenuation, then one per contrast, measure
        relief: basis, n, n_repeats, icc, reliability, low, high, which are missing where
        nothing was repeated.
    """
    pieces = [_of_groups(attenuation, "attenuation", [*REGION, "contrast"], level)]
    if relief is not None:
        pieces.append(_of_groups(relief, "relief", ["contrast"], level))
    table = pd.concat(pieces, ignore_index=True)
    given = table["measure"].map(basis or {})
    table = table.assign(basis=given.where(table["n_repeats"] > 1))
    return table[["measure", *REGION, "contrast", "basis", *COLUMNS]]


def _of_groups(
    table: pd.DataFrame, measure: str, keys: list[str], level: float
) -> pd.DataFrame:
    rows = []
    for names, own in table.groupby(keys, sort=False):
        wide = own.pivot(index="subject", columns="repeat", values=measure)
        found = consistency(wide.to_numpy(), level)
        rows.append({**dict(zip(keys, names, strict=True)), **vars(found)})
    return (
        pd.DataFrame(rows)
        .reindex(columns=[*REGION, "contrast", *COLUMNS])
        .assign(measure=measure)
    )
