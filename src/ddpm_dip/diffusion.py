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
