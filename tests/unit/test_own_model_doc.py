"""docs/own-model.md: its study is accepted, its net is taken, and its ten lines draw from an exported one."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import given_models
import made_study

from ddpm_dip import study
from ddpm_dip.jobs import files
from ddpm_dip.models import build_unet, export
from ddpm_dip.models.families import torch as own_nets
from ddpm_dip.study import given

PAGE = (Path(__file__).resolve().parents[2] / "docs/own-model.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.M | re.S)


def block(language: str, holds: str) -> str:
    (found,) = (text for kind, text in BLOCKS if kind == language and holds in text)
    return found


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(600):
        path = Path(f"my-images/{number % 3}/{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((16, 16), np.uint8)).save(path)
    given_models.untrained(Path("my-model"))
    return tmp_path


def test_the_study_is_accepted(folder):
    written = yaml.safe_load(block("yaml", "study: my-model"))
    asked = study.read(made_study.overlay(given_models.default_config(), written))
    assert {cell.model for cell in asked.cells} == {"mine", "dip"} and asked.labelled
    wanted = [name for name, claim in written["claims"].items() if claim]
    assert sorted(claim.name for claim in asked.claims if claim.rows) == sorted(wanted)
    bare = yaml.safe_load(block("yaml", "path: my-model/unet"))["models"]["mine"]
    assert given.describe("mine", bare).schedule == given.SCHEDULE


def test_a_net_of_one_s_own_is_taken(folder):
    Path("my_net.py").write_text(block("python", "class Net"))
    space: dict = {}
    exec(block("python", "class Net"), space)
    net = space["build"]()
    save_file(net.state_dict(), "my_net.safetensors")
    model = yaml.safe_load(block("yaml", "my_net.py:build"))["models"]["mine"]
    found = given.describe("mine", model)
    taken = own_nets.take(model | {"files": given.digests(model, found.paths[0])})
    x, t = torch.randn(2, 1, 16, 16), torch.tensor([3])
    assert torch.equal(own_nets.build(*taken)(x, t), net(x, t.expand(2)))


def test_ten_lines_of_plain_pytorch_draw(folder, monkeypatch):
    Path("net.py").write_text(export.source("hw4-sees", (1, 16, 16), None, "A net."))
    files.write_safetensors("r0.safetensors", build_unet("hw4-sees", (1, 16, 16)).state_dict(), {})
    monkeypatch.syspath_prepend(str(folder))
    space: dict = {}
    exec(block("python", "alphas_cumprod").replace("range(999,", "range(3,"), space)
    assert space["x"].shape == (16, 1, 16, 16) and space["x"].isfinite().all()
    sys.modules.pop("net")
