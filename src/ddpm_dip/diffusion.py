"""The DDPM forward process and its schedule (Ho, Jain and Abbeel 2020), as plain tensors."""

from typing import NamedTuple

import torch
from torch import Tensor


class Schedule(NamedTuple):
    """All (T,) float64, indexed by t = 0..T-1."""

    betas: Tensor
    alphas: Tensor
    alphas_cumprod: Tensor


def linear_schedule(timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> Schedule:
    """Betas linear from `beta_start` to `beta_end` (Ho et al. 2020, section 4)."""
    betas = torch.linspace(beta_start, beta_end, timesteps, dtype=torch.float64)
    alphas = 1 - betas
    return Schedule(betas, alphas, alphas.cumprod(0))


def q_sample(x_0: Tensor, t: Tensor, noise: Tensor, schedule: Schedule) -> Tensor:
    """Draw x_t given x_0 (Ho et al. 2020, equation 4). x_0, noise: (N, C, H, W); t: (N,) int64."""
    alphas_cumprod = schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
    return alphas_cumprod.sqrt().to(x_0) * x_0 + (1 - alphas_cumprod).sqrt().to(x_0) * noise


def truncated_timesteps(steps: int) -> list[int]:
    """The last `steps` timesteps of the chain, t = steps-1 .. 0: a truncated chain, not a respaced one."""
    return list(range(steps - 1, -1, -1))


def respaced_timesteps(steps: int, of: int = 1000) -> list[int]:
    """`steps` timesteps, decreasing, spread evenly over the whole chain of `of`, each rounded to a whole number.

    The first is of-1 and the last 0, so that a chain starts at pure noise and ends with the step whose noise is least;
    a single step is [of-1]. 0 gives none, `of` gives the full chain. For samplers that may skip timesteps (`ddim`).
    Raises ValueError where `steps` is negative or above `of`.
    """
    if not 0 <= steps <= of:
        raise ValueError(f"{steps} steps of {of}: must be from 0 to {of}")
    if steps == 1:
        return [of - 1]
    return [round(i * (of - 1) / (steps - 1)) for i in range(steps - 1, -1, -1)]
