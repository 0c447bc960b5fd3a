"""Measure one cell: distances of its samples from the held-out reference images, for each display.

Samples and half B of the reference take the same way: display, 8-bit rounding, features, distance to half A.
tone_sd is the standard deviation over samples of the shown image's mean, in [0, 1]; image_mean_sd of the raw image's.
A metric that cannot be computed is null, and `not_computed` says why; so it is with a diverged chain (NaN).
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import numpy as np
import torch

from ddpm_dip import errors, files, provenance
from ddpm_dip.display import DISPLAYS, to_rgb_uint8, to_uint8
from ddpm_dip.metrics.classifier import classifier_features, load_classifier
from ddpm_dip.metrics.frechet import bootstrap_sd, frechet_distance

METRICS = (
    "fd_classifier",
    "fd_classifier_sd",
    "fd_classifier_floor",
    "fid_inception",
    "fid_inception_floor",
    "tone_sd",
)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"  # of Inception; the classifier is small


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=Path, required=True, help="samples of one cell, .npz")
    parser.add_argument("--reference", type=Path, required=True, help="reference features, .npz")
    parser.add_argument("--classifier", type=Path, help="trained classifier, .safetensors")
    parser.add_argument("--inception", type=Path, help="from fetch_inception.py, .json; left out: no FID")
    parser.add_argument("--output", type=Path, required=True, help="metrics to write, .json")
    parser.add_argument("--stamp", type=Path, help="the workflow's stamp, copied into the provenance")
    arguments = parser.parse_args()
    job = provenance.Job(arguments.stamp, __file__)

    archive = files.read_npz(job.input(arguments.samples))
    reference = files.read_npz(job.input(arguments.reference))
    samples, cell = archive["samples"], json.loads(str(archive["cell"]))
    n, (size_a, size_b) = len(samples), reference["halves"].tolist()

    bad = int((~np.isfinite(samples)).any((1, 2, 3)).sum())
    diverged = f"the chain diverged: {bad} of {n} samples have NaN or infinite values" if bad else None
    too_few = "fewer than 2 samples or reference images have no covariance" if min(n, size_a) < 2 else None
    too_many = f"half B of the reference has {size_b} images, not {n}" if n > size_b else None
    no_classifier = None if arguments.classifier else "the data set has no labels"
    inception_status = {"weights": None, "not_computed": "not asked for, or no Inception weights at hand"}
    if arguments.inception:
        inception_status = files.read_json(job.input(arguments.inception))
    not_computed = {
        "fd_classifier": no_classifier or diverged or too_few,
        "fd_classifier_sd": no_classifier or diverged or too_few,
        "fd_classifier_floor": no_classifier or too_many or too_few,
        "fid_inception": inception_status["not_computed"] or diverged or too_few,
        "fid_inception_floor": inception_status["not_computed"] or too_many or too_few,
        "image_mean_sd": diverged,
        "tone_sd": diverged,
    }

    if arguments.classifier:
        classifier = load_classifier(job.input(arguments.classifier))
        takes, has = classifier.image_shape, tuple(samples.shape[1:])
        if takes != has:
            raise errors.UserError(f"{arguments.samples}: images of {has}, but the classifier takes {takes}")
    if not not_computed["fid_inception"]:
        from ddpm_dip.metrics.inception import inception_features, load_inception  # slow to import

        weights = arguments.inception.with_name(inception_status["weights"])
        inception = load_inception(weights).to(DEVICE)

    def reference_features(name: str) -> np.ndarray:
        if name not in reference:
            option = "--" + name.split("_")[0]
            raise errors.UserError(f"{arguments.reference}: has no {name}; make it with {option}")
        return reference[name]

    def measure(display: str) -> dict[str, float]:
        shown, found = DISPLAYS[display](samples), dict.fromkeys(METRICS)
        if not diverged:
            found["tone_sd"] = shown.mean((1, 2, 3), dtype=np.float64).std()
        if not not_computed["fid_inception"]:
            features = inception_features(inception, torch.from_numpy(to_rgb_uint8(shown)))
            found["fid_inception"] = frechet_distance(reference_features(f"inception_{display}_a"), features)
        if not not_computed["fd_classifier"]:
            half_a = reference_features(f"classifier_{display}_a")
            features = classifier_features(classifier, torch.from_numpy(to_uint8(shown)).float() / 255)
            found["fd_classifier"] = frechet_distance(half_a, features)
            found["fd_classifier_sd"] = bootstrap_sd(half_a, features)
        for metric, features in (("fd_classifier_floor", "classifier"), ("fid_inception_floor", "inception")):
            if not not_computed[metric]:  # half B plays the samples
                half_a, half_b = (reference_features(f"{features}_{display}_{half}") for half in "ab")
                found[metric] = frechet_distance(half_a, half_b[:n])
        return found

    image_means = samples.mean((1, 2, 3), dtype=np.float64)
    metrics = cell | {
        "n_reference": size_a,
        "image_mean_sd": None if diverged else image_means.std(),
        "displays": {display: measure(display) for display in DISPLAYS},
        "not_computed": {metric: reason for metric, reason in not_computed.items() if reason},
    }
    files.write_json(arguments.output, metrics)
    job.finish(arguments.output, spec=cell, seed=cell.get("seed"), device=DEVICE)


if __name__ == "__main__":
    errors.run(main)
