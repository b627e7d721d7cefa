import numpy as np
import pandas as pd
import pytest
from scipy import stats

from handhold.errors import StudyError
from handhold.parcels import (
    arrange_distances,
    assess_correspondence,
    assess_specificity,
    couple_subjects,
    select_parcels,
    with_descriptive,
)

TESTS = {"n_permutations": 999, "level": 0.95, "smallest_r": 0.1, "bayes_scale": 0.7}
NULLS = {
    "families": ["moran", "gaussian"],
    "n": 999,
    "n_beside": 999,
    "procedure": "singleton",
    "method": "spearman",
    "min_parcels": 100,
}
MAPS = pd.DataFrame(
    {
        "receptor": ["mu", "kappa"],
        "label": ["MOR", "KOR"],
        "unit": ["BP_ND", "BP_ND"],
        "citation": ["a", "b"],
    }
)
CHOICE = {"target": "mu", "min_subjects": 0.8, "min_parcels": 100}


class Study:
    """Parcels of a slab of cortex and a ball of subcortex, and 12 people."""

    def __init__(self, slope, seed=7, n_subjects=12, n_cortex=100, n_subcortex=20):
        rng = np.random.default_rng(seed)
        n = n_cortex + n_subcortex
        self.region = [f"p{i:03}" for i in range(n)]
        self.structure = ["cortex"] * n_cortex + ["subcortex"] * n_subcortex
        self.xyz = rng.uniform(-60, 60, size=(n, 3))
        self.binding = rng.gamma(2, 1, size=(2, n))
        self.binding[:, n_cortex:] += 3
        gain = rng.normal(1, 0.3, size=(n_subjects, 1))
        noise = rng.normal(0, 1, size=(n_subjects, n))
        own = (self.binding[0] - self.binding[0].mean())[None]
        self.values = 0.3 * noise + slope * gain * own
        self.subjects = [f"{i:02}" for i in range(n_subjects)]

    @property
    def attenuation(self):
        wide = pd.DataFrame(self.values, self.subjects, self.region)
        wide = wide.rename_axis("subject").rename_axis("region", axis=1)
        long = wide.stack().rename("attenuation").reset_index()
        return long.assign(contrast="partner")

    @property
    def receptors(self):
        pieces = [
            pd.DataFrame(
                {
                    "receptor": name,
                    "region": self.region,
                    "structure": self.structure,
                    "binding": binding,
                }
            )
            for name, binding in zip(("mu", "kappa"), self.binding, strict=True)
        ]
        return pd.concat(pieces, ignore_index=True)

    @property
    def definitions(self):
        return pd.DataFrame(self.xyz, columns=["x", "y", "z"]).assign(
            region=self.region
        )

    def select(self, **changes):
        attenuation = self.attenuation.dropna() if not changes else self.attenuation
        return select_parcels(
            attenuation, self.receptors, self.definitions, **{**CHOICE, **changes}
        )


# --- Which parcels ---------------------------------------------------------------------------


def test_whole_maps_are_used_whole():
    study = Study(slope=0.3)
    found = study.select()
    assert found["used"].all()
    assert found["reason"].isna().all()
    assert found["region"].tolist() == study.region
    assert found["group"].to_numpy() == pytest.approx(study.values.mean(axis=0))
    assert found["binding"].tolist() == study.binding[0].tolist()
    assert set(found["n_subjects"]) == {12}
    assert found[["x", "y", "z"]].to_numpy().tolist() == study.xyz.tolist()


@pytest.mark.parametrize(("n_missing", "used"), [(2, True), (3, False)])
def test_a_parcel_needs_its_share_of_the_people(n_missing, used):
    study = Study(slope=0.3)
    study.values[:n_missing, 5] = np.nan
    row = study.select(min_subjects=10 / 12).iloc[5]
    assert row["n_subjects"] == 12 - n_missing
    assert row["used"] == used
    assert row["group"] == pytest.approx(study.values[n_missing:, 5].mean())
    assert (row["reason"] == "covered in too few subjects") != used


@pytest.mark.parametrize(("share", "n"), [(0.56, 25), (0.07, 100), (0.28, 25)])
def test_a_share_that_is_met_exactly_is_met(share, n):
    # 0.56 * 25 is 14.000000000000002: a product would ask for a fifteenth person
    assert share * n > round(share * n)
    study = Study(slope=0.3, n_subjects=n)
    study.values[round(share * n) :, 5] = np.nan
    assert study.select(min_subjects=share)["used"].iloc[5]


