"""A whole study, per stage: jobs, wall and CPU seconds, and what of it is start-up, compilation and waiting.

    python benchmarks/study.py --cores 2 1              the default study; --study studies/mnist.yaml my.yaml: another
    python benchmarks/study.py --results results/mnist  no run: what the records of a finished one say

A run is a real one in an empty folder, once for each of --cores, one after the other. Every 50 ms the processes below
Snakemake are looked at: a script's wall time goes from its start to its end, its CPU time (all threads, and those of
the copy that does its work) is the last one seen. Columns of a stage:
  jobs, wall_s, cpu_s   of all its scripts together
  start_cpu_s           of that, the scripts themselves: starting Python, and where no process is ready importing, too
  compile_cpu_s         of that, making OpenVINO's nets, an estimate: CPU seconds of hw4's (median of 3) x nets, as the
                        records of the results have them
Row `ready` is the process that scripts are copies of, row `snakemake` Snakemake itself; row `rest` is cores x the run's
wall time less all of these: cores without a process of the study, and what was not seen (bash, the last 50 ms of a
process, this watching). With two values of --cores, the last line is the ratio of their wall times.

From records alone there are jobs and seconds of each stage's work, its start not counted in.
"""

import collections
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import common
import pandas as pd
import psutil

from ddpm_dip.jobs import errors, job

SCRIPTS = common.ROOT / "workflow" / "scripts"
SHORT = {path.stem[:15]: path.stem for path in SCRIPTS.glob("*.py")}  # as long as a process' name may be
LOOK = 0.05  # seconds
COMPILE = """
import sys, time
sys.path.insert(0, {src!r})
import torch
from ddpm_dip.models import build_unet
from ddpm_dip.sampling import backends
net, begin = build_unet("hw4", (1, 28, 28)), time.process_time()
backends.openvino(net, (torch.zeros(64, 1, 28, 28), torch.zeros(1).long()), 1)
print(time.process_time() - begin)
"""


def compile_seconds() -> float:
    code = COMPILE.format(src=str(common.ROOT / "src"))
    run = [sys.executable, "-c", code]
    return statistics.median(float(subprocess.run(run, capture_output=True, check=True).stdout) for _ in range(3))


def script_of(process: psutil.Process) -> str | None:
    """The stage whose script a process is, `ready` for the process that is and its copies, None for any other."""
    words = process.cmdline()
    if any("ready.serve(" in word for word in words):
        return "ready"
    if len(words) < 2 or Path(words[1]).parent != SCRIPTS:
        return None
    fork = process.parent().cmdline() == words  # of a script, before it becomes another program
    return None if fork else Path(words[1]).stem


def watched(command: list[str], log: Path) -> tuple[float, list[dict]]:
    """Run `command`: its wall seconds, and a row a process. Raises UserError where it fails."""
    stages: dict[psutil.Process, str | None] = {}
    rows: dict[psutil.Process, dict] = {}
    with open(log, "wb") as said:
        begin = time.time()
        run = subprocess.Popen(command, cwd=common.ROOT, stdout=said, stderr=said)
        main = psutil.Process(run.pid)
        late = main.create_time() - begin  # the system's boot time is a whole second, and with it all of these times
        rows[main] = {"stage": "snakemake", "wall_s": 0.0, "cpu_s": 0.0, "jobs": 0, "start_cpu_s": 0.0}
        while run.poll() is None:
            for process in [main, *main.children(recursive=True)]:
                try:
                    if not stages.get(process):  # bash becomes the script that it is asked for
                        stages[process] = "snakemake" if process == main else script_of(process)
                    if stage := stages[process]:
                        with process.oneshot():
                            times, started = process.cpu_times(), process.create_time() - late
                        cpu = times.user + times.system
                        rows[process] = {"stage": stage, "wall_s": time.time() - started, "cpu_s": cpu, "jobs": 1}
                        rows[process]["start_cpu_s"] = cpu
                        if stage == "ready" and (of := process.name()) in SHORT:  # a copy says what it does
                            rows[process] |= {"stage": SHORT[of], "wall_s": 0.0, "jobs": 0, "start_cpu_s": 0.0}
                except (psutil.Error, AttributeError):  # it has just ended, or its parent has
                    continue
            time.sleep(LOOK)
        seconds = time.time() - begin
    if run.returncode:
        raise errors.UserError(f"{shlex.join(command)} failed: {log.read_text(errors='replace')[-3000:]}")
    return seconds, list(rows.values())


