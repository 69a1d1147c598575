"""What the service takes, and who is asking."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from api.access import Anybody
from api.keys import SCOPES, Scope
from api.service import Service, service
from stenopool import __version__
from stenopool.languages import LANGUAGES
from stenopool.models.names import OPENAI
from stenopool.options import FORMATS, Format, TranscriptionOptions

router = APIRouter(prefix="/v1", tags=["about"])
House = Annotated[Service, Depends(service)]


class About(BaseModel):
    """``name`` and ``scopes`` are the key's. ``max_bytes``: largest upload. ``source``: where addresses may lie."""

    version: str
    name: str
    scopes: list[Scope]
    with_keys: bool
    max_bytes: int
    source: str
    formats: tuple[Format, ...] = FORMATS


@router.get("/about")
async def about(house: House, caller: Anybody) -> About:
    """The service as this key may use it."""
    return About(
        version=__version__,
        name=caller.name,
        scopes=[scope for scope in SCOPES if caller.may(scope)],
        with_keys=house.keys is not None,
        max_bytes=house.settings.max_bytes,
        source=house.source.uri,
    )


@router.get("/options")
async def options(house: House, caller: Anybody) -> dict[str, Any]:  # noqa: ARG001
    """JSON Schema of a recording's options, with this house's defaults and the names of languages and models."""
    schema = TranscriptionOptions.model_json_schema()
    schema["properties"]["model"] |= {"default": house.settings.model, "examples": list(OPENAI)}
    names = {code: name.title() for code, name in LANGUAGES.items()}
    schema["properties"]["language"]["x-names"] = {"auto": "Detect", "per-segment": "Several in one recording"} | names
    schema["properties"]["languages"]["x-names"] = names
    return schema
