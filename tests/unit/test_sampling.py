"""Sampling: noise is keyed, samples do not depend on their batch, starts are what they say, the script keeps books."""

import functools
import itertools
import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ddpm_dip.torchvision_import  # noqa: F401, before torchvision
from ddpm_dip import backend_choice, backends, files, generation, provenance, warm_starts
from ddpm_dip.diffusion import linear_schedule, respaced_timesteps, truncated_timesteps
from ddpm_dip.dip_pass import resize
from ddpm_dip.errors import UserError
from ddpm_dip.networks import build_dip, build_unet
from ddpm_dip.networks.unet import tabulate_time
from ddpm_dip.noise import STREAMS, device_noise, keyed_noise, philox4x32
from ddpm_dip.sampling import ReverseStep, ancestral, ancestral_on_device, ddim

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "workflow/scripts"
SHAPE = (1, 16, 16)
TRAIN = np.random.default_rng(0).integers(0, 256, (20, *SHAPE), dtype=np.uint8)
ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")
BACKENDS = [
    "torch",
    pytest.param(
        "openvino",
        marks=pytest.mark.skipif(
            backend_choice.resolve("auto") != "openvino", reason="openvino is not installed (pip install openvino)"
        ),
    ),
    pytest.param("cuda", marks=ON_GPU),
]


def lively_unet(name="hw4-sees"):
    """Random weights, but predictions of the size that a trained net's have."""
    torch.manual_seed(0)
    net = build_unet(name, SHAPE)
    with torch.no_grad():
        net.conv_out.weight *= 300
    return net


def random_dip(batch_statistics=False):
    torch.manual_seed(1)
    return build_dip(1, batch_statistics)


def context(indices=range(4), steps=20, passes=1, seed=0, dip=None, train=TRAIN):
    return generation.make_context(train, indices, steps=steps, passes=passes, seed=seed, dip=dip)


# --- keyed noise ---


def test_noise_is_a_function_of_its_key_alone():
    whole = keyed_noise(3, "ancestral", range(50), SHAPE, t=7)
    assert whole.shape == (50, *SHAPE) and whole.dtype == torch.float32
    torch.manual_seed(5)
    np.random.seed(5)
    assert torch.equal(keyed_noise(3, "ancestral", [49, 8, 0], SHAPE, t=7), whole[[49, 8, 0]])
    assert torch.equal(keyed_noise(3, "ancestral", range(8, 12), SHAPE, t=7), whole[8:12])


def test_different_keys_give_different_noise():
    keys = itertools.product([0, 1, 2**16, 2**32 - 1], STREAMS, [0, 1, 255, 256, 999_999], [0, 1, 255, 256, 999])
    keys = [key for key in keys if key[1] == "ancestral" or key[3] == 0]
    drawn = {keyed_noise(seed, stream, [i], (4,), t).numpy().tobytes() for seed, stream, i, t in keys}
    assert len(drawn) == len(keys) == 4 * 5 * (5 + (len(STREAMS) - 1))


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ("00000000 " * 4, "00000000 " * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff " * 4, "ffffffff " * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
    ids=["zeros", "ones", "pi"],
)
def test_philox_has_the_known_answers(counter, key, words):
    """Those that Random123, the authors' library, comes with."""
    counter, key, words = ([int(word, 16) for word in text.split()] for text in (counter, key, words))
    drawn = philox4x32([torch.tensor([word]) for word in counter], key)
    assert [int(word) for word in drawn] == words


