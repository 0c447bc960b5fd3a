"""Training: one trajectory whatever its stops, byte for byte; a loss, a step and an EMA as by hand; clean failures."""

import copy
import csv
import json
import math
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jobfile
import numpy as np
import pytest
import torch
from torch.nn import functional as F

import ddpm_dip.data.torchvision_import  # noqa: F401, before torchvision
from ddpm_dip.jobs import errors, files
from ddpm_dip.jobs.errors import UserError
from ddpm_dip.jobs.job import read_record
from ddpm_dip.models import build_dip, build_unet, networks
from ddpm_dip.models.epochs import epoch_generator, random_flip
from ddpm_dip.models.families import unet
from ddpm_dip.models.scale import to_model_range
from ddpm_dip.models.schedule import q_sample
from ddpm_dip.sampling import backend_choice

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (1, 16, 16)
KINDS = ("last", "best_training_loss", "ema")
SETTINGS = {
    "model": "tiny", "family": "unet", "network": "hw4", "width": None, "replicate": 0, "epochs": 1, "device": "cpu",
    "batch_size": 16, "lr": 0.01, "lr_schedule": "constant", "flip": False, "ema_decay": 0.995, "dip_passes": 0,
    "backend": "torch",
}  # fmt: skip
LANES = pytest.param("lanes", marks=pytest.mark.skipif(not backend_choice.has_lanes(), reason="no AVX2 or llvmlite"))
BACKENDS = pytest.mark.parametrize("backend", ["torch", LANES])


def pictures(n=40, seed=0):
    """Blobs on black, (n, 1, 16, 16) uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:16, :16]
    cx, cy, r = rng.uniform(4, 12, (3, n, 1, 1)) * [[[[1]]], [[[1]]], [[[0.3]]]]
    return (255 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * r**2))).astype(np.uint8)[:, None]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    files.write_npz(folder / "data.npz", train=pictures())
    files.write_npz(folder / "other.npz", train=pictures(seed=1))
    torch.manual_seed(1)
    files.write_safetensors(folder / "dip.safetensors", build_dip().state_dict(), {"network": "dip"})
    return folder


def job_file(data, output, epochs, build_on=None, dip=None, **settings):
    """A job of the stage train; its study's folder is the one above the folder of `output`."""
    inputs = {"data": str(data)} | ({"dip": str(dip)} if dip else {})
    study = output.parent.parent
    outputs = {"weights": "weights.safetensors", "state": "state.safetensors", "losses": "losses.csv"}
    outputs = {role: str(output.relative_to(study) / name) for role, name in outputs.items()}
    hints = {"build_on": build_on and str(build_on.relative_to(study))}
    settings = SETTINGS | {"epochs": epochs} | settings
    return jobfile.write(study, "train", settings, inputs, outputs, name=f"{output.parent.name}-{epochs}", **hints)


@pytest.fixture
def train(data):
    """Runs the stage in this process: train(output, epochs, **settings) -> output."""

    def run(output, epochs, data=data / "data.npz", **options):
        path = job_file(data, output, epochs, **options)
        errors.run(lambda: jobfile.run("train", path))
        return output

    return run


def progress_of(output, epochs):
    """Where a training leaves its state after each epoch: beside its outputs' folder."""
    return output.parent / f"progress-{epochs:04d}"


def fails(train, capsys, *args, **options):
    """The one line on stderr with which a training stops."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        train(*args, **options)
    error = capsys.readouterr().err
    assert stopped.value.code == 1 and error.startswith("error: ") and error.count("\n") == 1, error
    return error


def losses(folder):
    with open(folder / "losses.csv", newline="") as file:
        return [(int(row["epoch"]), row["loss"]) for row in csv.DictReader(file)]


def tensors(path):
    """Each tensor's raw bytes by name, and the header."""
    found, header = files.read_safetensors(path)
    return {name: tensor.numpy().tobytes() for name, tensor in found.items()}, header


def assert_same_training(a, b):
    """The same tensors and headers, bit for bit. That the files are, too, is a test of its own."""
    for name in ("weights.safetensors", "state.safetensors"):
        (tensors_a, header_a), (tensors_b, header_b) = tensors(a / name), tensors(b / name)
        assert tensors_a.keys() == tensors_b.keys()
        assert [key for key in tensors_a if tensors_a[key] != tensors_b[key]] == []
        assert header_a == header_b
    assert losses(a) == losses(b)


def weights_of(output, kind):
    """The raw bytes of one kind of weights, by name."""
    found = tensors(output / "weights.safetensors")[0].items()
    return {name.removeprefix(f"{kind}."): value for name, value in found if name.startswith(f"{kind}.")}


# --- one trajectory ---


