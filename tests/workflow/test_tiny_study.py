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
from conftest import ROOT, environment, jobs, snakemake
from jobfile import script, write
from PIL import Image

from ddpm_dip.jobs import files
from ddpm_dip.jobs.job import RECORD, paths_in, read_record
from ddpm_dip.models.dip_fit import fit_dip
from ddpm_dip.report import tables

pytestmark = [pytest.mark.slow, pytest.mark.long]
FIGURES = (".png",)
KINDS = {"data": "prepare_data", "dip": "fit_dip", "models": "train", "classifier": "train_classifier"}
KINDS |= {"samples": "sample", "metrics": "evaluate", "timing": "time_sampling", "figures": "figure"}
KINDS |= {"charts": "chart"}


def planned(folder: Path, overlay: dict | None = None) -> Counter:
    """Jobs by rule that a dry run would do."""
    return Counter(
        KINDS.get(kind := path.split("/")[0], kind) for path in jobs(snakemake(folder, "-n", overlay=overlay))
    )


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_cells_table_has_each_cell_in_both_displays(study):
    table = rows(study / "tables/cells.csv")
    assert list(table[0]) == list(tables.CELL_COLUMNS)
    cells = list((study / "samples").rglob("*.npz"))
    # quality: 2 models x 3 arms + DIP alone; passes: 2 K x 3 less 2 that quality has; steps: none that these lack;
    # epochs: 2 budgets, one of which passes has; DIP in training: 2; samplers: 2 x 2 less one of passes; weights: the
    # last ones; replicates: 2 x 2 less one that epochs has; question: 8 less 2 that quality has, 1 and 4; claims: 3
    assert len(cells) == 7 + 4 + 0 + 1 + 2 + 3 + 1 + 3 + 11 + 3
    assert len(table) == 2 * len(cells)
    assert {row["display"] for row in table} == {"minmax", "clamp"}
    assert len({tuple(row.values()) for row in table}) == len(table)
    for row in table:
        assert row["n"] == "17" and row["fid_inception"] == ""
        assert float(row["fd_classifier"]) > 0
    floors = rows(study / "tables/floors.csv")
    assert list(floors[0]) == list(tables.FLOOR_COLUMNS)
    assert len({(row["features"], row["display"]) for row in floors}) == len(floors)  # once, not once a cell
    assert {row["display"] for row in floors if row["features"] == "classifier"} == {"minmax", "clamp"}
    assert all(np.isfinite(float(row["floor"])) and row["n"] == "17" and row["n_reference"] == "800" for row in floors)
    alone = [row for row in table if row["model"] == "dip"]
    assert len(alone) == 2
    for row in alone:
        assert row["passes"] == "2" and row["replicate"] == "0"
        assert not any(row[axis] for axis in ("epochs", "weights", "start", "sampler", "clip_x0", "steps", "nfe"))


def test_each_sampler_and_number_of_evaluations_has_a_row(study):
    """Rows that differ in their sampler, evaluations, weights or replicate alone, none written over another."""
    table = [row for row in rows(study / "tables/cells.csv") if row["model"] == "hw4" and row["display"] == "clamp"]
    noise = [row for row in table if row["start"] == "noise" and row["replicate"] == "0"]
    last_epoch = [row for row in noise if row["epochs"] == "2"]
    ways = {(row["sampler"], row["nfe"]) for row in last_epoch if row["steps"] == "4"}
    assert ways == {(sampler, nfe) for sampler in ("ancestral", "ddim") for nfe in ("2", "4")}
    assert {row["weights"] for row in last_epoch if row["steps"] == "3"} == {"last", "ema"}
    at_one = [row for row in table if row["epochs"] == "1"]
    assert {(row["replicate"], row["start"]) for row in at_one} == {
        (replicate, start) for replicate in "01" for start in ("noise", "dip")
    }
    assert len({row["fd_classifier"] for row in table}) == len(table)  # other images, not other names


