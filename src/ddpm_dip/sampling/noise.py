"""Keyed randomness: a sample's noise is a function of (seed, stream, sample index, timestep) and of nothing else.

Philox (Salmon et al. 2011) is a counter-based generator: each key has a stream of its own, so that a key names its
noise whatever was drawn before, in whatever batch. All arms share a stream's noise, so that differences are paired.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

STREAMS = {"latents": 1, "dip-latents": 2, "ancestral": 3, "gan-latents": 4, "choices": 5, "dip-moments": 6}


def keyed_noise(seed: int, stream: str, indices: Sequence[int], shape: tuple[int, ...], t: int = 0) -> Tensor:
    """N(0, 1) noise (len(indices), *shape), float32, on the CPU.

    seed: the cell's replicate; stream: a key of STREAMS; indices: the samples' numbers; t: the timestep, for the
    ancestral stream alone.
    """
    noise = np.empty((len(indices), *shape), dtype=np.float32)
    philox = np.random.Philox(key=0)
    generator, state = np.random.Generator(philox), philox.state
    for row, index in zip(noise, indices, strict=True):
        state["state"]["key"][:] = STREAMS[stream] << 56 | t << 40 | index, seed
        philox.state = state  # as Philox(key=...), which asks the system for entropy that it does not need
        generator.standard_normal(dtype=np.float32, out=row)
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
    """N(0, 1) noise (len(timesteps), len(indices), *shape), float32, made on the device of `indices` (int64).

    It has the keys of `keyed_noise` but gives other numbers: NumPy's way from random bits to normals cannot run in
    parallel, and Box and Muller's (1958), used here, can.
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


def ancestral_noise(
    seed: int, indices: Sequence[int], shape: tuple[int, ...], device: str = "cpu"
) -> Callable[[int | Tensor], Tensor]:
    """A function of t that gives the noise of a chain's steps for the samples `indices`, each of `shape`.

    For one timestep, an int, it gives (n, *shape) on the CPU; for a tensor of timesteps (k,), (k, n, *shape) on its
    device. device: where the net computes. The noise is `keyed_noise` where that is the CPU and t is an int, else
    `device_noise`.
    """
    on_device = torch.tensor(indices, device=device)

    def noise(t: int | Tensor) -> Tensor:
        if isinstance(t, Tensor):
            return device_noise(seed, "ancestral", on_device, shape, t)
        if device == "cpu":
            return keyed_noise(seed, "ancestral", indices, shape, t)
        return device_noise(seed, "ancestral", on_device, shape, torch.tensor([t], device=device))[0].cpu()

    return noise
