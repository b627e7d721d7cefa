"""The rule that turns numbers into words, one table for every question.

A verdict is *supported*, *evidence against* or *inconclusive*. The table and its thresholds
stand in the configuration (`verdicts`) before the data are seen; `verdicts.json` and the report
print what is decided here and nothing else.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from handhold.families import other_families

SUPPORTED, AGAINST, INCONCLUSIVE, NOT_RUN = (
    "supported",
    "evidence against",
    "inconclusive",
    "not run",
)

# The other maps explain so much of the target that what is left is mostly error: VIF 10.
INSEPARABLE = 0.9

# The two models of Q3: relief at equal baselines, or the bare correlation of two changes.
ADJUSTED, CHANGE = "baseline-adjusted", "change"


@dataclass(frozen=True)
class Evidence:
    """What a verdict rests on.

    `effect` is positive in the hypothesised direction; `p` the p that has to pass (family-wise,
    or the larger of two nulls); `p_tost` of equivalence; `bf10` the Bayes factor. NaN: not known.
    """

    effect: float
    p: float
    p_tost: float = np.nan
    bf10: float = np.nan


# What a line of the rule table can ask, of evidence and thresholds.
FACTS: dict[str, Callable[[Evidence, dict], bool]] = {
    "untested": lambda e, t: not (np.isfinite(e.effect) and np.isfinite(e.p)),
    "p_passes": lambda e, t: e.p <= t["alpha"],
    "positive": lambda e, t: e.effect > 0,
    "negative": lambda e, t: e.effect < 0,
    "equivalent": lambda e, t: e.p_tost <= t["alpha"],
    "bf_for": lambda e, t: e.bf10 >= t["bf_for"],
    "bf_against": lambda e, t: e.bf10 <= t["bf_against"],
}

# What each fact says to the reader.
WORDS = {
    "untested": "too few values to test",
    "p_passes": "p at most {alpha:.3g}",
    "positive": "an effect in the hypothesised direction",
    "negative": "an effect in the opposite direction",
    "equivalent": "p of equivalence at most {alpha:.3g}",
    "bf_for": "BF10 at least {bf_for:.3g}",
    "bf_against": "BF10 at most {bf_against:.3g}",
}

QUESTIONS = {
    "Q1": "Attenuation: does {act} lower the response?",
    "Q2": "Correspondence: does attenuation follow the receptor map?",
    "Q3": "Tracking: do people whose response falls more report more relief?",
    "Q4": "Coupling: do people whose attenuation follows the receptor map report more relief?",
    "Q5": "Specificity: is it this receptor rather than others?",
}
# The results table of a question's tests, without '.tsv'.
TESTS = {
    "Q1": "tests/attenuation",
    "Q2": "tests/correspondence",
    "Q3": "tests/tracking",
    "Q4": "tests/coupling",
    "Q5": "tests/specificity",
}


# How the rows of a question make its answer, in the words of the functions that do it.
COMBINATION = {
    "Q1": "supported if any hypothesised ROI is (family-wise p), evidence against if every one is",
    "Q2": "p is the larger of both nulls' (map, subjects), so that both have to pass, with one "
    "sign; absence counts only where the map null agrees and is within widest_null",
    "Q3": "supported if any hypothesised ROI is (family-wise p), evidence against if every one is; "
    "at equal measured baselines where both are known, and only with the sign of the bare changes",
    "Q4": "the primary contrast decides; baselines as in Q3",
    "Q5": "supported if Q2 is and the target beats every other map (family-wise p of the "
    "difference), evidence against if another map that itself follows attenuation beats it",
}

# Why a question is not run.
MISSING = {
    "Q1": "no attenuation",
    "Q2": "no receptor map",
    "Q3": "the study has no ratings (section ratings of the configuration)",
    "Q4": "the study has no ratings (section ratings of the configuration)",
    "Q5": "no other receptor maps are given (receptors.panel)",
}


def judge(evidence: Evidence, thresholds: dict) -> tuple[str, str]:
    """Return verdict and reason: those of the first line of the rule table that applies.

    Parameters
    ----------
    evidence : Evidence
    thresholds : dict
        The section `verdicts` of the configuration. Each line of its `rules` applies where
        all FACTS of its `if` hold; the last applies always.
    """
    line = next(
        line
        for line in thresholds["rules"]
        if all(FACTS[fact](evidence, thresholds) for fact in line["if"])
    )
    return line["verdict"], line["reason"]


def word_fact(fact: str, thresholds: Mapping) -> str:
    """Word one of FACTS with its threshold; what is no fact stays as it is.

    Examples
    --------
    >>> word_fact("bf_against", {"bf_against": 1 / 3})
    'BF10 at most 0.333'
    """
    return WORDS[fact].format(**thresholds) if fact in WORDS else fact


def judge_rows(table: pd.DataFrame, p: str, thresholds: dict) -> pd.DataFrame:
    """Add the columns verdict and reason to a table of tests; `p` names the p that has to pass."""
    rows = table.to_dict("records")
    judged = [_judge_row(row, p, thresholds) for row in rows]
    reasons = [
        reason
        + _prior_matters(row, p, thresholds, verdict)
        + _chance_matters(row, p, thresholds)
        for row, (verdict, reason) in zip(rows, judged, strict=True)
    ]
    return table.assign(verdict=[verdict for verdict, _ in judged], reason=reasons)


def _judge_row(row: dict, p: str, thresholds: dict, bf10="bf10") -> tuple[str, str]:
    evidence = Evidence(
        row["effect"], row[p], row.get("p_tost", np.nan), row.get(bf10, np.nan)
    )
    return judge(evidence, thresholds)


def _prior_matters(row: dict, p: str, thresholds: dict, verdict: str) -> str:
    """Say which verdict another width of the prior gives, where it gives another."""
    others = {
        _judge_row(row, p, thresholds, bound)[0]
        for bound in ("bf10_low", "bf10_high")
        if np.isfinite(row.get(bound, np.nan))
    }
    changed = sorted(others - {verdict})
    return f"; another width of the prior gives {', '.join(changed)}" if changed else ""


def _chance_matters(row: dict, p: str, thresholds: dict) -> str:
    """Say where other random permutations could turn the verdict: two standard errors."""
    alpha, n = thresholds["alpha"], row.get("n_permutations", np.nan)
    if row.get("exact", True) or not np.isfinite(n):
        return ""
    if not abs(row[p] - alpha) <= 2 * np.sqrt(alpha * (1 - alpha) / n):  # or p is nan
        return ""
    return "; p is within its Monte Carlo error of alpha: raise tests.n_permutations"


def judge_tracking(table: pd.DataFrame, thresholds: dict) -> pd.DataFrame:
    """Add verdict and reason to the table of Q3 or Q4; each row is judged by the model it names.

    Where both baselines are known, the baseline-adjusted model decides: a change is bound to
    its own baseline, so that two changes can correlate when only their baselines do. Else
    the correlation of the changes has to, and the reason says so. The adjusted model errs in
    its turn: what a baseline measured with error leaves of a trait that response and score
    share can pass for tracking [1]_. So its p counts only where the bare changes have the
    same sign.

    References
    ----------
    .. [1] Lord (1967), Psychol. Bull. 68(5), 304-305.
    """
    adjusted = table["model"] == ADJUSTED
    decided = decided_by(table)
    torn = adjusted & (np.sign(table["effect"]) != np.sign(decided["effect"]))
    p = decided["p_fwe"].where(~torn | decided["p_fwe"].isna(), 1.0)
    judged = judge_rows(decided.assign(p_fwe=p), "p_fwe", thresholds)
    passed = torn & (decided["p_fwe"] <= thresholds["alpha"])
    open_ = passed & (judged["verdict"] == INCONCLUSIVE)
    reason = judged["reason"].mask(
        open_, "p passes alpha, but the bare changes have the other sign"
    )
    which = np.where(
        adjusted, " (at equal measured baselines)", " (changes, baselines not held)"
    )
    return table.assign(verdict=judged["verdict"], reason=reason + which)


def decided_by(table: pd.DataFrame) -> pd.DataFrame:
    """Put the numbers of the model that decides Q3 (or Q4) in place of those of the changes."""
    adjusted = table["model"] == ADJUSTED
    deciding = {
        "effect": "partial_r",
        "p_fwe": "p_partial_fwe",
        "bf10": "bf10_partial",
        "bf10_low": "bf10_partial_low",
        "bf10_high": "bf10_partial_high",
    }
    return table.assign(
        **{
            plain: table[plain].where(~adjusted, table[partial])
            for plain, partial in deciding.items()
        }
    )


def judge_within(table: pd.DataFrame, thresholds: dict) -> pd.DataFrame:
    """Add verdict and reason to the table of slopes within people; refused models say why."""
    judged = judge_rows(table, "p_fwe", thresholds)
    refused = judged["refused"]
    return judged.assign(reason=judged["reason"].where(refused.isna(), refused))


def judge_correspondence(table: pd.DataFrame, thresholds: dict) -> pd.DataFrame:
    """Add verdict and reason to the table of Q2: support and absence both need both nulls.

    Support needs one sign of the group map and of the average person. The absence that the
    subjects' equivalence test or Bayes factor shows counts only where the map null agrees, and
    is no wider than `widest_null`: else smooth maps alone reach as far.
    """
    torn = np.sign(table["effect"]) != np.sign(table["mean_r"])
    reach = table[["null_low", "null_high"]].abs().max(axis=1)
    narrow = (reach <= thresholds["widest_null"]) & (
        table["p_map"] > thresholds["alpha"]
    )
    # where the p passes, the Bayes factor keeps its say against it
    p = table["p"].where(~torn, 1.0)
    heard = narrow | (p <= thresholds["alpha"])
    judged = judge_rows(
        table.assign(
            p=p,
            bf10=table["bf10"].where(heard),
            p_tost=table["p_tost"].where(narrow),
        ),
        "p",
        thresholds,
    )
    # both p may pass, so that the rule's own reason would leave the reader guessing
    passed = torn & (table["p"] <= thresholds["alpha"])
    open_ = passed & (judged["verdict"] == INCONCLUSIVE)
    return table.assign(
        verdict=judged["verdict"],
        reason=judged["reason"].mask(
            open_, "the group map and the average person differ in sign"
        ),
    )


def answer(
    tests: dict[str, pd.DataFrame],
    *,
    study: str,
    contrast: str,
    definition: str,
    method: str,
    label: str,
    act: str,
    verdicts: dict,
    sensitivity: pd.DataFrame | None = None,
    interaction: pd.DataFrame | None = None,
) -> dict:
    """Answer every question from its table of tests; content of verdicts.json.

    Parameters
    ----------
    tests : dict of str to DataFrame
        Tables of tests with verdicts, by question; one that is missing was not run.
    study, contrast, definition, method, label : str
        Name of the study, primary contrast and ROI definition, method of the headline
        correlation, receptor map as figures print it.
    act : str
        What is to lower the response, as the config names it (holding).
    verdicts : dict
        That section of the configuration.
    sensitivity, interaction : DataFrame, optional
        Q1 and Q3 at another coverage, and the differences between ROIs in Q1: named in the
        reasons, and without a say in the verdicts.
    """
    beside = {"sensitivity": sensitivity, "verdicts": verdicts}
    answers = {
        "Q1": lambda table: answer_regions(
            table, definition, contrast, interaction=interaction, **beside
        ),
        "Q2": lambda table: answer_correspondence(table, method, contrast, label),
        "Q3": lambda table: answer_regions(table, definition, contrast, **beside),
        "Q4": lambda table: answer_coupling(table, contrast, label),
        "Q5": lambda table: answer_specificity(table, contrast, found["Q2"], verdicts),
    }
    found: dict[str, dict] = {}
    for question, words in answers.items():
        table = tests.get(question)
        if table is None:
            found[question] = not_run(question, MISSING[question])
        elif not (table["contrast"] == contrast).any():
            found[question] = not_run(
                question, f"the primary contrast {contrast} has no ratings"
            )
        else:
            found[question] = words(table)
    for answered in found.values():
        answered["title"] = answered["title"].format(act=act)
    return {
        "study": study,
        "rule": verdicts,
        "combination": COMBINATION,
        "questions": list(found.values()),
    }


def answer_regions(
    table: pd.DataFrame,
    definition: str,
    contrast: str,
    *,
    sensitivity: pd.DataFrame | None = None,
    interaction: pd.DataFrame | None = None,
    verdicts: dict | None = None,
) -> dict:
    """Answer Q1 or Q3 from the hypothesised ROIs of the primary definition and contrast.

    Supported if any ROI is (family-wise p), evidence against if every ROI is; a ROI that gets
    another verdict under another definition or at another coverage (`sensitivity`) is named,
    and where some ROIs are supported and some are not, whether they differ (`interaction`).
    """
    question = table["question"].iloc[0]
    own = table[(table["role"] == "hypothesised") & (table["contrast"] == contrast)]
    primary = own[own["definition"] == definition]
    found = {
        verdict: list(primary.loc[primary["verdict"] == verdict, "region"])
        for verdict in (SUPPORTED, AGAINST, INCONCLUSIVE)
    }
    verdict = join_regions(primary["verdict"])
    torn = _torn(own, primary)
    reason = "; ".join(
        f"{name} in {', '.join(regions)}" for name, regions in found.items() if regions
    )
    if torn:
        reason += f". Depends on the ROI definition: {', '.join(torn)}"
    fragile = primary[primary["reason"].str.contains("another width of the prior")]
    if len(fragile):
        reason += f". Depends on the width of the prior: {', '.join(fragile['region'])}"
    if sensitivity is not None:
        reason += _uncovered(sensitivity, question, definition, contrast)
    if interaction is not None:
        reason += _here_not_there(interaction, definition, contrast, found, verdicts)
    if question == "Q3":
        reason += f". {_model(primary)}. {_ceiling(primary)}"
    if verdict == INCONCLUSIVE:
        reason += f". {_power(primary, question)}"
    return _answer(
        question,
        verdict,
        _region_sentence(question, contrast, found, _opposite(primary, verdicts)),
        reason,
        primary,
    )


def join_regions(verdicts: Iterable[str]) -> str:
    """Join the verdicts of the hypothesised ROIs: any support, or evidence against in all."""
    found = set(verdicts)
    if SUPPORTED in found:
        return SUPPORTED
    return AGAINST if found == {AGAINST} else INCONCLUSIVE


def answer_correspondence(
    table: pd.DataFrame, method: str, contrast: str, label: str
) -> dict:
    """Answer Q2 from the headline row: all parcels, the configured method, the primary contrast."""
    row = table[
        (table["scope"] == "all")
        & (table["method"] == method)
        & (table["contrast"] == contrast)
    ].iloc[0]
    sentence = {
        SUPPORTED: f"Attenuation ({contrast}) is larger where {label} binding is higher.",
        AGAINST: f"Attenuation ({contrast}) does not rise with {label} binding.",
        INCONCLUSIVE: f"Whether attenuation ({contrast}) follows {label} binding is open.",
    }[row["verdict"]]
    reason = (
        f"{row['reason']}: both nulls have to pass; the map null ({row['null_method']}, which "
        f"decides) gives {_p(row['p_map'])}, the subject null {_p(row['p_subject'])}"
    )
    beside = [f"{name} {_p(p)}" for name, p in other_families(row, "p").items()]
    if beside:
        reason += f". Beside it, other map nulls: {', '.join(beside)}"
    return _answer("Q2", row["verdict"], sentence, reason, row.to_frame().T)


def answer_coupling(table: pd.DataFrame, contrast: str, label: str) -> dict:
    """Answer Q4 from the primary contrast."""
    own = table[table["contrast"] == contrast]
    row = own.iloc[0]
    sentence = {
        SUPPORTED: f"People whose attenuation follows {label} binding more closely "
        "report more relief.",
        AGAINST: f"People whose attenuation follows {label} binding more closely do not "
        "report more relief.",
        INCONCLUSIVE: f"Whether closeness to {label} binding goes with relief is open.",
    }[row["verdict"]]
    reason = f"{row['reason']}. {_model(own, 'coupling of the alone response')}"
    if row["verdict"] == INCONCLUSIVE:
        reason += f". {_power(own, 'Q4')}"
    return _answer("Q4", row["verdict"], sentence, reason, own)


def answer_specificity(
    table: pd.DataFrame, contrast: str, q2: dict, thresholds: dict
) -> dict:
    """Answer Q5: supported only if Q2 is, and the target beats every other map.

    Evidence against if another map does significantly better than the target (family-wise p).
    """
    own = table[table["contrast"] == contrast]
    target = own[own["target"]].iloc[0]
    verdict, reason = judge_panel(own, q2["verdict"], thresholds)
    sentence = {
        SUPPORTED: f"Attenuation ({contrast}) follows {target['label']} more than any other "
        "map of the panel.",
        AGAINST: f"Attenuation ({contrast}) follows another map more than {target['label']}.",
        INCONCLUSIVE: f"Attenuation ({contrast}) cannot be called specific to {target['label']}.",
    }[verdict]
    reason += (
        f". Over {int(target['n_parcels'])} parcels, the other maps explain "
        f"R2 = {_share(target['r_squared'])} of the target, which "
        f"correlates r = {_share(target['r_with_y'])} with the front-to-back axis"
        f"{_inseparable(target)}. "
        f"{target['null_method']} nulls decide (family-wise {_p(target['p_fwe'])} for the target)"
    )
    beside = [f"{name} {_p(p)}" for name, p in other_families(target, "p_fwe").items()]
    if beside:
        reason += f"; beside it, {', '.join(beside)}"
    return _answer("Q5", verdict, sentence, reason, own[own["target"]])


def _inseparable(target: pd.Series) -> str:
    """Say plainly where the other maps make the target, so that nothing can be specific to it."""
    if target["r_squared"] < INSEPARABLE:
        return ""
    return ": no data over these parcels can separate it from them, whatever the correlations are"


def judge_panel(own: pd.DataFrame, q2: str, thresholds: dict) -> tuple[str, str]:
    """Return verdict and reason of Q5 from the rows of one contrast and the verdict of Q2.

    `own` has columns label, target, effect, p_fwe, difference and p_difference_fwe.
    """
    others = own[~own["target"]]
    passed = others["p_difference_fwe"] <= thresholds["alpha"]
    behind = others[passed & (others["difference"] > 0)]["label"]
    followed = (others["effect"] > 0) & (others["p_fwe"] <= thresholds["alpha"])
    ahead = others[passed & followed & (others["difference"] < 0)]["label"]
    if q2 == SUPPORTED and len(behind) == len(others):
        return SUPPORTED, "the target correlates more than every other map"
    if len(ahead):
        return (
            AGAINST,
            f"these maps correlate more than the target: {', '.join(ahead)}",
        )
    if q2 != SUPPORTED:
        return INCONCLUSIVE, (
            "correspondence (Q2) is not supported, "
            "so that there is nothing to be specific about"
        )
    level = [label for label in others["label"] if label not in {*behind, *ahead}]
    return INCONCLUSIVE, f"the data cannot tell the target from {', '.join(level)}"


def not_run(question: str, reason: str) -> dict:
    """Say that a question was not asked of the data, and why."""
    return {
        "question": question,
        "title": QUESTIONS[question],
        "verdict": NOT_RUN,
        "sentence": "Not run.",
        "reason": reason,
        "inputs": [],
    }


def _answer(
    question: str, verdict: str, sentence: str, reason: str, rows: pd.DataFrame
) -> dict:
    return {
        "question": question,
        "title": QUESTIONS[question],
        "verdict": verdict,
        "sentence": sentence,
        "reason": reason,
        "inputs": rows.to_dict("records"),
    }


def _p(value: float) -> str:
    """Word a p as `tables.display` shows it.

    Examples
    --------
    >>> [_p(p) for p in (0.0338, 0.0002, 0.0503, 1.0)]
    ['p = .034', 'p < .001', 'p = .0503', 'p > .999']
    """
    if value < 0.001:
        return "p < .001"
    if value >= 0.9995:
        return "p > .999"
    return f"p = {_share(value, 4 if value != 0.05 == round(value, 3) else 3)}"


def _share(value: float, digits: int = 2) -> str:
    """Write a number that cannot exceed 1 without its leading zero, as the field does."""
    return f"{value:.{digits}f}".replace("0.", ".", 1)


def _torn(own: pd.DataFrame, primary: pd.DataFrame) -> list[str]:
    verdicts = primary.set_index("region")["verdict"]
    return [
        f"{row.region} is {row.verdict} under {row.definition}"
        for row in own.itertuples()
        if row.region in verdicts.index and row.verdict != verdicts[row.region]
    ]


def _uncovered(
    sensitivity: pd.DataFrame, question: str, definition: str, contrast: str
) -> str:
    """Name the ROIs whose verdict is another with cells kept from another coverage up."""
    own = sensitivity[
        sensitivity["verdict_changes"]
        & (sensitivity["question"] == question)
        & (sensitivity["definition"] == definition)
        & (sensitivity["role"] == "hypothesised")
        & (sensitivity["contrast"] == contrast)
    ]
    if own.empty:
        return ""
    listed = ", ".join(
        f"{row.region} is {row.verdict} (n = {row.n})" for row in own.itertuples()
    )
    least = _share(own["min_coverage"].iloc[0])
    return f". Depends on coverage: with cells kept from {least} up, {listed}"


def _here_not_there(
    interaction: pd.DataFrame,
    definition: str,
    contrast: str,
    found: dict[str, list[str]],
    verdicts: dict,
) -> str:
    """Say whether supported ROIs attenuate more than the others: two p values do not tell."""
    others = [*found[AGAINST], *found[INCONCLUSIVE]]
    own = interaction[
        (interaction["definition"] == definition)
        & (interaction["contrast"] == contrast)
    ]
    told = {True: [], False: []}
    for row in own.itertuples():
        for here, there, effect in (
            (row.region, row.other_region, row.effect),
            (row.other_region, row.region, -row.effect),
        ):
            if here in found[SUPPORTED] and there in others:
                shown = effect > 0 and row.p_fwe <= verdicts["alpha"]
                told[shown].append(f"{here} and {there} ({_p(row.p_fwe)})")
    return "".join(
        f". The difference between {', '.join(pairs)} is {'' if shown else 'not '}shown"
        for shown, pairs in told.items()
        if pairs
    )


def _model(rows: pd.DataFrame, baseline: str = "alone response") -> str:
    """Say which model of Q3 or Q4 decides, why, and where the other would say otherwise."""
    if (rows["model"] != ADJUSTED).all():
        return (
            f"Decided by the correlation of the two changes, since {baseline} and alone "
            "score are not both known: a bond between baselines alone could bring it about"
        )
    text = (
        f"Decided at equal measured baselines ({baseline} and alone score held constant), since "
        "a change is bound to its own baseline; where baselines are measured with error, a trait "
        "that response and score share can still pass for a bond of the changes"
    )
    signs = np.sign(rows["effect"]) != np.sign(rows["partial_r"])
    torn = rows[signs & rows["effect"].notna() & rows["partial_r"].notna()]
    if len(torn):
        where = f" in {', '.join(torn['region'])}" if "region" in torn else ""
        text += f"; the bare changes have the other sign{where}"
    return text


def _ceiling(rows: pd.DataFrame) -> str:
    """State the largest correlation that reliability allows, or why it is not known."""
    unknown = [
        f"{what} ({why})"
        for what, column, why in (
            (
                "attenuation",
                "reliability_attenuation",
                "no repeats that everyone has: runs of every cell, or single trials",
            ),
            ("relief", "reliability_relief", "one rating per condition"),
        )
        if rows[column].isna().all()
    ]
    missing = f"the reliability of {' and '.join(unknown)} is not known"
    known = rows.dropna(subset=["ceiling"])
    if known.empty:
        return f"How large a correlation could be at most is open: {missing}"
    low, high = known["ceiling"].min(), known["ceiling"].max()
    span = _share(high) if low == high else f"{_share(low)} to {_share(high)}"
    bound = f"With these reliabilities the largest observable r of the two changes is {span}"
    return f"{bound}; {missing}" if unknown else bound


def _power(rows: pd.DataFrame, question: str) -> str:
    column, what = {
        "Q1": ("detectable_dz", "standardised mean"),
        "Q3": ("detectable_r", "correlation"),
        "Q4": ("detectable_r", "correlation"),
    }[question]
    tested = rows.dropna(subset=[column])
    if tested.empty:
        return f"With n = {int(rows['n'].max())} at most, nothing could be tested"
    return (
        f"With n = {int(tested['n'].min())}, a single test detects a {what} of "
        f"{tested[column].max():.2f} or more"
    )


def _opposite(rows: pd.DataFrame, verdicts: dict | None) -> list[str]:
    """Name the regions whose p passes in the other direction: that is more than an absence."""
    if verdicts is None or "p_fwe" not in rows:
        return []
    decided = decided_by(rows) if "partial_r" in rows else rows
    passed = (decided["p_fwe"] <= verdicts["alpha"]) & (decided["effect"] < 0)
    return list(rows.loc[passed & (rows["verdict"] == AGAINST), "region"])


def _region_sentence(
    question: str, contrast: str, found: dict, opposite: list[str]
) -> str:
    """Name every region of the primary definition under its verdict."""
    what, other = {
        "Q1": ("the response falls", "the response rises"),
        "Q3": ("attenuation goes with relief", "attenuation goes with less relief"),
    }[question]
    absent = [region for region in found[AGAINST] if region not in opposite]
    parts = [
        f"{lead} in {', '.join(regions)}"
        for regions, lead in (
            (found[SUPPORTED], f"{what} ({contrast})"),
            (opposite, f"{other} ({contrast})"),
            (absent, f"there is evidence against it that {what} ({contrast})"),
            (found[INCONCLUSIVE], f"whether {what} ({contrast}) is open"),
        )
        if regions
    ]
    sentence = "; ".join(parts)
    return f"{sentence[:1].upper()}{sentence[1:]}."
