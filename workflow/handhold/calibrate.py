"""Calibration: how often would the verdicts be right, and wrong, in a study like this one?

Cohorts of every world of `handhold.worlds` go through the tests and the rule of the study: its
families, nulls (the very surrogates that judge its own map), alpha and thresholds, by the
functions that judge the study itself. Left out is what bears no verdict: bootstraps, robust
correlations, leave-one-out ranges, nulls of the attenuation map.

A rejection means what the world makes of it (`rates.meaning_of`): an error where the hypothesis is
false, power where it is true. Of the world `axis` there is a third kind: its attenuation goes
with the receptor map because the receptors lie along the axis, so that both nulls of Q2 pass
rightly, while a claim about this receptor would be wrong.

Moran singleton surrogates, which decide by default, are liberal for very smooth maps: where an
unrelated map is as smooth as the receptor map, exp(-d^2 / (2 s^2)) over 98 parcels with 30 people,
the map null and both nulls reject .058 at s = 15 mm, .061 at 30 mm and .082 (standard error .007)
at 60 mm instead of .05, and end in supported in .033, .031 and .040 instead of .025
(tests/reference/calibration.tsv). What that is with a study's own map, the world `elsewhere` shows.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from handhold.bayes import correlation_bf10, ttest_bf10
from handhold.correspondence import (
    average_subjects,
    couple,
    naive_p,
    standardise,
)
from handhold.estimate import equivalence_p
from handhold.families import name_family
from handhold.nulls import two_sided_p
from handhold.permutation import flip_signs, permute_correlations, permute_residuals
from handhold.replica import Design, describe_study
from handhold.specificity import judge_family
from handhold.tracking import MIN_SUBJECTS
from handhold.verdicts import (
    ADJUSTED,
    AGAINST,
    CHANGE,
    INCONCLUSIVE,
    SUPPORTED,
    join_regions,
    judge_correspondence,
    judge_panel,
    judge_rows,
    judge_tracking,
)
from handhold.worlds import Cohort, World
from handhold.yardsticks import Yardsticks, draw_yardsticks

# Cohorts held at a time: their null correlations with a panel of 15 maps take 10 MB a cohort.
CHUNK = 16
VERDICTS = (SUPPORTED, AGAINST, INCONCLUSIVE)


@dataclass(frozen=True)
class Choices:
    """What the configuration says of the tests: those sections of it."""

    tests: dict
    nulls: dict
    verdicts: dict
    calibrate: dict


def describe(
    tables: dict[str, pd.DataFrame],
    *,
    contrasts: list[dict],
    definition: str,
    ranked: bool,
    given: dict,
) -> Design:
    """Take from a study's tables what its repetitions keep.

    Parameters
    ----------
    tables : dict of str to DataFrame
        attenuation and rois (of attenuation/), parcels (of correspondence/), definitions, and
        where people were rated relief and reliability.
    contrasts, definition, ranked, given
        As for `replica.describe_study`.
    """
    return describe_study(
        *(tables["attenuation"], tables["rois"]),
        _primary(tables["parcels"], contrasts[0]["name"]),
        tables["definitions"],
        *(tables.get("relief"), tables.get("reliability")),
        contrasts=contrasts,
        definition=definition,
        ranked=ranked,
        given=given,
    )


def draw(
    tables: dict[str, pd.DataFrame],
    distances: pd.DataFrame | None,
    *,
    contrast: str,
    maps: list[str],
    nulls: dict,
    null_seed: int,
) -> Yardsticks:
    """Draw what judges the repetitions: the study's own surrogates.

    Parameters
    ----------
    tables : dict of str to DataFrame
        parcels (of correspondence/) and receptors (parcels of receptors/).
    distances : DataFrame or None
        As for `parcels.assess_correspondence`.
    contrast : str
        The primary contrast.
    maps : list of str
        Receptor maps, the target first.
    nulls, null_seed
        That section of the configuration, and the seed of the surrogates.
    """
    panel = tables["receptors"].pivot(
        index="region", columns="receptor", values="binding"
    )
    own = _primary(tables["parcels"], contrast)
    return draw_yardsticks(own, panel[maps], nulls, null_seed, distances)


def _primary(parcels: pd.DataFrame, contrast: str) -> pd.DataFrame:
    return parcels[parcels["used"] & (parcels["contrast"] == contrast)]


def count_rejections(
    world: World,
    yardsticks: Yardsticks,
    n_subjects: int,
    n_replicates: int,
    choices: Choices,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Repeat the study in a world and count what each test and verdict says.

    Returns
    -------
    DataFrame
        One row per question and test: world, n_subjects, question, test, n_replicates,
        n_rejected (how often p was at most alpha; of a verdict, how often it was given) and
        planted (`planted_in`).
    """
    said: dict[tuple[str, str], int] = {}
    for start in range(0, n_replicates, CHUNK):
        n = min(CHUNK, n_replicates - start)
        cohorts = [world.draw(n_subjects, rng) for _ in range(n)]
        for key, rejected in judge_cohorts(
            cohorts, world.design, yardsticks, choices, rng
        ).items():
            said[key] = said.get(key, 0) + int(np.sum(rejected))
    planted = planted_in(world)
    return pd.DataFrame(
        [
            {
                "world": world.name,
                "n_subjects": n_subjects,
                "question": question,
                "test": test,
                "n_replicates": n_replicates,
                "n_rejected": n_rejected,
                "planted": planted[question],
            }
            for (question, test), n_rejected in said.items()
        ]
    )


