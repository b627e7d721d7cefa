"""Draw how good the data are: every subject and run shown, what stands out marked.

Each function takes results tables (values may still be text, n/a is missing) and
returns a matplotlib Figure.
"""

from collections.abc import Mapping
from typing import NamedTuple

import matplotlib
import numpy as np
import pandas as pd
import scipy
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Colormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from numpy.typing import NDArray

from handhold import tables
from handhold.captions import registration_sheets
from handhold.drawing import (
    BLUE,
    COLOURS,
    GREY,
    INK,
    MARKERS,
    MM,
    VERMILION,
    WIDTH,
    name_marks,
    numbers,
    plain,
    readable,
    roi_name,
    select_rois,
    styled,
)
from handhold.svg import Mark

# More subjects than this and their labels would touch.
MOST_LABELS = 48
# Holds the titles of the panels of `draw_runs`.
NARROWEST = 115 * MM
# Letters of a subject's label.
LONGEST_SUBJECT = 12
# Up to here a run has its own colour and marker; more could not be told apart.
MOST_LOOKS = len(MARKERS)
# Runs of a subject share this part of the subject's place; the rest keeps people apart.
RUNS_REACH = 0.28
# Tells the places of neighbours apart, and stays lighter than any mark.
BAND = "#f1f1f1"
# Points of an outline; shorter ones go around a few voxels.
SHORTEST_STROKE = 12
# A brain is drawn at a fifteenth of its size: less than the width of a line.
FINEST_MM = 0.4
# Of what is there in part, and in full: light enough for ink, and apart in grey.
SHADES = ("#d8e8f2", "#7fb2d6")
# What a tooltip calls the value of a cell.
NAMES = {"tsnr": "tSNR", "n": "n ="}
# Ticks of a variance-inflation factor, on a logarithmic axis.
VIF_TICKS = np.array([1, 2, 5, 10, 20, 50, 100, 1000])


class Measure(NamedTuple):
    """A panel of `draw_runs`: a column of qc/review.tsv, its title, and its limits by key.

    `kind` is the scale: 'share' or 'r' (0 to 1), 'vif' (logarithmic from 1) or 'amount' (from 0).
    """

    column: str
    title: str
    kind: str
    warns: str = ""
    refuses: str = ""


MEASURES = (
    Measure("mean_fd", "Head motion: mean framewise displacement (mm)", "amount"),
    Measure("censored", "Volumes censored", "share", refuses="max_censored"),
    Measure("df", "Degrees of freedom left", "amount"),
    Measure(
        "largest_vif",
        "Collinearity: largest variance-inflation factor of a cell",
        "vif",
        warns="warn_vif",
        refuses="max_vif",
    ),
    Measure(
        "largest_r_motion",
        "Task and motion: largest |r| of a cell with a motion parameter",
        "r",
        warns="warn_motion",
    ),
    Measure(
        "largest_high_pass_loss",
        "High-pass: largest share of a cell's variance removed",
        "share",
        warns="warn_high_pass",
    ),
)


