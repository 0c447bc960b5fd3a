"""Any nn.Module of a user's own, as a function of a Python file builds it: taken as it is, and trained no further.

`families/diffusers.py` says what its two functions are. The net is called as net(x, t): x (N, C, H, W) float32 in the
range of the data, [-1, 1], and t (N,) int64, the same timestep N times; it returns its prediction, of x's shape.
"""

import importlib.util
import sys
from pathlib import Path

from torch import Tensor, nn

from ...jobs import files
from ...jobs.errors import UserError


class Called(nn.Module):
    """A net of a user's own, with a timestep for each image."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.net(x, t.expand(x.shape[0]))


def take(settings: dict) -> tuple[dict[str, Tensor], dict[str, object]]:
    """The net's weights, and where it is built. Raises UserError where the weights are not those of the net."""
    (source, digest), (weights, _) = settings["files"]
    tensors, function = files.read_safetensors(weights)[0], settings["module"].rpartition(":")[2]
    header = {"network": Path(source).stem, "module": source, "function": function, "module_sha256": digest}
    build(tensors, header)
    return tensors, header


def build(tensors: dict[str, Tensor], header: dict[str, str]) -> nn.Module:
    """Raises UserError, naming the file, where it changed since it was taken, or builds no net of these weights."""
    path, function = Path(header["module"]), header["function"]
    net = built(path, function, header["module_sha256"])
    if not isinstance(net, nn.Module):
        raise UserError(f"{path}: {function}() must return an nn.Module; it returned {type(net).__name__}")
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(f"{path}: the weights are not those of {function}(): {str(error).splitlines()[-1]}") from error
    return Called(net).eval()


def built(path: Path, function: str, digest: str) -> object:
    """What a file's function returns. It may import what lies beside it, also when the net is called."""
    if not path.is_file() or files.sha256(path) != digest:
        raise UserError(f"{path}: gone, or changed after this job was planned; run again")
    if (folder := str(path.resolve().parent)) not in sys.path:
        sys.path.append(folder)
    try:
        spec = importlib.util.spec_from_file_location(f"given_{path.stem}", path)
        module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # dataclasses look for it there
        spec.loader.exec_module(module)
        return getattr(module, function)()
    except Exception as error:  # the user's own code may raise anything
        raise UserError(f"{path}: {type(error).__name__}: {error}") from error
