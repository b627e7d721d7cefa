"""Partial correlation and Cook's distances against statsmodels and scipy."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.regression.linear_model import OLS

from handhold import correlation
from handhold.correlation import bca_interval, pearson
from handhold.regression import cooks_distances, partial_correlation, partial_interval


@pytest.fixture
def people(rng):
    """Draw x, y and two covariates that both depend on, far from zero."""
    covariates = rng.normal(size=(25, 2))
    x = covariates[:, 0] + rng.normal(size=25)
    y = x - covariates @ [1, 2] + rng.normal(size=25)
    return x, y + 100, covariates * [1, 50] + [70, 0]


def fit(x, y, covariates):
    return OLS(y, np.column_stack([np.ones(len(x)), x, covariates])).fit()


def test_partial_correlation_is_that_of_the_t_in_the_model(people):
    fitted = fit(*people)
    t = fitted.tvalues[1]
    assert partial_correlation(*people) == pytest.approx(
        t / np.sqrt(t**2 + fitted.df_resid), abs=1e-10
    )
    x, y, _ = people
    alone = partial_correlation(x, y, np.empty((25, 0)))
    assert alone == pytest.approx(stats.pearsonr(x, y).statistic)


def test_a_change_score_and_its_end_point_say_the_same(people):
    x, held, covariates = people
    # held on x at equal baseline is relief (baseline - held) on x, turned round
    relief = covariates[:, 0] - held
    assert partial_correlation(x, relief, covariates) == pytest.approx(
        -partial_correlation(x, held, covariates)
    )


def test_the_interval_is_that_of_the_slow_way(people):
    x, y, covariates = people
    found = partial_interval(
        *people, n_bootstrap=200, level=0.9, rng=np.random.default_rng(3)
    )

    def slowly(i, j):  # i, j hold the places of the people, in the same resamples
        places = np.atleast_2d(i).astype(int)
        r = [partial_correlation(x[p], y[p], covariates[p]) for p in places]
        return np.array(r) if i.ndim > 1 else r[0]

    places = np.arange(25.0)
    expected = bca_interval(
        places, places, slowly, n_bootstrap=200, level=0.9, rng=np.random.default_rng(3)
    )
    assert found == pytest.approx(expected, abs=1e-9)


def test_the_interval_does_not_depend_on_how_many_resamples_are_held(
    people, monkeypatch
):
    def found():
        rng = np.random.default_rng(3)
        return partial_interval(*people, n_bootstrap=501, level=0.9, rng=rng)

    at_once = found()
    monkeypatch.setattr(correlation, "BLOCK", 7 * 25)
    # but for rounding: sums of a product's blocks
    assert found() == pytest.approx(at_once, abs=1e-12)


def test_without_covariates_the_interval_is_that_of_pearson(people):
    x, y, _ = people
    settings = {"n_bootstrap": 500, "level": 0.95}
    ours, plain = (
        partial_interval(
            x, y, np.empty((25, 0)), rng=np.random.default_rng(1), **settings
        ),
        bca_interval(x, y, pearson, rng=np.random.default_rng(1), **settings),
    )
    assert ours == pytest.approx(plain, abs=1e-9)


def test_what_covariates_explain_has_no_partial_r(people):
    x, y, covariates = people
    assert np.isnan(partial_correlation(covariates @ [1, 2], y, covariates))
    assert np.isnan(partial_correlation(np.full(25, 0.1), y, covariates))
    repeated = np.column_stack([covariates, covariates[:, 0] * 3])
    assert np.isnan(partial_correlation(x, y, repeated))
    assert np.isnan(cooks_distances(x, y, repeated)).all()
    assert np.isnan(cooks_distances(np.ones(25), y)).all()
    assert np.isnan(cooks_distances(x, 2 * x + 1)).all()


def test_cooks_distances_are_those_of_statsmodels(people):
    x, y, covariates = people
    expected = fit(x, y, covariates).get_influence().cooks_distance[0]
    assert cooks_distances(x, y, covariates) == pytest.approx(expected)
    expected = fit(x, y, np.empty((25, 0))).get_influence().cooks_distance[0]
    assert cooks_distances(x, y) == pytest.approx(expected)


def test_a_subject_who_is_a_term_of_the_model_alone_has_no_distance(people):
    x, y, _ = people
    only = np.zeros((25, 1))
    only[4] = 1
    assert np.flatnonzero(np.isnan(cooks_distances(x, y, only))).tolist() == [4]


@pytest.mark.parametrize("call", [partial_correlation, cooks_distances])
def test_what_cannot_be_fitted_is_refused(call, people):
    x, y, covariates = people
    for arguments, message in (
        ((x[:4], y[:4], covariates[:4]), "4 subjects; with 2 covariates at least 5"),
        ((x, y[:-1], covariates), "pair up subjects"),
        ((np.append(x[1:], np.nan), y, covariates), "1 of 25 subjects"),
        ((x, y, covariates * [np.inf, 1]), "25 of 25 subjects"),
    ):
        with pytest.raises(ValueError, match=message):
            call(*arguments)
