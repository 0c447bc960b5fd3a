"""What runs again after a change, and nothing else: each case planned by a dry run, then run.

Jobs are named by their first output. `--case NAME` is pytest's `-k NAME`.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import HERE, ROOT, copy_sources, jobs, snakemake

from ddpm_dip import code, files

pytestmark = pytest.mark.slow
MICRO = yaml.safe_load((HERE / "micro.yaml").read_text())

DATA, DIP = {"data/digits.npz"}, {"dip/weights.safetensors"}
TRAIN = {f"models/hw4-sees/epoch-{e:04d}/weights.safetensors" for e in (1, 3)}
CLASSIFIER, REFERENCE = {"classifier/weights.safetensors"}, {"reference/features.npz"}
NOISE_CELLS, DIP_CELLS = {"0003/noise-p00/K0002"}, {"0003/dip-p01/K0002", "0001/dip-p01/K0002"}
TIMING = {"timing/K0000.csv", "timing/K0002.csv"}
TABLES = {f"tables/{name}.csv" for name in ("cells", "training", "timing")}
REPORT = {"report/index.html"}


def figures(*names: str) -> set[str]:
    return {f"figures/{name}.png" for name in names}


LOSS, FIT, TIME = figures("loss"), figures("dip-fit"), figures("time-against-steps")
CURVES = figures("passes-heatmap", "epochs")
GALLERIES = figures("gallery-minmax", "gallery-clamp")
STRIPS = {
    part: figures(f"strip.{part}.hw4-sees.minmax", f"strip.{part}.hw4-sees.clamp") for part in ("passes", "epochs")
}
PICTURES = GALLERIES | STRIPS["passes"] | STRIPS["epochs"]
FIGURES = LOSS | FIT | TIME | CURVES | PICTURES


def sample(*cells: str) -> set[str]:
    return {f"samples/hw4-sees/epoch-{cell}.npz" for cell in cells}


def evaluate(*cells: str) -> set[str]:
    return {f"metrics/hw4-sees/epoch-{cell}.json" for cell in cells}


CELLS = NOISE_CELLS | DIP_CELLS
SAMPLED = sample(*CELLS) | evaluate(*CELLS)
ALL_CELLS_TABLE = {"tables/cells.csv"} | CURVES  # what changes with any cell's metrics
DRAWN = ALL_CELLS_TABLE | PICTURES | REPORT  # what changes with all cells
ALL = DATA | DIP | TRAIN | CLASSIFIER | REFERENCE | SAMPLED | TIMING | TABLES | FIGURES | REPORT
AFTER_TRAINING = SAMPLED | TIMING | TABLES | (FIGURES - FIT) | REPORT


def test_the_first_run_does_everything(first_run):
    assert first_run[1] == ALL


def test_each_job_loads_no_module_that_its_stamp_leaves_out(first_run):
    """The real import graph, lazy imports and modules found by name included."""
    folder, done = first_run
    notes = [json.loads(path.read_text()) for path in (folder / "listener").glob("loaded-*.json")]
    assert len(notes) == len(done)
    loaded = set()
    for note in notes:
        plugins = json.loads((folder / note["stamp"]).read_text())["plugins"]
        modules = set(note["modules"]) - code.NEUTRAL
        script = ROOT / "workflow/scripts" / Path(note["script"]).name
        assert modules <= code.closure(script, tuple(plugins)).keys(), note
        loaded |= modules
    assert {"data.digits", "warm_starts.dip", "metrics.frechet", "figures", "networks.unet"} <= loaded  # it listened


def planned(folder: Path, *options: object, **settings) -> set[str]:
    return jobs(snakemake(folder, "-n", *options, study="micro", source=folder, **settings))


def run(folder: Path, *options: object, **settings) -> set[str]:
    """What a real run does; after it there is nothing left to do."""
    done = jobs(snakemake(folder, *options, study="micro", source=folder, **settings))
    assert planned(folder, *options, **settings) == set()
    return done


def replace(path: Path, *pairs: tuple[str, str]) -> None:
    text = path.read_text(encoding="utf-8")
    for old, new in pairs:
        assert old in text, (path, old)
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


# --- settings

MODELS = MICRO["models"][0]
BETWEEN = "models/hw4-sees/epoch-0002/weights.safetensors"
CHANGES = {
    "a step": (
        {"experiments": {"passes": {"steps": [2, 3]}}},
        sample("0003/noise-p00/K0003", "0003/dip-p01/K0003")
        | evaluate("0003/noise-p00/K0003", "0003/dip-p01/K0003")
        | ALL_CELLS_TABLE
        | STRIPS["passes"]
        | GALLERIES  # they show the largest K
        | REPORT,
    ),
    "a pass": (
        {"experiments": {"passes": {"passes": [0, 1, 2]}}},
        sample("0003/dip-p02/K0002") | evaluate("0003/dip-p02/K0002") | ALL_CELLS_TABLE | STRIPS["passes"] | REPORT,
    ),
    "a budget between": (
        {"models": [MODELS | {"epochs": [1, 2, 3]}], "experiments": {"epochs": {"epochs": [1, 2, 3]}}},
        {BETWEEN}
        | sample("0002/dip-p01/K0002")
        | evaluate("0002/dip-p01/K0002")
        | ALL_CELLS_TABLE
        | STRIPS["epochs"]
        | REPORT,
    ),
    "a pass less": ({"experiments": {"passes": {"passes": [1]}}}, ALL_CELLS_TABLE | STRIPS["passes"] | REPORT),
    "n": ({"sampling": {"n": 9}}, SAMPLED | DRAWN),
    "seed": ({"seed": 1}, ALL),
    "DIP iterations": (
        {"dip": {"iterations": 3}},
        DIP
        | sample(*DIP_CELLS)
        | evaluate(*DIP_CELLS)
        | TIMING
        | {"tables/timing.csv"}
        | FIT
        | TIME
        | ALL_CELLS_TABLE
        | STRIPS["passes"]
        | STRIPS["epochs"]
        | REPORT,
    ),
    "learning rate": ({"training": {"lr": 0.002}}, TRAIN | AFTER_TRAINING),
    "a metric's option": (
        {"metrics": {"classifier_epochs": 2}},
        CLASSIFIER | REFERENCE | evaluate(*CELLS) | ALL_CELLS_TABLE | REPORT,
    ),
    "timing repeats": ({"timing": {"repeats": 3}}, TIMING | {"tables/timing.csv"} | TIME | REPORT),
    "a plot's option": ({"figures": {"dpi": 100}}, FIGURES | REPORT),
    "two params swapped": (
        {"timing": {"batches": [2], "repeats": 1}},  # were 1 and 2
        TIMING | {"tables/timing.csv"} | TIME | REPORT,
    ),
    "keys in another order": (
        {key: MICRO[key] for key in reversed(MICRO)}
        | {"experiments": {key: MICRO["experiments"][key] for key in reversed(MICRO["experiments"])}}
        | {"timing": {key: MICRO["timing"][key] for key in reversed(MICRO["timing"])}},
        set(),
    ),
    "nothing": ({}, set()),
}


ADDED = ["a step", "a pass", "a budget between"]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_setting(change, copied):
    overlay, expected = CHANGES[change]
    weights = (copied / "results/micro/models").rglob("weights.safetensors")
    before = {path: path.stat().st_mtime_ns for path in weights}
    assert planned(copied, overlay=overlay) == expected
    if overlay:
        assert planned(copied) == set()  # looking changes nothing
    assert run(copied, overlay=overlay) == expected
    if expected & {BETWEEN}:
        log = (copied / "results/micro/logs/train/hw4-sees-0002.log").read_text()
        assert "epoch 2 of 2" in log and "epoch 1 of 2" not in log  # from the budget below
    if not expected & TRAIN:
        assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    if change in ADDED:  # and removed again: tables, figures and report alone
        assert planned(copied) == {job for job in expected if not job.startswith(("models/", "samples/", "metrics/"))}


def test_budgets_below_and_above_those_that_are_there(copied):
    """The lowest trains from scratch, the highest from the one below it; those between stay."""
    budgets = {"models": [MODELS | {"epochs": [1, 2, 3, 4]}], "timing": None}
    budgets["experiments"] = {"passes": None, "epochs": {"epochs": [1, 2, 3, 4]}}
    results = copied / "results/micro"
    first = results / "models/hw4-sees/epoch-0001/weights.safetensors"
    digest = files.sha256(first)
    done = snakemake(copied, f"results/micro/{BETWEEN}", study="micro", source=copied, overlay=budgets)
    assert jobs(done) == {BETWEEN}
    for part in ("models", "samples", "metrics"):
        shutil.rmtree(results / part / "hw4-sees/epoch-0001")
    stay = [path for part in ("models", "samples", "metrics") for path in (results / part).rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in stay}

    new_cells = [f"{epochs:04d}/dip-p01/K0002" for epochs in (1, 2, 4)]
    expected = {f"models/hw4-sees/epoch-{epochs:04d}/weights.safetensors" for epochs in (1, 4)}
    expected |= sample(*new_cells) | evaluate(*new_cells) | {"tables/cells.csv", "tables/training.csv"}
    expected |= LOSS | figures("epochs") | STRIPS["epochs"] | REPORT
    assert planned(copied, overlay=budgets) == expected
    assert run(copied, overlay=budgets) == expected
    assert {path: path.stat().st_mtime_ns for path in stay} == before
    assert files.sha256(first) == digest
    log = (results / "logs/train/hw4-sees-0004.log").read_text()
    assert "epoch 4 of 4" in log and "epoch 3 of 4" not in log


# --- code

EDITS = {
    "sampler": ("sampling.py", ("mean if noise is None", "mean * 1 if noise is None"), SAMPLED | TIMING | DRAWN | TIME),
    "training": ("training.py", ("total = 0.0", "total = 0.0 + 0"), TRAIN | AFTER_TRAINING),
    "metric": ("metrics/frechet.py", ("float(np.sum((mean_a", "float(0 + np.sum((mean_a"), evaluate(*CELLS)),
    "figure": ("figures.py", ("DPI = 150", "DPI = 149 + 1"), FIGURES | REPORT),
    "a caption of the page": ("report.html.j2", ("<h3>Words used here</h3>", "<h3>Words</h3>"), REPORT),
    "one warm start": ("warm_starts/noise.py", ("return context", "return 1 * context"), None),
}
EDITS["sampler"] = (*EDITS["sampler"][:2], EDITS["sampler"][2] | {"tables/timing.csv"})
EDITS["metric"] = (*EDITS["metric"][:2], EDITS["metric"][2] | ALL_CELLS_TABLE | REPORT)
EDITS["one warm start"] = (
    *EDITS["one warm start"][:2],
    sample(*NOISE_CELLS)
    | evaluate(*NOISE_CELLS)
    | (TIMING | {"tables/timing.csv"} | TIME)
    | (ALL_CELLS_TABLE | STRIPS["passes"] | GALLERIES | REPORT),
)


@pytest.mark.parametrize(("module", "edit", "expected"), EDITS.values(), ids=EDITS)
def test_edited_code(module, edit, expected, copied):
    replace(copied / "src/ddpm_dip" / module, edit)
    assert planned(copied) == expected
    assert run(copied) == expected


@pytest.mark.parametrize("content", [b"def start(context:\n", b"# Gr\xfc\xdfe\n"], ids=["no Python", "no UTF-8"])
def test_a_broken_module_is_named(content, copied):
    (copied / "src/ddpm_dip/warm_starts/dip.py").write_bytes(content)
    done = snakemake(copied, "-n", study="micro", source=copied)
    text = done.stdout + done.stderr
    assert done.returncode != 0 and "Traceback" not in text
    assert f"{copied}/src/ddpm_dip/warm_starts/dip.py: not readable as Python: " in text


def test_comments_layout_times_and_captions_run_nothing(copied):
    replace(copied / "config.yaml", ("seed: 0", "seed:    0 # why not"), ("# Each experiment", "# Every experiment"))
    for module in ("sampling.py", "training.py", "figures.py", "metrics/frechet.py", "data/digits.py"):
        path = copied / "src/ddpm_dip" / module
        path.write_text("# a comment\n" + path.read_text(encoding="utf-8") + "\n\n# the end\n", encoding="utf-8")
    replace(copied / "src/ddpm_dip/sampling.py", ("mean = (x - of_t", "mean = (  # here\n            x - of_t"))
    replace(copied / "src/ddpm_dip/training.py", ('"""One pass over', '"""A pass over'))
    replace(copied / "workflow/report/figure.rst", ("", "Now. "))
    ruff = [sys.executable, "-m", "ruff", "format", "--line-length", "60", copied / "src", copied / "workflow"]
    assert b"reformatted" in subprocess.run(ruff, check=True, capture_output=True).stdout
    for path in copied.rglob("*"):
        if "results" not in path.relative_to(copied).parts and ".snakemake" not in path.parts:
            os.utime(path)
    assert planned(copied) == set()
    assert run(copied) == set()


CONDA = """#!/bin/sh
case "$*" in
  *--version*) echo "conda 26.1.0" ;;
  *"info --json"*) echo '{"conda_version": "26.1.0", "conda_prefix": "/opt/conda", "platform": "linux-64"}' ;;
  *channel_priority*) echo '{"get": {"channel_priority": "strict"}}' ;;
  *) echo "conda $*: not expected here" >&2; exit 1 ;;