def test_all_weights_are_one_trajectory(study):
    """`weights: [last, ema]` draws from one training twice."""
    trained = sorted(str(path.relative_to(study)) for path in (study / "models").rglob("weights.safetensors"))
    budgets = ["hw4-dip/r0/epoch-0001", "hw4-sees/r0/epoch-0002"]
    budgets += ["hw4/r0/epoch-0001", "hw4/r0/epoch-0002", "hw4/r1/epoch-0001"]
    assert trained == [f"models/{budget}/weights.safetensors" for budget in budgets]
    tensors, _ = files.read_safetensors(study / trained[-2])
    assert {name.partition(".")[0] for name in tensors} == {"last", "ema", "best_training_loss"}
    cells = [study / f"samples/hw4/r0/epoch-0002-{kind}/noise/ancestral/K0003-nfe0003.npz" for kind in ("last", "ema")]
    last, ema = map(files.read_npz, cells)
    np.testing.assert_array_equal(last["frames"][0], ema["frames"][0])
    assert not np.array_equal(last["samples"], ema["samples"])
    third = {"experiments": {"weights": {"grid": {"weights": "best_training_loss"}}}}
    assert planned(study.parents[1], third)["train"] == 0


def test_replicates_share_nothing_but_the_data(study):
    """Other latents, another net, and DIP fitted to another image: the replicate's own."""
    cells = [study / f"samples/hw4/r{r}/epoch-0001-ema/noise/ancestral/K0003-nfe0003.npz" for r in (0, 1)]
    starts = [files.read_npz(path)["frames"][0] for path in cells]
    assert not np.isclose(*starts).any()
    nets = [files.read_safetensors(study / f"models/hw4/r{r}/epoch-0001/weights.safetensors")[0] for r in (0, 1)]
    kernels = [name for name, tensor in nets[0].items() if tensor.ndim == 4]
    assert kernels and not any(np.array_equal(nets[0][name], nets[1][name]) for name in kernels)
    train = files.read_npz(study / "data/digits.npz")["train"]
    for replicate in (0, 1):
        clean = files.read_npz(study / f"dip/r{replicate}/fit.npz")["clean"]
        np.testing.assert_array_equal(clean, fit_dip(train[replicate], 1, replicate).clean.numpy())
    assert not np.array_equal(*(files.read_npz(study / f"dip/r{r}/fit.npz")["clean"] for r in (0, 1)))


def test_samples_are_those_of_the_script_alone(study, tmp_path):
    """A cell made again by hand, one thread and the other backend: the same images, so the workflow adds nothing."""
    cell = {"model": "hw4-sees", "replicate": 0, "epochs": 2, "weights": "ema", "start": "dip", "passes": 2}
    cell |= {"sampler": "ancestral", "clip_x0": False, "steps": 3, "nfe": 3}
    inputs = {"data": study / "data/digits.npz", "dip": study / "dip/r0/weights.safetensors"}
    inputs["weights"] = study / "models/hw4-sees/r0/epoch-0002/weights.safetensors"
    settings = {"family": "unet", "cell": cell, "n": 17, "backend": "torch"}
    inputs = {role: str(path) for role, path in inputs.items()}
    path = write(tmp_path, "sample", settings, inputs, {"samples": "again.npz"})
    done = script("sample", path)
    assert done.returncode == 0, done.stderr
    by_hand = files.read_npz(tmp_path / "again.npz")
    name = "hw4-sees/r0/epoch-0002-ema/dip-p02/ancestral/K0003-nfe0003"
    by_workflow = files.read_npz(study / f"samples/{name}.npz")
    assert by_workflow["samples"].shape == (17, 1, 16, 16)
    np.testing.assert_allclose(by_hand["samples"], by_workflow["samples"], atol=1e-3)  # DIP multiplies rounding
    assert json.loads(str(by_workflow["cell"])) == cell


def test_any_job_runs_by_hand_from_its_file(study, tmp_path):
    """Its very file, in a copy of the study: the same bytes, and a record that the ledger takes."""
    assert planned(study.parents[1]) == {}  # the job files are this study's again, whatever was asked of it before
    copy = tmp_path / "results" / "tiny"
    shutil.copytree(study, copy)
    cell = "hw4/r0/epoch-0002-ema/noise/ddim/K0004-nfe0002"
    for stage, name, output in (
        ("sample", cell, f"samples/{cell}.npz"),
        ("evaluate", cell, f"metrics/{cell}.json"),
        ("tables", "cells", "tables/cells.csv"),
    ):
        (copy / output).unlink()
        (copy / f"{output}{RECORD}").unlink()
        words = [sys.executable, ROOT / f"workflow/scripts/{stage}.py", f"results/tiny/jobs/{stage}/{name}.json"]
        subprocess.run(list(map(str, words)), cwd=tmp_path, env=environment(), check=True, capture_output=True)
        assert (copy / output).read_bytes() == (study / output).read_bytes()
    assert planned(tmp_path) == {}


