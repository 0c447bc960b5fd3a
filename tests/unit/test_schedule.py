"""The schedule and q_sample, against published figures and diffusers' schedulers."""

import math

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from ddpm_dip.models.schedule import (
    BETA_SCHEDULES,
    PREDICTION_TYPES,
    SPACINGS,
    linear_schedule,
    log_snr_timesteps,
    predicted_x_0,
    q_sample,
    respaced_timesteps,
    schedule_of,
    truncated_timesteps,
)
from ddpm_dip.study import plugins

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
    assert respaced_timesteps(steps, 1000) == scheduler.timesteps.tolist()


def test_respaced_timesteps_are_even_and_have_both_ends():
    for of in (1, 2, 7, 300, 1000):
        for steps in range(2, of + 1):
            times = respaced_timesteps(steps, of)
            gaps = -np.diff(times)
            assert len(times) == steps and times[0] == of - 1 and times[-1] == 0
            assert gaps.min() >= 1 and gaps.max() - gaps.min() <= 2 and abs(gaps - (of - 1) / (steps - 1)).max() <= 1
        assert respaced_timesteps(1, of) == [of - 1] and respaced_timesteps(0, of) == []
        assert respaced_timesteps(of, of) == truncated_timesteps(of)
    assert respaced_timesteps(4, 1000) == [999, 666, 333, 0]


@pytest.mark.parametrize(("nfe", "of"), [(-1, 1000), (1001, 1000), (301, 300)])
def test_respaced_timesteps_that_cannot_be(nfe, of):
    with pytest.raises(ValueError, match=f"{nfe} steps of {of}: must be from 0 to {of}"):
        respaced_timesteps(nfe, of)


def half_log_snr(t):
    """lambda of timestep t, by the product of the schedule's definition."""
    kept = math.prod(1 - (1e-4 + (0.02 - 1e-4) * i / 999) for i in range(t + 1))
    return math.log(kept**0.5 / (1 - kept) ** 0.5)


LAMBDAS = [half_log_snr(t) for t in range(1000)]


@pytest.mark.parametrize(("nfe", "of"), [(10, 1000), (20, 1000), (5, 1000), (2, 1000), (10, 300), (8, 100), (3, 3)])
def test_log_snr_timesteps_are_the_nearest_to_even_lambdas(nfe, of):
    """Where these are all different ones, found here one by one."""
    first, last = LAMBDAS[of - 1], LAMBDAS[0]
    wanted = [first + i * (last - first) / (nfe - 1) for i in range(nfe)]
    nearest = [min(range(of), key=lambda t: abs(LAMBDAS[t] - each)) for each in wanted]
    assert len(set(nearest)) == nfe and log_snr_timesteps(nfe, of, SCHEDULE) == nearest


def test_log_snr_steps_that_meet_move_up_to_the_next_free_timestep():
    for nfe, of in ((50, 1000), (100, 1000), (50, 100), (30, 40), (900, 1000)):
        first, last = LAMBDAS[of - 1], LAMBDAS[0]
        taken = []  # from t = 0 up
        for i in range(nfe - 1, -1, -1):
            each = first + i * (last - first) / (nfe - 1)
            t = min(range(of), key=lambda t: abs(LAMBDAS[t] - each))
            while taken and t <= taken[-1]:
                t += 1
            taken.append(t)
        room = [min(t, of - nfe + place) for place, t in enumerate(taken)]
        assert log_snr_timesteps(nfe, of, SCHEDULE) == room[::-1] and room != respaced_timesteps(nfe, of)[::-1]


