"""Tracking (Q3) and coupling (Q4): do people with more of it report more relief?"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from handhold.bayes import correlation_bf10
from handhold.correlation import (
    bca_interval,
    leave_one_out_range,
    pearson,
    skipped,
    spearman,
)
from handhold.estimate import detectable_r
from handhold.permutation import permute_correlations

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
    "bf10",
    "loo_low",
    "loo_high",
    "detectable_r",
]


def assess_tracking(
    attenuation: pd.DataFrame, relief: pd.DataFrame, tests: dict, verdicts: dict, rng
) -> pd.DataFrame:
    """Correlate attenuation with relief over subjects, ROI by ROI (Q3).

    Parameters
    ----------
    attenuation : DataFrame
        Columns subject, definition, region, hemisphere, role, contrast, attenuation.
    relief : DataFrame
        Columns subject, contrast, relief; positive: holding helped.
    tests, verdicts : dict
        Those sections of the configuration.
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        One row per definition, role, region and contrast that has ratings. `p_fwe` is over
        the regions of one definition, role and contrast.
    """
    keys = ["definition", "role", "contrast"]
    pieces = []
    for (*_, contrast), family in attenuation.groupby(keys, sort=False):
        own = relief[relief["contrast"] == contrast].set_index("subject")["relief"]
        if own.empty:
            continue
        wide = family.pivot(
            index="subject",
            columns=["definition", "region", "hemisphere", "role", "contrast"],
            values="attenuation",
        ).loc[own.index]
        rows = correlate_people(wide.to_numpy(), own.to_numpy(), tests, verdicts, rng)
        pieces.append(wide.columns.to_frame(index=False).join(rows))
    return pd.concat(pieces, ignore_index=True).assign(question="Q3")


def assess_coupling(
    coupling: pd.DataFrame, relief: pd.DataFrame, tests: dict, verdicts: dict, rng
) -> pd.DataFrame:
    """Correlate each person's coupling (Fisher z with the receptor map) with relief (Q4).

    `coupling` has columns subject, contrast, receptor and fisher_z; returns one row per
    contrast that has ratings.
    """
    pieces = []
    for contrast, own in coupling.groupby("contrast", sort=False):
        paired = own.merge(relief, on=["subject", "contrast"])
        if paired.empty:
            continue
        z, felt = paired[["fisher_z"]].to_numpy(), paired["relief"].to_numpy()
        rows = correlate_people(z, felt, tests, verdicts, rng)
        pieces.append(rows.assign(contrast=contrast, receptor=own["receptor"].iloc[0]))
    return pd.concat(pieces, ignore_index=True).assign(question="Q4")


def correlate_people(
    measures: NDArray, relief: NDArray, tests: dict, verdicts: dict, rng
) -> pd.DataFrame:
    """Correlate each column of `measures` (n_subjects, n_tests; NaN = missing) with relief.

    Returns one row per column: n, effect (Pearson r), low, high (BCa), spearman, skipped,
    n_outliers, p and p_fwe (permutation, max-|r| over the columns), p_spearman, bf10,
    loo_low, loo_high (leave-one-out range), detectable_r, n_permutations, exact.
    """
    permuted = permute_correlations(measures, relief, tests["n_permutations"], rng)
    ranks = rankdata(measures, axis=0, nan_policy="omit")
    by_rank = permute_correlations(
        ranks, rankdata(relief), tests["n_permutations"], rng
    )
    rows = [
        _row(column, relief, r, tests, verdicts, rng)
        for column, r in zip(measures.T, permuted.r, strict=True)
    ]
    return pd.DataFrame(rows, columns=NUMBERS).assign(
        p=permuted.p,
        p_fwe=permuted.p_fwe,
        p_spearman=by_rank.p,
        n_permutations=permuted.n_permutations,
        exact=permuted.exact,
    )


def _row(
    column: NDArray, relief: NDArray, r: float, tests: dict, verdicts: dict, rng
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
    return {
        "n": n,
        "effect": r,
        "low": low,
        "high": high,
        "spearman": spearman(x, y),
        "skipped": robust.r,
        "n_outliers": robust.n_outliers,
        "bf10": correlation_bf10(r, n, kappa=tests["bayes_kappa"]),
        "loo_low": loo_low,
        "loo_high": loo_high,
        "detectable_r": detectable_r(
            n, power=verdicts["power"], alpha=verdicts["alpha"]
        ),
    }
