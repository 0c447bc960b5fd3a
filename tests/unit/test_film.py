"""A cell's chain as a GIF."""

import json
import subprocess
import sys

import made_study
import numpy as np
from PIL import Image, ImageSequence

from ddpm_dip.jobs import files
from ddpm_dip.report import canvas

TOOL = made_study.ROOT / "workflow/tools/film.py"


def film(folder, point, *options, **of_samples):
    """The GIF that the tool writes beside a cell's samples."""
    files.write_npz(folder / "c.npz", **made_study.samples(point, **of_samples))
    done = subprocess.run([sys.executable, TOOL, folder / "c.npz", *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.strip().rpartition("/")[2]


def test_it_has_t_on_40_frames_and_holds_the_last(tmp_path):
    point = made_study.cell(start="dip", passes=2, steps=200)
    path = film(tmp_path, point, "--display", "clamp")
    assert path.name == "c.clamp.gif" and path.stat().st_size <= 300_000
    with Image.open(path) as gif:
        frames = [(frame.convert("L").copy(), frame.info["duration"]) for frame in ImageSequence.Iterator(gif)]
        assert gif.info["loop"] == 0
    assert len(frames) == 40 and frames[-1][1] >= 2000
    last = np.asarray(frames[-1][0], float)[22:, 4:]
    raw = made_study.samples(point)["frames"][-1, :1].astype(np.float32)
    wanted = canvas.shown(raw, "clamp")[0, ..., 0].repeat(3, 0).repeat(3, 1)
    assert np.abs(last[:48, :48] - wanted).mean() < 6  # 64 tones


def test_a_large_one_loses_frames_of_noise_but_never_the_end(tmp_path):
    path = film(tmp_path, made_study.cell(), size=28)
    assert path.stat().st_size <= 300_000
    with Image.open(path) as gif:
        assert 10 < gif.n_frames < 40


def test_a_cell_without_a_chain_is_named(tmp_path):
    files.write_npz(tmp_path / "d.npz", **made_study.samples(made_study.dip_alone()))
    done = subprocess.run([sys.executable, TOOL, tmp_path / "d.npz"], capture_output=True, text=True)
    assert done.returncode == 1 and "d.npz: holds no chain's states" in done.stderr and "Traceback" not in done.stderr
    assert json.loads(str(files.read_npz(tmp_path / "d.npz")["cell"]))["model"] == "dip"
