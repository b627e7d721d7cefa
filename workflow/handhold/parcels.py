"""Tables of parcels to the answers of Q2 (correspondence), Q4's coupling and Q5 (specificity)."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from handhold.correspondence import (
    MIN_PARCELS,
    Centred,
    average_subjects,
    centre_within,
    correspond,
    couple,
    rank_within,
    within_r,
)
from handhold.errors import StudyError
from handhold.families import name_family
from handhold.nulls import euclidean, two_sided_p
from handhold.sources import EXCLUDE_KEY
from handhold.specificity import compare_receptors, correlate_axis, explain_target
from handhold.surrogates import draw_surrogates

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
    distances: pd.DataFrame | None = None,
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
    distances : DataFrame, optional
        Distances between parcels in mm as text: column region, and one per parcel.

    Returns
    -------
    table : DataFrame
        One row per contrast, scope (all, cortex, subcortex) and method. p_map and what goes with
        it are of the first of `nulls["families"]`, which decides; p_<family> and
        null_sd_<family> are of each family.
    null_r : dict of str to array, shape (n_nulls,)
        Null correlations of scope all, by `contrast method family`.
    """
    rows, null_r = [], {}
    surrogates = None
    for contrast, own in parcels[parcels["used"]].groupby("contrast", sort=False):
        of_subjects = arrange_subjects(attenuation, contrast, own["region"])
        surrogates = _Surrogates(
            own, of_subjects, nulls, null_seed, distances, before=surrogates
        )
        for scope in ("all", *np.unique(own["structure"])):
            inside = ((own["structure"] == scope) | (scope == "all")).to_numpy()
            for method in METHODS:
                row = judge_parcels(
                    of_subjects[:, inside],
                    own["binding"].to_numpy()[inside],
                    own["structure"].to_numpy()[inside],
                    {
                        family: surrogates.of_binding[family, method].take(inside)
                        for family in nulls["families"]
                    },
                    nulls_of_attenuation=surrogates.of_attenuation[method].take(inside),
                    tests=tests,
                    ranked=method == "spearman",
                    rng=rng,
                )
                rows.append(
                    {"contrast": contrast, "scope": scope, "method": method, **row}
                )
        for (family, method), of_binding in surrogates.of_binding.items():
            null_r[f"{contrast} {method} {family}"] = within_r(
                of_binding,
                average_subjects(of_subjects),
                own["structure"].to_numpy(),
                method == "spearman",
            )
    table = pd.DataFrame(rows).assign(
        question="Q2",
        receptor=parcels["receptor"].iloc[0],
        n_nulls=nulls["n"],
        null_method=name_deciding(nulls, distances),
    )
    return table, null_r


def with_descriptive(judged: pd.DataFrame, beside: list[pd.DataFrame]) -> pd.DataFrame:
    """Put rows that only describe (voxels, ROIs) below the judged ones; they have no verdict."""
    told = [
        table.assign(question="Q2", receptor=judged["receptor"].iloc[0]).astype(object)
        for table in beside
    ]
    return pd.concat([judged.astype(object), *told], ignore_index=True)


def couple_subjects(
    attenuation: pd.DataFrame, parcels: pd.DataFrame, *, method: str
) -> pd.DataFrame:
    """Correlate each subject's attenuation with binding over the parcels that it covers.

    Returns columns subject, contrast, receptor, n_parcels, r, r_spearman, fisher_z (of the
    correlation that `method` names) and fisher_z_baseline (the same of the response alone,
    over the same parcels; missing where the images hold contrasts); missing for a subject
    with too few parcels.
    """
    pieces = []
    for contrast, own in parcels[parcels["used"]].groupby("contrast", sort=False):
        of_subjects = arrange_subjects(attenuation, contrast, own["region"])
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
                    "fisher_z_baseline": couple_baseline(
                        attenuation, contrast, own, ranked=method == "spearman"
                    ),
                }
            )
        )
    return pd.concat(pieces, ignore_index=True)


