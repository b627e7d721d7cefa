"""What all figures share: their look, and the names of what they show.

Colours are those of Okabe and Ito [1]_, and marker or line style says the same again
for readers in grey.

References
----------
.. [1] Okabe & Ito (2008), Color universal design.
"""

import functools
import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib import font_manager
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from handhold.captions import MOST_NAMED
from handhold.io import replacing, write_text
from handhold.svg import Mark, identify

# Files are written without a display; nilearn would otherwise ask for one.
matplotlib.use("Agg")

MM = 1 / 25.4
WIDTH = 180 * MM  # two columns of a journal page
HALF = 90 * MM
PNG_DPI = 200
# Marks of an artist, from which on a picture of them is smaller than they are.
MOST_MARKS = 1000

INK, GREY, LIGHT = "#1a1a1a", "#595959", "#c8c8c8"
BLUE, VERMILION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P")

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "hatch.linewidth": 0.7,
    "axes.unicode_minus": True,
    # A dollar sign in somebody's region name is not a formula.
    "text.parse_math": False,
    # Same figure, same bytes: ids in an SVG are hashed with a random salt otherwise.
    "svg.hashsalt": "handhold",
    # Letters as outlines: the reader's machine may not have the font.
    "svg.fonttype": "path",
    # A picture that many places share is written once.
    "image.composite_image": False,
}

# Longer names are cut in a figure; the tables keep them whole.
LONGEST_NAME = 36
# Written in lower case these would read as words; "vACC" is left as it is.
ACRONYMS = {"acc", "pfc", "ofc"}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw in the house style, whatever the settings of the caller are."""

    @functools.wraps(draw)
    def in_style(*args, **kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return in_style


def name_marks(artist: Artist, marks: Iterable[Mark]) -> None:
    """Say whom or what each mark of an artist stands for, in the order of drawing.

    Of more people than `MOST_NAMED` the marks become one picture without names: a page that
    named each would grow by them, and nobody could tell them apart.
    """
    marks = tuple(marks)
    if len({mark.subject for mark in marks} - {""}) > MOST_NAMED:
        artist.is_crowd = True
    else:
        # Matplotlib has no place for it; `save` looks here.
        artist.marks = marks


def save(figure: Figure, stem: str | Path) -> None:
    """Write a figure as `stem`.svg and `stem`.png, the same bytes every time."""
    write_text(to_svg(figure), f"{stem}.svg")
    with replacing(f"{stem}.png") as temporary, matplotlib.rc_context(STYLE):
        figure.savefig(temporary, format="png", dpi=PNG_DPI)


def to_svg(figure: Figure) -> str:
    """Write a figure as SVG, in which what `name_marks` named has its name and a tooltip."""
    marks = {}
    for artist in figure.findobj(lambda artist: getattr(artist, "marks", ())):
        artist.set_gid(f"marks-{len(marks)}")
        marks[artist.get_gid()] = artist.marks
    crowds = figure.findobj(_is_crowd)
    for artist in crowds:
        artist.set_rasterized(True)
    drawn = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(
            drawn,
            format="svg",
            metadata={"Date": None},
            dpi=PNG_DPI if crowds else "figure",
        )
    return identify(drawn.getvalue(), marks)


def _is_crowd(artist: Artist) -> bool:
    """Tell whether an artist's marks are too many to be drawn each by itself."""
    if isinstance(artist, Line2D) and not hasattr(artist, "marks"):
        return hasattr(artist, "is_crowd") or len(artist.get_xdata()) > MOST_MARKS
    return hasattr(artist, "is_crowd")


def select_rois(table: pd.DataFrame, definition: str | None = None) -> pd.DataFrame:
    """Take the hypothesised ROIs of one definition, both sides together.

    Without `definition` the first in the table is taken: the primary one. A column
    `role` or `hemisphere` that singles out no row leaves all rows.
    """
    if "definition" in table.columns and len(table):
        chosen = table["definition"].iloc[0] if definition is None else definition
        table = table[table["definition"] == chosen]
    for column, wanted in {"role": "hypothesised", "hemisphere": "both"}.items():
        if column in table.columns and (table[column] == wanted).any():
            table = table[table[column] == wanted]
    return table


def roi_name(row: Mapping) -> str:
    """Name an ROI for the reader, with its side if it has only one.

    Examples
    --------
    >>> roi_name({"region": "ventral_acc"}), roi_name({"region": "vACC_L"})
    ('Ventral ACC', 'vACC left')
    """
    words = str(row["region"]).replace("_", " ").split()
    sides = {"L": "left", "R": "right"}
    words = [w.upper() if w.lower() in ACRONYMS else sides.get(w, w) for w in words]
    side = row.get("hemisphere")
    if side in sides.values() and side not in words:
        words.append(side)
    name = readable(" ".join(words))
    return name[:1].upper() + name[1:] if name.split(" ")[0].islower() else name


def readable(name: object, longest: int = LONGEST_NAME) -> str:
    """Make a label fit to draw: one line, not too long, only drawable letters.

    Examples
    --------
    >>> readable("ventral_acc"), readable("x" * 200, 10)
    ('ventral acc', 'xxxxxxxxx…')
    """
    return plain(str(name).replace("_", " "), longest)


def plain(text: str, longest: int = 80) -> str:
    """Make a text fit to draw, underscores kept: units such as BP_ND have them."""
    text = " ".join(str(text).split())
    text = "".join(
        c if ord(c) in _drawable() else "\N{REPLACEMENT CHARACTER}" for c in text
    )
    return text if len(text) <= longest else text[: longest - 1] + "…"


@functools.cache
def _drawable() -> frozenset[int]:
    """List the characters of the font; any other would be drawn as a warning."""
    path = font_manager.findfont(STYLE["font.family"])
    return frozenset(font_manager.get_font(path).get_charmap())


def numbers(column: pd.Series) -> NDArray:
    """Read a column of numbers whose missing values may be written n/a."""
    return pd.to_numeric(column, errors="coerce").to_numpy(float)


def colour_of(i: int) -> str:
    """Return the colour of the i-th of several things, from the start again after the last."""
    return COLOURS[i % len(COLOURS)]
