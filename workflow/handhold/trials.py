"""The trials of runs, and the response to each trial, or of each run, region by region."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from handhold import glm
from handhold.bids import read_events, repetition_time
from handhold.bold import read_bold, read_grid_4d, region_series
from handhold.errors import StudyError
from handhold.events import check_span, run_keys, tidy_events
from handhold.firstlevel import require_length
from handhold.images import Volume
from handhold.io import read_json
from handhold.regions import Cloud, average, stack, weigh
from handhold.rundesign import RunDesign
from handhold.runs import run_name

# Headers round the repetition time; more than this is another one.
SAME_TR = 1e-3
# The middle of the slices' times lies before the middle of the volume by half a slice, of which
# multiband scans have few; the next usual choice (0) is half a volume away.
SAME_MOMENT = 0.15
# No volume takes longer; of what a sidecar gives beyond, no difference is taken.
LONGEST_S = 1000.0


def measure_runs(runs: pd.DataFrame, choices: dict) -> pd.DataFrame:
    """Add to the table of runs the number of volumes and the repetition time (s) of each.

    Parameters
    ----------
    runs : DataFrame
    choices : dict
        The section `glm` of the configuration.

    Raises
    ------
    StudyError
        If a header cannot be read, or gives another repetition time than the sidecar; or if the
        sidecar refers the volumes to another moment than `glm.slice_time_ref`.
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
        start = read_json(row["sidecar"]).get("StartTime")
        moment = choices["slice_time_ref"] * tr
        if start is not None and not (
            isinstance(start, int | float) and abs(start) < LONGEST_S
        ):
            faults.append(
                f"{run_name(row)}: {row['sidecar']} gives StartTime {start!r}; it is in seconds"
            )
        elif start is not None and not abs(start - moment) <= SAME_MOMENT * tr:
            faults.append(
                f"{run_name(row)}: {row['sidecar']} refers volumes to {start:g} s after their "
                f"begin (StartTime), glm.slice_time_ref to {moment:g} s; "
                f"{start / tr:.2g} would agree"
            )
        n_volumes.append(n)
        steps.append(tr)
    if faults:
        listed = "\n".join(f"  - {fault}" for fault in faults)
        raise StudyError(
            f"{len(faults)} contradictions about the timing of {len(runs)} runs:\n{listed}\n"
            "Every event would be misplaced; mend the one that is wrong."
        )
    return runs.assign(n_volumes=n_volumes, tr=steps)


def read_trials(
    runs: pd.DataFrame, choices: dict, min_onset_s: float
) -> dict[tuple, pd.DataFrame]:
    """Read the events of runs that `measure_runs` measured, by (subject, session, run).

    Parameters
    ----------
    runs : DataFrame
    choices : dict
        The section `events` of the configuration.
    min_onset_s : float
        The key `glm.min_onset_s`.

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
        length_s = row["n_volumes"] * row["tr"]
        name = f"{where}: {row['events']}"
        check_span(tidy, length_s, name, min_onset_s=min_onset_s)
        trials[key] = tidy
    return trials


def estimate_trials(
    runs: pd.DataFrame,
    designs: dict[str, RunDesign],
    trials: pd.DataFrame,
    clouds: dict[str, Cloud],
    effect: Volume,
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
    effect : Volume
        An effect image of the subject: its finite voxels count.

    Returns
    -------
    dict of str to DataFrame
        By kind, long: the columns of `trials`, region, effect (% signal change at the peak of
        the response, as in cells; missing where no voxel of the region was measured) and
        coverage.

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
    weights = weigh(cloud, effect.grid.affine, effect.grid.shape)
    coverage = average(weights, effect.values, zero_is_missing=False).coverage
    pieces = []
    for key, row in zip(run_keys(runs), runs.to_dict("records"), strict=True):
        name = run_name(row)
        bold = read_bold(row["bold"], row["mask"], name)
        require_length(bold.n_volumes, designs[name], name)
        series = region_series(bold, weights, np.isfinite(effect.values[bold.mask]))
        effects = _fit_trials(series[designs[name].keep], designs[name])
        own = trials[[other == key for other in run_keys(trials)]]
        pieces.append(_lengthen(own, cloud.names, effects, coverage))
    table = pd.concat(pieces, ignore_index=True)
    return {
        kind: table[table["region"].isin(each.names)].reset_index(drop=True)
        for kind, each in clouds.items()
    }


def estimate_runs(
    runs: pd.DataFrame,
    designs: dict[str, RunDesign],
    cells: list[tuple[str, str]],
    cloud: Cloud,
    effect: Volume,
    noise_model: str,
) -> pd.DataFrame:
    """Estimate the cells of every single run in every region of one subject.

    Parameters
    ----------
    runs, designs, effect
        As `estimate_trials`; designs without regressors of single trials will do.
    cells : list of (condition, cue)
    cloud : Cloud
    noise_model : {'ar1', 'ols'}

    Returns
    -------
    DataFrame
        Long: subject, session, run, condition, cue, region, effect (% signal change),
        variance (its square), coverage; a cell that a run lacks has no row.

    Raises
    ------
    StudyError
        As `estimate_trials`.
    """
    weights = weigh(cloud, effect.grid.affine, effect.grid.shape)
    coverage = average(weights, effect.values, zero_is_missing=False).coverage
    pieces = []
    for (subject, session, run), row in zip(
        run_keys(runs), runs.to_dict("records"), strict=True
    ):
        name = run_name(row)
        here = [cell for cell in cells if "_".join(cell) in designs[name].cells]
        if not here:  # the run of a condition that no contrast has
            continue
        bold = read_bold(row["bold"], row["mask"], name)
        require_length(bold.n_volumes, designs[name], name)
        series = region_series(bold, weights, np.isfinite(effect.values[bold.mask]))
        fit = _fit_cells(series[designs[name].keep], designs[name], here, noise_model)
        for (condition, cue), own, variance in zip(here, *fit, strict=True):
            piece = pd.DataFrame({"region": cloud.names, "effect": own})
            pieces.append(
                piece.assign(
                    **{"subject": subject, "session": session, "run": run},
                    **{"condition": condition, "cue": cue, "variance": variance},
                    coverage=coverage,
                )
            )
    return pd.concat(pieces, ignore_index=True)


def _fit_cells(
    series: NDArray, design: RunDesign, cells: list[tuple[str, str]], noise_model: str
) -> tuple[NDArray, NDArray]:
    """Return effect and variance (n_cells, n_regions) in % signal change."""
    wanted = [[column == "_".join(cell) for column in design.columns] for cell in cells]
    measured = np.isfinite(series).all(axis=0)
    values = series[:, measured].astype(np.float32)
    fit = glm.fit_run(
        lambda regions: values[:, regions].copy(),
        values.shape[1],
        design.matrix,
        np.array(wanted, float),
        noise_model=noise_model,
    )
    fit = glm.percent_signal_change(fit, design.peak)
    effect, variance = np.full((2, len(cells), series.shape[1]), np.nan)
    effect[:, measured], variance[:, measured] = fit.effect, fit.variance
    return effect, variance


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
    trials: pd.DataFrame, regions: tuple[str, ...], effects: NDArray, coverage: NDArray
) -> pd.DataFrame:
    """Give each region its row per trial."""
    long = trials.loc[trials.index.repeat(len(regions))].reset_index(drop=True)
    return long.assign(
        region=np.tile(regions, len(trials)),
        effect=effects.ravel(),
        coverage=np.tile(coverage, len(trials)),
    )
