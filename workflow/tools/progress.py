"""Say how far a study is: its jobs by stage, what runs, and the time left by this machine's rates."""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import asked

from ddpm_dip.jobs import errors
from ddpm_dip.study import progress, why


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, metavar="CONFIGFILE", help="laid over config.yaml, in order")
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="that the run has; all of this machine's")
    arguments = parser.parse_args()
    study, folder, found = asked.of_files(arguments.files)
    now = progress.of_study(folder, found, why.measured_rates(folder.parent))
    cells = sum(found["evaluate", cell.path].made for cell in study.cells)
    print(progress.line(study.name, now, arguments.cores))
    print(f"{cells} of {len(study.cells)} cells measured")
    print("\n".join(progress.bars(now)))


if __name__ == "__main__":
    errors.run(main)
