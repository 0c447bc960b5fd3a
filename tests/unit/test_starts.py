"""What starts give against what the chain expects: closed forms, and the stage."""

import csv
import json
import math
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import drawing
import jobfile
from sklearn.datasets import load_digits
from torch.distributions import MultivariateNormal, kl_divergence

from ddpm_dip.evaluation import starts
from ddpm_dip.jobs import files
from ddpm_dip.jobs.errors import UserError
from ddpm_dip.jobs.job import read_record
from ddpm_dip.models.schedule import linear_schedule
from ddpm_dip.sampling import warm_starts, with_chain
from ddpm_dip.sampling.generators import Weights

TRAIN = np.kron(load_digits().images[:, None] * 255 / 16, np.ones((2, 2))).astype(np.uint8)  # (1797, 1, 16, 16)
PIXELS = TRAIN.reshape(len(TRAIN), -1) / 127.5 - 1
N = 512


def alpha_bar(steps):
    return np.prod(1 - np.linspace(1e-4, 0.02, 1000)[:steps])


@cache
def training():
    return starts.training_moments(TRAIN)


@cache
def described(name, steps, n=N):
    tensors = drawing.random_dip().state_dict()
    make = with_chain.contexts(
        warm_starts.find(name), steps=steps, passes=1, replicate=0, schedule=linear_schedule(),
        train=TRAIN, labels=load_digits().target,
        dip=Weights("dip", tensors, {"network": "dip", "image_channels": "1"}), backend="torch", threads=1, batch=64,
    )  # fmt: skip
    with torch.inference_mode():
        x = warm_starts.draw(warm_starts.find(name), make(range(n)))
    return starts.describe(x.half().numpy(), training(), alpha_bar(steps))


# --- bands and power


@pytest.mark.parametrize("size", [8, 16, 28])
def test_bands_hold_all_of_an_image_s_power(size):
    images = np.random.default_rng(0).normal(size=(5, 3, size, size))
    power, sizes = starts.band_power(images), np.bincount(starts.bands(size).ravel())
    assert power.shape == sizes.shape == (size // 2 + 1,) and sizes.sum() == size**2
    np.testing.assert_allclose((power * sizes).sum() * 3, (images**2).sum(), rtol=1e-12)  # Parseval


@pytest.mark.parametrize(
    ("across", "down", "band"), [(0, 0, 0), (1, 0, 1), (0, 3, 3), (3, 4, 5), (2, 2, 3), (8, 0, 8), (8, 8, 8)]
)
def test_a_wave_has_its_power_in_the_band_of_its_radius(across, down, band):
    y, x = np.mgrid[:16, :16]
    wave = np.cos(2 * np.pi * (across * x + down * y) / 16)[None, None]
    power = starts.band_power(wave)
    assert power[band] > 0 and np.abs(np.delete(power, band)).max() < 1e-12


def test_white_noise_has_its_variance_in_every_band():
    n = 400
    power = starts.band_power(3 * np.random.default_rng(0).normal(size=(n, 1, 16, 16))) / n
    sizes = np.bincount(starts.bands(16).ravel())
    assert (np.abs(power / 9 - 1) < 5 * (2 / (n * sizes / 2).clip(n / 2)) ** 0.5).all()


# --- the training images


def test_training_moments_are_those_of_all_images(monkeypatch):
    monkeypatch.setattr(starts, "PART", 500)  # the last part is smaller
    found = starts.training_moments(TRAIN)
    np.testing.assert_allclose(found.mean.ravel(), PIXELS.mean(0), atol=1e-12)
    centred = PIXELS - PIXELS.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(PIXELS))
    np.testing.assert_allclose(np.abs(np.diag(found.axes @ vectors[:, :-17:-1])), 1, atol=1e-6)
    np.testing.assert_allclose(found.covariance, np.diag(values[:-17:-1]), atol=1e-6)
    sizes = np.bincount(starts.bands(16).ravel())
    np.testing.assert_allclose(found.power @ sizes / 256, PIXELS.var(0).mean(), rtol=1e-9)
    tiny = starts.training_moments(TRAIN[:4])
    assert tiny.axes.shape == (3, 256) and np.isfinite(tiny.covariance).all()


# --- Gaussians


