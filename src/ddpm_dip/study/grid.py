"""From a grid to its cells: lists multiply, what does not apply collapses."""

import itertools

from ..jobs.errors import UserError
from . import plugins
from .axes import AXES, WEIGHTS, Cell

DIP = "dip"  # the family, and the model, of the DIP net's drawing alone


def family_of(config: dict, model: str) -> str | None:
    """A model's family; None where its network is unknown or its file is wrong."""
    if model == DIP:
        return DIP
    network = config["models"][model]["network"]
    if network not in plugins.names("network") or plugins.problem("network", network):
        return None
    return plugins.constant("network", network, "FAMILY")


def choices(config: dict) -> dict[str, list[str]]:
    """The known words of the axes that have any."""
    return {
        "model": [*config["models"], DIP],
        "weights": list(WEIGHTS),
        "start": list(plugins.names("start")),
        "sampler": list(plugins.names("sampler")),
    }


def needs_dip(start: str | None) -> bool:
    """Whether a start declares that it needs the fitted DIP net."""
    return start is not None and "dip" in plugins.constant("start", start, "NEEDS", ())


def applies(axis: str, family: str | None, start: str | None) -> bool:
    """Whether an axis applies to the cells of a family with this start."""
    if axis in ("model", "replicate"):
        return True
    if axis == "passes" and family != DIP:
        return needs_dip(start)
    return family is not None and axis in plugins.constant("family", family, "AXES", ())


def expand(config: dict, grid: dict, key: str) -> list[Cell]:
    """A grid's cells, without repetition. key: what to call the grid in a message.

    Raises UserError for an epoch budget that a model does not have, and for more evaluations than timesteps.
    """
    defaults = {name: axis.default for name, axis in AXES.items()} | {
        "replicate": config["seeds"]["replicates"],
        "weights": config["training"]["weights"],
        "clip_x0": config["sampling"]["clip_x0"],
    }
    lists = {name: grid.get(name, defaults[name]) for name in AXES}
    lists = {name: value if isinstance(value, list) else [value] for name, value in lists.items()}
    found = []
    for model in lists["model"]:
        family = family_of(config, model)
        own = lists | {"model": [model], "epochs": budgets(config, model, grid, key) if model != DIP else [None]}
        for values in itertools.product(*own.values()):
            point = dict(zip(AXES, values, strict=True))
            start = point["start"] if applies("start", family, None) else None
            point = {name: value if applies(name, family, start) else None for name, value in point.items()}
            if point["steps"] is not None:
                point["nfe"] = point["steps"] if point["nfe"] is None else point["nfe"]
                if point["nfe"] > point["steps"]:
                    raise UserError(
                        f"{key}.nfe: {point['nfe']} evaluations are more than the {point['steps']} timesteps of steps: "
                        f"{point['steps']}; nfe must be at most steps"
                    )
            found.append(Cell(**point))
    return list(dict.fromkeys(found))


def budgets(config: dict, model: str, grid: dict, key: str) -> list[int]:
    """The epoch budgets of a model that a grid asks for."""
    own = config["models"][model]["epochs"]
    asked = grid.get("epochs", max(own))
    asked = asked if isinstance(asked, list) else [asked]
    asked = [epochs for each in asked for epochs in (sorted(own) if each == "all" else [each])]
    missing = [epochs for epochs in asked if epochs not in own]
    if missing:
        raise UserError(f"{key}.epochs: {missing[0]} is not among the epochs of model {model!r} ({own})")
    return list(dict.fromkeys(asked))
