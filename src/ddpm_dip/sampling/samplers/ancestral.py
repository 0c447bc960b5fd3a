"""Ancestral sampling (Ho, Jain and Abbeel 2020, algorithm 2), with variance beta: the published sampler.

On a respaced chain, alpha and beta are those of the chain of its timesteps alone (Nichol and Dhariwal 2021, section 4):
alpha_t = alphas_cumprod[t] / alphas_cumprod[the next timestep].
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...models.schedule import Schedule

ADDS_NOISE = True
HAS_MEMORY = False


class Coefficients(NamedTuple):
    weight_0: Tensor | float  # of x_0 in the posterior mean (equation 7)
    weight_t: Tensor | float  # of x_t in the posterior mean (equation 7)
    sigma: Tensor | float  # of the noise added; 0 in the last step


def coefficients(timesteps: Sequence[int], schedule: Schedule) -> Coefficients:
    """One row a step, with sigma^2 = beta."""
    alphas, betas, here, following = sub_chain(timesteps, schedule)
    sigma = betas.sqrt()
    sigma[-1:] = 0
    return Coefficients(
        weight_0=following.sqrt() * betas / (1 - here),
        weight_t=alphas.sqrt() * (1 - following) / (1 - here),
        sigma=sigma,
    )


def sub_chain(timesteps: Sequence[int], schedule: Schedule) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """alpha, beta, alphas_cumprod here and alphas_cumprod at the next timestep, each (len(timesteps),) float64."""
    t = torch.tensor(timesteps, dtype=torch.int64)
    t_next = torch.cat([t[1:], torch.full_like(t[:1], -1)])
    here = schedule.alphas_cumprod[t]
    following = torch.cat([here[1:], torch.ones_like(here[:1])])
    # between neighbours the schedule's own, as a quotient would round differently
    alphas = torch.where(t_next == t - 1, schedule.alphas[t], here / following)
    betas = torch.where(t_next == t - 1, schedule.betas[t], 1 - here / following)
    return alphas, betas, here, following


def step(x: Tensor, x_0: Tensor, x_0_before: None, noise: Tensor | None, row: Coefficients) -> Tensor:
    """x_t to x at the next timestep: equation 7 around the predicted x_0; where it is not clamped, equation 11."""
    mean = row.weight_0 * x_0 + row.weight_t * x
    return mean if noise is None else mean + row.sigma * noise
