"""Networks: each a file of this folder, found by its name (`hw4_sees.py` is the network `hw4-sees`).

A network says in literal constants, which the study reads without importing it, what it is:

    FAMILY = "unet"       the family that trains it, a file of models/families
    WIDTH = 8             its channels where none are asked for; only where the width may be chosen
    SIZES = (16, 28)      the image sizes that it takes; only where they are few

A network of the family `unet` has a PLAN besides, as models/unet.py says; one of the family `dcgan` has the functions
build_generator and build_discriminator, as networks/dcgan.py has them.
"""

import importlib
from pathlib import Path
from types import ModuleType

from ...jobs.errors import UserError


def names(family: str) -> list[str]:
    """The networks of a family, sorted."""
    stems = sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))
    return [stem.replace("_", "-") for stem in stems if family_of(stem) == family]


def family_of(stem: str) -> str | None:
    return getattr(importlib.import_module(f"{__name__}.{stem}"), "FAMILY", None)


def find(name: str, family: str) -> ModuleType:
    """The module of a family's network. Raises UserError for a name that the family does not have."""
    stem = name.replace("-", "_")
    if (Path(__file__).parent / f"{stem}.py").is_file() and family_of(stem) == family:
        return importlib.import_module(f"{__name__}.{stem}")
    raise UserError(f"network {name!r} is unknown; known are {', '.join(names(family))}")
