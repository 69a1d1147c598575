"""Transcripts of finished recordings: as files, as what the page shows, and the names of their speakers."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from stenopool.api import transcript_files
from stenopool.api.access import CAN_EDIT, CAN_READ
from stenopool.api.headers import accepted_types
from stenopool.api.ids import decode
from stenopool.api.problems import Problem
from stenopool.api.service import CurrentService
from stenopool.api.transcript_files import TranscriptView
from stenopool.options import FORMATS, Format, SubtitleOptions
from stenopool.pipeline.speaker_names import SpeakerName
from stenopool.settings import get_settings
from stenopool.speech.renderers import CONTENT_TYPES
from stenopool.speech.renderers.words import clean

router = APIRouter(prefix="/v1/recordings", tags=["transcripts"])

# A transcript's HTML page contains its script and audio. It runs in a sandbox: its text is what others said.
_PAGE_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "media-src data:; img-src data:; frame-ancestors 'none'"
)
_MEDIA_TYPES: dict[str, Format] = {
    "*/*": "json",
    "application/*": "json",
    "text/*": "txt",
    # rttm is plain text too, and is requested by its name
    **{CONTENT_TYPES[format].partition(";")[0]: format for format in FORMATS if format != "rttm"},
}
_TEXT: dict[int | str, Any] = {200: {"content": {CONTENT_TYPES[each].partition(";")[0]: {} for each in FORMATS}}}
_AUDIO: dict[int | str, Any] = {200: {"content": {"audio/*": {}}}}


class TranscriptQuery(SubtitleOptions):
    """The format of a transcript, and the style of its subtitles where it is one that has them."""

    model_config = ConfigDict(extra="ignore")

    format: Annotated[Format | None, Field(description="Goes before Accept.")] = None

    @property
    def subtitles(self) -> SubtitleOptions | None:
        """None: as the files that were written."""
        return self if self.model_fields_set & {*SubtitleOptions.model_fields} else None


class Speakers(BaseModel):
    """``names``: by the label that diarization gave; null for a speaker without a name."""

    names: dict[str, str | None]


class Names(BaseModel):
    """All names from now on. Two labels with one name are one person."""

    model_config = ConfigDict(extra="forbid")

    names: Annotated[
        dict[str, SpeakerName],
        Field(
            max_length=1000, description="By label; a label left out loses its name.", examples=[{"SPEAKER_00": "Ann"}]
        ),
    ]


async def _require_key(id: str, service: CurrentService) -> str:
    """Dependency: the key of a recording that has a transcript; the problem 404 or 409 for any other."""
    key = decode(id)
    await transcript_files.require_transcript(service, key)
    return key


def _temporary_file() -> Iterator[Path]:
    """Dependency: where to write a file. It is deleted when the answer has been sent."""
    scratch = get_settings().scratch.dir
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="stenopool-transcript-", dir=scratch) as folder:
        yield Path(folder) / "transcript"


# The routes are plain functions, which FastAPI runs in threads: they wait for the store.
Transcribed = Annotated[str, Depends(_require_key)]
TemporaryFile = Annotated[Path, Depends(_temporary_file)]


@router.get("/{id}/transcript", response_class=FileResponse, responses=_TEXT, dependencies=[CAN_READ])
def get_transcript(
    service: CurrentService,
    key: Transcribed,
    path: TemporaryFile,
    query: Annotated[TranscriptQuery, Query()],
    accept: Annotated[str, Header(description="The format as a media type.")] = "*/*",
) -> FileResponse:
    """The transcript, streamed. A format that was not stored, or another style of subtitles, is rendered now."""
    chosen = query.format or _choose_format(accept)
    transcript_files.write_file(path, service.destination, key, chosen, query.subtitles)
    name = quote(f"{clean(key.rpartition('/')[2])}.{chosen}")
    headers = {"Content-Disposition": f"inline; filename*=UTF-8''{name}"}
    if chosen == "html":
        headers["Content-Security-Policy"] = _PAGE_POLICY
    return FileResponse(path, media_type=CONTENT_TYPES[chosen], headers=headers)


@router.get("/{id}/view", dependencies=[CAN_READ])
def get_view(id: str, service: CurrentService, key: Transcribed) -> TranscriptView:
    """The transcript in paragraphs, with speakers, colours and a time for every word: what the page shows."""
    return transcript_files.read_view(service.destination, id, key)


@router.get("/{id}/playback", response_class=FileResponse, responses=_AUDIO, dependencies=[CAN_READ])
def get_playback(service: CurrentService, key: Transcribed, path: TemporaryFile) -> FileResponse:
    """The audio that the transcript's times refer to; 404 if none was stored. The original file is at /audio."""
    return FileResponse(path, media_type=transcript_files.write_playback(path, service.destination, key))


@router.get("/{id}/speakers", dependencies=[CAN_READ])
def get_speakers(service: CurrentService, key: Transcribed) -> Speakers:
    """The speakers that diarization found, and their names."""
    return Speakers(names=transcript_files.read_names(service.destination, key))


@router.put("/{id}/speakers", dependencies=[CAN_EDIT, CAN_READ])
def name_speakers(asked: Names, service: CurrentService, key: Transcribed) -> Speakers:
    """Name the speakers. The names are kept beside the transcript, and every format contains them from now on."""
    return Speakers(names=transcript_files.rename_speakers(service.destination, key, asked.names))


def _choose_format(accept: str) -> Format:
    for wanted in accepted_types(accept):
        if wanted in _MEDIA_TYPES:
            return _MEDIA_TYPES[wanted]
    raise Problem(
        406, "NOT_ACCEPTABLE", "No transcript has that media type.", f"Use format= with one of {', '.join(FORMATS)}."
    )
