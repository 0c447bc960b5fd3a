"""The Gaussian of the training images' mean and covariance, noised to the level of t = K - 1.

x = sqrt(a) mean + (a covariance + (1 - a) I)^(1/2) z, with a = alphas_cumprod[K - 1] and the shared latents z: at every
K it has the first two moments that the chain expects.
"""

from torch import Tensor

from ..gaussians import Gaussian, noised, of_images
from . import Context

NEEDS = ("covariance",)


def prepare(context: Context) -> Gaussian:
    return noised(*of_images(context.train), context.alpha_cumprod)


def start(context: Context) -> Tensor:
    return context.prepared.draw(context.noise("latents", context.image_shape))
