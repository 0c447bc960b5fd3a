"""Writing: whole or not at all, with a message that names the file."""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ddpm_dip import files
from ddpm_dip.errors import UserError

WRITERS = {
    "text": lambda path: files.write_text(path, "x" * 100_000),
    "npz": lambda path: files.write_npz(path, a=torch.rand(50_000).numpy()),
    "safetensors": lambda path: files.write_safetensors(path, {"a": torch.zeros(50_000)}, {}),
}


@pytest.fixture
def small_files():
    """No file of this process may grow beyond 10 kB, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_no_room_leaves_the_earlier_file_and_no_litter(write, tmp_path, small_files):
    path = tmp_path / "result"
    path.write_text("earlier")
    with pytest.raises(UserError, match=f"{path}: cannot be written: File too large"):
        write(path)
    assert path.read_text() == "earlier" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_folder_that_is_a_file_is_named(write, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match="taken/result: cannot be written: "):
        write(tmp_path / "taken/result")


def test_leftovers_of_killed_processes_go_fresh_ones_stay(tmp_path):
    old, fresh, result = (tmp_path / name for name in (".tmp-old.npz", ".tmp-fresh.npz", "result.npz"))
    for path in (old, fresh, result):
        path.write_text("")
    for path in (old, result):
        os.utime(path, (time.time() - 3600,) * 2)
    files.remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == [fresh, result]


def test_a_lock_is_held_by_one_process_and_freed_by_its_end(tmp_path):
    hold = "import sys; sys.path.insert(0, sys.argv[1]); from ddpm_dip import files; print(files.lock(sys.argv[2]));"
    source = str(Path(files.__file__).parents[1])
    command = [sys.executable, "-c", hold + "sys.stdout.flush(); sys.stdin.read()", source, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline().strip() != "None"
        assert files.lock(tmp_path) is None
        other.kill()
    descriptor = files.lock(tmp_path)
    assert descriptor is not None
    os.close(descriptor)