@BACKENDS
def test_budgets_in_a_chain_are_one_training(train, tmp_path, backend):
    whole = train(tmp_path / "one-go/4", 4, backend=backend)
    lower = train(tmp_path / "chain/2", 2, backend=backend)
    chained = train(tmp_path / "chain/4", 4, build_on=lower, backend=backend)
    assert_same_training(chained, whole)
    for kind in KINDS:
        assert weights_of(lower, kind) != weights_of(whole, kind)
        assert weights_of(lower, kind).keys() == build_unet("hw4", SHAPE).state_dict().keys()
    assert [epoch for epoch, _ in losses(chained)] == [1, 2, 3, 4]
    assert read_record(chained / "weights.safetensors")["work"] == {"epochs": 2, "images": 80}
    assert read_record(whole / "losses.csv")["work"] == {"epochs": 4, "images": 160}
    assert not list(tmp_path.glob("*/progress-*"))


def test_a_lower_budget_that_is_not_there_is_not_missed(train, tmp_path):
    whole = train(tmp_path / "one-go/2", 2)
    assert_same_training(train(tmp_path / "chain/2", 2, build_on=tmp_path / "chain/1"), whole)


def test_best_training_loss_goes_on_from_a_best_epoch_before_the_stop(train, tmp_path):
    """One step an epoch, and too long a one: the first epoch is the best, and must come through the snapshot."""
    options = {"lr": 0.05, "batch_size": 40}
    whole = train(tmp_path / "one-go/3", 3, **options)
    kept = [float(loss) for _, loss in losses(whole)]
    assert kept.index(min(kept)) == 0
    first = train(tmp_path / "chain/1", 1, **options)
    chained = train(tmp_path / "chain/3", 3, **options, build_on=first)
    assert_same_training(chained, whole)
    assert weights_of(chained, "best_training_loss") == weights_of(first, "best_training_loss")
    assert weights_of(chained, "best_training_loss") == weights_of(first, "last") != weights_of(chained, "last")


@pytest.mark.parametrize(
    ("options", "means", "sums"),
    [
        (
            {"lr": 0.01},
            [1.0018398404121398, 1.0138182044029236, 0.9609947443008423],
            {"last": 40607.417328174575, "best_training_loss": 40607.417328174575, "ema": 40352.042866662174},
        ),
        (
            {"lr": 0.05, "batch_size": 40},
            [0.9888556599617004, 1.0151331424713135, 2.4118008613586426],
            {"last": 47914.47846979091, "best_training_loss": 42327.20561563587, "ema": 46534.90617159201},
        ),
        (
            {"lr": 0.01, "replicate": 3},
            [1.0017855763435364, 0.9981347918510437, 0.8855560421943665],
            {"last": 40864.325089022714, "best_training_loss": 40864.325089022714, "ema": 40571.98009544254},
        ),
    ],
)
def test_each_kind_of_weights_is_still_what_a_training_of_its_own_gave(train, tmp_path, options, means, sums):
    """Losses and sums of |weights| from when a training kept one kind alone. There, all bits were the same."""
    output = train(tmp_path / "out/3", 3, ema_decay=0.7, **options)
    assert [float(loss) for _, loss in losses(output)] == pytest.approx(means, rel=1e-4)
    found = files.read_safetensors(output / "weights.safetensors")[0]
    for kind, expected in sums.items():
        named = {name: x for name, x in found.items() if name.startswith(kind) and "time_table" not in name}
        assert sum(x.double().abs().sum().item() for x in named.values()) == pytest.approx(expected, rel=1e-5)


def test_the_files_are_the_same_byte_for_byte(train, tmp_path):
    lower = train(tmp_path / "chain/1", 1)
    whole = train(tmp_path / "one-go/2", 2)
    for attempt in range(6):
        chained = train(tmp_path / f"chain/2-{attempt}", 2, build_on=lower)
        for name in ("weights.safetensors", "state.safetensors"):
            assert (chained / name).read_bytes() == (whole / name).read_bytes(), f"{name}, attempt {attempt}"


KILLED = """
import os, signal, sys
sys.path[:0] = [{src!r}, {tests!r}]
import jobfile
from ddpm_dip.jobs import files
from ddpm_dip.models.families import unet

def until_third(function, done):
    def instead(*args, **options):
        if done(*args):
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **options)
    return instead

if {where!r} == "epoch":  # as epoch 4 begins
    unet.train_epoch = until_third(unet.train_epoch, lambda trainer, images: trainer.epoch == 3)
else:  # with epoch 4's loss table on disk, and its state not yet
    files.write_safetensors = until_third(
        files.write_safetensors, lambda path, tensors, header: '"epoch": 4' in header.get("trainer", "")
    )
jobfile.run("train", {job!r})
"""


