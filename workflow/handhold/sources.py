"""Who is in the study: the table of images becomes a manifest, checked before any job runs."""

import hashlib
import re
import string
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from handhold.errors import StudyError

CUES = ("threat", "safe")
CELL = ["subject", "condition", "cue", "contrast", "run"]
FILES = ["image", "variance", "tsnr"]
# Words in an exclusion column that mean: keep.
KEEP = frozenset({"0", "no", "false", "none", "keep"})
# Where a study of each kind, of images or of BOLD, gives the reason to exclude someone.
EXCLUDE_KEY = {"maps": "maps.exclude_column", "bids": "bids.exclude"}
# Correlations and permutations over subjects mean nothing below this.
MIN_SUBJECTS = 3


@dataclass(frozen=True)
class Manifest:
    """The images of a study, walked once.

    `images`: one row per image, columns subject, condition, cue, contrast, run, image,
    variance, tsnr (paths; missing where there is none). `excluded`: subject, what (subject, or
    image where the subject stays), n (images), reason.
    """

    images: pd.DataFrame
    excluded: pd.DataFrame

    @property
    def subjects(self) -> list[str]:
        """Subjects in the order of the table."""
        return list(dict.fromkeys(self.images["subject"]))

    @property
    def excluded_subjects(self) -> list[str]:
        """Subjects without any image left."""
        return list(self.excluded.loc[self.excluded["what"] == "subject", "subject"])

    def of(self, subject: str) -> pd.DataFrame:
        """Return the rows of one subject."""
        return self.images[self.images["subject"] == subject]


def list_images(table: pd.DataFrame, maps: dict, contrasts: list[dict]) -> Manifest:
    """Turn a table of images into a manifest.

    Parameters
    ----------
    table : DataFrame
        As text; a missing cell is NaN.
    maps : dict
        The section `maps` of the configuration; paths start from the folder of `maps["table"]`.
    contrasts : list of dict
        The section `contrasts`, which says what cells or contrasts every subject needs.

    Raises
    ------
    StudyError
        With all faults at once: unknown columns, rows without a subject or an image, unknown
        cues, duplicate rows, an image listed twice, subjects that lack a cell, fewer than
        three subjects.
    """
    _require_columns(table, maps)
    rows = _tidy(table, maps)
    excluded = _exclusions(table, rows, maps)
    gone = excluded.loc[excluded["what"] == "subject", "subject"]
    kept = rows[~rows["subject"].isin(gone) & _included(table, maps)]
    faults = [
        *_incomplete_rows(kept, table, maps),
        *_unknown_cues(kept),
        *_duplicates(kept, table),
        *_shared_images(kept, table),
        *_missing_cells(kept, contrasts),
    ]
    if faults:
        listed = "\n".join(f"  - {fault}" for fault in faults)
        raise StudyError(
            f"{maps['table']} (maps.table) has {len(faults)} "
            f"{'fault' if len(faults) == 1 else 'faults'}; no image was read:\n{listed}\n"
            "Mend the table, or exclude a subject with its reason in maps.exclude_column."
        )
    if kept["subject"].nunique() < MIN_SUBJECTS:
        raise StudyError(
            f"{maps['table']} (maps.table) leaves {kept['subject'].nunique()} subjects "
            f"({len(excluded)} excluded); tests over subjects need at least {MIN_SUBJECTS}."
        )
    return Manifest(kept.reset_index(drop=True), excluded)


def require_files(images: pd.DataFrame) -> None:
    """Refuse a manifest whose files do not exist, naming every one.

    Raises
    ------
    StudyError
        With subject and path of each missing file.
    """
    missing = [
        f"sub-{row['subject']}: {row[kind]}"
        for row in images.to_dict("records")
        for kind in FILES
        if isinstance(row[kind], str) and not _complete(Path(row[kind]))
    ]
    if missing:
        listed = "\n".join(f"  - {line}" for line in missing)
        raise StudyError(
            f"{len(missing)} image files of maps.table do not exist (an .img needs its .hdr):\n"
            f"{listed}\nPaths start from the table's folder; mend them or fetch the files."
        )


def plain_subject(label: str) -> str:
    """Return a subject's label without `sub-`."""
    return label.removeprefix("sub-")


