"""Render the page that answers the study: report.html, one file, no request leaves it.

Nothing is computed: a number on the page is a cell of a table, rounded by `tables`,
and each table names the file it came from. Text, labels and ids may be hostile; all
are escaped, and the page's Content-Security-Policy lets nothing run but its own scripts.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import quote

import jinja2
import pandas as pd
from markupsafe import Markup

from handhold import captions, svg, tables
from handhold.families import FAMILIES
from handhold.verdicts import ADJUSTED, TESTS, word_fact

# Figures of a question: those of this name, or of this name and a suffix ("-partner").
FIGURES = {
    "look": ("glass", "rois"),
    "Q1": ("attenuation",),
    "Q2": ("correspondence",),
    "Q3": ("tracking",),
    "Q4": ("coupling",),
    "Q5": ("specificity",),
    "runs": ("runs",),
    "regions": ("cells", "registration", "coverage", "tsnr"),
    "calibration": ("calibration", "power"),
}
# What the page shows of a table; the TSV has every column. `interval` joins low and high.
SHOWN = {
    "Q1": "n effect interval hedges_g p_fwe bf10 verdict",
    "Q2": (
        "contrast scope method receptor null_method n n_parcels effect "
        "null_band p_map p_moran p_variogram p_gaussian p_subject p "
        "mean_r interval bf10 p_map_of_attenuation p_naive verdict"
    ),
    "Q3": (
        "n effect interval skipped p_fwe bf10 partial_r partial_interval p_partial_fwe "
        "bf10_partial ceiling verdict"
    ),
    "Q4": (
        "contrast receptor n effect interval spearman skipped p bf10 partial_r "
        "partial_interval p_partial bf10_partial loo_low loo_high ceiling detectable_r verdict"
    ),
    "Q5": (
        "label null_method contrast n_parcels effect null_band p_fwe p_fwe_moran p_fwe_variogram "
        "p_fwe_gaussian difference p_difference_fwe r_with_target "
        "r_with_y vif verdict"
    ),
}
# The same of the tables of data quality.
OF_RUNS = (
    "subject session run n_volumes censored mean_fd max_fd n_over_fd n_columns df largest_vif "
    "largest_r_motion largest_high_pass_loss"
)
OF_REGRESSORS = (
    "subject session run regressor vif most_alike r_most_alike motion_parameter r_motion "
    "high_pass_loss n_events n_censored_events n_late_events"
)
# Columns that many a study has no use for: left out where no row has a value.
OPTIONAL = {
    *("session", "run", "definition", "contrast"),
    # of studies that have no baselines
    *("partial_r", "partial_interval", "p_partial", "p_partial_fwe", "bf10_partial"),
    # of tests that could be given to every row, and need no warning
    *("refused", "warnings", "n_voxels"),
}
# What the p of a family of nulls is where that family decides.
REPEATS = {f"p_{family}": "p_map" for family in FAMILIES}
REPEATS |= {f"p_fwe_{family}": "p_fwe" for family in FAMILIES}
# Columns that stay where they say the same throughout: that they do is the finding.
KEPT = (
    "subject",
    "verdict",
    "verdict_before",
    "agreement",
    "reason",
    "holds",
    "meaning",
)
ON_CARDS = {
    "Q1": "region n effect interval p_fwe bf10",
    "Q2": "n effect null_band p mean_r interval bf10",
    "Q3": "region n effect interval p_fwe bf10",
    "Q4": "n effect interval p bf10",
    "Q5": "n_parcels effect null_band p_fwe",
}
# The same where the model at equal baselines decides.
ON_ADJUSTED_CARDS = {
    "Q3": "region n partial_r partial_interval p_partial_fwe bf10_partial",
    "Q4": "n partial_r partial_interval p_partial bf10_partial",
}
# Headings that fit on a card, whose sentence says what is held constant.
HELD_ON_CARDS = {
    "partial_r": "Partial r",
    "partial_interval": "{level} interval",
    "p_partial_fwe": "p (FWE)",
    "p_partial": "p",
    "bf10_partial": "BF10",
}


NULL_BAND = {"null_band": "Middle {level} of null"}


class Beside(NamedTuple):
    """A table below that of a question's own tests: where, what it says, what is shown of it."""

    path: str
    heading: str
    note: str
    columns: str
    labels: Mapping[str, str]
    # whether its effects are of the kind of the question's own: correlations, or means
    is_alike: bool = False
    # the column without which a row says nothing; a table of such rows alone is not shown
    needs: str = ""
    # whether it is the rows of the question's own table that have no verdict
    is_rest: bool = False


