"""Seconds for surrogate maps on the real mu-opioid map: `python tests/bench/nulls.py`.

Run with OMP_NUM_THREADS=1: one BLAS thread is as fast as two here. Reads the map from the folder
of real data (HANDHOLD_SHARED_DATA). Where brainsmash can be imported (it is no dependency: pip
install --no-deps --target <folder> brainsmash, and put the folder on PYTHONPATH), its class Base
is timed in the same run, over fewer surrogates than 1,000 and scaled: each costs the same.
"""

import os
import resource
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("HANDHOLD_SHARED_DATA", ROOT.parent / "shared" / "data"))
MAP = "pet/MU_carfentanil_hc204_kantonen.nii"
VOXEL_MM, N_VOXELS = 3, 40_000
# Surrogates of brainsmash that are timed, one by one and in its largest useful batch.
N_SINGLE, N_BATCHED, BATCH = 20, 200, 100


def best_of(times: int, work) -> float:
    """Return the least CPU time of some runs, in seconds."""
    found = []
    for _ in range(times):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def real_parcels():
    """Binding and centres of the parcels of HCPEx, background counted in where it has to be."""
    import sys

    sys.path.insert(0, str(ROOT / "tests"))
    import reference_wager

    parcels = reference_wager.Parcels()
    values, affine = reference_wager.read_map(DATA / MAP)
    whole = np.where(np.isfinite(values), values, 0)
    found, _ = parcels.means(whole, affine, zero_is_missing=False, least=0)
    return found, parcels.centre


def real_voxels():
    """Binding at voxels of a grid of 3 mm within 4 mm of the atlas, and their places."""
    import reference_wager
    from scipy import ndimage

    _, points, _ = reference_wager.read_atlas("HCPEx")
    low = points.min(axis=0) - 6
    places = np.rint((points - low) / VOXEL_MM).astype(int)
    grid = np.zeros(places.max(axis=0) + 3, bool)
    grid[tuple(places.T)] = True
    grid = ndimage.binary_dilation(grid)
    voxels = np.argwhere(grid)
    values, affine = reference_wager.read_map(DATA / MAP)
    found = reference_wager.look_up(values, affine, voxels * VOXEL_MM + low)
    has = np.flatnonzero(np.isfinite(found))[:N_VOXELS]
    return found[has], voxels[has]


def brainsmash_seconds(values, distance):
    """Surrogates by brainsmash, and seconds of 1,000, one by one and batched."""
    # brainsmash calls what newer numpy has under another name only
    np.row_stack = np.vstack  # noqa: NPY201
    from brainsmash.mapgen.base import Base

    base = Base(values, distance, seed=1)
    single = best_of(1, lambda: base(N_SINGLE)) * 1000 / N_SINGLE
    start = time.process_time()
    nulls = base(N_BATCHED, batch_size=BATCH)
    batched = (time.process_time() - start) * 1000 / N_BATCHED
    return nulls, single, batched


if __name__ == "__main__":
    from handhold.fields import gaussian_field, gaussian_voxels
    from handhold.nulls import euclidean, moran
    from handhold.permutation import flip_signs
    from handhold.variogram import match_variogram

    rng = np.random.default_rng(1)
    binding, places = real_parcels()
    distance = euclidean(places)
    n = len(binding)
    for procedure in ("singleton", "pair"):
        seconds = best_of(
            3, lambda how=procedure: moran(binding, places, 10_000, rng, how)
        )
        print(f"Moran {procedure}, 10,000 nulls of {n} parcels: {seconds:.2f} s")
    seconds = best_of(3, lambda: gaussian_field(binding, distance, 10_000, rng))
    print(f"Gaussian field, 10,000 nulls of {n} parcels: {seconds:.2f} s")
    seconds = best_of(3, lambda: match_variogram(binding, distance, 1000, rng))
    print(f"variogram matching, 1,000 nulls of {n} parcels: {seconds:.2f} s")
    try:
        theirs, single, batched = brainsmash_seconds(binding, distance)
    except ImportError:
        print("  (brainsmash is not installed, see the docstring)")
    else:
        print(f"  brainsmash Base: {single:.0f} s, {single / seconds:.0f}x ours")
        print(f"  brainsmash Base, batched: {batched:.1f} s, {batched / seconds:.1f}x")
        from scipy.stats import ks_2samp

        ours = match_variogram(binding, distance, 1000, rng)
        null_r = [np.corrcoef(nulls, places[:, 1])[-1, :-1] for nulls in (ours, theirs)]
        print(
            "  SD of null r with the y axis: ours {:.3f}, brainsmash {:.3f}; ".format(
                *(r.std() for r in null_r)
            )
            + f"KS p = {ks_2samp(*null_r).pvalue:.2f}"
        )

    values, voxels = real_voxels()
    seconds = best_of(1, lambda: gaussian_voxels(values, voxels, VOXEL_MM, 1000, rng))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"Gaussian field by FFT, 1,000 nulls of {len(values)} voxels of {VOXEL_MM} mm: "
        f"{seconds:.1f} s; peak of this process {peak:.2f} GB"
    )
    people = rng.normal(size=(100, 500))
    seconds = best_of(3, lambda: flip_signs(people, 10_000, rng))
    print(f"sign flips, 10,000 x 500 tests x 100 subjects: {seconds:.2f} s")
