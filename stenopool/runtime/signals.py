"""Signal handling: the only module that handles signals.

An exception in a signal handler can occur anywhere, even while asyncio or a library holds a lock. So during a run,
SIGTERM only sets a flag: stages check it between recordings, finish their current work and upload finished transcripts.
Work that does not end within the grace period is aborted; the next run continues from its checkpoints.
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
    """The process was asked to stop; unfinished recordings wait for the next run."""


STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_requested = threading.Event()
_has_safe_points = False
_last_steps: set[Callable[[], object]] = set()


def stop_if_asked() -> None:
    """A safe point: raises `Stopped` after SIGTERM."""
    if _requested.is_set():
        raise Stopped("Stop requested.")


def exit_on_sigterm() -> None:
    """Make SIGTERM raise `SystemExit`, so that ``finally``, ``with`` and atexit run.

    After a run has called `stop_at_safe_points`, SIGTERM only asks that run to stop. The handler is never removed:
    Prefect passes the signal that ended a flow on to the previous handler, and the default one would end the process
    immediately.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _on_sigterm)


def stop_at_safe_points() -> None:
    """Make SIGTERM cause `stop_if_asked` to raise; after the grace period the process ends in any case.

    Each run calls this at its start, because the flow engine has installed its own handler by then.
    """
    global _has_safe_points
    _has_safe_points = True
    exit_on_sigterm()


def at_end(step: Callable[[], object]) -> None:
    """Call this function when the process ends, including after the grace period, when nothing else runs."""
    atexit.register(step)
    _last_steps.add(step)


def forget(step: Callable[[], object]) -> None:
    """Undo `at_end`; no error if it was not called."""
    atexit.unregister(step)
    _last_steps.discard(step)


def interrupt_on(*numbers: signal.Signals) -> None:
    """Make these signals raise `KeyboardInterrupt`.

    Also SIGINT if it was ignored, as in programs that a script starts with ``&``; their children would ignore it too.
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
