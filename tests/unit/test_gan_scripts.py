"""A DCGAN by the stages: one trajectory, latents keyed by sample, ends of strips that are the samples."""

import json
from pathlib import Path

import jobfile
import numpy as np
import pytest
import torch

from ddpm_dip.jobs import files
from ddpm_dip.jobs.errors import UserError
from ddpm_dip.jobs.job import read_record
from ddpm_dip.models import build_unet, networks
from ddpm_dip.models.schedule import linear_schedule, respaced_timesteps
from ddpm_dip.models.unet import tabulate_time
from ddpm_dip.sampling import SAMPLERS
from ddpm_dip.sampling.noise import keyed_noise
from ddpm_dip.study import AXES

GAN = dict.fromkeys(AXES) | {"model": "gan", "replicate": 7, "epochs": 2}
SETTINGS = {
    "model": "gan", "family": "dcgan", "network": "dcgan", "width": 8, "replicate": 0, "device": "cpu",
    "batch_size": 16, "lr": 0.0002, "flip": True,
}  # fmt: skip


def train(study: Path, output: str, epochs: int, build_on: str | None = None, **settings: object) -> Path:
    names = {"weights": "weights.safetensors", "state": "state.safetensors", "losses": "losses.csv"}
    outputs = {role: f"{output}/{name}" for role, name in names.items()}
    settings = SETTINGS | {"epochs": epochs} | settings
    jobfile.run("train", jobfile.write(study, "train", settings, {"data": "data.npz"}, outputs, build_on=build_on))
    assert not list((study / output).parent.glob("progress-*"))
    return study / output


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("gan")
    rng = np.random.default_rng(0)
    files.write_npz(folder / "data.npz", train=rng.integers(0, 256, (40, 1, 16, 16), dtype=np.uint8))
    return folder


@pytest.fixture(scope="module")
def gan(study) -> Path:
    return train(study, "gan/r0/2", 2)


def unet() -> torch.nn.Module:
    torch.manual_seed(0)
    net = build_unet("imvfx-sees", (1, 16, 16), 4)
    for parameter in net.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter) * parameter.requires_grad
    return net


@pytest.fixture(scope="module")
def unet_weights(study) -> str:
    header = {"family": "unet", "network": "imvfx-sees", "image_shape": "1x16x16", "width": 4}
    tensors = {f"ema.{name}": tensor for name, tensor in unet().state_dict().items()}
    files.write_safetensors(study / "unet.safetensors", tensors, header)
    return "unet.safetensors"


def generator_of(weights: Path) -> torch.nn.Module:
    """The trained generator, by hand, in eval mode."""
    tensors, header = files.read_safetensors(weights)
    assert header["family"] == "dcgan" and all(name.startswith("last.") for name in tensors)
    net = networks.find("dcgan", "dcgan").build_generator((1, 16, 16), int(header["latent_dim"]), int(header["width"]))
    net.load_state_dict({name.removeprefix("last."): tensor for name, tensor in tensors.items()})
    return net.eval()


def drawn_by_hand(weights: Path, replicate: int, n: int) -> np.ndarray:
    with torch.no_grad():
        latents = keyed_noise(replicate, "gan-latents", range(n), (100,))
        return torch.cat([generator_of(weights)(z[None]) for z in latents]).numpy()


def test_budgets_in_a_chain_are_one_training(study, gan):
    lower = train(study, "chain/r0/1", 1)
    chained = train(study, "chain/r0/2", 2, build_on="chain/r0/1")
    for name in ("weights.safetensors", "state.safetensors"):
        assert (chained / name).read_bytes() == (gan / name).read_bytes()
    rows = [[row.split(",")[:5] for row in (path / "losses.csv").read_text().splitlines()] for path in (chained, gan)]
    assert rows[0] == rows[1] and rows[0][0] == ["model", "replicate", "epoch", "loss_d", "loss_g"]
    assert len(rows[0]) == 3
    assert read_record(chained / "losses.csv")["work"] == {"epochs": 1, "images": 40}
    assert read_record(gan / "weights.safetensors")["work"] == {"epochs": 2, "images": 80}
    with pytest.raises(UserError, match="chain/r0/1: made with other data, settings or code"):
        train(study, "chain/r0/never", 2, build_on=str(lower.relative_to(study)), width=4)
    assert not (study / "chain/r0/never").exists()


def test_what_is_written(gan):
    header = files.read_safetensors(gan / "weights.safetensors")[1]
    assert header == {"family": "dcgan", "network": "dcgan", "image_shape": "1x16x16", "latent_dim": "100",
                      "width": "8", "epoch": "2", "step": "6", "seed": "0"}  # fmt: skip
    generator_of(gan / "weights.safetensors")


def test_a_replicate_is_the_seed(study, gan):
    other = train(study, "gan/r1/2", 2, replicate=1)
    a, b = (files.read_safetensors(folder / "weights.safetensors")[0] for folder in (gan, other))
    assert any(not torch.equal(a[name], b[name]) for name in a)
    assert [row.split(",")[1] for row in (other / "losses.csv").read_text().splitlines()[1:]] == ["1", "1"]


def sample(study: Path, n: int, file: str) -> dict[str, np.ndarray]:
    settings = {"family": "dcgan", "cell": GAN, "n": n, "backend": "torch"}
    outputs = {"samples": f"samples/{n}.npz"}
    jobfile.run("sample", jobfile.write(study, "sample", settings, {"weights": file}, outputs))
    return files.read_npz(study / outputs["samples"])


