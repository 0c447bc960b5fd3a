import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jobfile
import made_study
import matplotlib.pyplot as plt

from ddpm_dip import study
from ddpm_dip.jobs.errors import UserError
from ddpm_dip.report import canvas, figures, labels, plan, published, tables
from ddpm_dip.report import page as report
from ddpm_dip.report.figures import interpolation as between

CURVES = {"x": ["steps"], "line": ["start", "passes"], "panel": ["model"]}


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def cells():
    return made_study.cells_table(made_study.points_of(made_study.study_a()))


@pytest.fixture(scope="module")
def cells_b():
    return made_study.cells_table(made_study.points_of(made_study.study_b()))


def shown(asked, experiment, kind, table):
    """A figure of an experiment, as its `show` has it."""
    part = asked.experiments[experiment]
    options = part.show[kind] | {"cells": [cell.path for cell in part.cells]}
    return figures.draw(kind, {"tables": {"cells": table, "floors": made_study.floors()}}, options)


def curves(points, change=None, **options):
    """Curves of these cells."""
    table = made_study.cells_table(points)
    if change is not None:
        table = change(table)
    return figures.draw("curves", {"tables": {"cells": table, "floors": made_study.floors()}}, CURVES | options)


def pictures(kind, points, size=16, **options):
    return figures.draw(kind, {"samples": [made_study.archive(point, size=size) for point in points]}, options)


def strips(points, row=("start", "passes"), block=("steps",), display="minmax", **options):
    return pictures("strips", points, row=list(row), block=list(block), panel=["model"], display=display, **options)


def legend(figure):
    return [text.get_text() for box in figure.legends for text in box.get_texts()]


def texts(figure):
    return [text.get_text() for text in figure.texts]


def pixels(figure, path, dpi=canvas.DPI):
    canvas.save(figure, path, dpi)
    return np.asarray(Image.open(path).convert("L"))


def csv(tmp_path, name, text):
    (tmp_path / f"{name}.csv").write_text(text)
    return {"tables": {name: tables.read(name, tmp_path / f"{name}.csv")}}


def test_time_figure_names_the_published_times_and_draws_them_dashed_grey(tmp_path):
    figure = figures.draw("time", csv(tmp_path, "timing", made_study.timing_rows()), {"models": ["hw4"]})
    assert [axis.get_title() for axis in figure.axes] == ["batch 1", "batch 32"]
    names = legend(figure)
    assert {"DDPM", "DIP(2)+DDPM", "DIP(2) alone", "DIP(2) every step", "whole chains, measured"} < set(names)
    assert sum(published.TIMING_SOURCE in name for name in names) == 2
    old = [line for line in figure.axes[0].lines if list(line.get_ydata()) == list(published.TIMING_SECONDS["ddpm"])]
    assert len(old) == 1 and old[0].get_linestyle() == "--" and old[0].get_color() == canvas.GREY
    assert not any(len(line.get_ydata()) == 10 and line.get_color() == canvas.GREY for line in figure.axes[1].lines)


def test_time_lines_are_a_start_and_so_many_steps_and_whole_chains_are_points_on_them(tmp_path):
    rows = made_study.timing_rows() + made_study.timing_rows("hw4-sees").partition("\n")[2]
    figure = figures.draw("time", csv(tmp_path, "timing", rows), {"models": ["hw4", "hw4-sees"]})
    assert [axis.get_title() for axis in figure.axes][::3] == ["hw4, batch 1", "hw4-sees, batch 32"]
    axis = figure.axes[0]
    blue = next(line for line in axis.lines if line.get_color() == labels.arm_colour("noise"))
    np.testing.assert_allclose(blue.get_ydata(), 1e-5 + 2.1e-3 * blue.get_xdata())
    inside = next(line for line in axis.lines if line.get_color() == labels.arm_colour("dip-every-step"))
    np.testing.assert_allclose(inside.get_ydata(), 3e-3 + 5.1e-3 * inside.get_xdata())
    measured = [line for line in axis.lines if (line.get_color(), line.get_marker()) == ("black", "o")]
    points = {line.get_xdata()[0]: line.get_ydata()[0] for line in measured}
    assert points[100] == pytest.approx(0.21001) and points[500] == pytest.approx(1.05001)


# ---------------------------------------------------------------- curves


def test_distance_figure_has_a_panel_per_model_and_display_with_log_axis_only_where_needed(cells):
    figure = shown(made_study.study_a(), "steps", "curves", cells)
    scales = {axis.get_title(): axis.get_yscale() for axis in figure.axes}
    assert scales == {
        "hw4, minmax display": "linear",
        "hw4, clamp display": "log",
        "hw4-sees, minmax display": "linear",
        "hw4-sees, clamp display": "linear",
    }
    assert {"DDPM", "DIP(2)+DDPM", "mean image+DDPM", "DIP(2) alone (no chain)"} < set(legend(figure))
    assert all("K" in axis.get_xlabel() and "distance" in axis.get_ylabel() for axis in figure.axes)
    level = [line for line in figure.axes[2].lines if line.get_linestyle() == "-."]
    assert [list(line.get_ydata()) for line in level] == [[made_study.distance(made_study.dip_alone(), "minmax")] * 2]


def test_distance_figure_shows_the_passes_of_its_cells_and_no_others(cells):
    part = made_study.study_a().experiments["passes"]
    chosen = [cell.path for cell in part.cells if cell.passes in (1, 50)]
    names = legend(figures.draw("curves", {"tables": {"cells": cells}}, CURVES | {"cells": chosen}))
    assert names == ["DIP(1)+DDPM", "DIP(50)+DDPM"]


def test_an_arm_has_one_colour_in_all_figures(cells):
    distance = shown(made_study.study_a(), "steps", "curves", cells)
    epochs = shown(made_study.study_a(), "epochs", "curves", cells)
    dip = labels.ARM_COLOURS["dip"]
    assert any(line.get_color() == dip for line in distance.axes[0].lines)
    assert any(line.get_color() == dip for line in epochs.axes[0].lines)
    assert labels.arm_colour("something-new") not in labels.ARM_COLOURS.values()
    assert labels.arm_colour("something-new") == labels.arm_colour("something-new")


def test_a_sampler_that_varies_has_a_line_of_its_own():
    points = [
        made_study.cell(start=start, passes=2 if start == "dip" else None, steps=steps, sampler=sampler, clip_x0=clip)
        for start in ("noise", "dip")
        for sampler, clip in (("ancestral", False), ("ddim", False), ("ddim", True))
        for steps in (100, 500)
    ]
    figure = curves(points, line=["start", "passes", "sampler", "clip_x0"])
    names = ["DDPM", "DDIM", "DDIM, x0 clipped", "DIP(2)+DDPM", "DIP(2)+DDIM", "DIP(2)+DDIM, x0 clipped"]
    assert legend(figure) == [*names, "floor: real against real, same n"]
    drawn = [
        line for line in figure.axes[0].lines if len(line.get_xdata()) == 2 and list(line.get_xdata()) == [100, 500]
    ]
    looks = [(line.get_color(), line._unscaled_dash_pattern, line.get_marker()) for line in drawn]
    assert len(drawn) == 6 and len(set(map(str, looks))) == 6
    assert {line.get_color() for line in drawn[:3]} == {labels.ARM_COLOURS["noise"]}
    assert {line.get_color() for line in drawn[3:]} == {labels.ARM_COLOURS["dip"]}


def test_samplers_of_one_start_have_colours_of_their_own():
    points = [made_study.cell(sampler=s, steps=k) for s in ("ancestral", "ddim", "dpmpp-2m") for k in (100, 500)]
    figure = curves(points, line=["sampler"])
    drawn = [line for line in figure.axes[0].lines if list(line.get_xdata()) == [100, 500]]
    assert len({line.get_color() for line in drawn}) == 3
    assert legend(figure)[:3] == ["ancestral", "ddim", "dpmpp-2m"]