COVERAGE = Beside(
    "tests/sensitivity",
    "With regions that are covered less",
    "The same tests with cells kept from a lower coverage up (regions.sensitivity_coverage); "
    "no verdict rests on them.",
    "definition region role contrast min_coverage n effect p_fwe bf10 verdict verdict_before",
    {"effect": "Effect", "verdict_before": "Verdict above"},
    is_alike=True,
)
BESIDE = {
    "Q1": (
        Beside(
            "tests/interaction",
            "Here but not there: differences between ROIs",
            "Attenuation in the first ROI minus that in the second, in the unit of the effects, "
            "over the same people. p by sign flips, family-wise over pairs and contrasts. That one "
            "ROI is supported and another is not does not show that they differ; this does.",
            "definition region other_region contrast n effect interval p_fwe bf10",
            {"effect": "Difference", "region": "ROI", "other_region": "Other ROI"},
        ),
        COVERAGE,
    ),
    "Q2": (
        Beside(
            "tests/correspondence",
            "Over voxels, and over the ROIs alone",
            "The same correlation at other grains. Descriptive: no verdict rests on it.",
            "contrast scope definition method receptor null_method n n_parcels n_voxels effect "
            "null_band p_map p_subject mean_r interval bf10",
            {**NULL_BAND, "effect": "r", "interval": "{level} interval of mean r"},
            is_alike=True,
            is_rest=True,
        ),
    ),
    "Q3": (
        Beside(
            "reliability",
            "How reliable are attenuation and relief?",
            "Share of the variance between people that is theirs and not the occasion's: ICC of "
            "one repeat, reliability of the mean over all repeats (basis: what was repeated). The "
            "largest observable r is the root of the product of both reliabilities.",
            "measure definition region contrast basis n n_repeats icc reliability interval",
            {"basis": "Repeats of"},
            needs="reliability",
        ),
        Beside(
            "tests/within",
            "Within people: is a calmer trial rated less unpleasant?",
            "Slope of unpleasantness on the effect of single rated trials, in points per unit of "
            "the effect; above 0, a calmer trial of the same person is rated less unpleasant. "
            "Runs and a trend over the run are taken out person by person, so that neither the "
            "condition nor time makes a slope. Mixed model with Satterthwaite's df; p (FWE) by "
            "flipping the signs of people's own slopes, over ROIs, decides, since the mixed "
            "model's own p and interval suppose independent trials. The slope between people is "
            "beside it. Single trials are estimated with noise, which draws a slope towards 0.",
            "definition region contrast n n_trials effect interval df p_t p_fwe between "
            "between_interval icc_effect icc_rating n_left_out verdict refused",
            {"effect": "Slope within", "p_t": "p (mixed model)"},
        ),
        Beside(
            "tests/mediation",
            "Within people: how much of relief goes along with the calmer trials?",
            "Mediation over trials (1-1-1), averaged over people: a, how far the effect lies below "
            "that at baseline; b, points of unpleasantness per unit of effect at equal condition "
            "and run; total, how far unpleasantness lies below that at baseline = direct + "
            "indirect (a times b, person by person). Intervals resample people; p (FWE) is of the "
            "indirect part. Not causal: neither the response nor the rating was assigned, and "
            "whatever moves both looks the same.",
            "definition region contrast n n_trials a b direct total indirect indirect_interval "
            "p_fwe n_left_out refused",
            {},
        ),
        COVERAGE,
    ),
    "Q5": (
        Beside(
            "tests/partials",
            "The target with other maps held constant",
            "Pearson, within structures. R2 is the share of the target that the maps held "
            "constant explain; the nearer to 1, the less of it is left to follow.",
            "contrast given n_parcels unadjusted effect null_band p_map p_subject p mean_r "
            "interval r_squared warnings",
            {**NULL_BAND, "effect": "r"},
            is_alike=True,
        ),
        Beside(
            "tests/joint",
            "All receptor maps in one model",
            "Weights are standardised, each with all other maps held constant; the band is that "
            "of the weight's nulls. Dominance is what a map adds to R2 on average over all models "
            "of the others; it describes prediction, not which receptor is at work.",
            "contrast label weight null_band p p_fwe vif dominance dominance_share gain_alone "
            "gain_last dominates model_r_squared p_model warnings",
            {**NULL_BAND, "label": "Map"},
            is_alike=True,
        ),
    ),
}
HEADINGS = {
    "Q1": {},
    "Q2": {
        **NULL_BAND,
        "effect": "r",
        "interval": "{level} interval of mean r",
        "bf10": "BF10 of mean r",
    },
    "Q3": {"effect": "r"},
    "Q4": {"effect": "r"},
    "Q5": {
        **NULL_BAND,
        "effect": "r",
        "label": "Map",
        "difference": "Target's r less this",
        # of the map against its nulls, not of the question
        "verdict": "Map followed",
    },
}
VERDICT_CLASSES = {
    "supported": "supported",
    "evidence against": "against",
    "inconclusive": "inconclusive",
}
# Rows that the page shows of a table; of longer ones it says so, and where the others are.
MOST_ROWS = 200
# A figure wider than this (mm) fills the page; one that is not keeps its size.
HALF_PAGE = 120
DEPENDS = "depends on definition"


