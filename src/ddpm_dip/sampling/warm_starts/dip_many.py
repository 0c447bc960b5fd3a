"""`dip-renoised` with a DIP net that was fitted as a denoiser to many training images, not to a single one."""

from .dip_renoised import start

__all__ = ["NEEDS", "start"]

NEEDS = ("dip-many",)
