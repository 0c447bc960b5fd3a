"""The configuration: what is accepted, what is refused and in which words, and the cells that it asks for."""

import copy
from pathlib import Path

import pytest
import yaml

from ddpm_dip import study
from ddpm_dip.jobs import code
from ddpm_dip.jobs.errors import UserError
from ddpm_dip.study import AXES, Cell, grid, plan, plugins
from ddpm_dip.study import config as configuration

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text())


def laid_over(overlay: dict, base: dict = DEFAULT) -> dict:
    """As Snakemake lays a configfile over another: mappings merged, the rest replaced."""
    merged = copy.deepcopy(base)
    for key, value in overlay.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = laid_over(value, merged[key]) if both else value
    return merged


@pytest.mark.parametrize(
    "path", [ROOT / "config.yaml", *sorted((ROOT / "studies").glob("*.yaml"))], ids=lambda p: p.name
)
def test_every_study_of_the_repository_is_accepted(path, tmp_path):
    config = laid_over(yaml.safe_load(path.read_text()))
    if config["data"]["dataset"] == "image_folder":  # the images are the user's
        with pytest.raises(UserError, match="data.root is not set"):
            configuration.check(config)
        for number in range(5000):
            (tmp_path / f"{number}.png").touch()
        config["data"]["root"] = str(tmp_path)
    configuration.check(config)


def asked(name: str, **axes: object) -> dict:
    """An overlay that changes an experiment's grid."""
    return {"experiments": {name: {"grid": axes}}}


MISTAKES = [
    ({"sampling": {"nn": 3}}, "sampling: unknown key 'nn'; did you mean 'n'? known are n, clip_x0, backend"),
    ({"trainng": {}}, "top level: unknown key 'trainng'; did you mean 'training'?"),
    ({"seeds": {"data": None}}, "seeds.data is None; it must be a whole number"),
    ({"seeds": {"replicates": []}}, "seeds.replicates is empty: give at least one"),
    ({"seeds": {"classifiers": [0, 1, 2]}}, "seeds.classifiers is [0, 1, 2]: give at most 2"),
    ({"training": {"lr": "1e-3"}}, "training.lr is '1e-3'; it must be a number (YAML reads 1e-3 as text"),
    ({"training": {"lr": float("nan")}}, "training.lr is nan"),
    ({"training": {"lr": 0}}, "training.lr is 0; it must be more than 0"),
    ({"training": {"weights": "best"}}, "training.weights is 'best'; known are last, best_training_loss, ema"),
    ({"sampling": {"n": 128.0}}, "sampling.n is 128.0; it must be a whole number"),
    ({"sampling": {"n": 300}}, "sampling.n is 300, but half of data.reference is 256"),
    ({"data": {"image_size": 18}}, "data.image_size is 18; it must be divisible by 4"),
    ({"data": {"dataset": "mnits"}}, "data.dataset 'mnits' is unknown"),
    ({"data": {"dataset": "image_folder"}}, "data.root is not set"),
    ({"study": "my study"}, "study is 'my study'; use letters"),
    ({"models": dict.fromkeys(DEFAULT["models"])}, "models is empty"),
    ({"models": {"dip": {"network": "hw4", "epochs": [1]}}}, "models.dip: the name 'dip' is taken"),
    ({"models": {"a": {"network": "hw5", "epochs": [1]}}}, "models.a.network: 'hw5' is unknown; did you mean 'hw4'?"),
    ({"models": {"a": {"network": "hw4"}}}, "models.a: epochs is missing"),
    ({"experiments": {"mine": {}}}, "experiments.mine: grid is missing"),
    ({"experiments": {"mine": {"grid": {"steps": 5}}}}, "experiments.mine.grid: model is missing; known are hw4, "),
    (asked("quality", steps=[]), "experiments.quality.grid.steps is empty"),
    (asked("quality", steps=[1001]), "experiments.quality.grid.steps is 1001; it must be at most 1000"),
    (asked("quality", steps=[5, 5]), "experiments.quality.grid.steps names a value twice"),
    (asked("quality", stpes=5), "experiments.quality.grid: unknown axis 'stpes'; did you mean 'steps'?"),
    (asked("quality", passes=[0]), "experiments.quality.grid.passes is 0; it must be at least 1; for no pass "),
    (asked("quality", passes="2"), "experiments.quality.grid.passes is '2'; it must be a whole number"),
    (asked("quality", model=["hw9"]), "experiments.quality.grid.model: 'hw9' is unknown; did you mean 'hw4'?"),
    (asked("quality", start=["dop"]), "experiments.quality.grid.start: 'dop' is unknown; did you mean 'dip'?"),
    (asked("quality", sampler="ddmi"), "experiments.quality.grid.sampler: 'ddmi' is unknown; did you mean 'ddim'?"),
    (asked("quality", clip_x0="yes"), "experiments.quality.grid.clip_x0 is 'yes'; it must be true or false"),
    (asked("quality", nfe=300), "experiments.quality.grid.nfe: 300 evaluations are more than the 200 timesteps"),
    (
        asked("epochs", epochs=[20, 30]),
        "experiments.epochs.grid.epochs: 30 is not among the epochs of model 'hw4-sees'",
    ),
    (asked("epochs", epochs="some"), "experiments.epochs.grid.epochs is 'some'; it must be a whole number"),
    (
        asked("quality", sampler=["ancestral", "ddim"]),
        "experiments.quality.show.strips: sampler varies and has no role",
    ),
    ({"experiments": {"steps": {"show": {"curve": {}}}}}, "steps.show: unknown kind of figure 'curve'; did you mean"),
    (
        {"experiments": {"steps": {"show": {"curves": {"x": [[], "steps"]}}}}},
        "steps.show.curves.x: [] is no axis; an axis",
    ),
    ({"experiments": {"steps": {"show": {"curves": {"y": "steps"}}}}}, "steps.show.curves: unknown role 'y'"),
    ({"experiments": {"steps": {"show": {"curves": {"panel": "replicate"}}}}}, "replicates become bands"),
    ({"experiments": {"steps": {"show": {"curves": {"panel": "steps"}}}}}, "steps.show.curves: steps has two roles"),
    ({"experiments": dict.fromkeys(DEFAULT["experiments"])}, "experiments is empty"),
    ({"timing": {"models": ["x"]}}, "timing.models: 'x' is not among the models with a chain"),
    ({"timing": {"rounds": 1}}, "timing.rounds is 1; it must be at least 2"),
    ({"metrics": {"fid_inception": "yes"}}, "metrics.fid_inception is 'yes'; known are auto, true, false"),
    ({"metrics": {"inception_weights": "no.pth"}}, "metrics.inception_weights: no.pth: no such file"),
]


