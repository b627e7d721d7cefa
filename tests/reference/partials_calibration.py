"""Make partials_calibration.tsv: how often the nulls of a partial correlation reject.

    python tests/reference/partials_calibration.py

Over the parcels of HCPEx, attenuation and binding both follow covariates (which give `share` of
the variance of each) and have nothing else in common: the rest of each is a Gaussian field of its
own, smoothed with a kernel of `fwhm_mm`. The covariates are the front-to-back axis, or the sum of
`n_covariates` fields of `covariate_mm`; with a share of 0 they are held constant in vain. `rate`
is the share of rejections at .05, `rate_error` its standard error over the maps that were nulled,
`null_sd` the mean SD of the null correlations.

Nulls, each by Moran, singleton procedure:

- residual: surrogates of what the covariates leave of binding, the fit added back.
- whole: surrogates of binding.
- wider: of the two, the one whose null correlations spread wider. That of `handhold.partials`.
- ranks: as residual, with the ranks of all maps in place of their values.
- bare: nothing held constant; the plain correlation, by surrogates of binding.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))
import reference_wager  # noqa: E402

from handhold.correspondence import rank_within, span, standardise  # noqa: E402
from handhold.nulls import euclidean, two_sided_p  # noqa: E402
from handhold.surrogates import draw_surrogates  # noqa: E402

N_MAPS, N_OTHERS, N_NULLS, ALPHA = 40, 40, 199, 0.05
# covariates, their smoothness (0: the axis), their share, smoothness of the rest
WORLDS = [
    *((1, 0, 0.5, fwhm) for fwhm in (15, 30, 60)),
    *((1, 60, 0.5, fwhm) for fwhm in (15, 30, 60)),
    (1, 15, 0.5, 60),
    *((10, 60, 0.9, fwhm) for fwhm in (15, 30, 60)),
    (10, 15, 0.9, 60),
    *((1, 60, 0.0, fwhm) for fwhm in (30, 60)),
]
TABLE = Path(__file__).with_suffix(".tsv")


def covariance(fwhm, distance, structure):
    """Covariance of fields that stop at the border of the structures."""
    sd = fwhm / np.sqrt(8 * np.log(2)) * np.sqrt(2)
    found = np.exp(-((distance / sd) ** 2) / 2)
    found *= structure[:, np.newaxis] == structure
    return found + 1e-6 * np.eye(len(found))


def unit(maps, structure):
    """Give maps mean 0 and variance 1 within each structure."""
    maps = maps.copy()
    for name in np.unique(structure):
        own = maps[:, structure == name]
        own = own - own.mean(axis=1, keepdims=True)
        maps[:, structure == name] = own / own.std(axis=1, keepdims=True)
    return maps


def run(number, places, structure):
    n_covariates, covariate_mm, share, fwhm = WORLDS[number]
    rng = np.random.default_rng([20031993, number])
    distance = euclidean(places)
    roots = {
        mm: np.linalg.cholesky(covariance(mm, distance, structure))
        for mm in {fwhm, covariate_mm} - {0}
    }

    def draw_fields(n, mm):
        noise = rng.standard_normal((len(places), n))
        return unit((roots[mm] @ noise).T, structure)

    def surrogates(of_map):
        return draw_surrogates("moran", of_map, places, structure, N_NULLS, rng)

    found = []
    for _ in range(N_MAPS):
        if covariate_mm:
            held = draw_fields(n_covariates, covariate_mm)
        else:
            held = unit(places[np.newaxis, :, 1], structure)
        shared = np.sqrt(share / n_covariates) * held.sum(axis=0)
        binding = shared + np.sqrt(1 - share) * draw_fields(1, fwhm)[0]
        others = shared + np.sqrt(1 - share) * draw_fields(N_OTHERS, fwhm)

        def judge(name, drawn, maps=(binding, others), basis=None, found=found):
            of_binding, of_others = (
                standardise(m, structure, False, basis) for m in maps
            )
            null_r = standardise(drawn, structure, False, basis) @ of_others.T
            rejected = two_sided_p(of_others @ of_binding, null_r) <= ALPHA
            found.append((name, rejected.mean(), null_r.std(axis=0).mean()))
            return rejected, null_r.std(axis=0)

        def left_over(of_map, basis):
            whole = standardise(of_map, structure)
            fitted = (basis @ whole) @ basis
            return fitted, whole - fitted

        basis = span(held, structure)
        fitted, rest = left_over(binding, basis)
        drawn = surrogates(binding)
        judge("bare", drawn)
        one = judge("residual", fitted + surrogates(rest), basis=basis)
        two = judge("whole", drawn, basis=basis)
        wider = np.where(one[1] >= two[1], one[0], two[0])
        found.append(("wider", wider.mean(), np.maximum(one[1], two[1]).mean()))

        basis = span(held, structure, ranked=True)
        ranked = [rank_within(maps, structure) for maps in (binding, others)]
        fitted, rest = left_over(ranked[0], basis)
        drawn = rank_within(fitted + surrogates(rest), structure)
        judge("ranks", drawn, ranked, basis)
    table = pd.DataFrame(found, columns=["nulls", "rejected", "null_sd"])
    groups = table.groupby("nulls", sort=False)
    error = groups["rejected"].std() / np.sqrt(N_MAPS)
    names = ("n_covariates", "covariate_mm", "share", "fwhm_mm")
    return pd.DataFrame(
        {
            **dict(zip(names, WORLDS[number], strict=True)),
            "nulls": error.index,
            "n_pairs": N_MAPS * N_OTHERS,
            "rate": groups["rejected"].mean().round(4).to_numpy(),
            "rate_error": error.round(4).to_numpy(),
            "null_sd": groups["null_sd"].mean().round(3).to_numpy(),
        }
    ).assign(covariate_mm=covariate_mm or "axis")


if __name__ == "__main__":
    parcels = reference_wager.Parcels()
    tables = [run(i, parcels.centre, parcels.structure) for i in range(len(WORLDS))]
    table = pd.concat(tables)
    table.to_csv(TABLE, sep="\t", index=False, lineterminator="\n")
    keys = ["n_covariates", "covariate_mm", "share", "fwhm_mm"]
    print(table.pivot(index=keys, columns="nulls", values="rate").to_string())
