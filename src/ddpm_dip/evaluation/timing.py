"""Times compared: rounds are the replicates, and what was measured in one round is a pair."""

import numpy as np


def log_ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """log(a / b) of two cells' seconds (rounds,), round by round: below zero, a takes less time.

    They are what `statistics.decide` takes; exp of its estimate and bounds are ratios of times. Raises ValueError where
    the rounds are not the same.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"the times of the same rounds, not of {a.shape} and {b.shape}")
    return np.log(a) - np.log(b)
