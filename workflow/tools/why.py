"""Say what a run would do and why, what is kept, and what it will cost."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import yaml
from snakemake.utils import update_config

from ddpm_dip import study
from ddpm_dip.jobs import errors, ledger
from ddpm_dip.sampling import backend_choice
from ddpm_dip.study import plan, why


def read(path: Path) -> dict:
    """A YAML file. Raises UserError where there is none, or it is no mapping."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise errors.UserError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(content, dict):
        raise errors.UserError(f"{path}: must be a mapping of settings")
    return content


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, metavar="CONFIGFILE", help="laid over config.yaml, in order")
    arguments = parser.parse_args()
    config = read(Path(__file__).resolve().parents[2] / "config.yaml")
    for path in arguments.files:
        update_config(config, read(path))
    asked = study.read(config)
    machine = plan.Machine(**backend_choice.of_config(asked.config))
    folder = Path("results") / asked.name
    found = ledger.entries(folder, plan.plan(asked, machine))
    print(why.explain(folder, found))


if __name__ == "__main__":
    errors.run(main)
