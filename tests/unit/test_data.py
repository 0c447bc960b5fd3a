"""Datasets: what is read is what the files hold, splits are disjoint and repeatable, bad input is named."""

import errno
import functools
import gzip
import hashlib
import http.server
import importlib
import io
import os
import re
import stat
import struct
import subprocess
import sys
import tarfile
import textwrap
import threading
import urllib.error
import warnings
import zipfile
import zlib
from pathlib import Path
from types import SimpleNamespace

import jobfile
import numpy as np
import pytest
from PIL import Image

from ddpm_dip import data
from ddpm_dip.data import Loaded, Options, archives, image_folder, photos
from ddpm_dip.jobs import errors, files
from ddpm_dip.jobs.errors import UserError
from ddpm_dip.jobs.job import read_record

ROOT = Path(__file__).resolve().parents[2]
MNIST = Path(os.environ.get("DDPM_DIP_MNIST", ROOT.parent / "shared/data/mnist"))


# --- digits ---


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    expected = load_digits()
    loaded = data.load(Options("digits", image_size=8))
    assert loaded.images.shape == (1797, 1, 8, 8) and loaded.images.dtype == np.uint8
    assert set(np.unique(loaded.images)) == {round(v * 255 / 16) for v in range(17)}
    assert np.array_equal(np.round(loaded.images[:, 0] / 255 * 16), expected.images)
    assert np.array_equal(loaded.labels, expected.target) and loaded.labels.dtype == np.int64
    assert np.array_equal(data.load(Options("digits")).images, loaded.images)  # native size


@pytest.mark.parametrize("channels", [1, 3])
def test_digits_resized(channels):
    loaded = data.load(Options("digits", image_size=16, channels=channels))
    assert loaded.images.shape == (1797, channels, 16, 16)
    assert (loaded.images == loaded.images[:, :1]).all()
    small = data.load(Options("digits")).images
    expected = Image.fromarray(small[5, 0]).resize((16, 16), Image.Resampling.BILINEAR)
    assert np.array_equal(loaded.images[5, 0], np.asarray(expected))


def test_model_range():
    import torch

    from ddpm_dip.models.scale import to_model_range

    x = to_model_range(np.array([[0, 255, 51]], np.uint8))
    assert x.dtype == torch.float32
    assert torch.allclose(x, torch.tensor([[-1.0, 1.0, -0.6]]))


# --- photos ---


@pytest.fixture(scope="module")
def photo_patches():
    return data.load(Options("photos", channels=3))


def test_photos(photo_patches):
    images, labels, is_test, sources = photo_patches
    assert images.shape == (4994, 3, 64, 64) and images.dtype == np.uint8 and labels.shape == (0,)
    assert (~is_test).sum() == 2520 and is_test.sum() == 2474
    assert data.sizes(Options("photos", channels=3)) == (4994, 2474)
    assert [path.name for path in sources] == ["china.jpg", "flower.jpg"]
    assert images.std((2, 3)).mean(1).min() > photos.CONTRAST / 2  # no flat ones; shrinking takes some of it
    assert len({image.tobytes() for image in images}) == len(images)


def test_first_photo_patches_by_hand(photo_patches):
    with Image.open(photo_patches.files[0]) as photograph:
        patches = [photograph.crop((left, 0, left + 128, 128)) for left in (206, 211, 206 - 128)]
    right, next_right, left = (np.asarray(patch.resize((64, 64), Image.Resampling.BILINEAR)) for patch in patches)
    assert np.array_equal(photo_patches.images[0].transpose(1, 2, 0), right)
    assert np.array_equal(photo_patches.images[1].transpose(1, 2, 0), next_right)
    first_test = photo_patches.images[photo_patches.is_test][0].transpose(1, 2, 0)
    assert abs(first_test[:, ::-1].astype(int) - left).max() <= 1  # mirrored, which can round another way


def test_photo_parts_have_no_pixel_in_common(monkeypatch):
    from sklearn import datasets

    real = datasets.load_sample_images()
    numbered_pixels = [np.arange(427 * 640 * 3).reshape(427, 640, 3) + offset for offset in (0, 10**6)]
    monkeypatch.setattr(
        datasets, "load_sample_images", lambda: SimpleNamespace(images=numbered_pixels, filenames=real.filenames)
    )
    taken = []
    monkeypatch.setattr(photos, "prepare", lambda patches, *_: taken.extend(patches))
    is_test = photos.load(Options("photos", channels=3)).is_test
    seen = np.zeros((2, 2 * 10**6), bool)
    for patch, part in zip(taken, is_test, strict=True):
        seen[int(part), patch] = True
    assert not seen.all(0).any()
    assert (seen.sum(1) > 420 * 500 * 3).all()  # all but the last rows, and of 206 + 306 columns


def test_photos_split_takes_no_train_patch_as_reference(photo_patches):
    parts = data.split_train_reference(photo_patches, 500, seed=0)
    assert len(parts["train"]) == 2520 and len(parts["reference"]) == 500
    assert photo_patches.is_test[parts["reference_index"]].all()


def test_photos_ignore_the_split(monkeypatch):
    """As all sets without files of their own: a test part alone would be split at random, into overlapping patches."""
    monkeypatch.setattr(photos, "STRIDE", 50)
    both, *others = (data.load(Options("photos", image_size=8, split=split)) for split in ("both", "train", "test"))
    assert both.images.shape[1:] == (1, 8, 8) and both.is_test.any() and not both.is_test.all()
    for other in others:
        assert np.array_equal(other.images, both.images) and np.array_equal(other.is_test, both.is_test)


# --- split ---


def numbered(count: int, is_test: np.ndarray | None = None) -> Loaded:
    """Image i holds the value i, and so does its label."""
    images = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 1, 4, 4))
    return Loaded(images, np.arange(count), is_test)


def test_split_is_disjoint_complete_and_repeatable():
    loaded = numbered(50)
    parts = data.split_train_reference(loaded, 20, seed=3)
    train, reference = parts["train_index"], parts["reference_index"]
    assert sorted([*train, *reference]) == list(range(50)) and len(reference) == 20
    assert (np.diff(train) > 0).all()  # the file's order
    assert (np.diff(reference) < 0).any()  # not the file's order: both halves are random draws
    assert np.array_equal(parts["train"], loaded.images[train])
    assert np.array_equal(parts["reference"], loaded.images[reference])
    assert np.array_equal(parts["train_labels"], train) and np.array_equal(parts["reference_labels"], reference)
    assert train.dtype == reference.dtype == np.int64

    again = data.split_train_reference(loaded, 20, seed=3)
    assert all(np.array_equal(parts[name], again[name]) for name in parts)
    other = data.split_train_reference(loaded, 20, seed=4)
    assert set(other["reference_index"]) != set(reference)
    fewer = data.split_train_reference(loaded, 10, seed=3)
    assert np.array_equal(fewer["reference_index"], reference[:10])


