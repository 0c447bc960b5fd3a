"""Every layer and every network of `lanes` against PyTorch in float64, forward and backward."""

import copy
import itertools
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ddpm_dip.models import build_unet, lanes_unet
from ddpm_dip.models.lanes_unet import ACTIVATIONS, Parameters
from ddpm_dip.models.unet import tabulate_time
from lanes import tape as tapes
from lanes import vectors
from lanes.engine import Engine
from lanes.tape import Convolution, LayerNorm, Tape

MACHINE = vectors.of_this_machine()
AVX2, AVX512 = (8, 16), (16, 32)  # LLVM makes two vectors of one where the machine has shorter ones
pytestmark = pytest.mark.skipif(MACHINE is None, reason="lanes needs a CPU with AVX2")

conv3 = partial(nn.Conv2d, kernel_size=3, padding=1)
halved = partial(nn.Conv2d, kernel_size=4, stride=2, padding=1)
doubled = partial(nn.ConvTranspose2d, kernel_size=4, stride=2, padding=1)
leaky = partial(nn.LeakyReLU, 0.2)
CHAINS = {  # size, channels, modules; the backward pass of each needs the gradient of the first one's result
    "3x3, few channels": (9, 2, lambda: [conv3(2, 3), nn.SiLU(), conv3(3, 2)]),
    "3x3, Winograd, odd size": (7, 8, lambda: [conv3(8, 11), nn.SiLU(), conv3(11, 20), leaky(), conv3(20, 8)]),
    "3x3, Winograd, whole tiles": (8, 10, lambda: [conv3(10, 10), leaky(), conv3(10, 10)]),
    "3x3, too small for Winograd": (3, 16, lambda: [conv3(16, 8), nn.SiLU(), conv3(8, 8)]),
    "halved and doubled": (12, 3, lambda: [halved(3, 6), leaky(), doubled(6, 3)]),
    "2x2 and back": (6, 4, lambda: [nn.Conv2d(4, 5, 2), nn.SiLU(), nn.ConvTranspose2d(5, 4, 2)]),
    "an odd size halved, then 5x5": (
        7,
        4,
        lambda: [halved(4, 7), nn.ConvTranspose2d(7, 4, 5, stride=2, padding=1), nn.SiLU(), conv3(4, 1)],
    ),
    "norms": (
        5,
        3,
        lambda: [nn.LayerNorm((3, 5, 5)), conv3(3, 9), nn.SiLU(), nn.LayerNorm((9, 5, 5)), conv3(9, 8), conv3(8, 1)],
    ),
}


def described(net: nn.Sequential, tape: Tape, parameters: Parameters, size: int, channels: int):
    y, modules = tape.input("x", size, channels), list(net)
    while modules:
        layer, activation = parameters.of(modules.pop(0)), "none"
        if modules and type(modules[0]) in ACTIVATIONS:
            activation = ACTIVATIONS[type(modules.pop(0))]
        y = tape.norm(y, layer) if isinstance(layer, LayerNorm) else tape.convolution(y, layer, activation)
    return y


def randomized(net: nn.Module) -> nn.Module:
    """Norms and biases begin as ones and zeros, which would hide mistakes."""
    with torch.no_grad():
        for p in net.parameters():
            if p.requires_grad:
                p.add_((0.2 if p.ndim == 3 else 0.03) * torch.randn_like(p))
    return net


def error(found: torch.Tensor, exact: torch.Tensor) -> float:
    return ((found.double() - exact).norm() / exact.norm()).item()


@pytest.mark.parametrize("machine", [AVX2, AVX512], ids=["8 lanes", "16 lanes"])
@pytest.mark.parametrize("name", CHAINS)
def test_layers(name, machine):
    size, channels, modules = CHAINS[name]
    torch.manual_seed(0)
    net = randomized(nn.Sequential(*modules()))
    exact, eager, parameters = copy.deepcopy(net).double(), copy.deepcopy(net), Parameters(net)
    x = torch.randn(machine[0] + 3, channels, size, size)

    tape = Tape(*machine, len(parameters.flat))
    y = described(net, tape, parameters, size, channels)
    tape.output(y)
    engine = Engine(tape)
    engine.load(parameters.padded.numpy())
    wanted = exact(x.double())
    found = torch.from_numpy(engine.forward({"x": x.numpy()}, y))
    assert error(found, wanted.detach()) < max(4 * error(eager(x), wanted).real, 3e-7)

    tape = Tape(*machine, len(parameters.flat), training=True)
    ends = tape.squared_error(described(net, tape, parameters, size, channels))
    engine, target = Engine(tape), torch.randn(wanted.shape)
    engine.load(parameters.padded.numpy())
    loss, gradient = engine.backward({"x": x.numpy(), "target": target.numpy()}, ends)
    exact_loss = F.mse_loss(wanted, target.double())
    exact_loss.backward()
    F.mse_loss(eager(x), target).backward()
    assert loss == pytest.approx(exact_loss.item(), rel=1e-6)
    for p, q, r in zip(net.parameters(), exact.parameters(), eager.parameters(), strict=True):
        mine = torch.from_numpy(gradient[parameters.index[p]])
        assert error(mine, q.grad) < max(4 * error(r.grad, q.grad), 1e-6)


