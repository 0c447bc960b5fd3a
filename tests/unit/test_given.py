"""Nets that were trained elsewhere: our chains are diffusers' own, and what cannot be used is one message."""

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import drawing
import given_models
import jobfile
from given_models import ARCHITECTURE, KINDS, edited, untrained
from safetensors.torch import load_file, save_file

from ddpm_dip import study
from ddpm_dip.jobs import files
from ddpm_dip.jobs.errors import UserError
from ddpm_dip.models import schedule
from ddpm_dip.sampling import generators
from ddpm_dip.sampling.noise import keyed_noise
from ddpm_dip.study import given, plan

from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, UNet2DModel  # isort: skip, after given_models
from diffusers.pipelines.ddim import pipeline_ddim  # isort: skip
from diffusers.pipelines.ddpm import pipeline_ddpm  # isort: skip
from diffusers.schedulers import scheduling_ddpm  # isort: skip

SHAPE, N = (1, 16, 16), 2
MACHINE = plan.Machine("lanes", "torch", "openvino", 8, "torch")
TORCH_NET = """
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.embedding = nn.Conv2d(1, 1, 3, padding=1), nn.Embedding(50, 1)

    def forward(self, x, t):
        return self.conv(x) + self.embedding(t)[:, :, None, None]


def build():
    return Net()
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a trained pipeline of each kind, each made when it is first asked for."""
    folder = tmp_path_factory.mktemp("given")

    def of(kind: str) -> Path:
        if not (folder / kind).exists():
            given_models.trained(kind).save_pretrained(folder / kind)
        return folder / kind

    return of


def config_of(**model) -> dict:
    config = given_models.default_config()
    config["models"] = {"mine": model}
    config["experiments"] = {"one": {"grid": {"model": "mine"}}}
    return config | {"claims": {}, "timing": None}


def taken(folder: Path, **model) -> generators.Weights:
    """A given model's first net, by the job that a plan has of it, run in `folder`."""
    (output,) = done(folder, "import_model", config_of(**model))
    return generators.Weights(output, *files.read_safetensors(output))


def done(folder: Path, stage: str, config: dict) -> list[Path]:
    """The results of a study's jobs of one stage, each run in `folder` as the plan has it."""
    made = []
    for job in (job for job in plan.plan(study.read(config), MACHINE) if job.stage == stage):
        settings = json.loads(json.dumps(job.settings))
        jobfile.run(stage, jobfile.write(folder, stage, settings, job.inputs, job.outputs, job.name))
        made += [folder / output for output in job.outputs.values()]
    return made


def drawn(family: str, weights: generators.Weights, backend: str = "torch", batch: int = N, **axes):
    """Images and every state of a chain."""
    cell = drawing.cell(model="mine", replicate=0, start="noise") | axes
    given_to = {"dip": None, "train": np.zeros((4, *SHAPE), np.uint8), "backend": backend, "threads": 1}
    generator = generators.build(family, cell, weights=weights, batch=batch, **given_to)
    states = []
    images = generator.draw(range(N), lambda t, x: states.append(x.clone()))
    return images, torch.stack([*states, images])


@pytest.fixture
def same_noise(monkeypatch):
    """diffusers draws what ours does: the latents, then each step's."""

    def latents(shape, **options):
        return keyed_noise(0, "latents", range(N), SHAPE)

    waiting = []
    monkeypatch.setattr(pipeline_ddpm, "randn_tensor", latents)
    monkeypatch.setattr(pipeline_ddim, "randn_tensor", latents)
    monkeypatch.setattr(scheduling_ddpm, "randn_tensor", lambda *args, **options: waiting.pop(0))
    return waiting


