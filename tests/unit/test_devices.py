"""GPUs of one machine, shared out among jobs: by names, without any."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ddpm_dip.jobs import devices
from ddpm_dip.jobs.errors import UserError


@pytest.mark.parametrize(
    ("seen", "count", "offered"), [(None, 2, "0,1"), ("3,5,7", 2, "3,5"), ("GPU-ab", 1, "GPU-ab"), ("", 1, "")]
)
def test_the_first_of_those_that_are_visible_are_offered(monkeypatch, seen, count, offered):
    monkeypatch.setenv(devices.VARIABLE, "before")
    monkeypatch.delenv(devices.SEEN, raising=False)
    if seen is not None:
        monkeypatch.setenv(devices.SEEN, seen)
    devices.offer(count)
    assert os.environ[devices.VARIABLE] == offered


def test_more_than_are_visible_is_one_message(monkeypatch):
    monkeypatch.setenv(devices.SEEN, "3,5")
    with pytest.raises(UserError, match=r"--resources gpu=3, but CUDA_VISIBLE_DEVICES names 2 \(3,5\)"):
        devices.offer(3)


def test_who_waits_for_one_says_so_and_gets_it(monkeypatch):
    name = f"test-{os.getpid()}"
    monkeypatch.setenv(devices.VARIABLE, name)
    monkeypatch.setenv(devices.SEEN, name)
    held = devices.take()
    code = "from ddpm_dip.jobs import devices; import os; devices.take(); print(os.environ['CUDA_VISIBLE_DEVICES'])"
    environment = os.environ | {"PYTHONPATH": str(Path(devices.__file__).parents[2])}
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as waiting:
        assert waiting.stdout.readline() == f"waiting for a GPU of {name}, which another run has\n"
        os.close(held)
        assert waiting.communicate()[0] == f"{name}\n"
