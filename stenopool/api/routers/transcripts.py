"""Transcripts of finished recordings: files, the page's view, audio, and names of speakers."""

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from stenopool.api import transcript_files
from stenopool.api.access import CAN_EDIT, CAN_RENDER, GuardedRoute
from stenopool.api.contents import ANSWERS, ConditionalRequest, respond
from stenopool.api.headers import accepted_types
from stenopool.api.ids import decode
from stenopool.api.problems import Problem
from stenopool.api.rendering import Speakers
from stenopool.api.service import CurrentService
from stenopool.api.transcript_views import TranscriptView
from stenopool.options import FORMATS, Format, SubtitleOptions
from stenopool.pipeline.speaker_names import SpeakerName
from stenopool.speech.renderers import CONTENT_TYPES
from stenopool.speech.renderers.words import clean
from stenopool.speech.transcript import Transcript

router = APIRouter(prefix="/v1/recordings", tags=["transcripts"], route_class=GuardedRoute)

# A transcript's HTML page contains its script and audio. It runs in a sandbox, because its text is untrusted.
_PAGE_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "media-src data:; img-src data:; frame-ancestors 'none'"
)
_MEDIA_TYPES: dict[str, Format] = {
    "*/*": "json",
    "application/*": "json",
    "text/*": "txt",
    # rttm is plain text too, so it is requested by name
    **{CONTENT_TYPES[format].partition(";")[0]: format for format in FORMATS if format != "rttm"},
}
_TEXT: dict[int | str, Any] = {
    200: {"model": Transcript, "content": {CONTENT_TYPES[each].partition(";")[0]: {} for each in FORMATS}},
    **ANSWERS,
}
_JSON = {"Content-Type": "application/json"}
_AUDIO: dict[int | str, Any] = {200: {"content": {"audio/*": {}}}, **ANSWERS}


class TranscriptQuery(SubtitleOptions):
    """The format of a transcript, and the style of its subtitles."""

    model_config = ConfigDict(extra="ignore")

    format: Annotated[Format | None, Field(description="Takes precedence over Accept.")] = None

    @property
    def subtitles(self) -> SubtitleOptions | None:
        """None: use the stored files."""
        return self if self.model_fields_set & {*SubtitleOptions.model_fields} else None


class Names(BaseModel):
    """All names from now on. Labels with the same name are one person."""

    model_config = ConfigDict(extra="forbid")

    names: Annotated[
        dict[Annotated[str, StringConstraints(max_length=1000)], SpeakerName],
        Field(
            max_length=1000,
            description="Names by label; a label that is left out loses its name.",
            examples=[{"SPEAKER_00": "Ann"}],
        ),
    ]


async def _require_key(id: str, service: CurrentService) -> str:
    """Dependency: the key of a recording that has a transcript. Raises the problem 404 or 409 for any other."""
    key = decode(id)
    await transcript_files.require_transcript(service, key)
    return key


Transcribed = Annotated[str, Depends(_require_key)]
IfMatch = Annotated[str | None, Header(description="The ETag of the speakers to change.")]


@router.get("/{id}/transcript", response_class=Response, responses=_TEXT, dependencies=[CAN_RENDER])
async def get_transcript(
    request: ConditionalRequest,
    service: CurrentService,
    key: Transcribed,
    query: Annotated[TranscriptQuery, Query()],
    accept: Annotated[str, Header(description="The format as a media type.")] = "*/*",
) -> Response:
    """Return the transcript, streamed. Formats that were not stored, and other subtitle styles, are rendered first."""
    chosen = query.format or _choose_format(accept)
    content = await transcript_files.find_file(service, key, chosen, query.subtitles)
    name = quote(f"{clean(key.rpartition('/')[2])}.{chosen}")
    headers = {
        "Content-Type": CONTENT_TYPES[chosen],
        "Content-Disposition": f"inline; filename*=UTF-8''{name}",
        "Vary": "Accept",
    }
    if chosen == "html":
        headers["Content-Security-Policy"] = _PAGE_POLICY
    return await respond(request, content, headers)


@router.get("/{id}/view", response_model=TranscriptView, responses=ANSWERS, dependencies=[CAN_RENDER])
async def get_view(request: ConditionalRequest, service: CurrentService, key: Transcribed) -> Response:
    """Return what the page shows: the transcript in paragraphs, with speakers, colours and a time for every word."""
    return await respond(request, await transcript_files.find_product(service, key, "view"), _JSON)


@router.get("/{id}/playback", response_class=Response, responses=_AUDIO, dependencies=[CAN_RENDER])
async def get_playback(request: ConditionalRequest, service: CurrentService, key: Transcribed) -> Response:
    """Return the audio that matches the transcript's times; 404 if none was stored. The original file is at /audio."""
    media_type, content = await transcript_files.find_playback(service, key)
    return await respond(request, content, {"Content-Type": media_type})


@router.get("/{id}/speakers", response_model=Speakers, responses=ANSWERS, dependencies=[CAN_RENDER])
async def get_speakers(request: ConditionalRequest, service: CurrentService, key: Transcribed) -> Response:
    """Return the speakers that diarization found, with their names."""
    return await respond(request, await transcript_files.find_product(service, key, "speakers"), _JSON)


@router.put("/{id}/speakers", responses={412: ANSWERS[412]}, dependencies=[CAN_RENDER, CAN_EDIT])
async def name_speakers(
    asked: Names, response: Response, service: CurrentService, key: Transcribed, if_match: IfMatch = None
) -> Speakers:
    """Name the speakers. The names are stored beside the transcript, and every format contains them from now on.

    With `If-Match`, the response is 412 if the names have been changed since.
    """
    speakers, response.headers["ETag"] = await transcript_files.rename_speakers(service, key, asked.names, if_match)
    return speakers


def _choose_format(accept: str) -> Format:
    for wanted in accepted_types(accept):
        if wanted in _MEDIA_TYPES:
            return _MEDIA_TYPES[wanted]
    raise Problem(
        406,
        "NOT_ACCEPTABLE",
        "No transcript format has this media type.",
        f"Use format= with one of {', '.join(FORMATS)}.",
    )
