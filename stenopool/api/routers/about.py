"""What a client needs first: the permissions of its key, and the options that a form is built from."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from stenopool import __version__
from stenopool.api.access import ANY_CALLER, AnyCaller, GuardedRoute
from stenopool.api.headers import deprecated_for
from stenopool.api.keys import SCOPES, Scope
from stenopool.api.service import CurrentService
from stenopool.languages import language_names
from stenopool.options import FORMATS, Format, TranscriptionOptions

router = APIRouter(prefix="/v1", route_class=GuardedRoute)


class About(BaseModel):
    """``name``, ``scopes`` and ``prefix`` are the key's; ``with_keys`` is false without authentication.

    ``prefix``: recordings elsewhere do not exist for the key; empty: it has access to all.
    """

    version: str
    name: str
    scopes: list[Scope]
    prefix: str
    with_keys: bool


class Choices(BaseModel):
    """``options``: JSON Schema of a recording's options. ``defaults``: those that this installation changes.

    ``allowed``: values that requests may give here, for options of which not all may be; the schema has them too.
    ``languages``: names by code. ``formats``: of transcripts. ``source``: addresses must be below it. ``max_bytes``:
    largest upload.
    """

    options: dict[str, Any]
    defaults: dict[str, Any]
    allowed: dict[str, list[str]]
    languages: dict[str, str]
    formats: tuple[Format, ...]
    source: str
    max_bytes: int


@router.get("/about", tags=["about"])
async def about(service: CurrentService, caller: AnyCaller) -> About:
    """The name and the scopes of the caller's key."""
    return About(
        version=__version__,
        name=caller.name,
        scopes=[scope for scope in SCOPES if caller.may(scope)],
        prefix=caller.prefix,
        with_keys=service.keys is not None,
    )


@router.get("/options", tags=["options"], dependencies=[ANY_CALLER])
async def get_options(service: CurrentService) -> Choices:
    """The options of a recording as JSON Schema, and what else a form for them needs."""
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
async def check_options(options: dict[str, Any], service: CurrentService) -> dict[str, Any]:
    """Check these options (422 if they cannot be used together); returns all options as they would be used."""
    return service.options(options).model_dump(mode="json")
