"""A transcript as the page shows it: paragraphs, voices, and a time for every word."""

from typing import NamedTuple

from stenopool.api.schema import Described
from stenopool.pipeline import speaker_names
from stenopool.speech.renderers.breaking import Direction
from stenopool.speech.renderers.view import Paragraph, doubt, view
from stenopool.speech.renderers.words import Stretch, clean
from stenopool.speech.transcript import Transcript


class WordView(NamedTuple):
    """A word: its text, whether a space precedes it, its start and end in seconds."""

    text: str
    space: bool
    start: float
    end: float


class StretchView(Described):
    """Words of one sentence."""

    doubt: str | None
    """Why they may be wrong."""
    language: str | None
    """Their language, where it changes."""
    direction: Direction
    """In which they are read."""
    words: list[WordView]
    """Each with its text, whether a space precedes it, and its start and end in seconds."""


class ParagraphView(Described):
    """What one speaker says."""

    speaker: int | None
    """Index of their voice; null if unknown."""
    start: float
    """Seconds from the beginning."""
    direction: Direction
    """In which most of it is read."""
    stretches: list[StretchView]
    """Its sentences."""


class VoiceView(Described):
    """A speaker."""

    name: str | None
    """The label until they are named."""
    labels: list[str]
    """All labels with this name."""
    colour: int
    """0 to 7, in the style sheet."""
    seconds: float
    """How long they speak."""
    spans: list[tuple[float, float]]
    """When they speak: start and end in seconds."""


class TranscriptView(Described):
    """A transcript to read and listen to."""

    id: str
    """The recording's id."""
    key: str
    """The recording's key."""
    title: str
    """The recording's name."""
    facts: list[tuple[str, str]]
    """How it was made, as name and value."""
    duration: float
    """Seconds of audio."""
    language: str | None
    """The language that is spoken most."""
    voices: list[VoiceView]
    """The speakers."""
    paragraphs: list[ParagraphView]
    """What they say, in order."""


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
        direction=paragraph.direction,
        stretches=[
            StretchView(
                doubt=doubt(stretch.segment),
                language=stretch.segment.language,
                direction=stretch.direction,
                words=_words(stretch),
            )
            for stretch in paragraph.stretches
        ],
    )


def _words(stretch: Stretch) -> list[WordView]:
    return [WordView(each.text, each.space, round(each.start, 3), round(each.end, 3)) for each in stretch.tokens]
