"""Features for the FID: pytorch-fid's Inception, its weights verified and loaded as plain tensors."""

import hashlib
import http.client
import pickle
import urllib.request
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from ..data import torchvision_import  # noqa: F401 (must come before pytorch_fid)
from ..jobs.errors import UserError
from ..jobs.files import sha256, write_atomic

# isort: split
from pytorch_fid import inception as pytorch_fid_inception

WEIGHTS_BYTES = 95_628_359
WEIGHTS_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"


def check_weights(path: Path | str) -> None:
    """Raise UserError, naming the file, where it is missing or is not pytorch-fid's weights to the byte."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; it should be pytorch-fid's Inception weights")
    _check(path, path.stat().st_size, lambda: sha256(path))


def fetch_weights(path: Path | str) -> None:
    """Download pytorch-fid's weights, from its own address, to `path`: whole or not at all.

    Raises UserError where the download fails, or brings anything but those weights.
    """
    try:
        with urllib.request.urlopen(pytorch_fid_inception.FID_WEIGHTS_URL, timeout=60) as response:
            content = response.read(WEIGHTS_BYTES + 1)  # one byte too many is enough to be refused
    except (OSError, http.client.HTTPException) as error:
        raise UserError(f"{path}: the Inception weights cannot be downloaded ({error}); give a copy instead") from error
    _check(f"{path} (download)", len(content), lambda: hashlib.sha256(content).hexdigest())
    write_atomic(path, lambda temporary: temporary.write_bytes(content))


def _check(name: Path | str, size: int, digest) -> None:
    if size != WEIGHTS_BYTES:
        raise UserError(f"{name}: {size} bytes, but pytorch-fid's Inception weights have {WEIGHTS_BYTES}")
    if (found := digest()) != WEIGHTS_SHA256:
        raise UserError(f"{name}: sha256 {found}, but pytorch-fid's Inception weights have {WEIGHTS_SHA256}")


def load_inception(path: Path | str, *, verify: bool = True) -> nn.Module:
    """pytorch-fid's InceptionV3 (2048 features), in eval mode on the CPU, with the weights of `path`.

    verify: check size and digest first (`check_weights`); False is for stand-ins of the same shapes.
    Raises UserError, naming the file, where it is refused, holds more than plain tensors, or does not fit.
    """
    if verify:
        check_weights(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        # pytorch-fid cannot take weights that are there already, so its own download is replaced meanwhile
        with mock.patch.object(pytorch_fid_inception, "load_state_dict_from_url", lambda *_, **__: state):
            net = pytorch_fid_inception.InceptionV3([3])  # block 3: the final pool, 2048 features
    except (OSError, RuntimeError, EOFError, TypeError, pickle.UnpicklingError) as error:
        raise UserError(f"{path}: not usable as Inception weights ({error})") from error
    return net.eval()


@torch.inference_mode()
def inception_features(net: nn.Module, rgb: Tensor, batch: int = 32) -> np.ndarray:
    """Pool features (N, 2048) float32 of 8-bit RGB images (N, 3, H, W) uint8, on the device of `net`.

    The net gets what pytorch-fid's gets: values / 255; it resizes to 299 and scales to [-1, 1] itself.
    Raises ValueError for images of another type or number of channels.
    """
    if rgb.dtype != torch.uint8 or rgb.ndim != 4 or rgb.shape[1] != 3:
        raise ValueError(f"images must be (N, 3, H, W) uint8, not {tuple(rgb.shape)} {rgb.dtype}")
    device = next(net.parameters()).device
    parts = [net(part.to(device).float() / 255)[0].flatten(1).cpu() for part in rgb.split(batch)]
    return torch.cat(parts).numpy()
