"""Draw results: every subject shown, the unit and the sign on the axis.

Each function takes results tables (values may still be text, n/a is missing) and
returns a matplotlib Figure. The only things computed here are what a picture needs:
positions, bins and least-squares lines; every number written into a figure comes
from a table.
"""

import textwrap
from collections.abc import Mapping

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray
from scipy import ndimage

from handhold import tables
from handhold.drawing import (
    BLUE,
    COLOURS,
    GREEN,
    GREY,
    HALF,
    INK,
    LIGHT,
    MARKERS,
    MM,
    VERMILION,
    WIDTH,
    colour_of,
    numbers,
    plain,
    readable,
    roi_name,
    select_rois,
    styled,
)
from handhold.families import FAMILIES

LINES = ("-", "--", "-.", ":")
HATCHES = ("", "////", "....", "\\\\\\\\")

LOWERED = "above 0: {act} lowered the response"
MORE_RELIEF = "above 0: {act} helped"

# A joint figure stays legible at this many panels in a row of 180 mm.
MOST_COLUMNS = 4
VOXEL_MM = 2
# Letters of 8 pt that fit along the side of a panel.
LONGEST_LINE = 38
# Means stand to the right of their dots, so that they hide none.
BESIDE = 0.4


@styled
def draw_attenuation(
    attenuation: pd.DataFrame,
    tests: pd.DataFrame,
    unit: str,
    *,
    definition: str | None = None,
    act: str = "holding",
) -> Figure:
    """Draw each subject's attenuation by ROI, one panel per contrast.

    Parameters
    ----------
    attenuation : DataFrame
        attenuation/rois.tsv: subject, definition, region, hemisphere, contrast and
        attenuation (`unit`); a missing value is not drawn.
    tests : DataFrame
        tests/attenuation.tsv: the same keys with n, effect, low and high (`unit`).
        Its rows, in its order, are what is drawn.
    unit : str
        For example '% signal change'.
    definition : str, optional
        ROI definition to draw; by default the first in `tests`.
    act : str
        What is to lower the response, for the note on the sign.

    Returns
    -------
    Figure
        Dots are subjects; the black bar beside them is the mean with its interval.
    """
    tests = select_rois(tests, definition)
    contrasts = list(dict.fromkeys(tests["contrast"]))
    n_rois = max((tests["contrast"] == c).sum() for c in contrasts) if contrasts else 1
    beside = len(contrasts) if n_rois * len(contrasts) <= 16 else 1
    n_rows = -(-max(len(contrasts), 1) // beside)
    width = np.clip((18 + 17 * n_rois * beside) * MM, HALF, WIDTH)
    figure = Figure(figsize=(width, 78 * MM * n_rows), layout="constrained")
    panels = figure.subplots(n_rows, beside, sharey=True, squeeze=False).ravel()
    for panel, contrast in zip(panels, contrasts, strict=False):
        _draw_subjects(panel, attenuation, tests[tests["contrast"] == contrast])
        panel.set_title(readable(contrast), loc="left", fontweight="bold")
    for panel in panels[::beside]:
        panel.set_ylabel(
            f"Attenuation ({plain(unit)})\n{LOWERED.format(act=plain(act))}"
        )
    return figure


@styled
def draw_tracking(
    attenuation: pd.DataFrame,
    relief: pd.DataFrame,
    tests: pd.DataFrame,
    *,
    unit: str = "",
    definition: str | None = None,
    relief_label: str = "Relief",
    act: str = "holding",
) -> Figure:
    """Draw relief against attenuation, one panel per ROI and contrast.

    Parameters
    ----------
    attenuation, relief : DataFrame
        attenuation/rois.tsv and relief.tsv, joined by subject and contrast.
    tests : DataFrame
        tests/tracking.tsv; its effect (Pearson r), low, high, p and p_fwe are
        written above the panel. Its rows, in its order, are the panels.
    unit, relief_label, act : str
        Unit of attenuation; label of the relief axis; what is to lower the response.
    definition : str, optional
        ROI definition to draw; by default the first in `tests`.
    """
    tests = select_rois(tests, definition)
    # Contrast by contrast, so that with up to four ROIs a row is a contrast.
    order = {contrast: i for i, contrast in enumerate(dict.fromkeys(tests["contrast"]))}
    tests = tests.sort_values("contrast", key=lambda c: c.map(order), kind="stable")
    several = len(order) > 1
    n_columns = min(max(len(tests) // max(len(order), 1), 1), MOST_COLUMNS)
    n_rows = -(-max(len(tests), 1) // n_columns)
    width = WIDTH if n_columns > 2 else HALF * n_columns
    figure = Figure(figsize=(width, (62 * n_rows + 6) * MM), layout="constrained")
    panels = figure.subplots(n_rows, n_columns, squeeze=False, sharey=True).ravel()
    for i, (panel, (_, row)) in enumerate(zip(panels, tests.iterrows(), strict=False)):
        joined = _of_row(attenuation, row).merge(relief, on=["subject", "contrast"])
        colour, marker = COLOURS[i % n_columns], MARKERS[i % n_columns]
        x, y = numbers(joined["attenuation"]), numbers(joined["relief"])
        _draw_scatter(panel, x, y, colour=colour, marker=marker)
        panel.locator_params(axis="x", nbins=4)
        title = [roi_name(row), readable(row["contrast"])][: 1 + several]
        panel.set_title("\n".join([*title, *_correlation_lines(row)]), loc="left")
    for panel in panels[len(tests) :]:
        panel.set_axis_off()
    in_unit = f" ({plain(unit)})" if unit else ""
    figure.supxlabel(
        f"Attenuation{in_unit}; {LOWERED.format(act=plain(act))}", fontsize=8
    )
    for panel in panels[::n_columns]:
        panel.set_ylabel(_label(relief_label, MORE_RELIEF.format(act=plain(act))))
    return figure


@styled
def draw_coupling(
    coupling: pd.DataFrame,
    relief: pd.DataFrame,
    test: Mapping,
    *,
    relief_label: str = "Relief",
    act: str = "holding",
) -> Figure:
    """Draw relief against each subject's coupling with the receptor map.

    Parameters
    ----------
    coupling, relief : DataFrame
        coupling.tsv (fisher_z of a subject's correlation with the map) and
        relief.tsv.
    test : mapping
        One row of tests/coupling.tsv: receptor, contrast, effect, low, high, p.
    relief_label, act : str
        Label of the relief axis; what is to bring relief.
    """
    chosen = (coupling["contrast"] == test["contrast"]) & (
        coupling["receptor"] == test["receptor"]
    )
    joined = coupling[chosen].merge(relief, on=["subject", "contrast"])
    figure = Figure(figsize=(100 * MM, 80 * MM), layout="constrained")
    panel = figure.subplots()
    _draw_scatter(panel, numbers(joined["fisher_z"]), numbers(joined["relief"]))
    panel.axvline(0, color=LIGHT, linewidth=0.8, zorder=0)
    what = f"{readable(test['receptor'])}, {readable(test['contrast'])}"
    panel.set_title("\n".join([what, *_correlation_lines(test)]), loc="left")
    panel.set_xlabel(
        "Coupling: Fisher z of the subject's correlation of\n"
        "attenuation with binding; above 0: follows the receptors"
    )
    panel.set_ylabel(_label(relief_label, MORE_RELIEF.format(act=plain(act))))
    return figure


@styled
def draw_correspondence(
    binding: NDArray,
    group: NDArray,
    structure: NDArray,
    null_r: Mapping[str, NDArray],
    test: Mapping,
    *,
    unit: str = "",
    receptor_label: str = "Receptor binding",
    act: str = "holding",
) -> Figure:
    """Draw group attenuation against binding, and r against the map null.

    Parameters
    ----------
    binding, group : array, shape (n_parcels,)
        Receptor map (`receptor_label` states its unit) and mean attenuation
        (`unit`), the same parcels. NaN is not drawn.
    structure : array of str, shape (n_parcels,)
        'cortex' or 'subcortex'. One line per structure, with the slope that the
        structures share: r is judged within structures.
    null_r : mapping of str to array, shape (n_nulls,)
        r of the surrogate maps by family of nulls, first the family that decides: it is filled,
        the others are outlines of the same area.
    test : mapping
        A row of tests/correspondence.tsv: effect, null_low, null_high, p_map,
        p_subject and method.
    unit, receptor_label, act : str
        Unit of attenuation, label of the binding axis, what is to lower the response.
    """
    binding, group = np.asarray(binding, float), np.asarray(group, float)
    figure = Figure(figsize=(WIDTH, 90 * MM), layout="constrained")
    scatter, histogram = figure.subplots(1, 2, width_ratios=[1.15, 1])
    _draw_parcels(scatter, binding, group, np.asarray(structure))
    in_unit = f" ({plain(unit)})" if unit else ""
    scatter.set_xlabel(plain(receptor_label))
    scatter.set_ylabel(f"Group attenuation{in_unit}\n{LOWERED.format(act=plain(act))}")
    _draw_null(histogram, null_r, test)
    return figure


@styled
def draw_panel(tests: pd.DataFrame) -> Figure:
    """Draw r for every receptor map with its null band, the target on top.

    `tests` is tests/specificity.tsv of one contrast: receptor, target (true for
    one), label, effect (r), null_low, null_high, p_fwe and p_difference_fwe.
    """
    is_target = tests["target"].astype(str).str.lower() == "true"
    rows = pd.concat([tests[is_target], tests[~is_target]])
    height = (26 + 6.2 * max(len(rows), 2)) * MM
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots()
    y = np.arange(len(rows))
    r, low, high = (numbers(rows[c]) for c in ("effect", "null_low", "null_high"))
    axes.hlines(y, low, high, color=LIGHT, linewidth=6, zorder=1)
    axes.axvline(0, color=GREY, linewidth=0.8, zorder=0)
    first = is_target.sum()
    axes.plot(r[:first], y[:first], "D", color=VERMILION, markersize=6, gid="target")
    axes.plot(r[first:], y[first:], "o", color=BLUE, markersize=5, gid="others")
    _write_beside(axes, y, rows, r"p (FWE)", "p_fwe", 1.02)
    _write_beside(
        axes, y, rows, "p (differs from\ntarget, FWE)", "p_difference_fwe", 1.15
    )
    names = [
        readable(n)
        for n in rows["label"].where(_present(rows["label"]), rows["receptor"])
    ]
    axes.set_yticks(y, names)
    for label in axes.get_yticklabels()[:first]:
        label.set_fontweight("bold")
    axes.set_ylim(len(rows) - 0.4, -0.6)
    shown = np.abs(np.concatenate([r, low, high]))
    reach = np.nanmax(shown, initial=0.1) * 1.08
    axes.set_xlim(-reach, reach)
    axes.set_xlabel(
        "Correlation of attenuation with the receptor map (r)\n"
        "above 0: attenuation higher where binding is higher"
    )
    handles = [
        Line2D([], [], ls="", marker="D", color=VERMILION, label="target map"),
        Line2D([], [], ls="", marker="o", color=BLUE, label="other maps"),
        Line2D([], [], color=LIGHT, lw=6, label="middle 95 % of the map null"),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=3)
    return figure


@styled
def draw_rois(points: Mapping[str, NDArray]) -> Figure:
    """Draw the outline of each ROI on glass brains from the side, back and top.

    Parameters
    ----------
    points : mapping of str to array, shape (n_voxels, 3)
        MNI coordinates (mm) of the voxel centres of each ROI.

    Returns
    -------
    Figure
        One row of three views. An outline is the ROI's shadow along the line of
        sight: colour, hatching and line style tell ROIs apart.
    """
    # nilearn costs 3 s to import, and only this figure needs it.
    from nilearn.plotting import plot_glass_brain

    figure = Figure(figsize=(WIDTH, 62 * MM))
    display = plot_glass_brain(
        None,
        display_mode="ortho",
        figure=figure,
        axes=(0, 0.14, 1, 0.86),
        annotate=True,
        alpha=0.55,
    )
    for i, coordinates in enumerate(points.values()):
        for view, (across, up) in {"x": (1, 2), "y": (0, 2), "z": (0, 1)}.items():
            plane = np.asarray(coordinates, float)[:, [across, up]]
            _draw_shadow(display.axes[view].ax, plane, i)
    handles = [
        Patch(
            facecolor=(*matplotlib.colors.to_rgb(colour_of(i)), 0.45),
            edgecolor=colour_of(i),
            hatch=HATCHES[i % len(HATCHES)],
            linestyle=LINES[i % len(LINES)],
            label=roi_name({"region": name}),
        )
        for i, name in enumerate(points)
    ]
    if handles:
        columns = min(len(handles), MOST_COLUMNS)
        figure.legend(handles=handles, loc="lower center", ncols=columns)
    return figure


def _present(column: pd.Series) -> pd.Series:
    return ~column.map(tables.is_missing)


def _of_row(values: pd.DataFrame, row: Mapping) -> pd.DataFrame:
    """Take the subjects' rows that a row of a test is about."""
    keys = ["definition", "region", "hemisphere", "contrast"]
    keys = [key for key in keys if key in values.columns and key in row]
    same = [values[key].astype(str) == str(row[key]) for key in keys]
    return values[np.logical_and.reduce(same)]


def _draw_subjects(axes: Axes, attenuation: pd.DataFrame, tests: pd.DataFrame) -> None:
    """Draw dots, mean and interval, ROI by ROI."""
    axes.axhline(0, color=GREY, linewidth=0.8, zorder=0)
    names = []
    for i, (_, row) in enumerate(tests.iterrows()):
        values = numbers(_of_row(attenuation, row)["attenuation"])
        values = values[np.isfinite(values)]
        axes.plot(
            i + _swarm(values), values, MARKERS[i % len(MARKERS)],
            color=colour_of(i), alpha=0.65, markeredgewidth=0,
            markersize=4 if len(values) <= 60 else 2.5, gid=f"subjects {i}",
        )  # fmt: skip
        mean, low, high = (_number(row[key]) for key in ("effect", "low", "high"))
        beside = i + BESIDE
        axes.plot(
            [beside] * 2, [low, high], color=INK, linewidth=1.6, gid=f"interval {i}"
        )
        axes.plot(
            beside,
            mean,
            "_",
            color=INK,
            markersize=9,
            markeredgewidth=2,
            gid=f"mean {i}",
        )
        missing = "" if np.isfinite(mean) else "\n(no estimate)"
        n = tables.display(row["n"], "count")
        name = "\n".join(textwrap.wrap(roi_name(row), 11))
        names.append(f"{name}\nn = {n}{missing}")
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.5, max(len(names), 1) - 0.4)


def _number(value: object) -> float:
    return float("nan") if tables.is_missing(value) else float(value)


def _swarm(values: NDArray, reach: float = 0.32, n_bins: int = 30) -> NDArray:
    """Spread dots of similar height sideways so that each is seen.

    Deterministic: within a bin of height the dots alternate around the middle.
    """
    if len(values) < 2 or np.ptp(values) == 0:
        return (
            np.linspace(-reach, reach, len(values))
            if len(values) > 1
            else np.zeros(len(values))
        )
    bins = np.floor((values - values.min()) / np.ptp(values) * (n_bins - 1)).astype(int)
    step = min(0.09, 2 * reach / np.bincount(bins).max())
    offsets = np.zeros(len(values))
    for b in np.unique(bins):
        members = np.flatnonzero(bins == b)
        members = members[np.argsort(values[members], kind="stable")]
        rank = np.arange(len(members))
        side = np.where(rank % 2, 1, -1)
        centre = 0 if len(members) % 2 else step / 2
        offsets[members] = side * ((rank + 1) // 2) * step + centre
    return offsets


def _label(name: str, note: str) -> str:
    """Write an axis label with its sign below it, in lines that a small panel holds."""
    return "\n".join([*textwrap.wrap(plain(name), LONGEST_LINE), note])


def _draw_scatter(
    axes: Axes, x: NDArray, y: NDArray, *, colour: str = BLUE, marker: str = "o"
) -> None:
    """Draw one dot per subject and the least-squares line."""
    both = np.isfinite(x) & np.isfinite(y)
    x, y = x[both], y[both]
    if not len(x):
        axes.text(0.5, 0.5, "no values (n/a)", ha="center", transform=axes.transAxes)
        return
    size = 4.5 if len(x) <= 60 else 3
    axes.plot(
        x,
        y,
        marker,
        color=colour,
        alpha=0.7,
        markersize=size,
        markeredgewidth=0,
        gid="subjects",
    )
    if len(x) > 2 and np.ptp(x) > 0:
        slope, offset = np.polyfit(x, y, 1)
        ends = np.array([x.min(), x.max()])
        axes.plot(ends, offset + slope * ends, color=INK, linewidth=1.4, gid="line")


def _correlation_lines(row: Mapping) -> list[str]:
    """Write r, interval and p of a test as two lines of a panel title."""
    if tables.is_missing(row["effect"]):
        return ["r n/a", ""]
    r = tables.display(row["effect"], "r")
    p = _p_text("p", row["p"])
    if "p_fwe" in row and row["p_fwe"] != row["p"]:
        p += f" (FWE {tables.display(row['p_fwe'], 'p')})"
    return [f"r = {r} {tables.interval(row['low'], row['high'], 'r')}", p]


def _p_text(name: str, value: object) -> str:
    shown = tables.display(value, "p")
    if shown[0] in "<>":
        return f"{name} {shown[0]} {shown[1:]}"
    return f"{name} {shown}" if shown == tables.MISSING else f"{name} = {shown}"


def _draw_parcels(
    axes: Axes, binding: NDArray, group: NDArray, structure: NDArray
) -> None:
    """Draw parcels by structure, with lines of the slope they share."""
    looks = {"cortex": (BLUE, "o", "-"), "subcortex": (VERMILION, "^", "--")}
    both = np.isfinite(binding) & np.isfinite(group)
    axes.axhline(0, color=LIGHT, linewidth=0.8, zorder=0)
    parts = {s: both & (structure == s) for s in dict.fromkeys(structure)}
    slope = _shared_slope(binding, group, parts.values())
    for i, (name, part) in enumerate(parts.items()):
        colour, marker, line = looks.get(
            name, (COLOURS[2 + i % 4], MARKERS[2 + i % 4], ":")
        )
        x, y = binding[part], group[part]
        axes.plot(
            x, y, marker, color=colour, alpha=0.55, markersize=3.4, markeredgewidth=0,
            label=f"{readable(name)} ({len(x)} parcels)", gid=f"parcels {i}",
        )  # fmt: skip
        if len(x) > 1 and np.isfinite(slope):
            ends = np.array([x.min(), x.max()])
            fit = y.mean() + slope * (ends - x.mean())
            axes.plot(ends, fit, line, color=INK, linewidth=1.4, gid=f"line {i}")
    if parts:
        axes.legend(
            loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=2, borderaxespad=0.2,
            handletextpad=0.2, columnspacing=1.2, markerscale=1.6,
        )  # fmt: skip


def _shared_slope(x: NDArray, y: NDArray, parts) -> float:
    """Least-squares slope with each structure centred on its own."""
    products = squares = 0.0
    for part in parts:
        if part.any():
            centred = x[part] - x[part].mean()
            products += centred @ y[part]
            squares += centred @ centred
    return products / squares if squares else float("nan")


def _draw_null(axes: Axes, null_r: Mapping[str, NDArray], test: Mapping) -> None:
    """Draw the null r as histograms, the observed r as a line."""
    observed = _number(test["effect"])
    finite = {family: r[np.isfinite(r)] for family, r in null_r.items()}
    deciding, *beside = finite
    drawn = np.concatenate([*finite.values()])
    reach = np.nanmax(np.abs([*drawn, observed, 0.1])) * 1.1
    edges = np.linspace(-reach, reach, 51)
    if len(finite[deciding]):
        axes.hist(
            finite[deciding], bins=edges, color=LIGHT,
            label=f"{FAMILIES[deciding]} (decides)",
        )  # fmt: skip
    for i, family in enumerate(beside):
        count, _ = np.histogram(finite[family], edges[::2])
        # the area of the family that decides, so that widths compare; wider bins, since
        # these families draw fewer
        count = count * len(finite[deciding]) / max(len(finite[family]), 1) / 2
        axes.plot(
            edges[1::2], count, drawstyle="steps-mid",
            color=(BLUE, GREEN)[i % 2], linestyle=LINES[i % 2], linewidth=1.1,
            label=FAMILIES[family],
            gid=f"family {family}",
        )  # fmt: skip
    for key in ("null_low", "null_high"):
        bound = _number(test.get(key))
        label = "its middle 95 %" if key == "null_low" else None
        axes.axvline(
            bound, color=GREY, linestyle=":", linewidth=1.2, label=label, gid=key
        )
    r = tables.display(test["effect"], "r")
    axes.axvline(
        observed,
        color=VERMILION,
        linewidth=2,
        label=f"observed r = {r}",
        gid="observed",
    )
    axes.set_xlim(-reach, reach)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.05)
    method = str(test.get("method", "")).capitalize()
    axes.set_xlabel(f"{method} r within structures\nabove 0: follows the receptor map")
    axes.set_ylabel("Surrogate maps (count)")
    p = [
        _p_text("map null p", test["p_map"]),
        _p_text("subject null p", test["p_subject"]),
    ]
    axes.set_title("; ".join(p), loc="left", fontsize=7.5, pad=42)
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=2, borderaxespad=0.2,
        handlelength=1.4, columnspacing=1.2,
    )  # fmt: skip


def _write_beside(
    axes: Axes, y: NDArray, rows: pd.DataFrame, heading: str, column: str, x: float
) -> None:
    """Write a column of p values to the right of the plot."""
    place = axes.get_yaxis_transform()
    axes.text(x, -0.75, heading, transform=place, va="bottom", fontsize=7)
    for height, value in zip(y, rows[column], strict=True):
        shown = tables.display(value, "p")
        axes.text(x, height, shown, transform=place, va="center", fontsize=7)


def _draw_shadow(axes: Axes, plane: NDArray, i: int) -> None:
    """Fill and outline where any of the points falls, seen along one axis."""
    if not len(plane):
        return
    low = np.floor(plane.min(axis=0) / VOXEL_MM) - 4
    high = np.ceil(plane.max(axis=0) / VOXEL_MM) + 4
    shadow = np.zeros((high - low + 1).astype(int))
    cells = (np.rint(plane / VOXEL_MM) - low).astype(int)
    shadow[tuple(cells.T)] = 1
    # Closing joins voxels wider than a cell; blurring rounds the staircase.
    shadow = ndimage.binary_closing(shadow, iterations=2).astype(float)
    shadow = ndimage.gaussian_filter(shadow, 0.8)
    across, up = ((low[d] + np.arange(shadow.shape[d])) * VOXEL_MM for d in (0, 1))
    axes.contourf(
        across, up, shadow.T, [0.4, 2], colors=[colour_of(i)], alpha=0.45,
        hatches=[HATCHES[i % len(HATCHES)]], zorder=3 + i,
    )  # fmt: skip
    axes.contour(
        across, up, shadow.T, [0.4], colors=[colour_of(i)], linewidths=1.3,
        linestyles=LINES[i % len(LINES)], zorder=3.5 + i,
    )  # fmt: skip
