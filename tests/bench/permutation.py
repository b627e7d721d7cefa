"""Permutations beside nilearn's, in one run: `python tests/bench/permutation.py`.

Both are given the same 40 people and 8 ROIs, 10,000 permutations, one core; least CPU time
of three runs. Run with OMP_NUM_THREADS=1.
"""

import time

import numpy as np
from nilearn.mass_univariate import permuted_ols

from handhold.permutation import flip_signs, permute_correlations, permute_residuals

N_PERMUTATIONS = 10_000


def best_of_three(work) -> float:
    """Return the least CPU time of three runs, in seconds."""
    times = []
    for _ in range(3):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def beside(tested, values, covariates=None) -> float:
    """Return nilearn's seconds on the same data."""
    return best_of_three(
        lambda: permuted_ols(
            tested[:, np.newaxis],
            values,
            confounding_vars=covariates,
            model_intercept=not np.all(tested == 1),
            n_perm=N_PERMUTATIONS,
            n_jobs=1,
            random_state=1,
            verbose=0,
        )
    )


def compare(what, ours, nilearns) -> None:
    """Print both times and their ratio."""
    print(
        f"{what}: {1e3 * ours:.1f} ms; nilearn {1e3 * nilearns:.0f} ms: "
        f"{nilearns / ours:.0f} times"
    )


rng = np.random.default_rng(1)
people, relief = rng.normal(size=(40, 8)), rng.normal(size=40)
covariates = rng.normal(size=(40, 2))
own = rng.normal(size=(40, 2, 8))
n = N_PERMUTATIONS
print(f"{n:,} permutations, 40 people, 8 ROIs")
compare(
    "sign flips",
    best_of_three(lambda: flip_signs(people, n, rng)),
    beside(np.ones(40), people),
)
compare(
    "correlations",
    best_of_three(lambda: permute_correlations(people, relief, n, rng)),
    beside(relief, people),
)
compare(
    "two covariates (Freedman-Lane)",
    best_of_three(lambda: permute_residuals(people, relief, covariates, n, rng)),
    beside(relief, people, covariates),
)
seconds = best_of_three(lambda: permute_residuals(people, relief, own, n, rng))
print(
    f"two covariates of each ROI's own: {1e3 * seconds:.1f} ms (nilearn: no such test)"
)

people, relief = rng.normal(size=(100, 500)), rng.normal(size=100)
covariates = rng.normal(size=(100, 2))
print(f"{n:,} permutations, 100 people, 500 regions")
for what, work in (
    ("sign flips", lambda: flip_signs(people, n, rng)),
    ("correlations", lambda: permute_correlations(people, relief, n, rng)),
    ("two covariates", lambda: permute_residuals(people, relief, covariates, n, rng)),
):
    print(f"{what}: {best_of_three(work):.2f} s")
