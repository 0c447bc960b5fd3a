"""The tidy tables. Made from small results, and read back.

In cells.csv a row is a cell under one display: its value on each axis, n, the display, each metric, and its seconds per
image. What does not apply and what was not computed are empty fields. docs/tables.md says what each column of each
table is.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ..evaluation.metrics import METRICS, frechet_metrics
from ..jobs.errors import UserError
from ..study.axes import AXES, Cell
from . import labels

CELL_COLUMNS = [*AXES, "n", "display", *METRICS, "seconds"]
PSEUDO_COLUMNS = [*AXES, "display", "metric", "features", "block", "value"]
NOISE_COLUMNS = [*AXES, "t", "noise_mad"]
FLOOR_COLUMNS = ["features", "display", "n", "n_reference", "floor", "floor_se"]
DISTANCES = {name: net for net, name in frechet_metrics().items()}  # what has a floor -> its feature net
# the first of these that was computed is the one to judge by
JUDGED_BY = ["fd_classifier", "fd_rotation", "fid_inception"]
INTERPOLATION_KEYS = ["model", "replicate", "epochs", "weights", "sampler", "steps", "clip_x0", "noise", "path"]
INTERPOLATION_ORDER = ["display", "space", "pair"]
SMOOTHNESS = ["path_length", "end_to_end", "path_ratio", "largest_share"]
INTERPOLATION_COLUMNS = [*INTERPOLATION_KEYS, *INTERPOLATION_ORDER, *SMOOTHNESS]  # then step_1, step_2, ...
TRAINING_COLUMNS = ["model", "replicate", "epoch", "loss", "seconds"]
GAN_TRAINING_COLUMNS = ["model", "replicate", "epoch", "loss_d", "loss_g", "seconds"]
CLAIM_COLUMNS = ["claim", "statement", "contrast", "against", "model", "metric", "display", "scope", "replicates", "n"]
CLAIM_COLUMNS += ["estimate", "ci_low", "ci_high", "bound_low", "bound_high", "margin", "reference"]
CLAIM_COLUMNS += ["difference", "difference_low", "difference_high", "p", "p_holm"]
CLAIM_COLUMNS += ["after_holm", "mde", "agrees_energy", "agrees_classifier_2", "verdict", "note", "exploratory"]
CLAIM_COLUMNS += ["parts"]
SPEEDUP_COLUMNS = ["claim", "model", "arm", "against", "axis", "reference", "k_hi", "k_lo"]
SPEEDUP_COLUMNS += ["point", "point_low", "point_high"]
SPEEDUP_COLUMNS += ["nfe_ratio_low", "nfe_ratio_high", "seconds_ratio", "seconds_ratio_low", "seconds_ratio_high"]
SPEEDUP_COLUMNS += ["verdict", "trail"]
DIFFERENCE_COLUMNS = [axis for axis in AXES if axis != "replicate"]
DIFFERENCE_COLUMNS += ["display", "against", "against_steps", "replicates", "n", "estimate", "ci_low", "ci_high"]
DIFFERENCE_COLUMNS += ["reference", "word", "note"]
TIMING_COLUMNS = ["model", "what", "start", "passes", "sampler", "clip_x0", "steps", "batch", "round"]
TIMING_COLUMNS += ["device", "backend", "seconds"]
SAMPLING_BATCH = 64  # images that the stage `sample` draws at once
START_KEYS = ["start", "passes", "replicate", "steps", "schedule"]
COLUMNS = {
    "starts": [*START_KEYS, "n", "mean_error", "variance_ratio", "spectrum_ratio", "gaussian_kl"]
    + ["gaussian_kl_floor", "axes"],
    "spectra": [*START_KEYS, "band", "power", "expected"],
    "claims": CLAIM_COLUMNS,
    "speedups": SPEEDUP_COLUMNS,
    "differences": DIFFERENCE_COLUMNS,
    "cells": CELL_COLUMNS,
    "pseudo": PSEUDO_COLUMNS,
    "noise": NOISE_COLUMNS,
    "floors": FLOOR_COLUMNS,
    "interpolation": INTERPOLATION_COLUMNS,
    "training": TRAINING_COLUMNS,
    "gan_training": GAN_TRAINING_COLUMNS,
    "timing": TIMING_COLUMNS,
}
TEXT = [name for name, axis in AXES.items() if axis.schema.get("type") not in ("integer", "boolean")]
TEXT += ["claim", "statement", "contrast", "metric", "scope", "verdict", "note", "arm", "axis", "point", "point_low"]
TEXT += ["point_high", "trail", "parts", "against", "word"]
TEXT += ["schedule", "noise", "path", "display", "space", "features", "what", "device", "backend"]


# ---------------------------------------------------------------- made


def cells(records: Mapping[str, dict], times: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row a cell and display, from metrics records by file name, in the axes' order.

    times: the table of times, for the column `seconds`: the median over its rounds.
    Raises UserError, naming the file and the key, where a record lacks something.
    """

    def rows_of(point: dict, record: dict) -> Iterator[dict]:
        time = np.nan if times is None else np.median(seconds(times, point))
        for display in sorted(labels.DISPLAY_NAMES):
            values = {metric: record["displays"][display][metric] for metric in METRICS}
            yield {**point, "n": record["n"], "display": display, **values, "seconds": time}

    return _of_cells(records, rows_of, CELL_COLUMNS)


