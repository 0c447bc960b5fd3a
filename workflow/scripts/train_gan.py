"""Train a DCGAN to an epoch budget, from scratch or from a lower budget's snapshot."""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import torch

from ddpm_dip import checkpoints, errors, files, gan_training, gpu, provenance
from ddpm_dip.scale import to_model_range

TRAJECTORY = ("width", "batch_size", "lr", "flip", "device")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="the data set's .npz file, from prepare_data.py")
    parser.add_argument("--model", required=True, help="the model's name, for the loss table")
    parser.add_argument("--width", type=errors.at_least(1), default=64, help="channels before the last layer")
    parser.add_argument(
        "--epochs", type=errors.at_least(1), required=True, help="train until this many epochs are done"
    )
    parser.add_argument("--batch-size", type=errors.at_least(2), required=True)
    parser.add_argument("--lr", type=errors.at_least(0.0), required=True, help="Adam's learning rate, of both nets")
    parser.add_argument("--flip", action="store_true", help="mirror each image with probability 1/2")
    parser.add_argument("--seed", type=errors.at_least(0), required=True)
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
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    job = provenance.Job(args.stamp, __file__)
    torch.set_num_threads(args.threads)
    if args.device == "cuda":
        gpu.prepare("device")
    images = to_model_range(files.read_npz(job.input(args.data))["train"]).to(args.device)
    image_shape = tuple(images.shape[1:])
    spec = {key: getattr(args, key) for key in TRAJECTORY}
    trainer = gan_training.start(image_shape, seed=args.seed, lr=args.lr, width=args.width, device=args.device)
    shapes = spec | {"seed": args.seed, "inputs": list(job.inputs.values()), "code": (job.stamp or {}).get("code")}
    checkpoints.train_to(
        args.epochs,
        trainer,
        gan_training,
        lambda: gan_training.train_epoch(trainer, images, args.batch_size, flip=args.flip),
        model=args.model,
        columns=("loss_d", "loss_g", "seconds"),
        trajectory=json.dumps(shapes, sort_keys=True),
        lower=args.resume_from,
        progress=args.progress,
        output=args.output,
    )
    header = {
        "network": "dcgan",
        "image_shape": "x".join(map(str, image_shape)),
        "latent_dim": trainer.latent_dim,
        "width": args.width,
        "epoch": trainer.epoch,
        "step": trainer.step,
        "seed": args.seed,
    }
    outputs = [args.output / name for name in ("weights.safetensors", "state.safetensors", "losses.csv")]
    files.write_safetensors(outputs[0], trainer.generator.state_dict(), header)
    device = gpu.name(args.device)
    job.finish(*outputs, spec=spec | {"epochs": args.epochs}, seed=args.seed, device=device, threads=args.threads)
    checkpoints.remove(args.progress)


if __name__ == "__main__":
    errors.run(main)
