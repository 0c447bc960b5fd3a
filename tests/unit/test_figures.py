import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import made_study
import matplotlib.pyplot as plt

from ddpm_dip import figures, files, published, tables
from ddpm_dip.errors import UserError

SCRIPT = Path(__file__).resolve().parents[2] / "workflow/scripts/figure.py"


@pytest.fixture(scope="module")
def tables_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    made_study.write_tables(folder)
    return folder


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def write_samples(folder, **cell):
    record = made_study.cell(**cell)
    path = folder / f"{made_study.cell_name(record)}.npz"
    files.write_npz(path, **made_study.samples(record))
    return path


def legend(figure):
    return [text.get_text() for box in figure.legends for text in box.get_texts()]


def pixels(figure, path):
    figures.save(figure, path)
    return np.asarray(Image.open(path).convert("L"))


def test_time_figure_names_the_published_times_and_draws_them_dashed_grey(tables_dir):
    figure = figures.draw("time-against-steps", [tables_dir / "timing.csv"])
    assert [axis.get_title() for axis in figure.axes] == ["batch 1", "batch 32"]
    names = legend(figure)
    assert {"DDPM", "DIP(2)+DDPM", "DIP(2) alone"} < set(names)
    assert sum(published.TIMING_SOURCE in name for name in names) == 2
    old = [line for line in figure.axes[0].lines if list(line.get_ydata()) == list(published.TIMING_SECONDS["ddpm"])]
    assert len(old) == 1 and old[0].get_linestyle() == "--" and old[0].get_color() == figures._GREY
    assert not any(len(line.get_ydata()) == 10 and line.get_color() == figures._GREY for line in figure.axes[1].lines)


def test_distance_figure_has_a_panel_per_model_and_display_with_log_axis_only_where_needed(tables_dir):
    figure = figures.draw("distance-against-steps", [tables_dir / "cells.csv"])
    scales = {axis.get_title(): axis.get_yscale() for axis in figure.axes}
    assert scales == {
        "hw4, minmax display": "linear",
        "hw4, clamp display": "log",
        "hw4-sees, minmax display": "linear",
        "hw4-sees, clamp display": "linear",
    }
    assert {"DDPM", "DIP(2)+DDPM", "mean image+DDPM", "DIP(2) alone (no chain)"} < set(legend(figure))
    assert all("K" in axis.get_xlabel() and "distance" in axis.get_ylabel() for axis in figure.axes)


def test_distance_figure_shows_the_passes_asked_for(tables_dir):
    names = legend(figures.draw("distance-against-steps", [tables_dir / "cells.csv"], {"passes": "1,50"}))
    assert {"DIP(1)+DDPM", "DIP(50)+DDPM"} < set(names) and "DIP(2)+DDPM" not in names


def test_an_arm_has_one_colour_in_all_figures(tables_dir):
    distance = figures.draw("distance-against-steps", [tables_dir / "cells.csv"])
    epochs = figures.draw("epochs", [tables_dir / "cells.csv"])
    dip = figures.ARM_COLOURS["dip"]
    assert any(line.get_color() == dip for line in distance.axes[0].lines)
    assert any(line.get_color() == dip for line in epochs.axes[0].lines)
    assert figures._colour("something-new") not in figures.ARM_COLOURS.values()


def test_heatmap_writes_each_distance_and_outlines_the_best(tables_dir):
    figure = figures.draw("passes-heatmap", [tables_dir / "cells.csv"])
    panel = next(axis for axis in figure.axes if axis.get_title().startswith("hw4-sees, minmax"))
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["100", "500", "900"]
    rows = [tick.get_text() for tick in panel.get_yticklabels()]
    assert rows == ["0 (noise)", "1", "2", "3", "5", "10", "50"]
    assert len(panel.texts) == len(rows) * 3
    outlined = [(int(patch.get_x()), int(patch.get_y())) for patch in panel.patches]
    assert outlined == [(0, 1), (1, 0), (2, 0)]  # at K = 100 one pass, elsewhere noise


