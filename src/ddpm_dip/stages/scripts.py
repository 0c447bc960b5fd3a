"""Vega, Vega-Lite and Vega-Embed as one script, so that the page's charts need no network.

Writes    script: JavaScript that sets window.vegaEmbed, from what the package vl-convert carries.
"""

import vl_convert

from ..jobs import files
from ..jobs.job import Job


def run(job: Job) -> None:
    files.write_text(job.output("script"), vl_convert.javascript_bundle())
    job.finish()