@BACKENDS
@pytest.mark.parametrize("where", ["epoch", "state"])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(train, data, tmp_path, where, capsys, backend):
    output = tmp_path / "killed/5"
    progress, job = progress_of(output, 5), job_file(data / "data.npz", output, 5, backend=backend)
    code = KILLED.format(src=str(ROOT / "src"), tests=str(ROOT / "tests"), where=where, job=str(job))
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not output.exists()  # no output that could be taken for a whole one
    assert '"epoch": 3' in tensors(progress / "state.safetensors")[1]["trainer"]
    assert len(losses(progress)) == {"epoch": 3, "state": 4}[where]

    resumed = train(output, 5, backend=backend)
    assert "going on from epoch 3" in capsys.readouterr().out
    assert_same_training(resumed, train(tmp_path / "one-go/5", 5, backend=backend))
    assert read_record(resumed / "weights.safetensors")["work"] == {"epochs": 2, "images": 80}
    assert not progress.exists()


def put_in_progress(output, source, epochs):
    """As if a stopped training to `epochs` had left the state that `source` holds."""
    progress = progress_of(output, epochs)
    progress.mkdir(parents=True)
    for name in ("state.safetensors", "losses.csv"):
        shutil.copy(source / name, progress / name)
    return progress


def test_an_altered_progress_is_named_and_not_used(train, tmp_path, capsys):
    """It has no record beside it, as it changes with each epoch: its digest is in the file."""
    progress = put_in_progress(tmp_path / "a/2", train(tmp_path / "a/1", 1), 2)
    state = bytearray((progress / "state.safetensors").read_bytes())
    state[-5] ^= 1
    (progress / "state.safetensors").write_bytes(state)
    error = fails(train, capsys, tmp_path / "a/2", 2)
    assert re.match(
        r"error: \S*/a/progress-0002/state.safetensors: altered or damaged since it was made; delete", error
    )
    assert not (tmp_path / "a/2").exists()


def test_progress_is_used_where_it_is_of_this_trajectory(train, tmp_path, capsys):
    whole = train(tmp_path / "a/2", 2)
    put_in_progress(tmp_path / "b/2", train(tmp_path / "b/1", 1), 2)
    assert_same_training(train(tmp_path / "b/2", 2), whole)
    assert "going on from epoch 1" in capsys.readouterr().out


@pytest.mark.parametrize("other", [{"lr": 0.001}, {"replicate": 1}, "beyond"])
def test_progress_beyond_the_budget_or_of_other_settings_is_not_used(train, tmp_path, capsys, other):
    whole = train(tmp_path / "a/2", 2)
    held = train(tmp_path / "b/3", 3) if other == "beyond" else train(tmp_path / "b/1", 1, **other)
    progress = put_in_progress(tmp_path / "b/2", held, 2)
    assert_same_training(train(tmp_path / "b/2", 2), whole)
    assert "going on" not in capsys.readouterr().out and not progress.exists()


@pytest.mark.parametrize(
    "other",
    [{"lr": 0.02}, {"replicate": 1}, {"batch_size": 8}, {"network": "hw4-sees"}, {"ema_decay": 0.5}, "data"],
)
def test_a_snapshot_of_other_settings_is_refused(train, data, tmp_path, capsys, other):
    lower = train(tmp_path / "m/1", 1)
    options = {"data": data / "other.npz"} if other == "data" else other
    error = fails(train, capsys, tmp_path / "m/2", 2, build_on=lower, **options)
    assert "m/1: made with other data, settings or code" in error
    assert not (tmp_path / "m/2").exists()


def test_a_snapshot_of_other_code_is_refused(train, data, tmp_path, capsys):
    from ddpm_dip.jobs import code

    lower = train(tmp_path / "m/1", 1)
    path = job_file(data / "data.npz", tmp_path / "m/2", 2, build_on=lower)
    content = json.loads(path.read_text()) | {"code": code.digests("train", ("models.families.unet",))}
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="m/1: made with other data, settings or code"):
        jobfile.run("train", path)


def test_an_altered_snapshot_is_named(train, tmp_path, capsys):
    lower = train(tmp_path / "m/1", 1)
    with open(lower / "losses.csv", "a") as file:
        file.write("tiny,0,9,0.1,1.0\n")
    error = fails(train, capsys, tmp_path / "m/2", 2, build_on=lower)
    assert "m/1/losses.csv: altered or damaged since it was made" in error


def test_a_budget_under_cosine_builds_on_none(train, tmp_path, capsys):
    lower = train(tmp_path / "m/1", 1, lr_schedule="cosine")
    error = fails(train, capsys, tmp_path / "m/2", 2, lr_schedule="cosine", build_on=lower)
    assert "hints.build_on: lr_schedule cosine depends on the number of epochs" in error
    put_in_progress(tmp_path / "n/2", lower, 2)  # epoch 1 of 1 is not epoch 1 of 2
    n = train(tmp_path / "n/2", 2, lr_schedule="cosine")
    assert_same_training(n, train(tmp_path / "o/2", 2, lr_schedule="cosine"))