def test_gaussian_kl_is_torch_s():
    rng = np.random.default_rng(0)
    a, b = (x @ x.T + np.eye(4) for x in rng.normal(size=(2, 4, 4)))
    difference = rng.normal(size=4)
    p, q = (MultivariateNormal(torch.tensor(m), torch.tensor(c)) for m, c in ((difference, a), (np.zeros(4), b)))
    assert starts.gaussian_kl(difference, a, b) == pytest.approx(float(kl_divergence(p, q)), rel=1e-10)
    assert starts.gaussian_kl(np.zeros(4), b, b) == pytest.approx(0, abs=1e-12)
    with np.errstate(divide="ignore"):
        assert starts.gaussian_kl(np.zeros(2), np.zeros((2, 2)), np.eye(2)) == math.inf


@pytest.mark.parametrize(("n", "k"), [(8, 1), (64, 8), (128, 16)])
def test_sampling_kl_is_what_draws_have_on_average(n, k):
    draws = np.random.default_rng(0).normal(size=(1500, n, k))
    found = [starts.gaussian_kl(x.mean(0), np.atleast_2d(np.cov(x.T)), np.eye(k)) for x in draws]
    assert abs(np.mean(found) - starts.sampling_kl(n, k)) < 5 * np.std(found) / len(found) ** 0.5


# --- starts


@pytest.mark.parametrize("steps", [1, 100, 300, 1000])
@pytest.mark.parametrize("name", ["oracle", "gaussian"])
def test_oracle_and_gaussian_are_perfect_at_every_k_but_for_sampling(name, steps):
    numbers, _ = described(name, steps)
    a = alpha_bar(steps)
    assert numbers["mean_error"] < 1.5 * ((a * PIXELS.var(0).mean() + 1 - a) / N) ** 0.5
    assert abs(numbers["variance_ratio"] - 1) < 0.05 and numbers["spectrum_ratio"] < 1.06
    assert numbers["gaussian_kl"] < 1.5 * numbers["gaussian_kl_floor"] + 0.005 and numbers["axes"] == 16


def test_noise_is_near_perfect_at_1000_steps_and_not_at_100():
    numbers, (power, expected) = described("noise", 1000)
    assert numbers["mean_error"] < 1.5 / N**0.5 and abs(numbers["variance_ratio"] - 1) < 0.02
    assert numbers["spectrum_ratio"] < 1.05 and numbers["gaussian_kl"] < 1.5 * numbers["gaussian_kl_floor"]
    np.testing.assert_allclose(expected, 1, atol=1e-3)
    numbers, (power, expected) = described("noise", 100)
    a = alpha_bar(100)
    by_hand = a * PIXELS.var(0) + 1 - a
    assert numbers["variance_ratio"] == pytest.approx(1 / by_hand.mean(), rel=0.02)
    assert numbers["mean_error"] == pytest.approx(np.sqrt(a * (PIXELS.mean(0) ** 2).mean() + 1 / N), rel=0.02)
    ratio = np.exp(np.abs(np.log(expected)).mean())  # white noise has 1 in every band
    assert numbers["spectrum_ratio"] == pytest.approx(ratio, rel=0.05)
    axes = np.linalg.svd(PIXELS - PIXELS.mean(0), full_matrices=False)[2][:16]
    wanted = a * (PIXELS @ axes.T).var(0) + 1 - a  # KL(N(0, I) || N(m, diag(wanted))), a dimension
    shift = a**0.5 * PIXELS.mean(0) @ axes.T
    kl = ((1 + shift**2) / wanted - 1 + np.log(wanted)).mean() / 2
    assert numbers["gaussian_kl"] == pytest.approx(kl, rel=0.15)


def test_dip_as_published_lacks_the_noise_and_dip_renoised_does_not():
    a = alpha_bar(300)
    expected = (a * PIXELS.var(0) + 1 - a).mean()
    published, renoised = (described(name, 300, 128)[0] for name in ("dip", "dip-renoised"))
    assert published["variance_ratio"] < 0.1 * (1 - a) / expected
    assert renoised["variance_ratio"] > 0.95 * (1 - a) / expected
    assert published["gaussian_kl"] > renoised["gaussian_kl"] + 1
    assert published["spectrum_ratio"] > 5 > 2 > renoised["spectrum_ratio"]