def couple_baseline(
    attenuation: pd.DataFrame, contrast: str, own: pd.DataFrame, *, ranked: bool
) -> NDArray:
    """Return the Fisher z of each subject's response alone with binding; nan if not known.

    `attenuation` is as for `couple_subjects`, `own` holds the rows of its `parcels` of the
    contrast.
    """
    unknown = np.full(attenuation["subject"].nunique(), np.nan)
    if "response_baseline" not in attenuation:
        return unknown
    alone = arrange_subjects(attenuation, contrast, own["region"], "response_baseline")
    if np.isnan(alone).all():
        return unknown
    return couple(alone, own["binding"], own["structure"], ranked=ranked).z


def assess_specificity(
    parcels: pd.DataFrame,
    receptors: pd.DataFrame,
    maps: pd.DataFrame,
    *,
    level: float,
    nulls: dict,
    null_seed: int,
    distances: pd.DataFrame | None = None,
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
    distances : DataFrame, optional
        As for `assess_correspondence`.

    Returns
    -------
    DataFrame
        One row per contrast and map, over the parcels that every map covers. What the first of
        `nulls["families"]` gives decides; p_<family>, p_fwe_<family> and
        p_difference_fwe_<family> are of each family.

    Raises
    ------
    StudyError
        If fewer than `nulls["min_parcels"]` parcels are covered by every map, or fewer of a
        structure than its own nulls need.
    """
    ranked = nulls["method"] == "spearman"
    pieces = []
    for contrast, own, bindings in panel_parcels(parcels, receptors, maps, nulls):
        structure = own["structure"].to_numpy()
        maps_to_null = rank_within(bindings, structure) if ranked else bindings
        panels = {}
        for family in nulls["families"]:
            surrogates = draw_nulls(
                maps_to_null, own, family, nulls, null_seed, distances
            )
            panels[family] = compare_receptors(
                own["group"].to_numpy(), bindings, structure, surrogates, ranked, level
            )
        panel = panels[nulls["families"][0]]
        explained = explain_target(bindings)
        pieces.append(
            maps.assign(
                contrast=contrast,
                target=[True] + [False] * (len(maps) - 1),
                n_parcels=len(own),
                effect=panel.r,
                **{name: value for name, value in asdict(panel).items() if name != "r"},
                **{
                    f"{name}_{family}": getattr(of_family, name)
                    for family, of_family in panels.items()
                    for name in ("p", "p_fwe", "p_difference_fwe")
                },
                r_with_target=within_r(bindings, bindings[0], structure, ranked),
                r_with_y=correlate_axis(bindings, own[AXES].to_numpy()),
                vif=explained.vif,
                r_squared=[explained.r_squared] + [np.nan] * (len(maps) - 1),
            )
        )
    return pd.concat(pieces, ignore_index=True).assign(
        question="Q5",
        method=nulls["method"],
        n_nulls=nulls["n"],
        null_method=name_deciding(nulls, distances),
    )


def panel_parcels(
    parcels: pd.DataFrame, receptors: pd.DataFrame, maps: pd.DataFrame, nulls: dict
) -> Iterator[tuple[str, pd.DataFrame, NDArray]]:
    """Yield the parcels that every map covers, contrast by contrast.

    Takes arguments of `assess_specificity` and raises what it raises. Yields the contrast, its
    rows of `parcels`, and the binding of every map, shape (n_maps, n_parcels), the target first.
    """
    wide = receptors.pivot(index="region", columns="receptor", values="binding")
    wide = wide[maps["receptor"]].dropna()
    for contrast, own in parcels[parcels["used"]].groupby("contrast", sort=False):
        own = own[own["region"].isin(wide.index)]
        _require_parcels(
            own, f"{contrast}, all maps of receptors.panel", nulls["min_parcels"]
        )
        _require_structures(own, contrast)
        yield contrast, own, wide.loc[own["region"]].to_numpy().T


class _Surrogates:
    """Surrogates of one contrast, centred within structures, each (n_nulls, n_parcels).

    `of_binding` by family and method, `of_attenuation` (the group map) by method, of the family
    that decides. By method, because a rank correlation needs surrogates of the ranked map: those
    of a skewed map are not skewed and their ranks are no yardstick for its ranks. Those of
    binding are the same for every contrast over the same parcels, and taken from `before`.
    """

    def __init__(
        self,
        own: pd.DataFrame,
        of_subjects: NDArray,
        nulls: dict,
        seed: int,
        distances: pd.DataFrame | None,
        before: "_Surrogates | None",
    ):
        structure = own["structure"].to_numpy()
        maps = np.stack([own["binding"].to_numpy(), average_subjects(of_subjects)])
        self._drawn_for = own["region"].tolist(), maps[0].tolist()
        same = before is not None and before._drawn_for == self._drawn_for
        self._after = before._after if same else {}
        self.of_binding = before.of_binding if same else {}
        self.of_attenuation = {}
        for method in METHODS:
            ranked = method == "spearman"
            of_binding, group = rank_within(maps, structure) if ranked else maps
            for family in nulls["families"]:
                if not same:
                    rng = np.random.default_rng(seed)
                    drawn = draw_nulls(of_binding, own, family, nulls, rng, distances)
                    centred = centre_within(drawn, structure, ranked)
                    self.of_binding[family, method] = centred
                    self._after[family, method] = rng
            # on from the same stream, or both maps would be turned the same way
            decides = nulls["families"][0]
            rng = deepcopy(self._after[decides, method])
            drawn = draw_nulls(group, own, decides, nulls, rng, distances)
            self.of_attenuation[method] = centre_within(drawn, structure, ranked)


def draw_nulls(
    values: NDArray,
    own: pd.DataFrame,
    family: str,
    nulls: dict,
    seed: int | np.random.Generator,
    distances: pd.DataFrame | None,
) -> NDArray:
    """Draw surrogates of maps over the parcels `own`; fewer of a family that does not decide.

    `own` has the columns region, x, y, z and structure; `nulls` is that section of the
    configuration, `distances` as for `assess_correspondence`.
    """
    decides = family == nulls["families"][0]
    return draw_surrogates(
        family,
        values,
        own[AXES].to_numpy(),
        own["structure"].to_numpy(),
        nulls["n"] if decides else nulls["n_beside"],
        np.random.default_rng(seed),
        procedure=nulls["procedure"],
        distance=arrange_distances(distances, own),
    )


def arrange_distances(
    distances: pd.DataFrame | None, parcels: pd.DataFrame
) -> NDArray | None:
    """Put given distances in the order of the parcels.

    Parameters
    ----------
    distances : DataFrame or None
        Millimetres as text: column region, and one column per parcel; one of the two triangles
        is enough. Pairs that it does not have or leaves blank (of two hemispheres, say, or of
        the subcortex) are apart as their centres are.
    parcels : DataFrame
        Columns region, x, y, z.

    Returns
    -------
    array, shape (n_parcels, n_parcels), or None
        Distances in mm; None without a table.

    Raises
    ------
    StudyError
        If the table has no column region, a region twice, none of these parcels, an entry that
        is no positive number, or another distance there than back.
    """
    if distances is None:
        return None
    where = "the table of distances (nulls.distances)"
    if "region" not in distances or distances["region"].duplicated().any():
        raise StudyError(
            f"{where} needs a column region that names each parcel once; it has the columns "
            f"{', '.join(map(str, distances.columns[:5]))}, ..."
        )
    regions = parcels["region"].to_numpy()
    wide = distances.set_index("region").reindex(index=regions, columns=regions)
    given = wide.apply(pd.to_numeric, errors="coerce").to_numpy(float, copy=True)
    unread = wide.notna().to_numpy() & ~np.isfinite(given)
    np.fill_diagonal(given, 0)
    apart = ~np.eye(len(given), dtype=bool)
    both = np.isfinite(given) & np.isfinite(given.T)
    torn = both & ~np.isclose(given, given.T)
    # half a table is enough
    given = np.where(np.isfinite(given), given, given.T)
    has = np.isfinite(given)
    faults = {
        "is no number": unread & apart,
        "is not above 0 mm": has & apart & (given <= 0),
        "differs from the way back": torn,
    }
    for fault, cells in faults.items():
        if cells.any():
            first, second = np.argwhere(cells)[0]
            raise StudyError(
                f"{where}: the distance of {cells.sum()} pairs {fault}, first that of "
                f"{regions[first]} and {regions[second]}. Mend the table, or leave the pairs "
                "blank: their centres are then measured."
            )
    if not (has & apart).any():
        raise StudyError(
            f"{where} names none of the {len(regions)} parcels, such as {regions[0]}; its "
            f"regions begin {', '.join(map(str, distances['region'].head(3)))}. Use the "
            "names of attenuation/parcels.tsv."
        )
    return np.where(has, given, euclidean(parcels[AXES].to_numpy()))


def name_deciding(nulls: dict, distances: pd.DataFrame | None) -> str:
    """Name the family of nulls that decides, for the column null_method."""
    name = name_family(nulls["families"][0], nulls["procedure"])
    return name if distances is None else f"{name}, given distances"


def judge_parcels(
    of_subjects: NDArray,
    binding: NDArray,
    structure: NDArray,
    nulls: dict[str, NDArray | Centred],
    *,
    nulls_of_attenuation: NDArray | Centred | None,
    tests: dict,
    ranked: bool,
    rng: np.random.Generator,
    given: NDArray | None = None,
) -> dict:
    """Judge one correlation over parcels; return the row of its table.

    Takes what `handhold.correspondence.correspond` takes, with `nulls` by family, of which the
    first decides. Subjects with too few of the parcels are left out of n.
    """
    least = MIN_PARCELS + (0 if given is None else len(given))
    able = np.isfinite(of_subjects).sum(axis=1) >= least
    deciding = next(iter(nulls))
    found = asdict(
        correspond(
            of_subjects[able],
            binding,
            structure,
            nulls[deciding],
            nulls_of_attenuation=nulls_of_attenuation,
            n_permutations=tests["n_permutations"],
            level=tests["level"],
            smallest_r=tests["smallest_r"],
            bayes_scale=tests["bayes_scale"],
            ranked=ranked,
            rng=rng,
            min_parcels=least,
            given=given,
        )
    )
    beside = {f"p_{deciding}": found["p_map"], f"null_sd_{deciding}": found["null_sd"]}
    for family in list(nulls)[1:]:
        group = average_subjects(of_subjects[able])
        null_r = within_r(nulls[family], group, structure, ranked, given)
        beside[f"p_{family}"] = float(two_sided_p(found["r"], null_r))
        beside[f"null_sd_{family}"] = float(null_r.std(ddof=1))
    return {
        "effect": found.pop("r"),
        "mean_r": np.tanh(found.pop("mean_z")),
        "mean_r_low": np.tanh(found.pop("z_low")),
        "mean_r_high": np.tanh(found.pop("z_high")),
        "statistic": found.pop("t_subject"),
        "n": found.pop("n_subjects"),
        **found,
        **beside,
    }


def arrange_subjects(
    attenuation: pd.DataFrame,
    contrast: str,
    regions: ArrayLike,
    values: str = "attenuation",
) -> NDArray:
    """Arrange attenuation of one contrast as (n_subjects, n_regions), subjects as they come."""
    own = attenuation[attenuation["contrast"] == contrast]
    wide = own.pivot(index="subject", columns="region", values=values)
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