def test_another_replicate_is_another_training(train, tmp_path):
    a, b = train(tmp_path / "a/1", 1), train(tmp_path / "b/1", 1, replicate=1)
    for kind in KINDS:
        assert weights_of(a, kind) != weights_of(b, kind)
    drawn = {torch.randn(4, generator=epoch_generator(*key)) for key in [(0, 1), (1, 0), (1, 1), (0, 2), (12, 1)]}
    assert len({tuple(values.tolist()) for values in drawn}) == 5


@pytest.mark.parametrize("replicate", [0, 1, 7])
def test_a_replicate_is_the_seed_of_the_net_and_of_its_epochs(replicate):
    trainer = start(lr=0.0, replicate=replicate)
    torch.manual_seed(replicate)
    fresh = build_unet("hw4", SHAPE).state_dict()
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in trainer.net.state_dict().items())
    unet.train_epoch(trainer, images(16))
    order, t, noise = drawn_in_an_epoch(replicate, 16)
    loss = (trainer.net(q_sample(images(16)[order], t, noise, trainer.schedule), t) - noise).square().mean()
    assert trainer.losses[0][1] == pytest.approx(loss.item(), rel=1e-5)


def test_what_is_written(train, data, tmp_path):
    output = train(tmp_path / "m/2", 2, replicate=5)
    weights, header = files.read_safetensors(output / "weights.safetensors")
    assert header == {"family": "unet", "network": "hw4", "image_shape": "1x16x16", "epoch": "2", "step": "6",
                      "seed": "5"}  # fmt: skip
    for kind in KINDS:
        mine = {name.removeprefix(f"{kind}."): x for name, x in weights.items() if name.startswith(f"{kind}.")}
        build_unet("hw4", SHAPE).load_state_dict(mine)
    assert {name.partition(".")[0] for name in weights} == set(KINDS)
    rows = [line.split(",") for line in (output / "losses.csv").read_text().splitlines()]
    assert rows[0] == ["model", "replicate", "epoch", "loss", "seconds"]
    assert [row[:3] for row in rows[1:]] == [["tiny", "5", "1"], ["tiny", "5", "2"]]
    for name in ("weights.safetensors", "state.safetensors", "losses.csv"):
        record = read_record(output / name)
        assert record["read"] == {str(data / "data.npz"): files.sha256(data / "data.npz")}
        assert record["sha256"] == files.sha256(output / name) and record["job"]["settings"]["replicate"] == 5


def test_a_header_says_the_width(train, tmp_path):
    output = train(tmp_path / "m/1", 1, network="imvfx-sees", width=4)
    weights, header = files.read_safetensors(output / "weights.safetensors")
    assert header["network"] == "imvfx-sees" and header["width"] == "4"
    assert weights["ema.conv_out.weight"].shape[1] == 4


# --- one step, by hand ---


def start(shape=SHAPE, **settings):
    return unet.start(SETTINGS | {"lr": 1e-3, "ema_decay": 0.0} | settings, shape)


def drawn_in_an_epoch(replicate, n):
    """The order, timesteps and noise of the first epoch, where it is one batch."""
    generator = epoch_generator(replicate, 1)
    order = torch.randperm(n, generator=generator)
    t = torch.randint(1000, (n,), generator=generator)
    return order, t, torch.randn(n, *SHAPE, generator=generator)


def images(n):
    return to_model_range(pictures(n))


@BACKENDS
def test_loss_and_step_are_those_computed_by_hand(backend):
    trainer, x_0 = start(lr=0.003, backend=backend), images(6)
    net = copy.deepcopy(trainer.net)
    unet.train_epoch(trainer, x_0)

    order, t, noise = drawn_in_an_epoch(0, 6)
    alpha_bar = torch.from_numpy(np.cumprod(1 - np.linspace(1e-4, 0.02, 1000)))[t].view(-1, 1, 1, 1)
    x_t = alpha_bar.sqrt() * x_0[order] + (1 - alpha_bar).sqrt() * noise
    loss = ((net(x_t.float(), t) - noise) ** 2).mean()
    assert trainer.losses[0][:2] == (1, pytest.approx(loss.item(), rel=1e-6))
    assert (trainer.epoch, trainer.step) == (1, 1)

    loss.backward()
    moved = dict(trainer.net.named_parameters())
    for name, p in net.named_parameters():
        if p.grad is None:
            assert torch.equal(moved[name], p)  # the time table, and the LayerNorm that is not used
            continue
        clear = p.grad.abs() > 1e-6  # below, the step is the sign of a rounding error
        step = 0.003 * p.grad / (p.grad.abs() + 1e-8)  # Adam's first: m / sqrt(v) = g / |g|
        torch.testing.assert_close(moved[name][clear], (p - step)[clear], atol=1e-5, rtol=0)


ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")


