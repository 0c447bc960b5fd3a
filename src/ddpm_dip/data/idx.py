"""What MNIST, Fashion-MNIST and KMNIST share: four IDX files, from a folder or downloaded by torchvision."""

import gzip
import socket
import struct
import tempfile
import zlib
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

import numpy as np

from ..jobs.errors import UserError
from ..jobs.files import expanded
from . import Loaded, Options, Sizes, check_root, prepare

IMAGES = bytes([0, 0, 8, 3])  # how a file of images begins: unsigned bytes, three dimensions
COUNTS = {"train": 60_000, "test": 10_000}  # images
PREFIXES = {"train": "train", "test": "t10k"}  # split -> how the names of its two files begin


def needed_files(split: str) -> list[str]:
    """The names of the original files that a split needs, images and labels in turn."""
    splits = PREFIXES if split == "both" else [split]
    return [f"{PREFIXES[name]}-{kind}-ubyte.gz" for name in splits for kind in ("images-idx3", "labels-idx1")]


def find_file(root: Path, name: str) -> Path | None:
    """The path of the original file `name` in a folder, or of the same file unpacked; None where neither is there."""
    return next((path for path in (root / name, root / name.removesuffix(".gz")) if path.is_file()), None)


def check(options: Options) -> None:
    """Raises UserError where `options.root` is given and lacks a file that `options.split` needs."""
    if options.root is None:
        return
    root = check_root(options)
    missing = [name for name in needed_files(options.split) if find_file(root, name) is None]
    if missing:
        raise UserError(
            f"data.root: '{root}' has no {', '.join(missing)} (nor the same unpacked), needed for data.split "
            f"'{options.split}'; put the original files there, or choose a data.split whose files are there"
        )


def sizes(options: Options) -> Sizes | None:
    """By the heads of the files of images; None where one is damaged, which is named when it is read."""
    splits = PREFIXES if options.split == "both" else [options.split]
    if options.root is None:
        counts = [COUNTS[split] for split in splits]
    else:
        paths = [find_file(expanded(options.root), name) for name in needed_files(options.split)[::2]]
        counts = [count_of(path) for path in paths]
    if None in counts:
        return None
    return Sizes(sum(counts), counts[-1] if options.split == "both" else counts[0] - 1)


def count_of(path: Path) -> int | None:
    """The number of images that a file's head says; None where it is none of a file of images."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            kind, count = struct.unpack(">4si", file.read(8))
    except (OSError, EOFError, zlib.error, struct.error):
        return None
    return count if kind == IMAGES else None


def load_idx(options: Options, class_name: str) -> Loaded:
    """Images and labels of the files that `options.split` names, train images first.

    Files come from `options.root`; where that is None, they are downloaded into `options.cache`. Packed files are
    verified against the MD5 checksums of torchvision's class `class_name`. Of unpacked ones, for which torchvision has
    no checksums, the structure is checked. Raises UserError naming the file that is missing, damaged, or cannot be
    downloaded.
    """
    from . import torchvision_import  # noqa: F401

    # isort: split
    from torchvision import datasets
    from torchvision.datasets.mnist import read_image_file, read_label_file

    torchvision_class = getattr(datasets, class_name)
    checksums = dict(torchvision_class.resources)
    names = needed_files(options.split)
    root = check_root(options) if options.root is not None else download(options, names, torchvision_class)
    paths = [find_file(root, name) for name in names]
    images = [read(path, read_image_file, checksums) for path in paths[0::2]]
    labels = [read(path, read_label_file, checksums) for path in paths[1::2]]
    for path, image_part, label_part in zip(paths[1::2], images, labels, strict=True):
        if len(image_part) != len(label_part):
            raise UserError(f"{path}: {len(label_part)} labels for {len(image_part)} images; fetch the original files")

    from PIL import Image

    is_test = np.repeat([False, True], [len(part) for part in labels]) if options.split == "both" else None
    pixels = prepare(list(np.concatenate(images)), options, Image.fromarray)
    return Loaded(pixels, np.concatenate(labels), is_test, paths)


def read(path: Path, reader: Callable, checksums: dict[str, str]) -> np.ndarray:
    """The content of one IDX file, packed or not, by torchvision's reader. Raises UserError naming a damaged file."""
    from torchvision.datasets.utils import check_md5

    try:
        if path.suffix != ".gz":
            return reader(path).numpy()
        if not check_md5(path, checksums[path.name]):
            raise ValueError("its MD5 checksum is not that of the original")
        with tempfile.TemporaryDirectory() as folder:  # torchvision's reader takes unpacked files only
            unpacked = Path(folder) / path.stem
            unpacked.write_bytes(gzip.decompress(path.read_bytes()))
            return reader(unpacked).numpy()
    except Exception as error:  # the reader checks by assertions, views and look-ups of many kinds
        reason = str(error) or "wrong structure"
        raise UserError(f"{path}: not a whole original file ({reason}); put the original file in its place") from error


def download(options: Options, names: list[str], torchvision_class: type) -> Path:
    """Fetch the packed files into a folder of `options.cache` and return it; whole files already there stay.

    Mirrors, checksums and the download of one file are torchvision's. Its class could do it all, but takes an unpacked
    file for whole once it exists, though a killed run may have left half of it. Raises UserError where no mirror gives
    the right file.
    """
    from torchvision.datasets.utils import download_url

    dataset = options.dataset
    if options.cache is None:
        raise UserError(f"data.root: not set, and no folder to download '{dataset}' to; give one of the two")
    folder = expanded(options.cache) / torchvision_class.__name__
    checksums = dict(torchvision_class.resources)
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(60)  # seconds without a byte; torchvision would wait for ever
    try:
        for name in names:
            reasons = []
            for mirror in torchvision_class.mirrors:
                try:
                    download_url(mirror + name, folder, name, checksums[name])
                    break
                except (OSError, RuntimeError, HTTPException) as error:  # RuntimeError: wrong checksum
                    reasons.append(" ".join(str(error).split()) or type(error).__name__)
            else:
                raise UserError(
                    f"data.dataset '{dataset}': {name} could not be downloaded ({'; '.join(reasons)}); "
                    "put the four original files in a folder and set data.root"
                )
    finally:
        socket.setdefaulttimeout(timeout)
    return folder
