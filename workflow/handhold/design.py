"""From events and confounds to the design of a run, and whether it can be estimated.

Events are convolved and confounds chosen by nilearn, with every option handed over. Its import
takes seconds: the designs of all subjects are made in one job (`design_subjects`) and saved as
arrays, so that the job that fits a subject needs no nilearn.
"""

import json
import warnings
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from handhold.collinearity import (
    centre,
    dependent_columns,
    most_alike,
    rank_and_condition,
    shared_variance,
    variance_inflation,
)
from handhold.errors import StudyError
from handhold.io import require_small
from handhold.rundesign import RunDesign
from handhold.runs import run_name

RIGID_BODY = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
DISPLACEMENT, DVARS = "framewise_displacement", "std_dvars"
# What fMRIPrep appends to a signal, by the words of nilearn.
EXPANSIONS = {
    "basic": ("",),
    "derivatives": ("", "_derivative1"),
    "power2": ("", "_power2"),
    "full": ("", "_derivative1", "_power2", "_derivative1_power2"),
}
# Columns of the confound table that a component takes, before their expansions.
SIGNALS = {
    "motion": RIGID_BODY,
    "wm_csf": ("csf", "white_matter"),
    "global_signal": ("global_signal",),
}
# Names of the high-pass columns: nilearn's own, and fMRIPrep's.
DRIFTS = ("drift_", "cosine")
# Length of nilearn's response kernels.
RESPONSE_S = 32.0
# Columns of a design are of the order of 1. What nilearn adds to one without full rank stays
# below this, and would turn a zero column into a random one.
ROUNDING = 1e-11
# An event of which censoring leaves less than this share of the response (its sum of squares)
# tells of the remnant.
REMNANT = 0.5
# Above this correlation a regressor shares a quarter of its variance with motion.
TASK_MOTION = 0.5
# Blocks of 60 s that recur at the cut-off itself (128 s) lose .3 to .6 of their variance, by their
# phase; trials of two cues in random order about .1.
HIGH_PASS_LOSS = 0.25

RUN_COLUMNS = (
    *("subject", "session", "run", "n_volumes", "n_kept", "n_censored", "censored"),
    *("n_non_steady", "mean_fd", "max_fd", "n_over_fd", "n_columns", "n_confounds"),
    *("rank", "df", "condition_number", "dependent", "warnings"),
)
REGRESSOR_COLUMNS = (
    *("subject", "session", "run", "regressor", "condition", "cue", "n_events"),
    *("total_duration", "vif", "most_alike", "r_most_alike", "motion_parameter"),
    *("r_motion", "high_pass_loss", "n_censored_events", "n_late_events", "warnings"),
)


@dataclass(frozen=True)
class Motion:
    """How a person moved in a run.

    `parameters` has a row per volume and the columns of RIGID_BODY (mm, rad) and
    `framewise_displacement` (mm) that the table holds; `mean_fd` and `max_fd` are in mm and
    missing where it gives no displacement; `n_over_fd` volumes lie over the threshold, and
    `n_non_steady` before the steady state.
    """

    parameters: pd.DataFrame
    mean_fd: float
    max_fd: float
    n_over_fd: int
    n_non_steady: int


# --- Confounds ---------------------------------------------------------------------------


