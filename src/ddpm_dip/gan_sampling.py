"""A trained DCGAN's generator, ready to sample."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from . import backends, files
from .errors import UserError
from .networks.dcgan import build_generator


def load_generator(path: Path | str) -> tuple[Callable[[Tensor], Tensor], int]:
    """A DCGAN's generator, z (N, latent_dim) -> images (N, C, H, W), and its latent_dim.

    In eval mode and on one image at a time, so that an image's rounding does not depend on its batch. Raises UserError
    for another net's file.
    """
    tensors, header = files.read_safetensors(path)
    if header.get("network") != "dcgan":
        raise UserError(f"{path}: not the weights of a DCGAN's generator, but of {header.get('network')}")
    image_shape = tuple(int(side) for side in header["image_shape"].split("x"))
    net = build_generator(image_shape, int(header["latent_dim"]), int(header["width"]))
    net.load_state_dict(tensors)
    return torch.inference_mode()(backends.one_by_one(net.eval())), int(header["latent_dim"])
