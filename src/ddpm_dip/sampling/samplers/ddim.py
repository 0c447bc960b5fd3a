"""DDIM without noise (Song, Meng and Ermon 2021, equation 12 with sigma = 0)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...models.schedule import Schedule

ADDS_NOISE = False
HAS_MEMORY = False


class Coefficients(NamedTuple):
    noise_share: Tensor | float  # sqrt(1 - alphas_cumprod), of the noise in x_t
    x_0_share: Tensor | float  # sqrt(alphas_cumprod), of x_0 in x_t
    next_noise_share: Tensor | float  # the same at the next timestep; 0 in the last step
    next_x_0_share: Tensor | float  # 1 in the last step


def coefficients(timesteps: Sequence[int], schedule: Schedule) -> Coefficients:
    """One row a step."""
    here = schedule.alphas_cumprod[torch.tensor(timesteps, dtype=torch.int64)]
    following = torch.cat([here[1:], torch.ones_like(here[:1])])
    return Coefficients((1 - here).sqrt(), here.sqrt(), (1 - following).sqrt(), following.sqrt())


def step(x: Tensor, x_0: Tensor, x_0_before: None, noise: None, row: Coefficients) -> Tensor:
    """x_t to x at the next timestep. The noise is what x_t holds besides x_0, clamped or not."""
    predicted_noise = (x - row.x_0_share * x_0) / row.noise_share
    return row.next_x_0_share * x_0 + row.next_noise_share * predicted_noise
