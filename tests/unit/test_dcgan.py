"""DCGAN: the widespread networks' sizes and initialisation; one trajectory whatever its stops; clean failures."""

import copy
import math

import pytest
import torch
from torch import nn

from ddpm_dip.jobs import files
from ddpm_dip.jobs.errors import UserError
from ddpm_dip.models.epochs import epoch_generator
from ddpm_dip.models.families import dcgan
from ddpm_dip.models.networks.dcgan import build_discriminator, build_generator

SHAPE = (1, 16, 16)


def count(net):
    return sum(p.numel() for p in net.parameters())


def nets(shape, width=8):
    torch.manual_seed(0)
    return build_generator(shape, width=width), build_discriminator(shape, width=width)


def images(n, shape=SHAPE, seed=0):
    """Smooth, lopsided pictures in [-1, 1], each another."""
    generator = torch.Generator().manual_seed(seed)
    ramp = torch.linspace(-1, 1, shape[-1])
    return (ramp * torch.rand(n, *shape[:2], 1, generator=generator) - 0.3).clamp(-1, 1)


def latents(n):
    return torch.randn(n, 100, generator=torch.Generator().manual_seed(1))


# --- networks ---


def test_parameter_counts_are_the_widespread_64_px_code_s():
    assert count(build_generator((3, 64, 64))) == 3_576_704
    assert count(build_discriminator((3, 64, 64))) == 2_765_568


@pytest.mark.parametrize("size", [16, 28, 32, 64, 128])
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_and_ranges(channels, size):
    generator, discriminator = nets((channels, size, size), width=4)
    with torch.no_grad():
        made = generator(latents(3))
        logits = discriminator(made)
    assert made.shape == (3, channels, size, size) and -1 <= made.min() < made.max() <= 1
    assert logits.shape == (3,) and logits.isfinite().all()
    assert made.dtype == logits.dtype == torch.float32


@pytest.mark.parametrize(("size", "sides"), [(28, [7, 14, 28]), (16, [4, 8, 16]), (64, [4, 8, 16, 32, 64])])
def test_resolutions_and_channels_double_and_halve(size, sides):
    made, seen = [], []
    generator, discriminator = nets((3, size, size), width=4)
    for net, found, kind in ((generator, made, nn.ConvTranspose2d), (discriminator, seen, nn.Conv2d)):
        for layer in net:
            if isinstance(layer, kind):
                layer.register_forward_hook(lambda _, __, output, found=found: found.append(tuple(output.shape[1:])))
    with torch.no_grad():
        discriminator(generator(latents(2)))
    channels = [4 * 2**level for level in range(len(sides) - 1)]
    assert made == [(c, side, side) for c, side in zip([*reversed(channels), 3], sides, strict=True)]
    assert seen == [(c, side, side) for c, side in zip([*channels, 1], [*reversed(sides[:-1]), 1], strict=True)]


@pytest.mark.parametrize(
    ("shape", "named"), [((1, 20, 20), "20x20"), ((3, 64, 32), "64x32"), ((3, 8, 8), "8x8"), ((1, 56, 56), "56x56")]
)
@pytest.mark.parametrize("build", [build_generator, build_discriminator])
def test_other_sizes_are_refused(build, shape, named):
    with pytest.raises(UserError, match=f"{named}: 16x16, 28x28, 32x32, 64x64 and 128x128 work"):
        build(shape)


@pytest.mark.parametrize("size", [28, 64])
def test_initialisation(size):
    for net in nets((3, size, size), width=64):
        for layer in net:
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                assert layer.bias is None
                assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
                assert abs(layer.weight.mean().item()) < 5 * 0.02 / math.sqrt(layer.weight.numel())
            if isinstance(layer, nn.BatchNorm2d):
                assert layer.weight.mean().item() == pytest.approx(1, abs=0.01)
                assert layer.weight.std().item() == pytest.approx(0.02, rel=0.35)
                assert not layer.bias.any()
        kinds = [type(layer).__name__ for layer in net]
        assert kinds.count("BatchNorm2d") == {28: 2, 64: 4}[size] - (kinds[0] == "Conv2d")
        assert kinds[1] != "BatchNorm2d" and kinds[-2] != "BatchNorm2d"  # not on what the discriminator sees, nor says


@pytest.mark.parametrize("shape", [(1, 16, 16), (1, 28, 28), (3, 64, 64)])
def test_a_sample_does_not_depend_on_its_batch_mates_in_eval_mode(shape):
    trainer = start(shape, batch_size=10)
    dcgan.train_epoch(trainer, images(20, shape))  # statistics that do something
    z = latents(5) * torch.linspace(0.1, 3, 5).view(5, 1)
    net = trainer.generator.eval()
    with torch.no_grad():
        alone = torch.cat([net(row[None]) for row in z])
        torch.testing.assert_close(net(z), alone, atol=1e-6, rtol=0)
        assert (net.train()(z) - alone).abs().max() > 1e-3


