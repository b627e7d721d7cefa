"""What every family of nulls promises, over cortex and subcortex together."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from handhold.correspondence import naive_p, within_r
from handhold.families import FAMILIES
from handhold.nulls import euclidean, moran_by_structure, two_sided_p
from handhold.surrogates import draw_surrogates
from handhold.variogram import Lags

ROUNDING = 1e-9
every_family = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(scope="module")
def world():
    """A map that is smooth within each of two structures, its places and structures."""
    rng = np.random.default_rng(7)
    places = rng.uniform(-70, 70, (90, 3))
    structure = rng.permutation(np.repeat(["cortex", "subcortex"], [60, 30]))
    covariance = np.exp(-euclidean(places) / 40) * (structure[:, None] == structure)
    values = np.linalg.cholesky(covariance) @ rng.standard_normal(90)
    return values + 9.0 * (structure == "subcortex"), places, structure


@every_family
def test_each_structure_has_its_own_nulls(family, world):
    values, places, structure = world
    rng = np.random.default_rng(1)
    nulls = draw_surrogates(family, values, places, structure, 300, rng)
    assert nulls.shape == (300, 90)
    for name in ("cortex", "subcortex"):
        own = structure == name
        # the step between them stays where it is, and so does the spread of each
        assert np.abs(nulls[:, own].mean(axis=1) - values[own].mean()).max() < ROUNDING
        spread = nulls[:, own].var(axis=1)
        error = spread.std() / np.sqrt(300)
        assert abs(spread.mean() - values[own].var()) < 4 * error + ROUNDING
    # draws of one say nothing about the other
    first, second = (
        nulls[:, structure == name][:, :30] for name in ("cortex", "subcortex")
    )
    r = np.array([np.corrcoef(*pair)[0, 1] for pair in zip(first, second, strict=True)])
    assert abs(r.mean()) < 4 * r.std() / np.sqrt(300)


@every_family
def test_nulls_do_not_follow_their_source(family, world):
    values, places, structure = world
    rng = np.random.default_rng(2)
    nulls = draw_surrogates(family, values, places, structure, 1000, rng)
    for name in ("cortex", "subcortex"):
        own = structure == name
        r = np.corrcoef(nulls[:, own], values[own])[-1, :-1]
        assert abs(r.mean()) < 4 * r.std() / np.sqrt(1000)


@every_family
def test_the_variogram_of_the_map_lies_among_those_of_its_surrogates(family, world):
    values, places, structure = world
    own = structure == "cortex"
    lags = Lags(euclidean(places[own]))
    rng = np.random.default_rng(3)
    nulls = draw_surrogates(family, values, places, structure, 1000, rng)[:, own].T
    # surrogates may have another variance; what is compared is the shape
    ours = lags.variogram((values[own] - values[own].mean())[:, np.newaxis])[:, 0]
    ours /= values[own].var()
    theirs = lags.variogram(nulls - nulls.mean(axis=0)) / nulls.var(axis=0)
    # one of 1,001 alike is the largest or the smallest at some of 25 lags in 5 % at most
    assert (theirs.min(axis=1) < ours).all()
    assert (ours < theirs.max(axis=1)).all()
    # without any autocorrelation the envelope lies far above where parcels are near
    shuffled = rng.permuted(np.tile(values[own], (1000, 1)), axis=1).T
    rough = lags.variogram(shuffled - shuffled.mean(axis=0)) / values[own].var()
    assert (ours < np.quantile(rough, 0.025, axis=1))[:4].all()


@every_family
def test_a_map_that_is_constant_in_a_structure_has_nulls_that_are(family, world):
    values, places, structure = world
    flat = np.stack([values, np.where(structure == "cortex", values, 3.0)])
    nulls = draw_surrogates(
        family, flat, places, structure, 9, np.random.default_rng(8)
    )
    assert np.abs(nulls[:, 1, structure == "subcortex"] - 3).max() < ROUNDING
    assert nulls[:, 0, structure == "subcortex"].std(axis=1).min() > 0.1
    assert nulls[:, 1, structure == "cortex"].std(axis=1).min() > 0.1


@every_family
def test_a_parcel_that_the_map_lacks_is_missing_in_every_null(family, world):
    values, places, structure = world
    maps = np.stack([values, -2 * values + places[:, 1]])
    maps[:, [3, 40]] = np.nan
    nulls = draw_surrogates(
        family, maps, places, structure, 20, np.random.default_rng(4)
    )
    kept = np.delete(np.arange(90), [3, 40])
    without = draw_surrogates(
        family, maps[:, kept], places[kept], structure[kept], 20,
        np.random.default_rng(4),
    )  # fmt: skip
    assert np.isnan(nulls[..., [3, 40]]).all()
    assert np.array_equal(nulls[..., kept], without)
    maps[1, 5] = np.nan
    with pytest.raises(ValueError, match=r"2 maps lack different parcels \(2, 3\)"):
        draw_surrogates(family, maps, places, structure, 20, np.random.default_rng(4))


@every_family
def test_given_distances_take_the_place_of_straight_lines(family, world):
    values, places, structure = world
    distance = euclidean(places)
    straight, given, longer, cut = (
        draw_surrogates(
            family,
            values,
            places,
            structure,
            5,
            np.random.default_rng(5),
            distance=between,
        )
        for between in (
            None,
            distance,
            distance + 30 * (1 - np.eye(90)),
            np.where(structure[:, None] == structure, distance, 1000.0),
        )
    )
    assert np.abs(straight - given).max() < ROUNDING
    assert np.abs(straight - longer).max() > 0.01
    assert np.abs(straight - cut).max() < ROUNDING


@every_family
def test_unrelated_smooth_maps_are_seldom_rejected(family, world):
    """At .05 in 5 %, where independent parcels would have it in three times as many."""
    _, places, structure = world
    covariance = np.exp(-euclidean(places) / 40) * (structure[:, None] == structure)
    smooth, rng = np.linalg.cholesky(covariance), np.random.default_rng(9)
    rejected, naive = [], []
    for _ in range(20):
        values, *others = (smooth @ rng.standard_normal((90, 41))).T
        nulls = draw_surrogates(family, values, places, structure, 199, rng)
        r = within_r(others, values, structure)
        null_r = np.stack([within_r(nulls, other, structure) for other in others], 1)
        rejected.append(np.mean(two_sided_p(r, null_r) <= 0.05))
        naive.append(np.mean([naive_p(one, 90, 2) <= 0.05 for one in r]))
    # pairs that share a map go together, so that the error is that over the maps
    error = np.std(rejected, ddof=1) / np.sqrt(20)
    assert 0.01 < np.mean(rejected) < 0.05 + 3 * error < 0.12
    assert np.mean(naive) > 0.1


def test_what_the_documents_say_of_rejections_is_in_the_table():
    path = Path(__file__).parent / "reference/nulls_calibration.tsv"
    table = pd.read_csv(path, sep="\t").set_index(["kernel", "border", "fwhm_mm"])
    rate = table.pivot(columns="family", values="rate").round(2)
    singleton = rate["Moran singleton"]["gauss"]
    assert singleton["stop"].tolist() == [0.06, 0.06, 0.07]
    assert singleton["on"].tolist() == [0.06, 0.07, 0.11]
    assert rate["truth"].between(0.05, 0.06).all()
    assert rate["naive"]["gauss"].loc[:, 60].round(1).tolist() == [0.7, 0.7]
    field, matched = (
        rate[name]["gauss"] for name in ("Gaussian field", "variogram matching")
    )
    assert field["stop"].tolist() == [0.05, 0.05, 0.05]
    assert field["on"].tolist() == [0.06, 0.07, 0.09]
    assert matched["stop"].tolist() == [0.05, 0.04, 0.08]
    assert matched["on"].tolist() == [0.05, 0.05, 0.12]


def test_moran_is_moran_by_structure(world):
    values, places, structure = world
    for procedure in ("singleton", "pair"):
        found, expected = (
            draw(
                values,
                places,
                structure,
                4,
                np.random.default_rng(6),
                procedure=procedure,
            )
            for draw in (
                lambda *given, **more: draw_surrogates("moran", *given, **more),
                moran_by_structure,
            )
        )
        assert np.array_equal(found, expected)


def test_a_family_that_there_is_none_of_is_refused(world, rng):
    with pytest.raises(ValueError, match=r"family is 'spin'.*moran.*gaussian"):
        draw_surrogates("spin", *world, 3, rng)
