"""Fitting the DIP net: the published recipe, its curve, and its odd backtracking, replayed in plain formulas."""

import csv

import jobfile
import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_dip.jobs import files
from ddpm_dip.jobs.errors import UserError
from ddpm_dip.jobs.job import read_record
from ddpm_dip.models import build_dip, dip_fit
from ddpm_dip.models.dip import seeded_dip


def digit(channels=1):
    """The first of scikit-learn's digits, 16x16."""
    from sklearn.datasets import load_digits

    page = Image.fromarray((load_digits().images[0] * 255 / 16).astype(np.uint8)).resize((16, 16))
    return np.repeat(np.asarray(page)[None], channels, axis=0)


@pytest.fixture(scope="module")
def fit():
    return dip_fit.fit_dip(digit(), 60, seed=0)


# --- psnr ---


def test_psnr_closed_forms():
    a = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.5
    assert dip_fit.psnr(a, a + 0.1) == pytest.approx(20, abs=1e-4)
    assert dip_fit.psnr(a, a + 0.5) == pytest.approx(20 * np.log10(2), abs=1e-4)
    assert dip_fit.psnr(torch.zeros(1, 4), torch.tensor([[1.0, 0, 0, 0]])) == pytest.approx(10 * np.log10(4), abs=1e-4)
    published_loss, published_psnr = 0.005128, 22.90  # of the original's last line
    assert dip_fit.psnr(a, a + published_loss**0.5) == pytest.approx(published_psnr, abs=0.005)


# --- the image to restore ---


def test_noise_has_sigma_25_of_255():
    grey = dip_fit.fit_dip(np.full((1, 28, 28), 128, np.uint8), 1, seed=0)  # far from both ends: nothing is clipped
    noise, n = (grey.noisy - grey.clean).flatten().double(), 32 * 32
    assert (grey.clean == 128 / 255).all()
    assert abs(noise.mean()) < 5 * (25 / 255) / n**0.5
    assert abs(noise.std() / (25 / 255) - 1) < 5 / (2 * n) ** 0.5


@pytest.mark.parametrize("value", [0, 255])
def test_noisy_image_is_clipped_to_0_1(value):
    noisy = dip_fit.fit_dip(np.full((1, 28, 28), value, np.uint8), 1, seed=0).noisy
    assert noisy.min() >= 0 and noisy.max() <= 1
    assert 0.4 < (noisy == value / 255).float().mean() < 0.6  # half of the noise points outwards


@pytest.mark.parametrize("size", [16, 28, 32])
def test_clean_image_is_the_picture_at_32x32_on_8_bit_values(size):
    image = np.random.default_rng(0).integers(0, 256, (1, size, size), dtype=np.uint8)
    clean = dip_fit.fit_dip(image, 1, seed=0).clean
    levels = clean * 255
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    source = torch.from_numpy(image).double()[None]
    exact = torch.nn.functional.interpolate(source, (32, 32), mode="bilinear", antialias=True)
    assert (levels - exact).abs().max() <= 1.01  # two roundings to whole levels, one a direction


# --- the fit ---


def test_curve_rows_are_consistent(fit):
    columns = np.array(fit.curve, dtype=float).T
    assert len(columns) == 6 and columns.shape[1] == 60  # iteration, loss, three PSNRs, reverted
    iteration, loss, psnr_noisy, _, _, reverted = columns
    assert iteration.tolist() == list(range(60)) and not reverted.any()
    np.testing.assert_allclose(psnr_noisy, -10 * np.log10(loss), atol=1e-4)
    assert fit.curve[0][3] == fit.curve[0][4]  # the smoothed output starts as the first output


def test_sixty_iterations_restore_more_than_the_noise_took(fit):
    first, last = fit.curve[0], fit.curve[-1]
    assert last[2] > first[2] + 5 and last[1] < first[1] / 3
    assert last[3] > dip_fit.psnr(fit.noisy, fit.clean) + 1  # closer to the clean image than its input is
    assert last[3] > last[2]
    assert fit.output.shape == fit.clean.shape == (1, 1, 32, 32)
    assert fit.output.min() >= 0 and fit.output.max() <= 1 and not fit.output.requires_grad
    assert dip_fit.psnr(fit.output, fit.clean) > last[3] - 2


