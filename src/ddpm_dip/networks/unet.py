"""The studies' noise-prediction U-Nets: one builder, each network a plan (its widths, its activations, its stages).

A plan's stage is a list of (in, out) channel pairs, one a block; the block is LayerNorm over (C, H, W), then two 3x3
convolutions. Resolutions: H, H/2, H/4, and a middle of (H/4 - 1) // 2 on each side.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError

TIMESTEPS = 1000


class Plan(NamedTuple):
    time_dim: int
    stages: dict[str, list[tuple[int, int]]]  # b1, b2, b3, mid, b4, b5, b_out; in widths, 0 for the image's channels
    width: int  # channels; the default where it can be chosen
    width_is_free: bool
    activation: Callable[[], nn.Module]  # in the blocks, and between the two convolutions of down3 and of up1
    activation_between: bool  # after both of a block's convolutions; False: after the second alone
    last_norm: bool  # False: the very last LayerNorm's parameters exist, the forward pass skips it
    first_norm: bool = True  # False leaves the very first LayerNorm out, so that brightness and contrast get in


HW4 = Plan(
    time_dim=100,
    stages={
        "b1": [(0, 1), (1, 1), (1, 1)],
        "b2": [(1, 2), (2, 2), (2, 2)],
        "b3": [(2, 4), (4, 4), (4, 4)],
        "mid": [(4, 2), (2, 2), (2, 4)],
        "b4": [(8, 4), (4, 2), (2, 2)],
        "b5": [(4, 2), (2, 1), (1, 1)],
        "b_out": [(2, 1), (1, 1), (1, 1)],
    },
    width=10,
    width_is_free=False,
    activation=nn.SiLU,
    activation_between=True,
    last_norm=False,
)
IMVFX = Plan(
    time_dim=256,
    stages={
        "b1": [(0, 1)],
        "b2": [(1, 2)],
        "b3": [(2, 4)],
        "mid": [(4, 4)],
        "b4": [(8, 2)],
        "b5": [(4, 1)],
        "b_out": [(2, 1), (1, 1)],
    },
    width=8,
    width_is_free=True,
    activation=partial(nn.LeakyReLU, 0.2),
    activation_between=False,
    last_norm=True,
)
PLANS = {
    "hw4": HW4,
    "hw4-sees": HW4._replace(first_norm=False),
    "imvfx": IMVFX,
    "imvfx-sees": IMVFX._replace(first_norm=False),
}


def sinusoidal_table(timesteps: int, dim: int) -> Tensor:
    """(timesteps, dim): columns 2i and 2i+1 are sin(t w_i) and cos(t w_i) with w_i = 10000^(-4i/dim), as published.

    The exponent runs twice as fast as in the Transformer's formula (Vaswani et al. 2017, section 3.5).
    """
    i = torch.arange(dim // 2, dtype=torch.float64)
    angles = torch.arange(timesteps, dtype=torch.float64)[:, None] * 10_000.0 ** (-4 * i / dim)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).float()


class LayerNorm(nn.LayerNorm):
    """nn.LayerNorm over (C, H, W) that takes images with channels last as they are, where PyTorch's copies them."""

    def forward(self, x: Tensor) -> Tensor:
        if x.is_contiguous() or not x.is_contiguous(memory_format=torch.channels_last):
            return super().forward(x)
        channels, height, width = self.normalized_shape
        weight, bias = self.weight.permute(1, 2, 0), self.bias.permute(1, 2, 0)
        y = F.layer_norm(x.permute(0, 2, 3, 1), (height, width, channels), weight, bias, self.eps)
        return y.permute(0, 3, 1, 2)


class Block(nn.Module):
    """LayerNorm over (C, H, W) -> conv3x3 (-> activation) -> conv3x3 -> activation, as the plan says.

    norm=False leaves the LayerNorm out; normalize=False skips its use and keeps its parameters.
    """

    def __init__(
        self,
        plan: Plan,
        channels_in: int,
        channels_out: int,
        size: int,
        norm: bool = True,
        normalize: bool = True,
    ):
        super().__init__()
        self.norm = LayerNorm((channels_in, size, size)) if norm else None
        self.normalize = norm and normalize
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.between = plan.activation() if plan.activation_between else nn.Identity()
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.activation = plan.activation()

    def forward(self, x: Tensor) -> Tensor:
        if self.normalize:
            x = self.norm(x)
        return self.activation(self.conv2(self.between(self.conv1(x))))


