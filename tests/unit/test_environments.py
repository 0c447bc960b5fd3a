"""Each rule's environment holds what its script can import, and no more, in the versions of the requirements files."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ddpm_dip.jobs import code

ROOT = Path(__file__).resolve().parents[2]
DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "pytorch_fid": "pytorch-fid", "yaml": "pyyaml"}
DISTRIBUTIONS |= {"vl_convert": "vl-convert-python"}
BY_LANES = ("train", "sample", "interpolate", "time_sampling")  # these load the backend by name
# conda-forge's names of distributions
CONDA = {
    "pytorch": "torch",
    "matplotlib-base": "matplotlib",
    "seaborn-base": "seaborn",
    "snakemake-minimal": "snakemake",
}
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
            found[name] = (re.search(r'run\("(.+?)"', body)[1], re.search(r'"../../(envs/.+?)"', body)[1])
    return found


def requirements() -> dict[str, str]:
    lines = [line for name in ("", "-slurm") for line in (ROOT / f"requirements{name}.txt").read_text().splitlines()]
    return dict(line.split("==") for line in lines if "==" in line)


def installed(environment: str) -> dict[str, str]:
    """Distribution -> version, of an environment's file."""
    content = yaml.safe_load((ROOT / environment).read_text())["dependencies"]
    conda = dict(item.split("=") for item in content if isinstance(item, str) and item != "pip")
    assert conda.pop("python") == "3.11"
    by_pip = [item for part in content if isinstance(part, dict) for item in part["pip"]]
    return {CONDA.get(name, name): version for name, version in conda.items()} | dict(
        item.split("==") for item in by_pip
    )


def third_party(*modules: str) -> set[str]:
    """The distributions that modules of the package can import, and those that they import."""
    names = set()
    for path in {path for module in modules for path in code.closure(module).values()} | {*python_files("jobs")}:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module.split(".")[0])
    return {DISTRIBUTIONS.get(name, name) for name in names - sys.stdlib_module_names - {"ddpm_dip", *code.BESIDE}}


def of_stage(stage: str) -> set[str]:
    lanes = ["models.lanes_unet"] if stage in BY_LANES else []
    plugins = [f"{folder}.{path.stem}" for folder in PLUGINS.get(stage, []) for path in python_files(folder)]
    return third_party(f"stages.{stage}", *lanes, *(name for name in plugins if not name.endswith("__init__")))


def python_files(folder: str) -> list[Path]:
    return sorted((code.PACKAGE / folder.replace(".", "/")).glob("*.py"))


def test_every_script_has_a_rule():
    assert {stage for stage, _ in rules().values()} == {path.stem for path in (ROOT / "workflow/scripts").glob("*.py")}
    assert all(name == stage for name, (stage, _) in rules().items())


@pytest.mark.parametrize(("stage", "environment"), rules().values(), ids=rules())
def test_a_rule_s_environment_has_what_its_script_can_import(stage, environment):
    assert of_stage(stage) <= installed(environment).keys()


@pytest.mark.parametrize("path", sorted((ROOT / "envs").glob("*.yaml")), ids=lambda path: path.name)
def test_an_environment_is_used_has_nothing_more_and_the_versions_of_requirements(path):
    environment = f"envs/{path.name}"
    used = {name for stage, its in rules().values() if its == environment for name in of_stage(stage)}
    assert used == installed(environment).keys()
    assert installed(environment).items() <= requirements().items()


def test_the_host_has_what_the_snakefile_imports():
    """By importing it where what requirements.txt has more cannot be imported."""
    host = installed("environment.yaml")
    assert host.items() <= requirements().items()
    modules = {distribution: module for module, distribution in DISTRIBUTIONS.items()}
    lacking = [modules.get(name, name) for name in requirements().keys() - host.keys()]
    lines = re.findall(r"^from ddpm_dip.*$", (ROOT / "workflow/rules/common.smk").read_text(), re.M)
    lines += ["from ddpm_dip.sampling import backend_choice", "backend_choice.has_lanes()"]
    program = "\n".join(["import sys", f"sys.modules |= dict.fromkeys({lacking})", *lines])
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
