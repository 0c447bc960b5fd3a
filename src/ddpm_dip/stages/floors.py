"""The distance of real images from real ones, by feature net, display and number of images: half B against half A.

Samples as good as real images have about this distance at the same number of samples. It is taken as the metric on the
same net is: jackknifed, so that it is near 0 and may be below; but the FID is far above 0, because the estimate of a
Frechet distance from few samples is biased upwards.

Reads:
  features  features of the reference images, .npz, of reference_features
Writes:
  floors    .csv with columns features (the feature net), display, n, n_reference, floor, floor_se (its standard error
            over blocks of images; empty for a floor with bias); the floor is empty where it cannot be computed, and the
            record says why
Settings:
  n         how many images of half B to take: as many as a cell has samples
"""

import csv
import io

from ..evaluation.displays import DISPLAYS
from ..evaluation.features import FEATURE_NETS
from ..evaluation.metrics import METRICS, frechet_metrics, measure
from ..evaluation.statistics import standard_error
from ..jobs import files
from ..jobs.errors import UserError
from ..jobs.job import Job

COLUMNS = ("features", "display", "n", "n_reference", "floor", "floor_se")


def run(job: Job) -> None:
    """Where there are fewer than n images in half B, or too few in either half, the floors are empty."""
    path, n = job.input("features"), job.settings["n"]
    arrays = files.read_npz(path)
    if "halves" not in arrays:
        raise UserError(f"{path}: holds no reference features; right is what the stage reference_features writes")
    n_reference, most = arrays["halves"].tolist()
    rows, reasons, metrics = [], [], frechet_metrics()
    for net in FEATURE_NETS:
        for display in DISPLAYS:
            if net not in metrics or f"{net}_{display}_a" not in arrays:
                continue
            name, found = metrics[net], ("", "")
            at_least = METRICS[name].at_least
            if n > most:
                reasons.append(f"half B of the reference has {most} images, not {n}")
            elif min(n, n_reference) < at_least:
                reasons.append(f"fewer than {at_least} images in half A or B are too few for {name}")
            else:
                half_a, half_b = (arrays[f"{net}_{display}_{half}"] for half in "ab")
                values, pseudo = measure([name], {"features": half_b[:n], "reference": half_a})
                found = values[name], standard_error(pseudo[name]) if METRICS[name].jackknifed else ""
            rows.append((net, display, n, n_reference, *found))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
    files.write_text(job.output("floors"), text.getvalue())
    reasons = list(dict.fromkeys(reasons))
    job.finish(work={"floors": len(rows)}, not_computed={"floor": reasons} if reasons else {})