def test_samples_are_the_generator_s_of_keyed_latents(study, gan):
    three, five = (sample(study, n, "gan/r0/2/weights.safetensors") for n in (3, 5))
    assert np.array_equal(three["samples"], five["samples"][:3]) and five["samples"].shape == (5, 1, 16, 16)
    assert np.abs(five["samples"]).max() <= 1 and json.loads(str(five["cell"])) == GAN
    assert np.array_equal(drawn_by_hand(gan / "weights.safetensors", 7, 5), five["samples"])


def interpolate(study: Path, file: str, **settings: object) -> np.ndarray:
    given = {
        "family": "unet", "model": "m", "replicate": 3, "epochs": 1, "weights": "ema", "sampler": None,
        "path": "linear", "noise": None, "steps": None, "clip_x0": False, "pairs": 2, "points": 5, "backend": "torch",
    }  # fmt: skip
    path = jobfile.write(study, "interpolate", given | settings, {"weights": file}, {"images": "strips.npz"})
    (study / "strips.npz").unlink(missing_ok=True)
    jobfile.run("interpolate", path)
    archive = files.read_npz(study / "strips.npz")
    assert archive["images"].shape == (2, 5, 1, 16, 16) and archive["fractions"].tolist() == [0, 0.25, 0.5, 0.75, 1]
    return archive["images"]


OF_A_GAN = {"family": "dcgan", "weights": None, "clip_x0": None}


@pytest.mark.parametrize("path", ["linear", "spherical"])
def test_the_ends_of_a_gan_s_strips_are_its_samples(study, gan, path):
    images = interpolate(study, "gan/r0/2/weights.safetensors", path=path, **OF_A_GAN)
    ends = drawn_by_hand(gan / "weights.safetensors", 3, 4)
    assert np.array_equal(images[:, [0, -1]].reshape(4, 1, 16, 16), ends)


def test_ddim_strips_are_functions_of_the_latent(study, unet_weights):
    options = {"sampler": "ddim", "steps": 4}
    linear, spherical = (interpolate(study, unet_weights, path=path, **options) for path in ("linear", "spherical"))
    net = tabulate_time(unet())
    with torch.inference_mode():
        latents = keyed_noise(3, "latents", range(4), (1, 16, 16))
        ends, clipped_ends = (
            SAMPLERS["ddim"](net, latents, respaced_timesteps(4, 1000), linear_schedule(), None, clip_x0=clip).numpy()
            for clip in (False, True)
        )
    for images in (linear, spherical):
        np.testing.assert_allclose(images[:, [0, -1]].reshape(ends.shape), ends, rtol=1e-4, atol=1e-3)
    clipped = interpolate(study, unet_weights, clip_x0=True, **options)
    np.testing.assert_allclose(clipped[:, [0, -1]].reshape(ends.shape), clipped_ends, rtol=1e-4, atol=1e-3)
    assert np.abs(clipped_ends - ends).max() > 0.1
    assert np.abs(linear[:, 2] - spherical[:, 2]).max() > 1e-2


def test_ancestral_strips_share_the_noise_of_the_first_end_or_have_their_own(study, unet_weights):
    options = {"sampler": "ancestral", "steps": 6}
    shared, own = (interpolate(study, unet_weights, noise=noise, **options) for noise in ("shared", "independent"))
    cell = dict.fromkeys(AXES) | {"model": "m", "replicate": 3, "epochs": 1, "weights": "ema", "start": "noise",
                                  "sampler": "ancestral", "clip_x0": False, "steps": 6, "nfe": 6}  # fmt: skip
    settings, inputs = {"family": "unet", "cell": cell, "n": 4, "backend": "torch"}, {"data": "data.npz"}
    inputs["weights"] = unet_weights
    jobfile.run("sample", jobfile.write(study, "sample", settings, inputs, {"samples": "samples/unet.npz"}))
    samples = files.read_npz(study / "samples/unet.npz")["samples"]
    np.testing.assert_allclose(shared[:, 0], samples[[0, 2]], atol=1e-4)  # the other ends have the first one's noise
    assert np.abs(shared[:, -1] - samples[[1, 3]]).max() > 1e-2
    assert min(np.abs(own[0, i] - own[0, j]).max() for i in range(5) for j in range(i)) > 1e-2
    assert np.abs(np.diff(shared, axis=1)).mean() < np.abs(np.diff(own, axis=1)).mean()


def test_a_wrong_net_or_option_is_one_message(study, gan, unet_weights):
    of_gan = "gan/r0/2/weights.safetensors"
    with pytest.raises(UserError, match="not the weights of a DCGAN's generator, but of imvfx-sees"):
        interpolate(study, unet_weights, **OF_A_GAN)
    with pytest.raises(UserError, match="settings.noise: .* shared or independent"):
        interpolate(study, unet_weights, sampler="ancestral", steps=5)
    with pytest.raises(UserError):
        interpolate(study, of_gan, sampler="ddim", steps=5)
    with pytest.raises(UserError, match="not the weights of a DCGAN's generator"):
        sample(study, 1, unet_weights)
    assert not (study / "strips.npz").exists() and not (study / "samples/1.npz").exists()
