"""Each warm start against its formula, written anew; its moments; and that it depends on no batch."""

import numpy as np
import pytest
import scipy.linalg
import torch
from drawing import SHAPE, random_dip, random_gan
from scipy.stats import norm
from sklearn.datasets import load_digits

from ddpm_dip.jobs.errors import UserError
from ddpm_dip.models import build_dip
from ddpm_dip.models.dip_pass import resize
from ddpm_dip.models.schedule import linear_schedule
from ddpm_dip.sampling import gaussians, warm_starts, with_chain
from ddpm_dip.sampling.generators import Weights
from ddpm_dip.sampling.noise import keyed_noise
from ddpm_dip.sampling.warm_starts import dip_matched

DIGITS = load_digits()
TRAIN = np.kron(DIGITS.images[:400, None] * 255 / 16, np.ones((2, 2))).astype(np.uint8)  # (400, 1, 16, 16)
LABELS = DIGITS.target[:400].astype(np.int64)
PIXELS = TRAIN.reshape(400, -1) / 127.5 - 1
DIP = Weights("dip", random_dip().state_dict(), {"network": "dip", "image_channels": "1"})
GAN = Weights(
    "gan",
    {f"last.{name}": tensor for name, tensor in random_gan().state_dict().items()},
    {"family": "dcgan", "network": "dcgan", "image_shape": "1x16x16", "latent_dim": "100", "width": "8"},
)
REPLICATE = 3
KS = [1, 100, 1000]


@pytest.fixture(autouse=True)
def few_outputs(monkeypatch):
    """Of the DIP net for dip-matched, which draws them one by one."""
    assert dip_matched.DRAWS == 1024
    monkeypatch.setattr(dip_matched, "DRAWS", 40)


def alpha_bar(steps):
    return np.prod(1 - np.linspace(1e-4, 0.02, 1000)[:steps])


def contexts(name, steps=100, passes=1, train=TRAIN, labels=LABELS, dip=DIP, gan=GAN, replicate=REPLICATE):
    return with_chain.contexts(
        warm_starts.find(name), steps=steps, passes=passes, replicate=replicate, schedule=linear_schedule(),
        train=train, labels=labels, dip=dip, gan=gan, backend="torch", threads=1, batch=64,
    )  # fmt: skip


@torch.inference_mode()
def drawn(name, indices, steps=100, **options):
    """x of the samples `indices` in one batch, (n, 256) float64."""
    x = warm_starts.draw(warm_starts.find(name), contexts(name, steps, **options)(indices))
    return x.double().numpy().reshape(len(indices), -1)


def latents(indices):
    return keyed_noise(REPLICATE, "latents", indices, SHAPE).double().numpy().reshape(len(indices), -1)


def uniforms(indices):
    return norm.cdf(keyed_noise(REPLICATE, "choices", indices, (1,)).double().numpy()[:, 0])


def q_sample(x_0, indices, steps):
    a = alpha_bar(steps)
    return a**0.5 * x_0 + (1 - a) ** 0.5 * latents(indices)


def coloured(pixels, indices, steps):
    """sqrt(a) mean + (a covariance + (1 - a) I)^(1/2) z, by SciPy's root of a matrix."""
    a = alpha_bar(steps)
    covariance = a * np.cov(pixels.T, bias=True) + (1 - a) * np.eye(256)
    return a**0.5 * pixels.mean(0) + latents(indices) @ scipy.linalg.sqrtm(covariance).real


# --- formulas


@pytest.mark.parametrize("steps", KS)
def test_gaussian_is_coloured_noise(steps):
    np.testing.assert_allclose(drawn("gaussian", range(5), steps), coloured(PIXELS, range(5), steps), atol=1e-5)


@pytest.mark.parametrize("steps", KS)
def test_gaussian_diag_scales_each_pixel(steps):
    a = alpha_bar(steps)
    expected = a**0.5 * PIXELS.mean(0) + (a * PIXELS.var(0) + 1 - a) ** 0.5 * latents(range(5))
    np.testing.assert_allclose(drawn("gaussian-diag", range(5), steps), expected, atol=1e-5)


