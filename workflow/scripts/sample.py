"""Sample one cell: n images of one model from one warm start with one number of reverse steps."""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import numpy as np
import torch

from ddpm_dip import backend_choice, backends, errors, files, generation, provenance, warm_starts

BATCH = 64
FRAMES = 40  # of the first SHOWN samples, for the denoising GIFs
SHOWN = 8


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="the data set's .npz file, from prepare_data.py")
    parser.add_argument("--weights", help="the U-Net's weights.safetensors; left out with --sampler none")
    parser.add_argument("--dip", help="the DIP net's weights.safetensors, for starts that use it")
    parser.add_argument("--start", required=True, choices=warm_starts.WARM_STARTS)
    parser.add_argument("--passes", type=errors.at_least(0), default=0, help="passes through the DIP net")
    parser.add_argument("--sampler", choices=["ancestral", "none"], default="ancestral", help="none: the start alone")
    parser.add_argument("--steps", type=int, default=0, help="K: the last K timesteps of the chain, 1 to 1000")
    parser.add_argument("--clip-x0", action="store_true", help="clamp the predicted x_0 to [-1, 1] at each step")
    parser.add_argument("--n", type=errors.at_least(1), required=True, help="number of samples")
    parser.add_argument("--seed", type=errors.at_least(0), required=True)
    parser.add_argument("--backend", choices=["auto", *backends.BACKENDS], default="auto")
    parser.add_argument("--threads", type=errors.at_least(1), default=1)
    parser.add_argument("--cell", default="{}", help="JSON of the cell's names (dataset, model, ...), kept in the file")
    parser.add_argument("--output", required=True, help="the .npz file to write")
    parser.add_argument("--stamp", help="the workflow's stamp file, copied into the provenance")
    args = parser.parse_args()
    uses_dip = args.start.startswith("dip")
    if args.sampler == "ancestral" and not (args.weights and 1 <= args.steps <= 1000):
        parser.error("--sampler ancestral needs --weights, and --steps from 1 to 1000")
    if args.sampler == "none" and args.start != "dip":
        parser.error("--sampler none draws with the DIP net alone: it needs --start dip")
    if uses_dip and not (args.dip and args.passes):
        parser.error(f"--start {args.start} needs --dip, and --passes from 1 up")
    return args


def main() -> None:
    args = parse_arguments()
    job = provenance.Job(args.stamp, __file__)
    args.backend = backend_choice.resolve(args.backend)
    torch.set_num_threads(args.threads)
    train = files.read_npz(job.input(args.data))["train"]
    image_shape = train.shape[1:]
    alone = args.sampler == "none"
    steps = 0 if alone else args.steps
    warm_start = warm_starts.find(args.start)
    net, step, device = None, None, "cpu"
    if not alone:
        weights, batch = job.input(args.weights), min(BATCH, args.n)
        device = "cuda" if args.backend in backends.CUDA else "cpu"
        if device == "cuda" and not hasattr(warm_start, "see"):
            step = generation.load_step(weights, image_shape, args.backend, batch, args.clip_x0)
        else:
            net = generation.load_unet(weights, image_shape, args.backend, batch, args.threads)
    dip = None
    if args.dip:
        dip = generation.load_dip(job.input(args.dip), image_shape[0], args.backend, min(BATCH, args.n), args.threads)

    frame_steps = set(np.linspace(0, steps, min(FRAMES, steps + 1)).round().astype(int))
    raw, frames = torch.empty(args.n, *image_shape), {}
    sums = torch.zeros(2, steps + 1, dtype=torch.float64)  # over samples, of a state's mean and of its square
    for first in range(0, args.n, BATCH):
        indices = range(first, min(first + BATCH, args.n))
        context = generation.make_context(
            train, indices, steps=steps, passes=args.passes, seed=args.seed, dip=dip, device=device
        )
        path = []

        def record(t: int, x: torch.Tensor, path: list = path, first: int = first) -> None:  # x stays where it is
            path.append(x.mean((1, 2, 3)))
            if first == 0 and steps - 1 - t in frame_steps:
                frames[t] = x[:SHOWN].clone()

        x = generation.generate(warm_start, context, net, step=step, clip_x0=args.clip_x0, callback=record)
        if alone:
            x = 2 * x - 1  # a DIP net draws on [0, 1]: only so is its drawing on the model's scale
        record(-1, x.to(path[0].device) if path else x)
        raw[first : first + BATCH] = x
        means = torch.stack(path).cpu().double()  # (steps + 1, n)
        sums += torch.stack([means.sum(1), means.square().sum(1)])

    mean, square = sums.numpy() / args.n
    files.write_npz(
        args.output,
        samples=raw.numpy(),
        mean_path=mean,
        sd_path=np.sqrt((square - mean**2).clip(0)),
        frames=torch.stack(list(frames.values())).cpu().numpy().astype(np.float16),
        frame_timesteps=np.array(list(frames)),
        cell=np.array(args.cell),
    )
    job.finish(
        args.output,
        spec={key: getattr(args, key) for key in ("start", "passes", "sampler", "steps", "clip_x0", "n")},
        seed=args.seed,
        device=backends.device(None if alone else args.backend),
        backend=args.backend,
        threads=args.threads,
    )
    print(f"{json.loads(args.cell).get('model', '')} {args.start} {args.passes} K={args.steps}: {len(raw)} images")


if __name__ == "__main__":
    errors.run(main)
