"""Training hw4 on images of two sizes: our step and epoch against the original's way of doing the same.

Arms of `epoch`, data loading included:
  original    the baseline: a torchvision-style data set of PIL images with transforms to [-1, 1], a DataLoader that
              loads in the process itself, float32 eager, plain Adam, PyTorch's default memory layout
  control     the same once more, with a net of its own: the machine's noise
  original-2-workers  the same with a DataLoader of two worker processes (--workers)
  ours-torch, ours-lanes  the family's train_epoch on images that are a tensor already, as the stage train calls it, by
              each backend that can run here
Arms of `step`: one batch that is there already, so without loading.

Every arm trains a net of its own on, round after round, from the same first weights and with noise and order of its
own: `loss` is the mean of the last of so many `epochs`.
"""

import itertools
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import common
import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ddpm_dip import data
from ddpm_dip.data import torchvision_import  # noqa: F401
from ddpm_dip.jobs import errors
from ddpm_dip.models import build_unet, gpu
from ddpm_dip.models.families import unet
from ddpm_dip.models.scale import to_model_range
from ddpm_dip.sampling import backend_choice

# isort: split
from torchvision import transforms

BATCHES = {28: 128, 16: 32}  # of images of that side, as the studies train them
LR, SEED = 1e-3, 0
KEYS = ["part", "side", "threads"]


def made_images(n: int, side: int = 28) -> np.ndarray:
    """(n, 1, side, side) uint8: smooth blobs, no data set needed."""
    coarse = torch.rand(n, 1, 5, 5, generator=torch.Generator().manual_seed(SEED))
    return (nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1) * 255).byte().numpy()


def mnist(root: str, n: int) -> np.ndarray:
    """The first n test images of MNIST's original files in the folder `root`."""
    images = data.load(data.Options(dataset="mnist", root=root, split="test", channels=1)).images
    if n > len(images):
        raise errors.UserError(f"--images {n}: there are {len(images)} in {root}")
    return images[:n]


def centred(x: Tensor) -> Tensor:
    return (x - 0.5) * 2


class Pictures(Dataset):
    """As torchvision's MNIST: 8-bit pixels in memory, a PIL image made and transformed for every item."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = images[:, 0]
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Lambda(centred)])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), 0


def original(batches: Iterable, side: int = 28, seed: int = SEED, device: str = "cpu") -> Callable[[], float]:
    """The original's training on (images, label) batches: each call a pass over them, which returns the mean loss."""
    torch.manual_seed(seed)
    net = build_unet("hw4", (1, side, side)).to(device)
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], LR)
    alphas_cumprod = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0).to(device)

    def run() -> float:
        total, count = 0.0, 0
        for x_0, _ in batches:
            x_0 = x_0.to(device)
            noise = torch.randn_like(x_0)
            t = torch.randint(0, 1000, (len(x_0),), device=device)
            alpha_cumprod = alphas_cumprod[t].view(-1, 1, 1, 1)
            x_t = alpha_cumprod.sqrt() * x_0 + (1 - alpha_cumprod).sqrt() * noise
            loss = nn.functional.mse_loss(net(x_t, t), noise)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total, count = total + loss.item() * len(x_0), count + len(x_0)
        return total / count

    return run


def trainers(device: str) -> list[str]:
    """The backends of trainings that can run here."""
    return ["torch", "lanes"] if backend_choice.resolve_training("auto", device) == "lanes" else ["torch"]


def ours(
    images: np.ndarray, batch: int, seed: int = SEED, device: str = "cpu", backend: str = "torch"
) -> Callable[[], float]:
    """The stage's training: each call is a `train_epoch` on `images`, and returns the mean loss.

    It also keeps the EMA of the weights and the best epoch's, as every training does.
    """
    settings = {"network": "hw4", "width": None, "replicate": seed, "epochs": None, "device": device}
    settings |= {"batch_size": batch, "lr": LR, "lr_schedule": "constant", "backend": backend}
    settings |= {"flip": False, "ema_decay": 0.995, "dip_passes": 0}
    trainer, tensor = unet.start(settings, images.shape[1:]), to_model_range(images).to(device)

    def run() -> float:
        unet.train_epoch(trainer, tensor)
        return trainer.losses[-1][1]

    return run


def arms_of(
    part: str, images: np.ndarray, batch: int, workers: list[int], device: str
) -> dict[str, Callable[[], float]]:
    """Fresh nets each time, so that the loss after so many rounds says the same everywhere."""
    pictures, there = Pictures(images), partial(original, side=images.shape[-1], device=device)
    some = images[:batch] if part == "step" else images
    mine = {f"ours-{backend}": ours(some, batch, device=device, backend=backend) for backend in trainers(device)}
    if part == "step":
        first = next(iter(DataLoader(pictures, batch)))
        return {"original": there([first]), **mine, common.CONTROL: there([first])}
    loaders = {n: DataLoader(pictures, batch, shuffle=True, num_workers=n) for n in workers}
    arms = {f"original-{n}-workers" if n else "original": there(loader) for n, loader in loaders.items()}
    return arms | mine | {common.CONTROL: there(loaders[0])}


def keeping(losses: list[float], run: Callable[[], float]) -> Callable[[], None]:
    return lambda: losses.append(run())


def main() -> None:
    parser = common.parser(__doc__, rounds=5)
    common.add_device(parser)
    parser.add_argument("--images", type=errors.at_least(1), default=640, help="of an epoch")
    parser.add_argument("--sides", type=int, choices=BATCHES, nargs="+", default=list(BATCHES), help="of the images")
    parser.add_argument("--batch-size", type=errors.at_least(1), help=f"default: by the images' side, {BATCHES}")
    parser.add_argument(
        "--workers", type=errors.at_least(0), nargs="+", default=[0, 2], help="of the original's loader"
    )
    parser.add_argument("--root", help="folder of MNIST's original files, for side 28 (default: made images)")
    args = parser.parse_args()
    common.prepare(args.device)

    rows, ends = [], []
    for threads, side, part in itertools.product(args.threads, args.sides, ("step", "epoch")):
        torch.set_num_threads(threads)
        batch = args.batch_size or BATCHES[side]
        images = mnist(args.root, args.images) if args.root and side == 28 else made_images(args.images, side)
        runs = arms_of(part, images, batch, [0, *args.workers], args.device)
        losses: dict[str, list[float]] = {name: [] for name in runs}
        arms = {name: keeping(losses[name], run) for name, run in runs.items()}
        count = args.images if part == "epoch" else min(batch, args.images)
        of = {"part": part, "side": side, "threads": threads}
        device = gpu.name(args.device)
        rows += common.take_turns(arms, args.rounds, **of, device=device, batch=batch, images=count)
        ends += [of | {"arm": name, "loss": values[-1], "epochs": len(values)} for name, values in losses.items()]
    table = common.summary(rows, [*KEYS, "device", "batch", "images"], "original", "images")
    table = table.merge(pd.DataFrame(ends), on=[*KEYS, "arm"])

    common.show("Training hw4: microseconds per image", table)
    common.write(args.output, "training", table, rows)
    title = f"Training, U-Net hw4, device {gpu.name(args.device)}"
    common.chart(args.output / "training.png", title, table, KEYS, "original")


if __name__ == "__main__":
    errors.run(main)
