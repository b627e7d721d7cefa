"""Draw how often a study like this one would err, and how many people it would take."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from handhold import tables
from handhold.drawing import (
    BLUE,
    COLOURS,
    GREY,
    INK,
    LIGHT,
    MARKERS,
    MM,
    VERMILION,
    WIDTH,
    name_marks,
    readable,
    styled,
)
from handhold.rates import CONFOUNDED, ERROR, RIGHT
from handhold.svg import Mark
from handhold.verdicts import AGAINST, INCONCLUSIVE, SUPPORTED

WORLDS = {
    "nothing": "No attenuation",
    "elsewhere": "Attenuation\nunrelated to\nthe receptor map",
    "follows": "Attenuation\nfollows the\nreceptor map",
    "axis": "Attenuation\nruns from back\nto front",
    "baselines": "Unrelated, but\nbaselines go\ntogether",
}
# Colour and marker say the same, for readers in grey.
LOOKS = {
    ERROR: (VERMILION, "o", "rejecting is an error"),
    RIGHT: (BLUE, "s", "rejecting is right (power)"),
    CONFOUNDED: (GREY, "D", "true of the map, not of the receptor alone"),
}
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
TICKS = (0.05, 0.2, 0.5, 1.0)
# Height of a row, and of what stands above and below the rows (mm).
ROW, REST = 5.0, 33.0


@styled
def draw_rates(table: pd.DataFrame, n_subjects: int, alpha: float) -> Figure:
    """Draw the rate of every test by world, with its interval and the line at alpha.

    Parameters
    ----------
    table : DataFrame
        calibration.tsv: world, n_subjects, question, test, rate, low, high, meaning, decides.
    n_subjects : int
        The study's own number of people, which is drawn.
    alpha : float
        Level of the tests.

    Returns
    -------
    Figure
        One panel per world that was repeated, one row per test (of ROIs only the family-wise
        one) and for the verdict supported; full markers are what decides. The scale is that of
        the root of the rate, so that rates near alpha can be told apart.
    """
    own = table[(table["n_subjects"].astype(float) == n_subjects)]
    own = own[~own["test"].str.startswith("p in ")]
    own = own[~own["test"].isin([AGAINST, INCONCLUSIVE])]
    rows = own[["question", "test"]].drop_duplicates().reset_index(drop=True)
    figure = Figure(
        figsize=(WIDTH, (REST + ROW * len(rows)) * MM), layout="constrained"
    )
    worlds = [world for world in WORLDS if world in set(own["world"])]
    panels = figure.subplots(1, len(worlds), sharey=True)
    for panel, world in zip(panels, worlds, strict=True):
        _draw_world(panel, own[own["world"] == world], rows, alpha)
        panel.set_title(WORLDS[world], loc="left", fontweight="bold", fontsize=7)
    for panel in panels:
        panel.tick_params(axis="y", length=0, pad=6)
    panels[0].set_yticks(range(len(rows)), [_name(row) for row in rows.itertuples()])
    panels[0].set_ylim(len(rows) - 0.4, -0.6)
    figure.supxlabel(
        f"Share of simulated studies of {n_subjects} people that reject; dashed: alpha",
        fontsize=8,
    )
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle="", label=label)
        for colour, marker, label in LOOKS.values()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


@styled
def draw_power(table: pd.DataFrame, needed: pd.DataFrame, n_subjects: int) -> Figure:
    """Draw how power grows with the number of people, one line per question.

    Parameters
    ----------
    table : DataFrame
        calibration.tsv, of which the verdict supported in the world `follows` is drawn.
    needed : DataFrame
        sample_size.tsv: question, power, note.
    n_subjects : int
        The study's own number of people, marked by an upright line.
    """
    chosen = table[(table["world"] == "follows") & (table["test"] == SUPPORTED)]
    figure = Figure(figsize=(130 * MM, 80 * MM), layout="constrained")
    panel = figure.subplots()
    notes = dict(zip(needed["question"], needed["note"], strict=True))
    for i, (question, own) in enumerate(chosen.groupby("question", sort=True)):
        own = own.sort_values("n_subjects")
        n = own["n_subjects"].to_numpy(float)
        colour, line = COLOURS[i % len(COLOURS)], LINES[i % len(LINES)]
        low, rate, high = (
            own[name].to_numpy(float) for name in ("low", "rate", "high")
        )
        panel.fill_between(n, low, high, color=colour, alpha=0.15, linewidth=0)
        curve = panel.plot(
            n,
            rate,
            color=colour,
            linestyle=line,
            marker=MARKERS[i % len(MARKERS)],
            markersize=4,
            linewidth=1.2,
            gid=f"power {question}",
            clip_on=False,
            label=f"{question}: {notes.get(question, 'nothing planted')}",
        )
        # the line that joins the marks comes first
        line = Mark(question, label=question)
        name_marks(curve[0], [line, *(_mark(row) for row in own.to_dict("records"))])
    if len(needed):
        panel.axhline(float(needed["power"].iloc[0]), color=GREY, linewidth=0.8)
    panel.axvline(n_subjects, color=INK, linewidth=0.8, linestyle=":")
    panel.annotate(
        "this study",
        (n_subjects, 1.02),
        xycoords=("data", "axes fraction"),
        ha="center",
        fontsize=7,
    )
    panel.set_xscale("log")
    ticks = sorted({*chosen["n_subjects"].astype(int)})
    panel.xaxis.set_major_locator(FixedLocator(_spaced(ticks)))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xticklabels([str(tick) for tick in _spaced(ticks)])
    panel.set_ylim(-0.02, 1.02)
    panel.set_xlabel("People in the study")
    panel.set_ylabel("Share of simulated studies\nthat end in supported")
    panel.legend(
        title="People needed",
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        title_fontsize=7,
    )
    return figure


def _draw_world(
    panel: Axes, own: pd.DataFrame, rows: pd.DataFrame, alpha: float
) -> None:
    panel.set_xscale("function", functions=(_root, np.square))
    panel.set_xlim(0, 1)
    panel.xaxis.set_major_locator(FixedLocator(TICKS))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xticklabels([f"{tick:g}".replace("0.", ".") for tick in TICKS])
    panel.axvline(alpha, color=INK, linewidth=0.8, linestyle="--", zorder=0)
    firsts = rows.index[rows["question"] != rows["question"].shift()]
    for first in firsts[1:]:
        panel.axhline(first - 0.5, color=LIGHT, linewidth=0.6, zorder=0)
    for y, (question, test) in enumerate(rows.itertuples(index=False)):
        found = own[(own["question"] == question) & (own["test"] == test)]
        if found.empty or found["meaning"].iloc[0] not in LOOKS:
            continue
        row = found.iloc[0]
        colour, marker, _ = LOOKS[row["meaning"]]
        bounds = [float(row["low"]), float(row["high"])]
        panel.plot(bounds, [y, y], color=colour, linewidth=1.2, clip_on=False)
        mark = panel.plot(
            [float(row["rate"])],
            [y],
            color=colour,
            marker=marker,
            linestyle="",
            markersize=4.5,
            clip_on=False,
            zorder=3,
            markerfacecolor=colour if row["decides"] else "white",
            gid=f"rate {question} {test}",
        )
        name_marks(mark[0], [_mark(row)])


def _mark(row: Mapping) -> Mark:
    """Name a rate by what it is of; its tooltip has the numbers."""
    name = f"{row['question']}, {readable(row['test'], 40)}"
    rate = tables.display(row["rate"], "share")
    interval = tables.interval(row["low"], row["high"], "share")
    n = tables.display(row["n_subjects"], "count")
    return Mark(f"{name}, {n} people: {rate} {interval}", label=name)


def _root(values):
    return np.sqrt(np.clip(values, 0, None))


def _name(row) -> str:
    test = "verdict: supported" if row.test == SUPPORTED else readable(row.test, 40)
    return f"{row.question}  {test}"


def _spaced(ticks: list[int]) -> list[int]:
    """Leave out numbers that would stand too close to write, on a scale of logarithms."""
    kept = ticks[:1]
    for tick in ticks[1:]:
        if tick >= 1.25 * kept[-1]:
            kept.append(tick)
    return kept
