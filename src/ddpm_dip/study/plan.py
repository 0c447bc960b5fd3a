"""The plan of a study: every job that it asks for, each after those whose results it reads.

Paths are relative to the study's folder. What depends on the machine (its backends) is given, not asked for here.
"""

from collections.abc import Iterator
from typing import NamedTuple

from .. import data
from ..jobs.errors import UserError
from ..jobs.ledger import Planned
from ..report import plan as report_plan
from . import Cell, Study, claims, given, plugins, timing
from .grid import DIP, gan_of, is_given, needs, needs_dip

INCEPTION = "inception/inception.json"
FEATURES, FLOORS = "reference/features.npz", "tables/floors.csv"
STARTS, SPECTRA = "tables/starts.csv", "tables/spectra.csv"
SCRIPT = "report/vega.js"
JUDGED = ("claims", "speedups", "differences")  # the tables of the stage claims


class Machine(NamedTuple):
    """What a plan takes from the machine that it is made on: backends, never `auto`."""

    backend: str  # that samples
    dip: str  # that draws by the DIP net alone
    few: str  # that samples less than `many` images at a time, and by nets that are not this project's own
    many: int
    training: str  # that trains U-Nets

    def plugins(self, *backends: str) -> tuple[str, ...]:
        """The modules that those load by name."""
        return ("models.lanes_unet",) if "lanes" in backends else ()


def samples_of(cell: Cell) -> str:
    return f"samples/{cell.path}.npz"


def between_of(path: str) -> str:
    return f"interpolations/{path}.npz"


def metrics_of(cell: Cell) -> str:
    return f"metrics/{cell.path}.json"


def pictures_of(cell: Cell) -> str:
    return f"pictures/{cell.path}.json"


def data_of(study: Study) -> str:
    return f"data/{study.config['data']['dataset']}.npz"


def dip_of(replicate: int) -> str:
    return f"dip/r{replicate}"


def many_of(replicate: int) -> str:
    """The folder of the DIP net that is fitted to many images."""
    return f"dip/r{replicate}-many"


def snapshot_of(model: str, replicate: int, epochs: int | None) -> str:
    """The folder of an epoch budget; of a given net, which has none, its own."""
    return f"models/{model}/r{replicate}" + (f"/epoch-{epochs:04d}" if epochs is not None else "")


def feature_nets(study: Study) -> dict[str, str]:
    """The nets whose features distances are taken on -> their files.

    A classifier needs labels to be trained with; without any, a net that tells rotations stands in for it.
    """
    config, nets = study.config, {}
    kind = "classifier" if study.labelled else "rotation"
    for number, seed in enumerate(config["seeds"]["classifiers"], start=1):
        nets[kind if number == 1 else f"{kind}-{number}"] = classifier_of(study, seed)
    choice = config["metrics"]["fid_inception"]
    weights = config["metrics"]["inception_weights"] is not None
    if choice is True or (choice == "auto" and (weights or config["device"] == "cuda")):
        nets["inception"] = INCEPTION
    return nets


def classifier_of(study: Study, seed: int) -> str:
    return f"classifier/{'' if study.labelled else 'rotations-'}seed-{seed}.safetensors"


def budgets(study: Study) -> dict[tuple[str, int], list[int]]:
    """The epoch budgets that cells, starts, timing and interpolation use: (model, replicate) -> epochs, rising.

    Of models that are trained here.
    """
    used = {(cell.model, cell.replicate, cell.epochs) for cell in drawn(study) if cell.model != DIP}
    used |= {(names["model"], names["replicate"], names["epochs"]) for names in study.interpolations.values()}
    for replicate in sorted({cell.replicate for cell in drawn(study) if "gan" in needs(cell.start)}):
        model, epochs = gan_of(study.config)
        used.add((model, replicate, epochs))
    found: dict[tuple[str, int], list[int]] = {}
    for model, replicate, epochs in sorted(each for each in used if each[2] is not None):
        found.setdefault((model, replicate), []).append(epochs)
    return found


