import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jobfile
import made_study

from ddpm_dip.evaluation.metrics import METRICS
from ddpm_dip.jobs import files
from ddpm_dip.jobs.errors import UserError
from ddpm_dip.report import labels, tables
from ddpm_dip.study import AXES

ROOT = Path(__file__).resolve().parents[2]


def run(folder, table, parts):
    """The script on these files, which it names relative to the study's folder."""
    names = [str(Path(part).relative_to(folder)) for part in parts]
    job = jobfile.write(folder, "tables", {"table": table}, {"parts": names}, {"table": f"tables/{table}.csv"}, table)
    return jobfile.script("tables", job)


def records(*cells):
    return {f"{i}.json": made_study.metrics(cell) for i, cell in enumerate(cells)}


def test_cells_have_two_rows_each_with_a_column_an_axis_and_a_metric_in_the_axes_order():
    points = made_study.cell("hw4", steps=900), made_study.cell("hw4", steps=100), made_study.dip_alone()
    table = tables.cells(records(*points))
    assert list(table.columns) == [*AXES, "n", "display", *METRICS, "seconds"]
    assert table["model"].tolist() == ["dip", "dip", "hw4", "hw4", "hw4", "hw4"]
    assert table["steps"].tolist() == [None, None, 100, 100, 900, 900]
    assert table["display"].tolist() == ["clamp", "minmax"] * 3


def test_what_does_not_apply_or_was_not_computed_is_empty_in_the_file():
    table = tables.cells(records(made_study.dip_alone()))
    first = table.to_csv(index=False).splitlines()[1].split(",")
    row = dict(zip(tables.CELL_COLUMNS, first, strict=True))
    assert row["fid_inception"] == row["epochs"] == row["start"] == row["clip_x0"] == row["steps"] == row["nfe"] == ""
    assert row["model"] == "dip" and row["passes"] == "2" and row["n"] == "256"


def test_whole_numbers_stay_whole_when_some_are_missing():
    table = tables.cells(records(made_study.cell(), made_study.dip_alone()))
    assert ",20,last," in table.to_csv(index=False) and ".0,last" not in table.to_csv(index=False)


def test_a_metrics_file_without_a_key_is_named():
    for display, metric in (("clamp", None), ("minmax", "tone_sd")):
        broken = records(made_study.cell())
        shown = broken["0.json"]["displays"]
        del (shown if metric is None else shown[display])[metric or display]
        with pytest.raises(UserError, match=f"0.json.*{metric or display}"):
            tables.cells(broken)


def test_cells_come_back_as_they_were_with_their_paths_and_floors(tmp_path):
    clipped = made_study.cell(weights="ema", clip_x0=True, start="dip", passes=3, sampler="ddim", steps=900, nfe=20)
    odd = made_study.cell("007", replicate=2), made_study.cell("True"), made_study.cell("NA")  # names, and no numbers
    points = [clipped, made_study.dip_alone(), made_study.gan(), *odd]
    tables.cells(records(*points)).to_csv(tmp_path / "c.csv", index=False)
    made_study.floors(floor=5.5).to_csv(tmp_path / "f.csv", index=False)
    table = tables.read_cells(tmp_path / "c.csv", tmp_path / "f.csv")
    back = [{axis: row[axis] for axis in AXES} for row in tables.rows_of(table)[::2]]
    assert sorted(back, key=str) == sorted(points, key=str)
    assert all(
        type(a) is type(b)
        for row in back
        for a, b in zip(row.values(), points[points.index(row)].values(), strict=True)
    )
    assert set(table["fd_classifier_floor"]) == {5.5} and table["fid_inception_floor"].isna().all()
    assert "dip/r0-p02" in set(table["path"]) or "dip/r0/p02" in set(table["path"])
    assert len(tables.rows_of(table, [table["path"][0]])) == 2
    assert tables.read_cells(tmp_path / "c.csv")["fd_classifier_floor"].isna().all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("name", "file"), [("cells", "cells.csv"), ("pseudo", "pseudo.csv.gz")])
