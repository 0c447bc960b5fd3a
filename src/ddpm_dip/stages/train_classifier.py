"""Train the small classifier whose features distances compare, on the train part of a data set.

It learns the labels; of images without any, to tell by how many quarters an image is turned.

Reads:
  data        the prepared data set, .npz
Writes:
  classifier  the weights, .safetensors; the header says the accuracy on the reference part
Settings:
  epochs      passes over the train part
  seed        of the first weights and of the order of the images
  rotations   true: to tell rotations and not labels; may be left out
"""

import torch

from ..evaluation.classifier import accuracy, rotated, train_classifier
from ..jobs import files
from ..jobs.errors import UserError
from ..jobs.job import Job


def run(job: Job) -> None:
    """Raises UserError where the data set has no labels, or where the loss becomes NaN."""
    torch.set_num_threads(job.threads)
    path, epochs, seed = job.input("data"), job.settings["epochs"], job.settings["seed"]
    data = files.read_npz(path)
    rotations = job.settings.get("rotations", False)
    if len(data["train_labels"]) == 0 and not rotations:
        raise UserError(f"{path}: the data set has no labels to train a classifier on")
    images = {part: torch.from_numpy(data[part]) for part in ("train", "reference")}
    labels = {part: torch.from_numpy(data[f"{part}_labels"]) for part in images}
    if rotations:
        turned = {part: rotated(x) for part, x in images.items()}
        images, labels = ({part: both[at] for part, both in turned.items()} for at in (0, 1))
    classes = 1 + max(int(label.max()) for label in labels.values())
    try:
        net, losses = train_classifier(images["train"], labels["train"], classes, epochs, seed)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    score = accuracy(net, images["reference"], labels["reference"])
    header = {
        "network": "classifier of rotations" if rotations else "classifier",
        "image_shape": "x".join(map(str, data["train"].shape[1:])),
        "classes": classes,
        "epochs": epochs,
        "seed": seed,
        "accuracy": f"{score:.4f}",
    }
    files.write_safetensors(job.output("classifier"), net.state_dict(), header)
    job.finish(work={"epochs": epochs, "images": epochs * len(images["train"])}, losses=losses)
    print(f"accuracy on the reference part: {score:.2%}")
