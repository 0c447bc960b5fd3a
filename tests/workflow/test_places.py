"""A source tree that cannot be written, with accents and spaces in its path, run from a folder elsewhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import HERE, copy_sources, environment

pytestmark = [pytest.mark.slow, pytest.mark.long]
REPORT = "results/micro/report/index.html"


def run(source: Path, folder: Path, *wrapper: str) -> subprocess.CompletedProcess:
    """From within `folder`, without --directory."""
    words = [sys.executable, "-m", "snakemake", "--cores", "2", "--snakefile", str(source / "Snakefile")]
    words += ["--configfile", str(HERE / "micro.yaml")]
    return subprocess.run([*wrapper, *words], cwd=folder, capture_output=True, text=True, env=environment())


def test_a_read_only_source_tree_from_another_folder(tmp_path):
    source, folder = copy_sources(tmp_path / "söurces, read only"), tmp_path / "jemand's results"
    folder.mkdir()
    before = sorted(source.rglob("*"))
    wrapper = ()
    if os.geteuid() == 0:  # permissions do not bind root: a read-only mount in a mount namespace of our own does
        mount = f'mount --bind "{source}" "{source}" && mount -o remount,ro,bind "{source}"'
        wrapper = ("unshare", "-rm", "bash", "-c", f'{mount} && exec "$@"', "bash")
        if subprocess.run([*wrapper, "true"], capture_output=True).returncode:
            pytest.skip("mounts are not allowed here: a read-only source tree is not tried")
    for path in [source, *before]:
        path.chmod(path.stat().st_mode & ~0o222)
    done = run(source, folder, *wrapper)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / REPORT).exists() and (folder / f"{REPORT}.provenance.json").exists()
    assert sorted(source.rglob("*")) == before
    again = run(source, folder, *wrapper)
    assert "Nothing to be done" in again.stdout + again.stderr
    for path in [source, *before]:
        path.chmod(path.stat().st_mode | 0o200)  # so that pytest can remove it
