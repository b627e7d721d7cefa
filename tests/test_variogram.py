"""Variogram-matching surrogates against BrainSMASH, brute force and what they promise."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from handhold.nulls import euclidean
from handhold.variogram import BLOCK, Lags, correlate, match_variogram, root

# Rounding of a sum of a few hundred numbers of order one, with room.
ROUNDING = 1e-9

seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def brainsmash():
    path = Path(__file__).parent / "reference/variogram_brainsmash.npz"
    with np.load(path) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def distance(brainsmash):
    return euclidean(brainsmash["coordinates"])


class GivenDraws:
    """Stands in for a generator and deals given permutations and noise, all at once."""

    def __init__(self, orders, noise):
        self.orders, self.noise = orders, noise

    def permuted(self, places, axis):
        assert (places == np.arange(places.shape[1])).all()
        assert axis == 1
        return self.orders

    def standard_normal(self, shape):
        return self.noise.reshape(shape)


# Against BrainSMASH -------------------------------------------------------------------


def test_the_variogram_is_brainsmashs(brainsmash, distance):
    lags = Lags(distance)
    found = lags.variogram(brainsmash["values"][:, np.newaxis])[:, 0]
    assert np.abs(lags.mm - brainsmash["lags"]).max() < ROUNDING
    assert np.abs(found - brainsmash["variogram"]).max() < ROUNDING


@pytest.mark.parametrize("keep_values", [False, True])
def test_same_draws_give_brainsmashs_surrogates(brainsmash, distance, keep_values):
    draws = GivenDraws(brainsmash["orders"], brainsmash["noise"])
    values = brainsmash["values"]
    assert len(brainsmash["orders"]) <= BLOCK
    nulls = match_variogram(values, distance, 20, draws, keep_values)
    if keep_values:
        assert np.abs(nulls - brainsmash["resampled"]).max() < ROUNDING
    else:  # BrainSMASH takes the mean away, here it is the map's
        assert np.abs(nulls - values.mean() - brainsmash["surrogates"]).max() < ROUNDING


def test_null_correlations_are_distributed_as_brainsmashs(brainsmash, distance, rng):
    nulls = match_variogram(brainsmash["values"], distance, 1000, rng)
    null_r = np.corrcoef(nulls, brainsmash["other"])[-1, :-1]
    assert ks_2samp(null_r, brainsmash["null_r"]).pvalue > 0.01


def test_the_variogram_is_a_weighted_mean_of_all_differences(rng):
    places = rng.uniform(-60, 60, (25, 3))
    lags, maps = Lags(euclidean(places)), rng.normal(3, 2, (25, 4))
    pairs = [
        (np.sqrt(((places[i] - places[j]) ** 2).sum()), (maps[i] - maps[j]) ** 2 / 2)
        for i in range(25)
        for j in range(i)
    ]
    apart = np.array([d for d, _ in pairs])
    near = apart < np.percentile(apart, 25)
    width = 3 * (lags.mm[1] - lags.mm[0])
    for lag, found in zip(lags.mm, lags.variogram(maps), strict=True):
        weight = np.exp(-((2.68 * (apart[near] - lag) / width) ** 2) / 2)
        halves = np.array([half for _, half in pairs])[near]
        expected = (weight[:, np.newaxis] * halves).sum(axis=0) / weight.sum()
        assert found == pytest.approx(expected)


# What is kept, and what must not matter ------------------------------------------------


def test_values_are_kept_where_promised(brainsmash, distance, rng):
    skewed = np.round(np.exp(brainsmash["values"]), 1)  # with ties
    kept = match_variogram(skewed, distance, 50, rng, keep_values=True)
    assert (np.sort(kept, axis=1) == np.sort(skewed)).all()
    free = match_variogram(skewed, distance, 50, rng)
    assert np.abs(free.mean(axis=1) - skewed.mean()).max() < ROUNDING
    assert not np.isin(free, skewed).any()


@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_the_order_of_parcels_does_not_matter(brainsmash, distance, seed):
    order = np.random.default_rng(seed).permutation(80)
    place = np.argsort(order)
    orders, noise = brainsmash["orders"], brainsmash["noise"]
    nulls, moved = (
        match_variogram(values, between, 20, draws)
        for values, between, draws in (
            (brainsmash["values"], distance, GivenDraws(orders, noise)),
            (
                brainsmash["values"][order],
                distance[np.ix_(order, order)],
                GivenDraws(place[orders[:, order]], noise[:, order]),
            ),
        )
    )
    assert np.abs(moved - nulls[:, order]).max() < ROUNDING


@given(gain=st.floats(0.01, 100), offset=st.floats(-50, 50))
@settings(max_examples=10, deadline=None)
def test_the_unit_does_not_matter(brainsmash, distance, gain, offset):
    values, draws = (
        brainsmash["values"],
        GivenDraws(brainsmash["orders"], brainsmash["noise"]),
    )
    nulls = match_variogram(values, distance, 20, draws)
    scaled = match_variogram(gain * values + offset, distance, 20, draws)
    assert np.abs(scaled - (gain * nulls + offset)).max() < ROUNDING * 100


def test_the_seed_decides(brainsmash, distance):
    n = 2 * BLOCK + 5
    first, again, other = (
        match_variogram(brainsmash["values"], distance, n, np.random.default_rng(seed))
        for seed in (5, 5, 6)
    )
    assert np.array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    # also across the blocks in which they are made, no two are alike
    assert len(np.unique(first.round(9), axis=0)) == n


def test_surrogates_of_two_maps_resemble_each_other(brainsmash, distance, rng):
    first, second = brainsmash["values"], brainsmash["other"]
    first, second = ((x - x.mean()) / x.std() for x in (first, second))
    second -= (first @ second / 80) * first
    maps = np.stack([first, 0.8 * first + 0.6 * second / second.std()])
    assert correlate(maps)[0, 1] == pytest.approx(0.8)
    nulls = match_variogram(maps, distance, 200, rng)
    r = [correlate(null)[0, 1] for null in nulls]
    # less than the maps, since each is smoothed by the share that fits it
    assert 0.5 < np.mean(r) < 0.8
    apart = match_variogram(maps[0], distance, 200, rng)
    r = [correlate(np.stack(x))[0, 1] for x in zip(apart, nulls[:, 1], strict=True)]
    assert abs(np.mean(r)) < 4 * np.std(r) / np.sqrt(200)


def test_a_map_given_twice_gets_the_same_surrogates_twice(brainsmash, distance, rng):
    maps = np.stack([brainsmash["values"], 3 * brainsmash["values"] + 1])
    nulls = match_variogram(maps, distance, 9, rng)
    assert np.abs(nulls[:, 1] - (3 * nulls[:, 0] + 1)).max() < ROUNDING * 100


# Roots ---------------------------------------------------------------------------------


def test_a_root_of_a_correlation_matrix_is_its_root(rng):
    wanted = np.corrcoef(rng.standard_normal((5, 9)))
    found = root(wanted)
    assert found @ found.T == pytest.approx(wanted)
    assert found == pytest.approx(found.T)


def test_a_matrix_of_no_correlations_still_gives_variances_of_one():
    wanted = np.array([[1.0, 0.9, -0.9], [0.9, 1.0, 0.9], [-0.9, 0.9, 1.0]])
    assert np.linalg.eigvalsh(wanted).min() < -0.5
    found = root(wanted)
    assert np.diag(found @ found.T) == pytest.approx(1)


# Errors ----------------------------------------------------------------------------------


def test_what_cannot_be_nulled_is_refused(brainsmash, distance, rng):
    values = brainsmash["values"].copy()
    with pytest.raises(ValueError, match=r"\(79,\) do not fit distances of shape \(80"):
        match_variogram(values[1:], distance, 3, rng)
    torn = distance.copy()
    torn[3, 4] += 1
    with pytest.raises(ValueError, match="not that back"):
        match_variogram(values, torn, 3, rng)
    torn = distance.copy()
    torn[3, 4] = torn[4, 3] = 0
    with pytest.raises(ValueError, match="a distance of 0"):
        match_variogram(values, torn, 3, rng)
    before = values.copy(), distance.copy()
    match_variogram(values, distance, 3, rng)
    assert np.array_equal(values, before[0])
    assert np.array_equal(distance, before[1])
    lattice = 8.0 - 8 * np.eye(80)
    with pytest.raises(
        ValueError, match="a quarter of the 3160 distances are the same"
    ):
        match_variogram(values, lattice, 3, rng)
    values[7] = np.nan
    with pytest.raises(ValueError, match="1 values or distances are missing"):
        match_variogram(values, distance, 3, rng)
