"""Several GPUs on one machine: each job has its own. A stage that notes what it sees stands in for one that samples."""

import json
import os

import pytest
from conftest import snakemake

pytestmark = [pytest.mark.slow, pytest.mark.long]
SAMPLE = """
import json
import os
import time

from ..jobs import files


def run(job):
    began = time.time()
    time.sleep(2)
    told = {"gpu": os.environ.get("CUDA_VISIBLE_DEVICES"), "began": began, "ended": time.time()}
    files.write_text(job.output("samples"), json.dumps(told))
    job.finish()
"""


def test_jobs_that_run_at_one_time_see_gpus_of_their_own(copied, tmp_path):
    (copied / "src/ddpm_dip/stages/sample.py").write_text(SAMPLE)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/nvidia-smi").write_text("#!/bin/sh\n")
    (tmp_path / "bin/nvidia-smi").chmod(0o755)
    grid = {"model": "hw4-sees", "start": "noise", "steps": [2, 3, 4, 5]}
    overlay = {"sampling": {"backend": "cuda"}, "claims": None}
    overlay["experiments"] = {"passes": None, "epochs": None, "many": {"grid": grid}}
    cells = [f"hw4-sees/r0/epoch-0003-ema/noise/ancestral/K{k:04d}-nfe{k:04d}" for k in grid["steps"]]
    targets = [f"results/micro/samples/{cell}.npz" for cell in cells]
    variables = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "CUDA_VISIBLE_DEVICES": "3,5,7"}
    options = (*targets, "--resources", "gpu=2")
    done = snakemake(copied, *options, study="micro", source=copied, overlay=overlay, variables=variables)
    assert done.returncode == 0, done.stdout + done.stderr
    told = [json.loads((copied / target).read_text()) for target in targets]
    assert {each["gpu"] for each in told} == {"3", "5"}
    for one in told:
        for other in told:
            apart = one["ended"] <= other["began"] or other["ended"] <= one["began"]
            assert one is other or apart or one["gpu"] != other["gpu"]
