"""Draw results: every subject shown, the unit and the sign on the axis.

Each function takes results tables (values may still be text, n/a is missing) and
returns a matplotlib Figure. The only things computed here are what a picture needs:
positions, bins and least-squares lines; every number written into a figure comes
from a table.
"""

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import pandas as pd
import scipy
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Polygon
from numpy.typing import NDArray

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
    name_marks,
    numbers,
    plain,
    readable,
    roi_name,
    select_rois,
    styled,
)
from handhold.families import FAMILIES
from handhold.svg import Mark
from handhold.verdicts import ADJUSTED

LINES = ("-", "--", "-.", ":")
HATCHES = ("", "////", "||||", "\\\\\\\\")

LOWERED = "above 0: {act} lowered the response"
MORE_RELIEF = "above 0: {act} helped"

# A joint figure stays legible at this many panels in a row of 180 mm.
MOST_COLUMNS = 4
VOXEL_MM = 2
# Letters of 8 pt that fit along the side of a panel.
LONGEST_LINE = 38
# Letters of 7 pt that fit below an ROI's place.
LONGEST_TICK = 9
# Where in an ROI's place its parts stand, so that none hides another: dots, mean, cloud.
DOTS, MEAN, CLOUD = -0.22, 0.06, 0.14
# How far dots reach to either side, and the cloud to its right.
REACH, THICKNESS = 0.2, 0.32
# Of fewer people a density is a guess.
SMALLEST_CLOUD = 10
# Holds the legend of a figure of correlations (mm).
NARROWEST = 110 * MM
# Level of the band around a fit.
BAND = 0.95


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
        Dots are subjects, the cloud is their density, and between them stands the mean
        with its interval.
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
        _draw_subjects(panel, attenuation, tests[tests["contrast"] == contrast], unit)
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
        tests/tracking.tsv, whose rows, in its order, are the panels. What is drawn of a
        row is said at `draw_correlation`.
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
    width = WIDTH if n_columns > 2 else max(HALF * n_columns, NARROWEST)
    figure = Figure(figsize=(width, (98 * n_rows + 14) * MM), layout="constrained")
    strips, scatters = _pairs(figure, n_rows, n_columns)
    values = {"attenuation": plain(unit), "relief": ""}
    for i, (_, row) in enumerate(tests.iterrows()):
        joined = _of_row(attenuation, row).merge(relief, on=["subject", "contrast"])
        what = f"{roi_name(row)}, {readable(row['contrast'])}"
        title = [roi_name(row), readable(row["contrast"])][: 1 + several]
        draw_correlation(
            strips[i], scatters[i], joined, row, title, values, what,
            colour=COLOURS[i % n_columns], marker=MARKERS[i % n_columns],
            named=i % n_columns == 0,
        )  # fmt: skip
        scatters[i].locator_params(axis="x", nbins=4)
    for panel in [*strips[len(tests) :], *scatters[len(tests) :]]:
        panel.set_axis_off()
    in_unit = f" ({plain(unit)})" if unit else ""
    figure.supxlabel(
        f"Attenuation{in_unit}; {LOWERED.format(act=plain(act))}", fontsize=8
    )
    for panel in scatters[::n_columns]:
        panel.set_ylabel(_label(relief_label, MORE_RELIEF.format(act=plain(act))))
    _explain_correlations(figure, tests)
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
        One row of tests/coupling.tsv; what is drawn of it is said at `draw_correlation`.
    relief_label, act : str
        Label of the relief axis; what is to bring relief.
    """
    chosen = (coupling["contrast"] == test["contrast"]) & (
        coupling["receptor"] == test["receptor"]
    )
    joined = coupling[chosen].merge(relief, on=["subject", "contrast"])
    figure = Figure(figsize=(NARROWEST, 122 * MM), layout="constrained")
    strips, scatters = _pairs(figure, 1, 1)
    what = f"{readable(test['receptor'])}, {readable(test['contrast'])}"
    values = {"fisher_z": "", "relief": ""}
    draw_correlation(strips[0], scatters[0], joined, test, [what], values, what)
    panel = scatters[0]
    panel.axvline(0, color=LIGHT, linewidth=0.8, zorder=0)
    panel.set_xlabel(
        "Coupling: Fisher z of the subject's correlation of\n"
        "attenuation with binding; above 0: follows the receptors"
    )
    panel.set_ylabel(_label(relief_label, MORE_RELIEF.format(act=plain(act))))
    _explain_correlations(figure, pd.DataFrame([test]))
    return figure


@styled
def draw_correspondence(
    binding: NDArray,
    group: NDArray,
    structure: NDArray,
    null_r: Mapping[str, NDArray],
    test: Mapping,
    *,
    regions: Sequence[str] = (),
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
    regions : sequence of str
        Names of the parcels, for their tooltips.
    unit, receptor_label, act : str
        Unit of attenuation, label of the binding axis, what is to lower the response.
    """
    binding, group = np.asarray(binding, float), np.asarray(group, float)
    figure = Figure(figsize=(WIDTH, 90 * MM), layout="constrained")
    scatter, histogram = figure.subplots(1, 2, width_ratios=[1.15, 1])
    names = np.array([*regions] or [""] * len(binding), dtype=object)
    _draw_parcels(scatter, binding, group, np.asarray(structure), names, plain(unit))
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
    for part, look, size, colour, gid in (
        (slice(first), "D", 6, VERMILION, "target"),
        (slice(first, None), "o", 5, BLUE, "others"),
    ):
        known = rows[part][np.isfinite(r[part])]
        dots = axes.plot(r[part], y[part], look, color=colour, markersize=size, gid=gid)
        name_marks(dots[0], [_map_mark(row) for row in known.to_dict("records")])
    _write_beside(axes, y, rows, r"p (FWE)", "p_fwe", 1.02)
    _write_beside(
        axes, y, rows, "p (differs from\ntarget, FWE)", "p_difference_fwe", 1.15
    )
    axes.set_yticks(y, [readable(_map_name(row)) for row in rows.to_dict("records")])
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
    for i, (name, coordinates) in enumerate(points.items()):
        for view, (across, up) in {"x": (1, 2), "y": (0, 2), "z": (0, 1)}.items():
            plane = np.asarray(coordinates, float)[:, [across, up]]
            _draw_shadow(display.axes[view].ax, plane, i, roi_name({"region": name}))
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