@styled
def draw_runs(review: pd.DataFrame, limits: Mapping[str, float]) -> Figure:
    """Draw how good each run is: a panel per measure, the same subjects below each other.

    Parameters
    ----------
    review : DataFrame
        qc/review.tsv, a row per run: subject, session, run and the columns of
        `MEASURES`. Missing values are counted beside their panel.
    limits : mapping
        warn_vif, max_vif, max_censored, warn_motion and warn_high_pass: lines
        beyond which the tables warn, or the study is refused.

    Returns
    -------
    Figure
        A mark per run, in a subject's place from the first run to the last; a ring
        around what lies over a line.
    """
    subjects = list(dict.fromkeys(review["subject"]))
    rows = review.to_dict("records")
    runs = [_run_name(row) for row in rows]
    # Not as first met: the first subject may lack the first run.
    names = list(dict.fromkeys(_run_name(row) for row in sorted(rows, key=_run_order)))
    place = np.array([subjects.index(s) for s in review["subject"]], float)
    steps = np.linspace(-RUNS_REACH, RUNS_REACH, len(names)) if len(names) > 1 else [0]
    x = place + np.array([steps[names.index(name)] for name in runs])
    width = np.clip((60 + 8 * len(subjects)) * MM, NARROWEST, WIDTH)
    height = (24 * len(MEASURES) + 24) * MM
    figure = Figure(figsize=(width, height), layout="constrained")
    panels = figure.subplots(len(MEASURES), 1, sharex=True)
    size = 4.2 if len(review) <= 100 else 3.2 if len(review) <= 240 else 2.2
    looks = _looks(names)
    for panel, measure in zip(panels, MEASURES, strict=True):
        values = numbers(review[measure.column])
        _mark_places(panel, len(subjects))
        top = _scale(panel, measure, values, limits)
        # What has no number, such as an infinite VIF, stands at the upper edge.
        height = np.where(values == np.inf, top, values)
        for name, (colour, marker) in looks.items():
            own = np.array([name in {run, ""} for run in runs]) & ~np.isnan(height)
            dots = panel.plot(
                x[own], height[own], marker, color=colour, markersize=size,
                markeredgewidth=0, zorder=3, clip_on=False, in_layout=False,
                gid=f"runs {name}",
            )  # fmt: skip
            name_marks(dots[0], _run_marks(review[own], measure.column))
        _draw_limits(panel, measure, limits)
        _ring(panel, x, height, values > _lowest_limit(measure, limits), size)
        panel.set_title(measure.title, loc="left")
        _count_missing(panel, values)
    panels[-1].set_xlim(-0.6, len(subjects) - 0.4)
    _label_subjects(panels[-1], subjects)
    figure.align_ylabels(panels)
    handles = _handles(looks, len(names))
    longest = max(len(handle.get_label()) for handle in handles)
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=int(width // ((12 + 1.4 * longest) * MM)),
    )
    return figure


@styled
def draw_coverage(
    rois: pd.DataFrame, min_coverage: float, *, definition: str | None = None
) -> Figure:
    """Draw how much of each ROI each subject's images cover.

    Parameters
    ----------
    rois : DataFrame
        regions/rois.tsv: subject, definition, region, hemisphere and coverage
        (0 to 1). Of several images per subject the worst is shown.
    min_coverage : float
        Cells below it carry a cross: they are excluded.
    definition : str, optional
        ROI definition to draw; by default the first in `rois`.
    """
    grid = _worst_of(select_rois(rois, definition), "coverage")
    figure, axes = _draw_heat_map(grid, 1, "Coverage (proportion\nof the ROI measured)")
    roi, subject = np.nonzero(grid.to_numpy() < min_coverage)
    _name_cells(axes, grid, "coverage")
    # White on dark and dark on light: visible at any coverage, and in grey.
    axes.plot(subject, roi, "x", color="white", markersize=4, markeredgewidth=2.2)
    axes.plot(
        subject, roi, "x", color=INK, markersize=3.6, markeredgewidth=1, gid="too low"
    )
    bar = figure.axes[1]
    bar.axhline(min_coverage, color="white", linewidth=2.5)
    bar.axhline(min_coverage, color=INK, linewidth=1.2, linestyle="--", gid="gate")
    note = f"Cross: below {min_coverage:g}: excluded. White: no image."
    axes.set_title(note, loc="left", fontsize=7.5)
    return figure


@styled
def draw_tsnr(rois: pd.DataFrame, *, definition: str | None = None) -> Figure:
    """Draw the temporal signal-to-noise ratio of each ROI in each subject.

    Parameters
    ----------
    rois : DataFrame
        regions/rois.tsv: subject, definition, region, hemisphere and tsnr. Of
        several images per subject the worst is shown.
    definition : str, optional
        ROI definition to draw; by default the first in `rois`.
    """
    grid = _worst_of(select_rois(rois, definition), "tsnr")
    best = np.nanmax(grid.to_numpy(), initial=0)
    label = "Temporal signal-to-\nnoise ratio (tSNR)"
    figure, axes = _draw_heat_map(grid, best if best > 0 else 1, label)
    _name_cells(axes, grid, "tsnr")
    axes.set_title("Dark: weak signal. White: no value.", loc="left", fontsize=7.5)
    return figure


