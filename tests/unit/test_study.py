"""The configuration: what is accepted, what is refused and in which words, and the cells that it asks for."""

import copy
from pathlib import Path

import pytest
import yaml

from ddpm_dip import study
from ddpm_dip.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
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
            study.check(config, SCHEMA)
        (tmp_path / "a.png").touch()
        config["data"]["root"] = str(tmp_path)
    study.check(config, SCHEMA)


def experiment(name: str, **settings: object) -> dict:
    return {"experiments": {name: settings}}


@pytest.mark.parametrize(
    ("overlay", "says"),
    [
        ({"sampling": {"nn": 3}}, "sampling: unknown key 'nn'; known are n, clip_x0, backend"),
        ({"trainng": {}}, "top level: unknown key 'trainng'"),
        ({"seed": None}, "seed is None; it must be a whole number"),
        ({"training": {"lr": "1e-3"}}, "training.lr is '1e-3'; it must be a number (YAML reads 1e-3 as text"),
        ({"training": {"lr": float("nan")}}, "training.lr is nan"),
        ({"training": {"lr": 0}}, "training.lr is 0; it must be more than 0"),
        (
            {"training": {"weights": "best"}},
            "training.weights is 'best'; it must be one of last, best",
        ),
        ({"sampling": {"n": 128.0}}, "sampling.n is 128.0; it must be a whole number"),
        ({"sampling": {"n": 300}}, "sampling.n is 300, but half of data.reference is 256"),
        ({"data": {"image_size": 18}}, "data.image_size is 18; it must be divisible by 4"),
        ({"data": {"dataset": "mnits"}}, "data.dataset 'mnits' is unknown"),
        ({"data": {"dataset": "image_folder"}}, "data.root is not set"),
        ({"study": "my study"}, "study is 'my study'; use letters"),
        ({"models": []}, "models is empty"),
        ({"models": [DEFAULT["models"][0]] * 2}, "the name 'hw4' is taken twice"),
        (
            {"models": [{"name": "a", "network": "hw5", "epochs": [1]}]},
            "models.0.network is 'hw5'; it must be one of",
        ),
        ({"models": [{"name": "a", "network": "hw4"}]}, "models.0: epochs is missing"),
        (experiment("quality", steps=[]), "experiments.quality.steps is empty"),
        (experiment("quality", steps=[1001]), "experiments.quality.steps.0 is 1001; it must be at most 1000"),
        (experiment("quality", steps=[5, 5]), "experiments.quality.steps names a value twice"),
        (experiment("quality", passes=[-1]), "experiments.quality.passes.0 is -1; it must be at least 0"),
        (experiment("quality", passes="2"), "experiments.quality.passes is '2'; it must be a list"),
        (experiment("quality", models=["hw9"]), "experiments.quality.models: 'hw9' is not among models"),
        (experiment("quality", starts=["dop"]), "experiments.quality.starts: 'dop' is unknown; known are dip, "),
        (experiment("quality", epochs=[20]), "experiments.quality.epochs belongs to experiments.epochs alone"),
        (experiment("passes", starts=["dip", "noise"]), "experiments.passes.starts is ['dip', 'noise']: give one"),
        (experiment("passes", dip_alone=True), "experiments.passes.dip_alone belongs to experiments.quality"),
        (experiment("epochs", epochs=[20]), "experiments.epochs.epochs is [20]: give at least 2"),
        (experiment("epochs", epochs=[20, 30]), "experiments.epochs.epochs: 30 is not among the epochs of model 'hw4'"),
        ({"experiments": dict.fromkeys(study.EXPERIMENTS)}, "experiments are all left out"),
        ({"timing": {"model": "x"}}, "timing.model: 'x' is not among the U-Nets"),
        ({"metrics": {"fid_inception": "yes"}}, "metrics.fid_inception is 'yes'; it must be one of auto, true, false"),
        ({"metrics": {"inception_weights": "no.pth"}}, "metrics.inception_weights: no.pth: no such file"),
    ],
)
def test_a_mistake_is_named(overlay, says):
    with pytest.raises(UserError) as caught:
        study.check(laid_over(overlay), SCHEMA)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_grid_is_the_product_of_its_lists():
    grid = {"models": ["hw4", "hw4-sees"], "steps": [100, 500], "starts": ["noise", "dip"], "passes": [1, 2]}
    cells = study.expand(DEFAULT, grid)
    assert len(cells) == 2 * 2 * (1 + 2) == len(set(cells))
    assert cells[0] == study.Cell("hw4", 80, "noise", 0, 100)
    assert {cell.epochs for cell in cells} == {80}  # the largest budget, where none is named


def test_no_passes_is_the_noise_start_and_dip_alone_has_no_chain():
    grid = {"models": ["hw4"], "steps": [100], "starts": ["dip"], "passes": [0, 2], "dip_alone": True}
    assert study.expand(DEFAULT, grid) == [
        study.Cell("hw4", 80, "noise", 0, 100),
        study.Cell("hw4", 80, "dip", 2, 100),
        study.Cell("none", 0, "dip", 2, 0),
    ]


