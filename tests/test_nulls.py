"""Surrogate maps against BrainSpace, theorems and brute force."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from handhold.nulls import (
    MIN_PARCELS,
    eigenvectors,
    moran,
    moran_by_structure,
    two_sided_p,
)

# Rounding of a sum of a few hundred numbers of order one, with room.
ROUNDING = 1e-9

seeds = st.integers(0, 2**32 - 1)
procedures = pytest.mark.parametrize("procedure", ["singleton", "pair"])


@pytest.fixture(scope="module")
def brainspace():
    with np.load(Path(__file__).parent / "reference/moran_brainspace.npz") as arrays:
        return dict(arrays)


def draw_maps(seed, n_parcels=31, n_maps=2):
    """Draw places and maps, the maps with a trend so that they are smooth."""
    rng = np.random.default_rng(seed)
    coordinates = rng.uniform(-70, 70, size=(n_parcels, 3))
    trend = coordinates @ rng.standard_normal((3, n_maps)) / 40
    return (trend + rng.standard_normal((n_parcels, n_maps))).T, coordinates


def weigh(coordinates):
    """Inverse distances by a double loop, to owe nothing to the package."""
    n_parcels = len(coordinates)
    weights = np.zeros((n_parcels, n_parcels))
    for i in range(n_parcels):
        for j in range(n_parcels):
            if i != j:
                weights[i, j] = 1 / np.sqrt(
                    ((coordinates[i] - coordinates[j]) ** 2).sum()
                )
    return weights


def morans_i(values, coordinates):
    weights = weigh(coordinates)
    deviation = values - values.mean(axis=-1, keepdims=True)
    crossed = np.einsum("...i,ij,...j->...", deviation, weights, deviation)
    return crossed / (deviation**2).mean(axis=-1) / weights.sum()


def correlate(nulls, values):
    deviation = nulls - nulls.mean(axis=1, keepdims=True)
    r = deviation @ (values - values.mean())
    return r / nulls.std(axis=1) / values.std() / len(values)


class GivenSigns:
    """Stands in for a generator and deals the signs that BrainSpace drew."""

    def __init__(self, signs):
        self.signs = signs

    def integers(self, low, high, size, dtype):
        assert (low, high) == (0, 2)
        return ((self.signs + 1) // 2).reshape(size).astype(dtype)


# Against BrainSpace -------------------------------------------------------------


def test_spectrum_agrees_with_brainspace(brainspace):
    eigenvalues, vectors = eigenvectors(brainspace["coordinates"])
    # BrainSpace decomposes in float32. A symmetric perturbation E moves an
    # eigenvalue by at most |E| (Weyl) and turns its vector by at most |E| / gap
    # (Davis and Kahan); LAPACK's |E| is a few times n eps |W|.
    error = 80 * np.finfo(np.float32).eps * np.abs(eigenvalues).max()
    assert np.abs(eigenvalues - brainspace["eigenvalues"]).max() < error

    gaps = -np.diff(eigenvalues)
    gap = np.minimum(np.append(gaps, gaps[-1]), np.insert(gaps, 0, gaps[0]))
    cosine = np.abs((vectors * brainspace["eigenvectors"]).sum(axis=0))
    sine = np.sqrt(np.maximum(0, 1 - cosine**2))
    # cosine comes from float32 vectors, so below sqrt(eps) a sine is not seen
    assert (sine <= error / gap + np.sqrt(10 * np.finfo(np.float32).eps)).all()


def test_same_signs_give_brainspaces_surrogates(brainspace):
    nulls = moran(
        brainspace["values"],
        brainspace["coordinates"],
        len(brainspace["signs"]),
        GivenSigns(brainspace["signs"]),
    )
    assert np.abs(nulls - brainspace["surrogates"]).max() < ROUNDING


def test_null_correlations_are_distributed_as_brainspaces(brainspace, rng):
    nulls = moran(brainspace["values"], brainspace["coordinates"], 2000, rng)
    null_r = correlate(nulls, brainspace["other"])
    assert ks_2samp(null_r, brainspace["null_r"]).pvalue > 0.01


# What a surrogate keeps ---------------------------------------------------------


@procedures
@given(seed=seeds, n_parcels=st.integers(10, 40))
@settings(max_examples=25, deadline=None)
def test_mean_variance_and_correlations_between_maps_are_kept(
    procedure, seed, n_parcels
):
    maps, coordinates = draw_maps(seed, n_parcels, n_maps=3)
    nulls = moran(maps, coordinates, 5, np.random.default_rng(seed), procedure)
    assert np.abs(nulls.mean(axis=-1) - maps.mean(axis=-1)).max() < ROUNDING
    for null in nulls:
        assert np.abs(np.cov(null) - np.cov(maps)).max() < ROUNDING


def test_singleton_keeps_morans_i_and_pair_nearly_does(brainspace, rng):
    values, coordinates = brainspace["values"], brainspace["coordinates"]
    truth = morans_i(values, coordinates)
    kept = morans_i(moran(values, coordinates, 200, rng), coordinates)
    assert np.abs(kept - truth).max() < ROUNDING

    nearly = morans_i(moran(values, coordinates, 500, rng, "pair"), coordinates)
    # The expectation is known: a random angle gives both loadings of a pair the
    # same mean square. Either of the 79 loadings may be the single one.
    eigenvalues, vectors = eigenvectors(coordinates)
    power = (values @ vectors) ** 2 / ((values - values.mean()) ** 2).sum()
    scale = 80 / weigh(coordinates).sum()
    expected = []
    for single in range(79):
        mixed = np.delete(power, single).reshape(-1, 2).mean(axis=1).repeat(2)
        mixed = np.insert(mixed, single, power[single])
        expected.append(mixed @ eigenvalues * scale)
    error = nearly.std() / np.sqrt(500)
    assert nearly.mean() == pytest.approx(np.mean(expected), abs=4 * error)
    # Pairs drawn at random, as BrainSpace does, gave .044 +- .030 for truth .102.
    assert nearly.mean() == pytest.approx(truth, rel=0.1)
    assert np.abs(nearly - truth).max() < truth / 4


@procedures
def test_nulls_do_not_follow_their_source(procedure, brainspace, rng):
    values, coordinates = brainspace["values"], brainspace["coordinates"]
    nulls = moran(values, coordinates, 4000, rng, procedure)
    null_r = correlate(nulls, values)
    assert abs(null_r.mean()) < 4 * null_r.std() / np.sqrt(4000)


def test_spread_of_null_correlations_is_the_product_of_the_loadings(brainspace, rng):
    """The variance of r sums the squared products of the two maps' loadings."""
    values, other = brainspace["values"], brainspace["other"]
    coordinates = brainspace["coordinates"]
    weights = weigh(coordinates)
    centre = np.eye(80) - 1 / 80
    _, vectors = np.linalg.eigh(centre @ weights @ centre)
    loadings = [
        vectors.T @ (x - x.mean()) / np.sqrt(((x - x.mean()) ** 2).sum())
        for x in (values, other)
    ]
    expected = np.sqrt((loadings[0] ** 2 * loadings[1] ** 2).sum())
    nulls = moran(values, coordinates, 20_000, rng)
    null_r = correlate(nulls, other)
    # The standard error of an SD is at most SD * sqrt((kurtosis - 1) / 4n); the
    # kurtosis of a sum of symmetric two-point variables is at most 3.
    assert null_r.std() == pytest.approx(expected, rel=4 * np.sqrt(2 / 4 / 20_000))


