"""Paths between two latents: straight lines and great circles."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

# Radians. Below this angle both curves agree to 1e-14. This close to pi, rounding decides where the great circle goes.
PARALLEL = 1e-7


def lerp(start: Tensor, end: Tensor, fractions: Sequence[float]) -> Tensor:
    """Linear interpolation: (1-f) start + f end for latents (N, ...), at each of `fractions` -> (N, fractions, ...).

    Computed in float64, returned in the type of `start`; exact at 0 and 1. The norm sags: halfway between two
    independent N(0, 1) latents it is 1/sqrt(2) of theirs.
    Raises ValueError where the shapes differ.
    """
    a, b = _pairs(start, end)
    f = torch.as_tensor(fractions, dtype=torch.float64, device=a.device)[:, None]
    return _strips((1 - f) * a + f * b, start)


def slerp(start: Tensor, end: Tensor, fractions: Sequence[float]) -> Tensor:
    """Spherical interpolation of latents (N, ...), at each of `fractions` -> (N, fractions, ...).

    sin((1-f) angle) / sin(angle) start + sin(f angle) / sin(angle) end (Shoemake 1985), with the angle between two
    latents, taken as vectors of all their dimensions; for latents of a Gaussian prior (White 2016). Norms are not
    touched: unit vectors stay unit vectors, between others the norm changes with f. Nearly parallel latents, and those
    of norm 0, have no great circle of their own, and `lerp` is the limit.
    Computed in float64, returned in the type of `start`; exact at 0 and 1.
    Raises ValueError where the shapes differ, or where two latents are opposite: every great circle is as good.
    """
    a, b = _pairs(start, end)
    f = torch.as_tensor(fractions, dtype=torch.float64, device=a.device)[:, None]
    angle = _angles(a, b)
    if (angle > torch.pi - PARALLEL).any():
        raise ValueError(f"pair {int(angle.argmax())}: the two latents are opposite, no great circle is the shortest")
    parallel = angle < PARALLEL
    angle = torch.where(parallel, 1.0, angle)  # any angle with a sine, the result is not used
    weight_a = torch.where(parallel, 1 - f, torch.sin((1 - f) * angle) / torch.sin(angle))
    weight_b = torch.where(parallel, f, torch.sin(f * angle) / torch.sin(angle))
    return _strips(weight_a * a + weight_b * b, start)


def _angles(a: Tensor, b: Tensor) -> Tensor:
    """Angles (N, 1, 1) between vectors (N, 1, D), 0 where one is zero; unlike the arc cosine, exact at 0 and pi too."""
    tiny = torch.finfo(a.dtype).tiny
    lengths = [x.norm(dim=-1, keepdim=True) for x in (a, b)]
    u, v = (x / length.clamp_min(tiny) for x, length in zip((a, b), lengths, strict=True))
    angle = 2 * torch.atan2((u - v).norm(dim=-1, keepdim=True), (u + v).norm(dim=-1, keepdim=True))
    return torch.where((lengths[0] > 0) & (lengths[1] > 0), angle, 0.0)


def _pairs(start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    if start.shape != end.shape:
        raise ValueError(f"latents of two shapes: {tuple(start.shape)} and {tuple(end.shape)}")
    shape = (len(start), 1, math.prod(start.shape[1:]))
    return start.double().reshape(shape), end.double().reshape(shape)


def _strips(vectors: Tensor, like: Tensor) -> Tensor:
    return vectors.reshape(*vectors.shape[:2], *like.shape[1:]).to(like.dtype)
