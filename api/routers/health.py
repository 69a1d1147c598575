"""Health: for probes, which send no key."""

import asyncio
import logging
from collections.abc import Awaitable
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel

from api.service import Service, service
from stenopool.storage import ObjectStore

router = APIRouter(prefix="/health", tags=["health"])
log = logging.getLogger("stenopool.api")
_PATIENCE = 5.0  # seconds for each dependency


class Health(BaseModel):
    """``dependencies``: each "ok" or "failed"; why stands in the log of whoever runs this, not here."""

    status: Literal["ok", "failed"]
    dependencies: dict[str, Literal["ok", "failed"]] = {}


@router.get("/live")
async def live() -> Health:
    """The process answers."""
    return Health(status="ok")


@router.get("/ready", responses={503: {"model": Health}})
async def ready(response: Response, house: Annotated[Service, Depends(service)]) -> Health:
    """Stores and Prefect answer too."""
    checks: dict[str, Awaitable[None]] = {
        "source": asyncio.to_thread(_listable, house.source),
        "destination": asyncio.to_thread(_listable, house.destination),
        "prefect": house.runs.healthy(house.settings.deployment),
    }
    answers = await asyncio.gather(*map(_state, checks.values()))
    health = Health(
        status="ok" if set(answers) == {"ok"} else "failed", dependencies=dict(zip(checks, answers, strict=True))
    )
    response.status_code = 200 if health.status == "ok" else 503
    return health


def _listable(store: ObjectStore) -> None:
    next(store.list(), None)


async def _state(check: Awaitable[None]) -> Literal["ok", "failed"]:
    try:
        async with asyncio.timeout(_PATIENCE):
            await check
    except Exception as error:  # whatever it is, it is not ready
        log.warning("Not ready: %s", error or type(error).__name__)
        return "failed"
    return "ok"
