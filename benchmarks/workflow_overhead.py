"""Seconds that the workflow takes to decide what to run, by the number of a study's cells. Run by hand.

    python benchmarks/workflow_overhead.py --cells 100 1000 5000

A finished study is made up: a dry run writes its stamps, and every result gets an empty file and a record that holds
its stamp, which is what the workflow goes by. Prints a CSV: cells, seconds of a run with nothing to do, seconds of a
dry run with one cell more, and how many jobs that one plans. Fails where the first one does find something to do.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PASSES = 10
JOB = r"^(?:local)?rule (?!all:)\w+:\n    input: ([^\n]*)\n    output: ([^\n]*)"


def overlay(cells: int, more: int = 0) -> dict:
    """A study of `cells` + `more` cells: K = 1, 2, ... by up to 10 passes, and the chain from the mean image."""
    passes = list(range(min(PASSES, cells - 1)))
    steps, rest = divmod(cells - 1, len(passes))
    grid = {"models": ["net"], "steps": list(range(1, steps + 1)), "starts": ["dip"], "passes": passes}
    alone = {"models": ["net"], "steps": list(range(1, 2 + rest + more)), "starts": ["mean-image"], "passes": [0]}
    left_out = dict.fromkeys(("steps", "epochs", "dip_in_training"))
    return {
        "study": "made-up",
        "models": [{"name": "net", "network": "hw4-sees", "epochs": [1]}],
        "sampling": {"backend": "torch"},
        "experiments": left_out | {"passes": grid, "quality": alone},
        "timing": None,
    }


def snakemake(folder: Path, config: dict, *options: str) -> tuple[str, float]:
    """What it printed, and its seconds."""
    overlaid = folder / "overlay.json"
    overlaid.write_text(json.dumps(config))
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(folder), "--configfile", str(overlaid), *options]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(done.stdout)
    return done.stdout, seconds


def finish(folder: Path, config: dict) -> None:
    """Make every file that a dry run says is missing."""
    made = {}
    for inputs, outputs in re.findall(JOB, snakemake(folder, config, "--dry-run")[0], re.M):
        stamp = next(path for path in inputs.split(", ") if re.search(r"/stamps/.*\.json$", path))
        made |= dict.fromkeys(outputs.split(", "), stamp)
    for path, stamp in made.items():
        text = ""
        if path.endswith(".provenance.json"):
            text = json.dumps({"stamp": json.loads((folder / stamp).read_text())})
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    print("cells,no_op_s,one_more_s,one_more_jobs", flush=True)
    for cells in arguments.cells:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            finish(folder, overlay(cells))
            for _ in range(arguments.repeats):
                said, no_op = snakemake(folder, overlay(cells))
                if "Nothing to be done" not in said:
                    sys.exit(f"something is to be done:\n{said}")
                said, more = snakemake(folder, overlay(cells, more=1), "--dry-run")
                print(f"{cells},{no_op:.1f},{more:.1f},{len(re.findall(JOB, said, re.M))}", flush=True)


if __name__ == "__main__":
    main()
