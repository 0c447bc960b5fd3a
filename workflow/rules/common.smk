# The checked study, paths, and stamps: what every rule shares.
import json
import shlex
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT / "src"))

from snakemake.exceptions import WorkflowError

from ddpm_dip import code, data, errors, files, study

try:
    study.check(config, ROOT / "workflow/schemas/config.schema.yaml")
except errors.UserError as error:
    raise WorkflowError(str(error))

RESULTS = f"results/{config['study']}"
SCRIPTS = ROOT / "workflow/scripts"
MODELS = {model["name"]: model for model in config["models"]}
CELLS = {cell.path: cell for cell in study.all_cells(config)}
DATA = f"{RESULTS}/data/{config['data']['dataset']}.npz"
DIP = f"{RESULTS}/dip/weights.safetensors"
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


wildcard_constraints:
    model="[^/]+",
    epoch="[0-9]+",


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


def write_if_changed(path, text):
    path = Path(path)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        files.write_text(path, text)
    return str(path)


def stamp(stage, name, spec, plugins=(), texts=()):
    """The stamp of one job: its settings and the digest of its code, in a file that is an input of its rule.

    It is written only if its content differs, so that plain file times decide what reruns.
    """
    digest = code.digest(SCRIPTS / f"{stage}.py", tuple(plugins), tuple(texts))
    content = {"spec": spec, "code": digest}
    return write_if_changed(
        f"{RESULTS}/stamps/{stage}/{name}.json",
        json.dumps(content, indent=1, sort_keys=True) + "\n",
    )


def file_list(name, paths):
    """Many paths for one command line, in a file that argparse reads as @file; written only if it differs."""
    return write_if_changed(
        f"{RESULTS}/stamps/lists/{name}.txt", "".join(f"{path}\n" for path in paths)
    )


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


def lower_budget(wildcards):
    """The next lower budget's folder, which this one is trained on from, or None."""
    budgets = MODELS[wildcards.model]["epochs"]
    lower = [epochs for epochs in budgets if epochs < int(wildcards.epoch)]
    return snapshot(wildcards.model, max(lower)) if lower else None


def made_as_wanted(wildcards, stamp):
    """Whether this budget is there, made with the settings and code that `stamp` says."""
    weights = f"{snapshot(wildcards.model, int(wildcards.epoch))}/weights.safetensors"
    beside = files.provenance_path(weights)
    if not (Path(weights).exists() and beside.exists()):
        return False
    return files.read_json(beside)["stamp"] == files.read_json(stamp)


def train_inputs(wildcards):
    inputs = {
        "data": DATA,
        "stamp": f"{RESULTS}/stamps/train/{wildcards.model}.json",
    }
    if MODELS[wildcards.model].get("dip_passes"):
        inputs["dip"] = DIP
    lower = lower_budget(wildcards)
    # A budget that is there needs none: one put in between, or the loss of a lower one, leaves it alone. (An ancient()
    # input would also keep a retrained lower budget from retraining this one.)
    if lower and not made_as_wanted(wildcards, inputs["stamp"]):
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


def weights_of(model, epochs):
    return f"{snapshot(model, epochs)}/weights.safetensors"


def sample_inputs(wildcards):
    cell = CELLS[wildcards.cell]
    inputs = {"data": DATA, "stamp": f"{RESULTS}/stamps/sample/{wildcards.cell}.json"}
    if not cell.alone:
        inputs["weights"] = weights_of(cell.model, cell.epochs)
    if cell.uses_dip:
        inputs["dip"] = DIP
    return inputs


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