@ON_GPU
def test_a_gpu_trains_the_same_net(train, tmp_path):
    on_cpu, on_gpu = (train(tmp_path / device / "2", 2, device=device) for device in ("cpu", "cuda"))
    for (_, mine), (_, its) in zip(losses(on_cpu), losses(on_gpu), strict=True):
        assert float(its) == pytest.approx(float(mine), rel=1e-3)
    halfway = train(tmp_path / "cuda/1", 1, device="cuda")
    assert_same_training(train(tmp_path / "rest/2", 2, device="cuda", build_on=halfway), on_gpu)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_one_message(train, tmp_path, capsys):
    assert "device: cuda needs a torch with CUDA" in fails(train, capsys, tmp_path / "gpu/1", 1, device="cuda")


def test_an_epoch_sees_each_image_once_and_every_epoch_draws_anew(monkeypatch):
    trainer, x_0, seen = start(), images(40), []
    monkeypatch.setattr(unet, "q_sample", lambda *args: seen.append(args[:3]) or q_sample(*args))
    for _ in range(2):
        unet.train_epoch(trainer, x_0)
    assert [len(batch) for batch, _, _ in seen] == [16, 16, 8] * 2
    epochs = [torch.cat([batch for batch, _, _ in seen[i : i + 3]]) for i in (0, 3)]
    for epoch in epochs:
        assert sorted(image.numpy().tobytes() for image in epoch) == sorted(image.numpy().tobytes() for image in x_0)
    assert not torch.equal(*epochs) and not torch.equal(epochs[0], x_0)
    assert not torch.equal(seen[0][1], seen[3][1]) and not torch.equal(seen[0][2], seen[3][2])
    times = torch.cat([t for _, t, _ in seen])
    assert 0 <= times.min() < 150 and 850 < times.max() <= 999


def test_the_epoch_s_loss_is_the_mean_over_images():
    """A net that learns nothing (lr 0): the mean weighs the last, smaller batch by its size."""
    trainer, x_0 = start(lr=0.0), images(40)
    unet.train_epoch(trainer, x_0)
    generator, squares = epoch_generator(0, 1), []
    for indices in torch.randperm(40, generator=generator).split(16):
        t = torch.randint(1000, (len(indices),), generator=generator)
        noise = torch.randn(len(indices), *SHAPE, generator=generator)
        x_t = q_sample(x_0[indices], t, noise, trainer.schedule)
        squares += ((trainer.net(x_t, t) - noise) ** 2).mean((1, 2, 3)).tolist()
    assert trainer.losses[0][1] == pytest.approx(sum(squares) / 40, rel=1e-5)


def test_to_model_range():
    assert to_model_range(np.array([0, 255, 127.5])).tolist() == [-1, 1, 0]
    assert to_model_range(np.array([0, 51, 255], np.uint8)).tolist() == pytest.approx([-1, -0.6, 1])


# --- learning-rate schedule and flips ---


def test_cosine_is_torch_s_stepped_once_an_epoch():
    total = 30
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=5e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=total)
    for epoch in range(1, total + 1):
        lr = unet.learning_rate(5e-4, epoch, "cosine", total)
        assert lr == pytest.approx(scheduler.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        scheduler.step()
    assert unet.learning_rate(5e-4, 1, "cosine", total) == 5e-4 and 0 < lr < 2e-6
    assert {unet.learning_rate(5e-4, epoch) for epoch in range(1, 100)} == {5e-4}


@pytest.mark.parametrize("network", networks.names("unet"))
@pytest.mark.parametrize("shape", [(1, 16, 16), (1, 28, 28), (3, 64, 64)], ids=str)
def test_epochs_in_a_chain_are_one_training_under_cosine_and_flips(tmp_path, network, shape):
    """Each epoch steps at its own rate, whatever lies between: 4 in one go are 2, a file, and 2 more."""
    x_0 = F.interpolate(images(20), shape[1:]).repeat(1, shape[0], 1, 1)

    def fresh():
        cosine = {"lr_schedule": "cosine", "epochs": 4, "flip": True}
        return start(shape, lr=0.01, network=network, ema_decay=0.9, batch_size=8, **cosine)

    def train(trainer, until, rates):
        hook = trainer.optimizer.register_step_pre_hook(
            lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"])
        )
        while trainer.epoch < until:
            unet.train_epoch(trainer, x_0)
        hook.remove()
        return trainer

    rates, chained_rates = [], []
    whole = train(fresh(), 4, rates)
    lower = train(fresh(), 2, chained_rates)
    files.write_safetensors(tmp_path / "state.safetensors", *unet.state_tensors(lower))
    chained = fresh()
    unet.load_state(chained, *files.read_safetensors(tmp_path / "state.safetensors"))
    train(chained, 4, chained_rates)

    half = math.sqrt(0.5)
    by_hand = [0.01 * (1 + cosine) / 2 for cosine in (1, half, 0, -half) for _ in range(3)]  # three steps an epoch
    assert rates == chained_rates == pytest.approx(by_hand)
    (a, header_a), (b, header_b) = unet.state_tensors(whole), unet.state_tensors(chained)
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a) and header_a == header_b
    assert [row[:2] for row in whole.losses[2:]] == [row[:2] for row in chained.losses]


