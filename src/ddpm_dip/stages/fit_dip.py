"""Fit a Deep Image Prior net to one training image plus noise, or to many as a denoiser.

settings  iterations, size (of the net's images, in pixels), replicate (the number of the image, and the seed), many
          (true: to many images; may be left out)
reads     data: the archive of prepare_data
writes    weights: the fitted net
          curve: a table with a row for each iteration: loss, three PSNRs in dB, and whether it went back
          pictures: the arrays clean, noisy and output, each (1, C, size, size) in [0, 1]
"""

import torch

from ..jobs import files
from ..jobs.errors import UserError
from ..jobs.job import Job
from ..models.dip_fit import fit_dip, fit_many

CURVE = ("iteration", "loss", "psnr_noisy", "psnr_clean", "psnr_smoothed", "reverted")


def run(job: Job) -> None:
    iterations, size, replicate = (job.settings[name] for name in ("iterations", "size", "replicate"))
    torch.set_num_threads(1)
    train = files.read_npz(job.input("data"))["train"]
    many = job.settings.get("many", False)
    if not many and replicate >= len(train):
        raise UserError(
            f"seeds.replicates: {replicate} is the number of the training image that the DIP net is fitted to, counted "
            f"from 0, but there are {len(train)} training images; it must be below that"
        )
    fit = (
        fit_many(train, iterations, replicate, size) if many else fit_dip(train[replicate], iterations, replicate, size)
    )
    files.write_text(job.output("curve"), "".join(",".join(map(str, row)) + "\n" for row in [CURVE, *fit.curve]))
    files.write_npz(job.output("pictures"), clean=fit.clean.numpy(), noisy=fit.noisy.numpy(), output=fit.output.numpy())
    header = {"network": "dip", "image_channels": len(fit.clean[0]), "size": size}
    header |= {"iterations": iterations, "seed": replicate}
    files.write_safetensors(job.output("weights"), fit.net.state_dict(), header)
    job.finish(work={"iterations": iterations})
    last = fit.curve[-1]
    print(f"DIP: loss {last[1]:.6f}, PSNR {last[2]:.2f} dB to the noisy image, {last[3]:.2f} dB to the clean one")
