"""The 1,797 handwritten digits of 8x8 pixels that scikit-learn ships: no download."""

import numpy as np

from ..jobs.errors import UserError
from . import Loaded, Options, Sizes, prepare


def check(options: Options) -> None:
    """Raises UserError where a root is given: these digits come with scikit-learn."""
    if options.root is not None:
        raise UserError(
            "data.root is set, but data.dataset 'digits' comes with scikit-learn and needs none; leave it out"
        )


def sizes(options: Options) -> Sizes:
    return Sizes(1797, 1796)


def load(options: Options) -> Loaded:
    """All digits in scikit-learn's order, 0..16 scaled to 0..255."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    return Loaded(prepare(list(pixels), options, Image.fromarray), digits.target.astype(np.int64))
