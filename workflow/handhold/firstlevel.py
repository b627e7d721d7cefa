"""First level: the runs of one subject become one effect and one variance image per cell."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from handhold import glm
from handhold.bids import read_events, repetition_time
from handhold.bold import Bold, read_bold, read_grid_4d, read_region_series
from handhold.design import RunDesign, run_name
from handhold.errors import StudyError
from handhold.events import check_span, run_keys, tidy_events
from handhold.images import Grid
from handhold.regions import Cloud, stack, weigh

# Headers round the repetition time; more than this is another one.
SAME_TR = 1e-3


@dataclass(frozen=True)
class SubjectFit:
    """One subject's estimates: volumes on the grid of the runs, NaN where not measured.

    `effect` and `variance` by (condition, cue), in % signal change and its square; `tsnr`, the
    mean over runs of the temporal signal-to-noise ratio.
    """

    effect: dict[tuple[str, str], NDArray]
    variance: dict[tuple[str, str], NDArray]
    tsnr: NDArray
    grid: Grid


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


def fit_subject(
    runs: pd.DataFrame,
    designs: dict[str, RunDesign],
    cells: list[tuple[str, str]],
    choices: dict,
) -> SubjectFit:
    """Estimate every cell of one subject, run by run, and combine the runs by precision.

    Parameters
    ----------
    runs : DataFrame
        The subject's rows of the table of runs.
    designs : dict of str to RunDesign
        By the name of the run (`sources.name_run`).
    cells : list of (condition, cue)
    choices : dict
        The section `glm` of the configuration.

    Raises
    ------
    StudyError
        If a run cannot be read, differs in length from its design or in grid from the other
        runs, or if a cell has no estimate in any voxel.
    """
    fits, grids, masks = [], [], []
    for row in runs.to_dict("records"):
        name = run_name(row)
        bold = read_bold(
            row["bold"], row["mask"], name, smoothing_mm=choices["smoothing_mm"]
        )
        _require_length(bold.n_volumes, designs[name], name)
        fits.append(_fit_run(bold, designs[name], cells, choices))
        grids.append(bold.grid)
        masks.append(bold.mask)
    _require_one_grid(runs, grids)
    brain = np.logical_or.reduce(masks)
    effect, variance, tsnr = (
        np.stack(
            [
                _spread(fit[part], mask[brain])
                for fit, mask in zip(fits, masks, strict=True)
            ]
        )
        for part in range(3)
    )
    found = [
        glm.combine_runs(effect[:, index], variance[:, index])
        for index in range(len(cells))
    ]
    _require_estimates([effect for effect, _ in found], cells, runs["subject"].iloc[0])
    return SubjectFit(
        {
            c: _volume(effect, brain)
            for c, (effect, _) in zip(cells, found, strict=True)
        },
        {c: _volume(var, brain) for c, (_, var) in zip(cells, found, strict=True)},
        _volume(_mean_over_runs(tsnr), brain),
        grids[0],
    )


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
        _require_length(n_volumes, designs[name], name)
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


def _fit_run(
    bold: Bold, design: RunDesign, cells: list[tuple[str, str]], choices: dict
) -> tuple[NDArray, NDArray, NDArray]:
    """Return effect and variance (n_cells, n_voxels), NaN for absent cells, and tSNR."""
    wanted = np.array(
        [[column == "_".join(cell) for column in design.columns] for cell in cells],
        float,
    )
    here = wanted.any(axis=1)
    fit = glm.fit_run(
        lambda voxels: bold.block(voxels, design.keep),
        bold.n_voxels,
        design.matrix,
        wanted[here],
        noise_model=choices["noise_model"],
    )
    fit = glm.percent_signal_change(fit, design.peak)
    measured = glm.find_measured(fit.mean, choices["min_signal"])
    effect, variance = np.full((2, len(cells), bold.n_voxels), np.nan, np.float32)
    effect[here] = np.where(measured, fit.effect, np.nan)
    variance[here] = np.where(measured, fit.variance, np.nan)
    return effect, variance, np.where(measured, fit.tsnr, np.nan)


def _spread(values: NDArray, inside: NDArray) -> NDArray:
    """Place the voxels of one run among those of all runs; the others are NaN."""
    spread = np.full((*values.shape[:-1], inside.size), np.nan, np.float32)
    spread[..., inside] = values
    return spread


def _volume(values: NDArray, brain: NDArray) -> NDArray:
    volume = np.full(brain.shape, np.nan, np.float32)
    volume[brain] = values
    return volume


def _mean_over_runs(values: NDArray) -> NDArray:
    n_measured = np.isfinite(values).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.nansum(values, axis=0) / np.where(n_measured, n_measured, np.nan)


def _require_length(n_volumes: int, design: RunDesign, name: str) -> None:
    if n_volumes != len(design.keep):
        raise StudyError(
            f"{name}: the BOLD has {n_volumes} volumes and its design {len(design.keep)}. "
            "The run was changed after its design was made; run snakemake again."
        )


def _require_one_grid(runs: pd.DataFrame, grids: list[Grid]) -> None:
    strange = [
        run_name(row)
        for row, grid in zip(runs.to_dict("records"), grids, strict=True)
        if grid.shape != grids[0].shape or not np.allclose(grid.affine, grids[0].affine)
    ]
    if strange:
        raise StudyError(
            f"{', '.join(strange)}: the BOLD lies on another grid than the subject's first run, "
            "so that runs cannot be combined voxel by voxel. Write all runs with the same output "
            "resolution, or choose one with bids.resolution."
        )


def _require_estimates(
    effects: list[NDArray], cells: list[tuple[str, str]], subject: str
) -> None:
    empty = [
        " ".join(cell)
        for cell, effect in zip(cells, effects, strict=True)
        if not np.isfinite(effect).any()
    ]
    if empty:
        raise StudyError(
            f"sub-{subject}: no voxel has an estimate of {', '.join(empty)}. Compare the brain "
            "mask with the BOLD, and glm.min_signal with its intensities; or exclude the subject "
            "with its reason in bids.exclude."
        )