def test_a_long_table_is_read_without_a_warning(name, file):
    table = tables.read(name, ROOT / "docs/mnist-test" / file)
    assert set(table["clip_x0"]) == {True, False, None}  # a column of which some pieces have no empty field


def test_a_floor_is_that_of_its_net_display_and_number_of_samples():
    table = tables.cells({"a": made_study.metrics(made_study.cell(), n=64)})
    floors = made_study.floors(n=64)
    floors["floor"] = range(len(floors))
    joined = tables.with_floors(table, floors)
    for row in tables.rows_of(joined):
        for metric, net in tables.DISTANCES.items():
            same = floors[(floors["features"] == net) & (floors["display"] == row["display"])]["floor"].tolist()
            assert same == [row[f"{metric}_floor"]] or (not same and net == "inception")
    assert tables.with_floors(table, made_study.floors(n=65))["fd_classifier_floor"].isna().all()


def test_pseudo_has_a_row_a_block_of_every_metric_that_a_claim_may_be_about(tmp_path):
    found = records(made_study.cell(steps=900), made_study.dip_alone())
    found["1.json"]["pseudo"]["clamp"]["fd_classifier"] = None  # not computed
    tables.pseudo(found).to_csv(tmp_path / "p.csv", index=False)
    table = tables.read("pseudo", tmp_path / "p.csv")
    assert list(table.columns) == [*AXES, "display", "metric", "features", "block", "value"]
    own = table[(table["model"] == "hw4") & (table["display"] == "minmax") & (table["metric"] == "fd_classifier_2")]
    assert own["block"].tolist() == list(range(8)) and set(own["features"]) == {"classifier-2"}
    shown = found["0.json"]["displays"]["minmax"]
    assert own["value"].mean() == pytest.approx(shown["fd_classifier_2"])
    alone = table[table["model"] == "dip"]
    assert set(alone[alone["metric"] == "fd_classifier"]["display"]) == {"minmax"}
    assert table[table["metric"] == "noise_mad"]["features"].isna().all() and set(alone["steps"]) == {None}
    assert set(table["metric"]) <= {name for name, metric in METRICS.items() if metric.in_claims}
    assert "fd_classifier_se" not in set(table["metric"])
    broken = records(made_study.cell())
    del broken["0.json"]["pseudo"]
    with pytest.raises(UserError, match="0.json: a metrics file without 'pseudo'"):
        tables.pseudo(broken)


def test_noise_has_a_row_a_state_of_a_chain_and_none_of_what_has_none(tmp_path):
    found = records(made_study.cell(steps=100), made_study.dip_alone())
    found["0.json"]["noise"]["noise_mad"][3] = None  # a state with NaN
    tables.noise(found).to_csv(tmp_path / "n.csv", index=False)
    table = tables.read("noise", tmp_path / "n.csv")
    assert list(table.columns) == [*AXES, "t", "noise_mad"] and set(table["model"]) == {"hw4"}
    assert table["t"].tolist() == found["0.json"]["noise"]["timesteps"] and table["t"].iloc[-1] == -1
    assert table["noise_mad"].isna().tolist() == [i == 3 for i in range(11)]
    empty = tables.noise(records(made_study.dip_alone()))
    assert empty.empty and list(empty.columns) == tables.NOISE_COLUMNS


def test_words_for_a_cell():
    clipped = made_study.cell(weights="ema", clip_x0=True, sampler="ddim", steps=1000, nfe=50)
    assert labels.name(clipped) == "hw4, EMA weights, 20 epochs, DDIM, x0 clipped, K = 1000, 50 evaluations"
    assert (
        labels.name(made_study.cell(replicate=1, start="dip", passes=2))
        == "hw4, replicate 1, 20 epochs, DIP(2)+DDPM, K = 500"
    )
    assert labels.name(made_study.dip_alone()) == "DIP(2) alone"
    assert labels.name(made_study.gan()) == "dcgan, 50 epochs, DCGAN"
    assert labels.arm(made_study.cell(start="loud-noise")) == "loud noise+DDPM"
    assert labels.words(["start", "passes"], made_study.cell(start="dip-every-step", passes=2)) == "DIP(2) every step"
    assert labels.words(["passes"], made_study.cell()) == "noise (0)"
    assert labels.words(["sampler", "clip_x0"], clipped) == "ddim, x0 clipped"
    assert labels.variant("hw4", "last") == "hw4" and labels.variant("hw4", "ema") == "hw4, EMA weights"