def test_a_parcel_that_the_map_does_not_cover_is_left_out():
    study = Study(slope=0.3)
    study.binding[0, 3] = np.nan
    study.binding[1, 4] = np.nan
    study.values[:, 6] = np.nan
    found = study.select(min_parcels=100)
    assert found.loc[~found["used"], "reason"].to_dict() == {
        3: "not covered by mu",
        6: "covered in too few subjects",
    }


@pytest.mark.parametrize(("n_subcortex", "used"), [(10, True), (9, False)])
def test_a_structure_too_small_for_its_own_nulls_is_left_out(n_subcortex, used):
    found = Study(slope=0.3, n_subcortex=n_subcortex).select()
    small = found[found["structure"] == "subcortex"]
    assert (small["used"] == used).all()
    if not used:
        assert set(small["reason"]) == {"its structure has fewer than 10 parcels"}
    assert found.loc[found["structure"] == "cortex", "used"].all()


def test_fewer_than_100_parcels_are_refused_with_the_reasons():
    study = Study(slope=0.3, n_cortex=105, n_subcortex=9)
    study.binding[0, :4] = np.nan
    study.values[:3, 4:6] = np.nan
    with pytest.raises(StudyError, match=r"partner: 99 parcels") as caught:
        study.select(min_subjects=0.8)
    for part in (
        "9 its structure has fewer than 10 parcels",
        "4 not covered by mu",
        "2 covered in too few subjects",
        "needs 100 (nulls.min_parcels)",
    ):
        assert part in str(caught.value)
    study.binding[0, 0] = 1.0
    assert study.select(min_subjects=0.8)["used"].sum() == 100


def test_every_contrast_chooses_its_own_parcels():
    study = Study(slope=0.3)
    second = study.attenuation.assign(contrast="stranger")
    second.loc[second["region"] == "p007", "attenuation"] = np.nan
    table = pd.concat([study.attenuation, second], ignore_index=True)
    found = select_parcels(table, study.receptors, study.definitions, **CHOICE)
    lost = found[~found["used"]]
    assert lost[["contrast", "region"]].to_numpy().tolist() == [["stranger", "p007"]]


@pytest.mark.parametrize("absent", [False, True], ids=["blank", "absent"])
@pytest.mark.parametrize(("n", "enough"), [(10, True), (9, False), (0, False)])
def test_people_who_cover_next_to_no_parcel_are_refused_by_name(n, enough, absent):
    study = Study(slope=0.3)
    study.binding[0, 3] = np.nan  # covered, and not among the used
    covered = [i for i in range(n + 1) if i != 3] if n else []
    study.values[4, [i for i in range(120) if i not in (*covered, 3)]] = np.nan
    table = study.attenuation.dropna() if absent else study.attenuation

    def select():
        return select_parcels(table, study.receptors, study.definitions, **CHOICE)

    if enough:
        assert select()["used"].sum() == 119
        return
    with pytest.raises(StudyError, match="partner: 1 of 12 subjects") as caught:
        select()
    for part in (
        f"fewer than 10 of 119 parcels: sub-04 ({n}).",
        "maps.exclude_column",
        "bids.exclude",
        "regions.min_coverage",
    ):
        assert part in str(caught.value)


# --- Q2 --------------------------------------------------------------------------------


def assess(study, parcels=None, seed=3, null_seed=11, distances=None, **changes):
    parcels = study.select() if parcels is None else parcels
    table, null_r = assess_correspondence(
        study.attenuation,
        parcels,
        tests=TESTS,
        nulls={**NULLS, **changes},
        null_seed=null_seed,
        rng=np.random.default_rng(seed),
        distances=distances,
    )
    return table.set_index(["scope", "method"]), null_r


def within(x, y, structure, rank=lambda values: values):
    """Correlate within structures, from scipy and means alone."""
    x, y, structure = (np.asarray(part) for part in (x, y, structure))
    parts = []
    for name in np.unique(structure):
        inside = structure == name
        a, b = rank(x[inside]) / inside.sum(), rank(y[inside]) / inside.sum()
        if rank is not stats.rankdata:
            a, b = a * inside.sum(), b * inside.sum()
        parts.append(np.stack([a - a.mean(), b - b.mean()]))
    return stats.pearsonr(*np.concatenate(parts, axis=1)).statistic


