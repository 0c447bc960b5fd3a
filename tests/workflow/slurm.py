"""A SLURM of two nodes on this machine, started by hand: munged, slurmctld and a slurmd a node, on loopback."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psutil

NODES = ("one", "two")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun")
PATH = f"{os.environ['PATH']}:/usr/sbin"
CONFIG = """
ClusterName=here
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
SlurmdTimeout=300
KillWait=2
SchedulerParameters=batch_sched_delay=0
NodeName=one NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=16000 Gres=gpu:1
NodeName=two NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=16000 Gres=gpu:1
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
GPUS = "NodeName=one Name=gpu File=/dev/null\nNodeName=two Name=gpu File=/dev/zero\n"  # devices that are there
# notes of each array its tasks and the length of its longest argument
SBATCH = """#!/bin/sh
longest=0
for word in "$@"; do
  case $word in --array=*) tasks=${{word#--array=}} ;; esac
  if [ ${{#word}} -gt $longest ]; then longest=${{#word}}; fi
done
if [ "$tasks" ]; then echo "$tasks $longest" >> {folder}/arrays; fi
exec {sbatch} "$@"
"""
PATIENCE = 600  # seconds without what is waited for, after which something hangs
# Snakemake's plugin looks at its jobs after 1, 11, 21, ... seconds; here at least each other second.
SITECUSTOMIZE = """
import sys
if "--workflow-profile" in sys.orig_argv:
    from snakemake_executor_plugin_slurm import Executor
    get, put = lambda self: min(self.__dict__.get("shown", 1), 2), lambda self, value: self.__dict__.update(shown=value)
    Executor.next_seconds_between_status_checks = property(get, put)
"""


def missing() -> str:
    """Why no SLURM can be started here; "" where one can."""
    lacking = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    if lacking:
        return f"no {', '.join(lacking)} here: apt install slurmctld slurmd slurm-client munge"
    return "slurmd is to be started by root" if os.geteuid() else ""


class Cluster:
    """folder: of its files; variables: for a process that is to use it."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # short: a socket's path is
        config, key, programs = self.folder / "slurm.conf", self.folder / "munge.key", self.folder / "bin"
        for name in ("state", "bin"):
            (self.folder / name).mkdir()
        with_ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        ports = [each.getsockname()[1] for each in with_ports]
        for each in with_ports:
            each.close()
        config.write_text(CONFIG.format(ports=ports, folder=self.folder))
        (self.folder / "gres.conf").write_text(GPUS)
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        # a step of a job forgets SLURM_CONF, as on a cluster its file is in /etc
        (programs / "srun").write_text(f'#!/bin/sh\nSLURM_CONF={config} exec {shutil.which("srun")} "$@"\n')
        (programs / "srun").chmod(0o755)
        (programs / "sitecustomize.py").write_text(SITECUSTOMIZE)
        (programs / "sbatch").write_text(SBATCH.format(folder=self.folder, sbatch=shutil.which("sbatch", path=PATH)))
        (programs / "sbatch").chmod(0o755)
        self.variables = {"SLURM_CONF": str(config), "PATH": f"{programs}:{PATH}", "PYTHONPATH": str(programs)}
        self.daemons: dict[str, subprocess.Popen] = {}

    def begin(self) -> None:
        files = {
            "socket": "munge.socket",
            "key-file": "munge.key",
            "pid-file": "munged.pid",
            "seed-file": "munged.seed",
        }
        options = [f"--{name}={self.folder / file}" for name, file in files.items()]
        self.start("munged", "--foreground", "--force", *options)
        self.start("slurmctld", "-D", "-c")
        for node in NODES:
            self.start_node(node)
        self.wait_for(lambda: self.ask("sinfo", "-h", "-o", "%D %t") == "2 idle")

    def start(self, *words: str, name: str = "") -> None:
        name = name or words[0]
        with open(self.folder / f"{name}.log", "ab") as log:
            environment = os.environ | self.variables
            self.daemons[name] = subprocess.Popen(words, env=environment, stdout=log, stderr=log)

    def start_node(self, node: str) -> None:
        self.start("slurmd", "-D", "-N", node, name=node)

    def ask(self, *words: str) -> str:
        """What a program of SLURM says."""
        done = subprocess.run(words, env=os.environ | self.variables, capture_output=True, text=True)
        return done.stdout.strip()

    def jobs(self, rule: str, states: str = "all") -> list[str]:
        """The numbers of jobs of a rule in this state."""
        lines = self.ask("squeue", "-h", "-r", "-t", states, "-o", "%i %k").splitlines()
        return [line.split()[0] for line in lines if line.split()[1].startswith(f"rule_{rule}")]

    def arrays(self) -> list[tuple[int, int]]:
        """Of each array that was submitted: how many tasks it has, and how long its longest argument is."""
        found = [line.replace("-", " ").split() for line in (self.folder / "arrays").read_text().splitlines()]
        return [(int(last) - int(first) + 1, int(longest)) for first, last, longest in found]

    def wait_for(self, condition, run: subprocess.Popen | None = None) -> object:
        """Wait until a condition holds, as long as a run lives. Returns what it gave."""
        began = time.monotonic()
        while not (found := condition()):
            assert time.monotonic() - began < PATIENCE, self.ask("sinfo", "-R") + self.ask("squeue", "-t", "all")
            assert run is None or run.poll() is None, "the run ended before"
            assert all(daemon.poll() is None for daemon in self.daemons.values()), "a daemon of SLURM ended"
            time.sleep(0.1)
        return found

    def lose(self, node: str) -> None:
        """A node goes down with all that runs on it, and the controller hears of it."""
        daemon = psutil.Process(self.daemons.pop(node).pid)
        for process in [daemon, *daemon.children(recursive=True)]:
            process.kill()
        self.ask("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")

    def stop(self) -> None:
        self.ask("scancel", "--user=root")
        for daemon in reversed(self.daemons.values()):
            daemon.terminate()
        for daemon in self.daemons.values():
            daemon.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)
