"""The page in real Chromium: quiet, whole, usable without mouse or script, and never fooled."""

import itertools
import re
import subprocess
from shutil import which
from urllib.parse import quote

import browser
import numpy as np
import pandas as pd
import pytest
import results_tables as example
from axe_playwright_python.sync_playwright import Axe

from handhold import report, tables
from handhold.verdicts import TESTS

PAYLOAD = (
    "<script>window.hit=1</script>\"'><img src=x onerror='window.hit=1'>"
    "<svg onload=window.hit=1> javascript:window.hit=1 {{7*7}} "
)
ENDLESS = "x" * 300
KINDS = ("ordinary", "no numbers", "one ROI", "200 subjects", "names", "hostile")


def drawing(name, people):
    """An SVG as the figures are: marks with names and tooltips, and a word that prints."""
    marks = "".join(
        f'<g data-subject="{tables.html.escape(who)}"><circle cx="{20 + 440 * i / len(people)}"'
        f' cy="{20 + i % 7 * 12}" r="4" fill="#0072b2"/>'
        f"<title>{tables.html.escape(who)}: relief {i}</title></g>"
        for i, who in enumerate(people)
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="510pt" height="130pt" '
        f'viewBox="0 0 510 130">{marks}<g data-label="ACC"><rect x="480" y="90" width="9" '
        'height="9"/><title>ACC: 0.12</title></g>'
        f'<text x="20" y="120">Drawing-{name}</text></svg>'
    )


DRAWN = ("rois", "attenuation", "correspondence", "tracking", "runs", "coverage")


def study(kind, rng):
    """Tables, verdicts and figures of a study of one kind, and what else the page is told."""
    n, rois = 24, example.ROIS
    if kind == "one ROI":
        rois = rois[:1]
    if kind == "200 subjects":
        n = 200
    found = example.results(rng, n, rois)
    told = {"title": "A study", "unit": "% signal change"}
    if kind == "no numbers":
        words = {*rois, *example.DEFINITIONS, *example.CONTRASTS, *example.subjects(n)}
        found = {
            name: table.map(lambda v: v if v in words else "n/a")
            for name, table in found.items()
        }
    renamed = {"names": "Zoë 手 Ünal {}", "hostile": PAYLOAD + ENDLESS + " {}"}.get(
        kind
    )
    if renamed:
        found = {name: rename(table, renamed) for name, table in found.items()}
        told |= {
            "title": renamed,
            "config": renamed,
            "modelled_maps": [renamed],
            "inputs": [{"path": renamed, "sha256": "0" * 64}],
            "versions": {renamed: renamed},
            "citations": [dict.fromkeys(("what", "citation", "licence"), renamed)],
            "no_trials": renamed,
        }
    said = {"sentence": renamed, "reason": renamed} if renamed else {}
    verdicts = judge(found, said)
    people = list(dict.fromkeys(found["qc/review"]["subject"]))
    figures = {
        name: (drawing(name, people), f"{renamed or 'Dots'}", f"Caption-{name}.")
        for name in DRAWN
    }
    return found, verdicts, figures, told


def judge(found, said):
    """Let each question that was run rest on the first row of its table."""
    asked = {
        q["question"]: found[TESTS[q["question"]]].iloc[:1].to_dict("records")
        for q in example.VERDICTS["questions"]
        if q["inputs"]
    }
    questions = [
        {**q, **said, "inputs": asked.get(q["question"], [])}
        for q in example.VERDICTS["questions"]
    ]
    return {**example.VERDICTS, "questions": questions}


