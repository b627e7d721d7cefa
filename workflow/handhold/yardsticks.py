"""The surrogates that judge a study, drawn once and ready for any number of cohorts.

They do not depend on attenuation, so that the null correlations of a cohort are one product
of its map with all of them.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from handhold.correspondence import rank_within, standardise
from handhold.parcels import draw_nulls


@dataclass(frozen=True)
class Yardsticks:
    """The study's surrogates, standardised as `correspondence.standardise` does.

    target : (n_nulls, P) by family of nulls, the one that decides first.
    panel : (n_maps, n_nulls, P of the panel), of the family that decides; no maps without a
        panel.
    bindings : (n_maps, P of the panel) the standardised maps themselves, target first.
    in_panel : (P,) parcels that every map of the panel covers.
    """

    target: dict[str, NDArray]
    panel: NDArray
    bindings: NDArray
    in_panel: NDArray

    @property
    def of_panel(self) -> dict[str, NDArray]:
        """What is not of the target alone, by name."""
        return {name: part for name, part in vars(self).items() if name != "target"}


def draw_yardsticks(
    own: pd.DataFrame,
    panel: pd.DataFrame,
    nulls: dict,
    null_seed: int,
    distances: pd.DataFrame | None = None,
) -> Yardsticks:
    """Draw the surrogates that judge the study, once for all cohorts.

    Parameters
    ----------
    own : DataFrame
        Parcels in use: region, structure, x, y, z, binding.
    panel : DataFrame
        Binding of every map, the target first (columns), by region (index).
    nulls : dict
        That section of the configuration.
    null_seed : int
        Seed of the surrogates: the study's own, so that they are the same.
    distances : DataFrame, optional
        As for `parcels.assess_correspondence`.
    """
    ranked, structure = nulls["method"] == "spearman", own["structure"].to_numpy()
    binding = own["binding"].to_numpy()
    to_null = rank_within(binding, structure) if ranked else binding
    target = {
        family: _light(
            draw_nulls(to_null, own, family, nulls, null_seed, distances),
            structure,
            ranked,
        )
        for family in nulls["families"]
    }
    wide = panel.dropna()
    inside = own["region"].isin(wide.index).to_numpy()
    covered, structure = own[inside], structure[inside]
    bindings = wide.loc[covered["region"]].to_numpy().T
    if len(bindings) < 2:
        none = np.empty((0, 0, int(inside.sum())), np.float32)
        return Yardsticks(target, none, np.empty((0, int(inside.sum()))), inside)
    to_null = rank_within(bindings, structure) if ranked else bindings
    family = nulls["families"][0]
    drawn = draw_nulls(to_null, covered, family, nulls, null_seed, distances)
    of_maps = [_light(each, structure, ranked) for each in drawn.swapaxes(0, 1)]
    return Yardsticks(
        target,
        np.stack(of_maps),
        standardise(bindings, structure, ranked),
        inside,
    )


def _light(maps: NDArray, structure: NDArray, ranked: bool) -> NDArray:
    """Standardise surrogates in single precision: products are twice as fast, and near enough."""
    return standardise(maps, structure, ranked).astype(np.float32)
