"""Tracking (Q3) and coupling (Q4): do people with more of it report more relief?"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy
from numpy.typing import NDArray

from handhold.bayes import bf10_range, correlation_bf10
from handhold.correlation import (
    bca_interval,
    leave_one_out_range,
    pearson,
    percentage_bend,
    skipped,
    spearman,
)
from handhold.estimate import detectable_r
from handhold.permutation import permute_correlations, permute_residuals
from handhold.regression import cooks_distances, partial_interval
from handhold.reliability import ceiling, disattenuate
from handhold.verdicts import ADJUSTED, CHANGE

# Skipped correlation and BCa interval need this many points; below it only n is reported.
MIN_SUBJECTS = 6
# The numbers of a test, all of which stand in the table even where no test has any.
NUMBERS = [
    "n",
    "effect",
    "low",
    "high",
    "spearman",
    "skipped",
    "n_outliers",
    "percentage_bend",
    "bf10",
    "bf10_low",
    "bf10_high",
    "max_cook",
    "most_influential",
    "loo_low",
    "loo_high",
    "detectable_r",
]
PARTIAL = ["partial_r", "partial_low", "partial_high", "bf10_partial"]
PARTIAL += ["bf10_partial_low", "bf10_partial_high"]
REGION = ["definition", "region", "hemisphere", "role", "contrast"]


def assess_tracking(
    attenuation: pd.DataFrame,
    relief: pd.DataFrame,
    tests: dict,
    verdicts: dict,
    rng: np.random.Generator,
    reliability: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Ask of each ROI whether people with more attenuation report more relief (Q3).

    Parameters
    ----------
    attenuation : DataFrame
        Columns subject, definition, region, hemisphere, role, contrast, attenuation and,
        where the cells are known, response_baseline.
    relief : DataFrame
        Columns subject, contrast, relief (positive: holding helped) and, where the ratings
        of each condition are known, baseline.
    tests, verdicts : dict
        Those sections of the configuration.
    rng : numpy.random.Generator
    reliability : DataFrame, optional
        Table of `reliability.assess_reliability`; without it no ceiling is known.

    Returns
    -------
    DataFrame
        One row per definition, role, region and contrast that has ratings. `p_fwe` and
        `p_partial_fwe` are over the regions of one definition, role and contrast. `model`
        names what decides: baseline-adjusted where both baselines are known, else change.

    Notes
    -----
    A change score is bound to its own baseline: who responds strongly alone can be calmed
    far, who feels worst alone can be relieved far, and a bond between the two baselines alone
    makes the changes correlate. The baseline-adjusted model regresses the held score on
    attenuation with the alone score and the alone response as covariates [1]_, permuted as
    Freedman and Lane do. It is fitted to relief = alone - held: the alone score being a
    covariate, the coefficient of attenuation is the same turned round, so that
    positive means more relief, and every residual and p is the same.

    References
    ----------
    .. [1] Vickers & Altman (2001), BMJ 323, 1123-1124.
    """
    keys = ["definition", "role", "contrast"]
    pieces = []
    for (*_, contrast), family in attenuation.groupby(keys, sort=False):
        own = relief[relief["contrast"] == contrast].set_index("subject")
        if own.empty:
            continue
        wide = _by_person(family, "attenuation", own.index)
        felt = own["relief"].to_numpy()
        # Draws of its own: the numbers of the change scores do not depend on baselines.
        adjusting = rng.spawn(1)[0]
        covariates = _baselines(family, own)
        rows = correlate_people(
            wide.to_numpy(),
            felt,
            tests,
            verdicts,
            rng,
            list(own.index),
            n_held=0 if covariates is None else covariates.shape[1],
        )
        if covariates is None:
            adjusted = pd.DataFrame(columns=[*PARTIAL, "p_partial", "p_partial_fwe"])
        else:
            adjusted = correlate_at_equal_baselines(
                wide.to_numpy(), felt, covariates, tests, adjusting
            )
        pieces.append(
            wide.columns.to_frame(index=False)
            .join(rows)
            .join(adjusted.astype(float))
            .assign(model=CHANGE if covariates is None else ADJUSTED)
        )
    found = pd.concat(pieces, ignore_index=True).assign(question="Q3")
    return _with_ceiling(found, reliability)


