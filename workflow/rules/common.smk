# The study, its ledger, and what every rule shares.
import json
import os
import re
import shlex
import signal
import sys
import time
from pathlib import Path

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT / "src"))

from snakemake.exceptions import WorkflowError

from ddpm_dip import study
from ddpm_dip.jobs import errors, files, ledger, ready, signals
from ddpm_dip.jobs.job import RECORD
from ddpm_dip.sampling import backend_choice
from ddpm_dip.study import plan, why

# with --use-conda the environment's own interpreter, else the one that runs Snakemake
CONDA = "conda" in {
    str(method) for method in workflow.deployment_settings.deployment_method
}
PYTHON = "python" if CONDA else shlex.quote(sys.executable)
# a job on a cluster parses this again: it decides and writes nothing
HEAD = workflow.is_main_process


def look():
    """The study, its folder, machine and ledger; on the head node the lock too, where no other run has it."""
    asked = study.read(config)
    folder = Path("results") / asked.name
    machine_file = folder / "jobs/machine.json"
    if HEAD:
        machine = plan.Machine(
            **backend_choice.of_config(asked.config, own_environments=CONDA)
        )
    else:
        machine = plan.Machine(**files.read_json(machine_file))
    jobs = plan.plan(asked, machine)
    lock = files.lock(folder) if HEAD else None
    reuse = [folder.parent / name for name in asked.config.get("reuse", [])]
    found = ledger.entries(folder, jobs, reuse if lock else [])
    if HEAD and not lock and ledger.differ(folder, found):
        raise errors.UserError(
            f"{folder}: another run is at work on this study, with other settings or code; "
            "wait for it, or give yours another name (study: ...)"
        )
    if lock:
        if (
            not machine_file.exists()
            or files.read_json(machine_file) != machine._asdict()
        ):
            files.write_json(machine_file, machine._asdict())
        ledger.write(folder, found)
    return asked, str(folder), machine, found, lock


try:
    STUDY, RESULTS, MACHINE, LEDGER, LOCK = look()
except errors.UserError as error:
    raise WorkflowError(str(error))

GPU = int("cuda" in (STUDY.config["device"], MACHINE.backend.partition("-")[0]))
CORES = workflow.resource_settings.cores or 1
FIGURES = {
    figure["file"].rpartition("/")[2]: figure
    for figure in LEDGER["report", "report"].planned.settings["figures"]
}
# what is there and stays, as all results of its job are there
WHOLE = set()
for entry in LEDGER.values():
    paths = entry.planned.outputs.values()
    if entry.made and all(os.path.exists(f"{RESULTS}/{path}") for path in paths):
        WHOLE.update(paths)
TRAINED = {entry.planned.name for key, entry in LEDGER.items() if key[0] == "train"}


def category(wildcards):
    """A figure's place in Snakemake's own report: the section that it has in ours."""
    section = FIGURES[wildcards.name]["section"].removeprefix("experiment-")
    return re.sub("[-_]", " ", section).capitalize()


def figure_labels(wildcards):
    figure = FIGURES[wildcards.name]
    usual = {"figure": figure["title"], "model": "all", "display": "all"}
    return usual | figure["shows"]


def hold_study():
    """Before the first job: this run alone is at work on the study, and half-written files of killed ones are gone."""
    global LOCK
    for _ in range(20):  # a dry run holds it for seconds
        LOCK = LOCK or files.lock(RESULTS)
        if LOCK:
            files.remove_leftovers(RESULTS)
            return
        time.sleep(1)
    raise WorkflowError(
        f"{RESULTS}: another run is at work on this study; wait for it, or give yours another name (study: ...)"
    )


def names(stage):
    """A wildcard's constraint: the names of a stage's jobs."""
    return "|".join(re.escape(name) for kind, name in LEDGER if kind == stage) or "(?!)"


def job(stage):
    """The file of a job, the one input whose time counts: the ledger has set it."""
    return (
        lambda wildcards: f"{RESULTS}/jobs/{stage}/{wildcards.get('name', stage)}.json"
    )


def reads(stage):
    """What a job reads whose result is to be made: Snakemake makes what of it is to be made before."""
    return lambda wildcards: paths_read(stage, wildcards, made=False)


def kept(stage):
    """What a job reads whose result is made, as far as it is there: times do not count, and nothing is made for it.

    Only results of jobs that will not run: Snakemake does not look at what comes after a job that runs and an ancient
    file.
    """
    return ancient(lambda wildcards: paths_read(stage, wildcards, made=True))


def paths_read(stage, wildcards, made):
    entry = LEDGER[stage, wildcards.get("name", stage)]
    if entry.made != made:
        return []
    paths = (
        entry.planned.reads if made else (*entry.planned.reads, *entry.planned.after)
    )
    return [f"{RESULTS}/{path}" for path in paths if not made or path in WHOLE]


def results(*paths):
    """A job's results, and the records beside them."""
    paths = [f"{RESULTS}/{path}" for path in paths]
    return [*paths, *(f"{path}{RECORD}" for path in paths)]


def run(stage):
    """The command of a rule."""
    return f"{PYTHON} {shlex.quote(str(ROOT / 'workflow/scripts' / stage))}.py {{input.job:q}} --threads {{threads}} > {{log:q}} 2>&1"
