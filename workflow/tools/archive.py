"""One archive of a finished study, results/STUDY.zip: its report, tables, figures, distances, jobs and all records."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import asked

from ddpm_dip.jobs import archive, errors
from ddpm_dip.study import why


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, metavar="CONFIGFILE", help="laid over config.yaml, in order")
    parser.add_argument("--weights", action="store_true", help="the nets' weights, too")
    arguments = parser.parse_args()
    _, folder, found = asked.of_files(arguments.files)
    if waiting := why.needed(found):
        raise errors.UserError(f"{folder}: not finished, {len(waiting)} jobs are to be run; see make why")
    target = folder.with_name(f"{folder.name}.zip")
    count = archive.pack(folder, [entry.planned for entry in found.values()], target, arguments.weights)
    print(f"{target}: {count} files, {target.stat().st_size / 1e6:.1f} MB; to check it: make verify ARCHIVE={target}")


if __name__ == "__main__":
    errors.run(main)
