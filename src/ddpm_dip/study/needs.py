"""What jobs need on a cluster: memory and time, with room to spare. docs/cluster.md has what was measured.

All jobs of a stage need what its largest does: an array of jobs has one request.
"""

from .. import data
from ..jobs.ledger import Planned
from . import Study, given
from .grid import options_of

DAY = 24 * 60  # minutes; a training that is cut off goes on from its last epoch when it is tried again
FLOATS = 4e-6  # MB
LARGEST = 70_000  # images, where nobody knows before they are read
TRAINED = 30e-6  # seconds a pixel of an image and epoch, three to ten times what was measured
DRAWN = 10e-6  # seconds a pixel of an image and step, likewise
CLASSIFIED = 5e-6  # seconds a pixel of an image and epoch of a classifier, likewise
GIVEN = 4000  # MB, and a day: of a net that was trained elsewhere nothing is known
INCEPTION = 2000  # MB


def of_study(study: Study, jobs: list[Planned]) -> dict[str, tuple[int, int]]:
    """Stage -> MB of memory and minutes, of those that a cluster runs."""
    side, channels = study.config["data"]["image_size"], study.config["data"]["channels"]
    sizes, n = data.sizes(options_of(study.config)), study.config["sampling"]["n"]
    images = sizes.images if sizes else LARGEST
    found: dict[str, tuple[int, int]] = {}
    for job in jobs:
        mb, seconds = of_job(job.stage, job.settings, images, n, side**2, side**2 * channels)
        if "inception" in job.inputs.get("nets", ()):
            mb += INCEPTION
        before = found.get(job.stage, (0, 0))
        found[job.stage] = max(before[0], round(mb)), max(before[1], min(DAY, 10 + round(seconds / 60)))
    return found


def of_job(stage: str, settings: dict, images: int, n: int, pixels: int, values: int) -> tuple[float, float]:
    """MB and seconds of a job.

    images: of the data set; n: of a cell; pixels, values: of an image, without and with its channels.
    """
    held = 20 * n * values * FLOATS  # the images, and what is made of them
    if stage == "train":
        mb = 1500 + 2000 * settings["batch_size"] * values * FLOATS + 4 * images * values * FLOATS
        return mb, settings["epochs"] * images * pixels * TRAINED
    if stage == "train_classifier":
        turned = 4 if settings.get("rotations") else 1
        mb = 1500 + held + (1 + turned) * images * values * 1e-6  # bytes
        return mb, 1800 + settings["epochs"] * turned * images * pixels * CLASSIFIED
    if stage in ("sample", "interpolate"):
        if settings["family"] in given.FAMILIES:
            return GIVEN + held, DAY * 60
        steps = (settings.get("cell") or settings).get("nfe") or settings.get("steps") or 1
        drawn = n if stage == "sample" else settings["pairs"] * settings["points"]
        return 1500 + held, drawn * steps * pixels * DRAWN
    if stage == "time_sampling":
        return (GIVEN if settings["family"] in given.FAMILIES else 1500) + held, 3600 * 4
    return 1500 + held, 1800
