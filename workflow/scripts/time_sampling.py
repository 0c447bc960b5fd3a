"""Time sampling with K steps: DDPM and DIP + DDPM in turn, in one process, DIP passes counted in."""

import argparse
import itertools
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import numpy as np
import torch

from ddpm_dip import backend_choice, backends, errors, files, generation, provenance, warm_starts

COLUMNS = ("method", "passes", "steps", "batch", "device", "backend", "median_s", "q1_s", "q3_s", "repeats")
WARM_UP_STEPS = 3


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="the data set's .npz file, from prepare_data.py")
    parser.add_argument("--weights", required=True, help="the U-Net's weights.safetensors")
    parser.add_argument("--dip", required=True, help="the DIP net's weights.safetensors")
    parser.add_argument("--steps", type=errors.at_least(0), required=True, help="K; 0: the DIP passes alone")
    parser.add_argument(
        "--passes", type=errors.at_least(0), nargs="+", required=True, help="DIP passes, an arm each; 0: plain DDPM"
    )
    parser.add_argument("--batches", type=errors.at_least(1), nargs="+", required=True, help="batch sizes to time")
    parser.add_argument("--repeats", type=errors.at_least(1), default=5)
    parser.add_argument("--backend", choices=["auto", *backends.BACKENDS], default="auto")
    parser.add_argument("--threads", type=errors.at_least(1), default=torch.get_num_threads())
    parser.add_argument("--output", required=True, help="the .csv file to write; seconds are per image")
    parser.add_argument("--stamp", help="the workflow's stamp file, copied into the provenance")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    job = provenance.Job(args.stamp, __file__)
    backend = backend_choice.resolve(args.backend)
    torch.set_num_threads(args.threads)
    train = files.read_npz(job.input(args.data))["train"]
    weights, dip = job.input(args.weights), job.input(args.dip)
    nets, steps, dips = {}, {}, {}
    for batch in args.batches:
        if backend in backends.CUDA:
            steps[batch] = generation.load_step(weights, train.shape[1:], backend, batch, clip_x0=False)
        else:
            nets[batch] = generation.load_unet(weights, train.shape[1:], backend, batch, args.threads)
        dips[batch] = generation.load_dip(dip, train.shape[1], backend, batch, args.threads)

    device = backends.device(backend if args.steps else None)  # the DIP net's is the CPU

    def run(passes: int, batch: int, length: int) -> float:
        context = generation.make_context(train, range(batch), steps=length, passes=passes, seed=0, dip=dips[batch])
        warm_start = warm_starts.find("dip" if passes else "noise")
        begin = time.perf_counter()
        # the result is on the CPU when the call returns
        generation.generate(warm_start, context, nets.get(batch), step=steps.get(batch))
        return time.perf_counter() - begin

    arms = [arm for arm in itertools.product(args.passes, args.batches) if args.steps or arm[0]]
    for passes, batch in arms:
        run(passes, batch, min(WARM_UP_STEPS, args.steps))
    seconds: dict[tuple[int, int], list[float]] = {arm: [] for arm in arms}
    for _ in range(args.repeats):  # the arms in turn, so that a slow moment of the machine meets them all
        for passes, batch in arms:
            seconds[passes, batch].append(run(passes, batch, args.steps) / batch)

    lines = [",".join(COLUMNS)]
    for (passes, batch), values in seconds.items():
        q1, median, q3 = np.percentile(values, [25, 50, 75])
        method = ("dip+ddpm" if passes else "ddpm") if args.steps else "dip"
        row = (method, passes, args.steps, batch, device, backend, median, q1, q3, args.repeats)
        lines.append(",".join(map(str, row)))
    files.write_text(args.output, "\n".join(lines) + "\n")
    job.finish(
        args.output,
        spec={key: getattr(args, key) for key in ("steps", "passes", "batches", "repeats")},
        device=device,
        backend=backend,
        threads=args.threads,
    )


if __name__ == "__main__":
    errors.run(main)
