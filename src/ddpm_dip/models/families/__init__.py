"""Families of models: each a file of this folder, found by its name, that says how its models are trained.

A file defines these; `settings` are those of a job of the stage `train`. How images are drawn from a family's models,
and which axes apply to them, is said in `sampling/generators`.

    COLUMNS = ("loss",)                           what an epoch's losses are called
    start(settings, image_shape) -> trainer       a fresh one; it also takes dip=, the tensors of a fitted DIP net,
                                                  where the setting dip_passes may be above 0
    train_epoch(trainer, images)                  one pass over images (N, C, H, W) float32 in [-1, 1]
    state_tensors(trainer) -> (tensors, header)   its whole state but for the losses, for a safetensors file
    load_state(trainer, tensors, header)          puts such a state into a fresh trainer
    weights(trainer) -> (tensors, header)         what images are drawn with; each tensor's name begins with the kind
                                                  of weights that it belongs to, as in `ema.conv_out.weight`

A trainer has `epoch` and `step`, which count those done, and `losses`, a list of (epoch, *losses, seconds).
"""

import importlib
from types import ModuleType


def find(name: str) -> ModuleType:
    """The module of the family `name`."""
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
