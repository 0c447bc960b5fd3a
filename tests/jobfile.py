"""Job files written by hand, and stages run on them: for tests."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from ddpm_dip.jobs.job import Job

ROOT = Path(__file__).resolve().parents[1]


def write(folder: Path, stage: str, settings: dict, inputs: dict, outputs: dict, name: str = "job", **hints) -> Path:
    """The file of a job of the study in `folder`; paths are relative to it. Returns the file's path."""
    path = Path(folder) / "jobs" / stage / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"stage": stage, "settings": settings, "inputs": inputs, "outputs": outputs, "hints": hints}
    path.write_text(json.dumps(content))
    return path


def run(stage: str, path: Path, threads: int = 1) -> None:
    """Run a stage on a job file in this process."""
    importlib.import_module(f"ddpm_dip.stages.{stage}").run(Job(path, stage, threads))


def script(stage: str, path: Path | str, *options: object) -> subprocess.CompletedProcess:
    """Run a stage's script on a job file, as a user does."""
    words = [sys.executable, ROOT / f"workflow/scripts/{stage}.py", path, *options]
    return subprocess.run(list(map(str, words)), capture_output=True, text=True)
