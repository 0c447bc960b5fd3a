"""The metrics by name. To add one: write its function here, and its entry in METRICS.

All else follows from the entry: what `evaluate` computes and says in its `--help`, the columns of `cells.csv`, and the
rows of `pseudo.csv`. NumPy only, so that a table can take its columns from here without importing torch.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from . import displays, haar, neighbours
from .frechet import frechet_distance
from .statistics import BLOCKS, energy_of_distances, pseudo_values, standard_error

# What a metric can be given: how many of the array's first dimensions are numbered as the samples or as the reference
# images are, so that a block of them can be left out. Features are a feature net's, of the shown images; reference is
# half A of the reference images; n samples, m reference images, G blocks.
GIVEN = {
    "samples": 1,  # (n, C, H, W), as they were drawn, in the range of the model, [-1, 1]
    "shown": 1,  # (n, C, H, W), as a display shows them, in [0, 1]
    "features": 1,  # (n, D)
    "classes": 1,  # (n,), as the feature net predicts them; of a net that does
    "reference": 1,  # (m, D), features
    "to_reference": 2,  # (n, m), Euclidean distances of features
    "sums": 2,  # (n, G), and
    "near": 2,  # (n, G, 5): from each sample to the others, by block, as `distances.by_block` has them
    "reference_sums": 2,  # (m, G), and
    "reference_near": 2,  # (m, G, 5): likewise among the reference images
}
TWO_A_BLOCK = 2 * BLOCKS


class Metric(NamedTuple):
    """A number that is measured of a cell's samples.

    function: called with what `needs` names, in that order; returns a float.
    meaning: one line that says what the number is, with its unit.
    needs: what the function takes: names of GIVEN, or the name of another metric alone, for that one's pseudo-values.
    feature_net: the name in `features.FEATURE_NETS` of the net whose features it compares; None where it needs none.
    lower_is_better: False where higher is better, None where neither is.
    at_least: how many samples, and with `reference` also reference images, the function can do with.
    jackknifed: whether the number is the mean of its pseudo-values, so that it has no bias of finite numbers.
    in_claims: whether its pseudo-values are kept (see `statistics.pseudo_values`), so that a claim may be about it.
    takes_any: whether samples may be NaN or infinite; every other metric has no value then.
    """

    function: Callable[..., float]
    meaning: str
    needs: tuple[str, ...]
    feature_net: str | None = None
    lower_is_better: bool | None = None
    at_least: int = 1
    jackknifed: bool = False
    in_claims: bool = True
    takes_any: bool = False

    @property
    def by_display(self) -> bool:
        """Whether the number depends on how the samples are shown."""
        return self.needs != ("samples",)

    @property
    def of_reference(self) -> bool:
        """Whether it compares with the reference images."""
        return any("reference" in need or need in METRICS and METRICS[need].of_reference for need in self.needs)


def sd_of_means(images: np.ndarray) -> float:
    """Standard deviation over images (N, C, H, W) of each image's mean, in units of the images."""
    return images.mean((1, 2, 3), dtype=np.float64).std()


def noise_left(images: np.ndarray) -> float:
    """Mean over images (N, C, H, W) of the estimated sd of the noise in each, in units of the images."""
    return haar.noise_sd(images).mean(dtype=np.float64)


def entropy(classes: np.ndarray) -> float:
    """Entropy in nats of how often each class occurs in (N,)."""
    shares = np.unique(classes, return_counts=True)[1] / len(classes)
    return -(shares * np.log(shares)).sum()


def diverged_share(samples: np.ndarray) -> float:
    """Share of the samples (N, C, H, W) that cannot be measured."""
    return displays.diverged(samples).mean()