def test_training_and_timing_tables(study):
    losses = rows(study / "tables/training.csv")
    assert list(losses[0]) == ["model", "replicate", "epoch", "loss", "seconds"]
    assert [(row["model"], row["replicate"], row["epoch"]) for row in losses] == [
        *(("hw4", "0", "1"), ("hw4", "0", "2"), ("hw4", "1", "1"), ("hw4-dip", "0", "1")),
        *(("hw4-sees", "0", "1"), ("hw4-sees", "0", "2")),
    ]
    timing = rows(study / "tables/timing.csv")
    assert {row["model"] for row in timing} == {"hw4", "hw4-dip", "hw4-sees"}  # hw4-dip's net is hw4
    starts = {(row["start"], row["passes"]) for row in timing if (row["model"], row["what"]) == ("hw4-dip", "start")}
    assert starts == {("noise", ""), ("mean-image", ""), ("dip", "1"), ("dip", "2"), ("dip-every-step", "2")}
    chains = [row for row in timing if row["what"] == "chain"]
    assert len(chains) == 3 * 2 * 2 * 2  # models, K, batch sizes, rounds
    assert all(float(row["seconds"]) > 0 for row in timing)
    cells = rows(study / "tables/cells.csv")
    assert cells and all(float(row["seconds"]) > 0 for row in cells)  # of every start and sampler, and of DIP alone


def test_figures_are_pictures(study):
    figures = sorted(path.name for path in (study / "figures").iterdir() if path.suffix in FIGURES)
    assert {"time.png", "heatmap.passes.png", "strips.quality.hw4-sees.clamp.png", "loss.png", "dip-fit.png"} <= set(
        figures
    )
    assert {"curves.steps.png", "curves.samplers.png", "gallery.minmax.png"} <= set(figures)
    assert any(name.startswith("drift.steps") for name in figures)
    for name in figures:
        with Image.open(study / "figures" / name) as picture:
            assert min(picture.size) > 40
            assert len(picture.convert("L").getcolors(256)) > 2, name


def test_report_is_one_file_with_every_figure(study):
    page = (study / "report/index.html").read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", page)
    pictures = [path for path in (study / "figures").iterdir() if path.suffix in FIGURES]
    assert page.count("data:image/") >= len(pictures)
    assert "not computed" in page
    assert len((study / "report/summary.txt").read_text().splitlines()) <= 26


def test_every_result_says_how_it_was_made(study):
    assert planned(study.parents[1]) == {}  # job files that other dry runs looked at others with are this study's again
    listed = files.read_json(study / "jobs/report/report.json")["hints"]["results"]
    made = {str(path.relative_to(study)).removesuffix(RECORD) for path in study.rglob(f"*{RECORD}")}
    assert set(listed) == made - {"report/index.html", "report/summary.txt"}
    assert len(listed) == len(set(listed)) > 49
    for name in made:
        record = read_record(study / name)
        assert record["output"] == name and record["sha256"] == files.sha256(study / name)
        assert set(record["job"]) == {"stage", "name", "settings", "inputs", "outputs", "code", "from"}
        wanted = files.read_json(study / f"jobs/{record['job']['stage']}/{record['job']['name']}.json")
        assert record["job"] == {key: value for key, value in wanted.items() if key != "hints"}
        assert name in record["job"]["outputs"].values() and record["versions"]["python"]
        asked = [path for value in record["job"]["inputs"].values() for path in paths_in(value)]
        assert set(asked) == set(record["job"]["from"])
        assert set(asked) <= set(record["read"]), name
        for path, digest in record["read"].items():
            assert files.sha256(study / path) == digest, (name, path)


def test_nothing_runs_again(study):
    assert planned(study.parents[1]) == {}


def test_one_more_step_count_runs_its_cells_alone(study):
    jobs = planned(study.parents[1], {"experiments": {"quality": {"grid": {"steps": [3, 5]}}}})
    # one cell is there: question has it. Tables: cells, pseudo, noise, starts, claims. Figures: curves of four
    # experiments and the heat map; pareto, forest, start-check; 4 quality strips; 2 galleries
    drawn = {"figure": 5 + 3 + 4 + 2, "chart": 5 + 2, "report": 1}
    assert jobs == {"sample": 5, "evaluate": 5, "tables": 5} | drawn


def test_another_learning_rate_retrains_every_budget(study):
    jobs = planned(study.parents[1], {"training": {"lr": 0.002}})
    assert jobs["train"] == 5
    assert jobs["sample"] == jobs["evaluate"] == 34  # all but DIP alone, which no U-Net has a part in
    assert "prepare_data" not in jobs and "fit_dip" not in jobs and "train_classifier" not in jobs


