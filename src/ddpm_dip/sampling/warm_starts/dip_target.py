"""The training image that the DIP net is fitted to, noised to the level of t = K - 1: one picture for all samples."""

from torch import Tensor

from ...jobs.errors import UserError
from ...models.scale import to_model_range
from . import Context


def start(context: Context) -> Tensor:
    """Raises UserError where there is no training image of the replicate's number."""
    if context.replicate >= len(context.train):
        raise UserError(
            f"seeds.replicates: {context.replicate} is the number of the training image that the start dip-target "
            f"noises, counted from 0, but there are {len(context.train)} training images; it must be below that"
        )
    image = to_model_range(context.train[[context.replicate]])
    return context.noised(image.expand(len(context.indices), *context.image_shape))
