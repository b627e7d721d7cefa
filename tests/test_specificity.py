"""Specificity against counts by hand, statsmodels and planted receptors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.outliers_influence import variance_inflation_factor

from handhold.correspondence import within_r
from handhold.nulls import moran
from handhold.specificity import (
    compare_receptors,
    correlate_axis,
    explain_target,
    judge_family,
)

ROUNDING = 1e-9
N_PARCELS = 60
ONE = np.repeat("cortex", N_PARCELS)

seeds = st.integers(0, 2**32 - 1)


def draw_panel(rng, n_maps=4, n_nulls=99):
    """Draw a group map, receptor maps that share a part, and crude shared nulls."""
    shared = rng.standard_normal(N_PARCELS)
    bindings = shared + rng.standard_normal((n_maps, N_PARCELS))
    group = 0.25 * bindings[0] + rng.standard_normal(N_PARCELS)
    orders = rng.permuted(np.tile(np.arange(N_PARCELS), (n_nulls, 1)), axis=1)
    nulls = bindings[:, orders].swapaxes(0, 1)
    return group, bindings, nulls


# The panel ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ranked", "correlate"), [(False, stats.pearsonr), (True, stats.spearmanr)]
)
def test_every_number_by_loops_and_counts(ranked, correlate, rng):
    group, bindings, nulls = draw_panel(rng)
    panel = compare_receptors(group, bindings, ONE, nulls, ranked, level=0.9)
    r = [correlate(group, binding).statistic for binding in bindings]
    null_r = np.array([[correlate(group, m).statistic for m in null] for null in nulls])
    smallest = smallest_p(r, null_r)
    for i in range(4):
        as_extreme = sum(abs(row[i]) >= abs(r[i]) for row in null_r)
        in_family = sum(least <= (1 + as_extreme) / 100 for least in smallest)
        assert panel.r[i] == pytest.approx(r[i], abs=ROUNDING)
        assert panel.p[i] == (1 + as_extreme) / 100
        assert panel.p_fwe[i] == (1 + in_family) / 100
        assert panel.difference[i] == pytest.approx(r[0] - r[i], abs=ROUNDING)
        bounds = np.quantile(null_r[:, i], [0.05, 0.95])
        assert [panel.null_low[i], panel.null_high[i]] == pytest.approx(bounds)
    smallest = smallest_p(r[0] - np.array(r[1:]), null_r[:, :1] - null_r[:, 1:])
    for i in range(1, 4):
        wider = sum(abs(row[0] - row[i]) >= abs(r[0] - r[i]) for row in null_r)
        widest = sum(least <= (1 + wider) / 100 for least in smallest)
        assert panel.p_difference[i] == (1 + wider) / 100
        assert panel.p_difference_fwe[i] == (1 + widest) / 100
    assert panel.difference[0] == 0
    assert np.isnan([panel.p_difference[0], panel.p_difference_fwe[0]]).all()


def smallest_p(observed, nulls):
    """The smallest p over maps of each draw, counted among all draws and the observed one."""
    found = []
    for row in nulls:
        p = [
            sum(abs(value) >= abs(row[j]) for value in (*nulls[:, j], observed[j]))
            for j in range(len(row))
        ]
        found.append(min(p) / (1 + len(nulls)))
    return found


def test_nulls_of_two_humps_let_what_no_draw_reaches_pass(rng):
    """In units of its SD such a null reaches less far than others, and hid the target."""
    n = 999
    humps = rng.choice([-1, 1], n) * rng.uniform(0.25, 0.6, n)
    nulls = np.column_stack([humps, *(0.1 * rng.standard_normal((4, n)))])
    p, p_fwe = judge_family(np.array([0.62, 0, 0, 0, 0]), nulls)
    assert (
        np.abs(nulls / nulls.std(axis=0)).max(axis=1) > 0.62 / humps.std()
    ).mean() > 0.3
    assert p[0] == 0.001
    # five maps have five chances to hold the largest of their draws
    assert p_fwe[0] == pytest.approx(0.005, abs=0.0011)
    assert p_fwe[1:] == pytest.approx(1)


def test_the_family_rejects_as_often_as_it_says(rng):
    """Exchangeable draws of unlike nulls, the first of which is taken for the observed."""
    rejected = 0
    for _ in range(400):
        draws = np.column_stack(
            [
                rng.choice([-1, 1], 200) * rng.uniform(0.3, 0.5, 200),
                rng.standard_t(3, 200),
                0.01 * rng.standard_normal(200),
            ]
        )
        rejected += (judge_family(draws[0], draws[1:])[1] <= 0.05).any()
    # discrete: with 3 maps and 200 draws somewhat below .05; 4.5 standard errors above
    assert 0.01 < rejected / 400 < 0.05 + 4.5 * np.sqrt(0.05 * 0.95 / 400)


def test_a_map_with_wide_nulls_does_not_decide_for_the_others(rng):
    """Among raw correlations the last map's nulls, of |r| near .9, would hide all others."""
    group, bindings, nulls = draw_panel(rng, n_maps=3)
    bindings[0] = group + rng.standard_normal(N_PARCELS)
    signs = rng.choice([-1, 1], size=(99, 1))
    nulls[:, 2] = signs * (group + 0.4 * rng.standard_normal((99, N_PARCELS)))
    panel = compare_receptors(group, bindings, ONE, nulls, False)
    assert panel.null_high[2] > panel.r[0] > panel.null_high[0]
    assert panel.p_fwe[0] <= 0.03  # three maps, a hundred draws
    bindings[:2] = bindings[1::-1]  # the target is now the one that does not follow
    nulls[:, :2] = nulls[:, 1::-1]
    panel = compare_receptors(group, bindings, ONE, nulls, False)
    assert panel.p_fwe[1] <= 0.03
    assert panel.null_high[2] > abs(panel.difference[1])
    assert panel.p_difference_fwe[1] <= 0.05


