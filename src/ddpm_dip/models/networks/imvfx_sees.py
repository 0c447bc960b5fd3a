"""Study B's U-Net without its first LayerNorm, so that it sees an image's brightness and contrast."""

from . import imvfx

FAMILY = "unet"
WIDTH = 8
PLAN = imvfx.PLAN._replace(first_norm=False, width=WIDTH)
