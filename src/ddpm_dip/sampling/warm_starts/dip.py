"""N(0, I) of 32x32 through the DIP net, `passes` times, then resized; in [0, 1] and not re-noised, as in study A."""

from torch import Tensor

from ...models.dip import SIZE
from ...models.dip_pass import dip_pass
from . import Context

NEEDS = ("dip",)


def start(context: Context) -> Tensor:
    channels, size, _ = context.image_shape
    latents = context.noise("dip-latents", (channels, SIZE, SIZE))
    return dip_pass(context.dip, latents, context.passes, size)
