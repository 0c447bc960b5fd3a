"""Where a result comes from: a record beside each file that a script writes, and the check of each file it reads."""

import contextlib
import json
import os
import platform
import sys
import time
from importlib import metadata
from pathlib import Path

from . import code, files
from .errors import UserError

SUFFIX = ".provenance.json"
VERSIONED = ("torch", "torchvision", "numpy", "scipy", "openvino", "pytorch-fid", "pandas", "seaborn", "snakemake")


def beside(output: Path | str) -> Path:
    """The path of a file's record."""
    return Path(f"{output}{SUFFIX}")


def verified(path: Path | str) -> str:
    """The sha256 of a file. Raises UserError where its record has another one, or where there is no such file."""
    try:
        digest = files.sha256(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    if beside(path).exists() and files.read_json(beside(path)).get("sha256") != digest:
        raise UserError(
            f"{path}: altered or damaged since it was made: its sha256 is not the one in {beside(path).name}; "
            "delete it and run again"
        )
    return digest


class Job:
    """One run of a script: what it was asked for, when it began and what it read, to be said beside its results.

    stamp: the workflow's stamp file (settings, code digest, what comes before), None where a script is run by hand;
    script: the script's own file. Raises UserError where the code is no longer what the stamp says.
    """

    def __init__(self, stamp: Path | str | None, script: Path | str) -> None:
        self.started = time.time()
        self.inputs: dict[str, str] = {}
        self.stamp_path, self.stamp = stamp, None
        self.script = Path(script).resolve()
        if stamp:
            self.stamp = files.read_json(stamp)
            plugins, texts = self.stamp.get("plugins", []), self.stamp.get("texts", [])
            if code.digest(self.script, tuple(plugins), tuple(texts)) != self.stamp["code"]:
                raise UserError(f"{self.script.name}: its code changed after this run was planned; run again")

    def input(self, path: Path | str) -> Path:
        """`path`, verified, its digest noted. Raises UserError as `verified` does."""
        self.inputs[str(path)] = verified(path)
        return Path(path)

    def finish(
        self, *outputs: Path | str, spec: dict, seed: int | None = None, device: str = "cpu", **extra: object
    ) -> None:
        """Write the record of each output; the first one's last, so that where it is there all are.

        spec: the settings that shaped the result; extra: what else the record is to hold.
        Raises UserError where the stamp was rewritten meanwhile: the result is not what it says.
        """
        if self.stamp_path and files.read_json(self.stamp_path) != self.stamp:
            raise UserError(f"{self.stamp_path}: the settings or the code changed while this ran; run again")
        versions = {"python": platform.python_version()}
        for name in VERSIONED:
            with contextlib.suppress(metadata.PackageNotFoundError):
                versions[name] = metadata.version(name)
        record = {
            "spec": spec,
            "seed": seed,
            "code": self.stamp["code"] if self.stamp else code.digest(self.script),
            "command": [self.script.name, *sys.argv[1:]],
            "inputs": self.inputs,
            "stamp": self.stamp,
            "versions": versions,
            "device": device,
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.started)),
            "seconds": round(time.time() - self.started, 3),
            **extra,
        }
        for output in reversed(outputs):
            mine = {"output": Path(output).name, "sha256": files.sha256(output)}
            files.write_json(beside(output), mine | record)


def stamp_of(output: Path | str) -> dict | None:
    """The stamp that a result was made with, as its record says; None where there is none, or no readable record."""
    try:
        return json.loads(beside(output).read_text(encoding="utf-8"))["stamp"]
    except (OSError, ValueError, KeyError):
        return None
