"""The stage `sample`: its arrays are the chain's, by hand; images append; a wrong cell is one message."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import drawing
import jobfile
from drawing import SHAPE, TRAIN, lively_unet, random_dip, random_gan

from ddpm_dip.evaluation import haar
from ddpm_dip.jobs import files, job
from ddpm_dip.jobs.errors import UserError
from ddpm_dip.models.scale import to_model_range
from ddpm_dip.models.schedule import linear_schedule, truncated_timesteps
from ddpm_dip.sampling import SAMPLERS, backend_choice, samplers, warm_starts, with_chain
from ddpm_dip.sampling.generators import Weights
from ddpm_dip.sampling.noise import ancestral_noise, keyed_noise
from ddpm_dip.stages import sample

NEEDS_OPENVINO = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")
NEEDS_LANES = pytest.mark.skipif(not backend_choice.has_lanes(), reason="no llvmlite, or a CPU without AVX2")
BACKENDS = [
    "torch",
    pytest.param("openvino", marks=NEEDS_OPENVINO),
    pytest.param("lanes", marks=NEEDS_LANES),
]
UNET = {"data": "data.npz", "weights": "unet.safetensors"}
DIP = {"dip": "dip.safetensors"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return drawing.write(tmp_path_factory.mktemp("sampling"))


def draw(folder, cell, n, inputs=UNET, family="unet", backend="torch", name="cell", threads=1):
    """Run the stage; returns its output's path."""
    settings = {"family": family, "cell": cell, "n": n, "backend": backend}
    path = jobfile.write(folder, "sample", settings, inputs, {"samples": f"samples/{name}.npz"}, name)
    jobfile.run("sample", path, threads)
    return folder / f"samples/{name}.npz"


def context(indices, steps, passes=None, dip=None):
    mean = to_model_range(TRAIN.mean(0, keepdims=True))
    given = {"steps": steps, "passes": passes, "schedule": linear_schedule(), "dip": dip}
    return with_chain.context_of(mean, indices, replicate=3, **given)


def timesteps(cell):
    return samplers.timesteps(samplers.find(cell["sampler"]), cell["nfe"], cell["steps"], linear_schedule())


@torch.inference_mode()
def states(cell, n):
    """Each state of one chain of n samples, t = K-1 .. -1, all in one batch."""
    kept, around = [], context(range(n), cell["steps"], cell["passes"], random_dip())
    x = warm_starts.find(cell["start"]).start(around)
    last = SAMPLERS[cell["sampler"]](
        lively_unet(), x, timesteps(cell), linear_schedule(),
        ancestral_noise(3, range(n), SHAPE), clip_x0=cell["clip_x0"], callback=lambda t, x: kept.append(x.clone()),
    )  # fmt: skip
    return torch.stack([*kept, last]).double().numpy()


@pytest.mark.parametrize(
    "axes",
    [
        {"start": "dip", "passes": 2},
        {"sampler": "ancestral-small", "steps": 300, "nfe": 6},
        {"sampler": "ddim", "steps": 1000, "nfe": 5, "clip_x0": True},
        {"start": "mean-image", "sampler": "dpmpp-2m", "steps": 300, "nfe": 5},
    ],
    ids=lambda axes: axes.get("sampler", "dip"),
)
def test_a_cell_is_its_chain_by_hand(made, axes):
    cell = drawing.unet_cell(**axes)
    output = draw(made, cell, 5, UNET | (DIP if "passes" in axes else {}))
    file = files.read_npz(output)
    paths = {"mean_path", "sd_path", "frames", "frame_timesteps", "noise_path", "noise_timesteps", "starts"} | {
        "alpha_cumprod"
    }
    assert file.keys() == {"samples", "cell"} | paths
    assert json.loads(str(file["cell"])) == cell
    assert file["samples"].shape == (5, *SHAPE) and file["samples"].dtype == np.float32
    path, size = states(cell, 5), 1.0
    size = max(size, np.abs(path).max())
    np.testing.assert_allclose(file["samples"], path[-1], atol=1e-4 * size)
    means = path.mean((2, 3, 4))
    np.testing.assert_allclose(file["mean_path"], means.mean(1), atol=1e-5 * size)
    np.testing.assert_allclose(file["sd_path"], means.std(1), atol=1e-5 * size)
    np.testing.assert_allclose(file["mean_path"][-1], file["samples"].mean(), atol=1e-6 * size)
    np.testing.assert_allclose(file["sd_path"][-1], file["samples"].mean((1, 2, 3)).std(), atol=1e-6 * size)
    assert file["starts"].dtype == np.float16
    np.testing.assert_allclose(file["starts"], path[0], atol=2e-3 * size)
    assert file["frame_timesteps"].tolist() == [*timesteps(cell), -1]
    np.testing.assert_allclose(file["frames"], path, atol=2e-3 * size)  # 16-bit
    assert np.array_equal(file["frames"][-1], file["samples"].astype(np.float16))
    assert file["noise_timesteps"].tolist() == file["frame_timesteps"].tolist()
    noise = [haar.noise_sd(state).mean() for state in path]
    np.testing.assert_allclose(file["noise_path"], noise, atol=1e-5 * size)
    record = job.read_record(output)
    assert record["sha256"] == files.sha256(output) and record["job"]["settings"]["cell"] == cell
    assert record["work"] == {"image-steps": 5 * cell["nfe"]} and record["kept"] == 0
    assert (record["network"], record["image_shape"], record["backend"]) == ("hw4-sees", [1, 16, 16], "torch")


