"""The stage `time_sampling`: what it measures, and in which order; never how fast anything is."""

import sys
from pathlib import Path

import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import drawing
import jobfile

from ddpm_dip.jobs import job
from ddpm_dip.jobs.errors import UserError
from ddpm_dip.report import tables
from ddpm_dip.sampling import backend_choice, generators
from ddpm_dip.stages import time_sampling

INPUTS = {"data": "data.npz", "weights": "unet.safetensors", "dip": "dip.safetensors"}
STARTS = [drawing.unet_cell(nfe=1), drawing.unet_cell(start="dip", passes=2, nfe=1)]
STEPS = [drawing.unet_cell(steps=3), drawing.unet_cell(steps=3, sampler="ddim", clip_x0=True)]
STEPS.append(drawing.unet_cell(steps=3, start="dip-every-step", passes=1))
CHAINS = [drawing.unet_cell(steps=5)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return drawing.write(tmp_path_factory.mktemp("timing"))


def write(folder, inputs=INPUTS, backends=("torch", "torch"), **settings):
    default = {
        "model": "m",
        "family": "unet",
        "starts": STARTS,
        "steps": STEPS,
        "chains": CHAINS,
        "batches": [1, 3],
        "rounds": 3,
    }
    default |= {"backends": backends}
    return jobfile.write(folder, "time_sampling", default | settings, inputs, {"timing": "timing/m.csv"})


def test_a_row_is_a_measurement_of_a_round(made):
    jobfile.run("time_sampling", write(made))
    header = (made / "timing/m.csv").read_text().splitlines()[0]
    assert header == "model,what,start,passes,sampler,clip_x0,steps,batch,round,device,backend,seconds"
    assert header.split(",") == tables.TIMING_COLUMNS
    found = tables.read("timing", made / "timing/m.csv")
    assert set(found["model"]) == {"m"} and set(found["device"]) == {"cpu"} and set(found["backend"]) == {"torch"}
    assert (found["seconds"] > 0).all()
    found = found.astype(object).where(found.notna(), None)
    rows = [tuple(row) for row in found[["what", "start", "passes", "sampler", "clip_x0", "steps"]].to_numpy()]
    once = [
        ("start", "noise", None, None, None, None),
        ("start", "dip", 2, None, None, None),
        ("step", "noise", None, "ancestral", False, None),
        ("step", "noise", None, "ddim", True, None),
        ("step", "dip-every-step", 1, "ancestral", False, None),
        ("chain", "noise", None, "ancestral", False, 5),
    ]
    assert rows == once * 2 * 3
    # all batch sizes within a round, and one round after the other
    assert list(zip(found["round"], found["batch"], strict=True)) == [
        (turn, batch) for turn in range(3) for batch in (1, 3) for _ in once
    ]
    record = job.read_record(made / "timing/m.csv")
    assert record["work"] == {"rounds": 3} and record["backends"] == ["torch", "torch"]
    assert record["network"] == "hw4-sees"


def test_rounds_take_turns_and_the_first_is_not_kept(made, monkeypatch):
    """The calls themselves: everything once a round, warm-up first, and what is timed is what was asked for."""
    calls = []

    def build(family, cell, *, batch, **_):
        name = (cell["start"], cell["sampler"], cell["nfe"], batch)

        def draw(indices, callback):
            assert list(indices) == list(range(batch))
            for t in reversed(range(cell["nfe"])):
                callback(t, None)
            calls.append(("draw", *name))

        shape = (1, 16, 16)
        return generators.Generator(
            draw, [0] * cell["nfe"], shape, "net", "torch", lambda indices: calls.append(("start", *name))
        )

    monkeypatch.setattr(generators, "build", build)
    jobfile.run("time_sampling", write(made))
    once = [
        call
        for batch in (1, 3)
        for call in (
            ("start", "noise", "ancestral", 1, batch),
            ("start", "dip", "ancestral", 1, batch),
            ("draw", "noise", "ancestral", 3, batch),
            ("draw", "noise", "ddim", 3, batch),
            ("draw", "dip-every-step", "ancestral", 3, batch),
            ("draw", "noise", "ancestral", 5, batch),
        )
    ]
    assert calls == once * 4
    assert len(pd.read_csv(made / "timing/m.csv")) == 3 * len(once)


def test_a_dip_net_that_is_not_fitted_is_timed_at_its_own_size(made, monkeypatch):
    seen, build = [], generators.build
    monkeypatch.setattr(
        generators, "build", lambda *args, **given: seen.append(given["dip_size"]) or build(*args, **given)
    )
    untrained = [drawing.unet_cell(start="dip-untrained", passes=1, nfe=1)]
    jobfile.run(
        "time_sampling",
        write(made, starts=untrained, steps=[], chains=[], dip_size=48, batches=[1], backends=["torch"]),
    )
    assert seen == [48]


def test_seconds_are_per_image_and_those_of_a_step_per_evaluation(monkeypatch):
    """By a clock that moves when a start is drawn (by 6) and at each evaluation (by 2)."""
    now = [0.0]
    monkeypatch.setattr(time_sampling.time, "perf_counter", lambda: now[0])

    def start(indices):
        now[0] += 6

    def draw(indices, callback):
        start(indices)
        for t in range(4):
            callback(t, None)
            now[0] += 2

    generator = generators.Generator(draw, [3, 2, 1, 0], (1, 16, 16), "net", "torch", start)
    assert time_sampling.start_seconds(generator, 3) == 2
    assert time_sampling.step_seconds(generator, 2) == 1
    assert time_sampling.chain_seconds(generator, 2) == 7


@pytest.mark.skipif(not backend_choice.has_lanes(), reason="no AVX2 or llvmlite")
def test_each_batch_size_has_its_own_backend(made):
    inputs = {name: INPUTS[name] for name in ("data", "weights")}
    settings = {"starts": STARTS[:1], "steps": STEPS[:1]}
    jobfile.run("time_sampling", write(made, inputs, ("torch", "lanes"), **settings))
    found = pd.read_csv(made / "timing/m.csv")
    assert set(zip(found["batch"], found["backend"], strict=True)) == {(1, "torch"), (3, "lanes")}
    assert job.read_record(made / "timing/m.csv")["backends"] == ["torch", "lanes"]


def test_a_start_that_needs_the_dip_net_says_so(made):
    inputs = {name: INPUTS[name] for name in ("data", "weights")}
    with pytest.raises(UserError, match="the start dip needs the input `dip`"):
        jobfile.run("time_sampling", write(made, inputs))
