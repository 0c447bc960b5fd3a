"""Every metric on real images that are made worse in known ways: it moves as its meaning says."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from ddpm_dip import data
from ddpm_dip.evaluation.classifier import classifier_features, predicted_classes, rotated, train_classifier
from ddpm_dip.evaluation.displays import clamp, diverged, to_uint8
from ddpm_dip.evaluation.distances import by_block, distances
from ddpm_dip.evaluation.metrics import METRICS, measure

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
MNIST = Path(os.environ.get("DDPM_DIP_MNIST", ROOT.parent / "shared/data/mnist"))
NO_MNIST = pytest.mark.skipif(not (MNIST / "t10k-images-idx3-ubyte.gz").exists(), reason="MNIST's files are not here")
ROTATION = ["fd_rotation", "energy_rotation", "precision_rotation", "recall_rotation", "coverage_rotation"]
NAMES = [name for name, metric in METRICS.items() if metric.feature_net in ("classifier", None)]
N, REFERENCE = 256, 400
FAR = ("fd_classifier", "energy_classifier", "fd_classifier_2", "fd_rotation", "energy_rotation")


class Ladder:
    """Metrics of real images, as samples, after a corruption."""

    def __init__(self, options: data.Options, train: int, epochs: int):
        found = data.load(options)
        order = np.random.default_rng(0).permutation(len(found.images))
        images, labels = found.images[order], found.labels[order]
        self.reference, rest, self.labels = images[:REFERENCE], images[REFERENCE:], labels[REFERENCE:]
        self.real = rest.astype(np.float32) / 127.5 - 1  # the first are the samples, the last train the classifiers
        of = torch.from_numpy(rest[-train:]).float() / 255, torch.from_numpy(self.labels[-train:])
        self.nets = {seed: train_classifier(*of, 10, epochs=epochs, seed=seed)[0] for seed in (0, 1)}
        # of the same images without their labels, half as many, each turned in four ways
        self.nets["rotation"] = train_classifier(*rotated(of[0][::2]), 4, epochs=epochs, seed=0)[0]

    def of(self, samples: np.ndarray) -> dict[str, float]:
        pictures = clamp(samples.astype(np.float32))
        values = {}
        for kind, net in self.nets.items():
            features, reference = (
                classifier_features(net, torch.from_numpy(shown).float() / 255)
                for shown in (to_uint8(pictures), self.reference)
            )
            (sums, near), (reference_sums, reference_near) = by_block(features), by_block(reference)
            given = {"samples": samples, "shown": pictures, "features": features, "reference": reference}
            given |= {"classes": predicted_classes(net, features), "to_reference": distances(features, reference)}
            given |= {"sums": sums, "near": near, "reference_sums": reference_sums, "reference_near": reference_near}
            found, _ = measure({0: NAMES, 1: ["fd_classifier_2"], "rotation": ROTATION}[kind], given)
            values |= found
        return values


@pytest.fixture(
    scope="module",
    params=[
        (data.Options("digits", image_size=16), 900, 5),
        pytest.param((data.Options("mnist", str(MNIST), "test", 28), 2000, 3), marks=NO_MNIST),
    ],
    ids=["digits", "mnist"],
)
def ladder(request):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Ladder(*request.param)
    torch.set_num_threads(threads)


def noisy(images: np.ndarray, sigma: float) -> np.ndarray:
    return images + np.random.default_rng(1).normal(0, sigma, images.shape).astype(np.float32)


def rises(values: list[float]) -> bool:
    return all(b > a for a, b in zip(values, values[1:], strict=False))


def column(found: list[dict], name: str) -> list[float]:
    return [values[name] for values in found]


def test_real_images_are_as_good_as_can_be(ladder):
    real = ladder.of(ladder.real[:N])
    assert abs(real["fd_classifier"]) < 4 * real["fd_classifier_se"]
    assert real["precision"] > 0.75 and real["recall"] > 0.75 and real["coverage"] > 0.75
    assert real["nn_ratio"] == pytest.approx(1, abs=0.15)
    assert real["class_entropy"] == pytest.approx(np.log(10), abs=0.05) and real["diverged"] == 0


def test_noise(ladder):
    found = [ladder.of(noisy(ladder.real[:N], sigma)) for sigma in (0, 0.2, 0.5, 1.0)]
    for name in (*FAR, "noise_mad", "nn_ratio"):
        assert rises(column(found, name)), (name, column(found, name))
    for name in ("precision", "coverage", "precision_rotation", "coverage_rotation"):
        none, little, some, much = column(found, name)
        assert much <= some < min(little, none), (name, column(found, name))
    assert found[-1]["recall"] < found[0]["recall"]
    assert ladder.of(ladder.real[:N] * 0)["noise_mad"] == 0
    for sigma in (0.02, 0.2):  # on grey nothing is clamped, and the noise is what was added, in [0, 1]
        assert ladder.of(noisy(ladder.real[:N] * 0, sigma))["noise_mad"] == pytest.approx(sigma / 2, rel=0.03)


def test_blur(ladder):
    found = [ladder.of(gaussian_filter(ladder.real[:N], (0, 0, s, s))) for s in (0, 1.2, 2, 3)]
    for name in FAR:
        assert rises(column(found, name)), (name, column(found, name))
    for name in ("precision", "coverage", "precision_rotation", "coverage_rotation"):
        assert column(found, name)[-1] < column(found, name)[0], (name, column(found, name))
    assert min(column(found, "nn_ratio")[1:]) > 1.1 * found[0]["nn_ratio"]  # blurred digits get alike: it need not rise
    assert max(column(found, "noise_mad")) < found[0]["noise_mad"] + 0.005


def test_shift(ladder):
    found = [ladder.of(np.roll(ladder.real[:N], by, axis=3)) for by in (0, 2, 4, 6)]
    for name in (*FAR, "nn_ratio"):
        assert rises(column(found, name)), (name, column(found, name))
    assert found[-1]["coverage"] < found[0]["coverage"]
    assert column(found, "tone_sd") == pytest.approx([found[0]["tone_sd"]] * 4, rel=1e-4)
    assert column(found, "noise_mad") == pytest.approx([found[0]["noise_mad"]] * 4, abs=1e-6)  # of the same squares


def test_classes_missing(ladder):
    found = [ladder.of(ladder.real[ladder.labels < classes][:N]) for classes in (10, 7, 4, 1)]
    for name in FAR:
        assert rises(column(found, name)), (name, column(found, name))
    for name in ("recall", "coverage", "class_entropy", "recall_rotation", "coverage_rotation"):
        assert rises(column(found, name)[::-1]), (name, column(found, name))
    for classes, entropy in zip((10, 7, 4, 1), column(found, "class_entropy"), strict=True):
        assert entropy == pytest.approx(np.log(classes), abs=0.15)
    assert found[2]["precision"] > 0.75  # each image is a real one


def test_a_few_outliers_raise_recall(ladder):
    few = ladder.real[ladder.labels < 4][:N]
    plain, with_outliers = ladder.of(few), ladder.of(np.concatenate([noisy(few[:4], 1.0), few[4:]]))
    assert with_outliers["recall"] > plain["recall"] + 0.03
    assert with_outliers["precision"] < plain["precision"]


def test_copies_of_one_image(ladder):
    real = ladder.real[:N]
    chosen = np.random.default_rng(3)  # in no order, so that the copies of an image are in all blocks
    found = [ladder.of(real)] + [ladder.of(real[chosen.integers(count, size=N)]) for count in (32, 4, 1)]
    for name in FAR:
        assert rises(column(found, name)), (name, column(found, name))
    for name in ("coverage", "class_entropy", "coverage_rotation"):
        assert rises(column(found, name)[::-1]), (name, column(found, name))
    assert found[-1]["recall"] < 0.05 and found[-1]["class_entropy"] == 0
    assert max(found[-1]["tone_sd"], found[-1]["image_mean_sd"]) < 1e-6


def test_copies_of_reference_images(ladder):
    copies = ladder.reference[:N].astype(np.float32) / 127.5 - 1
    found = [ladder.of(np.concatenate([copies[:count], ladder.real[: N - count]])) for count in (0, 128, 256)]
    none, half, all_of_them = column(found, "nn_ratio")
    assert half == pytest.approx(none / 2, rel=0.25) and all_of_them == pytest.approx(0, abs=1e-6)


def test_brightness(ladder):
    real = ladder.real[:N]
    found = [ladder.of(real + by) for by in (0, 0.3, 0.6, 1.2)]
    for name in (*FAR, "nn_ratio"):
        assert rises(column(found, name)), (name, column(found, name))
    assert found[-1]["coverage"] < found[0]["coverage"]
    assert column(found, "image_mean_sd") == pytest.approx([found[0]["image_mean_sd"]] * 4, rel=1e-4)
    drift = np.random.default_rng(2).normal(0, 1, (N, 1, 1, 1)).astype(np.float32)  # each image its own
    found = [ladder.of(real + by * drift) for by in (0, 0.2, 0.5)]
    for name in (*FAR, "tone_sd", "image_mean_sd"):
        assert rises(column(found, name)), (name, column(found, name))


def test_divergence(ladder):
    samples = ladder.real[:N].copy()
    for broken in (1, 64):
        samples[:broken, 0, 3, 3] = np.nan
        assert measure(["diverged"], {"samples": samples})[0]["diverged"] == broken / N == diverged(samples).mean()
