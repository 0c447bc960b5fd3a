"""Two named ways to turn raw samples into pictures, and the one place where grey becomes 8-bit RGB."""

import torch
from torch import Tensor


def minmax(x: Tensor) -> Tensor:
    """Stretch each image of (N, C, H, W) from its own minimum to its own maximum, to [0, 1]; as study A shows them.

    A constant image becomes 0.
    """
    flat = x.flatten(1)
    low = flat.min(1).values.view(-1, 1, 1, 1)
    high = flat.max(1).values.view(-1, 1, 1, 1)
    return (x - low) / (high - low).clamp_min(torch.finfo(x.dtype).tiny)


def clamp(x: Tensor) -> Tensor:
    """Clamp (N, C, H, W) to the model's range [-1, 1], then map it to [0, 1]."""
    return (x.clamp(-1, 1) + 1) / 2


DISPLAYS = {"minmax": minmax, "clamp": clamp}


def to_uint8(x: Tensor) -> Tensor:
    """[0, 1] to 0..255, rounded to nearest."""
    return (x.clamp(0, 1) * 255).round().to(torch.uint8)


def to_rgb_uint8(x: Tensor) -> Tensor:
    """(N, 1 or 3, H, W) in [0, 1] to (N, 3, H, W) uint8: what Inception sees."""
    return to_uint8(x).expand(-1, 3, -1, -1)