def assess_coupling(
    coupling: pd.DataFrame,
    relief: pd.DataFrame,
    tests: dict,
    verdicts: dict,
    rng: np.random.Generator,
    reliability: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Correlate each person's coupling (Fisher z with the receptor map) with relief (Q4).

    Parameters
    ----------
    coupling : DataFrame
        Columns subject, contrast, receptor, fisher_z and, where the cells are known,
        fisher_z_baseline (coupling of the response alone).
    relief, tests, verdicts, rng
        As `assess_tracking`.
    reliability : DataFrame, optional
        As `assess_tracking`. That of coupling itself is not known: halves of the parcels are
        no repeats of the occasion. The ceiling is that of relief alone.

    Returns
    -------
    DataFrame
        One row per contrast that has ratings; `model` as in `assess_tracking`.

    Notes
    -----
    Attenuation is taken from the response alone, so that its coupling is bound to that of the
    response alone as a change is to its baseline; relief is bound to the alone score. A bond
    between these two alone makes coupling and relief correlate, hence the same
    baseline-adjusted model as in Q3, with the coupling of the response alone and the alone
    score as covariates.
    """
    pieces = []
    for contrast, own in coupling.groupby("contrast", sort=False):
        paired = own.merge(relief, on=["subject", "contrast"])
        if paired.empty:
            continue
        z, felt = paired[["fisher_z"]].to_numpy(), paired["relief"].to_numpy()
        # Draws of its own: the numbers of the change scores do not depend on baselines.
        adjusting = rng.spawn(1)[0]
        known = paired.reindex(columns=["baseline", "fisher_z_baseline"]).astype(float)
        bare = known["baseline"].isna().any() or known["fisher_z_baseline"].isna().all()
        people, n_held = list(paired["subject"]), 0 if bare else known.shape[1]
        rows = correlate_people(z, felt, tests, verdicts, rng, people, n_held=n_held)
        if bare:
            adjusted = pd.DataFrame(columns=[*PARTIAL, "p_partial", "p_partial_fwe"])
        else:
            covariates = known.to_numpy()[..., np.newaxis]
            adjusted = correlate_at_equal_baselines(
                z, felt, covariates, tests, adjusting
            )
        pieces.append(
            rows.join(adjusted.astype(float)).assign(
                contrast=contrast,
                receptor=own["receptor"].iloc[0],
                model=CHANGE if bare else ADJUSTED,
            )
        )
    found = pd.concat(pieces, ignore_index=True).assign(question="Q4")
    return _with_ceiling(found, reliability)


def correlate_people(
    measures: NDArray,
    relief: NDArray,
    tests: dict,
    verdicts: dict,
    rng: np.random.Generator,
    people: Sequence[str] | None = None,
    *,
    n_held: int = 0,
) -> pd.DataFrame:
    """Correlate each column of `measures` (n_subjects, n_tests; NaN = missing) with relief.

    Returns one row per column: n, effect (Pearson r), low, high (BCa), spearman, skipped,
    n_outliers, percentage_bend, p and p_fwe (permutation, max-|r| over the columns),
    p_spearman, bf10 with its range over prior widths, the largest of Cook's distances and
    whose it is (of `people`, by default their number), loo_low, loo_high (leave-one-out
    range), detectable_r (with `n_held` covariates held constant), n_permutations, exact.
    """
    people = np.arange(len(relief)).astype(str) if people is None else np.array(people)
    permuted = permute_correlations(measures, relief, tests["n_permutations"], rng)
    ranks = scipy.stats.rankdata(measures, axis=0, nan_policy="omit")
    by_rank = permute_correlations(
        ranks, scipy.stats.rankdata(relief), tests["n_permutations"], rng
    )
    rows = [
        _row(column, relief, r, people, tests, verdicts, rng, n_held)
        for column, r in zip(measures.T, permuted.r, strict=True)
    ]
    return pd.DataFrame(rows, columns=NUMBERS).assign(
        p=permuted.p,
        p_fwe=permuted.p_fwe,
        p_spearman=by_rank.p,
        n_permutations=permuted.n_permutations,
        exact=permuted.exact,
    )


def correlate_at_equal_baselines(
    measures: NDArray,
    relief: NDArray,
    covariates: NDArray,
    tests: dict,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Correlate each column of `measures` with relief, covariates held constant.

    `covariates` is (n_subjects, n_covariates, n_tests). Returns one row per column:
    partial_r, partial_low and partial_high (BCa), p_partial and p_partial_fwe (Freedman and
    Lane, max-|t| over the columns), bf10_partial (of r in as many people fewer as there are
    covariates, which is its distribution) and its range over prior widths.
    """
    permuted = permute_residuals(
        measures, relief, covariates, tests["n_permutations"], rng
    )
    rows = []
    for test, r in enumerate(permuted.r):
        own = covariates[..., test]
        present = np.isfinite(measures[:, test]) & np.isfinite(own).all(axis=1)
        n = int(present.sum())
        if n < MIN_SUBJECTS or np.isnan(r):
            rows.append({})
            continue
        low, high = partial_interval(
            measures[present, test],
            relief[present],
            own[present],
            n_bootstrap=tests["n_bootstrap"],
            level=tests["level"],
            rng=rng,
        )
        left = n - own.shape[1]
        bf10 = bf10_range(correlation_bf10, r, left, tests["sensitivity_kappas"])
        headline = correlation_bf10(r, left, kappa=tests["bayes_kappa"])
        rows.append(dict(zip(PARTIAL, (r, low, high, headline, *bf10), strict=True)))
    return pd.DataFrame(rows, columns=PARTIAL).assign(
        p_partial=permuted.p, p_partial_fwe=permuted.p_fwe
    )


def _by_person(family: pd.DataFrame, values: str, people: pd.Index) -> pd.DataFrame:
    return family.pivot(index="subject", columns=REGION, values=values).loc[people]


def _baselines(family: pd.DataFrame, relief: pd.DataFrame) -> NDArray | None:
    """Return alone score and alone response, (n_subjects, 2, n_tests), if both are known."""
    known = {"response_baseline"} <= {*family} and {"baseline"} <= {*relief}
    if (
        not known
        or relief["baseline"].isna().any()
        or family["response_baseline"].isna().all()
    ):
        return None
    response = _by_person(family, "response_baseline", relief.index).to_numpy()
    score = np.repeat(relief[["baseline"]].to_numpy(), response.shape[1], axis=1)
    return np.stack([score, response], axis=1).astype(float)


def _with_ceiling(
    table: pd.DataFrame, reliability: pd.DataFrame | None
) -> pd.DataFrame:
    """Put beside every r how reliable both measures are, and how large r could be."""
    known: dict[tuple, float] = {}
    if reliability is not None:
        for row in reliability.to_dict("records"):
            region = (
                [row[name] for name in REGION] if row["measure"] != "relief" else []
            )
            known[row["measure"], row["contrast"], *region] = row["reliability"]
    of_attenuation, of_relief = [], []
    for row in table.to_dict("records"):
        region = [row.get(name) for name in REGION]
        of_attenuation.append(
            known.get(("attenuation", row["contrast"], *region), np.nan)
        )
        of_relief.append(known.get(("relief", row["contrast"]), np.nan))
    both = list(zip(of_attenuation, of_relief, strict=True))
    found = table.assign(
        reliability_relief=of_relief, ceiling=[ceiling(*pair) for pair in both]
    )
    if "region" not in table:
        return found
    return found.assign(
        reliability_attenuation=of_attenuation,
        disattenuated=[
            disattenuate(r, *pair)
            for r, pair in zip(table["effect"], both, strict=True)
        ],
    )


def _row(
    column: NDArray,
    relief: NDArray,
    r: float,
    people: NDArray,
    tests: dict,
    verdicts: dict,
    rng: np.random.Generator,
    n_held: int,
) -> dict:
    """Return the numbers of one test; none for few people, or where r is nan (no spread)."""
    present = np.isfinite(column)
    x, y = column[present], relief[present]
    n = len(x)
    if n < MIN_SUBJECTS or np.isnan(r):
        return {"n": n}
    low, high = bca_interval(
        x, y, pearson, n_bootstrap=tests["n_bootstrap"], level=tests["level"], rng=rng
    )
    loo_low, loo_high = leave_one_out_range(x, y)
    robust = skipped(x, y, rng)
    cook = cooks_distances(x, y)
    known = np.isfinite(cook).any()
    bf10_low, bf10_high = bf10_range(
        correlation_bf10, r, n, tests["sensitivity_kappas"]
    )
    return {
        "n": n,
        "effect": r,
        "low": low,
        "high": high,
        "spearman": spearman(x, y),
        "skipped": robust.r,
        "n_outliers": robust.n_outliers,
        "percentage_bend": percentage_bend(x, y),
        "max_cook": np.nanmax(cook) if known else np.nan,
        "most_influential": people[present][np.nanargmax(cook)] if known else None,
        "bf10_low": bf10_low,
        "bf10_high": bf10_high,
        "bf10": correlation_bf10(r, n, kappa=tests["bayes_kappa"]),
        "loo_low": loo_low,
        "loo_high": loo_high,
        "detectable_r": detectable_r(
            n - n_held, power=verdicts["power"], alpha=verdicts["alpha"]
        ),
    }
