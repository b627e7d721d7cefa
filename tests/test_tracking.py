from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.regression.linear_model import OLS

from handhold.tracking import assess_coupling, assess_tracking, correlate_people
from handhold.verdicts import judge_rows, judge_tracking
from rules import THRESHOLDS

TESTS = {
    "n_permutations": 999,
    "n_bootstrap": 999,
    "level": 0.95,
    "bayes_kappa": 1 / 3,
    "sensitivity_kappas": [1 / 3, 1],
}
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
        THRESHOLDS,
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
        THRESHOLDS,
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
    found = assess_tracking(both, felt(relief), TESTS, THRESHOLDS, rng)
    assert set(found["contrast"]) == {"partner"}
    assert len(found) == 3


@pytest.mark.parametrize("n", [3, 5])
def test_a_handful_of_people_is_inconclusive(rng, n):
    found = track(*draw(n, rng))
    assert found["n"].tolist() == [n] * 3
    assert found["effect"].isna().all()
    judged = judge_rows(found, "p_fwe", THRESHOLDS)
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


# --- Q3 at equal baselines ----------------------------------------------------------------


def with_baselines(values, relief, response, score):
    """Return the tables of attenuation and relief with what they were lowered from."""
    attenuation = measured(values).assign(
        response_baseline=response.T.ravel()  # ROI by ROI, as `measured` lays them
    )
    felt_by = felt(relief).assign(baseline=score, held=score - relief)
    return attenuation, felt_by


def adjusted(values, relief, response, score, seed=1, **more):
    tables = with_baselines(values, relief, response, score)
    rng = np.random.default_rng(seed)
    return assess_tracking(*tables, TESTS, THRESHOLDS, rng, **more).set_index("region")


def bound_by_baselines(rng, n):
    """Draw changes that correlate because their baselines do, and for nothing else."""
    trait = rng.normal(size=n)
    score = 60 + 10 * (trait + 0.3 * rng.normal(size=n))
    response = 1 + trait[:, None] + 0.3 * rng.normal(size=(n, 3))
    relief = 0.5 * (score - 60) + 3 * rng.normal(size=n)
    values = 0.5 * response + 0.3 * rng.normal(size=(n, 3))
    return values, relief, response, score


def test_the_model_is_held_on_attenuation_at_equal_baselines(rng):
    values, relief, response, score = bound_by_baselines(rng, 24)
    found = adjusted(values, relief, response, score)
    assert set(found["model"]) == {"baseline-adjusted"}
    for i, (_, region, *_) in enumerate(ROIS):
        design = np.column_stack([np.ones(24), values[:, i], score, response[:, i]])
        fit = OLS(score - relief, design).fit()  # the held score, as DESIGN has it
        t, df = fit.tvalues[1], fit.df_resid
        row = found.loc[region]
        assert row["partial_r"] == pytest.approx(-t / np.sqrt(t**2 + df))
        assert row["partial_low"] < row["partial_r"] < row["partial_high"]
        # permutation and t agree where errors are normal, but for Monte Carlo error
        p = fit.pvalues[1]
        assert abs(row["p_partial"] - p) < 4 * np.sqrt(p * (1 - p) / 999) + 0.03
        assert row["p_partial_fwe"] >= row["p_partial"]


def test_changes_that_only_baselines_bind_are_no_tracking(rng):
    found = adjusted(*bound_by_baselines(rng, 60))
    assert (found["effect"] > 0.4).all()
    assert (found["p_fwe"] <= 0.05).all()
    assert (found["partial_r"].abs() < 0.4).all()
    judged = judge_tracking(found.reset_index(), {**THRESHOLDS, "alpha": 0.001})
    assert "supported" not in set(judged["verdict"])
    assert judged["reason"].str.contains("at equal measured baselines").all()


def test_planted_tracking_is_seen_at_equal_baselines(rng):
    values, relief, response, score = bound_by_baselines(rng, 60)
    own = values[:, 0] - 0.5 * response[:, 0]  # what is not the baseline's
    found = adjusted(values, relief + 15 * own, response, score)
    row = found.loc["vACC"]
    assert row["partial_r"] > 0.5
    assert row["p_partial_fwe"] <= 0.01
    judged = judge_tracking(found.reset_index(), THRESHOLDS).set_index("region")
    assert judged.loc["vACC", "verdict"] == "supported"


