"""Each benchmark at its smallest size: it runs, and its tables have what they promise; never how fast anything is."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ddpm_dip.jobs.errors import UserError
from ddpm_dip.sampling import backend_choice

ROOT = Path(__file__).resolve().parents[2]
LANES = backend_choice.has_lanes()
BACKENDS = ["ours-torch", *["ours-lanes"] * LANES, "ours-openvino", "ours-openvino-bf16"]
TRAINERS = {"ours-torch", *["ours-lanes"] * LANES}


def run(script: str, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "benchmarks" / script, *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)


def tables(script: str, output: Path, *arguments: object) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Its summary and its single rounds; the chart and a printed table are there, too."""
    done = run(f"{script}.py", *arguments, "--output", output)
    assert done.returncode == 0, done.stderr
    assert (output / f"{script}.png").read_bytes().startswith(b"\x89PNG")
    table, rounds = (pd.read_csv(output / f"{script}{suffix}.csv") for suffix in ("", "-rounds"))
    assert all(name in done.stdout for name in table.iloc[:, 0].astype(str))
    assert (table["device"] == "cpu").all() and (table["threads"] == 1).all() and rounds["machine"].notna().all()
    return table, rounds


def check_ratios(table: pd.DataFrame, baseline: str) -> None:
    """Positive and finite, and the baseline's own are 1."""
    ratios = table[[c for c in table if c.startswith(("ratio", "cpu_ratio", "us", "cpu_us"))]].to_numpy()
    assert ratios.shape[1] == 12 and np.isfinite(ratios).all() and (ratios > 0).all()
    ones = table.loc[table["arm"] == baseline, [c for c in table if "ratio" in c]].to_numpy()
    assert ones.size and (ones == 1).all()


SAMPLING = ("--rounds", 1, "--sides", 28, "--batches", 2, "--timed-steps", 2, "--steps", 3, "--accuracy-batch", 2)


@pytest.mark.long
def test_sampling(tmp_path):
    folder = tmp_path / "original"
    folder.mkdir()
    (folder / "net.py").write_text("import torch\n\n\ndef draw(n):\n    return torch.randn(n, 1, 28, 28)\n")
    (folder / "original.py").write_text("from net import draw\n\n\ndef sample(n, steps):\n    return draw(n) * steps\n")
    table, rounds = tables("sampling", tmp_path / "out", *SAMPLING, "--original", folder)
    samplers = table[~table["arm"].str.startswith("peak")]
    assert set(samplers["arm"]) == {"eager", "control", "diffusers", "original", *BACKENDS}
    check_ratios(samplers, "eager")
    assert (table["gflops"] > 0).all() and len(table) == len(rounds) == 6 + len(BACKENDS) + LANES
    assert rounds.loc[rounds["arm"] == "eager", "flop"].item() == pytest.approx(4 * 49.9e6, rel=1e-3)

    accuracy = pd.read_csv(tmp_path / "out" / "sampling-accuracy.csv").set_index("arm")
    assert list(accuracy.index) == ["eager", "diffusers", *BACKENDS]
    assert (accuracy[["max_error", "rms_error"]].to_numpy() > 0).all()
    assert (accuracy["rms_error"] < 0.01 * accuracy["rms_of_images"]).all()  # all arms run the same chain
    assert accuracy.loc["eager", "rms_over_eager"] == 1


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (None, "no file original.py"),
        ("x = 1", "has no function sample"),
        ("import torch\n\n\ndef sample(n, steps):\n    return torch.zeros(n, 784)", "must return a tensor"),
    ],
    ids=["no-file", "no-function", "wrong-shape"],
)
def test_an_original_that_does_not_fit_is_one_message(tmp_path, monkeypatch, code, message):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    load_original = runpy.run_path(str(ROOT / "benchmarks" / "sampling.py"))["load_original"]
    if code:
        (tmp_path / "original.py").write_text(code)
    with pytest.raises(UserError, match=message):
        load_original(tmp_path)