def test_one_dominant_pattern_makes_the_null_wide(brainspace, rng):
    """Counterexample: two maps on one eigenvector cannot be told apart."""
    coordinates = brainspace["coordinates"]
    _, vectors = eigenvectors(coordinates)
    nulls = moran(vectors[:, 0], coordinates, 200, rng)
    null_r = correlate(nulls, vectors[:, 0])
    assert np.abs(np.abs(null_r) - 1).max() < ROUNDING
    assert two_sided_p(1.0, null_r) == 1


# What must not matter -----------------------------------------------------------


@procedures
@given(seed=seeds)
@settings(max_examples=25, deadline=None)
def test_the_order_of_parcels_does_not_matter(procedure, seed):
    maps, coordinates = draw_maps(seed)
    order = np.random.default_rng(seed).permutation(maps.shape[-1])
    first, second = np.random.default_rng(seed), np.random.default_rng(seed)
    nulls = moran(maps, coordinates, 4, first, procedure)
    moved = moran(maps[:, order], coordinates[order], 4, second, procedure)
    # Rounding turns an eigenvector by n eps over the relative gap to the next.
    eigenvalues, _ = eigenvectors(coordinates)
    gap = np.diff(-eigenvalues).min() / np.abs(eigenvalues).max()
    turn = 31 * np.finfo(float).eps / gap
    assert np.abs(moved - nulls[..., order]).max() < ROUNDING + 100 * turn


@procedures
@given(
    seed=seeds,
    gain=st.floats(0.01, 100) | st.floats(-100, -0.01),
    offset=st.floats(-50, 50),
)
@settings(max_examples=25, deadline=None)
def test_the_unit_does_not_matter(procedure, seed, gain, offset):
    maps, coordinates = draw_maps(seed)
    first, second = np.random.default_rng(seed), np.random.default_rng(seed)
    nulls = moran(maps, coordinates, 4, first, procedure)
    scaled = moran(gain * maps + offset, coordinates, 4, second, procedure)
    assert np.abs(scaled - (gain * nulls + offset)).max() < 100 * ROUNDING


