"""How often do the models of single trials reject where no bond between trials is planted?

Cohorts of 20 people with a run of 12 trials in each condition (alone, partner). Effect and rating
of a trial are autocorrelated (AR(1), .4), and people whose effects are high rate high. Worlds:

    quiet      nothing else
    independent  the same, without autocorrelation
    tracking   the hand lowers both, and more in the same people (r = .8), but not trial by trial
    trend      both fall over a run, in everyone
    slopes     people's slopes differ (SD .5) about zero
    b only     trials go together (slope .5), but the hand leaves the effect alone: no mediation
    slight slopes  as independent, and people's slopes differ little (SD .2) about zero
    runs       two runs a condition; both are lower by 1 in the second, and the hand lowers both

    python tests/reference/within_calibration.py 500    # cohorts a world; about a minute a world

writes within_calibration.tsv beside this file: a row per world and test, with the share of cohorts
that reject at .05 and its Clopper-Pearson interval. The rows `pooled` (trials as if independent)
and `centred at the person` (mixed model, deviation from the person's mean) are what is not done.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from handhold.mixed import fit_mixed
from handhold.permutation import flip_signs
from handhold.within import mediate, track_within

HERE = Path(__file__).parent
ALPHA, N_PEOPLE, N_TRIALS, AR1 = 0.05, 20, 12, 0.4
# The mixed model with constants and slopes is slow: its rows come from so many cohorts.
N_BESIDE = 100
WORLDS = (
    *("independent", "quiet", "tracking", "trend", "slopes", "b only"),
    *("slight slopes", "runs"),
)


def draw(world: str, rng: np.random.Generator) -> pd.DataFrame:
    """Draw the trials of a cohort, in the columns of `within.track_within`."""
    rows = []
    for person in range(N_PEOPLE):
        trait = rng.multivariate_normal([0, 0], [[1, 0.7], [0.7, 1]])
        moved = rng.multivariate_normal([1, 1], [[1, 0.8], [0.8, 1]])
        moved *= world in ("tracking", "runs")
        spread = {"slopes": 0.5, "slight slopes": 0.2}.get(world, 0.0)
        slope = 0.5 if world == "b only" else spread * rng.normal()
        for hand, condition in enumerate(("alone", "partner")):
            for run in range(2 if world == "runs" else 1):
                time = np.arange(N_TRIALS, dtype=float)
                bond = 0.0 if world in ("independent", "slight slopes") else AR1
                effect, rating = autoregress(bond, rng), autoregress(bond, rng)
                rating += slope * effect
                effect += trait[0] - hand * moved[0] - run
                rating += trait[1] - hand * moved[1] - run
                if world == "trend":
                    effect -= 0.15 * time
                    rating -= 0.15 * time
                names = [f"{person:02}"], [condition], [f"{condition}{run}"]
                names = (name * N_TRIALS for name in names)
                rows += zip(*names, time, effect, rating, strict=True)
    columns = ["subject", "condition", "block", "time", "effect", "rating"]
    return pd.DataFrame(rows, columns=columns)


def autoregress(bond: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a stationary AR(1) series of variance 1."""
    noise = np.sqrt(1 - bond**2) * rng.normal(size=N_TRIALS)
    noise[0] = rng.normal()
    for trial in range(1, N_TRIALS):
        noise[trial] += bond * noise[trial - 1]
    return noise


def rejections(world: str, seed: int) -> dict[str, bool]:
    """Say which tests reject in one cohort."""
    rng = np.random.default_rng([WORLDS.index(world), seed])
    trials = draw(world, rng)
    slope = track_within(trials, level=1 - ALPHA)
    paths = mediate(trials, held="partner", level=1 - ALPHA, n_bootstrap=999, rng=rng)
    slopes, products = (
        flip_signs(values[:, np.newaxis], 999, rng).p[0]
        for values in (slope.slopes, paths.products)
    )
    found = {
        "slope, Satterthwaite": slope.p <= ALPHA,
        "slope, sign flips": slopes <= ALPHA,
        "b, interval": not paths.b[1] <= 0 <= paths.b[2],
        "indirect, interval": not paths.indirect[1] <= 0 <= paths.indirect[2],
        "indirect, sign flips": products <= ALPHA,
    }
    if seed >= N_BESIDE:
        return found
    people = trials["subject"]
    x = (
        trials["effect"] - trials.groupby(people)["effect"].transform("mean")
    ).to_numpy()
    y = (
        trials["rating"] - trials.groupby(people)["rating"].transform("mean")
    ).to_numpy()
    random = np.column_stack([np.ones(len(x)), x])
    hand = trials["condition"] == "partner"
    centred = fit_mixed(
        trials["rating"], np.column_stack([random, hand]), random, people
    )
    return found | {
        "pooled": stats.pearsonr(x, y).pvalue <= ALPHA,
        "centred at the person": centred.p[1] <= ALPHA,
    }


def main(n_cohorts: int) -> None:
    """Count the rejections of every world and write the table."""
    rows = []
    for world in WORLDS:
        found = pd.DataFrame([rejections(world, seed) for seed in range(n_cohorts)])
        for test in found:
            rejected = found[test].dropna().astype(bool)
            n, count = len(rejected), int(rejected.sum())
            interval = stats.binomtest(count, n).proportion_ci()
            rows.append(
                {
                    **{"world": world, "test": test, "n_cohorts": n},
                    **{"rate": count / n, "low": interval.low},
                    "high": interval.high,
                }
            )
        print(pd.DataFrame(rows[-len(found.columns) :]).to_string(), flush=True)
    pd.DataFrame(rows).to_csv(
        HERE / "within_calibration.tsv", sep="\t", index=False, float_format="%.4g"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
