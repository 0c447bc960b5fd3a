"""UNet2DModels that were saved by diffusers: taken as they are, and trained no further.

A family of given nets has two functions; `study.given` says what a study knows of it.

    take(settings) -> (tensors, header)   what a net is made from, for a safetensors file; settings are those of a job
                                          of the stage `import_model`
    build(tensors, header) -> net         net(x, t) with x (N, C, H, W) and t (N,) or (1,) int64, in eval mode
"""

import json
from pathlib import Path

from torch import Tensor, nn

from ...jobs import files
from ...jobs.errors import UserError


class UNet(nn.Module):
    """A UNet2DModel as net(x, t)."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.net(x, t.expand(x.shape[0]), return_dict=False)[0]


def take(settings: dict) -> tuple[dict[str, Tensor], dict[str, object]]:
    """The net's weights in float32, and its configuration. Raises UserError where they do not fit each other."""
    config, weights = (Path(path) for path, _ in settings["files"][:2])
    tensors = {name: tensor.float() for name, tensor in files.read_safetensors(weights)[0].items()}
    header = {"network": "UNet2DModel", "config": json.dumps(files.read_json(config), sort_keys=True)}
    try:
        build(tensors, header)
    except (RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"{weights}: these are not the weights of {config}: {str(error).splitlines()[-1].strip()}"
        ) from error
    return tensors, header


def build(tensors: dict[str, Tensor], header: dict[str, str]) -> nn.Module:
    from ...data import torchvision_import  # noqa: F401, before diffusers, which imports torchvision
    from diffusers.models.unets.unet_2d import UNet2DModel  # isort: skip

    net = UNet2DModel.from_config(json.loads(header["config"]))
    tensors = dict(tensors)
    net._fix_state_dict_keys_on_load(tensors)  # attention's names in older ones, as from_pretrained has it
    net.load_state_dict(tensors)
    return UNet(net).eval()
