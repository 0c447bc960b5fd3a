"""Gather many small results into one tidy table.

settings: table, one of cells, interpolation, training, gan_training and timing.
reads: parts, the files to gather: metrics of cells (.json), measures of interpolations (.json), losses or times (.csv).
writes: table, a .csv. Its record says what was not computed, and why.
"""

from ..jobs import files
from ..jobs.errors import UserError
from ..jobs.job import Job
from ..report import tables

OF_RECORDS = {"cells": tables.cells, "interpolation": tables.interpolation}
OF_TABLES = {"training": tables.training, "gan_training": tables.gan_training, "timing": tables.timing}


def run(job: Job) -> None:
    """Gather one table."""
    name, extra = job.settings["table"], {}
    if name in OF_RECORDS:
        records = {path: files.read_json(full) for path, full in job.inputs("parts").items()}
        table = OF_RECORDS[name](records)
        extra["not_computed"] = tables.not_computed(records)
    elif name in OF_TABLES:
        table = OF_TABLES[name]({path: tables.read(name, full) for path, full in job.inputs("parts").items()})
    else:
        raise UserError(
            f"{job.path}: settings.table is {name!r}; right is one of {', '.join([*OF_RECORDS, *OF_TABLES])}"
        )
    files.write_text(job.output("table"), table.to_csv(index=False))
    job.finish(**extra)