# in the order of the table's columns
METRICS: dict[str, Metric] = {
    "fd_classifier": Metric(
        frechet_distance,
        "Fréchet distance of the classifier's features from those of the reference, jackknifed, in squared feature "
        "units; near 0 for real images, or below",
        ("features", "reference"),
        feature_net="classifier",
        lower_is_better=True,
        at_least=TWO_A_BLOCK,
        jackknifed=True,
    ),
    "fd_classifier_se": Metric(
        standard_error,
        "standard error of fd_classifier over blocks of samples and reference images; it says nothing of another "
        "training",
        ("fd_classifier",),
        feature_net="classifier",
        at_least=TWO_A_BLOCK,
        in_claims=False,
    ),
    "energy_classifier": Metric(
        energy_of_distances,
        "energy distance of the same features, unbiased, in feature units; near 0 for real images, or below",
        ("to_reference", "sums", "reference_sums"),
        feature_net="classifier",
        lower_is_better=True,
        at_least=2,
    ),
    "fd_classifier_2": Metric(
        frechet_distance,
        "as fd_classifier, in the features of a second classifier, which differs from the first by its seed alone",
        ("features", "reference"),
        feature_net="classifier-2",
        lower_is_better=True,
        at_least=TWO_A_BLOCK,
        jackknifed=True,
    ),
    "fid_inception": Metric(
        frechet_distance,
        "FID: Fréchet distance of Inception's features from those of the reference, as pytorch-fid computes it, with "
        "its bias",
        ("features", "reference"),
        feature_net="inception",
        lower_is_better=True,
        at_least=2,
        in_claims=False,
    ),
    "precision": Metric(
        neighbours.precision,
        "share of samples, 0 to 1, among the reference in the classifier's features: within an image's ball to its "
        "third nearest",
        ("to_reference", "reference_near"),
        feature_net="classifier",
        lower_is_better=False,
        at_least=neighbours.NEIGHBOURHOOD + 1,
    ),
    "recall": Metric(
        neighbours.recall,
        "share of reference images, 0 to 1, among the samples: within a sample's ball to its third nearest",
        ("to_reference", "near"),
        feature_net="classifier",
        lower_is_better=False,
        at_least=neighbours.NEIGHBOURHOOD + 1,
    ),
    "coverage": Metric(
        neighbours.coverage,
        "share of reference images, 0 to 1, with a sample within the ball to their fifth nearest; grows with n",
        ("to_reference", "reference_near"),
        feature_net="classifier",
        lower_is_better=False,
        at_least=neighbours.NEAREST + 1,
    ),
    "class_entropy": Metric(
        entropy,
        "entropy in nats of the classes that the classifier sees in the samples; ln(classes) where all are as frequent",
        ("classes",),
        feature_net="classifier",
        lower_is_better=False,
    ),
    "noise_mad": Metric(
        noise_left,
        "standard deviation of the noise left in the shown image, where 0 is black and 1 white, by its finest Haar "
        "coefficients; mean over samples",
        ("shown",),
        lower_is_better=True,
    ),
    "nn_ratio": Metric(
        neighbours.nn_ratio,
        "mean distance from a sample to the nearest reference image, over that between reference images: 1 as real "
        "ones, far below copies, above unlike any",
        ("to_reference", "reference_near"),
        feature_net="classifier",
        at_least=2,
    ),
    "tone_sd": Metric(
        sd_of_means,
        "standard deviation over samples of the shown image's mean, where 0 is black and 1 white; lower: more alike",
        ("shown",),
        lower_is_better=True,
    ),
    "image_mean_sd": Metric(
        sd_of_means,
        "standard deviation over samples of the raw image's mean, the model's range being -1 to 1; lower: more alike",
        ("samples",),
        lower_is_better=True,
    ),
    "diverged": Metric(
        diverged_share,
        "share of samples, 0 to 1, with NaN or infinite values; above 0, nothing else is measured",
        ("samples",),
        lower_is_better=True,
        in_claims=False,
        takes_any=True,
    ),
}

# the same of images without labels, on the features of a net that tells by how many quarters an image is turned
OF_ROTATIONS = {
    "fd_classifier": "fd_rotation",
    "fd_classifier_se": "fd_rotation_se",
    "energy_classifier": "energy_rotation",
    "fd_classifier_2": "fd_rotation_2",
    "precision": "precision_rotation",
    "recall": "recall_rotation",
    "coverage": "coverage_rotation",
}
for _name, _other in OF_ROTATIONS.items():
    _metric = METRICS[_name]
    METRICS[_other] = _metric._replace(
        meaning=f"as {_name}, of images without labels: in the features of a net that tells rotations",
        needs=tuple(OF_ROTATIONS.get(need, need) for need in _metric.needs),
        feature_net=_metric.feature_net.replace("classifier", "rotation"),
    )


def frechet_metrics() -> dict[str, str]:
    """Feature net -> the Frechet distance on it, which has a floor: the same of real images against real ones."""
    return {metric.feature_net: name for name, metric in METRICS.items() if metric.function is frechet_distance}


def measure(
    names: list[str], arrays: Mapping[str, np.ndarray]
) -> tuple[dict[str, float], dict[str, np.ndarray | None]]:
    """Values by metric, and pseudo-values (G,) of those that claims may be about.

    names: metrics, those whose pseudo-values another needs among them; arrays: of GIVEN. Pseudo-values are None where
    there are less than two samples or reference images a block. Raises ValueError where that leaves a jackknifed metric
    without a value. A value may be NaN or infinite.
    """
    wanted = {name: METRICS[name] for name in names if METRICS[name].needs[0] in GIVEN}
    used = {need: arrays[need] for metric in wanted.values() for need in metric.needs}

    def values(names: list[str]) -> Callable[[Mapping[str, np.ndarray]], list[float]]:
        return lambda given: [wanted[name].function(*(given[need] for need in wanted[name].needs)) for name in names]

    enough = all(len(array) >= TWO_A_BLOCK for array in used.values())
    if not enough and any(metric.jackknifed for metric in wanted.values()):
        raise ValueError(f"too few samples or reference images for {BLOCKS} blocks")
    blocked = [name for name, metric in wanted.items() if metric.in_claims and enough]
    parts = {need: used[need] for name in blocked for need in wanted[name].needs}
    whole, pseudo = pseudo_values(values(blocked), parts, GIVEN) if blocked else ((), np.empty((BLOCKS, 0)))
    found = dict(zip(blocked, pseudo.T, strict=True))
    plain = [name for name in wanted if name not in blocked]
    every = dict(zip(blocked, whole, strict=True)) | dict(zip(plain, values(plain)(used), strict=True))
    every |= {name: found[name].mean() for name in blocked if wanted[name].jackknifed}
    every |= {name: METRICS[name].function(found[METRICS[name].needs[0]]) for name in names if name not in wanted}
    kept = {name: found.get(name) for name in names if METRICS[name].in_claims}
    return {name: float(every[name]) for name in names}, kept
