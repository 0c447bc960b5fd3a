"""The builder of noise-prediction U-Nets. A network is a plan: its stages, its width, its activations.

A stage of a plan is a list of (in, out) channel pairs, one for each block. A block is a LayerNorm over (C, H, W) and
two 3x3 convolutions. For images of side H the stages have the sides H, H/2 and H/4, the middle (H/4 - 1) // 2.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..jobs.errors import UserError
from . import networks

TIMESTEPS = 1000


class Plan(NamedTuple):
    """What tells one U-Net from another."""

    time_dim: int  # of the sinusoidal time embedding
    stages: dict[str, list[tuple[int, int]]]  # b1, b2, b3, mid, b4, b5, b_out; in widths, 0 for the image's channels
    width: int  # channels at full resolution
    activation: Callable[[], nn.Module]  # in the blocks, and between the two convolutions of down3 and of up1
    activation_between: bool  # True: an activation after each of a block's convolutions; False: after the second alone
    last_norm: bool  # False: the parameters of the very last LayerNorm exist, but the forward pass skips it
    first_norm: bool = True  # False leaves the very first LayerNorm out, so that brightness and contrast get in


def sinusoidal_table(timesteps: int, dim: int) -> Tensor:
    """The time embedding (timesteps, dim), as published.

    Columns 2i and 2i+1 are sin(t w_i) and cos(t w_i) with w_i = 10000^(-4i/dim), i = 0 .. dim/2 - 1. The exponent
    runs twice as fast as in the Transformer's formula (Vaswani et al. 2017, section 3.5).
    """
    i = torch.arange(dim // 2, dtype=torch.float64)
    angles = torch.arange(timesteps, dtype=torch.float64)[:, None] * 10_000.0 ** (-4 * i / dim)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).float()


class LayerNorm(nn.LayerNorm):
    """nn.LayerNorm over (C, H, W), which reads channels-last images where they are; PyTorch's copies them first."""

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
    """Make a net faster for sampling, in place: each time MLP becomes the table (1000, channels) of its outputs.

    An output of a time MLP depends on t alone. Returns `net`, which can no longer be trained.
    """
    with torch.no_grad():
        for name, mlp in net.time_mlps.items():
            net.time_mlps[name] = nn.Embedding.from_pretrained(mlp(net.time_table.weight))
    net.time_table = nn.Identity()
    return net


def build_unet(name: str, image_shape: tuple[int, int, int], width: int | None = None) -> nn.Module:
    """The U-Net `name` for images of `image_shape` (C, H, W), with PyTorch's default initialisation.

    name: a file of models/networks whose family is `unet`. width: channels at full resolution, for a network that
    leaves them open; None takes its own. The initialisation draws from torch's global generator. Raises UserError for
    an unknown name, for a width below 1 or where it is fixed, and for images that are not square or whose size is not
    divisible by 4 and at least 16.
    """
    network = networks.find(name, "unet")
    plan = network.PLAN
    if width is not None and not hasattr(network, "WIDTH"):
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
