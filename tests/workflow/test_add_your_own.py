"""What docs/adding.md shows is really added to a copy of the tree, by its file and its lines alone, and run."""

import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, jobs, snakemake

from ddpm_dip.jobs import files
from ddpm_dip.models import build_unet
from ddpm_dip.sampling.noise import keyed_noise

pytestmark = pytest.mark.slow
CELL = "hw4-sees/r0/epoch-0003-ema"


class Example(NamedTuple):
    """A section of the page: the file that it names, the file's text, and the lines of the configuration."""

    path: str
    text: str
    overlay: dict


def example(title: str) -> Example:
    page = (ROOT / "docs/adding.md").read_text(encoding="utf-8")
    section = page.split(f"\n## {title}\n")[1].split("\n## ")[0]
    path = re.search(r"`(src/\S+\.py)`:\n", section)[1]
    (text,), (lines,) = (re.findall(rf"^```{kind}\n(.*?)^```$", section, re.M | re.S) for kind in ("python", "yaml"))
    return Example(path, text, yaml.safe_load(lines))


def add(folder: Path, added: Example) -> None:
    """A new file; what belongs to a file that is there goes to its end."""
    path = folder / added.path
    old = path.read_text(encoding="utf-8") + "\n\n" if path.exists() else ""
    path.write_text(old + added.text, encoding="utf-8")


def run(folder: Path, overlay: dict, *targets: str) -> set[str]:
    """The jobs that a run of the micro study did for these results, or for the report.

    On one core: training on two is slow where others compute, too.
    """
    words = [*(f"results/micro/{target}" for target in targets), "--cores", 1]
    return jobs(snakemake(folder, *words, study="micro", source=folder, overlay=overlay))


def fails(folder: Path, overlay: dict, *words: str) -> str:
    """What a run says that fails, without a traceback."""
    done = snakemake(folder, *words, study="micro", source=folder, overlay=overlay)
    said = done.stdout + done.stderr
    assert done.returncode != 0 and "Traceback" not in said, said
    return said


def samples(folder: Path, cell: str) -> np.ndarray:
    """A cell's samples: sixteen 16x16 images, finite and not all one."""
    found = files.read_npz(folder / f"results/micro/samples/{cell}.npz")["samples"]
    assert found.shape == (16, 1, 16, 16) and np.isfinite(found).all() and found[0].std() > 0.01
    assert np.abs(found[1:] - found[0]).max() > 0.01
    return found


def measured(folder: Path, cell: str) -> dict:
    """A cell's metrics by display; the distance is there, and no wonder."""
    found = json.loads((folder / f"results/micro/metrics/{cell}.json").read_text())
    assert found["n"] == 16 and all(0 < shown["fd_classifier"] < 1e6 for shown in found["displays"].values())
    return found


def test_a_start(copied):
    added = example("A start")
    add(copied, added)
    cell = f"{CELL}/blurred-noise/ancestral/K0002-nfe0002"
    expected = {f"samples/{cell}.npz", f"metrics/{cell}.json", "tables/cells.csv"}
    expected |= {"timing/hw4-sees.csv", "tables/timing.csv"}  # the start is timed, too
    assert run(copied, added.overlay, "tables/cells.csv") == expected
    table = pd.read_csv(copied / "results/micro/tables/cells.csv")
    own = table[table["start"] == "blurred-noise"]
    assert list(own["display"]) == ["clamp", "minmax"] and own["passes"].isna().all()
    assert own["fd_classifier"].between(0, 1e6, inclusive="neither").all()
    blurred, plain = samples(copied, cell), samples(copied, f"{CELL}/noise/ancestral/K0002-nfe0002")
    # two steps of a net trained for three epochs take little away: an image is still its start, most of all
    noise = keyed_noise(0, "latents", range(16), (1, 16, 16)).numpy()
    assert np.corrcoef(plain.ravel(), noise.ravel())[0, 1] > 0.9 > np.corrcoef(blurred.ravel(), noise.ravel())[0, 1]
    archive = files.read_npz(copied / f"results/micro/samples/{cell}.npz")
    assert np.abs(archive["frames"][0] - noise[:8]).max() > 0.1
    neighbours = np.corrcoef(archive["frames"][0, :, :, :, 1:].ravel(), archive["frames"][0, :, :, :, :-1].ravel())
    assert neighbours[0, 1] > 0.5  # blurred, as the start says


@pytest.mark.long
def test_a_sampler(copied):
    added = example("A sampler")
    add(copied, added)
    cell = f"{CELL}/noise/renoise/K0300-nfe0010"
    assert run(copied, added.overlay, f"metrics/{cell}.json") == {f"samples/{cell}.npz", f"metrics/{cell}.json"}
    samples(copied, cell)
    found = measured(copied, cell)
    assert found["cell"]["sampler"] == "renoise" and found["cell"]["nfe"] == 10
    archive = files.read_npz(copied / f"results/micro/samples/{cell}.npz")
    assert list(archive["frame_timesteps"]) == [*np.linspace(299, 0, 10).round().astype(int), -1]


