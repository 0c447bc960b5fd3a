"""Peak memory of each stage's script as its number of images grows: what is flat, and what is not.

Each script runs on a job file, as a process of its own on one thread; its peak is what the system says when it has
ended (maximum resident set size). Stages, and what is counted by n:
  import               no stage: a process that imports torch and NumPy alone, what all stages have in common
  sample               n samples (batches of 64 inside), --steps steps, on the fastest backend installed
  train                one epoch on n images, batch 128
  reference_features   the classifier's features of n reference images
  evaluate             the distances of n samples from 1,024 reference images
`ratio` is the peak over the same stage's at the smallest n; `kb_per_image` the growth from the smallest n to the
n at hand: an image 1x28x28 has 3.1 kB in float32. Medians over the rounds; `spread_mb`, the largest peak less the
smallest of one n, is the measure's own noise.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import common
import numpy as np
import pandas as pd

from ddpm_dip.jobs import errors, files
from ddpm_dip.sampling import backend_choice

SCRIPTS = common.ROOT / "workflow" / "scripts"
REFERENCE = 1024


def peak_mb(*command: object) -> float:
    """Run a command and return its peak resident set in MB. Raises UserError where it fails."""
    # a child's peak begins at its parent's size when it was started: so torch is not imported here
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([sys.executable, *map(str, command)], stdout=said, stderr=said, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if status:
            said.seek(0)
            raise errors.UserError(f"{command[0]} failed: {said.read().decode(errors='replace')[-2000:]}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6  # kB, but for macOS


def run(folder: Path, stage: str, name: str, settings: dict, inputs: dict, outputs: dict) -> float:
    """Run a stage on a job of the study in `folder`; paths are relative to it. Returns the peak in MB."""
    job = {"stage": stage, "settings": settings, "inputs": inputs, "outputs": outputs}
    path = folder / "jobs" / stage / f"{name}.json"
    files.write_json(path, job)
    return peak_mb(SCRIPTS / f"{stage}.py", path)


def write_data(path: Path, shape: tuple[int, ...], train: int, reference: int) -> Path:
    rng = np.random.default_rng(0)
    parts = {"train": train, "reference": reference}
    images = {part: rng.integers(0, 256, (n, *shape), dtype=np.uint8) for part, n in parts.items()}
    labels = {f"{part}_labels": np.arange(n) % 10 for part, n in parts.items()}
    files.write_npz(path, **images, **labels)
    return path


def train(folder: Path, network: str, name: str, data: str) -> float:
    """One epoch on `data`, the weights into the folder `name`."""
    settings = {"model": "net", "family": "unet", "network": network, "width": None, "replicate": 0, "epochs": 1}
    settings |= {"batch_size": 128, "lr": 1e-3, "lr_schedule": "constant", "flip": False, "ema_decay": 0.995}
    settings |= {"dip_passes": 0, "device": "cpu", "backend": backend_choice.resolve_training("auto")}
    names = {"weights": "weights.safetensors", "state": "state.safetensors", "losses": "losses.csv"}
    outputs = {role: f"{name}/{file}" for role, file in names.items()}
    return run(folder, "train", name, settings, {"data": data}, outputs)


def main() -> None:
    parser = common.parser(__doc__, rounds=2, threads=False)
    parser.add_argument("--counts", type=errors.at_least(2), nargs="+", default=[128, 512, 2048], help="n")
    parser.add_argument("--steps", type=errors.at_least(1), default=4, help="K of the samples")
    parser.add_argument("--network", default="hw4", help="a U-Net of models/networks")
    parser.add_argument("--shape", type=int, nargs=3, default=[1, 28, 28], metavar=("C", "H", "W"), help="of an image")
    args = parser.parse_args()
    cell = {"model": "net", "replicate": 0, "epochs": 1, "weights": "ema", "start": "noise", "passes": None}
    cell |= {"sampler": "ancestral", "clip_x0": False, "steps": args.steps, "nfe": args.steps}

    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder / "small.npz", args.shape, 128, REFERENCE)
        train(folder, args.network, "model", "small.npz")
        nets, device = {"classifier": "classifier.safetensors"}, {"device": "cpu"}
        classifier = {"epochs": 1, "seed": 0}
        run(folder, "train_classifier", "0", classifier, {"data": "small.npz"}, {"classifier": nets["classifier"]})
        reference = {"features": "reference.npz"}
        run(folder, "reference_features", "all", device, {"data": "small.npz", "nets": nets}, reference)

        def stages(n: int) -> dict[str, float]:
            data, samples = f"data-{n}.npz", f"samples-{n}.npz"
            write_data(folder / data, args.shape, n, n)
            found = {"import": peak_mb("-c", "import numpy, torch")}
            drawn = {"family": "unet", "cell": cell, "n": n, "backend": "auto"}
            inputs = {"data": "small.npz", "weights": "model/weights.safetensors"}
            found["sample"] = run(folder, "sample", str(n), drawn, inputs, {"samples": samples})
            found["train"] = train(folder, args.network, f"model-{n}", data)
            inputs, outputs = {"data": data, "nets": nets}, {"features": "features.npz"}
            found["reference_features"] = run(folder, "reference_features", str(n), device, inputs, outputs)
            inputs = {"samples": samples, "nets": nets, **reference}
            found["evaluate"] = run(folder, "evaluate", str(n), device, inputs, {"metrics": "metrics.json"})
            return found

        counts = sorted(set(args.counts))
        for turn in range(args.rounds):
            for n in counts:
                rows += [{"stage": stage, "n": n, "round": turn, "peak_mb": mb} for stage, mb in stages(n).items()]
    shape = "x".join(map(str, args.shape))
    frame = pd.DataFrame(rows).assign(device="cpu", threads=1)
    peaks = frame.groupby(["stage", "n", "device", "threads"], sort=False)["peak_mb"]
    table = pd.DataFrame({"peak_mb": peaks.median(), "spread_mb": peaks.max() - peaks.min()}).reset_index()
    order = list(table["stage"].unique())
    table = table.sort_values("stage", kind="stable", key=lambda stage: stage.map(order.index))
    by_stage = table.groupby("stage")
    table["ratio"] = table["peak_mb"] / by_stage["peak_mb"].transform("first")
    grown = 1000 * (table["peak_mb"] - by_stage["peak_mb"].transform("first"))
    table["kb_per_image"] = (grown / (table["n"] - counts[0])).where(table["n"] > counts[0])

    common.show("Peak memory of a stage's process", table)
    common.write(args.output, "memory", table, rows)
    chart(args.output / "memory.png", table, f"{args.network}, {shape}")


def chart(path: Path, table: pd.DataFrame, of: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for stage, rows in table.groupby("stage", sort=False):
        axis.plot(rows["n"], rows["peak_mb"], "o-", label=stage)
    axis.set_xscale("log", base=2)
    axis.set_xticks(table["n"].unique(), table["n"].unique())
    axis.set_ylim(bottom=0)
    axis.set(xlabel="n, images", ylabel="peak resident set, MB", title=f"Peak memory of a stage's process: {of}, cpu")
    axis.grid(color="0.9")
    axis.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 0.02), ncols=3, fontsize="small")
    files.write_atomic(path, lambda part: figure.savefig(part, dpi=130))
    plt.close(figure)


if __name__ == "__main__":
    errors.run(main)
