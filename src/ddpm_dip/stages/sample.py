"""Draw the images of one cell.

Reads     data (the data set's .npz), weights (the model's .safetensors), dip (the fitted DIP net's), dip-many (of that
          of many images) and gan (those of a start's DCGAN), as far as the cell needs them.
Writes    samples: an .npz with `samples` (n, C, H, W) float32, raw, and `cell`, JSON of {axis: value or null}. For a
          family with a chain also `mean_path` and `sd_path` (nfe + 1,), the mean and the standard deviation over the
          samples of each state's mean pixel, from the start to the last image, and `frames` (frames, 8, C, H, W)
          float16, up to 40 states of the first 8 samples, at the timesteps `frame_timesteps`; -1 is the last image.
          `noise_path` and `noise_timesteps`, of the same states: the mean over all samples of the standard deviation of
          the noise in a state, as `evaluation.haar` estimates it. `starts` (n, C, H, W) float16: the chain's first
          state of every sample. `alpha_cumprod`, that of t = K - 1 on the net's schedule.
Settings  family, cell, n (the number of images), backend (a key of sampling.backends.BACKENDS, or auto), dip_size (of
          a DIP net that is not fitted, in pixels; may be left out).

The noise is keyed by the cell's replicate and each image's number. Where the output is there, made by this very job but
for a smaller n, its images are kept and the others are drawn. The hint `claims` (claim -> digest) is recorded with the
first images.
"""

import json
import time

import numpy as np
import torch

from ..evaluation import haar
from ..jobs import files
from ..jobs import job as jobs
from ..jobs.errors import UserError
from ..jobs.job import Job
from ..sampling import backend_choice, backends, generators, warm_starts
from ..sampling.generators import Generator, Weights

BATCH = 64
FRAMES = 40  # of the first SHOWN samples, for the denoising GIFs
SHOWN = 8
SAID_EVERY = 30  # seconds between lines in the log


def run(job: Job) -> None:
    cell, n = job.settings["cell"], job.settings["n"]
    if n < 1:
        raise UserError(f"{job.path}: settings.n: {n}; right is a whole number from 1 up")
    torch.set_num_threads(job.threads)
    before = kept(job)
    first = len(before["samples"]) if before else 0
    generator = generators.build(
        job.settings["family"],
        cell,
        **read_inputs(job, cell),
        **({"dip_size": job.settings["dip_size"]} if "dip_size" in job.settings else {}),
        backend=backend_choice.resolve(job.settings["backend"] or "auto"),
        threads=job.threads,
        batch=min(BATCH, n - first),
    )
    arrays = draw(generator, range(first, n))
    if before:
        arrays = joined(before, arrays)
    if generator.level is not None:
        arrays["alpha_cumprod"] = np.array(generator.level)
    files.write_npz(job.output("samples"), **arrays, cell=np.array(json.dumps(cell)))
    nfe = len(generator.timesteps)
    job.finish(
        device=backends.device(generator.backend),
        work={"image-steps": (n - first) * nfe} if nfe else {"images": n - first},
        network=generator.network,
        image_shape=list(generator.image_shape),
        backend=generator.backend,
        kept=first,
        claims=claims_of(job, first),
    )
    print(f"{job.content['outputs']['samples']}: {n} images" + f", {first} of them kept" * bool(first))


def read_inputs(job: Job, cell: dict) -> dict[str, object]:
    """What a cell's generator is built from, as `generators.build` takes it; None for what the job does not have."""
    data = files.read_npz(job.input("data")) if job.has("data") else {}
    many = cell["start"] is not None and "dip-many" in getattr(warm_starts.find(cell["start"]), "NEEDS", ())
    found = {name: read_weights(job, name) for name in ("weights", "gan")}
    found["dip"] = read_weights(job, "dip-many" if many else "dip")
    return found | {"train": data.get("train"), "labels": data.get("train_labels")}


def read_weights(job: Job, role: str) -> Weights | None:
    """The weights of an input; None where the job has no such input."""
    return Weights(job.input(role), *files.read_safetensors(job.input(role))) if job.has(role) else None


