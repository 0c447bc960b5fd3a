"""Measure how evenly images change between two latents, per pair: as pixels and as classifier features, by display.

Output: the interpolation's names and, in `measures`, a row for each display, space and pair: the distances between
neighbouring images, their sum, the end-to-end distance, and both quotients of `interpolation.Smoothness`. A quotient
that is not finite is null. A pair with NaN or infinite values has no row, and `not_computed` says so.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import numpy as np
import torch

from ddpm_dip import errors, files, interpolation, provenance
from ddpm_dip.display import DISPLAYS, to_uint8
from ddpm_dip.metrics.classifier import classifier_features, load_classifier


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="images between latents, .npz, of interpolate.py")
    parser.add_argument("--classifier", type=Path, help="trained classifier, .safetensors; left out: pixels alone")
    parser.add_argument("--output", type=Path, required=True, help="measures to write, .json")
    parser.add_argument("--stamp", type=Path, help="the workflow's stamp, copied into the provenance")
    arguments = parser.parse_args()
    job = provenance.Job(arguments.stamp, __file__)

    archive = files.read_npz(job.input(arguments.images))
    images, cell = archive["images"], json.loads(str(archive["cell"]))
    pairs, points = images.shape[:2]
    classifier = load_classifier(job.input(arguments.classifier)) if arguments.classifier else None
    whole = np.flatnonzero(np.isfinite(images).all((1, 2, 3, 4)))
    bad = pairs - len(whole)

    measures = []
    for display, show in DISPLAYS.items() if len(whole) else ():
        shown = show(images[whole].reshape(-1, *images.shape[2:]))
        spaces = {"pixels": shown.reshape(len(shown), -1)}
        if classifier:  # sees what the distances' classifier sees: 8 bits
            spaces["classifier"] = classifier_features(classifier, torch.from_numpy(to_uint8(shown)).float() / 255)
        for space, features in spaces.items():
            found = interpolation.smoothness(features.reshape(len(whole), points, -1))
            for pair, steps, *numbers in zip(whole.tolist(), *found, strict=True):
                names = interpolation.Smoothness._fields[1:]
                values = {name: float(x) if np.isfinite(x) else None for name, x in zip(names, numbers, strict=True)}
                measures.append({"display": display, "space": space, "pair": pair, "steps_between": steps.tolist()})
                measures[-1] |= values
    diverged = {"measures": f"the chain diverged: {bad} of {pairs} pairs have NaN or infinite values"} if bad else {}
    files.write_json(arguments.output, cell | {"measures": measures, "not_computed": diverged})
    job.finish(arguments.output, spec=cell, seed=cell.get("seed"))


if __name__ == "__main__":
    errors.run(main)
