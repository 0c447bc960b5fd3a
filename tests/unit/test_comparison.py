"""make diff: what differs between two runs, held against differences made by hand."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import jobfile
import made_study
import pytest

from ddpm_dip.jobs import files
from ddpm_dip.jobs.job import Job
from ddpm_dip.report import comparison, tables

SCRIPT = Path(__file__).resolve().parents[2] / "workflow/tools/diff.py"


def record_cells(folder):
    """The record that a job writes beside its table."""
    Job(jobfile.write(folder, "tables", {"table": "cells"}, {}, {"table": "tables/cells.csv"}), "tables").finish()


@pytest.fixture
def runs(tmp_path):
    """B has another learning rate, one cell less, one more, and its DIP cells are 3 further away."""
    folders = tmp_path / "a", tmp_path / "b"
    config = {"study": "x", "training": {"lr": 0.001, "batch_size": 32}, "models": {"hw4": {"epochs": [2, 4]}}}
    other = copy.deepcopy(config)
    other["training"]["lr"], other["models"]["hw4"]["epochs"] = 0.002, [2, 4, 8]
    kept = [made_study.cell(steps=steps, start=start) for steps in (100, 200) for start in ("noise", "mean-image")]
    kept.append(made_study.dip_alone())
    for folder, settings, extra in ((folders[0], config, 300), (folders[1], other, 400)):
        records = {str(i): made_study.metrics(c) for i, c in enumerate([*kept, made_study.cell(steps=extra)])}
        for record in records.values():
            for values in record["displays"].values():
                values["fd_classifier"] = 10.0 + 3 * (folder.name == "b" and record["cell"]["start"] == "mean-image")
                values["fd_classifier_se"] = 0.3 if folder.name == "a" else 0.4
        files.write_text(folder / "tables/cells.csv", tables.cells(records).to_csv(index=False))
        record_cells(folder)
        inputs, outputs = {"tables": {"cells": "tables/cells.csv"}}, {"page": "report/index.html"}
        job = Job(jobfile.write(folder, "report", {"config": settings}, inputs, outputs), "report")
        job.inputs("tables")
        files.write_text(folder / "report/index.html", "")
        job.finish()
    return folders


def test_settings_cells_and_differences(runs, tmp_path):
    done = subprocess.run(
        [sys.executable, SCRIPT, *runs, "--csv", tmp_path / "diff.csv"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "  training.lr: 0.001 -> 0.002" in lines and "  models.hw4.epochs: [2, 4] -> [2, 4, 8]" in lines
    assert not any("batch_size" in line for line in lines)
    assert lines[lines.index("cells in A alone: 1") + 1] == "  hw4, 20 epochs, DDPM, K = 300"
    assert lines[lines.index("cells in B alone: 1") + 1] == "  hw4, 20 epochs, DDPM, K = 400"
    assert "cells in both: 5" in lines
    minmax = lines[lines.index("fd_classifier, minmax") :]
    mean_image = next(line for line in minmax if "mean image+DDPM, K = 100" in line)
    assert mean_image.split()[-5:] == ["10", "13", "+3", "0.5", "1.300"]
    assert "  B - A over 5 cells: median +0, quartiles +0 to +3" in minmax
    assert "beyond" not in done.stdout  # cells have no vote, and their errors are not independent
    assert "fid_inception" not in done.stdout  # in neither run
    written = tables.read("diff", tmp_path / "diff.csv")
    assert list(written.columns)[: len(comparison.CELL) + 1] == [*comparison.CELL, "fd_classifier_a"]
    assert "fd_classifier_diff_se" in written
    assert len(written) == 10 and written["fd_classifier_diff"].max() == 3


def test_cells_are_the_same_on_all_axes_or_not_at_all():
    points = [made_study.cell(), made_study.cell(sampler="ddim"), made_study.cell(replicate=1), made_study.dip_alone()]
    points += [made_study.cell(nfe=20), made_study.cell(weights="ema"), made_study.gan()]
    both, one = made_study.cells_table(points), made_study.cells_table(points[:1])
    compared = comparison.cells(both, both)
    assert len(compared) == 2 * len(points) and (compared["fd_classifier_diff"] == 0).all()
    assert len(comparison.cells(one, both)) == 2 and comparison.only_in(one, both) == []
    assert comparison.only_in(both, one) == [
        "DIP(2) alone",
        "dcgan, 50 epochs, DCGAN",
        "hw4, 20 epochs, DDIM, K = 500",
        "hw4, 20 epochs, DDPM, K = 500, 20 evaluations",
        "hw4, EMA weights, 20 epochs, DDPM, K = 500",
        "hw4, replicate 1, 20 epochs, DDPM, K = 500",
    ]


def test_a_run_compared_with_itself_has_no_difference(runs):
    done = subprocess.run([sys.executable, SCRIPT, runs[0], runs[0]], capture_output=True, text=True)
    assert "settings: none differ" in done.stdout and "alone" not in done.stdout.replace("DIP(2) alone", "")
    assert "  B - A over 6 cells: median +0, quartiles +0 to +0" in done.stdout


def test_a_reader_that_leaves_early_is_no_error(runs):
    read, write = os.pipe()
    os.close(read)  # as `| head` does when it has its lines
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    done = subprocess.run([sys.executable, SCRIPT, *runs], stdout=write, stderr=subprocess.PIPE, env=environment)
    os.close(write)
    assert done.returncode == 1 and done.stderr == b""


def refused(*folders: Path) -> str:
    done = subprocess.run([sys.executable, SCRIPT, *folders], capture_output=True, text=True)
    assert done.returncode == 1 and not done.stdout and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_what_is_no_finished_study_is_named(runs, tmp_path):
    a, b = runs
    assert f"{tmp_path}: has no report/index.html; give the folder of a finished study" in refused(a, tmp_path)
    files.write_text(b / "tables/cells.csv", (b / "tables/cells.csv").read_text().replace("13", "14"))
    assert f"{b}/tables/cells.csv: altered or damaged" in refused(a, b)
    record_cells(b)  # as by a run that was stopped then
    assert f"{b}: its cells were made again after its report" in refused(a, b)
    (b / "tables/cells.csv").unlink()
    assert f"{b}: has no tables/cells.csv" in refused(a, b)