esac
"""


def test_use_conda_on_and_off_runs_nothing(copied, tmp_path, monkeypatch):
    """Snakemake asks conda who it is before it plans; here a stand-in answers, and has nothing more to do."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/conda").write_text(CONDA)
    (tmp_path / "bin/conda").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert planned(copied, "--use-conda") == set()
    assert run(copied) == set()


# --- copies


def test_a_fresh_clone_with_copied_results(finished, tmp_path):
    """Sources anew, results as by `cp -a`, no records of Snakemake's own."""
    clone = copy_sources(tmp_path / "clone")
    for path in clone.rglob("*"):
        os.utime(path)  # git gives files the time of the clone
    shutil.copytree(finished / "results", clone / "results")
    assert planned(clone) == set()
    assert run(clone) == set()
    assert planned(clone, overlay={"training": {"lr": 0.002}}) == TRAIN | AFTER_TRAINING
    assert planned(clone) == set()


def test_without_snakemake_s_records(copied):
    shutil.rmtree(copied / ".snakemake")
    assert planned(copied) == set()
    assert planned(copied, overlay={"seed": 1}) == ALL
    shutil.rmtree(copied / ".snakemake")
    assert planned(copied) == set()
    assert run(copied, overlay={"timing": {"repeats": 3}}) == TIMING | {"tables/timing.csv"} | TIME | REPORT


