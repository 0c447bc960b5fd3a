"""Records beside results: what they say, and that what does not fit its record is refused by name."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ddpm_dip import adoption, code, files, provenance
from ddpm_dip.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "workflow/scripts"


def run(script: str, *arguments: object, **settings) -> subprocess.CompletedProcess:
    folder = ROOT / "workflow" / ("tools" if script == "adopt.py" else "scripts")
    command = [sys.executable, folder / script, *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, **settings)


@pytest.fixture
def chain(tmp_path, monkeypatch) -> list[Path]:
    """Three results, each made from the one before."""
    monkeypatch.chdir(tmp_path)
    paths = [Path(f"results/x/{name}.json") for name in ("a", "b", "c")]
    for before, path in zip([None, *paths], paths, strict=False):
        job = provenance.Job(None, __file__)
        files.write_json(path, {"from": str(job.input(before)) if before else None})
        job.finish(path, spec={"name": path.stem}, seed=3)
    return paths


def test_a_record_says_how_its_file_was_made(chain):
    record = files.read_json("results/x/b.json.provenance.json")
    assert record["sha256"] == files.sha256(chain[1]) and record["output"] == "b.json"
    assert record["inputs"] == {"results/x/a.json": files.sha256(chain[0])}
    assert record["spec"] == {"name": "b"} and record["seed"] == 3 and record["device"] == "cpu"
    assert record["code"] == code.digest(Path(__file__)) and record["seconds"] >= 0
    assert record["versions"]["python"] and record["versions"]["torch"] and record["machine"]


@pytest.mark.parametrize("damage", [lambda content: content[:-3], lambda content: content.replace(b"null", b"nuLL")])
def test_an_altered_input_is_named(chain, damage):
    chain[0].write_bytes(damage(chain[0].read_bytes()))
    with pytest.raises(UserError, match=r"a\.json: altered or damaged .* delete it"):
        provenance.Job(None, __file__).input(chain[0])
    with pytest.raises(UserError, match=r"gone\.json: cannot be read: No such file"):
        provenance.Job(None, __file__).input("gone.json")


def test_a_file_without_a_record_is_taken_as_it_is(tmp_path):
    (tmp_path / "mine.npz").write_bytes(b"mine")
    job = provenance.Job(None, __file__)
    job.input(tmp_path / "mine.npz")
    assert job.inputs == {str(tmp_path / "mine.npz"): files.sha256(tmp_path / "mine.npz")}


def test_the_code_must_be_the_stamp_s(tmp_path):
    stamp = tmp_path / "stamp.json"
    script = SCRIPTS / "sample.py"
    plugins = ["warm_starts.dip"]
    stamp.write_text(json.dumps({"code": code.digest(script, tuple(plugins)), "plugins": plugins}))
    provenance.Job(stamp, script)
    for changed in ({"code": "0" * 64, "plugins": plugins}, {"code": code.digest(script), "plugins": plugins}):
        stamp.write_text(json.dumps(changed))
        with pytest.raises(UserError, match=r"sample\.py: its code changed after this run was planned"):
            provenance.Job(stamp, script)


def test_a_stamp_rewritten_meanwhile_leaves_no_record(tmp_path):
    stamp, output = tmp_path / "stamp.json", tmp_path / "out.json"
    files.write_json(stamp, {"code": code.digest(Path(__file__)), "spec": 1})
    job = provenance.Job(stamp, __file__)
    files.write_json(output, {})
    files.write_json(stamp, {"code": code.digest(Path(__file__)), "spec": 2})
    with pytest.raises(UserError, match="changed while this ran"):
        job.finish(output, spec={})
    assert not provenance.beside(output).exists() and provenance.stamp_of(output) is None


def damaged(path: Path, kind: str) -> None:
    content = bytearray(path.read_bytes())
    if kind == "truncated":
        content = content[: len(content) // 2]
    else:
        content[len(content) * 3 // 4] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("kind", ["truncated", "one bit"])
@pytest.mark.parametrize("which", ["data", "weights"])
def test_scripts_refuse_altered_inputs_by_name(tmp_path, which, kind):
    data, weights = tmp_path / "digits.npz", tmp_path / "classifier.safetensors"
    common = ("--seed", 0, "--output")
    assert run("prepare_data.py", "--dataset", "digits", "--reference", 1700, *common, data).returncode == 0
    assert run("train_classifier.py", "--data", data, "--epochs", 1, *common, weights).returncode == 0
    broken = {"data": data, "weights": weights}[which]
    damaged(broken, kind)
    done = run("reference_features.py", "--data", data, "--classifier", weights, "--output", tmp_path / "out.npz")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.startswith(f"error: {broken}: altered or damaged since it was made")
    assert not (tmp_path / "out.npz").exists()


# --- adoption


def scramble(paths: list[Path]) -> None:
    for path in paths:
        for file in (path, provenance.beside(path)):
            when = np.random.default_rng(len(str(file))).uniform(1e9, 2e9)
            os.utime(file, (when, when))


def test_scrambled_times_come_into_the_order_of_making(chain):
    scramble(chain)
    os.utime(chain[0], (3e9, 3e9))
    findings = adoption.examine("results/x")
    assert findings.adopted == chain and not findings.altered and not findings.outdated and not findings.unrecorded
    adoption.adopt(findings)
    times = [path.stat().st_mtime for path in chain]
    assert times == sorted(times) and len(set(times)) == 3
    assert [provenance.beside(path).stat().st_mtime for path in chain] == times


def test_what_does_not_fit_is_not_adopted(chain):
    damaged(chain[0], "one bit")
    job = provenance.Job(None, __file__)
    files.write_json(chain[1], {"another": 1})
    job.finish(chain[1], spec={})
    Path("results/x/stray.csv").write_text("1\n")
    done = run("adopt.py", "results/x")
    assert done.returncode == 0, done.stderr
    assert "altered, put aside: results/x/a.json" in done.stdout
    assert "outdated, made again: results/x/c.json: made from another results/x/b.json" in done.stdout
    assert "no record, made again: results/x/stray.csv" in done.stdout and "1 results taken over" in done.stdout
    assert not chain[0].exists() and Path("results/x/a.json.rejected").exists()
    assert chain[2].stat().st_mtime == adoption.OLDEST < chain[1].stat().st_mtime


def test_adopt_may_be_run_from_anywhere(chain, tmp_path):
    """Records name what they are made from as seen from where Snakemake ran."""
    backwards = [path.rename(path.with_name(f"{name}.json")) for path, name in zip(chain, "zyx", strict=True)]
    for before, path in zip([None, *backwards], backwards, strict=False):
        job = provenance.Job(None, __file__)
        if before:
            job.input(before)
        job.finish(path, spec={})
    scramble(backwards)
    (tmp_path / "elsewhere").mkdir()
    for old in Path("results/x").glob("[abc].json.provenance.json"):
        old.unlink()
    done = run("adopt.py", tmp_path / "results/x", cwd=tmp_path / "elsewhere")
    assert done.returncode == 0 and "3 results taken over" in done.stdout, done.stderr
    times = [path.stat().st_mtime for path in backwards]
    assert times == sorted(times) and len(set(times)) == 3  # by what they are made from, not by name


def test_check_changes_nothing(chain):
    scramble(chain)
    before = [path.stat().st_mtime for path in chain]
    assert "3 results are intact" in run("adopt.py", "results/x", "--check").stdout
    assert [path.stat().st_mtime for path in chain] == before


def test_adopt_says_what_is_wrong(tmp_path):
    done = run("adopt.py", tmp_path / "none")
    assert done.returncode == 1 and "no such folder" in done.stderr
    done = run("adopt.py", tmp_path)
    assert done.returncode == 1 and "no result with a record" in done.stderr
    lock = files.lock(tmp_path)
    done = run("adopt.py", tmp_path)
    os.close(lock)
    assert done.returncode == 1 and "a run is at work there" in done.stderr
