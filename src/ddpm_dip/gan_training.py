"""Training a DCGAN, an epoch at a time, resumable at every epoch without a trace, as `training` does for a U-Net.

All randomness of epoch e (order, flips, latents) comes from one generator seeded by (seed, e); batch norm's running
statistics are part of the state.
"""

import json
import math
import time
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .epochs import diverged, epoch_generator, load_optimizer, optimizer_tensors, random_flip
from .errors import UserError
from .networks.dcgan import LATENT_DIM, WIDTH, build_discriminator, build_generator

LR = 2e-4
BETAS = (0.5, 0.999)  # Radford et al. 2016, section 4
PARTS = ("generator", "discriminator", "optimizer_g", "optimizer_d")


@dataclass
class GanTrainer:
    """A training run's full state, but for `seed`, `lr` and `latent_dim`, which are settings."""

    generator: nn.Module
    discriminator: nn.Module
    optimizer_g: torch.optim.Optimizer
    optimizer_d: torch.optim.Optimizer
    seed: int
    lr: float
    latent_dim: int
    epoch: int = 0
    step: int = 0
    # (epoch, mean loss of the discriminator, of the generator, seconds)
    losses: list[tuple[int, float, float, float]] = field(default_factory=list)


def start(
    image_shape: tuple[int, int, int],
    *,
    seed: int,
    lr: float = LR,
    latent_dim: int = LATENT_DIM,
    width: int = WIDTH,
    device: str = "cpu",
) -> GanTrainer:
    """A fresh trainer on `device`: both nets (of the same `width`) initialised from `seed`, Adam at `lr`, constant.

    Raises UserError for an image size that DCGAN does not have.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = build_generator(image_shape, latent_dim, width)
        discriminator = build_discriminator(image_shape, width)
    for net in (generator, discriminator):
        net.to(device, memory_format=torch.channels_last)  # a little faster on CPUs, as for the U-Nets
    optimizer_g, optimizer_d = (
        torch.optim.Adam(net.parameters(), lr=lr, betas=BETAS, fused=True) for net in (generator, discriminator)
    )
    return GanTrainer(generator, discriminator, optimizer_g, optimizer_d, seed, lr, latent_dim)


def batches(n: int, batch_size: int, generator: torch.Generator) -> list[Tensor]:
    """Indices 0..n-1 shuffled, in batches; raises UserError where batch norm would see one image at a time."""
    if min(n, batch_size) < 2:
        raise UserError(f"gan.batch_size: batch norm needs 2 images a batch (given: {batch_size}, of {n} images)")
    split = list(torch.randperm(n, generator=generator).split(batch_size))
    if len(split[-1]) == 1:  # a last one of one image joins the one before, so that every image is seen
        split[-2:] = [torch.cat(split[-2:])]
    return split


def cross_entropy(logits: Tensor, target: float) -> Tensor:
    """Mean binary cross-entropy, in nats, of logits (N,) against one target: 1 for real, 0 for generated."""
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def train_epoch(trainer: GanTrainer, images: Tensor, batch_size: int, *, flip: bool = False) -> None:
    """One pass over `images` (N, C, H, W) float32 in [-1, 1] on the nets' device, shuffled: a step of each a batch.

    The discriminator's loss is the binary cross-entropy of real and of generated images, summed; the generator's is
    the non-saturating one (Goodfellow et al. 2014, section 3), on the same latents and the discriminator just
    stepped. Real and generated images pass its batch norm apart. flip: each image is mirrored left to right with
    probability 1/2, anew each epoch.

    Raises UserError with epoch, step and learning rate where a loss or a weight is not finite. The epoch does not
    count then, but its steps have been made: go on from a state saved before it.
    """
    started = time.perf_counter()
    epoch = trainer.epoch + 1
    rng = epoch_generator(trainer.seed, epoch)
    generator, discriminator = trainer.generator.train(), trainer.discriminator.train()  # a caller may have sampled
    total_d = total_g = 0.0

    for indices in batches(len(images), batch_size, rng):
        real = random_flip(images[indices], rng) if flip else images[indices]
        real = real.contiguous(memory_format=torch.channels_last)
        fake = generator(torch.randn(len(real), trainer.latent_dim, generator=rng).to(real.device))
        loss_d = cross_entropy(discriminator(real), 1.0) + cross_entropy(discriminator(fake.detach()), 0.0)
        trainer.optimizer_d.zero_grad()
        loss_d.backward()
        trainer.optimizer_d.step()

        loss_g = cross_entropy(discriminator(fake), 1.0)
        trainer.optimizer_g.zero_grad()
        loss_g.backward(inputs=list(generator.parameters()))  # none for the discriminator, which costs a third
        trainer.optimizer_g.step()

        trainer.step += 1
        for name, value in (("discriminator", loss_d.item()), ("generator", loss_g.item())):
            if not math.isfinite(value):
                raise diverged("gan.lr", f"the {name}'s loss became {value}", epoch, trainer.step, trainer.lr)
        total_d += loss_d.item() * len(real)
        total_g += loss_g.item() * len(real)
    for name in ("generator", "discriminator"):
        if not all(tensor.isfinite().all() for tensor in getattr(trainer, name).state_dict().values()):
            raise diverged("gan.lr", f"the {name}'s weights stopped being finite", epoch, trainer.step, trainer.lr)
    trainer.epoch = epoch
    trainer.losses.append((epoch, total_d / len(images), total_g / len(images), time.perf_counter() - started))


def state_tensors(trainer: GanTrainer) -> tuple[dict[str, Tensor], dict[str, object]]:
    """The full state but the losses, as flat tensors and a header for a safetensors file. `load_state` reads it."""
    parts = (
        trainer.generator.state_dict(),
        trainer.discriminator.state_dict(),
        optimizer_tensors(trainer.optimizer_g),
        optimizer_tensors(trainer.optimizer_d),
    )
    tensors = {f"{part}.{name}": x for part, named in zip(PARTS, parts, strict=True) for name, x in named.items()}
    return tensors, {"trainer": json.dumps({"epoch": trainer.epoch, "step": trainer.step})}


def load_state(trainer: GanTrainer, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    """Put a saved full state into a trainer made by `start` with the same arguments."""
    parts: dict[str, dict[str, Tensor]] = {part: {} for part in PARTS}
    for name, tensor in tensors.items():
        part, key = name.split(".", 1)
        parts[part][key] = tensor
    trainer.generator.load_state_dict(parts["generator"])
    trainer.discriminator.load_state_dict(parts["discriminator"])
    load_optimizer(trainer.optimizer_g, parts["optimizer_g"])
    load_optimizer(trainer.optimizer_d, parts["optimizer_d"])
    numbers = json.loads(header["trainer"])
    trainer.epoch, trainer.step = numbers["epoch"], numbers["step"]
