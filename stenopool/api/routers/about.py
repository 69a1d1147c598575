"""The caller and their permissions."""

from fastapi import APIRouter
from pydantic import BaseModel

from stenopool import __version__
from stenopool.api.access import AnyCaller
from stenopool.api.keys import SCOPES, Scope
from stenopool.api.service import CurrentService

router = APIRouter(prefix="/v1/about", tags=["about"])


class About(BaseModel):
    """``name`` and ``scopes`` are the key's; ``with_keys`` is false without authentication."""

    version: str
    name: str
    scopes: list[Scope]
    with_keys: bool


@router.get("")
async def about(service: CurrentService, caller: AnyCaller) -> About:
    """The name and the scopes of the caller's key."""
    return About(
        version=__version__,
        name=caller.name,
        scopes=[scope for scope in SCOPES if caller.may(scope)],
        with_keys=service.keys is not None,
    )