def load_confounds(
    path: str | Path, confounds: dict, where: str
) -> tuple[pd.DataFrame, NDArray, Motion]:
    """Load the confounds of a run by nilearn's fMRIPrep interface.

    Parameters
    ----------
    path : path
        fMRIPrep's confound table (`_timeseries.tsv`, or `_regressors.tsv` before 20.2); compcor
        also reads the JSON beside it.
    confounds : dict
        The section of the configuration; every option is handed over.
    where : str
        Subject and run, for the error.

    Returns
    -------
    table : DataFrame
        All volumes, in the units of the file, censored ones included. A derivative's missing
        first value is that of the second volume, as nilearn fills it.
    keep : array of bool, shape (n_volumes,)
        False for volumes before the steady state and, with scrub, censored ones.
    motion : Motion

    Raises
    ------
    StudyError
        If the table cannot be read, lacks columns that `confounds.strategy` asks for, has
        other missing values in them, or leaves no volume.
    """
    from nilearn.interfaces.fmriprep.load_confounds import _load_single_confounds_file

    path = Path(path)
    table = _read(path, where)
    _require_columns(table, path, confounds, where)
    # The piece of nilearn that takes the table's path: its public function looks for a table
    # by the name of the image, and might find another one than the index of runs did.
    with _ignoring("All volumes were marked as motion outliers"):
        sample_mask, chosen = _load_single_confounds_file(
            confounds_file=str(path),
            strategy=confounds["strategy"],
            demean=False,  # once volumes are left out; see design_run
            confounds_json_file=str(path.with_suffix(".json")),
            motion=confounds["motion"],
            scrub=confounds["scrub"],
            fd_threshold=confounds["fd_threshold_mm"],
            std_dvars_threshold=confounds["std_dvars_threshold"],
            wm_csf=confounds["wm_csf"],
            global_signal=confounds["global_signal"],
            compcor=confounds["compcor"],
            n_compcor=confounds["n_compcor"],
            ica_aroma="basic",  # neither is offered: fMRIPrep has dropped the one,
            tedana="aggressive",  # and the other has tables of its own
        )
    _require_complete(chosen, path, where)
    keep = np.ones(len(table), dtype=bool)
    if sample_mask is not None:
        keep[:] = False
        keep[sample_mask] = True
    motion = _motion(table, confounds["fd_threshold_mm"])
    if keep.sum() < 2:
        raise StudyError(
            f"{where}: of {len(keep)} volumes, {keep.sum()} are left once {motion.n_non_steady} "
            f"before the steady state and those over confounds.fd_threshold_mm "
            f"({confounds['fd_threshold_mm']:g}) or confounds.std_dvars_threshold "
            f"({confounds['std_dvars_threshold']:g}) are censored ({path}). Exclude the subject "
            "in bids.exclude with this reason, or raise the thresholds for everyone."
        )
    return chosen, keep, motion


def _read(path: Path, where: str) -> pd.DataFrame:
    """Read a confound table as nilearn does (io.read_table takes ten times as long)."""
    try:
        require_small(path, f"{where}: the confound table {path}")
        table = pd.read_csv(path, delimiter="\t", encoding="utf-8")
        if not isinstance(table.index, pd.RangeIndex):
            # pandas would take the first column for names of rows, and shift the others
            raise ValueError("rows have more cells than the header")
    except StudyError:
        raise
    except (OSError, ValueError, OverflowError) as error:
        raise StudyError(
            f"{where}: the confound table {path} cannot be read ({error}). Copy it again from "
            "fMRIPrep's derivatives (bids.derivatives)."
        ) from error
    if len(table) < 2:
        raise StudyError(
            f"{where}: the confound table {path} has {len(table)} rows; a run has a row per "
            "volume. Copy it again from fMRIPrep's derivatives (bids.derivatives)."
        )
    return table


