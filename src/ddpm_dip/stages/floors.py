"""The distance of real images from real ones, by feature net, display and number of images: half B against half A.

Samples as good as real images have about this distance at the same number of samples. It is far above 0, because the
estimate of a Frechet distance from few samples is biased upwards.

Reads:
  features  features of the reference images, .npz, of reference_features
Writes:
  floors    .csv with columns features (the feature net), display, n, n_reference, floor; the floor is empty where it
            cannot be computed, and the record says why
Settings:
  n         how many images of half B to take: as many as a cell has samples
"""

import csv
import io

from ..evaluation.displays import DISPLAYS
from ..evaluation.features import FEATURE_NETS
from ..evaluation.frechet import frechet_distance
from ..jobs import files
from ..jobs.errors import UserError
from ..jobs.job import Job

COLUMNS = ("features", "display", "n", "n_reference", "floor")


def run(job: Job) -> None:
    """Where there are fewer than n images in half B, or fewer than 2 in either half, the floors are empty."""
    path, n = job.input("features"), job.settings["n"]
    arrays = files.read_npz(path)
    if "halves" not in arrays:
        raise UserError(f"{path}: holds no reference features; right is what the stage reference_features writes")
    n_reference, most = arrays["halves"].tolist()
    reason = None
    if n > most:
        reason = f"half B of the reference has {most} images, not {n}"
    elif min(n, n_reference) < 2:
        reason = "fewer than 2 images have no covariance"
    rows = []
    for name in FEATURE_NETS:
        for display in DISPLAYS:
            if f"{name}_{display}_a" in arrays:
                half_a, half_b = (arrays[f"{name}_{display}_{half}"] for half in "ab")
                rows.append((name, display, n, n_reference, "" if reason else frechet_distance(half_a, half_b[:n])))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
    files.write_text(job.output("floors"), text.getvalue())
    job.finish(work={"floors": len(rows)}, not_computed={"floor": [reason]} if reason else {})