def test_script_gathers_records_and_says_what_was_not_computed(tmp_path):
    paths = []
    for index, cell in enumerate(made_study.points_of(made_study.study_a())):
        paths.append(tmp_path / f"metrics/{index}.json")
        files.write_json(paths[-1], made_study.metrics(cell))
    result = run(tmp_path, "cells", paths)
    assert result.returncode == 0, result.stderr
    assert len(pd.read_csv(tmp_path / "tables/cells.csv")) == 2 * len(paths)
    record = json.loads((tmp_path / "tables/cells.csv.provenance.json").read_text())
    assert len(record["read"]) == len(paths)
    assert record["not_computed"] == {"fid_inception": ["the Inception weights are not there"]}


def test_script_joins_losses_and_timings(tmp_path):
    for model, epochs, replicate in (("hw4-sees", 3, 0), ("hw4", 2, 1), ("hw4", 1, 0)):
        (tmp_path / f"{model}-{replicate}.csv").write_text(made_study.loss_rows(model, epochs, replicate))
    losses = sorted(tmp_path.glob("*.csv"), reverse=True)
    assert run(tmp_path, "training", losses).returncode == 0
    table = pd.read_csv(tmp_path / "tables/training.csv")
    assert list(table.columns) == ["model", "replicate", "epoch", "loss", "seconds"]
    assert table[["model", "replicate", "epoch"]].values.tolist() == [
        ["hw4", 0, 1],
        ["hw4", 1, 1],
        ["hw4", 1, 2],
        ["hw4-sees", 0, 1],
        ["hw4-sees", 0, 2],
        ["hw4-sees", 0, 3],
    ]

    for name in ("hw4", "hw4-sees"):
        (tmp_path / f"{name}.csv").write_text(made_study.timing_rows(name))
    parts, settings = ["hw4.csv", "hw4-sees.csv"], {"table": "timing", "models": {"hw4": ["hw4", "hw4-dip"]}}
    job = jobfile.write(tmp_path, "tables", settings, {"parts": parts}, {"table": "tables/timing.csv"})
    assert jobfile.script("tables", job).returncode == 0
    table = pd.read_csv(tmp_path / "tables/timing.csv")
    assert list(table.columns) == tables.TIMING_COLUMNS
    rows = {name: part.drop(columns="model").to_csv(index=False) for name, part in table.groupby("model")}
    assert rows.keys() == {"hw4", "hw4-dip", "hw4-sees"} and rows["hw4"] == rows["hw4-dip"]


TIMES = """model,what,start,passes,sampler,clip_x0,steps,batch,round,device,backend,seconds
a,start,noise,,,,,8,0,cpu,torch,1
a,start,dip,2,,,,8,0,cpu,torch,7
a,start,again,,,,,8,0,cpu,torch,9
a,step,noise,,ddim,True,,8,0,cpu,torch,0.5
a,step,again,,ddim,True,,8,0,cpu,torch,100
a,chain,noise,,ddim,True,4,8,0,cpu,torch,77
a,start,noise,,,,,8,1,cpu,torch,2
a,start,dip,2,,,,8,1,cpu,torch,8
a,start,again,,,,,8,1,cpu,torch,9
a,step,noise,,ddim,True,,8,1,cpu,torch,0.25
a,step,again,,ddim,True,,8,1,cpu,torch,200
a,chain,noise,,ddim,True,4,8,1,cpu,torch,77
a,start,noise,,,,,64,0,cpu,torch,0.1
a,step,noise,,ddim,True,,64,0,cpu,torch,0.01
a,start,noise,,,,,65,0,cpu,torch,5
a,step,noise,,ddim,True,,65,0,cpu,torch,5
"""


