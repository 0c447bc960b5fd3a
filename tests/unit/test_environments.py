"""Each rule's environment holds what its script can import, pinned as requirements.txt pins it."""

import ast
import re
import sys
from pathlib import Path

import pytest
import yaml

from ddpm_dip.jobs import code

ROOT = Path(__file__).resolve().parents[2]
DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "pytorch_fid": "pytorch-fid", "yaml": "pyyaml"}
DISTRIBUTIONS |= {"vl_convert": "vl-convert-python"}
# modules that a stage loads by name
PLUGINS = {
    "prepare_data": ["data"],
    "train": ["models.families", "models.networks"],
    "sample": ["sampling.generators", "sampling.warm_starts", "sampling.samplers", "models.networks"],
    "interpolate": ["sampling.generators", "sampling.samplers", "models.networks"],
    "time_sampling": ["sampling.generators", "sampling.warm_starts", "sampling.samplers", "models.networks"],
    "figure": ["report.figures"],
    "chart": ["report.figures"],
}


def rules() -> dict[str, tuple[str, str]]:
    """Rule -> (stage, environment file), as the workflow says."""
    found = {}
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        for name, body in re.findall(r"^ *rule (\w+):\n(.*?)(?=^ *rule |\Z)", path.read_text(), re.M | re.S):
            found[name] = (re.search(r'run\("(.+?)"\)', body)[1], re.search(r'"../../(envs/.+?)"', body)[1])
    return found


def pins(lines: list[str]) -> dict[str, str]:
    return dict(line.split("==") for line in lines if "==" in line)


def third_party(stage: str) -> set[str]:
    folders = PLUGINS.get(stage, [])
    plugins = [
        f"{folder}.{path.stem}" for folder in folders for path in python_files(folder) if path.stem != "__init__"
    ]
    names = set()
    for path in [*code.closure(f"stages.{stage}", tuple(plugins)).values(), *python_files("jobs")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module.split(".")[0])
    return {DISTRIBUTIONS.get(name, name) for name in names - sys.stdlib_module_names - {"ddpm_dip", *code.BESIDE}}


def python_files(folder: str) -> list[Path]:
    return sorted((code.PACKAGE / folder.replace(".", "/")).glob("*.py"))


def test_every_script_has_a_rule():
    assert {stage for stage, _ in rules().values()} == {path.stem for path in (ROOT / "workflow/scripts").glob("*.py")}
    assert all(name == stage for name, (stage, _) in rules().items())


@pytest.mark.parametrize(("stage", "environment"), rules().values(), ids=rules())
def test_environment_is_complete_and_pinned(stage, environment):
    content = yaml.safe_load((ROOT / environment).read_text())["dependencies"]
    conda = [item for item in content if isinstance(item, str)]
    installed = pins(next(item["pip"] for item in content if isinstance(item, dict)))
    assert any(item.startswith("python=") for item in conda)
    assert "snakemake" not in installed
    assert third_party(stage) <= installed.keys()
    assert installed.items() <= pins((ROOT / "requirements.txt").read_text().splitlines()).items()
