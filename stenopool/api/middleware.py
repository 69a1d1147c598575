"""Middleware: refuses bodies that are too large or too slow, adds strict headers to every answer, counts requests."""

import asyncio
import contextlib
import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stenopool.api.headers import FORM, media_type
from stenopool.api.problems import Problem, answer, too_large
from stenopool.api.service import Service
from stenopool.metrics.families import build_info, own, up
from stenopool.runtime.health import Health

SMALL = 1024 * 1024  # bytes of a body that is not an upload
_SLOWEST = 16 * 1024  # bytes per second

# Refusals that may come before the body was read to its end.
_UNREAD = (400, 401, 403, 413, 415, 422, 429, 503)
_CLOSE = {"Connection": "close"}  # the rest of the body would come over it
_LINGER_BYTES, _LINGER_SECONDS = 64 * 1024 * 1024, 5.0

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}

# One series for all addresses that are not a route, however many somebody tries.
_OTHER = "other"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Guard:
    """``max_bytes``: of an upload. ``timeout``: seconds for receiving a body, plus one per 16 KiB received."""

    def __init__(self, app: ASGIApp, max_bytes: int, timeout: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        upload = media_type(headers) == FORM
        # In addition to the file, a form has other fields and the lines between them.
        limit = self._max_bytes + SMALL if upload else SMALL
        body = _Body(receive, limit, self._timeout)

        async def strict(message: Message) -> None:
            if message["type"] == "http.response.start":
                if message["status"] in _UNREAD and "expect" not in headers:
                    await body.drain()
                answered = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    answered.setdefault(name, value)
            await send(message)

        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            await answer(Request(scope), too_large("The body", limit, _CLOSE))(scope, receive, strict)
            return
        await self._app(scope, body.receive, strict)


class _Body:
    """A request's body, which must not be too large or too slow."""

    def __init__(self, receive: Receive, limit: int, timeout: float) -> None:
        self._receive = receive
        self._limit = limit
        self._timeout = timeout
        self._received = 0
        self._waited = 0.0
        self._over = False

    async def receive(self) -> Message:
        if self._over:  # now the caller waits for a disconnect
            return await self._receive()
        start = time.monotonic()
        try:
            # Only waiting counts, not the time that we take to store what arrived.
            async with asyncio.timeout(self._timeout + self._received / _SLOWEST - self._waited):
                message = await self._next()
        except TimeoutError:
            raise Problem(408, "BODY_TOO_SLOW", "The body arrives too slowly.", "Send it again.", _CLOSE) from None
        self._waited += time.monotonic() - start
        if self._received > self._limit:
            raise too_large("The body", self._limit, _CLOSE)
        return message

    async def drain(self) -> None:
        """Read on for a while: a client that still sends when we close sees a broken connection, not our answer."""
        until = self._received + _LINGER_BYTES
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while not self._over and self._received < until:
                    await self._next()

    async def _next(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        self._over = not message.get("more_body", False)
        return message


class RequestMetrics(Collector):
    """The metrics of one API. ``health``: its dependencies, as last checked."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.requests = own(Counter, "stenopool_api_requests_total", self.registry)
        self.seconds = own(Histogram, "stenopool_api_request_seconds", self.registry)
        self.in_progress = own(Gauge, "stenopool_api_requests_in_progress", self.registry)
        self.upload_bytes = own(Counter, "stenopool_api_upload_bytes_total", self.registry)
        self.health: Health | None = None
        self.registry.register(self)

    async def look(self, request: Request) -> Health:
        """Check the dependencies, and note what was found."""
        service: Service = request.app.state.service
        self.health = await service.readiness.look()
        return self.health

    def collect(self) -> Iterable[Family]:
        yield build_info()
        if self.health:
            yield up((name, state == "ok") for name, state in self.health.dependencies.items())


class RequestMeter:
    """Outermost middleware, so that refused requests are counted too."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        metrics, start, status = self._metrics, time.monotonic(), 500

        async def receive_counting() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                metrics.upload_bytes.inc(len(message.get("body", b"")))
            return message

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        metrics.in_progress.inc()
        try:
            await self._app(scope, receive_counting, send_noting)
        finally:
            metrics.in_progress.dec()
            method = scope["method"] if scope["method"] in _METHODS else _OTHER
            # The router puts its route into the scope. Templates are few, addresses are not.
            route = getattr(scope.get("route"), "path", _OTHER)
            metrics.requests.labels(method, route, str(status)).inc()
            metrics.seconds.labels(method, route).observe(time.monotonic() - start)
