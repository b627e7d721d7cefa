"""The joint model against statsmodels, all subsets by brute force, and a published example."""

from itertools import combinations
from time import process_time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.outliers_influence import variance_inflation_factor

from handhold.joint import (
    MOST_MAPS,
    analyse_dominance,
    null_r_squared,
    regress_group,
    subset_r_squared,
)

ROUNDING = 1e-9
STRUCTURE = np.repeat(["cortex", "subcortex"], [60, 20])
DUMMIES = np.column_stack([STRUCTURE == "cortex", STRUCTURE == "subcortex"]).astype(
    float
)

# Correlations of the data set attitude of R (Chatterjee & Price 1977): rating with six
# predictors, and those among them.
ATTITUDE = (
    ["complaints", "privileges", "learning", "raises", "critical", "advance"],
    [0.8254176, 0.4261169, 0.6236782, 0.5901390, 0.1564392, 0.1550863],
    [
        [1, 0.5582882, 0.5967358, 0.6691975, 0.1877143, 0.2245796],
        [0.5582882, 1, 0.4933310, 0.4454779, 0.1472331, 0.3432934],
        [0.5967358, 0.4933310, 1, 0.6403144, 0.1159652, 0.5316198],
        [0.6691975, 0.4454779, 0.6403144, 1, 0.3768830, 0.5741862],
        [0.1877143, 0.1472331, 0.1159652, 0.3768830, 1, 0.2833432],
        [0.2245796, 0.3432934, 0.5316198, 0.5741862, 0.2833432, 1],
    ],
)


def draw_maps(rng, n_maps=4):
    """Draw a group map and receptor maps that share a part, with a step between structures."""
    step = 5.0 * (STRUCTURE == "subcortex")
    bindings = rng.normal(size=80) + rng.normal(size=(n_maps, 80)) + step
    group = 0.5 * bindings[0] - 0.3 * bindings[1] + rng.normal(size=80) - 3 * step
    return group, bindings


def ols(outcome, maps, dummies=DUMMIES):
    return OLS(outcome, np.column_stack([*maps, dummies])).fit()


def within_r_squared(outcome, maps):
    """R2 over what the structures alone leave."""
    return 1 - ols(outcome, maps).ssr / OLS(outcome, DUMMIES).fit().ssr


# The regression -------------------------------------------------------------------------


def test_weights_are_those_of_least_squares_with_a_mean_per_structure(rng):
    group, bindings = draw_maps(rng)
    found = regress_group(group, bindings, STRUCTURE)
    fit = ols(group, bindings)

    def sd(values):
        return np.sqrt(OLS(values, DUMMIES).fit().ssr)

    expected = fit.params[:4] * [sd(binding) for binding in bindings] / sd(group)
    assert found.weight == pytest.approx(expected, abs=ROUNDING)
    assert found.r_squared == pytest.approx(within_r_squared(group, bindings))
    assert found.weight[0] > 0.2 > -0.1 > found.weight[1]  # as planted


def test_a_weight_is_its_partial_correlation_times_its_reach(rng):
    group, bindings = draw_maps(rng)
    found = regress_group(group, bindings, STRUCTURE)
    fit = ols(group, bindings)
    t = fit.tvalues[:4]
    partial = t / np.sqrt(t**2 + fit.df_resid)
    assert found.weight / found.reach == pytest.approx(partial, abs=ROUNDING)


def test_variance_inflation_is_that_of_statsmodels(rng):
    group, bindings = draw_maps(rng)
    design = np.column_stack([*bindings, DUMMIES])
    # statsmodels takes R2 about zero where a column of ones is not named; centred, it agrees
    centred = design[:, :4] - DUMMIES @ np.linalg.lstsq(DUMMIES, design[:, :4])[0]
    expected = [variance_inflation_factor(centred, i) for i in range(4)]
    assert regress_group(group, bindings, STRUCTURE).vif == pytest.approx(expected)


def test_a_mixture_of_the_others_has_no_weight(rng):
    group, bindings = draw_maps(rng)
    bindings[3] = bindings[1] - 2 * bindings[2]
    found = regress_group(group, bindings, STRUCTURE)
    assert np.isinf(found.vif[1:]).all()
    assert np.isnan(found.weight[1:]).all()
    alone = regress_group(group, bindings[:3], STRUCTURE)
    assert found.weight[0] == pytest.approx(alone.weight[0])
    assert found.r_squared == pytest.approx(alone.r_squared)


def test_r_squared_of_surrogates_is_that_of_regressions(rng):
    group, bindings = draw_maps(rng)
    nulls = rng.permuted(np.tile(group, (5, 1)), axis=1)
    expected = [within_r_squared(null, bindings) for null in nulls]
    assert null_r_squared(nulls, bindings, STRUCTURE) == pytest.approx(expected)


