"""Training to an epoch budget: from scratch, from a lower budget's snapshot, or from where a stopped run got to."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from . import files, provenance
from .errors import UserError


def save(folder: Path, kind: ModuleType, trainer, model: str, columns: tuple[str, ...], trajectory: str) -> None:
    """Write a trainer's state and its losses, `columns` by epoch.

    The loss table first: rows past the state's own epoch are dropped when it is read back.
    """
    rows = [("model", "epoch", *columns), *((model, *row) for row in trainer.losses)]
    files.write_text(folder / "losses.csv", "".join(",".join(map(str, row)) + "\n" for row in rows))
    tensors, header = kind.state_tensors(trainer)
    files.write_safetensors(folder / "state.safetensors", tensors, header | {"trajectory": trajectory})


def load(folder: Path, kind: ModuleType, trainer, columns: tuple[str, ...], trajectory: str) -> bool:
    """Go on from a saved state, if it belongs to this trajectory (same data, settings and code)."""
    tensors, header = files.read_safetensors(folder / "state.safetensors")
    if header.get("trajectory") != trajectory:
        return False
    kind.load_state(trainer, tensors, header)
    with open(folder / "losses.csv", newline="") as file:
        rows = [(int(row["epoch"]), *(float(row[name]) for name in columns)) for row in csv.DictReader(file)]
    trainer.losses = rows[: trainer.epoch]
    return True


def train_to(
    epochs: int,
    trainer,
    kind: ModuleType,
    train_epoch: Callable[[], None],
    *,
    model: str,
    columns: tuple[str, ...],
    trajectory: str,
    lower: Path | None,
    progress: Path,
    output: Path,
) -> None:
    """Train until `epochs` epochs are done, then write state.safetensors and losses.csv into `output`.

    trainer: a fresh one of the module `kind` (`training` or `gan_training`); train_epoch: one epoch of it; columns:
    what its losses hold; trajectory: all that shapes it but the number of epochs; lower: a lower budget's folder;
    progress: the state after each epoch goes there, for the next run after a stop. The caller removes it once its
    results are written. Raises UserError where `lower` is damaged or of another trajectory.
    """
    if lower:
        for name in ("state.safetensors", "losses.csv"):
            provenance.verified(lower / name)
        if not load(lower, kind, trainer, columns, trajectory):
            raise UserError(f"{lower}: made with other data, settings or code; delete it and run again")
    if files.lock(progress) is None:  # a workflow that was killed alone leaves its jobs behind
        print(f"{progress}: another process still trains there; waiting for it", flush=True)
        files.lock(progress, wait=True)
    if (progress / "state.safetensors").exists():
        later = json.loads(files.read_safetensors(progress / "state.safetensors")[1]["trainer"])["epoch"]
        if trainer.epoch < later <= epochs and load(progress, kind, trainer, columns, trajectory):
            print(f"{model}: going on from epoch {trainer.epoch}", flush=True)
    while trainer.epoch < epochs:
        train_epoch()
        save(progress, kind, trainer, model, columns, trajectory)
        epoch, *losses, seconds = trainer.losses[-1]
        said = ", ".join(f"{value:.4f}" for value in losses)
        print(f"{model}: epoch {epoch} of {epochs}, loss {said}, {seconds:.1f} s", flush=True)
    save(output, kind, trainer, model, columns, trajectory)


def remove(progress: Path) -> None:
    """Remove the progress folder, once the budget's results are written."""
    shutil.rmtree(progress, ignore_errors=True)
