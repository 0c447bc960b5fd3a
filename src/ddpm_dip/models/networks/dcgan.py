"""DCGAN's generator and discriminator (Radford, Metz and Chintala 2016, section 3 and figure 1).

The paper's images have 64x64 pixels. Each doubling of the side is a stride-2 convolution of 4x4, and halves the
channels; the generator starts at 4x4, or at 7x7 for 28x28 pixels. Convolutions have no biases, and their weights start
from N(0, 0.02) (section 4). The scales of batch norm start from N(1, 0.02), as in the widespread code, its offsets
from 0.
"""

from torch import nn

from ...jobs.errors import UserError

FAMILY = "dcgan"
WIDTH = 64
SIZES = (16, 28, 32, 64, 128)  # pixels
LATENT_DIM = 100


def doublings(image_shape: tuple[int, int, int]) -> tuple[int, int]:
    """The generator's first side, and how often it doubles until it is the image's. Raises UserError as they do."""
    _, height, width = image_shape
    if height != width or height not in SIZES:
        *sizes, last = (f"{size}x{size}" for size in SIZES)
        raise UserError(f"dcgan cannot take images of {height}x{width}: {', '.join(sizes)} and {last} work")
    first = 7 if height == 28 else 4
    return first, (height // first).bit_length() - 1


def initialise(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(layer.weight, 0.0, 0.02)
    if isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0, 0.02)
        nn.init.zeros_(layer.bias)


def build_generator(
    image_shape: tuple[int, int, int], latent_dim: int = LATENT_DIM, width: int = WIDTH
) -> nn.Sequential:
    """The generator for images of `image_shape` (C, H, W): latents (N, latent_dim) from N(0, 1) to (N, C, H, W).

    Pixels are in [-1, 1]. width: channels before the last layer; the widespread code has 64, the paper's figure 128.
    In training mode its batch norm mixes the images of a batch, so sample in eval mode. The initialisation draws from
    torch's global generator. Raises UserError for sizes that are not among SIZES.
    """
    first, count = doublings(image_shape)

    def normalised(conv: nn.ConvTranspose2d) -> list[nn.Module]:
        return [conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU(inplace=True)]

    channels = [width * 2**level for level in reversed(range(count))]
    layers = [nn.Unflatten(1, (latent_dim, 1, 1))]
    layers += normalised(nn.ConvTranspose2d(latent_dim, channels[0], first, bias=False))
    for wide, narrow in zip(channels, channels[1:], strict=False):
        layers += normalised(nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1, bias=False))
    layers += [nn.ConvTranspose2d(width, image_shape[0], 4, stride=2, padding=1, bias=False), nn.Tanh()]
    return nn.Sequential(*layers).apply(initialise)


def build_discriminator(image_shape: tuple[int, int, int], width: int = WIDTH) -> nn.Sequential:
    """The discriminator for images of `image_shape` (C, H, W): (N, C, H, W) in [-1, 1] to logits (N,).

    A logit above 0 takes the image for a real one. width: channels after the first layer, which has no batch norm, as
    the paper says. The rest is as in `build_generator`, the error included.
    """
    last, count = doublings(image_shape)
    channels = [width * 2**level for level in range(count)]
    layers = [nn.Conv2d(image_shape[0], width, 4, stride=2, padding=1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
    for narrow, wide in zip(channels, channels[1:], strict=False):
        conv = nn.Conv2d(narrow, wide, 4, stride=2, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(wide), nn.LeakyReLU(0.2, inplace=True)]
    layers += [nn.Conv2d(channels[-1], 1, last, bias=False), nn.Flatten(0)]
    return nn.Sequential(*layers).apply(initialise)
