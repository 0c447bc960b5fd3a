"""The ledger on a made-up plan of three stages: what is made, what is to be made again, and in which words."""

import json
import os
from functools import cache
from pathlib import Path

import pytest

from ddpm_dip.jobs import code, files, ledger
from ddpm_dip.jobs.errors import UserError
from ddpm_dip.jobs.job import Job, record_of
from ddpm_dip.jobs.ledger import Planned

STAGES = ("grow", "cut", "bake")


@pytest.fixture(autouse=True)
def package(tmp_path, monkeypatch) -> Path:
    """A package of three stages and a module that one of them imports."""
    package = tmp_path / "bakery"
    (package / "stages").mkdir(parents=True)
    for folder in (package, package / "stages"):
        (folder / "__init__.py").write_text("")
    for stage in STAGES:
        (package / f"stages/{stage}.py").write_text("from ..knives import sharp\n" if stage == "cut" else "x = 1\n")
    (package / "knives.py").write_text("sharp = True\n")
    monkeypatch.setattr(code, "PACKAGE", package)
    forget()
    yield package
    forget()


def forget() -> None:
    """As a new process knows nothing of the code yet."""
    for function in (code.imported, code.normal_form, code.source, code.digest_of, code.digests):
        function.cache_clear()


def forget_digests() -> None:
    for function in (code.source, code.digest_of):
        function.cache_clear()


def plan(length: int = 3, heat: int = 200) -> list[Planned]:
    return [
        Planned("grow", "corn", {"length": length}, {}, {"corn": "corn.json", "straw": "straw.json"}),
        Planned("cut", "corn", {}, {"corn": "corn.json"}, {"flour": "flour.json"}),
        Planned("bake", "bread", {"heat": heat}, {"flour": ["flour.json"]}, {"bread": "bread.json"}),
        Planned("bake", "cake", {"heat": 150}, {"flour": {"fine": "flour.json"}}, {"cake": "cake.json"}),
    ]


def run(folder: Path, asked: list[Planned]) -> set[str]:
    """Do what the ledger says is to be done. Returns the first outputs that were made."""
    found = ledger.entries(folder, asked)
    ledger.write(folder, found)
    done = set()
    for entry in found.values():
        if not entry.made:
            job = Job(folder / entry.planned.file, entry.planned.stage)
            for role, path in entry.planned.outputs.items():
                files.write_json(job.output(role), [entry.content["settings"], path])
            job.finish()
            done.add(next(iter(entry.planned.outputs.values())))
    return done


def to_make(folder: Path, asked: list[Planned]) -> dict[str, tuple[str, ...]]:
    found = ledger.entries(folder, asked)
    return {name: entry.why for (_, name), entry in found.items() if not entry.made}


@pytest.fixture
def kitchen(tmp_path) -> Path:
    folder = tmp_path / "results/kitchen"
    assert run(folder, plan()) == {"corn.json", "flour.json", "bread.json", "cake.json"}
    return folder


def test_what_was_made_is_made(kitchen):
    assert to_make(kitchen, plan()) == {}
    assert run(kitchen, plan()) == set()


def test_a_setting_makes_its_job_and_all_that_follows(kitchen):
    assert to_make(kitchen, plan(heat=180)) == {"bread": ("heat 200 -> 180",)}
    why = {key: entry.why for key, entry in ledger.entries(kitchen, plan(length=4)).items()}
    assert why["grow", "corn"] == ("length 3 -> 4",)
    assert why["cut", "corn"] == ("corn.json is made again",)
    assert why["bake", "cake"] == ("flour.json is made again",)
    assert run(kitchen, plan(length=4)) == {"corn.json", "flour.json", "bread.json", "cake.json"}
    assert to_make(kitchen, plan(length=4)) == {}


def test_code_counts_by_its_syntax_tree_where_it_is_imported(kitchen, package):
    (package / "knives.py").write_text("# very\nsharp = (True)\n")
    forget()
    assert to_make(kitchen, plan()) == {}
    (package / "knives.py").write_text("sharp = False\n")
    forget()
    why = {key: entry.why for key, entry in ledger.entries(kitchen, plan()).items() if not entry.made}
    assert why["cut", "corn"] == ("knives.py changed",)
    assert set(why) == {("cut", "corn"), ("bake", "bread"), ("bake", "cake")}


def test_the_room_of_jobs_does_not_count(package):
    (package / "jobs").mkdir()
    (package / "jobs/__init__.py").write_text("")
    (package / "jobs/files.py").write_text("x = 1\n")
    (package / "stages/grow.py").write_text("from ..jobs import files\n")
    forget()
    assert list(code.digests("grow")) == ["stages", "stages.grow"]


