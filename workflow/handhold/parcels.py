"""Tables of parcels to the answers of Q2 (correspondence), Q4's coupling and Q5 (specificity)."""

from dataclasses import asdict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from handhold.correspondence import (
    MIN_PARCELS,
    average_subjects,
    correspond,
    couple,
    rank_within,
    within_r,
)
from handhold.errors import StudyError
from handhold.nulls import moran_by_structure
from handhold.sources import EXCLUDE_KEY
from handhold.specificity import compare_receptors, correlate_axis, explain_target

AXES = ["x", "y", "z"]
METHODS = ("spearman", "pearson")


def select_parcels(
    attenuation: pd.DataFrame,
    receptors: pd.DataFrame,
    definitions: pd.DataFrame,
    *,
    target: str,
    min_subjects: float,
    min_parcels: int,
) -> pd.DataFrame:
    """Choose the parcels that have both attenuation and binding, and say why others have not.

    Parameters
    ----------
    attenuation : DataFrame
        Columns subject, region, contrast, attenuation.
    receptors : DataFrame
        Columns receptor, region, structure, binding (missing where the map does not cover it).
    definitions : DataFrame
        Columns region, x, y, z of the parcels.
    target : str
        The receptor map.
    min_subjects : float
        Least share of the subjects that cover a parcel.
    min_parcels : int
        Fewest parcels for inference.

    Returns
    -------
    DataFrame
        One row per contrast and parcel: contrast, region, structure, x, y, z,
        receptor, binding, n_subjects, group (mean attenuation), used, reason.

    Raises
    ------
    StudyError
        If fewer than `min_parcels` are left.
    """
    n_subjects = attenuation["subject"].nunique()
    binding = receptors[receptors["receptor"] == target]
    table = (
        attenuation.groupby(["contrast", "region"], sort=False)["attenuation"]
        .agg(n_subjects="count", group="mean")
        .reset_index()
        .merge(
            binding[["region", "structure", "binding"]],
            on="region",
            validate="many_to_one",
        )
        .merge(definitions[["region", *AXES]], on="region", validate="many_to_one")
    )
    # a quotient, since 0.56 * 25 is a little more than 14
    few = table["n_subjects"] / n_subjects < min_subjects
    table["reason"] = None
    table.loc[few, "reason"] = "covered in too few subjects"
    table.loc[table["binding"].isna(), "reason"] = f"not covered by {target}"
    table["used"] = table["reason"].isna()
    table["receptor"] = target
    sizes = (
        table[table["used"]]
        .groupby(["contrast", "structure"])["region"]
        .transform("size")
    )
    small = sizes.index[sizes < MIN_PARCELS]
    table.loc[small, "reason"] = f"its structure has fewer than {MIN_PARCELS} parcels"
    table.loc[small, "used"] = False
    for contrast, own in table.groupby("contrast", sort=False):
        _require_parcels(own, contrast, min_parcels)
        used = attenuation[
            (attenuation["contrast"] == contrast)
            & attenuation["region"].isin(own.loc[own["used"], "region"])
        ]
        _require_covered(used, attenuation["subject"].unique(), contrast)
    return table


def assess_correspondence(
    attenuation: pd.DataFrame,
    parcels: pd.DataFrame,
    *,
    tests: dict,
    nulls: dict,
    null_seed: int,
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, dict[str, NDArray]]:
    """Judge the correspondence of attenuation and binding by both nulls (Q2).

    Parameters
    ----------
    attenuation : DataFrame
        Columns subject, region, contrast, attenuation.
    parcels : DataFrame
        As `select_parcels` returns it.
    tests, nulls : dict
        Those sections of the configuration.
    null_seed : int
        Seed of the surrogates; the same for every contrast.
    rng : numpy.random.Generator
        Source of the sign flips.

    Returns
    -------
    table : DataFrame
        One row per contrast, scope (all, cortex, subcortex) and method.
    null_r : dict of str to array, shape (n_nulls,)
        Null correlations of scope all, by `contrast method`.
    """
    rows, null_r = [], {}
    for contrast, own in parcels[parcels["used"]].groupby("contrast", sort=False):
        of_subjects = _matrix(attenuation, contrast, own["region"])
        surrogates = _Surrogates(own, of_subjects, nulls, null_seed)
        for scope in ("all", *np.unique(own["structure"])):
            inside = ((own["structure"] == scope) | (scope == "all")).to_numpy()
            for method in METHODS:
                row = _judge_scope(
                    of_subjects, own, inside, surrogates, method, tests, rng
                )
                rows.append(
                    {"contrast": contrast, "scope": scope, "method": method, **row}
                )
        for method in METHODS:
            null_r[f"{contrast} {method}"] = within_r(
                surrogates.of_binding[method],
                average_subjects(of_subjects),
                own["structure"].to_numpy(),
                method == "spearman",
            )
    table = pd.DataFrame(rows).assign(
        question="Q2",
        receptor=parcels["receptor"].iloc[0],
        n_nulls=nulls["n"],
        null_method=f"Moran {nulls['procedure']}",
    )
    return table, null_r


