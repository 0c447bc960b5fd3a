"""N(0, I) at the DIP net's size, `passes` times through it, then resized; in [0, 1], not re-noised, as in study A."""

from torch import Tensor

from ...models.dip_pass import dip_pass
from . import Context

NEEDS = ("dip",)


def start(context: Context) -> Tensor:
    channels, size, _ = context.image_shape
    latents = context.noise("dip-latents", (channels, context.dip_size, context.dip_size))
    return dip_pass(context.dip, latents, context.passes, size, context.dip_size)
