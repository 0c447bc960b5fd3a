"""The same training? Loss after each epoch, the original's way and ours, over several seeds.

Both train hw4 from the same first weights, seed by seed, with order, timesteps and noise of their own. An epoch's row
has the means over the seeds, their standard deviations (sd), and `gap`, ours less the original's mean. `gap_ses` is
the gap in standard errors of a difference of two such means, taken as independent: with three seeds, chance alone
goes up to 3 or so.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import common
import pandas as pd
import torch
from torch.utils.data import DataLoader
from training import Pictures, made_images, mnist, original, ours, trainers

from ddpm_dip.jobs import errors


def curves(seeds: int, epochs: int, images: object, batch: int) -> list[dict]:
    rows = []
    for seed in range(seeds):
        loader = DataLoader(Pictures(images), batch, shuffle=True)
        runs = {"original": original(loader, seed=seed), "ours": ours(images, batch, seed, backend=trainers("cpu")[-1])}
        for arm, run in runs.items():
            rows += [{"arm": arm, "seed": seed, "epoch": epoch, "loss": run()} for epoch in range(1, epochs + 1)]
            print(f"seed {seed}, {arm}: {rows[-1]['loss']:.4f}", flush=True)
    return rows


def main() -> None:
    parser = common.parser(__doc__, threads=False)
    parser.add_argument("--seeds", type=errors.at_least(2), default=3)
    parser.add_argument("--threads", type=errors.at_least(1), default=1)
    parser.add_argument("--epochs", type=errors.at_least(1), default=5)
    parser.add_argument("--images", type=errors.at_least(1), default=8000)
    parser.add_argument("--batch-size", type=errors.at_least(1), default=128)
    parser.add_argument("--root", help="folder of MNIST's original files (default: made images)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    images = mnist(args.root, args.images) if args.root else made_images(args.images)

    rows = curves(args.seeds, args.epochs, images, args.batch_size)
    losses = pd.DataFrame(rows).groupby(["epoch", "arm"])["loss"].agg(["mean", "std"]).unstack()
    table = pd.DataFrame({"epoch": losses.index})
    for arm in ("original", "ours"):
        table[arm], table[f"{arm}_sd"] = losses["mean", arm].to_numpy(), losses["std", arm].to_numpy()
    table["gap"] = table["ours"] - table["original"]
    table["gap_ses"] = table["gap"] / ((table["original_sd"] ** 2 + table["ours_sd"] ** 2) / args.seeds) ** 0.5
    table = table.assign(seeds=args.seeds, threads=args.threads, device="cpu")

    common.show(f"Training hw4 1x28x28, {args.images} images: mean loss of an epoch, {args.seeds} seeds", table)
    common.write(args.output, "loss_curves", table, rows)
    chart(args.output / "loss_curves.png", pd.DataFrame(rows))


def chart(path: Path, rows: pd.DataFrame) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from ddpm_dip.jobs import files

    figure, axis = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for (arm, colour), style in zip((("original", "#de8f05"), ("ours", "#0173b2")), ("--", "-"), strict=True):
        for seed, curve in rows[rows["arm"] == arm].groupby("seed"):
            axis.plot(curve["epoch"], curve["loss"], style, color=colour, label=arm if seed == 0 else None)
    axis.set_yscale("log")
    axis.set_xticks(rows["epoch"].unique())
    axis.set(xlabel="epoch", ylabel="mean training loss (log)", title="hw4, 1x28x28: a line a seed")
    axis.legend(frameon=False)
    files.write_atomic(path, lambda part: figure.savefig(part, dpi=130))
    plt.close(figure)


if __name__ == "__main__":
    errors.run(main)
