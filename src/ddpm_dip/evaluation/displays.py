"""Two named ways to turn raw samples into pictures, and the one place where grey becomes 8-bit RGB.

In NumPy, so that drawing a figure need not import torch.
"""

import numpy as np


def minmax(x: np.ndarray) -> np.ndarray:
    """Stretch each image of (N, C, H, W) from its own minimum to its own maximum, to [0, 1]; as study A shows them.

    A constant image becomes 0.
    """
    low, high = x.min((1, 2, 3), keepdims=True), x.max((1, 2, 3), keepdims=True)
    return (x - low) / np.maximum(high - low, np.finfo(x.dtype).tiny)


def clamp(x: np.ndarray) -> np.ndarray:
    """Clamp (N, C, H, W) to the model's range [-1, 1], then map it to [0, 1]."""
    return (x.clip(-1, 1) + 1) / 2


DISPLAYS = {"minmax": minmax, "clamp": clamp}


def diverged(x: np.ndarray) -> np.ndarray:
    """Which of the images (N, C, H, W) cannot be measured (N,): those with values that are NaN or infinite.

    Also those whose values are so far apart (above 3e38 in float32) that a display of them is NaN or infinite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        finite = [np.isfinite(images).all((1, 2, 3)) for images in (x, *(show(x) for show in DISPLAYS.values()))]
    return ~np.logical_and.reduce(finite)


def to_uint8(x: np.ndarray) -> np.ndarray:
    """[0, 1] to 0..255, rounded to nearest."""
    return (x.clip(0, 1) * 255).round().astype(np.uint8)


def to_rgb_uint8(x: np.ndarray) -> np.ndarray:
    """(N, 1 or 3, H, W) in [0, 1] to (N, 3, H, W) uint8: what Inception sees."""
    return np.repeat(to_uint8(x), 3 // x.shape[1], axis=1)
