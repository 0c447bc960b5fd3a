"""What a start gives, against what the chain expects at t = K - 1; no model has a part in it.

Training images x_0 noised to that level have the mean sqrt(a) mu and the covariance a S + (1 - a) I, with a =
alphas_cumprod[K - 1] and mu and S the mean and covariance of the training images in [-1, 1].
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.sparse.linalg import svds

AXES = 16  # principal axes of the training images, at most
SUBSET = 4096  # training images that these are found from
PART = 4096  # images taken at a time


class Training(NamedTuple):
    """Moments of the training images in [-1, 1], float64. Covariances are divided by their number.

    mean: (C, H, W); power: (bands,), as `band_power` has it; axes: (k, C H W), leading principal axes, orthonormal and
    of falling variance; covariance: (k, k), of the images along these.
    """

    mean: np.ndarray
    power: np.ndarray
    axes: np.ndarray
    covariance: np.ndarray


def bands(size: int) -> np.ndarray:
    """The radial band (size, size) of each of `np.fft.fft2`'s frequencies: its radius in cycles an image, rounded.

    Frequencies in the corners, beyond size // 2, are in the last band; so the bands hold all of an image's variance.
    """
    cycles = np.fft.fftfreq(size) * size
    return np.hypot(*np.meshgrid(cycles, cycles)).round().astype(int).clip(max=size // 2)


def band_power(centred: np.ndarray) -> np.ndarray:
    """The sum over images (N, C, S, S) of their power in each radial band, (S // 2 + 1,), a frequency and channel.

    Of the orthonormal Fourier transform: white noise of variance v has N v in each band.
    """
    size, channels = centred.shape[-1], centred.shape[1]
    band = bands(size).ravel()
    power = (np.abs(np.fft.fft2(centred, norm="ortho")) ** 2).sum((0, 1)).ravel()
    return np.bincount(band, power) / np.bincount(band) / channels


def training_moments(images: np.ndarray) -> Training:
    """The moments of training images (N, C, S, S) uint8.

    The axes are those of SUBSET of them, evenly spread over the set; the variance along them is that of all.
    """
    parts = [images[first : first + PART] for first in range(0, len(images), PART)]
    mean = images.mean(0, dtype=np.float64) / 127.5 - 1
    subset = images[:: math.ceil(len(images) / SUBSET)] / 127.5 - 1
    flat = (subset - subset.mean(0)).reshape(len(subset), -1)
    count = min(AXES, min(flat.shape) - 1)
    axes = svds(flat, count, v0=np.ones(min(flat.shape)))[2][::-1]
    power, products = 0, 0
    for part in parts:
        centred = part / 127.5 - 1 - mean
        along = centred.reshape(len(part), -1) @ axes.T
        power, products = power + band_power(centred), products + along.T @ along
    return Training(mean, power / len(images), axes, products / len(images))


def describe(starts: np.ndarray, training: Training, alpha_cumprod: float) -> tuple[dict[str, float], np.ndarray]:
    """Numbers of a start's states (n, C, S, S), n >= 8, and their power and the expected one in each band (2, bands).

    mean_error: root mean square over pixels of the difference of the means; sampling alone gives about sd / sqrt(n).
    variance_ratio: mean variance of a pixel over the expected one. spectrum_ratio: exp of the mean over radial bands of
    |log(power / expected power)|, of the states less their own mean; 1 is perfect. gaussian_kl: divergence of N(their
    mean, their covariance) from the expected Gaussian along the k leading principal axes of the training images, over
    k, in nats; k = min(16, n // 8), as few states have no covariance along more; infinite where they do not vary along
    one. gaussian_kl_floor: what n draws of the expected Gaussian itself have on average.
    """
    n, starts = len(starts), starts.astype(np.float64)
    noise = 1 - alpha_cumprod
    difference = starts.mean(0) - alpha_cumprod**0.5 * training.mean
    centred = starts - starts.mean(0)
    power, expected = band_power(centred) / (n - 1), alpha_cumprod * training.power + noise
    sizes = np.bincount(bands(starts.shape[-1]).ravel())  # as power, variance is a mean over frequencies

    k = min(len(training.axes), n // 8)
    axes = training.axes[:k]
    covariance = np.atleast_2d(np.cov(centred.reshape(n, -1) @ axes.T, rowvar=False))
    wanted = alpha_cumprod * training.covariance[:k, :k] + noise * np.eye(k)
    with np.errstate(divide="ignore"):
        ratio = np.abs(np.log(power / expected))
    numbers = {
        "mean_error": float(np.sqrt((difference**2).mean())),
        "variance_ratio": float(power @ sizes / (expected @ sizes)),
        "spectrum_ratio": float(np.exp(ratio.mean())),
        "gaussian_kl": gaussian_kl(axes @ difference.ravel(), covariance, wanted) / k,
        "gaussian_kl_floor": sampling_kl(n, k) / k,
        "axes": k,
    }
    return numbers, np.stack([power, expected])


def gaussian_kl(difference: np.ndarray, covariance: np.ndarray, expected: np.ndarray) -> float:
    """KL(N(m + difference, covariance) || N(m, expected)) in nats; infinite for a singular covariance (k, k)."""
    inverse = np.linalg.inv(expected)
    logs = np.linalg.slogdet(expected)[1] - np.linalg.slogdet(covariance)[1]
    return float(np.trace(inverse @ covariance) + difference @ inverse @ difference - len(difference) + logs) / 2


def sampling_kl(n: int, k: int) -> float:
    """The expectation of `gaussian_kl` for mean and covariance (divided by n - 1) of n draws of the expected Gaussian.

    Of k dimensions: (n - 1) covariance is Wishart there, with E log det = sum of digamma((n - i) / 2) + k log 2.
    """
    from scipy.special import digamma

    logs = digamma((n - np.arange(1, k + 1)) / 2).sum() + k * math.log(2 / (n - 1))
    return float(k / n - logs) / 2
