"""train_gan.py, sample_gan.py, interpolate.py: one trajectory, latents keyed by sample, ends that are the samples."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ddpm_dip import files, gan_sampling, generation, provenance
from ddpm_dip.diffusion import linear_schedule, respaced_timesteps
from ddpm_dip.networks import build_unet
from ddpm_dip.noise import keyed_noise
from ddpm_dip.sampling import ddim

SCRIPTS = Path(__file__).resolve().parents[2] / "workflow/scripts"


def run(script: str, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, SCRIPTS / script, *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)


def train(data: Path, output: Path, epochs: int, *more: object) -> Path:
    common = ("--model", "gan", "--width", 8, "--batch-size", 16, "--lr", 0.0002, "--flip", "--seed", 0)
    progress = output.parent / f"{output.name}-progress"
    done = run(
        "train_gan.py", "--data", data, *common, "--epochs", epochs, "--progress", progress, "--output", output, *more
    )
    assert done.returncode == 0, done.stderr
    assert not progress.exists()
    return output


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("gan") / "data.npz"
    rng = np.random.default_rng(0)
    files.write_npz(path, train=rng.integers(0, 256, (40, 1, 16, 16), dtype=np.uint8))
    return path


@pytest.fixture(scope="module")
def gan(data) -> Path:
    return train(data, data.parent / "2", 2)


@pytest.fixture(scope="module")
def unet(data) -> Path:
    path = data.parent / "unet.safetensors"
    torch.manual_seed(0)
    net = build_unet("imvfx-sees", (1, 16, 16), 4)
    for parameter in net.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter) * parameter.requires_grad
    header = {"network": "imvfx-sees", "image_shape": "1x16x16", "width": 4}
    files.write_safetensors(path, net.state_dict(), header)
    return path


def test_budgets_in_a_chain_are_one_training(data, gan):
    lower = train(data, data.parent / "1", 1)
    chained = train(data, data.parent / "2-chained", 2, "--resume-from", lower)
    for name in ("weights.safetensors", "state.safetensors"):
        assert (chained / name).read_bytes() == (gan / name).read_bytes()
    losses = [[row.split(",")[:4] for row in (path / "losses.csv").read_text().splitlines()] for path in (chained, gan)]
    assert losses[0] == losses[1] and losses[0][0] == ["model", "epoch", "loss_d", "loss_g"] and len(losses[0]) == 3
    assert all(provenance.beside(gan / name).exists() for name in ("weights.safetensors", "losses.csv"))
    other = run("train_gan.py", "--data", data, "--model", "gan", "--width", 4, "--batch-size", 16, "--lr", 0.0002,
                "--seed", 0, "--epochs", 2, "--progress", data.parent / "p", "--output", data.parent / "never",
                "--resume-from", lower)  # fmt: skip
    assert other.returncode == 1 and f"error: {lower}: made with other data, settings or code" in other.stderr


def test_samples_are_the_generator_s_of_keyed_latents(gan, tmp_path):
    cell = json.dumps({"model": "gan"})
    for n in (3, 5):
        output = tmp_path / f"{n}.npz"
        done = run("sample_gan.py", "--weights", gan / "weights.safetensors", "--n", n, "--seed", 7, "--cell", cell,
                   "--output", output)  # fmt: skip
        assert done.returncode == 0, done.stderr
    three, five = (files.read_npz(tmp_path / f"{n}.npz") for n in (3, 5))
    assert np.array_equal(three["samples"], five["samples"][:3]) and five["samples"].shape == (5, 1, 16, 16)
    assert np.abs(five["samples"]).max() <= 1 and json.loads(str(five["cell"])) == {"model": "gan"}
    generator, latent_dim = gan_sampling.load_generator(gan / "weights.safetensors")
    by_hand = generator(keyed_noise(7, "gan-latents", range(5), (latent_dim,)))
    assert np.array_equal(by_hand.numpy(), five["samples"])


def interpolate(weights: Path, output: Path, *more: object) -> np.ndarray:
    common = ("--pairs", 2, "--points", 5, "--seed", 3, "--backend", "torch", "--output", output)
    done = run("interpolate.py", "--weights", weights, *common, *more)
    assert done.returncode == 0, done.stderr
    archive = files.read_npz(output)
    assert archive["images"].shape == (2, 5, 1, 16, 16) and archive["fractions"].tolist() == [0, 0.25, 0.5, 0.75, 1]
    return archive["images"]


@pytest.mark.parametrize("path", ["linear", "spherical"])
def test_the_ends_of_a_gan_s_strips_are_its_samples(gan, tmp_path, path):
    images = interpolate(gan / "weights.safetensors", tmp_path / "i.npz", "--sampler", "gan", "--path", path)
    generator, latent_dim = gan_sampling.load_generator(gan / "weights.safetensors")
    ends = generator(keyed_noise(3, "gan-latents", range(4), (latent_dim,))).numpy()
    assert np.array_equal(images[:, [0, -1]].reshape(4, 1, 16, 16), ends)


def test_ddim_strips_are_functions_of_the_latent(unet, tmp_path):
    options = ("--sampler", "ddim", "--steps", 4)
    linear = interpolate(unet, tmp_path / "l.npz", *options, "--path", "linear")
    spherical = interpolate(unet, tmp_path / "s.npz", *options, "--path", "spherical")
    net = generation.load_unet(unet, (1, 16, 16), "torch", 4, 1)
    with torch.inference_mode():
        latents = keyed_noise(3, "latents", range(4), (1, 16, 16))
        ends = ddim(net, latents, respaced_timesteps(4), linear_schedule()).numpy()
        clipped_ends = ddim(net, latents, respaced_timesteps(4), linear_schedule(), clip_x0=True).numpy()
    for images in (linear, spherical):
        np.testing.assert_allclose(images[:, [0, -1]].reshape(ends.shape), ends, rtol=1e-4, atol=1e-3)
    clipped = interpolate(unet, tmp_path / "c.npz", *options, "--path", "linear", "--clip-x0")
    np.testing.assert_allclose(clipped[:, [0, -1]].reshape(ends.shape), clipped_ends, rtol=1e-4, atol=1e-3)
    assert np.abs(clipped_ends - ends).max() > 0.1
    assert np.abs(linear[:, 2] - spherical[:, 2]).max() > 1e-2


def test_ancestral_strips_share_the_noise_of_the_first_end_or_have_their_own(unet, tmp_path):
    options = ("--sampler", "ancestral", "--steps", 6, "--path", "linear")
    shared = interpolate(unet, tmp_path / "s.npz", *options, "--noise", "shared")
    own = interpolate(unet, tmp_path / "i.npz", *options, "--noise", "independent")
    done = run(
        "sample.py",
        *("--data", unet.parent / "data.npz", "--weights", unet, "--start", "noise", "--steps", 6, "--n", 4),
        *("--seed", 3, "--backend", "torch", "--output", tmp_path / "samples.npz"),
    )
    assert done.returncode == 0, done.stderr
    samples = files.read_npz(tmp_path / "samples.npz")["samples"]
    np.testing.assert_allclose(shared[:, 0], samples[[0, 2]], atol=1e-4)  # the other ends have the first one's noise
    assert np.abs(shared[:, -1] - samples[[1, 3]]).max() > 1e-2
    assert min(np.abs(own[0, i] - own[0, j]).max() for i in range(5) for j in range(i)) > 1e-2
    assert np.abs(np.diff(shared, axis=1)).mean() < np.abs(np.diff(own, axis=1)).mean()


def test_a_wrong_net_or_option_is_one_message(gan, unet, tmp_path):
    common = ("--path", "linear", "--pairs", 1, "--points", 3, "--seed", 0, "--output", tmp_path / "never.npz")
    done = run("interpolate.py", "--weights", unet, "--sampler", "gan", *common)
    assert done.returncode == 1 and "not the weights of a DCGAN's generator, but of imvfx-sees" in done.stderr
    done = run("interpolate.py", "--weights", unet, "--sampler", "ancestral", "--steps", 5, *common)
    assert done.returncode == 2 and "--noise shared or independent goes with --sampler ancestral" in done.stderr
    done = run("interpolate.py", "--weights", gan / "weights.safetensors", "--sampler", "ddim", "--steps", 5, *common)
    assert done.returncode == 1 and "Traceback" not in done.stderr and "'dcgan' is unknown" in done.stderr
    done = run("sample_gan.py", "--weights", unet, "--n", 1, "--seed", 0, "--output", tmp_path / "never.npz")
    assert done.returncode == 1 and "not the weights of a DCGAN's generator" in done.stderr
    assert not (tmp_path / "never.npz").exists()
