"""Time sampling with K ancestral steps: DDPM and DIP + DDPM in turn, in one process, DIP passes counted in.

Reads     data: the data set's .npz; weights: the U-Net's .safetensors, where steps is above 0; dip: the fitted DIP
          net's .safetensors, where an arm has passes.
Writes    timing: a .csv with a row for each number of passes and batch size: method, passes, steps, batch, device,
          backend, median_s, q1_s, q3_s (seconds an image, quartiles over the repeats), repeats.
Settings  model, replicate, steps (K; 0 times the DIP passes alone), passes (a list, an arm each; 0 is plain DDPM),
          batches (a list of batch sizes), repeats, backends (of each batch size, keys of sampling.backends.BACKENDS),
          weights (their kind).
"""

import itertools
import time

import numpy as np
import torch

from ..jobs import files
from ..jobs.job import Job
from ..models.scale import to_model_range
from ..models.schedule import truncated_timesteps
from ..sampling import backend_choice, backends, chain, samplers, warm_starts
from ..sampling.generators import Weights, dip, unet
from ..sampling.noise import ancestral_noise

COLUMNS = ("method", "passes", "steps", "batch", "device", "backend", "median_s", "q1_s", "q3_s", "repeats")
WARM_UP_STEPS = 3


def run(job: Job) -> None:
    settings, threads = job.settings, job.threads
    steps, batches, repeats, replicate = (settings[key] for key in ("steps", "batches", "repeats", "replicate"))
    of_batch = dict(zip(batches, map(backend_choice.resolve, settings["backends"]), strict=True))
    torch.set_num_threads(threads)
    train = files.read_npz(job.input("data"))["train"]
    shape, train_mean = train.shape[1:], to_model_range(train.mean(0, keepdims=True))
    # with no steps there is nothing to time but the passes
    arms = [arm for arm in itertools.product(settings["passes"], batches) if steps or arm[0]]
    chains, dips = {}, {}
    if steps:
        weights = Weights(job.input("weights"), *files.read_safetensors(job.input("weights")))
        for batch, backend in of_batch.items():
            net = unet.ready(weights, settings["weights"], shape)
            chains[batch] = chain.prepare(
                net, samplers.find("ancestral"), truncated_timesteps(steps),
                clip_x0=False, backend=backend, threads=threads, shape=(batch, *shape),
            )  # fmt: skip
    if any(passes for passes, _ in arms):
        fitted = Weights(job.input("dip"), *files.read_safetensors(job.input("dip")))
        dips = {batch: dip.ready(fitted, shape[0], of_batch[batch], threads, batch) for batch in batches}
    where = "cuda" if of_batch[batches[0]] in backends.CUDA else "cpu"

    @torch.inference_mode()
    def timed(passes: int, batch: int, last: int | None = None) -> float:
        context = unet.context_of(
            train_mean, range(batch), steps=steps, passes=passes, replicate=replicate, dip=dips.get(batch)
        )
        start = warm_starts.find("dip" if passes else "noise")
        begin = time.perf_counter()
        x = warm_starts.draw(start, context)
        if steps:  # the result is on the CPU when the call returns
            chains[batch](x, ancestral_noise(replicate, range(batch), shape, where), last=last)
        return time.perf_counter() - begin

    for passes, batch in arms:
        timed(passes, batch, WARM_UP_STEPS)
    seconds: dict[tuple[int, int], list[float]] = {arm: [] for arm in arms}
    for _ in range(repeats):  # the arms in turn, so that a slow moment of the machine meets them all
        for passes, batch in arms:
            seconds[passes, batch].append(timed(passes, batch) / batch)

    device = backends.device(of_batch[batches[0]] if steps else None)  # the DIP net always runs on the CPU
    lines = [",".join(COLUMNS)]
    for (passes, batch), values in seconds.items():
        q1, median, q3 = np.percentile(values, [25, 50, 75])
        method = ("dip+ddpm" if passes else "ddpm") if steps else "dip"
        backend = of_batch[batch] if steps else dip.own_backend(of_batch[batch])
        lines.append(",".join(map(str, (method, passes, steps, batch, device, backend, median, q1, q3, repeats))))
    files.write_text(job.output("timing"), "\n".join(lines) + "\n")
    images = repeats * sum(batch for _, batch in arms)
    job.finish(
        device=device,
        work={"image-steps": images * steps} if steps else {"images": images},
        image_shape=list(shape),
        backends=list(of_batch.values()),
    )
