"""The kinds of figures, each a file here that is found by its name: `gan_loss.py` is the kind `gan-loss`.

A kind that an experiment can `show` defines `ROLES`, a literal tuple of what an axis can be in it, and `OPTIONS`, a
literal tuple of its other options; either may be empty. It may have two more literals: `DEFAULTS`, role -> axes, for
where an experiment names no role, and `ALONG`, the axes that it tells without a role. A kind that belongs to no
experiment has no `OPTIONS`. Each kind defines two functions:

`wanted(study)` yields a `plan.Wanted` for each figure of that kind that the study is to have.

`draw(inputs, options)` returns a Matplotlib figure. `inputs` are loaded, under the roles that `wanted` gave them: a
.csv is a DataFrame, an .npz a mapping of arrays, with `cell` or `names` as a mapping. Matplotlib and pandas are
imported inside `draw`, through `report.canvas` and `report.tables`, so that planning a study stays quick.

A kind that has a third, `chart(inputs, options)`, is interactive on the page, with the figure in print and where there
is no script: it yields what `charts.document` makes, one a panel, its data with the paths of cells in a column `cell`.
"""

import importlib
from pathlib import Path
from types import ModuleType

from ...jobs.errors import UserError


def kinds() -> list[str]:
    """All kinds of figures, by their files."""
    folder = Path(__file__).parent
    return sorted(path.stem.replace("_", "-") for path in folder.glob("*.py") if path.stem != "__init__")


def load(kind: str) -> ModuleType:
    """The module of a kind. Raises UserError where there is none."""
    if kind not in kinds():
        raise UserError(f"figure {kind}: unknown; right is one of {', '.join(kinds())}")
    return importlib.import_module(f".{kind.replace('-', '_')}", __name__)


def has_chart(kind: str) -> bool:
    return hasattr(load(kind), "chart")


def draw(kind: str, inputs: dict, options: dict | None = None):
    """The Matplotlib figure of that kind. inputs: loaded, by role."""
    from .. import canvas

    module = load(kind)
    canvas.begin()
    return module.draw(inputs, options or {})
