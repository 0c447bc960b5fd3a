"""Between two latents: straight lines and great circles, and how evenly the images along them change."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

# Radians. Below this angle both curves agree to 1e-14; as close to pi, rounding decides where the great circle goes.
PARALLEL = 1e-7


class Smoothness(NamedTuple):
    """How evenly strips of images change, from one end to the other; distances in units of the given points.

    steps: (pairs, points-1), between neighbours; path_length: (pairs,), their sum; end_to_end: (pairs,), between first
    and last point; path_ratio: (pairs,), path_length / end_to_end: 1 for a straight line, inf where the strip
    returns to its start; largest_share: (pairs,), the largest step's share of the path: 1 / (points-1) where all steps
    are equal, 1 where all change happens at once. A strip that never changes has NaN for both quotients.
    """

    steps: np.ndarray
    path_length: np.ndarray
    end_to_end: np.ndarray
    path_ratio: np.ndarray
    largest_share: np.ndarray


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


def smoothness(points: np.ndarray) -> Smoothness:
    """Measures of strips (pairs, points, D), each a strip of images as features or flattened pixels, in float64.

    Distances are Euclidean. Raises ValueError where the shape is another, there are fewer than 2 points, or where a
    value is NaN or infinite.
    """
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 3 or points.shape[1] < 2:
        raise ValueError(f"the shape must be (pairs, points, D) with at least 2 points, not {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError("NaN or infinite values")
    steps = np.linalg.norm(np.diff(points, axis=1), axis=-1)
    path_length = steps.sum(1)
    end_to_end = np.linalg.norm(points[:, -1] - points[:, 0], axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return Smoothness(steps, path_length, end_to_end, path_length / end_to_end, steps.max(1) / path_length)
