"""The page in a real browser, from disk and without network: every control does what it says, by mouse and keyboard."""

import json
import shutil
import sys
from importlib.resources import files as packaged
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import made_study

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH: apt install chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
DIP = "hw4-sees/r0/epoch-0020-last/dip-p02/ancestral/K0500-nfe0500"
CURVES = "section[aria-labelledby='experiment-steps'] figure:has(.vega)"
NOISE = "hw4-sees/r0/epoch-0020-last/noise/ancestral/K0200-nfe0200"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return made_study.copied(tmp_path_factory, "study_a") / "report/index.html"


@pytest.fixture(scope="module")
def report_b(tmp_path_factory):
    return made_study.copied(tmp_path_factory, "study_b") / "report/index.html"


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def opened(browser, report):
    """Opens the page, offline; fails at the end where the browser's console has an error."""
    contexts, said = [], []

    def open_page(address="", path=report, **options):
        context = browser.new_context(offline=True, **({"viewport": {"width": 1200, "height": 900}} | options))
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(f"file://{path}{address}")
        until(page, "document.getElementById('when-a').textContent !== ''")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not said


def until(page, expression):
    """Waits for it; Playwright's own way would need eval, which the page forbids."""
    for _ in range(400):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(expression)


def address(a, b, t=-1, display="clamp"):
    return f"#a={a}&b={b}&t={t}&display={display}"


def pixels(page, side):
    """The bytes that a side's canvas shows."""
    return page.evaluate(
        f"(() => {{ const c = document.getElementById('canvas-{side}');"
        " return Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data) })()"
    )


def settled(page, side="a"):
    """The pixels, when they no longer change."""
    before = None
    for _ in range(40):
        now = pixels(page, side)
        if now == before:
            return now
        before = now
        page.wait_for_timeout(50)
    raise AssertionError("the picture does not come to rest")


def test_a_link_shows_what_it_says_and_the_address_keeps_it(opened):
    page = opened(address(DIP, NOISE, 250, "minmax"))
    assert "DIP(2)+DDPM, K = 500" in page.text_content("#name-a") and "DDPM, K = 200" in page.text_content("#name-b")
    assert page.input_value("#display") == "minmax" and page.text_content("#when-a").startswith("t = 2")
    assert "its chain begins at t = 199" in page.text_content("#when-b")
    page.select_option("#display", "clamp")
    assert page.evaluate("location.hash") == address(DIP, NOISE, 250, "clamp")
    page.evaluate(f"location.hash = {json.dumps(address(NOISE, DIP))}")
    until(page, "document.getElementById('name-a').textContent.includes('K = 200')")
    assert page.text_content("#when-a") == "Final images"


def test_only_combinations_that_exist_are_offered_and_each_can_be_reached(opened):
    page = opened(address(DIP, NOISE))
    cells = page.evaluate("data.cells.map((cell) => cell.path)")
    assert len(cells) == len(made_study.study_a().cells)
    options = page.locator("#a-model option").all_text_contents()
    assert options == ["hw4", "hw4-dip", "hw4-sees", "dip"] or set(options) == {"hw4", "hw4-dip", "hw4-sees", "dip"}
    page.select_option("#a-model", label="hw4-dip")
    assert set(page.locator("#a-start option").all_text_contents()) == {"dip", "dip every step"}
    page.select_option("#a-start", label="dip every step")
    assert "DIP(2) every step" in page.text_content("#name-a")
    page.select_option("#a-model", label="dip")
    assert "DIP(2) alone" in page.text_content("#name-a") and "no chain" in page.text_content("#when-a")
    for path in cells[::7]:
        page.evaluate(f"place('a', {json.dumps(path)})")
        assert page.evaluate("location.hash").startswith(f"#a={path}&") or page.evaluate("state.a") == path


def test_the_pictures_are_those_of_the_samples(opened):
    """In the display clamp, the canvas shows the samples to the step of 8 bits over their range."""
    page = opened(address(DIP, NOISE))
    shown = settled(page)
    raw = made_study.samples(made_study.cell("hw4-sees", start="dip", passes=2, steps=500))["samples"][:8]
    first = ((raw[0, 0].clip(-1, 1) + 1) / 2 * 255).ravel()
    width = page.evaluate("document.getElementById('canvas-a').width")
    assert width == 4 * 17 - 1
    tile = [shown[4 * (y * width + x)] for y in range(16) for x in range(16)]
    step = 255 * (raw.max() - raw.min()) / 2 / 255
    assert max(abs(a - b) for a, b in zip(tile, first, strict=True)) <= step + 1


def test_time_display_and_swap_change_both_sides(opened):
    page = opened(address(DIP, NOISE))
    last = {side: settled(page, side) for side in "ab"}
    page.evaluate(
        "document.getElementById('step').value = 0; document.getElementById('step').dispatchEvent(new Event('input'))"
    )
    assert page.text_content("#when-a") == "t = 499" and "t = 199" in page.text_content("#when-b")
    assert all(settled(page, side) != last[side] for side in "ab")
    page.click("#play")
    until(page, "document.getElementById('when-a').textContent === 'Final images'")
    assert {side: settled(page, side) for side in "ab"} == last and page.text_content("#play") == "Play"
    page.select_option("#display", "minmax")
    assert settled(page) != last["a"]
    page.select_option("#display", "clamp")
    page.click("#swap")
    assert settled(page, "b") == last["a"] and settled(page, "a") == last["b"]


