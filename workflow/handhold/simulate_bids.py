"""Write a simulated study as a BIDS dataset with derivatives as fMRIPrep writes them.

`write_shared` writes what all subjects share, `write_subject` the files of one, so that a
workflow can run one job per subject. `runs_table` and `describe` say what will be written,
without a file, in the words in which any other dataset is described. The same cohort gives
the same bytes.
"""

import gzip
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from handhold import phantom, scanner, simulate
from handhold.io import (
    read_arrays,
    replacing,
    write_arrays,
    write_json,
    write_text,
)
from handhold.simulate import Cohort, Template

TASK, SPACE = "handholding", "MNI152NLin2009cAsym"
DERIVATIVES = "derivatives/fmriprep"
TEMPLATE = "template.npz"
RUNS = (1, 2, 3)
# The files of a run that an analysis reads.
RUN_COLUMNS = ("bold", "mask", "confounds", "events", "sidecar")
# What stands beside the datasets and is none of BIDS's business.
BIDSIGNORE = f"{TEMPLATE}\ntruth.json\nreceptor.*\ndecoy_*\n"
# Noise hardly compresses: the lowest level costs a few percent in size and saves time.
COMPRESSION = 1

# The registry of this study's maps, as atlases/receptors.tsv is that of real ones.
RECEPTORS = [
    {
        "receptor": name,
        "label": label,
        "unit": unit,
        "file": file,
        "background": "0",
        "citation": citation,
        "doi": doi,
        "licence": "BSD-3-Clause (made by handhold)",
    }
    for name, label, unit, file, citation, doi in (
        (
            "MOR_modelled",
            "modelled mu-opioid (MOR)",
            "BP_ND, modelled",
            "receptor.nii.gz",
            "modelled from regional means of Turtonen et al. (2021); not an image of anyone",
            "10.1016/j.bpsc.2020.10.013",
        ),
        *(
            (
                name,
                label,
                "arbitrary",
                f"{name}.nii.gz",
                "invented by handhold.phantom",
                "n/a",
            )
            for name, label in (
                ("decoy_front", "decoy: towards the front"),
                ("decoy_dorsal", "decoy: towards the top"),
                ("decoy_patches_1", "decoy: smooth patches 1"),
                ("decoy_patches_2", "decoy: smooth patches 2"),
            )
        ),
    )
]

RECEPTOR_SIDECAR = {
    "Description": "MODELLED, not an image of anyone: published regional means of "
    "mu-opioid receptor availability, joined smoothly by kernel regression over "
    "anchors in AAL3 regions. For demonstrations and tests only.",
    "Modelled": True,
    "Units": "BP_ND (no unit), modelled",
    "Background": 0,
    "Tracer": "[11C]carfentanil, of the published means",
    "RegionalMeans": {name: region[0] for name, region in phantom.REGIONS.items()},
    "Sources": [
        "Turtonen et al. (2021): regional means of a map of N = 39.",
        "Rolls et al. (2020): AAL3, NeuroImage 206, 116189: places of the anchors.",
    ],
}

README = """\
Simulated hand-holding study
============================

SIMULATED by handhold: no person was scanned, and no image of anyone is in here. Each subject
awaits shocks in three blocks (runs): alone, holding a stranger's hand, holding the partner's
(Coan, Schaefer and Davidson 2006, 10.1111/j.1467-9280.2006.01832.x). What was planted is
written in truth.json.

The series are simulated in standard space, so that nothing had to be preprocessed: the raw
images link to the preprocessed ones under derivatives/fmriprep. Grid and tissues are those of
the ICBM 152 template that nilearn carries (2009a, symmetric); the files name the space that
fMRIPrep writes by default. Voxels outside the brain are 0.

The mu-opioid map (receptor.nii.gz) is modelled from published regional means; the decoy maps
are invented.
"""

EVENTS_SIDECAR = {
    "onset": {"Description": "Onset from the first volume.", "Units": "s"},
    "duration": {"Description": "Duration.", "Units": "s"},
    "trial_type": {
        "Description": "What happens.",
        "Levels": {
            "cue": "Colour that tells threat from safety.",
            "threat": "Anticipation after a threat cue.",
            "safe": "Anticipation after a safe cue.",
            "shock": "Shock (after some of the threat trials).",
            "rating": "Screen on which unpleasantness is rated.",
        },
    },
    "hand": {
        "Description": "Whose hand is held, in this whole run.",
        "Levels": {
            "alone": "Nobody's.",
            "stranger": "A stranger's.",
            "partner": "The partner's.",
        },
    },
}
UNPLEASANTNESS = "Rating from 0 to 100; higher is more unpleasant"


