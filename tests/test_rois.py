"""Correspondence over ROIs against counts by hand."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from handhold.rois import assess_rois, order_p

ROIS = ["vACC", "vPFC", "striatum", "insula"]
BINDING = [3.0, 5.0, 9.0, 4.0]


def tables(means, binding=BINDING, n_subjects=6):
    """Attenuation whose means over subjects are those given, and binding."""
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(n_subjects, len(means)))
    values = np.array(means) + noise - noise.mean(axis=0)
    attenuation = pd.DataFrame(
        [
            (f"{i:02}", definition, region, role, "partner", value + extra)
            for definition, extra in (("aal3", 0.0), ("harvard_oxford", 0.1))
            for role, sign in (("hypothesised", 1), ("detail", -1))
            for i, row in enumerate(values)
            for region, value in zip(ROIS, sign * row, strict=True)
        ],
        columns=["subject", "definition", "region", "role", "contrast", "attenuation"],
    )
    receptors = pd.DataFrame(
        [
            (receptor, definition, region, value * sign)
            for receptor, sign in (("mu", 1), ("kappa", -1))
            for definition in ("aal3", "harvard_oxford")
            for region, value in zip(ROIS, binding, strict=True)
        ],
        columns=["receptor", "definition", "region", "binding"],
    )
    return attenuation, receptors


def assess(*args, **more):
    attenuation, receptors = tables(*args, **more)
    found = assess_rois(
        attenuation,
        receptors,
        target="mu",
        n_permutations=999,
        rng=np.random.default_rng(1),
    )
    return found.set_index(["definition", "method"])


@pytest.mark.parametrize(
    ("method", "correlate"),
    [("pearson", stats.pearsonr), ("spearman", stats.spearmanr)],
)
def test_p_is_the_share_of_orderings_that_do_as_well(method, correlate):
    means = [0.1, 0.4, 0.5, 0.3]
    row = assess(means).loc[("aal3", method)]
    r = correlate(means, BINDING).statistic
    others = [correlate(order, BINDING).statistic for order in permutations(means)]
    assert row["effect"] == pytest.approx(r)
    assert row["p"] == np.mean(np.array(others) >= r - 1e-9)
    assert row["n"] == 6
    assert row["n_parcels"] == 4


def test_no_ordering_does_better_than_one_in_twenty_four():
    in_order = np.argsort(np.argsort(BINDING)) / 10
    found = assess(in_order)
    assert found.loc[("aal3", "spearman"), ["effect", "p"]].tolist() == [1, 1 / 24]
    assert (found["p"] == 1 / 24).all()
    reversed_ = assess(-in_order)
    assert reversed_.loc[("aal3", "spearman"), ["effect", "p"]].tolist() == [-1, 1]


def test_no_row_has_a_verdict_and_each_says_why():
    found = assess([0.1, 0.4, 0.5, 0.3])
    assert "verdict" not in found
    assert found["reason"].str.startswith("descriptive: one-sided p over 24").all()
    assert len(found) == 4
    assert set(found["scope"]) == {"rois"}


def test_a_roi_without_binding_is_named():
    found = assess([0.1, 0.4, 0.5, 0.3], binding=[3.0, 5.0, np.nan, 4.0])
    assert set(found["n_parcels"]) == {3}
    assert found["reason"].str.contains("without striatum").all()
    alone = assess([0.1, 0.4, 0.5, 0.3], binding=[3.0, 5.0, np.nan, np.nan])
    assert alone["reason"].str.startswith("not run: 2 ROIs").all()
    assert "effect" not in alone or alone["effect"].isna().all()


def test_many_rois_are_ordered_at_random(rng):
    first, second = rng.normal(size=(2, 9))
    r, p, n, exact = order_p(first, second, False, 999, rng)
    assert (n, exact) == (999, False)
    expected = stats.pearsonr(first, second, alternative="greater").pvalue
    assert r == pytest.approx(stats.pearsonr(first, second).statistic)
    # four standard errors of 999 draws, and what nine points are off the t distribution
    assert abs(p - expected) < 4 * np.sqrt(expected * (1 - expected) / 999) + 0.02
    assert p * 1000 == pytest.approx(round(p * 1000))
