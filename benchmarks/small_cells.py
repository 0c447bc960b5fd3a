"""Cells a minute of small cells: 128 images of 16x16 from 10 evaluations each, by a job to draw and one to measure.

A study with one cell is made, and its time does not count; then a grid of --cells cells is asked for, and timed until
its report is there. Columns: cells, cores, seconds, cells_a_minute.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import common
import pandas as pd
from workflow_overhead import snakemake

from ddpm_dip.jobs import errors

ARMS = {"model": "net", "start": ["noise", "mean-image"], "sampler": ["ddim", "dpmpp-2m"], "clip_x0": [True, False]}


def overlay(steps: list[int]) -> dict:
    left_out = dict.fromkeys(("question", "steps", "quality", "passes", "epochs", "dip_in_training"))
    many = {"grid": ARMS | {"steps": steps, "nfe": 10}, "show": {}}
    return {
        "study": "small",
        "models": dict.fromkeys(("hw4", "hw4-sees", "hw4-dip")) | {"net": {"network": "hw4-sees", "epochs": [1]}},
        "metrics": {"classifier_epochs": 1},
        "experiments": left_out | {"many": many},
        "seeds": {"replicates": [0]},
        "claims": None,
        "timing": None,
    }


def main() -> None:
    parser = common.parser(__doc__, rounds=1, threads=False)
    parser.add_argument("--cells", type=errors.at_least(8), default=80, help="eight a K")
    parser.add_argument("--cores", type=errors.at_least(1), default=2)
    args = parser.parse_args()
    steps = list(range(1000, 1000 - 10 * (args.cells // 8), -10))
    rows = []
    for turn in range(args.rounds):
        with tempfile.TemporaryDirectory() as name:
            cores = ("--cores", str(args.cores))
            snakemake(Path(name), overlay([20]), *cores)
            _, seconds = snakemake(Path(name), overlay(steps), *cores)
        cells = len(steps) * 8
        rows.append({"cells": cells, "cores": args.cores, "round": turn, "seconds": seconds})
        rows[-1]["cells_a_minute"] = 60 * cells / seconds
    table = pd.DataFrame(rows).drop(columns="round").groupby(["cells", "cores"], as_index=False).median()
    common.show("Cells of 128 images and 10 evaluations", table)
    common.write(args.output, "small_cells", table, rows)


if __name__ == "__main__":
    errors.run(main)
