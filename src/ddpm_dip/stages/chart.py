"""Draw a figure as charts of the page, and as vectors.

settings: figure, its kind, a file of report/figures that has `chart`; options, what its functions take.
reads: what the kind asks for, by role, as the stage `figure` does.
writes: charts, JSON of a list of {title, spec}, Vega-Lite specifications with their data; drawing, the figure as .svg.
"""

from ..jobs import files
from ..jobs.job import Job
from ..report import canvas, figures
from .figure import inputs


def run(job: Job) -> None:
    kind, options, found = job.settings["figure"], job.settings["options"], inputs(job)
    files.write_json(job.output("charts"), list(figures.load(kind).chart(found, options)))
    canvas.save(figures.draw(kind, found, options), job.output("drawing"))
    job.finish()
