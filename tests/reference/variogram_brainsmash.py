"""Make variogram_brainsmash.npz: variogram-matching surrogates as BrainSMASH makes them.

Run once, with brainsmash 0.11.0, numpy 2.4.6 and scipy 1.17.1, in an environment of its own
(handhold does not depend on brainsmash):

    python tests/reference/variogram_brainsmash.py

`surrogates` come from its class `Base` with its defaults, untouched; `orders` and `noise` are
what it draws from its seed, dealt out again here, so that another program can be compared to
the last digits. `resampled` are the same with its option to keep the values. `variogram` is its
smoothed variogram of the map. `null_r` are correlations of `other` with 1,000 more surrogates.
"""

from pathlib import Path

import numpy as np
from scipy.spatial.distance import cdist

# BrainSMASH calls a function that newer numpy has under another name only.
np.row_stack = np.vstack  # noqa: NPY201
from brainsmash.mapgen.base import Base  # noqa: E402

N_PARCELS, N_SURROGATES, N_NULLS, SEED = 80, 20, 1000, 7

rng = np.random.default_rng(20061201)
coordinates = np.round(rng.uniform(-70, 70, size=(N_PARCELS, 3)), 1)
distance = cdist(coordinates, coordinates)
smooth = np.linalg.cholesky(np.exp(-distance / 40) + 1e-9 * np.eye(N_PARCELS))
values, other = (smooth @ rng.standard_normal((N_PARCELS, 2))).T

base = Base(values, distance, seed=SEED)
surrogates = base(N_SURROGATES, batch_size=N_SURROGATES)
resampled = Base(values, distance, seed=SEED, resample=True)(
    N_SURROGATES, batch_size=N_SURROGATES
)

batch = np.random.RandomState(SEED).randint(np.iinfo(np.int32).max, size=1)[0]
state = np.random.RandomState(batch)
orders = state.random_sample((N_PARCELS, N_SURROGATES)).argsort(axis=0).T
noise = state.randn(N_PARCELS, N_SURROGATES).T

nulls = Base(values, distance, seed=SEED + 1)(N_NULLS, batch_size=100)
np.savez_compressed(
    Path(__file__).with_suffix(".npz"),
    coordinates=coordinates,
    values=values,
    other=other,
    orders=orders.astype(np.int16),
    noise=noise,
    surrogates=surrogates,
    resampled=resampled,
    variogram=np.asarray(base.compute_smooth_variogram(base.x)).ravel(),
    lags=base.h,
    null_r=np.corrcoef(nulls, other)[-1, :-1],
)
print("SD of null correlations", np.corrcoef(nulls, other)[-1, :-1].std())