def _map_name(row: Mapping) -> str:
    return str(row["receptor"] if tables.is_missing(row["label"]) else row["label"])


def _map_mark(row: Mapping) -> Mark:
    r, band = tables.display(row["effect"], "r"), ("null_low", "null_high")
    null = tables.interval(*(row[name] for name in band), "r")
    p = f"family-wise p {tables.equals(row['p_fwe'])}"
    name = _map_name(row)
    title = f"{plain(name)}: r = {r}, middle 95 % of its null {null}, {p}"
    return Mark(title, label=name)


def _present(column: pd.Series) -> pd.Series:
    return ~column.map(tables.is_missing)


def _of_row(values: pd.DataFrame, row: Mapping) -> pd.DataFrame:
    """Take the subjects' rows that a row of a test is about."""
    keys = ["definition", "region", "hemisphere", "contrast"]
    keys = [key for key in keys if key in values.columns and key in row]
    same = [values[key].astype(str) == str(row[key]) for key in keys]
    return values[np.logical_and.reduce(same)]


def _draw_subjects(
    axes: Axes, attenuation: pd.DataFrame, tests: pd.DataFrame, unit: str
) -> None:
    """Draw dots, mean with interval, and cloud, ROI by ROI."""
    axes.axhline(0, color=GREY, linewidth=0.8, zorder=0)
    names = []
    for i, (_, row) in enumerate(tests.iterrows()):
        own = _of_row(attenuation, row)
        own = own[np.isfinite(numbers(own["attenuation"]))]
        values = numbers(own["attenuation"])
        dots = axes.plot(
            i + DOTS + _swarm(values), values, MARKERS[i % len(MARKERS)],
            color=colour_of(i), alpha=0.7, markeredgecolor=INK, markeredgewidth=0.3,
            markersize=4 if len(values) <= 60 else 2.5, gid=f"subjects {i}",
        )  # fmt: skip
        what = f"{roi_name(row)}, {readable(row['contrast'])}"
        name_marks(dots[0], _people(own, {"attenuation": plain(unit)}, what))
        _draw_cloud(axes, i, values)
        mean, low, high = (_number(row[key]) for key in ("effect", "low", "high"))
        at = i + MEAN
        axes.plot([at, at], [low, high], color=INK, lw=1.6, gid=f"interval {i}")
        axes.plot(
            at, mean, "D", color=INK, markersize=4.5, markerfacecolor="white",
            markeredgewidth=1.4, gid=f"mean {i}",
        )  # fmt: skip
        missing = "" if np.isfinite(mean) else "\n(no estimate)"
        n = tables.display(row["n"], "count")
        name = "\n".join(textwrap.wrap(roi_name(row), LONGEST_TICK))
        names.append(f"{name}\nn = {n}{missing}")
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.5, max(len(names), 1) - 0.4)