def file_label(subject: str) -> str:
    """Return a file-safe label: BIDS labels as they are, others with a checksum of the text.

    So are labels of more than 40 characters, since file systems bound the length of a name.
    """
    if re.fullmatch(r"[A-Za-z0-9]{1,40}", subject):
        return subject
    safe = re.sub(r"[^A-Za-z0-9]", "", subject)[:40]
    return f"{safe}x{hashlib.sha256(subject.encode()).hexdigest()[:8]}"


def cells_of(contrasts: list[dict]) -> list[tuple[str, str]]:
    """Return every (condition, cue) that contrasts of conditions need, in their order."""
    conditions = dict.fromkeys(
        contrast[side] for contrast in contrasts for side in ("baseline", "held")
    )
    return [(condition, cue) for condition in conditions for cue in CUES]


def _require_columns(table: pd.DataFrame, maps: dict) -> None:
    named = [(f"maps.columns.{role}", name) for role, name in maps["columns"].items()]
    named += [(f"maps.include.{name}", name) for name in maps["include"]]
    if "exclude_column" in maps:
        named.append(("maps.exclude_column", maps["exclude_column"]))
    for key in ("image_template", "variance_template"):
        named += [(f"maps.{key}", name) for name in _named_places(maps, key)]
    absent = [f"{name} ({key})" for key, name in named if name not in table]
    if absent:
        raise StudyError(
            f"{maps['table']} (maps.table) has no column {', '.join(absent)}; it has "
            f"{', '.join(table.columns)}."
        )


def _named_places(maps: dict, key: str) -> list[str]:
    try:
        return _places(maps.get(key, ""))
    except ValueError as error:
        raise StudyError(
            f"maps.{key} is {maps[key]!r}: {error}. Write a column of the table as {{column}}, "
            "and a brace of the path twice."
        ) from error


def _places(template: str) -> list[str]:
    places = [
        part for part in string.Formatter().parse(template) if part[1] is not None
    ]
    odd = [name for _, name, form, turned in places if form or turned or not name]
    if odd:
        raise ValueError(f"the place {{{odd[0]}...}} is more than the name of a column")
    return [name for _, name, _, _ in places]


def _tidy(table: pd.DataFrame, maps: dict) -> pd.DataFrame:
    """Give the table our columns and words, one row per row, faults and all."""
    columns = maps["columns"]
    rows = pd.DataFrame(index=table.index, columns=[*CELL, *FILES], dtype=object)
    for role, name in columns.items():
        rows[role] = table[name]
    rows["subject"] = rows["subject"].map(plain_subject, na_action="ignore")
    for role, words in maps["rename"].items():
        rows[role] = rows[role].map(
            lambda word, words=words: words.get(word, word), na_action="ignore"
        )
    if "contrast" in maps:
        rows["contrast"] = maps["contrast"]
    for role in ("image", "variance"):
        if f"{role}_template" in maps:
            rows[role] = _fill_template(table, maps[f"{role}_template"])
    folder = Path(maps["table"]).parent
    for role in FILES:
        rows[role] = rows[role].map(
            lambda path: _image_of_pair(folder / path), na_action="ignore"
        )
    return rows


def _image_of_pair(path: Path) -> str:
    """Return the .img of a pair that is named by its .hdr, so that both are inputs."""
    return str(path.with_suffix(".img") if path.suffix == ".hdr" else path)


def _fill_template(table: pd.DataFrame, template: str) -> pd.Series:
    needed = list(dict.fromkeys(_places(template)))
    complete = table[needed].notna().all(axis=1)
    # put in by name alone: str.format would look up attributes and items, and pad
    parts = [(text, name) for text, name, _, _ in string.Formatter().parse(template)]
    filled = [
        "".join(text + ("" if name is None else str(row[name])) for text, name in parts)
        for row in table[needed].to_dict("records")
    ]
    return pd.Series(filled, index=table.index, dtype=object).where(complete)


def _included(table: pd.DataFrame, maps: dict) -> pd.Series:
    keep = pd.Series(True, index=table.index)
    for column, values in maps["include"].items():
        keep &= table[column].isin(values)
    return keep