def test_a_cell_takes_its_start_and_so_many_steps_round_by_round(tmp_path):
    (tmp_path / "t.csv").write_text(TIMES)
    times = tables.read("timing", tmp_path / "t.csv")
    chain = made_study.cell("a", sampler="ddim", clip_x0=True, nfe=4)
    assert tables.seconds(times, chain, 8).tolist() == [1 + 4 * 0.5, 2 + 4 * 0.25]
    assert tables.seconds(times, chain | {"start": "dip", "passes": 2}, 8).tolist() == [7 + 4 * 0.5, 8 + 4 * 0.25]
    assert tables.seconds(times, chain | {"start": "again"}, 8).tolist() == [
        9 + 4 * 100,
        9 + 4 * 200,
    ]  # steps of its own
    assert tables.seconds(times, made_study.dip_alone(2), 8).tolist() == [7, 8]
    assert tables.usual_batch(times) == 64  # 65 is more than are sampled at once
    assert tables.seconds(times, chain).tolist() == pytest.approx([0.14])
    unlike = {"start": "dip", "passes": 3}, {"sampler": "ancestral"}, {"clip_x0": False}, {"model": "b"}
    for other in unlike:
        assert np.isnan(tables.seconds(times, chain | other, 8)).tolist() == [True, True]
    assert np.isnan(tables.seconds(times, made_study.dip_alone(3), 8)).all()
    assert np.isnan(tables.seconds(times, made_study.gan(), 8)).all()
    assert np.isnan(tables.seconds(times, chain, 7)).tolist() == [True]
    assert np.isnan(tables.seconds(times.iloc[:0], chain)).tolist() == [True]
    part = times[times["round"].eq(0) | ~times["start"].eq("dip")]  # a start that one round lacks
    assert tables.seconds(part, chain | {"start": "dip", "passes": 2}, 8)[0] == 9.0
    assert np.isnan(tables.seconds(part, chain | {"start": "dip", "passes": 2}, 8)[1])


def test_cells_have_the_median_of_their_seconds(tmp_path):
    (tmp_path / "t.csv").write_text(TIMES)
    times = tables.read("timing", tmp_path / "t.csv")
    times = times[times["batch"] == 8]
    fast = made_study.cell("a", sampler="ddim", clip_x0=True, nfe=4)
    table = tables.cells(records(fast, made_study.cell("b"), made_study.gan(), made_study.dip_alone()), times)
    found = dict(zip(table["model"], table["seconds"], strict=True))
    assert (found["a"], found["dip"]) == (3.0, 7.5) and np.isnan([found["b"], found["dcgan"]]).all()
    assert list(table.columns) == tables.CELL_COLUMNS and table.columns[-1] == "seconds"
    assert tables.cells(records(fast))["seconds"].isna().all()


def test_shown_arms_have_two_passes_or_the_fewest_and_other_samplers_from_noise(tmp_path):
    (tmp_path / "t.csv").write_text(made_study.timing_rows())
    times = tables.read("timing", tmp_path / "t.csv")
    others = times[(times["what"] == "step") & (times["start"] == "noise")].assign(sampler="ddim", clip_x0=True)
    times = pd.concat([times, others], ignore_index=True)
    shown = [(arm["start"], arm["passes"], arm["sampler"]) for arm in tables.timed_arms(times, "hw4")]
    assert shown == [
        ("noise", None, "ancestral"),
        ("mean-image", None, "ancestral"),
        ("dip", 2, "ancestral"),
        ("dip-every-step", 2, "ancestral"),
        ("noise", None, "ddim"),
    ]
    assert ("dip", 1) in {(a["start"], a["passes"]) for a in tables.timed_arms(times[times["passes"] != 2], "hw4")}


