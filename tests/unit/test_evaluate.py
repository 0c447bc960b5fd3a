"""The scripts from data to metrics, run as a user runs them, on small made data."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ddpm_dip import code, files
from ddpm_dip.display import minmax, to_uint8
from ddpm_dip.metrics.classifier import classifier_features, load_classifier
from ddpm_dip.metrics.frechet import frechet_distance

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
CELL = {"dataset": "bars", "model": "hw4", "start": "noise", "steps": 200, "seed": 0}


def run(script: str, *arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, SCRIPTS / script, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def bars(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 images (n, 1, 8, 8) of a horizontal (0) or vertical (1) bar on noise, and their labels."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (n, 1, 8, 8), dtype=np.uint8)
    labels = rng.integers(0, 2, n)
    for image, label, place in zip(images, labels, rng.integers(0, 8, n), strict=True):
        (image[:, place] if label == 0 else image[:, :, place])[:] += 150
    return images, labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Data, a trained classifier, and reference features (halves of 40 and 41)."""
    folder = tmp_path_factory.mktemp("study")
    (train, train_labels), (reference, reference_labels) = bars(256, 0), bars(81, 1)
    np.savez(
        folder / "data.npz",
        train=train,
        reference=reference,
        train_labels=train_labels,
        reference_labels=reference_labels,
    )
    files.write_json(folder / "stamp.json", {"code": code.digest(SCRIPTS / "train_classifier.py")})
    data = ("--data", folder / "data.npz")
    trained = run(
        "train_classifier.py",
        *data,
        *("--epochs", 6, "--seed", 0, "--stamp", folder / "stamp.json"),
        *("--output", folder / "classifier.safetensors"),
    )
    assert trained.returncode == 0, trained.stderr
    made = run(
        "reference_features.py",
        *data,
        *("--classifier", folder / "classifier.safetensors", "--output", folder / "reference.npz"),
    )
    assert made.returncode == 0, made.stderr
    return folder


def evaluate(folder: Path, samples: np.ndarray, *options: object, classifier: bool = True) -> dict:
    np.savez(folder / "cell.npz", samples=samples.astype(np.float32), cell=json.dumps(CELL))
    if classifier:
        options += ("--classifier", folder / "classifier.safetensors")
    done = run(
        "evaluate.py",
        *("--samples", folder / "cell.npz", "--reference", folder / "reference.npz"),
        *("--output", folder / "metrics.json", *options),
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "metrics.json").read_text(), parse_constant=pytest.fail)  # no NaN in JSON


def test_classifier_says_what_it_is(folder):
    _, header = files.read_safetensors(folder / "classifier.safetensors")
    assert header["image_shape"] == "1x8x8" and header["classes"] == "2"
    assert float(header["accuracy"]) > 0.9
    provenance = files.read_json(folder / "classifier.safetensors.provenance.json")
    assert provenance["stamp"] == files.read_json(folder / "stamp.json") and len(provenance["losses"]) == 6


def test_metrics_of_real_images_equal_the_floor(folder):
    """Samples that are half B itself: the way through display and 8 bits must give back the floor."""
    half_b = np.load(folder / "data.npz")["reference"][40:]
    status = folder / "inception.json"
    status.write_text(json.dumps({"weights": None, "not_computed": "no network"}))
    metrics = evaluate(folder, half_b[:30] / 127.5 - 1, "--inception", status)
    assert metrics["displays"].keys() == {"minmax", "clamp"}
    for values in metrics["displays"].values():
        assert values["fd_classifier"] == pytest.approx(values["fd_classifier_floor"], rel=1e-4)
        assert values["fd_classifier_floor"] > 0
        assert values["fid_inception"] is None
    assert metrics["not_computed"] == {"fid_inception": "no network", "fid_inception_floor": "no network"}
    assert {key: metrics[key] for key in CELL} == CELL
    assert metrics["n_reference"] == 40
    assert metrics["image_mean_sd"] == pytest.approx((half_b[:30] / 127.5 - 1).mean((1, 2, 3)).std())
    # clamp maps [-1, 1] to [0, 1]: half the raw spread
    assert metrics["displays"]["clamp"]["tone_sd"] == pytest.approx(metrics["image_mean_sd"] / 2, rel=1e-4)


