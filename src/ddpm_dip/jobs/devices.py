"""GPUs of one machine, each for one job at a time."""

import fcntl
import os
import tempfile
import time

from .errors import UserError

VARIABLE = "DDPM_DIP_GPUS"  # the GPUs of a run, as CUDA_VISIBLE_DEVICES names them
SEEN = "CUDA_VISIBLE_DEVICES"


def offer(count: int) -> None:
    """Say to the jobs that this process starts which GPUs are theirs: the first `count` of those that it sees.

    Raises UserError where fewer are visible.
    """
    names = [name for name in os.environ[SEEN].split(",") if name] if SEEN in os.environ else None
    if names and count > len(names):
        raise UserError(
            f"--resources gpu={count}, but {SEEN} names {len(names)} ({','.join(names)}); ask for as many, or name more"
        )
    os.environ[VARIABLE] = ",".join((list(map(str, range(count))) if names is None else names)[:count])


def take() -> int | None:
    """See one GPU alone, which no other job has, until this process ends. Waits for one.

    Returns the descriptor that holds it; None where a run offers none, as on a cluster, which has given one.
    """
    names, waits = os.environ.get(VARIABLE), False
    while names:
        for name in names.split(","):
            path = os.path.join(tempfile.gettempdir(), f"ddpm-dip-{os.getuid()}-gpu-{name.replace('/', '-')}")
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            os.environ[SEEN] = name
            return descriptor
        if not waits:  # Snakemake lets no more jobs run than there are GPUs, but another run may have some
            print(f"waiting for a GPU of {names}, which another run has", flush=True)
        waits = True
        time.sleep(0.2)
    return None
