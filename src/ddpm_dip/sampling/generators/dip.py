"""The fitted DIP net alone: noise after so many passes through it."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ...jobs.errors import UserError
from ...models import build_dip
from ...models.dip import SIZE, seeded_dip
from ...models.dip_pass import dip_pass
from .. import backend_choice, backends
from ..noise import keyed_noise
from . import Generator, Weights

AXES = ("passes",)


def size_of(weights: Weights) -> int:
    """The side of the images that a DIP net takes, in pixels."""
    return int(weights.header.get("size", SIZE))


def ready(weights: Weights, channels: int, backend: str, threads: int, batch: int) -> Callable[[Tensor], Tensor]:
    """The fitted net on a backend: (n, channels, S, S) to the same shape, S by `size_of`. Raises UserError for another
    net's weights.

    It always runs on the CPU in float32, and so that an image's result is the same in every batch: a pass multiplies a
    difference by 6 to 8, and ten passes would turn the rounding of another batch size into other images.
    """
    header, size = weights.header, size_of(weights)
    if header.get("network") != "dip" or header.get("image_channels") != str(channels):
        raise UserError(f"{weights.source}: not the weights of a DIP net for {channels} channels")
    net = build_dip(channels)
    net.load_state_dict(weights.tensors)
    if backend_choice.of_dip(backend) == "torch":
        return backends.one_by_one(net)
    compiled = backends.openvino(net, (torch.zeros(batch, channels, size, size),), threads)
    return lambda x: torch.cat([compiled(part) for part in x.split(batch)])


def untrained(replicate: int, channels: int, size: int) -> Weights:
    """A DIP net as it is before it is fitted, of the replicate's random weights."""
    header = {"network": "dip", "image_channels": str(channels), "size": str(size)}
    return Weights("the untrained DIP net", seeded_dip(channels, replicate).state_dict(), header)


def build(
    cell: dict[str, object],
    *,
    dip: Weights | None,
    train: np.ndarray,
    backend: str,
    threads: int,
    batch: int,
    **others: object,
) -> Generator:
    """The generator of a cell of the family `dip`, as the package describes it."""
    shape, passes = train.shape[1:], cell["passes"]
    if dip is None or not passes or passes < 1:
        raise UserError("a cell of the family dip needs the input `dip`, and passes from 1 up")
    net, size = ready(dip, shape[0], backend, threads, batch), size_of(dip)

    @torch.inference_mode()
    def draw(indices: Sequence[int], callback: Callable[[int, Tensor], None] = lambda t, x: None) -> Tensor:
        latents = keyed_noise(cell["replicate"], "dip-latents", indices, (shape[0], size, size))
        return 2 * dip_pass(net, latents, passes, shape[-1], size) - 1  # from its [0, 1] to the model's scale

    return Generator(draw, [], shape, "dip", backend_choice.of_dip(backend))