@pytest.mark.parametrize(("overlay", "says"), MISTAKES)
def test_a_mistake_is_named(overlay, says):
    with pytest.raises(UserError) as caught:
        configuration.check(laid_over(overlay))
    assert says in str(caught.value)
    assert all(line.startswith("config: ") for line in str(caught.value).splitlines())


def test_an_unknown_user_s_folder_is_one_message():
    with pytest.raises(UserError, match=r"config: data\.root: '~no-such-user/x' is not a folder"):
        configuration.check(laid_over({"data": {"dataset": "image_folder", "root": "~no-such-user/x"}}))


def test_too_few_images_are_said_before_any_job(tmp_path):
    for number in range(300):
        (tmp_path / f"{number}.png").touch()
    overlay = {"data": {"dataset": "image_folder", "root": str(tmp_path), "reference": 300}}
    message = r"^config: data.reference is 300, but at most 299 .* it would be 150, and sampling.n at most 75\."
    with pytest.raises(UserError, match=message):
        configuration.check(laid_over(overlay))
    for part, most in (({}, 1796), ({"dataset": "photos", "channels": 3}, 2474), ({"dataset": "mnist"}, 10_000)):
        with pytest.raises(UserError, match=f"data.reference is {most + 1}, but at most {most} images"):
            configuration.check(laid_over({"data": part | {"reference": most + 1}}))
    overlay["data"]["reference"] = 256
    asked = study.read(laid_over(overlay))  # and without labels
    assert {claim.metric for claim in asked.claims if claim.name == "A4"} == {"fd_rotation"} and not asked.labelled
    assert "has no labels" in next(claim.not_asked for claim in asked.claims if claim.name == "A9-classes")


