"""The app: routes, errors, guards.

State lives in the object stores and in Prefect, so that any number of these may run side by side and be restarted at
any time.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from api import problems
from api.bodies import Guard
from api.metrics import Measured, Metrics
from api.page import router as page
from api.routers import about, audio, health, options, queue, recordings, speakers, speech, transcripts, views
from api.service import open_service
from stenopool import __version__
from stenopool.settings import ApiSettings, get_settings


def create_app(settings: ApiSettings | None = None, *, authenticated: bool = True) -> FastAPI:
    """The service. ``authenticated=False`` is for loopback only: requests from elsewhere are refused."""
    settings = settings or get_settings().api

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_service(settings, authenticated=authenticated) as service:
            app.state.service = service
            yield

    # The usual pages at /docs load their scripts from elsewhere; the document itself is at /openapi.json.
    app = FastAPI(
        title="Stenopool",
        version=__version__,
        description="Recordings in, speaker-labelled transcripts out.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.metrics = Metrics()
    app.add_middleware(Guard, max_bytes=settings.max_bytes, timeout=settings.body_timeout)
    app.add_middleware(Measured, metrics=app.state.metrics)  # outermost: what Guard refuses is counted too
    problems.install(app)
    for part in (recordings, transcripts, views, speakers, audio, queue, options, speech, about, health, page):
        app.include_router(part.router)
    return app
