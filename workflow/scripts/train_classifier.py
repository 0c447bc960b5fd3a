"""Train the small classifier, whose features `fd_classifier` compares, on the train part of a dataset."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import torch

from ddpm_dip import errors, files, provenance
from ddpm_dip.metrics.classifier import accuracy, train_classifier


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="prepared dataset, .npz, with labels")
    parser.add_argument("--epochs", type=int, required=True, help="passes over the train part")
    parser.add_argument("--seed", type=int, required=True, help="of the first weights and the data order")
    parser.add_argument("--output", type=Path, required=True, help="weights to write, .safetensors")
    parser.add_argument("--stamp", type=Path, help="the workflow's stamp, copied into the provenance")
    arguments = parser.parse_args()
    job = provenance.Job(arguments.stamp, __file__)

    data = files.read_npz(job.input(arguments.data))
    if len(data["train_labels"]) == 0:
        raise errors.UserError(f"{arguments.data}: the data set has no labels to train a classifier on")
    parts = {part: torch.from_numpy(data[part]).float() / 255 for part in ("train", "reference")}
    labels = {part: torch.from_numpy(data[f"{part}_labels"]) for part in ("train", "reference")}
    classes = 1 + max(int(label.max()) for label in labels.values())
    try:
        net, losses = train_classifier(parts["train"], labels["train"], classes, arguments.epochs, arguments.seed)
    except ValueError as error:
        raise errors.UserError(f"{arguments.data}: {error}") from error
    score = accuracy(net, parts["reference"], labels["reference"])

    header = {
        "network": "classifier",
        "image_shape": "x".join(map(str, data["train"].shape[1:])),
        "classes": classes,
        "epochs": arguments.epochs,
        "seed": arguments.seed,
        "accuracy": f"{score:.4f}",
    }
    files.write_safetensors(arguments.output, net.state_dict(), header)
    job.finish(arguments.output, spec=header, seed=arguments.seed, losses=losses)
    print(f"accuracy on the reference part: {score:.2%}")


if __name__ == "__main__":
    errors.run(main)
