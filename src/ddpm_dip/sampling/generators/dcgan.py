"""A DCGAN's generator, on keyed latents."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ...jobs.errors import UserError
from ...models import networks
from .. import backends
from ..noise import keyed_noise
from . import Generator, Weights

AXES = ("epochs",)


def ready(weights: Weights) -> tuple[Callable[[Tensor], Tensor], int]:
    """A generator, latents (n, latent_dim) -> images (n, C, H, W), and its latent_dim.

    In eval mode and on one image at a time, so that an image's rounding does not depend on its batch. Raises UserError
    for another net's weights.
    """
    header = weights.header
    if header.get("family") != "dcgan":
        raise UserError(f"{weights.source}: not the weights of a DCGAN's generator, but of {header.get('network')}")
    network, latent_dim = networks.find(header["network"], "dcgan"), int(header["latent_dim"])
    net = network.build_generator(weights.image_shape, latent_dim, int(header["width"]))
    net.load_state_dict(weights.of_kind("last"))
    return torch.inference_mode()(backends.one_by_one(net.eval())), latent_dim


def build(
    cell: dict[str, object],
    *,
    weights: Weights | None,
    **others: object,
) -> Generator:
    """The generator of a cell of the family `dcgan`, as the package describes it."""
    if weights is None:
        raise UserError("a cell of the family dcgan needs the input `weights`")
    net, latent_dim = ready(weights)

    def draw(indices: Sequence[int], callback: Callable[[int, Tensor], None] = lambda t, x: None) -> Tensor:
        return net(keyed_noise(cell["replicate"], "gan-latents", indices, (latent_dim,)))

    return Generator(draw, [], weights.image_shape, weights.header["network"], None)
