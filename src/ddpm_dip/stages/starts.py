"""Describe what each start gives against what the chain expects at t = K - 1: its mean, variance and spectrum.

Reads:
  samples   a list of samples files, one a start, passes, replicate and steps, each with `starts`; of sample
  data      the data set's .npz, for the training images
Settings:
  schedules   of each of the samples files, in their order, in words: what the net was trained on
Writes:
  starts    .csv, a row a start: start, passes, replicate, steps, schedule, n, and the numbers of
            evaluation.starts.describe
  spectra   .csv, a row a start and radial band of frequencies: start, passes, replicate, steps, schedule, band, power,
            expected
"""

import csv
import io
import json
from pathlib import Path

import numpy as np

from ..evaluation.starts import describe, training_moments
from ..jobs import files
from ..jobs.errors import UserError
from ..jobs.job import Job

KEY = ("start", "passes", "replicate", "steps", "schedule")
NUMBERS = ("mean_error", "variance_ratio", "spectrum_ratio", "gaussian_kl", "gaussian_kl_floor", "axes")
LEAST = 8


def run(job: Job) -> None:
    training = training_moments(files.read_npz(job.input("data"))["train"])
    rows, spectra = [(*KEY, "n", *NUMBERS)], [(*KEY, "band", "power", "expected")]
    for path, schedule in zip(job.inputs("samples").values(), job.settings["schedules"], strict=True):
        states, cell, level = read_starts(path)
        cell["schedule"] = schedule
        key = ["" if cell[name] is None else cell[name] for name in KEY]
        numbers, power = describe(states, training, level)
        rows.append((*key, len(states), *(numbers[name] for name in NUMBERS)))
        spectra += [(*key, band, *both) for band, both in enumerate(power.T.tolist())]
    for role, table in (("starts", rows), ("spectra", spectra)):
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(table)
        files.write_text(job.output(role), text.getvalue())
    job.finish(work={"starts": len(rows) - 1})


def read_starts(path: Path) -> tuple[np.ndarray, dict, float]:
    """First states (n, C, H, W) of chains, their cell, and alphas_cumprod of t = K - 1.

    Raises UserError, naming the file, for something else.
    """
    archive = files.read_npz(path)
    if not archive.keys() >= {"starts", "cell", "alpha_cumprod"}:
        raise UserError(f"{path}: holds no starts; right is what the stage sample writes of a cell with a chain")
    if len(archive["starts"]) < LEAST:
        raise UserError(f"{path}: has {len(archive['starts'])} samples; the start's moments need at least {LEAST}")
    return archive["starts"], json.loads(str(archive["cell"])), float(archive["alpha_cumprod"])
