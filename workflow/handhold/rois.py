"""Correspondence over the hypothesised ROIs alone: a description, no test.

Four ROIs have 24 orderings, so that the smallest one-sided p is 1 / 24 = .042, and they were
chosen because they bind: nothing here can support a verdict.
"""

from itertools import permutations
from math import factorial

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from handhold.correspondence import within_r
from handhold.permutation import TIE

# A correlation of two points is 1 or -1 whatever they are.
MIN_ROIS = 3


def order_p(
    first: ArrayLike,
    second: ArrayLike,
    ranked: bool,
    n_permutations: int,
    rng: np.random.Generator,
) -> tuple[float, float, int, bool]:
    """Correlate two short series, with the one-sided p of a positive r over their orderings.

    Parameters
    ----------
    first, second : array, shape (n_rois,)
    ranked : bool
        Spearman instead of Pearson.
    n_permutations : int
        Random orderings; all of them where there are no more.
    rng : numpy.random.Generator
        Source of the orderings; not used when all are taken.

    Returns
    -------
    r, p : float
    n : int
        Orderings, the observed one among them where all are taken.
    exact : bool
        Whether all were.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> r, p, n, exact = order_p([1, 2, 3, 4], [1, 2, 4, 9], True, 999, rng)
    >>> print(round(r, 3), round(p * 24), n, exact)
    1.0 1 24 True
    """
    first, second = np.asarray(first, float), np.asarray(second, float)
    one = np.full(first.size, "roi")
    exact = factorial(first.size) <= n_permutations
    if exact:
        orders = np.array([*permutations(first)])
    else:
        orders = rng.permuted(np.tile(first, (n_permutations, 1)), axis=1)
    r = float(within_r(first, second, one, ranked))
    as_large = int((within_r(orders, second, one, ranked) >= r - TIE).sum())
    extra = 0 if exact else 1
    return r, (as_large + extra) / (len(orders) + extra), len(orders), exact


def assess_rois(
    attenuation: pd.DataFrame,
    receptors: pd.DataFrame,
    *,
    target: str,
    n_permutations: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Correlate mean attenuation with mean binding over the hypothesised ROIs of a definition.

    Parameters
    ----------
    attenuation : DataFrame
        Columns subject, definition, region, role, contrast, attenuation.
    receptors : DataFrame
        Columns receptor, definition, region, binding.
    target : str
        The receptor map.
    n_permutations : int
        As for `order_p`.
    rng : numpy.random.Generator
        Source of orderings.

    Returns
    -------
    DataFrame
        One row per contrast, definition and method, with the columns of
        tests/correspondence.tsv that there are numbers for; no verdict, and the reason why.
    """
    binding = receptors[receptors["receptor"] == target]
    own = attenuation[attenuation["role"] == "hypothesised"]
    means = (
        own.groupby(["contrast", "definition", "region"], sort=False)["attenuation"]
        .agg(["mean", "count"])
        .reset_index()
        .merge(
            binding[["definition", "region", "binding"]],
            on=["definition", "region"],
            how="left",
        )
    )
    rows = []
    for (contrast, definition), family in means.groupby(
        ["contrast", "definition"], sort=False
    ):
        known = family.dropna(subset=["mean", "binding"])
        for method in ("spearman", "pearson"):
            row = {
                "contrast": contrast,
                "scope": "rois",
                "definition": definition,
                "method": method,
                "n": int(known["count"].max()) if len(known) else 0,
                "n_parcels": len(known),
            }
            rows.append(row | _judge(known, family, method, n_permutations, rng))
    return pd.DataFrame(rows)


def _judge(
    known: pd.DataFrame,
    family: pd.DataFrame,
    method: str,
    n_permutations: int,
    rng: np.random.Generator,
) -> dict:
    lost = sorted(set(family["region"]) - set(known["region"]))
    without = f"; without {', '.join(lost)} (no binding or no attenuation)" * bool(lost)
    sides = known[["mean", "binding"]].to_numpy().T
    if len(known) < MIN_ROIS or (np.ptp(sides, axis=1) == 0).any():
        return {"reason": f"not run: {len(known)} ROIs that differ{without}"}
    r, p, n, exact = order_p(*sides, method == "spearman", n_permutations, rng)
    bound = f"1/{n}" if exact else f"1/{n + 1}"
    reason = f"descriptive: one-sided p over {n} orderings of {len(known)} ROIs, {bound} at best"
    return {"effect": r, "p": p, "reason": reason + without}
