"""The design of a run, and its file: all that the job needs which fits it."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from handhold import io

# Parts of a design that are names.
TEXTS = ("columns", "cells", "trial_of")


@dataclass(frozen=True)
class RunDesign:
    """The design of one run.

    Parameters
    ----------
    matrix : array, shape (n_kept, n_columns)
        Event regressors, confounds (mean 0 and variance 1 over the kept volumes), drifts,
        constant.
    columns : tuple of str
        Their names.
    cells : tuple of str
        The columns that are the effects of a cell, `<condition>_<cue>`.
    keep : array of bool, shape (n_volumes,)
        Volumes that are not censored: the rows of `matrix`.
    peak : float
        Peak of the regressor of one event of `glm.peak_duration_s`: effects times this are
        signal at the peak.
    trials : array, shape (n_kept, n_trials)
        With `glm.single_trials`, a regressor per trial of a cell, in the order of the events.
    trial_of : tuple of str
        The cell of each trial.
    """

    matrix: NDArray
    columns: tuple[str, ...]
    cells: tuple[str, ...]
    keep: NDArray
    peak: float
    trials: NDArray
    trial_of: tuple[str, ...]


def save_designs(designs: dict[str, RunDesign], path: str | Path) -> None:
    """Write the designs of runs, by name."""
    arrays = {"runs": np.array(list(designs), dtype=str)}
    for index, design in enumerate(designs.values()):
        for part, value in vars(design).items():
            text = part in TEXTS
            arrays[f"{part}_{index}"] = np.array(value, dtype=str if text else None)
    io.write_arrays(arrays, path)


def load_designs(
    path: str | Path, names: Collection[str] | None = None
) -> dict[str, RunDesign]:
    """Read the designs that `save_designs` wrote, in their order; of these runs alone."""
    with io.opened_arrays(path) as arrays:
        return {
            name: RunDesign(
                **{
                    part: _restored(part, arrays[f"{part}_{index}"])
                    for part in RunDesign.__dataclass_fields__
                }
            )
            for index, name in enumerate(arrays["runs"].tolist())
            if names is None or name in names
        }


def _restored(part: str, array: NDArray) -> NDArray | tuple[str, ...] | float:
    if part in TEXTS:
        return tuple(array.tolist())
    return float(array) if part == "peak" else array