def test_cosine_needs_the_total_and_ends_there():
    with pytest.raises(UserError, match=r"training\.lr_schedule: cosine .* total number of epochs.* \(given: None\)"):
        start(lr_schedule="cosine", epochs=None)
    with pytest.raises(UserError, match=r"'linear' is unknown; known are constant, cosine"):
        start(lr_schedule="linear", epochs=3)
    trainer = start(lr_schedule="cosine", epochs=1, batch_size=8)
    unet.train_epoch(trainer, images(8))
    with pytest.raises(UserError, match=r"cosine has no rate for epoch 2: .* \(given: 1\)"):
        unet.train_epoch(trainer, images(8))
    assert (trainer.epoch, trainer.step) == (1, 1)


def test_flips_mirror_about_half_of_the_images_and_others_in_each_epoch(monkeypatch):
    trainer, x_0, seen = start(lr=0.0), images(40), []
    monkeypatch.setattr(unet, "q_sample", lambda *args: seen.append(args[0]) or q_sample(*args))
    for flip in (True, True, False):
        trainer.settings["flip"] = flip
        unet.train_epoch(trainer, x_0)

    def mirrored(batches):
        """For each image of x_0, whether it was met as its mirror image."""
        met = {image.numpy().tobytes() for image in torch.cat(batches)}
        assert len(met) == 40
        as_is = [image.numpy().tobytes() in met for image in x_0]
        assert all(kept or image.flip(2).numpy().tobytes() in met for kept, image in zip(as_is, x_0, strict=True))
        return [not kept for kept in as_is]

    first, second, without = (mirrored(seen[i : i + 3]) for i in (0, 3, 6))
    assert 10 <= sum(first) <= 30 and 10 <= sum(second) <= 30 and first != second
    assert not any(without)


def test_random_flip_mirrors_whole_images_left_to_right():
    x = torch.arange(2 * 3 * 4 * 5.0).view(2, 3, 4, 5).repeat(50, 1, 1, 1)
    flipped = random_flip(x, torch.Generator().manual_seed(0))
    both = torch.stack([x, x.flip(3)])
    kept = (flipped == both).flatten(2).all(2)
    assert torch.equal(kept[0], ~kept[1]) and 30 < kept[0].sum() < 70


def test_width_reaches_the_net():
    assert start(network="imvfx", width=5).net.conv_out.in_channels == 5


# --- which weights are kept ---


def kind_of_weights(trainer, kind):
    found = unet.weights(trainer)[0].items()
    return {name.removeprefix(f"{kind}."): x for name, x in found if name.startswith(f"{kind}.")}


def test_best_training_loss_keeps_the_lowest_epoch_s_weights():
    trainer, x_0, after = start(batch_size=8), images(40), []
    for lr in (3e-3, 3e-3, 0.03):
        trainer.settings["lr"] = lr
        unet.train_epoch(trainer, x_0)
        after.append(unet.snapshot(trainer.net))
    means = [loss for _, loss, _ in trainer.losses]
    best = means.index(min(means))
    assert best == 1 and means[-1] > means[best] and trainer.best_loss == means[best]
    kept = kind_of_weights(trainer, "best_training_loss")
    assert all(torch.equal(kept[name], after[best][name]) for name in after[best])
    assert any(not torch.equal(kept[name], after[-1][name]) for name in after[-1])


