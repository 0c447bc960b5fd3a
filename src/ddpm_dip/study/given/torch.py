"""Any nn.Module of a user's own: a Python file with a function that builds it, and its weights as safetensors."""

from pathlib import Path

from ...jobs import code
from ...jobs.errors import UserError
from ...jobs.files import expanded
from . import Description, check_safetensors, checked_schedule, paths_of

KEYS = ("module", "path", "schedule")


def describe(key: str, settings: dict) -> Description:
    """Raises UserError where there is no such file, function or weights, or where the schedule is missing."""
    for name, example in (("module", "path/to/file.py:build"), ("schedule", "{ num_train_timesteps: 1000 }")):
        if name not in settings:
            raise UserError(f"{key}: {name} is missing; right is {name}: {example}")
    file, function = split(key, settings["module"])
    if function not in {getattr(node, "name", None) for node in code.syntax_tree(file).body}:
        raise UserError(f"{key}.module: {file} defines no function {function}, which returns the net")
    paths = paths_of(settings)
    for path in paths:
        check_safetensors(f"{key}.path", expanded(path))
    return Description(paths, checked_schedule(f"{key}.schedule", settings["schedule"]))


def split(key: str, module: str) -> tuple[Path, str]:
    """The file and the function's name. Raises UserError, naming the key, where it is not FILE.py:NAME of a file."""
    name, colon, function = module.rpartition(":")
    file = expanded(name)
    if not colon or not function.isidentifier() or file.suffix != ".py":
        raise UserError(f"{key}.module is {module!r}; right is a file and its function, path/to/file.py:build")
    if not file.is_file():
        raise UserError(f"{key}.module: {file}: no such file")
    return file, function


def files(settings: dict, path: str) -> list[Path]:
    return [split("", settings["module"])[0], expanded(path)]
