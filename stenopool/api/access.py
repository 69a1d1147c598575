"""Authentication and authorization of requests."""

from collections.abc import Awaitable, Callable
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from stenopool.api.keys import NOBODY, Key, Scope
from stenopool.api.problems import Problem
from stenopool.api.service import CurrentService, Service
from stenopool.runtime.network import is_loopback

_bearer = HTTPBearer(auto_error=False, description="A key from `python -m stenopool.api.keys`.")


async def _caller(
    request: Request,
    service: CurrentService,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Key:
    key = _holder(request, service, credentials)
    address = request.client.host if request.client else "?"
    # Wrong keys count for their address, so that keys cannot be guessed by the thousand.
    if not service.limiter.take(f"key {key.name}" if key else f"address {address}"):
        raise Problem(429, "TOO_MANY_REQUESTS", "Too many requests.", "Try again in a second.", {"Retry-After": "1"})
    if key is None:
        raise Problem(
            401,
            "UNAUTHENTICATED",
            "The key is missing or unknown.",
            "Send `Authorization: Bearer KEY`.",
            {"WWW-Authenticate": "Bearer"},
        )
    return key


def _holder(request: Request, service: Service, credentials: HTTPAuthorizationCredentials | None) -> Key | None:
    if service.keys is not None:
        return service.keys.holder(credentials.credentials) if credentials else None
    # Without keys we serve this machine only. A page from elsewhere must not reach us through a browser.
    host, origin = (request.headers.get(name, "").lower() for name in ("host", "origin"))
    try:
        is_here = is_loopback(urlsplit(f"//{host}").hostname or "") and (not origin or urlsplit(origin).netloc == host)
    except ValueError:  # such as "[::1"
        is_here = False
    if not is_here:
        raise Problem(403, "FORBIDDEN", "Without keys, only this machine has access.", "Set STENOPOOL_API__KEYS.")
    return NOBODY


AnyCaller = Annotated[Key, Depends(_caller)]


def _require(scope: Scope) -> Callable[[Key], Awaitable[Key]]:
    """Dependency: the caller, whose key has this scope."""

    async def check(key: AnyCaller) -> Key:
        if not key.may(scope):
            raise Problem(403, "FORBIDDEN", f"This key lacks the scope {scope}.", "Use a key that has it.")
        return key

    return check


# Dependencies of routes. FastAPI resolves those of the decorator before the parameters'.
ANY_CALLER = Depends(_caller)
CAN_READ = Depends(_require("read"))
CAN_WRITE = Depends(_require("write"))
IS_ADMIN = Depends(_require("admin"))
CanWrite = Annotated[Key, CAN_WRITE]
