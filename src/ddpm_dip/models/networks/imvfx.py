"""Study B's U-Net, as published: its first LayerNorm makes it blind to an image's brightness and contrast.

Its study has width 8 for 1x28x28 and 32 for 3x64x64.
"""

from functools import partial

from torch import nn

from ..unet import Plan

FAMILY = "unet"
WIDTH = 8
PLAN = Plan(
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
    width=WIDTH,
    activation=partial(nn.LeakyReLU, 0.2),
    activation_between=False,
    last_norm=True,
)
