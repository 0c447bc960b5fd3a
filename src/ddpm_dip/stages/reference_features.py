"""Features of the reference images, once for all cells: of halves A and B, in each display.

Half A is what every distance compares with. Half B plays the samples where the stage floors compares real images with
real ones.

Reads:
  data      the prepared data set, .npz
  nets      the feature nets' files by name: classifier and classifier-2, or rotation and rotation-2
            (.safetensors, of train_classifier), inception
            (.json, of fetch_inception); those that there are
Writes:
  features  .npz: `halves` (2,), the sizes of A and B; <net>_<display>_<half>, float32, as classifier_minmax_a (N, 64)
            or inception_clamp_b (N, 2048); `not_computed`, JSON: for each net without features, why it has none
Settings:
  device    cpu or cuda: where Inception runs
"""

import json

import numpy as np

from ..evaluation import features
from ..evaluation.displays import DISPLAYS
from ..jobs import files
from ..jobs.errors import UserError
from ..jobs.job import Job


def run(job: Job) -> None:
    """Raises UserError where there is no feature net of a name, or where one does not fit the images."""
    path, nets, device = job.input("data"), job.inputs("nets"), job.settings["device"]
    features.check_names(list(nets))
    data = files.read_npz(path)
    # as `models.scale` has it; importing that would make every edit of a network compute these features again
    reference = data["reference"].astype(np.float32) / 127.5 - 1
    middle = len(reference) // 2
    halves = {"a": reference[:middle], "b": reference[middle:]}

    arrays, not_computed = {"halves": np.array([len(x) for x in halves.values()])}, {}
    for name, net in features.FEATURE_NETS.items():
        not_computed[name] = features.unavailable(name, nets.get(name))
        if name not in nets and net.needs_labels and len(data["train_labels"]) == 0:
            not_computed[name] = "the data set has no labels"
        if not_computed[name]:
            continue
        function = features.load(name, nets[name], device, job.threads)
        for display, show in DISPLAYS.items():
            for half, images in halves.items():
                try:
                    arrays[f"{name}_{display}_{half}"] = function(show(images))
                except ValueError as error:
                    raise UserError(f"{nets[name]}: it does not fit {path}: {error}") from error
    arrays["not_computed"] = np.array(json.dumps({name: reason for name, reason in not_computed.items() if reason}))
    files.write_npz(job.output("features"), **arrays)
    used = [name for name, reason in not_computed.items() if not reason]
    job.finish(device=features.device_of(used, device), work={"images": len(reference) * len(DISPLAYS) * len(used)})
