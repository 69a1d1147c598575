"""What goes to the log: one line per event, whoever's names stand in it; as JSON where machines read it.

STENOPOOL_LOG__FORMAT=json makes every line of this process an object with ``time``, ``level``, ``logger``,
``message`` and what is known of where it happened: ``run``, ``batch``, ``shard``, ``stage``, ``recording``.
"""

import json
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from stenopool.settings import get_settings

_where: ContextVar[dict[str, Any]] = ContextVar("where", default={})  # noqa: B039 (never changed in place)


def printable(text: str) -> str:
    """Somebody else's text for a terminal or a log: no control characters, no line ends."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


@contextmanager
def log_context(**fields: Any) -> Iterator[None]:
    """What is logged in this block, and in the threads that it waits for, carries these fields."""
    token = _where.set({**_where.get(), **fields})
    try:
        yield
    finally:
        _where.reset(token)


class _Logger(logging.Logger):
    """Recordings' names and other people's messages stand in our lines: none may begin a line of its own."""

    def makeRecord(self, *args: Any, **kwargs: Any) -> logging.LogRecord:  # noqa: N802 (logging's name)
        record = super().makeRecord(*args, **kwargs)
        record.msg, record.args = printable(record.getMessage()), None
        record.where = _where.get()
        if record.exc_info:
            lines = "".join(traceback.format_exception(*record.exc_info)).splitlines()
            record.exc_text = "\n".join(f"    {printable(line)}" for line in lines)
        return record


def get_logger(name: str = "stenopool") -> logging.Logger:
    """A logger of ours; use no other."""
    logger = logging.getLogger(name)
    # Prefect makes it before us where PREFECT_LOGGING_EXTRA_LOGGERS names it: too late to choose the class.
    logger.__class__ = _Logger
    return logger


class JsonFormatter(logging.Formatter):
    """A line of JSON per record, of ours and of the libraries'."""

    def format(self, record: logging.LogRecord) -> str:
        run = getattr(record, "flow_run_id", None)  # what Prefect knows of its own lines
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **({"run": str(run)} if run else {}),
            **getattr(record, "where", {}),
        }
        if record.exc_info:
            line["exception"] = record.exc_text or self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def writes_json() -> bool:
    """Whether the log is read by machines."""
    return get_settings().log.format == "json"


def uvicorn_options() -> dict[str, Any]:
    """What `uvicorn` is told, so that its lines come as ours do: it would set up a log of its own."""
    return {"log_config": None} if writes_json() else {}


def configure() -> None:
    """Make this process's log what the settings ask for. May be called again, when others have set up theirs."""
    if not writes_json():
        return
    if not logging.root.handlers:
        logging.root.addHandler(logging.StreamHandler(sys.stderr))
    loggers = [
        logging.root,
        *(one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)),
    ]
    for logger in loggers:
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler):
                handler.setFormatter(JsonFormatter())
