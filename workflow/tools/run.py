"""Run a study by Snakemake, with its progress here and Snakemake's own words in a log file.

In a terminal a bar a stage, else a line now and then. What failed is said last, with the end of its log.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import asked

from ddpm_dip.jobs import errors
from ddpm_dip.study import progress, why

EVERY = 30  # seconds between lines, where there is no terminal
REDRAWN = 3  # seconds between bars, in one
TAIL = 15  # lines of a failed job's log
# how Snakemake names a job that failed, and its log
FAILED = re.compile(r"^Error in rule (\w+):\n(?:    .*\n)*?    log: (.+?)(?: \(check log .*)?$", re.MULTILINE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, metavar="CONFIGFILE", help="laid over config.yaml, in order")
    parser.add_argument("--cores", default="all")
    parser.add_argument("--keep-going", action="store_true", help="make what does not need a job that failed")
    arguments = parser.parse_args()
    study, folder, found = asked.of_files(arguments.files)
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    log = folder / "logs" / f"run-{time.strftime('%Y-%m-%dT%H%M%S')}.log"
    command = [sys.executable, "-m", "snakemake", "--cores", arguments.cores, "--nocolor"]
    command += ["--configfile", *map(str, arguments.files)] * bool(arguments.files)
    command += ["--keep-going"] * arguments.keep_going
    cores = os.cpu_count() if arguments.cores == "all" else int(arguments.cores)
    print(progress.line(study.name, progress.of_study(folder, found, why.measured_rates(folder.parent)), cores))
    with open(log, "w", encoding="utf-8") as file:
        # a group of its own: Ctrl-C reaches this program, which passes it on
        run = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: pass_on(run, number))
    watch(run, study.name, folder, found, cores)
    sys.exit(ended(run.returncode, folder, log))


def pass_on(run: subprocess.Popen, number: int) -> None:
    """A signal to Snakemake and all of its jobs, as Ctrl-C in a terminal sends it."""
    print("\nstopping: what is finished stays, and the same command goes on from there", flush=True)
    os.killpg(run.pid, number)


def watch(run: subprocess.Popen, name: str, folder: Path, found: dict, cores: int) -> None:
    """Say how far it is until it ends."""
    terminal, height, done = sys.stdout.isatty(), 0, set()
    rates, measured, said = why.measured_rates(folder.parent), time.monotonic(), time.monotonic()
    while run.poll() is None:
        time.sleep(1)
        if time.monotonic() - said < (REDRAWN if terminal else EVERY):
            continue
        if time.monotonic() - measured > EVERY:
            rates, measured = why.measured_rates(folder.parent), time.monotonic()
        now = progress.of_study(folder, found, rates, done)
        lines = [progress.line(name, now, cores)]
        if terminal:
            lines = [*progress.bars(now), *lines]
            print(f"\x1b[{height}F" * bool(height) + "".join(f"\x1b[2K{line}\n" for line in lines), end="", flush=True)
            height = len(lines)
        else:
            print(lines[0], flush=True)
        said = time.monotonic()


def ended(status: int, folder: Path, log: Path) -> int:
    """Say what came out. Returns the exit status."""
    text = log.read_text(encoding="utf-8", errors="replace")
    summary = folder / "report/summary.txt"
    if status == 0:
        print(summary.read_text(encoding="utf-8") if summary.exists() else f"done; see {log}")
        return 0
    failed = FAILED.findall(text)
    for stage, path in failed:
        print(f"\n{stage} failed; the end of {path}:")
        if Path(path).exists():
            print("\n".join(f"  {line}" for line in Path(path).read_text(errors="replace").splitlines()[-TAIL:]))
    if not failed:
        print("\n".join(text.splitlines()[-TAIL:]))
    print(f"\nnot finished; all of Snakemake's words: {log}")
    return status if status > 0 else 128 - status


if __name__ == "__main__":
    errors.run(main)
