"""What jobs need on a cluster: memory and time, with room to spare. docs/cluster.md has what was measured.

All jobs of a stage need what its largest does: an array of jobs has one request.
"""

from ..jobs.ledger import Planned
from . import Study

DAY = 24 * 60  # minutes; a training that is cut off goes on from its last epoch when it is tried again
FLOATS = 4e-6  # MB
LARGEST = 70_000  # images to train on: of MNIST and its likes; of a folder nobody knows before it is read
TRAINED = 30e-6  # seconds a pixel of an image and epoch, three to ten times what was measured
DRAWN = 10e-6  # seconds a pixel of an image and step, likewise
INCEPTION = 2000  # MB


def of_study(study: Study, jobs: list[Planned]) -> dict[str, tuple[int, int]]:
    """Stage -> MB of memory and minutes, of those that a cluster runs."""
    images, n = study.config["data"], study.config["sampling"]["n"]
    pixels = images["image_size"] ** 2
    values = pixels * images["channels"]
    found: dict[str, tuple[int, int]] = {}
    for job in jobs:
        mb, seconds = of_job(job.stage, job.settings, n, pixels, values)
        if "inception" in job.inputs.get("nets", ()):
            mb += INCEPTION
        before = found.get(job.stage, (0, 0))
        found[job.stage] = max(before[0], round(mb)), max(before[1], min(DAY, 10 + round(seconds / 60)))
    return found


def of_job(stage: str, settings: dict, n: int, pixels: int, values: int) -> tuple[float, float]:
    """MB and seconds of a job. n: images a cell; pixels, values: of an image, without and with its channels."""
    held = 20 * n * values * FLOATS  # the images, and what is made of them
    if stage == "train":
        batch = settings["batch_size"] * values
        return 1500 + 2000 * batch * FLOATS + 4 * LARGEST * values * FLOATS, settings[
            "epochs"
        ] * LARGEST * pixels * TRAINED
    if stage in ("sample", "interpolate"):
        steps = (settings.get("cell") or settings).get("nfe") or settings.get("steps") or 1
        drawn = n if stage == "sample" else settings["pairs"] * settings["points"]
        return 1500 + held, drawn * steps * pixels * DRAWN
    if stage == "time_sampling":
        return 1500 + held, 3600 * 4
    return 1500 + held, 1800
