"""A job's file and the records beside results: what they say, and that what does not fit is refused by name."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jobfile

from ddpm_dip.jobs import code, files
from ddpm_dip.jobs.errors import UserError
from ddpm_dip.jobs.job import Job, identity, read_record, record_of


def make(folder: Path, name: str, before: str | None = None) -> Path:
    """A result made by a job of the stage `copy`, from the one `before`."""
    path = jobfile.write(
        folder, "copy", {"of": before}, {"one": before} if before else {}, {"copy": name}, name, speed=1
    )
    job = Job(path, "copy")
    files.write_json(job.output("copy"), {"from": str(job.input("one")) if before else None})
    job.finish(work={"copies": 1})
    return job.output("copy")


@pytest.fixture
def chain(tmp_path, monkeypatch) -> list[Path]:
    """Three results, each made from the one before."""
    monkeypatch.chdir(tmp_path)
    names = ["a.json", "b.json", "c.json"]
    return [make(Path("results/x"), name, before) for before, name in zip([None, *names], names, strict=False)]


def test_a_record_says_how_its_file_was_made(chain):
    assert chain[1] == Path("results/x/b.json")  # as seen from here
    record = read_record(chain[1])
    assert record["sha256"] == files.sha256(chain[1]) and record["output"] == "b.json"
    assert record["read"] == {"a.json": files.sha256(chain[0])}
    assert record["job"] == identity(files.read_json("results/x/jobs/copy/b.json.json"))
    assert record["job"]["settings"] == {"of": "a.json"} and "hints" not in record["job"]
    assert record["device"] == "cpu" and record["threads"] == 1 and record["work"] == {"copies": 1}
    assert record["versions"]["python"] and record["versions"]["torch"] and record["machine"]
    assert record["seconds"] >= 0 and record["start_seconds"] > 0


@pytest.mark.parametrize("damage", [lambda content: content[:-3], lambda content: content.replace(b"null", b"nuLL")])
def test_an_altered_input_is_named(chain, damage):
    chain[0].write_bytes(damage(chain[0].read_bytes()))
    with pytest.raises(UserError, match=r"results/x/a\.json: altered or damaged .* delete it"):
        make(Path("results/x"), "b.json", "a.json")
    chain[0].unlink()
    with pytest.raises(UserError, match=r"results/x/a\.json: cannot be read: No such file"):
        make(Path("results/x"), "b.json", "a.json")


def test_a_file_without_a_record_is_taken_as_it_is(tmp_path):
    (tmp_path / "mine.npz").write_bytes(b"mine")
    job = Job(jobfile.write(tmp_path, "copy", {}, {"one": "mine.npz"}, {"copy": "b.json"}), "copy")
    job.input("one")
    assert job.read == {"mine.npz": files.sha256(tmp_path / "mine.npz")}


def test_inputs_have_one_path_a_list_or_names(tmp_path):
    for name in "abc":
        (tmp_path / name).write_text(name)
    inputs = {"one": "a", "list": ["a", "b"], "named": {"first": "c"}}
    job = Job(jobfile.write(tmp_path, "copy", {}, inputs, {"copy": "d"}), "copy")
    assert job.input("one").read_text() == "a"
    assert {name: path.read_text() for name, path in job.inputs("list").items()} == {"a": "a", "b": "b"}
    assert {name: path.read_text() for name, path in job.inputs("named").items()} == {"first": "c"}
    assert job.has("one") and not job.has("two")
    with pytest.raises(UserError, match="inputs has no two"):
        job.input("two")
    with pytest.raises(UserError, match="outputs has no two"):
        job.output("two")


def test_the_code_must_be_what_the_job_says(tmp_path):
    path = jobfile.write(tmp_path, "copy", {}, {}, {"copy": "b"})
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"code": {"sampling.noise": code.digest_of("sampling.noise")}}))
    Job(path, "copy")
    path.write_text(json.dumps(content | {"code": {"sampling.noise": "0" * 16}}))
    with pytest.raises(UserError, match=r"sampling\.noise changed after this job was planned"):
        Job(path, "copy")


def test_a_job_rewritten_meanwhile_leaves_no_record(tmp_path):
    path = jobfile.write(tmp_path, "copy", {"n": 1}, {}, {"copy": "b.json"})
    job = Job(path, "copy")
    files.write_json(job.output("copy"), {})
    jobfile.write(tmp_path, "copy", {"n": 1}, {}, {"copy": "b.json"}, speed=2)  # a hint: the same job
    job.finish()
    assert read_record(job.output("copy"))["job"]["settings"] == {"n": 1}
    record_of(job.output("copy")).unlink()
    jobfile.write(tmp_path, "copy", {"n": 2}, {}, {"copy": "b.json"})
    with pytest.raises(UserError, match="changed while this ran"):
        job.finish()
    assert read_record(job.output("copy")) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not a readable JSON file"),
        ('{"stage": "copy"}', "has no settings, inputs, outputs"),
        (
            '{"stage": "paste", "settings": {}, "inputs": {}, "outputs": {}}',
            "is a job of paste; right is a job file of",
        ),
    ],
)
def test_what_is_no_job_file_is_named(text, says, tmp_path):
    path = tmp_path / "jobs/copy/x.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(UserError, match=says):
        Job(path, "copy")
    with pytest.raises(UserError, match="no such file|cannot be read"):
        Job(tmp_path / "jobs/copy/y.json", "copy")


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
    images = {"dataset": "digits", "root": None, "sha256": None, "split": "both", "image_size": 16, "channels": 1}
    jobs = [
        ("prepare_data", images | {"reference": 1700, "seed": 0}, {}, {"data": "data/digits.npz"}),
        ("train_classifier", {"epochs": 1, "seed": 0}, {"data": "data/digits.npz"}, {"classifier": "c.safetensors"}),
    ]
    for stage, *parts in jobs:
        done = jobfile.script(stage, jobfile.write(tmp_path, stage, *parts))
        assert done.returncode == 0, done.stderr
    broken = tmp_path / {"data": "data/digits.npz", "weights": "c.safetensors"}[which]
    damaged(broken, kind)
    inputs = {"data": "data/digits.npz", "nets": {"classifier": "c.safetensors"}}
    path = jobfile.write(tmp_path, "reference_features", {"device": "cpu"}, inputs, {"features": "out.npz"})
    done = jobfile.script("reference_features", path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ") and f"{broken.name}: altered or damaged since it was made" in done.stderr
    assert not (tmp_path / "out.npz").exists()
