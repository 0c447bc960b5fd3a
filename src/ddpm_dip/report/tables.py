"""The tidy tables: cells, interpolation, training, timing. Made from small results, and read back.

In cells.csv a row is a cell under one display: its value on each axis, n, the display, and each metric. What does not
apply and what was not computed are empty fields.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from ..evaluation.metrics import METRICS
from ..jobs.errors import UserError
from ..study.axes import AXES, Cell
from . import labels

CELL_COLUMNS = [*AXES, "n", "display", *METRICS]
FLOOR_COLUMNS = ["features", "display", "n", "n_reference", "floor"]
# The metrics that are distances to real images, and so have a floor: what two sets of real images are apart.
DISTANCES = {
    name: metric.feature_net for name, metric in METRICS.items() if metric.feature_net and metric.lower_is_better
}
JUDGED_BY = ["fd_classifier", "fid_inception"]  # the first of these that was computed is the one to judge by
INTERPOLATION_KEYS = ["model", "replicate", "epochs", "weights", "sampler", "steps", "clip_x0", "noise", "path"]
INTERPOLATION_ORDER = ["display", "space", "pair"]
SMOOTHNESS = ["path_length", "end_to_end", "path_ratio", "largest_share"]
INTERPOLATION_COLUMNS = [*INTERPOLATION_KEYS, *INTERPOLATION_ORDER, *SMOOTHNESS]  # then step_1, step_2, ...
TRAINING_COLUMNS = ["model", "replicate", "epoch", "loss", "seconds"]
GAN_TRAINING_COLUMNS = ["model", "replicate", "epoch", "loss_d", "loss_g", "seconds"]
TIMING_COLUMNS = ["method", "passes", "steps", "batch", "device", "backend", "median_s", "q1_s", "q3_s", "repeats"]
COLUMNS = {
    "cells": CELL_COLUMNS,
    "floors": FLOOR_COLUMNS,
    "interpolation": INTERPOLATION_COLUMNS,
    "training": TRAINING_COLUMNS,
    "gan_training": GAN_TRAINING_COLUMNS,
    "timing": TIMING_COLUMNS,
}
TEXT = [name for name, axis in AXES.items() if axis.schema.get("type") not in ("integer", "boolean")]
TEXT += ["noise", "path", "display", "space", "features", "method", "device", "backend"]


# ---------------------------------------------------------------- made


def cells(records: Mapping[str, dict]) -> pd.DataFrame:
    """One row a cell and display, from metrics records by file name, in the axes' order.

    Raises UserError, naming the file and the key, where a record lacks something.
    """
    rows = []
    for name, record in records.items():
        try:
            point = {axis: record["cell"][axis] for axis in AXES}
            for display in labels.DISPLAY_NAMES:
                values = {metric: record["displays"][display][metric] for metric in METRICS}
                rows.append({**point, "n": record["n"], "display": display, **values})
        except KeyError as error:
            raise UserError(f"{name}: a metrics file without {error}; delete it and run again") from error
    rows.sort(key=lambda row: (Cell(*(row[axis] for axis in AXES)).sort_key(), row["display"]))
    return _typed(pd.DataFrame(rows, columns=CELL_COLUMNS))


def not_computed(records: Mapping[str, dict]) -> dict[str, list[str]]:
    """Why a metric is missing: the distinct reasons by metric name."""
    reasons: dict[str, list[str]] = {}
    for record in records.values():
        for metric, reason in record.get("not_computed", {}).items():
            if reason not in reasons.setdefault(metric, []):
                reasons[metric].append(reason)
    return reasons


def interpolation(records: Mapping[str, dict]) -> pd.DataFrame:
    """One row a way between latents, display, space and pair, from the stage evaluate_interpolation's records.

    path_length and end_to_end are in units of the space (pixels in [0, 1], classifier features); path_ratio and
    largest_share as `evaluation.smoothness` has them; step_1, step_2, ... are between neighbouring images.
    Raises UserError, naming the file and the key, where a record lacks something.
    """
    rows = []
    for name, record in records.items():
        try:
            shared = {key: record["names"][key] for key in INTERPOLATION_KEYS}
            for measure in record["measures"]:
                values = {key: measure[key] for key in [*INTERPOLATION_ORDER, *SMOOTHNESS]}
                steps = {f"step_{i}": step for i, step in enumerate(measure["steps_between"], start=1)}
                rows.append({**shared, **values, **steps})
        except KeyError as error:
            raise UserError(f"{name}: a file of measures without {error}; delete it and run again") from error
    rows.sort(key=lambda row: [(row[key] is not None, row[key] or 0) for key in INTERPOLATION_COLUMNS[:-4]])
    table = pd.DataFrame(rows, columns=None if rows else INTERPOLATION_COLUMNS)
    return _typed(table.astype(dict.fromkeys(SMOOTHNESS, "float64")))


def training(parts: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """All U-Nets' losses, by model, replicate and epoch, from tables by file name."""
    return _joined(parts, TRAINING_COLUMNS, ["model", "replicate", "epoch"])


