"""What a run will cost: rates by the records of this machine, in the unit that the work is counted in."""

import json
from pathlib import Path

from ddpm_dip.jobs import job
from ddpm_dip.study import why


def record(path: Path, **parts: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": job.machine(), "start_seconds": 2.0} | parts
    Path(f"{path}{job.RECORD}").write_text(json.dumps(content))


def test_a_rate_is_in_the_unit_of_its_work(tmp_path):
    train, evaluate = ["train", "hw4"], ["evaluate"]
    record(tmp_path / "a/models/one", kind=train, seconds=10.0, work={"epochs": 2, "images": 2000})
    record(tmp_path / "b/models/two", kind=train, seconds=30.0, work={"epochs": 2, "images": 2000})
    record(tmp_path / "a/metrics/one", kind=evaluate, seconds=6.0, work={"images": 128})
    record(tmp_path / "a/metrics/kept", kind=["sample"], seconds=1.0, work={"image-steps": 0})
    record(tmp_path / "a/metrics/elsewhere", kind=evaluate, seconds=900.0, work={}, machine="another")
    rates = why.measured_rates(tmp_path)
    assert rates["train", "hw4", "epochs"] == (10.0, 2.0)  # the median of 5 and 15 seconds an epoch
    assert rates["evaluate", "jobs"] == (6.0, 2.0)
    assert ("sample", "image-steps") not in rates