def pseudo(records: Mapping[str, dict]) -> pd.DataFrame:
    """One row a cell, display, metric that a claim may be about, and block: its jackknife pseudo-value.

    From the same records as `cells`, in the same order, with the same errors.
    """

    def rows_of(point: dict, record: dict) -> Iterator[dict]:
        for display in sorted(labels.DISPLAY_NAMES):
            for metric in (name for name in METRICS if METRICS[name].in_claims):
                shared = {"display": display, "metric": metric, "features": METRICS[metric].feature_net}
                for block, value in enumerate(record["pseudo"][display][metric] or ()):
                    yield {**point, **shared, "block": block, "value": value}

    return _of_cells(records, rows_of, PSEUDO_COLUMNS)


def noise(records: Mapping[str, dict]) -> pd.DataFrame:
    """One row a cell with a chain and state of it: the noise in the state. Likewise."""

    def rows_of(point: dict, record: dict) -> Iterator[dict]:
        along = record["noise"] or {"timesteps": (), "noise_mad": ()}
        for t, value in zip(along["timesteps"], along["noise_mad"], strict=True):
            yield {**point, "t": t, "noise_mad": value}

    return _of_cells(records, rows_of, NOISE_COLUMNS)


def _of_cells(records: Mapping[str, dict], rows_of: Callable[[dict, dict], Iterator[dict]], columns: list[str]):
    found = []
    for name, record in records.items():
        try:
            point = {axis: record["cell"][axis] for axis in AXES}
            found.append((Cell(**point).sort_key(), list(rows_of(point, record))))
        except KeyError as error:
            raise UserError(f"{name}: a metrics file without {error}; delete it and run again") from error
    rows = [row for _, rows in sorted(found, key=lambda each: each[0]) for row in rows]
    return _typed(pd.DataFrame(rows, columns=columns))


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


def timing(parts: Mapping[str, pd.DataFrame], models: Mapping[str, list[str]] | None = None) -> pd.DataFrame:
    """All measured times, by model and batch as they were measured, from tables by file name.

    models: a model that was timed -> the models with the same net, itself among them, whose rows are copies of its own.
    """
    table = _joined(parts, TIMING_COLUMNS, ["model", "batch"])
    same = {name: (models or {}).get(name, [name]) for name in table["model"].unique()}
    copies = [table[table["model"] == name].assign(model=other) for name, others in same.items() for other in others]
    return pd.concat(copies, ignore_index=True) if copies else table


def seconds(times: pd.DataFrame, cell: Mapping, batch: int | None = None) -> np.ndarray:
    """Seconds per image of a cell in each round (rounds,): its start's and, for each evaluation, a step's.

    times: as `timing` returns it, or as read back; cell: a value on each axis. batch: of these many images at a time;
    where it is None, the largest that was timed up to the 64 of the stage `sample`, or else the smallest. NaN in each
    round where something of it was not timed, and one NaN where nothing was.
    """
    start, step = costs(times, cell, usual_batch(times) if batch is None else batch)
    return start if labels.arm_of(cell) == labels.ALONE else start + (cell["nfe"] or np.nan) * step


def usual_batch(times: pd.DataFrame) -> int | None:
    """The batch size that stands for a study's sampling; None where nothing was timed."""
    sizes = sorted(times["batch"].unique())
    return max([size for size in sizes if size <= SAMPLING_BATCH], default=sizes[0] if sizes else None)


