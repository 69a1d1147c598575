"""Health checks of a program's dependencies, for probes without a key and for metrics.

`health_router` creates the three routes that the API, the exporter and the workers share.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import BaseModel, ConfigDict

from stenopool.runtime.logs import logger

_PATIENCE = 5.0  # timeout for each dependency, in seconds
_FRESH = 2.0  # seconds; anyone may send requests, and each check causes further requests

State = Literal["ok", "failed"]


class Health(BaseModel):
    """Health of a program and its dependencies."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    status: State
    """failed: the program cannot serve requests."""
    dependencies: dict[str, State] = {}
    """State of each dependency; the reason for a failure is only in the program's log."""

    @classmethod
    def of(cls, dependencies: dict[str, State]) -> "Health":
        return cls(status="failed" if "failed" in dependencies.values() else "ok", dependencies=dependencies)


class Readiness:
    """Checks dependencies concurrently and caches the result for two seconds. A check raises if it fails.

    ``health``: the last result.
    """

    def __init__(self, checks: Mapping[str, Callable[[], Awaitable[object]]]) -> None:
        self._checks = checks
        self._lock = asyncio.Lock()
        self.health = Health(status="failed")
        self._looked = float("-inf")

    async def look(self) -> Health:
        async with self._lock:
            if time.monotonic() - self._looked >= _FRESH:
                states = await asyncio.gather(*(_state(name, check) for name, check in self._checks.items()))
                self.health = Health.of(dict(zip(self._checks, states, strict=True)))
                self._looked = time.monotonic()
            return self.health


def health_router(
    registry: CollectorRegistry,
    look: Callable[[Request], Awaitable[Health]],
    is_alive: Callable[[], bool] = lambda: True,
) -> APIRouter:
    """Routes ``/health/live``, ``/health/ready`` and ``/metrics``; the status is 200, or 503 for "failed".

    ``look``: returns the state of the dependencies; also called before ``registry`` is collected.
    ``is_alive``: for liveness probes; False if the program must be restarted.
    """
    router = APIRouter(tags=["health"])

    @router.get("/health/live")
    async def get_liveness(response: Response) -> Health:
        """The process is running."""
        return _answer(response, Health(status="ok" if is_alive() else "failed"))

    @router.get("/health/ready", responses={503: {"model": Health}})
    async def get_readiness(request: Request, response: Response) -> Health:
        """The process and its dependencies are available."""
        return _answer(response, await look(request))

    @router.get("/metrics", response_class=PlainTextResponse)
    async def get_metrics(request: Request) -> Response:
        """Metrics for Prometheus; see docs/metrics.md."""
        await look(request)
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return router


def bare_app(router: APIRouter, **options: Any) -> FastAPI:
    """An application with only these routes, without API documentation."""
    app = FastAPI(openapi_url=None, redirect_slashes=False, **options)
    app.include_router(router)
    return app


def _answer(response: Response, health: Health) -> Health:
    response.status_code = 200 if health.status == "ok" else 503
    return health


async def _state(name: str, check: Callable[[], Awaitable[object]]) -> State:
    try:
        async with asyncio.timeout(_PATIENCE):
            await check()
    except Exception as error:  # any error means not ready
        logger.warning("Not ready: %s: %s", name, error or type(error).__name__)
        return "failed"
    return "ok"
