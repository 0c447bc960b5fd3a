"""Train a U-Net to an epoch budget, from scratch or from a lower budget's snapshot."""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import torch

from ddpm_dip import checkpoints, errors, files, gpu, provenance, training
from ddpm_dip.diffusion import linear_schedule
from ddpm_dip.dip_pass import dip_pass
from ddpm_dip.networks import build_dip
from ddpm_dip.scale import to_model_range

TRAJECTORY = (
    "network",
    "width",
    "batch_size",
    "lr",
    "lr_schedule",
    "flip",
    "weights",
    "ema_decay",
    "dip_passes",
    "device",
)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="the data set's .npz file, from prepare_data.py")
    parser.add_argument("--model", required=True, help="the model's name, for the loss table")
    parser.add_argument("--network", required=True, help="the U-Net: hw4, hw4-sees, imvfx or imvfx-sees")
    parser.add_argument("--width", type=errors.at_least(1), help="its channels at full resolution, for imvfx")
    parser.add_argument(
        "--epochs", type=errors.at_least(1), required=True, help="train until this many epochs are done"
    )
    parser.add_argument("--batch-size", type=errors.at_least(1), required=True)
    parser.add_argument("--lr", type=errors.at_least(0.0), required=True, help="Adam's learning rate")
    parser.add_argument(
        "--lr-schedule", choices=["constant", "cosine"], default="constant", help="cosine: annealed over --epochs"
    )
    parser.add_argument("--flip", action="store_true", help="mirror each image with probability 1/2")
    parser.add_argument("--seed", type=errors.at_least(0), required=True)
    parser.add_argument("--weights", choices=["last", "best_training_loss", "ema"], default="last")
    parser.add_argument("--ema-decay", type=float, default=0.995, help="used with --weights ema")
    parser.add_argument("--dip", help="DIP weights: the net sees DIP passes of x_t (DIP inside training)")
    parser.add_argument("--dip-passes", type=errors.at_least(0), default=0)
    parser.add_argument("--resume-from", type=Path, help="folder of a lower budget's snapshot of the same trajectory")
    parser.add_argument(
        "--progress", type=Path, required=True, help="folder for the state after each epoch, to go on after a stop"
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=errors.at_least(1), default=torch.get_num_threads())
    parser.add_argument(
        "--output", type=Path, required=True, help="folder for weights.safetensors, state.safetensors, losses.csv"
    )
    parser.add_argument("--stamp", help="the workflow's stamp file, copied into the provenance")
    args = parser.parse_args()
    if args.dip_passes and not args.dip:
        parser.error("--dip-passes needs --dip")
    if args.lr_schedule == "cosine" and args.resume_from:
        parser.error("--lr-schedule cosine depends on --epochs: there is no lower budget to --resume-from")
    return args


def main() -> None:
    args = parse_arguments()
    job = provenance.Job(args.stamp, __file__)
    torch.set_num_threads(args.threads)
    if args.device == "cuda":
        gpu.prepare("device")
    images = to_model_range(files.read_npz(job.input(args.data))["train"]).to(args.device)
    image_shape = tuple(images.shape[1:])
    total_epochs = args.epochs if args.lr_schedule == "cosine" else None
    spec = {key: getattr(args, key) for key in TRAJECTORY} | {"total_epochs": total_epochs}

    trainer = training.start(
        args.network,
        image_shape,
        width=args.width,
        lr=args.lr,
        lr_schedule=args.lr_schedule,
        total_epochs=total_epochs,
        seed=args.seed,
        weights=args.weights,
        ema_decay=args.ema_decay,
        device=args.device,
    )
    condition = None
    if args.dip_passes:
        # as in study A, the batch passes the DIP's batch norm together here, and nowhere else
        dip = build_dip(image_shape[0], batch_statistics=True)
        dip.load_state_dict(files.read_safetensors(job.input(args.dip))[0])
        dip.to(args.device)

        def condition(x_t: torch.Tensor) -> torch.Tensor:
            return dip_pass(dip, x_t, args.dip_passes, image_shape[-1])

    schedule = linear_schedule()
    shapes = spec | {"seed": args.seed, "inputs": list(job.inputs.values()), "code": (job.stamp or {}).get("code")}
    checkpoints.train_to(
        args.epochs,
        trainer,
        training,
        lambda: training.train_epoch(trainer, images, schedule, args.batch_size, condition, flip=args.flip),
        model=args.model,
        columns=("loss", "seconds"),
        trajectory=json.dumps(shapes, sort_keys=True),
        lower=args.resume_from,
        progress=args.progress,
        output=args.output,
    )
    header = {
        "network": args.network,
        "image_shape": "x".join(map(str, image_shape)),
        "epoch": trainer.epoch,
        "step": trainer.step,
        "weights": args.weights,
        "seed": args.seed,
    }
    if args.width:
        header["width"] = args.width
    outputs = [args.output / name for name in ("weights.safetensors", "state.safetensors", "losses.csv")]
    files.write_safetensors(outputs[0], training.sampling_weights(trainer), header)
    device = gpu.name(args.device)
    job.finish(*outputs, spec=spec | {"epochs": args.epochs}, seed=args.seed, device=device, threads=args.threads)
    checkpoints.remove(args.progress)


if __name__ == "__main__":
    errors.run(main)
