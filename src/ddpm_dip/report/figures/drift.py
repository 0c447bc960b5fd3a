"""Brightness along the chain: the mean over samples of each image's mean, and its spread, beside the real images'."""

from collections.abc import Iterator

from ...study.plan import data_of, samples_of
from .. import labels
from ..plan import Wanted, file_name, showing

ROLES = ("line", "panel")
OPTIONS = ()


def wanted(study) -> Iterator[Wanted]:
    for part, roles in showing(study, "drift"):
        lowest = min(cell.replicate for cell in part.cells)
        chains = [cell for cell in part.cells if cell.start is not None and cell.replicate == lowest]
        if not chains:
            continue
        yield Wanted(
            file=file_name("drift", part.name),
            kind="drift",
            options=dict(roles),
            inputs={"samples": [samples_of(cell) for cell in chains], "data": data_of(study)},
            section="brightness",
            title="Along the chain",
            caption="From the start of each chain (left) to the final image (right): the mean over samples of each "
            "image's mean, and its standard deviation over samples. Grey band and dotted line: the real images' own.",
            alt=f"Line charts: mean and spread of the image mean along the chain, by {labels.told(roles['line'])}",
        )


def draw(inputs: dict, options: dict):
    from matplotlib.lines import Line2D

    from .. import canvas

    line, panel = (list(options.get(role) or []) for role in ROLES)
    chains = {id(archive["cell"]): archive for archive in inputs["samples"] if archive["cell"]["steps"]}
    cells = [archive["cell"] for archive in chains.values()]
    if not cells:
        return canvas.nothing("nothing to draw: no chain was run")
    panels = labels.grouped(cells, panel)
    firsts = [part[0] for part in labels.grouped(cells, line).values()]
    styles = {labels.key(line, c): s for c, s in zip(firsts, canvas.styles(line, firsts, "steps"), strict=True)}
    handles: dict[str, object] = {}
    rest = [axis for axis in line if axis != "steps"]
    if "steps" in line:
        for cell in sorted(firsts, key=lambda cell: cell["steps"]):
            colour = styles[labels.key(line, cell)]["color"]
            handles[labels.words(["steps"], cell)] = Line2D([], [], color=colour, lw=2)
        others = labels.grouped(firsts, rest) if rest else {}
        for part in others.values() if len(others) > 1 else ():
            style = styles[labels.key(line, part[0])]
            handles[labels.words(rest, part[0])] = Line2D([], [], color="0.3", ls=style["ls"], lw=1.6)
    else:
        for cell in firsts:
            style = styles[labels.key(line, cell)]
            handles[labels.words(line, cell) or labels.arm(cell)] = Line2D(
                [], [], color=style["color"], ls=style["ls"], lw=2
            )
    real = None  # mean and sd over the training images of the image mean
    if "data" in inputs:
        means = inputs["data"]["train"].mean((1, 2, 3)) / 127.5 - 1
        real = means.mean(), means.std()

    fig, axes = canvas.subplots(2, len(panels), 6.4, sharex=True, sharey="row")
    for column, part in enumerate(panels.values()):
        top, bottom = axes[:, column]
        for cell in part:
            archive, style = chains[id(cell)], styles[labels.key(line, cell)]
            t = states(cell, archive)
            for axis, values in ((top, archive["mean_path"]), (bottom, archive["sd_path"])):
                axis.plot(t, values, lw=1.8, color=style["color"], ls=style["ls"])
        if real is not None:
            middle, spread = real
            low, high = middle - spread, middle + spread
            handles["real images (mean ± sd)"] = top.axhspan(low, high, color="0.75", alpha=0.8, zorder=0)
            handles["real images: sd"] = bottom.axhline(spread, color="0.35", ls=(0, (1, 1)), lw=1.4)
        name = labels.words(panel, part[0]) or labels.alike(part, ["model", "weights"])
        top.set(title=name, ylabel="mean over samples" if column == 0 else "")
        bottom.set(xlabel="timestep t (−1: final image)", ylabel="sd over samples (log)" if column == 0 else "")
    axes[1, 0].set_yscale("log")
    axes[1, 0].yaxis.set_major_formatter(canvas.COMPACT)
    axes[0, 0].invert_xaxis()  # the axes are shared: this turns them all
    canvas.legend(fig, handles)
    canvas.headline(fig, "The image mean along the chain: its mean and spread over samples")
    return fig


def states(cell: dict, archive: dict):
    """The timestep of each state along the chain; -1 is the final image. nfe of K timesteps are evenly spaced."""
    import numpy as np

    count = len(archive["mean_path"])
    if cell["nfe"] in (None, cell["steps"]):
        return cell["steps"] - 1 - np.arange(count)
    return np.append(np.linspace(cell["steps"] - 1, 0, count - 1).round(), -1)
