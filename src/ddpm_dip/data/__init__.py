"""Datasets: each a module of this folder, found by its name, with `check(options)` and `load(options)`.

To add one, add a module. Nothing here imports torch before it is needed, so that a workflow can check its
settings fast.
"""

import hashlib
import importlib
import os
import pkgutil
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

SHARED = {"archives", "idx"}  # modules of this folder that serve several datasets and are none
DATASETS = tuple(sorted({module.name for module in pkgutil.iter_modules(__path__)} - SHARED))
SPLITS = ("train", "test", "both")
CHANNELS = {1: "L", 3: "RGB"}  # number of channels -> PIL mode
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")


class Options(NamedTuple):
    """What to load, and how to prepare it.

    dataset: a name of DATASETS ('-' and '_' are the same); root: folder with the source files, None where the
    dataset is shipped or downloaded; for image_folder also an archive file (ARCHIVES) or the http(s) address of
    one; split: which of the set's own files to take, for sets that have a train and a test file (the others
    ignore it); image_size: side in pixels, None keeps the native size; channels: 1 grey, 3 RGB; cache: folder
    for downloads and unpacked archives; sha256: hex digest of the archive that `root` names, needed for an
    address.
    """

    dataset: str
    root: Path | str | None = None
    split: str = "both"
    image_size: int | None = None
    channels: int = 1
    cache: Path | str | None = None
    sha256: str | None = None


class Loaded(NamedTuple):
    """A dataset in its own order, prepared.

    images: (N, C, H, W) uint8; labels: (N,) int64, or (0,) where the set has none; is_test: (N,) bool, True
    where an image comes from the set's own test file, None unless train and test files are both loaded;
    files: the source files.
    """

    images: np.ndarray
    labels: np.ndarray
    is_test: np.ndarray | None = None
    files: Sequence[Path] = ()


def check(options: Options) -> None:
    """Look for mistakes that can be seen without reading an image: fast, and without importing torch.

    Raises UserError naming the key: unknown dataset, split or channels, a size below 1, a missing file, a
    folder without images, a sha256 that is none or is for nothing. Whether a network can work on image_size is
    for the networks to say; whether an archive has its sha256 shows when it is loaded.
    """
    module = _module(options.dataset)
    if options.split not in SPLITS:
        raise UserError(f"data.split '{options.split}' is unknown; choose one of {', '.join(SPLITS)}")
    if options.channels not in CHANNELS:
        raise UserError(f"data.channels is {options.channels}; it must be 1 (grey) or 3 (RGB)")
    if options.image_size is not None and options.image_size < 1:
        raise UserError(f"data.image_size is {options.image_size}; it must be at least 1 pixel")
    if options.sha256 is not None:
        if not re.fullmatch("[0-9a-fA-F]{64}", options.sha256):
            raise UserError(f"data.sha256 '{options.sha256}' is no SHA-256 digest; it must be 64 hexadecimal digits")
        if options.root is None or not is_packed(options.root):
            raise UserError(
                f"data.sha256 is set, but data.root is no archive ({', '.join(ARCHIVES)}) nor the address of one; "
                "leave data.sha256 out"
            )
    module.check(options)


def load(options: Options) -> Loaded:
    """Read and prepare the dataset that `options` names.

    Raises UserError as `check` does, and for damaged files and failed downloads.
    """
    check(options)
    return _module(options.dataset).load(options)


def _module(dataset: str) -> ModuleType:
    name = dataset.replace("-", "_")
    if name not in DATASETS:
        raise UserError(f"data.dataset '{dataset}' is unknown; choose one of {', '.join(DATASETS)}")
    return importlib.import_module(f"{__name__}.{name}")


def is_url(root: Path | str) -> bool:
    """Whether `root` is an http or https address rather than a path."""
    return re.match("https?://", str(root), re.IGNORECASE) is not None


def is_packed(root: Path | str) -> bool:
    """Whether `root` is an address, or named as an archive file is (and is no folder of such a name)."""
    return is_url(root) or (str(root).lower().endswith(ARCHIVES) and not os.path.isdir(Path(root).expanduser()))


