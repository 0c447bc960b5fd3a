"""What the layers do, forward and backward, as kernels.

A map of (H, W, C) numbers an image lies in memory as [row][column][channel][lane], with a border of zeros around its
rows and columns. Every vector is full whatever C is, and what happens in a lane, an image, depends on no other; only
gradients of parameters are sums over the lanes.
"""

from collections.abc import Callable, Iterable
from functools import reduce
from typing import NamedTuple

from .vectors import Code, Integer, Pointer, Variable, Vector, kernel

LEAK = 0.2  # the slope of LeakyReLU below zero


class Plane(NamedTuple):
    """A map from one of its pixels on: that pixel's place, how far the next row and column are, and a stride."""

    start: Pointer
    down: Integer
    right: Integer
    stride: Integer

    def at(self, row: Integer | int, column: Integer | int) -> Pointer:
        return self.start + self.tap(self.stride * row, self.stride * column)

    def tap(self, row: Integer | int, column: Integer | int) -> Integer:
        """How far a pixel is, without strides."""
        return self.down * row + self.right * column


class Shape(NamedTuple):
    height: Integer
    width: Integer


class Window(NamedTuple):
    """What a convolution sums over for a pixel: the taps of its kernel, and channels."""

    rows: Integer
    columns: Integer
    channels: Integer


class Tile(NamedTuple):
    """Sums that stay in registers: of so many channels, for so many pixels; `rest` pixels remain at a row's end."""

    channels: int
    pixels: int
    rest: int


class Finish(NamedTuple):
    """What a layer does to its result before it stores it.

    An activation, whose slope may be kept for the backward pass; or, as the result is a gradient: what has been stored
    of it is added, then it is multiplied by the slope of the activation that made the map.
    """

    activation: str = "none"
    keep_slope: bool = False
    add: bool = False
    times_slope: str = "none"


def finish(code: Code, how: Finish, value: Vector, y: Pointer, slope: Pointer) -> None:
    if how.activation == "silu":
        sigmoid = code.vector(1) / (code.exp(value * -1.0) + 1.0)
        value = value * sigmoid
        if how.keep_slope:
            slope.store((code.vector(1) - sigmoid) * value + sigmoid)
    elif how.activation == "leaky":
        value = code.call("maxnum", value, value * LEAK)
    if how.add:
        value = y.load() + value
    if how.times_slope == "silu":
        value = value * slope.load()
    elif how.times_slope == "leaky":  # it has the sign of the map itself
        value = value * code.where_positive(slope.load(), 1, LEAK)
    y.store(value)


def variables(code: Code, n: int) -> list[Variable]:
    return [Variable(code.vector(0)) for _ in range(n)]


def added(sums: list[Variable]) -> Vector:
    """In pairs, as then the fewest roundings add up."""
    vectors = [s.get() for s in sums]
    while len(vectors) > 1:
        vectors = [reduce(lambda a, b: a + b, vectors[i : i + 2]) for i in range(0, len(vectors), 2)]
    return vectors[0]


def products(
    code: Code, channels: int, inputs: list[Pointer], w: Pointer, window: Window, tap: Callable
) -> list[list[Vector]]:
    """For each of `inputs`, so many sums over the window of input times weight, w: [rows][columns][channels][sums]."""
    sums, w = [variables(code, channels) for _ in inputs], Variable(w)
    with code.loops(*window) as (r, c, i):
        at = tap(r, c) + i * code.lanes
        vectors = [(x + at).load() for x in inputs]
        for j in range(channels):
            weight = (w.get() + j).broadcast()
            for vector, of_input in zip(vectors, sums, strict=True):
                of_input[j].add(weight * vector)
        w.set(w.get() + channels)
    return [[s.get() for s in of_input] for of_input in sums]


@kernel
def convolution(
    code: Code,
    x: Plane,  # from one output's first input to the next output's
    w: Pointer,  # [blocks][rows][columns][channels][tile.channels]
    bias: Pointer,
    y: Plane,
    slope: Plane,
    shape: Shape,  # of the output
    window: Window,
    blocks: Integer,  # the output's channels / tile.channels
    *,
    tile: Tile,
    how: Finish,
) -> None:
    k = tile.channels
    with code.loops(blocks, shape.height) as (b, r):
        weights = w + b * window.rows * window.columns * window.channels * k
        for column, n in code.blocks(shape.width, tile.pixels, tile.rest):
            sums = products(code, k, [x.at(r, column + p) for p in range(n)], weights, window, x.tap)
            for p in range(n):
                for j in range(k):
                    channel, value = b * k + j, sums[p][j] + (bias + (b * k + j)).broadcast()
                    y_at, slope_at = (plane.at(r, column + p) + channel * code.lanes for plane in (y, slope))
                    finish(code, how, value, y_at, slope_at)


