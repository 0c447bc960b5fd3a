"""A U-Net of this project's builder: a warm start, then the chain of a sampler."""

from torch import nn

from ...models import build_unet
from ...models.schedule import Schedule, linear_schedule
from ...models.unet import TIMESTEPS, tabulate_time
from .. import with_chain
from . import Generator, Weights

AXES = ("epochs", "weights", "start", "passes", "sampler", "clip_x0", "steps", "nfe")


def ready(weights: Weights, kind: str, image_shape: tuple[int, int, int]) -> tuple[nn.Module, Schedule]:
    """The net with its weights of one kind, its time tabulated, and its schedule.

    Raises UserError where it was made for other images.
    """
    with_chain.check_shape(weights, image_shape)
    header = weights.header
    net = build_unet(header["network"], image_shape, int(header["width"]) if "width" in header else None)
    net.load_state_dict(weights.of_kind(kind))
    return tabulate_time(net), linear_schedule(TIMESTEPS)


def build(cell: dict[str, object], **given: object) -> Generator:
    """The generator of a cell of the family `unet`, as the package describes it."""
    return with_chain.build(ready, cell, **given)
