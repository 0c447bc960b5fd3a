"""Seconds that the workflow takes to decide what to run, by the number of a study's cells.

A finished study is made up: a dry run writes its job files, and every result gets an empty file and a record that holds
its job, which is what the workflow goes by. Columns: cells, seconds of a run with nothing to do, seconds of a dry run
with one cell more (medians of --rounds), and how many jobs that one plans. Fails where the first finds something to do.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import common
import pandas as pd

from ddpm_dip.jobs import errors, job

PASSES = 10
JOB = r"^(?:local)?rule (?!all:)\w+:\n    input: ([^\n]*)\n    output: ([^\n]*)"


def overlay(cells: int, more: int = 0) -> dict:
    """A study of `cells` + `more` cells: K = 1, 2, ... by up to 10 passes, and the chain from the mean image."""
    passes = list(range(1, min(PASSES, cells - 1) + 1))
    steps, rest = divmod(cells - 1, len(passes))
    grid = {"model": "net", "steps": list(range(1, steps + 1)), "start": "dip", "passes": passes}
    alone = {"model": "net", "steps": list(range(1, 2 + rest + more)), "start": "mean-image"}
    left_out = dict.fromkeys(("question", "steps", "quality", "passes", "epochs", "dip_in_training"))
    return {
        "study": "made-up",
        "models": dict.fromkeys(("hw4", "hw4-sees", "hw4-dip")) | {"net": {"network": "hw4-sees", "epochs": [1]}},
        "sampling": {"backend": "torch"},
        "experiments": left_out | {"many": {"grid": grid}, "alone": {"grid": alone}},
        "seeds": {"replicates": [0]},
        "claims": None,
        "timing": None,
    }


def snakemake(folder: Path, config: dict, *options: str) -> tuple[str, float]:
    """What it printed, and its seconds."""
    overlaid = folder / "overlay.json"
    overlaid.write_text(json.dumps(config))
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--snakefile", str(common.ROOT / "Snakefile")]
    command += ["--directory", str(folder), "--configfile", str(overlaid), *options]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=common.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise errors.UserError(done.stdout)
    return done.stdout, seconds


def finish(folder: Path, config: dict) -> None:
    """Make every result of the study that a dry run has planned: an empty file, and a record that holds its job."""
    snakemake(folder, config, "--dry-run")
    results = folder / "results/made-up"
    for path in (results / job.FOLDER).rglob("*/**/*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        for output in content["outputs"].values():
            (results / output).parent.mkdir(parents=True, exist_ok=True)
            (results / output).touch()
            job.record_of(results / output).write_text(json.dumps({"job": job.identity(content)}))


def main() -> None:
    parser = common.parser(__doc__, rounds=3, threads=False)
    parser.add_argument("--cells", type=errors.at_least(2), nargs="+", default=[100, 1000, 5000])
    args = parser.parse_args()
    rows = []
    for cells in args.cells:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            finish(folder, overlay(cells))
            for turn in range(args.rounds):
                said, no_op = snakemake(folder, overlay(cells))
                if "Nothing to be done" not in said:
                    raise errors.UserError(f"something is to be done:\n{said}")
                said, more = snakemake(folder, overlay(cells, more=1), "--dry-run")
                jobs = len(re.findall(JOB, said, re.M))
                rows.append(
                    {"cells": cells, "round": turn, "no_op_s": no_op, "one_more_s": more, "one_more_jobs": jobs}
                )
    table = pd.DataFrame(rows).drop(columns="round").groupby("cells", as_index=False, sort=False).median()
    common.show("Seconds to decide what to run", table)
    common.write(args.output, "workflow", table, rows)


if __name__ == "__main__":
    errors.run(main)