def test_the_study_s_constants_are_the_network_s():
    from ddpm_dip.models import networks

    network = networks.find("dcgan", "dcgan")
    assert (network.FAMILY, network.WIDTH, network.SIZES) == ("dcgan", 64, (16, 28, 32, 64, 128))
    assert networks.names("dcgan") == ["dcgan"]
    with pytest.raises(UserError, match="network 'hw4' is unknown; known are dcgan"):
        networks.find("hw4", "dcgan")


# --- training ---


SETTINGS = {
    "model": "gan", "family": "dcgan", "network": "dcgan", "width": 8, "replicate": 0, "epochs": 1, "device": "cpu",
    "batch_size": 8, "lr": 2e-4, "flip": False,
}  # fmt: skip


def start(shape=SHAPE, **settings):
    return dcgan.start(SETTINGS | settings, shape)


def test_the_defaults_are_the_paper_s():
    trainer = start(width=None)
    for optimizer in (trainer.optimizer_g, trainer.optimizer_d):
        assert optimizer.defaults["lr"] == 2e-4 and optimizer.defaults["betas"] == (0.5, 0.999)
    assert trainer.latent_dim == 100 and trainer.discriminator[0].out_channels == 64


@pytest.mark.parametrize("shape", [(1, 16, 16), (1, 28, 28), (3, 32, 32), (3, 64, 64)])
def test_a_step_is_finite_and_moves_every_parameter(shape):
    trainer = start(shape, batch_size=4)
    before = copy.deepcopy((trainer.generator, trainer.discriminator))
    dcgan.train_epoch(trainer, images(4, shape))
    for old, new in zip(before, (trainer.generator, trainer.discriminator), strict=True):
        for p, q in zip(old.parameters(), new.parameters(), strict=True):
            assert q.grad.isfinite().all() and q.isfinite().all() and not torch.equal(p, q)
    assert (trainer.epoch, trainer.step) == (1, 1)


def bce(logits, target):
    p = torch.sigmoid(logits)
    return -(target * p.log() + (1 - target) * (1 - p).log()).mean()


def test_losses_and_step_are_those_computed_by_hand():
    trainer, x = start(lr=0.003, batch_size=6), images(6)
    generator, discriminator = copy.deepcopy((trainer.generator, trainer.discriminator))
    dcgan.train_epoch(trainer, x)

    rng = epoch_generator(0, 1)
    real = x[torch.randperm(6, generator=rng)]
    fake = generator(torch.randn(6, 100, generator=rng))
    loss_d = bce(discriminator(real), 1) + bce(discriminator(fake.detach()), 0)
    loss_d.backward()
    first_step(discriminator, trainer.discriminator, 0.003)
    loss_g = bce(trainer.discriminator.requires_grad_(False)(fake), 1)  # non-saturating, against the net just stepped
    loss_g.backward()
    first_step(generator, trainer.generator, 0.003)
    epoch, d, g, _ = trainer.losses[0]
    assert (epoch, d, g) == (1, pytest.approx(loss_d.item(), rel=1e-5), pytest.approx(loss_g.item(), rel=1e-4))


def first_step(net, moved, lr):
    """Adam's first step is lr g / (|g| + eps)."""
    for p, q in zip(net.parameters(), moved.parameters(), strict=True):
        clear = p.grad.abs() > 1e-4  # below, the step is the sign of a rounding error
        assert clear.any()
        step = lr * p.grad / (p.grad.abs() + 1e-8)
        torch.testing.assert_close(q[clear], (p - step)[clear], atol=1e-5, rtol=0)


def whole_state(trainer):
    tensors, header = dcgan.state_tensors(trainer)
    return {name: tensor.contiguous().numpy().tobytes() for name, tensor in tensors.items()}, header


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 16, 16), (3, 64, 64)])
def test_epochs_in_a_chain_are_one_training(tmp_path, shape):
    def train(trainer, until):
        while trainer.epoch < until:
            dcgan.train_epoch(trainer, images(23, shape))
            trainer.generator.eval()  # as a caller does who samples after each epoch
        return trainer

    whole, lower = train(start(shape, flip=True), 4), train(start(shape, flip=True), 2)
    files.write_safetensors(tmp_path / "state.safetensors", *dcgan.state_tensors(lower))
    chained = start(shape, flip=True)
    dcgan.load_state(chained, *files.read_safetensors(tmp_path / "state.safetensors"))
    assert whole_state(chained) == whole_state(lower)
    train(chained, 4)

    assert whole_state(chained) == whole_state(whole)
    assert [row[:3] for row in chained.losses] == [row[:3] for row in whole.losses[2:]]
    for kind in ("running_mean", "running_var", "num_batches_tracked", "exp_avg_sq", "step"):
        assert any(name.endswith(kind) for name in whole_state(whole)[0])
    assert whole.generator[2].num_batches_tracked == 4 * 3  # once a step; the discriminator sees three batches a step
    assert next(m for m in whole.discriminator if isinstance(m, nn.BatchNorm2d)).num_batches_tracked == 4 * 3 * 3


