"""Write the report: one HTML page that needs nothing beside it, and a short table for the terminal.

settings: config, the study's settings; cells, the paths of its cells; experiments, by name, with title, cells and show;
order, their names as they stand on the page; figures, a list of file, section, title, caption and alt.
reads: tables, by name (cells and floors, and those there are of timing, training, gan_training and interpolation);
figures, the files that the settings list.
writes: page (.html) and summary (.txt). The hint `results` names the results whose records the page lists.
"""

from ..jobs import files
from ..jobs.errors import UserError
from ..jobs.job import Job, read_record
from ..report import page as report
from ..report import tables


def run(job: Job) -> None:
    """Write the page and the summary."""
    paths = job.inputs("tables")
    if "cells" not in paths:
        raise UserError(f"{job.path}: inputs.tables has no cells")
    read = {name: tables.read(name, path) for name, path in paths.items()}
    read["cells"] = tables.with_floors(read["cells"], read.get("floors"))
    reasons: dict[str, list[str]] = {}
    for path in paths.values():
        reasons |= (read_record(path) or {}).get("not_computed", {})
    images = {path: full.read_bytes() for path, full in job.inputs("figures").items()}
    figures = [figure | {"data": images[figure["file"]]} for figure in job.settings["figures"]]
    listed = {path: read_record(job.folder / path) for path in job.hints.get("results", [])}
    records = {path: record for path, record in listed.items() if record is not None}
    parts = job.settings["experiments"]
    study = report.Study(job.settings["config"], {name: parts[name] for name in job.settings.get("order", parts)})

    files.write_text(job.output("page"), report.page(study, read, figures, records, reasons))
    files.write_text(job.output("summary"), report.summary(study, read, str(job.output("page"))))
    job.finish()
