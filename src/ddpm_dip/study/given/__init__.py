"""Families of nets that were trained elsewhere: each a file of this folder, found by its name, that says what is there.

A file defines

    KEYS = ("path", "schedule")               what a model of the family says in the configuration, beside `family`
    describe(key, settings) -> Description    of a model; raises UserError, naming the key, for what cannot be used
    files(settings, path) -> [file, ...]      those that a net is made from; path: one of the model's

How a net is made from these is said in models/families, and how images are drawn from it in sampling/generators.
Nothing here imports torch or diffusers: configurations and headers are JSON.
"""

import importlib
import json
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from ...jobs import files
from ...jobs.errors import UserError, nearest

FAMILIES = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))
# as models.schedule has them, and the defaults of its schedule_of
BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")
PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")
SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_schedule": "linear",
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "prediction_type": "epsilon",
}
MOST_TIMESTEPS = 65_536  # a key of the noise has 16 bits for the timestep
PICKLES = {".bin", ".ckpt", ".pkl", ".pt", ".pth"}
HEADER_LIMIT = 100 * 2**20  # bytes, as safetensors has it


class Description(NamedTuple):
    """What a model of a given family is, as far as a study asks.

    paths: one a replicate; schedule: as `models.schedule.schedule_of` takes it; image_size, channels: of the images
    that it draws, None where any will do.
    """

    paths: list[str]
    schedule: dict[str, object]
    image_size: int | None = None
    channels: int | None = None


def find(family: str) -> ModuleType:
    """The module of a family, a member of FAMILIES."""
    return importlib.import_module(f"{__name__}.{family}")


def describe(model: str, settings: dict) -> Description:
    """What the model of that name is. Raises UserError, naming the key, for what cannot be used."""
    key, family = f"models.{model}", settings["family"]
    if family not in FAMILIES:
        raise UserError(
            f"{key}.family: {family!r} is unknown; {nearest(family, FAMILIES)}. A net of this project's own, which is "
            "trained here, has a network instead"
        )
    module = find(family)
    if unknown := [name for name in settings if name not in ("family", *module.KEYS)]:
        raise UserError(f"{key}.{unknown[0]}: a model of the family {family} takes {', '.join(module.KEYS)} alone")
    return module.describe(key, settings)


def paths_of(settings: dict) -> list[str]:
    path = settings["path"]
    return path if isinstance(path, list) else [path]


def digests(settings: dict, path: str) -> list[tuple[str, str]]:
    """Each file that a net is made from, in the family's order, with its sha256."""
    return [(str(file), files.sha256(file)) for file in find(settings["family"]).files(settings, path)]


def checked_schedule(key: str, found: dict) -> dict[str, object]:
    """A whole schedule from what is said of it. Raises UserError, naming the key, for what is none."""
    if unknown := [name for name in found if name not in SCHEDULE]:
        raise UserError(f"{key}: unknown key {unknown[0]!r}; {nearest(unknown[0], SCHEDULE)}")
    schedule = SCHEDULE | found
    for name, known in (("beta_schedule", BETA_SCHEDULES), ("prediction_type", PREDICTION_TYPES)):
        if schedule[name] not in known:
            raise UserError(f"{key}: {name} {schedule[name]!r} is not supported; {nearest(schedule[name], known)}")
    timesteps = schedule["num_train_timesteps"]
    if type(timesteps) is not int or not 2 <= timesteps <= MOST_TIMESTEPS:
        raise UserError(
            f"{key}: num_train_timesteps is {timesteps!r}; it must be a whole number from 2 to {MOST_TIMESTEPS}"
        )
    ends = schedule["beta_start"], schedule["beta_end"]
    if not all(type(end) in (int, float) and 0 < end < 1 for end in ends):
        raise UserError(
            f"{key}: beta_start and beta_end are {ends[0]!r} and {ends[1]!r}; they must lie between 0 and 1"
        )
    return schedule


def in_words(schedule: dict[str, object]) -> str:
    """What tells a schedule's noise levels from another's: linear, 1000 timesteps."""
    kind, ends = schedule["beta_schedule"], (schedule["beta_start"], schedule["beta_end"])
    usual = kind == "squaredcos_cap_v2" or ends == (SCHEDULE["beta_start"], SCHEDULE["beta_end"])
    between = "" if usual else f" {ends[0]:g} to {ends[1]:g}"
    return f"{kind}{between}, {schedule['num_train_timesteps']} timesteps"


def read_json(key: str, path: Path) -> dict:
    """A configuration. Raises UserError, naming the key and the file, where it is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{key}: {path} cannot be read as JSON: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{key}: {path} holds no configuration")
    return found


def check_safetensors(key: str, path: Path) -> None:
    """Raises UserError, naming the key and the file, where it is no .safetensors file, by its name and its header."""
    if path.suffix in PICKLES:
        raise UserError(
            f"{key}: {path} may be a pickle file, which can run any code when it is read; save the weights by "
            "safetensors"
        )
    try:
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size)) if size <= HEADER_LIMIT else None
    except OSError as error:
        raise UserError(f"{key}: {path} cannot be read: {error.strerror or error}") from error
    except ValueError:
        header = None
    if not isinstance(header, dict):
        raise UserError(f"{key}: {path} is no safetensors file; save the weights with safetensors")