def drawn(study: Study) -> list[Cell]:
    """The cells that are sampled or timed."""
    parts = [part for parts in timing.measured(study).values() for part in parts.values()]
    return [*study.cells, *(cell for part in parts for cell in part)]


def replicates_with_dip(study: Study) -> list[int]:
    """The replicates whose DIP net is used: by a start, by its drawing alone, inside training, or in the timing."""
    models = study.config["models"]
    used = {cell.replicate for cell in drawn(study) if cell.model == DIP or needs_dip(cell.start)}
    used |= {replicate for model, replicate in budgets(study) if models[model].get("dip_passes")}
    return sorted(used)


def plan(study: Study, machine: Machine) -> list[Planned]:
    """Every job of the study, in an order in which they could run."""
    jobs = [prepare_data(study), *fits(study), *trainings(study, machine), *imports(study), *references(study)]
    for cell in study.cells:
        jobs += [sample(study, machine, cell), evaluate(study, cell)]
    jobs += starts(study)
    jobs += [*interpolations(study, machine), *timings(study, machine)]
    jobs += tables(study, jobs)
    jobs.append(judgement(study, jobs))
    figures = report_plan.wanted(study)
    for wanted in figures:
        jobs += figure(study, wanted)
    jobs.append(Planned("scripts", "vega", {}, {}, {"script": SCRIPT}))
    jobs.append(report(study, jobs, figures))
    return [job._replace(hints=job.hints | {"kind": kind_of(study, job)}) for job in jobs]


def kind_of(study: Study, job: Planned) -> list:
    """What a job's time for a unit of work depends on: the next estimate is taken from those of the same kind."""
    settings, images = job.settings, study.config["data"]
    if job.stage == "train":
        of = (
            settings["network"],
            settings["width"],
            settings["batch_size"],
            images["dataset"],
            settings.get("backend"),
        )
    elif job.stage in ("sample", "interpolate", "time_sampling"):
        model = settings.get("model") or settings["cell"]["model"]
        backend = "-".join(settings["backends"]) if "backends" in settings else settings.get("backend")
        net = study.config["models"].get(model, {})
        of = (net.get("network") or (f"{study.name}/{model}" if "family" in net else model), backend)
    else:
        return [job.stage]
    return [job.stage, *of, images["image_size"], images["channels"]]


def prepare_data(study: Study) -> Planned:
    settings = study.config["data"]
    return Planned(
        "prepare_data",
        settings["dataset"],
        settings
        | {"seed": study.config["seeds"]["data"], "sources": data.listing(settings["root"], settings["sha256"])},
        {},
        {"data": data_of(study)},
        plugins=(plugins.module_of("dataset", settings["dataset"]),),
    )


def fits(study: Study) -> Iterator[Planned]:
    """DIP nets, each fitted to one image, or, where a start needs that, to many."""
    many = sorted({cell.replicate for cell in drawn(study) if "dip-many" in needs(cell.start)})
    wanted = [(dip_of(replicate), {"replicate": replicate}) for replicate in replicates_with_dip(study)]
    wanted += [(many_of(replicate), {"replicate": replicate, "many": True}) for replicate in many]
    for folder, settings in wanted:
        yield Planned(
            "fit_dip",
            folder.removeprefix("dip/"),
            study.config["dip"] | settings,
            {"data": data_of(study)},
            {
                "weights": f"{folder}/weights.safetensors",
                "curve": f"{folder}/fit.csv",
                "pictures": f"{folder}/fit.npz",
            },
        )


