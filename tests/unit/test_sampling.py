"""Sampling: noise is keyed, samples do not depend on their batch, starts and backends are what they say."""

import functools
import importlib.util
import itertools
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import ddpm_dip.data.torchvision_import  # noqa: F401, before torchvision
from ddpm_dip.jobs.errors import UserError
from ddpm_dip.models import build_dip, build_unet
from ddpm_dip.models.dip_pass import resize
from ddpm_dip.models.scale import to_model_range
from ddpm_dip.models.schedule import linear_schedule, respaced_timesteps, truncated_timesteps
from ddpm_dip.models.unet import tabulate_time
from ddpm_dip.sampling import SAMPLERS, backend_choice, backends, chain, samplers, warm_starts, with_chain
from ddpm_dip.sampling.generators import Weights, dip
from ddpm_dip.sampling.noise import STREAMS, ancestral_noise, device_noise, keyed_noise, philox4x32
from ddpm_dip.study import plugins

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (1, 16, 16)
TRAIN = np.random.default_rng(0).integers(0, 256, (20, *SHAPE), dtype=np.uint8)
ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")
NEEDS_OPENVINO = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")
NEEDS_LANES = pytest.mark.skipif(not backend_choice.has_lanes(), reason="no llvmlite, or a CPU without AVX2")
BACKENDS = [
    "torch",
    pytest.param("openvino", marks=NEEDS_OPENVINO),
    pytest.param("lanes", marks=NEEDS_LANES),
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
    mean = to_model_range(train.mean(0, keepdims=True))
    return with_chain.context_of(
        mean, indices, replicate=seed, steps=steps, passes=passes, schedule=linear_schedule(), dip=dip
    )


@torch.inference_mode()
def generate(name, context, net, callback=lambda t, x: None, sampler="ancestral", timesteps=None):
    """The start `name` and its whole chain, by default the truncated ancestral one, of a net that runs on the CPU."""
    start = warm_starts.find(name)

    def shown(x, t):
        return net(start.see(context, x) if hasattr(start, "see") else x, t)

    noise, x = ancestral_noise(0, context.indices, context.image_shape), warm_starts.draw(start, context)
    timesteps = truncated_timesteps(context.steps) if timesteps is None else timesteps
    return SAMPLERS[sampler](shown, x, timesteps, context.schedule, noise, callback=callback)


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
    for name in ("noise", "dip", "dip-every-step", "mean-image"):
        start = warm_starts.find(name).start
        x = start(context(dip=random_dip()))
        assert x.shape == (4, *SHAPE) and x.dtype == torch.float32 and x.isfinite().all()


def test_what_a_start_needs_is_said_by_a_literal_constant():
    needs = {name: getattr(warm_starts.find(name), "NEEDS", ()) for name in warm_starts.WARM_STARTS}
    assert needs == {
        "noise": (),
        "mean-image": (),
        "gaussian": ("covariance",),
        "gaussian-diag": (),
        "class-gaussians": ("covariance", "labels"),
        "dip": ("dip",),
        "dip-every-step": ("dip",),
        "dip-renoised": ("dip",),
        "dip-matched": ("dip", "covariance"),
        "dip-untrained": ("dip-untrained",),
        "dip-target": (),
        "dip-many": ("dip-many",),
        "gan-renoised": ("gan",),
        "oracle": (),
    }
    for name, expected in needs.items():
        assert plugins.constant("start", name, "NEEDS", ()) == expected


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def begin(context):\n    return 1", r"has no function start\(context\), which a warm start needs"),
        ("start = 3", r"has no function start\(context\)"),
        ("def start():\n    return 1", r"start must be start\(context\): too many positional arguments"),
        ("def start(context, seed):\n    return 1", r"start must be start\(context\): missing a required argument"),
        ("def start(context):\n    return 1\n\n\ndef see(x):\n    return x", r"see must be see\(context, x\): too ma"),
        ("def start(context):\n    return 1\n\n\ndef prepare():\n    return 1", r"prepare must be prepare\(context\)"),
    ],
    ids=["misspelt", "no-function", "no-argument", "two-arguments", "see", "prepare"],
)  # fmt: skip
def test_a_start_that_is_none_is_one_message_that_names_its_file(tmp_path, monkeypatch, code, message):
    (tmp_path / "loud_noise.py").write_text(code + "\n")
    monkeypatch.setattr(warm_starts, "__path__", [str(tmp_path)])
    monkeypatch.setattr(warm_starts, "WARM_STARTS", ("loud-noise",))
    try:
        with pytest.raises(UserError, match=rf"^{tmp_path}/loud_noise\.py: {message}"):
            warm_starts.find("loud-noise")
        with pytest.raises(UserError, match="^start: 'loud_noise' is unknown; known are loud-noise$"):
            warm_starts.find("loud_noise")
    finally:
        sys.modules.pop("ddpm_dip.sampling.warm_starts.loud_noise", None)


