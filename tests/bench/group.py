"""Each group test at 1,000 people x 500 regions x 10,000 permutations: CPU seconds, and memory.

`python tests/bench/group.py [--people 1000] [--regions 500] [--only NAME]`. The whole of each
test is timed, as its rule runs it: sign flips or permutations, family-wise over the regions,
intervals, Bayes factors, robust correlations, for every region; nilearn's permuted_ols, which
does the permutations alone, stands beside those that have such a part, one process, one core.
Differences between ROIs are of the pairs of 27 ROIs, as the largest definition has. Run with
OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1.
"""

import argparse
import resource
import time

import numpy as np
import pandas as pd

from handhold import attenuation, sensitivity, spec, tracking

N_PERMUTATIONS = 10_000
N_PAIRED = 27
CHOICES = {
    "study": "group",
    "title": "Group tests",
    "source": "simulated",
    "seed": 1,
    "contrasts": [{"name": "partner", "baseline": "alone", "held": "partner"}],
    "receptors": {"target": "MOR_modelled"},
    "tests": {"n_permutations": N_PERMUTATIONS},
}


def simulate(n_people: int, n_regions: int) -> dict[str, pd.DataFrame]:
    """Draw the tables that the tests read: attenuation, cells, relief and coupling."""
    rng = np.random.default_rng(1)
    shape = (n_people, n_regions)
    alone, held = (
        rng.normal(size=shape) + rng.normal(size=(n_people, 1)) for _ in "ab"
    )
    subjects = [f"{i:05}" for i in range(n_people)]
    regions = [f"region {i}" for i in range(n_regions)]
    index = pd.MultiIndex.from_product([subjects, regions], names=["subject", "region"])
    named = index.to_frame(index=False).assign(
        definition="all", hemisphere="both", role="hypothesised", contrast="partner"
    )
    baseline = rng.normal(60, 10, n_people)
    felt = rng.normal(10, 5, n_people) + (alone - held).mean(axis=1)
    cells = [
        named.assign(condition=condition, cue=cue, contrast=np.nan, run=np.nan).assign(
            effect=values.ravel(), variance=np.nan, coverage=1.0
        )
        for (condition, cue), values in {
            ("alone", "threat"): alone,
            ("alone", "safe"): np.zeros(shape),
            ("partner", "threat"): held,
            ("partner", "safe"): np.zeros(shape),
        }.items()
    ]
    of_person = {"subject": subjects, "contrast": "partner"}
    return {
        "attenuation": named.assign(
            attenuation=(alone - held).ravel(), response_baseline=alone.ravel()
        ),
        "cells": pd.concat(cells, ignore_index=True),
        "relief": pd.DataFrame(
            {**of_person, "relief": felt, "baseline": baseline, "held": baseline - felt}
        ),
        "coupling": pd.DataFrame(
            {
                **of_person,
                "receptor": "MOR_modelled",
                "fisher_z": rng.normal(size=n_people),
                "fisher_z_baseline": rng.normal(size=n_people),
            }
        ),
    }


def permuted(tables: dict[str, pd.DataFrame], tested: str) -> None:
    """Have nilearn permute what a test permutes: signs, relief, or its residuals."""
    from nilearn.mass_univariate import permuted_ols

    of_regions = tables["attenuation"].pivot(
        index="subject", columns="region", values="attenuation"
    )
    relief = tables["relief"]
    covariates = relief[["baseline"]].to_numpy()
    permuted_ols(
        np.ones((len(relief), 1))
        if tested == "signs"
        else relief[["relief"]].to_numpy(),
        of_regions.to_numpy(),
        confounding_vars=covariates if tested == "residuals" else None,
        model_intercept=tested != "signs",
        n_perm=N_PERMUTATIONS,
        n_jobs=1,
        random_state=1,
        verbose=0,
    )


def seconds(work) -> tuple[float, object]:
    """Return the CPU seconds that something takes, and what it returns."""
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--regions", type=int, default=500)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    config = spec.resolve(CHOICES)
    tests, verdicts = config["tests"], config["verdicts"]
    tables = simulate(args.people, args.regions)
    regions = tables["attenuation"]["region"].unique()[:N_PAIRED]
    paired = tables["attenuation"][tables["attenuation"]["region"].isin(regions)]
    judged = {"verdict": "inconclusive", "p_fwe": 1.0}
    keys = ["definition", "region", "hemisphere", "role", "contrast"]
    of_primary = tables["attenuation"][keys].drop_duplicates().assign(**judged)

    def draw() -> np.random.Generator:
        """Return the same draws for every test."""
        return np.random.default_rng(1)

    works = {
        "attenuation": lambda: attenuation.assess_attenuation(
            tables["attenuation"], tests, verdicts, draw()
        ),
        "interaction": lambda: attenuation.assess_interaction(paired, tests, draw()),
        "tracking": lambda: tracking.assess_tracking(
            tables["attenuation"], tables["relief"], tests, verdicts, draw()
        ),
        "coupling": lambda: tracking.assess_coupling(
            tables["coupling"], tables["relief"], tests, verdicts, draw()
        ),
        "sensitivity": lambda: sensitivity.assess_sensitivity(
            tables["cells"],
            tables["relief"],
            config["contrasts"],
            0.5,
            {"Q1": of_primary, "Q3": of_primary},
            tests,
            verdicts,
            {"Q1": draw(), "Q3": draw()},
        ),
    }
    peers = {"attenuation": "signs", "tracking": "residuals"}
    print(
        f"{args.people} people, {args.regions} regions, {N_PERMUTATIONS:,} permutations"
    )
    for name, work in works.items():
        if args.only not in name:
            continue
        took, found = seconds(work)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        line = (
            f"{name}: {took:.1f} s of CPU, {len(found)} rows, peak so far {peak:.0f} MB"
        )
        if name in peers:
            theirs, _ = seconds(lambda name=name: permuted(tables, peers[name]))
            line += (
                f"; nilearn's permutations ({peers[name]}) alone {theirs:.0f} s, "
                f"{theirs / took:.1f} times as long"
            )
        print(line, flush=True)