def trainings(study: Study, machine: Machine) -> Iterator[Planned]:
    """A budget goes on from the next lower one where that is there: a hint, and no part of what the budget is."""
    config = study.config
    for (model, replicate), epochs in budgets(study).items():
        family, settings = study.families[model], config["models"][model]
        own = dict(config["training"])
        del own["weights"]  # one trajectory has all kinds
        own |= {"dip_passes": settings.get("dip_passes", 0), "backend": machine.training}
        if family == "dcgan":
            own = config["gan"] | {"flip": config["training"]["flip"]}
        cosine = own.get("lr_schedule", "constant") != "constant"  # each budget is then a trajectory of its own
        inputs = {"data": data_of(study)}
        if own.get("dip_passes"):
            inputs["dip"] = f"{dip_of(replicate)}/weights.safetensors"
            own["dip_size"] = config["dip"]["size"]
        for index, budget in enumerate(epochs):
            folder = snapshot_of(model, replicate, budget)
            lower = snapshot_of(model, replicate, epochs[index - 1]) if index and not cosine else None
            yield Planned(
                "train",
                folder.removeprefix("models/"),
                {
                    "model": model,
                    "family": family,
                    "network": settings["network"],
                    "width": settings.get("width"),
                    "replicate": replicate,
                    "epochs": budget,
                    "device": config["device"],
                }
                | own,
                inputs,
                {
                    "weights": f"{folder}/weights.safetensors",
                    "state": f"{folder}/state.safetensors",
                    "losses": f"{folder}/losses.csv",
                },
                hints={"build_on": lower},
                after=(f"{lower}/state.safetensors", f"{lower}/losses.csv") if lower else (),
                plugins=(
                    f"models.families.{family}",
                    plugins.module_of("network", settings["network"]),
                    *machine.plugins(own.get("backend")),
                ),
            )


def imports(study: Study) -> Iterator[Planned]:
    """Nets that were trained elsewhere, each taken into the study once."""
    images = study.config["data"]
    used = {(cell.model, cell.replicate) for cell in drawn(study) if cell.model != DIP and cell.epochs is None}
    used |= {(names["model"], names["replicate"]) for names in study.interpolations.values() if names["epochs"] is None}
    nets: dict[tuple[str, str], int] = {}
    for model, replicate in sorted(used):
        settings = study.config["models"][model]
        description = given.describe(model, settings)
        shape = (images["channels"], images["image_size"], images["image_size"])
        own = {name: settings[name] for name in ("family", "module") if name in settings}
        own |= {"schedule": description.schedule, "image_shape": shape}
        own |= {"files": given.digests(settings, description.paths[replicate])}
        weights = next(digest for path, digest in own["files"] if path.endswith(".safetensors"))
        if (twin := nets.setdefault((model, weights), replicate)) != replicate:
            raise UserError(
                f"config: models.{model}.path.{replicate} is the same net as path.{twin}: replicates are nets that "
                "were trained apart; leave one out"
            )
        folder = snapshot_of(model, replicate, None)
        yield Planned(
            "import_model",
            folder.removeprefix("models/"),
            own,
            {},
            {"weights": f"{folder}/weights.safetensors"},
            plugins=(f"models.families.{settings['family']}",),
        )


def to_preload(study: Study) -> tuple[str, ...]:
    """Modules of elsewhere that take long to import, and that many of the study's jobs need."""
    families = dict.fromkeys(study.families[cell.model] for cell in study.cells if cell.model != DIP)
    return tuple(name for family in families for name in plugins.constant("family", family, "READY", ()))


def backend_of(study: Study, machine: Machine, model: str, images: int | None = None) -> str:
    """What samples a model with a chain, so many images at a time; lanes knows this project's own nets alone."""
    few = images is not None and images < machine.many
    lanes_cannot = is_given(study.config, model) and machine.backend == "lanes"
    return machine.few if few or lanes_cannot else machine.backend


