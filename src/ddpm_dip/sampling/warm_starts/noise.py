"""N(0, I) at the image's size, whatever K is: the plain truncated DDPM chain of study A."""

from torch import Tensor

from . import Context


def start(context: Context) -> Tensor:
    return context.noise("latents", context.image_shape)
