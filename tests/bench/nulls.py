"""Seconds for Moran surrogates, best of three: `python tests/bench/nulls.py`.

Run with OMP_NUM_THREADS=1: one BLAS thread is as fast as two here.
"""

import time

import numpy as np

from handhold.nulls import moran
from handhold.permutation import flip_signs


def best_of_three(work) -> float:
    """Return the least CPU time of three runs, in seconds."""
    times = []
    for _ in range(3):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


rng = np.random.default_rng(1)
coordinates = rng.uniform(-70, 70, (400, 3))
binding, people = rng.normal(size=400), rng.normal(size=(100, 500))
for procedure in ("singleton", "pair"):
    seconds = best_of_three(
        lambda how=procedure: moran(binding, coordinates, 10_000, rng, how)
    )
    print(f"Moran {procedure}, 10,000 nulls of 400 parcels: {seconds:.2f} s")
seconds = best_of_three(lambda: flip_signs(people, 10_000, rng))
print(f"sign flips, 10,000 x 500 tests x 100 subjects: {seconds:.2f} s")
