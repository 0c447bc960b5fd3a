"""Time sampling of one net: its starts, a step of its samplers, and whole chains to check that these add up.

Reads     what the stage `sample` reads for a cell: data, weights, and what the starts need.
Writes    timing: a .csv with a row a measurement and round: model, what, start, passes, sampler, clip_x0, steps (K),
          batch, round, device, backend, seconds. What does not apply is empty. what is one of
          start   all that comes before the chain's first step, its noise included: seconds per image
          step    from the start's state to the image, divided by the evaluations: seconds per image and evaluation,
                  noise and what the net is shown instead of x_t counted in
          chain   from nothing to the image: seconds per image
Settings  model (its name, for the table), family, starts, steps and chains (lists of cells, measured so), batches (a
          list of batch sizes), backends (of each of these, keys of sampling.backends.BACKENDS), rounds, dip_size
          (optional: the side of a DIP net that is not fitted).

A round measures everything once, in turn, so that a slow moment of the machine meets all: rounds are the replicates of
a comparison. A first round is not kept.
"""

import csv
import io
import time

import torch

from ..jobs import files
from ..jobs.job import Job
from ..sampling import backend_choice, backends, generators
from ..sampling.generators import Generator
from .sample import read_inputs

COLUMNS = ("model", "what", "start", "passes", "sampler", "clip_x0", "steps", "batch", "round", "device", "backend")
COLUMNS += ("seconds",)
SAID = {  # what is measured -> the axes that it depends on
    "start": ("start", "passes"),
    "step": ("start", "passes", "sampler", "clip_x0"),
    "chain": ("start", "passes", "sampler", "clip_x0", "steps"),
}


def start_seconds(generator: Generator, batch: int) -> float:
    """Seconds per image of the state before the first step."""
    begin = time.perf_counter()
    generator.start(range(batch))
    return (time.perf_counter() - begin) / batch


def step_seconds(generator: Generator, batch: int) -> float:
    """Seconds per image and evaluation, from the first state on."""
    begins: list[float] = []
    generator.draw(range(batch), lambda t, x: begins.append(time.perf_counter()))
    return (time.perf_counter() - begins[0]) / batch / len(generator.timesteps)


def chain_seconds(generator: Generator, batch: int) -> float:
    """Seconds per image of all of it."""
    begin = time.perf_counter()
    generator.draw(range(batch), lambda t, x: None)  # the images are on the CPU when it returns
    return (time.perf_counter() - begin) / batch


MEASURES = {"start": start_seconds, "step": step_seconds, "chain": chain_seconds}


def run(job: Job) -> None:
    settings = job.settings
    used = [backend_choice.resolve(backend) for backend in settings["backends"]]
    dip_size = {"dip_size": settings["dip_size"]} if "dip_size" in settings else {}
    measured = []
    for batch, backend in zip(settings["batches"], used, strict=True):
        shared = {"batch": batch, "device": backends.device(backend), "backend": backend}
        for what, cells in (("start", "starts"), ("step", "steps"), ("chain", "chains")):
            for cell in settings[cells]:
                torch.set_num_threads(job.threads)
                generator = generators.build(
                    settings["family"],
                    cell,
                    **read_inputs(job, cell),
                    **dip_size,
                    backend=backend,
                    threads=job.threads,
                    batch=batch,
                )
                row = {"model": settings["model"], "what": what} | {axis: cell[axis] for axis in SAID[what]} | shared
                measured.append((row, generator))
    rows = rounds(measured, settings["rounds"], job.threads)
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    files.write_text(job.output("timing"), text.getvalue())
    generator = measured[0][1]
    job.finish(
        device=backends.device(used[0]),
        work={"rounds": settings["rounds"]},
        network=generator.network,
        image_shape=list(generator.image_shape),
        backends=used,
    )


def rounds(measured: list[tuple[dict, Generator]], count: int, threads: int) -> list[dict]:
    """The rows of `count` rounds, each of all measurements in turn."""
    own = [threads] * len(measured)  # a net of OpenVINO leaves PyTorch one thread
    rows = []
    for turn in range(-1, count):
        for index, (row, generator) in enumerate(measured):
            torch.set_num_threads(own[index])
            seconds = MEASURES[row["what"]](generator, row["batch"])
            own[index] = torch.get_num_threads()
            rows.append(row | {"round": turn, "seconds": seconds})
    return [row for row in rows if row["round"] >= 0]