def test_floor_is_half_b_against_half_a(folder):
    import torch

    reference = np.load(folder / "data.npz")["reference"].astype(np.float32) / 127.5 - 1
    net = load_classifier(folder / "classifier.safetensors")
    features = classifier_features(net, torch.from_numpy(to_uint8(minmax(reference))).float() / 255)
    metrics = evaluate(folder, np.random.default_rng(0).normal(size=(40, 1, 8, 8)))
    values = metrics["displays"]["minmax"]
    expected = frechet_distance(features[:40], features[40:80])
    assert values["fd_classifier_floor"] == pytest.approx(expected, rel=1e-4)
    assert values["fd_classifier"] > 2 * values["fd_classifier_floor"]


def test_displays_differ_in_brightness(folder):
    """Much too bright images: clamp sees white, minmax undoes it."""
    half_b = np.load(folder / "data.npz")["reference"][40:]
    displays = evaluate(folder, half_b / 127.5 + 20)["displays"]
    assert displays["clamp"]["fd_classifier"] > 5 * displays["minmax"]["fd_classifier"]


def test_diverged_chain_is_a_result(folder):
    samples = np.zeros((10, 1, 8, 8))
    samples[3, 0, 2, 2], samples[4] = np.nan, np.inf
    metrics = evaluate(folder, samples)
    assert "2 of 10 samples have NaN or infinite" in metrics["not_computed"]["fd_classifier"]
    assert "NaN" in metrics["not_computed"]["image_mean_sd"]
    assert metrics["image_mean_sd"] is None and metrics["displays"]["clamp"]["tone_sd"] is None
    for values in metrics["displays"].values():
        assert values["fd_classifier"] is None
        assert values["fd_classifier_floor"] > 0  # does not need the samples


def test_more_samples_than_half_b_have_no_floor(folder):
    metrics = evaluate(folder, np.random.default_rng(0).normal(size=(42, 1, 8, 8)))
    assert metrics["displays"]["clamp"]["fd_classifier"] > 0
    assert metrics["displays"]["clamp"]["fd_classifier_floor"] is None
    assert metrics["not_computed"]["fd_classifier_floor"] == "half B of the reference has 41 images, not 42"


def test_without_labels(folder, tmp_path):
    metrics = evaluate(folder, np.zeros((5, 1, 8, 8)), classifier=False)
    reason = "the data set has no labels"
    assert metrics["not_computed"]["fd_classifier"] == reason
    assert metrics["not_computed"]["fd_classifier_floor"] == reason
    assert metrics["image_mean_sd"] == 0

    data = dict(np.load(folder / "data.npz")) | {"train_labels": np.zeros(0, int)}
    np.savez(tmp_path / "data.npz", **data)
    done = run(
        "train_classifier.py",
        *(
            "--data",
            tmp_path / "data.npz",
            "--epochs",
            1,
            "--seed",
            0,
            "--output",
            tmp_path / "c.safetensors",
        ),
    )
    assert done.returncode == 1
    assert "data.npz" in done.stderr and "no labels" in done.stderr and "Traceback" not in done.stderr


def test_samples_of_another_shape_are_refused(folder):
    np.savez(folder / "wrong.npz", samples=np.zeros((3, 1, 16, 16), np.float32), cell=json.dumps(CELL))
    done = run(
        "evaluate.py",
        *("--samples", folder / "wrong.npz", "--reference", folder / "reference.npz"),
        *("--classifier", folder / "classifier.safetensors", "--output", folder / "never.json"),
    )
    assert done.returncode == 1 and "wrong.npz" in done.stderr and "Traceback" not in done.stderr
    assert not (folder / "never.json").exists()