def test_ema_is_the_recursion():
    trainer = start(lr=1e-2, ema_decay=0.5)
    weight = trainer.net.conv_out.weight.flatten()
    path = [weight.tolist()]
    trainer.optimizer.register_step_post_hook(lambda *_: path.append(trainer.net.conv_out.weight.flatten().tolist()))
    for _ in range(4):
        unet.train_epoch(trainer, images(40))
    average = path[0]
    for step, values in enumerate(path[1:], start=1):
        decay = min(0.5, (1 + step) / (10 + step))
        average = [decay * a + (1 - decay) * v for a, v in zip(average, values, strict=True)]
    assert len(path) == 13  # both sides of the minimum were met: (1 + 8) / (10 + 8) = 0.5
    ema = kind_of_weights(trainer, "ema")
    assert ema["conv_out.weight"].flatten().tolist() == pytest.approx(average, abs=1e-6)
    assert max(abs(a - v) for a, v in zip(average, path[-1], strict=True)) > 1e-4
    assert ema.keys() == trainer.net.state_dict().keys()
    assert torch.equal(ema["time_table.weight"], trainer.net.time_table.weight)


def test_last_is_the_net_itself_and_training_learns():
    trainer = start(lr=5e-3, batch_size=8)
    for _ in range(12):
        unet.train_epoch(trainer, images(40))
    net, kept = trainer.net.state_dict(), kind_of_weights(trainer, "last")
    assert net.keys() == kept.keys()
    assert all(torch.equal(kept[name], net[name]) for name in net)
    means = [loss for _, loss, _ in trainer.losses]
    assert 0.9 < means[0] < 1.1 and means[-1] < 0.6  # from predicting nothing: the noise's own variance, 1


def test_state_comes_back_whole():
    trainer = start(ema_decay=0.9, batch_size=8)
    unet.train_epoch(trainer, images(20))
    tensors, header = unet.state_tensors(trainer)
    other = start(ema_decay=0.9, batch_size=8)
    unet.load_state(other, {name: tensor.clone() for name, tensor in tensors.items()}, header)
    again, again_header = unet.state_tensors(other)
    assert again.keys() == tensors.keys() and again_header == header
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)
    kinds = {name.split(".")[0] for name in tensors}
    assert kinds == {"net", "optimizer", "best", "ema"} and any(name.endswith(".exp_avg_sq") for name in tensors)


# --- failures ---


def test_a_loss_that_is_not_finite_stops_in_one_line_and_leaves_the_last_epoch(train, tmp_path, capsys):
    # one batch an epoch: the first loss is that of the fresh net, and finite
    output = tmp_path / "m/5"
    progress = progress_of(output, 5)
    error = fails(train, capsys, output, 5, lr=1e30, batch_size=40)
    assert re.search(r"training\.lr: the loss became (nan|inf) at epoch 2, step 2, with learning rate 1e\+30", error)
    assert not output.exists()
    assert '"epoch": 1' in tensors(progress / "state.safetensors")[1]["trainer"]
    assert [epoch for epoch, _ in losses(progress)] == [1]


@BACKENDS
def test_a_nan_in_the_net_stops_too(backend):
    trainer = start(batch_size=4, backend=backend)
    unet.train_epoch(trainer, images(8))
    with torch.no_grad():
        trainer.net.conv_out.bias.fill_(math.nan)
    with pytest.raises(UserError, match=r"the loss became nan at epoch 2, step 3, with learning rate 0\.001"):
        unet.train_epoch(trainer, images(8))
    assert trainer.epoch == 1 and len(trainer.losses) == 1


@BACKENDS
@pytest.mark.parametrize("image", [0, 5, 11])
def test_a_nan_in_one_image_stops_too(image, backend):
    trainer, x_0 = start(batch_size=4, backend=backend), images(12)
    x_0[image, 0, 3, 3] = math.nan
    with pytest.raises(UserError, match=r"the loss became nan at epoch 1, step [123], with learning rate 0\.001"):
        unet.train_epoch(trainer, x_0)


@pytest.mark.long
@pytest.mark.skipif(not backend_choice.has_lanes(), reason="no AVX2 or llvmlite")
def test_lanes_loss_curve_is_torch_s_within_the_spread_of_seeds():
    """Rounding makes two trainings drift apart, but by less than another seed does."""
    curves = {}
    for backend in ("torch", "lanes"):
        for replicate in range(3):
            trainer = start(replicate=replicate, backend=backend, batch_size=16, network="hw4-sees")
            for _ in range(8):
                unet.train_epoch(trainer, images(200))
            curves[backend, replicate] = np.array([loss for _, loss, _ in trainer.losses])
    torchs, lanes = (np.array([curves[backend, r] for r in range(3)]) for backend in ("torch", "lanes"))
    spread = torchs.max(0) - torchs.min(0)
    assert (abs(lanes - torchs).max(0) <= spread + 1e-6).all()
    assert abs(lanes - torchs)[:, 0].max() < 1e-5  # the first epoch is the same but for rounding
    assert lanes[:, -1].max() < lanes[:, 0].min() / 2


def test_an_epoch_that_ends_in_nan_weights_is_not_a_finished_one(train, tmp_path, capsys):
    fails(train, capsys, tmp_path / "m/2", 2, lr=100, batch_size=40)
    state, _ = files.read_safetensors(progress_of(tmp_path / "m/2", 2) / "state.safetensors")
    assert all(tensor.isfinite().all() for tensor in state.values())


