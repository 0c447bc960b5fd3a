import html
import json
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jobfile
import made_study

from ddpm_dip import study as studies
from ddpm_dip.jobs import files
from ddpm_dip.report import canvas, plan, sections, tables
from ddpm_dip.report import page as report


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

    def sections(self):
        return [text for level, text in self.headings if level == 2]

    def numbered(self):
        """The titles of sections that have a number, with it."""
        return [text for text in self.sections() if text[0].isdigit()]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Study A, written up to its report."""
    return made_study.copied(tmp_path_factory, "study_a")


@pytest.fixture(scope="module")
def page(study):
    return Page((study / "report/index.html").read_text())


def shown(asked):
    """What `page` takes of a study."""
    return report.Study(
        asked.config,
        {
            p.name: {"title": p.title, "cells": [c.path for c in p.cells], "show": p.show}
            for p in asked.experiments.values()
        },
        timesteps=asked.timesteps,
    )


def figure(section, data, title="T", caption="C", alt="A"):
    words = {"section": section, "title": title, "caption": caption, "alt": alt, "drawn": ""}
    return {"file": "figures/x.png", "kind": "x", "data": data, "charts": []} | words


def render(root, asked=None, figures=(), cells=None, config=None, records=None, reasons=None, **found):
    """The page of a study from its tables of cells and floors, and what else is given."""
    told = shown(asked or made_study.study_a())
    told = told if config is None else told._replace(config=config)
    cells = tables.read_cells(root / "tables/cells.csv", root / "tables/floors.csv") if cells is None else cells
    found = {"cells": cells, "floors": tables.read("floors", root / "tables/floors.csv")} | found
    return report.page(told, found, list(figures), records or {}, reasons)


def test_the_page_needs_nothing_from_outside(page):
    for _, attrs in page.tags:
        for key in ("src", "href", "data", "poster", "srcset", "action"):
            assert re.match(r"(data:|#)", attrs.get(key, "#")), attrs
    assert [attrs.get("type") for attrs in page.all("script")] == ["application/json", None, None]
    policy = next(attrs["content"] for attrs in page.all("meta") if "http-equiv" in attrs)
    assert policy.startswith("default-src 'none'") and "unsafe-eval" not in policy
    assert len(re.findall(r"'sha256-[^']+'", policy.partition("script-src")[2])) == 2


def test_every_figure_is_embedded_with_alt_text_and_size(page):
    images, wanted = page.all("img"), plan.wanted(made_study.study_a())
    assert sorted(image["alt"] for image in images) == sorted(each.alt for each in wanted)
    assert all(image["alt"].strip() and int(image["width"]) > 100 and int(image["height"]) > 10 for image in images)
    assert all(int(image["width"]) <= 1020 for image in images)


def test_headings_keep_the_configs_order_and_skip_no_level(page):
    assert page.sections() == [
        "Two cells side by side",
        "What each verdict rests on",
        "Words used here",
        "1 What the models draw",
        "2 Quality at a given K",
        "3 Quality against K",
        "4 How many DIP passes",
        "5 Epochs",
        "6 Full",
        "7 DIP inside training",
        "8 What each start gives the chain",
        "9 Arm by arm",
        "10 Time per image against K",
        "11 Training losses",
        "12 The DIP fit",
        "13 Brightness drift: a defect of the published net",
        "14 All cells",
        "15 Settings and versions",
        "16 Where every file comes from",
    ]
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(below - above <= 1 for above, below in zip(levels, levels[1:], strict=False))


def test_contents_lead_to_sections_that_are_there(page):
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    targets = {attrs["href"][1:] for attrs in page.all("a")}
    assert targets <= set(ids) and len(ids) == len(set(ids))
    assert targets >= {"explore", "claims", "words", "claim-1", "cells", "provenance", "experiment-quality"}


def test_an_experiment_may_be_called_as_a_section_is():
    grid = {"model": "hw4", "steps": [100, 200]}
    config = made_study.CONFIG | {"timing": None, "experiments": {"cells": {"grid": grid}, "time": {"grid": grid}}}
    asked = studies.read(config)
    cells = made_study.cells_table(made_study.points_of(asked))
    page = Page(report.page(shown(asked), {"cells": cells}, [], {}))
    assert [text.split(" ", 1)[1] for text in page.numbered()[:3]] == [
        "Cells",
        "Time",
        "Brightness drift: a defect of the published net",
    ]
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_sections_without_parts_are_left_out_and_the_rest_renumbered(study):
    fit = figure("dip-fit", (study / "figures/dip-fit.png").read_bytes())
    found = Page(render(study, figures=[fit])).numbered()[6:]
    assert [name.split(" ", 1)[1] for name in found] == [
        "The DIP fit",
        "Brightness drift: a defect of the published net",
        "All cells",
        "Settings and versions",
    ]
    assert [int(name.split()[0]) for name in found] == [7, 8, 9, 10]


def test_the_published_net_s_defect_is_told_where_that_net_is(study):
    assert "cannot see overall brightness" in render(study).replace("\n", " ").replace("it cannot see", "cannot see")
    models = {"hw4-sees": {"network": "hw4-sees", "epochs": [5]}}
    assert "see overall brightness" not in render(study, config=made_study.CONFIG | {"models": models})


def test_the_page_shows_verdicts_cells_and_what_was_not_computed(study):
    text = (study / "report/index.html").read_text()
    rows = len(tables.read_cells(study / "tables/cells.csv"))
    assert f"{rows} rows" in text
    assert text.count('<td class="">not computed</td>') + text.count("<td>not computed</td>") == rows  # FID
    assert "FID (Inception features): not computed: the Inception weights are not there." in text
    assert {"verdict supported", "verdict refuted"} <= set(re.findall(r'class="(verdict [^"]+)"', text))
    assert "Not asked here: B2 (the study leaves out the model imvfx)." in text
    answer = (study / "report/summary.txt").read_text().splitlines()[0]
    assert (
        answer.startswith("On digits (hw4-sees): DIP(2)+DDPM ")
        and html.unescape(re.sub("</?span>", "", re.search('class="answer">(.*?)</p>', text)[1])) == answer
    )
    assert "study A, Colab T4" in text and "6.450" in text
    assert "256 images each. Compared with 449 held-out real images." in text


def test_names_are_escaped(study):
    config = json.loads(json.dumps(made_study.CONFIG))
    config["study"] = "<script>alert(1)</script>"
    config["note"] = "a & b <b>"
    data = (study / "figures/loss.png").read_bytes()
    bad = figure("experiment-quality", data, title="<i>&", caption="<u>&", alt='"><s>')
    text = render(study, figures=[bad], config=config)
    assert "<script>alert" not in text and "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "a &amp; b &lt;b&gt;" in text
    assert not re.search("<[ius]>", text) and "&lt;i&gt;&amp;" in text and "&lt;u&gt;&amp;" in text


def test_an_odd_config_does_not_stop_the_page(study):
    for config in ({}, {"models": None, "experiments": {"quality": {"steps": 200}}, "data": {}}):
        assert "All cells" in render(study, config=config)


def test_a_figure_stands_where_its_job_says_whatever_its_file_is_called(study):
    png = (study / "figures/loss.png").read_bytes()
    shown = [
        figure("experiment-passes", png, "one", "first"),
        figure("experiment-quality", png, "two", "second"),
        figure("experiment-passes", png, "one", "third"),
        figure("experiment-quality", png, "two", "fourth"),
    ]
    text = render(study, figures=shown)
    at = [text.index(f"<figcaption>{word}") for word in ("second", "fourth", "first", "third")]
    assert at == sorted(at)
    assert text.count("<h3>one</h3>") == text.count("<h3>two</h3>") == 1
    assert text.index('id="experiment-quality"') < at[0] < text.index('id="experiment-passes"') < at[2]


def tables_of(experiment, cells, asked=None):
    return sections.distance_tables(cells, shown(asked or made_study.study_a()).experiments[experiment])


def test_no_arm_of_a_table_is_called_best(study):
    cells = tables.read_cells(study / "tables/cells.csv", study / "tables/floors.csv")
    data = next(table for table in tables_of("quality", cells) if table["title"] == "hw4-sees")
    assert data["head"] == ["arm", "K = 200, minmax", "K = 200, clamp", "K = 500, minmax", "K = 500, clamp"]
    assert all(isinstance(text, str) for row in data["rows"] for text in row)
    assert data["rows"][-1] == ["floor (real against real)", *["6.1"] * 4]
    assert "best" not in (study / "report/summary.txt").read_text()


def test_many_places_become_rows_and_a_sampler_has_rows_of_its_own():
    grid = {"model": "hw4", "steps": 1000, "nfe": [5, 10, 20, 50, 1000], "sampler": ["ancestral", "ddim"]}
    asked = studies.read(made_study.CONFIG | {"experiments": {"fast": {"grid": grid}}})
    (data,) = tables_of("fast", made_study.cells_table(made_study.points_of(asked)), asked)
    assert data["head"] == ["NFE", "sampler", "FD, minmax", "FD, clamp"] and data["numeric_from"] == 2
    assert [row[:2] for row in data["rows"][:3]] == [
        ["5 evaluations", "ancestral"],
        ["5 evaluations", "ddim"],
        ["10 evaluations", "ancestral"],
    ]
    assert len(data["rows"]) == 2 * 5 + 1


def test_replicates_are_means_with_their_spread():
    config = made_study.overlay(made_study.CONFIG, {"seeds": {"replicates": [0, 1]}})
    asked = studies.read(config)
    cells = made_study.cells_table(made_study.points_of(asked))
    cells["fd_classifier"] = [20.0 + 2 * row["replicate"] for row in cells.to_dict("records")]
    data = tables_of("quality", cells, asked)[0]
    assert data["rows"][0][1] == "21 ± 1.4"
    text = report.page(shown(asked), {"cells": cells}, [], {})
    assert "standard deviation over replicates" in text


def test_fid_is_shown_where_it_was_computed(study):
    cells = tables.read_cells(study / "tables/cells.csv")
    cells["fid_inception"] = 33.5
    assert report.fid_note(cells, {}) == ""
    data = tables_of("quality", cells)[0]
    assert "FID, K = 200, minmax" in data["head"]


def test_time_is_told_of_each_net_once_as_starts_steps_and_their_sum(study):
    timing = tables.read("timing", study / "tables/timing.csv")
    assert set(timing["model"]) == {"hw4", "hw4-dip", "hw4-sees"}
    same = timing[timing["model"] != "hw4-sees"]  # hw4-dip's rows are copies of hw4's
    found = sections.time(sections.Report(shown(made_study.study_a()), {"timing": same}, [], {}, {}))
    assert found["costs"]["head"] == ["measured", "hw4, batch 1", "hw4, batch 32"]
    costs = {name: [text.split(" ")[0] for text in values] for name, *values in found["costs"]["rows"]}
    assert costs["start dip(2), an image"] == ["3.00", "3.00"] and costs["step of DDPM"] == ["2.10", "0.550"]
    assert costs["step of DDPM, start dip-every-step(2)"] == ["5.10", "3.55"]
    head, rows = found["times"]["head"], {row[0]: row for row in found["times"]["rows"]}
    assert head[1:3] == ["DDPM: hw4, batch 1", "DIP(2)+DDPM: hw4, batch 1"]
    assert [text.split(" ")[0] for text in rows["500"][1:3]] == ["1.05", "1.05"]
    assert rows["500"][head.index("whole chain measured: hw4, batch 32")].startswith("0.275 (")
    assert rows["1000"][-2:] == ["6.450", "6.148"] and rows["900"][5:7] == ["–", "–"]


def test_a_mean_over_nets_says_how_many_of_them_have_a_value():
    assert sections.mean_text([4.8, 5.0]) == "4.9 ± 0.14"
    assert sections.mean_text([4.8, None, 5.0]) == "4.9 ± 0.14 (2 of 3 nets)"  # the other one diverged
    assert sections.mean_text([4.8], 0.5) == "4.8 ± 0.5" and sections.mean_text([None]) == "–"


def test_summary_fits_a_terminal_and_ends_with_the_page(study):
    lines = (study / "report/summary.txt").read_text().splitlines()
    assert len(lines) <= 26 and all(len(line) <= 110 for line in lines[1:-1])
    assert lines[-1].startswith("report: ") and lines[-1].endswith("results/made/report/index.html")
    claims = {tuple(line.split()[:2]): line.split()[2] for line in lines[1:7]}
    table = tables.read("claims", study / "tables/claims.csv")
    asked = table[table["verdict"] != "not asked"]
    assert claims == {(row["claim"], row["model"]): row["verdict"] for row in asked.to_dict("records")}


def test_summary_of_many_cells_says_what_it_leaves_out(study):
    found = {name: tables.read(name, study / f"tables/{name}.csv") for name in ("cells", "claims", "differences")}
    lines = report.summary(report.Study({}, {}), found, "r.html", lines=8).splitlines()
    assert len(lines) == 8 and "more lines in the report" in lines[-2]


def test_summary_names_each_arm_with_its_difference_and_a_tie_as_one():
    asked = studies.read(made_study.CONFIG)
    differences = [
        {"model": "hw4", "epochs": 20, "weights": "last", "start": "dip", "passes": 2, "sampler": "ancestral"}
        | {"clip_x0": False, "steps": 500, "nfe": 500, "display": "clamp", "against": against, "estimate": value}
        | {"ci_low": value - 3, "ci_high": value + 3, "reference": 20.0, "word": word}
        for against, value, word in (("noise", 1.0, "tie"), ("gaussian", 10.0, "worse"))
    ]
    found = {"differences": tables.made("differences", differences)}
    line = report.summary(shown(asked), found | {"cells": None}, "r.html").splitlines()[-2]
    assert line.split() == ["hw4", "K", "=", "500", "DIP(2)+DDPM", "tie:", "+5", "%", "worse:", "+50", "%"]


def test_script_says_which_file_is_missing(study, tmp_path):
    files.write_text(tmp_path / "tables/timing.csv", made_study.timing_rows())
    settings = {"config": {}, "figures": [], "experiments": {}}
    inputs, outputs = {"tables": {"timing": "tables/timing.csv"}, "figures": []}, {"page": "i.html", "summary": "s.txt"}
    result = jobfile.script("report", jobfile.write(tmp_path, "report", settings, inputs, outputs))
    assert result.returncode == 1 and result.stderr.startswith("error: ") and "has no cells" in result.stderr
    inputs["tables"]["cells"] = "tables/cells.csv"
    result = jobfile.script("report", jobfile.write(tmp_path, "report", settings, inputs, outputs))
    assert result.returncode == 1 and "tables/cells.csv: cannot be read" in result.stderr


def test_the_script_writes_the_very_page_and_its_records(study, tmp_path):
    root = tmp_path / "made"
    shutil.copytree(study, root)
    before = (root / "report/index.html").read_bytes()
    (root / "report/index.html").unlink()
    done = jobfile.script("report", root / "jobs/report/report.json")
    assert done.returncode == 0, done.stderr
    assert (root / "report/index.html").read_bytes() == before
    record = json.loads((root / "report/index.html.provenance.json").read_text())
    assert "tables/cells.csv" in record["read"] and "figures/loss.png" in record["read"]
    assert record["job"]["settings"]["config"] == made_study.study_a().config


def test_records_are_listed_by_the_stage_that_made_them(study):
    text = (study / "report/index.html").read_text()
    assert "<td>tables/cells.csv</td><td>tables</td>" in text
    record = {"job": {"stage": "train"}, "sha256": "ab12", "seconds": 3.5, "machine": "box", "versions": {"torch": "9"}}
    text = render(study, records={"models/x": record, "models/y": record})
    assert (
        "<tr><td>train</td>" in text and "7.0" in text and "Machine: box" in text and "<td>torch</td><td>9</td>" in text
    )


def test_a_figure_has_its_size_in_inches_at_any_dpi(study, tmp_path):
    for dpi in (75, 150, 300):
        fig, _ = canvas.subplots(1, 1, 4)
        canvas.save(fig, tmp_path / "f.png", dpi)
        shown = report.picture((tmp_path / "f.png").read_bytes())
        assert (shown["width"], shown["height"]) == (round(canvas.WIDTH * 100), 400)


def test_the_published_loss_is_told_for_the_published_net_on_mnist_alone(study):
    training = tables.read("training", study / "tables/training.csv")
    for dataset, told in (("digits", False), ("mnist", True)):
        config = made_study.overlay(made_study.study_a().config, {"data": {"dataset": dataset}})
        assert ("laptop RTX 4060" in render(study, config=config, training=training)) == told


# --- study B


@pytest.fixture(scope="module")
def study_b(tmp_path_factory):
    return made_study.copied(tmp_path_factory, "study_b")


@pytest.fixture(scope="module")
def page_b(study_b):
    return (study_b / "report/index.html").read_text()


def test_a_study_without_dip_is_not_called_after_it(study):
    cells = tables.read_cells(study / "tables/cells.csv", study / "tables/floors.csv")
    text = render(study, cells=cells[cells["passes"].isna()])
    assert Page(text).headings[0][1] == "Warm starts and samplers of a diffusion model"
    assert "such as a Deep Image Prior" not in text and "<dt>passes</dt>" not in text


def test_study_b_alone_has_its_own_title_chapters_and_claims(page_b):
    page = Page(page_b)
    assert [text for level, text in page.headings if level == 1] == ["DDPM and DCGAN: interpolation and evolution"]
    assert page.sections() == [
        "Two cells side by side",
        "What each verdict rests on",
        "Words used here",
        "1 What the models draw",
        "2 DDPM and DCGAN as training goes on",
        "3 Training losses",
        "4 Between two latents",
        "5 Brightness drift: a defect of the published net",
        "6 All cells",
        "7 Settings and versions",
        "8 Where every file comes from",
    ]
    claims = re.findall(r"<td><b>((?:A|B)\d[^<]*)</b>", page_b)
    assert claims == ["B1", "B1-ddim", "B2-late"]
    assert re.findall(r"<small>([^<]*)</small></span></li>", page_b)[0].endswith("minmax display")
    assert "Deep Image Prior" not in page_b and "mean image" not in page_b
    assert len(page.all("img")) == len(plan.wanted(made_study.study_b()))


def test_study_b_s_tables_have_each_model_and_the_floor(study_b):
    cells = tables.read_cells(study_b / "tables/cells.csv", study_b / "tables/floors.csv")
    (data,) = tables_of("evolution", cells, made_study.study_b())
    assert data["head"] == [
        "epochs of training",
        "model",
        "FD, minmax",
        "FD, clamp",
        "tone sd, minmax",
        "tone sd, clamp",
    ]
    assert [row[:2] for row in data["rows"]] == [
        *([epochs, model] for epochs in ("1 epoch", "20 epochs", "50 epochs") for model in ("dcgan", "imvfx")),
        ["floor (real against real)", ""],
    ]
    later = data["rows"][3]
    assert later[2].startswith("12 ± ") and later[4] == "0.050"
    assert data["rows"][-1][2:] == ["6.1", "6.1", "", ""]
    data = sections.interpolation_table(tables.read("interpolation", study_b / "tables/interpolation.csv"), "clamp")
    assert sorted(row[:3] for row in data["rows"])[:3] == [
        ["dcgan", "DCGAN", "linear"],
        ["dcgan", "DCGAN", "spherical"],
        ["imvfx", "DDIM", "linear"],
    ]
    assert len(data["rows"]) == 8 and len(data["head"]) == len(data["rows"][0]) == 3 + 3 * 2


def test_a_set_without_labels_is_judged_by_the_fid(study_b):
    table = tables.read_cells(study_b / "tables/cells.csv")
    table["fid_inception"], table["fid_inception_floor"] = table["fd_classifier"], 5.0
    table[["fd_classifier", "fd_classifier_se", "fd_classifier_floor"]] = float("nan")
    text = render(study_b, made_study.study_b(), cells=table)
    assert "<dt>FID</dt>" in text and "<dt>FD</dt>" not in text and "bootstrap" not in text


def test_pairs_that_diverged_are_told(study_b):
    table = tables.read("interpolation", study_b / "tables/interpolation.csv")
    reasons = {"measures": ["the chain diverged: 1 of 8 pairs have NaN or infinite values"]}
    text = render(study_b, made_study.study_b(), reasons=reasons, interpolation=table)
    assert "Not measured: the chain diverged: 1 of 8 pairs" in text


def test_both_studies_on_one_page(study, study_b):
    experiments = made_study.CONFIG["experiments"] | made_study.CONFIG_B["experiments"]
    models = made_study.CONFIG["models"] | made_study.CONFIG_B["models"]
    both = studies.read(made_study.CONFIG | {"experiments": experiments, "models": models})
    text = render(study, both, cells=made_study.cells_table(made_study.points_of(both)))
    names = [name.split(" ", 1)[1] for name in Page(text).numbered()]
    assert names[5:7] == ["DIP inside training", "DDPM and DCGAN as training goes on"]
    assert Page(text).headings[0][1] == "Deep Image Prior as a warm start for DDPM"


def test_study_a_alone_says_nothing_of_b(study):
    text = (study / "report/index.html").read_text()
    assert "DCGAN" not in text and "<b>B1</b>" not in text


def test_cosine_budgets_are_said_to_be_runs_of_their_own(study_b):
    config = made_study.overlay(made_study.CONFIG_B, {"training": {"lr_schedule": "cosine"}})
    training = tables.read("training", study_b / "tables/training.csv")
    text = render(study_b, made_study.study_b(), config=config, training=training)
    assert "each U-Net budget is a training run of its own" in text and "moments of one training run" not in text
