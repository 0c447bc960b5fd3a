# The checked study, paths, and stamps: what every rule shares.
import hashlib
import json
import os
import shlex
import shutil
import sys
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT / "src"))

from snakemake.exceptions import WorkflowError

from ddpm_dip import code, data, errors, files, provenance, study

try:
    study.check(config, ROOT / "workflow/schemas/config.schema.yaml")
    RESULTS = f"results/{config['study']}"
    # One run a study at a time: the lock is the process's own, so that a killed run leaves none behind.
    LOCK = files.lock(RESULTS) if workflow.is_main_process else None
except errors.UserError as error:
    raise WorkflowError(str(error))

SCRIPTS = ROOT / "workflow/scripts"
MODELS = {model["name"]: model for model in config["models"]}
CELLS = {cell.path: cell for cell in study.all_cells(config)}
DATA = f"{RESULTS}/data/{config['data']['dataset']}.npz"
DIP = f"{RESULTS}/dip/weights.safetensors"
DIP_FILES = [DIP, f"{RESULTS}/dip/fit.csv", f"{RESULTS}/dip/fit.npz"]
CLASSIFIER = f"{RESULTS}/classifier/weights.safetensors"
INCEPTION = f"{RESULTS}/inception/inception.json"
# with --use-conda the environment's own interpreter, else the one that runs Snakemake
CONDA = "conda" in {
    str(method) for method in workflow.deployment_settings.deployment_method
}
PYTHON = "python" if CONDA else shlex.quote(sys.executable)
BACKEND = config["sampling"]["backend"]
if BACKEND == "auto":
    BACKEND = "openvino" if CONDA or find_spec("openvino") else "torch"
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
    content = {
        "spec": spec,
        "code": code.digest(SCRIPTS / f"{stage}.py", tuple(plugins), tuple(texts)),
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


def trajectory(model):
    """What shapes a model's trajectory; an epoch budget is a snapshot of it."""
    settings = MODELS[model]
    training = dict(config["training"])
    if training["weights"] != "ema":
        del training["ema_decay"]
    return training | {
        "network": settings["network"],
        "dip_passes": settings.get("dip_passes", 0),
        "seed": config["seed"],
    }


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
    lower = [epochs for epochs in budgets if epochs < int(wildcards.epoch)]
    return snapshot(wildcards.model, max(lower)) if lower else None


def train_inputs(wildcards):
    inputs = {
        "data": DATA,
        "stamp": f"{RESULTS}/stamps/train/{wildcards.model}-{wildcards.epoch}.json",
    }
    if MODELS[wildcards.model].get("dip_passes"):
        inputs["dip"] = DIP
    lower = lower_budget(wildcards)
    # A budget that is there needs none: one put in between, or the loss of a lower one, leaves it alone. (An ancient()
    # input would also keep a retrained lower budget from retraining this one.)
    if lower and weights_of(wildcards.model, int(wildcards.epoch)) not in MADE:
        inputs["lower"] = f"{lower}/state.safetensors"
        inputs["lower_losses"] = f"{lower}/losses.csv"
    return inputs


# --- sample


def cell_spec(cell):
    """The cell's names, as its files carry them."""
    return {
        "dataset": config["data"]["dataset"],
        "model": "" if cell.alone else cell.model,
        "epochs": None if cell.alone else cell.epochs,
        "weights": "" if cell.alone else config["training"]["weights"],
        "start": cell.start,
        "passes": cell.passes,
        "sampler": "none" if cell.alone else "ancestral",
        "steps": cell.steps,
        "clip_x0": config["sampling"]["clip_x0"],
        "seed": config["seed"],
        "n": config["sampling"]["n"],
    }


def made_from(cell):
    """What a cell is sampled from, by the option of sample.py."""
    inputs = {"data": DATA}
    if not cell.alone:
        inputs["weights"] = weights_of(cell.model, cell.epochs)
    if cell.uses_dip:
        inputs["dip"] = DIP
    return inputs


def sample_inputs(wildcards):
    made = made_from(CELLS[wildcards.cell])
    return made | {"stamp": f"{RESULTS}/stamps/sample/{wildcards.cell}.json"}


def sample_options(wildcards, input):
    cell = cell_spec(CELLS[wildcards.cell])
    names = ("start", "passes", "sampler", "steps", "clip_x0", "n", "seed")
    return options(
        **{name: cell[name] for name in names},
        backend=BACKEND,
        data=input.data,
        weights=input.get("weights"),
        dip=input.get("dip"),
        cell=json.dumps(cell),
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
