"""The tidy tables (cells, evolution, interpolation, training, timing), and the words that figures and report use."""

import math
from pathlib import Path

import pandas as pd

from .errors import UserError

CELL_KEYS = [
    "dataset",
    "model",
    "epochs",
    "weights",
    "start",
    "passes",
    "sampler",
    "steps",
    "clip_x0",
    "seed",
    "n",
]
CELL_METRICS = [
    "fd_classifier",
    "fd_classifier_sd",
    "fd_classifier_floor",
    "fid_inception",
    "fid_inception_floor",
    "tone_sd",
]
CELL_COLUMNS = [*CELL_KEYS, "n_reference", "display", *CELL_METRICS, "image_mean_sd"]
CELL_ORDER = ["dataset", "model", "epochs", "start", "passes", "sampler", "steps", "clip_x0", "display"]
INTERPOLATION_KEYS = ["dataset", "model", "epochs", "weights", "sampler", "steps", "clip_x0", "noise", "path", "seed"]
INTERPOLATION_ORDER = ["display", "space", "pair"]
SMOOTHNESS = ["path_length", "end_to_end", "path_ratio", "largest_share"]
INTERPOLATION_COLUMNS = [*INTERPOLATION_KEYS, *INTERPOLATION_ORDER, *SMOOTHNESS]  # then step_1, step_2, ...
TRAINING_COLUMNS = ["model", "epoch", "loss", "seconds"]
GAN_TRAINING_COLUMNS = ["model", "epoch", "loss_d", "loss_g", "seconds"]
TIMING_COLUMNS = [
    "method",
    "passes",
    "steps",
    "batch",
    "device",
    "backend",
    "median_s",
    "q1_s",
    "q3_s",
    "repeats",
]
INTEGERS = ["epochs", "passes", "steps", "seed", "n", "n_reference"]
DISPLAY_NAMES = ["minmax", "clamp"]


def cells(records: dict[str, dict]) -> pd.DataFrame:
    """One row a cell and display, from metrics records by file name; empty where not computed.

    Raises UserError, naming the file and the key, where a record lacks something.
    """
    rows = []
    for name, record in records.items():
        try:
            shared = {key: record[key] for key in [*CELL_KEYS, "n_reference", "image_mean_sd"]}
            for display in DISPLAY_NAMES:
                values = {key: record["displays"][display][key] for key in CELL_METRICS}
                rows.append({**shared, "display": display, **values})
        except KeyError as error:
            raise UserError(f"{name}: a metrics file without {error}; delete it and run again") from error
    table = pd.DataFrame(rows, columns=CELL_COLUMNS)
    table["model"] = table["model"].fillna("")
    table = table.astype({**dict.fromkeys(INTEGERS, "Int64"), **dict.fromkeys(CELL_METRICS, "float64")})
    return table.sort_values(CELL_ORDER, kind="stable", na_position="first", ignore_index=True)


def not_computed(records: dict[str, dict]) -> dict[str, list[str]]:
    """Why a metric is missing: the distinct reasons by metric name."""
    reasons: dict[str, list[str]] = {}
    for record in records.values():
        for metric, reason in record.get("not_computed", {}).items():
            if reason not in reasons.setdefault(metric, []):
                reasons[metric].append(reason)
    return reasons


def interpolation(records: dict[str, dict]) -> pd.DataFrame:
    """One row a way between latents, display, space and pair, from evaluate_interpolation.py's records by file name.

    path_length and end_to_end in units of the space (pixels in [0, 1], classifier features); path_ratio and
    largest_share as `interpolation.Smoothness` has them; step_1, step_2, ...: between neighbouring images.
    Raises UserError, naming the file and the key, where a record lacks something.
    """
    rows = []
    for name, record in records.items():
        try:
            shared = {key: record[key] for key in INTERPOLATION_KEYS}
            for measure in record["measures"]:
                values = {key: measure[key] for key in [*INTERPOLATION_ORDER, *SMOOTHNESS]}
                steps = {f"step_{i}": step for i, step in enumerate(measure["steps_between"], start=1)}
                rows.append({**shared, **values, **steps})
        except KeyError as error:
            raise UserError(f"{name}: a file of measures without {error}; delete it and run again") from error
    table = pd.DataFrame(rows, columns=None if rows else INTERPOLATION_COLUMNS)
    return table.astype(dict.fromkeys(SMOOTHNESS, "float64")).sort_values(
        [*INTERPOLATION_KEYS, *INTERPOLATION_ORDER], kind="stable", ignore_index=True
    )


