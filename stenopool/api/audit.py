"""Request ids, and the audit log: one line for every request that changes something, including refused ones."""

import json
import logging
import re
import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stenopool.runtime.logs import get_logger, log_context

log = get_logger("stenopool.audit")

_HEADER = "X-Request-Id"
_ID = re.compile(r"[A-Za-z0-9._:=/+-]{1,128}")


class Audit:
    """Outermost middleware. Keeps a request's ``X-Request-Id`` if it is valid, and returns it in the response.

    The line is built from the request's state: ``caller`` and ``is_change`` from access.py, ``recording`` (its key, or
    a prefix) from service.py, and the ``code`` of a refusal from problems.py.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_answered = False
        state = scope.setdefault("state", {})
        state["request_id"] = _request_id(Headers(scope=scope))

        async def send_with_id(message: Message) -> None:
            nonlocal is_answered
            if message["type"] == "http.response.start":
                is_answered = True
                _write_line(scope, message["status"])  # before the client sees the response
                MutableHeaders(scope=message)[_HEADER] = state["request_id"]
            await send(message)

        with log_context(request=state["request_id"]):
            try:
                await self._app(scope, receive, send_with_id)
            finally:
                if not is_answered:
                    _write_line(scope, 500)


def show_audit_log() -> None:
    """Enable the audit log. If no log handler is configured, write it to stderr."""
    log.setLevel(logging.INFO)
    if not log.hasHandlers():
        logging.root.addHandler(logging.StreamHandler())


def _request_id(headers: Headers) -> str:
    given = headers.getlist(_HEADER)
    return given[0] if len(given) == 1 and _ID.fullmatch(given[0]) else secrets.token_hex(16)


def _write_line(scope: Scope, status: int) -> None:
    state, route = scope["state"], getattr(scope.get("route"), "path", scope["path"])
    if not state.get("is_change") or scope["method"] in ("GET", "HEAD"):
        return
    fields = {
        "key": state["caller"].name,
        "operation": f"{scope['method']} {route}",
        "recording": state.get("recording") or str(scope.get("path_params", {}).get("id", "")),
        "outcome": f"{status} {state['code']}" if "code" in state else str(status),
    }
    with log_context(**fields):
        # JSON quoting keeps a name from imitating another field.
        parts = (f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in fields.items())
        log.info("%s request=%s", " ".join(parts), json.dumps(state["request_id"]))
