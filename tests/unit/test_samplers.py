"""Samplers: diffusers' schedulers step by step and over whole chains, closed forms, what a sampler asks for."""

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from diffusers.schedulers import scheduling_ddpm, scheduling_dpmsolver_multistep

from ddpm_dip.jobs.errors import UserError
from ddpm_dip.models import build_unet
from ddpm_dip.models.schedule import linear_schedule, predicted_x_0, q_sample, respaced_timesteps, truncated_timesteps
from ddpm_dip.sampling import SAMPLERS, chain, samplers
from ddpm_dip.sampling.noise import keyed_noise

SCHEDULE = linear_schedule()
ALPHAS_CUMPROD = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
SHAPE = (1, 16, 16)
CLIP = pytest.mark.parametrize("clip", [False, True], ids=["raw", "clipped"])
LINEAR = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
LINEAR |= {"prediction_type": "epsilon"}
VARIANCES = {"ancestral": "fixed_large", "ancestral-small": "fixed_small"}
CHAINS = {
    "K=1000": truncated_timesteps(1000),
    "K=300": truncated_timesteps(300),
    **{f"{nfe} of {of}": respaced_timesteps(nfe, of) for nfe in (5, 10, 20, 50) for of in (1000, 300)},
    "one": [999],
    "two": [999, 0],
    "uneven": [900, 899, 700, 3, 2, 1],
}
EVEN = {  # DDIMScheduler's step goes from t to t - gap, and to alpha_bar = 1 below 0
    "K=1000": (truncated_timesteps(1000), 1),
    "K=300": (truncated_timesteps(300), 1),
    "truncated": (truncated_timesteps(50), 1),
    "respaced": (respaced_timesteps(28, 1000), 37),  # 999 is 27 times 37
    "10 of 1000": (respaced_timesteps(10, 1000), 111),
    "truncated and respaced": (list(range(280, -1, -20)), 20),
    "not down to 0": (list(range(990, 0, -90)), 90),
}


def test_every_module_of_samplers_is_found():
    assert list(SAMPLERS) == ["ancestral", "ancestral-small", "ddim", "dpmpp-2m"] == list(samplers.NAMES)
    assert [samplers.find(name).ADDS_NOISE for name in SAMPLERS] == [True, True, False, False]
    with pytest.raises(UserError, match="sampler: 'ddmi' is unknown; known are ancestral, ancestral-small, ddim, dpmp"):
        samplers.find("ddmi")


def test_a_sampler_without_its_parts_is_one_message(tmp_path, monkeypatch):
    (tmp_path / "half.py").write_text("ADDS_NOISE = True\n\n\ndef step():\n    pass\n")
    monkeypatch.setattr(samplers, "__path__", [str(tmp_path)])
    monkeypatch.setattr(samplers, "NAMES", ("half",))
    with pytest.raises(UserError, match=r"half\.py: has no HAS_MEMORY, coefficients; samplers/__init__\.py says what"):
        samplers.find("half")
    del sys.modules["ddpm_dip.sampling.samplers.half"]