def test_a_mean_loss_above_10_stops_too_and_the_epoch_does_not_count():
    trainer = start(batch_size=4)
    unet.train_epoch(trainer, images(8))
    kept = unet.snapshot(trainer.net)
    with torch.no_grad():
        trainer.net.conv_out.bias.fill_(3.5)  # 1 + 3.5^2: finite, and nobody's prediction
    with pytest.raises(
        UserError, match=r"training\.lr: the mean loss became 1[23]\..* at epoch 2, step 4, with learning rate 0\.001"
    ):
        unet.train_epoch(trainer, images(8))
    assert trainer.epoch == 1 and len(trainer.losses) == 1 and trainer.best_loss == trainer.losses[0][1]
    assert all(torch.equal(tensor, kept[name]) for name, tensor in trainer.best.items())


def test_a_mean_loss_below_10_goes_on():
    trainer = start(lr=0.0, batch_size=20)
    with torch.no_grad():
        trainer.net.conv_out.bias.fill_(2.8)
    unet.train_epoch(trainer, images(40))
    assert trainer.epoch == 1 and 7 < trainer.losses[0][1] < 10


# --- DIP inside training ---


def test_dip_in_training_passes_the_batch_together_and_stays_as_it_is(train, data, tmp_path, monkeypatch):
    from torchvision.transforms import functional as TF

    built, seen, x_t = [], [], []

    def build(*args, **kwargs):
        built.append(build_dip(*args, **kwargs))
        return built[-1]

    def spied(*args, begin=unet.start, **kwargs):
        trainer = begin(*args, **kwargs)
        trainer.net.register_forward_pre_hook(lambda net, inputs: seen.append(inputs[0].clone()))
        return trainer

    monkeypatch.setattr(unet, "build_dip", build)
    monkeypatch.setattr(unet, "start", spied)
    monkeypatch.setattr(unet, "q_sample", lambda *args: x_t.append(q_sample(*args)) or x_t[-1])
    output = train(tmp_path / "m/1", 1, dip=data / "dip.safetensors", dip_passes=2, dip_size=32)
    read = read_record(output / "weights.safetensors")["read"]
    assert read[str(data / "dip.safetensors")] == files.sha256(data / "dip.safetensors") and len(read) == 2

    fitted = files.read_safetensors(data / "dip.safetensors")[0]
    (dip,) = built
    assert all(torch.equal(value, fitted[name]) for name, value in dip.state_dict().items())
    assert all(p.grad is None for p in dip.parameters())

    together, alone = build_dip(batch_statistics=True), build_dip()
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in together.modules())
    shown = {}
    for name, net in (("together", together), ("alone", alone)):
        net.load_state_dict(fitted)
        with torch.no_grad():
            shown[name] = [TF.resize(net(net(TF.resize(x, [32, 32]))), [16, 16]) for x in x_t]
    assert [len(x) for x in seen] == [16, 16, 8] and not seen[0].requires_grad
    for actual, expected, per_image in zip(seen, shown["together"], shown["alone"], strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-4, rtol=0)  # two passes enlarge rounding
        assert (actual - per_image).abs().max() > 0.01


def test_dip_in_training_still_predicts_the_added_noise():
    trainer, x_0 = start(lr=0.0), images(6)
    trainer.condition = lambda x_t: 0.5 * x_t - 0.3 * x_t.square()
    unet.train_epoch(trainer, x_0)
    order, t, noise = drawn_in_an_epoch(0, 6)
    x_t = q_sample(x_0[order], t, noise, trainer.schedule)
    loss = ((trainer.net(0.5 * x_t - 0.3 * x_t.square(), t) - noise) ** 2).mean()
    assert trainer.losses[0][1] == pytest.approx(loss.item(), rel=1e-5)


def test_dip_in_training_is_another_trajectory(train, data, tmp_path, capsys):
    plain = train(tmp_path / "plain/1", 1)
    options = {"dip": data / "dip.safetensors", "dip_passes": 2, "dip_size": 32}
    with_dip = train(tmp_path / "dip/1", 1, **options)
    assert tensors(plain / "weights.safetensors")[0] != tensors(with_dip / "weights.safetensors")[0]
    whole = train(tmp_path / "whole/2", 2, **options)
    assert_same_training(train(tmp_path / "dip/2", 2, **options, build_on=with_dip), whole)
    assert "plain/1: made with" in fails(train, capsys, tmp_path / "plain/2", 2, **options, build_on=plain)
    assert "inputs has no dip" in fails(train, capsys, tmp_path / "x/2", 2, dip_passes=2, dip_size=32)
