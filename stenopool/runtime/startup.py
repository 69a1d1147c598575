"""A process of ours: set up as it starts, and its free memory returned to the system between runs.

Nothing of this happens when a module of the package is imported. What a process begins with calls `start_process`: the
command line, and the file of a flow that a worker runs.
"""

import ctypes
import time
from typing import Any

from stenopool.runtime import logs, traces

_M_ARENA_MAX = -8  # glibc's malloc.h
_ARENAS = 4

_released = 0.0


def start_process() -> None:
    """Set up the log, the traces and the allocator as the settings ask for. May be called again at any time."""
    logs.configure()
    traces.configure()
    limit_arenas()


def limit_arenas() -> None:
    """Make the threads of this process share four arenas. To be called before they start.

    A flow has dozens of threads that work by turns, and decoding needs blocks of many megabytes for moments. With an
    arena for nearly each of them (eight per core), what is free in one is no use to another, and the process grows for
    hours.
    """
    _call_glibc("mallopt", _M_ARENA_MAX, _ARENAS)


def release_free_memory(pause: float = 0.0) -> None:
    """Return free memory to the system: the next run may need other sizes, or come tomorrow.

    ``pause``: nothing happens if the last time was fewer seconds ago. A long run keeps slowly growing memory free, but
    what returns it stops all that allocate.
    """
    global _released
    if time.monotonic() - _released >= pause:
        _released = time.monotonic()
        _call_glibc("malloc_trim", 0)


def _call_glibc(function: str, *arguments: int) -> None:
    known: Any = getattr(ctypes.CDLL(None), function, None)
    if known is not None:  # another C library has none of these
        known(*arguments)