@pytest.mark.long
def test_training(tmp_path):
    options = ("--rounds", 1, "--images", 6, "--batch-size", 4, "--workers", 1, "--sides", 16)
    table, _ = tables("training", tmp_path, *options)
    shared = {"original", "control", *TRAINERS}
    arms = table.groupby("part")["arm"].agg(set)
    assert arms["step"] == shared and arms["epoch"] == shared | {"original-1-workers"}
    check_ratios(table, "original")
    assert table["loss"].between(0.1, 10).all() and (table["epochs"] == 2).all()


@pytest.mark.long
def test_small_cells(tmp_path):
    done = run("small_cells.py", "--cells", 8, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    (row,) = pd.read_csv(tmp_path / "small_cells.csv").to_dict("records")
    assert row["cells"] == 8 and row["cells_a_minute"] == pytest.approx(480 / row["seconds"])


@pytest.mark.long
def test_loss_curves(tmp_path):
    options = ("--seeds", 2, "--epochs", 2, "--images", 6, "--batch-size", 4)
    table, rounds = tables("loss_curves", tmp_path, *options)
    assert list(table["epoch"]) == [1, 2] and len(rounds) == 8
    assert table[["original", "ours"]].to_numpy().min() > 0.1 and np.isfinite(table["gap_ses"]).all()


@pytest.mark.long
def test_study(tmp_path):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("{ sampling: { backend: openvino } }")
    micro = ROOT / "tests/workflow/micro.yaml"
    done = run("study.py", "--study", micro, overlay, "--cores", 2, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "study.csv").set_index("stage")
    jobs = {
        "prepare_data": 1,
        "fit_dip": 1,
        "train": 2,
        "train_classifier": 2,
        "sample": 3,
        "evaluate": 3,
        "time_sampling": 1,
        "report": 1,
    }
    assert table.loc[list(jobs), "jobs"].to_dict() == jobs
    making = table["compile_cpu_s"].dropna()
    assert set(making.index[making > 0]) == {"sample", "time_sampling"}
    scripts = table.drop(["ready", "snakemake", "rest"])
    assert (scripts["start_cpu_s"] > 0).all() and (scripts["wall_s"] > 0).all()
    assert (scripts["cpu_s"] < 1.1 * scripts["wall_s"] * 2).all()  # two threads at most
    assert table["share"].between(0, 1).all()


@pytest.mark.long
def test_workflow_overhead(tmp_path):
    done = run("workflow_overhead.py", "--cells", 3, "--rounds", 1, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "workflow.csv")
    assert table["cells"].tolist() == [3] and (table[["no_op_s", "one_more_s"]].to_numpy() > 0.1).all()
    # the new cell's sample and distance, and what draws it
    assert table["one_more_jobs"].item() > 2


def test_a_study_by_its_records(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    record = {"job": {"stage": "sample", "name": "a cell"}, "seconds": 3.0}
    for name in ("a.npz", "b.npz"):  # one job's two results
        (folder / f"{name}.provenance.json").write_text(json.dumps(record))
    (folder / "c.provenance.json").write_text(
        json.dumps({"job": {"stage": "train", "name": "a model"}, "seconds": 9.0})
    )
    done = run("study.py", "--results", folder, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "study-records.csv").set_index("stage")
    assert table.loc["sample", ["jobs", "seconds", "share"]].tolist() == [1, 3, 0.25]
    assert "no records of a study" in run("study.py", "--results", tmp_path / "nowhere").stderr


@pytest.mark.long
def test_fid(tmp_path):
    table, _ = tables("fid", tmp_path, "--rounds", 1, "--images", 2, "--batch-size", 2, "--dims", 8)
    assert set(table["part"]) == {"features", "distance-full", "distance-few"}
    assert set(table["arm"]) == {"pytorch-fid", "ours", "control"} and len(table) == 9
    check_ratios(table, "pytorch-fid")
    assert (table.loc[table["arm"] == "ours", "difference"] < 1e-5).all()


@pytest.mark.long
def test_memory(tmp_path):
    table, _ = tables("memory", tmp_path, "--rounds", 1, "--counts", 3, "--steps", 1)
    assert list(table["stage"]) == ["import", "sample", "train", "reference_features", "evaluate"]
    assert (table["ratio"] == 1).all() and (table["peak_mb"] > 20).all()
