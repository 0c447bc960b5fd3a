"""What runs again after a change, and nothing else: each case asked of the ledger, then run by the real Snakemake.

Jobs are named by their first output. `--case NAME` is pytest's `-k NAME`.
"""

import copy
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
from snakemake.utils import update_config

from ddpm_dip import study
from ddpm_dip.jobs import code, files, ledger
from ddpm_dip.jobs.job import RECORD
from ddpm_dip.study import plan, why

pytestmark = pytest.mark.slow
MICRO = yaml.safe_load((HERE / "micro.yaml").read_text())

DATA, DIP = {"data/digits.npz"}, {"dip/r0/weights.safetensors"}
TRAIN = {f"models/hw4-sees/r0/epoch-{e:04d}/weights.safetensors" for e in (1, 3)}
CLASSIFIERS, REFERENCE = {f"classifier/seed-{seed}.safetensors" for seed in (0, 1)}, {"reference/features.npz"}
FLOORS = {"tables/floors.csv"}
NOISE, DIP_START = "noise/ancestral", "dip-p01/ancestral"
NOISE_CELLS = {f"0003-ema/{NOISE}/K0002-nfe0002"}
DIP_CELL = f"0003-ema/{DIP_START}/K0002-nfe0002"
DIP_CELLS = {f"{epochs}-ema/{DIP_START}/K0002-nfe0002" for epochs in ("0003", "0001")}
TIMING = {"timing/hw4-sees.csv"}
TABLES = {f"tables/{name}.csv" for name in ("cells", "pseudo", "noise", "training", "timing")}
REPORT = {"report/index.html"}


CHARTED = ("curves", "forest", "heatmap", "loss", "pareto")  # the kinds that the page has as charts, too
SCRIPT = {"report/vega.js"}


def figures(*names: str) -> set[str]:
    charts = {f"charts/{name}.json" for name in names if name.partition(".")[0] in CHARTED}
    return {f"figures/{name}.png" for name in names} | charts


LOSS, FIT, TIME = figures("loss"), figures("dip-fit"), figures("time")
STARTS = {"tables/starts.csv"} | figures("start-check")
CLAIMS = {"tables/claims.csv"} | figures("forest")
CURVES = figures("heatmap.passes", "curves.epochs")
GALLERIES = figures("gallery.minmax", "gallery.clamp")
STRIPS = {
    part.partition(".")[0]: figures(f"strips.{part}.minmax", f"strips.{part}.clamp")
    for part in ("passes.hw4-sees", "epochs")
}
PICTURES = GALLERIES | STRIPS["passes"] | STRIPS["epochs"]
FIGURES = LOSS | FIT | TIME | CURVES | PICTURES | figures("start-check", "forest")


def sample(*cells: str, replicate: int = 0) -> set[str]:
    return {f"samples/hw4-sees/r{replicate}/epoch-{cell}.npz" for cell in cells}


def evaluate(*cells: str, replicate: int = 0) -> set[str]:
    return {f"metrics/hw4-sees/r{replicate}/epoch-{cell}.json" for cell in cells}


CELLS = NOISE_CELLS | DIP_CELLS
SAMPLED = sample(*CELLS) | evaluate(*CELLS)
OF_CELLS = {f"tables/{name}.csv" for name in ("cells", "pseudo", "noise")}
ALL_CELLS_TABLE = OF_CELLS | CLAIMS | CURVES  # what changes with any cell's metrics
DRAWN = ALL_CELLS_TABLE | STARTS | PICTURES | REPORT  # what changes with all cells
# what changes with the times
RATES = TIMING | {"tables/timing.csv", "tables/cells.csv"} | TIME | CLAIMS | CURVES | REPORT
DISTANCES = REFERENCE | FLOORS
ALL = (
    SCRIPT
    | DATA
    | DIP
    | TRAIN
    | CLASSIFIERS
    | DISTANCES
    | SAMPLED
    | STARTS
    | TIMING
    | TABLES
    | CLAIMS
    | FIGURES
    | REPORT
)
AFTER_TRAINING = SAMPLED | STARTS | TIMING | TABLES | CLAIMS | (FIGURES - FIT) | REPORT


def test_the_first_run_does_everything(first_run):
    assert first_run[1] == ALL


