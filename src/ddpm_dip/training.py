"""Training a noise-prediction U-Net, an epoch at a time, resumable at every epoch without a trace.

All randomness of epoch e (order, flips, timesteps, noise) comes from one generator seeded by (seed, e), and its
learning rate is a function of e. So a generator's and a scheduler's state are both the epoch's number, and twenty
epochs in one go equal five and then fifteen more, bit for bit.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .diffusion import Schedule, q_sample
from .epochs import diverged, epoch_generator, load_optimizer, optimizer_tensors, random_flip
from .errors import UserError
from .networks import build_unet

LOSS_LIMIT = 10.0  # of an epoch's mean loss: a net that predicts nothing has 1, the noise's own variance


@dataclass
class Trainer:
    """A training run's full state. `best` and `ema` are state dicts of the net, or None where they are not kept."""

    net: nn.Module
    optimizer: torch.optim.Optimizer
    seed: int
    lr: float
    lr_schedule: str = "constant"
    total_epochs: int | None = None
    ema_decay: float = 0.0
    epoch: int = 0
    step: int = 0
    best_loss: float = float("inf")
    best: dict[str, Tensor] | None = None
    ema: dict[str, Tensor] | None = None
    losses: list[tuple[int, float, float]] = field(default_factory=list)  # (epoch, mean loss, seconds)


def learning_rate(lr: float, epoch: int, lr_schedule: str = "constant", total_epochs: int | None = None) -> float:
    """The learning rate of epoch `epoch` (from 1): `lr` (constant), or annealed from `lr` towards 0 (cosine).

    cosine is a half-cosine without restarts (Loshchilov and Hutter 2017, equation 5, with eta_min = 0), a step an
    epoch: `lr` in the first, and still above 0 in the last of `total_epochs`. Raises UserError for an unknown
    schedule, and for cosine without a total or past it.
    """
    if lr_schedule == "constant":
        return lr
    if lr_schedule != "cosine":
        raise UserError(f"training.lr_schedule: {lr_schedule!r} is unknown; known are constant, cosine")
    if total_epochs is None or total_epochs < epoch:
        raise UserError(
            f"training.lr_schedule: cosine has no rate for epoch {epoch}: it needs the total number of epochs, "
            f"not below that (given: {total_epochs})"
        )
    return lr * (1 + math.cos(math.pi * (epoch - 1) / total_epochs)) / 2


def start(
    network: str,
    image_shape: tuple[int, int, int],
    *,
    lr: float,
    seed: int,
    weights: str,
    ema_decay: float,
    width: int | None = None,
    lr_schedule: str = "constant",
    total_epochs: int | None = None,
    device: str = "cpu",
) -> Trainer:
    """A fresh trainer on `device`: the net initialised from `seed`, Adam at `lr`.

    weights: what sampling will use: `last`, `best_training_loss` (the epoch with the lowest mean training loss so far,
    as study A kept) or `ema` (exponential moving average with `ema_decay`).
    width: the net's, where it has a choice. lr_schedule: constant or cosine; cosine anneals over `total_epochs`, the
    whole trajectory's and not this budget's. Raises UserError as `build_unet` and `learning_rate` do.
    """
    learning_rate(lr, 1, lr_schedule, total_epochs)  # a wrong schedule is refused before the first epoch
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = build_unet(network, image_shape, width)
    net = net.to(device, memory_format=torch.channels_last)  # 1.5x faster a step than the default layout on CPUs
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=lr, fused=True)
    trainer = Trainer(net, optimizer, seed, lr, lr_schedule, total_epochs, ema_decay)
    if weights == "best_training_loss":
        trainer.best = snapshot(net)
    if weights == "ema":
        trainer.ema = snapshot(net)
    return trainer


def snapshot(net: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}