def test_all_mistakes_are_said_at_once():
    overlay = {"training": {"lr": 0}, "sampling": {"n": 300}, "timing": {"models": ["x"]}, "trainng": {}}
    overlay |= asked("quality", steps=[2000], start="dop")
    with pytest.raises(UserError) as caught:
        configuration.check(laid_over(overlay))
    text = str(caught.value)
    assert "unknown key 'trainng'" in text and "training.lr is 0" in text
    del overlay["trainng"], overlay["training"]
    with pytest.raises(UserError) as caught:
        configuration.check(laid_over(overlay))
    keys = [line.split()[1].rstrip(":") for line in str(caught.value).splitlines()]
    assert keys == ["experiments.quality.grid.steps", "experiments.quality.grid.start", "timing.models", "sampling.n"]


OLD = [
    ({"seed": 0}, "seed is now three: seeds: { data: 0, classifiers: [0, 1], replicates: [0] }"),
    ({"models": [{"name": "hw4", "network": "hw4", "epochs": [1]}]}, "models is now a mapping from names"),
    (
        {"experiments": {"quality": {"models": ["hw4"], "steps": [100], "starts": ["dip"], "passes": [0, 2]}}},
        "experiments.quality is now a grid of axes: quality: { grid: { model: [...]",
    ),
    ({"experiments": {"evolution": {"models": ["hw4"], "steps": 1000}}}, "experiments.evolution is now a grid"),
    (
        {"timing": {"model": "hw4", "steps": [100], "passes": [0, 2], "batches": [1, 16], "repeats": 3}},
        "timing: model, passes, repeats are gone; right is timing: { models: [hw4], steps: [100], batches: [1, 16], "
        "rounds: 15 }",
    ),
    ({"timing": DEFAULT["timing"] | {"repeats": 3}}, "timing: repeats is gone; right is timing: {"),
]


@pytest.mark.parametrize(("overlay", "says"), OLD)
def test_the_old_shape_is_refused_with_the_new_one(overlay, says):
    with pytest.raises(UserError) as caught:
        configuration.check(DEFAULT | overlay)
    assert str(caught.value).startswith(f"config: {says}")
    assert "\n" not in str(caught.value)


# --- grids and cells


GAN = {"models": {"gan": {"network": "dcgan", "width": 8, "epochs": [1, 3]}}}


def cells(**axes: object) -> list[Cell]:
    return grid.expand(configuration.without_nulls(DEFAULT), {"replicate": 0} | axes, "grid")


def test_a_grid_is_the_product_of_its_lists():
    found = cells(model=["hw4", "hw4-sees"], steps=[100, 500], start=["noise", "dip"], passes=[1, 2])
    assert len(found) == 2 * 2 * (1 + 2) == len(set(found))
    assert found[0] == Cell("hw4", 0, 40, "ema", "noise", None, "ancestral", False, 100, 100)
    assert {cell.epochs for cell in found} == {40}  # the largest budget, where none is named


def test_what_is_left_out_has_its_default():
    (cell,) = cells(model="hw4")
    assert cell == Cell("hw4", 0, 40, "ema", "noise", None, "ancestral", False, 1000, 1000)
    (cell,) = cells(model="hw4", start="dip", steps=500)
    assert (cell.passes, cell.nfe) == (2, 500)
    three = laid_over({"seeds": {"replicates": [0, 1, 5]}, "training": {"weights": "last"}})
    found = grid.expand(three, {"model": "hw4", "epochs": "all"}, "grid")
    assert [(cell.replicate, cell.epochs) for cell in found] == [(r, e) for r in (0, 1, 5) for e in (5, 40)]
    assert {cell.weights for cell in found} == {"last"}


def test_what_does_not_apply_is_none_and_collapses():
    found = cells(model=["hw4", "dip"], start=["noise", "dip"], steps=[100, 200], passes=[1, 2], sampler=["ddim"])
    assert [cell for cell in found if cell.model == "dip"] == [
        Cell("dip", 0, None, None, None, passes, None, None, None, None) for passes in (1, 2)
    ]
    assert len(found) == 2 * (1 + 2) + 2
    assert all((cell.passes is None) == (cell.start == "noise") for cell in found)