class UNet(nn.Module):
    """net(x, t): x (N, C, H, W) float, t (N,) or (1,) int64 in 0..999 -> predicted noise (N, C, H, W)."""

    def __init__(self, plan: Plan, channels: int, size: int, width: int):
        super().__init__()
        half, quarter = size // 2, size // 4
        sizes = {"b1": size, "b2": half, "b3": quarter, "mid": (quarter - 1) // 2}
        sizes |= {"b4": quarter, "b5": half, "b_out": size}
        table = sinusoidal_table(TIMESTEPS, plan.time_dim)
        self.time_table = nn.Embedding.from_pretrained(table, freeze=True)
        self.stages, self.time_mlps = nn.ModuleDict(), nn.ModuleDict()
        for name, pairs in plan.stages.items():
            pairs = [(c_in * width or channels, c_out * width) for c_in, c_out in pairs]
            # one value for all of an RGB image's channels, lest the first LayerNorm see a difference between them
            self.time_mlps[name] = time_mlp(plan.time_dim, 1 if name == "b1" else pairs[0][0])
            self.stages[name] = nn.Sequential(*(Block(plan, c_in, c_out, sizes[name]) for c_in, c_out in pairs))
        if not plan.first_norm:
            first = plan.stages["b1"][0][1] * width
            self.stages["b1"][0] = Block(plan, channels, first, size, norm=False)
        self.stages["b_out"][-1].normalize = plan.last_norm

        def out(stage: str) -> int:
            return plan.stages[stage][-1][1] * width

        w1, w2, w3 = out("b1"), out("b2"), out("b3")
        self.down1 = nn.Conv2d(w1, w1, 4, stride=2, padding=1)
        self.down2 = nn.Conv2d(w2, w2, 4, stride=2, padding=1)
        self.down3 = nn.Sequential(nn.Conv2d(w3, w3, 2), plan.activation(), nn.Conv2d(w3, w3, 4, stride=2, padding=1))
        kernel = 4 if quarter % 2 else 5  # so that H/4 comes back from the middle, whether it is odd or even
        self.up1 = nn.Sequential(
            nn.ConvTranspose2d(out("mid"), w3, kernel, stride=2, padding=1),
            plan.activation(),
            nn.ConvTranspose2d(w3, w3, 2),
        )
        self.up2 = nn.ConvTranspose2d(out("b4"), w2, 4, stride=2, padding=1)
        self.up3 = nn.ConvTranspose2d(out("b5"), w1, 4, stride=2, padding=1)
        self.conv_out = nn.Conv2d(out("b_out"), channels, 3, padding=1)

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


def tabulate_time(net: UNet) -> UNet:
    """`net`, for sampling: each time MLP replaced by the table (1000, channels) of its outputs, which t decides."""
    with torch.no_grad():
        for name, mlp in net.time_mlps.items():
            net.time_mlps[name] = nn.Embedding.from_pretrained(mlp(net.time_table.weight))
    net.time_table = nn.Identity()
    return net


def build_unet(name: str, image_shape: tuple[int, int, int], width: int | None = None) -> nn.Module:
    """The U-Net `name` for images of `image_shape` (C, H, W), with PyTorch's default initialisation.

    width: channels at full resolution, for the networks that leave it open (`imvfx`: 8 unless given; its study has 8
    for 1x28x28 and 32 for 3x64x64). Raises UserError for an unknown name, for a width where it is fixed or below 1,
    or for a size that is not square, from 16 up and divisible by 4.
    """
    if name not in PLANS:
        raise UserError(f"network {name!r} is unknown; known are {', '.join(PLANS)}")
    plan = PLANS[name]
    if width is not None and not plan.width_is_free:
        raise UserError(f"network {name!r} takes no width: as published, its own is {plan.width}")
    if width is not None and width < 1:
        raise UserError(f"network {name!r} cannot have width {width}: whole numbers from 1 up work")
    channels, height, image_width = image_shape
    if height != image_width or height % 4 or height < 16:
        raise UserError(
            f"network {name!r} cannot take images of {height}x{image_width}: "
            "square sizes divisible by 4, from 16 up, work"
        )
    return UNet(plan, channels, height, width or plan.width)