@pytest.mark.parametrize(
    ("result", "found"),
    [
        (torch.zeros(4, 1, 28, 28), r"\(4, 1, 28, 28\) torch.float32"),
        (torch.zeros(1, *SHAPE), r"\(1, 1, 16, 16\) torch.float32"),
        (torch.zeros(4, *SHAPE).double(), r"\(4, 1, 16, 16\) torch.float64"),
        (np.zeros((4, *SHAPE), np.float32), "ndarray"),
        (None, "NoneType"),
    ],
    ids=["size", "count", "dtype", "array", "none"],
)
def test_a_start_s_result_is_checked_when_drawn(result, found):
    start = SimpleNamespace(start=lambda context: result, __file__="/my/loud_noise.py")
    right = r"start must return a tensor \(4, 1, 16, 16\) torch\.float32"
    with pytest.raises(UserError, match=rf"^/my/loud_noise\.py: {right}, not {found}$"):
        warm_starts.draw(start, context())


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

        generate(name, context(steps=steps, dip=random_dip()), net, callback=keep)
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

    arms = [
        generate(name, context(steps=3, passes=2, dip=dip), net, callback=lambda t, x: states.append(x.clone()))
        for name in ("dip-every-step", "dip")
    ]
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


FITTED = Weights("dip.safetensors", random_dip().state_dict(), {"network": "dip", "image_channels": "1"})


@functools.cache
def ready_dip(backend, batch):
    return dip.ready(FITTED, 1, backend, 1, batch)


def drawn(start, backend, batch, indices, steps=20, passes=1, **chain):
    """Samples `indices`, in batches of `batch`."""
    groups = [indices[i : i + batch] for i in range(0, len(indices), batch)]
    contexts = [context(group, steps, passes, dip=ready_dip(backend, batch)) for group in groups]
    return torch.cat([generate(start, c, compiled(backend, batch), **chain) for c in contexts])


@pytest.mark.long
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("start", ["noise", "dip", "mean-image", "dip-every-step"])
def test_a_sample_does_not_depend_on_its_batch(start, backend):
    whole = drawn(start, backend, 64, range(64))
    torch.testing.assert_close(drawn(start, backend, 7, range(64)), whole, atol=1e-5, rtol=0)
    some = range(0, 64, 9)  # alone, each of them
    torch.testing.assert_close(drawn(start, backend, 1, some), whole[some], atol=1e-5, rtol=0)
    assert (whole[0] - whole[1]).abs().max() > 0.1
    idle = generate(start, context(range(2), dip=ready_dip(backend, 64)), lambda x, t: torch.zeros_like(x))
    assert (whole[:2] - idle).abs().mean() > 0.01  # the net has a say


@pytest.mark.long
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_respaced_sample_does_not_depend_on_its_batch_either(sampler, backend):
    options = {"sampler": sampler, "timesteps": respaced_timesteps(6, 300)}
    sevens, alone = (drawn("noise", backend, batch, range(9), **options) for batch in (7, 1))
    torch.testing.assert_close(alone, sevens, atol=1e-5 * max(1, float(sevens.abs().max())), rtol=0)


