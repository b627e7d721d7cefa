"""Show a results table as HTML or LaTeX: rounded for reading, never recomputed.

Text goes in and text comes out; nothing here opens a file. A value is rounded by
the kind of its column, so that the same number looks the same on the page, in the
paper and in a figure's title. What is missing is shown as n/a, never left blank.
"""

import html
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

MISSING = "n/a"
MINUS, TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

# From here on a number is read by its order of magnitude, not by its digits.
LARGE, SMALL = 1e5, 1e-4

COUNTS = {"n", "df", "volume", "volume_a", "volume_b", "rank", "df_low", "df_high"}
COUNTS |= {"total_volumes", "total_censored", "mask_volume", "size"}
SHARES = {"censored", "share_censored", "highest_censored", "high_pass_loss"}
SHARES |= {"largest_high_pass_loss", "rate", "power"}
SHARES |= {"template_covered", "mask_outside"}
CORRELATIONS = {
    *("r", "mean_r", "spearman", "skipped", "difference", "dice", "coverage"),
    "dice_template",
    *("null_low", "null_high", "null_sd", "null_sd_moran", "null_sd_variogram"),
    *("null_sd_gaussian", "loo_low", "loo_high", "detectable_r"),
    *("partial_r", "partial_low", "partial_high", "percentage_bend", "disattenuated"),
    *("icc", "reliability", "reliability_attenuation", "reliability_relief", "ceiling"),
    *("icc_effect", "icc_rating"),
    *("largest_r_motion", "unadjusted", "weight", "model_r_squared", "null_r_squared"),
    *("dominance", "dominance_share", "gain_alone", "gain_last"),
}
EFFECTS = {
    *("effect", "low", "high", "sd", "statistic", "bf10", "variance", "tsnr", "vif"),
    *("dz", "dz_low", "dz_high", "hedges_g", "g_low", "g_high", "detectable_dz"),
    *("attenuation", "relief", "baseline", "held", "binding", "x", "y", "z"),
    *("mean_fd", "max_fd", "average_fd", "largest_vif", "condition_number"),
    *("total_duration", "fisher_z"),
    *("bf10_low", "bf10_high", "bf10_partial", "bf10_partial_low", "bf10_partial_high"),
    *("max_cook", "response_baseline", "planted"),
    *("between", "between_low", "between_high", "covariance"),
    *(
        f"{path}{bound}"
        for path in ("a", "b", "direct", "total", "indirect")
        for bound in ("", "_low", "_high")
    ),
}
# Two bounds in one cell: an `Interval`.
INTERVALS = {"interval", "null_band", "partial_interval", "bf10_range"}
INTERVALS |= {"between_interval", "indirect_interval"}
# The tests of these questions estimate a correlation; Q1 estimates a mean.
CORRELATION_QUESTIONS = {"Q2", "Q3", "Q4", "Q5"}