def runs_table(cohort: Cohort, folder: str | Path) -> pd.DataFrame:
    """List the runs of a cohort as an index of its dataset would, before any file exists.

    Returns a row per run, all text: columns subject, session (NaN), run, bold, mask,
    confounds, events and sidecar (of the preprocessed series), paths beginning with `folder`.
    """
    rows = []
    for subject in simulate.subjects(cohort.n_subjects):
        for run in RUNS:
            files = _run_files(cohort, subject, run)
            paths = [f"{folder}/{files[kind]}" for kind in RUN_COLUMNS]
            rows.append((subject, np.nan, str(run), *paths))
    columns = ["subject", "session", "run", *RUN_COLUMNS]
    return pd.DataFrame(rows, columns=columns).astype({"session": object})


def subject_files(cohort: Cohort, subject: str) -> list[str]:
    """List what `write_subject` writes, relative to the dataset.

    The same pattern for everyone: `subject` may be a wildcard.

    Examples
    --------
    >>> subject_files(Cohort(), "{subject}")[0]
    'sub-{subject}/func/sub-{subject}_task-handholding_run-1_events.tsv'
    """
    return [path for run in RUNS for path in _run_files(cohort, subject, run).values()]


def shared_files(cohort: Cohort) -> list[str]:
    """List what `write_shared` writes, relative to the dataset."""
    phenotype = ["phenotype/unpleasantness.tsv", "phenotype/unpleasantness.json"]
    return [
        ".bidsignore",
        "README",
        "CHANGES",
        "dataset_description.json",
        "participants.tsv",
        "participants.json",
        f"task-{TASK}_events.json",
        f"{DERIVATIVES}/dataset_description.json",
        *(phenotype if cohort.ratings == "block" else []),
        *(row["file"] for row in RECEPTORS),
        "receptor.json",
        "truth.json",
        TEMPLATE,
    ]


def _run_files(cohort: Cohort, subject: str, run: int) -> dict[str, str]:
    stem = f"sub-{subject}/func/sub-{subject}_task-{TASK}_run-{run}"
    derived = f"{DERIVATIVES}/{stem}"
    space = f"{derived}_space-{SPACE}_res-{cohort.voxel_size_mm}_desc"
    return {
        "events": f"{stem}_events.tsv",
        "raw": f"{stem}_bold.nii.gz",
        "raw_sidecar": f"{stem}_bold.json",
        "bold": f"{space}-preproc_bold.nii.gz",
        "sidecar": f"{space}-preproc_bold.json",
        "mask": f"{space}-brain_mask.nii.gz",
        "mask_sidecar": f"{space}-brain_mask.json",
        "confounds": f"{derived}_desc-confounds_timeseries.tsv",
        "confounds_sidecar": f"{derived}_desc-confounds_timeseries.json",
    }


def describe(cohort: Cohort, folder: str | Path) -> dict:
    """Describe the dataset as a configuration describes any other.

    Returns the sections `bids`, `events` and `ratings`, paths beginning with `folder`. Where
    ratings are per trial, `ratings` names no table: they stand in the events.
    """
    by_trial = cohort.ratings == "trial"
    ratings = {
        "higher_is": "more_unpleasant",
        "label": "relief (points of 0 to 100, simulated)",
    }
    if not by_trial:
        ratings |= {
            "table": f"{folder}/phenotype/unpleasantness.tsv",
            "subject": "participant_id",
            "wide": {name: f"unpleasantness_{name}" for name in simulate.CONDITIONS},
        }
    return {
        "bids": {
            "dataset": str(folder),
            "derivatives": f"{folder}/{DERIVATIVES}",
            "task": TASK,
            "space": SPACE,
            "resolution": str(cohort.voxel_size_mm),
            "participant_label": [],
            "exclude": {},
            "incomplete_runs": "refuse",
        },
        "events": {
            "type_column": "trial_type",
            "cells": [{"trial_type": cue, "cue": cue} for cue in simulate.CUES],
            "condition": {"column": "hand"},
            "rename": {},
            "others": list(simulate.OTHER_SHARES),
            "ignore": [],
            **({"rating": {"column": "rating"}} if by_trial else {}),
        },
        "ratings": ratings,
    }


def write_dataset(cohort: Cohort, folder: str | Path) -> None:
    """Write a whole study: `write_shared`, then `write_subject` for everyone."""
    write_shared(cohort, folder)
    for index in range(cohort.n_subjects):
        write_subject(cohort, index, folder)


