"""The stage `interpolate`: ends that are the samples, noise that is shared or not, settings that do not fit."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import drawing
import jobfile
from drawing import SHAPE, lively_unet, random_gan

from ddpm_dip.jobs import files, job
from ddpm_dip.jobs.errors import UserError
from ddpm_dip.models.schedule import linear_schedule, respaced_timesteps, truncated_timesteps
from ddpm_dip.sampling import SAMPLERS
from ddpm_dip.sampling.noise import ancestral_noise, keyed_noise

DEFAULT = {"family": "unet", "model": "m", "replicate": 3, "epochs": 1, "weights": "ema", "sampler": "ddim"}
DEFAULT |= {"path": "linear", "noise": None, "steps": 4, "clip_x0": False, "pairs": 2, "points": 5, "backend": "torch"}
GAN = {"family": "dcgan", "weights": None, "sampler": None, "steps": None, "clip_x0": None, "backend": None}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return drawing.write(tmp_path_factory.mktemp("interpolation"))


def draw(folder, name="i", **settings):
    settings = DEFAULT | settings
    weights = "gan.safetensors" if settings["family"] == "dcgan" else "unet.safetensors"
    inputs, outputs = {"weights": settings.pop("file", weights)}, {"images": f"interpolations/{name}.npz"}
    jobfile.run("interpolate", jobfile.write(folder, "interpolate", settings, inputs, outputs, name))
    archive = files.read_npz(folder / outputs["images"])
    assert archive["images"].shape == (2, 5, *SHAPE) and archive["fractions"].tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert archive["images"].dtype == np.float32 and json.loads(str(archive["names"])) == settings
    return archive["images"]


@torch.inference_mode()
def ends(sampler, timesteps, clip=False):
    """The four samples between which the strips lie."""
    noise = ancestral_noise(3, range(4), SHAPE)
    x = keyed_noise(3, "latents", range(4), SHAPE)
    return SAMPLERS[sampler](lively_unet(), x, timesteps, linear_schedule(), noise, clip_x0=clip).numpy()


@pytest.mark.parametrize("path", ["linear", "spherical"])
def test_the_ends_of_a_gan_s_strips_are_its_samples(made, path):
    images = draw(made, path=path, **GAN)
    with torch.inference_mode():
        latents = keyed_noise(3, "gan-latents", range(4), (100,))
        ends = torch.cat([random_gan()(latent[None]) for latent in latents]).numpy()
    assert np.array_equal(images[:, [0, -1]].reshape(4, *SHAPE), ends)
    record = job.read_record(made / "interpolations/i.npz")
    assert record["work"] == {"images": 10} and record["backend"] is None and record["network"] == "dcgan"


@pytest.mark.parametrize("sampler", ["ddim", "dpmpp-2m"])
def test_strips_without_noise_are_functions_of_the_latent(made, sampler):
    linear, spherical = (draw(made, sampler=sampler, path=path) for path in ("linear", "spherical"))
    expected = ends(sampler, respaced_timesteps(4, 1000))
    for images in (linear, spherical):
        ours = images[:, [0, -1]].reshape(expected.shape)
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    clipped, expected = draw(made, sampler=sampler, clip_x0=True), ends(sampler, respaced_timesteps(4, 1000), clip=True)
    np.testing.assert_allclose(clipped[:, [0, -1]].reshape(expected.shape), expected, rtol=1e-4, atol=1e-3)
    assert np.abs(clipped - linear).max() > 0.1
    assert np.abs(linear[:, 2] - spherical[:, 2]).max() > 1e-2
    record = job.read_record(made / "interpolations/i.npz")
    assert record["work"] == {"image-steps": 40} and record["backend"] == "torch"


@pytest.mark.parametrize("sampler", ["ancestral", "ancestral-small"])
def test_ancestral_strips_share_the_noise_of_the_first_end_or_have_their_own(made, sampler):
    shared, own = (draw(made, sampler=sampler, steps=6, noise=noise) for noise in ("shared", "independent"))
    samples = ends(sampler, truncated_timesteps(6))
    np.testing.assert_allclose(shared[:, 0], samples[[0, 2]], atol=1e-4)  # the other ends have the first one's noise
    assert np.abs(shared[:, -1] - samples[[1, 3]]).max() > 1e-2
    assert min(np.abs(own[0, i] - own[0, j]).max() for i in range(5) for j in range(i)) > 1e-2
    assert np.abs(np.diff(shared, axis=1)).mean() < np.abs(np.diff(own, axis=1)).mean()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (GAN | {"file": "unet.safetensors"}, "not the weights of a DCGAN's generator, but of hw4-sees"),
        ({"file": "gan.safetensors", "weights": "last"}, "'dcgan' is unknown"),
        ({"sampler": "ancestral"}, r"settings\.noise: None; with the sampler ancestral right is shared or independent"),
        ({"sampler": "ddim", "noise": "shared"}, r"settings\.noise: 'shared'; with the sampler ddim right is null"),
        ({"sampler": "ddim", "noise": "none"}, r"settings\.noise: 'none'; with the sampler ddim right is null"),
        ({"steps": 0}, r"settings\.steps: 0; right is a whole number from 1 to 1000"),
        ({"steps": 1001}, r"settings\.steps: 1001; right is a whole number from 1 to 1000"),
        ({"path": "straight"}, r"settings\.path: 'straight'; right is linear or spherical"),
        ({"points": 1}, r"settings\.pairs must be from 1 up and settings\.points from 2 up"),
        ({"sampler": "dim"}, "sampler: 'dim' is unknown"),
    ],
)
def test_what_does_not_fit_is_one_message(made, settings, message):
    with pytest.raises(UserError, match=message):
        draw(made, "never", **settings)
    assert not (made / "interpolations/never.npz").exists()
