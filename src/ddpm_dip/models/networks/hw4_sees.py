"""Study A's U-Net without its first LayerNorm, so that it sees an image's brightness and contrast."""

from . import hw4

FAMILY = "unet"
PLAN = hw4.PLAN._replace(first_norm=False)
