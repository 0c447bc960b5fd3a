"""Images along the path between two latents, for several pairs: of a U-Net's chain, or of a DCGAN's generator.

Pair p joins the latents of samples 2p and 2p+1. In the ancestral chain all points of a pair share the noise that is
added at each step (that of sample 2p), or each has its own.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import numpy as np
import torch

from ddpm_dip import backend_choice, backends, errors, files, gan_sampling, generation, interpolation, provenance
from ddpm_dip.diffusion import linear_schedule, respaced_timesteps, truncated_timesteps
from ddpm_dip.noise import keyed_noise
from ddpm_dip.sampling import ancestral, ddim

PATHS = {"linear": interpolation.lerp, "spherical": interpolation.slerp}
OWN_NOISE = 1 << 32  # sample numbers from here on are those of points that have noise of their own


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="weights.safetensors of a U-Net, or of a DCGAN's generator")
    parser.add_argument("--sampler", choices=["ancestral", "ddim", "gan"], required=True)
    parser.add_argument("--path", choices=PATHS, required=True)
    parser.add_argument("--noise", choices=["shared", "independent", "none"], default="none", help="ancestral alone")
    parser.add_argument("--steps", type=int, default=0, help="of the chain: the last K (ancestral), K of 1000 (ddim)")
    parser.add_argument("--clip-x0", action="store_true", help="clamp the predicted x_0 to [-1, 1] at each step")
    parser.add_argument("--pairs", type=errors.at_least(1), required=True)
    parser.add_argument("--points", type=errors.at_least(2), required=True, help="images a pair, both ends counted in")
    parser.add_argument("--seed", type=errors.at_least(0), required=True)
    parser.add_argument("--backend", choices=["auto", *backends.BACKENDS], default="auto")
    parser.add_argument("--threads", type=errors.at_least(1), default=1)
    parser.add_argument("--cell", default="{}", help="JSON of the names (dataset, model, ...), kept in the file")
    parser.add_argument("--output", required=True, help="the .npz file to write")
    parser.add_argument("--stamp", help="the workflow's stamp file, copied into the provenance")
    args = parser.parse_args()
    if (args.sampler == "ancestral") == (args.noise == "none"):
        parser.error("--noise shared or independent goes with --sampler ancestral, and with it alone")
    if args.sampler != "gan" and not 1 <= args.steps <= 1000:
        parser.error("--steps from 1 to 1000 goes with --sampler ancestral and ddim")
    return args


@torch.inference_mode()
def main() -> None:
    args = parse_arguments()
    job = provenance.Job(args.stamp, __file__)
    torch.set_num_threads(args.threads)
    weights = job.input(args.weights)
    fractions = np.linspace(0, 1, args.points)
    ends = [range(first, 2 * args.pairs, 2) for first in (0, 1)]

    def between(stream: str, shape: tuple[int, ...]) -> torch.Tensor:
        start, end = (keyed_noise(args.seed, stream, indices, shape) for indices in ends)
        return PATHS[args.path](start, end, fractions).flatten(0, 1)

    backend = None
    if args.sampler == "gan":
        generator, latent_dim = gan_sampling.load_generator(weights)
        images = generator(between("gan-latents", (latent_dim,)))
    else:
        image_shape = generation.image_shape_of(weights)
        latents = between("latents", image_shape)
        backend = backend_choice.resolve(args.backend)
        net = generation.load_unet(weights, image_shape, backend, args.points, args.threads)
        device = "cuda" if backend in backends.CUDA else "cpu"
        schedule, strips = linear_schedule(), []
        for pair, x in enumerate(latents.split(args.points)):
            if args.sampler == "ddim":
                strips.append(ddim(net, x, respaced_timesteps(args.steps), schedule, clip_x0=args.clip_x0))
                continue
            own = range(OWN_NOISE + pair * args.points, OWN_NOISE + (pair + 1) * args.points)
            indices = own if args.noise == "independent" else [2 * pair] * args.points

            noise = generation.ancestral_noise(args.seed, indices, image_shape, device)
            timesteps = truncated_timesteps(args.steps)
            strips.append(ancestral(net, x, timesteps, schedule, noise, clip_x0=args.clip_x0))
        images = torch.cat(strips)

    files.write_npz(
        args.output,
        images=images.unflatten(0, (args.pairs, args.points)).numpy(),
        fractions=fractions,
        cell=np.array(args.cell),
    )
    names = ("sampler", "path", "noise", "steps", "clip_x0", "pairs", "points")
    job.finish(
        args.output,
        spec={name: getattr(args, name) for name in names},
        seed=args.seed,
        device=backends.device(backend),
        backend=backend,
        threads=args.threads,
    )
    print(f"{json.loads(args.cell).get('model', '')} {args.sampler} {args.path}: {args.pairs} x {args.points} images")


if __name__ == "__main__":
    errors.run(main)
