"""Correspondence against scipy, regression, counts by hand and planted worlds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from handhold.bayes import ttest_bf10
from handhold.correspondence import (
    average_subjects,
    correspond,
    couple,
    naive_p,
    rank_within,
    within_r,
)
from handhold.nulls import moran, moran_by_structure, two_sided_p
from handhold.permutation import flip_signs

ROUNDING = 1e-9
LEVEL, SMALLEST_R = 0.9, 0.1

seeds = st.integers(0, 2**32 - 1)
both_kinds = pytest.mark.parametrize("ranked", [False, True])


def draw_structure(rng, n_cortex=40, n_subcortex=15):
    """Name the structures of parcels in random order."""
    names = np.repeat(["cortex", "subcortex"], [n_cortex, n_subcortex])
    return rng.permutation(names)


def draw_study(rng, n_subjects=12, n_parcels=55, n_nulls=99):
    """Draw attenuation with gaps, binding, structure and unstructured nulls."""
    structure = draw_structure(rng, n_parcels - 15)
    binding = rng.gamma(1.0, size=n_parcels) + 5 * (structure == "subcortex")
    attenuation = rng.standard_normal((n_subjects, n_parcels)) + 0.3 * binding
    attenuation[rng.random(attenuation.shape) < 0.1] = np.nan
    nulls = rng.permuted(np.tile(binding, (n_nulls, 1)), axis=1)
    return attenuation, binding, structure, nulls


def judge(attenuation, binding, structure, nulls, rng, **changes):
    settings = {
        "nulls_of_attenuation": None,
        "n_permutations": 999,
        "level": LEVEL,
        "smallest_r": SMALLEST_R,
        "bayes_scale": np.sqrt(0.5),
        "ranked": False,
    }
    return correspond(
        attenuation, binding, structure, nulls, rng=rng, **{**settings, **changes}
    )


# The statistic ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ranked", "reference"), [(False, stats.pearsonr), (True, stats.spearmanr)]
)
def test_one_structure_is_plain_correlation(ranked, reference, rng):
    maps = rng.integers(-3, 4, size=(5, 40)).astype(float)  # with ties
    binding = rng.integers(0, 6, size=40) ** 2.0
    r = within_r(maps, binding, np.repeat("cortex", 40), ranked)
    expected = [reference(x, binding).statistic for x in maps]
    assert np.abs(r - expected).max() < ROUNDING


def test_two_structures_are_a_partial_correlation(rng):
    structure = draw_structure(rng)
    dummy = np.column_stack([np.ones(55), structure == "cortex"])
    x, y = rng.standard_normal((2, 55)) + 3 * dummy[:, 1]
    residuals = [v - dummy @ np.linalg.lstsq(dummy, v)[0] for v in (x, y)]
    expected = stats.pearsonr(*residuals).statistic
    assert within_r(x, y, structure) == pytest.approx(expected, abs=ROUNDING)
    # the step itself correlates, so forgetting to centre would be seen
    assert stats.pearsonr(x, y).statistic > expected + 0.3


def test_ranks_are_taken_within_structures(rng):
    structure = draw_structure(rng)
    x, y = rng.standard_normal((2, 55)) + 3.0 * (structure == "cortex")
    expected = []
    for v in (x, y):
        ranks = np.empty(55)
        for name in ("cortex", "subcortex"):
            inside = structure == name
            ranks[inside] = stats.rankdata(v[inside]) / inside.sum()
            ranks[inside] -= ranks[inside].mean()
        expected.append(ranks)
    r = within_r(x, y, structure, ranked=True)
    assert r == pytest.approx(stats.pearsonr(*expected).statistic, abs=ROUNDING)


def test_ranks_of_structures_of_different_size_weigh_alike(rng):
    """Agreement in 15 parcels and reversal in 40 average by number of parcels.

    Ranks over n spread over a variance of (1 - 1 / n^2) / 12, nearly the same
    for both; bare ranks would spread over (n^2 - 1) / 12 and hide the 15.
    """
    structure = draw_structure(rng)
    x = rng.standard_normal(55)
    y = np.where(structure == "cortex", -x, x)
    spread = {"cortex": 40 - 1 / 40, "subcortex": 15 - 1 / 15}
    expected = (spread["subcortex"] - spread["cortex"]) / sum(spread.values())
    assert within_r(x, y, structure, True) == pytest.approx(expected, abs=ROUNDING)


@both_kinds
@given(seed=seeds, gain=st.floats(0.01, 100), offset=st.floats(-50, 50))
@settings(max_examples=25, deadline=None)
def test_units_steps_and_order_do_not_matter(ranked, seed, gain, offset):
    rng = np.random.default_rng(seed)
    structure = draw_structure(rng)
    x, y = rng.standard_normal((2, 55))
    r = within_r(x, y, structure, ranked)
    order = rng.permutation(55)
    stepped = gain * x + offset * (structure == "cortex")
    assert within_r(stepped, y, structure, ranked) == pytest.approx(r, abs=ROUNDING)
    assert within_r(-x, y, structure, ranked) == pytest.approx(-r, abs=ROUNDING)
    moved = within_r(x[order], y[order], structure[order], ranked)
    assert moved == pytest.approx(r, abs=ROUNDING)


def test_what_has_no_correlation_is_refused(rng):
    structure = draw_structure(rng)
    x, y = rng.standard_normal((2, 55))
    with pytest.raises(ValueError, match="1 of 2 maps are constant within every"):
        within_r(np.stack([x, 0.1 * (structure == "cortex")]), y, structure)
    with pytest.raises(ValueError, match="1 of 1 maps are constant"):
        within_r(x, np.full(55, 0.3), structure, True)
    holed = np.where(np.arange(55) == 3, np.nan, x)
    with pytest.raises(ValueError, match="1 values are missing"):
        within_r(holed, y, structure)
    with pytest.raises(ValueError, match=r"binding has shape \(54,\)"):
        within_r(x, y[1:], structure)


# Subjects -----------------------------------------------------------------------


@both_kinds
def test_each_subject_is_correlated_over_its_own_parcels(ranked, rng):
    attenuation, binding, structure, _ = draw_study(rng)
    attenuation[4, 8:] = np.nan
    coupling = couple(attenuation, binding, structure, 10, ranked)
    own = ~np.isnan(attenuation)
    assert (coupling.n_parcels == own.sum(axis=1)).all()
    assert np.flatnonzero(np.isnan(coupling.r)).tolist() == [4]
    for row in (0, 7):
        here = own[row]
        r = within_r(attenuation[row, here], binding[here], structure[here], ranked)
        assert coupling.r[row] == pytest.approx(r, abs=ROUNDING)
        assert coupling.z[row] == pytest.approx(
            0.5 * np.log((1 + r) / (1 - r)), abs=ROUNDING
        )
    # exactly at the minimum is enough, one short is not
    least = coupling.n_parcels[0]
    assert np.isfinite(couple(attenuation[:1], binding, structure, least).r).all()
    assert np.isnan(couple(attenuation[:1], binding, structure, least + 1).r).all()


def test_a_perfect_subject_has_a_finite_z(rng):
    _, binding, structure, _ = draw_study(rng)
    z = couple(np.stack([binding, -binding]), binding, structure, 10).z
    assert z == pytest.approx([14.16, -14.16], abs=0.01)


def test_a_constant_subject_is_named_by_its_row(rng):
    attenuation, binding, structure, _ = draw_study(rng)
    attenuation[2] = 0.7
    with pytest.raises(ValueError, match=r"subject in row 2: .*constant"):
        couple(attenuation, binding, structure, 10)


def test_the_group_map_averages_who_has_the_parcel():
    attenuation = [[1.0, np.nan, 2.0], [3.0, 5.0, 4.0]]
    assert average_subjects(attenuation).tolist() == [2.0, 5.0, 3.0]
    with pytest.raises(ValueError, match="1 of 2 parcels have no subject"):
        average_subjects([[1.0, np.nan], [2.0, np.nan]])
    with pytest.raises(ValueError, match="infinite"):
        average_subjects([[1.0, np.inf], [2.0, 1.0]])


# Everything together ------------------------------------------------------------


@both_kinds
def test_every_number_by_an_independent_calculation(ranked, rng):
    attenuation, binding, structure, nulls = draw_study(rng)
    # Some nulls resemble the other map, so that there is something to count.
    likeness = 5 * rng.standard_normal((99, 1))
    other_nulls = nulls[:49] + likeness[:49] * binding
    nulls = nulls + likeness * np.nanmean(attenuation, axis=0)
    found = judge(
        attenuation,
        binding,
        structure,
        nulls,
        np.random.default_rng(3),
        ranked=ranked,
        nulls_of_attenuation=other_nulls,
    )
    group = np.nanmean(attenuation, axis=0)

    def correlate(x, y):
        residuals = []
        for v in (x, y):
            v = v.copy()
            for name in ("cortex", "subcortex"):
                inside = structure == name
                if ranked:
                    v[inside] = stats.rankdata(v[inside]) / inside.sum()
                v[inside] -= v[inside].mean()
            residuals.append(v)
        return stats.pearsonr(*residuals).statistic

    r = correlate(group, binding)
    null_r = np.array([correlate(null, group) for null in nulls])
    other_r = np.array([correlate(null, binding) for null in other_nulls])
    assert found.r == pytest.approx(r, abs=ROUNDING)
    assert found.p_map == (1 + (np.abs(null_r) >= abs(r)).sum()) / 100
    assert found.p_map_of_attenuation == (1 + (np.abs(other_r) >= abs(r)).sum()) / 50
    assert found.null_sd == pytest.approx(np.std(null_r, ddof=1), abs=ROUNDING)
    assert found.null_low == pytest.approx(np.quantile(null_r, 0.05), abs=ROUNDING)
    assert found.null_high == pytest.approx(np.quantile(null_r, 0.95), abs=ROUNDING)

    assert 0.1 < found.p_map < 0.9
    assert 0.1 < found.p_map_of_attenuation < 0.9

    overall = (stats.spearmanr if ranked else stats.pearsonr)(group, binding)
    assert found.r_overall == pytest.approx(overall.statistic, abs=ROUNDING)
    # partial correlation given one dummy: 55 - 2 - 1 degrees of freedom
    t = r * np.sqrt(52 / (1 - r**2))
    assert found.p_naive == pytest.approx(2 * stats.t.sf(abs(t), 52), rel=1e-6)

    z = couple(attenuation, binding, structure, 10, ranked).z
    test = stats.ttest_1samp(z, 0)
    low, high = test.confidence_interval(LEVEL)
    assert (found.mean_z, found.t_subject) == pytest.approx((z.mean(), test.statistic))
    assert (found.z_low, found.z_high) == pytest.approx((low, high))
    bound = np.arctanh(SMALLEST_R)
    above = stats.ttest_1samp(z, -bound, alternative="greater").pvalue
    below = stats.ttest_1samp(z, bound, alternative="less").pvalue
    assert found.p_tost == pytest.approx(max(above, below), rel=1e-6)
    assert found.bf10 == pytest.approx(float(ttest_bf10(test.statistic, 12)))
    flips = flip_signs(z[:, np.newaxis], 999, np.random.default_rng(3))
    assert found.p_subject == flips.p[0]
    assert found.p == max(found.p_map, found.p_subject)
    assert (found.n_subjects, found.n_parcels) == (12, 55)


def test_naive_p_is_that_of_scipy(rng):
    x, y = rng.standard_normal((2, 30))
    expected = stats.pearsonr(x, y)
    assert naive_p(expected.statistic, 30, 1) == pytest.approx(expected.pvalue)
    expected = stats.spearmanr(x, y)
    assert naive_p(expected.statistic, 30, 1) == pytest.approx(expected.pvalue)
    assert naive_p(1.0, 30, 1) == 0


def test_either_test_can_be_the_larger_p(rng):
    attenuation, binding, structure, nulls = draw_study(rng, n_nulls=999)
    strong = judge(attenuation, binding, structure, nulls, rng)
    assert strong.p_map == strong.p_subject == strong.p == 1 / 1000
    # the map is one of its own nulls over and over: the map null cannot reject
    own = judge(attenuation, binding, structure, np.tile(binding, (99, 1)), rng)
    assert (own.p_map, own.p, own.p_subject) == (1, 1, 1 / 1000)
    # three subjects: the sign flips cannot fall below 2 / 8
    few = judge(np.nan_to_num(attenuation[:3]), binding, structure, nulls, rng)
    assert (few.p_subject, few.p) == (0.25, 0.25)
    assert few.p_map < 0.05
    assert np.isnan(few.p_map_of_attenuation)


def test_a_subject_short_of_parcels_is_refused_not_dropped(rng):
    attenuation, binding, structure, nulls = draw_study(rng)
    attenuation[[1, 6], 5:] = np.nan
    with pytest.raises(ValueError, match=r"2 of 12 .* fewer than 10 .*rows 1, 6"):
        judge(attenuation, binding, structure, nulls, rng)
    with pytest.raises(ValueError, match="smallest_r is 2"):
        judge(attenuation, binding, structure, nulls, rng, smallest_r=2)
    with pytest.raises(ValueError, match="2 subjects with z"):
        judge(attenuation[2:4], binding, structure, nulls, rng)
    alike = np.outer([1.0, 2.0, 3.0], np.arange(55))
    with pytest.raises(ValueError, match="at least 3, who differ"):
        judge(alike, binding, structure, nulls, rng)


# Nulls and the statistic --------------------------------------------------------


def test_nulling_either_map_is_one_test_under_the_same_signs(rng):
    """Singleton and Pearson: the loadings of both maps are multiplied either way."""
    coordinates = rng.uniform(-70, 70, size=(55, 3))
    structure = draw_structure(rng)
    x, y = (coordinates @ rng.standard_normal((3, 2)) / 40).T
    x, y = x + rng.standard_normal(55), y + rng.standard_normal(55)
    of_x, of_y = (
        moran_by_structure(v, coordinates, structure, 500, np.random.default_rng(2))
        for v in (x, y)
    )
    assert (
        np.abs(within_r(of_x, y, structure) - within_r(of_y, x, structure)).max()
        < ROUNDING
    )
    # with ranks, which are no linear function of the map, only in distribution
    ranked = [within_r(of_x, y, structure, True), within_r(of_y, x, structure, True)]
    assert np.abs(ranked[0] - ranked[1]).max() > 0.01
    assert np.std(ranked[0]) == pytest.approx(np.std(ranked[1]), rel=0.15)


def test_ranking_the_map_but_not_the_nulls_moves_p():
    """Counterexample: rho of the map among raw correlations of the nulls.

    The group map is skewed; its few large values, which ranks tame, govern the raw
    correlations, and here they make a chance rho look like a discovery.
    """
    rng = np.random.default_rng(2)
    coordinates = rng.uniform(-70, 70, size=(N_PARCELS, 3))
    distance = np.linalg.norm(coordinates[:, np.newaxis] - coordinates, axis=-1)
    root = np.linalg.cholesky(np.exp(-distance / 40))
    latent, noise = (root @ rng.standard_normal((N_PARCELS, 2))).T
    group, binding = np.exp(3 * (noise + 0.15 * latent)), np.exp(latent)
    nulls = moran(binding, coordinates, 999, rng)

    attenuation = group + 0.1 * rng.standard_normal((8, N_PARCELS))
    group = attenuation.mean(axis=0)
    found = judge(
        attenuation, binding, np.repeat("cortex", N_PARCELS), nulls, rng, ranked=True
    )
    rho = stats.spearmanr(group, binding).statistic
    null_rho = [stats.spearmanr(group, null).statistic for null in nulls]
    raw_r = [stats.pearsonr(group, null).statistic for null in nulls]
    right, wrong = (
        (1 + (np.abs(r) >= rho - ROUNDING).sum()) / 1000 for r in (null_rho, raw_r)
    )
    assert found.p_map == right
    assert right > 0.1
    assert wrong < 0.01


# Calibration in worlds of known truth -------------------------------------------

N_PARCELS, N_NULLS, N_WORLDS = 150, 199, 300
STRUCTURE = np.repeat(["cortex", "subcortex"], [110, 40])

# A rate of 5 % among so many worlds lies below this in 97.5 % of all tries.
BOUND = 0.05 + 2 * np.sqrt(0.05 * 0.95 / N_WORLDS)


@pytest.fixture(scope="module")
def brain():
    """Places of the cortex in a shell of 55 to 75 mm, the subcortex within 35 mm."""
    rng = np.random.default_rng(11)
    directions = rng.standard_normal((N_PARCELS, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    inner = np.where(STRUCTURE == "cortex", 55, 0)
    outer = np.where(STRUCTURE == "cortex", 75, 35)
    share = rng.random(N_PARCELS)
    radius = np.cbrt(inner**3 + (outer**3 - inner**3) * share)
    return directions * radius[:, np.newaxis]


@pytest.fixture(scope="module")
def root(brain):
    """Root of the covariance of fields with a range of 40 mm within structures."""
    distance = np.linalg.norm(brain[:, np.newaxis] - brain, axis=-1)
    same = STRUCTURE[:, np.newaxis] == STRUCTURE
    return np.linalg.cholesky(np.exp(-distance / 40) * same)


def judge_world(seed, brain, root, planted=0.0):
    """Judge one world, in which 10 subjects share one real attenuation map.

    `planted` of it is the receptor map and the rest unrelated; each subject adds
    a map of its own. All fields are Gaussian.
    """
    rng = np.random.default_rng(seed)
    binding, shared, *own = (root @ rng.standard_normal((N_PARCELS, 12))).T
    attenuation = planted * binding + shared + np.array(own)
    nulls = moran_by_structure(binding, brain, STRUCTURE, N_NULLS, rng)
    return judge(attenuation, binding, STRUCTURE, nulls, rng, n_permutations=199)


def test_a_shared_map_unrelated_to_the_receptor_is_not_correspondence(brain, root):
    found = [judge_world(seed, brain, root) for seed in range(N_WORLDS)]
    rate = {
        name: np.mean([getattr(world, name) <= 0.05 for world in found])
        for name in ("p_naive", "p_map", "p_subject", "p")
    }
    assert rate["p"] <= BOUND
    assert 0.1 - BOUND <= rate["p_map"] <= BOUND
    # Either shortcut would find correspondence in a large part of such worlds.
    assert rate["p_naive"] > 3 * BOUND
    assert rate["p_subject"] > 6 * BOUND


def test_a_planted_correspondence_is_found(brain, root):
    found = [judge_world(seed, brain, root, planted=1.5) for seed in range(40)]
    assert np.mean([world.p <= 0.05 for world in found]) > 0.9
    assert all(world.r > 0 and world.mean_z > 0 for world in found)


def test_spearman_needs_nulls_of_the_ranks():
    """Counterexample: nulls of a skewed map are too rough for its ranks."""
    rng = np.random.default_rng(11)
    coordinates = rng.uniform(-70, 70, size=(N_PARCELS, 3))
    distance = np.linalg.norm(coordinates[:, np.newaxis] - coordinates, axis=-1)
    root = np.linalg.cholesky(np.exp(-distance / 30))
    one, rejected = np.repeat("cortex", N_PARCELS), []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        binding, group = np.exp(2 * root @ rng.standard_normal((N_PARCELS, 2))).T
        r = within_r(binding, group, one, True)
        nulls = [
            moran(source, coordinates, 199, rng)
            for source in (rank_within(binding, one), binding)
        ]
        null_r = [within_r(null, group, one, True) for null in nulls]
        rejected.append([two_sided_p(r, of_null) <= 0.05 for of_null in null_r])
    of_ranks, of_values = np.mean(rejected, axis=0)
    error = np.sqrt(0.05 * 0.95 / 200)
    assert of_ranks < 0.05 + 3 * error < of_values
