"""From events and confounds to the design of a run, and whether it can be estimated.

Events are convolved and confounds chosen by nilearn, with every option handed over. Its import
takes seconds: the designs of all subjects are made in one job (`design_subjects`) and saved as
arrays, so that the job that fits a subject needs no nilearn.
"""

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from handhold import io
from handhold.collinearity import (
    centre,
    dependent_columns,
    most_alike,
    rank_and_condition,
    shared_variance,
    unit_length,
    variance_inflation,
)
from handhold.errors import StudyError

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
# An event of which censoring leaves less than this share of the response (its sum of squares)
# tells of the remnant.
REMNANT = 0.5
# Above this correlation a regressor shares a quarter of its variance with motion.
TASK_MOTION = 0.5
# Above this share the high-pass takes more of a regressor than it leaves.
HIGH_PASS_LOSS = 0.5

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
    table = io.read_table(path, "bids.derivatives")
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
    names = sorted({*RIGID_BODY, DISPLACEMENT, DVARS, *sum(asked.values(), [])})
    words = [
        name
        for name in names
        if name in table
        and pd.to_numeric(table[name], errors="coerce").isna().ne(table[name].isna()).any()
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
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
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
    regressors = confounds - confounds[keep].mean()
    regressors = regressors / regressors[keep].std(ddof=0).replace(0, 1)
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