def states_of(pipeline, timesteps: int, **options) -> torch.Tensor:
    """Every state of diffusers' own pipeline, the first one left out."""
    states, step = [], pipeline.scheduler.step

    def recorded(*args, **kwargs):
        result = step(*args, **kwargs)
        states.append(result.prev_sample.clone())
        return result

    pipeline.scheduler.step = recorded
    pipeline.set_progress_bar_config(disable=True)
    pipeline(batch_size=N, num_inference_steps=timesteps, output_type="np", **options)
    return torch.stack(states)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_chain_from_noise_is_diffusers_own_pipeline(kind, saved, same_noise, tmp_path):
    timesteps = KINDS[kind][0]
    folder = saved(kind)
    pipeline = pipeline_ddpm.DDPMPipeline.from_pretrained(folder)
    noise = [keyed_noise(0, "ancestral", range(N), SHAPE, t) for t in range(timesteps - 1, 0, -1)]
    same_noise.extend(noise)
    theirs = as_it_is = states_of(pipeline, timesteps)
    if kind == "v-cosine":
        # of 1000 timesteps, 1 - alphas_cumprod begins at 4e-5: in the pipeline's float32 the posterior's two weights at
        # small t are off by 2e-4 together, and so is a pixel
        own = schedule.schedule_of(1000, "squaredcos_cap_v2").alphas_cumprod
        pipeline.scheduler.alphas_cumprod, pipeline.scheduler.one = own, torch.ones((), dtype=torch.float64)
        same_noise.extend(noise)
        theirs = states_of(pipeline, timesteps)
    weights = taken(tmp_path, family="diffusers", path=str(folder))
    axes = {"sampler": "ancestral-small", "clip_x0": True, "steps": timesteps, "nfe": timesteps}
    images, ours = drawn("diffusers", weights, **axes)
    assert images.abs().max() <= 1 + 1e-6 and images.std() > 0.1 and not same_noise
    assert (ours[1:] - theirs).abs().max() < 1e-4
    assert (ours[1:] - as_it_is).abs().max() < 3e-4


