# The checked study, paths, and stamps: what every rule shares.
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import sys
import time
from pathlib import Path

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT / "src"))

from snakemake.exceptions import WorkflowError

from ddpm_dip import (
    backend_choice,
    code,
    data,
    errors,
    files,
    provenance,
    signals,
    study,
)

# with --use-conda the environment's own interpreter, else the one that runs Snakemake
CONDA = "conda" in {
    str(method) for method in workflow.deployment_settings.deployment_method
}

try:
    study.check(config, ROOT / "workflow/schemas/config.schema.yaml")
    BACKEND = backend_choice.resolve(
        config["sampling"]["backend"], config["device"], own_environments=CONDA
    )
    GPU = int("cuda" in (config["device"], BACKEND.partition("-")[0]))
    RESULTS = f"results/{config['study']}"
    # One run a study at a time: the lock is the process's own, so that a killed run leaves none behind.
    LOCK = files.lock(RESULTS) if workflow.is_main_process else None
except errors.UserError as error:
    raise WorkflowError(str(error))

SCRIPTS = ROOT / "workflow/scripts"
MODELS = {model["name"]: model for model in config["models"]}
GANS = study.gan_names(config)
CELLS = {cell.path: cell for cell in study.all_cells(config)}
INTERPOLATIONS = study.interpolations(config)
DATA = f"{RESULTS}/data/{config['data']['dataset']}.npz"
DIP = f"{RESULTS}/dip/weights.safetensors"
DIP_FILES = [DIP, f"{RESULTS}/dip/fit.csv", f"{RESULTS}/dip/fit.npz"]
CLASSIFIER = f"{RESULTS}/classifier/weights.safetensors"
INCEPTION = f"{RESULTS}/inception/inception.json"
USES_DIP = bool(config["timing"]) or any(
    part.get("dip_passes") for part in config["models"]
)
USES_DIP = USES_DIP or any(cell.uses_dip for cell in CELLS.values())
PYTHON = "python" if CONDA else shlex.quote(sys.executable)
OLD = 946_684_800  # 2000-01-01, older than any result: the time of what shall make nothing run
STAMPS = {}  # result -> digest of its stamp
MADE = set()  # results that are there and made as their stamps say


wildcard_constraints:
    model="[^/]+",
    epoch="[0-9]+",


def hold_study():
    """Before the first job: this run alone is at work on the study, and half-written files of killed ones are gone."""
    global LOCK
    for _ in range(20):  # a dry run holds it for seconds
        LOCK = LOCK or files.lock(RESULTS)
        if LOCK:
            files.remove_leftovers(RESULTS)
            return
        time.sleep(1)
    raise WorkflowError(
        f"{RESULTS}: another run is at work on this study; wait for it, or give yours another name (study: ...)"
    )


def script(name):
    """The start of a rule's command line."""
    return f"{PYTHON} {shlex.quote(str(SCRIPTS / name))}"


def options(**values):
    """Command line options: underscores become hyphens, None and False are left out, lists are spread."""
    words = []
    for name, value in values.items():
        if value is None or value is False:
            continue
        words.append(f"--{name.replace('_', '-')}")
        if value is not True:
            words += [
                str(item) for item in (value if isinstance(value, list) else [value])
            ]
    return shlex.join(words)