def test_each_job_loads_no_module_that_its_file_leaves_out(first_run):
    """The real import graph, lazy imports and modules found by name included."""
    folder, done = first_run
    notes = [json.loads(path.read_text()) for path in (folder / "listener").glob("loaded-*.json")]
    notes = [note for note in notes if any(name.startswith("stages.") for name in note["modules"])]  # no mere scripts
    assert len(notes) == len(done)
    loaded = set()
    for note in notes:
        modules = {name for name in note["modules"] if name.split(".")[0] not in code.NEUTRAL}
        assert modules <= json.loads((folder / note["job"]).read_text())["code"].keys(), note
        loaded |= modules
    listened = {"data.digits", "sampling.warm_starts.dip", "evaluation.frechet", "report.figures.loss", "models.unet"}
    assert listened <= loaded


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

BETWEEN = "models/hw4-sees/r0/epoch-0002/weights.safetensors"


def asked(experiment: str, **axes: object) -> dict:
    return {"experiments": {experiment: {"grid": axes}}}


def cells_and_what_follows(*cells: str) -> set[str]:
    return sample(*cells) | evaluate(*cells) | ALL_CELLS_TABLE | REPORT


ROWS = ["start", "passes", "sampler"]
DDIM = asked("passes", sampler=["ancestral", "ddim"])
DDIM["experiments"]["passes"]["show"] = {"heatmap": {"row": ROWS}, "strips": {"row": ROWS}}
FEWER = asked("passes", steps=2, nfe=[1, 2])
FEWER["experiments"]["passes"]["show"] = {"heatmap": {"x": ["steps", "nfe"]}, "strips": {"block": ["steps", "nfe"]}}
CHANGES = {
    "a step": (
        asked("passes", steps=[2, 3]),
        cells_and_what_follows(f"0003-ema/{NOISE}/K0003-nfe0003", f"0003-ema/{DIP_START}/K0003-nfe0003")
        | STARTS
        | STRIPS["passes"]
        | GALLERIES,  # they show the largest K
    ),
    "a pass": (
        asked("passes", passes=[1, 2]),
        cells_and_what_follows("0003-ema/dip-p02/ancestral/K0002-nfe0002") | STARTS | STRIPS["passes"] | RATES,
    ),
    "a sampler": (
        DDIM,
        cells_and_what_follows("0003-ema/noise/ddim/K0002-nfe0002", "0003-ema/dip-p01/ddim/K0002-nfe0002")
        | STRIPS["passes"]
        | RATES,
    ),
    "fewer evaluations": (
        FEWER,
        cells_and_what_follows(f"0003-ema/{NOISE}/K0002-nfe0001", f"0003-ema/{DIP_START}/K0002-nfe0001")
        | STARTS  # the first cell with a start stands for it
        | STRIPS["passes"],
    ),
    "a replicate": (
        {"seeds": {"replicates": [0, 1]}} | asked("epochs", replicate=[0, 1]),
        {path.replace("/r0/", "/r1/") for path in DIP | TRAIN | SAMPLED}
        | ALL_CELLS_TABLE
        | STARTS
        | {"tables/training.csv"}
        | LOSS
        | REPORT,
    ),
    "a budget between": (
        {"models": {"hw4-sees": {"epochs": [1, 2, 3]}}},
        {BETWEEN} | cells_and_what_follows(f"0002-ema/{DIP_START}/K0002-nfe0002") | STRIPS["epochs"],
    ),
    "a start less": (
        asked("passes", start="dip"),
        ALL_CELLS_TABLE | STARTS | STRIPS["passes"] | REPORT,  # a claim still asks for the cell, now as the last one
    ),
    "a figure's axes": (
        {"experiments": {"passes": {"show": {"heatmap": {"row": ["passes"], "x": ["steps", "start"]}}}}},
        figures("heatmap.passes") | REPORT,
    ),
    "other weights": (
        {"training": {"weights": "last"}},
        {path.replace("-ema/", "-last/") for path in SAMPLED} | RATES | DRAWN,
    ),
    "n": ({"sampling": {"n": 17}}, SAMPLED | FLOORS | DRAWN),
    "the data's seed": ({"seeds": {"data": 1}}, ALL - SCRIPT),
    "a classifier's seed": (
        {"seeds": {"classifiers": [0, 7]}},
        {"classifier/seed-7.safetensors"} | DISTANCES | evaluate(*CELLS) | ALL_CELLS_TABLE | REPORT,
    ),
    "DIP iterations": (
        {"dip": {"iterations": 3}},
        DIP
        | sample(*DIP_CELLS)
        | evaluate(*DIP_CELLS)
        | OF_CELLS
        | STARTS
        | RATES
        | FIT
        | STRIPS["passes"]
        | STRIPS["epochs"],
    ),
    "learning rate": ({"training": {"lr": 0.002}}, TRAIN | AFTER_TRAINING),
    "a metric's option": (
        {"metrics": {"classifier_epochs": 2}},
        CLASSIFIERS | DISTANCES | evaluate(*CELLS) | ALL_CELLS_TABLE | REPORT,
    ),
    "timing rounds": ({"timing": {"rounds": 3}}, RATES),
    "a plot's option": ({"figures": {"dpi": 100}}, {path for path in FIGURES if path.startswith("figures/")} | REPORT),
    "two params swapped": ({"timing": {"batches": [2], "steps": [1]}}, RATES),  # were 1 and 2
    "keys in another order": (
        {key: MICRO[key] for key in reversed(MICRO)}
        | {"timing": {key: MICRO["timing"][key] for key in reversed(MICRO["timing"])}},
        set(),
    ),
    "nothing": ({}, set()),
}
QUICK = ["a sampler", "nothing"]
# the ledger is asked of every change, the real Snakemake of some, most of them in the long run
RUN = [*QUICK, "a budget between", "n", "DIP iterations", "keys in another order"]


