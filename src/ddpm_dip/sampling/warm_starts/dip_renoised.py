"""`dip`, put on the model's scale and noised to the level of t = K - 1, where the chain expects that much noise."""

from torch import Tensor

from . import Context, dip

NEEDS = ("dip",)


def start(context: Context) -> Tensor:
    return context.noised(2 * dip.start(context) - 1)
