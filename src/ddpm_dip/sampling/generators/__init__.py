"""Generators: each a module of this folder, found by the name of the family whose models it draws from.

A module says in a literal constant, which the study reads without importing it, which axes apply
to its cells beside `model` and `replicate`:

    AXES = ("epochs", "weights", ...)

and has one function

    build(cell, *, weights, dip, gan, train, labels, dip_size, backend, threads, batch) -> Generator

cell: {axis: value or None}, one of `study.cells`; its replicate is the seed of all noise. weights: those of the model.
dip: those of the fitted DIP net, gan: those of a start's DCGAN; None where the cell needs none. train: the training
images (N, C, H, W) uint8, labels: theirs (N,), None where there are none. dip_size: the side of a DIP net that is not
fitted, in pixels.
backend: a key of `backends.BACKENDS`. batch: the largest number of images drawn at once. Raises UserError where these
do not fit together.

A family whose nets have a chain has a second one, which `with_chain.build` and others make use of:

    ready(weights, kind, image_shape) -> (net(x, t) in eval mode, the schedule that it was trained on)
"""

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import NamedTuple

import numpy as np
from torch import Tensor

from ...jobs.errors import UserError

FAMILIES = tuple(sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__)))


class Weights(NamedTuple):
    """What a .safetensors file holds, as `jobs.files.read_safetensors` returns it. source: its path, for messages."""

    source: object
    tensors: dict[str, Tensor]
    header: dict[str, str]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images that the model was trained on. Raises UserError where the file does not say it."""
        if "image_shape" not in self.header:
            raise UserError(f"{self.source}: not the weights of a model, from the stage train")
        return tuple(int(side) for side in self.header["image_shape"].split("x"))

    def of_kind(self, kind: str) -> dict[str, Tensor]:
        """The tensors called `KIND.name`, by name. Raises UserError where there are none."""
        found = {name.partition(".")[2]: tensor for name, tensor in self.tensors.items() if name.startswith(f"{kind}.")}
        if not found:
            kinds = sorted({name.partition(".")[0] for name in self.tensors})
            raise UserError(f"{self.source}: holds no weights {kind!r}; it has {', '.join(kinds)}")
        return found


class Generator(NamedTuple):
    """Draws the images of given indices.

    draw(indices, callback): raw images (len(indices), C, H, W) float32 on the CPU. callback(t, x) is called with each
    state x of the chain, where it is, before its step. timesteps: the chain's, [] where the family has none. network:
    its name. backend: what computes it, None where that is always PyTorch on the CPU. start(indices): the chain's first
    state alone, on the CPU; None where the family has no chain. level: alphas_cumprod of the chain's first timestep.
    """

    draw: Callable[[Sequence[int], Callable[[int, Tensor], None]], Tensor]
    timesteps: list[int]
    image_shape: tuple[int, int, int]
    network: str
    backend: str | None
    start: Callable[[Sequence[int]], Tensor] | None = None
    level: float | None = None


def find(family: str) -> ModuleType:
    """The module of a family. Raises UserError for one that has none."""
    if family not in FAMILIES:
        raise UserError(f"settings.family: {family!r} is unknown; known are {', '.join(FAMILIES)}")
    return importlib.import_module(f"{__name__}.{family.replace('-', '_')}")


def build(
    family: str,
    cell: dict[str, object],
    *,
    weights: Weights | None,
    dip: Weights | None,
    train: np.ndarray | None,
    backend: str,
    threads: int,
    batch: int,
    gan: Weights | None = None,
    labels: np.ndarray | None = None,
    dip_size: int = 32,
) -> Generator:
    """The generator of a cell of `family`, with the arguments described above."""
    given = {"weights": weights, "dip": dip, "gan": gan, "train": train, "labels": labels, "dip_size": dip_size}
    return find(family).build(cell, **given, backend=backend, threads=threads, batch=batch)
