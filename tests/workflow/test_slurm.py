"""A study on a real SLURM: what comes out, and what it bears."""

import os
import shutil
import signal
import subprocess

import pytest
import yaml
from conftest import ROOT, command, environment, jobs, snakemake
from slurm import PATIENCE, Cluster, missing
from test_stops import outcome

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.skipif(bool(missing()), reason=missing())]
PROFILE = ("--workflow-profile", ROOT / "profiles/slurm", "--slurm-status-command", "squeue")
PROFILE += ("--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "5")
CELLS = [f"hw4-sees/r0/epoch-{name}/ancestral/K0002-nfe0002" for name in ("0003-ema/dip-p01", "0003-ema/noise")]


ARGUMENT = 128 * 2**10  # bytes of one argument, as Linux has it


PARTS = [("samples", "npz"), ("metrics", "json")]
MEASURED = [f"results/micro/metrics/{cell}.json" for cell in CELLS]  # and not the report: that is no cluster's matter


@pytest.fixture(scope="module")
def cluster():
    cluster = Cluster()
    try:
        cluster.begin()
        yield cluster
    finally:
        cluster.stop()


def start(cluster: Cluster, folder, *options, overlay: dict | None = None) -> subprocess.Popen:
    """A run of the micro study in a folder, on the cluster; what it says is in `said.log` there."""
    words = command(folder, *PROFILE, *options, study="micro", overlay=overlay, cores=None)
    with open(folder / "said.log", "wb") as log:
        variables = environment() | cluster.variables
        return subprocess.Popen(words, cwd=ROOT, env=variables, stdout=log, stderr=log, start_new_session=True)


def said(folder) -> str:
    return (folder / "said.log").read_text()


def without(finished, folder, *cells):
    """The finished study in a folder of its own, without these cells' samples and distances."""
    shutil.copytree(finished / "results", folder / "results", symlinks=True)
    for cell in cells:
        for kind in ("samples", "metrics", "pictures"):
            for path in (folder / "results/micro" / kind).glob(f"{cell}.*"):
                path.unlink()
    return folder


def job_files(folder) -> dict:
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes()) for path in (folder / "results/micro/jobs").rglob("*.json")
    }


def test_a_whole_study_has_the_bytes_of_a_local_run(cluster, finished, tmp_path):
    run = start(cluster, tmp_path)
    cluster.wait_for(lambda: cluster.jobs("train"), run)
    planned = job_files(tmp_path)
    assert run.wait(PATIENCE) == 0, said(tmp_path)
    assert outcome(tmp_path / "results/micro") == outcome(finished / "results/micro")
    assert job_files(tmp_path) == planned, "a job on a node wrote or touched a job's file"
    assert "report/index.html" in said(tmp_path) and "Submitted array job" in said(tmp_path)
    (timing,) = cluster.jobs("time_sampling")
    assert "OverSubscribe=NO" in cluster.ask("scontrol", "show", "job", timing)
    assert not cluster.jobs("figure")  # local
    most = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())["slurm-array-limit"]
    tasks, longest = max(cluster.arrays())
    assert tasks > 1 and longest / tasks * most < ARGUMENT / 2, "beyond it, this plugin's tasks are all the first one"


def test_one_cell_cancelled_stops_no_other_and_is_made_alone_by_the_next_run(cluster, finished, tmp_path):
    folder = without(finished, tmp_path, *CELLS)
    before = set(cluster.jobs("sample"))
    run = start(cluster, folder, "--retries", "0", *MEASURED)
    # both run: squeue forgets a task of an array that is cancelled before it began, and the plugin waits for ever
    mine = cluster.wait_for(lambda: len(found := set(cluster.jobs("sample", "running")) - before) == 2 and found, run)
    cluster.ask("scancel", sorted(mine)[0])
    assert run.wait(PATIENCE) != 0
    made = [(folder / "results/micro/metrics" / f"{cell}.json").exists() for cell in CELLS]
    assert sorted(made) == [False, True], said(folder)
    planned = snakemake(folder, "-n", *MEASURED, study="micro")
    assert jobs(planned) == {f"{kind}/{CELLS[made.index(False)]}.{end}" for kind, end in PARTS}
    assert start(cluster, folder, *MEASURED).wait(PATIENCE) == 0, said(folder)
    assert outcome(folder / "results/micro") == outcome(finished / "results/micro")


def test_two_users_one_loses_a_node_and_one_the_driver(cluster, finished, tmp_path):
    """Each in a folder of his own, at the same time, on the same sources and cluster."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    one, two = (without(finished, tmp_path / name, CELLS[0]) for name in ("a", "b"))
    before = set(cluster.jobs("sample"))
    first = start(cluster, one, *MEASURED)
    mine = cluster.wait_for(lambda: set(cluster.jobs("sample", "running")) - before, first)
    second = start(cluster, two, *MEASURED)
    its = cluster.wait_for(lambda: set(cluster.jobs("sample", "running")) - before - mine, second)

    os.killpg(first.pid, signal.SIGKILL)  # its job goes on
    cluster.lose(cluster.ask("squeue", "-h", "-j", *its, "-o", "%N"))
    again = start(cluster, one, *MEASURED)
    cluster.ask("scontrol", "update", f"JobId={next(iter(its))}", "StartTime=now")  # SLURM itself waits two minutes
    assert again.wait(PATIENCE) == 0, said(one)
    assert second.wait(PATIENCE) == 0, said(two)
    for folder in (one, two):
        assert outcome(folder / "results/micro") == outcome(finished / "results/micro")


def test_a_gpu_is_asked_for_that_the_head_node_has_not(cluster, finished, tmp_path):
    folder = without(finished, tmp_path)
    before = set(cluster.jobs("sample"))
    target = f"results/micro/samples/{CELLS[0]}.npz"
    run = start(cluster, folder, "--retries", "0", target, overlay={"sampling": {"backend": "cuda"}})
    assert run.wait(PATIENCE) != 0
    (number,) = set(cluster.jobs("sample")) - before
    assert "gpu:1" in cluster.ask("scontrol", "show", "job", number)
    assert "sampling.backend: cuda needs an NVIDIA GPU" in said(folder)