LABELS = {
    "effect": "Mean",
    "low": "Low",
    "high": "High",
    "interval": "{level} interval",
    "sd": "SD",
    "statistic": "t",
    "dz": "d_z",
    "hedges_g": "Hedges g",
    "bf10": "BF10",
    "p_t": "p (t test)",
    "p_fwe": "p (FWE)",
    "p_tost": "p (TOST)",
    "p_naive": "p (naive: parcels as if independent, too small)",
    "p_map": "p (map null)",
    "p_moran": "p (Moran)",
    "p_variogram": "p (variogram)",
    "p_gaussian": "p (Gaussian)",
    "p_fwe_moran": "p (FWE, Moran)",
    "p_fwe_variogram": "p (FWE, variogram)",
    "p_fwe_gaussian": "p (FWE, Gaussian)",
    "null_method": "Nulls that decide",
    "p_map_of_attenuation": "p (attenuation nulled)",
    "p_subject": "p (subject null)",
    "p_spearman": "p (Spearman)",
    "p_difference": "p (difference)",
    "p_difference_fwe": "p (difference, FWE)",
    "n_parcels": "Parcels",
    "n_permutations": "Permutations",
    "mean_r": "Mean r of subjects",
    "loo_low": "Leave one out, low",
    "loo_high": "Leave one out, high",
    "detectable_r": "Detectable r",
    "detectable_dz": "Detectable d_z",
    "bf10_range": "BF10 over priors",
    "partial_r": "r at equal baselines",
    "partial_interval": "its {level} interval",
    "p_partial": "p (equal baselines)",
    "p_partial_fwe": "p (equal baselines, FWE)",
    "bf10_partial": "BF10 (equal baselines)",
    "percentage_bend": "Percentage-bend r",
    "max_cook": "Largest Cook's D",
    "ceiling": "Largest observable r",
    "reliability_attenuation": "Reliability of attenuation",
    "reliability_relief": "Reliability of relief",
    "icc": "ICC",
    "icc_effect": "ICC of effect",
    "icc_rating": "ICC of rating",
    "between": "Slope between people",
    "between_interval": "its {level} interval",
    "indirect": "Indirect (a b)",
    "indirect_interval": "its {level} interval",
    "n_trials": "Trials",
    "n_left_out": "People left out",
    "r_overall": "r overall",
    "r_with_target": "r with target",
    "r_with_y": "r with y axis",
    "spearman": "Spearman r",
    "skipped": "Skipped r",
    "vif": "VIF",
    "dice": "Dice",
    "dice_template": "Dice with the template's brain",
    "template_covered": "Share of the template's brain covered",
    "mask_outside": "Share outside of it",
    "mask_volume": "Volume (mm³)",
    "volume": "Volume (mm³)",
    "n_images": "Images",
    "tsnr": "tSNR",
    "n_volumes": "Volumes",
    "n_censored": "Censored volumes",
    "mean_fd": "Mean FD (mm)",
    "max_fd": "Largest FD (mm)",
    "n_over_fd": "Volumes over FD limit",
    "n_columns": "Design columns",
    "df": "df",
    "n_events": "Events",
    "most_alike": "Most alike column",
    "r_most_alike": "r with that column",
    "n_censored_events": "Events censored away",
    "n_late_events": "Events after the end",
    "r_motion": "r with motion",
    "high_pass_loss": "Removed by high-pass",
    "largest_vif": "Largest VIF",
    "largest_r_motion": "Largest |r| with motion",
    "largest_high_pass_loss": "Largest share removed by high-pass",
    "n_subjects": "Subjects",
    "n_voxels": "Voxels",
    "given": "Held constant",
    "unadjusted": "r, nothing held",
    "r_squared": "R2 of the target",
    "weight": "Weight",
    "dominance": "Dominance",
    "model_r_squared": "R2 of all maps",
    "null_r_squared": "its null median",
    "p_model": "p (R2 of all maps)",
    "dominance_share": "Share of R2",
    "gain_alone": "R2 alone",
    "gain_last": "Gain as the last",
    "dominates": "Dominates completely",
    "n_replicates": "Simulated studies",
    "n_rejected": "Rejections",
    "asks": "Question",
    "n_run": "Ran now",
    "n_kept": "Kept from before",
    "size": "Bytes",
    "sha256": "SHA-256",
}

# Signs that `display` writes and that LaTeX needs spelt, and its own special characters.
LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "$": r"\$",
        "&": r"\&",
        "%": r"\%",
        "#": r"\#",
        "_": r"\_",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"$<$",
        ">": r"$>$",
        MINUS: r"$-$",
        TIMES: r"$\times$",
        "∞": r"$\infty$",
        "⁻": r"\textsuperscript{$-$}",
        **{
            superscript: rf"\textsuperscript{{{digit}}}"
            for digit, superscript in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")
        },
    }
)


class Interval(NamedTuple):
    """Two bounds that stand in one cell, with the kind by which both are rounded."""

    low: object
    high: object
    kind: str


