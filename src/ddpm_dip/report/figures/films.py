"""Denoising as GIFs: the first 8 samples of a cell from the start to the final image, with t on each frame."""

from collections.abc import Iterator

from ...evaluation.displays import DISPLAYS
from ...study.plan import samples_of
from .. import labels
from ..plan import Wanted, file_name, known_option, section, showing

ROLES = ()  # a film a cell, named by all that varies
OPTIONS = ("display",)


def wanted(study) -> Iterator[Wanted]:
    for part, roles in showing(study, "films"):
        display = roles.get("display") or "minmax"
        known_option(part, "films", "display", display, list(DISPLAYS))
        lowest = min(cell.replicate for cell in part.cells)
        chains = [cell for cell in part.cells if cell.start is not None and cell.replicate == lowest]
        vary = [axis for axis in labels.AXES if axis != "model" and len({getattr(cell, axis) for cell in chains}) > 1]
        if all(cell.nfe == cell.steps for cell in chains):
            vary = [axis for axis in vary if axis != "nfe"]
        order = ("model", "epochs", "weights", "steps", "nfe", "start", "passes", "sampler", "clip_x0")
        for cell in sorted(chains, key=lambda cell: labels.order(order, cell._asdict())):
            point = cell._asdict()
            words = labels.words(dict.fromkeys(["start", "steps", *vary]), point)
            yield Wanted(
                file=file_name("film", part.name, cell.path, display, suffix=".gif"),
                kind="films",
                options={"display": display},
                inputs={"samples": [samples_of(cell)]},
                section=section(part.name),
                title=f"{cell.model}: denoising",
                caption=f"{words}, {display}: the first 8 samples, from the start to the final image.",
                alt=f"Animation: 8 samples of {cell.model}, {words}, from the start to the final image",
            )


def draw(inputs: dict, options: dict):
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    from .. import canvas

    (archive,) = inputs["samples"]
    frames, times, cell = archive["frames"].astype(np.float32), archive["frame_timesteps"], archive["cell"]
    n, _, height, width = frames.shape[1:]
    scale = max(1, round(48 / width))
    left, gap = 4, 2
    size = (2 * left + n * (width * scale + gap) - gap, 22 + height * scale + left)
    name = f"{labels.variant(cell['model'], cell['weights'])}, {labels.arm(cell)}, {labels.words(['steps'], cell)}"
    font = ImageFont.load_default(14)
    pages = []
    for frame, t in zip(frames, times, strict=True):
        page = Image.new("RGB", size, "white")
        pen = ImageDraw.Draw(page)
        pen.text((left, 3), name, fill=(90, 90, 90), font=font)
        pen.rectangle((left - gap, 22 - gap, size[0] - left + gap - 1, size[1] - left + gap - 1), fill=canvas.MAT)
        clock = "final image" if t < 0 else f"t = {t}"
        room = (size[0] - left - pen.textlength(clock, font) - 6, 1, size[0], 19)
        pen.rectangle(room, fill="white")  # the clock is whole, whatever the name's length
        pen.text((size[0] - left, 3), clock, fill="black", font=font, anchor="ra")
        for index, image in enumerate(canvas.shown(frame, options.get("display", "minmax"))):
            picture = Image.fromarray(canvas.enlarge(image, scale))
            page.paste(picture, (left + index * (width * scale + gap), 22))
        pages.append(page)
    return pages
