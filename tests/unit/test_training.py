"""Training: one trajectory whatever its stops, byte for byte; a loss, a step and an EMA as by hand; clean failures."""

import copy
import csv
import math
import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import ddpm_dip.torchvision_import  # noqa: F401, before torchvision
from ddpm_dip import files, networks, provenance, training
from ddpm_dip.diffusion import linear_schedule
from ddpm_dip.epochs import random_flip
from ddpm_dip.errors import UserError
from ddpm_dip.networks import build_dip, build_unet
from ddpm_dip.networks.unet import PLANS
from ddpm_dip.scale import to_model_range

ROOT = Path(__file__).resolve().parents[2]
TRAIN_PY = ROOT / "workflow/scripts/train.py"
SHAPE = (1, 16, 16)
SCHEDULE = linear_schedule()


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


def arguments(folder, output, epochs, **options):
    options = {
        "data": folder / "data.npz", "model": "tiny", "network": "hw4", "epochs": epochs, "batch-size": 16, "lr": 0.01,
        "seed": 0, "threads": 1, "progress": output.parent / "progress", "output": output,
    } | options  # fmt: skip
    return [text for key, value in options.items() for text in (f"--{key}", str(value))]


@pytest.fixture
def train(data, monkeypatch):
    """Runs train.py in this process: train(output, epochs, **options) -> output."""

    def run(output, epochs, **options):
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments(data, output, epochs, **options)])
        runpy.run_path(str(TRAIN_PY), run_name="__main__")
        return output

    return run


def fails(train, capsys, *args, **options):
    """The one line on stderr with which train.py stops."""
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


# --- one trajectory ---


@pytest.mark.parametrize("weights", ["last", "best_training_loss", "ema"])
def test_budgets_in_a_chain_are_one_training(train, tmp_path, weights):
    whole = train(tmp_path / "one-go/4", 4, weights=weights)
    lower = train(tmp_path / "chain/2", 2, weights=weights)
    chained = train(tmp_path / "chain/4", 4, weights=weights, **{"resume-from": lower, "progress": tmp_path / "other"})
    assert_same_training(chained, whole)
    assert tensors(lower / "weights.safetensors")[0] != tensors(whole / "weights.safetensors")[0]
    assert [epoch for epoch, _ in losses(chained)] == [1, 2, 3, 4]


def test_best_training_loss_goes_on_from_a_best_epoch_before_the_stop(train, tmp_path):
    """One step an epoch, and too long a one: the first epoch is the best, and must come through the snapshot."""
    options = {"weights": "best_training_loss", "lr": 0.05, "batch-size": 40}
    whole = train(tmp_path / "one-go/3", 3, **options)
    kept = [float(loss) for _, loss in losses(whole)]
    assert kept.index(min(kept)) == 0
    first = train(tmp_path / "chain/1", 1, **options)
    chained = train(tmp_path / "chain/3", 3, **options, **{"resume-from": first})
    assert_same_training(chained, whole)
    assert tensors(chained / "weights.safetensors")[0] == tensors(first / "weights.safetensors")[0]


def test_the_files_are_the_same_byte_for_byte(train, tmp_path):
    lower = train(tmp_path / "chain/1", 1)
    whole = train(tmp_path / "one-go/2", 2)
    for attempt in range(6):
        progress = tmp_path / f"progress-{attempt}"
        chained = train(tmp_path / f"chain/2-{attempt}", 2, **{"resume-from": lower, "progress": progress})
        for name in ("weights.safetensors", "state.safetensors"):
            assert (chained / name).read_bytes() == (whole / name).read_bytes(), f"{name}, attempt {attempt}"


KILLED = """
import os, runpy, signal, sys
sys.path.insert(0, {src!r})
from ddpm_dip import files, training

def until_third(function, done):
    def instead(*args, **options):
        if done(*args):
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **options)
    return instead

if {where!r} == "epoch":  # as epoch 4 begins
    training.train_epoch = until_third(training.train_epoch, lambda trainer, *rest: trainer.epoch == 3)
else:  # with epoch 4's loss table on disk, and its state not yet
    files.write_safetensors = until_third(
        files.write_safetensors, lambda path, tensors, header: '"epoch": 4' in header.get("trainer", "")
    )
runpy.run_path({script!r}, run_name="__main__")
"""