def helper(path, text):
    """A small file for the jobs' command lines, written only where it differs; it makes nothing run, stamps do."""
    path = Path(path)
    try:
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            if workflow.is_main_process and not LOCK:
                raise WorkflowError(
                    f"{RESULTS}: another run is at work on this study, with other settings or code; "
                    "wait for it, or give yours another name (study: ...)"
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        if path.stat().st_mtime != OLD:
            os.utime(path, (OLD, OLD))
    except OSError as error:
        raise WorkflowError(f"{path}: cannot be written: {error.strerror or error}")
    return str(path)


def file_list(name, paths):
    """Many paths for one command line, in a file that argparse reads as @file."""
    return helper(
        f"{RESULTS}/stamps/lists/{name}.txt", "".join(f"{path}\n" for path in paths)
    )


def stamp(stage, name, spec, outputs, inputs=(), plugins=(), texts=()):
    """The stamp of one job, an input of its rule: its settings, its code's digest, the stamps of what it reads.

    So it names the whole ancestry of the job's outputs, and each output's record holds the stamp it was made with.
    Where the first output's record holds this one, the stamp's file is given an old time; else it is made newer than
    the output. Whatever a copy did to the files' times, a result made otherwise is made again.
    """
    try:
        digest = code.digest(SCRIPTS / f"{stage}.py", tuple(plugins), tuple(texts))
    except errors.UserError as error:
        raise WorkflowError(str(error))
    content = {
        "spec": spec,
        "code": digest,
        "plugins": list(plugins),
        "texts": list(texts),
        "before": [[path.removeprefix(RESULTS), STAMPS[path]] for path in inputs],
    }
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    STAMPS.update(
        dict.fromkeys(outputs, hashlib.sha256(text.encode()).hexdigest()[:16])
    )
    path = helper(f"{RESULTS}/stamps/{stage}/{name}.json", text)
    output = Path(outputs[0])
    if output.exists():
        if provenance.stamp_of(output) == json.loads(text):
            MADE.add(outputs[0])
        else:
            newer = max(time.time(), output.stat().st_mtime + 1)
            os.utime(path, (newer, newer))
    return path


def records(*outputs):
    """The records that a job writes beside its outputs."""
    return [str(provenance.beside(output)) for output in outputs]


# --- train


def any_of(names):
    """A wildcard's constraint: one of these names."""
    return "|".join(map(re.escape, names)) or "(?!)"


def trajectory(model):
    """What shapes a model's trajectory; an epoch budget is a snapshot of it."""
    settings = MODELS[model]
    training = dict(config["training"])
    own = {"width": settings["width"]} if "width" in settings else {}
    own |= {"seed": config["seed"], "device": config["device"]}
    if model in GANS:
        return config["gan"] | {"flip": training["flip"]} | own
    if training["weights"] != "ema":
        del training["ema_decay"]
    own |= {"dip_passes": settings.get("dip_passes", 0)}
    return training | {"network": settings["network"]} | own


def snapshot(model, epochs):
    """The folder of a model's epoch budget."""
    return f"{RESULTS}/models/{model}/epoch-{epochs:04d}"


def snapshot_files(folder):
    names = ("weights.safetensors", "state.safetensors", "losses.csv")
    return [f"{folder}/{name}" for name in names]


def weights_of(model, epochs):
    return snapshot_files(snapshot(model, epochs))[0]


def lower_budget(wildcards):
    """The next lower budget's folder, which this one is trained on from, or None."""
    budgets = MODELS[wildcards.model]["epochs"]
    if wildcards.model not in GANS and config["training"]["lr_schedule"] != "constant":
        return None  # a schedule over the whole training makes each budget a trajectory of its own
    lower = [epochs for epochs in budgets if epochs < int(wildcards.epoch)]
    return snapshot(wildcards.model, max(lower)) if lower else None


def train_inputs(wildcards):
    stage = "train_gan" if wildcards.model in GANS else "train"
    name = f"{wildcards.model}-{wildcards.epoch}"
    inputs = {"data": DATA, "stamp": f"{RESULTS}/stamps/{stage}/{name}.json"}
    if MODELS[wildcards.model].get("dip_passes"):
        inputs["dip"] = DIP
    lower = lower_budget(wildcards)
    # A budget that is there needs none: one put in between, or the loss of a lower one, leaves it alone. (An ancient()
    # input would also keep a retrained lower budget from retraining this one.)
    if lower and weights_of(wildcards.model, int(wildcards.epoch)) not in MADE:
        inputs["lower"] = f"{lower}/state.safetensors"
        inputs["lower_losses"] = f"{lower}/losses.csv"
    return inputs


def train_options(wildcards, input, output):
    return options(
        **trajectory(wildcards.model),
        data=input.data,
        dip=input.get("dip"),
        model=wildcards.model,
        epochs=int(wildcards.epoch),
        resume_from=lower_budget(wildcards) if "lower" in input.keys() else None,
        progress=f"{RESULTS}/models/{wildcards.model}/progress-{wildcards.epoch}",
        output=Path(output[0]).parent,
    )


# --- sample


def cell_spec(cell):
    """The cell's names, as its files carry them."""
    gan = cell.model in GANS
    sampler = "none" if cell.alone else "gan" if gan else "ancestral"
    return {
        "dataset": config["data"]["dataset"],
        "model": "" if cell.alone else cell.model,
        "epochs": None if cell.alone else cell.epochs,
        "weights": "" if cell.alone or gan else config["training"]["weights"],
        "start": cell.start,
        "passes": cell.passes,
        "sampler": sampler,
        "steps": cell.steps,
        "clip_x0": config["sampling"]["clip_x0"] and not gan,
        "seed": config["seed"],
        "n": config["sampling"]["n"],
    }


def made_from(cell):
    """What a cell is sampled from, by the option of sample.py or sample_gan.py."""
    inputs = {} if cell.model in GANS else {"data": DATA}
    if not cell.alone:
        inputs["weights"] = weights_of(cell.model, cell.epochs)
    if cell.uses_dip:
        inputs["dip"] = DIP
    return inputs


def sample_inputs(wildcards):
    made = made_from(CELLS[wildcards.cell])
    stage = "sample_gan" if CELLS[wildcards.cell].model in GANS else "sample"
    return made | {"stamp": f"{RESULTS}/stamps/{stage}/{wildcards.cell}.json"}


def sample_options(wildcards, input):
    cell = cell_spec(CELLS[wildcards.cell])
    names = ("start", "passes", "sampler", "steps", "clip_x0", "n", "seed")
    if cell["sampler"] == "gan":
        names = ("n", "seed")
    return options(
        **{name: cell[name] for name in names},
        backend=None if cell["sampler"] == "gan" else BACKEND,
        data=input.get("data"),
        weights=input.get("weights"),
        dip=input.get("dip"),
        cell=json.dumps(cell),
    )


def interpolation_weights(way):
    names = INTERPOLATIONS[way]
    return weights_of(names["model"], names["epochs"])


def interpolation_spec(way):
    """An interpolation's names, as its file carries them, and what else shapes it."""
    names, part = INTERPOLATIONS[way], config["experiments"]["interpolation"]
    gan = names["sampler"] == "gan"
    return names | {
        "dataset": config["data"]["dataset"],
        "weights": "" if gan else config["training"]["weights"],
        "clip_x0": config["sampling"]["clip_x0"] and not gan,
        "seed": config["seed"],
        "pairs": part["pairs"],
        "points": part["points"],
        "backend": "" if gan else BACKEND,
    }


def interpolation_options(wildcards):
    spec = interpolation_spec(wildcards.way)
    names = ("sampler", "path", "noise", "steps", "clip_x0", "pairs", "points", "seed")
    return options(
        **{name: spec[name] for name in names},
        backend=spec["backend"] or None,
        cell=json.dumps(spec),
    )


# --- evaluate


def inception_wanted():
    choice = config["metrics"]["fid_inception"]
    given = config["metrics"]["inception_weights"] is not None
    labelled = data.has_labels(config["data"]["dataset"])
    if choice == "auto":
        return given or not labelled or shutil.which("nvidia-smi") is not None
    return choice


def feature_nets():
    """The nets whose features distances are taken on: the classifier needs labels to be trained with."""
    nets = {}
    if data.has_labels(config["data"]["dataset"]):
        nets["classifier"] = CLASSIFIER
    if inception_wanted():
        nets["inception"] = INCEPTION
    return nets
