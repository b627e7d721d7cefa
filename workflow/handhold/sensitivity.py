"""What hangs on the coverage that a region has to have: Q1 and Q3 with more cells kept.

A threshold leaves people out where signal drops out, which is not at random. With a lower one
they come back with a mean over less of the region; a verdict that turns says so.
"""

import numpy as np
import pandas as pd

from handhold.attenuation import assess_attenuation, attenuate
from handhold.coverage import gate
from handhold.tracking import assess_tracking
from handhold.verdicts import decided_by, judge_rows, judge_tracking

REGION = ["definition", "region", "hemisphere", "role"]
KEYS = ["question", *REGION, "contrast"]
NUMBERS = ["n", "effect", "p_fwe", "bf10", "verdict"]


def assess_sensitivity(
    cells: pd.DataFrame,
    relief: pd.DataFrame | None,
    contrasts: list[dict],
    min_coverage: float,
    primary: dict[str, pd.DataFrame],
    tests: dict,
    verdicts: dict,
    rngs: dict[str, np.random.Generator],
) -> pd.DataFrame:
    """Answer Q1 and Q3 again, ROI by ROI, with cells kept from another coverage up.

    Parameters
    ----------
    cells : DataFrame
        Effects of the ROIs with their coverage (regions/rois.tsv).
    relief : DataFrame or None
        As `tracking.assess_tracking`; None in a study without ratings.
    contrasts : list of dict
        The section `contrasts` of the configuration.
    min_coverage : float
        Least share of a region's volume.
    primary : dict of str to DataFrame
        The tables of Q1 and, with ratings, Q3, with their verdicts.
    tests, verdicts : dict
        Those sections of the configuration.
    rngs : dict of str to numpy.random.Generator
        By question, the stream that the primary tests used: nothing but coverage differs.

    Returns
    -------
    DataFrame
        One row per row of `primary`: question, names, min_coverage, n, effect, p_fwe, bf10 (of
        the model that decides), verdict, verdict_before, and whether it changes.
    """
    attenuation = attenuate(gate(cells, min_coverage), contrasts, REGION)
    again = {
        "Q1": judge_rows(
            assess_attenuation(attenuation, tests, verdicts, rngs["Q1"]),
            "p_fwe",
            verdicts,
        )
    }
    if relief is not None:
        found = assess_tracking(attenuation, relief, tests, verdicts, rngs["Q3"])
        again["Q3"] = decided_by(judge_tracking(found, verdicts))
    pieces = [
        table[[*KEYS, *NUMBERS]].merge(
            primary[question][[*KEYS, "verdict"]],
            on=KEYS,
            suffixes=("", "_before"),
            validate="one_to_one",
        )
        for question, table in again.items()
    ]
    table = pd.concat(pieces, ignore_index=True)
    return table.assign(
        min_coverage=min_coverage,
        verdict_changes=table["verdict"] != table["verdict_before"],
    )
