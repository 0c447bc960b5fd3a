"""The real Snakemake on small studies: a run, and the exact set of jobs that it planned or did."""

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import forked
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
SOURCES = ("Snakefile", "config.yaml", "profiles", "workflow", "src", "envs", "studies")


def copy_sources(folder: Path) -> Path:
    """A source tree of its own, to be edited."""
    folder.mkdir(exist_ok=True)
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


def command(
    folder: Path,
    *options: object,
    study: str,
    overlay: dict | None = None,
    source: Path = ROOT,
    cores: int | None = 2,
) -> list[str]:
    """The command line of a study of this folder, with `overlay` laid over its settings."""
    changed = folder / "overlay.yaml"
    changed.write_text(yaml.safe_dump(overlay or {}))
    words = [sys.executable, "-m", "snakemake", "--configfile", HERE / f"{study}.yaml", changed]
    words += ["--cores", cores] if cores else []
    words += ["--snakefile", source / "Snakefile", "--directory", folder, *options]
    return list(map(str, words))


def environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


def snakemake(
    folder: Path, *options: object, study: str = "tiny", source: Path = ROOT, variables: dict | None = None, **settings
):
    words = command(folder, *options, study=study, source=source, **settings)
    return forked.snakemake(words[3:], source, environment() | (variables or {}))  # without python -m snakemake


# Python imports it when it starts: each script of the workflow notes at its end which modules it loaded.
SITECUSTOMIZE = """
import atexit, json, os, sys

def note():
    if len(sys.argv) > 1 and "/jobs/" in sys.argv[1]:
        modules = [name.partition(".")[2] for name in sys.modules if name.startswith("ddpm_dip.")]
        with open(os.path.join(os.path.dirname(__file__), f"loaded-{os.getpid()}.json"), "w") as file:
            json.dump({"job": sys.argv[1], "modules": modules}, file)

atexit.register(note)
"""


def jobs(done: subprocess.CompletedProcess) -> set[str]:
    """Every job of a dry run or a run, as its first output's path below results/<study>/."""
    assert done.returncode == 0, done.stdout + done.stderr
    text = done.stdout + done.stderr
    found = re.findall(r"^(?:local)?rule (?!all:)\w+:\n(?:    input: .*\n)?    output: ([^\n]*)", text, re.M)
    assert found or "Nothing to be done" in text, text
    return {output.split(", ")[0].removesuffix(" (update)").split("/", 2)[2] for output in found}


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """The results folder of a finished run of the tiny study, in a folder with a space and accents in its name."""
    folder = tmp_path_factory.mktemp("a studý")
    done = snakemake(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "report/index.html" in done.stdout.strip().splitlines()[-1]  # the summary closes a run
    return folder / "results" / "tiny"


@pytest.fixture(scope="session")
def first_run(tmp_path_factory) -> tuple[Path, set[str]]:
    """A finished run of the micro study with a source tree of its own beside it, and the jobs that it did.

    pytest's processes share one such run: the first to ask makes it, and none changes it.
    """
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, done = base / "finished", base / "finished.json"
    with open(base / "finished.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            copy_sources(folder)
            (folder / "listener").mkdir()
            (folder / "listener/sitecustomize.py").write_text(SITECUSTOMIZE)
            variables = {"PYTHONPATH": str(folder / "listener")}
            found = jobs(snakemake(folder, study="micro", source=folder, variables=variables))
            done.write_text(json.dumps(sorted(found)))
    return folder, set(json.loads(done.read_text()))


@pytest.fixture(scope="session")
def finished(first_run) -> Path:
    return first_run[0]


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """A copy of the finished run as by `cp -a`, free to be changed."""
    folder = tmp_path / "cöpy of it"
    shutil.copytree(finished, folder, symlinks=True)  # copies file times, too
    return folder
