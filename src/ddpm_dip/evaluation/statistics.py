"""What differences are worth: distances with a standard error, and decisions with a known error rate.

The unit of a claim about a way of training is the replicate; within one net it is a block of samples. Nothing here
reads files or knows of cells.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.spatial.distance import cdist

from .frechet import frechet_distance

BLOCKS = 8
LEVEL = 0.95
POWER = 0.8


class Jackknife(NamedTuple):
    """A distance with its bias taken out. pseudo_values (blocks,): their mean is the estimate."""

    estimate: float
    standard_error: float
    pseudo_values: np.ndarray


def jackknife_frechet(features: np.ndarray, reference: np.ndarray, blocks: int = BLOCKS) -> Jackknife:
    """The Frechet distance of features (N, D) from reference features (M, D), jackknifed over blocks of both.

    With the block g of samples and that of reference images left out, FD_(-g) gives the pseudo-value
    G FD - (G - 1) FD_(-g); their mean estimates the distance without the bias of finite N and M, and their spread its
    error (Quenouille 1956; Tukey 1958). Row i is of block i mod G, so that arms with the same numbers of samples can be
    compared block by block. Raises ValueError as `frechet_distance` does, and where a block would be too small.
    """
    if min(len(features), len(reference)) < 2 * blocks:
        raise ValueError(
            f"{len(features)} samples and {len(reference)} reference images are too few for {blocks} blocks"
        )
    whole = frechet_distance(features, reference)
    of_features, of_reference = (np.arange(len(x)) % blocks for x in (features, reference))
    without = [frechet_distance(features[of_features != g], reference[of_reference != g]) for g in range(blocks)]
    pseudo = blocks * whole - (blocks - 1) * np.array(without)
    return Jackknife(float(pseudo.mean()), float(pseudo.std(ddof=1) / np.sqrt(blocks)), pseudo)


def energy_distance(features: np.ndarray, reference: np.ndarray) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| of features (N, D) and (M, D) (Szekely & Rizzo 2013), unbiased.

    In units of the features; it may be below zero where the two are of one distribution. Raises ValueError for less
    than two rows, or where the two D differ.
    """
    x, y = (np.asarray(a, dtype=np.float64) for a in (features, reference))
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(f"features must be (N, D) and (M, D) with at least two rows, not {x.shape} and {y.shape}")
    within = [cdist(a, a).sum() / (len(a) * (len(a) - 1)) for a in (x, y)]
    return float(2 * cdist(x, y).mean() - sum(within))


class Decision(NamedTuple):
    """What a test of `below zero` says of values, one a unit (a replicate or a block).

    estimate: their mean; ci_low, ci_high: its two-sided 95 % interval by Student's t; p: one-sided, of a mean that is
    below zero; mde: the smallest true effect that so many units would find with 80 % probability.
    """

    estimate: float
    ci_low: float
    ci_high: float
    p: float
    mde: float
    verdict: str


def decide(values: Sequence[float]) -> Decision:
    """Whether the mean of the values is below zero: supported, refuted (it is above), or inconclusive.

    Each side has an error rate of 5 %: the upper one-sided 95 % bound is below zero, or the lower one above it. Values
    without spread are a point. A value that is infinite or NaN counts as the worst there is, above zero. Raises
    ValueError for less than two values.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2:
        raise ValueError("one value has no spread: there must be two or more")
    if not np.isfinite(values).all():
        return Decision(np.inf, np.inf, np.inf, 1.0, np.inf, "refuted")
    n, mean = len(values), float(values.mean())
    error = float(values.std(ddof=1)) / np.sqrt(n)
    both, one = stats.t.ppf([(1 + LEVEL) / 2, LEVEL], n - 1)
    p = float(stats.t.cdf(mean / error, n - 1)) if error else float(mean >= 0)
    verdict = "supported" if mean + one * error < 0 else "refuted" if mean - one * error > 0 else "inconclusive"
    return Decision(
        mean, mean - both * error, mean + both * error, p, float((one + stats.t.ppf(POWER, n - 1)) * error), verdict
    )


def contrast(a: np.ndarray, b: np.ndarray, margin: float = 0.0) -> np.ndarray:
    """The values to decide by, a - (1 + margin) b unit by unit; below zero: better, or as good within the margin."""
    return np.asarray(a, dtype=np.float64) - (1 + margin) * np.asarray(b, dtype=np.float64)


def holm(p: Sequence[float]) -> np.ndarray:
    """Holm's adjusted p-values (1979), in the order given: below alpha with a family-wise error of at most alpha."""
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order]).clip(max=1)
    result = np.empty_like(p)
    result[order] = adjusted
    return result
