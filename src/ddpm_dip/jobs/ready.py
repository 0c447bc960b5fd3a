"""Scripts that need not wait for imports.

Starting Python and importing torch, NumPy and the rest takes longer than many a job. So a run has one process that has
imported them (`serve`), and waits at a socket. A script hands its command over: the process makes a copy of itself by
fork, which takes the script's arguments, folder, environment, standard output and errors, and runs the stage as the
script would have. The script waits, passes signals on, and ends as the copy ends; if the script is killed, so is the
copy. Without such a process, as by hand or on a cluster, a script runs its stage itself.
"""

import atexit
import contextlib
import importlib
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path

VARIABLE = "DDPM_DIP_READY"  # the socket's path
STREAMS = (0, 1, 2)
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# what stages import from elsewhere; each is left out where it is not installed
IMPORTS = ("numpy", "torch", "safetensors.torch", "pandas", "PIL.Image", "scipy.linalg", "llvmlite.binding", "seaborn")


def main(stage: str) -> None:
    """The command line of a script: in a copy of the process that is ready where there is one, else here."""
    if path := os.environ.get(VARIABLE):
        status = run_there(path, stage)
        if status is not None:
            sys.exit(status)
    run_here(stage)


def run_here(stage: str) -> None:
    from . import job

    job.main(importlib.import_module(f"ddpm_dip.stages.{stage}"))


def run_there(path: str, stage: str) -> int | None:
    """The exit status of the stage, run by the process at a socket's path; None where there is none."""
    there = socket.socket(socket.AF_UNIX)
    try:
        there.connect(path)
    except OSError:
        return None
    with there:
        command = {"stage": stage, "argv": sys.argv, "folder": os.getcwd(), "environment": dict(os.environ)}
        text = json.dumps(command).encode()
        socket.send_fds(there, [len(text).to_bytes(8)], STREAMS)
        there.sendall(text)
        answers = there.makefile("r")
        if not (copy := answers.readline()):  # it ended before it began
            return None
        for number in PASSED_ON:
            signal.signal(number, lambda number, _: os.kill(int(copy), number))
        return int(answers.readline() or 1)


def start(more: tuple[str, ...] = ()) -> None:
    """Start a process that answers until this one has ended, for the scripts that this one starts.

    more: modules that it is to import besides.
    """
    path = Path(tempfile.mkdtemp(prefix="ddpm-dip-")) / "ready"
    source = Path(__file__).resolve().parents[2]
    code = f"import sys; sys.path.insert(0, {str(source)!r}); from ddpm_dip.jobs import ready; "
    code += f"ready.serve({str(path)!r}, {more!r})"
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # threads do not survive a fork
    subprocess.Popen([sys.executable, "-c", code], env=os.environ | one_thread, stdin=subprocess.DEVNULL)
    os.environ[VARIABLE] = str(path)


def serve(path: str, more: tuple[str, ...] = ()) -> None:
    """Answer at a socket until the process that started this one has ended."""
    parent = os.getppid()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # whoever stops the run stops the copies, and ends this one by its end
    here = socket.socket(socket.AF_UNIX)
    here.bind(path)
    here.listen(64)  # scripts may come while this is still importing
    for name in (*IMPORTS, *more):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    copies: dict[int, socket.socket] = {}
    waker, woken = os.pipe()
    for end in (waker, woken):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with selectors.DefaultSelector() as selector:
        selector.register(here, selectors.EVENT_READ)
        selector.register(waker, selectors.EVENT_READ)
        while os.getppid() == parent or copies:
            ready = [key.fileobj for key, _ in selector.select(1)]
            if here in ready:
                script, _ = here.accept()
                copy = os.fork()
                if not copy:
                    break
                copies[copy] = script
            if waker in ready:
                os.read(waker, 4096)
            for copy in [copy for copy in copies if os.waitpid(copy, os.WNOHANG)[0]]:
                copies.pop(copy).close()
        else:
            shutil.rmtree(Path(path).parent, ignore_errors=True)
            return
    signal.set_wakeup_fd(-1)
    for end in (here, *copies.values()):
        end.close()
    be(script)


def be(script: socket.socket) -> None:
    """In a copy: become what the script at the other end of a connection asks for."""
    header, streams, *_ = socket.recv_fds(script, 8, len(STREAMS))
    text = script.makefile("rb").read(int.from_bytes(header))
    command = json.loads(text)
    for mine, its in zip(STREAMS, streams, strict=True):
        os.dup2(its, mine)
        os.close(its)
    os.chdir(command["folder"])
    os.environ.clear()
    os.environ.update(command["environment"])
    sys.argv[:] = command["argv"]
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(command["stage"])  # its name in a list of processes
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        signal.signal(number, handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    script.sendall(f"{os.getpid()}\n".encode())
    threading.Thread(target=end_with, args=(script,), daemon=True).start()
    if (torch := sys.modules.get("torch")) and (threads := command["environment"].get("OMP_NUM_THREADS", "")).isdigit():
        torch.set_num_threads(int(threads))  # it was imported under another environment
    try:
        run_here(command["stage"])
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    with contextlib.suppress(OSError):
        script.sendall(f"{status}\n".encode())
    os._exit(status)


def end_with(script: socket.socket) -> None:
    """End at once when the script at the other end has: it never says another word."""
    with contextlib.suppress(OSError):
        script.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)
