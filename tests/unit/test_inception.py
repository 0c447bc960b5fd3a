"""FID features against pytorch-fid's own path, with stand-in weights of the right shapes; and refusals.

The stand-in is pytorch-fid's architecture with random weights: the real ones are a download of 95 MB.
"""

import csv
import hashlib
import importlib
import json
from pathlib import Path
from unittest import mock

import jobfile
import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_dip.data import torchvision_import
from ddpm_dip.evaluation import features, inception
from ddpm_dip.evaluation.displays import DISPLAYS, to_rgb_uint8
from ddpm_dip.evaluation.frechet import frechet_distance
from ddpm_dip.evaluation.metrics import METRICS
from ddpm_dip.jobs import files
from ddpm_dip.jobs.errors import UserError
from ddpm_dip.jobs.job import read_record

# isort: split
import pytorch_fid.fid_score
import pytorch_fid.inception

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "stand-in.pth"
    with (
        torch.random.fork_rng(),
        mock.patch.object(pytorch_fid.inception, "load_state_dict_from_url", lambda *_, **__: {}),
        mock.patch.object(torch.nn.Module, "load_state_dict"),
    ):
        torch.manual_seed(0)
        net = pytorch_fid.inception.fid_inception_v3()
        for module in net.modules():
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight)  # else nothing is left after 94 layers
    torch.save(net.state_dict(), path)
    return path


@pytest.fixture
def as_published(stand_in, monkeypatch) -> Path:
    """The stand-in, with the expected size and digest set to its own."""
    monkeypatch.setattr(inception, "WEIGHTS_BYTES", stand_in.stat().st_size)
    monkeypatch.setattr(inception, "WEIGHTS_SHA256", files.sha256(stand_in))
    return stand_in


