"""Partial correlations against statsmodels, planted worlds and the committed rejection rates."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.regression.linear_model import OLS

from handhold.correspondence import correspond, couple, span, within_r
from handhold.partials import (
    assess_joint,
    assess_partials,
    draw_given,
    shared_with,
)

RATES = pd.read_csv(
    Path(__file__).parent / "reference/partials_calibration.tsv", sep="\t"
)
ROUNDING = 1e-9
TESTS = {"n_permutations": 999, "level": 0.95, "smallest_r": 0.1, "bayes_scale": 0.7}
NULLS = {
    "families": ["moran", "gaussian"],
    "n": 999,
    "procedure": "singleton",
    "min_parcels": 100,
}
MAPS = pd.DataFrame(
    {"receptor": ["mu", "kappa", "d2"], "label": ["MOR", "KOR", "D2"]},
)
STRUCTURE = np.repeat(["cortex", "subcortex"], [100, 20])
DUMMIES = np.column_stack([name == STRUCTURE for name in ("cortex", "subcortex")])


def left_over(values, covariates, structure=STRUCTURE):
    """Residuals of a regression on covariates and a mean per structure."""
    dummies = [structure == name for name in np.unique(structure)]
    return (
        OLS(values, np.column_stack([*covariates, *dummies]).astype(float)).fit().resid
    )


# The statistic --------------------------------------------------------------------------


@pytest.mark.parametrize("ranked", [False, True])
def test_a_partial_correlation_is_that_of_residuals(ranked, rng):
    maps = rng.normal(size=(5, 120)) + rng.normal(size=120) + 4 * DUMMIES[:, 1]
    found = within_r(maps[0], maps[1], STRUCTURE, ranked, maps[2:])
    if ranked:
        for inside in DUMMIES.T:
            maps[:, inside] = stats.rankdata(maps[:, inside], axis=1) / inside.sum()
    expected = stats.pearsonr(*(left_over(m, maps[2:]) for m in maps[:2])).statistic
    assert found == pytest.approx(expected, abs=ROUNDING)
    assert within_r(maps[0], maps[1], STRUCTURE, ranked) > expected + 0.1


def test_maps_that_repeat_each_other_are_held_constant_once(rng):
    maps = rng.normal(size=(4, 120))
    twice = [maps[2], maps[3], maps[2] - 3 * maps[3], np.full(120, 7.0)]
    assert len(span(twice, STRUCTURE)) == 2
    expected = within_r(maps[0], maps[1], STRUCTURE, given=maps[2:])
    found = within_r(maps[0], maps[1], STRUCTURE, given=twice)
    assert found == pytest.approx(expected, abs=ROUNDING)


def test_nothing_is_left_of_a_mixture(rng):
    maps = rng.normal(size=(3, 120))
    with pytest.raises(ValueError, match="mixtures of the maps held constant"):
        within_r(maps[0], maps[1] + maps[2], STRUCTURE, given=maps[1:])


def test_a_huge_unit_does_not_make_a_map_constant(rng):
    maps = rng.normal(size=(3, 120))
    expected = within_r(maps[0], maps[1], STRUCTURE, given=maps[2:])
    found = within_r(1e9 * maps[0], 1e-9 * maps[1], STRUCTURE, given=1e12 * maps[2:])
    assert found == pytest.approx(expected, abs=1e-7)


def test_each_person_is_correlated_over_their_own_parcels(rng):
    binding, *covariates = rng.normal(size=(3, 120))
    attenuation = rng.normal(size=(4, 120))
    attenuation[2, 30:50] = np.nan
    z = couple(attenuation, binding, STRUCTURE, given=covariates).z
    for i, own in enumerate(np.isfinite(attenuation)):
        held = [c[own] for c in covariates]
        sides = (
            left_over(m[own], held, STRUCTURE[own]) for m in (attenuation[i], binding)
        )
        expected = np.arctanh(stats.pearsonr(*sides).statistic)
        assert z[i] == pytest.approx(expected, abs=ROUNDING)


def test_the_naive_p_counts_what_is_held_constant(rng):
    attenuation, binding = rng.normal(size=(6, 120)), rng.normal(size=120)
    covariates = rng.normal(size=(3, 120))
    found = correspond(
        attenuation,
        binding,
        STRUCTURE,
        rng.normal(size=(99, 120)),
        nulls_of_attenuation=None,
        n_permutations=999,
        level=0.95,
        smallest_r=0.1,
        bayes_scale=0.7,
        ranked=False,
        rng=rng,
        given=covariates,
    )
    design = np.column_stack([binding, *covariates, DUMMIES]).astype(float)
    fit = OLS(attenuation.mean(axis=0), design).fit()
    assert found.p_naive == pytest.approx(fit.pvalues[0])
    t = fit.tvalues[0]
    assert found.r == pytest.approx(t / np.sqrt(t**2 + fit.df_resid))


# The nulls ------------------------------------------------------------------------------


@pytest.mark.parametrize("wide", ["rest", "whole"])
def test_the_null_that_spreads_wider_is_drawn(wide, rng):
    target, group, covariate = rng.normal(size=(3, 120))
    target += 2 * covariate
    noise = rng.normal(size=(50, 120))
    towards = rng.normal(size=(50, 1)) * left_over(group, [covariate])

    def draw(values):
        drew = "rest" if abs(values @ left_over(covariate, [])) < ROUNDING else "whole"
        return 0.1 * noise + (towards if drew == wide else 0)

    given = covariate[np.newaxis]
    found = draw_given(target, given, group, STRUCTURE, draw)
    null_r = within_r(found, group, STRUCTURE, given=given)
    assert np.abs(null_r).mean() > 0.8  # of the noise alone it would be 0.08
    # the fit of the covariate stands in the null of the rest, and in that alone
    fit = np.linalg.norm(span(given, STRUCTURE) @ (found - 0.1 * noise - towards).T)
    assert (fit > 1) == (wide == "rest")


def test_rates_of_the_wider_null_are_near_their_level():
    """Within two standard errors of .06 (one covariate) and .075 (ten, nine tenths) at most."""
    wider = RATES[RATES["nulls"] == "wider"]
    level = np.where(wider["n_covariates"] == 1, 0.06, 0.075)
    assert (wider["rate"] <= level + 2 * wider["rate_error"]).all()
    assert (RATES["n_pairs"] >= 1600).all()
    worst = RATES.groupby("nulls")["rate"].max()
    assert worst["residual"] > 0.12  # why neither null is taken alone
    assert worst["whole"] > 0.4
    assert worst["ranks"] > 0.9  # and why maps are not ranked
    bare = RATES[(RATES["nulls"] == "bare") & (RATES["share"] > 0)]
    assert bare["rate"].min() > 0.3


# The tables -----------------------------------------------------------------------------


class Study:
    """120 parcels, three receptor maps, 10 people whose attenuation follows `slopes` of them."""

    def __init__(self, slopes=(0, 0, 0), along_y=0.0, seed=5):
        rng = np.random.default_rng(seed)
        self.region = [f"p{i:03}" for i in range(120)]
        self.xyz = rng.uniform(-60, 60, size=(120, 3))
        y = self.xyz[:, 1] / 35
        self.binding = rng.normal(size=(3, 120)) + 0.7 * y + 3 * DUMMIES[:, 1]
        self.density = rng.uniform(0.3, 0.9, size=120)
        self.values = rng.normal(size=(10, 120))
        self.values += np.array(slopes) @ self.binding + along_y * y

    @property
    def attenuation(self):
        rows = [
            pd.DataFrame(
                {"subject": f"{i:02}", "region": self.region, "attenuation": v}
            )
            for i, v in enumerate(self.values)
        ]
        return pd.concat(rows, ignore_index=True).assign(contrast="partner")

    @property
    def parcels(self):
        return pd.DataFrame(self.xyz, columns=["x", "y", "z"]).assign(
            contrast="partner",
            region=self.region,
            structure=STRUCTURE,
            group=self.values.mean(axis=0),
            used=True,
            reason=None,
        )

    @property
    def receptors(self):
        pieces = [
            pd.DataFrame({"receptor": name, "region": self.region, "binding": binding})
            for name, binding in zip(MAPS["receptor"], self.binding, strict=True)
        ]
        return pd.concat(pieces, ignore_index=True)

    def partials(self, seed=1, maps=MAPS):
        density = pd.DataFrame({"region": self.region, "grey_matter": self.density})
        return assess_partials(
            self.attenuation,
            self.parcels,
            self.receptors,
            density.sample(frac=1, random_state=1),
            maps,
            tests=TESTS,
            nulls=NULLS,
            null_seed=seed,
            rng=np.random.default_rng(seed),
        ).set_index("given")

    def joint(self, dominance=("mu", "kappa", "d2"), maps=MAPS):
        return assess_joint(
            self.parcels,
            self.receptors,
            maps,
            dominance=list(dominance),
            level=0.95,
            nulls=NULLS,
            null_seed=1,
        ).set_index("receptor")


def test_each_row_holds_its_own_maps_constant():
    study = Study(slopes=(0.5, 0, 0))
    found = study.partials()
    group, (mu, kappa, d2) = study.values.mean(axis=0), study.binding
    held = {
        "y axis": [study.xyz[:, 1]],
        "grey matter": [study.density],
        "KOR": [kappa],
        "D2": [d2],
        "all other maps": [kappa, d2],
    }
    assert list(found.index) == list(held)
    for name, given in held.items():
        sides = (left_over(m, given) for m in (group, mu))
        assert found.loc[name, "effect"] == pytest.approx(
            stats.pearsonr(*sides).statistic
        )
        left = left_over(mu, given).var() / left_over(mu, []).var()
        assert found.loc[name, "r_squared"] == pytest.approx(1 - left)
    assert (found["p"] == found[["p_map", "p_subject"]].max(axis=1)).all()
    assert found["n"].tolist() == [10] * 5
    assert set(found["question"]) == {"Q5"}


def test_what_follows_the_axis_alone_is_gone_once_it_is_held_constant():
    found = Study(along_y=1.5).partials()
    assert (found["unadjusted"] > 0.4).all()
    assert abs(found.loc["y axis", "effect"]) < 0.2 < found.loc["grey matter", "effect"]
    assert found.loc["y axis", "p"] > 0.05


def test_what_follows_the_target_stays():
    found = Study(slopes=(1, 0, 0), along_y=0.5).partials()
    assert (found["effect"] > 0.5).all()
    assert (found["p"] <= 0.05).all()
    turned = Study(slopes=(-1, 0, 0), along_y=-0.5).partials()
    assert (turned["effect"] < -0.5).all()


def test_one_other_map_is_not_said_twice():
    found = Study().partials(maps=MAPS[:2])
    assert list(found.index) == ["y axis", "grey matter", "KOR"]


def test_a_target_that_others_make_is_said_to_be_one():
    study = Study()
    study.binding[0] = study.binding[1] + 0.1 * study.binding[0]
    row = study.partials().loc["KOR"]
    assert row["r_squared"] > 0.9
    assert "cannot tell it from them" in row["warnings"]
    study.binding[0] = study.binding[1]
    found = study.partials()
    assert np.isnan(found.loc[["KOR", "all other maps"], ["effect", "p"]]).all(
        axis=None
    )
    assert found.loc["y axis", "effect"] == pytest.approx(found.loc["y axis", "effect"])


def test_equal_seeds_give_equal_tables():
    study = Study()
    pd.testing.assert_frame_equal(study.partials(), study.partials())
    assert (study.partials()["p_map"] != study.partials(2)["p_map"]).any()


def test_the_joint_model_and_the_partial_given_all_others_are_one_test():
    study = Study(slopes=(0.3, 0, 0.2))
    joint, partial = study.joint(), study.partials().loc["all other maps"]
    assert joint.loc["mu", "p"] == partial["p_map"]
    assert joint.loc["mu", "vif"] == pytest.approx(1 / (1 - partial["r_squared"]))
    reach = joint.loc["mu", "weight"] / partial["effect"]
    bounds = joint.loc["mu", ["null_low", "null_high"]].astype(float).to_numpy()
    expected = reach * partial[["null_low", "null_high"]].astype(float).to_numpy()
    assert bounds == pytest.approx(expected)


def test_the_joint_model_finds_what_was_planted():
    found = Study(slopes=(1, 0, -0.6)).joint()
    assert found["weight"].idxmax() == "mu"
    assert found["weight"].idxmin() == "d2"
    assert found["p_fwe"].le(0.05).to_dict() == {"mu": True, "kappa": False, "d2": True}
    assert (found["p_fwe"] >= found["p"]).all()
    assert set(found["p_model"]) == {1 / 1000}
    assert found["dominance"].sum() == pytest.approx(found["model_r_squared"].iloc[0])
    assert found["dominance_share"].sum() == pytest.approx(1)
    assert found["target"].tolist() == [True, False, False]


def test_r_squared_of_nothing_is_that_of_its_surrogates():
    p = [Study(seed=seed).joint()["p_model"].iloc[0] for seed in range(20, 26)]
    # six uniform p: all under .2 or all over .8 once in 8,000 times
    assert max(p) > 0.2
    assert min(p) < 0.8


def test_maps_left_out_of_the_dominance_analysis_have_none():
    study = Study(slopes=(1, 0.5, 0))
    found, whole = study.joint(dominance=["mu", "d2"]), study.joint()
    assert found["dominance"].isna().tolist() == [False, True, False]
    assert found["dominates"].notna().tolist() == [True, False, False]
    assert found["weight"].tolist() == whole["weight"].tolist()
    alone = within_r(study.binding, study.values.mean(axis=0), STRUCTURE) ** 2
    assert found["gain_alone"].to_numpy()[[0, 2]] == pytest.approx(alone[[0, 2]])
    given = study.binding[[2]]
    explained = shared_with(study.values.mean(axis=0), study.binding[[0, 2]], STRUCTURE)
    last = explained - shared_with(study.values.mean(axis=0), given, STRUCTURE)
    assert found.loc["mu", "gain_last"] == pytest.approx(last)
    assert found["dominance"].sum() == pytest.approx(explained)
