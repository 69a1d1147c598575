"""Logging: one line per event, as text or JSON. Also the progress events of recordings.

With STENOPOOL_LOG__FORMAT=json, every line is an object with ``time``, ``level``, ``logger``, ``message`` and, if
known, ``run``, ``batch``, ``shard``, ``stage`` and ``recording``.
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

_context: ContextVar[dict[str, Any]] = ContextVar("context", default={})  # noqa: B039 (never modified in place)


def printable(text: str) -> str:
    """Escape control characters and line breaks in untrusted text, for a terminal or a log."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


@contextmanager
def log_context(**fields: Any) -> Iterator[None]:
    """Add these fields to log records in this block, and in the threads that it waits for."""
    token = _context.set({**_context.get(), **fields})
    try:
        yield
    finally:
        _context.reset(token)


def _make_lines(record: logging.LogRecord) -> bool:
    """Make each record one line: names of recordings and messages of others must not start a new line."""
    record.msg, record.args = printable(record.getMessage()), None
    vars(record).update(_context.get())
    if record.exc_info:
        lines = "".join(traceback.format_exception(*record.exc_info)).splitlines()
        record.exc_text = "\n".join(f"    {printable(line)}" for line in lines)
    return True


def get_logger(name: str = "stenopool") -> logging.Logger:
    """A Stenopool logger. Do not use other loggers."""
    found = logging.getLogger(name)
    found.addFilter(_make_lines)
    return found


logger = get_logger()

Kind = Literal["planned", "prepared", "transcribed", "diarized", "done", "failed"]


class Event(NamedTuple):
    """A step of one recording. ``seconds`` is the duration of its audio (estimated when planned)."""

    kind: Kind
    key: str
    seconds: float
    failure: Failure | None = None


_listeners: list[Callable[[Event], None]] = []


def emit(event: Event) -> None:
    """Send an event to the subscribers and log it; a failure's log record is marked as ``emitted``."""
    with log_context(recording=event.key):
        if what := event.failure:
            logger.warning("%s: %s (%s) %s", event.key, what.code, what.stage, what.message, extra={"emitted": True})
        elif event.kind != "planned":
            logger.info("%s: %s", event.key, event.kind)
    for listener in tuple(_listeners):
        listener(event)


@contextmanager
def subscribe(listener: Callable[[Event], None]) -> Iterator[None]:
    """Call ``listener`` with every event, in the event's thread. Used by the progress bar and tests."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def json_formatter() -> logging.Formatter:
    """A formatter that writes each record as a line of JSON, including those of libraries."""
    from pythonjsonlogger.core import RESERVED_ATTRS
    from pythonjsonlogger.json import JsonFormatter

    names = {"levelname": "level", "name": "logger", "exc_info": "exception", "flow_run_id": "run"}  # last: Prefect
    return JsonFormatter(
        ["levelname", "name", "message"],
        timestamp="time",
        rename_fields=names,
        reserved_attrs=[*RESERVED_ATTRS, "emitted", "color_message"],  # for the display; from uvicorn
        json_ensure_ascii=False,
    )


def writes_json() -> bool:
    """Whether the log format is JSON."""
    return get_settings().log.format == "json"


def uvicorn_options() -> dict[str, Any]:
    """Options that make uvicorn use the same log; by default it configures its own."""
    return {"log_config": None} if writes_json() else {}


def configure() -> None:
    """Configure this process's log according to the settings. Call again after others have configured theirs."""
    if not writes_json():
        return
    if not logging.root.handlers:
        logging.root.addHandler(logging.StreamHandler(sys.stderr))
    formatter = json_formatter()
    for one in (logging.root, *logging.root.manager.loggerDict.values()):
        for handler in one.handlers if isinstance(one, logging.Logger) else ():
            if isinstance(handler, logging.StreamHandler):
                handler.setFormatter(formatter)
