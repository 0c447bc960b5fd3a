"""The reverse chain: one loop for all samplers, on the CPU or, each step in one piece, on a device."""

import itertools
from collections.abc import Callable, Sequence
from types import ModuleType

import torch
from torch import Tensor, nn

from ..jobs.errors import UserError
from ..models.schedule import Schedule, predicted_x_0
from . import backends

Net = Callable[[Tensor, Tensor], Tensor]  # (x (N, C, H, W), t (1,) int64, of all N) -> its prediction (N, C, H, W)
Callback = Callable[[int, Tensor], None]  # (t, the state x at t, before its step)


def check(timesteps: Sequence[int], schedule: Schedule) -> None:
    """Raises ValueError where timesteps do not decrease or leave the schedule."""
    inside = all(0 <= t < len(schedule.betas) for t in timesteps)
    if not inside or any(t_next >= t for t, t_next in itertools.pairwise(timesteps)):
        raise ValueError(f"timesteps must decrease, from at most {len(schedule.betas) - 1} to at least 0")


def run(
    sampler: ModuleType,
    net: Net,
    x: Tensor,
    timesteps: Sequence[int],
    schedule: Schedule,
    noise: Callable[[int], Tensor],
    *,
    clip_x0: bool = False,
    callback: Callback = lambda t, x: None,
) -> Tensor:
    """The chain of a sampler's module, with the arguments that `samplers.run` describes."""
    check(timesteps, schedule)
    columns = sampler.coefficients(timesteps, schedule)
    x_0_before = torch.zeros_like(x) if sampler.HAS_MEMORY else None
    shares = shares_of(timesteps, schedule).tolist()
    for t, share, row in zip(timesteps, shares, torch.stack(columns, dim=1).tolist(), strict=True):
        callback(t, x)
        x_0 = predicted_x_0(net(x, torch.tensor([t])), x, *share, schedule.prediction_type)
        if clip_x0:
            x_0 = x_0.clamp(-1, 1)
        added = noise(t) if sampler.ADDS_NOISE and t != timesteps[-1] else None
        result = sampler.step(x, x_0, x_0_before, added, type(columns)(*row))
        if t == timesteps[0]:
            check_result(sampler, result, x)
        x, x_0_before = result, x_0 if sampler.HAS_MEMORY else None
    return x


def shares_of(timesteps: Sequence[int], schedule: Schedule) -> Tensor:
    """sqrt(alphas_cumprod) and sqrt(1 - alphas_cumprod) at each of the timesteps: (len(timesteps), 2) float64."""
    here = schedule.alphas_cumprod[torch.tensor(timesteps, dtype=torch.int64)]
    return torch.stack([here.sqrt(), (1 - here).sqrt()], dim=1)


def check_result(sampler: ModuleType, result: object, x: Tensor) -> None:
    """Raises UserError, naming the sampler's file, where a step's result is not x as it was."""
    if not isinstance(result, Tensor) or result.shape != x.shape or result.dtype != x.dtype:
        found = f"{tuple(result.shape)} {result.dtype}" if isinstance(result, Tensor) else type(result).__name__
        raise UserError(
            f"{sampler.__file__}: step must return the next x, {tuple(x.shape)} {x.dtype} as it was; this one returned "
            f"{found}"
        )


class ReverseStep(nn.Module):
    """The net and a sampler's step in one, for a device: (state, t (1,) int64, noise) -> the next state.

    The state is x (N, C, H, W), and for a sampler with memory x and x_0 of the step before, side by side in the
    channels (N, 2C, H, W). A sampler that adds no noise takes none. The coefficients are a table float32 on the device,
    indexed by t, so that nothing waits for a number of the CPU's; it is NaN at timesteps that are not the chain's.
    Raises ValueError where timesteps do not decrease or leave the schedule.
    """

    def __init__(
        self, net: nn.Module, sampler: ModuleType, timesteps: Sequence[int], schedule: Schedule, clip_x0: bool
    ) -> None:
        super().__init__()
        check(timesteps, schedule)
        columns = sampler.coefficients(timesteps, schedule)
        rows = torch.cat([shares_of(timesteps, schedule), torch.stack(columns, dim=1)], dim=1).float()
        table = torch.full((len(schedule.betas), rows.shape[1]), torch.nan)
        table[list(timesteps)] = rows
        self.register_buffer("table", table)
        self.net, self.clip_x0, self.row = net, clip_x0, type(columns)
        self.prediction_type = schedule.prediction_type
        # not the sampler's module itself, which cannot be copied as a net is before it is captured
        self.step, self.adds_noise, self.has_memory = sampler.step, sampler.ADDS_NOISE, sampler.HAS_MEMORY

    def forward(self, state: Tensor, t: Tensor, *noise: Tensor) -> Tensor:
        x, x_0_before = state.chunk(2, dim=1) if self.has_memory else (state, None)
        signal, left, *row = self.table[t].unbind(1)
        x_0 = predicted_x_0(self.net(x, t).to(x), x, signal, left, self.prediction_type)
        if self.clip_x0:
            x_0 = x_0.clamp(-1, 1)
        x = self.step(x, x_0, x_0_before, noise[0] if noise else None, self.row(*row))
        return torch.cat([x, x_0], dim=1) if self.has_memory else x

    def example(self, shape: tuple[int, int, int, int]) -> tuple[Tensor, ...]:
        """Inputs of this step for images of `shape` (N, C, H, W), all zeros."""
        x, t = torch.zeros(shape), torch.zeros(1, dtype=torch.int64)
        return torch.cat([x, x], dim=1) if self.has_memory else x, t, *([x] if self.adds_noise else [])


