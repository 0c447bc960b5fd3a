"""Write the report: one HTML page that needs nothing beside it, and a short table for the terminal.

settings: config, the study's settings; cells, the paths of its cells; experiments, by name, with title, cells and show;
order, their names as they stand on the page; figures, a list of file, charts, section, title, caption and alt;
contrasts, which cells a claim sets against which; timesteps, of each model in all; display, the one that claims of
saved steps go by.
reads: tables, by name (cells and floors, and those there are of timing, training, gan_training and interpolation);
figures and charts, the files that the settings list; pictures, of cells by their paths; script, of the stage scripts.
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
    charts = {path: files.read_json(full) for path, full in job.inputs("charts").items()}
    figures = [
        figure | {"data": images[figure["file"]], "charts": charts.get(figure["charts"], [])}
        for figure in job.settings["figures"]
    ]
    pictures = {name: files.read_json(path) for name, path in job.inputs("pictures").items()}
    listed = {path: read_record(job.folder / path) for path in job.hints.get("results", [])}
    records = {path: record for path, record in listed.items() if record is not None}
    parts = job.settings["experiments"]
    order = {name: parts[name] for name in job.settings.get("order", parts)}
    settings = job.settings
    study = report.Study(settings["config"], order, settings["contrasts"], settings["timesteps"], settings["display"])

    vega = job.input("script").read_text(encoding="utf-8")
    files.write_text(job.output("page"), report.page(study, read, figures, records, reasons, pictures, vega))
    files.write_text(job.output("summary"), report.summary(study, read, str(job.output("page"))))
    job.finish()
