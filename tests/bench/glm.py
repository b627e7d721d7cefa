"""CPU time and peak memory of one BOLD run, as ratios to decompressing it.

`python tests/bench/glm.py [--peers] [--folder FOLDER]` simulates one run at 2 mm (97 x 115 x 97
x 300, int16, gzip) with realistic noise and a design of 43 regressors, and does each task in a
process of its own: CPU time without imports, and the peak of memory with them. With --peers also
as nilearn does it, which takes minutes. The run is kept in FOLDER (default: a temporary one).
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# One BLAS thread is as fast as two, and CPU time can then be compared.
THREADS = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)
SHAPE, N_VOLUMES, TR_S = (97, 115, 97), 300, 2.0
# Other work on a machine slows a task down: rounds of all tasks, and the quickest of each.
N_ROUNDS = 3
N_CELLS, N_REGRESSORS, N_ROIS, N_PARCELS = 6, 43, 8, 230
CONTRASTS = [f"cell{cell}" for cell in range(N_CELLS)]


# --- the run ---------------------------------------------------------------------------


def make_run(folder: Path) -> None:
    """Write run, mask, labels and design: AR(1) noise, smooth in space, over a brain."""
    import nibabel as nib
    import numpy as np
    import pandas as pd
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_gm_mask
    from nilearn.glm.first_level import make_first_level_design_matrix
    from nilearn.image import resample_to_img
    from scipy.ndimage import gaussian_filter
    from scipy.spatial import cKDTree

    rng = np.random.default_rng(1)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = [-96, -132, -78]
    grid = nib.Nifti1Image(np.zeros(SHAPE, np.uint8), affine)
    mask, grey = (
        resample_to_img(
            template(resolution=2),
            grid,
            interpolation="nearest",
            copy_header=True,
            force_resample=True,
        )
        for template in (load_mni152_brain_mask, load_mni152_gm_mask)
    )
    nib.save(mask, folder / "mask.nii.gz")
    inside = np.asarray(mask.dataobj) > 0

    cortex = inside & (np.asarray(grey.dataobj) > 0)
    places = np.argwhere(cortex)
    seeds = places[rng.choice(len(places), N_ROIS + N_PARCELS, replace=False)]
    labels = np.zeros(SHAPE, np.int16)
    labels[cortex] = cKDTree(seeds).query(places)[1] + 1
    nib.save(nib.Nifti1Image(labels, affine), folder / "labels.nii.gz")
    write_weights(folder, labels, affine)

    onsets = np.arange(4, N_VOLUMES * TR_S - 20, 14.0)
    events = pd.DataFrame(
        {
            "onset": onsets + rng.uniform(0, 4, len(onsets)),
            "duration": rng.uniform(4, 10, len(onsets)),
            "trial_type": rng.permutation(np.resize(CONTRASTS, len(onsets))),
        }
    )
    times = (np.arange(N_VOLUMES) + 0.5) * TR_S
    plain = make_first_level_design_matrix(times, events, "spm", "cosine", 1 / 128)
    n_confounds = N_REGRESSORS - plain.shape[1]
    walks = np.cumsum(rng.normal(size=(N_VOLUMES, n_confounds)), axis=0)
    names = [f"confound{n}" for n in range(n_confounds)]
    design = plain.join(pd.DataFrame(walks, index=plain.index, columns=names))
    design.to_csv(folder / "design.tsv", sep="\t", index=False)

    head = gaussian_filter(inside.astype(np.float32), 1.5)
    base = 100 + head * (700 + 150 * gaussian_filter(rng.normal(size=SHAPE), 3) * 15)
    rho = np.where(inside, np.clip(rng.normal(0.3, 0.15, SHAPE), 0, 0.8), 0.1)
    effects = [gaussian_filter(rng.normal(size=SHAPE), 4) * 20 for _ in range(N_CELLS)]
    drift = gaussian_filter(rng.normal(size=SHAPE), 4) * 20
    values = np.empty((*SHAPE, N_VOLUMES), np.int16, order="F")
    noise = np.zeros(SHAPE, np.float32)
    for volume in range(N_VOLUMES):
        fresh = rng.standard_normal(SHAPE, dtype=np.float32)
        fresh = 0.7 * fresh + gaussian_filter(fresh, 1.0) * 3
        noise = rho * noise + fresh
        signal = sum(
            design[name].iloc[volume] * effect
            for name, effect in zip(CONTRASTS, effects, strict=True)
        )
        signal = signal + drift * np.sin(volume / N_VOLUMES * 6)
        values[..., volume] = base * (1 + 0.01 * head * signal) + 10 * noise
    image = nib.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms([2, 2, 2, TR_S])
    nib.save(image, folder / "bold.nii.gz")


def write_weights(folder: Path, labels, affine) -> None:
    """Write the weights of voxels in regions, which a study works out once per grid."""
    import numpy as np

    from handhold.regions import label_cloud, weigh

    members = {str(code): [code] for code in range(1, N_ROIS + N_PARCELS + 1)}
    weights = weigh(label_cloud(labels, affine, members), affine, SHAPE)
    matrix = weights.matrix
    np.savez(
        folder / "weights.npz",
        data=matrix.data,
        indices=matrix.indices,
        indptr=matrix.indptr,
        total=weights.total,
    )


# --- the tasks: each imports, then returns the work to be timed ------------------------------


def decompress(folder: Path):
    """Read through the file by the fastest decoder."""
    from isal import igzip

    buffer = bytearray(2 * SHAPE[0] * SHAPE[1] * SHAPE[2])

    def work():
        with igzip.open(folder / "bold.nii.gz") as file:
            while file.readinto(buffer):
                pass

    return work


def _weights(folder: Path):
    import numpy as np
    from scipy import sparse

    from handhold.regions import Weights

    with np.load(folder / "weights.npz") as arrays:
        parts = (arrays["data"], arrays["indices"], arrays["indptr"])
        shape = (len(arrays["total"]), SHAPE[0] * SHAPE[1] * SHAPE[2])
        return Weights(sparse.csr_array(parts, shape=shape), arrays["total"])


def regions(folder: Path):
    """Average the run over regions, volume by volume."""
    from handhold.bold import read_region_series

    weights = _weights(folder)
    return lambda: read_region_series(
        folder / "bold.nii.gz", folder / "mask.nii.gz", weights, "run"
    )


def _design(folder: Path):
    import numpy as np

    names = (folder / "design.tsv").read_text().splitlines()[0].split("\t")
    matrix = np.loadtxt(folder / "design.tsv", delimiter="\t", skiprows=1)
    contrasts = np.array([[name == each for name in names] for each in CONTRASTS])
    return matrix, contrasts.astype(float)


def _fit(folder: Path, noise_model: str, smoothing_mm: float = 0.0):
    import numpy as np

    from handhold.bold import read_bold
    from handhold.glm import fit_run, percent_signal_change
    from handhold.regions import average

    weights = _weights(folder)
    design, contrasts = _design(folder)

    def work():
        bold = read_bold(
            folder / "bold.nii.gz",
            folder / "mask.nii.gz",
            "run",
            smoothing_mm=smoothing_mm,
        )
        fit = fit_run(
            bold.block, bold.n_voxels, design, contrasts, noise_model=noise_model
        )
        scaled = percent_signal_change(fit, 1.0)
        for values in (*scaled.effect, *scaled.variance):
            average(weights, bold.spread(values), zero_is_missing=False)
        return np.stack([fit.effect, fit.variance])

    return work


def glm_ar1(folder: Path):
    """Fit AR(1) to every voxel: effect, variance of six contrasts, and their region means."""
    return _fit(folder, "ar1")


def glm_ols(folder: Path):
    """As `glm_ar1`, by ordinary least squares."""
    return _fit(folder, "ols")


def glm_ar1_smoothed(folder: Path):
    """As `glm_ar1`, smoothed by 6 mm."""
    return _fit(folder, "ar1", 6.0)


def nilearn_regions(folder: Path):
    """Average by nilearn's NiftiLabelsMasker."""
    from nilearn.maskers import NiftiLabelsMasker

    masker = NiftiLabelsMasker(
        folder / "labels.nii.gz", mask_img=folder / "mask.nii.gz", standardize=None
    )
    return lambda: masker.fit_transform(folder / "bold.nii.gz")


