import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import made_study

from ddpm_dip import files, tables
from ddpm_dip.errors import UserError

SCRIPT = Path(__file__).resolve().parents[2] / "workflow/scripts/tables.py"


def run(*arguments):
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, timeout=120)


def records(*cells):
    return {f"{i}.json": made_study.metrics(cell) for i, cell in enumerate(cells)}


def test_cells_have_two_rows_each_in_the_fixed_columns_and_order():
    dip_alone = made_study.cell("", None, "dip", 2, "none", 0)
    table = tables.cells(records(made_study.cell("hw4", steps=900), made_study.cell("hw4", steps=100), dip_alone))
    assert list(table.columns) == [
        "dataset",
        "model",
        "epochs",
        "weights",
        "start",
        "passes",
        "sampler",
        "steps",
        "clip_x0",
        "seed",
        "n",
        "n_reference",
        "display",
        "fd_classifier",
        "fd_classifier_sd",
        "fd_classifier_floor",
        "fid_inception",
        "fid_inception_floor",
        "tone_sd",
        "image_mean_sd",
    ]
    assert table["model"].tolist() == ["", "", "hw4", "hw4", "hw4", "hw4"]
    assert table["steps"].tolist() == [0, 0, 100, 100, 900, 900]
    assert table["display"].tolist() == ["clamp", "minmax"] * 3


def test_what_was_not_computed_is_empty_in_the_file():
    table = tables.cells(records(made_study.cell("", None, "dip", 2, "none", 0)))
    first = table.to_csv(index=False).splitlines()[1].split(",")
    row = dict(zip(tables.CELL_COLUMNS, first, strict=True))
    assert row["fid_inception"] == row["model"] == row["epochs"] == ""
    assert row["clip_x0"] == "False" and row["n"] == "256"


def test_whole_numbers_stay_whole_when_some_are_missing():
    table = tables.cells(records(made_study.cell(), made_study.cell("", None, "dip", 2, "none", 0)))
    assert ",20,last," in table.to_csv(index=False)


def test_a_metrics_file_without_a_key_is_named():
    broken = records(made_study.cell())
    del broken["0.json"]["displays"]["clamp"]
    with pytest.raises(UserError, match="0.json.*clamp"):
        tables.cells(broken)


def test_reading_cells_back_adds_variant_and_arm(tmp_path):
    clipped = {**made_study.cell(), "clip_x0": True, "weights": "ema"}
    tables.cells(records(clipped, made_study.cell("", None, "dip", 2, "none", 0))).to_csv(
        tmp_path / "c.csv", index=False
    )
    table = tables.read_cells(tmp_path / "c.csv")
    assert set(table["variant"]) == {"", "hw4, EMA, x0 clipped"}
    assert set(table["arm"]) == {"noise", "dip-alone"}


def test_script_takes_a_list_of_files_from_a_file(tmp_path):
    paths = []
    for index, cell in enumerate(made_study.all_cells()):
        paths.append(tmp_path / f"{index}.json")
        paths[-1].write_text(json.dumps(made_study.metrics(cell)))
    (tmp_path / "list").write_text("\n".join(map(str, paths)) + "\n")
    result = run("cells", "--metrics", f"@{tmp_path / 'list'}", "--output", tmp_path / "cells.csv")
    assert result.returncode == 0, result.stderr
    assert len(pd.read_csv(tmp_path / "cells.csv")) == 2 * len(paths)
    provenance = json.loads((tmp_path / "cells.csv.provenance.json").read_text())
    assert len(provenance["inputs"]) == len(paths)
    assert provenance["not_computed"] == {"fid_inception": ["the Inception weights are not there"]}


def test_script_joins_losses_and_timings(tmp_path):
    for model, epochs in (("hw4-sees", 3), ("hw4", 2)):
        (tmp_path / f"{model}.csv").write_text(made_study.loss_rows(model, epochs))
    losses = [tmp_path / "hw4-sees.csv", tmp_path / "hw4.csv"]
    assert run("training", "--losses", *losses, "--output", tmp_path / "training.csv").returncode == 0
    table = pd.read_csv(tmp_path / "training.csv")
    assert list(table.columns) == ["model", "epoch", "loss", "seconds"]
    assert list(zip(table["model"], table["epoch"], strict=True)) == [
        ("hw4", 1),
        ("hw4", 2),
        ("hw4-sees", 1),
        ("hw4-sees", 2),
        ("hw4-sees", 3),
    ]

    (tmp_path / "a.csv").write_text(made_study.timing_rows())
    assert run("timing", "--timings", tmp_path / "a.csv", "--output", tmp_path / "timing.csv").returncode == 0
    assert list(pd.read_csv(tmp_path / "timing.csv").columns) == tables.TIMING_COLUMNS