def render(
    study: Mapping,
    results: Mapping[str, pd.DataFrame],
    verdicts: Mapping,
    figures: Mapping[str, tuple[str | bytes, str, str]],
    parts: Mapping[str, str],
    look: Mapping | None = None,
) -> str:
    """Render the report.

    Parameters
    ----------
    study : mapping
        title (str) and, where known: study, source, unit, level (float; of the intervals), act
        (str; what is to lower the response), no_trials (str, why trials were not followed
        within people), config (str, resolved YAML), simulated and
        contrast_only (bool), modelled_maps and expression_maps (lists of names), versions
        (name to version), inputs (list of {path, sha256}), citations (list of {what, citation,
        licence}); and, as `provenance.study_facts` gathers them, paper, run, skipped, files, and
        the tables checklist, steps and checksums.
    results : mapping of str to DataFrame
        Results tables under their path without '.tsv' ('tests/attenuation'), as
        read, of type str or mixed. One that is not given is not shown.
    verdicts : mapping
        verdicts.json. `inputs` of a question are the rows that it rests on.
    figures : mapping of str to (SVG text or PNG bytes, alternative text, caption)
        Under a name of `FIGURES`, with or without a suffix ('correspondence-partner').
    parts : mapping of str to str
        Texts of workflow/report by name: report.html.j2, its sections, styles and scripts.
    look : mapping, optional
        What section Look holds, as `viewer.embed` gives it.

    Returns
    -------
    str
        The page.

    Raises
    ------
    ValueError
        If a script or a style holds what would end its element early.
    """
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(dict(parts)),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    study = {**_STUDY, **study}
    level = f"{100 * study['level']:g} %"
    styles, scripts = _embedded(parts, "css"), _embedded(parts, "js")
    return environment.get_template("report.html.j2").render(
        study=study,
        level=level,
        styles=styles,
        scripts=scripts,
        policy=content_policy([*scripts, *_programs(look)], styles),
        look=look,
        look_figures=_figures("look", figures),
        thresholds=[
            (name, f"{value:.3g}")
            for name, value in verdicts.get("rule", {}).items()
            if name != "rules"
        ],
        rules=_rules(verdicts.get("rule", {})),
        combination=verdicts.get("combination", {}),
        questions=[
            _question(q, results, figures, level, study.get("unit", ""))
            for q in verdicts["questions"]
        ],
        other_figures=_other_figures(figures),
        calibration=_calibration(results, figures, level),
        stages=_table(results, "exclusions_by_stage", "What was excluded, by stage"),
        exclusions=_table(results, "exclusions", "What was excluded, and why"),
        runs=_runs(results, figures) if "qc/summary" in results else None,
        region_figures=_figures("regions", figures),
        dropped=_dropped(results),
        overlap=_table(results, "regions/overlap", "Overlap of the ROI definitions"),
        links=[(name, _link(name)) for name in results],
        versions=_mapping_table(study.get("versions", {}), "Name", "Version"),
        inputs=_records_table(
            study.get("inputs", []), ["path", "sha256"], "provenance/inputs.tsv"
        ),
        citations=_records_table(
            study.get("citations", []), ["what", "citation", "licence"]
        ),
        checklist=_given(study.get("checklist")),
        steps=_given(study.get("steps")),
        checksums=_given(study.get("checksums"), "provenance/results.tsv"),
    )


