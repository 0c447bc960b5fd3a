"""A trained U-Net: a warm start, then the chain of a sampler."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ...jobs.errors import UserError
from ...models import build_unet
from ...models.scale import to_model_range
from ...models.schedule import linear_schedule, respaced_timesteps
from ...models.unet import TIMESTEPS, tabulate_time
from .. import backends, chain, samplers, warm_starts
from ..noise import ancestral_noise, keyed_noise
from . import Generator, Weights
from . import dip as dip_alone

AXES = ("epochs", "weights", "start", "passes", "sampler", "clip_x0", "steps", "nfe")


def ready(weights: Weights, kind: str, image_shape: tuple[int, int, int]) -> nn.Module:
    """The net with its weights of one kind, its time tabulated. Raises UserError where it was made for other images."""
    if weights.image_shape != tuple(image_shape):
        shape = "x".join(map(str, image_shape))
        raise UserError(f"{weights.source}: made for images of {weights.header['image_shape']}, not of {shape}")
    header = weights.header
    net = build_unet(header["network"], image_shape, int(header["width"]) if "width" in header else None)
    net.load_state_dict(weights.of_kind(kind))
    return tabulate_time(net)


def context_of(
    train_mean: Tensor,
    indices: Sequence[int],
    *,
    steps: int,
    passes: int | None,
    replicate: int,
    dip: Callable[[Tensor], Tensor] | None,
) -> warm_starts.Context:
    """What a warm start may use, for the samples `indices` of `replicate`. train_mean: as in `Context`."""
    return warm_starts.Context(
        indices=indices,
        image_shape=tuple(train_mean.shape[1:]),
        steps=steps,
        passes=passes,
        schedule=linear_schedule(),
        noise=lambda stream, shape: keyed_noise(replicate, stream, indices, shape),
        dip=dip,
        train_mean=train_mean,
    )


def build(
    cell: dict[str, object],
    *,
    weights: Weights | None,
    dip: Weights | None,
    train: np.ndarray,
    backend: str,
    threads: int,
    batch: int,
) -> Generator:
    """The generator of a cell of the family `unet`, as the package describes it."""
    steps, nfe, passes = cell["steps"], cell["nfe"], cell["passes"]
    if not steps or not nfe or not 1 <= nfe <= steps <= TIMESTEPS:
        raise UserError(f"a cell needs 1 <= nfe <= steps <= {TIMESTEPS}, not nfe {nfe} and steps {steps}")
    if weights is None:
        raise UserError("a cell of the family unet needs the input `weights`")
    start, shape = warm_starts.find(cell["start"]), train.shape[1:]
    uses_dip = "dip" in getattr(start, "NEEDS", ())
    if uses_dip and (dip is None or not passes or passes < 1):
        raise UserError(f"the start {cell['start']} needs the input `dip`, and passes from 1 up")
    timesteps, sees_else = respaced_timesteps(nfe, steps), hasattr(start, "see")
    run = chain.prepare(
        ready(weights, cell["weights"], shape), samplers.find(cell["sampler"]), timesteps,
        clip_x0=cell["clip_x0"], backend=backend, threads=threads, shape=(batch, *shape), sees_else=sees_else,
    )  # fmt: skip
    dip_net = dip_alone.ready(dip, shape[0], backend, threads, batch) if uses_dip else None
    train_mean, device = to_model_range(train.mean(0, keepdims=True)), "cuda" if backend in backends.CUDA else "cpu"

    @torch.inference_mode()
    def draw(indices: Sequence[int], callback: Callable[[int, Tensor], None] = lambda t, x: None) -> Tensor:
        context = context_of(train_mean, indices, steps=steps, passes=passes, replicate=cell["replicate"], dip=dip_net)
        noise = ancestral_noise(cell["replicate"], indices, shape, device)
        see = (lambda x: start.see(context, x)) if sees_else else None
        return run(warm_starts.draw(start, context), noise, see=see, callback=callback)

    return Generator(draw, timesteps, shape, weights.header["network"], backend)