def _nilearn_fit(folder: Path, noise_model: str):
    import numpy as np
    import pandas as pd
    from nilearn.glm.first_level import FirstLevelModel

    design = pd.read_csv(folder / "design.tsv", sep="\t")
    model = FirstLevelModel(
        mask_img=folder / "mask.nii.gz",
        noise_model=noise_model,
        signal_scaling=False,
        minimize_memory=True,
    )

    def work():
        model.fit(folder / "bold.nii.gz", design_matrices=design)
        maps = [model.compute_contrast(name, output_type="all") for name in CONTRASTS]
        inside = model.masker_.mask_img_.get_fdata() > 0
        return np.stack(
            [
                [images[kind].get_fdata()[inside] for images in maps]
                for kind in ("effect_size", "effect_variance")
            ]
        )

    return work


def nilearn_ar1(folder: Path):
    """Fit by nilearn's FirstLevelModel, noise_model ar1."""
    return _nilearn_fit(folder, "ar1")


def nilearn_ols(folder: Path):
    """Fit by nilearn's FirstLevelModel, noise_model ols."""
    return _nilearn_fit(folder, "ols")


OURS = [decompress, regions, glm_ar1, glm_ols, glm_ar1_smoothed]
PEERS = [nilearn_regions, nilearn_ar1, nilearn_ols]
TASKS = {task.__name__: task for task in OURS + PEERS}


