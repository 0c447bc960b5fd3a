"""Which backend samples, and which trains U-Nets. No torch here: the workflow asks whenever it is parsed."""

import importlib
import importlib.util
import shutil

from ..jobs.errors import UserError

FEW = 8  # below that many images at a time lanes, which computes as many as a vector has floats, is slower


def resolve(backend: str, device: str = "cpu", *, own_environments: bool = False, batch: int = FEW) -> str:
    """The backend that `auto` means on `device` (cpu or cuda), or the one named. Raises UserError where it cannot run.

    own_environments: each rule has one, with OpenVINO in it. batch: how many images are drawn at a time.
    """
    has_openvino = own_environments or importlib.util.find_spec("openvino") is not None
    for key, value in (("device", device), ("sampling.backend", backend)):
        if value.startswith("cuda") and shutil.which("nvidia-smi") is None:
            raise UserError(f"config: {key}: {value} needs an NVIDIA GPU; no nvidia-smi is found here")
    if backend == "auto":
        if device == "cuda":
            return "cuda"
        return "lanes" if batch >= FEW and has_lanes() else "openvino" if has_openvino else "torch"
    if backend.startswith("openvino") and not has_openvino:
        raise UserError(
            "config: sampling.backend: openvino is not installed; `pip install openvino`, or say torch or auto"
        )
    if backend == "lanes":
        needs_lanes("sampling.backend")
    return backend


def resolve_training(backend: str, device: str = "cpu") -> str:
    """The backend that `auto` means for the training of U-Nets, or the one named. Raises UserError as `resolve`."""
    if backend == "auto":
        return "lanes" if device == "cpu" and has_lanes() else "torch"
    if backend == "lanes":
        if device != "cpu":
            raise UserError(
                f"config: training.backend: lanes is for the CPU, and device is {device}; say torch or auto"
            )
        needs_lanes("training.backend")
    return backend


def of_dip(backend: str, *, own_environments: bool = False) -> str:
    """What computes the DIP net where `backend` samples: lanes has U-Nets alone."""
    if backend == "lanes":
        by_openvino = own_environments or importlib.util.find_spec("openvino") is not None
    else:
        by_openvino = backend.startswith("openvino")
    return "openvino" if by_openvino else "torch"


def of_config(config: dict, *, own_environments: bool = False) -> dict[str, str | int]:
    """What a study's config means here, as study.plan's Machine has it."""
    asked, device = config["sampling"]["backend"], config["device"]
    backend = resolve(asked, device, own_environments=own_environments)
    return {
        "backend": backend,
        "dip": of_dip(backend, own_environments=own_environments),
        "few": resolve(asked, device, own_environments=own_environments, batch=1),
        "many": FEW,
        "training": resolve_training(config["training"]["backend"], device),
    }


def has_lanes() -> bool:
    """Whether its package and llvmlite are here, and the CPU is one that it writes code for."""
    if any(importlib.util.find_spec(name) is None for name in ("lanes", "llvmlite")):
        return False
    # by name: what another backend made does not depend on its code
    return importlib.import_module("lanes.vectors").of_this_machine() is not None


def needs_lanes(key: str) -> None:
    if not has_lanes():
        raise UserError(f"config: {key}: lanes needs llvmlite (`pip install llvmlite`) and a CPU with AVX2; say auto")
