"""Measure how evenly images change between two latents, for each pair: as pixels and as features, in each display.

Reads:
  images    the images between latents, .npz, of interpolate
  nets      the feature nets' files by name, whose features are to be measured besides pixels; they run on the CPU
Writes:
  measures  .json: the interpolation's names and, in `measures`, a row for each display, space (pixels or a feature net)
            and pair: the distances between neighbouring images, their sum, the end-to-end distance, and both quotients
            of `smoothness.Smoothness`. A quotient that is not finite is null. A pair with NaN or infinite values has no
            row, and not_computed says so
"""

import json
import math
from pathlib import Path

import numpy as np

from ..evaluation import features
from ..evaluation.displays import DISPLAYS, diverged
from ..evaluation.smoothness import Smoothness, smoothness
from ..jobs import files
from ..jobs.errors import UserError
from ..jobs.job import Job


def run(job: Job) -> None:
    """Raises UserError, naming the file, where images and nets do not fit each other."""
    path, nets = job.input("images"), job.inputs("nets")
    images, names = read_images(path)
    pairs, points = images.shape[:2]
    bad = diverged(images.reshape(-1, *images.shape[2:])).reshape(pairs, points).any(1)
    whole = np.flatnonzero(~bad)
    not_computed = {}
    if len(whole) < pairs:
        number = pairs - len(whole)
        not_computed["measures"] = f"the chain diverged: {number} of {pairs} pairs have NaN or infinite values"
    not_computed |= {name: reason for name, net in nets.items() if (reason := features.unavailable(name, net))}
    spaces = {"pixels": lambda shown: shown.reshape(len(shown), -1)}
    for name, net in nets.items():
        if name not in not_computed:
            spaces[name] = features.load(name, net, threads=job.threads)

    measures = []
    for display, show in DISPLAYS.items() if len(whole) else ():
        shown = show(images[whole].reshape(-1, *images.shape[2:]))
        for space, function in spaces.items():
            try:
                found = smoothness(function(shown).reshape(len(whole), points, -1))
            except ValueError as error:
                raise UserError(f"{path}: {error}") from error
            for pair, steps, *numbers in zip(whole.tolist(), *found, strict=True):
                values = [float(number) if math.isfinite(number) else None for number in numbers]
                row = {"display": display, "space": space, "pair": pair, "steps_between": steps.tolist()}
                measures.append(row | dict(zip(Smoothness._fields[1:], values, strict=True)))
    files.write_json(job.output("measures"), {"names": names, "measures": measures, "not_computed": not_computed})
    job.finish(work={"images": pairs * points})


def read_images(path: Path) -> tuple[np.ndarray, dict]:
    """Images (pairs, points, C, H, W), and what they are. Raises UserError, naming the file, where it holds no such."""
    archive = files.read_npz(path)
    images = archive.get("images", np.zeros(0))
    if images.ndim != 5 or images.dtype.kind != "f" or images.shape[1] < 2 or not images.size or "names" not in archive:
        raise UserError(f"{path}: holds no images (pairs, points, C, H, W); right is what the stage interpolate writes")
    return images, json.loads(str(archive["names"]))