def test_whether_passes_apply_is_said_by_the_start_and_by_no_prefix_of_its_name():
    fitted = {name for name in plugins.names("start") if grid.needs_dip(name)}
    assert fitted == {"dip", "dip-every-step", "dip-renoised", "dip-matched"}
    config = configuration.without_nulls(laid_over(GAN))
    for name in plugins.names("start"):
        (cell,) = grid.expand(config, {"model": "hw4", "replicate": 0, "start": name}, "grid")
        assert (cell.passes is not None) == (name in fitted | {"dip-untrained", "dip-many"})


def test_a_cell_is_its_path():
    every = study.cells(DEFAULT)
    assert len({cell.path for cell in every}) == len(every)
    assert cells(model="hw4", epochs=5, start="dip", passes=3, steps=500)[0].path == (
        "hw4/r0/epoch-0005-ema/dip-p03/ancestral/K0500-nfe0500"
    )
    assert cells(model="hw4", sampler="ddim", clip_x0=True, nfe=50)[0].path == (
        "hw4/r0/epoch-0040-ema/noise/ddim-clip/K1000-nfe0050"
    )
    assert cells(model="dip")[0].path == "dip/r0-p02"


def test_no_two_points_have_one_path():
    values = {
        "model": ["hw4", "hw4-sees"],
        "epochs": [40],
        "weights": ["last", "ema"],
        "start": [name for name in plugins.names("start") if "gan" not in grid.needs(name)],
        "passes": [1, 12],
        "sampler": list(plugins.names("sampler")),
        "clip_x0": [True, False],
        "steps": [100, 1000],
        "nfe": [1, 100],
    }
    found = cells(**values)
    assert len({cell.path for cell in found}) == len(found) == len(set(found)) > 500


def test_axes_have_what_paths_tables_and_figures_ask_of_them():
    assert list(AXES) == [
        "model",
        "replicate",
        "epochs",
        "weights",
        "start",
        "passes",
        "sampler",
        "clip_x0",
        "steps",
        "nfe",
    ]
    cell = cells(model="hw4", start="dip")[0]
    for axis, value in zip(AXES.values(), cell, strict=True):
        assert axis.title and axis.label(value) and isinstance(axis.token(value), str)
        assert axis.order(None) < axis.order(value)


# --- plug-ins


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def begin(context):\n    return 0\n", "a start must define start"),
        ("def start(context, more):\n    return 0\n", "start takes one argument, the context: def start(context)"),
        ("NEEDS = ('dop',)\ndef start(context):\n    return 0\n", "NEEDS is ('dop',); it must be a tuple of 'dip'"),
        (
            "NEEDS = ('dip', 'dip-many')\ndef start(context):\n    return 0\n",
            "NEEDS has 'dip' and 'dip-many'; a start has one DIP net",
        ),
        (
            "NEEDS = 'dip'\ndef start(context):\n    return 0\n",
            "NEEDS is 'dip'; it must be a tuple of 'dip', 'dip-many'",
        ),
        ("NEEDS = list('dip')\ndef start(context):\n    return 0\n", "NEEDS must be a literal constant"),
        ("def start(context:\n", "not readable as Python"),
    ],
)
def test_a_start_is_checked_when_planned(text, says, tmp_path, monkeypatch):
    folder = tmp_path / "sampling/warm_starts"
    folder.mkdir(parents=True)
    (folder / "loud_noise.py").write_text(text)
    monkeypatch.setattr(plugins.code, "PACKAGE", tmp_path)
    problem = plugins.problem("start", "loud-noise")
    assert problem.startswith(str(folder / "loud_noise.py")) and says in problem


def test_a_sampler_s_spacing_is_checked_when_planned(tmp_path, monkeypatch):
    folder = tmp_path / "sampling/samplers"
    folder.mkdir(parents=True)
    text = "ADDS_NOISE = HAS_MEMORY = False\nHAS_MEMORY = False\ncoefficients = step = 0\ndef step(): 0\n"
    monkeypatch.setattr(plugins.code, "PACKAGE", tmp_path)
    for name, spacing, says in (("odd", "log-snrr", "did you mean 'log-snr'?"), ("fine", "log-snr", None)):
        (folder / f"{name}.py").write_text(f"{text}SPACING = {spacing!r}\n")
        problem = plugins.problem("sampler", name)
        assert problem is None if says is None else problem.startswith(str(folder)) and says in problem


