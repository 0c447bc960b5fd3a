"""Noise-prediction U-Nets: trained an epoch at a time, and resumable after every epoch without a trace.

All randomness of epoch e (order, flips, timesteps, noise) comes from one generator seeded by (replicate, e), and its
learning rate is a function of e. So the state of a generator and of a schedule is the epoch's number, and twenty epochs
in one go equal five and then fifteen more, bit for bit.
"""

import importlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...jobs.errors import UserError
from .. import build_dip, build_unet
from ..dip_pass import dip_pass
from ..epochs import diverged, epoch_generator, load_optimizer, optimizer_tensors, random_flip
from ..schedule import Schedule, linear_schedule, q_sample

COLUMNS = ("loss",)
LOSS_LIMIT = 10.0  # of an epoch's mean loss: a net that predicts nothing has 1, the noise's own variance


@dataclass
class Trainer:
    """A training run: its full state, and the settings that it was started with.

    best and ema are state dicts of the net: that of the epoch with the lowest loss so far, and an exponential moving
    average over the steps. condition(x_t): what the net sees in place of x_t, or None. backpropagate(x_t, t, noise):
    the mean squared error of the net's prediction, whose gradients it leaves in the parameters.
    """

    settings: dict
    image_shape: tuple[int, int, int]
    net: nn.Module
    optimizer: torch.optim.Optimizer
    best: dict[str, Tensor]
    ema: dict[str, Tensor]
    condition: Callable[[Tensor], Tensor] | None
    backpropagate: Callable[[Tensor, Tensor, Tensor], float]
    schedule: Schedule
    epoch: int = 0
    step: int = 0
    best_loss: float = float("inf")
    losses: list[tuple[int, float, float]] = field(default_factory=list)  # (epoch, mean loss, seconds)