@pytest.mark.parametrize(("reference", "kept"), [(4, 4), (10, 10), (1000, 10)])
def test_own_train_and_test_files_are_the_split(reference, kept):
    parts = data.split_train_reference(numbered(30, np.arange(30) >= 20), reference, seed=0)
    assert np.array_equal(parts["train_index"], np.arange(20))
    assert len(set(parts["reference_index"])) == kept and (parts["reference_index"] >= 20).all()


def test_split_without_labels():
    parts = data.split_train_reference(numbered(9)._replace(labels=np.empty(0, np.int64)), 4, seed=0)
    assert parts["train_labels"].shape == parts["reference_labels"].shape == (0,)


@pytest.mark.parametrize("reference", [-1, 0, 1, 9, 10])
def test_split_that_leaves_nothing(reference):
    with pytest.raises(UserError, match=f"data.reference is {reference}; it must be at least 2 and less than the 9"):
        data.split_train_reference(numbered(9), reference, seed=0)


def test_split_with_a_negative_seed():
    with pytest.raises(UserError, match="seed is -1; it must be 0 or more"):
        data.split_train_reference(numbered(9), 4, seed=-1)


# --- settings ---


def pictures(folder: Path, *names: str) -> Path:
    """Grey images, each of a shade of its own."""
    for shade, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 16), 10 * shade, np.uint8)).save(folder / name)
    return folder


def test_sub_folders_are_classes_as_torchvision_has_them(tmp_path):
    folder = pictures(tmp_path / "a", "cats/2.png", "cats/deep/1.png", "ants/3.png", "bees/4.png")
    (folder / "empty").mkdir()
    options = Options("image_folder", root=folder)
    loaded = data.load(options)
    assert data.has_labels(options) and data.sizes(options) == (4, 3)
    assert loaded.labels.tolist() == [0, 1, 2, 2] and loaded.images[:, 0, 0, 0].tolist() == [20, 30, 0, 10]

    import ddpm_dip.data.torchvision_import  # noqa: F401, before torchvision
    from torchvision.datasets import ImageFolder  # isort: skip

    (folder / "empty").rmdir()  # torchvision takes none without an image
    theirs = ImageFolder(folder)
    assert theirs.targets == loaded.labels.tolist() and [path for path, _ in theirs.samples] == list(
        map(str, loaded.files)
    )


@pytest.mark.parametrize(
    "names", [("1.png", "2.png"), ("all/1.png", "all/deep/2.png"), ("1.png", "cats/2.png", "ants/3.png")]
)
def test_other_folders_have_no_labels(tmp_path, names):
    options = Options("image_folder", root=pictures(tmp_path, *names))
    assert not data.has_labels(options) and data.load(options).labels.shape == (0,)


def test_available_datasets():
    assert data.names() == ["digits", "fashion_mnist", "image_folder", "kmnist", "mnist", "photos"]
    assert [name for name in data.names() if not data.has_labels(Options(name))] == ["image_folder", "photos"]
    data.check(Options("fashion-mnist"))
    from ddpm_dip.study import plugins

    assert plugins.names("dataset") == tuple(name.replace("_", "-") for name in data.names())


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Writes a data set of one's own into a copy of the folder of data sets."""
    for path in Path(data.__file__).parent.glob("*.py"):
        (tmp_path / path.name).write_text(path.read_text())
    monkeypatch.setattr(data, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(data, "__path__", [str(tmp_path)])

    def write(body: str, head: str = "") -> Path:
        path = tmp_path / "my_set.py"
        top = f"import numpy as np\n\nfrom ddpm_dip.data import Loaded, Options\n\n{head}\n\ndef load(options):\n"
        path.write_text(top + textwrap.indent(textwrap.dedent(body), "    "))
        monkeypatch.delitem(sys.modules, "ddpm_dip.data.my_set", raising=False)
        importlib.invalidate_caches()
        return path

    yield write
    sys.modules.pop("ddpm_dip.data.my_set", None)


IMAGES_OF_MINE = "images = np.zeros((5, options.channels, 16, 16), np.uint8)\n"


def test_a_data_set_of_one_s_own_is_one_function(own):
    own(IMAGES_OF_MINE + "return Loaded(images, np.arange(5))")
    assert "my_set" in data.names() and data.has_labels(Options("my-set"))
    for name in ("my_set", "my-set"):
        data.check(Options(name))
        assert data.load(Options(name, image_size=16)).labels.tolist() == [0, 1, 2, 3, 4]
    own(IMAGES_OF_MINE + "return Loaded(images, np.empty(0, np.int64))", "LABELLED = False")
    assert not data.has_labels(Options("my-set"))
    assert data.load(Options("my-set", channels=3)).images.shape == (5, 3, 16, 16)


def test_a_file_without_load_is_no_data_set(own):
    own("return 1").write_text("def read(options):\n    return None\n")
    assert "my_set" not in data.names()
    with pytest.raises(UserError, match="data.dataset 'my-set' is unknown; choose one of digits"):
        data.check(Options("my-set"))


def test_a_file_that_is_no_python_is_named(own):
    path = own("return 1")
    path.write_text("def load(options:\n")
    with pytest.raises(UserError, match=f"{path}: not readable as Python"):
        data.check(Options("my-set"))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return None", "returned NoneType; it must return Loaded"),
        ("return images, np.arange(5)", "returned tuple; it must return Loaded"),
        ("return Loaded(None, np.arange(5))", r"images \(\) object; they must be \(N, 1, H, W\) uint8"),
        ("return Loaded(images[:, 0], np.arange(5))", r"images \(5, 16, 16\) uint8; they must be \(N, 1, H, W\) uint8"),
        ("return Loaded(images / 255, np.arange(5))", r"images \(5, 1, 16, 16\) float64; they must be .* uint8"),
        ("return Loaded(images.repeat(3, 1), np.arange(5))", r"images \(5, 3, 16, 16\) .* \(N, 1, H, W\)"),
        ("return Loaded(images[:0], np.arange(0))", r"images \(0, 1, 16, 16\)"),
        ("return Loaded(images, np.arange(4))", r"labels \(4,\) int64; they must be \(5,\) int64"),
        ("return Loaded(images, np.ones(5))", r"labels \(5,\) float64; they must be \(5,\) int64"),
        (
            "return Loaded(images, np.arange(0))",
            r"labels \(0,\) int64; .* or \(0,\) where the file says that there are none",
        ),
        ("return Loaded(images, np.arange(5), np.arange(5))", r"is_test \(5,\) int64; it must be \(5,\) bool, or None"),
        (
            "return Loaded(images, np.arange(5), np.ones(4, bool))",
            r"is_test \(4,\) bool; it must be \(5,\) bool, or None",
        ),
    ],
)
def test_a_wrong_result_of_one_s_own_data_set_names_its_file(own, body, says):
    path = own(IMAGES_OF_MINE + body)
    with pytest.raises(UserError, match=says) as caught:
        data.load(Options("my-set"))
    assert str(caught.value).startswith(f"{path}: load(options) returned ")


