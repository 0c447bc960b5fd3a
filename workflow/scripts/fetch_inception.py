"""Fetch the Inception weights of pytorch-fid, or copy them from a file; size and digest are verified.

Where they cannot be fetched, the output says why, and the FID is not computed; a file that is given must be right.
"""

import argparse
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from ddpm_dip import errors, files, provenance
from ddpm_dip.metrics.inception import WEIGHTS_SHA256, check_weights, fetch_weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help=".json to write: the name of the weights file beside it, or why there is none",
    )
    parser.add_argument("--from", dest="source", type=Path, help="file to copy, instead of a download")
    parser.add_argument("--stamp", type=Path, help="the workflow's stamp, copied into the provenance")
    arguments = parser.parse_args()
    job = provenance.Job(arguments.stamp, __file__)

    weights = arguments.output.with_name("weights.pth")
    status = {"weights": weights.name, "not_computed": None}
    if arguments.source:
        check_weights(job.input(arguments.source))
        files.write_atomic(weights, lambda temporary: shutil.copyfile(arguments.source, temporary))
    else:
        try:
            fetch_weights(weights)
        except errors.UserError as error:
            status = {"weights": None, "not_computed": str(error)}
            print(f"FID by Inception will not be computed: {error}")
    files.write_json(arguments.output, status)
    job.finish(arguments.output, spec={"sha256": WEIGHTS_SHA256})


if __name__ == "__main__":
    errors.run(main)