def test_a_pipeline_of_old_in_one_folder_with_old_names_is_taken_as_diffusers_takes_it(saved, tmp_path):
    """As the first public checkpoints are: no folders of parts, and attention's layers by their former names."""
    folder = shutil.copytree(saved("epsilon-cosine"), tmp_path / "old")
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = load_file(folder / "unet/diffusion_pytorch_model.safetensors")
    for new, old in names.items():
        tensors = {name.replace(f".{new}.", f".{old}."): tensor for name, tensor in tensors.items()}
    assert any(".proj_attn." in name for name in tensors)
    save_file(tensors, folder / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    for part, name in (("unet", "config.json"), ("scheduler", "scheduler_config.json")):
        (folder / part / name).rename(folder / name)
        shutil.rmtree(folder / part)
    weights = taken(tmp_path, family="diffusers", path=str(folder))
    net, own = generators.find("diffusers").ready(weights, None, SHAPE)
    theirs = DDPMPipeline.from_pretrained(folder)
    x, t = torch.randn(N, *SHAPE), torch.tensor([50])
    assert (
        torch.equal(net(x, t), theirs.unet(x, t).sample)
        and len(own.betas) == theirs.scheduler.config.num_train_timesteps
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["epsilon-cosine", "v"])
def test_a_ddim_chain_is_diffusers_own_pipeline(kind, saved, same_noise, tmp_path):
    folder = saved(kind)
    net = UNet2DModel.from_pretrained(folder / "unet")
    pipeline = DDIMPipeline(net, DDIMScheduler.from_config(DDIMScheduler.load_config(folder / "scheduler")))
    theirs = states_of(pipeline, 100, use_clipped_model_output=True)
    axes = {"sampler": "ddim", "clip_x0": True, "steps": 100, "nfe": 100}
    weights = taken(tmp_path, family="diffusers", path=str(folder))
    _, ours = drawn("diffusers", weights, **axes)
    assert (ours[1:] - theirs).abs().max() < 1e-4
    _, truncated = drawn("diffusers", weights, **axes | {"steps": 40, "nfe": 40})  # K is of the net's own timesteps
    assert len(truncated) == 41


@pytest.mark.slow
@pytest.mark.parametrize("family", ["diffusers", "torch"])
def test_openvino_draws_what_eager_draws(family, saved, tmp_path):
    pytest.importorskip("openvino")
    weights = taken(tmp_path, **of_family(family, saved, tmp_path))
    axes = {"sampler": "ddim", "clip_x0": True, "steps": 50, "nfe": 6}
    eager, _ = drawn(family, weights, **axes)
    converted, _ = drawn(family, weights, "openvino", batch=4, **axes)  # a smaller batch than it was converted for
    assert (eager - converted).abs().max() < 1e-4


def test_the_ends_of_a_strip_between_two_latents_are_samples_of_the_given_net(saved, tmp_path):
    config = config_of(family="diffusers", path=str(saved("v")))
    way = {"models": ["mine"], "paths": ["linear"], "samplers": ["ddim", "ancestral"], "noise": ["independent"]}
    config["experiments"]["interpolation"] = way | {"steps": 100, "ddim_steps": 10, "pairs": 1, "points": 3}
    config["sampling"]["clip_x0"] = True
    (output,) = done(tmp_path, "import_model", config)
    weights = generators.Weights(output, *files.read_safetensors(output))
    strips = [files.read_npz(path) for path in done(tmp_path, "interpolate", config)]
    found = {json.loads(str(strip["names"]))["sampler"]: torch.from_numpy(strip["images"][0]) for strip in strips}
    assert set(found) == {"ddim", "ancestral"} and all(strip.shape == (3, *SHAPE) for strip in found.values())
    images, _ = drawn("diffusers", weights, sampler="ddim", clip_x0=True, steps=100, nfe=10)
    torch.testing.assert_close(found["ddim"][[0, -1]], images, atol=1e-4, rtol=0)
    assert (found["ddim"][1] - images).abs().amax((1, 2, 3)).min() > 0.05


def of_family(family, saved, folder) -> dict:
    if family == "diffusers":
        return {"family": "diffusers", "path": str(saved("epsilon-cosine"))}
    return torch_model(folder)


def torch_model(folder: Path, code: str = TORCH_NET, schedule: dict | None = None) -> dict:
    (folder / "net.py").write_text(code)
    torch.manual_seed(0)
    space: dict = {}
    exec(TORCH_NET, space)
    save_file(space["build"]().state_dict(), folder / "net.safetensors")
    model = {"family": "torch", "module": f"{folder}/net.py:build", "path": f"{folder}/net.safetensors"}
    return model | {"schedule": {"num_train_timesteps": 50} if schedule is None else schedule}


def test_a_net_of_a_user_s_own_is_called_with_a_timestep_for_each_image(tmp_path):
    weights = taken(tmp_path, **torch_model(tmp_path))
    net, own = generators.find("torch").ready(weights, None, SHAPE)
    x, t = torch.randn(3, *SHAPE), torch.tensor([7])
    space: dict = {}
    exec(TORCH_NET, space)
    plain = space["build"]()
    plain.load_state_dict(load_file(tmp_path / "net.safetensors"))
    assert torch.equal(net(x, t), plain(x, torch.full((3,), 7)))
    assert len(own.betas) == 50 and own.prediction_type == "epsilon"
    (tmp_path / "net.py").write_text(TORCH_NET + "\n# changed\n")
    with pytest.raises(UserError, match=r"net\.py: gone, or changed after this job was planned; run again"):
        generators.find("torch").ready(weights, None, SHAPE)


def test_a_bare_net_has_the_schedule_that_the_configuration_says(saved, tmp_path):
    folder, words = saved("v"), {"num_train_timesteps": 100, "prediction_type": "v_prediction"}
    pipeline = taken(tmp_path / "a", family="diffusers", path=str(folder))
    bare = taken(tmp_path / "b", family="diffusers", path=str(folder / "unet"), schedule=words)
    assert json.loads(bare.header["schedule"]) == json.loads(pipeline.header["schedule"])
    assert all(torch.equal(bare.tensors[name], tensor) for name, tensor in pipeline.tensors.items())


def test_what_is_known_of_schedules_without_torch_is_what_models_have():
    assert tuple(schedule.BETA_SCHEDULES) == given.BETA_SCHEDULES
    assert given.PREDICTION_TYPES == schedule.PREDICTION_TYPES
    ours, usual = schedule.schedule_of(**given.SCHEDULE), schedule.linear_schedule()
    assert torch.equal(ours.betas, usual.betas) and ours.prediction_type == usual.prediction_type
    assert set(given.FAMILIES) < set(generators.FAMILIES)


# --- the plan ---


def test_a_list_of_folders_is_one_a_replicate_and_one_alone_is_replicate_0(tmp_path):
    folders = [str(untrained(tmp_path / name, {"num_train_timesteps": 100}, seed)) for seed, name in enumerate("ab")]
    config = config_of(family="diffusers", path=folders) | {
        "seeds": {"data": 0, "classifiers": [0], "replicates": [0, 1]}
    }
    config["models"] |= {"one": {"family": "diffusers", "path": folders[0]}, "hw4": {"network": "hw4", "epochs": [1]}}
    config["experiments"]["one"]["grid"]["model"] = ["mine", "one", "hw4"]
    asked = study.read(config)
    assert [(cell.model, cell.replicate, cell.steps) for cell in asked.cells] == [
        ("mine", 0, 100), ("mine", 1, 100), ("one", 0, 100), ("hw4", 0, 1000), ("hw4", 1, 1000),
    ]  # fmt: skip
    assert [cell.path for cell in asked.cells][0] == "mine/r0/noise/ancestral/K0100-nfe0100"
    jobs = {(job.stage, job.name): job for job in plan.plan(asked, MACHINE)}
    imports = {name: job.settings["files"] for (stage, name), job in jobs.items() if stage == "import_model"}
    assert imports.keys() == {"mine/r0", "mine/r1", "one/r0"}
    assert imports["mine/r0"] == imports["one/r0"] != imports["mine/r1"]
    assert imports["mine/r1"][1][1] == files.sha256(f"{folders[1]}/unet/diffusion_pytorch_model.safetensors")
    backends = {
        job.settings["cell"]["model"]: job.settings["backend"] for (stage, _), job in jobs.items() if stage == "sample"
    }
    assert backends == {"mine": "openvino", "one": "openvino", "hw4": "lanes"}
    assert {name.split("/")[0] for stage, name in jobs if stage == "train"} == {"hw4"}
    sampled = jobs["sample", "mine/r1/noise/ancestral/K0100-nfe0100"]
    assert sampled.inputs["weights"] == "models/mine/r1/weights.safetensors"
    assert plan.to_preload(asked) == ("ddpm_dip.data.torchvision_import", "diffusers.models.unets.unet_2d")


def test_one_net_twice_is_no_replicate(tmp_path):
    folder = untrained(tmp_path / "a")
    config = config_of(family="diffusers", path=[str(folder), str(untrained(tmp_path / "b")), f"{folder}/../a"])
    with pytest.raises(UserError, match=r"models\.mine\.path\.1 is the same net as path\.0: replicates are nets that"):
        plan.plan(study.read(config), MACHINE)


def test_replicates_that_diffusers_saved_again_are_alike(tmp_path):
    folders = [untrained(tmp_path / name, seed=seed) for seed, name in enumerate("abc")]
    DDPMPipeline.from_pretrained(folders[1]).save_pretrained(folders[1])  # its configuration now names its folder
    assert "_name_or_path" in files.read_json(folders[1] / "unet/config.json")
    assert len(study.read(config_of(family="diffusers", path=list(map(str, folders)))).cells) == 3


def test_a_claim_on_ways_between_latents_is_about_the_nets_that_there_are_and_changes_with_them(tmp_path):
    folders = [str(untrained(tmp_path / name, seed=seed)) for seed, name in enumerate("abc")]
    digests = []
    for path in (folders[:1], folders):
        config = config_of(family="diffusers", path=path)
        ways = {"models": ["mine"], "paths": ["linear", "spherical"], "samplers": ["ddim"], "noise": ["shared"]}
        config["experiments"]["interpolation"] = ways | {"steps": 9, "ddim_steps": 9, "pairs": 8, "points": 3}
        claim = {"better": {"path": "spherical"}, "than": {"path": "linear"}, "at": {"model": "mine"}}
        config["claims"] = {"ways": claim | {"metric": "path_ratio"}}
        (claim,) = study.read(config).claims
        assert [list(stratum.a) for stratum in claim.rows["mine"]] == [list(range(len(path)))], claim
        digests.append(claim.digest)
    assert len(set(digests)) == 2


def test_a_study_with_given_nets_is_read_without_torch_and_diffusers(tmp_path):
    folder = untrained(tmp_path / "net")
    (tmp_path / "config.json").write_text(json.dumps(config_of(family="diffusers", path=str(folder))))
    code = f"""
import json, sys
from ddpm_dip import study
study.read(json.load(open({str(tmp_path / "config.json")!r})))
assert not {{"torch", "diffusers"}} & set(sys.modules)
"""
    environment = {"PYTHONPATH": str(Path(study.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


# --- what cannot be used ---


def refused(message: str, **model) -> None:
    with pytest.raises(UserError) as caught:
        study.read(config_of(**model))
    lines = str(caught.value).splitlines()
    assert len(lines) == 1 and lines[0].startswith("config: models.mine") and message in lines[0], lines


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("unet/config.json", {"num_class_embeds": 10}, "takes a class; conditional nets are not supported"),
        ("unet/config.json", {"_class_name": "UNet2DConditionModel"}, "conditional nets are not supported"),
        ("unet/config.json", {"_class_name": "UNet3DModel"}, "UNet3DModel is not supported; UNet2DModel is"),
        ("unet/config.json", {"out_channels": 2}, "(out_channels 2); learned variance is not supported"),
        ("unet/config.json", {"sample_size": 32}, "it draws images of 32x32 in 1 channel, and data has image_size 16"),
        ("unet/config.json", {"in_channels": 3, "out_channels": 3}, "in 3 channels, and data has image_size 16"),
        ("model_index.json", {"vqvae": ["diffusers", "VQModel"]}, "latents are not supported"),
        ("model_index.json", {"text_encoder": ["a", "b"]}, "conditional nets are not supported"),
        ("scheduler/scheduler_config.json", {"variance_type": "learned_range"}, "learned variance is not supported"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "sigmoid"}, "beta_schedule 'sigmoid' is not supported"),
        ("scheduler/scheduler_config.json", {"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr"),
        ("scheduler/scheduler_config.json", {"prediction_type": "flow"}, "prediction_type 'flow' is not supported"),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 0}, "num_train_timesteps is 0; it must be"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)  # fmt: skip
def test_what_is_not_supported_is_refused_by_name(tmp_path, file, changes, message):
    folder = untrained(tmp_path / "net")
    edited(folder / file, **changes)
    refused(message, family="diffusers", path=str(folder))


def test_a_wrong_folder_a_pickle_and_other_files_are_one_message_each(tmp_path):
    folder = untrained(tmp_path / "net")
    unet = folder / "unet"
    refused(
        "nowhere is not a folder; give one that diffusers wrote", family="diffusers", path=str(tmp_path / "nowhere")
    )
    refused("holds no net (config.json)", family="diffusers", path=str(tmp_path))
    refused("models.mine.schedule is missing: ", family="diffusers", path=str(unet))
    refused("models.mine.schedule: the pipeline ", family="diffusers", path=str(folder), schedule={})
    refused("unknown key 'beta'; did you mean", family="diffusers", path=str(unet), schedule={"beta": 1})
    refused("models.mine.family: 'difusers' is unknown; did you mean 'diffusers'?", family="difusers", path="x")
    refused("models.mine.module: a model of the family diffusers takes path", family="diffusers", path="x", module="y")
    refused("models.mine: path is missing", family="diffusers")
    other = untrained(tmp_path / "other", {"num_train_timesteps": 50})
    refused("models.mine.path.1: ", family="diffusers", path=[str(folder), str(other)])
    weights = unet / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(pickle.dumps({"weight": [1.0]}))  # by another name
    refused("is no safetensors file", family="diffusers", path=str(folder))
    weights.rename(unet / "diffusion_pytorch_model.bin")
    refused(
        "diffusion_pytorch_model.bin may be a pickle file, which can run any code", family="diffusers", path=str(folder)
    )
    refused("is not a folder", family="diffusers", path="~no-such-user/net")
    (unet / "diffusion_pytorch_model.bin").unlink()
    refused("holds no diffusion_pytorch_model.safetensors", family="diffusers", path=str(folder))


def test_a_user_s_own_net_that_cannot_be_is_one_message(tmp_path):
    right = torch_model(tmp_path)
    refused(
        "module is missing; right is module: path/to/file.py:build", **{k: v for k, v in right.items() if k != "module"}
    )
    refused("schedule is missing", **{k: v for k, v in right.items() if k != "schedule"})
    refused("right is a file and its function, path/to/file.py:build", **right | {"module": f"{tmp_path}/net.py"})
    refused("net.py defines no function make", **right | {"module": f"{tmp_path}/net.py:make"})
    refused("gone.py: no such file", **right | {"module": f"{tmp_path}/gone.py:build"})
    torch.save({}, tmp_path / "net.pt")
    refused("net.pt may be a pickle file", **right | {"path": f"{tmp_path}/net.pt"})


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            TORCH_NET.replace("return Net()", "return 3"),
            r"net\.py: build\(\) must return an nn\.Module; it returned int",
        ),
        (
            TORCH_NET.replace("Embedding(50", "Embedding(60"),
            r"net\.py: the weights are not those of build\(\):.*\[60, 1\]",
        ),
        (
            TORCH_NET.replace("return self.conv(x)", "return self.conv(x).sum()"),
            r"must return \(2, 1, 16, 16\) torch.flo",
        ),
        ("import no_such_thing\n" + TORCH_NET, r"net\.py: ModuleNotFoundError: No module named 'no_such_thing'"),
        (
            TORCH_NET.replace("self.conv(x) +", "undefined +"),
            r"cannot be called on images \(1, 16, 16\) at timestep 0: NameError",
        ),
        (TORCH_NET.replace("def build()", "def build(width)"), r"net\.py: TypeError: build\(\) missing 1 required"),
    ],
    ids=["no module", "other weights", "no image", "import", "error", "an argument"],
)
def test_a_net_that_does_not_work_is_found_when_it_is_taken(tmp_path, code, message):
    with pytest.raises(UserError, match=message):
        taken(tmp_path, **torch_model(tmp_path, code))