def _rules(rule: Mapping) -> list[dict]:
    """List the lines of the rule table, their facts in words."""
    return [
        {**line, "if": [word_fact(fact, rule) for fact in line["if"]]}
        for line in rule.get("rules", [])
    ]


_STUDY = {
    "study": "",
    "source": "",
    "unit": "",
    "level": 0.95,
    "act": "holding",
    "config": "",
    "simulated": False,
    "contrast_only": False,
    "modelled_maps": [],
    "no_trials": "",
    "expression_maps": [],
    "paper": None,
    "run": None,
    "skipped": [],
    "files": [],
}


def content_policy(scripts: Sequence[str], styles: Sequence[str]) -> str:
    """Write the Content-Security-Policy that lets these run and style, and nothing else.

    Parameters
    ----------
    scripts, styles : sequence of str
        What stands between the tags, to the letter.

    Returns
    -------
    str
        Nothing may be fetched, sent or framed; images are those that the page holds.

    Examples
    --------
    >>> content_policy([], ["p {}"]).split("; ")[2:4]
    ["style-src 'sha256-SNJDlN1Iy2mnt7DOjQIyDb2LQE6O5PQiSZomcdzawQ4='", "script-src 'none'"]
    """
    allowed = {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": " ".join(map(_sha256, styles)) or "'none'",
        "script-src": " ".join(map(_sha256, scripts)) or "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{what} {whence}" for what, whence in allowed.items())


def lay_side_by_side(
    tests: pd.DataFrame, overlap: pd.DataFrame | None, columns: Sequence[str]
) -> pd.DataFrame:
    """Put the ROI definitions of a table of tests beside each other.

    Parameters
    ----------
    tests : DataFrame
        One row per definition, region, hemisphere and contrast, with `columns`.
    overlap : DataFrame or None
        regions/overlap.tsv: region, definition_a, definition_b and dice.
    columns : sequence of str
        What to show under each definition.

    Returns
    -------
    DataFrame
        One row per region and contrast; columns of two levels, (definition, column),
        then Dice per pair of definitions and whether the verdicts agree.
    """
    definitions = list(dict.fromkeys(tests["definition"]))
    rows: dict[tuple, dict] = {}
    for row in tests.to_dict("records"):
        key = (row["region"], row.get("hemisphere", ""), row["contrast"])
        rows.setdefault(key, {})[row["definition"]] = row
    laid = []
    for (region, side, contrast), found in rows.items():
        line = {("", "region"): region, ("", "side"): side, ("", "contrast"): contrast}
        if len(definitions) > 1:
            line |= _agreement(region, found, overlap)
        for definition in definitions:
            row = found.get(definition, {})
            line |= {(definition, c): row.get(c, tables.MISSING) for c in columns}
        laid.append(line)
    # Regions seldom have the same Dice columns: those found in any come before the tests.
    order = sorted(
        dict.fromkeys(c for line in laid for c in line), key=_is_of_tests(definitions)
    )
    table = pd.DataFrame(
        [[line.get(c, tables.MISSING) for c in order] for line in laid]
    )
    table.columns = pd.MultiIndex.from_tuples(order)
    is_told_apart = tests.groupby("region")["contrast"].value_counts().max() > len(
        definitions
    )
    return table if is_told_apart else table.drop(columns=[("", "side")])


def _is_of_tests(definitions: list[str]) -> Callable[[tuple], bool]:
    return lambda column: column[0] in definitions


def _agreement(region: str, found: dict, overlap: pd.DataFrame | None) -> dict:
    """Say whether one verdict holds for all definitions; give Dice per pair of them."""
    said = {row.get("verdict") for row in found.values()}
    same = "agree" if len(found) > 1 else "one definition"
    line = {("", "agreement"): DEPENDS if len(said) > 1 else same}
    if overlap is not None:
        for row in overlap[overlap["region"] == region].to_dict("records"):
            pair = f"{row['definition_a']} and {row['definition_b']}"
            line[(pair if len(found) > 2 else "", "dice")] = row["dice"]
    return line


