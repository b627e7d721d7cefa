"""Reported unpleasantness becomes relief, with one sign: positive, holding the hand helped."""

import re

import pandas as pd

from handhold.errors import StudyError
from handhold.sources import EXCLUDE_KEY, plain_subject

RELIEF = ["subject", "contrast", "relief", "baseline", "held"]
# How the words of the table become those of contrasts, by source.
RENAME_ADVICE = {
    "maps": "map the words with maps.rename.condition, or remove those rows",
    "bids": "write the words of contrasts in the table, or remove those rows",
}
# What someone with ratings lacks, by source.
NO_IMAGE = {"maps": "rated, but no image", "bids": "rated, but no BOLD"}


def relief(baseline: pd.Series, held: pd.Series, higher_is: str) -> pd.Series:
    """Return how much better a person felt with the hand than at baseline.

    `higher_is` says what a higher score means: with `more_unpleasant`, relief is the drop from
    baseline to held; with `more_relief`, it is the rise.
    """
    drop = baseline - held
    return drop if higher_is == "more_unpleasant" else -drop


def relieve(
    table: pd.DataFrame,
    ratings: dict,
    contrasts: list[dict],
    subjects: list[str],
    *,
    excluded: list[str],
    rename: dict[str, str],
    source: str,
) -> pd.DataFrame:
    """Compute relief per subject and contrast; repeated ratings are averaged first.

    Parameters
    ----------
    table : DataFrame
        Ratings as text; a missing cell is NaN.
    ratings : dict
        The section `ratings` of the configuration.
    contrasts : list of dict
        The section `contrasts`.
    subjects, excluded : list of str
        Who is analysed, and who was excluded with a reason.
    rename : dict of str to str
        The table's words for conditions and ours.
    source : {'maps', 'bids'}
        Whose keys a message names: of images, or of BOLD.

    Returns
    -------
    DataFrame
        Columns subject, contrast, relief, baseline, held, in the order of `subjects`; contrasts
        that the ratings do not cover are absent; baseline and held are missing where
        the table has the difference only.

    Raises
    ------
    StudyError
        With all faults at once: unknown columns, duplicates, people without rating (and then
        ratings of people without image, who may be they), values that are not numbers,
        contrasts that no rating covers.
    """
    own, covered = _own_scores(
        table,
        ratings,
        contrasts,
        subjects,
        excluded=excluded,
        rename=rename,
        source=source,
    )
    return _relief(own, covered, ratings, subjects)


def relieve_repeats(
    table: pd.DataFrame,
    ratings: dict,
    contrasts: list[dict],
    subjects: list[str],
    *,
    excluded: list[str],
    rename: dict[str, str],
    source: str,
) -> pd.DataFrame:
    """Compute relief as often as ratings were repeated, for its reliability.

    The ratings of each condition are dealt in turn, in the order of the rows, to as many
    repeats as the condition with the fewest ratings has. Takes what `relieve` does, raises
    what it raises, and returns subject, contrast, repeat (1, 2, ...) and relief; a single
    repeat where a condition was rated once.
    """
    own, covered = _own_scores(
        table,
        ratings,
        contrasts,
        subjects,
        excluded=excluded,
        rename=rename,
        source=source,
    )
    rated = own.groupby(["subject", "of"])
    n_repeats, dealt = rated.size().min(), rated.cumcount()
    pieces = [
        _relief(own[dealt % n_repeats == i], covered, ratings, subjects).assign(
            repeat=i + 1
        )
        for i in range(n_repeats)
    ]
    return pd.concat(pieces, ignore_index=True)[
        ["subject", "contrast", "repeat", "relief"]
    ]


def _own_scores(
    table: pd.DataFrame,
    ratings: dict,
    contrasts: list[dict],
    subjects: list[str],
    *,
    excluded: list[str],
    rename: dict[str, str],
    source: str,
) -> tuple[pd.DataFrame, list[dict]]:
    """Return the ratings of those analysed (subject, of, repeat, score), and what they cover."""
    table, scores, covered = _scores(table, ratings, contrasts, excluded, rename)
    own = scores[scores["subject"].isin(subjects) | scores["subject"].isna()]
    missing = _missing(scores, subjects)
    faults = [
        *(_unknown_people(scores, subjects) if missing else []),
        *_nameless(own),
        *_duplicates(own, ratings),
        *_not_numbers(own),
        *missing,
        *_blank_repeats(own, ratings),
    ]
    faults += _unknown_conditions(contrasts, ratings)
    faults += _misspelled_conditions(table, contrasts, covered, ratings, rename, source)
    if not covered:
        faults.append(
            "no contrast has its ratings; compare contrasts with the section ratings"
        )
    if faults:
        listed = "\n".join(f"  - {fault}" for fault in faults)
        raise StudyError(
            f"{ratings['table']} (ratings.table) has {len(faults)} "
            f"{'fault' if len(faults) == 1 else 'faults'}:\n{listed}\n"
            f"Mend the table, or exclude a subject with its reason in {EXCLUDE_KEY[source]}."
        )
    return own.assign(score=own["score"].astype(float)), covered


