"""From 8-bit pictures to the range that the networks see."""

import numpy as np
import torch
from torch import Tensor


def to_model_range(images: np.ndarray) -> Tensor:
    """Images (N, C, H, W) from the 0..255 scale to float32 in [-1, 1]: x / 127.5 - 1."""
    return torch.from_numpy(images).float() / 127.5 - 1
