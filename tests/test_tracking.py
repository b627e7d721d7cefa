from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from handhold.tracking import assess_coupling, assess_tracking, correlate_people
from handhold.verdicts import judge_rows

TESTS = {"n_permutations": 999, "n_bootstrap": 999, "level": 0.95, "bayes_kappa": 1 / 3}
VERDICTS = {"alpha": 0.05, "bf_against": 1 / 3, "power": 0.8}
ROIS = [
    ("aal3", "vACC", "both", "hypothesised"),
    ("aal3", "insula", "both", "hypothesised"),
    ("aal3", "insula_left", "left", "detail"),
]


def people(n):
    return [f"{i:02}" for i in range(n)]


def measured(values, contrast="partner", rois=ROIS):
    """Return attenuation, long, from values of shape (n_subjects, n_rois)."""
    keys = ["definition", "region", "hemisphere", "role"]
    pieces = [
        pd.DataFrame({"subject": people(len(values)), "attenuation": column})
        .assign(**dict(zip(keys, roi, strict=True)), contrast=contrast)
        for roi, column in zip(rois, values.T, strict=True)
    ]  # fmt: skip
    return pd.concat(pieces, ignore_index=True)


def felt(relief, contrast="partner"):
    return pd.DataFrame(
        {"subject": people(len(relief)), "contrast": contrast, "relief": relief}
    )


def track(values, relief, seed=1, **changes):
    return assess_tracking(
        measured(values),
        felt(relief),
        {**TESTS, **changes},
        VERDICTS,
        np.random.default_rng(seed),
    ).set_index("region")


def draw(n, rng, r=0.6):
    """Draw relief and three ROIs, the first of which follows it."""
    relief = rng.normal(size=n)
    values = rng.normal(size=(n, 3))
    values[:, 0] = r * relief + np.sqrt(1 - r**2) * values[:, 0]
    return values, relief


# --- Q3 --------------------------------------------------------------------------------


def test_the_correlations_are_those_of_scipy(rng):
    values, relief = draw(24, rng)
    found = track(values, relief)
    assert set(found["question"]) == {"Q3"}
    assert not found["exact"].any()
    for (_, region, *_), column in zip(ROIS, values.T, strict=True):
        row = found.loc[region]
        assert row["n"] == 24
        assert row["effect"] == pytest.approx(stats.pearsonr(column, relief).statistic)
        rho = stats.spearmanr(column, relief).statistic
        assert row["spearman"] == pytest.approx(rho)
        assert row["low"] < row["effect"] < row["high"]
        left_out = [
            stats.pearsonr(np.delete(column, i), np.delete(relief, i)).statistic
            for i in range(24)
        ]
        assert row["loo_low"] == pytest.approx(min(left_out))
        assert row["loo_high"] == pytest.approx(max(left_out))


def test_people_who_are_calmed_more_and_relieved_more_give_a_positive_r(rng):
    values, relief = draw(24, rng, r=0.95)
    row = track(values, relief).loc["vACC"]
    assert row["effect"] > 0.8
    assert row["p"] == 1 / 1000
    assert track(-values, relief).loc["vACC", "effect"] == pytest.approx(-row["effect"])


def test_p_and_family_wise_p_are_those_of_all_permutations(rng):
    values, relief = draw(6, rng)
    found = track(values, relief)
    assert found["exact"].all()
    orders = [list(order) for order in permutations(relief)]

    def sizes(columns, outcomes):
        r = np.corrcoef(np.vstack([columns.T, outcomes]))
        n = columns.shape[1]
        return np.abs(r[:n, n:])

    def p_values(columns, outcomes, observed):
        r = sizes(columns, np.array(outcomes))
        at_least = observed[:, None] - 1e-9
        return (r >= at_least).mean(axis=1), (r.max(axis=0) >= at_least).mean(axis=1)

    # the detail is no member of the family of the hypothesised ROIs
    for family in ([0, 1], [2]):
        columns = values[:, family]
        p, p_fwe = p_values(columns, orders, sizes(columns, relief[None])[:, 0])
        own = found.iloc[family]
        assert own["p"].tolist() == pytest.approx(p.tolist())
        assert own["p_fwe"].tolist() == pytest.approx(p_fwe.tolist())
        ranked = np.apply_along_axis(stats.rankdata, 0, columns)
        ranks = [list(order) for order in permutations(stats.rankdata(relief))]
        observed = sizes(ranked, stats.rankdata(relief)[None])[:, 0]
        p_rank, _ = p_values(ranked, ranks, observed)
        assert own["p_spearman"].tolist() == pytest.approx(p_rank.tolist())


