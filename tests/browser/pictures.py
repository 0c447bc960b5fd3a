"""The README's pictures of a report: pictures.py results/STUDY/report/index.html FOLDER

Writes page.png (the first screen, 1440 pixels wide), explorer.png, page-phone.png (390 wide) and explorer.gif.
"""

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright
from test_explorer import CHROMIUM, FLAGS

FILM = 16  # frames


def main(report: Path, folder: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 1090})
        page.goto(f"file://{report.resolve()}")
        page.wait_for_selector("figure.live .vega svg")
        page.wait_for_timeout(1000)
        save(page.screenshot(), folder / "page.png")
        page.add_style_tag(content=".shared { position: static !important }")
        explorer = page.locator("#explore")
        explorer.scroll_into_view_if_needed()
        frames, last = [], int(page.get_attribute("#step", "max"))
        for index in range(FILM):
            step = round(index * last / (FILM - 1))
            page.evaluate(f"(byId('step').value = {step}, byId('step').dispatchEvent(new Event('input')))")
            page.wait_for_timeout(120)
            frames.append(Image.open(io.BytesIO(page.locator(".sides").screenshot())).convert("RGB"))
            if index == FILM // 2:
                save(explorer.screenshot(), folder / "explorer.png")
        width = 480
        small = [frame.resize((width, round(frame.height * width / frame.width))).quantize(16) for frame in frames]
        times = [120] * (FILM - 1) + [1500]
        small[0].save(folder / "explorer.gif", save_all=True, append_images=small[1:], duration=times, loop=0)
        phone = browser.new_page(viewport={"width": 390, "height": 844}, device_scale_factor=2)
        phone.goto(f"file://{report.resolve()}")
        phone.wait_for_timeout(1500)
        save(phone.screenshot(), folder / "page-phone.png")
        browser.close()


def save(data: bytes, path: Path) -> None:
    """A screenshot in few colours: a small file. By an octree: a median cut makes one of two lines' blue and green."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    image.quantize(256, method=Image.Quantize.FASTOCTREE).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