CHUNK = 16  # timesteps whose noise is drawn together: its many small kernels cost as much for one


def run_on_device(
    sampler: ModuleType,
    step: Callable[..., Tensor],
    x: Tensor,
    timesteps: Sequence[int],
    noise: Callable[[Tensor], Tensor],
    *,
    callback: Callback = lambda t, x: None,
) -> Tensor:
    """`run` by a `ReverseStep` on the device of x, where all of the chain stays; the CPU waits for nothing.

    noise(t): the noise of timesteps (k,) int64 on that device, as (k, N, C, H, W) on it.
    """
    if not timesteps:
        return x
    channels, state = x.shape[1], torch.cat([x, torch.zeros_like(x)], dim=1) if sampler.HAS_MEMORY else x
    on_device = torch.tensor(timesteps, dtype=torch.int64, device=x.device)
    hosts = iter(timesteps)
    for chunk in on_device.split(CHUNK):
        noises = noise(chunk).unsqueeze(1) if sampler.ADDS_NOISE else [()] * len(chunk)
        for t, added in zip(chunk.split(1), noises, strict=True):
            callback(next(hosts), state[:, :channels])
            state = step(state, t, *added)
    return state[:, :channels]


def prepare(
    net: nn.Module,
    sampler: ModuleType,
    timesteps: Sequence[int],
    schedule: Schedule,
    *,
    clip_x0: bool,
    backend: str,
    threads: int,
    shape: tuple[int, int, int, int],
    sees_else: bool = False,
) -> Callable[..., Tensor]:
    """A trained net's chain, ready on `backend`: a function (x, noise, *, see, callback) -> raw x_0.

    net: ready to sample, trained on `schedule`; shape: (N, C, H, W) of the largest batch; sees_else: whether the chain
    will be run with a `see`. Raises UserError where the backend cannot run, ValueError where timesteps do not decrease.

    The function takes x, the state at timesteps[0], and returns x_0, both on the CPU. noise(t) is a function that
    `noise.ancestral_noise` returns; see(x) is what the net is shown in place of x; callback(t, x) is called with each
    state, where it is, before its step. On a GPU the whole step is one CUDA graph, but in a chain with a `see` the net
    alone is.
    """
    on_device = backend in backends.CUDA and not sees_else
    if on_device:
        module = ReverseStep(net, sampler, timesteps, schedule, clip_x0)
        step = backends.cuda_graph(module, module.example(shape), backends.CUDA[backend])
    else:
        compiled = backends.BACKENDS[backend](net, (torch.zeros(shape), torch.zeros(1, dtype=torch.int64)), threads)
        if backend.startswith("openvino"):
            backends.check_traced(net, compiled, shape[1:], len(schedule.betas) - 1, backend)

    @torch.inference_mode()
    def chain(
        x: Tensor,
        noise: Callable[..., Tensor],
        *,
        see: Callable[[Tensor], Tensor] | None = None,
        callback: Callback = lambda t, x: None,
    ) -> Tensor:
        if on_device:
            return run_on_device(sampler, step, x.to("cuda"), timesteps, noise, callback=callback).cpu()
        shown = compiled if see is None else lambda x, t: compiled(see(x), t)
        return run(sampler, shown, x, timesteps, schedule, noise, clip_x0=clip_x0, callback=callback)

    return chain