ADDED = ["a step", "a pass", "a budget between", "a sampler", "a replicate", "fewer evaluations"]


@pytest.mark.parametrize("change", CHANGES)
def test_the_ledger_knows_what_a_changed_setting_takes(change, finished):
    overlay, expected = CHANGES[change]
    assert wanted(finished, overlay) == expected


@pytest.mark.parametrize("change", [pytest.param(c, marks=[] if c in QUICK else [pytest.mark.long]) for c in RUN])
def test_a_changed_setting(change, copied):
    overlay, expected = CHANGES[change]
    weights = (copied / "results/micro/models").rglob("weights.safetensors")
    before = {path: path.stat().st_mtime_ns for path in weights}
    if change in QUICK:
        assert planned(copied, overlay=overlay) == expected
        assert planned(copied) == set()  # looking changes nothing
    assert jobs(snakemake(copied, study="micro", source=copied, overlay=overlay)) == expected
    assert wanted(copied, overlay) == set()
    if expected & {BETWEEN}:
        log = (copied / "results/micro/logs/train/hw4-sees/r0/epoch-0002.log").read_text()
        assert "epoch 2 of 2" in log and "epoch 1 of 2" not in log  # from the budget below
    if not expected & TRAIN:
        assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    if change in ADDED:  # and removed again: tables, figures and report alone
        made = ("models/", "samples/", "metrics/", "dip/")
        assert wanted(copied, {}) == {job for job in expected if not job.startswith(made)}