def run_study(studies: list[Path], cores: int) -> tuple[pd.DataFrame, float, list[dict]]:
    """A row a stage, and the whole run's wall seconds."""
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--directory", name]
        command += ["--snakefile", str(common.ROOT / "Snakefile")]
        if studies:
            command += ["--configfile", *map(str, studies)]
        seconds, rows = watched(command, Path(name) / "log")
        nets, devices = collections.Counter(), set()
        for record in records(Path(name) / "results"):
            nets[record["job"]["stage"]] += openvino_nets(record)
            devices.add(record["device"])
    frame = pd.DataFrame(rows)
    table = frame.groupby("stage", sort=False)[["jobs", "wall_s", "cpu_s", "start_cpu_s"]].sum().reset_index()
    scripts = ~table["stage"].isin(["snakemake", "ready"])
    table.loc[~scripts, ["jobs", "start_cpu_s"]] = 0
    table["compile_cpu_s"] = [nets[stage] for stage in table["stage"]]
    if nets.total():
        table["compile_cpu_s"] *= compile_seconds()
    used = table["cpu_s"].sum()
    rest = {"stage": "rest", "jobs": 0, "cpu_s": cores * seconds - used}
    table = pd.concat([table[scripts], table[~scripts], pd.DataFrame([rest])], ignore_index=True)
    table["share"] = table["cpu_s"] / (cores * seconds)
    study = ", ".join(path.stem for path in studies) or "config"
    table = table.assign(cores=cores, devices=", ".join(sorted(devices)), study=study)
    return table, seconds, [row | {"cores": cores} for row in rows]


def records(results: Path) -> list[dict]:
    """The record of each job of a study; its results all have the same one. Raises UserError where there is none."""
    jobs = {}
    for path in results.rglob(f"*{job.RECORD}"):
        record = json.loads(path.read_text(encoding="utf-8"))
        jobs[record["job"]["stage"], record["job"]["name"]] = record
    if not jobs:
        raise errors.UserError(f"{results}: no records of a study there")
    return list(jobs.values())


def openvino_nets(record: dict) -> int:
    """How many nets a job has made on OpenVINO: U-Nets and DIP nets, where it times some for each size of batch."""
    settings, inputs = record["job"]["settings"], record["job"]["inputs"]
    used = settings.get("backends", [settings.get("backend")])
    nets = ("weights" in inputs) + ("dip" in inputs)
    if record["job"]["stage"] == "time_sampling":
        chains = [*settings["steps"], *settings["chains"]]
        nets = len(chains) + sum(cell["passes"] is not None for cell in [*chains, *settings["starts"]])
    return nets * sum(str(backend).startswith("openvino") for backend in used)


def recorded(results: Path) -> pd.DataFrame:
    """Jobs and seconds of each stage of a finished study, by its records."""
    jobs = pd.DataFrame([{"stage": r["job"]["stage"], "seconds": r["seconds"]} for r in records(results)])
    table = jobs.groupby("stage")["seconds"].agg(jobs="size", seconds="sum").reset_index()
    return table.assign(share=table["seconds"] / table["seconds"].sum()).sort_values("seconds", ascending=False)


def main() -> None:
    parser = common.parser(__doc__, threads=False)
    parser.add_argument("--study", type=Path, nargs="*", default=[], help="files to lay over config.yaml")
    parser.add_argument("--cores", type=errors.at_least(1), nargs="+", default=[2])
    parser.add_argument("--results", type=Path, help="a finished study's folder, to read its records and run nothing")
    args = parser.parse_args()
    if args.results:
        table = recorded(args.results)
        common.show(f"{args.results}: seconds of work, by the records", table)
        common.write(args.output, "study-records", table, table.to_dict("records"))
        return
    tables, walls, rows = [], [], []
    for cores in args.cores:
        table, seconds, found = run_study([path.resolve() for path in args.study], cores)
        common.show(f"Whole study, {cores} cores: {seconds:.0f} s, {sum(row['jobs'] for row in found)} jobs", table)
        tables.append(table.assign(run_s=seconds))
        walls.append(seconds)
        rows += found
    common.write(args.output, "study", pd.concat(tables), rows)
    for cores, seconds in list(zip(args.cores, walls, strict=True))[1:]:
        ratio = seconds / walls[0]
        print(f"\n{cores} cores took {ratio:.2f} times as long as {args.cores[0]}")


if __name__ == "__main__":
    errors.run(main)
