"""Train a U-Net to an epoch budget, from scratch or from a lower budget's snapshot."""

import argparse
import csv
import json
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import torch

from ddpm_dip import errors, files, provenance, training
from ddpm_dip.diffusion import linear_schedule
from ddpm_dip.dip_pass import dip_pass
from ddpm_dip.networks import build_dip
from ddpm_dip.scale import to_model_range


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="the data set's .npz file, from prepare_data.py")
    parser.add_argument("--model", required=True, help="the model's name, for the loss table")
    parser.add_argument("--network", required=True, help="the U-Net: hw4 or hw4-sees")
    parser.add_argument(
        "--epochs", type=errors.at_least(1), required=True, help="train until this many epochs are done"
    )
    parser.add_argument("--batch-size", type=errors.at_least(1), required=True)
    parser.add_argument("--lr", type=errors.at_least(0.0), required=True, help="Adam's learning rate, constant")
    parser.add_argument("--seed", type=errors.at_least(0), required=True)
    parser.add_argument("--weights", choices=["last", "best_training_loss", "ema"], default="last")
    parser.add_argument("--ema-decay", type=float, default=0.995, help="used with --weights ema")
    parser.add_argument("--dip", help="DIP weights: the net sees DIP passes of x_t (DIP inside training)")
    parser.add_argument("--dip-passes", type=errors.at_least(0), default=0)
    parser.add_argument("--resume-from", help="folder of a lower budget's snapshot of the same trajectory")
    parser.add_argument(
        "--progress", required=True, help="folder for the state after each epoch, to go on after a stop"
    )
    parser.add_argument("--threads", type=errors.at_least(1), default=torch.get_num_threads())
    parser.add_argument("--output", required=True, help="folder for weights.safetensors, state.safetensors, losses.csv")
    parser.add_argument("--stamp", help="the workflow's stamp file, copied into the provenance")
    args = parser.parse_args()
    if args.dip_passes and not args.dip:
        parser.error("--dip-passes needs --dip")
    return args


def save_state(folder: Path, trainer: training.Trainer, model: str, trajectory: str) -> None:
    """The loss table first: rows past the state's own epoch are dropped when it is read back."""
    rows = [("model", "epoch", "loss", "seconds"), *((model, *row) for row in trainer.losses)]
    files.write_text(folder / "losses.csv", "".join(",".join(map(str, row)) + "\n" for row in rows))
    tensors, header = training.state_tensors(trainer)
    files.write_safetensors(folder / "state.safetensors", tensors, header | {"trajectory": trajectory})


def load_state(folder: Path, trainer: training.Trainer, trajectory: str) -> bool:
    """Go on from a saved state, if it belongs to this trajectory (same data, settings and code)."""
    tensors, header = files.read_safetensors(folder / "state.safetensors")
    if header.get("trajectory") != trajectory:
        return False
    training.load_state(trainer, tensors, header)
    with open(folder / "losses.csv", newline="") as file:
        rows = [(int(row["epoch"]), float(row["loss"]), float(row["seconds"])) for row in csv.DictReader(file)]
    trainer.losses = rows[: trainer.epoch]
    return True


def main() -> None:
    args = parse_arguments()
    job = provenance.Job(args.stamp, __file__)
    torch.set_num_threads(args.threads)
    images = to_model_range(files.read_npz(job.input(args.data))["train"])
    image_shape = tuple(images.shape[1:])
    spec = {key: getattr(args, key) for key in ("network", "batch_size", "lr", "weights", "ema_decay", "dip_passes")}
    if args.dip:
        job.input(args.dip)
    code = job.stamp["code"] if job.stamp else None
    inputs = list(job.inputs.values())
    trajectory = json.dumps(spec | {"seed": args.seed, "inputs": inputs, "code": code}, sort_keys=True)

    trainer = training.start(
        args.network, image_shape, lr=args.lr, seed=args.seed, weights=args.weights, ema_decay=args.ema_decay
    )
    condition = None
    if args.dip_passes:
        # as in study A, the batch passes the DIP's batch norm together here, and nowhere else
        dip = build_dip(image_shape[0], batch_statistics=True)
        dip.load_state_dict(files.read_safetensors(args.dip)[0])

        def condition(x_t: torch.Tensor) -> torch.Tensor:
            return dip_pass(dip, x_t, args.dip_passes, image_shape[-1])

    if args.resume_from:
        lower = Path(args.resume_from)
        for name in ("state.safetensors", "losses.csv"):
            provenance.verified(lower / name)
        if not load_state(lower, trainer, trajectory):
            raise errors.UserError(f"{lower}: made with other data, settings or code; delete it and run again")
    progress = Path(args.progress)
    lock = files.lock(progress)
    if lock is None:  # a workflow that was killed alone leaves its jobs behind
        print(f"{progress}: another process still trains there; waiting for it", flush=True)
        lock = files.lock(progress, wait=True)
    if (progress / "state.safetensors").exists():
        later = json.loads(files.read_safetensors(progress / "state.safetensors")[1]["trainer"])["epoch"]
        if trainer.epoch < later <= args.epochs and load_state(progress, trainer, trajectory):
            print(f"{args.model}: going on from epoch {trainer.epoch}", flush=True)

    schedule = linear_schedule()
    while trainer.epoch < args.epochs:
        training.train_epoch(trainer, images, schedule, args.batch_size, condition)
        save_state(progress, trainer, args.model, trajectory)
        epoch, loss, seconds = trainer.losses[-1]
        print(f"{args.model}: epoch {epoch} of {args.epochs}, loss {loss:.4f}, {seconds:.1f} s", flush=True)

    output = Path(args.output)
    save_state(output, trainer, args.model, trajectory)
    header = {
        "network": args.network,
        "image_shape": "x".join(map(str, image_shape)),
        "epoch": trainer.epoch,
        "step": trainer.step,
        "weights": args.weights,
        "seed": args.seed,
    }
    weights = output / "weights.safetensors"
    files.write_safetensors(weights, training.sampling_weights(trainer), header)
    outputs = [weights, output / "state.safetensors", output / "losses.csv"]
    job.finish(*outputs, spec=spec | {"epochs": args.epochs}, seed=args.seed, threads=args.threads)
    shutil.rmtree(progress, ignore_errors=True)


if __name__ == "__main__":
    errors.run(main)
