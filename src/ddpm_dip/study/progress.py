"""How far a study is, from what lies on disk: jobs by stage, what runs, and the time left by this machine's rates."""

import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from ..jobs import job, ledger
from ..jobs.ledger import Entry
from . import why

ACTIVE = 120  # seconds since a job's log was written in which it counts as running, where nothing else tells


class Progress(NamedTuple):
    """How far a study is.

    stages: name -> (made, all jobs), in the plan's order; running: stages of jobs that run, by count; left:
    core-seconds that the rest will take, of jobs whose like was measured on this machine; unknown: how many were not.
    """

    stages: dict[str, tuple[int, int]]
    running: dict[str, int]
    left: float
    unknown: int

    @property
    def made(self) -> int:
        return sum(made for made, _ in self.stages.values())

    @property
    def total(self) -> int:
        return sum(total for _, total in self.stages.values())


def of_study(folder: Path, found: dict[tuple[str, str], Entry], rates: dict, done: set | None = None) -> Progress:
    """folder: the study's; found: its ledger, as it was at any time; rates: of `why.measured_rates`.

    done: jobs that are known to be made, and need no look at the disk; those that are seen to be are added.
    """
    done = set() if done is None else done
    done |= {key for key, entry in found.items() if key not in done and is_made(folder, entry)}
    waiting = {key: entry for key, entry in found.items() if key not in done}
    stages: dict[str, tuple[int, int]] = {}
    for stage, total in Counter(stage for stage, _ in found).items():
        stages[stage] = total - sum(1 for key in waiting if key[0] == stage), total
    running = Counter(stage for stage, name in waiting if is_running(folder, stage, name))
    left, unknown = why.seconds_of(found, waiting, rates)
    return Progress(stages, dict(running), left, sum(unknown.values()))


def is_made(folder: Path, entry: Entry) -> bool:
    return ledger.recorded(folder, entry.planned) == job.identity(entry.content)


def is_running(folder: Path, stage: str, name: str) -> bool:
    """Whether a job's log was written a short while ago."""
    for path in (folder / f"logs/{stage}/{name}.log", folder / f"logs/{name}.log"):
        if path.exists() and time.time() - path.stat().st_mtime < ACTIVE:
            return True
    return False


def line(name: str, progress: Progress, cores: int) -> str:
    """One line: digits: 87 of 330 jobs, running 2 of sample, about 6 min left."""
    parts = [f"{progress.made} of {progress.total} jobs"]
    if progress.running:
        parts.append("running " + ", ".join(f"{count} of {stage}" for stage, count in progress.running.items()))
    if progress.made == progress.total:
        parts.append("done")
    elif progress.left:
        parts.append(f"about {duration(progress.left / cores)} left" + f" and {progress.unknown} jobs whose like this "
                     "machine has not done yet" * bool(progress.unknown))  # fmt: skip
    return f"{name}: {', '.join(parts)}"


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def bars(progress: Progress, width: int = 28) -> list[str]:
    """A bar a stage."""
    found = []
    for stage, (made, total) in progress.stages.items():
        full = round(width * made / total)
        found.append(f"{stage:<24}{'█' * full}{'·' * (width - full)} {made:>4} of {total}")
    return found
