"""The Dockerfile, built and run where an engine and its base image are: a small study in the container."""

import os
import re
import shutil
import subprocess

import pytest
from conftest import HERE, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.long]
BASE = re.search(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.M)[1]


@pytest.fixture
def engine() -> str:
    found = [name for name in ("docker", "podman") if shutil.which(name)]
    for name in found:
        if subprocess.run([name, "info"], capture_output=True).returncode == 0:
            if subprocess.run([name, "pull", BASE], capture_output=True).returncode == 0:
                return name
            pytest.skip(f"{name} cannot have {BASE} here: the Dockerfile is not built")
    pytest.skip(f"no engine runs here ({', '.join(found) or 'no docker, no podman'}): the Dockerfile is not built")


def test_a_small_study_in_the_container(engine, tmp_path):
    tag = "ddpm-dip-test"
    index = os.environ.get("TORCH_INDEX", "")
    built = subprocess.run(
        [engine, "build", "--tag", tag, "--build-arg", f"TORCH_INDEX={index}", ROOT], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stdout + built.stderr
    shutil.copy(HERE / "micro.yaml", tmp_path)
    run = [engine, "run", "--rm", "--user", f"{os.getuid()}:{os.getgid()}", "--volume", f"{tmp_path}:/work"]
    done = subprocess.run([*run, tag, "--configfile", "micro.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "results/micro/report/index.html").exists()
