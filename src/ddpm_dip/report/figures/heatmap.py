"""A distance by two axes, written into each field: a panel a value, a column a display."""

from collections.abc import Iterator

from .. import labels
from ..plan import CELLS_TABLES, Wanted, file_name, section, showing

ROLES = ("row", "x", "panel")
OPTIONS = ()


def wanted(study) -> Iterator[Wanted]:
    for part, roles in showing(study, "heatmap"):
        down, along = labels.told(roles["row"]), labels.told(roles["x"])
        noise = " Row 0 is DDPM from plain noise." if roles["row"] == ["passes"] else ""
        yield Wanted(
            file=file_name("heatmap", part.name),
            kind="heatmap",
            options={**roles, "cells": [cell.path for cell in part.cells]},
            inputs={"tables": CELLS_TABLES},
            section=section(part.name),
            title=f"By {down} and {along}",
            caption=f"Distance by {down} (rows) and {along} (columns).{noise} "
            "Darker is farther, each panel on its own colour scale.",
            alt=f"Heat maps: distance by {down} and {along}, one panel per {labels.told(roles['panel'], 'display')}",
        )


def draw(inputs: dict, options: dict):
    import numpy as np
    from matplotlib.colors import LogNorm, Normalize

    from .. import canvas, tables

    table = tables.with_floors(inputs["tables"]["cells"], inputs["tables"].get("floors"))
    metric = tables.distance(table)
    cells = [row for row in tables.rows_of(table, options.get("cells")) if row[metric] == row[metric]]
    down, across, panel = (list(options.get(role) or []) for role in ROLES)
    if not cells:
        return canvas.nothing("nothing to draw: no distance was measured here")
    panels = labels.panels(cells, panel, across)
    height = 0.28 * len(labels.grouped(cells, down)) + 1.0
    fig, axes = canvas.subplots(len(panels), len(labels.DISPLAY_NAMES), 0.9 + height * len(panels))
    for line, part in zip(axes, panels.values(), strict=True):
        for axis, display in zip(line, labels.DISPLAY_NAMES, strict=True):
            shown = [cell for cell in part if cell["display"] == display]
            if not shown:  # this display was not computed
                axis.set_axis_off()
                continue
            rows, columns = labels.grouped(shown, down), labels.grouped(shown, across)
            values = np.full((len(rows), len(columns)), np.nan)
            for i, own in enumerate(rows.values()):
                for at, same in labels.grouped(own, across).items():
                    values[i, list(columns).index(at)] = np.mean([cell[metric] for cell in same])
            low, high = np.nanmin(values), np.nanmax(values)
            wide = low > 0 and high / low > 20
            canvas.sns.heatmap(
                values,
                ax=axis,
                annot=[[labels.compact(value) for value in line] for line in values],
                fmt="",
                cmap=canvas.sns.light_palette("#37507a", as_cmap=True),
                norm=LogNorm(low, high) if wide else Normalize(min(low, 0), high),
                linewidths=1,
                cbar=False,  # the numbers are written in
                xticklabels=[words_at(across, own[0]) for own in columns.values()],
                yticklabels=[words_at(down, own[0]) for own in rows.values()],
            )
            axis.tick_params(axis="y", rotation=0)
            floor = labels.compact(float(np.median([cell[f"{metric}_floor"] for cell in shown])))
            axis.set_title(
                ", ".join(filter(None, [labels.words(panel, part[0]), f"{display} display (floor {floor})"]))
            )
            axis.set(xlabel=labels.told(across), ylabel=labels.told(down))
    what = f"{labels.metric_title(metric)} by {labels.told(down)} and {labels.told(across)}".replace("\n", " ")
    fig.suptitle(f"{what}:\ndarker is farther, each panel on its own colour scale", fontsize="medium")
    return fig


def chart(inputs: dict, options: dict) -> Iterator[dict]:
    """A chart a panel and display."""
    from .. import charts, tables

    table = tables.with_paths(inputs["tables"]["cells"])
    metric = tables.distance(table)
    down, across, panel = (list(options.get(role) or []) for role in ROLES)
    cells = [row for row in tables.rows_of(table, options.get("cells")) if row[metric] == row[metric]]
    for part in labels.panels(cells, panel, across).values():
        for display in labels.DISPLAY_NAMES:
            fields = []
            for own in labels.grouped([row for row in part if row["display"] == display], [*down, *across]).values():
                value = sum(row[metric] for row in own) / len(own)
                place = {"row": words_at(down, own[0]), "column": words_at(across, own[0])}
                fields.append(place | {"mean": value, "cell": own[0]["path"], "name": labels.name(own[0])})
            if fields:
                words = [labels.words(panel, part[0]), labels.DISPLAY_LABELS[display]]
                drawn = charts.fields(fields, labels.told(across), labels.told(down), labels.metric_title(metric))
                yield charts.document(", ".join(filter(None, words)), drawn)


def words_at(axes: list[str], cell: dict) -> str:
    """A tick: a number alone where the axis is one of numbers, as its title says what it is."""
    if axes == ["passes"] and cell["passes"] is None:
        return "0 (noise)" if cell["start"] == "noise" else labels.arm(cell)
    if len(axes) == 1 and type(cell[axes[0]]) is int:
        return str(cell[axes[0]])
    return labels.words(axes, cell)