def kind_of(column: str, question: str = "") -> str:
    """Say how a column is shown: 'p', 'count', 'r', 'share', 'effect', 'interval' or 'text'.

    A column that is not known is text and keeps every digit: better long than
    wrongly rounded. In Q2 to Q5 `effect`, `low` and `high` are correlations.

    Examples
    --------
    >>> kind_of("p_fwe"), kind_of("effect"), kind_of("effect", "Q3")
    ('p', 'effect', 'r')
    """
    if column == "p" or column.startswith("p_"):
        return "p"
    if column in COUNTS or column.startswith("n_"):
        return "count"
    if column in SHARES:
        return "share"
    if column in INTERVALS:
        return "interval"
    if column in CORRELATIONS or column.startswith("r_"):
        return "r"
    if column in EFFECTS:
        is_correlation = column in {"effect", "low", "high"}
        return "r" if is_correlation and question in CORRELATION_QUESTIONS else "effect"
    return "text"


def is_missing(value: object) -> bool:
    """Tell whether a cell holds no value: None, NaN, NA, '', 'nan' or 'n/a'."""
    if isinstance(value, Interval):
        return is_missing(value.low) and is_missing(value.high)
    if isinstance(value, str):
        return value.strip().lower() in {"", "nan", "n/a", "na", "none"}
    return bool(pd.isna(value))


def display(value: object, kind: str) -> str:
    """Round a value for reading.

    Parameters
    ----------
    value : object
        A number, or its text as read from a table.
    kind : {'p', 'count', 'r', 'share', 'effect', 'interval', 'text'}
        p: three decimals, four next to .05, no leading zero, '<.001' and '>.999' at the ends.
        r: two decimals, no leading zero. share: per cent, whole from 10 % on, else
        one decimal. effect: three significant digits, two below 0.1. count: whole.
        interval and text: as it is.

    Returns
    -------
    str
        'n/a' if missing; a value that is not a number is returned as it is.

    Examples
    --------
    >>> [display(p, "p") for p in (0.0338, 0.0002, "n/a", 0.99996, 0.0503)]
    ['.034', '<.001', 'n/a', '>.999', '.0503']
    >>> display(0.2149, "r"), display(0.0484, "r"), display(1, "r")
    ('.21', '.05', '1.00')
    >>> [display(x, "share") for x in (0, 0.0004, 0.0312, 0.25)]
    ['0 %', '<0.1 %', '3.1 %', '25 %']
    >>> [display(x, "effect") for x in (0.12345, 0.01234, 12.345, 1234)]
    ['0.123', '0.012', '12.3', '1234']
    """
    if isinstance(value, Interval):
        return interval(*value)
    if kind in {"text", "interval"}:
        is_blank = value is None or (not isinstance(value, str) and pd.isna(value))
        return MISSING if is_blank or value == "" else str(value)
    if is_missing(value):
        return MISSING
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    if math.isinf(number):
        return "∞" if number > 0 else f"{MINUS}∞"
    shown = {"p": _p, "count": _count, "r": _r, "share": _share, "effect": _effect}
    return shown[kind](number)


def interval(low: object, high: object, kind: str) -> str:
    """Show an interval, both bounds rounded alike.

    Examples
    --------
    >>> interval("0.021", 0.5, "r")
    '[.02, .50]'
    """
    if is_missing(low) and is_missing(high):
        return MISSING
    return f"[{display(low, kind)}, {display(high, kind)}]"


def with_intervals(tests: pd.DataFrame, question: str = "") -> pd.DataFrame:
    """Join low and high, null_low and null_high and so on into one column each.

    `question` is that of the tests, whose effects are means or correlations.
    """
    kind = kind_of("effect", question)
    for joined, low, high, how in (
        ("interval", "low", "high", kind),
        ("interval", "mean_r_low", "mean_r_high", kind),
        ("partial_interval", "partial_low", "partial_high", "r"),
        ("between_interval", "between_low", "between_high", "effect"),
        ("indirect_interval", "indirect_low", "indirect_high", "effect"),
        ("null_band", "null_low", "null_high", "r"),
    ):
        if {low, high} <= {*tests.columns}:
            bounds = zip(tests[low], tests[high], strict=True)
            joint = [Interval(*pair, how) for pair in bounds]
            tests = tests.assign(**{joined: pd.Series(joint, tests.index, object)})
    return tests


