# The study, its ledger, and what every rule shares.
import json
import os
import re
import shlex
import signal
import sys
import time
from pathlib import Path

ROOT = Path(str(workflow.current_basedir)).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from snakemake.exceptions import WorkflowError

from ddpm_dip import study
from ddpm_dip.jobs import devices, errors, files, ledger, ready, signals
from ddpm_dip.jobs.job import RECORD, paths_in
from ddpm_dip.study import claims, machine, needs, plan, why

# more than a machine has: Snakemake then gives a job all that the run has
ALL_CORES = 1024
# with --use-conda the environment's own interpreter, else the one that runs Snakemake
CONDA = "conda" in {
    str(method) for method in workflow.deployment_settings.deployment_method
}
PYTHON = "python" if CONDA else shlex.quote(sys.executable)
# A job on a cluster parses this again: it decides nothing and writes nothing, and goes by its job's file alone.
HEAD = workflow.is_main_process
# whether jobs run on other machines, which may have what this one has not
ELSEWHERE = workflow.resource_settings.nodes is not None


def look():
    """The study, its folder and ledger, its lock where no other run has it, and what its jobs need."""
    asked = study.read(config)
    folder = Path("results") / asked.name
    backends = machine.of_config(
        asked.config, own_environments=CONDA, elsewhere=ELSEWHERE
    )
    jobs = plan.plan(asked, backends)
    lock = files.lock(folder)
    reuse = [folder.parent / name for name in asked.config.get("reuse", [])]
    found = ledger.entries(folder, jobs, reuse if lock else [])
    if not lock and ledger.differ(folder, found):
        raise errors.UserError(
            f"{folder}: another run is at work on this study, with other settings or code; "
            "wait for it, or give yours another name (study: ...)"
        )
    if lock:
        ledger.write(folder, found)
    return asked, str(folder), found, lock, needs.of_study(asked, jobs)


def become_task():
    """In an array of SLURM, let each task's Snakemake be about its own job from the start.

    The plugin starts all tasks with the first one's command, and gives them the others' to run inside: a task then fails
    where the first one's results are not there when its own are, as after a failure of the first.
    """
    task, first = (os.environ.get(f"SLURM_ARRAY_TASK_{name}") for name in ("ID", "MIN"))
    others = re.search(r"--slurm-jobstep-array-execs[= ](\S+)", " ".join(sys.argv))
    if others and task != first:
        from snakemake_executor_plugin_slurm_jobstep import _decompress_array_task_call

        command = _decompress_array_task_call(others[1], int(task))
        os.execlp("sh", "sh", "-c", command)


LEDGER, RESULTS, NEEDS = {}, f"results/{config['study']}", {}
if HEAD:
    try:
        STUDY, RESULTS, LEDGER, LOCK, NEEDS = look()
    except errors.UserError as error:
        raise WorkflowError(str(error))
    offered = workflow.global_resources.get("gpu")
    try:
        devices.offer(offered and offered.value or 1)
    except errors.UserError as error:
        raise WorkflowError(str(error))
else:
    # the process that is ready (see ready.py) and its GPUs are the head node's
    os.environ.pop(ready.VARIABLE, None)
    os.environ.pop(devices.VARIABLE, None)
    become_task()

FIGURES = {}
if HEAD:
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
    known = [re.escape(name) for kind, name in LEDGER if kind == stage]
    return "|".join(known) or ("(?!)" if HEAD else ".+")


def job_file(stage, wildcards):
    return f"{RESULTS}/jobs/{stage}/{wildcards.get('name', stage)}.json"


def content(stage, wildcards):
    """What a job's file says."""
    if HEAD:
        return LEDGER[stage, wildcards.get("name", stage)].content
    return files.read_json(job_file(stage, wildcards))


def job(stage):
    """The file of a job, the one input whose time counts: the ledger has set it."""
    return lambda wildcards: job_file(stage, wildcards)


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
    if not HEAD:
        inputs = content(stage, wildcards)["inputs"].values()
        return [
            f"{RESULTS}/{path}"
            for value in inputs
            for path in paths_in(value)
            if not made
        ]
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


ON_GPU = {
    stage
    for (stage, _), entry in LEDGER.items()
    if machine.on_gpu(entry.content["settings"])
}


def gpus(stage):
    """How many GPUs a job needs: one, where it trains, samples or takes features on one.

    On a cluster all jobs of a stage are alike, as those of an array have the first one's request.
    """
    if HEAD and ELSEWHERE:
        return lambda wildcards: int(stage in ON_GPU)
    return lambda wildcards: int(machine.on_gpu(content(stage, wildcards)["settings"]))


def memory(stage):
    """MB for a cluster, of all jobs of a stage alike: those of an array have the first one's."""
    return lambda wildcards, attempt: NEEDS.get(stage, (0, 0))[0] * attempt


def minutes(stage):
    return lambda wildcards, attempt: min(
        needs.DAY, NEEDS.get(stage, (0, 0))[1] * attempt
    )


def run(stage, gpu=False):
    """The command of a rule."""
    script = shlex.quote(f"{ROOT / 'workflow/scripts' / stage}.py")
    options = "--threads {threads}" + " --gpu {resources.gpu}" * gpu
    return f"{PYTHON} {script} {{input.job:q}} {options} > {{log:q}} 2>&1"