def _require_columns(
    table: pd.DataFrame, path: Path, confounds: dict, where: str
) -> None:
    asked = {
        component: [
            f"{signal}{suffix}"
            for signal in SIGNALS[component]
            for suffix in EXPANSIONS[confounds[component]]
        ]
        for component in confounds["strategy"]
        if component in SIGNALS
    }
    if "scrub" in confounds["strategy"]:
        asked["scrub"] = [DISPLACEMENT, DVARS]
    if "compcor" in confounds["strategy"]:
        asked["compcor"] = _components(path, confounds, where)
    missing = {
        component: [name for name in names if name not in table]
        for component, names in asked.items()
    }
    # nilearn goes on without any filter here
    if "high_pass" in confounds["strategy"] and not any(
        name.startswith("cosine") for name in table
    ):
        missing["high_pass"] = ["cosine00, ..."]
    listed = [
        f"{', '.join(names)} (for {component})"
        for component, names in missing.items()
        if names
    ]
    if listed:
        raise StudyError(
            f"{where}: the confound table {path} has no {'; no '.join(listed)}. Take the "
            "component out of confounds.strategy, or choose fewer columns of it (confounds.*)."
        )
    names = {*RIGID_BODY, DISPLACEMENT, DVARS}.union(*asked.values())
    # nilearn takes these by the begin of their names
    names |= {name for name in table if name.startswith(("non_steady_state", "cosine"))}
    words = [
        name
        for name in sorted(names)
        if name in table and not pd.api.types.is_numeric_dtype(table[name])
    ]
    if words:
        raise StudyError(
            f"{where}: the confound table {path} has values that are no numbers in "
            f"{', '.join(words)}. Copy it again from the derivatives."
        )


def _components(path: Path, confounds: dict, where: str) -> list[str]:
    """Return the columns of compcor, which the JSON beside the table lists."""
    from nilearn.interfaces.fmriprep.load_confounds_compcor import find_compcor

    beside = path.with_suffix(".json")
    try:
        listed = json.loads(beside.read_text(encoding="utf-8"))
        names = find_compcor(listed, confounds["compcor"], confounds["n_compcor"])
    except (
        *(OSError, ValueError, KeyError, TypeError, AttributeError),
        RecursionError,
    ) as error:
        raise StudyError(
            f"{where}: compcor needs the JSON beside the confound table, which says from which "
            f"mask a component is; {beside} cannot be used ({type(error).__name__}: {error}). "
            "Copy it from the derivatives, or take compcor out of confounds.strategy."
        ) from error
    if not names:
        raise StudyError(
            f"{where}: {beside} lists no component of confounds.compcor "
            f"{confounds['compcor']}. Choose another kind, or take compcor out of "
            "confounds.strategy."
        )
    return names


def _require_complete(chosen: pd.DataFrame, path: Path, where: str) -> None:
    n_missing = (~np.isfinite(chosen.to_numpy(dtype=float))).sum(axis=0)
    if n_missing.any():
        listed = ", ".join(
            f"{name} ({n})" for name, n in zip(chosen, n_missing, strict=True) if n
        )
        raise StudyError(
            f"{where}: the confound table {path} has missing values beyond the first volume, of "
            f"{len(chosen)}: {listed}. An empty tissue mask is the usual cause. Take the "
            "component out of confounds.strategy, or exclude the subject in bids.exclude."
        )


def _motion(table: pd.DataFrame, threshold: float) -> Motion:
    names = [name for name in (*RIGID_BODY, DISPLACEMENT) if name in table]
    parameters = table[names].astype(float)
    displacement = parameters.get(DISPLACEMENT, pd.Series(dtype=float)).to_numpy()
    known = displacement[np.isfinite(displacement)]
    early = table.filter(regex="^non_steady_state").astype(float).sum(axis=1) > 0
    return Motion(
        parameters=parameters,
        mean_fd=float(known.mean()) if known.size else np.nan,
        max_fd=float(known.max()) if known.size else np.nan,
        n_over_fd=int((known > threshold).sum()),
        n_non_steady=int(early.sum()),
    )


# --- Designs -----------------------------------------------------------------------------


