"""Two nets of diffusers and one of ours in one study, on a folder of images without labels, by the real Snakemake."""

import sys
from pathlib import Path

import pytest
from conftest import jobs, snakemake
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import given_models

from ddpm_dip import data
from ddpm_dip.jobs import files
from ddpm_dip.jobs.job import read_record
from ddpm_dip.report import tables

pytestmark = [pytest.mark.slow, pytest.mark.long]
LEFT_OUT = dict.fromkeys(("quality", "steps", "passes", "epochs", "dip_in_training"))
CLAIMS = dict.fromkeys(given_models.default_config()["claims"])


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> tuple[Path, dict]:
    """A folder with images and two saved pipelines, and a study of them."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "images").mkdir()
    for number, image in enumerate(data.load(data.Options("digits", image_size=16)).images[:700]):
        Image.fromarray(image[0]).save(folder / f"images/{number:04d}.png")
    for kind in ("v", "epsilon-cosine"):
        given_models.trained(kind).save_pretrained(folder / kind)
    drawn = {"sampler": "ddim", "clip_x0": True}
    overlay = {
        "study": "own",
        "data": {"dataset": "image_folder", "root": str(folder / "images"), "reference": 400},
        "models": {
            "hw4-sees": {"network": "hw4-sees", "epochs": [1]},
            "v": {"family": "diffusers", "path": str(folder / "v")},
            "cosine": {"family": "diffusers", "path": [str(folder / "epsilon-cosine")]},
        },
        "sampling": {"n": 128},
        "metrics": {"classifier_epochs": 2},
        "experiments": LEFT_OUT
        | {"question": None, "few": {"grid": {"model": ["hw4-sees", "v", "cosine"], "nfe": 10} | drawn}},
        "claims": CLAIMS | {"more": {"better": {"nfe": 10}, "than": {"nfe": 2}, "at": {"model": "cosine"} | drawn}},
        "timing": None,
    }
    return folder, overlay


def test_two_given_nets_and_one_of_ours_are_one_report_and_another_net_is_drawn_anew(own):
    folder, overlay = own
    done = jobs(snakemake(folder, study="micro", overlay=overlay))
    assert {path for path in done if path.startswith("models/")} == {
        "models/hw4-sees/r0/epoch-0001/weights.safetensors", "models/v/r0/weights.safetensors",
        "models/cosine/r0/weights.safetensors",
    }  # fmt: skip
    results = folder / "results/own"
    table = tables.read("cells", results / "tables/cells.csv")
    assert set(table["model"]) == {"hw4-sees", "v", "cosine"} and table["fd_classifier"].isna().all()
    assert table["fd_rotation"].notna().all() and table["coverage_rotation"].notna().all()
    assert table[table["model"] == "v"]["steps"].tolist() == [100, 100]
    (claim,) = tables.read("claims", results / "tables/claims.csv").to_dict("records")
    assert (claim["metric"], claim["scope"], claim["n"]) == ("fd_rotation", "this net", 128)
    assert claim["verdict"] in ("supported", "refuted", "inconclusive") and claim["ci_low"] < claim["ci_high"]
    page = (results / "report/index.html").read_text(encoding="utf-8")
    assert "rotation net" in page and "cosine" in page
    record = read_record(results / "models/v/r0/weights.safetensors")
    weights = folder / "v/unet/diffusion_pytorch_model.safetensors"
    assert record["read"][str(weights)] == files.sha256(weights)
    assert jobs(snakemake(folder, "-n", study="micro", overlay=overlay)) == set()

    # another net in the same folder, of the same size
    given_models.untrained(folder / "other").joinpath("unet", weights.name).rename(weights)
    planned = jobs(snakemake(folder, "-n", study="micro", overlay=overlay))
    assert "models/v/r0/weights.safetensors" in planned
    assert {path.split("/")[1] for path in planned if path.startswith("samples/")} == {"v"}
