"""Child processes that import nothing from the current folder and end with this process.

A `Supervisor` keeps a command's programs running and ends them together, in order, even if it is killed itself. It
recognizes them by a mark in their environment, which their child processes inherit. Process groups and parents are not
sufficient: a Prefect worker starts every flow run in its own session, and a killed worker leaves its flow runs running.
"""

import ctypes
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from stenopool.runtime.signals import ignore_stops

if TYPE_CHECKING:
    import psutil  # imported where it is used, as `stenopool --help` does not need it

MARK = "STENOPOOL_UP"
_LAST = "-last"
_FLOW_RUN = "PREFECT__FLOW_RUN_ID"  # Prefect's own mark
_LASTED = 60.0
_LONGEST_PAUSE = 60.0
_TIDY = 15.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None)


def python_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module with this interpreter: ``python -P -m MODULE ...``.

    Without -P, Python searches the current folder first, and would import an ``api`` or ``flows`` package from there.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def safe_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The given environment (default: this process's), with -P for all Python processes that the child starts."""
    return {**(os.environ if environment is None else environment), "PYTHONSAFEPATH": "1"}


def spawn(
    command: Sequence[str], *, at_our_end: signal.Signals = signal.SIGTERM, **options: Any
) -> "subprocess.Popen[bytes]":
    """`subprocess.Popen` in a new session; the kernel sends ``at_our_end`` to the child when this process ends.

    This works even after SIGKILL. Because of the new session, Ctrl-C in a terminal does not reach the child. Raises
    RuntimeError outside the main thread, because the kernel treats the end of the starting thread as the end of the
    parent.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("Only the main thread can start a child that ends with this process.")
    parent = os.getpid()

    def before_its_program() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, at_our_end)
        if os.getppid() != parent:  # already ended
            os._exit(1)
        # A script that uses `&` ignores SIGINT in its children, but a Prefect worker ends only on SIGINT.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    return subprocess.Popen(command, start_new_session=True, preexec_fn=before_its_program, **options)


def end(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    """End a child with SIGTERM and wait for it; after this many seconds, use SIGKILL."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Supervisor:
    """The programs of one command. Leaving the context ends them: flow runs first, then workers, then the server.

    A second Ctrl-C during this time kills the remaining ones.

    ``grace``: seconds that flow runs have for their checkpoints.
    ``report``: called with a line when a program has ended.
    """

    def __init__(self, grace: float, report: Callable[[str], object]) -> None:
        self._grace = grace
        self._report = report
        self._mark = secrets.token_hex(8)
        self._children: list[Iterator[subprocess.Popen[bytes]]] = []

    def __enter__(self) -> Self:
        # Waits until its stdin closes, which happens when this process ends for any reason.
        self._guard = subprocess.Popen(
            python_command(__name__, self._mark, str(self._grace)),
            stdin=subprocess.PIPE,
            # A reader of this program's output must not have to wait for the guard.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        try:
            end_all(self._mark, self._grace)
        finally:
            self._guard.communicate()

    def environment(self, environment: Mapping[str, str], *, last: bool = False) -> dict[str, str]:
        """A child's environment: the given one plus the mark. ``last``: end it after the programs that need it."""
        return {**safe_environment(environment), MARK: self._mark + (_LAST if last else "")}

    def start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        last: bool = False,
        pass_fds: Sequence[int] = (),
        log: Path | None = None,
    ) -> "subprocess.Popen[bytes]":
        """Start a program and keep it running; returns its first process.

        ``environment``: its full environment. ``pass_fds``: descriptors that it inherits, also when it is restarted.
        ``log``: file to append the output to; by default, the output goes to stderr.
        """
        child = _keep_running(name, command, self.environment(environment, last=last), pass_fds, log, self._report)
        self._children.append(child)
        return next(child)

    def restart_ended(self) -> None:
        """Restart programs that have ended and whose pause is over. Call it repeatedly."""
        for child in self._children:
            next(child)


def _keep_running(
    name: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    pass_fds: Sequence[int],
    log: Path | None,
    report: Callable[[str], object],
) -> "Iterator[subprocess.Popen[bytes]]":
    """Yield a program's current process. Restarts it when it has ended; doubles the pause if it ran for less than a
    minute.
    """
    pause = 0.5
    while True:
        started = time.monotonic()
        with open_output(log) as output:
            # Not `spawn`: if this process is killed, flow runs must end before the worker, which would kill them.
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C in a terminal must reach only the command, which ends its children in the right order.
                start_new_session=True,
                pass_fds=pass_fds,
            )
        while (code := process.poll()) is None:
            yield process
        ended = time.monotonic()
        pause = 1.0 if ended - started > _LASTED else min(2 * pause, _LONGEST_PAUSE)
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        report(f"{name} {how}; restarting it in {pause:.0f} s." + (f" Its log: {log}" if log else ""))
        while time.monotonic() < ended + pause:
            yield process


@contextmanager
def open_output(log: Path | None) -> Iterator[int]:
    """The descriptor of a private log file, or of stderr: stdout is for the output of the command itself."""
    if log is None:
        yield sys.stderr.fileno()
        return
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def end_all(mark: str, grace: float) -> None:
    """End all processes with the mark, in order; kill those that do not end."""
    try:
        # Before their workers, which would kill them immediately.
        _terminate(lambda: find_flow_runs(mark), grace)
        _terminate(lambda: {one for one, environment in find_marked(mark) if environment[MARK] == mark}, _TIDY)
        _terminate(lambda: {one for one, _ in find_marked(mark)}, _TIDY)
    finally:
        for process, _ in find_marked(mark):
            _send(process, signal.SIGKILL)


def find_flow_runs(mark: str) -> "set[psutil.Process]":
    """The processes of flow runs, without their child processes, which they end themselves."""
    inside = {process.pid: process for process, environment in find_marked(mark) if _FLOW_RUN in environment}
    return {process for process in inside.values() if process.info["ppid"] not in inside}


def _terminate(find: "Callable[[], set[psutil.Process]]", seconds: float) -> None:
    """Send SIGTERM to each process once, until none is left or the time is over."""
    asked: set[psutil.Process] = set()
    deadline = time.monotonic() + seconds
    while (left := find()) and time.monotonic() < deadline:
        for process in left - asked:
            _send(process, signal.SIGTERM)
        asked |= left
        time.sleep(0.1)


def _send(process: "psutil.Process", number: signal.Signals) -> None:
    import psutil

    with suppress(psutil.Error):  # ended in the meantime
        process.send_signal(number)


def find_marked(mark: str) -> "Iterator[tuple[psutil.Process, dict[str, str]]]":
    """Running processes with the mark, and their environments."""
    import psutil

    for process in psutil.process_iter(["environ", "ppid"]):
        environment = process.info["environ"] or {}  # None for other users' processes
        if environment.get(MARK) in (mark, mark + _LAST):
            yield process, environment


if __name__ == "__main__":
    ignore_stops()
    sys.stdin.buffer.read()
    end_all(sys.argv[1], float(sys.argv[2]))
