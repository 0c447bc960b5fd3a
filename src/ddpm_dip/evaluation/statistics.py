"""What differences are worth: distances with a standard error, and decisions with a known error rate.

The unit of a claim about a way of training is the replicate; within one net it is a block of samples. Nothing here
reads files or knows of cells. SciPy is imported where it is used: to load it takes longer than most figures do.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from .frechet import frechet_distance

BLOCKS = 8
LEVEL = 0.95
POWER = 0.8


class Jackknife(NamedTuple):
    """A distance with its bias taken out. pseudo_values (blocks,): their mean is the estimate."""

    estimate: float
    standard_error: float
    pseudo_values: np.ndarray


def pseudo_values(
    function: Callable[[Mapping[str, np.ndarray]], Sequence[float]],
    arrays: Mapping[str, np.ndarray],
    blocked: Mapping[str, int],
    blocks: int = BLOCKS,
) -> tuple[np.ndarray, np.ndarray]:
    """What `function` gives of arrays by name, (k,), and its jackknife pseudo-values, (G, k).

    Along the first blocked[name] dimensions of an array, index i is of block i mod G. With a block left out of all of
    them, T_(-g) gives the pseudo-value G T - (G - 1) T_(-g); their mean estimates T without the bias of finite numbers,
    and their spread its error (Quenouille 1956; Tukey 1958). As row i is of block i mod G, arms with the same numbers
    of samples can be compared block by block. A function that is a mean of rows has its blocks' means as pseudo-values,
    where the blocks are of one size.
    """
    whole = np.array(function(arrays), dtype=np.float64)

    def without(g: int) -> dict[str, np.ndarray]:
        kept = {
            name: np.ix_(*(np.arange(size) % blocks != g for size in array.shape[: blocked[name]]))
            for name, array in arrays.items()
        }
        return {name: array[kept[name]] for name, array in arrays.items()}

    return whole, blocks * whole - (blocks - 1) * np.array([function(without(g)) for g in range(blocks)])


def standard_error(pseudo: np.ndarray) -> float:
    """Of the mean of pseudo-values (G,)."""
    return float(np.std(pseudo, ddof=1) / np.sqrt(len(pseudo)))


def jackknife_frechet(features: np.ndarray, reference: np.ndarray, blocks: int = BLOCKS) -> Jackknife:
    """The Frechet distance of features (N, D) from reference features (M, D), jackknifed over blocks of both.

    See `pseudo_values`. Raises ValueError as `frechet_distance` does, and where a block would be too small.
    """
    if min(len(features), len(reference)) < 2 * blocks:
        raise ValueError(
            f"{len(features)} samples and {len(reference)} reference images are too few for {blocks} blocks"
        )
    arrays = {"features": np.asarray(features), "reference": np.asarray(reference)}
    _, pseudo = pseudo_values(lambda kept: [frechet_distance(*kept.values())], arrays, dict.fromkeys(arrays, 1), blocks)
    return Jackknife(float(pseudo.mean()), standard_error(pseudo[:, 0]), pseudo[:, 0])


def energy_distance(features: np.ndarray, reference: np.ndarray) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| of features (N, D) and (M, D) (Szekely & Rizzo 2013), unbiased.

    In units of the features; it may be below zero where the two are of one distribution. Raises ValueError for less
    than two rows, or where the two D differ.
    """
    from scipy.spatial.distance import cdist

    x, y = (np.asarray(a, dtype=np.float64) for a in (features, reference))
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(f"features must be (N, D) and (M, D) with at least two rows, not {x.shape} and {y.shape}")
    return energy_of_distances(cdist(x, y), cdist(x, x), cdist(y, y))


def energy_of_distances(across: np.ndarray, sums: np.ndarray, reference_sums: np.ndarray) -> float:
    """The same from Euclidean distances (N, M), and those within each set, (N, any) and (M, any), or sums of them."""
    within = [part.sum() / (len(part) * (len(part) - 1)) for part in (sums, reference_sums)]
    return float(2 * across.mean() - sum(within))


class Decision(NamedTuple):
    """What a test of `below zero` says of values, one a unit (a replicate or a block).

    estimate: their mean; ci_low, ci_high: its two-sided 95 % interval by Student's t; bound_low, bound_high: its
    one-sided 95 % bounds, which decide; p: one-sided, of a mean that is below zero; mde: the smallest true effect that
    so many units would find with 80 % probability.
    """

    estimate: float
    ci_low: float
    ci_high: float
    bound_low: float
    bound_high: float
    p: float
    mde: float
    verdict: str


def decide(values: Sequence[float]) -> Decision:
    """Whether the mean of the values is below zero: supported, refuted (it is above), or inconclusive.

    Each side has an error rate of 5 %: the upper one-sided 95 % bound is below zero, or the lower one above it. Values
    without spread are a point. Raises ValueError for less than two values, and for one that is not finite.
    """
    from scipy import stats

    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2 or not np.isfinite(values).all():
        raise ValueError("there must be two or more values, and all of them finite")
    n, mean = len(values), float(values.mean())
    error = float(values.std(ddof=1)) / np.sqrt(n)
    both, one = stats.t.ppf([(1 + LEVEL) / 2, LEVEL], n - 1)
    p = float(stats.t.cdf(mean / error, n - 1)) if error else float(mean >= 0)
    interval, bounds = (mean - both * error, mean + both * error), (mean - one * error, mean + one * error)
    verdict = "supported" if bounds[1] < 0 else "refuted" if bounds[0] > 0 else "inconclusive"
    return Decision(mean, *interval, *bounds, p, float((one + stats.t.ppf(POWER, n - 1)) * error), verdict)


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
