"""Fitting a Deep Image Prior net to one noisy image, as study A does (Ulyanov et al. 2018, section 3.1, denoising).

Or, to see what the fit to one image does, to many images as a denoiser.
"""

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from ..jobs.errors import UserError
from .dip import SIZE, seeded_dip

NOISE_SIGMA = 25 / 255  # of the image to restore, on [0, 1]
INPUT_SCALE = 0.1  # the net's input is uniform on [0, INPUT_SCALE]
INPUT_NOISE_SIGMA = 1 / 30  # added to the input, anew at each iteration
LEARNING_RATE = 0.01
SMOOTHING = 0.99  # weight of the past in the running mean of the outputs
BACKTRACK_EVERY = 100  # iterations that are multiples of this neither go back nor keep their parameters
BACKTRACK_DROP = 5.0  # dB
MANY = 16  # images a step, where many are fitted


class DipFit(NamedTuple):
    """A fitted net, its curve, and three images (1, C, S, S) in [0, 1], S being the net's size.

    curve: rows of iteration, loss, three PSNRs in dB (to the noisy image, to the clean one, of the smoothed output to
    the clean one), and whether the iteration went back to kept parameters. output: the net's, without perturbation.
    """

    net: nn.Module
    curve: list[tuple[int, float, float, float, float, bool]]
    clean: Tensor
    noisy: Tensor
    output: Tensor


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of two images in [0, 1]."""
    return float(-10 * torch.log10(F.mse_loss(a, b)))


def at_own_size(image: np.ndarray, size: int) -> Tensor:
    """An image (C, h, w) uint8 at the net's size, (1, C, size, size) in [0, 1]: bilinear, on 8-bit values."""
    channels = [np.asarray(Image.fromarray(c).resize((size, size), Image.Resampling.BILINEAR)) for c in image]
    return torch.from_numpy(np.stack(channels)).float()[None] / 255


def check(loss: Tensor, iteration: int) -> None:
    """Raises UserError with iteration and learning rate where the loss is not finite."""
    if not loss.isfinite():
        raise UserError(
            f"DIP fit: the loss became {loss.item()} at iteration {iteration}, with learning rate {LEARNING_RATE}; "
            "another seed should help"
        )


def fit_dip(image: np.ndarray, iterations: int, seed: int, size: int = SIZE) -> DipFit:
    """Fit a fresh DIP net to `image` (C, h, w) uint8, which is resized to the net's size and gets noise added.

    The resizing is bilinear, on 8-bit values. Where the PSNR to the noisy image drops by more than 5 dB, the last kept
    parameters come back. As in the original, Adam then still steps with the gradient of the bad iteration, and the
    counter that backtracking goes by stands still. Raises UserError with iteration and learning rate where the loss is
    not finite.
    """
    clean = at_own_size(image, size)
    generator = torch.Generator().manual_seed(seed)
    noisy = (clean + NOISE_SIGMA * torch.randn(clean.shape, generator=generator)).clamp(0, 1)
    net_input = INPUT_SCALE * torch.rand(clean.shape, generator=generator)
    net = seeded_dip(len(image), seed)
    parameters = list(net.parameters())
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE)

    curve, counter, smoothed, kept, kept_psnr = [], 0, None, None, 0.0
    for iteration in range(iterations):
        perturbation = INPUT_NOISE_SIGMA * torch.randn(clean.shape, generator=generator)
        output = net(net_input + perturbation)
        detached = output.detach()
        smoothed = detached if smoothed is None else SMOOTHING * smoothed + (1 - SMOOTHING) * detached
        loss = F.mse_loss(output, noisy)
        check(loss, iteration)
        optimizer.zero_grad()
        loss.backward()
        psnr_noisy = psnr(detached, noisy)
        reverted = bool(counter % BACKTRACK_EVERY) and psnr_noisy - kept_psnr < -BACKTRACK_DROP
        if reverted:
            with torch.no_grad():
                for parameter, value in zip(parameters, kept, strict=True):
                    parameter.copy_(value)
        else:
            if counter % BACKTRACK_EVERY:
                kept, kept_psnr = [parameter.detach().clone() for parameter in parameters], psnr_noisy
            counter += 1
        scores = (psnr_noisy, psnr(detached, clean), psnr(smoothed, clean))
        curve.append((iteration, loss.item(), *scores, reverted))
        optimizer.step()
    with torch.no_grad():
        output = net(net_input)
    return DipFit(net, curve, clean, noisy, output)


def fit_many(images: np.ndarray, iterations: int, seed: int, size: int = SIZE) -> DipFit:
    """Fit a fresh DIP net to many images (N, C, h, w) uint8 as a denoiser, so that it knows no single one by heart.

    Each iteration draws MANY images with replacement, resized as in `fit_dip`, and adds N(0, NOISE_SIGMA^2); the net
    gets the noisy ones (not clipped, and not a fixed noise as in `fit_dip`), and Adam makes one step on the mean
    squared error of its outputs to the clean ones. It never goes back. The curve's PSNRs are of that batch, of which
    there is no smoothed output (NaN); the three images are those of the first training image. Raises UserError as
    `fit_dip` does.
    """
    generator = torch.Generator().manual_seed(seed)
    net = seeded_dip(images.shape[1], seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE)
    curve = []
    for iteration in range(iterations):
        chosen = torch.randint(len(images), (MANY,), generator=generator)
        clean = torch.cat([at_own_size(images[index], size) for index in chosen])
        noisy = clean + NOISE_SIGMA * torch.randn(clean.shape, generator=generator)
        output = net(noisy)
        loss = F.mse_loss(output, clean)
        check(loss, iteration)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        detached = output.detach()
        curve.append((iteration, loss.item(), psnr(detached, noisy), psnr(detached, clean), float("nan"), False))
    clean = at_own_size(images[0], size)
    noisy = clean + NOISE_SIGMA * torch.randn(clean.shape, generator=generator)
    with torch.no_grad():
        return DipFit(net, curve, clean, noisy, net(noisy))
