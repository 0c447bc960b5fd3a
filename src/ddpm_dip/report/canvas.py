"""What the figures are drawn with: the one place that imports Matplotlib and Seaborn."""

import textwrap
from collections.abc import Hashable, Mapping, Sequence
from itertools import cycle
from pathlib import Path

import matplotlib
import matplotlib.colors

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.textpath import TextPath

from ..evaluation import displays
from ..jobs import files
from ..jobs.errors import UserError
from . import labels

WIDTH = 10.0  # inches, so that the page shows a figure at about 1000 CSS pixels
DPI = 150  # of a figure that is not told another
UNIT = 1 / 150  # inches: pictures are laid out in these, whatever a figure's dots per inch
SHOWN = 8  # always the first samples, so that no picture is selected by hand
GREY = "0.45"
MAT = (196, 205, 216)  # behind pictures, so that an all-white one is seen
COMPACT = plt.FuncFormatter(lambda v, _: f"{v:g}" if v < 1000 else labels.compact(v).replace(".0", ""))
LINES = ("-", "--", ":", "-.", (0, (3, 1, 1, 1, 1, 1)), (0, (5, 1)))
SIZES = {"*": 11, "P": 8, "X": 8, "d": 7, "p": 7, "h": 7, "H": 7, "^": 7, "v": 7, "<": 7, ">": 7}  # else 6
MARKERS = ("o", "D", "s", "^", "v", "P", "X")


def begin() -> None:
    """The look that all figures share."""
    sns.set_theme(
        context="notebook",
        style="whitegrid",
        font_scale=0.95,
        rc={
            "svg.hashsalt": "",
            "figure.dpi": DPI,
            "grid.color": "0.9",
            "axes.edgecolor": "0.7",
            "axes.titlesize": "medium",
        },
    )


def save(drawing: Figure, path: Path | str, dpi: int = DPI) -> None:
    """Write a figure as PNG (at `dpi`) or as SVG, with the same bytes every time."""
    metadata = {"Date": None} if Path(path).suffix == ".svg" else {"Software": None}
    files.write_atomic(path, lambda part: drawing.savefig(part, dpi=dpi, metadata=metadata))
    plt.close(drawing)


def subplots(rows: int, columns: int, height: float, **options: object) -> tuple[Figure, np.ndarray]:
    """A figure of panels, the whole width of the page and `height` inches high; (rows, columns) axes."""
    shared = {"figsize": (WIDTH, height), "squeeze": False, "layout": "constrained", "dpi": DPI}
    return plt.subplots(rows, columns, **shared, **options)


def nothing(why: str) -> Figure:
    """A figure that says why there is none: a diverged chain is a result, and the report has its place."""
    fig = plt.figure(figsize=(WIDTH, 1.2), dpi=DPI)
    fig.text(0.5, 0.5, why, ha="center", va="center", color="0.3")
    return fig


