"""How much white noise images have: Donoho & Johnstone 1994, "Ideal spatial adaptation by wavelet shrinkage"."""

import numpy as np

QUARTILE = 0.6744897501960817  # the median of |z|, z standard normal


def noise_sd(images: np.ndarray) -> np.ndarray:
    """The estimated standard deviation (N,) of white noise in each image of (N, C, H, W), in units of the pixels.

    median |HH1| / 0.6745, where HH1 are the diagonal coefficients of one orthonormal Haar step, (a - b - c + d) / 2 of
    each 2x2 square of pixels; of all channels together, and without the last row or column where their number is odd.
    Smooth and constant parts count nothing, edges hardly, and white noise of standard deviation s gives s. An image of
    which most squares are constant has 0. NaN where an image is not finite.
    """
    height, width = (size // 2 * 2 for size in images.shape[2:])
    even = images[:, :, :height, :width]
    with np.errstate(over="ignore", invalid="ignore"):
        hh = (even[..., ::2, ::2] - even[..., ::2, 1::2] - even[..., 1::2, ::2] + even[..., 1::2, 1::2]) / 2
        return np.median(np.abs(hh).reshape(len(images), -1), axis=1) / QUARTILE