def test_a_lower_budget_leaves_the_one_above_alone(study):
    """A budget that no cell uses is not trained; one below those that are there is, and they stay."""
    lower = {"models": {"hw4-sees": {"epochs": [1, 2]}}}
    assert planned(study.parents[1], lower) == {"report": 1}
    cell = {"grid": {"model": "hw4-sees", "epochs": 1, "steps": 3, "start": "noise"}, "show": {}}
    jobs = planned(study.parents[1], lower | {"experiments": {"lower": cell}})
    assert jobs == {"train": 1, "sample": 1, "evaluate": 1, "tables": 4, "figure": 7, "chart": 7, "report": 1}


def test_more_rounds_time_alone(study):
    jobs = planned(study.parents[1], {"timing": {"rounds": 3}})
    assert jobs.pop("figure") < len([path for path in (study / "figures").iterdir() if path.suffix in FIGURES]) / 2
    # times, cells, which have their seconds, claims, and the charts of all these
    assert jobs == {"time_sampling": 2, "tables": 3, "chart": 7, "report": 1}
    assert planned(study.parents[1]) == {}


def test_another_study_takes_what_is_the_same(study):
    """`reuse` links the results of the very same jobs, whatever else that study asks for."""
    overlay = {"study": "tiny-again", "reuse": ["tiny"], "experiments": {"steps": None, "dip_in_training": None}}
    overlay["claims"] = {"A8": None}
    folder = study.parents[1]
    assert set(planned(folder, overlay)) <= {"time_sampling", "tables", "figure", "chart", "report"}  # of fewer starts
    done = snakemake(folder, overlay=overlay)
    assert {KINDS.get(path.split("/")[0]) for path in jobs(done)} <= {
        None,
        "figure",
        "chart",
        "time_sampling",
    }
    again = folder / "results/tiny-again"
    data = again / "data/digits.npz"
    assert data.stat().st_ino == (study / "data/digits.npz").stat().st_ino  # a link, no second copy
    assert not list((again / "samples/hw4-dip").glob("*")) and (again / "report/index.html").exists()
    assert planned(folder) == {} and planned(folder, overlay) == {}


def test_snakemakes_own_report(study, tmp_path):
    done = snakemake(study.parents[1], "--report", tmp_path / "report.zip")
    assert done.returncode == 0, done.stderr
    shutil.unpack_archive(tmp_path / "report.zip", tmp_path)
    text = next(tmp_path.rglob("report.html")).read_text(encoding="utf-8")
    for category in ("Tables", "Question", "Quality", "Passes", "Training", "Time"):
        assert category in text
    assert len(list(tmp_path.rglob("*.png"))) >= 10


NO_GPU = pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="there is a GPU")


@pytest.mark.parametrize(
    ("overlay", "says"),
    [
        ({"sampling": {"nn": 3}}, "sampling: unknown key 'nn'"),
        (
            {"experiments": {"quality": {"grid": {"steps": [1200]}}}},
            "experiments.quality.grid.steps is 1200; it must be at most 1000",
        ),
        ({"experiments": {"quality": {"grid": {"sampler": "dim"}}}}, "did you mean 'ddim'?"),
        ({"experiments": {"samplers": {"grid": {"nfe": 5}}}}, "nfe must be at most steps"),
        ({"claims": {"A4": {"better": {"start": "dipp"}}}}, "did you mean 'dip'?"),
        ({"claims": {"A5": {"margin": 0}}}, "claims.A5.margin"),
        ({"seed": 1}, "config: seed is now three: seeds: {"),
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


def test_all_mistakes_are_said_at_once(tmp_path):
    overlay = {"sampling": {"nn": 3}, "dip": {"iterations": 0}, "timing": {"models": ["hw5"]}}
    done = snakemake(tmp_path, overlay=overlay)
    text = done.stdout + done.stderr
    for says in ("sampling: unknown key 'nn'", "dip.iterations is 0", "timing.models: 'hw5' is not among the models"):
        assert f"config: {says}" in text
    assert done.returncode != 0 and "Traceback" not in text


@pytest.mark.skipif(shutil.which("conda") is None, reason="no conda on PATH: --use-conda is not run")
def test_with_conda_environments(tmp_path):
    done = snakemake(tmp_path, "--use-conda")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "results/tiny/report/index.html").exists()
