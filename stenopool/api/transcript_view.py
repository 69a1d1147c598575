"""What the page shows of a finished recording: paragraphs whose words have times, and its audio."""

import base64
import re
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel

from stenopool.api.problems import not_found
from stenopool.api.transcript_files import read_labelled, read_page
from stenopool.errors import ObjectNotFound
from stenopool.pipeline import speaker_names
from stenopool.speech.renderers.view import Paragraph, doubt, find_audio, view
from stenopool.speech.renderers.words import Stretch, clean
from stenopool.storage import ObjectStore

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
        title=key.rpartition("/")[2],
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
        stretches=[_stretch(stretch) for stretch in paragraph.stretches],
    )


def _stretch(stretch: Stretch) -> StretchView:
    return StretchView(
        doubt=doubt(stretch.segment),
        language=stretch.segment.language,
        words=[
            WordView(token.text, token.space, round(token.start, 3), round(token.end, 3)) for token in stretch.tokens
        ],
    )


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
