"""Stopped at any moment, in any stage, by any signal: the same command goes on, and ends with the same bytes.

By hand, longer: `STOP_ROUNDS=3 STOP_STUDY=tiny pytest tests/workflow/test_stops.py -k random`; STOP_STUDY=tiny-b has
the stages of study B.
"""

import contextlib
import csv
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from conftest import ROOT, command, environment, jobs, snakemake

from ddpm_dip.jobs import files
from ddpm_dip.jobs.job import RECORD, read_record

pytestmark = pytest.mark.slow
STUDY = os.environ.get("STOP_STUDY", "micro")
STAGES = ["prepare_data", "fit_dip", "train", "train_classifier", "reference_features", "floors", "sample", "evaluate"]
STAGES += ["time_sampling", "tables", "figure", "report"]
if STUDY == "tiny-b":
    STAGES = ["prepare_data", "train", "train_classifier", "reference_features", "floors", "sample", "interpolate"]
    STAGES += ["evaluate", "evaluate_interpolation", "tables", "figure", "report"]
# who gets which signal: the whole group, as Ctrl-C in a terminal or a batch system does; Snakemake alone; one job
WAYS = [("tree", signal.SIGINT), ("tree", signal.SIGTERM), ("tree", signal.SIGKILL)]
WAYS += [("main", signal.SIGINT), ("main", signal.SIGTERM), ("main", signal.SIGKILL), ("job", signal.SIGKILL)]


def scripts(process: psutil.Process, stage: str) -> list[psutil.Process]:
    """Running Python processes below `process` that run the script of `stage` or of a later one."""
    names = {f"{name}.py" for name in STAGES[STAGES.index(stage) :]}
    found = []
    for child in process.children(recursive=True):
        try:
            words = child.cmdline()
        except psutil.Error:
            continue
        if len(words) > 1 and "python" in Path(words[0]).name and Path(words[1]).name in names:
            found.append(child)
    return found


def stop(folder: Path, stage: str, way: tuple[str, signal.Signals], delay: float) -> bool:
    """Start the run, and stop it `delay` seconds after a job of `stage` or a later one began. False where none did."""
    with open(folder / "stopped.log", "ab") as log:
        run = subprocess.Popen(
            command(folder, study=STUDY),
            cwd=ROOT,
            env=environment(),
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell has it ignored
        )
    main = psutil.Process(run.pid)
    while not scripts(main, stage):
        if run.poll() is not None:
            return False
        time.sleep(0.02)
    time.sleep(delay)
    who, what = way
    everyone = [main, *main.children(recursive=True)]
    targets = {"tree": everyone, "main": [main], "job": scripts(main, stage)[:1]}[who]
    for process in targets:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(what)
    run.wait(120)
    if who != "main":  # what Snakemake leaves running when it is killed alone, the next run has to bear
        psutil.wait_procs(everyone, timeout=60)
    return True


def outcome(results: Path) -> dict[str, object]:
    """Digests of weights, states, samples, features and metrics; tables without the seconds that were measured."""
    kinds = ("data", "dip", "models", "classifier", "reference", "samples", "metrics", "interpolations")
    found = {}
    for path in sorted(path for kind in kinds for path in (results / kind).rglob("*")):
        if path.name == "losses.csv":
            found[str(path.relative_to(results))] = without_seconds(path)
        elif path.is_file() and not path.name.endswith(RECORD):
            found[str(path.relative_to(results))] = files.sha256(path)
    for table in ("cells", "floors"):
        found[f"tables/{table}.csv"] = without_seconds(results / f"tables/{table}.csv")
    return found


def without_seconds(path: Path) -> list[dict]:
    with open(path, newline="") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def altered(results: Path) -> list[Path]:
    """Results that are not what their record says: half-written, or another's."""
    found = []
    for path in results.rglob(f"*{RECORD}"):
        result = path.with_name(path.name.removesuffix(RECORD))
        if result.exists() and (read_record(result) or {}).get("sha256") != files.sha256(result):
            found.append(result)
    return found


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, request) -> dict[str, object]:
    if STUDY == "micro":
        return outcome(request.getfixturevalue("finished") / "results" / STUDY)
    folder = tmp_path_factory.mktemp("whole")
    done = snakemake(folder, study=STUDY)
    assert done.returncode == 0, done.stdout + done.stderr
    return outcome(folder / "results" / STUDY)


@pytest.mark.long
@pytest.mark.parametrize("turn", range(int(os.environ.get("STOP_ROUNDS", "1"))))
def test_stopped_at_random_moments(turn, tmp_path, uninterrupted, record_property):
    seed = int(os.environ.get("STOP_SEED", time.time_ns() % 10**6)) + turn
    rng = random.Random(seed)
    results = tmp_path / "results" / STUDY
    stages, stopped = list(STAGES), []
    for stage in stages:
        way, delay = rng.choice(WAYS), round(rng.uniform(0, 2.5), 2)
        if stop(tmp_path, stage, way, delay):
            stopped.append(f"{stage} after {delay} s by {way[1].name} to the {way[0]}")
        assert not altered(results), (seed, stopped)  # nothing half-written
        if stage == stages[-1] and len(stopped) < 8 and len(stages) < 30:  # it got too far between two stops
            for kind in ("samples", "metrics"):  # samples alone would not be drawn again
                shutil.rmtree(results / kind, ignore_errors=True)
            stages.append("sample")
    record_property("said", "\n  ".join([f"STOP_SEED={seed}: {len(stopped)} stops:", *stopped]))
    done = snakemake(tmp_path, study=STUDY)
    assert done.returncode == 0, (seed, stopped, done.stdout + done.stderr)
    assert outcome(results) == uninterrupted, (seed, stopped)
    assert not list(results.rglob("progress-*"))
    assert len(stopped) >= 8, (seed, stopped)
    assert jobs(snakemake(tmp_path, "-n", study=STUDY)) == set()