def training(parts: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """All U-Nets' losses, by model and epoch, from tables by file name."""
    return _by_epoch(parts, TRAINING_COLUMNS)


def gan_training(parts: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """All DCGANs' losses, of discriminator and generator in nats, by model and epoch, from tables by file name."""
    return _by_epoch(parts, GAN_TRAINING_COLUMNS)


def _by_epoch(parts: dict[str, pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    return _concatenate(parts, columns).sort_values(["model", "epoch"], kind="stable", ignore_index=True)


def timing(parts: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """All measured times, by batch, method, passes and steps, from tables by file name."""
    table = _concatenate(parts, TIMING_COLUMNS)
    return table.sort_values(["batch", "method", "passes", "steps"], kind="stable", ignore_index=True)


def _concatenate(parts: dict[str, pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    for name, part in parts.items():
        _require(name, part, columns)
    return pd.concat([part[columns] for part in parts.values()], ignore_index=True)


def _require(name: Path | str, table: pd.DataFrame, columns: list[str]) -> None:
    missing = [column for column in columns if column not in table]
    if missing:
        raise UserError(f"{name}: lacks the column {', '.join(missing)}; right is {','.join(columns)}")


def read_csv(path: Path | str, columns: list[str]) -> pd.DataFrame:
    """A CSV file with at least these columns. Raises UserError where it is missing or something else."""
    try:
        table = pd.read_csv(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable CSV file ({error}); delete it and run again") from error
    _require(path, table, columns)
    return table


def read_cells(path: Path | str) -> pd.DataFrame:
    """cells.csv with whole numbers as such, "" for no model, and the columns `variant` and `arm` added."""
    table = read_csv(path, CELL_COLUMNS)
    table = table.astype(dict.fromkeys(INTEGERS, "Int64"))
    table["model"] = table["model"].fillna("").astype(str)
    table["sampler"] = table["sampler"].fillna("none").astype(str)
    table[["passes", "steps"]] = table[["passes", "steps"]].fillna(0)
    table["variant"] = [variant(*row) for row in zip(table.model, table.weights, table.clip_x0, strict=True)]
    table["arm"] = [arm(*row) for row in zip(table.start, table.sampler, strict=True)]
    return table


def distance(table: pd.DataFrame) -> tuple[str, str]:
    """The columns of the distance to judge by, and of its floor: the classifier's, or the FID where there is none."""
    metric = "fd_classifier" if table["fd_classifier"].notna().any() else "fid_inception"
    return metric, f"{metric}_floor"


def largest_budget(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of each variant's largest epoch budget; rows without a model (DIP alone) stay."""
    largest = table.groupby("variant")["epochs"].transform("max")
    return table[table["epochs"].isna() | (table["epochs"] == largest)]


def variant(model: str, weights: object, clip_x0: object) -> str:
    """A model's name, with whatever of its use is not the study's default."""
    extra = []
    if model and isinstance(weights, str) and weights not in ("", "last"):
        extra.append({"ema": "EMA", "best_training_loss": "best training loss"}.get(weights, weights))
    if model and clip_x0 is not None and not pd.isna(clip_x0) and str(clip_x0) == "True":
        extra.append("x0 clipped")
    return ", ".join([model, *extra])


def arm(start: str, sampler: str) -> str:
    """The arm's key: its start, `<start>-alone` where no chain follows, or `gan`, which has neither."""
    return "gan" if sampler == "gan" else f"{start}-alone" if sampler == "none" else start


def arm_label(key: str, passes: int) -> str:
    """The arm's name in figures and tables, with its DIP passes."""
    names = {
        "noise": "DDPM",
        "dip": f"DIP({passes})+DDPM",
        "dip-every-step": f"DIP({passes}) every step",
        "mean-image": "mean image+DDPM",
        "dip-alone": f"DIP({passes}) alone",
        "gan": "DCGAN",
    }
    return names.get(key, f"{key}({passes})" if passes else key)


def epochs_label(epochs: int) -> str:
    return f"{epochs} epoch{'' if epochs == 1 else 's'}"


def way_label(sampler: str, noise: str) -> str:
    """How the images between two latents were sampled, in words."""
    return {"gan": "DCGAN", "ddim": "DDIM"}.get(sampler, f"ancestral, {noise} noise")


def with_error(value: float, error: float) -> str:
    """A value and its spread, of two digits; the value alone where the spread is unknown."""
    if not math.isfinite(error):
        return compact(value)
    return f"{compact(value)} ± {compact(error) if error >= 9.95 else f'{error:.2g}'}"


def compact(value: float) -> str:
    """A number in at most six characters or so: 0.042, 4.2, 123, 12k, 3.4M, 5.6e12."""
    if value is None or math.isnan(value):
        return "–"
    size = abs(value)
    if size < 1e-3 and size > 0:
        return f"{value:.1e}"
    if size < 1:
        return f"{value:.3f}"
    if size < 9.95:
        return f"{value:.2f}" if size < 1.995 else f"{value:.1f}"
    if size < 999.5:
        return f"{value:.0f}"
    for unit, name in ((1e3, "k"), (1e6, "M")):
        if size < 999.5 * unit:
            return f"{value / unit:.1f}{name}" if size < 9.95 * unit else f"{value / unit:.0f}{name}"
    return f"{value:.1e}".replace("e+0", "e").replace("e+", "e")
