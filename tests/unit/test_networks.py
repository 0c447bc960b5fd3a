"""The U-Nets and the DIP net have the published sizes, cost and behaviour, the published defect included."""

import math

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from ddpm_dip.jobs import files
from ddpm_dip.jobs.errors import UserError
from ddpm_dip.models import build_dip, build_unet, networks
from ddpm_dip.models.unet import sinusoidal_table
from ddpm_dip.sampling.generators import Weights
from ddpm_dip.sampling.generators.unet import ready

UNETS = networks.names("unet")


def count(net, trainable_only=False):
    return sum(p.numel() for p in net.parameters() if p.requires_grad or not trainable_only)


def unet(name="hw4", channels=1, size=28, width=None):
    torch.manual_seed(0)
    return build_unet(name, (channels, size, size), width)


def batch(n=3, channels=1, size=28):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, channels, size, size, generator=generator)
    return x, torch.linspace(0, 999, n).long()


# --- sizes and cost ---


@pytest.mark.parametrize(
    ("name", "channels", "size", "width", "time_dim", "published"),
    [
        ("hw4", 1, 28, None, 100, 606_852),
        ("hw4-sees", 1, 28, None, 100, 605_284),
        ("hw4", 1, 16, None, 100, 508_036),
        ("imvfx", 1, 28, 8, 256, 474_964),
        ("imvfx", 3, 64, 32, 256, 3_679_430),
        ("imvfx-sees", 1, 28, 8, 256, 473_396),
        ("imvfx-sees", 3, 64, 32, 256, 3_654_854),
    ],
)
def test_parameter_counts_are_the_published_ones(name, channels, size, width, time_dim, published):
    net = unet(name, channels, size, width)
    assert count(net) == published
    assert net.time_table.weight.shape == (1000, time_dim) and not net.time_table.weight.requires_grad
    assert count(net, trainable_only=True) == published - 1000 * time_dim


def test_imvfx_has_width_8_unless_told():
    assert count(unet("imvfx")) == count(unet("imvfx", width=8)) < count(unet("imvfx", width=9))


@pytest.mark.parametrize(
    ("name", "width", "message"),
    [
        ("hw4", 10, "'hw4' takes no width: as published, its own is 10"),
        ("hw4-sees", 8, "'hw4-sees' takes no width"),
        ("imvfx", 0, "'imvfx' cannot have width 0: whole numbers from 1 up work"),
    ],
)
def test_wrong_widths_are_refused(name, width, message):
    with pytest.raises(UserError, match=message):
        unet(name, width=width)


@pytest.mark.parametrize(("name", "width"), [("hw4", None), ("imvfx", None), ("imvfx", 12)])
def test_a_weights_file_says_its_net_s_width(tmp_path, name, width):
    net, (x, t) = unet(name, size=16, width=width), batch(2, size=16)
    header = {"network": name, "image_shape": "1x16x16"} | ({"width": width} if width else {})
    path = tmp_path / "weights.safetensors"
    files.write_safetensors(path, {f"ema.{key}": x for key, x in net.state_dict().items()}, header)
    loaded, _ = ready(Weights(path, *files.read_safetensors(path)), "ema", (1, 16, 16))
    with torch.no_grad():
        torch.testing.assert_close(loaded(x, t), net(x, t), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("name", "weights", "output"),
    [("hw4", 150823.632103, 0.0713894), ("hw4-sees", 150037.444048, 0.0103878)],
)
def test_a_seed_still_gives_the_same_net(name, weights, output):
    """Sums of |weights| and means of |output| from before the builder knew other networks."""
    net, (x, _) = unet(name), batch()
    assert sum(p.double().abs().sum().item() for p in net.parameters()) == pytest.approx(weights, rel=1e-9)
    with torch.no_grad():
        assert net(x, torch.tensor([0, 500, 999])).abs().mean().item() == pytest.approx(output, rel=1e-4)


def test_dip_parameter_count_is_the_published_one():
    assert count(build_dip()) == count(build_dip(), trainable_only=True) == 36_953


def test_cost_is_the_published_one():
    net = unet()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(*batch(1))
    assert counter.get_total_flops() == pytest.approx(49.9e6, rel=0.01)


