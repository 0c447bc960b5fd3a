"""The metrics by name. To add one: write its function here, and its entry in METRICS.

All else follows from the entry: what `evaluate` computes and says in its `--help`, and the columns of `cells.csv`.
NumPy only, so that a table can take its columns from here without importing torch.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .frechet import bootstrap_sd, frechet_distance


class Metric(NamedTuple):
    """A number that is measured of a cell's samples.

    function: called with what `needs` names, in that order; returns a float.
    meaning: one line that says what the number is, with its unit.
    needs: what the function takes. `features` (n, D) are the feature net's of the shown samples; `reference` (m, D) are
    the feature net's of half A of the reference images, shown likewise; `shown` (n, C, H, W) are the samples as a
    display shows them, in [0, 1]; `samples` (n, C, H, W) are as they were drawn, in the range of the model, [-1, 1].
    feature_net: the name in `features.FEATURE_NETS` of the net whose features it compares; None where it needs none.
    lower_is_better: False where higher is better, None where neither is.
    at_least: how many samples, and with `reference` also reference images, the function can do with.
    """

    function: Callable[..., float]
    meaning: str
    needs: tuple[str, ...]
    feature_net: str | None = None
    lower_is_better: bool | None = None
    at_least: int = 1

    @property
    def by_display(self) -> bool:
        """Whether the number depends on how the samples are shown."""
        return self.needs != ("samples",)


def sd_of_means(images: np.ndarray) -> float:
    """Standard deviation over images (N, C, H, W) of each image's mean, in units of the images."""
    return images.mean((1, 2, 3), dtype=np.float64).std()


# in the order of the table's columns
METRICS: dict[str, Metric] = {
    "fd_classifier": Metric(
        frechet_distance,
        "Fréchet distance of the classifier's features from those of the reference, in squared feature units",
        ("reference", "features"),
        feature_net="classifier",
        lower_is_better=True,
        at_least=2,
    ),
    "fd_classifier_sd": Metric(
        bootstrap_sd,
        "standard deviation of fd_classifier over 50 bootstrap resamples of the samples",
        ("reference", "features"),
        feature_net="classifier",
        at_least=2,
    ),
    "fd_classifier_2": Metric(
        frechet_distance,
        "the same distance in the features of a second classifier, which differs from the first by its seed alone",
        ("reference", "features"),
        feature_net="classifier-2",
        lower_is_better=True,
        at_least=2,
    ),
    "fid_inception": Metric(
        frechet_distance,
        "FID: Fréchet distance of Inception's features from those of the reference, as pytorch-fid computes it",
        ("reference", "features"),
        feature_net="inception",
        lower_is_better=True,
        at_least=2,
    ),
    "tone_sd": Metric(
        sd_of_means,
        "standard deviation over samples of the shown image's mean, where 0 is black and 1 white",
        ("shown",),
    ),
    "image_mean_sd": Metric(
        sd_of_means,
        "standard deviation over samples of the raw image's mean, the model's range being -1 to 1",
        ("samples",),
    ),
}
