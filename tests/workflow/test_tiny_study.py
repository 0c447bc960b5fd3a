"""A tiny study, whole, by the real Snakemake: from data to report, what came out, and what would run again."""

import csv
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import jobs, snakemake
from PIL import Image

from ddpm_dip import files, tables

ROOT = Path(__file__).resolve().parents[2]
TINY = Path(__file__).with_name("tiny.yaml")
pytestmark = pytest.mark.slow


def planned(folder: Path, overlay: dict | None = None) -> Counter:
    """Jobs by rule that a dry run would do."""
    rules = {"data": "prepare_data", "dip": "fit_dip", "models": "train", "classifier": "train_classifier"}
    rules |= {"samples": "sample", "metrics": "evaluate", "timing": "time_sampling", "figures": "figure"}
    return Counter(
        rules.get(kind := path.split("/")[0], kind) for path in jobs(snakemake(folder, "-n", overlay=overlay))
    )


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_cells_table_has_each_cell_in_both_displays(study):
    table = rows(study / "tables/cells.csv")
    assert list(table[0]) == list(tables.CELL_COLUMNS)
    cells = [path for path in (study / "samples").rglob("*.npz")]
    # quality: 2 models x 3 arms + DIP alone; passes: 2 K x 3 less 2 that quality has; epochs: 2 budgets, one of which
    # passes has; DIP in training: 2
    assert len(cells) == 7 + 4 + 1 + 2
    assert len(table) == 2 * len(cells)
    assert {row["display"] for row in table} == {"minmax", "clamp"}
    for row in table:
        assert row["n"] == "9" and row["n_reference"] == "800" and row["fid_inception"] == ""
        assert float(row["fd_classifier"]) > 0 and float(row["fd_classifier_floor"]) > 0
    alone = [row for row in table if row["sampler"] == "none"]
    assert {(row["model"], row["epochs"], row["start"], row["steps"]) for row in alone} == {("", "", "dip", "0")}


def test_samples_are_those_of_the_script_alone(study, tmp_path):
    """A cell made again by hand, one thread and the other backend: the same images, so the workflow adds nothing."""
    cell = study / "samples/hw4-sees/epoch-0002/dip-p02/K0003.npz"
    command = [sys.executable, ROOT / "workflow/scripts/sample.py", "--data", study / "data/digits.npz"]
    command += ["--weights", study / "models/hw4-sees/epoch-0002/weights.safetensors", "--backend", "torch"]
    command += ["--dip", study / "dip/weights.safetensors", "--start", "dip", "--passes", 2, "--steps", 3]
    command += ["--n", 9, "--seed", 0, "--output", tmp_path / "again.npz"]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    by_hand, by_workflow = files.read_npz(tmp_path / "again.npz"), files.read_npz(cell)
    assert by_workflow["samples"].shape == (9, 1, 16, 16)
    np.testing.assert_allclose(by_hand["samples"], by_workflow["samples"], atol=1e-3)  # DIP multiplies rounding
    assert json.loads(str(by_workflow["cell"]))["model"] == "hw4-sees"


def test_training_and_timing_tables(study):
    losses = rows(study / "tables/training.csv")
    assert list(losses[0]) == ["model", "epoch", "loss", "seconds"]
    assert [(row["model"], row["epoch"]) for row in losses] == [
        *(("hw4", "1"), ("hw4", "2"), ("hw4-dip", "1")),
        *(("hw4-sees", "1"), ("hw4-sees", "2")),
    ]
    timing = rows(study / "tables/timing.csv")
    assert list(timing[0]) == [
        "method",
        "passes",
        "steps",
        "batch",
        "device",
        "backend",
        "median_s",
        "q1_s",
        "q3_s",
        "repeats",
    ]
    assert len(timing) == (2 * 2 + 1) * 2  # two K of two methods, and DIP alone; two batch sizes
    for row in timing:
        assert 0 < float(row["q1_s"]) <= float(row["median_s"]) <= float(row["q3_s"])


def test_figures_are_pictures(study):
    figures = sorted(path.name for path in (study / "figures").iterdir() if path.suffix in (".png", ".gif"))
    assert {"time-against-steps.png", "passes-heatmap.png", "strip.quality.hw4-sees.clamp.png"} <= set(figures)
    assert "denoising.hw4.dip-p02.K0003.minmax.gif" in figures
    for name in figures:
        with Image.open(study / "figures" / name) as picture:
            assert min(picture.size) > 40
            assert len(picture.convert("L").getcolors(256)) > 2, name


