"""Writing: whole or not at all, with a message that names the file."""

import errno
import os
import pickle
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ddpm_dip.jobs import files
from ddpm_dip.jobs.errors import UserError

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


def test_each_flipped_bit_of_a_safetensors_file_is_noticed_or_harmless(tmp_path):
    path, tensors = tmp_path / "state.safetensors", {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(7)}
    files.write_safetensors(path, tensors, {"epoch": 3})
    content, (_, header) = path.read_bytes(), files.read_safetensors(path)
    assert header == {"epoch": "3"}
    refused = 0
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        try:
            found, said = files.read_safetensors(path)
        except UserError as error:
            assert str(error).startswith(f"{path}: ")
            refused += 1
        else:  # a blank, or the name under which the header or the digest stands
            assert said in (header, {}) or said.pop("epoch") == "3"
            assert found.keys() == tensors.keys() and all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert refused > 0.9 * len(content)


def test_a_safetensors_file_without_a_digest_is_taken_as_it_is(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "theirs.safetensors")
    assert files.read_safetensors(tmp_path / "theirs.safetensors")[1] == {}


class Code:
    """Unpickling it writes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_results_cannot_run_code(tmp_path):
    ran = tmp_path / "ran"
    np.savez(tmp_path / "evil.npz", samples=np.array([Code(ran)], dtype=object))
    torch.save({"weight": Code(ran)}, tmp_path / "evil.safetensors")
    (tmp_path / "bare.npz").write_bytes(pickle.dumps(Code(ran)))  # numpy would take a pickle under any name
    for name, read in (
        ("evil.npz", files.read_npz),
        ("bare.npz", files.read_npz),
        ("evil.safetensors", files.read_safetensors),
    ):
        with pytest.raises(UserError, match=f"{name}: not a readable"):
            read(tmp_path / name)
    assert not ran.exists()


def test_leftovers_of_killed_processes_go_fresh_ones_stay(tmp_path):
    old, fresh, result = (tmp_path / name for name in (".tmp-old.npz", ".tmp-fresh.npz", "result.npz"))
    for path in (old, fresh, result):
        path.write_text("")
    for path in (old, result):
        os.utime(path, (time.time() - 3600,) * 2)
    files.remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == [fresh, result]


def test_a_lock_is_held_by_one_process_and_freed_by_its_end(tmp_path):
    hold = (
        "import sys; sys.path.insert(0, sys.argv[1]); from ddpm_dip.jobs import files; print(files.lock(sys.argv[2]));"
    )
    source = str(Path(files.__file__).parents[2])
    command = [sys.executable, "-c", hold + "sys.stdout.flush(); sys.stdin.read()", source, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline().strip() != "None"
        assert files.lock(tmp_path) is None
        other.kill()
    descriptor = files.lock(tmp_path)
    assert descriptor is not None
    os.close(descriptor)


def test_a_file_system_without_locks_is_said_with_a_way_on(tmp_path, monkeypatch):
    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", flock)
    with pytest.raises(UserError, match=f"has no locks .*set {files.WITHOUT_LOCKS}=1"):
        files.lock(tmp_path)
    monkeypatch.setenv(files.WITHOUT_LOCKS, "1")
    assert files.lock(tmp_path) is not None