def test_baselines_do_not_move_the_numbers_of_the_changes(rng):
    values, relief, response, score = bound_by_baselines(rng, 12)
    found, bare = adjusted(values, relief, response, score), track(values, relief)
    assert set(bare["model"]) == {"change"}
    shared = ["effect", "low", "high", "p", "p_fwe", "bf10", "skipped", "max_cook"]
    pd.testing.assert_frame_equal(found[shared], bare[shared])
    assert bare[["partial_r", "p_partial_fwe", "bf10_partial"]].isna().all(axis=None)
    judged = judge_tracking(bare.reset_index(), THRESHOLDS)
    plain = judge_rows(bare.reset_index(), "p_fwe", THRESHOLDS)
    assert judged["verdict"].tolist() == plain["verdict"].tolist()
    assert judged["reason"].str.contains("baselines not held").all()


def test_without_either_baseline_the_changes_decide(rng):
    values, relief, response, score = bound_by_baselines(rng, 12)
    for lost in (
        {"response": np.full_like(response, np.nan), "score": score},
        {"response": response, "score": np.full_like(score, np.nan)},
    ):
        assert set(adjusted(values, relief, **lost)["model"]) == {"change"}


def test_ceilings_stand_beside_every_r(rng):
    values, relief, response, score = bound_by_baselines(rng, 12)
    keys = ["definition", "region", "hemisphere", "role"]
    rows = [
        {
            **dict(zip(keys, roi, strict=True)),
            "measure": "attenuation",
            "reliability": r,
        }
        for roi, r in zip(ROIS, (0.5, np.nan, -0.1), strict=True)
    ]
    rows.append({"measure": "relief", "reliability": 0.72})
    reliability = pd.DataFrame(rows).assign(contrast="partner")
    found = adjusted(values, relief, response, score, reliability=reliability)
    assert found["ceiling"].tolist() == pytest.approx([0.6, np.sqrt(0.72), 0])
    assert found["reliability_relief"].tolist() == [0.72] * 3
    expected = [found["effect"].iloc[0] / 0.6, np.nan, np.nan]
    assert found["disattenuated"].tolist() == pytest.approx(expected, nan_ok=True)
    bare = track(values, relief)
    columns = ["ceiling", "reliability_attenuation", "reliability_relief"]
    assert bare[columns].isna().all(axis=None)


def test_whoever_carries_the_fit_is_named(rng):
    values, relief = draw(20, rng, r=0)
    values[7, 0], relief[7] = 12, 9
    row = track(values, relief).loc["vACC"]
    design = np.column_stack([np.ones(20), values[:, 0]])
    cook = OLS(relief, design).fit().get_influence().cooks_distance[0]
    assert row["max_cook"] == pytest.approx(cook.max())
    assert row["most_influential"] == "07"
    assert row["percentage_bend"] < 0.5 < row["effect"]
    values[2, 0] = np.nan  # who is missing shifts nobody's name
    assert track(values, relief).loc["vACC", "most_influential"] == "07"


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
        two.sample(frac=1, random_state=1), felt(relief), TESTS, THRESHOLDS, rng
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


def test_a_bond_of_the_baselines_alone_does_not_pass_for_coupling(rng):
    """The alone map's coupling goes with the alone score; the hand has no say in either."""
    n = 120
    alone, score = rng.multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]], n).T
    coupling = pd.DataFrame(
        {
            "subject": people(n),
            "contrast": "partner",
            "receptor": "mu",
            "fisher_z": alone - rng.normal(size=n),
            "fisher_z_baseline": alone,
        }
    )
    relief = felt(score - rng.normal(size=n)).assign(baseline=score)
    row = assess_coupling(coupling, relief, TESTS, THRESHOLDS, rng).iloc[0]
    assert row["model"] == "baseline-adjusted"
    assert row["p"] < 0.01 < row["p_partial"]
    x = np.column_stack([np.ones(n), score, alone])
    left = [
        y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
        for y in (coupling["fisher_z"], relief["relief"])
    ]
    assert row["partial_r"] == pytest.approx(np.corrcoef(left)[0, 1])
    for lacking in (
        (coupling.drop(columns="fisher_z_baseline"), relief),
        (coupling, relief.assign(baseline=np.nan)),
    ):
        bare = assess_coupling(*lacking, TESTS, THRESHOLDS, rng).iloc[0]
        assert bare["model"] == "change"
        assert np.isnan(bare["partial_r"])


def test_a_single_column_is_its_own_family(rng):
    values, relief = draw(10, rng)
    found = correlate_people(values[:, :1], relief, TESTS, THRESHOLDS, rng)
    assert found["p"].tolist() == found["p_fwe"].tolist()