@pytest.mark.parametrize(
    ("axes", "inputs"),
    [
        ({"start": "gan-renoised"}, {"gan": "gan.safetensors"}),
        ({"start": "dip-many", "passes": 1}, {"dip-many": "dip.safetensors"}),
        ({"start": "dip-untrained", "passes": 1}, {}),
        ({"start": "class-gaussians"}, {"data": "labelled.npz"}),
    ],
    ids=lambda axes: axes.get("start", ""),
)
def test_a_start_gets_the_inputs_of_its_job(made, axes, inputs):
    labels = np.arange(20) % 3
    files.write_npz(made / "labelled.npz", train=TRAIN, train_labels=labels)
    cell = drawing.unet_cell(**axes)
    file = files.read_npz(draw(made, cell, 3, UNET | inputs, name=axes["start"]))
    gan = {f"last.{name}": tensor for name, tensor in random_gan().state_dict().items()}
    header = {"family": "dcgan", "network": "dcgan", "image_shape": "1x16x16", "latent_dim": "100", "width": "8"}
    make = with_chain.contexts(
        warm_starts.find(cell["start"]), steps=4, passes=cell["passes"], replicate=3, schedule=linear_schedule(),
        train=TRAIN, labels=labels,
        dip=Weights("dip", random_dip().state_dict(), {"network": "dip", "image_channels": "1"}),
        gan=Weights("gan", gan, header), backend="torch", threads=1, batch=64,
    )  # fmt: skip
    with torch.inference_mode():
        x = warm_starts.draw(warm_starts.find(cell["start"]), make(range(3)))
    np.testing.assert_allclose(file["starts"], x.numpy(), atol=2e-3)


def test_many_samples_are_drawn_in_batches(made):
    cell = drawing.unet_cell(steps=50)
    file = files.read_npz(draw(made, cell, 66))
    path = states(cell, 66)
    np.testing.assert_allclose(file["samples"], path[-1], atol=1e-4)
    np.testing.assert_allclose(file["mean_path"], path.mean((1, 2, 3, 4)), atol=1e-5)
    np.testing.assert_allclose(file["sd_path"], path.mean((2, 3, 4)).std(1), atol=1e-5)
    times = file["frame_timesteps"]
    assert len(times) == 40 and times[0] == 49 and times[-1] == -1 and (np.diff(times) < 0).all()
    assert np.diff(times).min() >= -2  # evenly spread
    np.testing.assert_allclose(file["frames"], path[49 - times, :8], atol=5e-3)
    assert np.array_equal(file["starts"], keyed_noise(3, "latents", range(66), SHAPE).half().numpy())
    assert np.array_equal(file["noise_timesteps"], times)
    noise = [haar.noise_sd(state).mean() for state in path[49 - times]]  # over all samples, not the first 8
    np.testing.assert_allclose(file["noise_path"], noise, atol=1e-5)
    assert noise[0] == pytest.approx(1, abs=0.05)  # plain noise


def test_a_dip_net_alone(made):
    output = draw(made, drawing.cell(model="dip", passes=2), 5, {"data": "data.npz"} | DIP, "dip", "auto")
    file = files.read_npz(output)
    assert file.keys() == {"samples", "cell"}
    start = warm_starts.find("dip").start(context(range(5), 0, 2, random_dip())).detach().numpy()
    # from a DIP net's [0, 1]; the default backend rounds in its own way, and two passes make 50 times as much of that
    np.testing.assert_allclose(file["samples"], 2 * start - 1, atol=1e-3)
    assert job.read_record(output)["work"] == {"images": 5}


