"""What every training shares: an epoch's randomness, flips, how it fails, and an optimizer's state as flat tensors."""

import numpy as np
import torch
from torch import Tensor

from .errors import UserError


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """The one source of all randomness of epoch `epoch` (from 1): so the RNG part of a state is the epoch's number."""
    state = int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
    return torch.Generator().manual_seed(state)


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """`images` (N, C, H, W), each mirrored left to right with probability 1/2."""
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(mirrored.view(-1, 1, 1, 1).to(images.device), images.flip(3), images)


def diverged(key: str, what: str, epoch: int, step: int, lr: float) -> UserError:
    """The error with which a training stops. key: the setting of its learning rate."""
    return UserError(
        f"{key}: {what} at epoch {epoch}, step {step}, with learning rate {lr}; "
        "a smaller one should help. The last finished epoch is kept"
    )


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's running state, by "index.key". `load_optimizer` reads it back."""
    states = optimizer.state_dict()["state"].items()
    return {f"{index}.{key}": value for index, state in states for key, value in state.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put saved running state into an optimizer of the same parameters; the settings stay its own."""
    state = optimizer.state_dict()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for name, tensor in tensors.items():
        index, key = name.split(".")
        # a file keeps values and shapes, not the memory layout: that of the parameter is restored
        like = parameters[int(index)] if tensor.dim() else tensor
        state["state"].setdefault(int(index), {})[key] = torch.empty_like(like).copy_(tensor)
    optimizer.load_state_dict(state)
