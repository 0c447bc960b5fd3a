"""Warm starts: each a module of this folder, found by its name, with one function

    start(context) -> x   (len(context.indices), C, H, W) float32: the chain's state at t = context.steps - 1

and, where the net is to see something else than x_t at every step, a second one, `see(context, x) -> x`.

To add one, add a module and name it in an experiment's `starts`. A cell's code digest takes in only its own start.
"""

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    from ..diffusion import Schedule

WARM_STARTS = tuple(sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__)))


class Context(NamedTuple):
    """What a warm start may use. Its randomness comes from `noise` alone, so that arms stay paired.

    indices: the samples' numbers; image_shape: (C, H, W); steps: K, so that the chain starts at t = K - 1; passes:
    the cell's DIP passes; noise(stream, shape): N(0, 1) of (len(indices), *shape), streams `latents` and
    `dip-latents`; ancestral_noise(t): what the step at t adds, as `generation.ancestral_noise` says; dip: the fitted
    net, (n, C, 32, 32) to the same; train_mean: the training images' mean (1, C, H, W) in [-1, 1].
    """

    indices: Sequence[int]
    image_shape: tuple[int, int, int]
    steps: int
    passes: int
    schedule: "Schedule"
    noise: "Callable[[str, tuple[int, ...]], Tensor]"
    ancestral_noise: "Callable[[int | Tensor], Tensor]"
    dip: "Callable[[Tensor], Tensor] | None"
    train_mean: "Tensor"


def find(name: str) -> ModuleType:
    """The module of the warm start `name`, a member of WARM_STARTS."""
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
