"""The ledger: which results are made, which are to be made, and why.

A result is made when its own record holds exactly the job that is wanted now, and those of its inputs that exist are
made. Nothing else counts: not the times of files, not the records of Snakemake. A job's file is the one input whose
time Snakemake goes by, so the ledger makes it older than the result where that is made, and newer where not.
"""

import contextlib
import hashlib
import json
import os
import time
from pathlib import Path
from typing import NamedTuple

from . import code, files, job
from .errors import UserError

LONGEST = 100  # characters that a reason may have; the report's settings are lists of hundreds of names
OLD = 946_684_800  # 2000-01-01 in seconds: older than any result


class Planned(NamedTuple):
    """A job that a plan asks for; paths are relative to the study's folder.

    inputs: role -> path, list of paths or mapping of names to paths; outputs: role -> path; hints: what a run may use
    without a difference to its result; after: files that are to be made before, and are no part of the job; plugins,
    texts: as `code.digests` has them.
    """

    stage: str
    name: str
    settings: dict
    inputs: dict
    outputs: dict
    hints: dict = {}
    after: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        return f"{job.FOLDER}/{self.stage}/{self.name}.json"

    @property
    def reads(self) -> list[str]:
        return [path for value in self.inputs.values() for path in job.paths_in(value)]


class Entry(NamedTuple):
    """A planned job as the ledger has it. content: its file's; why: what is to be said of a result that is not made."""

    planned: Planned
    content: dict
    made: bool
    why: tuple[str, ...] = ()


def entries(folder: Path, plan: list[Planned], reuse: list[Path] = ()) -> dict[tuple[str, str], Entry]:
    """Every planned job by (stage, name), in the plan's order. Raises UserError for a module that is no Python.

    folder: the study's; reuse: folders of other studies, whose results of the very same jobs are linked in.
    """
    found: dict[tuple[str, str], Entry] = {}
    digests: dict[str, str] = {}  # path -> digest of the job that makes it
    made: dict[str, bool] = {}
    for planned in plan:
        content = {
            "stage": planned.stage,
            "name": planned.name,
            "settings": planned.settings,
            "inputs": planned.inputs,
            "outputs": planned.outputs,
            "code": code.digests(planned.stage, planned.plugins, planned.texts),
            "from": {path: digests[path] for path in sorted(planned.reads)},
        }
        content = json.loads(json.dumps(content))  # as a record gives it back: tuples are lists
        stale = [path for path in planned.reads if not made[path] and (folder / path).exists()]
        is_made = not stale and recorded(folder, planned) == content
        for other in () if is_made or stale else reuse:
            if recorded(other, planned) == content:
                link(other, folder, planned)
                is_made = True
                break
        why = () if is_made else reasons(folder, planned, content, stale)
        hints = planned.hints | {"source": code.source(tuple(content["code"]))}
        if "claims" in planned.hints:
            hints |= first_claims(folder, planned)
        found[planned.stage, planned.name] = Entry(planned, content | {"hints": hints}, is_made, why)
        digests |= dict.fromkeys(planned.outputs.values(), digest(content))
        made |= dict.fromkeys(planned.outputs.values(), is_made)
    return found


def digest(content: dict) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def recorded(folder: Path, planned: Planned) -> dict | None:
    """The job that made a planned job's outputs, as their records say.

    None where the first output is not there, or where one that is has no record or another job's than the first.
    """
    paths = [folder / path for path in planned.outputs.values()]
    records = [job.read_record(path) for path in paths if path.exists()]
    jobs = [record.get("job") if record else None for record in records]
    return jobs[0] if paths[0].exists() and all(each == jobs[0] for each in jobs) else None


def first_claims(folder: Path, planned: Planned) -> dict:
    """The hint `claims` as the record of an earlier result has it; empty where there is none.

    So a result that is made anew is of the claims that its first one was made for: what is changed or added when
    numbers were seen is known as such, however often they are made again.
    """
    before = job.read_record(folder / next(iter(planned.outputs.values()))) or {}
    return {"claims": before["claims"]} if "claims" in before else {}


