"""A study: the checked configuration, its cells and what they ask for. Nothing here imports torch."""

from typing import NamedTuple

from . import claims as claimed
from . import config as configuration
from . import grid, show, ways
from .axes import AXES, Axis, Cell

__all__ = ["AXES", "Axis", "Cell", "Experiment", "Study", "cells", "read"]


class Experiment(NamedTuple):
    """One grid. show: kind of figure -> role -> axes."""

    name: str
    title: str
    cells: list[Cell]
    show: dict[str, dict]


class Study(NamedTuple):
    """What one configuration asks for.

    families: of the models, by name; timesteps: how many each with a chain was trained on; cells: of all experiments
    and claims, each once; interpolations: path without suffix -> the settings of images between latents; labelled:
    whether the data set has labels; claims: in the configuration's order.
    """

    name: str
    config: dict
    families: dict[str, str]
    timesteps: dict[str, int]
    cells: list[Cell]
    experiments: dict[str, Experiment]
    interpolations: dict[str, dict]
    labelled: bool
    claims: list[claimed.Claim] = []


def read(config: dict) -> Study:
    """The study of a whole configuration. Raises UserError with all of its mistakes."""
    left_out = configuration.left_out(config)
    config = configuration.check(config)
    experiments = {}
    for name, part in config["experiments"].items():
        if "grid" in part:
            found = grid.expand_all(config, part["grid"], f"experiments.{name}.grid")
            title = part.get("title", name.replace("_", " ").replace("-", " "))
            experiments[name] = Experiment(name, title, found, show.resolve(found, part.get("show"), name))
    families = {name: grid.family_of(config, name) for name in config["models"]}
    labelled = grid.labelled(config)
    claims = claimed.read(config, labelled, left_out)
    every = dict.fromkeys(cell for part in (*experiments.values(), *claims) for cell in part.cells)
    timesteps = {name: grid.timesteps_of(config, name) for name, family in families.items() if grid.has_chain(family)}
    drawn = ways.drawn(config)
    return Study(config["study"], config, families, timesteps, list(every), experiments, drawn, labelled, claims)


def cells(config: dict) -> list[Cell]:
    """All cells of a whole configuration, each once, by experiment, then by claim. Raises UserError as `read` does."""
    return read(config).cells