def test_structures_are_told_apart(rng):
    group, bindings, nulls = draw_panel(rng)
    structure = np.repeat(["cortex", "subcortex"], [40, 20])
    panel = compare_receptors(group, bindings, structure, nulls, False)
    assert np.abs(panel.r - within_r(bindings, group, structure)).max() < ROUNDING
    stepped = bindings + 9.0 * (structure == "cortex")
    moved = compare_receptors(group, stepped, structure, nulls, False)
    assert np.abs(panel.r - moved.r).max() < ROUNDING


@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_the_family_costs_and_one_map_is_no_family(seed):
    group, bindings, nulls = draw_panel(np.random.default_rng(seed))
    panel = compare_receptors(group, bindings, ONE, nulls, False)
    assert (panel.p_fwe >= panel.p).all()
    assert (panel.p_difference_fwe[1:] >= panel.p_difference[1:]).all()
    alone = compare_receptors(group, bindings[:1], ONE, nulls[:, :1], False)
    assert alone.p_fwe == alone.p == panel.p[0]
    assert np.isnan(alone.p_difference).all()


@given(seed=seeds, gain=st.floats(0.01, 100), offset=st.floats(-50, 50))
@settings(max_examples=20, deadline=None)
def test_the_unit_of_each_map_does_not_matter(seed, gain, offset):
    group, bindings, nulls = draw_panel(np.random.default_rng(seed))
    panel = compare_receptors(group, bindings, ONE, nulls, False)
    scale = np.array([gain, 1, 2, 3])[:, np.newaxis]
    moved = compare_receptors(
        group, scale * bindings + offset, ONE, scale * nulls + offset, False
    )
    assert np.abs(moved.difference - panel.difference).max() < 1e-8
    assert (moved.p == panel.p).all()
    assert (moved.p_difference_fwe[1:] == panel.p_difference_fwe[1:]).all()


def test_nulls_of_another_panel_are_refused(rng):
    group, bindings, nulls = draw_panel(rng)
    with pytest.raises(ValueError, match=r"nulls of shape \(99, 3, 60\) do not fit"):
        compare_receptors(group, bindings, ONE, nulls[:, 1:], False)


# Worlds of known truth ----------------------------------------------------------


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(5)
    coordinates = rng.uniform(-60, 60, size=(N_PARCELS, 3))
    distance = np.linalg.norm(coordinates[:, np.newaxis] - coordinates, axis=-1)
    return coordinates, np.linalg.cholesky(np.exp(-distance / 20))