def design_run(
    events: pd.DataFrame,
    confounds: pd.DataFrame,
    keep: NDArray,
    *,
    n_volumes: int,
    tr: float,
    glm: dict,
    where: str,
) -> RunDesign:
    """Make the design of a run by nilearn, and drop the censored volumes as it does.

    Parameters
    ----------
    events : DataFrame
        Columns onset, duration (s), regressor, condition and cue (missing for regressors of no
        interest), as `events.tidy_events` returns them.
    confounds : DataFrame
        A row per volume, as `load_confounds` returns it. Brought to mean 0 and variance 1 over
        the kept volumes: no effect changes, and squares of small numbers stay usable.
    keep : array of bool, shape (n_volumes,)
    n_volumes : int
        Volumes of the image.
    tr : float
        Repetition time, s.
    glm : dict
        The section of the configuration.
    where : str
        Subject and run, for the error.

    Raises
    ------
    StudyError
        If confounds and volumes differ in number, or an event cannot be modelled: before
        `glm.min_onset_s`, listed twice, a cell's without duration, all of a regressor after
        the run's end; or if names collide.
    """
    from nilearn.glm.first_level import make_first_level_design_matrix

    if len(confounds) != n_volumes:
        raise StudyError(
            f"{where}: the confound table has {len(confounds)} rows, but the image has "
            f"{n_volumes} volumes. They are not of the same run, or one was trimmed: run "
            "fMRIPrep again, or exclude the subject in bids.exclude."
        )
    times = frame_times(n_volumes, tr, glm)
    _require_events(events, times, tr, glm, where)
    _require_names(events, confounds, where)
    regressors = _standardise(confounds, keep)
    # The rank is judged by assess_design, over the volumes that are kept; events of no
    # interest may be without duration, since nobody reads their effect.
    with _ignoring("Matrix is singular", "The following conditions contain events"):
        table = make_first_level_design_matrix(
            times,
            events=_as_nilearn(events),
            hrf_model=glm["hrf"],
            drift_model=None if glm["drift"] == "none" else glm["drift"],
            high_pass=1 / glm["high_pass_s"],
            drift_order=0,  # of polynomials, which are not offered
            fir_delays=None,
            add_regs=regressors if regressors.shape[1] else None,
            add_reg_names=None,
            min_onset=glm["min_onset_s"],
            oversampling=glm["oversampling"],
        )
    table = table.mask(table.abs() < ROUNDING, 0)
    _require_some_response(table, events, times, where)
    cells = events["condition"].notna()
    trials = events[cells] if glm["single_trials"] else events[:0]
    return RunDesign(
        matrix=table.to_numpy()[keep],
        columns=tuple(table),
        cells=tuple(name for name in table if name in set(events["regressor"][cells])),
        keep=keep,
        peak=peak(tr, glm),
        trials=trial_regressors(trials, times, glm)[keep],
        trial_of=tuple(trials["regressor"]),
    )


def frame_times(n_volumes: int, tr: float, glm: dict) -> NDArray:
    """Return the moment that each volume stands for, s from the start of the run."""
    return (np.arange(n_volumes) + glm["slice_time_ref"]) * tr


def peak(tr: float, glm: dict) -> float:
    """Return the peak of the regressor of one event of `glm.peak_duration_s`.

    The event stands alone and starts on a step of the oversampled grid, on which the peak is
    read; where the model has derivatives, it is that of the main column.

    Examples
    --------
    >>> glm = {"hrf": "spm", "oversampling": 50, "peak_duration_s": 1000}
    >>> round(peak(2.0, glm), 3)  # the response rises over its plateau, which is 1
    1.145
    """
    from nilearn.glm.first_level import compute_regressor

    duration, step = glm["peak_duration_s"], tr / glm["oversampling"]
    regressor, _ = compute_regressor(
        (np.array([0.0]), np.array([duration]), np.array([1.0])),
        hrf_model=glm["hrf"],
        # a response peaks where that to an impulse turns negative, however long the event
        frame_times=np.arange(0, RESPONSE_S, step),
        con_id="event",
        oversampling=1,
        fir_delays=None,
        min_onset=0,
    )
    return float(regressor[:, 0].max())


