"""The tables for a paper: the rows that decide, rounded, in TSV, HTML and sound LaTeX."""

import io
import re

import pandas as pd
import pytest

from handhold import paper, tables

CHOSEN = {"unit": "% signal change", "target": "mu & <b>kappa</b>", "level": 0.9}


def tracking():
    row = {
        "question": "Q3",
        "definition": "aal3",
        "region": "v_ACC 5 %",
        "role": "hypothesised",
    }
    row |= {
        "contrast": "partner",
        "n": "17",
        "effect": "-0.3456",
        "low": "-0.61",
        "high": "0.021",
    }
    row |= {"p_fwe": "0.0004", "bf10": "1234567", "verdict": "evidence against"}
    row |= {"partial_r": "n/a", "partial_low": "n/a", "partial_high": "n/a"}
    return pd.DataFrame(
        [row, row | {"region": "insula", "effect": "n/a"}, row | {"role": "detail"}]
    )


def correspondence():
    row = {
        "question": "Q2",
        "scope": "all",
        "method": "spearman",
        "contrast": "partner",
    }
    row |= {
        "n_parcels": "393",
        "effect": "0.5577",
        "null_low": "-0.52",
        "null_high": "0.523",
    }
    row |= {
        "p_map": "0.0023",
        "p_subject": "0.0004",
        "p": "0.0023",
        "verdict": "supported",
    }
    others = [
        row | {"contrast": "stranger"},
        row | {"scope": "rois"},
        row | {"scope": "voxels"},
    ]
    return pd.DataFrame([row, *others])


def lint(tex):
    """Refuse what LaTeX would: rows of another width, open environments, bare specials."""
    columns = re.search(r"\\begin\{tabular\}\{([lr]+)\}", tex)[1]
    inside = tex.split(r"\toprule")[1].split(r"\bottomrule")[0]
    rows = [line for line in inside.splitlines() if line.endswith(r"\\")]
    assert len(rows) > 1
    for row in rows:
        assert len(re.findall(r"(?<!\\)&", row)) == len(columns) - 1, row
    opened = re.findall(r"\\begin\{(\w+)\}", tex)
    assert opened == re.findall(r"\\end\{(\w+)\}", tex)[::-1]
    bare = re.sub(r"\\[{}\\%&_#$]", "", tex)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert not re.search(r"[%#_]|[<>](?!\$)", bare)
    assert tex.index(r"\caption") < tex.index(r"\label") < tex.index(r"\begin{tabular}")


def test_the_table_has_what_decides_rounded_and_no_more():
    table = paper.choose_tests("tracking", tracking(), **CHOSEN)
    assert list(table.table["region"]) == ["v_ACC 5 %", "insula"]
    assert list(table.table) == [
        "region",
        "n",
        "effect",
        "interval",
        "p_fwe",
        "bf10",
        "verdict",
    ]
    shown = pd.read_csv(io.StringIO(paper.render(table, ".tsv")), sep="\t", dtype=str)
    minus = tables.MINUS
    assert list(shown.iloc[0]) == [
        *(
            "v_ACC 5 %",
            "17",
            f"{minus}.35",
            f"[{minus}.61, .02]",
            "<.001",
            f"1.2{tables.TIMES}10⁶",
        ),
        "evidence against",
    ]
    # said once, in the caption
    assert "contrast partner" in table.caption
    assert "definition aal3" in table.caption
    assert set(paper.describe(table)) == set(table.table)


def test_the_level_is_that_of_the_study():
    for name, tests in (("tracking", tracking()), ("correspondence", correspondence())):
        text = paper.render(paper.choose_tests(name, tests, **CHOSEN), ".tex")
        assert r"90 \%" in text
        assert "95" not in text


def test_what_is_descriptive_has_no_row():
    table = paper.choose_tests("correspondence", correspondence(), **CHOSEN)
    assert list(table.table["contrast"]) == ["partner", "stranger"]
    shown = [tables.interval(*cell) for cell in table.table["null_band"]]
    assert shown == [f"[{tables.MINUS}.52, .52]"] * 2


@pytest.mark.parametrize(
    ("name", "tests"), [("tracking", tracking), ("correspondence", correspondence)]
)
def test_latex_is_sound_and_html_escaped(name, tests):
    table = paper.choose_tests(name, tests(), **CHOSEN)
    tex = paper.render(table, ".tex")
    lint(tex)
    assert rf"\label{{tab:{name}}}" in tex
    html = paper.render(table, ".html")
    assert "<b>" not in html
    assert html.count("<tr>") == 1 + len(table.table)


def test_regions_and_maps_are_listed():
    definitions = pd.DataFrame(
        [
            {"kind": "roi", "role": role, "definition": "aal3", "region": role, "labels": "A_L|A_R",
             "x": "1.23", "y": "-4", "z": "0", "volume": "12599.0"}
            for role in ("hypothesised", "detail")
        ]
    )  # fmt: skip
    rois = pd.DataFrame(
        {
            "definition": "aal3",
            "region": "hypothesised",
            "n_voxels": ["350", "360", "364"],
        }
    )
    table = paper.list_regions(definitions, rois)
    lint(paper.render(table, ".tex"))
    (row,) = table.table.to_dict("records")
    assert (row["labels"], row["n_voxels"]) == ("A_L, A_R", 360)
    maps = [{"label": "MOR", "unit": "BP_ND", "citation": "K & L (2020)", "doi": "10.1/x_y",
             "licence": "CC BY", "path": "secret"}]  # fmt: skip
    tex = paper.render(paper.list_maps(maps), ".tex")
    lint(tex)
    assert "secret" not in tex