def test_script_names_a_wrong_file_without_a_traceback(tmp_path):
    (tmp_path / "wrong.csv").write_text("model,replicate,epoch\nhw4,0,1\n")
    result = run(tmp_path, "training", [tmp_path / "wrong.csv"])
    assert result.returncode == 1
    assert result.stderr.startswith("error: ") and "wrong.csv" in result.stderr and "loss" in result.stderr
    assert not (tmp_path / "tables/training.csv").exists()
    result = run(tmp_path, "trainings", [tmp_path / "wrong.csv"])
    assert result.returncode == 1 and "settings.table is 'trainings'; right is one of cells" in result.stderr


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
    assert labels.compact(value) == text


# --- study B


def test_interpolation_has_a_row_a_pair_display_and_space():
    table = tables.interpolation({"b": made_study.between("ddim", path="spherical"), "a": made_study.between(None)})
    assert list(table.columns) == [*tables.INTERPOLATION_COLUMNS, *(f"step_{i}" for i in range(1, 5))]
    assert len(table) == 2 * 2 * 2 * made_study.PAIRS
    for row in table.itertuples():
        steps = [getattr(row, f"step_{i}") for i in range(1, 5)]
        assert row.path_length == pytest.approx(sum(steps))
        assert row.path_ratio == pytest.approx(row.path_length / row.end_to_end)
        assert row.largest_share == pytest.approx(max(steps) / row.path_length)
    assert list(table["sampler"].unique()) == [None, "ddim"] and set(table["noise"]) == {None}


def test_interpolation_comes_back_with_none_for_what_does_not_apply(tmp_path):
    table = tables.interpolation({str(index): record for index, record in enumerate(made_study.ways())})
    table.to_csv(tmp_path / "i.csv", index=False)
    back = tables.read("interpolation", tmp_path / "i.csv")
    keys = tables.INTERPOLATION_KEYS
    assert back[keys].values.tolist() == table[keys].values.tolist()
    assert set(back["noise"]) == {None, "shared", "independent"} and "none" not in (tmp_path / "i.csv").read_text()


def test_interpolation_names_a_file_that_lacks_something():
    record = made_study.between(None)
    del record["measures"][0]["path_ratio"]
    with pytest.raises(UserError, match="bad.json: a file of measures without 'path_ratio'"):
        tables.interpolation({"bad.json": record})


def test_an_interpolation_that_diverged_leaves_no_rows_but_the_columns(tmp_path):
    table = tables.interpolation({"a": made_study.between("ddim") | {"measures": []}})
    assert list(table.columns) == tables.INTERPOLATION_COLUMNS and table.empty
    table.to_csv(tmp_path / "i.csv", index=False)
    assert tables.read("interpolation", tmp_path / "i.csv").empty


def test_epochs_of_a_dcgan_and_gan_training_by_the_script(tmp_path):
    paths = []
    for index, point in enumerate(made_study.points_of(made_study.study_b())):
        paths.append(tmp_path / f"{index}.json")
        files.write_json(paths[-1], made_study.metrics(point))
    done = run(tmp_path, "cells", paths)
    assert done.returncode == 0, done.stderr
    table = tables.read_cells(tmp_path / "tables/cells.csv")
    assert len(table) == 2 * len(paths)
    assert {labels.arm_of(row) for row in tables.rows_of(table) if row["model"] == "dcgan"} == {labels.ONE_STEP}
    for name, epochs in (("b", 2), ("a", 1)):
        (tmp_path / f"{name}.csv").write_text(made_study.gan_loss_rows(name, epochs))
    done = run(tmp_path, "gan_training", [tmp_path / "b.csv", tmp_path / "a.csv"])
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "tables/gan_training.csv")
    assert table[["model", "replicate", "epoch"]].values.tolist() == [["a", 0, 1], ["b", 0, 1], ["b", 0, 2]]


def test_the_distance_to_judge_by_is_the_classifier_s_or_else_the_fid():
    table = tables.cells(records(made_study.cell("hw4")))
    assert tables.distance(table) == "fd_classifier"
    table["fd_classifier"] = float("nan")
    assert tables.distance(table) == "fid_inception"
