"""One cell's chain as a GIF: the first 8 samples from the start to the final image, with t on each frame."""

import io
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from . import canvas, labels


def pages(archive: Mapping, display: str) -> list[Image.Image]:
    """The frames, from a samples file's arrays with its `cell` as a mapping."""
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
        for index, image in enumerate(canvas.shown(frame, display)):
            picture = Image.fromarray(canvas.enlarge(image, scale))
            page.paste(picture, (left + index * (width * scale + gap), 22))
        pages.append(page)
    return pages


def gif(pages: list[Image.Image], limit: int = 300_000) -> bytes:
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
