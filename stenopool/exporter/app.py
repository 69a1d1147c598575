"""The exporter's pages: /metrics, /health/live, /health/ready. What they say is looked up beside, every few seconds."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from prefect.client.orchestration import get_client
from prefect.settings import get_current_settings
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from stenopool.exporter.collect import Exporter
from stenopool.runtime.health import Health
from stenopool.storage import ObjectStore


def create_app(destinations: Sequence[ObjectStore], interval: float) -> Starlette:
    """The exporter over these destinations and the Prefect server that PREFECT_API_URL names, if it names one.

    ``interval``: seconds between two looks at them.
    """
    registry = CollectorRegistry()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            # Without an address, Prefect's client would start a server of its own.
            known = get_current_settings().api.url
            exporter = Exporter(destinations, await stack.enter_async_context(get_client()) if known else None)
            registry.register(exporter)
            app.state.exporter = exporter
            watching = asyncio.create_task(exporter.watch(interval))
            yield
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def live(_: Request) -> Response:
        return _answer(Health(status="ok"))

    async def ready(request: Request) -> Response:
        return _answer(request.app.state.exporter.health)

    async def front(_: Request) -> Response:
        return PlainTextResponse("Stenopool's exporter: /metrics, /health/live, /health/ready\n")

    routes = [
        Route("/", front),
        Route("/metrics", metrics),
        Route("/health/live", live),
        Route("/health/ready", ready),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def _answer(health: Health) -> Response:
    return JSONResponse(health.model_dump(), 200 if health.status == "ok" else 503)
