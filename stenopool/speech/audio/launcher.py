"""The program that starts decoders: each request becomes a confined process.

`sandbox` starts it once and sends it requests with open files. It runs nothing but its own code and has neither the
service's memory nor its environment, so a process can be forked from it cheaply, and that process can give up its
rights (`confinement`) before it becomes ffmpeg or reads a file's headers. When the service ends, however it ends, the
launcher and all decoders end too.
"""

import contextlib
import ctypes
import json
import os
import resource
import selectors
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from stenopool.speech.audio import confinement

_MOST_BYTES, _MOST_FILES = 128 * 1024, 4
_MOST_DESCRIPTORS = 65536
_PR_SET_PDEATHSIG = 1
_REPORT = 3  # the descriptor on which a new process says why it could not start


def main() -> None:
    """Serve the socket on descriptor 0 until its other end closes."""
    control = socket.socket(fileno=0)
    decoders: dict[int, socket.socket] = {}  # by process id: the line to its caller
    wake, woken = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(wake, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj == wake:
                    os.read(wake, 4096)
                elif key.fileobj is control:
                    message, files, _, _ = socket.recv_fds(control, _MOST_BYTES, _MOST_FILES)
                    if not message:
                        return
                    _serve(json.loads(message), files, decoders, selector)
                else:  # the caller closed its line, or said that it will send nothing more
                    selector.unregister(key.fileobj)
                    os.killpg(key.data, signal.SIGKILL)
            _reap(decoders, selector)


def _serve(
    request: dict[str, Any],
    files: Sequence[int],
    decoders: dict[int, socket.socket],
    selector: selectors.BaseSelector,
) -> None:
    """Start a process, and answer on the line, which is the first of ``files``."""
    line = socket.socket(fileno=files[0])
    try:
        if request["command"] is None:
            from stenopool.speech.audio import prober  # noqa: F401 (loaded once, before the forks)
        pid, error = _start(request, files[1:])
    except Exception as failure:
        pid, error = 0, _report(failure)
    for file in files[1:]:
        os.close(file)
    if error:
        _send(line, error)
        line.close()
    else:
        decoders[pid] = line
        selector.register(line, selectors.EVENT_READ, pid)
        _send(line, json.dumps({"pid": pid}).encode())


def _reap(decoders: dict[int, socket.socket], selector: selectors.BaseSelector) -> None:
    """Send the exit codes of processes that have ended."""
    while decoders:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        line = decoders.pop(pid)
        with contextlib.suppress(KeyError):  # it was killed
            selector.unregister(line)
        _send(line, json.dumps({"code": os.waitstatus_to_exitcode(status)}).encode())
        line.close()


def _report(failure: BaseException) -> bytes:
    return json.dumps({"error": getattr(failure, "errno", None), "text": str(failure)[:1000]}).encode()


def _send(line: socket.socket, message: bytes) -> None:
    with contextlib.suppress(OSError):  # the caller has gone
        line.send(message)


def _start(request: dict[str, Any], standard: Sequence[int]) -> tuple[int, bytes]:
    """The new process's id and, if it could not start and has ended, why."""
    launcher, (report, reported) = os.getpid(), os.pipe()
    pid = os.fork()
    if pid == 0:
        _become(request, standard, reported, launcher)
    os.close(reported)
    with open(report, "rb") as reports:  # noqa: PTH123 (a descriptor)
        error = reports.read()  # ends when the program runs
    if error:
        os.waitpid(pid, 0)
    return pid, error


def _become(request: dict[str, Any], standard: Sequence[int], reported: int, launcher: int) -> NoReturn:
    """Turn into the confined program. ``standard``: its input, output and errors."""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != launcher:
            os._exit(1)
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        for descriptor, file in enumerate(standard):
            os.dup2(file, descriptor)
        os.dup2(reported, _REPORT, inheritable=False)
        reported = _REPORT
        os.closerange(_REPORT + 1, _MOST_DESCRIPTORS)
        command = request["command"]
        for name, values in request["limits"].items():
            resource.setrlimit(getattr(resource, name), values)
        confinement.confine(command[0] if command else sys.executable)
        if command:
            environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
            os.execve(command[0], command, environment)  # noqa: S606 (no shell is meant)
        os.close(_REPORT)
        from stenopool.speech.audio import prober

        prober.main(request["options"])
    except BaseException as failure:  # whatever it is, it must not go on as a second launcher
        with contextlib.suppress(OSError):
            os.write(reported, _report(failure))
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main()
