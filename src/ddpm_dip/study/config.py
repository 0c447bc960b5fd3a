"""The checked configuration: every mistake in one message, each with its key and what would be right."""

import copy
import math
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import jsonschema
import yaml

from .. import data
from ..evaluation.measures import LEAST_N
from ..jobs.errors import UserError, nearest
from . import claims, given, grid, plugins, show
from .axes import AXES, MOST_STEPS

SCHEMA = Path(__file__).with_name("schema.yaml")
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
OLD_TIMING = {"model", "passes", "repeats"}
OLD_EXPERIMENT = {"models", "starts", "epochs", "steps", "passes", "dip_alone"}


@cache
def schema() -> dict:
    return yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))


def without_nulls(config: dict) -> dict:
    """A copy without the models, experiments and kinds of figure that an overlay leaves out by `null`."""
    config = copy.deepcopy(config)
    config["claims"] = config.get("claims") or {}
    for key in ("models", "experiments", "claims"):
        if isinstance(config.get(key), dict):
            config[key] = {name: part for name, part in config[key].items() if part is not None}
    for part in config["experiments"].values() if isinstance(config.get("experiments"), dict) else ():
        if isinstance(part, dict) and isinstance(part.get("show"), dict):
            part["show"] = {kind: roles for kind, roles in part["show"].items() if roles is not None}
    return config


def left_out(config: dict) -> set[str]:
    """The models that an overlay leaves out by `null`."""
    models = config.get("models")
    return {name for name, model in models.items() if model is None} if isinstance(models, dict) else set()


def check(config: dict) -> dict:
    """The configuration without what it leaves out. Raises UserError with every mistake, a line each."""
    gone, config = left_out(config), without_nulls(config)
    mistakes = list(old_shape(config))
    if not mistakes:
        errors = sorted(VALIDATOR(schema()).iter_errors(config), key=lambda error: list(map(str, error.absolute_path)))
        mistakes = list(dict.fromkeys(describe(error) for error in errors))
        wrong = {str(error.absolute_path[0]) if error.absolute_path else "" for error in errors}
        for keys, find in CHECKS.items():
            if not wrong & {"", *keys}:
                mistakes += find(config)
        if not mistakes:
            mistakes += check_claims(config, gone)
    if mistakes := list(dict.fromkeys(mistakes)):  # a model that cannot be used is met wherever it is asked for
        raise UserError("\n".join(f"config: {one_line(mistake)}" for mistake in mistakes))
    return config


def one_line(text: str) -> str:
    """A mistake with what would break its line, as in a name that it quotes, spelled out."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def old_shape(config: dict) -> Iterator[str]:
    """What was written another way before."""
    if "seed" in config:
        yield "seed is now three: seeds: { data: 0, classifiers: [0, 1], replicates: [0] }"
    if isinstance(config.get("models"), list):
        yield "models is now a mapping from names: models: { NAME: { network: hw4, epochs: [20] } }"
    timing = config.get("timing")
    if isinstance(timing, dict) and (old := sorted(OLD_TIMING & timing.keys())):
        yield (
            f"timing: {', '.join(old)} {'are' if old[1:] else 'is'} gone; right is timing: {{ models: [hw4], "
            "steps: [100], batches: [1, 16], rounds: 15 }}: every start and sampler of the experiments is timed, and "
            "steps are the K of whole chains that check it"
        )
    parts = config.get("experiments")
    for name, part in parts.items() if isinstance(parts, dict) else ():
        if name != "interpolation" and isinstance(part, dict) and "grid" not in part and OLD_EXPERIMENT & part.keys():
            yield (
                f"experiments.{name} is now a grid of axes: {name}: {{ grid: {{ model: [...], start: [...], "
                "steps: [...], passes: [...] } }; passes begin at 1, and 0 passes is the start noise"
            )


def describe(problem: jsonschema.ValidationError) -> str:
    """A schema error in a user's words."""
    key = ".".join(str(part) for part in problem.absolute_path) or "top level"
    value, rule = problem.instance, problem.validator_value
    match problem.validator:
        case "additionalProperties":
            known = problem.schema["properties"]
            unknown = [name for name in value if name not in known]
            return f"{key}: unknown key {unknown[0]!r}; {nearest(unknown[0], known)}"
        case "required":
            missing = [name for name in rule if name not in value]
            return f"{key}: {missing[0]} is missing"
        case "minItems" | "minProperties":
            return f"{key} is empty: give at least one" if not value else f"{key} is {value}: give at least {rule}"
        case "maxItems":
            return f"{key} is {value}: give at most {rule}"
        case "minLength":
            return f"{key} is empty"
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
            choices = [str(each).lower() if isinstance(each, bool) else each for each in rule]  # YAML's true
            return f"{key} is {value!r}; {nearest(value, choices)}"
        case "uniqueItems":
            return f"{key} names a value twice: {value}"
        case "multipleOf":
            return f"{key} is {value}; it must be divisible by {rule}"
        case "pattern":
            return f"{key} is {value!r}; use letters, digits, - and _ only"
    return f"{key}: {problem.message}"