@procedures
def test_the_seed_decides_and_other_maps_do_not(procedure):
    maps, coordinates = draw_maps(3)
    both = moran(maps, coordinates, 700, np.random.default_rng(5), procedure)
    again = moran(maps, coordinates, 700, np.random.default_rng(5), procedure)
    alone = moran(maps[1], coordinates, 700, np.random.default_rng(5), procedure)
    other = moran(maps, coordinates, 700, np.random.default_rng(6), procedure)
    assert np.array_equal(both, again)
    assert alone.shape == (700, 31)
    assert np.abs(both[:, 1] - alone).max() < ROUNDING
    assert np.abs(both - other).max() > 0.1
    # also across the blocks in which they are made, no two are alike
    assert len(np.unique(alone.round(9), axis=0)) == 700


def test_the_maps_given_are_left_alone(rng):
    maps, coordinates = draw_maps(4)
    before = maps.copy(), coordinates.copy()
    moran(maps, coordinates, 3, rng)
    assert np.array_equal(maps, before[0])
    assert np.array_equal(coordinates, before[1])


# Structures ---------------------------------------------------------------------


def draw_structures(seed, n_cortex=20, n_subcortex=15):
    maps, coordinates = draw_maps(seed, n_cortex + n_subcortex)
    structure = np.repeat(["cortex", "subcortex"], [n_cortex, n_subcortex])
    order = np.random.default_rng(seed).permutation(len(structure))
    structure = structure[order]
    maps[:, structure == "subcortex"] += 10
    return maps, coordinates, structure


@procedures
def test_each_structure_keeps_its_own_mean_and_covariance(procedure, rng):
    maps, coordinates, structure = draw_structures(1)
    nulls = moran_by_structure(maps, coordinates, structure, 6, rng, procedure)
    for name in ("cortex", "subcortex"):
        inside = structure == name
        for null in nulls:
            assert (
                np.abs(
                    null[:, inside].mean(axis=1) - maps[:, inside].mean(axis=1)
                ).max()
                < ROUNDING
            )
            deviation = np.cov(null[:, inside]) - np.cov(maps[:, inside])
            assert np.abs(deviation).max() < ROUNDING


def test_a_structure_does_not_see_the_other(rng):
    """Nulls of the cortex are the same whatever the subcortex holds."""
    maps, coordinates, structure = draw_structures(2)
    changed = maps.copy()
    changed[:, structure == "subcortex"] *= -3
    nulls, after = (
        moran_by_structure(x, coordinates, structure, 4, np.random.default_rng(8))
        for x in (maps, changed)
    )
    cortex = structure == "cortex"
    assert np.array_equal(nulls[..., cortex], after[..., cortex])
    apart = moran(maps[:, cortex], coordinates[cortex], 4, np.random.default_rng(8))
    assert np.abs(nulls[..., cortex] - apart).max() < ROUNDING


def test_structures_draw_signs_of_their_own():
    """Two structures with the same maps at the same places get different nulls."""
    maps, coordinates = draw_maps(9, 20)
    structure = np.repeat(["cortex", "subcortex"], 20)
    nulls = moran_by_structure(
        np.tile(maps, 2),
        np.vstack([coordinates, coordinates + 500]),
        structure,
        5,
        np.random.default_rng(1),
    )
    assert np.abs(nulls[..., :20] - nulls[..., 20:]).max() > 0.1


# p values -----------------------------------------------------------------------


def test_p_is_a_count_by_hand():
    nulls = np.array([[0.1, 0.5], [-0.4, 0.1], [0.3, -0.2], [0.2, 0.0]])
    # |nulls| >= .3: 2 of 4; >= .6: none
    assert two_sided_p([0.3, -0.6], nulls) == pytest.approx([3 / 5, 1 / 5])


def test_a_tie_up_to_rounding_counts():
    assert two_sided_p(0.1 + 0.2, [0.3, 0.0, 0.0]) == 2 / 4


# Errors -------------------------------------------------------------------------


def test_small_structures_are_refused_by_name(rng):
    maps, coordinates, structure = draw_structures(5, 20, MIN_PARCELS - 1)
    with pytest.raises(ValueError, match=r"subcortex has 9 parcels.*at least 10"):
        moran_by_structure(maps, coordinates, structure, 3, rng)


def test_what_cannot_be_nulled_is_refused(rng):
    maps, coordinates = draw_maps(6)
    holed = maps.copy()
    holed[0, 3] = np.nan
    with pytest.raises(ValueError, match="1 values or distances are missing"):
        moran(holed, coordinates, 3, rng)
    with pytest.raises(ValueError, match="do not fit"):
        moran(maps[:, 1:], coordinates, 3, rng)
    twice = coordinates.copy()
    twice[1] = twice[0]
    with pytest.raises(ValueError, match="31 parcels have only 30 different places"):
        moran(maps, twice, 3, rng)
    with pytest.raises(ValueError, match="singleton"):
        moran(maps, coordinates, 3, rng, "triplet")
    with pytest.raises(ValueError, match="structure has shape"):
        moran_by_structure(maps, coordinates, np.repeat("cortex", 30), 3, rng)
