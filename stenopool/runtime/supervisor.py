"""Programs that one command keeps running and ends together: in good order, or after its own sudden death.

Each carries a mark in its environment, and so does whatever it starts. Process groups would not do: a Prefect worker
puts every flow run into a session of its own, and a killed worker leaves its flow runs behind. Linux only (/proc).
"""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

MARK = "STENOPOOL_UP"
_FLOW_RUN = b"PREFECT__FLOW_RUN_ID="  # Prefect's own mark
_LASTED = 60.0
_LONGEST_PAUSE = 60.0
_TIDY = 15.0


class Child:
    """One program that is started again when it ends; if it did not last a minute, after twice the pause."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self.command = command
        self.environment = environment
        self.pause = 0.5
        self.due: float | None = None
        self.start()

    def start(self) -> None:
        self.due = None
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            self.command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            # stdout is for the command's own answer.
            stdout=sys.stderr.fileno(),
            # Ctrl-C on a terminal is for the command, which ends its children in the right order.
            start_new_session=True,
        )

    def tend(self) -> str | None:
        """Start it again if it has ended and its pause is over; says what happened when it has just ended."""
        code = self.process.poll()
        now = time.monotonic()
        if code is None:
            return None
        if self.due is None:
            self.pause = 1.0 if now - self.started > _LASTED else min(2 * self.pause, _LONGEST_PAUSE)
            self.due = now + self.pause
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            return f"{self.name} {how}; starting it again in {self.pause:.0f} s."
        if now >= self.due:
            self.start()
        return None


class Children:
    """The programs of one command. Leaving the context ends them: flow runs first, then workers, then the server.

    ``grace``: seconds that flow runs have for their checkpoints. A second Ctrl-C meanwhile kills all that is left.
    """

    def __init__(self, grace: float, say: Callable[[str], object]) -> None:
        self._grace = grace
        self._say = say
        self._mark = secrets.token_hex(8)
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        self._guard = _Guard(self._mark, self._grace)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            end(self._mark, self._grace)
        finally:
            self._guard.dismiss()

    def mark(self, *, last: bool = False) -> dict[str, str]:
        """What every child must have in its environment. ``last``: it ends after those that need it."""
        return {MARK: self._mark + ("-last" if last else "")}

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str], *, last: bool = False) -> Child:
        """Start a program and keep it running. ``environment``: all of it."""
        child = Child(name, command, {**environment, **self.mark(last=last)})
        self._children.append(child)
        return child

    def tend(self) -> None:
        """Look after all of them once."""
        for child in self._children:
            if news := child.tend():
                self._say(news)


class _Guard:
    """A process that does nothing until this one is gone, however it went; then it ends what that left behind."""

    def __init__(self, mark: str, grace: float) -> None:
        waits, self._held = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.close(self._held)
                os.setsid()
                for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    signal.signal(stop, signal.SIG_IGN)
                # Whoever reads our output must not wait for this process.
                nowhere = os.open(os.devnull, os.O_RDWR)
                for stream in (0, 1, 2):
                    os.dup2(nowhere, stream)
                os.read(waits, 1)  # ends when nobody holds the other end
                end(mark, grace)
            finally:
                os._exit(0)
        os.close(waits)

    def dismiss(self) -> None:
        """Nothing is left to guard."""
        os.close(self._held)
        os.waitpid(self._pid, 0)


def end(mark: str, grace: float) -> None:
    """End all processes that carry the mark, in good order; what does not go is killed."""
    try:
        # Before their workers, which would kill them on the spot.
        _ask(lambda: flow_runs(mark), grace)
        _ask(lambda: {pid for pid, environment in _marked(mark) if mark.encode() + b"-last" not in environment}, _TIDY)
        _ask(lambda: {pid for pid, _ in _marked(mark)}, _TIDY)
    finally:
        for pid, _ in _marked(mark):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def flow_runs(mark: str) -> set[int]:
    """The processes of flow runs, without what those started themselves: that is theirs to end."""
    inside = {pid for pid, environment in _marked(mark) if _FLOW_RUN in environment}
    return {pid for pid in inside if _parent(pid) not in inside}


def _ask(wanted: Callable[[], set[int]], seconds: float) -> None:
    """SIGTERM for each, once, until none is left."""
    asked: set[int] = set()
    deadline = time.monotonic() + seconds
    while (left := wanted()) and time.monotonic() < deadline:
        for pid in left - asked:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        asked |= left
        time.sleep(0.1)


def _marked(mark: str) -> list[tuple[int, bytes]]:
    """Running processes that carry the mark, with their environments."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # gone meanwhile, or somebody else's
            environment = (folder / "environ").read_bytes()
            if f"{MARK}={mark}".encode() in environment:
                found.append((int(folder.name), environment))
    return found


def _parent(pid: int) -> int | None:
    with suppress(OSError):
        # "pid (name) state parent ...", and a name may hold anything.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return None