def _relief(
    scores: pd.DataFrame, covered: list[dict], ratings: dict, subjects: list[str]
) -> pd.DataFrame:
    """Average the ratings of each condition and take the differences."""
    wide = (
        scores.groupby(["subject", "of"], sort=False)["score"]
        .mean()
        .unstack("of")
        .loc[subjects]
    )
    pieces = [_relief_of(wide, contrast, ratings) for contrast in covered]
    return pd.concat(pieces, ignore_index=True)[RELIEF]


def list_unscanned(
    table: pd.DataFrame,
    ratings: dict,
    contrasts: list[dict],
    subjects: list[str],
    *,
    excluded: list[str],
    rename: dict[str, str],
    source: str,
) -> pd.DataFrame:
    """Count the ratings of people without image, whom `relieve` leaves out.

    Parameters are those of `relieve`.

    Returns
    -------
    DataFrame
        Columns subject, what (rating), n (ratings), reason; as a manifest counts exclusions.
    """
    _, scores, _ = _scores(table, ratings, contrasts, excluded, rename)
    left = scores.dropna(subset=["subject", "score"])
    left = left[~left["subject"].isin(subjects)]
    counts = left.groupby("subject", sort=False).size()
    rows = [(subject, "rating", n, NO_IMAGE[source]) for subject, n in counts.items()]
    return pd.DataFrame(rows, columns=["subject", "what", "n", "reason"])


def _scores(
    table: pd.DataFrame,
    ratings: dict,
    contrasts: list[dict],
    excluded: list[str],
    rename: dict[str, str],
) -> tuple[pd.DataFrame, pd.DataFrame, list[dict]]:
    """Return the table without who is excluded, its scores, and the contrasts they cover."""
    _require_columns(table, ratings)
    people = table[ratings["subject"]].map(plain_subject, na_action="ignore")
    table = table.assign(**{ratings["subject"]: people})[~people.isin(excluded)]
    return table, *_SHAPES[_form(ratings)](table, ratings, contrasts, rename)


def _form(ratings: dict) -> str:
    return next(form for form in _SHAPES if form in ratings)


def _relief_of(wide: pd.DataFrame, contrast: dict, ratings: dict) -> pd.DataFrame:
    if "relief" in ratings:
        sign = -1 if ratings["higher_is"] == "more_unpleasant" else 1
        own = pd.DataFrame({"relief": sign * wide[contrast["name"]]})
        own["baseline"] = own["held"] = float("nan")
    else:
        own = pd.DataFrame(
            {"baseline": wide[contrast["baseline"]], "held": wide[contrast["held"]]}
        )
        own["relief"] = relief(own["baseline"], own["held"], ratings["higher_is"])
    return own.assign(contrast=contrast["name"]).reset_index(names="subject")


def _long(table, ratings, contrasts, rename):
    columns = ratings["long"]
    scores = pd.DataFrame(
        {
            "subject": table[ratings["subject"]],
            "of": table[columns["condition"]].map(lambda word: rename.get(word, word)),
            "repeat": table[columns["repeat"]] if "repeat" in columns else "1",
            "score": table[columns["rating"]],
        }
    )
    covered = _covered(contrasts, set(scores["of"]))
    return _needed(scores, covered), covered


def _wide(table, ratings, contrasts, rename):
    scores = _melt(table, ratings, ratings["wide"])
    covered = _covered(contrasts, set(ratings["wide"]))
    return _needed(scores, covered), covered


def _ready(table, ratings, contrasts, rename):
    covered = [
        contrast for contrast in contrasts if contrast["name"] in ratings["relief"]
    ]
    return _melt(table, ratings, ratings["relief"]), covered


_SHAPES = {"long": _long, "wide": _wide, "relief": _ready}


def _melt(table: pd.DataFrame, ratings: dict, columns: dict[str, str]) -> pd.DataFrame:
    parts = [
        pd.DataFrame(
            {
                "subject": table[ratings["subject"]],
                "of": of,
                "repeat": "1",
                "score": table[column],
            }
        )
        for of, column in columns.items()
    ]
    return pd.concat(parts, ignore_index=True)


def _covered(contrasts: list[dict], conditions: set[str]) -> list[dict]:
    return [
        contrast
        for contrast in contrasts
        if "baseline" in contrast
        and {contrast["baseline"], contrast["held"]} <= conditions
    ]


