"""Make calibration.tsv: the calibration beside an independent simulation.

    python tests/reference/calibration.py

The independent simulation (issue 4 of this project: 98 cortical parcels, alpha .05, a real effect
that is unrelated to the map) gave `independent`: the subject test alone rejects .37, .49 and .70
with 16, 30 and 110 people, the Moran map null .05, .05 and .06, both .04, .05 and .06; the naive p
rejects .25, .44 and .58 at a smoothness of 15, 30 and 60 mm. It does not say how large its effect
was. That follows from its subject test: where people differ by fields as smooth as the true map,
whose spread is `map_dz` of theirs, the mean of n people's correlations, in standard errors, is
normal with variance 1 + n map_dz^2, so that the test rejects 2 Phi(-1.96 / sqrt(1 + n map_dz^2)).
One number, map_dz = .486, gives .37, .49 and .71 (column `theory`), so that this is planted here.

Nor does it say how it measures smoothness, and its parcels are not known: among covariances that
were tried, exp(-d^2 / (2 mm^2)) comes nearest at 30 mm. `theory` of the naive p is that of two such
fields, whose correlation has variance tr(K K) / tr(K)^2 with K the doubly centred covariance.

Ours: world `elsewhere` of `handhold.worlds` over 98 cortical parcels of HCPEx (evenly spaced in
the order of the atlas), receptor map, true map and people's differences drawn from one such
covariance. 40 receptor maps, 40 cohorts each; `error` is the standard error over maps. Every cell
has every test and the verdict supported. `independent` gave the rates of the tests at 30 mm and
those of the naive p at all three; `theory` of the subject test leaves out that correlations of few
patches are not normal, so that at 60 mm it rejects more.

`holds` is the product's own rule (`rates.rate`: alpha, of the verdict half of it, and two standard
errors of 1,600 independent cohorts, .061 and .033). The map null does not hold it from 30 mm on.
Cohorts of one receptor map are alike, so that `error` is larger than that of independent ones.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from handhold.calibrate import Choices, Yardsticks, count_rejections  # noqa: E402
from handhold.correspondence import rank_within, standardise  # noqa: E402
from handhold.nulls import euclidean, moran  # noqa: E402
from handhold.rates import rate  # noqa: E402
from handhold.replica import Design  # noqa: E402
from handhold.spec import resolve  # noqa: E402
from handhold.variogram import root  # noqa: E402
from handhold.worlds import World  # noqa: E402

N_PARCELS, N_MAPS, N_COHORTS, N_NULLS = 98, 40, 40, 999
MAP_DZ, SEED = 0.486, 20061201
# smoothness (mm) and number of people of the cells that are compared
CELLS = [(30, 16), (30, 30), (30, 110), (15, 30), (60, 30)]
INDEPENDENT = {
    **{("subject null", 30, n): p for n, p in ((16, 0.37), (30, 0.49), (110, 0.70))},
    **{("map null", 30, n): p for n, p in ((16, 0.05), (30, 0.05), (110, 0.06))},
    **{("both nulls", 30, n): p for n, p in ((16, 0.04), (30, 0.05), (110, 0.06))},
    **{("naive p", mm, 30): p for mm, p in ((15, 0.25), (30, 0.44), (60, 0.58))},
}
NAMES = {"map null (Moran singleton)": "map null"}
TESTS = ["naive p", "subject null", "map null", "both nulls", "supported"]
SIZES = {"attenuation_dz": 0.5, "map_dz": MAP_DZ}
SIZES |= dict.fromkeys(("map_r", "tracking_r", "coupling_r"), 0.0)
COLUMNS = ["test", "smoothness_mm", "n_subjects", "independent", "theory"]
COLUMNS += ["n_replicates", "rate", "error", "holds"]
TABLE = Path(__file__).with_suffix(".tsv")


def theory(n_subjects: int) -> float:
    """How often the subject test should reject; see above."""
    return float(2 * norm.sf(1.96 / np.sqrt(1 + n_subjects * MAP_DZ**2)))


def naive_theory(centres: np.ndarray, mm: float) -> float:
    """How often the naive p of two independent fields should be at most .05; see above."""
    n = len(centres)
    centring = np.eye(n) - 1 / n
    centred = centring @ covariance(centres, mm) @ centring
    sd = np.sqrt((centred**2).sum()) / np.trace(centred)
    return float(2 * norm.sf(1.96 / np.sqrt(n - 1) / sd))


def covariance(centres: np.ndarray, mm: float) -> np.ndarray:
    """Covariance of all fields."""
    return np.exp(-((euclidean(centres) / mm) ** 2) / 2)


def cortical_centres() -> np.ndarray:
    """Centres of 98 cortical parcels of HCPEx in mm."""
    import reference_wager

    parcels = reference_wager.Parcels()
    cortical = parcels.centre[parcels.structure == "cortex"]
    return cortical[np.linspace(0, len(cortical) - 1, N_PARCELS).astype(int)]


def choices() -> Choices:
    """Defaults of every key that a verdict rests on."""
    config = resolve(
        {
            "study": "reference",
            "title": "Reference",
            "source": "simulated",
            "seed": SEED,
            "contrasts": [{"name": "partner", "baseline": "alone", "held": "partner"}],
            "receptors": {"target": "MOR_modelled"},
        }
    )
    return Choices(
        *(config[name] for name in ("tests", "nulls", "verdicts", "calibrate"))
    )


def design_of(centres: np.ndarray, mm: float, rng: np.random.Generator) -> Design:
    """A study whose receptor map, true map and noise are equally smooth; one ROI beside."""
    smooth = root(covariance(centres, mm))
    n, people = len(centres), 10
    everywhere = np.eye(n + 1)
    everywhere[:n, :n] = smooth
    return Design(
        binding=smooth @ rng.standard_normal(n),
        structure=np.repeat("cortex", n),
        coordinates=centres,
        sd=np.ones(n),
        roi_sd=np.ones((1, 1)),
        noise_root=everywhere,
        signal_root=smooth,
        contrast_root=np.eye(1),
        contrast_share=np.ones(1),
        has_parcel=np.ones((people, n), bool),
        has_roi=np.ones((people, 1, 1), bool),
        rated=np.zeros(people, bool),
        regions=np.array(["ROI"]),
        response_r=np.nan,
        coupling_response_r=np.nan,
        score_r=np.nan,
        baseline_r=np.nan,
        coupling_baseline_r=np.nan,
        tracking_ceiling=1.0,
        coupling_ceiling=1.0,
        ranked=True,
    )


def yardsticks_of(design: Design, rng: np.random.Generator) -> Yardsticks:
    """Moran surrogates of the ranked receptor map."""
    ranks = rank_within(design.binding, design.structure)
    drawn = moran(ranks, design.coordinates, N_NULLS, rng)
    nulls = standardise(drawn, design.structure, ranked=True)
    nobody = np.zeros(len(ranks), bool)
    return Yardsticks({"moran": nulls}, np.empty((0, 0, 0)), np.empty((0, 0)), nobody)


def run(
    centres: np.ndarray, mm: float, n_subjects: int, n_maps: int, n_cohorts: int
) -> pd.DataFrame:
    """Return how often each test of Q2 rejects, and the verdict supported, by receptor map."""
    rng = np.random.default_rng([SEED, mm, n_subjects])
    rows = []
    for _ in range(n_maps):
        design = design_of(centres, mm, rng)
        world = World("elsewhere", design, SIZES)
        yardsticks = yardsticks_of(design, rng)
        counts = count_rejections(
            world, yardsticks, n_subjects, n_cohorts, choices(), rng
        )
        of_q2 = counts[counts["question"] == "Q2"].set_index("test")["n_rejected"]
        rows.append(of_q2.rename(NAMES)[TESTS])
    return pd.DataFrame(rows)


def tabulate(counts: pd.DataFrame, mm: float, n_subjects: int) -> pd.DataFrame:
    """Return the rows of one cell, held to what the product holds its own rates to."""
    total = pd.DataFrame(
        {
            **{"world": "elsewhere", "n_subjects": n_subjects, "question": "Q2"},
            **{"test": TESTS, "planted": 0.0, "n_replicates": N_MAPS * N_COHORTS},
            "n_rejected": counts[TESTS].sum().to_numpy(),
        }
    )
    table = rate(total, level=0.95, alpha=0.05, smallest_r=0.1)
    expected = {"subject null": theory(n_subjects)}
    expected["naive p"] = naive_theory(cortical_centres(), mm)
    return table.assign(
        smoothness_mm=mm,
        independent=[INDEPENDENT.get((test, mm, n_subjects)) for test in TESTS],
        theory=table["test"].map(expected),
        error=(counts[TESTS] / N_COHORTS).std().to_numpy() / np.sqrt(N_MAPS),
    )[COLUMNS]


if __name__ == "__main__":
    centres = cortical_centres()
    cells = []
    for mm, n_subjects in CELLS:
        counts = run(centres, mm, n_subjects, N_MAPS, N_COHORTS)
        cells.append(tabulate(counts, mm, n_subjects))
        print(cells[-1].round(3).to_string(), flush=True)
    pd.concat(cells).sort_values(["test", "smoothness_mm", "n_subjects"]).round(
        4
    ).to_csv(TABLE, sep="\t", index=False, lineterminator="\n")
