"""What the page's own scripts are told: cells with their numbers, axes, contrasts and charts, as JSON takes them.

A cell is named by its place in the list of cells.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from ..evaluation.metrics import METRICS
from ..study.axes import AXES, Cell
from . import claims as told
from . import labels, tables

SHOWN = [*METRICS, "seconds"]


def data(
    found: Mapping[str, pd.DataFrame],
    sprites: Mapping[str, dict],
    charts: list[dict],
    contrasts: Sequence[Mapping],
    timesteps: Mapping[str, int],
    display: str = "clamp",
) -> dict:
    """found: the tables by name, cells as `tables.with_floors` returns it. charts: {title, spec} of each, in order.

    sprites: by the cells' paths, as many films as the page has room for. contrasts: claim, model and strata, pairs of
    lists of paths. timesteps: how many each model has in all. display: the one that the page opens with.
    """
    rows = tables.rows_of(tables.with_paths(found["cells"]))
    by_path: dict[str, dict[str, dict]] = {}
    for row in rows:
        by_path.setdefault(row["path"], {})[row["display"]] = row
    places = {path: place for place, path in enumerate(by_path)}
    points = {path: next(iter(shown.values())) for path, shown in by_path.items()}
    values = {axis: values_of(axis, points.values()) for axis in AXES}
    standing = standings(found.get("differences"), display)
    cells = [
        {
            "path": path,
            "name": labels.name(point),
            "at": [None if point[axis] is None else values[axis].index(point[axis]) for axis in AXES],
            "values": {
                display: [number(row.get(metric)) for metric in SHOWN] for display, row in by_path[path].items()
            },
            "reference": reference(point, points, places, timesteps.get(point["model"])),
            "standing": standing.get(key(point), ""),
        }
        for path, point in points.items()
    ]
    axes = [
        {"name": name, "index": index, "title": axis.title.partition(" (")[0]}
        | {"values": [axis.label(value) for value in values[name]]}
        for index, (name, axis) in enumerate(AXES.items())
    ]
    return {
        "axes": axes,
        "cells": cells,
        "metrics": [described(metric) for metric in SHOWN],
        "displays": sorted(cells[0]["values"], key=lambda name: name != display),
        "floors": floors(rows),
        "contrasts": [
            {**judged, "strata": [[[places[p] for p in side if p in places] for side in s] for s in each["strata"]]}
            for each in contrasts
            if (judged := verdict(found.get("claims"), each)) is not None
        ],
        "first": first(points, contrasts),
        "charts": charts,
        "sprites": sprites,
    }


def values_of(axis: str, points: Iterable[Mapping]) -> list:
    """The values of an axis that there are, in order."""
    return sorted({point[axis] for point in points} - {None}, key=AXES[axis].order)


def number(value: object) -> float | None:
    """A value with five digits, None where there is none."""
    if value is None or isinstance(value, str) or not math.isfinite(value):
        return None
    return float(f"{value:.5g}")


def reference(
    point: Mapping, points: Mapping[str, Mapping], places: Mapping[str, int], timesteps: int | None
) -> int | None:
    """The whole ancestral chain from noise of the same net, clipped as the cell is where there is one; or None."""
    if point["steps"] is None:
        return None
    whole = {"start": "noise", "passes": None, "sampler": "ancestral", "steps": timesteps, "nfe": timesteps}
    for clip in (point["clip_x0"], not point["clip_x0"]):
        cell = Cell(**{axis: point[axis] for axis in AXES} | whole | {"clip_x0": clip})
        if cell.path in points:
            return places[cell.path]
    return None


def key(point: Mapping) -> tuple:
    """What a difference is about: all but the replicate."""
    return tuple(point[axis] for axis in AXES if axis != "replicate")


def standings(differences: pd.DataFrame | None, display: str) -> dict[tuple, str]:
    """Each arm's difference to the starts that cost nothing, in words."""
    if differences is None or differences.empty:
        return {}
    found = {}
    for each in told.standing(differences, display):
        parts = [f"against {start}: {told.against(row)}" for start, row in each["against"].items()]
        found[key(each["cell"] | {"replicate": None})] = "; ".join(parts)
    return found


def described(metric: str) -> dict:
    known = METRICS.get(metric)
    meaning = "seconds per image, the start included" if known is None else known.meaning
    lower = True if known is None else known.lower_is_better
    return {"name": metric, "word": labels.metric_word(metric), "meaning": meaning, "lower": lower}


def floors(rows: Sequence[Mapping]) -> dict[str, dict[str, float]]:
    """By display and distance: that of real images from real ones."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        for metric in tables.DISTANCES:
            if (value := number(row.get(f"{metric}_floor"))) is not None:
                found.setdefault(row["display"], {})[metric] = value
    return found


def verdict(claims: pd.DataFrame | None, contrast: Mapping) -> dict | None:
    """A contrast's claim with its verdict and what it rests on; None where it was not asked."""
    if claims is None:
        return None
    rows = [
        row
        for row in claims.to_dict("records")
        if row["claim"] == contrast["claim"] and row["model"] == contrast["model"] and row["verdict"] != "not asked"
    ]
    if not rows:
        return None
    row = rows[0]
    return {"claim": row["claim"], "statement": row["statement"], "verdict": row["verdict"]} | {
        "evidence": f"({told.evidence(row)})"
    }


def first(points: Mapping[str, Mapping], contrasts: Sequence[Mapping]) -> dict[str, str]:
    """What the explorer opens with: DIP's start at its largest K, beside the same from noise; else the first cells.

    Cells that a claim is about come before others.
    """
    claimed = {path for each in contrasts for stratum in each["strata"] for path in stratum[0]}
    beside = {}  # path of a cell from DIP -> that of the same from noise
    for path, point in points.items():
        if point["start"] == "dip" and point["steps"]:
            noise = Cell(**{axis: point[axis] for axis in AXES} | {"start": "noise", "passes": None}).path
            beside |= {path: noise} if noise in points else {}
    if not beside:
        paths = list(points)
        return {"a": paths[0], "b": paths[min(1, len(paths) - 1)]}
    usual = AXES["passes"].default

    def rank(path: str) -> tuple:
        point = points[path]
        return (-point["replicate"], path in claimed, point["passes"] == usual, point["steps"])

    a = max(beside, key=rank)
    return {"a": a, "b": beside[a]}


def settings_in_words(config: Mapping, cells: pd.DataFrame) -> str:
    """The study's settings in a sentence, for the first screen."""
    data, models = config.get("data") or {}, config.get("models") or {}
    parts = []
    if data.get("dataset"):
        size = data.get("image_size")
        parts.append(f"{data['dataset']}" + f" at {size}x{size} pixels" * bool(size))
    epochs = {model: max(each["epochs"]) for model, each in models.items() if each and each.get("epochs")}
    if epochs:
        nets = len(set(cells["replicate"]))
        trained = ", ".join(f"{model} for {count} epochs" for model, count in epochs.items())
        parts.append(f"{trained}, up to {nets} net{'s' * (nets != 1)} of each")
    count = len(tables.with_paths(cells)["path"].unique())
    n = sorted({int(value) for value in cells["n"].dropna()})
    parts.append(f"{count} cells" + f" of {' or '.join(map(str, n))} images each" * bool(n))
    return "; ".join(parts) + "."
