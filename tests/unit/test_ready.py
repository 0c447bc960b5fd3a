"""Scripts whose stage runs in a copy of a process that is ready: nobody can tell, but by the time it takes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jobfile

from ddpm_dip.jobs import files, ready
from ddpm_dip.jobs.job import read_record

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="for Linux alone")
START = f"""
import os, sys; sys.path.insert(0, {str(ROOT / "src")!r})
from ddpm_dip.jobs import ready
ready.start()
print(os.environ[ready.VARIABLE], flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def parent():
    """What stands for Snakemake: (process, the socket's path)."""
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", START], **streams) as process:
        yield process, process.stdout.readline().strip()
        process.stdin.close()


def script(path, stage, *arguments, **options):
    command = [sys.executable, str(ROOT / f"workflow/scripts/{stage}.py"), *map(str, arguments)]
    environment = os.environ | {ready.VARIABLE: path}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options
    )


def training(folder, epochs=1, n=40):
    images = np.random.default_rng(0).integers(0, 256, (n, 1, 16, 16), dtype=np.uint8)
    files.write_npz(folder / "data.npz", train=images)
    settings = {"model": "m", "family": "unet", "network": "hw4", "width": None, "replicate": 0, "epochs": epochs}
    settings |= {"device": "cpu", "batch_size": 16, "lr": 0.001, "lr_schedule": "constant", "flip": False}
    settings |= {"ema_decay": 0.995, "dip_passes": 0, "backend": "torch"}
    outputs = {"weights": "weights.safetensors", "state": "state.safetensors", "losses": "losses.csv"}
    outputs = {role: f"models/m/{name}" for role, name in outputs.items()}
    return jobfile.write(folder, "train", settings, {"data": "data.npz"}, outputs, name="m")


def test_a_copy_does_what_the_script_would_have_done(parent, tmp_path):
    done = []
    for name, path in (("there", parent[1]), ("here", str(tmp_path / "no such socket"))):
        (tmp_path / name).mkdir()
        job = training(tmp_path / name)
        process = script(path, "train", job.relative_to(tmp_path), "--threads", 1, cwd=tmp_path)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0 and err == "", err
        weights = tmp_path / name / "models/m/weights.safetensors"
        record = read_record(weights)
        done.append((out.split(", ")[0], files.sha256(weights), record["job"], sorted(record)))
    assert done[0] == done[1] and done[0][0] == "m: epoch 1 of 1"


def test_mistakes_end_as_they_would_here(parent, tmp_path):
    for arguments, status, said in (
        (("nothing.json",), 1, "error: nothing.json"),
        ((), 2, "the following arguments are required: JOB.json"),
        (("x", "--threads", "0"), 2, "0 is below 1"),
    ):
        process = script(parent[1], "train", *arguments, cwd=tmp_path)
        _, err = process.communicate(timeout=60)
        assert process.returncode == status and said in err and "Traceback" not in err
    job = training(tmp_path)
    (tmp_path / "data.npz").write_bytes(b"no archive")
    process = script(parent[1], "train", job)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1 and err


def copies(parent):
    """The running copies: children of the one child of what stands for Snakemake."""
    (there,) = psutil.Process(parent[0].pid).children()
    return there.children()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_stopped_script_stops_its_copy(parent, tmp_path, number):
    process = script(parent[1], "train", training(tmp_path, epochs=1000))
    assert "epoch 1 of" in process.stdout.readline()
    (copy,) = copies(parent)
    process.send_signal(number)
    psutil.wait_procs([copy], timeout=30)
    assert not copy.is_running() and process.wait(30) != 0
    assert not (tmp_path / "models/m/weights.safetensors").exists()
    process.communicate()


def test_it_ends_with_who_started_it_and_leaves_nothing(tmp_path):
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", START], **streams)
    path = Path(process.stdout.readline().strip())
    while not path.exists():
        time.sleep(0.05)
    (there,) = psutil.Process(process.pid).children()
    process.kill()
    process.communicate()
    psutil.wait_procs([there], timeout=60)
    assert not there.is_running() and not path.parent.exists()
    left = script(str(path), "train", training(tmp_path))  # it does its work all the same
    assert left.wait(120) == 0
    left.communicate()
