"""Who asks, and whether they may."""

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from stenopool.api.keys import NOBODY, Key, Scope
from stenopool.api.problems import Problem
from stenopool.api.service import CurrentService, Service
from stenopool.runtime.network import is_loopback

_bearer = HTTPBearer(auto_error=False, description="A key that `python -m stenopool.api.keys` made.")


async def _caller(
    request: Request,
    service: CurrentService,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Key:
    key = _holder(request, service, credentials)
    address = request.client.host if request.client else "?"
    # Wrong keys count for their address: nobody tries them by the thousand.
    if not service.limiter.take(f"key {key.name}" if key else f"address {address}"):
        raise Problem(429, "TOO_MANY_REQUESTS", "Too many requests.", "Ask again in a second.", {"Retry-After": "1"})
    if key is None:
        raise Problem(
            401,
            "UNAUTHENTICATED",
            "No key, or one that is not known.",
            "Send `Authorization: Bearer KEY`.",
            {"WWW-Authenticate": "Bearer"},
        )
    return key


def _holder(request: Request, service: Service, credentials: HTTPAuthorizationCredentials | None) -> Key | None:
    if service.keys is not None:
        return service.keys.holder(credentials.credentials) if credentials else None
    # Without keys we serve this machine only; a page elsewhere must not reach us through somebody's browser.
    host, origin = (request.headers.get(name, "").lower() for name in ("host", "origin"))
    try:
        is_here = is_loopback(urlsplit(f"//{host}").hostname or "") and (not origin or urlsplit(origin).netloc == host)
    except ValueError:  # such as "[::1"
        is_here = False
    if not is_here:
        raise Problem(403, "FORBIDDEN", "Without keys only this machine is served.", "Set STENOPOOL_API__KEYS.")
    return NOBODY


class Needs:
    """Dependency: the caller, who has this scope."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def __call__(self, key: Annotated[Key, Depends(_caller)]) -> Key:
        if not key.may(self._scope):
            raise Problem(403, "FORBIDDEN", f"This key has not the scope {self._scope}.", "Use a key that has it.")
        return key


AnyCaller = Annotated[Key, Depends(_caller)]
CanRead = Annotated[Key, Depends(Needs("read"))]
CanWrite = Annotated[Key, Depends(Needs("write"))]
IsAdmin = Annotated[Key, Depends(Needs("admin"))]
