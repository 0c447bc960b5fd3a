"""Euclidean distances of features. By PyTorch, which is there where features are made: to load SciPy takes 0.4 s."""

import numpy as np
import torch

from .neighbours import NEAREST
from .statistics import BLOCKS

ROWS = 1024  # whose distances are held at a time


def distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """From each row of (N, D) to each of (M, D): (N, M) float64; exactly 0 between equal rows."""
    x, y = (torch.from_numpy(features.astype(np.float64)) for features in (x, y))
    # by differences: a product of matrices would be off by 1e-8 of the rows' lengths, and so between copies
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").numpy()


def by_block(features: np.ndarray, blocks: int = BLOCKS) -> tuple[np.ndarray, np.ndarray]:
    """Of each row's distances to the others of (N, D): sums (N, G), and the nearest 5 (N, G, 5), by the other's block.

    Row i is of block i mod G. Where a block has fewer others than 5, the rest is infinite.
    """
    n = len(features)
    sums, near = np.empty((n, blocks)), np.full((n, blocks, NEAREST), np.inf)
    for begin in range(0, n, ROWS):
        rows = np.arange(begin, min(begin + ROWS, n))
        found = distances(features[rows], features)
        sums[rows] = np.stack([found[:, g::blocks].sum(1) for g in range(blocks)], axis=1)
        found[rows - begin, rows] = np.inf
        for g in range(blocks):
            part = found[:, g::blocks]
            if count := min(NEAREST, part.shape[1]):
                near[rows, g, :count] = np.partition(part, count - 1, axis=1)[:, :count]
    return sums, near