def test_a_net_of_fewer_timesteps_than_its_schedule_is_found_when_it_is_taken(tmp_path):
    with pytest.raises(UserError, match=r"cannot be called on images \(1, 16, 16\) at timestep 999: IndexError"):
        taken(tmp_path, **torch_model(tmp_path, schedule={"num_train_timesteps": 1000}))


def test_a_file_that_is_gone_when_it_is_taken_is_named(tmp_path):
    asked = study.read(config_of(**torch_model(tmp_path)))
    (job,) = (job for job in plan.plan(asked, MACHINE) if job.stage == "import_model")
    settings = json.loads(json.dumps(job.settings))
    (tmp_path / "net.safetensors").unlink()
    with pytest.raises(UserError, match=r"net\.safetensors: gone, or changed after this job was planned; run again"):
        jobfile.run(job.stage, jobfile.write(tmp_path, job.stage, settings, {}, job.outputs))


def test_a_net_may_import_what_lies_beside_it_whenever_it_likes(tmp_path):
    (tmp_path / "beside_it.py").write_text("shift = 1.0\n")
    code = "from __future__ import annotations\nfrom dataclasses import dataclass\n" + TORCH_NET.replace(
        "return self.conv(x)", "from beside_it import shift\n        return shift + self.conv(x)"
    ).replace("    return Net()", "    import beside_it\n    return Net()")
    code += "\n\n@dataclass\nclass Settings:\n    width: int = 3\n"
    weights = taken(tmp_path, **torch_model(tmp_path, code))
    net, _ = generators.find("torch").ready(weights, None, SHAPE)
    plain = taken(tmp_path / "b", **torch_model(tmp_path))
    x, t = torch.randn(2, *SHAPE), torch.tensor([3])
    torch.testing.assert_close(net(x, t), 1 + generators.find("torch").ready(plain, None, SHAPE)[0](x, t))


