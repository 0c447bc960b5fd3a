"""What a cluster is asked for, and what is decided for machines that are not this one."""

import copy

import pytest
from test_study import DEFAULT

from ddpm_dip import study
from ddpm_dip.jobs.errors import UserError
from ddpm_dip.study import machine, needs, plan

BACKENDS = plan.Machine("torch", "torch", "torch", 8, "torch")


def changed(**settings: dict) -> study.Study:
    config = copy.deepcopy(DEFAULT)
    for key, value in settings.items():
        config[key] = config[key] | value if isinstance(value, dict) else value
    return study.read(config)


def asked_for(asked: study.Study) -> dict[str, tuple[int, int]]:
    return needs.of_study(asked, plan.plan(asked, BACKENDS))


def test_more_and_larger_images_ask_for_more_and_within_a_day():
    small, many = asked_for(changed()), asked_for(changed(sampling={"n": 256}))
    large = asked_for(changed(data={"image_size": 64}))
    for more in (many, large):
        assert all(more["sample"][part] > small["sample"][part] for part in (0, 1))
    assert large["train"][0] > small["train"][0] and many["train"] == small["train"]
    for found in (small, many, large):
        assert all(500 < mb < 20_000 and 10 <= minutes <= needs.DAY for mb, minutes in found.values())


def test_a_head_node_without_a_gpu_plans_for_nodes_that_have_one(monkeypatch):
    monkeypatch.setattr(machine.backend_choice.shutil, "which", lambda name: None)
    config = changed(device="cuda").config
    with pytest.raises(UserError, match="device: cuda needs an NVIDIA GPU"):
        machine.of_config(config)
    found = machine.of_config(config, elsewhere=True)
    assert (found.backend, found.few, found.training) == ("cuda", "cuda", "torch")
    on_cpu = config | {"sampling": config["sampling"] | {"backend": "torch"}}
    assert machine.of_config(on_cpu, elsewhere=True).backend == "torch"


@pytest.mark.parametrize("settings", [{}, {"sampling": {"backend": "torch"}}, {"sampling": {"backend": "openvino"}}])
def test_without_a_gpu_it_is_the_same_here_and_elsewhere(settings):
    config = changed(**settings).config
    assert machine.of_config(config, elsewhere=True) == machine.of_config(config)


def test_what_runs_on_a_gpu():
    assert machine.on_gpu({"device": "cuda"}) and machine.on_gpu({"backends": ["torch", "cuda-tf32"]})
    assert not machine.on_gpu({"device": "cpu", "backend": None}) and not machine.on_gpu({})


def test_a_classifier_of_rotations_asks_for_the_whole_set_turned_and_a_given_net_for_a_day():
    labels, turned = ({"epochs": 5} | more for more in ({}, {"rotations": True}))
    shape = (60_000, 128, 64**2, 3 * 64**2)  # a folder of faces
    (mb, seconds), (turned_mb, turned_seconds) = (
        needs.of_job("train_classifier", each, *shape) for each in (labels, turned)
    )
    images = 60_000 * 3 * 64**2 / 1e6
    assert mb > 1500 + images and turned_mb > 1500 + 5 * images and turned_seconds > 2 * seconds
    cell = {"family": "diffusers", "cell": {"nfe": 10}}
    assert (
        needs.of_job("sample", cell, *shape)[1]
        == needs.DAY * 60
        > needs.of_job("sample", cell | {"family": "unet"}, *shape)[1]
    )


def test_a_set_of_few_images_asks_for_less_time_to_train():
    assert asked_for(changed())["train"][1] < 60 < asked_for(changed(data={"dataset": "mnist"}))["train"][1]
