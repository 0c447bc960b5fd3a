"""Judge a study's claims, and compare every arm with the starts that cost nothing.

settings: rows and pairs, as `study.claims` makes them.
reads: tables, by name: cells, pseudo and noise, and those there are of timing and interpolation.
writes: claims, speedups and differences (.csv). The hints `samples` (path of a cell -> its samples) and `digests`
(claim -> digest) name the records that tell which claims were there when the first sample was drawn.
"""

from collections.abc import Mapping

from ..evaluation import verdicts
from ..jobs import files
from ..jobs.job import Job, read_record
from ..report import tables


def run(job: Job) -> None:
    read = {name: tables.read(name, path) for name, path in job.inputs("tables").items()}
    cells = tables.with_paths(read["cells"])
    by_path = {row["path"]: row for row in cells.to_dict("records")}
    timing = read.get("timing")
    seconds = {} if timing is None else {path: tables.seconds(timing, row) for path, row in by_path.items()}
    found = verdicts.Tables(
        cells, tables.with_paths(read["pseudo"]), tables.with_paths(read["noise"]), seconds, read.get("interpolation")
    )
    rows, pairs = job.settings["rows"], job.settings["pairs"]
    records = {path: read_record(job.folder / file) or {} for path, file in job.hints.get("samples", {}).items()}
    claims, speedups = verdicts.judge(rows, found, changed(rows, records, job.hints.get("digests", {})))
    made = {"claims": claims, "speedups": speedups, "differences": verdicts.differences(pairs, found)}
    for name, of_table in made.items():
        files.write_text(job.output(name), tables.made(name, of_table).to_csv(index=False))
    job.finish(work={"claims": len(rows)})


def changed(rows: list[dict], records: Mapping[str, dict], digests: Mapping[str, str]) -> dict[str, str]:
    """Claim -> what to say where it is not as it was when the first of its samples was drawn.

    records: of the samples, by their cells' paths; each has the digests of the claims of its time.
    """
    said = {}
    for row in rows:
        name = row["claim"]
        paths = {path for s in row["strata"] for side in ("a", "b") for some in s[side].values() for path in some
                 if isinstance(path, str)}  # fmt: skip
        then = [records[path].get("claims") for path in sorted(paths & records.keys())]
        then = [each for each in then if each is not None]
        if any(name in each and each[name] != digests.get(name) for each in then):
            said[name] = "changed, or its replicates or n, after its first sample was drawn"
        elif not all(name in each for each in then):
            said[name] = "added after samples of it were drawn"
    return said