def test_a_result_of_another_size_than_asked_for_names_the_file(own):
    path = own(IMAGES_OF_MINE + "return Loaded(images, np.arange(5))")
    with pytest.raises(
        UserError, match=r"images \(5, 1, 16, 16\) uint8; they must be \(N, 1, 28, 28\) uint8"
    ) as caught:
        data.load(Options("my-set", image_size=28))
    assert str(caught.value).startswith(f"{path}: ")


def test_labels_where_the_file_says_that_there_are_none(own):
    own(IMAGES_OF_MINE + "return Loaded(images, np.arange(5))", "LABELLED = False")
    with pytest.raises(UserError, match=r"labels \(5,\) int64; they must be \(0,\) int64"):
        data.load(Options("my-set"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options("minst"), "data.dataset 'minst' is unknown; choose one of .*mnist"),
        (Options("idx"), "data.dataset 'idx' is unknown"),
        (Options("mnist", split="all"), "data.split 'all' is unknown; choose one of train, test, both"),
        (Options("mnist", channels=2), "data.channels is 2; it must be 1"),
        (Options("mnist", image_size=0), "data.image_size is 0"),
        (Options("mnist", root="/nowhere/at/all"), "data.root: '/nowhere/at/all' is not a folder"),
        (Options("digits", root="."), "data.root is set, but data.dataset 'digits' comes with scikit-learn"),
        (Options("image_folder"), "data.root is not set"),
        (Options("photos", root="."), "data.root is set, but data.dataset 'photos' comes with scikit-learn"),
        (Options("image_folder", root="/nowhere"), "data.root: '/nowhere' is not a folder; .*an archive of one .*.zip"),
        (Options("image_folder", root=__file__), "test_data.py' is not a folder; .*an archive of one .*.zip"),
        (Options("image_folder", root="/nowhere.zip"), "data.root: '/nowhere.zip': no such file"),
        (Options("image_folder", root="ftp://127.0.0.1/a.zip"), "data.root: 'ftp://127.0.0.1/a.zip': no such file"),
        (
            Options("image_folder", root="http://127.0.0.1/a.zip"),
            "data.sha256 is not set, but .*http://127.0.0.1/a.zip",
        ),
        (Options("image_folder", root="a.zip", sha256="12"), "data.sha256 '12' is no SHA-256 digest; .*64 hexadecimal"),
        (Options("image_folder", root=".", sha256="0" * 64), "data.sha256 is set, but data.root is no archive"),
        (Options("digits", sha256="0" * 64), "data.sha256 is set, but data.root is no archive"),
        (Options("mnist", root="http://127.0.0.1/a.zip", sha256="0" * 64), "'mnist' files"),
    ],
)
def test_bad_settings_are_named(options, message):
    with pytest.raises(UserError, match=message):
        data.check(options)


def test_check_is_light():
    """It runs whenever the workflow is parsed."""
    code = (
        "import sys; from ddpm_dip import data;"
        "data.check(data.Options('mnist')); data.check(data.Options('digits')); data.check(data.Options('photos'));"
        "data.check(data.Options('image_folder', root='http://127.0.0.1/a.zip', sha256='0' * 64));"
        "print([name for name in ('torch', 'torchvision', 'sklearn', 'PIL') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- IDX files ---

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 28, 28), dtype=np.uint8)
LABELS = np.arange(7, dtype=np.uint8)


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}i", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def idx_folder(tmp_path, monkeypatch):
    """A folder with four small packed files, whose checksums are torchvision's for the length of a test."""
    from ddpm_dip.data import torchvision_import  # noqa: F401

    # isort: split
    from torchvision import datasets

    arrays = {
        "train-images-idx3-ubyte.gz": IMAGES[:5],
        "train-labels-idx1-ubyte.gz": LABELS[:5],
        "t10k-images-idx3-ubyte.gz": IMAGES[5:],
        "t10k-labels-idx1-ubyte.gz": LABELS[5:],
    }
    folder = tmp_path / "original"
    folder.mkdir()
    resources = []
    for name, array in arrays.items():
        content = gzip.compress(idx_bytes(array), mtime=0)
        (folder / name).write_bytes(content)
        resources.append((name, hashlib.md5(content).hexdigest()))
    for dataset in (datasets.MNIST, datasets.FashionMNIST, datasets.KMNIST):
        monkeypatch.setattr(dataset, "resources", resources)
    return folder


