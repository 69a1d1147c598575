"""Transcripts of finished recordings."""

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Header, Query
from fastapi.responses import FileResponse
from pydantic import ConfigDict, Field
from starlette.background import BackgroundTask

from stenopool.api.access import CanRead
from stenopool.api.headers import accepted_types
from stenopool.api.ids import decode
from stenopool.api.problems import Problem
from stenopool.api.service import CurrentService
from stenopool.api.transcript_files import fetch_transcript
from stenopool.options import FORMATS, Format, SubtitleOptions
from stenopool.speech.renderers import CONTENT_TYPES, EXTENSIONS

router = APIRouter(prefix="/v1/recordings", tags=["transcripts"])

# A transcript's page has its own script and sound inside. It runs in a sandbox: what it is made of, others said.
_PAGE_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "media-src data:; img-src data:; frame-ancestors 'none'"
)
_MEDIA_TYPES: dict[str, Format] = {
    "*/*": "json",
    "application/*": "json",
    "text/*": "txt",
    # rttm is plain text too, and is asked for by its name
    **{CONTENT_TYPES[format].partition(";")[0]: format for format in FORMATS if format != "rttm"},
}
_CONTENT: dict[str, Any] = {CONTENT_TYPES[format].partition(";")[0]: {} for format in FORMATS}


class TranscriptQuery(SubtitleOptions):
    """The format of a transcript, and the style of its subtitles where it is one that has them."""

    model_config = ConfigDict(extra="ignore")

    format: Annotated[Format | None, Field(description="Goes before Accept.")] = None

    @property
    def subtitles(self) -> SubtitleOptions | None:
        """None: as the files that were written."""
        return self if self.model_fields_set & {*SubtitleOptions.model_fields} else None


@router.get("/{id}/transcript", response_class=FileResponse, responses={200: {"content": _CONTENT}})
async def transcript(
    id: str,
    service: CurrentService,
    caller: CanRead,  # noqa: ARG001
    query: Annotated[TranscriptQuery, Query()],
    accept: Annotated[str, Header(description="The format as a media type.")] = "*/*",
) -> FileResponse:
    """The transcript, streamed. A format that was not written, or another style of subtitles, is rendered now."""
    key = decode(id)
    chosen = query.format or _accepted(accept)
    path = await fetch_transcript(service, key, chosen, query.subtitles)
    name = quote(f"{key.rpartition('/')[2]}{EXTENSIONS[chosen]}")
    headers = {"Content-Disposition": f"inline; filename*=UTF-8''{name}"}
    if chosen == "html":
        headers["Content-Security-Policy"] = _PAGE_POLICY
    return FileResponse(
        path, media_type=CONTENT_TYPES[chosen], headers=headers, background=BackgroundTask(path.unlink, missing_ok=True)
    )


def _accepted(accept: str) -> Format:
    for wanted in accepted_types(accept):
        if wanted in _MEDIA_TYPES:
            return _MEDIA_TYPES[wanted]
    raise Problem(
        406, "NOT_ACCEPTABLE", "No transcript has that media type.", f"Use format= with one of {', '.join(FORMATS)}."
    )
