"""A mixture of one Gaussian a class, of its training images' mean and covariance; each noised as `gaussian` is.

A sample's class is drawn by the classes' shares of the training images.
"""

import numpy as np
import torch
from torch import Tensor

from ..gaussians import Gaussian, noised, of_images
from . import Context

NEEDS = ("covariance", "labels")


def prepare(context: Context) -> tuple[Tensor, list[Gaussian]]:
    """How many images each class has, and its Gaussian."""
    classes, counts = np.unique(context.labels, return_counts=True)
    parts = [noised(*of_images(context.train[context.labels == each]), context.alpha_cumprod) for each in classes]
    return torch.from_numpy(counts), parts


def start(context: Context) -> Tensor:
    counts, parts = context.prepared
    noise, chosen = context.noise("latents", context.image_shape), context.pick(counts)
    x = torch.empty_like(noise)
    for number in chosen.unique().tolist():
        x[chosen == number] = parts[number].draw(noise[chosen == number])
    return x
