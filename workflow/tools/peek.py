"""A report of what a study has so far, in results/STUDY-peek/, while the study runs or after it stopped.

It links finished results and makes tables, verdicts, figures and the page from them; the study itself stays as it is.
"""

import argparse
import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import asked

from ddpm_dip.jobs import errors, files, ledger
from ddpm_dip.jobs.job import Job
from ddpm_dip.study import Study, machine, plan

LATER = ("starts", "tables", "claims", "figure", "chart", "scripts", "report", "floors")  # quick to make


def part_of(study: Study, found: dict) -> Study:
    """The study as if it asked for what is there alone. Raises UserError where that is nothing."""
    have = {cell for cell in study.cells if found["evaluate", cell.path].made}
    if not have:
        raise errors.UserError(f"{study.name}: no cell is measured yet; see make progress")
    cells = [cell for cell in study.cells if cell in have]
    experiments = {
        name: part._replace(cells=[cell for cell in part.cells if cell in have])
        for name, part in study.experiments.items()
        if have & set(part.cells)
    }
    ways = {path: of for path, of in study.interpolations.items() if found["evaluate_interpolation", path].made}
    timed = all(entry.made for (stage, _), entry in found.items() if stage == "time_sampling")
    claims = [
        claim if have >= set(claim.cells) else claim._replace(rows={}, not_asked="not all of its cells are there yet")
        for claim in study.claims
    ]
    config = study.config | {"timing": study.config["timing"] if timed else None}
    if not timed:
        claims = [
            each._replace(rows={}, not_asked="the times are not there yet") if each.metric == "seconds" else each
            for each in claims
        ]
    name = f"{study.name}-peek"
    return study._replace(
        name=name,
        config=config | {"study": name},
        cells=cells,
        experiments=experiments,
        interpolations=ways,
        claims=claims,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, metavar="CONFIGFILE", help="laid over config.yaml, in order")
    study, folder, found = asked.of_files(parser.parse_args().files)
    part, whole = part_of(study, found), len(study.cells)
    there = folder.with_name(part.name)
    entries = ledger.entries(there, plan.plan(part, machine.of_config(part.config, elsewhere=True)), reuse=[folder])
    ledger.write(there, entries)
    for (stage, _), entry in entries.items():
        if not entry.made and stage in LATER:
            importlib.import_module(f"ddpm_dip.stages.{stage}").run(Job(there / entry.planned.file, stage, 1))
    files.remove_leftovers(there)
    print(f"{len(part.cells)} of {whole} cells are measured")
    print((there / "report/summary.txt").read_text(encoding="utf-8"))


if __name__ == "__main__":
    errors.run(main)