def learning_rate(lr: float, epoch: int, lr_schedule: str = "constant", total_epochs: int | None = None) -> float:
    """The learning rate of epoch `epoch`, which counts from 1: always `lr` (constant), or annealed towards 0 (cosine).

    cosine is a half-cosine without restarts (Loshchilov and Hutter 2017, equation 5, with eta_min = 0) that steps once
    an epoch: it is `lr` in the first epoch, and still above 0 in the last of `total_epochs`. Raises UserError for an
    unknown schedule, and for cosine without a total or beyond it.
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


def start(settings: dict, image_shape: tuple[int, int, int], dip: dict[str, Tensor] | None = None) -> Trainer:
    """A fresh trainer: a net initialised from the seed `replicate`, on its device, with Adam.

    settings: network, width (None: the network's own), replicate, epochs, device, backend (what computes a step: torch
    or lanes), lr, lr_schedule ("constant" or "cosine"), ema_decay, dip_passes, dip_size (of that net's images), and
    batch_size and flip for `train_epoch`. image_shape: (C, H, W). dip: the tensors of a fitted DIP net, needed where
    dip_passes is above 0; the U-Net then sees x_t after so many passes through it (study A's DIP inside training).

    Raises UserError as `build_unet` and `learning_rate` do.
    """
    learning_rate(settings["lr"], 1, settings["lr_schedule"], settings["epochs"])  # a wrong one is refused at once
    device = settings["device"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings["replicate"])
        net = build_unet(settings["network"], image_shape, settings["width"])
    if settings["backend"] == "lanes":  # by name: what torch trains does not depend on its code
        step = importlib.import_module("ddpm_dip.models.lanes_unet").Step(
            net, *image_shape[:2], torch.get_num_threads()
        )
    else:
        net = net.to(device, memory_format=torch.channels_last)  # 1.5x faster a step than the default layout on CPUs
        step = partial(torch_step, net)
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=settings["lr"], fused=True)
    condition = None
    if settings["dip_passes"]:
        # as in study A, the batch passes the DIP's batch norm together here, and nowhere else
        dip_net = build_dip(image_shape[0], batch_statistics=True)
        dip_net.load_state_dict(dip)
        dip_net.to(device, memory_format=torch.channels_last)  # nearly half the time on CPUs

        def condition(x_t: Tensor) -> Tensor:
            return dip_pass(dip_net, x_t, settings["dip_passes"], image_shape[-1], settings["dip_size"])

    return Trainer(
        settings, image_shape, net, optimizer, snapshot(net), snapshot(net), condition, step, linear_schedule()
    )


def torch_step(net: nn.Module, x_t: Tensor, t: Tensor, noise: Tensor) -> float:
    """The loss of `net`; leaves its gradients in the parameters."""
    net.zero_grad()
    loss = F.mse_loss(net(x_t, t), noise)
    loss.backward()
    return loss.item()


def snapshot(net: nn.Module) -> dict[str, Tensor]:
    """A copy of a net's state dict."""
    return {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}


def train_epoch(trainer: Trainer, images: Tensor) -> None:
    """One pass over `images` (N, C, H, W) float32 in [-1, 1], shuffled; the last batch may be smaller.

    `images` are on the net's device. What is random is drawn on the CPU, so that it is the same on every device. The
    loss is the noise-prediction MSE (Ho et al. 2020, equation 14). With the setting `flip`, each image is mirrored left
    to right with probability 1/2, anew each epoch.

    Raises UserError with epoch, step and learning rate where the loss or a weight is not finite, or where the mean loss
    of the epoch is above 10. The epoch does not count then, but its steps have been made: go on from a state saved
    before it.
    """
    started = time.perf_counter()
    epoch = trainer.epoch + 1
    settings = trainer.settings
    generator = epoch_generator(settings["replicate"], epoch)
    trained = {name: p for name, p in trainer.net.named_parameters() if p.requires_grad}
    parameters, averages = list(trained.values()), [trainer.ema[name] for name in trained]
    lr = learning_rate(settings["lr"], epoch, settings["lr_schedule"], settings["epochs"])
    for group in trainer.optimizer.param_groups:
        group["lr"] = lr
    total = 0.0
    for indices in torch.randperm(len(images), generator=generator).split(settings["batch_size"]):
        x_0 = random_flip(images[indices], generator) if settings["flip"] else images[indices]
        x_0 = x_0.contiguous(memory_format=torch.channels_last)
        t = torch.randint(len(trainer.schedule.betas), (len(x_0),), generator=generator)
        noise = torch.randn(x_0.shape, generator=generator).to(x_0.device)
        x_t = q_sample(x_0, t, noise, trainer.schedule)
        if trainer.condition is not None:
            with torch.no_grad():
                x_t = trainer.condition(x_t)
        value = trainer.backpropagate(x_t, t.to(x_0.device), noise)
        trainer.step += 1
        if not np.isfinite(value):
            raise diverged("training.lr", f"the loss became {value}", epoch, trainer.step, lr)
        trainer.optimizer.step()
        # a shorter memory in the first steps, so that the initial weights are soon forgotten
        decay = min(settings["ema_decay"], (1 + trainer.step) / (10 + trainer.step))
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
    if mean < trainer.best_loss:
        trainer.best_loss, trainer.best = mean, snapshot(trainer.net)
    trainer.losses.append((epoch, mean, time.perf_counter() - started))


def weights(trainer: Trainer) -> tuple[dict[str, Tensor], dict[str, object]]:
    """The net's weights of each kind, named `last.NAME`, `best_training_loss.NAME` and `ema.NAME`, and a header."""
    kinds = {"last": trainer.net.state_dict(), "best_training_loss": trainer.best, "ema": trainer.ema}
    tensors = {f"{kind}.{name}": tensor for kind, named in kinds.items() for name, tensor in named.items()}
    settings = trainer.settings
    header = {
        "family": "unet",
        "network": settings["network"],
        "image_shape": "x".join(map(str, trainer.image_shape)),
        "epoch": trainer.epoch,
        "step": trainer.step,
        "seed": settings["replicate"],
    }
    return tensors, header | ({"width": settings["width"]} if settings["width"] else {})


def state_tensors(trainer: Trainer) -> tuple[dict[str, Tensor], dict[str, object]]:
    """The full state but for the losses: flat tensors and a header for a safetensors file, which `load_state` reads."""
    tensors = {f"net.{name}": tensor for name, tensor in trainer.net.state_dict().items()}
    tensors |= {f"optimizer.{name}": tensor for name, tensor in optimizer_tensors(trainer.optimizer).items()}
    for kind, kept in (("best", trainer.best), ("ema", trainer.ema)):
        tensors |= {f"{kind}.{name}": tensor for name, tensor in kept.items()}
    # safetensors keeps values and shapes, not the memory layout: `load_state` copies into tensors that have it
    header = {"epoch": trainer.epoch, "step": trainer.step, "best_loss": trainer.best_loss}
    return tensors, {"trainer": json.dumps(header)}


def load_state(trainer: Trainer, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    """Put a saved full state into a fresh trainer that was started with the same arguments."""
    parts: dict[str, dict[str, Tensor]] = {"net": {}, "optimizer": {}, "best": {}, "ema": {}}
    for name, tensor in tensors.items():
        kind, key = name.split(".", 1)
        parts[kind][key] = tensor
    trainer.net.load_state_dict(parts["net"])
    load_optimizer(trainer.optimizer, parts["optimizer"])
    for kind, kept in (("best", trainer.best), ("ema", trainer.ema)):
        for name, tensor in parts[kind].items():
            kept[name].copy_(tensor)
    numbers = json.loads(header["trainer"])
    trainer.epoch, trainer.step, trainer.best_loss = numbers["epoch"], numbers["step"], numbers["best_loss"]
