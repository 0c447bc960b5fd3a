"""The pages' links lead somewhere, and the axes' page has them all."""

import re
from pathlib import Path

import pytest

from ddpm_dip.study import AXES, plugins

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "results/README.md",
]


def anchors(page: Path) -> set[str]:
    """The names by which links reach its headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", dict.fromkeys(PAGES), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_axes_page_has_every_axis_start_and_sampler():
    page = (ROOT / "docs/reference.md").read_text(encoding="utf-8").split("## Axes")[1].split("\n## ")[0]
    axes, starts = page.split("| start | |")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", axes, re.M))
    assert list(rows) == list(AXES)
    assert set(re.findall(r"`([\w-]+)`", rows["sampler"])) >= set(plugins.names("sampler"))
    named = [name for row in re.findall(r"^\| (`.+?) \|", starts, re.M) for name in re.findall(r"`([\w-]+)`", row)]
    assert sorted(named) == sorted(plugins.names("start"))
