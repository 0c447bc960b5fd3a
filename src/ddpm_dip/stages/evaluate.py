"""Measure one cell: every metric of its samples, in each display.

Samples take the way that the reference images took: display, 8-bit rounding, features, distance to half A.

Reads:
  samples   the cell's samples, .npz
  features  features of the reference images, .npz, of reference_features
  nets      the feature nets' files by name, as reference_features had them
Writes:
  metrics   .json: the cell, n, n_reference, displays (display -> metric -> value) and not_computed (metric -> reason).
            A metric that cannot be computed is null, as where a chain diverged (NaN or infinite values)
Settings:
  device    cpu or cuda: where Inception runs

Metrics:
"""

import json
import math
from pathlib import Path

import numpy as np

from ..evaluation import features
from ..evaluation.displays import DISPLAYS, diverged
from ..evaluation.metrics import METRICS
from ..jobs import files
from ..jobs.errors import UserError
from ..jobs.job import Job

__doc__ += "".join(f"  {name:<18}{metric.meaning}\n" for name, metric in METRICS.items())


def run(job: Job) -> None:
    """Raises UserError, naming the file, where samples, reference features and nets do not fit each other."""
    path, reference_path = job.input("samples"), job.input("features")
    nets, device = job.inputs("nets"), job.settings["device"]
    samples, cell = read_samples(path)
    reference = read_reference(reference_path)
    n, n_reference = len(samples), int(reference["halves"][0])
    not_computed = reasons(samples, n_reference, nets, json.loads(str(reference["not_computed"])))
    wanted = {name: metric for name, metric in METRICS.items() if name not in not_computed}
    used = sorted({metric.feature_net for metric in wanted.values() if metric.feature_net})
    functions = {net: features.load(net, nets[net], device, job.threads) for net in used}

    displays = {}
    for display, show in DISPLAYS.items():
        displays[display] = dict.fromkeys(METRICS)
        given: dict[str | None, dict[str, np.ndarray]] = {None: {}}  # feature net -> what it adds for a metric
        shown = show(samples) if wanted else None
        for net in used:
            key = f"{net}_{display}_a"
            if key not in reference:
                raise UserError(f"{reference_path}: has no {key}; right is one that was made with the net {net}")
            try:
                of_samples = functions[net](shown)
            except ValueError as error:
                raise UserError(f"{path}: {error}") from error
            if (has := reference[key].shape[1]) != (gives := of_samples.shape[1]):
                raise UserError(f"{reference_path}: {key} has {has} features an image, but {nets[net]} gives {gives}")
            given[net] = {"reference": reference[key], "features": of_samples}
        for name, metric in wanted.items():
            arrays = {"samples": samples, "shown": shown} | given[metric.feature_net]
            if unknown := [need for need in metric.needs if need not in arrays]:
                words = ", ".join(arrays)
                raise UserError(f"evaluation/metrics.py: {name} needs {unknown[0]!r}; right is one of {words}")
            value = float(metric.function(*[arrays[need] for need in metric.needs]))
            if math.isfinite(value):
                displays[display][name] = value
            else:
                not_computed[name] = f"its value under the display {display} is {value}"

    result = {"cell": cell, "n": n, "n_reference": n_reference, "displays": displays, "not_computed": not_computed}
    files.write_json(job.output("metrics"), result)
    job.finish(device=features.device_of(used, device), work={"images": n})


def read_samples(path: Path) -> tuple[np.ndarray, dict]:
    """Samples (n, C, H, W) and their cell. Raises UserError, naming the file, where it holds something else."""
    archive = files.read_npz(path)
    samples = archive.get("samples", np.zeros(0))
    if samples.ndim != 4 or samples.dtype.kind != "f" or not samples.size or "cell" not in archive:
        raise UserError(f"{path}: holds no samples (n, C, H, W) of a cell; right is what the stage sample writes")
    return samples, json.loads(str(archive["cell"]))


def read_reference(path: Path) -> dict[str, np.ndarray]:
    """Features of the reference images. Raises UserError, naming the file, where it holds something else."""
    archive = files.read_npz(path)
    if not archive.keys() >= {"halves", "not_computed"}:
        raise UserError(f"{path}: holds no reference features; right is what the stage reference_features writes")
    return archive


def reasons(samples: np.ndarray, n_reference: int, nets: dict[str, Path], no_net: dict[str, str]) -> dict[str, str]:
    """Metric -> why it has no value, for those that have none.

    nets: the feature nets' files by name; no_net: net -> why the reference has no features of it.
    """
    n, bad, found = len(samples), int(diverged(samples).sum()), {}
    for name, metric in METRICS.items():
        net = metric.feature_net
        if net and (reason := features.unavailable(net, nets.get(net))):
            found[name] = reason if net in nets else no_net.get(net, reason)
        elif bad:
            found[name] = f"the chain diverged: {bad} of {n} samples have NaN or infinite values"
        elif min(n, n_reference if "reference" in metric.needs else n) < metric.at_least:
            what = "samples and reference images" if "reference" in metric.needs else "samples"
            found[name] = f"it needs at least {metric.at_least} {what}"
    return found
