"""The training set's mean image, noised to the level of t = K - 1: a start that costs nothing, and so DIP's rival."""

import torch
from torch import Tensor

from ...models.schedule import q_sample
from . import Context


def start(context: Context) -> Tensor:
    n = len(context.indices)
    t = torch.full((n,), context.steps - 1)
    mean = context.train_mean.expand(n, *context.image_shape)
    return q_sample(mean, t, context.noise("latents", context.image_shape), context.schedule)