def check_models(config: dict) -> Iterator[str]:
    known = plugins.names("network")
    for name, model in config["models"].items():
        key = f"models.{name}"
        if name == grid.DIP:
            yield f"{key}: the name {name!r} is taken: it is the DIP net's drawing alone"
        if "family" in model:
            yield from check_given(config, name)
            continue
        network = model["network"]
        if network not in known:
            yield f"{key}.network: {network!r} is unknown; {nearest(network, known)}"
            continue
        if says := plugins.problem("network", network):
            yield f"{key}.network: {says}"
            continue
        family = plugins.constant("network", network, "FAMILY")
        if "width" in model and plugins.constant("network", network, "WIDTH") is None:
            free = [other for other in known if plugins.constant("network", other, "WIDTH") is not None]
            yield f"{key}.width: the network {network} has one width; {', '.join(free)} have a choice"
        if family != "unet" and model.get("dip_passes"):
            yield f"{key}.dip_passes: DIP inside training is for the U-Nets; leave it out for a {network}"
        sizes, size = plugins.constant("network", network, "SIZES"), config["data"]["image_size"]
        if sizes is not None and size not in sizes:
            yield f"{key}.network: a {network} cannot take data.image_size {size}; {', '.join(map(str, sizes))} work"


def check_given(config: dict, name: str) -> Iterator[str]:
    """A model that was trained elsewhere: its files, and whether it draws images like the data set's."""
    images, key = config["data"], f"models.{name}"
    try:
        found = given.describe(name, config["models"][name])
    except UserError as error:
        yield str(error)
        return
    size, channels = found.image_size or images["image_size"], found.channels or images["channels"]
    if (size, channels) != (images["image_size"], images["channels"]):
        yield (
            f"{key}.path: it draws images of {size}x{size} in {channels} channel{'s' * (channels > 1)}, and data has "
            f"image_size {images['image_size']} and channels {images['channels']}; they must be the same: "
            f"data: {{ image_size: {size}, channels: {channels} }}"
        )
    replicates, count = config["seeds"]["replicates"], len(found.paths)
    if not grid.replicates_of(config, name):
        yield f"{key}.path: one net is replicate 0, and seeds.replicates is {replicates}; 0 must be among them"
    elif unused := [number for number in range(count) if number not in replicates]:
        yield (
            f"{key}.path: its {count} nets are the replicates 0 to {count - 1}, and {unused[0]} is not among "
            f"seeds.replicates {replicates}; say seeds: {{ replicates: {list(range(count))} }}"
        )
    if config["sampling"]["backend"] == "lanes":
        yield f"sampling.backend: lanes knows this project's own U-Nets alone, and {key} is none of them; say auto"


def check_experiments(config: dict) -> Iterator[str]:
    grids = {name: part for name, part in config["experiments"].items() if "grid" in part}
    if not grids:
        without = "has interpolation alone, which makes no cells" if config["experiments"] else "are all left out"
        yield f"experiments {without}: give at least one grid"
    asked = {name: set().union(*map(asked_plugins, grid.as_list(part["grid"]))) for name, part in grids.items()}
    asked_by_any = sorted(set().union(*asked.values())) + [("figure", kind) for kind in plugins.names("figure")]
    wrong = {plugin: says for plugin in asked_by_any if (says := plugins.problem(*plugin))}
    yield from (f"experiments: {says}" for says in wrong.values())
    for name, part in grids.items():
        key = f"experiments.{name}"
        keyed = grid.keyed(part["grid"], f"{key}.grid")
        mistakes = [mistake for at, each in keyed for mistake in check_grid(config, at, each)]
        yield from mistakes
        if not mistakes and not asked[name] & wrong.keys():
            try:
                found = grid.expand_all(config, part["grid"], key=f"{key}.grid")
                show.resolve(found, part.get("show"), key=f"{key}.show")
            except UserError as error:
                yield str(error)
    part = config["experiments"].get("interpolation")
    for model in part["models"] if part else ():
        if model not in config["models"]:
            yield f"experiments.interpolation.models: {model!r} is unknown; {nearest(model, config['models'])}"
        elif grid.has_chain(grid.family_of(config, model)):
            most = most_steps(config, {"model": model})
            for name in ("steps", "ddim_steps"):
                if part[name] > most:
                    yield f"experiments.interpolation.{name} is {part[name]}; it must be at most {most}, as {model} has"


def asked_plugins(asked: dict) -> set[tuple[str, str]]:
    """The starts and samplers that a grid names, those that there are, as (kind, name)."""
    found = set()
    for kind in ("start", "sampler"):
        values = grid.as_list(asked.get(kind, []))
        found |= {(kind, name) for name in plugins.names(kind) if name in values}
    return found


