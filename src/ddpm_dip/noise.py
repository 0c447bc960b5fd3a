"""Keyed randomness: a sample's noise is a function of (seed, stream, sample index, timestep) and of nothing else.

Philox (Salmon et al. 2011) is a counter-based generator: each key has a stream of its own, so that a key names its
noise whatever was drawn before, in whatever batch. All arms share a stream's noise, so that differences are paired.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

STREAMS = {"latents": 1, "dip-latents": 2, "ancestral": 3, "gan-latents": 4}


def keyed_noise(seed: int, stream: str, indices: Sequence[int], shape: tuple[int, ...], t: int = 0) -> Tensor:
    """N(0, 1) noise (len(indices), *shape), float32. stream: a key of STREAMS; t: for the ancestral stream."""
    noise = np.empty((len(indices), *shape), dtype=np.float32)
    for row, index in zip(noise, indices, strict=True):
        key = seed << 64 | STREAMS[stream] << 56 | t << 40 | index
        np.random.Generator(np.random.Philox(key=key)).standard_normal(dtype=np.float32, out=row)
    return torch.from_numpy(noise)