def _unknown_conditions(contrasts: list[dict], ratings: dict) -> list[str]:
    """List conditions that ratings.wide names and no contrast has: misspelled ones would vanish."""
    known = {
        contrast.get(side) for contrast in contrasts for side in ("baseline", "held")
    }
    return [
        f"ratings.wide names the condition {name}, which no contrast has"
        for name in ratings.get("wide", {})
        if name not in known
    ]


def _misspelled_conditions(
    table: pd.DataFrame,
    contrasts: list[dict],
    covered: list[dict],
    ratings: dict,
    rename: dict,
    source: str,
) -> list[str]:
    """List contrasts without ratings in a long table that rates conditions of no contrast."""
    if "long" not in ratings:
        return []
    words = (
        table[ratings["long"]["condition"]]
        .dropna()
        .map(lambda word: rename.get(word, word))
    )
    sides = [
        {contrast.get(side) for side in ("baseline", "held")} for contrast in contrasts
    ]
    strange = sorted(set(words) - set().union(*sides))
    return [
        f"the contrast {contrast['name']} has no ratings of "
        f"{', '.join(sorted(side - set(words)))}, while the table rates {', '.join(strange)}: "
        f"{RENAME_ADVICE[source]}"
        for contrast, side in zip(contrasts, sides, strict=True)
        if strange and contrast not in covered and "baseline" in contrast
    ]


def _needed(scores: pd.DataFrame, covered: list[dict]) -> pd.DataFrame:
    wanted = {contrast[side] for contrast in covered for side in ("baseline", "held")}
    return scores[scores["of"].isin(wanted)]


def _require_columns(table: pd.DataFrame, ratings: dict) -> None:
    named = {"ratings.subject": ratings["subject"]}
    for form in ("long", "wide", "relief"):
        named |= {
            f"ratings.{form}.{key}": name for key, name in ratings.get(form, {}).items()
        }
    absent = [f"{name} ({key})" for key, name in named.items() if name not in table]
    if absent:
        raise StudyError(
            f"{ratings['table']} (ratings.table) has no column {', '.join(absent)}; it has "
            f"{', '.join(table.columns)}."
        )


def _unknown_people(scores: pd.DataFrame, subjects: list[str]) -> list[str]:
    """List who has a rating but no image, and whose label may be meant."""
    rated = list(dict.fromkeys(scores["subject"].dropna()))
    waiting = {_bare(label): label for label in subjects if label not in rated}
    faults = []
    for subject in rated:
        if subject not in subjects:
            near = waiting.get(_bare(subject))
            hint = f" (sub-{near} has an image but no rating: the same?)"
            faults.append(
                f"sub-{subject} has a rating but no image{hint if near else ''}"
            )
    return faults


def _bare(label: str) -> str:
    """Return a label without case, blanks, prefix and padding."""
    return re.sub(r"^(sub[-_ ]?)?0*", "", label.strip().casefold())


def _nameless(scores: pd.DataFrame) -> list[str]:
    anonymous = int(scores["subject"].isna().sum())
    return [f"{anonymous} ratings have no subject"] if anonymous else []


def _duplicates(scores: pd.DataFrame, ratings: dict) -> list[str]:
    one = ["subject", "of", "repeat"]
    repeated = scores[scores.duplicated(one, keep=False)]
    named = "repeat" in ratings.get("long", {})
    advice = "" if "long" not in ratings else "; ratings.long.repeat tells them apart"
    return [
        f"sub-{subject} has {len(rows)} ratings for {of}"
        + (f", repeat {repeat}" if named else advice)
        for (subject, of, repeat), rows in repeated.groupby(one, sort=False)
    ]


def _blank_repeats(scores: pd.DataFrame, ratings: dict) -> list[str]:
    """List the blanks among repeated ratings: left out unseen, they would shift a mean."""
    if "repeat" not in ratings.get("long", {}):
        return []
    blank = scores[scores["score"].isna() | scores["repeat"].isna()]
    return [
        f"sub-{row.subject}: the rating for {row.of}, repeat {row.repeat}, is blank; remove "
        "the row to average the others"
        for row in blank.itertuples()
    ]


def _not_numbers(scores: pd.DataFrame) -> list[str]:
    given = scores.dropna(subset=["score"])
    number = pd.to_numeric(given["score"], errors="coerce")
    strange = given[~number.abs().lt(float("inf"))]
    return [
        f"sub-{row.subject}: the rating {row.score!r} for {row.of} is not a number"
        for row in strange.itertuples()
    ]


def _missing(scores: pd.DataFrame, subjects: list[str]) -> list[str]:
    given = scores.dropna(subset=["score"])
    rated = set(zip(given["subject"], given["of"], strict=True))
    return [
        f"sub-{subject} has an image but no rating for {of}"
        for of in dict.fromkeys(scores["of"])
        for subject in subjects
        if (subject, of) not in rated
    ]