def test_epochs_figure_has_the_budgets_as_ticks(tables_dir):
    figure = figures.draw("epochs", [tables_dir / "cells.csv"], {"passes": "3", "steps": "500"})
    assert [int(tick) for tick in figure.axes[0].get_xticks()] == [5, 10, 20]
    with pytest.raises(UserError, match="no two budgets"):
        figures.draw("epochs", [tables_dir / "cells.csv"], {"steps": "123"})


@pytest.mark.parametrize("name", ["distance-against-steps", "passes-heatmap"])
def test_small_grids_and_missing_displays_still_draw(name, tmp_path):
    cells = [made_study.cell(steps=100), made_study.cell(start="dip", passes=2, steps=100)]
    records = {str(i): made_study.metrics(cell) for i, cell in enumerate(cells)}
    for record in records.values():
        record["displays"]["clamp"]["fd_classifier"] = None
    tables.cells(records).to_csv(tmp_path / "cells.csv", index=False)
    figure = figures.draw(name, [tmp_path / "cells.csv"])
    figures.save(figure, tmp_path / "f.png")
    assert figure.axes[0].get_title().startswith("hw4, minmax")


def test_published_losses_only_when_asked_for(tables_dir):
    for option, shown in (({}, False), ({"published": "true"}, True)):
        figure = figures.draw("loss", [tables_dir / "training.csv"], option)
        names = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        assert {"hw4", "hw4-sees", "hw4-dip"} <= set(names)
        assert any(published.TRAINING_SOURCE in name for name in names) == shown


def test_dip_fit_marks_reverts_and_shows_three_pictures(tmp_path):
    made_study.write_dip_fit(tmp_path)
    figure = figures.draw("dip-fit", [tmp_path / "fit.csv", tmp_path / "fit.npz"])
    marks = next(line for line in figure.axes[0].lines if line.get_marker() == "v")
    assert list(marks.get_xdata()) == [77, 140]
    assert [axis.get_title() for axis in figure.axes[1:]] == ["clean", "noisy", "output"]


def test_drift_runs_from_the_start_at_the_left_to_the_final_image(tmp_path):
    inputs = [write_samples(tmp_path, model=model, steps=k) for model in made_study.MODELS for k in (100, 500)]
    np.savez(tmp_path / "data.npz", train=np.stack([np.full((1, 4, 4), v, np.uint8) for v in (0, 102)]))
    figure = figures.draw("brightness-drift", [*inputs, tmp_path / "data.npz"])
    top, bottom = figure.axes[0], figure.axes[2]
    band = top.patches[0]  # means of -1 and -0.2: mean -0.6, sd 0.4
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((-1.0, -0.2))
    assert bottom.lines[-1].get_ydata()[0] == pytest.approx(0.4)
    assert [axis.get_title() for axis in figure.axes[:2]] == ["hw4", "hw4-sees"]
    assert top.get_xlim()[0] > top.get_xlim()[1]
    line = next(line for line in top.lines if len(line.get_xdata()) == 501)
    assert line.get_xdata()[0] == 499 and line.get_xdata()[-1] == -1
    assert {"K = 100", "K = 500", "real images (mean ± sd)"} <= set(legend(figure))


def test_gallery_shows_the_first_16_samples_of_each_model(tmp_path):
    inputs = [write_samples(tmp_path, model=model, steps=900) for model in made_study.MODELS]
    figure = figures.draw("gallery", inputs, {"display": "clamp"})
    texts = [text.get_text() for text in figure.texts]
    assert {"hw4", "hw4-sees", "samples 1 to 8", "samples 9 to 16"} <= set(texts)
    assert "K = 900" in texts[0]
    page = pixels(figure, tmp_path / "gallery.png")
    last = files.read_npz(inputs[0])["samples"][:16][-1, 0]
    tile = np.round((np.clip(last, -1, 1) + 1) / 2 * 255).astype(np.uint8)
    side = next(s for s in range(8, 1, -1) if found(page, tile.repeat(s, 0).repeat(s, 1)))
    assert side >= 2


def found(page, tile):
    """Whether `tile` is somewhere on the page, pixel by pixel."""
    rows, columns = tile.shape
    corners = np.argwhere(page[: -rows + 1, : -columns + 1] == tile[0, 0])
    return any(np.array_equal(page[y : y + rows, x : x + columns], tile) for y, x in corners)


