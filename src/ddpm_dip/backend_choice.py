"""Which backend samples. No torch here: the workflow asks whenever it is parsed."""

import importlib.util
import shutil

from .errors import UserError


def resolve(backend: str, device: str = "cpu", *, own_environments: bool = False) -> str:
    """The backend that `auto` means on `device` (cpu or cuda), or the one named. Raises UserError where it cannot run.

    own_environments: each rule has one, with OpenVINO in it.
    """
    has_openvino = own_environments or importlib.util.find_spec("openvino") is not None
    for key, value in (("device", device), ("sampling.backend", backend)):
        if value.startswith("cuda") and shutil.which("nvidia-smi") is None:
            raise UserError(f"{key}: {value} needs an NVIDIA GPU; no nvidia-smi is found here")
    if backend == "auto":
        return "cuda" if device == "cuda" else "openvino" if has_openvino else "torch"
    if backend.startswith("openvino") and not has_openvino:
        raise UserError("sampling.backend: openvino is not installed; `pip install openvino`, or say torch or auto")
    return backend
