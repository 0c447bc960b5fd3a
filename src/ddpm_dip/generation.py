"""From a warm start through the chain to images: the one path that sampling and timing share."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from . import backends, files
from .diffusion import linear_schedule, truncated_timesteps
from .errors import UserError
from .networks import build_dip, build_unet
from .networks.dip import SIZE
from .noise import keyed_noise
from .sampling import Net, ancestral
from .scale import to_model_range
from .warm_starts import Context


def load_unet(path: Path | str, image_shape: tuple[int, int, int], backend: str, batch_size: int, threads: int) -> Net:
    """A trained U-Net, ready to run on `backend`. Raises UserError where it was made for other images."""
    tensors, header = files.read_safetensors(path)
    shape = "x".join(map(str, image_shape))
    if header.get("image_shape") != shape:
        raise UserError(f"{path}: made for images of {header.get('image_shape')}, not of {shape}")
    net = build_unet(header["network"], image_shape, int(header["width"]) if "width" in header else None)
    net.load_state_dict(tensors)
    example = (torch.zeros(batch_size, *image_shape), torch.zeros(1, dtype=torch.int64))
    return backends.BACKENDS[backend](net, example, threads)


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


def make_context(
    train: np.ndarray,
    indices: Sequence[int],
    *,
    steps: int,
    passes: int,
    seed: int,
    dip: Callable[[Tensor], Tensor] | None,
) -> Context:
    """What a warm start may use, for the samples `indices` of `seed`. train: (N, C, H, W) uint8."""
    return Context(
        indices=indices,
        image_shape=train.shape[1:],
        steps=steps,
        passes=passes,
        schedule=linear_schedule(),
        noise=lambda stream, shape, t=0: keyed_noise(seed, stream, indices, shape, t),
        dip=dip,
        train_mean=to_model_range(train.mean(0, keepdims=True)),
    )


@torch.inference_mode()
def generate(
    warm_start: ModuleType,
    context: Context,
    net: Net | None,
    *,
    clip_x0: bool = False,
    callback: Callable[[int, Tensor], None] = lambda t, x: None,
) -> Tensor:
    """One batch: its warm start, then the last `context.steps` steps of the chain (none where that is 0).

    Returns raw images (n, C, H, W); callback(t, x) is called with each state, as `ancestral` says.
    """

    def seen(x: Tensor, t: Tensor) -> Tensor:
        return net(warm_start.see(context, x), t)

    return ancestral(
        seen if hasattr(warm_start, "see") else net,
        warm_start.start(context),
        truncated_timesteps(context.steps),
        context.schedule,
        lambda t: context.noise("ancestral", context.image_shape, t),
        clip_x0=clip_x0,
        callback=callback,
    )
