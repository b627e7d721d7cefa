"""Gaussian surrogates against covariances known from theory, and brute force."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from handhold import fields
from handhold.fields import (
    Covariance,
    fit_covariance,
    fit_parcels,
    gaussian_field,
    gaussian_voxels,
)
from handhold.nulls import euclidean
from handhold.variogram import root

ROUNDING = 1e-9
seeds = st.integers(0, 2**32 - 1)


def draw_map(seed, n_parcels=60, reach=40, n_maps=1):
    rng = np.random.default_rng(seed)
    distance = euclidean(rng.uniform(-60, 60, (n_parcels, 3)))
    smooth = np.linalg.cholesky(np.exp(-distance / reach))
    maps = (smooth @ rng.standard_normal((n_parcels, n_maps))).T
    return maps[0] if n_maps == 1 else maps, distance


# The fit ------------------------------------------------------------------------------


def test_a_variogram_of_the_family_is_found_again():
    mm = np.arange(3.0, 63, 3)
    for reach, shape in itertools.product((8.0, 20.0, 50.0), fields.SHAPES):
        truth = 0.3 + 1.2 * (1 - np.exp(-((mm / reach) ** shape)))
        found = fit_covariance(10 * mm, 10 * truth, np.full(mm.size, 10))
        fitted = found.nugget + found.sill * (1 - found.correlation(mm))
        # the grid has steps of 12 %, and the nearest point of it lies within half a step
        step = (2 * 60 / (3 / 5)) ** (1 / 39)
        slope = np.abs(np.gradient(truth, np.log(mm))).max()
        assert np.abs(fitted - truth).max() < slope * np.log(step) / 2


@given(seed=seeds)
@settings(max_examples=15, deadline=None)
def test_the_fit_is_the_best_of_the_grid_with_neither_part_negative(seed):
    rng = np.random.default_rng(seed)
    n_pairs, mm = rng.integers(1, 50, 12), np.sort(rng.uniform(2, 80, 12))
    y = rng.uniform(0, 1, 12) + rng.choice([-1, 0, 2]) * mm / 80 + 1
    found = fit_covariance(mm * n_pairs, y * n_pairs, n_pairs)
    best = np.inf
    for shape in fields.SHAPES:
        for reach in np.geomspace(mm[0] / 5, 2 * mm[-1], fields.N_RANGES):
            design = np.stack(
                [np.ones(12), 1 - np.exp(-((mm / reach) ** shape))], axis=1
            )
            weight = np.sqrt(n_pairs)[:, np.newaxis]
            best = min(best, nnls(weight * design, weight[:, 0] * y)[1])
    fitted = found.nugget + found.sill * (1 - found.correlation(mm))
    assert np.sqrt(n_pairs @ (fitted - y) ** 2) == pytest.approx(best, rel=1e-6)
    assert found.nugget >= 0
    assert found.sill >= 0


def test_a_lag_without_pairs_does_not_count():
    mm, y = np.array([5.0, 10, 15, 20]), np.array([0.2, 0.6, 0.8, 1.0])
    n_pairs = np.array([4, 0, 6, 8])
    with_gap = fit_covariance(mm * n_pairs, y * n_pairs, n_pairs)
    kept = n_pairs > 0
    assert with_gap == fit_covariance(
        *((v * n_pairs)[kept] for v in (mm, y)), n_pairs[kept]
    )


def test_the_range_of_a_field_is_about_found():
    found = []
    for seed in range(40):
        values, distance = draw_map(seed, n_parcels=150, reach=20)
        (covariance,) = fit_parcels(values[np.newaxis], distance)
        found.append(covariance.correlation([10.0, 20.0, 40.0]) * covariance.sill)
    error = np.std(found, axis=0) / np.sqrt(40)
    assert (np.abs(np.mean(found, axis=0) - np.exp([-0.5, -1, -2])) < 5 * error).all()


# Parcels ------------------------------------------------------------------------------


def test_draws_have_the_fitted_covariance(rng):
    values, distance = draw_map(3, n_parcels=25)
    (covariance,) = fit_parcels(values[np.newaxis], distance)
    expected = covariance.sill * covariance.correlation(distance)
    np.fill_diagonal(expected, covariance.variance)
    centre = np.eye(25) - 1 / 25
    expected = centre @ expected @ centre
    expected *= values.var() / (np.trace(expected) / 25)
    nulls = gaussian_field(values, distance, 20_000, rng)
    found = np.cov(nulls.T)
    # the standard error of a covariance is at most the product of the SDs * sqrt(2 / n)
    assert np.abs(found - expected).max() < 5 * expected.max() * np.sqrt(2 / 20_000)
    assert np.abs(nulls.mean(axis=1) - values.mean()).max() < ROUNDING


def test_surrogates_of_maps_correlate_as_the_maps_do(rng):
    maps, distance = draw_map(5, n_parcels=80, n_maps=3)
    maps[1] = maps[0] + 0.5 * maps[1]
    maps[2] = -maps[0] + 0.2 * rng.standard_normal(80)  # rougher than the others
    nulls = gaussian_field(maps, distance, 2000, rng)
    covariance = np.einsum(
        "kip,kjp->ij", *(2 * [nulls - nulls.mean(axis=2, keepdims=True)])
    )
    spread = np.sqrt(np.diag(covariance))
    found = covariance / np.outer(spread, spread)
    # the correlation at one place, before centring takes more from the smoother of two
    assert found == pytest.approx(np.corrcoef(maps), abs=0.1)


def test_noise_makes_up_for_ranges_that_differ():
    """At one place two fields correlate as wanted, on average over the places."""
    _, distance = draw_map(6)
    roots = [root(np.exp(-distance / reach)) for reach in (10, 60)]
    wanted = np.array([[1.0, 0.5], [0.5, 1.0]])
    noise = fields._noise_correlations(wanted, roots)
    assert noise[0, 1] > 0.55  # white noise of .5 would give less
    at_one_place = np.diag(roots[0] @ (noise[0, 1] * roots[1].T))
    assert at_one_place.mean() == pytest.approx(0.5)
    # more than the same noise for both cannot be had
    assert fields._noise_correlations(np.ones((2, 2)), roots).max() == 1


def test_a_torus_too_small_for_the_range_keeps_the_variance():
    span, size = np.array([6, 7, 5]), np.array([3.0, 3.0, 3.0])
    wide = Covariance(nugget=0.0, sill=1.0, range_mm=30.0, shape=2.0)
    spectrum = fields._torus_root(wide, span, size)
    wanted = fields._of_unit(wide, fields._torus_distance(spectrum.shape, size))
    assert np.fft.fftn(wanted).real.min() < -1
    assert (spectrum.astype(float) ** 2).sum() == pytest.approx(1, rel=1e-5)


def test_a_map_given_twice_gets_the_same_surrogates_twice(rng):
    values, distance = draw_map(5)
    nulls = gaussian_field(np.stack([values, 2 * values]), distance, 9, rng)
    expected = 2 * nulls[:, 0]
    assert np.abs(nulls[:, 1] - expected).max() < 1e-6


@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_the_order_of_parcels_does_not_matter(seed):
    values, distance = draw_map(seed)
    rng = np.random.default_rng(seed)
    order, noise = rng.permutation(60), rng.standard_normal((4, 1, 60))

    class GivenNoise:
        def __init__(self, noise):
            self.noise = noise

        def standard_normal(self, shape):
            return self.noise.reshape(shape)

    nulls = gaussian_field(values, distance, 4, GivenNoise(noise))
    moved = gaussian_field(
        values[order], distance[np.ix_(order, order)], 4, GivenNoise(noise[..., order])
    )
    # the root of an eigenvalue near 0 turns rounding into its square root
    assert np.abs(moved - nulls[:, order]).max() < 1e-5


@given(
    seed=seeds,
    gain=st.floats(0.01, 100) | st.floats(-100, -0.01),
    offset=st.floats(-50, 50),
)
@settings(max_examples=10, deadline=None)
def test_the_unit_does_not_matter(seed, gain, offset):
    values, distance = draw_map(seed)
    nulls, scaled = (
        gaussian_field(x, distance, 4, np.random.default_rng(seed))
        for x in (values, gain * values + offset)
    )
    expected = abs(gain) * (nulls - values.mean()) + gain * values.mean() + offset
    assert np.abs(scaled - expected).max() < 1e-6 * max(abs(gain), 1)


def test_distances_that_are_not_euclidean_are_taken(rng):
    """Along a ring; on a chord the points would be nearer, and this is no covariance."""
    ring = np.abs(np.subtract.outer(np.arange(60), np.arange(60)))
    ring = 8.0 * np.minimum(ring, 60 - ring)
    smooth = np.convolve(np.tile(rng.standard_normal(60), 3), np.ones(9), "same")[
        60:120
    ]
    wanted = np.exp(-((ring / 120) ** 2))
    assert np.linalg.eigvalsh(wanted).min() < -0.01
    nulls = gaussian_field(smooth, ring, 500, rng)
    assert np.isfinite(nulls).all()
    assert nulls.var(axis=1).mean() == pytest.approx(smooth.var(), rel=0.2)


# Voxels -------------------------------------------------------------------------------


def draw_voxels(seed, n_voxels=90):
    rng = np.random.default_rng(seed)
    grid = np.argwhere(np.ones((6, 7, 5)))
    voxels = grid[rng.permutation(len(grid))[:n_voxels]] + [4, 0, 9]
    distance = euclidean(voxels * [3.0, 3.0, 4.0])
    smooth = np.linalg.cholesky(np.exp(-((distance / 8) ** 1.5)))
    return smooth @ rng.standard_normal(n_voxels), voxels, distance


def test_the_variogram_of_voxels_counts_every_pair_once_each_way():
    values, voxels, distance = draw_voxels(1)
    span = np.array([6, 7, 5])
    voxels = voxels - [4, 0, 9]
    apart, n_pairs, squares = fields._pair_voxels(
        values, voxels, span, np.array([3.0, 3.0, 4.0])
    )
    differences = (values[:, np.newaxis] - values) ** 2 / 2
    # distances with pairs, one by one; each is a root of a whole number
    for square in (9, 16, 25, 9 * 4 + 16, 9 * 25):
        cells = np.isclose(apart**2, square)
        pairs = np.isclose(distance**2, square)
        assert n_pairs[cells].sum() == pairs.sum() > 0
        assert squares[cells].sum() == pytest.approx(differences[pairs].sum())
    assert n_pairs.sum() == 90**2


def test_draws_over_voxels_have_the_fitted_covariance(rng, monkeypatch):
    values, voxels, distance = draw_voxels(2)
    truth = Covariance(nugget=0.2, sill=0.8, range_mm=6.0, shape=1.5)
    monkeypatch.setattr(fields, "fit_covariance", lambda *sums: truth)
    nulls = gaussian_voxels(values, voxels, [3.0, 3.0, 4.0], 4_001, rng)
    assert nulls.dtype == np.float32
    assert np.abs(nulls.mean(axis=1) - values.mean()).max() < 1e-5
    expected = 0.8 * truth.correlation(distance)
    np.fill_diagonal(expected, 1)
    centre = np.eye(90) - 1 / 90
    expected = centre @ expected @ centre
    expected *= values.var() / (np.trace(expected) / 90)
    found = np.cov(nulls.T)
    assert np.abs(found - expected).max() < 5 * expected.max() * np.sqrt(2 / 4_001)
    # the two that one transform makes have nothing in common
    crossed = (nulls[0:-1:2] - values.mean()).T @ (nulls[1::2] - values.mean()) / 2_000
    assert np.abs(crossed).max() < 5 * expected.max() / np.sqrt(2_000)


def test_voxels_and_parcels_agree_on_a_map(rng):
    values, voxels, distance = draw_voxels(4)
    other = draw_voxels(4)[0][::-1]
    spreads = [
        np.corrcoef(nulls, other)[-1, :-1].std()
        for nulls in (
            gaussian_voxels(values, voxels, [3.0, 3.0, 4.0], 1000, rng),
            gaussian_field(values, distance, 1000, rng),
        )
    ]
    # lags are cut otherwise, so that the fitted ranges differ somewhat
    assert spreads[0] == pytest.approx(spreads[1], rel=0.15)


def test_the_seed_decides_and_the_place_of_the_box_does_not():
    values, voxels, _ = draw_voxels(5)
    first, again, moved, other = (
        gaussian_voxels(values, where, 3.0, 5, np.random.default_rng(seed))
        for where, seed in ((voxels, 1), (voxels, 1), (voxels + 7, 1), (voxels, 2))
    )
    assert np.array_equal(first, again)
    assert np.array_equal(first, moved)
    assert np.abs(first - other).max() > 0.1
    assert len(np.unique(first.round(5), axis=0)) == 5


def test_voxels_that_cannot_be_nulled_are_refused(rng):
    values, voxels, _ = draw_voxels(6)
    with pytest.raises(ValueError, match=r"map of shape \(89,\) does not fit voxels"):
        gaussian_voxels(values[1:], voxels, 3.0, 2, rng)
    twice = voxels.copy()
    twice[1] = twice[0]
    with pytest.raises(ValueError, match="90 voxels stand on only 89 places"):
        gaussian_voxels(values, twice, 3.0, 2, rng)
    values[3] = np.nan
    with pytest.raises(ValueError, match="1 of 90 values are missing"):
        gaussian_voxels(values, voxels, 3.0, 2, rng)
