"""Compare two runs: settings that differ, and metric differences per cell with their spread.

The sd of a difference is from bootstrap resamples of each cell's samples (fd_classifier_sd in tables/cells.csv).
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from ddpm_dip import comparison, errors, files, provenance, tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a", type=Path, help="a study's folder, results/STUDY")
    parser.add_argument("b", type=Path, help="another's")
    parser.add_argument("--csv", type=Path, help="write the cells' comparison there, too")
    arguments = parser.parse_args()

    configs, cells = [], []
    for folder in (arguments.a, arguments.b):
        if not (folder / "tables/cells.csv").is_file():
            raise errors.UserError(
                f"{folder}: has no tables/cells.csv; give the folder of a finished study, results/STUDY"
            )
        configs.append(files.read_json(folder / "config.json"))
        provenance.verified(folder / "tables/cells.csv")
        cells.append(tables.read_cells(folder / "tables/cells.csv"))
    compared = comparison.cells(*cells)
    only_a, only_b = comparison.only_in(*cells), comparison.only_in(*reversed(cells))
    print(f"A: {arguments.a}\nB: {arguments.b}")
    print(comparison.text(comparison.settings(*configs), compared, only_a, only_b))
    if arguments.csv:
        files.write_text(arguments.csv, compared.to_csv(index=False))


if __name__ == "__main__":
    errors.run(main)