def gan_training(parts: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """All DCGANs' losses, of discriminator and generator in nats, by model, replicate and epoch."""
    return _joined(parts, GAN_TRAINING_COLUMNS, ["model", "replicate", "epoch"])


def timing(parts: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """All measured times, by batch, method, passes and steps, from tables by file name."""
    return _joined(parts, TIMING_COLUMNS, ["batch", "method", "passes", "steps"])


def _joined(parts: Mapping[str, pd.DataFrame], columns: list[str], order: list[str]) -> pd.DataFrame:
    for name, part in parts.items():
        _require(name, part, columns)
    table = pd.concat([part[columns] for part in parts.values()], ignore_index=True)
    return table.sort_values(order, kind="stable", ignore_index=True)


# ---------------------------------------------------------------- read


def read(name: str, path: Path | str) -> pd.DataFrame:
    """The table of that name (a key of COLUMNS; any other has no required columns).

    Raises UserError where the file is missing or something else.
    """
    columns = COLUMNS.get(name, [])
    try:
        # a model may be called 007, True or NA: names are text, and in them only an empty field is missing
        na_values = {column: [""] if column in TEXT else ["", "nan"] for column in columns}
        text = dict.fromkeys(TEXT, str)
        table = pd.read_csv(path, dtype=text, keep_default_na=not columns, na_values=na_values or None)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable CSV file ({error}); delete it and run again") from error
    _require(path, table, columns)
    return _typed(table)


def read_cells(path: Path | str, floors: Path | str | None = None) -> pd.DataFrame:
    """cells.csv with each cell's path and, from floors.csv, the floor of each distance (NaN where there is none)."""
    return with_floors(read("cells", path), None if floors is None else read("floors", floors))


def with_floors(table: pd.DataFrame, floors: pd.DataFrame | None) -> pd.DataFrame:
    """A table of cells with the columns `path` and METRIC_floor added.

    A floor depends on the feature net, the display and the number of samples alone.
    """
    known = {}
    if floors is not None:
        known = {(row.features, row.display, int(row.n)): row.floor for row in floors.itertuples()}
    table = table.copy()
    table["path"] = [Cell(*values).path for values in table[list(AXES)].itertuples(index=False)]
    for metric, net in DISTANCES.items():
        at = [(net, row.display, int(row.n)) for row in table.itertuples()]
        table[f"{metric}_floor"] = pd.Series([known.get(key) for key in at], index=table.index, dtype="float64")
    return table


def rows_of(table: pd.DataFrame, paths: Iterable[str] | None = None) -> list[dict]:
    """The rows of a table of cells as mappings; only the cells with these paths, where they are given."""
    wanted = None if paths is None else set(paths)
    return [row for row in table.to_dict("records") if wanted is None or row["path"] in wanted]


def distance(table: pd.DataFrame) -> str:
    """The distance to judge by: the classifier's, or the FID where that was not computed."""
    return next((metric for metric in JUDGED_BY if table[metric].notna().any()), JUDGED_BY[-1])


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """Names and whole numbers as plain Python values with None for what does not apply; metrics as floats."""
    plain = [column for column in dict.fromkeys([*AXES, "n", "noise", "path"]) if column in table]
    for column in plain:
        values = [None if pd.isna(value) else _plain(value) for value in table[column]]
        table[column] = pd.Series(values, index=table.index, dtype=object)
    return table.astype({metric: "float64" for metric in METRICS if metric in table})


def _plain(value: object) -> object:
    value = value.item() if hasattr(value, "item") else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _require(name: Path | str, table: pd.DataFrame, columns: list[str]) -> None:
    missing = [column for column in columns if column not in table]
    if missing:
        raise UserError(f"{name}: lacks the column {', '.join(missing)}; right is {','.join(columns)}")