def trial_regressors(trials: pd.DataFrame, times: NDArray, glm: dict) -> NDArray:
    """Convolve each event by itself, as the design convolves all of a kind together.

    Returns
    -------
    array, shape (n_volumes, n_trials)
        The main column where the model has derivatives. Trials of a cell add up to its
        regressor.
    """
    from nilearn.glm.first_level import compute_regressor

    columns = [
        compute_regressor(
            (np.array([onset]), np.array([duration]), np.array([1.0])),
            hrf_model=glm["hrf"],
            frame_times=times,
            con_id="trial",
            oversampling=glm["oversampling"],
            fir_delays=None,
            min_onset=glm["min_onset_s"],
        )[0][:, 0]
        for onset, duration in trials[["onset", "duration"]].to_numpy(dtype=float)
    ]
    return np.array(columns).reshape(len(columns), len(times)).T


def _standardise(confounds: pd.DataFrame, keep: NDArray) -> pd.DataFrame:
    """Bring confounds to mean 0 and variance 1 over the kept volumes; a constant one to 0."""
    values = confounds.to_numpy(dtype=float)
    kept = values[keep]
    varies = centre(kept).any(axis=0)
    spread = np.where(varies, kept.std(axis=0), 1)
    scaled = np.where(varies, (values - kept.mean(axis=0)) / spread, 0)
    return pd.DataFrame(scaled, columns=confounds.columns)


def _as_nilearn(events: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "onset": events["onset"].astype(float),
            "duration": events["duration"].astype(float),
            "trial_type": events["regressor"].astype(object),
        }
    )


def _require_events(
    events: pd.DataFrame, times: NDArray, tr: float, glm: dict, where: str
) -> None:
    cells = events["condition"].notna()
    if not cells.any():
        raise StudyError(
            f"{where}: none of {len(events)} events makes a cell, so that the run has no effect. "
            "See events.cells and events.condition, or leave such runs out with "
            "bids.incomplete_runs."
        )
    if glm["drift"] == "cosine" and glm["high_pass_s"] <= 2 * tr:
        raise StudyError(
            f"{where}: glm.high_pass_s ({glm['high_pass_s']:g} s) is no longer than two volumes "
            f"({2 * tr:g} s), so that the drifts would explain everything. Raise it."
        )
    earliest = times[0] + glm["min_onset_s"]
    faults = {
        f"begin before {earliest:g} s (glm.min_onset_s), on another clock than the images": (
            events["onset"] < earliest
        ),
        "are listed more than once, so that their response would count twice": (
            events.duplicated(["regressor", "onset", "duration"])
        ),
        "last 0 s, though events of a cell; their effect would depend on glm.oversampling": (
            cells & (events["duration"] == 0)
        ),
    }
    for fault, rows in faults.items():
        if rows.any():
            listed = ", ".join(
                f"{name} at {onset:g} s"
                for name, onset in events.loc[rows, ["regressor", "onset"]].to_numpy()
            )
            raise StudyError(
                f"{where}: {rows.sum()} of {len(events)} events {fault}: {listed}. "
                "Mend the events table."
            )


def _require_names(events: pd.DataFrame, confounds: pd.DataFrame, where: str) -> None:
    regressors = set(events["regressor"])
    taken = {
        name
        for name in regressors
        if name in set(confounds)
        or name.startswith("drift_")
        or name == "constant"
        or name.removesuffix("_derivative") in regressors - {name}
        or name.removesuffix("_dispersion") in regressors - {name}
    }
    if taken:
        raise StudyError(
            f"{where}: {', '.join(sorted(taken))} names both a trial type and another column of "
            "the design. Rename the trial type in the events table."
        )


