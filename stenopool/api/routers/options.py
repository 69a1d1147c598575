"""What can be asked for: the schema that forms are made from."""

from functools import cache
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from stenopool.api.access import Anybody
from stenopool.api.service import Service, service
from stenopool.languages import LANGUAGES
from stenopool.options import FORMATS, Format, TranscriptionOptions

router = APIRouter(prefix="/v1/options", tags=["options"])


class Choices(BaseModel):
    """``options``: JSON Schema of the options of a recording. ``defaults``: where this house has others than it.

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
async def get_options(house: Annotated[Service, Depends(service)], caller: Anybody) -> Choices:  # noqa: ARG001
    """The options of a recording as JSON Schema, and what else a form for them needs to know."""
    return Choices(
        options=_schema(),
        defaults={"model": house.settings.model},
        languages=LANGUAGES,
        formats=FORMATS,
        source=house.source.uri,
        max_bytes=house.settings.max_bytes,
    )


@router.post("")
async def check_options(
    options: dict[str, Any],
    house: Annotated[Service, Depends(service)],
    caller: Anybody,  # noqa: ARG001
) -> dict[str, Any]:
    """Whether these options can be honoured together (422 says why not): all of them, as they would be used."""
    return house.options(options).model_dump(mode="json")


@cache
def _schema() -> dict[str, Any]:
    return TranscriptionOptions.model_json_schema()
