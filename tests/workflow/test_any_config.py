"""Any change of a valid configuration is accepted, and its DAG builds, or refused by a message with a key a line.

Snakemake runs in this process here, as a dry run: thousands of processes would take hours.
"""

import copy
import io
import re
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import yaml
from conftest import HERE, ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from snakemake.api import SnakemakeApi
from snakemake.exceptions import WorkflowError
from snakemake.settings.enums import Quietness, RerunTrigger
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, ResourceSettings
from snakemake.utils import update_config

from ddpm_dip import study
from ddpm_dip.jobs import files
from ddpm_dip.jobs.errors import UserError

pytestmark = pytest.mark.slow
DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
OVERLAYS = [yaml.safe_load((HERE / f"{name}.yaml").read_text(encoding="utf-8")) for name in ("tiny", "micro", "tiny-b")]
BASES = [DEFAULT, *OVERLAYS]
WHOLE = [copy.deepcopy(DEFAULT) for _ in BASES]  # as Snakemake lays one over the other
for whole, overlay in zip(WHOLE[1:], OVERLAYS, strict=True):
    update_config(whole, overlay)
# how each line of a message begins: a key of the configuration, or a part of it that lacks one
KEY = r"(config: (seeds?|study|reuse|device|data|training|gan|models|dip|sampling|metrics|figures|experiments|timing"
KEY += r"|claims|top level)\b|data\.[a-z_]+)"
COUNTS = st.integers(-2, 12) | st.sampled_from([0, 16, 20, 28, 100, 512, 1000, 1001, 2**31, 10**30])
NAMES = "digits mnist fashion_mnist kmnist image_folder hw4 hw4-sees hw4-dip none noise dip mean-image train test both "
NAMES += "last ema best_training_loss auto torch openvino 1e-3 . .. ~ / null Größe a/b ../up imvfx dcgan cosine linear "
NAMES += "spherical ancestral ancestral-small ddim dpmpp-2m shared independent all dip-every-step unet distance "
NAMES += "curves strips heatmap drift x line panel row block metric grid show "
WORDS = st.sampled_from([*NAMES.split(), *study.AXES, "x x"]) | st.text(max_size=6)
SCALARS = st.none() | st.booleans() | COUNTS | WORDS | st.floats() | st.sampled_from([0.001, 0.5, 0.999, 1.0])
LISTS = st.lists(COUNTS, max_size=3) | st.lists(WORDS, max_size=2) | st.lists(SCALARS, max_size=2)
VALUES = SCALARS | LISTS | st.dictionaries(WORDS, SCALARS, max_size=2)


COUNT = st.integers(0, 9) | st.sampled_from([16, 20, 100, 1000])
NAMED = {  # by the key that holds them: what a user might write there
    "start": ["noise", "dip", "mean-image", "dip-every-step"],
    "model": ["hw4", "hw4-sees", "hw4-dip", "imvfx", "dcgan", "dip"],
    "network": ["hw4", "hw4-sees", "imvfx", "imvfx-sees", "dcgan"],
    "lr_schedule": ["constant", "cosine"],
    "path": ["linear", "spherical"],
    "sampler": ["ancestral", "ancestral-small", "ddim", "dpmpp-2m"],
    "weights": ["last", "ema", "best_training_loss"],
    "backend": ["auto", "torch", "openvino"],
    "split": ["train", "test", "both"],
    "study": ["tiny", "x-1"],
    "clip_x0": [True, False],
    **dict.fromkeys(("x", "line", "panel", "row", "block"), list(study.AXES)),
}


