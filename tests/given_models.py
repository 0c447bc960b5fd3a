"""Small diffusion models, trained for seconds by diffusers' own means and saved as its users save them: for tests."""

import json
from pathlib import Path

import torch
import yaml

import ddpm_dip.data.torchvision_import  # noqa: F401, before diffusers, which imports torchvision
from ddpm_dip import data

from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel  # isort: skip

KINDS = {  # name -> number of timesteps, betas, prediction
    "epsilon": (1000, "linear", "epsilon"),
    "epsilon-cosine": (100, "squaredcos_cap_v2", "epsilon"),
    "v": (100, "linear", "v_prediction"),
    "v-cosine": (1000, "squaredcos_cap_v2", "v_prediction"),
    "sample": (100, "scaled_linear", "sample"),
}
ARCHITECTURE = {
    "sample_size": 16,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": (8,),
    "down_block_types": ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",),
    "mid_block_type": None,
    "layers_per_block": 1,
    "norm_num_groups": 4,
}
WITH_ATTENTION = {
    "block_out_channels": (8, 16),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "mid_block_type": "UNetMidBlock2D",
    "attention_head_dim": 4,
}


def target(scheduler: DDPMScheduler, x_0, noise, t):
    kind = scheduler.config.prediction_type
    return (
        {"epsilon": noise, "sample": x_0}.get(kind) if kind != "v_prediction" else scheduler.get_velocity(x_0, noise, t)
    )


def trained(kind: str, steps: int = 40) -> DDPMPipeline:
    """A pipeline whose net is trained as diffusers' unconditional example trains."""
    timesteps, betas, prediction = KINDS[kind]
    torch.manual_seed(0)
    net = UNet2DModel(**ARCHITECTURE | (WITH_ATTENTION if kind == "epsilon-cosine" else {}))
    scheduler = DDPMScheduler(timesteps, beta_schedule=betas, prediction_type=prediction)
    images = torch.from_numpy(data.load(data.Options("digits", image_size=16)).images).float() / 127.5 - 1
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for _ in range(steps):
        x_0 = images[torch.randint(len(images), (32,))]
        noise, t = torch.randn_like(x_0), torch.randint(timesteps, (32,))
        predicted = net(scheduler.add_noise(x_0, noise, t), t).sample
        loss = torch.nn.functional.mse_loss(predicted, target(scheduler, x_0, noise, t))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return DDPMPipeline(net.eval(), scheduler)


def untrained(folder: Path, scheduler: dict | None = None, seed: int = 0, **architecture) -> Path:
    """The folder of a saved pipeline whose net is as it was initialised."""
    torch.manual_seed(seed)
    net = UNet2DModel(**ARCHITECTURE | architecture)
    DDPMPipeline(net, DDPMScheduler(**scheduler or {})).save_pretrained(folder)
    return folder


def edited(file: Path, **changes) -> None:
    """Change entries of a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def default_config() -> dict:
    return yaml.safe_load((Path(__file__).resolve().parents[1] / "config.yaml").read_text(encoding="utf-8"))