def references(study: Study) -> Iterator[Planned]:
    """The nets that distances are taken on, the reference images' features, and the real-against-real floors."""
    config, nets, inputs = study.config, feature_nets(study), {"data": data_of(study)}
    device = {"device": config["device"]}
    for seed in config["seeds"]["classifiers"]:
        path = classifier_of(study, seed)
        settings = {"epochs": config["metrics"]["classifier_epochs"], "seed": seed}
        settings |= {} if study.labelled else {"rotations": True}
        name = path.removeprefix("classifier/").removesuffix(".safetensors")
        yield Planned("train_classifier", name, settings, inputs, {"classifier": path})
    if "inception" in nets:
        source = {"from": config["metrics"]["inception_weights"]}
        yield Planned("fetch_inception", "inception", source, {}, {"status": INCEPTION})
    yield Planned("reference_features", "features", device, inputs | {"nets": nets}, {"features": FEATURES})
    yield Planned("floors", "floors", {"n": config["sampling"]["n"]}, {"features": FEATURES}, {"floors": FLOORS})


def sample(study: Study, machine: Machine, cell: Cell) -> Planned:
    family = DIP if cell.model == DIP else study.families[cell.model]
    settings = {"family": family, "cell": cell._asdict(), "n": study.config["sampling"]["n"]}
    backend = backend_of(study, machine, cell.model) if cell.start is not None else None
    settings["backend"] = machine.dip if family == DIP else backend
    if "dip-untrained" in needs(cell.start):  # of one that is fitted, its own file says it
        settings["dip_size"] = study.config["dip"]["size"]
    used = (*modules_of(study, cell), *machine.plugins(backend))
    asked = {claim.name: claim.digest for claim in study.claims if cell in claim.cells}
    inputs, outputs = inputs_of(study, cell), {"samples": samples_of(cell)}
    return Planned("sample", cell.path, settings, inputs, outputs, {"claims": asked}, plugins=used)


def inputs_of(study: Study, cell: Cell) -> dict[str, str]:
    """What a cell's images are drawn from: role -> path."""
    inputs = {}
    if cell.model == DIP or cell.start is not None:
        inputs |= start_inputs(study, cell)
    if cell.model != DIP:
        inputs["weights"] = f"{snapshot_of(cell.model, cell.replicate, cell.epochs)}/weights.safetensors"
    return inputs


def start_inputs(study: Study, cell: Cell) -> dict[str, str]:
    """What a cell's start, or the DIP net's drawing alone, is made from: role -> path."""
    inputs = {"data": data_of(study)}
    if cell.model == DIP or needs_dip(cell.start):
        inputs["dip"] = f"{dip_of(cell.replicate)}/weights.safetensors"
    if "dip-many" in needs(cell.start):
        inputs["dip-many"] = f"{many_of(cell.replicate)}/weights.safetensors"
    if "gan" in needs(cell.start):
        model, epochs = gan_of(study.config)
        inputs["gan"] = f"{snapshot_of(model, cell.replicate, epochs)}/weights.safetensors"
    return inputs


def modules_of(study: Study, cell: Cell) -> list[str]:
    """The modules that drawing a cell's images loads by name, but the backend's."""
    family = DIP if cell.model == DIP else study.families[cell.model]
    used = [plugins.module_of("family", family)]
    if family != DIP and not is_given(study.config, cell.model):
        used.append(plugins.module_of("network", study.config["models"][cell.model]["network"]))
    if "gan" in needs(cell.start):
        network = study.config["models"][gan_of(study.config)[0]]["network"]
        used += [plugins.module_of("family", "dcgan"), plugins.module_of("network", network)]
    if cell.start is not None:
        used += [plugins.module_of("start", cell.start), plugins.module_of("sampler", cell.sampler)]
    return used


def evaluate(study: Study, cell: Cell) -> Planned:
    inputs = {"samples": samples_of(cell), "features": FEATURES, "nets": feature_nets(study)}
    device = {"device": study.config["device"]}
    outputs = {"metrics": metrics_of(cell), "pictures": pictures_of(cell)}
    return Planned("evaluate", cell.path, device, inputs, outputs)