def _require_some_response(
    table: pd.DataFrame, events: pd.DataFrame, times: NDArray, where: str
) -> None:
    onsets = events.groupby("regressor")["onset"]
    silent = [name for name in onsets.groups if not table[name].any()]
    if silent:
        listed = ", ".join(
            f"{name} ({n} {'event' if n == 1 else 'events'}, the first at {first:g} s)"
            for name, n, first in zip(
                silent, onsets.size()[silent], onsets.min()[silent], strict=True
            )
        )
        raise StudyError(
            f"{where}: no event of {listed} begins before the last volume at {times[-1]:g} s, so "
            "that there is no response to estimate. The events are on another clock or of "
            "another run, or the scan was stopped: mend the events table, name a trial type of "
            "no interest in events.ignore, or exclude the subject in bids.exclude."
        )


@contextmanager
def _ignoring(*beginnings: str) -> Iterator[None]:
    """Keep nilearn from warning of what is judged here."""
    # a matrix without full rank divides by its smallest singular value, 0
    with warnings.catch_warnings(), np.errstate(divide="ignore"):
        for beginning in beginnings:
            warnings.filterwarnings("ignore", message=beginning)
        yield


# --- Quality -----------------------------------------------------------------------------


def assess_design(
    design: RunDesign,
    events: pd.DataFrame,
    motion: Motion,
    *,
    tr: float,
    glm: dict,
    confounds: dict,
) -> tuple[dict, pd.DataFrame]:
    """Judge the design of a run.

    Parameters
    ----------
    design : RunDesign
    events : DataFrame
        Those that `design` was made of.
    motion : Motion
        Of the same run.
    tr : float
        Repetition time, s.
    glm, confounds : dict
        The sections of the configuration.

    Returns
    -------
    run : dict
        RUN_COLUMNS without subject, session and run.
    regressors : DataFrame
        A row per cell of the run, REGRESSOR_COLUMNS without subject, session and run.
    """
    keep, matrix = design.keep, design.matrix
    n_kept, n_columns = matrix.shape
    rank, condition_number = rank_and_condition(matrix)
    dependent = [design.columns[column] for column in dependent_columns(matrix)]
    regressors = set(events["regressor"])
    run = {
        "n_volumes": len(keep),
        "n_kept": n_kept,
        "n_censored": len(keep) - n_kept,
        "censored": 1 - n_kept / len(keep),
        "n_non_steady": motion.n_non_steady,
        "mean_fd": motion.mean_fd,
        "max_fd": motion.max_fd,
        "n_over_fd": motion.n_over_fd,
        "n_columns": n_columns,
        "n_confounds": sum(_is_confound(name, regressors) for name in design.columns),
        "rank": rank,
        "df": n_kept - rank,
        "condition_number": condition_number,
        "dependent": ", ".join(dependent) or np.nan,
    }
    run["warnings"] = _join(_run_faults(run, confounds))
    rows = [
        _assess_cell(name, design, events, motion, tr=tr, glm=glm)
        for name in design.cells
    ]
    return run, pd.DataFrame(rows)


def require_estimable(
    runs: pd.DataFrame, regressors: pd.DataFrame, glm: dict, confounds: dict
) -> None:
    """Refuse a study with designs that cannot be estimated.

    Parameters
    ----------
    runs, regressors : DataFrame
        RUN_COLUMNS and REGRESSOR_COLUMNS, all runs of the study.
    glm, confounds : dict
        The sections of the configuration.

    Raises
    ------
    StudyError
        Listing every run without full rank, without a degree of freedom or with more than
        `confounds.max_censored` censored, and every cell over `glm.max_vif`.
    """
    faults = [
        f"{run_name(run)}: {fault}"
        for run in runs.to_dict("records")
        for fault in _run_faults(run, confounds)
    ]
    faults += [
        f"{run_name(row)}, {row['regressor']}: VIF {row['vif']:.1f} > "
        f"{glm['max_vif']:g} (glm.max_vif){_likeness(row)}"
        for row in regressors.to_dict("records")
        if row["vif"] > glm["max_vif"]
    ]
    if faults:
        listed = "\n".join(f"  - {fault}" for fault in faults)
        raise StudyError(
            f"{len(faults)} {'fault' if len(faults) == 1 else 'faults'} in the designs "
            f"(of {len(runs)} runs), so that effects cannot be estimated:\n{listed}\n"
            "Exclude the subjects in bids.exclude, with the reason; or take fewer confounds "
            "(confounds.strategy, confounds.motion), raise the thresholds of scrubbing, or do "
            "not model trial types apart that always follow each other (events.others, "
            "events.cells)."
        )


