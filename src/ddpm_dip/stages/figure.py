"""Draw one figure.

settings: figure, its kind, a file of report/figures; options, what that file's `draw` takes; dpi.
reads: what the kind asks for, by role: tables (.csv), samples, interpolations, data and pictures (.npz).
writes: figure, a .png.
"""

import json
from pathlib import Path

import numpy as np

from ..jobs import files
from ..jobs.job import Job
from ..report import canvas, figures, tables


def run(job: Job) -> None:
    """Draw the figure from its inputs, each loaded and verified."""
    drawing = figures.draw(job.settings["figure"], inputs(job), job.settings["options"])
    canvas.save(drawing, job.output("figure"), job.settings["dpi"])
    job.finish()


def inputs(job: Job) -> dict:
    return {role: load(job, role) for role in job.content["inputs"]}


def load(job: Job, role: str):
    """One role's files as `draw` takes them: one thing, a list, or a mapping, as the job names paths."""
    asked = job.content["inputs"][role]
    if isinstance(asked, str):
        return loaded(role, job.input(role))
    paths = job.inputs(role)
    if isinstance(asked, dict):
        return {name: loaded(name, path) for name, path in paths.items()}
    return [loaded(role, path) for path in paths.values()]


def loaded(name: str, path: Path):
    """A table, or the arrays of an archive with its `cell` or `names` as a mapping."""
    if path.suffix == ".csv":
        return tables.read(name, path)
    arrays: dict[str, object] = dict(files.read_npz(path))
    for key in ("cell", "names"):
        if isinstance(arrays.get(key), np.ndarray):
            arrays[key] = json.loads(str(arrays[key]))
    return arrays
