"""What can be added as a file of its own. It is found by its file name and read as a syntax tree; nothing is imported.

A file `loud_noise.py` is named `loud-noise`. What a plug-in needs or takes it says in literal constants, as in
`NEEDS = ("dip",)`.
"""

import ast
from functools import cache
from pathlib import Path

from ..jobs import code
from ..jobs.errors import UserError, nearest

KINDS = {  # kind -> the folder of its files, and the functions or constants that each must define
    "start": ("sampling/warm_starts", ("start",)),
    "sampler": ("sampling/samplers", ("ADDS_NOISE", "HAS_MEMORY", "coefficients", "step")),
    "network": ("models/networks", ("FAMILY",)),
    "family": ("sampling/generators", ("AXES", "build")),
    "dataset": ("data", ("load",)),
    "figure": ("report/figures", ("wanted", "draw")),
}
DIP_NETS = ("dip", "dip-many", "dip-untrained")  # fitted to one image, to many, to none
NEEDS = (*DIP_NETS, "gan", "labels", "covariance")  # what a start may ask for
SPACINGS = ("even", "log-snr")  # of a sampler's timesteps


@cache
def names(kind: str) -> tuple[str, ...]:
    """All plug-ins of a kind, sorted. A file of the folder that defines nothing of the kind is none."""
    folder, must_define = KINDS[kind]
    found = []
    for path in sorted((code.PACKAGE / folder).glob("*.py")):
        if path.stem != "__init__" and (kind != "dataset" or must_define[0] in defined(path)):
            found.append(path.stem.replace("_", "-"))
    return tuple(found)


def file_of(kind: str, name: str) -> Path:
    return code.PACKAGE / KINDS[kind][0] / f"{name.replace('-', '_')}.py"


def module_of(kind: str, name: str) -> str:
    """The dotted name of a plug-in's module, relative to the package."""
    return f"{KINDS[kind][0].replace('/', '.')}.{name.replace('-', '_')}"


@cache
def defined(path: Path) -> dict[str, ast.AST]:
    """What a file defines or imports at its top level, by name."""
    found: dict[str, ast.AST] = {}
    for node in code.syntax_tree(path).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name: node for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id: node for target in targets if isinstance(target, ast.Name)}
    return found


def defines(kind: str, name: str, what: str) -> bool:
    """Whether a plug-in's file defines or imports this."""
    return what in defined(file_of(kind, name))


def constant(kind: str, name: str, key: str, default: object = None) -> object:
    """A literal constant of a plug-in's file. Raises UserError, naming the file, where it is there and not literal."""
    found = literal(file_of(kind, name), key)
    return default if found is None else found


@cache
def literal(path: Path, key: str) -> object:
    node = defined(path).get(key)
    if node is None:
        return None
    try:
        return ast.literal_eval(node.value)
    except (AttributeError, ValueError) as error:
        raise UserError(f"{path}: {key} must be a literal constant, as it is read without running the file") from error


def problem(kind: str, name: str) -> str | None:
    """What is wrong with a plug-in's file, seen without running it; None where nothing is."""
    path = file_of(kind, name)
    try:
        missing = [key for key in KINDS[kind][1] if key not in defined(path)]
        if missing:
            return f"{path}: a {kind} must define {', '.join(missing)}; {name!r} does not"
        if kind == "network" and constant("network", name, "FAMILY") == "unet" and "PLAN" not in defined(path):
            return f"{path}: a network of the family unet must define PLAN; {name!r} does not"
        if kind == "network" and (family := constant("network", name, "FAMILY")) not in names("family"):
            return f"{path}: FAMILY is {family!r}; {nearest(family, names('family'))}"
        if kind == "start":
            node = defined(path)["start"]
            if isinstance(node, ast.FunctionDef) and len(node.args.args) != 1:
                return f"{path}: start takes one argument, the context: def start(context)"
            needs = constant(kind, name, "NEEDS", ())
            if not isinstance(needs, tuple) or not set(needs) <= set(NEEDS):
                return f"{path}: NEEDS is {needs!r}; it must be a tuple of {', '.join(map(repr, NEEDS))}"
            if len(nets := [need for need in needs if need in DIP_NETS]) > 1:
                return f"{path}: NEEDS has {' and '.join(map(repr, nets))}; a start has one DIP net"
        if kind == "sampler" and (spacing := constant(kind, name, "SPACING", "even")) not in SPACINGS:
            return f"{path}: SPACING is {spacing!r}; {nearest(spacing, SPACINGS)}"
    except UserError as error:
        return str(error)
    return None