def _exclusions(table: pd.DataFrame, rows: pd.DataFrame, maps: dict) -> pd.DataFrame:
    """Count the images that columns exclude, of whole subjects or single ones, with reasons."""
    reasons = pd.Series(index=table.index, dtype=object)
    for column, values in maps["include"].items():
        stranger = ~table[column].isin(values) & reasons.isna()
        reasons[stranger] = f"{column} is not {' or '.join(values)} (maps.include)"
    if "exclude_column" in maps:
        text = table[maps["exclude_column"]]
        marked = text.notna() & ~text.str.lower().isin(KEEP)
        subjects = rows.loc[marked, "subject"]
        by_subject = text[marked].set_axis(subjects).groupby(level=0).first()
        of_row = rows["subject"].map(by_subject)
        reasons[of_row.notna()] = [
            f"{reason} (column {maps['exclude_column']})" for reason in of_row.dropna()
        ]
    named = rows["subject"].fillna("n/a")
    marked = pd.DataFrame({"subject": named, "reason": reasons}).dropna()
    counted = (
        marked.groupby(["subject", "reason"], sort=False)
        .size()
        .rename("n")
        .reset_index()
    )
    # rows left out by maps.include do not exclude the subject's other rows
    partly = counted["subject"].isin([*rows.loc[reasons.isna(), "subject"], "n/a"])
    counted["what"] = np.where(partly, "image", "subject")
    return counted[["subject", "what", "n", "reason"]]


def _line(table: pd.DataFrame, index: int) -> str:
    # line 1 of the file is the header
    return f"line {table.index.get_loc(index) + 2}"


def _incomplete_rows(rows: pd.DataFrame, table: pd.DataFrame, maps: dict) -> list[str]:
    # a row that does not say what its image holds would be left out without a word
    needed = ["subject", "image"]
    needed += [role for role in CELL[1:4] if role in maps["columns"]]
    return [
        f"{_line(table, index)}: no {role}"
        for role in needed
        for index in rows.index[rows[role].isna()]
    ]


def _unknown_cues(rows: pd.DataFrame) -> list[str]:
    strange = sorted(set(rows["cue"].dropna()) - set(CUES))
    return [
        f"the cue {cue} ({(rows['cue'] == cue).sum()} rows) is not threat or safe; "
        "map the table's words with maps.rename.cue"
        for cue in strange
    ]


def _name(row: dict) -> str:
    parts = [str(row[part]) for part in CELL[1:] if isinstance(row[part], str)]
    return f"sub-{row['subject']} {' '.join(parts)}".strip()


def _duplicates(rows: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    repeated = rows[rows.duplicated(CELL, keep=False) & rows["subject"].notna()]
    return [
        f"{_name(group.iloc[0].to_dict())} is listed {len(group)} times "
        f"({', '.join(_line(table, index) for index in group.index)})"
        for _, group in repeated.groupby(CELL, sort=False, dropna=False)
    ]


def _shared_images(rows: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    distinct = rows[~rows.duplicated(CELL, keep=False)].dropna(subset=["image"])
    shared = distinct[distinct.duplicated("image", keep=False)]
    return [
        f"{image} is listed for {', '.join(_name(row) for row in group.to_dict('records'))}"
        for image, group in shared.groupby("image", sort=False)
    ]


def _missing_cells(rows: pd.DataFrame, contrasts: list[dict]) -> list[str]:
    needed = set()
    for contrast in contrasts:
        if "image" in contrast:
            needed.add((contrast["image"],))
        else:
            needed |= {
                (contrast[side], cue) for side in ("baseline", "held") for cue in CUES
            }
    if rows.empty:
        return []  # whoever was left out, and why, says more
    everyone = _cells(rows)
    faults = [
        f"no row has {' '.join(cell)} (needed by contrasts); the table has "
        f"{', '.join(sorted(' '.join(map(str, other)) for other in everyone))}"
        for cell in sorted(needed - everyone)
    ]
    needed &= everyone
    for subject, own in rows.groupby("subject", sort=False):
        cells = _cells(own)
        faults += [
            f"sub-{subject} has no image for {' '.join(cell)} (needed by contrasts)"
            for cell in sorted(needed - cells)
        ]
    return faults


def _cells(rows: pd.DataFrame) -> set[tuple]:
    """Return the cells (condition and cue, or contrast) that rows hold."""
    pairs = rows[["condition", "cue"]].dropna().itertuples(index=False, name=None)
    return {*pairs, *((name,) for name in rows["contrast"].dropna())}


def _complete(path: Path) -> bool:
    try:
        if path.suffix == ".img":
            return path.is_file() and path.with_suffix(".hdr").is_file()
        return path.is_file()
    except OSError:  # a name that no file system takes
        return False