def couple_subjects(
    attenuation: pd.DataFrame, parcels: pd.DataFrame, *, method: str
) -> pd.DataFrame:
    """Correlate each subject's attenuation with binding over the parcels that it covers.

    Returns columns subject, contrast, receptor, n_parcels, r, r_spearman and fisher_z (of
    the correlation that `method` names); missing for a subject with too few parcels.
    """
    pieces = []
    for contrast, own in parcels[parcels["used"]].groupby("contrast", sort=False):
        of_subjects = _matrix(attenuation, contrast, own["region"])
        binding, structure = own["binding"].to_numpy(), own["structure"].to_numpy()
        found = {
            name: couple(of_subjects, binding, structure, ranked=name == "spearman")
            for name in METHODS
        }
        pieces.append(
            pd.DataFrame(
                {
                    "subject": attenuation["subject"].drop_duplicates().to_numpy(),
                    "contrast": contrast,
                    "receptor": own["receptor"].iloc[0],
                    "n_parcels": found["pearson"].n_parcels,
                    "r": found["pearson"].r,
                    "r_spearman": found["spearman"].r,
                    "fisher_z": found[method].z,
                }
            )
        )
    return pd.concat(pieces, ignore_index=True)


def assess_specificity(
    parcels: pd.DataFrame,
    receptors: pd.DataFrame,
    maps: pd.DataFrame,
    *,
    level: float,
    nulls: dict,
    null_seed: int,
) -> pd.DataFrame:
    """Correlate attenuation with every receptor map, and compare the target with each (Q5).

    Parameters
    ----------
    parcels : DataFrame
        As `select_parcels` returns it.
    receptors : DataFrame
        Columns receptor, region, binding.
    maps : DataFrame
        Columns receptor, label, unit, citation; the target first.
    level : float
        Coverage of the null band.
    nulls : dict
        That section of the configuration.
    null_seed : int
        Seed of the surrogates.

    Returns
    -------
    DataFrame
        One row per contrast and map, over the parcels that every map covers.

    Raises
    ------
    StudyError
        If fewer than `nulls["min_parcels"]` parcels are covered by every map, or fewer of a
        structure than its own nulls need.
    """
    wide = receptors.pivot(index="region", columns="receptor", values="binding")
    wide = wide[maps["receptor"]].dropna()
    ranked = nulls["method"] == "spearman"
    pieces = []
    for contrast, own in parcels[parcels["used"]].groupby("contrast", sort=False):
        own = own[own["region"].isin(wide.index)]
        _require_parcels(
            own, f"{contrast}, all maps of receptors.panel", nulls["min_parcels"]
        )
        _require_structures(own, contrast)
        bindings = wide.loc[own["region"]].to_numpy().T
        structure = own["structure"].to_numpy()
        surrogates = moran_by_structure(
            rank_within(bindings, structure) if ranked else bindings,
            own[AXES].to_numpy(),
            structure,
            nulls["n"],
            np.random.default_rng(null_seed),
            nulls["procedure"],
        )
        panel = compare_receptors(
            own["group"].to_numpy(), bindings, structure, surrogates, ranked, level
        )
        explained = explain_target(bindings)
        pieces.append(
            maps.assign(
                contrast=contrast,
                target=[True] + [False] * (len(maps) - 1),
                n_parcels=len(own),
                effect=panel.r,
                **{name: value for name, value in asdict(panel).items() if name != "r"},
                r_with_target=within_r(bindings, bindings[0], structure, ranked),
                r_with_y=correlate_axis(bindings, own[AXES].to_numpy()),
                vif=explained.vif,
                r_squared=[explained.r_squared] + [np.nan] * (len(maps) - 1),
            )
        )
    return pd.concat(pieces, ignore_index=True).assign(
        question="Q5", method=nulls["method"]
    )


