"""Start programs that read untrusted files: confined, with limits, and isolated from this process.

`launcher` starts them: a small program that belongs to this process, but has neither its memory nor its environment nor
its open files. So they can be confined after the fork (`confinement`) without confining a thread of this process. This
is the second line of defence. The first is that libav may use only the protocol "fd", an open file.
"""

import atexit
import contextlib
import errno
import json
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import stenopool
from stenopool.runtime.logs import logger
from stenopool.speech.audio import confinement, launcher

_MOST_BYTES = 64 * 1024
_MOST_TEXT = 500
_TRIES = 2  # the launcher may have been killed since the last start
_Limits = Mapping[int, tuple[int, int]]
_LIMIT_NAMES = {getattr(resource, name): name for name in dir(resource) if name.startswith("RLIMIT_")}


def start(
    command: Sequence[str],
    *,
    stdin: BinaryIO | int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
    stderr: int = subprocess.DEVNULL,
    limits: _Limits | None = None,
) -> "Confined":
    """Start a confined program, given by its path. ``limits``: soft and hard limits, by the constants of `resource`.

    ``stdin``, ``stdout`` and ``stderr`` are as for `subprocess.Popen`. The program gets no other open files, and only
    PATH, LANG and LD_LIBRARY_PATH from the environment. If it cannot start, `Confined.wait` raises `OSError`.
    """
    return _start({"command": list(command)}, (stdin, stdout, stderr), limits or {})


def start_prober(options: Mapping[str, str], *, stdin: BinaryIO, limits: _Limits) -> "Confined":
    """Start a confined `prober` on the open file ``stdin``, with libav's ``options``. It responds on ``stdout``."""
    streams = (stdin, subprocess.PIPE, subprocess.DEVNULL)
    return _start({"command": None, "options": dict(options)}, streams, limits)


def stop_launchers() -> None:
    """Stop this process's launchers, if any, and all processes that they started. The next start creates a new one."""
    _launchers().close()


def missing() -> list[str]:
    """Names of the two parts of `confinement` that the kernel or the processor does not support."""
    return confinement.missing()


def printable(text: str) -> str:
    """Sanitize text from a decoder that may have been taken over: at most 500 characters, all printable."""
    return "".join(character if character.isprintable() else " " for character in text[:_MOST_TEXT])


class Confined:
    """A confined process, with the methods of `subprocess.Popen` that are used. Leaving the context kills it."""

    def __init__(self, line: socket.socket, pipes: Sequence[BinaryIO | None]) -> None:
        self.returncode: int | None = None
        self.stdin, self.stdout, self.stderr = pipes
        self._pid: int | None = None
        self._line = line  # connection on which the launcher reports the start and end of the process

    @property
    def pid(self) -> int:
        """The process ID. Raises `OSError` if the process could not start."""
        while self._pid is None and self.returncode is None:
            self._take_report()
        return self._pid or 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.kill()
            self.wait()
        finally:
            for pipe in (self.stdin, self.stdout, self.stderr):
                if pipe is not None:
                    pipe.close()
            self._line.close()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the process to end, and return its exit code, which is negative after a signal.

        Raises `subprocess.TimeoutExpired`; `OSError` if it could not start, `PermissionError` if because of a limit.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(self._line, selectors.EVENT_READ)
            while self.returncode is None:
                if not selector.select(None if deadline is None else max(0.0, deadline - time.monotonic())):
                    raise subprocess.TimeoutExpired(f"process {self._pid}", timeout or 0)
                self._take_report()
        return self.returncode

    def _take_report(self) -> None:
        report = json.loads(_receive(self._line) or b"{}")
        self._pid = report.get("pid", self._pid)
        if "error" in report:
            self.returncode = -signal.SIGKILL
            raise OSError(report["error"] or errno.EPERM, f"A decoder cannot be started: {report['text']}")
        if "pid" not in report:  # an empty report means that the launcher and its processes were killed
            self.returncode = int(report.get("code", -signal.SIGKILL))

    def kill(self) -> None:
        """Kill the process, if it runs, and its process group."""
        if self.returncode is None:
            with contextlib.suppress(OSError):
                self._line.shutdown(socket.SHUT_WR)

    def communicate(self, timeout: float | None = None) -> tuple[bytes, bytes]:
        """Return everything that it writes until it ends. Raises `subprocess.TimeoutExpired`."""
        outputs = {pipe: bytearray() for pipe in (self.stdout, self.stderr) if pipe is not None}
        with selectors.DefaultSelector() as selector:
            for pipe in outputs:
                selector.register(pipe, selectors.EVENT_READ)
            while selector.get_map():
                ready = selector.select(timeout)
                if not ready:
                    raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
                for key, _ in ready:
                    piece = os.read(key.fd, _MOST_BYTES)
                    outputs[key.fileobj].extend(piece)  # type: ignore[index]
                    if not piece:
                        selector.unregister(key.fileobj)
        self.wait(timeout)
        written = [bytes(outputs[pipe]) if pipe is not None else b"" for pipe in (self.stdout, self.stderr)]
        return written[0], written[1]


