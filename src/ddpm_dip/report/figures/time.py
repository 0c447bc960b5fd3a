"""Seconds per image against K, by method and batch size, beside the published times."""

from collections.abc import Iterator

from .. import labels
from ..plan import Wanted, file_name

ROLES = ()
METHOD_ARMS = {"ddpm": "noise", "dip+ddpm": "dip", "dip": labels.ALONE}


def wanted(study) -> Iterator[Wanted]:
    if study.config["timing"]:
        yield Wanted(
            file=file_name("time"),
            kind="time",
            options={},
            inputs={"tables": {"timing": "tables/timing.csv"}},
            section="time",
            title="Seconds per image",
            caption="Median time per image with quartiles; the passes' time is counted in. Dashed grey with open "
            "markers: the times that the study printed (Colab T4, batch 1, 28x28 images), on other hardware and "
            "software, so only their shape compares.",
            alt="Line chart: seconds per image against K, for DDPM and DIP+DDPM, the study's T4 times in dashed grey",
        )


def draw(inputs: dict, options: dict):
    import numpy as np

    from .. import canvas, published

    table = inputs["tables"]["timing"]
    batches = sorted(table["batch"].unique())
    if not batches:
        return canvas.nothing("nothing to draw: no time was measured")
    fig, axes = canvas.subplots(1, len(batches), 4.6)
    handles: dict[str, object] = {}
    for axis, batch in zip(axes[0], batches, strict=True):
        part = table[table["batch"] == batch]
        for (method, passes), rows in part.groupby(["method", "passes"]):
            arm = METHOD_ARMS.get(method, method)
            label, colour = labels.arm_label(arm, int(passes)), labels.arm_colour(arm)
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
                name = f"{labels.arm_label(METHOD_ARMS[method], 2)}, {published.TIMING_SOURCE}"
                (handles[name],) = axis.plot(
                    published.TIMING_STEPS,
                    published.TIMING_SECONDS[method],
                    color=canvas.GREY,
                    ls="--" if method == "ddpm" else (0, (2, 2)),
                    lw=1.2,
                    marker=marker,
                    ms=4,
                    mfc="white",
                    zorder=1,
                )
        axis.set(title=f"batch {batch}", xlabel=labels.titled(["steps"]), ylabel="time per image (s)")
        axis.set_ylim(bottom=0)
        axis.xaxis.set_major_locator(canvas.plt.MultipleLocator(200))
    chains = table[table["method"] != "dip"]  # the DIP passes alone are always the CPU's
    where = ", ".join(dict.fromkeys(f"{row.device}, {row.backend}" for row in chains.itertuples()))
    canvas.legend(fig, handles)
    fig.suptitle(f"Time per image: median and quartiles ({where})", fontsize="medium")
    return fig