# both networks, `-sees`, odd widths, sizes and channels
NETS = [
    ("hw4", (1, 16, 16), None),
    ("hw4-sees", (3, 20, 20), None),
    ("imvfx", (2, 24, 24), 3),
    ("imvfx-sees", (3, 16, 16), 13),
    pytest.param("hw4", (1, 28, 28), None, marks=pytest.mark.long),
    pytest.param("hw4-sees", (1, 32, 32), None, marks=pytest.mark.long),
    pytest.param("imvfx", (1, 28, 28), 8, marks=pytest.mark.long),
    pytest.param("imvfx", (3, 36, 36), 1, marks=pytest.mark.long),
    pytest.param("imvfx", (3, 64, 64), 32, marks=pytest.mark.long),
]


def as_exact(y, eager, exact):
    """Whether an error is of the size of PyTorch's own, which itself may be twice as large on another CPU."""
    rms, worst = (
        [float(summed(found - exact)) for found in (y, eager)]
        for summed in (lambda d: d.square().mean().sqrt(), lambda d: d.abs().max())
    )
    return rms[0] < max(3 * rms[1], 1e-7) and worst[0] < max(6 * worst[1], 1e-6)


@pytest.mark.parametrize("name, shape, width", NETS)
def test_networks_forward(name, shape, width):
    torch.manual_seed(1)
    net = randomized(build_unet(name, shape, width)).eval()
    x, t = torch.randn(19, *shape), torch.randint(1000, (19,))
    with torch.no_grad():
        exact = copy.deepcopy(net).double()(x.double(), t)
        eager = net(x, t)
        tabulated = tabulate_time(copy.deepcopy(net))
        run = lanes_unet.sampling(tabulated, (x, t), 2)
        y = run(x, t)
        assert as_exact(y, eager, exact)
        # an image's bits depend neither on its batch, nor on the number of threads
        assert torch.equal(run(x[16:18], t[16:18]), y[16:18])
        assert torch.equal(lanes_unet.sampling(copy.deepcopy(tabulated), (x, t), 1)(x[5:], t[5:]), y[5:])
        assert torch.equal(run(x, t[3:4])[3], y[3])
        untabulated = lanes_unet.sampling(net, (x, t), 1)(x, t)
        assert as_exact(untabulated, eager, exact)


class OtherSide(nn.Module):
    """A LeakyReLU in float64 whose slope is the wrong one wherever rounding may move a number across zero."""

    def forward(self, x):
        near = x.abs() < 3e-6 * x.square().mean().sqrt()
        slope = torch.where((x > 0) ^ near, 1.0, 0.2).double()
        return F.leaky_relu(x, 0.2).detach() + slope * (x - x.detach())


def with_other_sides(net: nn.Module) -> nn.Module:
    for name, module in [*net.named_modules()]:
        if isinstance(module, nn.LeakyReLU):
            net.set_submodule(name, OtherSide())
    return net


@pytest.mark.parametrize("name, shape, width", NETS)
def test_gradients_of_networks(name, shape, width):
    """Of every parameter, for whole and partial groups: an error of the size of PyTorch's own.

    The median is within four times PyTorch's, 19 of 20 tensors within eight times its error of the same tensor, or its
    median one where that is larger, and all within four times its worst: a shift before a norm has a gradient of
    differences, which shows all rounding before it more than others do. A LeakyReLU's slope jumps at zero: where
    rounding moves a number across it, a gradient differs by more, in PyTorch as here. How much more is worked out in
    float64, with every number near zero on the other side (64x64 images of width 32 have some 30), and allowed beyond.
    """
    torch.manual_seed(1)
    net = randomized(build_unet(name, shape, width))
    x, t, noise = torch.randn(19, *shape), torch.randint(1000, (19,)), torch.randn(19, *shape)
    exact, eager = copy.deepcopy(net).double(), copy.deepcopy(net)
    crossed = with_other_sides(copy.deepcopy(exact))
    F.mse_loss(exact(x.double(), t), noise.double()).backward()
    F.mse_loss(crossed(x.double(), t), noise.double()).backward()
    F.mse_loss(eager(x, t), noise).backward()
    step = lanes_unet.Step(net, *shape[:2], threads=2)
    loss = step(x, t, noise)
    assert loss == pytest.approx(F.mse_loss(eager(x, t), noise).item(), rel=1e-5)
    errors, largest = {}, max(q.grad.norm() for q in exact.parameters() if q.grad is not None)
    others = (other.parameters() for other in (exact, eager, crossed))
    for (key, p), q, r, c in zip(net.named_parameters(), *others, strict=True):
        if not p.requires_grad:
            continue
        mine = p.grad
        if q.grad is None or q.grad.norm() < 1e-15:
            # a norm that is skipped, a shift that the next norm takes away: zero but for rounding
            assert mine.norm() <= (0 if q.grad is None else max(10 * r.grad.norm(), 1e-7 * largest))
        else:
            errors[key] = error(mine, q.grad) - error(c.grad, q.grad), error(r.grad, q.grad)
    ours, torchs = (np.array(e) for e in zip(*errors.values(), strict=True))
    assert np.median(ours) < 4 * np.median(torchs)
    assert np.quantile(ours / np.maximum(torchs, np.median(torchs)), 0.95) < 8
    assert ours.max() < 4 * torchs.max(), max(errors.items(), key=lambda item: item[1][0])
    gradients = [p.grad for p in net.parameters() if p.requires_grad]
    del step.engine.memories[1:]  # as many threads as there are memories
    assert step(x, t, noise) == loss
    assert all(map(torch.equal, gradients, (p.grad for p in net.parameters() if p.requires_grad)))


