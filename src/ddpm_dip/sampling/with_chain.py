"""Images of a net that predicts noise, v or x_0: a warm start, then the chain of a sampler on the net's own schedule.

What families of such nets share; each is a module of `generators`, which says how its nets are made ready.
"""

from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn

from ..jobs.errors import UserError
from ..models.dip import SIZE
from ..models.scale import to_model_range
from ..models.schedule import Schedule
from . import backends, chain, samplers, warm_starts
from .generators import Generator, Weights, find
from .generators import dip as dip_alone
from .noise import ancestral_noise, keyed_noise

# (weights, kind of weights, image_shape (C, H, W)) -> the net, net(x, t), in eval mode, and what it was trained on
Ready = Callable[[Weights, str | None, tuple[int, int, int]], tuple[nn.Module, Schedule]]


def check_shape(weights: Weights, image_shape: tuple[int, int, int]) -> None:
    """Raises UserError where a net was made for images of another shape (C, H, W)."""
    if weights.image_shape != tuple(image_shape):
        shape = "x".join(map(str, image_shape))
        raise UserError(f"{weights.source}: made for images of {weights.header['image_shape']}, not of {shape}")


def context_of(
    train_mean: Tensor,
    indices: Sequence[int],
    *,
    replicate: int,
    **others: object,
) -> warm_starts.Context:
    """What a warm start may use, for the samples `indices` of `replicate`. train_mean, others: as in `Context`."""
    return warm_starts.Context(
        indices=indices,
        image_shape=tuple(train_mean.shape[1:]),
        noise=lambda stream, shape, of=indices: keyed_noise(replicate, stream, of, shape),
        train_mean=train_mean,
        replicate=replicate,
        **others,
    )


@torch.inference_mode()
def contexts(
    start: ModuleType,
    *,
    steps: int,
    passes: int | None,
    replicate: int,
    schedule: Schedule,
    train: np.ndarray,
    labels: np.ndarray | None = None,
    dip: Weights | None = None,
    gan: Weights | None = None,
    dip_size: int = SIZE,
    backend: str,
    threads: int,
    batch: int,
) -> Callable[[Sequence[int]], warm_starts.Context]:
    """A function from samples' numbers to the context of a start for them; what it prepares is prepared once, here.

    start: a module of `warm_starts`. schedule: the net's. dip_size: of a DIP net that is not fitted, in pixels. The
    others are as in `generators.build`. Raises UserError where the start needs what is not given.
    """
    name, needs = start.__name__.rpartition(".")[2].replace("_", "-"), getattr(start, "NEEDS", ())
    channels = train.shape[1]
    if "dip-untrained" in needs:
        dip = dip_alone.untrained(replicate, channels, dip_size)
    uses_dip = any(need.partition("-")[0] == "dip" for need in needs)
    if uses_dip and (dip is None or not passes or passes < 1):
        raise UserError(f"the start {name} needs the input `dip`, and passes from 1 up")
    if "gan" in needs and gan is None:
        raise UserError(f"the start {name} needs the input `gan`, the weights of a DCGAN")
    if "labels" in needs and (labels is None or len(labels) != len(train)):
        raise UserError(f"the start {name} needs the labels of the training images, which the data set has none of")
    others = {"train": train, "labels": labels}
    if "gan" in needs:
        # by name: what another start gives does not depend on how a DCGAN draws
        build_gan = find("dcgan").build
        others["gan"] = build_gan({"replicate": replicate}, weights=gan).draw
    dip_net = dip_alone.ready(dip, channels, backend, threads, batch) if uses_dip else None
    train_mean = to_model_range(train.mean(0, keepdims=True))
    fixed = {"steps": steps, "passes": passes, "replicate": replicate, "schedule": schedule, "dip": dip_net} | others
    fixed |= {"dip_size": dip_alone.size_of(dip)} if uses_dip else {}
    found = warm_starts.prepared(start, context_of(train_mean, (), **fixed)).prepared
    return lambda indices: context_of(train_mean, indices, **fixed, prepared=found)


def build(
    ready: Ready,
    cell: dict[str, object],
    *,
    weights: Weights | None,
    dip: Weights | None,
    gan: Weights | None,
    train: np.ndarray,
    labels: np.ndarray | None,
    dip_size: int,
    backend: str,
    threads: int,
    batch: int,
) -> Generator:
    """The generator of a cell with a chain, as the package `generators` describes it. ready: the family's."""
    steps, nfe, replicate = cell["steps"], cell["nfe"], cell["replicate"]
    if weights is None:
        raise UserError("a cell with a chain needs the input `weights`")
    start, sampler, shape = warm_starts.find(cell["start"]), samplers.find(cell["sampler"]), train.shape[1:]
    net, schedule = ready(weights, cell["weights"], shape)
    most = len(schedule.betas)
    if not steps or not nfe or not 1 <= nfe <= steps <= most:
        raise UserError(f"a cell needs 1 <= nfe <= steps <= {most}, not nfe {nfe} and steps {steps}")
    context_for = contexts(
        start, steps=steps, passes=cell["passes"], replicate=replicate, schedule=schedule, train=train, labels=labels,
        dip=dip, gan=gan, dip_size=dip_size, backend=backend, threads=threads, batch=batch,
    )  # fmt: skip
    timesteps, sees_else = samplers.timesteps(sampler, nfe, steps, schedule), hasattr(start, "see")
    device = "cuda" if backend in backends.CUDA else "cpu"

    @cache
    @torch.inference_mode(False)
    def prepared() -> Callable[..., Tensor]:  # once, and not where starts alone are drawn: it takes seconds
        return chain.prepare(
            net, sampler, timesteps, schedule, clip_x0=cell["clip_x0"], backend=backend, threads=threads,
            shape=(batch, *shape), sees_else=sees_else,
        )  # fmt: skip

    @torch.inference_mode()
    def draw_start(indices: Sequence[int]) -> Tensor:
        return warm_starts.draw(start, context_for(indices))

    @torch.inference_mode()
    def draw(indices: Sequence[int], callback: Callable[[int, Tensor], None] = lambda t, x: None) -> Tensor:
        run, context = prepared(), context_for(indices)
        noise = ancestral_noise(replicate, indices, shape, device)
        see = (lambda x: start.see(context, x)) if sees_else else None
        return run(warm_starts.draw(start, context), noise, see=see, callback=callback)

    level = float(schedule.alphas_cumprod[steps - 1])
    return Generator(draw, timesteps, shape, weights.header["network"], backend, draw_start, level)
