"""Ancestral sampling with the posterior's variance, beta-tilde, the smaller one of Ho et al. 2020, section 3.2."""

from collections.abc import Sequence

from ...models.schedule import Schedule
from . import ancestral
from .ancestral import Coefficients, step

__all__ = ["ADDS_NOISE", "HAS_MEMORY", "coefficients", "step"]

ADDS_NOISE = True
HAS_MEMORY = False


def coefficients(timesteps: Sequence[int], schedule: Schedule) -> Coefficients:
    """One row a step, with sigma^2 = beta (1 - alphas_cumprod at the next timestep) / (1 - alphas_cumprod)."""
    _, betas, here, following = ancestral.sub_chain(timesteps, schedule)
    sigma = (betas * (1 - following) / (1 - here)).sqrt()  # 0 in the last step by itself
    return ancestral.coefficients(timesteps, schedule)._replace(sigma=sigma)
