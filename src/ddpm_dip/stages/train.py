"""Train a model to an epoch budget: from scratch, from a lower budget, or from where a stopped run got to.

settings  model (its name, for the loss table), family and network (files of models/families and models/networks),
          width (null: the network's own), replicate (the seed), epochs (the budget), device (cpu or cuda), and what
          the family's `start` asks for
reads     data: the archive of prepare_data
          dip: the weights of fit_dip, where dip_passes is above 0
writes    weights: all kinds of weights that the family keeps; each tensor's name begins with its kind, as in ema.
          state: the whole state after the last epoch, which a higher budget goes on from
          losses: a table with a row for each epoch
hints     build_on: the folder of a lower budget, to go on from where it is there; or null

After each epoch the state is also written to progress-NNNN, beside the folder of the outputs. A later run goes on from
there, and the folder is removed at the end.
"""

import json
from pathlib import Path

import torch

from ..jobs import files
from ..jobs.errors import UserError
from ..jobs.job import Job
from ..models import checkpoints, families, gpu
from ..models.scale import to_model_range


def run(job: Job) -> None:
    settings = job.settings
    torch.set_num_threads(job.threads)
    if settings["device"] == "cuda":
        gpu.prepare("device")
    images = to_model_range(files.read_npz(job.input("data"))["train"]).to(settings["device"])
    given = {}
    if settings.get("dip_passes"):
        given["dip"] = files.read_safetensors(job.input("dip"))[0]
    family = families.find(settings["family"])
    trainer = family.start(settings, tuple(images.shape[1:]), **given)

    folder = job.output("weights").parent
    progress = folder.parent / f"progress-{settings['epochs']:04d}"
    trained = checkpoints.train_to(
        family,
        trainer,
        images,
        settings,
        trajectory=trajectory(job),
        lower=lower_budget(job),
        progress=progress,
    )
    checkpoints.save(job.output("state"), job.output("losses"), family, trainer, settings, trajectory(job))
    files.write_safetensors(job.output("weights"), *family.weights(trainer))
    job.finish(device=gpu.name(settings["device"]), work={"epochs": trained, "images": trained * len(images)})
    checkpoints.remove(progress)


def depends_on_total(settings: dict) -> bool:
    """Whether each epoch depends on how many there will be, so that every budget is a trajectory of its own."""
    return settings.get("lr_schedule", "constant") != "constant"


def trajectory(job: Job) -> str:
    """All that shapes a training but the number of epochs, as text: settings, what was read, and code."""
    left_out = {"model"} if depends_on_total(job.settings) else {"model", "epochs"}
    settings = {key: value for key, value in job.settings.items() if key not in left_out}
    content = {"settings": settings, "read": list(job.read.values()), "code": job.content.get("code")}
    return json.dumps(content, sort_keys=True)


def lower_budget(job: Job) -> Path | None:
    """The folder of a lower budget to go on from, or None. Raises UserError where the schedule forbids it."""
    build_on = job.hints.get("build_on")
    if build_on is None:
        return None
    if depends_on_total(job.settings):
        raise UserError(
            f"{job.path}: hints.build_on: lr_schedule {job.settings['lr_schedule']} depends on the number of epochs, "
            "so that no lower budget can be built on; it must be null"
        )
    return job.folder / build_on
