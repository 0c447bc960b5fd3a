"""A trained net as a folder for plain PyTorch: the same net, without this project, and back as a given one."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow/tools"))

import export as tool
import given_models
import yaml
from snakemake.utils import update_config

from ddpm_dip import study
from ddpm_dip.jobs import files, ledger
from ddpm_dip.jobs.errors import UserError
from ddpm_dip.models import build_unet, export
from ddpm_dip.models.families import unet
from ddpm_dip.study import given, plan

SHAPES = {"hw4": (1, 16, 16), "hw4-sees": (1, 28, 28), "imvfx": (3, 16, 16), "imvfx-sees": (1, 20, 20)}


@pytest.mark.parametrize("network", SHAPES)
def test_the_file_is_the_net(network):
    width = 4 if network == "imvfx" else None
    text = export.source(network, SHAPES[network], width, "A title.")
    assert not [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom) and node.level]
    space = {"__name__": "net"}
    exec(text, space)
    net, own = space["build"](), build_unet(network, SHAPES[network], width)
    net.load_state_dict(own.state_dict())
    x, t = torch.randn(3, *SHAPES[network]), torch.tensor([0, 500, 999])
    assert torch.equal(net(x, t), own(x, t)) and torch.equal(net(x, t[:1]), own(x, t[:1]))


@pytest.fixture
def exported(tmp_path, monkeypatch) -> Path:
    """The folder of a study's net that was trained for one epoch, two replicates."""
    monkeypatch.chdir(tmp_path)
    config = given_models.default_config()
    asked = study.read(config)
    settings = {
        "network": "hw4-sees",
        "width": None,
        "epochs": 1,
        "device": "cpu",
        "lr": 1e-3,
        "lr_schedule": "constant",
    }
    settings |= {"ema_decay": 0.9, "dip_passes": 0, "backend": "torch", "batch_size": 8, "flip": False}
    for replicate in (0, 1):
        trainer = unet.start(settings | {"replicate": replicate}, (1, 16, 16))
        unet.train_epoch(trainer, torch.rand(16, 1, 16, 16) * 2 - 1)
        weights = Path(f"results/digits/models/hw4-sees/r{replicate}/epoch-0040/weights.safetensors")
        files.write_safetensors(weights, *unet.weights(trainer))
    jobs = plan.plan(asked, plan.Machine("torch", "torch", "torch", 8, "torch"))
    made = {("train", f"hw4-sees/r{replicate}/epoch-0040") for replicate in (0, 1)}
    found = {(job.stage, job.name): ledger.Entry(job, {}, (job.stage, job.name) in made) for job in jobs}
    with pytest.raises(UserError, match="'hw5' is no U-Net that the study digits trains; did you mean 'hw4'"):
        tool.export(asked, Path("results/digits"), found, "hw5")
    with pytest.raises(UserError, match="results/digits: hw4 is not trained for 40 epochs by these settings yet"):
        tool.export(asked, Path("results/digits"), found, "hw4")
    said = tool.export(asked, Path("results/digits"), found, "hw4-sees")
    (Path(tmp_path) / "again.yaml").write_text(said.partition("here: ")[2])
    return tmp_path / "results/digits/export/hw4-sees"


PLAIN = """
import torch
from net import build
from safetensors.torch import load_file

net = build()
net.load_state_dict(load_file("r1.safetensors"))
torch.save(net(torch.ones(2, 1, 16, 16), torch.tensor([7])), "out.pt")
"""


def test_plain_pytorch_loads_it_and_a_study_takes_it_back(exported):
    done = subprocess.run([sys.executable, "-c", PLAIN], cwd=exported, capture_output=True, text=True, env={})
    assert done.returncode == 0, done.stderr
    tensors, header = files.read_safetensors(exported.parents[1] / "models/hw4-sees/r1/epoch-0040/weights.safetensors")
    net = build_unet(header["network"], (1, 16, 16))
    net.load_state_dict({name.removeprefix("ema."): each for name, each in tensors.items() if name.startswith("ema.")})
    assert torch.equal(torch.load(exported / "out.pt"), net(torch.ones(2, 1, 16, 16), torch.tensor([7])))
    config = given_models.default_config()
    update_config(config, yaml.safe_load((exported.parents[3] / "again.yaml").read_text()))  # as Snakemake lays it over
    config["experiments"]["back"] = {"grid": {"model": "hw4-sees-exported", "steps": 100}}
    asked = study.read(config)
    assert [cell.replicate for cell in asked.cells if cell.model == "hw4-sees-exported"] == [0, 1]
    found = given.describe("mine", config["models"]["hw4-sees-exported"])
    assert len(found.paths) == 2 and found.schedule == given.SCHEDULE == files.read_json(exported / "schedule.json")
