"""DPM-Solver++(2M) (Lu et al. 2022, "DPM-Solver++", algorithm 2): second order, by the x_0 of the step before.

With alpha = sqrt(alphas_cumprod), sigma = sqrt(1 - alphas_cumprod) and lambda = log(alpha / sigma), a step's size is
h = lambda_next - lambda. The first step is of first order, as there is none before it; so is the last, whose h is
infinite. Timesteps are even in lambda (Lu et al. 2022, "DPM-Solver", section 3.4): on
few that are even in t, the step that reaches t = 0 is much larger in lambda than the one before it, and extrapolates
far (r is about 0.2).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...models.schedule import Schedule

ADDS_NOISE = False
HAS_MEMORY = True
SPACING = "log-snr"


class Coefficients(NamedTuple):
    kept: Tensor | float  # sigma_next / sigma, of x_t
    weight_0: Tensor | float  # alpha_next (1 - e^-h), of the combined x_0
    extrapolated: Tensor | float  # 1 / (2 r) with r = h_before / h, of the change of x_0; 0 for first order


def coefficients(timesteps: Sequence[int], schedule: Schedule) -> Coefficients:
    """One row a step."""
    here = schedule.alphas_cumprod[torch.tensor(timesteps, dtype=torch.int64)]
    following = torch.cat([here[1:], torch.ones_like(here[:1])])
    alpha, sigma = here.sqrt(), (1 - here).sqrt()
    alpha_next, sigma_next = following.sqrt(), (1 - following).sqrt()
    h = (alpha_next / sigma_next).log() - (alpha / sigma).log()
    extrapolated = torch.zeros_like(h)
    extrapolated[1:-1] = h[1:-1] / h[:-2] / 2
    return Coefficients(sigma_next / sigma, -alpha_next * torch.expm1(-h), extrapolated)


def step(x: Tensor, x_0: Tensor, x_0_before: Tensor, noise: None, row: Coefficients) -> Tensor:
    """x_t to x at the next timestep."""
    combined = (1 + row.extrapolated) * x_0 - row.extrapolated * x_0_before
    return row.kept * x + row.weight_0 * combined