def test_report_is_one_file_with_every_figure(study):
    page = (study / "report/index.html").read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", page)
    pictures = [path for path in (study / "figures").iterdir() if path.suffix in (".png", ".gif")]
    assert page.count("data:image/") >= len(pictures)
    assert "not computed" in page
    assert len((study / "report/summary.txt").read_text().splitlines()) <= 25


def test_every_result_says_how_it_was_made(study):
    listed = (study / "stamps/lists/provenance.txt").read_text().splitlines()
    made = {str(path.relative_to(study.parents[1])) for path in study.rglob("*.provenance.json")}
    assert set(listed) == {name for name in made if "/report/" not in name} and len(listed) > 49  # no report before it
    for name in listed:
        record = files.read_json(study.parents[1] / name)
        output = Path(str(study.parents[1] / name).removesuffix(".provenance.json"))
        assert record["sha256"] == files.sha256(output)
        assert set(record["stamp"]) == {"spec", "code", "plugins", "texts", "before"} and record["versions"]["python"]
        for path, digest in record["inputs"].items():
            assert files.sha256(study.parents[1] / path) == digest, (name, path)


def test_nothing_runs_again(study):
    assert planned(study.parents[1]) == {}


def test_one_more_step_count_runs_its_cells_alone(study):
    jobs = planned(study.parents[1], {"experiments": {"quality": {"steps": [3, 5]}}})
    # figures: distance, heat map, epochs, brightness; 4 quality strips; 6 new animations; 2 galleries of the largest K
    assert jobs == {"sample": 6, "evaluate": 6, "tables": 1, "figure": 4 + 4 + 6 + 2, "report": 1}


def test_another_learning_rate_retrains_every_budget(study):
    jobs = planned(study.parents[1], {"training": {"lr": 0.002}})
    assert jobs["train"] == 4
    assert jobs["sample"] == jobs["evaluate"] == 13  # all but DIP alone, which no U-Net has a part in
    assert "prepare_data" not in jobs and "fit_dip" not in jobs and "train_classifier" not in jobs


def test_a_lower_budget_leaves_the_one_above_alone(study):
    models = yaml.safe_load(TINY.read_text())["models"]
    models[1]["epochs"] = [1, 2]
    assert planned(study.parents[1], {"models": models}) == {"train": 1, "report": 1}


def test_more_timing_repeats_time_alone(study):
    jobs = planned(study.parents[1], {"timing": {"repeats": 3}})
    assert jobs == {"time_sampling": 3, "tables": 1, "figure": 1, "report": 1}
    assert planned(study.parents[1]) == {}


def test_snakemakes_own_report(study, tmp_path):
    done = snakemake(study.parents[1], "--report", tmp_path / "report.zip")
    assert done.returncode == 0, done.stderr
    shutil.unpack_archive(tmp_path / "report.zip", tmp_path)
    text = next(tmp_path.rglob("report.html")).read_text(encoding="utf-8")
    for category in ("Tables", "Quality", "Passes", "Training", "Time"):
        assert category in text
    assert len(list(tmp_path.rglob("*.png"))) >= 10


NO_GPU = pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="there is a GPU")


@pytest.mark.parametrize(
    ("overlay", "says"),
    [
        ({"sampling": {"nn": 3}}, "sampling: unknown key 'nn'"),
        (
            {"experiments": {"quality": {"steps": [1200]}}},
            "experiments.quality.steps.0 is 1200; it must be at most 1000",
        ),
        ({"data": {"dataset": "mnist", "root": "nowhere", "image_size": 28}}, "data.root: 'nowhere' is not a folder"),
        ({"data": {"dataset": "image_folder", "root": "."}}, "data.root"),
        pytest.param({"sampling": {"backend": "cuda"}}, "sampling.backend: cuda needs an NVIDIA GPU", marks=NO_GPU),
        pytest.param({"device": "cuda"}, "device: cuda needs an NVIDIA GPU", marks=NO_GPU),
    ],
)
def test_a_mistake_is_one_message_before_any_job(overlay, says, tmp_path):
    done = snakemake(tmp_path, overlay=overlay)
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert says in text
    assert "Traceback" not in text
    assert not (tmp_path / "results").exists()


@pytest.mark.skipif(shutil.which("conda") is None, reason="no conda on PATH: --use-conda is not run")
def test_with_conda_environments(tmp_path):
    done = snakemake(tmp_path, "--use-conda", "results/tiny/dip/weights.safetensors")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "results/tiny/dip/weights.safetensors").exists()
