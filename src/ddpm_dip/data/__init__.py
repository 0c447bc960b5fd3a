"""Data sets: each a file of this folder, found by its name, that defines

    load(options) -> Loaded     reads and prepares it
    check(options)              optional: raises UserError for what is wrong in the options, without reading an image
    LABELLED = False            where its images have no labels
    labelled(options)           instead, where that depends on the options: whether they have
    sizes(options) -> Sizes     optional: how many images there are, seen without reading one; None where that shows
                                only when they are read

In a name, '-' and '_' are the same. A file that defines or imports no `load` is no data set, but serves those that are.
Nothing here imports torch before it is needed, so that a workflow can check its settings fast.
"""

import ast
import hashlib
import importlib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..jobs import code
from ..jobs.errors import UserError
from ..jobs.files import expanded

if TYPE_CHECKING:
    from PIL.Image import Image

SPLITS = ("train", "test", "both")
CHANNELS = {1: "L", 3: "RGB"}  # number of channels -> PIL mode
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")


class Options(NamedTuple):
    """What to load, and how to prepare it.

    dataset: one of `names()`. root: the folder with the source files; None where the set is shipped or downloaded; for
    image_folder also an archive file (ARCHIVES) or the http(s) address of one. split: which of the set's own files to
    take, for sets that have a train and a test file; the others ignore it. image_size: the side in pixels; None keeps
    the native size. channels: 1 grey, 3 RGB. cache: the folder for downloads and unpacked archives. sha256: the hex
    digest of the archive that `root` names, needed for an address.
    """

    dataset: str
    root: Path | str | None = None
    split: str = "both"
    image_size: int | None = None
    channels: int = 1
    cache: Path | str | None = None
    sha256: str | None = None


class Loaded(NamedTuple):
    """A data set in its own order, prepared.

    images: (N, C, H, W) uint8. labels: (N,) int64, or (0,) where the set has none. is_test: (N,) bool, True where an
    image comes from the set's own test file; None unless train and test files are both loaded. files: the source files.
    """

    images: np.ndarray
    labels: np.ndarray
    is_test: np.ndarray | None = None
    files: Sequence[Path] = ()


class Sizes(NamedTuple):
    """How many images there are, and how many of them can be held out of training, which is the largest data.reference.

    Of a set whose own train and test images are both loaded, these are all test images; of others, all but one.
    """

    images: int
    most_held_out: int


def check(options: Options) -> None:
    """Look for mistakes that can be seen without reading an image: fast, and without importing torch.

    Raises UserError, naming the key, for an unknown data set, split or number of channels, a size below 1, a missing
    file, a folder without images, and a sha256 that is no digest or belongs to no archive. The networks say whether
    they can work on image_size; whether an archive has its sha256 shows when it is loaded.
    """
    module = _module(options.dataset)
    if options.split not in SPLITS:
        raise UserError(f"data.split {options.split!r} is unknown; choose one of {', '.join(SPLITS)}")
    if options.channels not in CHANNELS:
        raise UserError(f"data.channels is {options.channels}; it must be 1 (grey) or 3 (RGB)")
    if options.image_size is not None and options.image_size < 1:
        raise UserError(f"data.image_size is {options.image_size}; it must be at least 1 pixel")
    if options.sha256 is not None:
        if not re.fullmatch("[0-9a-fA-F]{64}", options.sha256):
            raise UserError(f"data.sha256 {options.sha256!r} is no SHA-256 digest; it must be 64 hexadecimal digits")
        if options.root is None or not is_packed(options.root):
            raise UserError(
                f"data.sha256 is set, but data.root is no archive ({', '.join(ARCHIVES)}) nor the address of one; "
                "leave data.sha256 out"
            )
    if hasattr(module, "check"):
        module.check(options)


def load(options: Options) -> Loaded:
    """Read and prepare the data set that `options` names.

    Raises UserError as `check` does, for damaged files and failed downloads, and, naming the data set's file, where its
    `load` returns anything but what `Loaded` says.
    """
    check(options)
    module = _module(options.dataset)
    loaded = module.load(options)
    problem = _problem(loaded, options)
    if problem:
        raise UserError(f"{module.__file__}: load(options) returned {problem}")
    return loaded


def _problem(loaded: object, options: Options) -> str | None:
    """What is wrong with a data set's result, and what would be right; None where nothing is."""
    if not isinstance(loaded, Loaded):
        return f"{type(loaded).__name__}; it must return Loaded(images, labels, is_test, files)"
    images, labels = np.asarray(loaded.images), np.asarray(loaded.labels)
    size = options.image_size
    if (
        (images.ndim, images.dtype, images.shape[1:2]) != (4, np.uint8, (options.channels,))
        or not images.size
        or (size is not None and images.shape[2:] != (size, size))
    ):
        right = f"(N, {options.channels}, {size or 'H'}, {size or 'W'}) uint8"
        return f"images {images.shape} {images.dtype}; they must be {right}"
    count = len(images) if has_labels(options) else 0
    if labels.shape != (count,) or labels.dtype != np.int64:
        right = f"({count},) int64" + (", or (0,) where the file says that there are none" if count else "")
        return f"labels {labels.shape} {labels.dtype}; they must be {right}"
    if loaded.is_test is not None:
        is_test = np.asarray(loaded.is_test)
        if is_test.shape != images.shape[:1] or is_test.dtype != bool:
            return f"is_test {is_test.shape} {is_test.dtype}; it must be ({len(images)},) bool, or None"
    return None


