"""Can the columns of a design be told apart?"""

import numpy as np
from numpy.typing import NDArray

# Part of a column of unit length that the others must leave over for it to count as a column of
# its own: the tolerance of R's lm. It is also where products in single precision end.
OWN_PART = 1e-7
# Loading on a direction without variance above which a column belongs to it.
BELONGS = 1e-3


def shared_variance(column: NDArray, others: NDArray) -> float:
    """Return the share of a column's variance that other columns explain, about the mean.

    Parameters
    ----------
    column : array, shape (n_rows,)
    others : array, shape (n_rows, n_others)
        A constant among them changes nothing: the mean is taken out anyway.

    Returns
    -------
    float
        R squared, 0 to 1; 1 for a constant column, which has nothing to itself.

    Examples
    --------
    >>> round(shared_variance(np.array([0.0, 1, 0, 1]), np.array([[0.0], [1], [1], [2]])), 6)
    0.5
    """
    column, others = unit_length(centre(column)), unit_length(centre(others))
    if not column.any():
        return 1.0
    weights, *_ = np.linalg.lstsq(others, column, rcond=OWN_PART)
    left = column - others @ weights
    return float(np.clip(1 - left @ left, 0, 1))


def variance_inflation(matrix: NDArray, column: int) -> float:
    """Return how much the other columns inflate the variance of a column's estimate.

    Parameters
    ----------
    matrix : array, shape (n_rows, n_columns)
        Among the columns the constant, which does not count as inflating.
    column : int

    Returns
    -------
    float
        1 / (1 - R^2) [1]_; infinite where the others give the column entirely.

    References
    ----------
    .. [1] Marquardt (1970), Technometrics 12(3), 591.

    Examples
    --------
    >>> constant, cue = np.ones(4), np.array([0.0, 1, 0, 1])
    >>> round(variance_inflation(np.column_stack([cue, [0.0, 1, 1, 2], constant]), 0), 6)
    2.0
    """
    shared = shared_variance(matrix[:, column], np.delete(matrix, column, axis=1))
    return 1 / (1 - shared) if 1 - shared > OWN_PART**2 else np.inf


def most_alike(matrix: NDArray, column: int) -> tuple[int, float]:
    """Return the other column that correlates most with a column, and the correlation.

    The column is -1 and the correlation missing where nothing varies beside it.
    """
    units = unit_length(centre(matrix))
    r = units.T @ units[:, column]
    r[column] = 0
    nearest = int(np.argmax(np.abs(r)))
    return (nearest, float(r[nearest])) if r[nearest] else (-1, float("nan"))


def rank_and_condition(matrix: NDArray) -> tuple[int, float]:
    """Return the rank of a design and its condition number, its columns at unit length.

    Without that, the condition number would tell of units (a squared rotation beside a squared
    global signal) and not of the design. It is infinite where the rank is not full.
    """
    singular = np.linalg.svd(unit_length(matrix), compute_uv=False)
    rank = int(np.sum(singular > OWN_PART))
    full = rank == matrix.shape[1]
    return rank, float(singular[0] / singular[-1]) if full else np.inf


def dependent_columns(matrix: NDArray) -> list[int]:
    """List the columns that stand in a linear relation with others, or are zero.

    Examples
    --------
    >>> first, second = np.array([0.0, 1, 0, 1]), np.array([1.0, 0, 0, 1])
    >>> dependent_columns(np.column_stack([first, second, 2 * first]))
    [0, 2]
    """
    _, singular, directions = np.linalg.svd(unit_length(matrix), full_matrices=True)
    n_columns = matrix.shape[1]
    singular = np.concatenate([singular, np.zeros(n_columns - len(singular))])
    loadings = np.sqrt((directions[singular <= OWN_PART] ** 2).sum(axis=0))
    return np.flatnonzero(loadings > BELONGS).tolist()


def centre(matrix: NDArray) -> NDArray:
    """Return columns less their means; what only rounding leaves of a constant is zero."""
    centred = matrix - matrix.mean(axis=0)
    rounding = 1e-12 * np.abs(matrix).max(axis=0, initial=0)
    return np.where(np.abs(centred).max(axis=0, initial=0) <= rounding, 0, centred)


def unit_length(matrix: NDArray) -> NDArray:
    """Return columns divided by their lengths; zero columns stay zero."""
    length = np.sqrt((matrix**2).sum(axis=0))
    return matrix / np.where(length > 0, length, 1)