def wanted(folder: Path, overlay: dict) -> set[str]:
    """The first output of each job that the ledger, asked in this process, says a run would do."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    for part in (copy.deepcopy(MICRO), copy.deepcopy(overlay)):
        update_config(config, part)
    found = ledger.entries(
        folder / "results/micro", plan.plan(study.read(config), plan.Machine("torch", "torch", "torch", 8, "torch"))
    )
    return {next(iter(entry.planned.outputs.values())) for entry in why.needed(found).values()}


def test_more_images_keep_the_first_ones_bit_for_bit(copied):
    path = copied / "results/micro" / sample(*NOISE_CELLS).pop()
    before = files.read_npz(path)["samples"]
    overlay = {"sampling": {"n": 19}}
    assert run(copied, overlay=overlay) == SAMPLED | FLOORS | DRAWN
    after = files.read_npz(path)["samples"]
    assert before.shape[0] == 16 and after.shape[0] == 19
    np.testing.assert_array_equal(after[:16], before)
    for cell in (copied / "results/micro/samples").rglob("*.npz"):
        cell.unlink()
    run(copied, *sorted(f"results/micro/{each}" for each in sample(*CELLS)), overlay=overlay)
    np.testing.assert_allclose(files.read_npz(path)["samples"], after, atol=1e-5)  # all nineteen drawn at once


@pytest.mark.long
def test_two_kinds_of_weights_train_nothing(copied):
    overlay = asked("epochs", weights=["last", "ema"])
    done = run(copied, overlay=overlay)
    assert not any(path.startswith("models/") for path in done)
    new = {path for path in done if path.startswith("samples/")}
    assert new == sample(*(f"{epochs}-last/{DIP_START}/K0002-nfe0002" for epochs in ("0001", "0003")))


@pytest.mark.long
def test_budgets_below_and_above_those_that_are_there(copied):
    """The lowest trains from scratch, the highest from the one below it; those between stay."""
    budgets = {"models": {"hw4-sees": {"epochs": [1, 2, 3, 4]}}, "timing": None}
    budgets["experiments"] = {"passes": None, "mine": None}
    budgets["claims"] = {"A4": None}
    results = copied / "results/micro"
    first = results / "models/hw4-sees/r0/epoch-0001/weights.safetensors"
    digest = files.sha256(first)
    done = snakemake(copied, f"results/micro/{BETWEEN}", study="micro", source=copied, overlay=budgets)
    assert jobs(done) == {BETWEEN}
    shutil.rmtree(results / "models/hw4-sees/r0/epoch-0001")
    for part in ("samples", "metrics"):
        shutil.rmtree(results / part / "hw4-sees/r0/epoch-0001-ema")
    stay = [path for part in ("models", "samples", "metrics") for path in (results / part).rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in stay}

    new_cells = [f"{epochs:04d}-ema/{DIP_START}/K0002-nfe0002" for epochs in (1, 2, 4)]
    expected = {f"models/hw4-sees/r0/epoch-{epochs:04d}/weights.safetensors" for epochs in (1, 4)}
    expected |= sample(*new_cells) | evaluate(*new_cells) | OF_CELLS | CLAIMS | {"tables/training.csv"}
    expected |= {"tables/starts.csv"} | LOSS | figures("curves.epochs") | STRIPS["epochs"] | REPORT
    assert planned(copied, overlay=budgets) == expected
    assert run(copied, overlay=budgets) == expected
    assert {path: path.stat().st_mtime_ns for path in stay} == before
    assert files.sha256(first) == digest
    log = (results / "logs/train/hw4-sees/r0/epoch-0004.log").read_text()
    assert "epoch 4 of 4" in log and "epoch 3 of 4" not in log


# --- code

EDITS = {
    "sampler": (
        "sampling/samplers/ancestral.py",
        ("ADDS_NOISE = True", "ADDS_NOISE = not False"),
        SAMPLED | RATES | DRAWN,
    ),
    "another sampler": ("sampling/samplers/ddim.py", ("ADDS_NOISE = False", "ADDS_NOISE = not True"), set()),
    "training": ("models/families/unet.py", ("total = 0.0", "total = 0.0 + 0"), TRAIN | AFTER_TRAINING),
    "another family": ("models/families/dcgan.py", ("total_d = total_g = 0.0", "total_d = total_g = 0.0 + 0"), set()),
    "metric": (
        "evaluation/frechet.py",
        ("float(np.sum((mean_a", "float(0 + np.sum((mean_a"),
        evaluate(*CELLS) | FLOORS | TABLES | CLAIMS | FIGURES | REPORT,  # tables and figures know the metrics by name
    ),
    "figure": ("report/figures/loss.py", ('yscale("log")', 'yscale("lo" + "g")'), LOSS | REPORT),
    "a caption of the page": ("report/templates/page.html.j2", (">Words used here</h2>", ">Words</h2>"), REPORT),
    "one warm start": (
        "sampling/warm_starts/noise.py",
        ("return context", "return 1 * context"),
        sample(*NOISE_CELLS) | evaluate(*NOISE_CELLS) | OF_CELLS | STARTS | RATES | STRIPS["passes"] | GALLERIES,
    ),
}


RUN_EDITED = ("sampling/warm_starts/noise.py", "report/figures/loss.py", "models/families/dcgan.py")


@pytest.mark.parametrize(("module", "edit", "expected"), EDITS.values(), ids=EDITS)
@pytest.mark.long
def test_edited_code(module, edit, expected, copied):
    replace(copied / "src/ddpm_dip" / module, edit)
    assert (run if module in RUN_EDITED else planned)(copied) == expected


@pytest.mark.parametrize("content", [b"def start(context:\n", b"# Gr\xfc\xdfe\n"], ids=["no Python", "no UTF-8"])
def test_a_broken_module_is_named(content, copied):
    (copied / "src/ddpm_dip/sampling/warm_starts/dip.py").write_bytes(content)
    done = snakemake(copied, "-n", study="micro", source=copied)
    text = done.stdout + done.stderr
    assert done.returncode != 0 and "Traceback" not in text
    assert f"{copied}/src/ddpm_dip/sampling/warm_starts/dip.py: not readable as Python: " in text


@pytest.mark.long
def test_comments_layout_times_and_captions_run_nothing(copied):
    replace(
        copied / "config.yaml",
        ("{ data: 0,", "{ data:    0, # why not\n  "),
        ("# Each experiment", "# Every experiment"),
    )
    sampler, trainer = (copied / "src/ddpm_dip" / name for name in ("sampling/chain.py", "models/families/unet.py"))
    others = (
        copied / "src/ddpm_dip" / name for name in ("report/canvas.py", "evaluation/frechet.py", "data/digits.py")
    )
    for path in (sampler, trainer, *others):
        path.write_text("# a comment\n" + path.read_text(encoding="utf-8") + "\n\n# the end\n", encoding="utf-8")
    replace(trainer, ('"""One pass over', '"""A pass over'))
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


@pytest.mark.long
def test_use_conda_on_and_off_runs_nothing(copied, tmp_path, monkeypatch):
    """Snakemake asks conda who it is before it plans; here a stand-in answers, and has nothing more to do."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/conda").write_text(CONDA)
    (tmp_path / "bin/conda").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert planned(copied, "--use-conda") == set()
    assert run(copied) == set()


