"""A page of 500 cells of 28x28 pixels stays small and opens at once."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import made_study
from test_explorer import CHROMIUM, FLAGS, until

pytestmark = [pytest.mark.long, pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    root = tmp_path_factory.mktemp("study") / "results/large"
    made_study.write_study(root, made_study.large(), size=28)
    return root / "report/index.html"


def test_it_is_below_15_mb_and_says_which_films_it_has_not(report, record_property):
    from playwright.sync_api import sync_playwright

    size = report.stat().st_size
    assert len(made_study.large().cells) > 500 and size < 15_000_000
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_context(offline=True).new_page()
        page.goto(f"file://{report}")
        until(page, "document.getElementById('when-a').textContent !== ''")
        seconds = page.evaluate("performance.now() / 1000")
        films = page.evaluate("Object.values(data.sprites).filter((each) => each.film && each.film.timesteps).length")
        without = page.evaluate("Object.keys(data.sprites).find((path) => data.sprites[path].film?.left_out)")
        assert page.evaluate("Object.keys(data.sprites).length") == len(made_study.large().cells)
        if without:
            page.evaluate(f"place('a', '{without}')")
            until(page, "document.getElementById('when-a').textContent.includes('left out')")
        browser.close()
    record_property("said", f"500 cells: {size / 1e6:.1f} MB, opened in {seconds:.1f} s, {films} films")