def judge_worlds(world, mix, n_worlds, n_nulls=99):
    """Judge `n_worlds` panels of a target, its twin and two strangers."""
    coordinates, root = world
    panels = []
    for seed in range(n_worlds):
        rng = np.random.default_rng(seed)
        fields = (root @ rng.standard_normal((N_PARCELS, 6))).T
        shared, target, twin, *strangers, noise = fields
        bindings = np.stack([shared + target, shared + twin, *strangers])
        group = mix(shared, target, noise)
        nulls = moran(bindings, coordinates, n_nulls, rng)
        panels.append(compare_receptors(group, bindings, ONE, nulls, False))
    return panels


def test_family_and_difference_keep_their_level(world):
    """No map: any p_fwe <= .05 in 5 %. Only what target and twin share: the same."""
    n_worlds = 300
    bound = 0.05 + 3 * np.sqrt(0.05 * 0.95 / n_worlds)  # three standard errors
    unrelated = judge_worlds(world, lambda shared, target, noise: noise, n_worlds)
    assert np.mean([panel.p_fwe.min() <= 0.05 for panel in unrelated]) < bound
    # uncorrected, four maps reject far more often than one
    assert np.mean([panel.p.min() <= 0.05 for panel in unrelated]) > 2 * 0.05

    both = judge_worlds(world, lambda shared, target, noise: shared + noise, n_worlds)
    assert np.mean([panel.p_difference[1] <= 0.05 for panel in both]) < bound
    # and yet target and twin themselves do correspond, most of the time
    assert np.mean([panel.p[:2].max() <= 0.05 for panel in both]) > 0.5


def test_a_planted_receptor_is_told_from_its_twin(world):
    panels = judge_worlds(world, lambda shared, target, noise: 3 * target + noise, 60)
    different = np.array([panel.p_difference_fwe[1] <= 0.05 for panel in panels])
    right_way = np.array([panel.difference[1] > 0 for panel in panels])
    found = np.array([panel.p_fwe[0] <= 0.05 for panel in panels])
    assert np.mean(found & different & right_way) > 2 / 3  # .05 if nothing were there
    assert not (different & ~right_way).any()


# Can the maps be told apart? ----------------------------------------------------


def test_explanation_is_that_of_statsmodels(rng):
    _, bindings, _ = draw_panel(rng)
    bindings += 7  # means must not matter
    explanation = explain_target(bindings)
    design = np.column_stack([np.ones(N_PARCELS), bindings.T])
    expected = [variance_inflation_factor(design, i) for i in range(1, 5)]
    assert explanation.vif == pytest.approx(expected, rel=1e-9)
    others = np.delete(design, 1, axis=1)
    expected = OLS(bindings[0], others).fit().rsquared
    assert explanation.r_squared == pytest.approx(expected, abs=ROUNDING)


def test_a_mixture_of_the_others_has_infinite_inflation(rng):
    _, bindings, _ = draw_panel(rng)
    bindings[0] = 2 * bindings[1] - bindings[2] + 3
    explanation = explain_target(bindings)
    assert explanation.r_squared == pytest.approx(1)
    assert np.isinf(explanation.vif[:3]).all()
    assert np.isfinite(explanation.vif[3])


def test_one_map_is_explained_by_nothing(rng):
    _, bindings, _ = draw_panel(rng)
    explanation = explain_target(bindings[:1])
    assert (explanation.r_squared, explanation.vif) == pytest.approx((0, 1))


def test_a_panel_that_explains_anything_is_refused(rng):
    _, bindings, _ = draw_panel(rng)
    with pytest.raises(ValueError, match="more parcels than maps"):
        explain_target(bindings[:, :4])
    bindings[2] = 0.3
    with pytest.raises(ValueError, match="constant"):
        explain_target(bindings)
    bindings[2, 5] = np.nan
    with pytest.raises(ValueError, match="missing"):
        explain_target(bindings)


def test_the_axis_is_y_and_grows_towards_the_front(rng):
    coordinates = rng.uniform(-60, 60, size=(N_PARCELS, 3))
    binding = coordinates[:, 1] + rng.normal(0, 10, N_PARCELS)
    expected = stats.pearsonr(binding, coordinates[:, 1]).statistic
    both = correlate_axis(np.stack([binding, -binding]), coordinates)
    assert both == pytest.approx([expected, -expected], abs=ROUNDING)
    assert expected > 0.9