@pytest.mark.parametrize("where", ["epoch", "state"])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(train, data, tmp_path, where, capsys):
    options = {"weights": "ema", "progress": tmp_path / "progress"}
    code = KILLED.format(src=str(ROOT / "src"), where=where, script=str(TRAIN_PY))
    command = [sys.executable, "-c", code, *arguments(data, tmp_path / "killed", 5, **options)]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "killed").exists()  # no output that could be taken for a whole one
    assert '"epoch": 3' in tensors(tmp_path / "progress/state.safetensors")[1]["trainer"]
    assert len(losses(tmp_path / "progress")) == {"epoch": 3, "state": 4}[where]

    resumed = train(tmp_path / "killed", 5, **options)
    assert "going on from epoch 3" in capsys.readouterr().out
    assert_same_training(resumed, train(tmp_path / "one-go/5", 5, weights="ema"))


def test_an_altered_progress_is_named_and_not_used(train, tmp_path, capsys):
    """It has no record beside it, as it changes with each epoch: its digest is in the file."""
    progress = tmp_path / "progress"
    train(tmp_path / "a/1", 1, progress=progress)
    progress.mkdir()
    state = bytearray((tmp_path / "a/1/state.safetensors").read_bytes())
    state[-5] ^= 1
    (progress / "state.safetensors").write_bytes(state)
    (progress / "losses.csv").write_bytes((tmp_path / "a/1/losses.csv").read_bytes())
    error = fails(train, capsys, tmp_path / "a/2", 2, progress=progress)
    assert error.startswith(f"error: {progress}/state.safetensors: altered or damaged since it was made; delete it")
    assert not (tmp_path / "a/2").exists()


def test_progress_beyond_the_budget_or_of_other_settings_is_not_used(train, tmp_path):
    whole = train(tmp_path / "a/2", 2)
    train(tmp_path / "b/3", 3)
    assert_same_training(train(tmp_path / "b/2", 2), whole)  # its progress folder held epoch 3
    train(tmp_path / "c/1", 1, lr=0.001)
    assert_same_training(train(tmp_path / "c/2", 2), whole)  # its progress folder held another learning rate


@pytest.mark.parametrize(
    "other", [{"lr": 0.02}, {"seed": 1}, {"batch-size": 8}, {"network": "hw4-sees"}, {"weights": "ema"}, "data"]
)
def test_a_snapshot_of_other_settings_is_refused(train, data, tmp_path, capsys, other):
    lower = train(tmp_path / "1", 1)
    options = {"data": data / "other.npz"} if other == "data" else other
    error = fails(train, capsys, tmp_path / "2", 2, **{"resume-from": lower}, **options)
    assert f"{lower}: made with other data, settings or code" in error
    assert not (tmp_path / "2").exists()


def test_another_seed_is_another_training(train, tmp_path):
    a, b = train(tmp_path / "a/1", 1), train(tmp_path / "b/1", 1, seed=1)
    assert tensors(a / "weights.safetensors")[0] != tensors(b / "weights.safetensors")[0]
    drawn = {
        torch.randn(4, generator=training.epoch_generator(*key)) for key in [(0, 1), (1, 0), (1, 1), (0, 2), (12, 1)]
    }
    assert len({tuple(values.tolist()) for values in drawn}) == 5


def test_weights_file_is_the_net_with_a_header(train, data, tmp_path):
    output = train(tmp_path / "2", 2)
    weights, header = files.read_safetensors(output / "weights.safetensors")
    assert header == {"network": "hw4", "image_shape": "1x16x16", "epoch": "2", "step": "6", "weights": "last",
                      "seed": "0"}  # fmt: skip
    build_unet("hw4", SHAPE).load_state_dict(weights)
    assert files.read_json(provenance.beside(output / "weights.safetensors"))["inputs"] == {
        str(data / "data.npz"): files.sha256(data / "data.npz")
    }


# --- one step, by hand ---


def start(lr=1e-3, weights="last", ema_decay=0.0, network="hw4", shape=SHAPE, **options):
    return training.start(network, shape, lr=lr, seed=0, weights=weights, ema_decay=ema_decay, **options)


def images(n):
    return to_model_range(pictures(n))


