"""Fit a Deep Image Prior net to the first training image plus noise."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import torch

from ddpm_dip import errors, files, provenance
from ddpm_dip.dip_fit import fit_dip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="the data set's .npz file, from prepare_data.py")
    parser.add_argument("--iterations", type=errors.at_least(1), default=200)
    parser.add_argument("--seed", type=errors.at_least(0), default=0)
    parser.add_argument("--output", required=True, help="folder for weights.safetensors, fit.csv, fit.npz")
    parser.add_argument("--stamp", help="the workflow's stamp file, copied into the provenance")
    args = parser.parse_args()
    job = provenance.Job(args.stamp, __file__)
    torch.set_num_threads(1)
    fit = fit_dip(files.read_npz(job.input(args.data))["train"][0], args.iterations, args.seed)
    output = Path(args.output)
    rows = [("iteration", "loss", "psnr_noisy", "psnr_clean", "psnr_smoothed", "reverted"), *fit.curve]
    files.write_text(output / "fit.csv", "".join(",".join(map(str, row)) + "\n" for row in rows))
    files.write_npz(output / "fit.npz", clean=fit.clean.numpy(), noisy=fit.noisy.numpy(), output=fit.output.numpy())
    header = {"network": "dip", "image_channels": len(fit.clean[0]), "iterations": args.iterations, "seed": args.seed}
    files.write_safetensors(output / "weights.safetensors", fit.net.state_dict(), header)
    outputs = [output / name for name in ("weights.safetensors", "fit.csv", "fit.npz")]
    job.finish(*outputs, spec={"iterations": args.iterations}, seed=args.seed)
    last = fit.curve[-1]
    print(f"DIP: loss {last[1]:.6f}, PSNR {last[2]:.2f} dB to the noisy image, {last[3]:.2f} dB to the clean one")


if __name__ == "__main__":
    errors.run(main)
