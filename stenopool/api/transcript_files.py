"""Finished transcripts: in any format, as the page shows them, their audio, and the names of their speakers."""

import base64
import re
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel

from stenopool.api import states
from stenopool.api.problems import Problem, invalid, not_found
from stenopool.api.service import Service
from stenopool.errors import ObjectNotFound
from stenopool.options import Format, SubtitleOptions
from stenopool.pipeline import receipts, speaker_names
from stenopool.pipeline.receipts import output_key
from stenopool.speech.renderers import CONTENT_TYPES, render
from stenopool.speech.renderers.view import Paragraph, doubt, find_audio, view
from stenopool.speech.renderers.words import Stretch, clean
from stenopool.speech.transcript import Transcript
from stenopool.storage import ObjectStore

_TRIES = 3
_EMBEDDED = re.compile(r"data:(audio/[\w.+-]+);base64,")
# The file beside a long recording's page: as it is written now, and by earlier versions.
_BESIDE = {"audio.webm": "audio/webm", "audio.mp3": "audio/mpeg"}


class WordView(NamedTuple):
    """A word: its text, whether a space precedes it, its start and end in seconds."""

    text: str
    space: bool
    start: float
    end: float


class StretchView(BaseModel):
    """Words of one sentence. ``doubt``: why they may be wrong. ``language``: where it changes."""

    doubt: str | None
    language: str | None
    words: list[WordView]


class ParagraphView(BaseModel):
    """What one speaker says. ``speaker``: the index of their voice; None if unknown."""

    speaker: int | None
    start: float
    stretches: list[StretchView]


class VoiceView(BaseModel):
    """A speaker. ``name``: the label until they are named. ``labels``: all labels with this name.

    ``colour``: 0 to 7, in the style sheet. ``spans``: when they speak, in seconds.
    """

    name: str | None
    labels: list[str]
    colour: int
    seconds: float
    spans: list[tuple[float, float]]


class TranscriptView(BaseModel):
    """A transcript to read and listen to. ``facts``: how it was made, as name and value."""

    id: str
    key: str
    title: str
    facts: list[tuple[str, str]]
    duration: float
    language: str | None
    voices: list[VoiceView]
    paragraphs: list[ParagraphView]


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


def read_names(destination: ObjectStore, key: str) -> dict[str, str | None]:
    """Each speaker's name by label; None for a speaker without a name."""
    transcript = read_labelled(destination, key)
    kept = speaker_names.read(destination, key, transcript)
    return {label: kept.get(label) for label in speaker_names.list_labels(transcript)}


def rename_speakers(destination: ObjectStore, key: str, names: dict[str, str]) -> dict[str, str | None]:
    """Give these names and no others. The problem 422 for labels that the transcript does not have."""
    # A worker may write another transcript meanwhile, which ours would not match. Then read it and write again.
    for _ in range(_TRIES):
        before = destination.head(output_key(key, "json")).etag
        transcript = read_labelled(destination, key)
        known = speaker_names.list_labels(transcript)
        if unknown := [label for label in names if label not in known]:
            raise invalid(f"The transcript has no speaker {unknown[0]!r}.", speakers=known)
        speaker_names.write(destination, key, transcript, names)
        _write_files(destination, key, transcript, names)
        if destination.head(output_key(key, "json")).etag == before:
            return {label: names.get(label) for label in known}
    raise Problem(409, "RECORDING_BUSY", "The recording is being transcribed again.", "Name its speakers after that.")


def _write_files(destination: ObjectStore, key: str, transcript: Transcript, names: dict[str, str]) -> None:
    """All formats but JSON, which stays as the worker wrote it: everything else can be rendered from it."""
    transcript = speaker_names.apply_names(transcript, names)
    listed = receipts.list_receipts(destination, prefix=receipts.receipt_stem(key))
    for format in {format for name in listed for format in name.formats} - {"json"}:
        content = render_file(destination, key, transcript, format).encode()
        destination.put_bytes(output_key(key, format), content, content_type=CONTENT_TYPES[format])


def read_view(destination: ObjectStore, id: str, key: str) -> TranscriptView:
    """What the page shows of a transcript."""
    transcript = read_labelled(destination, key)
    names = speaker_names.read(destination, key, transcript)
    labels: dict[str | None, list[str]] = {}
    for label in speaker_names.list_labels(transcript):
        labels.setdefault(clean(names.get(label, label)) or None, []).append(label)
    shown = view(speaker_names.apply_names(transcript, names))
    numbers = {name: number for number, name in enumerate(shown.lanes)}
    return TranscriptView(
        id=id,
        key=key,
        title=clean(key.rpartition("/")[2]),
        facts=shown.facts,
        duration=shown.duration,
        language=shown.language,
        voices=[
            VoiceView(
                name=name,
                labels=labels.get(name, []),
                colour=shown.colours[name],
                seconds=round(sum(end - start for start, end in spans), 3),
                spans=spans,
            )
            for name, spans in shown.lanes.items()
        ],
        paragraphs=[_paragraph(paragraph, numbers) for paragraph in shown.paragraphs],
    )


def _paragraph(paragraph: Paragraph, numbers: dict[str | None, int]) -> ParagraphView:
    return ParagraphView(
        speaker=numbers.get(paragraph.speaker) if paragraph.speaker else None,
        start=round(paragraph.start, 3),
        stretches=[
            StretchView(doubt=doubt(stretch.segment), language=stretch.segment.language, words=_words(stretch))
            for stretch in paragraph.stretches
        ],
    )


def _words(stretch: Stretch) -> list[WordView]:
    return [WordView(each.text, each.space, round(each.start, 3), round(each.end, 3)) for each in stretch.tokens]


def write_playback(path: Path, destination: ObjectStore, key: str) -> str:
    """Write the audio that was stored with the transcript to a local file; returns its media type.

    Its times are the transcript's, and every browser plays it. The audio of a short recording is in the transcript's
    HTML page, that of a long one beside it. The problem 404 if there is none.
    """
    page = read_page(destination, key)
    plays = (find_audio(page) if page else None) or ""
    if inside := _EMBEDDED.match(plays):
        path.write_bytes(base64.b64decode(plays[inside.end() :]))
        return inside.group(1)
    for name, media_type in _BESIDE.items():
        try:
            destination.get_file(f"{key}/{name}", path)
        except ObjectNotFound:
            continue
        return media_type
    raise not_found("No audio was stored with this transcript.")