def unpack(folder: Path) -> None:
    for path in folder.glob("*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()


@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist", "kmnist"])
@pytest.mark.parametrize("packed", [True, False])
def test_idx_folder(idx_folder, dataset, packed):
    if not packed:
        unpack(idx_folder)
    both = data.load(Options(dataset, root=idx_folder))
    assert np.array_equal(both.images[:, 0], IMAGES)
    assert np.array_equal(both.labels, LABELS) and both.labels.dtype == np.int64
    assert both.is_test.tolist() == [False] * 5 + [True] * 2
    found = {split: data.sizes(Options(dataset, root=idx_folder, split=split)) for split in data.SPLITS}
    assert found == {"train": (5, 4), "test": (2, 1), "both": (7, 2)}
    assert data.sizes(Options(dataset)) == (70_000, 10_000) and data.sizes(Options(dataset, split="test"))[1] == 9999
    assert [path.name.split("-")[0] for path in both.files] == ["train", "train", "t10k", "t10k"]


def test_idx_split_needs_only_its_files(idx_folder):
    train = data.load(Options("mnist", root=idx_folder, split="train"))
    assert np.array_equal(train.images[:, 0], IMAGES[:5]) and train.is_test is None
    (idx_folder / "train-images-idx3-ubyte.gz").unlink()
    test = data.load(Options("mnist", root=idx_folder, split="test", image_size=32, channels=3))
    assert test.images.shape == (2, 3, 32, 32) and test.is_test is None
    with pytest.raises(UserError) as caught:
        data.check(Options("mnist", root=idx_folder, split="both"))
    message = str(caught.value)
    assert "data.root" in message and "data.split 'both'" in message
    assert "train-images-idx3-ubyte.gz" in message and "labels" not in message and "t10k" not in message


def test_idx_flipped_byte_is_refused(idx_folder):
    path = idx_folder / "t10k-labels-idx1-ubyte.gz"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{path}: .*MD5"):
        data.load(Options("mnist", root=idx_folder))


@pytest.mark.parametrize(
    "content", [b"", b"\0\0", b"no IDX file at all", idx_bytes(IMAGES[5:])[:-1], idx_bytes(LABELS)]
)
def test_idx_damaged_unpacked_file_is_refused(idx_folder, content):
    unpack(idx_folder)
    path = idx_folder / "t10k-images-idx3-ubyte"
    path.write_bytes(content)
    assert data.sizes(Options("mnist", root=idx_folder)) in (None, (7, 2))  # its head may be whole
    with pytest.raises(UserError, match=f"{path}: not a whole original file") as caught:
        data.load(Options("mnist", root=idx_folder, split="test"))
    assert "delete" not in str(caught.value) and "put the original file in its place" in str(caught.value)


def test_idx_images_and_labels_must_be_as_many(idx_folder):
    unpack(idx_folder)
    (idx_folder / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(LABELS))
    with pytest.raises(UserError, match="t10k-labels-idx1-ubyte: 7 labels for 2 images"):
        data.load(Options("mnist", root=idx_folder, split="test"))


@pytest.fixture
def mirror(idx_folder, monkeypatch):
    """torchvision's download gives the files of idx_folder; returns the names asked for."""
    from torchvision.datasets import utils

    asked = []

    def fetch(url, filename, *_):
        asked.append(url.rsplit("/", 1)[-1])
        Path(filename).write_bytes((idx_folder / asked[-1]).read_bytes())

    monkeypatch.setattr(utils, "_get_redirect_url", lambda url, max_hops: url)
    monkeypatch.setattr(utils, "_urlretrieve", fetch)
    return asked


def test_download_and_reuse(mirror, tmp_path):
    options = Options("kmnist", split="test", cache=tmp_path / "cache")
    loaded = data.load(options)
    assert np.array_equal(loaded.images[:, 0], IMAGES[5:])
    assert mirror == ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"]
    loaded.files[0].write_bytes(b"half")  # what a killed run leaves is fetched again, the rest stays
    assert np.array_equal(data.load(options).images, loaded.images)
    assert mirror[2:] == ["t10k-images-idx3-ubyte.gz"]


def test_download_corrupt(mirror, idx_folder, tmp_path):
    (idx_folder / "train-labels-idx1-ubyte.gz").write_bytes(b"not what was published")
    with pytest.raises(UserError) as caught:
        data.load(Options("mnist", cache=tmp_path / "cache"))
    message = str(caught.value)
    assert message.startswith("data.dataset 'mnist': train-labels-idx1-ubyte.gz could not be downloaded")
    assert "corrupted" in message and message.endswith("put the four original files in a folder and set data.root")


def test_download_fails(idx_folder, tmp_path, monkeypatch):
    from torchvision.datasets import utils

    def unreachable(*_, **__):
        raise urllib.error.URLError("Name or service\nnot known")

    monkeypatch.setattr(utils, "_get_redirect_url", unreachable)
    with pytest.raises(UserError) as caught:
        data.load(Options("fashion_mnist", cache=tmp_path / "cache"))
    message = str(caught.value)
    assert "data.dataset 'fashion_mnist'" in message and "not known" in message and "set data.root" in message
    assert "\n" not in message


def test_no_place_for_a_download():
    with pytest.raises(UserError, match="data.root: not set"):
        data.load(Options("mnist"))


@pytest.mark.skipif(
    not (MNIST / "t10k-images-idx3-ubyte.gz").is_file(),
    reason="no MNIST test files; set DDPM_DIP_MNIST to the folder that holds the original files",
)
def test_real_mnist():
    loaded = data.load(Options("mnist", root=MNIST, split="test"))
    assert loaded.images.shape == (10000, 1, 28, 28)
    assert loaded.images.mean() / 255 == pytest.approx(0.1325, abs=5e-5)
    assert loaded.images.std() / 255 == pytest.approx(0.3105, abs=5e-5)
    assert np.bincount(loaded.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert loaded.labels[:5].tolist() == [7, 2, 1, 0, 4]


# --- folders of images ---


def load_one(folder: Path, channels: int, size: int | None = 4) -> np.ndarray:
    images = data.load(Options("image_folder", root=folder, image_size=size, channels=channels)).images
    assert len(images) == 1
    return images[0]


def palette_image() -> Image.Image:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])  # index 1 is red
    return image


@pytest.mark.parametrize(
    ("image", "rgb", "grey"),
    [
        (Image.new("L", (8, 8), 100), (100, 100, 100), 100),
        (Image.new("1", (8, 8), 1), (255, 255, 255), 255),
        (Image.new("RGB", (8, 8), (255, 0, 0)), (255, 0, 0), 76),
        (palette_image(), (255, 0, 0), 76),
        (Image.new("RGBA", (8, 8), (255, 0, 0, 0)), (255, 255, 255), 255),  # fully transparent: white
        (Image.new("RGBA", (8, 8), (255, 0, 0, 255)), (255, 0, 0), 76),
        (Image.new("LA", (8, 8), (0, 51)), (204, 204, 204), 204),
        (Image.fromarray(np.full((8, 8), 25700, np.uint16)), (100, 100, 100), 100),
    ],
    ids=["grey", "bilevel", "rgb", "palette", "transparent", "rgba", "grey-alpha", "16-bit"],
)
def test_image_modes(tmp_path, image, rgb, grey):
    image.save(tmp_path / "a.png")
    assert load_one(tmp_path, 3).reshape(3, -1).T.tolist() == [list(rgb)] * 16
    assert load_one(tmp_path, 1).reshape(-1).tolist() == [grey] * 16


def test_cmyk_jpeg_and_gif(tmp_path):
    Image.new("CMYK", (8, 8), (0, 0, 0, 255)).save(tmp_path / "a.JPG")
    palette_image().save(tmp_path / "b.gif")
    images = data.load(Options("image_folder", root=tmp_path, image_size=4, channels=3)).images
    assert images[0].max() < 10
    assert images[1, :, 0, 0].tolist() == [255, 0, 0]


def test_centre_crop_and_rotation(tmp_path):
    pixels = np.arange(4 * 7, dtype=np.uint8).reshape(4, 7)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(load_one(tmp_path, 1, size=None)[0], pixels[:, 1:5])
    (tmp_path / "a.png").unlink()
    exif = Image.Exif()
    exif[0x0112] = 3  # the camera was upside down
    Image.fromarray(pixels[:, :4].copy()).save(tmp_path / "b.png", exif=exif)
    assert np.array_equal(load_one(tmp_path, 1, size=None)[0], pixels[::-1, 3::-1])


def test_folder_is_walked_in_order_and_other_files_are_ignored(tmp_path):
    for value, name in enumerate(["a/z.png", "b.bmp", "b/a.webp", "c.jpeg"]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (16, 16), value * 50).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "._c.jpeg").write_bytes(b"left by macOS")
    (tmp_path / "folder.png").mkdir()
    loaded = data.load(Options("image_folder", root=tmp_path))
    names = [path.relative_to(tmp_path).as_posix() for path in loaded.files]
    assert names == ["a/z.png", "b/a.webp", "b.bmp", "c.jpeg"]  # sorted part by part
    assert loaded.images[:, 0, 0, 0].tolist() == pytest.approx([0, 100, 50, 150], abs=2)
    assert loaded.labels.shape == (0,) and loaded.is_test is None


