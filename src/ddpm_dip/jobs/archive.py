"""A finished study as one file, with a manifest that says whether it is whole: no science, no weights unless asked.

The manifest has the form that `sha256sum --check` reads.
"""

import hashlib
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from . import files, job
from .errors import UserError
from .ledger import Planned

MANIFEST = "MANIFEST.sha256"
KEPT = ("report", "tables", "figures", "charts", "metrics")  # folders; and the job files and records of all others
DAMAGED = (OSError, ValueError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile)  # what zipfile raises then
WEIGHTS = ("weights.safetensors",)  # of nets and DIP nets; not the states to train on from


def paths(folder: Path, plan: list[Planned], weights: bool = False) -> list[Path]:
    """What an archive of a study's folder holds, in order: of what its plan has, what is there."""
    outputs = [output for planned in plan for output in planned.outputs.values()]
    found = {planned.file for planned in plan} | {f"{output}{job.RECORD}" for output in outputs}
    found |= {output for output in outputs if PurePosixPath(output).parts[0] in KEPT}
    if weights:
        found |= {output for output in outputs if PurePosixPath(output).name in WEIGHTS}
    return [folder / path for path in sorted(found) if (folder / path).is_file()]


def pack(folder: Path, plan: list[Planned], target: Path, weights: bool = False) -> int:
    """Write an archive of a study. Returns how many files it holds. Raises UserError for one that its record denies."""
    chosen, lines = paths(folder, plan, weights), []

    def write(temporary: Path) -> None:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in chosen:
                name = str(PurePosixPath(folder.name, *path.relative_to(folder).parts))
                archive.write(path, name)
                lines.append(f"{job.verified(path)}  {name}\n")
            archive.writestr(MANIFEST, "".join(lines))

    files.write_atomic(target, write)
    return len(chosen)


def verify(path: Path) -> int:
    """How many files an archive holds, all as they were. Raises UserError, naming the first that is not."""
    try:
        with zipfile.ZipFile(path) as archive:
            lines = archive.read(MANIFEST).decode().splitlines()
            told = dict(reversed(line.split("  ", 1)) for line in lines)
            names = set(archive.namelist()) - {MANIFEST}
            for name in sorted(told.keys() | names):
                if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                    raise UserError(f"{path}: {name} would be unpacked outside of its folder; do not unpack it")
                if name not in told or name not in names:
                    raise UserError(f"{path}: {name} is {'not in the manifest' if name in names else 'missing'}")
                if hashlib.sha256(archive.read(name)).hexdigest() != told[name]:
                    raise UserError(f"{path}: {name} is not what the manifest says")
    except KeyError as error:
        raise UserError(f"{path}: has no {MANIFEST}; right is an archive that make archive has written") from error
    except DAMAGED as error:
        raise UserError(f"{path}: cannot be read as an archive: {error}") from error
    return len(told)
