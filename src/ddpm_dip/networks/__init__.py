"""Networks by name: the studies' U-Nets and the Deep Image Prior net."""

from .dip import build_dip
from .unet import build_unet

__all__ = ["build_dip", "build_unet"]
