"""A metric along an axis: a line a series, a panel a value, a column a display; replicates are a band.

A series to which the axis does not apply, or that has a single place on it, is a horizontal line to compare with.
"""

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

from ...evaluation.metrics import METRICS
from .. import labels
from ..plan import CELLS_TABLES, Wanted, file_name, known_option, section, showing

ROLES = ("x", "line", "panel")
OPTIONS = ("metric",)
DISTANCE = "distance"  # as a metric: the distance to judge by
TONE = (
    "tone: how much the images, as shown, differ in overall brightness (the standard deviation over samples of the "
    "image mean)"
)
TITLES = {"fd_classifier": "distance", "fd_rotation": "distance", "fid_inception": "distance", "tone_sd": "tone"}


def metrics(options: dict) -> list[str]:
    """The metrics to show, from an experiment's option: a name or a list of them, the distance where it says none."""
    asked = options.get("metric") or DISTANCE
    return [asked] if isinstance(asked, str) else list(asked)


def wanted(study) -> Iterator[Wanted]:
    for part, roles in showing(study, "curves"):
        asked = metrics(roles)
        for metric in asked:
            known_option(part, "curves", "metric", metric, [DISTANCE, *METRICS])
        along, shown = labels.told(roles["x"]), " and ".join(asked).replace("_", " ")
        names = {DISTANCE: "distance to held-out real images", "tone_sd": TONE}
        what = ", and ".join(names.get(TITLES.get(metric, metric), names.get(metric, metric)) for metric in asked)
        caption = f"{what[0].upper()}{what[1:]}, against {along}. Dotted: the floor. "
        caption += "A panel with a wide range has a logarithmic axis, which is linear around zero where an estimate is "
        caption += "near or below it: without bias, a distance of zero is estimated as below it half of the time."
        if len(study.config["seeds"]["replicates"]) > 1:
            caption += " Lines are means over replicates, bands reach from the lowest to the highest."
        yield Wanted(
            file=file_name("curves", part.name),
            kind="curves",
            options={**roles, "metric": asked, "cells": [cell.path for cell in part.cells]},
            inputs={"tables": CELLS_TABLES},
            section=section(part.name),
            title=f"Against {along}",
            caption=caption,
            alt=f"Line charts: {shown} against {along}, one panel per {labels.told(roles['panel'], 'display')}",
        )


class Parts(NamedTuple):
    """What both the figure and the charts show.

    rows: of the cells, with infinity where a metric diverged; shown: the metrics; panels: key -> rows; looks: of each
    line; places: of each value along x, and whether that axis is logarithmic.
    """

    rows: list[dict]
    shown: list[str]
    x: list[str]
    line: list[str]
    panel: list[str]
    panels: dict[tuple, list[dict]]
    looks: dict[tuple, dict]
    places: dict[tuple, float]
    log: bool


def parts_of(inputs: dict, options: dict) -> Parts | None:
    """None where nothing was measured."""
    from .. import canvas, tables

    table = tables.with_floors(tables.with_paths(inputs["tables"]["cells"]), inputs["tables"].get("floors"))
    rows = tables.rows_of(table, options.get("cells"))
    shown = list(measured(rows, metrics(options), tables.distance(table)))
    if not shown:
        return None
    rows = [row | {metric: labels.value(row, metric) for metric in shown} for row in rows]
    rows = [row for row in rows if any(known(row[metric]) for metric in shown)]
    x, line, panel = (list(options.get(role) or []) for role in ROLES)
    firsts = [cells[0] for cells in labels.grouped(rows, line).values()]
    looks = {labels.key(line, cell): style for cell, style in zip(firsts, canvas.styles(line, firsts), strict=True)}
    return Parts(rows, shown, x, line, panel, labels.panels(rows, panel, x), looks, *canvas.places(x, rows))


