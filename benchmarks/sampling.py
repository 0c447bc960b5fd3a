"""Sampling, microseconds per image and step: ours on each backend, against what others run, on the same weights.

Arms, on a U-Net hw4 for 1x28x28:
  eager           the baseline: a plain PyTorch loop as the original writes it, in float32
  control         the same once more: the machine's noise
  diffusers       diffusers' DDPMPipeline and DDPMScheduler around the same net
  ours-BACKEND    generation.generate with each installed backend of the device, its keyed noise and warm start
                  counted in
  original        with --original FOLDER: the real original code. FOLDER holds a file original.py with a function
                  sample(n, steps) that runs the last `steps` steps of its chain for n images and returns them as a
                  tensor (n, 1, 28, 28); network and weights are its own affair, torch.set_num_threads is ours
  peak-fp32, -bf16  no sampler: a convolution of 256 channels, where oneDNN is at its best, for the machine's peak
gflops is per second of wall time, gflops_per_core per second of CPU time (of no meaning with --device cuda).

Accuracy: each arm's images at the end of a chain of --steps steps, against the same chain in float64 with the same
noise; and its distance as a multiple of eager's. Random weights predict next to no noise, and so hide the net's own
rounding: give --weights for an accuracy that tells.
"""

import copy
import importlib.util
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import common
import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ddpm_dip import backend_choice, backends, errors, files, generation, gpu, sampling, torchvision_import, warm_starts  # noqa: F401
from ddpm_dip.diffusion import linear_schedule, truncated_timesteps
from ddpm_dip.networks import build_unet
from ddpm_dip.networks.unet import tabulate_time
from ddpm_dip.noise import keyed_noise

# isort: split
from diffusers import ConfigMixin, DDPMPipeline, DDPMScheduler, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.schedulers import scheduling_ddpm

SHAPE = (1, 28, 28)
SEED = 0
KEYS = ["batch", "threads"]
PEAK = (64, 256, 14, 14)  # (N, C, H, W) of a 3x3 convolution to as many channels (faster here than matrix products)
PEAK_FLOP = 2 * 9 * 64 * 256 * 256 * 14 * 14


def eager(net: nn.Module, x: Tensor, steps: int, noise: Callable[[int, Tensor], Tensor]) -> Tensor:
    """The chain as a plain loop, all in float32, as study A's code runs it."""
    betas = torch.linspace(1e-4, 0.02, 1000)
    alphas = 1 - betas
    alphas_cumprod = torch.cumprod(alphas, 0)
    betas, alphas, alphas_cumprod = (values.to(x.device) for values in (betas, alphas, alphas_cumprod))
    with torch.no_grad():
        for t in reversed(range(steps)):
            predicted = net(x, torch.full((len(x),), t, device=x.device))
            x = (x - betas[t] / (1 - alphas_cumprod[t]).sqrt() * predicted) / alphas[t].sqrt()
            if t > 0:
                x = x + betas[t].sqrt() * noise(t, x)
    return x


