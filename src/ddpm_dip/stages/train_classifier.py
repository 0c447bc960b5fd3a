"""Train the small classifier whose features distances compare, on the train part of a data set with labels.

Reads:
  data        the prepared data set, .npz
Writes:
  classifier  the weights, .safetensors; the header says the accuracy on the reference part
Settings:
  epochs      passes over the train part
  seed        of the first weights and of the order of the images
"""

import torch

from ..evaluation.classifier import accuracy, train_classifier
from ..jobs import files
from ..jobs.errors import UserError
from ..jobs.job import Job


def run(job: Job) -> None:
    """Raises UserError where the data set has no labels, or where the loss becomes NaN."""
    torch.set_num_threads(job.threads)
    path, epochs, seed = job.input("data"), job.settings["epochs"], job.settings["seed"]
    data = files.read_npz(path)
    if len(data["train_labels"]) == 0:
        raise UserError(f"{path}: the data set has no labels to train a classifier on")
    images = {part: torch.from_numpy(data[part]).float() / 255 for part in ("train", "reference")}
    labels = {part: torch.from_numpy(data[f"{part}_labels"]) for part in ("train", "reference")}
    classes = 1 + max(int(label.max()) for label in labels.values())
    try:
        net, losses = train_classifier(images["train"], labels["train"], classes, epochs, seed)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    score = accuracy(net, images["reference"], labels["reference"])
    header = {
        "network": "classifier",
        "image_shape": "x".join(map(str, data["train"].shape[1:])),
        "classes": classes,
        "epochs": epochs,
        "seed": seed,
        "accuracy": f"{score:.4f}",
    }
    files.write_safetensors(job.output("classifier"), net.state_dict(), header)
    job.finish(work={"epochs": epochs, "images": epochs * len(data["train"])}, losses=losses)
    print(f"accuracy on the reference part: {score:.2%}")
