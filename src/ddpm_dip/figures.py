"""The study's figures by name: each a function from result files to a Matplotlib figure (a GIF: frames).

Every option comes as text (a command line's KEY=VALUE); each function's keyword arguments are its options.
"""

import inspect
import io
import json
from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.textpath import TextPath
from PIL import Image, ImageDraw, ImageFont

from . import display as displays
from . import files, tables
from . import published as study
from .errors import UserError

WIDTH = 10.0  # inches: about 1000 px of a page
DPI = 150
SHOWN = 8  # always the first samples, so that no picture is selected by hand
STRIPS, MOST_POINTS = 4, 12  # pairs of latents shown, the first ones, and images of each
FD_LABEL = "Fréchet distance\n(classifier features)"
K_LABEL = "K (the chain's last K of 1000 timesteps)"
DISPLAY_LABELS = {"minmax": "minmax display", "clamp": "clamp display"}

_BRIGHT = sns.color_palette("colorblind")
# One colour per arm in every figure. Timing's methods are arms too.
ARM_COLOURS = {
    "noise": _BRIGHT[0],
    "dip": _BRIGHT[3],
    "dip-every-step": _BRIGHT[4],
    "mean-image": _BRIGHT[2],
    "dip-alone": sns.color_palette("deep")[5],
}
METHOD_ARMS = {"ddpm": "noise", "dip+ddpm": "dip", "dip": "dip-alone"}
_GREY = "0.45"
_MAT = (196, 205, 216)  # behind pictures, so that an all-white one is seen
_COMPACT = plt.FuncFormatter(lambda v, _: f"{v:g}" if v < 1000 else tables.compact(v).replace(".0", ""))


def draw(name: str, inputs: list[Path], options: dict[str, str] | None = None) -> Figure | list[Image.Image]:
    """The figure of that name. Raises UserError for an unknown name or option, or a wrong input."""
    if name not in FIGURES:
        raise UserError(f"figure {name}: unknown; right is one of {', '.join(FIGURES)}")
    function, options = FIGURES[name], options or {}
    known = list(inspect.signature(function).parameters)[1:]
    for key in options:
        if key not in known:
            raise UserError(f"figure {name}: unknown option {key}; right is {', '.join(known) or 'none'}")
    sns.set_theme(
        context="notebook",
        style="whitegrid",
        font_scale=0.95,
        rc={"figure.dpi": DPI, "grid.color": "0.9", "axes.edgecolor": "0.7", "axes.titlesize": "medium"},
    )
    return function([Path(path) for path in inputs], **options)


def save(drawing: Figure | list[Image.Image], path: Path | str, dpi: int = DPI) -> None:
    """Write a figure as PNG (at `dpi`), frames as GIF. Raises UserError where the path ends otherwise."""
    right = ".png" if isinstance(drawing, Figure) else ".gif"
    if Path(path).suffix != right:
        raise UserError(f"{path}: this figure is a {right} file")
    if isinstance(drawing, Figure):
        files.write_atomic(path, lambda part: drawing.savefig(part, dpi=dpi, metadata={"Software": None}))
        plt.close(drawing)
    else:
        data = _gif(drawing)
        files.write_atomic(path, lambda part: part.write_bytes(data))


# ---------------------------------------------------------------- curves


def time_against_steps(inputs: list[Path]) -> Figure:
    """Seconds per image against K, by method and batch size, beside the published T4 times (timing.csv)."""
    table = tables.read_csv(inputs[0], tables.TIMING_COLUMNS)
    batches = sorted(table["batch"].unique())
    if not batches:
        raise UserError("time-against-steps: nothing to draw: no time was measured")
    fig, axes = plt.subplots(1, len(batches), figsize=(WIDTH, 4.6), squeeze=False, layout="constrained", dpi=DPI)
    handles: dict[str, object] = {}
    for axis, batch in zip(axes[0], batches, strict=True):
        part = table[table["batch"] == batch]
        for (method, passes), rows in part.groupby(["method", "passes"]):
            label = tables.arm_label(METHOD_ARMS.get(method, method), passes)
            colour = ARM_COLOURS.get(METHOD_ARMS.get(method), "black")
            if method == "dip":  # no chain, so no K: a level
                handles[label] = axis.axhline(rows["median_s"].median(), color=colour, ls="-.", lw=1.5)
                continue
            rows = rows.sort_values("steps")
            x, middle = rows["steps"].to_numpy(float), rows["median_s"].to_numpy(float)
            spread = np.abs([middle - rows["q1_s"], rows["q3_s"] - middle])
            marker, shift = ("o", -1) if method == "ddpm" else ("D", 1)
            handles[label] = axis.errorbar(
                x + shift * 5, middle, spread, color=colour, marker=marker, ms=5, lw=1.8, capsize=3, alpha=0.9
            )
        if batch == 1:
            for method, marker in (("ddpm", "o"), ("dip+ddpm", "D")):
                name = f"{tables.arm_label(METHOD_ARMS[method], 2)}, {study.TIMING_SOURCE}"
                (handles[name],) = axis.plot(
                    study.TIMING_STEPS,
                    study.TIMING_SECONDS[method],
                    color=_GREY,
                    ls="--" if method == "ddpm" else (0, (2, 2)),
                    lw=1.2,
                    marker=marker,
                    ms=4,
                    mfc="white",
                    zorder=1,
                )
        axis.set(title=f"batch {batch}", xlabel=K_LABEL, ylabel="time per image (s)")
        axis.set_ylim(bottom=0)
        axis.xaxis.set_major_locator(plt.MultipleLocator(200))
    chains = table[table["method"] != "dip"]  # the DIP passes alone are always the CPU's
    where = ", ".join(dict.fromkeys(f"{row.device}, {row.backend}" for row in chains.itertuples()))
    _legend(fig, handles)
    fig.suptitle(f"Time per image: median and quartiles ({where})", fontsize="medium")
    return fig


