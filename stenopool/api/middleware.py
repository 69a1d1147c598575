"""Request metrics: the middleware that counts requests, and the collector behind /metrics."""

import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stenopool.api.service import Service
from stenopool.metrics.families import build_info, own, up
from stenopool.runtime.health import Health

# One series for all paths that are not a route, so that clients cannot create series.
_OTHER = "other"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestMetrics(Collector):
    """The metrics of one API. ``health``: the last check of its dependencies."""

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
        """Check the dependencies, and store the result."""
        service: Service = request.app.state.service
        self.health = await service.readiness.look()
        return self.health

    def collect(self) -> Iterable[Family]:
        yield build_info()
        if self.health:
            yield up((name, state == "ok") for name, state in self.health.dependencies.items())


class RequestMeter:
    """Middleware around `Guard`, so that refused requests are counted too."""

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
            # The scope has the route's template: templates are few, paths are not.
            route = getattr(scope.get("route"), "path", _OTHER)
            metrics.requests.labels(method, route, str(status)).inc()
            metrics.seconds.labels(method, route).observe(time.monotonic() - start)