# Winograd's F(4, 3) with the points 0, 1, -1, 2, -2 and infinity: four neighbours of a row from six products in place
# of twelve (Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks", section 4.3)

PARTS = 6
WEIGHTS = [  # six of three weights
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
]


def six_of_inputs(d: list[Vector]) -> list[Vector]:
    even, odd = d[4] - d[2] * 4, d[3] - d[1] * 4
    even2, odd2 = d[4] - d[2], (d[3] - d[1]) * 2
    first, last = d[0] * 4 - d[2] * 5 + d[4], d[1] * 4 - d[3] * 5 + d[5]
    return [first, even + odd, even - odd, even2 + odd2, even2 - odd2, last]


def four_of_products(m: list[Vector]) -> list[Vector]:
    plus, minus, plus2, minus2 = m[1] + m[2], m[1] - m[2], m[3] + m[4], m[3] - m[4]
    return [m[0] + plus + plus2, minus + minus2 * 2, plus + plus2 * 4, minus + minus2 * 8 + m[5]]


def six_of_gradients(d: list[Vector]) -> list[Vector]:
    """The transpose of `four_of_products`."""
    even, odd, even2, odd2 = d[0] + d[2], d[1] + d[3], d[0] + d[2] * 4, d[1] * 2 + d[3] * 8
    return [d[0], even + odd, even - odd, even2 + odd2, even2 - odd2, d[3]]


@kernel
def winograd(
    code: Code,
    x: Plane,  # from the border on
    w: Pointer,  # [PARTS][part], in it [blocks][3][channels][tile.channels]
    part: Integer,
    bias: Pointer,
    y: Plane,
    slope: Plane,
    scratch: Pointer,  # three rows of transformed inputs, [3][PARTS][tiles][channels]; [PARTS][blocks][tiles][k] sums
    shape: Shape,
    tiles: Integer,  # in a row, of four pixels; the last may be in part beyond the row's end
    channels: Integer,
    blocks: Integer,
    *,
    tile: Tile,
    how: Finish,
) -> None:
    """A 3x3 convolution of stride 1."""
    k, lanes = tile.channels, code.lanes
    of_part = tiles * channels * lanes
    sums, sums_part = scratch + of_part * (3 * PARTS), blocks * tiles * (k * lanes)
    window = Window(code.integer(3), code.integer(1), channels)
    with code.loop(shape.height + 2) as r:
        with code.loops(tiles, channels) as (t, c):
            of_row = scratch + r % 3 * of_part * PARTS + (t * channels + c) * lanes
            inputs = [(x.at(r, t * 4 + i) + c * lanes).load() for i in range(6)]
            for i, value in enumerate(six_of_inputs(inputs)):
                (of_row + of_part * i).store(value)
        with code.ir.if_then(code.ir.icmp_signed(">", r.ir, code.integer(1).ir)):
            with code.loops(PARTS, blocks) as (i, b):
                weights = w + i * part + b * channels * (3 * k)
                for t, n in code.blocks(tiles, tile.pixels, tile.rest):
                    inputs = [scratch + i * of_part + (t + p) * channels * lanes for p in range(n)]
                    found = products(
                        code, k, inputs, weights, window, lambda row, _: (r + row + 1) % 3 * of_part * PARTS
                    )
                    for p in range(n):
                        for j in range(k):
                            (sums + i * sums_part + ((b * tiles + t + p) * k + j) * lanes).store(found[p][j])
            with code.loops(blocks, tiles, k) as (b, t, j):
                six = [(sums + sums_part * i + ((b * tiles + t) * k + j) * lanes).load() for i in range(PARTS)]
                plus = (bias + (b * k + j)).broadcast()
                for i, value in enumerate(four_of_products(six)):
                    with code.if_less(t * 4 + i, shape.width):
                        places = (plane.at(r - 2, t * 4 + i) + (b * k + j) * lanes for plane in (y, slope))
                        finish(code, how, value + plus, *places)


