"""The report in a real browser: it renders, and it fits a phone and a desk."""

import json
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
    root = made_study.copied(tmp_path_factory, request.param)
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