def test_a_strip_shows_the_first_8_samples_pixel_by_pixel(tmp_path):
    inputs = [
        write_samples(tmp_path, start="dip" if p else "noise", passes=p, steps=k) for p in (0, 2) for k in (100, 500)
    ]
    figure = figures.draw("strip", inputs, {"row": "passes", "display": "minmax"})
    labels = [text.get_text() for text in figure.texts]
    assert {"noise (0)", "2 passes", "K = 100", "K = 500"} <= set(labels)
    page = pixels(figure, tmp_path / "strip.png")

    scale = tile_side(page)
    for path in inputs:
        for index, image in enumerate(files.read_npz(path)["samples"][:8]):
            shown = figures._shown(image[None], "minmax")[0, ..., 0]
            assert holds(page, shown.repeat(scale, 0).repeat(scale, 1)), f"{path.name}: sample {index}"


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


def test_a_strip_of_arms_repeats_dip_alone_beside_every_k(tmp_path):
    inputs = [write_samples(tmp_path, steps=k) for k in (200, 500)]
    inputs.append(write_samples(tmp_path, model="", start="dip", passes=2, sampler="none", steps=0))
    figure = figures.draw("strip", inputs, {"row": "arm", "display": "clamp"})
    labels = [text.get_text() for text in figure.texts]
    assert {"DDPM", "DIP(2) alone"} <= set(labels) and "not run" not in labels


@pytest.mark.parametrize("start", ["noise", "mean-image", "a-start-with-quite-a-long-name"])
def test_a_strips_labels_are_whole(start, tmp_path):
    cell = {"start": start, "passes": 0, "steps": 200}
    figure = figures.strip([write_samples(tmp_path, **cell)])
    figure.canvas.draw()
    edges = [text.get_window_extent() for text in figure.texts]
    assert min(edge.x0 for edge in edges) >= 0 and max(edge.x1 for edge in edges) <= figure.bbox.x1


def test_a_strip_refuses_two_models_and_says_what_was_not_run(tmp_path):
    inputs = [write_samples(tmp_path, model=model) for model in made_study.MODELS]
    with pytest.raises(UserError, match="one model a strip"):
        figures.draw("strip", inputs)
    inputs = [write_samples(tmp_path, steps=200), write_samples(tmp_path, start="mean-image", steps=500)]
    assert [text.get_text() for text in figures.draw("strip", inputs).texts].count("not run") == 2


def test_denoising_gif_has_t_on_40_frames_and_holds_the_last(tmp_path):
    path = write_samples(tmp_path, start="dip", passes=2, steps=200)
    figures.save(figures.draw("denoising", [path], {"display": "clamp"}), tmp_path / "d.gif")
    assert (tmp_path / "d.gif").stat().st_size <= 300_000
    with Image.open(tmp_path / "d.gif") as gif:
        frames = [(frame.convert("L").copy(), frame.info["duration"]) for frame in ImageSequence.Iterator(gif)]
        assert gif.info["loop"] == 0
    assert len(frames) == 40 and frames[-1][1] >= 2000
    last = np.asarray(frames[-1][0], float)[22:, 4:]
    raw = files.read_npz(path)["frames"][-1, :1].astype(np.float32)
    wanted = figures._shown(raw, "clamp")[0, ..., 0].repeat(3, 0).repeat(3, 1)
    assert np.abs(last[:48, :48] - wanted).mean() < 6  # 64 tones


def test_large_animations_lose_frames_of_noise_but_never_the_end(tmp_path):
    path = tmp_path / "large.npz"
    files.write_npz(path, **made_study.samples(made_study.cell(), size=28))
    figures.save(figures.draw("denoising", [path]), tmp_path / "d.gif")
    assert (tmp_path / "d.gif").stat().st_size <= 300_000
    with Image.open(tmp_path / "d.gif") as gif:
        assert 10 < gif.n_frames < 40


def test_colour_images_stay_in_colour():
    red = np.full((1, 3, 4, 4), -1, np.float32)
    red[:, 0] = 1
    assert figures._shown(red, "clamp")[0, 0, 0].tolist() == [255, 0, 0]


