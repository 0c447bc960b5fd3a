"""One thread a process: the machine is shared, and sums then have one order."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded, and for the scripts that tests start

import torch
from xdist.scheduler import LoadScopeScheduling

torch.set_num_threads(1)
ROOMS = ("ledger", "study", "networks", "samplers", "data", "frechet", "tables", "interpolate_stage", "lanes")
FIRST = [f"tests/unit/test_{name}.py" for name in ROOMS]  # a quick file each
LONGEST = ["tests/workflow/test_reruns.py", "tests/workflow/test_add_your_own.py", "tests/unit/test_training.py"]
ONE_RUN = tuple(f"tests/workflow/test_{name}.py" for name in ("tiny_study", "tiny_b", "planted_truth", "slurm"))


class OneRunOneProcess(LoadScopeScheduling):
    """Tests go to pytest's processes one by one; but a file whose tests share a run of minutes goes to one process."""

    def _split_scope(self, nodeid):
        file = nodeid.split("::")[0]
        return file if file in ONE_RUN else nodeid


def pytest_collection_modifyitems(items):
    """Every room within the first minute, then the longest files, so that both processes end at about one time."""
    places = {file: place for place, file in enumerate([*FIRST, *LONGEST])}
    items.sort(key=lambda item: places.get(item.nodeid.split("::")[0], len(places)))


def pytest_xdist_make_scheduler(config, log):
    return OneRunOneProcess(config, log) if config.getoption("dist") == "loadscope" else None


def pytest_terminal_summary(terminalreporter):
    """What passing tests have to say (`record_property("said", ...)`), whichever process ran them."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "said":
                terminalreporter.write_line(value)
