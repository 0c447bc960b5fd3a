"""What a user asks of a finished study before the next run: what would run and why, at what cost, and what is kept."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import HERE, environment, jobs, snakemake

pytestmark = pytest.mark.slow


def why(folder: Path, **overlay) -> str:
    """What `make why` says of the micro study in a folder, with `overlay` laid over its settings."""
    changed = folder / "changed.yaml"
    changed.write_text(yaml.safe_dump(overlay), encoding="utf-8")
    words = [sys.executable, folder / "workflow/tools/why.py", HERE / "micro.yaml", changed]
    done = subprocess.run(list(map(str, words)), cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
    return done.stdout


def planned(folder: Path, **overlay) -> set[str]:
    return jobs(snakemake(folder, "-n", study="micro", source=folder, overlay=overlay))


def test_why_says_what_would_run_for_what_reason_and_its_cost(copied):
    files = {path: path.stat().st_mtime_ns for path in (copied / "results").rglob("*") if path.is_file()}
    assert why(copied).splitlines() == ["results/micro: nothing to be done"]

    said = why(copied, training={"lr": 0.002})
    expected = planned(copied, training={"lr": 0.002})
    first, *lines = said.splitlines()
    assert first.startswith(f"results/micro: {len(expected)} jobs to run, ")
    assert re.search(
        r"^  train: 2 \(hw4-sees/r0/epoch-0001, hw4-sees/r0/epoch-0003\)\n      lr 0\.001 -> 0\.002$", said, re.M
    )
    assert re.search(r"^  sample: 3 \(.*\)\n      what it reads is made again$", said, re.M)
    assert re.search(r"^  evaluate: 3 \(.*\)\n      what it reads is made again$", said, re.M)  # one line, not three
    # 2 cells from epoch 3 and one from epoch 1, of 16 images and 2 steps; all of the like was measured in the first run
    assert re.fullmatch(
        rf"cost: {len(expected)} jobs, {3 * 16 * 2} image-steps; about [\d.e-]+ hours of one core", lines[-1]
    )

    said = why(copied, experiments={"passes": {"grid": {"steps": [2, 3]}}})
    assert re.search(r"^  sample: 2 \(.*K0003-nfe0003.*\)\n      new$", said, re.M)
    assert "train:" not in said

    code = copied / "src/ddpm_dip/sampling/noise.py"
    code.write_text(code.read_text(encoding="utf-8") + "\n\nUNUSED = 1\n", encoding="utf-8")
    assert "      sampling/noise.py changed" in why(copied).splitlines()
    planned(copied)  # as a reader of job files
    assert {path: path.stat().st_mtime_ns for path in files if "/jobs/" not in str(path)} == {
        path: time for path, time in files.items() if "/jobs/" not in str(path)
    }


@pytest.mark.long
def test_why_names_what_other_versions_made(copied):
    for record in (copied / "results/micro/samples").rglob("*.provenance.json"):
        text = record.read_text(encoding="utf-8")
        record.write_text(re.sub(r'"numpy": "[^"]*"', '"numpy": "1.0.0"', text), encoding="utf-8")
    lines = why(copied).splitlines()
    assert lines[0] == "results/micro: nothing to be done"
    assert any(re.match(r"  kept: 3 results made with numpy 1\.0\.0 \(here: [\d.]+\)", line) for line in lines), lines
    assert planned(copied) == set()


@pytest.mark.long
def test_a_run_that_drops_cells_of_a_finished_report_says_so(copied):
    less = {"experiments": {"passes": {"grid": {"start": "dip"}}}, "claims": {"A4": None}}
    done = snakemake(copied, "results/micro/tables/cells.csv", study="micro", source=copied, overlay=less)
    assert jobs(done) == {"timing/hw4-sees.csv", "tables/timing.csv", "tables/cells.csv"}  # noise is timed no more
    dropped = "hw4-sees/r0/epoch-0003-ema/noise/ancestral/K0002-nfe0002"
    says = f"results/micro: the finished report has 1 cell not asked for now ({dropped})"
    assert says in done.stderr and "--config study=NAME" in done.stderr and "reuse: [micro]" in done.stderr
    assert done.stderr.index(says) < done.stderr.index("rule tables:")  # before the first job
    assert says in why(copied, **less)
    more = {"experiments": {"passes": {"grid": {"passes": [1, 2]}}}}
    assert "not asked for now" not in why(copied, **more)


def test_another_study_takes_over_what_is_the_same(copied):
    """`reuse` links the results of the very same jobs; what differs is made, and the other study stays as it was."""
    results, again = copied / "results/micro", copied / "results/again"
    overlay = {"study": "again", "reuse": ["micro"], "figures": {"dpi": 100}}
    expected = {path for path in planned(copied, figures={"dpi": 100})}
    said = why(copied, **overlay)  # before the study's first run
    assert "  figure: " in said and "  train: " not in said and "  sample: " not in said
    assert planned(copied, **overlay) == expected and expected
    assert not any(path.startswith(("models/", "samples/", "metrics/", "timing/")) for path in expected)
    for path in results.rglob("weights.safetensors"):
        assert (again / path.relative_to(results)).stat().st_ino == path.stat().st_ino  # a link, no second copy
    trained = {path for path in planned(copied, **overlay | {"training": {"lr": 0.002}}) if path.startswith("models/")}
    assert trained == {f"models/hw4-sees/r0/epoch-000{epochs}/weights.safetensors" for epochs in (1, 3)}
    assert planned(copied) == set()


@pytest.mark.long
def test_two_kinds_of_weights_are_one_training(copied):
    expected = planned(copied, experiments={"epochs": {"grid": {"weights": ["last", "ema"]}}})
    cells = {f"hw4-sees/r0/epoch-000{epochs}-last/dip-p01/ancestral/K0002-nfe0002" for epochs in (1, 3)}
    assert {path for path in expected if path.startswith(("models/", "samples/", "metrics/"))} == {
        *(f"samples/{cell}.npz" for cell in cells),
        *(f"metrics/{cell}.json" for cell in cells),
    }