def _question(
    question: Mapping, results: Mapping, figures: Mapping, level: str, unit: str
) -> dict:
    """Gather what the page shows of one question; `unit` is that of attenuation."""
    name = question["question"]
    headings = dict(HEADINGS.get(name, {}))
    if name == "Q1" and unit:
        headings["effect"] = f"Mean ({unit})"
    inputs = question.get("inputs") or []
    inputs = [inputs] if isinstance(inputs, Mapping) else inputs
    rows = tables.with_intervals(pd.DataFrame(inputs), name)
    is_adjusted = "model" in rows and (rows["model"] == ADJUSTED).all()
    on_cards = (
        ON_ADJUSTED_CARDS if is_adjusted and name in ON_ADJUSTED_CARDS else ON_CARDS
    )
    columns = _present(on_cards.get(name, ""), rows)
    verdict = str(question["verdict"])
    return {
        **{key: question[key] for key in ("title", "sentence", "reason")},
        "name": name,
        "verdict": verdict,
        "verdict_class": VERDICT_CLASSES.get(verdict, "not-run"),
        "numbers": (
            _html(
                rows[columns],
                name,
                {**headings, **HELD_ON_CARDS},
                level=level,
                source=f"{TESTS[name]}.tsv",
            )
            if columns and len(rows)
            else None
        ),
        "figures": _figures(name, figures),
        "table": (
            _tests_table(name, results, headings, level)
            if verdict != "not run"
            else None
        ),
        "beside": _beside_all(name, results, level) if verdict != "not run" else [],
        "notes": _notes(name, results),
    }


def _beside_all(name: str, results: Mapping, level: str) -> list[dict]:
    """Render the tables below a question's own that the study has."""
    present = [each for each in BESIDE.get(name, ()) if each.path in results]
    entries = [(each, _beside(each, name, results, level)) for each in present]
    return [entry for each, entry in entries if entry["html"] or not each.is_rest]


def _beside(beside: Beside, name: str, results: Mapping, level: str) -> dict:
    table = results[beside.path]
    if "question" in table:
        table = table[table["question"] == name]
    kind = name if beside.is_alike else ""
    if beside.is_rest:
        table = table[~_is_judged(table)]
    table = tables.with_intervals(table, kind)
    if beside.needs and table[beside.needs].map(tables.is_missing).all():
        table = table.iloc[:0]
    shown = table[_present(beside.columns, table)]
    path = f"{beside.path}.tsv"
    html = _html(shown, kind, beside.labels, level=level, source=path)
    return {
        "heading": beside.heading,
        "note": beside.note,
        "html": html if len(table) else None,
        "caption": f"{beside.heading} ({name})",
        "absent": "Not known for any." if beside.needs else "None.",
        "id": f"table-{name}-{_slug(beside.path)}",
        "path": path,
        "link": _link(beside.path),
    }


def _notes(name: str, results: Mapping) -> list[str]:
    """Say of the rows without a verdict why they have none, each reason once."""
    path = TESTS.get(name, "")
    if path not in results or not {"scope", "verdict", "reason"} <= {*results[path]}:
        return []
    bare = results[path][~_is_judged(results[path])]
    return [*dict.fromkeys(f"{row.scope} ({row.reason})" for row in bare.itertuples())]


def _is_judged(tests: pd.DataFrame) -> pd.Series:
    """Tell which rows have a verdict; all, where no part of the table is to go without."""
    if not {"scope", "verdict"} <= {*tests}:
        return pd.Series(True, tests.index)
    return ~tests["verdict"].map(tables.is_missing)


def _tests_table(
    name: str, results: Mapping, headings: Mapping, level: str
) -> dict | None:
    """Render the table of a question's tests, definitions side by side."""
    path = TESTS.get(name, "")
    if path not in results or results[path].empty:
        return None
    judged = _is_judged(results[path])
    tests = tables.with_intervals(
        results[path][judged if judged.any() else ~judged], name
    )
    columns = _without_repeats(_present(SHOWN[name], tests), tests)
    if {"definition", "region"} <= {*tests.columns}:
        tests = lay_side_by_side(tests, results.get("regions/overlap"), columns)
    else:
        tests = tests[columns]
    source = f"{path}.tsv"
    return {
        "html": _html(tests, name, headings, level=level, source=source),
        "caption": f"{name}, table of tests",
        "id": f"table-{name}",
        "path": source,
        "link": _link(path),
    }