def test_missing_inputs_do_not_count_and_the_result_of_other_jobs_does(kitchen):
    (kitchen / "flour.json").unlink()
    assert to_make(kitchen, plan()) == {"corn": ("new",)}  # cut's result, which nothing that is there needs
    assert {key for key, entry in ledger.entries(kitchen, plan()).items() if not entry.made} == {("cut", "corn")}
    assert run(kitchen, plan()) == {"flour.json"}
    foreign = kitchen.parent / "foreign"
    run(foreign, plan(length=9))
    for name in ("flour.json", str(record_of("flour.json"))):
        (kitchen / name).write_bytes((foreign / name).read_bytes())
    why = {key: entry.why for key, entry in ledger.entries(kitchen, plan()).items() if not entry.made}
    assert set(why) == {("cut", "corn"), ("bake", "bread"), ("bake", "cake")}
    assert why["bake", "bread"] == ("flour.json is made again",)  # made of it or not: that cannot be known


def test_a_lost_second_output_is_no_reason_and_a_lost_record_is(kitchen):
    (kitchen / "straw.json").unlink()
    record_of(kitchen / "straw.json").unlink()
    assert to_make(kitchen, plan()) == {}
    record_of(kitchen / "bread.json").unlink()
    assert to_make(kitchen, plan()) == {"bread": ("a file or its record is lost",)}


def test_hints_and_the_order_before_are_no_part_of_a_job(kitchen):
    asked = [job._replace(hints={"speed": 2}, after=("straw.json",)) for job in plan()]
    assert to_make(kitchen, asked) == {}
    ledger.write(kitchen, ledger.entries(kitchen, asked))
    assert json.loads((kitchen / asked[0].file).read_text())["hints"]["speed"] == 2


def test_a_job_s_file_is_old_where_its_result_is_made_and_newer_where_not(kitchen):
    future = 4e9
    for path in kitchen.glob("*.json*"):
        os.utime(path, (future, future))
    os.utime(kitchen / "cake.json", (0, 0))  # as an archive may unpack it
    found = ledger.entries(kitchen, plan(heat=180))
    ledger.write(kitchen, found)
    for entry in found.values():
        job, first = kitchen / entry.planned.file, kitchen / next(iter(entry.planned.outputs.values()))
        assert (job.stat().st_mtime < first.stat().st_mtime) == entry.made, entry.planned
    assert {entry.planned.name for entry in found.values() if not entry.made} == {"bread"}


def test_results_of_the_very_same_jobs_are_linked_in(kitchen):
    other = kitchen.parent / "other"
    assert {name for name in to_make(other, plan(heat=180))} == {"corn", "bread", "cake"}
    found = ledger.entries(other, plan(heat=180), reuse=[kitchen])
    assert {key for key, entry in found.items() if not entry.made} == {("bake", "bread")}
    assert (other / "flour.json").samefile(kitchen / "flour.json")
    assert run(other, plan(heat=180)) == {"bread.json"}
    run(other, plan(length=5))  # made anew there, and unchanged here
    assert to_make(kitchen, plan()) == {}
    assert json.loads((kitchen / "corn.json").read_text()) == [{"length": 3}, "corn.json"]


def test_what_cannot_be_linked_is_copied(kitchen, monkeypatch):
    def no_links(*_):
        raise OSError("another file system")

    monkeypatch.setattr(os, "link", no_links)
    other = kitchen.parent / "other"
    found = ledger.entries(other, plan(), reuse=[kitchen])
    assert all(entry.made for entry in found.values())
    assert not (other / "flour.json").samefile(kitchen / "flour.json")
    assert (other / "flour.json").read_bytes() == (kitchen / "flour.json").read_bytes()


def test_differ_says_whether_another_run_s_jobs_are_others(kitchen):
    assert not ledger.differ(kitchen, ledger.entries(kitchen, plan()))
    assert ledger.differ(kitchen, ledger.entries(kitchen, plan(heat=1)))


def test_another_python_checks_a_jobs_code_by_its_bytes(kitchen, package, monkeypatch):
    """Another minor version may write the same syntax tree in another way, as a node of a cluster can have one."""
    path = kitchen / "jobs/cut/corn.json"
    ours = code.normal_form
    monkeypatch.setattr(code, "normal_form", cache(lambda path: ours(path) + "  # written otherwise"))
    forget_digests()
    Job(path, "cut")
    (package / "knives.py").write_text("sharp = False\n")
    forget_digests()
    with pytest.raises(UserError, match="changed after this job was planned"):
        Job(path, "cut")


def test_a_comment_changes_a_jobs_file_and_not_the_job(kitchen, package):
    before = (kitchen / "jobs/cut/corn.json").read_text()
    (package / "knives.py").write_text("sharp = True  # as ever\n")
    forget()
    Job(kitchen / "jobs/cut/corn.json", "cut")  # of a run under way
    found = ledger.entries(kitchen, plan())
    assert not ledger.differ(kitchen, found)
    assert run(kitchen, plan()) == set()
    assert (kitchen / "jobs/cut/corn.json").read_text() != before
