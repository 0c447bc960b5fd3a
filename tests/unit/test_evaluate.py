"""The stages from data to metrics, run on job files as the workflow writes them, on small made data."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jobfile
import numpy as np
import pytest
import torch

from ddpm_dip.evaluation import features, metrics
from ddpm_dip.evaluation.classifier import classifier_features, load_classifier, train_classifier
from ddpm_dip.evaluation.displays import DISPLAYS, minmax, to_uint8
from ddpm_dip.evaluation.statistics import energy_distance, jackknife_frechet
from ddpm_dip.jobs import code, files
from ddpm_dip.jobs.errors import UserError
from ddpm_dip.jobs.job import read_record
from ddpm_dip.report import tables
from ddpm_dip.stages import floors as floors_stage

CELL = {"model": "hw4", "replicate": 0, "epochs": 4, "weights": "ema", "start": "noise", "passes": None, "steps": 200}
NETS = {"classifier": "classifier/seed-0.safetensors", "classifier-2": "classifier/seed-1.safetensors"}
CPU = {"device": "cpu"}
ROTATIONS = dict.fromkeys(metrics.OF_ROTATIONS.values(), features.NO_ROTATION_NET)


def bars(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 images (n, 1, 8, 8) of a horizontal (0) or vertical (1) bar on noise, and their labels."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (n, 1, 8, 8), dtype=np.uint8)
    labels = rng.integers(0, 2, n)
    for image, label, place in zip(images, labels, rng.integers(0, 8, n), strict=True):
        (image[:, place] if label == 0 else image[:, :, place])[:] += 150
    return images, labels


def train(folder: Path, seed: int, output: str, data: str = "data.npz") -> Path:
    """A job file of train_classifier."""
    settings = {"epochs": 6, "seed": seed}
    return jobfile.write(folder, "train_classifier", settings, {"data": data}, {"classifier": output}, f"{seed}")


def make_features(folder: Path, data: str, nets: dict[str, str], output: str) -> Path:
    job = jobfile.write(folder, "reference_features", CPU, {"data": data, "nets": nets}, {"features": output})
    jobfile.run("reference_features", job)
    return folder / output


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A study's folder: data, two trained classifiers, and reference features (halves of 40 and 41)."""
    folder = tmp_path_factory.mktemp("study")
    (train_images, train_labels), (reference, reference_labels) = bars(256, 0), bars(81, 1)
    data = {"train": train_images, "reference": reference}
    files.write_npz(folder / "data.npz", **data, train_labels=train_labels, reference_labels=reference_labels)
    none = np.zeros(0, np.int64)
    files.write_npz(folder / "unlabelled.npz", **data, train_labels=none, reference_labels=none)
    for seed, output in enumerate(NETS.values()):
        jobfile.run("train_classifier", train(folder, seed, output))
    make_features(folder, "data.npz", NETS, "features.npz")
    return folder


def evaluate_job(folder: Path, samples: np.ndarray, nets: dict = NETS, reference: str = "features.npz") -> Path:
    files.write_npz(folder / "cell.npz", samples=samples.astype(np.float32), cell=np.array(json.dumps(CELL)))
    inputs = {"samples": "cell.npz", "features": reference, "nets": nets}
    return jobfile.write(folder, "evaluate", CPU, inputs, {"metrics": "metrics.json"})


def evaluate(folder: Path, samples: np.ndarray, *others: object) -> dict:
    jobfile.run("evaluate", evaluate_job(folder, samples, *others))
    return json.loads((folder / "metrics.json").read_text(), parse_constant=pytest.fail)  # no NaN in JSON


def floors(folder: Path, n: int) -> list[dict[str, str]]:
    job = jobfile.write(folder, "floors", {"n": n}, {"features": "features.npz"}, {"floors": "tables/floors.csv"})
    jobfile.run("floors", job)
    with open(folder / "tables/floors.csv", newline="") as file:
        return list(csv.DictReader(file))