def _without_repeats(columns: Sequence[str], tests: pd.DataFrame) -> list[str]:
    """Leave out the p of a family of nulls that only repeats the p that it decides."""
    return [c for c in columns if not (c in REPEATS and _repeats(c, tests))]


def _repeats(column: str, tests: pd.DataFrame) -> bool:
    given = tests[~tests[column].map(tables.is_missing)]
    return bool((given[column] == given[REPEATS[column]]).all())


def _present(wanted: str, rows: pd.DataFrame) -> list[str]:
    """List the wanted columns that there are, without optional ones that hold nothing."""
    return [
        column
        for column in wanted.split()
        if column in rows.columns
        and not (column in OPTIONAL and rows[column].map(tables.is_missing).all())
    ]


def _figures(name: str, figures: Mapping) -> list[dict]:
    return [
        _figure(found, *figures[found])
        for stem in FIGURES.get(name, ())
        for found in figures
        if _is_of(found, stem)
    ]


def _other_figures(figures: Mapping) -> list[dict]:
    stems = [stem for stems in FIGURES.values() for stem in stems]
    others = [f for f in figures if not any(_is_of(f, stem) for stem in stems)]
    return [_figure(name, *figures[name]) for name in others]


def _is_of(name: str, stem: str) -> bool:
    return name == stem or name.startswith(f"{stem}-")


def _figure(name: str, image: str | bytes, alt: str, caption: str) -> dict:
    """Put an SVG into the page, so that its marks can be chosen; anything else as data."""
    identity = f"figure-{_slug(name)}"
    return {
        **_drawing(image, identity),
        "alt": alt,
        "is_wide": _width(image) > HALF_PAGE,
        "caption": caption,
        "id": identity,
        "link": _relative(PurePosixPath("figures", name)),
    }


def _drawing(image: str | bytes, identity: str) -> dict[str, str]:
    """Return the `svg` element, or where the image cannot be one the `src` of an img."""
    kind, raw = "png", image
    if isinstance(image, str):
        try:
            return {"svg": Markup(svg.inline(image, identity)), "src": ""}
        except ValueError:  # an img lets nothing in it run either
            kind, raw = "svg+xml", image.encode("utf-8")
    encoded = base64.b64encode(raw).decode("ascii")
    return {"svg": "", "src": f"data:image/{kind};base64,{encoded}"}


def _width(image: str | bytes) -> float:
    """Read how wide an image is meant to be, in millimetres; of a PNG at 200 dpi."""
    if isinstance(image, bytes):
        return int.from_bytes(image[16:20], "big") / 200 * 25.4
    found = re.search(r"<svg[^>]*?\bwidth=\"([0-9.]+)pt\"", image)
    return float(found[1]) / 72 * 25.4 if found else 0.0


def _runs(results: Mapping, figures: Mapping) -> dict:
    """Gather what the page shows of the runs of BOLD."""
    row = results["qc/summary"].iloc[0]
    shown = {
        name: tables.display(row[name], tables.kind_of(name)) for name in row.index
    }
    review, regressors = results["qc/review"], results["qc/regressors"]
    warned = _warned(review)[["subject", "session", "run", "warnings"]]
    cells = _warned(regressors)[OF_REGRESSORS.split()]
    return {
        "summary": shown,
        "link": _link("qc/summary"),
        "figures": _figures("runs", figures),
        "tables": [
            _entry(warned, "qc/review", "Runs with warnings"),
            _entry(cells, "qc/regressors", "Regressors with warnings"),
            _entry(review[OF_RUNS.split()], "qc/review", "All runs"),
        ],
    }


