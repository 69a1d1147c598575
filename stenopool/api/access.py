"""Authentication and authorization of requests."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from stenopool.api.keys import NOBODY, Key, Keys, Scope
from stenopool.api.problems import Problem
from stenopool.runtime.network import is_loopback

_bearer = HTTPBearer(auto_error=False, description="A key from `python -m stenopool.api.keys`.")


async def _caller(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Key:
    service = request.app.state.service  # all of it; what a route gets is what this caller may see
    key = _holder(request, service, credentials)
    address = request.client.host if request.client else "?"
    # Wrong keys count for their address, so that keys cannot be guessed by the thousand.
    if not service.limiter.take(f"key {key.name}" if key else f"address {address}"):
        raise Problem(429, "TOO_MANY_REQUESTS", "Too many requests.", "Try again in a second.", {"Retry-After": "1"})
    if key is None:
        raise Problem(
            401,
            "UNAUTHENTICATED",
            "The key is missing, unknown or has expired.",
            "Send `Authorization: Bearer KEY`.",
            {"WWW-Authenticate": "Bearer"},
        )
    request.state.caller = key
    return key


def _holder(request: Request, service: Any, credentials: HTTPAuthorizationCredentials | None) -> Key | None:
    keys: Keys | None = service.keys
    if keys is not None:
        return keys.holder(credentials.credentials) if credentials else None
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


def require_scope(caller: Key, scope: Scope) -> None:
    """The problem 403 if the caller's key lacks the scope."""
    if not caller.may(scope):
        remedy = f"Use a key that has it, or add {scope} to the key's line in the file of keys."
        raise Problem(403, "FORBIDDEN", f"This key lacks the scope {scope}.", remedy)


def _require(scope: Scope) -> Callable[[Request, Key], Awaitable[Key]]:
    """Dependency: the caller, whose key has this scope. All scopes but ``read`` are for changes, which are logged."""

    async def check(request: Request, key: AnyCaller) -> Key:
        request.state.is_change = scope != "read" or getattr(request.state, "is_change", False)
        require_scope(key, scope)
        return key

    return check


# Dependencies of routes. FastAPI resolves those of the decorator before the parameters'.
ANY_CALLER = Depends(_caller)
CAN_READ = Depends(_require("read"))
CAN_WRITE = Depends(_require("write"))
CAN_DELETE = Depends(_require("delete"))
CAN_BATCH = Depends(_require("batch"))
CAN_EDIT = Depends(_require("edit"))
IS_ADMIN = Depends(_require("admin"))
CanWrite = Annotated[Key, CAN_WRITE]
CanBatch = Annotated[Key, CAN_BATCH]