@styled
def draw_cells(
    images: pd.DataFrame, relief: pd.DataFrame | None, excluded: pd.DataFrame
) -> Figure:
    """Draw what each person has: events or images of every condition and cue, and ratings.

    Parameters
    ----------
    images : DataFrame
        manifest.tsv, a row per image: subject, condition, cue, contrast. Of BOLD
        qc/regressors.tsv, a row per cell of each run, with n_events.
    relief : DataFrame or None
        relief.tsv: subject, contrast and relief, which may be missing; None without ratings.
    excluded : DataFrame
        excluded.tsv: subject and reason. Someone who is only there has nothing.

    Returns
    -------
    Figure
        A full cell is there, a pale one in part (less than others have), and a cross marks
        what is missing.
    """
    what = "events" if "n_events" in images else "images"
    images = images.assign(
        cell=[_cell_name(row) for row in images.to_dict("records")],
        n=numbers(images["n_events"]) if what == "events" else 1,
    )
    images = images[images["cell"] != ""]
    found = images.groupby(["cell", "subject"], sort=False)["n"].sum().unstack()
    order = list(dict.fromkeys(images["cell"]))
    if relief is not None:
        rated = relief[np.isfinite(numbers(relief["relief"]))]
        names = {
            c: f"ratings: {readable(c)}" for c in dict.fromkeys(relief["contrast"])
        }
        rated = rated.assign(cell=rated["contrast"].map(names))
        counts = rated.groupby(["cell", "subject"], sort=False).size().unstack()
        found = pd.concat([found, counts])
        order += names.values()
    people = dict.fromkeys([*images["subject"], *excluded["subject"].dropna()])
    grid = found.reindex(index=order, columns=list(people)).fillna(0)
    share = grid.div(grid.max(axis=1).clip(lower=1), axis=0)
    figure, axes = _lay_grid(grid)
    shades = matplotlib.colors.LinearSegmentedColormap.from_list(
        "share", ["white", *SHADES]
    )
    _draw_cells(axes, share, shades, 1)
    _name_cells(axes, grid.astype(int), "n")
    row, subject = np.nonzero(grid.to_numpy() == 0)
    axes.plot(subject, row, "x", color=INK, markersize=3.6, markeredgewidth=1,
              gid="missing")  # fmt: skip
    note = f"Full: there. Pale: fewer {what} than others have. Cross: missing."
    axes.set_title(note, loc="left", fontsize=7.5)
    return figure


