"""A random training image for each sample, noised to the level of t = K - 1: all that a start could give."""

import torch
from torch import Tensor

from ...models.scale import to_model_range
from . import Context


def start(context: Context) -> Tensor:
    chosen = context.pick(torch.ones(len(context.train)))
    return context.noised(to_model_range(context.train[chosen.numpy()]))