# --- copies


@pytest.mark.long
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


@pytest.mark.long
def test_without_snakemake_s_records(copied):
    shutil.rmtree(copied / ".snakemake")
    assert planned(copied) == set()
    assert planned(copied, overlay={"seeds": {"data": 1}}) == ALL - SCRIPT
    shutil.rmtree(copied / ".snakemake")
    assert planned(copied) == set()
    assert planned(copied, overlay={"timing": {"rounds": 3}}) == RATES


def scramble(results: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for path in sorted(results.rglob("*")):
        if path.is_file():
            when = rng.uniform(0, 1.9e9)  # some before 2000, some in the future
            os.utime(path, (when, when))


@pytest.mark.parametrize(
    "records",
    [pytest.param(True, marks=pytest.mark.long), False],
    ids=["with .snakemake", "without .snakemake"],
)
def test_scrambled_times_run_nothing_and_hide_no_change(copied, records):
    """Results copied without their times: no command is needed, and a change is seen all the same."""
    if not records:
        shutil.rmtree(copied / ".snakemake")
    scramble(copied / "results/micro", 1)
    assert planned(copied) == set()
    change = {"training": {"lr": 0.002}}
    assert planned(copied, overlay=change) == TRAIN | AFTER_TRAINING
    scramble(copied / "results/micro", 2)
    assert planned(copied, overlay={"sampling": {"n": 17}}) == SAMPLED | FLOORS | DRAWN
    assert run(copied) == set()


@pytest.mark.long
def test_results_of_other_settings_are_never_taken(finished, copied):
    """Cells copied in from a run with another learning rate: newer, whole, of the right names, and yet not wanted."""
    assert run(copied, overlay={"training": {"lr": 0.002}}) == TRAIN | AFTER_TRAINING
    for part in ("samples", "metrics"):
        shutil.copytree(finished / "results/micro" / part, copied / "results/micro" / part, dirs_exist_ok=True)
        for path in (copied / "results/micro" / part).rglob("K*"):
            os.utime(path)
    assert planned(copied, overlay={"training": {"lr": 0.002}}) == SAMPLED | DRAWN
    mine = sample(*NOISE_CELLS).pop()
    shutil.copytree(finished / "results/micro/samples", copied / "results/micro/samples", dirs_exist_ok=True)
    assert mine in planned(copied, overlay={"training": {"lr": 0.002}})


@pytest.mark.long
def test_a_lost_record_means_making_it_again(copied):
    (copied / f"results/micro/dip/r0/weights.safetensors{RECORD}").unlink()
    assert planned(copied) == CHANGES["DIP iterations"][1]


@pytest.mark.long
def test_lost_inputs_of_what_is_there_are_not_made_again(copied):
    """Samples and data, gigabytes in a large study, may go once the report is there; a new cell needs the data."""
    results = copied / "results/micro"
    shutil.rmtree(results / "samples")
    shutil.rmtree(results / "data")
    assert planned(copied) == set()
    expected = DATA | cells_and_what_follows("0003-ema/dip-p02/ancestral/K0002-nfe0002") | STARTS | STRIPS["passes"]
    expected |= TIMING | TIME | {"tables/timing.csv"}  # of one pass
    shown_beside_it = sample(*NOISE_CELLS, DIP_CELL)
    assert planned(copied, overlay=asked("passes", passes=[1, 2])) == expected | shown_beside_it


@pytest.mark.long
def test_a_lost_state_is_made_again_where_a_training_goes_on_from_it_and_nothing_else_is(copied):
    (copied / "results/micro/models/hw4-sees/r0/epoch-0003/state.safetensors").unlink()
    assert planned(copied) == set()
    overlay = {"models": {"hw4-sees": {"epochs": [1, 3, 4]}}}
    done = planned(copied, overlay=overlay)
    assert {path for path in done if path.startswith("models/")} == {
        f"models/hw4-sees/r0/epoch-{epochs:04d}/weights.safetensors" for epochs in (3, 4)
    }
    assert sample(*CELLS) & done == set()
