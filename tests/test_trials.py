"""Runs are measured, their trials read, and each trial estimated by a model of its own."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from brains import AFFINE, SHAPE

from handhold.errors import StudyError
from handhold.images import Grid, Volume
from handhold.regions import average, sphere_cloud, weigh
from handhold.rundesign import RunDesign
from handhold.trials import estimate_runs, estimate_trials, measure_runs, read_trials

TR, N = 2.0, 40
GLM = {"slice_time_ref": 0.5, "min_onset_s": -24}
EVENTS = {
    "type_column": "trial_type",
    "cells": [
        {"trial_type": "threat", "cue": "threat"},
        {"trial_type": "safe", "cue": "safe"},
    ],
    "condition": {"column": "hand"},
    "rename": {},
    "others": [],
    "ignore": [],
}
ROWS = "onset\tduration\ttrial_type\thand\n4\t2\tthreat\talone\n20\t2\tsafe\talone\n"


@pytest.fixture
def written(tmp_path, rng):
    """One run of noise about 100 with its events; its row, series and mask."""
    series = rng.normal(100, 3, (*SHAPE, N)).astype(np.float32)
    mask = np.zeros(SHAPE, np.uint8)
    mask[6:14, 8:16, 6:14] = 1
    row = {"subject": "01", "session": np.nan, "run": "1"}
    for kind, values in (("bold", series), ("mask", mask)):
        image = nib.Nifti1Image(values, AFFINE)
        image.set_sform(AFFINE, code=4)
        if kind == "bold":
            image.header.set_zooms((8, 8, 8, TR))
            image.header.set_xyzt_units("mm", "sec")
        row[kind] = str(tmp_path / f"{kind}.nii.gz")
        nib.save(image, row[kind])
    row["events"], row["sidecar"] = str(tmp_path / "e.tsv"), str(tmp_path / "s.json")
    (tmp_path / "e.tsv").write_text(ROWS)
    (tmp_path / "s.json").write_text('{"RepetitionTime": 2.0, "StartTime": 0.97}')
    return tmp_path, pd.DataFrame([row]), series, mask


def test_a_run_is_measured_by_its_header_and_sidecar(written):
    measured = measure_runs(written[1], GLM)
    assert measured[["n_volumes", "tr"]].to_dict("list") == {
        "n_volumes": [N],
        "tr": [TR],
    }


@pytest.mark.parametrize(
    ("sidecar", "fault"),
    [
        ({"RepetitionTime": 1.9}, "2 s in the header"),
        (
            {"RepetitionTime": 2.0, "StartTime": 0.0},
            "refers volumes to 0 s after their begin .StartTime., glm.slice_time_ref to 1 s",
        ),
        ({"RepetitionTime": 2.0, "StartTime": 2.0}, "1 would agree"),
    ],
)
def test_contradictions_about_time_are_refused(written, sidecar, fault):
    folder, runs, _, _ = written
    (folder / "s.json").write_text(json.dumps(sidecar))
    with pytest.raises(StudyError, match=f"(?s)1 contradictions about the.*{fault}"):
        measure_runs(runs, GLM)


def test_events_are_held_against_the_length_of_the_run(written):
    folder, runs, _, _ = written
    runs = measure_runs(runs, GLM)
    ((key, tidy),) = read_trials(runs, EVENTS, -24).items()
    assert key == ("01", None, "1")
    assert list(tidy["regressor"]) == ["alone_threat", "alone_safe"]
    (folder / "e.tsv").write_text(ROWS.replace("4\t2", "4000\t2").replace("20", "2000"))
    with pytest.raises(StudyError, match=r"2 of 2 events begin after the run's end"):
        read_trials(runs, EVENTS, -24)
    (folder / "e.tsv").write_text(ROWS.replace("4\t2", "-30\t2"))
    read_trials(runs, EVENTS, -40)
    with pytest.raises(StudyError, match=r"before -24 s \(glm.min_onset_s\)"):
        read_trials(runs, EVENTS, -24)


def test_each_trial_is_estimated_by_a_model_of_its_own(written, rng):
    """Against least squares written out, trial by trial, over the voxels of the effects."""
    _, runs, series, mask = written
    cells = ("alone_threat", "alone_safe")
    trials = rng.random((N, 6))
    kind = np.array([0, 1, 0, 1, 1, 0])
    keep = np.ones(N, bool)
    keep[7] = False
    constant = np.ones((N, 1))
    both = np.stack([trials[:, kind == k].sum(axis=1) for k in (0, 1)], axis=1)
    matrix = np.hstack([both, constant])[keep]
    design = RunDesign(
        matrix,
        (*cells, "constant"),
        cells,
        keep,
        0.7,
        trials[keep],
        tuple(cells[k] for k in kind),
    )
    table = pd.DataFrame(
        {
            "subject": "01",
            "session": None,
            "run": "1",
            "trial": range(1, 7),
            "onset": 1.0,
            "condition": "alone",
            "cue": ["threat" if k == 0 else "safe" for k in kind],
            "rating": np.nan,
        }
    )
    clouds = {
        "rois": sphere_cloud(np.array([0.0, 0, 0]), 14.0, "set/middle"),
        "parcels": sphere_cloud(np.array([16.0, -8, 8]), 14.0, "side"),
    }
    effect = np.where(mask > 0, 1.0, np.nan)
    effect[12, 13, 10] = np.nan  # the middle of the parcel was not measured
    volume = Volume(effect, Grid(AFFINE, SHAPE))
    found = estimate_trials(runs, {"sub-01 run-1": design}, table, clouds, volume)
    assert list(found["rois"]["trial"]) == [1, 2, 3, 4, 5, 6]
    assert set(found["parcels"]["region"]) == {"side"}
    assert (found["parcels"]["coverage"] < 1).all()
    # the mean series of the parcel, from the weights that the product gives its voxels
    weights = weigh(clouds["parcels"], AFFINE, SHAPE)
    held = np.where(np.isfinite(effect)[..., np.newaxis], series, np.nan)
    mean = np.array(
        [
            average(weights, held[..., t].astype(float), zero_is_missing=False).mean[0]
            for t in range(N)
        ]
    )[keep]
    for trial in range(6):
        own = trials[:, trial]
        rest = both.copy()
        rest[:, kind[trial]] -= own
        x = np.column_stack([own, rest, constant])[keep]
        beta = np.linalg.lstsq(x, mean, rcond=None)[0][0]
        wanted = 100 * 0.7 * beta / mean.mean()
        assert found["parcels"]["effect"][trial] == pytest.approx(wanted, rel=1e-3)


def test_each_run_is_estimated_by_a_model_of_its_own(written, rng):
    """Against least squares written out, over the mean series of the region."""
    _, runs, series, mask = written
    cells = ("alone_threat", "alone_safe")
    keep = np.ones(N, bool)
    keep[3] = False
    matrix = np.hstack([rng.random((N, 2)), np.ones((N, 1))])[keep]
    design = RunDesign(
        matrix, (*cells, "constant"), cells, keep, 0.7, matrix[:, :0], ()
    )
    cloud = sphere_cloud(np.array([0.0, 0, 0]), 14.0, "set/middle")
    volume = Volume(np.where(mask > 0, 1.0, np.nan), Grid(AFFINE, SHAPE))
    wanted = [("alone", "threat"), ("alone", "safe"), ("partner", "threat")]
    found = estimate_runs(
        runs, {"sub-01 run-1": design}, wanted, cloud, volume, noise_model="ols"
    )
    others = {"sub-01 run-1": design, "sub-01 run-2": replace(design, cells=())}
    again = estimate_runs(
        pd.concat([runs, runs.assign(run="2", bold="not read")]),
        *(others, wanted, cloud, volume),
        noise_model="ols",
    )
    assert again.equals(found)  # a run without any cell of the contrasts has no rows
    # the run has no partner: no row
    assert found[["condition", "cue"]].to_numpy().tolist() == [
        ["alone", "threat"],
        ["alone", "safe"],
    ]
    weights = weigh(cloud, AFFINE, SHAPE)
    held = np.where(mask[..., np.newaxis] > 0, series, np.nan)
    mean = np.array(
        [
            average(weights, held[..., t].astype(float), zero_is_missing=False).mean[0]
            for t in range(N)
        ]
    )[keep]
    beta, residual, *_ = np.linalg.lstsq(matrix, mean, rcond=None)
    scale = 100 * 0.7 / mean.mean()
    assert found["effect"].to_numpy() == pytest.approx(scale * beta[:2], rel=1e-3)
    variance = residual[0] / (len(mean) - 3) * np.diag(np.linalg.inv(matrix.T @ matrix))
    assert found["variance"].to_numpy() == pytest.approx(
        scale**2 * variance[:2], rel=1e-2
    )