@styled
def draw_registration(
    table: pd.DataFrame, planes: Mapping[str, NDArray], *, sheet: str = "registration"
) -> Figure:
    """Draw the outline of each person's mask on the template, a small picture per person.

    Parameters
    ----------
    table : DataFrame
        qc/registration.tsv, a row per subject.
    planes : mapping of str to array
        What `registration.check_registration` returns beside it.
    sheet : str
        Which sheet to draw, by its name (`captions.name_sheets`).
    """
    own = registration_sheets(table.reset_index(drop=True))[sheet]
    width, height, places = _lay_planes(planes)
    n_columns = min(max(len(own), 1), 4)
    n_rows = -(-max(len(own), 1) // n_columns)
    scale = 0.97 * WIDTH / (4 * width)
    figure = Figure(figsize=(n_columns * width * scale, n_rows * height * scale))
    axes = figure.add_axes((0, 0, 1, 1))
    for i, (person, row) in enumerate(own.iterrows()):
        left, top = (i % n_columns) * width, -(i // n_columns) * height
        for axis, (across, up, extent) in places.items():
            (a, b), (c, d) = extent
            picture = planes[f"template_{axis}"]
            shown = matplotlib.colormaps["gray"](0.25 + 0.75 * picture.T / 255)
            shown[..., 3] = picture.T > 0
            axes.imshow(
                shown, origin="lower", interpolation="none", aspect="auto",
                extent=(left + across, left + across + b - a, top + up, top + up + d - c),
            )  # fmt: skip
        traced = []
        for axis, (across, up, extent) in places.items():
            corner = np.array([left + across, top + up])
            traced.append(corner + _outline(planes[f"mask_{axis}"][person], extent))
        outline = np.concatenate(traced)
        # A breath of colour: a pointer meets the mask, not the line around it alone.
        shape = PathPatch(
            Path(outline), facecolor=(*to_rgb(VERMILION), 0.06), edgecolor=VERMILION,
            linewidth=0.9, gid="outline",
        )  # fmt: skip
        axes.add_patch(shape)
        if np.isfinite(outline).any():
            name_marks(shape, [_registration_mark(row)])
        covered = tables.display(row["template_covered"], "share")
        subject = readable(row["subject"], LONGEST_SUBJECT)
        axes.text(left, top - 4, f"{subject}: covers {covered}", fontsize=7, va="top")
    axes.set_xlim(-6, n_columns * width - 6)
    axes.set_ylim(-n_rows * height + 6, 6)
    axes.set_axis_off()
    return figure


def _lay_planes(planes: Mapping[str, NDArray]) -> tuple[float, float, dict]:
    """Place the three planes side by side (mm): the size of all, and by axis corner and extent."""
    gap, label = 6, 32
    extents = {axis: planes[f"extent_{axis}"].tolist() for axis in "xyz"}
    tall = max(d - c for _, (c, d) in extents.values())
    places, left = {}, 0.0
    for axis, ((a, b), (c, d)) in extents.items():
        places[axis] = (left, -label - (tall + d - c) / 2, extents[axis])
        left += b - a + gap
    return left + 2 * gap, tall + label + gap, places


def _outline(mask: NDArray, extent: list) -> NDArray:
    """Trace the border of a mask: points (mm from its first corner), strokes apart by NaN."""
    # only this figure needs it; matplotlib brings it
    from contourpy import contour_generator

    (a, b), _ = extent
    step = (b - a) / (mask.shape[0] - 1)
    smooth = scipy.ndimage.gaussian_filter(np.pad(mask.astype(float), 2), 0.7)
    x, y = ((np.arange(n) - 2) * step for n in smooth.shape)
    strokes = contour_generator(x, y, smooth.T).lines(0.5)
    apart = np.full((1, 2), np.nan)
    long = [_simplified(s) for s in strokes if len(s) >= SHORTEST_STROKE]
    return np.concatenate([apart, *(part for s in long for part in (s, apart))])


def _simplified(stroke: NDArray) -> NDArray:
    """Leave out the points of a line (mm) that move it by less than can be seen."""
    path = Path(stroke)
    path.simplify_threshold = FINEST_MM
    kept = path.cleaned(simplify=True)
    return kept.vertices[kept.codes != Path.STOP]


def _registration_mark(row: Mapping) -> Mark:
    covered, outside = (
        tables.display(row[name], "share")
        for name in ("template_covered", "mask_outside")
    )
    title = (
        f"{plain(row['subject'])}: Dice with the template's brain "
        f"{tables.display(row['dice_template'], 'r')}, {covered} of it covered, {outside} of the "
        "mask outside"
    )
    return Mark(title, subject=str(row["subject"]))


def _cell_name(row: Mapping) -> str:
    """Name what an image holds.

    Examples
    --------
    >>> _cell_name({"condition": "alone", "cue": "threat", "contrast": None})
    'alone, threat'
    """
    parts = [row.get(key) for key in ("condition", "cue", "contrast")]
    return ", ".join(readable(part) for part in parts if not tables.is_missing(part))


def _run_name(row: Mapping) -> str:
    """Name a run without its subject.

    Examples
    --------
    >>> _run_name({"session": "a", "run": "2"}), _run_name({"session": "n/a", "run": 1})
    ('session a, run 2', 'run 1')
    """
    parts = [
        f"{key} {readable(row[key], LONGEST_SUBJECT)}"
        for key in ("session", "run")
        if not tables.is_missing(row[key])
    ]
    return ", ".join(parts) or "run"


def _run_marks(runs: pd.DataFrame, column: str) -> list[Mark]:
    marks = []
    for row in runs.to_dict("records"):
        value = tables.display(row[column], tables.kind_of(column))
        name = tables.LABELS.get(column, column).lower().replace("fd", "FD")
        title = f"{plain(row['subject'])}, {_run_name(row)}: {name} {value}"
        marks.append(Mark(title, subject=str(row["subject"]), label=_run_name(row)))
    return marks


def _run_order(row: Mapping) -> tuple:
    """Say where a run comes, numbers by their value."""
    run = str(row["run"])
    return str(row["session"]), int(run) if run.isdecimal() else np.inf, run


def _looks(names: list[str]) -> dict[str, tuple[str, str]]:
    """Give each run a colour and a marker; too many share one, under no name."""
    if not 1 < len(names) <= MOST_LOOKS:
        return {"": (BLUE, "o")}
    return dict(zip(names, zip(COLOURS, MARKERS, strict=True), strict=False))


def _handles(looks: Mapping, n_names: int) -> list[Line2D]:
    one = "one run per subject" if n_names == 1 else f"{n_names} runs, left to right"
    marks = [
        Line2D([], [], ls="", marker=marker, color=colour, label=name or one)
        for name, (colour, marker) in looks.items()
    ]
    ring = Line2D(
        [], [], ls="", marker="o", markersize=8, markerfacecolor="none",
        markeredgecolor=INK, label="over a line",
    )  # fmt: skip
    return [*marks, ring]


def _mark_places(axes: Axes, n_subjects: int) -> None:
    """Shade every other subject, or every other stretch between labels."""
    step = _label_step(n_subjects)
    for start in range(step, n_subjects, 2 * step):
        axes.axvspan(start - 0.5, start + step - 0.5, color=BAND, lw=0, zorder=0)


def _scale(
    axes: Axes, measure: Measure, values: NDArray, limits: Mapping[str, float]
) -> float:
    """Set the axis so that values and limits are on it; return its upper end."""
    finite = values[np.isfinite(values)]
    lines = [limits[key] for key in (measure.warns, measure.refuses) if key]
    if measure.kind == "vif":
        top = max([*finite, *(1.25 * line for line in lines), 2])
        axes.set_yscale("log")
        ticks = VIF_TICKS[top >= VIF_TICKS]
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_ylim(0.93, top)
        return top
    highest = max([*finite, *lines], default=0)
    top = 1.12 * highest if highest > 0 else 1
    if measure.kind in {"share", "r"}:
        top = min(max(top, 0.1), 1)
    if measure.kind == "share":
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    axes.set_ylim(0, top)
    axes.locator_params(axis="y", nbins=4)
    return top


def _draw_limits(axes: Axes, measure: Measure, limits: Mapping[str, float]) -> None:
    """Draw where warnings begin and where a study is refused, in words beside the panel."""
    place = axes.get_yaxis_transform()
    for key, word, line, height in (
        (measure.warns, "warned", "--", "top"),
        (measure.refuses, "refused", "-", "bottom"),
    ):
        if key:
            axes.axhline(limits[key], color=GREY, ls=line, lw=0.9, zorder=1, gid=word)
            kind = measure.kind if measure.kind in {"share", "r"} else "text"
            limit = tables.display(f"{limits[key]:g}", kind)
            axes.text(
                1.008, limits[key], f"{word} above {limit}", transform=place,
                fontsize=6.5, va=height,
            )  # fmt: skip


def _lowest_limit(measure: Measure, limits: Mapping[str, float]) -> float:
    lines = [limits[key] for key in (measure.warns, measure.refuses) if key]
    return min(lines, default=np.inf)


def _ring(axes: Axes, x: NDArray, y: NDArray, over: NDArray, size: float) -> None:
    axes.plot(
        x[over], y[over], "o", markerfacecolor="none", markeredgecolor=INK,
        markersize=size + 4, markeredgewidth=0.9, zorder=3, clip_on=False,
        in_layout=False, gid="over",
    )  # fmt: skip


def _count_missing(axes: Axes, values: NDArray) -> None:
    """Say beside the panel how many runs have no value."""
    n_missing = int(np.isnan(values).sum())
    if not n_missing:
        return
    place = axes.transAxes
    axes.text(1.008, 0, f"n/a: {n_missing} of {len(values)} runs", transform=place,
              fontsize=6.5)  # fmt: skip
    if n_missing == len(values):
        axes.text(0.5, 0.5, "no values (n/a)", transform=place, ha="center")
        axes.set_yticks([])


def _worst_of(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Lay a column out by ROI and subject, the lowest of several images."""
    keys = [key for key in ("region", "hemisphere") if key in rows.columns]
    worst = rows.assign(**{column: numbers(rows[column])}).groupby(
        [*keys, "subject"], sort=False, dropna=False
    )[column]
    grid = worst.min().unstack("subject")
    # unstack sorts; the reader expects the order of the tables.
    places = rows.drop_duplicates(keys).set_index(keys).index
    grid = grid.reindex(index=places, columns=rows["subject"].unique())
    names = [roi_name(row) for row in places.to_frame().to_dict("records")]
    return grid.set_axis(names)


def _draw_heat_map(
    grid: pd.DataFrame, highest: float, label: str
) -> tuple[Figure, Axes]:
    """Draw a grid of ROIs by subjects, with a bar of its colours from 0 to `highest`."""
    figure, axes = _lay_grid(grid)
    colours = matplotlib.colormaps["cividis"].with_extremes(bad="white")
    cells = _draw_cells(axes, grid, colours, highest)
    bar = figure.colorbar(cells, ax=axes, fraction=0.03, pad=0.01)
    bar.set_label(label)
    return figure, axes


def _lay_grid(grid: pd.DataFrame) -> tuple[Figure, Axes]:
    """Lay out a figure for rows of cells, the subjects below them."""
    width = np.clip((70 + 8 * grid.shape[1]) * MM, NARROWEST, WIDTH)
    height = (36 + 5 * len(grid)) * MM
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.set_yticks(range(len(grid)), grid.index)
    _label_subjects(axes, list(grid.columns))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure, axes


def _draw_cells(
    axes: Axes, grid: pd.DataFrame, colours: Colormap, highest: float
) -> QuadMesh:
    """Draw each cell of a grid as a mark of its own, row by row from the top."""
    n_rows, n_columns = grid.shape
    apart = n_columns <= MOST_LABELS
    edges = np.arange(n_columns + 1) - 0.5, np.arange(n_rows + 1) - 0.5
    cells = axes.pcolormesh(
        *edges, np.ma.masked_invalid(grid.to_numpy(float)), cmap=colours, vmin=0,
        vmax=highest, edgecolors="white" if apart else "face", linewidth=0.4 if apart else 0.1,
    )  # fmt: skip
    axes.set_ylim(n_rows - 0.5, -0.5)
    return cells


def _name_cells(axes: Axes, grid: pd.DataFrame, column: str) -> None:
    """Name each cell after its subject and row, with its value."""
    marks = []
    for row, values in zip(grid.index, grid.to_numpy(), strict=True):
        for subject, value in zip(grid.columns, values, strict=True):
            shown = tables.display(value, tables.kind_of(column))
            title = f"{plain(subject)}, {row}: {NAMES.get(column, column)} {shown}"
            marks.append(Mark(title, subject=str(subject), label=row))
    name_marks(axes.collections[0], marks)


def _label_step(n_subjects: int) -> int:
    return max(-(-n_subjects // MOST_LABELS), 1)


def _label_subjects(axes: Axes, subjects: list) -> None:
    """Write the subjects below a panel, as many as there is room for."""
    step = _label_step(len(subjects))
    shown = range(0, len(subjects), step)
    labels = [readable(subjects[i], LONGEST_SUBJECT) for i in shown]
    axes.set_xticks(list(shown), labels, rotation=90)
    every = f" (a label for every {_ordinal(step)})" if step > 1 else ""
    axes.set_xlabel(f"Subject{every}")


def _ordinal(n: int) -> str:
    """Write an ordinal.

    Examples
    --------
    >>> [_ordinal(n) for n in (2, 3, 5, 11, 21)]
    ['2nd', '3rd', '5th', '11th', '21st']
    """
    teens = n % 100 in {11, 12, 13}
    return f"{n}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(n % 10, 'th')}"