def equals(value: object) -> str:
    """Write what follows the name of a p in a sentence; n/a where it is missing.

    Examples
    --------
    >>> equals(0.0338), equals("0.0002"), equals("n/a")
    ('= .034', '< .001', 'n/a')
    """
    shown = display(value, "p")
    if shown[0] in "<>":
        return f"{shown[0]} {shown[1:]}"
    return shown if shown == MISSING else f"= {shown}"


def to_html(
    table: pd.DataFrame,
    *,
    caption: str = "",
    labels: Mapping[str, str] | None = None,
    question: str = "",
    level: str = "95 %",
    source: str = "",
    throughout: Sequence[tuple[str, object]] = (),
) -> str:
    """Render a results table as an HTML table, every cell escaped.

    Parameters
    ----------
    table : DataFrame
        Columns as in the results table, or two levels (group, column), which
        become a header of two rows.
    caption : str
        Plain text; escaped.
    labels : mapping, optional
        Column to heading, where it differs from `LABELS`; {level} in it is replaced.
    question : str
        'Q1' to 'Q5'; read from the column of that name if there is one.
    level : str
        Level of the intervals, for their headings.
    source : str
        Path of the TSV that the cells were read from.
    throughout : sequence of (column, value)
        What `say_once` took out; the caption says it.

    Returns
    -------
    str
        A `table` element. A rounded cell keeps the unrounded value as its title, a
        heading its column as data-column, a row about a person who it is as data-subject.
    """
    question = question or _question_of(table)
    names = {
        leaf: label_of(leaf, labels, level)
        for leaf in (*map(_leaf, table.columns), *(name for name, _ in throughout))
    }
    kinds = [kind_of(_leaf(column), question) for column in table.columns]
    rows = "\n".join(
        _html_row(row, kinds, list(table.columns))
        for row in table.itertuples(index=False, name=None)
    )
    once = [_html_once(name, value, question, names) for name, value in throughout]
    said = f"<div>Throughout: {'; '.join(once)}.</div>" if once else ""
    head = f"{html.escape(caption)}{said}"
    head = f"<caption>{head}</caption>\n" if head else ""
    of = f' data-source="{html.escape(source)}"' if source else ""
    return (
        f"<table{of}>\n{head}<thead>\n{_html_head(table, kinds, names)}\n</thead>\n"
        f"<tbody>\n{rows}\n</tbody>\n</table>"
    )


def say_once(
    table: pd.DataFrame, keep: Sequence[str] = ()
) -> tuple[pd.DataFrame, list[tuple[str, object]]]:
    """Take out the columns that hold one value throughout, for the caption to say.

    Under a header of two levels a column goes if it holds that value in every group.
    Columns of `keep` stay, one column at least, and a table of one row as it is.

    Examples
    --------
    >>> table = pd.DataFrame({"region": ["a", "b"], "unit": "%", "p": [0.1, 0.2]})
    >>> left, said = say_once(table)
    >>> list(left.columns), said
    (['region', 'p'], [('unit', '%')])
    """
    if len(table) < 2:
        return table, []
    said = []
    for leaf in dict.fromkeys(map(_leaf, table.columns)):
        own = [i for i, column in enumerate(table.columns) if _leaf(column) == leaf]
        found = {value for i in own for value in table.iloc[:, i].map(_plain)}
        if len(found) == 1 and leaf not in keep:
            said.append((leaf, table.iloc[0, own[0]]))
    if len(said) == len({*map(_leaf, table.columns)}):
        said = said[1:]
    gone = {leaf for leaf, _ in said}
    left = [i for i, column in enumerate(table.columns) if _leaf(column) not in gone]
    return table.iloc[:, left], said


