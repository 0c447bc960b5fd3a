"""Measures of neighbourhoods in a feature space, from Euclidean distances that are taken once for all of them.

`to_reference` (n, m): distances from samples to reference images. `near` (n, G, 5) and `reference_near` (m, G, 5): from
each sample to the nearest other samples of each of G blocks, and likewise among the reference images, as
`distances.by_block` has them; so that to leave a block out is to leave out its part of the array.
"""

import numpy as np

NEAREST = 5  # the largest neighbourhood of the measures below
NEIGHBOURHOOD = 3  # of precision and recall


def radii(near: np.ndarray, k: int) -> np.ndarray:
    """The distance (N,) from each row to its k-th nearest other one; k at most 5."""
    return np.partition(near.reshape(len(near), -1), k - 1, axis=1)[:, k - 1]


def precision(to_reference: np.ndarray, reference_near: np.ndarray) -> float:
    """Share of samples within the ball of some reference image, which reaches to its third nearest (k = 3).

    Kynkaanniemi et al. 2019, "Improved precision and recall metric for assessing generative models", equation 2.
    """
    return (to_reference <= radii(reference_near, NEIGHBOURHOOD)).any(1).mean()


def recall(to_reference: np.ndarray, near: np.ndarray) -> float:
    """Share of reference images within the ball of some sample, which reaches to its third nearest (k = 3); as above.

    One sample far from all others has a huge ball, so that a few outliers can raise it.
    """
    return (to_reference <= radii(near, NEIGHBOURHOOD)[:, None]).any(0).mean()


def coverage(to_reference: np.ndarray, reference_near: np.ndarray) -> float:
    """Share of reference images whose ball, which reaches to the fifth nearest (k = 5), holds some sample.

    Naeem et al. 2020, "Reliable fidelity and diversity metrics for generative models", equation 4. It grows with the
    number of samples: as many from the reference's distribution as there are reference images have 1 - 2^-5 = 0.97.
    """
    return (to_reference.min(0) < radii(reference_near, NEAREST)).mean()


def nn_ratio(to_reference: np.ndarray, reference_near: np.ndarray) -> float:
    """Mean distance from a sample to the nearest reference image, in units of that between reference images.

    Infinite or NaN where the reference images are all alike.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.divide(to_reference.min(1).mean(), radii(reference_near, 1).mean())
