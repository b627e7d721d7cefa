"""Tables for the paper: what a co-author would print of each table of tests, regions and maps.

The rows that decide and the columns that are read, rounded by `tables`; every row and column
stands in the results tables.
"""

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from handhold import tables
from handhold.io import column_kinds

# Columns of each table; `interval` joins two bounds. What no row has is left out.
COLUMNS = {
    "attenuation": "definition region contrast n effect interval hedges_g p_fwe bf10 verdict",
    "correspondence": "contrast scope method n_parcels effect null_band p_map p_subject p verdict",
    "tracking": "definition region contrast n effect interval p_fwe partial_r partial_interval "
    "p_partial_fwe bf10 verdict",
    "coupling": "contrast n effect interval p partial_r partial_interval p_partial bf10 verdict",
    "specificity": "label contrast n_parcels effect null_band p_fwe p_difference_fwe vif verdict",
}
CAPTIONS = {
    "attenuation": "Attenuation by region of interest, in {unit}: means over people with their "
    "{level} intervals, p by sign flips, family-wise over regions and contrasts (FWE)",
    "correspondence": "Correlation of attenuation with {target} over parcels, judged by "
    "surrogate maps (map null) and over people (subject null); the larger p counts",
    "tracking": "Correlation of attenuation with relief over people by region of interest, with "
    "{level} intervals; p by permutation, family-wise over regions (FWE)",
    "coupling": "Correlation of coupling with {target} and relief over people, with {level} "
    "intervals; p by permutation",
    "specificity": "Correlation of attenuation with each receptor map over the same parcels; p "
    "under shared surrogate maps, family-wise over maps (FWE)",
}
# Scopes of the correspondence that have no verdict.
DESCRIPTIVE = ("voxels", "rois")


class PaperTable(NamedTuple):
    """A table with its name, caption and the headings that differ from `tables.LABELS`."""

    name: str
    table: pd.DataFrame
    caption: str
    labels: Mapping[str, str]
    question: str = ""


def arrange(
    results: Mapping[str, pd.DataFrame], study: Mapping
) -> dict[str, PaperTable]:
    """Arrange every table of a study's paper, by name.

    `results` are tables as text by path; `study` as `handhold.methods.write_paper` takes it.
    """
    chosen = {
        "unit": study["unit"],
        "target": study["maps"][0]["label"],
        "level": study["config"]["tests"]["level"],
    }
    tests = [
        choose_tests(name, results[f"tests/{name}"], **chosen)
        for name in COLUMNS
        if f"tests/{name}" in results
    ]
    regions = list_regions(results["regions/definitions"], results["regions/rois"])
    return {each.name: each for each in (*tests, regions, list_maps(study["maps"]))}


def choose_tests(
    name: str, tests: pd.DataFrame, *, unit: str, target: str, level: float
) -> PaperTable:
    """Choose what a paper prints of a table of tests.

    Parameters
    ----------
    name : str
        A key of `COLUMNS`.
    tests : DataFrame
        Cells as text, or numbers.
    unit, target : str
        Unit of attenuation; label of the hypothesised map.
    level : float
        Of the intervals.
    """
    question = str(tests["question"].iloc[0])
    rows = tests[tests["role"] == "hypothesised"] if "role" in tests else tests
    if "scope" in rows:
        rows = rows[~rows["scope"].isin(DESCRIPTIVE)]
    rows = tables.with_intervals(rows, question)
    said = CAPTIONS[name].format(
        unit=unit, target=target, level=tables.display(level, "share")
    )
    shown = [
        column
        for column in COLUMNS[name].split()
        if column in rows and not rows[column].map(tables.is_missing).all()
    ]
    # what is the same in every row is said once
    same = [
        c for c in ("definition", "contrast") if c in shown and rows[c].nunique() == 1
    ]
    if len(rows):
        said += "".join(f"; {column} {rows[column].iloc[0]}" for column in same)
    return PaperTable(
        name,
        rows[[column for column in shown if column not in same]],
        f"{said}.",
        labels_at(level, question),
        question,
    )


def labels_at(level: float, question: str = "") -> dict[str, str]:
    """Name the columns whose name states the level of the intervals, or depends on the question."""
    share = tables.display(level, "share")
    labels = {
        "interval": f"{share} interval",
        "partial_interval": f"its {share} interval",
        "null_band": f"Middle {share} of null",
    }
    return labels | (
        {"effect": "r"} if question in tables.CORRELATION_QUESTIONS else {}
    )


def list_regions(definitions: pd.DataFrame, rois: pd.DataFrame) -> PaperTable:
    """List the hypothesised ROIs: labels of the atlas, centre of mass, volume, measured voxels."""
    own = definitions[
        (definitions["kind"] == "roi") & (definitions["role"] == "hypothesised")
    ]
    voxels = rois.assign(n_voxels=pd.to_numeric(rois["n_voxels"]))
    median = voxels.groupby(["definition", "region"])["n_voxels"].median()
    keys = zip(own["definition"], own["region"], strict=True)
    table = own[["definition", "region", "labels", "x", "y", "z", "volume"]].assign(
        labels=own["labels"].str.replace("|", ", ", regex=False),
        n_voxels=[median.get(key, float("nan")) for key in keys],
    )
    return PaperTable(
        "regions",
        table,
        "Regions of interest: labels of the atlas, centre in MNI space (mm), volume in the atlas "
        "(mm³) and voxels that were measured (median over images).",
        {"n_voxels": "Voxels", "x": "x", "y": "y", "z": "z"},
    )


def list_maps(maps: list[dict]) -> PaperTable:
    """List the receptor maps, the target first, each with its source and licence."""
    columns = ["label", "unit", "citation", "doi", "licence"]
    return PaperTable(
        "maps",
        pd.DataFrame(maps)[columns],
        "Receptor maps, the hypothesised one first.",
        {"label": "Map", "doi": "DOI"},
    )


def describe(table: PaperTable) -> dict[str, dict]:
    """Return the JSON sidecar of a table: what each column means."""
    known = column_kinds()
    return {
        column: {
            "Description": known[column]["description"]
            if column in known
            else tables.label_of(column, table.labels)
        }
        for column in table.table
    }


def render(table: PaperTable, suffix: str) -> str:
    """Render a table as .tsv, .html or .tex, by the suffix."""
    name, shown, caption, labels, question = table
    if suffix == ".tsv":
        return tables.to_tsv(shown, question=question)
    if suffix == ".html":
        return tables.to_html(shown, caption=caption, labels=labels, question=question)
    return tables.to_latex(
        shown, caption=caption, labels=labels, question=question, name=name
    )
