"""What a tool is asked about: a study's configuration, read as Snakemake reads it, and its ledger."""

from pathlib import Path

import yaml
from snakemake.utils import update_config

from ddpm_dip import study
from ddpm_dip.jobs import errors, ledger
from ddpm_dip.study import machine, plan

ROOT = Path(__file__).resolve().parents[2]


def read(path: Path) -> dict:
    """A YAML file. Raises UserError where there is none, or it is no mapping."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise errors.UserError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(content, dict):
        raise errors.UserError(f"{path}: must be a mapping of settings")
    return content


def of_files(files: list[Path]) -> tuple[study.Study, Path, dict[tuple[str, str], ledger.Entry]]:
    """The study of config.yaml and of files laid over it in order, its folder, and its ledger.

    What it is to reuse of other studies is linked in, as its run does.
    """
    config = read(ROOT / "config.yaml")
    for path in files:
        update_config(config, read(path))
    asked = study.read(config)
    folder = Path("results") / asked.name
    jobs = plan.plan(asked, machine.of_config(asked.config, elsewhere=True))
    return asked, folder, ledger.entries(folder, jobs, [folder.parent / name for name in asked.config.get("reuse", [])])