def check_grid(config: dict, key: str, asked: dict) -> Iterator[str]:
    """Each axis and each of its values, one by one."""
    known = grid.choices(config)
    for name, values in asked.items():
        if name not in AXES:
            yield f"{key}: unknown axis {name!r}; {nearest(name, AXES)}"
            continue
        values = grid.as_list(values)
        if not values:
            yield f"{key}.{name} is empty: give at least one"
        if len({repr(value) for value in values}) < len(values):
            yield f"{key}.{name} names a value twice: {values}"
        for value in values:
            if name == "epochs" and value == "all":
                continue
            limit = {"maximum": most_steps(config, asked)} if name in ("steps", "nfe") else {}
            errors = list(VALIDATOR(AXES[name].schema | limit).iter_errors(value))
            hint = "; for no pass through the DIP net, add the start noise" if name == "passes" and value == 0 else ""
            if errors:
                yield describe_value(errors[0], f"{key}.{name}", known.get(name)) + hint
            elif name in known and value not in known[name]:
                yield f"{key}.{name}: {value!r} is unknown; {nearest(value, known[name])}"
    if "model" not in asked:
        yield f"{key}: model is missing; {nearest('', known['model'])}"


def most_steps(config: dict, asked: dict) -> int:
    """The most timesteps that a model of a grid was trained on; of one that cannot be read, as many as there can be."""
    models = [model for model in grid.as_list(asked.get("model", [])) if model in list(config["models"])]
    try:
        return max((grid.timesteps_of(config, model) for model in models), default=MOST_STEPS)
    except UserError:
        return MOST_STEPS


def check_claims(config: dict, left_out: set[str]) -> Iterator[str]:
    """Each claim: its shape, the axes of its sides, and whether its cells are there to be asked for."""
    labelled = grid.labelled(config)
    for name, asked in config["claims"].items():
        key = f"claims.{name}"
        if not isinstance(asked, dict):
            yield f"{key} is {asked!r}; it must be a mapping: {{ better: ..., than: ..., at: ... }}"
            continue
        try:
            claims.sides(key, asked)
            mistakes = []
            for part, side in claims.grids(asked, asked.get("metric") in claims.OF_INTERPOLATION):
                models = [model for model in grid.as_list(side.get("model", grid.DIP)) if model not in list(left_out)]
                mistakes += check_grid(config, f"{key}.{part}", side | {"model": models or grid.DIP})
                mistakes += [says for plugin in asked_plugins(side) if (says := plugins.problem(*plugin))]
            yield from mistakes
            if not mistakes:
                claims.claim(config, name, asked, labelled, left_out)
        except UserError as error:
            yield str(error)


def describe_value(problem: jsonschema.ValidationError, key: str, known: Iterable[object] | None) -> str:
    if known is not None and problem.validator != "type":
        return f"{key}: {problem.instance!r} is unknown; {nearest(problem.instance, known)}"
    problem.path.clear()
    return describe(problem).replace("top level", key, 1)


def check_timing(config: dict) -> Iterator[str]:
    # a model whose network is wrong is named elsewhere
    families = {name: grid.family_of(config, name) for name in config["models"]}
    chains = [name for name, family in families.items() if family is None or grid.has_chain(family)]
    for model in (config["timing"] or {}).get("models") or ():
        if model not in chains:
            yield f"timing.models: {model!r} is not among the models with a chain; {nearest(model, chains)}"


def check_data(config: dict) -> Iterator[str]:
    half, n = config["data"]["reference"] // 2, config["sampling"]["n"]
    if n > half:
        yield (
            f"sampling.n is {n}, but half of data.reference is {half}: the real-against-real floor needs as "
            "many real images as there are samples; make n smaller or reference larger"
        )
    weights = config["metrics"]["inception_weights"]
    if weights is not None and not Path(weights).is_file():
        yield f"metrics.inception_weights: {weights}: no such file"
    dataset = config["data"]["dataset"].replace("_", "-")
    if plugins.file_of("dataset", dataset).is_file() and (says := plugins.problem("dataset", dataset)):
        yield f"data.dataset: {says}"
        return
    try:
        data.check(grid.options_of(config))
        yield from check_reference(config)
    except UserError as error:
        yield str(error)


def check_reference(config: dict) -> Iterator[str]:
    """Whether there are images enough to hold some out, as far as that can be seen before they are read."""
    sizes, reference = data.sizes(grid.options_of(config)), config["data"]["reference"]
    if sizes and reference > (most := sizes.most_held_out):
        half = (most + 1) // 2
        yield (
            f"data.reference is {reference}, but at most {most} images can be held out; with half of them it would be "
            f"{half}, and sampling.n at most {half // 2}. Verdicts need a sampling.n of {LEAST_N}"
        )


CHECKS = {  # the parts of the configuration that must be well formed -> what is checked then
    ("models", "data", "seeds", "sampling"): check_models,
    ("models", "experiments", "seeds", "training", "sampling", "data"): check_experiments,
    ("models", "timing"): check_timing,
    ("data", "sampling", "metrics"): check_data,
}
