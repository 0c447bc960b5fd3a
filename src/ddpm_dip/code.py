"""What code shapes a stage's result, and its digest.

It is taken over the syntax tree, so that comments, docstrings and layout do not count.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

from .errors import UserError

PACKAGE = Path(__file__).parent
# The edge: messages, and how files are written and recorded. A change there cannot change what a result says.
NEUTRAL = {"code", "errors", "files", "provenance"}


def module_file(name: str) -> Path | None:
    """The file of the package's module `name` (dotted, relative to the package; "" is the package itself)."""
    path = PACKAGE.joinpath(*name.split(".")) if name else PACKAGE
    for candidate in (path / "__init__.py", path.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None


def syntax_tree(path: Path) -> ast.Module:
    """Raises UserError, naming the file, where it is no Python."""
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:  # ValueError: bytes that are no UTF-8
        raise UserError(f"{path}: not readable as Python: {error}") from error


@cache
def imported(path: Path) -> frozenset[str]:
    """The package's modules that a file imports anywhere, functions included: dotted names relative to the package."""
    inside = path.relative_to(PACKAGE).with_suffix("").parts if path.is_relative_to(PACKAGE) else None
    package = list(inside[:-1]) if inside else []  # of a module and of an __init__ alike, the folder it lies in
    names = set()
    for node in ast.walk(syntax_tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[2] for alias in node.names if alias.name.split(".")[0] == PACKAGE.name}
        elif isinstance(node, ast.ImportFrom):
            if node.level and inside:
                base = package[: len(package) - node.level + 1]
            elif not node.level and node.module and node.module.split(".")[0] == PACKAGE.name:
                base = []
            else:
                continue
            module = node.module or ""
            base += (module if node.level else module.partition(".")[2]).split(".") if module else []
            base = [part for part in base if part]
            names.add(".".join(base))
            names |= {".".join([*base, alias.name]) for alias in node.names}
    return frozenset(name for name in names if name and module_file(name))


def closure(script: Path, plugins: tuple[str, ...] = ()) -> dict[str, Path]:
    """The script and every package module it can import, packages' own files included; `plugins` are modules that it
    loads by name."""
    found: dict[str, Path] = {}
    waiting = set(imported(script)) | set(plugins)
    while waiting:
        name = waiting.pop()
        parents = {".".join(name.split(".")[:depth]) for depth in range(1, name.count(".") + 1)}
        if name not in found:
            found[name] = module_file(name)
            waiting |= imported(found[name]) | parents
            waiting -= found.keys()
    return {"script": script} | {name: found[name] for name in sorted(found) if name not in NEUTRAL}


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
def digest(script: Path, plugins: tuple[str, ...] = (), texts: tuple[str, ...] = ()) -> str:
    """Hex digest of the code behind a stage. texts: the package's other files that shape its result, byte for byte."""
    sha = hashlib.sha256()
    for name, path in closure(script, plugins).items():
        sha.update(f"\0{name}\0{normal_form(path)}".encode())
    for name in texts:
        sha.update(b"\0" + (PACKAGE / name).read_bytes())
    return sha.hexdigest()
