"""The studies' noise-prediction U-Nets: one builder, each network a plan (its widths, its activations, its stages).

A plan's stage is a list of (in, out) channel pairs, one a block; the block is LayerNorm over (C, H, W), then two 3x3
convolutions. Resolutions: H, H/2, H/4, and a middle of (H/4 - 1) // 2 on each side.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError

TIMESTEPS = 1000


class Plan(NamedTuple):
    time_dim: int
    stages: dict[str, list[tuple[int, int]]]  # b1, b2, b3, mid, b4, b5, b_out; 0 stands for the image's channels
    first_norm: bool  # False leaves the very first LayerNorm out, so that brightness and contrast get in


HW4_STAGES = {
    "b1": [(0, 10), (10, 10), (10, 10)],
    "b2": [(10, 20), (20, 20), (20, 20)],
    "b3": [(20, 40), (40, 40), (40, 40)],
    "mid": [(40, 20), (20, 20), (20, 40)],
    "b4": [(80, 40), (40, 20), (20, 20)],
    "b5": [(40, 20), (20, 10), (10, 10)],
    "b_out": [(20, 10), (10, 10), (10, 10)],
}
PLANS = {
    "hw4": Plan(time_dim=100, stages=HW4_STAGES, first_norm=True),
    "hw4-sees": Plan(time_dim=100, stages=HW4_STAGES, first_norm=False),
}


def sinusoidal_table(timesteps: int, dim: int) -> Tensor:
    """(timesteps, dim): columns 2i and 2i+1 are sin(t w_i) and cos(t w_i) with w_i = 10000^(-4i/dim), as published.

    The exponent runs twice as fast as in the Transformer's formula (Vaswani et al. 2017, section 3.5).
    """
    i = torch.arange(dim // 2, dtype=torch.float64)
    angles = torch.arange(timesteps, dtype=torch.float64)[:, None] * 10_000.0 ** (-4 * i / dim)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).float()


class Block(nn.Module):
    """LayerNorm over (C, H, W) -> conv3x3 -> SiLU -> conv3x3 -> SiLU. `normalize=False` skips the LayerNorm's use."""

    def __init__(self, channels_in: int, channels_out: int, size: int, norm: bool = True, normalize: bool = True):
        super().__init__()
        self.norm = nn.LayerNorm((channels_in, size, size)) if norm else None
        self.normalize = norm and normalize
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if self.normalize:
            x = self.norm(x)
        return F.silu(self.conv2(F.silu(self.conv1(x))))


class UNet(nn.Module):
    """net(x, t): x (N, C, H, W) float, t (N,) int64 in 0..999 -> predicted noise (N, C, H, W)."""

    def __init__(self, plan: Plan, channels: int, size: int):
        super().__init__()
        half, quarter = size // 2, size // 4
        sizes = {"b1": size, "b2": half, "b3": quarter, "mid": (quarter - 1) // 2}
        sizes |= {"b4": quarter, "b5": half, "b_out": size}
        table = sinusoidal_table(TIMESTEPS, plan.time_dim)
        self.time_table = nn.Embedding.from_pretrained(table, freeze=True)
        self.stages, self.time_mlps = nn.ModuleDict(), nn.ModuleDict()
        for name, pairs in plan.stages.items():
            pairs = [(c_in or channels, c_out) for c_in, c_out in pairs]
            # one value for all of an RGB image's channels, lest the first LayerNorm see a difference between them
            self.time_mlps[name] = time_mlp(plan.time_dim, 1 if name == "b1" else pairs[0][0])
            self.stages[name] = nn.Sequential(*(Block(c_in, c_out, sizes[name]) for c_in, c_out in pairs))
        if not plan.first_norm:
            first = plan.stages["b1"][0][1]
            self.stages["b1"][0] = Block(channels, first, size, norm=False)
        self.stages["b_out"][-1].normalize = False  # published so: its parameters exist, its forward pass skips it

        def width(stage: str) -> int:
            return plan.stages[stage][-1][1]

        w1, w2, w3 = width("b1"), width("b2"), width("b3")
        self.down1 = nn.Conv2d(w1, w1, 4, stride=2, padding=1)
        self.down2 = nn.Conv2d(w2, w2, 4, stride=2, padding=1)
        self.down3 = nn.Sequential(nn.Conv2d(w3, w3, 2), nn.SiLU(), nn.Conv2d(w3, w3, 4, stride=2, padding=1))
        kernel = 4 if quarter % 2 else 5  # so that H/4 comes back from the middle, whether it is odd or even
        self.up1 = nn.Sequential(
            nn.ConvTranspose2d(width("mid"), w3, kernel, stride=2, padding=1), nn.SiLU(), nn.ConvTranspose2d(w3, w3, 2)
        )
        self.up2 = nn.ConvTranspose2d(width("b4"), w2, 4, stride=2, padding=1)
        self.up3 = nn.ConvTranspose2d(width("b5"), w1, 4, stride=2, padding=1)
        self.conv_out = nn.Conv2d(width("b_out"), channels, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        embedding = self.time_table(t)

        def stage(name: str, h: Tensor) -> Tensor:
            return self.stages[name](h + self.time_mlps[name](embedding)[:, :, None, None])

        h1 = stage("b1", x)
        h2 = stage("b2", self.down1(h1))
        h3 = stage("b3", self.down2(h2))
        h = self.up1(stage("mid", self.down3(h3)))
        h = self.up2(stage("b4", torch.cat([h3, h], dim=1)))
        h = self.up3(stage("b5", torch.cat([h2, h], dim=1)))
        return self.conv_out(stage("b_out", torch.cat([h1, h], dim=1)))


def time_mlp(time_dim: int, channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(time_dim, channels), nn.SiLU(), nn.Linear(channels, channels))


def build_unet(name: str, image_shape: tuple[int, int, int]) -> nn.Module:
    """The U-Net `name` for images of `image_shape` (C, H, W), with PyTorch's default initialisation.

    Raises UserError for an unknown name, or for a size that is not square, from 16 up and divisible by 4.
    """
    if name not in PLANS:
        raise UserError(f"network {name!r} is unknown; known are {', '.join(PLANS)}")
    channels, height, width = image_shape
    if height != width or height % 4 or height < 16:
        raise UserError(
            f"network {name!r} cannot take images of {height}x{width}: square sizes divisible by 4, from 16 up, work"
        )
    return UNet(PLANS[name], channels, height)