def _start(request: dict[str, Any], streams: Sequence[BinaryIO | int], limits: _Limits) -> Confined:
    request["limits"] = {_LIMIT_NAMES[limit]: values for limit, values in limits.items()}
    with contextlib.ExitStack() as given, contextlib.ExitStack() as kept:
        theirs: list[int] = []
        pipes: list[BinaryIO | None] = []
        for number, stream in enumerate(streams):
            file, pipe = _stream(number, stream, given)
            theirs.append(file)
            pipes.append(kept.enter_context(pipe) if pipe is not None else None)
        line = _request(json.dumps(request).encode(), theirs, prober=request["command"] is None)
        kept.pop_all()  # the caller owns them now
    return Confined(line, pipes)


def _stream(number: int, stream: BinaryIO | int, given: contextlib.ExitStack) -> tuple[int, BinaryIO | None]:
    """Return the child's descriptor, and this process's end if it is a pipe."""
    if stream == subprocess.PIPE and number == 0:
        raise ValueError("Standard input must be a file.")
    if stream == subprocess.PIPE:
        reading, writing = os.pipe()
        given.callback(os.close, writing)
        return writing, open(reading, "rb", buffering=0)  # noqa: PTH123 (a descriptor)
    if stream == subprocess.DEVNULL:
        nothing = os.open(os.devnull, os.O_WRONLY if number else os.O_RDONLY)
        given.callback(os.close, nothing)
        return nothing, None
    return (stream if isinstance(stream, int) else stream.fileno()), None


def _request(message: bytes, files: Sequence[int], *, prober: bool) -> socket.socket:
    """Send a request. Returns the connection on which the launcher reports on the process."""
    for _ in range(_TRIES):
        running = _launchers().get(prober)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                socket.send_fds(running.control, [message], [theirs.fileno(), *files])
                return ours
            except OSError:  # the launcher has ended, or another thread has noticed that and closed it
                ours.close()
                _launchers().drop(running)
    raise BrokenPipeError("The launcher of decoders exits immediately; see its errors above.")


def _receive(line: socket.socket) -> bytes:
    """The next message; empty if the other end is closed."""
    with contextlib.suppress(ConnectionError):
        return line.recv(_MOST_BYTES)
    return b""


class _Launcher:
    """A running `launcher` and its socket, which transmits whole messages, so that any thread may send requests."""

    def __init__(self, prober: bool) -> None:
        confinement.hide_memory()  # without Landlock, decoders could read it in /proc
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # -P and this package's folder, so that nothing is imported from the folder in which the service was started.
        folders = [str(Path(stenopool.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        libraries = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
        with theirs:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    *([] if prober else ["-S"]),
                    "-m",
                    launcher.__name__,
                    *[launcher.PROBERS] * prober,
                ],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONPATH": os.pathsep.join(folders)} | libraries,
                cwd="/",
                start_new_session=True,  # so that Ctrl-C does not reach it
            )
        if missing():
            lacking = " and ".join(missing())
            logger.warning("Decoders run without %s, which this kernel or processor does not support.", lacking)

    def close(self) -> None:
        """Stop the launcher and all processes that it started, without leaving a zombie."""
        with contextlib.suppress(OSError):
            self.control.shutdown(socket.SHUT_RDWR)  # closing is not enough, because a forked process may have a copy
        self.control.close()
        self.process.wait()


class _Launchers:
    """A process's launchers, started on demand. A forked process starts its own.

    Probers have a separate launcher, because with libav loaded it takes longer to fork.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._running: dict[bool, _Launcher] = {}  # by whether it starts probers

    def get(self, prober: bool) -> _Launcher:
        with self._lock:
            if not self._running:
                atexit.register(self.close)
            if prober not in self._running:
                self._running[prober] = _Launcher(prober)
            return self._running[prober]

    def drop(self, one: _Launcher) -> None:
        """Close this launcher, unless another thread has replaced it."""
        with self._lock:
            for prober, running in list(self._running.items()):
                if running is one:
                    del self._running[prober]
                    running.close()

    def close(self) -> None:
        """Close the launchers of this process, but not those of its parent."""
        if os.getpid() == self._process:
            for running in list(self._running.values()):
                self.drop(running)
            atexit.unregister(self.close)


_by_process: dict[int, _Launchers] = {}


def _launchers() -> _Launchers:
    return _by_process.setdefault(os.getpid(), _Launchers())