@pytest.mark.long
def test_no_room_on_the_disk_then_room(tmp_path, uninterrupted):
    """Files of 1 MB at most, which the weights fit in and the optimizer's state does not: like a disk that fills up."""
    words = command(tmp_path, study="micro")
    limited = ["bash", "-c", 'ulimit -f 1000; exec "$@"', "bash", *words]
    done = subprocess.run(limited, cwd=ROOT, env=environment(), capture_output=True, text=True)
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert "progress-0001/state.safetensors: cannot be written: File too large" in text and "Traceback" not in text
    results = tmp_path / "results/micro"
    assert read_record(results / "data/digits.npz") and not altered(results)
    assert not list(results.rglob(f"{files.TEMPORARY}*"))
    assert snakemake(tmp_path, study="micro").returncode == 0
    if STUDY == "micro":
        assert outcome(results) == uninterrupted


@pytest.mark.long
def test_a_full_file_system_and_a_read_only_one(tmp_path):
    """The same with a real one, of 4 MB, in a mount namespace of our own."""
    allowed = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True)
    if allowed.returncode:
        pytest.skip("mounts are not allowed here: a full and a read-only file system are not tried")
    (tmp_path / "results").mkdir()
    run = " ".join(f"'{word}'" for word in command(tmp_path, study="micro"))
    mount = "mount -o remount,size=200m results"
    script = f"mount -t tmpfs -o size=4m tmpfs results; {run}; echo status $?; {mount}; {run}; echo status $?"
    script += f"; mount -o remount,ro results; {run}; echo status $?; {run} --forcerun report; echo status $?"
    script += f"; echo 'seeds: {{data: 1}}' > overlay.yaml; {run}; echo status $?"
    words = ["unshare", "-rm", "bash", "-c", f"cd '{tmp_path}'; {script}"]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True)
    text = done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("status")] == [
        "status 1",
        "status 0",
        "status 0",  # nothing to do, nothing written
        "status 1",
        "status 1",
    ], text
    assert "state.safetensors: cannot be written: No space left on device" in text
    assert "Write-protected output files" in text and "Traceback" not in text
    assert "results/micro/jobs/prepare_data/digits.json: cannot be written: Read-only file system" in text


@pytest.mark.long
def test_two_runs_of_a_study_at_once(tmp_path):
    with open(tmp_path / "first.log", "wb") as log:
        words = command(tmp_path, study="micro")
        first = subprocess.Popen(words, cwd=ROOT, env=environment(), stdout=log, stderr=log, start_new_session=True)
    try:
        while not scripts(psutil.Process(first.pid), "train"):
            assert first.poll() is None
            time.sleep(0.05)
        looked = snakemake(tmp_path, "-n", study="micro")  # looking is allowed
        assert looked.returncode == 0, looked.stdout + looked.stderr
        second = snakemake(tmp_path, study="micro", overlay={"seeds": {"data": 5}})
        text = second.stdout + second.stderr
        assert second.returncode != 0 and "Traceback" not in text
        assert "results/micro: another run is at work on this study, with other settings or code" in text
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()


CELL = "hw4-sees/r0/epoch-0003-ema/dip-p01/ancestral/K0002-nfe0002"
MORE, LESS = ({"experiments": {"passes": {"grid": grid}}} for grid in ({"steps": [2, 3]}, {"start": "dip"}))
DRAWN_ANEW = {"figures": {"dpi": 100}}
NEW_CELL = CELL.replace("K0002-nfe0002", "K0003-nfe0003")
USED = {  # a result -> a change, and what is then made from that result
    "data/digits.npz": (MORE, f"samples/{NEW_CELL}.npz"),
    "dip/r0/weights.safetensors": (MORE, f"samples/{NEW_CELL}.npz"),
    "models/hw4-sees/r0/epoch-0003/weights.safetensors": (MORE, f"samples/{NEW_CELL}.npz"),
    "classifier/seed-0.safetensors": (MORE, f"metrics/{NEW_CELL}.json"),
    "reference/features.npz": (MORE, f"metrics/{NEW_CELL}.json"),
    f"samples/{CELL}.npz": (DRAWN_ANEW, "figures/strips.passes.hw4-sees.clamp.png"),
    f"metrics/{CELL}.json": (LESS, "tables/cells.csv"),
    "tables/floors.csv": (DRAWN_ANEW, "figures/heatmap.passes.png"),
    "tables/timing.csv": (DRAWN_ANEW, "figures/time.png"),
}


QUICK = (f"samples/{CELL}.npz", "models/hw4-sees/r0/epoch-0003/weights.safetensors", "tables/floors.csv")


@pytest.mark.parametrize(
    "which", [pytest.param(path, marks=() if path in QUICK else pytest.mark.long) for path in USED]
)
def test_an_altered_result_is_named_before_it_is_used(which, copied):
    path, (change, target) = copied / "results/micro" / which, USED[which]
    content, mtime = path.read_bytes(), path.stat().st_mtime_ns
    path.write_bytes(
        content[: len(content) // 2] + bytes([content[len(content) // 2] ^ 1]) + content[len(content) // 2 + 1 :]
    )
    os.utime(path, ns=(mtime, mtime))  # nothing to see from outside
    done = snakemake(copied, f"results/micro/{target}", study="micro", source=copied, overlay=change)
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert (
        f"error: {path.relative_to(copied)}: altered or damaged since it was made" in text and "Traceback" not in text
    )
    path.unlink()
    assert which in jobs(snakemake(copied, "-n", study="micro", source=copied, overlay=change))
