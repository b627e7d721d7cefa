"""One subject's runs to images, against least squares written out."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from brains import AFFINE, SHAPE

from handhold.derivatives import image_names, image_table
from handhold.errors import StudyError
from handhold.firstlevel import fit_subject, write_fit
from handhold.rundesign import RunDesign

CELLS = [("alone", "threat"), ("alone", "safe"), ("held", "threat"), ("held", "safe")]
CHOICES = {
    "noise_model": "ols",
    "smoothing_mm": 0,
    "min_signal": 0.2,
    "hrf": "spm",
    "peak_duration_s": 6,
}
N, PEAK = 30, 0.7
BRAIN = np.zeros(SHAPE, bool)
BRAIN[8:12, 10:14, 8:12] = True


def design_of(rng, cells, n=N):
    """Draw a design with these cells, a nuisance column and a constant."""
    names = ["_".join(cell) for cell in cells]
    matrix = np.column_stack([rng.random((n, len(cells) + 1)), np.ones(n)])
    columns = (*names, "nuisance", "constant")
    keep = np.ones(n, bool)
    none = np.zeros((n, 0))
    return RunDesign(matrix, columns, tuple(names), keep, PEAK, none, ())


def write_run(folder, name, series, mask, affine=AFFINE):
    """Write series (x, y, z, t) and mask; return the row of the table of runs."""
    row = {"subject": "01", "session": np.nan, "run": name}
    for kind, values in (("bold", series), ("mask", mask.astype(np.uint8))):
        image = nib.Nifti1Image(values, affine)
        image.set_sform(affine, code=4)
        row[kind] = str(folder / f"{name}_{kind}.nii.gz")
        nib.save(image, row[kind])
    return row


@pytest.fixture
def two_runs(tmp_path, rng):
    """Two runs, alone and held, whose series are noise about 100."""
    rows, designs, series = [], {}, {}
    for name, cells in (("1", CELLS[:2]), ("2", CELLS[2:])):
        series[name] = rng.normal(100, 3, (*SHAPE, N)).astype(np.float32)
        rows.append(write_run(tmp_path, name, series[name], BRAIN))
        designs[f"sub-01 run-{name}"] = design_of(rng, cells)
    return tmp_path, rows, designs, series


def least_squares(series, design):
    """Return effects and variances in % signal change, shape (n_columns, n_voxels)."""
    x = design.matrix
    beta, *_ = np.linalg.lstsq(x, series, rcond=None)
    rest = series - x @ beta
    sigma = (rest**2).sum(axis=0) / (len(x) - x.shape[1])
    scale = 100 * PEAK / series.mean(axis=0)
    diagonal = np.diag(np.linalg.inv(x.T @ x))
    return beta * scale, np.outer(diagonal, sigma) * scale**2


def test_each_cell_is_percent_signal_change_of_its_own_run(two_runs):
    _, rows, designs, series = two_runs
    fit = fit_subject(rows, designs, CELLS, CHOICES)
    for cell, run in zip(CELLS, "1122", strict=True):
        design = designs[f"sub-01 run-{run}"]
        column = design.columns.index("_".join(cell))
        effect, variance = least_squares(series[run][BRAIN].T.astype(float), design)
        np.testing.assert_allclose(fit.effect[cell][BRAIN], effect[column], rtol=2e-4)
        np.testing.assert_allclose(
            fit.variance[cell][BRAIN], variance[column], rtol=1e-4
        )
        assert np.isnan(fit.effect[cell][~BRAIN]).all()


def test_runs_of_one_cell_are_combined_by_precision(tmp_path, rng):
    rows, designs, found = [], {}, []
    for name, sd in (("1", 1.0), ("2", 4.0)):
        series = rng.normal(100, sd, (*SHAPE, N)).astype(np.float32)
        rows.append(write_run(tmp_path, name, series, BRAIN))
        designs[f"sub-01 run-{name}"] = design = design_of(rng, CELLS)
        found.append(least_squares(series[BRAIN].T.astype(float), design))
    fit = fit_subject(rows, designs, CELLS, CHOICES)
    for index, cell in enumerate(CELLS):
        effects = np.array([effect[index] for effect, _ in found])
        weights = 1 / np.array([variance[index] for _, variance in found])
        wanted = (weights * effects).sum(axis=0) / weights.sum(axis=0)
        np.testing.assert_allclose(
            fit.effect[cell][BRAIN], wanted, rtol=1e-3, atol=1e-4
        )
        np.testing.assert_allclose(
            fit.variance[cell][BRAIN], 1 / weights.sum(axis=0), rtol=1e-4
        )


def test_all_cells_have_the_same_voxels(two_runs, rng):
    # Otherwise alone and held would be means over other voxels of a region.
    folder, rows, designs, series = two_runs
    smaller = BRAIN.copy()
    smaller[8] = False
    rows[1] = write_run(folder, "2", series["2"], smaller)
    fit = fit_subject(rows, designs, CELLS, CHOICES)
    for cell in CELLS:
        np.testing.assert_array_equal(np.isfinite(fit.effect[cell]), smaller)
        np.testing.assert_array_equal(np.isfinite(fit.variance[cell]), smaller)


def test_voxels_without_signal_are_not_measured(two_runs):
    folder, rows, designs, series = two_runs
    dark = (slice(8, 9), slice(10, 11), slice(8, 10))
    dim = series["1"].copy()
    dim[dark] *= 0.19
    dim[11, 13, 11] *= 0.21
    rows[0] = write_run(folder, "1", dim, BRAIN)
    fit = fit_subject(rows, designs, CELLS, CHOICES)
    for cell in CELLS:
        assert np.isnan(fit.effect[cell][dark]).all()
        assert np.isfinite(fit.effect[cell]).sum() == BRAIN.sum() - 2


def test_runs_on_other_grids_are_refused(two_runs):
    folder, rows, designs, series = two_runs
    moved = AFFINE.copy()
    moved[0, 3] += 2
    rows[1] = write_run(folder, "2", series["2"], BRAIN, moved)
    with pytest.raises(
        StudyError, match=r"sub-01 run-2: the BOLD lies on another grid"
    ):
        fit_subject(rows, designs, CELLS, CHOICES)


def test_a_run_of_another_length_than_its_design_is_refused(two_runs):
    folder, rows, designs, series = two_runs
    rows[1] = write_run(folder, "2", series["2"][..., :-1], BRAIN)
    with pytest.raises(
        StudyError, match="run-2: the BOLD has 29 volumes and its design 30"
    ):
        fit_subject(rows, designs, CELLS, CHOICES)


def test_runs_that_share_no_voxel_are_refused(two_runs):
    folder, rows, designs, series = two_runs
    other = np.roll(BRAIN, 4, axis=0)
    rows[1] = write_run(folder, "2", series["2"], other)
    with pytest.raises(
        StudyError, match=r"sub-01: no voxel has an estimate of every cell"
    ):
        fit_subject(rows, designs, CELLS, CHOICES)


def test_images_say_what_they_hold(two_runs, tmp_path):
    _, rows, designs, _ = two_runs
    fit = fit_subject(rows, designs, CELLS, CHOICES)
    bids = {"task": "hands", "space": "MNI152NLin6Asym", "resolution": "2"}
    names = image_names(str(tmp_path), "01", bids, CELLS)
    write_fit(fit, names, CHOICES)
    image = nib.load(names["held_safe"])
    np.testing.assert_array_equal(image.affine, AFFINE)
    np.testing.assert_array_equal(
        np.asarray(image.dataobj), fit.effect["held", "safe"].astype(np.float32)
    )
    sidecar = json.loads(
        (tmp_path / "effects/sub-01" / names["held_safe"].rpartition("/")[2])
        .with_suffix("")
        .with_suffix(".json")
        .read_text()
    )
    assert sidecar["Units"] == "% signal change"
    assert (sidecar["Condition"], sidecar["Cue"]) == ("held", "safe")
    first = (tmp_path / names["tsnr"]).read_bytes()
    write_fit(fit, names, CHOICES)
    assert (tmp_path / names["tsnr"]).read_bytes() == first


def test_every_subject_and_cell_has_its_row():
    bids = {"task": "hands", "space": "MNI152NLin6Asym", "session": "a"}
    table = image_table("out", {"01": "01", "x1": "x 1"}, bids, CELLS)
    assert list(table["subject"]) == ["01"] * 4 + ["x 1"] * 4
    assert table["image"].is_unique
    assert table["variance"].is_unique
    assert set(table["tsnr"]) == {
        f"out/effects/sub-{label}/sub-{label}_ses-a_task-hands_"
        "space-MNI152NLin6Asym_stat-tsnr_boldmap.nii.gz"
        for label in ("01", "x1")
    }
    assert isinstance(table, pd.DataFrame)


def test_conditions_that_would_share_a_name_are_refused():
    cells = [("no hand", "threat"), ("nohand", "threat")]
    with pytest.raises(StudyError, match="would have one name"):
        image_names("out", "01", {"task": "t", "space": "MNI"}, cells)