def test_smoothed_psnr_is_that_of_the_running_mean(fit, monkeypatch):
    outputs, smoothed = [], []
    monkeypatch.setattr(dip_fit, "psnr", lambda a, b: outputs.append(a) or 10.0)
    dip_fit.fit_dip(digit(), 5, seed=0)
    mean = outputs[0]
    for i in range(5):
        mean = mean if i == 0 else 0.99 * mean + 0.01 * outputs[3 * i]
        smoothed.append(-10 * np.log10(((mean - fit.clean) ** 2).mean().item()))
        torch.testing.assert_close(outputs[3 * i + 2], mean)
    np.testing.assert_allclose([row[4] for row in fit.curve[:5]], smoothed, atol=1e-4)


def test_a_fit_is_a_function_of_its_seed(fit):
    torch.manual_seed(77)
    before = torch.get_rng_state()
    again, other = dip_fit.fit_dip(digit(), 10, seed=0), dip_fit.fit_dip(digit(), 10, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert again.curve == fit.curve[:10] and torch.equal(again.noisy, fit.noisy)
    assert other.curve != again.curve and not torch.equal(other.noisy, again.noisy)


def test_colour_images_fit_too():
    fit = dip_fit.fit_dip(digit(3), 5, seed=0)
    assert fit.clean.shape == fit.output.shape == (1, 3, 32, 32) and fit.curve[-1][1] < fit.curve[0][1]


# --- backtracking ---


def scripted(monkeypatch, drops, iterations):
    """A fit whose PSNR to the noisy image is 20 dB but where `drops` (iteration -> dB) says otherwise.

    Returns its curve, and at each iteration the parameters and gradients as they were when the PSNR was taken.
    """
    nets, seen, calls = [], [], 0

    def build(channels, seed):
        nets.append(seeded_dip(channels, seed))
        return nets[-1]

    def psnr(a, b):
        nonlocal calls
        iteration, of = divmod(calls, 3)  # to the noisy image first, then two to the clean one
        calls += 1
        if of == 0:
            seen.append([(p.detach().clone(), p.grad.clone()) for p in nets[0].parameters()])
        return drops.get(iteration, 20.0) if of == 0 else 15.0

    monkeypatch.setattr(dip_fit, "seeded_dip", build)
    monkeypatch.setattr(dip_fit, "psnr", psnr)
    curve = dip_fit.fit_dip(digit(), iterations, seed=0).curve
    return curve, seen


def replay(seen, reverted, kept_at):
    """Adam by its formulas: the step at each iteration starts from the kept parameters where `reverted` says so.

    kept_at: reverted iteration -> the iteration whose parameters come back.
    """
    m = [torch.zeros_like(p) for p, _ in seen[0]]
    v = [torch.zeros_like(p) for p, _ in seen[0]]
    for i, state in enumerate(seen):
        after = []
        for k, (p, grad) in enumerate(state):
            m[k] = 0.9 * m[k] + 0.1 * grad
            v[k] = 0.999 * v[k] + 0.001 * grad**2
            step = m[k] / (1 - 0.9 ** (i + 1)) / ((v[k] / (1 - 0.999 ** (i + 1))).sqrt() + 1e-8)
            base = seen[kept_at[i]][k][0] if i in reverted else p
            after.append(base - 0.01 * step)
        if i + 1 < len(seen):
            for expected, (actual, _) in zip(after, seen[i + 1], strict=True):
                # Adam's v is near 0 where a gradient is: there its step is the sign of rounding
                torch.testing.assert_close(actual, expected, atol=1e-4, rtol=0)


def test_a_drop_brings_the_kept_parameters_back_and_adam_still_steps(monkeypatch):
    # 16 after 20 is a drop of 4: kept, and the new mark; 12 after 16 likewise; 6.9 after 12 is more than 5: back
    drops = {4: 16.0, 5: 12.0, 6: 6.9, 7: 6.9, 8: 7.0, 10: 14.9, 11: 15.0}
    curve, seen = scripted(monkeypatch, drops, 14)
    # 8: exactly 5 below 12 is no drop. 9 is 20 again: 10 is a drop of 5.1, 11 of exactly 5
    reverted = {6, 7, 10}
    assert {row[0] for row in curve if row[5]} == reverted
    replay(seen, reverted, {6: 5, 7: 5, 10: 9})
    back = [(a - b).abs().max() for (a, _), (b, _) in zip(seen[7], seen[5], strict=True)]
    assert max(back) > 1e-3  # not the kept ones themselves: Adam has stepped on them


def test_multiples_of_100_of_a_counter_that_stands_still_at_a_drop(monkeypatch):
    # At 0 the counter is 0: no way back. The drop at 5 leaves the counter one behind, so that it is 99, not 100, at
    # iteration 100; and as it stands still at a drop, it stays 99 from there on.
    drops = {0: -10.0, 5: 10.0, 100: 10.0, 101: 10.0, 102: 10.0, 103: 10.0}
    curve, seen = scripted(monkeypatch, drops, 106)
    reverted = {5, 100, 101, 102, 103}
    assert {row[0] for row in curve if row[5]} == reverted
    replay(seen, reverted, {5: 4, 100: 99, 101: 99, 102: 99, 103: 99})


def test_a_multiple_of_100_neither_goes_back_nor_keeps(monkeypatch):
    # With one drop before it, iteration 101 has the counter at 100: its drop goes unpunished, and neither its
    # parameters nor its PSNR are kept.
    curve, seen = scripted(monkeypatch, {50: 10.0, 101: 10.0, 102: 10.0}, 105)
    assert {row[0] for row in curve if row[5]} == {50, 102}
    replay(seen, {50, 102}, {50: 49, 102: 100})


def test_a_loss_that_is_not_finite_stops_with_iteration_and_learning_rate(monkeypatch):
    monkeypatch.setattr(dip_fit, "LEARNING_RATE", 1e37)
    with pytest.raises(UserError, match="DIP fit: the loss became nan at iteration 1, with learning rate 1e.37"):
        dip_fit.fit_dip(digit(), 5, 0)


# --- many images ---


def digits(count=40):
    from sklearn.datasets import load_digits

    return np.kron(load_digits().images[:count, None] * 255 / 16, np.ones((2, 2))).astype(np.uint8)


def test_a_net_fitted_to_many_images_restores_one_that_it_has_not_seen():
    images = digits()
    fit = dip_fit.fit_many(images[:32], 80, seed=0)
    columns = np.array(fit.curve, dtype=float).T
    np.testing.assert_allclose(columns[3], -10 * np.log10(columns[1]), atol=1e-4)  # the loss is to the clean images
    assert columns[0].tolist() == list(range(80)) and np.isnan(columns[4]).all() and not columns[5].any()
    assert columns[3, -10:].mean() > columns[3, 0] + 5
    clean = torch.cat([dip_fit.at_own_size(image, 32) for image in images[32:]])
    noisy = clean + 25 / 255 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        restored = fit.net(noisy)
    assert len(restored) == 8 and len(restored.flatten(1).unique(dim=0)) == 8
    for image, of in zip(restored, clean, strict=True):  # each is its own, not the mean of all
        assert dip_fit.psnr(image, of) > dip_fit.psnr(clean.mean(0), of) + 1
    assert torch.equal(fit.clean, dip_fit.at_own_size(images[0], 32)) and fit.output.shape == fit.noisy.shape
    assert abs((fit.noisy - fit.clean).std() / (25 / 255) - 1) < 0.1


def test_a_fit_to_many_images_is_a_function_of_its_seed_and_of_all_images():
    images = digits()
    runs = [dip_fit.fit_many(images, 4, seed=seed).curve for seed in (0, 0, 1)]
    losses = [[row[1] for row in curve] for curve in runs]
    assert losses[0] == losses[1] != losses[2]
    assert dip_fit.fit_many(images[:1], 4, seed=0).curve[0][1] != losses[0][0]


# --- the stage ---

OUTPUTS = {"weights": "dip/weights.safetensors", "curve": "dip/fit.csv", "pictures": "dip/fit.npz"}


def fitted(folder, replicate, iterations=60, outputs=OUTPUTS):
    settings = {"iterations": iterations, "size": 32, "replicate": replicate}
    jobfile.run("fit_dip", jobfile.write(folder, "fit_dip", settings, {"data": "data.npz"}, outputs))


def test_fit_stage(fit, tmp_path, capsys):
    files.write_npz(tmp_path / "data.npz", train=np.stack([digit(), 0 * digit()]))
    fitted(tmp_path, 0)
    with open(tmp_path / OUTPUTS["curve"], newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["iteration", "loss", "psnr_noisy", "psnr_clean", "psnr_smoothed", "reverted"]
    assert [float(row[2]) for row in rows] == [row[2] for row in fit.curve] and {row[5] for row in rows} == {"False"}
    arrays = files.read_npz(tmp_path / OUTPUTS["pictures"])
    assert np.array_equal(arrays["noisy"], fit.noisy.numpy()) and np.array_equal(arrays["clean"], fit.clean.numpy())
    tensors, header = files.read_safetensors(tmp_path / OUTPUTS["weights"])
    assert header == {"network": "dip", "image_channels": "1", "size": "32", "iterations": "60", "seed": "0"}
    net = build_dip()
    net.load_state_dict(tensors)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), fit.net.parameters(), strict=True))
    last = fit.curve[-1]
    assert f"loss {last[1]:.6f}, PSNR {last[2]:.2f} dB to the noisy image" in capsys.readouterr().out
    for output in OUTPUTS.values():
        record = read_record(tmp_path / output)
        assert record["read"] == {"data.npz": files.sha256(tmp_path / "data.npz")}
        assert record["work"] == {"iterations": 60}