def starts(study: Study) -> Iterator[Planned]:
    """What each start gives: of one cell of each start and schedule.

    Its sampler and evaluations do not matter, nor its model but for the schedule, which says how noisy t = K - 1 is.
    """
    schedules = {model: given.in_words(schedule_of(study, model)) for model in study.timesteps}
    cells = {}
    for cell in study.cells:
        if cell.start is not None:
            schedule = schedules[cell.model]
            cells.setdefault((cell.replicate, cell.start, cell.passes, cell.steps, schedule), (cell, schedule))
    if cells:
        inputs = {"samples": [samples_of(cell) for cell, _ in cells.values()], "data": data_of(study)}
        settings = {"schedules": [schedule for _, schedule in cells.values()]}
        yield Planned("starts", "starts", settings, inputs, {"starts": STARTS, "spectra": SPECTRA})


def schedule_of(study: Study, model: str) -> dict[str, object]:
    """What a model was trained on."""
    if is_given(study.config, model):
        return given.describe(model, study.config["models"][model]).schedule
    return given.SCHEDULE


def interpolations(study: Study, machine: Machine) -> Iterator[Planned]:
    nets = {name: path for name, path in feature_nets(study).items() if name == "classifier"}
    between = {claim.name: claims.between(claim, study.interpolations) for claim in study.claims}
    for path, names in study.interpolations.items():
        settings, used = dict(names), [plugins.module_of("family", names["family"])]
        if names["sampler"] is not None:
            settings["backend"] = backend_of(study, machine, names["model"])
            used += [plugins.module_of("sampler", names["sampler"]), *machine.plugins(settings["backend"])]
        if not is_given(study.config, names["model"]):
            used.append(plugins.module_of("network", study.config["models"][names["model"]]["network"]))
        weights = f"{snapshot_of(names['model'], names['replicate'], names['epochs'])}/weights.safetensors"
        images = between_of(path)
        asked = {claim.name: claim.digest for claim in study.claims if path in between[claim.name]}
        inputs, hints = {"weights": weights}, {"claims": asked}
        yield Planned("interpolate", path, settings, inputs, {"images": images}, hints, plugins=tuple(used))
        measures = {"measures": f"interpolations/{path}.json"}
        yield Planned("evaluate_interpolation", path, {}, {"images": images, "nets": nets}, measures)


def timings(study: Study, machine: Machine) -> Iterator[Planned]:
    """One job a net, which measures all in turn."""
    for model, parts in timing.measured(study).items():
        asked, cells = study.config["timing"], [cell for part in parts.values() for cell in part]
        backends = [backend_of(study, machine, model, batch) for batch in asked["batches"]]
        settings = {
            "model": model,
            "family": study.families[model],
            "batches": asked["batches"],
            "backends": backends,
            "rounds": asked["rounds"],
        }
        if any("dip-untrained" in needs(cell.start) for cell in cells):
            settings["dip_size"] = study.config["dip"]["size"]
        used = dict.fromkeys(module for cell in cells for module in modules_of(study, cell))
        yield Planned(
            "time_sampling",
            model,
            settings | {name: [cell._asdict() for cell in part] for name, part in parts.items()},
            {role: path for cell in cells for role, path in inputs_of(study, cell).items()},
            {"timing": f"timing/{model}.csv"},
            plugins=(*used, *machine.plugins(*backends)),
        )


def tables(study: Study, jobs: list[Planned]) -> Iterator[Planned]:
    """Many small results to one table each. Cells have their seconds from the times."""
    measured = [metrics_of(cell) for cell in study.cells]
    with_chain = [metrics_of(cell) for cell in study.cells if cell.steps is not None]
    parts: dict[str, list[str]] = {"timing": [job.outputs["timing"] for job in jobs if job.stage == "time_sampling"]}
    parts |= {"cells": measured, "pseudo": measured, "noise": with_chain}
    more: dict[str, tuple[dict, dict]] = {}  # a table's further settings and inputs
    if parts["timing"]:
        more = {"timing": ({"models": timing.same_nets(study)}, {}), "cells": ({}, {"timing": "tables/timing.csv"})}
    for (model, replicate), epochs in budgets(study).items():
        table = "gan_training" if study.families[model] == "dcgan" else "training"
        parts.setdefault(table, []).append(f"{snapshot_of(model, replicate, max(epochs))}/losses.csv")
    parts["interpolation"] = [f"interpolations/{path}.json" for path in study.interpolations]
    for table, inputs in parts.items():
        if inputs:
            settings, others = more.get(table, ({}, {}))
            output = {"table": f"tables/{table}.csv"}
            yield Planned("tables", table, {"table": table} | settings, {"parts": inputs} | others, output)


