"""Taking over results whose file times a copy has scrambled: by their records, not by their times."""

import os
import time
from pathlib import Path
from typing import NamedTuple

from . import files, provenance

REJECTED = ".rejected"
OLDEST = 946_684_700  # 2000-01-01: older than any result and than what the workflow gives an old time itself


class Findings(NamedTuple):
    """Result -> why not; `adopted` are the intact ones, what they are made from before them."""

    adopted: list[Path]
    altered: dict[Path, str]
    outdated: dict[Path, str]
    unrecorded: list[Path]


def examine(folder: Path | str) -> Findings:
    """Hold every result below `folder` against its record: its own digest, and those of what it was made from.

    Changes nothing. Inputs that are not there now (original data files, say) cannot be compared and do not count.
    """
    records = {}
    for path in sorted(Path(folder).rglob(f"*{provenance.SUFFIX}")):
        output = Path(str(path).removesuffix(provenance.SUFFIX))
        if output.exists():
            records[output] = files.read_json(path)
    digests = {output: files.sha256(output) for output in records}

    def now(path: Path) -> str | None:
        if path not in digests:
            digests[path] = files.sha256(path) if path.is_file() else None
        return digests[path]

    altered = {
        output: "its sha256 is not the recorded one"
        for output, record in records.items()
        if record["sha256"] != digests[output]
    }
    outdated = {}
    for output, record in records.items():
        for name, digest in record["inputs"].items():
            if output not in altered and now(Path(name)) not in (None, digest):
                outdated[output] = f"made from another {name}"
    intact = [output for output in records if output not in altered and output not in outdated]

    depths: dict[Path, int] = {}

    def depth(output: Path) -> int:
        if output not in depths:
            inputs = [Path(name) for name in records[output]["inputs"]]
            depths[output] = 1 + max((depth(path) for path in inputs if path in records), default=0)
        return depths[output]

    recorded = {*records, *map(provenance.beside, records)}
    wanted = {".npz", ".safetensors", ".csv", ".json", ".png", ".gif", ".html"}
    helpers = [Path(folder) / name for name in ("stamps", "logs", "config.json")]
    unrecorded = [
        path
        for path in sorted(Path(folder).rglob("*"))
        if path.suffix in wanted
        and path not in recorded
        and not str(path).endswith(provenance.SUFFIX)
        and not any(path.is_relative_to(helper) for helper in helpers)
        and not any(part.startswith("progress-") for part in path.parts)
    ]
    return Findings(sorted(intact, key=depth), altered, outdated, unrecorded)


def adopt(findings: Findings) -> None:
    """Give intact results times in the order of their making, a second a step; put altered ones aside.

    Outdated ones get a time older than all, so that the workflow makes them again; altered ones are renamed to
    `<file>.rejected`.
    """
    first = time.time() - len(findings.adopted)
    for second, output in enumerate(findings.adopted):
        for path in (output, provenance.beside(output)):
            os.utime(path, (first + second, first + second))
    for output in findings.outdated:
        os.utime(output, (OLDEST, OLDEST))
    for output in findings.altered:
        output.rename(f"{output}{REJECTED}")
