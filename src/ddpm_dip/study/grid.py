"""From a grid to its cells: lists multiply, what does not apply collapses."""

import itertools

from .. import data
from ..jobs import code
from ..jobs.errors import UserError
from . import given, plugins
from .axes import AXES, TIMESTEPS, WEIGHTS, Cell

DIP = "dip"  # the family, and the model, of the DIP net's drawing alone


def family_of(config: dict, model: str) -> str | None:
    """A model's family; None where it or its network is unknown, or the network's file is wrong."""
    if model == DIP:
        return DIP
    if is_given(config, model):
        family = config["models"][model]["family"]
        return family if family in given.FAMILIES else None
    network = config["models"][model]["network"]
    if network not in plugins.names("network") or plugins.problem("network", network):
        return None
    return plugins.constant("network", network, "FAMILY")


def is_given(config: dict, model: str) -> bool:
    """Whether a model was trained elsewhere."""
    return "family" in config["models"].get(model, {})


def has_chain(family: str | None) -> bool:
    """Whether a family's images are the end of a chain, from a start."""
    return family is not None and "start" in plugins.constant("family", family, "AXES", ())


def timesteps_of(config: dict, model: str) -> int:
    """How many timesteps a model was trained on. Raises UserError for a given one that cannot be used."""
    if not is_given(config, model):
        return TIMESTEPS
    return given.describe(model, config["models"][model]).schedule["num_train_timesteps"]


def replicates_of(config: dict, model: str) -> list[int]:
    """The replicates that a model has: of a given one, as many as there are nets."""
    every = config["seeds"]["replicates"]
    if not is_given(config, model):
        return every
    return [replicate for replicate in every if replicate < len(given.paths_of(config["models"][model]))]


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
    images = config["data"]
    pixels = images["channels"] * images["image_size"] ** 2
    most = plugins.literal(code.PACKAGE / "sampling/gaussians.py", "MOST_PIXELS")
    if "gan" in needs(start) and gan_of(config) is None:
        return f"{start} draws from a DCGAN, and models has none: add gan: {{ network: dcgan, epochs: [20] }}"
    if "labels" in needs(start) and not labelled(config):
        return f"{start} needs labels, and data.dataset {images['dataset']} has none here"
    if "covariance" in needs(start) and pixels > most:
        return (
            f"{start} needs the covariance of all pixels; data.image_size {images['image_size']} and data.channels "
            f"{images['channels']} make {pixels} of them, and {most} are the most: make the images smaller, or use the "
            "start gaussian-diag, which needs none"
        )
    return None


def labelled(config: dict) -> bool:
    """Whether the data set has labels. One that cannot be read, which is said elsewhere, counts as having them."""
    try:
        return data.has_labels(options_of(config))
    except UserError:
        return True


def options_of(config: dict) -> data.Options:
    """What to load of the data set."""
    settings = config["data"]
    return data.Options(
        settings["dataset"],
        settings["root"],
        settings["split"],
        settings["image_size"],
        settings["channels"],
        sha256=settings["sha256"],
    )


def applies(axis: str, family: str | None, start: str | None) -> bool:
    """Whether an axis applies to the cells of a family with this start."""
    if axis in ("model", "replicate"):
        return True
    if axis == "passes" and family != DIP:
        return not set(needs(start)).isdisjoint(plugins.DIP_NETS)
    return family is not None and axis in plugins.constant("family", family, "AXES", ())


def expand(config: dict, grid: dict, key: str) -> list[Cell]:
    """A grid's cells, without repetition. key: what to call the grid in a message.

    Raises UserError for an epoch budget or a replicate that a model does not have, for more evaluations than timesteps,
    or more timesteps than the model's, and for a start that needs what the configuration does not have.
    """
    defaults = {name: axis.default for name, axis in AXES.items()} | {
        "weights": config["training"]["weights"],
        "clip_x0": config["sampling"]["clip_x0"],
    }
    found = []
    for model in as_list(grid["model"]):
        family, most = family_of(config, model), timesteps_of(config, model)
        own = defaults | {"steps": most, "replicate": replicates_of(config, model)} | grid | {"model": model}
        own = {name: as_list(own[name]) for name in AXES}
        own["epochs"] = budgets(config, model, grid, key)
        if gone := [r for r in own["replicate"] if is_given(config, model) and r not in replicates_of(config, model)]:
            raise UserError(f"{key}.replicate: {gone[0]} is none of models.{model}.path: a net is a replicate")
        for values in itertools.product(*own.values()):
            point = dict(zip(AXES, values, strict=True))
            start = point["start"] if applies("start", family, None) else None
            if start is not None and (says := lacks(config, start)):
                raise UserError(f"{key}.start: {says}")
            point = {name: value if applies(name, family, start) else None for name, value in point.items()}
            if point["steps"] is not None:
                if point["steps"] > most:
                    raise UserError(
                        f"{key}.steps: {point['steps']} is more than the {most} timesteps that {model} was trained on; "
                        f"it must be at most {most}"
                    )
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
    """The epoch budgets of a model that a grid asks for: none of one that is not trained here."""
    if model == DIP or is_given(config, model):
        return [None]
    own = config["models"][model]["epochs"]
    asked = grid.get("epochs", max(own))
    asked = [epochs for each in as_list(asked) for epochs in (sorted(own) if each == "all" else [each])]
    missing = [epochs for epochs in asked if epochs not in own]
    if missing:
        raise UserError(f"{key}.epochs: {missing[0]} is not among the epochs of model {model!r} ({own})")
    return list(dict.fromkeys(asked))
