"""The first 16 samples of each model, from noise at its largest K: a row a model, a figure a display."""

from collections.abc import Iterator

from ...study.plan import samples_of
from .. import labels
from ..plan import Wanted, file_name

ROLES = ()


def wanted(study) -> Iterator[Wanted]:
    best = {}
    for cell in study.cells:
        if cell.epochs is not None and cell.start in (None, "noise"):
            best[cell.model] = max(best.get(cell.model, cell), cell, key=lambda cell: rank(cell, study.config))
    for display in reversed(labels.DISPLAY_NAMES) if best else ():
        yield Wanted(
            file=file_name("gallery", display),
            kind="gallery",
            options={"display": display},
            inputs={"samples": [samples_of(cell) for cell in best.values()]},
            section="gallery",
            title="What the models draw",
            caption="What the models draw, the DDPMs from plain noise at the largest K: the first 16 samples of each "
            f"model, none selected, in the {display} display.",
            alt=f"The first 16 samples of each model, {display} display",
            shows={"display": display},
        )


def rank(cell, config: dict) -> tuple:
    """A sort key: the lowest replicate, the largest K and budget, the study's usual sampler, weights and clipping."""
    usual = cell.sampler in (None, "ancestral"), cell.weights in (None, config["training"]["weights"])
    return (-cell.replicate, cell.steps or 0, *usual, not cell.clip_x0, cell.epochs, cell.nfe or 0)


def draw(inputs: dict, options: dict):
    from .. import canvas

    display, images, rows = options["display"], {}, {}
    for archive in inputs["samples"]:
        cell, shown = archive["cell"], canvas.shown(archive["samples"][: 2 * canvas.SHOWN], options["display"])
        rows[cell["model"]] = labels.variant(cell["model"], cell["weights"])
        images[cell["model"], 0], images[cell["model"], 1] = shown[: canvas.SHOWN], shown[canvas.SHOWN :]
    cells = [archive["cell"] for archive in inputs["samples"]]
    chains = [cell for cell in cells if cell["steps"] is not None]
    steps = ", ".join(str(k) for k in sorted({cell["steps"] for cell in chains}))
    names = dict.fromkeys(labels.arm(cell) for cell in chains)
    kinds = [f"{' and '.join(names)} from noise, K = {steps}"] if chains else []
    kinds += list(dict.fromkeys(labels.arm(cell) for cell in cells if cell["steps"] is None))
    title = f"{'; '.join(kinds)}: the first samples, {labels.DISPLAY_LABELS[display]}"
    return canvas.mosaic(images, rows, {0: "samples 1 to 8", 1: "samples 9 to 16"}, title, canvas.SHOWN)
