"""Code digests: what counts, what does not, and that the static import closure holds what a script really loads."""

import subprocess
import sys
from pathlib import Path

import pytest

from ddpm_dip import code

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


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_help_works_and_the_closure_holds_every_module_that_is_loaded(script):
    done = subprocess.run([sys.executable, "-c", LISTING, script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    usage, _, loaded = done.stdout.rstrip().rpartition("\n")
    assert "usage:" in usage and "--output" in usage or script.name == "tables.py"
    modules = {name for name in loaded.split(",") if name} - code.NEUTRAL
    assert modules <= code.closure(script).keys()


def test_closure_is_narrow():
    """A new figure retrains nothing, a new metric resamples nothing, a new sampler retrains nothing."""
    train = code.closure(ROOT / "workflow/scripts/train.py")
    sample = code.closure(ROOT / "workflow/scripts/sample.py")
    figure = code.closure(ROOT / "workflow/scripts/figure.py")
    assert {"training", "networks.unet", "diffusion"} <= train.keys()
    assert not {"sampling", "metrics", "figures", "noise", "data"} & train.keys()
    assert {"sampling", "noise", "backends", "warm_starts"} <= sample.keys()
    assert not {"training", "metrics", "figures", "warm_starts.dip"} & sample.keys()
    assert not {"training", "sampling", "networks"} & figure.keys()


def test_plugins_and_their_imports_count():
    sample = ROOT / "workflow/scripts/sample.py"
    assert "warm_starts.dip" in code.closure(sample, ("warm_starts.dip_every_step",))
    assert code.digest(sample, ("warm_starts.noise",)) != code.digest(sample, ("warm_starts.mean_image",))


def test_comments_docstrings_and_layout_do_not_count(tmp_path):
    plain, dressed, other = (tmp_path / name for name in ("plain.py", "dressed.py", "other.py"))
    plain.write_text("import math\n\ndef f(x):\n    return math.sin(x) + 1\n")
    dressed.write_text(
        '"""Doc."""\nimport math  # why\n\n\ndef f(x):\n    "says"\n    return (math.sin(x)\n        + 1)\n'
    )
    other.write_text("import math\n\ndef f(x):\n    return math.sin(x) + 2\n")
    assert code.digest(plain) == code.digest(dressed) != code.digest(other)


def test_relative_and_absolute_imports_are_found(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("from ddpm_dip import files\ndef f():\n    from ddpm_dip.metrics.frechet import statistics\n")
    assert code.imported(script) == {"files", "metrics.frechet"}
    assert {"networks", "networks.dip", "dip_pass"} <= code.closure(ROOT / "workflow/scripts/train.py").keys()