def names() -> list[str]:
    """All data sets, sorted by name. Raises UserError naming a file of this folder that is no Python."""
    return [path.stem for path in sorted(Path(__file__).parent.glob("[!_]*.py")) if _defines_load(path)]


def _defines_load(path: Path) -> bool:
    """Whether a file defines or imports `load` at its top level, seen in its syntax tree without running it."""
    return any(
        isinstance(node, ast.FunctionDef)
        and node.name == "load"
        or isinstance(node, ast.ImportFrom)
        and "load" in [alias.asname or alias.name for alias in node.names]
        for node in code.syntax_tree(path).body
    )


def _module(dataset: str) -> ModuleType:
    path = Path(__file__).parent / f"{dataset.replace('-', '_')}.py"
    if not path.is_file() or not _defines_load(path):
        raise UserError(f"data.dataset {dataset!r} is unknown; choose one of {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{path.stem}")


def is_url(root: Path | str) -> bool:
    """Whether `root` is an http or https address rather than a path."""
    return re.match("https?://", str(root), re.IGNORECASE) is not None


def is_packed(root: Path | str) -> bool:
    """Whether `root` is an address, or named as an archive file is (and is no folder of such a name)."""
    return is_url(root) or (str(root).lower().endswith(ARCHIVES) and not os.path.isdir(expanded(root)))


def listing(root: Path | str | None, sha256: str | None = None) -> str | None:
    """What tells that the source files were replaced, without reading them.

    For a folder or a file this is a digest of names and sizes: of all files below `root`, or of the file itself. Times
    do not count. For an address it is `sha256`, the digest that its file must have, and for None it is None. Raises
    UserError naming a folder that cannot be read.
    """
    if root is None or is_url(root):
        return None if root is None else sha256
    root = expanded(root)
    try:
        base = root.parent if root.is_file() else root
        paths = [path for path in ([root] if root.is_file() else root.rglob("*")) if path.is_file()]
        sizes = sorted((str(path.relative_to(base)), path.stat().st_size) for path in paths)
    except OSError as error:
        raise UserError(f"data.root: '{root}' cannot be listed: {error}; make it readable") from error
    return hashlib.sha256(repr(sizes).encode()).hexdigest()


def has_labels(options: Options) -> bool:
    """Whether a data set comes with labels. It does unless its file says `LABELLED = False`, or otherwise.

    Raises UserError as `check` does.
    """
    module = _module(options.dataset)
    return module.labelled(options) if hasattr(module, "labelled") else getattr(module, "LABELLED", True)


def sizes(options: Options) -> Sizes | None:
    """How many images a data set has; None where that shows only when they are read."""
    module = _module(options.dataset)
    return module.sizes(options) if hasattr(module, "sizes") else None


def check_root(options: Options) -> Path:
    """`options.root` as a path. Raises UserError where it is not a folder."""
    root = expanded(options.root)
    if not root.is_dir():
        raise UserError(
            f"data.root: '{root}' is not a folder; give the folder that holds the '{options.dataset}' files"
        )
    return root


def prepare(images: list, options: Options, open_image: Callable[..., "Image"]) -> np.ndarray:
    """Prepare images one by one: open, resize to `options.image_size` squared, to (N, C, H, W) uint8.

    open_image: turns an element of `images` into an 8-bit PIL image of mode L or RGB. All data sets are resized by
    PIL's bilinear filter: when it shrinks an image, its kernel widens with the factor, so that it does not alias, and
    unlike LANCZOS it cannot ring or overshoot at the hard edges of digits. Raises UserError where the images would
    differ in size.
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
    """Split a data set into two disjoint parts: `train`, and `reference`, which is held out for distances.

    Reference images are the first `reference` of a seeded permutation (PCG64). Where the set's own train and test files
    are both loaded, the permutation is of the test images: train is then the whole train file, and test images beyond
    `reference` are left out. Else it is of all images.

    train keeps the file's order, so that train[r] is image r of the training split, to which replicate r fits its DIP
    net. reference keeps the permutation's order, so that its two halves are alike; in MNIST's test file they are not,
    as its first 5,000 digits are cleaner than its last.

    Returns the arrays train (N, C, H, W) and reference (M, C, H, W) uint8, train_labels (N,) and reference_labels (M,)
    int64 (both (0,) where the set has none), and train_index (N,) and reference_index (M,) int64, which are positions
    in `loaded`. Raises UserError where `reference` is below 2 (it is halved) or leaves nothing to train on, or where
    seed is negative.
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