def test_a_net_that_no_trace_holds_is_refused_by_openvino_and_drawn_by_torch(tmp_path):
    pytest.importorskip("openvino")
    code = TORCH_NET.replace("return self.conv(x) +", "return self.conv(x) * (1 + float(t[0])) +")
    weights = taken(tmp_path, **torch_model(tmp_path, code))
    axes = {"sampler": "ddim", "clip_x0": True, "steps": 50, "nfe": 6}
    drawn("torch", weights, **axes)
    with pytest.raises(
        UserError, match=r"by openvino the net predicts something else at timestep 49 .*; say sampling.backend: torch"
    ):
        drawn("torch", weights, "openvino", **axes)


def test_weights_of_another_net_are_found_when_they_are_taken(tmp_path):
    folder = untrained(tmp_path / "net")
    tensors = load_file(folder / "unet/diffusion_pytorch_model.safetensors")
    tensors["conv_in.bias"] = torch.zeros(9)
    save_file(tensors, folder / "unet/diffusion_pytorch_model.safetensors")
    with pytest.raises(UserError, match=r"safetensors: these are not the weights of .*config\.json"):
        taken(tmp_path, family="diffusers", path=str(folder))
    assert ARCHITECTURE["sample_size"] == SHAPE[-1]


def test_steps_and_replicates_beyond_the_net_s_are_said(tmp_path):
    config = config_of(family="diffusers", path=str(untrained(tmp_path / "net", {"num_train_timesteps": 100})))
    config["experiments"]["one"]["grid"] = {"model": "mine", "steps": 101}
    with pytest.raises(UserError, match="one.grid.steps is 101; it must be at most 100"):
        study.read(config)
    config["models"]["hw4"] = given_models.default_config()["models"]["hw4"]  # of 1000 timesteps
    for axes, message in (
        (
            {"model": ["mine", "hw4"], "steps": 101},
            "one.grid.steps: 101 is more than the 100 timesteps that mine was trained on; it must be at most 100",
        ),
        ({"replicate": 1}, "one.grid.replicate: 1 is none of models.mine.path"),
        ({"epochs": 1, "nfe": 101}, "nfe is 101; it must be at most 100"),
    ):
        config["experiments"]["one"]["grid"] = {"model": "mine"} | axes
        with pytest.raises(UserError, match=message):
            study.read(config)
    config["experiments"]["one"]["grid"] = {"model": "mine"}
    config["sampling"]["backend"] = "lanes"
    with pytest.raises(UserError, match="sampling.backend: lanes knows this project's own U-Nets alone"):
        study.read(config)
    config["sampling"]["backend"], config["seeds"]["replicates"] = "auto", [1, 2]
    with pytest.raises(
        UserError, match=r"models\.mine\.path: one net is replicate 0, and seeds\.replicates is \[1, 2\]"
    ):
        study.read(config)
