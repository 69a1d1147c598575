"""The first check of a request, which needs only its headers, and the limits for reading its body.

`access` checks the key, also before the body.
"""

import asyncio
import re
import time
from typing import Any
from urllib.parse import urlsplit

from pydantic_core import from_json
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stenopool.api.problems import Problem, answer, too_large
from stenopool.runtime.network import is_loopback

SMALL = 1024 * 1024  # maximum size of a body that is not an upload
_SLOWEST = 64 * 1024  # bytes per second

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
_CLOSE = {"Connection": "close"}  # otherwise the rest of the body would arrive on this connection
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(:[0-9]{0,5})?")


class Guard:
    """Middleware. ``local_only``: refuse other machines. ``timeout``, ``longest``: see `Body`."""

    def __init__(self, app: ASGIApp, *, local_only: bool, timeout: float, longest: float) -> None:
        self._app = app
        self._local_only = local_only
        self._timeout = timeout
        self._longest = longest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        state = scope.setdefault("state", {})
        body = state["body"] = Body(receive, headers.get("content-length", ""), self._timeout, self._longest)

        async def strict(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                for name, value in {**_HEADERS, **state.get("rate", {})}.items():
                    answered.setdefault(name, value)
                # An unread body may still arrive, and skipping it may be expensive.
                if ("expect" in headers and not body.started) or ("transfer-encoding" in headers and not body.is_over):
                    answered["Connection"] = "close"
                body.is_answered = True
            await send(message)

        if problem := self._refuse(headers, scope["http_version"]):
            await answer(Request(scope), problem)(scope, receive, strict)
        else:
            await self._app(scope, body.receive, strict)

    def _refuse(self, headers: Headers, version: str) -> Problem | None:
        hosts = headers.getlist("host")
        # Pages of other sites must not reach the API through a browser.
        if self._local_only and not _is_here(*(headers.get(name, "").lower() for name in ("host", "origin"))):
            return Problem(403, "FORBIDDEN", "Without keys, only this machine has access.", "Set STENOPOOL_API__KEYS.")
        if (hosts or version == "1.1") and not (len(hosts) == 1 and _HOST.fullmatch(hosts[0])):
            return Problem(
                400, "BAD_REQUEST", "The Host header is invalid.", "Send one Host header with a name and a port."
            )
        return None


class Body:
    """A request's body, limited to ``limit`` bytes and in time.

    ``timeout``: seconds for the whole body, plus one for each 64 KiB received; ``longest``: the maximum.
    """

    def __init__(self, receive: Receive, declared: str, timeout: float, longest: float) -> None:
        self.limit = SMALL
        self.started = self.is_answered = False
        self._receive = receive
        self._declared = int(declared) if declared.isdecimal() else 0
        self._timeout = timeout
        self._longest = longest
        self._received = 0
        self._waited = 0.0
        self._start = 0.0
        self.is_over = False

    def check_size(self) -> None:
        """Raises the problem 413 if the declared size is above the limit."""
        if self._declared > self.limit:
            raise too_large("The body", self.limit)

    async def receive(self) -> Message:
        """Return the next part. Raises the problems 408 and 413."""
        if self.is_over or self.is_answered:  # now the caller waits for a disconnect
            return await self._receive()
        now = time.monotonic()
        if not self.started:
            self.started, self._start = True, now
        # Only waiting counts, not the time for storing what arrived.
        left = self._timeout + self._received / _SLOWEST - self._waited
        try:
            async with asyncio.timeout(min(left, self._start + self._longest - now)):
                message = await self._receive()
        except TimeoutError:
            raise Problem(408, "BODY_TOO_SLOW", "The body arrives too slowly.", "Send it again.", _CLOSE) from None
        self._waited += time.monotonic() - now
        self._received += len(message.get("body", b""))
        self.is_over = not message.get("more_body", False)
        if self._received > self.limit:
            raise too_large("The body", self.limit)
        return message


def parse_json(text: bytes | str) -> Any:
    """Parse JSON. Raises ValueError also for what cannot be written again: lone surrogates, NaN, hundreds of levels."""
    return from_json(text, allow_inf_nan=False)


def _is_here(host: str, origin: str) -> bool:
    """Whether the request is for this machine, and does not come from another site's page."""
    try:
        return is_loopback(urlsplit(f"//{host}").hostname or "") and (not origin or urlsplit(origin).netloc == host)
    except ValueError:  # such as "[::1"
        return False
