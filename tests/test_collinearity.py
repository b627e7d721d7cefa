import numpy as np
import pytest
from statsmodels.stats.outliers_influence import variance_inflation_factor

from handhold.collinearity import (
    dependent_columns,
    most_alike,
    rank_and_condition,
    shared_variance,
    variance_inflation,
)


@pytest.fixture
def matrix(rng):
    """Five columns that go together, of very different size, and a constant."""
    common = rng.normal(size=(80, 1))
    columns = rng.normal(size=(80, 5)) + 2 * common
    return np.column_stack([columns * [1, 1e-6, 1e4, 1, 1] + 7, np.ones(80)])


def test_inflation_is_that_of_statsmodels(matrix):
    scaled = matrix / np.abs(matrix).max(axis=0)  # its pinv loses columns of 1e-6
    for column in range(5):
        expected = variance_inflation_factor(scaled, column)
        assert expected > 2
        assert variance_inflation(matrix, column) == pytest.approx(expected, rel=1e-8)


def test_two_columns_share_the_square_of_their_correlation(rng):
    first, second = rng.normal(size=(2, 50))
    r = np.corrcoef(first, second)[0, 1]
    assert shared_variance(first, second[:, None]) == pytest.approx(r**2, abs=1e-12)
    assert abs(shared_variance(first, np.zeros((50, 0)))) < 1e-12


def test_a_column_without_variance_has_nothing_to_itself():
    others = np.arange(6.0)[:, None]
    assert shared_variance(np.full(6, 0.1), others) == 1
    matrix = np.column_stack([np.full(6, 0.1), others, np.ones(6)])
    assert variance_inflation(matrix, 0) == np.inf


def test_a_column_that_the_others_give_is_inflated_without_end(matrix):
    whole = np.column_stack([matrix, matrix[:, 0] - 3 * matrix[:, 3]])
    assert variance_inflation(whole, 0) == np.inf
    assert variance_inflation(whole, 1) < 100


def test_rank_and_condition_do_not_depend_on_units(matrix):
    rank, condition = rank_and_condition(matrix)
    scaled = rank_and_condition(matrix * [1e-8, 1, 1, 1e5, 1, 1])
    assert rank == scaled[0] == 6
    assert condition == pytest.approx(scaled[1], rel=1e-6)


def test_the_condition_of_two_columns_follows_from_their_angle():
    cosine = 0.6
    matrix = np.array([[1.0, cosine], [0, np.sqrt(1 - cosine**2)]]) * [5, 100]
    expected = np.sqrt((1 + cosine) / (1 - cosine))  # eigenvalues 1 +- cosine
    assert rank_and_condition(matrix)[1] == pytest.approx(expected)


@pytest.mark.parametrize(("part", "rank"), [(1e-9, 2), (1e-5, 3)])
def test_a_column_of_its_own_needs_a_part_of_its_own(rng, part, rank):
    first, second, noise = np.linalg.qr(rng.normal(size=(40, 3)))[0].T
    matrix = np.column_stack([first, second, first + part * noise])
    assert rank_and_condition(matrix)[0] == rank
    assert np.isinf(rank_and_condition(matrix)[1]) == (rank == 2)
    assert dependent_columns(matrix) == ([0, 2] if rank == 2 else [])


def test_dependent_columns_are_named_and_no_others(matrix):
    assert dependent_columns(matrix) == []
    whole = np.column_stack([matrix, matrix[:, 0] + matrix[:, 3], np.zeros(80)])
    assert dependent_columns(whole) == [0, 3, 6, 7]


def test_with_more_columns_than_rows_all_depend(rng):
    assert dependent_columns(rng.normal(size=(3, 5))) == [0, 1, 2, 3, 4]
    assert rank_and_condition(rng.normal(size=(3, 5)))[0] == 3


def test_the_column_most_alike_is_another_one_by_size_of_r(rng):
    first, noise = rng.normal(size=(2, 50))
    matrix = np.column_stack([noise, first, 1 - first + 0.1 * noise, np.ones(50)])
    nearest, r = most_alike(matrix, 1)
    assert nearest == 2
    assert r == pytest.approx(np.corrcoef(first, matrix[:, 2])[0, 1])
    assert most_alike(np.column_stack([first, np.ones(50)]), 0)[0] == -1
