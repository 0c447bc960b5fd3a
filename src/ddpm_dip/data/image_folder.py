"""Any folder of images, sub-folders included. An archive file, or the address of one, will do, too.

Labels are by sub-folder, as torchvision's ImageFolder has them: where all images lie in two or more folders directly
below the root, each of these is a class, numbered by name. Else, and in an archive, there are none. Of each image the
middle square is taken, resized, and turned to grey or RGB.
"""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..jobs.errors import UserError
from ..jobs.files import expanded
from . import ARCHIVES, CHANNELS, Loaded, Options, Sizes, archives, is_packed, prepare

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif"}


def image_files(root: Path) -> Iterator[Path]:
    """All files below `root` with the suffix of an image, but for hidden ones: macOS leaves `._name.jpg` as well.

    Links to folders are not followed. Raises UserError naming a folder that cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be listed ({error.strerror}); make it readable") from error

    for folder, _, names in os.walk(root, onerror=refuse):
        for name in names:
            path = Path(folder, name)
            if path.suffix.lower() in SUFFIXES and not name.startswith("."):
                yield path


def classes(root: Path) -> list[str]:
    """The names of the folders directly below `root` that are classes, sorted; [] where the images have no labels."""
    found = set()
    for path in image_files(root):
        folder, *rest = path.relative_to(root).parts
        if not rest:
            return []
        found.add(folder)
    return sorted(found) if len(found) > 1 else []


def labelled(options: Options) -> bool:
    """Whether the images have labels. What is in an archive is not looked at, and has none."""
    if options.root is None or is_packed(options.root):
        return False
    return bool(classes(expanded(options.root)))


def sizes(options: Options) -> Sizes | None:
    """None of an archive."""
    if options.root is None or is_packed(options.root):
        return None
    images = sum(1 for _ in image_files(expanded(options.root)))
    return Sizes(images, images - 1)


def check(options: Options) -> None:
    """Raises UserError where `options.root` is not a folder with an image file, nor an archive, nor an address.

    What is in an archive shows only when it is loaded.
    """
    if options.root is None:
        raise UserError(f"data.root is not set; data.dataset '{options.dataset}' needs it: a folder with images")
    if is_packed(options.root):
        archives.check(options)
        return
    root = expanded(options.root)
    if not os.path.isdir(root):
        raise UserError(
            f"data.root: '{root}' is not a folder; give a folder with images, an archive of one "
            f"({', '.join(ARCHIVES)}), or an archive's address (http or https)"
        )
    check_images(root, options)


def check_images(folder: Path, options: Options) -> None:
    """Raises UserError where there is no image file below `folder`."""
    if next(image_files(folder), None) is None:
        suffixes = ", ".join(sorted(SUFFIXES))
        raise UserError(f"data.root: '{options.root}' holds no image; it must hold files of {suffixes}")


def load(options: Options) -> Loaded:
    """All images, sorted by path. The source file of an archive's images is the archive.

    Raises UserError naming a file that cannot be read, and as `archives.fetch` does.
    """
    if not is_packed(options.root):
        root = expanded(options.root)
        paths, names = sorted(image_files(root)), classes(root)
        labels = [names.index(path.relative_to(root).parts[0]) for path in paths] if names else []
        return Loaded(read(paths, options), np.array(labels, np.int64), None, paths)
    archive, folder = archives.fetch(options)
    check_images(folder, options)
    try:
        images = read(sorted(image_files(folder)), options)
    except UserError as error:
        raise UserError(f"data.root: '{options.root}', unpacked: {error}") from error
    return Loaded(images, np.empty(0, np.int64), None, [archive])


def read(paths: list[Path], options: Options) -> np.ndarray:
    """The images of some files, (N, C, H, W) uint8. Raises UserError as `open_square` and `prepare` do."""
    return prepare(paths, options, lambda path: open_square(path, options.channels))


def open_square(path: Path, channels: int) -> "Image":
    """The middle square of an image, upright, 8-bit grey or RGB; of an animation that of the first frame.

    Transparent images are composited on white, and 16-bit grey is divided by 257. Raises UserError naming a file that
    is empty, damaged, no image, or too large to be decoded safely.
    """
    from PIL import Image, ImageOps

    try:
        if path.exists() and not path.is_file():
            raise OSError("neither a file nor a link to one")  # to open a named pipe would wait for ever
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
        raise UserError(f"{path}: cannot be read as an image ({reason}); repair it, or move it elsewhere") from error
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))