# Dominance ------------------------------------------------------------------------------


def correlations_of(rng, n_maps, n=40):
    maps = rng.normal(size=n) + rng.normal(size=(n_maps, n))
    outcome = maps[0] - maps[-1] + rng.normal(size=n)
    both = np.corrcoef([*maps, outcome])
    return both[:-1, :-1], both[-1, :-1], maps, outcome


def test_every_model_has_the_r_squared_of_its_regression(rng):
    correlations, with_outcome, maps, outcome = correlations_of(rng, 5)
    found = subset_r_squared(correlations, with_outcome)
    assert len(found) == 32
    for size in range(6):
        for model in combinations(range(5), size):
            columns = np.column_stack([np.ones(40), *maps[list(model)]])
            expected = OLS(outcome, columns).fit().rsquared if size else 0
            number = sum(2**i for i in model)
            assert found[number] == pytest.approx(expected, abs=ROUNDING)


def test_dominance_by_its_definition(rng):
    correlations, with_outcome, *_ = correlations_of(rng, 4)
    found = analyse_dominance(correlations, with_outcome)
    correlations = np.array(correlations)

    def r_squared(model):
        own = list(model)
        if not own:
            return 0.0
        r = with_outcome[own]
        return r @ np.linalg.inv(correlations[np.ix_(own, own)]) @ r

    for i in range(4):
        others = [j for j in range(4) if j != i]
        for size in range(4):
            gains = [
                r_squared({*model, i}) - r_squared(model)
                for model in combinations(others, size)
            ]
            assert found.conditional[i, size] == pytest.approx(np.mean(gains))
        for j in others:
            rest = [k for k in others if k != j]
            more = [
                r_squared({*model, i}) > r_squared({*model, j})
                for size in range(3)
                for model in combinations(rest, size)
            ]
            assert found.complete[i, j] == all(more)


def test_the_published_example():
    """The package dominanceanalysis of R prints these of attitude, in its introduction."""
    names, with_outcome, correlations = ATTITUDE
    found = analyse_dominance(correlations, with_outcome)
    printed = [0.371, 0.051, 0.156, 0.120, 0.007, 0.028]
    assert np.abs(found.general - printed).max() < 0.0005 + 1e-6
    dominated = {
        name: {names[j] for j in np.flatnonzero(row)}
        for name, row in zip(names, found.complete, strict=True)
    }
    assert dominated == {
        "complaints": {*names[1:]},
        "privileges": {"critical"},
        "learning": {"privileges", "raises", "critical", "advance"},
        "raises": {"critical"},
        "critical": set(),
        "advance": set(),
    }


@given(seed=st.integers(0, 2**32 - 1), n_maps=st.integers(1, 7))
@settings(max_examples=25, deadline=None)
def test_the_parts_sum_to_r_squared(seed, n_maps):
    correlations, with_outcome, maps, outcome = correlations_of(
        np.random.default_rng(seed), n_maps
    )
    found = analyse_dominance(correlations, with_outcome)
    expected = OLS(outcome, np.column_stack([np.ones(40), *maps])).fit().rsquared
    assert found.general.sum() == pytest.approx(expected, abs=ROUNDING)
    assert found.r_squared == pytest.approx(expected, abs=ROUNDING)
    assert found.conditional[:, 0] == pytest.approx(with_outcome**2)


def test_a_map_given_twice_adds_nothing_and_shares_evenly(rng):
    correlations, with_outcome, *_ = correlations_of(rng, 3)
    twice = np.array([0, 1, 2, 0])
    found = analyse_dominance(
        np.array(correlations)[np.ix_(twice, twice)], with_outcome[twice]
    )
    once = analyse_dominance(correlations, with_outcome)
    assert found.r_squared == pytest.approx(once.r_squared, abs=ROUNDING)
    assert found.general[0] == pytest.approx(found.general[3], abs=ROUNDING)
    assert not found.complete[0, 3]
    assert not found.complete[3, 0]


def test_all_models_of_twelve_maps_take_less_than_a_second(rng):
    correlations, with_outcome, *_ = correlations_of(rng, MOST_MAPS)
    start = process_time()
    analyse_dominance(correlations, with_outcome)
    assert process_time() - start < 1


def test_thirteen_maps_are_refused(rng):
    correlations, with_outcome, *_ = correlations_of(rng, MOST_MAPS + 1)
    with pytest.raises(ValueError, match="at most 12"):
        analyse_dominance(correlations, with_outcome)