def test_that_test_sees_a_dip_net_with_batch_statistics():
    dip, net = random_dip(batch_statistics=True), lively_unet().eval()
    whole = generate("dip-every-step", context(range(8), 5, dip=dip), net)
    some = torch.cat([generate("dip-every-step", context([index], 5, dip=dip), net) for index in range(8)])
    assert (whole - some).abs().max() > 1e-3


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("passes", [3, 10])
def test_many_dip_passes_do_not_depend_on_the_batch_either(passes, backend):
    """A pass multiplies differences by 6 to 8: after ten, a batch's own rounding would have made other images."""
    whole, sevens, alone = (drawn("dip", backend, batch, range(8), 0, passes) for batch in (64, 7, 1))
    torch.testing.assert_close(sevens, whole, atol=1e-5, rtol=0)
    torch.testing.assert_close(alone, whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("start", ["noise", "dip", "dip-every-step"])
@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_backends_agree(start, backend):
    ours = drawn(start, backend, 7, range(20))  # the last batch is padded
    torch.testing.assert_close(ours, drawn(start, "torch", 7, range(20)), atol=1e-4, rtol=0)


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


@NEEDS_OPENVINO
def test_openvino_reports_to_nobody():
    code = f"""
import sys; sys.path.insert(0, {str(ROOT / "src")!r})
import psutil, torch
from ddpm_dip.sampling import backends
backends.openvino(torch.nn.Linear(2, 2), (torch.zeros(1, 2),), 1)
assert not psutil.Process().children(), "it has forked"
assert not [name for name in sys.modules if name.startswith("openvino_telemetry.")]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_backend_auto_and_what_is_missing(monkeypatch):
    assert backend_choice.resolve("torch") == "torch"
    monkeypatch.setattr(backend_choice, "has_lanes", lambda: True)
    assert backend_choice.resolve("auto", batch=7) in ("openvino", "torch")
    assert backend_choice.resolve("auto", batch=8) == "lanes" == backend_choice.resolve_training("auto")
    assert backend_choice.resolve("lanes", batch=1) == "lanes"
    assert backend_choice.resolve_training("auto", "cuda") == "torch" == backend_choice.resolve_training("torch")
    with pytest.raises(UserError, match=r"training\.backend: lanes is for the CPU, and device is cuda"):
        backend_choice.resolve_training("lanes", "cuda")
    monkeypatch.undo()
    monkeypatch.setattr(backend_choice.importlib.util, "find_spec", lambda name: None)
    assert backend_choice.resolve("auto") == "torch" == backend_choice.resolve_training("auto")
    assert backend_choice.of_dip("lanes") == "torch"
    with pytest.raises(UserError, match=r"sampling\.backend: openvino is not installed"):
        backend_choice.resolve("openvino")
    for resolve, key in ((backend_choice.resolve, "sampling"), (backend_choice.resolve_training, "training")):
        with pytest.raises(UserError, match=rf"{key}\.backend: lanes needs llvmlite .* and a CPU with AVX2"):
            resolve("lanes")
    monkeypatch.undo()
    if backend_choice.has_lanes():
        from lanes import vectors

        monkeypatch.setattr(vectors.binding, "get_host_cpu_features", lambda: {"avx2": False})
        assert not backend_choice.has_lanes()


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

CHAINS = {
    **{f"K={steps}": truncated_timesteps(steps) for steps in (0, 1, 16, 20, 33)},
    "18 of 300": respaced_timesteps(18, 300),
}


def device_chain(sampler, step, indices, timesteps, device="cpu", **options):
    """The chain of `step`, on a device, from the latents of the samples `indices`."""
    x, noise = keyed_noise(0, "latents", indices, SHAPE).to(device), ancestral_noise(0, indices, SHAPE, device)
    return chain.run_on_device(samplers.find(sampler), step, x, timesteps, noise, **options).cpu()


@torch.inference_mode()
def reference_chain(sampler, net, indices, timesteps, clip_x0=False):
    """By the loop of a CPU, with the noise of a device."""

    def noise(t):
        return on_the_cpu(0, indices, SHAPE, [t])[0]

    x = keyed_noise(0, "latents", indices, SHAPE)
    return SAMPLERS[sampler](net.eval(), x, timesteps, linear_schedule(), noise, clip_x0=clip_x0)


def whole_step(sampler, timesteps, clip_x0):
    net = tabulate_time(lively_unet())
    return chain.ReverseStep(net, samplers.find(sampler), timesteps, linear_schedule(), clip_x0).eval()


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("timesteps", CHAINS.values(), ids=CHAINS)
@torch.inference_mode()
def test_a_chain_of_whole_steps_is_the_sampler_s_chain(timesteps, sampler, clip):
    """Here on the CPU and not captured."""
    step = whole_step(sampler, timesteps, clip)
    whole = device_chain(sampler, step, range(4), timesteps)
    expected = reference_chain(sampler, lively_unet(), range(4), timesteps, clip)
    atol = 1e-5 * max(1, float(expected.abs().max()))
    torch.testing.assert_close(whole, expected, atol=atol, rtol=0)
    torch.testing.assert_close(device_chain(sampler, step, [2], timesteps), whole[[2]], atol=atol, rtol=0)


@pytest.mark.parametrize("device", DEVICES)
def test_one_step_s_noise_is_the_device_s_even_where_the_cpu_makes_the_step(device):
    one = ancestral_noise(3, [7, 2], SHAPE, device)(4)
    expected = (
        keyed_noise(3, "ancestral", [7, 2], SHAPE, 4) if device == "cpu" else on_the_cpu(3, [7, 2], SHAPE, [4])[0]
    )
    torch.testing.assert_close(one, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_chain_of_whole_steps_stays_on_its_device(sampler):
    """On `meta`, which has no numbers to wait for, and refuses a tensor of another device."""
    timesteps, module = truncated_timesteps(20), samplers.find(sampler)
    step, x = whole_step(sampler, timesteps, clip_x0=True).to("meta"), torch.zeros(4, *SHAPE, device="meta")
    last = chain.run_on_device(module, step, x, timesteps, ancestral_noise(0, range(4), SHAPE, "meta"))
    assert last.is_meta and last.shape == x.shape
    elsewhere = x if module.ADDS_NOISE else torch.zeros(4, *SHAPE)  # of noise, or else of the start
    with pytest.raises((RuntimeError, NotImplementedError)):
        chain.run_on_device(module, step, elsewhere, timesteps, ancestral_noise(0, range(4), SHAPE, "cpu"))


@pytest.mark.parametrize("sampler", SAMPLERS)
@torch.inference_mode()
def test_a_chain_of_whole_steps_shows_each_state(sampler):
    seen, timesteps = {}, truncated_timesteps(20)
    step = whole_step(sampler, timesteps, clip_x0=False)
    device_chain(sampler, step, range(4), timesteps, callback=seen.__setitem__)
    assert list(seen) == timesteps and torch.equal(seen[19], keyed_noise(0, "latents", range(4), SHAPE))
    assert len({x.numpy().tobytes() for x in seen.values()}) == 20
    assert {x.shape for x in seen.values()} == {(4, *SHAPE)}


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
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("precision", "atol"), [("f32", 1e-4), ("tf32", 0.05), ("bf16", 0.5)])
def test_the_captured_step_is_the_reference(precision, atol, sampler, clip):
    timesteps = truncated_timesteps(20)
    step = whole_step(sampler, timesteps, clip)
    captured = backends.cuda_graph(step, step.example((8, *SHAPE)), precision)
    whole = device_chain(sampler, captured, range(8), timesteps, "cuda")
    expected = reference_chain(sampler, lively_unet(), range(8), timesteps, clip)
    torch.testing.assert_close(whole, expected, atol=atol, rtol=0)
    some = device_chain(sampler, captured, [3, 5], timesteps, "cuda")
    torch.testing.assert_close(some, whole[[3, 5]], atol=1e-5, rtol=0)