def half_b(folder: Path, n: int = 41) -> np.ndarray:
    """The first n images of half B, on the model's scale."""
    return np.load(folder / "data.npz")["reference"][40 : 40 + n] / 127.5 - 1


def reference_as_shown(folder: Path, seed: int) -> np.ndarray:
    """Features of all reference images, stretched by minmax, in the classifier of a seed."""
    reference = np.load(folder / "data.npz")["reference"].astype(np.float32) / 127.5 - 1
    net = load_classifier(folder / f"classifier/seed-{seed}.safetensors")
    return classifier_features(net, torch.from_numpy(to_uint8(minmax(reference))).float() / 255)


# --- classifiers ---


def test_classifier_says_what_it_is(folder):
    _, header = files.read_safetensors(folder / NETS["classifier"])
    assert header["image_shape"] == "1x8x8" and header["classes"] == "2"
    assert float(header["accuracy"]) > 0.9
    record = read_record(folder / NETS["classifier"])
    assert record["job"]["settings"] == {"epochs": 6, "seed": 0} and len(record["losses"]) == 6
    assert record["read"].keys() == {"data.npz"} and record["work"] == {"epochs": 6, "images": 6 * 256}


def test_second_classifier_differs_from_the_first_by_its_seed_alone(folder, tmp_path):
    tensors, headers = zip(*(files.read_safetensors(folder / path) for path in NETS.values()), strict=True)
    differing = {key for key in headers[0] if headers[0][key] != headers[1][key]}
    assert differing <= {"seed", "accuracy"} and "seed" in differing
    assert tensors[0].keys() == tensors[1].keys()
    assert not torch.equal(tensors[0]["head.weight"], tensors[1]["head.weight"])

    data = np.load(folder / "data.npz")
    images, labels = torch.from_numpy(data["train"]).float() / 255, torch.from_numpy(data["train_labels"])
    for seed, ours in enumerate(tensors):
        net, _ = train_classifier(images, labels, 2, epochs=6, seed=seed)
        assert all(torch.equal(ours[name], tensor) for name, tensor in net.state_dict().items())


def test_without_labels_there_is_no_classifier(folder):
    job = train(folder, 7, "never.safetensors", "unlabelled.npz")
    with pytest.raises(UserError, match=r"unlabelled\.npz: the data set has no labels"):
        jobfile.run("train_classifier", job)
    done = jobfile.script("train_classifier", job)
    assert done.returncode == 1 and "no labels" in done.stderr and "Traceback" not in done.stderr
    assert not (folder / "never.safetensors").exists()


# --- floors ---


def test_floor_is_half_b_against_half_a(folder):
    rows = floors(folder, 40)
    assert list(rows[0]) == ["features", "display", "n", "n_reference", "floor", "floor_se"]
    assert list(rows[0]) == list(floors_stage.COLUMNS) == tables.FLOOR_COLUMNS
    assert [(row["features"], row["display"]) for row in rows] == [(net, name) for net in NETS for name in DISPLAYS]
    assert {(row["n"], row["n_reference"]) for row in rows} == {("40", "40")}
    for row, seed in ((rows[0], 0), (rows[2], 1)):
        shown = reference_as_shown(folder, seed)
        expected = jackknife_frechet(shown[40:80], shown[:40])
        assert float(row["floor"]) == pytest.approx(expected.estimate, rel=1e-3, abs=1e-4)
        assert float(row["floor_se"]) == pytest.approx(expected.standard_error, rel=1e-3)
    far = evaluate(folder, np.random.default_rng(0).normal(size=(40, 1, 8, 8)))
    assert far["displays"]["minmax"]["fd_classifier"] > 2 * abs(float(rows[0]["floor"]))