def link(other: Path, folder: Path, planned: Planned) -> None:
    """Hard-link a job's results and records from another study's folder; a copy where links do not reach.

    A record that is replaced keeps its claims, see `first_claims`.
    """
    kept = first_claims(folder, planned)
    for path in planned.outputs.values():
        for source, target in (
            (other / path, folder / path),
            (job.record_of(other / path), job.record_of(folder / path)),
        ):
            files.link_or_copy(source, target)
        if kept:
            files.write_json(target, files.read_json(target) | kept)


def reasons(folder: Path, planned: Planned, content: dict, stale: list[str]) -> tuple[str, ...]:
    """Why a result is to be made, in words."""
    first = folder / next(iter(planned.outputs.values()))
    if not first.exists():
        return ("new",)
    before = recorded(folder, planned)
    if before is None:
        return ("a file or its record is lost",)
    said = []
    for key, then, now in differences(before.get("settings", {}), content["settings"]):
        text = f"{key} {then} -> {now}"
        said.append(text if len(text) <= LONGEST else f"{key} changed")
    for name in sorted({*before.get("code", {}), *content["code"]}):
        if before.get("code", {}).get(name) != content["code"].get(name):
            said.append(f"{code.shown(name)} changed")
    inputs_before, inputs_now = before.get("from", {}), content["from"]
    if gone := sorted(inputs_before.keys() - inputs_now.keys()):
        said.append(f"no longer from {gone[0]}" + (f" and {len(gone) - 1} more" if gone[1:] else ""))
    if new := sorted(inputs_now.keys() - inputs_before.keys()):
        said.append(f"also from {new[0]}" + (f" and {len(new) - 1} more" if new[1:] else ""))
    changed = [path for path, value in inputs_now.items() if inputs_before.get(path, value) != value]
    if changed := [*changed, *(path for path in stale if path not in changed)]:
        said.append(f"{changed[0]}" + (f" and {len(changed) - 1} more are" if changed[1:] else " is") + " made again")
    return tuple(said) or ("its place in the study changed",)


def differences(then: object, now: object, key: str = "") -> list[tuple[str, object, object]]:
    """Rows (dotted key, value then, value now) of the settings that differ; "-" where one has none."""
    if isinstance(then, dict) and isinstance(now, dict):
        keys = dict.fromkeys([*then, *now])
        return [
            row
            for part in keys
            for row in differences(then.get(part, "-"), now.get(part, "-"), f"{key}.{part}" if key else part)
        ]
    return [] if then == now else [(key, then, now)]


def write(folder: Path, found: dict[tuple[str, str], Entry]) -> None:
    """Write the job files that differ, and give each the time that says whether its result is to be made.

    Raises UserError where a file cannot be written.
    """
    for entry in found.values():
        path = folder / entry.planned.file
        text = json.dumps(entry.content, indent=1, sort_keys=True) + "\n"
        try:
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            results = [folder / output for output in entry.planned.outputs.values()]
            results += [job.record_of(result) for result in results]  # to Snakemake they are outputs, too
            times = [result.stat().st_mtime for result in results if result.exists()]
            if entry.made and path.stat().st_mtime >= min(times):
                when = min(OLD, *(each - 1 for each in times))
                os.utime(path, (when, when))
            if not entry.made and times:  # where there is no result, that is reason enough to make it
                when = max(time.time(), *(each + 1 for each in times))
                os.utime(path, (when, when))
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error


def differ(folder: Path, found: dict[tuple[str, str], Entry]) -> bool:
    """Whether a job file that is there is of another job than the ledger's."""
    for entry in found.values():
        with contextlib.suppress(OSError, ValueError):
            there = json.loads((folder / entry.planned.file).read_text(encoding="utf-8"))
            if job.identity(there) != job.identity(entry.content):
                return True
    return False