def test_class_gaussians_is_the_gaussian_of_the_keyed_class():
    indices, x = range(12), drawn("class-gaussians", range(12))
    bounds = np.cumsum(np.bincount(LABELS)) / len(LABELS)
    classes = [int(np.argmax(u < bounds)) for u in uniforms(indices)]
    assert len(set(classes)) > 4
    for index, of in zip(indices, classes, strict=True):
        np.testing.assert_allclose(x[[index]], coloured(PIXELS[of == LABELS], [index], 100), atol=1e-5)


def test_classes_need_not_be_numbered_from_0_without_gaps():
    moved = np.array([4, 7, 11, 20, 21, 22, 30, 31, 40, 100])[LABELS]
    assert np.array_equal(drawn("class-gaussians", range(6), labels=moved), drawn("class-gaussians", range(6)))


@pytest.mark.parametrize("steps", KS)
def test_oracle_is_q_sample_of_the_keyed_training_image(steps):
    chosen = np.floor(uniforms(range(9)) * 400).astype(int)
    assert len(set(chosen)) > 5
    np.testing.assert_allclose(drawn("oracle", range(9), steps), q_sample(PIXELS[chosen], range(9), steps), atol=1e-5)


def test_dip_target_is_q_sample_of_the_fitted_image():
    np.testing.assert_allclose(drawn("dip-target", range(3)), q_sample(PIXELS[REPLICATE], range(3), 100), atol=1e-5)
    with pytest.raises(UserError, match=r"seeds\.replicates: 400 is the number of the training image .* are 400"):
        drawn("dip-target", [0], replicate=400)


@torch.inference_mode()
def dip_output(net, stream, indices, passes):
    """On the model's scale, (n, 256)."""
    images = keyed_noise(REPLICATE, stream, indices, (1, 32, 32))
    for _ in range(passes):
        images = torch.cat([net(image[None]) for image in images])
    return 2 * resize(images, 16).double().numpy().reshape(len(indices), -1) - 1


def untrained():
    torch.manual_seed(REPLICATE)
    return build_dip(1)


@pytest.mark.parametrize(
    ("name", "net"), [("dip-renoised", random_dip), ("dip-many", random_dip), ("dip-untrained", untrained)]
)
def test_dip_output_re_noised(name, net):
    """Of the net that the start asks for: the one given, or random weights whatever is given."""
    given = None if name == "dip-untrained" else DIP
    for passes in (1, 2):
        expected = q_sample(dip_output(net(), "dip-latents", range(3), passes), range(3), 100)
        np.testing.assert_allclose(drawn(name, range(3), passes=passes, dip=given), expected, atol=1e-4)
    published = drawn("dip", range(3), passes=2)
    assert published.min() >= 0 and published.max() <= 1  # not re-noised, not on the model's scale


def test_dip_matched_is_the_gaussian_of_other_outputs():
    outputs = dip_output(random_dip(), "dip-moments", range(40), 1)
    np.testing.assert_allclose(drawn("dip-matched", range(4)), coloured(outputs, range(4), 100), atol=1e-4)


def test_gan_renoised_is_q_sample_of_the_gan_s_own_samples():
    with torch.inference_mode():
        images = random_gan()(keyed_noise(REPLICATE, "gan-latents", range(4), (100,))).double().numpy()
    expected = q_sample(images.reshape(4, -1), range(4), 100)
    np.testing.assert_allclose(drawn("gan-renoised", range(4)), expected, atol=1e-5)


# --- moments, and what is shared


@pytest.mark.parametrize("name", ["gaussian", "gaussian-diag", "class-gaussians", "oracle"])
def test_moments_of_many_draws_are_those_that_the_chain_expects(name):
    """Mean and variance of each pixel, and of each principal component where the start knows of covariances.

    Each bound is five standard errors, with the fourth moment of the draws themselves.
    """
    n, steps = 4000, 100
    x, a = drawn(name, range(n), steps), alpha_bar(steps)
    deviations = x - a**0.5 * PIXELS.mean(0)
    axes = np.eye(256)
    if name != "gaussian-diag":
        axes = np.concatenate([axes, np.linalg.svd(PIXELS - PIXELS.mean(0))[2][:30]])
    along, wanted = deviations @ axes.T, a * (PIXELS @ axes.T).var(0) + 1 - a
    assert (np.abs(along.mean(0)) < 5 * (wanted / n) ** 0.5).all()
    assert (np.abs((along**2).mean(0) - wanted) < 5 * (along**2).std(0) / n**0.5).all()