def test_replicates_are_a_mean_line_with_a_band():
    points = [made_study.cell(steps=k, replicate=r) for k in (100, 500) for r in (0, 1, 2)]
    points += [made_study.dip_alone(replicate=r) for r in (0, 1, 2)]

    def spread(table):
        table["fd_classifier"] = [100.0 + 10 * row["replicate"] for row in table.to_dict("records")]
        return table

    figure = curves(points, spread)
    axis = figure.axes[0]
    (line,) = [line for line in axis.lines if list(line.get_xdata()) == [100, 500]]
    assert list(line.get_ydata()) == [110, 110]
    (band,) = axis.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (100, 120)
    (level,) = [line for line in axis.lines if line.get_linestyle() == "-."]
    assert level.get_ydata()[0] == 110
    (span,) = axis.patches  # DIP alone has no K: a level with a band
    assert (span.get_y(), span.get_y() + span.get_height()) == (100, 120)
    assert not curves([point for point in points if point["replicate"] == 0]).axes[0].collections


def test_a_series_with_a_single_k_is_a_level_and_says_which():
    points = [made_study.cell(steps=k) for k in (100, 500)] + [made_study.cell(start="mean-image", steps=200)]
    figure = curves(points)
    assert legend(figure)[:2] == ["DDPM", "mean image+DDPM, K = 200"]
    assert [line.get_linestyle() for line in figure.axes[0].lines][1] == "-."


@pytest.mark.filterwarnings("error")
def test_few_evaluations_are_drawn_on_a_log_axis():
    points = [made_study.cell(steps=1000, nfe=nfe, sampler="ddim") for nfe in (5, 20, 100)]
    figure = curves(points, x=["nfe"], line=["sampler"])
    assert figure.axes[0].get_xscale() == "log" and "log scale" in figure.axes[0].get_xlabel()
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["5", "20", "100"]


def test_what_has_no_order_is_drawn_along_its_words():
    points = [made_study.cell(start=start) for start in ("mean-image", "noise")]
    figure = curves(points, x=["start"], line=[])
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["DDPM", "mean image+DDPM"]


def test_epochs_figure_has_the_budgets_as_ticks(cells):
    figure = shown(made_study.study_a(), "epochs", "curves", cells)
    assert [int(tick) for tick in figure.axes[0].get_xticks()] == [5, 10, 20]
    assert "K = 500" in figure._suptitle.get_text()


@pytest.mark.parametrize(
    ("kind", "options"), [("curves", CURVES), ("heatmap", {"row": ["start", "passes"], "x": ["steps"]})]
)
def test_small_grids_and_missing_displays_still_draw(kind, options, tmp_path):
    table = made_study.cells_table([made_study.cell(steps=100), made_study.cell(start="dip", passes=2, steps=100)])
    table.loc[table["display"] == "clamp", "fd_classifier"] = np.nan
    figure = figures.draw(kind, {"tables": {"cells": table}}, options | {"panel": ["model"]})
    canvas.save(figure, tmp_path / "f.png")
    assert figure.axes[0].get_title().startswith("hw4, minmax")
    table["fd_classifier"] = np.nan
    (said,) = texts(figures.draw(kind, {"tables": {"cells": table}}, options))
    assert "nothing to draw: no distance was measured here" in said


def test_heatmap_writes_each_distance_and_marks_none_as_best(cells):
    figure = shown(made_study.study_a(), "passes", "heatmap", cells)
    panel = next(axis for axis in figure.axes if axis.get_title().startswith("hw4-sees, minmax"))
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["100", "500", "900"]
    rows = [tick.get_text() for tick in panel.get_yticklabels()]
    assert rows == ["0 (noise)", "1", "2", "3", "5", "10", "50"]
    assert len(panel.texts) == len(rows) * 3
    assert not panel.patches and len({text.get_fontweight() for text in panel.texts}) == 1
    assert not {"best", "lowest", "outlined"} & set(figure._suptitle.get_text().split())
    assert "floor 6.1" in panel.get_title()


def test_a_heatmap_of_replicates_shows_their_means():
    table = made_study.cells_table([made_study.cell(replicate=r) for r in (0, 1)])
    table["fd_classifier"] = [10.0 + 10 * row["replicate"] for row in table.to_dict("records")]
    figure = figures.draw("heatmap", {"tables": {"cells": table}}, {"row": ["start"], "x": ["steps"]})
    assert [text.get_text() for text in figure.axes[0].texts] == ["15"]


def test_distances_near_and_below_zero_are_all_within_the_axis():
    points = [made_study.cell(start=start, steps=k) for start in ("noise", "mean-image") for k in (100, 500, 900)]

    def change(low):
        def changed(table):
            table["fd_classifier"] = [
                {100: 400.0, 500: 3.0, 900: low}[row["steps"]] * (1 if row["start"] == "noise" else 0.5)
                for row in table.to_dict("records")
            ]
            return table

        return changed

    for low, scale in ((-0.3, "symlog"), (0.5, "log")):
        table = change(low)(made_study.cells_table(points))
        floors = made_study.floors(floor=-0.1 if low < 0 else 0.2)
        axis = figures.draw("curves", {"tables": {"cells": table, "floors": floors}}, CURVES).axes[0]
        assert axis.get_yscale() == scale
        bottom, top = axis.get_ylim()
        drawn = [y for line in axis.lines for y in line.get_ydata()]
        assert low in drawn and low / 2 in drawn and all(bottom < y < top for y in drawn)
        if low < 0:
            assert "(below 2, shaded: linear)" in axis.get_ylabel()  # the smallest value above zero is 1.5
            heights = axis.transData.transform([(0, y) for y in (-0.3, 0, 3, 400)])[:, 1]
            assert (np.diff(heights) > 1).all()
    few = curves(points, lambda table: table.assign(fd_classifier=[-0.2 if k == 900 else 1.0 for k in table["steps"]]))
    assert few.axes[0].get_yscale() == "linear" and few.axes[0].get_ylim()[0] < -0.2


def test_a_replicate_that_diverged_is_a_mark_at_the_edge_and_its_place_has_no_mean():
    points = [made_study.cell(steps=k, replicate=r) for k in (100, 500, 900) for r in (0, 1)]

    def lose(table):
        table["fd_classifier"] = 10.0
        table["diverged"] = 0.0
        lost = (table["steps"] == 500) & (table["replicate"] == 1)
        table.loc[lost, "fd_classifier"], table.loc[lost, "diverged"] = np.nan, 0.25
        return table

    figure = curves(points, lose)
    axis = figure.axes[0]
    line = next(line for line in axis.lines if list(line.get_xdata()) == [100, 500, 900])
    assert np.isnan(line.get_ydata()).tolist() == [False, True, False]
    (mark,) = [line for line in axis.lines if line.get_marker() == "^"]
    assert (
        list(mark.get_xdata()) == [500]
        and axis.transAxes.inverted().transform(mark.get_transform().transform((500, 1)))[1] == 1
    )
    (other,) = [line for line in axis.lines if line.get_marker() == "."]
    assert (list(other.get_xdata()), list(other.get_ydata())) == ([500], [10.0])
    assert canvas.DIVERGED in legend(figure)


# ---------------------------------------------------------------- quality against cost

PARETO = {"line": ["start", "passes", "sampler", "clip_x0"], "panel": ["model"], "margin": 0.5}


def costly(steps, nfe=None, value=10.0, times=0.001, replicates=(0,), **axes):
    """Rows of one place, with a distance of `value` (a list: a replicate each) and `times` seconds an evaluation."""
    values = value if isinstance(value, list) else [value] * len(replicates)
    return [
        made_study.cell(steps=steps, nfe=nfe or steps, replicate=r, **axes) | {"value": v, "times": times}
        for r, v in enumerate(values)
    ]