def test_sizes_that_differ_need_image_size(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    Image.new("L", (9, 12)).save(tmp_path / "b.png")
    assert len(data.load(Options("image_folder", root=tmp_path, image_size=16)).images) == 2
    with pytest.raises(UserError, match="data.image_size is not set, but the images differ in size .*b.png"):
        data.load(Options("image_folder", root=tmp_path))


def test_folder_without_images(tmp_path):
    (tmp_path / "notes.txt").write_text("not an image")
    with pytest.raises(UserError, match=f"data.root: '{tmp_path}' holds no image; .*png"):
        data.check(Options("image_folder", root=tmp_path))


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b"no image at all", lambda b: b[: len(b) // 2]])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_damaged_image_is_named(tmp_path, damage, suffix):
    path = tmp_path / f"damaged{suffix}"
    Image.fromarray(IMAGES[0]).save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=f"{path}: cannot be read as an image .*repair it, or move it elsewhere"):
        load_one(tmp_path, 1)


@pytest.mark.parametrize("limit", [50, 100])  # of pixels; Pillow refuses from twice the limit on, and warns below it
def test_decompression_bomb_is_refused(tmp_path, monkeypatch, limit):
    Image.new("L", (11, 11)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with (
        warnings.catch_warnings(),
        pytest.raises(UserError, match="bomb.png: cannot be read as an image .*exceeds limit"),
    ):
        warnings.simplefilter("error")
        image_folder.open_square(tmp_path / "bomb.png", 1)


def test_grey_kept_in_colour(tmp_path):
    pixels = np.repeat(IMAGES[0][:, :, None], 3, axis=2)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(load_one(tmp_path, 1, size=None)[0], IMAGES[0])
    assert np.array_equal(load_one(tmp_path, 3, size=None), pixels.transpose(2, 0, 1))


def test_16_bit_colour(tmp_path):
    """Pillow cannot write one: three values of 16 bits."""
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(8, 8, 16, 2, (b"\0" + struct.pack(">3H", 65535, 25700, 0) * 8) * 8))
    assert load_one(tmp_path, 3).reshape(3, -1).T.tolist() == [[255, 100, 0]] * 16


def png_bytes(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">2I5B", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_real_decompression_bomb_is_refused(tmp_path):
    """Some bytes that would be 10 GB of pixels."""
    (tmp_path / "bomb.png").write_bytes(png_bytes(60_000, 60_000, 8, 2, bytes(1000)))
    with pytest.raises(UserError, match="bomb.png: cannot be read as an image .*decompression bomb"):
        load_one(tmp_path, 3)


def test_names_may_be_any(tmp_path):
    folder = tmp_path / "Bilder für später"
    names = ["ü ñ.png", "猫.png", "-rf *.png", "a\nb.png"]
    if sys.platform == "linux":  # elsewhere a name must be text
        names.append(os.fsdecode(b"\xff\xfe.png"))
    (folder / "ä").mkdir(parents=True)
    for name in names:
        Image.new("L", (8, 8), 7).save(folder / "ä" / name)
    loaded = data.load(Options("image_folder", root=str(folder)))
    assert len(loaded.images) == len(names) and {path.name for path in loaded.files} == set(names)
    assert data.listing(folder) == data.listing(str(folder))
    (folder / "ä" / "ü ñ.png").write_bytes(b"")
    with pytest.raises(UserError, match="Bilder für später/ä/ü ñ.png: cannot be read"):
        data.load(Options("image_folder", root=folder))


def test_links(tmp_path):
    images, elsewhere = tmp_path / "images", tmp_path / "elsewhere"
    images.mkdir(), elsewhere.mkdir()
    Image.new("L", (8, 8), 7).save(elsewhere / "a.png")
    (images / "b.png").symlink_to(elsewhere / "a.png")
    (images / "loop").symlink_to(images)  # is not walked
    assert len(data.load(Options("image_folder", root=images)).images) == 1
    assert data.listing(images) is not None
    (images / "c.png").symlink_to(images / "c.png")
    with pytest.raises(UserError, match="c.png: cannot be read as an image .*symbolic links"):
        data.load(Options("image_folder", root=images))
    (images / "c.png").unlink()
    (images / "c.png").symlink_to(images / "gone")
    with pytest.raises(UserError, match="c.png: cannot be read as an image .*No such file"):
        data.load(Options("image_folder", root=images))


def test_a_named_pipe_is_no_image(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(UserError, match="a.png: cannot be read as an image .*neither a file nor a link"):
        data.load(Options("image_folder", root=tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("mode", [0, stat.S_IRUSR], ids=["none", "list"])  # of a folder: not even names, or only them
@pytest.mark.parametrize("what", ["a.png", "inner", "."])
def test_what_may_not_be_read_is_named(tmp_path, what, mode):
    (tmp_path / "inner").mkdir()
    for name in ("a.png", "inner/b.png"):
        Image.new("L", (8, 8), 7).save(tmp_path / name)
    path = tmp_path / what
    path.chmod(0 if path.is_file() else mode)
    try:
        with pytest.raises(UserError, match=str(path)):
            data.load(Options("image_folder", root=tmp_path))
    finally:
        path.chmod(0o755)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_archive_that_may_not_be_read_is_named(folder, tmp_path):
    path = pack(folder, "a.zip")
    path.chmod(0)
    with pytest.raises(UserError, match="a.zip' cannot be read: Permission denied"):
        data.load(packed_options(path, tmp_path))
    (tmp_path / "shut").mkdir()
    path.rename(tmp_path / "shut" / "a.zip")
    (tmp_path / "shut").chmod(0)
    try:
        for root in ("shut/a.zip", "shut/a"):
            with pytest.raises(UserError, match=f"data.root: '{tmp_path / root}'"):
                data.load(packed_options(tmp_path / root, tmp_path))
    finally:
        (tmp_path / "shut").chmod(0o755)


def test_permission_denied_is_named(tmp_path, monkeypatch):
    """The same for root: the system's refusal is played."""
    (tmp_path / "inner").mkdir()
    Image.new("L", (8, 8), 7).save(tmp_path / "a.png")
    options = Options("image_folder", root=tmp_path)

    def refuse(path, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", refuse)
        with pytest.raises(UserError, match="a.png: cannot be read as an image .*Permission denied"):
            data.load(options)
    scandir = os.scandir
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", lambda path: (refuse if str(path).endswith("inner") else scandir)(path))
        with pytest.raises(UserError, match="inner: cannot be listed .Permission denied"):
            data.load(options)
    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(UserError, match=f"data.root: '{tmp_path}' cannot be listed: .*Permission denied"):
        data.listing(tmp_path)


# --- archives of images ---


@pytest.fixture
def folder(tmp_path):
    """Three images in two folders, and what is none."""
    folder = tmp_path / "folder"
    for value, name in enumerate(["b/ä 1.png", "a/z.png", "c.jpeg"]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 8), (value * 50, 10, 20)).save(folder / name)
    (folder / "notes.txt").write_text("not an image")
    return folder


def pack(folder: Path, name: str) -> Path:
    """Into an archive beside the folder."""
    path = folder.parent / name
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(folder.rglob("*")):
                archive.write(file, file.relative_to(folder))
    else:
        with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as archive:
            archive.add(folder, ".")
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def packed_options(root: object, tmp_path: Path, sha256: str | None = None) -> Options:
    return Options("image_folder", root=root, channels=3, cache=tmp_path / "cache", sha256=sha256)


KINDS = ["a b.zip", "a.tar", "a.tar.gz", "A.TGZ"]


@pytest.mark.parametrize("name", KINDS)
def test_an_archive_is_as_good_as_its_folder(folder, tmp_path, name):
    path = pack(folder, name)
    options = packed_options(str(path), tmp_path)
    data.check(options)
    loaded, expected = data.load(options), data.load(options._replace(root=folder))
    assert np.array_equal(loaded.images, expected.images) and len(loaded.images) == 3
    assert loaded.labels.shape == (0,) and loaded.is_test is None and list(loaded.files) == [path]
    unpacked = tmp_path / "cache" / digest(path)
    assert [*(tmp_path / "cache").iterdir()] == [unpacked]  # nothing else is left
    assert {p.relative_to(unpacked) for p in unpacked.rglob("*")} == {p.relative_to(folder) for p in folder.rglob("*")}
    assert stat.S_IMODE(unpacked.stat().st_mode) == 0o755


def test_an_unpacked_archive_is_reused(folder, tmp_path, monkeypatch):
    path = pack(folder, "a.zip")
    options = packed_options(path, tmp_path, digest(path).upper())
    first = data.load(options)
    monkeypatch.setattr(archives, "unpack", lambda *_: pytest.fail("unpacked again"))
    assert np.array_equal(data.load(options).images, first.images)
    path = path.rename(tmp_path / "other name.zip")  # content counts, not name
    assert np.array_equal(data.load(options._replace(root=path)).images, first.images)


@pytest.mark.parametrize("name", KINDS)
def test_an_archive_of_another_digest_is_not_read(folder, tmp_path, name, monkeypatch):
    path = pack(folder, name)
    monkeypatch.setattr(archives, "unpack", lambda *_: pytest.fail("read"))
    with pytest.raises(UserError) as caught:
        data.load(packed_options(path, tmp_path, "0" * 64))
    message = str(caught.value)
    assert str(path) in message and digest(path) in message and "data.sha256 is " + "0" * 64 in message
    assert not (tmp_path / "cache").exists()


def test_a_folder_may_be_named_like_an_archive(folder, tmp_path):
    folder = folder.rename(tmp_path / "folder.zip")
    assert len(data.load(Options("image_folder", root=folder)).images) == 3


def test_an_archive_needs_a_cache(folder, tmp_path):
    with pytest.raises(UserError, match="a.zip' is an archive, and there is no folder to unpack it to"):
        data.load(Options("image_folder", root=pack(folder, "a.zip")))
    (tmp_path / "cache").write_text("not a folder")
    with pytest.raises(UserError, match="a.zip' cannot be unpacked to .*cache.*; make room or permission there"):
        data.load(packed_options(pack(folder, "a.zip"), tmp_path))


def test_an_archive_without_images(folder, tmp_path):
    for path in list(folder.rglob("*.*g")):
        path.unlink()
    with pytest.raises(UserError, match="data.root: '.*a.zip' holds no image; .*png"):
        data.load(packed_options(pack(folder, "a.zip"), tmp_path))


def test_a_damaged_image_of_an_archive_is_named(folder, tmp_path):
    (folder / "b/half.png").write_bytes((folder / "a/z.png").read_bytes()[:40])
    with pytest.raises(UserError, match="data.root: '.*a.tar', unpacked: .*b/half.png: cannot be read as an image"):
        data.load(packed_options(pack(folder, "a.tar"), tmp_path))


def refused(path: Path, tmp_path: Path, match: str) -> None:
    """Loading fails, and nothing was left in the cache or written beside it."""
    (tmp_path / "cache").mkdir(exist_ok=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=match) as caught:
        data.load(packed_options(path, tmp_path))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("damage", ["empty", "text", "half", "flipped", "end cut"])
def test_a_damaged_archive_is_named(folder, tmp_path, name, damage):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "a/noise.png")  # so that most bytes are the content of a file
    path = pack(folder, name)
    content = bytearray(path.read_bytes())
    if damage == "flipped":  # a plain tar has checksums for its headers alone
        content[content.index(b"z.png") if name == "a.tar" else len(content) // 2] ^= 1
    # a plain tar ends with zeros, of which some may be missing; here, all are
    end = len(content.rstrip(b"\0")) // 512 * 512 if name == "a.tar" else -1
    whole = {"empty": b"", "text": b"no archive at all", "half": content[: len(content) // 2], "end cut": content[:end]}
    path.write_bytes(whole.get(damage, content))
    refused(path, tmp_path, "cannot be unpacked to .*; get a whole copy of it")


@pytest.mark.parametrize("damage", ["header", "no end", "half a header"])
def test_a_tar_that_ends_early_is_named(tmp_path, damage):
    """Python's tarfile takes each of them for whole, and leaves out the members after it."""
    path = tar_with(tmp_path / "a.tar", *[(f"{i}.png", b"x" * 700, tarfile.REGTYPE) for i in range(3)])
    content = bytearray(path.read_bytes())
    member = 3 * tarfile.BLOCKSIZE
    if damage == "header":
        content[member] ^= 1  # in the second one's name
    path.write_bytes(content[: {"header": None, "no end": 3 * member, "half a header": member + 100}[damage]])
    with tarfile.open(path) as archive:
        assert len(archive.getnames()) == (3 if damage == "no end" else 1)
    refused(path, tmp_path, "cannot be unpacked .*it is damaged or ends early")


def zip_with(path: Path, *members: tuple[str, bytes, int]) -> Path:
    """Members by name, content and Unix mode."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = mode << 16, zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


def tar_with(path: Path, *members: tuple[str, bytes, bytes]) -> Path:
    """Members by name, content (of a link, its target) and tar's type."""
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = content.decode()
            else:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


UNSAFE_NAMES = {
    "/etc/evil.png": "is at an absolute path",
    "//evil.png": "is at an absolute path",
    "C:/evil.png": "is at an absolute path",
    "C:evil.png": "is at an absolute path",
    "\\evil.png": "is at an absolute path",
    "../evil.png": "leads out of the archive's folder",
    "a/../../evil.png": "leads out of the archive's folder",
    "a/..": "leads out of the archive's folder",
    "..\\evil.png": "leads out of the archive's folder",
}


@pytest.mark.parametrize(("name", "says"), UNSAFE_NAMES.items())
def test_names_that_lead_out_are_refused(tmp_path, name, says):
    match = f"its member {re.escape(repr(name))} {says}"
    refused(zip_with(tmp_path / "a.zip", ("ok.png", b"", 0), (name, b"x", 0)), tmp_path, match)
    plain = tarfile.REGTYPE
    refused(tar_with(tmp_path / "a.tar", ("ok.png", b"", plain), (name, b"x", plain)), tmp_path, match)


@pytest.mark.parametrize("target", [b"../outside", b"/etc", b"ok.png"])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_in_archives_are_refused(tmp_path, target, kind):
    match = "its member 'link.png' is a link"
    members = ("link.png", target, kind), ("link.png/evil.png", b"x", tarfile.REGTYPE)
    refused(tar_with(tmp_path / "a.tar.gz", *members), tmp_path, match)
    if kind == tarfile.SYMTYPE:
        refused(zip_with(tmp_path / "a.zip", ("link.png", target, 0o120777)), tmp_path, match)


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_in_archives_are_refused(tmp_path, kind):
    match = "its member 'null.png' is a device"
    refused(tar_with(tmp_path / "a.tar", ("null.png", b"", kind)), tmp_path, match)
    mode = {tarfile.CHRTYPE: stat.S_IFCHR, tarfile.BLKTYPE: stat.S_IFBLK, tarfile.FIFOTYPE: stat.S_IFIFO}[kind]
    refused(zip_with(tmp_path / "a.zip", ("null.png", b"", mode | 0o666)), tmp_path, match)


def test_members_that_are_in_each_other_s_way(tmp_path):
    members = ("a.png", b"x", tarfile.REGTYPE), ("a.png/b.png", b"x", tarfile.REGTYPE)
    refused(tar_with(tmp_path / "a.tar", *members), tmp_path, "cannot be unpacked")


def test_the_last_of_two_members_of_a_name_counts(folder, tmp_path):
    red, blue = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(red, "png")
    Image.new("RGB", (8, 8), "blue").save(blue, "png")
    members = [("a.png", image.getvalue(), tarfile.REGTYPE) for image in (red, blue)]
    loaded = data.load(packed_options(tar_with(tmp_path / "a.tar", *members), tmp_path))
    assert loaded.images[:, :, 0, 0].tolist() == [[0, 0, 255]]


def test_modes_of_members_do_not_count(folder, tmp_path):
    (folder / "c.jpeg").chmod(0o4000)
    options = packed_options(pack(folder, "a.tar"), tmp_path)
    assert len(data.load(options).images) == 3
    unpacked = tmp_path / "cache" / digest(options.root) / "c.jpeg"
    assert unpacked.stat().st_mode & 0o7777 == (folder / "notes.txt").stat().st_mode & 0o7777


def test_bombs_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "SMALL", 10_000)
    monkeypatch.setattr(archives, "RATIO", 20)
    match = "unpacks to more than .* bytes or .* members"
    zeros = bytes(2**20)
    refused(zip_with(tmp_path / "a.zip", ("a.png", zeros, 0)), tmp_path, match)
    refused(tar_with(tmp_path / "a.tar.gz", ("a.png", zeros, tarfile.REGTYPE)), tmp_path, match)
    # below the limit one by one, above it together
    parts = [(f"{i}.png", bytes(9_000), 0) for i in range(20)]
    refused(zip_with(tmp_path / "b.zip", *parts), tmp_path, match)
    parts = [(name, content, tarfile.REGTYPE) for name, content, _ in parts]
    refused(tar_with(tmp_path / "b.tar.gz", *parts), tmp_path, match)

    monkeypatch.setattr(archives, "SMALL", 2**30)
    monkeypatch.setattr(archives, "LARGEST", 2**19)
    refused(zip_with(tmp_path / "a.zip", ("a.png", zeros, 0)), tmp_path, match)
    monkeypatch.setattr(archives, "MEMBERS", 19)
    refused(zip_with(tmp_path / "b.zip", *[(f"{i}/", b"", 0) for i in range(20)]), tmp_path, match)


def test_a_zip_that_lies_about_sizes_is_refused(tmp_path):
    path = zip_with(tmp_path / "a.zip", ("a.png", bytes(2**20), 0))
    path.write_bytes(path.read_bytes().replace(struct.pack("<I", 2**20), struct.pack("<I", 100)))
    refused(path, tmp_path, "cannot be unpacked .*CRC")


def test_a_tar_whose_header_would_fill_the_memory_is_refused(tmp_path):
    """A long name, of 8 GB by its header: tarfile would read it in one go."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 8 * 2**30 - 1
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(10_000)))
    refused(path, tmp_path, "cannot be unpacked .*a header of 8,589,934,")


def test_an_endless_tar_is_refused(tmp_path, monkeypatch):
    """Headers without a member after them count too."""
    monkeypatch.setattr(archives, "SMALL", 10_000)
    comments = {"comment": "x" * 500_000}
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as archive:
        for i in range(10):
            info = tarfile.TarInfo(f"{i}.png")
            info.pax_headers = comments
            archive.addfile(info)
    refused(tmp_path / "a.tar.gz", tmp_path, "cannot be unpacked .*bytes in all")


def test_other_compressions_and_passwords_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.png", bytes(1000))
    refused(tmp_path / "a.zip", tmp_path, "'a.png' is packed by method 12")
    path = zip_with(tmp_path / "b.zip", ("a.png", b"x", 0))
    content = bytearray(path.read_bytes())
    content[6] |= 1  # the flag of encryption, in the local header and in the directory
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    refused(path, tmp_path, "cannot be unpacked .*password")


def test_two_runs_may_unpack_at_once(folder, tmp_path, monkeypatch):
    """The other one is done just before this one renames its folder."""
    path, rename = pack(folder, "a.zip"), Path.rename

    def slow(self, target):
        (target / "a").mkdir(parents=True)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", slow)
    archives.fetch(packed_options(path, tmp_path))
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [digest(path)]


# --- downloads of archives ---


@pytest.fixture
def served(folder, tmp_path, monkeypatch):
    """A server's address and the paths asked of it, for what lies in tmp_path."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            if self.path == "/short.zip":  # announces more than it sends
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(bytes(10))
            elif self.path == "/cut.zip":  # a chunk that ends early
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"100\r\nhalf")
            elif self.path == "/away.zip":
                self.send_response(302)
                self.send_header("Location", "/a.zip")
                self.end_headers()
            else:
                super().do_GET()

        def log_message(self, *_):
            pass

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=tmp_path))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}", asked=asked)
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("name", ["a.zip", "a.tgz", "away.zip"])
def test_an_address_is_as_good_as_its_folder(folder, tmp_path, served, name):
    path = pack(folder, name.replace("away", "a"))
    options = packed_options(f"{served.url}/{name}", tmp_path, digest(path))
    data.check(options)
    assert served.asked == []
    loaded = data.load(options)
    assert np.array_equal(loaded.images, data.load(Options("image_folder", root=folder, channels=3)).images)
    archive = tmp_path / "cache" / f"{digest(path)}.archive"
    assert list(loaded.files) == [archive] and digest(archive) == digest(path)
    assert {p.name for p in (tmp_path / "cache").iterdir()} == {digest(path), archive.name}


def test_a_download_is_reused_where_it_is_right(folder, tmp_path, served):
    path = pack(folder, "a.zip")
    options = packed_options(f"{served.url}/a.zip", tmp_path, digest(path))
    archive = data.load(options).files[0]
    data.load(options._replace(sha256=options.sha256.upper()))
    assert served.asked == ["/a.zip"]
    archive.write_bytes(b"half")
    data.load(options)
    assert served.asked == ["/a.zip"] * 2 and digest(archive) == digest(path)


def test_a_download_of_another_digest_is_refused(folder, tmp_path, served):
    path = pack(folder, "a.zip")
    with pytest.raises(UserError) as caught:
        data.load(packed_options(f"{served.url}/a.zip", tmp_path, "0" * 64))
    message = str(caught.value)
    assert f"{served.url}/a.zip" in message and digest(path) in message and "0" * 64 in message
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gone.zip", "404"),
        ("short.zip", "it broke off after 10 of 1000 bytes"),
        ("cut.zip", "IncompleteRead"),
        ("a b.zip", "can't contain control characters"),
        ("ä.zip", "ascii"),
    ],
)
def test_a_failed_download_is_named(tmp_path, served, name, says):
    url = f"{served.url}/{name}"
    with pytest.raises(UserError, match=f"data.root: '{url}' could not be downloaded .*{says}.*local copy"):
        data.load(packed_options(url, tmp_path, "0" * 64))
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/a.zip", "http://", "https://[/a.zip", "http://127.0.0.1:x/a.zip"])
def test_an_address_that_does_not_answer(tmp_path, monkeypatch, url):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(UserError, match=f"data.root: '{re.escape(url)}' could not be downloaded"):
        data.load(packed_options(url, tmp_path, "0" * 64))


