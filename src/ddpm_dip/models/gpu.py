"""What a computation on a GPU needs, and what the GPU is called."""

import torch

from ..jobs.errors import UserError


def prepare(key: str, tf32: bool = False) -> None:
    """Make convolutions on the GPU deterministic, and compute them in float32 unless `tf32`.

    key: the setting that asked for a GPU. Raises UserError where PyTorch sees none.
    """
    if not torch.cuda.is_available():
        raise UserError(f"{key}: cuda needs a torch with CUDA that sees a GPU; this one sees none")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.deterministic = True


def name(device: str) -> str:
    """The name of the GPU where `device` is `cuda`, else `device` itself."""
    return torch.cuda.get_device_name() if device == "cuda" else device
