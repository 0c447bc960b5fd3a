"""Study B in small, whole, by the real Snakemake: both kinds of model, evolution and interpolation."""

import csv
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import HERE, jobs, snakemake

from ddpm_dip.jobs import files
from ddpm_dip.jobs.job import RECORD, read_record
from ddpm_dip.report import tables

pytestmark = [pytest.mark.slow, pytest.mark.long]
TINY_B = yaml.safe_load((HERE / "tiny-b.yaml").read_text(encoding="utf-8"))
PATHS = ("linear", "spherical")
WAYS = {f"imvfx/r0/epoch-0002/ddim-{path}" for path in PATHS}
WAYS |= {f"imvfx/r0/epoch-0002/ancestral-{path}-{noise}" for path in PATHS for noise in ("shared", "independent")}
WAYS |= {f"dcgan/r0/epoch-0002/{path}" for path in PATHS}
CHAINS = [f"samples/imvfx/r0/epoch-000{epochs}-ema/noise/ancestral/K0003-nfe0003.npz" for epochs in (1, 2)]
PICTURES = {f"figures/interpolation.{m}.{d}.png" for m in ("imvfx", "dcgan") for d in ("minmax", "clamp")}
SMOOTHNESS = {"tables/interpolation.csv", "figures/smoothness.minmax.png", "figures/smoothness.clamp.png"}
REPORT = {"report/index.html"}


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> tuple[Path, set[str]]:
    folder = tmp_path_factory.mktemp("b")
    return folder, jobs(snakemake(folder, study="tiny-b"))


@pytest.fixture(scope="module")
def results(first) -> Path:
    return first[0] / "results/tiny-b"


def planned(results: Path, **overlay) -> set[str]:
    return jobs(snakemake(results.parents[1], "-n", study="tiny-b", overlay=overlay))


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_each_way_is_made_once_and_then_nothing_runs(first, results):
    made = {path.removesuffix(".npz") for path in first[1] if path.startswith("interpolations/") and ".npz" in path}
    assert made == {f"interpolations/{way}" for way in WAYS}
    assert planned(results) == set()


def test_evolution_has_the_same_latents_at_every_epoch_of_both_models(results):
    table = rows(results / "tables/cells.csv")
    assert [(row["model"], row["epochs"], row["sampler"], row["steps"], row["nfe"]) for row in table[::2]] == [
        *(("dcgan", str(epochs), "", "", "") for epochs in (1, 2)),
        *(("imvfx", str(epochs), "ancestral", "3", "3") for epochs in (1, 2)),
    ]
    assert all(float(row["fd_classifier"]) > 0 for row in table)
    floors = rows(results / "tables/floors.csv")
    assert {row["display"] for row in floors if row["features"] == "classifier"} == {"minmax", "clamp"}
    assert all(np.isfinite(float(row["floor"])) for row in floors)
    starts = [files.read_npz(results / path)["frames"][0] for path in CHAINS]
    np.testing.assert_array_equal(*starts)


def test_the_ends_of_an_interpolation_are_the_models_own_samples(results):
    """Pair p joins the latents of samples 2p and 2p + 1; of the DCGAN, they are the very images."""
    images = files.read_npz(results / "interpolations/dcgan/r0/epoch-0002/linear.npz")["images"]
    samples = files.read_npz(results / "samples/dcgan/r0/epoch-0002.npz")["samples"]
    assert images.shape == (2, 4, 1, 16, 16)
    np.testing.assert_array_equal(images[:, [0, -1]].reshape(4, 1, 16, 16), samples[:4])
    shared = files.read_npz(results / "interpolations/imvfx/r0/epoch-0002/ancestral-linear-shared.npz")["images"]
    samples = files.read_npz(results / CHAINS[-1])["samples"]
    np.testing.assert_allclose(shared[:, 0], samples[[0, 2]], atol=1e-4)  # the first end's own noise