def listing(root: Path | str | None, sha256: str | None = None) -> str | None:
    """What tells that the source files were replaced, without reading them.

    A folder or file: a digest of the names and sizes of all files below `root`, or of the file itself; times do
    not count. An address: `sha256`, the digest that its file must have. None: None.
    Raises UserError naming a folder that cannot be read.
    """
    if root is None or is_url(root):
        return None if root is None else sha256
    root = Path(root).expanduser()
    try:
        base = root.parent if root.is_file() else root
        paths = [path for path in ([root] if root.is_file() else root.rglob("*")) if path.is_file()]
        sizes = sorted((str(path.relative_to(base)), path.stat().st_size) for path in paths)
    except OSError as error:
        raise UserError(f"data.root: '{root}' cannot be listed: {error}; make it readable") from error
    return hashlib.sha256(repr(sizes).encode()).hexdigest()


def has_labels(dataset: str) -> bool:
    """Whether a dataset comes with labels: true, unless its module says `LABELLED = False`."""
    return getattr(_module(dataset), "LABELLED", True)


def check_root(options: Options) -> Path:
    """`options.root` as a path. Raises UserError where it is not a folder."""
    root = Path(options.root).expanduser()
    if not root.is_dir():
        raise UserError(
            f"data.root: '{root}' is not a folder; give the folder that holds the '{options.dataset}' files"
        )
    return root


def prepare(images: list, options: Options, open_image: Callable[..., "Image"]) -> np.ndarray:
    """Prepare images one by one: open, resize to `options.image_size` squared, to (N, C, H, W) uint8.

    open_image: turns an element of `images` into an 8-bit PIL image of mode L or RGB. Resizing is PIL's
    bilinear, for all datasets the same: when it shrinks, its kernel widens with the factor, so it does not
    alias; and unlike LANCZOS it cannot ring or overshoot at the hard edges of digits.
    Raises UserError where the images would differ in size.
    """
    from PIL import Image

    arrays = []
    for source in images:
        image = open_image(source)
        if options.image_size is not None:
            image = image.resize((options.image_size, options.image_size), Image.Resampling.BILINEAR)
        array = np.atleast_3d(np.asarray(image.convert(CHANNELS[options.channels])))  # (H, W, C)
        if arrays and array.shape != arrays[0].shape:
            raise UserError(
                f"data.image_size is not set, but the images differ in size (see {source}); set it, in pixels"
            )
        arrays.append(array)
    return np.stack(arrays).transpose(0, 3, 1, 2).copy()


def split_train_reference(loaded: Loaded, reference: int, seed: int) -> dict[str, np.ndarray]:
    """Two disjoint parts of a dataset: `train`, and `reference` (held out: what distances compare with).

    Reference images are the first `reference` of a seeded permutation (PCG64): of the set's own test images
    where train and test files are both loaded (all of them, where `reference` is larger; those beyond
    `reference` are left out, train is the whole train file), else of all images.

    train keeps the file's order: train[0] is the first image of the training split, the one a DIP is fitted
    to. reference keeps the permutation's order, so that its two halves are alike: in MNIST's test file they
    are not, the first 5,000 digits are cleaner than the last.

    Returns the arrays train (N, C, H, W) and reference (M, C, H, W) uint8, train_labels (N,) and
    reference_labels (M,) int64 (both (0,) where the set has none), train_index (N,) and reference_index (M,)
    int64, which are positions in `loaded`.
    Raises UserError where `reference` is below 2 (it is halved) or leaves nothing to train on, or seed is
    negative.
    """
    count = len(loaded.images)
    own = loaded.is_test is not None
    pool = np.flatnonzero(loaded.is_test) if own else np.arange(count)
    if reference < 2 or (not own and reference >= count):
        most = "" if own else f" and less than the {count} images there are"
        raise UserError(f"data.reference is {reference}; it must be at least 2{most}")
    if seed < 0:
        raise UserError(f"seed is {seed}; it must be 0 or more")
    reference_index = np.random.Generator(np.random.PCG64(seed)).permutation(pool)[:reference]
    held_out = loaded.is_test if own else np.isin(np.arange(count), reference_index)
    train_index = np.flatnonzero(~held_out)
    labelled = len(loaded.labels) > 0
    return {
        "train": loaded.images[train_index],
        "reference": loaded.images[reference_index],
        "train_labels": loaded.labels[train_index] if labelled else loaded.labels,
        "reference_labels": loaded.labels[reference_index] if labelled else loaded.labels,
        "train_index": train_index.astype(np.int64),
        "reference_index": reference_index.astype(np.int64),
    }
