"""Datasets: what is read is what the files hold, splits are disjoint and repeatable, bad input is named."""

import gzip
import hashlib
import json
import os
import struct
import subprocess
import sys
import urllib.error
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ddpm_dip import data
from ddpm_dip.data import Loaded, Options, image_folder, photos
from ddpm_dip.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "workflow/scripts/prepare_data.py"
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

    from ddpm_dip.scale import to_model_range

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
    is_test = data.load(Options("photos", channels=3)).is_test
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


def test_available_datasets():
    assert {"digits", "mnist", "fashion_mnist", "kmnist", "image_folder"} <= set(data.DATASETS)
    assert "idx" not in data.DATASETS
    data.check(Options("fashion-mnist"))


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
    ],
)
def test_bad_settings_are_named(options, message):
    with pytest.raises(UserError, match=message):
        data.check(options)


def test_check_is_light():
    """It runs whenever the workflow is parsed."""
    code = (
        "import sys; from ddpm_dip import data;"
        "data.check(data.Options('mnist')); data.check(data.Options('digits'));"
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
    from ddpm_dip import torchvision_import  # noqa: F401

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
    with pytest.raises(UserError, match=f"{path}: not a whole original file"):
        data.load(Options("mnist", root=idx_folder, split="test"))


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
    with pytest.raises(UserError, match=f"{path}: cannot be read as an image"):
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


# --- the script ---


def run_script(*arguments: object) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)], env=environment, capture_output=True, text=True
    )


def test_script_writes_data_and_provenance(tmp_path):
    output, stamp = tmp_path / "digits.npz", tmp_path / "stamp.json"
    stamp.write_text('{"code": "abc"}')
    common = ("--dataset", "digits", "--reference", 200, "--seed", 1)
    done = run_script(*common, "--image-size", 16, "--output", output, "--stamp", stamp)
    assert done.returncode == 0, done.stderr
    with np.load(output) as archive:
        parts = dict(archive)
    loaded = data.load(Options("digits", image_size=16))
    assert np.array_equal(parts["train"], loaded.images[parts["train_index"]])
    assert np.array_equal(parts["reference"], loaded.images[parts["reference_index"]])
    assert parts["train"].shape == (1597, 1, 16, 16) and parts["reference"].shape == (200, 1, 16, 16)
    provenance = json.loads((tmp_path / "digits.npz.provenance.json").read_text())
    assert provenance["counts"] == {"train": 1597, "reference": 200}
    assert sum(provenance["classes"]["train"].values()) == 1597
    assert provenance["stamp"] == {"code": "abc"} and provenance["spec"]["image_size"] == 16


def test_script_error_is_one_line(tmp_path):
    output = tmp_path / "data.npz"
    done = run_script("--dataset", "mnist", "--root", tmp_path, "--reference", 10, "--seed", 1, "--output", output)
    assert done.returncode == 1
    assert done.stderr.startswith("error: data.root: ") and done.stderr.count("\n") == 1
    assert not output.exists()
