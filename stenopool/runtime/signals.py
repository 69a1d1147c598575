"""Signals: the only place of this program that handles them.

An exception out of a signal handler can come anywhere, also in the middle of asyncio's or a library's own locking. So
while a run is at work, SIGTERM only sets a flag: stages look at it between recordings, finish what runs and upload what
is done. What has not ended within the grace time is cut off: its checkpoints are kept, and the next run continues from
them.
"""

import atexit
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

from stenopool.settings import get_settings


class Stopped(Exception):
    """The process was asked to stop; what is not done waits for the next run."""


STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_requested = threading.Event()
_has_safe_points = False
_last_steps: set[Callable[[], object]] = set()


def stop_if_asked() -> None:
    """A safe point: raises `Stopped` once SIGTERM has come."""
    if _requested.is_set():
        raise Stopped("Asked to stop.")


def exit_on_sigterm() -> None:
    """From now on SIGTERM raises `SystemExit`, so that ``finally``, ``with`` and atexit do their work.

    Once a run has called `stop_at_safe_points` it only asks that run to stop. The handler stays: Prefect sends the
    signal that ended a flow once more to the handler before its own, and the default one would end the process on the
    spot.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _on_sigterm)


def stop_at_safe_points() -> None:
    """From now on SIGTERM makes `stop_if_asked` raise; after the grace time the process ends regardless.

    Called by each run as it begins: a flow engine has put a handler of its own in place by then.
    """
    global _has_safe_points
    _has_safe_points = True
    exit_on_sigterm()


def at_end(step: Callable[[], object]) -> None:
    """Call this function as the process ends, also when the grace time is over: nothing else of it runs then."""
    atexit.register(step)
    _last_steps.add(step)


def forget(step: Callable[[], object]) -> None:
    """Undo `at_end`; no error if it was not called."""
    atexit.unregister(step)
    _last_steps.discard(step)


def interrupt_on(*numbers: signal.Signals) -> None:
    """These signals raise `KeyboardInterrupt` from now on.

    SIGINT also where it was ignored: in what a script starts with ``&``, and so it would be in our children.
    """
    for number in numbers:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, signal.default_int_handler)


def ignore_stops() -> None:
    """Ignore SIGINT, SIGTERM and SIGHUP."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)


def _on_sigterm(number: int, _frame: FrameType | None) -> None:
    if _requested.is_set():
        return
    if not _has_safe_points:
        raise SystemExit(128 + number)
    _requested.set()
    threading.Thread(target=_cut_off, daemon=True, name="grace").start()


def _cut_off() -> None:
    time.sleep(get_settings().stop.grace)
    for step in tuple(_last_steps):
        step()
    os._exit(128 + signal.SIGTERM)