def pareto(*places, **options):
    rows = [row for place in places for row in place]
    points = [{axis: row[axis] for axis in study.AXES} for row in rows]
    values = {str(point): row for point, row in zip(points, rows, strict=True)}
    table = made_study.cells_table(points)
    own = [values[str({axis: row[axis] for axis in study.AXES})] for row in table.to_dict("records")]
    table["fd_classifier"] = [row["value"] for row in own]
    table["seconds"] = [row["times"] and row["times"] * row["nfe"] for row in own]
    paths = [row["path"] for row in table.to_dict("records") if row["start"] == "noise" and row["nfe"] == 1000]
    return figures.draw(
        "pareto", {"tables": {"cells": table}}, PARETO | {"reference": paths, "timesteps": {"hw4": 1000}} | options
    )


def series(axis):
    """What a panel's lines show: name of the colour's arm -> [(x, y)], of the lines of means."""
    arms = {colour: arm for arm, colour in labels.ARM_COLOURS.items()}
    return {
        arms[line.get_color()]: [tuple(map(float, point)) for point in line.get_xydata()]
        for line in axis.lines
        if line.get_markerfacecolor() == "white" and line.get_color() in arms
    }


USUAL = (
    costly(100, value=[80.0, 100.0]),
    costly(1000, value=[8.0, 12.0]),
    costly(100, value=[12.0, 16.0], start="dip", passes=2, times=0.002),
    costly(500, value=[18.0, 22.0], start="dip", passes=2, times=0.002),
    costly(500, value=[1.0, 2.0], start="oracle"),
)


def test_pareto_shows_means_and_bands_against_evaluations_and_seconds():
    figure = pareto(*USUAL)
    left, right = figure.axes
    assert series(left) == {
        "noise": [(100, 90), (1000, 10)],
        "dip": [(100, 14), (500, 20)],
        "oracle": [(500, 1.5)],
    }
    assert series(right)["dip"] == [(pytest.approx(0.2), 14), (pytest.approx(1.0), 20)]
    assert [axis.get_xscale() for axis in figure.axes] == [axis.get_yscale() for axis in figure.axes] == ["log"] * 2
    assert "evaluations of the net" in left.get_xlabel() and "seconds per image" in right.get_xlabel()
    band = next(
        band for band in left.collections if np.allclose(band.get_facecolor()[0, :3], rgb(labels.ARM_COLOURS["noise"]))
    )
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (8, 100)
    dashed = {line.get_color() for line in left.lines if line.get_linestyle() == "--"}
    assert dashed == {labels.ARM_COLOURS["oracle"]}


def rgb(colour):
    return plt.matplotlib.colors.to_rgb(colour)


def test_pareto_tells_which_means_are_within_the_margin_of_the_reference():
    left = pareto(*USUAL).axes[0]
    (level,) = [line for line in left.lines if line.get_linestyle() == ":" and line.get_color() == "black"]
    assert set(level.get_ydata()) == {10}
    (ring,) = [line for line in left.lines if line.get_markerfacecolor() == "none" and line.get_marker() == "o"]
    assert ring.get_xydata().tolist() == [[1000, 10]]
    (shade,) = [patch for patch in left.patches if patch.get_y() + patch.get_height() == pytest.approx(15)]
    assert shade.get_y() == pytest.approx(left.get_ylim()[0])
    full = {
        tuple(point)
        for line in left.lines
        if line.get_linestyle() == "None" and line.get_markerfacecolor() in labels.ARM_COLOURS.values()
        for point in line.get_xydata()
    }
    assert full == {(1000, 10), (100, 14), (500, 1.5)}  # at most 1.5 x 10: not DIP's 20 at 500, nor noise at 100
    names = legend(pareto(*USUAL, margin=0.25))
    assert {"DDPM", "DIP(2)+DDPM", "oracle+DDPM", "reference: DDPM, K = 1000"} <= set(names)
    assert "at most 1.25 × the reference: full markers" in names


def test_pareto_front_is_of_means_that_none_is_better_than_at_its_cost_and_without_the_oracle():
    rng = np.random.default_rng(0)
    cloud = [tuple(point) for point in rng.integers(1, 12, (60, 2)).astype(float)]
    module = figures.load("pareto")
    for lower in (True, False):
        sign = 1 if lower else -1
        best = {
            (x, y) for x, y in cloud if not any(a <= x and sign * b <= sign * y and (a, b) != (x, y) for a, b in cloud)
        }
        found = module.pareto_front(cloud, lower)
        assert set(found) == best and found == sorted(found)
    left = pareto(*USUAL).axes[0]
    (front,) = [line for line in left.lines if line.get_drawstyle() == "steps-post"]
    assert front.get_xydata()[:-1].tolist() == [[100, 14], [1000, 10]]
    assert front.get_xydata()[-1].tolist() == [left.get_xlim()[1], 10]


def test_pareto_without_times_is_of_evaluations_alone_and_says_so():
    figure = pareto(*(costly(k, start=s, times=None) for s in ("noise", "dip") for k in (100, 1000)))
    assert len(figure.axes) == 1 and "no cell was timed" in figure._suptitle.get_text()
    some = pareto(costly(100), costly(1000), costly(300, start="mean-image", times=None))
    assert len(some.axes) == 2 and "1 of 3 cells were not timed" in some._suptitle.get_text().replace("\n", " ")
    assert "mean-image" in series(some.axes[0]) and "mean-image" not in series(some.axes[1])


def test_pareto_shows_what_is_below_zero_and_what_diverged():
    figure = pareto(
        costly(100, value=300.0), costly(1000, value=6.0), costly(500, value=[-0.4, 0.2], start="oracle"),
        costly(300, value=[9.0, np.inf], start="mean-image"),
    )  # fmt: skip
    left = figure.axes[0]
    assert left.get_yscale() == "symlog" and left.get_ylim()[0] < -0.4
    assert series(left)["oracle"] == [(500, pytest.approx(-0.1))]
    (mark,) = [line for line in left.lines if line.get_marker() == "^" and line.get_linestyle() == "None"]
    assert list(mark.get_xdata()) == [300] and mark.get_color() == labels.ARM_COLOURS["mean-image"]
    assert [9.0] in [list(line.get_ydata()) for line in left.lines if line.get_marker() == "."]
    assert canvas.DIVERGED in legend(figure)


def test_evaluations_spread_over_a_smaller_k_are_a_line_of_their_own():
    few = [costly(1000, nfe, 40.0, sampler="ddim") for nfe in (10, 100)]
    warm = [costly(300, nfe, 30.0, sampler="ddim", start="dip", passes=2) for nfe in (10, 100, 300)]
    whole = [costly(k, value=20.0, sampler="ddim", start="dip", passes=2) for k in (100, 300)]
    figure = pareto(costly(1000), *few, *warm, *whole[:1])
    names = legend(figure)
    assert names[:4] == ["DDPM", "DDIM", "DIP(2)+DDIM", "DIP(2)+DDIM, K = 300"]
    xs = [list(line.get_xdata()) for line in figure.axes[0].lines if line.get_markerfacecolor() == "white"]
    assert xs == [[1000], [10, 100], [100, 300], [10, 100, 300]]


def test_pareto_has_usual_roles_and_names_the_key_of_a_wrong_option():
    def asked(compared=True, **show):
        grid = {"model": ["hw4", "hw4-sees"], "start": ["noise", "dip"], "steps": [200, 1000], "nfe": [20, 100]}
        grid |= {"sampler": ["ancestral", "ddim"]}
        whole = {"grid": {"model": "hw4", "steps": 1000}, "show": {}}
        config = made_study.overlay(made_study.PLAIN, {"seeds": {"replicates": [0]}})
        config["experiments"] = {"e": {"grid": grid, "show": {"pareto": show}}} | ({"whole": whole} if compared else {})
        return [each for each in plan.wanted(study.read(config)) if each.kind == "pareto"]

    (each,) = asked()
    assert each.options["line"] == ["start", "passes", "sampler", "clip_x0"] and each.options["panel"] == ["model"]
    assert each.section == "experiment-e" and each.inputs == {"tables": plan.CELLS_TABLES}
    (reference,) = each.options["reference"]
    assert reference.startswith("hw4/") and "K1000" in reference
    assert "no verdict" in each.drawn and "as good" not in each.caption + each.drawn
    assert not asked(compared=False)[0].drawn  # without a reference there is no margin, and no ring
    for wrong, said in (
        ({"margin": "wide"}, "experiments.e.show.pareto.margin: 'wide'; right is a number from 0 up"),
        ({"margin": -1}, "experiments.e.show.pareto.margin: -1"),
        ({"metric": "nn_ratio"}, "experiments.e.show.pareto.metric: 'nn_ratio' is unknown; .*known are distance"),
        ({"display": "dark"}, "experiments.e.show.pareto.display: 'dark' is unknown; .*known are minmax, clamp"),
        (
            {"linee": "start"},
            "e.show.pareto: unknown role 'linee'; did you mean 'line'.*known are line, panel, metric, display, margin",
        ),
        ({"line": ["start", "passes", "sampler"]}, "e.show.pareto: model varies and has no role"),
    ):
        with pytest.raises(UserError, match=said):
            asked(**wrong)


