"""Whether what a program needs answers: for probes, which send no key, and for its metrics.

`health_router` makes the three routes that the API, the exporter and the workers share.
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

_PATIENCE = 5.0  # seconds for each dependency
_FRESH = 2.0  # seconds; anybody may ask, and each check asks others

State = Literal["ok", "failed"]


class Health(BaseModel):
    """How a program is, and what it needs."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    status: State
    """failed: it cannot serve."""
    dependencies: dict[str, State] = {}
    """How each of them is; the reason is in the program's log, not here."""

    @classmethod
    def of(cls, dependencies: dict[str, State]) -> "Health":
        return cls(status="failed" if "failed" in dependencies.values() else "ok", dependencies=dependencies)


class Readiness:
    """Checks dependencies, all at once, and remembers the answer for two seconds. A check raises if it fails.

    ``health`` is the last answer.
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
    """``/health/live``, ``/health/ready`` and ``/metrics``: 200, or 503 where the answer is "failed".

    ``look``: how the dependencies are; asked before ``registry`` is collected, too. ``is_alive``: whether the program
    works at all, or has to be started again: this is what a liveness probe asks for.
    """
    router = APIRouter(tags=["health"])

    @router.get("/health/live")
    async def get_liveness(response: Response) -> Health:
        """The process answers."""
        return _answer(response, Health(status="ok" if is_alive() else "failed"))

    @router.get("/health/ready", responses={503: {"model": Health}})
    async def get_readiness(request: Request, response: Response) -> Health:
        """What the process needs answers too."""
        return _answer(response, await look(request))

    @router.get("/metrics", response_class=PlainTextResponse)
    async def get_metrics(request: Request) -> Response:
        """What Prometheus scrapes; docs/metrics.md says what there is."""
        await look(request)
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return router


def bare_app(router: APIRouter, **options: Any) -> FastAPI:
    """An application of these routes alone, without pages that describe them."""
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
    except Exception as error:  # whatever it is, it is not ready
        logger.warning("Not ready: %s: %s", name, error or type(error).__name__)
        return "failed"
    return "ok"
