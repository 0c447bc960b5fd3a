"""Fetch the Inception weights of pytorch-fid, or copy them from a file. Their size and digest are verified.

Where the download fails, the status says why, and the FID is not computed. A file that is given must be the right one.

Reads: nothing but the download or the given file.
Writes:
  status  .json: the name of the weights' file, weights.pth, which is written beside it; or the reason why there is none
Settings:
  from    path of a file to copy; null to download
"""

import shutil

from ..evaluation.inception import check_weights, fetch_weights
from ..jobs import files
from ..jobs.errors import UserError
from ..jobs.job import Job


def run(job: Job) -> None:
    """Raises UserError where a given file is not pytorch-fid's weights to the byte."""
    output, source = job.output("status"), job.settings["from"]
    weights = output.with_name("weights.pth")
    status = {"weights": weights.name, "not_computed": None}
    if source is not None:
        check_weights(source)
        job.also_read(source)
        files.write_atomic(weights, lambda temporary: shutil.copyfile(source, temporary))
    else:
        try:
            fetch_weights(weights)
        except UserError as error:
            status = {"weights": None, "not_computed": str(error)}
            print(f"FID by Inception will not be computed: {error}")
    files.write_json(output, status)
    job.finish()
