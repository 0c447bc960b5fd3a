"""What the benchmarks share: arms in turn, ratios per round, a table, a CSV and a chart.

A shared machine is never quiet, so no benchmark compares two times that were not taken beside each other. All arms
run in every round, forwards in one and backwards in the next; a ratio is the baseline's time over the arm's in the
same round (above 1: faster than the baseline), and what is reported is the median and the quartiles of these ratios.
The baseline runs twice a round, the second time as an arm of its own, `control`: how far its ratios spread around 1 is
the machine's noise. Beside wall time there is the process' CPU time, which waits of a crowded machine do not count in
(but the spinning of threads that wait for each other does).
"""

import argparse
import math
import os
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from ddpm_dip.jobs import errors, files

ROOT = Path(__file__).resolve().parents[1]
CONTROL = "control"
QUARTILES = {"": 0.5, "_q1": 0.25, "_q3": 0.75}


def parser(doc: str, rounds: int | None = None, threads: bool = True) -> argparse.ArgumentParser:
    """The options that benchmarks share: those of rounds and of threads only where they have some."""
    options = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if rounds:
        options.add_argument("--rounds", type=errors.at_least(1), default=rounds, help="how often all is measured")
    if threads:
        options.add_argument(
            "--threads", type=errors.at_least(1), nargs="+", default=[1], help="one or more, each by itself"
        )
    options.add_argument("--output", type=Path, default=ROOT / "results" / "bench", help="folder for CSV and chart")
    return options


def add_device(options: argparse.ArgumentParser) -> None:
    options.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where all arms compute")


def prepare(device: str) -> None:
    """float32 on a GPU as on the CPU, for all arms. Raises UserError where there is none."""
    from ddpm_dip.models import gpu

    if device == "cuda":
        gpu.prepare("--device")


def cpu_seconds() -> float:
    """Of this process and of those of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def take_turns(arms: dict[str, Callable[[], object]], rounds: int, **keys: object) -> list[dict]:
    """Time each arm in each of `rounds` rounds, after one that is not kept. keys: what all these rows are to say.

    The first arm is the baseline; it runs once more a round, as `control`, unless `arms` has a control of its own.
    """
    arms = {**arms, CONTROL: arms.get(CONTROL, next(iter(arms.values())))}
    rows = []
    for turn in range(-1, rounds):
        for arm in list(arms) if turn % 2 == 0 else reversed(arms):
            settle()
            cpu, begin = cpu_seconds(), time.perf_counter()
            arms[arm]()
            settle()
            row = {"seconds": time.perf_counter() - begin, "cpu_seconds": cpu_seconds() - cpu}
            rows.append(keys | {"arm": arm, "round": turn} | row | {"load": round(os.getloadavg()[0], 2)})
    return [row for row in rows if row["round"] >= 0]


def settle() -> None:
    """Wait for a GPU; on a CPU the result is there when a call returns."""
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def summary(rows: list[dict], keys: list[str], baseline: str, work: str) -> pd.DataFrame:
    """A row an arm: microseconds per unit of `work` (a column) and ratios to `baseline`, with quartiles over rounds."""
    frame = pd.DataFrame(rows)
    frame["us"] = 1e6 * frame["seconds"] / frame[work]
    frame["cpu_us"] = 1e6 * frame["cpu_seconds"] / frame[work]
    same_round = [*keys, "round"]
    base = frame[frame["arm"] == baseline].set_index(same_round)[["us", "cpu_us"]].add_prefix("base_")
    frame = frame.join(base, on=same_round)
    frame["ratio"], frame["cpu_ratio"] = frame["base_us"] / frame["us"], frame["base_cpu_us"] / frame["cpu_us"]
    groups = frame.groupby([*keys, "arm"], sort=False)
    columns = ("us", "ratio", "cpu_us", "cpu_ratio")
    table = pd.DataFrame({c + end: groups[c].quantile(q) for c in columns for end, q in QUARTILES.items()})
    table["rounds"], table["load"] = groups["round"].nunique(), groups["load"].median()
    return table.reset_index()


def show(title: str, table: pd.DataFrame) -> None:
    """Print a table, its quartiles beside the medians and its empty columns left out."""
    shown = table.dropna(axis="columns", how="all").copy()
    for low in [c for c in shown if c.endswith("_q1")]:
        middle, high = low.removesuffix("_q1"), low.removesuffix("1") + "3"
        shown[middle] = [f"{m:.4g} ({a:.4g} to {b:.4g})" for m, a, b in shown[[middle, low, high]].to_numpy()]
        shown = shown.drop(columns=[low, high])
    print(f"\n{title}\n{shown.to_string(index=False, float_format='{:.4g}'.format)}", flush=True)


def write(output: Path, name: str, table: pd.DataFrame, rows: list[dict]) -> None:
    """<name>.csv, what was printed, and <name>-rounds.csv, each single measurement, with the machine in every row."""
    for suffix, frame in (("", table), ("-rounds", pd.DataFrame(rows))):
        files.write_text(output / f"{name}{suffix}.csv", frame.assign(machine=machine()).to_csv(index=False))


def machine() -> str:
    """The CPU's name and count, as the system says."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    return f"{model}, {os.cpu_count()} CPUs"


def chart(path: Path, title: str, table: pd.DataFrame, keys: list[str], baseline: str) -> None:
    """A panel for each value of `keys`: each arm's ratio to the baseline, median and quartiles, wall and CPU time."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = list(table.groupby(keys, sort=False))
    tallest = max(len(rows) for _, rows in panels)
    across = 2 if len(panels) == 4 else min(3, len(panels))
    down = math.ceil(len(panels) / across)
    size = (4.6 * across + 1.6, (0.42 * tallest + 1.2) * down + 0.7)
    figure, axes = plt.subplots(down, across, figsize=size, squeeze=False, layout="constrained")
    for axis in axes.flat[len(panels) :]:
        axis.remove()
    for axis, (values, rows) in zip(axes.flat, panels, strict=False):
        rows = rows[rows["arm"] != baseline]
        noise = rows[rows["arm"] == CONTROL]
        axis.axvspan(noise["ratio_q1"].item(), noise["ratio_q3"].item(), color="0.85", label="control, wall (noise)")
        axis.axvline(1, color="0.4", linewidth=1)
        for column, shift, colour in (("ratio", -0.12, "#0173b2"), ("cpu_ratio", 0.12, "#de8f05")):
            middle = rows[column]
            around = [middle - rows[f"{column}_q1"], rows[f"{column}_q3"] - middle]
            at = [place + shift for place in range(len(rows))]
            label = {"ratio": "wall time", "cpu_ratio": "CPU time"}[column]
            axis.errorbar(middle, at, xerr=around, fmt="o", markersize=4, capsize=2, color=colour, label=label)
        axis.set_yticks(range(len(rows)), rows["arm"])
        axis.invert_yaxis()
        axis.set_xlim(left=0)
        axis.grid(axis="x", color="0.9")
        axis.set_title(", ".join(f"{key} {value}" for key, value in zip(keys, values, strict=True)), fontsize="medium")
        axis.set_xlabel(f"times as fast as {baseline}\n(per round: median, quartiles)")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(f"{title}\n{machine()}", fontsize="medium")
    files.write_atomic(path, lambda part: figure.savefig(part, dpi=130))
    plt.close(figure)