def write_shared(cohort: Cohort, folder: str | Path) -> None:
    """Write what all subjects of a cohort share (`shared_files`).

    Beside the files of BIDS: the receptor map and the decoys (0 outside the brain), the
    template that `write_subject` reads, and truth.json.
    """
    folder = Path(folder)
    template = plan(cohort)
    write_arrays(
        {f.name: getattr(template, f.name) for f in fields(template)}, folder / TEMPLATE
    )
    maps = {"receptor": template.binding}
    maps |= phantom.decoy_maps(template.mask, template.affine)
    for name, values in maps.items():
        _write_map(folder / f"{name}.nii.gz", values, template)
    write_json(RECEPTOR_SIDECAR, folder / "receptor.json")
    write_json(simulate.truth(cohort), folder / "truth.json")
    write_text(BIDSIGNORE, folder / ".bidsignore")
    write_text(README, folder / "README")
    write_text("1.0.0 2006-12-01\n  - Simulated.\n", folder / "CHANGES")
    common = {
        "Name": "Simulated hand-holding study",
        "BIDSVersion": "1.9.0",
        "License": "BSD-3-Clause",
        "Authors": ["the handhold developers"],
        "GeneratedBy": [{"Name": "handhold", "Description": "Simulated."}],
    }
    write_json({**common, "DatasetType": "raw"}, folder / "dataset_description.json")
    write_json(
        {**common, "DatasetType": "derivative"},
        folder / DERIVATIVES / "dataset_description.json",
    )
    _write_participants(cohort, folder)
    write_json(_events_sidecar(cohort), folder / f"task-{TASK}_events.json")
    if cohort.ratings == "block":
        _write_phenotype(cohort, folder / "phenotype" / "unpleasantness.tsv")


def write_subject(cohort: Cohort, index: int, folder: str | Path) -> None:
    """Write the files of one subject (`subject_files`), after `write_shared`.

    Parameters
    ----------
    cohort : Cohort
    index : int
        Position of the subject, from 0.
    folder : path
        The dataset.
    """
    folder = Path(folder)
    template = read_template(folder)
    inside = scanner.brain_mask(cohort, index, template)
    subject = simulate.subjects(cohort.n_subjects)[index]
    for run in RUNS:
        files = _run_files(cohort, subject, run)
        paths = {kind: folder / path for kind, path in files.items()}
        scan = scanner.scan_run(cohort, index, run, template)
        _write_table(scan.events, paths["events"])
        table, meanings = scanner.measure_confounds(
            scan, inside, template, cohort.protocol.tr_s
        )
        _write_table(table, paths["confounds"])
        write_json(meanings, paths["confounds_sidecar"])
        _write_mask(paths["mask"], inside, template)
        _write_series(paths["bold"], scan.series, template, cohort.protocol.tr_s)
        _link(paths["raw"], paths["bold"])
        for kind, content in _sidecars(cohort, files).items():
            write_json(content, paths[kind])


def plan(cohort: Cohort) -> Template:
    """Lay out what all subjects share, in nilearn's brain."""
    mask, affine, white, fluid = standard_tissues(cohort.voxel_size_mm)
    return simulate.plan(cohort, mask, affine, white=white, fluid=fluid)


