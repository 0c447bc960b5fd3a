"""A finished study as one file, with a manifest that says whether it is whole: no science, no weights unless asked.

The manifest has the form that `sha256sum --check` reads.
"""

import hashlib
import zipfile
from pathlib import Path, PurePosixPath

from . import files, job
from .errors import UserError

MANIFEST = "MANIFEST.sha256"
KEPT = ("report", "tables", "figures", "charts", "metrics", "jobs")  # folders; and the records of all others
WEIGHTS = ("weights.safetensors",)  # of nets and DIP nets; not the states to train on from


def paths(folder: Path, weights: bool = False) -> list[Path]:
    """What an archive of a study's folder holds, in order."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        inside = path.relative_to(folder)
        wanted = inside.parts[0] in KEPT or path.name.endswith(job.RECORD)
        if not path.name.startswith(".") and (wanted or (weights and path.name in WEIGHTS)):
            found.append(path)
    return found


def pack(folder: Path, target: Path, weights: bool = False) -> int:
    """Write an archive of a study. Returns how many files it holds. Raises UserError for one that its record denies."""
    chosen, lines = paths(folder, weights), []

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
                if name not in told or name not in names:
                    raise UserError(f"{path}: {name} is {'not in the manifest' if name in names else 'missing'}")
                if hashlib.sha256(archive.read(name)).hexdigest() != told[name]:
                    raise UserError(f"{path}: {name} is not what the manifest says")
    except KeyError as error:
        raise UserError(f"{path}: has no {MANIFEST}; right is an archive that make archive has written") from error
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read as an archive: {error}") from error
    return len(told)