def _draw_cloud(axes: Axes, i: int, values: NDArray) -> None:
    """Draw the density of the subjects to the right of an ROI's place, if they are many."""
    if len(values) < SMALLEST_CLOUD or np.ptp(values) == 0:
        return
    height = np.linspace(values.min(), values.max(), 60)
    density = scipy.stats.gaussian_kde(values)(height)
    edge = i + CLOUD + THICKNESS * density / density.max()
    axes.fill_betweenx(
        height, i + CLOUD, edge, color=colour_of(i), alpha=0.35, linewidth=0,
        gid=f"cloud {i}",
    )  # fmt: skip


def _people(rows: pd.DataFrame, columns: Mapping[str, str], what: str) -> list[Mark]:
    """Name a mark per row after its subject; `columns` are what the tooltip says, with units."""
    marks = []
    for row in rows.to_dict("records"):
        said = [_said(row, column, unit) for column, unit in columns.items()]
        title = f"{plain(row['subject'])}: {', '.join(said)} ({what})"
        marks.append(Mark(title, subject=str(row["subject"])))
    return marks


def _said(row: Mapping, column: str, unit: str) -> str:
    shown = tables.display(row[column], tables.kind_of(column))
    return " ".join([column.replace("_", " "), shown, unit]).strip()


def _number(value: object) -> float:
    return float("nan") if tables.is_missing(value) else float(value)


def _swarm(values: NDArray, reach: float = REACH, n_bins: int = 30) -> NDArray:
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


def _pairs(figure: Figure, n_rows: int, n_columns: int) -> tuple[list, list]:
    """Lay out a strip for r above each scatter."""
    panels = figure.subplots(
        2 * n_rows, n_columns, squeeze=False, sharey="row",
        height_ratios=[0.24, 1] * n_rows,
    )  # fmt: skip
    return panels[::2].ravel().tolist(), panels[1::2].ravel().tolist()


def draw_correlation(
    strip: Axes,
    scatter: Axes,
    joined: pd.DataFrame,
    row: Mapping,
    title: list[str],
    values: Mapping[str, str],
    what: str,
    *,
    colour: str = BLUE,
    marker: str = "o",
    named: bool = True,
) -> None:
    """Draw a correlation over subjects: how sure r is on a strip, and everybody below it.

    Parameters
    ----------
    strip, scatter : Axes
        The strip runs from -1 to 1. It has r with its interval, thick the range of r where any
        one person is left out, r at equal baselines where that decides, and hatched what
        unreliable measures put out of reach.
    joined : DataFrame
        A row per subject, with the columns of `values`.
    row : mapping
        A row of the tests: effect, low, high, p and, where known, p_fwe, loo_low, loo_high,
        ceiling, most_influential, model, partial_r, partial_low, partial_high.
    title : list of str
        Lines above the numbers.
    values : mapping of str to str
        Columns of the two axes, and their units for the tooltips.
    what : str
        What the tooltips are about.
    named : bool
        Whether the rows of the strip have their names on the left.
    """
    _draw_strip(strip, row, named=named)
    lines = [*title, *_correlation_lines(row)]
    strip.set_title("\n".join(lines), loc="left", fontsize=7)
    joined = joined[np.isfinite([numbers(joined[column]) for column in values]).all(0)]
    x, y = (numbers(joined[column]) for column in values)
    if not len(x):
        scatter.text(
            0.5, 0.5, "no values (n/a)", ha="center", transform=scatter.transAxes
        )
        return
    dots = scatter.plot(
        x, y, marker, color=colour, alpha=0.75, gid="subjects", markeredgecolor=INK,
        markeredgewidth=0.3,
        markersize=4.5 if len(x) <= 60 else 3,
    )  # fmt: skip
    name_marks(dots[0], _people(joined, values, what))
    _draw_fit(scatter, x, y)
    # Marked in the picture too: one person should not make the result.
    is_first = joined["subject"].astype(str) == str(row.get("most_influential"))
    scatter.plot(
        x[is_first], y[is_first], "o", markersize=9, markerfacecolor="none",
        markeredgecolor=INK, markeredgewidth=0.9, gid="most influential",
    )  # fmt: skip