def test_numbers_and_the_verdict_on_the_two(opened):
    same_k = NOISE.replace("K0200-nfe0200", "K0500-nfe0500")
    page = opened(address(DIP, same_k))
    text = page.text_content("#contrast")
    assert "A4" in text and any(word in text for word in ("supported", "refuted", "inconclusive"))
    rows = {row.split("\n")[0].strip(): row for row in page.locator("#numbers tbody tr").all_inner_texts()}
    values = [name for name in rows if name.startswith("FD")]
    assert values and "DDPM, K = 1000" in page.text_content("#reference-name")
    cells = page.locator("#numbers td")
    assert set(cells.evaluate_all("all => all.map((cell) => getComputedStyle(cell).fontWeight)")) == {"400"}
    page.evaluate(f"place('b', {json.dumps(DIP)})")
    assert "No claim of this study is about these two." in page.text_content("#contrast")


def test_a_click_in_a_chart_or_a_row_puts_that_cell_into_a_or_b(opened):
    page = opened(address(NOISE, NOISE))
    figure = page.locator(CURVES).first
    figure.scroll_into_view_if_needed()
    page.wait_for_selector(f"{CURVES}.live .vega svg .role-mark.mark-symbol path")
    page.check("input[name=target][value=b]")
    figure.locator(".vega svg .role-mark.mark-symbol path").first.click(force=True)
    assert page.evaluate("state.b") != NOISE and page.evaluate("state.a") == NOISE
    details = figure.locator("details[data-chart]").first
    details.locator("summary").click()
    details.locator("button.place", has_text="A").last.click()
    assert page.evaluate("state.a") != NOISE
    assert "A shows" in page.text_content("#said")


def test_charts_have_their_data_as_csv_and_tables_sort(opened):
    page = opened()
    figure = page.locator(CURVES).first
    figure.scroll_into_view_if_needed()
    page.wait_for_selector(f"{CURVES}.live")
    details = figure.locator("details[data-chart]").first
    details.locator("summary").click()
    with page.expect_download() as download:
        details.locator("button", has_text="CSV").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert "mean" in lines[0] and len(lines) > 3
    head = details.locator("th", has_text="mean")
    head.locator("button").click()
    column = page.evaluate("(head) => head.cellIndex", head.element_handle())
    cells = details.locator(f"tbody tr td:nth-child({column + 1})").all_inner_texts()
    numbers = [float(text) for text in cells if text != "–"]
    assert head.get_attribute("aria-sort") == "ascending" and numbers == sorted(numbers)
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"


def test_the_keyboard_alone_reaches_and_uses_everything(opened):
    page = opened(address(DIP, NOISE))
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.id || document.activeElement.name || document.activeElement.tagName")
        )
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", f"the focus is not seen on {reached[-1]}"
    for control in ("play", "step", "display", "swap", "a-model", "a-start", "b-model"):
        assert control in reached, control
    page.focus("#step")
    page.keyboard.press("Home")
    assert page.text_content("#when-a") == "t = 499"
    page.focus("#a-start")
    page.keyboard.press("Home")
    assert page.evaluate("document.activeElement.id") == "a-start", "the control keeps the focus"
    page.focus("#play")
    page.keyboard.press("Enter")
    assert page.text_content("#play") == "Pause"


@pytest.mark.parametrize(  # each two of the three together
    ("which", "scheme", "width"),
    [("report", "light", 390), ("report", "dark", 1440), ("report_b", "dark", 390), ("report_b", "light", 1440)],
)
def test_axe_finds_nothing_and_nothing_is_wider_than_the_window(opened, request, which, scheme, width):
    path = request.getfixturevalue(which)
    page = opened(path=path, color_scheme=scheme, viewport={"width": width, "height": 900})
    page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    page.evaluate("document.querySelectorAll('figure').forEach((each) => each.scrollIntoView())")
    page.wait_for_timeout(1500)
    page.evaluate(packaged("axe_playwright_python").joinpath("axe.min.js").read_text())
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    told = [(each["id"], each["nodes"][0]["html"][:200]) for each in found["violations"]]
    assert not told
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].every((image) => image.naturalWidth > 0) && document.images.length > 5")


def test_print_has_the_figures_and_no_controls(opened):
    page = opened()
    page.emulate_media(media="print")
    assert not page.is_visible("#explore") and not page.is_visible("nav")
    assert page.locator("figure img.twin").first.is_visible()
    assert not page.locator(".vega").first.is_visible()


def test_without_scripts_all_but_the_explorer_is_there(opened, browser, report):
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(f"file://{report}")
    assert page.is_visible("noscript") or "needs JavaScript" in page.content()
    assert page.locator("figure img.twin").first.is_visible() and page.locator(".answer").is_visible()
    context.close()
