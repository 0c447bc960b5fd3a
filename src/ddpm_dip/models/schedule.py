"""The DDPM forward process and its schedule (Ho, Jain and Abbeel 2020), as plain tensors."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Schedule(NamedTuple):
    """Three tensors (T,), float64, indexed by t = 0..T-1; alphas_cumprod is alpha-bar in the paper."""

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
    """The last `steps` timesteps of the chain, from steps-1 down to 0."""
    return list(range(steps - 1, -1, -1))


def respaced_timesteps(nfe: int, of: int = 1000) -> list[int]:
    """`nfe` timesteps, decreasing, spread evenly over the last `of` ones and rounded to whole numbers.

    nfe: how often the net is evaluated. The first timestep is of-1 and the last is 0; a single one is of-1. With nfe
    equal to `of` this is the truncated chain, with nfe = 0 it is empty. Raises ValueError where nfe is negative or
    above `of`.
    """
    if not 0 <= nfe <= of:
        raise ValueError(f"{nfe} steps of {of}: must be from 0 to {of}")
    if nfe == 1:
        return [of - 1]
    return [round(i * (of - 1) / (nfe - 1)) for i in range(nfe - 1, -1, -1)]


def log_snr_timesteps(nfe: int, of: int = 1000) -> list[int]:
    """As `respaced_timesteps`, but spread evenly over the linear schedule's log signal-to-noise ratio.

    So Lu et al. 2022 ("DPM-Solver", section 3.4) place them, in lambda = log(alpha / sigma), where alpha^2 =
    alphas_cumprod and sigma^2 = 1 - alpha^2. Each is the timestep whose lambda is nearest. Near t = 0, where lambda
    falls fast, several can be the same one: then each moves up to the next that is free, and none beyond of-1 - i, the
    highest that leaves room for the i before it.
    """
    if nfe < 2 or nfe > of:
        return respaced_timesteps(nfe, of)
    alphas_cumprod = linear_schedule().alphas_cumprod[:of]
    log_snr = (alphas_cumprod / (1 - alphas_cumprod)).log() / 2
    wanted = torch.linspace(log_snr[-1], log_snr[0], nfe, dtype=torch.float64)
    found = (log_snr[:, None] - wanted).abs().argmin(0).tolist()
    found[0], found[-1] = of - 1, 0
    for i in range(nfe - 2, -1, -1):
        found[i] = max(found[i], found[i + 1] + 1)
    return [min(t, of - 1 - i) for i, t in enumerate(found)]


SPACINGS: dict[str, Callable[[int, int], list[int]]] = {"even": respaced_timesteps, "log-snr": log_snr_timesteps}