# --- the plan


def planned(config: dict, stage: str) -> dict:
    found = plan.plan(study.read(config), plan.Machine("torch", "torch", "torch", 8, "torch"))
    return {job.name: job for job in found if job.stage == stage}


def test_trainings_follow_from_the_cells():
    overlay = {
        "models": {"hw4-dip": None, "hw4": {"epochs": [20, 40, 60]}},
        "claims": None,
        "timing": None,
        "seeds": {"replicates": [0, 3]},
    }
    overlay["experiments"] = dict.fromkeys(DEFAULT["experiments"])
    overlay["experiments"]["mine"] = {"grid": {"model": "hw4", "epochs": [20, 60], "replicate": 3}}
    found = planned(laid_over(overlay), "train")
    assert list(found) == ["hw4/r3/epoch-0020", "hw4/r3/epoch-0060"]  # not 40, not hw4-sees, not replicate 0
    assert found["hw4/r3/epoch-0060"].hints["build_on"] == "models/hw4/r3/epoch-0020"
    assert found["hw4/r3/epoch-0060"].settings | {"epochs": 20} == found["hw4/r3/epoch-0020"].settings


def test_the_dip_net_s_own_drawing_is_the_same_job_whichever_backend_samples_u_nets():
    asked = study.read(DEFAULT)
    of_backend = {
        backend: {job.name: job for job in plan.plan(asked, plan.Machine(backend, "openvino", backend, 8, "torch"))}
        for backend in ("lanes", "openvino")
    }
    alone = [cell.path for cell in asked.cells if cell.model == "dip"]
    assert alone and all(of_backend["lanes"][path] == of_backend["openvino"][path] for path in alone)


def test_two_kinds_of_weights_are_one_trajectory():
    both = laid_over(asked("quality", weights=["last", "ema"]) | {"experiments": {"quality": {"show": None}}})
    both["experiments"]["quality"] = {"grid": both["experiments"]["quality"]["grid"] | {"weights": ["last", "ema"]}}
    assert planned(both, "train").keys() == planned(DEFAULT, "train").keys()
    assert len(planned(both, "sample")) > len(planned(DEFAULT, "sample"))


def test_every_job_comes_after_what_it_reads():
    made = set()
    for job in plan.plan(study.read(DEFAULT), plan.Machine("torch", "torch", "torch", 8, "torch")):
        assert set(job.reads) <= made, job
        assert not set(job.outputs.values()) & made
        made |= set(job.outputs.values())


def test_what_shapes_a_sample_and_what_does_not():
    """n and backend do; where a result goes and which other cells there are do not."""
    name = "hw4/r0/epoch-0040-ema/noise/ancestral/K0200-nfe0200"
    base = planned(DEFAULT, "sample")[name]
    assert planned(laid_over(asked("quality", steps=[200])), "sample")[name] == base
    assert planned(laid_over({"study": "other"}), "sample")[name] == base
    assert planned(laid_over({"sampling": {"n": 64}}), "sample")[name].settings == base.settings | {"n": 64}
    assert base.inputs.keys() == {"data", "weights"}


# --- what is timed


def timed(**overlay: object) -> dict:
    """The jobs that time, by name, with each cell as (start, passes, sampler, clip_x0, steps, nfe)."""
    axes = ("start", "passes", "sampler", "clip_x0", "steps", "nfe")
    found = planned(laid_over(overlay), "time_sampling")
    for job in found.values():
        for part in ("starts", "steps", "chains"):
            job.settings[part] = [tuple(cell[axis] for axis in axes) for cell in job.settings[part]]
    return found


def test_a_dip_net_that_is_not_fitted_is_timed_at_its_size():
    grid = {"model": "hw4", "start": "dip-untrained", "steps": 100}
    overlay = {"claims": None, "dip": {"size": 64}}
    overlay["experiments"] = dict.fromkeys(DEFAULT["experiments"]) | {"a": {"grid": grid}}
    (job,) = timed(**overlay).values()
    assert job.settings["dip_size"] == 64


