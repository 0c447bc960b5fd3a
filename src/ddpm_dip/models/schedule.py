"""The forward process and its schedule (Ho, Jain and Abbeel 2020), as plain tensors, and what a net predicts of it."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")


class Schedule(NamedTuple):
    """What a net was trained on: three tensors (T,), float64, indexed by t = 0..T-1, and what it predicts.

    alphas_cumprod is alpha-bar in the paper. prediction_type, one of PREDICTION_TYPES: the noise; v = sqrt(alpha-bar)
    noise - sqrt(1 - alpha-bar) x_0 (Salimans and Ho 2022, section 4); or x_0 itself.
    """

    betas: Tensor
    alphas: Tensor
    alphas_cumprod: Tensor
    prediction_type: str = "epsilon"


def linear(timesteps: int, beta_start: float, beta_end: float) -> Tensor:
    """Betas linear from `beta_start` to `beta_end` (Ho et al. 2020, section 4)."""
    return torch.linspace(beta_start, beta_end, timesteps, dtype=torch.float64)


def scaled_linear(timesteps: int, beta_start: float, beta_end: float) -> Tensor:
    """Betas whose square roots are linear (Rombach et al. 2022, in their code)."""
    return torch.linspace(beta_start**0.5, beta_end**0.5, timesteps, dtype=torch.float64).square()


def squaredcos_cap_v2(timesteps: int, beta_start: float, beta_end: float) -> Tensor:
    """Betas of alphas_cumprod = cos^2, at most 0.999 each (Nichol and Dhariwal 2021, equation 17); it has no ends."""
    t = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
    alphas_cumprod = ((t + 0.008) / 1.008 * math.pi / 2).cos().square()
    return (1 - alphas_cumprod[1:] / alphas_cumprod[:-1]).clamp(max=0.999)


# by the names that diffusers' schedulers give them
BETA_SCHEDULES: dict[str, Callable[[int, float, float], Tensor]] = {
    "linear": linear,
    "scaled_linear": scaled_linear,
    "squaredcos_cap_v2": squaredcos_cap_v2,
}


def schedule_of(
    num_train_timesteps: int = 1000,
    beta_schedule: str = "linear",
    beta_start: float = 1e-4,
    beta_end: float = 0.02,
    prediction_type: str = "epsilon",
) -> Schedule:
    """A schedule by what describes it, in the words of diffusers' schedulers.

    beta_schedule: a key of BETA_SCHEDULES.
    """
    betas = BETA_SCHEDULES[beta_schedule](num_train_timesteps, beta_start, beta_end)
    return Schedule(betas, 1 - betas, (1 - betas).cumprod(0), prediction_type)


def linear_schedule(timesteps: int = 1000) -> Schedule:
    """That of Ho et al. 2020, which this project's own nets are trained on: linear betas from 1e-4 to 0.02."""
    return schedule_of(timesteps)


def q_sample(x_0: Tensor, t: Tensor, noise: Tensor, schedule: Schedule) -> Tensor:
    """Draw x_t given x_0 (Ho et al. 2020, equation 4). x_0, noise: (N, C, H, W); t: (N,) int64."""
    alphas_cumprod = schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
    return alphas_cumprod.sqrt().to(x_0) * x_0 + (1 - alphas_cumprod).sqrt().to(x_0) * noise


def predicted_x_0(
    prediction: Tensor, x: Tensor, signal: Tensor | float, noise: Tensor | float, prediction_type: str
) -> Tensor:
    """x_0 by a net's prediction at x = x_t, (N, C, H, W).

    signal, noise: sqrt(alphas_cumprod) and sqrt(1 - alphas_cumprod) of t. From v, x_0 = signal x - noise v: by way of
    the predicted noise, float32 would lose up to 5e-4 near the end of a cosine schedule, where signal is 5e-5.
    """
    if prediction_type == "sample":
        return prediction
    if prediction_type == "v_prediction":
        return signal * x - noise * prediction
    return (x - noise * prediction) / signal


def truncated_timesteps(steps: int) -> list[int]:
    """The last `steps` timesteps of the chain, from steps-1 down to 0."""
    return list(range(steps - 1, -1, -1))


def respaced_timesteps(nfe: int, of: int) -> list[int]:
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


def log_snr_timesteps(nfe: int, of: int, schedule: Schedule) -> list[int]:
    """As `respaced_timesteps`, but spread evenly over the schedule's log signal-to-noise ratio.

    So Lu et al. 2022 ("DPM-Solver", section 3.4) place them, in lambda = log(alpha / sigma), where alpha^2 =
    alphas_cumprod and sigma^2 = 1 - alpha^2. Each is the timestep whose lambda is nearest. Near t = 0, where lambda
    falls fast, several can be the same one: then each moves up to the next that is free, and none beyond of-1 - i, the
    highest that leaves room for the i before it.
    """
    if nfe < 2 or nfe > of:
        return respaced_timesteps(nfe, of)
    alphas_cumprod = schedule.alphas_cumprod[:of]
    log_snr = (alphas_cumprod / (1 - alphas_cumprod)).log() / 2
    wanted = torch.linspace(log_snr[-1], log_snr[0], nfe, dtype=torch.float64)
    found = (log_snr[:, None] - wanted).abs().argmin(0).tolist()
    found[0], found[-1] = of - 1, 0
    for i in range(nfe - 2, -1, -1):
        found[i] = max(found[i], found[i + 1] + 1)
    return [min(t, of - 1 - i) for i, t in enumerate(found)]


SPACINGS: dict[str, Callable[[int, int, Schedule], list[int]]] = {
    "even": lambda nfe, of, schedule: respaced_timesteps(nfe, of),
    "log-snr": log_snr_timesteps,
}