def test_smoothness_is_that_of_the_images(results):
    table = rows(results / "tables/interpolation.csv")
    assert len(table) == len(WAYS) * 2 * 2 * 2  # displays, spaces, pairs
    (row,) = (
        row
        for row in table
        if (row["sampler"], row["path"], row["display"], row["space"], row["pair"])
        == ("", "linear", "clamp", "pixels", "1")
    )
    images = files.read_npz(results / "interpolations/dcgan/r0/epoch-0002/linear.npz")["images"][1]
    shown = (images.clip(-1, 1) + 1).reshape(4, -1) / 2
    steps = np.linalg.norm(np.diff(shown, axis=0), axis=1)
    assert [float(row[f"step_{i}"]) for i in (1, 2, 3)] == pytest.approx(steps.tolist(), rel=1e-4)
    end_to_end = np.linalg.norm(shown[-1] - shown[0])
    assert float(row["path_ratio"]) == pytest.approx(steps.sum() / end_to_end, rel=1e-4)


def test_the_page_has_study_b_and_every_file_its_record(results):
    page = (results / "report/index.html").read_text(encoding="utf-8")
    for heading in ("DDPM and DCGAN as training goes on", "Between two latents", "B2-tone"):
        assert heading in page
    assert "Deep Image Prior" not in page
    listed = files.read_json(results / "jobs/report/report.json")["hints"]["results"]
    on_disk = {str(path.relative_to(results)) for path in results.rglob(f"*{RECORD}")}
    own = {f"report/{name}{RECORD}" for name in ("index.html", "summary.txt")}
    assert {f"{name}{RECORD}" for name in listed} == on_disk - own
    for name in listed:
        assert read_record(results / name)["sha256"] == files.sha256(results / name)
    assert tables.read("gan_training", results / "tables/gan_training.csv")["epoch"].tolist() == [1, 2]


def test_under_a_cosine_a_budget_between_trains_alone_and_from_the_start(results):
    jobs = planned(results, models={"imvfx": {"epochs": [1, 2, 4]}})
    trained = {path for path in jobs if path.startswith("models/")}
    assert trained == {"models/imvfx/r0/epoch-0004/weights.safetensors"}
    losses = [rows(results / f"models/imvfx/r0/epoch-000{epochs}/losses.csv") for epochs in (1, 2)]
    assert losses[0][0]["loss"] == losses[1][0]["loss"]  # the same first epoch: its rate is the full one in both


VERDICTS = {"tables/claims.csv", "figures/forest.png", "charts/forest.json"}


def test_one_more_pair_makes_every_way_again_and_no_cell(results):
    expected = {f"interpolations/{way}{kind}" for way in WAYS for kind in (".npz", ".json")}
    expected |= PICTURES | SMOOTHNESS | VERDICTS | REPORT
    assert planned(results, experiments={"interpolation": {"pairs": 3}}) == expected


def test_another_sampler_of_interpolation_leaves_the_rest_alone(results):
    expected = {f"interpolations/{way}{kind}" for way in WAYS if "ddim" in way for kind in (".npz", ".json")}
    expected |= {path for path in PICTURES if "imvfx" in path} | SMOOTHNESS | VERDICTS | REPORT
    assert planned(results, experiments={"interpolation": {"ddim_steps": 4}}) == expected


def test_another_learning_rate_of_the_dcgan_touches_no_u_net(results):
    jobs = planned(results, gan={"lr": 0.001})
    assert {path for path in jobs if path.startswith("models/")} == {
        f"models/dcgan/r0/epoch-000{epochs}/weights.safetensors" for epochs in (1, 2)
    }
    assert not any("imvfx" in path for path in jobs if path.startswith(("samples/", "interpolations/")))


def test_clipping_x0_makes_every_chain_again_and_nothing_of_the_dcgan(results):
    jobs = planned(results, sampling={"clip_x0": True})
    made = {path for path in jobs if path.endswith(".npz")}
    chains = {path.replace("/ancestral/", "/ancestral-clip/") for path in CHAINS}
    assert made == chains | {f"interpolations/{way}.npz" for way in WAYS if way.startswith("imvfx")}
