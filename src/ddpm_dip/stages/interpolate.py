"""Draw images along the path between two latents, for several pairs.

Reads     weights: those of a net with a chain, or of a DCGAN, .safetensors.
Writes    images: an .npz with `images` (pairs, points, C, H, W) float32, raw, `fractions` (points,) from 0 to 1, and
          `names`, JSON of the settings.
Settings  family, model, replicate (the seed of all noise), epochs, weights (their kind), sampler (null
          for a DCGAN), path (linear or spherical), noise (shared or independent for a sampler that adds noise, else
          null), steps (the last so many timesteps for a sampler that adds noise, else so many of all timesteps),
          clip_x0, pairs, points (images a pair, both ends counted in), backend (a key of sampling.backends.BACKENDS, or
          auto).

Pair p joins the latents of samples 2p and 2p + 1. With shared noise all points of a pair have the noise of sample 2p at
each step; with independent noise each point has its own.
"""

import json

import numpy as np
import torch

from ..jobs import files
from ..jobs.errors import UserError
from ..jobs.job import Job
from ..models.schedule import respaced_timesteps, truncated_timesteps
from ..sampling import backend_choice, backends, chain, interpolation, samplers
from ..sampling.generators import Weights, dcgan, find
from ..sampling.noise import ancestral_noise, keyed_noise

PATHS = {"linear": interpolation.lerp, "spherical": interpolation.slerp}
NOISE = ("shared", "independent")
OWN_NOISE = 1 << 32  # sample numbers from here on are those of points that have noise of their own


@torch.inference_mode()
def run(job: Job) -> None:
    settings = job.settings
    torch.set_num_threads(job.threads)
    weights = Weights(job.input("weights"), *files.read_safetensors(job.input("weights")))
    pairs, points = settings["pairs"], settings["points"]
    if settings["path"] not in PATHS:
        raise UserError(f"{job.path}: settings.path: {settings['path']!r}; right is {' or '.join(PATHS)}")
    if pairs < 1 or points < 2:
        raise UserError(f"{job.path}: settings.pairs must be from 1 up and settings.points from 2 up")
    fractions = np.linspace(0, 1, points)

    def between(stream: str, shape: tuple[int, ...]) -> torch.Tensor:
        ends = [keyed_noise(settings["replicate"], stream, range(end, 2 * pairs, 2), shape) for end in (0, 1)]
        return PATHS[settings["path"]](*ends, fractions).flatten(0, 1)

    backend, nfe = None, 0
    if settings["family"] == "dcgan":
        generator, latent_dim = dcgan.ready(weights)
        images = generator(between("gan-latents", (latent_dim,)))
    else:
        backend, nfe = backend_choice.resolve(settings["backend"]), settings["steps"]
        images = strips(job, weights, between("latents", weights.image_shape), backend)
    images = images.unflatten(0, (pairs, points)).numpy()
    files.write_npz(job.output("images"), images=images, fractions=fractions, names=np.array(json.dumps(settings)))
    job.finish(
        device=backends.device(backend),
        work={"image-steps": pairs * points * nfe} if nfe else {"images": pairs * points},
        network=weights.header["network"],
        image_shape=list(weights.image_shape),
        backend=backend,
    )
    print(f"{job.content['outputs']['images']}: {pairs} x {points} images")


def strips(job: Job, weights: Weights, latents: torch.Tensor, backend: str) -> torch.Tensor:
    """The chain's images from latents (pairs * points, C, H, W), a strip at a time.

    Raises UserError for settings that do not fit together.
    """
    settings = job.settings
    sampler, noise, steps, points = (settings[key] for key in ("sampler", "noise", "steps", "points"))
    module = samplers.find(sampler)
    if noise not in (NOISE if module.ADDS_NOISE else (None,)):
        right = " or ".join(NOISE) if module.ADDS_NOISE else "null"
        raise UserError(f"{job.path}: settings.noise: {noise!r}; with the sampler {sampler} right is {right}")
    shape = weights.image_shape
    net, schedule = find(settings["family"]).ready(weights, settings["weights"], shape)
    most = len(schedule.betas)
    if not 1 <= steps <= most:
        raise UserError(f"{job.path}: settings.steps: {steps}; right is a whole number from 1 to {most}")
    chain_of = chain.prepare(
        net, module, truncated_timesteps(steps) if module.ADDS_NOISE else respaced_timesteps(steps, most), schedule,
        clip_x0=settings["clip_x0"], backend=backend, threads=job.threads, shape=(points, *shape),
    )  # fmt: skip
    device, images = "cuda" if backend in backends.CUDA else "cpu", []
    for pair, x in enumerate(latents.split(points)):
        own = range(OWN_NOISE + pair * points, OWN_NOISE + (pair + 1) * points)
        indices = own if noise == "independent" else [2 * pair] * points
        images.append(chain_of(x, ancestral_noise(settings["replicate"], indices, shape, device)))
    return torch.cat(images)