def train_epoch(
    trainer: Trainer,
    images: Tensor,
    schedule: Schedule,
    batch_size: int,
    condition: Callable[[Tensor], Tensor] | None = None,
    *,
    flip: bool = False,
) -> None:
    """One pass over `images` (N, C, H, W) float32 in [-1, 1]: shuffled, the last batch may be smaller.

    `images` are on the net's device; what is random is drawn on the CPU, so that it is the same on each.
    The loss is the noise-prediction MSE (Ho et al. 2020, equation 14). condition: what the net sees in place of x_t
    (study A's DIP inside training). flip: each image is mirrored left to right with probability 1/2, anew each epoch.

    Raises UserError with epoch, step and learning rate where the loss is not finite, or its mean over the epoch is
    above 10. The epoch does not count then, but its steps have been made: go on from a state saved before it.
    """
    started = time.perf_counter()
    epoch = trainer.epoch + 1
    generator = epoch_generator(trainer.seed, epoch)
    parameters = [parameter for parameter in trainer.net.parameters() if parameter.requires_grad]
    lr = learning_rate(trainer.lr, epoch, trainer.lr_schedule, trainer.total_epochs)
    for group in trainer.optimizer.param_groups:
        group["lr"] = lr
    total = 0.0
    for indices in torch.randperm(len(images), generator=generator).split(batch_size):
        x_0 = random_flip(images[indices], generator) if flip else images[indices]
        x_0 = x_0.contiguous(memory_format=torch.channels_last)
        t = torch.randint(len(schedule.betas), (len(x_0),), generator=generator)
        noise = torch.randn(x_0.shape, generator=generator).to(x_0.device)
        x_t = q_sample(x_0, t, noise, schedule)
        if condition is not None:
            with torch.no_grad():
                x_t = condition(x_t)
        loss = F.mse_loss(trainer.net(x_t, t.to(x_0.device)), noise)
        value = loss.item()
        trainer.step += 1
        if not np.isfinite(value):
            raise diverged("training.lr", f"the loss became {value}", epoch, trainer.step, lr)
        trainer.optimizer.zero_grad()
        loss.backward()
        trainer.optimizer.step()
        if trainer.ema is not None:
            # a shorter memory in the first steps, so that the initial weights are soon forgotten
            decay = min(trainer.ema_decay, (1 + trainer.step) / (10 + trainer.step))
            averages = [trainer.ema[name] for name, p in trainer.net.named_parameters() if p.requires_grad]
            torch._foreach_lerp_(averages, [p.detach() for p in parameters], 1 - decay)
        total += value * len(x_0)
    if not all(parameter.isfinite().all() for parameter in parameters):
        raise diverged("training.lr", "the weights stopped being finite", epoch, trainer.step, lr)
    mean = total / len(images)
    if mean > LOSS_LIMIT:
        raise diverged(
            "training.lr", f"the mean loss became {mean:.4g} (predicting nothing gives 1)", epoch, trainer.step, lr
        )
    trainer.epoch = epoch
    if trainer.best is not None and mean < trainer.best_loss:
        trainer.best_loss, trainer.best = mean, snapshot(trainer.net)
    trainer.losses.append((epoch, mean, time.perf_counter() - started))


def sampling_weights(trainer: Trainer) -> dict[str, Tensor]:
    """The state dict that sampling uses: the EMA's, the best epoch's, or the last."""
    return trainer.ema or trainer.best or trainer.net.state_dict()


def state_tensors(trainer: Trainer) -> tuple[dict[str, Tensor], dict[str, object]]:
    """The full state as flat tensors and a header, for a safetensors file. `load_state` reads it back."""
    tensors = {f"net.{name}": tensor for name, tensor in trainer.net.state_dict().items()}
    tensors |= {f"optimizer.{name}": tensor for name, tensor in optimizer_tensors(trainer.optimizer).items()}
    for kind in ("best", "ema"):
        tensors |= {f"{kind}.{name}": tensor for name, tensor in (getattr(trainer, kind) or {}).items()}
    # safetensors keeps values and shapes, not the memory layout: `load_state` copies into tensors that have it
    header = {"epoch": trainer.epoch, "step": trainer.step, "best_loss": trainer.best_loss}
    return tensors, {"trainer": json.dumps(header)}


def load_state(trainer: Trainer, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    """Put a saved full state into a trainer made by `start` with the same arguments."""
    parts: dict[str, dict[str, Tensor]] = {"net": {}, "optimizer": {}, "best": {}, "ema": {}}
    for name, tensor in tensors.items():
        kind, key = name.split(".", 1)
        parts[kind][key] = tensor
    trainer.net.load_state_dict(parts["net"])
    load_optimizer(trainer.optimizer, parts["optimizer"])
    for kind in ("best", "ema"):
        kept = getattr(trainer, kind)
        if kept is not None:
            for name, tensor in parts[kind].items():
                kept[name].copy_(tensor)
    numbers = json.loads(header["trainer"])
    trainer.epoch, trainer.step, trainer.best_loss = numbers["epoch"], numbers["step"], numbers["best_loss"]
