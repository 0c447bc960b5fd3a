"""From a warm start through the chain to images: the one path that sampling and timing share."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn

from . import backends, files
from .diffusion import linear_schedule, truncated_timesteps
from .errors import UserError
from .networks import build_dip, build_unet
from .networks.dip import SIZE
from .networks.unet import tabulate_time
from .noise import device_noise, keyed_noise
from .sampling import Net, ReverseStep, ancestral, ancestral_on_device
from .scale import to_model_range
from .warm_starts import Context


def read_unet(path: Path | str, image_shape: tuple[int, int, int]) -> nn.Module:
    """A trained U-Net, for sampling. Raises UserError where it was made for other images."""
    tensors, header = files.read_safetensors(path)
    shape = "x".join(map(str, image_shape))
    if header.get("image_shape") != shape:
        raise UserError(f"{path}: made for images of {header.get('image_shape')}, not of {shape}")
    net = build_unet(header["network"], image_shape, int(header["width"]) if "width" in header else None)
    net.load_state_dict(tensors)
    return tabulate_time(net)


def load_unet(path: Path | str, image_shape: tuple[int, int, int], backend: str, batch_size: int, threads: int) -> Net:
    """A trained U-Net, ready to run on `backend`. Raises UserError as `read_unet` does."""
    example = (torch.zeros(batch_size, *image_shape), torch.zeros(1, dtype=torch.int64))
    return backends.BACKENDS[backend](read_unet(path, image_shape), example, threads)


def load_step(
    path: Path | str, image_shape: tuple[int, int, int], backend: str, batch_size: int, clip_x0: bool
) -> backends.Compiled:
    """A trained U-Net's whole reverse step as a CUDA graph, for `generate`. Raises UserError as `read_unet` does."""
    step = ReverseStep(read_unet(path, image_shape), linear_schedule(), clip_x0)
    x = torch.zeros(batch_size, *image_shape)
    return backends.cuda_graph(step, (x, torch.zeros(1, dtype=torch.int64), x), backends.CUDA[backend])


def image_shape_of(path: Path | str) -> tuple[int, int, int]:
    """(C, H, W) of the images that a U-Net's or generator's weights were trained on."""
    return tuple(int(side) for side in files.read_safetensors(path)[1]["image_shape"].split("x"))


def load_dip(
    path: Path | str, channels: int, backend: str, batch_size: int, threads: int
) -> Callable[[Tensor], Tensor]:
    """A fitted DIP net, ready to run: (n, channels, 32, 32) to the same shape. Raises UserError for another net's file.

    Always on the CPU in float32, and so that an image's result is the same in every batch: a pass multiplies a
    difference by 6 to 8, and ten passes would turn the rounding of another batch size into other images.
    """
    tensors, header = files.read_safetensors(path)
    if header.get("network") != "dip" or header.get("image_channels") != str(channels):
        raise UserError(f"{path}: not the weights of a DIP net for {channels} channels")
    net = build_dip(channels)
    net.load_state_dict(tensors)
    if not backend.startswith("openvino"):
        return backends.one_by_one(net)
    return backends.openvino(net, (torch.zeros(batch_size, channels, SIZE, SIZE),), threads)


def ancestral_noise(
    seed: int, indices: Sequence[int], shape: tuple[int, ...], device: str = "cpu"
) -> Callable[[int | Tensor], Tensor]:
    """The noise of a chain's steps, by t: one timestep's (n, *shape), on the CPU, or of a tensor (k,), (k, n, *shape).

    device: where the net computes. By `keyed_noise` on a CPU; on a GPU, and for a tensor, by `device_noise`.
    """
    on_device = torch.tensor(indices, device=device)

    def noise(t: int | Tensor) -> Tensor:
        if isinstance(t, Tensor):
            return device_noise(seed, "ancestral", on_device, shape, t)
        if device == "cpu":
            return keyed_noise(seed, "ancestral", indices, shape, t)
        return device_noise(seed, "ancestral", on_device, shape, torch.tensor([t], device=device))[0].cpu()

    return noise


def make_context(
    train: np.ndarray,
    indices: Sequence[int],
    *,
    steps: int,
    passes: int,
    seed: int,
    dip: Callable[[Tensor], Tensor] | None,
    device: str = "cpu",
) -> Context:
    """What a warm start may use, for the samples `indices` of `seed`. train: (N, C, H, W) uint8; device: the net's."""
    return Context(
        indices=indices,
        image_shape=train.shape[1:],
        steps=steps,
        passes=passes,
        schedule=linear_schedule(),
        noise=lambda stream, shape: keyed_noise(seed, stream, indices, shape),
        ancestral_noise=ancestral_noise(seed, indices, train.shape[1:], device),
        dip=dip,
        train_mean=to_model_range(train.mean(0, keepdims=True)),
    )


@torch.inference_mode()
def generate(
    warm_start: ModuleType,
    context: Context,
    net: Net | None,
    *,
    step: backends.Compiled | None = None,
    device: str = "cuda",
    clip_x0: bool = False,
    callback: Callable[[int, Tensor], None] = lambda t, x: None,
) -> Tensor:
    """One batch: its warm start, then the last `context.steps` steps of the chain (none where that is 0).

    step: of `load_step`, for a chain that stays on `device`, in place of `net` and `clip_x0`; for warm starts that have
    no `see`.
    Returns raw images (n, C, H, W) on the CPU; callback(t, x) is called with each state where it is, as `ancestral`
    says.
    """
    x, timesteps = warm_start.start(context), truncated_timesteps(context.steps)

    noise = context.ancestral_noise
    if step is not None and timesteps:
        return ancestral_on_device(step, x.to(device), timesteps, noise, callback=callback).cpu()

    def seen(x: Tensor, t: Tensor) -> Tensor:
        return net(warm_start.see(context, x), t)

    run = seen if hasattr(warm_start, "see") else net
    return ancestral(run, x, timesteps, context.schedule, noise, clip_x0=clip_x0, callback=callback)
