"""Samplers: functions of (net, latents, timesteps, schedule, noise source)."""

import itertools
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from .diffusion import Schedule

Net = Callable[[Tensor, Tensor], Tensor]  # (x (N, C, H, W), t (1,) int64, of all N) -> predicted noise (N, C, H, W)


def ancestral_step(
    x: Tensor, predicted_noise: Tensor, t: int, noise: Tensor | None, schedule: Schedule, clip_x0: bool = False
) -> Tensor:
    """x_t -> x_{t-1} (Ho et al. 2020, algorithm 2) with sigma_t^2 = beta_t; no noise is added at t = 0.

    clip_x0: clamp the predicted x_0 to [-1, 1] before taking the posterior mean (equations 15 and 7).
    """
    beta, alpha, alpha_cumprod = (float(values[t]) for values in schedule)
    if clip_x0:
        previous = float(schedule.alphas_cumprod[t - 1]) if t > 0 else 1.0
        x_0 = (x - (1 - alpha_cumprod) ** 0.5 * predicted_noise) / alpha_cumprod**0.5
        weight_0 = previous**0.5 * beta / (1 - alpha_cumprod)
        weight_t = alpha**0.5 * (1 - previous) / (1 - alpha_cumprod)
        mean = weight_0 * x_0.clamp(-1, 1) + weight_t * x
    else:
        mean = (x - beta / (1 - alpha_cumprod) ** 0.5 * predicted_noise) / alpha**0.5
    return mean if t == 0 else mean + beta**0.5 * noise


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
    for t in timesteps:
        callback(t, x)
        predicted_noise = net(x, torch.tensor([t]))
        x = ancestral_step(x, predicted_noise, t, noise(t) if t > 0 else None, schedule, clip_x0)
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
