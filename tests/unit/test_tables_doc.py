"""docs/tables.md holds every column of every table, in order, and says of a metric what its meaning says."""

import re
from pathlib import Path

import pytest

from ddpm_dip.evaluation.metrics import METRICS
from ddpm_dip.report import tables
from ddpm_dip.study import AXES

PAGE = Path(__file__).resolve().parents[2] / "docs/tables.md"


def documented() -> dict[str, list[str]]:
    """Table -> columns, as the page has them; the columns between neighbours of interpolation.csv are not counted."""
    found: dict[str, list[str]] = {}
    for title, body in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.M | re.S):
        columns = []
        for first, what in re.findall(r"^\| (\S.*?) \| ?(.*?) ?\|$", body, re.M)[1:]:
            name = re.fullmatch(r"`(\w+)`", first)
            assert name is None or what, f"{title}: {first} is not described"
            columns += list(AXES) if first == "*every axis*" else [name[1]] if name else []
        found[title.removesuffix(".csv")] = columns
    return found


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_described_by_its_meaning_and_then_what_else_there_is_to_say(name):
    text = re.search(rf"^\| `{name}` \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.M)[1].replace("`", "")
    assert text == METRICS[name].meaning or text.startswith(METRICS[name].meaning + ". ")
    wrong = {True: "Higher is better", False: "Lower is better"}.get(METRICS[name].lower_is_better)
    assert wrong is None or wrong not in text


def test_the_axes_are_documented():
    assert documented().pop("The axes") == list(AXES)


@pytest.mark.parametrize("name", tables.COLUMNS)
def test_a_table_s_columns_are_documented(name):
    assert documented().get(name) == list(tables.COLUMNS[name])


def test_what_is_documented_is_made():
    assert documented().keys() - {"The axes"} == tables.COLUMNS.keys()
