"""Networks by name, the DDPM schedule (`models.schedule`), and how each family of models is trained."""

from .dip import build_dip
from .unet import build_unet

__all__ = ["build_dip", "build_unet"]