def test_metrics_of_real_images_equal_the_floor(folder):
    """Samples that are half B itself: the way through display and 8 bits must give back the floor."""
    found = evaluate(folder, half_b(folder, 30))
    assert found["displays"].keys() == {"minmax", "clamp"}
    for row in floors(folder, 30):
        metric = {"classifier": "fd_classifier", "classifier-2": "fd_classifier_2"}[row["features"]]
        assert found["displays"][row["display"]][metric] == pytest.approx(float(row["floor"]), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize(
    ("n", "reason"), [(42, "half B of the reference has 41 images, not 42"), (15, "fewer than 16 images")]
)
def test_more_images_than_half_b_or_too_few_have_no_floor(folder, n, reason):
    assert [(row["floor"], row["floor_se"]) for row in floors(folder, n)] == [("", "")] * 4
    assert reason in read_record(folder / "tables/floors.csv")["not_computed"]["floor"][0]


# --- metrics ---


def test_metrics_are_the_functions_of_what_they_need(folder):
    samples = half_b(folder, 30)
    found = evaluate(folder, samples)
    assert found["cell"] == CELL and found["n"] == 30 and found["n_reference"] == 40
    assert all(values.keys() == metrics.METRICS.keys() for values in found["displays"].values())
    assert found["not_computed"] == ROTATIONS | {"fid_inception": "not asked for, or no Inception weights at hand"}
    for values in found["displays"].values():
        assert values["image_mean_sd"] == pytest.approx(samples.mean((1, 2, 3)).std())
        assert values["fid_inception"] is None
    # clamp maps [-1, 1] to [0, 1]: half the raw spread
    clamp = found["displays"]["clamp"]
    assert clamp["tone_sd"] == pytest.approx(clamp["image_mean_sd"] / 2, rel=1e-4)
    half_a = reference_as_shown(folder, 0)[:40]
    net = load_classifier(folder / NETS["classifier"])
    shown = to_uint8(minmax(samples.astype(np.float32)))
    of_samples = classifier_features(net, torch.from_numpy(shown).float() / 255)
    minmax_values, pseudo = found["displays"]["minmax"], found["pseudo"]["minmax"]
    expected = jackknife_frechet(of_samples, half_a)
    assert minmax_values["fd_classifier"] == pytest.approx(expected.estimate, rel=1e-3, abs=1e-4)
    assert minmax_values["fd_classifier_se"] == pytest.approx(expected.standard_error, rel=1e-3)
    assert pseudo["fd_classifier"] == pytest.approx(expected.pseudo_values, rel=1e-3, abs=1e-3)
    assert minmax_values["energy_classifier"] == pytest.approx(energy_distance(of_samples, half_a), rel=1e-4)
    with torch.inference_mode():
        shares = np.bincount(net(torch.from_numpy(shown).float() / 255).argmax(1)) / 30
    assert minmax_values["class_entropy"] == pytest.approx(-(shares * np.log(shares)).sum())
    assert minmax_values["diverged"] == 0
    claimable = {name for name, metric in metrics.METRICS.items() if metric.in_claims}
    assert claimable == metrics.METRICS.keys() - {"fd_classifier_se", "fd_rotation_se", "fid_inception", "diverged"}
    assert pseudo.keys() == claimable
    assert all(len(values) == 8 for name, values in pseudo.items() if name not in ROTATIONS)
    means = samples.mean((1, 2, 3))  # its pseudo-values by hand, over blocks of images 0, 8, 16, ...; 1, 9, ...
    by_hand = [8 * means.std() - 7 * np.delete(means, range(g, 30, 8)).std() for g in range(8)]
    assert pseudo["image_mean_sd"] == pytest.approx(by_hand, rel=1e-4, abs=1e-6)
    record = read_record(folder / "metrics.json")
    assert record["device"] == "cpu" and record["read"].keys() == {"cell.npz", "features.npz", *NETS.values()}


def test_displays_differ_in_brightness(folder):
    """Much too bright images: clamp sees white, minmax undoes it."""
    displays = evaluate(folder, half_b(folder) + 21)["displays"]
    assert displays["clamp"]["fd_classifier"] > 5 * displays["minmax"]["fd_classifier"]


@pytest.mark.parametrize("bad", [(np.nan, np.inf), (3e38, -np.inf)], ids=["nan-inf", "overflow"])
def test_diverged_chain_is_a_result(folder, bad):
    samples = np.zeros((10, 1, 8, 8))
    samples[3, 0, 2, 2], samples[4] = bad
    samples[3, 0, 2, 3] = -3e38
    found = evaluate(folder, samples)
    assert "2 of 10 samples have NaN or infinite" in found["not_computed"]["fd_classifier"]
    assert "NaN" in found["not_computed"]["image_mean_sd"]
    assert found["not_computed"].keys() == metrics.METRICS.keys() - {"diverged"}
    for values, pseudo in zip(found["displays"].values(), found["pseudo"].values(), strict=True):
        assert values == dict.fromkeys(metrics.METRICS) | {"diverged": 0.2}
        assert not any(pseudo.values())
    assert np.isfinite(float(floors(folder, 16)[0]["floor"]))  # does not need the samples


def test_more_samples_than_half_b_are_measured(folder):
    found = evaluate(folder, np.random.default_rng(0).normal(size=(42, 1, 8, 8)))
    assert found["displays"]["clamp"]["fd_classifier"] > 0 and found["n"] == 42


def test_too_few_samples_for_the_blocks_have_no_jackknifed_distance(folder):
    found = evaluate(folder, half_b(folder, 15))
    for name in ("fd_classifier", "fd_classifier_se", "fd_classifier_2"):
        assert "at least 16 samples and reference images" in found["not_computed"][name]
        assert found["displays"]["clamp"][name] is None
    assert found["displays"]["clamp"]["coverage"] > 0 and not any(found["pseudo"]["clamp"].values())
    found = evaluate(folder, half_b(folder, 1))
    assert "at least 2 samples" in found["not_computed"]["energy_classifier"]
    assert found["displays"]["clamp"]["energy_classifier"] is None and found["displays"]["clamp"]["tone_sd"] == 0
    assert np.isfinite(evaluate(folder, half_b(folder, 16))["displays"]["clamp"]["fd_classifier"])


def test_noise_along_the_chain_is_that_of_the_samples(folder):
    job = evaluate_job(folder, half_b(folder, 16))
    arrays = files.read_npz(folder / "cell.npz")
    jobfile.run("evaluate", job)
    assert files.read_json(folder / "metrics.json")["noise"] is None
    along = {"noise_path": np.array([1, np.nan, 0.25]), "noise_timesteps": np.array([9, 3, -1])}
    files.write_npz(folder / "cell.npz", **arrays, **along)
    jobfile.run("evaluate", job)
    noise = json.loads((folder / "metrics.json").read_text(), parse_constant=pytest.fail)["noise"]
    assert noise == {"timesteps": [9, 3, -1], "noise_mad": [1, None, 0.25]}


def test_a_value_that_is_not_finite_is_null_and_said(folder, monkeypatch):
    def infinite_where_black_is_shown(shown):
        return np.inf if shown.min() == 0 else 1

    metric = metrics.Metric(infinite_where_black_is_shown, "infinite where black is shown", ("shown",))
    monkeypatch.setitem(metrics.METRICS, "infinite", metric)
    found = evaluate(folder, np.linspace(0.2, 1, 192).reshape(3, 1, 8, 8))  # minmax makes its darkest pixels black
    assert [found["displays"][display]["infinite"] for display in ("minmax", "clamp")] == [None, 1]
    assert found["not_computed"]["infinite"] == "its value under the display minmax is inf"


# --- what is not there, and what does not fit ---


def test_reason_for_a_missing_classifier_is_true(folder):
    """No labels is said of a data set without labels, and of no other."""
    samples = np.zeros((17, 1, 8, 8))
    make_features(folder, "unlabelled.npz", {}, "unlabelled-features.npz")
    unlabelled = evaluate(folder, samples, {}, "unlabelled-features.npz")
    distances = {name for name, metric in metrics.METRICS.items() if metric.feature_net} - {"fid_inception", *ROTATIONS}
    assert {unlabelled["not_computed"][name] for name in distances} == {"the data set has no labels"}
    assert {values["image_mean_sd"] for values in unlabelled["displays"].values()} == {0}

    make_features(folder, "data.npz", {"classifier": NETS["classifier"]}, "one-features.npz")
    one = evaluate(folder, samples, {"classifier": NETS["classifier"]}, "one-features.npz")
    assert one["not_computed"].keys() == {"fd_classifier_2", "fid_inception", *ROTATIONS}
    assert one["not_computed"]["fd_classifier_2"] == "no second classifier was given"

    none = evaluate(folder, samples, {})  # with features made by the classifiers, but without their files
    assert none["not_computed"]["fd_classifier"] == "no classifier was given"
    assert none["not_computed"]["fd_classifier_2"] == "no second classifier was given"


def test_reason_of_inception_is_its_status(folder):
    files.write_json(folder / "inception.json", {"weights": None, "not_computed": "no network"})
    nets = NETS | {"inception": "inception.json"}
    path = make_features(folder, "data.npz", nets, "offline-features.npz")
    assert json.loads(str(np.load(path)["not_computed"]))["inception"] == "no network"
    found = evaluate(folder, half_b(folder), nets, "offline-features.npz")
    assert found["not_computed"] == ROTATIONS | {"fid_inception": "no network"}
    assert found["displays"]["clamp"]["fid_inception"] is None


def refused(folder: Path, job: Path, *words: str) -> None:
    """The stage names a file in one line, advises no deletion of it, and writes nothing."""
    stage = job.parent.name
    output = folder / next(iter(json.loads(job.read_text())["outputs"].values()))
    output.unlink(missing_ok=True)
    with pytest.raises(UserError) as caught:
        jobfile.run(stage, job)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message and "delete" not in message
    assert not output.exists()


def test_shapes_that_do_not_fit_are_refused(folder):
    job = evaluate_job(folder, np.zeros((3, 1, 16, 16)))
    refused(folder, job, "cell.npz", "(1, 16, 16)", "(1, 8, 8)")
    done = jobfile.script("evaluate", job)
    assert done.returncode == 1 and "cell.npz" in done.stderr and "Traceback" not in done.stderr
    refused(folder, evaluate_job(folder, np.zeros((3, 8, 8))), "cell.npz", "no samples (n, C, H, W)")

    large = {key: np.zeros((20, 1, 16, 16), np.uint8) for key in ("train", "reference")}
    files.write_npz(folder / "large.npz", **large, train_labels=np.arange(20) % 2)
    inputs = {"data": "large.npz", "nets": NETS}
    job = jobfile.write(folder, "reference_features", CPU, inputs, {"features": "never.npz"})
    refused(folder, job, "seed-0.safetensors", "large.npz", "(1, 16, 16)")


def test_features_of_other_nets_are_refused(folder):
    arrays = dict(np.load(folder / "features.npz"))
    without = {name: array for name, array in arrays.items() if name != "classifier_clamp_a"}
    files.write_npz(folder / "other.npz", **without)
    refused(folder, evaluate_job(folder, half_b(folder), NETS, "other.npz"), "other.npz: has no classifier_clamp_a")
    files.write_npz(folder / "other.npz", **arrays | {"classifier-2_minmax_a": np.zeros((40, 32), np.float32)})
    refused(folder, evaluate_job(folder, half_b(folder), NETS, "other.npz"), "other.npz", "32", "64")
    files.write_npz(folder / "other.npz", x=np.zeros(3))
    refused(folder, evaluate_job(folder, half_b(folder), NETS, "other.npz"), "other.npz: holds no reference features")
    job = jobfile.write(folder, "floors", {"n": 3}, {"features": "other.npz"}, {"floors": "never.csv"})
    refused(folder, job, "other.npz: holds no reference features")


@pytest.mark.parametrize("content", [b"not a safetensors file", None], ids=["damaged", "another-net"])
@pytest.mark.parametrize("stage", ["evaluate", "reference_features"])
def test_a_foreign_classifier_is_named_and_never_to_be_deleted(folder, stage, content):
    path = folder / "mine.safetensors"
    if content is None:
        files.write_safetensors(path, {"weight": torch.zeros(3)}, {"image_shape": "1x8x8", "classes": 2})
    else:
        path.write_bytes(content)
    nets = {"classifier": "mine.safetensors"}
    job = evaluate_job(folder, half_b(folder), nets)
    if stage == "reference_features":
        job = jobfile.write(folder, stage, CPU, {"data": "data.npz", "nets": nets}, {"features": "never.npz"})
    refused(folder, job, "mine.safetensors", "right is what the stage train_classifier writes")


def test_an_unknown_feature_net_is_refused(folder):
    inputs = {"data": "data.npz", "nets": {"clasifier": NETS["classifier"]}}
    job = jobfile.write(folder, "reference_features", CPU, inputs, {"features": "never.npz"})
    refused(folder, job, "'clasifier'", "did you mean 'classifier'")


# --- the registries ---


def test_metrics_name_feature_nets_and_needs_that_there_are():
    for name, metric in metrics.METRICS.items():
        assert metric.needs and (set(metric.needs) <= metrics.GIVEN.keys() or metric.needs[0] in metrics.METRICS), name
        assert metric.meaning and "\n" not in metric.meaning, name
        assert (metric.feature_net is None) == (metric.needs in (("samples",), ("shown",))), name
        assert metric.feature_net is None or metric.feature_net in features.FEATURE_NETS, name
    assert [name for name, metric in metrics.METRICS.items() if not metric.by_display] == ["image_mean_sd", "diverged"]
    higher = {name for name, metric in metrics.METRICS.items() if metric.lower_is_better is False}
    of_rotations = {"precision_rotation", "recall_rotation", "coverage_rotation"}
    assert higher == {"precision", "recall", "coverage", "class_entropy"} | of_rotations
    neither = {name for name, metric in metrics.METRICS.items() if metric.lower_is_better is None}
    assert neither == {"fd_classifier_se", "fd_rotation_se", "nn_ratio"}
    assert metrics.frechet_metrics() == {
        "classifier": "fd_classifier",
        "classifier-2": "fd_classifier_2",
        "rotation": "fd_rotation",
        "rotation-2": "fd_rotation_2",
        "inception": "fid_inception",
    }
    assert list(features.FEATURE_NETS) == ["classifier", "classifier-2", "rotation", "rotation-2", "inception"]


def test_metrics_and_their_help_need_no_torch():
    lines = "import sys; sys.path.insert(0, 'src')", "from ddpm_dip.evaluation import features, metrics"
    lines += ("from ddpm_dip.stages import evaluate", "assert 'torch' not in sys.modules, 'torch'")
    lines += ("assert all(f'  {name} ' in evaluate.__doc__ for name in metrics.METRICS)",)
    subprocess.run([sys.executable, "-c", "; ".join(lines)], check=True, cwd=jobfile.ROOT)


def test_a_metric_added_in_its_file_alone_is_measured(folder, tmp_path):
    """In a copy of the package: one function and one entry, and nothing else."""
    shutil.copytree(code.PACKAGE, tmp_path / "ddpm_dip", ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / "ddpm_dip/evaluation/metrics.py"
    text = file.read_text()
    function = "def brightest(shown):\n    return shown.max()\n\n\n"
    entry = '    "brightest": Metric(brightest, "the brightest pixel of all samples", ("shown",)),\n'
    head = "METRICS: dict[str, Metric] = {\n"
    assert text.count(head) == 1
    file.write_text(text.replace(head, function + head + entry))

    job = evaluate_job(folder, np.full((4, 1, 8, 8), 0.5))
    lines = "from ddpm_dip.jobs.job import Job", "from ddpm_dip.stages import evaluate"
    lines += (f"evaluate.run(Job({str(job)!r}, 'evaluate'))", "print(evaluate.__doc__)")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", "; ".join(lines)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "brightest" in done.stdout and "the brightest pixel of all samples" in done.stdout
    found = files.read_json(folder / "metrics.json")
    assert found["displays"]["clamp"]["brightest"] == 0.75
    assert found["displays"]["clamp"].keys() == {"brightest", *metrics.METRICS}