def places(value: object, path: tuple = ()) -> list[tuple]:
    """Every path into nested mappings and lists."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, part in parts for found in [(*path, key), *places(part, (*path, key))]]


def holder_of(config: dict, path: tuple) -> dict | list:
    for key in path[:-1]:
        config = config[key]
    return config


@st.composite
def mutated(draw, bases) -> dict:
    """A valid configuration with one to three parts made into anything, added, repeated or removed."""
    config = copy.deepcopy(draw(st.sampled_from(bases)))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(config)))
        holder, key = holder_of(config, path), path[-1]
        kind = draw(st.sampled_from(["value", "count", "word", "unknown key", "repeat", "remove"]))
        if kind == "repeat" and isinstance(holder[key], list):
            holder[key] = holder[key] + copy.deepcopy(holder[key][:1])
        elif kind == "unknown key" and isinstance(holder[key], dict):
            holder[key][draw(WORDS)] = draw(VALUES)
        elif kind == "remove":
            del holder[key]
        else:
            holder[key] = draw({"count": COUNTS, "word": WORDS}.get(kind, VALUES))
    return config


@st.composite
def plausible(draw) -> dict:
    """A valid configuration with one to three parts changed to what a user might try: most are accepted."""
    config = copy.deepcopy(draw(st.sampled_from(BASES)))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(config)))
        holder, key = holder_of(config, path), path[-1]
        old, last = holder[key], [part for part in path if isinstance(part, str)][-1]
        if path[0] == "experiments" and last == "grid" and isinstance(old, dict):
            axis = draw(st.sampled_from(list(study.AXES)))
            values = st.sampled_from(NAMED[axis]) if axis in NAMED else COUNT
            old[axis] = draw(values | st.lists(values, min_size=1, max_size=2, unique=True))
        elif isinstance(old, bool):
            holder[key] = not old
        elif isinstance(old, int):
            holder[key] = draw(COUNT)
        elif isinstance(old, float):
            holder[key] = draw(st.sampled_from([0.0, 0.01, 0.5, 1.0]))
        elif isinstance(old, str):
            holder[key] = draw(st.sampled_from(NAMED.get(last.removesuffix("s"), NAMED.get(last, [old]))))
        elif isinstance(old, list) and old and isinstance(old[0], int):
            holder[key] = draw(st.lists(COUNT, min_size=1, max_size=3, unique=True))
        elif isinstance(old, list) and len(old) > 1:
            holder[key] = draw(st.permutations(old))[draw(st.integers(0, 1)) :]
        elif (path[0] in ("experiments", "models") and len(path) == 2) or last in ("timing", "show") or "show" in path:
            holder[key] = None
    return config


def many(few: int, all_of_them: int):
    """So many examples in the quick suite, and so many in the long one."""
    return pytest.mark.parametrize("examples", [few, pytest.param(all_of_them, marks=pytest.mark.long)])


def names_keys(message: str) -> bool:
    return all(re.match(KEY, line) for line in message.splitlines()) and bool(message)


@many(100, 500)
def test_check_accepts_or_names_the_key(examples):
    @settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(config=mutated(WHOLE))
    def check(config):
        before = copy.deepcopy(config)
        try:
            asked = study.read(config)
        except UserError as error:
            assert names_keys(str(error)), str(error)
        else:
            assert asked.cells and len(set(asked.cells)) == len(asked.cells)
            assert len({cell.path for cell in asked.cells}) == len(asked.cells)  # no two cells in one file
        assert same(config, before)  # looked at, not changed

    check()


def same(one: dict, other: dict) -> bool:
    return repr(one) == repr(other)  # .nan is unequal to itself


def dry_run(overlay: dict, folder: Path) -> str:
    """Plan the whole study with `overlay` laid over config.yaml. Returns what Snakemake printed."""
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed), SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=2),
            config_settings=ConfigSettings(config=overlay),
            snakefile=ROOT / "Snakefile",
            workdir=folder,
        )
        workflow.dag(DAGSettings(rerun_triggers={RerunTrigger.MTIME})).execute_workflow(executor="dryrun")
    return printed.getvalue()


@many(30, 150)
def test_every_accepted_config_has_a_dag(examples, tmp_path, monkeypatch):
    accepted = []
    monkeypatch.setattr(files, "lock", lambda folder, wait=False: 1)  # one process, a thousand runs
    monkeypatch.chdir(tmp_path)

    @settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(overlay=plausible() | mutated(BASES))
    def plan(overlay):
        try:
            dry_run(copy.deepcopy(overlay), tmp_path / "any")
            accepted.append(overlay)
        except WorkflowError as error:
            assert names_keys(str(error)), str(error)

    plan()
    assert len(accepted) > examples / 10  # else the changes are too wild to say anything of DAGs