class Factor(NamedTuple):
    """One of two maps whose channels are multiplied each with each: [..][blocks][channels of a block]."""

    plane: Plane
    blocks: Integer


def outer_products(code: Code, ks: tuple[int, int], pixels: Shape, a: Callable, b: Callable, gradient: Pointer) -> None:
    """gradient: [k_b][k_a], at i, j the sum over pixels and lanes of a(row, column)[j] * b(row, column)[i]."""
    k_a, k_b = ks
    sums = [variables(code, k_a) for _ in range(k_b)]
    with code.loops(*pixels) as (r, c):
        at_a, at_b = a(r, c), b(r, c)
        vectors = [(at_a + j * code.lanes).load() for j in range(k_a)]
        for i in range(k_b):
            other = (at_b + i * code.lanes).load()
            for j in range(k_a):
                sums[i][j].add(vectors[j] * other)
    totals = [s.get() for of_i in sums for s in of_i]
    for i in range(0, len(totals), code.lanes):
        code.store_totals(gradient + i, totals[i : i + code.lanes])


@kernel
def convolution_weights(
    code: Code,
    a: Factor,  # the gradient of the output; of a transposed convolution the input
    b: Factor,  # the input, from tap to tap as its window says; of a transposed convolution the output's gradient
    gradient: Pointer,  # [rows][columns][b.blocks][a.blocks][k_b][k_a]
    shape: Shape,  # of a
    taps: Shape,
    *,
    ks: tuple[int, int],
) -> None:
    (k_a, k_b), lanes = ks, code.lanes
    with code.loops(*taps, b.blocks, a.blocks) as (y, x, i, j):
        tap = b.plane.tap(y, x) + i * (k_b * lanes)
        outer_products(
            code,
            ks,
            shape,
            lambda r, c: a.plane.at(r, c) + j * (k_a * lanes),
            lambda r, c: b.plane.at(r, c) + tap,
            gradient + (((y * taps.width + x) * b.blocks + i) * a.blocks + j) * (k_a * k_b),
        )


@kernel
def winograd_weights(
    code: Code,
    a: Factor,  # the gradient of the output
    b: Factor,  # the input, from the border on
    gradient: Pointer,  # of the transformed weights, [PARTS][part], in it [3][b.blocks][a.blocks][k_b][k_a]
    part: Integer,
    scratch: Pointer,  # both transformed, [PARTS][blocks][row][tile][k]
    shape: Shape,  # of a
    tiles: Integer,
    *,
    ks: tuple[int, int],
) -> None:
    (k_a, k_b), lanes = ks, code.lanes
    pixels = shape.height * tiles, (shape.height + 2) * tiles
    of_a, of_b = scratch, scratch + pixels[0] * a.blocks * (PARTS * k_a * lanes)

    def transformed(factor: Factor, k: int, rows: Integer, n: int, transform: Callable, to: Pointer) -> None:
        with code.loops(rows, tiles, factor.blocks, k) as (r, t, block, c):
            values = [(factor.plane.at(r, t * 4 + i) + (block * k + c) * lanes).load() for i in range(n)]
            target = to + (((block * rows + r) * tiles + t) * k + c) * lanes
            for i, value in enumerate(transform(values)):
                (target + factor.blocks * rows * tiles * (i * k * lanes)).store(value)

    transformed(a, k_a, shape.height, 4, six_of_gradients, of_a)  # zero beyond the row's end
    transformed(b, k_b, shape.height + 2, 6, six_of_inputs, of_b)
    with code.loops(PARTS, b.blocks, 3, a.blocks) as (n, i, y, j):
        start_a = of_a + (n * a.blocks + j) * pixels[0] * (k_a * lanes)
        start_b = of_b + ((n * b.blocks + i) * pixels[1] + y * tiles) * (k_b * lanes)
        outer_products(
            code,
            ks,
            Shape(code.integer(1), pixels[0]),
            lambda _, c: start_a + c * (k_a * lanes),
            lambda _, c: start_b + c * (k_b * lanes),
            gradient + n * part + ((y * b.blocks + i) * a.blocks + j) * (k_a * k_b),
        )


