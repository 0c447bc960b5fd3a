"""One thread a process: the machine is shared, and sums then have one order."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded, and for the scripts that tests start

import torch

torch.set_num_threads(1)


def pytest_terminal_summary(terminalreporter):
    """What passing tests have to say (`record_property("said", ...)`), whichever process ran them."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "said":
                terminalreporter.write_line(value)