def test_a_planted_correspondence_passes_both_nulls():
    study = Study(slope=0.3)
    table, null_r = assess(study)
    row = table.loc[("all", "spearman")]
    assert row["p_map"] == 1 / 1000  # beyond every surrogate
    assert row["p_subject"] == 1 / 1000
    assert row["p"] == max(row["p_map"], row["p_subject"])
    assert row["effect"] > 0.5
    assert row["n"] == 12
    assert row["n_parcels"] == 120
    assert set(table["question"]) == {"Q2"}
    assert set(table["receptor"]) == {"mu"}
    assert set(null_r) == {
        f"partner {method} {family}"
        for method in ("spearman", "pearson")
        for family in ("moran", "gaussian")
    }


def test_a_turned_attenuation_turns_the_sign():
    row = assess(Study(slope=-0.3))[0].loc[("all", "pearson")]
    assert row["effect"] < -0.5
    assert row["mean_r"] < 0
    assert row["statistic"] < 0


def test_the_correlations_are_those_of_scipy_within_structures():
    study = Study(slope=0.05)
    study.values[0, 110:] = np.nan  # one person lacks half of the subcortex
    table, _ = assess(study, study.select(min_subjects=0.5))
    group = np.nanmean(study.values, axis=0)
    cortex = np.array(study.structure) == "cortex"
    mu = study.binding[0]
    for method, rank, plain in (
        ("pearson", np.asarray, stats.pearsonr),
        ("spearman", stats.rankdata, stats.spearmanr),
    ):
        expected = {
            "all": within(group, mu, study.structure, rank),
            "cortex": plain(group[cortex], mu[cortex]).statistic,
            "subcortex": plain(group[~cortex], mu[~cortex]).statistic,
        }
        for scope, r in expected.items():
            # the one who lacks half of the subcortex still has the ten it takes
            row = table.loc[(scope, method)]
            assert row["effect"] == pytest.approx(r, abs=1e-9)
            assert (
                row["n_parcels"] == {"all": 120, "cortex": 100, "subcortex": 20}[scope]
            )
        overall = plain(group, mu).statistic
        assert table.loc[("all", method), "r_overall"] == pytest.approx(overall)


def test_the_subject_null_is_a_t_test_of_fisher_z():
    study = Study(slope=0.05)
    row = assess(study)[0].loc[("all", "pearson")]
    z = np.arctanh(
        [within(own, study.binding[0], study.structure) for own in study.values]
    )
    t = stats.ttest_1samp(z, 0)
    low, high = t.confidence_interval(0.95)
    assert row["statistic"] == pytest.approx(t.statistic)
    assert row["mean_r"] == pytest.approx(np.tanh(z.mean()))
    assert (row["mean_r_low"], row["mean_r_high"]) == pytest.approx(
        (np.tanh(low), np.tanh(high))
    )
    assert not {"low", "high"} & set(row.index)


def test_people_with_too_few_parcels_of_a_scope_leave_that_scope_only():
    study = Study(slope=0.3)
    study.values[0, 109:] = np.nan  # nine of the subcortex are left
    table, _ = assess(study, study.select(min_subjects=0.5))
    assert table["n"].unstack()["pearson"].to_dict() == {
        "all": 12,
        "cortex": 12,
        "subcortex": 11,
    }


def test_unrelated_maps_do_not_pass():
    # each passes with probability .05 at most, so that 3 of 4 do with less than .0005
    passed = [
        assess(Study(slope=0.0, seed=seed))[0].loc[("all", "spearman"), "p"] <= 0.05
        for seed in range(4)
    ]
    assert sum(passed) <= 2


def test_nulls_of_spearman_are_those_of_the_ranks():
    # A monotone change of the map keeps its ranks: with nulls of the ranks, nothing moves.
    study = Study(slope=0.1)
    before, null_before = assess(study)
    study.binding[0] = np.exp(2 * study.binding[0])
    after, null_after = assess(study)
    columns = ["effect", "p_map", "null_low", "null_high", "p_map_of_attenuation", "p"]
    columns += ["p_gaussian", "null_sd_gaussian"]
    for scope in ("all", "cortex", "subcortex"):
        assert after.loc[(scope, "spearman"), columns].to_dict() == pytest.approx(
            before.loc[(scope, "spearman"), columns].to_dict()
        )
    for family in ("moran", "gaussian"):
        key = f"partner spearman {family}"
        assert null_after[key] == pytest.approx(null_before[key])
    pearson = ("all", "pearson")
    assert abs(after.loc[pearson, "effect"] - before.loc[pearson, "effect"]) > 0.01


