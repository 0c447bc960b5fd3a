"""Pictures of cells for the page, and what its scripts are told."""

import base64
import io
import json

import made_study
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ddpm_dip.report import explorer, sprites, tables


def decoded(sheet):
    """(N, T, H, W) of grey pixels, of images that are 16 pixels wide and high."""
    data = base64.b64decode(sheet["src"].partition(",")[2])
    page = np.asarray(Image.open(io.BytesIO(data)).convert("L"), float)
    n, states = page.shape[0] // 16, page.shape[1] // 16
    return page.reshape(n, 16, states, 16).transpose(0, 2, 1, 3)


def test_last_images_are_exact_to_the_step_and_a_film_nearly():
    archive = made_study.samples(made_study.cell(start="dip", passes=2, steps=200))
    found = sprites.of_cell(archive)
    assert (found["n"], found["channels"], found["height"], found["width"]) == (8, 1, 16, 16)
    ((low, high),) = found["last"]["ranges"]
    raw = low + decoded(found["last"])[:, 0] / 255 * (high - low)
    step = (archive["samples"][:8].max() - archive["samples"][:8].min()) / 255
    assert np.abs(raw - archive["samples"][:8, 0]).max() <= step
    film = found["film"]
    assert len(film["timesteps"]) == len(film["ranges"]) == sprites.STATES
    assert film["timesteps"][0] == 199 and film["timesteps"][-1] == -1
    (low, high), shown = film["ranges"][-1], decoded(film)[:, -1]
    assert np.abs(low + shown / 255 * (high - low) - archive["frames"][-1, :, 0]).mean() < 0.05 * (high - low)


def test_colour_what_diverged_and_what_has_no_chain():
    archive = made_study.samples(made_study.dip_alone())
    archive["samples"] = np.repeat(archive["samples"], 3, axis=1)
    archive["samples"][0, 0, 0, 0] = np.nan
    found = sprites.of_cell(archive)
    assert found["channels"] == 3 and "film" not in found and np.isfinite(found["last"]["ranges"]).all()
    gone = made_study.samples(made_study.dip_alone()) | {"samples": np.full((8, 1, 16, 16), np.inf, np.float32)}
    assert sprites.of_cell(gone)["last"]["ranges"] == [[0.0, 0.0]]


def test_films_are_left_out_when_the_page_is_full_and_it_says_so():
    cells = {name: {"last": {}, "film": {"src": "x" * 10, "timesteps": [1]}} for name in "abc"} | {"d": {"last": {}}}
    size = len(json.dumps(cells["a"]["film"]))
    found = sprites.within(cells, 2 * size + 5)
    assert [found[name].get("film", {}).get("left_out", False) for name in "abcd"] == [False, False, True, False]
    assert "src" in found["b"]["film"] and "src" not in found["c"]["film"]


@pytest.fixture(scope="module")
def told():
    points = made_study.points_of(made_study.study_a())
    records = {str(index): made_study.metrics(point) for index, point in enumerate(points)}
    cells = tables.with_floors(tables.cells(records), made_study.floors())
    numbers = ("estimate", "ci_low", "ci_high", "bound_low", "bound_high", "p", "p_holm", "mde")
    numbers += ("difference", "difference_low", "difference_high")
    row = {"claim": "A4", "model": "hw4", "verdict": "refuted", "statement": "S.", "note": "", "exploratory": False}
    row |= dict.fromkeys(numbers, np.nan) | {"metric": "fd_classifier", "margin": 0.0, "reference": 1.0}
    claims = pd.DataFrame([row | {"replicates": 1, "n": 256, "scope": "this net"}])
    net, chain = "hw4/r0/epoch-0020-last", "ancestral/K0200-nfe0200"
    strata = [[[f"{net}/dip-p02/{chain}"], [f"{net}/noise/{chain}"]]]
    contrasts = [{"claim": claim, "model": "hw4", "strata": strata} for claim in ("A4", "A9")]
    return explorer.data({"cells": cells, "claims": claims}, {}, [], contrasts, {"hw4": 1000})


def test_every_cell_has_its_place_on_each_axis_and_its_numbers(told):
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert len(told["cells"]) == len(made_study.study_a().cells)
    names = [axis["name"] for axis in told["axes"]]
    for cell in told["cells"]:
        model = cell["at"][names.index("model")]
        assert told["axes"][names.index("model")]["values"][model] == cell["path"].partition("/")[0]
        assert cell["values"].keys() == {"clamp", "minmax"}
        assert len(cell["values"]["clamp"]) == len(told["metrics"])
    assert told["displays"] == ["clamp", "minmax"] and told["floors"]["clamp"]["fd_classifier"] > 0


def test_a_cell_s_reference_is_the_whole_chain_of_its_net(told):
    by_path = {cell["path"]: cell for cell in told["cells"]}
    of = by_path["hw4/r0/epoch-0020-last/dip-p02/ancestral/K0200-nfe0200"]["reference"]
    assert told["cells"][of]["path"] == "hw4/r0/epoch-0020-last/noise/ancestral/K1000-nfe1000"
    assert by_path["dip/r0-p02"]["reference"] is None


def test_a_contrast_names_cells_by_their_places_and_has_its_verdict(told):
    (contrast,) = told["contrasts"]  # A9 was not judged
    ((a,), (b,)) = contrast["strata"][0]
    assert "dip-p02" in told["cells"][a]["path"] and "noise" in told["cells"][b]["path"]
    assert (contrast["claim"], contrast["verdict"]) == ("A4", "refuted")


def test_the_explorer_opens_with_dip_beside_noise(told):
    assert "/dip-p" in told["first"]["a"] and told["first"]["b"] == told["first"]["a"].replace(
        told["first"]["a"].split("/")[3], "noise"
    )