DEVICES = ["cpu", pytest.param("cuda", marks=ON_GPU)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [SHAPE, (3, 5, 5)], ids=str)
def test_device_noise_is_a_function_of_its_key_alone(shape, device):
    def drawn(seed, stream, indices, timesteps):
        indices, timesteps = (torch.tensor(values, device=device) for values in (indices, timesteps))
        return device_noise(seed, stream, indices, shape, timesteps).cpu()

    whole = drawn(3, "ancestral", list(range(50)), list(range(20)))
    assert whole.shape == (20, 50, *shape) and whole.dtype == torch.float32 and whole.isfinite().all()
    assert torch.equal(drawn(3, "ancestral", [49, 8, 0], [7]), whole[[7]][:, [49, 8, 0]])
    assert torch.equal(drawn(3, "ancestral", [8], [19, 0]), whole[[19, 0]][:, [8]])
    others = [drawn(4, "ancestral", [8], [7]), drawn(3, "latents", [8], [7]), drawn(3, "ancestral", [8 + 2**32], [7])]
    others += [drawn(3 + 2**32, "ancestral", [8], [7]), whole[7:8, 9:10], whole[8:9, 8:9]]
    assert all((other - whole[7:8, 8:9]).abs().max() > 0.5 for other in others)
    assert len(whole.unique()) > 0.99 * whole.numel()


def on_the_cpu(seed, indices, shape, timesteps):
    return device_noise(seed, "ancestral", torch.tensor(indices), shape, torch.tensor(timesteps))


N = 4000
STANDARD = {
    "device indices": lambda: on_the_cpu(0, range(N), (2,), [5])[0],
    "device timesteps": lambda: on_the_cpu(0, [3], (2,), range(N))[:, 0],
    "device seeds": lambda: torch.cat([on_the_cpu(seed, [3], (2,), [0])[0] for seed in range(N)]),
    "device pixels": lambda: on_the_cpu(0, [3], (2 * N,), [5]).view(N, 2),
    "indices": lambda: keyed_noise(0, "ancestral", range(N), (2,), t=5),
    "timesteps": lambda: torch.cat([keyed_noise(0, "ancestral", [3], (2,), t=t) for t in range(N)]),
    "seeds": lambda: torch.cat([keyed_noise(seed, "latents", [3], (2,)) for seed in range(N)]),
}


@pytest.mark.parametrize("along", STANDARD)
def test_noise_is_standard_normal_and_uncorrelated_over_keys(along):
    """Each bound is five standard errors of a normal sample of this size."""
    values = STANDARD[along]().double()
    for x in values.T:
        assert abs(x.mean()) < 5 / N**0.5
        assert abs(x.var() - 1) < 5 * (2 / N) ** 0.5
        assert abs((x**3).mean()) < 5 * (15 / N) ** 0.5
        assert abs((x**4).mean() - 3) < 5 * (96 / N) ** 0.5
        assert abs((x[1:] * x[:-1]).mean()) < 5 / N**0.5
    assert abs((values[:, 0] * values[:, 1]).mean()) < 5 / N**0.5


def test_streams_are_uncorrelated():
    drawn = [keyed_noise(0, stream, range(N), (1,))[:, 0].double() for stream in STREAMS]
    for a, b in itertools.combinations(drawn, 2):
        assert abs((a * b).mean()) < 5 / N**0.5


# --- warm starts ---


def test_every_module_of_warm_starts_is_found():
    modules = {path.stem for path in Path(warm_starts.__file__).parent.glob("*.py")} - {"__init__"}
    assert {name.replace("-", "_") for name in warm_starts.WARM_STARTS} == modules
    assert {"noise", "dip", "dip-every-step", "mean-image"} <= set(warm_starts.WARM_STARTS)
    for name in warm_starts.WARM_STARTS:
        start = warm_starts.find(name).start
        x = start(context(dip=random_dip()))
        assert x.shape == (4, *SHAPE) and x.dtype == torch.float32 and x.isfinite().all()


