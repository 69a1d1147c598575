"""Child processes: they import nothing from the current folder, and end with this process.

A tree of programs that one command starts, keeps running and ends in order is a `Supervisor`'s.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None)


def python_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module with this interpreter: ``python -P -m MODULE ...``.

    Without -P, Python looks into the current folder first: an ``api`` or ``flows`` package there would be imported
    instead of an installed one.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def safe_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment, or the one given, with -P for every Python that the child starts in turn."""
    return {**(os.environ if environment is None else environment), "PYTHONSAFEPATH": "1"}


def spawn(
    command: Sequence[str], *, at_our_end: signal.Signals = signal.SIGTERM, **options: Any
) -> "subprocess.Popen[bytes]":
    """`subprocess.Popen` in a session of its own; the kernel sends ``at_our_end`` when this process is gone.

    However it went, SIGKILL included. In the session of its own, Ctrl-C on a terminal does not reach the child.
    Raises RuntimeError outside the main thread: the kernel takes the end of the thread that started a child for the
    end of its parent.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("Only the main thread can start a child that ends with this process.")
    parent = os.getpid()

    def before_its_program() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, at_our_end)
        if os.getppid() != parent:  # gone already
            os._exit(1)
        # Ignored in what a script starts with `&`; a Prefect worker ends by this one only.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    return subprocess.Popen(command, start_new_session=True, preexec_fn=before_its_program, **options)


def end(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    """End a child by SIGTERM and wait for it; by SIGKILL if that takes longer than this."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
