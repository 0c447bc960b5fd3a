"""Prepare a dataset: read or download it, resize it, split it into train and reference, write one .npz."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import argparse

import numpy as np

from ddpm_dip import data, errors, files, provenance


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, help=f"one of {', '.join(data.DATASETS)}")
    parser.add_argument(
        "--root", help="folder with the source files; image_folder: or an archive, or its address; else downloaded"
    )
    parser.add_argument("--sha256", help="digest of the archive that --root names")
    parser.add_argument(
        "--split",
        default="both",
        help=f"which of the set's own files, where it has two: {', '.join(data.SPLITS)} (default: both)",
    )
    parser.add_argument("--image-size", type=int, help="side in pixels (default: the set's own)")
    parser.add_argument("--channels", type=int, default=1, help="1 for grey (default), 3 for RGB")
    parser.add_argument("--reference", type=int, required=True, help="number of images to hold out, for distances")
    parser.add_argument("--seed", type=int, required=True, help="seed of the permutation that chooses them")
    parser.add_argument("--cache", type=Path, help="folder for downloads (default: 'downloads' beside the output)")
    parser.add_argument("--output", type=Path, required=True, help="the .npz file to write")
    parser.add_argument("--stamp", type=Path, help="JSON file to copy into the provenance")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    job = provenance.Job(arguments.stamp, __file__)
    options = data.Options(
        dataset=arguments.dataset,
        root=arguments.root,
        split=arguments.split,
        image_size=arguments.image_size,
        channels=arguments.channels,
        sha256=arguments.sha256,
        cache=arguments.cache or arguments.output.parent / "downloads",
    )
    loaded = data.load(options)
    parts = data.split_train_reference(loaded, arguments.reference, arguments.seed)
    files.write_npz(arguments.output, **parts)

    parts_with_labels = {part: parts[f"{part}_labels"] for part in ("train", "reference")}
    for path in loaded.files:
        job.input(path)
    job.finish(
        arguments.output,
        spec={
            "dataset": options.dataset,
            "split": options.split,
            "image_size": options.image_size,
            "channels": options.channels,
            "reference": arguments.reference,
        },
        seed=arguments.seed,
        image_shape=list(loaded.images.shape[1:]),
        counts={"train": len(parts["train"]), "reference": len(parts["reference"])},
        classes={
            part: {str(label): int(n) for label, n in zip(*np.unique(labels, return_counts=True), strict=True)}
            for part, labels in parts_with_labels.items()
        },
    )
    print(f"{arguments.output}: {len(parts['train'])} train and {len(parts['reference'])} reference images")


if __name__ == "__main__":
    errors.run(main)