def test_the_drawn_nulls_are_those_that_gave_the_p():
    study = Study(slope=0.005)
    table, null_r = assess(study)
    for method in ("pearson", "spearman"):
        row = table.loc[("all", method)]
        for family in ("moran", "gaussian"):
            nulls = null_r[f"partner {method} {family}"]
            assert nulls.shape == (999,)
            at_least = np.abs(nulls) >= abs(row["effect"]) - 1e-12
            p, sd = (1 + at_least.sum()) / 1000, nulls.std(ddof=1)
            assert row[f"p_{family}"] == pytest.approx(p)
            assert row[f"null_sd_{family}"] == pytest.approx(sd)
            assert p > 0.002  # or every family would agree
            if family == "moran":  # the first, which decides
                assert row["p_map"] == pytest.approx(p)
                assert row["null_sd"] == pytest.approx(sd)


def test_the_first_family_decides_and_the_others_draw_fewer():
    study = Study(slope=0.05)
    parcels = study.select()
    chosen = {"families": ["gaussian", "moran"], "n": 1999}
    (first, _), (turned, null_r) = (
        assess(study, parcels, **changes) for changes in ({}, chosen)
    )
    assert set(first["null_method"]) == {"Moran singleton"}
    assert set(turned["null_method"]) == {"Gaussian field"}
    assert (turned["p_map"] == turned["p_gaussian"]).all()
    assert (turned["null_sd"] == turned["null_sd_gaussian"]).all()
    assert first["p_map"].tolist() == turned["p_moran"].tolist()
    assert (first["p_map"] != turned["p_map"]).any()
    assert (turned["p"] == turned[["p_map", "p_subject"]].max(axis=1)).all()
    assert null_r["partner spearman gaussian"].shape == (1999,)
    assert null_r["partner spearman moran"].shape == (999,)
    for column in ("effect", "p_subject", "mean_r"):
        assert first[column].tolist() == turned[column].tolist()


def test_the_seed_of_the_nulls_moves_the_map_null_and_nothing_else():
    study = Study(slope=0.05)
    parcels = study.select()
    first, again, other = (
        assess(study, parcels, null_seed=seed)[0] for seed in (1, 1, 2)
    )
    pd.testing.assert_frame_equal(first, again)
    assert (first["null_sd"] != other["null_sd"]).all()
    for column in ("effect", "p_subject", "mean_r", "bf10", "p_naive"):
        assert first[column].tolist() == other[column].tolist()


def test_one_structure_alone_will_do():
    study = Study(slope=0.3, n_cortex=120, n_subcortex=9)
    table, _ = assess(study)
    assert set(table.index.get_level_values("scope")) == {"all", "cortex"}
    assert table.loc[("all", "pearson"), "effect"] == pytest.approx(
        table.loc[("cortex", "pearson"), "effect"]
    )


# --- Given distances -------------------------------------------------------------------


def distances_of(study, factor=1.0):
    """Table of distances as text, blank between the structures, other parcels beside."""
    apart = factor * np.linalg.norm(study.xyz[:, None] - study.xyz, axis=-1)
    cortex = np.array(study.structure) == "cortex"
    apart[cortex[:, None] != cortex] = np.nan
    wide = pd.DataFrame(apart, study.region, study.region).assign(other=1.0)
    text = wide.map("{:.17g}".format).mask(wide.isna()).rename_axis("region")
    return text.sample(frac=1, random_state=1).reset_index()


def test_straight_lines_given_are_those_measured():
    study = Study(slope=0.05)
    parcels = study.select()
    measured, given = (
        assess(study, parcels, distances=distances)[0]
        for distances in (None, distances_of(study))
    )
    assert set(given["null_method"]) == {"Moran singleton, given distances"}
    columns = ["p_moran", "p_gaussian", "null_sd_moran", "null_sd_gaussian"]
    assert given[columns].to_numpy() == pytest.approx(measured[columns].to_numpy())


