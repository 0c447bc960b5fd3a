"""How evenly the images along a path between two latents change."""

from typing import NamedTuple

import numpy as np


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


def smoothness(points: np.ndarray) -> Smoothness:
    """Measures of strips (pairs, points, D), each a strip of images as features or flattened pixels, in float64.

    Distances are Euclidean. Raises ValueError where the shape is another, where there are fewer than 2 points, or where
    a value is NaN or infinite.
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
