"""Settings of glibc's memory allocator. With another C library, nothing happens."""

import ctypes
import time
from typing import Any

_M_ARENA_MAX = -8  # glibc's malloc.h
_ARENAS = 4
RELEASE_SECONDS = 30.0

_released = 0.0


def limit_arenas() -> None:
    """Make the threads of this process share four arenas. To be called before they start.

    A flow has dozens of threads that work by turns, and decoding needs blocks of many megabytes for moments. With an
    arena for nearly each of them (eight per core), what is free in one is no use to another, and the process grows for
    hours.
    """
    _call("mallopt", _M_ARENA_MAX, _ARENAS)


def release_free_memory() -> None:
    """Return free memory to the system. To be called after a run: the next may need other sizes, or come tomorrow."""
    global _released
    _released = time.monotonic()
    _call("malloc_trim", 0)


def release_free_memory_sometimes() -> None:
    """The same during a long run, which keeps slowly growing memory free, but seldom: it stops all that allocate."""
    if time.monotonic() - _released > RELEASE_SECONDS:
        release_free_memory()


def _call(function: str, *arguments: int) -> None:
    known: Any = getattr(ctypes.CDLL(None), function, None)
    if known is not None:
        known(*arguments)
