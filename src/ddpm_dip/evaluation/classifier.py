"""A small convolutional classifier that the workflow trains. Distances compare its penultimate layer's features."""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..jobs.errors import UserError
from ..jobs.files import read_safetensors

# The bias of the Frechet distance at n samples grows with the number of features. Cells have a few hundred
# samples, so 64 features: a covariance of full rank from n = 65 on, and about half the bias of 128.
FEATURES = 64
BATCH = 64
LEARNING_RATE = 2e-3
RIGHT = "right is what the stage train_classifier writes"


class Classifier(nn.Module):
    """Images (N, C, H, W) in [0, 1] to logits (N, classes); `features` gives the layer before, (N, 64)."""

    def __init__(self, image_shape: tuple[int, int, int], classes: int):
        super().__init__()
        self.image_shape = image_shape
        channels, side, _ = image_shape
        layers, width = [], 16
        while side > 7:
            layers += [
                nn.Conv2d(channels, width, 3, padding=1),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
            channels, side, width = width, side // 2, min(2 * width, FEATURES)
        # without the last batch norm half of the units die, and the features' scale grows with every epoch
        layers += [nn.Flatten(), nn.Linear(channels * side**2, FEATURES), nn.BatchNorm1d(FEATURES), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(FEATURES, classes)

    def features(self, images: Tensor) -> Tensor:
        return self.body(2 * images - 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


def build_classifier(image_shape: tuple[int, int, int], classes: int) -> Classifier:
    """An untrained classifier for images of `image_shape` (C, H, W).

    Raises ValueError where C is not 1 or 3, or the image is not square with a side of at least 8.
    """
    channels, height, width = image_shape
    if channels not in (1, 3) or height != width or height < 8:
        raise ValueError(f"image shape {tuple(image_shape)}: must be (1 or 3, S, S) with S at least 8")
    return Classifier(image_shape, classes)


def unit(images: Tensor) -> Tensor:
    """Images in [0, 1]; uint8 ones are scaled from 0..255."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def train_classifier(
    images: Tensor, labels: Tensor, classes: int, epochs: int, seed: int
) -> tuple[Classifier, list[float]]:
    """Train on images (N, C, H, W), as `unit` takes them, with labels (N,) int64: cross entropy, Adam, cosine rate.

    Returns the classifier in eval mode and the mean loss of each epoch. First weights and data order depend
    on `seed` alone; torch's global random state is left as it was.
    Raises ValueError where there are fewer than 2 images, or labels that do not fit them or `classes`; and with epoch,
    step and learning rate where the loss is not finite.
    """
    if len(images) < 2 or labels.shape != images.shape[:1] or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"needs at least 2 images, and for each a label from 0 to {classes - 1}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = build_classifier(tuple(images.shape[1:]), classes)
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE)
    batches = math.ceil(len(images) / BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * batches)
    losses = []
    for epoch in range(1, epochs + 1):
        total = 0.0
        # batches of equal size (to one image): batch norm cannot take a last batch of one image
        for step, index in enumerate(torch.randperm(len(images), generator=order).tensor_split(batches), start=1):
            loss = F.cross_entropy(net(unit(images[index])), labels[index])
            if not loss.isfinite():
                where = f"epoch {epoch}, step {step}, with learning rate {schedule.get_last_lr()[0]:.2g}"
                raise ValueError(f"the classifier's loss became {loss.item()} at {where}")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(index)
        losses.append(total / len(images))
    return net.eval(), losses


def rotated(images: Tensor) -> tuple[Tensor, Tensor]:
    """Images (N, C, S, S) turned by no, one, two and three quarters: (4N, C, S, S), and how many quarters, (4N,).

    To tell these apart takes to know what is in an image, and no labels (Gidaris, Singh and Komodakis 2018,
    "Unsupervised representation learning by predicting image rotations").
    """
    turned = images.new_empty(4, *images.shape)
    for quarters, part in enumerate(turned):
        part.copy_(torch.rot90(images, quarters, (2, 3)))
    return turned.flatten(0, 1), torch.arange(4).repeat_interleave(len(images))


def load_classifier(path: Path | str) -> Classifier:
    """A trained classifier, in eval mode, from a .safetensors file; its header has image_shape and classes.

    Raises UserError, naming the file, where it is missing, damaged, or not a classifier's.
    """
    try:
        tensors, header = read_safetensors(path)
    except UserError as error:
        if not Path(path).is_file():
            raise
        # The file may be the user's own, so that read_safetensors' advice to delete it would be wrong.
        raise UserError(f"{path}: damaged, or not a classifier's weights; {RIGHT}") from error
    try:
        net = build_classifier(tuple(map(int, header["image_shape"].split("x"))), int(header["classes"]))
        net.load_state_dict(tensors)
    except (KeyError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not a classifier's weights ({reason}); {RIGHT}") from error
    return net.eval()


@torch.inference_mode()
def accuracy(net: Classifier, images: Tensor, labels: Tensor, batch: int = 256) -> float:
    """Share of images (N, C, H, W), as `unit` takes them, whose label (N,) is predicted."""
    net.eval()
    predicted = torch.cat([net(unit(part)).argmax(1) for part in images.split(batch)])
    return (predicted == labels).double().mean().item()


@torch.inference_mode()
def classifier_features(net: Classifier, images01: Tensor, batch: int = 256) -> np.ndarray:
    """Penultimate features (N, 64) float32 of images (N, C, H, W) in [0, 1], whatever the batch.

    Raises ValueError where the images have another shape than those that the classifier was trained on.
    """
    if (shape := tuple(images01.shape[1:])) != net.image_shape:
        raise ValueError(f"images of shape {shape}, but the classifier takes {net.image_shape}")
    net.eval()
    return torch.cat([net.features(part) for part in images01.split(batch)]).numpy()


@torch.inference_mode()
def predicted_classes(net: Classifier, features: np.ndarray) -> np.ndarray:
    """The class (N,) int64 of the largest logit, from penultimate features (N, 64)."""
    return net.head(torch.from_numpy(features)).argmax(1).numpy()
