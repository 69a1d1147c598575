"""Memory of a process and its child processes, sampled from outside."""

import ctypes
import platform
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from subprocess import Popen
from time import monotonic
from typing import Any

_INTERVAL = 0.2
_PROC = Path("/proc")
# Prefect's server runs next to the flow on one machine only, not on a cluster.
_NOT_COUNTED = b"stenopool.orchestration.prefect_server"
# The system call kcmp (linux/kcmp.h), by machine.
_KCMP = {"x86_64": 312, "aarch64": 272}.get(platform.machine())
_KCMP_VM = 1

_libc = ctypes.CDLL(None)


class Watch:
    """Resident memory of a process's tree, sampled until it ends: (`time.monotonic`, bytes).

    Shared pages count twice. A child between vfork and exec does not count, because for milliseconds it looks as large
    as its parent. Prefect's server is excluded.
    """

    def __init__(self, process: "Popen[Any]") -> None:
        self.samples: list[tuple[float, int]] = []
        self._process = process
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @property
    def peak(self) -> int:
        """The peak, in bytes."""
        return max((memory for _, memory in self.samples), default=0)

    def at(self, moment: float) -> int:
        """The last sample before the moment, in bytes."""
        return next((memory for when, memory in reversed(self.samples) if when <= moment), 0)

    def end(self) -> None:
        """Wait for the last sample; the process must be over."""
        self._thread.join()

    def _watch(self) -> None:
        while self._process.poll() is None:
            self.samples.append((monotonic(), sum(map(_resident, _tree(self._process.pid)))))
            with suppress(Exception):
                self._process.wait(_INTERVAL)


def _tree(pid: int, parent: int | None = None) -> Iterator[int]:
    with suppress(OSError):  # it has just ended
        if _NOT_COUNTED in (_PROC / str(pid) / "cmdline").read_bytes() or (parent and _one_memory(pid, parent)):
            return
        yield pid
        for thread in (_PROC / str(pid) / "task").iterdir():
            for child in (thread / "children").read_text().split():
                yield from _tree(int(child), pid)


def _one_memory(pid: int, other: int) -> bool:
    return _KCMP is not None and _libc.syscall(_KCMP, pid, other, _KCMP_VM, 0, 0) == 0


def _resident(pid: int) -> int:
    with suppress(OSError, StopIteration):
        lines = (_PROC / str(pid) / "status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))
    return 0
