"""Sampling, microseconds per image and step: ours on each backend, against what others run, on the same weights.

Arms, on a U-Net hw4 for images of 28x28 and of 16x16:
  eager           the baseline: a plain PyTorch loop as the original writes it, in float32
  control         the same once more: the machine's noise
  diffusers       diffusers' DDPMPipeline and DDPMScheduler around the same net
  ours-BACKEND    generators.unet with each installed backend of the device, its keyed noise and warm start counted in
  original        with --original FOLDER: the real original code. FOLDER holds a file original.py with a function
                  sample(n, steps) that runs the last `steps` steps of its chain for n images and returns them as a
                  tensor (n, 1, 28, 28); network and weights are its own affair, torch.set_num_threads is ours
  peak-fp32, -bf16  no sampler: a convolution of 256 channels, where oneDNN is at its best
  peak-fma        no sampler: multiplications with addition of float32 vectors that stay in registers, one thread
gflops, counted as of direct convolutions, is per second of wall time, gflops_per_core per second of CPU time (of no
meaning with --device cuda).

Accuracy: each arm's images at the end of a chain of --steps steps, against the same chain in float64 with the same
noise; and its distance as a multiple of eager's. Random weights predict next to no noise, and so hide the net's own
rounding: give --weights for an accuracy that tells.
"""

import copy
import importlib.util
import itertools
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

from ddpm_dip.data import torchvision_import  # noqa: F401
from ddpm_dip.jobs import errors, files
from ddpm_dip.models import build_unet, gpu
from ddpm_dip.models.schedule import linear_schedule, truncated_timesteps
from ddpm_dip.sampling import SAMPLERS, backend_choice, backends, chain, generators, samplers
from ddpm_dip.sampling.noise import keyed_noise
from lanes import vectors
from lanes.engine import memory

# isort: split
from diffusers import ConfigMixin, DDPMPipeline, DDPMScheduler, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.schedulers import scheduling_ddpm

SEED = 0
KEYS = ["side", "batch", "threads"]
PEAK = (64, 256, 14, 14)  # (N, C, H, W) of a 3x3 convolution to as many channels (faster here than matrix products)
PEAK_FLOP = 2 * 9 * 64 * 256 * 256 * 14 * 14
FMA_TURNS, FMA_SUMS = 2**22, 12


def header(side: int) -> dict[str, str]:
    return {"network": "hw4", "image_shape": f"1x{side}x{side}"}


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

    side = net.stages["b1"][0].norm.normalized_shape[-1]
    # fixed_large: sigma_t^2 = beta_t
    scheduler = Truncated(1000, 1e-4, 0.02, "linear", variance_type="fixed_large", clip_sample=False)
    unet = Wrapped(side, 1)
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
    if tuple(getattr(images, "shape", ())) != (2, 1, 28, 28):
        found = getattr(images, "shape", type(images).__name__)
        raise errors.UserError(f"{path}: sample(2, 1) must return a tensor (2, 1, 28, 28), not {found}")
    return module.sample


def load_net(weights: Path | None, side: int) -> nn.Module:
    torch.manual_seed(SEED)
    net = build_unet("hw4", (1, side, side))
    if weights:
        trained = generators.Weights(weights, *files.read_safetensors(weights))
        if {key: trained.header.get(key) for key in header(side)} != header(side):
            raise errors.UserError(f"{weights}: not the weights of hw4 for 1x{side}x{side}, from the stage train")
        net.load_state_dict(trained.of_kind("ema"))
    return net.eval()


def installed(device: str) -> list[str]:
    """The package's backends for `device` that can run here."""
    if device == "cuda":
        return list(backends.CUDA)
    missing = () if importlib.util.find_spec("openvino") else ("openvino",)
    missing += () if backend_choice.has_lanes() else ("lanes",)
    return [name for name in backends.BACKENDS if name not in backends.CUDA and not name.startswith(missing)]


def weights_of(net: nn.Module, side: int) -> generators.Weights:
    """A net's weights as a file of the stage train holds them."""
    tensors = {f"ema.{name}": x.cpu() for name, x in net.state_dict().items()}
    return generators.Weights("the net", tensors, header(side))


