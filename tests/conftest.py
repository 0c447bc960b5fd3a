"""One thread a process: the machine is shared, and sums then have one order."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded, and for the scripts that tests start

import torch

torch.set_num_threads(1)