@kernel
def mixed(code: Code, x: Pointer, y: Pointer, n: Integer, *, matrix: tuple[tuple[float, ...], ...]) -> None:
    """y[i] = the sum over j of matrix[i][j] * x[j], of rows of n floats, a multiple of the lanes."""
    with code.loop(n, code.lanes) as i:
        rows = [(x + (n * j + i)).load() for j in range(len(matrix[0]))]
        for j, factors in enumerate(matrix):
            terms = [row * factor for row, factor in zip(rows, factors, strict=True) if factor]
            (y + (n * j + i)).store(reduce(lambda a, b: a + b, terms))


@kernel
def channel_sums(code: Code, x: Plane, y: Pointer, shape: Shape, channels: Integer, *, at_once: int, into: str) -> None:
    """Sums over the pixels: a float for each channel, over the lanes, too; or a vector for each; or one vector."""
    one = Variable(code.vector(0))
    with code.loop(channels, at_once) as c:
        totals = variables(code, at_once)
        with code.loop(shape.height) as r:
            of_row = variables(code, at_once)
            with code.loop(shape.width) as column:
                for i, total in enumerate(of_row):
                    total.add((x.at(r, column) + (c + i) * code.lanes).load())
            for total, more in zip(totals, of_row, strict=True):
                total.add(more.get())
        if into == "floats":
            code.store_totals(y + c, [t.get() for t in totals])
        for i, total in enumerate(totals):
            if into == "vectors":
                (y + (c + i) * code.lanes).store(total.get())
            one.add(total.get())
    if into == "one":
        y.store(one.get())


@kernel
def shifted(code: Code, x: Plane, shift: Pointer, step: Integer, y: Plane, shape: Shape, channels: Integer) -> None:
    """y = x + shift[channel * step]."""
    with code.loops(*shape, channels) as (r, column, c):
        value = (x.at(r, column) + c * code.lanes).load() + (shift + c * step).load()
        (y.at(r, column) + c * code.lanes).store(value)


class Shift(NamedTuple):
    """A vector to add for each channel; step 0: one for all."""

    start: Pointer
    step: Integer


class Affine(NamedTuple):
    """A LayerNorm's weights and biases, each [row][column][channel]."""

    weight: Pointer
    bias: Pointer


def shifted_row(code: Code, x: Plane, shift: Shift, r: Integer, column: Integer, c: Integer) -> Vector:
    return (x.at(r, column) + c * code.lanes).load() + (shift.start + c * shift.step).load()


@kernel
def norm(
    code: Code,
    x: Plane,
    shift: Shift,
    affine: Affine,
    y: Plane,
    moments: Pointer,  # to leave the mean and 1 / deviation for the backward pass
    shape: Shape,
    channels: Integer,
    *,
    at_once: int,  # channels
) -> None:
    """LayerNorm over the whole map of x + shift.

    Mean and sum of squares row by row, each from the row's own mean, then combined (Chan, Golub & LeVeque 1983).
    """
    of_row = code.number(shape.width * channels)
    mean, squares = variables(code, 2)
    with code.loop(shape.height) as r:
        total, spread = variables(code, 2)
        with code.loop(shape.width) as column:
            of_pixel = variables(code, at_once)
            with code.loop(channels, at_once) as c:
                for i, one in enumerate(of_pixel):
                    one.add(shifted_row(code, x, shift, r, column, c + i))
            total.add(added(of_pixel))
        row_mean = total.get() / of_row
        with code.loop(shape.width) as column:
            of_pixel = variables(code, at_once)
            with code.loop(channels, at_once) as c:
                for i, one in enumerate(of_pixel):
                    distance = shifted_row(code, x, shift, r, column, c + i) - row_mean
                    one.add(distance * distance)
            spread.add(added(of_pixel))
        before, delta = code.number(r), row_mean - mean.get()
        squares.add(spread.get() + delta * delta * of_row * (before / (before + 1.0)))
        mean.add(delta / (before + 1.0))
    variance = squares.get() / code.number(shape.height * shape.width * channels)
    scale, mean = code.vector(1) / code.call("sqrt", variance + 1e-5), mean.get()
    moments.store(mean)
    (moments + code.lanes).store(scale)
    with code.loops(*shape, channels) as (r, column, c):
        at = (r * shape.width + column) * channels + c
        value = (shifted_row(code, x, shift, r, column, c) - mean) * scale
        value = value * (affine.weight + at).broadcast() + (affine.bias + at).broadcast()
        (y.at(r, column) + c * code.lanes).store(value)


