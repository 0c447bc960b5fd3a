"""DIP before the chain and again before every step: the net sees DIP passes of x_t, the update is made on x_t."""

from torch import Tensor

from ...models.dip_pass import dip_pass
from . import Context
from .dip import start

__all__ = ["NEEDS", "see", "start"]

NEEDS = ("dip",)


def see(context: Context, x: Tensor) -> Tensor:
    return dip_pass(context.dip, x, context.passes, context.image_shape[-1], context.dip_size)
