"""DCGANs: trained an epoch at a time, and resumable after every epoch without a trace, as the U-Nets are.

All randomness of epoch e (order, flips, latents) comes from one generator seeded by (replicate, e). The running
statistics of batch norm are part of the state.
"""

import json
import math
import time
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...jobs.errors import UserError
from .. import networks
from ..epochs import diverged, epoch_generator, load_optimizer, optimizer_tensors, random_flip

COLUMNS = ("loss_d", "loss_g")
BETAS = (0.5, 0.999)  # Radford et al. 2016, section 4
PARTS = ("generator", "discriminator", "optimizer_g", "optimizer_d")


@dataclass
class Trainer:
    """A training run: its full state, and the settings that it was started with."""

    settings: dict
    image_shape: tuple[int, int, int]
    latent_dim: int
    width: int
    generator: nn.Module
    discriminator: nn.Module
    optimizer_g: torch.optim.Optimizer
    optimizer_d: torch.optim.Optimizer
    epoch: int = 0
    step: int = 0
    # (epoch, mean loss of the discriminator, of the generator, seconds)
    losses: list[tuple[int, float, float, float]] = field(default_factory=list)


def start(settings: dict, image_shape: tuple[int, int, int]) -> Trainer:
    """A fresh trainer: both nets initialised from the seed `replicate`, on their device, each with Adam.

    settings: network, width (of both nets; None: the network's own), replicate, device, lr, and batch_size and flip for
    `train_epoch`. image_shape: (C, H, W). Raises UserError for images that the network does not take.
    """
    network = networks.find(settings["network"], "dcgan")
    width = settings["width"] or network.WIDTH
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings["replicate"])
        generator = network.build_generator(image_shape, width=width)
        discriminator = network.build_discriminator(image_shape, width)
    for net in (generator, discriminator):
        net.to(settings["device"], memory_format=torch.channels_last)  # a little faster on CPUs, as for the U-Nets
    optimizer_g, optimizer_d = (
        torch.optim.Adam(net.parameters(), lr=settings["lr"], betas=BETAS, fused=True)
        for net in (generator, discriminator)
    )
    return Trainer(settings, image_shape, network.LATENT_DIM, width, generator, discriminator, optimizer_g, optimizer_d)


def batches(n: int, batch_size: int, generator: torch.Generator) -> list[Tensor]:
    """The indices 0 .. n-1 shuffled, in batches. Raises UserError where batch norm would see one image at a time."""
    if min(n, batch_size) < 2:
        raise UserError(f"gan.batch_size: batch norm needs 2 images a batch (given: {batch_size}, of {n} images)")
    split = list(torch.randperm(n, generator=generator).split(batch_size))
    if len(split[-1]) == 1:  # a last batch of one image joins the one before, so that every image is seen
        split[-2:] = [torch.cat(split[-2:])]
    return split


def cross_entropy(logits: Tensor, target: float) -> Tensor:
    """Mean binary cross-entropy, in nats, of logits (N,) against one target: 1 for real, 0 for generated."""
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def train_epoch(trainer: Trainer, images: Tensor) -> None:
    """One pass over `images` (N, C, H, W) float32 in [-1, 1], shuffled: each batch is a step of either net.

    `images` are on the nets' device. The discriminator's loss is the binary cross-entropy of real images plus that of
    generated ones, which pass its batch norm apart. The generator's loss is the non-saturating one (Goodfellow et al.
    2014, section 3), on the same latents, as the discriminator judges after its step. With the setting `flip`, each
    image is mirrored left to right with probability 1/2, anew each epoch.

    Raises UserError with epoch, step and learning rate where a loss or a weight is not finite. The epoch does not
    count then, but its steps have been made: go on from a state saved before it. Raises UserError, too, where a batch
    would have fewer than two images.
    """
    started = time.perf_counter()
    epoch = trainer.epoch + 1
    settings = trainer.settings
    rng = epoch_generator(settings["replicate"], epoch)
    generator, discriminator = trainer.generator.train(), trainer.discriminator.train()  # a caller may have sampled
    total_d = total_g = 0.0

    for indices in batches(len(images), settings["batch_size"], rng):
        real = random_flip(images[indices], rng) if settings["flip"] else images[indices]
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
                raise diverged("gan.lr", f"the {name}'s loss became {value}", epoch, trainer.step, settings["lr"])
        total_d += loss_d.item() * len(real)
        total_g += loss_g.item() * len(real)
    for name in ("generator", "discriminator"):
        if not all(tensor.isfinite().all() for tensor in getattr(trainer, name).state_dict().values()):
            raise diverged("gan.lr", f"the {name}'s weights stopped being finite", epoch, trainer.step, settings["lr"])
    trainer.epoch = epoch
    trainer.losses.append((epoch, total_d / len(images), total_g / len(images), time.perf_counter() - started))


def weights(trainer: Trainer) -> tuple[dict[str, Tensor], dict[str, object]]:
    """The generator's weights, named `last.NAME`, and a header. There are no other kinds."""
    header = {
        "family": "dcgan",
        "network": trainer.settings["network"],
        "image_shape": "x".join(map(str, trainer.image_shape)),
        "latent_dim": trainer.latent_dim,
        "width": trainer.width,
        "epoch": trainer.epoch,
        "step": trainer.step,
        "seed": trainer.settings["replicate"],
    }
    return {f"last.{name}": tensor for name, tensor in trainer.generator.state_dict().items()}, header


def state_tensors(trainer: Trainer) -> tuple[dict[str, Tensor], dict[str, object]]:
    """The full state but for the losses: flat tensors and a header for a safetensors file, which `load_state` reads."""
    parts = (
        trainer.generator.state_dict(),
        trainer.discriminator.state_dict(),
        optimizer_tensors(trainer.optimizer_g),
        optimizer_tensors(trainer.optimizer_d),
    )
    tensors = {f"{part}.{name}": x for part, named in zip(PARTS, parts, strict=True) for name, x in named.items()}
    return tensors, {"trainer": json.dumps({"epoch": trainer.epoch, "step": trainer.step})}


def load_state(trainer: Trainer, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    """Put a saved full state into a fresh trainer that was started with the same arguments."""
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
