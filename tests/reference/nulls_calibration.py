"""Make nulls_calibration.tsv: how often each family of nulls rejects, smooth world by world.

    python tests/reference/nulls_calibration.py

Pairs of independent Gaussian fields over the parcels of HCPEx (cortex and subcortex), correlated
by rank within structures as the headline of Q2 is. `rate`: rejections at .05 of pairs that have
nothing to do with each other; `power`: of pairs that correlate by .4 on average where parcels
are independent of each other. 60 maps are nulled, each against 40 others; `rate_error` is the
standard error over the 60 maps. `null_sd` is the mean SD of the null correlations. The family
`truth` draws from the covariance that made the map, which no method can know: a yardstick.

Worlds: covariance `gauss` (as of images smoothed with a kernel of this FWHM) or `exp`
(exp(-2 d / FWHM), rough at short distances); fields that `stop` at the border of cortex and
subcortex, or go `on` across it. A world takes under a minute; give its number to run it
alone, and its rows take the place of the old ones.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))
import reference_wager  # noqa: E402

from handhold.correspondence import naive_p, rank_within, within_r  # noqa: E402
from handhold.nulls import euclidean, two_sided_p  # noqa: E402
from handhold.surrogates import draw_surrogates  # noqa: E402

N_MAPS, N_OTHERS, N_NULLS, PLANTED, ALPHA = 60, 40, 199, 0.4, 0.05
WORLDS = [
    *(("gauss", fwhm, border) for fwhm in (15, 30, 60) for border in ("stop", "on")),
    *(("exp", fwhm, "on") for fwhm in (15, 30, 60)),
]
FAMILIES = {
    "Moran singleton": ("moran", "singleton"),
    "Moran pair": ("moran", "pair"),
    "variogram matching": ("variogram", ""),
    "Gaussian field": ("gaussian", ""),
}
TABLE = Path(__file__).with_suffix(".tsv")


def covariance(kernel, fwhm, border, distance, structure):
    """Covariance of a world; a smoothed field is as wide as its kernel times sqrt(2)."""
    if kernel == "gauss":
        sd = fwhm / np.sqrt(8 * np.log(2)) * np.sqrt(2)
        found = np.exp(-((distance / sd) ** 2) / 2)
    else:
        found = np.exp(-2 * distance / fwhm)
    if border == "stop":
        found = found * (structure[:, np.newaxis] == structure)
    return found + 1e-6 * np.eye(len(found))


def unit(maps, structure):
    """Centre maps within structures and give them length one."""
    maps = maps.copy()
    for name in np.unique(structure):
        own = maps[:, structure == name]
        maps[:, structure == name] = own - own.mean(axis=1, keepdims=True)
    return maps / np.linalg.norm(maps, axis=1, keepdims=True)


def run(number, places, structure):
    world = WORLDS[number]
    rng = np.random.default_rng([20061201, number])
    distance = euclidean(places)
    smooth = np.linalg.cholesky(covariance(*world, distance, structure))

    def draw_fields(n):
        return unit((smooth @ rng.standard_normal((len(places), n))).T, structure)

    found = []
    for _ in range(N_MAPS):
        (values,) = draw_fields(1)
        ranks = rank_within(values, structure)
        others = draw_fields(N_OTHERS)
        planted = PLANTED * values + np.sqrt(1 - PLANTED**2) * others
        nulls = {
            name: draw_surrogates(
                family, ranks, places, structure, N_NULLS, rng, procedure=procedure
            )
            for name, (family, procedure) in FAMILIES.items()
        }
        nulls["truth"] = draw_fields(N_NULLS)
        ranked = {
            name: unit(rank_within(drawn, structure), structure)
            for name, drawn in nulls.items()
        }
        for kind, against in (("rate", others), ("power", planted)):
            against = unit(rank_within(against, structure), structure)
            r = within_r(against, ranks, structure)
            naive = [naive_p(one, len(places), 2) for one in r]
            found.append(("naive", kind, np.mean(np.array(naive) <= ALPHA), np.nan))
            for name, drawn in ranked.items():
                null_r = drawn @ against.T  # as within_r, all others at once
                rejected = two_sided_p(r, null_r) <= ALPHA
                found.append((name, kind, rejected.mean(), null_r.std(axis=0).mean()))
    table = pd.DataFrame(found, columns=["family", "kind", "rejected", "null_sd"])
    groups = table.groupby(["family", "kind"], sort=False)["rejected"]
    rates = groups.mean().unstack("kind")
    errors = (groups.std() / np.sqrt(N_MAPS)).unstack("kind")
    spread = table[table["kind"] == "rate"].groupby("family", sort=False)["null_sd"]
    return pd.DataFrame(
        {
            **dict(zip(("kernel", "fwhm_mm", "border"), world, strict=True)),
            "family": rates.index,
            "n_pairs": N_MAPS * N_OTHERS,
            "rate": rates["rate"].round(4).to_numpy(),
            "rate_error": errors["rate"].round(4).to_numpy(),
            "power": rates["power"].round(3).to_numpy(),
            "null_sd": spread.mean()[rates.index].round(3).to_numpy(),
        }
    )


if __name__ == "__main__":
    parcels = reference_wager.Parcels()
    chosen = [int(word) for word in sys.argv[1:]] or range(len(WORLDS))
    for number in chosen:
        rows = run(number, parcels.centre, parcels.structure)
        if TABLE.exists():
            old = pd.read_csv(TABLE, sep="\t")
            keys = ["kernel", "fwhm_mm", "border"]
            same = (old[keys] == rows[keys].iloc[0]).all(axis=1)
            rows = pd.concat([old[~same], rows])
        order = {world: i for i, world in enumerate(WORLDS)}
        place = [
            order[tuple(key)] for key in rows[["kernel", "fwhm_mm", "border"]].values
        ]
        rows = rows.iloc[np.argsort(place, kind="stable")]
        rows.to_csv(TABLE, sep="\t", index=False, lineterminator="\n")
        print(rows.tail(6).to_string())
