"""Setup of a Stenopool process, and returning its free memory to the system between runs.

Importing a module does none of this. The entry points call `start_process`: the command line, and the file of a flow
that a worker runs.
"""

import ctypes
import os
import time
from typing import Any

from stenopool.runtime import logs, traces

_M_ARENA_MAX = -8  # glibc's malloc.h
_ARENAS = 4

_released = 0.0


def start_process() -> None:
    """Configure the log, traces and the allocator according to the settings. May be called repeatedly.

    It also turns off the usage reports that Prefect's client sends when it is imported in a terminal.
    """
    os.environ.setdefault("DO_NOT_TRACK", "1")
    logs.configure()
    traces.configure()
    limit_arenas()


def limit_arenas() -> None:
    """Limit this process's threads to four memory arenas. Call this before they start.

    A flow has dozens of threads that take turns, and decoding briefly needs blocks of many megabytes. With an arena for
    nearly every thread (eight per core), free memory in one arena cannot be used by others, and the process grows for
    hours.
    """
    _call_glibc("mallopt", _M_ARENA_MAX, _ARENAS)


def release_free_memory(pause: float = 0.0) -> None:
    """Return free memory to the system: the next run may need other sizes, or start tomorrow.

    ``pause``: minimum number of seconds between two calls. In a long run, free memory grows slowly, but returning it
    blocks all threads that allocate.
    """
    global _released
    if time.monotonic() - _released >= pause:
        _released = time.monotonic()
        _call_glibc("malloc_trim", 0)


def _call_glibc(function: str, *arguments: int) -> None:
    known: Any = getattr(ctypes.CDLL(None), function, None)
    if known is not None:  # not in other C libraries
        known(*arguments)
