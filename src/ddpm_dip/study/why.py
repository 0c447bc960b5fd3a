"""What a run would do, why, and what it will cost: said before it begins."""

from collections import Counter, defaultdict
from pathlib import Path
from statistics import median

from ..jobs import job, ledger
from ..jobs.ledger import Entry

SHOWN = 3  # names of jobs in a line


def would_drop(folder: Path, found: dict[tuple[str, str], Entry]) -> str:
    """What to say before a run makes a finished report without cells that it has now; "" where it drops none."""
    entry = found["report", "report"]
    before = ledger.recorded(folder, entry.planned) if not entry.made else None
    kept = set(entry.content["settings"]["cells"])
    dropped = [cell for cell in before["settings"].get("cells", []) if cell not in kept] if before else []
    if not dropped:
        return ""
    more = "s" * (len(dropped) > 1)
    shown = dropped[0] + ", ..." * (len(dropped) > 1)
    return (
        f"{folder}: the finished report has {len(dropped)} cell{more} not asked for now ({shown}); the new report will "
        "be without them. To keep the old one beside it, stop and give this run another name: --config study=NAME, and "
        f"reuse: [{folder.name}] to take over its results"
    )


def needed(found: dict[tuple[str, str], Entry]) -> dict[tuple[str, str], Entry]:
    """The jobs that a run would do: those whose results are to be made, as far as the report needs them."""
    makers = {path: key for key, entry in found.items() for path in entry.planned.outputs.values()}
    waiting, wanted = [("report", "report")], set()
    while waiting:
        key = waiting.pop()
        if key in wanted or found[key].made:
            continue
        wanted.add(key)
        waiting += [makers[path] for path in (*found[key].planned.reads, *found[key].planned.after)]
    return {key: entry for key, entry in found.items() if key in wanted}


def explain(folder: Path, found: dict[tuple[str, str], Entry]) -> str:
    """The whole answer of `make why`, for a terminal. folder: the study's."""
    run = needed(found)
    kept = [entry for entry in found.values() if entry.made]
    lines = [f"{folder}: {len(run)} jobs to run, {len(kept)} results kept" if run else f"{folder}: nothing to be done"]
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    for (stage, name), entry in run.items():
        groups[stage, in_general(entry.why)].append(name)
    for (stage, why), names in groups.items():
        more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        lines.append(f"  {stage}: {len(names)} ({', '.join(names[:SHOWN])}{more})")
        lines += [f"      {reason}" for reason in why]
    lines += [f"  {line}" for line in other_versions(folder, kept)]
    if warning := would_drop(folder, found):
        lines.append(warning)
    return "\n".join([*lines, cost(folder, found, run)] if run else lines)


def in_general(reasons: tuple[str, ...]) -> tuple[str, ...]:
    """A job's reasons without which of its inputs are made again, so that many jobs that follow make one line."""
    follows = ("is made again", "are made again")
    return tuple("what it reads is made again" if reason.endswith(follows) else reason for reason in reasons)


def other_versions(folder: Path, kept: list[Entry]) -> list[str]:
    """Kept results that were made with other versions of libraries than are installed: a line a library and version."""
    now, counts = job.versions(), Counter()
    for entry in kept:
        record = job.read_record(folder / next(iter(entry.planned.outputs.values()))) or {}
        for name, version in record.get("versions", {}).items():
            if now.get(name, version) != version:
                counts[name, version] += 1
    return [
        f"kept: {count} results made with {name} {version} (here: {now[name]}); to make them anew, delete them"
        for (name, version), count in sorted(counts.items())
    ]


def cost(folder: Path, found: dict[tuple[str, str], Entry], run: dict[tuple[str, str], Entry]) -> str:
    """What a run will cost: jobs, image-steps, and hours by what this machine last took for the like."""
    seconds, unknown = seconds_of(found, run, measured_rates(folder.parent))
    amounts = [work(found, entry) for entry in run.values()]
    image_steps = sum(amount for amount, unit in amounts if unit == "image-steps")
    hours = f"about {seconds / 3600:.2g} hours of one core" if len(unknown) < len({stage for stage, _ in run}) else ""
    without = ", ".join(f"{count} of {stage}" for stage, count in unknown.items())
    missing = f"not counted, as nothing like it was measured on this machine yet: {without}" if without else ""
    return f"cost: {len(run)} jobs, {image_steps:,} image-steps; " + "; ".join(filter(None, (hours, missing)))


def seconds_of(found: dict, run: dict, rates: dict) -> tuple[float, Counter]:
    """Core-seconds that jobs will take by the rates of their like, and how many have none, by stage."""
    seconds, unknown = 0.0, Counter()
    for (stage, _), entry in run.items():
        amount, unit = work(found, entry)
        rate = rates.get((*entry.planned.hints["kind"], unit))
        if rate is None:
            unknown[stage] += 1
        else:
            per_unit, start = rate
            seconds += amount * per_unit + start
    return seconds, unknown


def work(found: dict[tuple[str, str], Entry], entry: Entry) -> tuple[int, str]:
    """How much a job has to do, and in what unit."""
    settings = entry.content["settings"]
    if entry.planned.stage == "sample" and settings["cell"]["nfe"]:
        return settings["n"] * settings["cell"]["nfe"], "image-steps"
    if entry.planned.stage == "interpolate" and settings["steps"]:
        return settings["pairs"] * settings["points"] * settings["steps"], "image-steps"
    if entry.planned.stage == "train":
        lower = entry.planned.hints.get("build_on")
        below = found["train", lower.removeprefix("models/")].content["settings"]["epochs"] if lower else 0
        return settings["epochs"] - below, "epochs"
    if entry.planned.stage == "time_sampling":
        return settings["rounds"], "rounds"
    return 1, "jobs"


def measured_rates(results: Path) -> dict[tuple, tuple[float, float]]:
    """(*kind of job, unit of work) -> median seconds a unit, and seconds to start the process, on this machine."""
    here, found = job.machine(), defaultdict(list)
    for path in results.glob("*/**/*" + job.RECORD):
        record = job.read_record(str(path).removesuffix(job.RECORD)) or {}
        if record.get("machine") == here and record.get("kind"):
            for unit, amount in (record["work"] | {"jobs": 1}).items():
                if amount:
                    found[(*record["kind"], unit)].append((record["seconds"] / amount, record["start_seconds"]))
    return {kind: tuple(map(median, zip(*pairs, strict=True))) for kind, pairs in found.items()}
