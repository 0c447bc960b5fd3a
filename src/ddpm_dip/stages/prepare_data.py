"""Prepare a data set: read or download it, resize it, split it into train and reference.

settings  dataset (a file of data/), root (folder, archive or address of the source files; null: shipped or downloaded),
          sha256 (of the archive, or null), split (train, test or both, of the set's own files), image_size (pixels;
          null: the set's own), channels (1 grey, 3 RGB), reference (how many images are held out), seed (which)
writes    data: the arrays train, reference, their labels, and their positions in the data set
          Downloads and unpacked archives go to the folder downloads/ beside the study's.
"""

import numpy as np

from .. import data
from ..jobs import files
from ..jobs.job import Job


def run(job: Job) -> None:
    names = ("dataset", "root", "sha256", "split", "image_size", "channels")
    options = data.Options(**{name: job.settings[name] for name in names}, cache=job.folder.parent / "downloads")
    loaded = data.load(options)
    parts = data.split_train_reference(loaded, job.settings["reference"], job.settings["seed"])
    output = job.output("data")
    files.write_npz(output, **parts)

    for path in loaded.files:
        job.also_read(path)
    counts = {part: len(parts[part]) for part in ("train", "reference")}
    labels = {part: np.unique(parts[f"{part}_labels"], return_counts=True) for part in counts}
    job.finish(
        work={"images": sum(counts.values())},
        image_shape=list(loaded.images.shape[1:]),
        counts=counts,
        classes={part: {str(k): int(n) for k, n in zip(*found, strict=True)} for part, found in labels.items()},
    )
    print(f"{output}: {counts['train']} train and {counts['reference']} reference images")
