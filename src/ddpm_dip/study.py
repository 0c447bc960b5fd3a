"""A study: the checked configuration, and the cells that its experiments ask for.

No torch here: the workflow imports it whenever it is parsed.
"""

import itertools
import math
from pathlib import Path
from typing import NamedTuple

import jsonschema
import yaml

from . import data, warm_starts
from .errors import UserError

# YAML's 100.0 is no whole number here, and .nan and .inf are no numbers
VALIDATOR = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
        {
            "integer": lambda _, value: isinstance(value, int) and not isinstance(value, bool),
            "number": lambda _, value: type(value) in (int, float) and math.isfinite(value),
        }
    ),
)
EXPERIMENTS = ("steps", "quality", "passes", "epochs", "dip_in_training", "evolution", "interpolation")
TAKE_GANS = ("evolution", "interpolation")
GAN_SIZES = (16, 28, 32, 64, 128)  # pixels; networks.dcgan says so, but imports torch
HAVE_WIDTH = ("imvfx", "imvfx-sees", "dcgan")


class Cell(NamedTuple):
    """One ablation cell. The DIP net's drawing alone has model `none`, epochs 0 and steps 0; a DCGAN's has steps 0."""

    model: str
    epochs: int
    start: str
    passes: int
    steps: int

    @property
    def path(self) -> str:
        """Everything that identifies the cell, as a relative path without suffix."""
        return f"{self.model}/epoch-{self.epochs:04d}/{self.start}-p{self.passes:02d}/K{self.steps:04d}"

    @property
    def alone(self) -> bool:
        return self.model == "none"

    @property
    def uses_dip(self) -> bool:
        return self.start.startswith("dip")


def check(config: dict, schema_path: Path | str) -> None:
    """Raise UserError, naming the key and what would be right, for the first mistake in `config`."""
    schema = yaml.safe_load(Path(schema_path).read_text(encoding="utf-8"))
    problem = jsonschema.exceptions.best_match(VALIDATOR(schema).iter_errors(config))
    if problem is not None:
        raise UserError(f"config: {describe(problem)}")

    names = [model["name"] for model in config["models"]]
    for name in names:
        if names.count(name) > 1 or name == "none":
            raise UserError(f"config: models: the name {name!r} is {'taken twice' if name != 'none' else 'reserved'}")
    budgets = {model["name"]: model["epochs"] for model in config["models"]}
    for index, model in enumerate(config["models"]):
        key, network = f"config: models.{index}", model["network"]
        if "width" in model and network not in HAVE_WIDTH:
            raise UserError(f"{key}.width: the network {network} has one width; {', '.join(HAVE_WIDTH)} have a choice")
        if network == "dcgan" and model.get("dip_passes"):
            raise UserError(f"{key}.dip_passes: DIP inside training is for the U-Nets; leave it out for a dcgan")
        size = config["data"]["image_size"]
        if network == "dcgan" and size not in GAN_SIZES:
            sizes = ", ".join(map(str, GAN_SIZES))
            raise UserError(f"{key}.network: a dcgan cannot take data.image_size {size}; {sizes} work")
    gans = gan_names(config)
    if not experiments(config).keys() - {"interpolation"}:
        without = "are all left out" if not experiments(config) else "has interpolation alone, which makes no cells"
        raise UserError(f"config: experiments {without}: give at least one of {', '.join(EXPERIMENTS[:-1])}")
    for name, experiment in experiments(config).items():
        key = f"config: experiments.{name}"
        if name != "evolution" and (name == "epochs") != ("epochs" in experiment):
            says = "is missing: give two or more" if name == "epochs" else "belongs to experiments.epochs alone"
            raise UserError(f"{key}.epochs {says}")
        if "dip_alone" in experiment and name != "quality":
            raise UserError(f"{key}.dip_alone belongs to experiments.quality alone")
        for model in experiment["models"]:
            if model not in budgets:
                raise UserError(f"{key}.models: {model!r} is not among models ({', '.join(names)})")
            if model in gans and name not in TAKE_GANS:
                raise UserError(f"{key}.models: {model!r} is a dcgan, which only {' and '.join(TAKE_GANS)} take")
            chosen = experiment.get("epochs", [])
            if isinstance(chosen, dict):  # evolution: each model its own
                chosen = chosen.get(model, [])
            missing = set(chosen) - set(budgets[model])
            if missing:
                raise UserError(
                    f"{key}.epochs: {min(missing)} is not among the epochs of model {model!r} ({budgets[model]})"
                )
        for model in experiment.get("epochs", {}) if name == "evolution" else ():
            if model not in experiment["models"]:
                raise UserError(f"{key}.epochs: {model!r} is not among its models ({', '.join(experiment['models'])})")
        for start in experiment.get("starts", []):
            if start not in warm_starts.WARM_STARTS:
                raise UserError(f"{key}.starts: {start!r} is unknown; known are {', '.join(warm_starts.WARM_STARTS)}")
    chains = [name for name in names if name not in gans]
    timed = (config["timing"] or {}).get("model")
    if timed and timed not in chains:
        raise UserError(f"config: timing.model: {timed!r} is not among the U-Nets ({', '.join(chains)})")
    half, n = config["data"]["reference"] // 2, config["sampling"]["n"]
    if n > half:
        raise UserError(
            f"config: sampling.n is {n}, but half of data.reference is {half}: the real-against-real floor needs as "
            "many real images as there are samples; make n smaller or reference larger"
        )
    weights = config["metrics"]["inception_weights"]
    if weights is not None and not Path(weights).is_file():
        raise UserError(f"config: metrics.inception_weights: {weights}: no such file")
    data.check(data_options(config))


