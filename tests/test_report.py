"""The page shows the tables' numbers, lets nothing run and asks for nothing."""

import base64
import copy
import hashlib
import html
import html.parser
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import results_tables as example
from results_tables import of_runs, render, results

from handhold import captions, report, tables

HOSTILE = "<script>alert('1')</script>\"><img src=x onerror=alert(1)> 手é " + "x" * 200
LIMITS = {
    "warn_vif": 4.5,
    "max_vif": 11,
    "max_censored": 0.4,
    "warn_motion": 0.55,
    "warn_high_pass": 0.65,
    "fd_threshold_mm": 0.3,
    "std_dvars_threshold": 1.25,
}
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="510pt"><script>1</script></svg>'


class Page(html.parser.HTMLParser):
    """What a browser would see: elements with attributes, and tables as text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.tables, self.cell = [], [], None
        self.throughout, self.caption = [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag == "table":
            self.tables.append([])
            self.throughout.append([])
        elif tag == "caption":
            self.caption = ""
        elif tag == "span" and self.caption is not None:
            name = self.caption.removeprefix("Throughout: ").strip("; ")
            self.throughout[-1].append([name, ""])
            self.caption = ""
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"td", "th"}:
            self.tables[-1][-1].append("")
            self.cell = True

    def handle_endtag(self, tag):
        if tag in {"td", "th"}:
            self.cell = False
        elif tag == "span" and self.caption is not None:
            self.throughout[-1][-1][1] = self.caption
            self.caption = ""
        elif tag == "caption":
            self.caption = None

    def handle_data(self, data):
        if self.cell:
            self.tables[-1][-1][-1] += data
        elif self.caption is not None:
            self.caption += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def table_with(page, *headings):
    """Find the table whose last header row, and caption, hold all the headings."""
    for rows, throughout in zip(page.tables, page.throughout, strict=True):
        names, values = [[pair[i] for pair in throughout] for i in (0, 1)]
        for i, row in enumerate(rows[:2]):
            if set(headings) <= set(row + names):
                return row + names, [line + values for line in rows[i + 1 :]]
    raise AssertionError(f"no table with {headings}")


def test_every_number_of_q2_is_that_of_its_table(rng):
    found = results(rng)
    header, rows = table_with(Page(render(found)), "p (map null)", "Scope")
    columns = {
        "r": ("effect", "r"),
        "n": ("n", "count"),
        "p (map null)": ("p_map", "p"),
        "p (subject null)": ("p_subject", "p"),
        "BF10 of mean r": ("bf10", "effect"),
    }
    tests = found["tests/correspondence"].to_dict("records")
    for row, test in zip(rows, tests, strict=True):
        shown = dict(zip(header, row, strict=True))
        for heading, (column, kind) in columns.items():
            assert shown[heading] == tables.display(test[column], kind)
        low_high = tables.interval(test["mean_r_low"], test["mean_r_high"], "r")
        assert shown["95 % interval of mean r"] == low_high
        assert low_high == "[.02, .25]"
        assert "95 % interval" not in shown


def test_the_card_of_q2_calls_the_interval_that_of_mean_r(rng):
    found = results(rng)
    del found["tests/correspondence"]
    header, rows = table_with(Page(render(found)), "95 % interval of mean r")
    shown = dict(zip(header, rows[0], strict=True))
    assert shown["95 % interval of mean r"] == "[.02, .25]"
    assert shown["BF10 of mean r"] == "6.30"


def test_card_and_table_of_q5_state_the_parcels(rng):
    found = results(rng)
    target = found["tests/specificity"].head(1).to_dict("records")
    asked = {
        **example.VERDICTS["questions"][4],
        "verdict": "inconclusive",
        "inputs": target,
    }
    page = Page(render(found, {**example.VERDICTS, "questions": [asked]}))
    for headings in (("Map", "VIF"), ("r", "Middle 95 % of null")):
        header, rows = table_with(page, *headings)
        assert {row[header.index("Parcels")] for row in rows} == {"394"}


def test_definitions_stand_side_by_side_with_dice_and_agreement(rng):
    found = results(rng)
    header, rows = table_with(Page(render(found)), "Agreement", "Hedges g")
    tests = found["tests/attenuation"]
    n_columns = (len(header) - 4) // 2
    for row in rows:
        shown = dict(zip(header[:4], row[:4], strict=True))
        own = tests[
            (tests["region"] == shown["Region"])
            & (tests["contrast"] == shown["Contrast"])
        ]
        for i, definition in enumerate(example.DEFINITIONS):
            test = own[own["definition"] == definition].iloc[0]
            start = 4 + i * n_columns
            cells = dict(
                zip(
                    header[start : start + n_columns],
                    row[start : start + n_columns],
                    strict=True,
                )
            )
            assert cells["Mean"] == tables.display(test["effect"], "effect")
            assert cells["p (FWE)"] == tables.display(test["p_fwe"], "p")
            assert cells["Verdict"] == test["verdict"]
        differ = own["verdict"].nunique() > 1
        assert (shown["Agreement"] == report.DEPENDS) == differ
    assert [row[3] for row in rows[::2]] == [".15", ".41", ".82", ".77"]
    assert rows[0][2] == report.DEPENDS


def test_cards_say_the_verdict_and_why_a_question_was_not_run(rng):
    text = render(results(rng))
    for question in example.VERDICTS["questions"]:
        for key in ("sentence", "reason", "verdict"):
            assert html.escape(question[key]).replace("&#x27;", "&#39;") in text
    header, rows = table_with(Page(text), "Region", "Mean", "BF10")
    shown = dict(zip(header, rows[0], strict=True))
    assert shown["Mean"] == "0.123"
    assert shown["95 % interval"] == "[0.051, 0.201]"
    assert (shown["p (FWE)"], shown["BF10"]) == (".004", "12.3")


def test_the_page_prints_the_thresholds_and_the_rules_in_their_order(rng):
    text = render(results(rng), command="snakemake --cores 7")
    shown = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text)
    shown = {name: html.unescape(value) for name, value in shown}
    rule = example.VERDICTS["rule"]
    thresholds = {name: value for name, value in rule.items() if name != "rules"}
    combination = example.VERDICTS["combination"]
    assert {*shown} == {*thresholds, *combination}
    printed = {name: float(shown[name]) for name in thresholds}
    assert printed == pytest.approx(thresholds, abs=5e-4)
    assert shown["bf_against"] == "0.333"
    assert {name: shown[name] for name in combination} == combination
    listed = re.search(r"<ol>(.*?)</ol>", text, re.DOTALL)[1]
    lines = re.findall(r"<li>(.*?): <strong>(.*?)</strong> \((.*?)\)</li>", listed)
    assert [tuple(map(html.unescape, line)) for line in lines] == [
        (said, line["verdict"], line["reason"])
        for said, line in zip(
            (
                "p at most 0.05 and an effect in the hypothesised direction",
                "BF10 at most 0.333",
                "otherwise",
            ),
            rule["rules"],
            strict=True,
        )
    ]
    # what was typed is no part of the result
    assert "snakemake --cores 7" not in text


def test_the_card_shows_the_numbers_of_the_model_that_decides(rng):
    row = {
        **{"region": "insula", "effect": 0.11, "low": -0.2, "high": 0.4, "p_fwe": 0.6},
        **{"bf10": 0.5, "partial_r": 0.77, "partial_low": 0.4, "partial_high": 0.9},
        **{"p_partial_fwe": 0.003, "bf10_partial": 44.0},
    }
    question = {**example.VERDICTS["questions"][0], "question": "Q3"}
    cards = {}
    for model in ("baseline-adjusted", "change"):
        inputs = [{**row, "model": model}]
        verdicts = {**example.VERDICTS, "questions": [{**question, "inputs": inputs}]}
        cards[model] = Page(render(results(rng), verdicts)).tables[0]
    assert cards["baseline-adjusted"][1] == [
        "insula",
        ".77",
        "[.40, .90]",
        ".003",
        "44.0",
    ]
    assert cards["change"][1] == ["insula", ".11", "[\u2212.20, .40]", ".600", "0.500"]


def test_inputs_may_be_several_rows(rng):
    found = results(rng)
    rows = found["tests/attenuation"].head(3).to_dict("records")
    verdicts = {
        **example.VERDICTS,
        "questions": [{**example.VERDICTS["questions"][0], "inputs": rows}],
    }
    header, shown = table_with(Page(render(found, verdicts)), "Region", "Mean")
    assert [row[0] for row in shown] == [row["region"] for row in rows]
    assert len(header) == 6


def test_nothing_runs_and_nothing_is_fetched(rng):
    figures = {"rois": (SVG, HOSTILE, HOSTILE), HOSTILE: (b"\x89PNG" * 9, "a", "b")}
    found = results(rng)
    for name, table in found.items():
        text = [c for c in ("region", "receptor", "reason", "label") if c in table]
        found[name] = table.assign(**dict.fromkeys(text, HOSTILE))
    found[f"//{HOSTILE}"] = found["exclusions"]
    found["javascript:alert(1)"] = found["exclusions"]
    question = dict.fromkeys(("title", "sentence", "reason", "verdict"), HOSTILE)
    question |= {"question": HOSTILE, "inputs": [{"effect": HOSTILE}]}
    verdicts = {
        "rule": {
            HOSTILE: 0.05,
            "rules": [{"if": [HOSTILE], "verdict": HOSTILE, "reason": HOSTILE}],
        },
        "combination": {HOSTILE: HOSTILE},
        "questions": [*example.VERDICTS["questions"], question],
    }
    text = render(
        found,
        verdicts,
        figures,
        title=HOSTILE,
        config=HOSTILE,
        modelled_maps=[HOSTILE],
        inputs=[{"path": HOSTILE, "sha256": "00"}],
    )
    page = Page(text)
    own = [name for name in example.PAGE_PARTS if name.endswith(".js")]
    assert len(page.all("script")) == len(own)
    assert all(i["src"].startswith("data:image/") for i in page.all("img"))
    attributes = [name for _, found in page.elements for name in found]
    assert not [name for name in attributes if name.startswith("on")]
    assert all(re.match(r"[#.]", link["href"]) for link in page.all("a"))
    assert not any(link["href"].startswith((".//", "//")) for link in page.all("a"))
    assert "手é" in text
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_the_style_is_the_one_the_policy_allows(rng):
    text = render(results(rng))
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in html.unescape(text)
    assert not [a for _, a in Page(text).elements if "style" in a]


def test_ids_are_unique_and_every_picture_has_words(rng):
    figures = {name: (SVG, "what it shows", "cap") for name in ("rois", "tracking")}
    text = render(results(rng), figures=figures)
    page = Page(text)
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    inside = {link["href"][1:] for link in page.all("a") if link["href"][0] == "#"}
    assert inside <= set(ids)
    labels = [drawing["aria-labelledby"] for drawing in page.all("svg")]
    said = re.findall(r'<p id="([^"]*)" hidden>what it shows</p>', text)
    assert labels == said
    assert len(said) == 2
    assert {"header", "main", "nav", "footer"} <= {name for name, _ in page.elements}


@pytest.mark.parametrize("simulated", [True, False])
def test_a_simulated_study_says_so(rng, simulated):
    text = render(results(rng), simulated=simulated)
    assert ("no person was scanned" in text) == simulated
    modelled = render(results(rng), modelled_maps=["mu-opioid model"])
    assert "Modelled, not measured: mu-opioid model" in modelled


def test_a_map_of_gene_expression_is_no_map_of_receptors(rng):
    assert "mRNA, not protein" not in render(results(rng))
    text = render(results(rng), expression_maps=["oxytocin receptor mRNA"])
    assert "mRNA, not protein: oxytocin receptor mRNA." in text


def test_each_table_names_its_file(rng):
    found = results(rng)
    links = {link["href"] for link in Page(render(found)).all("a")}
    assert {f"./{name}.tsv" for name in found} <= links


def test_a_study_without_a_number_is_still_a_page(rng):
    found = {
        name: table.map(lambda v: v if v in example.ROIS else "n/a")
        for name, table in results(rng).items()
    }
    text = render(found)
    assert "nan" not in re.sub(r"[\"'][^\"']*[\"']", "", text).lower().split()
    none = {"questions": [{**q, "inputs": []} for q in example.VERDICTS["questions"]]}
    assert "Q5" in render({}, none)


def section(text, start, end):
    """Cut the page from one heading to another."""
    found = re.search(
        rf">{start}</h\d>(.*?)(?:>{end}</h\d>|</section>)", text, re.DOTALL
    )
    return found[1]


def test_the_runs_are_told_from_their_tables(rng):
    found = results(rng)
    text = section(render(found), "Runs", "People and regions")
    sentence = html.unescape(re.search(r"<p>(.*?)</p>", text, re.DOTALL)[1])
    for said in (
        *("60 runs of 20 subjects", "18000 volumes", "612 (3.4 %)", "more than 19 %"),
        *("199 to 257 degrees", "0.172 mm", "Runs with warnings: 4."),
    ):
        assert said in sentence
    header, rows = table_with(Page(text), "Largest VIF", "Censored")
    assert "Session" not in header
    columns = {
        "Subject": ("subject", "text"),
        "Run": ("run", "text"),
        "Censored": ("censored", "share"),
        "Mean FD (mm)": ("mean_fd", "effect"),
        "df": ("df", "count"),
        "Largest VIF": ("largest_vif", "effect"),
        "Largest |r| with motion": ("largest_r_motion", "r"),
        "Largest share removed by high-pass": ("largest_high_pass_loss", "share"),
    }
    review = found["qc/review"].to_dict("records")
    for row, run in zip(rows, review, strict=True):
        shown = dict(zip(header, row, strict=True))
        for heading, (column, kind) in columns.items():
            assert shown[heading] == tables.display(run[column], kind)


def test_only_what_is_warned_of_is_singled_out(rng):
    found = results(rng)
    text = section(render(found), "Runs", "People and regions")
    header, rows = table_with(Page(text), "Subject", "Run", "Warnings")
    warned = found["qc/review"][found["qc/review"]["warnings"] != "n/a"]
    assert 0 < len(warned) < len(found["qc/review"])
    assert rows == warned[["subject", "run", "warnings"]].to_numpy().tolist()
    header, rows = table_with(Page(text), "Regressor", "VIF", "r with motion")
    cells = found["qc/regressors"]
    cells = cells[cells["warnings"] != "n/a"]
    at = header.index("VIF")
    assert [row[at] for row in rows] == [
        tables.display(v, "effect") for v in cells["vif"]
    ]


def test_no_warning_is_said_plainly(rng):
    found = results(rng)
    for name in ("qc/review", "qc/regressors"):
        found[name] = found[name].assign(warnings="n/a")
    found["qc/summary"] = found["qc/summary"].assign(n_warned="0")
    text = section(render(found), "Runs", "People and regions")
    for said in ("Runs", "Regressors"):
        assert f"<p>{said} with warnings: none.</p>" in text
    assert "Runs with warnings: none.</p>" in text
    with pytest.raises(AssertionError):
        table_with(Page(text), "Warnings")


def test_what_was_left_out_is_counted_before_it_is_listed(rng):
    text = section(render(results(rng)), "What was left out", "Runs")
    header, stages = table_with(Page(text), "Subjects", "Stage")
    assert header == ["Stage", "What", "Contrast", "n", "Subjects"]
    assert stages == [
        ["regions", "cell", "partner", "1", "1"],
        ["manifest", "subject", "n/a", "3", "1"],
    ]
    assert "Reason" in Page(text).tables[1][0]
    none = results(rng)
    for name in ("exclusions", "exclusions_by_stage"):
        none[name] = none[name].iloc[:0]
    text = section(render(none), "What was left out", "Runs")
    assert "What was excluded, by stage: none." in text


def test_a_study_of_images_has_no_runs_to_show(rng):
    found = results(rng)
    for name in of_runs(rng):
        del found[name]
    figures = {"coverage": (SVG, "what it shows", "cap")}
    text = render(found, figures=figures)
    quality = section(text, "Data quality", "How it was done")
    assert re.findall(r"<h3>(.*?)</h3>", quality) == [
        "What was left out",
        "People and regions",
    ]
    assert 'id="figure-coverage"' in quality
    described = describe(found, limits={})
    assert not {"runs", "tsnr"} & set(described)


def describe(found, limits):
    return captions.describe_figures(
        found,
        contrast="partner",
        definition="aal3",
        method="spearman",
        unit="%",
        act="holding",
        min_coverage=0.8,
        limits=limits,
    )


def test_ratings_of_other_contrasts_only_leave_q3_and_q4_without_a_figure(rng):
    found = results(rng)
    for path in ("tests/tracking", "tests/coupling"):
        found[path] = found[path][found[path]["contrast"] != "partner"]
        assert len(found[path])
    described = describe(found, limits=LIMITS)
    assert {"attenuation", "correspondence", "specificity"} <= set(described)
    assert not {"tracking", "coupling"} & set(described)


def test_the_caption_of_the_runs_states_every_limit(rng):
    row = example.runs_summary().iloc[0]
    caption = captions.describe_runs(row, LIMITS).caption
    for said in (
        "60 runs of 20 subjects",
        "0.3 mm",
        "1.25",
        "40 %",
        "4.5",
        "11",
        ".55",
    ):
        assert said in caption
    assert "65 %" in caption
    unscrubbed = {k: v for k, v in LIMITS.items() if "threshold" not in k}
    caption = captions.describe_runs(row, unscrubbed).caption
    assert "before the steady state;" in caption
    assert "DVARS" not in caption


def test_a_table_is_the_same_in_latex():
    table = pd.DataFrame(
        {"region": ["a_b & 5 %"], "effect": ["-0.1234"], "bf10": [3.2e7], "p": [np.nan]}
    )
    row = tables.to_latex(table, caption="50 %").splitlines()[7]
    assert row == (
        r"a\_b \& 5 \% & $-$0.123 & 3.2$\times$10\textsuperscript{7} & n/a \\"
    )


@pytest.mark.parametrize(
    ("value", "kind", "shown"),
    [
        (0.0005, "p", "<.001"),
        (0.001, "p", ".001"),
        (1, "p", ">.999"),
        (0.05, "p", ".050"),
        (-0.2149, "r", "\N{MINUS SIGN}.21"),
        (-0.0004, "r", ".00"),
        (0.999, "r", "1.00"),
        (-0.0961, "effect", "\N{MINUS SIGN}0.096"),
        (0.00231, "effect", "0.0023"),
        (1234.5, "effect", "1234"),
        (np.inf, "effect", "∞"),
        ("24.0", "count", "24"),
        (0, "share", "0 %"),
        (0.0004, "share", "<0.1 %"),
        (0.0994, "share", "9.9 %"),
        (0.0996, "share", "10 %"),
        (1, "share", "100 %"),
        ("<b>", "effect", "<b>"),
        (None, "text", "n/a"),
    ],
)
def test_a_number_is_rounded_by_its_kind(value, kind, shown):
    assert tables.display(value, kind) == shown


def test_captions_state_n_test_null_and_sign(rng):
    found = results(rng)
    row = found["tests/correspondence"].iloc[0]
    texts = [
        captions.describe_attenuation(
            found["tests/attenuation"], "%", act="holding"
        ).caption,
        captions.describe_tracking(found["tests/tracking"], act="holding").caption,
        captions.describe_correspondence(row, act="holding").caption,
        captions.describe_coupling(
            found["tests/coupling"].iloc[0], act="holding"
        ).caption,
    ]
    for text in texts:
        assert "24" in text
        assert "above 0" in text
        assert re.search(r"permut|null", text)


def test_captions_say_which_null_decides_and_what_the_others_gave(rng):
    found = results(rng)
    row = found["tests/correspondence"].iloc[0]
    text = captions.describe_correspondence(row, act="holding").caption
    assert (
        "Map null (Moran singleton, 9999 surrogate maps), which decides: p = .012"
        in text
    )
    assert "beside it: variogram matching p = .021, Gaussian field p = .034" in text
    text = captions.describe_panel(found["tests/specificity"]).caption
    assert "nulls that decide (Moran singleton)" in text
    assert "beside it: Gaussian field p = .444" in text


def test_snakemake_s_own_report_has_every_figure_with_a_caption():
    workflow = Path(report.__file__).parents[1]
    rules = "".join(path.read_text("utf-8") for path in workflow.glob("rules/*.smk"))
    named = re.findall(r'[ =]figure\("([^"]+)"(?:.*caption="(\w+)")?', rules)
    captioned = {caption or name for name, caption in named}
    assert captioned == {path.stem for path in workflow.glob("report/*.rst")}
    drawn = set(re.findall(r"scripts/draw_(\w+)\.py", rules))
    # yardsticks are drawn by chance, not on paper; draw_calibration draws two
    assert captioned == drawn - {"yardsticks"} | {"power"}


def test_no_caption_keeps_a_placeholder(rng):
    described = captions.describe_figures(
        {**results(rng), **example.calibration()},
        contrast="partner",
        definition="aal3",
        method="spearman",
        unit="% signal change",
        act="reappraising",
        min_coverage=0.8,
        limits=LIMITS,
        view=example.VIEW,
    )
    figures = {name for names in report.FIGURES.values() for name in names}
    assert set(described) == figures
    for texts in described.values():
        assert not set("{}") & set(texts.alt + texts.caption)
    for name in ("attenuation", "tracking", "correspondence"):
        assert "above 0: reappraising lowered" in described[name].caption
    for name in ("tracking", "coupling"):
        assert "relief above 0: reappraising helped" in described[name].caption


# Tables below those of a question


def beside(text):
    """Return the tables of Q1 and Q3 that stand beside their tests, as text of a TSV."""
    rows = pd.DataFrame(
        {
            "definition": "aal3",
            "region": ["ventral_acc", "insula"],
            "hemisphere": "both",
            "role": "hypothesised",
            "contrast": "partner",
            "question": "Q3",
        }
    )
    within = rows.assign(
        n=18, n_trials=360, n_left_out=2, n_trials_left_out=60, refused=text,
        effect=[2.3456, -0.5], low=[1.0, -2.0], high=[3.5, 1.0], df=16.2, p_t=0.011,
        p=0.01, p_fwe=[0.0234, 0.7], between=-1.234, between_low=-3.0, between_high=0.5,
        icc_effect=0.44, icc_rating=0.31, verdict=["supported", "inconclusive"], reason="r",
    )  # fmt: skip
    mediation = rows.assign(
        n=18, n_trials=360, n_left_out=2, refused=text, a=0.12, b=2.1, direct=8.1,
        total=8.4, indirect=0.25, indirect_low=-0.1, indirect_high=0.61, p_fwe=0.2,
    )  # fmt: skip
    interaction = rows.assign(
        question="Q1", other_region=["insula", "striatum"], n=20, effect=0.0456,
        low=-0.01, high=0.1, p_fwe=0.31, bf10=0.5,
    )  # fmt: skip
    sensitivity = rows.assign(
        question=["Q1", "Q3"], min_coverage=0.5, n=[22, 21], effect=0.2468, p_fwe=0.04,
        bf10=2.0, verdict="supported", verdict_before="inconclusive",
    )  # fmt: skip
    named = {
        "tests/within": within,
        "tests/mediation": mediation,
        "tests/interaction": interaction,
        "tests/sensitivity": sensitivity,
    }
    return {name: example.as_text(table) for name, table in named.items()}


def test_trials_within_people_stand_below_q3(rng):
    page = render({**results(rng), **beside("n/a")})
    header, rows = table_with(Page(page), "Slope within", "Trials")
    shown = dict(zip(header, rows[0], strict=True))
    assert shown["Slope within"] == "2.35"  # points, not a correlation
    assert shown["p (FWE)"] == ".023"
    assert shown["Verdict"] == "supported"
    assert "Refused" not in header  # nothing was
    header, rows = table_with(Page(page), "Indirect (a b)")
    shown = dict(zip(header, rows[0], strict=True))
    assert shown["its 95 % interval"] == tables.interval(-0.1, 0.61, "effect")
    assert "Not causal" in page
    header, rows = table_with(Page(page), "Other ROI")
    assert dict(zip(header, rows[0], strict=True))["Difference"] == "0.046"
    refused = render({**results(rng), **beside("ratings were given by block")})
    assert "ratings were given by block" in refused


def test_each_question_shows_its_own_rows_of_sensitivity(rng):
    page = Page(render({**results(rng), **beside("n/a")}))
    found = [rows for rows in page.tables if "Verdict above" in rows[0]]
    shown = [dict(zip(rows[0], rows[1], strict=True)) for rows in found]
    assert [len(rows) for rows in found] == [2, 2]
    assert [row["n"] for row in shown] == ["22", "21"]
    assert [row["Effect"] for row in shown] == ["0.247", ".25"]  # a mean, a correlation


def test_what_trials_lack_is_said_with_its_key(rng):
    page = render(results(rng), no_trials="single trials were not estimated (the.key)")
    assert "not run, since single trials were not estimated (the.key)." in page
    assert "trial by trial" not in render(results(rng))


def test_partials_and_joint_model_stand_beside_q5(rng):
    found = results(rng) | {
        "tests/partials": example.partials(),
        "tests/joint": example.joint(),
    }
    judged = copy.deepcopy(example.VERDICTS)
    (specificity,) = (q for q in judged["questions"] if q["question"] == "Q5")
    specificity["verdict"] = "inconclusive"
    page = Page(render(found, judged))
    header, rows = table_with(page, "Held constant", "r, nothing held")
    # one contrast needs no column
    assert header.index("Contrast") > header.index("Warnings")
    for row, test in zip(rows, found["tests/partials"].to_dict("records"), strict=True):
        shown = dict(zip(header, row, strict=True))
        assert shown["Held constant"] == test["given"]
        assert shown["r"] == tables.display(test["effect"], "r")
        assert shown["p (map null)"] == tables.display(test["p_map"], "p")
        assert shown["Middle 95 % of null"] == tables.interval(-0.23, 0.24, "r")
        assert shown["R2 of the target"] == tables.display(test["r_squared"], "r")
    assert rows[-1][header.index("Warnings")].startswith("the others explain")
    header, rows = table_with(page, "Weight", "Dominance", "VIF")
    assert "Warnings" not in header  # no row has any
    shown = dict(zip(header, rows[0], strict=True))
    assert shown["Weight"] == tables.display(-0.42, "r")
    assert shown["Share of R2"] == ".18"
    assert shown["Dominates completely"] == "kappa-opioid"
    two = found["tests/partials"]
    found["tests/partials"] = pd.concat([two, two.assign(contrast="stranger")])
    header, _ = table_with(Page(render(found, judged)), "Held constant")
    assert header.index("Contrast") < header.index("Held constant")
    assert "held constant" not in render(found)  # of a question that was not run


def test_a_study_without_them_has_no_empty_tables(rng):
    assert "held constant" not in render(results(rng))


def test_what_has_no_verdict_says_why(rng):
    found = results(rng)
    judged = found["tests/correspondence"]
    assert "No verdict for" not in render(found)
    bare = judged.iloc[:2].assign(
        scope=["voxels", "rois"],
        verdict="n/a",
        reason=["not run: sub-02 lies on <another> grid", "descriptive: 24 orderings"],
    )
    found["tests/correspondence"] = pd.concat([judged, bare, bare])
    page = render(found)
    assert (
        page.count("No verdict for voxels (not run: sub-02 lies on &lt;another&gt;")
        == 1
    )
    assert page.count("No verdict for rois (descriptive: 24 orderings).") == 1
