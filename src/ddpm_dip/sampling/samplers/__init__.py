"""Samplers: each a module of this folder, found by its name (`dpmpp_2m.py` is the sampler `dpmpp-2m`).

A module says how one step is made, and `chain.py` runs its steps on any decreasing timesteps. It holds

    ADDS_NOISE = True     whether a step adds noise
    HAS_MEMORY = False    whether a step uses the x_0 that the step before predicted
    coefficients(timesteps, schedule) -> a NamedTuple of float64 tensors (len(timesteps),), one row a step
    step(x, x_0, x_0_before, noise, row) -> x at the next timestep
    SPACING = "even"      how `nfe` of the timesteps are chosen, a key of `models.schedule.SPACINGS`; may be left out

The constants are literals, so that they can be read without importing the module. x, x_0, x_0_before and noise are
(N, C, H, W). x_0 is the net's prediction, whatever the net was trained to predict, and clamped to [-1, 1] where the
chain is to be: the predicted noise that goes with it is (x - sqrt(alphas_cumprod) x_0) / sqrt(1 - alphas_cumprod).
x_0_before is that of the step before, zeros at first, and None where the sampler has no memory. noise is N(0, 1), and
None where none is added. row is the NamedTuple of one step, of floats or of tensors of one value. The last step of a
chain goes to x_0, that is to alphas_cumprod = 1, and adds no noise.

To add one, add a module and name it in an experiment's `sampler`.
"""

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING

from ...jobs.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from ...models.schedule import Schedule

NAMES = tuple(sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__)))


def find(name: str) -> ModuleType:
    """The module of the sampler `name`. Raises UserError where there is none, or where it lacks one of its parts."""
    if name not in NAMES:
        raise UserError(f"sampler: {name!r} is unknown; known are {', '.join(NAMES)}")
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    missing = [part for part in ("ADDS_NOISE", "HAS_MEMORY", "coefficients", "step") if not hasattr(module, part)]
    if missing:
        raise UserError(f"{module.__file__}: has no {', '.join(missing)}; samplers/__init__.py says what a sampler has")
    return module


def timesteps(sampler: ModuleType, nfe: int, of: int, schedule: "Schedule") -> list[int]:
    """The `nfe` of the last `of` timesteps of a schedule at which a sampler's module evaluates the net, decreasing.

    Raises UserError where its SPACING is unknown, and ValueError where nfe is not from 0 to `of`.
    """
    from ...models.schedule import SPACINGS

    spacing = getattr(sampler, "SPACING", "even")
    if spacing not in SPACINGS:
        raise UserError(f"{sampler.__file__}: SPACING is {spacing!r}; known are {', '.join(SPACINGS)}")
    return SPACINGS[spacing](nfe, of, schedule)


def run(
    name: str,
    net: "Callable[[Tensor, Tensor], Tensor]",
    x: "Tensor",
    timesteps: Sequence[int],
    schedule: "Schedule",
    noise: "Callable[[int], Tensor]",
    *,
    clip_x0: bool = False,
    callback: "Callable[[int, Tensor], None]" = lambda t, x: None,
) -> "Tensor":
    """Run the chain of the sampler `name` from x (N, C, H, W), the state at timesteps[0], to x_0.

    net(x, t): its prediction (N, C, H, W), of the schedule's prediction_type, for t (1,) int64. timesteps: any
    decreasing ones, the full chain, a truncated or a respaced one. noise(t): N(0, 1) noise (N, C, H, W) of timestep t;
    it is not called by samplers that add none. clip_x0: clamp each predicted x_0 to [-1, 1]. callback(t, x): called
    with each state x at t before its step. Returns the raw x_0, not clamped but for clip_x0. Raises ValueError where
    timesteps do not decrease or leave the schedule.
    """
    from .. import chain

    return chain.run(find(name), net, x, timesteps, schedule, noise, clip_x0=clip_x0, callback=callback)


SAMPLERS = {name: partial(run, name) for name in NAMES}