def test_the_margin_that_pareto_shades_is_that_of_the_claims_of_saved_steps():
    saving, other = SimpleNamespace(margin=0.25, counted="steps"), SimpleNamespace(margin=0.05, counted=None)
    assert plan.of_savings([saving, other, saving], "margin", 0.5) == 0.25
    assert plan.of_savings([other], "margin", 0.5) == 0.5
    assert plan.of_savings([saving, SimpleNamespace(margin=0.1, counted="nfe")], "margin", 0.5) == 0.5


# ---------------------------------------------------------------- claims


def forest(**changes):
    return figures.draw("forest", {"claims": made_study.claims(**changes)})


def said(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_a_forest_is_wanted_of_a_study_with_claims_alone():
    module = figures.load("forest")
    quiet, claiming = (type("Study", (), {"claims": claims}) for claims in ({}, {"A4": {}}))
    assert not list(module.wanted(quiet))
    (each,) = module.wanted(claiming)
    assert (each.section, each.inputs) == ("claims", {"claims": "tables/claims.csv"})
    assert "Left of zero supports" in each.caption


def test_a_forest_has_a_row_a_claim_and_model_in_units_of_the_reference():
    figure = forest(
        A4={}, A5={"margin": 0.5, "verdict": "inconclusive", "p_holm": np.nan, "exploratory": True},
        A6={"reference": 1.0, "estimate": 0.3, "ci_low": 0.1, "ci_high": 0.5, "verdict": "refuted", "p_holm": 1e-5},
        A7={"verdict": "not asked", "estimate": np.nan},
    )  # fmt: skip
    axis = figure.axes[0]
    bars = [sorted(line.get_xdata()) for line in axis.lines if len(line.get_xdata()) == 2 and line.get_linewidth() > 2]
    assert bars == [[-0.75, -0.25], [-0.75, -0.25], [0.1, 0.5]]
    dots = [
        (line.get_xdata()[0], line.get_color(), line.get_marker()) for line in axis.lines if len(line.get_xdata()) == 1
    ]
    verdicts = figures.load("forest").VERDICTS
    assert dots == [(x, *verdicts[word]) for x, word in ((-0.5, "supported"), (-0.5, "inconclusive"), (0.3, "refuted"))]
    words = said(figure)
    assert {
        "A4",
        "A5",
        "A6",
        "hw4-sees",
        "supported",
        "inconclusive",
        "refuted",
        "0.004",
        "exploratory",
        "< 0.001",
    } <= set(words)
    assert "A7" not in words and any("(margin\xa050\xa0%)" in word for word in words)
    assert figure._suptitle.get_text().startswith("3 verdicts: 1 supported, 1 refuted, 1 inconclusive")
    zero = [line for line in axis.lines if list(line.get_xdata()) == [0, 0]]
    assert len(zero) == 1
    assert [bars[0].get_width() for bars in axis.containers] == [0, -0.5, 0]  # the margin: A5's


def test_a_forest_cuts_what_is_wide_with_arrows_and_hides_nothing():
    figure = forest(
        wide={"estimate": 2.0, "ci_low": -200.0, "ci_high": 300.0, "verdict": "inconclusive"},
        far={"estimate": 92.0, "ci_low": 44.0, "ci_high": 140.0, "verdict": "refuted"},
        lost={"estimate": np.inf, "ci_low": np.nan, "ci_high": np.inf, "verdict": "refuted"},
        none={"reference": -0.1, "verdict": "inconclusive"},
    )
    axis = figure.axes[0]
    low, high = axis.get_xlim()
    assert -3 < low < high < 3
    marks = [(line.get_marker(), line.get_xdata()[0]) for line in axis.lines if line.get_marker() in "<>"]
    assert [marker for marker, _ in marks] == ["<", ">", ">", ">"] and all(low < x < high for _, x in marks)
    words = said(figure)
    assert {"+4.6", "diverged, ∞", "no interval: the reference is not above zero"} <= set(words)


def test_a_forest_says_which_measure_disagrees():
    open_ = {"verdict": "inconclusive"}
    words = said(
        forest(
            a=open_ | {"agrees_energy": False},
            b=open_ | {"agrees_classifier_2": False},
            c=open_ | {"agrees_energy": False, "agrees_classifier_2": False},
            d={},
        )
    )
    found = [word for word in words if "disagree" in word]
    assert "n = 96; a verdict needs 128 images" in said(
        forest(a=open_ | {"note": "n = 96; a verdict needs 128 images"})
    )
    assert found == ["energy disagrees", "classifier 2 disagrees", "energy and classifier 2 disagree"]


def test_a_forests_texts_are_whole_and_apart():
    long = (
        "The Gaussian with the training images' mean and covariance is as good a start as the DIP net's drawing. " * 2
    )
    claims = made_study.claims(
        **{f"claim-{i}": {"statement": long[: 60 + 25 * i], "margin": 0.5, "verdict": v, "agrees_energy": i != 2}
           for i, v in enumerate(["supported", "refuted", "inconclusive", "inconclusive", "supported"])}
    )  # fmt: skip
    table = type(claims)([row | {"model": model} for row in claims.to_dict("records") for model in made_study.MODELS])
    figure = figures.draw("forest", {"claims": table})
    figure.canvas.draw()
    boxes = [(text.get_text(), text.get_window_extent()) for text in figure.axes[0].texts]
    page = figure.bbox
    for index, (text, box) in enumerate(boxes):
        assert box.x0 >= 0 and box.x1 <= page.x1 and box.y0 >= 0 and box.y1 <= page.y1, text
        assert not [other for other, at in boxes[:index] if at.overlaps(box)], text
    none = figures.draw("forest", {"claims": made_study.claims(A={"verdict": "not asked"})})
    assert "no claim was asked" in texts(none)[0]


# ---------------------------------------------------------------- starts


def start_check(points):
    return figures.draw("start-check", {"tables": made_study.starts(points)})


def test_starts_are_drawn_beside_what_the_chain_expects_with_a_column_a_k():
    points = [
        made_study.cell(start=start, passes=2 if start == "dip" else None, steps=k, replicate=r)
        for start in ("noise", "mean-image", "dip")
        for k in (200, 500)
        for r in (0, 1)
    ]
    figure = start_check(points)
    grid = np.array(figure.axes).reshape(3, 2)
    assert [axis.get_title() for axis in grid[0]] == ["K = 200", "K = 500"]
    assert legend(figure) == ["expected at t = K - 1", "noise", "DIP(2)", "mean image"]
    top = grid[0, 0]
    assert top.get_yscale() == "log"
    (expected,) = [line for line in top.lines if line.get_linewidth() == 6]
    assert list(expected.get_ydata()) == pytest.approx([0.8 * b**-2.0 + 0.2 for b in range(1, 9)])
    (noise,) = [line for line in top.lines if line.get_color() == labels.ARM_COLOURS["noise"]]
    assert list(noise.get_ydata()) == [1] * 8
    (mean,) = [line for line in top.lines if line.get_color() == labels.ARM_COLOURS["mean-image"]]
    assert list(mean.get_ydata()) == pytest.approx(1.025 * expected.get_ydata())
    dots = {line.get_color(): line.get_xydata().tolist() for line in grid[1, 0].lines if line.get_linestyle() == "None"}
    assert dots[labels.ARM_COLOURS["noise"]] == [[pytest.approx(0.48), 0]]
    assert dots[labels.ARM_COLOURS["mean-image"]] == [[pytest.approx(0.015), 2]]
    assert [tick.get_text() for tick in grid[1, 0].get_yticklabels()] == ["noise", "DIP(2)", "mean image"]
    ideals = [[line.get_xdata()[0] for line in axis.lines if line.get_linestyle() == ":"] for axis in grid[1:, 0]]
    assert ideals == [[0], [1]]


def test_at_most_five_k_are_shown_evenly_with_both_ends_and_what_is_not_finite_is_marked():
    points = [made_study.cell(start=s, steps=k) for s in ("noise", "mean-image") for k in range(100, 1001, 100)]
    found = made_study.starts(points)
    lost = (found["spectra"]["steps"] == 100) & (found["spectra"]["start"] == "mean-image")
    found["spectra"].loc[lost, "power"] = np.inf
    found["starts"].loc[
        (found["starts"]["steps"] == 100) & (found["starts"]["start"] == "mean-image"), "mean_error"
    ] = np.nan
    figure = figures.draw("start-check", {"tables": found})
    titles = [axis.get_title() for axis in figure.axes[:5]]
    assert titles == ["K = 100", "K = 300", "K = 500", "K = 800", "K = 1000"] and len(figure.axes) == 15
    assert "not finite in a replicate" in legend(figure) and "5 of 10 noise levels" in figure._suptitle.get_text()
    assert [line.get_marker() for line in figure.axes[5].lines].count(">") == 1
    empty = figures.draw("start-check", {"tables": {name: table[:0] for name, table in found.items()}})
    assert "no start was described" in texts(empty)[0]


def test_starts_are_checked_of_a_study_with_more_than_one():
    config = made_study.PLAIN | {"experiments": {"e": {"grid": {"model": "hw4", "steps": [100, 200]}}}}
    module = figures.load("start-check")
    assert not list(module.wanted(study.read(config)))
    (each,) = module.wanted(made_study.study_a())
    assert each.section == "starts"
    assert each.inputs == {"tables": {"starts": "tables/starts.csv", "spectra": "tables/spectra.csv"}}


# ---------------------------------------------------------------- colours and words


# Machado et al. 2009, "A physiologically-based model for simulation of color vision deficiency", severity 1.0
VISION = {
    "usual": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


def lab(colour, vision):
    """CIE L*a*b* (D65) of a colour as it is seen."""
    linear = np.array([c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb(colour)])
    seen = np.clip(np.array(VISION[vision]) @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(to_xyz) @ seen / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISION)
def test_usual_arms_are_told_apart_by_colour_however_it_is_seen(vision):
    usual = ("noise", "dip", "dip-renoised", "mean-image", "gaussian", "oracle")
    seen = [lab(labels.ARM_COLOURS[arm], vision) for arm in usual]
    assert min(np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[:i]) > 20


def test_no_two_arms_share_a_colour_or_a_marker():
    for found in (labels.ARM_COLOURS, labels.ARM_MARKERS):
        assert len(set(found.values())) == len(found)
    assert labels.ARM_MARKERS.keys() == labels.ARM_COLOURS.keys() - {labels.ALONE, labels.ONE_STEP}


def test_shades_of_a_colour_differ():
    for colour in labels.ARM_COLOURS.values():
        assert len({canvas.shade(colour, index) for index in range(5)}) == 5 and canvas.shade(colour, 0) == colour


# ---------------------------------------------------------------- losses, fit, drift


def test_published_losses_only_when_asked_for(tmp_path):
    text = made_study.loss_rows("hw4", 20) + made_study.loss_rows("hw4-sees", 20).split("\n", 1)[1]
    inputs = csv(tmp_path, "training", text)
    for options, there in (({}, False), ({"published": True}, True)):
        figure = figures.draw("loss", inputs, options)
        names = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        assert {"hw4", "hw4-sees"} <= set(names)
        assert any(published.TRAINING_SOURCE in name for name in names) == there


@pytest.mark.parametrize(
    ("dataset", "network", "asked"),
    [("mnist", "hw4", True), ("mnist", "hw4-sees", False), ("digits", "hw4", False), ("fashion_mnist", "hw4", False)],
)
def test_published_losses_are_for_the_published_net_on_mnist_alone(dataset, network, asked):
    config = {"data": {"dataset": dataset}, "models": {"mine": {"network": network}}}
    assert published.net_is_trained(config) == asked


def test_losses_of_replicates_are_a_mean_with_a_band(tmp_path):
    rows = [made_study.loss_rows("hw4", 3, r) for r in (0, 1)]
    figure = figures.draw("loss", csv(tmp_path, "training", rows[0] + rows[1].split("\n", 1)[1]))
    (axis,) = figure.axes
    assert axis.lines[0].get_ydata()[0] == pytest.approx(0.03 + 0.12 + 0.01 + 0.005)
    assert len(axis.lines) == len(axis.collections) == 1


def test_dip_fit_marks_reverts_and_shows_three_pictures(tmp_path):
    made_study.write_dip_fit(tmp_path)
    inputs = {
        "tables": {"curve": tables.read("curve", tmp_path / "fit.csv")},
        "pictures": np.load(tmp_path / "fit.npz"),
    }
    figure = figures.draw("dip-fit", inputs)
    marks = next(line for line in figure.axes[0].lines if line.get_marker() == "v")
    assert list(marks.get_xdata()) == [77, 140]
    assert [axis.get_title() for axis in figure.axes[1:]] == ["clean", "noisy", "output"]


def test_drift_runs_from_the_start_at_the_left_to_the_final_image():
    points = [made_study.cell(model, steps=k) for model in made_study.MODELS for k in (100, 500)]
    real = {"train": np.stack([np.full((1, 4, 4), v, np.uint8) for v in (0, 102)])}
    inputs = {"samples": [made_study.archive(point) for point in points], "data": real}
    figure = figures.draw("drift", inputs, {"line": ["steps", "start"], "panel": ["model"]})
    top, bottom = figure.axes[0], figure.axes[2]
    band = top.patches[0]  # means of -1 and -0.2: mean -0.6, sd 0.4
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((-1.0, -0.2))
    assert bottom.lines[-1].get_ydata()[0] == pytest.approx(0.4)
    assert [axis.get_title() for axis in figure.axes[:2]] == ["hw4", "hw4-sees"]
    assert top.get_xlim()[0] > top.get_xlim()[1]
    line = next(line for line in top.lines if len(line.get_xdata()) == 501)
    assert line.get_xdata()[0] == 499 and line.get_xdata()[-1] == -1
    assert {"K = 100", "K = 500", "real images (mean ± sd)"} <= set(legend(figure))


def test_drift_tells_starts_apart_and_places_few_evaluations_over_all_of_k():
    points = [
        made_study.cell(start=start, steps=500, nfe=nfe) for start in ("noise", "mean-image") for nfe in (500, 10)
    ]
    inputs = {"samples": [made_study.archive(point) for point in points]}
    figure = figures.draw("drift", inputs, {"line": ["steps", "start", "nfe"]})
    few = next(line for line in figure.axes[0].lines if len(line.get_xdata()) == 11)
    assert few.get_xdata()[0] == 499 and list(few.get_xdata()[-2:]) == [0, -1]
    assert len({str(line._unscaled_dash_pattern) for line in figure.axes[0].lines}) == 4
    assert len(legend(figure)) == 1 + 4


# ---------------------------------------------------------------- pictures


def test_gallery_shows_the_first_16_samples_of_each_model(tmp_path):
    points = [made_study.cell(model, steps=900) for model in made_study.MODELS]
    figure = pictures("gallery", points, display="clamp")
    assert {"hw4", "hw4-sees", "samples 1 to 8", "samples 9 to 16"} <= set(texts(figure))
    assert "K = 900" in texts(figure)[0]
    drawn = pixels(figure, tmp_path / "gallery.png")
    last = made_study.samples(points[0])["samples"][:16][-1, 0]
    tile = np.round((np.clip(last, -1, 1) + 1) / 2 * 255).astype(np.uint8)
    side = next(s for s in range(8, 1, -1) if found(drawn, tile.repeat(s, 0).repeat(s, 1)))
    assert side >= 2


def found(page, tile):
    """Whether `tile` is somewhere on the page, pixel by pixel."""
    rows, columns = tile.shape
    corners = np.argwhere(page[: -rows + 1, : -columns + 1] == tile[0, 0])
    return any(np.array_equal(page[y : y + rows, x : x + columns], tile) for y, x in corners)


def test_a_gallery_is_of_each_models_largest_k_from_noise_and_of_the_lowest_replicate():
    config = made_study.overlay(made_study.PLAIN, {"seeds": {"replicates": [3, 1]}})
    config["experiments"] = {
        "a": {
            "grid": {"model": "hw4", "steps": [100, 900], "sampler": ["ancestral", "ddim"], "start": ["noise", "dip"]}
        },
        "b": {
            "grid": {"model": ["hw4", "dip"], "epochs": [5, 20], "steps": 900},
            "show": {"strips": {"row": ["model", "epochs"]}},
        },
    }
    asked = study.read(config)
    (samples,) = {tuple(each.inputs["samples"]) for each in figures.load("gallery").wanted(asked)}
    (cell,) = [cell for cell in asked.cells if f"samples/{cell.path}.npz" in samples]
    assert (cell.model, cell.replicate, cell.epochs, cell.steps, cell.sampler) == ("hw4", 1, 20, 900, "ancestral")


def test_a_strip_shows_the_first_8_samples_pixel_by_pixel(tmp_path):
    points = [made_study.cell(start="dip" if p else "noise", passes=p, steps=k) for p in (None, 2) for k in (100, 500)]
    figure = strips(points, row=["passes"])
    assert {"noise (0)", "2 passes", "K = 100", "K = 500"} <= set(texts(figure))
    drawn = pixels(figure, tmp_path / "strip.png")

    scale = tile_side(drawn)
    for point in points:
        for index, image in enumerate(made_study.samples(point)["samples"][:8]):
            tile = canvas.shown(image[None], "minmax")[0, ..., 0]
            assert holds(drawn, tile.repeat(scale, 0).repeat(scale, 1)), f"{point}: sample {index}"


def tile_side(page):
    """The enlargement, found again: the most usual run of equal pixels along a picture's row."""
    row = page[130]
    runs = np.diff(np.flatnonzero(np.diff(row.astype(int))))
    return int(np.bincount(runs[runs > 1]).argmax())


def holds(page, tile):
    """Whether the page holds the tile exactly, somewhere."""
    views = np.lib.stride_tricks.sliding_window_view(page, tile.shape)
    step = 5
    fits = np.ones(views.shape[:2], bool)
    for y in range(0, tile.shape[0], step):
        for x in range(0, tile.shape[1], step):
            fits &= views[:, :, y, x] == tile[y, x]
    return any((views[y, x] == tile).all() for y, x in np.argwhere(fits))


@pytest.mark.parametrize("kind", ["strips", "gallery"])
def test_pictures_fill_their_figure_at_any_dpi(kind, tmp_path):
    points = [made_study.cell(model, steps=k) for model, k in (("hw4", 200), ("hw4-sees", 500))]
    options = {"row": ["model"], "block": ["start"]} if kind == "strips" else {}
    pages = {
        dpi: pixels(pictures(kind, points, display="clamp", **options), tmp_path / f"{dpi}.png", dpi)
        for dpi in (150, 300)
    }
    height, width = pages[150].shape
    assert pages[300].shape == (2 * height, 2 * width)
    halved = pages[300].reshape(height, 2, width, 2).mean((1, 3))
    left = np.flatnonzero(pages[150][-10] != 255)[0]  # of the pictures: letters have other edges at another size
    assert left < width / 4 and (halved == pages[150])[92:, left:].all()
    assert np.abs(halved - pages[150]).mean() < 8
    tile = canvas.shown(made_study.samples(points[0])["samples"][:1], "clamp")[0, ..., 0]
    side = tile_side(pages[150])
    for dpi, page in pages.items():
        assert holds(page, canvas.enlarge(tile, side * dpi // 150)), dpi


def test_a_strip_of_arms_repeats_dip_alone_beside_every_k():
    figure = strips([made_study.cell(steps=k) for k in (200, 500)] + [made_study.dip_alone()], display="clamp")
    assert {"DDPM", "DIP(2) alone"} <= set(texts(figure)) and "not run" not in texts(figure)
    assert "K = 200" in texts(figure) and len([text for text in texts(figure) if text.startswith("K = ")]) == 2


@pytest.mark.parametrize("start", ["noise", "mean-image", "a-start-with-quite-a-long-name"])
def test_a_strips_labels_are_whole(start):
    figure = strips([made_study.cell(start=start, steps=200)])
    figure.canvas.draw()
    edges = [text.get_window_extent() for text in figure.texts]
    assert min(edge.x0 for edge in edges) >= 0 and max(edge.x1 for edge in edges) <= figure.bbox.x1


def test_a_strip_never_lays_one_cell_over_another_and_says_what_was_not_run():
    with pytest.raises(UserError, match="a second cell at DDPM, K = 500: hw4-sees, 20 epochs, DDPM, K = 500"):
        strips([made_study.cell(model) for model in made_study.MODELS])
    both = [made_study.cell(start=start, steps=200) for start in ("noise", "mean-image")]
    figure = strips([*both, made_study.cell(start="mean-image", steps=500)])
    assert texts(figure).count("not run") == 1


def test_many_blocks_go_below_each_other_with_whole_headings(tmp_path):
    points = [made_study.cell(steps=1000, nfe=nfe) for nfe in (5, 10, 20, 50, 100, 1000)]
    figure = strips(points, row=["start"], block=["nfe"])
    figure.canvas.draw()
    headings = [text.get_window_extent() for text in figure.texts if text.get_text().endswith("evaluations")]
    assert len(headings) == 6 and texts(figure).count("DDPM") == 2
    assert not any(a.overlaps(b) for a, b in zip(headings, headings[1:], strict=False))
    drawn = pixels(figure, tmp_path / "s.png")
    assert tile_side(drawn) >= 2 and drawn.shape[1] <= 1500
    last = canvas.shown(made_study.samples(points[-1])["samples"][7:8], "minmax")[0, ..., 0]
    assert holds(drawn, canvas.enlarge(last, tile_side(drawn)))


def test_a_strip_leaves_out_below_what_no_block_there_has():
    points = [made_study.cell(steps=1000, nfe=nfe) for nfe in (5, 10, 20, 50, 100, 1000)]
    figure = strips([*points, made_study.cell(start="gaussian", steps=1000, nfe=5)], row=["start"], block=["nfe"])
    assert texts(figure).count("DDPM") == 2 and texts(figure).count("Gaussian+DDPM") == 1
    assert texts(figure).count("not run") == 2  # beside the one, in its band


def test_blocks_with_no_row_in_common_stand_below_each_other():
    figure = strips([made_study.cell(steps=200), made_study.cell(start="mean-image", steps=500)])
    assert "not run" not in texts(figure) and texts(figure).count("DDPM") == texts(figure).count("mean image+DDPM") == 1
    headings = {text.get_text(): text.get_position() for text in figure.texts if text.get_text().startswith("K = ")}
    assert headings["K = 200"][0] == headings["K = 500"][0] and headings["K = 200"][1] > headings["K = 500"][1]


def test_a_strip_says_once_what_all_its_cells_share():
    shared = {"weights": "ema", "epochs": 20}
    title = texts(strips([made_study.cell(steps=k, **shared) for k in (200, 500)]))[0]
    assert title == "hw4, EMA weights, 20 epochs: the first 8 samples, minmax display"


def test_colour_images_stay_in_colour():
    red = np.full((1, 3, 4, 4), -1, np.float32)
    red[:, 0] = 1
    assert canvas.shown(red, "clamp")[0, 0, 0].tolist() == [255, 0, 0]


# ---------------------------------------------------------------- what is wanted, and the stage


def test_wrong_names_roles_and_endings_are_told(tmp_path):
    with pytest.raises(UserError, match="figure nothing: unknown; right is one of curves, dip-fit"):
        figures.draw("nothing", {})
    for asked, said in (({"curves": {"passe": "steps"}}, "'passe'"), ({"curve": {}}, "unknown kind of figure 'curve'")):
        config = made_study.PLAIN | {"experiments": {"e": {"grid": {"model": "hw4"}, "show": asked}}}
        with pytest.raises(UserError, match=said):
            study.read(config)
    wrong = {"curves": {"x": "steps", "metric": "fd_clasifier"}}
    config = made_study.PLAIN | {"experiments": {"e": {"grid": {"model": "hw4"}, "show": wrong}}}
    with pytest.raises(UserError, match="experiments.e.show.curves.metric: 'fd_clasifier' is unknown.*'fd_classifier'"):
        plan.wanted(study.read(config))
    with pytest.raises(UserError, match="display dark: unknown; right is one of minmax, clamp"):
        strips([made_study.cell()], display="dark")


@pytest.mark.parametrize("asked", [made_study.study_a, made_study.study_b])
def test_each_figure_is_wanted_once_from_files_that_the_study_makes(asked):
    wanted = plan.wanted(asked())
    assert len({each.file for each in wanted}) == len(wanted)
    cells = {f"samples/{cell.path}.npz" for cell in asked().cells}
    for each in wanted:
        assert json.loads(json.dumps(each.options)) == each.options
        assert each.title and each.caption and each.alt and each.file.endswith(".png")
        assert set(each.inputs.get("samples", [])) <= cells
        assert not set(each.inputs) - {"tables", "samples", "data", "pictures", "interpolations", "claims"}


def test_pictures_are_of_the_lowest_replicate_and_curves_of_all():
    config = made_study.overlay(made_study.PLAIN, {"seeds": {"replicates": [0, 1]}})
    asked = study.read(config)
    wanted = plan.wanted(asked)
    second = {f"samples/{cell.path}.npz" for cell in asked.cells if cell.replicate == 1}
    assert second and not any(second & set(each.inputs.get("samples", [])) for each in wanted)
    (curve,) = [each for each in wanted if each.kind == "curves" and each.section == "experiment-steps"]
    assert set(curve.options["cells"]) == {cell.path for cell in asked.experiments["steps"].cells}
    assert {cell.replicate for cell in asked.experiments["steps"].cells} == {0, 1}
    assert "bands" in curve.caption


GRIDS = {
    "many axes": {
        "model": ["hw4", "dcgan", "dip"],
        "epochs": "all",
        "weights": ["last", "ema"],
        "start": ["noise", "dip"],
        "passes": [1, 3],
        "sampler": ["ancestral", "ddim"],
        "steps": [20, 50],
        "nfe": [5, 10],
    },
    "one cell": {"model": "hw4"},
    "DIP alone": {"model": "dip", "passes": [1, 2]},
    "one DIP": {"model": "dip"},
    "one DCGAN": {"model": "dcgan", "epochs": 1},
    "few evaluations": {"model": "hw4", "steps": [100, 200], "nfe": [5, 20], "sampler": ["ddim", "dpmpp-2m"]},
    "passes alone": {"model": "hw4", "start": "dip", "passes": [1, 2, 5], "steps": 50},
    "clipping alone": {"model": "hw4", "clip_x0": [True, False], "steps": 50},
    "DIP and a DCGAN": {"model": ["dip", "dcgan"]},
}


@pytest.mark.parametrize(("name", "computed"), [*((name, True) for name in GRIDS), ("DIP and a DCGAN", False)])
def test_what_a_grid_shows_by_default_can_be_drawn_and_told(name, computed, tmp_path):
    config = made_study.overlay(made_study.PLAIN, {"seeds": {"replicates": [0, 1]}, "timing": None})
    config["models"] = {"hw4": {"network": "hw4", "epochs": [1, 2]}, "dcgan": {"network": "dcgan", "epochs": [1]}}
    asked = study.read(config | {"experiments": {"any": {"grid": GRIDS[name]}}})
    points = made_study.points_of(asked)
    table = made_study.cells_table(points)
    if not computed:
        table[["fd_classifier", "tone_sd"]] = np.nan
    archives = {f"samples/{cell.path}.npz": cell._asdict() for cell in asked.cells}
    kinds = set()
    for each in plan.wanted(asked):
        inputs = {"tables": {"cells": table, "floors": made_study.floors()}}
        inputs |= {"samples": [made_study.archive(archives[path]) for path in each.inputs.get("samples", [])]}
        if each.kind in ("curves", "strips", "gallery"):
            kinds.add(each.kind)
            canvas.save(figures.draw(each.kind, inputs, each.options), tmp_path / "f.png", 50)
    assert "strips" in kinds
    experiments = {
        "any": {"title": "any", "cells": [cell.path for cell in asked.cells], "show": asked.experiments["any"].show}
    }
    text = report.page(report.Study(asked.config, experiments), {"cells": table}, [], {})
    assert "1 Any" in text


def test_wanting_figures_imports_nothing_heavy():
    code = (
        "import sys; sys.path.insert(0, 'tests'); import made_study; heavy = ('matplotlib', 'seaborn', 'torch')\n"
        "[sys.modules.pop(name) for name in list(sys.modules) if name.partition('.')[0] in ('matplotlib', 'seaborn')]\n"
        "from ddpm_dip.report import plan; plan.wanted(made_study.study_a()); plan.wanted(made_study.study_b())\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=made_study.ROOT)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_a_kind_that_is_added_as_one_file_appears(tmp_path):
    """In a copy of the tree: `show` takes it, its figure is wanted, and it is drawn."""
    shutil.copytree(made_study.ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(made_study.ROOT / "config.yaml", tmp_path / "config.yaml")
    (tmp_path / "tests").mkdir()
    for name in ("made_study.py", "jobfile.py"):
        shutil.copy(made_study.ROOT / "tests" / name, tmp_path / "tests" / name)
    (tmp_path / "src/ddpm_dip/report/figures/best_k.py").write_text(
        '"""The lowest distance of each model."""\n\n'
        "from ..plan import CELLS_TABLES, Wanted, section, showing\n\n"
        'ROLES = ("x",)\nOPTIONS = ("colour",)\n\n\n'
        "def wanted(study):\n"
        '    for part, options in showing(study, "best-k"):\n'
        "        where, tables = section(part.name), {'tables': CELLS_TABLES}\n"
        '        yield Wanted(f"{part.name}-best.png", "best-k", options, tables, where, "T", "C", "A")\n'
        "\n\n"
        "def draw(inputs, options):\n"
        "    from .. import canvas\n\n"
        "    fig, ((axis,),) = canvas.subplots(1, 1, 3)\n"
        '    axis.plot(inputs["tables"]["cells"]["fd_classifier"], color=options["colour"])\n'
        "    return fig\n"
    )
    code = (
        "import made_study; from pathlib import Path\n"
        "show = {'best-k': {'x': ['steps', 'start', 'model'], 'colour': 'red'}}\n"
        "grid = {'model': 'hw4', 'steps': [100, 200]}\n"
        "config = made_study.PLAIN | {'timing': None, 'experiments': {'mine': {'grid': grid, 'show': show}}}\n"
        "asked = made_study.study.read(config); made_study.write_study(Path('results/x'), asked)\n"
        "page = Path('results/x/report/index.html').read_text()\n"
        "assert Path('results/x/figures/mine-best.png').is_file() and '<figcaption>C<' in page"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, 'tests')\n{code}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr


def test_script_draws_at_report_width_with_provenance(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/training.csv").write_text(made_study.loss_rows("hw4", 5))
    settings = {"figure": "loss", "options": {"published": True}, "dpi": canvas.DPI}
    inputs, outputs = {"tables": {"training": "tables/training.csv"}}, {"figure": "figures/loss.png"}
    job = jobfile.write(tmp_path, "figure", settings, inputs, outputs)
    out = tmp_path / "figures/loss.png"
    result = jobfile.script("figure", job)
    assert result.returncode == 0, result.stderr
    assert Image.open(out).width == canvas.WIDTH * canvas.DPI
    record = json.loads(Path(f"{out}.provenance.json").read_text())
    assert record["job"]["settings"] == settings and list(record["read"]) == ["tables/training.csv"]
    first = out.read_bytes()
    jobfile.run("figure", job)
    assert out.read_bytes() == first  # the same inputs give the same file
    jobfile.run("figure", jobfile.write(tmp_path, "figure", settings | {"dpi": 75}, inputs, outputs))
    assert Image.open(out).width == canvas.WIDTH * 75


# --- study B


def test_evolution_has_both_displays_and_the_tone_by_epoch(cells_b):
    figure = shown(made_study.study_b(), "evolution", "curves", cells_b)
    assert [axis.get_title() for axis in figure.axes] == [
        f"{what}, {display} display" for what in ("distance", "tone") for display in ("minmax", "clamp")
    ]
    assert sorted(list(line.get_ydata()) for line in figure.axes[2].lines if len(line.get_xdata()) > 2) == [
        pytest.approx([0.05] * 3),
        pytest.approx([0.3] * 3),
    ]
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) > 2]
    assert [list(line.get_xdata()) for line in lines] == [[1, 20, 50]] * 2
    assert sorted(list(line.get_ydata()) for line in lines) == [[60, 30, 30], [300, 12, 12]]
    assert all(axis.get_xscale() == axis.get_yscale() == "log" for axis in figure.axes)
    assert legend(figure) == ["dcgan", "imvfx", "floor: real against real, same n"]


def test_evolution_without_distances_still_shows_the_tone(cells_b):
    table = cells_b.copy()
    table["fd_classifier"] = np.nan
    figure = shown(made_study.study_b(), "evolution", "curves", table)
    assert [axis.get_title() for axis in figure.axes] == ["minmax display", "clamp display"]
    assert figure._suptitle.get_text().startswith("Tone against")
    table["fid_inception"] = 40.0
    figure = shown(made_study.study_b(), "evolution", "curves", table)
    assert [axis.get_ylabel() for axis in figure.axes][:2] == ["FID (Inception)"] * 2
    assert [axis.get_title() for axis in figure.axes][2:] == ["tone, minmax display", "tone, clamp display"]


def test_the_evolution_strips_have_a_row_a_model_and_epoch_of_the_same_latents(tmp_path):
    points = made_study.points_of(made_study.study_b())[::-1]
    figure = strips(points, row=["model", "epochs"], block=[], display="clamp")
    rows = ["1 epoch", "20 epochs", "50 epochs"]
    assert texts(figure)[1:] == [f"{model}, {row}" for model in ("dcgan", "imvfx") for row in rows]
    picture = pixels(figure, tmp_path / "grid.png")
    first = made_study.samples(made_study.gan())["samples"]
    assert contains(picture, canvas.shown(first[15:16], "clamp")[0, ..., 0])  # 16 where there is one block


def contains(page: np.ndarray, tile: np.ndarray) -> bool:
    """Whether the page holds the tile, enlarged by some whole factor."""
    return any(holds(page, canvas.enlarge(tile, scale)) for scale in range(1, 20))


def test_an_interpolation_strip_has_a_row_a_sampler_and_pair_and_a_block_a_path(tmp_path):
    records = [record for record in made_study.ways() if record["names"]["sampler"]]
    records.sort(key=lambda record: (record["names"]["sampler"] == "ddim", record["names"]["noise"] == "shared"))
    inputs = [made_study.strips_of(record) for record in records]
    figure = figures.draw("interpolation", {"interpolations": inputs}, {"display": "clamp"})
    names = texts(figure)
    assert names[1:3] == ["linear path", "spherical path"]
    kinds = ("ancestral, independent", "ancestral, shared", "DDIM")
    assert names[3:] == [f"{kind}, pair {pair}" for kind in kinds for pair in range(1, between.STRIPS + 1)]
    last = inputs[0]["images"][between.STRIPS - 1, -1:]
    picture = pixels(figure, tmp_path / "strip.png")
    assert contains(picture, canvas.shown(last, "clamp")[0, ..., 0])
    with pytest.raises(UserError, match="one model a figure; these files hold imvfx, dcgan"):
        both = [inputs[0], made_study.strips_of(made_study.between(None))]
        figures.draw("interpolation", {"interpolations": both}, {"display": "clamp"})


def test_long_strips_show_evenly_spaced_points_with_both_ends(tmp_path):
    assert between.points_shown(101).tolist() == [0, 9, 18, 27, 36, 45, 55, 64, 73, 82, 91, 100]
    assert between.points_shown(5).tolist() == [0, 1, 2, 3, 4]
    images = np.random.default_rng(0).uniform(-1, 1, (1, 101, 1, 6, 6)).astype(np.float32)
    names = {"model": "m", "epochs": 1, "sampler": "ddim", "noise": None, "path": "linear"}
    inputs = {"interpolations": [{"images": images, "names": names}]}
    drawn = pixels(figures.draw("interpolation", inputs, {"display": "clamp"}), tmp_path / "l.png")
    there = [contains(drawn, canvas.shown(images[0, [i]], "clamp")[0, ..., 0]) for i in (0, 1, 55, 99, 100)]
    assert there == [True, False, True, False, True]


@pytest.fixture(scope="module")
def smooth():
    return tables.interpolation({str(index): record for index, record in enumerate(made_study.ways())})


def test_smoothness_has_both_measures_in_both_spaces_and_a_dot_a_pair(smooth):
    figure = figures.draw("smoothness", {"tables": {"interpolation": smooth}}, {"display": "clamp"})
    assert [axis.get_title() for axis in figure.axes] == ["in pixels", "in classifier features"] * 3
    ways = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert ways == [
        "dcgan (DCGAN)",
        "imvfx, DDIM",
        "imvfx, ancestral, independent noise",
        "imvfx, ancestral, shared noise",
    ]
    for axis in figure.axes:
        assert sum(len(dots.get_offsets()) for dots in axis.collections) == len(ways) * 2 * made_study.PAIRS
    assert all(axis.get_xlim()[0] == 0 for axis in figure.axes[:2])
    least = [axis.lines[-1].get_xdata()[0] for axis in figure.axes[2:]]
    assert least == [1, 1, 1 / (made_study.POINTS - 1), 1 / (made_study.POINTS - 1)]


def test_one_path_alone_is_drawn_and_nothing_measured_is_said(smooth):
    one = {"tables": {"interpolation": smooth[smooth["path"] == "linear"]}}
    assert "spherical path (bar: mean)" not in legend(figures.draw("smoothness", one, {"display": "minmax"}))
    (said,) = texts(figures.draw("smoothness", {"tables": {"interpolation": smooth[:0]}}, {"display": "minmax"}))
    assert "all chains diverged" in said


def test_gan_losses_are_those_of_the_table(tmp_path):
    figure = figures.draw("gan-loss", csv(tmp_path, "gan_training", made_study.gan_loss_rows("dcgan", 50)))
    by_label = {line.get_label(): line for line in figure.axes[0].lines}
    assert by_label["dcgan, generator"].get_ydata()[-1] == pytest.approx(2.0)
    assert by_label["dcgan, discriminator"].get_ydata()[-1] == pytest.approx(0.5)
    assert by_label["discriminator that cannot tell: 2 ln 2"].get_ydata()[0] == pytest.approx(np.log(4))


def test_a_gallery_of_a_dcgan_beside_chains_says_so():
    title = texts(pictures("gallery", [made_study.cell("imvfx", steps=900), made_study.gan()], display="minmax"))[0]
    assert title.startswith("DDPM from noise, K = 900; DCGAN: the first samples")