def distance_against_steps(inputs: list[Path], passes: str = "2") -> Figure:
    """Distance against K by arm, per model and display (cells.csv); passes=1,2,3: the DIP arms shown."""
    table = tables.largest_budget(tables.read_cells(inputs[0])).dropna(subset=["fd_classifier"])
    table = table[table["passes"].isin([0, *_numbers("passes", passes)])]
    # A model with a single K (DIP inside training) has no curve to show.
    chains = table[~table["arm"].isin(["dip-alone", "gan"])]
    counts = chains.groupby("variant")["steps"].nunique()
    variants = list(counts[counts > 1].index) or list(counts.index)
    fig, axes = _panels(variants, "nothing to draw: cells.csv has no chain with these passes")
    handles: dict[str, object] = {}
    # Several pass counts of one arm: the same colour, told apart by the line.
    counts = sorted(set(table["passes"]) - {0})
    styles = {
        (key, n): s for key in set(table["arm"]) for n, s in zip(counts, cycle(["-", "--", ":", "-."]), strict=False)
    }
    styles.update({(key, 0): "-" for key in set(table["arm"])})
    for row, name in enumerate(variants):
        for axis, display in zip(axes[row], tables.DISPLAY_NAMES, strict=True):
            part = table[table["variant"].isin([name, ""]) & (table["display"] == display)]
            for (key, count), rows in _by_arm(part):
                label = tables.arm_label(key, count)
                if key.endswith("-alone"):
                    level = rows["fd_classifier"].iloc[0]
                    handles[f"{label} (no chain)"] = axis.axhline(level, color=_colour(key), ls="-.", lw=1.4)
                else:
                    _curve(axis, rows, "steps", key, styles[key, count], handles, label)
            _finish_distance(axis, part, handles)
            axis.set(title=f"{name}, {DISPLAY_LABELS[display]}", ylabel=FD_LABEL, xlabel=K_LABEL)
            _ticks_at(axis, part.loc[part["steps"] > 0, "steps"])
    _legend(fig, handles)
    fig.suptitle("Distance to real images against K (lower is better)", fontsize="medium")
    return fig


def epochs(inputs: list[Path], passes: str = "3", steps: str = "500") -> Figure:
    """Distance against the epoch budget, per model and display (cells.csv); passes=3, steps=500."""
    (wanted,), (at,) = _numbers("passes", passes), _numbers("steps", steps)
    table = tables.read_cells(inputs[0]).dropna(subset=["fd_classifier", "epochs"])
    table = table[(table["steps"] == at) & table["passes"].isin([0, wanted])]
    budgets = table.groupby(["variant", "arm", "passes"])["epochs"].transform("nunique")
    table = table[budgets > 1]
    variants = list(table["variant"].unique())
    fig, axes = _panels(variants, f"nothing to draw: cells.csv has no two budgets at {wanted} passes, K = {at}")
    handles: dict[str, object] = {}
    for row, name in enumerate(variants):
        for axis, display in zip(axes[row], tables.DISPLAY_NAMES, strict=True):
            part = table[(table["variant"] == name) & (table["display"] == display)]
            for (key, count), rows in _by_arm(part):
                _curve(axis, rows, "epochs", key, "-", handles, tables.arm_label(key, count))
            _finish_distance(axis, part, handles)
            axis.set(title=f"{name}, {DISPLAY_LABELS[display]}", ylabel=FD_LABEL, xlabel="epoch budget (epochs)")
            _ticks_at(axis, part["epochs"])
    _legend(fig, handles)
    fig.suptitle(f"Distance to real images against the epoch budget, K = {at}", fontsize="medium")
    return fig


