"""Round every request: bodies that are too large or too slow are refused, and answers carry strict headers."""

import asyncio
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import Problem, answer

SMALL = 1024 * 1024  # bytes of a body that is no upload
_SLOWEST = 16 * 1024  # bytes per second

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


class Guard:
    """``max_bytes``: of an upload. ``timeout``: seconds that a body may take, besides one per 16 KiB received."""

    def __init__(self, app: ASGIApp, max_bytes: int, timeout: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def strict(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        headers = Headers(scope=scope)
        upload = headers.get("content-type", "").startswith("multipart/form-data")
        # Besides the file, a form has its other fields and the lines between them.
        limit = self._max_bytes + SMALL if upload else SMALL
        said = headers.get("content-length", "")
        if said.isdecimal() and int(said) > limit:
            await answer(Request(scope), too_large(limit))(scope, receive, strict)
            return
        await self._app(scope, self._bounded(receive, limit), strict)

    def _bounded(self, receive: Receive, limit: int) -> Receive:
        received, waited, over = 0, 0.0, False

        async def bounded() -> Message:
            nonlocal received, waited, over
            if over:  # what is waited for now is that the client goes away
                return await receive()
            begun = time.monotonic()
            try:
                # Only waiting counts, not the time that it takes us to put away what came.
                async with asyncio.timeout(self._timeout + received / _SLOWEST - waited):
                    message = await receive()
            except TimeoutError:
                raise Problem(
                    408, "BODY_TOO_SLOW", "The body comes too slowly.", "Send it again.", {"Connection": "close"}
                ) from None
            waited += time.monotonic() - begun
            received += len(message.get("body", b""))
            over = not message.get("more_body", False)
            if received > limit:
                raise too_large(limit)
            return message

        return bounded


def too_large(limit: int) -> Problem:
    """413. The connection is closed: the rest of the body would come over it."""
    return Problem(
        413,
        "TOO_LARGE",
        f"The body exceeds {limit:,} bytes.",
        "Split or compress the file, or raise STENOPOOL_API__MAX_BYTES.",
        {"Connection": "close"},
    )