def test_all_noise_arms_share_x_T_and_all_arms_the_chain_s_noise():
    start = warm_starts.find("noise").start
    x_T = start(context(steps=5))
    assert torch.equal(x_T, keyed_noise(0, "latents", range(4), SHAPE))
    assert all(torch.equal(start(context(steps=steps, passes=p)), x_T) for steps in (50, 1000) for p in (0, 3))
    assert not torch.equal(start(context(seed=1)), x_T)
    drawn = []
    for name, steps in (("noise", 3), ("dip", 9), ("mean-image", 5)):
        seen = {}

        def net(x, t):
            return torch.zeros_like(x)

        def keep(t, x, seen=seen):
            seen[t] = x.clone()

        generation.generate(warm_starts.find(name), context(steps=steps, dip=random_dip()), net, callback=keep)
        beta, alpha = 1e-4 + (0.02 - 1e-4) * 2 / 999, 1 - (1e-4 + (0.02 - 1e-4) * 2 / 999)
        drawn.append((seen[1] - seen[2] / alpha**0.5) / beta**0.5)  # the noise that was added at t = 2
    for noise in drawn:
        torch.testing.assert_close(noise, keyed_noise(0, "ancestral", range(4), SHAPE, t=2), atol=1e-3, rtol=0)


@pytest.mark.parametrize("steps", [1, 100, 500, 1000])
def test_mean_image_has_the_moments_of_q_sample(steps):
    n = 2000
    x = warm_starts.find("mean-image").start(context(range(n), steps)).double()
    noise = keyed_noise(0, "latents", range(n), SHAPE).double()
    alpha_bar = np.prod(1 - np.linspace(1e-4, 0.02, 1000)[:steps])
    mean = torch.from_numpy(alpha_bar**0.5 * (TRAIN.astype(np.float64).mean(0) / 127.5 - 1))
    variance = 1 - alpha_bar
    torch.testing.assert_close(x, mean + variance**0.5 * noise, atol=1e-5, rtol=0)
    assert ((x.mean(0) - mean).abs() < 5 * (variance / n) ** 0.5).all()
    assert ((x.var(0) / variance - 1).abs() < 5 * (2 / n) ** 0.5).all()


@pytest.mark.parametrize("passes", [1, 3])
@pytest.mark.parametrize("size", [16, 28, 32])
def test_dip_start_is_dip_passes_by_hand(passes, size):
    from torchvision.transforms import functional as TF

    dip, train = random_dip(), np.zeros((2, 1, size, size), np.uint8)
    with torch.no_grad():
        x = warm_starts.find("dip").start(context(range(2, 5), passes=passes, dip=dip, train=train))
        expected = keyed_noise(0, "dip-latents", range(2, 5), (1, 32, 32))
        for _ in range(passes):
            expected = torch.cat([dip(image[None]) for image in expected])
    expected = TF.resize(expected, [size, size], antialias=True)
    # a pass multiplies a rounding difference by 6 to 8
    torch.testing.assert_close(x, expected, atol=1e-5 * 10 ** (passes - 1), rtol=0)
    assert 0 <= x.min() < x.max() <= 1  # not re-noised, not put on the model's scale


def test_dip_every_step_shows_the_net_dip_passes_and_updates_x_t():
    dip, seen, states = random_dip(), [], []

    def net(x, t):
        seen.append((int(t[0]), x.clone()))
        return torch.zeros_like(x)

    arms = [generation.generate(warm_starts.find(name), context(steps=3, passes=2, dip=dip), net,
                                callback=lambda t, x: states.append(x.clone()))
            for name in ("dip-every-step", "dip")]  # fmt: skip
    assert [t for t, _ in seen] == [2, 1, 0, 2, 1, 0]
    with torch.no_grad():
        for (_, shown), x_t in zip(seen[:3], states[:3], strict=True):
            by_hand = resize(dip(dip(resize(x_t, 32))), 16)
            torch.testing.assert_close(shown, by_hand, atol=1e-4, rtol=0)
            assert (shown - x_t).abs().max() > 0.01
    for (_, shown), x_t in zip(seen[3:], states[3:], strict=True):
        assert torch.equal(shown, x_t)  # `dip`: before the chain alone
    assert torch.equal(*arms)  # with nothing predicted, the update is the same


