"""What can be asked for: the schema that forms are made from."""

from functools import cache
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from stenopool.api.access import AnyCaller
from stenopool.api.service import CurrentService
from stenopool.languages import LANGUAGES
from stenopool.options import FORMATS, Format, TranscriptionOptions

router = APIRouter(prefix="/v1/options", tags=["options"])


class Choices(BaseModel):
    """``options``: JSON Schema of the options of a recording. ``defaults``: where this installation has others.

    ``languages``: code and English name. ``formats``: what a transcript can be had in. ``source``: what an address must
    lie below. ``max_bytes``: largest upload.
    """

    options: dict[str, Any]
    defaults: dict[str, Any]
    languages: dict[str, str]
    formats: tuple[Format, ...]
    source: str
    max_bytes: int


@router.get("")
async def get_options(service: CurrentService, caller: AnyCaller) -> Choices:  # noqa: ARG001
    """The options of a recording as JSON Schema, and what else a form for them needs to know."""
    return Choices(
        options=_schema(),
        defaults={"model": service.settings.model},
        languages=LANGUAGES,
        formats=FORMATS,
        source=service.source.uri,
        max_bytes=service.settings.max_bytes,
    )


@router.post("")
async def check_options(
    options: dict[str, Any],
    service: CurrentService,
    caller: AnyCaller,  # noqa: ARG001
) -> dict[str, Any]:
    """Whether these options can be honoured together (422 says why not): all of them, as they would be used."""
    return service.options(options).model_dump(mode="json")


@cache
def _schema() -> dict[str, Any]:
    return TranscriptionOptions.model_json_schema()