def test_a_shift_and_a_scale_are_what_they_are():
    x = np.random.default_rng(0).normal(size=(64, 1, 16, 16))
    x -= x.mean(0)
    flat = starts.Training(np.zeros((1, 16, 16)), starts.band_power(x) / 63, np.eye(8, 256), np.eye(8))
    numbers, _ = starts.describe(0.25 + 3 * x, flat, 1.0)
    assert numbers["mean_error"] == pytest.approx(0.25) and numbers["variance_ratio"] == pytest.approx(9)
    assert numbers["spectrum_ratio"] == pytest.approx(9)
    # too little and too much do not cancel
    one_sided = flat._replace(power=flat.power * np.array([4, 0.25] + [1] * 7))
    assert starts.describe(x, one_sided, 1.0)[0]["spectrum_ratio"] == pytest.approx(4 ** (2 / 9))
    few, _ = starts.describe(x[:8], flat, 1.0)
    assert few["axes"] == 1 and math.isfinite(few["gaussian_kl"])


# --- the stage


def samples(folder, name, x, **axes):
    cell = drawing.unet_cell(**axes)
    arrays = {"samples": x, "starts": x.astype(np.float16), "alpha_cumprod": np.array(alpha_bar(cell["steps"]))}
    files.write_npz(folder / f"{name}.npz", cell=np.array(json.dumps(cell)), **arrays)
    return f"{name}.npz"


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_stage_writes_a_row_a_start_and_one_a_band(tmp_path):
    files.write_npz(tmp_path / "data.npz", train=TRAIN)
    x = np.random.default_rng(0).normal(size=(32, 1, 16, 16))
    paths = [
        samples(tmp_path, "noise", x, steps=300),
        samples(tmp_path, "dip", x / 9, start="dip", passes=2, steps=100),
        samples(tmp_path, "still", 0 * x, start="dip", passes=3, steps=100),
    ]
    inputs, outputs = {"samples": paths, "data": "data.npz"}, {"starts": "starts.csv", "spectra": "spectra.csv"}
    settings = {"schedules": ["linear, 1000 timesteps"] * 3}
    jobfile.run("starts", jobfile.write(tmp_path, "starts", settings, inputs, outputs))
    table, spectra = rows(tmp_path / "starts.csv"), rows(tmp_path / "spectra.csv")
    keys = [(row["start"], row["passes"], row["replicate"], row["steps"], row["n"]) for row in table]
    assert keys == [("noise", "", "3", "300", "32"), ("dip", "2", "3", "100", "32"), ("dip", "3", "3", "100", "32")]
    for row, states, steps in zip(table[:2], (x, x / 9), (300, 100), strict=True):
        numbers, power = starts.describe(states.astype(np.float16), training(), alpha_bar(steps))
        for name, value in numbers.items():
            assert float(row[name]) == pytest.approx(value, rel=1e-6)
        bands = [each for each in spectra if each["start"] == row["start"] and each["passes"] == row["passes"]]
        assert [int(each["band"]) for each in bands] == list(range(9))
        np.testing.assert_allclose([float(each["power"]) for each in bands], power[0])
        np.testing.assert_allclose([float(each["expected"]) for each in bands], power[1])
    assert (table[2]["gaussian_kl"], table[2]["spectrum_ratio"]) == ("inf", "inf")  # all states the same
    assert read_record(tmp_path / "starts.csv")["read"].keys() == {*paths, "data.npz"}


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({}, r"bad\.npz: holds no starts; right is what"),
        ({"starts": np.zeros((7, 1, 16, 16)), "alpha_cumprod": np.array(0.5)}, r"bad\.npz: has 7 samples"),
    ],
)
def test_what_is_no_start_is_named(tmp_path, arrays, says):
    files.write_npz(tmp_path / "data.npz", train=TRAIN[:20])
    files.write_npz(tmp_path / "bad.npz", cell=np.array("{}"), **arrays)
    inputs = {"samples": ["bad.npz"], "data": "data.npz"}
    job = jobfile.write(
        tmp_path, "starts", {"schedules": [""]}, inputs, {"starts": "starts.csv", "spectra": "spectra.csv"}
    )
    with pytest.raises(UserError, match=says):
        jobfile.run("starts", job)
