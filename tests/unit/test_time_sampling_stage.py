"""The stage `time_sampling`: its columns and arms; never how fast anything is."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import drawing
import jobfile

from ddpm_dip.jobs import job
from ddpm_dip.jobs.errors import UserError
from ddpm_dip.sampling import backend_choice

INPUTS = {"data": "data.npz", "weights": "unet.safetensors", "dip": "dip.safetensors"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return drawing.write(tmp_path_factory.mktemp("timing"))


def timed(folder, steps, passes, inputs=INPUTS, backends=("torch", "torch")):
    settings = {"model": "m", "replicate": 0, "steps": steps, "passes": passes, "batches": [1, 3], "repeats": 3}
    settings |= {"backends": backends, "weights": "ema"}
    path = jobfile.write(folder, "time_sampling", settings, inputs, {"timing": "timing/K.csv"})
    jobfile.run("time_sampling", path)
    header, *rows = [line.split(",") for line in (folder / "timing/K.csv").read_text().splitlines()]
    published = "method,passes,steps,batch,device,backend,median_s,q1_s,q3_s,repeats"  # the columns
    assert header == published.split(",")
    for row in rows:
        median, q1, q3 = map(float, row[6:9])
        used = dict(zip("13", backends, strict=True))[row[3]] if steps else "torch"
        assert row[4:6] == ["cpu", used] and 0 < q1 <= median <= q3 and row[9] == "3"
    return [tuple(row[:4]) for row in rows], job.read_record(folder / "timing/K.csv")


def test_each_number_of_passes_and_batch_size_is_an_arm(made):
    rows, record = timed(made, 4, [0, 2])
    assert rows == [
        ("ddpm", "0", "4", "1"), ("ddpm", "0", "4", "3"), ("dip+ddpm", "2", "4", "1"), ("dip+ddpm", "2", "4", "3"),
    ]  # fmt: skip
    assert record["work"] == {"image-steps": 3 * 2 * 4 * 4} and record["backends"] == ["torch", "torch"]


@pytest.mark.skipif(not backend_choice.has_lanes(), reason="no AVX2 or llvmlite")
def test_each_batch_size_has_its_own_backend(made):
    _, record = timed(made, 4, [0], backends=("torch", "lanes"))
    assert record["backends"] == ["torch", "lanes"]


def test_no_steps_time_the_passes_alone_and_need_no_net(made):
    rows, record = timed(made, 0, [0, 2], {name: INPUTS[name] for name in ("data", "dip")})
    assert rows == [("dip", "2", "0", "1"), ("dip", "2", "0", "3")]
    assert record["work"] == {"images": 12}


def test_no_passes_need_no_dip_net(made):
    inputs = {name: INPUTS[name] for name in ("data", "weights")}
    assert timed(made, 2, [0], inputs)[0] == [("ddpm", "0", "2", "1"), ("ddpm", "0", "2", "3")]
    with pytest.raises(UserError, match="inputs has no dip"):
        timed(made, 2, [0, 1], inputs)
