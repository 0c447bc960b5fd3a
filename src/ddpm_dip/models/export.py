"""A U-Net of the builder as plain PyTorch: one Python file that needs nothing of this project."""

import inspect
from functools import partial

from . import networks, unet

PARTS = (
    unet.Plan,
    unet.sinusoidal_table,
    unet.LayerNorm,
    unet.Block,
    unet.UNet,
    unet.time_mlp,
)
HEAD = '''"""{title}

build() returns the net, with random weights: net(x, t) is the predicted noise of x (N, {channels}, {size}, {size})
at t (N,) or (1,) int64.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TIMESTEPS = {timesteps}


'''
TAIL = """PLAN = Plan(
{plan})


def build() -> UNet:
    return UNet(PLAN, channels={channels}, size={size}, width={width})
"""


def source(network: str, image_shape: tuple[int, int, int], width: int | None, title: str) -> str:
    """The file's text. network: of the family unet; width: None is the network's own; title: its first line.

    Raises UserError for an unknown network.
    """
    plan = networks.find(network, "unet").PLAN
    channels, size, _ = image_shape
    values = {"channels": channels, "size": size, "timesteps": unet.TIMESTEPS, "width": width or plan.width}
    lines = "".join(f"    {name}={spelled(value)},\n" for name, value in plan._asdict().items())
    parts = [inspect.getsource(part) for part in PARTS]
    return HEAD.format(title=title, **values) + "\n\n".join(parts) + "\n\n" + TAIL.format(plan=lines, **values)


def spelled(value: object) -> str:
    """A value of a plan as Python has it."""
    if isinstance(value, partial):
        return f"partial(nn.{value.func.__name__}, {', '.join(map(repr, value.args))})"
    return f"nn.{value.__name__}" if isinstance(value, type) else repr(value)
