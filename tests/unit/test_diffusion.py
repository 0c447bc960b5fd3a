"""The schedule, q_sample and both samplers, against published figures and diffusers' schedulers."""

import math

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from diffusers.schedulers import scheduling_ddpm

from ddpm_dip.diffusion import linear_schedule, q_sample, respaced_timesteps, truncated_timesteps
from ddpm_dip.networks import build_unet
from ddpm_dip.sampling import Coefficients, ancestral, ancestral_step, coefficients, ddim, ddim_step

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


def lively(name):
    torch.manual_seed(0)
    net = build_unet(name, (1, 16, 16)).double()
    with torch.no_grad():
        net.conv_out.weight *= 300  # a fresh net predicts next to nothing
        assert net(images(), torch.zeros(4).long()).std() > 0.3
    return net


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
    for of in (1, 2, 7, 1000):
        for steps in range(2, of + 1):
            times = respaced_timesteps(steps, of)
            gaps = -np.diff(times)
            assert len(times) == steps and times[0] == of - 1 and times[-1] == 0
            assert gaps.min() >= 1 and gaps.max() - gaps.min() <= 2 and abs(gaps - (of - 1) / (steps - 1)).max() <= 1
        assert respaced_timesteps(1, of) == [of - 1] and respaced_timesteps(0, of) == []
        assert respaced_timesteps(of, of) == truncated_timesteps(of)
    assert respaced_timesteps(4) == [999, 666, 333, 0]


@pytest.mark.parametrize("steps", [-1, 1001])
def test_respaced_timesteps_that_cannot_be(steps):
    with pytest.raises(ValueError, match=f"{steps} steps of 1000: must be from 0 to 1000"):
        respaced_timesteps(steps)


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


def of(t):
    return Coefficients(*(float(values[t]) for values in coefficients(SCHEDULE)))


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("t", [0, 1, 2, 99, 499, 999])
def test_one_ancestral_step_is_diffusers(t, clip, injected):
    x, predicted, noise = images(), images(seed=1), images(seed=2)
    injected.append(noise)
    expected = diffusers_scheduler(clip).step(predicted, t, x).prev_sample
    assert len(injected) == (1 if t == 0 else 0)  # no noise is drawn at t = 0
    actual = ancestral_step(x, predicted, noise, of(t), clip_x0=clip)
    torch.testing.assert_close(actual, expected, atol=1e-12, rtol=0)
    single = ancestral_step(x.float(), predicted.float(), noise.float(), of(t), clip_x0=clip)
    torch.testing.assert_close(single, expected.float(), atol=1e-5, rtol=1e-5)


def test_clipping_shows_where_it_should():
    x, predicted, noise = images(), images(seed=1), images(seed=2)
    kept, clipped = (ancestral_step(x, predicted, noise, of(500), clip_x0=clip) for clip in (False, True))
    assert (kept - clipped).abs().max() > 1e-3


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("name", ["hw4", "hw4-sees"])
def test_a_whole_chain_is_diffusers(name, clip, injected):
    net, steps = lively(name), 50
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


# --- backward, without noise ---


def ddim_scheduler(clip: bool, gap: int) -> DDIMScheduler:
    """Its step goes from t to t - gap, and to alpha_bar = 1 below 0."""
    scheduler = DDIMScheduler(
        num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear",
        set_alpha_to_one=True, clip_sample=clip, prediction_type="epsilon",
    )  # fmt: skip
    scheduler.alphas_cumprod = torch.from_numpy(np.cumprod(1 - np.linspace(1e-4, 0.02, 1000)))  # it has float32
    assert scheduler.final_alpha_cumprod == 1
    scheduler.set_timesteps(1000 // gap)
    assert 1000 // scheduler.num_inference_steps == gap  # what its step computes
    return scheduler


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize(("t", "gap"), [(0, 1), (1, 1), (999, 1), (500, 20), (999, 333), (5, 10), (999, 1000)])
def test_one_ddim_step_is_diffusers(t, gap, clip):
    x, predicted = images(), images(seed=1)
    expected = ddim_scheduler(clip, gap).step(predicted, t, x).prev_sample
    t_next = t - gap if t >= gap else None
    torch.testing.assert_close(ddim_step(x, predicted, t, t_next, SCHEDULE, clip), expected, atol=1e-11, rtol=1e-12)
    single = ddim_step(x.float(), predicted.float(), t, t_next, SCHEDULE, clip)
    rounding = 1e-6 / SCHEDULE.alphas_cumprod[t].item() ** 0.5  # x_0 is a difference over this root
    torch.testing.assert_close(single, expected.float(), atol=rounding, rtol=1e-5)


CHAINS = {
    "truncated": (truncated_timesteps(50), 1),
    "respaced": (respaced_timesteps(28), 37),  # 999 is 27 times 37
    "truncated and respaced": (list(range(280, -1, -20)), 20),
    "not down to 0": (list(range(990, 0, -90)), 90),
}


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("chain", CHAINS)
def test_a_whole_ddim_chain_is_diffusers(chain, clip):
    timesteps, gap = CHAINS[chain]
    net, scheduler, x = lively("hw4-sees"), ddim_scheduler(clip, gap), images()
    seen = []
    with torch.no_grad():
        ours = ddim(net, images(), timesteps, SCHEDULE, clip_x0=clip, callback=lambda t, x: seen.append((t, x.clone())))
        for t, state in seen:
            torch.testing.assert_close(state, x, atol=1e-9, rtol=1e-11)  # each state before its step
            step = scheduler.step(net(x, torch.full((4,), t)), t, x)
            x = step.prev_sample
    torch.testing.assert_close(ours, step.pred_original_sample, atol=1e-9, rtol=1e-11)
    assert [t for t, _ in seen] == timesteps and torch.equal(seen[0][1], images())


@pytest.mark.parametrize("timesteps", [truncated_timesteps(1000), respaced_timesteps(7), [600, 599, 3], [42]])
def test_ddim_returns_the_only_image_there_is(timesteps):
    """The right prediction for data of a single image is the noise that was added to it, at every timestep."""
    x_0, noise = images().clamp(-1, 1), images(seed=1)

    def net(x, t):
        alpha_cumprod = SCHEDULE.alphas_cumprod[t].view(-1, 1, 1, 1)
        return (x - alpha_cumprod.sqrt() * x_0) / (1 - alpha_cumprod).sqrt()

    def check(t, x):
        torch.testing.assert_close(x, q_sample(x_0, torch.full((4,), t), noise, SCHEDULE), atol=1e-8, rtol=0)

    x_t = q_sample(x_0, torch.full((4,), timesteps[0]), noise, SCHEDULE)
    torch.testing.assert_close(ddim(net, x_t, timesteps, SCHEDULE, callback=check), x_0, atol=1e-8, rtol=0)


def test_ddim_of_no_steps_is_its_start():
    assert torch.equal(ddim(None, images(), [], SCHEDULE), images())


@pytest.mark.parametrize("timesteps", [[0, 1], [5, 5], [1000, 0], [3, -1], [9, 3, 4]])
def test_ddim_refuses_timesteps_that_do_not_decrease(timesteps):
    with pytest.raises(ValueError, match="timesteps must decrease, from at most 999 to at least 0"):
        ddim(None, images(), timesteps, SCHEDULE)
