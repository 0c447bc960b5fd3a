"""Take over results that were copied without their file times: what its records prove intact runs no more."""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from ddpm_dip import adoption, errors, files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="a study's folder, results/STUDY")
    parser.add_argument("--check", action="store_true", help="say what is found and change nothing")
    arguments = parser.parse_args()
    if not arguments.results.is_dir():
        raise errors.UserError(f"{arguments.results}: no such folder; give a study's, as results/mnist")
    lock = files.lock(arguments.results)
    if lock is None:
        raise errors.UserError(f"{arguments.results}: a run is at work there; wait for it")
    results = Path(os.path.abspath(arguments.results))  # not resolved: results/ may be a link to another disk
    os.chdir(results.parents[1])  # records name what they are made from as seen from there, results/STUDY/...
    findings = adoption.examine(results.relative_to(Path.cwd()))
    if not findings.adopted:
        raise errors.UserError(f"{arguments.results}: no result with a record beside it is intact")
    for what, found in (("altered, put aside", findings.altered), ("outdated, made again", findings.outdated)):
        for path, reason in found.items():
            print(f"{what}: {path}: {reason}")
    for path in findings.unrecorded:
        print(f"no record, made again: {path}")
    if not arguments.check:
        adoption.adopt(findings)
    print(f"{len(findings.adopted)} results {'are intact' if arguments.check else 'taken over'}")


if __name__ == "__main__":
    errors.run(main)
