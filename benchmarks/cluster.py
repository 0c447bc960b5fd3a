"""What a cluster costs: seconds for small cells, drawn and measured, here and on a SLURM of two nodes on this machine.

The SLURM is the tests' own (tests/workflow/slurm.py): its nodes have this machine's cores, so what is more than the
local run is the overhead: SLURM, and two Snakemakes a job. Columns: way (local, jobs, arrays), cells, seconds, the
processor seconds of all Python processes (what else runs on the machine matters less to these), and both a cell.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/workflow"))

import common
import pandas as pd
from slurm import Cluster, missing
from small_cells import overlay
from workflow_overhead import snakemake

from ddpm_dip.jobs import errors

CLUSTER = ["--workflow-profile", str(common.ROOT / "profiles/slurm"), "--slurm-status-command", "squeue"]
CLUSTER += ["--slurm-init-seconds-before-status-checks", "1", "--local-cores", "2"]

# each Python process notes at its end how long it was at work
NOTE = """
import atexit, os, time
if folder := os.environ.get("NOTE_IN"):
    def note():
        with open(os.path.join(folder, f"{os.getpid()}-{time.monotonic_ns()}"), "w") as file:
            file.write(str(time.process_time()))
    atexit.register(note)
"""


def measured(folder: Path, config: dict, options: list[str], variables: dict) -> tuple[float, float]:
    """Seconds that a run takes, and how long its processes were at work."""
    notes = folder / "notes"
    notes.mkdir()
    (folder / "overlay.json").write_text(json.dumps(config))
    words = [sys.executable, "-m", "snakemake", "--snakefile", str(common.ROOT / "Snakefile")]
    words += ["--directory", str(folder), "--configfile", str(folder / "overlay.json"), *options]
    began, environment = time.perf_counter(), os.environ | variables | {"NOTE_IN": str(notes)}
    done = subprocess.run(words, cwd=common.ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise errors.UserError(done.stdout + done.stderr)
    return time.perf_counter() - began, sum(float(path.read_text()) for path in notes.iterdir())


def main() -> None:
    parser = common.parser(__doc__, rounds=1, threads=False)
    parser.add_argument("--cells", type=errors.at_least(8), default=16, help="eight a K")
    args = parser.parse_args()
    if why := missing():
        raise errors.UserError(why)
    steps = list(range(1000, 1000 - 10 * (args.cells // 8), -10))
    rows, cluster = [], Cluster()
    with (cluster.folder / "bin/sitecustomize.py").open("a") as file:
        file.write(NOTE)
    ways = {"local": ["--cores", "2"], "jobs": [*CLUSTER, "--slurm-array-jobs", ""], "arrays": CLUSTER}
    try:
        cluster.begin()
        with tempfile.TemporaryDirectory() as name:
            base = Path(name) / "base"
            base.mkdir()
            snakemake(base, overlay([20]), "--cores", "2")
            for turn in range(args.rounds):
                for way, options in ways.items():
                    folder = Path(name) / f"{way}-{turn}"
                    shutil.copytree(base, folder)
                    seconds, at_work = measured(folder, overlay(steps), options, cluster.variables)
                    rows.append(
                        {"way": way, "cells": len(steps) * 8, "round": turn, "seconds": seconds, "cpu_s": at_work}
                    )
                    print(rows[-1], flush=True)
    finally:
        cluster.stop()
    table = pd.DataFrame(rows).drop(columns="round").groupby(["way", "cells"], as_index=False, sort=False).median()
    for name in ("seconds", "cpu_s"):
        table[f"{name}_a_cell"] = table[name] / table["cells"]
    common.show("Small cells, here and on a cluster of this machine", table)
    common.write(args.output, "cluster", table, rows)


if __name__ == "__main__":
    errors.run(main)
