"""Health and metrics: for probes and Prometheus, which send no key."""

from fastapi import APIRouter, Request

from stenopool.api.request_metrics import RequestMetrics
from stenopool.runtime.health import Health, health_router


def create_router(metrics: RequestMetrics) -> APIRouter:
    """The routes of one application, which has one set of metrics."""

    async def look(request: Request) -> Health:
        metrics.health = await request.app.state.service.readiness.look()
        return metrics.health

    return health_router(metrics.registry, look)
