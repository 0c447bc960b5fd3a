"""Makes `import torchvision` work beside any torch build. Import this before torchvision or pytorch_fid.

PyPI's torchvision is a CUDA build. Beside a CPU-only torch its compiled library cannot be loaded, the
operators `nms` and `qnms` stay undefined, and torchvision's import fails where it attaches shape functions to
them ("operator torchvision::nms does not exist"). Declaring the two operators is enough: the parts used here
(data sets, Inception) never call them. Where the library loads, nothing is changed.
"""

from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import torch


def _load_compiled_operators() -> None:
    """Load torchvision's own operators, as its import does. find_spec runs none of its code."""
    spec = find_spec("torchvision")
    for folder in spec.submodule_search_locations if spec else []:
        for library in [*Path(folder).glob("_C*.so"), *Path(folder).glob("_C*.pyd")]:
            with suppress(OSError):  # a build for another torch; torchvision ignores this too
                torch.ops.load_library(library)


_load_compiled_operators()
if not hasattr(torch.ops.torchvision, "nms"):
    _declarations = torch.library.Library("torchvision", "FRAGMENT")  # they live as long as it does
    for _name in ("nms", "qnms"):
        _declarations.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
