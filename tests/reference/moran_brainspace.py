"""Make moran_brainspace.npz: Moran spectral randomisation as BrainSpace does it.

Run once, with brainspace 0.3.0, numpy 2.4.6 and scipy 1.17.1, in an environment
of its own (handhold does not depend on brainspace):

    python tests/reference/moran_brainspace.py

`eigenvalues` and `eigenvectors` are BrainSpace's own, which it computes in
float32. `surrogates` come from its formula under `signs`, given eigenvectors in
float64 from numpy, so that they can be compared to the last digits. `null_r` are
correlations of `other` with 2,000 surrogates of `values` by its class, untouched.
"""

from pathlib import Path

import numpy as np
from brainspace.null_models.moran import (
    MoranRandomization,
    compute_mem,
    moran_randomization,
)
from scipy.spatial.distance import cdist

N_PARCELS, N_SURROGATES, N_NULLS, SEED = 80, 20, 2000, 7

rng = np.random.default_rng(20061201)
coordinates = np.round(rng.uniform(-70, 70, size=(N_PARCELS, 3)), 1)
distance = cdist(coordinates, coordinates)
smooth = np.linalg.cholesky(np.exp(-distance / 40) + 1e-9 * np.eye(N_PARCELS))
values, other = (smooth @ rng.standard_normal((N_PARCELS, 2))).T

np.fill_diagonal(distance, np.inf)
weights = 1 / distance
# In float32 the eigenvalue of the constant is not below the default tolerance.
TOLERANCE = 1e-6
vectors, eigenvalues = compute_mem(weights, tol=TOLERANCE)
assert vectors.shape == (N_PARCELS, N_PARCELS - 1)

centre = np.eye(N_PARCELS) - 1 / N_PARCELS
exact_values, exact = np.linalg.eigh(centre @ weights @ centre)
exact = np.delete(exact, np.abs(exact_values).argmin(), axis=1)[:, ::-1]
surrogates = moran_randomization(
    values, exact, n_rep=N_SURROGATES, joint=True, random_state=SEED
)
signs = np.random.RandomState(SEED).choice(  # what BrainSpace draws
    [-1.0, 1.0], size=(N_SURROGATES, N_PARCELS - 1, 1)
)[..., 0]

null_r = {}
for procedure in ("singleton", "pair"):
    randomise = MoranRandomization(
        procedure=procedure,
        joint=True,
        tol=TOLERANCE,
        n_rep=N_NULLS,
        random_state=SEED,
    )
    nulls = randomise.fit(weights).randomize(values)
    null_r[procedure] = np.corrcoef(nulls, other)[-1, :-1]
    deviations = nulls - nulls.mean(axis=1, keepdims=True)
    morans_i = np.einsum("np,pq,nq->n", deviations, weights, deviations)
    morans_i *= N_PARCELS / weights.sum() / (deviations**2).sum(axis=1)
    print(procedure, "Moran's I", morans_i.mean().round(4), morans_i.std().round(4))

np.savez_compressed(
    Path(__file__).with_suffix(".npz"),
    coordinates=coordinates,
    values=values,
    other=other,
    eigenvalues=eigenvalues,
    eigenvectors=vectors,
    signs=signs.astype(np.int8),
    surrogates=surrogates,
    null_r=null_r["singleton"],
)
