"""The report in a real browser: it renders, and it fits a phone and a desk."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jobfile
import made_study

from ddpm_dip.jobs import files
from ddpm_dip.jobs.job import record_of

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]


@pytest.fixture(scope="module", params=["study_a", "study_b"])
def page(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("study") / "results/made"
    made_study.write_study(root, getattr(made_study, request.param)())
    # long paths, as of deep cells, must not make the page wide
    job = json.loads((root / "jobs/report/report.json").read_text())
    for index in range(3):
        name = f"samples/{'a-long-cell-name-' * 8}{index}.npz"
        files.write_json(record_of(root / name), {"sha256": "0" * 64, "seconds": 1, "job": {"stage": "sample"}})
        job["hints"]["results"].append(name)
    (root / "jobs/report/report.json").write_text(json.dumps(job))
    jobfile.run("report", root / "jobs/report/report.json")
    return root / "report/index.html"


def chromium(profile, *arguments):
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.parametrize("width", [400, 1200])
def test_no_horizontal_overflow(page, tmp_path, width):
    # A window cannot be as narrow as a phone, a frame can; its script is ours, the page has none.
    inner = page.read_text().replace("default-src 'none'; ", "").replace("<details>", "<details open>")
    measure = """<script>onload = () => {
      const decoded = [...document.images].filter(image => image.naturalWidth);
      parent.postMessage([document.documentElement.scrollWidth, document.images.length, decoded.length], "*");
    }</script></body>"""
    (tmp_path / "inner.html").write_text(inner.replace("</body>", measure))
    (tmp_path / "outer.html").write_text(
        f'<iframe src="inner.html" style="width:{width}px;height:800px;border:0"></iframe>'
        "<pre id=out></pre><script>onmessage = e => out.textContent = 'measured ' + e.data.join(' ')</script>"
    )
    text = chromium(
        tmp_path / "profile",
        "--allow-file-access-from-files",
        "--virtual-time-budget=20000",
        "--dump-dom",
        f"file://{tmp_path}/outer.html",
    )
    measured = re.search(r"measured (\d+) (\d+) (\d+)", text)
    assert measured, text[-500:]
    scroll_width, images, decoded = map(int, measured.groups())
    assert scroll_width <= width
    assert images == decoded > 10


@pytest.mark.parametrize("width", [500, 1200])
def test_the_page_is_not_blank(page, tmp_path, width):
    shot = tmp_path / "shot.png"
    chromium(tmp_path / "profile", f"--window-size={width},4000", f"--screenshot={shot}", f"file://{page}")
    pixels = np.asarray(Image.open(shot).convert("L"), float)
    assert pixels.shape == (4000, width)
    assert pixels.mean() > 200, "the page is light"
    inked = (pixels < 128).any(1)
    for top in range(0, 4000, 500):
        assert inked[top : top + 500].mean() > 0.1, f"nothing to read between {top} and {top + 500} px"
    assert len(np.unique(pixels)) > 50
