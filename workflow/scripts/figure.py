"""Draw one figure of the study by name."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from ddpm_dip import errors, figures, provenance


def main() -> None:
    names = "\n".join(f"  {name:<24}{function.__doc__.splitlines()[0]}" for name, function in figures.FIGURES.items())
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\n\nfigures:\n{names}",
        epilog="An argument @FILE is replaced by that file's lines, one argument a line.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        fromfile_prefix_chars="@",
    )
    parser.convert_arg_line_to_args = lambda line: [line] if line.strip() else []
    parser.add_argument("name", metavar="NAME", help="a figure of the list above")
    parser.add_argument(
        "--inputs", nargs="+", required=True, type=Path, metavar="FILE", help="the files it is drawn from"
    )
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help=".png, or .gif for denoising")
    parser.add_argument(
        "--option",
        action="extend",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="options of the figure; a wrong key is answered with the right ones",
    )
    parser.add_argument("--dpi", type=errors.at_least(1), default=figures.DPI, help="dots per inch of a .png")
    parser.add_argument("--stamp", metavar="JSON", help="a stamp file to copy into the provenance")
    args = parser.parse_args()

    job = provenance.Job(args.stamp, __file__)
    options = {}
    for option in args.option:
        key, equals, value = option.partition("=")
        if not equals:
            raise errors.UserError(f"--option {option}: right is KEY=VALUE")
        options[key] = value
    drawing = figures.draw(args.name, [job.input(path) for path in args.inputs], options)
    figures.save(drawing, args.output, args.dpi)
    job.finish(args.output, spec={"figure": args.name, "options": options, "dpi": args.dpi})


if __name__ == "__main__":
    errors.run(main)
