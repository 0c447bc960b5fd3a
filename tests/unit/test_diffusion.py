"""The schedule, q_sample and the ancestral sampler, against published figures and diffusers' DDPMScheduler."""

import math

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.schedulers import scheduling_ddpm

from ddpm_dip.diffusion import linear_schedule, q_sample, truncated_timesteps
from ddpm_dip.networks import build_unet
from ddpm_dip.sampling import ancestral, ancestral_step

SCHEDULE = linear_schedule()
# alpha_bar at t = K - 1, as study A's facts print them (shared/SPEC.md)
ALPHA_BAR = {
    100: "0.897", 200: "0.659", 300: "0.396", 400: "0.195", 500: "0.079",
    600: "0.026", 700: "0.0070", 800: "0.0015", 900: "0.00028", 1000: "0.00004",
}  # fmt: skip


def diffusers_scheduler(clip: bool) -> DDPMScheduler:
    scheduler = DDPMScheduler(
        num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear",
        variance_type="fixed_large", clip_sample=clip, prediction_type="epsilon",
    )  # fmt: skip
    # its tables are float32, where 1 - alpha_bar has 3 digits left at small t: the same in float64
    betas = torch.from_numpy(np.linspace(1e-4, 0.02, 1000))
    torch.testing.assert_close(scheduler.betas.double(), betas, atol=1e-8, rtol=0)
    scheduler.betas, scheduler.alphas, scheduler.one = betas, 1 - betas, torch.tensor(1.0, dtype=torch.float64)
    scheduler.alphas_cumprod = torch.from_numpy(np.cumprod(1 - betas.numpy()))
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


# --- forward ---


def test_q_sample_is_diffusers_add_noise():
    x_0, noise, t = images(6).clamp(-1, 1), images(6, seed=1), torch.tensor([0, 1, 250, 500, 998, 999])
    expected = diffusers_scheduler(False).add_noise(x_0, noise, t)
    torch.testing.assert_close(q_sample(x_0, t, noise, SCHEDULE), expected, atol=1e-12, rtol=0)
    single = q_sample(x_0.float(), t, noise.float(), SCHEDULE)
    torch.testing.assert_close(single, expected.float(), atol=1e-6, rtol=0)


# --- backward ---


@pytest.fixture
def injected(monkeypatch):
    """A list: diffusers' step draws its noise from its front."""
    waiting = []
    monkeypatch.setattr(scheduling_ddpm, "randn_tensor", lambda *args, **kwargs: waiting.pop(0))
    return waiting


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("t", [0, 1, 2, 99, 499, 999])
def test_one_ancestral_step_is_diffusers(t, clip, injected):
    x, predicted, noise = images(), images(seed=1), images(seed=2)
    injected.append(noise)
    expected = diffusers_scheduler(clip).step(predicted, t, x).prev_sample
    assert len(injected) == (1 if t == 0 else 0)  # no noise is drawn at t = 0
    actual = ancestral_step(x, predicted, t, noise, SCHEDULE, clip_x0=clip)
    torch.testing.assert_close(actual, expected, atol=1e-12, rtol=0)
    single = ancestral_step(x.float(), predicted.float(), t, noise.float(), SCHEDULE, clip_x0=clip)
    torch.testing.assert_close(single, expected.float(), atol=1e-5, rtol=1e-5)


def test_clipping_shows_where_it_should():
    x, predicted, noise = images(), images(seed=1), images(seed=2)
    kept, clipped = (ancestral_step(x, predicted, 500, noise, SCHEDULE, clip_x0=clip) for clip in (False, True))
    assert (kept - clipped).abs().max() > 1e-3


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("name", ["hw4", "hw4-sees"])
def test_a_whole_chain_is_diffusers(name, clip, injected):
    torch.manual_seed(0)
    net, steps = build_unet(name, (1, 16, 16)).double(), 50
    with torch.no_grad():
        net.conv_out.weight *= 300  # a fresh net predicts next to nothing
        assert net(images(), torch.zeros(4).long()).std() > 0.3
    noise = {t: images(seed=100 + t) for t in range(steps)}

    scheduler, x = diffusers_scheduler(clip), images()
    injected.extend(noise[t] for t in range(steps - 1, 0, -1))
    with torch.no_grad():
        for t in range(steps - 1, -1, -1):
            x = scheduler.step(net(x, torch.full((4,), t)), t, x).prev_sample
    assert not injected

    seen = []
    with torch.no_grad():
        ours = ancestral(
            net, images(), truncated_timesteps(steps), SCHEDULE, noise.__getitem__,
            clip_x0=clip, callback=lambda t, x: seen.append((t, x)),
        )  # fmt: skip
    torch.testing.assert_close(ours, x, atol=1e-9, rtol=0)
    assert [t for t, _ in seen] == list(range(49, -1, -1))
    assert torch.equal(seen[0][1], images())  # each state before its step
