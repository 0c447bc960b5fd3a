"""Compiled nets: their memory, and batches of any size by any number of threads."""

import itertools
import mmap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np

from .tape import ALIGN, Array, Map, Tape
from .vectors import Address, compiled, program


class Memory:
    """A thread's own: maps of as many images as there are lanes, and scratch."""

    def __init__(self, tape: Tape):
        self.maps, self.scratch = (memory(tape.floats[a]) for a in (Array.MEMORY, Array.SCRATCH))
        self.inputs = {name: self.images(m, tape.lanes) for name, m in tape.inputs.items()}

    def images(self, m: Map, lanes: int) -> np.ndarray:
        """A map's place, as images (lanes, C, H, W)."""
        buffer, end = m.value, m.size + 1
        whole = self.maps[buffer.start : buffer.start + buffer.floats(lanes)]
        whole = whole.reshape(buffer.size + 2, buffer.columns, buffer.channels, lanes)
        return whole[1:end, 1:end, m.first : m.first + m.channels].transpose(3, 2, 0, 1)

    def put(self, values: dict[str, np.ndarray], images: slice) -> None:
        """Inputs of these of the images; what is (1, C, H, W) goes to all lanes. Lanes without an image get zeros."""
        for name, x in values.items():
            group = x[images] if len(x) > 1 else x
            self.inputs[name][: len(group)] = group
            self.inputs[name][len(group) :] = group if len(x) == 1 else 0


class Engine:
    """A tape's functions, on parameters from one flat float32 vector.

    Images are taken in groups, one in each lane, and a group is one thread's. What a group gives depends on no other,
    and gradients of groups are added in order: results have the same bits for any number of threads.
    """

    def __init__(self, tape: Tape, threads: int = 1):
        self.tape, self.lanes = tape, tape.lanes
        functions = {"pack": tape.pack, "run": tape.run, "unpack": tape.unpack}
        text = program(functions, len(Array), tape.lanes)
        self.functions = compiled(text, dict.fromkeys(functions, len(Array)))
        self.pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self.memories = [Memory(tape) for _ in range(threads)]
        self.order = np.concatenate([*tape.indices[Array.WEIGHTS], np.zeros(0, int)]).astype(np.int32)
        self.weights, self.transformed = memory(len(self.order)), memory(tape.floats[Array.TRANSFORMED])
        lengths = [tape.floats[a] for a in (Array.GRADIENT, Array.TAPS)]
        self.total, self.parts = memory(sum(lengths) + 1), memory(0)  # and a zero, for parameters without a gradient
        places = np.concatenate([np.zeros(0, int), *tape.indices[Array.GRADIENT], *tape.indices[Array.TAPS]])
        self.places = np.full(tape.parameters + 1, len(places))
        self.places[places] = np.arange(len(places))
        self.places = self.places[:-1].astype(np.int32)

    def function(self, name: str, **arrays: np.ndarray) -> None:
        start = {"WEIGHTS": self.weights, "TRANSFORMED": self.transformed} | arrays
        self.functions[name](*(start[a.name].ctypes.data if a.name in start else None for a in Array))

    def load(self, parameters: np.ndarray) -> None:
        """Take over the parameters: (n + 1,) float32, the last one 0."""
        np.take(parameters, self.order, out=self.weights[: len(self.order)])
        self.function("pack")

    def groups(self, n: int, work: Callable[[int, slice, Memory], None]) -> None:
        """work(group, its images, a thread's memory) for each group of n images."""
        group = itertools.count()
        last = -(-n // self.lanes)

        def all_that_are_left(own: Memory) -> None:
            while (g := next(group)) < last:
                work(g, slice(g * self.lanes, min((g + 1) * self.lanes, n)), own)

        if self.pool and last > 1:
            list(self.pool.map(all_that_are_left, self.memories))
        else:
            all_that_are_left(self.memories[0])

    def forward(self, inputs: dict[str, np.ndarray], output: Map) -> np.ndarray:
        """The map `output` (n, C, H, W) of inputs (n, C, H, W) by their names, or (1, ..) for all images."""
        n = max(len(x) for x in inputs.values())
        result = np.empty((n, output.channels, output.size, output.size), np.float32)

        def work(_: int, images: slice, own: Memory) -> None:
            own.put(inputs, images)
            self.function("run", MEMORY=own.maps, SCRATCH=own.scratch)
            result[images] = own.images(output, self.lanes)[: images.stop - images.start]

        self.groups(n, work)
        return result

    def backward(self, inputs: dict[str, np.ndarray], ends: tuple[Address, Address]) -> tuple[float, np.ndarray]:
        """The mean squared error against the input `target`, and the parameters' gradient (n,)."""
        n, size = len(inputs["target"]), inputs["target"].size
        groups, length = -(-n // self.lanes), self.tape.floats[Array.GRADIENT]
        if self.parts.size != groups * length:  # kept for the next step: fresh memory costs time
            self.parts = memory(groups * length)
        parts, losses = self.parts.reshape(groups, length), np.zeros(n)

        def work(group: int, images: slice, own: Memory) -> None:
            own.put(inputs, images)
            scale, loss = (own.maps[a.offset : a.offset + self.lanes] for a in ends)
            present = images.stop - images.start
            scale[:present], scale[present:] = 2 / size, 0
            self.function("run", MEMORY=own.maps, SCRATCH=own.scratch, GRADIENT=parts[group])
            losses[images] = loss[:present]

        self.groups(n, work)
        np.add.reduce(parts, 0, out=self.total[:length])
        self.function("unpack", GRADIENT=self.total, TAPS=self.total[length:])
        return losses.sum() / size, np.take(self.total, self.places)


def memory(floats: int) -> np.ndarray:
    """Zeros, at the start of a page; of a large one where the system has them, as many small ones are slow to find."""
    page = 2**21
    area = mmap.mmap(-1, (4 * floats // page + 2) * page, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):
            area.madvise(mmap.MADV_HUGEPAGE)
    raw = np.frombuffer(area, np.uint8)
    start = -raw.ctypes.data % page
    return raw[start : start + 4 * max(floats, ALIGN)].view(np.float32)[:floats]