def test_a_dcgan_s_samples_are_its_generator_s_of_keyed_latents(made):
    cell = drawing.cell(model="gan", epochs=2)
    three, five = (
        files.read_npz(draw(made, cell, n, {"weights": "gan.safetensors"}, "dcgan", None, f"gan{n}")) for n in (3, 5)
    )
    assert np.array_equal(three["samples"], five["samples"][:3]) and five["samples"].shape == (5, *SHAPE)
    assert five.keys() == {"samples", "cell"} and json.loads(str(five["cell"])) == cell
    assert np.abs(five["samples"]).max() <= 1
    with torch.inference_mode():
        latents = keyed_noise(3, "gan-latents", range(5), (100,))
        by_hand = torch.cat([random_gan()(latent[None]) for latent in latents]).numpy()
    assert np.array_equal(by_hand, five["samples"])


def test_each_kind_of_weights_is_its_own(made):
    ema, last = (
        files.read_npz(draw(made, drawing.unet_cell(weights=kind), 2, name=kind))["samples"] for kind in ("ema", "last")
    )
    x = keyed_noise(3, "latents", range(2), SHAPE)
    idle = SAMPLERS["ancestral"](
        lambda x, t: torch.zeros_like(x), x, truncated_timesteps(4), linear_schedule(),
        ancestral_noise(3, range(2), SHAPE),
    )  # fmt: skip
    np.testing.assert_allclose(last, idle, atol=1e-6)  # its weights are all zeros
    assert np.abs(ema - last).max() > 0.01
    with pytest.raises(UserError, match=r"unet\.safetensors: holds no weights 'best'; it has ema, last"):
        draw(made, drawing.unet_cell(weights="best"), 2)


# --- more images ---


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("first", "n", "sampler"), [(3, 7, "dpmpp-2m"), (9, 12, "ancestral"), (5, 70, "ancestral")])
def test_more_images_append_and_the_first_ones_stay_bit_for_bit(tmp_path, first, n, sampler, backend):
    folder, cell = drawing.write(tmp_path), drawing.unet_cell(sampler=sampler, steps=3)
    output = draw(folder, cell, first, backend=backend)
    before = files.read_npz(output)
    draw(folder, cell, n, backend=backend)
    after, record = files.read_npz(output), job.read_record(output)
    assert np.array_equal(after["samples"][:first], before["samples"]) and record["kept"] == first
    assert record["work"] == {"image-steps": (n - first) * 3} and record["job"]["settings"]["n"] == n
    at_once = files.read_npz(draw(folder, cell, n, backend=backend, name="at-once"))
    assert at_once.keys() == after.keys()
    for name, array in at_once.items():
        assert after[name].shape == array.shape and after[name].dtype == array.dtype
        if name != "cell":
            np.testing.assert_allclose(after[name], array, atol=2e-3 if name in ("frames", "starts") else 1e-5)
    assert np.array_equal(after["frames"][:, : min(8, first)], before["frames"])
    shown = after["samples"][:8].astype(np.float16)
    assert np.array_equal(after["frames"][-1], shown)


@pytest.mark.parametrize("backend", BACKENDS)
def test_images_of_a_family_without_a_chain_append_too(tmp_path, backend):
    folder, inputs = drawing.write(tmp_path), {"data": "data.npz"} | DIP
    for family, cell, read in (
        ("dip", drawing.cell(model="dip", passes=1), inputs),
        ("dcgan", drawing.cell(model="gan", epochs=1), {"weights": "gan.safetensors"}),
    ):
        before = files.read_npz(draw(folder, cell, 2, read, family, backend, family))["samples"]
        after = files.read_npz(draw(folder, cell, 5, read, family, backend, family))["samples"]
        assert len(after) == 5 and np.array_equal(after[:2], before)
        assert len(np.unique(after.reshape(5, -1), axis=0)) == 5


def test_nothing_is_kept_of_another_job_s_images(tmp_path, monkeypatch):
    folder, drawn = drawing.write(tmp_path), []
    real = sample.draw
    monkeypatch.setattr(sample, "draw", lambda generator, indices: drawn.append(indices) or real(generator, indices))
    cell = drawing.unet_cell()
    draw(folder, cell, 4)
    draw(folder, cell, 4)  # the same job: all again
    draw(folder, cell, 2)  # fewer
    draw(folder, cell | {"clip_x0": True}, 3)  # another cell
    draw(folder, cell, 5, UNET | DIP)  # another job
    draw(folder, cell, 6, UNET | DIP)
    (folder / "samples/cell.npz").unlink()
    draw(folder, cell, 7, UNET | DIP)  # lost meanwhile
    expected = [range(4), range(4), range(2), range(3), range(5), range(5, 6), range(7)]
    assert drawn == expected