def test_an_endless_download_is_refused(folder, tmp_path, served, monkeypatch):
    path = pack(folder, "a.zip")
    monkeypatch.setattr(archives, "LARGEST", 100)
    with pytest.raises(UserError, match="a.zip' could not be downloaded .*more than 100 bytes"):
        data.load(packed_options(f"{served.url}/a.zip", tmp_path, digest(path)))
    assert list((tmp_path / "cache").iterdir()) == []


# --- listing ---


def test_listing_of_a_folder_notices_names_and_sizes(folder):
    first = data.listing(folder)
    os.utime(folder / "notes.txt", (0, 0))
    assert data.listing(str(folder)) == first
    (folder / "notes.txt").write_text("longer than it was")
    second = data.listing(folder)
    (folder / "notes.txt").rename(folder / "renamed.txt")
    assert len({first, second, data.listing(folder)}) == 3
    assert data.listing(None) is None


def test_listing_of_an_archive_is_its_name_and_size(folder, tmp_path):
    path = pack(folder, "a.zip")
    first = data.listing(path)
    os.utime(path, (0, 0))
    assert data.listing(path) == first
    (tmp_path / "other").mkdir()
    assert data.listing(path.rename(tmp_path / "other" / "a.zip")) == first
    with open(tmp_path / "other" / "a.zip", "ab") as file:
        file.write(b"x")
    second = data.listing(tmp_path / "other" / "a.zip")
    third = data.listing((tmp_path / "other" / "a.zip").rename(path.with_name("b.zip")))
    assert len({first, second, third}) == 3


