"""A net as calls of kernels: each layer adds its own, and the tape derives the backward pass from them.

The net's parameters are numbers of one flat vector; a layer is described by their indices in it, in PyTorch's shapes.
"""

from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from . import kernels
from .kernels import Affine, Factor, Finish, Plane, Shape, Shift, Window
from .vectors import Address, Call, Kernel

ALIGN = 16  # floats: 64 bytes, whole vectors
BORDER = 1


class Array(IntEnum):
    """What a program's functions are handed."""

    MEMORY = 0  # maps, for as many images as there are lanes
    SCRATCH = 1
    WEIGHTS = 2  # parameters in the order in which kernels read them
    TRANSFORMED = 3  # those of them that Winograd's way transforms
    GRADIENT = 4  # the parameters' gradients, as kernels leave them
    TAPS = 5  # those of the transformed ones, transformed back


class Convolution(NamedTuple):
    """Indices: weight (out, in, rows, columns), or (in, out, rows, columns) of a transposed one; bias (out,)."""

    weight: np.ndarray
    bias: np.ndarray
    stride: int = 1
    padding: int = 0
    transposed: bool = False

    def out_channels(self) -> int:
        return len(self.bias)

    def out_size(self, size: int) -> int:
        kernel = self.weight.shape[2]
        if self.transposed:
            return (size - 1) * self.stride - 2 * self.padding + kernel
        return (size + 2 * self.padding - kernel) // self.stride + 1


class LayerNorm(NamedTuple):
    """Over the whole map. Indices: (channels, rows, columns)."""

    weight: np.ndarray
    bias: np.ndarray