def diffusers_pipeline(net: nn.Module) -> DDPMPipeline:
    """diffusers' DDPMPipeline around `net`; its steps are the last ones of the chain, as ours are."""

    class Truncated(DDPMScheduler):
        def set_timesteps(self, num_inference_steps: int, device: str | None = None) -> None:
            super().set_timesteps(timesteps=truncated_timesteps(num_inference_steps), device=device)

    class Wrapped(ModelMixin, ConfigMixin):
        @register_to_config
        def __init__(self, sample_size: int, in_channels: int) -> None:
            super().__init__()

        def forward(self, x: Tensor, t: Tensor) -> SimpleNamespace:
            return SimpleNamespace(sample=self.net(x, t.to(x.device).expand(len(x))))

    # fixed_large: sigma_t^2 = beta_t
    scheduler = Truncated(1000, 1e-4, 0.02, "linear", variance_type="fixed_large", clip_sample=False)
    unet = Wrapped(SHAPE[1], SHAPE[0])
    unet.net = net
    pipeline = DDPMPipeline(unet, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def diffusers_chain(net: nn.Module, x: Tensor, steps: int, noise: Callable[[int, Tensor], Tensor]) -> Tensor:
    """The loop of diffusers' pipeline with the noise given, and without its rounding to pictures at the end."""
    scheduler = diffusers_pipeline(net).scheduler
    scheduler.set_timesteps(steps)
    with torch.no_grad():
        for t in scheduler.timesteps:
            given = noise(int(t), x) if t > 0 else None
            with mock.patch.object(scheduling_ddpm, "randn_tensor", lambda *_, given=given, **__: given):
                x = scheduler.step(net(x, t.to(x.device).expand(len(x))), t, x).prev_sample
    return x


def load_original(folder: Path) -> Callable[[int, int], Tensor]:
    """`sample` of FOLDER/original.py. Raises UserError where it is not there, or returns something else."""
    path = folder / "original.py"
    if not path.is_file():
        raise errors.UserError(f"--original {folder}: no file original.py there; it needs one with sample(n, steps)")
    sys.path.insert(0, str(folder))
    spec = importlib.util.spec_from_file_location("original", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not callable(getattr(module, "sample", None)):
        raise errors.UserError(f"{path}: has no function sample(n, steps)")
    images = module.sample(2, 1)
    if tuple(getattr(images, "shape", ())) != (2, *SHAPE):
        found = getattr(images, "shape", type(images).__name__)
        raise errors.UserError(f"{path}: sample(2, 1) must return a tensor (2, 1, 28, 28), not {found}")
    return module.sample


def load_net(weights: Path | None) -> nn.Module:
    torch.manual_seed(SEED)
    net = build_unet("hw4", SHAPE)
    if weights:
        tensors, header = files.read_safetensors(weights)
        if (header.get("network"), header.get("image_shape")) != ("hw4", "x".join(map(str, SHAPE))):
            raise errors.UserError(f"{weights}: not the weights of hw4 for 1x28x28, from train.py")
        net.load_state_dict(tensors)
    return net.eval()


def installed(device: str) -> list[str]:
    """The package's backends for `device` that can run here."""
    if device == "cuda":
        return list(backends.CUDA)
    has_openvino = backend_choice.resolve("auto") == "openvino"
    names = [name for name in backends.BACKENDS if name not in backends.CUDA]
    return [name for name in names if has_openvino or not name.startswith("openvino")]


def compiled(backend: str, net: nn.Module, batch: int, threads: int) -> dict[str, Callable]:
    """The net, or the whole step of a GPU, as `generate` takes it."""
    net, x, t = tabulate_time(copy.deepcopy(net).cpu()), torch.zeros(batch, *SHAPE), torch.zeros(1, dtype=torch.int64)
    if backend in backends.CUDA:
        step = sampling.ReverseStep(net, linear_schedule(), clip_x0=False)
        return {"net": None, "step": backends.cuda_graph(step, (x, t, x), backends.CUDA[backend])}
    return {"net": backends.BACKENDS[backend](net, (x, t), threads)}


def context_for(batch: int, steps: int) -> warm_starts.Context:
    blank = np.zeros((1, *SHAPE), np.uint8)
    return generation.make_context(blank, range(batch), steps=steps, passes=0, seed=SEED, dip=None)


def on(device: str, net: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """`net`, its timesteps brought to the device."""
    return lambda x, t: net(x, t.to(device))


@torch.no_grad()
def convolve(images: Tensor, kernels: Tensor) -> Tensor:
    return nn.functional.conv2d(images, kernels, padding=1)


def timed_arms(
    net: nn.Module, batch: int, steps: int, threads: int, original: Callable | None, device: str
) -> dict[str, Callable]:
    torch.set_num_threads(threads)
    net = net.to(device)
    pipeline, start = diffusers_pipeline(net), warm_starts.find("noise")

    def ours(backend: str) -> Callable:
        run = compiled(backend, net, batch, threads)
        mine = torch.get_num_threads()  # OpenVINO has threads of its own, and leaves one to PyTorch

        def sample() -> None:
            torch.set_num_threads(mine)
            generation.generate(start, context_for(batch, steps), **run)
            torch.set_num_threads(threads)

        return sample

    arms = {
        "eager": lambda: eager(net, torch.randn(batch, *SHAPE, device=device), steps, lambda t, x: torch.randn_like(x)),
        "diffusers": lambda: pipeline(batch, num_inference_steps=steps, output_type="np"),
    }
    arms |= {f"ours-{backend}": ours(backend) for backend in installed(device)}
    torch.set_num_threads(threads)
    if original:
        arms["original"] = lambda: original(batch, steps)
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        images, kernels = (torch.randn(shape).to(device, dtype) for shape in (PEAK, (PEAK[1], PEAK[1], 3, 3)))
        arms[f"peak-{name}"] = partial(convolve, images.contiguous(memory_format=torch.channels_last), kernels)
    return arms


def accuracy(net: nn.Module, batch: int, steps: int, threads: int, device: str) -> pd.DataFrame:
    """Distance of each arm's final images from float64's, on the same start and noise."""
    torch.set_num_threads(threads)
    x, schedule = keyed_noise(SEED, "latents", range(batch), SHAPE), linear_schedule()
    timesteps = truncated_timesteps(steps)

    def noise(t: int, _: Tensor | None = None) -> Tensor:
        return keyed_noise(SEED, "ancestral", range(batch), SHAPE, t).to(device)

    def noises(t: Tensor) -> Tensor:
        return torch.stack([noise(int(one)) for one in t])

    net, x = net.to(device), x.to(device)
    with torch.inference_mode():
        double = copy.deepcopy(net).double()
        exact = sampling.ancestral(on(device, double), x.double(), timesteps, schedule, lambda t: noise(t).double())
        ends = {"eager": eager(net, x, steps, noise), "diffusers": diffusers_chain(net, x, steps, noise)}
        for backend in installed(device):
            run = compiled(backend, net, batch, threads)
            if device == "cuda":
                end = sampling.ancestral_on_device(run["step"], x, timesteps, noises)
            else:
                end = sampling.ancestral(run["net"], x, timesteps, schedule, noise)
            ends[f"ours-{backend}"] = end
    rows = []
    for arm, end in ends.items():
        error = end.double() - exact
        rows.append({"arm": arm, "max_error": error.abs().max().item(), "rms_error": error.pow(2).mean().sqrt().item()})
    table = pd.DataFrame(rows)
    for kind in ("max", "rms"):
        table[f"{kind}_over_eager"] = table[f"{kind}_error"] / table[f"{kind}_error"][0]
    size = exact.pow(2).mean().sqrt().item()
    return table.assign(rms_of_images=size, steps=steps, batch=batch, threads=threads, device=gpu.name(device))


def main() -> None:
    parser = common.parser(__doc__, rounds=7)
    common.add_device(parser)
    parser.add_argument("--weights", type=Path, help="weights.safetensors of a trained hw4 (default: random ones)")
    parser.add_argument("--batches", type=errors.at_least(1), nargs="+", default=[1, 64])
    parser.add_argument(
        "--timed-steps", type=errors.at_least(1), default=64, help="steps timed at batch 1; fewer above"
    )
    parser.add_argument("--steps", type=errors.at_least(1), default=1000, help="K of the accuracy's chain")
    parser.add_argument("--accuracy-batch", type=errors.at_least(1), default=4)
    parser.add_argument("--original", type=Path, help="folder of the original code; see above")
    args = parser.parse_args()
    if max(args.steps, args.timed_steps) > 1000:
        parser.error("the chain has 1000 steps")
    common.prepare(args.device)
    original = load_original(args.original) if args.original else None
    net = load_net(args.weights)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.zeros(1, *SHAPE), torch.zeros(1, dtype=torch.int64))
    flop = counter.get_total_flops()

    rows = []
    for threads in args.threads:
        for batch in args.batches:
            steps = args.timed_steps
            if args.device == "cpu" and steps > 4:  # a GPU's noise is drawn for many steps at once
                steps = max(4, steps // batch)
            keys = {
                "batch": batch,
                "threads": threads,
                "device": gpu.name(args.device),
                "steps": steps,
                "image_steps": batch * steps,
            }
            arms = timed_arms(net, batch, steps, threads, original, args.device)
            rows += common.take_turns(arms, args.rounds, **keys)
    for row in rows:
        peak = row["arm"].startswith("peak")
        row["flop"] = PEAK_FLOP if peak else flop * row["image_steps"]
        row["image_steps"] = 1 if peak else row["image_steps"]
    table = common.summary(rows, [*KEYS, "device", "steps"], "eager", "image_steps")
    frame = pd.DataFrame(rows)
    frame["gflops"], frame["gflops_per_core"] = (frame["flop"] / frame[c] / 1e9 for c in ("seconds", "cpu_seconds"))
    medians = frame.groupby([*KEYS, "arm"], as_index=False)[["gflops", "gflops_per_core"]].median()
    table = table.merge(medians, on=[*KEYS, "arm"])
    peaks = table["arm"].str.startswith("peak")
    of_samplers = [c for c in table if c.startswith(("us", "cpu_us", "ratio", "cpu_ratio"))] + ["steps"]
    table.loc[peaks, of_samplers] = float("nan")
    exact = accuracy(net, args.accuracy_batch, args.steps, args.threads[0], args.device)

    common.show(f"Sampling hw4 1x28x28, {flop / 1e6:.1f} MFLOP per image and step: microseconds", table[~peaks])
    common.show(f"The machine's peak: a convolution of {PEAK[1]} channels", table[peaks])
    common.show(f"After {args.steps} steps, against float64 with the same noise", exact)
    common.write(args.output, "sampling", table, rows)
    files.write_text(args.output / "sampling-accuracy.csv", exact.to_csv(index=False))
    title = f"Sampling, U-Net hw4, 1x28x28, device {gpu.name(args.device)}"
    common.chart(args.output / "sampling.png", title, table[~peaks], KEYS, "eager")


if __name__ == "__main__":
    errors.run(main)
