"""Glass brains of the maps: what is left of the interactive brain on paper and without WebGL."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from handhold.drawing import GREY, INK, MM, WIDTH, plain, readable, styled

# From faint to strong on white; the hues are those of the interactive brain.
WARM = LinearSegmentedColormap.from_list(
    "attenuation",
    [
        *("#003a66", "#0072b2", "#56a5d8", "#d3e8f5", "#ffffff"),
        *("#fde0c0", "#f28e2b", "#d55e00", "#7a2f00"),
    ],
)
GREEN = LinearSegmentedColormap.from_list(
    "binding", ["#ffffff", "#d9f0d3", "#7fc79a", "#008a5e", "#00432d"]
)
ROW_MM = 50
BAR_MM = 36
LONGEST_LINE = 27
# Pixels (of 2 x 2 mm).
SPECK = 20
# Side views show one half of the brain each: which, the axis looked along, across and up, and
# whether what lies across runs from right to left.
VIEWS = (
    ("left half", 0, 1, 2, True),
    ("right half", 0, 1, 2, False),
    ("from behind", 1, 0, 2, False),
    ("from above", 2, 0, 1, False),
)


@styled
def draw_glass(
    maps: Sequence[tuple[str, NDArray]],
    brain: NDArray,
    x_mm: NDArray,
    *,
    attenuation: Mapping,
    receptor: Mapping,
) -> Figure:
    """Draw maps on glass brains: the strongest value along each line of sight.

    Parameters
    ----------
    maps : sequence of (name, values (x, y, z))
        Attenuation by contrast, and last the receptor map (without a name); axes run to the
        right, to the front and up; NaN is not drawn.
    brain : array of bool, shape (x, y, z)
        The brain on the same grid, for its outline.
    x_mm : array, shape (x,)
        Where each plane of voxels lies, below 0 on the left.
    attenuation : mapping
        unit, limit (of the scale, either side of 0), lowered and raised (what the signs mean).
    receptor : mapping
        label, unit, limit.

    Returns
    -------
    Figure
        One row per map. What is nearer to 0 than half the limit is not drawn. Attenuation below
        0 is told by dashed outlines too, for readers in grey.
    """
    height = ROW_MM * len(maps)
    figure = Figure(figsize=(WIDTH, height * MM))
    lengths = [brain.shape[across] for _, _, across, _, _ in VIEWS]
    scale = (WIDTH / MM - BAR_MM - 3) / (sum(lengths) + 3 * (len(VIEWS) - 1))
    for row, (name, values) in enumerate(maps):
        words = attenuation if name else receptor
        colours = ScalarMappable(
            Normalize(-words["limit"] if name else 0, words["limit"]),
            WARM if name else GREEN,
        )
        floor = height - (row + 1) * ROW_MM
        left = 1.0
        for view, length in zip(VIEWS, lengths, strict=True):
            up = brain.shape[view[3]] * scale
            box = (left, floor + (ROW_MM - up) / 2 - 0.5, length * scale, up)
            axes = figure.add_axes(_share(box, height))
            _draw_view(axes, values, brain, x_mm, view, colours)
            left += (length + 3) * scale
        title = (
            f"Attenuation, {readable(name)}"
            if name
            else f"Binding, {plain(receptor['label'])}"
        )
        figure.text(
            0.006, (floor + ROW_MM - 1) / height, title, va="top", weight="bold"
        )
        bar = figure.add_axes(_share((left + 1, floor + 15, 2.5, ROW_MM - 26), height))
        _draw_bar(figure, bar, colours, words)
    return figure


def strongest(values: NDArray, axis: int) -> NDArray:
    """Return the value farthest from 0 along each line of sight; NaN where there is none.

    Examples
    --------
    >>> strongest(np.array([[1.0, -3.0], [np.nan, 2.0], [np.nan, np.nan]]), axis=1)
    array([-3.,  2., nan])
    """
    size = np.where(np.isfinite(values), np.abs(values), -1.0)
    at = np.expand_dims(size.argmax(axis=axis), axis)
    return np.take_along_axis(values, at, axis=axis).squeeze(axis)


def _share(box: tuple, height: float) -> tuple:
    """Turn left, bottom, width and height in mm into shares of the figure."""
    left, bottom, across, up = box
    width = WIDTH / MM
    return left / width, bottom / height, across / width, up / height


def _draw_view(
    axes: Axes,
    values: NDArray,
    brain: NDArray,
    x_mm: NDArray,
    view: tuple,
    colours: ScalarMappable,
) -> None:
    """Draw one view: shadow and outline of the brain, and the values."""
    name, along, across, _, is_mirrored = view
    if along == 0:
        half = (x_mm <= 0) if is_mirrored else (x_mm >= 0)
        values, brain = values[half], brain[half]
    # rows run up, columns across
    seen, shadow = strongest(values, along).T, brain.sum(axis=along).T
    threshold = colours.norm.vmax / 2
    depth = shadow / shadow.max()
    axes.imshow(
        depth, cmap="Greys", vmin=0, vmax=6, origin="lower", interpolation="bilinear"
    )
    strong = np.where(np.abs(seen) >= threshold, seen, np.nan)
    axes.imshow(
        strong,
        cmap=colours.cmap,
        norm=colours.norm,
        origin="lower",
        interpolation="none",
    )
    axes.contour(shadow > 0, levels=[0.5], colors=GREY, linewidths=0.7)
    below = _without_specks(np.nan_to_num(seen) <= -threshold)
    if colours.norm.vmin < 0 and below.any():
        axes.contour(
            below, levels=[0.5], colors=INK, linewidths=0.5, linestyles="dashed"
        )
    axes.set_axis_off()
    axes.set_title(name, fontsize=6, color=GREY, y=-0.12, va="top")
    if across == 0:
        for side, at, align in (("L", 0.02, "left"), ("R", 0.98, "right")):
            axes.text(at, 0, side, transform=axes.transAxes, fontsize=7, ha=align)
    else:
        at, align = (0, "left") if is_mirrored else (1, "right")
        axes.text(
            at,
            0.95,
            "front",
            transform=axes.transAxes,
            fontsize=6,
            color=GREY,
            ha=align,
        )
        if is_mirrored:
            axes.invert_xaxis()


def _draw_bar(
    figure: Figure, axes: Axes, colours: ScalarMappable, words: Mapping
) -> None:
    """Draw a colour bar with its unit and, of attenuation, its signs in words."""
    bar = figure.colorbar(colours, cax=axes)
    limit, low = colours.norm.vmax, colours.norm.vmin
    axes.axhspan(low / 2, limit / 2, color="white")  # what is not drawn has no colour
    ticks = [*([low, low / 2] if low else []), 0, limit / 2, limit]
    bar.set_ticks(
        ticks, labels=[f"{t:g}".replace("-", "\N{MINUS SIGN}") for t in ticks]
    )
    axes.tick_params(labelsize=6, length=2)
    bar.outline.set_linewidth(0.5)
    above = words["lowered"] if low else "much binding"
    below = (
        words["raised"] if low else "little binding (not drawn below half the scale)"
    )
    unit = _folded(words["unit"])
    axes.text(
        0, 1.06, _folded(above), va="bottom", transform=axes.transAxes, fontsize=6
    )
    text = axes.annotate(
        _folded(below),
        (0, 0),
        (0, -4),
        "axes fraction",
        "offset points",
        va="top",
        fontsize=6,
    )
    axes.annotate(
        f"unit: {unit}", (0, 0), (0, -3), xycoords=text, textcoords="offset points",
        va="top", fontsize=6, color=GREY,
    )  # fmt: skip


def _folded(words: str) -> str:
    """Break a line that the margin would cut."""
    return "\n".join(textwrap.wrap(plain(words, 3 * LONGEST_LINE), LONGEST_LINE))


def _without_specks(shape: NDArray) -> NDArray:
    """Drop spots that are too small for an outline to be told from a dot."""
    from scipy import ndimage

    spots, _ = ndimage.label(shape)
    large = np.bincount(spots.ravel()) >= SPECK
    large[0] = False
    return large[spots]
