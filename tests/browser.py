"""A page in real Chromium, with the network cut, and what it shows compared with its tables."""

import re
import unicodedata
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import yaml

from handhold.io import read_text
from handhold.tables import MINUS, TIMES, is_missing

# Chromium's own errands are no requests of the page, but would be made without these.
FLAGS = (
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
WIDTHS = (1440, 390)
LOCAL = ("file:", "data:", "blob:")
# Elements that reach over the right edge, but for those that scroll inside their box.
OVERFLOWING = """() => [...document.querySelectorAll("body *")].filter((e) =>
  !e.closest(".scroll > *, .drawing > *, pre, .skip, .unseen, [hidden]")
  && e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .map((e) => e.outerHTML.slice(0, 200))"""
# Each table: its TSV, its columns with their group, unrounded and shown text of its cells.
TABLES = """() => {
  const both = (cell) => [cell.dataset.raw ?? cell.title ?? "", cell.textContent];
  const of = (cell) => { const [raw, shown] = both(cell); return [raw || shown, shown]; };
  return [...document.querySelectorAll("table[data-source]")].map((table) => {
    const [heads, groups] = [...table.tHead.rows].reverse();
    const under = groups
      ? [...groups.cells].flatMap((cell) => Array(cell.colSpan).fill(cell.textContent))
      : Array(heads.cells.length).fill("");
    return {
      source: table.dataset.source,
      columns: [...heads.cells].map((cell, i) => [under[i], cell.dataset.column]),
      rows: [...table.tBodies[0].rows].map((row) => [...row.cells].map(of)),
      throughout: [...table.querySelectorAll("caption [data-column]")]
        .map((cell) => [cell.dataset.column, of(cell)]),
    };
  });
}"""
# What stands in one cell and in two columns of the TSV.
BOUNDS = {
    "interval": ("low", "high"),
    "null_band": ("null_low", "null_high"),
    "partial_interval": ("partial_low", "partial_high"),
    "between_interval": ("between_low", "between_high"),
    "indirect_interval": ("indirect_low", "indirect_high"),
}
# Columns that the page makes from several rows of a TSV, or takes from another one.
MADE = {"agreement", "side", "dice"}
KEYS = {"region", "contrast", "definition"}


@contextmanager
def visit(browser, path: Path, width: int = WIDTHS[0], scripts: bool = True, at=""):
    """Open a file in a browser that has no network; yield the page and its complaints.

    A complaint is a request that is not of this machine, a message on the console (a
    breach of the Content-Security-Policy is one), an error or a dialog.
    """
    context = browser.new_context(
        viewport={"width": width, "height": 900}, java_script_enabled=scripts
    )
    context.set_offline(True)
    page, complaints = context.new_page(), []
    page.on(
        "request",
        lambda r: r.url.startswith(LOCAL) or complaints.append(f"request {r.url}"),
    )
    page.on("console", lambda message: complaints.append(f"console {message.text}"))
    page.on("pageerror", lambda error: complaints.append(f"error {error}"))
    page.on("dialog", lambda d: (complaints.append(f"dialog {d.message}"), d.dismiss()))
    page.goto(Path(path).resolve().as_uri() + at)
    yield page, complaints
    context.close()


def agrees(shown: str, raw: str) -> bool:
    """Tell whether a rounded number is `raw` to within half of its last digit."""
    if is_missing(raw) or shown == raw:
        return shown == ("n/a" if is_missing(raw) else raw)
    if shown.startswith("["):
        pairs = zip(shown[1:-1].split(", "), raw[1:-1].split(", "), strict=True)
        return all(agrees(*pair) for pair in pairs)
    if shown[0] in "<>":
        limit, number = _read(shown[1:])[0], float(raw)
        return number < limit if shown[0] == "<" else number > limit - 5e-4
    if shown.endswith("∞"):
        return float(raw) == float(f"{shown.replace(MINUS, '-')[:-1]}inf")
    number, unit = _read(shown)
    return abs(number - float(raw)) <= unit / 2 * (1 + 1e-9)


def _read(shown: str) -> tuple[float, float]:
    """Read a number as the page writes it, and the unit of its last digit."""
    # NFKC brings the digits of a power down to the line
    plain = unicodedata.normalize("NFKC", shown).replace(MINUS, "-")
    times = 1.0
    if plain.endswith(" %"):
        plain, times = plain[:-2], 0.01
    if TIMES in plain:
        plain, power = plain.split(f"{TIMES}10")
        times = 10.0 ** int(power)
    decimals = len(plain.partition(".")[2])
    return float(plain) * times, 10.0**-decimals * times


def wrong_numbers(page, read) -> list[str]:
    """List the rows of the page's tables that are no row of their TSV, or are badly rounded.

    `read` takes the path of a TSV and returns it as text. Under a header of two levels
    a row of the page is a row of the TSV for each definition.
    """
    wrong = []
    for table in page.evaluate(TABLES):
        source, tsv = table["source"], read(table["source"])
        for group in {under for under, _ in table["columns"] if under} or {""}:
            rows = [_own(table, row, group) for row in table["rows"]]
            wrong += _faults(rows, tsv, source)
    return wrong


def _own(table: dict, row: list, group: str) -> dict[str, tuple[str, str]]:
    """Return the cells of a row under one group, and those that the caption holds."""
    cells = zip(table["columns"], row, strict=True)
    own = {name: cell for (under, name), cell in cells if under in {"", group}}
    return (
        own | dict(table["throughout"]) | ({"definition": [group] * 2} if group else {})
    )


def _faults(rows: list[dict], tsv: pd.DataFrame, source: str) -> list[str]:
    faults = [
        f"{source} {name}: {shown} is not {raw}"
        for row in rows
        for name, (raw, shown) in row.items()
        if not agrees(shown, raw)
    ]
    names = [name for name in rows[0] if name not in MADE]
    columns = [column for name in names for column in _columns(name, tsv)]
    known = {tuple(map(_same, row)) for row in tsv[columns].itertuples(index=False)}
    for row in rows:
        values = [value for name in names for value in _values(name, row[name][0])]
        # a definition that lacks the row shows n/a in all its cells
        is_none = all(is_missing(row[name][0]) for name in {*names} - KEYS)
        if tuple(map(_same, values)) not in known and not is_none:
            faults.append(f"{source}: no row has {row}")
    return faults


def _columns(name: str, tsv: pd.DataFrame) -> tuple[str, ...]:
    low_high = BOUNDS.get(name, (name,))
    return low_high if low_high[0] in tsv else ("mean_r_low", "mean_r_high")


def _values(name: str, raw: str) -> list[str]:
    if name not in BOUNDS:
        return [raw]
    return ["n/a"] * 2 if is_missing(raw) else raw[1:-1].split(", ")


def _same(value: str) -> str | float:
    """Write one value in one way: verdicts.json and the TSV need not agree in digits."""
    if is_missing(value):
        return "n/a"
    try:
        return float(value)
    except ValueError:
        return value


# What sentences call a number, and in which columns the tables have it.
SPOKEN = re.compile(
    rf"(?<![\w.])(p|r|R2|n|d_z) ([=<>]) ([{MINUS}-]?\d*\.?\d+)(?: (\[[^\]]*\]))?"
)
SPOKEN_IN = {
    "p": r"p|p_.*",
    "r": r"effect|(mean_|partial_)?r|r_with_\w+|detectable_r",
    "R2": r"r_squared",
    "n": r"n|n_\w+",
    "d_z": r"\w*dz",
}


def unfounded_sentences(page, tables: list[pd.DataFrame]) -> list[str]:
    """List what sentences, captions and alternative texts say that no table has.

    Each "p = .012" has to be the rounded value of a cell of a column of p, and so on.
    """
    said = page.locator("p, figcaption, svg text").all_text_contents()
    return [
        found[0]
        for text in said
        for found in SPOKEN.finditer(text)
        if not any(
            agrees(found[3] if found[2] == "=" else found[2] + found[3], value)
            for table in tables
            for column in table
            if re.fullmatch(SPOKEN_IN[found[1]], column)
            for value in table[column].unique()
            if not is_missing(value)
        )
    ]


def assert_whole(browser, folder: Path) -> None:
    """Hold the page of a finished study against its folder: quiet, in bounds, and true."""
    with visit(browser, folder / "report.html") as (page, complaints):
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate(OVERFLOWING) == []
        assert wrong_numbers(page, lambda path: read_text(folder / path)) == []
        tables = [read_text(path) for path in sorted(folder.glob("tests/*.tsv"))]
        # bounds that were chosen, not found
        chosen = yaml.safe_load((folder / "provenance/config.yaml").read_text("utf-8"))
        tables.append(pd.DataFrame([chosen["tests"]]).astype(str))
        assert unfounded_sentences(page, tables) == []
        # and would they notice?
        moved = [t.map(lambda v: v if is_missing(v) else "7e77") for t in tables]
        assert len(unfounded_sentences(page, moved)) > 10
    assert complaints == []
