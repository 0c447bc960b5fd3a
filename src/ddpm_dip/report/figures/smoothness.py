"""How evenly images change between two latents: a dot a pair, by model and sampler, a figure a display."""

from collections.abc import Iterator

from .. import labels
from ..plan import Wanted, file_name

ROLES = ()


def wanted(study) -> Iterator[Wanted]:
    for display in reversed(labels.DISPLAY_NAMES) if study.interpolations else ():
        yield Wanted(
            file=file_name("smoothness", display),
            kind="smoothness",
            options={"display": display},
            inputs={"tables": {"interpolation": "tables/interpolation.csv"}},
            section="interpolation",
            title="How smooth?",
            caption=f"A dot is a pair of latents, a bar the mean, {display} display.",
            alt="Dot charts: end-to-end distance, path length over it, and the largest step's share, by model and "
            f"sampler, {display} display",
        )


def draw(inputs: dict, options: dict):
    from matplotlib.lines import Line2D

    from .. import canvas

    table, display = inputs["tables"]["interpolation"], options["display"]
    table = table[table["display"] == display]
    if table.empty:
        return canvas.nothing("smoothness: nothing was measured between two latents: all chains diverged")
    table = table.assign(way=[way(row) for row in table.itertuples()])
    ways = sorted(set(table["way"]), key=lambda way: ("DCGAN" not in way, "DDIM" not in way, way))
    spaces = [space for space in ("pixels", "classifier") if space in set(table["space"])]
    steps = sum(column.startswith("step_") for column in table)
    palette = {"linear": labels.BRIGHT[0], "spherical": labels.BRIGHT[1]}
    paths = [path for path in palette if path in set(table["path"])]
    height = 1.6 + 3 * (0.4 * len(ways) + 0.5)
    fig, axes = canvas.subplots(3, len(spaces), height, sharey=True)
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
            canvas.sns.stripplot(**shared, dodge=True, size=3.5, alpha=0.55, jitter=0.12, legend=False)
            mark = dict(linestyle="none", marker="|", markersize=14, errorbar=None)
            canvas.sns.pointplot(**shared, **mark, dodge=0.4 if len(paths) > 1 else False, legend=axis is axes[0, 0])
            if least is None:
                axis.set_xlim(left=0)
            else:
                axis.axvline(least, color="black", ls=":", lw=1.4)
            axis.set(xlabel=label, ylabel="", title=titles[space])
    handles, names = axes[0, 0].get_legend_handles_labels()
    if axes[0, 0].get_legend():
        axes[0, 0].get_legend().remove()
    named = dict(zip((f"{name} path (bar: mean)" for name in names), handles, strict=True))
    named["least possible: a straight line; equal steps"] = Line2D([], [], color="black", ls=":", lw=1.4)
    canvas.legend(fig, named)
    title = (
        f"Between two latents, {labels.DISPLAY_LABELS[display]}: how far the image moves, how directly and how evenly"
    )
    fig.suptitle(title, fontsize="medium")
    return fig


def way(row) -> str:
    """Model and sampler of a row, in words; the model's name alone where it draws in one step."""
    words = labels.way(row.sampler, row.noise)
    return f"{row.model} ({words})" if row.sampler is None else f"{row.model}, {words}"
