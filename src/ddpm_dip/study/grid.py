"""From a grid to its cells: lists multiply, what does not apply collapses."""

import itertools

from ..jobs import code
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


def needs(start: str | None) -> tuple[str, ...]:
    """What a start declares that it needs, of `plugins.NEEDS`."""
    return () if start is None else plugins.constant("start", start, "NEEDS", ())


def needs_dip(start: str | None) -> bool:
    """Whether a start needs the fitted DIP net."""
    return "dip" in needs(start)


def gan_of(config: dict) -> tuple[str, int] | None:
    """The DCGAN that a start draws from: the first of the models, and its largest epoch budget; None without any."""
    gans = [name for name in config["models"] if family_of(config, name) == "dcgan"]
    return (gans[0], max(config["models"][gans[0]]["epochs"])) if gans else None


def lacks(config: dict, start: str) -> str | None:
    """What a start needs and the configuration does not have; None where that is nothing."""
    data = config["data"]
    pixels = data["channels"] * data["image_size"] ** 2
    most = plugins.literal(code.PACKAGE / "sampling/gaussians.py", "MOST_PIXELS")
    if "gan" in needs(start) and gan_of(config) is None:
        return f"{start} draws from a DCGAN, and models has none: add gan: {{ network: dcgan, epochs: [20] }}"
    if "labels" in needs(start) and not labelled(config):
        return f"{start} needs labels, and data.dataset {data['dataset']} has none"
    if "covariance" in needs(start) and pixels > most:
        return (
            f"{start} needs the covariance of all pixels; data.image_size {data['image_size']} and data.channels "
            f"{data['channels']} make {pixels} of them, and {most} are the most: make the images smaller, or use the "
            "start gaussian-diag, which needs none"
        )
    return None


def labelled(config: dict) -> bool:
    """Whether the data set has labels. An unknown one, which is named elsewhere, counts as having them."""
    name = config["data"]["dataset"].replace("_", "-")
    return not plugins.file_of("dataset", name).is_file() or plugins.constant("dataset", name, "LABELLED", True)


def applies(axis: str, family: str | None, start: str | None) -> bool:
    """Whether an axis applies to the cells of a family with this start."""
    if axis in ("model", "replicate"):
        return True
    if axis == "passes" and family != DIP:
        return not set(needs(start)).isdisjoint(plugins.DIP_NETS)
    return family is not None and axis in plugins.constant("family", family, "AXES", ())


def expand(config: dict, grid: dict, key: str) -> list[Cell]:
    """A grid's cells, without repetition. key: what to call the grid in a message.

    Raises UserError for an epoch budget that a model does not have, for more evaluations than timesteps, and for a
    start that needs what the configuration does not have.
    """
    defaults = {name: axis.default for name, axis in AXES.items()} | {
        "replicate": config["seeds"]["replicates"],
        "weights": config["training"]["weights"],
        "clip_x0": config["sampling"]["clip_x0"],
    }
    lists = {name: grid.get(name, defaults[name]) for name in AXES}
    lists = {name: as_list(value) for name, value in lists.items()}
    found = []
    for model in lists["model"]:
        family = family_of(config, model)
        own = lists | {"model": [model], "epochs": budgets(config, model, grid, key) if model != DIP else [None]}
        for values in itertools.product(*own.values()):
            point = dict(zip(AXES, values, strict=True))
            start = point["start"] if applies("start", family, None) else None
            if start is not None and (says := lacks(config, start)):
                raise UserError(f"{key}.start: {says}")
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


def as_list(value: object) -> list:
    """What may be one or a list, as a list."""
    return value if isinstance(value, list) else [value]


def keyed(grids: dict | list[dict], key: str) -> list[tuple[str, dict]]:
    """The grids of an experiment, each with its key."""
    return [(f"{key}.{index}", each) for index, each in enumerate(grids)] if isinstance(grids, list) else [(key, grids)]


def expand_all(config: dict, grids: dict | list[dict], key: str) -> list[Cell]:
    """The cells of an experiment's grid, or of its grids, without repetition. Raises UserError as `expand` does."""
    return list(dict.fromkeys(cell for at, each in keyed(grids, key) for cell in expand(config, each, at)))


def budgets(config: dict, model: str, grid: dict, key: str) -> list[int]:
    """The epoch budgets of a model that a grid asks for."""
    own = config["models"][model]["epochs"]
    asked = grid.get("epochs", max(own))
    asked = [epochs for each in as_list(asked) for epochs in (sorted(own) if each == "all" else [each])]
    missing = [epochs for epochs in asked if epochs not in own]
    if missing:
        raise UserError(f"{key}.epochs: {missing[0]} is not among the epochs of model {model!r} ({own})")
    return list(dict.fromkeys(asked))
