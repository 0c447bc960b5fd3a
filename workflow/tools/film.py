"""A GIF of one cell's chain, beside its samples: film.py results/STUDY/samples/CELL.npz [--display minmax]"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from ddpm_dip.evaluation.displays import DISPLAYS
from ddpm_dip.jobs import errors, files
from ddpm_dip.report import film


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("samples", type=Path, help="a samples file of a cell that has a chain")
    parser.add_argument("--display", choices=list(DISPLAYS), default="minmax")
    arguments = parser.parse_args()
    archive = files.read_npz(arguments.samples)
    if not {"cell", "frames"} <= archive.keys() or not archive["frames"].size:
        raise errors.UserError(f"{arguments.samples}: holds no chain's states; right is a cell with a chain")
    data = film.gif(film.pages(archive | {"cell": json.loads(str(archive["cell"]))}, arguments.display))
    target = arguments.samples.with_suffix(f".{arguments.display}.gif")
    files.write_atomic(target, lambda part: part.write_bytes(data))
    print(target)


if __name__ == "__main__":
    errors.run(main)