def test_a_cell_is_its_path():
    cells = study.all_cells(DEFAULT)
    assert len({cell.path for cell in cells}) == len(cells)
    assert study.Cell("hw4", 20, "dip", 3, 500).path == "hw4/epoch-0020/dip-p03/K0500"


# --- study B

DCGAN = {"name": "dcgan", "network": "dcgan", "epochs": [1, 3]}
IMVFX = {"name": "imvfx", "network": "imvfx", "width": 8, "epochs": [2, 5]}
BOTH = {"models": [IMVFX, DCGAN], "timing": None}
INTERPOLATION = {
    "models": ["imvfx", "dcgan"],
    "paths": ["linear", "spherical"],
    "samplers": ["ancestral", "ddim"],
    "noise": ["shared", "independent"],
    "steps": 1000,
    "ddim_steps": 50,
    "pairs": 4,
    "points": 7,
}
B = BOTH | {
    "experiments": dict.fromkeys(study.EXPERIMENTS)
    | {"evolution": {"models": ["imvfx", "dcgan"], "steps": 900}, "interpolation": INTERPOLATION}
}


@pytest.mark.parametrize(
    ("overlay", "says"),
    [
        ({"models": [DCGAN | {"dip_passes": 2}]}, "models.0.dip_passes: DIP inside training is for the U-Nets"),
        ({"models": [IMVFX | {"network": "hw4"}]}, "models.0.width: the network hw4 has one width"),
        ({"data": {"image_size": 20}}, "models.1.network: a dcgan cannot take data.image_size 20; 16, 28, 32, 64, 128"),
        ({"timing": laid_over({"model": "dcgan"}, DEFAULT["timing"])}, "timing.model: 'dcgan' is not among the U-Nets"),
        (
            {"experiments": {"steps": laid_over({"models": ["dcgan"]}, DEFAULT["experiments"]["steps"])}},
            "experiments.steps.models: 'dcgan' is a dcgan, which only evolution and interpolation take",
        ),
        ({"experiments": {"evolution": None}}, "experiments has interpolation alone, which makes no cells"),
        (
            {"experiments": {"evolution": {"epochs": {"imvfx": [3]}}}},
            "experiments.evolution.epochs: 3 is not among the epochs of model 'imvfx' ([2, 5])",
        ),
        ({"experiments": {"evolution": {"epochs": {"gan": [1]}}}}, "evolution.epochs: 'gan' is not among its models"),
        (
            {"experiments": {"evolution": {"models": ["gan"]}}},
            "experiments.evolution.models: 'gan' is not among models",
        ),
        ({"experiments": {"interpolation": {"noise": ["none"]}}}, "interpolation.noise.0 is 'none'; it must be one of"),
        ({"experiments": {"interpolation": {"points": 2}}}, "interpolation.points is 2; it must be at least 3"),
        (
            {"training": {"lr_schedule": "linear"}},
            "training.lr_schedule is 'linear'; it must be one of constant, cosine",
        ),
        ({"gan": {"batch_size": 1}}, "gan.batch_size is 1; it must be at least 2"),
    ],
)
def test_mistakes_of_study_b(overlay, says):
    config = laid_over(B)
    study.check(config, SCHEMA)
    with pytest.raises(UserError) as caught:
        study.check(laid_over(overlay, config), SCHEMA)
    assert says in str(caught.value)


def test_evolution_has_every_budget_of_each_model():
    assert [cell.path for cell in study.all_cells(laid_over(B))] == [
        "imvfx/epoch-0002/noise-p00/K0900",
        "imvfx/epoch-0005/noise-p00/K0900",
        "dcgan/epoch-0001/noise-p00/K0000",
        "dcgan/epoch-0003/noise-p00/K0000",
    ]


def test_evolution_s_own_epochs_are_chosen_by_model():
    config = laid_over({"experiments": {"evolution": {"epochs": {"dcgan": [3]}}}}, laid_over(B))
    study.check(config, SCHEMA)
    assert [cell.path.rsplit("/", 2)[0] for cell in study.all_cells(config)] == [
        "imvfx/epoch-0002",
        "imvfx/epoch-0005",
        "dcgan/epoch-0003",
    ]


def test_widths_are_a_choice_where_the_networks_say_so():
    from ddpm_dip.networks.unet import PLANS

    assert set(study.HAVE_WIDTH) == {name for name, plan in PLANS.items() if plan.width_is_free} | {"dcgan"}


def test_interpolations_are_those_that_differ():
    found = study.interpolations(laid_over(B))
    assert [path for path in found if "linear" in path] == [
        "imvfx/epoch-0005/ancestral-linear-shared",
        "imvfx/epoch-0005/ancestral-linear-independent",
        "imvfx/epoch-0005/ddim-linear-none",
        "dcgan/epoch-0003/gan-linear-none",
    ]
    assert len(found) == 8
    assert [found[f"imvfx/epoch-0005/{name}"]["steps"] for name in ("ancestral-linear-shared", "ddim-linear-none")] == [
        1000,
        50,
    ]


def test_the_sizes_of_a_dcgan_are_the_network_s():
    from ddpm_dip.networks import dcgan

    assert tuple(dcgan.FIRST) == study.GAN_SIZES
