"""The permissions of the caller's key, and the options from which clients build a form."""

from typing import Any

from fastapi import APIRouter

from stenopool import __version__
from stenopool.api.access import ANY_CALLER, AnyCaller, GuardedRoute
from stenopool.api.headers import deprecated_for
from stenopool.api.keys import SCOPES, Scope
from stenopool.api.schema import Described, RequestedOptions
from stenopool.api.service import CurrentService
from stenopool.languages import language_names
from stenopool.options import FORMATS, Format, TranscriptionOptions

router = APIRouter(prefix="/v1", route_class=GuardedRoute)


class About(Described):
    """The program, and the caller's key."""

    version: str
    """The program's version. The contract's version is in the OpenAPI document."""
    name: str
    """The key's name."""
    scopes: list[Scope]
    """What the key may do."""
    prefix: str
    """The key has access only to recordings below this prefix; empty: to all."""
    with_keys: bool
    """False if authentication is disabled."""


class Choices(Described):
    """Everything that a form for recordings needs."""

    options: dict[str, Any]
    """JSON Schema of a recording's options."""
    defaults: dict[str, Any]
    """Defaults that this installation changes."""
    allowed: dict[str, list[str]]
    """Allowed values of restricted options."""
    languages: dict[str, str]
    """Names of languages by code."""
    formats: tuple[Format, ...]
    """Formats of transcripts."""
    source: str
    """Addresses of recordings must be below this one."""
    max_bytes: int
    """Maximum size of an upload."""


@router.get("/about", tags=["about"])
async def get_about(service: CurrentService, caller: AnyCaller) -> About:
    """Return the name and the scopes of the caller's key."""
    return About(
        version=__version__,
        name=caller.name,
        scopes=[scope for scope in SCOPES if caller.may(scope)],
        prefix=caller.prefix,
        with_keys=service.keys is not None,
    )


@router.get("/options", tags=["options"], dependencies=[ANY_CALLER])
async def get_options(service: CurrentService) -> Choices:
    """Return the options of a recording as JSON Schema, and everything else that a form for them needs."""
    schema = TranscriptionOptions.model_json_schema()
    for name, values in service.allow_lists.allowed.items():
        schema["properties"][name]["enum"] = values
    return Choices(
        options=schema,
        defaults=service.allow_lists.defaults,
        allowed=service.allow_lists.allowed,
        languages=language_names(),
        formats=FORMATS,
        source=service.uri,
        max_bytes=service.settings.max_bytes,
    )


@router.post("/options/check", tags=["options"], dependencies=[ANY_CALLER])
@router.post(
    "/options", tags=["options"], deprecated=True, dependencies=[ANY_CALLER, deprecated_for("/v1/options/check")]
)
async def check_options(options: RequestedOptions, service: CurrentService) -> TranscriptionOptions:
    """Check options (422 if they cannot be combined), and return them with all defaults."""
    return service.options(options)