def test_script_names_a_wrong_file_without_a_traceback(tmp_path):
    (tmp_path / "wrong.csv").write_text("model,epoch\nhw4,1\n")
    result = run("training", "--losses", tmp_path / "wrong.csv", "--output", tmp_path / "out.csv")
    assert result.returncode == 1
    assert result.stderr.startswith("error: ") and "wrong.csv" in result.stderr and "loss" in result.stderr
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.000"),
        (0.042, "0.042"),
        (4.2, "4.2"),
        (9.99, "10"),
        (123.4, "123"),
        (999.7, "1.0k"),
        (12345, "12k"),
        (999_999, "1.0M"),
        (3.4e6, "3.4M"),
        (5.6e12, "5.6e12"),
        (2e-5, "2.0e-05"),
        (float("nan"), "–"),
    ],
)
def test_compact_numbers(value, text):
    assert tables.compact(value) == text


# --- study B


def test_interpolation_has_a_row_a_pair_display_and_space():
    table = tables.interpolation({"a": made_study.between("gan"), "b": made_study.between("ddim", path="spherical")})
    assert list(table.columns) == [*tables.INTERPOLATION_COLUMNS, *(f"step_{i}" for i in range(1, 5))]
    assert len(table) == 2 * 2 * 2 * made_study.PAIRS
    for row in table.itertuples():
        steps = [getattr(row, f"step_{i}") for i in range(1, 5)]
        assert row.path_length == pytest.approx(sum(steps))
        assert row.path_ratio == pytest.approx(row.path_length / row.end_to_end)
        assert row.largest_share == pytest.approx(max(steps) / row.path_length)
    assert list(table["sampler"].unique()) == ["gan", "ddim"]


def test_interpolation_names_a_file_that_lacks_something():
    record = made_study.between("gan")
    del record["measures"][0]["path_ratio"]
    with pytest.raises(UserError, match="bad.json: a file of measures without 'path_ratio'"):
        tables.interpolation({"bad.json": record})


def test_an_interpolation_that_diverged_leaves_no_rows_but_the_columns():
    table = tables.interpolation({"a": made_study.between("ddim") | {"measures": []}})
    assert list(table.columns) == tables.INTERPOLATION_COLUMNS and table.empty


def test_evolution_and_gan_training_by_the_script(tmp_path):
    for index, record in enumerate(made_study.evolution_cells()):
        files.write_json(tmp_path / f"{index}.json", made_study.metrics(record))
    inputs = sorted(tmp_path.glob("*.json"))
    done = run("evolution", "--metrics", *inputs, "--output", tmp_path / "evolution.csv")
    assert done.returncode == 0, done.stderr
    table = tables.read_cells(tmp_path / "evolution.csv")
    assert len(table) == 2 * len(inputs)
    assert set(table.loc[table["model"] == "dcgan", "arm"]) == {"gan"}
    for name, part in (("b", 2), ("a", 1)):
        text = "model,epoch,loss_d,loss_g,seconds\n" + "".join(
            f"{name},{e},1.0,0.{e},2.0\n" for e in range(1, part + 1)
        )
        (tmp_path / f"{name}.csv").write_text(text)
    inputs = [tmp_path / "b.csv", tmp_path / "a.csv"]
    done = run("gan_training", "--losses", *inputs, "--output", tmp_path / "gan.csv")
    assert done.returncode == 0, done.stderr
    assert pd.read_csv(tmp_path / "gan.csv")[["model", "epoch"]].values.tolist() == [["a", 1], ["b", 1], ["b", 2]]


def test_the_distance_to_judge_by_is_the_classifier_s_or_else_the_fid():
    table = tables.cells(records(made_study.cell("hw4")))
    assert tables.distance(table) == ("fd_classifier", "fd_classifier_floor")
    table["fd_classifier"] = float("nan")
    assert tables.distance(table) == ("fid_inception", "fid_inception_floor")
