"""A transcript as the page shows it: paragraphs, voices, and a time for every word."""

from typing import NamedTuple

from pydantic import BaseModel

from stenopool.pipeline import speaker_names
from stenopool.speech.renderers.view import Paragraph, doubt, view
from stenopool.speech.renderers.words import Stretch, clean
from stenopool.speech.transcript import Transcript


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


def make_view(id: str, key: str, transcript: Transcript, names: dict[str, str]) -> TranscriptView:
    """What the page shows of the transcript with this id. ``names``: by the label that diarization gave."""
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