def test_nan_stays_in_its_lane_and_is_seen_in_the_loss():
    torch.manual_seed(2)
    net = build_unet("hw4", (1, 16, 16))
    x, t, noise = torch.randn(11, 1, 16, 16), torch.randint(1000, (11,)), torch.randn(11, 1, 16, 16)
    with torch.no_grad():
        run = lanes_unet.sampling(tabulate_time(copy.deepcopy(net)), (x, t), 1)
        good = run(x, t)
        for lane in (0, 7, 9):
            broken = x.clone()
            broken[lane, 0, 3, 3] = torch.nan
            y = run(broken, t)
            others = torch.arange(11) != lane
            assert y[lane].isnan().all() and torch.equal(y[others], good[others])
        assert torch.equal(run(x, t), good)  # nothing of it is left
    step = lanes_unet.Step(net, 1, 16)
    loss = step(x, t, noise)
    gradients = [p.grad for p in net.parameters() if p.requires_grad]
    for lane in (0, 7, 9, 10):
        broken = x.clone()
        broken[lane, 0, 3, 3] = torch.nan
        assert np.isnan(step(broken, t, noise))
    assert step(x, t, noise) == loss  # in absent lanes neither
    assert all(map(torch.equal, gradients, (p.grad for p in net.parameters() if p.requires_grad)))


def test_what_cannot_be_described_is_refused():
    tape = Tape(*AVX2, 10_000)
    weight, bias = np.zeros((4, 4, 7, 7), int), np.zeros(4, int)
    with pytest.raises(ValueError, match="beyond the border of 8 pixels"):
        tape.convolution(tape.input("x", 8, 4), Convolution(weight, bias, padding=3))
    three = Convolution(np.zeros((4, 4, 3, 3), int), bias, padding=1)
    a = tape.convolution(tape.input("y", 8, 4), three)
    with pytest.raises(ValueError, match="only an input"):
        tape.shift(a, tape.input("e", 1, 4))
    b, c = tape.convolution(a, three), tape.convolution(a, three)
    tape.join(a, b)
    with pytest.raises(ValueError, match="each in one join"):
        tape.join(a, c)


def test_memory_is_shared_only_by_maps_of_one_shape_that_do_not_meet():
    class Looking(Tape):
        def resolved(self, calls):  # by now buffers have their places, and calls still say which they use
            self.uses = {}
            for time, call in enumerate(calls):
                for buffer in tapes.buffers(call.arguments):
                    self.uses.setdefault(buffer, []).append(time)
            return super().resolved(calls)

    net = build_unet("imvfx", (1, 16, 16), 8)
    parameters = Parameters(net)
    tape = Looking(*AVX2, len(parameters.flat), training=True)
    tape.squared_error(lanes_unet.describe(net, tape, parameters.of, 1, 16))
    shared = 0
    for one, other in itertools.combinations(tape.uses, 2):
        first, second = sorted((one, other), key=lambda buffer: buffer.start)
        if first.start < second.start:
            assert first.start + first.floats(8) <= second.start
        else:
            shared += 1
            assert (one.size, one.channels) == (other.size, other.channels)
            earlier, later = sorted((tape.uses[one], tape.uses[other]))
            assert earlier[-1] < later[0]
    assert shared > 10


def test_the_exponential_function():
    """Against NumPy's in float64, over all of its range; SiLU is made of it."""
    x = np.linspace(-120, 120, 40_001).astype(np.float32)[:40_000].reshape(-1, 1, 100, 100)[:4]
    one = Convolution(np.zeros((1, 1, 1, 1), int), np.ones(1, int))
    tape = Tape(*AVX2, 2)
    y = tape.convolution(tape.input("x", 100, 1), one, "silu")
    tape.output(y)
    engine = Engine(tape)
    engine.load(np.array([1, 0, 0], np.float32))
    exact = x.astype(np.float64) / (1 + np.exp(-x.astype(np.float64)))
    found = engine.forward({"x": x}, y)
    assert np.abs(found - exact).max() < 3e-5
    normal = np.abs(exact) > 1e-30  # further out the result stays below that
    assert np.abs(found[normal] / exact[normal] - 1).max() < 5e-7