def costs(times: pd.DataFrame, cell: Mapping, batch: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Seconds per image of a cell's start, and of one step, in each round (rounds,); NaN where it was not timed.

    The model `dip`, which has no chain, takes what the start `dip` does with as many passes.
    """
    table = times[times["batch"] == batch]
    rounds = table["round"].unique() if len(table) else [0]
    alone = labels.arm_of(cell) == labels.ALONE
    own = table if alone else table[table["model"] == cell["model"]]

    def of(what: str, **axes: object) -> np.ndarray:
        rows = own[own["what"] == what]
        for axis, value in axes.items():
            rows = rows[rows[axis].isna() if value is None else rows[axis] == value]
        rows = rows[rows["model"] == rows["model"].min()]
        return rows.set_index("round")["seconds"].reindex(rounds).to_numpy(float)

    begin = of("start", start="dip" if alone else cell["start"], passes=cell["passes"])
    chain = {"sampler": cell["sampler"], "clip_x0": cell["clip_x0"]}
    step = of("step", start=cell["start"], passes=cell["passes"], **chain)
    # of one's own, where the net is shown something else than x_t
    return begin, of("step", start="noise", **chain) if np.isnan(step).all() else step


def timed_arms(times: pd.DataFrame, model: str) -> list[dict]:
    """The arms whose time is shown for a model, as cells without K: its starts, and its other samplers from noise.

    A start has two passes through the DIP net, or the fewest that were timed.
    """
    own = times[times["model"] == model]
    starts: dict[str, list] = {}
    for start, passes in own.loc[own["what"] == "start", ["start", "passes"]].itertuples(index=False):
        starts.setdefault(start, []).append(passes)
    usual = {start: 2 if 2 in passes else min(passes, key=lambda p: p or 0) for start, passes in starts.items()}
    steps = own.loc[own["what"] == "step", ["sampler", "clip_x0"]].drop_duplicates()
    chains = [dict(zip(steps, values, strict=True)) for values in steps.itertuples(index=False)]
    pairs = [(start, chain) for chain in chains for start in usual if chain == chains[0] or start == "noise"]
    cells = [
        dict.fromkeys(AXES) | chain | {"model": model, "start": start, "passes": usual[start]} for start, chain in pairs
    ]
    return [cell for cell in cells if not np.isnan(seconds(times, cell | {"nfe": 1})).any()]


def _joined(parts: Mapping[str, pd.DataFrame], columns: list[str], order: list[str]) -> pd.DataFrame:
    for name, part in parts.items():
        _require(name, part, columns)
    table = pd.concat([part[columns] for part in parts.values()], ignore_index=True)
    return table.sort_values(order, kind="stable", ignore_index=True)


def made(name: str, rows: list[dict]) -> pd.DataFrame:
    """A table of COLUMNS from its rows; what a row does not say is empty."""
    return pd.DataFrame(rows, columns=COLUMNS[name])


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
        # low_memory: of a long table it guesses types piece by piece, and warns where the guesses differ
        table = pd.read_csv(
            path, dtype=text, keep_default_na=not columns, na_values=na_values or None, low_memory=False
        )
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
    table = with_paths(table)
    for metric, net in DISTANCES.items():
        at = [(net, row.display, int(row.n)) for row in table.itertuples()]
        table[f"{metric}_floor"] = pd.Series([known.get(key) for key in at], index=table.index, dtype="float64")
    return table


def with_paths(table: pd.DataFrame) -> pd.DataFrame:
    """A table that has every axis, with the column `path` added: its cells' paths."""
    return table.assign(path=[Cell(*values).path for values in table[list(AXES)].itertuples(index=False)])


def rows_of(table: pd.DataFrame, paths: Iterable[str] | None = None) -> list[dict]:
    """The rows of a table of cells as mappings; only the cells with these paths, where they are given."""
    wanted = None if paths is None else set(paths)
    return [row for row in table.to_dict("records") if wanted is None or row["path"] in wanted]


def distance(table: pd.DataFrame) -> str:
    """The distance to judge by: the classifier's; without labels that of rotations; the FID where neither is there."""
    return next((metric for metric in JUDGED_BY if table[metric].notna().any()), JUDGED_BY[-1])


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """Names and whole numbers as plain Python values with None for what does not apply; metrics as floats."""
    plain = [column for column in dict.fromkeys([*AXES, "n", "noise", "path"]) if column in table]
    for column in plain:
        values = [None if pd.isna(value) else _plain(value) for value in table[column]]
        table[column] = pd.Series(values, index=table.index, dtype=object)
    return table.astype({name: "float64" for name in (*METRICS, "seconds") if name in table})


def _plain(value: object) -> object:
    value = value.item() if hasattr(value, "item") else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _require(name: Path | str, table: pd.DataFrame, columns: list[str]) -> None:
    missing = [column for column in columns if column not in table]
    if missing:
        raise UserError(f"{name}: lacks the column {', '.join(missing)}; right is {','.join(columns)}")
