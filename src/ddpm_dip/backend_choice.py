"""Which backend samples. No torch here: the workflow asks whenever it is parsed."""

import importlib.util
import shutil

from .errors import UserError


def resolve(backend: str, *, own_environments: bool = False) -> str:
    """The backend that `auto` means here, or the one named. Raises UserError where it cannot run.

    own_environments: each rule has one, with OpenVINO in it. `auto` leaves a GPU alone: `cuda` has not run on one yet.
    """
    has_openvino = own_environments or importlib.util.find_spec("openvino") is not None
    if backend == "auto":
        return "openvino" if has_openvino else "torch"
    if backend.startswith("openvino") and not has_openvino:
        raise UserError("sampling.backend: openvino is not installed; `pip install openvino`, or say torch or auto")
    if backend == "cuda" and shutil.which("nvidia-smi") is None:
        raise UserError("sampling.backend: cuda needs an NVIDIA GPU; no nvidia-smi is found here; say auto or torch")
    return backend