def _draw_fit(axes: Axes, x: NDArray, y: NDArray) -> None:
    """Draw the least-squares line with the pointwise interval of its mean."""
    if len(x) < 3 or np.ptp(x) == 0:
        return
    (slope, offset), centred = np.polyfit(x, y, 1), x - x.mean()
    along = np.linspace(x.min(), x.max(), 50)
    fit = offset + slope * along
    ends = [0, -1]
    axes.plot(along[ends], fit[ends], color=INK, linewidth=1.4, gid="line")
    spread = np.sqrt(((y - offset - slope * x) ** 2).sum() / (len(x) - 2))
    distance = np.sqrt(1 / len(x) + (along - x.mean()) ** 2 / (centred @ centred))
    half = scipy.stats.t.ppf((1 + BAND) / 2, len(x) - 2) * spread * distance
    edge = np.r_[fit - half, (fit + half)[::-1]]
    # An artist, which leaves the axis to the people: three have a band as high as a house.
    axes.add_artist(
        Polygon(
            np.column_stack([np.r_[along, along[::-1]], edge]),
            color=LIGHT, alpha=0.5, linewidth=0, zorder=0, gid="band",
        )
    )  # fmt: skip


def _draw_strip(axes: Axes, row: Mapping, *, named: bool) -> None:
    """Draw r, its interval, its range under leaving one out, and the ceiling."""
    rows = {"r": ("effect", "low", "high", "loo_low", "loo_high")}
    if row.get("model") == ADJUSTED:
        rows["equal\nbaselines"] = ("partial_r", "partial_low", "partial_high")
    axes.axvline(0, color=LIGHT, linewidth=0.8, zorder=0)
    for y, columns in enumerate(rows.values()):
        r, *bounds = (_number(row.get(column)) for column in columns)
        axes.plot(bounds[:2], [y, y], color=INK, lw=1, gid=f"interval {columns[0]}")
        axes.plot(bounds[2:], [y] * len(bounds[2:]), color=GREY, lw=4, gid="loo",
                  solid_capstyle="butt")  # fmt: skip
        axes.plot(
            [r], [y], "D", color=INK, markersize=4.2, markeredgewidth=1.1,
            markerfacecolor="white", gid=f"estimate {columns[0]}",
        )  # fmt: skip
    ceiling = _number(row.get("ceiling"))
    if np.isfinite(ceiling):
        for start, end in ((-1, -ceiling), (ceiling, 1)):
            axes.axvspan(
                start, end, facecolor="white", edgecolor=GREY, hatch="//////", lw=0.6,
                zorder=0, gid="beyond the ceiling",
            )  # fmt: skip
    axes.set_xlim(-1, 1)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(axis="y", length=0, labelleft=named, labelsize=6.5)
    axes.tick_params(axis="x", labelsize=6.5, pad=2, length=2)
    axes.set_xticks([-1, -0.5, 0, 0.5, 1], [f"{tables.MINUS}1", "", "0", "", "1"])
    axes.spines["left"].set_visible(False)


def _explain_correlations(figure: Figure, tests: pd.DataFrame) -> None:
    """Write above the panels what their signs mean."""
    handles = [
        Line2D([], [], color=INK, lw=1, marker="D", markersize=4, markerfacecolor="white",
               label="r with its 95 % interval"),
        Line2D([], [], color=GREY, lw=4, label="r leaving any one person out"),
        Line2D([], [], ls="", marker="o", markersize=8, markerfacecolor="none",
               markeredgecolor=INK, label="most influential person"),
        Line2D([], [], color=INK, lw=1.4, label="least squares"),
        Patch(facecolor=LIGHT, alpha=0.5, label="95 % band of the fit"),
    ]  # fmt: skip
    if "ceiling" in tests and _present(tests["ceiling"]).any():
        label = "beyond the ceiling of reliability"
        handles.append(
            Patch(facecolor="white", edgecolor=GREY, hatch="//////", label=label)
        )
    columns = 3 if figure.get_figwidth() > NARROWEST + 1e-9 else 2
    figure.legend(handles=handles, loc="outside upper left", ncols=columns)


