"""Child processes: they import nothing from the current folder, and end with this process.

A `Supervisor` keeps the programs of one command running and ends them together: in order, or after its own sudden
death. Each carries a mark in its environment, and so does whatever it starts. Neither process groups nor parents would
do: a Prefect worker puts every flow run into a session of its own, and a killed worker leaves its flow runs behind.
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
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from stenopool.runtime.signals import ignore_stops

if TYPE_CHECKING:
    import psutil  # where it is used: `stenopool --help` does without

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


class Supervisor:
    """The programs of one command. Leaving the context ends them: flow runs first, then workers, then the server.

    ``grace``: seconds that flow runs have for their checkpoints. ``report``: called with a line when a program has
    ended. A second Ctrl-C while they are ended kills all that is left.
    """

    def __init__(self, grace: float, report: Callable[[str], object]) -> None:
        self._grace = grace
        self._report = report
        self._mark = secrets.token_hex(8)
        self._children: list[Iterator[subprocess.Popen[bytes]]] = []

    def __enter__(self) -> Self:
        # Waits until its stdin closes, which it does when this process is gone, however it went.
        self._guard = subprocess.Popen(
            python_command(__name__, self._mark, str(self._grace)),
            stdin=subprocess.PIPE,
            # Whoever reads our output must not wait for this process.
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
        """A child's environment: the one given and our mark. ``last``: it ends after those that need it."""
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

        ``environment``: all of it. ``pass_fds``: descriptors of this process that each start inherits. ``log``: file
        to append the output to; by default, the output goes to stderr.
        """
        child = _keep_running(name, command, self.environment(environment, last=last), pass_fds, log, self._report)
        self._children.append(child)
        return next(child)

    def restart_ended(self) -> None:
        """Start those again that have ended and whose pause is over. To be called again and again."""
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
    """Yield the current process of a program. An ended one is restarted, after a pause that doubles if it ran for less
    than a minute.
    """
    pause = 0.5
    while True:
        started = time.monotonic()
        # Not to stdout, which is for the command's own output.
        with log.open("ab") if log else nullcontext(sys.stderr) as output:
            # Not `spawn`: after a sudden death flow runs have to end before the worker that would kill them.
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output.fileno(),
                stderr=output.fileno(),
                # Ctrl-C on a terminal is for the command, which ends its children in the right order.
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


def end_all(mark: str, grace: float) -> None:
    """End all processes that carry the mark, in order; those that do not end are killed."""
    try:
        # Before their workers, which would kill them on the spot.
        _terminate(lambda: find_flow_runs(mark), grace)
        _terminate(lambda: {one for one, environment in find_marked(mark) if environment[MARK] == mark}, _TIDY)
        _terminate(lambda: {one for one, _ in find_marked(mark)}, _TIDY)
    finally:
        for process, _ in find_marked(mark):
            _send(process, signal.SIGKILL)


def find_flow_runs(mark: str) -> "set[psutil.Process]":
    """The processes of flow runs, without those that they started themselves: these are theirs to end."""
    inside = {process.pid: process for process, environment in find_marked(mark) if _FLOW_RUN in environment}
    return {process for process in inside.values() if process.info["ppid"] not in inside}


def _terminate(find: "Callable[[], set[psutil.Process]]", seconds: float) -> None:
    """SIGTERM for each, once, until none is left."""
    asked: set[psutil.Process] = set()
    deadline = time.monotonic() + seconds
    while (left := find()) and time.monotonic() < deadline:
        for process in left - asked:
            _send(process, signal.SIGTERM)
        asked |= left
        time.sleep(0.1)


def _send(process: "psutil.Process", number: signal.Signals) -> None:
    import psutil

    with suppress(psutil.Error):  # gone meanwhile
        process.send_signal(number)


def find_marked(mark: str) -> "Iterator[tuple[psutil.Process, dict[str, str]]]":
    """Running processes that carry the mark, with their environments."""
    import psutil

    for process in psutil.process_iter(["environ", "ppid"]):
        environment = process.info["environ"] or {}  # none of those that are somebody else's
        if environment.get(MARK) in (mark, mark + _LAST):
            yield process, environment


if __name__ == "__main__":
    ignore_stops()
    sys.stdin.buffer.read()
    end_all(sys.argv[1], float(sys.argv[2]))
