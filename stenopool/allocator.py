"""C's memory allocator, told what this program is like."""

import ctypes
import sys

_M_ARENA_MAX = -8  # malloc.h of glibc
_ARENAS = 4


def few_arenas() -> None:
    """Have the threads of this process share four of glibc's arenas, from which memory is taken.

    A flow has dozens of threads that work by turns, and decoding needs blocks of many megabytes for moments. With an
    arena for nearly each of them (eight per core), what is free in one is no use to another, and the process grows for
    hours. To be called before threads start; does nothing where there is no glibc.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        if mallopt is not None:
            mallopt(_M_ARENA_MAX, _ARENAS)
