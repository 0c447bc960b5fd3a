"""Compare two runs: settings that differ, and metric differences per cell with their standard error.

The se of a difference is that of both cells' distances over blocks of images (fd_classifier_se in tables/cells.csv).
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import pandas as pd

from ddpm_dip.jobs import errors, files, job
from ddpm_dip.report import comparison, tables


def run_of(folder: Path) -> tuple[dict, pd.DataFrame]:
    """A finished study's settings and cells: those of its report, whatever a dry run has looked at since.

    Raises UserError where there is no report, or the cells are not those that it shows.
    """
    report, cells = folder / "report/index.html", folder / "tables/cells.csv"
    for path in (report, cells):
        if not (path.is_file() and job.record_of(path).is_file()):
            name = path.relative_to(folder)
            raise errors.UserError(f"{folder}: has no {name}; give the folder of a finished study, results/STUDY")
    record = files.read_json(job.record_of(report))
    if job.verified(cells) not in record["read"].values():
        raise errors.UserError(f"{folder}: its cells were made again after its report; run the study to its end first")
    return record["job"]["settings"]["config"], tables.read_cells(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a", type=Path, help="a study's folder, results/STUDY")
    parser.add_argument("b", type=Path, help="another's")
    parser.add_argument("--csv", type=Path, help="write the cells' comparison there, too")
    arguments = parser.parse_args()

    configs, cells = zip(run_of(arguments.a), run_of(arguments.b), strict=True)
    compared = comparison.cells(*cells)
    only_a, only_b = comparison.only_in(*cells), comparison.only_in(*reversed(cells))
    print(f"A: {arguments.a}\nB: {arguments.b}")
    print(comparison.text(comparison.settings(*configs), compared, only_a, only_b))
    if arguments.csv:
        files.write_text(arguments.csv, compared.to_csv(index=False))


if __name__ == "__main__":
    errors.run(main)
