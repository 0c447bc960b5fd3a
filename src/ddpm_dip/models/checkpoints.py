"""Training to an epoch budget: from scratch, from a lower budget's snapshot, or from where a stopped run got to."""

import csv
import json
import shutil
from pathlib import Path
from types import ModuleType

from torch import Tensor

from ..jobs import files
from ..jobs.errors import UserError
from ..jobs.job import verified

STATE, LOSSES = "state.safetensors", "losses.csv"


def save(state: Path, losses: Path, family: ModuleType, trainer, settings: dict, trajectory: str) -> None:
    """Write a trainer's state, and the table of its losses by epoch.

    The loss table goes first: `load` drops the rows that are later than the state.
    """
    columns = ("model", "replicate", "epoch", *family.COLUMNS, "seconds")
    rows = [columns, *((settings["model"], settings["replicate"], *row) for row in trainer.losses)]
    files.write_text(losses, "".join(",".join(map(str, row)) + "\n" for row in rows))
    tensors, header = family.state_tensors(trainer)
    files.write_safetensors(state, tensors, header | {"trajectory": trajectory})


def load(folder: Path, family: ModuleType, trainer, trajectory: str) -> bool:
    """Put the state in a folder into `trainer`. Returns False, and does nothing, where it is of another trajectory."""
    tensors, header = files.read_safetensors(folder / STATE)
    if header.get("trajectory") != trajectory:
        return False
    family.load_state(trainer, tensors, header)
    columns = (*family.COLUMNS, "seconds")
    with open(folder / LOSSES, newline="") as file:
        rows = [(int(row["epoch"]), *(float(row[name]) for name in columns)) for row in csv.DictReader(file)]
    trainer.losses = rows[: trainer.epoch]
    return True


def train_to(
    family: ModuleType,
    trainer,
    images: Tensor,
    settings: dict,
    *,
    trajectory: str,
    lower: Path | None,
    progress: Path,
) -> int:
    """Train a fresh trainer until `settings["epochs"]` epochs are done. Returns how many of them this run trained.

    family: a module of models/families; images: (N, C, H, W) float32 in [-1, 1]; trajectory: all that shapes the
    training but the number of epochs; lower: the folder of a lower budget, to go on from where it is there; progress:
    the folder that gets the state after each epoch, for the next run after a stop. The caller removes it once its
    results are written. Raises UserError where `lower` is damaged or of another trajectory.
    """
    if lower is not None and (lower / STATE).exists():
        for name in (STATE, LOSSES):
            verified(lower / name)
        if not load(lower, family, trainer, trajectory):
            raise UserError(f"{lower}: made with other data, settings or code; delete it and run again")
    if files.lock(progress) is None:  # a workflow that was killed alone leaves its jobs behind
        print(f"{progress}: another process still trains there; waiting for it", flush=True)
        files.lock(progress, wait=True)
    model, epochs = settings["model"], settings["epochs"]
    if (progress / STATE).exists():
        later = json.loads(files.read_safetensors(progress / STATE)[1]["trainer"])["epoch"]
        if trainer.epoch < later <= epochs and load(progress, family, trainer, trajectory):
            print(f"{model}: going on from epoch {trainer.epoch}", flush=True)
    first = trainer.epoch
    while trainer.epoch < epochs:
        family.train_epoch(trainer, images)
        save(progress / STATE, progress / LOSSES, family, trainer, settings, trajectory)
        epoch, *losses, seconds = trainer.losses[-1]
        said = ", ".join(f"{value:.4f}" for value in losses)
        left = f", about {(epochs - epoch) * seconds / 60:.1f} min left" if epoch < epochs else ""
        print(f"{model}: epoch {epoch} of {epochs}, loss {said}, {seconds:.1f} s{left}", flush=True)
    return epochs - first


def remove(progress: Path) -> None:
    """Remove the progress folder, once the budget's results are written."""
    shutil.rmtree(progress, ignore_errors=True)
