"""A DCGAN's images, noised to the level of t = K - 1: early-stopped DDPM (Lyu et al. 2022, arXiv 2205.12524)."""

from torch import Tensor

from . import Context

NEEDS = ("gan",)


def start(context: Context) -> Tensor:
    return context.noised(context.gan(context.indices))