@pytest.mark.parametrize(("source", "target"), [(32, 28), (32, 16), (28, 32), (16, 32), (32, 64)])
def test_resize_is_torchvision_s_and_pillow_s(source, target):
    from torchvision.transforms import functional as TF

    x = torch.randn(2, 3, source, source, generator=torch.Generator().manual_seed(0))
    resized = resize(x, target)
    torch.testing.assert_close(resized, TF.resize(x, [target, target], antialias=True), atol=1e-6, rtol=0)
    pillow = Image.fromarray(x[1, 2].numpy()).resize((target, target), Image.Resampling.BILINEAR)
    torch.testing.assert_close(resized[1, 2], torch.from_numpy(np.array(pillow)), atol=1e-5, rtol=0)


# --- batches and backends ---


@functools.cache
def compiled(backend, batch):
    return backends.BACKENDS[backend](lively_unet(), (torch.zeros(batch, *SHAPE), torch.zeros(1).long()), 1)


@functools.cache
def saved_dip(folder):
    path = folder / "dip.safetensors"
    files.write_safetensors(path, random_dip().state_dict(), {"network": "dip", "image_channels": 1})
    return path


@functools.cache
def loaded_dip(path, backend, batch):
    return generation.load_dip(path, 1, backend, batch, 1)


@pytest.fixture(scope="module")
def dip_file(tmp_path_factory):
    return saved_dip(tmp_path_factory.mktemp("dip"))


def chain(start, backend, batch, indices, dip, steps=20, passes=1):
    """Samples `indices`, in batches of `batch`. dip: a file, or a net used as it is."""
    groups = [indices[i : i + batch] for i in range(0, len(indices), batch)]
    ready = loaded_dip(dip, backend, batch) if isinstance(dip, Path) else dip
    contexts = [context(group, steps, passes, dip=ready) for group in groups]
    return torch.cat([generation.generate(warm_starts.find(start), c, compiled(backend, batch)) for c in contexts])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("start", ["noise", "dip", "mean-image", "dip-every-step"])
def test_a_sample_does_not_depend_on_its_batch(start, backend, dip_file):
    dip = dip_file
    whole = chain(start, backend, 64, range(64), dip)
    torch.testing.assert_close(chain(start, backend, 7, range(64), dip), whole, atol=1e-5, rtol=0)
    some = range(0, 64, 9)  # alone, each of them
    torch.testing.assert_close(chain(start, backend, 1, some, dip), whole[some], atol=1e-5, rtol=0)
    assert (whole[0] - whole[1]).abs().max() > 0.1
    idle_dip = loaded_dip(dip, backend, 64)
    idle = generation.generate(
        warm_starts.find(start), context(range(2), dip=idle_dip), lambda x, t: torch.zeros_like(x)
    )
    assert (whole[:2] - idle).abs().mean() > 0.01  # the net has a say


