"""Finished transcripts, in any format."""

from pathlib import Path

from stenopool.api import states
from stenopool.api.problems import Problem
from stenopool.api.service import Service
from stenopool.errors import ObjectNotFound
from stenopool.options import Format, SubtitleOptions
from stenopool.pipeline import speaker_names
from stenopool.pipeline.receipts import output_key
from stenopool.speech.renderers import render
from stenopool.speech.renderers.view import find_audio
from stenopool.speech.transcript import Transcript
from stenopool.storage import ObjectStore


async def require_transcript(service: Service, key: str) -> None:
    """The problem 404 for an unknown recording, 409 for one without a transcript.

    While a recording is transcribed again, it still has its earlier transcript.
    """
    state = await states.read_state(service, key)
    if not any(name.status == "done" for name in await service.receipts_of(key)):
        remedy = state.failure.remedy if state.failure else f"GET /v1/recordings/{state.id} shows when it is completed."
        raise Problem(409, "NOT_COMPLETED", f"The recording has no transcript: it is {state.state}.", remedy)


def write_file(
    path: Path, destination: ObjectStore, key: str, format: Format, subtitles: SubtitleOptions | None = None
) -> None:
    """Write a transcript, with its speakers' names, to a local file.

    A stored file is copied. A format that was not stored, or ``subtitles`` with a style of their own, is rendered.
    """
    styled = subtitles is not None and format in ("srt", "vtt")
    if not styled and not destination.exists(speaker_names.names_key(key)):
        try:
            destination.get_file(output_key(key, format), path)
            return
        except ObjectNotFound:
            if format == "json":
                raise
    content = render_file(destination, key, read_named(destination, key), format, subtitles or SubtitleOptions())
    path.write_text(content, encoding="utf-8")


def read_named(destination: ObjectStore, key: str) -> Transcript:
    """The transcript with the names that its speakers were given."""
    transcript = read_labelled(destination, key)
    return speaker_names.apply_names(transcript, speaker_names.read(destination, key, transcript))


def read_labelled(destination: ObjectStore, key: str) -> Transcript:
    """The transcript with the labels that diarization gave."""
    return Transcript.model_validate_json(destination.get_bytes(output_key(key, "json")))


def render_file(
    destination: ObjectStore,
    key: str,
    transcript: Transcript,
    format: Format,
    subtitles: SubtitleOptions = SubtitleOptions(),  # noqa: B008 (frozen)
) -> str:
    """The transcript in this format. An HTML page plays the same audio as the stored page."""
    page = read_page(destination, key) if format == "html" else None
    return render(transcript, format, subtitles, title=key, audio=find_audio(page) if page else None)


def read_page(destination: ObjectStore, key: str) -> str | None:
    """The HTML page that was stored with the transcript; None if there is none."""
    page = destination.get_bytes(output_key(key, "html"), None)
    return None if page is None else page.decode("utf-8", "replace")