def test_distances_given_are_used_and_blank_ones_measured():
    study = Study(slope=0.05)
    parcels = study.select()
    table = distances_of(study).set_index("region")
    table.loc["p001", "p000"] = table.loc["p000", "p001"] = "500"
    found = arrange_distances(table.reset_index(), parcels)
    straight = np.linalg.norm(study.xyz[:, None] - study.xyz, axis=-1)
    expected = straight.copy()
    expected[0, 1] = expected[1, 0] = 500
    assert found == pytest.approx(expected)
    half = table.loc[parcels["region"], parcels["region"]]
    half = half.mask(np.tri(len(half), dtype=bool)).reset_index()
    assert half.notna().sum().sum() < table.notna().sum().sum() / 2 + len(half)
    assert arrange_distances(half, parcels) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {("p001", "p000"): "far"},
            "1 pairs is no number, first that of p001 and p000",
        ),
        ({("p001", "p000"): "0", ("p000", "p001"): "0"}, "2 pairs is not above 0 mm"),
        ({("p001", "p000"): "7"}, "2 pairs differs from the way back"),
        ("names", "names none of the 120 parcels, such as p000"),
        ("column", "needs a column region"),
        ("twice", "needs a column region that names each parcel once"),
    ],
)
def test_distances_that_are_none_are_refused(change, words):
    study = Study(slope=0.05)
    table = distances_of(study)
    if change == "names":
        table["region"] = "q" + table["region"]
    elif change == "column":
        table = table.rename(columns={"region": "parcel"})
    elif change == "twice":
        table = pd.concat([table, table.iloc[:1]])
    else:
        table = table.set_index("region")
        for place, value in change.items():
            table.loc[place] = value
        table = table.reset_index()
    with pytest.raises(StudyError, match=words) as caught:
        arrange_distances(table, study.select())
    assert "nulls.distances" in str(caught.value)


# --- Coupling --------------------------------------------------------------------------


def test_coupling_is_each_persons_own_correlation():
    study = Study(slope=0.1)
    study.values[1, :9] = np.nan
    parcels = study.select(min_subjects=0.5)
    study.values[2, 5:] = np.nan
    for method, column in (("pearson", "r"), ("spearman", "r_spearman")):
        found = couple_subjects(study.attenuation, parcels, method=method)
        assert found["subject"].tolist() == study.subjects
        assert found["n_parcels"].tolist()[:4] == [120, 111, 5, 120]
        assert found["fisher_z"].tolist() == pytest.approx(
            np.arctanh(found[column]).tolist(), nan_ok=True
        )
        assert np.isnan(
            found.loc[2, ["r", "r_spearman", "fisher_z"]].astype(float)
        ).all()
        for row, first in ((0, 0), (1, 9)):
            rank = stats.rankdata if method == "spearman" else np.asarray
            expected = within(
                study.values[row, first:],
                study.binding[0, first:],
                study.structure[first:],
                rank,
            )
            assert found.loc[row, column] == pytest.approx(expected)
        assert found["fisher_z_baseline"].isna().all()


def test_the_response_alone_is_coupled_over_the_same_parcels():
    study = Study(slope=0.1)
    parcels = study.select()
    alone = study.attenuation.assign(
        response_baseline=study.attenuation["attenuation"],
        attenuation=study.attenuation["attenuation"] ** 2,
    )
    found = couple_subjects(alone, parcels, method="spearman")
    same = couple_subjects(study.attenuation, parcels, method="spearman")
    assert found["fisher_z_baseline"].tolist() == same["fisher_z"].tolist()
    assert found["fisher_z"].tolist() != same["fisher_z"].tolist()
    images = couple_subjects(
        alone.assign(response_baseline=np.nan), parcels, method="spearman"
    )
    assert images["fisher_z_baseline"].isna().all()


# --- Q5 --------------------------------------------------------------------------------


def specify(study, parcels=None, maps=MAPS, **changes):
    parcels = study.select() if parcels is None else parcels
    return assess_specificity(
        parcels,
        study.receptors,
        maps,
        level=0.95,
        nulls={**NULLS, **changes},
        null_seed=11,
    )


