"""The axes of an experiment, and the cell: a point on them. No torch here, nor in the rest of this room.

A path's parts, the tables' columns, sort orders, the schema's entries and labels all derive from AXES.
"""

from collections import namedtuple
from collections.abc import Callable
from typing import NamedTuple

WEIGHTS = {"last": "last weights", "best_training_loss": "weights of the lowest training loss", "ema": "EMA weights"}


class Axis(NamedTuple):
    """One named choice.

    title: of a figure's axis; schema: the JSON schema of one value; token(value): its part of a path; joined: the
    token stands in one folder name with the one before; label(value): in words; default: the value where none is given,
    if it is the same for all studies; ordered: the values are numbers, to draw along.
    """

    name: str
    title: str
    schema: dict
    token: Callable[[object], str]
    label: Callable[[object], str]
    joined: bool = False
    default: object = None
    ordered: bool = False

    def order(self, value: object) -> tuple:
        """A sort key of a value. None, which says that the axis does not apply, comes first."""
        return (value is not None, value if value is not None else 0)


def count(most: int, least: int = 1) -> dict:
    return {"type": "integer", "minimum": least, "maximum": most}


NAME = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]*$"}
MOST_STEPS = 65_536  # of any chain, as the noise's keys have it
TIMESTEPS = 1000  # of this project's own nets

AXES = {
    axis.name: axis
    for axis in (
        Axis("model", "model", NAME, str, str),
        Axis("replicate", "replicate", count(2**32 - 1, 0), lambda r: f"r{r}", lambda r: f"replicate {r}"),
        Axis(
            "epochs",
            "epochs of training",
            count(100_000),
            lambda epochs: f"epoch-{epochs:04d}",
            lambda epochs: f"{epochs} epoch{'s' * (epochs != 1)}",
            ordered=True,
        ),
        Axis("weights", "weights", {"enum": list(WEIGHTS)}, str, WEIGHTS.get, joined=True),
        Axis("start", "start", NAME, str, lambda name: name.replace("-", " "), default="noise"),
        Axis(
            "passes",
            "passes through the DIP net",
            count(1000),
            lambda passes: f"p{passes:02d}",
            lambda passes: f"{passes} pass{'es' * (passes != 1)}",
            joined=True,
            default=2,
            ordered=True,
        ),
        Axis("sampler", "sampler", NAME, str, str, default="ancestral"),
        Axis(
            "clip_x0",
            "clipping of x0",
            {"type": "boolean"},
            lambda clip: "clip" if clip else "",
            lambda clip: "x0 clipped" if clip else "x0 not clipped",
            joined=True,
            default=False,
        ),
        Axis(
            "steps",
            "K (the chain's last K timesteps)",
            count(MOST_STEPS),
            lambda steps: f"K{steps:04d}",
            lambda steps: f"K = {steps}",
            ordered=True,
        ),
        Axis(
            "nfe",
            "evaluations of the net (NFE)",
            count(MOST_STEPS),
            lambda nfe: f"nfe{nfe:04d}",
            lambda nfe: f"{nfe} evaluation{'s' * (nfe != 1)}",
            joined=True,
            ordered=True,
        ),
    )
}


class Cell(namedtuple("Cell", AXES)):
    """One set of generated images: a value on each axis, None where the axis does not apply."""

    __slots__ = ()

    @property
    def path(self) -> str:
        """All that identifies the cell, as a relative path without suffix. What does not apply is not in it."""
        text = ""
        for axis, value in zip(AXES.values(), self, strict=True):
            if value is not None and (token := axis.token(value)):
                text += ("-" if axis.joined and text and not text.endswith("/") else "/" * bool(text)) + token
        return text

    def sort_key(self) -> tuple:
        return tuple(axis.order(value) for axis, value in zip(AXES.values(), self, strict=True))