def rename(table, renamed):
    """Put hostile words around every name, label and reason of a table."""
    named = {"subject", "region", "contrast", "label", "receptor", "reason", "warnings"}
    named &= {*table.columns}
    return table.assign(
        **{
            column: [
                v if v == "n/a" else renamed.replace("{}", v, 1) for v in table[column]
            ]
            for column in named
        }
    )


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A page of each kind, with its tables; odd names of files must not matter."""
    folder = tmp_path_factory.mktemp("a study, é & 手 #1 50%")
    made = {}
    for kind in KINDS:
        found, verdicts, figures, told = study(kind, np.random.default_rng(20061201))
        path = folder / f"report {kind} 'ü'.html"
        path.write_text(example.render(found, verdicts, figures, **told), "utf-8")
        made[kind] = path, found
    return made


@pytest.fixture
def page(pages, chromium):
    """The ordinary page, open; a test that makes it complain fails."""
    with browser.visit(chromium, pages["ordinary"][0]) as (opened, complaints):
        yield opened
        assert complaints == []


# --- Any page: quiet, in its bounds, true


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_asks_for_nothing_says_nothing_and_fits(kind, pages, chromium):
    path, found = pages[kind]
    with browser.visit(chromium, path) as (page, complaints):
        for width in browser.WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate(browser.OVERFLOWING) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("window.hit") is None
        assert page.locator("figure svg").count() == len(DRAWN)
        assert page.locator("body.scripted").count() == 1  # the script ran to its end
        assert (
            browser.wrong_numbers(page, lambda of: found[of.removesuffix(".tsv")]) == []
        )
    assert complaints == []


@pytest.mark.parametrize(("kind", "width"), [("ordinary", 1440), ("hostile", 390)])
def test_axe_finds_nothing_serious(kind, width, pages, chromium):
    with browser.visit(chromium, pages[kind][0], width) as (page, _):
        found = Axe().run(page).response["violations"]
        assert [
            (rule["id"], rule["nodes"][0]["html"][:200])
            for rule in found
            if rule["impact"] in {"serious", "critical"}
        ] == []


def test_a_wrong_number_would_be_seen(page, pages):
    found = pages["ordinary"][1]

    def altered(of):
        table = found[of.removesuffix(".tsv")]
        if "coupling" not in of:
            return table
        return table.assign(effect=[f"{float(v) + 1e-6}" for v in table["effect"]])

    wrong = browser.wrong_numbers(page, altered)
    assert len(wrong) == len(found["tests/coupling"]) + 1  # the card shows a row too
    assert all("tests/coupling.tsv: no row has" in line for line in wrong)
    assert browser.agrees(".24", "0.2449") is True
    assert browser.agrees(".25", "0.2449") is False
    assert browser.agrees("<.001", "0.0011") is False


def test_links_inside_the_page_lead_somewhere(page):
    lost = page.evaluate(
        "[...document.querySelectorAll('a[href^=\"#\"]')].map((a) => a.getAttribute('href'))"
        ".filter((to) => !document.getElementById(decodeURIComponent(to.slice(1))))"
    )
    assert lost == []
    order = page.evaluate(
        "[...document.querySelectorAll('h1,h2,h3,h4')].map((h) => +h.tagName[1])"
    )
    assert order[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(order))


@pytest.mark.parametrize("kind", ["ordinary", "hostile"])
def test_all_is_there_without_scripts(kind, pages, chromium):
    path, _ = pages[kind]
    words = []
    for scripts in (True, False):
        with browser.visit(chromium, path, scripts=scripts) as (page, complaints):
            assert page.locator("figure svg").count() == len(DRAWN)
            assert page.locator(".tools").is_visible() == scripts
            words.append(
                page.locator("td, tbody th, p, figcaption").all_text_contents()
            )
            assert complaints == []
    with_scripts, bare = (
        [w for w in said if w and not w.startswith(("Search", "Nobody"))]
        for said in words
    )
    assert bare == with_scripts


def test_every_figure_and_column_is_printed(pages, chromium, tmp_path):
    path, found = pages["200 subjects"]
    with browser.visit(chromium, path) as (page, _):
        page.locator("input[type=search]").last.fill("nowhere")  # print shows all rows
        page.pdf(path=tmp_path / "page.pdf", prefer_css_page_size=True)
        # what Chromium lays out on A4 within the margins of 14 mm
        page.emulate_media(media="print")
        page.set_viewport_size({"width": round((210 - 28) / 25.4 * 96), "height": 900})
        assert page.evaluate(browser.OVERFLOWING) == []
        assert (
            page.evaluate(
                "[...document.querySelectorAll('table, svg')].filter((e) =>"
                " e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML)"
            )
            == []
        )
    if which("pdftotext") is None:
        pytest.skip("no pdftotext: apt-get install poppler-utils")
    text = subprocess.run(
        ["pdftotext", "-layout", tmp_path / "page.pdf", "-"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in DRAWN:
        assert f"Drawing-{name}" in text
        assert f"Caption-{name}." in text
    assert text.count("Volumes over") > 2  # the header is repeated on each page
    runs = found["qc/review"]
    assert all(
        tables.display(v, "effect") in text
        for v in runs["largest_vif"].head(report.MOST_ROWS)
    )


# --- What the script does


def column(page, table, name):
    """Return the unrounded values of a column of a table, from top to bottom."""
    return page.evaluate(
        """([table, name]) => {
          const own = document.querySelector(`#${table} table`);
          const heads = [...own.tHead.rows].at(-1).cells;
          const at = [...heads].findIndex((cell) => cell.dataset.column === name);
          return [...own.tBodies[0].rows].map((row) =>
            row.cells[at].dataset.raw ?? row.cells[at].textContent);
        }""",
        [table, name],
    )


def test_numbers_sort_by_their_unrounded_values_and_what_is_missing_comes_last(
    chromium, tmp_path, rng
):
    found = example.results(rng)
    fd = [0.1234561, 0.1234563, 0.1234562, np.inf, 9.0, -1.0, 1e-9, 1e7]
    runs = example.as_text(
        found["qc/review"]
        .iloc[:9]
        .assign(mean_fd=[*fd[:3], np.nan, *fd[3:]], run=range(9))
    )
    (tmp_path / "page.html").write_text(example.render({**found, "qc/review": runs}))
    with browser.visit(chromium, tmp_path / "page.html") as (page, _):
        head = page.locator("#table-all-runs th[data-column=mean_fd]")
        seen = []
        for _ in range(3):
            head.locator("button").click()
            order = column(page, "table-all-runs", "mean_fd")
            seen.append((head.get_attribute("aria-sort"), order))
        page.locator("#table-all-runs th[data-column=run] button").press("Enter")
        assert head.get_attribute("aria-sort") is None
        assert column(page, "table-all-runs", "run") == [str(i) for i in range(9)]
    rising = [str(v) for v in sorted(fd)]
    assert seen == [
        ("ascending", [*rising, "n/a"]),
        ("descending", [*rising[::-1], "n/a"]),
        (None, [str(v) for v in fd[:3]] + ["n/a"] + [str(v) for v in fd[3:]]),
    ]


def test_a_table_is_searched_by_all_words(page, pages):
    runs = pages["ordinary"][1]["qc/review"]
    box = page.get_by_label("Search All runs")
    box.fill("03  2")
    rows = page.locator("#table-all-runs tbody tr:visible")
    shown = rows.evaluate_all("rows => rows.map((row) => row.textContent)")
    assert 0 < len(shown) < len(runs)
    assert all("03" in row and "2" in row for row in shown)
    counted = box.locator("xpath=../following-sibling::output").text_content()
    assert counted == f"{len(shown)} of {len(runs)} rows"
    box.fill("")
    assert rows.count() == len(runs)


def chosen(page):
    return set(
        page.locator("[data-chosen]").evaluate_all(
            "found => found.map((e) => e.dataset.subject)"
        )
    )


def test_a_person_is_highlighted_in_every_figure_and_table(pages, chromium):
    path, found = pages["ordinary"]
    own = (found["qc/review"]["subject"] == "03").sum()
    with browser.visit(chromium, path) as (page, complaints):
        page.locator("#table-all-runs tr[data-subject='03'] td").first.click()
        assert chosen(page) == {"03"}
        assert page.locator("svg [data-chosen]").count() == len(DRAWN)
        assert page.locator("#table-all-runs [data-chosen]").count() == own
        assert (
            page.locator("#said")
            .text_content()
            .startswith("03: highlighted in 6 marks")
        )
        dim = page.locator("#figure-tracking [data-subject='04']")
        assert float(dim.evaluate("e => getComputedStyle(e).opacity")) < 0.5
        bright = page.locator("#figure-tracking [data-subject='03']")
        assert float(bright.evaluate("e => getComputedStyle(e).opacity")) == 1
        assert page.url.endswith("#subject=03")
        page.locator("#figure-tracking [data-subject='05']").click()
        assert chosen(page) == {"05"}
        page.locator("#chosen").select_option("02")
        assert chosen(page) == {"02"}
        page.keyboard.press("Escape")
        page.keyboard.press("Escape")
        assert chosen(page) == set()
        assert "subject" not in page.url
    assert complaints == []


@pytest.mark.parametrize("kind", ["ordinary", "names", "hostile"])
def test_an_address_brings_its_person(kind, pages, chromium):
    path, found = pages[kind]
    who = found["qc/review"]["subject"].iloc[-1]
    at = f"#subject={quote(who, safe='')}"
    with browser.visit(chromium, path, at=at) as (page, complaints):
        assert chosen(page) == {who}
        page.evaluate("location.hash = '#subject=%E0%A4%A'")  # no address of this page
        page.evaluate("location.hash = '#subject=nobody'")
        page.wait_for_function("!document.querySelector('[data-chosen]')")
    assert complaints == []


def test_tooltips_say_who_and_every_digit(page):
    tip = page.locator("#tip")
    page.locator("#figure-tracking [data-subject='02']").hover()
    assert tip.text_content() == "02: relief 1"
    page.locator("h1").hover()
    assert not tip.is_visible()
    cell = page.locator("#card-Q4 td[data-raw]").first
    cell.click()
    assert tip.text_content() == cell.get_attribute("data-raw") == "0.234"
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    page.get_by_label("Unrounded numbers").press("Space")
    assert cell.text_content() == "0.234"
    assert page.evaluate(browser.OVERFLOWING) == []
    page.get_by_label("Unrounded numbers").press("Space")
    assert cell.text_content() == ".23"


def test_the_marks_of_a_figure_are_walked_by_arrow_keys(page):
    page.set_viewport_size({"width": browser.WIDTHS[0], "height": 300})
    page.locator("#figure-tracking .drawing").focus()
    for key, said in (
        ("ArrowRight", "01: relief 0"),
        ("ArrowDown", "02: relief 1"),
        ("ArrowLeft", "01: relief 0"),
        ("ArrowLeft", "ACC: 0.12"),
        ("ArrowRight", "01: relief 0"),
    ):
        page.keyboard.press(key)
        assert page.locator("#said").text_content() == said
        assert page.locator("#tip").text_content() == said
        seen = page.locator("#tip").bounding_box()
        assert 0 <= seen["x"] <= seen["x"] + seen["width"] <= browser.WIDTHS[0]
        assert 0 <= seen["y"] <= seen["y"] + seen["height"] <= 300
        mark = page.locator("[data-active]").bounding_box()
        assert 0 <= mark["y"] <= mark["y"] + mark["height"] <= 302  # and its outline
    page.keyboard.press("Enter")
    assert chosen(page) == {"01"}


def test_a_text_is_copied(pages, chromium, tmp_path):
    text = pages["ordinary"][0].read_text("utf-8")
    given = "<pre id=own>@article{a,\n}</pre><button data-copy=own hidden>Copy</button>"
    (tmp_path / "page.html").write_text(
        text.replace("<main>", f"<main>{given}"), "utf-8"
    )
    with browser.visit(chromium, tmp_path / "page.html") as (page, complaints):
        page.get_by_role("button", name="Copy").click()
        assert page.locator("#said").text_content() == "Copied"
        page.get_by_label("Search All runs").press(
            "Control+v"
        )  # line ends become spaces
        assert page.get_by_label("Search All runs").input_value() == "@article{a, }"
    assert complaints == []


def test_the_first_key_skips_to_the_answer(page):
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.url.endswith("#answer")


def test_an_anchor_shares_its_figure(page):
    page.locator("#figure-coverage .anchor").click()
    assert page.url.endswith("#figure-coverage")
    page.reload()
    assert page.locator("#figure-coverage").evaluate(
        "e => { const r = e.getBoundingClientRect(); return r.top < innerHeight && r.bottom > 0 }"
    )


def test_motion_is_only_for_those_who_want_it(pages, chromium):
    seen = []
    for wish in ("reduce", "no-preference"):
        with browser.visit(chromium, pages["ordinary"][0]) as (page, _):
            page.emulate_media(reduced_motion=wish)
            how = "getComputedStyle(document.documentElement).scrollBehavior"
            seen.append(page.evaluate(how))
    assert seen == ["auto", "smooth"]


def test_the_policy_stops_a_script_that_is_not_the_page_s_own(
    pages, chromium, tmp_path
):
    text = pages["ordinary"][0].read_text("utf-8")
    for injected in (
        "<script>window.hit=1</script>",
        "<img src=x onerror='window.hit=1'>",
    ):
        broken = text.replace("<main>", f"<main>{injected}")
        (tmp_path / "page.html").write_text(broken, "utf-8")
        with browser.visit(chromium, tmp_path / "page.html") as (page, complaints):
            assert page.evaluate("window.hit") is None
        assert any("Content Security Policy" in said for said in complaints)


def test_a_large_study_stays_small(pages):
    size = pages["200 subjects"][0].stat().st_size
    # 0.5 MB; niivue, the brain and the figures come on top
    assert size < 1e6
    # of a table of 600 runs as many rows as the page holds, and it says so
    text = pages["200 subjects"][0].read_text()
    assert len(re.findall("<tr data-subject", text)) > report.MOST_ROWS
    assert f"The first {report.MOST_ROWS} of 600 rows" in text


def test_the_level_of_the_intervals_is_that_of_the_study(rng):
    text = example.render(example.results(rng), level=0.9)
    assert "95 %" not in text
    for said in (
        "90 % interval",
        "Middle 90 % of null",
        "Brackets hold 90 % intervals",
    ):
        assert said in text


def test_one_value_throughout_is_said_once():
    table = pd.DataFrame(
        {
            "subject": ["1", "1"],
            "n": ["20", "20"],
            "p": ["0.1", "n/a"],
            "df": ["n/a", ""],
        }
    )
    left, said = tables.say_once(table, keep=("subject",))
    assert list(left) == ["subject", "p"]
    assert said == [("n", "20"), ("df", "n/a")]
    left, said = tables.say_once(pd.DataFrame({"a": ["1", "1"], "b": ["2", "2"]}))
    assert (list(left), said) == (["a"], [("b", "2")])
