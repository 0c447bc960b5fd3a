"""A U-Net of the builder as a program of `lanes`: to sample with, and to train."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from lanes import vectors
from lanes.engine import Engine
from lanes.tape import Convolution, LayerNorm, Map, Tape

from .unet import Block, UNet

ACTIVATIONS = {nn.Identity: "none", nn.SiLU: "silu", nn.LeakyReLU: "leaky"}


class Parameters:
    """The trainable numbers of a net as one flat vector, with a zero at its end; the parameters become views of it."""

    def __init__(self, net: nn.Module):
        parameters = [p for p in net.parameters() if p.requires_grad]
        self.padded = torch.cat([*(p.detach().flatten() for p in parameters), torch.zeros(1)])
        self.flat, self.index, start = self.padded[:-1], {}, 0
        for p in parameters:
            self.index[p] = np.arange(start, start + p.numel()).reshape(p.shape)
            p.data = self.padded[start : start + p.numel()].view(p.shape)
            start += p.numel()

    def of(self, module: nn.Module) -> Convolution | LayerNorm:
        """A layer as `lanes` describes it."""
        weight, bias = self.index[module.weight], self.index[module.bias]
        if isinstance(module, nn.LayerNorm):
            return LayerNorm(weight, bias)
        if isinstance(module, nn.Linear):
            return Convolution(weight[:, :, None, None], bias)
        transposed = isinstance(module, nn.ConvTranspose2d)
        return Convolution(weight, bias, module.stride[0], module.padding[0], transposed)


def describe(
    net: UNet, tape: Tape, layer: Callable[[nn.Module], Convolution | LayerNorm], channels: int, size: int
) -> Map:
    """The net's forward pass on the tape, of the inputs `x` and `t`; returns the last map.

    Time MLPs are layers where the net has them; of tabulated ones a stage's shift is an input named after the stage.
    """
    tabulated = isinstance(net.time_table, nn.Identity)
    t = None if tabulated else tape.input("t", 1, net.time_table.weight.shape[1])

    def shift(name: str) -> Map:
        mlp = net.time_mlps[name]
        if tabulated:
            return tape.input(name, 1, mlp.weight.shape[1])
        hidden = tape.convolution(t, layer(mlp[0]), ACTIVATIONS[type(mlp[1])])
        return tape.convolution(hidden, layer(mlp[2]))

    def block(m: Block, x: Map, e: Map | None) -> Map:
        if m.normalize:
            x = tape.norm(x, layer(m.norm), e)
        elif e:
            x = tape.shift(x, e)
        x = tape.convolution(x, layer(m.conv1), ACTIVATIONS[type(m.between)])
        return tape.convolution(x, layer(m.conv2), ACTIVATIONS[type(m.activation)])

    def stage(name: str, x: Map) -> Map:
        blocks = net.stages[name]
        e = shift(name)
        for m in blocks:
            x = block(m, x, e if m is blocks[0] else None)
        return x

    def pair(modules: nn.Sequential, x: Map) -> Map:
        first, activation, second = modules
        return tape.convolution(tape.convolution(x, layer(first), ACTIVATIONS[type(activation)]), layer(second))

    h1 = stage("b1", tape.input("x", size, channels))
    h2 = stage("b2", tape.convolution(h1, layer(net.down1)))
    h3 = stage("b3", tape.convolution(h2, layer(net.down2)))
    h = pair(net.up1, stage("mid", pair(net.down3, h3)))
    h = tape.convolution(stage("b4", tape.join(h3, h)), layer(net.up2))
    h = tape.convolution(stage("b5", tape.join(h2, h)), layer(net.up3))
    return tape.convolution(stage("b_out", tape.join(h1, h)), layer(net.conv_out))


def sampling(net: UNet, example: tuple[Tensor, Tensor], threads: int) -> Callable[[Tensor, Tensor], Tensor]:
    """net(x, t) for x (n, C, H, W) of the example's shape but for n, and t (n,) or (1,)."""
    parameters = Parameters(net)
    tape = Tape(*vectors.of_this_machine(), len(parameters.flat))
    output = describe(net, tape, parameters.of, *example[0].shape[1:3])
    tape.output(output)
    engine = Engine(tape, threads)
    engine.load(parameters.padded.numpy())

    def run(x: Tensor, t: Tensor) -> Tensor:
        inputs = {
            name: net.time_mlps[name](t)[:, :, None, None].numpy() for name in tape.inputs if name in net.time_mlps
        }
        if "t" in tape.inputs:
            inputs["t"] = net.time_table(t)[:, :, None, None].numpy()
        return torch.from_numpy(engine.forward(inputs | {"x": x.numpy()}, output))

    return run


class Step:
    """A function (x, t, target) that returns the mean squared error of net(x, t), and leaves the parameters' gradients.

    The net's parameters become views of one vector. x and target (n, C, H, W), t (n,).
    """

    def __init__(self, net: UNet, channels: int, size: int, threads: int = 1):
        self.net, self.parameters = net, Parameters(net)
        tape = Tape(*vectors.of_this_machine(), len(self.parameters.flat), training=True)
        self.ends = tape.squared_error(describe(net, tape, self.parameters.of, channels, size))
        self.engine = Engine(tape, threads)

    @torch.no_grad()
    def __call__(self, x: Tensor, t: Tensor, target: Tensor) -> float:
        self.engine.load(self.parameters.padded.numpy())
        inputs = {"x": x.numpy(), "t": self.net.time_table(t)[:, :, None, None].numpy(), "target": target.numpy()}
        loss, gradient = self.engine.backward(inputs, self.ends)
        gradient = torch.from_numpy(gradient)
        for p, index in self.parameters.index.items():
            p.grad = gradient[index.flat[0] : index.flat[0] + p.numel()].view(p.shape)
        return loss