def describe(problem: jsonschema.ValidationError) -> str:
    """A schema error in a user's words."""
    key = ".".join(str(part) for part in problem.absolute_path) or "top level"
    value, rule = problem.instance, problem.validator_value
    match problem.validator:
        case "additionalProperties":
            known = problem.schema["properties"]
            unknown = [name for name in value if name not in known]
            return f"{key}: unknown key {unknown[0]!r}; known are {', '.join(known)}"
        case "required":
            missing = [name for name in rule if name not in value]
            return f"{key}: {missing[0]} is missing"
        case "minItems" | "minProperties":
            return f"{key} is empty: give at least one" if not value else f"{key} is {value}: give at least {rule}"
        case "maxItems":
            return f"{key} is {value}: give one, this experiment compares something else"
        case "minimum" | "exclusiveMinimum":
            return (
                f"{key} is {value}; it must be {'at least' if problem.validator == 'minimum' else 'more than'} {rule}"
            )
        case "maximum" | "exclusiveMaximum":
            return f"{key} is {value}; it must be {'at most' if problem.validator == 'maximum' else 'less than'} {rule}"
        case "type":
            kinds = {"object": "a mapping", "array": "a list", "integer": "a whole number", "number": "a number"}
            kinds |= {"string": "text", "boolean": "true or false", "null": "null"}
            allowed = [kinds[kind] for kind in ([rule] if isinstance(rule, str) else rule)]
            hint = " (YAML reads 1e-3 as text: write 0.001 or 1.0e-3)" if rule == "number" else ""
            return f"{key} is {value!r}; it must be {' or '.join(allowed)}{hint}"
        case "enum":
            choices = ", ".join(str(each).lower() for each in rule)  # YAML's true, not Python's True
            return f"{key} is {value!r}; it must be one of {choices}"
        case "uniqueItems":
            return f"{key} names a value twice: {value}"
        case "multipleOf":
            return f"{key} is {value}; it must be divisible by {rule}"
        case "pattern":
            return f"{key} is {value!r}; use letters, digits, - and _ only"
    return f"{key}: {problem.message}"


def data_options(config: dict) -> data.Options:
    settings = config["data"]
    return data.Options(
        settings["dataset"],
        settings["root"],
        settings["split"],
        settings["image_size"],
        settings["channels"],
        sha256=settings["sha256"],
    )


def experiments(config: dict) -> dict[str, dict]:
    """The experiments that are not left out, in the report's order."""
    return {name: config["experiments"][name] for name in EXPERIMENTS if config["experiments"].get(name)}


def gan_names(config: dict) -> set[str]:
    """The models that are DCGANs."""
    return {model["name"] for model in config["models"] if model["network"] == "dcgan"}


def expand(config: dict, experiment: dict) -> list[Cell]:
    """An experiment's cells, without repetition, in the order of its lists; an interpolation's images are no cells."""
    budgets = {model["name"]: model["epochs"] for model in config["models"]}
    if "paths" in experiment:
        return []
    if "starts" not in experiment:  # evolution
        gans, steps = gan_names(config), experiment.get("steps", 0)
        return [
            Cell(model, epoch, "noise", 0, 0 if model in gans else steps)
            for model in experiment["models"]
            for epoch in experiment.get("epochs", {}).get(model, budgets[model])
        ]
    cells = []
    for model in experiment["models"]:
        epochs = experiment.get("epochs", [max(budgets[model])])
        for epoch, steps, start in itertools.product(epochs, experiment["steps"], experiment["starts"]):
            if not start.startswith("dip"):
                cells.append(Cell(model, epoch, start, 0, steps))
                continue
            for passes in experiment["passes"]:
                cells.append(Cell(model, epoch, start if passes else "noise", passes, steps))
    if experiment.get("dip_alone"):
        cells += [Cell("none", 0, "dip", passes, 0) for passes in experiment["passes"] if passes]
    return list(dict.fromkeys(cells))


def interpolations(config: dict) -> dict[str, dict]:
    """What is interpolated: path without suffix -> its names. A DCGAN's and DDIM's images need no noise."""
    part = config["experiments"].get("interpolation")
    if not part:
        return {}
    budgets, gans, found = {model["name"]: max(model["epochs"]) for model in config["models"]}, gan_names(config), {}
    for model, path in itertools.product(part["models"], part["paths"]):
        kinds = [("gan", "none", 0)] if model in gans else []
        for sampler in part["samplers"] if model not in gans else []:
            noises = part["noise"] if sampler == "ancestral" else ["none"]
            kinds += [(sampler, noise, part["steps" if sampler == "ancestral" else "ddim_steps"]) for noise in noises]
        for sampler, noise, steps in kinds:
            names = {"model": model, "epochs": budgets[model], "sampler": sampler, "path": path, "noise": noise}
            found[f"{model}/epoch-{budgets[model]:04d}/{sampler}-{path}-{noise}"] = names | {"steps": steps}
    return found


def all_cells(config: dict) -> list[Cell]:
    return list(dict.fromkeys(cell for part in experiments(config).values() for cell in expand(config, part)))
