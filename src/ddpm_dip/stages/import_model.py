"""Take a net that was trained elsewhere into the study: its weights, its configuration and what it was trained on.

settings  family (a file of models/families that takes nets), files (path and sha256 of all that the net is made
          from), schedule (as models.schedule.schedule_of takes it), image_shape (C, H, W), and what the family's `take`
          asks for
writes    weights: all of it, .safetensors

The net is called once, so that one that cannot draw such images is found before any is drawn.
"""

import json

import torch

from ..jobs import files
from ..jobs.errors import UserError
from ..jobs.job import Job
from ..models import families


def run(job: Job) -> None:
    settings = job.settings
    torch.set_num_threads(job.threads)
    for path, digest in settings["files"]:
        if files.sha256(job.also_read(path)) != digest:
            raise UserError(f"{path}: changed after this job was planned; run again")
    family = families.find(settings["family"])
    tensors, header = family.take(settings)
    shape = tuple(settings["image_shape"])
    check_call(family.build(tensors, header | {"family": settings["family"]}), shape, settings["files"][0][0])
    header |= {"family": settings["family"], "image_shape": "x".join(map(str, shape))}
    files.write_safetensors(job.output("weights"), tensors, header | {"schedule": json.dumps(settings["schedule"])})
    count = sum(tensor.numel() for tensor in tensors.values())
    job.finish(network=header["network"], parameters=count)
    print(f"{job.content['outputs']['weights']}: {header['network']}, {count:,} parameters")


@torch.inference_mode()
def check_call(net: torch.nn.Module, shape: tuple[int, ...], path: str) -> None:
    """Raises UserError where a net does not predict two images at once, each by its own pixels."""
    x, t = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)), torch.zeros(1, dtype=torch.int64)
    try:
        found = net(x, t)
    except Exception as error:  # a user's net may raise anything
        raise UserError(
            f"{path}: the net cannot be called on images {shape}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(found, torch.Tensor) or found.shape != x.shape or found.dtype != x.dtype:
        said = f"{tuple(found.shape)} {found.dtype}" if isinstance(found, torch.Tensor) else type(found).__name__
        raise UserError(f"{path}: the net must return {tuple(x.shape)} {x.dtype}, as x is; it returned {said}")
    if not found.isfinite().all():
        raise UserError(f"{path}: the net's prediction is not finite; are these its weights?")