def test_that_test_sees_a_dip_net_with_batch_statistics():
    dip = random_dip(batch_statistics=True)
    whole, some = (chain("dip-every-step", "torch", batch, range(8), dip, steps=5) for batch in (8, 1))
    assert (whole - some).abs().max() > 1e-3


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("passes", [3, 10])
def test_many_dip_passes_do_not_depend_on_the_batch_either(passes, backend, dip_file):
    """A pass multiplies differences by 6 to 8: after ten, a batch's own rounding would have made other images."""
    whole, sevens, alone = (chain("dip", backend, batch, range(8), dip_file, 0, passes) for batch in (8, 7, 1))
    torch.testing.assert_close(sevens, whole, atol=1e-5, rtol=0)
    torch.testing.assert_close(alone, whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("start", ["noise", "dip", "dip-every-step"])
@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_backends_agree(start, backend, dip_file):
    dip = dip_file
    ours = chain(start, backend, 8, range(20), dip)  # the last batch is padded
    torch.testing.assert_close(ours, chain(start, "torch", 8, range(20), dip), atol=1e-4, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["hw4", "hw4-sees"])
def test_a_backend_runs_the_net_and_keeps_earlier_results(name, backend):
    net = lively_unet(name)
    run = backends.BACKENDS[backend](net, (torch.zeros(4, *SHAPE), torch.zeros(4).long()), 1)
    for n in (4, 3, 1):
        x, t = keyed_noise(0, "latents", range(n), SHAPE), torch.tensor([999, 0, 500, 3])[:n]
        with torch.inference_mode():
            first, expected = run(x, t), net(x, t)
            kept = first.clone()
            run(x + 1, t)
        assert first.shape == x.shape and torch.equal(first, kept)
        torch.testing.assert_close(first, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shape", [(1,), (5,)], ids=["one-for-all", "too-many"])
def test_inputs_of_another_shape_than_compiled_for_are_refused(shape):
    run = backends.with_buffers([torch.zeros(4, 3, 2, 2), torch.zeros(4)], lambda: None, torch.zeros(4, 3, 2, 2))
    run(torch.zeros(2, 3, 2, 2), torch.zeros(2))
    with pytest.raises(ValueError, match=r"\(.*,\) for 3 images, compiled for \(4,\)"):
        run(torch.zeros(3, 3, 2, 2), torch.zeros(shape))
    with pytest.raises(ValueError, match=r"\(3, 1, 2, 2\) for 3 images"):
        run(torch.zeros(3, 1, 2, 2), torch.zeros(3))


@pytest.mark.skipif(backend_choice.resolve("auto") != "openvino", reason="openvino is not installed")
def test_openvino_reports_to_nobody():
    code = f"""
import sys; sys.path.insert(0, {str(ROOT / "src")!r})
import psutil, torch
from ddpm_dip import backends
backends.openvino(torch.nn.Linear(2, 2), (torch.zeros(1, 2),), 1)
assert not psutil.Process().children(), "it has forked"
assert not [name for name in sys.modules if name.startswith("openvino_telemetry.")]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_backend_auto_and_a_missing_openvino(monkeypatch):
    assert backend_choice.resolve("torch") == "torch"
    monkeypatch.setattr(backend_choice.importlib.util, "find_spec", lambda name: None)
    assert backend_choice.resolve("auto") == "torch"
    with pytest.raises(UserError, match=r"sampling\.backend: openvino is not installed"):
        backend_choice.resolve("openvino")


def test_cuda_without_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"sampling\.backend: cuda needs a torch with CUDA"):
        compiled("cuda", 1)
    monkeypatch.setattr(backend_choice.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"sampling\.backend: cuda-bf16 needs an NVIDIA GPU"):
        backend_choice.resolve("cuda-bf16")
    with pytest.raises(UserError, match="device: cuda needs an NVIDIA GPU"):
        backend_choice.resolve("auto", "cuda")
    monkeypatch.setattr(backend_choice.shutil, "which", lambda name: name)
    assert backend_choice.resolve("auto", "cuda") == "cuda" and backend_choice.resolve("torch", "cuda") == "torch"
    assert backend_choice.resolve("openvino", own_environments=True) == "openvino" and backends.device("torch") == "cpu"


# --- the whole step on a device ---


def device_chain(step, device, indices, steps=20):
    return generation.generate(warm_starts.find("noise"), context(indices, steps), None, step=step, device=device)


@torch.inference_mode()
def reference_chain(net, indices, steps=20, clip_x0=False):
    """By `ancestral`, with the noise of a device."""

    def noise(t):
        return on_the_cpu(0, indices, SHAPE, [t])[0]

    x = keyed_noise(0, "latents", indices, SHAPE)
    return ancestral(net.eval(), x, truncated_timesteps(steps), linear_schedule(), noise, clip_x0=clip_x0)


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 16, 20, 33])
def test_a_chain_of_whole_steps_is_the_ancestral_chain(steps, clip):
    """Here on the CPU and not captured."""
    net = lively_unet()
    step = ReverseStep(net, linear_schedule(), clip_x0=clip).eval()
    chain = device_chain(step, "cpu", range(4), steps)
    torch.testing.assert_close(chain, reference_chain(net, range(4), steps, clip), atol=1e-5, rtol=0)
    torch.testing.assert_close(device_chain(step, "cpu", [2], steps), chain[[2]], atol=1e-5, rtol=0)


@pytest.mark.parametrize("device", DEVICES)
def test_one_step_s_noise_is_the_device_s_even_where_the_cpu_makes_the_step(device):
    one = generation.ancestral_noise(3, [7, 2], SHAPE, device)(4)
    expected = (
        keyed_noise(3, "ancestral", [7, 2], SHAPE, 4) if device == "cpu" else on_the_cpu(3, [7, 2], SHAPE, [4])[0]
    )
    torch.testing.assert_close(one, expected, atol=1e-5, rtol=0)


def test_a_chain_of_whole_steps_stays_on_its_device():
    """On `meta`, which has no numbers to wait for, and refuses a tensor of another device."""
    step = ReverseStep(tabulate_time(lively_unet()), linear_schedule(), clip_x0=True).to("meta")
    noise, x = generation.ancestral_noise(0, range(4), SHAPE, "meta"), torch.zeros(4, *SHAPE, device="meta")
    assert ancestral_on_device(step, x, truncated_timesteps(20), noise).is_meta
    with pytest.raises((RuntimeError, NotImplementedError)):
        ancestral_on_device(step, x, truncated_timesteps(20), generation.ancestral_noise(0, range(4), SHAPE, "cpu"))


def test_a_chain_of_whole_steps_shows_each_state():
    seen = {}
    step = ReverseStep(lively_unet(), linear_schedule(), clip_x0=False).eval()
    noise = warm_starts.find("noise")
    generation.generate(noise, context(steps=20), None, step=step, device="cpu", callback=seen.__setitem__)
    assert list(seen) == list(range(19, -1, -1)) and torch.equal(seen[19], keyed_noise(0, "latents", range(4), SHAPE))
    assert len({x.numpy().tobytes() for x in seen.values()}) == 20


@pytest.mark.parametrize("name", ["hw4", "imvfx-sees"])
def test_tabulated_time_is_the_time_mlps(name):
    net, tabulated = lively_unet(name).eval(), tabulate_time(lively_unet(name).eval())
    assert not any(isinstance(module, torch.nn.Linear) for module in tabulated.modules())
    x = keyed_noise(0, "latents", range(5), SHAPE)
    with torch.inference_mode():
        for t in ([0], [999], [0, 1, 500, 998, 999]):
            expected = net(x, torch.tensor(t))
            torch.testing.assert_close(
                tabulated(x, torch.tensor(t)), expected, atol=1e-5 * float(expected.std()), rtol=0
            )


@ON_GPU
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize(("precision", "atol"), [("f32", 1e-4), ("tf32", 0.05), ("bf16", 0.5)])
def test_the_captured_step_is_the_reference(precision, atol, clip):
    net, x = lively_unet(), torch.zeros(8, *SHAPE)
    step = ReverseStep(tabulate_time(lively_unet()), linear_schedule(), clip_x0=clip)
    captured = backends.cuda_graph(step, (x, torch.zeros(1).long(), x), precision)
    whole = device_chain(captured, "cuda", range(8))
    torch.testing.assert_close(whole, reference_chain(net, range(8), clip_x0=clip), atol=atol, rtol=0)
    torch.testing.assert_close(device_chain(captured, "cuda", [3, 5]), whole[[3, 5]], atol=1e-5, rtol=0)


# --- ddim ---


@pytest.mark.parametrize("timesteps", [truncated_timesteps(20), respaced_timesteps(20)], ids=["truncated", "respaced"])
@torch.inference_mode()
def test_ddim_is_a_function_of_its_start_alone(timesteps):
    net, x = lively_unet().eval(), keyed_noise(0, "latents", range(6), SHAPE)
    state = torch.get_rng_state()
    # 1e-4 where images are in [-1, 1]: a respaced chain's first step divides by the root of alpha_bar, 0.006
    whole = ddim(net, x, timesteps, linear_schedule(), clip_x0=True)
    assert whole.dtype == torch.float32 and whole.shape == x.shape and whole.abs().max() <= 1
    assert torch.equal(x, keyed_noise(0, "latents", range(6), SHAPE))  # not changed in place
    assert torch.equal(ddim(net, x, timesteps, linear_schedule(), clip_x0=True), whole)
    for rows in ([5], [3, 1], [0, 2, 4]):
        some = ddim(net, x[rows], timesteps, linear_schedule(), clip_x0=True)
        torch.testing.assert_close(some, whole[rows], atol=1e-4, rtol=0)
    assert torch.equal(torch.get_rng_state(), state)


# --- the scripts ---


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sampling")
    files.write_npz(folder / "data.npz", train=TRAIN, reference=TRAIN)
    header = {"network": "hw4-sees", "image_shape": "1x16x16"}
    files.write_safetensors(folder / "unet.safetensors", lively_unet().state_dict(), header)
    files.write_safetensors(
        folder / "dip.safetensors", random_dip().state_dict(), {"network": "dip", "image_channels": 1}
    )
    return folder


def arguments(made, output, **options):
    options = {"data": made / "data.npz", "weights": made / "unet.safetensors", "dip": made / "dip.safetensors",
               "backend": "torch", "seed": 3, "output": output} | options  # fmt: skip
    return [text for key, value in options.items() if value is not None for text in (f"--{key}", str(value))]


def run_script(name, *args):
    command = [sys.executable, str(SCRIPTS / name), *args]
    return subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=300)


def states(start, n, steps, passes=2):
    """Each state of one chain of n samples, t = K-1 .. -1, all in one batch."""
    kept = []
    last = generation.generate(
        warm_starts.find(start), context(range(n), steps, passes, seed=3, dip=random_dip()), lively_unet().eval(),
        callback=lambda t, x: kept.append(x.clone()),
    )  # fmt: skip
    return torch.stack([*kept, last]).double().numpy()


def test_sample_script(made, tmp_path):
    output = tmp_path / "cell/K0004.npz"
    cell = '{"model": "hw4-sees"}'
    done = run_script("sample.py", *arguments(made, output, start="dip", passes=2, steps=4, n=5, cell=cell))
    assert done.returncode == 0, done.stderr
    file = files.read_npz(output)
    expected = {"samples", "mean_path", "sd_path", "frames", "frame_timesteps", "cell"}
    assert file.keys() == expected and json.loads(str(file["cell"])) == json.loads(cell)
    assert file["samples"].shape == (5, *SHAPE) and file["samples"].dtype == np.float32
    path = states("dip", 5, 4)
    np.testing.assert_allclose(file["samples"], path[-1], atol=1e-4)
    means = path.mean((2, 3, 4))
    np.testing.assert_allclose(file["mean_path"], means.mean(1), atol=1e-5)
    np.testing.assert_allclose(file["sd_path"], means.std(1), atol=1e-5)
    np.testing.assert_allclose(file["mean_path"][-1], file["samples"].mean(), atol=1e-6)
    np.testing.assert_allclose(file["sd_path"][-1], file["samples"].mean((1, 2, 3)).std(), atol=1e-6)
    assert file["frame_timesteps"].tolist() == [3, 2, 1, 0, -1]
    np.testing.assert_allclose(file["frames"], path, atol=2e-3)  # 16-bit
    assert np.array_equal(file["frames"][-1], file["samples"].astype(np.float16))
    record = files.read_json(provenance.beside(output))
    assert record["sha256"] == files.sha256(output) and record["spec"]["steps"] == 4 and record["backend"] == "torch"


def test_sample_script_without_a_sampler(made, tmp_path):
    output = tmp_path / "alone.npz"
    options = {"start": "dip", "passes": 2, "sampler": "none", "n": 5, "weights": None, "backend": None}
    done = run_script("sample.py", *arguments(made, output, **options))
    assert done.returncode == 0, done.stderr
    file = files.read_npz(output)
    start = warm_starts.find("dip").start(context(range(5), 0, 2, seed=3, dip=random_dip())).detach().numpy()
    # from a DIP net's [0, 1]; the default backend rounds in its own way, and two passes make 50 times as much of that
    np.testing.assert_allclose(file["samples"], 2 * start - 1, atol=1e-3)
    assert file["mean_path"].shape == file["sd_path"].shape == (1,)
    np.testing.assert_allclose(file["mean_path"][-1], file["samples"].mean(), atol=1e-6)
    assert file["frame_timesteps"].tolist() == [-1]
    assert np.array_equal(file["frames"][0], file["samples"].astype(np.float16))


def in_process(name, args, monkeypatch):
    monkeypatch.setattr(sys, "argv", [name, *args])
    runpy.run_path(str(SCRIPTS / name), run_name="__main__")


def test_sample_script_over_several_batches(made, tmp_path, monkeypatch):
    output = tmp_path / "many.npz"
    in_process("sample.py", arguments(made, output, start="noise", steps=50, n=70), monkeypatch)
    file = files.read_npz(output)
    path = states("noise", 70, 50)
    np.testing.assert_allclose(file["samples"], path[-1], atol=1e-4)
    np.testing.assert_allclose(file["mean_path"], path.mean((1, 2, 3, 4)), atol=1e-5)
    np.testing.assert_allclose(file["sd_path"], path.mean((2, 3, 4)).std(1), atol=1e-5)
    times = file["frame_timesteps"]
    assert len(times) == 40 and times[0] == 49 and times[-1] == -1 and (np.diff(times) < 0).all()
    assert np.diff(times).min() >= -2  # evenly spread
    np.testing.assert_allclose(file["frames"], path[49 - times, :8], atol=5e-3)


@pytest.mark.parametrize("broken", [{"steps": 0}, {"steps": 1001}, {"weights": None}, {"start": "dip", "dip": None}])
def test_sample_script_refuses_what_cannot_be(made, tmp_path, monkeypatch, capsys, broken):
    options = {"start": "noise", "steps": 4, "n": 2} | broken
    with pytest.raises(SystemExit) as stopped:
        in_process("sample.py", arguments(made, tmp_path / "x.npz", **options), monkeypatch)
    assert stopped.value.code == 2 and "needs --" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_sample_script_refuses_weights_for_other_images(made, tmp_path, monkeypatch, capsys):
    files.write_npz(tmp_path / "other.npz", train=np.zeros((2, 1, 20, 20), np.uint8))
    options = {"data": tmp_path / "other.npz", "start": "noise", "steps": 4, "n": 2}
    with pytest.raises(SystemExit) as stopped:
        in_process("sample.py", arguments(made, tmp_path / "x.npz", **options), monkeypatch)
    error = capsys.readouterr().err
    assert stopped.value.code == 1 and error.startswith("error: ") and error.count("\n") == 1
    assert f"{made / 'unet.safetensors'}: made for images of 1x16x16, not of 1x20x20" in error


def test_timing_script(made, tmp_path, monkeypatch):
    output = tmp_path / "timing.csv"
    args = arguments(made, output, seed=None, steps=4, repeats=3)
    in_process("time_sampling.py", [*args, "--passes", "0", "2", "--batches", "1", "3"], monkeypatch)
    header, *rows = [line.split(",") for line in output.read_text().splitlines()]
    published = "method,passes,steps,batch,device,backend,median_s,q1_s,q3_s,repeats"  # the columns
    assert header == published.split(",")
    assert {tuple(row[:4]) for row in rows} == {
        ("ddpm", "0", "4", "1"), ("ddpm", "0", "4", "3"), ("dip+ddpm", "2", "4", "1"), ("dip+ddpm", "2", "4", "3"),
    }  # fmt: skip
    for row in rows:
        median, q1, q3 = map(float, row[6:9])
        assert row[4:6] == ["cpu", "torch"] and 0 < q1 <= median <= q3 and row[9] == "3"
