"""Verdicts end to end where the truth is known: a start that is another's twin, a ceiling, and one that is nonsense."""

import html
import re

import numpy as np
import pandas as pd
import pytest
from conftest import copy_sources, snakemake
from scipy import stats

pytestmark = pytest.mark.long

TWIN = '''"""The start noise under another name."""

from .noise import start

__all__ = ["start"]
'''
WHITE = '''"""A constant white image, whatever the chain expects."""

import torch
from torch import Tensor

from . import Context


def start(context: Context) -> Tensor:
    return torch.ones(len(context.indices), *context.image_shape)
'''


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = copy_sources(tmp_path_factory.mktemp("planted"))
    starts = folder / "src/ddpm_dip/sampling/warm_starts"
    (starts / "noise_again.py").write_text(TWIN)
    (starts / "white.py").write_text(WHITE)
    done = snakemake(folder, study="planted", source=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "results/planted"


def test_verdicts_are_the_truth(results):
    claims = pd.read_csv(results / "tables/claims.csv").set_index("claim")
    asked = claims[claims["verdict"] != "not asked"]
    assert (asked["replicates"] == 3).all() and (asked["scope"] == "this way of training").all()
    twin = claims.loc["again-better"]
    assert twin["verdict"] == "inconclusive" and twin["estimate"] == twin["ci_low"] == twin["ci_high"] == 0
    assert claims.loc["again-as-good", "verdict"] == "supported"
    oracle = claims.loc["oracle-better"]
    assert oracle["verdict"] == "supported" and oracle["estimate"] < 0, "the ceiling is below noise at K = 100"
    assert claims.loc["white-as-good", "verdict"] == "refuted"


def test_ties_are_ties_and_the_answer_comes_first(results):
    differences = pd.read_csv(results / "tables/differences.csv")
    twin = differences[(differences["start"] == "noise-again") & (differences["against"] == "noise")]
    assert set(twin["word"]) == {"tie"} and (twin["estimate"] == 0).all()
    white = differences[(differences["start"] == "white") & (differences["against"] == "noise")]
    assert set(white[white["display"] == "clamp"]["word"]) == {"worse"}
    summary = (results / "report/summary.txt").read_text().splitlines()
    assert summary[0].startswith("On digits (hw4-sees): ") and "best" not in " ".join(summary)
    answer = re.search('class="answer">(.*?)</p>', (results / "report/index.html").read_text())[1]
    assert html.unescape(re.sub("</?span>", "", answer)) == summary[0]


def test_the_interval_is_that_of_the_cells_table(results):
    """From cells.csv by hand: paired differences net by net."""
    cells = pd.read_csv(results / "tables/cells.csv")
    cells = cells[(cells["display"] == "clamp") & (cells["steps"] == 300)].set_index(["start", "replicate"])
    d = cells.loc["white", "fd_classifier"] - 1.5 * cells.loc["noise", "fd_classifier"]
    found = pd.read_csv(results / "tables/claims.csv").set_index("claim").loc["white-as-good"]
    assert len(d) == 3 and np.isclose(found["estimate"], d.mean())
    assert np.allclose(found[["ci_low", "ci_high"]].astype(float), stats.t.interval(0.95, 2, d.mean(), stats.sem(d)))