def legend(fig: Figure, handles: Mapping[str, object]) -> None:
    """One legend below all panels. A long one makes the figure higher instead of its panels lower."""
    longest = max(map(len, handles), default=0)
    columns = max(1, min(len(handles), 4 if longest < 28 else 3 if longest < 45 else 2))
    width, height = fig.get_size_inches()
    fig.set_size_inches(width, height + 0.22 * max(0, -(-len(handles) // columns) - 3))
    fig.legend(
        list(handles.values()),
        list(handles),
        loc="outside lower center",
        ncols=columns,
        fontsize="small",
        frameon=False,
    )


def headline(fig: Figure, text: str) -> None:
    """The title above all panels, broken where it is longer than the figure is wide."""
    fig.suptitle(textwrap.fill(text, 110), fontsize="medium")


def styles(
    axes: Sequence[str], cells: Sequence[Mapping], colour_by: str | None = None, lines: Sequence = LINES
) -> list[dict]:
    """How to draw each line (keywords of Matplotlib): one representative cell a line, told apart on `axes`.

    The colour says the start, else the model, else the first axis that varies, and what else varies is said by the line
    and the marker. colour_by: an ordered axis to be told by shades instead; lines: the kinds of lines to take.
    """

    def varies(axis: str) -> bool:
        return len({cell[axis] for cell in cells}) > 1

    arms = [labels.arm_of(cell) for cell in cells]
    by = next((axis for axis in ("start", "model", *axes) if axis in axes and varies(axis)), None)
    if colour_by is not None and colour_by in axes:
        by = colour_by
        values = sorted({cell[by] for cell in cells})
        colours = dict(zip(values, sns.color_palette("flare", len(values)), strict=True))
    elif by is None or by == "start":
        by = "start"
        colours = {cell["start"]: labels.arm_colour(arm) for cell, arm in zip(cells, arms, strict=True)}
    elif by == "model":
        colours = labels.model_colours(cell["model"] for cell in cells)
    else:
        values = list(dict.fromkeys(cell[by] for cell in cells))
        colours = {value: labels.BRIGHT[index % len(labels.BRIGHT)] for index, value in enumerate(values)}
    rest = [axis for axis in axes if axis != by and (axis != "passes" or passes_vary_within(cells, by))]
    kinds = list(labels.grouped(cells, rest))
    known = dict(zip(kinds, cycle(lines), strict=False))
    other = dict(zip(kinds, cycle(MARKERS), strict=False))
    found = []
    for cell, arm in zip(cells, arms, strict=True):
        at = labels.key(rest, cell)
        marker = other[at] if len(kinds) > 1 else labels.ARM_MARKERS.get(arm, "v") if by == "start" else "o"
        colour = labels.arm_colour(arm) if by == "start" else colours[cell[by]]
        found.append({"color": colour, "ls": known[at], "marker": marker})
        if by == "model" and cell["start"] is None:  # what draws without a chain is told from what has one
            found[-1] |= {"ls": "--", "marker": "D"}
    return found


def passes_vary_within(cells: Sequence[Mapping], by: str) -> bool:
    """Whether lines of one colour differ in their passes: that a start without any has none is no difference."""
    counts: dict[object, set] = {}
    for cell in cells:
        counts.setdefault(cell[by], set()).add(cell["passes"])
    return any(len(found - {None}) > 1 for found in counts.values())


# ---------------------------------------------------------------- pictures


def shown(images: np.ndarray, display: str) -> np.ndarray:
    """(N, C, H, W) raw floats to (N, H, W, 3) uint8 as that display shows them."""
    if display not in displays.DISPLAYS:
        raise UserError(f"display {display}: unknown; right is one of {', '.join(displays.DISPLAYS)}")
    pictures = displays.DISPLAYS[display](images.astype(np.float32))
    return displays.to_rgb_uint8(np.nan_to_num(pictures)).transpose(0, 2, 3, 1)


def enlarge(image: np.ndarray, scale: int) -> np.ndarray:
    """Nearest neighbour, by a whole factor."""
    return image.repeat(scale, 0).repeat(scale, 1)


def wide(text: str, size: float) -> int:
    """How wide a text of that font size is, in units of UNIT."""
    return round(TextPath((0, 0), text, size=size).get_extents().width / 72 / UNIT) if text else 0


def wrapped(text: str, inches: float, size: float) -> list[str]:
    """A text in lines that are no wider than so many inches, at that font size; a longer word has a line of its own."""
    lines: list[str] = []
    for word in filter(None, text.replace("\n", " ").split(" ")):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and wide(longer, size) * UNIT <= inches:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def mosaic(
    images: Mapping[tuple[Hashable, Hashable], np.ndarray],
    rows: Mapping[Hashable, str],
    blocks: Mapping[Hashable, str],
    title: str,
    columns: int,
) -> Figure:
    """Pictures in rows and blocks, laid out so that every sample pixel is a square of the same size.

    images: (row, block) -> (up to `columns`, H, W, 3) uint8; rows, blocks: each one's label, in order. A block whose
    label is "" has no heading. Blocks that stand beside each other share their rows; a row that none of them has is
    left out there, and a block that has none of its neighbour's begins a new band. A sample pixel is a whole number of
    dots where the figure's dpi is a multiple of 150.
    """
    height, width = next(iter(images.values())).shape[1:3]
    left = 30 + max(wide(label, 10) for label in rows.values())
    top, gap, between = 92 if any(blocks.values()) else 56, 4, 26
    # As many blocks side by side as leave small pictures twice their size and headings whole; others below, in bands.
    least = 2 * width if width <= 32 else width
    headings = max(wide(label, 11) for label in blocks.values())
    beside = len(blocks)
    while beside > 1:
        room = (1500 - left - between * beside) // (beside * columns)
        if room >= least and columns * room + between > headings + 10:
            break
        beside -= 1
    beside = -(-len(blocks) // -(-len(blocks) // beside))  # evenly
    room = (1500 - left - between * beside) // (beside * columns)
    scale = max(1, min(room, max(96, 2 * width)) // width)
    tile_h, tile_w = height * scale + gap, width * scale + gap
    has = {block: {row for row in rows if (row, block) in images} for block in blocks}
    bands: list[list[Hashable]] = []
    for block in blocks:
        if bands and len(bands[-1]) < beside and has[block] & has[bands[-1][-1]]:
            bands[-1].append(block)
        else:
            bands.append([block])
    lines = [[row for row in rows if any(row in has[block] for block in band)] for band in bands]
    tops = [top + sum(len(own) * tile_h + top - 36 for own in lines[:band]) for band in range(len(bands) + 1)]
    total_w = max(left + beside * (columns * tile_w + between), 36 + wide(title, 12))
    total_h = tops[-1] - top + 44
    canvas = np.full((total_h, total_w, 3), 255, np.uint8)
    fig = plt.figure(figsize=(total_w * UNIT, total_h * UNIT), dpi=DPI)

    def text(x: float, y: float, words: str, **style: object) -> None:
        fig.text(x / total_w, 1 - y / total_h, words, va="center", color="0.1", **style)

    text(8, 26, title, ha="left", fontsize=12)
    for band, column in [(band, column) for band, own in enumerate(bands) for column in range(len(own))]:
        block = bands[band][column]
        x0, y1 = left + column * (columns * tile_w + between), tops[band]
        if blocks[block]:
            text(x0 + columns * tile_w / 2, y1 - 22, blocks[block], ha="center", fontsize=11)
        canvas[y1 - gap : y1 + len(lines[band]) * tile_h, x0 - gap : x0 + columns * tile_w] = MAT
        for line, row in enumerate(lines[band]):
            y0 = y1 + line * tile_h
            pictures = images.get((row, block))
            if pictures is None:
                canvas[y0 : y0 + tile_h - gap, x0 : x0 + columns * tile_w - gap] = 240
                text(x0 + columns * tile_w / 2, y0 + tile_h / 2, "not run", ha="center")
                continue
            for at, image in enumerate(pictures):
                x = x0 + at * tile_w
                canvas[y0 : y0 + height * scale, x : x + width * scale] = enlarge(image, scale)
    for start, own in zip(tops, lines, strict=False):
        for line, row in enumerate(own):
            text(left - 12, start + (line + 0.5) * tile_h, rows[row], ha="right", fontsize=10)
    # An axes as large as the figure, and not `figimage`, which would lay one canvas pixel on one dot at any dpi.
    page = fig.add_axes((0, 0, 1, 1), zorder=-1)
    page.imshow(canvas, interpolation="nearest", aspect="auto")
    page.set_axis_off()
    return fig


# ---------------------------------------------------------------- axes of numbers


def distance_axis(axis, values: Sequence[float], floor: float | None, log: bool = False) -> str:
    """An axis from 0, or a logarithmic one where the values' range needs it or `log` asks for it.

    An estimate without bias may be near or below zero, and so may a floor. An axis that is to be logarithmic is then
    linear around zero (Matplotlib's symlog), and a linear one begins below it: nothing is hidden. Returns what the
    axis' title is to add: up to where it is linear, or "".
    """
    values = np.array([value for value in values if np.isfinite(value)])
    if not len(values):
        return ""
    low, high = values.min(), values.max()
    least = low if floor is None else min(low, floor)
    unit = max(-low, min(values[values > 0], default=0))  # what is smaller is near zero
    wide = unit > 0 and (log or high > 20 * unit)
    words = ""
    if wide and least > unit / 100:
        axis.set_yscale("log")
        if high / least < 300:
            axis.yaxis.set_major_locator(plt.LogLocator(subs=(1, 2, 5)))
    elif wide and high > 3 * unit:
        words = symlog(axis, least, nice(unit), high)
    else:
        top = max(high, least, 0 if floor is None else floor)
        span = top - min(least, 0) or 1
        axis.set_ylim(least - 0.06 * span if least < 0 else 0, top + 0.08 * span)
        if least < 0:
            axis.axhline(0, color="0.6", lw=0.8, zorder=0.5)
    axis.yaxis.set_major_formatter(COMPACT)
    return words


def symlog(axis, least: float, linear: float, high: float) -> str:
    """An axis that is linear from -linear to linear, which is shaded, and logarithmic above. Returns words for it."""
    axis.set_yscale("symlog", linthresh=linear, linscale=0.5)
    decades = 10.0 ** np.arange(np.floor(np.log10(linear)), np.ceil(np.log10(high)) + 1)
    subs = (1, 2, 5) if high < 300 * linear else (1,)
    ticks = sorted(sub * decade for decade in decades for sub in subs if 1.5 * linear < sub * decade)
    axis.yaxis.set_major_locator(plt.FixedLocator([*([-linear] if least < -linear / 2 else []), 0, linear, *ticks]))
    axis.yaxis.set_minor_locator(plt.NullLocator())
    axis.set_ylim(min(least, 0) - 0.25 * linear, high * (high / linear) ** 0.08)
    axis.axhspan(-linear, linear, color="0.5", alpha=0.07, lw=0, zorder=0)
    axis.axhline(0, color="0.6", lw=0.8, zorder=0.5)
    return f"\n(below {linear:g}, shaded: linear)"


def nice(value: float) -> float:
    """The least of 1, 2, 5, 10, 20, ... (0.1, 0.2, ...) that is not below a value above zero."""
    decade = 10.0 ** np.floor(np.log10(value))
    return next(float(times * decade) for times in (1, 2, 5, 10) if times * decade >= value * (1 - 1e-9))


def places(x: Sequence[str], cells: Sequence[Mapping]) -> tuple[dict[tuple, float], bool]:
    """Where along the axes `x` each of their values stands, and whether that axis is logarithmic.

    Numbers stand at their value, all else in order. What does not apply stands nowhere.
    """
    keys = [key for key in labels.grouped(cells, x) if None not in key] if x else []
    numeric = len(x) == 1 and all(type(value) is int for (value,) in keys)
    found = {key: key[0] if numeric else index for index, key in enumerate(keys)}
    return found, numeric and len(found) > 1 and min(found.values()) > 0 and max(found.values()) >= 20 * min(
        found.values()
    )


def along(axis, x: Sequence[str], at: Mapping[tuple, float], log: bool) -> None:
    """The axis along `x`: its title, and a tick at each value that was run, where these are few."""
    axis.set_xlabel(labels.titled(x) + " (log scale)" * log)
    words = [labels.words(x, dict.fromkeys(labels.AXES) | dict(zip(x, key, strict=True))) for key in at]
    numeric = len(x) == 1 and all(key == (place,) for key, place in at.items())
    if log:
        axis.set_xscale("log")
    if not numeric:
        axis.set_xticks(list(at.values()), words)
    elif len(at) <= (10 if log else 8):
        axis.set_xticks(list(at.values()), [f"{place:g}" for place in at.values()])
        axis.minorticks_off()


def mean_and_band(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, smallest and largest of the replicates' values, NaN where there are none."""
    known = [value for value in values if np.isfinite(value)]
    return (float(np.mean(known)), min(known), max(known)) if known else (np.nan,) * 3


def full(style: Mapping) -> dict:
    """A line's look with markers that are full."""
    return {"ms": SIZES.get(style["marker"], 6), "mec": "white", "mew": 0.6, "lw": 1.8} | style


def shade(colour: str, index: int) -> str:
    """The index-th shade of a colour: itself, then alternately lighter and darker, a light one darker and darker."""
    shades = (0.0, 0.45, -0.45, 0.65, -0.65)
    if sum(matplotlib.colors.to_rgb(colour)) > 1.6:
        shades = (0.0, -0.25, -0.45, -0.62, -0.76)
    share = shades[index % len(shades)]
    target = 1.0 if share > 0 else 0.0
    return matplotlib.colors.to_hex([c + abs(share) * (target - c) for c in matplotlib.colors.to_rgb(colour)])


def replicates(axis, xs: Sequence[float], groups: Sequence[Sequence[float]], edge: float = 1, **style: object):
    """The line of means along xs, with a band from the lowest replicate to the highest. Returns the line.

    groups: the replicates' values at each x. One that is infinite diverged: that place has no mean, but a triangle at
    the panel's edge (1: the upper, 0: the lower) and a dot for each replicate that did not diverge.
    """
    whole = [all(np.isfinite(values)) for values in groups]
    bands = [mean_and_band(values) if known else (np.nan,) * 3 for values, known in zip(groups, whole, strict=True)]
    middle, low, high = np.array(bands).reshape(-1, 3).T
    (line,) = axis.plot(xs, middle, **full(style))
    beside = [*(whole[1:]), False], [False, *whole[:-1]]
    alone = np.array([here and not (left or right) for here, left, right in zip(whole, *beside, strict=True)], bool)
    if (high > low).any():
        axis.fill_between(xs, low, high, color=style["color"], alpha=0.18, lw=0)
        if alone.any():  # a band has no width there
            axis.vlines(np.array(xs)[alone], low[alone], high[alone], color=style["color"], lw=3, alpha=0.4)
    lost = {x: values for x, values, known in zip(xs, groups, whole, strict=True) if not known}
    if lost:
        color, left = style["color"], [(x, value) for x in lost for value in lost[x] if np.isfinite(value)]
        if left:
            axis.plot(*zip(*left, strict=True), ls="", marker=".", ms=7, color=color, alpha=0.7)
        mark = {"marker": "^" if edge else "v", "ms": 9, "mec": "white", "mew": 0.6, "clip_on": False, "zorder": 5}
        axis.plot(list(lost), [edge] * len(lost), ls="", color=color, transform=axis.get_xaxis_transform(), **mark)
    return line


def diverged_mark(edge: float = 1) -> Line2D:
    """What `replicates` draws at the edge, for a legend."""
    return Line2D([], [], ls="", marker="^" if edge else "v", ms=8, color=GREY)


DIVERGED = "diverged in a replicate (no mean; dots: the others)"


def line_with_band(axis, table, x: str, y: str, **style: object) -> None:
    """The mean over a table's replicates along column x, with a band from the lowest to the highest."""
    by_x = table.groupby(x)[y]
    axis.plot(by_x.mean().index, by_x.mean(), **style)
    if (by_x.count() > 1).any():
        axis.fill_between(by_x.min().index, by_x.min(), by_x.max(), color=style["color"], alpha=0.18, lw=0)
