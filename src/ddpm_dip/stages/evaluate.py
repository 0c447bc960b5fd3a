"""Measure one cell: every metric of its samples, in each display.

Samples take the way that the reference images took: display, 8-bit rounding, features, distance to half A.

Reads:
  samples   the cell's samples, .npz
  features  features of the reference images, .npz, of reference_features
  nets      the feature nets' files by name, as reference_features had them
Writes:
  metrics   .json: the cell, n, n_reference, displays (display -> metric -> value) and not_computed (metric -> reason).
            A metric that cannot be computed is null, as where a chain diverged (NaN or infinite values). pseudo
            (display -> metric -> 8 jackknife pseudo-values, or null) of the metrics that a claim may be about. noise
            (timesteps and noise_mad, lists of one length) as the samples have it; null where there was no chain
  pictures  .json of the first samples and their chains, for the page, as `report.sprites.of_cell` makes them; only
            where the job asks for it
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
from ..evaluation.metrics import GIVEN, METRICS, measure
from ..jobs import files
from ..jobs.errors import UserError
from ..jobs.job import Job
from ..report import sprites

__doc__ += "".join(f"  {name:<20}{metric.meaning}\n" for name, metric in METRICS.items())


def run(job: Job) -> None:
    """Raises UserError, naming the file, where samples, reference features and nets do not fit each other."""
    path, reference_path = job.input("samples"), job.input("features")
    nets, device = job.inputs("nets"), job.settings["device"]
    samples, cell, noise = read_samples(path)
    reference = read_reference(reference_path)
    n, n_reference = len(samples), int(reference["halves"][0])
    not_computed = reasons(samples, n_reference, nets, json.loads(str(reference["not_computed"])))
    wanted = {name: metric for name, metric in METRICS.items() if name not in not_computed}
    groups: dict[str | None, list[str]] = {None: []}  # feature net -> its metrics
    for name, metric in wanted.items():
        if unknown := [need for need in metric.needs if need not in GIVEN and need not in METRICS]:
            words = ", ".join(GIVEN)
            raise UserError(f"evaluation/metrics.py: {name} needs {unknown[0]!r}; right is one of {words}")
        groups.setdefault(metric.feature_net, []).append(name)
    used = sorted(groups.keys() - {None})
    functions = {net: features.load(net, nets[net], device, job.threads) for net in used}
    classes = {net: features.load_classes(net, nets[net]) for net in used}

    displays = {display: dict.fromkeys(METRICS) for display in DISPLAYS}
    pseudo = {display: {name: None for name in METRICS if METRICS[name].in_claims} for display in DISPLAYS}
    for display, show in DISPLAYS.items():
        with np.errstate(over="ignore", invalid="ignore"):  # samples may be NaN or infinite
            shown = show(samples)
        for net, names in groups.items():
            arrays = {"samples": samples, "shown": shown}
            if net:
                key = f"{net}_{display}_a"
                if key not in reference:
                    raise UserError(f"{reference_path}: has no {key}; right is one that was made with the net {net}")
                try:
                    of_samples = functions[net](shown)
                except ValueError as error:
                    raise UserError(f"{path}: {error}") from error
                if (has := reference[key].shape[1]) != (gives := of_samples.shape[1]):
                    raise UserError(
                        f"{reference_path}: {key} has {has} features an image, but {nets[net]} gives {gives}"
                    )
                needs = {need for name in names for need in METRICS[name].needs}
                arrays |= given(of_samples, reference[key], classes[net], needs)
            values, of_blocks = measure(names, arrays)
            for name, value in values.items():
                if math.isfinite(value):
                    displays[display][name] = value
                else:
                    not_computed[name] = f"its value under the display {display} is {value}"
            for name, found in of_blocks.items():
                if found is not None and np.isfinite(found).all():
                    pseudo[display][name] = found.tolist()

    result = {"cell": cell, "n": n, "n_reference": n_reference, "displays": displays, "not_computed": not_computed}
    if "pictures" in job.content["outputs"]:
        files.write_json(job.output("pictures"), sprites.of_cell(files.read_npz(path)))
    files.write_json(job.output("metrics"), result | {"pseudo": pseudo, "noise": noise})
    job.finish(device=features.device_of(used, device), work={"images": n})


def given(
    of_samples: np.ndarray, reference: np.ndarray, classes: features.FeatureFunction | None, needs: set[str]
) -> dict[str, np.ndarray]:
    """What a feature net adds to `metrics.GIVEN`, as far as it is needed."""
    arrays = {"features": of_samples, "reference": reference}
    if "classes" in needs and classes:
        arrays["classes"] = classes(of_samples)
    if needs & {"to_reference", "near", "sums", "reference_near", "reference_sums"}:
        from ..evaluation.distances import by_block, distances  # with torch, which --help need not load

        arrays["to_reference"] = distances(of_samples, reference)
        arrays["sums"], arrays["near"] = by_block(of_samples)
        arrays["reference_sums"], arrays["reference_near"] = by_block(reference)
    return arrays


def read_samples(path: Path) -> tuple[np.ndarray, dict, dict | None]:
    """Samples (n, C, H, W), their cell, and the noise along its chain, if it has one.

    Raises UserError, naming the file, where it holds something else.
    """
    archive = files.read_npz(path)
    samples = archive.get("samples", np.zeros(0))
    if samples.ndim != 4 or samples.dtype.kind != "f" or not samples.size or "cell" not in archive:
        raise UserError(f"{path}: holds no samples (n, C, H, W) of a cell; right is what the stage sample writes")
    noise = None
    if "noise_path" in archive:
        path_noise = [value if math.isfinite(value) else None for value in archive["noise_path"].tolist()]
        noise = {"timesteps": archive["noise_timesteps"].tolist(), "noise_mad": path_noise}
    return samples, json.loads(str(archive["cell"])), noise


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
        elif bad and not metric.takes_any:
            found[name] = f"the chain diverged: {bad} of {n} samples have NaN or infinite values"
        elif min(n, n_reference if metric.of_reference else n) < metric.at_least:
            what = "samples and reference images" if metric.of_reference else "samples"
            found[name] = f"it needs at least {metric.at_least} {what}"
    return found