@kernel
def norm_backward(
    code: Code,
    x: Plane,
    shift: Shift,
    weight: Pointer,
    gradients: Affine,
    moments: Pointer,
    dy: Plane,
    dx: Plane,
    slope: Plane,
    shape: Shape,
    channels: Integer,
    *,
    at_once: int,  # channels
    how: Finish,
) -> None:
    """dx = scale * (d - mean(d) - n * mean(d * n)) with d = weight * dy and n = (x + shift - mean) * scale."""
    lanes, mean, scale = code.lanes, moments.load(), (moments + code.lanes).load()
    means = variables(code, 2)

    def normal_and_gradient(r: Integer, column: Integer, c: Integer) -> tuple[Vector, Vector]:
        normal = (shifted_row(code, x, shift, r, column, c) - mean) * scale
        return normal, (dy.at(r, column) + c * lanes).load()

    with code.loop(shape.height) as r:
        of_row = variables(code, 2)
        with code.loop(shape.width) as column:
            of_pixel = [variables(code, at_once) for _ in range(2)]
            with code.loop(channels, at_once) as c:
                at, totals = (r * shape.width + column) * channels + c, []
                for i in range(at_once):
                    normal, d = normal_and_gradient(r, column, c + i)
                    totals.append((d * normal, d))
                    d = d * (weight + (at + i)).broadcast()
                    of_pixel[0][i].add(d)
                    of_pixel[1][i].add(d * normal)
                for start, values in zip(gradients, zip(*totals, strict=True), strict=True):
                    code.store_totals(start + at, values)
            for total, more in zip(of_row, of_pixel, strict=True):
                total.add(added(more))
        for total, more in zip(means, of_row, strict=True):
            total.add(more.get())
    n = code.number(shape.height * shape.width * channels)
    first, second = (total.get() / n for total in means)
    with code.loops(*shape, channels) as (r, column, c):
        normal, d = normal_and_gradient(r, column, c)
        d = d * (weight + ((r * shape.width + column) * channels + c)).broadcast()
        value = (d - first - normal * second) * scale
        finish(code, how, value, dx.at(r, column) + c * lanes, slope.at(r, column) + c * lanes)


@kernel
def squared_error(
    code: Code, y: Plane, target: Plane, scale: Pointer, dy: Plane, loss: Pointer, shape: Shape, channels: Integer
) -> None:
    """loss: the sum of (y - target)^2, in each lane. dy: (y - target) * scale, which is a number for each lane."""
    total, factor = Variable(code.vector(0)), scale.load()
    with code.loop(shape.height) as r:
        of_row = Variable(code.vector(0))
        with code.loops(shape.width, channels) as (column, c):
            error, target_at = (y.at(r, column) + c * code.lanes).load(), target.at(r, column) + c * code.lanes
            error = error - target_at.load()
            of_row.add(error * error)
            (dy.at(r, column) + c * code.lanes).store(error * factor)
        total.add(of_row.get())
    loss.store(total.get())


def best_tile(channels: int, width: int, registers: int) -> Tile:
    """The tile with the least time for each sum: a cycle has two multiplications with addition, and two loads.

    A sum can be added to again after four cycles. The pixels' inputs and a weight take registers, too.
    """

    def cycles(k: int, pixels: int) -> float:
        return max(k * pixels / 2, 4, (k + pixels) / 2) if pixels else 0

    def each(tile: Tile) -> float:
        whole = width // tile.pixels
        return (whole * cycles(tile.channels, tile.pixels) + cycles(tile.channels, tile.rest)) / (width * tile.channels)

    ks = [k for k in range(1, registers) if channels % k == 0]
    fitting = [(k, p) for k in ks for p in range(1, min(width, 14) + 1) if k * p + p + 1 <= registers]
    return min((Tile(k, p, width % p) for k, p in fitting), key=lambda tile: (each(tile), -tile.channels * tile.pixels))


def best_outer(a: int, b: int, registers: int) -> tuple[int, int]:
    """Channels of two maps to be multiplied at once: many products for each load."""
    divisors = [[k for k in range(1, registers) if n % k == 0] for n in (a, b)]
    fitting: Iterable = [(i, j) for i in divisors[0] for j in divisors[1] if i * j + i + 1 <= registers]
    return max(fitting, key=lambda k: (min(k[0] * k[1], 8), k[0] * k[1] / (k[0] + k[1])))


def divisor(n: int, most: int) -> int:
    return max(k for k in range(1, most + 1) if n % k == 0)