def test_a_metric(copied):
    added = example("A metric")
    add(copied, added)
    done = run(copied, added.overlay, "tables/cells.csv", "figures/curves.epochs.png")
    cells = sorted(path.relative_to(copied / "results/micro/metrics") for path in metrics_of(copied))
    assert len(cells) == 3
    assert done - {"tables/floors.csv", "tables/timing.csv"} == {f"metrics/{cell}" for cell in cells} | {
        "tables/cells.csv",
        "figures/curves.epochs.png",
    }
    table = pd.read_csv(copied / "results/micro/tables/cells.csv")
    for path in cells:
        x = files.read_npz(copied / "results/micro/samples" / path.with_suffix(".npz"))["samples"]
        record = json.loads((copied / "results/micro/metrics" / path).read_text())
        share = ((x.clip(-1, 1) + 1) / 2 < 0.1).mean()
        assert record["displays"]["clamp"]["black_share"] == pytest.approx(share, abs=1e-6)
    assert len(table) == 6 and table["black_share"].between(0, 1).all()
    assert table.loc[table["display"] == "minmax", "black_share"].between(0, 1, inclusive="neither").all()


def metrics_of(folder: Path) -> list[Path]:
    found = (folder / "results/micro/metrics").rglob("*.json")
    return [path for path in found if not path.name.endswith(".provenance.json")]


@pytest.mark.long
def test_a_kind_of_figure(copied):
    added = example("A kind of figure")
    add(copied, added)
    assert run(copied, added.overlay) == {"figures/pixel-values.passes.png", "report/index.html"}
    page = (copied / "results/micro/report/index.html").read_text(encoding="utf-8")
    assert "How often each pixel value occurs in the raw samples." in page
    assert (copied / "results/micro/figures/pixel-values.passes.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.long
def test_a_data_set(copied):
    added = example("A data set")
    add(copied, added)
    cell = f"{CELL}/noise/ancestral/K0002-nfe0002"
    expected = {f"models/hw4-sees/r0/epoch-{epochs:04d}/weights.safetensors" for epochs in (1, 3)}
    expected |= {"data/waves.npz", "reference/features.npz", f"samples/{cell}.npz", f"metrics/{cell}.json"}
    expected |= {f"classifier/seed-{seed}.safetensors" for seed in (0, 1)}
    assert run(copied, added.overlay, f"metrics/{cell}.json") == expected
    data = files.read_npz(copied / "results/micro/data/waves.npz")
    assert data["train"].shape == (400, 1, 16, 16) and data["reference"].shape == (1600, 1, 16, 16)
    assert set(data["train_labels"]) == {0, 1, 2, 3}
    for image, label in zip(data["train"][:20, 0], data["train_labels"], strict=False):
        assert np.abs(np.fft.rfft(image[0].astype(float)))[1:].argmax() == label  # so many waves
    samples(copied, cell)
    measured(copied, cell)


@pytest.mark.long
def test_a_network(copied):
    added = example("A network")
    add(copied, added)
    cell = "shallow/r0/epoch-0002-ema/noise/ancestral/K0100-nfe0100"
    weights = "models/shallow/r0/epoch-0002/weights.safetensors"
    expected = {weights, f"samples/{cell}.npz", f"metrics/{cell}.json"}
    assert run(copied, added.overlay, f"metrics/{cell}.json") == expected
    samples(copied, cell)
    measured(copied, cell)
    tensors, header = files.read_safetensors(copied / "results/micro" / weights)
    assert header["network"] == "shallow"
    count = sum(x.numel() for name, x in tensors.items() if name.startswith("last."))
    deep = sum(x.numel() for x in build_unet("hw4-sees", (1, 16, 16)).state_dict().values())
    assert 0.3 * deep < count < 0.8 * deep


# --- mistakes


MISSPELT = {  # the right word, the wrong one, and what the one message says after the file's path
    "A start": ("def start(", "def strat(", "a start must define start; 'blurred-noise' does not"),
    "A sampler": ("def step(", "def stop(", "a sampler must define step; 'renoise' does not"),
    "A data set": ("def load(", "def laod(", "a dataset must define load; 'waves' does not"),
    "A network": ("FAMILY =", "FAMLY =", "a network must define FAMILY; 'shallow' does not"),
    "A kind of figure": ("def draw(", "def darw(", "a figure must define draw; 'pixel-values' does not"),
}


@pytest.mark.parametrize("title", MISSPELT)
def test_a_misspelt_function_is_one_message_before_any_job(title, copied):
    added, (right, wrong, message) = example(title), MISSPELT[title]
    assert right in added.text
    add(copied, added._replace(text=added.text.replace(right, wrong)))
    said = fails(copied, added.overlay)
    path = copied / added.path
    assert len([line for line in said.splitlines() if str(path) in line]) == 1 and f"{path}: {message}" in said
    assert "\nrule " not in said and "\nlocalrule " not in said


@pytest.mark.long
def test_a_start_of_wrong_shape_is_one_message_of_its_job(copied):
    added = example("A start")
    assert "stride=1" in added.text
    add(copied, added._replace(text=added.text.replace("stride=1", "stride=2")))
    cell = f"{CELL}/blurred-noise/ancestral/K0002-nfe0002"
    said = fails(copied, added.overlay, f"results/micro/samples/{cell}.npz")
    message = (
        f"error: {copied / added.path}: start must return a tensor (16, 1, 16, 16) torch.float32, "
        "not (16, 1, 8, 8) torch.float32"
    )
    log = (copied / f"results/micro/logs/sample/{cell}.log").read_text(encoding="utf-8")
    assert log.splitlines() == [message] and message in said


def test_the_readme_shows_what_the_pages_show():
    page = "".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("adding.md", "own-model.md"))
    for text in re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S):
        assert text in page