def test_wrong_names_options_and_endings_are_told(tables_dir, tmp_path):
    with pytest.raises(UserError, match="unknown; right is one of time-against-steps"):
        figures.draw("nothing", [])
    with pytest.raises(UserError, match="unknown option passe; right is passes"):
        figures.draw("distance-against-steps", [tables_dir / "cells.csv"], {"passe": "2"})
    with pytest.raises(UserError, match="published=yes"):
        figures.draw("loss", [tables_dir / "training.csv"], {"published": "yes"})
    with pytest.raises(UserError, match="gif"):
        figures.save([Image.new("RGB", (4, 4))], tmp_path / "d.png")


def test_script_draws_at_report_width_with_provenance(tables_dir, tmp_path):
    out = tmp_path / "loss.png"
    command = [
        sys.executable,
        SCRIPT,
        "loss",
        "--inputs",
        tables_dir / "training.csv",
        "--output",
        out,
        "--option",
        "published=true",
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert Image.open(out).width == figures.WIDTH * figures.DPI
    record = json.loads(Path(f"{out}.provenance.json").read_text())
    assert record["spec"] == {"figure": "loss", "options": {"published": "true"}, "dpi": figures.DPI}
    first = out.read_bytes()
    subprocess.run(command, check=True, timeout=120)
    assert out.read_bytes() == first  # the same inputs give the same file
    subprocess.run([*command, "--dpi", "75"], check=True, timeout=120)
    assert Image.open(out).width == figures.WIDTH * 75


# --- study B


@pytest.fixture(scope="module")
def study_b(tmp_path_factory):
    root = tmp_path_factory.mktemp("b")
    made_study.write_study_b(root)
    return root


def test_evolution_has_both_displays_and_the_tone_by_epoch(study_b):
    figure = figures.draw("evolution", [study_b / "tables/evolution.csv"])
    assert [axis.get_title() for axis in figure.axes] == [
        f"{what}, {display} display" for what in ("distance", "tone") for display in ("minmax", "clamp")
    ]
    assert sorted(list(line.get_ydata()) for line in figure.axes[2].lines if len(line.get_xdata()) > 2) == [
        [0.05] * 3,
        [0.3] * 3,
    ]
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) > 2]
    assert [list(line.get_xdata()) for line in lines] == [[1, 20, 50]] * 2
    assert sorted(list(line.get_ydata()) for line in lines) == [[60, 30, 30], [300, 12, 12]]
    assert all(axis.get_xscale() == axis.get_yscale() == "log" for axis in figure.axes)
    assert legend(figure) == ["dcgan", "imvfx", "floor: real against real, same n"]


def test_evolution_without_distances_still_shows_the_tone(study_b, tmp_path):
    table = tables.read_csv(study_b / "tables/evolution.csv", tables.CELL_COLUMNS)
    table[["fd_classifier", "fd_classifier_floor", "fd_classifier_sd"]] = np.nan
    table.to_csv(tmp_path / "evolution.csv", index=False)
    figure = figures.draw("evolution", [tmp_path / "evolution.csv"])
    assert [axis.get_title() for axis in figure.axes] == ["tone, minmax display", "tone, clamp display"]
    table["fid_inception"] = 40.0
    table.to_csv(tmp_path / "evolution.csv", index=False)
    figure = figures.draw("evolution", [tmp_path / "evolution.csv"])
    assert [axis.get_ylabel() for axis in figure.axes][:2] == ["FID (Inception)"] * 2


def test_the_evolution_grid_has_a_row_a_model_and_epoch_of_the_same_latents(study_b, tmp_path):
    inputs = sorted((study_b / "samples").glob("*.npz"), reverse=True)
    figure = figures.draw("evolution-grid", inputs, {"display": "clamp"})
    rows = ["1 epoch", "20 epochs", "50 epochs"]
    wanted = [f"{model}, {row}" for model in ("imvfx", "dcgan") for row in rows]
    assert [text.get_text() for text in figure.texts][1:] == wanted
    picture = pixels(figure, tmp_path / "grid.png")
    first = files.read_npz(study_b / "samples/dcgan-50-noise-0-gan-0.npz")["samples"]
    assert contains(picture, figures._shown(first[15:16], "clamp")[0, ..., 0])