def scramble(results: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for path in sorted(results.rglob("*")):
        if path.is_file():
            when = rng.uniform(1.6e9, 1.9e9)  # some of them in the future
            os.utime(path, (when, when))


@pytest.mark.parametrize("records", [True, False], ids=["with .snakemake", "without .snakemake"])
def test_scrambled_times_never_hide_a_change_and_adopt_takes_over_what_is_intact(copied, records):
    if not records:
        shutil.rmtree(copied / ".snakemake")
    results = copied / "results/micro"
    change = {"training": {"lr": 0.002}}
    scramble(results, 1)
    assert planned(copied, overlay=change) >= TRAIN | AFTER_TRAINING
    assert planned(copied, overlay={"sampling": {"n": 9}}) >= SAMPLED | DRAWN

    altered = results / "samples/hw4-sees/epoch-0003/noise-p00/K0002.npz"
    altered.write_bytes(altered.read_bytes()[:-1])
    adopt = [sys.executable, copied / "workflow/tools/adopt.py", "results/micro"]
    done = subprocess.run(adopt, cwd=copied, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("altered, put aside") == 1 and str(altered.relative_to(copied)) in done.stdout
    expected = sample(*NOISE_CELLS) | evaluate(*NOISE_CELLS) | ALL_CELLS_TABLE | STRIPS["passes"] | GALLERIES | REPORT
    assert planned(copied) == expected
    assert planned(copied, overlay=change) >= TRAIN | AFTER_TRAINING
    assert run(copied) == expected


def test_results_of_other_settings_are_never_taken(finished, copied):
    """Cells copied in from a run with another learning rate: newer, whole, of the right names, and yet not wanted."""
    assert run(copied, overlay={"training": {"lr": 0.002}}) == TRAIN | AFTER_TRAINING
    for part in ("samples", "metrics"):
        shutil.copytree(finished / "results/micro" / part, copied / "results/micro" / part, dirs_exist_ok=True)
        for path in (copied / "results/micro" / part).rglob("K*"):
            os.utime(path)
    expected = SAMPLED | DRAWN
    assert planned(copied, overlay={"training": {"lr": 0.002}}) == expected


def test_a_lost_record_means_making_it_again(copied):
    (copied / "results/micro/dip/weights.safetensors.provenance.json").unlink()
    expected = CHANGES["DIP iterations"][1]
    assert planned(copied) == expected
