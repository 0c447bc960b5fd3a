"""Keyed randomness: a sample's noise is a function of (seed, stream, sample index, timestep) and of nothing else.

Philox (Salmon et al. 2011) is a counter-based generator: each key has a stream of its own, so that a key names its
noise whatever was drawn before, in whatever batch. All arms share a stream's noise, so that differences are paired.
"""

import math
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


MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)  # added to the key's two words after each round
WORD = 0xFFFFFFFF


def philox4x32(counter: Sequence[Tensor], key: Sequence[int]) -> list[Tensor]:
    """Philox4x32-10 (Salmon et al. 2011, section 4.3): four words of 32 random bits, in int64 tensors.

    counter: four int64 tensors of words, of one shape once broadcast; key: two words.
    """
    c0, c1, c2, c3 = counter
    for turn in range(10):
        k0, k1 = ((word + turn * weyl) & WORD for word, weyl in zip(key, WEYL, strict=True))
        product_0, product_1 = MULTIPLIERS[0] * c0, MULTIPLIERS[1] * c2
        high_0, high_1 = (product >> 32 & WORD for product in (product_0, product_1))
        c0, c1, c2, c3 = high_1 ^ c1 ^ k0, product_1 & WORD, high_0 ^ c3 ^ k1, product_0 & WORD
    return [c0, c1, c2, c3]


def device_noise(seed: int, stream: str, indices: Tensor, shape: tuple[int, ...], timesteps: Tensor) -> Tensor:
    """N(0, 1) noise (len(timesteps), len(indices), *shape), float32, made where `indices` (int64) is.

    As keyed as `keyed_noise`, and other numbers: NumPy's way from bits to normals is no parallel one. Here it is Box
    and Muller's.
    """
    size = math.prod(shape)
    block = torch.arange(-(-size // 4), device=indices.device)
    index = indices[:, None]
    words = philox4x32(
        (block, index & WORD, timesteps[:, None, None], index >> 32 | STREAMS[stream] << 24),
        (seed & WORD, seed >> 32 & WORD),
    )
    radii = [((word.float() + 0.5) * 2**-32).log().mul(-2).sqrt() for word in words[:2]]
    angles = [word.float() * (2 * math.pi * 2**-32) for word in words[2:]]
    pairs = [
        radius * wave(angle) for radius, angle in zip(radii, angles, strict=True) for wave in (torch.cos, torch.sin)
    ]
    noise = torch.cat(pairs, dim=-1)[..., :size]
    return noise.reshape(len(timesteps), len(indices), *shape)