def test_listing_of_an_address_is_its_digest():
    assert data.listing("https://127.0.0.1/a.zip", "0" * 64) == "0" * 64


# --- the stage ---

SETTINGS = {
    "dataset": "digits", "root": None, "sha256": None, "split": "both", "image_size": None, "channels": 1,
    "reference": 200, "seed": 1, "sources": None,
}  # fmt: skip


def prepare_data(study: Path, **settings: object) -> Path:
    path = jobfile.write(study, "prepare_data", SETTINGS | settings, {}, {"data": "data/set.npz"})
    jobfile.run("prepare_data", path)
    return study / "data/set.npz"


def test_stage_writes_data_and_its_record(tmp_path, capsys):
    output = prepare_data(tmp_path, image_size=16)
    parts = files.read_npz(output)
    loaded = data.load(Options("digits", image_size=16))
    assert np.array_equal(parts["train"], loaded.images[parts["train_index"]])
    assert np.array_equal(parts["reference"], loaded.images[parts["reference_index"]])
    assert parts["train"].shape == (1597, 1, 16, 16) and parts["reference"].shape == (200, 1, 16, 16)
    record = read_record(output)
    assert record["counts"] == {"train": 1597, "reference": 200} and record["image_shape"] == [1, 16, 16]
    assert sum(record["classes"]["train"].values()) == 1597 and record["work"] == {"images": 1797}
    assert record["job"]["settings"] == SETTINGS | {"image_size": 16}
    assert record["sha256"] == files.sha256(output)
    assert "1597 train and 200 reference images" in capsys.readouterr().out