def test_each_start_and_sampler_of_the_cells_is_timed_once():
    arms = {"model": "hw4", "start": ["noise", "dip"], "passes": [1, 3], "steps": [100, 500], "sampler": "ddim"}
    clipped = {"model": "hw4", "replicate": 0, "start": "mean-image", "steps": 50, "nfe": 5, "clip_x0": True}
    alone = {"model": "dip", "passes": [2, 3]}
    overlay = {"claims": None, "experiments": {"a": {"grid": arms}, "b": {"grid": clipped}, "c": {"grid": alone}}}
    overlay["experiments"] = dict.fromkeys(DEFAULT["experiments"]) | overlay["experiments"]
    (job,) = timed(**overlay).values()
    assert job.settings["starts"] == [
        *(("dip", passes, "ancestral", True, 1000, 1) for passes in (1, 2, 3)),
        ("mean-image", None, "ancestral", True, 1000, 1),
        ("noise", None, "ancestral", True, 1000, 1),
    ]
    assert job.settings["steps"] == [
        ("noise", None, "ancestral", True, 1000, 20),
        ("noise", None, "ddim", False, 1000, 20),
    ]
    assert job.settings["chains"] == [("noise", None, "ancestral", True, 100, 100)]
    assert job.settings["rounds"] == 15 and job.settings["batches"] == [1, 16] and "dip_size" not in job.settings
    assert job.inputs.keys() == {"data", "weights", "dip"} and job.outputs == {"timing": "timing/hw4.csv"}
    modules = {plugins.module_of("start", name) for name in ("dip", "mean-image", "noise")}
    modules |= {plugins.module_of("sampler", name) for name in ("ancestral", "ddim")}
    assert set(job.plugins) == modules | {"sampling.generators.unet", "models.networks.hw4"}


def test_a_net_of_several_models_is_timed_once_and_its_rows_stand_for_all():
    found = planned(DEFAULT, "time_sampling")
    assert list(found) == ["hw4", "hw4-sees"]
    steps = [(cell["start"], cell["passes"]) for cell in found["hw4"].settings["steps"]]
    assert steps == [("dip-every-step", 2), ("noise", None)]  # of hw4-dip, whose net is hw4
    assert {cell["model"] for cell in found["hw4"].settings["starts"]} == {"hw4"}
    tables = planned(DEFAULT, "tables")
    assert tables["timing"].settings["models"] == {"hw4": ["hw4", "hw4-dip"], "hw4-sees": ["hw4-sees"]}
    assert tables["timing"].inputs == {"parts": ["timing/hw4.csv", "timing/hw4-sees.csv"]}
    assert tables["cells"].inputs["timing"] == "tables/timing.csv"
    one = planned(laid_over({"timing": {"models": ["hw4-sees"]}}), "time_sampling")
    assert list(one) == ["hw4-sees"]
    asked_for = [(cell["start"], cell["passes"]) for cell in one["hw4-sees"].settings["starts"]]
    assert asked_for == [
        *(("dip", passes) for passes in (1, 2, 3, 5, 10)),
        *((start, None) for start in ("gaussian", "mean-image", "noise", "oracle")),
    ]


def test_another_k_or_replicate_times_nothing_anew():
    base = planned(DEFAULT, "time_sampling")
    assert planned(laid_over(asked("quality", steps=[7, 200])), "time_sampling") == base
    assert planned(laid_over({"seeds": {"replicates": [0, 1, 2, 3]}}), "time_sampling") == base
    more = planned(laid_over(asked("passes", passes=[1, 4])), "time_sampling")
    assert more["hw4-sees"].settings != base["hw4-sees"].settings


def test_without_times_no_table_waits_for_them():
    for overlay in ({"timing": None}, {"timing": {"models": ["hw4-dip"]}, "experiments": {"dip_in_training": None}}):
        config = laid_over(overlay)
        if overlay["timing"]:
            config["models"] |= {"hw4-dip": {"network": "imvfx", "epochs": [1]}}  # no cell has this net
        assert planned(config, "time_sampling") == {}
        assert "timing" not in planned(config, "tables") and planned(config, "tables")["cells"].inputs.keys() == {
            "parts"
        }
        assert not any(name.startswith("time") for name in planned(config, "figure"))