def images(n=4, size=16, seed=0):
    return torch.randn(n, 1, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def noise_of(t):
    return images(seed=100 + t)


def stand_in(x, t):
    """The right prediction for pixels of N(0.2, 0.25) each, and a wave, so that it is not linear."""
    alpha_cumprod = SCHEDULE.alphas_cumprod[t].view(-1, 1, 1, 1)
    centred = (x - 0.2 * alpha_cumprod.sqrt()) / (0.25 * alpha_cumprod + 1 - alpha_cumprod)
    return (1 - alpha_cumprod).sqrt() * centred + 0.2 * torch.sin(4 * x + t.view(-1, 1, 1, 1) / 300)


def lively(name):
    torch.manual_seed(0)
    net = build_unet(name, SHAPE).double()
    with torch.no_grad():
        net.conv_out.weight *= 300  # a fresh net predicts next to nothing
        assert net(images(), torch.zeros(4).long()).std() > 0.3
    return net


def first_row(name, timesteps):
    """The coefficients of a chain's first step, as floats."""
    columns = samplers.find(name).coefficients(timesteps, SCHEDULE)
    return type(columns)(*(float(values[0]) for values in columns))


def step(name, timesteps, x, predicted, noise=None, clip=False, memory=None):
    """The first step of a chain of a net that predicts noise, as `chain.run` makes it."""
    x_0 = predicted_x_0(predicted, x, *chain.shares_of(timesteps, SCHEDULE)[0].tolist(), "epsilon")
    x_0 = x_0.clamp(-1, 1) if clip else x_0
    return samplers.find(name).step(x, x_0, memory, noise, first_row(name, timesteps))


def close(ours, theirs, within=1e-5):
    assert ours.isfinite().all() and (ours - theirs).abs().max() <= within * theirs.abs().max()


# --- ancestral: DDPMScheduler ---


def ddpm_scheduler(clip, name="ancestral", timesteps=None):
    scheduler = DDPMScheduler(**LINEAR, variance_type=VARIANCES[name], clip_sample=clip)
    # its tables are float32, where 1 - alpha_bar has 3 digits left at small t: the same in float64
    scheduler.alphas_cumprod, scheduler.one = torch.from_numpy(ALPHAS_CUMPROD), torch.tensor(1.0, dtype=torch.float64)
    if timesteps:
        scheduler.set_timesteps(timesteps=timesteps)
    return scheduler


@pytest.fixture
def injected(monkeypatch):
    """A list: diffusers' step draws its noise from its front."""
    waiting = []
    monkeypatch.setattr(scheduling_ddpm, "randn_tensor", lambda *args, **kwargs: waiting.pop(0))
    return waiting


@CLIP
@pytest.mark.parametrize("name", VARIANCES)
@pytest.mark.parametrize("t", [0, 1, 2, 99, 499, 999])
def test_one_ancestral_step_is_diffusers(t, name, clip, injected):
    x, predicted, noise = images(), images(seed=1), images(seed=2)
    injected.append(noise)
    expected = ddpm_scheduler(clip, name).step(predicted, t, x).prev_sample
    assert len(injected) == (1 if t == 0 else 0)  # no noise is drawn at t = 0
    timesteps = truncated_timesteps(t + 1)
    torch.testing.assert_close(step(name, timesteps, x, predicted, noise, clip), expected, atol=1e-12, rtol=0)
    single = step(name, timesteps, x.float(), predicted.float(), noise.float(), clip)
    torch.testing.assert_close(single, expected.float(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", SAMPLERS)
def test_clipping_shows_where_it_should(name):
    inputs = truncated_timesteps(501), images(), images(seed=1), images(seed=2)
    kept, clipped = (step(name, *inputs, clip, memory=images(seed=3)) for clip in (False, True))
    assert (kept - clipped).abs().max() > 1e-3


@CLIP
@pytest.mark.parametrize("net", ["hw4", "hw4-sees"])
def test_a_whole_chain_of_a_net_is_diffusers(net, clip, injected):
    net, steps = lively(net), 50
    scheduler, x = ddpm_scheduler(clip), images()
    injected.extend(noise_of(t) for t in range(steps - 1, 0, -1))
    with torch.no_grad():
        for t in range(steps - 1, -1, -1):
            x = scheduler.step(net(x, torch.full((4,), t)), t, x).prev_sample
    assert not injected

    seen = []
    with torch.no_grad():
        ours = SAMPLERS["ancestral"](
            net, images(), truncated_timesteps(steps), SCHEDULE, noise_of,
            clip_x0=clip, callback=lambda t, x: seen.append((t, x)),
        )  # fmt: skip
    torch.testing.assert_close(ours, x, atol=1e-9, rtol=0)
    assert [t for t, _ in seen] == list(range(49, -1, -1))
    assert torch.equal(seen[0][1], images())  # each state before its step


@CLIP
@pytest.mark.parametrize("name", VARIANCES)
@pytest.mark.parametrize("timesteps", CHAINS.values(), ids=CHAINS)
def test_a_whole_ancestral_chain_is_diffusers(timesteps, name, clip, injected):
    scheduler, x = ddpm_scheduler(clip, name, timesteps), images()
    last = torch.zeros_like(x)  # ours adds none in the last step, theirs none at t = 0
    injected.extend([*map(noise_of, timesteps[:-1]), last])
    for t in timesteps:
        x = scheduler.step(stand_in(x, torch.tensor([t])), t, x).prev_sample
    close(SAMPLERS[name](stand_in, images(), timesteps, SCHEDULE, noise_of, clip_x0=clip), x, 1e-8)


@pytest.mark.parametrize("name", VARIANCES)
def test_a_respaced_ancestral_step_is_bayes(name):
    """Its coefficients are those of the posterior of two Gaussians: q(x_s | x_0) times q(x_t | x_s) for s < t."""
    for t, s in ((999, 700), (500, 20), (30, 3)):
        a_t, a_s = ALPHAS_CUMPROD[[t, s]]
        row = first_row(name, [t, s])
        share, variance = (a_t / a_s) ** 0.5, 1 - a_t / a_s  # of x_s in x_t, and of the noise besides
        precision = share**2 / variance + 1 / (1 - a_s)
        assert row.weight_t == pytest.approx(share / variance / precision, rel=1e-9)
        assert row.weight_0 == pytest.approx(a_s**0.5 / (1 - a_s) / precision, rel=1e-9)
        expected = variance if name == "ancestral" else 1 / precision
        assert row.sigma**2 == pytest.approx(expected, rel=1e-9)


# --- ddim: DDIMScheduler ---


def ddim_scheduler(clip, gap):
    scheduler = DDIMScheduler(**LINEAR, set_alpha_to_one=True, clip_sample=clip)
    scheduler.alphas_cumprod = torch.from_numpy(ALPHAS_CUMPROD)  # it has float32
    assert scheduler.final_alpha_cumprod == 1
    scheduler.set_timesteps(1000 // gap)
    assert 1000 // scheduler.num_inference_steps == gap  # what its step computes
    return scheduler


@CLIP
@pytest.mark.parametrize(("t", "gap"), [(0, 1), (1, 1), (999, 1), (500, 20), (999, 333), (5, 10), (999, 1000)])
def test_one_ddim_step_is_diffusers(t, gap, clip):
    x, predicted = images(), images(seed=1)
    expected = ddim_scheduler(clip, gap).step(predicted, t, x, use_clipped_model_output=clip).prev_sample
    timesteps = [t, t - gap] if t >= gap else [t]
    actual = step("ddim", timesteps, x, predicted, clip=clip)
    torch.testing.assert_close(actual, expected, atol=1e-11, rtol=1e-11)
    single = step("ddim", timesteps, x.float(), predicted.float(), clip=clip)
    # x_0 is a difference over the first root; the noise is one over the second
    rounding = 1e-6 / ALPHAS_CUMPROD[t] ** 0.5 + 1e-6 / (1 - ALPHAS_CUMPROD[t]) ** 0.5
    torch.testing.assert_close(single, expected.float(), atol=rounding, rtol=1e-5)


@CLIP
@pytest.mark.parametrize("name", EVEN)
def test_a_whole_ddim_chain_is_diffusers(name, clip):
    timesteps, gap = EVEN[name]
    net = lively("hw4-sees") if len(timesteps) < 100 else stand_in
    scheduler, x, seen = ddim_scheduler(clip, gap), images(), []
    with torch.no_grad():
        ours = SAMPLERS["ddim"](
            net, images(), timesteps, SCHEDULE, None,
            clip_x0=clip, callback=lambda t, x: seen.append((t, x.clone())),
        )  # fmt: skip
        for t, state in seen:
            close(state, x, 1e-9)  # each state before its step
            step = scheduler.step(net(x, torch.full((4,), t)), t, x, use_clipped_model_output=clip)
            x = step.prev_sample
    close(ours, step.pred_original_sample, 1e-9)
    assert [t for t, _ in seen] == timesteps and torch.equal(seen[0][1], images())


# --- dpmpp-2m: DPMSolverMultistepScheduler ---


class InDouble:
    """torch, with its float32 of twice the size."""

    float32 = torch.float64

    def __getattr__(self, name):
        return getattr(torch, name)


@CLIP
@pytest.mark.parametrize("timesteps", CHAINS.values(), ids=CHAINS)
def test_a_whole_dpmpp_chain_is_diffusers(timesteps, clip, monkeypatch):
    """Its thresholding at a maximum of 1 is clipping. Its step would round each state to float32."""
    monkeypatch.setattr(scheduling_dpmsolver_multistep, "torch", InDouble())
    scheduler = DPMSolverMultistepScheduler(
        **LINEAR, algorithm_type="dpmsolver++", solver_order=2, solver_type="midpoint", lower_order_final=False,
        final_sigmas_type="zero", thresholding=clip, sample_max_value=1.0,
    )  # fmt: skip
    scheduler.set_timesteps(timesteps=timesteps)
    a = SCHEDULE.alphas_cumprod[timesteps]
    scheduler.sigmas = torch.cat([((1 - a) / a).sqrt(), torch.zeros(1, dtype=torch.float64)])
    x = images()
    for t in timesteps:
        x = scheduler.step(stand_in(x, torch.tensor([t])), t, x).prev_sample
    close(SAMPLERS["dpmpp-2m"](stand_in, images(), timesteps, SCHEDULE, None, clip_x0=clip), x, 1e-8)


# --- closed forms ---


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("timesteps", [truncated_timesteps(1000), respaced_timesteps(7, 1000), [600, 599, 3], [42]])
def test_the_only_image_there_is_comes_back(timesteps, name):
    """The right prediction for data of a single image is the noise that was added to it, at every timestep."""
    x_0, noise = images().clamp(-1, 1), images(seed=1)

    def net(x, t):
        alpha_cumprod = SCHEDULE.alphas_cumprod[t].view(-1, 1, 1, 1)
        return (x - alpha_cumprod.sqrt() * x_0) / (1 - alpha_cumprod).sqrt()

    def check(t, x):  # without noise each state is the image with the same noise as at the start
        if not samplers.find(name).ADDS_NOISE:
            torch.testing.assert_close(x, q_sample(x_0, torch.full((4,), t), noise, SCHEDULE), atol=1e-8, rtol=0)

    x_t = q_sample(x_0, torch.full((4,), timesteps[0]), noise, SCHEDULE)
    ours = SAMPLERS[name](net, x_t, timesteps, SCHEDULE, noise_of, callback=check)
    torch.testing.assert_close(ours, x_0, atol=1e-8, rtol=0)


def gaussian(x, t, mean=0.2, variance=0.25):
    """The right prediction for pixels of N(mean, variance)."""
    a = SCHEDULE.alphas_cumprod[t].view(-1, 1, 1, 1)
    return (1 - a).sqrt() * (x - mean * a.sqrt()) / (variance * a + 1 - a)


def test_the_flow_of_a_gaussian_is_followed_to_the_sampler_s_order():
    """Its probability flow keeps each pixel's quantile (Song et al. 2021): x_0 is known from x_T."""
    x, a = images(), SCHEDULE.alphas_cumprod[999]
    exact = 0.2 + 0.5 * (x - 0.2 * a.sqrt()) / (0.25 * a + 1 - a).sqrt()

    def error(name, nfe):
        return (SAMPLERS[name](gaussian, x, respaced_timesteps(nfe, 1000), SCHEDULE, None) - exact).abs().max()

    for nfe in (100, 250, 500):  # twice the steps: half the error at first order, a quarter at second
        assert 1.8 < error("ddim", nfe) / error("ddim", 2 * nfe) < 2.2
        assert error("dpmpp-2m", nfe) / error("dpmpp-2m", 2 * nfe) > 3.5
        assert error("dpmpp-2m", nfe) < error("ddim", nfe) / 2


def test_ancestral_chains_of_a_gaussian_have_its_moments():
    """The bounds are five standard errors of 16,384 pixels. Beta-tilde is too little noise for data that vary."""
    variances = {}
    for name in VARIANCES:
        x = SAMPLERS[name](gaussian, images(64), respaced_timesteps(250, 1000), SCHEDULE, lambda t: images(64, seed=t))
        assert abs(x.mean() - 0.2) < 5 * (0.25 / x.numel()) ** 0.5 + 0.01
        variances[name] = float(x.var())
    assert variances["ancestral"] > variances["ancestral-small"]
    assert all(abs(variance / 0.25 - 1) < 0.1 for variance in variances.values()), variances


# --- what a chain asks for ---


@pytest.mark.parametrize("name", SAMPLERS)
def test_noise_is_asked_for_where_it_is_added(name):
    asked = []

    def noise(t):
        asked.append(t)
        return noise_of(t)

    timesteps = respaced_timesteps(7, 300)
    SAMPLERS[name](stand_in, images(), timesteps, SCHEDULE, noise)
    assert asked == (timesteps[:-1] if samplers.find(name).ADDS_NOISE else [])


@pytest.mark.parametrize("name", SAMPLERS)
def test_no_steps_are_the_start(name):
    assert torch.equal(SAMPLERS[name](None, images(), [], SCHEDULE, None), images())


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("timesteps", [[0, 1], [5, 5], [1000, 0], [3, -1], [9, 3, 4]])
def test_timesteps_that_do_not_decrease_are_refused(timesteps, name):
    with pytest.raises(ValueError, match="timesteps must decrease, from at most 999 to at least 0"):
        SAMPLERS[name](None, images(), timesteps, SCHEDULE, None)
    with pytest.raises(ValueError, match="timesteps must decrease, from at most 999 to at least 0"):
        chain.ReverseStep(torch.nn.Identity(), samplers.find(name), timesteps, SCHEDULE, False)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(
    "timesteps", [truncated_timesteps(20), respaced_timesteps(20, 1000)], ids=["truncated", "respaced"]
)
@torch.inference_mode()
def test_a_chain_is_a_function_of_its_start_and_noise_alone(timesteps, name):
    net, x = lively("hw4-sees").float().eval(), keyed_noise(0, "latents", range(6), SHAPE)
    state = torch.get_rng_state()

    def run(rows):
        def noise(t):
            return keyed_noise(0, "ancestral", rows, SHAPE, t)

        return SAMPLERS[name](net, x[rows], timesteps, SCHEDULE, noise, clip_x0=True)

    # 1e-4 where images are in [-1, 1]: a respaced chain's first step divides by the root of alpha_bar, 0.006
    whole = run(list(range(6)))
    assert whole.dtype == torch.float32 and whole.shape == x.shape and whole.abs().max() <= 1 + 1e-5
    assert torch.equal(x, keyed_noise(0, "latents", range(6), SHAPE))  # not changed in place
    assert torch.equal(run(list(range(6))), whole)
    for rows in ([5], [3, 1], [0, 2, 4]):
        torch.testing.assert_close(run(rows), whole[rows], atol=1e-4, rtol=0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_step_can_be_copied_as_a_net_is_before_it_is_captured(name):
    step = chain.ReverseStep(lively("hw4").float(), samplers.find(name), [9, 5, 0], SCHEDULE, True).eval()
    inputs = step.example((2, *SHAPE))
    twin = copy.deepcopy(step)
    with torch.inference_mode():
        for t in (9, 5, 0):
            ours, theirs = (each(inputs[0], torch.tensor([t]), *inputs[2:]) for each in (step, twin))
            assert ours.shape == inputs[0].shape and ours.isfinite().all() and torch.equal(ours, theirs)
        assert step(inputs[0], torch.tensor([8]), *inputs[2:]).isnan().any()  # no timestep of the chain


def test_names_are_known_without_torch():
    code = """
import sys
from pathlib import Path
import ddpm_dip.sampling.backend_choice
from ddpm_dip.sampling import SAMPLERS
from ddpm_dip.sampling.warm_starts import WARM_STARTS
assert "torch" not in sys.modules and len(SAMPLERS) == 4 and len(WARM_STARTS) == 14
"""
    environment = {"PYTHONPATH": str(Path(samplers.__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