def _calibration(results: Mapping, figures: Mapping, level: str) -> dict | None:
    """Gather what the page shows of the calibration, if it was run for the page."""
    if "calibration" not in results:
        return None
    table, needed = results["calibration"], results["sample_size"]
    own = captions.of_own_size(table)
    own = own[(own["decides"] == "true") | (own["question"] == "Q2")]
    bounds = zip(own["low"], own["high"], strict=True)
    own = own.assign(interval=[tables.Interval(*pair, "share") for pair in bounds])
    shown = [
        *("world", "question", "test", "planted", "n_replicates"),
        *("rate", "interval", "meaning", "holds"),
    ]
    return {
        "sentences": captions.sum_up_calibration(table, needed),
        "figures": _figures("calibration", figures),
        "tables": [
            _entry(
                own[shown], "calibration", "Rates of what decides, and of Q2", level
            ),
            _entry(needed, "sample_size", "People needed"),
        ],
    }


def _warned(table: pd.DataFrame) -> pd.DataFrame:
    return table[~table["warnings"].map(tables.is_missing)]


def _dropped(results: Mapping) -> dict | None:
    """Show the regions that were not kept, with what became of them."""
    path = "regions/definitions"
    if path not in results:
        return None
    table = results[path]
    dropped = table[~table["status"].isin(["kept"])]
    wanted = (
        "kind",
        "definition",
        "region",
        "structure",
        "hemisphere",
        "volume",
        "status",
    )
    columns = [c for c in wanted if c in table.columns]
    caption = "Regions that were dropped or merged"
    return _entry(dropped[columns], path, caption)


def _table(results: Mapping, path: str, caption: str) -> dict | None:
    return _entry(results[path], path, caption) if path in results else None


def _entry(table: pd.DataFrame, path: str, caption: str, level: str = "") -> dict:
    idle = [c for c in OPTIONAL & {*table} if table[c].map(tables.is_missing).all()]
    shown, source = table.drop(columns=idle), f"{path}.tsv"
    return {
        "html": _html(shown, "", level=level, source=source) if len(table) else None,
        "caption": caption,
        "absent": f"{caption}: none.",
        "id": f"table-{_slug(caption)}",
        "path": source,
        "link": _link(path),
    }


def _html(
    table: pd.DataFrame,
    question: str,
    labels: Mapping[str, str] | None = None,
    *,
    level: str = "",
    source: str = "",
    full: str = "",
) -> Markup:
    """Render a table; `source` or `full` is the file that has all rows of a long one.

    The cells of a table with a `source` are those of the file.
    """
    left, throughout = tables.say_once(table, KEPT)
    n, path = len(left), source or full
    cut = path and n > MOST_ROWS
    return Markup(
        tables.to_html(
            left.head(MOST_ROWS) if cut else left,
            caption=f"The first {MOST_ROWS} of {n:,} rows; all are in {path}."
            if cut
            else "",
            labels=HEADINGS.get(question, {}) if labels is None else labels,
            question=question,
            level=level,
            source=source,
            throughout=throughout,
        )
    )


def _mapping_table(pairs: Mapping, *names: str) -> Markup | None:
    return _html(pd.DataFrame(pairs.items(), columns=names), "") if pairs else None


def _records_table(
    records: Sequence[Mapping], columns: list[str], full: str = ""
) -> Markup | None:
    if not records:
        return None
    return _html(pd.DataFrame(records).reindex(columns=columns), "", full=full)


def _given(table: pd.DataFrame | None, full: str = "") -> Markup | None:
    return None if table is None or table.empty else _html(table, "", full=full)


def _link(path: str) -> str:
    return _relative(PurePosixPath(f"{path}.tsv"))


def _relative(path: PurePosixPath) -> str:
    """Quote a path as a link that cannot leave the folder of the page by scheme or host."""
    return "./" + quote(str(path).lstrip("/"))


def _embedded(parts: Mapping[str, str], suffix: str) -> list[Markup]:
    """Take the scripts or styles out of the parts, as a browser will have parsed them."""
    found = []
    for name in sorted(parts):
        if name.endswith(f".{suffix}"):
            # A browser hashes what it parsed, in which line ends are single.
            text = parts[name].replace("\r\n", "\n")
            if re.search("</(script|style)|<!--", text, re.IGNORECASE):
                raise ValueError(f"{name} holds a tag that would end it early")
            found.append(Markup(text))
    return found


def _programs(look: Mapping | None) -> list[str]:
    """Return the text of niivue, where the page holds it: the policy has to allow it."""
    return [look["script"]] if look and look["niivue"] else []


def _sha256(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower()
