"""Files at the edge: whole or absent, never half-written, and each result with its provenance beside it."""

import contextlib
import hashlib
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np

from .errors import UserError

VERSIONED = ("torch", "torchvision", "numpy", "scipy", "openvino", "pytorch-fid", "pandas", "seaborn", "snakemake")


def sha256(path: Path | str) -> str:
    """Hex digest of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomic(path: Path | str, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file in the target's folder, flush it to disk, then rename it into place.

    Raises UserError, naming the target, where the disk is full or the folder cannot be written.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".tmp-", suffix=path.suffix)
        os.close(handle)
        write(Path(temporary))
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path | str, value: object) -> None:
    write_text(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def write_npz(path: Path | str, **arrays: np.ndarray) -> None:
    write_atomic(path, lambda temporary: np.savez_compressed(temporary, **arrays))


def write_safetensors(path: Path | str, tensors: dict, header: dict[str, object]) -> None:
    """Tensors by name, with a metadata header: `header` as JSON under one key, its values as text.

    One key, because safetensors writes several in another order each time; equal content shall be equal bytes.
    """
    from safetensors.torch import save_file

    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    text = json.dumps({key: str(value) for key, value in header.items()}, sort_keys=True)
    write_atomic(path, lambda temporary: save_file(contiguous, temporary, metadata={"header": text}))


def read_npz(path: Path | str) -> dict[str, np.ndarray]:
    """All arrays of an .npz file. Raises UserError where the file is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except Exception as error:  # numpy and zipfile raise a dozen kinds for a damaged archive
        raise UserError(f"{path}: not a readable .npz file ({error}); delete it and run again") from error


def read_safetensors(path: Path | str) -> tuple[dict, dict[str, str]]:
    """Tensors and header of a .safetensors file. Raises UserError where the file is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, json.loads((file.metadata() or {}).get("header", "{}"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a readable .safetensors file ({error}); delete it and run again") from error


def read_json(path: Path | str) -> dict:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except ValueError as error:
        raise UserError(f"{path}: not a readable JSON file ({error})") from error


def provenance_path(output: Path | str) -> Path:
    return Path(f"{output}.provenance.json")


def write_provenance(
    output: Path | str,
    *,
    spec: dict,
    inputs: list[Path | str],
    started: float,
    stamp: Path | str | None = None,
    **extra: object,
) -> None:
    """Say beside `output` how it was made.

    spec: the settings that shaped it; inputs: files read, recorded by digest; started: `time.time()` at the start;
    stamp: the workflow's stamp file (settings and code digest), copied in where there is one.
    Raises UserError where the stamp was rewritten since the start: the result is not what it says.
    """
    if stamp and os.stat(stamp).st_mtime > started:
        raise UserError(f"{stamp}: the settings or the code changed while this ran; run again")
    versions = {"python": platform.python_version()}
    for name in VERSIONED:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    record = {
        "output": Path(output).name,
        "sha256": sha256(output),
        "spec": spec,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "inputs": {str(path): sha256(path) for path in inputs},
        "stamp": read_json(stamp) if stamp else None,
        "versions": versions,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(time.time() - started, 3),
        **extra,
    }
    write_json(provenance_path(output), record)
