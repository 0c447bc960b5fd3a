"""Gaussians with the moments of images, noised to a timestep. A vector of D = C H W pixels is an image, flattened."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..jobs.errors import UserError
from ..models.scale import to_model_range

MOST_PIXELS = 4096  # of a covariance: it and its eigenvectors are then 134 MB each
PART = 4096  # images taken at a time


class Gaussian(NamedTuple):
    """N(mean, root root^T). mean: (D,) float64; root: the symmetric square root of the covariance (D, D), float64."""

    mean: Tensor
    root: Tensor

    def draw(self, noise: Tensor) -> Tensor:
        """mean + root z for N(0, 1) noise z (n, C, H, W): of its shape, float32."""
        return (self.mean + noise.double().flatten(1) @ self.root).view(noise.shape).float()


def moments(parts: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean (D,) and covariance (D, D), divided by the number, of images given in parts (n, C, H, W); float64.

    Raises UserError where an image has more than MOST_PIXELS.
    """
    count, total, products = 0, 0, 0
    for part in parts:
        x = part.double().flatten(1)
        if x.shape[1] > MOST_PIXELS:
            raise UserError(
                f"data.image_size and data.channels make {x.shape[1]} pixels an image; a covariance is taken of at "
                f"most {MOST_PIXELS}: make them smaller, or use the start gaussian-diag, which needs none"
            )
        count, total, products = count + len(x), total + x.sum(0), products + x.T @ x
    mean = total / count
    return mean, products / count - mean.outer(mean)


def of_images(images: np.ndarray) -> tuple[Tensor, Tensor]:
    """`moments` of images (N, C, H, W) uint8, on the model's scale [-1, 1]."""
    return moments(to_model_range(images[first : first + PART]) for first in range(0, len(images), PART))


def noised(mean: Tensor, covariance: Tensor, alpha_cumprod: float) -> Gaussian:
    """What images of these moments become at a timestep: N(sqrt(a) mean, a covariance + (1 - a) I)."""
    values, vectors = torch.linalg.eigh(covariance)
    deviations = (alpha_cumprod * values.clamp(min=0) + 1 - alpha_cumprod).sqrt()
    return Gaussian(alpha_cumprod**0.5 * mean, (vectors * deviations) @ vectors.T)
