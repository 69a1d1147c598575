"""Who is asking, and what they may."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from stenopool import __version__
from stenopool.api.access import Anybody
from stenopool.api.keys import SCOPES, Scope
from stenopool.api.service import Service, service

router = APIRouter(prefix="/v1/about", tags=["about"])


class About(BaseModel):
    """``name`` and ``scopes`` are the key's; ``with_keys`` is false where everybody on this machine may do all."""

    version: str
    name: str
    scopes: list[Scope]
    with_keys: bool


@router.get("")
async def about(house: Annotated[Service, Depends(service)], caller: Anybody) -> About:
    """Whose key this is, and what it may do here."""
    return About(
        version=__version__,
        name=caller.name,
        scopes=[scope for scope in SCOPES if caller.may(scope)],
        with_keys=house.keys is not None,
    )