class _Surrogates:
    """Surrogates of binding and of the group map of one contrast, each (n_nulls, n_parcels).

    By method: a rank correlation needs surrogates of the ranked map, since those of a skewed
    map are not skewed and their ranks are no yardstick for its ranks.
    """

    def __init__(self, own: pd.DataFrame, of_subjects: NDArray, nulls: dict, seed: int):
        structure = own["structure"].to_numpy()
        maps = np.stack([own["binding"].to_numpy(), average_subjects(of_subjects)])
        self.of_binding, self.of_attenuation = {}, {}
        for method in METHODS:
            ranked = rank_within(maps, structure) if method == "spearman" else maps
            rng = np.random.default_rng(seed)
            self.of_binding[method], self.of_attenuation[method] = (
                moran_by_structure(
                    values,
                    own[AXES].to_numpy(),
                    structure,
                    nulls["n"],
                    rng,
                    nulls["procedure"],
                )
                for values in ranked
            )


def _judge_scope(
    of_subjects: NDArray,
    own: pd.DataFrame,
    inside: NDArray,
    surrogates: _Surrogates,
    method: str,
    tests: dict,
    rng: np.random.Generator,
) -> dict:
    """Judge one scope by one method; subjects with too few of its parcels are left out of n."""
    able = np.isfinite(of_subjects[:, inside]).sum(axis=1) >= MIN_PARCELS
    found = asdict(
        correspond(
            of_subjects[able][:, inside],
            own["binding"].to_numpy()[inside],
            own["structure"].to_numpy()[inside],
            surrogates.of_binding[method][:, inside],
            nulls_of_attenuation=surrogates.of_attenuation[method][:, inside],
            n_permutations=tests["n_permutations"],
            level=tests["level"],
            smallest_r=tests["smallest_r"],
            bayes_scale=tests["bayes_scale"],
            ranked=method == "spearman",
            rng=rng,
        )
    )
    return {
        "effect": found.pop("r"),
        "mean_r": np.tanh(found.pop("mean_z")),
        "mean_r_low": np.tanh(found.pop("z_low")),
        "mean_r_high": np.tanh(found.pop("z_high")),
        "statistic": found.pop("t_subject"),
        "n": found.pop("n_subjects"),
        **found,
    }


def _matrix(attenuation: pd.DataFrame, contrast: str, regions: pd.Series) -> NDArray:
    """Arrange attenuation of one contrast as (n_subjects, n_parcels), subjects as they come."""
    own = attenuation[attenuation["contrast"] == contrast]
    wide = own.pivot(index="subject", columns="region", values="attenuation")
    subjects = attenuation["subject"].drop_duplicates()
    return wide.loc[subjects, regions].to_numpy()


def _require_covered(used: pd.DataFrame, subjects: NDArray, contrast: str) -> None:
    """Refuse a person whose images cover next to no parcel; there is no map to correlate."""
    covered = used.groupby("subject", sort=False)["attenuation"].count()
    covered = covered.reindex(subjects, fill_value=0)
    few = covered[covered < MIN_PARCELS]
    if len(few):
        listed = ", ".join(f"sub-{subject} ({n})" for subject, n in few.items())
        raise StudyError(
            f"{contrast}: {len(few)} of {len(covered)} subjects cover fewer than {MIN_PARCELS} of "
            f"{used['region'].nunique()} parcels: {listed}. Look at their images; exclude them "
            f"with a reason ({EXCLUDE_KEY['maps']}; of BOLD, {EXCLUDE_KEY['bids']}), or lower "
            "regions.min_coverage for everyone."
        )


def _require_parcels(own: pd.DataFrame, what: str, min_parcels: int) -> None:
    n_parcels = int(own["used"].sum())
    if n_parcels < min_parcels:
        reasons = own.loc[~own["used"], "reason"].value_counts()
        listed = (
            "; ".join(f"{n} {reason}" for reason, n in reasons.items())
            or "none was dropped"
        )
        raise StudyError(
            f"{what}: {n_parcels} parcels have both attenuation and binding ({listed}); inference "
            f"over parcels needs {min_parcels} (nulls.min_parcels). Choose a finer atlas in "
            "regions.parcels, a smaller regions.min_parcel_voxels, or images that cover more."
        )


def _require_structures(own: pd.DataFrame, contrast: str) -> None:
    sizes = own["structure"].value_counts()
    small = sizes[sizes < MIN_PARCELS]
    if len(small):
        listed = ", ".join(f"{n} parcels of {name}" for name, n in small.items())
        raise StudyError(
            f"{contrast}: all maps of receptors.panel together cover {listed}; the nulls of a "
            f"structure need {MIN_PARCELS}. receptors/parcels.tsv shows which map lacks "
            "them (n/a): take it out of receptors.panel."
        )
