"""evaluate_interpolation.py on strips whose smoothness is known."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ddpm_dip import files
from ddpm_dip.metrics.classifier import build_classifier, classifier_features

SCRIPT = Path(__file__).resolve().parents[2] / "workflow/scripts/evaluate_interpolation.py"
CELL = {"dataset": "digits", "model": "imvfx", "sampler": "ddim", "path": "linear", "noise": "none", "seed": 3}


def measure(folder: Path, images: np.ndarray, *options: object) -> dict:
    files.write_npz(folder / "images.npz", images=images.astype(np.float32), cell=np.array(json.dumps(CELL)))
    command = [sys.executable, SCRIPT, "--images", folder / "images.npz", "--output", folder / "out.json", *options]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert files.read_json(folder / "out.json.provenance.json")["seed"] == 3
    return json.loads((folder / "out.json").read_text(), parse_constant=pytest.fail)  # no NaN in JSON


def strips(*paths: list[float]) -> np.ndarray:
    """(pairs, points, 1, 8, 8): from a dark to a bright picture, at these fractions of the way."""
    rng = np.random.default_rng(0)
    start, end = rng.uniform(-1, 0, (1, 8, 8)), rng.uniform(0, 1, (1, 8, 8))
    return np.stack([[(1 - f) * start + f * end for f in path] for path in paths])


def test_a_fade_is_even_and_a_jump_is_not(tmp_path):
    found = measure(tmp_path, strips([0, 0.25, 0.5, 0.75, 1], [0, 0, 0, 1, 1], [0.5] * 5))
    assert {key: found[key] for key in CELL} == CELL and found["not_computed"] == {}
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
    torch.manual_seed(0)
    net = build_classifier((1, 8, 8), 10).eval()
    header = {"image_shape": "1x8x8", "classes": 10}
    files.write_safetensors(tmp_path / "classifier.safetensors", net.state_dict(), header)
    images = strips([0, 0.3, 1])
    found = measure(tmp_path, images, "--classifier", tmp_path / "classifier.safetensors")
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
