"""`dip-renoised` with a DIP net of random weights, the replicate's: what is left of DIP without the fitting."""

from .dip_renoised import start

__all__ = ["NEEDS", "start"]

NEEDS = ("dip-untrained",)