def to_tsv(table: pd.DataFrame, *, question: str = "") -> str:
    """Render a results table as TSV with the numbers as the page shows them."""
    question = question or _question_of(table)
    shown = {
        column: [
            display(value, kind_of(str(column), question)) for value in table[column]
        ]
        for column in table
    }
    return pd.DataFrame(shown).to_csv(sep="\t", index=False, lineterminator="\n")


def to_latex(
    table: pd.DataFrame,
    *,
    caption: str = "",
    labels: Mapping[str, str] | None = None,
    question: str = "",
    name: str = "",
) -> str:
    r"""Render a results table as a LaTeX tabular with booktabs rules.

    Takes what `to_html` takes. With a caption the tabular stands in a table
    environment, with a `name` as \label{tab:name}. Needs `\usepackage{booktabs}` and
    UTF-8, LaTeX's default.

    Examples
    --------
    >>> print(to_latex(pd.DataFrame({"region": ["a_b"], "p": ["0.0001"]})))
    \begin{tabular}{lr}
    \toprule
    Region & p \\
    \midrule
    a\_b & $<$.001 \\
    \bottomrule
    \end{tabular}
    """
    question = question or _question_of(table)
    kinds = [kind_of(_leaf(column), question) for column in table.columns]
    body = [
        _latex_row(display(v, k) for v, k in zip(row, kinds, strict=True))
        for row in table.itertuples(index=False, name=None)
    ]
    alignment = "".join("l" if kind == "text" else "r" for kind in kinds)
    lines = [
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        *_latex_head(table, labels or {}),
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    if caption:
        head = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape_latex(caption)}}}",
            *([rf"\label{{tab:{name}}}"] if name else []),
        ]
        lines = [*head, *lines, r"\end{table}"]
    return "\n".join(lines)


def escape_latex(text: str) -> str:
    """Escape text for LaTeX; control characters become spaces."""
    return "".join(c if c.isprintable() else " " for c in text).translate(LATEX)


def label_of(
    column: str, labels: Mapping[str, str] | None = None, level: str = ""
) -> str:
    """Name a column for the reader; `level` is that of the intervals.

    Examples
    --------
    >>> label_of("partial_interval", level="90 %"), label_of("hedges_g")
    ('its 90 % interval', 'Hedges g')
    """
    known = {**LABELS, **(labels or {})}
    if column in known:
        return known[column].replace("{level}", level).strip()
    if kind_of(column) in {"p", "r"} or len(column) < 2:
        return column.replace("_", " ")
    words = column.replace("_", " ")
    return words[:1].upper() + words[1:]


def _p(number: float) -> str:
    if number < 0.001:
        return "<.001"
    # Above this three decimals would read 1.000, which no permutation p can promise.
    if number >= 0.9995:
        return ">.999"
    # Three decimals would hide on which side of .05 it lies.
    digits = 4 if number != 0.05 == round(number, 3) else 3
    return f"{number:.{digits}f}".removeprefix("0")


def _count(number: float) -> str:
    return f"{number:.0f}" if number.is_integer() else _effect(number)


def _r(number: float) -> str:
    text = f"{number:.2f}"
    return _signed(text.replace("0.", ".", 1) if abs(float(text)) < 1 else text)


def _share(number: float) -> str:
    if 0 < number < 0.0005:
        return "<0.1 %"
    decimals = 1 if 0 < number < 0.0995 else 0
    return _signed(f"{100 * number:.{decimals}f} %")


def _effect(number: float) -> str:
    if number == 0:
        return "0"
    if not SMALL <= abs(number) < LARGE:
        digits, exponent = f"{number:.1e}".split("e")
        power = str(int(exponent)).translate(SUPERSCRIPTS)
        return _signed(f"{digits}{TIMES}10{power}")
    exponent = math.floor(math.log10(abs(number)))
    decimals = 2 - exponent if exponent >= -1 else 1 - exponent
    return _signed(f"{number:.{max(decimals, 0)}f}")


