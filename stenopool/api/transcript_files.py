"""Finished transcripts, in any format."""

import asyncio
import tempfile
from pathlib import Path

from stenopool.api import states
from stenopool.api.problems import Problem
from stenopool.api.service import Service
from stenopool.errors import ObjectNotFound
from stenopool.options import Format, SubtitleOptions
from stenopool.pipeline import speaker_names
from stenopool.pipeline.receipts import output_key
from stenopool.settings import get_settings
from stenopool.speech.renderers import RenderStyle, render
from stenopool.speech.renderers.html import find_audio
from stenopool.speech.transcript import Transcript
from stenopool.storage import ObjectStore


async def fetch_transcript(
    service: Service, key: str, format: Format, subtitles: SubtitleOptions | None = None
) -> Path:
    """A transcript as a temporary file, which is the caller's to remove, with the names that speakers were given.

    A format that was not written is rendered, and so are ``subtitles`` in their own style. The problem 404 if there is
    no such recording, 409 while it has no transcript.
    """
    await require_transcript(service, key)
    return await asyncio.to_thread(_fetch, service, key, format, subtitles)


async def read_transcript(service: Service, key: str) -> Transcript:
    """A finished recording's transcript, with the names that its speakers were given."""
    return await asyncio.to_thread(_named, service.destination, key)


async def require_transcript(service: Service, key: str) -> None:
    """The problem 409 for a recording that has no transcript. While it is made anew, there still is the one it had."""
    state = await states.read_state(service, key)
    if not any(name.status == "done" for name in await service.receipts_of(key)):
        remedy = state.failure.remedy if state.failure else f"GET /v1/recordings/{state.id} says when it is completed."
        raise Problem(409, "NOT_COMPLETED", f"The recording has no transcript: it is {state.state}.", remedy)


def read_unnamed(destination: ObjectStore, key: str) -> Transcript:
    """The transcript with the labels that diarization gave."""
    return Transcript.model_validate_json(destination.get_bytes(output_key(key, "json")))


def render_file(
    destination: ObjectStore,
    key: str,
    transcript: Transcript,
    format: Format,
    subtitles: SubtitleOptions = SubtitleOptions(),  # noqa: B008 (frozen)
) -> str:
    """The transcript in this format. A page plays what the page that is there plays."""
    page = read_page(destination, key) if format == "html" else None
    return render(transcript, format, RenderStyle.of(subtitles, title=key, audio=find_audio(page) if page else None))


def read_page(destination: ObjectStore, key: str) -> str | None:
    """The page that was written with the transcript; None if there is none."""
    page = destination.get_bytes(output_key(key, "html"), None)
    return None if page is None else page.decode("utf-8", "replace")


def create_temporary() -> Path:
    """An empty file in the scratch folder, which is the caller's to remove."""
    folder = get_settings().scratch.dir
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(prefix="stenopool-transcript-", dir=folder, delete=False) as file:
        return Path(file.name)


def _fetch(service: Service, key: str, format: Format, subtitles: SubtitleOptions | None) -> Path:
    path = create_temporary()
    try:
        _into(path, service.destination, key, format, subtitles)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _into(path: Path, destination: ObjectStore, key: str, format: Format, subtitles: SubtitleOptions | None) -> None:
    styled = subtitles is not None and format in ("srt", "vtt")
    if not styled and not destination.exists(speaker_names.names_key(key)):
        try:
            destination.get_file(output_key(key, format), path)
            return
        except ObjectNotFound:
            if format == "json":
                raise
    content = render_file(destination, key, _named(destination, key), format, subtitles or SubtitleOptions())
    path.write_text(content, encoding="utf-8")


def _named(destination: ObjectStore, key: str) -> Transcript:
    transcript = read_unnamed(destination, key)
    return speaker_names.apply_names(transcript, speaker_names.read(destination, key, transcript))
