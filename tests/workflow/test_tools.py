"""make run, make progress and make peek, as a user calls them on the micro study."""

import inspect
import subprocess
import sys
import zipfile

import pytest
import yaml
from conftest import HERE, ROOT, command, environment
from snakemake.scheduling.job_scheduler import JobScheduler

from ddpm_dip.jobs.archive import MANIFEST

pytestmark = pytest.mark.slow


def tool(folder, name, overlay=None, *options):
    """A tool of a source tree, in its folder."""
    words = [sys.executable, folder / f"workflow/tools/{name}.py", HERE / "micro.yaml"]
    if overlay:
        (folder / "more.yaml").write_text(yaml.safe_dump(overlay))
        words.append(folder / "more.yaml")
    return subprocess.run([*map(str, words), *options], cwd=folder, capture_output=True, text=True)


def test_a_run_says_how_far_it_is_and_ends_with_the_answer(copied):
    (copied / "results/micro/report/index.html").unlink()
    done = tool(copied, "run", None, "--cores", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    total = int(lines[0].split(" of ")[1].split()[0])
    assert lines[0].startswith(f"micro: {total - 1} of {total} jobs") and lines[-2].startswith("report: ")
    assert "rule " not in done.stdout and list((copied / "results/micro/logs").glob("run-*.log"))
    summary = (copied / "results/micro/report/summary.txt").read_text()
    assert summary in done.stdout and summary.startswith("Of the claims on digits: ")


def test_what_failed_comes_last_with_the_end_of_its_log(copied):
    sampler = copied / "src/ddpm_dip/sampling/warm_starts/noise.py"
    sampler.write_text(sampler.read_text() + "\n\nraise RuntimeError('a planted fault')\n")
    done = tool(copied, "run", None, "--cores", "2")
    assert done.returncode != 0
    told = done.stdout[done.stdout.index(" failed; the end of results/micro/logs/") :]
    assert "a planted fault" in told and told.strip().splitlines()[-1].startswith(
        "not finished; all of Snakemake's words"
    )


def test_a_mistake_is_said_before_anything_runs(copied):
    done = tool(copied, "run", {"sampling": {"nn": 3}}, "--cores", "2")
    assert done.returncode != 0 and "sampling: unknown key 'nn'" in done.stderr and "Traceback" not in done.stderr


def test_progress_and_a_peek_at_what_is_there(copied):
    metrics = next((copied / "results/micro/metrics").rglob("*dip-p01*/**/*.json"), None)
    metrics = metrics or next((copied / "results/micro/metrics").rglob("K*.json"))
    metrics.unlink()
    before = {path: path.stat().st_mtime_ns for path in (copied / "results/micro").rglob("*") if path.is_file()}
    done = tool(copied, "progress")
    assert done.returncode == 0, done.stderr
    assert "2 of 3 cells measured" in done.stdout and "evaluate" in done.stdout
    done = tool(copied, "peek")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 of 3 cells are measured") and "micro-peek/report/index.html" in done.stdout
    assert (copied / "results/micro-peek/report/index.html").stat().st_size > 100_000
    assert {path: path.stat().st_mtime_ns for path in before} == before, "the study itself stays as it is"


def verify(path):
    words = [sys.executable, ROOT / "workflow/tools/verify.py", path]
    return subprocess.run([*map(str, words)], capture_output=True, text=True)


def test_the_catalog_s_snakefile_is_the_workflow(copied):
    (copied / "results/micro/report/index.html").unlink()
    words = command(copied, "-n", study="micro", source=copied)
    words[words.index(str(copied / "Snakefile"))] = str(copied / "workflow/Snakefile")
    done = subprocess.run(words, cwd=copied, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0 and "output: results/micro/report/index.html" in done.stdout, done.stderr


def test_an_archive_holds_a_finished_study_and_names_what_was_altered(copied, tmp_path):
    done = tool(copied, "archive")
    assert done.returncode == 0, done.stderr
    path = copied / "results/micro.zip"
    assert verify(path).returncode == 0
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "out")
    assert {"micro/report/index.html", "micro/tables/cells.csv", "micro/data/digits.npz.provenance.json"} <= set(names)
    assert not [name for name in names if name.endswith((".safetensors", ".npz"))]
    assert subprocess.run(["sha256sum", "--check", "--quiet", MANIFEST], cwd=tmp_path / "out").returncode == 0
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            content = (tmp_path / "out" / name).read_bytes()
            archive.writestr(name, content + b"1" * name.endswith("cells.csv"))
    done = verify(path)
    assert done.returncode == 1 and "micro/tables/cells.csv is not what the manifest says" in done.stderr

    left = copied / "results/micro/metrics/hw4/r0/epoch-0001-ema/noise/ancestral/K0007-nfe0007.json"
    left.parent.mkdir(parents=True)
    left.write_text("{}")  # of a cell that is no longer asked for
    assert tool(copied, "archive").returncode == 0
    assert not [name for name in zipfile.ZipFile(path).namelist() if "K0007" in name]
    done = tool(copied, "archive", None, "--weights")
    assert (
        done.returncode == 0
        and "micro/models/hw4-sees/r0/epoch-0003/weights.safetensors" in zipfile.ZipFile(path).namelist()
    )
    (copied / "results/micro/report/index.html").unlink()
    done = tool(copied, "archive")
    assert done.returncode == 1 and "results/micro: not finished, 1 jobs are to be run" in done.stderr


def test_the_limit_of_jobs_a_second_has_the_name_that_the_snakefile_sets():
    """Under another name, Snakemake would look at all waiting jobs again each second, and no run would show it."""
    assert "if self.job_rate_limiter is not None:" in inspect.getsource(JobScheduler.schedule)