def planted_in(world: World) -> dict[str, float]:
    """Return what is true in a world, by question.

    Q1 the standardised mean of a hypothesised ROI; Q2 and Q5 the correlation of the true map
    with the receptor map; Q3 and Q4 the correlation with relief.
    """
    return {
        "Q1": world.attenuation_dz,
        "Q2": world.map_r,
        "Q3": world.tracking_r,
        "Q4": world.coupling_r,
        "Q5": world.map_r,
    }


def judge_cohorts(
    cohorts: list[Cohort],
    design: Design,
    yardsticks: Yardsticks,
    choices: Choices,
    rng: np.random.Generator,
) -> dict[tuple[str, str], NDArray]:
    """Judge cohorts as the study is judged.

    Returns
    -------
    dict of (question, test) to array of bool, shape (n_cohorts,)
        Whether p is at most alpha, or the verdict is given.
    """
    found = {}
    _say(found, "Q1", *_judge_attenuation(cohorts, design, choices, rng))
    z = [
        couple(cohort.parcels, design.binding, design.structure, ranked=design.ranked).z
        for cohort in cohorts
    ]
    group = np.stack([average_subjects(cohort.parcels) for cohort in cohorts])
    tests, of_target = _judge_correspondence(group, z, design, yardsticks, choices, rng)
    _say(found, "Q2", tests, of_target)
    if design.rated.any():
        _say(found, "Q3", *_judge_tracking(cohorts, design, choices, rng))
        _say(found, "Q4", *_judge_coupling(cohorts, z, design, choices, rng))
    if len(yardsticks.bindings):
        inside = yardsticks.in_panel
        group = standardise(group[:, inside], design.structure[inside], design.ranked)
        _say(found, "Q5", *_judge_panels(group, of_target, yardsticks, choices))
    return found


def _say(
    found: dict, question: str, tests: Mapping[str, ArrayLike], verdicts: ArrayLike
) -> None:
    for name, rejected in tests.items():
        found[question, name] = np.asarray(rejected)
    for verdict in VERDICTS:
        found[question, verdict] = np.asarray(verdicts) == verdict


def _judge_attenuation(
    cohorts: list[Cohort], design: Design, choices: Choices, rng: np.random.Generator
) -> tuple[dict[str, NDArray], list[str]]:
    """Q1: sign flips, family-wise over the ROIs of all contrasts; the primary is counted."""
    n_rois, tests = len(design.regions), choices.tests
    flips = [
        flip_signs(
            cohort.rois.reshape(len(cohort.rois), -1),
            choices.calibrate["n_permutations"],
            rng,
        )
        for cohort in cohorts
    ]
    t, p, p_fwe = (
        np.stack([getattr(flip, name)[:n_rois] for flip in flips])
        for name in ("t", "p", "p_fwe")
    )
    n = np.stack([np.isfinite(c.rois[:, 0]).sum(axis=0) for c in cohorts])
    n = np.maximum(n, 2)  # t is nan where there are fewer than three
    table = pd.DataFrame(
        {
            "effect": t.ravel(),  # its sign is that of the mean
            "p_fwe": p_fwe.ravel(),
            "p_tost": equivalence_p(t, n, tests["smallest_dz"]).ravel(),
            "bf10": ttest_bf10(t, n, tests["bayes_scale"]).ravel(),
        }
    )
    judged = judge_rows(table, "p_fwe", choices.verdicts)["verdict"].to_numpy()
    return _of_regions(p, p_fwe, judged, design, choices)


