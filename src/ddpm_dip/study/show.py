"""What an experiment's figures show: which axis has which role in each kind of figure."""

from ..jobs.errors import UserError, nearest
from . import plugins
from .axes import AXES, Cell

NEVER_A_ROLE = ("replicate",)  # replicates become bands


def varying(cells: list[Cell]) -> list[str]:
    """The axes on which the cells differ, where one applies to a cell and not to another too."""
    return [name for name in AXES if name not in NEVER_A_ROLE and len({getattr(cell, name) for cell in cells}) > 1]


def default(cells: list[Cell]) -> dict[str, dict[str, list[str]]]:
    """Curves along the first ordered axis that varies, where there is one, and picture strips. It always succeeds."""
    vary = varying(cells)
    panel = [name for name in vary if name == "model"]
    rest = [name for name in vary if name not in panel]
    # nfe follows steps where each cell evaluates all of them: then it is no axis of its own
    if "nfe" in rest and "steps" in rest and all(cell.nfe == cell.steps for cell in cells):
        rest.remove("nfe")
    several = [name for name in rest if len({getattr(cell, name) for cell in cells} - {None}) > 1]
    ordered = [name for name in ("nfe", "steps", "epochs", "passes") if name in several]
    found = {}
    if ordered:
        x = ordered[0]
        found["curves"] = {"x": [x], "line": [name for name in rest if name != x], "panel": panel}
    block = [name for name in ordered[:1] if name != "passes"]
    found["strips"] = {"row": [name for name in rest if name not in block], "block": block, "panel": panel}
    return found


def resolve(cells: list[Cell], asked: dict | None, key: str) -> dict[str, dict]:
    """Kind of figure -> role -> list of axes, and the kind's other options as they are.

    asked: the `show` of a configuration; None is the default. Raises UserError, naming the key, for an unknown kind,
    role or axis, for an axis with two roles, and for one that varies and has none.
    """
    if asked is None:
        return default(cells)
    kinds = {
        kind: plugins.constant("figure", kind, "ROLES", ())
        for kind in plugins.names("figure")
        if plugins.constant("figure", kind, "ROLES") or plugins.constant("figure", kind, "OPTIONS")
    }  # the other kinds belong to no experiment
    found = {}
    for kind, parts in asked.items():
        if kind not in kinds:
            raise UserError(f"{key}: unknown kind of figure {kind!r}; {nearest(kind, kinds)}")
        options = plugins.constant("figure", kind, "OPTIONS", ())
        roles = {role: [] for role in kinds[kind]}
        for role, value in parts.items():
            if role in options:
                values = value if isinstance(value, list) else [value]
                if any(isinstance(each, bool) or not isinstance(each, str | int | float) for each in values):
                    raise UserError(f"{key}.{kind}.{role} is {value!r}; it must be text, a number, or a list of these")
                roles[role] = value
                continue
            if role not in roles:
                raise UserError(f"{key}.{kind}: unknown role {role!r}; {nearest(role, [*roles, *options])}")
            roles[role] = value if isinstance(value, list) else [value]
            for axis in roles[role]:
                if not isinstance(axis, str):
                    raise UserError(f"{key}.{kind}.{role}: {axis!r} is no axis; an axis or a list of axes is asked for")
                if axis not in AXES or axis in NEVER_A_ROLE:
                    why = "replicates become bands" if axis in NEVER_A_ROLE else "unknown axis"
                    raise UserError(f"{key}.{kind}.{role}: {axis!r}: {why}; {nearest(axis, AXES)}")
        if not any(roles[role] for role in kinds[kind]):
            roles |= {role: list(axes) for role, axes in plugins.constant("figure", kind, "DEFAULTS", {}).items()}
        given = [axis for role in kinds[kind] for axis in roles[role]]
        if twice := [axis for axis in given if given.count(axis) > 1]:
            raise UserError(f"{key}.{kind}: {twice[0]} has two roles")
        along = plugins.constant("figure", kind, "ALONG", ())
        if kinds[kind] and (lost := unexplained(cells, [*given, *along])):  # one without roles has a figure a cell
            raise UserError(
                f"{key}.{kind}: {lost[0]} varies and has no role: give it one of {', '.join(kinds[kind])}, or one value"
            )
        found[kind] = roles
    return found


def unexplained(cells: list[Cell], given: list[str]) -> list[str]:
    """The varying axes without a role on which cells differ that are alike on all axes with one."""
    places: dict[tuple, Cell] = {}
    for cell in cells:
        at = tuple(getattr(cell, axis) for axis in (*given, *NEVER_A_ROLE))
        other = places.setdefault(at, cell)
        if differ := [name for name in AXES if getattr(cell, name) != getattr(other, name)]:
            return differ
    return []
