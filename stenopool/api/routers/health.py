"""Health and metrics: for probes and Prometheus, which send no key."""

import asyncio
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from stenopool.api.metrics import Metrics
from stenopool.api.service import Service, service
from stenopool.runtime.health import Health, Readiness
from stenopool.storage import ObjectStore

router = APIRouter(tags=["health"])


def _readiness(request: Request, house: Annotated[Service, Depends(service)]) -> Readiness:
    """What is remembered of stores and Prefect, one for the app."""
    if not hasattr(request.app.state, "readiness"):
        request.app.state.readiness = Readiness(
            {
                "source": lambda: asyncio.to_thread(_listable, house.source),
                "destination": lambda: asyncio.to_thread(_listable, house.destination),
                "prefect": lambda: house.runs.healthy(house.settings.deployment),
            }
        )
    return cast("Readiness", request.app.state.readiness)


Ready = Annotated[Readiness, Depends(_readiness)]


@router.get("/health/live")
async def live() -> Health:
    """The process answers."""
    return Health(status="ok")


@router.get("/health/ready", responses={503: {"model": Health}})
async def ready(response: Response, needed: Ready) -> Health:
    """Stores and Prefect answer too."""
    health = await needed.look()
    response.status_code = 200 if health.status == "ok" else 503
    return health


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request, needed: Ready) -> Response:
    """What Prometheus scrapes; docs/metrics.md says what there is."""
    told = cast("Metrics", request.app.state.metrics)
    told.health = await needed.look()
    return Response(generate_latest(told.registry), media_type=CONTENT_TYPE_LATEST)


def _listable(store: ObjectStore) -> None:
    next(store.list(), None)
