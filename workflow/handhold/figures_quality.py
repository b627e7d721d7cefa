"""Draw how good the data are: every subject shown, what is too low marked.

Each function takes results tables (values may still be text, n/a is missing) and
returns a matplotlib Figure.
"""

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from handhold.drawing import (
    INK,
    MM,
    WIDTH,
    numbers,
    readable,
    roi_name,
    select_rois,
    styled,
)

# More subjects than this and their labels would touch.
MOST_LABELS = 48


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
    rows = select_rois(rois, definition)
    keys = [key for key in ("region", "hemisphere") if key in rows.columns]
    worst = rows.assign(coverage=numbers(rows["coverage"])).groupby(
        [*keys, "subject"], sort=False, dropna=False
    )["coverage"]
    grid = worst.min().unstack("subject")
    # unstack sorts; the reader expects the order of the tables.
    places = rows.drop_duplicates(keys).set_index(keys).index
    grid = grid.reindex(index=places, columns=rows["subject"].unique())
    names = [roi_name(row) for row in places.to_frame().to_dict("records")]
    height = (44 + 6.5 * len(grid)) * MM
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots()
    _draw_heat_map(axes, grid.to_numpy(), names, list(grid.columns), min_coverage)
    return figure


def _draw_heat_map(
    axes: Axes, grid: NDArray, rois: list[str], subjects: list, min_coverage: float
) -> None:
    """Draw coverage in a grid of ROIs by subjects, a cross where too low."""
    colours = matplotlib.colormaps["cividis"].with_extremes(bad="white")
    image = axes.imshow(
        grid, cmap=colours, vmin=0, vmax=1, aspect="auto", interpolation="none"
    )
    roi, subject = np.nonzero(grid < min_coverage)
    # White on dark and dark on light: visible at any coverage, and in grey.
    axes.plot(subject, roi, "x", color="white", markersize=4, markeredgewidth=2.2)
    axes.plot(
        subject, roi, "x", color=INK, markersize=3.6, markeredgewidth=1, gid="too low"
    )
    step = max(-(-len(subjects) // MOST_LABELS), 1)
    shown = range(0, len(subjects), step)
    axes.set_xticks(
        list(shown), [readable(subjects[i], 12) for i in shown], rotation=90
    )
    axes.set_yticks(range(len(rois)), rois)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    every = f" (label on every {step}th)" if step > 1 else ""
    axes.set_xlabel(f"Subject{every}")
    bar = axes.figure.colorbar(image, ax=axes, fraction=0.03, pad=0.01)
    bar.set_label("Coverage (proportion\nof the ROI measured)")
    bar.ax.axhline(min_coverage, color="white", linewidth=2.5)
    bar.ax.axhline(min_coverage, color=INK, linewidth=1.2, linestyle="--", gid="gate")
    note = f"Cross: below {min_coverage:g}: excluded. White: no image."
    axes.set_title(note, loc="left", fontsize=7.5)
