"""Whether an archive of a study is whole: verify.py ARCHIVE"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from ddpm_dip.jobs import archive, errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    path = parser.parse_args().archive
    print(f"{path}: {archive.verify(path)} files, all as they were")


if __name__ == "__main__":
    errors.run(main)