def test_another_replicate_is_another_training():
    a, b = start(batch_size=4), start(batch_size=4, replicate=1)
    for trainer in (a, b):
        dcgan.train_epoch(trainer, images(8))
    assert a.losses[0][1:3] != b.losses[0][1:3]
    assert not torch.equal(a.generator[1].weight, b.generator[1].weight)


def seen_by(trainer, images):
    """The batches of real images that the discriminator meets in an epoch: every third of its batches."""
    seen = []
    hook = trainer.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    dcgan.train_epoch(trainer, images)
    hook.remove()
    return seen[::3]


@pytest.mark.parametrize(("n", "sizes"), [(24, [8, 8, 8]), (26, [8, 8, 8, 2]), (25, [8, 8, 9]), (5, [5]), (9, [9])])
def test_an_epoch_sees_each_image_once_and_a_last_one_joins_the_batch_before(n, sizes):
    x = images(n)
    seen = seen_by(start(), x)
    assert [len(batch) for batch in seen] == sizes
    assert sorted(image.numpy().tobytes() for image in torch.cat(seen)) == sorted(i.numpy().tobytes() for i in x)


def test_flips_mirror_some_images_and_others_in_each_epoch():
    trainer, x = start(flip=True), images(40)
    mirrored = []
    for _ in range(2):
        met = {image.numpy().tobytes() for image in torch.cat(seen_by(trainer, x))}
        mirrored.append([image.numpy().tobytes() not in met for image in x])
        assert met == {(i.flip(2) if m else i).numpy().tobytes() for i, m in zip(x, mirrored[-1], strict=True)}
        assert 10 <= sum(mirrored[-1]) <= 30
    assert mirrored[0] != mirrored[1]


def test_the_epoch_s_losses_are_means_over_images():
    """Nets that learn nothing (lr 0), without the batch norm that ties images to their batch."""
    trainer = start(lr=0.0)
    for net in (trainer.generator, trainer.discriminator):
        for i, layer in enumerate(net):
            if isinstance(layer, nn.BatchNorm2d):
                net[i] = nn.Identity()
    x, rng, rows = images(20), epoch_generator(0, 1), []
    dcgan.train_epoch(trainer, x)
    with torch.no_grad():
        for indices in torch.randperm(20, generator=rng).split(8):
            fake = trainer.discriminator(trainer.generator(torch.randn(len(indices), 100, generator=rng)))
            d = bce(trainer.discriminator(x[indices]), 1) + bce(fake, 0)
            rows += [(d.item(), bce(fake, 1).item())] * len(indices)
    assert trainer.losses[0][1:3] == pytest.approx([sum(column) / 20 for column in zip(*rows, strict=True)], rel=1e-5)


def test_training_learns_the_images_mean():
    trainer, x = start(lr=2e-3, batch_size=16), images(64)
    z = latents(64)

    def distance():
        with torch.no_grad():
            return (trainer.generator.eval()(z).mean(0) - x.mean(0)).abs().mean().item()

    before = distance()
    for _ in range(30):
        dcgan.train_epoch(trainer, x)
    assert distance() < before / 2


# --- failures ---


@pytest.mark.parametrize(("n", "batch_size"), [(1, 8), (8, 1), (0, 8)])
def test_batches_of_one_image_are_refused(n, batch_size):
    with pytest.raises(UserError, match=f"gan.batch_size: .* 2 images .*given: {batch_size}, of {n} images"):
        dcgan.train_epoch(start(batch_size=batch_size), images(n))


def test_a_loss_that_is_not_finite_stops_and_the_epoch_does_not_count():
    trainer = start(batch_size=4)
    dcgan.train_epoch(trainer, images(8))
    with torch.no_grad():
        trainer.generator[1].weight.fill_(math.nan)
    message = r"gan\.lr: the discriminator's loss became nan at epoch 2, step 3, with learning rate 0\.0002"
    with pytest.raises(UserError, match=message):
        dcgan.train_epoch(trainer, images(8))
    assert trainer.epoch == 1 and len(trainer.losses) == 1


def test_an_epoch_that_ends_in_weights_that_are_not_finite_is_not_a_finished_one():
    trainer = start(lr=1e38)  # one step: the losses are the fresh nets', and finite
    with torch.no_grad():
        trainer.generator[1].weight.fill_(3e38)
    with pytest.raises(UserError, match=r"gan\.lr: .* at epoch 1, step 1, with learning rate 1e\+38"):
        dcgan.train_epoch(trainer, images(4))
    assert trainer.epoch == 0 and trainer.losses == []