def _assess_cell(
    name: str,
    design: RunDesign,
    events: pd.DataFrame,
    motion: Motion,
    *,
    tr: float,
    glm: dict,
) -> dict:
    column = design.columns.index(name)
    regressor = design.matrix[:, column]
    mine = events[events["regressor"] == name]
    times = frame_times(len(design.keep), tr, glm)
    nearest, r_nearest = most_alike(design.matrix, column)
    parameter, r_motion = _task_motion(regressor, motion.parameters[design.keep])
    drifts = [
        other for other, drift in enumerate(design.columns) if drift.startswith(DRIFTS)
    ]
    row = {
        "regressor": name,
        "condition": mine["condition"].iloc[0],
        "cue": mine["cue"].iloc[0],
        "n_events": len(mine),
        "total_duration": mine["duration"].sum(),
        "vif": variance_inflation(design.matrix, column),
        "most_alike": design.columns[nearest] if nearest >= 0 else np.nan,
        "r_most_alike": r_nearest,
        "motion_parameter": parameter,
        "r_motion": r_motion,
        "high_pass_loss": shared_variance(regressor, design.matrix[:, drifts]),
        "n_censored_events": _count_censored(mine, times, design.keep, glm),
        "n_late_events": int((mine["onset"] >= times[-1]).sum()),
    }
    return row | {"warnings": _join(_cell_warnings(row, glm))}


def _task_motion(
    regressor: NDArray, parameters: pd.DataFrame
) -> tuple[str | float, float]:
    """Return the motion parameter that goes most with a regressor, and their correlation."""
    found = {}
    for name in parameters:
        values = parameters[name].to_numpy()
        known = np.isfinite(values)
        pair = centre(np.column_stack([regressor, values])[known])
        if pair.any(axis=0).all():
            found[name] = float(np.corrcoef(pair.T)[0, 1])
    if not found:
        return np.nan, np.nan
    name = max(found, key=lambda other: abs(found[other]))
    return name, found[name]


def _count_censored(
    events: pd.DataFrame, times: NDArray, keep: NDArray, glm: dict
) -> int:
    """Count the events of whose response censoring leaves a remnant at most."""
    onsets, ends = events["onset"], events["onset"] + events["duration"] + RESPONSE_S
    touched = [
        ((times >= onset) & (times <= end) & ~keep).any()
        for onset, end in zip(onsets, ends, strict=True)
    ]
    power = trial_regressors(events[touched], times, glm) ** 2
    total, left = power.sum(axis=0), power[keep].sum(axis=0)
    return int((left < REMNANT * total).sum())


def _run_faults(run: Mapping, confounds: dict) -> list[str]:
    """Word what makes a run unusable."""
    faults = []
    if run["df"] <= 0:
        faults.append(
            f"no degree of freedom ({run['n_kept']} volumes kept, {run['n_columns']} columns)"
        )
    elif run["rank"] < run["n_columns"]:
        faults.append(
            f"rank {run['rank']} of {run['n_columns']} columns; these are zero or depend on each "
            f"other: {run['dependent']}"
        )
    if run["censored"] > confounds["max_censored"]:
        faults.append(
            f"{run['n_censored']} of {run['n_volumes']} volumes censored "
            f"({run['censored']:.0%} > {confounds['max_censored']:.0%}, confounds.max_censored)"
        )
    return faults


