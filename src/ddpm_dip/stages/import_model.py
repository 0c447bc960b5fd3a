"""Take a net that was trained elsewhere into the study: its weights, its configuration and what it was trained on.

settings  family (a file of models/families that takes nets), files (path and sha256 of all that the net is made
          from), schedule (as models.schedule.schedule_of takes it), image_shape (C, H, W), and what the family's `take`
          asks for
writes    weights: all of it, .safetensors

The net is called at the first and the last timestep, so that one that cannot draw such images is found before any is
drawn.
"""

import json
from pathlib import Path

import torch

from ..jobs import files
from ..jobs.errors import UserError
from ..jobs.job import Job
from ..models import families


def run(job: Job) -> None:
    settings = job.settings
    torch.set_num_threads(job.threads)
    for path, digest in settings["files"]:
        if not Path(path).is_file() or files.sha256(job.also_read(path)) != digest:
            raise UserError(f"{path}: gone, or changed after this job was planned; run again")
    family = families.find(settings["family"])
    tensors, header = family.take(settings)
    shape = tuple(settings["image_shape"])
    net, schedule = family.build(tensors, header), settings["schedule"]
    for t in (0, schedule["num_train_timesteps"] - 1):
        check_call(net, t, shape, settings["files"][0][0])
    header |= {"family": settings["family"], "image_shape": "x".join(map(str, shape))}
    files.write_safetensors(job.output("weights"), tensors, header | {"schedule": json.dumps(schedule)})
    count = sum(tensor.numel() for tensor in tensors.values())
    job.finish(network=header["network"], parameters=count)
    print(f"{job.content['outputs']['weights']}: {header['network']}, {count:,} parameters")


@torch.inference_mode()
def check_call(net: torch.nn.Module, t: int, shape: tuple[int, ...], path: str) -> None:
    """Raises UserError where a net gives no finite prediction of two images at timestep t."""
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    try:
        found = net(x, torch.tensor([t]))
    except Exception as error:  # a user's net may raise anything
        raise UserError(
            f"{path}: the net cannot be called on images {shape} at timestep {t}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(found, torch.Tensor) or found.shape != x.shape or found.dtype != x.dtype:
        said = f"{tuple(found.shape)} {found.dtype}" if isinstance(found, torch.Tensor) else type(found).__name__
        raise UserError(f"{path}: the net must return {tuple(x.shape)} {x.dtype}, as x is; it returned {said}")
    if not found.isfinite().all():
        raise UserError(f"{path}: the net's prediction is not finite; are these its weights?")