def test_stage_names_the_source_files_and_keeps_downloads_beside_the_study(mirror, tmp_path):
    record = read_record(prepare_data(tmp_path / "results/mine", dataset="mnist", reference=2, image_size=28))
    cache = tmp_path / "results/downloads/MNIST"
    names = {Path(path).name: digest for path, digest in record["read"].items()}
    assert names == {path.name: files.sha256(path) for path in cache.iterdir()} and len(names) == 4


def test_stage_error_is_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        errors.run(lambda: prepare_data(tmp_path / "study", dataset="mnist", root=str(tmp_path)))
    error = capsys.readouterr().err
    assert stopped.value.code == 1 and error.startswith("error: data.root: ") and error.count("\n") == 1
    assert not (tmp_path / "study/data").exists()


def test_the_script_runs_the_stage(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    good = jobfile.write(tmp_path, "prepare_data", SETTINGS, {}, {"data": "data/set.npz"}, name="good")
    done = jobfile.script("prepare_data", good)
    assert done.returncode == 0, done.stderr
    assert len(files.read_npz(tmp_path / "data/set.npz")["train"]) == 1597
    bad = SETTINGS | {"dataset": "minst"}
    done = jobfile.script("prepare_data", jobfile.write(tmp_path, "prepare_data", bad, {}, {"data": "never.npz"}))
    assert done.returncode == 1 and done.stderr.startswith("error: data.dataset 'minst' is unknown")
    assert done.stderr.count("\n") == 1 and not (tmp_path / "never.npz").exists()