def test_people_are_paired_by_label(rng):
    values, relief = draw(12, rng)
    expected = track(values, relief)
    shuffled = assess_tracking(
        measured(values).sample(frac=1, random_state=2),
        felt(relief).sample(frac=1, random_state=3),
        TESTS,
        VERDICTS,
        rng,
    ).set_index("region")
    for column in ("effect", "spearman", "loo_low"):
        assert shuffled[column].to_dict() == pytest.approx(expected[column].to_dict())


def test_a_missing_value_leaves_its_own_test_only(rng):
    values, relief = draw(12, rng)
    values[4, 0] = np.nan
    found = track(values, relief)
    assert found["n"].tolist() == [11, 12, 12]
    kept = np.delete(values[:, 0], 4), np.delete(relief, 4)
    assert found["effect"].iloc[0] == pytest.approx(stats.pearsonr(*kept).statistic)
    assert found["spearman"].iloc[0] == pytest.approx(stats.spearmanr(*kept).statistic)


def test_an_outlier_is_counted_and_does_not_carry_the_skipped_r(rng):
    values, relief = rng.normal(size=(30, 3)), rng.normal(size=30)
    values[0, 0], relief[0] = 15, 15
    row = track(values, relief).loc["vACC"]
    assert row["effect"] > 0.8
    assert row["n_outliers"] >= 1
    assert abs(row["skipped"]) < 0.5
    assert row["loo_low"] < 0.5


def test_contrasts_without_ratings_are_left_out(rng):
    values, relief = draw(8, rng)
    both = pd.concat([measured(values), measured(values, "stranger")])
    found = assess_tracking(both, felt(relief), TESTS, VERDICTS, rng)
    assert set(found["contrast"]) == {"partner"}
    assert len(found) == 3


@pytest.mark.parametrize("n", [3, 5])
def test_a_handful_of_people_is_inconclusive(rng, n):
    found = track(*draw(n, rng))
    assert found["n"].tolist() == [n] * 3
    assert found["effect"].isna().all()
    judged = judge_rows(found, "p_fwe", VERDICTS)
    assert set(judged["reason"]) == {"too few values to test"}


def test_six_people_are_enough(rng):
    assert track(*draw(6, rng))["effect"].notna().all()


@pytest.mark.parametrize("noise", [0, 1e-16, 1e-13])
def test_what_does_not_vary_is_not_tested(rng, noise):
    values, relief = draw(8, rng)
    values[:, 0] = 0.3 + noise * rng.normal(size=8)
    found = track(values, relief)
    assert np.isnan(found["p"].iloc[0])
    assert np.isnan(found["effect"].iloc[0])
    assert found["effect"].iloc[1:].notna().all()
    same = track(draw(8, rng)[0], 20 + noise * rng.normal(size=8))
    assert same[["effect", "p"]].isna().all(axis=None)


def test_a_region_that_nobody_covers_is_not_tested(rng):
    values, relief = draw(8, rng)
    values[:, 0] = np.nan
    found = track(values, relief)
    assert found["n"].tolist() == [0, 8, 8]
    assert found["p"].isna().tolist() == [True, False, False]


def test_equal_seeds_give_equal_tables(rng):
    values, relief = draw(12, rng)
    first, again, other = (track(values, relief, seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert (first["low"] != other["low"]).all()


# --- Q4 --------------------------------------------------------------------------------


def test_coupling_is_correlated_with_relief_by_person(rng):
    values, relief = draw(12, rng)
    z = values[:, 0].copy()
    z[3] = np.nan
    coupling = pd.DataFrame(
        {
            "subject": people(12),
            "contrast": "partner",
            "receptor": "mu",
            "fisher_z": z,
        }
    )
    two = pd.concat([coupling, coupling.assign(contrast="unrated")])
    found = assess_coupling(
        two.sample(frac=1, random_state=1), felt(relief), TESTS, VERDICTS, rng
    )
    assert len(found) == 1
    row = found.iloc[0]
    kept = np.isfinite(z)
    r = stats.pearsonr(z[kept], relief[kept]).statistic
    assert row["effect"] == pytest.approx(r)
    assert row[["question", "contrast", "receptor", "n"]].tolist() == [
        "Q4",
        "partner",
        "mu",
        11,
    ]


def test_a_single_column_is_its_own_family(rng):
    values, relief = draw(10, rng)
    found = correlate_people(values[:, :1], relief, TESTS, VERDICTS, rng)
    assert found["p"].tolist() == found["p_fwe"].tolist()