def test_loss_and_step_are_those_computed_by_hand():
    trainer, x_0 = start(lr=0.003), images(6)
    net = copy.deepcopy(trainer.net)
    training.train_epoch(trainer, x_0, SCHEDULE, batch_size=6)

    generator = training.epoch_generator(0, 1)
    order = torch.randperm(6, generator=generator)
    t = torch.randint(1000, (6,), generator=generator)
    noise = torch.randn(6, *SHAPE, generator=generator)
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
    on_cpu, on_gpu = (train(tmp_path / device, 2, device=device, weights="ema") for device in ("cpu", "cuda"))
    for (_, mine), (_, its) in zip(losses(on_cpu), losses(on_gpu), strict=True):
        assert float(its) == pytest.approx(float(mine), rel=1e-3)
    halfway = train(tmp_path / "half", 1, device="cuda", weights="ema")
    assert_same_training(train(tmp_path / "rest", 2, device="cuda", weights="ema", **{"resume-from": halfway}), on_gpu)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_one_message(train, tmp_path, capsys):
    assert "device: cuda needs a torch with CUDA" in fails(train, capsys, tmp_path / "gpu", 1, device="cuda")


def test_an_epoch_sees_each_image_once_and_every_epoch_draws_anew(monkeypatch):
    trainer, x_0, seen = start(), images(40), []
    draws = training.q_sample
    monkeypatch.setattr(training, "q_sample", lambda *args: seen.append(args[:3]) or draws(*args))
    for _ in range(2):
        training.train_epoch(trainer, x_0, SCHEDULE, batch_size=16)
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
    training.train_epoch(trainer, x_0, SCHEDULE, batch_size=16)
    generator, squares = training.epoch_generator(0, 1), []
    for indices in torch.randperm(40, generator=generator).split(16):
        t = torch.randint(1000, (len(indices),), generator=generator)
        noise = torch.randn(len(indices), *SHAPE, generator=generator)
        x_t = training.q_sample(x_0[indices], t, noise, SCHEDULE)
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
        lr = training.learning_rate(5e-4, epoch, "cosine", total)
        assert lr == pytest.approx(scheduler.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        scheduler.step()
    assert training.learning_rate(5e-4, 1, "cosine", total) == 5e-4 and 0 < lr < 2e-6
    assert {training.learning_rate(5e-4, epoch) for epoch in range(1, 100)} == {5e-4}


@pytest.mark.parametrize("network", PLANS)
@pytest.mark.parametrize("shape", [(1, 16, 16), (1, 28, 28), (3, 64, 64)], ids=str)
def test_epochs_in_a_chain_are_one_training_under_cosine_and_flips(tmp_path, network, shape):
    """Each epoch steps at its own rate, whatever lies between: 4 in one go are 2, a file, and 2 more."""
    x_0 = F.interpolate(images(20), shape[1:]).repeat(1, shape[0], 1, 1)

    def fresh():
        cosine = {"lr_schedule": "cosine", "total_epochs": 4}
        return start(lr=0.01, network=network, shape=shape, weights="ema", ema_decay=0.9, **cosine)

    def train(trainer, until, rates):
        hook = trainer.optimizer.register_step_pre_hook(
            lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"])
        )
        while trainer.epoch < until:
            training.train_epoch(trainer, x_0, SCHEDULE, batch_size=8, flip=True)
        hook.remove()
        return trainer

    rates, chained_rates = [], []
    whole = train(fresh(), 4, rates)
    lower = train(fresh(), 2, chained_rates)
    files.write_safetensors(tmp_path / "state.safetensors", *training.state_tensors(lower))
    chained = fresh()
    training.load_state(chained, *files.read_safetensors(tmp_path / "state.safetensors"))
    train(chained, 4, chained_rates)

    half = math.sqrt(0.5)
    by_hand = [0.01 * (1 + cosine) / 2 for cosine in (1, half, 0, -half) for _ in range(3)]  # three steps an epoch
    assert rates == chained_rates == pytest.approx(by_hand)
    (a, header_a), (b, header_b) = training.state_tensors(whole), training.state_tensors(chained)
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a) and header_a == header_b
    assert [row[:2] for row in whole.losses[2:]] == [row[:2] for row in chained.losses]


def test_cosine_needs_the_total_and_ends_there():
    with pytest.raises(UserError, match=r"training\.lr_schedule: cosine .* total number of epochs.* \(given: None\)"):
        start(lr_schedule="cosine")
    with pytest.raises(UserError, match=r"'linear' is unknown; known are constant, cosine"):
        start(lr_schedule="linear", total_epochs=3)
    trainer = start(lr_schedule="cosine", total_epochs=1)
    training.train_epoch(trainer, images(8), SCHEDULE, batch_size=8)
    with pytest.raises(UserError, match=r"cosine has no rate for epoch 2: .* \(given: 1\)"):
        training.train_epoch(trainer, images(8), SCHEDULE, batch_size=8)
    assert (trainer.epoch, trainer.step) == (1, 1)