@pytest.mark.parametrize("name", UNETS)
@pytest.mark.parametrize("size", [16, 20, 28, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_output_has_the_input_s_shape(name, size, channels):
    x, t = batch(2, channels, size)
    with torch.no_grad():
        predicted = unet(name, channels, size)(x, t)
    assert predicted.shape == x.shape and predicted.dtype == torch.float32 and predicted.isfinite().all()


@pytest.mark.parametrize(
    ("shape", "named"), [((1, 28, 32), "28x32"), ((1, 30, 30), "30x30"), ((1, 12, 12), "12x12"), ((3, 8, 8), "8x8")]
)
@pytest.mark.parametrize("name", ["hw4", "imvfx"])
def test_wrong_sizes_are_refused(name, shape, named):
    with pytest.raises(UserError, match=f"{named}: square sizes divisible by 4, from 16 up, work"):
        build_unet(name, shape)


def test_an_unknown_name_is_refused():
    with pytest.raises(UserError, match="'hw5' is unknown; known are hw4, hw4-sees, imvfx, imvfx-sees"):
        build_unet("hw5", (1, 28, 28))


def test_networks_are_found_by_their_file_s_name_and_family():
    assert {"hw4", "hw4-sees", "imvfx", "imvfx-sees"} <= set(UNETS) and "dcgan" not in UNETS
    assert [name for name in UNETS if hasattr(networks.find(name, "unet"), "WIDTH")] == ["imvfx", "imvfx-sees"]
    for name in UNETS:
        network = networks.find(name, "unet")
        assert network.PLAN.width == getattr(network, "WIDTH", network.PLAN.width)
    for other in ("dcgan", "__init__", "", "hw4/../hw4"):
        with pytest.raises(UserError, match=f"network {other!r} is unknown; known are hw4, hw4-sees, imvfx"):
            build_unet(other, (1, 28, 28))


def test_a_network_can_be_added_as_a_file(tmp_path, monkeypatch):
    from pathlib import Path

    (tmp_path / "narrow_one.py").write_text(
        "from ddpm_dip.models.networks import hw4\n\nFAMILY = 'unet'\nPLAN = hw4.PLAN._replace(width=2)\n"
    )
    for path in Path(networks.__file__).parent.glob("*.py"):
        (tmp_path / path.name).write_text(path.read_text())
    monkeypatch.setattr(networks, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(networks, "__path__", [str(tmp_path), *networks.__path__])
    assert networks.names("unet") == sorted([*UNETS, "narrow-one"])
    assert count(unet("narrow-one")) < count(unet("hw4"))


def test_the_study_knows_the_same_networks():
    from ddpm_dip.study import plugins

    assert [name for name in plugins.names("network") if plugins.constant("network", name, "FAMILY") == "unet"] == UNETS
    free = [name for name in plugins.names("network") if plugins.constant("network", name, "WIDTH") is not None]
    assert free == ["dcgan", *(name for name in UNETS if hasattr(networks.find(name, "unet"), "WIDTH"))]
    assert plugins.constant("network", "dcgan", "SIZES") == networks.find("dcgan", "dcgan").SIZES


# --- structure: the forward passes as SPEC words them, in plain functions on the nets' own weights ---


def silu(h):
    return h * torch.sigmoid(h)


def leaky(h):
    return torch.where(h > 0, h, 0.2 * h)


def unet_by_hand(net, x, t, first_norm=True, imvfx=False):
    weights = net.state_dict()
    act = leaky if imvfx else silu

    def conv(name, h, **how):
        return F.conv2d(h, weights[f"{name}.weight"], weights[f"{name}.bias"], **how)

    def up(name, h, **how):
        return F.conv_transpose2d(h, weights[f"{name}.weight"], weights[f"{name}.bias"], **how)

    def linear(name, h):
        return F.linear(h, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def stage(name, h):
        mlp = f"time_mlps.{name}"
        time = linear(f"{mlp}.2", silu(linear(f"{mlp}.0", weights["time_table.weight"][t])))
        h = h + time[:, :, None, None]
        blocks = 3 if not imvfx else 2 if name == "b_out" else 1
        for i in range(blocks):
            block = f"stages.{name}.{i}"
            assert f"stages.{name}.{blocks}.conv1.weight" not in weights
            if (name, i) != ("b_out", 2) and (first_norm or (name, i) != ("b1", 0)):
                mean, variance = h.mean((1, 2, 3), keepdim=True), h.var((1, 2, 3), keepdim=True, correction=0)
                h = (h - mean) / (variance + 1e-5).sqrt() * weights[f"{block}.norm.weight"] + weights[
                    f"{block}.norm.bias"
                ]
            h = conv(f"{block}.conv1", h, padding=1)
            h = act(conv(f"{block}.conv2", h if imvfx else act(h), padding=1))
        return h

    h1 = stage("b1", x)
    h2 = stage("b2", conv("down1", h1, stride=2, padding=1))
    h3 = stage("b3", conv("down2", h2, stride=2, padding=1))
    h = stage("mid", conv("down3.2", act(conv("down3.0", h3)), stride=2, padding=1))
    h = up("up1.2", act(up("up1.0", h, stride=2, padding=1)))
    h = up("up2", stage("b4", torch.cat([h3, h], 1)), stride=2, padding=1)
    h = up("up3", stage("b5", torch.cat([h2, h], 1)), stride=2, padding=1)
    return conv("conv_out", stage("b_out", torch.cat([h1, h], 1)), padding=1)


def stirred(net, seed=0):
    """Every weight moved, so that norms' parameters do something and later stages are heard over biases."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net.parameters():
            if p.requires_grad:
                p += 0.1 * torch.randn(p.shape, generator=generator)
    return net.double()


@pytest.mark.parametrize(
    ("name", "channels", "size"),
    [("hw4", 1, 28), ("hw4-sees", 1, 28), ("imvfx", 1, 28), ("imvfx", 3, 64), ("imvfx-sees", 1, 28)],
)
def test_forward_pass_is_the_published_one(name, channels, size):
    net, (x, t) = stirred(unet(name, channels, size)), batch(3, channels, size)
    with torch.no_grad():
        expected = unet_by_hand(net, x.double(), t, "sees" not in name, "imvfx" in name)
        torch.testing.assert_close(net(x.double(), t), expected, atol=1e-9, rtol=1e-9)


def dip_by_hand(net, x):
    """One image at a time; layers are met in the order of SPEC's sentence, and taken from the net's in that order."""
    scales = {1: net[0], 2: net[0].deeper[6], 3: net[0].deeper[6].deeper[6]}

    def conv(layer, h, stride=1):
        edge = layer.weight.shape[-1] // 2
        return F.conv2d(F.pad(h, (edge,) * 4, mode="reflect"), layer.weight, layer.bias, stride=stride)

    def norm(layer, h):
        return F.batch_norm(h, None, None, layer.weight, layer.bias, training=True)

    def act(h):
        return torch.where(h > 0, h, 0.2 * h)

    def scale(level, h):
        own = scales[level]
        deeper = act(norm(own.deeper[1], conv(own.deeper[0], h, stride=2)))
        deeper = act(norm(own.deeper[4], conv(own.deeper[3], deeper)))
        if level < 3:
            deeper = scale(level + 1, deeper)
        deeper = F.interpolate(deeper, scale_factor=2, mode="bilinear")
        if level > 1:
            deeper = torch.cat([act(norm(own.skip[1], conv(own.skip[0], h))), deeper], 1)
        h = norm(own.merge[0], deeper)
        h = act(norm(own.merge[2], conv(own.merge[1], h)))
        return act(norm(own.merge[5], conv(own.merge[4], h)))

    return torch.cat([torch.sigmoid(conv(net[1], scale(1, image[None]))) for image in x])


def test_dip_forward_pass_is_the_published_one():
    net, (x, _) = stirred(build_dip()), batch(3, size=32)
    with torch.no_grad():
        torch.testing.assert_close(net(x.double()), dip_by_hand(net, x.double()), atol=1e-9, rtol=0)


# --- time ---


def test_time_table_is_the_published_formula():
    table = sinusoidal_table(1000, 100)
    for t in (0, 1, 17, 500, 999):
        for i in range(50):
            angle = t * 10_000 ** (-4 * i / 100)
            assert table[t, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert table[t, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)
    assert torch.equal(unet().time_table.weight, table)


@pytest.mark.parametrize("name", UNETS)
@pytest.mark.parametrize(("channels", "size"), [(1, 16), (1, 28), (3, 64)])
def test_a_sample_does_not_depend_on_its_batch_mates(name, channels, size):
    net, (x, t) = unet(name, channels, size), batch(4, channels, size)
    x *= torch.linspace(0.1, 3, 4).view(4, 1, 1, 1)
    with torch.no_grad():
        alone = torch.cat([net(row[None], time[None]) for row, time in zip(x, t, strict=True)])
        torch.testing.assert_close(net(x, t), alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["hw4", "imvfx"])
def test_each_sample_sees_its_own_time(name):
    x, _ = batch(1)
    times = torch.tensor([0, 400, 999])
    with torch.no_grad():
        net = unet(name)
        together = net(x.expand(3, -1, -1, -1), times)
        for row, t in zip(together, times, strict=True):
            torch.testing.assert_close(row, net(x, t[None])[0], atol=1e-6, rtol=0)
    assert (together[0] - together[1]).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["hw4", "imvfx"])
@pytest.mark.parametrize("stage", ["b1", "b2", "b3", "mid", "b4", "b5", "b_out"])
def test_time_enters_each_stage(name, stage):
    """Blind as they are, the nets' first stage cannot see its own time offset: there, the corrected ones show it."""
    net = unet(f"{name}-sees" if stage == "b1" else name)
    with torch.no_grad():
        before = net(*batch())
        assert torch.equal(net(*batch()), before)
        net.time_mlps[stage][-1].bias += torch.linspace(-5, 5, len(net.time_mlps[stage][-1].bias) + 1)[1:]
        assert (net(*batch()) - before).abs().max() > 1e-5


# --- the published defect: blind to brightness and contrast ---


def change_under(net, a, b, channels=1):
    """The largest change of net(x, t) as x becomes a x + b, in units of the output's spread over samples."""
    x, t = batch(4, channels)
    t = torch.full_like(t, 300)
    with torch.no_grad():
        before, after = net(x, t), net(a * x + b, t)
    return ((after - before).abs().max() / (before - before.mean(0)).std()).item()


AFFINE = [(1, 5), (3, 0), (0.2, -2), (3, 0.7)]


@pytest.mark.parametrize("name", ["hw4", "imvfx"])
@pytest.mark.parametrize(("a", "b"), AFFINE)
def test_published_nets_are_blind_to_brightness_and_contrast(name, a, b):
    # LayerNorm scales by sqrt(v / (v + eps)): at the least variance here, 0.04, eps = 1e-5 changes it by 1.3e-4
    assert change_under(unet(name), a, b) < 1e-3


@pytest.mark.parametrize("name", ["hw4", "imvfx"])
@pytest.mark.parametrize(("a", "b"), AFFINE)
def test_published_nets_are_exactly_blind_but_for_eps(name, a, b):
    net = unet(name)
    net.stages["b1"][0].norm.eps = 0
    x, t = batch()
    with torch.no_grad():
        net = net.double()
        torch.testing.assert_close(net(a * x.double() + b, t), net(x.double(), t), atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", ["hw4-sees", "imvfx-sees"])
@pytest.mark.parametrize(("a", "b"), AFFINE)
def test_corrected_nets_are_not_blind(name, a, b):
    assert change_under(unet(name), a, b) > 0.3


@pytest.mark.parametrize("name", ["hw4", "imvfx"])
@pytest.mark.parametrize(("a", "b"), [(3, 0), (0.2, -2)])
def test_published_nets_are_blind_in_colour_too(name, a, b):
    assert change_under(unet(name, channels=3), a, b, channels=3) < 1e-3


def test_hw4_s_last_layer_norm_is_a_parameter_that_does_nothing():
    net = unet()
    norm = net.stages["b_out"][-1].norm
    with torch.no_grad():
        before = net(*batch())
        norm.weight += 3
        norm.bias -= 5
        assert torch.equal(net(*batch()), before)
    assert count(norm, trainable_only=True) == 2 * 10 * 28 * 28


@pytest.mark.parametrize("name", UNETS)
@pytest.mark.parametrize(("channels", "size"), [(1, 16), (1, 28), (3, 32), (3, 64)])
def test_gradients_are_finite_and_reach_every_parameter_but_that(name, channels, size):
    net = unet(name, channels, size)
    net(*batch(2, channels, size)).square().mean().backward()
    unreached = {key for key, p in net.named_parameters() if p.requires_grad and p.grad is None}
    skipped = {"stages.b_out.2.norm.weight", "stages.b_out.2.norm.bias"}
    assert unreached == (skipped if name.startswith("hw4") else set())
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)


# --- DIP ---


def dips(channels=1):
    """The same weights, with per-image and with batch statistics; affine parameters that do something."""
    torch.manual_seed(0)
    alone, together = build_dip(channels), build_dip(channels, batch_statistics=True)
    for p in alone.parameters():
        if p.dim() == 1:
            torch.nn.init.uniform_(p, 0.5, 1.5)
    together.load_state_dict(alone.state_dict())
    return alone, together


@pytest.mark.parametrize("channels", [1, 3])
def test_dip_keeps_the_shape_and_draws_in_0_1(channels):
    x, _ = batch(2, channels, 32)
    with torch.no_grad():
        output = build_dip(channels)(x)
    assert output.shape == x.shape and 0 <= output.min() < output.max() <= 1


def test_dip_treats_each_image_by_itself():
    alone, _ = dips()
    x = batch(5, size=32)[0] * torch.linspace(0.1, 3, 5).view(5, 1, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(alone(x), torch.cat([alone(row[None]) for row in x]), atol=1e-5, rtol=0)


def test_dip_keeps_no_running_statistics():
    x, _ = batch(size=32)
    for net in dips():
        assert not list(net.buffers())
        with torch.no_grad():
            torch.testing.assert_close(net.eval()(x), net.train()(x), atol=0, rtol=0)


def test_batch_statistics_equal_it_for_one_image_and_not_for_more():
    alone, together = dips()
    x = batch(5, size=32)[0] * torch.linspace(0.1, 3, 5).view(5, 1, 1, 1)
    with torch.no_grad():
        for row in x:
            torch.testing.assert_close(together(row[None]), alone(row[None]), atol=1e-5, rtol=0)
        assert (together(x) - alone(x)).abs().max() > 0.01
