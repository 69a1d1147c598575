"""The exporter's application: /metrics, /health/live, /health/ready. What they say is looked up every few seconds."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse
from prefect.client.orchestration import get_client
from prefect.settings import get_current_settings
from prometheus_client import CollectorRegistry

from stenopool.exporter.collect import Exporter
from stenopool.runtime.health import Health, bare_app, health_router
from stenopool.storage import ObjectStore


def create_app(destinations: Sequence[ObjectStore], interval: float) -> FastAPI:
    """The exporter over these destinations and the Prefect server that PREFECT_API_URL names, if it names one.

    ``interval``: seconds between two looks at them.
    """
    registry = CollectorRegistry()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
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

    async def look(request: Request) -> Health:
        exporter: Exporter = request.app.state.exporter
        return exporter.health

    app = bare_app(health_router(registry, look), lifespan=lifespan)

    @app.get("/", response_class=PlainTextResponse)
    async def front() -> str:
        return "Stenopool's exporter: /metrics, /health/live, /health/ready\n"

    return app