def _of_regions(
    p: NDArray, p_fwe: NDArray, judged: NDArray, design: Design, choices: Choices
) -> tuple[dict[str, NDArray], list[str]]:
    """Name the tests of ROIs, (n_cohorts, R), and join their verdicts."""
    alpha = choices.verdicts["alpha"]
    tests = {
        f"p in {name}": column <= alpha
        for name, column in zip(design.regions, p.T, strict=True)
    }
    tests["family-wise p in any ROI"] = (p_fwe <= alpha).any(axis=1)
    return tests, [join_regions(row) for row in judged.reshape(p.shape)]


def _judge_correspondence(
    group: NDArray,
    z: list[NDArray],
    design: Design,
    yardsticks: Yardsticks,
    choices: Choices,
    rng: np.random.Generator,
) -> tuple[dict[str, NDArray], NDArray]:
    """Q2: each null by itself, both, and the p that takes parcels to be independent."""
    tests, alpha = choices.tests, choices.verdicts["alpha"]
    maps = standardise(group, design.structure, design.ranked)
    r = maps @ standardise(design.binding, design.structure, design.ranked)
    p_map = {}
    for family, nulls in yardsticks.target.items():
        null_r = nulls @ maps.T.astype(nulls.dtype)
        p_map[family] = two_sided_p(r, null_r)
        if len(p_map) == 1:
            tails = [(1 - tests["level"]) / 2, (1 + tests["level"]) / 2]
            null_low, null_high = np.quantile(null_r, tails, axis=0)
    flips = [
        flip_signs(own[:, np.newaxis], choices.calibrate["n_permutations"], rng)
        for own in z
    ]
    t, p_subject = (
        np.array([getattr(flip, name)[0] for flip in flips]) for name in ("t", "p")
    )
    n, sd = np.array([(len(own), own.std(ddof=1)) for own in z]).T
    deciding = next(iter(p_map))
    p = np.maximum(p_map[deciding], p_subject)
    table = pd.DataFrame(
        {
            "effect": r,
            "mean_r": np.tanh([own.mean() for own in z]),
            "null_low": null_low,
            "null_high": null_high,
            "p_map": p_map[deciding],
            "p": p,
            "p_tost": equivalence_p(t, n, np.arctanh(tests["smallest_r"]) / sd),
            "bf10": ttest_bf10(t, n, tests["bayes_scale"]),
        }
    )
    n_structures = len(np.unique(design.structure))
    rejected = {
        "naive p": np.array(
            [naive_p(one, maps.shape[1], n_structures) <= alpha for one in r]
        ),
        "subject null": p_subject <= alpha,
        **{
            f"map null ({name_family(family, choices.nulls['procedure'])})": p <= alpha
            for family, p in p_map.items()
        },
        "both nulls": p <= alpha,
    }
    judged = judge_correspondence(table, choices.verdicts)["verdict"].to_numpy()
    return rejected, judged


def _judge_tracking(
    cohorts: list[Cohort], design: Design, choices: Choices, rng: np.random.Generator
) -> tuple[dict[str, NDArray], list[str]]:
    """Q3 by the model that decides: at equal baselines where they are known."""
    n_permutations = choices.calibrate["n_permutations"]
    r, p, p_fwe, n, bare = [], [], [], [], []
    for cohort in cohorts:
        rated = np.isfinite(cohort.relief)
        rois, relief = cohort.rois[rated, 0], cohort.relief[rated]
        bare.append(_correlate(rois, relief))
        if cohort.baselines is None:
            permuted = permute_correlations(rois, relief, n_permutations, rng)
        else:
            permuted = permute_residuals(
                rois, relief, cohort.baselines[rated], n_permutations, rng
            )
        n.append(np.isfinite(rois).sum(axis=0))
        r.append(np.where(n[-1] < MIN_SUBJECTS, np.nan, permuted.r))
        p.append(permuted.p)
        p_fwe.append(permuted.p_fwe)
    r, p, p_fwe, n, bare = map(np.stack, (r, p, p_fwe, n, bare))
    judged = _judge_people(r, p_fwe, n, bare, design.adjusted, choices)
    return _of_regions(p, p_fwe, judged, design, choices)