def test_flips_mirror_about_half_of_the_images_and_others_in_each_epoch(monkeypatch):
    trainer, x_0, seen = start(lr=0.0), images(40), []
    draws = training.q_sample
    monkeypatch.setattr(training, "q_sample", lambda *args: seen.append(args[0]) or draws(*args))
    for flip in (True, True, False):
        training.train_epoch(trainer, x_0, SCHEDULE, batch_size=16, flip=flip)

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


def test_best_training_loss_keeps_the_lowest_epoch_s_weights():
    trainer, x_0, after = start(lr=3e-3, weights="best_training_loss"), images(40), []
    for lr in (3e-3, 3e-3, 0.03):
        trainer.lr = lr
        training.train_epoch(trainer, x_0, SCHEDULE, batch_size=8)
        after.append(training.snapshot(trainer.net))
    means = [loss for _, loss, _ in trainer.losses]
    best = means.index(min(means))
    assert best == 1 and means[-1] > means[best] and trainer.best_loss == means[best]
    kept = training.sampling_weights(trainer)
    assert all(torch.equal(kept[name], after[best][name]) for name in after[best])
    assert any(not torch.equal(kept[name], after[-1][name]) for name in after[-1])


def test_ema_is_the_recursion():
    trainer = start(lr=1e-2, weights="ema", ema_decay=0.5)
    weight = trainer.net.conv_out.weight.flatten()
    path = [weight.tolist()]
    trainer.optimizer.register_step_post_hook(lambda *_: path.append(trainer.net.conv_out.weight.flatten().tolist()))
    for _ in range(4):
        training.train_epoch(trainer, images(40), SCHEDULE, batch_size=16)
    average = path[0]
    for step, values in enumerate(path[1:], start=1):
        decay = min(0.5, (1 + step) / (10 + step))
        average = [decay * a + (1 - decay) * v for a, v in zip(average, values, strict=True)]
    assert len(path) == 13  # both sides of the minimum were met: (1 + 8) / (10 + 8) = 0.5
    ema = training.sampling_weights(trainer)
    assert ema["conv_out.weight"].flatten().tolist() == pytest.approx(average, abs=1e-6)
    assert max(abs(a - v) for a, v in zip(average, path[-1], strict=True)) > 1e-4
    assert ema.keys() == trainer.net.state_dict().keys()
    assert torch.equal(ema["time_table.weight"], trainer.net.time_table.weight)


def test_last_is_the_net_itself_and_training_learns():
    trainer = start(lr=5e-3)
    for _ in range(12):
        training.train_epoch(trainer, images(40), SCHEDULE, batch_size=8)
    net, kept = trainer.net.state_dict(), training.sampling_weights(trainer)
    assert all(torch.equal(kept[name], net[name]) for name in net)
    means = [loss for _, loss, _ in trainer.losses]
    assert 0.9 < means[0] < 1.1 and means[-1] < 0.6  # from predicting nothing: the noise's own variance, 1


def test_state_comes_back_whole():
    trainer = start(weights="ema", ema_decay=0.9)
    training.train_epoch(trainer, images(20), SCHEDULE, batch_size=8)
    tensors, header = training.state_tensors(trainer)
    other = start(weights="ema", ema_decay=0.9)
    training.load_state(other, {name: tensor.clone() for name, tensor in tensors.items()}, header)
    again, again_header = training.state_tensors(other)
    assert again.keys() == tensors.keys() and again_header == header
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)
    kinds = {name.split(".")[0] for name in tensors}
    assert kinds == {"net", "optimizer", "ema"} and any(name.endswith(".exp_avg_sq") for name in tensors)


# --- failures ---


def test_a_loss_that_is_not_finite_stops_in_one_line_and_leaves_the_last_epoch(train, tmp_path, capsys):
    # one batch an epoch: the first loss is that of the fresh net, and finite
    error = fails(train, capsys, tmp_path / "out", 5, lr=1e30, **{"batch-size": 40, "progress": tmp_path / "progress"})
    assert re.search(r"training\.lr: the loss became (nan|inf) at epoch 2, step 2, with learning rate 1e\+30", error)
    assert not (tmp_path / "out").exists()
    assert '"epoch": 1' in tensors(tmp_path / "progress/state.safetensors")[1]["trainer"]
    assert [epoch for epoch, _ in losses(tmp_path / "progress")] == [1]


