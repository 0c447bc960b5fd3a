"""What code shapes a stage's result, and its digest.

It is taken over the syntax tree, so that comments, docstrings and layout do not count.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

from .errors import UserError

PACKAGE = Path(__file__).resolve().parents[1]
BESIDE = {"lanes"}  # packages beside it, whose modules' names begin with the package's
NEUTRAL = {"jobs"}


def module_file(name: str) -> Path | None:
    """The file of the module `name` (dotted, relative to the package; "" is the package itself)."""
    first, *_ = parts = name.split(".")
    path = (PACKAGE.parent if first in BESIDE else PACKAGE).joinpath(*parts)
    for candidate in (path / "__init__.py", path.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None


def syntax_tree(path: Path) -> ast.Module:
    """Raises UserError, naming the file, where it is no Python."""
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (SyntaxError, ValueError) as error:  # ValueError: bytes that are no UTF-8
        raise UserError(f"{path}: not readable as Python: {error}") from error


@cache
def imported(path: Path) -> frozenset[str]:
    """The modules that a file imports anywhere, functions included: dotted names as `module_file` takes them."""
    root = PACKAGE if path.is_relative_to(PACKAGE) else PACKAGE.parent
    inside = path.relative_to(root).with_suffix("").parts if path.is_relative_to(root) else None
    package = list(inside[:-1]) if inside else []  # of a module and of an __init__ alike, the folder it lies in

    def relative(module: str) -> str:
        first, _, rest = module.partition(".")
        return rest if first == PACKAGE.name else module if first in BESIDE else ""

    names = set()
    for node in ast.walk(syntax_tree(path)):
        if isinstance(node, ast.Import):
            names |= {relative(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level and inside:
                base = package[: len(package) - node.level + 1]
            elif not node.level and node.module and node.module.split(".")[0] in {PACKAGE.name, *BESIDE}:
                base = []
            else:
                continue
            module = node.module or ""
            base += (module if node.level else relative(module)).split(".") if module else []
            base = [part for part in base if part]
            names.add(".".join(base))
            names |= {".".join([*base, alias.name]) for alias in node.names}
    return frozenset(name for name in names if name and module_file(name))


def closure(module: str, plugins: tuple[str, ...] = ()) -> dict[str, Path]:
    """A module and every module of the package that it can import, packages' own files included, by name.

    plugins: modules that it loads by name. The room `jobs` is left out, as how files are written and recorded cannot
    change what a result says.
    """
    found: dict[str, Path] = {}
    waiting = {module, *plugins}
    while waiting:
        name = waiting.pop()
        parents = {".".join(name.split(".")[:depth]) for depth in range(1, name.count(".") + 1)}
        if name not in found:
            found[name] = module_file(name)
            waiting |= imported(found[name]) | parents
            waiting -= found.keys()
    return {name: found[name] for name in sorted(found) if name.split(".")[0] not in NEUTRAL}


@cache
def normal_form(path: Path) -> str:
    """A Python file without comments, docstrings and layout."""
    tree = syntax_tree(path)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


@cache
def source(names: tuple[str, ...]) -> str:
    """Hex digest of the bytes of modules and files, by the names that `digests` gives them, in any order."""
    paths = {name: PACKAGE / name if (PACKAGE / name).is_file() else module_file(name) for name in sorted(names)}
    whole = hashlib.sha256()
    for name, path in paths.items():
        whole.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest() if path else 'gone'}\n".encode())
    return whole.hexdigest()[:16]


@cache
def digest_of(name: str) -> str:
    """Hex digest of one module of the package (dotted name), or, where a file of that name is there, of its bytes."""
    if (PACKAGE / name).is_file():
        return hashlib.sha256((PACKAGE / name).read_bytes()).hexdigest()[:16]
    path = module_file(name)
    if path is None:
        return "gone"
    return hashlib.sha256(normal_form(path).encode()).hexdigest()[:16]


@cache
def digests(stage: str, plugins: tuple[str, ...] = (), texts: tuple[str, ...] = ()) -> dict[str, str]:
    """Module -> digest, of all code behind a stage.

    plugins: modules that it loads by name; texts: the package's other files that shape its result, byte for byte.
    """
    return {name: digest_of(name) for name in [*closure(f"stages.{stage}", plugins), *texts]}


def shown(name: str) -> str:
    """A module's file as a user knows it: `sampling/noise.py`."""
    path = PACKAGE / name if (PACKAGE / name).is_file() else module_file(name)
    return str(path.relative_to(PACKAGE if path.is_relative_to(PACKAGE) else PACKAGE.parent)) if path else name