def contains(page: np.ndarray, tile: np.ndarray) -> bool:
    """Whether the page holds the tile, enlarged by some whole factor."""
    return any(holds(page, figures._enlarge(tile, scale)) for scale in range(1, 20))


def test_an_interpolation_strip_has_a_row_a_sampler_and_pair_and_a_block_a_path(study_b, tmp_path):
    inputs = sorted((study_b / "interpolations").glob("[ad]*.npz"))
    figure = figures.draw("interpolation-strip", inputs, {"display": "clamp"})
    labels = [text.get_text() for text in figure.texts]
    assert labels[1:3] == ["linear path", "spherical path"]
    kinds = ("ancestral, independent", "ancestral, shared", "DDIM")
    assert labels[3:] == [f"{kind}, pair {pair}" for kind in kinds for pair in range(1, figures.STRIPS + 1)]
    last = files.read_npz(inputs[0])["images"][figures.STRIPS - 1, -1:]
    picture = pixels(figure, tmp_path / "strip.png")
    assert contains(picture, figures._shown(last, "clamp")[0, ..., 0])
    with pytest.raises(UserError, match="one model a figure; these files hold imvfx, dcgan"):
        figures.draw("interpolation-strip", [inputs[0], study_b / "interpolations/gan-linear-none.npz"])


def test_long_strips_show_evenly_spaced_points_with_both_ends(tmp_path):
    assert figures._points_shown(101).tolist() == [0, 9, 18, 27, 36, 45, 55, 64, 73, 82, 91, 100]
    assert figures._points_shown(5).tolist() == [0, 1, 2, 3, 4]
    images = np.random.default_rng(0).uniform(-1, 1, (1, 101, 1, 6, 6)).astype(np.float32)
    cell = {"model": "m", "epochs": 1, "sampler": "ddim", "noise": "none", "path": "linear"}
    files.write_npz(tmp_path / "long.npz", images=images, cell=np.array(json.dumps(cell)))
    page = pixels(
        figures.draw("interpolation-strip", [tmp_path / "long.npz"], {"display": "clamp"}), tmp_path / "l.png"
    )
    there = [contains(page, figures._shown(images[0, [i]], "clamp")[0, ..., 0]) for i in (0, 1, 55, 99, 100)]
    assert there == [True, False, True, False, True]


def test_smoothness_has_both_measures_in_both_spaces_and_a_dot_a_pair(study_b):
    figure = figures.draw("smoothness", [study_b / "tables/interpolation.csv"], {"display": "clamp"})
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


def test_one_path_alone_is_drawn_and_nothing_measured_is_said(study_b, tmp_path):
    table = tables.read_csv(study_b / "tables/interpolation.csv", tables.INTERPOLATION_COLUMNS)
    table[table["path"] == "linear"].to_csv(tmp_path / "one.csv", index=False)
    assert "spherical path (bar: mean)" not in legend(figures.draw("smoothness", [tmp_path / "one.csv"]))
    table[:0].to_csv(tmp_path / "none.csv", index=False)
    (said,) = figures.draw("smoothness", [tmp_path / "none.csv"]).texts
    assert "all chains diverged" in said.get_text()


def test_gan_losses_are_those_of_the_table(study_b):
    figure = figures.draw("gan-loss", [study_b / "tables/gan_training.csv"])
    by_label = {line.get_label(): line for line in figure.axes[0].lines}
    assert by_label["dcgan, generator"].get_ydata()[-1] == pytest.approx(2.0)
    assert by_label["dcgan, discriminator"].get_ydata()[-1] == pytest.approx(0.5)
    assert by_label["discriminator that cannot tell: 2 ln 2"].get_ydata()[0] == pytest.approx(np.log(4))


def test_a_gallery_of_a_dcgan_beside_chains_says_so(tmp_path):
    inputs = [write_samples(tmp_path, model="imvfx", steps=900)]
    inputs.append(write_samples(tmp_path, model="dcgan", sampler="gan", steps=0))
    title = figures.draw("gallery", inputs).texts[0].get_text()
    assert title.startswith("DDPM from noise, K = 900; DCGAN: the first samples")