def judgement(study: Study, jobs: list[Planned]) -> Planned:
    """The claims' verdicts, and every arm's difference to the starts that cost nothing."""
    made = {path for job in jobs for path in job.outputs.values()}
    wanted = ("cells", "pseudo", "noise", "timing", "interpolation")
    metric = "fd_classifier" if study.labelled else "fd_rotation"
    return Planned(
        "claims",
        "claims",
        {"rows": claims.asked(study.claims), "pairs": claims.pairs(study.cells, study.timesteps, metric)},
        {"tables": {name: f"tables/{name}.csv" for name in wanted if f"tables/{name}.csv" in made}},
        {name: f"tables/{name}.csv" for name in JUDGED},
        {
            "drawn": {claim.name: drawn_for(study, claim) for claim in study.claims},
            "digests": {claim.name: claim.digest for claim in study.claims},
        },
    )


def drawn_for(study: Study, claim: claims.Claim) -> list[str]:
    """The files of images that a claim asks for."""
    paths = claims.between(claim, study.interpolations)
    return [*(samples_of(cell) for cell in claim.cells), *(between_of(path) for path in paths)]


def figure(study: Study, wanted: report_plan.Wanted) -> Iterator[Planned]:
    """As a picture, and where its kind has charts as these."""
    settings, used = {"figure": wanted.kind, "options": wanted.options}, (plugins.module_of("figure", wanted.kind),)
    drawn = {"figure": f"figures/{wanted.file}"}
    yield Planned("figure", wanted.file, settings | study.config["figures"], wanted.inputs, drawn, plugins=used)
    if wanted.interactive:
        drawn = {"charts": wanted.charts, "drawing": f"figures/{wanted.name}.svg"}
        yield Planned("chart", wanted.name, settings, wanted.inputs, drawn, plugins=used)


def report(study: Study, jobs: list[Planned], figures: list) -> Planned:
    made = [path for job in jobs for path in job.outputs.values()]
    settings = {
        "config": study.config,
        "timesteps": study.timesteps,
        "cells": [cell.path for cell in study.cells],
        "figures": [
            {"file": f"figures/{wanted.file}", "kind": wanted.kind, "section": wanted.section}
            | {"charts": wanted.charts if wanted.interactive else None, "shows": wanted.shows}
            | {"drawn": wanted.drawn}
            | {"title": wanted.title, "caption": wanted.caption, "alt": wanted.alt}
            for wanted in figures
        ],
        "contrasts": claims.contrasts(study.claims),
        "display": report_plan.of_savings(study.claims, "display", "clamp"),
        "order": list(study.experiments),  # a mapping's own is lost in a job file
        "experiments": {
            part.name: {"title": part.title, "cells": [cell.path for cell in part.cells], "show": part.show}
            for part in study.experiments.values()
        },
    }
    named = {path.split("/")[1].removesuffix(".csv"): path for path in made if path.startswith("tables/")}
    return Planned(
        "report",
        "report",
        settings,
        {
            "tables": named,
            "figures": [f"figures/{wanted.file}" for wanted in figures],
            "charts": [wanted.charts for wanted in figures if wanted.interactive],
            "pictures": {cell.path: pictures_of(cell) for cell in sorted(study.cells, key=lambda cell: cell.replicate)},
            "script": SCRIPT,
        },
        {"page": "report/index.html", "summary": "report/summary.txt"},
        hints={"results": made},
        texts=report_plan.TEXTS,
    )
