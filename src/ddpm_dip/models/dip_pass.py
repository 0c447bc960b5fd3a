"""Passing images through a Deep Image Prior net, which works at 32x32 whatever their own size is."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from .dip import SIZE


def resize(x: Tensor, size: int) -> Tensor:
    """Resize x (N, C, H, W) to (N, C, size, size): bilinear and antialiased, as torchvision's Resize does it."""
    if x.shape[-2:] == (size, size):
        return x
    return F.interpolate(x, size=(size, size), mode="bilinear", antialias=True, align_corners=False)


def dip_pass(dip: Callable[[Tensor], Tensor], x: Tensor, passes: int, size: int) -> Tensor:
    """Resize x (N, C, h, w) to 32x32, send it through `dip` `passes` times, resize the output to `size`."""
    x = resize(x, SIZE)
    for _ in range(passes):
        x = dip(x)
    return resize(x, size)
