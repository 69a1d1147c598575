"""Events of the recordings, delivered to the subscribers in this process: the progress bar, a log, a test."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

from stenopool.errors import Failure
from stenopool.runtime.logs import get_logger, log_context

logger = get_logger()

Kind = Literal["planned", "prepared", "transcribed", "diarized", "done", "failed"]


class Event(NamedTuple):
    """One step of one recording. ``seconds`` is its length in audio (estimated when planned)."""

    kind: Kind
    key: str
    seconds: float
    failure: Failure | None = None


_listeners: list[Callable[[Event], None]] = []


def emit(event: Event) -> None:
    """Deliver an event to the subscribers and write a line to the log; that of a failure is marked as ``emitted``."""
    with log_context(recording=event.key):
        if event.failure:
            what = event.failure
            logger.warning("%s: %s (%s) %s", event.key, what.code, what.stage, what.message, extra={"emitted": True})
        elif event.kind != "planned":
            logger.info("%s: %s", event.key, event.kind)
    for listener in tuple(_listeners):
        listener(event)


@contextmanager
def subscribe(listener: Callable[[Event], None]) -> Iterator[None]:
    """Call ``listener`` with every event, from whichever thread it happens in."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
