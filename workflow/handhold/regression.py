"""What other variables leave of a correlation, and who carries a fit.

A change score is bound to its own baseline: whoever starts high can fall far. Regressing on
the baseline and the change together asks what is left of the change at equal baselines.
"""

import numpy as np
from numpy.typing import NDArray

from handhold.correlation import resample_people

# A share of variance that is rounding: what is left to this share is not there.
SINGULAR = 1e-10


def partial_correlation(x: NDArray, y: NDArray, covariates: NDArray) -> float:
    """Return the correlation of `x` and `y` at equal covariates.

    Parameters
    ----------
    x, y : array, shape (n_subjects,)
        Complete, in any unit.
    covariates : array, shape (n_subjects, n_covariates)
        Complete; a constant is added.

    Returns
    -------
    float
        From -1 to 1, with the sign of the coefficient of `x` in the regression of `y`
        on `x` and the covariates; nan where the covariates explain `x` or `y`.

    Raises
    ------
    ValueError
        If a value is missing or infinite, the shapes do not match, or there are
        fewer subjects than coefficients and one more.

    Examples
    --------
    >>> covariate = np.array([[1.0], [2], [3], [4], [5]])
    >>> f"{partial_correlation([2, 1, 4, 3, 6], [1, 2, 5, 4, 8], covariate):.2f}"
    '0.87'
    """
    table = _require_model(x, y, covariates)
    return float(_partials(table, np.arange(len(table))[np.newaxis])[0])


def partial_interval(
    x: NDArray,
    y: NDArray,
    covariates: NDArray,
    *,
    n_bootstrap: int,
    level: float,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Return the BCa interval of a partial correlation, people resampled.

    Parameters and errors are those of `partial_correlation` and of
    `correlation.bca_interval`; needs one subject more, to leave one out.
    """
    table = _require_model(x, y, covariates, spare=2)
    return resample_people(
        lambda rows: _partials(table, rows),
        len(table),
        n_bootstrap=n_bootstrap,
        level=level,
        rng=rng,
    )


def cooks_distances(
    x: NDArray, y: NDArray, covariates: NDArray | None = None
) -> NDArray:
    """Return how far each subject moves the fit of `y` on `x`.

    Parameters
    ----------
    x, y : array, shape (n_subjects,)
        Complete, in any unit.
    covariates : array, shape (n_subjects, n_covariates), optional
        Further terms of the model.

    Returns
    -------
    array, shape (n_subjects,)
        Cook's distances, no unit; above 1 a subject moves the coefficients beyond half
        of their joint confidence region or so [1]_. nan for a subject without whom the
        model could not be fitted, and for all where the fit is perfect or x constant.

    Raises
    ------
    ValueError
        As `partial_correlation`.

    References
    ----------
    .. [1] Cook & Weisberg (1982), Residuals and influence in regression, ch. 3.

    Examples
    --------
    >>> distances = cooks_distances([1, 2, 3, 4, 10], [1, 2, 1, 2, 9])
    >>> [round(float(distance), 2) for distance in distances]
    [0.23, 0.16, 0.17, 0.13, 13.5]
    """
    covariates = np.empty((len(np.asarray(x)), 0)) if covariates is None else covariates
    table = _require_model(x, y, covariates)
    centred = table - table.mean(axis=0)
    size = np.linalg.norm(centred, axis=0)
    if (size <= SINGULAR * np.linalg.norm(table, axis=0)).any():
        return np.full(len(table), np.nan)
    y, design = centred[:, 1], np.delete(centred / size, 1, axis=1)
    design = np.column_stack([np.full(len(y), 1 / np.sqrt(len(y))), design])
    if np.linalg.matrix_rank(design, tol=np.sqrt(SINGULAR)) < design.shape[1]:
        return np.full(len(y), np.nan)
    basis = np.linalg.qr(design)[0]
    leverage = (basis**2).sum(axis=1)
    residuals = y - basis @ (basis.T @ y)
    n_terms = design.shape[1]
    variance = residuals @ residuals / (len(y) - n_terms)
    if variance <= (SINGULAR * size[1]) ** 2:
        return np.full(len(y), np.nan)
    alone = leverage >= 1 - SINGULAR
    room = np.where(alone, np.nan, 1 - leverage)
    return residuals**2 / (n_terms * variance) * leverage / room**2


def _require_model(
    x: NDArray, y: NDArray, covariates: NDArray, spare: int = 1
) -> NDArray:
    """Return x, y and the covariates as columns, or refuse what cannot be fitted."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    covariates = np.asarray(covariates, dtype=float)
    if x.ndim != 1 or y.shape != x.shape or covariates.shape[:-1] != x.shape:
        raise ValueError(
            f"x, y and covariates pair up subjects; got shapes {x.shape}, {y.shape} and "
            f"{covariates.shape}"
        )
    table = np.column_stack([x, y, covariates])
    missing = ~np.isfinite(table).all(axis=1)
    if missing.any():
        raise ValueError(
            f"{missing.sum()} of {len(x)} subjects have missing or infinite values; leave "
            "them out first"
        )
    needed = table.shape[1] + spare
    if len(x) < needed:
        raise ValueError(
            f"{len(x)} subjects; with {covariates.shape[1]} covariates at least {needed} "
            "are needed"
        )
    return table


def _partials(table: NDArray, rows: NDArray) -> NDArray:
    """Return the partial correlation of the first two columns in each row of places.

    The sums of squares and products of every resample come from one matrix product.
    """
    scale = table.std(axis=0)
    if (scale <= SINGULAR * np.abs(table).max(axis=0)).any():
        return np.full(len(rows), np.nan)
    scaled = (table - table.mean(axis=0)) / scale
    n, n_columns = scaled.shape
    offsets = n * np.arange(len(rows))[:, np.newaxis]
    counts = np.bincount((rows + offsets).ravel(), minlength=n * len(rows))
    counts = counts.reshape(len(rows), n).astype(float)
    products = (scaled[:, :, np.newaxis] * scaled[:, np.newaxis]).reshape(n, -1)
    moments = counts @ np.hstack([scaled, products]) / rows.shape[1]
    means, squares = moments[:, :n_columns], moments[:, n_columns:]
    squares = squares.reshape(-1, n_columns, n_columns)
    covariance = squares - means[:, :, np.newaxis] * means[:, np.newaxis]
    return _partial_of(covariance)


def _partial_of(covariance: NDArray) -> NDArray:
    """Return the partial correlation of the first two of the variables, matrix by matrix."""
    variance = np.einsum("...ii->...i", covariance)
    usable = (variance > SINGULAR).all(axis=-1)
    found = np.full(len(covariance), np.nan)
    size = np.sqrt(variance[usable])
    r = covariance[usable] / (size[:, :, np.newaxis] * size[:, np.newaxis])
    # Without the covariates, what is left of x and y, and of their product.
    others = r[:, 2:, 2:]
    full = (
        np.linalg.det(others) > SINGULAR if others.shape[-1] else np.full(len(r), True)
    )
    r = r[full]
    across = r[:, 2:, :2]
    left = r[:, :2, :2] - np.swapaxes(across, 1, 2) @ np.linalg.solve(
        r[:, 2:, 2:], across
    )
    own = np.einsum("...ii->...i", left)
    own = np.where((own > SINGULAR).all(axis=-1, keepdims=True), own, np.nan)
    partial = left[:, 0, 1] / np.sqrt(own.prod(axis=-1))
    found[np.flatnonzero(usable)[full]] = np.clip(partial, -1, 1)
    return found
