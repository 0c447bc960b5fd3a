"""The real Snakemake in a process of its own, without the seconds that importing it takes.

A server process that has imported it once is forked for each run. It has imported nothing of this project, so that a
source tree of a test's own is what a run sees.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from snakemake import cli

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload([__name__])
PATHS = list(sys.path)  # in the server: without what pytest puts there


def begin(words: list[str], cwd: Path, variables: dict[str, str], said: list[str]) -> None:
    """Become `python -m snakemake WORDS`."""
    for path, stream in zip(said, (1, 2), strict=True):
        os.dup2(os.open(path, os.O_WRONLY), stream)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(variables)
    sys.path[:], sys.argv[:] = PATHS, ["snakemake", *words]
    cli.main(words)


def snakemake(words: list[str], cwd: Path, variables: dict[str, str]) -> subprocess.CompletedProcess:
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder, name) for name in ("stdout", "stderr")]
        for path in said:
            path.touch()
        process = SERVER.Process(target=begin, args=(words, cwd, variables, list(map(str, said))))
        process.start()
        process.join()
        return subprocess.CompletedProcess(words, process.exitcode, *(path.read_text("utf-8") for path in said))
