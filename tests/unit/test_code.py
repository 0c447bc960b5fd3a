"""Code digests: what counts, what does not, and that the static import closure holds what a script really loads."""

import subprocess
import sys
from pathlib import Path

import pytest

from ddpm_dip.jobs import code

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "workflow/scripts").glob("*.py"))

LISTING = """
import runpy, sys
sys.argv = [sys.argv[1], "--help"]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit:
    pass
print(*(name.removeprefix("ddpm_dip").lstrip(".") for name in sys.modules if name.split(".")[0] == "ddpm_dip"), sep=",")
"""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_help_works_and_the_closure_holds_every_module_that_is_loaded(script):
    done = subprocess.run([sys.executable, "-c", LISTING, script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    usage, _, loaded = done.stdout.rstrip().rpartition("\n")
    assert "JOB.json" in usage and "--threads" in usage and "eads" in usage.replace("--threads", "")  # what it reads
    modules = {name for name in loaded.split(",") if name and name.split(".")[0] not in code.NEUTRAL}
    assert modules <= code.closure(f"stages.{script.stem}").keys()


def test_every_script_runs_a_stage_and_every_stage_has_one():
    stages = {path.stem for path in (code.PACKAGE / "stages").glob("*.py")} - {"__init__"}
    assert {path.stem for path in SCRIPTS} == stages


def test_closure_is_narrow():
    """A new figure retrains nothing, a new metric resamples nothing, a new sampler retrains nothing."""
    train, sample, figure = (code.closure(f"stages.{stage}") for stage in ("train", "sample", "figure"))
    train |= code.closure("models.families.unet")
    assert {"models.families.unet", "models.unet", "models.schedule"} <= train.keys()
    assert not any(name.split(".")[0] in ("sampling", "evaluation", "report", "study") for name in train)
    sample |= code.closure("sampling.generators.unet")
    assert {"sampling.samplers", "sampling.noise", "sampling.backends", "sampling.warm_starts"} <= sample.keys()
    measures = {name for name in sample if name.split(".")[0] in ("evaluation", "report", "study")}
    assert measures == {"evaluation", "evaluation.haar"}  # the noise along the chain
    assert not any(
        name.startswith(("sampling.samplers.", "sampling.warm_starts.", "models.families")) for name in sample
    )
    assert not any(name.split(".")[0] in ("models", "sampling") for name in figure)


def test_plugins_and_their_imports_count():
    every_step, noise, mean_image = (
        code.digests("sample", (f"sampling.warm_starts.{name}",)) for name in ("dip_every_step", "noise", "mean_image")
    )
    assert "sampling.warm_starts.dip" in every_step
    assert noise.items() - mean_image.items() == {("sampling.warm_starts.noise", noise["sampling.warm_starts.noise"])}


def test_comments_docstrings_and_layout_do_not_count(tmp_path):
    plain, dressed, other = (tmp_path / name for name in ("plain.py", "dressed.py", "other.py"))
    plain.write_text("import math\n\ndef f(x):\n    return math.sin(x) + 1\n")
    dressed.write_text(
        '"""Doc."""\nimport math  # why\n\n\ndef f(x):\n    "says"\n    return (math.sin(x)\n        + 1)\n'
    )
    other.write_text("import math\n\ndef f(x):\n    return math.sin(x) + 2\n")
    assert code.normal_form(plain) == code.normal_form(dressed) != code.normal_form(other)


def test_relative_and_absolute_imports_are_found(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from ddpm_dip.jobs import files\ndef f():\n    from ddpm_dip.evaluation.frechet import statistics\n"
    )
    assert code.imported(script) == {"jobs", "jobs.files", "evaluation.frechet"}
    assert {"models", "models.dip"} <= code.closure("models.dip_fit").keys()


def test_a_package_beside_is_followed_from_who_loads_it_by_name():
    without, having = code.digests("sample"), code.digests("sample", ("models.lanes_unet",))
    assert not any(name.startswith("lanes") for name in without)
    beside = {f"lanes.{name}" for name in ("vectors", "kernels", "tape", "engine")}
    assert {"lanes", *beside} <= having.keys() and "gone" not in having.values()
    assert code.shown("lanes.kernels") == "lanes/kernels.py"