def _correlate(measures: NDArray, relief: NDArray) -> NDArray:
    """Correlate each column (n_subjects, n_tests), nan where missing, with relief."""
    has = np.isfinite(measures)
    y = np.where(has, relief[:, np.newaxis], np.nan)
    x = measures - np.nanmean(measures, axis=0)
    y = y - np.nanmean(y, axis=0)
    return np.nansum(x * y, axis=0) / np.sqrt(
        np.nansum(x**2, axis=0) * np.nansum(y**2, axis=0)
    )


def _judge_people(
    r: NDArray,
    p_fwe: NDArray,
    n: NDArray,
    bare: NDArray,
    is_adjusted: bool,
    choices: Choices,
) -> NDArray:
    """Return the verdict of each correlation over people, flat.

    `r` and `p_fwe` are of the model that decides, `bare` is the correlation of the changes.
    """
    left = np.maximum(n - 2 * is_adjusted, 3)  # r is nan where there are fewer
    bf10 = correlation_bf10(r, left, choices.tests["bayes_kappa"])
    effect = bare if is_adjusted else r  # which is nan where there are few
    decides = {"effect": effect.ravel(), "partial_r": r.ravel()}
    decides |= dict.fromkeys(("p_fwe", "p_partial_fwe"), p_fwe.ravel())
    decides |= dict.fromkeys(("bf10", "bf10_partial"), bf10.ravel())
    bounds = ("bf10_low", "bf10_high", "bf10_partial_low", "bf10_partial_high")
    table = pd.DataFrame({**decides, **dict.fromkeys(bounds, np.nan)}).assign(
        model=ADJUSTED if is_adjusted else CHANGE
    )
    return judge_tracking(table, choices.verdicts)["verdict"].to_numpy()


def _judge_coupling(
    cohorts: list[Cohort],
    z: list[NDArray],
    design: Design,
    choices: Choices,
    rng: np.random.Generator,
) -> tuple[dict[str, NDArray], NDArray]:
    """Q4: each person's coupling against relief, by the model that decides."""
    n_permutations = choices.calibrate["n_permutations"]
    r, p, n, bare = [], [], [], []
    for cohort, own in zip(cohorts, z, strict=True):
        rated = np.isfinite(cohort.relief)
        coupling, relief = own[rated, np.newaxis], cohort.relief[rated]
        bare.append(_correlate(coupling, relief)[0])
        if cohort.coupling_baselines is None:
            permuted = permute_correlations(coupling, relief, n_permutations, rng)
        else:
            covariates = cohort.coupling_baselines[rated, :, np.newaxis]
            permuted = permute_residuals(
                coupling, relief, covariates, n_permutations, rng
            )
        n.append(rated.sum())
        r.append(permuted.r[0] if n[-1] >= MIN_SUBJECTS else np.nan)
        p.append(permuted.p[0])
    r, p, n, bare = map(np.array, (r, p, n, bare))
    judged = _judge_people(r, p, n, bare, design.coupling_adjusted, choices)
    return {"permutation p": p <= choices.verdicts["alpha"]}, judged


def _judge_panels(
    group: NDArray, of_target: NDArray, yardsticks: Yardsticks, choices: Choices
) -> tuple[dict[str, NDArray], list[str]]:
    """Q5 of standardised group maps, (n_cohorts, P of the panel), and the verdicts of Q2."""
    alpha, panel = choices.verdicts["alpha"], yardsticks.panel
    n_maps, n_nulls, n_parcels = panel.shape
    followed, ahead, verdicts = [], [], []
    # One product for all cohorts: the surrogates are read from memory once.
    of_nulls = group.astype(panel.dtype) @ panel.reshape(-1, n_parcels).T
    for one, of_one, q2 in zip(group, of_nulls, of_target, strict=True):
        r = yardsticks.bindings @ one
        null_r = of_one.reshape(n_maps, n_nulls).T
        _, p_fwe = judge_family(r, null_r)
        _, p_difference = judge_family(r[0] - r[1:], null_r[:, :1] - null_r[:, 1:])
        own = pd.DataFrame(
            {
                "label": np.arange(n_maps).astype(str),
                "target": np.arange(n_maps) == 0,
                "effect": r,
                "p_fwe": p_fwe,
                "difference": r[0] - r,
                "p_difference_fwe": np.append(np.nan, p_difference),
            }
        )
        followed.append(p_fwe[0] <= alpha)
        beaten = (p_difference <= alpha) & (r[0] > r[1:])
        ahead.append(beaten.all())
        verdicts.append(judge_panel(own, q2, choices.verdicts)[0])
    return {
        "target, family-wise p": followed,
        "target ahead of every map": ahead,
    }, verdicts
