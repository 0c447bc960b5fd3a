"""What the report wants: every figure of a study, with what it is made from and where it stands. Light imports only.

Each kind of figure is a file of `report/figures`, found by its name; nothing else lists them.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..jobs.errors import UserError, nearest
from . import figures

TEMPLATES = Path(__file__).with_name("templates")
SUFFIXES = (".j2", ".js", ".css")
# the page's templates, which shape the report beside its code: paths relative to the package
TEXTS = tuple(
    sorted(str(path.relative_to(TEMPLATES.parents[1])) for path in TEMPLATES.rglob("*") if path.suffix in SUFFIXES)
)
CELLS_TABLES = {"cells": "tables/cells.csv", "floors": "tables/floors.csv"}


class Wanted(NamedTuple):
    """One figure of a study.

    file: its name below figures/, a .png.
    kind: its file in report/figures; options: what `draw` gets, as JSON takes it.
    inputs: role -> a path, a list or a mapping of paths, relative to the study's folder.
    section: of the page: an experiment's name after "experiment-", or the key of another section.
    title: the heading under which the page gathers neighbouring figures; caption: the words below; alt: those instead.
    shows: the model and display that it is of, where it is of one; drawn: what is to be said of the picture alone, and
    not of its charts.
    """

    file: str
    kind: str
    options: dict
    inputs: dict[str, str | list[str] | dict[str, str]]
    section: str
    title: str
    caption: str
    alt: str
    shows: dict[str, str] = {}
    drawn: str = ""

    @property
    def name(self) -> str:
        return self.file.rpartition(".")[0]

    @property
    def interactive(self) -> bool:
        """Whether its kind has charts."""
        return figures.has_chart(self.kind)

    @property
    def charts(self) -> str:
        """Where these are, relative to the study's folder."""
        return f"charts/{self.name}.json"


def wanted(study) -> list[Wanted]:
    """Every figure of a study, in the page's order: an experiment's by the order of its `show`, then by kind.

    Raises UserError with the mistakes of all kinds in their options, a line each.
    """
    found, mistakes = [], []
    for kind in figures.kinds():
        try:
            found += figures.load(kind).wanted(study)
        except UserError as error:
            mistakes.append(str(error))
    if mistakes:
        raise UserError("\n".join(mistakes))
    shown = {section(part.name): list(part.show) for part in study.experiments.values()}

    def place(each: Wanted) -> int:
        order = shown.get(each.section, [])
        return order.index(each.kind) if each.kind in order else len(order)

    return sorted(found, key=place)


def section(experiment: str) -> str:
    """The key of an experiment's section. Others' keys begin otherwise, whatever an experiment is called."""
    return f"experiment-{experiment}"


def showing(study, kind: str) -> Iterator[tuple[object, dict]]:
    """The experiments that show a kind of figure, each with the kind's roles and options."""
    for part in study.experiments.values():
        if kind in part.show:
            yield part, part.show[kind]


def uses(study, family: str) -> bool:
    """Whether a model of the family is sampled or interpolated."""
    models = [*(cell.model for cell in study.cells), *(names["model"] for names in study.interpolations.values())]
    return any(study.families.get(model) == family for model in models)


def known_option(part, kind: str, option: str, value: object, known: Sequence[str]) -> None:
    """Raises UserError, naming the key, where an experiment's option is none of the known words."""
    if value not in known:
        key = f"experiments.{part.name}.show.{kind}.{option}"
        raise UserError(f"config: {key}: {value!r} is unknown; {nearest(str(value), known)}")


def file_name(kind: str, *parts: object) -> str:
    """A file name from the parts that tell a figure from all others, those that are None left out."""
    return ".".join([kind, *(str(part).replace("/", "-") for part in parts if part not in (None, ""))]) + ".png"


def point_name(cell, axes: Sequence[str]) -> str:
    """A cell's values on some axes as a part of a file name."""
    from ..study.axes import AXES

    return "-".join(AXES[axis].token(getattr(cell, axis)) for axis in axes if getattr(cell, axis) is not None)


def of_savings(claims: Iterable, name: str, otherwise: object) -> object:
    """The `margin` or `display` that all claims of saved steps share; `otherwise` where they share none."""
    found = {getattr(claim, name) for claim in claims if claim.counted}
    return found.pop() if len(found) == 1 else otherwise
