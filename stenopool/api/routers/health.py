"""Health and metrics: for probes and Prometheus, which send no key."""

import asyncio
from typing import cast

from fastapi import APIRouter, Request

from stenopool.api.request_metrics import RequestMetrics
from stenopool.api.service import Service
from stenopool.runtime.health import Health, Readiness, health_router
from stenopool.storage import ObjectStore


def create_router(metrics: RequestMetrics) -> APIRouter:
    """The routes of one application, which has one set of metrics."""

    async def look(request: Request) -> Health:
        metrics.health = await _readiness(request).look()
        return metrics.health

    return health_router(metrics.registry, look)


def _readiness(request: Request) -> Readiness:
    """What is remembered of stores and Prefect, one for the app."""
    state = request.app.state
    if not hasattr(state, "readiness"):
        service: Service = state.service
        state.readiness = Readiness(
            {
                "source": lambda: asyncio.to_thread(_list_first, service.source),
                "destination": lambda: asyncio.to_thread(_list_first, service.destination),
                "prefect": lambda: service.runs.check_health(service.settings.deployment),
            }
        )
    return cast("Readiness", state.readiness)


def _list_first(store: ObjectStore) -> None:
    next(store.list(), None)
