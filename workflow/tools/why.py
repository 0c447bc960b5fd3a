"""Say what a run would do and why, what is kept, and what it will cost."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import asked

from ddpm_dip.jobs import errors
from ddpm_dip.study import claims, why


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, metavar="CONFIGFILE", help="laid over config.yaml, in order")
    study, folder, found = asked.of_files(parser.parse_args().files)
    print("\n".join([why.explain(folder, found), *claims.not_trained_for(study.claims)]))


if __name__ == "__main__":
    errors.run(main)
