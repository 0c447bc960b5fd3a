"""The stage evaluate_interpolation on strips whose smoothness is known."""

import json
from pathlib import Path

import jobfile
import numpy as np
import pytest
import torch

from ddpm_dip.evaluation.classifier import Classifier, build_classifier, classifier_features
from ddpm_dip.jobs import files
from ddpm_dip.jobs.errors import UserError
from ddpm_dip.jobs.job import read_record

NAMES = {"model": "imvfx", "sampler": "ddim", "path": "linear", "noise": None}


def measure_job(folder: Path, images: np.ndarray, nets: dict[str, str] | None = None) -> Path:
    files.write_npz(folder / "images.npz", images=images.astype(np.float32), names=np.array(json.dumps(NAMES)))
    inputs = {"images": "images.npz", "nets": nets or {}}
    return jobfile.write(folder, "evaluate_interpolation", {}, inputs, {"measures": "out.json"})


def measure(folder: Path, images: np.ndarray, nets: dict[str, str] | None = None) -> dict:
    jobfile.run("evaluate_interpolation", measure_job(folder, images, nets))
    assert read_record(folder / "out.json")["read"].keys() == {"images.npz", *(nets or {}).values()}
    return json.loads((folder / "out.json").read_text(), parse_constant=pytest.fail)  # no NaN in JSON


def random_classifier(path: Path) -> Classifier:
    torch.manual_seed(0)
    net = build_classifier((1, 8, 8), 10).eval()
    files.write_safetensors(path, net.state_dict(), {"image_shape": "1x8x8", "classes": 10})
    return net


def strips(*paths: list[float]) -> np.ndarray:
    """(pairs, points, 1, 8, 8): from a dark to a bright picture, at these fractions of the way."""
    rng = np.random.default_rng(0)
    start, end = rng.uniform(-1, 0, (1, 8, 8)), rng.uniform(0, 1, (1, 8, 8))
    return np.stack([[(1 - f) * start + f * end for f in path] for path in paths])


def test_a_fade_is_even_and_a_jump_is_not(tmp_path):
    found = measure(tmp_path, strips([0, 0.25, 0.5, 0.75, 1], [0, 0, 0, 1, 1], [0.5] * 5))
    assert found["names"] == NAMES and found["not_computed"] == {}
    fade, jump, still = (row for row in found["measures"] if row["display"] == "clamp")
    assert {row["space"] for row in found["measures"]} == {"pixels"}
    assert fade["path_ratio"] == pytest.approx(1, rel=1e-5) and fade["largest_share"] == pytest.approx(1 / 4, rel=1e-5)
    assert fade["steps_between"] == pytest.approx([fade["path_length"] / 4] * 4, rel=1e-5)
    assert jump["path_ratio"] == pytest.approx(1, rel=1e-5) and jump["largest_share"] == pytest.approx(1)
    assert still["path_length"] == 0 and still["path_ratio"] is None and still["largest_share"] is None
    # clamp maps [-1, 1] to [0, 1]: half the raw distance
    raw = strips([0, 1])[0]
    assert fade["end_to_end"] == pytest.approx(np.linalg.norm(raw[1] - raw[0]) / 2, rel=1e-5)


def test_classifier_features_are_those_of_the_8_bit_images(tmp_path):
    net = random_classifier(tmp_path / "classifier.safetensors")
    images = strips([0, 0.3, 1])
    found = measure(tmp_path, images, {"classifier": "classifier.safetensors"})
    (row,) = (row for row in found["measures"] if (row["display"], row["space"]) == ("clamp", "classifier"))
    shown = ((images[0] + 1) / 2 * 255).round() / 255
    features = classifier_features(net, torch.from_numpy(shown).float())
    assert row["steps_between"] == pytest.approx(np.linalg.norm(np.diff(features, axis=0), axis=1).tolist(), rel=1e-3)
    assert row["end_to_end"] == pytest.approx(np.linalg.norm(features[-1] - features[0]), rel=1e-3)
    assert len(found["measures"]) == 4  # two displays, two spaces, one pair


def test_a_diverged_chain_is_a_result(tmp_path):
    images = strips([0, 0.5, 1], [0, 0.5, 1])
    images[1, 2, 0, 3, 3] = np.nan
    found = measure(tmp_path, images)
    assert [row["pair"] for row in found["measures"]] == [0, 0]  # under each display; the other pair is whole
    assert found["not_computed"] == {"measures": "the chain diverged: 1 of 2 pairs have NaN or infinite values"}


def test_a_strip_too_bright_to_show_is_a_diverged_one(tmp_path):
    images = strips([0, 0.5, 1], [0, 0.5, 1])
    images[0, 1, 0, 0, :2] = -3e38, 3e38
    found = measure(tmp_path, images)
    assert [row["pair"] for row in found["measures"]] == [1, 1] and "1 of 2 pairs" in found["not_computed"]["measures"]


def test_shapes_that_do_not_fit_are_refused(tmp_path):
    random_classifier(tmp_path / "classifier.safetensors")
    nets = {"classifier": "classifier.safetensors"}
    job = measure_job(tmp_path, np.zeros((2, 3, 1, 16, 16)), nets)
    with pytest.raises(UserError, match=r"images\.npz: images of shape \(1, 16, 16\), but the classifier takes"):
        jobfile.run("evaluate_interpolation", job)
    done = jobfile.script("evaluate_interpolation", job)
    assert done.returncode == 1 and "images.npz" in done.stderr and "Traceback" not in done.stderr
    job = measure_job(tmp_path, np.zeros((2, 1, 8, 8)), nets)
    with pytest.raises(UserError, match=r"images\.npz: holds no images \(pairs, points, C, H, W\)"):
        jobfile.run("evaluate_interpolation", job)


def test_a_net_that_is_not_there_is_said(tmp_path):
    files.write_json(tmp_path / "inception.json", {"weights": None, "not_computed": "no network"})
    found = measure(tmp_path, strips([0, 1]), {"inception": "inception.json"})
    assert {row["space"] for row in found["measures"]} == {"pixels"}
    assert found["not_computed"] == {"inception": "no network"}
