"""Features of the reference images, once for all cells: halves A and B, in both displays.

Half A is what every distance compares with. Half B plays the samples for the real-against-real floor.
Output arrays: `halves` (2,), the sizes of A and B; `<features>_<display>_<half>`, float32, as
classifier_minmax_a (N, 64) or inception_clamp_b (N, 2048).
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import numpy as np
import torch

from ddpm_dip import errors, files, provenance
from ddpm_dip.display import DISPLAYS, to_rgb_uint8, to_uint8
from ddpm_dip.metrics.classifier import classifier_features, load_classifier
from ddpm_dip.scale import to_model_range

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"  # of Inception; the classifier is small


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="prepared dataset, .npz")
    parser.add_argument("--classifier", type=Path, help="trained classifier, .safetensors")
    parser.add_argument("--inception", type=Path, help="from fetch_inception.py, .json")
    parser.add_argument("--output", type=Path, required=True, help="features to write, .npz")
    parser.add_argument("--stamp", type=Path, help="the workflow's stamp, copied into the provenance")
    arguments = parser.parse_args()
    job = provenance.Job(arguments.stamp, __file__)

    reference = to_model_range(files.read_npz(job.input(arguments.data))["reference"]).numpy()
    middle = len(reference) // 2
    halves = {"a": reference[:middle], "b": reference[middle:]}
    pictures = {f"{name}_{half}": show(x) for name, show in DISPLAYS.items() for half, x in halves.items()}

    arrays = {"halves": np.array([len(x) for x in halves.values()])}
    if arguments.classifier:
        classifier = load_classifier(job.input(arguments.classifier))
        for name, x in pictures.items():
            arrays[f"classifier_{name}"] = classifier_features(classifier, torch.from_numpy(to_uint8(x)).float() / 255)
    weights = files.read_json(job.input(arguments.inception))["weights"] if arguments.inception else None
    if weights:
        from ddpm_dip.metrics.inception import (  # slow to import
            inception_features,
            load_inception,
        )

        inception = load_inception(arguments.inception.with_name(weights))
        inception.to(DEVICE)
        for name, x in pictures.items():
            arrays[f"inception_{name}"] = inception_features(inception, torch.from_numpy(to_rgb_uint8(x)))

    files.write_npz(arguments.output, **arrays)
    job.finish(arguments.output, spec={}, device=DEVICE)


if __name__ == "__main__":
    errors.run(main)
