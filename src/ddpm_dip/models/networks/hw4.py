"""Study A's U-Net, as published: its first LayerNorm makes it blind to an image's brightness and contrast."""

from torch import nn

from ..unet import Plan

FAMILY = "unet"
PLAN = Plan(
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
    activation=nn.SiLU,
    activation_between=True,
    last_norm=False,
)
