"""Judge a study's claims, and compare every arm with the starts that cost nothing.

settings: rows and pairs, as `study.claims` makes them.
reads: tables, by name: cells, pseudo and noise, and those there are of timing and interpolation.
writes: claims, speedups and differences (.csv). The hints `drawn` (claim -> the files of images that it asks for) and
`digests` (claim -> digest) tell, with the records of all images of the study, which claims are not as they were when
their first images were drawn.
"""

from collections.abc import Mapping
from pathlib import Path

from ..evaluation import verdicts
from ..jobs import files
from ..jobs.job import RECORD, Job, read_record
from ..report import tables

DRAWN = ("samples", "interpolations")  # folders of images, which have records of the claims they were first drawn for


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
    said = changed(job.hints.get("digests", {}), job.hints.get("drawn", {}), first_claims(job.folder))
    claims, speedups = verdicts.judge(rows, found, said)
    made = {"claims": claims, "speedups": speedups, "differences": verdicts.differences(pairs, found)}
    for name, of_table in made.items():
        files.write_text(job.output(name), tables.made(name, of_table).to_csv(index=False))
    job.finish(work={"claims": len(rows)})


def first_claims(folder: Path) -> dict[str, dict[str, str]]:
    """File of images -> claim -> digest, as the records in a study's folder have them; not of what has none."""
    paths = [path for name in DRAWN for path in sorted((folder / name).rglob(f"*{RECORD}"))]
    outputs = [str(path).removesuffix(RECORD) for path in paths]
    records = {Path(output).relative_to(folder).as_posix(): read_record(output) or {} for output in outputs}
    return {output: record["claims"] for output, record in records.items() if "claims" in record}


def changed(
    digests: Mapping[str, str], drawn: Mapping[str, list[str]], first: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    """Claim -> what to say where it is not as it was when the first of its images were drawn.

    drawn: the files of images that a claim asks for now; first: as `first_claims` returns it, also of files that no
    claim asks for any more.
    """
    said = {}
    for name, digest in digests.items():
        if any(claims.get(name, digest) != digest for claims in first.values()):
            said[name] = "changed, or its replicates or n, after its first sample was drawn"
        elif any(name not in first[file] for file in drawn.get(name, ()) if file in first):
            said[name] = "added after samples of it were drawn"
    return said