def _signed(text: str) -> str:
    """Use the minus sign, and none on a number that rounds to zero."""
    bare = text.removeprefix("-")
    if bare == text or not bare.strip("0."):
        return bare
    return MINUS + bare


def _question_of(table: pd.DataFrame) -> str:
    if "question" not in table.columns or table.empty:
        return ""
    return str(table["question"].iloc[0])


def _leaf(column: Hashable) -> str:
    return str(column[-1] if isinstance(column, tuple) else column)


def _plain(value: object) -> object:
    return MISSING if is_missing(value) else value


def _unrounded(value: object) -> str:
    """Write a value with every digit that its table has."""
    if is_missing(value):
        return ""
    if isinstance(value, Interval):
        return f"[{_plain(value.low)}, {_plain(value.high)}]"
    return str(value)


def _attributes(value: object, shown: str, kind: str) -> str:
    if kind == "text":
        return ""
    raw = _unrounded(value)
    title = f' title="{html.escape(raw)}"' if raw and raw != shown else ""
    return f' class="number"{title}'


def _html_row(row: tuple, kinds: list[str], columns: list[Hashable]) -> str:
    cells = []
    for value, kind in zip(row, kinds, strict=True):
        shown = display(value, kind)
        name = "td" if cells or kind != "text" else 'th scope="row"'
        # long names may break where their words do
        text = html.escape(shown).replace("_", "_<wbr>")
        cells.append(f"<{name}{_attributes(value, shown, kind)}>{text}</{name[:2]}>")
    who = row[columns.index("subject")] if "subject" in columns else MISSING
    person = "" if is_missing(who) else f' data-subject="{html.escape(str(who))}"'
    return f"<tr{person}>{''.join(cells)}</tr>"


def _html_once(column: str, value: object, question: str, labels: Mapping) -> str:
    kind = kind_of(column, question)
    shown, name = display(value, kind), labels[column]
    of = f' data-column="{html.escape(column)}"{_attributes(value, shown, kind)}'
    return f"{html.escape(name)} <span{of}>{html.escape(shown)}</span>"


def _groups(table: pd.DataFrame) -> list[tuple[str, int]]:
    """List (group, number of its columns) along a header of two levels."""
    groups: list[tuple[str, int]] = []
    for group in table.columns.get_level_values(0):
        if groups and groups[-1][0] == group:
            groups[-1] = (group, groups[-1][1] + 1)
        else:
            groups.append((group, 1))
    return groups


def _html_head(table: pd.DataFrame, kinds: list[str], labels: Mapping) -> str:
    cells = []
    for column, kind in zip(table.columns, kinds, strict=True):
        shown = html.escape(labels[_leaf(column)])
        number = "" if kind == "text" else ' class="number"'
        name = html.escape(_leaf(column))
        cells.append(f'<th scope="col" data-column="{name}"{number}>{shown}</th>')
    rows = [f"<tr>{''.join(cells)}</tr>"]
    if table.columns.nlevels > 1:
        spans = [
            f'<th scope="colgroup" colspan="{n}">{html.escape(str(group))}</th>'
            if group
            else f'<td colspan="{n}"></td>'
            for group, n in _groups(table)
        ]
        rows.insert(0, f'<tr class="groups">{"".join(spans)}</tr>')
    return "\n".join(rows)


def _latex_head(table: pd.DataFrame, labels: Mapping) -> list[str]:
    names = _latex_row(label_of(_leaf(column), labels) for column in table.columns)
    if table.columns.nlevels == 1:
        return [names]
    cells, rules, first = [], [], 1
    for group, n in _groups(table):
        cells.append(rf"\multicolumn{{{n}}}{{c}}{{{escape_latex(str(group))}}}")
        if group:
            rules.append(rf"\cmidrule(lr){{{first}-{first + n - 1}}}")
        first += n
    return [" & ".join(cells) + r" \\", "".join(rules), names]


def _latex_row(cells) -> str:
    return " & ".join(escape_latex(cell) for cell in cells) + r" \\"
