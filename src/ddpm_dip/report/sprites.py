"""Cells as small pictures that the page can show: a film of the first samples' chains, and their last images.

A picture is grey or RGB of 8 bits, with the raw values at which its 0 and 255 stand; so one picture serves every
display.
"""

import base64
import io
import json
from collections.abc import Mapping

import numpy as np
from PIL import Image

SHOWN = 8  # always the first samples
STATES = 16  # of a film at the most: noise does not compress
FILM_QUALITY = 60  # of WebP, 0 to 100


def of_cell(archive: Mapping[str, np.ndarray]) -> dict:
    """A cell's pictures, as JSON takes them, from the arrays of its samples file.

    last: the images, and where there is a chain film: up to STATES of its states, a column each, the last one of which
    is the image. Both as `sheet` has them; the film with `timesteps`, -1 for the image. n: how many samples, a row
    each; channels, height, width: of an image.
    """
    last = archive["samples"][:SHOWN]
    n, channels, height, width = last.shape
    found = {"n": n, "channels": channels, "height": height, "width": width, "last": sheet(last[None], lossless=True)}
    if "frames" in archive and archive["frames"].size:
        frames = archive["frames"]
        kept = np.unique(np.linspace(0, len(frames) - 1, min(STATES, len(frames))).round().astype(int))
        film = sheet(frames[kept].astype(np.float32), lossless=False)
        found["film"] = film | {"timesteps": archive["frame_timesteps"][kept].tolist()}
    return found


def sheet(states: np.ndarray, lossless: bool) -> dict:
    """States (T, N, C, H, W) as one WebP picture, N rows of T images. src: its data address; ranges (T, 2).

    What is NaN or infinite is shown as the middle of its state's range.
    """
    finite = np.isfinite(states)
    low, high = (
        pick(np.where(finite, states, fill), axis=(1, 2, 3, 4), keepdims=True)
        for pick, fill in ((np.min, np.inf), (np.max, -np.inf))
    )
    low, high = (np.where(np.isfinite(end), end, 0.0) for end in (low, high))
    share = np.where(finite, states - low, (high - low) / 2) / np.maximum(high - low, np.finfo(np.float32).tiny)
    pixels = (share.clip(0, 1) * 255).round().astype(np.uint8)
    count, n, channels, height, width = pixels.shape
    page = pixels.transpose(1, 3, 0, 4, 2).reshape(n * height, count * width, channels)
    picture, data = Image.fromarray(page.squeeze(2) if channels == 1 else page), io.BytesIO()
    picture.save(data, "WEBP", lossless=lossless, quality=100 if lossless else FILM_QUALITY, method=4)
    ranges = np.stack([low, high], -1).reshape(count, 2)
    return {"src": address(data.getvalue(), "webp"), "ranges": [[float(f"{end:.5g}") for end in row] for row in ranges]}


def address(data: bytes, kind: str) -> str:
    """A picture as a data address."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def within(cells: Mapping[str, dict], limit: int) -> dict[str, dict]:
    """The cells' pictures with as many films as fit into `limit` characters, in the order of the cells.

    A cell whose film is left out has {"left_out": true} in its place.
    """
    found, used = {}, 0
    for path, pictures in cells.items():
        size = len(json.dumps(pictures["film"])) if "film" in pictures else 0
        fits = used + size <= limit
        used += size if fits else 0
        found[path] = pictures if fits or not size else pictures | {"film": {"left_out": True}}
    return found