def _cell_warnings(row: dict, glm: dict) -> list[str]:
    found = []
    if row["vif"] > glm["warn_vif"]:
        found.append(f"VIF {row['vif']:.1f} > {glm['warn_vif']:g}{_likeness(row)}")
    if abs(row["r_motion"]) > TASK_MOTION:
        found.append(f"goes with {row['motion_parameter']} (r = {row['r_motion']:.2f})")
    if row["high_pass_loss"] > HIGH_PASS_LOSS:
        found.append(f"the high-pass takes {row['high_pass_loss']:.0%} of its variance")
    for kind, meaning in (
        ("censored", "censored away"),
        ("late", "after the last volume"),
    ):
        if row[f"n_{kind}_events"]:
            found.append(
                f"{row[f'n_{kind}_events']} of {row['n_events']} events {meaning}"
            )
    return found


def _likeness(row: Mapping) -> str:
    if pd.isna(row["most_alike"]):
        return ""
    return f"; r = {row['r_most_alike']:.2f} with {row['most_alike']}"


def _is_confound(name: str, regressors: set[str]) -> bool:
    stem = name.removesuffix("_derivative").removesuffix("_dispersion")
    return not (
        name in regressors
        or stem in regressors
        or name.startswith("drift_")
        or name == "constant"
    )


def _join(found: list[str]) -> str | float:
    return "; ".join(found) or np.nan


# --- All subjects in one job, and from it to the others --------------------------------------


def design_subjects(
    runs: pd.DataFrame,
    events: Mapping[tuple[Hashable, Hashable, Hashable], pd.DataFrame],
    glm: dict,
    confounds: dict,
) -> tuple[dict[str, dict[str, RunDesign]], pd.DataFrame, pd.DataFrame]:
    """Make and judge the designs of all runs.

    Parameters
    ----------
    runs : DataFrame
        Columns subject, session, run (labels, missing where none), confounds (path), n_volumes
        and tr (s), a row per run.
    events : mapping
        Events of each run, by (subject, session, run); a missing label is NaN, None or blank.
    glm, confounds : dict
        The sections of the configuration.

    Returns
    -------
    designs : dict of str to dict of str to RunDesign
        By subject and name of the run (`run_name`), in the order of `runs`.
    runs : DataFrame
        RUN_COLUMNS, a row per run: qc/runs.tsv.
    regressors : DataFrame
        REGRESSOR_COLUMNS, a row per cell of each run: qc/regressors.tsv.

    Raises
    ------
    StudyError
        Listing every run whose design cannot be made; `require_estimable` then judges them.
    """
    by_run = {_key(key): table for key, table in events.items()}
    designs: dict[str, dict[str, RunDesign]] = {}
    run_rows, regressor_rows, faults = [], [], []
    for row in runs.to_dict("records"):
        labels = {name: row[name] for name in ("subject", "session", "run")}
        name, tidy = run_name(row), by_run[_key(labels.values())]
        try:
            table, keep, motion = load_confounds(row["confounds"], confounds, name)
            design = design_run(
                tidy,
                table,
                keep,
                n_volumes=int(row["n_volumes"]),
                tr=float(row["tr"]),
                glm=glm,
                where=name,
            )
        except StudyError as error:
            faults.append(str(error))
            continue
        run, cells = assess_design(
            design, tidy, motion, tr=float(row["tr"]), glm=glm, confounds=confounds
        )
        designs.setdefault(row["subject"], {})[name] = design
        run_rows.append(labels | run)
        regressor_rows.append(cells.assign(**labels))
    if faults:
        listed = "\n".join(f"  - {fault}" for fault in faults)
        raise StudyError(
            f"the designs of {len(faults)} of {len(runs)} runs cannot be made:\n{listed}"
        )
    return (
        designs,
        pd.DataFrame(run_rows, columns=RUN_COLUMNS),
        pd.concat(regressor_rows, ignore_index=True)[list(REGRESSOR_COLUMNS)],
    )


def _key(labels) -> tuple[str, ...]:
    return tuple("" if pd.isna(label) else str(label) for label in labels)
