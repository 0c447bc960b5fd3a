"""Sample a DCGAN: n images from keyed latents, as sample.py writes a chain's final ones.

The generator runs in eval mode, on one image at a time, so that an image is a function of (seed, index) alone.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import numpy as np
import torch

from ddpm_dip import errors, files, gan_sampling, provenance
from ddpm_dip.noise import keyed_noise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="the generator's weights.safetensors")
    parser.add_argument("--n", type=errors.at_least(1), required=True, help="number of samples")
    parser.add_argument("--seed", type=errors.at_least(0), required=True)
    parser.add_argument("--threads", type=errors.at_least(1), default=1)
    parser.add_argument("--cell", default="{}", help="JSON of the cell's names (dataset, model, ...), kept in the file")
    parser.add_argument("--output", required=True, help="the .npz file to write")
    parser.add_argument("--stamp", help="the workflow's stamp file, copied into the provenance")
    args = parser.parse_args()
    job = provenance.Job(args.stamp, __file__)
    torch.set_num_threads(args.threads)
    generator, latent_dim = gan_sampling.load_generator(job.input(args.weights))
    samples = generator(keyed_noise(args.seed, "gan-latents", range(args.n), (latent_dim,))).numpy()
    files.write_npz(args.output, samples=samples, cell=np.array(args.cell))
    job.finish(args.output, spec={"n": args.n}, seed=args.seed, threads=args.threads)


if __name__ == "__main__":
    errors.run(main)