# --- measuring -----------------------------------------------------------------------------


def measure(name: str, folder: Path) -> None:
    """Do one task in this process and print what it took."""
    start = time.process_time()
    work = TASKS[name](folder)
    prepared = time.process_time()
    result = work()
    cpu = time.process_time() - prepared
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if result is not None:
        import numpy as np

        np.save(folder / f"{name}.npy", result)
    print(json.dumps({"cpu": cpu, "before": prepared - start, "peak": peak}))


def run(name: str, folder: Path) -> dict:
    """Do one task in a process of its own; return seconds and megabytes."""
    command = [sys.executable, "-W", "ignore", __file__, "--task", name]
    command += ["--folder", str(folder)]
    done = subprocess.run(
        command, env=os.environ | THREADS, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def run_rounds(folder: Path, peers: bool) -> dict[str, dict]:
    """Do every task in turn, ours in several rounds; return the quickest of each."""
    found: dict[str, list] = {task.__name__: [] for task in OURS + PEERS * peers}
    for number in range(N_ROUNDS):
        for name in found:
            if number == 0 or TASKS[name] in OURS:
                found[name].append(run(name, folder))
    return {
        name: min(times, key=lambda each: each["cpu"]) for name, times in found.items()
    }


def compare(folder: Path, ours: str, peer: str) -> None:
    """Print how far our t statistics are from the peer's."""
    import numpy as np

    t = [
        effect / np.sqrt(variance)
        for effect, variance in (
            np.load(folder / f"{name}.npy") for name in (ours, peer)
        )
    ]
    apart = np.abs(t[0] - t[1])
    apart = apart[np.isfinite(apart)]
    print(
        f"{ours} against {peer}: |dt| median {np.median(apart):.1e}, 99.9th percentile "
        f"{np.quantile(apart, 0.999):.1e}, n = {apart.size}"
    )


def main(folder: Path, peers: bool) -> None:
    """Make the run where there is none, do every task, print the table."""
    if not (folder / "bold.nii.gz").exists():
        make = [sys.executable, "-W", "ignore", __file__, "--task", "make"]
        subprocess.run([*make, "--folder", str(folder)], check=True)
    size = (folder / "bold.nii.gz").stat().st_size / 1e6
    print(f"{SHAPE} x {N_VOLUMES} int16, {size:.0f} MB compressed")
    print("task                CPU s   ratio  before s  peak MB")
    found = run_rounds(folder, peers)
    for name, took in found.items():
        print(
            f"{name:18} {took['cpu']:6.2f} {took['cpu'] / found['decompress']['cpu']:7.2f} "
            f"{took['before']:9.2f} {took['peak']:8.0f}"
        )
    if peers:
        compare(folder, "glm_ar1", "nilearn_ar1")
        compare(folder, "glm_ols", "nilearn_ols")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", action="store_true", help="nilearn too (minutes)")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task == "make":
        make_run(arguments.folder)
    elif arguments.task:
        measure(arguments.task, arguments.folder)
    elif arguments.folder:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        main(arguments.folder, arguments.peers)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary), arguments.peers)
