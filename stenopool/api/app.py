"""The application: routes, errors and middleware.

State is in the object stores and in Prefect, so any number of processes can run side by side and restart at any time.
"""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from fastapi import FastAPI

from stenopool.api import problems
from stenopool.api.audit import Audit, show_audit_log
from stenopool.api.callbacks.delivery import deliver_callbacks
from stenopool.api.contents import ConditionalRequests
from stenopool.api.document import create_documented_app
from stenopool.api.guard import Guard
from stenopool.api.middleware import RequestMeter, RequestMetrics
from stenopool.api.page import router as page
from stenopool.api.routers import about, batches, models, queue, recordings, speech, transcripts, uploads
from stenopool.api.routers import callbacks as callback_routes
from stenopool.api.service import open_service
from stenopool.runtime.health import health_router
from stenopool.settings import ApiSettings, CallbackSettings, get_settings

_THREADS = 32  # the number of connections of the S3 client


def create_app(
    settings: ApiSettings | None = None, callbacks: CallbackSettings | None = None, *, authenticated: bool = True
) -> FastAPI:
    """Create the application. ``authenticated=False`` is for loopback only: requests from elsewhere are refused."""
    settings, callbacks = settings or get_settings().api, callbacks or get_settings().callbacks

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Python's default (processors + 4) suits computation; these threads wait for stores.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
        async with open_service(settings, callbacks, authenticated=authenticated) as service:
            app.state.service = service
            show_audit_log()
            deliveries = asyncio.create_task(deliver_callbacks(service, callbacks))
            yield
            deliveries.cancel()

    # A redirect would use the Host that the client sent, and plain HTTP.
    app = create_documented_app(lifespan=lifespan, redirect_slashes=False)
    metrics = RequestMetrics()
    app.add_middleware(ConditionalRequests)  # innermost
    app.add_middleware(
        Guard, local_only=not authenticated, timeout=settings.body_timeout, longest=settings.upload_timeout
    )
    app.add_middleware(RequestMeter, metrics=metrics)  # around Guard, so that its refusals are counted
    app.add_middleware(Audit)
    problems.install(app)
    for part in (recordings, uploads, batches, transcripts, queue, callback_routes, speech, models, about, page):
        app.include_router(part.router)
    app.include_router(health_router(metrics.registry, metrics.look))
    return app
