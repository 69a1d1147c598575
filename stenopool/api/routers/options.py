"""The options of a recording: the schema that forms are built from."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from stenopool.api.access import ANY_CALLER
from stenopool.api.service import CurrentService
from stenopool.languages import language_names
from stenopool.options import FORMATS, Format, TranscriptionOptions

router = APIRouter(prefix="/v1/options", tags=["options"])


class Choices(BaseModel):
    """``options``: JSON Schema of a recording's options. ``defaults``: those that this installation changes.

    ``languages``: names by code. ``formats``: of transcripts. ``source``: addresses must be below it. ``max_bytes``:
    largest upload.
    """

    options: dict[str, Any]
    defaults: dict[str, Any]
    languages: dict[str, str]
    formats: tuple[Format, ...]
    source: str
    max_bytes: int


@router.get("", dependencies=[ANY_CALLER])
async def get_options(service: CurrentService) -> Choices:
    """The options of a recording as JSON Schema, and what else a form for them needs."""
    return Choices(
        options=TranscriptionOptions.model_json_schema(),
        defaults={"model": service.settings.model},
        languages=language_names(),
        formats=FORMATS,
        source=service.source.uri,
        max_bytes=service.settings.max_bytes,
    )


@router.post("", dependencies=[ANY_CALLER])
async def check_options(
    options: dict[str, Any],
    service: CurrentService,
) -> dict[str, Any]:
    """Check these options (422 if they cannot be used together); returns all options as they would be used."""
    return service.options(options).model_dump(mode="json")
