"""The Gaussian of the DIP output's mean and covariance, noised as `gaussian` is: `dip-renoised` but for its moments.

These are of 1024 outputs, on the model's scale, from noise of its own.
"""

from torch import Tensor

from ...models.dip_pass import dip_pass
from ..gaussians import Gaussian, moments, noised
from . import Context
from .gaussian import start

__all__ = ["NEEDS", "prepare", "start"]

NEEDS = ("dip", "covariance")
DRAWS = 1024


def prepare(context: Context) -> Gaussian:
    channels, size, _ = context.image_shape
    latents = context.noise("dip-moments", (channels, context.dip_size, context.dip_size), range(DRAWS))
    images: Tensor = 2 * dip_pass(context.dip, latents, context.passes, size, context.dip_size) - 1
    return noised(*moments([images]), context.alpha_cumprod)
