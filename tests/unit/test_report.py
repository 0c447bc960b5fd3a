import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import made_study

from ddpm_dip import figures, files, provenance, report, tables

SCRIPT = Path(__file__).resolve().parents[2] / "workflow/scripts/report.py"


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.headings, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if re.fullmatch("h[1-6]", tag):
            self.open.append(tag)
            self.headings.append([int(tag[1]), ""])

    def handle_endtag(self, tag):
        if self.open and tag == self.open[-1]:
            self.open.pop()

    def handle_data(self, data):
        if self.open:
            self.headings[-1][1] += data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    made_study.write_study(root)
    return root


def write_report(root, out):
    shown = sorted(path for path in (root / "figures").iterdir() if path.suffix in (".png", ".gif"))
    command = [sys.executable, SCRIPT, "--config", root / "config.json"]
    command += ["--tables", *sorted((root / "tables").glob("*.csv")), "--figures", *shown]
    command += ["--provenance", root / "tables/cells.csv.provenance.json"]
    command += ["--output", out / "index.html", "--summary", out / "summary.txt"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def page(study):
    result = write_report(study, study / "report")
    assert result.returncode == 0, result.stderr
    return Page((study / "report/index.html").read_text())


def render(root, images=(), config=made_study.CONFIG, **tables_of_b):
    cells = tables.read_cells(root / "tables/cells.csv")
    data = {name: (root / "figures" / name).read_bytes() for name in images}
    return report.page(config, cells, None, None, data, {}, {}, **tables_of_b)


def test_the_page_needs_nothing_from_outside(page):
    for _, attrs in page.tags:
        for key in ("src", "href", "data", "poster", "srcset", "action"):
            assert re.match(r"(data:|#)", attrs.get(key, "#")), attrs
    assert not page.all("script")
    policy = next(attrs["content"] for attrs in page.all("meta") if "http-equiv" in attrs)
    assert policy.startswith("default-src 'none'")


def test_every_figure_is_embedded_with_alt_text_and_size(page, study):
    images = page.all("img")
    assert len(images) == len(list((study / "figures").iterdir()))
    assert all(image["alt"].strip() and int(image["width"]) > 100 and int(image["height"]) > 10 for image in images)
    assert all(int(image["width"]) <= 1020 for image in images)


def test_headings_keep_the_studys_order_and_skip_no_level(page):
    sections = [text for level, text in page.headings if level == 2]
    assert sections == [
        "What was asked, and the short answer",
        "1 Time per image against K",
        "2 Quality at a given K",
        "3 How many DIP passes",
        "4 Epoch budgets and training loss",
        "5 DIP inside training",
        "6 The DIP fit",
        "7 Brightness drift: a defect of the published net",
        "8 All cells",
        "9 Settings and versions",
        "10 Where every file comes from",
    ]
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(below - above <= 1 for above, below in zip(levels, levels[1:], strict=False))


def test_contents_lead_to_sections_that_are_there(page):
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    targets = {attrs["href"][1:] for attrs in page.all("a")}
    assert len(targets) == 11 and targets <= ids


def test_sections_without_parts_are_left_out_and_the_rest_renumbered(study):
    sections = [text for level, text in Page(render(study, ["dip-fit.png"])).headings if level == 2][1:]
    assert sections == ["1 DIP inside training", "2 The DIP fit", "3 All cells", "4 Settings and versions"]


def test_the_page_shows_verdicts_cells_and_what_was_not_computed(study):
    text = (study / "report/index.html").read_text()
    rows = len(tables.read_cells(study / "tables/cells.csv"))
    assert f"{rows} rows" in text
    assert (
        text.count('<td class="">not computed</td>') + text.count("<td>not computed</td>") == 2 * rows
    )  # FID and floor
    assert "FID (Inception features): not computed: the Inception weights are not there." in text
    assert {"verdict agrees", "verdict disagrees", "verdict not-decided"} <= set(
        re.findall(r'class="(verdict [^"]+)"', text)
    )
    assert "study A, Colab T4" in text and "6.450" in text


def test_names_are_escaped(study, tmp_path):
    config = json.loads(json.dumps(made_study.CONFIG))
    config["study"] = "<script>alert(1)</script>"
    config["note"] = "a & b <b>"
    data = tmp_path / "figures"
    data.mkdir()
    name = "strip.quality.<i>&.minmax.png"
    (data / name).write_bytes((study / "figures/loss.png").read_bytes())
    (tmp_path / "tables").symlink_to(study / "tables")
    text = render(tmp_path, [name], config)
    assert "<script>" not in text and "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "a &amp; b &lt;b&gt;" in text
    assert "<i>" not in text and "&lt;i&gt;&amp;" in text


def test_an_odd_config_does_not_stop_the_page(study):
    for config in ({}, {"models": None, "experiments": {"quality": {"steps": 200}}, "data": {}}):
        assert "All cells" in render(study, config=config)


def test_animations_find_their_model_even_with_dashes_in_names():
    image = {"kind": "gif"}
    names = [
        "denoising.hw4-sees.dip-every-step-p02.K0200.clamp.gif",
        "denoising.hw4.dip-p02.K0050.minmax.gif",
        "denoising.hw4.noise.K0050.clamp.gif",
        "denoising.other.dip-p02.K1000.clamp.gif",
    ]
    found = report.find_animations(dict.fromkeys(names, image))
    assert [(e["arm"], e["steps"], e["display"]) for e in found["hw4"]] == [
        ("DIP(2)+DDPM", 50, "minmax"),
        ("DDPM", 50, "clamp"),
    ]
    assert found["hw4-sees"][0]["arm"] == "DIP(2) every step"
    assert found["other"][0]["arm"] == "DIP(2)+DDPM"


def test_the_best_of_a_column_is_marked(study):
    cells = tables.read_cells(study / "tables/cells.csv")
    data = report.quality_tables(cells, made_study.CONFIG, ["hw4-dip"])["hw4-sees"]
    assert data["head"] == ["arm", "K = 200, minmax", "K = 200, clamp", "K = 500, minmax", "K = 500, clamp"]
    best = {row[0]: [cell["best"] for cell in row[1:]] for row in data["rows"][:-1]}
    assert best["mean image+DDPM"] == [True, True, False, False]
    assert best["DDPM"] == [False, False, True, True]


def test_fid_is_shown_where_it_was_computed(study, tmp_path):
    cells = tables.read_cells(study / "tables/cells.csv")
    cells["fid_inception"] = 33.5
    assert report.fid_note(cells, {}) == ""
    assert (
        "FID, K = 200, minmax"
        in report.quality_tables(cells, {"experiments": {"quality": {"steps": [200]}}}, [])["hw4"]["head"]
    )


def test_summary_fits_a_terminal_and_ends_with_the_page(study, page):
    lines = (study / "report/summary.txt").read_text().splitlines()
    assert len(lines) <= 25 and all(len(line) <= 100 for line in lines[:-1])
    assert lines[-1] == f"report: {study / 'report/index.html'}"
    row = next(line for line in lines if line.startswith("hw4-sees") and " 500 " in line)
    assert row.split()[:4] == ["hw4-sees", "500", "DDPM", "30"] and row.split()[-1] == "1.04"


def test_summary_of_many_cells_says_what_it_leaves_out(study):
    cells = tables.read_cells(study / "tables/cells.csv")
    lines = report.summary(cells, None, {}, "r.html", lines=10).splitlines()
    assert len(lines) == 10 and "more rows in the report" in lines[-3]


def test_script_says_which_file_is_missing(study, tmp_path):
    files.write_json(tmp_path / "config.json", {})
    (tmp_path / "figures").mkdir()
    (tmp_path / "tables").mkdir()
    files.write_json(tmp_path / "tables/cells.csv.provenance.json", {})
    (tmp_path / "tables/timing.csv").write_text("steps\n")
    result = write_report(tmp_path, tmp_path)
    assert result.returncode == 1 and result.stderr.startswith("error: ") and "cells.csv is missing" in result.stderr


def test_picture_sizes_are_read_from_the_files(study):
    png = report.embed("loss.png", (study / "figures/loss.png").read_bytes())
    assert png["width"] == round(figures.WIDTH * 100)
    gif = report.embed("d.gif", (study / "figures/denoising.hw4.dip.K0200.clamp.gif").read_bytes())
    assert (gif["width"], gif["height"]) == (406, 74)


# --- study B


@pytest.fixture(scope="module")
def study_b(tmp_path_factory):
    root = tmp_path_factory.mktemp("b")
    made_study.write_study_b(root)
    provenance.Job(None, __file__).finish(root / "tables/cells.csv", spec={}, not_computed={})
    result = write_report(root, root)
    assert result.returncode == 0, result.stderr
    return root


@pytest.fixture(scope="module")
def page_b(study_b):
    return (study_b / "index.html").read_text()


def test_study_b_alone_has_its_own_title_chapters_and_claims(study_b, page_b):
    headings = Page(page_b).headings
    assert [text for level, text in headings if level == 1] == ["DDPM and DCGAN: interpolation and evolution"]
    assert [text for level, text in headings if level == 2] == [
        "What was asked, and the short answer",
        "1 Epoch budgets and training loss",
        "2 DDPM and DCGAN as training goes on",
        "3 Between two latents",
        "4 All cells",
        "5 Settings and versions",
        "6 Where every file comes from",
    ]
    claims = re.findall(r"<td><b>((?:A|B)\d[^<]*)</b>", page_b)
    assert claims == ["B1", "B1 jumps", "B1 ends", "B1 independent", "B1 DDIM", "B2 early", "B2 late", "B2 tone"]
    assert "Deep Image Prior" not in page_b and "mean image" not in page_b
    assert len(Page(page_b).all("img")) == len(list((study_b / "figures").iterdir()))


def test_study_b_s_tables_have_each_model_and_the_floor(study_b):
    data = report.evolution_table(tables.read_cells(study_b / "tables/evolution.csv"))
    assert data["head"] == ["model", "epochs", "FD, minmax", "FD, clamp", "tone sd, minmax", "tone sd, clamp"]
    assert [row[:2] for row in data["rows"]] == [
        *(["dcgan", str(epochs)] for epochs in (1, 20, 50)),
        *(["imvfx", str(epochs)] for epochs in (1, 20, 50)),
        ["floor (real against real)", ""],
    ]
    assert data["rows"][4][2].startswith("12 ± ") and data["rows"][4][4] == "0.050"
    assert data["rows"][-1][2:4] == ["6.1", "6.1"]
    data = report.interpolation_table(tables.read_csv(study_b / "tables/interpolation.csv", []), "clamp")
    assert [row[:3] for row in data["rows"]][:3] == [
        ["dcgan", "DCGAN", "linear"],
        ["dcgan", "DCGAN", "spherical"],
        ["imvfx", "ancestral, independent noise", "linear"],
    ]
    assert len(data["head"]) == len(data["rows"][0]) == 3 + 3 * 2


def test_a_set_without_labels_is_judged_by_the_fid(study_b):
    table = tables.read_cells(study_b / "tables/evolution.csv")
    table["fid_inception"], table["fid_inception_floor"] = table["fd_classifier"], 5.0
    table[["fd_classifier", "fd_classifier_sd", "fd_classifier_floor"]] = float("nan")
    text = report.page(made_study.CONFIG_B, table, None, None, {}, {}, {}, table)
    assert "<dt>FID</dt>" in text and "<dt>FD</dt>" not in text and "bootstrap" not in text
    lines = report.summary(table, None, made_study.CONFIG_B, "r.html").splitlines()
    assert lines[0] == "made: best arm by FID" and any(
        line.split()[:4] == ["imvfx", "1000", "DDPM", "12"] for line in lines
    )
    table["fid_inception"] = float("nan")
    assert "not computed" in report.summary(table, None, made_study.CONFIG_B, "r.html").splitlines()[0]


def test_pairs_that_diverged_are_told(study_b):
    table = tables.read_csv(study_b / "tables/interpolation.csv", [])
    reasons = {"measures": ["the chain diverged: 1 of 8 pairs have NaN or infinite values"]}
    cells = tables.read_cells(study_b / "tables/cells.csv")
    text = report.page(made_study.CONFIG_B, cells, None, None, {}, {}, reasons, None, table)
    assert "Not measured: the chain diverged: 1 of 8 pairs" in text


def test_both_studies_on_one_page(study, study_b):
    b = {"evolution": tables.read_cells(study_b / "tables/evolution.csv")}
    both = made_study.CONFIG | {"experiments": made_study.CONFIG["experiments"] | made_study.CONFIG_B["experiments"]}
    text = render(study, ["dip-fit.png"], both, **b)
    sections = [text for level, text in Page(text).headings if level == 2][1:]
    assert sections[:3] == ["1 DIP inside training", "2 DDPM and DCGAN as training goes on", "3 The DIP fit"]
    assert "Studies A and B" in text
    claims = re.findall(r"<td><b>((?:A|B)\d[^<]*)</b>", text)
    assert claims[0] == "A1" and claims[-1] == "B2 tone"


def test_study_a_alone_says_nothing_of_b(study):
    text = (study / "report/index.html").read_text()
    assert "DCGAN" not in text and "<b>B1</b>" not in text


def test_cosine_budgets_are_said_to_be_runs_of_their_own(study_b):
    config = made_study.CONFIG_B | {"training": {"lr_schedule": "cosine"}}
    text = render(study_b, ["loss.png"], config, evolution=tables.read_cells(study_b / "tables/evolution.csv"))
    assert "each U-Net budget is a training run of its own" in text and "moments of one training run" not in text