def claims_of(job: Job, first: int) -> dict[str, str]:
    """The claims that this cell was drawn for, by digest; those of the first images where they are kept."""
    before = jobs.read_record(job.output("samples")) if first else None
    return (before or {}).get("claims", job.hints.get("claims", {}))


def kept(job: Job) -> dict[str, np.ndarray] | None:
    """The arrays of the output, where it was made by this very job but for a smaller n; else None.

    Raises UserError where it was altered since.
    """
    output = job.output("samples")
    record, identity = jobs.read_record(output), jobs.identity(job.content)
    if record is None or not output.exists():
        return None
    old_n = record.get("job", {}).get("settings", {}).get("n", 0)
    smaller = identity | {"settings": identity["settings"] | {"n": old_n}}
    if record.get("job") != smaller or old_n >= job.settings["n"]:
        return None
    jobs.verified(output)
    return files.read_npz(output)


def draw(generator: Generator, indices: range) -> dict[str, np.ndarray]:
    """The arrays of the images `indices`, as the output has them; drawn in batches of BATCH."""
    steps, n = len(generator.timesteps), len(indices)
    samples, frames, noise, starts = torch.empty(n, *generator.image_shape), {}, {}, []
    frame_steps = set(np.linspace(0, steps, min(FRAMES, steps + 1)).round().astype(int))
    sums = torch.zeros(2, steps + 1, dtype=torch.float64)  # over samples, of a state's mean and of its square
    said = time.monotonic()
    for begin in range(0, n, BATCH):
        batch = indices[begin : begin + BATCH]
        shown, path = max(0, SHOWN - batch[0]), []

        def record(t: int, x: torch.Tensor, path: list = path, shown: int = shown, begin: int = begin) -> None:
            nonlocal said  # x stays where it is
            if time.monotonic() - said > SAID_EVERY:
                said = time.monotonic()
                print(f"images {begin + 1} to {begin + len(x)} of {n}: step {len(path)} of {steps}", flush=True)
            if len(path) in frame_steps:
                noise[t] = noise.get(t, 0.0) + haar.noise_sd(x.cpu().numpy()).sum(dtype=np.float64) / n
                if shown:
                    frames.setdefault(t, []).append(x[:shown].clone())
            if not path and steps:
                starts.append(x.half().cpu())
            path.append(x.mean((1, 2, 3)))

        x = generator.draw(batch, record)
        record(-1, x.to(path[0].device) if path else x)
        samples[begin : begin + BATCH] = x
        means = torch.stack(path).cpu().double()  # (steps + 1, n)
        sums += torch.stack([means.sum(1), means.square().sum(1)])
    arrays = {"samples": samples.numpy()}
    if not steps:
        return arrays
    mean, square = sums.numpy() / n
    states = [torch.cat(parts).cpu().numpy().astype(np.float16) for parts in frames.values()]
    return arrays | {
        "mean_path": mean,
        "sd_path": np.sqrt((square - mean**2).clip(0)),
        "frames": np.stack(states) if states else np.empty((0, 0, *generator.image_shape), np.float16),
        "frame_timesteps": np.array(list(frames)),
        "starts": torch.cat(starts).numpy(),
        "noise_path": np.array(list(noise.values())),
        "noise_timesteps": np.array(list(noise)),
    }


def joined(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of all images, from those of the first ones and those of the others."""
    parts = (before, after)
    arrays = {"samples": np.concatenate([part["samples"] for part in parts])}
    if "mean_path" not in after:
        return arrays
    shares = [len(part["samples"]) / len(arrays["samples"]) for part in parts]
    mean = sum(share * part["mean_path"] for share, part in zip(shares, parts, strict=True))
    square = sum(
        share * (part["sd_path"] ** 2 + part["mean_path"] ** 2) for share, part in zip(shares, parts, strict=True)
    )
    shown = [part["frames"] for part in parts if part["frames"].size]
    return arrays | {
        "mean_path": mean,
        "sd_path": np.sqrt((square - mean**2).clip(0)),
        "frames": np.concatenate(shown, axis=1),
        "frame_timesteps": before["frame_timesteps"],
        "starts": np.concatenate([part["starts"] for part in parts]),
        "noise_path": sum(share * part["noise_path"] for share, part in zip(shares, parts, strict=True)),
        "noise_timesteps": before["noise_timesteps"],
    }