def generator(backend: str, net: nn.Module, side: int, batch: int, steps: int, threads: int) -> generators.Generator:
    """What draws `net`'s images from noise in `steps` ancestral steps."""
    cell = {"replicate": SEED, "weights": "ema", "start": "noise", "passes": None, "sampler": "ancestral"}
    cell |= {"clip_x0": False, "steps": steps, "nfe": steps}
    blank = np.zeros((1, 1, side, side), np.uint8)
    return generators.build(
        "unet",
        cell,
        weights=weights_of(net, side),
        dip=None,
        train=blank,
        backend=backend,
        threads=threads,
        batch=batch,
    )


def on(device: str, net: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """`net`, its timesteps brought to the device."""
    return lambda x, t: net(x, t.to(device))


@vectors.kernel
def multiply_and_add(code: vectors.Code, y: vectors.Pointer, turns: vectors.Integer) -> None:
    """FMA_SUMS vectors, each turn x = x * y + y."""
    factor, sums = y.load(), [vectors.Variable(code.vector(i)) for i in range(FMA_SUMS)]
    with code.loop(turns):
        for x in sums:
            x.set(x.get() * factor + factor)
    for x in sums:
        y.store(y.load() + x.get())


def fma_peak(lanes: int) -> Callable[[], None]:
    call = vectors.Call(multiply_and_add, (vectors.Address(0, 0), FMA_TURNS), {})
    run = vectors.compiled(vectors.program({"run": [call]}, 1, lanes), {"run": 1})["run"]
    numbers = memory(lanes)

    def turns() -> None:
        numbers[:] = 0.5
        run(numbers.ctypes.data)

    return turns


@torch.no_grad()
def convolve(images: Tensor, kernels: Tensor) -> Tensor:
    return nn.functional.conv2d(images, kernels, padding=1)


def timed_arms(
    net: nn.Module, side: int, batch: int, steps: int, threads: int, original: Callable | None, device: str
) -> dict[str, Callable]:
    shape = (batch, 1, side, side)
    torch.set_num_threads(threads)
    net = net.to(device)
    pipeline = diffusers_pipeline(net)

    def ours(backend: str) -> Callable:
        draw, mine = generator(backend, net, side, batch, steps, threads).draw, threads

        def sample() -> None:
            nonlocal mine
            torch.set_num_threads(mine)
            draw(range(batch))
            mine = torch.get_num_threads()  # OpenVINO has threads of its own, and leaves one to PyTorch
            torch.set_num_threads(threads)

        return sample

    arms = {
        "eager": lambda: eager(net, torch.randn(shape, device=device), steps, lambda t, x: torch.randn_like(x)),
        "diffusers": lambda: pipeline(batch, num_inference_steps=steps, output_type="np"),
    }
    arms |= {f"ours-{backend}": ours(backend) for backend in installed(device)}
    torch.set_num_threads(threads)
    if original and side == 28:
        arms["original"] = lambda: original(batch, steps)
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        images, kernels = (torch.randn(shape).to(device, dtype) for shape in (PEAK, (PEAK[1], PEAK[1], 3, 3)))
        arms[f"peak-{name}"] = partial(convolve, images.contiguous(memory_format=torch.channels_last), kernels)
    if device == "cpu" and backend_choice.has_lanes():
        arms["peak-fma"] = fma_peak(vectors.of_this_machine()[0])
    return arms


def accuracy(net: nn.Module, side: int, batch: int, steps: int, threads: int, device: str) -> pd.DataFrame:
    """Distance of each arm's final images from float64's, on the same start and noise."""
    torch.set_num_threads(threads)
    shape = (1, side, side)
    x, schedule = keyed_noise(SEED, "latents", range(batch), shape), linear_schedule()
    timesteps = truncated_timesteps(steps)

    def noise(t: int, _: Tensor | None = None) -> Tensor:
        return keyed_noise(SEED, "ancestral", range(batch), shape, t).to(device)

    def given(t: int | Tensor) -> Tensor:  # the same for our backends: of one timestep, or of a GPU's several
        return torch.stack([noise(int(one)) for one in t]) if isinstance(t, Tensor) else noise(t).cpu()

    net, weights = net.to(device), weights_of(net, side)
    with torch.inference_mode():
        double = on(device, copy.deepcopy(net).double())
        start = x.to(device)
        exact = SAMPLERS["ancestral"](double, start.double(), timesteps, schedule, lambda t: noise(t).double()).cpu()
        ends = {"eager": eager(net, start, steps, noise), "diffusers": diffusers_chain(net, start, steps, noise)}
        for backend in installed(device):
            ready, _ = generators.find("unet").ready(weights, "ema", shape)
            run = chain.prepare(
                ready, samplers.find("ancestral"), timesteps, schedule,
                clip_x0=False, backend=backend, threads=threads, shape=x.shape,
            )  # fmt: skip
            ends[f"ours-{backend}"] = run(x, given)
    rows = []
    for arm, end in ends.items():
        error = end.cpu().double() - exact
        rows.append({"arm": arm, "max_error": error.abs().max().item(), "rms_error": error.pow(2).mean().sqrt().item()})
    table = pd.DataFrame(rows)
    for kind in ("max", "rms"):
        table[f"{kind}_over_eager"] = table[f"{kind}_error"] / table[f"{kind}_error"][0]
    size = exact.pow(2).mean().sqrt().item()
    return table.assign(
        rms_of_images=size, side=side, steps=steps, batch=batch, threads=threads, device=gpu.name(device)
    )


def main() -> None:
    parser = common.parser(__doc__, rounds=7)
    common.add_device(parser)
    parser.add_argument("--weights", type=Path, help="weights.safetensors of a trained hw4 (default: random ones)")
    parser.add_argument("--sides", type=int, choices=(28, 16), nargs="+", default=[28, 16], help="of the images")
    parser.add_argument("--batches", type=errors.at_least(1), nargs="+", default=[1, 4, 16, 64])
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
    rows, exact = [], []
    for side in args.sides:
        net = load_net(args.weights, side)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net(torch.zeros(1, 1, side, side), torch.zeros(1, dtype=torch.int64))
        flop = counter.get_total_flops()
        for threads, batch in itertools.product(args.threads, args.batches):
            steps = args.timed_steps
            if args.device == "cpu" and steps > 4:  # a GPU's noise is drawn for many steps at once
                steps = max(4, steps // batch)
            keys = {"side": side, "batch": batch, "threads": threads, "device": gpu.name(args.device), "steps": steps}
            arms = timed_arms(net, side, batch, steps, threads, original, args.device)
            work = batch * steps
            rows += common.take_turns(arms, args.rounds, **keys, image_steps=work, flop=flop * work)
        exact.append(accuracy(net, side, args.accuracy_batch, args.steps, args.threads[0], args.device))
    exact = pd.concat(exact, ignore_index=True)
    for row in rows:
        if row["arm"].startswith("peak"):
            fma = 2 * FMA_TURNS * FMA_SUMS * vectors.of_this_machine()[0] if row["arm"] == "peak-fma" else None
            row |= {"flop": fma or PEAK_FLOP, "image_steps": 1}
    table = common.summary(rows, [*KEYS, "device", "steps"], "eager", "image_steps")
    frame = pd.DataFrame(rows)
    frame["gflops"], frame["gflops_per_core"] = (frame["flop"] / frame[c] / 1e9 for c in ("seconds", "cpu_seconds"))
    medians = frame.groupby([*KEYS, "arm"], as_index=False)[["gflops", "gflops_per_core"]].median()
    table = table.merge(medians, on=[*KEYS, "arm"])
    peaks = table["arm"].str.startswith("peak")
    of_samplers = [c for c in table if c.startswith(("us", "cpu_us", "ratio", "cpu_ratio"))] + ["steps"]
    table.loc[peaks, of_samplers] = float("nan")

    common.show("Sampling hw4: microseconds per image and step", table[~peaks])
    common.show(f"The machine's peak: a convolution of {PEAK[1]} channels, and arithmetic in registers", table[peaks])
    common.show(f"After {args.steps} steps, against float64 with the same noise", exact)
    common.write(args.output, "sampling", table, rows)
    files.write_text(args.output / "sampling-accuracy.csv", exact.to_csv(index=False))
    title = f"Sampling, U-Net hw4, device {gpu.name(args.device)}"
    common.chart(args.output / "sampling.png", title, table[~peaks], KEYS, "eager")


if __name__ == "__main__":
    errors.run(main)