def test_the_stage_fits_to_many_images_where_its_job_says_so(tmp_path):
    images = digits(3)
    files.write_npz(tmp_path / "data.npz", train=images)
    settings = {"iterations": 3, "size": 32, "replicate": 7, "many": True}  # no number of a training image
    jobfile.run("fit_dip", jobfile.write(tmp_path, "fit_dip", settings, {"data": "data.npz"}, OUTPUTS))
    expected = dip_fit.fit_many(images, 3, 7)
    tensors, _ = files.read_safetensors(tmp_path / OUTPUTS["weights"])
    assert all(torch.equal(tensors[name], tensor) for name, tensor in expected.net.state_dict().items())
    assert np.array_equal(files.read_npz(tmp_path / OUTPUTS["pictures"])["output"], expected.output.numpy())


def test_a_replicate_is_the_training_image_and_the_seed(tmp_path):
    train = np.stack([digit(), digit().transpose(0, 2, 1), 255 - digit()])
    files.write_npz(tmp_path / "data.npz", train=train)
    for replicate in range(3):
        fitted(tmp_path, replicate, iterations=3)
        expected = dip_fit.fit_dip(train[replicate], 3, seed=replicate)
        arrays = files.read_npz(tmp_path / OUTPUTS["pictures"])
        for name in ("clean", "noisy", "output"):
            assert np.array_equal(arrays[name], getattr(expected, name).numpy())
    with pytest.raises(UserError, match=r"seeds\.replicates: 3 is .* but there are 3 training images"):
        fitted(tmp_path, 3, outputs={"weights": "never/w", "curve": "never/c", "pictures": "never/p"})
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_net_has_a_size_of_its_own(channels):
    fit = dip_fit.fit_dip(digit(channels), 2, seed=0, size=64)
    assert fit.clean.shape == fit.output.shape == (1, channels, 64, 64)
    other = dip_fit.fit_many(np.stack([digit(channels)] * 2), 2, seed=0, size=16)
    assert other.output.shape == (1, channels, 16, 16)