def starts_of(start: object, replicates: list[int], **axes: object) -> dict:
    """A study of one experiment with these starts."""
    overlay = {
        "timing": None,
        "claims": None,
        "seeds": {"replicates": replicates},
        "experiments": dict.fromkeys(DEFAULT["experiments"]),
    }
    overlay["experiments"]["mine"] = {"grid": {"model": "hw4", "start": start, "steps": 100} | axes}
    return laid_over(GAN | overlay)


@pytest.mark.parametrize("start", plugins.names("start"))
def test_a_sample_reads_what_its_start_needs_and_no_more(start):
    config = starts_of(start, [2])
    (job,) = planned(config, "sample").values()
    extra = {role: path for role, path in job.inputs.items() if role not in ("data", "weights")}
    dip, many = {"dip": "dip/r2/weights.safetensors"}, {"dip-many": "dip/r2-many/weights.safetensors"}
    fitted = dict.fromkeys(("dip", "dip-every-step", "dip-renoised", "dip-matched"), dip)
    gan = {"gan": "models/gan/r2/epoch-0003/weights.safetensors"}
    assert extra == (fitted | {"dip-many": many, "gan-renoised": gan}).get(start, {})
    fits, trained = planned(config, "fit_dip"), planned(config, "train")
    assert list(fits) == [path.split("/")[1] for path in extra.values() if path.startswith("dip/")]
    assert list(trained) == ["gan/r2/epoch-0003"] * ("gan" in extra) + ["hw4/r2/epoch-0040"]
    modules = code.closure("stages.sample", job.plugins)
    assert f"sampling.warm_starts.{start.replace('-', '_')}" in modules
    assert ("sampling.generators.dcgan" in modules) == ("models.networks.dcgan" in modules) == ("gan" in extra)
    assert ("sampling.gaussians" in modules) == (start in ("gaussian", "class-gaussians", "dip-matched"))


def test_a_net_for_many_images_is_fitted_beside_the_one_for_one():
    fits = planned(starts_of(["dip", "dip-many"], [0, 1]), "fit_dip")
    assert list(fits) == ["r0", "r1", "r0-many", "r1-many"]
    assert fits["r1"].settings == DEFAULT["dip"] | {"replicate": 1}
    assert fits["r1-many"].settings == DEFAULT["dip"] | {"replicate": 1, "many": True}
    assert fits["r1-many"].outputs["weights"] == "dip/r1-many/weights.safetensors"


def test_starts_are_described_once_each_whatever_the_model_and_the_sampler():
    config = starts_of(["noise", "dip"], [0, 1], model=["hw4", "hw4-sees", "dip"], passes=[1, 2], sampler=["ddim"])
    (job,) = planned(config, "starts").values()
    assert job.inputs["data"] == "data/digits.npz" and len(job.inputs["samples"]) == 2 * (1 + 2)
    assert all("/hw4/" in path for path in job.inputs["samples"])
    assert job.outputs == {"starts": "tables/starts.csv", "spectra": "tables/spectra.csv"}
    assert not planned(starts_of("noise", [0], model="dip"), "starts")


@pytest.mark.parametrize(
    ("overlay", "says"),
    [
        (
            asked("quality", start=["gan-renoised"]),
            "quality.grid.start: gan-renoised draws from a DCGAN, and models has none: add gan: { network: dcgan,",
        ),
        (
            asked("quality", start="class-gaussians")
            | {"data": {"dataset": "photos", "image_size": 64, "channels": 1}},
            "quality.grid.start: class-gaussians needs labels, and data.dataset photos has none",
        ),
        (
            asked("quality", start="gaussian") | {"data": {"image_size": 68}},
            "gaussian needs the covariance of all pixels; data.image_size 68 and data.channels 1 make 4624 of them, "
            "and 4096 are the most",
        ),
    ],
)
def test_what_a_start_needs_and_the_study_lacks_is_said_before_any_job(overlay, says):
    with pytest.raises(UserError) as caught:
        configuration.check(laid_over(overlay))
    assert says in str(caught.value)


# --- study B

