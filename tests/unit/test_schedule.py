"""The schedule and q_sample, against published figures and diffusers' schedulers."""

import math

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from ddpm_dip.models.schedule import linear_schedule, q_sample, respaced_timesteps, truncated_timesteps

SCHEDULE = linear_schedule()
# alpha_bar at t = K - 1, as study A's facts print them (shared/SPEC.md)
ALPHA_BAR = {
    100: "0.897", 200: "0.659", 300: "0.396", 400: "0.195", 500: "0.079",
    600: "0.026", 700: "0.0070", 800: "0.0015", 900: "0.00028", 1000: "0.00004",
}  # fmt: skip


def diffusers_scheduler() -> DDPMScheduler:
    scheduler = DDPMScheduler(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    # its tables are float32, where 1 - alpha_bar has 3 digits left at small t: the same in float64
    betas = np.linspace(1e-4, 0.02, 1000)
    torch.testing.assert_close(scheduler.betas.double(), torch.from_numpy(betas), atol=1e-8, rtol=0)
    scheduler.alphas_cumprod = torch.from_numpy(np.cumprod(1 - betas))
    return scheduler


def images(n=4, size=16, seed=0):
    return torch.randn(n, 1, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- schedule ---


def test_betas_run_from_end_to_end():
    assert SCHEDULE.betas[0].item() == pytest.approx(1e-4, rel=1e-12)
    assert SCHEDULE.betas[-1].item() == pytest.approx(0.02, rel=1e-12)
    assert SCHEDULE.betas.shape == (1000,) and SCHEDULE.betas.dtype == torch.float64
    assert np.allclose(np.diff(SCHEDULE.betas.numpy()), (0.02 - 1e-4) / 999, rtol=1e-9)
    assert torch.equal(SCHEDULE.alphas, 1 - SCHEDULE.betas)


@pytest.mark.parametrize(("steps", "printed"), ALPHA_BAR.items())
def test_alphas_cumprod_are_the_printed_ones(steps, printed):
    value = SCHEDULE.alphas_cumprod[steps - 1].item()
    assert f"{value:.{len(printed) - 2}f}" == printed
    assert value == pytest.approx(math.prod(1 - (1e-4 + (0.02 - 1e-4) * t / 999) for t in range(steps)), rel=1e-10)


def test_truncated_timesteps_are_the_last_ones_of_the_full_chain():
    full = truncated_timesteps(1000)
    assert full == sorted(range(1000), reverse=True)
    for steps in (1, 50, 200, 999):
        assert truncated_timesteps(steps) == full[-steps:]
    assert truncated_timesteps(0) == []


@pytest.mark.parametrize("steps", [2, 3, 4, 10, 28, 50, 100, 250, 500, 999, 1000])
def test_respaced_timesteps_are_diffusers_linspace(steps):
    scheduler = DDIMScheduler(num_train_timesteps=1000, timestep_spacing="linspace")
    scheduler.set_timesteps(steps)
    assert respaced_timesteps(steps) == scheduler.timesteps.tolist()


def test_respaced_timesteps_are_even_and_have_both_ends():
    for of in (1, 2, 7, 300, 1000):
        for steps in range(2, of + 1):
            times = respaced_timesteps(steps, of)
            gaps = -np.diff(times)
            assert len(times) == steps and times[0] == of - 1 and times[-1] == 0
            assert gaps.min() >= 1 and gaps.max() - gaps.min() <= 2 and abs(gaps - (of - 1) / (steps - 1)).max() <= 1
        assert respaced_timesteps(1, of) == [of - 1] and respaced_timesteps(0, of) == []
        assert respaced_timesteps(of, of) == truncated_timesteps(of)
    assert respaced_timesteps(4) == [999, 666, 333, 0]


@pytest.mark.parametrize(("nfe", "of"), [(-1, 1000), (1001, 1000), (301, 300)])
def test_respaced_timesteps_that_cannot_be(nfe, of):
    with pytest.raises(ValueError, match=f"{nfe} steps of {of}: must be from 0 to {of}"):
        respaced_timesteps(nfe, of)


# --- forward ---


def test_q_sample_is_diffusers_add_noise():
    x_0, noise, t = images(6).clamp(-1, 1), images(6, seed=1), torch.tensor([0, 1, 250, 500, 998, 999])
    expected = diffusers_scheduler().add_noise(x_0, noise, t)
    torch.testing.assert_close(q_sample(x_0, t, noise, SCHEDULE), expected, atol=1e-12, rtol=0)
    single = q_sample(x_0.float(), t, noise.float(), SCHEDULE)
    torch.testing.assert_close(single, expected.float(), atol=1e-6, rtol=0)
