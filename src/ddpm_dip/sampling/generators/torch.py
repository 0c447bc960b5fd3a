"""A net of a user's own: a warm start, then the chain of a sampler on its own schedule."""

import json

from torch import nn

from ...models.families import torch as family
from ...models.schedule import Schedule, schedule_of
from .. import with_chain
from . import Generator, Weights

AXES = ("start", "passes", "sampler", "clip_x0", "steps", "nfe")


def ready(weights: Weights, kind: None, image_shape: tuple[int, int, int]) -> tuple[nn.Module, Schedule]:
    """The net, as net(x, t), and its schedule. Raises UserError where it was made for other images."""
    with_chain.check_shape(weights, image_shape)
    return family.build(weights.tensors, weights.header), schedule_of(**json.loads(weights.header["schedule"]))


def build(cell: dict[str, object], **given: object) -> Generator:
    """The generator of a cell of the family `torch`, as the package describes it."""
    return with_chain.build(ready, cell, **given)
