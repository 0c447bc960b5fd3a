"""Warm starts: each a module of this folder, found by its name (`loud_noise.py` is the start `loud-noise`).

A module has one function

    start(context) -> x   (len(context.indices), C, H, W) float32: the chain's state at t = context.steps - 1

Two others are optional. `prepare(context)` computes what is the same for all samples, as the square root of a
covariance: it is called once a chain, with no indices, and start finds its result in `context.prepared`. Where the net
is to see something else than x_t at every step, `see(context, x) -> x` says what, of the same shape.

What a start needs beside the noise and the training images it says by a literal constant, as in `NEEDS = ("dip",)`,
which can be read without importing the module:

    dip, dip-many, dip-untrained   a DIP net in `context.dip`: fitted to one image, to many, or to none. The axis
                                   `passes` then applies. One of them at most
    gan                            the images of the configuration's first DCGAN, of the same replicate
    labels                         those of the training images
    covariance                     of all pixels, and so images of few enough of them

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
    import numpy as np
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
    # (stream, shape) -> N(0, 1) of (len(indices), *shape); a third argument replaces the indices
    noise: "Callable[..., Tensor]"
    dip: "Callable[[Tensor], Tensor] | None"  # the DIP net, (n, C, S, S) to the same in [0, 1]; None if not needed
    train_mean: "Tensor"  # the training images' mean (1, C, H, W), in [-1, 1]
    replicate: int = 0
    train: "np.ndarray | None" = None  # the training images (N, C, H, W) uint8
    labels: "np.ndarray | None" = None  # theirs, (N,) int64; None if not needed
    gan: "Callable[[Sequence[int]], Tensor] | None" = None  # indices -> a DCGAN's images in [-1, 1]; None if not needed
    dip_size: int = 32  # S, in pixels: the side of the images that the DIP net takes
    prepared: object = None  # what the start's `prepare` returned

    @property
    def alpha_cumprod(self) -> float:
        """That of t = K - 1: the share of an image's variance that the chain expects in x."""
        return float(self.schedule.alphas_cumprod[self.steps - 1])

    def noised(self, x_0: "Tensor") -> "Tensor":
        """Images x_0 (n, C, H, W) in [-1, 1], brought to the level of t = K - 1 with the shared latents."""
        import torch

        from ...models.schedule import q_sample

        t = torch.full((len(self.indices),), self.steps - 1)
        return q_sample(x_0, t, self.noise("latents", self.image_shape), self.schedule)

    def pick(self, weights: "Tensor") -> "Tensor":
        """For each sample, one of k things, drawn in proportion to their weights (k,): its number, (n,) int64."""
        import torch

        uniform = torch.special.ndtr(self.noise("choices", (1,))[:, 0].double())
        shares = weights.double().cumsum(0) / weights.sum()
        return torch.searchsorted(shares, uniform, right=True).clamp(max=len(weights) - 1)


def find(name: str) -> ModuleType:
    """The module of the warm start `name`, a member of WARM_STARTS.

    Raises UserError, which names the file, where the module has no function `start`, or where one of its functions
    takes other arguments than described above.
    """
    if name not in WARM_STARTS:
        raise UserError(f"start: {name!r} is unknown; known are {', '.join(WARM_STARTS)}")
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    for function, arguments in (("start", ("context",)), ("prepare", ("context",)), ("see", ("context", "x"))):
        if function != "start" and not hasattr(module, function):
            continue
        right = f"{function}({', '.join(arguments)})"
        if not callable(getattr(module, function, None)):
            raise UserError(f"{module.__file__}: has no function {right}, which a warm start needs")
        try:
            inspect.signature(getattr(module, function)).bind(*arguments)
        except TypeError as error:
            raise UserError(f"{module.__file__}: {function} must be {right}: {error}") from error
    return module


def prepared(start: ModuleType, context: Context) -> Context:
    """The context with what the start prepares in it, where it does and that is not there yet."""
    if context.prepared is None and hasattr(start, "prepare"):
        return context._replace(prepared=start.prepare(context))
    return context


def draw(start: ModuleType, context: Context) -> "Tensor":
    """The start's x for the samples of `context`; what it prepares is computed here where it is not there yet.

    Raises UserError, which names the start's file, where the result is no float32 tensor (n, C, H, W).
    """
    import torch

    x, shape = start.start(prepared(start, context)), (len(context.indices), *context.image_shape)
    if not isinstance(x, torch.Tensor) or x.shape != shape or x.dtype != torch.float32:
        found = f"{tuple(x.shape)} {x.dtype}" if isinstance(x, torch.Tensor) else type(x).__name__
        raise UserError(f"{start.__file__}: start must return a tensor {shape} torch.float32, not {found}")
    return x
