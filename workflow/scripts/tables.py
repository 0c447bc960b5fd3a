"""Gather many small result files into one tidy CSV table."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from ddpm_dip import errors, files, provenance, tables


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="An argument @FILE is replaced by that file's lines, one argument a line.",
        fromfile_prefix_chars="@",
    )
    parser.convert_arg_line_to_args = lambda line: [line] if line.strip() else []
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="TABLE")
    for kind, option, what in (
        ("cells", "--metrics", "metrics JSON files, one a cell"),
        ("evolution", "--metrics", "metrics JSON files of one start at several epochs"),
        ("interpolation", "--interpolations", "JSON files of evaluate_interpolation.py, one a way between latents"),
        ("training", "--losses", "losses.csv files, one a U-Net"),
        ("gan_training", "--losses", "losses.csv files, one a DCGAN"),
        ("timing", "--timings", "timing CSV files"),
    ):
        sub = kinds.add_parser(kind, help=f"table from {what}", description=f"Table from {what}.")
        sub.add_argument(option, dest="inputs", nargs="+", required=True, metavar="FILE", help=what)
        sub.add_argument("--output", required=True, metavar="CSV", help="the table to write")
        sub.add_argument("--stamp", metavar="JSON", help="a stamp file to copy into the provenance")
    args = parser.parse_args()

    job = provenance.Job(args.stamp, __file__)
    extra = {}
    if args.kind in ("cells", "evolution", "interpolation"):
        records = {path: files.read_json(job.input(path)) for path in args.inputs}
        gather = tables.interpolation if args.kind == "interpolation" else tables.cells
        table = gather(records)
        extra["not_computed"] = tables.not_computed(records)
    else:
        columns, gather = {
            "training": (tables.TRAINING_COLUMNS, tables.training),
            "gan_training": (tables.GAN_TRAINING_COLUMNS, tables.gan_training),
            "timing": (tables.TIMING_COLUMNS, tables.timing),
        }[args.kind]
        table = gather({path: tables.read_csv(job.input(path), columns) for path in args.inputs})
    files.write_text(args.output, table.to_csv(index=False))
    job.finish(args.output, spec={"table": args.kind}, **extra)


if __name__ == "__main__":
    errors.run(main)