def test_choices_have_their_weights():
    n, weights = 20_000, torch.tensor([1, 0, 5, 2, 0])
    context = with_chain.context_of(
        torch.zeros(1, *SHAPE), range(n), replicate=0, steps=5, passes=None, schedule=linear_schedule(), dip=None
    )
    counts = np.bincount(context.pick(weights).numpy(), minlength=5)
    shares = np.array([1, 0, 5, 2, 0]) / 8
    assert (np.abs(counts - n * shares) <= 5 * (n * shares * (1 - shares)) ** 0.5).all()


@pytest.mark.parametrize("name", warm_starts.WARM_STARTS)
def test_a_start_is_a_function_of_replicate_and_index_alone(name):
    whole = drawn(name, range(6))
    assert whole.shape == (6, 256) and np.isfinite(whole).all() and np.abs(whole[0] - whole[1]).max() > 1e-3
    np.testing.assert_allclose(drawn(name, [4, 1]), whole[[4, 1]], atol=1e-6)
    np.testing.assert_allclose(drawn(name, [5]), whole[[5]], atol=1e-6)
    assert np.abs(drawn(name, [5], replicate=2) - whole[[5]]).max() > 1e-3


@pytest.mark.parametrize("name", ["gaussian", "gaussian-diag", "class-gaussians", "dip-matched"])
def test_what_is_the_same_for_all_samples_is_computed_once(name, monkeypatch):
    start = warm_starts.find(name)
    real, calls = start.prepare, []
    monkeypatch.setattr(start, "prepare", lambda context: calls.append(len(context.indices)) or real(context))
    make = contexts(name)
    with torch.inference_mode():
        batches = [warm_starts.draw(start, make(range(first, first + 3))) for first in (0, 3, 6)]
    assert calls == [0] and torch.cat(batches).isfinite().all()


# --- what cannot be


def test_a_covariance_of_too_many_pixels_is_refused():
    at_the_limit = gaussians.moments([torch.zeros(2, 1, 64, 64)])[1]
    assert at_the_limit.shape == (4096, 4096)
    with pytest.raises(
        UserError, match=r"data\.image_size and data\.channels make 12288 .* most 4096: .*gaussian-diag"
    ):
        contexts("gaussian", train=np.zeros((2, 3, 64, 64), np.uint8))


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("dip-renoised", {"dip": None}, "the start dip-renoised needs the input `dip`, and passes from 1 up"),
        ("dip-untrained", {"passes": None}, "the start dip-untrained needs the input `dip`, and passes from 1 up"),
        ("gan-renoised", {"gan": None}, "the start gan-renoised needs the input `gan`, the weights of a DCGAN"),
        ("gan-renoised", {"gan": DIP}, "dip: not the weights of a DCGAN's generator, but of dip"),
        ("class-gaussians", {"labels": None}, "the start class-gaussians needs the labels of the training images"),
        ("class-gaussians", {"labels": np.zeros(0, np.int64)}, "needs the labels of the training images"),
    ],
)
def test_what_a_start_needs_and_does_not_get_is_named(name, options, says):
    with pytest.raises(UserError, match=says):
        contexts(name, **options)


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 48, 48)], ids=str)
@pytest.mark.parametrize("name", ["dip", "dip-renoised", "dip-untrained", "dip-every-step"])
def test_dip_starts_work_at_any_size_and_channel_count(name, shape, size):
    train = np.random.default_rng(0).integers(0, 256, (4, *shape), dtype=np.uint8)
    header = {"network": "dip", "image_channels": str(shape[0]), "size": str(size)}
    dip = Weights("dip", build_dip(shape[0]).state_dict(), header)
    start = warm_starts.find(name)
    context = with_chain.contexts(
        start, steps=50, passes=2, replicate=0, schedule=linear_schedule(), train=train, dip=dip, dip_size=size,
        backend="torch", threads=1, batch=2,
    )(range(2))  # fmt: skip
    with torch.inference_mode():
        x = warm_starts.draw(start, context)
        seen = start.see(context, x) if hasattr(start, "see") else x
        passed = context.dip(torch.zeros(1, shape[0], size, size))
    assert x.shape == seen.shape == (2, *shape) and context.dip_size == size
    assert passed.shape == (1, shape[0], size, size)
