"""The trials of runs: read from their events, and the response to each alone."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from handhold import glm
from handhold.bids import read_events, repetition_time
from handhold.bold import read_grid_4d, read_region_series
from handhold.errors import StudyError
from handhold.events import check_span, run_keys, tidy_events
from handhold.firstlevel import require_length
from handhold.regions import Cloud, stack, weigh
from handhold.rundesign import RunDesign
from handhold.runs import run_name

# Headers round the repetition time; more than this is another one.
SAME_TR = 1e-3


def measure_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Add to the table of runs the number of volumes and the repetition time (s) of each.

    Raises
    ------
    StudyError
        If a header cannot be read, or gives another repetition time than the sidecar.
    """
    n_volumes, steps, faults = [], [], []
    for row in runs.to_dict("records"):
        tr = repetition_time(row)
        _, n, step = read_grid_4d(row["bold"], run_name(row))
        if np.isfinite(step) and abs(step - tr) > SAME_TR * tr:
            faults.append(
                f"{run_name(row)}: {step:g} s in the header of {row['bold']}, {tr:g} s in "
                f"{row['sidecar']}"
            )
        n_volumes.append(n)
        steps.append(tr)
    if faults:
        listed = "\n".join(f"  - {fault}" for fault in faults)
        raise StudyError(
            f"the repetition time of {len(faults)} runs differs between image and sidecar:\n"
            f"{listed}\nEvery event would be misplaced; mend the one that is wrong."
        )
    return runs.assign(n_volumes=n_volumes, tr=steps)


def read_trials(runs: pd.DataFrame, choices: dict) -> dict[tuple, pd.DataFrame]:
    """Read the events of runs that `measure_runs` measured, by (subject, session, run).

    Parameters
    ----------
    runs : DataFrame
    choices : dict
        The section `events` of the configuration.

    Raises
    ------
    StudyError
        If events have a fault, or cannot belong to a run of this length.
    """
    trials = {}
    for key, row in zip(run_keys(runs), runs.to_dict("records"), strict=True):
        where = run_name(row)
        tidy, _ = tidy_events(
            read_events(row["events"], where), choices, run=row["run"], where=where
        )
        check_span(tidy, row["n_volumes"] * row["tr"], f"{where}: {row['events']}")
        trials[key] = tidy
    return trials


def estimate_trials(
    runs: pd.DataFrame,
    designs: dict[str, RunDesign],
    trials: pd.DataFrame,
    clouds: dict[str, Cloud],
) -> dict[str, pd.DataFrame]:
    """Estimate the response to every single trial in every region of one subject (LSS).

    Parameters
    ----------
    runs : DataFrame
        The subject's rows of the table of runs.
    designs : dict of str to RunDesign
        By the name of the run, with the regressors of single trials.
    trials : DataFrame
        The subject's trials (`events.list_trials`), in the order of the events.
    clouds : dict of str to Cloud
        By kind of region.

    Returns
    -------
    dict of str to DataFrame
        By kind, long: the columns of `trials`, region and effect (% signal change at the peak of
        the response, as in cells; missing where no voxel of the region was measured).

    Raises
    ------
    StudyError
        If a run cannot be read, or is of another length than its design.

    Notes
    -----
    One model per trial: this trial, all others of each cell in one regressor each, and
    the rest of the design [1]_, fitted by least squares to the mean series of the region,
    which is not smoothed.

    References
    ----------
    .. [1] Mumford et al. (2012), NeuroImage 59(3), 2636-2643.
    """
    cloud = stack(list(clouds.values()))
    ends = np.cumsum([len(each.names) for each in clouds.values()])
    pieces: dict[str, list[pd.DataFrame]] = {kind: [] for kind in clouds}
    for key, row in zip(run_keys(runs), runs.to_dict("records"), strict=True):
        name = run_name(row)
        grid, n_volumes, _ = read_grid_4d(row["bold"], name)
        require_length(n_volumes, designs[name], name)
        series = read_region_series(
            row["bold"], row["mask"], weigh(cloud, grid.affine, grid.shape), name
        )
        effects = _fit_trials(series[designs[name].keep], designs[name])
        own = trials[[other == key for other in run_keys(trials)]]
        for kind, part in zip(
            clouds, np.split(effects, ends[:-1], axis=1), strict=True
        ):
            pieces[kind].append(_lengthen(own, clouds[kind].names, part))
    return {
        kind: pd.concat(tables, ignore_index=True) for kind, tables in pieces.items()
    }


def _fit_trials(series: NDArray, design: RunDesign) -> NDArray:
    """Return the effect of each trial (n_trials, n_regions) in % signal change."""
    is_cell = np.isin(design.columns, design.cells)
    kind = np.array([design.cells.index(cell) for cell in design.trial_of])
    measured = np.isfinite(series).all(axis=0)
    effects = np.full((len(kind), series.shape[1]), np.nan)
    effects[:, measured] = glm.single_trials(
        series[:, measured], design.trials, kind, design.matrix[:, ~is_cell]
    )
    mean = series.mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(mean > 0, 100 * design.peak * effects / mean, np.nan)


def _lengthen(
    trials: pd.DataFrame, regions: tuple[str, ...], effects: NDArray
) -> pd.DataFrame:
    """Give each region its row per trial."""
    long = trials.loc[trials.index.repeat(len(regions))].reset_index(drop=True)
    return long.assign(region=np.tile(regions, len(trials)), effect=effects.ravel())
