"""Each rule's environment holds what its script can import, pinned as requirements.txt pins it."""

import ast
import re
import sys
from pathlib import Path

import pytest
import yaml

from ddpm_dip import code

ROOT = Path(__file__).resolve().parents[2]
DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "pytorch_fid": "pytorch-fid", "yaml": "pyyaml"}
# modules that a script loads by name
PLUGINS = {"prepare_data.py": "data", "sample.py": "warm_starts", "time_sampling.py": "warm_starts"}


def rules() -> dict[str, tuple[str, str]]:
    """Rule -> (script, environment file), as the workflow says."""
    found = {}
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        for name, body in re.findall(r"^ *rule (\w+):\n(.*?)(?=^ *rule |\Z)", path.read_text(), re.M | re.S):
            found[name] = (re.search(r'script\("(.+?)"\)', body)[1], re.search(r'"../../(envs/.+?)"', body)[1])
    return found


def pins(lines: list[str]) -> dict[str, str]:
    return dict(line.split("==") for line in lines if "==" in line)


def third_party(script: str) -> set[str]:
    folder = PLUGINS.get(script)
    plugins = [f"{folder}.{path.stem}" for path in (code.PACKAGE / folder).glob("[a-z]*.py")] if folder else []
    names = set()
    edge = [code.module_file(name) for name in code.NEUTRAL]
    for path in [*code.closure(ROOT / "workflow/scripts" / script, tuple(plugins)).values(), *edge]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module.split(".")[0])
    return {DISTRIBUTIONS.get(name, name) for name in names - sys.stdlib_module_names - {"ddpm_dip"}}


def test_every_script_has_a_rule():
    assert {script for script, _ in rules().values()} == {
        path.name for path in (ROOT / "workflow/scripts").glob("*.py")
    }


@pytest.mark.parametrize(("script", "environment"), rules().values(), ids=rules())
def test_environment_is_complete_and_pinned(script, environment):
    content = yaml.safe_load((ROOT / environment).read_text())["dependencies"]
    conda = [item for item in content if isinstance(item, str)]
    installed = pins(next(item["pip"] for item in content if isinstance(item, dict)))
    assert any(item.startswith("python=") for item in conda)
    assert "snakemake" not in installed
    assert third_party(script) <= installed.keys()
    assert installed.items() <= pins((ROOT / "requirements.txt").read_text().splitlines()).items()