B = {
    "seeds": {"replicates": [0]},
    "claims": None,
    "models": dict.fromkeys(DEFAULT["models"])
    | {
        "imvfx": {"network": "imvfx", "width": 8, "epochs": [2, 5]},
        "dcgan": {"network": "dcgan", "epochs": [1, 3]},
    },
    "timing": None,
    "experiments": dict.fromkeys(DEFAULT["experiments"])
    | {
        "evolution": {"grid": {"model": ["imvfx", "dcgan"], "epochs": "all", "steps": 900}},
        "interpolation": {
            "models": ["imvfx", "dcgan"],
            "paths": ["linear", "spherical"],
            "samplers": ["ancestral", "ddim"],
            "noise": ["shared", "independent"],
            "steps": 1000,
            "ddim_steps": 50,
            "pairs": 4,
            "points": 7,
        },
    },
}


@pytest.mark.parametrize(
    ("overlay", "says"),
    [
        ({"models": {"dcgan": {"dip_passes": 2}}}, "models.dcgan.dip_passes: DIP inside training is for the U-Nets"),
        ({"models": {"imvfx": {"network": "hw4"}}}, "models.imvfx.width: the network hw4 has one width"),
        ({"data": {"image_size": 20}}, "dcgan.network: a dcgan cannot take data.image_size 20; 16, 28, 32, 64, 128"),
        (
            {"timing": DEFAULT["timing"] | {"models": ["dcgan"]}},
            "timing.models: 'dcgan' is not among the models with a chain",
        ),
        ({"experiments": {"evolution": None}}, "experiments has interpolation alone, which makes no cells"),
        (asked("evolution", epochs=[3]), "evolution.grid.epochs: 3 is not among the epochs of model 'imvfx' ([2, 5])"),
        (asked("evolution", model=["gan"]), "experiments.evolution.grid.model: 'gan' is unknown"),
        ({"experiments": {"interpolation": {"models": ["gan"]}}}, "experiments.interpolation.models: 'gan' is unknown"),
        ({"experiments": {"interpolation": {"noise": ["none"]}}}, "interpolation.noise.0 is 'none'; known are shared"),
        ({"experiments": {"interpolation": {"points": 2}}}, "interpolation.points is 2; it must be at least 3"),
        ({"training": {"lr_schedule": "linear"}}, "training.lr_schedule is 'linear'; known are constant, cosine"),
        ({"gan": {"batch_size": 1}}, "gan.batch_size is 1; it must be at least 2"),
    ],
)
def test_mistakes_of_study_b(overlay, says):
    config = laid_over(B)
    configuration.check(config)
    with pytest.raises(UserError) as caught:
        configuration.check(laid_over(overlay, config))
    assert says in str(caught.value)


def test_evolution_has_every_budget_of_each_model():
    assert [cell.path for cell in study.cells(laid_over(B))] == [
        "imvfx/r0/epoch-0002-ema/noise/ancestral/K0900-nfe0900",
        "imvfx/r0/epoch-0005-ema/noise/ancestral/K0900-nfe0900",
        "dcgan/r0/epoch-0001",
        "dcgan/r0/epoch-0003",
    ]


def test_under_a_cosine_no_budget_builds_on_another():
    jobs = planned(laid_over({"training": {"lr_schedule": "cosine"}}, laid_over(B)), "train")
    lower = {name: job.hints["build_on"] for name, job in jobs.items()}
    assert lower["imvfx/r0/epoch-0005"] is None and lower["dcgan/r0/epoch-0003"] == "models/dcgan/r0/epoch-0001"


def test_interpolations_are_those_that_differ():
    found = study.read(laid_over(B)).interpolations
    assert [path for path in found if "linear" in path] == [
        "imvfx/r0/epoch-0005/ancestral-linear-shared",
        "imvfx/r0/epoch-0005/ancestral-linear-independent",
        "imvfx/r0/epoch-0005/ddim-linear",
        "dcgan/r0/epoch-0003/linear",
    ]
    assert len(found) == 8
    steps = [found[f"imvfx/r0/epoch-0005/{name}"]["steps"] for name in ("ancestral-linear-shared", "ddim-linear")]
    assert steps == [1000, 50]


def test_a_name_cannot_break_the_line_of_its_mistake():
    with pytest.raises(UserError) as caught:
        configuration.check(laid_over({"data": {"dataset": "a\x1eb"}, "models": {"a\rb": {"network": "hw4"}}}))
    lines = str(caught.value).splitlines()
    assert len(lines) >= 2 and all(line.startswith("config: ") for line in lines) and "a\\rb" in str(caught.value)
