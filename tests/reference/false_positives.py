"""How often does the line reject where nothing is planted?

Cohorts in whom holding does nothing (no attenuation, and relief that goes with none; each person
keeps a smooth map of attenuation of their own, which is as often positive as negative), from
simulated BOLD to the p values of Q1 to Q4, by the product's functions.

    python tests/reference/false_positives.py 200 1    # seeds, worker processes

writes false_positives_p.tsv (a row per seed: every p value) and false_positives.tsv (a row per
test: share of the seeds with p <= 0.05, its Clopper-Pearson interval, and the level that the
test can attain) beside this file. About four seconds per seed and process.
"""

import multiprocessing
import sys
import tempfile
import warnings
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
from scipy.stats import binomtest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
import line  # noqa: E402

from handhold import simulate, tracking  # noqa: E402
from handhold.correlation import Skipped  # noqa: E402

ALPHA = 0.05
# The smallest fast study: all 2^8 sign flips are counted out, and 8! permutations are plenty.
N_SUBJECTS, VOXEL_SIZE_MM, N_TRIALS = 8, 10, 4
SECTIONS = {
    "contrasts": [{"name": "partner", "baseline": "alone", "held": "partner"}],
    "confounds": {"strategy": ["motion", "wm_csf"], "motion": "basic"},
    "tests": {"n_permutations": 999, "n_bootstrap": 999},
}
# The robust correlation and the interval take a third of the time, and no p value needs them: p
# is drawn before them.
UNUSED = {
    "skipped": lambda x, y, rng: Skipped(np.nan, 0, np.zeros(len(x), bool)),
    "bca_interval": lambda *_, **__: (np.nan, np.nan),
    "partial_interval": lambda *_, **__: (np.nan, np.nan),
}
# Signs of 8 people have 256 patterns, in pairs: p <= .05 is p <= 12 / 256. The others count 999
# random permutations or surrogates and the observed one: 50 / 1000.
SIGNS, RANDOM = 12 / 256, 50 / 1000


def nothing(seed: int) -> simulate.Cohort:
    """Return a cohort in whom holding does nothing on average."""
    return simulate.Cohort(
        n_subjects=N_SUBJECTS,
        voxel_size_mm=VOXEL_SIZE_MM,
        seed=seed,
        receptor_slope=0,
        base_attenuation=0,
        regional_sd=0,
        tracking_r=0,
        protocol=simulate.Protocol(n_trials=N_TRIALS),
    )


def p_values(seed: int) -> dict[str, float]:
    """Simulate and analyse one cohort; return the p value of every test by `question test`."""
    with tempfile.TemporaryDirectory() as folder:
        study = line.Line.write(nothing(seed), Path(folder), **SECTIONS)
        runs = study.runs()
        runs = runs[[_is_needed(row) for row in runs.itertuples()]]
        images = study.fit(runs, study.design(runs, study.trials(runs)))
        # no test needs the variance in a region
        cells = study.read(images.assign(variance=None, tsnr=None))
        attenuated = study.attenuate(cells)
        rois = attenuated["rois"]
        hypothesised = rois[rois["role"] == "hypothesised"].reset_index(drop=True)
        attenuated = {**attenuated, "rois": hypothesised}
        with patch.multiple(tracking, **UNUSED):
            found = study.assess(attenuated, study.bind()["parcels"])
    p = {f"Q1 {row.region}": row.p for row in found["Q1"].itertuples()}
    p["Q1 family"] = found["Q1"]["p_fwe"].min()
    q2 = found["Q2"][found["Q2"]["scope"] == "all"].set_index("method")
    for method in ("pearson", "spearman"):
        p[f"Q2 subject null, {method}"] = q2.loc[method, "p_subject"]
        p[f"Q2 map null, {method}"] = q2.loc[method, "p_map"]
        p[f"Q2 both, {method}"] = q2.loc[method, "p"]
    # of the bare changes, and at equal baselines, which decides
    for model, column in (("", "p"), (", equal baselines", "p_partial")):
        for region, value in found["Q3"].set_index("region")[column].items():
            p[f"Q3 {region}{model}"] = value
        p[f"Q3 family{model}"] = found["Q3"][f"{column}_fwe"].min()
        p[f"Q4 coupling{model}"] = found["Q4"][column].item()
    return {"seed": seed, **{name: float(value) for name, value in p.items()}}


def _is_needed(run) -> bool:
    """Tell whether a run belongs to the contrast; the stranger's would only take time."""
    order = simulate.block_order(int(run.subject) - 1)
    return order[int(run.run) - 1] != "stranger"


def attainable(name: str) -> float:
    """Return the largest level up to .05 that a test can reject at."""
    return SIGNS if name.startswith("Q1") or "subject" in name else RANDOM


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Count rejections: one row per test."""
    rows = []
    for name in table.columns.drop("seed"):
        question, test = name.split(" ", 1)
        p = table[name].dropna()
        rejected = int((p <= ALPHA + 1e-12).sum())
        interval = binomtest(rejected, len(p)).proportion_ci(0.95)
        rows.append(
            {
                "question": question,
                "test": test,
                "n_seeds": len(p),
                "n_rejected": rejected,
                "rate": rejected / len(p),
                "low": interval.low,
                "high": interval.high,
                "attainable": attainable(name),
                "p_of_rate": binomtest(rejected, len(p), attainable(name)).pvalue,
            }
        )
    return pd.DataFrame(rows)


def write(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path, sep="\t", index=False, float_format="%.6g", lineterminator="\n")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    n_seeds, n_workers = int(sys.argv[1]), int(sys.argv[2])
    line.define_regions(VOXEL_SIZE_MM)
    context = multiprocessing.get_context("fork")
    rows = []
    with context.Pool(n_workers) as pool:
        for row in pool.imap(p_values, range(1, n_seeds + 1)):
            rows.append(row)
            write(pd.DataFrame(rows), HERE / "false_positives_p.tsv")
    summary = summarise(pd.DataFrame(rows))
    write(summary, HERE / "false_positives.tsv")
    print(summary.to_string())
