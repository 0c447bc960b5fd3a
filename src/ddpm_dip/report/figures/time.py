"""Seconds per image against K, by net and batch size: starts and steps added up, whole chains, and published times."""

import itertools
from collections.abc import Iterator

from ...study import timing
from .. import labels
from ..plan import Wanted, file_name

ROLES = ()
PUBLISHED = {"ddpm": ("noise", "--", "o"), "dip+ddpm": ("dip", (0, (2, 2)), "D")}  # method -> start, line, marker


def wanted(study) -> Iterator[Wanted]:
    if models := list(timing.timed(study)):
        yield Wanted(
            file=file_name("time"),
            kind="time",
            options={"models": models},
            inputs={"tables": {"timing": "tables/timing.csv"}},
            section="time",
            title="Seconds per image",
            caption="Lines: the time of an image whose chain evaluates the net K times, a start's measured time and K "
            "times a step's; median and quartiles over rounds. Points: whole chains from noise, measured directly: a "
            "check of the line they lie on. Dashed grey with open markers: the times that the study printed (Colab T4, "
            "batch 1, 28x28 images), on other hardware and software, so only their shape compares.",
            alt="Line chart: seconds per image against K for each start and sampler, with whole chains as points and "
            "the study's T4 times in dashed grey",
        )


def draw(inputs: dict, options: dict):
    import numpy as np

    from .. import canvas, published, tables

    table = inputs["tables"]["timing"]
    batches = sorted(table["batch"].unique())
    if not batches:
        return canvas.nothing("nothing to draw: no time was measured")
    models = options["models"]
    fig, axes = canvas.subplots(len(models), len(batches), 4.6 * len(models))
    handles: dict[str, object] = {}
    k = np.linspace(1, published.TIMING_STEPS[-1], 100)
    for axis, (model, batch) in zip(axes.flat, itertools.product(models, batches), strict=True):
        arms = tables.timed_arms(table, model)
        chains = list(dict.fromkeys((arm["sampler"], arm["clip_x0"]) for arm in arms))
        for index, arm in enumerate(arms):
            name, colour = labels.arm(arm), labels.arm_colour(labels.arm_of(arm))
            line = canvas.LINES[chains.index((arm["sampler"], arm["clip_x0"])) % len(canvas.LINES)]
            start, step = tables.costs(table, arm, batch)
            low, middle, high = np.percentile(start + np.outer(k, step), [25, 50, 75], axis=1)
            (handles[name],) = axis.plot(
                k, middle, color=colour, ls=line, lw=max(4 - index, 1.2)
            )  # often the same line
            axis.fill_between(k, low, high, color=colour, alpha=0.15, lw=0)
        measured = table[(table["model"] == model) & (table["batch"] == batch)]
        for count, rows in measured[measured["what"] == "chain"].groupby("steps"):
            low, middle, high = np.percentile(rows["seconds"], [25, 50, 75])
            handles["whole chains, measured"] = axis.errorbar(
                [count], [middle], [[middle - low], [high - middle]], color="black", fmt="o", ms=5, capsize=3, zorder=4
            )
        alone = measured[(measured["what"] == "start") & (measured["start"] == "dip")]
        for passes, rows in alone.groupby("passes"):
            if passes == 2 or 2 not in set(alone["passes"]):  # no chain, so no K: a level
                colour = labels.arm_colour(labels.ALONE)
                level = axis.axhline(rows["seconds"].median(), color=colour, ls="-.", lw=1.5)
                handles[labels.arm_label(labels.ALONE, int(passes))] = level
        if batch == 1:
            for method, (start, line, marker) in PUBLISHED.items():
                name = f"{labels.arm_label(start, 2)}, {published.TIMING_SOURCE}"
                (handles[name],) = axis.plot(
                    published.TIMING_STEPS,
                    published.TIMING_SECONDS[method],
                    color=canvas.GREY,
                    ls=line,
                    lw=1.2,
                    marker=marker,
                    ms=4,
                    mfc="white",
                    zorder=1,
                )
        title = f"{model}, batch {batch}" if len(models) > 1 else f"batch {batch}"
        axis.set(title=title, xlabel=labels.titled(["steps"]), ylabel="time per image (s)")
        axis.set_ylim(bottom=0)
        axis.xaxis.set_major_locator(canvas.plt.MultipleLocator(200))
    steps = table[table["what"] != "start"]
    where = ", ".join(dict.fromkeys(f"{row.device}, {row.backend}" for row in steps.itertuples()))
    canvas.legend(fig, handles)
    fig.suptitle(f"Time per image: median and quartiles ({where})", fontsize="medium")
    return fig
