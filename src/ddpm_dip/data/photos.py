"""Patches of the two photographs that scikit-learn ships, a pagoda and a dahlia: natural images without a download.

Patches overlap: after a random split, nearly all pixels of the held-out ones would be in the training data. Instead,
each photograph is cut along the axis of its subject. The train part lies right of the axis; the test part has as many
columns left of it, and is mirrored. The parts have no pixel in common and show nearly the same, as both subjects are
nearly symmetric. There are no labels.
"""

from pathlib import Path

import numpy as np

from ..jobs.errors import UserError
from . import Loaded, Options, Sizes, prepare

LABELLED = False
CUTS = {"china.jpg": 206, "flower.jpg": 306}  # column of the axis, pixels from the left
SIDE = 128  # pixels of a photograph that a patch takes: two storeys of the pagoda, a third of the dahlia
STRIDE = 5  # pixels from patch to patch, in both directions
CONTRAST = 20  # grey levels; below, a patch shows nothing but sky or blurred background
IMAGE_SIZE = 64  # pixels, where Options has none


def check(options: Options) -> None:
    """Raises UserError where a root is given: these photographs come with scikit-learn."""
    if options.root is not None:
        raise UserError(
            "data.root is set, but data.dataset 'photos' comes with scikit-learn and needs none; leave it out"
        )


def sizes(options: Options) -> Sizes:
    return Sizes(4994, 2474)  # the test patches


def load(options: Options) -> Loaded:
    """2,520 train and 2,474 test patches, 64x64 unless `options.image_size` says otherwise.

    They are sorted by photograph, part (train first), row, and column from the axis outwards. Both parts are loaded
    whatever `options.split` says: without the test part, reference images would be drawn from among the overlapping
    train patches.
    """
    from PIL import Image
    from sklearn.datasets import load_sample_images

    photographs = load_sample_images()
    patches, is_test = [], []
    for path, pixels in zip(photographs.filenames, photographs.images, strict=True):
        cut = CUTS[Path(path).name]
        for part, held_out in ((pixels[:, cut : 2 * cut], False), (pixels[:, cut - 1 :: -1], True)):
            found = regular_patches(part)
            patches += found
            is_test += [held_out] * len(found)
    images = prepare(patches, options._replace(image_size=options.image_size or IMAGE_SIZE), Image.fromarray)
    return Loaded(images, np.empty(0, np.int64), np.array(is_test), [Path(path) for path in photographs.filenames])


def regular_patches(pixels: np.ndarray) -> list[np.ndarray]:
    """Patches (SIDE, SIDE, C) of pixels (H, W, C) uint8 at every STRIDE-th row and column, but for flat ones.

    A patch is flat where the standard deviation of its pixels, averaged over channels, is below CONTRAST.
    """
    height, width, _ = pixels.shape
    patches = [
        pixels[top : top + SIDE, left : left + SIDE]
        for top in range(0, height - SIDE + 1, STRIDE)
        for left in range(0, width - SIDE + 1, STRIDE)
    ]
    return [patch for patch in patches if patch.std((0, 1)).mean() >= CONTRAST]
