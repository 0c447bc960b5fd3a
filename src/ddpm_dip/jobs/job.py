"""A job: one run of a stage, as its JSON file says it.

The file lies at `<study>/jobs/<stage>/<name>.json`, and names every other path relative to `<study>`. It holds all
that its stage needs: `settings`, `inputs` (role -> path, list of paths, or mapping of names to paths), `outputs` (role
-> path), and, from a workflow, `code` (module -> digest) and `from` (input -> digest of the job that makes it). `hints`
may speed a run up and must not shape its result, so they are no part of the job's identity; one is `source`, the digest
of the bytes of its code, and one is `claims` (claim -> digest), those that the result is made for, which is recorded.
"""

import argparse
import contextlib
import json
import os
import platform
import sys
import time
from importlib import metadata
from pathlib import Path
from types import ModuleType

from . import code, devices, errors, files
from .errors import UserError

FOLDER = "jobs"
RECORD = ".provenance.json"
VERSIONED = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "diffusers",
    "openvino",
    "llvmlite",
    "pytorch-fid",
    "pandas",
    "seaborn",
    "snakemake",
)


def record_of(output: Path | str) -> Path:
    """The path of the record beside a result."""
    return Path(f"{output}{RECORD}")


def read_record(output: Path | str) -> dict | None:
    """The record beside a result; None where there is none that can be read."""
    try:
        record = json.loads(record_of(output).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def verified(path: Path | str) -> str:
    """The sha256 of a file. Raises UserError where its record has another one, or where there is no such file."""
    try:
        digest = files.sha256(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    if record_of(path).exists() and files.read_json(record_of(path)).get("sha256") != digest:
        raise UserError(
            f"{path}: altered or damaged since it was made: its sha256 is not the one in {record_of(path).name}; "
            "delete it and run again"
        )
    return digest


def identity(content: dict) -> dict:
    """What makes a job this job and no other: all of its file but the hints."""
    return {key: value for key, value in content.items() if key != "hints"}


def paths_in(value: str | list | dict) -> list[str]:
    """The paths of one role of `inputs`."""
    return [value] if isinstance(value, str) else list(value.values() if isinstance(value, dict) else value)


def versions() -> dict[str, str]:
    """The libraries that shape results, as they are installed."""
    found = {"python": platform.python_version()}
    for name in VERSIONED:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def machine() -> str:
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"


class Settings(dict):
    """A job's settings. One that is missing, as from a file written by hand, is named."""

    path = Path()

    def __missing__(self, key: str) -> object:
        raise UserError(f"{self.path}: settings has no {key}")


class Job:
    """A job's file, read to be run. Raises UserError where it is none, or its code is no longer what it says.

    stage: the name that the file must have; threads: how many the run may use.
    """

    def __init__(self, path: Path | str, stage: str, threads: int = 1) -> None:
        self.started = time.time()
        self.start_seconds = round(time.process_time(), 3)  # what Python and the imports took
        self.path, self.threads = Path(path), threads
        self.content = files.read_json(self.path)
        missing = [key for key in ("stage", "settings", "inputs", "outputs") if key not in self.content]
        if missing or self.content["stage"] != stage:
            what = f"has no {', '.join(missing)}" if missing else f"is a job of {self.content['stage']}"
            raise UserError(f"{self.path}: {what}; right is a job file of the stage {stage}")
        above = [parent for parent in self.path.absolute().parents if parent.name == FOLDER]
        if not above:
            raise UserError(f"{self.path}: a job file lies below a folder {FOLDER}/ of its study")
        self.folder = Path(os.path.relpath(above[-1].parent))  # as seen from here: so records and messages name it
        self.settings = Settings(self.content["settings"])
        self.settings.path = self.path
        self.hints: dict = self.content.get("hints", {})
        self.read: dict[str, str] = {}  # path -> sha256, of each input read
        planned = self.content.get("code", {})
        # the same bytes are the same code, although another Python may write their syntax tree otherwise
        same = planned and code.source(tuple(planned)) == self.hints.get("source")
        for module, digest in () if same else planned.items():
            if code.digest_of(module) != digest:
                raise UserError(f"{self.path}: {module} changed after this job was planned; run again")

    def has(self, role: str) -> bool:
        """Whether the job has this input."""
        return role in self.content["inputs"]

    def input(self, role: str) -> Path:
        """The path of an input, verified against its record, its digest noted. Raises UserError as `verified` does."""
        return self._verified(self._role(role))

    def inputs(self, role: str) -> dict[str, Path]:
        """The paths of an input of many files, by name (or by the path as the job says it), each verified."""
        value = self._role(role)
        named = value if isinstance(value, dict) else {path: path for path in paths_in(value)}
        return {name: self._verified(path) for name, path in named.items()}

    def _role(self, role: str) -> str | list | dict:
        if not self.has(role):
            raise UserError(f"{self.path}: inputs has no {role}")
        return self.content["inputs"][role]

    def _verified(self, path: str) -> Path:
        full = self.folder / path
        self.read[path] = verified(full)
        return full

    def also_read(self, path: Path | str) -> Path:
        """Note a file that is no result of a workflow (an original data file, say) among what the job read."""
        self.read[str(path)] = files.sha256(path)
        return Path(path)

    def output(self, role: str) -> Path:
        """The path of an output."""
        if role not in self.content["outputs"]:
            raise UserError(f"{self.path}: outputs has no {role}")
        return self.folder / self.content["outputs"][role]

    def finish(self, *, device: str = "cpu", work: dict[str, float] | None = None, **extra: object) -> None:
        """Write the record of each output; the first one's last, so that where it is there all are.

        work: how much was done, by unit ("image-steps": 64000), for the next estimate of what a run will cost; extra:
        what else the record is to hold. Raises UserError where the job's file was rewritten meanwhile.
        """
        if identity(files.read_json(self.path)) != identity(self.content):
            raise UserError(f"{self.path}: the settings or the code changed while this ran; run again")
        record = {
            "job": identity(self.content),
            "read": self.read,
            "versions": versions(),
            "device": device,
            "threads": self.threads,
            "machine": machine(),
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.started)),
            "seconds": round(time.time() - self.started, 3),
            "start_seconds": self.start_seconds,
            "work": work or {},
            "kind": self.hints.get("kind"),
            **({"claims": self.hints["claims"]} if "claims" in self.hints else {}),
            **extra,
        }
        for output in reversed(self.content["outputs"].values()):
            path = self.folder / output
            files.write_json(record_of(path), {"output": output, "sha256": files.sha256(path)} | record)


def main(stage: ModuleType) -> None:
    """The command line of a stage's script: `NAME.py JOB.json [--threads N]`.

    stage: a module of `ddpm_dip.stages` with `run(job)`; its docstring says what it reads and writes, and is the help.
    """
    name = stage.__name__.rpartition(".")[2]
    parser = argparse.ArgumentParser(
        prog=f"{name}.py", description=stage.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "job", metavar="JOB.json", help=f"the job's file: results/STUDY/jobs/{name}/NAME.json, as a run writes it"
    )
    parser.add_argument("--threads", type=errors.at_least(1), default=1, metavar="N", help="CPU threads (default 1)")
    parser.add_argument(
        "--gpu", type=errors.at_least(0), default=0, metavar="N", help="1: take a GPU that no other job has (default 0)"
    )
    arguments = parser.parse_args(sys.argv[1:])
    _ = devices.take() if arguments.gpu else None  # as long as this process lives
    errors.run(lambda: stage.run(Job(arguments.job, name, arguments.threads)))
