"""Stopping in good order: SIGTERM lets what runs end at its next safe point, and uploads what is done.

An exception out of a signal handler can come anywhere, also in the middle of asyncio's or a library's own locking. So
the handler only leaves a note; stages look at it between recordings. What has not ended within the grace time is cut
off: its checkpoints are kept, and the next run goes on from them.
"""

import os
import signal
import threading
import time
from types import FrameType

from stenopool.runtime.scratch import Scratch
from stenopool.settings import get_settings


class Stopped(Exception):
    """The process was asked to stop; what is not done waits for the next run."""


_asked = threading.Event()


def stop_if_asked() -> None:
    """A safe point: raises `Stopped` once SIGTERM has come."""
    if _asked.is_set():
        raise Stopped("Asked to stop.")


def stop_on_sigterm(scratch: Scratch) -> None:
    """From now on SIGTERM makes `stop_if_asked` raise; after the grace time the process ends regardless.

    The handler stays: a flow engine puts back the one before when the flow is over, and between its end and that no
    other may be in force.
    """
    if threading.current_thread() is not threading.main_thread():
        return

    def note(_number: int, _frame: FrameType | None) -> None:
        if not _asked.is_set():
            _asked.set()
            threading.Thread(target=cut_off, daemon=True, name="grace").start()

    def cut_off() -> None:
        time.sleep(get_settings().stop.grace)
        scratch.close()
        os._exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, note)


def exit_on_sigterm() -> None:
    """SIGTERM ends the program in good order also before a flow runs; one that was noted already does nothing more.

    Prefect sends the signal that ended a flow to the handler before its own once more: the default one would end the
    process on the spot and leave its server behind.
    """

    def leave(number: int, _frame: FrameType | None) -> None:
        if not _asked.is_set():
            raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