def passes_heatmap(inputs: list[Path]) -> Figure:
    """DIP passes x K with the distance in each cell, a panel per model and display (cells.csv)."""
    table = tables.largest_budget(tables.read_cells(inputs[0])).dropna(subset=["fd_classifier"])
    table = table[table["arm"].isin(["noise", "dip"])]
    counts = table.groupby(["variant", "steps"])["passes"].transform("nunique")
    table = table[counts >= min(3, counts.max() if len(counts) else 3)]
    variants = list(table["variant"].unique())
    height = 0.28 * table["passes"].nunique() + 1.0
    fig, axes = _panels(variants, "nothing to draw: cells.csv has no DIP passes", height=height)
    for row, name in enumerate(variants):
        for axis, display in zip(axes[row], tables.DISPLAY_NAMES, strict=True):
            part = table[(table["variant"] == name) & (table["display"] == display)]
            if part.empty:  # this display was not computed
                axis.set_axis_off()
                continue
            grid = part.pivot_table(index="passes", columns="steps", values="fd_classifier")
            values = grid.to_numpy(float)
            low, high = np.nanmin(values), np.nanmax(values)
            wide = low > 0 and high / low > 20
            sns.heatmap(
                grid.astype(float),
                ax=axis,
                annot=[[tables.compact(value) for value in line] for line in values],
                fmt="",
                cmap=sns.light_palette("#37507a", as_cmap=True),
                norm=LogNorm(low, high) if wide else Normalize(min(low, 0), high),
                linewidths=1,
                cbar=False,  # the numbers are written in
            )
            for column, best in enumerate(np.nanargmin(np.where(np.isnan(values), np.inf, values), axis=0)):
                axis.add_patch(Rectangle((column, best), 1, 1, fill=False, ec="black", lw=1.8, clip_on=False))
            axis.set_yticklabels(["0 (noise)" if count == 0 else str(count) for count in grid.index], rotation=0)
            floor = tables.compact(part["fd_classifier_floor"].median())
            axis.set_title(f"{name}, {DISPLAY_LABELS[display]} (floor {floor})")
            axis.set(xlabel="K (last K timesteps)", ylabel="DIP passes")
    fig.suptitle(
        "Fréchet distance (classifier features) by DIP passes and K: the best of each K outlined;\n"
        "darker is farther, each panel on its own colour scale",
        fontsize="medium",
    )
    return fig


