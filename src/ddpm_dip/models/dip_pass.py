"""Passing images through a Deep Image Prior net, which works at a size of its own, whatever theirs is."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from .dip import SIZE


def resize(x: Tensor, size: int) -> Tensor:
    """Resize x (N, C, H, W) to (N, C, size, size): bilinear and antialiased, as torchvision's Resize does it."""
    if x.shape[-2:] == (size, size):
        return x
    return F.interpolate(x, size=(size, size), mode="bilinear", antialias=True, align_corners=False)


def dip_pass(dip: Callable[[Tensor], Tensor], x: Tensor, passes: int, size: int, own: int = SIZE) -> Tensor:
    """Resize x (N, C, h, w) to the `own` size of `dip`, send it through `passes` times, resize the output to `size`."""
    x = resize(x, own)
    for _ in range(passes):
        x = dip(x)
    return resize(x, size)