class Buffer:
    """Memory for a map: rows end in a border, after whole tiles of four pixels, so that no tile reads past its row."""

    def __init__(self, size: int, channels: int):
        self.size, self.channels, self.start = size, channels, -1
        self.columns = -(-size // 4) * 4 + 2 * BORDER

    def floats(self, lanes: int) -> int:
        return (self.size + 2 * BORDER) * self.columns * self.channels * lanes


class Map:
    """What a layer made: (size, size, channels) numbers an image, their gradient, and the slopes of their activation.

    Maps that have been joined lie in the whole's buffers, from the channel `first` on. A gradient is complete when
    each consumer of the map has made its contribution.
    """

    def __init__(self, size: int, channels: int, activation: str = "none", needs_gradient: bool = True):
        self.size, self.channels, self.activation, self.first = size, channels, activation, 0
        self.needs_gradient, self.consumers, self.contributions, self.parts = needs_gradient, 0, 0, ()
        self.value, self.gradient, self.slopes = (Buffer(size, channels) for _ in range(3))

    def view(self, row: int = 0, column: int = 0, stride: int = 1) -> "View":
        return View(self, "value", row, column, stride)

    def d(self, row: int = 0, column: int = 0, stride: int = 1) -> "View":
        """The gradient's."""
        return View(self, "gradient", row, column, stride)

    def slope(self, row: int = 0, column: int = 0, stride: int = 1) -> "View":
        """That of the activation's slope, which LeakyReLU's backward pass sees from the map itself."""
        return View(self, "slopes" if self.activation == "silu" else "value", row, column, stride)

    def consume(self) -> None:
        for m in self.parts or (self,):
            m.consumers += 1

    def contribution(self) -> Finish:
        """How the next contribution to the gradient ends; a whole's is one to each of its parts."""
        members = self.parts or (self,)
        last = [m.contributions == m.consumers - 1 for m in members]
        slopes = [m.activation if is_last else "none" for m, is_last in zip(members, last, strict=True)]
        found = {Finish(add=m.contributions > 0, times_slope=s) for m, s in zip(members, slopes, strict=True)}
        if len(found) > 1 or (self.parts and set(slopes) != {"none"}):
            raise ValueError("the parts of a joined map differ in what their gradients still lack")
        for m in members:
            m.contributions += 1
        return found.pop()

    def must_be_complete(self) -> None:
        if self.contributions != self.consumers:
            raise ValueError(f"{self.consumers} layers use a map, but {self.contributions} gave it a gradient")


class View(NamedTuple):
    """A map's pixels from (row, column) on, each stride-th: of its values, gradient or slopes."""

    map: Map
    of: str
    row: int
    column: int
    stride: int

    def buffer(self) -> Buffer:
        return getattr(self.map, self.of)

    def plane(self, lanes: int) -> Plane:
        right = self.buffer().channels * lanes
        down = self.buffer().columns * right
        pixel = (self.row + BORDER) * down + (self.column + BORDER) * right
        first = 0 if self.of == "slopes" else self.map.first * lanes
        return Plane(Address(Array.MEMORY, self.buffer().start + pixel + first), down, right, self.stride)

    def holds(self, shape: Shape, window: tuple[int, int] = (1, 1)) -> "View":
        """Itself. Raises ValueError where so many strides and then a window would reach beyond the border."""
        last = [
            first + (n - 1) * self.stride + k - 1
            for first, n, k in zip((self.row, self.column), shape, window, strict=True)
        ]
        most = self.map.size - 1 + BORDER, self.buffer().columns - 1 - BORDER
        if min(self.row, self.column) < -BORDER or last[0] > most[0] or last[1] > most[1]:
            raise ValueError(f"{(self.row, self.column)} to {last} is beyond the border of {self.map.size} pixels")
        return self


class Pixel(NamedTuple):
    """The place of a view's first pixel."""

    view: View


class Tape:
    """Calls of kernels: `pack` prepares parameters, `run` computes, `unpack` finishes the gradients' sum over images.

    parameters: how many the flat vector has. training: keep what a backward pass needs.
    """

    def __init__(self, lanes: int, registers: int, parameters: int, training: bool = False):
        self.lanes, self.registers, self.parameters, self.training = lanes, registers, parameters, training
        self.pack, self.run, self.unpack = [], [], []
        self.floats = dict.fromkeys(Array, 0)
        self.indices = {array: [] for array in Array}  # of the parameters that lie there; past the last one: none
        self.inputs: dict[str, Map] = {}
        self.no_shift = self.reserve(lanes)
        self.backwards: list[Callable[[], None]] = []

    # memory

    def reserve(self, floats: int) -> Address:
        start = self.floats[Array.MEMORY]
        self.floats[Array.MEMORY] += -(-floats // ALIGN) * ALIGN
        return Address(Array.MEMORY, start)

    def scratch(self, floats: int) -> Address:
        self.floats[Array.SCRATCH] = max(self.floats[Array.SCRATCH], floats)
        return Address(Array.SCRATCH, 0)

    def weights(self, index: np.ndarray, array: Array = Array.WEIGHTS) -> Address:
        """A place in `array` for the parameters at `index`, in that order."""
        start, filled = self.floats[array], -(-index.size // ALIGN) * ALIGN
        self.indices[array].append(np.append(index.ravel(), np.full(filled - index.size, self.parameters)))
        self.floats[array] += filled
        return Address(array, start)

    def place(self, outputs: Sequence[Map]) -> None:
        """Give each buffer its memory. Those of one shape share it where one's last use is before the other's first.

        As only maps of the same shape ever lie there, and no kernel writes to a border, borders stay zero.
        """
        uses = {m.value: [-1] for m in self.inputs.values()}
        for time, call in enumerate(self.run):
            for buffer in buffers(call.arguments):
                uses.setdefault(buffer, []).append(time)
        for m in outputs:
            uses[m.value].append(len(self.run))
        free: dict[tuple[int, int], list[tuple[int, int]]] = {}  # by shape: (last use, start)
        for buffer, times in sorted(uses.items(), key=lambda item: item[1][0]):
            places = free.setdefault((buffer.size, buffer.channels), [])
            found = next((p for p in places if p[0] < times[0]), None)
            if found:
                places.remove(found)
            buffer.start = found[1] if found else self.reserve(buffer.floats(self.lanes)).offset
            places.append((times[-1], buffer.start))

    def call(self, kernel: Kernel, *arguments: object, **constants: object) -> None:
        self.run.append(Call(kernel, arguments, constants))

    def resolved(self, calls: list[Call]) -> list[Call]:
        """Those calls with planes for views."""

        def resolve(argument: object) -> object:
            if isinstance(argument, View):
                return argument.plane(self.lanes)
            if isinstance(argument, Pixel):
                return argument.view.plane(self.lanes).start
            if isinstance(argument, tuple) and not isinstance(argument, Address):
                return type(argument)(*map(resolve, argument))
            return argument

        return [call._replace(arguments=tuple(map(resolve, call.arguments))) for call in calls]

    # layers

    def input(self, name: str, size: int, channels: int) -> Map:
        self.inputs[name] = Map(size, channels, needs_gradient=False)
        return self.inputs[name]

    def convolution(self, x: Map, layer: Convolution, activation: str = "none") -> Map:
        x.consume()
        y = Map(layer.out_size(x.size), layer.out_channels(), activation)
        forward, back = (self.transpose, self.correlate) if layer.transposed else (self.correlate, self.transpose)
        how = Finish(activation, keep_slope=self.training and activation == "silu")
        forward(layer, self.weights(layer.bias), x.view, y.view, y.slope if how.keep_slope else y.view, y, how)

        def backward() -> None:
            y.must_be_complete()
            ends = (x.view, y.d, x, y) if layer.transposed else (y.d, x.view, y, x)
            self.weight_gradient(layer, *ends)
            self.sums(y.d(), self.weights(layer.bias, Array.GRADIENT), "floats")
            if x.needs_gradient:
                no_bias = self.weights(np.full(x.channels, self.parameters))
                back(layer, no_bias, y.d, x.d, x.slope, x, x.contribution())

        self.backwards.append(backward)
        return y

    def norm(self, x: Map, layer: LayerNorm, shift: Map | None = None) -> Map:
        """LayerNorm of x + shift; the shift is a map of one pixel, with x's channels or one for all."""
        x.consume()
        y, moments = Map(x.size, x.channels), self.reserve(2 * self.lanes)
        index = [i.transpose(1, 2, 0) for i in layer]
        affine, plus = Affine(*map(self.weights, index)), self.shift_of(shift)
        shape = Shape(x.size, x.size)
        at_once = kernels.divisor(x.channels, self.lanes)
        self.call(kernels.norm, x.view(), plus, affine, y.view(), moments, shape, x.channels, at_once=at_once)

        def backward() -> None:
            y.must_be_complete()
            how = x.contribution() if x.needs_gradient else Finish()
            if shift and how != Finish():
                raise ValueError("a shifted map has a consumer besides its norm, or an activation")
            gradients = Affine(*(self.weights(i, Array.GRADIENT) for i in index))
            ends = x.view(), plus, affine.weight, gradients, moments, y.d(), x.d(), x.slope()
            self.call(kernels.norm_backward, *ends, shape, x.channels, at_once=at_once, how=how)
            if shift:
                self.shift_gradient(x, shift)

        self.backwards.append(backward)
        return y

    def shift(self, x: Map, shift: Map) -> Map:
        """x + shift, of an input."""
        if x.needs_gradient:
            raise ValueError("only an input is shifted without a norm")
        y, plus = Map(x.size, x.channels), self.shift_of(shift)
        self.call(kernels.shifted, x.view(), *plus, y.view(), Shape(x.size, x.size), x.channels)

        def backward() -> None:
            y.must_be_complete()
            self.shift_gradient(y, shift)

        self.backwards.append(backward)
        return y

    def join(self, a: Map, b: Map) -> Map:
        """The channels of both, in one map; from now on the two are parts of it."""
        if any(m.value.channels > m.channels or m.parts or not m.needs_gradient for m in (a, b)):
            raise ValueError("parts of a joined map are layers' results, each in one join")
        whole = Map(a.size, a.channels + b.channels)
        whole.parts = a, b
        b.first = a.channels
        for part in whole.parts:
            part.value, part.gradient = whole.value, whole.gradient
        return whole

    def output(self, y: Map) -> None:
        """The last layer's result, where there is no backward pass."""
        self.place([y])
        self.run = self.resolved(self.run)

    def squared_error(self, y: Map) -> tuple[Address, Address]:
        """The backward pass of the squared error against the input `target`: (scale, loss), a number a lane each.

        loss: the sum of (y - target)^2 over an image. scale: what its gradients are those of, over 2.
        """
        target, shape = self.input("target", y.size, y.channels), Shape(y.size, y.size)
        scale, loss = self.reserve(self.lanes), self.reserve(self.lanes)
        self.call(kernels.squared_error, y.view(), target.view(), scale, y.d(), loss, shape, y.channels)
        for backward in reversed(self.backwards):
            backward()
        self.place([])
        self.run = self.resolved(self.run)
        return scale, loss

    # what the layers share

    def shift_of(self, shift: Map | None) -> Shift:
        if shift is None:
            return Shift(self.no_shift, 0)
        shift.consume()
        return Shift(Pixel(shift.view()), 0 if shift.channels == 1 else self.lanes)

    def shift_gradient(self, x: Map, shift: Map) -> None:
        if shift.needs_gradient:
            if shift.contribution() != Finish():
                raise ValueError("a shift has two consumers, or an activation")
            self.sums(x.d(), Pixel(shift.d()), "one" if shift.channels == 1 else "vectors")

    def sums(self, x: View, y: Address | Pixel, into: str) -> None:
        channels, shape = x.map.channels, Shape(x.map.size, x.map.size)
        self.call(kernels.channel_sums, x, y, shape, channels, at_once=kernels.divisor(channels, 8), into=into)

    def correlate(
        self, layer: Convolution, bias: Address, x: Callable, y: Callable, slope: Callable, y_map: Map, how: Finish
    ) -> None:
        """y = the layer's (out, in, ..) weights over x; x, y and slope give views."""
        shape, first = Shape(y_map.size, y_map.size), -layer.padding
        if suits_winograd(layer, y_map.size):
            self.winograd(layer.weight, bias, x(-1, -1), y(), slope(), shape, how)
        else:
            self.direct(layer.weight, bias, x(first, first, layer.stride), y(), slope(), shape, how)

    def transpose(
        self, layer: Convolution, bias: Address, x: Callable, y: Callable, slope: Callable, y_map: Map, how: Finish
    ) -> None:
        """y = the (in, out, ..) weights' transposed convolution of x.

        Of stride s it is s * s convolutions, each of the pixels that the same taps reach.
        """
        weight, size, s = layer.weight.swapaxes(0, 1), layer.weight.shape[2], layer.stride
        if s == 1:
            flipped = layer._replace(weight=weight[:, :, ::-1, ::-1], padding=size - 1 - layer.padding)
            return self.correlate(flipped, bias, x, y, slope, y_map, how)
        phases = []
        for first in range(min(s, y_map.size)):  # a pixel, its taps in the order of x, x's first pixel, how many pixels
            taps = list(range((first + layer.padding) % s, size, s))[::-1]
            phases.append((first, taps, (first + layer.padding) // s - (len(taps) - 1), -(-(y_map.size - first) // s)))
        for row, row_taps, x_row, height in phases:
            for column, column_taps, x_column, width in phases:
                part = weight[:, :, row_taps][:, :, :, column_taps]
                ends = x(x_row, x_column), y(row, column, s), slope(row, column, s)
                self.direct(part, bias, *ends, Shape(height, width), how)

    def direct(
        self, weight: np.ndarray, bias: Address, x: View, y: View, slope: View, shape: Shape, how: Finish
    ) -> None:
        outputs, inputs, rows, columns = weight.shape
        tile = kernels.best_tile(outputs, shape.width, self.registers)
        blocks = outputs // tile.channels
        packed = self.weights(weight.reshape(blocks, tile.channels, inputs, rows, columns).transpose(0, 3, 4, 2, 1))
        ends = x.holds(shape, (rows, columns)), packed, bias, y.holds(shape), slope.holds(shape)
        self.call(kernels.convolution, *ends, shape, Window(rows, columns, inputs), blocks, tile=tile, how=how)

    def winograd(
        self, weight: np.ndarray, bias: Address, x: View, y: View, slope: View, shape: Shape, how: Finish
    ) -> None:
        (outputs, inputs), tiles = weight.shape[:2], -(-shape.width // 4)
        tile = kernels.best_tile(outputs, tiles, self.registers)
        blocks = outputs // tile.channels
        index = weight.reshape(blocks, tile.channels, inputs, 3, 3).transpose(4, 0, 3, 2, 1).reshape(3, -1)
        index = np.pad(index, ((0, 0), (0, -index.shape[1] % ALIGN)), constant_values=self.parameters)
        transformed = Address(Array.TRANSFORMED, self.floats[Array.TRANSFORMED])
        self.floats[Array.TRANSFORMED] += kernels.PARTS * index.shape[1]
        matrix = tuple(map(tuple, kernels.WEIGHTS))
        self.pack.append(Call(kernels.mixed, (self.weights(index), transformed, index.shape[1]), {"matrix": matrix}))
        scratch = self.scratch(kernels.PARTS * tiles * (3 * inputs + outputs) * self.lanes)
        x = x.holds(Shape(shape.height, tiles * 4), (3, 3))
        ends = x, transformed, index.shape[1], bias, y.holds(shape), slope.holds(shape), scratch
        self.call(kernels.winograd, *ends, shape, tiles, inputs, blocks, tile=tile, how=how)

    def weight_gradient(self, layer: Convolution, a: Callable, b: Callable, a_map: Map, b_map: Map) -> None:
        """Of weights (a's channels, b's channels, ..): sums of a's pixels times those of b that each tap sees there."""
        ks = kernels.best_outer(a_map.channels, b_map.channels, self.registers)
        blocks = a_map.channels // ks[0], b_map.channels // ks[1]
        index = layer.weight.reshape(blocks[0], ks[0], blocks[1], ks[1], *layer.weight.shape[2:])
        index, shape = index.transpose(5, 4, 2, 0, 3, 1), Shape(a_map.size, a_map.size)
        if suits_winograd(layer, a_map.size):
            tiles, index = -(-shape.width // 4), index.reshape(3, -1)
            index = np.pad(index, ((0, 0), (0, -index.shape[1] % ALIGN)), constant_values=self.parameters)
            part = index.shape[1]
            gradient = self.weights(np.full((kernels.PARTS, part), self.parameters), Array.GRADIENT)
            taps, matrix = self.weights(index, Array.TAPS), tuple(zip(*kernels.WEIGHTS, strict=True))
            self.unpack.append(Call(kernels.mixed, (gradient, taps, part), {"matrix": matrix}))
            pixels = tiles * (shape.height * a_map.channels + (shape.height + 2) * b_map.channels)
            scratch = self.scratch(kernels.PARTS * pixels * self.lanes)
            whole = Shape(shape.height, tiles * 4)
            factors = Factor(a().holds(whole), blocks[0]), Factor(b(-1, -1).holds(whole, (3, 3)), blocks[1])
            self.call(kernels.winograd_weights, *factors, gradient, part, scratch, shape, tiles, ks=ks)
        else:
            index = index.swapaxes(0, 1)
            rows, columns = index.shape[:2]
            gradient = self.weights(index, Array.GRADIENT)
            taps = b(-layer.padding, -layer.padding, layer.stride).holds(shape, (rows, columns))
            factors = Factor(a(), blocks[0]), Factor(taps, blocks[1])
            self.call(kernels.convolution_weights, *factors, gradient, shape, Shape(rows, columns), ks=ks)


def suits_winograd(layer: Convolution, size: int) -> bool:
    three = layer.weight.shape[2:] == (3, 3) and (layer.stride, layer.padding) == (1, 1)
    return three and size >= 4 and min(layer.weight.shape[:2]) >= 8


def buffers(argument: object) -> Iterator[Buffer]:
    """Those that a call's arguments lie in."""
    if isinstance(argument, View):
        yield argument.buffer()
    elif isinstance(argument, tuple):
        for each in argument:
            yield from buffers(each)
