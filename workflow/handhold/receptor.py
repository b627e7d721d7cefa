"""Receptor maps: what lies outside the brain is told apart before anything is averaged."""

import numpy as np
from numpy.typing import NDArray

from handhold.errors import StudyError

# A value that fills this share of a map is a background: measured binding does not repeat
# itself, and the brain fills under half of any field of view.
SHARE = 0.05
# A file holds seven digits of the number that a table declares: 0.256 is 0.25600001.
SAME = 1e-6


def mask_background(
    values: NDArray, background: str, negative: str, where: str
) -> NDArray:
    """Return a copy of a receptor map that is NaN outside the brain.

    Parameters
    ----------
    values : array, shape (x, y, z)
        Binding, scaled by the header; not changed.
    background : str
        What the map holds outside the brain: a number, `nan`, or `constant` (the value of the
        first voxel, whatever it is).
    negative : {'', 'refuse', 'keep'}
        Whether negative binding inside the brain is data. Receptor density is not negative, but
        noise around a reference region is.
    where : str
        Name of the map and its file, for the error.

    Raises
    ------
    StudyError
        If another value than the declared one fills the background, if the first voxel's value
        (`constant`) is no background, or if negative values remain.
    """
    inside = np.isfinite(values)
    if background == "constant":
        _require_corner_fills(values, where)
        inside &= values != values.flat[0]
    elif background != "nan":
        number = _number(background, where)
        inside &= ~np.isclose(values, number, rtol=SAME, atol=0)
    masked = np.where(inside, values, np.nan)
    _require_no_background(masked, background, where)
    n_negative = int((masked < 0).sum())
    if n_negative and negative != "keep":
        raise StudyError(
            f"{where}: {n_negative} of {int(inside.sum())} voxels are negative (lowest "
            f"{np.nanmin(masked):g}), although a receptor density is not. If the background is "
            "negative, declare it (column background of receptors.table); if the values are "
            "noise around the reference region, write keep into the column negative."
        )
    return masked


def _number(background: str, where: str) -> float:
    try:
        return float(background)
    except ValueError as error:
        raise StudyError(
            f"{where}: background {background!r} is not a number, nan or constant "
            "(column background of receptors.table)."
        ) from error


def _require_corner_fills(values: NDArray, where: str) -> None:
    first = values.flat[0]
    fills = np.isnan(values) if np.isnan(first) else values == first
    if fills.mean() < SHARE:
        raise StudyError(
            f"{where}: background constant is declared, but the first voxel's value {first:g} "
            f"fills {fills.mean():.1%} of the map, where a background fills {SHARE:.0%} or more: "
            "the corner is brain or noise. Write the value outside the brain, or nan, into the "
            "column background of receptors.table."
        )


def _require_no_background(masked: NDArray, background: str, where: str) -> None:
    found, counts = np.unique(masked[np.isfinite(masked)], return_counts=True)
    if not found.size:
        raise StudyError(
            f"{where}: with the background {background} nothing is left of the map (column "
            "background of receptors.table)."
        )
    share = counts.max() / masked.size
    if share > SHARE:
        raise StudyError(
            f"{where}: the value {found[counts.argmax()]:g} fills {share:.0%} of the map, which "
            f"looks like a background, but {background} is declared. Averaged in, it would "
            "bias every region at the edge of the brain. Write constant, or the value, into the "
            "column background of receptors.table."
        )