def loss(inputs: list[Path], published: str = "false") -> Figure:
    """Training loss per epoch and model (training.csv); published=true adds the study's printed losses."""
    table = tables.read_csv(inputs[0], tables.TRAINING_COLUMNS)
    fig, axis = plt.subplots(figsize=(WIDTH, 4.2), layout="constrained", dpi=DPI)
    colours = _model_colours(table["model"])
    for model, rows in table.groupby("model"):
        axis.plot(rows["epoch"], rows["loss"], color=colours[model], marker="o", ms=4, lw=1.8, label=model)
    if _truth("published", published):
        known = study.TRAINING_LOSS
        axis.plot(
            list(known),
            list(known.values()),
            color=_GREY,
            ls="--",
            marker="s",
            mfc="white",
            ms=4,
            lw=1.2,
            zorder=1,
            label=f"hw4, published:\n{study.TRAINING_SOURCE}",
        )
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter(plt.FormatStrFormatter("%.3g"))
    axis.yaxis.set_minor_formatter(plt.FormatStrFormatter("%.3g"))
    axis.tick_params(axis="y", which="minor", labelsize="small")
    axis.xaxis.set_major_locator(plt.MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axis.set(
        title="Mean training loss by epoch (noise prediction)",
        xlabel="epoch",
        ylabel="mean squared error (log scale)",
    )
    axis.legend(loc="upper right")
    return fig


def gan_loss(inputs: list[Path]) -> Figure:
    """Losses per epoch of each DCGAN, discriminator's and generator's (gan_training.csv)."""
    table = tables.read_csv(inputs[0], tables.GAN_TRAINING_COLUMNS)
    fig, axis = plt.subplots(figsize=(WIDTH, 3.6), layout="constrained", dpi=DPI)
    colours = _model_colours(table["model"])
    for model, rows in table.groupby("model"):
        for column, part, style in (("loss_d", "discriminator", "-"), ("loss_g", "generator", "--")):
            axis.plot(rows["epoch"], rows[column], color=colours[model], ls=style, lw=1.8, label=f"{model}, {part}")
    axis.axhline(2 * np.log(2), color=_GREY, ls=":", lw=1.4, label="discriminator that cannot tell: 2 ln 2")
    axis.set_ylim(bottom=0)
    axis.xaxis.set_major_locator(plt.MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axis.set(title="Mean adversarial losses by epoch", xlabel="epoch", ylabel="cross-entropy (nats)")
    axis.legend(fontsize="small")
    return fig


def evolution(inputs: list[Path]) -> Figure:
    """Distance, and how much images differ in tone, by training epoch, for each model (evolution.csv)."""
    table = tables.read_cells(inputs[0])
    metric, floor = tables.distance(table)
    table = table.dropna(subset=["epochs"])
    measures = [column for column in (metric, "tone_sd") if table[column].notna().any()]
    if not measures:
        return _nothing("evolution: no distance and no tone was measured: all chains diverged")
    panels = [(display, column) for column in measures for display in tables.DISPLAY_NAMES]
    size = (WIDTH, 0.9 + 3.3 * len(measures))
    fig, axes = plt.subplots(len(measures), 2, figsize=size, squeeze=False, layout="constrained", dpi=DPI)
    colours = _model_colours(table["model"])
    handles: dict[str, object] = {}
    for axis, (display, column) in zip(axes.flat, panels, strict=True):
        part = table[(table["display"] == display) & table[column].notna()]
        for model, rows in part.groupby("variant"):
            rows = rows.sort_values("epochs")
            gan = (rows["arm"] == "gan").all()
            (handles[model],) = axis.plot(
                rows["epochs"].astype(float),
                rows[column],
                color=colours[rows["model"].iloc[0]],
                marker="D" if gan else "o",
                ms=6,
                mec="white",
                mew=0.6,
                ls="--" if gan else "-",
                lw=1.8,
            )
        axis.set_xscale("log")
        axis.set_yscale("log")
        ticks = sorted(set(part["epochs"]))
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.minorticks_off()
        if len(part) and part[column].max() / part[column].min() < 300:
            axis.yaxis.set_major_locator(plt.LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(_COMPACT)
        axis.set(xlabel="epochs of training (log scale)")
        if column == "tone_sd":
            axis.set(title=f"tone, {DISPLAY_LABELS[display]}", ylabel="sd over samples of the\nimage mean (0 to 1)")
        else:
            label = FD_LABEL if metric == "fd_classifier" else "FID (Inception)"
            axis.set(title=f"distance, {DISPLAY_LABELS[display]}", ylabel=label)
            if part[floor].notna().any():
                level = axis.axhline(part[floor].median(), color="black", ls=":", lw=1.6)
                handles["floor: real against real, same n"] = level
    _legend(fig, handles)
    words = {metric: "distance to real images (lower is better)", "tone_sd": "tone"}
    fig.suptitle(f"The same latents as training goes on: {', and '.join(words[column] for column in measures)}")
    return fig


def smoothness(inputs: list[Path], display: str = "minmax") -> Figure:
    """How evenly images change between two latents: a dot a pair, by model and sampler (interpolation.csv)."""
    table = tables.read_csv(inputs[0], tables.INTERPOLATION_COLUMNS)
    table = table[table["display"] == display]
    if table.empty:
        return _nothing("smoothness: nothing was measured between two latents: all chains diverged")
    table = table.assign(way=_ways(table))
    ways = sorted(set(table["way"]), key=lambda way: ("DCGAN" not in way, "DDIM" not in way, way))
    spaces = [space for space in ("pixels", "classifier") if space in set(table["space"])]
    steps = sum(column.startswith("step_") for column in table)
    palette = {"linear": _BRIGHT[0], "spherical": _BRIGHT[1]}
    paths = [path for path in palette if path in set(table["path"])]
    size = (WIDTH, 1.6 + 3 * (0.4 * len(ways) + 0.5))
    fig, axes = plt.subplots(3, len(spaces), figsize=size, sharey=True, squeeze=False, layout="constrained", dpi=DPI)
    measures = {
        "end_to_end": ("end-to-end distance", None),
        "path_ratio": ("path length / end-to-end distance", 1.0),
        "largest_share": ("largest step's share of the path", 1 / steps),
    }
    titles = {"pixels": "in pixels", "classifier": "in classifier features"}
    for row, (column, (label, least)) in zip(axes, measures.items(), strict=True):
        for axis, space in zip(row, spaces, strict=True):
            part = table[(table["space"] == space) & table[column].notna()]
            shared = dict(data=part, y="way", x=column, hue="path", hue_order=paths, order=ways)
            shared |= {"palette": palette, "ax": axis}
            sns.stripplot(**shared, dodge=True, size=3.5, alpha=0.55, jitter=0.12, legend=False)
            mark = dict(linestyle="none", marker="|", markersize=14, errorbar=None)
            sns.pointplot(**shared, **mark, dodge=0.4 if len(paths) > 1 else False, legend=axis is axes[0, 0])
            if least is None:
                axis.set_xlim(left=0)
            else:
                axis.axvline(least, color="black", ls=":", lw=1.4)
            axis.set(xlabel=label, ylabel="", title=titles[space])
    handles, labels = axes[0, 0].get_legend_handles_labels()
    if axes[0, 0].get_legend():
        axes[0, 0].get_legend().remove()
    named = dict(zip((f"{label} path (bar: mean)" for label in labels), handles, strict=True))
    named["least possible: a straight line; equal steps"] = Line2D([], [], color="black", ls=":", lw=1.4)
    _legend(fig, named)
    title = f"Between two latents, {DISPLAY_LABELS[display]}: how far the image moves, how directly and how evenly"
    fig.suptitle(title, fontsize="medium")
    return fig


def _nothing(why: str) -> Figure:
    """A figure that says why there is none: a diverged chain is a result, and the report has its place."""
    fig = plt.figure(figsize=(WIDTH, 1.2), dpi=DPI)
    fig.text(0.5, 0.5, why, ha="center", va="center", color="0.3")
    return fig


def _ways(table: pd.DataFrame) -> list[str]:
    """Model and sampler of each row of interpolation.csv, in words; the model's name alone where it is a DCGAN."""
    return [
        f"{row.model} (DCGAN)" if row.sampler == "gan" else f"{row.model}, {tables.way_label(row.sampler, row.noise)}"
        for row in table.itertuples()
    ]


def _model_colours(models: pd.Series) -> dict[str, tuple]:
    colours = [colour for i, colour in enumerate(sns.color_palette("Dark2")) if i != 1]  # orange is the DIP arm's
    return dict(zip(sorted(set(models)), cycle(colours), strict=False))


def brightness_drift(inputs: list[Path]) -> Figure:
    """The image mean along the chain, per model and K (samples .npz), beside the data's own (the data set's .npz)."""
    paths: dict[str, list[tuple[dict, np.ndarray, np.ndarray]]] = {}
    real = None  # mean and sd over the training images of the image mean
    for path in inputs:
        if "train" in (arrays := files.read_npz(path)):
            means = arrays["train"].mean((1, 2, 3)) / 127.5 - 1
            real = means.mean(), means.std()
            continue
        arrays, cell = _samples(path)
        if cell["steps"]:
            name = tables.variant(cell["model"], cell.get("weights"), cell.get("clip_x0"))
            paths.setdefault(name, []).append((cell, arrays["mean_path"], arrays["sd_path"]))
    if not paths:
        raise UserError("brightness-drift: none of the samples files holds a chain")
    ks = sorted({cell["steps"] for chains in paths.values() for cell, *_ in chains})
    colours = dict(zip(ks, sns.color_palette("flare", len(ks)), strict=True))
    arms = _arm_order({tables.arm(cell["start"], cell["sampler"]) for c in paths.values() for cell, *_ in c})
    styles = dict(zip(arms, cycle(["-", "--", ":", "-."]), strict=False))
    fig, axes = plt.subplots(
        2,
        len(paths),
        figsize=(WIDTH, 6.4),
        squeeze=False,
        sharex=True,
        sharey="row",
        layout="constrained",
        dpi=DPI,
    )
    handles: dict[str, object] = {f"K = {k}": Line2D([], [], color=colours[k], lw=2) for k in ks}
    if len(arms) > 1:
        for key in arms:
            name = tables.arm_label(key, 2).replace("(2)", "")
            handles[name] = Line2D([], [], color="0.3", ls=styles[key], lw=1.6)
    for column, (name, chains) in enumerate(paths.items()):
        top, bottom = axes[:, column]
        for cell, mean, sd in chains:
            t = cell["steps"] - 1 - np.arange(len(mean))  # the state's t; -1 is the final image
            style = {
                "color": colours[cell["steps"]],
                "ls": styles[tables.arm(cell["start"], cell["sampler"])],
            }
            top.plot(t, mean, lw=1.8, **style)
            bottom.plot(t, sd, lw=1.8, **style)
        if real is not None:
            middle, spread = real
            label = "real images (mean ± sd)"
            handles[label] = top.axhspan(middle - spread, middle + spread, color="0.75", alpha=0.8, zorder=0)
            handles["real images: sd"] = bottom.axhline(spread, color="0.35", ls=(0, (1, 1)), lw=1.4)
        top.set(title=name, ylabel="mean over samples" if column == 0 else "")
        bottom.set(xlabel="timestep t (−1: final image)", ylabel="sd over samples (log)" if column == 0 else "")
    axes[1, 0].set_yscale("log")
    axes[1, 0].yaxis.set_major_formatter(_COMPACT)
    axes[0, 0].invert_xaxis()  # the axes are shared: this turns them all
    _legend(fig, handles)
    fig.suptitle("The image mean along the chain: its mean and spread over samples", fontsize="medium")
    return fig


def dip_fit(inputs: list[Path]) -> Figure:
    """The DIP fit: PSNR by iteration with the reverts marked, and the three pictures (fit.csv, fit.npz)."""
    by_suffix = {path.suffix: path for path in inputs}
    if set(by_suffix) != {".csv", ".npz"}:
        raise UserError("dip-fit: right is the inputs fit.csv and fit.npz")
    table, arrays = tables.read_csv(by_suffix[".csv"], ["iteration"]), files.read_npz(by_suffix[".npz"])
    fig = plt.figure(figsize=(WIDTH, 3.9), layout="constrained", dpi=DPI)
    grid = fig.add_gridspec(1, 2, width_ratios=[1.25, 1])
    axis = fig.add_subplot(grid[0])
    for column, label, colour in (
        ("psnr_noisy", "to the noisy image", _BRIGHT[7]),
        ("psnr_clean", "to the clean image", _BRIGHT[0]),
        ("psnr_smoothed", "smoothed output to clean", _BRIGHT[1]),
    ):
        if column in table and table[column].notna().any():
            last = f"{label}: {table[column].iloc[-1]:.1f} dB at the end"
            axis.plot(table["iteration"], table[column], color=colour, lw=1.7, label=last)
    reverts = table.loc[table["reverted"].astype(str).isin(["True", "1", "1.0"]), "iteration"]
    if len(reverts):
        low = axis.get_ylim()[0]
        axis.plot(
            reverts,
            [low] * len(reverts),
            "v",
            color="black",
            ms=6,
            clip_on=False,
            label=f"went back to kept parameters ({len(reverts)}×)",
            ls="none",
        )
        axis.set_ylim(bottom=low)
    axis.set(title="PSNR while fitting", xlabel="Adam iteration", ylabel="PSNR (dB)")
    axis.legend(fontsize="small", loc="lower right")
    pictures = grid[1].subgridspec(1, 3)
    for column, name in enumerate(("clean", "noisy", "output")):
        picture = fig.add_subplot(pictures[column])
        picture.imshow(_picture(arrays[name][0]), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        picture.set_title(name)
        picture.axis("off")
    fig.suptitle("Deep Image Prior fitted to one noisy image (32 x 32)", fontsize="medium")
    return fig


def _panels(variants: list[str], nothing: str, height: float = 3.3) -> tuple[Figure, np.ndarray]:
    """A row per variant, a column per display."""
    if not variants:
        raise UserError(nothing)
    return plt.subplots(
        len(variants),
        len(tables.DISPLAY_NAMES),
        figsize=(WIDTH, 0.9 + height * len(variants)),
        squeeze=False,
        layout="constrained",
        dpi=DPI,
    )


def _by_arm(table: pd.DataFrame) -> list[tuple[tuple[str, int], pd.DataFrame]]:
    groups = {(key, int(count)): rows for (key, count), rows in table.groupby(["arm", "passes"])}
    order = _arm_order({key for key, _ in groups})
    return sorted(groups.items(), key=lambda item: (order.index(item[0][0]), item[0][1]))


def _arm_order(keys: set[str]) -> list[str]:
    return [key for key in ARM_COLOURS if key in keys] + sorted(keys - set(ARM_COLOURS))


def _colour(key: str) -> tuple:
    """The arm's colour; an arm unknown here takes one of the rest of the palette, by its name."""
    rest = [colour for colour in _BRIGHT if colour not in ARM_COLOURS.values()]
    return ARM_COLOURS.get(key) or rest[sum(map(ord, key)) % len(rest)]


def _curve(axis, rows: pd.DataFrame, x: str, key: str, style: str, handles: dict, label: str) -> None:
    rows = rows.sort_values(x)
    marker = {"noise": "o", "dip": "D", "mean-image": "s", "dip-every-step": "^"}.get(key, "v")
    (handles[label],) = axis.plot(
        rows[x].astype(float),
        rows["fd_classifier"],
        color=_colour(key),
        marker=marker,
        ms=6,
        mec="white",
        mew=0.6,
        ls=style,
        lw=1.8,
    )


def _finish_distance(axis, part: pd.DataFrame, handles: dict) -> None:
    """The floor, and a log axis where the range needs one."""
    if part.empty:  # this display was not computed
        return
    floor, values = part["fd_classifier_floor"].median(), part["fd_classifier"]
    if values.min() > 0 and values.max() / values.min() > 20:
        axis.set_yscale("log")
        if values.max() / min(values.min(), floor) < 300:
            axis.yaxis.set_major_locator(plt.LogLocator(subs=(1, 2, 5)))
    else:
        axis.set_ylim(0, values.max() * 1.08)
    axis.yaxis.set_major_formatter(_COMPACT)
    if pd.notna(floor):
        handles["floor: real against real, same n"] = axis.axhline(floor, color="black", ls=":", lw=1.6)


def _ticks_at(axis, values: pd.Series) -> None:
    """Ticks at the values that were run, where these are few."""
    ticks = sorted(int(value) for value in values.dropna().unique())
    if 0 < len(ticks) <= 8:
        axis.set_xticks(ticks)


def _legend(fig: Figure, handles: dict[str, object]) -> None:
    columns = 4 if max(map(len, handles), default=0) < 28 else 3
    fig.legend(
        list(handles.values()),
        list(handles),
        loc="outside lower center",
        ncols=min(columns, len(handles)),
        fontsize="small",
        frameon=False,
    )


# ---------------------------------------------------------------- pictures


def strip(inputs: list[Path], row: str = "arm", block: str = "steps", display: str = "minmax") -> Figure:
    """The first 8 samples of each cell: rows by `row`, blocks by `block`, shown by `display` (samples .npz).

    row, block: a cell's key (passes, epochs, steps, ...) or "arm" (start and passes). One model a strip.
    """
    images: dict[tuple, np.ndarray] = {}
    models: dict[str, dict] = {}
    alone: dict = {}
    for path in inputs:
        arrays, cell = _samples(path)
        shown = _shown(arrays["samples"][:SHOWN], display)
        at, key = _key(cell, row, path), _key(cell, block, path)
        if cell["model"]:
            models[tables.variant(cell["model"], cell.get("weights"), cell.get("clip_x0"))] = cell
        if len(models) > 1:
            raise UserError(f"strip: one model a strip; these files hold {', '.join(models)}")
        if cell["sampler"] == "none" and block == "steps":  # no chain, so the same beside every K
            alone[at] = shown
        elif (at, key) in images:
            raise UserError(f"strip: {path} is a second file for {row} {at}, {block} {key}")
        else:
            images[at, key] = shown
    blocks = sorted({key for _, key in images}) or [0]
    images.update({(at, key): shown for at, shown in alone.items() for key in blocks})
    rows = sorted({at for at, _ in images})
    return _mosaic(images, rows, blocks, row, block, _strip_title(models, row, display))


def gallery(inputs: list[Path], display: str = "minmax") -> Figure:
    """The first 16 samples of each file, a row a model (samples .npz)."""
    images: dict[tuple, np.ndarray] = {}
    steps = set()
    for path in inputs:
        arrays, cell = _samples(path)
        shown = _shown(arrays["samples"][: 2 * SHOWN], display)
        images[cell["model"], "1 to 8"], images[cell["model"], "9 to 16"] = shown[:SHOWN], shown[SHOWN:]
        steps.add(cell["steps"])
    chains = ", ".join(str(k) for k in sorted(steps) if k)
    kinds = ([f"DDPM from noise, K = {chains}"] if chains else []) + ["DCGAN"] * (0 in steps)
    title = f"{'; '.join(kinds)}: the first samples, {DISPLAY_LABELS[display]}"
    models = list(dict.fromkeys(model for model, _ in images))
    return _mosaic(images, models, ["1 to 8", "9 to 16"], "model", "samples", title)


def evolution_grid(inputs: list[Path], display: str = "minmax") -> Figure:
    """The first 16 latents at each of a model's epochs, a row an epoch, models below each other (samples .npz)."""
    images: dict[tuple, np.ndarray] = {}
    for path in inputs:
        arrays, cell = _samples(path)
        images[(cell["model"], cell["epochs"]), ""] = _shown(arrays["samples"][: 2 * SHOWN], display)
    rows = sorted(images, key=lambda key: (list(dict.fromkeys(at[0] for at, _ in images)).index(key[0][0]), key[0][1]))
    title = f"The same latents as training goes on, {DISPLAY_LABELS[display]}"
    columns = max(map(len, images.values()))
    return _mosaic(images, [at for at, _ in rows], [""], "budget", "", title, columns=columns)


def interpolation_strip(inputs: list[Path], display: str = "minmax") -> Figure:
    """Images between two latents: a row a sampler and pair, a block a path (interpolations .npz). One model a strip."""
    images: dict[tuple, np.ndarray] = {}
    models, points = {}, 0
    for path in inputs:
        arrays, cell = _samples(path)
        strips = arrays["images"][:STRIPS]
        strips = strips[:, _points_shown(strips.shape[1])]
        points = strips.shape[1]
        models[cell["model"]] = cell
        if len(models) > 1:
            raise UserError(f"interpolation-strip: one model a figure; these files hold {', '.join(models)}")
        for pair, strip_images in enumerate(strips):
            images[(cell["sampler"], cell["noise"], pair), cell["path"]] = _shown(strip_images, display)
    kinds = list(dict.fromkeys(at[:2] for at, _ in images))
    rows = sorted({at for at, _ in images}, key=lambda at: (kinds.index(at[:2]), at[2]))
    ((name, cell),) = models.items()
    budget = tables.epochs_label(cell["epochs"])
    title = f"{name}, {budget}, between two latents: the first pairs, {DISPLAY_LABELS[display]}"
    blocks = sorted({block for _, block in images})
    return _mosaic(images, rows, blocks, "way", "path", title, columns=points)


def _points_shown(points: int) -> np.ndarray:
    """Which of a strip's points are shown: evenly spaced, both ends among them."""
    return np.linspace(0, points - 1, min(points, MOST_POINTS)).round().astype(int)


def _strip_title(models: dict[str, dict], row: str, display: str) -> str:
    name, cell = next(iter(models.items()), ("no model", {}))
    budget = f", {tables.epochs_label(cell['epochs'])}" if cell.get("epochs") and row != "epochs" else ""
    return f"{name}{budget}: the first {SHOWN} samples, {DISPLAY_LABELS[display]}"


def _key(cell: dict, by: str, path: Path) -> object:
    """Where a cell stands in a strip. Arms in their usual order, by passes within."""
    if by == "arm":
        key = tables.arm(cell["start"], cell["sampler"])
        order = list(ARM_COLOURS)
        return (order.index(key) if key in order else len(order), key, cell["passes"] or 0)
    if by not in cell:
        raise UserError(f"strip: {path} has no key {by}; right is arm, {', '.join(cell)}")
    return cell[by] if cell[by] is not None else 0


def _key_label(value: object, by: str) -> str:
    if by == "arm":
        return tables.arm_label(value[1], value[2])
    if by == "start":
        return tables.arm_label(value, 0).replace("(0)", "")
    if by == "passes":
        return "noise (0)" if value == 0 else f"{value} pass{'es' * (value > 1)}"
    if by == "epochs":
        return tables.epochs_label(value)
    if by == "model":
        return str(value)
    if by == "budget":
        return f"{value[0]}, {tables.epochs_label(value[1])}"
    if by == "way":
        return f"{tables.way_label(*value[:2]).removesuffix(' noise')}, pair {value[2] + 1}"
    if by == "path":
        return f"{value} path"
    return f"K = {value}" if by == "steps" else f"{by} {value}"


def _mosaic(images: dict, rows: list, blocks: list, row: str, block: str, title: str, columns: int = SHOWN) -> Figure:
    """Lay the pictures out in whole pixels, so that every sample pixel is a square of the same size.

    images: (row, block) -> (columns, H, W, 3) uint8. A block named "" has no heading.
    """
    height, width = next(iter(images.values())).shape[1:3]
    labels = [_key_label(at, row) for at in rows]
    widest = max(TextPath((0, 0), label, size=10).get_extents().width for label in labels)  # in points
    left = 30 + round(widest * DPI / 72)
    top, gap, between = 92 if any(blocks) else 56, 4, 26
    room = (1500 - left - between * len(blocks)) // (len(blocks) * columns)
    scale = max(1, min(room, max(96, 2 * width)) // width)
    tile_h, tile_w = height * scale + gap, width * scale + gap
    total_w = left + len(blocks) * (columns * tile_w + between)
    total_h = top + len(rows) * tile_h + 8
    canvas = np.full((total_h, total_w, 3), 255, np.uint8)
    fig = plt.figure(figsize=(total_w / DPI, total_h / DPI), dpi=DPI)
    text = partial(fig.text, va="center", color="0.1")
    text(8 / total_w, 1 - 26 / total_h, title, ha="left", fontsize=12)
    for column, key in enumerate(blocks):
        x0 = left + column * (columns * tile_w + between)
        if key != "":
            label = _key_label(key, block)
            text((x0 + columns * tile_w / 2) / total_w, 1 - 70 / total_h, label, ha="center", fontsize=11)
        canvas[top - gap : total_h - 8, x0 - gap : x0 + columns * tile_w] = _MAT
        for line, at in enumerate(rows):
            y0 = top + line * tile_h
            shown = images.get((at, key))
            if shown is None:
                canvas[y0 : y0 + tile_h - gap, x0 : x0 + columns * tile_w - gap] = 240
                text(
                    (x0 + columns * tile_w / 2) / total_w,
                    1 - (y0 + tile_h / 2) / total_h,
                    "not run",
                    ha="center",
                )
                continue
            for index, image in enumerate(shown):
                large = _enlarge(image, scale)
                x = x0 + index * tile_w
                canvas[y0 : y0 + height * scale, x : x + width * scale] = large
    for line, label in enumerate(labels):
        y = 1 - (top + (line + 0.5) * tile_h) / total_h
        text((left - 12) / total_w, y, label, ha="right", fontsize=10)
    fig.figimage(canvas, zorder=-1)
    return fig


def denoising(inputs: list[Path], display: str = "minmax") -> list[Image.Image]:
    """The first 8 samples from start to final image, as a GIF with t on each frame (one samples .npz)."""
    arrays, cell = _samples(inputs[0])
    frames, times = arrays["frames"].astype(np.float32), arrays["frame_timesteps"]
    n, _, height, width = frames.shape[1:]
    scale = max(1, round(48 / width))
    left, gap = 4, 2
    size = (2 * left + n * (width * scale + gap) - gap, 22 + height * scale + left)
    model = tables.variant(cell["model"], cell.get("weights"), cell.get("clip_x0"))
    arm = tables.arm_label(tables.arm(cell["start"], cell["sampler"]), cell["passes"] or 0)
    name = f"{model}, {arm}, K = {cell['steps']}"
    font = ImageFont.load_default(14)
    pages = []
    for frame, t in zip(frames, times, strict=True):
        page = Image.new("RGB", size, "white")
        pen = ImageDraw.Draw(page)
        pen.text((left, 3), name, fill=(90, 90, 90), font=font)
        pen.rectangle((left - gap, 22 - gap, size[0] - left + gap - 1, size[1] - left + gap - 1), fill=_MAT)
        clock = "final image" if t < 0 else f"t = {t}"
        pen.text((size[0] - left, 3), clock, fill="black", font=font, anchor="ra")
        for index, image in enumerate(_shown(frame, display)):
            picture = Image.fromarray(_enlarge(image, scale))
            page.paste(picture, (left + index * (width * scale + gap), 22))
        pages.append(page)
    return pages


def _gif(pages: list[Image.Image], limit: int = 300_000) -> bytes:
    """An endless GIF: 120 ms a frame, the last held 2.5 s.

    Noise does not compress: until the file is small, its frames (the first four fifths) get fewer tones, and
    then grow fewer.
    """
    late = len(pages) * 4 // 5
    for every, tones in ((1, 32), (1, 16), (1, 10), (2, 16), (2, 10), (3, 10), (5, 8)):
        kept = [
            (
                page.quantize(tones if index < late else 64, dither=Image.Dither.NONE),
                120 * every ** (index < late),
            )
            for index, page in enumerate(pages)
            if index >= late or index % every == 0
        ]
        drawn, durations = [page for page, _ in kept], [time for _, time in kept[:-1]] + [2500]
        buffer = io.BytesIO()
        drawn[0].save(buffer, "GIF", save_all=True, append_images=drawn[1:], duration=durations, loop=0)
        if buffer.tell() <= limit:
            break
    return buffer.getvalue()


def _samples(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    arrays = files.read_npz(path)
    if "cell" not in arrays:
        raise UserError(f"{path}: not a samples file (it has no `cell`)")
    return arrays, json.loads(str(arrays["cell"]))


def _shown(images: np.ndarray, display: str) -> np.ndarray:
    """(N, C, H, W) raw floats to (N, H, W, 3) uint8 as that display shows them."""
    if display not in displays.DISPLAYS:
        raise UserError(f"display {display}: unknown; right is one of {', '.join(displays.DISPLAYS)}")
    shown = displays.DISPLAYS[display](images.astype(np.float32))
    return displays.to_rgb_uint8(np.nan_to_num(shown)).transpose(0, 2, 3, 1)


def _enlarge(image: np.ndarray, scale: int) -> np.ndarray:
    """Nearest neighbour, by a whole factor."""
    return image.repeat(scale, 0).repeat(scale, 1)


def _picture(image: np.ndarray) -> np.ndarray:
    """(C, H, W) to what imshow takes."""
    return image[0] if len(image) == 1 else image.transpose(1, 2, 0)


def _numbers(key: str, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UserError(f"option {key}={text}: right is a whole number") from error


def _truth(key: str, text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise UserError(f"option {key}={text}: right is true or false")
    return text.lower() == "true"


FIGURES: dict[str, Callable[..., Figure | list[Image.Image]]] = {
    "time-against-steps": time_against_steps,
    "distance-against-steps": distance_against_steps,
    "passes-heatmap": passes_heatmap,
    "epochs": epochs,
    "loss": loss,
    "gan-loss": gan_loss,
    "evolution": evolution,
    "evolution-grid": evolution_grid,
    "interpolation-strip": interpolation_strip,
    "smoothness": smoothness,
    "strip": strip,
    "gallery": gallery,
    "denoising": denoising,
    "dip-fit": dip_fit,
    "brightness-drift": brightness_drift,
}