def test_log_snr_timesteps_are_distinct_and_have_both_ends():
    for of in (1, 2, 3, 10, 57, 300, 1000):
        for nfe in {0, 1, *range(2, of + 1, max(1, of // 37)), of}:
            times = log_snr_timesteps(nfe, of, SCHEDULE)
            assert len(times) == nfe and all(np.diff(times) <= -1)
            assert nfe < 2 or (times[0] == of - 1 and times[-1] == 0)
        assert log_snr_timesteps(1, of, SCHEDULE) == [of - 1] and log_snr_timesteps(
            of, of, SCHEDULE
        ) == truncated_timesteps(of)
    with pytest.raises(ValueError, match="11 steps of 10: must be from 0 to 10"):
        log_snr_timesteps(11, 10, SCHEDULE)


def test_log_snr_steps_are_even_where_even_t_makes_a_huge_last_one():
    """In lambda, of 10 evaluations: the largest step over the median one."""
    for spread, least, most in (("log-snr", 1, 1.5), ("even", 4, 10)):
        steps = np.diff([LAMBDAS[t] for t in SPACINGS[spread](10, 1000, SCHEDULE)])
        assert least < steps.max() / np.median(steps) < most


def test_a_sampler_s_spacing_is_one_of_those_that_a_study_knows():
    assert tuple(SPACINGS) == plugins.SPACINGS


# --- schedules of others ---


@pytest.mark.parametrize("timesteps", [10, 100, 1000])
@pytest.mark.parametrize("name", BETA_SCHEDULES)
def test_schedules_are_diffusers(name, timesteps):
    """Whose betas are float32."""
    described = {"num_train_timesteps": timesteps, "beta_schedule": name, "beta_start": 3e-4, "beta_end": 0.03}
    ours, theirs = schedule_of(**described, prediction_type="v_prediction"), DDPMScheduler(**described)
    assert ours.betas.dtype == torch.float64 and len(ours.betas) == timesteps
    assert ours.prediction_type == "v_prediction"
    torch.testing.assert_close(ours.betas.float(), theirs.betas, atol=3e-7, rtol=1e-6)
    torch.testing.assert_close(ours.alphas_cumprod.float(), theirs.alphas_cumprod, atol=1e-6, rtol=1e-3)
    assert torch.equal(ours.alphas_cumprod, (1 - ours.betas).cumprod(0))


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize("name", BETA_SCHEDULES)
def test_x_0_is_diffusers_for_every_prediction(name, prediction_type):
    described = {"num_train_timesteps": 1000, "beta_schedule": name, "prediction_type": prediction_type}
    scheduler, schedule = DDPMScheduler(**described, clip_sample=False), schedule_of(**described)
    scheduler.alphas_cumprod = schedule.alphas_cumprod
    for t in (0, 1, 400, 998, 999):
        x, prediction = images(seed=t), images(seed=t + 1)
        expected = scheduler.step(prediction, t, x).pred_original_sample
        a = schedule.alphas_cumprod[t]
        ours = predicted_x_0(prediction, x, float(a.sqrt()), float((1 - a).sqrt()), prediction_type)
        torch.testing.assert_close(ours, expected, atol=1e-12, rtol=1e-12)


def test_from_v_x_0_is_exact_in_float32_where_noise_would_lose_it():
    """At the end of a cosine, where sqrt(alphas_cumprod) is 5e-5."""
    a = schedule_of(1000, "squaredcos_cap_v2").alphas_cumprod[999]
    signal, noise, x, v = float(a.sqrt()), float((1 - a).sqrt()), images(), images(seed=1)
    exact = signal * x - noise * v
    ours = predicted_x_0(v.float(), x.float(), signal, noise, "v_prediction")
    assert (ours - exact).abs().max() < 1e-6
    by_noise = (x.float() - noise * (noise * x.float() + signal * v.float())) / signal
    assert (by_noise - exact).abs().max() > 1e-4


# --- forward ---


def test_q_sample_is_diffusers_add_noise():
    x_0, noise, t = images(6).clamp(-1, 1), images(6, seed=1), torch.tensor([0, 1, 250, 500, 998, 999])
    expected = diffusers_scheduler().add_noise(x_0, noise, t)
    torch.testing.assert_close(q_sample(x_0, t, noise, SCHEDULE), expected, atol=1e-12, rtol=0)
    single = q_sample(x_0.float(), t, noise.float(), SCHEDULE)
    torch.testing.assert_close(single, expected.float(), atol=1e-6, rtol=0)
