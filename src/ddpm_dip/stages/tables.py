"""Gather many small results into one tidy table.

settings: table, one of cells, pseudo, noise, interpolation, training, gan_training and timing; of timing also models, a
mapping from a model that was timed to those with the same net.
reads: parts, the files to gather: metrics of cells (.json), measures of interpolations (.json), losses or times (.csv);
for cells, where there is one, timing, the table of times.
writes: table, a .csv. Its record says what was not computed, and why.
"""

from ..jobs import files
from ..jobs.errors import UserError
from ..jobs.job import Job
from ..report import tables

OF_RECORDS = {
    "cells": tables.cells,
    "pseudo": tables.pseudo,
    "noise": tables.noise,
    "interpolation": tables.interpolation,
}
OF_TABLES = {"training": tables.training, "gan_training": tables.gan_training, "timing": tables.timing}


def run(job: Job) -> None:
    """Gather one table."""
    name, extra = job.settings["table"], {}
    if name in OF_RECORDS:
        records = {path: files.read_json(full) for path, full in job.inputs("parts").items()}
        times = {"times": tables.read("timing", job.input("timing"))} if job.has("timing") else {}
        table = OF_RECORDS[name](records, **times)
        extra["not_computed"] = tables.not_computed(records)
    elif name in OF_TABLES:
        parts = {path: tables.read(name, full) for path, full in job.inputs("parts").items()}
        same = {key: job.settings[key] for key in ("models",) if key in job.settings}
        table = OF_TABLES[name](parts, **same)
    else:
        raise UserError(
            f"{job.path}: settings.table is {name!r}; right is one of {', '.join([*OF_RECORDS, *OF_TABLES])}"
        )
    files.write_text(job.output("table"), table.to_csv(index=False))
    job.finish(**extra)
