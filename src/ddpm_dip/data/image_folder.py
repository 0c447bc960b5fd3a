"""Any folder of images, sub-folders included: centre crop to a square, resize, to grey or RGB. No labels."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError
from . import CHANNELS, Loaded, Options, check_root, prepare

if TYPE_CHECKING:
    from PIL.Image import Image

LABELLED = False
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif"}


def image_files(root: Path) -> Iterator[Path]:
    """Image files by their suffix; hidden ones are left out (macOS leaves `._name.jpg` beside `name.jpg`)."""
    for path in root.rglob("*"):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and not path.is_dir():
            yield path


def check(options: Options) -> None:
    """Raises UserError where `options.root` is not a folder or holds no image file."""
    if options.root is None:
        raise UserError(f"data.root is not set; data.dataset '{options.dataset}' needs it: a folder with images")
    root = check_root(options)
    if next(image_files(root), None) is None:
        raise UserError(f"data.root: '{root}' holds no image; it must hold files of {', '.join(sorted(SUFFIXES))}")


def load(options: Options) -> Loaded:
    """All images, sorted by path. Raises UserError naming a file that cannot be read."""
    paths = sorted(image_files(check_root(options)))
    return Loaded(
        prepare(paths, options, lambda path: open_square(path, options.channels)),
        np.empty(0, np.int64),
        None,
        paths,
    )


def open_square(path: Path, channels: int) -> "Image":
    """The middle square of an image, upright, 8-bit grey or RGB. Of an animation, the first frame.

    Transparent images are composited on white; 16-bit grey is divided by 257.
    Raises UserError naming a file that is empty, damaged, no image, or too large to be decoded safely.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                image = ImageOps.exif_transpose(file)
        if image.mode.startswith("I"):
            image = Image.fromarray(np.round(np.asarray(image) / 257).astype(np.uint8))
        if image.has_transparency_data:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        # in colour before grey: a palette's grey is that of its colours
        image = image.convert("RGB" if image.mode != "L" else "L").convert(CHANNELS[channels])
    except Exception as error:  # Pillow's decoders raise a dozen kinds
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: cannot be read as an image ({reason}); repair or remove it") from error
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))