def draw(inputs: dict, options: dict):
    from .. import canvas

    parts = parts_of(inputs, options)
    if parts is None:
        return canvas.nothing("nothing to draw: no distance was measured here")
    rows, shown, x, line, panel, panels, styles, places, log = parts
    grid = [(key, metric) for key in panels for metric in shown]
    fig, axes = canvas.subplots(len(grid), len(labels.DISPLAY_NAMES), 0.9 + 3.3 * len(grid))
    handles: dict[str, object] = {}
    for row, (key, metric) in zip(axes, grid, strict=True):
        for axis, display in zip(row, labels.DISPLAY_NAMES, strict=True):
            cells = [cell for cell in panels[key] if cell["display"] == display and known(cell[metric])]
            series = labels.grouped(cells, line)
            longest = max((len(set(labels.grouped(part, x)) & places.keys()) for part in series.values()), default=0)
            for name, part in series.items():
                draw_series(axis, part, metric, x, line, places, longest, styles[name], handles)
            levels = sorted(cell[f"{metric}_floor"] for cell in cells if known(cell.get(f"{metric}_floor")))
            floor = levels[len(levels) // 2] if levels else None
            note = canvas.distance_axis(axis, [cell[metric] for cell in cells], floor, log)
            if floor is not None:
                handles["floor: real against real, same n"] = axis.axhline(floor, color="black", ls=":", lw=1.6)
            canvas.along(axis, x, places, log)
            words = [labels.words(panel, panels[key][0]), TITLES.get(metric) if len(shown) > 1 else None]
            axis.set_title(", ".join([*filter(None, words), labels.DISPLAY_LABELS[display]]))
            axis.set_ylabel(labels.metric_title(metric) + note)
    canvas.legend(fig, handles)
    what = ", and ".join(TITLES.get(metric, metric.replace("_", " ")) for metric in shown)
    what = what.replace("distance", "distance to real images (lower is better)")
    chains = [row for row in rows if row["start"] is not None] or rows
    others = [axis for axis in ("model", "weights", "epochs", "steps") if axis not in (*x, *line, *panel)]
    fixed = labels.alike(chains, others)
    along = labels.told(x)
    canvas.headline(fig, f"{what[0].upper()}{what[1:]} against {along}" + f"; {fixed}" * bool(fixed))
    return fig


def chart(inputs: dict, options: dict) -> Iterator[dict]:
    """A chart a panel, metric and display. A line that has a single place along x is a level."""
    from .. import charts

    parts = parts_of(inputs, options)
    for key, metric, display in (
        () if parts is None else itertools.product(parts.panels, parts.shown, labels.DISPLAY_NAMES)
    ):
        rows = [row for row in parts.panels[key] if row["display"] == display and known(row[metric])]
        found, levels, named = [], {}, {}
        for at, own in labels.grouped(rows, parts.line).items():
            name = labels.words(parts.line, own[0]) or labels.arm(own[0])
            groups = {
                parts.places[place]: part
                for place, part in labels.grouped(own, parts.x).items()
                if place in parts.places
            }
            found += charts.points(groups, metric, name)
            named[name] = parts.looks[at]
            if not groups and all(math.isfinite(row[metric]) for row in own):
                levels[name] = sum(row[metric] for row in own) / len(own)
        floors = sorted(row[f"{metric}_floor"] for row in rows if known(row.get(f"{metric}_floor")))
        levels |= {"floor: real against real": floors[len(floors) // 2]} if floors else {}
        if found:
            words = [labels.words(parts.panel, parts.panels[key][0]), labels.DISPLAY_LABELS[display]]
            numbers = all(isinstance(place[0], int | float) for place in parts.places)
            x = labels.titled(parts.x) if numbers else f"{labels.titled(parts.x)}: its place in the table"
            drawn = charts.lines(found, named, x, labels.metric_title(metric), parts.log, parts.log, levels)
            yield charts.document(", ".join(filter(None, words)), drawn)


def known(value: float | None) -> bool:
    return value is not None and value == value


def infinite(value: float | None) -> bool:
    return value is not None and math.isinf(value)


def measured(rows: list[dict], asked: list[str], judged_by: str) -> Iterator[str]:
    """The columns to show: those asked for that have a value in some row."""
    for column in dict.fromkeys(judged_by if metric in (DISTANCE, "fd_classifier") else metric for metric in asked):
        if any(known(row.get(column)) for row in rows):  # with none, nothing is known of a divergence either
            yield column


def draw_series(axis, cells, metric, x, line, places, longest, style, handles) -> None:
    """One series: its curve, or levels where it has no place along x, or one and others have more."""
    from .. import canvas

    at = labels.grouped(cells, x)
    on_curve = {key: part for key, part in at.items() if key in places}
    if any(infinite(cell[metric]) for cell in cells):
        handles[canvas.DIVERGED] = canvas.diverged_mark()
    if len(on_curve) > 1 or longest <= 1:
        if on_curve:
            groups = [[cell[metric] for cell in part] for part in on_curve.values()]
            name = labels.words(line, cells[0]) or labels.arm(next(iter(on_curve.values()))[0])
            handles[name] = canvas.replicates(axis, [places[key] for key in on_curve], groups, **style)
        at = {key: part for key, part in at.items() if key not in places}
    for key, part in at.items():
        middle, low, high = canvas.mean_and_band([cell[metric] for cell in part])
        name = labels.words(line, part[0]) or labels.arm(part[0])
        if key in places:
            name += f", {labels.words(x, part[0])}"
        elif part[0]["start"] is None:
            name += " (no chain)"
        if lost := sum(infinite(cell[metric]) for cell in part):
            name += f": {lost} of {len(part)} diverged"
        colour = style["color"] if line else labels.arm_colour(labels.arm_of(part[0]))
        handles[name] = axis.axhline(middle, color=colour, ls="-.", lw=1.4)
        if low != high:
            axis.axhspan(low, high, color=colour, alpha=0.12, lw=0)