def test_a_nan_in_the_net_stops_too():
    trainer = start()
    training.train_epoch(trainer, images(8), SCHEDULE, batch_size=4)
    with torch.no_grad():
        trainer.net.conv_out.bias.fill_(math.nan)
    with pytest.raises(UserError, match=r"the loss became nan at epoch 2, step 3, with learning rate 0\.001"):
        training.train_epoch(trainer, images(8), SCHEDULE, batch_size=4)
    assert trainer.epoch == 1 and len(trainer.losses) == 1


def test_an_epoch_that_ends_in_nan_weights_is_not_a_finished_one(train, tmp_path, capsys):
    progress = tmp_path / "progress"
    fails(train, capsys, tmp_path / "out", 2, lr=100, **{"batch-size": 40, "progress": progress})
    state, _ = files.read_safetensors(progress / "state.safetensors")
    assert all(tensor.isfinite().all() for tensor in state.values())


def test_a_mean_loss_above_10_stops_too_and_the_epoch_does_not_count():
    trainer = start(weights="best_training_loss")
    training.train_epoch(trainer, images(8), SCHEDULE, batch_size=4)
    kept = training.snapshot(trainer.net)
    with torch.no_grad():
        trainer.net.conv_out.bias.fill_(3.5)  # 1 + 3.5^2: finite, and nobody's prediction
    with pytest.raises(
        UserError, match=r"training\.lr: the mean loss became 1[23]\..* at epoch 2, step 4, with learning rate 0\.001"
    ):
        training.train_epoch(trainer, images(8), SCHEDULE, batch_size=4)
    assert trainer.epoch == 1 and len(trainer.losses) == 1 and trainer.best_loss == trainer.losses[0][1]
    assert all(torch.equal(tensor, kept[name]) for name, tensor in trainer.best.items())


def test_a_mean_loss_below_10_goes_on():
    trainer = start(lr=0.0)
    with torch.no_grad():
        trainer.net.conv_out.bias.fill_(2.8)
    training.train_epoch(trainer, images(40), SCHEDULE, batch_size=20)
    assert trainer.epoch == 1 and 7 < trainer.losses[0][1] < 10


# --- DIP inside training ---


def test_dip_in_training_passes_the_batch_together_and_stays_as_it_is(train, data, tmp_path, monkeypatch):
    from torchvision.transforms import functional as TF

    built, seen, x_t = [], [], []

    def build(*args, **kwargs):
        built.append(build_dip(*args, **kwargs))
        return built[-1]

    def spied(*args, begin=training.start, **kwargs):
        trainer = begin(*args, **kwargs)
        trainer.net.register_forward_pre_hook(lambda net, inputs: seen.append(inputs[0].clone()))
        return trainer

    draws = training.q_sample
    monkeypatch.setattr(networks, "build_dip", build)
    monkeypatch.setattr(training, "start", spied)
    monkeypatch.setattr(training, "q_sample", lambda *args: x_t.append(draws(*args)) or x_t[-1])
    train(tmp_path / "out", 1, dip=data / "dip.safetensors", **{"dip-passes": 2})

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
    training.train_epoch(trainer, x_0, SCHEDULE, 6, condition=lambda x_t: 0.5 * x_t - 0.3 * x_t.square())
    generator = training.epoch_generator(0, 1)
    order = torch.randperm(6, generator=generator)
    t = torch.randint(1000, (6,), generator=generator)
    noise = torch.randn(6, *SHAPE, generator=generator)
    x_t = training.q_sample(x_0[order], t, noise, SCHEDULE)
    loss = ((trainer.net(0.5 * x_t - 0.3 * x_t.square(), t) - noise) ** 2).mean()
    assert trainer.losses[0][1] == pytest.approx(loss.item(), rel=1e-5)


def test_dip_in_training_is_another_trajectory(train, data, tmp_path, capsys):
    plain = train(tmp_path / "plain/1", 1)
    options = {"dip": data / "dip.safetensors", "dip-passes": 2}
    with_dip = train(tmp_path / "dip/1", 1, **options)
    assert tensors(plain / "weights.safetensors")[0] != tensors(with_dip / "weights.safetensors")[0]
    whole = train(tmp_path / "whole/2", 2, **options)
    assert_same_training(train(tmp_path / "dip/2", 2, **options, **{"resume-from": with_dip}), whole)
    assert f"{plain}: made with" in fails(train, capsys, tmp_path / "x/2", 2, **options, **{"resume-from": plain})
