"""The skip network of Deep Image Prior (Ulyanov et al. 2018, section 4 and its supplement), as small as study A's.

The study never puts its batch norm in eval mode and passes one image at a time through it, so that batch norm
normalises each image by itself. `InstanceNorm2d` is the same function for any batch: with it, a sample does not depend
on its batch mates.
"""

import torch
from torch import Tensor, nn

DOWN = (8, 16, 32)
UP = (8, 16, 32)
SKIP = (0, 4, 4)
SIZE = 32  # as published; any that is divisible by 8, from 16 up, works


def conv(channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2, padding_mode="reflect")


class Scale(nn.Module):
    """One scale: a deeper branch at half the size (with the next scale inside) beside an optional 1x1 skip branch."""

    def __init__(self, level: int, channels_in: int, norm: type[nn.Module]):
        super().__init__()
        down, up, skip = DOWN[level], UP[level], SKIP[level]
        inner = level + 1 < len(DOWN)

        def normalised(*layers: nn.Module, channels: int) -> list[nn.Module]:
            affine = {"affine": True, "track_running_stats": False}
            return [*layers, norm(channels, **affine), nn.LeakyReLU(0.2)]

        self.deeper = nn.Sequential(
            *normalised(conv(channels_in, down, 3, stride=2), channels=down),
            *normalised(conv(down, down, 3), channels=down),
            *([Scale(level + 1, down, norm)] if inner else []),
            nn.Upsample(scale_factor=2, mode="bilinear"),
        )
        self.skip = nn.Sequential(*normalised(conv(channels_in, skip, 1), channels=skip)) if skip else None
        joined = skip + (UP[level + 1] if inner else down)
        self.merge = nn.Sequential(
            norm(joined, affine=True, track_running_stats=False),
            *normalised(conv(joined, up, 3), channels=up),
            *normalised(conv(up, up, 1), channels=up),
        )

    def forward(self, x: Tensor) -> Tensor:
        deeper = self.deeper(x)
        return self.merge(deeper if self.skip is None else torch.cat([self.skip(x), deeper], dim=1))


def build_dip(image_channels: int = 1, batch_statistics: bool = False) -> nn.Module:
    """The DIP net: (N, image_channels, S, S) to the same shape, with pixels in [0, 1]. S is 32 as published.

    batch_statistics=True normalises over the whole batch, which only study A's training with DIP does. Weights have the
    same names and meaning in both forms. The initialisation draws from torch's global generator.
    """
    norm = nn.BatchNorm2d if batch_statistics else nn.InstanceNorm2d
    return nn.Sequential(Scale(0, image_channels, norm), conv(UP[0], image_channels, 1), nn.Sigmoid())


def seeded_dip(image_channels: int, seed: int) -> nn.Module:
    """A DIP net with the random weights of a seed, whatever was drawn before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_dip(image_channels)
