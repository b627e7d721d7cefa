"""First level: the runs of one subject become one effect and one variance image per cell.

A job per subject: nothing that loads slowly (pandas, scipy, nilearn) is imported here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handhold import glm
from handhold.bold import Bold, read_bold
from handhold.errors import StudyError
from handhold.images import Grid, write_image
from handhold.io import write_json
from handhold.rundesign import RunDesign
from handhold.runs import run_name

EFFECT = {
    "Description": "Effect of the cell, runs combined by precision; NaN: not measured in "
    "every cell.",
    "Units": "% signal change",
}
VARIANCE = {
    "Description": "Variance of the effect of the cell; NaN: not measured in every cell.",
    "Units": "square of % signal change",
}
TSNR = {
    "Description": "Temporal signal-to-noise ratio: mean over time / standard deviation of the "
    "residuals of the model, mean over runs; NaN: not measured.",
    "Units": "ratio",
}


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


def fit_subject(
    runs: list[dict],
    designs: dict[str, RunDesign],
    cells: list[tuple[str, str]],
    choices: dict,
) -> SubjectFit:
    """Estimate every cell of one subject, run by run, and combine the runs by precision.

    Parameters
    ----------
    runs : list of dict
        The subject's rows of the table of runs.
    designs : dict of str to RunDesign
        By the name of the run (`runs.run_name`).
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
    for row in runs:
        name = run_name(row)
        bold = read_bold(
            row["bold"], row["mask"], name, smoothing_mm=choices["smoothing_mm"]
        )
        require_length(bold.n_volumes, designs[name], name)
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
    estimates = _keep_common(np.array(found))
    _require_estimates(estimates[:, 0], cells, runs[0]["subject"])
    volumes = [[_volume(part, brain) for part in pair] for pair in estimates]
    return SubjectFit(
        {cell: pair[0] for cell, pair in zip(cells, volumes, strict=True)},
        {cell: pair[1] for cell, pair in zip(cells, volumes, strict=True)},
        _volume(_mean_over_runs(tsnr), brain),
        grids[0],
    )


def _keep_common(estimates: NDArray) -> NDArray:
    """Leave the voxels that every cell has, of estimates (n_cells, 2, n_voxels).

    Masks differ between runs, and where each condition has a run of its own a region's mean
    alone and held would be over other voxels: attenuation out of anatomy.
    """
    everywhere = np.isfinite(estimates).all(axis=(0, 1))
    return np.where(everywhere, estimates, np.nan)


def write_fit(fit: SubjectFit, paths: dict[str, str], choices: dict) -> None:
    """Write the images of one subject, each with a sidecar that says what it holds.

    Parameters
    ----------
    fit : SubjectFit
    paths : dict of str to str
        By name, from `derivatives.image_names`.
    choices : dict
        The section `glm` of the configuration.
    """
    for (condition, cue), effect in fit.effect.items():
        key = f"{condition}_{cue}"
        cell = {"Condition": condition, "Cue": cue, **_model(choices)}
        _write(paths[key], effect, fit, {**cell, **EFFECT})
        variance = fit.variance[condition, cue]
        _write(paths[f"{key}_variance"], variance, fit, {**cell, **VARIANCE})
    _write(paths["tsnr"], fit.tsnr, fit, TSNR)


def _write(path: str, values, fit: SubjectFit, sidecar: dict) -> None:
    write_image(path, values, fit.grid)
    write_json(sidecar, path.removesuffix(".nii.gz") + ".json")


def _model(choices: dict) -> dict:
    return {
        "NoiseModel": choices["noise_model"],
        "HRF": choices["hrf"],
        "PeakDuration": choices["peak_duration_s"],
        "SmoothingFWHM": choices["smoothing_mm"],
    }


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


def require_length(n_volumes: int, design: RunDesign, name: str) -> None:
    """Refuse a run (by name) with another number of volumes than its design."""
    if n_volumes != len(design.keep):
        raise StudyError(
            f"{name}: the BOLD has {n_volumes} volumes and its design {len(design.keep)}. "
            "The run was changed after its design was made; run snakemake again."
        )


def _require_one_grid(runs: list[dict], grids: list[Grid]) -> None:
    strange = [
        run_name(row)
        for row, grid in zip(runs, grids, strict=True)
        if grid.shape != grids[0].shape or not np.allclose(grid.affine, grids[0].affine)
    ]
    if strange:
        raise StudyError(
            f"{', '.join(strange)}: the BOLD lies on another grid than the subject's first run, "
            "so that runs cannot be combined voxel by voxel. Write all runs with the same output "
            "resolution, or choose one with bids.resolution."
        )


def _require_estimates(
    effects: NDArray, cells: list[tuple[str, str]], subject: str
) -> None:
    if not np.isfinite(effects).any():
        listed = ", ".join(" ".join(cell) for cell in cells)
        raise StudyError(
            f"sub-{subject}: no voxel has an estimate of every cell ({listed}). Compare the "
            "brain masks of the runs with each other and with the BOLD, and glm.min_signal with "
            "its intensities; or exclude the subject with its reason in bids.exclude."
        )
