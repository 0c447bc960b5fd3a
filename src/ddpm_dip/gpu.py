"""The GPU: whether PyTorch sees one, how exactly it computes, what it is called."""

import torch

from .errors import UserError


def prepare(key: str, tf32: bool = False) -> None:
    """Convolutions on the GPU deterministic, and in float32 unless `tf32`. Raises UserError where PyTorch sees no GPU.

    key: the setting that asked for one.
    """
    if not torch.cuda.is_available():
        raise UserError(f"{key}: cuda needs a torch with CUDA that sees a GPU; this one sees none")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.deterministic = True


def name(device: str) -> str:
    """The GPU's for `cuda`, else `device` itself."""
    return torch.cuda.get_device_name() if device == "cuda" else device
