"""How far a study is, from its files."""

import pytest
from test_study import DEFAULT

from ddpm_dip import study
from ddpm_dip.jobs import files, job, ledger
from ddpm_dip.study import plan, progress


@pytest.fixture
def found(tmp_path):
    asked = study.read(DEFAULT)
    machine = plan.Machine("torch", "torch", "torch", 8, "torch")
    return tmp_path / "digits", ledger.entries(tmp_path / "digits", plan.plan(asked, machine))


def make(folder, entry):
    """As if a job had run: its outputs with their records."""
    content = {key: value for key, value in entry.content.items() if key != "hints"}
    for path in entry.planned.outputs.values():
        files.write_text(folder / path, "made")
        files.write_json(job.record_of(folder / path), {"job": content, "sha256": files.sha256(folder / path)})


def test_jobs_are_counted_by_stage_as_their_records_appear(found):
    folder, entries = found
    done = set()
    before = progress.of_study(folder, entries, {}, done)
    assert before.made == 0 and before.total == len(entries) and not before.running
    make(folder, entries["prepare_data", "digits"])
    files.write_text(folder / "logs/train/hw4/r0/epoch-0005.log", "epoch 1")
    now = progress.of_study(folder, entries, {}, done)
    assert now.stages["prepare_data"] == (1, 1) and now.made == 1 and now.running == {"train": 1}
    assert done == {("prepare_data", "digits")}


def test_time_left_is_by_the_rates_of_the_like(found):
    folder, entries = found
    samples = [entry for key, entry in entries.items() if key[0] == "sample"]
    sample = next(entry for entry in samples if entry.content["settings"]["cell"]["nfe"])
    rates = {(*sample.planned.hints["kind"], "image-steps"): (1e-3, 0.5)}
    now = progress.of_study(folder, entries, rates)
    of_kind = [e for e in entries.values() if e.planned.hints["kind"] == sample.planned.hints["kind"]]
    steps = sum(e.content["settings"]["n"] * e.content["settings"]["cell"]["nfe"] for e in of_kind)
    assert now.left == pytest.approx(steps * 1e-3 + 0.5 * len(of_kind))
    assert now.unknown == len(entries) - len(of_kind)
    text = progress.line("digits", now, cores=2)
    assert text.startswith(f"digits: 0 of {len(entries)} jobs, about ") and "this machine has not done yet" in text


def test_lines_and_bars_for_a_terminal():
    now = progress.Progress({"sample": (3, 12), "report": (0, 1)}, {"sample": 2}, 600.0, 0)
    assert progress.line("x", now, 2) == "x: 3 of 13 jobs, running 2 of sample, about 5 min left"
    first, second = progress.bars(now, width=12)
    assert first.split() == ["sample", "███·········", "3", "of", "12"] and second.split()[1] == "·" * 12
    assert progress.line("x", now._replace(stages={"report": (1, 1)}, running={}), 2) == "x: 1 of 1 jobs, done"
    assert [progress.duration(seconds) for seconds in (12, 300, 9000)] == ["12 s", "5 min", "2.5 h"]
