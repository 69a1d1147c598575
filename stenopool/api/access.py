"""Authentication and authorization of requests."""

from collections.abc import Callable, Coroutine, Iterator
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from stenopool.api.guard import SMALL, Body, parse_json
from stenopool.api.headers import FORM, media_type
from stenopool.api.keys import NOBODY, Key, Keys, Scope
from stenopool.api.problems import Problem

_RENDERING = 10  # how many requests one counts as if it may render a transcript
_bearer = HTTPBearer(auto_error=False, description="A key from `python -m stenopool.api.keys`.")


class Requirement:
    """Dependency that returns the caller, and requires a scope (None: any key).

    `GuardedRoute` checks it before the body. ``price``: how many requests one counts as for the rate limit. The first
    requirement of a route decides.
    """

    def __init__(self, scope: Scope | None = None, price: int = 1) -> None:
        self._scope = scope
        self._price = price

    async def __call__(
        self, request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
    ) -> Key:
        return await self.check(request)

    async def check(self, request: Request) -> Key:
        """Raises the problems 401, 403 and 429. All scopes except ``read`` allow changes, which are logged."""
        key = await _identify(request, self._price)
        if self._scope:
            request.state.is_change = self._scope != "read" or getattr(request.state, "is_change", False)
            require_scope(key, self._scope)
        return key


def require_scope(caller: Key, scope: Scope) -> None:
    """Raises the problem 403 if the caller's key lacks the scope."""
    if not caller.may(scope):
        remedy = f"Use a key with this scope, or add {scope} to the key's line in the key file."
        raise Problem(403, "FORBIDDEN", f"This key lacks the `{scope}` scope.", remedy)


async def _identify(request: Request, price: int) -> Key:
    """Return the caller. Counts each request once, however many requirements its route has."""
    state = request.state
    if hasattr(state, "caller"):
        known: Key = state.caller
        return known
    service = request.app.state.service  # unrestricted; a route gets only what this caller may see
    keys: Keys | None = service.keys
    key: Key | None = NOBODY
    if keys is not None:
        credentials = await _bearer(request)
        key = keys.holder(credentials.credentials) if credentials else None
    address = request.client.host if request.client else "?"
    # Unknown keys count towards the limit of their address, which slows down guessing.
    allowance = service.limiter.take(f"key {key.name}" if key else f"address {address}", price)
    state.rate = allowance.headers
    if not allowance.allowed:
        headers = {"Retry-After": str(allowance.wait)}
        raise Problem(429, "TOO_MANY_REQUESTS", "Too many requests.", f"Wait {allowance.wait} s.", headers)
    if key is None:
        raise Problem(
            401,
            "UNAUTHENTICATED",
            "The key is missing, unknown or has expired.",
            "Send `Authorization: Bearer KEY`.",
            {"WWW-Authenticate": "Bearer"},
        )
    state.caller = key
    return key


class GuardedRoute(APIRoute):
    """A route that checks its requirements before it reads the body; FastAPI would read the body first.

    Only a form may be as large as an upload, and only on routes that document a form.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        requirements = list(_requirements(self.dependant))
        takes_files = FORM in (self.openapi_extra or {}).get("requestBody", {}).get("content", {})

        async def check_and_handle(request: Request) -> Response:
            for requirement in requirements:
                await requirement.check(request)
            body: Body = request.state.body
            if takes_files and media_type(request.headers) == FORM:
                # A form also has other fields, and lines between them.
                body.limit = request.app.state.service.settings.max_bytes + SMALL
            body.check_size()
            return await handle(_JsonRequest(request.scope, request.receive))

        return check_and_handle


class _JsonRequest(Request):
    """A request that parses JSON strictly."""

    async def json(self) -> Any:
        try:
            return parse_json(await self.body())
        except ValueError:
            raise Problem(400, "BAD_REQUEST", "The body is not JSON.", "See /openapi.json.") from None


def _requirements(dependant: Dependant) -> Iterator[Requirement]:
    for each in dependant.dependencies:
        if isinstance(each.call, Requirement):
            yield each.call
        yield from _requirements(each)


# Dependencies of routes. FastAPI resolves those of the decorator before those of the parameters.
ANY_CALLER = Depends(Requirement())
CAN_READ = Depends(Requirement("read"))
CAN_RENDER = Depends(Requirement("read", _RENDERING))
CAN_WRITE = Depends(Requirement("write"))
CAN_DELETE = Depends(Requirement("delete"))
CAN_BATCH = Depends(Requirement("batch"))
CAN_EDIT = Depends(Requirement("edit"))
IS_ADMIN = Depends(Requirement("admin"))
AnyCaller = Annotated[Key, ANY_CALLER]
CanWrite = Annotated[Key, CAN_WRITE]
CanBatch = Annotated[Key, CAN_BATCH]
