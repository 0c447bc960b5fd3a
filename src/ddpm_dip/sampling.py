"""Samplers: functions of (net, latents, timesteps, schedule, noise source)."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .diffusion import Schedule

Net = Callable[[Tensor, Tensor], Tensor]  # (x (N, C, H, W), t (1,) int64, of all N) -> predicted noise (N, C, H, W)


class Coefficients(NamedTuple):
    """Of the ancestral step, by t: float64 tensors (T,), or one t's numbers (a device's: tensors of one value)."""

    noise_share: Tensor | float  # sqrt(1 - alphas_cumprod), of the noise in x_t
    x_0_share: Tensor | float  # sqrt(alphas_cumprod)
    weight_0: Tensor | float  # of x_0 in the posterior mean (Ho et al. 2020, equation 7)
    weight_t: Tensor | float  # of x_t in it
    removed: Tensor | float  # of the predicted noise in x_t, taken away (equation 11)
    root_alpha: Tensor | float
    sigma: Tensor | float  # of the noise added; 0 at t = 0


def coefficients(schedule: Schedule) -> Coefficients:
    """Of each t, with sigma_t^2 = beta_t."""
    betas, alphas, alphas_cumprod = schedule
    previous = torch.cat([torch.ones_like(betas[:1]), alphas_cumprod[:-1]])
    sigma = betas.sqrt()
    sigma[0] = 0
    return Coefficients(
        noise_share=(1 - alphas_cumprod).sqrt(),
        x_0_share=alphas_cumprod.sqrt(),
        weight_0=previous.sqrt() * betas / (1 - alphas_cumprod),
        weight_t=alphas.sqrt() * (1 - previous) / (1 - alphas_cumprod),
        removed=betas / (1 - alphas_cumprod).sqrt(),
        root_alpha=alphas.sqrt(),
        sigma=sigma,
    )


def ancestral_step(
    x: Tensor, predicted_noise: Tensor, noise: Tensor | None, of_t: Coefficients, clip_x0: bool = False
) -> Tensor:
    """x_t -> x_{t-1} (Ho et al. 2020, algorithm 2). noise: N(0, 1) like x, or None to add none.

    clip_x0: clamp the predicted x_0 to [-1, 1] before taking the posterior mean (equations 15 and 7).
    """
    if clip_x0:
        x_0 = (x - of_t.noise_share * predicted_noise) / of_t.x_0_share
        mean = of_t.weight_0 * x_0.clamp(-1, 1) + of_t.weight_t * x
    else:
        mean = (x - of_t.removed * predicted_noise) / of_t.root_alpha
    return mean if noise is None else mean + of_t.sigma * noise


class ReverseStep(nn.Module):
    """The net and the ancestral step in one, for a device: (x_t, t (1,) int64, noise) -> x_{t-1}.

    The coefficients are a table (T, 7) float32 on that device, so that nothing waits for a number of the CPU's.
    """

    def __init__(self, net: nn.Module, schedule: Schedule, clip_x0: bool):
        super().__init__()
        self.net, self.clip_x0 = net, clip_x0
        self.register_buffer("table", torch.stack(coefficients(schedule), dim=1).float())

    def forward(self, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        of_t = Coefficients(*self.table[t].unbind(1))
        return ancestral_step(x, self.net(x, t).to(x), noise, of_t, self.clip_x0)


def ancestral(
    net: Net,
    x: Tensor,
    timesteps: Iterable[int],
    schedule: Schedule,
    noise: Callable[[int], Tensor],
    *,
    clip_x0: bool = False,
    callback: Callable[[int, Tensor], None] = lambda t, x: None,
) -> Tensor:
    """Run the ancestral chain from x (N, C, H, W), the state at the first of `timesteps`, down to t = 0.

    noise(t): N(0, 1) noise (N, C, H, W) of timestep t. callback(t, x): called with each state x at t before its step.
    Returns the raw x_0, not clamped.
    """
    rows = torch.stack(coefficients(schedule), dim=1).tolist()
    for t in timesteps:
        callback(t, x)
        predicted_noise = net(x, torch.tensor([t]))
        x = ancestral_step(x, predicted_noise, noise(t) if t > 0 else None, Coefficients(*rows[t]), clip_x0)
    return x


CHUNK = 16  # timesteps whose noise is drawn together: its many small kernels cost as much for one


def ancestral_on_device(
    step: Callable[[Tensor, Tensor, Tensor], Tensor],
    x: Tensor,
    timesteps: Sequence[int],
    noise: Callable[[Tensor], Tensor],
    *,
    callback: Callable[[int, Tensor], None] = lambda t, x: None,
) -> Tensor:
    """`ancestral` by a `ReverseStep` on the device of x, where all of the chain stays; the CPU waits for nothing.

    noise(t): of timesteps (k,) int64 on that device, (k, N, C, H, W) on it.
    """
    on_device = torch.tensor(timesteps, dtype=torch.int64, device=x.device)
    hosts = iter(timesteps)
    for chunk in on_device.split(CHUNK):
        for t, noise_t in zip(chunk.split(1), noise(chunk), strict=True):
            callback(next(hosts), x)
            x = step(x, t, noise_t)
    return x


def ddim_step(
    x: Tensor, predicted_noise: Tensor, t: int, t_next: int | None, schedule: Schedule, clip_x0: bool = False
) -> Tensor:
    """x_t -> x_{t_next} for t_next < t (Song et al. 2021, equation 12 with sigma_t = 0); t_next None: -> x_0.

    clip_x0: clamp the predicted x_0 to [-1, 1]. The other term keeps the noise as predicted, as in diffusers;
    improved-diffusion derives it anew from the clamped x_0.
    """
    alpha_cumprod = float(schedule.alphas_cumprod[t])
    alpha_cumprod_next = float(schedule.alphas_cumprod[t_next]) if t_next is not None else 1.0
    x_0 = (x - (1 - alpha_cumprod) ** 0.5 * predicted_noise) / alpha_cumprod**0.5
    if clip_x0:
        x_0 = x_0.clamp(-1, 1)
    return alpha_cumprod_next**0.5 * x_0 + (1 - alpha_cumprod_next) ** 0.5 * predicted_noise


def ddim(
    net: Net,
    x: Tensor,
    timesteps: Sequence[int],
    schedule: Schedule,
    *,
    clip_x0: bool = False,
    callback: Callable[[int, Tensor], None] = lambda t, x: None,
) -> Tensor:
    """Deterministic DDIM (Song et al. 2021, eta = 0) from x (N, C, H, W), the state at timesteps[0], to x_0.

    timesteps: any decreasing ones, the full chain, a truncated or a respaced one; the step from the last of them goes
    to alpha_bar = 1, whether it is 0 or not. callback(t, x): called with each state x at t before its step.
    Returns the raw x_0, not clamped (but for clip_x0). Raises ValueError where timesteps do not decrease or leave the
    schedule.
    """
    pairs = list(itertools.zip_longest(timesteps, timesteps[1:]))
    if any(not 0 <= t < len(schedule.betas) or (t_next is not None and t_next >= t) for t, t_next in pairs):
        raise ValueError(f"timesteps must decrease, from at most {len(schedule.betas) - 1} to at least 0")
    for t, t_next in pairs:
        callback(t, x)
        predicted_noise = net(x, torch.tensor([t]))
        x = ddim_step(x, predicted_noise, t, t_next, schedule, clip_x0)
    return x