def _correlation_lines(row: Mapping) -> list[str]:
    """Write r, interval, p, leave-one-out range and ceiling of a test, for a panel's title."""
    if tables.is_missing(row["effect"]):
        return ["r n/a", "", "", ""]
    r = tables.display(row["effect"], "r")
    left_out = [tables.display(row.get(f"loo_{end}"), "r") for end in ("low", "high")]
    lines = [
        f"r = {r} {tables.interval(row['low'], row['high'], 'r')}",
        _p_line(row["p"], row.get("p_fwe", row["p"])),
        f"one left out: {' to '.join(left_out)}",
        f"ceiling: {tables.display(row.get('ceiling'), 'r')}",
    ]
    if row.get("model") == ADJUSTED:
        r = tables.display(row["partial_r"], "r")
        p = _p_line(row["p_partial"], row["p_partial_fwe"])
        lines += ["equal baselines (decides):", f"r = {r}, {p}"]
    return lines


def _p_line(p: object, p_fwe: object) -> str:
    """Write p, and family-wise p where there is a family."""
    fwe = f" (FWE {tables.display(p_fwe, 'p')})" if p_fwe != p else ""
    return f"p {tables.equals(p)}{fwe}"


def _draw_parcels(
    axes: Axes,
    binding: NDArray,
    group: NDArray,
    structure: NDArray,
    names: NDArray,
    unit: str,
) -> None:
    """Draw parcels by structure, with lines of the slope they share."""
    looks = {"cortex": (BLUE, "o", "-"), "subcortex": (VERMILION, "^", "--")}
    both = np.isfinite(binding) & np.isfinite(group)
    axes.axhline(0, color=LIGHT, linewidth=0.8, zorder=0)
    parts = {s: both & (structure == s) for s in sorted(set(structure))}
    slope = _shared_slope(binding, group, parts.values())
    for i, (name, part) in enumerate(parts.items()):
        colour, marker, line = looks.get(
            name, (COLOURS[2 + i % 4], MARKERS[2 + i % 4], ":")
        )
        x, y = binding[part], group[part]
        dots = axes.plot(
            x, y, marker, color=colour, alpha=0.6, markersize=3.4, markeredgecolor=INK,
            markeredgewidth=0.25,
            label=f"{readable(name)} ({len(x)} parcels)", gid=f"parcels {i}",
        )  # fmt: skip
        name_marks(dots[0], _parcels(names[part], x, y, unit))
        if len(x) > 1 and np.isfinite(slope):
            ends = np.array([x.min(), x.max()])
            fit = y.mean() + slope * (ends - x.mean())
            axes.plot(ends, fit, line, color=INK, linewidth=1.4, gid=f"line {i}")
    if parts:
        axes.legend(
            loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=2, borderaxespad=0.2,
            handletextpad=0.2, columnspacing=1.2, markerscale=1.6,
        )  # fmt: skip


def _parcels(names: NDArray, x: NDArray, y: NDArray, unit: str) -> list[Mark]:
    marks = []
    for name, *values in zip(names, x, y, strict=True):
        binding, group = (tables.display(value, "effect") for value in values)
        title = f"{plain(name)}: binding {binding}, attenuation {group} {unit}".strip()
        marks.append(Mark(title, label=str(name)))
    return marks


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
        f"map null p {tables.equals(test['p_map'])}",
        f"subject null p {tables.equals(test['p_subject'])}",
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


def _draw_shadow(axes: Axes, plane: NDArray, i: int, name: str) -> None:
    """Fill and outline where any of the points falls, seen along one axis."""
    if not len(plane):
        return
    low = np.floor(plane.min(axis=0) / VOXEL_MM) - 4
    high = np.ceil(plane.max(axis=0) / VOXEL_MM) + 4
    shadow = np.zeros((high - low + 1).astype(int))
    cells = (np.rint(plane / VOXEL_MM) - low).astype(int)
    shadow[tuple(cells.T)] = 1
    # Closing joins voxels wider than a cell; blurring rounds the staircase.
    shadow = scipy.ndimage.binary_closing(shadow, iterations=2).astype(float)
    shadow = scipy.ndimage.gaussian_filter(shadow, 0.8)
    across, up = ((low[d] + np.arange(shadow.shape[d])) * VOXEL_MM for d in (0, 1))
    filled = axes.contourf(
        across, up, shadow.T, [0.4, 2], colors=[colour_of(i)], alpha=0.45,
        hatches=[HATCHES[i % len(HATCHES)]], zorder=3 + i,
    )  # fmt: skip
    name_marks(filled, [Mark(name, label=name)])
    axes.contour(
        across, up, shadow.T, [0.4], colors=[colour_of(i)], linewidths=1.3,
        linestyles=LINES[i % len(LINES)], zorder=3.5 + i,
    )  # fmt: skip