def grey_images(n: int, seed: int) -> torch.Tensor:
    """Smooth random pictures (n, 1, 28, 28) in [0, 1]."""
    noise = torch.rand(n, 1, 5, 5, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(noise, 28, mode="bilinear")


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_fid_is_pytorch_fids(stand_in, tmp_path, monkeypatch):
    """The same images by pytorch-fid's whole path (PNG files, its loader, net and distance) and by ours."""
    sets = {"a": grey_images(4, 0), "b": grey_images(5, 1) ** 2}
    for name, images in sets.items():
        (tmp_path / name).mkdir()
        for i, image in enumerate(images):
            pixels = (image[0] * 255).round().byte().numpy()
            Image.fromarray(pixels, "L").save(tmp_path / name / f"{i}.png")
    state = torch.load(stand_in, weights_only=True)
    monkeypatch.setattr(pytorch_fid.inception, "load_state_dict_from_url", lambda *_, **__: state)
    theirs = pytorch_fid.fid_score.calculate_fid_given_paths(
        [str(tmp_path / "a"), str(tmp_path / "b")], batch_size=3, device="cpu", dims=2048, num_workers=0
    )

    net = inception.load_inception(stand_in, verify=False)
    ours = {
        name: inception.inception_features(net, torch.from_numpy(to_rgb_uint8(x.numpy())), 2)
        for name, x in sets.items()
    }
    assert ours["a"].shape == (4, 2048)
    assert frechet_distance(ours["a"], ours["b"]) == pytest.approx(theirs, rel=1e-6)


def fetch(folder: Path, source: Path | None) -> Path:
    """Run fetch_inception. Returns the path of its status."""
    settings = {"from": None if source is None else str(source)}
    jobfile.run("fetch_inception", jobfile.write(folder, "fetch_inception", settings, {}, {"status": "inception.json"}))
    return folder / "inception.json"


@pytest.mark.long
def test_stages_compute_fid(as_published, tmp_path):
    reference = (grey_images(6, 2) * 255).byte()
    samples = 3 * grey_images(3, 3) - 1.5
    files.write_npz(tmp_path / "data.npz", reference=reference.numpy(), train_labels=np.zeros(0, np.int64))
    files.write_npz(tmp_path / "cell.npz", samples=samples.numpy(), cell=np.array(json.dumps({"model": "hw4"})))
    status = fetch(tmp_path, as_published)
    weights = tmp_path / files.read_json(status)["weights"]
    record = read_record(status)
    assert record["read"] == {str(as_published): inception.WEIGHTS_SHA256}

    cpu, nets = {"device": "cpu"}, {"inception": "inception.json"}

    def run(stage: str, settings: dict, inputs: dict, outputs: dict) -> None:
        jobfile.run(stage, jobfile.write(tmp_path, stage, settings, inputs, outputs))

    run("reference_features", cpu, {"data": "data.npz", "nets": nets}, {"features": "reference.npz"})
    inputs = {"samples": "cell.npz", "features": "reference.npz", "nets": nets}
    run("evaluate", cpu, inputs, {"metrics": "metrics.json"})
    run("floors", {"n": 3}, {"features": "reference.npz"}, {"floors": "floors.csv"})

    metrics = files.read_json(tmp_path / "metrics.json")
    others = {
        name: metric.feature_net for name, metric in METRICS.items() if metric.feature_net not in (None, "inception")
    }
    assert metrics["not_computed"] == {
        name: features.NO_ROTATION_NET if net.startswith("rotation") else "the data set has no labels"
        for name, net in others.items()
    }
    with open(tmp_path / "floors.csv", newline="") as file:
        floors = {row["display"]: row for row in csv.DictReader(file)}
    assert {row["features"] for row in floors.values()} == {"inception"}
    net = inception.load_inception(weights)
    for name, show in DISPLAYS.items():
        halves = [torch.from_numpy(to_rgb_uint8(show(x.numpy()))) for x in (reference[:3] / 127.5 - 1, samples)]
        expected = frechet_distance(*[inception.inception_features(net, half) for half in halves])
        assert metrics["displays"][name]["fid_inception"] == pytest.approx(expected, rel=1e-4)
        parts = [torch.from_numpy(to_rgb_uint8(show(x.numpy() / 127.5 - 1))) for x in (reference[:3], reference[3:])]
        floor = frechet_distance(*[inception.inception_features(net, part) for part in parts])
        # three images against three: the features' float32 rounding by batch shows in the fourth digit
        assert float(floors[name]["floor"]) == pytest.approx(floor, rel=1e-3)

    two_channels = np.zeros((3, 2, 28, 28), np.float32)
    files.write_npz(tmp_path / "cell.npz", samples=two_channels, cell=np.array("{}"))
    with pytest.raises(UserError, match=r"cell\.npz: images must be \(N, 3, H, W\) uint8"):
        run("evaluate", cpu, inputs, {"metrics": "metrics.json"})


def test_failed_download_is_said_not_raised(tmp_path, monkeypatch):
    monkeypatch.setattr(pytorch_fid.inception, "FID_WEIGHTS_URL", (tmp_path / "none.pth").as_uri())
    status = files.read_json(fetch(tmp_path, None))
    assert status["weights"] is None and "cannot be downloaded" in status["not_computed"]
    reason = features.unavailable("inception", tmp_path / "inception.json")
    assert reason == status["not_computed"]


def test_a_foreign_file_of_the_users_is_named_and_never_to_be_deleted(stand_in, tmp_path):
    """Given as `from`, given instead of the status, and a status of another shape."""
    with pytest.raises(UserError, match=r"stand-in\.pth: .* bytes, but pytorch-fid's") as caught:
        fetch(tmp_path, stand_in)
    assert "delete" not in str(caught.value) and not (tmp_path / "inception.json").exists()
    with pytest.raises(UserError, match="none.pth: no such file"):
        fetch(tmp_path, tmp_path / "none.pth")

    others = {"list.json": [1], "empty.json": {}, "deep.json": {"weights": "../x.pth", "not_computed": None}}
    others |= {"number.json": {"weights": 5, "not_computed": None}, "no.json": {"weights": None, "not_computed": None}}
    for name, content in others.items():
        files.write_json(tmp_path / name, content)
    for path in (stand_in, *(tmp_path / name for name in others)):
        with pytest.raises(UserError, match=f"{path.name}: not what fetch_inception writes; right is") as caught:
            features.unavailable("inception", path)
        assert "delete" not in str(caught.value)


def test_device_is_the_settings_and_inceptions_alone(monkeypatch):
    assert features.device_of(["classifier", "classifier-2"], "cuda") == "cpu"
    assert features.device_of(["classifier", "inception"], "cuda") == "cuda"
    assert features.device_of(["inception"], "cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="device: cuda needs a torch with CUDA that sees a GPU"):
        features.load("inception", Path("inception.json"), "cuda")


def test_refuses_images_that_are_not_8_bit_rgb():
    net = torch.nn.Identity()
    for wrong in (torch.zeros(2, 3, 8, 8), torch.zeros(2, 1, 8, 8, dtype=torch.uint8)):
        with pytest.raises(ValueError, match="uint8"):
            inception.inception_features(net, wrong)


def test_published_size_and_digest_are_in_force(stand_in):
    assert inception.WEIGHTS_BYTES == 95_628_359
    assert inception.WEIGHTS_SHA256.startswith("6726825d")  # also in the published file's name
    assert "6726825d" in pytorch_fid.inception.FID_WEIGHTS_URL
    with pytest.raises(UserError, match="stand-in.pth: .* bytes"):
        inception.load_inception(stand_in)


def test_refuses_truncated_changed_and_missing_weights(as_published, tmp_path):
    inception.check_weights(as_published)
    content = bytearray(as_published.read_bytes())
    path = tmp_path / "weights.pth"
    path.write_bytes(content[:-1])
    with pytest.raises(UserError, match=f"weights.pth: {len(content) - 1} bytes"):
        inception.check_weights(path)
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="weights.pth: sha256"):
        inception.check_weights(path)
    with pytest.raises(UserError, match="none.pth: no such file"):
        inception.check_weights(tmp_path / "none.pth")


class Code:
    """Unpickling it writes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_weights_cannot_run_code(tmp_path):
    torch.save({"conv": Code(tmp_path / "ran")}, tmp_path / "evil.pth")
    with pytest.raises(UserError, match="evil.pth: not usable"):
        inception.load_inception(tmp_path / "evil.pth", verify=False)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [{"conv": torch.zeros(1)}, [1, 2]], ids=["other-net", "no-dict"])
def test_refuses_weights_that_do_not_fit(tmp_path, content):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(UserError, match="other.pth: not usable"):
        inception.load_inception(tmp_path / "other.pth", verify=False)


def test_fetch(tmp_path, monkeypatch):
    source, target = tmp_path / "source", tmp_path / "folder" / "weights.pth"
    source.write_bytes(b"weights")
    monkeypatch.setattr(pytorch_fid.inception, "FID_WEIGHTS_URL", source.as_uri())
    with pytest.raises(UserError, match=r"weights.pth \(download\): 7 bytes"):
        inception.fetch_weights(target)
    monkeypatch.setattr(inception, "WEIGHTS_BYTES", 7)
    with pytest.raises(UserError, match=r"weights.pth \(download\): sha256"):
        inception.fetch_weights(target)
    assert not target.exists()

    monkeypatch.setattr(inception, "WEIGHTS_SHA256", hashlib.sha256(b"weights").hexdigest())
    inception.fetch_weights(target)
    assert target.read_bytes() == b"weights"

    source.unlink()
    with pytest.raises(UserError, match="cannot be downloaded"):
        inception.fetch_weights(target)


def test_torchvision_declarations_are_made_once():
    import torchvision

    assert hasattr(torch.ops.torchvision, "nms") and torchvision.__version__
    importlib.reload(torchvision_import)  # a second declaration of an operator would raise
