"""Write the report: one self-contained HTML page, and a short result table for the terminal."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from ddpm_dip import errors, files, provenance, report, tables


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="An argument @FILE is replaced by that file's lines, one argument a line.",
        fromfile_prefix_chars="@",
    )
    parser.convert_arg_line_to_args = lambda line: [line] if line.strip() else []
    parser.add_argument("--config", required=True, metavar="JSON", help="the study's settings, resolved")
    parser.add_argument("--tables", nargs="+", required=True, type=Path, help="cells.csv, and others by name")
    parser.add_argument("--figures", nargs="*", default=[], type=Path, help="figures (.png) and animations (.gif)")
    parser.add_argument("--provenance", nargs="*", default=[], metavar="FILE", help="*.provenance.json files to list")
    parser.add_argument("--output", required=True, help="the HTML page to write")
    parser.add_argument("--summary", required=True, help="the text table to write")
    parser.add_argument("--stamp", metavar="JSON", help="a stamp file to copy into the provenance")
    args = parser.parse_args()

    job = provenance.Job(args.stamp, __file__)
    paths = {path.stem: job.input(path) for path in args.tables}
    if "cells" not in paths:
        raise errors.UserError("--tables: cells.csv is missing")
    config = files.read_json(job.input(args.config))
    cells = tables.read_cells(paths["cells"])
    columns = {
        "timing": tables.TIMING_COLUMNS,
        "training": tables.TRAINING_COLUMNS,
        "gan_training": tables.GAN_TRAINING_COLUMNS,
        "interpolation": tables.INTERPOLATION_COLUMNS,
    }
    read = {name: tables.read_csv(paths[name], columns[name]) if name in paths else None for name in columns}
    evolution = tables.read_cells(paths["evolution"]) if "evolution" in paths else None
    reasons: dict[str, list[str]] = {}
    for name in ("cells", "interpolation"):
        if name in paths and provenance.beside(paths[name]).exists():
            reasons |= files.read_json(provenance.beside(paths[name])).get("not_computed", {})
    records = {path.removesuffix(provenance.SUFFIX): files.read_json(path) for path in args.provenance}

    images = {path.name: job.input(path).read_bytes() for path in args.figures}
    html = report.page(
        config,
        cells,
        read["timing"],
        read["training"],
        images,
        records,
        reasons,
        evolution,
        read["interpolation"],
        read["gan_training"],
    )
    files.write_text(args.output, html)
    files.write_text(args.summary, report.summary(cells, read["timing"], config, args.output))
    job.finish(args.output, args.summary, spec={})


if __name__ == "__main__":
    errors.run(main)
