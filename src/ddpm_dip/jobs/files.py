"""Files at the edge: whole or absent, never half-written; a file that cannot be read is named."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .errors import UserError

TEMPORARY = ".tmp-"
LOCK = ".lock"
WITHOUT_LOCKS = "DDPM_DIP_WITHOUT_LOCKS"
ADVICE = "; if a run made it, delete it and run again"  # never of a file that may be the user's own
DIGEST = "sha256"  # in a .safetensors file's header


def expanded(path: Path | str) -> Path:
    """With ~ as the shell has it; one of an unknown user stays as it is."""
    return Path(os.path.expanduser(path))


def sha256(path: Path | str) -> str:
    """Hex digest of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomic(path: Path | str, write: Callable[[Path], None], mode: int | None = 0o644) -> None:
    """Let `write` fill a temporary file in the target's folder, flush it to disk, then rename it into place.

    Raises UserError, naming the target, where the disk is full or the folder cannot be written.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY, suffix=path.suffix)
        os.close(handle)
        write(Path(temporary))
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        if mode is not None:
            os.chmod(temporary, mode)
        os.replace(temporary, path)
        flush_folder(path.parent)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def flush_folder(folder: Path) -> None:
    """Flush a folder's names to disk: a power cut then cannot keep a later file's name and lose an earlier one's."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path | str, older_than: float = 600) -> None:
    """Remove the temporary files that killed processes left below `folder`, not touched for `older_than` seconds."""
    for path in Path(folder).rglob(f"{TEMPORARY}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > older_than:
                path.unlink()


def lock(folder: Path | str, wait: bool = False) -> int | None:
    """An exclusive lock on a folder, made where it is missing: held as long as this process lives, however it ends.

    Returns the open descriptor that holds the lock, or None where another process has it. Raises UserError where the
    folder cannot be made, or its file system has no locks; with WITHOUT_LOCKS set, that one locks nothing.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        descriptor = lock_file(Path(folder))
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError as error:
        if not os.environ.get(WITHOUT_LOCKS):
            raise UserError(
                f"{folder}: this file system has no locks (flock: {error.strerror or error}), so a second run of "
                f"this study would go unnoticed. Put results elsewhere (--directory), or, where you start one run a "
                f"study at a time, set {WITHOUT_LOCKS}=1"
            ) from error
    return descriptor


def lock_file(folder: Path) -> int:
    """The descriptor to lock for a folder: of a file, as NFS locks none that is not open for writing."""
    try:
        return os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:  # a read-only file system: nobody writes there
        return os.open(folder, os.O_RDONLY)


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` a hard link to `source`, or a copy on another file system: whole or not at all.

    Results are replaced, never written into, so a link cannot change behind a study's back.
    """

    def write(temporary: Path) -> None:
        temporary.unlink()
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)

    write_atomic(target, write, mode=None)


def write_text(path: Path | str, text: str) -> None:
    write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path | str, value: object) -> None:
    write_text(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def write_npz(path: Path | str, **arrays: np.ndarray) -> None:
    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:  # by name, numpy would add a suffix of its own
            np.savez_compressed(file, **arrays)

    write_atomic(path, write)


def write_safetensors(path: Path | str, tensors: dict, header: dict[str, object]) -> None:
    """Tensors by name, with a metadata header: `header` as JSON under one key, its values as text.

    One key, because safetensors writes several in another order each time; equal content shall be equal bytes.
    The header gets a digest of all it says and of the tensors, so that a file that has no record beside it, as the
    state of a training under way, is verified too; one file, so that a kill cannot part them.
    """
    from safetensors.torch import save

    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    said = {key: str(value) for key, value in header.items()}
    text = json.dumps(said | {DIGEST: digest_of_tensors(contiguous, said)}, sort_keys=True)
    content = save(contiguous, metadata={"header": text})  # its save_file has an error of its own for a full disk
    write_atomic(path, lambda temporary: temporary.write_bytes(content))


def read_npz(path: Path | str) -> dict[str, np.ndarray]:
    """All arrays of an .npz file. Raises UserError where the file is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except Exception as error:  # numpy and zipfile raise a dozen kinds for a damaged archive
        raise UserError(f"{path}: not a readable .npz file ({error}){ADVICE}") from error


def read_safetensors(path: Path | str) -> tuple[dict, dict[str, str]]:
    """Tensors and header of a .safetensors file. Raises UserError where the file is missing, damaged or altered."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            header = json.loads((file.metadata() or {}).get("header", "{}"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable .safetensors file ({error}){ADVICE}") from error
    recorded = header.pop(DIGEST, None)  # files of others have none
    if recorded not in (None, digest_of_tensors(tensors, header)):
        raise UserError(f"{path}: altered or damaged since it was made; delete it and run again")
    return tensors, header


def digest_of_tensors(tensors: dict, header: dict[str, str]) -> str:
    """The sha256 of a header and of contiguous tensors as safetensors writes them: names, types, shapes and bytes."""
    from safetensors.torch import save

    sha = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    sha.update(save(tensors))
    return sha.hexdigest()


def read_json(path: Path | str) -> dict:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"{path}: not a readable JSON file ({error}){ADVICE}") from error
