"""The program that starts decoders: it turns each request into a confined process.

`sandbox` starts it once, and sends it requests with open files. It runs only its own code and has neither the service's
memory nor its environment. So a process can be forked from it cheaply, and can give up its rights (`confinement`)
before it becomes ffmpeg or reads a file's headers. One process is forked in advance, while the previous one works. When
the service ends, for whatever reason, the launcher and all decoders end too.
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
from typing import Any, NoReturn

from stenopool.speech.audio import confinement

PROBERS = "probers"  # with this argument, the launcher starts `prober` instead of programs
_MOST_BYTES, _MOST_FILES = 128 * 1024, 4
_MOST_DESCRIPTORS = 65536
_PR_SET_PDEATHSIG = 1
_REPORT = 3  # descriptor on which a new process reports why it could not start


class _Server:
    """Serves requests on ``control`` until the other end closes it."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._lines: dict[int, socket.socket] = {}  # connections to the callers, by process ID
        self._spare = _fork()
        self._selector = selectors.DefaultSelector()

    def serve(self) -> None:
        wake, woken = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(woken, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(woken)
        self._selector.register(self._control, selectors.EVENT_READ)
        self._selector.register(wake, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.fileobj == wake:
                    os.read(wake, 4096)
                elif key.fileobj is self._control:
                    message, files, _, _ = socket.recv_fds(self._control, _MOST_BYTES, _MOST_FILES)
                    if not message:
                        return
                    self._start(message, files)
                else:  # the caller closed its connection, or shut it down for sending
                    self._selector.unregister(key.fileobj)
                    os.killpg(key.data, signal.SIGKILL)
            self._reap()

    def _start(self, message: bytes, files: list[int]) -> None:
        """Start a process, and respond on the connection, which is the first of ``files``."""
        line, *standard = files
        caller = socket.socket(fileno=line)
        try:
            pid, error = self._become(message, standard)
        except Exception as failure:
            pid, error = 0, _report(failure)
        for file in standard:
            os.close(file)
        if error:
            _send(caller, error)
            caller.close()
        else:
            self._lines[pid] = caller
            self._selector.register(caller, selectors.EVENT_READ, pid)
            _send(caller, json.dumps({"pid": pid}).encode())
        with contextlib.suppress(OSError):
            confinement.prepare(_program(json.loads(message)))
            self._spare = _fork()

    def _become(self, message: bytes, standard: list[int]) -> tuple[int, bytes]:
        """Pass the request to a process. Returns its ID and, if it could not start and has ended, the error."""
        pid, channel = self._spare
        try:
            socket.send_fds(channel, [message], standard)
        except OSError:  # the process was killed
            pid, channel = _fork()
            socket.send_fds(channel, [message], standard)
        with channel:
            error = channel.recv(_MOST_BYTES)  # empty if the program runs
        if error:
            os.waitpid(pid, 0)
        return pid, error

    def _reap(self) -> None:
        """Send the exit codes of processes that have ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if line := self._lines.pop(pid, None):  # else it was the spare process
                with contextlib.suppress(KeyError):  # already unregistered if it was killed
                    self._selector.unregister(line)
                _send(line, json.dumps({"code": os.waitstatus_to_exitcode(status)}).encode())
                line.close()


def _report(failure: BaseException) -> bytes:
    return json.dumps({"error": getattr(failure, "errno", None), "text": str(failure)[:1000]}).encode()


def _send(line: socket.socket, message: bytes) -> None:
    with contextlib.suppress(OSError):  # the caller has ended
        line.send(message)


def _program(request: dict[str, Any]) -> str:
    return str(request["command"][0] if request["command"] else sys.executable)


def _fork() -> tuple[int, socket.socket]:
    """Fork a process that waits for a request on the socket."""
    launcher, (ours, theirs) = os.getpid(), socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        ours.close()
        _become(theirs, launcher)
    theirs.close()
    return pid, ours


def _become(channel: socket.socket, launcher: int) -> NoReturn:
    """Wait for a request, and become the confined program."""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        message, standard, _, _ = socket.recv_fds(channel, _MOST_BYTES, _MOST_FILES)
        if not message or os.getppid() != launcher:
            os._exit(1)
        request = json.loads(message)
        for descriptor, file in enumerate(standard):
            os.dup2(file, descriptor)
        for name, values in request["limits"].items():
            resource.setrlimit(getattr(resource, name), values)
        confinement.confine(_program(request))
        os.dup2(channel.fileno(), _REPORT, inheritable=False)
        os.closerange(_REPORT + 1, _MOST_DESCRIPTORS)
        if command := request["command"]:
            environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
            os.execve(command[0], command, environment)  # noqa: S606 (no shell is intended)
        os.close(_REPORT)
        from stenopool.speech.audio import prober

        prober.main(request["options"])
    except BaseException as failure:  # in any case, this process must not continue as a second launcher
        for report in (channel.fileno(), _REPORT):
            with contextlib.suppress(OSError):
                os.write(report, _report(failure))
        os._exit(1)
    os._exit(0)


def main() -> None:
    """Serve requests on the socket that is standard input."""
    control = socket.socket(fileno=os.dup(0))
    if PROBERS in sys.argv:
        from stenopool.speech.audio import prober

        prober.warm_up()
    _Server(control).serve()


if __name__ == "__main__":
    main()
