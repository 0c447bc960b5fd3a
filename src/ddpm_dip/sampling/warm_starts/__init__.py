"""Warm starts: each a module of this folder, found by its name (`loud_noise.py` is the start `loud-noise`).

A module has one function

    start(context) -> x   (len(context.indices), C, H, W) float32: the chain's state at t = context.steps - 1

and, where the net is to see something else than x_t at every step, a second one, `see(context, x) -> x` of the same
shape. One that uses the fitted DIP net says so by a literal constant, `NEEDS = ("dip",)`, which can be read without
importing the module.

To add one, add a module and name it in an experiment's `start`. A cell's code digest takes in only its own start.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from ...jobs.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from ...models.schedule import Schedule

WARM_STARTS = tuple(sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__)))


class Context(NamedTuple):
    """What a warm start may use. Its randomness comes from `noise` alone, so that arms stay paired."""

    indices: Sequence[int]  # the samples' numbers
    image_shape: tuple[int, int, int]  # (C, H, W)
    steps: int  # K: the chain starts at t = K - 1
    passes: int | None  # through the DIP net; None for a start that does not need it
    schedule: "Schedule"  # its alphas_cumprod[steps - 1] is the noise level that the chain expects
    noise: "Callable[[str, tuple[int, ...]], Tensor]"  # (stream, shape) -> N(0, 1) of (len(indices), *shape)
    dip: "Callable[[Tensor], Tensor] | None"  # the fitted net, (n, C, 32, 32) to the same in [0, 1]; None if not needed
    train_mean: "Tensor"  # the training images' mean (1, C, H, W), in [-1, 1]


def find(name: str) -> ModuleType:
    """The module of the warm start `name`, a member of WARM_STARTS.

    Raises UserError, which names the file, where the module has no function `start`, or where `start` or `see` takes
    other arguments than described above.
    """
    if name not in WARM_STARTS:
        raise UserError(f"start: {name!r} is unknown; known are {', '.join(WARM_STARTS)}")
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    for function, arguments in (("start", ("context",)), ("see", ("context", "x"))):
        if function == "see" and not hasattr(module, "see"):
            continue
        right = f"{function}({', '.join(arguments)})"
        if not callable(getattr(module, function, None)):
            raise UserError(f"{module.__file__}: has no function {right}, which a warm start needs")
        try:
            inspect.signature(getattr(module, function)).bind(*arguments)
        except TypeError as error:
            raise UserError(f"{module.__file__}: {function} must be {right}: {error}") from error
    return module


def draw(start: ModuleType, context: Context) -> "Tensor":
    """The start's x for the samples of `context`.

    Raises UserError, which names the start's file, where the result is no float32 tensor (n, C, H, W).
    """
    import torch

    x, shape = start.start(context), (len(context.indices), *context.image_shape)
    if not isinstance(x, torch.Tensor) or x.shape != shape or x.dtype != torch.float32:
        found = f"{tuple(x.shape)} {x.dtype}" if isinstance(x, torch.Tensor) else type(x).__name__
        raise UserError(f"{start.__file__}: start must return a tensor {shape} torch.float32, not {found}")
    return x
