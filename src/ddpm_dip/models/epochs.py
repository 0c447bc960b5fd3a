"""What all trainings share: the randomness of an epoch, flips, the error of a failed one, an optimizer's state."""

import numpy as np
import torch
from torch import Tensor

from ..jobs.errors import UserError


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """The only source of randomness of epoch `epoch`, which counts from 1.

    A saved state therefore needs no state of a generator: the number of the epoch is enough.
    """
    state = int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
    return torch.Generator().manual_seed(state)


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """`images` (N, C, H, W), each mirrored left to right with probability 1/2."""
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(mirrored.view(-1, 1, 1, 1).to(images.device), images.flip(3), images)


def diverged(key: str, what: str, epoch: int, step: int, lr: float) -> UserError:
    """The error with which a training stops. key: the config's key of its learning rate."""
    return UserError(
        f"{key}: {what} at epoch {epoch}, step {step}, with learning rate {lr}; "
        "a smaller one should help. The last finished epoch is kept"
    )


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimizer's running state: tensors named `INDEX.KEY`, where INDEX is the parameter's."""
    states = optimizer.state_dict()["state"].items()
    return {f"{index}.{key}": value for index, state in states for key, value in state.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put a running state, as `optimizer_tensors` gives it, into an optimizer of the same parameters."""
    state = optimizer.state_dict()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for name, tensor in tensors.items():
        index, key = name.split(".")
        # a file keeps values and shapes, not the memory layout: that of the parameter is restored
        like = parameters[int(index)] if tensor.dim() else tensor
        state["state"].setdefault(int(index), {})[key] = torch.empty_like(like).copy_(tensor)
    optimizer.load_state_dict(state)