def test_an_altered_output_is_named_and_not_built_on(tmp_path):
    folder, cell = drawing.write(tmp_path), drawing.unet_cell()
    output = draw(folder, cell, 2)
    arrays = files.read_npz(output)
    files.write_npz(output, **arrays | {"samples": arrays["samples"] + 1})
    with pytest.raises(UserError, match=r"samples/cell\.npz: altered or damaged since it was made"):
        draw(folder, cell, 3)


def test_samples_do_not_depend_on_the_number_of_threads(made):
    try:
        one, two = (
            files.read_npz(draw(made, drawing.unet_cell(), 9, threads=threads, name=f"threads{threads}"))["samples"]
            for threads in (1, 2)
        )
    finally:
        torch.set_num_threads(1)
    np.testing.assert_allclose(two, one, atol=1e-5)


# --- what cannot be ---


@pytest.mark.parametrize(
    ("axes", "inputs", "message"),
    [
        ({"steps": 0}, UNET, "1 <= nfe <= steps <= 1000, not nfe 0 and steps 0"),
        ({"steps": 1001}, UNET, "1 <= nfe <= steps <= 1000, not nfe 1001 and steps 1001"),
        ({"nfe": 5}, UNET, "1 <= nfe <= steps <= 1000, not nfe 5 and steps 4"),
        ({}, {"data": "data.npz"}, "needs the input `weights`"),
        ({"start": "dip", "passes": 2}, UNET, "the start dip needs the input `dip`, and passes from 1 up"),
        ({"start": "dip"}, UNET | DIP, "the start dip needs the input `dip`, and passes from 1 up"),
        ({"start": "nose"}, UNET, "start: 'nose' is unknown; known are class-gaussians, dip, dip-every"),
        ({"start": "dip-renoised", "passes": 2}, UNET, "the start dip-renoised needs the input `dip`, and passes from"),
        ({"start": "gan-renoised"}, UNET, "the start gan-renoised needs the input `gan`, the weights of a DCGAN"),
        ({"start": "class-gaussians"}, UNET, "the start class-gaussians needs the labels of the training images"),
        ({"sampler": "ddpm"}, UNET, "sampler: 'ddpm' is unknown; known are ancestral"),
        ({}, {"data": "data.npz", "weights": "gan.safetensors"}, "network 'dcgan' is unknown"),
        ({}, {"data": "data.npz", "weights": "dip.safetensors"}, "not the weights of a model"),
        ({"start": "dip", "passes": 1}, UNET | {"dip": "unet.safetensors"}, "not the weights of a DIP net for 1 chan"),
    ],
)
def test_what_cannot_be_is_one_message(made, axes, inputs, message):
    with pytest.raises(UserError, match=message):
        draw(made, drawing.unet_cell(**axes), 2, inputs, name="never")
    assert not (made / "samples/never.npz").exists()


def test_another_family_s_files_are_one_message(made):
    with pytest.raises(UserError, match="not the weights of a DCGAN's generator, but of hw4-sees"):
        draw(made, drawing.cell(epochs=1), 2, {"weights": "unet.safetensors"}, "dcgan", None, "never")
    with pytest.raises(UserError, match="needs the input `dip`"):
        draw(made, drawing.cell(passes=1), 2, {"data": "data.npz"}, "dip", "torch", "never")
    with pytest.raises(UserError, match="family: 'vae' is unknown; known are dcgan, diffusers, dip, torch, unet"):
        draw(made, drawing.cell(), 2, {}, "vae", None, "never")
    with pytest.raises(UserError, match=r"settings\.n: 0; right is a whole number from 1 up"):
        draw(made, drawing.unet_cell(), 0, name="never")


def test_weights_for_other_images_are_named(made, tmp_path):
    folder = drawing.write(tmp_path)
    files.write_npz(folder / "data.npz", train=np.zeros((2, 1, 20, 20), np.uint8))
    with pytest.raises(UserError, match=r"unet\.safetensors: made for images of 1x16x16, not of 1x20x20"):
        draw(folder, drawing.unet_cell(), 2)