def standard_tissues(
    voxel_size_mm: int,
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Return brain and tissues of nilearn's MNI152 template at a voxel size (mm).

    Returns the brain mask, shape (nx, ny, nz), its affine, and the shares of white matter and
    of fluid (what is neither grey nor white) in its voxels, shape (n_voxels,).
    """
    from nilearn import datasets

    brain = datasets.load_mni152_brain_mask(resolution=voxel_size_mm)
    mask = np.asarray(brain.dataobj) > 0
    grey, white = (
        np.clip(np.asarray(load(resolution=voxel_size_mm).dataobj)[mask], 0, 1)
        for load in (datasets.load_mni152_gm_template, datasets.load_mni152_wm_template)
    )
    return mask, brain.affine, white, np.clip(1 - grey - white, 0, 1)


def read_template(folder: str | Path) -> Template:
    """Read the template that `write_shared` wrote."""
    return Template(**read_arrays(Path(folder) / TEMPLATE))


def _sidecars(cohort: Cohort, files: dict[str, str]) -> dict[str, dict]:
    timing = {"TaskName": TASK, "RepetitionTime": cohort.protocol.tr_s}
    sources = {"Sources": [f"bids:raw:{files['raw']}"]}
    return {
        "raw_sidecar": {
            **timing,
            "Description": "Simulated in standard space: links to the preprocessed series.",
        },
        "sidecar": {
            **timing,
            "SliceTimingCorrected": True,
            "StartTime": scanner.SLICE_TIME_REF * cohort.protocol.tr_s,
            "SkullStripped": True,
            "Description": "Simulated.",
            **sources,
        },
        "mask_sidecar": {"Type": "Brain", **sources},
    }


def _events_sidecar(cohort: Cohort) -> dict:
    rating = {"Description": f"{UNPLEASANTNESS}, in the row of the rated trial."}
    return EVENTS_SIDECAR | ({"rating": rating} if cohort.ratings == "trial" else {})


def _write_participants(cohort: Cohort, folder: Path) -> None:
    labels = simulate.subjects(cohort.n_subjects)
    orders = ["-".join(simulate.block_order(index)) for index in range(len(labels))]
    table = {"participant_id": [f"sub-{label}" for label in labels], "order": orders}
    _write_table(pd.DataFrame(table), folder / "participants.tsv")
    write_json(
        {
            "participant_id": {"Description": "Simulated subject."},
            "order": {"Description": "Whose hand is held in runs 1, 2 and 3."},
        },
        folder / "participants.json",
    )


def _write_phenotype(cohort: Cohort, path: Path) -> None:
    table = simulate.simulate_ratings(cohort)
    wide = table.pivot(
        index="participant_id", columns="condition", values="unpleasantness"
    )
    wide = wide[list(simulate.CONDITIONS)].add_prefix("unpleasantness_").reset_index()
    _write_table(wide, path)
    columns = {
        f"unpleasantness_{name}": {
            "Description": f"{UNPLEASANTNESS}; after the block with this hand: {name}.",
            "Units": "points of 0 to 100",
        }
        for name in simulate.CONDITIONS
    }
    instrument = "Unpleasantness of the block, on a visual scale."
    write_json(
        {
            "MeasurementToolMetadata": {"Description": instrument},
            "participant_id": {"Description": "Simulated subject."},
            **columns,
        },
        path.with_suffix(".json"),
    )


def _write_map(path: Path, values: NDArray, template: Template) -> None:
    """Write float32 values in the brain, 0 outside."""
    volume = np.zeros(template.mask.shape, dtype=np.float32)
    volume[template.mask] = values
    _write_image(path, _header(volume.shape, volume.dtype, template), [volume])


def _write_mask(path: Path, inside: NDArray, template: Template) -> None:
    volume = np.zeros(template.mask.shape, dtype=np.uint8)
    volume[template.mask] = inside
    _write_image(path, _header(volume.shape, volume.dtype, template), [volume])


def _write_series(path: Path, series: NDArray, template: Template, tr_s: float) -> None:
    """Write a series as int16, in the scanner's steps, volume by volume."""
    shape = (*template.mask.shape, len(series))
    header = _header(shape, np.dtype(np.int16), template)
    header.set_slope_inter(scanner.STEP, 0)
    header["pixdim"][4] = tr_s
    _write_image(path, header, _volumes(series, template))


def _volumes(series: NDArray, template: Template):
    volume = np.zeros(template.mask.shape, dtype=np.int16, order="F")
    # the file runs along x first, the voxels of the template along z
    places = np.ravel_multi_index(np.nonzero(template.mask), volume.shape, order="F")
    for values in series:
        volume.reshape(-1, order="F")[places] = scanner.digitise(values)
        yield volume


def _header(shape: tuple[int, ...], kind: np.dtype, template: Template):
    """Return the header of an image in MNI space."""
    import nibabel as nib

    header = nib.Nifti1Header()
    header.set_data_dtype(kind)
    header.set_data_shape(shape)
    header.set_sform(template.affine, code="mni")
    header.set_qform(template.affine, code="mni")
    header.set_xyzt_units("mm", "sec")
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["vox_offset"], header["magic"] = 352, b"n+1"
    return header


def _write_image(path: Path, header, volumes) -> None:
    """Gzip a NIfTI without a time or a file name, which would differ from run to run."""
    with (
        replacing(path) as temporary,
        temporary.open("wb") as file,
        gzip.GzipFile("", "wb", COMPRESSION, file, mtime=0) as zipped,
    ):
        zipped.write(header.binaryblock + bytes(4))  # no extension
        for volume in volumes:
            zipped.write(volume.tobytes(order="F"))


def _write_table(table: pd.DataFrame, path: Path) -> None:
    with replacing(path) as temporary:
        table.to_csv(
            temporary,
            sep="\t",
            index=False,
            na_rep="n/a",
            lineterminator="\n",
            float_format="%.8g",
        )


def _link(path: Path, target: Path) -> None:
    """Link to a file of the same dataset, so that the dataset can be moved."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(Path(*[".."] * 2, target.relative_to(path.parents[2])))
