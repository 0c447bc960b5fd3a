"""As `gaussian`, but of each pixel's variance alone: no pixel knows of another."""

import numpy as np
import torch
from torch import Tensor

from . import Context


def prepare(context: Context) -> Tensor:
    """The standard deviation (C, H, W) of x, float64."""
    variance = np.var(context.train, axis=0, dtype=np.float64) / 127.5**2
    return torch.from_numpy(context.alpha_cumprod * variance + 1 - context.alpha_cumprod).sqrt()


def start(context: Context) -> Tensor:
    mean, noise = context.alpha_cumprod**0.5 * context.train_mean, context.noise("latents", context.image_shape)
    return (mean.double() + context.prepared * noise).float()