def test_the_planted_map_stands_out_from_the_other():
    found = specify(Study(slope=0.3))
    assert found["receptor"].tolist() == ["mu", "kappa"]
    assert found["target"].tolist() == [True, False]
    assert found["effect"].iloc[0] > 0.5 > abs(found["effect"].iloc[1])
    assert found["difference"].tolist() == pytest.approx(
        (found["effect"].iloc[0] - found["effect"]).tolist()
    )
    assert found["p_fwe"].iloc[0] <= 2 / 1000  # two maps
    assert found["p_difference_fwe"].iloc[1] <= 0.05
    assert np.isnan(found["p_difference"].iloc[0])
    assert set(found["n_parcels"]) == {120}
    assert set(found["question"]) == {"Q5"}


def test_every_family_judges_the_panel_and_the_first_decides():
    study = Study(slope=0.1)
    parcels = study.select()
    found = specify(study, parcels, families=["gaussian", "variogram", "moran"])
    assert set(found["null_method"]) == {"Gaussian field"}
    for name in ("p", "p_fwe", "p_difference_fwe"):
        of_each = found[[f"{name}_{f}" for f in ("gaussian", "variogram", "moran")]]
        pd.testing.assert_series_equal(
            found[name], of_each.iloc[:, 0], check_names=False
        )
        assert not (of_each.iloc[:, 1] == of_each.iloc[:, 2]).all()
    moran = specify(study, parcels)
    assert moran["p_fwe"].tolist() == found["p_fwe_moran"].tolist()


def test_the_target_is_the_first_map_wherever_the_table_of_binding_has_it():
    study = Study(slope=0.3)
    parcels = study.select()
    found = specify(study, parcels, MAPS.iloc[::-1].reset_index(drop=True))
    assert found["receptor"].tolist() == ["kappa", "mu"]
    assert found["target"].tolist() == [True, False]
    assert found["difference"].iloc[1] < 0
    assert found["r_with_target"].iloc[0] == pytest.approx(1)
    assert found["effect"].tolist() == pytest.approx(
        specify(study, parcels)["effect"].tolist()[::-1]
    )


@pytest.mark.parametrize("method", ["spearman", "pearson"])
def test_the_numbers_of_the_panel_are_those_of_scipy(method):
    study = Study(slope=0.1)
    found = specify(study, method=method)
    rank = stats.rankdata if method == "spearman" else np.asarray
    group = study.values.mean(axis=0)
    expected = [within(group, own, study.structure, rank) for own in study.binding]
    assert found["effect"].tolist() == pytest.approx(expected)
    assert set(found["method"]) == {method}
    both = within(*study.binding, study.structure, rank)
    assert found["r_with_target"].tolist() == pytest.approx([1, both])
    y = study.xyz[:, 1]
    axis = [stats.pearsonr(own, y).statistic for own in study.binding]
    assert found["r_with_y"].tolist() == pytest.approx(axis)
    r2 = stats.pearsonr(*study.binding).statistic ** 2
    assert found["r_squared"].iloc[0] == pytest.approx(r2)
    assert found["vif"].tolist() == pytest.approx([1 / (1 - r2)] * 2)


def test_the_panel_runs_over_the_parcels_that_every_map_covers():
    study = Study(slope=0.3, n_cortex=110)
    study.binding[1, :4] = np.nan
    assert set(specify(study)["n_parcels"]) == {126}
    study.binding[1, :31] = np.nan
    with pytest.raises(StudyError, match=r"all maps of receptors\.panel: 99 parcels"):
        specify(study)


def test_a_structure_that_the_panel_hardly_covers_is_an_error_that_names_it():
    study = Study(slope=0.3, n_cortex=120)
    study.binding[1, 129:] = np.nan
    with pytest.raises(StudyError, match=r"9 parcels of subcortex") as caught:
        specify(study)
    assert "receptors.panel" in str(caught.value)


def test_what_only_describes_stands_below_and_has_no_verdict():
    judged = pd.DataFrame(
        {"receptor": "mu", "scope": ["all"], "n": 12, "p": 0.01, "verdict": "supported"}
    )
    voxels = pd.DataFrame({"scope": ["voxels"], "p": 0.001, "n_voxels": 5000})
    rois = pd.DataFrame({"scope": ["rois"] * 2, "p": 1 / 24, "definition": ["a", "b"]})
    found = with_descriptive(judged, [voxels, rois])
    assert found["scope"].tolist() == ["all", "voxels", "rois", "rois"]
    assert found["verdict"].isna().tolist() == [False, True, True, True]
    assert set(found["receptor"]) == {"mu"}
    assert found["n"].iloc[0] == 12
