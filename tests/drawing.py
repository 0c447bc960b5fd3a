"""Nets with random weights, as files of results, and cells to draw from them: for tests of the stages that sample."""

from pathlib import Path

import numpy as np
import torch

from ddpm_dip.jobs import files
from ddpm_dip.models import build_dip, build_unet, networks

SHAPE = (1, 16, 16)
TRAIN = np.random.default_rng(0).integers(0, 256, (20, *SHAPE), dtype=np.uint8)
AXES = ("model", "replicate", "epochs", "weights", "start", "passes", "sampler", "clip_x0", "steps", "nfe")


def lively_unet(name: str = "hw4-sees") -> torch.nn.Module:
    """Random weights, but predictions of the size that a trained net's have."""
    torch.manual_seed(0)
    net = build_unet(name, SHAPE)
    with torch.no_grad():
        net.conv_out.weight *= 300
    return net.eval()


def random_dip() -> torch.nn.Module:
    torch.manual_seed(1)
    return build_dip(1)


def random_gan() -> torch.nn.Module:
    torch.manual_seed(2)
    return networks.find("dcgan", "dcgan").build_generator(SHAPE, 100, 8).eval()


def write(folder: Path) -> Path:
    """Files of a study: data.npz, unet.safetensors (of which `last` is all zeros), gan.safetensors, dip.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    files.write_npz(folder / "data.npz", train=TRAIN, reference=TRAIN)
    net = lively_unet().state_dict()
    tensors = {f"ema.{name}": tensor for name, tensor in net.items()}
    tensors |= {f"last.{name}": torch.zeros_like(tensor) for name, tensor in net.items()}
    header = {"family": "unet", "network": "hw4-sees", "image_shape": "1x16x16"}
    files.write_safetensors(folder / "unet.safetensors", tensors, header)
    tensors = {f"last.{name}": tensor for name, tensor in random_gan().state_dict().items()}
    header = {"family": "dcgan", "network": "dcgan", "image_shape": "1x16x16", "latent_dim": 100, "width": 8}
    files.write_safetensors(folder / "gan.safetensors", tensors, header)
    header = {"network": "dip", "image_channels": 1}
    files.write_safetensors(folder / "dip.safetensors", random_dip().state_dict(), header)
    return folder


def cell(**axes: object) -> dict[str, object]:
    """A cell with a value on each axis, None where none is given."""
    return dict.fromkeys(AXES) | {"replicate": 3} | axes


def unet_cell(**axes: object) -> dict[str, object]:
    """A cell of the family unet: 4 ancestral steps from noise."""
    default = {"model": "m", "epochs": 1, "weights": "ema", "start": "noise", "sampler": "ancestral", "clip_x0": False}
    axes = default | {"steps": 4} | axes
    return cell(**{"nfe": axes["steps"]} | axes)
