"""The log: one line per event, whatever names appear in it; as JSON where machines read it. Recordings' events.

STENOPOOL_LOG__FORMAT=json makes every line of this process an object with ``time``, ``level``, ``logger``,
``message`` and what is known of where it happened: ``run``, ``batch``, ``shard``, ``stage``, ``recording``.
"""

import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, NamedTuple

from stenopool.errors import Failure
from stenopool.settings import get_settings

_context: ContextVar[dict[str, Any]] = ContextVar("context", default={})  # noqa: B039 (never changed in place)


def printable(text: str) -> str:
    """Somebody else's text for a terminal or a log: no control characters, no line ends."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


@contextmanager
def log_context(**fields: Any) -> Iterator[None]:
    """What is logged in this block, and in the threads that it waits for, carries these fields."""
    token = _context.set({**_context.get(), **fields})
    try:
        yield
    finally:
        _context.reset(token)


def _make_lines(record: logging.LogRecord) -> bool:
    """Names of recordings and other people's messages appear in our lines: none may begin a line of its own."""
    record.msg, record.args = printable(record.getMessage()), None
    vars(record).update(_context.get())
    if record.exc_info:
        lines = "".join(traceback.format_exception(*record.exc_info)).splitlines()
        record.exc_text = "\n".join(f"    {printable(line)}" for line in lines)
    return True


def get_logger(name: str = "stenopool") -> logging.Logger:
    """A logger of ours; use no other."""
    found = logging.getLogger(name)
    found.addFilter(_make_lines)
    return found


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
        if what := event.failure:
            logger.warning("%s: %s (%s) %s", event.key, what.code, what.stage, what.message, extra={"emitted": True})
        elif event.kind != "planned":
            logger.info("%s: %s", event.key, event.kind)
    for listener in tuple(_listeners):
        listener(event)


@contextmanager
def subscribe(listener: Callable[[Event], None]) -> Iterator[None]:
    """Call ``listener`` with every event, from whichever thread it happens in: the progress bar, a test."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def json_formatter() -> logging.Formatter:
    """Makes a line of JSON of each record, of ours and of the libraries'."""
    from pythonjsonlogger.core import RESERVED_ATTRS
    from pythonjsonlogger.json import JsonFormatter

    names = {"levelname": "level", "name": "logger", "exc_info": "exception", "flow_run_id": "run"}  # Prefect's last
    return JsonFormatter(
        ["levelname", "name", "message"],
        timestamp="time",
        rename_fields=names,
        reserved_attrs=[*RESERVED_ATTRS, "emitted", "color_message"],  # ours for the display, uvicorn's for terminals
        json_ensure_ascii=False,
    )


def writes_json() -> bool:
    """Whether the log is read by machines."""
    return get_settings().log.format == "json"


def uvicorn_options() -> dict[str, Any]:
    """Options of uvicorn that make its lines come as ours do: by default it sets up a log of its own."""
    return {"log_config": None} if writes_json() else {}


def configure() -> None:
    """Make this process's log what the settings ask for. May be called again, when others have set up theirs."""
    if not writes_json():
        return
    if not logging.root.handlers:
        logging.root.addHandler(logging.StreamHandler(sys.stderr))
    formatter = json_formatter()
    for one in (logging.root, *logging.root.manager.loggerDict.values()):
        for handler in one.handlers if isinstance(one, logging.Logger) else ():
            if isinstance(handler, logging.StreamHandler):
                handler.setFormatter(formatter)
