"""Attenuation: how much less a region responds to threat when a hand is held.

This module holds the one definition of attenuation and its one sign. Nothing else subtracts
conditions.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from handhold.bayes import bf10_range, ttest_bf10
from handhold.estimate import OneSample, detectable_dz, one_sample
from handhold.permutation import flip_signs

CELL = ["condition", "cue", "contrast"]
RENAMED = {"mean": "effect", "t": "statistic"}
# The numbers of a test, all of which stand in the table even where no test has any.
NUMBERS = [
    *(field.name for field in fields(OneSample) if field.name not in RENAMED),
    *RENAMED.values(),
    "bf10",
    "bf10_low",
    "bf10_high",
    "detectable_dz",
]
# Those of a difference between two ROIs.
DIFFERENCE = ["n", "effect", "low", "high", "sd", "statistic", "df", "p_t", "bf10"]


def attenuation(response_baseline: NDArray, response_held: NDArray) -> NDArray:
    """Return response at baseline (alone) minus response held; positive: holding lowered it."""
    return response_baseline - response_held


def response(effect_threat: NDArray, effect_safe: NDArray) -> NDArray:
    """Return effect of threat minus effect of safe; positive: threat raised the signal."""
    return effect_threat - effect_safe


def attenuate(
    effects: pd.DataFrame, contrasts: list[dict], keys: list[str]
) -> pd.DataFrame:
    """Compute attenuation per subject, region and contrast.

    Parameters
    ----------
    effects : DataFrame
        Long: subject, the columns `keys`, condition, cue, contrast, run, effect, variance and
        excluded (true where coverage was too low: such a cell counts as missing).
    contrasts : list of dict
        The section `contrasts` of the configuration.
    keys : list of str
        Columns that name a region.

    Returns
    -------
    DataFrame
        Columns subject, `keys`, contrast, attenuation (unit of the effects; positive where
        holding lowered the response) and response_baseline (that it was lowered from), one
        row per subject, region and contrast; missing where a cell is, and response_baseline
        where the images hold contrasts.
    """
    cells = combine_runs(effects, ["subject", *keys, *CELL])
    pieces = [
        _attenuation_of(cells, contrast, ["subject", *keys]) for contrast in contrasts
    ]
    order = effects[["subject", *keys]].drop_duplicates()
    return pd.concat(
        [order.merge(piece, on=["subject", *keys], how="left") for piece in pieces],
        ignore_index=True,
    )[["subject", *keys, "contrast", "attenuation", "response_baseline"]]


def attenuate_maps(
    cells: Mapping[str | tuple[str, str], NDArray], contrast: dict
) -> NDArray:
    """Compute the attenuation of one subject from whole images.

    Parameters
    ----------
    cells : mapping to array of any shape
        Effects by (condition, cue), or by the name of a contrast that images hold; NaN where
        not measured.
    contrast : dict
        One of the section `contrasts` of the configuration.

    Returns
    -------
    array
        Attenuation in the unit of the effects; NaN where a cell is.
    """
    if "image" in contrast:
        turned = contrast["direction"] == "held_minus_baseline"
        own = cells[contrast["image"]]
        return attenuation(0.0, own) if turned else own
    baseline, held = (
        response(*(cells[contrast[side], cue] for cue in ("threat", "safe")))
        for side in ("baseline", "held")
    )
    return attenuation(baseline, held)


def attenuate_repeats(
    effects: pd.DataFrame, contrasts: list[dict], keys: list[str]
) -> pd.DataFrame:
    """Compute attenuation as often as the runs allow, for its reliability.

    The runs of each cell are dealt in turn to as many repeats as the cell with the fewest
    runs has; each repeat is attenuated by itself. Takes and returns what `attenuate` does,
    with the column repeat (1, 2, ...); a single repeat where a cell has one run.
    """
    ordered = effects.sort_values("run", kind="stable")
    cells = ordered.groupby(["subject", *keys, *CELL], dropna=False)
    n_repeats, dealt = cells.size().min(), cells.cumcount()
    return pd.concat(
        [
            attenuate(ordered[dealt % n_repeats == i], contrasts, keys).assign(
                repeat=i + 1
            )
            for i in range(n_repeats)
        ],
        ignore_index=True,
    )


def combine_runs(effects: pd.DataFrame, cell: list[str]) -> pd.DataFrame:
    """Combine the runs of each cell: by precision where every run has a variance, else by mean.

    Returns columns `cell` and effect; cells without any usable run are missing.
    """
    usable = effects.assign(
        effect=effects["effect"].where(~effects["excluded"]),
        variance=effects["variance"].where(~effects["excluded"]),
    )
    grouped = usable.groupby(cell, sort=False, dropna=False)
    if not (grouped.size() > 1).any():
        return usable[[*cell, "effect"]]
    by_precision = grouped["variance"].transform(
        lambda variance: (variance > 0).sum()
    ) == grouped["effect"].transform("count")
    weight = (1 / usable["variance"]).where(by_precision, 1.0)
    weight = weight.where(usable["effect"].notna())
    sums = (
        usable.assign(weighted=usable["effect"] * weight, weight=weight)
        .groupby(cell, sort=False, dropna=False)[["weighted", "weight"]]
        .sum(min_count=1)
    )
    return (sums["weighted"] / sums["weight"]).rename("effect").reset_index()


def assess_attenuation(
    table: pd.DataFrame, tests: dict, verdicts: dict, rng
) -> pd.DataFrame:
    """Test attenuation against zero, ROI by ROI (Q1).

    Parameters
    ----------
    table : DataFrame
        Columns subject, definition, region, hemisphere, role, contrast, attenuation.
    tests, verdicts : dict
        Those sections of the configuration.
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        One row per definition, role, region and contrast. `p_fwe` is over the regions and
        contrasts of one definition and role: the hypothesised ROIs are one family.
    """
    pieces = []
    for _, family in table.groupby(["definition", "role"], sort=False):
        wide = family.pivot(
            index="subject",
            columns=["definition", "region", "hemisphere", "role", "contrast"],
            values="attenuation",
        )
        flips = flip_signs(wide.to_numpy(), tests["n_permutations"], rng)
        rows = [
            _row(values.dropna().to_numpy(), t, tests, verdicts)
            for (_, values), t in zip(wide.items(), flips.t, strict=True)
        ]
        pieces.append(
            wide.columns.to_frame(index=False).join(
                pd.DataFrame(rows, columns=NUMBERS).assign(
                    p=flips.p,
                    p_fwe=flips.p_fwe,
                    n_permutations=flips.n_permutations,
                    exact=flips.exact,
                )
            )
        )
    return pd.concat(pieces, ignore_index=True).assign(question="Q1")


def assess_interaction(table: pd.DataFrame, tests: dict, rng) -> pd.DataFrame:
    """Test whether one hypothesised ROI is attenuated more than another, pair by pair.

    That one is significant and another is not does not show that they differ [1]_.

    Parameters
    ----------
    table : DataFrame
        As `assess_attenuation`.
    tests : dict
        That section of the configuration.
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        One row per definition, pair and contrast: n (people with both), effect (mean over
        people of attenuation in `region` minus that in `other_region`), low, high, sd,
        statistic, df, p_t, p (sign flips), p_fwe (over the pairs and contrasts of one
        definition), bf10.

    Notes
    -----
    In the unit of the effects, which all regions share: standardised, a region that is merely
    measured with less noise would seem to be attenuated more.

    References
    ----------
    .. [1] Nieuwenhuis, Forstmann & Wagenmakers (2011), Nat. Neurosci. 14(9), 1105-1107.
    """
    own = table[table["role"] == "hypothesised"]
    pieces = []
    for definition, family in own.groupby("definition", sort=False):
        wide = family.pivot(
            index="subject", columns=["contrast", "region"], values="attenuation"
        )
        names = [
            (contrast, *pair)
            for contrast in family["contrast"].drop_duplicates()
            for pair in combinations(family["region"].drop_duplicates(), 2)
        ]
        if not names:
            continue
        values = np.stack(
            [
                wide[contrast, one] - wide[contrast, other]
                for contrast, one, other in names
            ],
            axis=1,
        )
        flips = flip_signs(values, tests["n_permutations"], rng)
        rows = [
            _difference(column[np.isfinite(column)], t, tests)
            for column, t in zip(values.T, flips.t, strict=True)
        ]
        pieces.append(
            pd.DataFrame(names, columns=["contrast", "region", "other_region"])
            .join(pd.DataFrame(rows, columns=DIFFERENCE))
            .assign(
                definition=definition,
                p=flips.p,
                p_fwe=flips.p_fwe,
                n_permutations=flips.n_permutations,
                exact=flips.exact,
            )
        )
    columns = ["definition", "region", "other_region", "contrast", *DIFFERENCE]
    columns += ["p", "p_fwe", "n_permutations", "exact"]
    if not pieces:
        return pd.DataFrame(columns=["question", *columns])
    return pd.concat(pieces, ignore_index=True)[columns].assign(question="Q1")


def _difference(values: NDArray, t: float, tests: dict) -> dict:
    if np.isnan(t):
        return {"n": len(values)}
    found = one_sample(values, level=tests["level"], smallest_dz=tests["smallest_dz"])
    bf10 = ttest_bf10(found.t, found.n, scale=tests["bayes_scale"])
    renamed = {RENAMED.get(name, name): value for name, value in asdict(found).items()}
    return {**renamed, "bf10": bf10}


def _attenuation_of(
    cells: pd.DataFrame, contrast: dict, subject: list[str]
) -> pd.DataFrame:
    if "image" in contrast:
        own = cells[cells["contrast"] == contrast["image"]].set_index(subject)["effect"]
        turned = contrast["direction"] == "held_minus_baseline"
        values = attenuation(0.0, own) if turned else own
        baseline = np.nan
    else:
        wide = cells[cells["condition"].notna()].pivot(
            index=subject, columns=["condition", "cue"], values="effect"
        )
        baseline, held = (
            response(wide[contrast[side], "threat"], wide[contrast[side], "safe"])
            for side in ("baseline", "held")
        )
        values = attenuation(baseline, held)
    found = values.to_frame("attenuation").assign(response_baseline=baseline)
    return found.reset_index().assign(contrast=contrast["name"])


def _row(values: NDArray, t: float, tests: dict, verdicts: dict) -> dict:
    """Return the numbers of one test; what the sign flips cannot test (t is nan) has none."""
    if np.isnan(t):
        return {"n": len(values)}
    found = asdict(
        one_sample(values, level=tests["level"], smallest_dz=tests["smallest_dz"])
    )
    t, n = found["t"], found["n"]
    low, high = bf10_range(ttest_bf10, t, n, tests["sensitivity_scales"])
    return {
        **{RENAMED.get(name, name): value for name, value in found.items()},
        "bf10": ttest_bf10(t, n, scale=tests["bayes_scale"]),
        "bf10_low": low,
        "bf10_high": high,
        "detectable_dz": detectable_dz(
            n, power=verdicts["power"], alpha=verdicts["alpha"]
        ),
    }
